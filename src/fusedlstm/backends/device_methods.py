"""What `numpy.ndarray` has as methods: views and copies, and what NumPy's functions do, the array first."""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fusedlstm.backends import device_elementwise as elementwise
from fusedlstm.backends.device_memory import DTYPES, Strided, c_strides
from fusedlstm.backends.device_reductions import normalized


def _reduction(ufunc: np.ufunc) -> Callable[..., Any]:
    def method(
        self: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, **others: Any
    ) -> Any:
        return ufunc.reduce(self, axis=axis, dtype=dtype, out=out, keepdims=keepdims, **others)

    return method


def _extreme(ufunc: np.ufunc) -> Callable[..., Any]:
    def method(self: Any, axis: Any = None, out: Any = None, keepdims: bool = False, **others: Any) -> Any:
        return ufunc.reduce(self, axis=axis, out=out, keepdims=keepdims, **others)

    return method


class Methods(Strided):
    """They take what NumPy's take; all but the views are computed by NumPy's functions, that is, on the device."""

    __slots__ = ()

    # Views

    @property
    def T(self) -> Any:  # noqa: N802 - NumPy's name
        return self.transpose()

    def transpose(self, *axes: Any) -> Any:
        given = axes[0] if len(axes) == 1 and not isinstance(axes[0], (int, np.integer)) else axes or None
        order = range(self.ndim)[::-1] if given is None else [operator.index(a) for a in given]
        if sorted(a % builtins.max(self.ndim, 1) for a in order) != list(range(self.ndim)):
            raise ValueError(f"device array: axes {tuple(order)} do not match an array of {self.ndim}")
        return self.seen_as([self.shape[a] for a in order], [self.steps[a] for a in order])

    def swapaxes(self, axis1: int, axis2: int) -> Any:
        order = list(range(self.ndim))
        order[axis1], order[axis2] = order[axis2], order[axis1]
        return self.transpose(order)

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> Any:
        """A view where that can be, else a copy."""
        given = shape[0] if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)) else shape
        sizes = [operator.index(n) for n in given]
        if order != "C":
            raise NotImplementedError(f"device array: expected reshape in order 'C', got {order!r}")
        if sizes.count(-1) == 1:
            known = math.prod(n for n in sizes if n != -1)
            sizes[sizes.index(-1)] = self.size // known if known else 0
        if math.prod(sizes) != self.size or builtins.min(sizes, default=0) < 0:
            raise ValueError(f"cannot reshape array of size {self.size} into shape {tuple(given)}")
        steps = _split(self.shape, self.steps, sizes) if self.size else c_strides(sizes)
        if steps is None or copy:
            return elementwise.copy(self).seen_as(sizes, c_strides(sizes))
        return self.seen_as(sizes, steps)

    def ravel(self, order: str = "C") -> Any:
        return self.reshape(-1, order=order)

    def flatten(self, order: str = "C") -> Any:
        return self.reshape(-1, order=order, copy=True)

    def squeeze(self, axis: Any = None) -> Any:
        ones = normalized(axis, self.ndim)
        if axis is None:
            ones = tuple(a for a in ones if self.shape[a] == 1)
        if any(self.shape[a] != 1 for a in ones):
            raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
        left = [a for a in range(self.ndim) if a not in ones]
        return self.seen_as([self.shape[a] for a in left], [self.steps[a] for a in left])

    def view(self, dtype: DTypeLike | None = None) -> Any:
        """The same memory; as another dtype of the same size, too."""
        seen = self.seen_as(self.shape, self.steps)
        if dtype is not None:
            if np.dtype(dtype).itemsize != self.dtype.itemsize or np.dtype(dtype) not in DTYPES:
                raise TypeError(f"device array: cannot view {self.dtype} as {np.dtype(dtype)}")
            seen.dtype = np.dtype(dtype)
        return seen

    # Copies

    def astype(
        self: Any, dtype: DTypeLike, order: str = "K", casting: Any = "unsafe", subok: bool = True, copy: bool = True
    ) -> Any:
        wanted = np.dtype(dtype)
        if wanted == self.dtype and not copy:
            return self
        if wanted not in DTYPES:
            raise TypeError(f"device array: expected a dtype of bool, integers, float32 or float64, got {wanted}")
        if not np.can_cast(self.dtype, wanted, casting):
            raise TypeError(f"device array: cannot cast {self.dtype} to {wanted} with casting={casting!r}")
        return elementwise.copy(self, wanted)

    def copy(self: Any, order: str = "C") -> Any:
        return elementwise.copy(self)

    def __copy__(self: Any) -> Any:
        return self.copy()

    def __deepcopy__(self: Any, memo: Any) -> Any:
        return self.copy()

    # Along axes

    sum = _reduction(np.add)
    prod = _reduction(np.multiply)
    max = _extreme(np.maximum)
    min = _extreme(np.minimum)
    all = _extreme(np.logical_and)
    any = _extreme(np.logical_or)

    def _count(self: Any, axis: Any) -> int:
        return math.prod(self.shape[a] for a in normalized(axis, self.ndim))

    def mean(self: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        number = dtype or (self.dtype if self.dtype.kind == "f" else np.float64)
        total = self.sum(axis, number, None, keepdims)
        return np.divide(total, self._count(axis), out=total if out is None else out)

    def var(
        self: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: int = 0, keepdims: bool = False
    ) -> Any:
        away = np.subtract(self, self.mean(axis, dtype, None, True))
        total = np.square(away).sum(axis, None, None, keepdims)
        return np.divide(total, builtins.max(self._count(axis) - ddof, 0), out=total if out is None else out)

    def std(
        self: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: int = 0, keepdims: bool = False
    ) -> Any:
        variance = self.var(axis, dtype, None, ddof, keepdims)
        return np.sqrt(variance, out=variance if out is None else out)

    def argmax(self: Any, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Any:
        return _put(out, _place_of_extreme(np.maximum, self, axis, keepdims))

    def argmin(self: Any, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Any:
        return _put(out, _place_of_extreme(np.minimum, self, axis, keepdims))

    def cumsum(self: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
        return np.add.accumulate(self.ravel() if axis is None else self, axis or 0, dtype, out)

    def cumprod(self: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
        return np.multiply.accumulate(self.ravel() if axis is None else self, axis or 0, dtype, out)

    def take(self: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise") -> Any:
        x = self.ravel() if axis is None else self
        axis = (axis or 0) % builtins.max(x.ndim, 1)
        wanted: Any = indices if isinstance(indices, Strided) else np.asarray(indices)
        if mode == "wrap":
            wanted = np.remainder(wanted, x.shape[axis])
        elif mode == "clip":
            wanted = np.minimum(np.maximum(wanted, 0), builtins.max(x.shape[axis] - 1, 0))
        return _put(out, x[(*(slice(None),) * axis, wanted)])

    def repeat(self: Any, repeats: Any, axis: int | None = None) -> Any:
        x = self.ravel() if axis is None else self
        axis = (axis or 0) % builtins.max(x.ndim, 1)
        return x.take(np.repeat(np.arange(x.shape[axis]), repeats), axis)

    def sort(self: Any, axis: int = -1, kind: Any = None, order: Any = None) -> None:
        np.copyto(self, np.sort(self, axis))

    def argsort(self: Any, axis: int = -1, kind: Any = None, order: Any = None) -> Any:
        return np.argsort(self, axis)

    # Each number

    def clip(self: Any, min: Any = None, max: Any = None, out: Any = None) -> Any:  # noqa: A002 - NumPy's names
        low = self if min is None else np.maximum(self, min, out=out if max is None else None)
        return low if max is None else np.minimum(low, max, out=out)

    def round(self: Any, decimals: int = 0, out: Any = None) -> Any:
        if not decimals:
            return np.rint(self, out=out)
        scale = 10.0**decimals
        return np.divide(np.rint(np.multiply(self, scale)), scale, out=out)

    def erfc(self: Any) -> Any:
        """1 - erf of each number, for which NumPy has no function."""
        out = self.new(self.shape, self.dtype)
        elementwise.run("erfc", (self.dtype,), out, (self,))
        return out

    def fill(self: Any, value: Any) -> None:
        np.copyto(self, value)

    def dot(self: Any, other: Any, out: Any = None) -> Any:
        return np.dot(self, other, out)


def _put(out: Any, result: Any) -> Any:
    if out is None:
        return result
    np.copyto(out, result)
    return out


def _split(shape: tuple[int, ...], steps: tuple[int, ...], new: list[int]) -> tuple[int, ...] | None:
    """The strides with which the same memory has another shape; None if there are no such."""
    result: list[int] = []
    at = 0
    for n, step in zip(*elementwise.in_order(shape, steps), strict=True):
        group: list[int] = []
        while math.prod(group) < n:
            if at == len(new):
                return None
            group.append(new[at])
            at += 1
        if math.prod(group) != n:
            return None
        result += [s * step for s in c_strides(group)]
    return (*result, *(0,) * (len(new) - at))


def _place_of_extreme(ufunc: np.ufunc, x: Any, axis: int | None, keepdims: bool) -> Any:
    """The first place of the extreme, of the first NaN if there is one."""
    flat = x.reshape(-1) if axis is None else x
    along = 0 if axis is None else normalized(axis, x.ndim)[0]
    count = flat.shape[along]
    if not count:
        raise ValueError("attempt to get the place of the extreme of an empty sequence")
    there = np.equal(flat, ufunc.reduce(flat, axis=along, keepdims=True))
    if x.dtype.kind == "f":
        np.logical_or(there, np.isnan(flat), out=there)
    shape = [1] * flat.ndim
    shape[along] = count
    numbers = np.arange(count, like=x).reshape(shape)
    places: Any = np.where(there, numbers, count)
    found = places.min(axis=along, keepdims=keepdims)
    return found.reshape((1,) * x.ndim) if keepdims and axis is None else found
