"""Sums, products, extremes along axes of device arrays, and running ones: in an order that only sizes decide.

So the same numbers give the same result to the bit, whatever GPU runs it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm.backends import device_elementwise as elementwise
from fusedlstm.backends import device_operations
from fusedlstm.backends.cuda_api import MAKERS, cuda, jit, launch, launch_blocks, simulated
from fusedlstm.backends.device_memory import Strided, c_strides

Dtype = np.dtype[Any]

_THREADS = 2 if simulated() else 256
_CHUNK = 8 if simulated() else 1024  # numbers that a block adds up before its sum is put aside
_ENOUGH_BLOCKS = 512  # to fill any GPU without parts
_RANK = 3  # axes kept: more are rare, and are copied together first


@functools.cache
def _kernel(name: str, dtype: Dtype) -> Any:
    """Reduces `count` numbers, `step` apart, for each place of the kept axes, as far as a part of `chunk` goes.

    A block takes `lanes` places, which are next to each other, and all its threads share the numbers of each.
    """
    combine, number = device_operations.operation(name, dtype), dtype.type
    threads = _THREADS

    def reduce(
        y: Any, x: Any, shape: Any, steps: Any, offset: Any, count: Any, step: Any, chunk: Any, parts: Any,
        lanes: Any, start: Any,
    ) -> None:  # fmt: skip
        partial = cuda.shared.array(threads, number)
        thread = cuda.threadIdx.x
        lane, row, rows = thread % lanes, thread // lanes, cuda.blockDim.x // lanes
        places = shape[0] * shape[1] * shape[2]
        tiles = (places + lanes - 1) // lanes
        for job in range(cuda.blockIdx.x, tiles * parts, cuda.gridDim.x):
            part = job // tiles
            place = (job - part * tiles) * lanes + lane
            total = start
            if place < places:
                outer = place // shape[2]
                first = outer // shape[1]
                begin = offset + first * steps[0] + (outer - first * shape[1]) * steps[1]
                begin += (place - outer * shape[2]) * steps[2]
                for i in range(part * chunk + row, min((part + 1) * chunk, count), rows):
                    total = combine(total, number(x[begin + i * step]))
            partial[thread] = total
            cuda.syncthreads()
            width = rows
            while width > 1:
                half = (width + 1) // 2
                if row < width - half:
                    partial[thread] = combine(partial[thread], partial[thread + half * lanes])
                cuda.syncthreads()
                width = half
            if row == 0 and place < places:
                y[part * places + place] = partial[lane]
            cuda.syncthreads()

    n = elementwise.numba_name(dtype)
    inputs = {"float64": (n, "float32"), "int64": (n, "boolean")}.get(n, (n,))  # losses, and counts
    rest = "UniTuple(int64, 3), UniTuple(int64, 3), " + "int64, " * 6 + n
    signatures = [f"void({n}[::1], {source}[::1], {rest})" for source in inputs]
    return jit(reduce, name=f"reduce {name} {dtype}", family="reduce", signatures=signatures)


@functools.cache
def _running(name: str, dtype: Dtype) -> Any:
    """Running totals: a thread a line."""
    combine, number = device_operations.operation(name, dtype), dtype.type

    def accumulate(y: Any, x: Any, lines: Any, count: Any) -> None:
        for line in range(cuda.grid(1), lines, cuda.gridsize(1)):
            total = number(x[line])
            y[line] = total
            for i in range(1, count):
                total = combine(total, number(x[i * lines + line]))
                y[i * lines + line] = total

    n = elementwise.numba_name(dtype)
    return jit(
        accumulate,
        name=f"accumulate {name} {dtype}",
        family="accumulate",
        signatures=[f"void({n}[::1], {n}[::1], int64, int64)"],
    )


def _make_all() -> None:
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        for name in ("add", "multiply", "maximum", "minimum"):
            _kernel(name, dtype)
            _running(name, dtype)
    for name in ("add", "minimum"):
        _kernel(name, np.dtype(np.int64))
    for name in ("logical_and", "logical_or"):
        _kernel(name, np.dtype(bool))


MAKERS.append(_make_all)


def identity(name: str, dtype: Dtype) -> Any:
    """What changes nothing when it is combined; None if there is no such."""
    if name in ("add", "logical_or", "logical_xor", "bitwise_or"):
        return dtype.type(0)
    if name in ("multiply", "logical_and"):
        return dtype.type(1)
    if name in ("maximum", "minimum"):
        low = name == "maximum"
        if dtype.kind == "f":
            return dtype.type(-np.inf if low else np.inf)
        if dtype.kind == "b":
            return np.bool_(not low)
        return dtype.type(np.iinfo(dtype).min if low else np.iinfo(dtype).max)
    return None


def normalized(axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes as sorted numbers from 0 on; all of them for None."""
    if axis is None:
        return tuple(range(ndim))
    given = [int(a) for a in (axis if isinstance(axis, (tuple, list)) else (axis,))]
    for a in given:
        if not -ndim <= a < ndim:
            raise np.exceptions.AxisError(a, ndim)
    axes = tuple(sorted({a % ndim for a in given}))
    if len(axes) < len(given):
        raise ValueError(f"device array: an axis is there twice in {axis}")
    return axes


def result_dtype(ufunc: np.ufunc, dtype: Dtype) -> Dtype:
    """That of a reduction: small integers and bools are added up as NumPy does."""
    if ufunc in (np.add, np.multiply) and dtype.kind in "bui":
        return np.result_type(dtype, np.uint64 if dtype.kind == "u" else np.int64)
    return np.dtype(bool) if ufunc.__name__.startswith("logical") else dtype


def reduce(
    ufunc: np.ufunc, x: Strided, axis: Any = 0, dtype: Any = None, keepdims: bool = False, initial: Any = None
) -> Any:
    """``ufunc.reduce(x, axis)``; NotImplemented if no kernel does it.

    Raises
    ------
    ValueError
        If there is nothing to take the largest or smallest of.
    """
    name = ufunc.__name__
    number = result_dtype(ufunc, x.dtype) if dtype is None else np.dtype(dtype)
    start = identity(name, number)
    if start is None or device_operations.operation(name, number) is None:
        return NotImplemented
    axes = normalized(axis, x.ndim)
    sizes = [x.shape[a] for a in axes]
    if 0 in sizes and initial is None and name in ("maximum", "minimum"):
        raise ValueError(f"zero-size array to reduction operation {name} which has no identity")
    if name.startswith("logical") and x.dtype.kind != "b":
        truth = x.new(x.shape, bool)
        elementwise.assign(truth, x)
        x = truth
    kept = [a for a in range(x.ndim) if a not in axes]
    shape = tuple(1 if a in axes else x.shape[a] for a in range(x.ndim))
    final = shape if keepdims else tuple(x.shape[a] for a in kept)
    if 0 in sizes:
        empty = x.new(final, number)
        elementwise.fill(empty, start if initial is None else initial)
        return empty
    view = x.seen_as([x.shape[a] for a in (*kept, *axes)], [x.steps[a] for a in (*kept, *axes)])
    total = _reduce_last(name, number, start, view, len(kept))
    if initial is not None:
        elementwise.run(name, (number, number), total, (total, elementwise.operand(type(x), initial, number)))
    return total.seen_as(final, c_strides(final))


def _reduce_last(name: str, number: Dtype, start: Any, x: Any, kept: int) -> Any:
    """Over all axes but the first `kept`: those that lie together at once, one after the other if they do not."""
    inner, steps = _merged(x.shape[kept:], x.steps[kept:])
    while True:
        count, step = (inner.pop(), steps.pop()) if inner else (1, 1)
        rest = x.seen_as((*x.shape[:kept], *inner), (*x.steps[:kept], *steps))
        total = _reduce_one(name, number, start, rest, count, step)
        if not inner:
            return total
        x, steps = total, list(total.steps[kept:])


def _merged(shape: Sequence[int], steps: Sequence[int]) -> tuple[list[int], list[int]]:
    """The axes, those together that lie together, the closest last."""
    sizes: list[int] = []
    strides: list[int] = []
    for n, step in sorted(zip(shape, steps, strict=True), key=lambda axis: -abs(axis[1])):
        if n == 1:
            continue
        if strides and strides[-1] == n * step:
            sizes[-1] *= n
            strides[-1] = step
        else:
            sizes.append(n)
            strides.append(step)
    return sizes, strides


def _reduce_one(name: str, number: Dtype, start: Any, x: Any, count: int, step: int) -> Any:
    """For each place of x the `count` numbers from there on, `step` apart."""
    places = math.prod(x.shape)
    # The kept axes in their own order: results are in C order.
    shape, steps = elementwise.in_order(x.shape, x.steps)
    if len(shape) > _RANK:
        whole = x.seen_as((*x.shape, count), (*x.steps, step))
        whole = elementwise.copy(whole)
        x = whole.seen_as(x.shape, whole.steps[:-1])
        step = whole.steps[-1]
        shape, steps = elementwise.in_order(x.shape, x.steps)
    missing = _RANK - len(shape)
    shape, steps = (1,) * missing + shape, (0,) * missing + steps
    # Neighbours in memory go to neighbouring threads.
    lanes = 1 if places == 1 or (abs(step) <= abs(steps[-1]) and count >= _THREADS // 8) else min(32, _THREADS)
    tiles = -(-places // lanes)
    parts = 1 if tiles >= _ENOUGH_BLOCKS else -(-count // _CHUNK)
    chunk = -(-count // parts)
    out = x.new((parts, *x.shape) if parts > 1 else x.shape, number)
    if places:
        launch_blocks(
            _kernel(name, number), min(tiles * parts, 1 << 16), _THREADS, out.flat_memory, x.flat_memory, shape, steps,
            x.offset, count, step, chunk, parts, lanes, start,
        )  # fmt: skip
    if parts == 1:
        return out
    return _reduce_one(name, number, start, out.seen_as(x.shape, out.steps[1:]), parts, places)


def accumulate(ufunc: np.ufunc, x: Strided, axis: int = 0, dtype: Any = None) -> Any:
    """``ufunc.accumulate(x, axis)``; NotImplemented if no kernel does it."""
    name = ufunc.__name__
    number = result_dtype(ufunc, x.dtype) if dtype is None else np.dtype(dtype)
    if identity(name, number) is None or device_operations.operation(name, number) is None:
        return NotImplemented
    (axis,) = normalized(axis, x.ndim)
    order = (axis, *(a for a in range(x.ndim) if a != axis))
    first = elementwise.copy(x.seen_as([x.shape[a] for a in order], [x.steps[a] for a in order]), number)
    out = x.new(first.shape, number)
    count, lines = first.shape[0], math.prod(first.shape[1:])
    if count:
        launch(_running(name, number), lines, out.flat_memory, first.flat_memory, lines, count)
    back = np.argsort(order).tolist()
    return out.seen_as([out.shape[a] for a in back], [out.steps[a] for a in back])
