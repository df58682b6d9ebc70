"""Cells: one step of a recurrent layer, for `RNN` to run over sequences."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from fusedlstm.layers.base import Array, Layer, real_array, show_shape
from fusedlstm.layers.gru import GRU
from fusedlstm.layers.lstm import LSTM
from fusedlstm.layers.recurrent import Recurrent
from fusedlstm.layers.simple_rnn import SimpleRNN

#: Takes the gradients of the output and of the new states, returns those of the inputs and of the states.
StepBackward = Callable[[Any, Any], tuple[Any, list[Any]]]

# What a layer takes and a cell does not: they are `RNN`'s.
_OF_SEQUENCES = (
    "activity_regularizer", "return_sequences", "return_state", "go_backwards", "stateful", "unroll", "use_cudnn",
    "zero_output_for_mask", "input_shape", "batch_input_shape", "batch_size", "input_dim",
)  # fmt: skip


def flat_states(states: Any) -> list[Any]:
    """The states of a cell, or of a stack of cells, as one list."""
    if not isinstance(states, list | tuple):
        return [states]
    return [item for state in states for item in flat_states(state)]


class Cell(Layer):
    """Base of the cells of this package: a step forward, and the step back.

    A subclass defines `forward`, `build`, `state_size` and `output_size`.

    Attributes
    ----------
    state_size : int or list of int
        The width of the state, or of each of several.
    output_size : int
    """

    state_size: Any
    output_size: int

    def expected_inputs(self) -> str:
        return "(batch, features)"

    def fits(self, shape: Any) -> bool:
        return len(shape) == 2

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (self.check_shape(input_shape)[0], self.output_size)

    def get_initial_state(self, batch_size: int) -> Any:
        """Zeros (B,H) for each state, in a list."""
        return [np.zeros((batch_size, size), self.dtype) for size in flat_states(self.state_size)]

    def check_states(self, states: Any, batch: int) -> list[Array]:
        """The states as arrays of the layer's dtype, or an error that tells which one does not fit."""
        given, sizes = flat_states(states), flat_states(self.state_size)
        if len(given) != len(sizes):
            raise ValueError(f"{self.label}: expected states to be a list of {len(sizes)}, got {len(given)}")
        arrays = []
        for k, (state, size) in enumerate(zip(given, sizes, strict=True)):
            array = real_array(self.label, f"states[{k}]", state)
            if array.shape != (batch, size):
                expected = show_shape((batch, size))
                raise ValueError(f"{self.label}: expected states[{k}] {expected}, got {show_shape(array.shape)}")
            arrays.append(array.astype(self.dtype, copy=False))
        return arrays

    def forward(  # type: ignore[override]
        self, inputs: Any, states: Any, training: bool = False
    ) -> tuple[Array, list[Any], StepBackward]:
        """One step.

        Parameters
        ----------
        inputs : (B,I) array
        states : list of (B,H) arrays
        training : bool

        Returns
        -------
        output : (B,H) array
        new_states : list of (B,H) arrays
        backward : function
            ``backward(d_output, d_new_states)`` returns (d_inputs, d_states) and sets `gradients`.
        """
        raise TypeError(f"{self.label}: a cell has to define forward")

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Array, list[Any]]:
        """One step: (output, new states)."""
        output, new_states, _ = self.forward(inputs, states, training)
        return output, new_states

    def __call__(  # type: ignore[override]
        self, inputs: Any, states: Any, training: bool = False
    ) -> tuple[Array, list[Any]]:
        """One step: (output, new states). Builds the cell on first use."""
        return self.call(inputs, states, bool(training))


class FusedCell(Cell):
    """Base of the cells of which there are layers with kernels. The weights are the layer's, of the same names.

    Called by itself, it draws dropout masks anew at each step; `RNN` draws them once for a sequence, as the layer. The
    masks of zoneout are new at each step in either.

    Parameters
    ----------
    units ... seed
        The layer's arguments, without those about sequences.
    **kwargs
        name, dtype and trainable; and the layer's options that are given by keyword alone.
    """

    layer_class: ClassVar[type[Recurrent]]

    def __init__(
        self,
        units: int,
        options: dict[str, Any],
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        wrong = [argument for argument in kwargs if argument in _OF_SEQUENCES]
        if wrong:
            raise TypeError(f"{self.label}: unknown argument {', '.join(map(repr, wrong))}")
        options = {**options, **kwargs, "name": self.name, "dtype": self.dtype.name, "trainable": trainable}
        #: does the work: a step is a sequence of one
        self.layer: Recurrent = self.layer_class(units, return_state=True, **options)
        self.units = self.layer.units

    @property
    def state_size(self) -> Any:  # type: ignore[override]
        sizes = list(self.layer.state_sizes.values())
        return sizes[0] if len(sizes) == 1 else sizes

    @property
    def output_size(self) -> int:  # type: ignore[override]
        return self.layer.state_sizes["h"]

    def build(self, input_shape: Any) -> None:
        """Create the weights for inputs (B,I)."""
        batch, inputs = self.check_shape(input_shape)
        if not self.layer.built:
            self.layer.build((batch, None, inputs))

    def forward(  # type: ignore[override]
        self, inputs: Any, states: Any, training: bool = False
    ) -> tuple[Array, list[Any], StepBackward]:
        x = self.check_inputs(inputs)
        states = self.check_states(states, len(x))
        (output, *new_states), inner = self.layer.forward(
            x[:, None], training, initial_state=states, need_backward=True
        )
        assert inner is not None

        def backward(d_output: Any, d_states: Any) -> tuple[Array, list[Array]]:
            d_x, *d_before = inner([d_output, *d_states])
            self.gradients = self.layer.gradients if self.trainable else []
            return d_x[:, 0], d_before

        return output, new_states, backward

    def get_config(self) -> dict[str, Any]:
        config = {key: value for key, value in self.layer.get_config().items() if key not in _OF_SEQUENCES}
        return {**config, **super().get_config()}


def _options(arguments: dict[str, Any]) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """A cell's locals as units, the arguments that it names, and the others."""
    options = {key: value for key, value in arguments.items() if key not in ("self", "units", "kwargs", "__class__")}
    return arguments["units"], options, arguments["kwargs"]


class LSTMCell(FusedCell):
    """One step of `LSTM`: ``call(x, [h, c])`` gives ``h, [h, c]``; the arguments are the layer's.

    With `full_gate_recurrence` the states are [h, c, gates].
    """

    layer_class = LSTM

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        units, options, kwargs = _options(locals())
        super().__init__(units, options, **kwargs)


class GRUCell(FusedCell):
    """One step of `GRU`: ``call(x, [h])`` gives ``h, [h]``; the arguments are the layer's."""

    layer_class = GRU

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        units, options, kwargs = _options(locals())
        super().__init__(units, options, **kwargs)


class SimpleRNNCell(FusedCell):
    """One step of `SimpleRNN`: ``call(x, [h])`` gives ``h, [h]``; the arguments are the layer's."""

    layer_class = SimpleRNN

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        units, options, kwargs = _options(locals())
        super().__init__(units, options, **kwargs)


def check_cell(owner: str, cell: Any) -> None:
    """Raise an error if `RNN` cannot run this."""
    if not isinstance(cell, Layer):
        raise TypeError(f"{owner}: expected a cell that is a Layer, got {cell!r}")
    if getattr(cell, "state_size", None) is None:
        raise ValueError(f"{owner}: expected a cell with a state_size, {cell.label} has none")
    if getattr(cell, "call", None) is None and type(cell).forward is Layer.forward:
        raise ValueError(f"{owner}: expected a cell with call or forward, {cell.label} has none")


def output_size(cell: Any) -> int:
    """The width of a cell's output: that of its first state if it does not say."""
    size = getattr(cell, "output_size", None)
    return int(flat_states(cell.state_size)[0] if size is None else size)


class StackedRNNCells(Cell):
    """Cells one upon the other: each gets the output of the one below. The states are one list for each cell.

    Parameters
    ----------
    cells : sequence of cells
        Of one dtype; of this package or your own (see `RNN`).
    **kwargs
        name and trainable.
    """

    def __init__(self, cells: Sequence[Any], **kwargs: Any) -> None:
        if not isinstance(cells, list | tuple) or not cells:
            raise ValueError(f"StackedRNNCells: expected cells to be a list of at least one cell, got {cells!r}")
        for cell in cells:
            check_cell("StackedRNNCells", cell)
        kwargs.setdefault("dtype", cells[0].dtype)
        super().__init__(**kwargs)
        for cell in cells:
            if cell.dtype != self.dtype:
                raise ValueError(f"{self.label}: expected dtype {self.dtype} of {cell.label}, got {cell.dtype}")
        self.cells = list(cells)

    @property
    def state_size(self) -> Any:  # type: ignore[override]
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> int:  # type: ignore[override]
        return output_size(self.cells[-1])

    def get_initial_state(self, batch_size: int) -> Any:
        """Zeros (B,H) for each state, in one list for each cell."""
        return [
            [np.zeros((batch_size, size), self.dtype) for size in flat_states(cell.state_size)] for cell in self.cells
        ]

    def build(self, input_shape: Any) -> None:
        """Build the cells, for inputs (B,I)."""
        batch, inputs = self.check_shape(input_shape)
        for cell in self.cells:
            if not cell.built:
                cell.build((batch, inputs))
            inputs = output_size(cell)

    def nested(self, states: Sequence[Any]) -> list[Any]:
        """States, as one list, in one list for each cell; a cell whose state_size is a number has its state alone."""
        rest, result = list(states), []
        for cell in self.cells:
            count = len(flat_states(cell.state_size))
            mine, rest = rest[:count], rest[count:]
            if isinstance(cell, StackedRNNCells):
                mine = cell.nested(mine)
            result.append(mine if isinstance(cell.state_size, list | tuple) else mine[0])
        return result

    def forward(  # type: ignore[override]
        self, inputs: Any, states: Any, training: bool = False
    ) -> tuple[Array, list[Any], StepBackward]:
        output = self.check_inputs(inputs)
        rest = self.check_states(states, len(output))
        new_states: list[Any] = []
        steps: list[tuple[Any, int, StepBackward]] = []
        for cell in self.cells:
            if type(cell).forward is Layer.forward:
                raise TypeError(f"{self.label}: {cell.label} defines call alone, expected forward, to train")
            count = len(flat_states(cell.state_size))
            output, after, back = cell.forward(output, rest[:count], training)
            rest = rest[count:]
            new_states += flat_states(after)
            steps.append((cell, count, back))

        def backward(d_output: Any, d_states: Any) -> tuple[Any, list[Any]]:
            left: list[Any] = flat_states(d_states)
            before: list[Any] = []
            gradients: list[Any] = []
            for cell, count, back in reversed(steps):
                left, mine = left[: len(left) - count], left[len(left) - count :]
                d_output, d_mine = back(d_output, mine)
                before[:0] = flat_states(d_mine)
                gradients[:0] = zip(cell.trainable_weights, cell.gradients, strict=True)
            self.gradients = summed(self.trainable_weights, gradients)
            return d_output, before

        return output, self.nested(new_states), backward

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Array, list[Any]]:
        output, new_states = self.check_inputs(inputs), []
        rest = self.check_states(states, len(output))
        for cell in self.cells:
            count = len(flat_states(cell.state_size))
            if getattr(cell, "call", None) is not None:
                takes_training = "training" in inspect.signature(cell.call).parameters
                options = {"training": training} if takes_training else {}
                output, after = cell.call(output, rest[:count], **options)
            else:
                output, after, _ = cell.forward(output, rest[:count], training)
            rest = rest[count:]
            new_states += flat_states(after)
        return output, self.nested(new_states)

    def get_config(self) -> dict[str, Any]:
        from fusedlstm.model_config import layer_configs

        return {**super().get_config(), "cells": layer_configs(self.cells)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> StackedRNNCells:
        """Cells from what `get_config` gave, all of this package."""
        from fusedlstm.model_config import make_layers

        rest = {name: value for name, value in config.items() if name != "cells"}
        return cls(make_layers(cls.__name__, config["cells"]), **rest)


def summed(variables: Sequence[Any], gradients: Sequence[tuple[Any, Array]]) -> list[Array]:
    """The gradient of each of the variables, of which any may come more than once, or, as zero, not at all."""
    totals: dict[int, Array] = {}
    for variable, gradient in gradients:
        before = totals.get(id(variable))
        totals[id(variable)] = gradient if before is None else before + gradient
    return [totals[id(v)] if id(v) in totals else np.zeros_like(v.value) for v in variables]
