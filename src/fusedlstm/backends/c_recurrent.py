"""LSTM, GRU and simple RNN in C: `reference_recurrent`'s functions with the same signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm._binding import ffi, lib
from fusedlstm.backends.c_arguments import (
    ACTIVATIONS,
    NULL,
    Array,
    check,
    contiguous,
    dtype_of,
    error_slot,
    from_buffer,
    new,
    optional,
    pointer,
    pool,
    refuse,
    rows_contiguous,
    scratch,
)

_LAYER = ffi.typeof("struct fusedlstm_rnn *")
_FORWARD, _BACKWARD = ffi.typeof("struct fusedlstm_rnn_forward *"), ffi.typeof("struct fusedlstm_rnn_backward *")
_TRAINING, _LAST_STEP = lib.FUSEDLSTM_TRAINING, lib.FUSEDLSTM_LAST_STEP
_ZERO_OUTPUT, _RESET_AFTER = lib.FUSEDLSTM_ZERO_OUTPUT_FOR_MASK, lib.FUSEDLSTM_RESET_AFTER
_LSTM, _GRU, _SIMPLE_RNN = lib.FUSEDLSTM_LSTM, lib.FUSEDLSTM_GRU, lib.FUSEDLSTM_SIMPLE_RNN
_CELLS = {_LSTM: "lstm", _GRU: "gru", _SIMPLE_RNN: "simple_rnn"}
_GATES = {_LSTM: 4, _GRU: 3, _SIMPLE_RNN: 1}
_REMOVED = {
    name: getattr(lib, f"FUSEDLSTM_NO_{name.upper()}")
    for name in ("input_gate", "forget_gate", "output_gate", "input_activation", "output_activation")
}


class _Packed:
    """Packed weights: `buffer` as csrc/kernels/recurrent_layout.inc lays it out."""

    __slots__ = ("bias_shape", "buffer", "cell", "code", "dtype", "flags", "inputs", "training", "units")

    def __init__(
        self, cell: int, kernel: Array, recurrent: Array, bias: Array | None, training: bool, reset_after: bool = False
    ) -> None:
        function = f"{_CELLS[cell]}_pack"
        self.cell, self.code = cell, dtype_of(function, "kernel", kernel)
        self.dtype, self.training = kernel.dtype, training
        self.flags = _RESET_AFTER if reset_after else 0
        self.units = recurrent.shape[0] if recurrent.ndim == 2 else 0
        self.inputs = kernel.shape[0] if kernel.ndim == 2 else 0
        columns = _GATES[cell] * self.units
        self.bias_shape = (2, columns) if reset_after else (columns,)
        check(function, "kernel", kernel, (self.inputs, columns), self.dtype)
        check(function, "recurrent", recurrent, (self.units, columns), self.dtype)
        kernel, recurrent = contiguous(kernel), contiguous(recurrent)
        bias = optional(function, "bias", bias, self.bias_shape, self.dtype)
        flags = self.flags | (_TRAINING if training else 0)
        layer = _layer((0, 0, self.inputs, self.units, self.code, "tanh", "sigmoid", flags, cell, 0, 0, 0.0))
        self.buffer = pool.take(layer.packed)
        slot = error_slot()
        status = lib.fusedlstm_rnn_pack(
            layer.struct, pointer(kernel), pointer(recurrent), pointer(bias), from_buffer(self.buffer), slot
        )
        if status:
            refuse(function, status, slot)

    def __del__(self) -> None:
        buffer = getattr(self, "buffer", None)  # not there if a check in __init__ failed
        if buffer is not None:
            pool.give(buffer)


class _Layer:
    """A struct fusedlstm_rnn, which C only reads, and the sizes of the buffers that its calls need."""

    __slots__ = ("backward_workspace", "forward_workspace", "packed", "saved", "struct")

    def __init__(self, struct: Any) -> None:
        self.struct = struct
        self.packed = lib.fusedlstm_rnn_packed_size(struct)
        self.saved = lib.fusedlstm_rnn_saved_size(struct)
        self.forward_workspace = lib.fusedlstm_rnn_forward_workspace_size(struct)
        self.backward_workspace = lib.fusedlstm_rnn_backward_workspace_size(struct)


_layers: dict[tuple[Any, ...], _Layer] = {}
_LAYERS_KEPT = 1024


def _layer(options: tuple[Any, ...]) -> _Layer:
    """Of a call with these sizes and options; kept, since most calls are like an earlier one.

    `options` are batch, steps, inputs, units, dtype, activation, recurrent_activation, flags, cell, the numbers of
    input and of recurrent dropout masks, cell_clip.
    """
    layer = _layers.get(options)
    if layer is None:
        if len(_layers) >= _LAYERS_KEPT:
            _layers.clear()
        *sizes, activation, recurrent_activation, flags, cell, inputs, recurrent, clip = options
        numbers = (
            ACTIVATIONS[activation],
            ACTIVATIONS[recurrent_activation],
            flags,
            cell,
            0,
            inputs,
            recurrent,
            clip,
        )
        layer = _layers[options] = _Layer(new(_LAYER, (*sizes, *numbers)))
    return layer


def forget_layers() -> None:
    """To be called when the instruction set changes: the sizes of buffers depend on it."""
    _layers.clear()


class _Saved:
    """What forward leaves for backward: the buffer, and the arguments that both calls share."""

    __slots__ = ("buffer", "dropout", "layer", "mask", "packed", "peepholes", "return_sequences", "x")

    def __init__(self, x: Array, packed: _Packed, mask: Array | None, layer: _Layer, return_sequences: bool) -> None:
        self.x, self.packed, self.mask, self.layer = x, packed, mask, layer
        self.buffer: Array | None = pool.take(layer.saved)
        self.return_sequences = return_sequences
        self.dropout: tuple[Array | None, Array | None] = (None, None)
        self.peepholes: Array | None = None


def lstm_pack(kernel: Array, recurrent: Array, bias: Array | None, training: bool = False) -> Any:
    """See `reference.lstm_pack`."""
    return _Packed(_LSTM, kernel, recurrent, bias, training)


def gru_pack(
    kernel: Array, recurrent: Array, bias: Array | None, training: bool = False, reset_after: bool = True
) -> Any:
    """See `reference.gru_pack`."""
    return _Packed(_GRU, kernel, recurrent, bias, training, reset_after)


def simple_rnn_pack(kernel: Array, recurrent: Array, bias: Array | None, training: bool = False) -> Any:
    """See `reference.simple_rnn_pack`."""
    return _Packed(_SIMPLE_RNN, kernel, recurrent, bias, training)


def _strides(array: Array | None) -> tuple[int, int]:
    """Of batch and time, in elements."""
    if array is None:
        return 0, 0
    batch, step = array.strides[:2]
    return batch // array.itemsize, step // array.itemsize


def _dropout(function: str, name: str, masks: Array | None, rows: tuple[int, int], packed: _Packed) -> Array | None:
    """Dropout masks (sets, B, N), with sets 1 or one a gate."""
    if masks is None:
        return None
    sets = masks.shape[0] if masks.ndim == 3 else 1
    if sets != 1:
        sets = _GATES[packed.cell]
    return optional(function, name, masks, (sets, *rows), packed.dtype)


def _forward(
    cell: int,
    x: Array,
    packed: _Packed,
    h0: Array | None,
    c0: Array | None,
    mask: Array | None,
    activation: str,
    recurrent_activation: str,
    return_sequences: bool,
    zero_output_for_mask: bool,
    training: bool,
    input_dropout: Array | None,
    recurrent_dropout: Array | None,
    peepholes: Array | None = None,
    flags: int = 0,
    cell_clip: float = 0.0,
) -> tuple[Array, Array, Array | None, _Saved | None]:
    """y, h, c (None but for an LSTM) and saved of any of the recurrent layers."""
    function = f"{_CELLS[cell]}_forward"
    if type(packed) is not _Packed or packed.cell != cell:
        raise TypeError(f"{function}: expected packed weights from {_CELLS[cell]}_pack of this backend")
    if x.ndim != 3:
        raise ValueError(f"{function}: expected x (batch, steps, {packed.inputs}), got {x.shape}")
    batch, steps, _ = x.shape
    inputs, units, dtype = packed.inputs, packed.units, packed.dtype
    check(function, "x", x, (batch, steps, inputs), dtype)
    x = rows_contiguous(x)
    h0 = optional(function, "h0", h0, (batch, units), dtype)
    c0 = optional(function, "c0", c0, (batch, units), dtype)
    if mask is not None:
        check(function, "mask", mask, (batch, steps), np.bool_)
    if training and not packed.training:
        raise ValueError(f"{function}: expected weights packed with training=True for training=True")
    sets_of_inputs = sets_of_state = 0
    if input_dropout is not None:
        input_dropout = _dropout(function, "input_dropout", input_dropout, (batch, inputs), packed)
        sets_of_inputs = len(input_dropout)  # type: ignore[arg-type]
    if recurrent_dropout is not None:
        recurrent_dropout = _dropout(function, "recurrent_dropout", recurrent_dropout, (batch, units), packed)
        sets_of_state = len(recurrent_dropout)  # type: ignore[arg-type]
    peepholes = optional(function, "peepholes", peepholes, (3, units), dtype)

    flags |= packed.flags
    if training:
        flags |= _TRAINING
    if not return_sequences:
        flags |= _LAST_STEP
    if zero_output_for_mask:
        flags |= _ZERO_OUTPUT
    sizes = (batch, steps, inputs, units, packed.code)
    layer = _layer((*sizes, activation, recurrent_activation, flags, cell, sets_of_inputs, sets_of_state, cell_clip))
    y = np.empty((batch, steps, units) if return_sequences else (batch, units), dtype)
    h = np.empty((batch, units), dtype)
    c = np.empty((batch, units), dtype) if cell == _LSTM else None
    saved, buffer = None, NULL
    if training:
        saved = _Saved(x, packed, mask, layer, return_sequences)
        saved.dropout, saved.peepholes = (input_dropout, recurrent_dropout), peepholes
        buffer = from_buffer(saved.buffer)
    args = new(
        _FORWARD,
        (
            pointer(x),
            NULL if mask is None else ffi.cast("uint8_t *", mask.ctypes.data),
            pointer(h0),
            pointer(c0),
            from_buffer(packed.buffer),
            from_buffer(y),
            from_buffer(h),
            pointer(c),
            buffer,
            scratch.get(layer.forward_workspace),
            *_strides(x),
            *_strides(mask),
            steps * units if return_sequences else units,
            units,
            pointer(input_dropout),
            pointer(recurrent_dropout),
            pointer(peepholes),
        ),
    )
    slot = error_slot()
    status = lib.fusedlstm_rnn_forward(layer.struct, args, slot)
    if status:
        refuse(function, status, slot)
    return y, h, c, saved


def _backward(
    cell: int, saved: _Saved, d_y: Array | None, d_h: Array | None, d_c: Array | None, need_d_x: bool
) -> tuple[Array | None, Array, Array, Array, Array, Array | None, Array | None]:
    """d_x, d_kernel, d_recurrent, d_bias, d_h0, d_c0, d_peepholes; the last two None but for an LSTM that has them."""
    function = f"{_CELLS[cell]}_backward"
    if type(saved) is not _Saved or saved.packed.cell != cell:
        raise TypeError(f"{function}: expected what {_CELLS[cell]}_forward of this backend saved")
    if saved.buffer is None:
        raise ValueError(
            f"{function}: expected saved activations of a forward call, got those of a call that backward has already "
            "been run for"
        )
    x, packed, peepholes = saved.x, saved.packed, saved.peepholes
    units, dtype = packed.units, packed.dtype
    batch, steps, inputs = x.shape
    if d_y is not None:
        shape = (batch, steps, units) if saved.return_sequences else (batch, units)
        check(function, "d_y", d_y, shape, dtype)
        d_y = rows_contiguous(d_y)
    d_h = optional(function, "d_h", d_h, (batch, units), dtype)
    d_c = optional(function, "d_c", d_c, (batch, units), dtype)

    columns = _GATES[cell] * units
    d_x = np.empty((batch, steps, inputs), dtype) if need_d_x else None
    d_kernel, d_recurrent = np.empty((inputs, columns), dtype), np.empty((units, columns), dtype)
    d_bias, d_h0 = np.empty(packed.bias_shape, dtype), np.empty((batch, units), dtype)
    d_c0 = np.empty((batch, units), dtype) if cell == _LSTM else None
    d_peepholes = None if peepholes is None else np.empty((3, units), dtype)
    args = new(
        _BACKWARD,
        (
            pointer(x),
            NULL if saved.mask is None else ffi.cast("uint8_t *", saved.mask.ctypes.data),
            from_buffer(packed.buffer),
            from_buffer(saved.buffer),
            pointer(d_y),
            pointer(d_h),
            pointer(d_c),
            pointer(d_x),
            from_buffer(d_kernel),
            from_buffer(d_recurrent),
            from_buffer(d_bias),
            from_buffer(d_h0),
            pointer(d_c0),
            scratch.get(saved.layer.backward_workspace),
            *_strides(x),
            *_strides(saved.mask),
            *_strides(d_y),
            steps * inputs,
            inputs,
            pointer(saved.dropout[0]),
            pointer(saved.dropout[1]),
            pointer(peepholes),
            pointer(d_peepholes),
        ),
    )
    slot = error_slot()
    status = lib.fusedlstm_rnn_backward(saved.layer.struct, args, slot)
    if status:
        refuse(function, status, slot)
    pool.give(saved.buffer)
    saved.buffer = None
    return d_x, d_kernel, d_recurrent, d_bias, d_h0, d_c0, d_peepholes


def lstm_forward(
    x: Array,
    packed: Any,
    *,
    h0: Array | None = None,
    c0: Array | None = None,
    mask: Array | None = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    return_sequences: bool = False,
    zero_output_for_mask: bool = False,
    training: bool = False,
    input_dropout: Array | None = None,
    recurrent_dropout: Array | None = None,
    peepholes: Array | None = None,
    coupled_gates: bool = False,
    removed: Sequence[str] = (),
    cell_clip: float = 0.0,
) -> tuple[Array, Array, Array, Any]:
    """See `reference.lstm_forward`."""
    flags = lib.FUSEDLSTM_COUPLED_GATES if coupled_gates else 0
    for name in removed:
        if name not in _REMOVED:
            raise ValueError(f"lstm_forward: expected removed to be some of {', '.join(_REMOVED)}, got {name!r}")
        flags |= _REMOVED[name]
    y, h, c, saved = _forward(
        _LSTM, x, packed, h0, c0, mask, activation, recurrent_activation, return_sequences, zero_output_for_mask,
        training, input_dropout, recurrent_dropout, peepholes, flags, cell_clip,
    )  # fmt: skip
    return y, h, c, saved  # type: ignore[return-value]


def lstm_backward(
    saved: Any,
    d_y: Array | None,
    d_h: Array | None = None,
    d_c: Array | None = None,
    *,
    need_d_x: bool = True,
) -> tuple[Array | None, Array, Array, Array, Array, Array, Array | None]:
    """See `reference.lstm_backward`."""
    return _backward(_LSTM, saved, d_y, d_h, d_c, need_d_x)  # type: ignore[return-value]


def gru_forward(
    x: Array,
    packed: Any,
    *,
    h0: Array | None = None,
    mask: Array | None = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    return_sequences: bool = False,
    zero_output_for_mask: bool = False,
    training: bool = False,
    input_dropout: Array | None = None,
    recurrent_dropout: Array | None = None,
) -> tuple[Array, Array, Any]:
    """See `reference.gru_forward`."""
    y, h, _, saved = _forward(
        _GRU, x, packed, h0, None, mask, activation, recurrent_activation, return_sequences, zero_output_for_mask,
        training, input_dropout, recurrent_dropout,
    )  # fmt: skip
    return y, h, saved


def gru_backward(
    saved: Any, d_y: Array | None, d_h: Array | None = None, *, need_d_x: bool = True
) -> tuple[Array | None, Array, Array, Array, Array]:
    """See `reference.gru_backward`."""
    return _backward(_GRU, saved, d_y, d_h, None, need_d_x)[:5]


def simple_rnn_forward(
    x: Array,
    packed: Any,
    *,
    h0: Array | None = None,
    mask: Array | None = None,
    activation: str = "tanh",
    return_sequences: bool = False,
    zero_output_for_mask: bool = False,
    training: bool = False,
    input_dropout: Array | None = None,
    recurrent_dropout: Array | None = None,
) -> tuple[Array, Array, Any]:
    """See `reference.simple_rnn_forward`."""
    y, h, _, saved = _forward(
        _SIMPLE_RNN, x, packed, h0, None, mask, activation, "sigmoid", return_sequences, zero_output_for_mask,
        training, input_dropout, recurrent_dropout,
    )  # fmt: skip
    return y, h, saved


def simple_rnn_backward(
    saved: Any, d_y: Array | None, d_h: Array | None = None, *, need_d_x: bool = True
) -> tuple[Array | None, Array, Array, Array, Array]:
    """See `reference.simple_rnn_backward`."""
    return _backward(_SIMPLE_RNN, saved, d_y, d_h, None, need_d_x)[:5]
