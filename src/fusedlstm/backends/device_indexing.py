"""Indexing of device arrays: views, gathering and scattering by integer arrays."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from fusedlstm.backends import device_elementwise as elementwise
from fusedlstm.backends.cuda_api import MAKERS, cuda, jit, launch
from fusedlstm.backends.device_memory import Strided

_INTEGER = np.dtype(np.int64)


@functools.cache
def _kernel(dtype: np.dtype[Any], scatters: bool) -> Any:
    """``y[i, j] = x[place[i] + offset of j]``, or the other way round; j runs over the axes that are not indexed."""

    def gather(y: Any, x: Any, place: Any, shape: Any, steps: Any, outer: Any, inner: Any) -> None:
        for n in range(cuda.grid(1), outer * inner, cuda.gridsize(1)):
            i = n // inner
            j = n - i * inner
            first = j // shape[2]
            second = first // shape[1]
            there = place[i] + second * steps[0] + (first - second * shape[1]) * steps[1]
            there += (j - first * shape[2]) * steps[2]
            if scatters:
                x[there] = y[n]
            else:
                y[n] = x[there]

    n = elementwise.numba_name(dtype)
    layout = "UniTuple(int64, 3), UniTuple(int64, 3), int64, int64"
    name = f"{'scatter' if scatters else 'gather'} {dtype}"
    return jit(gather, name=name, signatures=[f"void({n}[::1], {n}[::1], int64[::1], {layout})"])


def _make_all() -> None:
    for dtype in map(np.dtype, ("float32", "float64", "int64")):
        _kernel(dtype, False)
        _kernel(dtype, True)


MAKERS.append(_make_all)


def parse(x: Strided, key: Any) -> tuple[list[Any], bool]:
    """The parts of an index, one for each axis of x and each new one, and whether all are basic (no arrays)."""
    parts = list(key) if isinstance(key, tuple) else [key]
    used = sum(part is not None and part is not Ellipsis for part in parts)
    if sum(part is Ellipsis for part in parts) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if used > x.ndim:
        raise IndexError(f"too many indices for array: array is {x.ndim}-dimensional, but {used} were indexed")
    whole = [slice(None)] * (x.ndim - used)
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), None)
    parts = parts + whole if at is None else parts[:at] + whole + parts[at + 1 :]
    basic = all(part is None or isinstance(part, (slice, int, np.integer)) for part in parts)
    return parts, basic


def view(x: Strided, parts: list[Any]) -> Any:
    """The view that slices, integers and new axes give; in the place of arrays the axis stays whole."""
    shape, steps, offset, axis = [], [], x.offset, 0
    for part in parts:
        if part is None:
            shape.append(1)
            steps.append(0)
            continue
        n, step = x.shape[axis], x.steps[axis]
        if isinstance(part, (int, np.integer)):
            if not -n <= part < n:
                raise IndexError(f"index {part} is out of bounds for axis {axis} with size {n}")
            offset += int(part) % n * step
        elif isinstance(part, slice):
            start, stop, stride = part.indices(n)
            length = len(range(start, stop, stride))
            shape.append(length)
            steps.append(step * stride)
            offset += start * step if length else 0
        else:
            shape.append(n)
            steps.append(step)
        axis += 1
    return x.seen_as(shape, steps, offset)


def _places(x: Strided, indices: dict[int, Any]) -> tuple[Any, tuple[int, ...]]:
    """For each entry of the broadcast indices, of those axes, where in memory it begins."""
    shape = np.broadcast_shapes(*(i.shape for i in indices.values()))
    place: Any = elementwise.constant(type(x), x.offset, _INTEGER)
    for axis, index in indices.items():
        found = x.new(shape, _INTEGER)
        if not x.shape[axis] and found.size:
            raise IndexError(f"index is out of bounds for axis {axis} with size 0")
        size, step = (elementwise.constant(type(x), n, _INTEGER) for n in (x.shape[axis], x.steps[axis]))
        elementwise.run("add_place", (_INTEGER,) * 4, found, (place, index, size, step))
        place = found
    return place, shape


def _layout(x: Strided, indices: dict[int, Any]) -> tuple[tuple[int, ...], tuple[int, ...], list[int]]:
    """Shape and strides of the axes that are not indexed, as three, and which they are."""
    others = [axis for axis in range(x.ndim) if axis not in indices]
    shape, steps = elementwise.in_order([x.shape[a] for a in others], [x.steps[a] for a in others])
    missing = 3 - len(shape)
    return (1,) * missing + shape, (0,) * missing + steps, others


def gather(x: Any, indices: dict[int, Any]) -> Any:
    """x[...] with integer arrays on the device on some axes, ascending, and all of the others."""
    place, shape = _places(x, indices)
    sizes, steps, others = _layout(x, indices)
    if len(sizes) > 3:
        return gather(elementwise.copy(x), indices)
    rest = [x.shape[a] for a in others]
    out = x.new((*shape, *rest), x.dtype)
    if out.size:
        launch(
            _kernel(x.dtype, False), out.size, out.flat_memory, x.flat_memory, place.flat_memory, sizes, steps,
            math.prod(shape), math.prod(rest),
        )  # fmt: skip
    order = _order(indices, len(shape), len(others))
    return out.seen_as([out.shape[a] for a in order], [out.steps[a] for a in order])


def scatter(x: Any, indices: dict[int, Any], value: Any) -> None:
    """x[...] = value for the same; where an entry comes twice, any of its values stays."""
    place, shape = _places(x, indices)
    sizes, steps, others = _layout(x, indices)
    if len(sizes) > 3:
        whole = elementwise.copy(x)
        scatter(whole, indices, value)
        elementwise.assign(x, whole)
        return
    rest = [x.shape[a] for a in others]
    order = _order(indices, len(shape), len(others))
    seen = elementwise.broadcast(value, tuple((*shape, *rest)[a] for a in order))
    back = np.argsort(order).tolist()
    values = elementwise.copy(seen.seen_as([seen.shape[a] for a in back], [seen.steps[a] for a in back]), x.dtype)
    if values.size:
        launch(
            _kernel(x.dtype, True), values.size, values.flat_memory, x.flat_memory, place.flat_memory, sizes, steps,
            math.prod(shape), math.prod(rest),
        )  # fmt: skip


def _order(indices: dict[int, Any], broadcast: int, others: int) -> list[int]:
    """Which axis of (those of the indices, the others) stands where NumPy has it: first, unless they are neighbours."""
    axes = list(indices)
    before = axes[0] if axes[-1] - axes[0] + 1 == len(axes) else 0
    rest = list(range(broadcast, broadcast + others))
    return rest[:before] + list(range(broadcast)) + rest[before:]
