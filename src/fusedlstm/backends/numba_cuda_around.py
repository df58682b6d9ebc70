"""What is around the recurrent layers on a GPU: `reference`'s functions with the same signatures."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from fusedlstm.backends import device_matmul, reference
from fusedlstm.backends.arguments import check, check_out, require_in_place, require_real
from fusedlstm.backends.cuda_api import MAKERS, cuda, jit, launch
from fusedlstm.backends.device_array import empty, is_device, to_device, to_host
from fusedlstm.backends.numba_cuda_call import known, ready
from fusedlstm.backends.numba_cuda_cells import activations
from fusedlstm.backends.numba_cuda_kernels import REALS, kernel_for
from fusedlstm.backends.recurrent_arguments import ACTIVATION_CODES, like


@jit(signatures=["void(int64[::1], int64[::1])"])
def sort_stable(ids, order):  # type: ignore[no-untyped-def]
    """The order that sorts the ids, equal ones as they come: each counts those that go ahead of it."""
    for k in range(cuda.grid(1), ids.size, cuda.gridsize(1)):
        before = 0
        for j in range(ids.size):
            if ids[j] < ids[k] or (ids[j] == ids[k] and j < k):
                before += 1
        order[before] = k


@functools.cache
def kernels(real: Any) -> tuple[Any, Any, Any]:
    """Activations and their gradients, and sums of rows, of a NumPy float type."""
    activate, slope = activations(real)

    @kernel_for(real)
    def activation_forward(x, y, code):  # type: ignore[no-untyped-def]
        for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
            y[i] = activate(code, x[i])

    @kernel_for(real)
    def activation_backward(y, d_y, d_x, code):  # type: ignore[no-untyped-def]
        for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
            d_x[i] = d_y[i] * slope(code, y[i])

    @kernel_for(real)
    def add_segments(order, ids, d, out):  # type: ignore[no-untyped-def]
        """out[ids[k]] += d[k], for every k in `order`, which sorts the ids; a thread adds all of an id and a column."""
        rows, width = out.shape
        for i in range(cuda.grid(1), ids.size * width, cuda.gridsize(1)):
            at, u = i // width, i % width
            row = ids[order[at]]
            if 0 <= row < rows and (at == 0 or ids[order[at - 1]] != row):
                total = out[row, u]
                while at < ids.size and ids[order[at]] == row:
                    total += d[order[at], u]
                    at += 1
                out[row, u] = total

    return activation_forward, activation_backward, add_segments


@like(reference.matmul)
def matmul(a: Any, b: Any, bias: Any = None, out: Any = None, accumulate: bool = False) -> Any:
    a, b, bias, target = map(known, (a, b, bias, out))
    require_real("matmul", "a", a)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"matmul: expected a (rows, inner) and b (inner, columns), got {a.shape} and {b.shape}")
    shape = a.shape[0], b.shape[1]
    check("matmul", "b", b, b.shape, a.dtype)
    if bias is not None:
        check("matmul", "bias", bias, shape[1:], a.dtype)
    if target is None and accumulate:
        raise ValueError("matmul: expected out with accumulate=True, got None")
    if target is not None:
        check_out("matmul", target, shape, a.dtype)
    direct = is_device(target)
    product = device_matmul.matmul(
        to_device(a), to_device(b), None if bias is None else to_device(bias),
        target if direct else None, accumulate and direct,
    )  # fmt: skip
    if out is None:
        return product if is_device(a) else to_host(product)
    if not direct:
        out[...] = out + to_host(product) if accumulate else to_host(product)
    return out


def _elementwise(kernel: Any, x: Any, others: tuple[Any, ...], activation: str, out: Any) -> Any:
    """The kernel's result, into `out` if given, else where x is."""
    target = known(out)
    direct = is_device(target) and target.flags.c_contiguous
    result = target if direct else empty(x.shape, x.dtype)
    arrays = [ready(array).reshape(-1) for array in (x, *others)]
    launch(kernel, x.size, *arrays, result.reshape(-1), ACTIVATION_CODES[activation])
    if out is None:
        return result if is_device(x) else to_host(result)
    if not direct:
        target[...] = result if is_device(target) else to_host(result)
    return out


@like(reference.activation_forward)
def activation_forward(x: Any, activation: str, out: Any = None) -> Any:
    x = known(x)
    require_real("activation_forward", "x", x)
    if out is not None:
        check_out("activation_forward", known(out), x.shape, x.dtype)
    return _elementwise(kernels(REALS[x.dtype])[0], x, (), activation, out)


@like(reference.activation_backward)
def activation_backward(y: Any, d_y: Any, activation: str, out: Any = None) -> Any:
    y, d_y = known(y), known(d_y)
    require_real("activation_backward", "y", y)
    check("activation_backward", "d_y", d_y, y.shape, y.dtype)
    if out is not None:
        check_out("activation_backward", known(out), y.shape, y.dtype)
    return _elementwise(kernels(REALS[y.dtype])[1], y, (d_y,), activation, out)


@like(reference.embedding_gradient)
def embedding_gradient(ids: Any, d_out: Any, d_table: Any) -> None:
    ids, d_out, table = known(ids), known(d_out), known(d_table)
    require_real("embedding_gradient", "d_table", table)
    rows, width = table.shape
    check("embedding_gradient", "d_out", d_out, (*ids.shape, width), table.dtype)
    require_in_place("embedding_gradient", "d_table", table)
    if not ids.size or not width:
        return
    # Ids on the device are not fetched to be checked: those out of bounds are left out.
    if is_device(ids):
        flat = ready(ids.astype(np.int64)).reshape(-1)
        order = empty(flat.shape, np.int64)
        launch(sort_stable, flat.size, flat, order)
    else:
        if not 0 <= ids.min() <= ids.max() < rows:
            raise IndexError(f"embedding_gradient: expected ids in 0 ... {rows - 1}, got {ids.min()} ... {ids.max()}")
        host_ids = np.asarray(ids, np.int64).ravel()
        flat, order = to_device(host_ids), to_device(np.argsort(host_ids, kind="stable"))
    result = to_device(table)
    kernel = kernels(REALS[table.dtype])[2]
    launch(kernel, ids.size * width, order, flat, ready(d_out).reshape(-1, width), result)
    if isinstance(table, np.ndarray):
        table[...] = to_host(result)


def _make_all() -> None:
    for real in REALS.values():
        kernels(real)


MAKERS.append(_make_all)
