"""The kernels in C: `reference`'s functions with the same signatures, on float32 and float64 arrays.

Here the machine and what is around the recurrent layers; those are in `c_recurrent`. Only the modules `c*` import the
binding. They check what C cannot know, the shapes and dtypes behind the pointers (`c_arguments`); all else is checked
by the library (csrc/api.c), whose refusals become exceptions.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from fusedlstm._binding import ffi, lib
from fusedlstm.backends import c_layer
from fusedlstm.backends.arguments import (
    Array,
    check,
    check_out,
    contiguous,
    contiguous_out,
    require_in_place,
    whole_strides,
)
from fusedlstm.backends.c_arguments import (
    ACTIVATIONS,
    NULL,
    dtype_of,
    empty,
    error_slot,
    from_buffer,
    here,
    new,
    pointer,
    refuse,
)
from fusedlstm.backends.c_ctc import ctc_loss
from fusedlstm.backends.c_recurrent import (
    gru_backward,
    gru_forward,
    gru_pack,
    lstm_backward,
    lstm_forward,
    lstm_pack,
    prepare_forward,
    prepare_pack,
    recurrent_stream,
    recurrent_together,
    simple_rnn_backward,
    simple_rnn_forward,
    simple_rnn_pack,
)
from fusedlstm.backends.c_updates import (
    adadelta_update,
    adagrad_update,
    adam_update,
    adamax_update,
    average_update,
    lion_update,
    nadam_update,
    prepare_updates,
    rmsprop_update,
    sgd_update,
)

__all__ = [
    "activation_backward",
    "activation_forward",
    "adadelta_update",
    "adagrad_update",
    "adam_update",
    "adamax_update",
    "available_isas",
    "average_update",
    "ctc_loss",
    "embedding_gradient",
    "get_isa",
    "get_num_threads",
    "gru_backward",
    "gru_forward",
    "gru_pack",
    "lion_update",
    "lstm_backward",
    "lstm_forward",
    "lstm_pack",
    "matmul",
    "nadam_update",
    "prepare_forward",
    "prepare_pack",
    "prepare_updates",
    "recurrent_stream",
    "recurrent_together",
    "rmsprop_update",
    "set_isa",
    "set_num_threads",
    "sgd_update",
    "simple_rnn_backward",
    "simple_rnn_forward",
    "simple_rnn_pack",
]

_MATMUL = ffi.typeof("struct fusedlstm_matmul *")

# The machine.

#: Grows whenever packed weights made before become unusable.
generation = 0


def get_isa() -> str:
    """Name of the instruction set in use: "v2", "v3", "v4" (x86-64 levels), "neon" or "generic"."""
    return str(ffi.string(lib.fusedlstm_isa()).decode())


def available_isas() -> list[str]:
    """Names of the instruction sets that this machine can run, best first."""
    names: list[str] = []
    while (name := lib.fusedlstm_available_isa(len(names))) != NULL:
        names.append(ffi.string(name).decode())
    return names


def set_isa(isa: str | None) -> None:
    """Use the kernels of one instruction set; None: the best that this machine has.

    Raises
    ------
    ValueError
        If this machine cannot run it; the current one stays.
    """
    global generation
    if isa is not None and not isinstance(isa, str):
        raise TypeError(f"set_isa: expected isa to be a name or None, got {isa!r}")
    if lib.fusedlstm_set_isa(NULL if isa is None else isa.encode()) != lib.FUSEDLSTM_OK:
        raise ValueError(f"set_isa: expected one of {available_isas()}, got {isa!r}")
    generation += 1
    c_layer.forget_layers()
    _products.clear()


def get_num_threads() -> int:
    """How many threads a call may use."""
    return int(lib.fusedlstm_num_threads())


def set_num_threads(threads: int) -> None:
    """Let calls use so many threads, 1 to 1024; 0: the default.

    The default is ``FUSEDLSTM_NUM_THREADS``, else the smaller of the CPUs in the affinity mask and the cgroup's quota.
    Results do not depend on it.
    """
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer):
        raise TypeError(f"set_num_threads: expected threads to be an integer, got {threads!r}")
    if not 0 <= threads <= 1024:
        raise ValueError(f"set_num_threads: expected 0 ... 1024, got {threads}")
    lib.fusedlstm_set_num_threads(int(threads))


if (_wanted := os.environ.get("FUSEDLSTM_ISA")) and _wanted != get_isa():
    raise RuntimeError(f"FUSEDLSTM_ISA={_wanted!r}: expected one of {available_isas()}, which this machine can run")


# Around the layer.


def _pointer_of(array: Array) -> Callable[[Array], Any]:
    """What takes the pointer to the first element of arrays of the same shape and strides."""
    if array.flags.c_contiguous:
        return from_buffer  # type: ignore[no-any-return]
    return (lambda array: from_buffer(array.T)) if array.flags.f_contiguous else pointer


class _Product:
    """A product of matrices of certain shapes and strides: what is checked and laid out once."""

    __slots__ = ("dtype", "pointer_a", "pointer_b", "shape", "struct", "workspace")

    def __init__(self, a: Array, b: Array, bias: Array | None) -> None:
        code = dtype_of("matmul", "a", a)
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
            raise ValueError(f"matmul: expected a (rows, inner) and b (inner, columns), got {a.shape} and {b.shape}")
        (rows, inner), columns = a.shape, b.shape[1]
        check("matmul", "b", b, (inner, columns), a.dtype)
        if bias is not None:
            check("matmul", "bias", bias, (columns,), a.dtype)
        self.pointer_a, self.pointer_b = _pointer_of(a), _pointer_of(b)
        strides = [stride // a.itemsize for stride in (*a.strides, *b.strides)]
        sizes = (rows, inner, columns, code, False, 0)
        self.struct = new(_MATMUL, (*sizes, NULL, NULL, NULL, NULL, *strides, columns))
        self.workspace = lib.fusedlstm_matmul_workspace_size(self.struct)
        self.shape, self.dtype = (rows, columns), a.dtype


_products: dict[Any, _Product] = {}  # by the operands' forms: most products are like an earlier one
_PRODUCTS_KEPT = 1024


def matmul(a: Array, b: Array, bias: Array | None = None, out: Array | None = None, accumulate: bool = False) -> Array:
    """See `reference.matmul`."""
    added = None if bias is None else (bias.dtype, bias.shape)
    form = (a.dtype, a.shape, a.strides, b.dtype, b.shape, b.strides, added)
    product = _products.get(form)
    if product is None:
        product = _Product(a, b, bias)
        if not (whole_strides(a) and whole_strides(b)):
            return matmul(a.copy(order="C"), b.copy(order="C"), bias, out, accumulate)
        if len(_products) >= _PRODUCTS_KEPT:
            _products.clear()
        _products[form] = product
    if out is None:
        if accumulate:
            raise ValueError("matmul: expected out with accumulate=True, got None")
        result = out = empty(product.shape, product.dtype)
    else:
        check_out("matmul", out, product.shape, product.dtype)
        result = contiguous(out)
    args = new(_MATMUL, product.struct[0])
    args.a, args.b, args.out = product.pointer_a(a), product.pointer_b(b), from_buffer(result)
    if bias is not None:
        bias = contiguous(bias)
        args.bias = from_buffer(bias)
    args.accumulate = accumulate
    args.workspace = here.own.workspace(product.workspace)
    slot = error_slot()
    status = lib.fusedlstm_matmul(args, slot)
    if status:
        if not (a.flags.aligned and b.flags.aligned):
            return matmul(a.copy(order="C"), b.copy(order="C"), bias, out, accumulate)
        refuse("matmul", status, slot)
    if result is not out:
        out[...] = result
    return out


def activation_forward(x: Array, activation: str, out: Array | None = None) -> Array:
    """See `reference.activation_forward`."""
    code, x = dtype_of("activation_forward", "x", x), contiguous(x)
    y, slot = contiguous_out("activation_forward", out, x), error_slot()
    status = lib.fusedlstm_activation_forward(code, ACTIVATIONS[activation], x.size, pointer(x), pointer(y), slot)
    if status:
        refuse("activation_forward", status, slot)
    if out is None or y is out:
        return y
    out[...] = y
    return out


def activation_backward(y: Array, d_y: Array, activation: str, out: Array | None = None) -> Array:
    """See `reference.activation_backward`."""
    code, y = dtype_of("activation_backward", "y", y), contiguous(y)
    check("activation_backward", "d_y", d_y, y.shape, y.dtype)
    d_y = contiguous(d_y)
    d_x, slot = contiguous_out("activation_backward", out, y), error_slot()
    status = lib.fusedlstm_activation_backward(
        code, ACTIVATIONS[activation], y.size, pointer(y), pointer(d_y), pointer(d_x), slot
    )
    if status:
        refuse("activation_backward", status, slot)
    if out is None or d_x is out:
        return d_x
    out[...] = d_x
    return out


def embedding_gradient(ids: Array, d_out: Array, d_table: Array) -> None:
    """See `reference.embedding_gradient`."""
    code = dtype_of("embedding_gradient", "d_table", d_table)
    rows, width = d_table.shape
    ids = np.ascontiguousarray(ids, np.int64)
    check("embedding_gradient", "d_out", d_out, (*ids.shape, width), d_table.dtype)
    d_out = contiguous(d_out)
    require_in_place("embedding_gradient", "d_table", d_table)
    slot = error_slot()
    first_id = ffi.cast("int64_t *", ids.ctypes.data)
    status = lib.fusedlstm_embedding_gradient(
        code, ids.size, rows, width, first_id, pointer(d_out), pointer(d_table), slot
    )
    if status == lib.FUSEDLSTM_INVALID and ffi.string(slot[0]) == b"ids":
        raise IndexError(f"embedding_gradient: expected ids in 0 ... {rows - 1}, got {ids.min()} ... {ids.max()}")
    if status:
        refuse("embedding_gradient", status, slot)
