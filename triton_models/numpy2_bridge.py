"""Lets Triton's Python stub work with numpy 2; appended to ``triton_python_backend_utils.py`` for it.

The stub of the ``nvidia-pytriton`` wheel was compiled with pybind11 older than 2.12, which knows the memory
layout of numpy 1. One field moved: an element's size, at byte 32 of a ``PyArray_Descr`` in numpy 1, is at
byte 40 in numpy 2, and at byte 32 are flags, which are zero for numbers. So the stub believes every
element to be 0 bytes long. What follows from that, and what is done about it here:

* A BYTES input is copied out of shared memory with strides of 0: its first byte, again and again. pybind11
  makes that array by ``PyArray_NewFromDescr``, which it looks up, once, in the function table it finds as
  ``numpy.core.multiarray._ARRAY_API``. It is given a copy of the table whose entry for this one function
  leaves strides of 0 to numpy to work out. Nothing else reads that attribute: modules built for numpy 2 use
  ``numpy._core``.
* An output is sent with a length of 0. It is handed over with an element type that also says the size where
  numpy 1 kept it. The size 1 (BYTES, serialised) is the flag "elements are references" in numpy 2, which
  matters only to an array that owns its memory, and this one is a view; the size 4 (FP32) is the flag
  "elements are pointers", which nothing acts on. ``Tensor.from_dlpack`` would do without any of this, but it
  names the capsules it has used wrongly, and numpy reports each of them as an error.

numpy 1 needs none of this, and numpy 1 has no wheels for Python 3.13.
Sources: numpy's ``ndarraytypes.h`` and ``__multiarray_api.h``, pybind11's ``numpy.h``.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

_OLD_SIZE_OFFSET = 32
_NEW_FROM_DESCR = 94
"""The function's place in numpy's table, part of its stable ABI."""
_TABLE_LENGTH = 300
"""pybind11 reads up to 282; numpy 2's table has more than 360 entries."""

_new_from_descr_type = ctypes.PYFUNCTYPE(
    ctypes.c_void_p,  # the array
    ctypes.c_void_p,  # its Python type
    ctypes.c_void_p,  # its element type
    ctypes.c_int,  # number of dimensions
    ctypes.POINTER(ctypes.c_ssize_t),  # shape
    ctypes.POINTER(ctypes.c_ssize_t),  # strides
    ctypes.c_void_p,  # memory
    ctypes.c_int,  # flags
    ctypes.c_void_p,  # prototype
)
_keep: list[Any] = []
"""What C code points to, and Python must not collect."""


def _install() -> None:
    multiarray: Any = importlib.import_module("numpy.core.multiarray")

    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    new_capsule = ctypes.pythonapi.PyCapsule_New
    new_capsule.restype = ctypes.py_object
    new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

    table_type = ctypes.c_void_p * _TABLE_LENGTH
    original = table_type.from_address(get_pointer(multiarray._ARRAY_API, None))
    new_from_descr = _new_from_descr_type(original[_NEW_FROM_DESCR] or 0)

    def with_true_strides(
        kind: int, element: int, dimensions: int, shape: Any, strides: Any, memory: int, flags: int, like: int
    ) -> int:
        misread = bool(strides) and dimensions > 0 and not any(strides[:dimensions])
        return int(
            new_from_descr(
                kind, element, dimensions, shape, None if misread else strides, memory, flags, like
            )
        )

    replacement = _new_from_descr_type(with_true_strides)
    table = table_type(*original)
    table[_NEW_FROM_DESCR] = ctypes.cast(replacement, ctypes.c_void_p)
    capsule = new_capsule(ctypes.addressof(table), None, None)
    _keep.extend([original, new_from_descr, replacement, table, capsule])
    multiarray._ARRAY_API = capsule


def _view_with_old_size(data: Any, element: Any) -> Any:
    """A view of ``data`` whose length in bytes is right in the eyes of code built for numpy 1.

    ``element`` must be an object of its own: the types numpy shares must not be touched.
    """
    view = np.frombuffer(data, dtype=element)
    ctypes.c_int32.from_address(id(element) + _OLD_SIZE_OFFSET).value = element.itemsize
    return view


def float_array(values: Any) -> Any:
    """What to make an FP32 tensor of; called by ``triton_models.runtime.backend``."""
    flat = np.ascontiguousarray(values, dtype=np.float32)
    return _view_with_old_size(flat, np.dtype(np.float32, copy=True)).reshape(flat.shape)


def _with_old_size(serialize: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def serialize_byte_tensor(tensor: Any) -> Any:
        serialized = serialize(tensor)
        if not isinstance(serialized, bytes):  # an empty tensor
            return serialized
        return _view_with_old_size(serialized, np.dtype((np.void, 1)))

    return serialize_byte_tensor


# Triton's own function, from the file this one is appended to.
globals()["serialize_byte_tensor"] = _with_old_size(globals()["serialize_byte_tensor"])


_install()
