"""A call of a recurrent layer on a GPU: packed weights, checked arguments, and products over all slots (see `slots`).

A kernel gets the array `nothing` for one that it does not read: index arrays where every step is used, options that
are None.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm.backends.arguments import Array
from fusedlstm.backends.cuda_api import launch
from fusedlstm.backends.device_array import DeviceArray, empty, is_device, to_device, to_host, zeros
from fusedlstm.backends.device_matmul import matmul
from fusedlstm.backends.numba_cuda_cells import (
    COUPLED,
    DROPOUT,
    LINEAR,
    NO_FORGET,
    NO_INPUT,
    NO_OUTPUT,
    PEEPHOLES,
    ZONEOUT_C,
    ZONEOUT_C_MASK,
    ZONEOUT_H,
    ZONEOUT_H_MASK,
)
from fusedlstm.backends.numba_cuda_kernels import REALS
from fusedlstm.backends.numba_cuda_moves import (
    add_output_gradients,
    column_sums,
    last_rows,
    put_steps,
    take_outputs,
    take_states,
    take_steps,
)
from fusedlstm.backends.recurrent_arguments import ACTIVATION_CODES, Options, Weights, check_forward
from fusedlstm.backends.slots import number

_REMOVED = {"input_gate": NO_INPUT, "forget_gate": NO_FORGET, "output_gate": NO_OUTPUT}


def known(array: Any) -> Any:
    """A NumPy array as it is, what lies on the device as a DeviceArray, without a copy."""
    return array if array is None or isinstance(array, np.ndarray) else to_device(array)


def ready(array: Any) -> DeviceArray:
    """On the device and contiguous."""
    array = to_device(array)
    return array if array.flags.c_contiguous else array.copy()


@functools.cache
def nothing(dtype: Any, axes: int) -> DeviceArray:
    """What a kernel gets for an array that it does not read."""
    return zeros((1,) * axes, dtype)


class Packed:
    """A copy of a layer's weights on the device."""

    def __init__(self, weights: Weights, **arrays: Any) -> None:
        self.weights = weights
        copies: dict[str, Any] = {name: None if array is None else copied(array) for name, array in arrays.items()}
        self.kernel, self.recurrent, self.bias = copies["kernel"], copies["recurrent"], copies["bias"]
        self.gate_recurrence: Any = copies.get("gate_recurrence")
        self.projection: Any = copies.get("projection")

    @functools.cached_property
    def recurrent_flat(self) -> DeviceArray:
        return self.recurrent.reshape(-1)

    @functools.cached_property
    def transposed_flat(self) -> DeviceArray:
        """The recurrent weights (nH,P) transposed, in one row."""
        return self.recurrent.T.copy().reshape(-1)

    @functools.cached_property
    def input_bias(self) -> DeviceArray | None:
        """What the inputs' products get; of a GRU with reset_after also what those of the state get outside of r."""
        if self.bias is None or not self.weights.reset_after:
            return self.bias  # type: ignore[no-any-return]
        bias, outside = self.bias[0].copy(), 2 * self.weights.units
        bias[:outside] += self.bias[1, :outside]
        return bias  # type: ignore[no-any-return]

    @functools.cached_property
    def candidate_bias(self) -> DeviceArray:
        """(1,H): of a GRU with reset_after, of the state's product for the candidate."""
        units = self.weights.units
        if self.bias is None:
            return zeros((1, units), self.weights.dtype)
        return self.bias[1:, 2 * units :].copy()  # type: ignore[no-any-return]


def copied(array: Any) -> DeviceArray:
    return to_device(array) if isinstance(array, np.ndarray) else to_device(array).copy()


class Numbered:
    """A mask's slots, and their indices on the device."""

    _last: Numbered | None = None

    def __init__(self, mask: Array, zero_output: bool) -> None:
        self._mask, self._zero_output = mask.copy(), zero_output
        batch, steps = mask.shape
        self.slots = number(mask, batch, steps, zero_output)
        self.indices = tuple(map(to_device, self.slots[1:]))  # row, step, before, last, output
        self._bounds: dict[int, DeviceArray] = {}

    @classmethod
    def of(cls, mask: Array, zero_output: bool) -> Numbered:
        """That of the call before, if it had the same mask: the layers of a model do."""
        last = cls._last
        if last is None or last._zero_output != zero_output or not np.array_equal(last._mask, mask):
            last = cls._last = cls(mask, zero_output)
        return last

    def bounds(self, row_groups: int) -> DeviceArray:
        """(T,groups+1): of each step the first slots of groups of rows, as `numba_cuda_loop` divides them."""
        if row_groups not in self._bounds:
            batch, steps = self._mask.shape
            edges = np.arange(row_groups + 1) * batch // row_groups
            before = np.concatenate([np.zeros((1, steps), np.int64), np.cumsum(self._mask, axis=0)])
            first = before[edges].T + self.slots.begin[:-1, None]
            self._bounds[row_groups] = to_device(np.ascontiguousarray(first))
        return self._bounds[row_groups]


#: The options that are arrays.
_ARRAYS = (
    "h0", "c0", "g0", "mask", "input_dropout", "recurrent_dropout", "peepholes", "normalization", "zoneout_h_mask",
    "zoneout_c_mask",
)  # fmt: skip

#: The gradient ahead of some gates side by side: the first of them, and (S,nH).
Part = tuple[int, DeviceArray]


class Call:
    """A checked forward call, its arrays on the device."""

    def __init__(self, packed: Packed, x: Any, options: Options) -> None:
        weights = self.weights = packed.weights
        given: dict[str, Any] = {name: known(getattr(options, name)) for name in _ARRAYS}
        options = options._replace(**given)
        x = known(x)
        check_forward(weights, x, options)
        self.packed, self.on_device = packed, is_device(x)
        self.batch, self.steps, _ = x.shape
        mask = None if options.mask is None else to_host(options.mask)
        if mask is not None and mask.all():
            mask = None
        self.plain = mask is None
        self.x = ready(x)
        self.numbered = None if mask is None else Numbered.of(mask, options.zero_output_for_mask)
        if self.numbered is None:
            self.count, self.begin = self.batch * self.steps, np.arange(self.steps + 1) * self.batch
            self.row = self.step = self.before = self.last = nothing(np.int64, 1)
            self.output = nothing(np.int64, 2)
        else:
            self.count, self.begin = self.numbered.slots.total, self.numbered.slots.begin
            self.row, self.step, self.before, self.last, self.output = self.numbered.indices
        on_device: dict[str, Any] = {
            name: ready(getattr(options, name))
            for name in _ARRAYS
            if name != "mask" and getattr(options, name) is not None
        }
        self.options = options._replace(mask=None, **on_device)

    @property
    def real(self) -> Any:
        return REALS[self.weights.dtype]

    def given(self, name: str, axes: int) -> DeviceArray:
        """The array that an option is, or `nothing`."""
        array = getattr(self.options, name)
        return nothing(self.weights.dtype, axes) if array is None else array

    def dropout(self, name: str) -> tuple[DeviceArray, bool]:
        """The masks of this name, and whether there are any."""
        return self.given(name, 3), getattr(self.options, name) is not None

    def sets(self, name: str) -> int:
        """Into how many parts the gates fall that have a dropout mask of their own."""
        masks = getattr(self.options, name)
        return 1 if masks is None else int(masks.shape[0])

    def bounds(self, row_groups: int) -> DeviceArray:
        """See `Numbered.bounds`."""
        return nothing(np.int64, 2) if self.numbered is None else self.numbered.bounds(row_groups)

    def inputs(self, part: int) -> DeviceArray:
        """(S,I): of all slots, times the dropout mask of a gate."""
        out = empty((self.count, self.weights.inputs), self.weights.dtype)
        masks, dropped = self.dropout("input_dropout")
        launch(take_steps, out.size, self.x, masks, part, dropped, self.row, self.step, self.plain, out)
        return out

    def states_before(
        self, table: DeviceArray, part: int, dropped: bool, first: int = 0, end: int | None = None
    ) -> DeviceArray:
        """(n,N): of a table the states before slots, with `dropped` times the recurrent dropout mask of a gate."""
        end = self.count if end is None else end
        masks, has_masks = self.dropout("recurrent_dropout")
        if self.plain and not (dropped and has_masks):
            return table[first:end]
        out = empty((end - first, table.shape[1]), table.dtype)
        launch(
            take_states, out.size, table, masks, part, dropped and has_masks, self.row, self.before, self.plain,
            self.batch, first, out,
        )  # fmt: skip
        return out

    def table(self, initial: DeviceArray | None, width: int) -> DeviceArray:
        """(B+S,width), with the initial states."""
        table = empty((self.batch + self.count, width), self.weights.dtype)
        table[: self.batch] = 0 if initial is None else initial
        return table

    def outputs(self, h: DeviceArray) -> DeviceArray:
        """y from the table of h."""
        steps = self.steps if self.options.return_sequences else 1
        y = zeros((self.batch, steps, h.shape[1]), h.dtype)
        if self.steps:
            launch(take_outputs, y.size, h, self.output, self.plain, self.steps - steps, y)
        return y if self.options.return_sequences else y.reshape(self.batch, h.shape[1])

    def output_gradients(self, d_y: Any) -> DeviceArray:
        """(S,P): the gradient of each slot's state from those of the outputs."""
        width = self.weights.outputs
        d_out = zeros((self.count, width), self.weights.dtype)
        if d_y is not None and self.count:
            steps = self.steps if self.options.return_sequences else 1
            d_y = ready(d_y).reshape(self.batch, steps, width)
            launch(add_output_gradients, self.batch * width, d_y, self.output, self.plain, self.steps - steps, d_out)
        return d_out

    def last_state(self, table: DeviceArray) -> DeviceArray:
        return last_rows(table, self.last, self.plain, self.batch)

    def back(self, array: DeviceArray | None) -> Any:
        """A result, where the caller's x is."""
        return array if array is None or self.on_device else to_host(array)

    def zoneout_masks(self) -> tuple[DeviceArray, ...]:
        masks = self.options.zoneout_h_mask, self.options.zoneout_c_mask
        return tuple(nothing(np.bool_, 3) if mask is None else mask for mask in masks)

    @functools.cached_property
    def flags(self) -> int:
        options = self.options
        return (
            (COUPLED if options.coupled_gates else 0)
            | (PEEPHOLES if options.peepholes is not None else 0)
            | (DROPOUT if options.recurrent_dropout is not None else 0)
            | (ZONEOUT_H if options.zoneout_h > 0 else 0)
            | (ZONEOUT_C if options.zoneout_c > 0 else 0)
            | (ZONEOUT_H_MASK if options.zoneout_h_mask is not None else 0)
            | (ZONEOUT_C_MASK if options.zoneout_c_mask is not None else 0)
            | sum(_REMOVED.get(name, 0) for name in set(options.removed))
        )

    @functools.cached_property
    def kernel_options(self) -> tuple[Any, ...]:
        """As `numba_cuda_cells.OPTIONS` names them."""
        options, real = self.options, self.real
        squash = ACTIVATION_CODES[options.activation]
        return (
            self.flags,
            ACTIVATION_CODES[options.recurrent_activation],
            LINEAR if "input_activation" in options.removed else squash,
            LINEAR if "output_activation" in options.removed else squash,
            real(options.cell_clip),
            real(options.zoneout_h),
            real(options.zoneout_c),
        )

    def input_products(self, bias: DeviceArray | None) -> DeviceArray:
        """(S,nH): the inputs times the kernel, and the bias."""
        weights, kernel, sets = self.weights, self.packed.kernel, self.sets("input_dropout")
        out = empty((self.count, weights.columns), weights.dtype)
        width = weights.columns // sets
        for part in range(sets):
            of = slice(part * width, (part + 1) * width)
            matmul(self.inputs(part), kernel[:, of], None if bias is None else bias[of], out=out[:, of])
        return out

    def peephole_gradient(self, dz: DeviceArray, cells: DeviceArray) -> dict[str, DeviceArray]:
        if self.options.peepholes is None:
            return {}
        units = self.weights.units
        before, after = self.states_before(cells, 0, False), cells[self.batch :]
        d = empty((3, units), dz.dtype)
        for k, (gate, c) in enumerate(((0, before), (1, before), (3, after))):
            d[k] = column_sums(dz, c, gate * units, units)
        return {"d_peepholes": d}

    def kernel_gradient(self, dz: DeviceArray) -> DeviceArray:
        weights, sets = self.weights, self.sets("input_dropout")
        out = empty((weights.inputs, weights.columns), weights.dtype)
        width = weights.columns // sets
        for part in range(sets):
            of = slice(part * width, (part + 1) * width)
            matmul(self.inputs(part).T, dz[:, of], out=out[:, of])
        return out

    def recurrent_gradient(self, h: DeviceArray, parts: Sequence[Part]) -> DeviceArray:
        """From the gradients of the state's products."""
        weights, units, sets = self.weights, self.weights.units, self.sets("recurrent_dropout")
        out = empty((weights.outputs, weights.columns), weights.dtype)
        for first, dz in parts:
            gates = dz.shape[1] // units
            for gate in range(0, gates, 1 if sets > 1 else gates):
                width = units if sets > 1 else dz.shape[1]
                states = self.states_before(h, first + gate if sets > 1 else 0, True)
                begin = (first + gate) * units
                matmul(states.T, dz[:, gate * units : gate * units + width], out=out[:, begin : begin + width])
        return out

    def input_gradient(self, dz: DeviceArray) -> DeviceArray:
        """d_x (B,T,I)."""
        d_x = zeros(self.x.shape, self.weights.dtype)
        kernel, sets = self.packed.kernel, self.sets("input_dropout")
        masks, dropped = self.dropout("input_dropout")
        width = self.weights.columns // sets
        for part in range(sets):
            of = slice(part * width, (part + 1) * width)
            d = matmul(dz[:, of], kernel[:, of].T)
            launch(put_steps, d.size, d, masks, part, dropped, self.row, self.step, self.plain, d_x)
        return d_x
