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
from fusedlstm.backends.reference_recurrent import Gradients

_LAYER, _WEIGHTS = ffi.typeof("struct fusedlstm_rnn *"), ffi.typeof("struct fusedlstm_rnn_weights *")
_FORWARD, _BACKWARD = ffi.typeof("struct fusedlstm_rnn_forward *"), ffi.typeof("struct fusedlstm_rnn_backward *")
_TRAINING, _LAST_STEP = lib.FUSEDLSTM_TRAINING, lib.FUSEDLSTM_LAST_STEP
_ZERO_OUTPUT, _RESET_AFTER = lib.FUSEDLSTM_ZERO_OUTPUT_FOR_MASK, lib.FUSEDLSTM_RESET_AFTER
_GATE_RECURRENCE, _LAYER_NORM = lib.FUSEDLSTM_FULL_GATE_RECURRENCE, lib.FUSEDLSTM_LAYER_NORM
_LSTM, _GRU, _SIMPLE_RNN = lib.FUSEDLSTM_LSTM, lib.FUSEDLSTM_GRU, lib.FUSEDLSTM_SIMPLE_RNN
_CELLS = {_LSTM: "lstm", _GRU: "gru", _SIMPLE_RNN: "simple_rnn"}
_GATES = {_LSTM: 4, _GRU: 3, _SIMPLE_RNN: 1}
_REMOVED = {
    name: getattr(lib, f"FUSEDLSTM_NO_{name.upper()}")
    for name in ("input_gate", "forget_gate", "output_gate", "input_activation", "output_activation")
}


class _Packed:
    """Packed weights: `buffer` as csrc/kernels/recurrent_layout.inc lays it out."""

    __slots__ = (
        "bias_shape", "buffer", "cell", "code", "dtype", "flags", "inputs", "outputs", "projection", "training", "units"
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
        layer = _layer(_Options(*sizes, "tanh", "sigmoid", flags, cell, projection=self.projection))
        self.buffer = pool.take(layer.packed)
        arrays = (kernel, recurrent, bias, gate_recurrence, projection)
        weights = new(_WEIGHTS, tuple(pointer(array) for array in arrays))
        slot = error_slot()
        status = lib.fusedlstm_rnn_pack(layer.struct, weights, from_buffer(self.buffer), slot)
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


class _Options(NamedTuple):
    """What a struct fusedlstm_rnn is made from; the key under which it is kept."""

    batch: int
    steps: int
    inputs: int
    units: int
    dtype: int
    activation: str
    recurrent_activation: str
    flags: int
    cell: int
    input_dropout: int = 0
    recurrent_dropout: int = 0
    projection: int = 0
    cell_clip: float = 0.0
    zoneout_h: float = 0.0
    zoneout_c: float = 0.0
    epsilon: float = 0.0


_layers: dict[_Options, _Layer] = {}
_LAYERS_KEPT = 1024


def _layer(options: _Options) -> _Layer:
    """Of a call with these sizes and options; kept, since most calls are like an earlier one."""
    layer = _layers.get(options)
    if layer is None:
        if len(_layers) >= _LAYERS_KEPT:
            _layers.clear()
        given = options._asdict()
        for name in ("activation", "recurrent_activation"):
            given[name] = ACTIVATIONS[given[name]]
        layer = _layers[options] = _Layer(new(_LAYER, given))
    return layer


def forget_layers() -> None:
    """To be called when the instruction set changes: the sizes of buffers depend on it."""
    _layers.clear()


class _Shared(NamedTuple):
    """Arguments of a forward call that its backward call gets too."""

    x: Array
    mask: Array | None
    input_dropout: Array | None
    recurrent_dropout: Array | None
    peepholes: Array | None
    normalization: Array | None
    zoneout_h: Array | None
    zoneout_c: Array | None

    def fields(self) -> dict[str, Any]:
        """Those of both structs."""
        bytes_of = {
            name: NULL if array is None else ffi.cast("uint8_t *", array.ctypes.data)
            for name, array in (("mask", self.mask), ("zoneout_h", self.zoneout_h), ("zoneout_c", self.zoneout_c))
        }
        x_batch_stride, x_step_stride = _strides(self.x)
        mask_batch_stride, mask_step_stride = _strides(self.mask)
        return {
            "x": pointer(self.x),
            "x_batch_stride": x_batch_stride,
            "x_step_stride": x_step_stride,
            "mask_batch_stride": mask_batch_stride,
            "mask_step_stride": mask_step_stride,
            "input_dropout": pointer(self.input_dropout),
            "recurrent_dropout": pointer(self.recurrent_dropout),
            "peepholes": pointer(self.peepholes),
            "normalization": pointer(self.normalization),
            **bytes_of,
        }


class _Saved:
    """What forward leaves for backward: the buffer, and the arguments that both calls share."""

    __slots__ = ("buffer", "layer", "packed", "return_sequences", "shared")

    def __init__(self, packed: _Packed, layer: _Layer, return_sequences: bool, shared: _Shared) -> None:
        self.packed, self.layer, self.return_sequences, self.shared = packed, layer, return_sequences, shared
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
    args: dict[str, Any]  # of the struct, but for the workspace
    workspace: int
    inputs: Any  # what the arguments point to lives as long as this
    result: Any
    used_up: Array | None = None  # goes back to the pool after the call


class _Collected(threading.local):
    """The calls that the calling thread wants to run together; None where each runs by itself."""

    calls: list[_Call] | None = None


_collected = _Collected()


def _run(call: _Call) -> Any:
    """Runs a call, or leaves it to `recurrent_together`."""
    if _collected.calls is not None:
        _collected.calls.append(call)
        return call.result
    call.args["workspace"] = scratch.get(call.workspace)
    entry = lib.fusedlstm_rnn_forward if call.kind is _FORWARD else lib.fusedlstm_rnn_backward
    slot = error_slot()
    status = entry(call.layer, new(call.kind, call.args), slot)
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
        call.args["workspace"] = from_buffer(workspaces[-1])
        structs.append(new(call.kind, call.args))
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


def _zoneout(function: str, name: str, mask: Array | None, shape: tuple[int, ...]) -> Array | None:
    """A zoneout mask (T,B,N)."""
    if mask is None:
        return None
    check(function, name, mask, shape, np.bool_)
    return contiguous(mask)


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
    *,
    c0: Array | None = None,
    g0: Array | None = None,
    peepholes: Array | None = None,
    normalization: Array | None = None,
    zoneout_h_mask: Array | None = None,
    zoneout_c_mask: Array | None = None,
    flags: int = 0,
    **numbers: Any,
) -> tuple[Any, ...]:
    """y, the final states and what is saved for backward, of any of the recurrent layers; `numbers` are of _Options."""
    function = f"{_CELLS[cell]}_forward"
    if type(packed) is not _Packed or packed.cell != cell:
        raise TypeError(f"{function}: expected packed weights from {_CELLS[cell]}_pack of this backend")
    if x.ndim != 3:
        raise ValueError(f"{function}: expected x (batch, steps, {packed.inputs}), got {x.shape}")
    batch, steps, _ = x.shape
    inputs, units, outputs, dtype = packed.inputs, packed.units, packed.outputs, packed.dtype
    check(function, "x", x, (batch, steps, inputs), dtype)
    x = rows_contiguous(x)
    h0 = optional(function, "h0", h0, (batch, outputs), dtype)
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
    if normalization is not None:
        normalization = optional(function, "normalization", normalization, (10, units), dtype)
        flags |= _LAYER_NORM
    shared = _Shared(
        x,
        mask,
        input_dropout,
        recurrent_dropout,
        optional(function, "peepholes", peepholes, (3, units), dtype),
        normalization,
        _zoneout(function, "zoneout_h_mask", zoneout_h_mask, (steps, batch, outputs)),
        _zoneout(function, "zoneout_c_mask", zoneout_c_mask, (steps, batch, units)),
    )
    if training:
        flags |= _TRAINING
    if not return_sequences:
        flags |= _LAST_STEP
    if zero_output_for_mask:
        flags |= _ZERO_OUTPUT
    sizes = (batch, steps, inputs, units, packed.code)
    sets = (sets_of_inputs, sets_of_state)
    layer = _layer(_Options(*sizes, activation, recurrent_activation, flags, cell, *sets, packed.projection, **numbers))
    y = np.empty((batch, steps, outputs) if return_sequences else (batch, outputs), dtype)
    states = {"h": np.empty((batch, outputs), dtype)}
    if cell == _LSTM:
        states["c"] = np.empty((batch, units), dtype)
    if flags & _GATE_RECURRENCE:
        states["g"] = np.empty((batch, 3 * units), dtype)
    saved = _Saved(packed, layer, return_sequences, shared) if training else None
    args = shared.fields()
    args |= {name: from_buffer(state) for name, state in states.items()}
    args |= {
        "h0": pointer(h0),
        "c0": pointer(c0),
        "g0": pointer(g0),
        "packed": from_buffer(packed.buffer),
        "y": from_buffer(y),
        "y_batch_stride": steps * outputs if return_sequences else outputs,
        "y_step_stride": outputs,
        "saved": NULL if saved is None else from_buffer(saved.buffer),
    }
    inputs_kept = shared, h0, c0, g0, packed
    return _run(
        _Call(
            function, layer.struct, _FORWARD, args, layer.forward_workspace, inputs_kept, (y, *states.values(), saved)
        )
    )  # type: ignore[no-any-return]


def _backward(cell: int, saved: _Saved, d_y: Array | None, need_d_x: bool, **d_states: Array | None) -> Gradients:
    """All gradients; `d_states` are d_h, and of an LSTM d_c and d_g."""
    function = f"{_CELLS[cell]}_backward"
    if type(saved) is not _Saved or saved.packed.cell != cell:
        raise TypeError(f"{function}: expected what {_CELLS[cell]}_forward of this backend saved")
    if saved.buffer is None:
        raise ValueError(
            f"{function}: expected saved activations of a forward call, got those of a call that backward has already "
            "been run for"
        )
    shared, packed = saved.shared, saved.packed
    units, outputs, dtype = packed.units, packed.outputs, packed.dtype
    batch, steps, inputs = shared.x.shape
    if d_y is not None:
        shape = (batch, steps, outputs) if saved.return_sequences else (batch, outputs)
        check(function, "d_y", d_y, shape, dtype)
        d_y = rows_contiguous(d_y)
    shapes = {"d_h": (batch, outputs), "d_c": (batch, units), "d_g": (batch, 3 * units)}
    for name, d_state in d_states.items():
        d_states[name] = optional(function, name, d_state, shapes[name], dtype)

    columns = _GATES[cell] * units
    d: dict[str, Any] = {
        "d_x": np.empty((batch, steps, inputs), dtype) if need_d_x else None,
        "d_kernel": np.empty((inputs, columns), dtype),
        "d_recurrent": np.empty((outputs, columns), dtype),
        "d_bias": np.empty(packed.bias_shape, dtype),
        "d_h0": np.empty((batch, outputs), dtype),
    }
    if cell == _LSTM:
        d["d_c0"] = np.empty((batch, units), dtype)
    if packed.flags & _GATE_RECURRENCE:
        d["d_g0"] = np.empty((batch, 3 * units), dtype)
        d["d_gate_recurrence"] = np.empty((3 * units, 3 * units), dtype)
    elif d_states.get("d_g") is not None:
        raise ValueError(f"{function}: expected d_g only with weights packed with gate_recurrence")
    if packed.projection:
        d["d_projection"] = np.empty((units, outputs), dtype)
    for name in ("peepholes", "normalization"):
        weights = getattr(shared, name)
        if weights is not None:
            d[f"d_{name}"] = np.empty(weights.shape, dtype)
    args = shared.fields()
    args |= {name: pointer(array) for name, array in (d | d_states).items()}
    args["d_y"] = pointer(d_y)
    args["d_y_batch_stride"], args["d_y_step_stride"] = _strides(d_y)
    args["d_x_batch_stride"], args["d_x_step_stride"] = steps * inputs, inputs
    args["packed"], args["saved"] = from_buffer(packed.buffer), from_buffer(saved.buffer)
    buffer, saved.buffer = saved.buffer, None
    layer = saved.layer
    inputs_kept = shared, d_y, d_states, packed
    call = _Call(
        function, layer.struct, _BACKWARD, args, layer.backward_workspace, inputs_kept, Gradients(**d), used_up=buffer
    )
    return _run(call)  # type: ignore[no-any-return]


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
    return _forward(
        _LSTM, x, packed, h0, mask, activation, recurrent_activation, return_sequences, zero_output_for_mask,
        training, input_dropout, recurrent_dropout, c0=c0, g0=g0, peepholes=peepholes, normalization=normalization,
        zoneout_h_mask=zoneout_h_mask, zoneout_c_mask=zoneout_c_mask, flags=flags,
        cell_clip=cell_clip, zoneout_h=zoneout_h, zoneout_c=zoneout_c, epsilon=epsilon,
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
    return _backward(_LSTM, saved, d_y, need_d_x, d_h=d_h, d_c=d_c, d_g=d_g)


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
    return _backward(_GRU, saved, d_y, need_d_x, d_h=d_h)


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
    return _backward(_SIMPLE_RNN, saved, d_y, need_d_x, d_h=d_h)
