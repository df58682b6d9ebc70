"""Forward and backward calls of the recurrent kernels in C: what all calls of a kind have in common is made once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fusedlstm._binding import ffi, lib
from fusedlstm.backends.arguments import Array, check, contiguous, rows_contiguous
from fusedlstm.backends.c_arguments import SMALL, empty, from_buffer, new, pool
from fusedlstm.backends.c_calls import BACKWARD, FORWARD, run
from fusedlstm.backends.c_layer import CELLS, GATE_RECURRENCE, GATES, LAYER_NORM, LSTM, TRAINING, Packed, layer_of
from fusedlstm.backends.reference_recurrent import Gradients

_FORWARD, _BACKWARD = ffi.typeof("struct fusedlstm_rnn_forward *"), ffi.typeof("struct fusedlstm_rnn_backward *")
_LAST_STEP, _ZERO_OUTPUT = lib.FUSEDLSTM_LAST_STEP, lib.FUSEDLSTM_ZERO_OUTPUT_FOR_MASK
_COUPLED_GATES = lib.FUSEDLSTM_COUPLED_GATES
_REMOVED = {
    name: getattr(lib, f"FUSEDLSTM_NO_{name.upper()}")
    for name in ("input_gate", "forget_gate", "output_gate", "input_activation", "output_activation")
}
_INITIAL = ("h0", "c0", "g0")
_SHARED = {
    "mask": "mask",
    "input_dropout": "input_dropout",
    "recurrent_dropout": "recurrent_dropout",
    "zoneout_h_mask": "zoneout_h",
    "zoneout_c_mask": "zoneout_c",
}
_BACKWARD_NAMES = {cell: f"{name}_backward" for cell, name in CELLS.items()}
#: What each call has of its own besides x.
ARRAYS = (*_INITIAL, *_SHARED)


class _Result(NamedTuple):
    """An array that calls return."""

    name: str  # in the struct
    shape: tuple[int, ...]
    make: Callable[..., Array]

    @classmethod
    def of(cls, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> _Result:
        return cls(name, shape, np.empty if math.prod(shape) * dtype.itemsize < SMALL else empty)


def _put(struct: Any, results: Sequence[_Result | None], dtype: np.dtype[Any]) -> list[Any]:
    """New arrays, their addresses in the struct; None for what is not wanted."""
    arrays: list[Any] = []
    for result in results:
        if result is None:
            arrays.append(None)
            continue
        name, shape, make = result
        array = make(shape, dtype)
        setattr(struct, name, from_buffer(array))
        arrays.append(array)
    return arrays


class Forward:
    """Forward calls of one kind; see `reference.prepare_forward`.

    Each call has a struct of its own, a copy: several threads may be calling, and backward may still need it.
    """

    __slots__ = (
        "_constants", "_function", "_results", "_struct", "_training", "backward_struct", "d",
        "d_states", "d_without_x", "layer", "weights", "y_shape",
    )  # fmt: skip

    def __init__(
        self,
        cell: int,
        x: Array,
        packed: Packed,
        arrays: Mapping[str, Array],
        need_states: bool,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        return_sequences: bool = False,
        zero_output_for_mask: bool = False,
        training: bool = False,
        peepholes: Array | None = None,
        coupled_gates: bool = False,
        removed: Sequence[str] = (),
        cell_clip: float = 0.0,
        normalization: Array | None = None,
        epsilon: float = 1e-5,
        zoneout_h: float = 0.0,
        zoneout_c: float = 0.0,
    ) -> None:
        self._function = function = f"{CELLS[cell]}_forward"
        flags = _COUPLED_GATES if coupled_gates else 0
        for name in removed:
            if name not in _REMOVED:
                raise ValueError(f"{function}: expected removed to be some of {', '.join(_REMOVED)}, got {name!r}")
            flags |= _REMOVED[name]
        if type(packed) is not Packed or packed.packing.cell != cell:
            raise TypeError(f"{function}: expected packed weights from {CELLS[cell]}_pack of this backend")
        self.weights = weights = packed.packing
        inputs, units, outputs, dtype = weights.inputs, weights.units, weights.outputs, weights.dtype
        if x.ndim != 3:
            raise ValueError(f"{function}: expected x (batch, steps, {inputs}), got {x.shape}")
        batch, steps, _ = x.shape
        check(function, "x", x, (batch, steps, inputs), dtype)
        flags |= weights.flags
        if "g0" in arrays and not flags & GATE_RECURRENCE:
            raise ValueError(f"{function}: expected g0 only with weights packed with gate_recurrence")
        input_sets, recurrent_sets = (_sets(cell, arrays.get(f"{name}_dropout")) for name in ("input", "recurrent"))
        shapes = {
            "h0": (batch, outputs),
            "c0": (batch, units),
            "g0": (batch, 3 * units),
            "mask": (batch, steps),
            "input_dropout": (input_sets, batch, inputs),
            "recurrent_dropout": (recurrent_sets, batch, outputs),
            "zoneout_h_mask": (steps, batch, outputs),
            "zoneout_c_mask": (steps, batch, units),
        }
        for name, array in arrays.items():
            check(function, name, array, shapes[name], np.bool_ if name.endswith("mask") else dtype)
        if training and not weights.training:
            raise ValueError(f"{function}: expected weights packed with training=True for training=True")
        self._constants: dict[str, Array] = {}
        for name, constant, rows in (("peepholes", peepholes, 3), ("normalization", normalization, 10)):
            if constant is not None:
                check(function, name, constant, (rows, units), dtype)
                self._constants[name] = contiguous(constant)
        for wanted, flag in (
            (training, TRAINING),
            (not return_sequences, _LAST_STEP),
            (zero_output_for_mask, _ZERO_OUTPUT),
            (normalization is not None, LAYER_NORM),
        ):
            flags |= flag if wanted else 0
        self.layer = layer_of(
            (
                batch, steps, inputs, units, weights.code, activation, recurrent_activation, flags, cell, input_sets,
                recurrent_sets, weights.projection, cell_clip, zoneout_h, zoneout_c, epsilon,
            )
        )  # fmt: skip
        self._training = training
        columns, recurs = GATES[cell] * units, bool(flags & GATE_RECURRENCE)
        states = {
            "h": (batch, outputs),
            "c": (batch, units) if cell == LSTM else None,
            "g": (batch, 3 * units) if recurs else None,
        }
        self.y_shape: tuple[int, ...] = (batch, steps, outputs) if return_sequences else (batch, outputs)
        returned = {"y": self.y_shape, **(states if need_states else {})}
        self._results = [_Result.of(name, shape, dtype) for name, shape in returned.items() if shape]
        self.d_states = {f"d_{name}": shape for name, shape in states.items()}
        shapes_of_d = {
            "d_x": (batch, steps, inputs),
            "d_kernel": (inputs, columns),
            "d_recurrent": (outputs, columns),
            "d_bias": weights.bias_shape,
            **{f"d_{name}0": shape if need_states or f"{name}0" in arrays else None for name, shape in states.items()},
            "d_peepholes": None if peepholes is None else (3, units),
            "d_gate_recurrence": (3 * units, 3 * units) if recurs else None,
            "d_projection": (units, outputs) if weights.projection else None,
            "d_normalization": None if normalization is None else (10, units),
        }
        self.d = [_Result.of(name, shape, dtype) if shape else None for name, shape in shapes_of_d.items()]
        self.d_without_x = [None, *self.d[1:]]
        # What all calls have in common, as far as x, mask and d_y are contiguous.
        strides = (steps * outputs if return_sequences else outputs, outputs)
        struct = new(_FORWARD)
        struct.y_batch_stride, struct.y_step_stride = strides
        shared = struct.shared
        shared.x_batch_stride, shared.x_step_stride = steps * inputs, inputs
        shared.mask_batch_stride, shared.mask_step_stride = steps, 1
        for name, constant in self._constants.items():
            setattr(shared, name, from_buffer(constant))
        self._struct = struct[0]
        back = new(_BACKWARD)
        back.d_y_batch_stride, back.d_y_step_stride = strides
        back.d_x_batch_stride, back.d_x_step_stride = steps * inputs, inputs
        self.backward_struct = back[0]

    def __call__(self, x: Array, packed: Packed, **arrays: Array) -> list[Any]:
        struct = new(_FORWARD, self._struct)
        shared, flags = struct.shared, x.flags
        if flags.c_contiguous and flags.aligned:
            shared.x = from_buffer(x)
        else:
            x = rows_contiguous(x)
            _point(shared, "x", x)
        shared.packed = packed.buffer
        kept = x, packed, _point_all(struct, arrays) if arrays else None
        result = _put(struct, self._results, self.weights.dtype)
        result.append(Saved(self, struct, kept) if self._training else None)
        return run(FORWARD, self._function, self.layer.struct, struct, self.layer.forward_workspace, kept, result)  # type: ignore[no-any-return]


class Saved:
    """What a call leaves for backward: its activations, and the struct with the arguments that both calls share."""

    __slots__ = ("buffer", "forward", "kept", "struct")

    def __init__(self, forward: Forward, struct: Any, kept: Any) -> None:
        self.forward, self.struct, self.kept = forward, struct, kept
        self.buffer = struct.saved = pool.take(forward.layer.saved)

    def __del__(self) -> None:
        buffer = getattr(self, "buffer", None)  # not there if `take` failed
        if buffer is not None and pool is not None:  # nor the pool at the end of the interpreter
            pool.give(buffer)


def backward(cell: int, saved: Saved, d_y: Array | None, need_d_x: bool, **d_states: Array | None) -> Gradients:
    """All gradients, given those of the outputs and of the final states: d_h and, of an LSTM, d_c and d_g."""
    function = _BACKWARD_NAMES[cell]
    if type(saved) is not Saved or saved.forward.weights.cell != cell:
        raise TypeError(f"{function}: expected what {CELLS[cell]}_forward of this backend saved")
    if saved.buffer is None:
        raise ValueError(
            f"{function}: expected saved activations of a forward call, got those of a call that backward has already "
            "been run for"
        )
    forward = saved.forward
    dtype = forward.weights.dtype
    struct = new(_BACKWARD, forward.backward_struct)
    struct.shared = saved.struct.shared
    if d_y is not None:
        check(function, "d_y", d_y, forward.y_shape, dtype)
        flags = d_y.flags
        if flags.c_contiguous and flags.aligned:
            struct.d_y = from_buffer(d_y)
        else:
            d_y = rows_contiguous(d_y)
            _point(struct, "d_y", d_y)
    kept = [saved.kept, d_y]
    for name, array in d_states.items():
        if array is not None:
            of_state = forward.d_states[name]
            if of_state is None:
                raise ValueError(f"{function}: expected {name} only with weights packed with gate_recurrence")
            check(function, name, array, of_state, dtype)
            kept.append(contiguous(array))
            setattr(struct, name, from_buffer(kept[-1]))
    d = Gradients(*_put(struct, forward.d if need_d_x else forward.d_without_x, dtype))
    buffer = struct.saved = saved.buffer
    saved.buffer = None
    return run(  # type: ignore[no-any-return]
        BACKWARD, function, forward.layer.struct, struct, forward.layer.backward_workspace, kept, d, buffer
    )


def _sets(cell: int, masks: Array | None) -> int:
    """How many dropout masks (sets,B,N) there are to be: none, one, or one a gate."""
    if masks is None:
        return 0
    return 1 if masks.ndim != 3 or masks.shape[0] == 1 else GATES[cell]


def _point(struct: Any, name: str, array: Array) -> None:
    """Put the address of an array (B,T), or (B,T,N) with contiguous rows, and its strides in elements into a struct."""
    batch, step = array.strides[:2]
    setattr(struct, name, from_buffer(array[:1, :1]))
    setattr(struct, f"{name}_batch_stride", batch // array.itemsize)
    setattr(struct, f"{name}_step_stride", step // array.itemsize)


def _point_all(struct: Any, arrays: Mapping[str, Array]) -> list[Array]:
    """Put the addresses of a call's further arrays into its struct; the arrays, some of them copied, to be kept."""
    shared, kept = struct.shared, []
    for name, array in arrays.items():
        if name != "mask" or array.flags.c_contiguous:
            array = contiguous(array)
            setattr(struct if name in _INITIAL else shared, _SHARED.get(name, name), from_buffer(array))
        else:
            _point(shared, name, array)
        kept.append(array)
    return kept
