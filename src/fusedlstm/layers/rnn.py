"""RNN: any cell, or stack of cells, over sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusedlstm.backends import placement
from fusedlstm.layers.base import Array, Backward, Layer, Shape, real_array, show_shape
from fusedlstm.layers.cells import StackedRNNCells, check_cell, flat_states, output_size, summed
from fusedlstm.layers.through_time import Run, RunBackward, through_time
from fusedlstm.symbolic import is_symbolic


class RNN(Layer):
    """A cell, or a stack of cells, over sequences (B,T,I).

    Over `LSTMCell`, `GRUCell` and `SimpleRNNCell`, and over stacks of them, it runs in the kernels of the layers and
    gives what they give. `MUT1`, `MUT2`, `MUT3` and cells of your own run step by step in Python, the latter with a
    warning that names the class, once.

    Parameters
    ----------
    cell : cell or list of cells
        A list makes `StackedRNNCells`. A cell of your own is a subclass of `Layer` with ``state_size`` (a width, or a
        list of them), optionally ``output_size``, ``build(input_shape)`` for inputs (B,I), and
        ``call(inputs, states)``, which returns the output and the list of new states; that can predict. To be trained
        it has, or has instead, ``forward(inputs, states, training)``, which returns the output, the list of new states
        and ``backward(d_output, d_new_states)``. That returns d_inputs and the list of d_states, and sets the cell's
        `gradients`, aligned with its `trainable_weights`.
    return_sequences : bool
        Outputs (B,T,H), every step's, instead of the last one's (B,H).
    return_state : bool
        Outputs a list: the outputs, then the final states; over `StackedRNNCells`, for each cell the list of its
        states, or the only one.
    go_backwards : bool
        Read the steps from last to first; the outputs stay in the order in which they were computed.
    stateful : bool
        Start each call from the states that the last one ended with, row by row, until `reset_state`. The number of
        rows has to be fixed: ``batch_input_shape=``, or ``Input(..., batch_size=)``.
    unroll : bool
        Accepted for the sake of programs that have it, without effect.
    zero_output_for_mask : bool
        The output of a masked step is 0 instead of the previous output.
    **kwargs
        Those of `Layer`: name, trainable, input_shape ... dtype is the cell's.
    """

    call_arguments = ("initial_state",)

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        if isinstance(cell, list | tuple):
            cell = StackedRNNCells(cell)
        check_cell("RNN", cell)
        kwargs.setdefault("dtype", cell.dtype)
        super().__init__(**kwargs)
        if self.dtype != cell.dtype:
            raise ValueError(f"{self.label}: expected dtype {cell.dtype}, that of {cell.label}, got {self.dtype}")
        self.cell = cell
        for inner in (cell, *self._cells()):
            if inner.activity_regularizer is not None:
                raise ValueError(
                    f"{self.label}: expected a cell without activity_regularizer, {inner.label} has one: "
                    "give it to RNN, for all steps"
                )
        self.return_sequences = self.boolean("return_sequences", return_sequences)
        self.return_state = self.boolean("return_state", return_state)
        self.go_backwards = self.boolean("go_backwards", go_backwards)
        self.stateful = self.boolean("stateful", stateful)
        self.unroll = self.boolean("unroll", unroll)
        self.zero_output_for_mask = self.boolean("zero_output_for_mask", zero_output_for_mask)
        self.states: list[Array] | None = None  # after the last call, of a stateful layer
        self.batch: int | None = None  # B, of a stateful layer, once built
        self.inputs: int | None = None  # I, once built

    # Shapes and weights.

    @property
    def state_size(self) -> Any:
        """The cell's."""
        return self.cell.state_size

    def expected_inputs(self) -> str:
        return f"(batch, steps, {'features' if self.inputs is None else self.inputs})"

    def fits(self, shape: Shape) -> bool:
        return len(shape) == 3 and (self.inputs is None or shape[2] == self.inputs or shape[2] is None)

    def build(self, input_shape: Any) -> None:
        """Build the cell.

        Parameters
        ----------
        input_shape : tuple
            (B,T,I); only I has to be known, and B of a stateful layer.
        """
        batch, _, inputs = self.check_shape(input_shape)
        if inputs is None:
            raise ValueError(f"{self.label}: expected a known number of features, got {show_shape(input_shape)}")
        if self.stateful and batch is None:
            raise ValueError(
                f"{self.label}: expected a fixed batch size with stateful=True: give batch_input_shape=, or "
                "Input(..., batch_size=)"
            )
        if not self.cell.built:
            self.cell.build((batch, inputs))
        self.inputs, self.batch = inputs, batch if self.stateful else None

    def reset_state(self) -> None:
        self.states = None
        super().reset_state()

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, steps, _ = self.check_shape(input_shape)
        size = output_size(self.cell)
        y = (batch, steps, size) if self.return_sequences else (batch, size)
        return [y, *((batch, n) for n in flat_states(self.state_size))] if self.return_state else y

    def call_shape(self, input_shape: Any, state_shapes: Sequence[Shape], arguments: Mapping[str, Any]) -> Any:
        if state_shapes:
            self._check_state_shapes(state_shapes, self.check_shape(input_shape)[0])
        return self.compute_output_shape(input_shape)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        y_mask = mask if self.return_sequences else None
        return [y_mask, *[None] * len(flat_states(self.state_size))] if self.return_state else y_mask

    def pack(self, outputs: list[Any], several: bool = False) -> Any:
        if several and isinstance(self.cell, StackedRNNCells):
            return [outputs[0], *self.cell.nested(outputs[1:])]
        return super().pack(outputs, several)

    def __call__(self, inputs: Any, training: Any = None, mask: Any = None, **arguments: Any) -> Any:
        """As any layer's; of `StackedRNNCells` the states come in one list for each cell."""
        outputs = super().__call__(inputs, training, mask, **arguments)
        if not isinstance(outputs, list) or is_symbolic(outputs):
            return outputs
        return self.pack(outputs, True)

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """What a call without an initial state starts from: the cell's own, or zeros (B,H) for each state."""
        own = getattr(self.cell, "get_initial_state", None)
        if own is None:
            return [np.zeros((batch_size, size), self.dtype) for size in flat_states(self.state_size)]
        states = own(batch_size=batch_size)
        return list(states) if isinstance(states, list | tuple) else [states]

    # Running.

    def _cells(self) -> list[Any]:
        """The cells from the bottom up, those of a stack within a stack too."""

        def flat(cell: Any) -> list[Any]:
            return [c for part in cell.cells for c in flat(part)] if type(cell) is StackedRNNCells else [cell]

        return flat(self.cell)

    def _check_state(self, initial_state: Any, batch: int) -> list[Array]:
        given = flat_states(initial_state)
        arrays = [real_array(self.label, f"initial_state[{k}]", state) for k, state in enumerate(given)]
        self._check_state_shapes([array.shape for array in arrays], batch)
        return [placement.contiguous(array, self.dtype) for array in arrays]

    def _check_state_shapes(self, shapes: Sequence[Shape], batch: int | None) -> None:
        """Raise a ValueError unless initial states may have these shapes; an unknown batch size fits any."""
        sizes = flat_states(self.state_size)
        if len(shapes) != len(sizes):
            raise ValueError(f"{self.label}: expected initial_state to be a list of {len(sizes)}, got {len(shapes)}")
        for k, (shape, size) in enumerate(zip(shapes, sizes, strict=True)):
            if len(shape) != 2 or shape[1] != size or (shape[0] != batch and None not in (shape[0], batch)):
                expected = show_shape((batch, size))
                raise ValueError(f"{self.label}: expected initial_state[{k}] {expected}, got {show_shape(shape)}")

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        initial_state: Any = None,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Any, Backward | None]:
        """Run over a batch of sequences.

        Parameters
        ----------
        inputs : (B,T,I) array
        training : bool
        mask : (B,T) array of bool, optional
            True: use the step.
        initial_state : list of (B,H) arrays, optional
            One for each state; nested as `return_state` gives them, or flat.
        need_backward, need_d_inputs
            As in `Layer.forward`.

        Returns
        -------
        outputs : (B,T,H) or (B,H) array, or with `return_state` a flat list of that and the final states
        backward : function or None
            Takes the gradient of the outputs (any of a list's may be None: zero); returns that of the inputs, or a
            list of that and those of the states if there was an initial state.
        """
        x = self.check_inputs(inputs)
        if mask is not None:
            mask = self.check_mask(mask, x.shape[:2])
        if self.batch is not None and len(x) != self.batch:
            raise ValueError(f"{self.label}: expected {self.batch} rows, as it is stateful, got {len(x)}")
        given = initial_state is not None
        states = self._check_state(initial_state, len(x)) if given else self.states
        if self.go_backwards:
            x = x[:, ::-1]
            mask = mask if mask is None else mask[:, ::-1]
        keep = training if need_backward is None else need_backward
        cells = self._cells()
        # The cells one after the other, each over all steps: a cell meets the next one by its outputs alone.
        y, final, runs = x, list[Array](), list[Any]()
        need_d_x = need_d_inputs
        for k, cell in enumerate(cells):
            count, last = len(flat_states(cell.state_size)), k == len(cells) - 1
            mine = None if states is None else [placement.place(s) for s in states[len(final) : len(final) + count]]
            run = Run(
                self.label, y, mask, mine, training, keep, self.return_sequences or not last,
                self.zero_output_for_mask and last, need_d_x,
            )  # fmt: skip
            y, after, back = through_time(cell, run)
            runs.append((cell, count, back))
            final += after
            need_d_x = need_d_x or cell.learns or given
        if self.stateful:
            self.states = [state.copy() for state in final]  # the outputs are the caller's to change
        outputs = [y, *final] if self.return_state else y
        if not keep:
            return outputs, None
        return outputs, self._backward(runs, y.shape, [state.shape for state in final], given)

    def _backward(
        self,
        runs: list[tuple[Any, int, RunBackward | None]],
        shape: tuple[int, ...],
        state_shapes: list[tuple[int, ...]],
        given: bool,
    ) -> Backward:
        """The function that takes the gradient of outputs of this shape back, once."""

        def backward(d_outputs: Any) -> Any:
            if not runs:
                raise RuntimeError(f"{self.label}: backward was already called for this forward call")
            several = self.return_state
            d_y, *d_states = d_outputs if several else (d_outputs, *[None] * len(state_shapes))
            d = self.check_gradient("y", d_y, shape, optional=several)
            d_final = [
                self.check_gradient(f"states[{k}]", d_state, state_shape, optional=True)
                for k, (d_state, state_shape) in enumerate(zip(d_states, state_shapes, strict=True))
            ]
            d_first: list[Any] = []
            gradients: list[Any] = []
            while runs:
                cell, count, back = runs.pop()
                assert back is not None
                d_final, mine = d_final[: len(d_final) - count], d_final[len(d_final) - count :]
                d, d_before, found = back(d, mine)
                d_first[:0] = d_before
                gradients += zip(cell.trainable_weights, found, strict=True)
            self.gradients = summed(self.trainable_weights, gradients)
            if self.go_backwards and d is not None:
                d = d[:, ::-1]
            return [d, *d_first] if given else d

        return backward

    def get_config(self) -> dict[str, Any]:
        from fusedlstm.model_config import layer_configs

        config = {**super().get_config(), "cell": layer_configs([self.cell])[0]}
        for name in (
            "return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask",
        ):  # fmt: skip
            config[name] = getattr(self, name)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> RNN:
        """A layer from what `get_config` gave; `custom_objects` has, by their names, cells not of this package."""
        from fusedlstm.model_config import make_layers, owner_of

        rest = {name: value for name, value in config.items() if name != "cell"}
        return cls(make_layers(owner_of(cls, config), [config["cell"]], custom_objects)[0], **rest)
