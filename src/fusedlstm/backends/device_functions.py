"""NumPy's functions on device arrays, made of views, kernels and each other.

An implementation gets the class of the device arrays ahead of the function's own arguments; it returns NotImplemented
where it has no way for them, and NumPy computes on the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fusedlstm.backends import device_elementwise as elementwise
from fusedlstm.backends import device_products as products
from fusedlstm.backends.device_memory import Strided, overlap
from fusedlstm.backends.device_reductions import normalized

#: Function of NumPy -> implementation.
FUNCTIONS: dict[Any, Callable[..., Any]] = {}


def implements(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(implementation: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS.update(dict.fromkeys(functions, implementation))
        return implementation

    return register


# Those that are methods, too

_METHODS = (
    "all", "any", "argmax", "argmin", "clip", "copy", "cumprod", "cumsum", "max", "mean", "min", "nonzero", "prod",
    "ravel", "repeat", "reshape", "round", "squeeze", "std", "sum", "swapaxes", "take", "transpose", "var",
)  # fmt: skip

for _name in _METHODS:

    def _method(cls: Any, x: Any, *args: Any, _name: str = _name, **kwargs: Any) -> Any:
        kwargs = {k: v for k, v in kwargs.items() if v is not np._NoValue}
        if kwargs.keys() & ({"where", "mean", "correction"} if _name in ("mean", "std", "var") else ()):
            return NotImplemented
        if not isinstance(x, Strided):
            x = cls.of(x)
        for np_name, own in (("a_min", "min"), ("a_max", "max"), ("subok", None)):
            if np_name in kwargs and (value := kwargs.pop(np_name)) is not None and own:
                kwargs[own] = value
        return getattr(x, _name)(*args, **kwargs)

    FUNCTIONS[getattr(np, _name)] = _method
FUNCTIONS[np.amax], FUNCTIONS[np.amin] = FUNCTIONS[np.max], FUNCTIONS[np.min]
FUNCTIONS[np.around] = FUNCTIONS[np.round]


@implements(np.shape)
def _shape(cls: Any, x: Any) -> Any:
    return x.shape


@implements(np.ndim)
def _ndim(cls: Any, x: Any) -> Any:
    return x.ndim


@implements(np.size)
def _size(cls: Any, x: Any, axis: Any = None) -> Any:
    return math.prod(x.shape[a] for a in normalized(axis, x.ndim))


@implements(np.result_type)
def _result_type(cls: Any, *args: Any) -> Any:
    return np.result_type(*(x.dtype if isinstance(x, Strided) else x for x in args))


@implements(np.iscomplexobj)
def _iscomplexobj(cls: Any, x: Any) -> bool:
    return False


@implements(np.isrealobj)
def _isrealobj(cls: Any, x: Any) -> bool:
    return True


@implements(np.shares_memory, np.may_share_memory)
def _shares_memory(cls: Any, a: Any, b: Any, max_work: Any = None) -> bool:
    return isinstance(a, Strided) and isinstance(b, Strided) and overlap(a, b)


# Making


def _made(cls: Any, shape: Any, dtype: Any, value: Any = None) -> Any:
    array = cls.new((shape,) if isinstance(shape, (int, np.integer)) else shape, dtype)
    if value is not None:
        array[...] = value
    return array


@implements(np.empty)
def _empty(cls: Any, shape: Any, dtype: Any = float, order: str = "C", **_: Any) -> Any:
    return _made(cls, shape, dtype)


@implements(np.zeros)
def _zeros(cls: Any, shape: Any, dtype: Any = float, order: str = "C", **_: Any) -> Any:
    return _made(cls, shape, dtype, 0)


@implements(np.ones)
def _ones(cls: Any, shape: Any, dtype: Any = None, order: str = "C", **_: Any) -> Any:
    return _made(cls, shape, dtype or float, 1)


@implements(np.full)
def _full(cls: Any, shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", **_: Any) -> Any:
    return _made(cls, shape, np.asarray(fill_value).dtype if dtype is None else dtype, fill_value)


@implements(np.array)
def _array(cls: Any, x: Any, dtype: Any = None, *, copy: Any = True, **_: Any) -> Any:
    made = _asarray(cls, x, dtype)
    return made.copy() if copy and (made is x or not made.writeable) else made


@implements(np.asarray, np.asanyarray, np.ascontiguousarray)
def _asarray(cls: Any, x: Any, dtype: Any = None, *_: Any, **__: Any) -> Any:
    if isinstance(x, (list, tuple)) and any(isinstance(item, Strided) for item in x):
        x = np.stack([cls.of(item) for item in x])
    array = cls.of(x)
    return array.astype(dtype or array.dtype, copy=not array.contiguous)


@implements(np.arange)
def _arange(cls: Any, *args: Any, dtype: Any = None, **_: Any) -> Any:
    start, stop, step = (0, args[0], 1) if len(args) == 1 else (*args[:2], args[2] if len(args) > 2 else 1)
    dtype = np.dtype(np.result_type(start, stop, step) if dtype is None else dtype)
    array = cls.new((max(math.ceil((stop - start) / step), 0),), dtype)
    elementwise.count_up(array, start, step)
    return array


def _like(value: Any) -> Callable[..., Any]:
    def make(
        cls: Any, x: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, **_: Any
    ) -> Any:
        return _made(cls, x.shape if shape is None else shape, dtype or x.dtype, value)

    return make


for _function, _value in ((np.empty_like, None), (np.zeros_like, 0), (np.ones_like, 1)):
    FUNCTIONS[_function] = _like(_value)


@implements(np.full_like)
def _full_like(cls: Any, x: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True,
               shape: Any = None, **_: Any) -> Any:  # fmt: skip
    return _made(cls, x.shape if shape is None else shape, dtype or x.dtype, fill_value)


@implements(np.copyto)
def _copyto(cls: Any, dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> Any:
    if not isinstance(dst, cls):
        return NotImplemented
    if where is True:
        dst[...] = src
    else:
        source = src if isinstance(src, Strided) else cls.of(np.asarray(src, dst.dtype))
        elementwise.select(dst, cls.of(where), source, dst)
    return None


# Putting together, taking apart, moving axes


@implements(np.concatenate)
def _concatenate(
    cls: Any, arrays: Any, axis: int | None = 0, out: Any = None, dtype: Any = None, casting: str = ""
) -> Any:
    parts = [cls.of(x) for x in arrays]
    if axis is None:
        parts, axis = [x.ravel() for x in parts], 0
    (axis,) = normalized(axis, parts[0].ndim)
    shape = list(parts[0].shape)
    if any(x.ndim != len(shape) or x.shape[:axis] + x.shape[axis + 1 :] != (*shape[:axis], *shape[axis + 1 :])
           for x in parts):  # fmt: skip
        raise ValueError(f"concatenate: expected shapes that agree but for axis {axis}, got {[x.shape for x in parts]}")
    shape[axis] = sum(x.shape[axis] for x in parts)
    if out is None:
        out = cls.new(shape, dtype or np.result_type(*(x.dtype for x in parts)))
    begin = 0
    for x in parts:
        end = begin + x.shape[axis]
        out[(slice(None),) * axis + (slice(begin, end),)] = x
        begin = end
    return out


@implements(np.stack)
def _stack(cls: Any, arrays: Any, axis: int = 0, out: Any = None, **kwargs: Any) -> Any:
    return np.concatenate([np.expand_dims(cls.of(x), axis) for x in arrays], axis, out, **kwargs)


@implements(np.vstack)
def _vstack(cls: Any, tup: Any, **kwargs: Any) -> Any:
    parts = [cls.of(x) for x in tup]
    return np.concatenate([x[None] if x.ndim == 1 else x for x in parts], 0, **kwargs)


@implements(np.hstack)
def _hstack(cls: Any, tup: Any, **kwargs: Any) -> Any:
    parts = [cls.of(x) for x in tup]
    return np.concatenate(parts, 0 if parts[0].ndim == 1 else 1, **kwargs)


@implements(np.split, np.array_split)
def _split(cls: Any, x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    (axis,) = normalized(axis, x.ndim)
    n = x.shape[axis]
    if isinstance(indices_or_sections, (int, np.integer)):
        ends = np.cumsum([len(part) for part in np.array_split(np.empty(n), indices_or_sections)]).tolist()
    else:
        ends = [*indices_or_sections, n]
    return [x[(slice(None),) * axis + (slice(b, e),)] for b, e in zip([0, *ends], ends, strict=False)]


@implements(np.expand_dims)
def _expand_dims(cls: Any, x: Any, axis: Any) -> Any:
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    added = normalized(tuple(axes), x.ndim + len(axes))
    return x[tuple(None if a in added else slice(None) for a in range(x.ndim + len(axes)))]


@implements(np.moveaxis)
def _moveaxis(cls: Any, x: Any, source: Any, destination: Any) -> Any:
    pairs = [a if isinstance(a, (tuple, list)) else (a,) for a in (source, destination)]
    sources, destinations = ([a % x.ndim for a in axes] for axes in pairs)
    order = [a for a in range(x.ndim) if a not in sources]
    for to, axis in sorted(zip(destinations, sources, strict=True)):
        order.insert(to, axis)
    return x.transpose(order)


@implements(np.broadcast_to)
def _broadcast_to(cls: Any, x: Any, shape: Any, subok: bool = False) -> Any:
    view = elementwise.broadcast(x, (shape,) if isinstance(shape, int) else tuple(shape))
    view = view.view()
    view.writeable = False
    return view


@implements(np.broadcast_arrays)
def _broadcast_arrays(cls: Any, *args: Any, subok: bool = False) -> Any:
    parts = [cls.of(x) for x in args]
    shape = np.broadcast_shapes(*(x.shape for x in parts))
    return tuple(np.broadcast_to(x, shape) for x in parts)


@implements(np.atleast_1d)
def _atleast_1d(cls: Any, *arrays: Any) -> Any:
    made = tuple(cls.of(x) if np.ndim(x) else cls.of(x).reshape(1) for x in arrays)
    return made[0] if len(made) == 1 else made


@implements(np.flip)
def _flip(cls: Any, m: Any, axis: Any = None) -> Any:
    axes = normalized(axis, m.ndim)
    return m[tuple(slice(None, None, -1 if a in axes else None) for a in range(m.ndim))]


@implements(np.roll)
def _roll(cls: Any, a: Any, shift: Any, axis: Any = None) -> Any:
    if axis is None:
        return np.roll(a.ravel(), shift, 0).reshape(a.shape)
    for by, along in np.broadcast(shift, axis):
        n = a.shape[along]
        cut = -int(by) % n if n else 0
        parts = [a[(slice(None),) * (int(along) % a.ndim) + (s,)] for s in (slice(cut, None), slice(cut))]
        a = np.concatenate(parts, along)
    return a


@implements(np.tile)
def _tile(cls: Any, A: Any, reps: Any) -> Any:
    times = (reps,) if isinstance(reps, (int, np.integer)) else tuple(reps)
    rank = max(A.ndim, len(times))
    times = (1,) * (rank - len(times)) + times
    sizes = (1,) * (rank - A.ndim) + A.shape
    spread = np.broadcast_to(
        A.reshape([n for size in sizes for n in (1, size)]),
        [n for r, s in zip(times, sizes, strict=True) for n in (r, s)],
    )
    return spread.reshape([r * s for r, s in zip(times, sizes, strict=True)], copy=True)


@implements(np.pad)
def _pad(cls: Any, array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    if mode != "constant" or np.ndim(kwargs.get("constant_values", 0)):
        return NotImplemented
    if isinstance(pad_width, dict):
        return NotImplemented
    widths = np.broadcast_to(pad_width, (array.ndim, 2)).tolist()
    shape = [before + n + after for n, (before, after) in zip(array.shape, widths, strict=True)]
    padded = _made(cls, shape, array.dtype, kwargs.get("constant_values", 0))
    padded[tuple(slice(before, before + n) for n, (before, _) in zip(array.shape, widths, strict=True))] = array
    return padded


# Choosing


@implements(np.where)
def _where(cls: Any, condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return condition.nonzero()
    which = cls.of(condition).astype(bool, copy=False)
    given: list[Any] = [v if isinstance(v, (Strided, int, float, np.generic)) else cls.of(v) for v in (x, y)]
    kinds = [v if type(v) in (bool, int, float) else v.dtype for v in given]
    dtype = np.result_type(*kinds)
    if all(type(v) in (bool, int, float) for v in given):
        dtype = np.result_type(*(np.asarray(v) for v in given))
    a, b = (elementwise.operand(cls, v, dtype) for v in given)
    out = cls.new(np.broadcast_shapes(which.shape, a.shape, b.shape), dtype)
    elementwise.select(out, which, a, b)
    return out


@implements(np.take_along_axis)
def _take_along_axis(cls: Any, arr: Any, indices: Any, axis: int | None = -1) -> Any:
    if axis is None:
        arr, axis = arr.ravel(), 0
    return cls.of(arr)[_along(cls, indices, axis, arr.shape)]


@implements(np.put_along_axis)
def _put_along_axis(cls: Any, arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    if axis is None:
        arr, axis = arr.ravel(), 0
    arr[_along(cls, indices, axis, arr.shape)] = values


def _along(cls: Any, indices: Any, axis: int, sizes: tuple[int, ...]) -> tuple[Any, ...]:
    places = []
    for a, size in enumerate(sizes):
        if a == axis % len(sizes):
            places.append(cls.of(indices))
        else:
            shape = [1] * len(sizes)
            shape[a] = size  # which the indices broadcast to
            places.append(_arange(cls, size).reshape(shape))
    return tuple(places)


# Judging


@implements(np.count_nonzero)
def _count_nonzero(cls: Any, a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return (a if a.dtype.kind == "b" else a != 0).sum(axis, None, None, keepdims)


@implements(np.isclose)
def _isclose(cls: Any, a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    a, b = cls.of(a), cls.of(b)
    near = (abs(a - b) <= atol + rtol * abs(b)) & np.isfinite(b) | (a == b)
    return near | ((a != a) & (b != b)) if equal_nan else near


@implements(np.allclose)
def _allclose(cls: Any, a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    return bool(np.isclose(a, b, rtol, atol, equal_nan).all())


@implements(np.array_equal)
def _array_equal(cls: Any, a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    a, b = cls.of(a1), cls.of(a2)
    if a.shape != b.shape:
        return False
    same = a == b
    return bool((same | ((a != a) & (b != b)) if equal_nan else same).all())


@implements(np.nan_to_num)
def _nan_to_num(cls: Any, x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    info = np.finfo(x.dtype)
    result = np.where(x != x, x.dtype.type(nan), x)
    result = np.where(result == np.inf, x.dtype.type(info.max if posinf is None else posinf), result)
    return np.where(result == -np.inf, x.dtype.type(info.min if neginf is None else neginf), result)


@implements(np.linalg.norm)
def _norm(cls: Any, x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002
    if ord is not None and (ord != 2 or isinstance(axis, tuple) or (axis is None and x.ndim != 1)):
        return NotImplemented
    return np.sqrt((x * x).sum(axis, None, None, keepdims))


# Products

FUNCTIONS |= {
    np.dot: products.dot,
    np.einsum: products.einsum,
    np.inner: products.inner,
    np.outer: products.outer,
    np.tensordot: products.tensordot,
    np.vdot: products.vdot,
}
