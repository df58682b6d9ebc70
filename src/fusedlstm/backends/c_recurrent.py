"""LSTM, GRU and simple RNN in C: the reference's functions with the same signatures."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fusedlstm._binding import ffi, lib
from fusedlstm.backends.c_arguments import (
    ACTIVATIONS,
    NULL,
    Array,
    aligned_buffer,
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
from fusedlstm.backends.reference_recurrent import Gradients, Stream

_LAYER, _WEIGHTS = ffi.typeof("struct fusedlstm_rnn *"), ffi.typeof("struct fusedlstm_rnn_weights *")
_FORWARD, _BACKWARD = ffi.typeof("struct fusedlstm_rnn_forward *"), ffi.typeof("struct fusedlstm_rnn_backward *")
_TRAINING, _LAST_STEP = lib.FUSEDLSTM_TRAINING, lib.FUSEDLSTM_LAST_STEP
_ZERO_OUTPUT, _RESET_AFTER = lib.FUSEDLSTM_ZERO_OUTPUT_FOR_MASK, lib.FUSEDLSTM_RESET_AFTER
_GATE_RECURRENCE, _LAYER_NORM = lib.FUSEDLSTM_FULL_GATE_RECURRENCE, lib.FUSEDLSTM_LAYER_NORM
_LSTM, _GRU, _SIMPLE_RNN = lib.FUSEDLSTM_LSTM, lib.FUSEDLSTM_GRU, lib.FUSEDLSTM_SIMPLE_RNN
_CELLS = {_LSTM: "lstm", _GRU: "gru", _SIMPLE_RNN: "simple_rnn"}
_FUNCTIONS = {cell: (f"{name}_forward", f"{name}_backward") for cell, name in _CELLS.items()}
_NULLS = (NULL, NULL, NULL)
_GATES = {_LSTM: 4, _GRU: 3, _SIMPLE_RNN: 1}
_REMOVED = {
    name: getattr(lib, f"FUSEDLSTM_NO_{name.upper()}")
    for name in ("input_gate", "forget_gate", "output_gate", "input_activation", "output_activation")
}


class _Packed:
    """Packed weights: `buffer` as csrc/kernels/recurrent_layout.inc lays it out."""

    __slots__ = (
        "bias_shape", "buffer", "cell", "code", "dtype", "flags", "inputs", "outputs", "pointer", "projection",
        "training", "units",
    )  # fmt: skip

    def __init__(
        self,
        cell: int,
        kernel: Array,
        recurrent: Array,
        bias: Array | None,
        training: bool,
        reset_after: bool = False,
        gate_recurrence: Array | None = None,
        projection: Array | None = None,
    ) -> None:
        function = f"{_CELLS[cell]}_pack"
        self.cell, self.code = cell, dtype_of(function, "kernel", kernel)
        self.dtype, self.training = kernel.dtype, training
        self.flags = (_RESET_AFTER if reset_after else 0) | (0 if gate_recurrence is None else _GATE_RECURRENCE)
        self.inputs, columns = kernel.shape if kernel.ndim == 2 else (0, 0)
        self.outputs = recurrent.shape[0] if recurrent.ndim == 2 else 0
        self.units = self.outputs if projection is None else columns // _GATES[cell]
        self.projection = 0 if projection is None else self.outputs
        columns = _GATES[cell] * self.units
        self.bias_shape = (2, columns) if reset_after else (columns,)
        check(function, "kernel", kernel, (self.inputs, columns), self.dtype)
        check(function, "recurrent", recurrent, (self.outputs, columns), self.dtype)
        kernel, recurrent = contiguous(kernel), contiguous(recurrent)
        bias = optional(function, "bias", bias, self.bias_shape, self.dtype)
        of_gates = (3 * self.units, 3 * self.units)
        gate_recurrence = optional(function, "gate_recurrence", gate_recurrence, of_gates, self.dtype)
        projection = optional(function, "projection", projection, (self.units, self.outputs), self.dtype)
        flags = self.flags | (_TRAINING if training else 0)
        sizes = (0, 0, self.inputs, self.units, self.code)
        layer = _layer((*sizes, "tanh", "sigmoid", flags, cell, 0, 0, self.projection, *_NO_NUMBERS))
        self.buffer = pool.take(layer.packed)
        self.pointer = from_buffer(self.buffer)
        arrays = (kernel, recurrent, bias, gate_recurrence, projection)
        weights = new(_WEIGHTS, tuple(pointer(array) for array in arrays))
        slot = error_slot()
        status = lib.fusedlstm_rnn_pack(layer.struct, weights, self.pointer, slot)
        if status:
            refuse(function, status, slot)

    def __del__(self) -> None:
        buffer = getattr(self, "buffer", None)  # not there if a check in __init__ failed
        if buffer is not None and pool is not None:  # nor at the end of the interpreter
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


class _Options(NamedTuple):
    """What a struct fusedlstm_rnn is made from."""

    batch: int
    steps: int
    inputs: int
    units: int
    dtype: int
    activation: str
    recurrent_activation: str
    flags: int
    cell: int
    input_dropout: int
    recurrent_dropout: int
    projection: int
    cell_clip: float
    zoneout_h: float
    zoneout_c: float
    epsilon: float


_layers: dict[tuple[Any, ...], _Layer] = {}
_LAYERS_KEPT = 1024


def _layer(options: tuple[Any, ...]) -> _Layer:
    """Of a call with these _Options; kept, since most calls are like an earlier one."""
    layer = _layers.get(options)
    if layer is None:
        if len(_layers) >= _LAYERS_KEPT:
            _layers.clear()
        given = _Options(*options)._asdict()
        for name in ("activation", "recurrent_activation"):
            given[name] = ACTIVATIONS[given[name]]
        layer = _layers[options] = _Layer(new(_LAYER, given))
    return layer


def forget_layers() -> None:
    """To be called when the instruction set changes: the sizes of buffers depend on it."""
    _layers.clear()


class _Saved:
    """What forward leaves for backward: the buffer, and the struct of arguments that both calls share."""

    __slots__ = ("buffer", "kept", "layer", "normalizes", "packed", "peeps", "return_sequences", "shape", "shared")

    def __init__(
        self, packed: _Packed, layer: _Layer, shape: tuple[int, ...], return_sequences: bool, shared: tuple[Any, ...]
    ) -> None:
        self.packed, self.layer, self.shape, self.return_sequences = packed, layer, shape, return_sequences
        self.shared = shared
        self.peeps = self.normalizes = False
        self.kept: Any = None  # what `shared` points to lives as long as this
        self.buffer: Array | None = pool.take(layer.saved)


def lstm_pack(
    kernel: Array,
    recurrent: Array,
    bias: Array | None,
    training: bool = False,
    gate_recurrence: Array | None = None,
    projection: Array | None = None,
) -> Any:
    """See `reference.lstm_pack`."""
    return _Packed(_LSTM, kernel, recurrent, bias, training, False, gate_recurrence, projection)


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


class _Call(NamedTuple):
    """A call of the library, its arguments checked."""

    function: str
    layer: Any
    kind: Any  # _FORWARD or _BACKWARD
    args: tuple[Any, ...]  # of the struct, in two parts: the workspace comes between them
    rest: tuple[Any, ...]
    workspace: int
    kept: Any  # what the arguments point to lives as long as this
    result: Any
    used_up: Array | None = None  # goes back to the pool after the call


class _Collected(threading.local):
    """The calls that the calling thread wants to run together; None where each runs by itself."""

    calls: list[_Call] | None = None


_collected = _Collected()
_forward_entry = lib.fusedlstm_rnn_forward


def _run(call: _Call) -> Any:
    """Runs a call, or leaves it to `recurrent_together`."""
    if _collected.calls is not None:
        _collected.calls.append(call)
        return call.result
    entry = lib.fusedlstm_rnn_forward if call.kind is _FORWARD else lib.fusedlstm_rnn_backward
    slot = error_slot()
    status = entry(call.layer, new(call.kind, (*call.args, scratch.get(call.workspace), *call.rest)), slot)
    if status:
        refuse(call.function, status, slot)
    if call.used_up is not None:
        pool.give(call.used_up)
    return call.result


def recurrent_together(calls: Sequence[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> list[Any]:
    """See `reference.recurrent_together`."""
    _collected.calls = []
    try:
        results = [globals()[name](*args, **options) for name, args, options in calls]
    finally:
        collected, _collected.calls = _collected.calls, None
    structs, workspaces = [], []
    for call in collected:
        workspaces.append(pool.take(call.workspace))
        structs.append(new(call.kind, (*call.args, from_buffer(workspaces[-1]), *call.rest)))
    slot, which = error_slot(), new("int *")
    entry = lib.fusedlstm_rnn_forward_together
    if collected and collected[0].kind is _BACKWARD:
        entry = lib.fusedlstm_rnn_backward_together
    status = entry(len(collected), [call.layer for call in collected], structs, which, slot)
    if status:
        refuse(collected[which[0]].function, status, slot)
    for buffer in (*workspaces, *(call.used_up for call in collected if call.used_up is not None)):
        pool.give(buffer)
    return results


class _Stream(Stream):
    """A `Stream` on a struct that is made once: the library reads and writes the same arrays at every step."""

    def __init__(self, label: str, forward: Any, packed: Any, x: Array, states: dict[str, Array], options: Any) -> None:
        super().__init__(label, forward, packed, x, states, options)
        _collected.calls = []
        try:
            forward(x, packed, **states, **options)
        finally:
            collected, _collected.calls = _collected.calls, None
        self._call = collected[0]
        self._inputs, self._shape, self._dtype = x[:, 0], (x.shape[0], x.shape[2]), x.dtype
        self._y, *after, _ = self._call.result
        for name, state, buffer in zip(states, list(states.values()), after, strict=True):
            buffer[...] = state
            self._states[name] = buffer
        self._workspace = aligned_buffer(self._call.workspace)
        args = (*self._call.args, from_buffer(self._workspace), *self._call.rest)
        self._struct, self._slot = new(_FORWARD, args), new("const char **")
        self._struct.h0, self._struct.c0, self._struct.g0 = self._struct.h, self._struct.c, self._struct.g

    def __call__(self, x: Array) -> Array:
        if type(x) is not np.ndarray or x.shape != self._shape or x.dtype != self._dtype:
            self._checked(x)
        self._inputs[...] = x
        status = _forward_entry(self._call.layer, self._struct, self._slot)
        if status:
            refuse(self._call.function, status, self._slot)
        return self._y.copy()


def recurrent_stream(name: str, label: str, packed: Any, x: Array, states: dict[str, Array], **options: Any) -> Stream:
    """See `reference.recurrent_stream`."""
    return _Stream(label, globals()[name], packed, np.ascontiguousarray(x), states, options)


def _bytes(array: Array | None) -> Any:
    return NULL if array is None else ffi.cast("uint8_t *", array.ctypes.data)


def _zoneout(function: str, name: str, mask: Array | None, shape: tuple[int, ...]) -> Array | None:
    """A zoneout mask (T,B,N)."""
    if mask is None:
        return None
    check(function, name, mask, shape, np.bool_)
    return contiguous(mask)


#: Of a call without: peepholes, normalization, masks of zoneout; c0, g0; cell_clip, zoneout_h, zoneout_c, epsilon.
_NO_ARRAYS: tuple[Any, ...] = (None, None, None, None)
_NO_NUMBERS = (0.0, 0.0, 0.0, 0.0)


def _forward(
    cell: int,
    x: Array,
    packed: _Packed,
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
    numbers: tuple[float, ...] = _NO_NUMBERS,
    flags: int = 0,
) -> tuple[Any, ...]:
    """y, the final states and what is saved for backward, of any of the recurrent layers."""
    function = _FUNCTIONS[cell][0]
    if type(packed) is not _Packed or packed.cell != cell:
        raise TypeError(f"{function}: expected packed weights from {_CELLS[cell]}_pack of this backend")
    inputs, units, outputs, dtype = packed.inputs, packed.units, packed.outputs, packed.dtype
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
    if training and not packed.training:
        raise ValueError(f"{function}: expected weights packed with training=True for training=True")
    sets_of_inputs = sets_of_state = 0
    if input_dropout is not None:
        input_dropout = _dropout(function, "input_dropout", input_dropout, (batch, inputs), packed)
        sets_of_inputs = len(input_dropout)  # type: ignore[arg-type]
    if recurrent_dropout is not None:
        recurrent_dropout = _dropout(function, "recurrent_dropout", recurrent_dropout, (batch, outputs), packed)
        sets_of_state = len(recurrent_dropout)  # type: ignore[arg-type]
    flags |= packed.flags
    if g0 is not None:
        if not flags & _GATE_RECURRENCE:
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
            flags |= _LAYER_NORM
    if training:
        flags |= _TRAINING
    if not return_sequences:
        flags |= _LAST_STEP
    if zero_output_for_mask:
        flags |= _ZERO_OUTPUT
    layer = _layer(
        (
            batch, steps, inputs, units, packed.code, activation, recurrent_activation, flags, cell,
            sets_of_inputs, sets_of_state, packed.projection, *numbers,
        )
    )  # fmt: skip
    peepholes, normalization, zoneout_h, zoneout_c = arrays
    shared = (
        pointer(x), _bytes(mask), packed.pointer, pointer(input_dropout), pointer(recurrent_dropout),
        pointer(peepholes), pointer(normalization), _bytes(zoneout_h), _bytes(zoneout_c),
        *_strides(x), *_strides(mask),
    )  # fmt: skip
    y = np.empty((batch, steps, outputs) if return_sequences else (batch, outputs), dtype)
    states = [np.empty((batch, outputs), dtype)]
    if cell == _LSTM:
        states.append(np.empty((batch, units), dtype))
    if flags & _GATE_RECURRENCE:
        states.append(np.empty((batch, 3 * units), dtype))
    pointers = [from_buffer(state) for state in states]
    saved, buffer = None, NULL
    kept = (x, mask, packed, input_dropout, recurrent_dropout, arrays)
    if training:
        saved = _Saved(packed, layer, x.shape, return_sequences, shared)
        saved.kept, saved.peeps, saved.normalizes = kept, peepholes is not None, normalization is not None
        buffer = from_buffer(saved.buffer)
    args = (
        shared, pointer(h0), pointer(c0), pointer(g0), from_buffer(y), *pointers, *_NULLS[len(states) :], buffer
    )  # fmt: skip
    strides = (steps * outputs if return_sequences else outputs, outputs)
    return _run(  # type: ignore[no-any-return]
        _Call(
            function, layer.struct, _FORWARD, args, strides, layer.forward_workspace,
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
    if type(saved) is not _Saved or saved.packed.cell != cell:
        raise TypeError(f"{function}: expected what {_CELLS[cell]}_forward of this backend saved")
    if saved.buffer is None:
        raise ValueError(
            f"{function}: expected saved activations of a forward call, got those of a call that backward has already "
            "been run for"
        )
    packed, layer = saved.packed, saved.layer
    units, outputs, dtype = packed.units, packed.outputs, packed.dtype
    batch, steps, inputs = saved.shape
    recurs = packed.flags & _GATE_RECURRENCE
    if d_y is not None:
        shape = (batch, steps, outputs) if saved.return_sequences else (batch, outputs)
        check(function, "d_y", d_y, shape, dtype)
        d_y = rows_contiguous(d_y)
    d_h = optional(function, "d_h", d_h, (batch, outputs), dtype)
    d_c = optional(function, "d_c", d_c, (batch, units), dtype)
    if d_g is not None and not recurs:
        raise ValueError(f"{function}: expected d_g only with weights packed with gate_recurrence")
    d_g = optional(function, "d_g", d_g, (batch, 3 * units), dtype)

    def wanted(yes: Any, *shape: int) -> Array | None:
        return np.empty(shape, dtype) if yes else None

    columns = _GATES[cell] * units
    d = Gradients(
        wanted(need_d_x, batch, steps, inputs),
        np.empty((inputs, columns), dtype),
        np.empty((outputs, columns), dtype),
        np.empty(packed.bias_shape, dtype),
        np.empty((batch, outputs), dtype),
        wanted(cell == _LSTM, batch, units),
        wanted(recurs, batch, 3 * units),
        wanted(saved.peeps, 3, units),
        wanted(recurs, 3 * units, 3 * units),
        wanted(packed.projection, units, outputs),
        wanted(saved.normalizes, 10, units),
    )
    args = (
        saved.shared, from_buffer(saved.buffer), pointer(d_y), pointer(d_h), pointer(d_c), pointer(d_g),
        *map(pointer, d),
    )  # fmt: skip
    strides = (*_strides(d_y), steps * inputs, inputs)
    buffer, saved.buffer = saved.buffer, None
    kept = saved.kept, d_y, d_h, d_c, d_g
    return _run(  # type: ignore[no-any-return]
        _Call(function, layer.struct, _BACKWARD, args, strides, layer.backward_workspace, kept, d, buffer)
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
    if all(array is None for array in arrays):
        arrays = _NO_ARRAYS
    return _forward(
        _LSTM, x, packed, h0, mask, activation, recurrent_activation, return_sequences, zero_output_for_mask,
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
    return _backward(_LSTM, saved, d_y, need_d_x, d_h, d_c, d_g)


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
        _GRU, x, packed, h0, mask, activation, recurrent_activation, return_sequences, zero_output_for_mask,
        training, input_dropout, recurrent_dropout,
    )  # fmt: skip


def gru_backward(saved: Any, d_y: Array | None, d_h: Array | None = None, *, need_d_x: bool = True) -> Gradients:
    """See `reference.gru_backward`."""
    return _backward(_GRU, saved, d_y, need_d_x, d_h)


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
        _SIMPLE_RNN, x, packed, h0, mask, activation, "sigmoid", return_sequences, zero_output_for_mask,
        training, input_dropout, recurrent_dropout,
    )  # fmt: skip


def simple_rnn_backward(saved: Any, d_y: Array | None, d_h: Array | None = None, *, need_d_x: bool = True) -> Gradients:
    """See `reference.simple_rnn_backward`."""
    return _backward(_SIMPLE_RNN, saved, d_y, need_d_x, d_h)
