"""Functions of single numbers on device arrays: a kernel for each, broadcast over any strides; filling and copying."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm.backends import device_operations
from fusedlstm.backends.cuda_api import MAKERS, cuda, jit, launch
from fusedlstm.backends.device_memory import Strided, overlap

Dtype = np.dtype[Any]


# Kernels


@functools.cache
def _kernel(name: str, loop: tuple[Dtype, ...], out: Dtype, rank: int) -> Any:
    """``out = operation(*inputs)``, the inputs cast to the dtypes `loop`, the result to `out`.

    All numbers of a layout come in a tuple each: `shape`, and for the output and then each input `offsets` and `steps`.
    """
    compute = device_operations.operation(name, loop[-1])
    store = out.type
    casts = [dtype.type for dtype in loop]
    first, second, third, fourth = (casts * 4)[:4]

    def places(i: int, shape: Any, steps: Any, offset: Any, array: int) -> Any:
        for axis in range(rank - 1, 0, -1):
            rest = i // shape[axis]
            offset += (i - rest * shape[axis]) * steps[array * rank + axis]
            i = rest
        return offset + i * steps[array * rank]

    place = jit(places, device=True)

    def unary(y: Any, a: Any, shape: Any, offsets: Any, steps: Any, count: int) -> None:
        for i in range(cuda.grid(1), count, cuda.gridsize(1)):
            x = first(a[place(i, shape, steps, offsets[1], 1)])
            y[place(i, shape, steps, offsets[0], 0)] = store(compute(x))

    def binary(y: Any, a: Any, b: Any, shape: Any, offsets: Any, steps: Any, count: int) -> None:
        for i in range(cuda.grid(1), count, cuda.gridsize(1)):
            x0 = first(a[place(i, shape, steps, offsets[1], 1)])
            x1 = second(b[place(i, shape, steps, offsets[2], 2)])
            y[place(i, shape, steps, offsets[0], 0)] = store(compute(x0, x1))

    def ternary(y: Any, a: Any, b: Any, c: Any, shape: Any, offsets: Any, steps: Any, count: int) -> None:
        for i in range(cuda.grid(1), count, cuda.gridsize(1)):
            x0 = first(a[place(i, shape, steps, offsets[1], 1)])
            x1 = second(b[place(i, shape, steps, offsets[2], 2)])
            x2 = third(c[place(i, shape, steps, offsets[3], 3)])
            y[place(i, shape, steps, offsets[0], 0)] = store(compute(x0, x1, x2))

    def quaternary(y: Any, a: Any, b: Any, c: Any, d: Any, shape: Any, offsets: Any, steps: Any, count: int) -> None:
        for i in range(cuda.grid(1), count, cuda.gridsize(1)):
            x0 = first(a[place(i, shape, steps, offsets[1], 1)])
            x1 = second(b[place(i, shape, steps, offsets[2], 2)])
            x2 = third(c[place(i, shape, steps, offsets[3], 3)])
            x3 = fourth(d[place(i, shape, steps, offsets[4], 4)])
            y[place(i, shape, steps, offsets[0], 0)] = store(compute(x0, x1, x2, x3))

    function = (unary, binary, ternary, quaternary)[len(loop) - 1]
    arrays = ", ".join(f"{numba_name(dtype)}[::1]" for dtype in (out, *loop))
    layout = ", ".join(f"UniTuple(int64, {n})" for n in (rank, len(loop) + 1, rank * (len(loop) + 1)))
    label = f"{name}({', '.join(map(str, loop))}) -> {out}, rank {rank}"
    family = f"elementwise, {rank} {'axis' if rank == 1 else 'axes'}"
    return jit(function, name=label, family=family, signatures=[f"void({arrays}, {layout}, int64)"])


def numba_name(dtype: Dtype) -> str:
    return "boolean" if dtype.kind == "b" else dtype.name


def _make_all() -> None:
    """Each operation on floats, the commonest on others, and one for each number of axes."""
    boolean, integer = np.dtype(bool), np.dtype(np.int64)
    floats = np.dtype(np.float32), np.dtype(np.float64)
    for dtype, other in (floats, floats[::-1]):
        for name in device_operations.names(dtype):
            loop, out = device_operations.loop(name, dtype)
            _kernel(name, loop, out, 1)
        _kernel("positive", (dtype,), other, 1)
        _kernel("equal", *device_operations.loop("equal", dtype), 2)  # argmax needs it, and the next
        _kernel("select", *device_operations.loop("select", integer), 2)
        for rank in (2, 4, 8):
            for name in ("add", "select"):
                _kernel(name, *device_operations.loop(name, dtype), rank)
    for name in ("logical_and", "logical_or", "logical_not"):
        _kernel(name, *device_operations.loop(name, boolean), 1)
    for rank in (1, 2):
        _kernel("add_place", *device_operations.loop("add_place", integer), rank)


MAKERS.append(_make_all)


# Layouts


@functools.lru_cache(4096)
def collapse(shape: tuple[int, ...], *steps: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Shape and strides with as few axes as address the same elements of each array, the first one's nearly in order.

    Returns
    -------
    shape, and for each array its strides; of 1, 2, 4, 8 ... axes, so that there are few different kernels.
    """
    axes = [axis for axis, n in enumerate(shape) if n != 1]
    axes.sort(key=lambda axis: -abs(steps[0][axis]))
    sizes: list[int] = []
    strides: list[list[int]] = [[] for _ in steps]
    for axis in axes:
        n = shape[axis]
        if sizes and all(merged[-1] == n * given[axis] for merged, given in zip(strides, steps, strict=True)):
            sizes[-1] *= n
            for merged, given in zip(strides, steps, strict=True):
                merged[-1] = given[axis]
        else:
            sizes.append(n)
            for merged, given in zip(strides, steps, strict=True):
                merged.append(given[axis])
    missing = (1 << max(len(sizes) - 1, 0).bit_length()) - len(sizes)
    return (1,) * missing + tuple(sizes), *((0,) * missing + tuple(merged) for merged in strides)


def in_order(shape: Sequence[int], steps: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes and strides of the axes, neighbours that lie together as one; none of size 1."""
    sizes: list[int] = []
    strides: list[int] = []
    for n, step in zip(shape, steps, strict=True):
        if n == 1:
            continue
        if strides and strides[-1] == n * step:
            sizes[-1] *= n
            strides[-1] = step
        else:
            sizes.append(n)
            strides.append(step)
    return tuple(sizes), tuple(strides)


def broadcast(array: Strided, shape: tuple[int, ...]) -> Any:
    """A view of this shape. ValueError if the array does not broadcast to it."""
    if array.shape == shape:
        return array
    extra = len(shape) - len(array.shape)
    if extra < 0 or any(n not in (1, m) for n, m in zip(array.shape, shape[extra:], strict=True)):
        raise ValueError(f"device array: shape {array.shape} does not broadcast to {shape}")
    steps = [0 if n == 1 else step for n, step in zip(array.shape, array.steps, strict=True)]
    return array.seen_as(shape, (*(0,) * extra, *steps))


def run(name: str, loop: tuple[Dtype, ...], out: Strided, inputs: Sequence[Strided]) -> None:
    """``out[...] = name(*inputs)``, computed in the dtypes `loop`; the inputs are broadcast."""
    size = math.prod(out.shape)
    if not size:
        return
    seen = [_apart(broadcast(x, out.shape), out) for x in inputs]
    shape, *steps = collapse(out.shape, out.steps, *(x.steps for x in seen))
    kernel = _kernel(name, loop, out.dtype, len(shape))
    arrays = (out, *seen)
    offsets = tuple(x.offset for x in arrays)
    launch(kernel, size, *(x.flat_memory for x in arrays), shape, offsets, sum(steps, ()), size)


def _apart(x: Any, out: Strided) -> Any:
    """The input, or a copy of it where writing the output would change what is still to be read."""
    same = (x.address, x.steps, x.dtype) == (out.address, out.steps, out.dtype)
    return x if same or not overlap(x, out) else copy(x)


# Filling and copying


@jit(signatures=[f"void({t}[::1], {t})" for t in ("boolean", "int64", "float32", "float64")])
def set_one(y: Any, value: Any) -> None:
    """y[0] = value."""
    if cuda.grid(1) == 0:
        y[0] = value


@jit(name="count_up", signatures=[f"void({t}[::1], {t}, {t}, int64)" for t in ("int64", "float32", "float64")])
def _count_up(y: Any, start: Any, step: Any, count: Any) -> None:
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        y[i] = start + i * step


def count_up(out: Strided, start: Any, step: Any) -> None:
    """``out[i] = start + i step``, of one axis without gaps."""
    number = out.dtype.type
    launch(_count_up, math.prod(out.shape), out.flat_memory, number(start), number(step), math.prod(out.shape))


@functools.lru_cache(512)
def _constant(cls: Any, value: Any, sign: float, dtype: Dtype) -> Any:
    array = cls.new((), dtype)
    launch(set_one, 1, array.flat_memory, dtype.type(value))
    array.writeable = False
    return array


def constant(cls: Any, value: Any, dtype: Dtype) -> Any:
    """A number on the device, as a 0-d array never to be written to; it travels as an argument of a kernel."""
    value = dtype.type(value).item()
    return _constant(cls, value, math.copysign(1.0, value), dtype)


def copy(x: Strided, dtype: Dtype | None = None) -> Any:
    """A copy in C order."""
    out = x.new(x.shape, dtype or x.dtype)
    assign(out, x)
    return out


def assign(out: Strided, x: Strided) -> None:
    """``out[...] = x``, cast to the dtype of `out`."""
    loop = np.dtype(bool) if out.dtype.kind == "b" and x.dtype.kind == "b" else x.dtype
    if out.dtype.kind == "b" and loop.kind != "b":
        run("not_equal", (loop, loop), out, (x, constant(type(x), 0, loop)))
    else:
        run("positive", (loop,), out, (x,))


def fill(out: Strided, value: Any) -> None:
    """``out[...] = value``, a number."""
    assign(out, constant(type(out), value, out.dtype))


def select(out: Strided, which: Strided, a: Strided, b: Strided) -> None:
    """``out[...] = where(which, a, b)``, a and b cast to the dtype of `out`."""
    run("select", (np.dtype(bool), out.dtype, out.dtype), out, (which, a, b))


def operand(cls: Any, x: Any, dtype: Dtype) -> Strided:
    """A device array as it is, a number as one of `dtype`."""
    return x if isinstance(x, Strided) else constant(cls, x, dtype)
