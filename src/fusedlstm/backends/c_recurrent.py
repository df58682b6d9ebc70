"""LSTM, GRU and simple RNN in C: the reference's functions with the same signatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fusedlstm._binding import ffi, lib
from fusedlstm.backends.arguments import Array, check, contiguous, optional, rows_contiguous
from fusedlstm.backends.c_arguments import NULL, empty, from_buffer, pointer, pool
from fusedlstm.backends.c_calls import BACKWARD, FORWARD, Call, CStream, collecting, run, run_together
from fusedlstm.backends.c_layer import (
    CELLS,
    GATE_RECURRENCE,
    GATES,
    GRU,
    LAYER_NORM,
    LSTM,
    NO_NUMBERS,
    SIMPLE_RNN,
    TRAINING,
    CLayer,
    Packed,
    Packing,
    layer_of,
)
from fusedlstm.backends.reference_recurrent import Gradients, Stream

_LAST_STEP, _ZERO_OUTPUT = lib.FUSEDLSTM_LAST_STEP, lib.FUSEDLSTM_ZERO_OUTPUT_FOR_MASK
_FUNCTIONS = {cell: (f"{name}_forward", f"{name}_backward") for cell, name in CELLS.items()}
_PACKED = {f"{name}_pack": cell for cell, name in CELLS.items()}
_NULLS = (NULL, NULL, NULL)
_REMOVED = {
    name: getattr(lib, f"FUSEDLSTM_NO_{name.upper()}")
    for name in ("input_gate", "forget_gate", "output_gate", "input_activation", "output_activation")
}


class _Saved:
    """What forward leaves for backward: the buffer, and the struct of arguments that both calls share."""

    __slots__ = ("buffer", "kept", "layer", "normalizes", "peeps", "return_sequences", "shape", "shared", "weights")

    def __init__(
        self, weights: Packing, layer: CLayer, shape: tuple[int, ...], return_sequences: bool, shared: tuple[Any, ...]
    ) -> None:
        self.weights, self.layer, self.shape, self.return_sequences = weights, layer, shape, return_sequences
        self.shared = shared
        self.peeps = self.normalizes = False
        self.kept: Any = None  # what `shared` points to lives as long as this
        self.buffer: Array | None = pool.take(layer.saved)

    def __del__(self) -> None:
        buffer = getattr(self, "buffer", None)  # not there if `take` failed
        if buffer is not None and pool is not None:  # nor the pool at the end of the interpreter
            pool.give(buffer)


def lstm_pack(
    kernel: Array,
    recurrent: Array,
    bias: Array | None,
    training: bool = False,
    gate_recurrence: Array | None = None,
    projection: Array | None = None,
) -> Any:
    """See `reference.lstm_pack`."""
    return Packing(LSTM, kernel, recurrent, bias, training, False, gate_recurrence, projection)()


def gru_pack(
    kernel: Array, recurrent: Array, bias: Array | None, training: bool = False, reset_after: bool = True
) -> Any:
    """See `reference.gru_pack`."""
    return Packing(GRU, kernel, recurrent, bias, training, reset_after)()


def simple_rnn_pack(kernel: Array, recurrent: Array, bias: Array | None, training: bool = False) -> Any:
    """See `reference.simple_rnn_pack`."""
    return Packing(SIMPLE_RNN, kernel, recurrent, bias, training)()


def prepare_pack(
    function: str, kernel: Array, recurrent: Array, bias: Array | None, training: bool, **options: Any
) -> Callable[[], Any]:
    """See `reference.prepare_pack`."""
    return Packing(_PACKED[function], kernel, recurrent, bias, training, **options)


def _strides(array: Array | None) -> tuple[int, int]:
    """Of batch and time, in elements."""
    if array is None:
        return 0, 0
    batch, step = array.strides[:2]
    return batch // array.itemsize, step // array.itemsize


def _dropout(function: str, name: str, masks: Array | None, rows: tuple[int, int], weights: Packing) -> Array | None:
    """Dropout masks (sets, B, N), with sets 1 or one a gate."""
    if masks is None:
        return None
    sets = masks.shape[0] if masks.ndim == 3 else 1
    if sets != 1:
        sets = GATES[weights.cell]
    return optional(function, name, masks, (sets, *rows), weights.dtype)


def recurrent_together(calls: Sequence[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> list[Any]:
    """See `reference.recurrent_together`."""
    with collecting() as collected:
        results = [globals()[name](*args, **options) for name, args, options in calls]
    run_together(collected)
    return results


def recurrent_stream(name: str, label: str, packed: Any, x: Array, states: dict[str, Array], **options: Any) -> Stream:
    """See `reference.recurrent_stream`."""
    return CStream(label, globals()[name], packed, np.ascontiguousarray(x), states, options)


def _bytes(array: Array | None) -> Any:
    return NULL if array is None else ffi.cast("uint8_t *", array.ctypes.data)


def _zoneout(function: str, name: str, mask: Array | None, shape: tuple[int, ...]) -> Array | None:
    """A zoneout mask (T,B,N)."""
    if mask is None:
        return None
    check(function, name, mask, shape, np.bool_)
    return contiguous(mask)


#: Of a call without: peepholes, normalization, masks of zoneout; c0, g0.
_NO_ARRAYS: tuple[Any, ...] = (None, None, None, None)
#: Nor masks of dropout.
_NO_POINTERS = (NULL,) * 6


def _forward(
    cell: int,
    x: Array,
    packed: Packed,
    h0: Array | None,
    mask: Array | None,
    activation: str,
    recurrent_activation: str,
    return_sequences: bool,
    zero_output_for_mask: bool,
    training: bool,
    input_dropout: Array | None,
    recurrent_dropout: Array | None,
    c0: Array | None = None,
    g0: Array | None = None,
    arrays: tuple[Any, ...] = _NO_ARRAYS,
    numbers: tuple[float, ...] = NO_NUMBERS,
    flags: int = 0,
) -> tuple[Any, ...]:
    """y, the final states and what is saved for backward, of any of the recurrent layers."""
    function = _FUNCTIONS[cell][0]
    if type(packed) is not Packed or packed.packing.cell != cell:
        raise TypeError(f"{function}: expected packed weights from {CELLS[cell]}_pack of this backend")
    weights = packed.packing
    inputs, units, outputs, dtype = weights.inputs, weights.units, weights.outputs, weights.dtype
    if x.ndim != 3:
        raise ValueError(f"{function}: expected x (batch, steps, {inputs}), got {x.shape}")
    batch, steps, _ = x.shape
    check(function, "x", x, (batch, steps, inputs), dtype)
    x = rows_contiguous(x)
    if h0 is not None:
        h0 = optional(function, "h0", h0, (batch, outputs), dtype)
    if c0 is not None:
        c0 = optional(function, "c0", c0, (batch, units), dtype)
    if mask is not None:
        check(function, "mask", mask, (batch, steps), np.bool_)
    if training and not weights.training:
        raise ValueError(f"{function}: expected weights packed with training=True for training=True")
    sets_of_inputs = sets_of_state = 0
    if input_dropout is not None:
        input_dropout = _dropout(function, "input_dropout", input_dropout, (batch, inputs), weights)
        sets_of_inputs = len(input_dropout)  # type: ignore[arg-type]
    if recurrent_dropout is not None:
        recurrent_dropout = _dropout(function, "recurrent_dropout", recurrent_dropout, (batch, outputs), weights)
        sets_of_state = len(recurrent_dropout)  # type: ignore[arg-type]
    flags |= weights.flags
    if g0 is not None:
        if not flags & GATE_RECURRENCE:
            raise ValueError(f"{function}: expected g0 only with weights packed with gate_recurrence")
        g0 = optional(function, "g0", g0, (batch, 3 * units), dtype)
    if arrays is not _NO_ARRAYS:
        peepholes, normalization, zoneout_h, zoneout_c = arrays
        arrays = (
            optional(function, "peepholes", peepholes, (3, units), dtype),
            optional(function, "normalization", normalization, (10, units), dtype),
            _zoneout(function, "zoneout_h_mask", zoneout_h, (steps, batch, outputs)),
            _zoneout(function, "zoneout_c_mask", zoneout_c, (steps, batch, units)),
        )
        if normalization is not None:
            flags |= LAYER_NORM
    if training:
        flags |= TRAINING
    if not return_sequences:
        flags |= _LAST_STEP
    if zero_output_for_mask:
        flags |= _ZERO_OUTPUT
    layer = layer_of(
        (
            batch, steps, inputs, units, weights.code, activation, recurrent_activation, flags, cell,
            sets_of_inputs, sets_of_state, weights.projection, *numbers,
        )
    )  # fmt: skip
    peepholes, normalization, zoneout_h, zoneout_c = arrays
    further = _NO_POINTERS
    if arrays is not _NO_ARRAYS or input_dropout is not None or recurrent_dropout is not None:
        further = (
            pointer(input_dropout), pointer(recurrent_dropout), pointer(peepholes), pointer(normalization),
            _bytes(zoneout_h), _bytes(zoneout_c),
        )  # fmt: skip
    shared = (pointer(x), _bytes(mask), packed.pointer, *further, *_strides(x), *_strides(mask))
    y = empty((batch, steps, outputs) if return_sequences else (batch, outputs), dtype)
    states = [np.empty((batch, outputs), dtype)]
    if cell == LSTM:
        states.append(np.empty((batch, units), dtype))
    if flags & GATE_RECURRENCE:
        states.append(np.empty((batch, 3 * units), dtype))
    pointers = [from_buffer(state) for state in states]
    initial = _NULLS
    if h0 is not None or c0 is not None or g0 is not None:
        initial = pointer(h0), pointer(c0), pointer(g0)
    saved, buffer = None, NULL
    kept = (x, mask, packed, input_dropout, recurrent_dropout, arrays)
    if training:
        saved = _Saved(weights, layer, x.shape, return_sequences, shared)
        saved.kept, saved.peeps, saved.normalizes = kept, peepholes is not None, normalization is not None
        buffer = from_buffer(saved.buffer)
    args = (
        shared, *initial, from_buffer(y), *pointers, *_NULLS[len(states) :], buffer
    )  # fmt: skip
    strides = (steps * outputs if return_sequences else outputs, outputs)
    return run(  # type: ignore[no-any-return]
        Call(
            function, layer.struct, FORWARD, args, strides, layer.forward_workspace,
            (kept, h0, c0, g0), (y, *states, saved),
        )
    )  # fmt: skip


def _backward(
    cell: int,
    saved: _Saved,
    d_y: Array | None,
    need_d_x: bool,
    d_h: Array | None,
    d_c: Array | None = None,
    d_g: Array | None = None,
) -> Gradients:
    """All gradients; d_c and d_g are an LSTM's."""
    function = _FUNCTIONS[cell][1]
    if type(saved) is not _Saved or saved.weights.cell != cell:
        raise TypeError(f"{function}: expected what {CELLS[cell]}_forward of this backend saved")
    if saved.buffer is None:
        raise ValueError(
            f"{function}: expected saved activations of a forward call, got those of a call that backward has already "
            "been run for"
        )
    weights, layer = saved.weights, saved.layer
    units, outputs, dtype = weights.units, weights.outputs, weights.dtype
    batch, steps, inputs = saved.shape
    recurs = weights.flags & GATE_RECURRENCE
    if d_y is not None:
        shape = (batch, steps, outputs) if saved.return_sequences else (batch, outputs)
        check(function, "d_y", d_y, shape, dtype)
        d_y = rows_contiguous(d_y)
    after = _NULLS
    if d_h is not None or d_c is not None or d_g is not None:
        d_h = optional(function, "d_h", d_h, (batch, outputs), dtype)
        d_c = optional(function, "d_c", d_c, (batch, units), dtype)
        if d_g is not None and not recurs:
            raise ValueError(f"{function}: expected d_g only with weights packed with gate_recurrence")
        d_g = optional(function, "d_g", d_g, (batch, 3 * units), dtype)
        after = pointer(d_h), pointer(d_c), pointer(d_g)
    columns = GATES[cell] * units
    d = Gradients(
        empty((batch, steps, inputs), dtype) if need_d_x else None,
        np.empty((inputs, columns), dtype),
        np.empty((outputs, columns), dtype),
        np.empty(weights.bias_shape, dtype),
        np.empty((batch, outputs), dtype),
        np.empty((batch, units), dtype) if cell == LSTM else None,
        np.empty((batch, 3 * units), dtype) if recurs else None,
        np.empty((3, units), dtype) if saved.peeps else None,
        empty((3 * units, 3 * units), dtype) if recurs else None,
        empty((units, outputs), dtype) if weights.projection else None,
        np.empty((10, units), dtype) if saved.normalizes else None,
    )
    args = (
        saved.shared, from_buffer(saved.buffer), pointer(d_y), *after,
        *[NULL if array is None else from_buffer(array) for array in d],
    )  # fmt: skip
    strides = (*_strides(d_y), steps * inputs, inputs)
    buffer, saved.buffer = saved.buffer, None
    kept = saved.kept, d_y, d_h, d_c, d_g
    return run(  # type: ignore[no-any-return]
        Call(function, layer.struct, BACKWARD, args, strides, layer.backward_workspace, kept, d, buffer)
    )


def lstm_forward(
    x: Array,
    packed: Any,
    *,
    h0: Array | None = None,
    c0: Array | None = None,
    g0: Array | None = None,
    mask: Array | None = None,
    activation: Any = "tanh",
    recurrent_activation: Any = "sigmoid",
    return_sequences: bool = False,
    zero_output_for_mask: bool = False,
    training: bool = False,
    input_dropout: Array | None = None,
    recurrent_dropout: Array | None = None,
    peepholes: Array | None = None,
    coupled_gates: bool = False,
    removed: Sequence[str] = (),
    cell_clip: float = 0.0,
    normalization: Array | None = None,
    epsilon: float = 1e-5,
    zoneout_h: float = 0.0,
    zoneout_c: float = 0.0,
    zoneout_h_mask: Array | None = None,
    zoneout_c_mask: Array | None = None,
) -> tuple[Any, ...]:
    """See `reference.lstm_forward`."""
    flags = lib.FUSEDLSTM_COUPLED_GATES if coupled_gates else 0
    for name in removed:
        if name not in _REMOVED:
            raise ValueError(f"lstm_forward: expected removed to be some of {', '.join(_REMOVED)}, got {name!r}")
        flags |= _REMOVED[name]
    arrays = (peepholes, normalization, zoneout_h_mask, zoneout_c_mask)
    if peepholes is None and normalization is None and zoneout_h_mask is None and zoneout_c_mask is None:
        arrays = _NO_ARRAYS
    return _forward(
        LSTM, x, packed, h0, mask, activation, recurrent_activation, return_sequences, zero_output_for_mask,
        training, input_dropout, recurrent_dropout, c0, g0, arrays,
        (cell_clip, zoneout_h, zoneout_c, epsilon), flags,
    )  # fmt: skip


def lstm_backward(
    saved: Any,
    d_y: Array | None,
    d_h: Array | None = None,
    d_c: Array | None = None,
    d_g: Array | None = None,
    *,
    need_d_x: bool = True,
) -> Gradients:
    """See `reference.lstm_backward`."""
    return _backward(LSTM, saved, d_y, need_d_x, d_h, d_c, d_g)


def gru_forward(
    x: Array,
    packed: Any,
    *,
    h0: Array | None = None,
    mask: Array | None = None,
    activation: Any = "tanh",
    recurrent_activation: Any = "sigmoid",
    return_sequences: bool = False,
    zero_output_for_mask: bool = False,
    training: bool = False,
    input_dropout: Array | None = None,
    recurrent_dropout: Array | None = None,
) -> tuple[Array, Array, Any]:
    """See `reference.gru_forward`."""
    return _forward(  # type: ignore[return-value]
        GRU, x, packed, h0, mask, activation, recurrent_activation, return_sequences, zero_output_for_mask,
        training, input_dropout, recurrent_dropout,
    )  # fmt: skip


def gru_backward(saved: Any, d_y: Array | None, d_h: Array | None = None, *, need_d_x: bool = True) -> Gradients:
    """See `reference.gru_backward`."""
    return _backward(GRU, saved, d_y, need_d_x, d_h)


def simple_rnn_forward(
    x: Array,
    packed: Any,
    *,
    h0: Array | None = None,
    mask: Array | None = None,
    activation: Any = "tanh",
    return_sequences: bool = False,
    zero_output_for_mask: bool = False,
    training: bool = False,
    input_dropout: Array | None = None,
    recurrent_dropout: Array | None = None,
) -> tuple[Array, Array, Any]:
    """See `reference.simple_rnn_forward`."""
    return _forward(  # type: ignore[return-value]
        SIMPLE_RNN, x, packed, h0, mask, activation, "sigmoid", return_sequences, zero_output_for_mask,
        training, input_dropout, recurrent_dropout,
    )  # fmt: skip


def simple_rnn_backward(saved: Any, d_y: Array | None, d_h: Array | None = None, *, need_d_x: bool = True) -> Gradients:
    """See `reference.simple_rnn_backward`."""
    return _backward(SIMPLE_RNN, saved, d_y, need_d_x, d_h)
