"""The GRU that resets the state ahead of its product, on a GPU: a few launches a step."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from fusedlstm.backends import numba_cuda_cells as cells_of
from fusedlstm.backends.cuda_api import MAKERS, cuda, launch
from fusedlstm.backends.device_array import DeviceArray, empty
from fusedlstm.backends.device_matmul import matmul
from fusedlstm.backends.numba_cuda_kernels import REALS, kernel_for
from fusedlstm.backends.numba_cuda_moves import column_sums
from fusedlstm.backends.numba_cuda_steps import add_state_gradient, slots_of, state_product, where

if TYPE_CHECKING:
    from fusedlstm.backends.numba_cuda_call import Call


@functools.cache
def kernels(real: Any) -> tuple[Any, ...]:
    """The two parts of a step forward and the two back, of a NumPy float type."""
    activate, slope = cells_of.activations(real)
    one = real(1)

    @kernel_for(real)
    def gru_reset(  # type: ignore[no-untyped-def]
        gates, of_h, h, reset_state, dropout, part, dropped, old, rows, first, end, t, batch, plain, gate
    ):
        """From the sums of the inputs and of the state: z and r, and what r leaves of the state."""
        units = h.shape[1]
        for i in range(cuda.grid(1), (end - first) * units, cuda.gridsize(1)):
            s, u = first + i // units, i % units
            r = activate(gate, gates[s, units + u] + of_h[s - first, units + u])
            gates[s, u], gates[s, units + u] = activate(gate, gates[s, u] + of_h[s - first, u]), r
            value = r * h[s if plain else old[s], u]
            reset_state[s, u] = value * dropout[part, s % batch if plain else rows[s], u] if dropped else value

    @kernel_for(real)
    def gru_candidate(  # type: ignore[no-untyped-def]
        gates, q, h, old, rows, first, end, t, batch, plain, squash_in
    ):
        """From what r left of the state times its weights, q: the candidate, and the state."""
        units = h.shape[1]
        for i in range(cuda.grid(1), (end - first) * units, cuda.gridsize(1)):
            s, u = first + i // units, i % units
            g = activate(squash_in, gates[s, 2 * units + u] + q[s - first, u])
            gates[s, 2 * units + u] = g
            z = gates[s, u]
            h[batch + s, u] = z * h[s if plain else old[s], u] + (one - z) * g

    @kernel_for(real)
    def gru_candidate_back(  # type: ignore[no-untyped-def]
        gates, h, d_out, d_h, old, rows, first, end, t, batch, plain, gate, squash_in
    ):
        """z and the candidate become the gradients ahead of them; d_h loses what went to them."""
        units = h.shape[1]
        for i in range(cuda.grid(1), (end - first) * units, cuda.gridsize(1)):
            s, u = first + i // units, i % units
            row = s % batch if plain else rows[s]
            d, z, g = d_h[row, u] + d_out[s, u], gates[s, u], gates[s, 2 * units + u]
            gates[s, u] = d * (h[s if plain else old[s], u] - g) * slope(gate, z)
            gates[s, 2 * units + u] = d * (one - z) * slope(squash_in, g)
            d_h[row, u] = d * z

    @kernel_for(real)
    def gru_reset_back(  # type: ignore[no-untyped-def]
        gates, h, d_reset, d_h, dropout, part, dropped, old, rows, first, end, t, batch, plain, gate
    ):
        """r becomes the gradient ahead of it, from d_reset that of what r left of the state."""
        units = h.shape[1]
        for i in range(cuda.grid(1), (end - first) * units, cuda.gridsize(1)):
            s, u = first + i // units, i % units
            row = s % batch if plain else rows[s]
            d, r = d_reset[s - first, u], gates[s, units + u]
            if dropped:
                d *= dropout[part, row, u]
            d_h[row, u] += d * r
            gates[s, units + u] = d * h[s if plain else old[s], u] * slope(gate, r)

    return gru_reset, gru_candidate, gru_candidate_back, gru_reset_back


def _dropout(call: Call) -> tuple[DeviceArray, int, bool]:
    """The masks, which of them is the candidate's, and whether there are any."""
    masks, dropped = call.dropout("recurrent_dropout")
    return masks, call.sets("recurrent_dropout") - 1, dropped


def forward(call: Call, arrays: dict[str, DeviceArray]) -> dict[str, DeviceArray]:
    """The table filled, and what else backward needs."""
    weights, units, h = call.weights, call.weights.units, arrays["h"]
    _, gate, squash_in, *_ = call.kernel_options
    reset, candidate, *_ = kernels(call.real)
    gates = call.input_products(call.packed.bias)
    reset_state = empty((call.count, units), weights.dtype)
    for t in range(call.steps):
        first, end = slots_of(call, t)
        if first == end:
            continue
        of_h = empty((end - first, 2 * units), weights.dtype)
        state_product(call, h, first, end, 2, of_h)
        items, here = (end - first) * units, where(call, t)
        launch(reset, items, gates, of_h, h, reset_state, *_dropout(call), *here, gate)
        q = matmul(reset_state[first:end], call.packed.recurrent[:, 2 * units :])
        launch(candidate, items, gates, q, h, *here, squash_in)
    return arrays | {"gates": gates, "reset_state": reset_state}


def backward(
    call: Call, arrays: dict[str, DeviceArray], d: dict[str, DeviceArray], d_out: DeviceArray
) -> tuple[DeviceArray, dict[str, DeviceArray]]:
    """See `numba_cuda_loop.backward`."""
    units = call.weights.units
    _, gate, squash_in, *_ = call.kernel_options
    *_, candidate_back, reset_back = kernels(call.real)
    h, gates, d_h = arrays["h"], arrays["gates"], d["h"]
    outside = 2 * units
    of_candidate = call.packed.recurrent[:, outside:].T
    for t in reversed(range(call.steps)):
        first, end = slots_of(call, t)
        if first == end:
            continue
        items, here = (end - first) * units, where(call, t)
        launch(candidate_back, items, gates, h, d_out, d_h, *here, gate, squash_in)
        d_reset = matmul(gates[first:end, outside:], of_candidate)
        launch(reset_back, items, gates, h, d_reset, d_h, *_dropout(call), *here, gate)
        add_state_gradient(call, gates[first:end, :outside], first, 2, d_h)
    d_recurrent = call.recurrent_gradient(h, [(0, gates[:, :outside])])
    matmul(arrays["reset_state"].T, gates[:, outside:], out=d_recurrent[:, outside:])
    return gates, {"d_bias": column_sums(gates), "d_recurrent": d_recurrent}


def _make_all() -> None:
    for real in REALS.values():
        kernels(real)


MAKERS.append(_make_all)
