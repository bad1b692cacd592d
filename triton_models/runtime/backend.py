"""The part of Triton's ``triton_python_backend_utils`` that our models use, as types.

That module exists only inside the backend's process, so it is imported when a model starts, never at import.
Reference: the README of triton-inference-server/python_backend.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from triton_models.errors import InvalidInputError


class Tensor(Protocol):
    """A named tensor of a request or a response."""

    def as_numpy(self) -> npt.NDArray[Any]:
        """The values; BYTES tensors are arrays of Python ``bytes``."""
        ...


class ResponseSender(Protocol):
    """Sends the responses of one request of a decoupled model; usable from any thread."""

    def send(self, response: object | None = None, flags: int = 0) -> None:
        """Sends one response; ``flags`` says whether it is the last."""
        ...

    def is_cancelled(self) -> bool:
        """Whether the caller went away."""
        ...


class Request(Protocol):
    """One request, as the backend hands it to ``execute``."""

    def get_response_sender(self) -> ResponseSender:
        """The sender of this request (decoupled models only)."""
        ...


class Backend(Protocol):
    """The module ``triton_python_backend_utils``."""

    TRITONSERVER_RESPONSE_COMPLETE_FINAL: int
    Logger: Any
    MetricFamily: Any
    Tensor: Any
    TritonError: Any

    def InferenceResponse(self, output_tensors: Sequence[object] = (), error: object | None = None) -> Any:
        """A response with tensors, or with an error."""
        ...

    def get_input_tensor_by_name(self, request: Request, name: str) -> Tensor | None:
        """The request's input of that name."""
        ...


def load_backend() -> Backend:
    """Triton's module; call it from a model's ``initialize``, where it exists."""
    return cast("Backend", importlib.import_module("triton_python_backend_utils"))


def version_folder(arguments: dict[str, str]) -> Path:
    """The folder that holds ``model.py`` and its settings, from what ``initialize`` is given."""
    return Path(arguments["model_repository"]) / arguments["model_version"]


def one_value(backend: Backend, request: Request, name: str) -> bytes | None:
    """The only element of a BYTES input, or ``None`` when the request does not carry it.

    Raises ``InvalidInputError`` when there is more or less than one.
    """
    tensor = backend.get_input_tensor_by_name(request, name)
    if tensor is None:
        return None
    values = tensor.as_numpy().reshape(-1)
    if values.size != 1:
        raise InvalidInputError(name, f"must hold one value, got {values.size}")
    return bytes(values[0])


def float_tensor(backend: Backend, name: str, values: npt.NDArray[np.float32]) -> Any:
    """An FP32 tensor.

    Not by DLPack: the backend names used capsules wrongly, and numpy reports each of them as an error.
    """
    # Present under numpy 2 only: see triton_models.numpy2_bridge.
    adapt = getattr(backend, "float_array", None)
    return backend.Tensor(name, adapt(values) if adapt else np.ascontiguousarray(values))


def text_tensor(backend: Backend, name: str, text: str) -> Any:
    """A BYTES tensor of shape (1, 1) with UTF-8 text."""
    return backend.Tensor(name, np.array([[text.encode()]], dtype=np.object_))
