"""The LSTM's loop over time in Numba for CPUs, forward and back; `numba_cpu_lstm` calls it.

The mathematics is that of `reference_lstm`, name by name.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedlstm.backends.arguments import Array
from fusedlstm.backends.numba_cpu_math import activate, differentiate
from fusedlstm.backends.numba_cpu_recurrent import (
    WORKSPACE,
    add_back_product,
    add_dropped_back,
    add_dropped_products,
    add_input_products,
    add_output_gradients,
    add_product,
    copy,
    rows_at,
    steps_of_chunk,
)
from fusedlstm.backends.numba_jit import njit

#: Bits of a kernel's `variant`.
REMOVED = {"input_gate": 1, "forget_gate": 2, "output_gate": 4, "input_activation": 8, "output_activation": 16}
_NO_INPUT_GATE, _NO_FORGET_GATE, _NO_OUTPUT_GATE = (REMOVED[f"{gate}_gate"] for gate in ("input", "forget", "output"))
COUPLED = 32


# Parts of a step, each on one row.


@njit
def _normalize(x: Array, epsilon: Any) -> Any:
    """x becomes (x - mean) / deviation; the latter's inverse."""
    real = type(x[0])
    total = square = real(0)
    for j in range(len(x)):
        total += x[j]
    mean = total / real(len(x))
    for j in range(len(x)):
        x[j] -= mean
        square += x[j] * x[j]
    scale = real(1) / np.sqrt(square / real(len(x)) + epsilon)
    for j in range(len(x)):
        x[j] *= scale
    return scale


@njit
def _normalize_back(d: Array, normalized: Array, scale: Any) -> None:
    """d, the gradient of what `_normalize` left, becomes that of what it was given."""
    real = type(d[0])
    total = along = real(0)
    for j in range(len(d)):
        total += d[j]
        along += d[j] * normalized[j]
    mean, along = total / real(len(d)), along / real(len(d))
    for j in range(len(d)):
        d[j] = scale * (d[j] - mean - normalized[j] * along)


@njit
def _gates(z: Array, variant: int, gate: int, candidate: int) -> None:
    """The sums z (4H,) become i, f and g; the fourth part stays."""
    units = len(z) // 4
    real = type(z[0])
    if variant & (_NO_INPUT_GATE | _NO_FORGET_GATE | COUPLED) == 0:
        activate(gate, z[: 2 * units])
    else:
        if variant & _NO_INPUT_GATE:
            z[:units] = real(1)
        else:
            activate(gate, z[:units])
        if variant & COUPLED:
            for j in range(units):
                z[units + j] = real(1) - z[j]
        elif variant & _NO_FORGET_GATE:
            z[units : 2 * units] = real(1)
        else:
            activate(gate, z[units : 2 * units])
    activate(candidate, z[2 * units : 3 * units])


@njit
def _new_cell(z: Array, c_old: Array, clip: Any, c: Array) -> None:
    """c = f c' + i g, clipped."""
    units = len(c)
    for j in range(units):
        c[j] = z[units + j] * c_old[j] + z[j] * z[2 * units + j]
    if clip > 0:
        for j in range(units):
            value = c[j]
            value = clip if value > clip else value  # NaN stays
            c[j] = -clip if value < -clip else value


@njit
def _zone(new: Array, old: Array, rate: Any, masks: Array, t: int, b: int) -> None:
    """The new state where zoneout leaves it; without masks the expectation."""
    if masks.shape[0] > 0:
        keep = masks[t, b]
        for j in range(len(new)):
            new[j] = old[j] if keep[j] else new[j]
    elif rate > 0:
        for j in range(len(new)):
            new[j] += rate * (old[j] - new[j])


@njit
def _zone_back(d: Array, kept: Array, rate: Any, masks: Array, t: int, b: int) -> None:
    """d, the gradient of the state, becomes that of the new one; `kept` that of the old one on this way."""
    real = type(d[0])
    if masks.shape[0] > 0:
        keep = masks[t, b]
        for j in range(len(d)):
            kept[j] = d[j] if keep[j] else real(0)
            d[j] = real(0) if keep[j] else d[j]
    else:
        for j in range(len(d)):
            kept[j] = rate * d[j]
            d[j] -= kept[j]


@njit
def _squashed(c: Array, normalization: Array, epsilon: Any, code: int, to: Array) -> Any:
    """to = act(c), or act of c normalised, with its gain and shift; the inverse of the deviation."""
    copy(c, to)
    scale = epsilon
    if normalization.shape[0] > 0:
        scale = _normalize(to, epsilon)
        gain, shift = normalization[8], normalization[9]
        for j in range(len(c)):
            to[j] = to[j] * gain[j] + shift[j]
    activate(code, to)
    return scale


@njit
def forward(
    x: Array, row: Array, step: Array, begins: Array, befores: Array, plain: bool,
    kernel: Array, recurrent: Array, gate_recurrence: Array, projection: Array, bias: Array,
    input_dropout: Array, recurrent_dropout: Array, peepholes: Array, normalization: Array,
    zoneout_h: Array, zoneout_c: Array,
    h: Array, c: Array, g: Array, gates: Array, of_x: Array, of_h: Array, scales: Array,
    numbers: Array, codes: tuple[int, int, int], variant: int, training: bool, chunk: int,
) -> None:  # fmt: skip
    """Fill the tables h, c and g behind the initial states.

    gates (S,4H), and with layer normalisation of_x and of_h (S,4H) and scales (S,2), are what going back needs; without
    `training` they are scratch for the slots of one chunk.
    """
    batch, _, inputs = x.shape
    units, outputs = c.shape[1], h.shape[1]
    clip, epsilon, rate_h, rate_c = numbers[0], numbers[1], numbers[2], numbers[3]
    gate, candidate, output = codes
    normalizes, peeps = normalization.shape[0] > 0, peepholes.shape[0] > 0
    work = np.empty(WORKSPACE, x.dtype)
    most = min(chunk, len(row))
    taken = np.empty((most, inputs), x.dtype)
    dropped = np.empty((most if input_dropout.shape[0] > 0 else 0, inputs), x.dtype)
    old_h = np.empty((batch, outputs), x.dtype)
    dropped_h = np.empty((batch, outputs), x.dtype)
    old_g = np.empty((batch, g.shape[1]), x.dtype)
    squashed = np.empty((batch, units), x.dtype)
    no_masks = np.empty((0, 0, 0), x.dtype)

    t = 0
    while t < len(begins) - 1:
        behind = steps_of_chunk(begins, t, chunk)
        first = begins[t]
        count = begins[behind] - first
        origin = 0 if training else first  # the slot of the first row of gates
        z_chunk = gates[first - origin : first - origin + count]
        x_chunk = of_x[first - origin : first - origin + count] if normalizes else z_chunk
        for k in range(count):
            copy(bias, z_chunk[k])
        if normalizes:
            x_chunk[:, :] = 0
        slots = slice(first, first + count)
        add_input_products(x, row[slots], step[slots], input_dropout, kernel, x_chunk, taken, dropped, work)

        for u in range(t, behind):
            low, count = begins[u], begins[u + 1] - begins[u]
            rows, index = row[low : low + count], befores[low : low + count]
            z = gates[low - origin : low - origin + count]
            sums = z
            if normalizes:
                sums = of_h[low - origin : low - origin + count]
                sums[:, :] = 0
            states = rows_at(h, index, low, plain, old_h)
            add_dropped_products(states, recurrent_dropout, rows, recurrent, sums, dropped_h, work)
            if g.shape[1] > 0:
                old_gates = rows_at(g, index, low, plain, old_g)
                add_dropped_products(old_gates, no_masks, rows, gate_recurrence, sums, dropped_h, work)

            for k in range(count):
                slot, b = low + k, rows[k]
                here, c_old, c_new = z[k], c[index[k]], c[batch + slot]
                if normalizes:
                    from_x, from_h = of_x[slot - origin], sums[k]
                    scales[slot - origin, 0] = _normalize(from_x, epsilon)
                    scales[slot - origin, 1] = _normalize(from_h, epsilon)
                    for j in range(4 * units):
                        quarter, unit = j // units, j % units
                        here[j] += (
                            normalization[quarter, unit] * from_x[j] + normalization[4 + quarter, unit] * from_h[j]
                        )
                if peeps:
                    for j in range(units):
                        here[j] += peepholes[0, j] * c_old[j]
                    for j in range(units):
                        here[units + j] += peepholes[1, j] * c_old[j]
                _gates(here, variant, gate, candidate)
                _new_cell(here, c_old, clip, c_new)
                _zone(c_new, c_old, rate_c, zoneout_c, u, b)
                o = here[3 * units :]
                if peeps:
                    for j in range(units):
                        o[j] += peepholes[2, j] * c_new[j]
                if variant & _NO_OUTPUT_GATE:
                    o[:] = 1
                else:
                    activate(gate, o)
                m = squashed[k] if projection.shape[3] > 0 else h[batch + slot]
                _squashed(c_new, normalization, epsilon, output, m)
                for j in range(units):
                    m[j] *= o[j]
                if g.shape[1] > 0:
                    copy(here[: 2 * units], g[batch + slot])
                    copy(o, g[batch + slot, 2 * units :])
            if projection.shape[3] > 0:
                new = h[batch + low : batch + low + count]
                new[:, :] = 0
                add_product(squashed[:count], projection[0], new, 0, outputs, work)
            if zoneout_h.shape[0] > 0 or rate_h > 0:
                for k in range(count):
                    _zone(h[batch + low + k], h[index[k]], rate_h, zoneout_h, u, rows[k])
        t = behind


@njit
def _sums_back(dz: Array, gains: Array, normalized: Array, scale: Any, to: Array) -> None:
    """to (4H,) = the gradient of sums, given that of their normalised values times gains (4,H)."""
    units = gains.shape[1]
    for quarter in range(4):
        for j in range(units):
            to[quarter * units + j] = dz[quarter * units + j] * gains[quarter, j]
    _normalize_back(to, normalized, scale)


@njit
def backward(
    row: Array, begins: Array, befores: Array, output_rows: Array, d_y: Array, last: bool,
    recurrent: Array, gate_recurrence: Array, projection: Array,
    recurrent_dropout: Array, peepholes: Array, normalization: Array, zoneout_h: Array, zoneout_c: Array,
    c: Array, gates: Array, of_h: Array, scales: Array,
    d_h: Array, d_c: Array, d_g: Array, d_projected: Array, unprojected: Array, d_to_output: Array,
    numbers: Array, codes: tuple[int, int, int], variant: int,
) -> None:  # fmt: skip
    """gates (S,4H) become the gradients of the gates' sums; d_h, d_c and d_g those of the initial states.

    With a projection also d_projected (S,P) is filled, the gradient of its result, and unprojected (S,H), what it was
    given; with layer normalisation d_to_output (S,H), of what the cell's output is the activation of. The weights are
    in parts, (sets, K, N / sets).
    """
    batch, outputs = d_h.shape
    units = c.shape[1]
    clip, epsilon, rate_h, rate_c = numbers[0], numbers[1], numbers[2], numbers[3]
    gate, candidate, output = codes
    real = type(clip)
    zero = real(0)
    normalizes, peeps = normalization.shape[0] > 0, peepholes.shape[0] > 0
    projects, recurs = projection.shape[1] > 0, gate_recurrence.shape[1] > 0
    work = np.empty(WORKSPACE, c.dtype)
    pending = np.zeros((batch, outputs), c.dtype)  # gradients of outputs, until the step whose state they are
    kept_h = np.empty((batch, outputs), c.dtype)
    new_h = np.empty((batch, outputs), c.dtype)
    d_m = np.empty((batch, units), c.dtype)
    back = np.empty((batch, outputs), c.dtype)
    of_gates = np.empty((batch, d_g.shape[1]), c.dtype)
    d_sums = np.empty((batch, 4 * units), c.dtype)
    part = np.empty((batch, 4 * units), c.dtype)
    product = np.empty((batch, outputs), c.dtype)
    slope = np.empty(4 * units, c.dtype)
    squashed, slope_out, normal = np.empty(units, c.dtype), np.empty(units, c.dtype), np.empty(units, c.dtype)
    kept_c, d_i, d_f = np.empty(units, c.dtype), np.empty(units, c.dtype), np.empty(units, c.dtype)
    d_o = np.empty(units, c.dtype)

    for t in range(len(begins) - 2, -1, -1):
        add_output_gradients(d_y, output_rows, t, last, pending)
        low, count = begins[t], begins[t + 1] - begins[t]
        if count == 0:
            continue
        zones_h = zoneout_h.shape[0] > 0 or rate_h > 0
        for k in range(count):
            b = row[low + k]
            to, state, out = new_h[k], d_h[b], pending[b]
            for j in range(outputs):
                to[j] = state[j] + out[j]
                out[j] = zero
            if zones_h:
                _zone_back(to, kept_h[k], rate_h, zoneout_h, t, b)
        above = new_h
        if projects:
            for k in range(count):
                copy(new_h[k], d_projected[low + k])
            d_m[:count] = 0
            add_back_product(new_h[:count], projection[0], d_m, work)
            above = d_m

        for k in range(count):
            slot, b = low + k, row[low + k]
            z, c_old, c_new, d_cell = gates[slot], c[befores[slot]], c[batch + slot], d_c[b]
            i, f, g, o = z[:units], z[units : 2 * units], z[2 * units : 3 * units], z[3 * units :]
            d_new = above[k]
            scale = _squashed(c_new, normalization, epsilon, output, squashed)
            copy(squashed, slope_out)
            differentiate(output, slope_out)
            copy(z, slope)
            differentiate(gate, slope[: 2 * units])
            differentiate(candidate, slope[2 * units : 3 * units])
            differentiate(gate, slope[3 * units :])

            for j in range(units):
                d_o[j] = d_new[j] * squashed[j]
            if recurs:
                for j in range(units):
                    d_o[j] += d_g[b, 2 * units + j]
            if projects:
                for j in range(units):
                    unprojected[slot, j] = o[j] * squashed[j]
            for j in range(units):
                d_o[j] *= slope[3 * units + j]  # of the gate's sum from here
                slope_out[j] *= d_new[j] * o[j]
            if variant & _NO_OUTPUT_GATE:
                d_o[:] = zero
            if normalizes:
                copy(slope_out, d_to_output[slot])
                copy(c_new, normal)
                for j in range(units):
                    slope_out[j] *= normalization[8, j]
                _normalize(normal, epsilon)
                _normalize_back(slope_out, normal, scale)
            for j in range(units):
                d_cell[j] += slope_out[j]
            if peeps:
                for j in range(units):
                    d_cell[j] += d_o[j] * peepholes[2, j]

            zones_c = zoneout_c.shape[0] > 0 or rate_c > 0
            if zones_c:
                _zone_back(d_cell, kept_c, rate_c, zoneout_c, t, b)
            if clip > 0:
                for j in range(units):
                    d_cell[j] = zero if abs(f[j] * c_old[j] + i[j] * g[j]) >= clip else d_cell[j]
            for j in range(units):
                d_i[j] = d_cell[j] * g[j]
                d_f[j] = d_cell[j] * c_old[j]
            if recurs:
                for j in range(units):
                    d_i[j] += d_g[b, j]
                    d_f[j] += d_g[b, units + j]
            if variant & COUPLED:
                for j in range(units):
                    d_i[j] -= d_f[j]
            keeps_i = real(0 if variant & _NO_INPUT_GATE else 1)
            keeps_f = real(0 if variant & (_NO_FORGET_GATE | COUPLED) else 1)
            for j in range(units):
                slope[2 * units + j] *= d_cell[j] * i[j]
                d_cell[j] *= f[j]
            for j in range(units):
                z[j] = d_i[j] * slope[j] if keeps_i else zero
                z[units + j] = d_f[j] * slope[units + j] if keeps_f else zero
                z[2 * units + j] = slope[2 * units + j]
                z[3 * units + j] = d_o[j]
            if peeps:
                for j in range(units):
                    d_cell[j] += z[j] * peepholes[0, j] + z[units + j] * peepholes[1, j]
            if zones_c:
                for j in range(units):
                    d_cell[j] += kept_c[j]

            if normalizes:
                _sums_back(z, normalization[4:8], of_h[slot], scales[slot, 1], d_sums[k])

        through = d_sums[:count] if normalizes else gates[low : low + count]
        rows = row[low : low + count]
        back[:count] = 0
        add_dropped_back(through, recurrent_dropout, rows, recurrent, back[:count], part, product, work)
        if recurs:
            of_gates[:count] = 0
            add_back_product(through, gate_recurrence[0], of_gates, work)
        for k in range(count):
            copy(back[k], d_h[rows[k]])
            if zones_h:
                for j in range(outputs):
                    d_h[rows[k], j] += kept_h[k, j]
            if recurs:
                copy(of_gates[k], d_g[rows[k]])


@njit
def all_sums_back(dz: Array, gains: Array, normalized: Array, scales: Array) -> None:
    """`_sums_back` of every slot, in place of what is normalised."""
    sums = np.empty(dz.shape[1], dz.dtype)
    for slot in range(len(dz)):
        _sums_back(dz[slot], gains, normalized[slot], scales[slot], sums)
        copy(sums, normalized[slot])


@njit
def all_normalized(c: Array, epsilon: Any) -> Array:
    """Every row of c with mean 0 and variance 1."""
    normal = c.copy()
    for slot in range(len(c)):
        _normalize(normal[slot], epsilon)
    return normal
