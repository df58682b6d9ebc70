"""The loop over time in one kernel, forward and back, for layers that need nothing but the state's product in a step.

Blocks divide the rows of the batch and the units among them (a plan says how) and meet once a step. A block computes
all gates of its units, and steps them in the same pass; forward from the states of its rows, going back from the
gradients of all gates of its rows in the step behind. The weights of a block stay in its shared memory for the whole
sequence where they fit, else they come through the caches.

A product is summed by several threads, each a fixed part of it, and their sums are added in a fixed order.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from fusedlstm.backends import numba_cuda_cells as cells_of
from fusedlstm.backends.cuda_api import MAKERS, cuda, jit, launch_blocks, simulated
from fusedlstm.backends.device_array import DeviceArray, empty
from fusedlstm.backends.numba_cuda_cells import DROPOUT
from fusedlstm.backends.numba_cuda_kernels import REALS, index, kernel_for, numba_type
from fusedlstm.backends.numba_cuda_moves import column_sums
from fusedlstm.backends.recurrent_arguments import GATES

if TYPE_CHECKING:
    from fusedlstm.backends.numba_cuda_call import Call

#: Rows that a thread sums at a time: each weight is read once for all of them.
ROWS = 4
_THREADS = 256
#: What reading a state into shared memory costs, in multiplications of a thread.
_STAGING = 8
_MOST_TILES = 16  # of ROWS rows


class Plan(NamedTuple):
    """How a loop is divided; a job is a group of units of a group of rows."""

    width: int  # units of a group
    groups: int
    row_groups: int
    tile: int  # rows whose factors are in shared memory at a time, a multiple of ROWS
    depth: int  # how many factors of each of them
    slices: int  # threads that share a sum
    resident: bool  # the weights are in shared memory: a block has one job
    blocks: int
    shared: int  # bytes


class Machine(NamedTuple):
    """What a plan depends on."""

    multiprocessors: int
    shared: int  # bytes that a block may have


@functools.cache
def machine() -> Machine:
    """The current device."""
    if simulated():
        return Machine(1, 1 << 16)
    device = cuda.get_current_device()
    return Machine(int(device.MULTIPROCESSOR_COUNT), int(device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN))


def plan(batch: int, units: int, gates: int, sets: int, itemsize: int) -> Plan:
    """The best plan for this device.

    Parameters
    ----------
    sets : int
        1 if all gates of a unit are sums over the same factors, else `gates`.
    """
    return _resident(batch, units, gates, sets, itemsize, machine()) or streamed(
        batch, units, gates, sets, itemsize, machine()
    )


@functools.cache
def _resident(batch: int, units: int, gates: int, sets: int, itemsize: int, device: Machine) -> Plan | None:
    """The weights stay in shared memory; None if they do not fit."""
    plans = []
    for width in range(-(-units // device.multiprocessors), units + 1):
        groups = -(-units // width)
        row_groups = max(1, min(-(-batch // ROWS), device.multiprocessors // groups))
        weights = gates * units * width
        numbers = device.shared // itemsize - weights
        if numbers < ROWS * (sets * units + gates * width):
            break
        cost, tile, slices, used = _tile(-(-batch // row_groups), units, units, width, gates, sets, numbers)
        sizes = width, groups, row_groups, tile, units, slices
        plans.append((cost, Plan(*sizes, True, groups * row_groups, (weights + used) * itemsize)))
    return min(plans)[1] if plans else None


@functools.cache
def streamed(batch: int, units: int, gates: int, sets: int, itemsize: int, device: Machine) -> Plan:
    """The weights are read in every step: for any number of units."""
    width, depth = min(units, 32), min(units, 128)
    groups = -(-units // width)
    row_groups = max(1, min(-(-batch // ROWS), -(-device.multiprocessors // groups)))
    numbers = device.shared // itemsize
    _, tile, slices, used = _tile(-(-batch // row_groups), units, depth, width, gates, sets, numbers)
    blocks = min(groups * row_groups, device.multiprocessors)
    return Plan(width, groups, row_groups, tile, depth, slices, False, blocks, used * itemsize)


def _tile(
    rows: int, units: int, depth: int, width: int, gates: int, sets: int, numbers: int
) -> tuple[int, int, int, int]:
    """What a job costs a thread, rows of a tile, threads that share a sum, and the numbers in shared memory."""
    found = []
    most = min(-(-max(rows, 1) // ROWS), numbers // (sets * depth + gates * width) // ROWS, _MOST_TILES)
    for few in range(1, most + 1):
        tile = few * ROWS
        room = (numbers - tile * sets * depth) // (tile * gates * width)
        slices = max(1, min(room, _THREADS // (width * few), units // 8))
        sums = -(-few * width * slices // _THREADS)  # of a thread
        multiplications = sums * ROWS * gates * -(-units // slices)
        cost = -(-rows // tile) * (multiplications + _STAGING * -(-tile * units * sets // _THREADS))
        found.append((cost, tile, slices, tile * (sets * depth + slices * gates * width)))
    return min(found)


@functools.cache
def _common(name: str, real: Any, sets: int) -> tuple[Any, ...]:
    """The device functions that the kernels of both directions are made of."""
    gates_of_cell, zero = GATES[name], real(0)

    @jit(device=True)
    def first_slot(t, group, bounds, plain, batch, row_groups):  # type: ignore[no-untyped-def]
        """The first slot of a group of rows in a step; the next group's is where it ends."""
        return t * batch + group * batch // row_groups if plain else bounds[t, group]

    @jit(device=True)
    def load(shared, weights, first_unit, width, units, gate_stride, stride):  # type: ignore[no-untyped-def]
        """The weights of a group of units: gate by gate, factor by factor, its units side by side."""
        for at in range(cuda.threadIdx.x, gates_of_cell * units * width, cuda.blockDim.x):
            unit = first_unit + at % width
            rest = at // width
            if unit < units:
                shared[at] = weights[rest // units * gate_stride + rest % units * stride + unit]

    @jit(device=True)
    def sums(  # type: ignore[no-untyped-def]
        acc, weights, at, gate_stride, stride, factors, row, set_stride, depth, first, end, step
    ):
        """acc[r, gate], from every `step`-th factor."""
        for i in range(ROWS * gates_of_cell):
            acc[i] = zero
        weight_at, factor_at = index(at + first * stride), index(row + first)
        weight_step, factor_step = index(step * stride), index(step)
        of_gate, of_set, of_row = index(gate_stride), index(set_stride if sets > 1 else 0), index(depth)
        for _ in range((end - first + step - 1) // step):
            for gate in range(gates_of_cell):
                weight = weights[weight_at + index(gate) * of_gate]
                for r in range(ROWS):
                    value = factors[factor_at + index(gate) * of_set + index(r) * of_row]
                    acc[r * gates_of_cell + gate] += weight * value
            weight_at += weight_step
            factor_at += factor_step

    @jit(device=True)
    def products(  # type: ignore[no-untyped-def]
        acc, shared, weights, first_unit, width, units, gate_stride, stride, resident, tile, depth, slices, count, k
    ):
        """The sums of a tile of rows, over the factors from k on, added to those in shared memory: slice by slice."""
        factors = gates_of_cell * units * width if resident else 0
        partial = factors + sets * tile * depth
        used, end = min(width, units - first_unit), min(depth, units - k)
        for item in range(cuda.threadIdx.x, (count + ROWS - 1) // ROWS * slices * width, cuda.blockDim.x):
            unit = item % width
            part = item // width % slices
            row = item // width // slices * ROWS
            if unit < used:
                at = factors + row * depth
                if resident:
                    sums(acc, shared, unit, units * width, width, shared, at, tile * depth, depth, part, end, slices)
                else:
                    start = first_unit + unit + k * stride
                    sums(acc, weights, start, gate_stride, stride, shared, at, tile * depth, depth, part, end, slices)
                for r in range(ROWS):
                    for gate in range(gates_of_cell):
                        place = ((row + r) * gates_of_cell + gate) * slices + part
                        before = shared[partial + place * width + unit] if k else zero
                        shared[partial + place * width + unit] = before + acc[r * gates_of_cell + gate]

    @jit(device=True)
    def total(shared, partial, r, gate, slices, width, unit):  # type: ignore[no-untyped-def]
        """The sum of a row and a gate."""
        result = zero
        place = partial + (r * gates_of_cell + gate) * slices * width + unit
        for part in range(slices):
            result += shared[place + part * width]
        return result

    return first_slot, load, products, total


@functools.cache
def forward_kernel(name: str, sets: int, real: Any) -> Any:
    """Of a cell, with factors for all gates in common (1) or one for each (their number), and a NumPy float type."""
    gates_of_cell = GATES[name]
    step = cells_of.cell(name, real).forward
    first_slot, load, products, total = _common(name, real, sets)
    kind, sums = numba_type(real), ROWS * gates_of_cell

    @kernel_for(real, f"{name}_forward" + ("_by_gate" if sets > 1 else ""))
    def forward(  # type: ignore[no-untyped-def]
        weights, gates, h, cells, extra, dropout, zoneout_h, zoneout_c, old, rows, bounds,
        batch, steps, width, groups, row_groups, tile, depth, slices, resident, plain,
        flags, gate, squash_in, squash_out, clip, rate_h, rate_c,
    ):  # fmt: skip
        grid = cuda.cg.this_grid()
        shared = cuda.shared.array(0, kind)
        acc = cuda.local.array(sums, kind)
        units = h.shape[1]
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        lanes = min(32, threads)
        factors = gates_of_cell * units * width if resident else 0
        partial = factors + sets * tile * depth
        if resident:
            load(shared, weights, cuda.blockIdx.x % groups * width, width, units, units, gates_of_cell * units)
        for t in range(steps):
            for job in range(cuda.blockIdx.x, groups * row_groups, cuda.gridDim.x):
                first_unit, group = job % groups * width, job // groups
                begin = first_slot(t, group, bounds, plain, batch, row_groups)
                end = first_slot(t, group + 1, bounds, plain, batch, row_groups)
                for first in range(begin, end, tile):
                    count = min(tile, end - first)
                    for start in range(0, units, depth):
                        for r in range(thread // lanes, count, threads // lanes):
                            s = first + r
                            of_old = s if plain else old[s]
                            row = s - t * batch if plain else rows[s]
                            for k in range(thread % lanes, min(depth, units - start), lanes):
                                value = h[of_old, start + k]
                                for part in range(sets):
                                    at = factors + (part * tile + r) * depth + k
                                    shared[at] = value * dropout[part, row, start + k] if flags & DROPOUT else value
                        cuda.syncthreads()
                        products(
                            acc, shared, weights, first_unit, width, units, units, gates_of_cell * units,
                            resident, tile, depth, slices, count, start,
                        )  # fmt: skip
                        cuda.syncthreads()
                    for item in range(thread, count * width, threads):
                        unit, r = item % width, item // width
                        u, s = first_unit + unit, first + r
                        if u < units:
                            for part in range(gates_of_cell):
                                acc[part] = total(shared, partial, r, part, slices, width, unit)
                            step(
                                acc, s, s if plain else old[s], batch + s, t, s - t * batch if plain else rows[s], u,
                                gates, h, cells, extra, zoneout_h, zoneout_c,
                                flags, gate, squash_in, squash_out, clip, rate_h, rate_c,
                            )  # fmt: skip
                cuda.syncthreads()
            grid.sync()

    return forward


@functools.cache
def backward_kernel(name: str, real: Any) -> Any:
    """Of a cell and a NumPy float type. Leaves the gradients ahead of the gates in their place, see `Cell`."""
    gates_of_cell = GATES[name]
    made = cells_of.cell(name, real)
    step_back, factor = made.backward, made.factor
    first_slot, load, products, total = _common(name, real, gates_of_cell)
    kind, sums = numba_type(real), ROWS * gates_of_cell

    @kernel_for(real, f"{name}_backward")
    def backward(  # type: ignore[no-untyped-def]
        weights, gates, h, cells, extra, dropout, zoneout_h, zoneout_c, old, rows, bounds, d_out, d_h, d_c,
        batch, steps, width, groups, row_groups, tile, depth, slices, resident, plain,
        flags, gate, squash_in, squash_out, clip, rate_h, rate_c,
    ):  # fmt: skip
        grid = cuda.cg.this_grid()
        shared = cuda.shared.array(0, kind)
        acc = cuda.local.array(sums, kind)
        units = h.shape[1]
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        lanes = min(32, threads)
        factors = gates_of_cell * units * width if resident else 0
        partial = factors + gates_of_cell * tile * depth
        masks = dropout.shape[0]
        if resident:
            load(shared, weights, cuda.blockIdx.x % groups * width, width, units, units * units, units)
        for back in range(steps + 1):
            t = steps - 1 - back
            for job in range(cuda.blockIdx.x, groups * row_groups, cuda.gridDim.x):
                first_unit, group = job % groups * width, job // groups
                begin = first_slot(t + 1, group, bounds, plain, batch, row_groups) if back else 0
                end = first_slot(t + 1, group + 1, bounds, plain, batch, row_groups) if back else 0
                for first in range(begin, end, tile):
                    count = min(tile, end - first)
                    for start in range(0, units, depth):
                        for r in range(thread // lanes, count, threads // lanes):
                            for k in range(thread % lanes, min(depth, units - start), lanes):
                                for part in range(gates_of_cell):
                                    at = factors + (part * tile + r) * depth + k
                                    shared[at] = factor(gates, cells, first + r, part, start + k)
                        cuda.syncthreads()
                        products(
                            acc, shared, weights, first_unit, width, units, units * units, units,
                            resident, tile, depth, slices, count, start,
                        )  # fmt: skip
                        cuda.syncthreads()
                    for item in range(thread, count * width, threads):
                        unit, r = item % width, item // width
                        u, s = first_unit + unit, first + r
                        if u < units:
                            row = s - (t + 1) * batch if plain else rows[s]
                            d = d_h[row, u]
                            for part in range(gates_of_cell):
                                product = total(shared, partial, r, part, slices, width, unit)
                                d += product * dropout[min(part, masks - 1), row, u] if flags & DROPOUT else product
                            d_h[row, u] = d
                cuda.syncthreads()
                begin = first_slot(t, group, bounds, plain, batch, row_groups) if t >= 0 else 0
                end = first_slot(t, group + 1, bounds, plain, batch, row_groups) if t >= 0 else 0
                for item in range(thread, (end - begin) * width, threads):
                    u, s = first_unit + item % width, begin + item // width
                    if u < units:
                        step_back(
                            s, s if plain else old[s], batch + s, t, s - t * batch if plain else rows[s], u,
                            gates, h, cells, extra, zoneout_h, zoneout_c, d_out, d_h, d_c,
                            flags, gate, squash_in, squash_out, clip, rate_h, rate_c,
                        )  # fmt: skip
                cuda.syncthreads()
            if t >= 0:
                grid.sync()

    return backward


def run(kernel: Any, plan: Plan, arrays: tuple[Any, ...], batch: int, steps: int, plain: bool, options: Any) -> None:
    """Launch one of the kernels; `options` are those of `Cell`."""
    blocks = 1 if simulated() else plan.blocks  # the simulator has no barrier between blocks
    launch_blocks(
        kernel, blocks, _THREADS, *arrays, batch, steps, plan.width, plan.groups, plan.row_groups, plan.tile,
        plan.depth, plan.slices, plan.resident, plain, *options, shared=plan.shared,
    )  # fmt: skip


def _arguments(call: Call, arrays: dict[str, DeviceArray], weights: DeviceArray, plan: Any) -> tuple[Any, ...]:
    packed = call.packed
    extra = packed.candidate_bias if call.weights.cell == "gru" else call.given("peepholes", 2)
    return (
        weights, arrays["gates"], arrays["h"], arrays["cells"], extra, call.dropout("recurrent_dropout")[0],
        *call.zoneout_masks(), call.before, call.row, call.bounds(plan.row_groups),
    )  # fmt: skip


def forward(call: Call, arrays: dict[str, DeviceArray]) -> dict[str, DeviceArray]:
    """The tables filled, and what else backward needs."""
    weights = call.weights
    arrays = arrays | {"gates": call.input_products(call.packed.input_bias)}
    if weights.cell != "lstm":
        arrays["cells"] = empty((call.count, weights.units), weights.dtype) if weights.cell == "gru" else arrays["h"]
    sets = call.sets("recurrent_dropout")
    division = plan(call.batch, weights.units, GATES[weights.cell], sets, weights.dtype.itemsize)
    kernel = forward_kernel(weights.cell, sets, call.real)
    arguments = _arguments(call, arrays, call.packed.recurrent_flat, division)
    run(kernel, division, arguments, call.batch, call.steps, call.plain, call.kernel_options)
    return arrays


def backward(
    call: Call, arrays: dict[str, DeviceArray], d: dict[str, DeviceArray], d_out: DeviceArray
) -> tuple[DeviceArray, dict[str, DeviceArray]]:
    """The gradients of the inputs' products, (S,nH), and those of the weights but the kernel, by name.

    d holds those of the final states by name, "h" and so on, which become those of the initial ones; d_out (S,P) those
    of the states as outputs.
    """
    weights, units = call.weights, call.weights.units
    gates = GATES[weights.cell]
    division = plan(call.batch, units, gates, gates, weights.dtype.itemsize)
    arguments = _arguments(call, arrays, call.packed.transposed_flat, division)
    kernel = backward_kernel(weights.cell, call.real)
    d_of_state = d_out, d["h"], d.get("c", d["h"])
    run(kernel, division, (*arguments, *d_of_state), call.batch, call.steps, call.plain, call.kernel_options)
    dz = arrays["gates"]
    if weights.cell != "gru":
        others = {"d_bias": column_sums(dz), "d_recurrent": call.recurrent_gradient(arrays["h"], [(0, dz)])}
        return dz, others | call.peephole_gradient(dz, arrays["cells"])
    of_candidate, outside = arrays["cells"], 2 * units
    d_bias = empty((2, 3 * units), weights.dtype)
    d_bias[0] = column_sums(dz)
    d_bias[1, :outside] = d_bias[0, :outside]
    d_bias[1, outside:] = column_sums(of_candidate)
    parts = [(0, dz[:, :outside]), (2, of_candidate)]
    return dz, {"d_bias": d_bias, "d_recurrent": call.recurrent_gradient(arrays["h"], parts)}


def _make_all() -> None:
    for name, gates in GATES.items():
        for real in REALS.values():
            for sets in {1, gates}:
                forward_kernel(name, sets, real)
            backward_kernel(name, real)


MAKERS.append(_make_all)
