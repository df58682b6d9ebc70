"""What the recurrent layers in Numba have in common: products, packed weights, tables of states, sums after the loop.

A layer is a loop over time in one kernel, which runs over slots (see `slots`): the product of a few steps' inputs, then
step by step that of the states, and one pass over the rows that computes gates and states. Going back it is the same
the other way round; the gradients of the weights are products over all slots at the end.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from llvmlite.binding import get_host_cpu_features

from fusedlstm.backends.arguments import Array, compiled_for
from fusedlstm.backends.numba_jit import njit
from fusedlstm.backends.recurrent_arguments import (
    GATES,
    Options,
    OutputGradients,
    Weights,
    check_backward,
    check_forward,
)
from fusedlstm.backends.reference_recurrent import Gradients
from fusedlstm.backends.slots import Slots, number

# Products. OpenBLAS copies the weights anew at every call, which for few rows costs more than the product. With
# AVX-512 it computes small ones, rows * inner * columns <= 100^3, from where they lie: so weights are cut into panels
# of columns and rows into groups. Measured beside one call (float32, Zen 4, one thread): 10 times as fast for 4 rows
# and 1024 units, 1.9 for 16 and 128, 1.3 for 64 and 512; up to 97 % of what FMA can do. Going back, rows of the
# weights are the panels and nothing is packed; there groups of 16 rows, or else of a multiple of 4, do best. Without
# AVX-512 larger groups pay.

_IN_PLACE = bool(get_host_cpu_features().get("avx512f"))
_SMALL = 1_000_000 if _IN_PLACE else 1 << 60
_PANEL = 32768 if _IN_PLACE else 1 << 60  # numbers
_ROWS = 128
_ROWS_BACK, _WIDTH_BACK = 16, 64
#: How many numbers a product needs to work in.
WORKSPACE = _ROWS * 256


def panels(matrix: Array, sets: int = 1) -> Array:
    """A matrix (K,N) as (sets, panels, K, width): its columns in `sets` equal parts, each in panels, zeros behind."""
    inner, columns = matrix.shape[0], matrix.shape[1] // sets
    count = max(-(-columns // min(max(_PANEL // max(inner, 1), 32), 256)), 1)
    width = -(-columns // count)
    parts = matrix.reshape(inner, sets, columns)
    if count * width > columns:
        parts = np.concatenate([parts, np.zeros((inner, sets, count * width - columns), matrix.dtype)], axis=2)
    return np.ascontiguousarray(parts.reshape(inner, sets, count, width).transpose(1, 2, 0, 3))


@njit
def copy(of: Array, to: Array) -> None:
    """to = of, both of one axis: unlike an assignment it brings no check of shapes that takes a second to compile."""
    for j in range(len(of)):
        to[j] = of[j]


@njit
def add_product(a: Array, weights: Array, out: Array, first: int, columns: int, work: Array) -> None:
    """out[:, first:first + columns] += a (n,K) times weights, (panels, K, width)."""
    rows, inner = a.shape
    count, _, width = weights.shape
    if rows == 0 or inner == 0:
        return
    group = min(max(_SMALL // (inner * width), 1), _ROWS)
    for panel in range(count):
        begin = first + panel * width
        used = min(width, columns - panel * width)
        for row in range(0, rows, group):
            height = min(group, rows - row)
            product = work[: height * width].reshape(height, width)
            np.dot(a[row : row + height], weights[panel], product)
            for k in range(height):
                to, summand = out[row + k, begin : begin + used], product[k, :used]
                for j in range(used):
                    to[j] += summand[j]


@njit
def add_dropped_products(
    a: Array, masks: Array, rows: Array, weights: Array, out: Array, dropped: Array, work: Array
) -> None:
    """out += (a times each mask's rows) times the weights of its part of the columns.

    a (n,K); masks (M,B,K), M of 0: none; weights (sets, panels, K, width) with as many sets as masks, or one of each.
    """
    columns = out.shape[1] // weights.shape[0]
    if masks.shape[0] == 0:
        for part in range(weights.shape[0]):
            add_product(a, weights[part], out, part * columns, columns, work)
        return
    factors = dropped[: a.shape[0]]
    for part in range(weights.shape[0]):
        for k in range(a.shape[0]):
            to, of, mask = factors[k], a[k], masks[part, rows[k]]
            for j in range(a.shape[1]):
                to[j] = of[j] * mask[j]
        add_product(factors, weights[part], out, part * columns, columns, work)


@njit
def add_back_product(d: Array, weights: Array, out: Array, work: Array) -> None:
    """out (n,K) += d (n,N) times the transposed weights (K,N)."""
    rows, inner = d.shape
    group = min(max(_SMALL // (inner * _WIDTH_BACK), 1), _ROWS_BACK)
    group -= group % 4 if group > 4 else 0
    for begin in range(0, weights.shape[0], _WIDTH_BACK):
        panel = weights[begin : begin + _WIDTH_BACK]
        width = panel.shape[0]
        for row in range(0, rows, group):
            height = min(group, rows - row)
            product = work[: height * width].reshape(height, width)
            np.dot(d[row : row + height], panel.T, product)
            for k in range(height):
                to, summand = out[row + k, begin : begin + width], product[k]
                for j in range(width):
                    to[j] += summand[j]


@njit
def add_dropped_back(
    d: Array, masks: Array, rows: Array, weights: Array, out: Array, part: Array, product: Array, work: Array
) -> None:
    """What goes back through `add_dropped_products`: out (n,K) += d (n,N) times the transposed weights, masked.

    weights (sets, K, N / sets); `part` and `product` are scratch for a set's d and for its product.
    """
    if masks.shape[0] == 0:
        add_back_product(d, weights[0], out, work)
        return
    count, width = d.shape[0], d.shape[1] // weights.shape[0]
    factors = part.ravel()[: count * width].reshape(count, width)
    for of_gate in range(weights.shape[0]):
        for k in range(count):
            copy(d[k, of_gate * width : (of_gate + 1) * width], factors[k])
        product[:count] = 0
        add_back_product(factors, weights[of_gate], product, work)
        for k in range(count):
            to, of, mask = out[k], product[k], masks[of_gate, rows[k]]
            for j in range(len(to)):
                to[j] += of[j] * mask[j]


@njit
def steps_of_chunk(begin: Array, first: int, most: int) -> int:
    """The step behind those from `first` on that have at most so many slots together; one at least."""
    last = first + 1
    while last < len(begin) - 1 and begin[last + 1] - begin[first] <= most:
        last += 1
    return last


@njit
def add_input_products(
    x: Array,
    row: Array,
    step: Array,
    masks: Array,
    weights: Array,
    out: Array,
    taken: Array,
    dropped: Array,
    work: Array,
) -> None:
    """out (n,·) += the inputs (B,T,I) of these slots times the weights."""
    inputs = taken[: len(row)]
    for k in range(len(row)):
        copy(x[row[k], step[k]], inputs[k])
    add_dropped_products(inputs, masks, row, weights, out, dropped, work)


@njit
def rows_at(table: Array, index: Array, first: int, plain: bool, taken: Array) -> Array:
    """The rows of a table at `index`, which are those from `first` on if `plain`."""
    if plain:
        return table[first : first + len(index)]
    rows = taken[: len(index)]
    for k in range(len(index)):
        copy(table[index[k]], rows[k])
    return rows


@njit
def add_output_gradients(d_y: Array, output: Array, t: int, last: bool, pending: Array) -> None:
    """pending (B,P) += the gradients of step t's outputs: of what a state is repeated as, until its own step.

    d_y (B,T,P), or (B,1,P) for the last step only.
    """
    if d_y.shape[1] == 0 or (last and t < output.shape[1] - 1):
        return
    for b in range(output.shape[0]):
        if output[b, t] >= 0:
            to, of = pending[b], d_y[b, 0 if last else t]
            for j in range(len(to)):
                to[j] += of[j]


# Around the kernels.


class Packed:
    """Weights as they were when packed, and what is made from them when first needed."""

    def __init__(self, weights: Weights, **arrays: Array | None) -> None:
        self.weights = weights
        self.arrays = {name: None if array is None else np.array(array, order="C") for name, array in arrays.items()}
        self._panels: dict[tuple[str, int], Array] = {}

    def panels(self, name: str, sets: int = 1) -> Array:
        """Of the matrix of this name, what `add_product` takes; empty for None."""
        made = self._panels.get((name, sets))
        if made is None:
            matrix = self.arrays[name]
            made = np.empty((1, 1, 0, 0), self.weights.dtype) if matrix is None else panels(matrix, sets)
            self._panels[name, sets] = made
        return made

    def parts(self, name: str, sets: int = 1) -> Array:
        """The matrix of this name (K,N) as (sets, K, N / sets), which `add_dropped_back` takes; empty for None."""
        matrix = self.arrays[name]
        if matrix is None:
            return np.empty((1, 0, 0), self.weights.dtype)
        return np.ascontiguousarray(matrix.reshape(len(matrix), sets, -1).swapaxes(0, 1))

    def of_bias(self) -> Array:
        bias = self.arrays["bias"]
        return np.zeros(self.weights.bias_shape, self.weights.dtype) if bias is None else bias


class Call(NamedTuple):
    """A checked forward call: its arrays as kernels take them, C-contiguous, and empty for None."""

    packed: Packed
    x: Array
    options: Options
    slots: Slots
    plain: bool  # every step is used
    input_dropout: Array  # (M,B,I)
    recurrent_dropout: Array  # (M,B,P)

    @property
    def weights(self) -> Weights:
        return self.packed.weights

    def given(self, array: Array | None) -> Array:
        """An option, or for None an array of no rows."""
        return nothing(2, self.weights.dtype) if array is None else compiled_for(array)

    def table(self, state: Array | None, width: int) -> Array:
        """(B+S,width): the initial state, and what is to become the state after each slot."""
        batch = self.x.shape[0]
        table = np.empty((batch + self.slots.total, width), self.weights.dtype)
        table[:batch] = 0 if state is None else state
        return table

    def outputs(self, h: Array) -> Array:
        """y from the table of h."""
        output = self.slots.output if self.options.return_sequences else self.slots.output[:, -1:]
        y = h[output]
        if not self.plain:
            y[output < 0] = 0
        if self.options.return_sequences:
            return y
        return y[:, 0] if output.shape[1] else np.zeros((len(self.x), h.shape[1]), h.dtype)


@functools.cache
def nothing(axes: int, dtype: Any) -> Array:
    """What kernels take for None: an array without elements."""
    return np.empty((0,) * axes, dtype)


_EVERY_STEP: dict[tuple[int, int], Slots] = {}
_MOST_KEPT = 64
_MOST_SLOTS = 16384  # of a call that is kept: for longer ones numbering is nothing beside the rest


def _slots(mask: Array | None, batch: int, steps: int, zero_output: bool) -> Slots:
    """As `number`; without a mask kept if small, since most calls are like an earlier one."""
    if mask is not None or batch * steps > _MOST_SLOTS:
        return number(mask, batch, steps, zero_output)
    slots = _EVERY_STEP.get((batch, steps))
    if slots is None:
        if len(_EVERY_STEP) >= _MOST_KEPT:
            _EVERY_STEP.clear()
        slots = _EVERY_STEP[batch, steps] = number(None, batch, steps)
    return slots


def begin(cell: str, x: Array, packed: Any, options: dict[str, Any]) -> Call:
    """The checked call of a forward function."""
    if type(packed) is not Packed or packed.weights.cell != cell:
        raise TypeError(f"{cell}_forward: expected packed weights from {cell}_pack of this backend")
    known = Options(**options)
    weights = packed.weights
    check_forward(weights, x, known)
    batch, steps, _ = x.shape
    dropout = [
        nothing(3, weights.dtype) if masks is None else compiled_for(masks)
        for masks in (known.input_dropout, known.recurrent_dropout)
    ]
    slots = _slots(known.mask, batch, steps, known.zero_output_for_mask)
    return Call(packed, compiled_for(x), known, slots, slots.total == batch * steps, *dropout)


class Saved:
    """What a forward call leaves for backward; usable once."""

    def __init__(self, call: Call, **arrays: Array) -> None:
        self.call = call
        self.arrays: dict[str, Array] | None = arrays

    def take(self, cell: str, given: OutputGradients) -> dict[str, Array]:
        """The arrays, once, if the gradients fit the call."""
        batch, steps, _ = self.call.x.shape
        check_backward(self.call.weights, batch, steps, self.call.options.return_sequences, given)
        if self.arrays is None:
            raise ValueError(
                f"{cell}_backward: expected saved activations of a forward call, got those of a call that backward has "
                "already been run for"
            )
        arrays, self.arrays = self.arrays, None
        return arrays


def saved_of(cell: str, saved: Any) -> Saved:
    """Checked to be what a forward call of this backend and cell saved."""
    if type(saved) is not Saved or saved.call.weights.cell != cell:
        raise TypeError(f"{cell}_backward: expected what {cell}_forward of this backend saved")
    return saved


def output_gradients(call: Call, d_y: Array | None) -> Array:
    """d_y as `add_output_gradients` takes it."""
    if d_y is None:
        return nothing(3, call.weights.dtype)
    return compiled_for(d_y if call.options.return_sequences else d_y[:, None])


def state_gradient(call: Call, d_state: Array | None, width: int) -> Array:
    """A copy of the gradient of a final state, which becomes that of the initial one."""
    if d_state is None:
        return np.zeros((len(call.x), width), call.weights.dtype)
    return np.array(d_state, order="C")


def weight_gradients(
    call: Call, h_old: Array, d_of_x: Array, d_of_h: Array, need_d_x: bool, **others: Array | None
) -> Gradients:
    """The gradients of inputs and weights from those of the sums that they are in, (S,nH), by products over all slots.

    h_old (S,P): the states before the slots.
    """
    slots, weights = call.slots, call.weights
    x = call.x[slots.row, slots.step]
    d_kernel = _weights(x, call.input_dropout, slots.row, d_of_x)
    d_recurrent = _weights(h_old, call.recurrent_dropout, slots.row, d_of_h)
    d_x = None
    if need_d_x:
        d_x = np.zeros(call.x.shape, weights.dtype)
        d_x[slots.row, slots.step] = back_product(d_of_x, call.packed.arrays["kernel"], call.input_dropout, slots.row)
    return Gradients(d_x=d_x, d_kernel=d_kernel, d_recurrent=d_recurrent, **others)  # type: ignore[arg-type]


def _weights(factor: Array, masks: Array, row: Array, d: Array) -> Array:
    if len(masks) == 0:
        return factor.T @ d  # type: ignore[no-any-return]
    of_gates = zip(masks, np.split(d, len(masks), axis=1), strict=True)
    return np.concatenate([(factor * mask[row]).T @ part for mask, part in of_gates], axis=1)


def back_product(d: Array, matrix: Any, masks: Array, row: Array) -> Array:
    """d (S,nH) times the transposed matrix (K,nH), with the dropout masks of the factor that was multiplied by it."""
    if len(masks) == 0:
        return d @ matrix.T  # type: ignore[no-any-return]
    parts = zip(masks, np.split(d, len(masks), axis=1), np.split(matrix, len(masks), axis=1), strict=True)
    return sum((part @ of_gate.T) * mask[row] for mask, part, of_gate in parts)  # type: ignore[return-value]


def before(call: Call, table: Array) -> Array:
    """The rows of a table of states before the slots, (S,·)."""
    return table[: call.slots.total] if call.plain else table[call.slots.before]


def gate_sets(cell: str, masks: Array) -> int:
    """How many sets of panels a product with these dropout masks takes."""
    return GATES[cell] if len(masks) > 1 else 1
