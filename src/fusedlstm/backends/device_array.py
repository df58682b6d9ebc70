"""`DeviceArray`: numbers on a GPU that NumPy's functions and operators take, so that code written for NumPy runs there.

What no kernel does is done by NumPy on the host, and counted in `transfers`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike, NDArray

from fusedlstm.backends import device_elementwise as elementwise
from fusedlstm.backends import device_indexing, device_interchange, device_ufuncs
from fusedlstm.backends.device_functions import FUNCTIONS
from fusedlstm.backends.device_memory import Strided, download, pool, transfers, upload
from fusedlstm.backends.device_methods import Methods

__all__ = ["DeviceArray", "empty", "full", "is_device", "pool", "to_device", "to_host", "transfers", "zeros"]

#: What ufuncs take beside device arrays.
_OPERANDS = (Strided, np.ndarray, np.generic, int, float, list, tuple)


class Flags:
    """As `numpy.ndarray.flags`."""

    aligned = True

    def __init__(self, array: DeviceArray) -> None:
        self._array = array

    @property
    def c_contiguous(self) -> bool:
        return self._array.contiguous

    @property
    def f_contiguous(self) -> bool:
        return self._array.T.contiguous

    @property
    def writeable(self) -> bool:
        return self._array.writeable

    @writeable.setter
    def writeable(self, value: bool) -> None:
        self._array.writeable = bool(value)

    def __getitem__(self, name: str) -> bool:
        return bool(getattr(self, name.lower()))


class DeviceArray(Methods, NDArrayOperatorsMixin):
    """An array on the device, as `numpy.ndarray` where it can be.

    Made by `to_device`, `zeros`, `empty`, `full`, NumPy's ``like=`` and by computing. Basic indexing gives views,
    but for a single number a copy, as with NumPy.
    Results of reductions are 0-d arrays, which `float` fetches. Indices on the device that are out of bounds are not
    found out: they count as the nearest that is within.

    See Also
    --------
    transfers : counts what goes between host and device.
    """

    __slots__ = ("__weakref__",)
    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def of(cls, x: Any, reason: str = "to_device") -> DeviceArray:
        """Any array as one on the device; a single number, which may not be written to, is no transfer."""
        if isinstance(x, (int, float, np.generic)) or (isinstance(x, np.ndarray) and not x.ndim):
            x = np.asarray(x)
            return elementwise.constant(cls, x, x.dtype)  # type: ignore[no-any-return]
        return to_device(x, reason=reason)

    # Shape and strides

    @property
    def flags(self) -> Flags:
        return Flags(self)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def flat(self) -> Any:
        return to_host(self).flat

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a device array without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[DeviceArray]:
        return (self[i] for i in range(len(self)))

    def __reduce__(self) -> Any:
        return to_device, (to_host(self),)

    # To the host

    def _fetch(self, reason: str) -> NDArray[Any]:
        return download(self if self.contiguous else elementwise.copy(self), reason)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("device array: as an array on the host it is a copy")
        host = self._fetch("to_host: __array__")
        return host if dtype is None else host.astype(dtype, copy=False)

    def item(self, *index: int) -> Any:
        return (self[index] if index else self)._fetch("to_host: item").item()

    def tolist(self) -> Any:
        return self._fetch("to_host: tolist").tolist()

    def __float__(self) -> float:
        return float(self._fetch("to_host: float").item())

    def __int__(self) -> int:
        return int(self._fetch("to_host: int").item())

    def __index__(self) -> int:
        return operator.index(self._fetch("to_host: index").item())

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError("the truth value of an array with more than one element is ambiguous")
        return bool(self._fetch("to_host: bool").item())

    def nonzero(self) -> tuple[DeviceArray, ...]:
        return tuple(to_device(i) for i in np.nonzero(self._fetch("to_host: nonzero")))

    def __repr__(self) -> str:
        return f"<DeviceArray shape={self.shape} dtype={self.dtype}>"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and not self.ndim else format(str(self), spec)

    # To other libraries

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return device_interchange.interface(self)

    def __dlpack_device__(self) -> tuple[int, int]:
        return device_interchange.dlpack_device(self)

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        if dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(f"device array: expected dl_device {self.__dlpack_device__()}, got {dl_device}")
        return device_interchange.dlpack(self, stream, copy)

    # Indexing

    def __getitem__(self, key: Any) -> DeviceArray:
        parts, basic = device_indexing.parse(self, _with_positions(key))
        if basic:
            view = device_indexing.view(self, parts)
            one_number = not view.ndim and not any(part is ... for part in (key if isinstance(key, tuple) else (key,)))
            return view.copy() if one_number else view  # type: ignore[no-any-return]
        return device_indexing.gather(*self._advanced(parts))  # type: ignore[no-any-return]

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.writeable:
            raise ValueError("device array: assignment destination is read-only")
        if _is_bool(key) and _is_plain(value):
            which = to_device(key)
            if which.shape != self.shape[: which.ndim]:
                raise IndexError(f"boolean index of shape {which.shape} does not match array of shape {self.shape}")
            which = which.reshape(*which.shape, *(1,) * (self.ndim - which.ndim))
            elementwise.select(self, which, _operand(value, self.dtype), self)
            return
        parts, basic = device_indexing.parse(self, _with_positions(key))
        given = _operand(value, self.dtype)
        if basic:
            target = device_indexing.view(self, parts)
            while given.ndim > target.ndim and given.shape[0] == 1:  # as NumPy allows
                given = given[0]
            if not _same_place(given, target):
                elementwise.assign(target, given)
        else:
            device_indexing.scatter(*self._advanced(parts), given)

    def _advanced(self, parts: list[Any]) -> tuple[Any, dict[int, Any]]:
        """The view that the slices make, and the arrays that index which of its axes; integers are such, too."""
        plain = [slice(None) if isinstance(part, (int, np.integer)) else part for part in parts]
        seen = device_indexing.view(self, plain)
        indices = {}
        for axis, part in enumerate(parts):
            if part is None or isinstance(part, slice):
                continue
            host = part if isinstance(part, DeviceArray) else np.asarray(part)
            if host.dtype.kind not in "iu" and host.size:
                raise IndexError(f"arrays used as indices must be of integer (or boolean) type, got {host.dtype}")
            if isinstance(host, np.ndarray) and host.size:
                n = seen.shape[axis]
                if host.min() < -n or host.max() >= n:
                    raise IndexError(f"index out of bounds for axis {axis} with size {n}")
            indices[axis] = _operand(host.astype(np.int64, copy=False), np.dtype(np.int64))
        return seen, indices

    # NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if not all(isinstance(x, _OPERANDS) for x in inputs):
            return NotImplemented
        outs = options.pop("out", (None,))
        if len(outs) == 1 and isinstance(outs[0], np.ndarray):
            outs[0][...] = to_host(self.__array_ufunc__(ufunc, method, *inputs, **options))
            return outs[0]
        if len(outs) == 1:
            result = device_ufuncs.compute(type(self), ufunc, method, inputs, outs[0], options)
            if result is not NotImplemented:
                return result
        if outs[0] is not None:
            options["out"] = outs
        name, function = f"{ufunc.__name__}.{method}", getattr(ufunc, method)
        return device_ufuncs.on_host(type(self), function, inputs, options, name, inputs[0] if method == "at" else None)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        implementation = FUNCTIONS.get(function)
        if implementation is not None:
            result = implementation(type(self), *args, **kwargs)
            if result is not NotImplemented:
                return result
        return device_ufuncs.on_host(type(self), function, args, kwargs, function.__name__)


def _is_plain(value: Any) -> bool:
    """Whether it is a single number."""
    return isinstance(value, (int, float, np.generic)) or getattr(value, "ndim", None) == 0


def _operand(x: Any, dtype: np.dtype[Any]) -> Any:
    """Anything that is to be assigned, on the device."""
    if isinstance(x, Strided):
        return x
    if isinstance(x, (int, float, np.generic)) or (isinstance(x, np.ndarray) and not x.ndim):
        return elementwise.constant(DeviceArray, x, dtype)
    return to_device(x)


def _same_place(x: Strided, y: Strided) -> bool:
    """As after ``x[1:] += y``, which NumPy ends by assigning the result to itself."""
    return x.block is y.block and (x.offset, x.shape, x.steps, x.dtype) == (y.offset, y.shape, y.steps, y.dtype)


def _is_bool(x: Any) -> bool:
    return isinstance(x, (DeviceArray, np.ndarray)) and x.dtype.kind == "b"


def _with_positions(key: Any) -> Any:
    """The index with integer arrays in the place of bools; their number has to be known, so this is the host's."""
    parts = key if isinstance(key, tuple) else (key,)
    if not any(isinstance(p, (bool, np.bool_, list)) or _is_bool(p) for p in parts):
        return tuple(int(p) if isinstance(p, np.ndarray) and not p.ndim else p for p in parts)
    result: list[Any] = []
    for part in parts:
        part = np.asarray(part) if isinstance(part, (list, bool, np.bool_)) else part
        if _is_bool(part):
            if not part.ndim:
                raise IndexError("device array: expected a boolean index to have axes")
            host = part._fetch("to_host: boolean index") if isinstance(part, DeviceArray) else part
            result += np.nonzero(host)
        else:
            result.append(part)
    return tuple(result)


def is_device(x: Any) -> bool:
    """Whether it is a DeviceArray."""
    return isinstance(x, DeviceArray)


def to_device(array: Any, dtype: DTypeLike | None = None, *, reason: str = "to_device") -> DeviceArray:
    """A host array, copied; an array of another library on the device, without a copy; a DeviceArray as it is.

    Parameters
    ----------
    array : array
        Anything with ``__cuda_array_interface__``, or ``__dlpack__`` on CUDA, is not copied.
    dtype : dtype, optional
        The device's array is cast to it.

    Raises
    ------
    CudaError
        If there is no device, or no memory left.
    TypeError
        If kernels do not compute with the dtype.
    """
    if isinstance(array, DeviceArray):
        result = array
    elif device_interchange.is_foreign(array):
        result = device_interchange.wrap(DeviceArray, array)
    else:
        host = np.asarray(array) if dtype is None else np.asarray(array, dtype)
        result = DeviceArray.new(host.shape, host.dtype)
        upload(result, host, reason)
    return result if dtype is None else result.astype(dtype, copy=False)


def to_host(array: Any) -> NDArray[Any]:
    """A copy on the host of a device array; anything else as an array."""
    return array._fetch("to_host") if isinstance(array, DeviceArray) else np.asarray(array)


def empty(shape: Any, dtype: DTypeLike = np.float32) -> DeviceArray:
    """An array whose numbers are any."""
    sizes: Any = (shape,) if isinstance(shape, (int, np.integer)) else shape
    return DeviceArray.new(sizes, dtype)  # type: ignore[no-any-return]


def zeros(shape: Any, dtype: DTypeLike = np.float32) -> DeviceArray:
    """An array of zeros."""
    return full(shape, 0, dtype)


def full(shape: Any, value: Any, dtype: DTypeLike = np.float32) -> DeviceArray:
    """An array of one number."""
    array = empty(shape, dtype)
    elementwise.fill(array, value)
    return array
