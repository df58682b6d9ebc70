"""What is around the recurrent layers in Numba: `reference`'s functions with the same signatures.

Products of matrices are BLAS's.
"""

from __future__ import annotations

import numpy as np

from fusedlstm.backends.arguments import (
    Array,
    check,
    check_out,
    compiled_for,
    contiguous_out,
    optional,
    require_in_place,
    require_real,
)
from fusedlstm.backends.numba_cpu_math import activate, differentiate
from fusedlstm.backends.numba_jit import njit
from fusedlstm.backends.recurrent_arguments import ACTIVATION_CODES

_RUN = 1024  # numbers that stay in the nearest cache


@np.errstate(all="ignore")  # as in the other backends, NaN and Inf go their way in silence
def matmul(a: Array, b: Array, bias: Array | None = None, out: Array | None = None, accumulate: bool = False) -> Array:
    """See `reference.matmul`."""
    require_real("matmul", "a", a)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"matmul: expected a (rows, inner) and b (inner, columns), got {a.shape} and {b.shape}")
    shape = a.shape[0], b.shape[1]
    check("matmul", "b", b, b.shape, a.dtype)
    bias = optional("matmul", "bias", bias, shape[1:], a.dtype)
    if out is None and accumulate:
        raise ValueError("matmul: expected out with accumulate=True, got None")
    if out is not None:
        check_out("matmul", out, shape, a.dtype)
    product = np.dot(a, b)
    if bias is not None:
        product += bias
    if out is None:
        return product
    if accumulate:
        out += product
    else:
        out[...] = product
    return out


def activation_forward(x: Array, activation: str, out: Array | None = None) -> Array:
    """See `reference.activation_forward`."""
    require_real("activation_forward", "x", x)
    y = contiguous_out("activation_forward", out, x)
    if y is not x:
        y[...] = x
    activate(ACTIVATION_CODES[activation], y.reshape(-1))
    return _returned(y, out)


def activation_backward(y: Array, d_y: Array, activation: str, out: Array | None = None) -> Array:
    """See `reference.activation_backward`."""
    require_real("activation_backward", "y", y)
    check("activation_backward", "d_y", d_y, y.shape, y.dtype)
    d_x = contiguous_out("activation_backward", out, y)
    _times_derivative(ACTIVATION_CODES[activation], *[compiled_for(a).reshape(-1) for a in (y, d_y)], d_x.reshape(-1))
    return _returned(d_x, out)


@njit
def _times_derivative(code: int, y: Array, d_y: Array, d_x: Array) -> None:
    run = np.empty(_RUN, y.dtype)
    for begin in range(0, y.size, _RUN):
        slope = run[: min(_RUN, y.size - begin)]
        slope[:] = y[begin : begin + slope.size]
        differentiate(code, slope)
        for k in range(slope.size):
            d_x[begin + k] = d_y[begin + k] * slope[k]


def _returned(result: Array, out: Array | None) -> Array:
    if out is None or result is out:
        return result
    out[...] = result
    return out


def embedding_gradient(ids: Array, d_out: Array, d_table: Array) -> None:
    """See `reference.embedding_gradient`."""
    require_real("embedding_gradient", "d_table", d_table)
    rows, width = d_table.shape
    ids = compiled_for(np.asarray(ids, np.int64))
    check("embedding_gradient", "d_out", d_out, (*ids.shape, width), d_table.dtype)
    require_in_place("embedding_gradient", "d_table", d_table)
    if ids.size and not 0 <= ids.min() <= ids.max() < rows:
        raise IndexError(f"embedding_gradient: expected ids in 0 ... {rows - 1}, got {ids.min()} ... {ids.max()}")
    _add_rows(ids.reshape(-1), compiled_for(d_out).reshape(-1, width), d_table)


@njit
def _add_rows(ids: Array, d_out: Array, d_table: Array) -> None:
    for k in range(ids.size):
        to, of = d_table[ids[k]], d_out[k]
        for d in range(of.size):
            to[d] += of[d]
