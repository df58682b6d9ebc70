"""The GRU in Numba for CPUs; see `numba_cpu_recurrent` for how it goes.

The mathematics is that of `reference_gru`, name by name.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedlstm.backends import reference_gru
from fusedlstm.backends.arguments import Array
from fusedlstm.backends.numba_cpu_math import activate, differentiate
from fusedlstm.backends.numba_cpu_recurrent import (
    WORKSPACE,
    Call,
    Packed,
    Saved,
    add_dropped_back,
    add_dropped_products,
    add_input_products,
    add_output_gradients,
    before,
    begin,
    gate_sets,
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

#: How many numbers the sums of the steps have whose inputs are multiplied at a time: they stay in a cache.
_CHUNK = 65536


@njit
def _forward(
    x: Array, row: Array, step: Array, begins: Array, befores: Array, plain: bool,
    kernel: Array, recurrent: Array, candidate: Array, bias: Array, input_dropout: Array, recurrent_dropout: Array,
    h: Array, gates: Array, reset: Array, codes: tuple[int, int], training: bool, chunk: int,
) -> None:  # fmt: skip
    """Fill the table h behind the initial states.

    With reset_after, bias is (2,3H) and `candidate` empty; else bias (1,3H), `recurrent` that of z and r, `candidate`
    that of g. gates (S,3H), and reset (S,H), the sum that is to be reset or else the product's factor that was, are
    what going back needs; without `training` they are scratch for the slots of one chunk.
    """
    batch, _, inputs = x.shape
    units = h.shape[1]
    gate, squash = codes
    reset_after = len(bias) == 2
    work = np.empty(WORKSPACE, x.dtype)
    most = min(chunk, len(row))
    taken = np.empty((most, inputs), x.dtype)
    dropped = np.empty((most if input_dropout.shape[0] > 0 else 0, inputs), x.dtype)
    old_h, dropped_h = np.empty((batch, units), x.dtype), np.empty((batch, units), x.dtype)
    sums_of_h = np.empty((batch, (3 if reset_after else 2) * units), x.dtype)
    of_candidate = np.empty((batch, units), x.dtype)
    masks = recurrent_dropout[: 3 if reset_after else 2]
    real = x.dtype.type

    t = 0
    while t < len(begins) - 1:
        behind = steps_of_chunk(begins, t, chunk)
        origin = 0 if training else begins[t]  # the slot of the first row of gates
        slots = slice(begins[t], begins[behind])
        sums = gates[begins[t] - origin : begins[behind] - origin]
        for k in range(len(sums)):
            sums[k] = bias[0]
        add_input_products(x, row[slots], step[slots], input_dropout, kernel, sums, taken, dropped, work)

        for u in range(t, behind):
            low, high = begins[u], begins[u + 1]
            rows, index, new = row[low:high], befores[low:high], h[batch + low : batch + high]
            here, kept = gates[low - origin : high - origin], reset[low - origin : high - origin]
            states, of_h = rows_at(h, index, low, plain, old_h), sums_of_h[: len(rows)]
            if reset_after:
                for k in range(len(rows)):
                    of_h[k] = bias[1]
            else:
                of_h[:] = 0
            add_dropped_products(states, masks, rows, recurrent, of_h, dropped_h, work)
            for k in range(len(rows)):
                z, of_state, old, factor = here[k], of_h[k], states[k], kept[k]
                for j in range(2 * units):
                    z[j] += of_state[j]
                activate(gate, z[: 2 * units])
                if reset_after:
                    for j in range(units):
                        factor[j] = of_state[2 * units + j]
                        z[2 * units + j] += z[units + j] * factor[j]
                else:
                    for j in range(units):
                        factor[j] = z[units + j] * old[j]
            if not reset_after:
                added = of_candidate[: len(rows)]
                added[:] = 0
                add_dropped_products(kept, recurrent_dropout[-1:], rows, candidate, added, dropped_h, work)
                for k in range(len(rows)):
                    z, of_state = here[k], added[k]
                    for j in range(units):
                        z[2 * units + j] += of_state[j]
            for k in range(len(rows)):
                z, old, to = here[k], states[k], new[k]
                activate(squash, z[2 * units :])
                for j in range(units):
                    to[j] = z[j] * old[j] + (real(1) - z[j]) * z[2 * units + j]
        t = behind


@njit
def _backward(
    row: Array, begins: Array, befores: Array, plain: bool, output_rows: Array, d_y: Array, last: bool,
    recurrent: Array, candidate: Array, recurrent_dropout: Array,
    h: Array, gates: Array, reset: Array, d_h: Array, codes: tuple[int, int], reset_after: bool,
) -> None:  # fmt: skip
    """gates (S,3H) become the gradients of the sums with the inputs; d_h that of the initial states.

    With reset_after `reset` becomes that of the sum that was reset. The weights are in parts, (sets, K, N / sets).
    """
    batch, units = d_h.shape
    real = h.dtype.type
    gate, squash = codes
    masks = recurrent_dropout[: 3 if reset_after else 2]
    work = np.empty(WORKSPACE, h.dtype)
    pending = np.zeros((batch, units), h.dtype)  # gradients of outputs, until the step whose state they are
    old_h, back = np.empty((batch, units), h.dtype), np.empty((batch, units), h.dtype)
    product, of_candidate = np.empty((batch, units), h.dtype), np.empty((batch, units), h.dtype)
    slope_z, slope_r, slope_g = np.empty(units, h.dtype), np.empty(units, h.dtype), np.empty(units, h.dtype)
    columns = (3 if reset_after else 2) * units
    of_h, part = np.empty((batch, columns), h.dtype), np.empty((batch, columns), h.dtype)

    for t in range(len(begins) - 2, -1, -1):
        add_output_gradients(d_y, output_rows, t, last, pending)
        low, high = begins[t], begins[t + 1]
        rows, here, kept = row[low:high], gates[low:high], reset[low:high]
        states, to_old = rows_at(h, befores[low:high], low, plain, old_h), back[: len(rows)]
        d_candidate, d_sums = of_candidate[: len(rows)], of_h[: len(rows)]
        for k in range(len(rows)):
            z, old, d_new, of_output = here[k], states[k], d_h[rows[k]], pending[rows[k]]
            slope_z[:] = z[:units]
            slope_g[:] = z[2 * units :]
            differentiate(gate, slope_z)
            differentiate(squash, slope_g)
            for j in range(units):
                d = d_new[j] + of_output[j]
                of_output[j] = real(0)
                d_sums[k, j] = d * (old[j] - z[2 * units + j]) * slope_z[j]
                d_candidate[k, j] = d * (real(1) - z[j]) * slope_g[j]
                d_new[j] = d * z[j]
        to_old[:] = 0
        if not reset_after:  # of the product's factor
            add_dropped_back(d_candidate, recurrent_dropout[-1:], rows, candidate, to_old, part, product, work)
        for k in range(len(rows)):
            z, old, d_new, d_g, d_factor = here[k], states[k], d_h[rows[k]], d_candidate[k], to_old[k]
            slope_r[:] = z[units : 2 * units]
            differentiate(gate, slope_r)
            if reset_after:
                for j in range(units):
                    d_sums[k, units + j] = d_g[j] * kept[k, j] * slope_r[j]
                    kept[k, j] = d_g[j] * z[units + j]
                    d_sums[k, 2 * units + j] = kept[k, j]
            else:
                for j in range(units):
                    d_sums[k, units + j] = d_factor[j] * old[j] * slope_r[j]
                    d_new[j] += d_factor[j] * z[units + j]
            z[: 2 * units] = d_sums[k, : 2 * units]
            z[2 * units :] = d_g
        to_old[:] = 0
        add_dropped_back(d_sums, masks, rows, recurrent, to_old, part, product, work)
        for k in range(len(rows)):
            d_new = d_h[rows[k]]
            for j in range(units):
                d_new[j] += to_old[k, j]


@like(reference_gru.gru_pack)
def gru_pack(
    kernel: Array, recurrent: Array, bias: Array | None, training: bool = False, reset_after: bool = True
) -> Packed:
    weights = check_weights("gru", kernel, recurrent, bias, training, reset_after)
    arrays = {"recurrent": recurrent, "candidate": None}
    if not reset_after:
        arrays = {"recurrent": recurrent[:, : 2 * weights.units], "candidate": recurrent[:, 2 * weights.units :]}
    return Packed(weights, kernel=kernel, bias=bias, **arrays)


def _recurrent_sets(call: Call) -> int:
    if len(call.recurrent_dropout) <= 1:
        return 1
    return 3 if call.weights.reset_after else 2


@like(reference_gru.gru_forward)
def gru_forward(x: Array, packed: Any, **given: Any) -> tuple[Array, Array, Any]:
    call = begin("gru", x, packed, given)
    options, slots, units, dtype = call.options, call.slots, call.weights.units, call.weights.dtype
    h = call.table(options.h0, units)
    chunk = max(_CHUNK // (3 * units), len(x), 1)
    training = bool(options.training)  # one type, that the kernel is compiled for
    kept = slots.total if training else min(chunk, slots.total)
    gates, reset = np.empty((kept, 3 * units), dtype), np.empty((kept, units), dtype)
    _forward(
        call.x, slots.row, slots.step, slots.begin, slots.before, call.plain,
        packed.panels("kernel", gate_sets("gru", call.input_dropout)),
        packed.panels("recurrent", _recurrent_sets(call)), packed.panels("candidate"),
        packed.of_bias().reshape(-1, 3 * units), call.input_dropout, call.recurrent_dropout,
        h, gates, reset, _codes(call), training, chunk,
    )  # fmt: skip
    saved = Saved(call, h=h, gates=gates, reset=reset) if training else None
    return call.outputs(h), h[slots.last], saved


@like(reference_gru.gru_backward)
@np.errstate(all="ignore")  # as in the other backends, NaN and Inf go their way in silence
def gru_backward(saved: Any, d_y: Array | None, d_h: Array | None = None, *, need_d_x: bool = True) -> Gradients:
    saved = saved_of("gru", saved)
    kept = saved.take("gru", OutputGradients(d_y, d_h, need_d_x=need_d_x))
    call, h, dz, reset = saved.call, kept["h"], kept["gates"], kept["reset"]
    slots, packed, units, reset_after = call.slots, call.packed, call.weights.units, call.weights.reset_after
    d_h0 = state_gradient(call, d_h, units)
    _backward(
        slots.row, slots.begin, slots.before, call.plain, slots.output, output_gradients(call, d_y),
        not call.options.return_sequences, packed.parts("recurrent", _recurrent_sets(call)), packed.parts("candidate"),
        call.recurrent_dropout, h, dz, reset, d_h0, _codes(call), reset_after,
    )  # fmt: skip
    d_bias, d_of_h = dz.sum(axis=0), dz
    if reset_after:
        d_of_h = np.concatenate([dz[:, : 2 * units], reset], axis=1)
        d_bias = np.stack([d_bias, d_of_h.sum(axis=0)])
    gradients = weight_gradients(call, before(call, h), dz, d_of_h, need_d_x, d_bias=d_bias, d_h0=d_h0)
    if not reset_after:  # the candidate's weights were multiplied by what the gate had left
        masks = call.recurrent_dropout[-1:]
        factor = reset * masks[0][slots.row] if len(masks) else reset
        gradients.d_recurrent[:, 2 * units :] = np.dot(factor.T, dz[:, 2 * units :])
    return gradients


def _codes(call: Call) -> tuple[int, int]:
    options = call.options
    return ACTIVATION_CODES[options.recurrent_activation], ACTIVATION_CODES[options.activation]
