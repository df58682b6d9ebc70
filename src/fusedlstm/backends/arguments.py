"""Checks of arrays that every backend's functions begin with: what is wrong is named before anything is allocated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: What the kernels compute with.
REALS = (np.dtype(np.float32), np.dtype(np.float64))


def require_real(function: str, name: str, array: Array) -> None:
    """Raise unless the array holds what the kernels compute with."""
    if array.dtype not in REALS:
        raise TypeError(f"{function}: expected {name} of dtype float32 or float64, got {array.dtype}")


def require(function: str, name: str, within: bool) -> None:
    """Raise unless an argument's value is one that the function is defined for."""
    if not within:
        raise ValueError(f"{function}: argument {name!r} is out of its domain")


def check(function: str, name: str, array: Array, shape: tuple[int, ...], dtype: Any) -> None:
    if array.shape != shape or array.dtype != dtype:
        expected = f"{shape} of {np.dtype(dtype)}"
        raise ValueError(f"{function}: expected {name} {expected}, got {array.shape} of {array.dtype}")


def optional(function: str, name: str, array: Array | None, shape: tuple[int, ...], dtype: Any) -> Array | None:
    """A C-contiguous array of this shape and dtype, or None."""
    if array is None:
        return None
    check(function, name, array, shape, dtype)
    return contiguous(array)


def contiguous(array: Array) -> Array:
    """The array itself if it is C-contiguous and its elements are aligned, else a copy."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else array.copy(order="C")


def compiled_for(array: Array) -> Array:
    """The array itself, or a copy, of the one type that kernels in Numba are compiled for: C-contiguous, writeable."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned and flags.writeable else array.copy(order="C")


def rows_contiguous(array: Array) -> Array:
    """The array itself if its last axis is contiguous and its elements are aligned, else a copy."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned:  # nearly every array
        return array
    together = array.shape[-1] <= 1 or array.strides[-1] == array.itemsize
    return array if together and whole_strides(array) else array.copy(order="C")


def whole_strides(array: Array) -> bool:
    """Whether every element can be addressed by strides counted in elements."""
    flags = array.flags
    dense = flags.c_contiguous or flags.f_contiguous
    return flags.aligned and (dense or math.gcd(array.itemsize, *array.strides) == array.itemsize)


def check_out(function: str, out: Array, shape: tuple[int, ...], dtype: Any) -> None:
    """Raise unless a result can be written into `out`, whatever its strides."""
    check(function, "out", out, shape, dtype)
    if not out.flags.writeable:
        raise ValueError(f"{function}: expected out writeable")


def contiguous_out(function: str, out: Array | None, like: Array) -> Array:
    """Where an elementwise call writes: `out` itself if it can, else a new array."""
    if out is None:
        return np.empty(like.shape, like.dtype)
    check_out(function, out, like.shape, like.dtype)
    return out if out.flags.c_contiguous and out.flags.aligned else np.empty(like.shape, like.dtype)


def require_in_place(function: str, name: str, array: Array) -> None:
    """Raise unless the array can be updated where it is."""
    flags = array.flags
    if not (flags.c_contiguous and flags.writeable and flags.aligned):
        raise ValueError(f"{function}: expected {name} contiguous and writeable")
