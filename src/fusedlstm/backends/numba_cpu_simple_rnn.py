"""The simple RNN in Numba for CPUs; see `numba_cpu_recurrent` for how it goes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedlstm.backends import reference_simple_rnn
from fusedlstm.backends.arguments import Array
from fusedlstm.backends.numba_cpu_math import activate, differentiate
from fusedlstm.backends.numba_cpu_recurrent import (
    WORKSPACE,
    Packed,
    Saved,
    add_dropped_back,
    add_dropped_products,
    add_input_products,
    add_output_gradients,
    before,
    begin,
    output_gradients,
    rows_at,
    saved_of,
    state_gradient,
    steps_of_chunk,
    weight_gradients,
)
from fusedlstm.backends.numba_jit import njit
from fusedlstm.backends.recurrent_arguments import ACTIVATION_CODES, OutputGradients, check_weights, like
from fusedlstm.backends.reference_recurrent import Gradients

#: How many numbers the steps have whose inputs are multiplied at a time: they stay in a cache.
_CHUNK = 65536


@njit
def _forward(
    x: Array, row: Array, step: Array, begins: Array, befores: Array, plain: bool,
    kernel: Array, recurrent: Array, bias: Array, input_dropout: Array, recurrent_dropout: Array,
    h: Array, code: int,
) -> None:  # fmt: skip
    """Fill the table h behind the initial states: the sums stand where the states are to be."""
    batch, _, inputs = x.shape
    units = h.shape[1]
    chunk = max(_CHUNK // units, batch)
    work = np.empty(WORKSPACE, x.dtype)
    most = min(chunk, len(row))
    taken = np.empty((most, inputs), x.dtype)
    dropped = np.empty((most if input_dropout.shape[0] > 0 else 0, inputs), x.dtype)
    old_h, dropped_h = np.empty((batch, units), x.dtype), np.empty((batch, units), x.dtype)
    t = 0
    while t < len(begins) - 1:
        behind = steps_of_chunk(begins, t, chunk)
        slots = slice(begins[t], begins[behind])
        sums = h[batch + begins[t] : batch + begins[behind]]
        for k in range(len(sums)):
            sums[k] = bias
        add_input_products(x, row[slots], step[slots], input_dropout, kernel, sums, taken, dropped, work)
        for u in range(t, behind):
            low, high = begins[u], begins[u + 1]
            new = h[batch + low : batch + high]
            states = rows_at(h, befores[low:high], low, plain, old_h)
            add_dropped_products(states, recurrent_dropout, row[low:high], recurrent, new, dropped_h, work)
            activate(code, new.reshape(-1))
        t = behind


@njit
def _backward(
    row: Array, begins: Array, output_rows: Array, d_y: Array, last: bool, recurrent: Array, recurrent_dropout: Array,
    h: Array, dz: Array, d_h: Array, code: int,
) -> None:  # fmt: skip
    """Fill dz (S,H), the gradients of the sums; d_h becomes that of the initial states."""
    batch, units = d_h.shape
    real = h.dtype.type
    work = np.empty(WORKSPACE, h.dtype)
    pending = np.zeros((batch, units), h.dtype)  # gradients of outputs, until the step whose state they are
    back, part = np.empty((batch, units), h.dtype), np.empty((batch, units), h.dtype)
    product = np.empty((batch, units), h.dtype)
    for t in range(len(begins) - 2, -1, -1):
        add_output_gradients(d_y, output_rows, t, last, pending)
        low, high = begins[t], begins[t + 1]
        rows, of_step = row[low:high], dz[low:high]
        of_step[:] = h[batch + low : batch + high]
        differentiate(code, of_step.reshape(-1))
        for k in range(len(rows)):
            to, of_state, of_output = of_step[k], d_h[rows[k]], pending[rows[k]]
            for j in range(units):
                to[j] *= of_state[j] + of_output[j]
                of_output[j] = real(0)
        back[: len(rows)] = 0
        add_dropped_back(of_step, recurrent_dropout, rows, recurrent, back[: len(rows)], part, product, work)
        for k in range(len(rows)):
            d_h[rows[k]] = back[k]


@like(reference_simple_rnn.simple_rnn_pack)
def simple_rnn_pack(kernel: Array, recurrent: Array, bias: Array | None, training: bool = False) -> Packed:
    weights = check_weights("simple_rnn", kernel, recurrent, bias, training)
    return Packed(weights, kernel=kernel, recurrent=recurrent, bias=bias)


@like(reference_simple_rnn.simple_rnn_forward)
def simple_rnn_forward(x: Array, packed: Any, **given: Any) -> tuple[Array, Array, Any]:
    call = begin("simple_rnn", x, packed, given)
    options, slots = call.options, call.slots
    h = call.table(options.h0, call.weights.units)
    _forward(
        call.x, slots.row, slots.step, slots.begin, slots.before, call.plain,
        packed.panels("kernel"), packed.panels("recurrent"), packed.of_bias(),
        call.input_dropout, call.recurrent_dropout, h, ACTIVATION_CODES[options.activation],
    )  # fmt: skip
    return call.outputs(h), h[slots.last], Saved(call, h=h) if options.training else None


@like(reference_simple_rnn.simple_rnn_backward)
@np.errstate(all="ignore")  # as in the other backends, NaN and Inf go their way in silence
def simple_rnn_backward(saved: Any, d_y: Array | None, d_h: Array | None = None, *, need_d_x: bool = True) -> Gradients:
    saved = saved_of("simple_rnn", saved)
    h = saved.take("simple_rnn", OutputGradients(d_y, d_h, need_d_x=need_d_x))["h"]
    call = saved.call
    slots, options, units = call.slots, call.options, call.weights.units
    d_h0, dz = state_gradient(call, d_h, units), np.empty((slots.total, units), h.dtype)
    _backward(
        slots.row, slots.begin, slots.output, output_gradients(call, d_y), not options.return_sequences,
        call.packed.parts("recurrent"), call.recurrent_dropout, h, dz, d_h0, ACTIVATION_CODES[options.activation],
    )  # fmt: skip
    return weight_gradients(call, before(call, h), dz, dz, need_d_x, d_bias=dz.sum(axis=0), d_h0=d_h0)
