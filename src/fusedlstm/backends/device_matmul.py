"""Matrix products on device arrays: our own kernel, or cuBLAS through CuPy where that is installed."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from fusedlstm.backends import device_elementwise as elementwise
from fusedlstm.backends import device_reductions as reductions
from fusedlstm.backends.cuda_api import MAKERS, cuda, jit, launch_blocks, simulated
from fusedlstm.backends.device_memory import Strided

# A block computes a tile of rows x columns, each of its threads a few by few of it: (rows, columns, few, few).
_LARGE, _FLAT = ((2, 4, 2, 2), (1, 4, 1, 2)) if simulated() else ((64, 64, 4, 4), (16, 64, 1, 4))
_DEPTH = 4 if simulated() else 8  # of the products that are in shared memory at a time
_CHUNK = 8 if simulated() else 512  # of the inner axis that a block computes at least, where there are too few tiles
_ENOUGH_BLOCKS = 128


@functools.cache
def _kernel(tile: tuple[int, int, int, int], dtype: np.dtype[Any], with_bias: bool, accumulate: bool) -> Any:
    """``c (+)= a b (+ bias)``; the `steps` of each: its offset, the strides of two axes of matrices, rows, columns.

    c has another stride, that of the parts of the inner axis, `chunk` long, whose products are kept apart.
    """
    tile_rows, tile_columns, few_rows, few_columns = tile
    across = tile_columns // few_columns
    threads = across * (tile_rows // few_rows)
    number, zero, depth = dtype.type, dtype.type(0), _DEPTH
    # A column more, or the threads that fill a tile would all write to one bank.
    left_shape, right_shape, few = (depth, tile_rows + 1), (depth, tile_columns + 1), (few_rows, few_columns)

    def matmul(
        c: Any, a: Any, b: Any, bias: Any, c_steps: Any, a_steps: Any, b_steps: Any, bias_steps: Any, sizes: Any,
        chunk: Any, parts: Any,
    ) -> None:  # fmt: skip
        left = cuda.shared.array(left_shape, number)
        right = cuda.shared.array(right_shape, number)
        sums = cuda.local.array(few, number)
        thread = cuda.threadIdx.x
        own_row, own_column = thread // across, thread % across
        outer, inner, rows, columns, deep = sizes
        tiles_down = (rows + tile_rows - 1) // tile_rows
        tiles_across = (columns + tile_columns - 1) // tile_columns
        for job in range(cuda.blockIdx.x, parts * outer * inner * tiles_down * tiles_across, cuda.gridDim.x):
            rest = job // tiles_across
            first_column = (job - rest * tiles_across) * tile_columns
            matrix = rest // tiles_down
            first_row = (rest - matrix * tiles_down) * tile_rows
            outermost = matrix // inner
            m1 = matrix - outermost * inner
            part = outermost // outer
            m0 = outermost - part * outer
            a_begin = a_steps[0] + m0 * a_steps[1] + m1 * a_steps[2]
            b_begin = b_steps[0] + m0 * b_steps[1] + m1 * b_steps[2]
            for i in range(few_rows):
                for j in range(few_columns):
                    sums[i, j] = zero
            end = min((part + 1) * chunk, deep)
            for start in range(part * chunk, end, depth):
                for e in range(thread, tile_rows * depth, threads):
                    # Neighbouring threads read neighbours in memory.
                    k, r = (e % depth, e // depth) if a_steps[4] == 1 else (e // tile_rows, e % tile_rows)
                    value = zero
                    if first_row + r < rows and start + k < end:
                        value = a[a_begin + (first_row + r) * a_steps[3] + (start + k) * a_steps[4]]
                    left[k, r] = value
                for e in range(thread, tile_columns * depth, threads):
                    k, r = (e % depth, e // depth) if b_steps[4] != 1 else (e // tile_columns, e % tile_columns)
                    value = zero
                    if first_column + r < columns and start + k < end:
                        value = b[b_begin + (start + k) * b_steps[3] + (first_column + r) * b_steps[4]]
                    right[k, r] = value
                cuda.syncthreads()
                for k in range(depth):
                    for i in range(few_rows):
                        x = left[k, own_row * few_rows + i]
                        for j in range(few_columns):
                            sums[i, j] += x * right[k, own_column + j * across]
                cuda.syncthreads()
            c_begin = c_steps[0] + m0 * c_steps[1] + m1 * c_steps[2] + part * c_steps[5]
            for i in range(few_rows):
                row = first_row + own_row * few_rows + i
                for j in range(few_columns):
                    column = first_column + own_column + j * across
                    if row < rows and column < columns:
                        place = c_begin + row * c_steps[3] + column * c_steps[4]
                        total = sums[i, j]
                        if with_bias:
                            total += bias[bias_steps[0] + column * bias_steps[1]]
                        if accumulate:
                            total += c[place]
                        c[place] = total

    f = elementwise.numba_name(dtype)
    layout = "UniTuple(int64, 6), UniTuple(int64, 5), UniTuple(int64, 5), UniTuple(int64, 2), UniTuple(int64, 5)"
    label = f"matmul {tile_rows} x {tile_columns}"
    name = f"{label} {f}" + ", bias" * with_bias + ", accumulate" * accumulate
    signature = f"void({', '.join([f + '[::1]'] * 4)}, {layout}, int64, int64)"
    # Two blocks to a multiprocessor: what one waits for, the other computes. Of float64 they would spill.
    bounds = (threads, 2 if dtype.itemsize == 4 else 1)
    return jit(matmul, name=name, family=label, signatures=[signature], launch_bounds=bounds)


def _make_all() -> None:
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        for tile in (_LARGE, _FLAT):
            for with_bias in (False, True):
                for accumulate in (False, True):
                    _kernel(tile, dtype, with_bias, accumulate)


MAKERS.append(_make_all)


@functools.cache
def _cupy() -> Any:
    """CuPy, whose products are cuBLAS's, if it is there."""
    if simulated() or importlib.util.find_spec("cupy") is None:
        return None
    return importlib.import_module("cupy")


def matmul(
    a: Strided, b: Strided, bias: Strided | None = None, out: Strided | None = None, accumulate: bool = False
) -> Any:
    """``a @ b (+ bias)``, as `numpy.matmul` of float arrays of any strides.

    Parameters
    ----------
    a : (..., M, K) or (K,) device array
    b : (..., K, N) or (K,) device array
    bias : (N,) device array, optional
    out : (..., M, N) device array, optional
        Must not overlap the others.
    accumulate : bool
        Add to `out` instead of writing over it.

    Returns
    -------
    (..., M, N) device array; `out` if it was given.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if not a.ndim or not b.ndim:
        raise ValueError("matmul: expected arrays of at least 1 axis, got a single number")
    dtype = np.result_type(a.dtype, b.dtype)
    if dtype.kind != "f":
        raise TypeError(f"matmul: expected float32 or float64 arrays, got {a.dtype} and {b.dtype}")
    left = a.seen_as((1, *a.shape), (0, *a.steps)) if a.ndim == 1 else a
    right = b.seen_as((*b.shape, 1), (*b.steps, 0)) if b.ndim == 1 else b
    (rows, deep), (deep_too, columns) = left.shape[-2:], right.shape[-2:]
    if deep != deep_too:
        raise ValueError(f"matmul: expected the last axis of {a.shape} to be as long as the next to last of {b.shape}")
    if bias is not None and bias.shape != (columns,):
        raise ValueError(f"matmul: expected bias of shape {(columns,)}, got {bias.shape}")
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    shape = (*batch, *((rows,) if a.ndim > 1 else ()), *((columns,) if b.ndim > 1 else ()))
    given = out
    if out is None:
        out = a.new(shape, dtype)
        accumulate = False
    elif out.shape != shape or out.dtype != dtype:
        raise ValueError(f"matmul: expected out of shape {shape} and dtype {dtype}, got {out.shape} and {out.dtype}")
    target = out.seen_as((*batch, rows, columns), _with_ones(out, a.ndim == 1, b.ndim == 1))
    left, right = _as(left, dtype, batch), _as(right, dtype, batch)
    if bias is not None and bias.dtype != dtype:
        bias = elementwise.copy(bias, dtype)
    if target.size:
        cupy = _cupy()
        if cupy is None or not deep:
            _multiply(target, left, right, bias, accumulate)
        else:
            _multiply_with(cupy, target, left, right, bias, accumulate)
    return out if given is None else given


def _with_ones(out: Strided, row: bool, column: bool) -> tuple[int, ...]:
    steps = list(out.steps)
    if column:
        steps.append(0)
    if row:
        steps.insert(len(steps) - 1, 0)
    return tuple(steps)


def _as(x: Any, dtype: np.dtype[Any], batch: tuple[int, ...]) -> Any:
    x = x if x.dtype == dtype else elementwise.copy(x, dtype)
    return elementwise.broadcast(x, (*batch, *x.shape[-2:]))


def _multiply_with(cupy: Any, out: Any, a: Any, b: Any, bias: Any, accumulate: bool) -> None:
    """By cuBLAS, on the same default stream whatever the caller has made CuPy's."""
    product = out if not accumulate and out.contiguous else a.new(out.shape, out.dtype)
    with cupy.cuda.Stream.null:
        cupy.matmul(_for_cupy(cupy, a), _for_cupy(cupy, b), out=_for_cupy(cupy, product))
    add = (out.dtype,) * 2
    if bias is not None:
        elementwise.run("add", add, product, (product, bias))
    if accumulate:
        elementwise.run("add", add, out, (out, product))
    elif product is not out:
        elementwise.assign(out, product)


def _for_cupy(cupy: Any, x: Any) -> Any:
    """The same memory. CuPy would wait for a stream that is named to be done: on the same stream there is no need."""
    interface = x.__cuda_array_interface__ | {"stream": None}
    return cupy.asarray(SimpleNamespace(__cuda_array_interface__=interface))


def _multiply(out: Any, a: Any, b: Any, bias: Any, accumulate: bool) -> None:
    """By our own kernel, of (..., M, K) and (..., K, N)."""
    rows, columns, deep = out.shape[-2], out.shape[-1], a.shape[-1]
    sizes, *steps = _two_axes(out, a, b)
    if sizes is None:  # more axes of matrices than the kernel counts: one after the other
        for i in range(out.shape[0]):
            _multiply(_at(out, i), _at(a, i), _at(b, i), bias, accumulate)
        return
    tile = _LARGE if rows > _FLAT[0] else _FLAT
    tiles = math.prod(sizes) * -(-rows // tile[0]) * -(-columns // tile[1])
    parts = 1 if deep <= 2 * _CHUNK else min(-(-deep // _CHUNK), -(-_ENOUGH_BLOCKS // tiles))
    # Where a few tiles have many products each, parts of them are added up at the end.
    target = out if parts == 1 else out.new((parts, *out.shape), out.dtype)
    if parts > 1:
        steps[0] = _two_axes(_at(target, 0), a, b)[1]
    kernel = _kernel(tile, out.dtype, bias is not None and parts == 1, accumulate and parts == 1)
    dummy = target if bias is None else bias
    launch_blocks(
        kernel, min(tiles * parts, 1 << 16), (tile[0] // tile[2]) * (tile[1] // tile[3]), target.flat_memory,
        a.flat_memory, b.flat_memory, dummy.flat_memory,
        (target.offset, *steps[0], *target.steps[-2:], target.steps[0]), (a.offset, *steps[1], *a.steps[-2:]),
        (b.offset, *steps[2], *b.steps[-2:]), (dummy.offset, dummy.steps[-1]), (*sizes, rows, columns, deep),
        -(-deep // parts), parts,
    )  # fmt: skip
    if parts > 1:
        total = reductions.reduce(np.add, target, 0)
        terms = [x for x, used in ((bias, bias is not None), (out, accumulate)) if used]
        for term in terms:
            elementwise.run("add", (out.dtype,) * 2, total, (total, term))
        elementwise.assign(out, total)


def _two_axes(out: Strided, a: Strided, b: Strided) -> Any:
    """The axes of matrices as two, and the strides of each array along them; (None,) if that cannot be."""
    sizes, *steps = elementwise.collapse(out.shape[:-2], out.steps[:-2], a.steps[:-2], b.steps[:-2])
    if len(sizes) > 2:
        return (None,)
    missing = 2 - len(sizes)
    return (1,) * missing + sizes, *((0,) * missing + s for s in steps)


def _at(x: Any, i: int) -> Any:
    return x.seen_as(x.shape[1:], x.steps[1:], x.offset + i * x.steps[0])
