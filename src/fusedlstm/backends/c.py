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
    if array.flags.c_contiguous:
        return ffi.from_buffer(array)
    return ffi.cast("void *", array.ctypes.data)


def _rows_contiguous(array: Array) -> Array:
    """The array itself if its last axis is contiguous and its elements are aligned, else a copy."""
    together = array.shape[-1] <= 1 or array.strides[-1] == array.itemsize
    return array if together and _whole_strides(array) else array.copy(order="C")


def _whole_strides(array: Array) -> bool:
    """Whether every element can be addressed by strides counted in elements."""
    return array.flags.aligned and not any(stride % array.itemsize for stride in array.strides)


# The LSTM.


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
        layer = self.layer(0, 0, lib.FUSEDLSTM_TRAINING if training else 0, "tanh", "sigmoid")
        self.buffer = _pool.take(lib.fusedlstm_lstm_packed_size(layer))
        slot = _error_slot()
        status = lib.fusedlstm_lstm_pack(
            layer, _pointer(kernel), _pointer(recurrent), _pointer(bias), ffi.from_buffer(self.buffer), slot
        )
        if status:
            _refuse("lstm_pack", status, slot)

    def __del__(self) -> None:
        buffer = getattr(self, "buffer", None)  # not there if a check in __init__ failed
        if buffer is not None:
            _pool.give(buffer)

    def layer(self, batch: int, steps: int, flags: int, activation: str, recurrent_activation: str) -> Any:
        """The struct fusedlstm_lstm of a call with these weights."""
        layer = ffi.new("struct fusedlstm_lstm *")
        layer.batch, layer.steps, layer.inputs, layer.units = batch, steps, self.inputs, self.units
        layer.dtype, layer.flags = self.code, flags
        layer.activation, layer.recurrent_activation = _ACTIVATIONS[activation], _ACTIVATIONS[recurrent_activation]
        return layer


class _Saved:
    """What forward leaves for backward: the buffer, and the arguments that both calls share."""

    __slots__ = ("buffer", "layer", "mask", "packed", "return_sequences", "x")

    def __init__(
        self, x: Array, packed: _Packed, mask: Array | None, layer: Any, buffer: Array, return_sequences: bool
    ) -> None:
        self.x, self.packed, self.mask, self.layer = x, packed, mask, layer
        self.buffer: Array | None = buffer
        self.return_sequences = return_sequences


def lstm_pack(kernel: Array, recurrent: Array, bias: Array | None, training: bool = False) -> Any:
    """See `reference.lstm_pack`."""
    return _Packed(kernel, recurrent, bias, training)


def _set_inputs(args: Any, x: Array, mask: Array | None, packed: _Packed) -> None:
    """What forward and backward arguments have in common; strides in elements."""
    size = x.itemsize
    args.x, args.packed = _pointer(x), ffi.from_buffer(packed.buffer)
    args.x_batch_stride, args.x_step_stride = x.strides[0] // size, x.strides[1] // size
    if mask is not None:
        args.mask = ffi.cast("uint8_t *", mask.ctypes.data)
        args.mask_batch_stride, args.mask_step_stride = mask.strides


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

    flags = lib.FUSEDLSTM_TRAINING if training else 0
    if not return_sequences:
        flags |= lib.FUSEDLSTM_LAST_STEP
    if zero_output_for_mask:
        flags |= lib.FUSEDLSTM_ZERO_OUTPUT_FOR_MASK
    layer = packed.layer(batch, steps, flags, activation, recurrent_activation)
    y = np.empty((batch, steps, units) if return_sequences else (batch, units), dtype)
    h, c = np.empty((batch, units), dtype), np.empty((batch, units), dtype)
    args = ffi.new("struct fusedlstm_lstm_forward *")
    _set_inputs(args, x, mask, packed)
    args.h0, args.c0 = _pointer(h0), _pointer(c0)
    args.y, args.h, args.c = ffi.from_buffer(y), ffi.from_buffer(h), ffi.from_buffer(c)
    args.y_batch_stride, args.y_step_stride = (steps * units if return_sequences else units), units
    args.workspace = _scratch.get(lib.fusedlstm_lstm_forward_workspace_size(layer))
    saved = None
    if training:
        buffer = _pool.take(lib.fusedlstm_lstm_saved_size(layer))
        args.saved = ffi.from_buffer(buffer)
        saved = _Saved(x, packed, mask, layer, buffer, return_sequences)
    slot = _error_slot()
    status = lib.fusedlstm_lstm_forward(layer, args, slot)
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
    args = ffi.new("struct fusedlstm_lstm_backward *")
    _set_inputs(args, x, saved.mask, packed)
    args.saved = ffi.from_buffer(saved.buffer)
    if d_y is not None:
        args.d_y, args.d_y_batch_stride = _pointer(d_y), d_y.strides[0] // d_y.itemsize
        args.d_y_step_stride = d_y.strides[1] // d_y.itemsize
    args.d_h, args.d_c = _pointer(d_h), _pointer(d_c)
    if d_x is not None:
        args.d_x, args.d_x_batch_stride, args.d_x_step_stride = ffi.from_buffer(d_x), steps * inputs, inputs
    args.d_kernel, args.d_recurrent = ffi.from_buffer(d_kernel), ffi.from_buffer(d_recurrent)
    args.d_bias = ffi.from_buffer(d_bias)
    args.d_h0, args.d_c0 = ffi.from_buffer(d_h0), ffi.from_buffer(d_c0)
    args.workspace = _scratch.get(lib.fusedlstm_lstm_backward_workspace_size(saved.layer))
    slot = _error_slot()
    status = lib.fusedlstm_lstm_backward(saved.layer, args, slot)
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
    args = ffi.new("struct fusedlstm_matmul *")
    args.rows, args.inner, args.columns, args.dtype, args.accumulate = rows, inner, columns, code, accumulate
    args.a, args.b, args.bias, args.out = _pointer(a), _pointer(b), _pointer(bias), ffi.from_buffer(result)
    args.a_row_stride, args.a_column_stride = a.strides[0] // size, a.strides[1] // size
    args.b_row_stride, args.b_column_stride = b.strides[0] // size, b.strides[1] // size
    args.out_row_stride = columns
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
    _in_place("embedding_gradient", d_table=d_table)
    slot = _error_slot()
    pointer = ffi.cast("int64_t *", ids.ctypes.data)
    status = lib.fusedlstm_embedding_gradient(
        code, ids.size, rows, width, pointer, _pointer(d_out), _pointer(d_table), slot
    )
    if status == lib.FUSEDLSTM_INVALID and ffi.string(slot[0]) == b"ids":
        raise IndexError(f"embedding_gradient: expected ids in 0 ... {rows - 1}, got {ids.min()} ... {ids.max()}")
    if status:
        _refuse("embedding_gradient", status, slot)


def _in_place(function: str, **arrays: Array) -> None:
    """Raise unless the arrays can be updated where they are."""
    for name, array in arrays.items():
        if not (array.flags.c_contiguous and array.flags.writeable and array.flags.aligned):
            raise ValueError(f"{function}: expected {name} contiguous and writeable")


def _update(
    function: str, w: Array, g: Array, learning_rate: float, gradient_scale: float, decay: float, **state: Array | None
) -> tuple[Any, Array]:
    """The struct fusedlstm_update, and the gradient that it points to."""
    update = ffi.new("struct fusedlstm_update *")
    update.dtype = _dtype_of(function, "w", w)
    for name, array in {"g": g, **state}.items():
        if array is not None:
            _check(function, name, array, w.shape, w.dtype)
    _in_place(function, w=w, **{name: array for name, array in state.items() if array is not None})
    g = _contiguous(g)
    update.n, update.w, update.g = w.size, ffi.from_buffer(w), ffi.from_buffer(g)
    update.learning_rate, update.gradient_scale, update.decay = learning_rate, gradient_scale, decay
    return update, g


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
    update, g = _update("sgd_update", w, g, learning_rate, gradient_scale, decay, velocity=velocity)
    slot = _error_slot()
    momentum = 0.0 if velocity is None else momentum
    status = lib.fusedlstm_sgd_update(update, _pointer(velocity), momentum, nesterov, slot)
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
    update, g = _update(
        "rmsprop_update", w, g, learning_rate, gradient_scale, decay,
        mean_square=mean_square, average=average, velocity=velocity,
    )  # fmt: skip
    slot = _error_slot()
    status = lib.fusedlstm_rmsprop_update(
        update, _pointer(mean_square), _pointer(average), _pointer(velocity), rho, momentum, epsilon, slot
    )
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
    update, g = _update("adam_update", w, g, learning_rate, gradient_scale, decay, m=m, v=v, v_max=v_max)
    slot = _error_slot()
    status = lib.fusedlstm_adam_update(update, _pointer(m), _pointer(v), _pointer(v_max), beta_1, beta_2, epsilon, slot)
    if status:
        _refuse("adam_update", status, slot)
