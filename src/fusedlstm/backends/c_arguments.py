"""What the calls of the C library have in common: memory, pointers, checks of arrays, refusals as exceptions."""

from __future__ import annotations

import math
import threading
from typing import Any, NoReturn

import numpy as np

from fusedlstm._binding import ffi, lib
from fusedlstm.backends.arguments import (
    Array,
)

_DTYPES = {np.dtype(np.float32): lib.FUSEDLSTM_FLOAT32, np.dtype(np.float64): lib.FUSEDLSTM_FLOAT64}
ACTIVATIONS = {
    name: getattr(lib, f"FUSEDLSTM_{name.upper()}")
    for name in ("linear", "tanh", "sigmoid", "relu", "hard_sigmoid", "softsign", "elu", "softplus", "exp")
}
NULL = ffi.NULL
# Looked up once: a small call is mostly the making of its arguments.
new, from_buffer = ffi.new, ffi.from_buffer

# Made and let go at once. glibc's malloc takes the largest mapping that was freed, up to 32 MB, for the size of memory
# to keep instead of giving it back: without, the arrays of every training step may cost a page fault each 4 KB.
np.empty((1 << 25) - (1 << 16), np.uint8)

_ALIGNMENT = 64
SMALL = 16384  # bytes; below, looking for the boundary costs more than it brings


def aligned_buffer(size: int) -> Array:
    """An uninitialised byte array of at least `size` bytes whose address is a multiple of 64."""
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    offset = -raw.__array_interface__["data"][0] % _ALIGNMENT
    return raw[offset : offset + max(size, 1)]


def new_buffer(size: int) -> Any:
    """The pointer to such an array, which keeps it."""
    return from_buffer(aligned_buffer(size))


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """An uninitialised array; a large one begins at a multiple of 64 bytes: no vector of it straddles two lines."""
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    return aligned_buffer(size).view(dtype).reshape(shape)


class Own:
    """What each thread has for its calls of the library."""

    __slots__ = ("_size", "_workspace", "calls", "slot")

    def __init__(self) -> None:
        self.slot = new("const char **")  # where C stores the name of a refused argument
        self.calls: list[Any] | None = None  # that the thread only wants to have made; None where each runs at once
        self._size, self._workspace = -1, NULL

    def workspace(self, size: int) -> Any:
        """At least as large, kept between calls: fresh memory would cost a page fault every 4 KB."""
        if size > self._size:
            self._size, self._workspace = size, new_buffer(size)
        return self._workspace


class _Here(threading.local):
    def __init__(self) -> None:
        self.own = Own()


#: `here.own` is the calling thread's.
here = _Here()


class _Pool(threading.local):
    """Buffers of packed weights and saved activations that are no longer in use, for the next ones like them.

    A buffer is the pointer to it, which keeps it. Fresh memory would cost more than filling it. One pool a thread: no
    lock that a fork could leave locked.
    """

    def __init__(self, most: int = 64) -> None:
        self._free: list[Any] = []
        self._most = most

    def take(self, size: int) -> Any:
        size, free = max(size, 1), self._free
        for k in range(len(free) - 1, -1, -1):  # the latest first: it may still be in a cache
            if size <= len(free[k]) <= 2 * size:
                return free.pop(k)
        return new_buffer(size)

    def give(self, buffer: Any) -> None:
        free = self._free
        free.append(buffer)
        if len(free) > self._most:
            free.pop(0)


pool = _Pool()


def error_slot() -> Any:
    """Where C stores the name of a refused argument; one a thread."""
    return here.own.slot


def refuse(function: str, status: int, slot: Any) -> NoReturn:
    argument = ffi.string(slot[0]).decode() if slot[0] != NULL else "?"
    if status == lib.FUSEDLSTM_NO_ISA:
        raise RuntimeError(f"{function}: this CPU lacks what the C backend needs (x86-64-v2); use another backend")
    raise ValueError(f"{function}: argument {argument!r} is out of its domain")


def dtype_of(function: str, name: str, array: Array) -> int:
    code = _DTYPES.get(array.dtype)
    if code is None:
        raise TypeError(f"{function}: expected {name} of dtype float32 or float64, got {array.dtype}")
    return int(code)


def pointer(array: Array | None) -> Any:
    """To the first element; the array must outlive the call."""
    if array is None:
        return NULL
    flags = array.flags
    if flags.c_contiguous:
        return from_buffer(array)
    return from_buffer(array.T) if flags.f_contiguous else ffi.cast("void *", array.ctypes.data)
