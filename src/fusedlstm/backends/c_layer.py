"""The C library's view of a recurrent layer: a struct of its sizes and options, and its packed weights."""

from __future__ import annotations

from typing import Any, NamedTuple

from fusedlstm._binding import ffi, lib
from fusedlstm.backends.arguments import Array, check, contiguous, optional
from fusedlstm.backends.c_arguments import ACTIVATIONS, dtype_of, error_slot, new, pointer, pool, refuse

_LAYER, _WEIGHTS = ffi.typeof("struct fusedlstm_rnn *"), ffi.typeof("struct fusedlstm_rnn_weights *")
_pack = lib.fusedlstm_rnn_pack
TRAINING, RESET_AFTER = lib.FUSEDLSTM_TRAINING, lib.FUSEDLSTM_RESET_AFTER
GATE_RECURRENCE, LAYER_NORM = lib.FUSEDLSTM_FULL_GATE_RECURRENCE, lib.FUSEDLSTM_LAYER_NORM
LSTM, GRU, SIMPLE_RNN = lib.FUSEDLSTM_LSTM, lib.FUSEDLSTM_GRU, lib.FUSEDLSTM_SIMPLE_RNN
CELLS = {LSTM: "lstm", GRU: "gru", SIMPLE_RNN: "simple_rnn"}
GATES = {LSTM: 4, GRU: 3, SIMPLE_RNN: 1}
#: cell_clip, zoneout_h, zoneout_c, epsilon of a layer without them.
NO_NUMBERS = (0.0, 0.0, 0.0, 0.0)


class CLayer:
    """A struct fusedlstm_rnn, which C only reads, and the sizes of the buffers that its calls need."""

    __slots__ = ("backward_workspace", "forward_workspace", "packed", "saved", "struct")

    def __init__(self, struct: Any) -> None:
        self.struct = struct
        self.packed = lib.fusedlstm_rnn_packed_size(struct)
        self.saved = lib.fusedlstm_rnn_saved_size(struct)
        self.forward_workspace = lib.fusedlstm_rnn_forward_workspace_size(struct)
        self.backward_workspace = lib.fusedlstm_rnn_backward_workspace_size(struct)


class Options(NamedTuple):
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


_layers: dict[tuple[Any, ...], CLayer] = {}
_LAYERS_KEPT = 1024


def layer_of(options: tuple[Any, ...]) -> CLayer:
    """Of a call with these Options; kept, since most calls are like an earlier one."""
    layer = _layers.get(options)
    if layer is None:
        if len(_layers) >= _LAYERS_KEPT:
            _layers.clear()
        given = Options(*options)._asdict()
        for name in ("activation", "recurrent_activation"):
            given[name] = ACTIVATIONS[given[name]]
        layer = _layers[options] = CLayer(new(_LAYER, given))
    return layer


def forget_layers() -> None:
    """To be called when the instruction set changes: the sizes of buffers depend on it."""
    _layers.clear()


class Packing:
    """What it takes to pack some weights, checked once; each call packs the values that they have then."""

    __slots__ = (
        "bias_shape", "cell", "code", "dtype", "flags", "inputs", "kept", "layer", "outputs", "projection", "training",
        "units", "weights",
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
        function = f"{CELLS[cell]}_pack"
        self.cell, self.code = cell, dtype_of(function, "kernel", kernel)
        self.dtype, self.training = kernel.dtype, training
        self.flags = (RESET_AFTER if reset_after else 0) | (0 if gate_recurrence is None else GATE_RECURRENCE)
        self.inputs, columns = kernel.shape if kernel.ndim == 2 else (0, 0)
        self.outputs = recurrent.shape[0] if recurrent.ndim == 2 else 0
        self.units = self.outputs if projection is None else columns // GATES[cell]
        self.projection = 0 if projection is None else self.outputs
        columns = GATES[cell] * self.units
        self.bias_shape = (2, columns) if reset_after else (columns,)
        check(function, "kernel", kernel, (self.inputs, columns), self.dtype)
        check(function, "recurrent", recurrent, (self.outputs, columns), self.dtype)
        kernel, recurrent = contiguous(kernel), contiguous(recurrent)
        bias = optional(function, "bias", bias, self.bias_shape, self.dtype)
        of_gates = (3 * self.units, 3 * self.units)
        gate_recurrence = optional(function, "gate_recurrence", gate_recurrence, of_gates, self.dtype)
        projection = optional(function, "projection", projection, (self.units, self.outputs), self.dtype)
        flags = self.flags | (TRAINING if training else 0)
        sizes = (0, 0, self.inputs, self.units, self.code)
        self.layer = layer_of((*sizes, "tanh", "sigmoid", flags, cell, 0, 0, self.projection, *NO_NUMBERS))
        # What the struct points to lives as long as these.
        self.kept = tuple(map(pointer, (kernel, recurrent, bias, gate_recurrence, projection)))
        self.weights = new(_WEIGHTS, self.kept)

    def __call__(self) -> Packed:
        return Packed(self)


class Packed:
    """Packed weights: `buffer` as csrc/kernels/recurrent_layout.inc lays it out; what they are, `packing` says."""

    __slots__ = ("buffer", "packing")

    def __init__(self, packing: Packing) -> None:
        self.packing = packing
        self.buffer = buffer = pool.take(packing.layer.packed)
        slot = error_slot()
        status = _pack(packing.layer.struct, packing.weights, buffer, slot)
        if status:
            refuse(f"{CELLS[packing.cell]}_pack", status, slot)

    def __del__(self) -> None:
        buffer = getattr(self, "buffer", None)  # not there if `take` failed
        if buffer is not None and pool is not None:  # nor the pool at the end of the interpreter
            pool.give(buffer)
