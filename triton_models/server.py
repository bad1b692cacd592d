"""How to run the Triton server that the ``nvidia-pytriton`` wheel carries, without its Python API.

Nothing here starts a process: ``launch_spec`` says how, and the supervisor does it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from triton_models.errors import ModelBuildError
from triton_models.runtime.openmp import SPIN_COUNT, SPIN_VARIABLE
from triton_models.shared_memory import sweep
from triton_models.system import MissingPackage, missing_system_packages, python_library_folder

if TYPE_CHECKING:
    from triton_models.build import ModelRepository

__all__ = [
    "EXIT_TIMEOUT_SECONDS",
    "LaunchSpec",
    "MissingPackage",
    "Ports",
    "assemble_backend",
    "launch_spec",
    "missing_system_packages",
    "shm_prefix",
    "sweep",
]

EXIT_TIMEOUT_SECONDS = 8
"""How long Triton waits for running requests and its models when told to stop; idle, it needs about 4 s."""

_NUMPY2_BRIDGE = Path(__file__).with_name("numpy2_bridge.py")
_PASSED_ON = ("HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "USER")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where Triton listens, all on loopback."""

    grpc: int
    http: int
    metrics: int


class LaunchSpec(NamedTuple):
    """A process to start."""

    argv: list[str]
    env: dict[str, str]
    """The complete environment."""
    cwd: Path


def launch_spec(
    home: Path,
    repository: ModelRepository,
    ports: Ports,
    log: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> LaunchSpec:
    """How to start Triton for this platform.

    ``log`` is Triton's own log file; without it everything goes to stderr, as the models' output always does.
    ``environ`` is what a few harmless variables are taken from, by default this process's environment.
    Start it in a process group of its own: its stubs outlive a crash and must be ended with it.
    """
    wheel = _wheel()
    argv = [
        str(wheel / "tritonserver" / "bin" / "tritonserver"),
        f"--model-repository={repository.path}",
        f"--backend-directory={repository.backends}",
        # Explicit control is what lets the watchdog unload and load a model whose process died.
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in repository.models),
        f"--model-load-thread-count={len(repository.models) + 1}",
        # The configurations are complete; completing them would start every model's process twice.
        "--disable-auto-complete-config",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix(home)}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={ports.grpc}",
        "--http-address=127.0.0.1",
        f"--http-port={ports.http}",
        "--http-thread-count=2",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={ports.metrics}",
        "--allow-gpu-metrics=false",
        "--grpc-keepalive-permit-without-calls=1",
        "--pinned-memory-pool-byte-size=0",
        f"--exit-timeout-secs={EXIT_TIMEOUT_SECONDS}",
    ]
    if log is not None:
        argv.append(f"--log-file={log}")
    return LaunchSpec(argv, _environment(wheel, os.environ if environ is None else environ), repository.path)


def shm_prefix(home: Path) -> str:
    """What this platform's names in ``/dev/shm`` begin with; another state folder has another one."""
    return f"causeway_{hashlib.sha256(os.fsencode(home.absolute())).hexdigest()[:12]}_"


def assemble_backend(target: Path, numpy_major: int | None = None) -> None:
    """Puts Triton's Python backend and the stub for this interpreter together in ``target``.

    The wheel keeps one stub per Python version in folders of their own; Triton wants it beside the backend.
    Raises ``ModelBuildError`` when the wheel has none for this Python.
    """
    server = _wheel() / "tritonserver"
    stub = server / "python_backend_stubs" / _python_version() / "triton_python_backend_stub"
    if not stub.is_file():
        raise ModelBuildError(
            f"the Triton wheel has no backend for Python {_python_version()}; use 3.11 to 3.13"
        )
    folder = target / "python"
    folder.mkdir(parents=True, exist_ok=True)
    backend = server / "backends" / "python"
    utilities = (backend / "triton_python_backend_utils.py").read_bytes()
    if numpy_major is None:
        numpy_major = int(metadata.version("numpy").partition(".")[0])
    if numpy_major >= 2:
        utilities += _without_future_import(_NUMPY2_BRIDGE.read_bytes())
    _install(folder / "triton_python_backend_utils.py", utilities)
    for file in (backend / "libtriton_python.so", stub):
        _install(folder / file.name, file.read_bytes())


def _install(target: Path, content: bytes) -> None:
    """Puts a file in place; a running server keeps the one it has open."""
    temporary = target.with_name(f".{target.name}.part")
    temporary.write_bytes(content)
    temporary.chmod(0o755)
    temporary.replace(target)


def _without_future_import(source: bytes) -> bytes:
    """The source in a form that may stand behind other source."""
    return source.replace(b"from __future__ import annotations\n", b"")


def _environment(wheel: Path, environ: Mapping[str, str]) -> dict[str, str]:
    libraries = [wheel.parent / "nvidia_pytriton.libs", python_library_folder()]
    scripts = Path(sysconfig.get_path("scripts"))
    env = {name: environ[name] for name in _PASSED_ON if name in environ}
    return env | {
        # The stub embeds Python, which finds its packages by looking for itself on PATH.
        "PATH": f"{scripts}:/usr/local/bin:/usr/bin:/bin",
        "LD_LIBRARY_PATH": ":".join(str(folder) for folder in libraries if folder is not None),
        # For model.py, which adds it to the path of the isolated interpreter.
        "PYTHONPATH": str(Path(__file__).parent.parent),
        SPIN_VARIABLE: SPIN_COUNT,
        # Each embedder is one thread by design; its tokenizer must not add a pool of its own.
        "TOKENIZERS_PARALLELISM": "false",
        # Nothing here reports to anybody.
        "ORT_DISABLE_TELEMETRY": "1",
    }


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _wheel() -> Path:
    """The installed ``pytriton`` package, found without importing it (it imports more than is installed)."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise ModelBuildError("the Triton server is not installed: the package nvidia-pytriton provides it")
    return Path(spec.submodule_search_locations[0])
