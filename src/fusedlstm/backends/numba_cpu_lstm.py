"""The LSTM with all its variants in Numba for CPUs; see `numba_cpu_recurrent` for how it goes.

Its loop over time is in `numba_cpu_lstm_steps`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from fusedlstm.backends import reference_lstm
from fusedlstm.backends.arguments import Array, compiled_for
from fusedlstm.backends.numba_cpu_lstm_steps import COUPLED, REMOVED, all_normalized, all_sums_back, backward, forward
from fusedlstm.backends.numba_cpu_recurrent import (
    Packed,
    Saved,
    before,
    begin,
    gate_sets,
    nothing,
    output_gradients,
    saved_of,
    state_gradient,
    weight_gradients,
)
from fusedlstm.backends.recurrent_arguments import ACTIVATION_CODES, Options, OutputGradients, check_weights, like
from fusedlstm.backends.reference_recurrent import Gradients

#: The sums of the gates that the kernels of inference hold at a time, in numbers: they stay in a cache.
_CHUNK = 65536


def _kernel_arguments(options: Options, dtype: Any) -> tuple[Array, tuple[int, int, int], int]:
    """numbers, codes and variant."""
    return _values(
        options.activation, options.recurrent_activation, tuple(options.removed), options.coupled_gates,
        options.cell_clip, options.epsilon, options.zoneout_h, options.zoneout_c, dtype,
    )  # fmt: skip


@functools.lru_cache(maxsize=1024)
def _values(
    activation: str,
    recurrent_activation: str,
    removed: tuple[str, ...],
    coupled_gates: bool,
    cell_clip: float,
    epsilon: float,
    zoneout_h: float,
    zoneout_c: float,
    dtype: Any,
) -> tuple[Array, tuple[int, int, int], int]:
    squash, linear = ACTIVATION_CODES[activation], ACTIVATION_CODES["linear"]
    codes = (
        ACTIVATION_CODES[recurrent_activation],
        linear if "input_activation" in removed else squash,
        linear if "output_activation" in removed else squash,
    )
    variant = sum(REMOVED[name] for name in set(removed)) | (COUPLED if coupled_gates else 0)
    return np.array((cell_clip, epsilon, zoneout_h, zoneout_c), dtype), codes, variant


def _masks(masks: Array | None) -> Array:
    """Of zoneout, (T,B,H) or empty."""
    return nothing(3, np.dtype(bool)) if masks is None else compiled_for(masks)


@like(reference_lstm.lstm_pack)
def lstm_pack(
    kernel: Array,
    recurrent: Array,
    bias: Array | None,
    training: bool = False,
    gate_recurrence: Array | None = None,
    projection: Array | None = None,
) -> Packed:
    weights = check_weights("lstm", kernel, recurrent, bias, training, False, gate_recurrence, projection)
    if gate_recurrence is not None:  # the cell's own sum gets nothing: zeros in its place
        i, f, o = np.split(gate_recurrence, 3, axis=1)
        gate_recurrence = np.concatenate([i, f, np.zeros_like(i), o], axis=1)
    return Packed(
        weights, kernel=kernel, recurrent=recurrent, bias=bias, gate_recurrence=gate_recurrence, projection=projection
    )


@like(reference_lstm.lstm_forward)
def lstm_forward(x: Array, packed: Any, **given: Any) -> tuple[Any, ...]:
    call = begin("lstm", x, packed, given)
    weights, options, slots = call.weights, call.options, call.slots
    units, training, dtype = weights.units, bool(options.training), weights.dtype
    normalizes = options.normalization is not None
    h = call.table(options.h0, weights.outputs)
    c = call.table(options.c0, units)
    g = call.table(options.g0, 3 * units if weights.gate_recurrence else 0)
    chunk = max(_CHUNK // (4 * units), len(x), 1)
    kept = slots.total if training else min(chunk, slots.total)
    gates = np.empty((kept, 4 * units), dtype)
    of_x, of_h = np.empty((2, kept if normalizes else 0, 4 * units), dtype)
    scales = np.empty((kept if normalizes else 0, 2), dtype)
    numbers, codes, variant = _kernel_arguments(options, dtype)
    forward(
        call.x, slots.row, slots.step, slots.begin, slots.before, call.plain,
        packed.panels("kernel", gate_sets("lstm", call.input_dropout)),
        packed.panels("recurrent", gate_sets("lstm", call.recurrent_dropout)),
        packed.panels("gate_recurrence"), packed.panels("projection"), packed.of_bias(),
        call.input_dropout, call.recurrent_dropout,
        call.given(options.peepholes), call.given(options.normalization),
        _masks(options.zoneout_h_mask), _masks(options.zoneout_c_mask),
        h, c, g, gates, of_x, of_h, scales, numbers, codes, variant, training, chunk,
    )  # fmt: skip
    states = [table[slots.last] for table in ((h, c, g) if weights.gate_recurrence else (h, c))]
    saved = Saved(call, h=h, c=c, g=g, gates=gates, of_x=of_x, of_h=of_h, scales=scales) if training else None
    return call.outputs(h), *states, saved


@like(reference_lstm.lstm_backward)
@np.errstate(all="ignore")  # as in the other backends, NaN and Inf go their way in silence
def lstm_backward(
    saved: Any,
    d_y: Array | None,
    d_h: Array | None = None,
    d_c: Array | None = None,
    d_g: Array | None = None,
    *,
    need_d_x: bool = True,
) -> Gradients:
    saved = saved_of("lstm", saved)
    kept = saved.take("lstm", OutputGradients(d_y, d_h, d_c, d_g, need_d_x))
    call = saved.call
    weights, slots, packed, options = call.weights, call.slots, call.packed, call.options
    units, outputs, dtype = weights.units, weights.outputs, weights.dtype
    gates, c, of_x, of_h = kept["gates"], kept["c"], kept["of_x"], kept["of_h"]
    d_h0, d_c0 = state_gradient(call, d_h, outputs), state_gradient(call, d_c, units)
    d_g0 = state_gradient(call, d_g, 3 * units if weights.gate_recurrence else 0)
    projected = slots.total if weights.projection else 0
    d_projected, unprojected = np.empty((projected, outputs), dtype), np.empty((projected, units), dtype)
    normalization = call.given(options.normalization)
    d_to_output = np.empty((len(of_x), units), dtype)
    numbers, codes, variant = _kernel_arguments(options, dtype)
    backward(
        slots.row, slots.begin, slots.before, slots.output, output_gradients(call, d_y), not options.return_sequences,
        packed.parts("recurrent", gate_sets("lstm", call.recurrent_dropout)),
        packed.parts("gate_recurrence"), packed.parts("projection"),
        call.recurrent_dropout, call.given(options.peepholes), normalization,
        _masks(options.zoneout_h_mask), _masks(options.zoneout_c_mask),
        c, gates, of_h, kept["scales"], d_h0, d_c0, d_g0, d_projected, unprojected, d_to_output,
        numbers, codes, variant,
    )  # fmt: skip

    dz, new_c = gates, c[len(call.x) :]
    d_of_x = d_of_h = dz
    others: dict[str, Array | None] = {"d_bias": dz.sum(axis=0), "d_h0": d_h0, "d_c0": d_c0}
    if options.normalization is not None:
        d_normalization = np.empty((10, units), dtype)
        d_normalization[:4] = np.einsum("sj,sj->j", dz, of_x).reshape(4, units)
        d_normalization[4:8] = np.einsum("sj,sj->j", dz, of_h).reshape(4, units)
        d_normalization[8] = np.einsum("sj,sj->j", d_to_output, all_normalized(new_c, numbers[1]))
        d_normalization[9] = d_to_output.sum(axis=0)
        all_sums_back(dz, normalization[:4], of_x, kept["scales"][:, 0])
        all_sums_back(dz, normalization[4:8], of_h, kept["scales"][:, 1])
        d_of_x, d_of_h, others["d_normalization"] = of_x, of_h, d_normalization
    if options.peepholes is not None:
        old_c = before(call, c)
        parts = ((0, old_c), (1, old_c), (3, new_c))
        others["d_peepholes"] = np.stack(
            [np.einsum("sj,sj->j", dz[:, k * units : (k + 1) * units], state) for k, state in parts]
        )
    if weights.gate_recurrence:
        of_gates = np.concatenate([d_of_h[:, : 2 * units], d_of_h[:, 3 * units :]], axis=1)
        others |= {"d_g0": d_g0, "d_gate_recurrence": before(call, kept["g"]).T @ of_gates}
    if weights.projection:
        others["d_projection"] = unprojected.T @ d_projected
    return weight_gradients(call, before(call, kept["h"]), d_of_x, d_of_h, need_d_x, **others)
