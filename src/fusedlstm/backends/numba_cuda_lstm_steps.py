"""The LSTM with a projection, full gate recurrence or layer normalisation on a GPU: a few launches a step.

Does the other variants too. The arithmetic is that of `numba_cuda_cells`.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fusedlstm.backends import numba_cuda_cells as cells_of
from fusedlstm.backends.cuda_api import MAKERS, cuda, jit, launch
from fusedlstm.backends.device_array import DeviceArray, empty, zeros
from fusedlstm.backends.device_matmul import matmul
from fusedlstm.backends.numba_cuda_cells import (
    NO_OUTPUT,
    PEEPHOLES,
    ZONEOUT_C,
    ZONEOUT_C_MASK,
    ZONEOUT_H,
    ZONEOUT_H_MASK,
)
from fusedlstm.backends.numba_cuda_kernels import REALS, kernel_for
from fusedlstm.backends.numba_cuda_moves import column_sums
from fusedlstm.backends.numba_cuda_rows import normalize, normalize_back
from fusedlstm.backends.numba_cuda_steps import add_state_gradient, put, slots_of, state_product, where

if TYPE_CHECKING:
    from fusedlstm.backends.numba_cuda_call import Call

#: Bits of `flags` besides those of the cells.
NORMALIZED, GATES_RECUR, PROJECTED = 1 << 16, 1 << 17, 1 << 18


@functools.cache
def kernels(real: Any) -> SimpleNamespace:
    """The parts of a step, of a NumPy float type."""
    activate, _ = cells_of.activations(real)
    zoned, zoned_back = cells_of.zoneout(real)
    parts = cells_of.lstm_parts(real)
    gates_of, clipped, output_back, gates_back = parts.gates_of, parts.clipped, parts.output_back, parts.gates_back
    zero, one = real(0), real(1)

    @jit(device=True)
    def of_state(of_h, normalization, s, part, units, u, flags):  # type: ignore[no-untyped-def]
        value = of_h[s, part * units + u]
        return normalization[4 + part, u] * value if flags & NORMALIZED else value

    @jit(device=True)
    def squashed_of(cells, normal, normalization, new, s, u, flags, squash_out):  # type: ignore[no-untyped-def]
        c = cells[new, u]
        if flags & NORMALIZED:
            c = normalization[8, u] * normal[s, u] + normalization[9, u]
        return activate(squash_out, c)

    @kernel_for(real)
    def lstm_gates(  # type: ignore[no-untyped-def]
        gates, of_h, cells, kept, extra, normalization, zoneout_c, old, rows, first, end, t, batch, plain,
        flags, gate, squash_in, clip, rate_c,
    ):  # fmt: skip
        """From the sums of the inputs and of the state: gates, and cells."""
        units = cells.shape[1]
        for item in range(cuda.grid(1), (end - first) * units, cuda.gridsize(1)):
            s, u = first + item // units, item % units
            c_old = cells[s if plain else old[s], u]
            zi = gates[s, u] + of_state(of_h, normalization, s, 0, units, u, flags)
            zf = gates[s, units + u] + of_state(of_h, normalization, s, 1, units, u, flags)
            zc = gates[s, 2 * units + u] + of_state(of_h, normalization, s, 2, units, u, flags)
            zo = gates[s, 3 * units + u] + of_state(of_h, normalization, s, 3, units, u, flags)
            if flags & PEEPHOLES:
                zi += extra[0, u] * c_old
                zf += extra[1, u] * c_old
            i, f, g = gates_of(zi, zf, zc, flags, gate, squash_in)
            c = clipped(f * c_old + i * g, clip)
            row = s % batch if plain else rows[s]
            c = zoned(c, c_old, flags & ZONEOUT_C, rate_c, flags & ZONEOUT_C_MASK, zoneout_c, t, row, u)
            if flags & PEEPHOLES:
                zo += extra[2, u] * c
            o = one if flags & NO_OUTPUT else activate(gate, zo)
            gates[s, u], gates[s, units + u], gates[s, 2 * units + u], gates[s, 3 * units + u] = i, f, g, o
            cells[batch + s, u] = c
            if flags & GATES_RECUR:
                kept[batch + s, u], kept[batch + s, units + u], kept[batch + s, 2 * units + u] = i, f, o

    @kernel_for(real)
    def lstm_output(  # type: ignore[no-untyped-def]
        gates, cells, normal, normalization, outputs, h, zoneout_h, old, rows, first, end, t, batch, plain,
        flags, squash_out, rate_h,
    ):  # fmt: skip
        """From gates and cells (normalised in `normal`): the state, or ahead of a projection the outputs."""
        units = cells.shape[1]
        for i in range(cuda.grid(1), (end - first) * units, cuda.gridsize(1)):
            s, u = first + i // units, i % units
            squashed = squashed_of(cells, normal, normalization, batch + s, s, u, flags, squash_out)
            value = gates[s, 3 * units + u] * squashed
            if flags & PROJECTED:
                outputs[s, u] = value
            else:
                h[batch + s, u] = zoned(
                    value, h[s if plain else old[s], u], flags & ZONEOUT_H, rate_h,
                    flags & ZONEOUT_H_MASK, zoneout_h, t, s % batch if plain else rows[s], u,
                )  # fmt: skip

    @kernel_for(real)
    def zone_projected(  # type: ignore[no-untyped-def]
        h, zoneout_h, old, rows, first, end, t, batch, plain, flags, rate_h
    ):
        width = h.shape[1]
        for i in range(cuda.grid(1), (end - first) * width, cuda.gridsize(1)):
            s, u = first + i // width, i % width
            h[batch + s, u] = zoned(
                h[batch + s, u], h[s if plain else old[s], u], flags & ZONEOUT_H, rate_h,
                flags & ZONEOUT_H_MASK, zoneout_h, t, s % batch if plain else rows[s], u,
            )  # fmt: skip

    @kernel_for(real)
    def zone_back(  # type: ignore[no-untyped-def]
        d_out, d_h, zoneout_h, old, rows, first, end, t, batch, plain, flags, rate_h
    ):
        """d_out becomes the gradient of the state ahead of zoneout, d_h that of the old state."""
        width = d_h.shape[1]
        for i in range(cuda.grid(1), (end - first) * width, cuda.gridsize(1)):
            s, u = first + i // width, i % width
            row = s % batch if plain else rows[s]
            d_out[s, u], d_h[row, u] = zoned_back(
                d_h[row, u] + d_out[s, u], flags & ZONEOUT_H, rate_h, flags & ZONEOUT_H_MASK, zoneout_h, t, row, u
            )  # fmt: skip

    @kernel_for(real)
    def lstm_output_back(  # type: ignore[no-untyped-def]
        gates, cells, normal, normalization, d_output, d_gates, d_squashed, old, rows, first, end, t, batch, plain,
        flags, gate, squash_out,
    ):  # fmt: skip
        """The output gate becomes the gradient ahead of it; d_squashed, that of what was squashed."""
        units = cells.shape[1]
        for i in range(cuda.grid(1), (end - first) * units, cuda.gridsize(1)):
            s, u = first + i // units, i % units
            d_o = d_gates[s % batch if plain else rows[s], 2 * units + u] if flags & GATES_RECUR else zero
            squashed = squashed_of(cells, normal, normalization, batch + s, s, u, flags, squash_out)
            gates[s, 3 * units + u], d_squashed[s, u] = output_back(
                d_output[s, u], d_o, gates[s, 3 * units + u], squashed, flags, gate, squash_out
            )

    @kernel_for(real)
    def lstm_gates_back(  # type: ignore[no-untyped-def]
        gates, cells, extra, d_of_c, d_gates, d_c, zoneout_c, old, rows, first, end, t, batch, plain,
        flags, gate, squash_in, clip, rate_c,
    ):  # fmt: skip
        """The other gates become the gradients ahead of them; d_of_c is the cell's through the output."""
        units = cells.shape[1]
        for item in range(cuda.grid(1), (end - first) * units, cuda.gridsize(1)):
            s, u = first + item // units, item % units
            row = s % batch if plain else rows[s]
            c_old = cells[s if plain else old[s], u]
            i, f, g = gates[s, u], gates[s, units + u], gates[s, 2 * units + u]
            d = d_c[row, u] + d_of_c[s, u]
            if flags & PEEPHOLES:
                d += gates[s, 3 * units + u] * extra[2, u]
            d, d_c_old = zoned_back(d, flags & ZONEOUT_C, rate_c, flags & ZONEOUT_C_MASK, zoneout_c, t, row, u)
            d_i = d_gates[row, u] if flags & GATES_RECUR else zero
            d_f = d_gates[row, units + u] if flags & GATES_RECUR else zero
            d, dz_i, dz_f, dz_c = gates_back(d, d_i, d_f, i, f, g, c_old, flags, gate, squash_in, clip)
            d_c_old += d * f
            if flags & PEEPHOLES:
                d_c_old += dz_i * extra[0, u] + dz_f * extra[1, u]
            d_c[row, u] = d_c_old
            gates[s, u], gates[s, units + u], gates[s, 2 * units + u] = dz_i, dz_f, dz_c

    return SimpleNamespace(
        gates=lstm_gates, output=lstm_output, zone_projected=zone_projected, zone_back=zone_back,
        output_back=lstm_output_back, gates_back=lstm_gates_back,
    )  # fmt: skip


def _flags(call: Call) -> int:
    weights = call.weights
    return (
        call.flags
        | (NORMALIZED if call.options.normalization is not None else 0)
        | (GATES_RECUR if weights.gate_recurrence else 0)
        | (PROJECTED if weights.projection else 0)
    )


def forward(call: Call, arrays: dict[str, DeviceArray]) -> dict[str, DeviceArray]:
    """The tables filled, and what else backward needs."""
    weights, packed, options, units = call.weights, call.packed, call.options, call.weights.units
    dtype, count, batch = weights.dtype, call.count, call.batch
    normalization, peepholes = call.given("normalization", 2), call.given("peepholes", 2)
    _, zoneout_c = call.zoneout_masks()
    zoneout_h, _ = call.zoneout_masks()
    flags, (_, gate, squash_in, squash_out, clip, rate_h, rate_c) = _flags(call), call.kernel_options
    kernel = kernels(call.real)
    h, cells = arrays["h"], arrays["cells"]
    kept, outputs = arrays.get("kept_gates", h), h
    of_h = empty((count, 4 * units), dtype)
    made = {"of_h": of_h, "normal": cells}
    if options.normalization is None:
        made["gates"] = call.input_products(packed.bias)
    else:
        of_x = made["of_x"] = call.input_products(None)
        for name in ("x_scale", "h_scale", "c_scale"):
            made[name] = empty((count,), dtype)
        made["normal"] = empty((count, units), dtype)
        normalize(of_x, of_x, made["x_scale"], options.epsilon)
        made["gates"] = of_x * normalization[:4].reshape(-1)
        if packed.bias is not None:
            made["gates"] += packed.bias
    if weights.projection:
        outputs = made["outputs"] = empty((count, units), dtype)
    gates, normal = made["gates"], made["normal"]
    for t in range(call.steps):
        first, end = slots_of(call, t)
        if first == end:
            continue
        items, here = (end - first) * units, where(call, t)
        state_product(call, h, first, end, 4, of_h[first:end])
        if weights.gate_recurrence:
            of_old = call.states_before(kept, 0, False, first, end)
            for part, to in _parts(units):
                matmul(of_old, packed.gate_recurrence[:, part], out=of_h[first:end, to], accumulate=True)
        if options.normalization is not None:
            normalize(of_h[first:end], of_h[first:end], made["h_scale"][first:end], options.epsilon)
        launch(
            kernel.gates, items, gates, of_h, cells, kept, peepholes, normalization, zoneout_c, *here,
            flags, gate, squash_in, clip, rate_c,
        )  # fmt: skip
        if options.normalization is not None:
            scale = made["c_scale"][first:end]
            normalize(cells[batch + first : batch + end], normal[first:end], scale, options.epsilon)
        launch(
            kernel.output, items, gates, cells, normal, normalization, outputs, h, zoneout_h, *here,
            flags, squash_out, rate_h,
        )  # fmt: skip
        if weights.projection:
            matmul(outputs[first:end], packed.projection, out=h[batch + first : batch + end])
            if flags & (ZONEOUT_H | ZONEOUT_H_MASK):
                width = (end - first) * weights.outputs
                launch(kernel.zone_projected, width, h, zoneout_h, *here, flags, rate_h)
    return arrays | made


def _parts(units: int) -> tuple[tuple[slice, slice], ...]:
    """The columns of i f, and of o: in the order i f o, and in the order i f c o."""
    return (slice(0, 2 * units), slice(0, 2 * units)), (slice(2 * units, 3 * units), slice(3 * units, 4 * units))


def backward(
    call: Call, arrays: dict[str, DeviceArray], d: dict[str, DeviceArray], d_out: DeviceArray
) -> tuple[DeviceArray, dict[str, DeviceArray]]:
    """See `numba_cuda_loop.backward`."""
    weights, packed, options, units = call.weights, call.packed, call.options, call.weights.units
    dtype, count = weights.dtype, call.count
    normalization, peepholes = call.given("normalization", 2), call.given("peepholes", 2)
    zoneout_h, zoneout_c = call.zoneout_masks()
    flags, (_, gate, squash_in, squash_out, clip, rate_h, rate_c) = _flags(call), call.kernel_options
    kernel = kernels(call.real)
    h, cells, gates, normal, of_h = (arrays[name] for name in ("h", "cells", "gates", "normal", "of_h"))
    d_h, d_c, d_gates = d["h"], d["c"], d.get("g", d["h"])
    d_squashed = empty((count, units), dtype)
    d_output = empty((count, units), dtype) if weights.projection else d_out
    d_of_c, d_of_x, d_of_h = d_squashed, gates, gates
    x_gain = h_gain = c_gain = None
    if options.normalization is not None:
        d_of_c, d_of_x, d_of_h = empty((count, units), dtype), empty(gates.shape, dtype), empty(gates.shape, dtype)
        x_gain, h_gain, c_gain = normalization[:4].reshape(-1), normalization[4:8].reshape(-1), normalization[8]
    for t in reversed(range(call.steps)):
        first, end = slots_of(call, t)
        if first == end:
            continue
        items, here = (end - first) * units, where(call, t)
        width = (end - first) * weights.outputs
        launch(kernel.zone_back, width, d_out, d_h, zoneout_h, *here, flags, rate_h)
        if weights.projection:
            matmul(d_out[first:end], packed.projection.T, out=d_output[first:end])
        launch(
            kernel.output_back, items, gates, cells, normal, normalization, d_output, d_gates, d_squashed, *here,
            flags, gate, squash_out,
        )  # fmt: skip
        if c_gain is not None:
            scale = arrays["c_scale"][first:end]
            normalize_back(d_squashed[first:end], c_gain, normal[first:end], scale, d_of_c[first:end])
        launch(
            kernel.gates_back, items, gates, cells, peepholes, d_of_c, d_gates, d_c, zoneout_c, *here,
            flags, gate, squash_in, clip, rate_c,
        )  # fmt: skip
        if h_gain is not None:
            scale = arrays["h_scale"][first:end]
            normalize_back(gates[first:end], h_gain, of_h[first:end], scale, d_of_h[first:end])
        add_state_gradient(call, d_of_h[first:end], first, 4, d_h)
        if weights.gate_recurrence:
            for k, (part, of) in enumerate(_parts(units)):
                from_gates = matmul(d_of_h[first:end, of], packed.gate_recurrence[:, part].T)
                put(call, from_gates, first, d_gates, k > 0)
    found = {"d_bias": column_sums(gates), "d_recurrent": call.recurrent_gradient(h, [(0, d_of_h)])}
    found |= call.peephole_gradient(gates, cells)
    if weights.gate_recurrence:
        of_old = call.states_before(arrays["kept_gates"], 0, False).T
        found["d_gate_recurrence"] = empty((3 * units, 3 * units), dtype)
        for part, of in _parts(units):
            matmul(of_old, d_of_h[:, of], out=found["d_gate_recurrence"][:, part])
    if weights.projection:
        found["d_projection"] = matmul(arrays["outputs"].T, d_out)
    if x_gain is not None:
        of_x = arrays["of_x"]
        normalize_back(gates, x_gain, of_x, arrays["x_scale"], d_of_x)
        gains = found["d_normalization"] = zeros((10, units), dtype)
        gains[:4] = column_sums(gates, of_x).reshape(4, units)
        gains[4:8] = column_sums(gates, of_h).reshape(4, units)
        gains[8], gains[9] = column_sums(d_squashed, normal), column_sums(d_squashed)
    return d_of_x, found


def _make_all() -> None:
    for real in REALS.values():
        kernels(real)


MAKERS.append(_make_all)
