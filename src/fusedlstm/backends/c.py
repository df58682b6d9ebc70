"""The kernels in C: `reference`'s functions with the same signatures, on float32 and float64 arrays.

Only this module imports the binding. It checks what C cannot know, the shapes and dtypes behind the pointers; all else
is checked by the library (csrc/api.c), whose refusals become exceptions here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fusedlstm._binding import ffi, lib

Array = NDArray[Any]

_DTYPES = {np.dtype(np.float32): lib.FUSEDLSTM_FLOAT32, np.dtype(np.float64): lib.FUSEDLSTM_FLOAT64}
_ACTIVATIONS = {
    name: getattr(lib, f"FUSEDLSTM_{name.upper()}")
    for name in ("linear", "tanh", "sigmoid", "relu", "hard_sigmoid", "softsign", "elu", "softplus", "exp")
}
_NULL = ffi.NULL
# Looked up once: a small call is mostly the making of its arguments.
_new, _from_buffer = ffi.new, ffi.from_buffer
_LAYER, _UPDATE = ffi.typeof("struct fusedlstm_rnn *"), ffi.typeof("struct fusedlstm_update *")
_FORWARD, _BACKWARD = ffi.typeof("struct fusedlstm_rnn_forward *"), ffi.typeof("struct fusedlstm_rnn_backward *")
_MATMUL = ffi.typeof("struct fusedlstm_matmul *")


# The machine.

#: Grows whenever packed weights made before become unusable.
generation = 0


def get_isa() -> str:
    """Name of the instruction set in use: "v2", "v3", "v4" (x86-64 levels), "neon" or "generic"."""
    return str(ffi.string(lib.fusedlstm_isa()).decode())


def available_isas() -> list[str]:
    """Names of the instruction sets that this machine can run, best first."""
    names: list[str] = []
    while (name := lib.fusedlstm_available_isa(len(names))) != _NULL:
        names.append(ffi.string(name).decode())
    return names


def set_isa(isa: str | None) -> None:
    """Use the kernels of one instruction set; None: the best that this machine has.

    Raises
    ------
    ValueError
        If this machine cannot run it; the current one stays.
    """
    global generation
    if lib.fusedlstm_set_isa(_NULL if isa is None else isa.encode()) != lib.FUSEDLSTM_OK:
        raise ValueError(f"set_isa: expected one of {available_isas()}, got {isa!r}")
    generation += 1


def get_num_threads() -> int:
    """How many threads a call may use."""
    return int(lib.fusedlstm_num_threads())


def set_num_threads(threads: int) -> None:
    """Let calls use so many threads, 1 to 1024; 0: the default.

    The default is ``FUSEDLSTM_NUM_THREADS``, else the smaller of the CPUs in the affinity mask and the cgroup's quota.
    Results do not depend on it.
    """
    if not 0 <= threads <= 1024:
        raise ValueError(f"set_num_threads: expected 0 ... 1024, got {threads}")
    lib.fusedlstm_set_num_threads(threads)


if (_wanted := os.environ.get("FUSEDLSTM_ISA")) and _wanted != get_isa():
    raise RuntimeError(f"FUSEDLSTM_ISA={_wanted!r}: expected one of {available_isas()}, which this machine can run")


# Memory and arguments.

_ALIGNMENT = 64


def _buffer(size: int) -> Array:
    """An uninitialised byte array of at least `size` bytes whose address is a multiple of 64."""
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    offset = -raw.ctypes.data % _ALIGNMENT
    return raw[offset : offset + max(size, 1)]


class _Scratch(threading.local):
    """The calling thread's workspace, kept between calls: fresh memory would cost a page fault every 4 KB."""

    def __init__(self) -> None:
        self.buffer = _buffer(0)

    def get(self, size: int) -> Any:
        if self.buffer.size < size:
            self.buffer = _buffer(size)
        return ffi.from_buffer(self.buffer)


_scratch = _Scratch()


class _Pool(threading.local):
    """Buffers of packed weights and saved activations that are no longer in use, for the next ones like them.

    Fresh memory would cost more than filling it. One pool a thread: no lock that a fork could leave locked.
    """

    def __init__(self, most: int = 16) -> None:
        self._free: list[Array] = []
        self._most = most

    def take(self, size: int) -> Array:
        for k in reversed(range(len(self._free))):  # the latest first: it may still be in a cache
            if size <= self._free[k].size <= 2 * size:
                return self._free.pop(k)
        return _buffer(size)

    def give(self, buffer: Array) -> None:
        self._free.append(buffer)
        if len(self._free) > self._most:
            self._free.pop(0)


_pool = _Pool()
_error = threading.local()


def _error_slot() -> Any:
    """Where C stores the name of a refused argument; one a thread."""
    try:
        return _error.slot
    except AttributeError:
        _error.slot = ffi.new("const char **")
        return _error.slot


def _refuse(function: str, status: int, slot: Any) -> NoReturn:
    argument = ffi.string(slot[0]).decode() if slot[0] != _NULL else "?"
    if status == lib.FUSEDLSTM_NO_ISA:
        raise RuntimeError(f"{function}: this CPU lacks what the C backend needs (x86-64-v2); use another backend")
    raise ValueError(f"{function}: argument {argument!r} is out of its domain")


def _contiguous(array: Array) -> Array:
    """The array itself if it is C-contiguous and its elements are aligned, else a copy."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else array.copy(order="C")


def _dtype_of(function: str, name: str, array: Array) -> int:
    code = _DTYPES.get(array.dtype)
    if code is None:
        raise TypeError(f"{function}: expected {name} of dtype float32 or float64, got {array.dtype}")
    return int(code)


def _check(function: str, name: str, array: Array, shape: tuple[int, ...], dtype: Any) -> None:
    if array.shape != shape or array.dtype != dtype:
        expected = f"{shape} of {np.dtype(dtype)}"
        raise ValueError(f"{function}: expected {name} {expected}, got {array.shape} of {array.dtype}")


def _optional(function: str, name: str, array: Array | None, shape: tuple[int, ...], dtype: Any) -> Array | None:
    """A C-contiguous array of this shape and dtype, or None."""
    if array is None:
        return None
    _check(function, name, array, shape, dtype)
    return _contiguous(array)


def _pointer(array: Array | None) -> Any:
    """To the first element; the array must outlive the call."""
    if array is None:
        return _NULL
    try:
        return _from_buffer(array)
    except ValueError:  # not contiguous
        return ffi.cast("void *", array.ctypes.data)


def _rows_contiguous(array: Array) -> Array:
    """The array itself if its last axis is contiguous and its elements are aligned, else a copy."""
    together = array.shape[-1] <= 1 or array.strides[-1] == array.itemsize
    return array if together and _whole_strides(array) else array.copy(order="C")


def _whole_strides(array: Array) -> bool:
    """Whether every element can be addressed by strides counted in elements."""
    return array.flags.aligned and not any(stride % array.itemsize for stride in array.strides)


# The recurrent layers.

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
        self.cell, self.code = cell, _dtype_of(function, "kernel", kernel)
        self.dtype, self.training = kernel.dtype, training
        self.flags = _RESET_AFTER if reset_after else 0
        self.units = recurrent.shape[0] if recurrent.ndim == 2 else 0
        self.inputs = kernel.shape[0] if kernel.ndim == 2 else 0
        columns = _GATES[cell] * self.units
        self.bias_shape = (2, columns) if reset_after else (columns,)
        _check(function, "kernel", kernel, (self.inputs, columns), self.dtype)
        _check(function, "recurrent", recurrent, (self.units, columns), self.dtype)
        kernel, recurrent = _contiguous(kernel), _contiguous(recurrent)
        bias = _optional(function, "bias", bias, self.bias_shape, self.dtype)
        flags = self.flags | (_TRAINING if training else 0)
        layer = _layer((0, 0, self.inputs, self.units, self.code, "tanh", "sigmoid", flags, cell, 0, 0, 0.0))
        self.buffer = _pool.take(layer.packed)
        slot = _error_slot()
        status = lib.fusedlstm_rnn_pack(
            layer.struct, _pointer(kernel), _pointer(recurrent), _pointer(bias), _from_buffer(self.buffer), slot
        )
        if status:
            _refuse(function, status, slot)

    def __del__(self) -> None:
        buffer = getattr(self, "buffer", None)  # not there if a check in __init__ failed
        if buffer is not None:
            _pool.give(buffer)


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
    key = (generation, options)
    layer = _layers.get(key)
    if layer is None:
        if len(_layers) >= _LAYERS_KEPT:
            _layers.clear()
        *sizes, activation, recurrent_activation, flags, cell, inputs, recurrent, clip = options
        numbers = (
            _ACTIVATIONS[activation],
            _ACTIVATIONS[recurrent_activation],
            flags,
            cell,
            0,
            inputs,
            recurrent,
            clip,
        )
        layer = _layers[key] = _Layer(_new(_LAYER, (*sizes, *numbers)))
    return layer


class _Saved:
    """What forward leaves for backward: the buffer, and the arguments that both calls share."""

    __slots__ = ("buffer", "dropout", "layer", "mask", "packed", "peepholes", "return_sequences", "x")

    def __init__(self, x: Array, packed: _Packed, mask: Array | None, layer: _Layer, return_sequences: bool) -> None:
        self.x, self.packed, self.mask, self.layer = x, packed, mask, layer
        self.buffer: Array | None = _pool.take(layer.saved)
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
    return _optional(function, name, masks, (sets, *rows), packed.dtype)


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
    _check(function, "x", x, (batch, steps, inputs), dtype)
    x = _rows_contiguous(x)
    h0 = _optional(function, "h0", h0, (batch, units), dtype)
    c0 = _optional(function, "c0", c0, (batch, units), dtype)
    if mask is not None:
        _check(function, "mask", mask, (batch, steps), np.bool_)
    if training and not packed.training:
        raise ValueError(f"{function}: expected weights packed with training=True for training=True")
    sets_of_inputs = sets_of_state = 0
    if input_dropout is not None:
        input_dropout = _dropout(function, "input_dropout", input_dropout, (batch, inputs), packed)
        sets_of_inputs = len(input_dropout)  # type: ignore[arg-type]
    if recurrent_dropout is not None:
        recurrent_dropout = _dropout(function, "recurrent_dropout", recurrent_dropout, (batch, units), packed)
        sets_of_state = len(recurrent_dropout)  # type: ignore[arg-type]
    peepholes = _optional(function, "peepholes", peepholes, (3, units), dtype)

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
    saved, buffer = None, _NULL
    if training:
        saved = _Saved(x, packed, mask, layer, return_sequences)
        saved.dropout, saved.peepholes = (input_dropout, recurrent_dropout), peepholes
        buffer = _from_buffer(saved.buffer)
    args = _new(
        _FORWARD,
        (
            _pointer(x),
            _NULL if mask is None else ffi.cast("uint8_t *", mask.ctypes.data),
            _pointer(h0),
            _pointer(c0),
            _from_buffer(packed.buffer),
            _from_buffer(y),
            _from_buffer(h),
            _pointer(c),
            buffer,
            _scratch.get(layer.forward_workspace),
            *_strides(x),
            *_strides(mask),
            steps * units if return_sequences else units,
            units,
            _pointer(input_dropout),
            _pointer(recurrent_dropout),
            _pointer(peepholes),
        ),
    )
    slot = _error_slot()
    status = lib.fusedlstm_rnn_forward(layer.struct, args, slot)
    if status:
        _refuse(function, status, slot)
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
        _check(function, "d_y", d_y, shape, dtype)
        d_y = _rows_contiguous(d_y)
    d_h = _optional(function, "d_h", d_h, (batch, units), dtype)
    d_c = _optional(function, "d_c", d_c, (batch, units), dtype)

    columns = _GATES[cell] * units
    d_x = np.empty((batch, steps, inputs), dtype) if need_d_x else None
    d_kernel, d_recurrent = np.empty((inputs, columns), dtype), np.empty((units, columns), dtype)
    d_bias, d_h0 = np.empty(packed.bias_shape, dtype), np.empty((batch, units), dtype)
    d_c0 = np.empty((batch, units), dtype) if cell == _LSTM else None
    d_peepholes = None if peepholes is None else np.empty((3, units), dtype)
    args = _new(
        _BACKWARD,
        (
            _pointer(x),
            _NULL if saved.mask is None else ffi.cast("uint8_t *", saved.mask.ctypes.data),
            _from_buffer(packed.buffer),
            _from_buffer(saved.buffer),
            _pointer(d_y),
            _pointer(d_h),
            _pointer(d_c),
            _pointer(d_x),
            _from_buffer(d_kernel),
            _from_buffer(d_recurrent),
            _from_buffer(d_bias),
            _from_buffer(d_h0),
            _pointer(d_c0),
            _scratch.get(saved.layer.backward_workspace),
            *_strides(x),
            *_strides(saved.mask),
            *_strides(d_y),
            steps * inputs,
            inputs,
            _pointer(saved.dropout[0]),
            _pointer(saved.dropout[1]),
            _pointer(peepholes),
            _pointer(d_peepholes),
        ),
    )
    slot = _error_slot()
    status = lib.fusedlstm_rnn_backward(saved.layer.struct, args, slot)
    if status:
        _refuse(function, status, slot)
    _pool.give(saved.buffer)
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


# Around the layer.


def matmul(a: Array, b: Array, bias: Array | None = None, out: Array | None = None, accumulate: bool = False) -> Array:
    """See `reference.matmul`."""
    code = _dtype_of("matmul", "a", a)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"matmul: expected a (rows, inner) and b (inner, columns), got {a.shape} and {b.shape}")
    (rows, inner), columns, size = a.shape, b.shape[1], a.itemsize
    _check("matmul", "b", b, (inner, columns), a.dtype)
    bias = _optional("matmul", "bias", bias, (columns,), a.dtype)
    if out is None:
        if accumulate:
            raise ValueError("matmul: expected out with accumulate=True, got None")
        out = np.empty((rows, columns), a.dtype)
    else:
        _check("matmul", "out", out, (rows, columns), a.dtype)
    a = a if _whole_strides(a) else a.copy(order="C")
    b = b if _whole_strides(b) else b.copy(order="C")
    result = _contiguous(out)
    args = _new(
        _MATMUL,
        (
            rows,
            inner,
            columns,
            code,
            accumulate,
            0,
            _pointer(a),
            _pointer(b),
            _pointer(bias),
            _from_buffer(result),
            a.strides[0] // size,
            a.strides[1] // size,
            b.strides[0] // size,
            b.strides[1] // size,
            columns,
        ),
    )
    args.workspace = _scratch.get(lib.fusedlstm_matmul_workspace_size(args))
    slot = _error_slot()
    status = lib.fusedlstm_matmul(args, slot)
    if status:
        _refuse("matmul", status, slot)
    if result is not out:
        out[...] = result
    return out


def _contiguous_out(function: str, out: Array | None, like: Array) -> Array:
    """Where an elementwise call writes: `out` itself if it can, else a new array."""
    if out is None:
        return np.empty(like.shape, like.dtype)
    _check(function, "out", out, like.shape, like.dtype)
    return out if out.flags.c_contiguous and out.flags.aligned else np.empty(like.shape, like.dtype)


def activation_forward(x: Array, activation: str, out: Array | None = None) -> Array:
    """See `reference.activation_forward`."""
    code, x = _dtype_of("activation_forward", "x", x), _contiguous(x)
    y, slot = _contiguous_out("activation_forward", out, x), _error_slot()
    status = lib.fusedlstm_activation_forward(code, _ACTIVATIONS[activation], x.size, _pointer(x), _pointer(y), slot)
    if status:
        _refuse("activation_forward", status, slot)
    if out is None or y is out:
        return y
    out[...] = y
    return out


def activation_backward(y: Array, d_y: Array, activation: str, out: Array | None = None) -> Array:
    """See `reference.activation_backward`."""
    code, y = _dtype_of("activation_backward", "y", y), _contiguous(y)
    _check("activation_backward", "d_y", d_y, y.shape, y.dtype)
    d_y = _contiguous(d_y)
    d_x, slot = _contiguous_out("activation_backward", out, y), _error_slot()
    status = lib.fusedlstm_activation_backward(
        code, _ACTIVATIONS[activation], y.size, _pointer(y), _pointer(d_y), _pointer(d_x), slot
    )
    if status:
        _refuse("activation_backward", status, slot)
    if out is None or d_x is out:
        return d_x
    out[...] = d_x
    return out


def embedding_gradient(ids: Array, d_out: Array, d_table: Array) -> None:
    """See `reference.embedding_gradient`."""
    code = _dtype_of("embedding_gradient", "d_table", d_table)
    rows, width = d_table.shape
    ids = np.ascontiguousarray(ids, np.int64)
    _check("embedding_gradient", "d_out", d_out, (*ids.shape, width), d_table.dtype)
    d_out = _contiguous(d_out)
    _in_place("embedding_gradient", "d_table", d_table)
    slot = _error_slot()
    pointer = ffi.cast("int64_t *", ids.ctypes.data)
    status = lib.fusedlstm_embedding_gradient(
        code, ids.size, rows, width, pointer, _pointer(d_out), _pointer(d_table), slot
    )
    if status == lib.FUSEDLSTM_INVALID and ffi.string(slot[0]) == b"ids":
        raise IndexError(f"embedding_gradient: expected ids in 0 ... {rows - 1}, got {ids.min()} ... {ids.max()}")
    if status:
        _refuse("embedding_gradient", status, slot)


def _in_place(function: str, name: str, array: Array) -> None:
    """Raise unless the array can be updated where it is."""
    flags = array.flags
    if not (flags.c_contiguous and flags.writeable and flags.aligned):
        raise ValueError(f"{function}: expected {name} contiguous and writeable")


def _update(
    function: str,
    w: Array,
    g: Array,
    state: tuple[tuple[str, Array | None], ...],
    learning_rate: float,
    gradient_scale: float,
    decay: float,
) -> tuple[Any, list[Any]]:
    """The struct fusedlstm_update, which keeps what it points to alive, and pointers to the state."""
    shape, dtype = w.shape, w.dtype
    code = _dtype_of(function, "w", w)
    _check(function, "g", g, shape, dtype)
    _in_place(function, "w", w)
    pointers = []
    for name, array in state:
        if array is None:
            pointers.append(_NULL)
        else:
            _check(function, name, array, shape, dtype)
            _in_place(function, name, array)
            pointers.append(_from_buffer(array))
    g = _contiguous(g)
    pointers += [_from_buffer(w), _from_buffer(g)]
    numbers = (learning_rate, gradient_scale, decay)
    return _new(_UPDATE, (w.size, code, pointers[-2], pointers[-1], *numbers)), pointers


def sgd_update(
    w: Array,
    g: Array,
    velocity: Array | None,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    gradient_scale: float = 1.0,
    decay: float = 0.0,
) -> None:
    """See `reference.sgd_update`."""
    state = (("velocity", velocity),)
    update, pointers = _update("sgd_update", w, g, state, learning_rate, gradient_scale, decay)
    slot = _error_slot()
    momentum = 0.0 if velocity is None else momentum
    status = lib.fusedlstm_sgd_update(update, pointers[0], momentum, nesterov, slot)
    if status:
        _refuse("sgd_update", status, slot)


def rmsprop_update(
    w: Array,
    g: Array,
    mean_square: Array,
    average: Array | None,
    velocity: Array | None,
    *,
    learning_rate: float,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    decay: float = 0.0,
) -> None:
    """See `reference.rmsprop_update`."""
    state = (("mean_square", mean_square), ("average", average), ("velocity", velocity))
    update, pointers = _update("rmsprop_update", w, g, state, learning_rate, gradient_scale, decay)
    slot = _error_slot()
    status = lib.fusedlstm_rmsprop_update(update, *pointers[:3], rho, momentum, epsilon, slot)
    if status:
        _refuse("rmsprop_update", status, slot)


def adam_update(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    v_max: Array | None,
    *,
    learning_rate: float,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    gradient_scale: float = 1.0,
    decay: float = 0.0,
) -> None:
    """See `reference.adam_update`."""
    state = (("m", m), ("v", v), ("v_max", v_max))
    update, pointers = _update("adam_update", w, g, state, learning_rate, gradient_scale, decay)
    slot = _error_slot()
    status = lib.fusedlstm_adam_update(update, *pointers[:3], beta_1, beta_2, epsilon, slot)
    if status:
        _refuse("adam_update", status, slot)
