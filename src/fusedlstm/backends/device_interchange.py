"""Device arrays to and from other libraries without a copy: ``__cuda_array_interface__`` and DLPack."""

from __future__ import annotations

import ctypes
import importlib
from typing import Any

import numpy as np

from fusedlstm.backends import cuda_api
from fusedlstm.backends.device_memory import DTYPES, Block, Chunk, Strided, c_strides

_LEGACY_DEFAULT_STREAM = 1


def interface(array: Strided) -> dict[str, Any]:
    """What CuPy, PyTorch and Numba look for (CUDA Array Interface, version 3)."""
    return {
        "shape": array.shape,
        "typestr": array.dtype.str,
        "data": (array.address if array.size else 0, not array.writeable),
        "strides": None if array.contiguous else array.strides,
        "stream": None if cuda_api.simulated() else _LEGACY_DEFAULT_STREAM,
        "version": 3,
    }


# From others


def is_foreign(x: Any) -> bool:
    """Whether it is an array of another library on the device."""
    if hasattr(x, "__cuda_array_interface__"):
        return True
    return not isinstance(x, np.ndarray) and hasattr(x, "__dlpack_device__") and x.__dlpack_device__()[0] == _CUDA


def wrap(cls: Any, x: Any) -> Any:
    """An array of the class `cls` on the memory of another library's, which is kept alive."""
    cuda_api.require_device()
    found = x.__cuda_array_interface__ if hasattr(x, "__cuda_array_interface__") else _described_by_dlpack(x)
    if found.get("mask") is not None:
        raise TypeError("to_device: expected an array without a mask")
    dtype, shape = np.dtype(found["typestr"]), tuple(found["shape"])
    if dtype not in DTYPES:
        raise TypeError(f"to_device: expected a dtype of bool, integers, float32 or float64, got {dtype}")
    size = dtype.itemsize
    strides = found.get("strides") or tuple(s * size for s in c_strides(shape))
    address, read_only = found["data"]
    if any(s % size for s in strides) or address % size:
        raise TypeError(f"to_device: expected strides that are multiples of the {size} bytes of {dtype}, got {strides}")
    if found.get("stream") not in (None, _LEGACY_DEFAULT_STREAM) and not cuda_api.simulated():
        cuda_api.cuda.external_stream(found["stream"]).synchronize()
    steps = tuple(s // size for s in strides)
    array = cls(Block(Chunk(None, address, 0), None), dtype, shape, steps)
    low, high = array.span()
    owner = found.get("owner", x)
    array.block = Block(Chunk(cuda_api.foreign(owner, low, high - low), low, high - low), None, owner)
    array.offset = (address - low) // size
    array.writeable = not read_only
    return array


def _described_by_dlpack(x: Any) -> dict[str, Any]:
    """The same for what has DLPack alone; cuda-core, which numba-cuda needs, reads it."""
    view = importlib.import_module("cuda.core.utils").StridedMemoryView
    seen = view.from_dlpack(x, stream_ptr=_LEGACY_DEFAULT_STREAM)
    dtype = np.dtype(seen.dtype)
    strides = None if seen.strides is None else tuple(s * dtype.itemsize for s in seen.strides)
    return {
        "shape": seen.shape, "typestr": dtype.str, "strides": strides, "data": (seen.ptr, seen.readonly), "owner": seen,
    }  # fmt: skip


# To others (dlpack.h, version 0: a capsule named "dltensor" that holds a DLManagedTensor)

_CPU, _CUDA = 1, 2
_TYPE_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("type_code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
    ]  # fmt: skip


#: What capsules refer to, by the address of their tensor, until their consumer is done.
_exported: dict[int, Any] = {}


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _delete(address: int) -> None:
    _exported.pop(address, None)


@ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
def _destroy_capsule(capsule: int) -> None:
    # A consumer renames the capsule; with its old name it had none.
    if ctypes.pythonapi.PyCapsule_IsValid(ctypes.c_void_p(capsule), b"dltensor"):
        _exported.pop(_pointer_of(ctypes.c_void_p(capsule), b"dltensor"), None)


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def dlpack_device(array: Strided) -> tuple[int, int]:
    """Kind and number of the device; the simulator's memory is the host's."""
    if cuda_api.simulated():
        return _CPU, 0
    return _CUDA, int(cuda_api.cuda.get_current_device().id)


def dlpack(array: Strided, stream: Any = None, copy: bool | None = None) -> Any:
    """A capsule for a consumer that works on `stream`; waits unless that is the stream of all work here."""
    if copy:
        raise BufferError("device array: DLPack with copy=True is not available: export array.copy()")
    if not array.writeable:
        raise BufferError("device array: DLPack cannot say that an array is read-only: export array.copy()")
    if stream not in (None, -1, 0, _LEGACY_DEFAULT_STREAM):
        cuda_api.synchronize()
    numbers = ctypes.c_int64 * max(len(array.shape), 1)
    shape, steps = numbers(*array.shape), numbers(*array.steps)
    tensor = _Tensor(
        array.address, *dlpack_device(array), len(array.shape), _TYPE_CODES[array.dtype.kind], array.dtype.itemsize * 8,
        1, shape, steps, 0, None, ctypes.cast(_delete, ctypes.c_void_p),
    )  # fmt: skip
    address = ctypes.addressof(tensor)
    _exported[address] = tensor, shape, steps, array.block
    return _new_capsule(address, b"dltensor", ctypes.cast(_destroy_capsule, ctypes.c_void_p))
