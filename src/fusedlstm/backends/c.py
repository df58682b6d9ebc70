"""The kernels in C: `reference`'s functions with the same signatures, on float32 and float64 arrays.

Only this module imports the binding. It checks what C cannot know, the shapes and dtypes behind the pointers; all else
is checked by the library (csrc/api.c), whose refusals become exceptions here.
"""

from __future__ import annotations

import os
import threading
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
_LAYER, _UPDATE = ffi.typeof("struct fusedlstm_lstm *"), ffi.typeof("struct fusedlstm_update *")
_FORWARD, _BACKWARD = ffi.typeof("struct fusedlstm_lstm_forward *"), ffi.typeof("struct fusedlstm_lstm_backward *")
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
    if status == lib.FUSEDLSTM_UNSUPPORTED:
        raise ValueError(f"{function}: argument {argument!r} is not supported by the C backend")
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


# The LSTM.


_TRAINING, _LAST_STEP = lib.FUSEDLSTM_TRAINING, lib.FUSEDLSTM_LAST_STEP
_ZERO_OUTPUT = lib.FUSEDLSTM_ZERO_OUTPUT_FOR_MASK


class _Packed:
    """Packed weights: `buffer` as csrc/kernels/lstm_layout.inc lays it out."""

    __slots__ = ("buffer", "code", "dtype", "inputs", "training", "units")

    def __init__(self, kernel: Array, recurrent: Array, bias: Array | None, training: bool) -> None:
        self.code = _dtype_of("lstm_pack", "kernel", kernel)
        self.dtype, self.training = kernel.dtype, training
        self.units = recurrent.shape[0] if recurrent.ndim == 2 else 0
        self.inputs = kernel.shape[0] if kernel.ndim == 2 else 0
        _check("lstm_pack", "kernel", kernel, (self.inputs, 4 * self.units), self.dtype)
        _check("lstm_pack", "recurrent", recurrent, (self.units, 4 * self.units), self.dtype)
        kernel, recurrent = _contiguous(kernel), _contiguous(recurrent)
        bias = _optional("lstm_pack", "bias", bias, (4 * self.units,), self.dtype)
        flags = _TRAINING if training else 0
        layer = _layer(0, 0, self.inputs, self.units, self.code, "tanh", "sigmoid", flags)
        self.buffer = _pool.take(layer.packed)
        slot = _error_slot()
        status = lib.fusedlstm_lstm_pack(
            layer.struct, _pointer(kernel), _pointer(recurrent), _pointer(bias), ffi.from_buffer(self.buffer), slot
        )
        if status:
            _refuse("lstm_pack", status, slot)

    def __del__(self) -> None:
        buffer = getattr(self, "buffer", None)  # not there if a check in __init__ failed
        if buffer is not None:
            _pool.give(buffer)


class _Layer:
    """A struct fusedlstm_lstm, which C only reads, and the sizes of the buffers that its calls need."""

    __slots__ = ("backward_workspace", "forward_workspace", "packed", "saved", "struct")

    def __init__(self, struct: Any) -> None:
        self.struct = struct
        self.packed = lib.fusedlstm_lstm_packed_size(struct)
        self.saved = lib.fusedlstm_lstm_saved_size(struct)
        self.forward_workspace = lib.fusedlstm_lstm_forward_workspace_size(struct)
        self.backward_workspace = lib.fusedlstm_lstm_backward_workspace_size(struct)


_layers: dict[tuple[Any, ...], _Layer] = {}
_LAYERS_KEPT = 1024


def _layer(
    batch: int, steps: int, inputs: int, units: int, dtype: int, activation: str, recurrent_activation: str, flags: int
) -> _Layer:
    """Of a call with these sizes and options; kept, since most calls are like an earlier one."""
    key = (generation, batch, steps, inputs, units, dtype, activation, recurrent_activation, flags)
    layer = _layers.get(key)
    if layer is None:
        if len(_layers) >= _LAYERS_KEPT:
            _layers.clear()
        numbers = (_ACTIVATIONS[activation], _ACTIVATIONS[recurrent_activation], flags, 0, 0.0)
        layer = _layers[key] = _Layer(_new(_LAYER, (batch, steps, inputs, units, dtype, *numbers)))
    return layer


class _Saved:
    """What forward leaves for backward: the buffer, and the arguments that both calls share."""

    __slots__ = ("buffer", "layer", "mask", "packed", "return_sequences", "x")

    def __init__(
        self, x: Array, packed: _Packed, mask: Array | None, layer: _Layer, buffer: Array, return_sequences: bool
    ) -> None:
        self.x, self.packed, self.mask, self.layer = x, packed, mask, layer
        self.buffer: Array | None = buffer
        self.return_sequences = return_sequences


def lstm_pack(kernel: Array, recurrent: Array, bias: Array | None, training: bool = False) -> Any:
    """See `reference.lstm_pack`."""
    return _Packed(kernel, recurrent, bias, training)


def _strides(array: Array | None) -> tuple[int, int]:
    """Of batch and time, in elements."""
    if array is None:
        return 0, 0
    batch, step = array.strides[:2]
    return batch // array.itemsize, step // array.itemsize


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
) -> tuple[Array, Array, Array, Any]:
    """See `reference.lstm_forward`."""
    if x.ndim != 3:
        raise ValueError(f"lstm_forward: expected x (batch, steps, {packed.inputs}), got {x.shape}")
    batch, steps, _ = x.shape
    units, dtype = packed.units, packed.dtype
    _check("lstm_forward", "x", x, (batch, steps, packed.inputs), dtype)
    x = _rows_contiguous(x)
    h0 = _optional("lstm_forward", "h0", h0, (batch, units), dtype)
    c0 = _optional("lstm_forward", "c0", c0, (batch, units), dtype)
    if mask is not None:
        _check("lstm_forward", "mask", mask, (batch, steps), np.bool_)
    if training and not packed.training:
        raise ValueError("lstm_forward: expected weights packed with training=True for training=True")

    flags = _TRAINING if training else 0
    if not return_sequences:
        flags |= _LAST_STEP
    if zero_output_for_mask:
        flags |= _ZERO_OUTPUT
    layer = _layer(batch, steps, packed.inputs, units, packed.code, activation, recurrent_activation, flags)
    y = np.empty((batch, steps, units) if return_sequences else (batch, units), dtype)
    h, c = np.empty((batch, units), dtype), np.empty((batch, units), dtype)
    saved, buffer = None, _NULL
    if training:
        saved = _Saved(x, packed, mask, layer, _pool.take(layer.saved), return_sequences)
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
            _from_buffer(c),
            buffer,
            _scratch.get(layer.forward_workspace),
            *_strides(x),
            *_strides(mask),
            steps * units if return_sequences else units,
            units,
        ),
    )
    slot = _error_slot()
    status = lib.fusedlstm_lstm_forward(layer.struct, args, slot)
    if status:
        _refuse("lstm_forward", status, slot)
    return y, h, c, saved


def lstm_backward(
    saved: Any,
    d_y: Array | None,
    d_h: Array | None = None,
    d_c: Array | None = None,
    *,
    need_d_x: bool = True,
) -> tuple[Array | None, Array, Array, Array, Array, Array]:
    """See `reference.lstm_backward`."""
    if saved.buffer is None:
        raise ValueError(
            "lstm_backward: expected saved activations of a forward call, got those of a call that backward "
            "has already been run for"
        )
    x, packed, units, dtype = saved.x, saved.packed, saved.packed.units, saved.packed.dtype
    batch, steps, inputs = x.shape
    if d_y is not None:
        shape = (batch, steps, units) if saved.return_sequences else (batch, units)
        _check("lstm_backward", "d_y", d_y, shape, dtype)
        d_y = _rows_contiguous(d_y)
    d_h = _optional("lstm_backward", "d_h", d_h, (batch, units), dtype)
    d_c = _optional("lstm_backward", "d_c", d_c, (batch, units), dtype)

    d_x = np.empty((batch, steps, inputs), dtype) if need_d_x else None
    d_kernel, d_recurrent = np.empty((inputs, 4 * units), dtype), np.empty((units, 4 * units), dtype)
    d_bias = np.empty(4 * units, dtype)
    d_h0, d_c0 = np.empty((batch, units), dtype), np.empty((batch, units), dtype)
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
            _from_buffer(d_c0),
            _scratch.get(saved.layer.backward_workspace),
            *_strides(x),
            *_strides(saved.mask),
            *_strides(d_y),
            steps * inputs,
            inputs,
        ),
    )
    slot = _error_slot()
    status = lib.fusedlstm_lstm_backward(saved.layer.struct, args, slot)
    if status:
        _refuse("lstm_backward", status, slot)
    _pool.give(saved.buffer)
    saved.buffer = None
    return d_x, d_kernel, d_recurrent, d_bias, d_h0, d_c0


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
