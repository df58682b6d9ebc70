"""Bidirectional: a recurrent layer over the steps from first to last, and another one from last to first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusedlstm import activations
from fusedlstm.layers.base import Array, Backward, Layer, Shape, show_shape
from fusedlstm.layers.cells import StackedRNNCells, flat_states
from fusedlstm.layers.kernel_calls import run_together
from fusedlstm.layers.recurrent import Recurrent
from fusedlstm.layers.rnn import RNN

MERGE_MODES = ("concat", "sum", "mul", "ave", None)


def _copied_cell(owner: str, cell: Any) -> Any:
    if type(cell) is StackedRNNCells:
        return StackedRNNCells([_copied_cell(owner, part) for part in cell.cells], name=cell.name)
    try:
        return type(cell).from_config(cell.get_config())
    except TypeError as error:
        raise TypeError(
            f"{owner}: {cell.label} cannot be copied, its get_config has to give the arguments of its class: {error}"
        ) from error


def _copied(owner: str, layer: Any, **changes: Any) -> Any:
    """A layer with the same arguments but for `changes`, and weights of its own."""
    with activations.as_objects():
        config = {**layer.get_config(), **changes}
        if isinstance(layer, RNN):  # whose cell may be of a class of the user's
            return type(layer)(**{**config, "cell": _copied_cell(owner, layer.cell)})
        return type(layer).from_config(config)


class Bidirectional(Layer):
    """A recurrent layer in both directions of time, the two outputs merged.

    The forward layer is a copy of `layer`, named ``forward_`` and its name, the backward layer another one that goes
    the other way, ``backward_`` and its name; with weights of their own, the forward layer's first. With
    `return_sequences` the backward layer's outputs are put in the order of the forward layer's, and both are 0 at
    masked steps, whatever the layer's `zero_output_for_mask`.

    ``initial_state=`` takes the forward layer's states, then the backward layer's: [fh, fc, bh, bc] for an LSTM. With
    `return_state` of the layer the outputs are [y, fh, fc, bh, bc].

    Parameters
    ----------
    layer : LSTM, GRU, SimpleRNN or RNN
    merge_mode : {"concat", "sum", "mul", "ave", None}
        How the outputs are merged: side by side, their sum, product or mean; None: not, the outputs are two.
    weights : list of arrays, optional
        The first values of all weights, in their order.
    backward_layer : layer, optional
        Instead of the copy; taken as it is. It goes the other way, and agrees with `layer` in `return_sequences`,
        `return_state` and `stateful`.
    **kwargs
        Those of `Layer`. dtype is the layer's.
    """

    call_arguments = ("initial_state",)

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Sequence[Any] | None = None,
        backward_layer: Any = None,
        **kwargs: Any,
    ) -> None:
        for argument, value in (("layer", layer), ("backward_layer", backward_layer)):
            if not isinstance(value, Recurrent | RNN) and (value is not None or argument == "layer"):
                raise TypeError(f"Bidirectional: expected {argument} to be LSTM, GRU, SimpleRNN or RNN, got {value!r}")
        kwargs.setdefault("dtype", layer.dtype)
        if layer.batch_input_shape is not None and not {"input_shape", "batch_input_shape", "input_dim"} & set(kwargs):
            kwargs["batch_input_shape"] = layer.batch_input_shape
        super().__init__(**kwargs)
        if merge_mode not in MERGE_MODES:
            raise ValueError(
                f"{self.label}: expected merge_mode to be 'concat', 'sum', 'mul', 'ave' or None, got {merge_mode!r}"
            )
        self.merge_mode = merge_mode
        name = layer.name.removeprefix("forward_")
        self.forward_layer: Any = _copied(self.label, layer, name=f"forward_{name}")
        self.backward_layer: Any = backward_layer or _copied(
            self.label, layer, name=f"backward_{name}", go_backwards=not layer.go_backwards
        )
        for argument in ("dtype", "return_sequences", "return_state", "stateful"):
            ours, theirs = getattr(layer, argument), getattr(self.backward_layer, argument)
            if ours != theirs:
                raise ValueError(
                    f"{self.label}: expected {argument} {ours} of backward_layer, as of layer, got {theirs}"
                )
        if self.dtype != layer.dtype:
            raise ValueError(f"{self.label}: expected dtype {layer.dtype}, that of {layer.label}, got {self.dtype}")
        if self.backward_layer.go_backwards == layer.go_backwards:
            raise ValueError(
                f"{self.label}: expected go_backwards {not layer.go_backwards} of backward_layer, "
                f"got {layer.go_backwards}, as of layer"
            )
        for direction in (self.forward_layer, self.backward_layer):
            # The outputs of both go together step by step: where there is none, it is 0 from both. As in Keras.
            direction.zero_output_for_mask = layer.return_sequences
        self.return_sequences: bool = layer.return_sequences
        self.return_state: bool = layer.return_state
        self.stateful = layer.stateful
        self.initial_weights = None if weights is None else list(weights)

    # Shapes and weights.

    def expected_inputs(self) -> str:
        return str(self.forward_layer.expected_inputs())

    def fits(self, shape: Shape) -> bool:
        return bool(self.forward_layer.fits(shape))

    def build(self, input_shape: Any) -> None:
        """Build both layers, for inputs (B,T,I)."""
        shape = self.check_shape(input_shape)
        for layer in (self.forward_layer, self.backward_layer):
            if not layer.built:
                layer.build(shape)
        if self._merges_unequal(shape):
            widths = [layer.compute_output_shape(shape) for layer in (self.forward_layer, self.backward_layer)]
            raise ValueError(
                f"{self.label}: expected outputs of one width for merge_mode {self.merge_mode!r}, got "
                f"{' and '.join(show_shape(w[0] if isinstance(w, list) else w) for w in widths)}"
            )
        if self.initial_weights is not None:
            variables = [*self.forward_layer.weights, *self.backward_layer.weights]
            if len(self.initial_weights) != len(variables):
                raise ValueError(
                    f"{self.label}: expected {len(variables)} arrays as weights, got {len(self.initial_weights)}"
                )
            arrays = [v.check(value) for v, value in zip(variables, self.initial_weights, strict=True)]
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)

    def _merges_unequal(self, shape: Shape) -> bool:
        (_, first, _), (_, second, _) = self._shapes(shape)
        return self.merge_mode in ("sum", "mul", "ave") and first[-1] != second[-1]

    def _shapes(self, shape: Shape) -> list[tuple[Any, Any, list[Any]]]:
        """For each layer: itself, the shape of its outputs and those of its states that it returns."""
        result = []
        for layer in (self.forward_layer, self.backward_layer):
            found = layer.compute_output_shape(shape)
            y, *states = found if isinstance(found, list) else [found]
            result.append((layer, y, states))
        return result

    def compute_output_shape(self, input_shape: Any) -> Any:
        (_, y, states), (_, y_back, states_back) = self._shapes(self.check_shape(input_shape))
        outputs = [y, y_back]
        if self.merge_mode is not None:
            outputs = [(*y[:-1], y[-1] + y_back[-1]) if self.merge_mode == "concat" else y]
        outputs += states + states_back
        return outputs if len(outputs) > 1 else outputs[0]

    def call_shape(self, input_shape: Any, state_shapes: Sequence[Shape], arguments: Mapping[str, Any]) -> Any:
        for layer, shapes in zip(
            (self.forward_layer, self.backward_layer), self._initial_states(state_shapes or None), strict=True
        ):
            layer.call_shape(input_shape, shapes or [], arguments)
        return self.compute_output_shape(input_shape)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        passed = [mask if self.return_sequences else None] * (2 if self.merge_mode is None else 1)
        if self.return_state:
            for layer in (self.forward_layer, self.backward_layer):
                passed += layer.compute_mask(inputs, None)[1:]
        return passed if len(passed) > 1 else passed[0]

    # Running.

    def _initial_states(self, initial_state: Any) -> list[Any]:
        if initial_state is None:
            return [None, None]
        counts = [
            len(flat_states(layer.state_size) if isinstance(layer, RNN) else layer.state_sizes)
            for layer in (self.forward_layer, self.backward_layer)
        ]
        if not isinstance(initial_state, list | tuple) or len(initial_state) != sum(counts):
            got = len(initial_state) if isinstance(initial_state, list | tuple) else type(initial_state).__name__
            raise ValueError(
                f"{self.label}: expected initial_state to be a list of the forward layer's states, {counts[0]}, and "
                f"then the backward layer's, {counts[1]}, got {got}"
            )
        return [list(initial_state[: counts[0]]), list(initial_state[counts[0] :])]

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
        """Run in both directions.

        Parameters
        ----------
        inputs : (B,T,I) array
        training : bool
        mask : (B,T) array of bool, optional
            True: use the step.
        initial_state : list of arrays, optional
            The forward layer's states, then the backward layer's; zeros if None.
        need_backward, need_d_inputs
            As in `Layer.forward`.

        Returns
        -------
        outputs : array, or list of arrays
            The merged outputs, or both, and with `return_state` the forward, then the backward layer's states.
        backward : function or None
            Takes the gradient of the outputs; returns that of the inputs, or a list of that and those of the states if
            there was an initial state.
        """
        x = self.check_inputs(inputs)
        given = self._initial_states(initial_state)
        directions = (self.forward_layer, self.backward_layer)
        # Both at once where the kernels can: a core for each direction.
        ours = Recurrent.forward
        fused = type(self.forward_layer).forward is ours and type(self.backward_layer).forward is ours
        options = {"need_backward": need_backward, "need_d_inputs": need_d_inputs}
        if fused:
            (outputs, back), (outputs_back, back_back) = run_together(
                [
                    layer.forward_steps(x, training, mask, initial_state=state, **options)
                    for layer, state in zip(directions, given, strict=True)
                ]
            )
        else:
            (outputs, back), (outputs_back, back_back) = (
                layer.forward(x, training, mask, initial_state=state, **options)
                for layer, state in zip(directions, given, strict=True)
            )
        penalties = [
            None if layer.activity_regularizer is None else layer.penalty(found)
            for layer, found in zip(directions, (outputs, outputs_back), strict=True)
        ]
        y, *states = outputs if isinstance(outputs, list) else [outputs]
        y_back, *states_back = outputs_back if isinstance(outputs_back, list) else [outputs_back]
        if self.return_sequences:
            y_back = y_back[:, ::-1]
        results = [*self._merge(y, y_back), *states, *states_back]
        outputs = results if len(results) > 1 else results[0]
        if back is None or back_back is None:
            return outputs, None
        count = len(states)

        def backward(d_outputs: Any) -> Any:
            several = len(results) > 1
            d_merged, d_states = [d_outputs], []
            if several:
                d_outputs = [
                    self.check_gradient(f"outputs[{k}]", d, r.shape, optional=True)
                    for k, (d, r) in enumerate(zip(d_outputs, results, strict=True))
                ]
                merged = len(results) - count - len(states_back)
                d_merged, d_states = d_outputs[:merged], d_outputs[merged:]
            else:
                d_merged = [self.check_gradient("y", d_outputs, results[0].shape)]
            d_y, d_y_back = self._unmerge(d_merged, y, y_back)
            if self.return_sequences and d_y_back is not None:
                d_y_back = d_y_back[:, ::-1]
            d_of_each = []
            for add, d, d_final, shape in (
                (penalties[0], d_y, d_states[:count], y.shape),
                (penalties[1], d_y_back, d_states[count:], y_back.shape),
            ):
                if not self.return_state and d is None:
                    d = np.zeros(shape, self.dtype, like=y)
                d_all = [d, *d_final] if self.return_state else d
                d_of_each.append(d_all if add is None else add(d_all))
            if fused:
                d_first = run_together([back.steps(d_of_each[0]), back_back.steps(d_of_each[1])])
            else:
                d_first = [back(d_of_each[0]), back_back(d_of_each[1])]
            gradients = [*self.forward_layer.gradients, *self.backward_layer.gradients]
            self.gradients = gradients if self.trainable else []
            started = initial_state is not None
            (d_x, *d_before), (d_x_back, *d_before_back) = d_first if started else [[d] for d in d_first]
            if need_d_inputs:  # the kernels' array is nobody else's
                d_x = np.add(d_x, d_x_back, out=d_x if fused else None)
            return [d_x, *d_before, *d_before_back] if started else d_x

        return outputs, backward

    def _merge(self, y: Array, y_back: Array) -> list[Array]:
        if self.merge_mode is None:
            return [y, y_back]
        if self.merge_mode == "concat":
            return [np.concatenate([y, y_back], axis=-1)]
        if self.merge_mode == "mul":
            return [y * y_back]
        total = y + y_back
        return [total / 2 if self.merge_mode == "ave" else total]

    def _unmerge(self, d_merged: list[Any], y: Array, y_back: Array) -> tuple[Any, Any]:
        """The gradients of both outputs, None for zero."""
        if self.merge_mode is None:
            return d_merged[0], d_merged[1]
        (d,) = d_merged
        if d is None:
            return None, None
        if self.merge_mode == "concat":
            width = y.shape[-1]
            return d[..., :width], d[..., width:]
        if self.merge_mode == "mul":
            return d * y_back, d * y
        half = d / 2 if self.merge_mode == "ave" else d
        return half, half

    def get_config(self) -> dict[str, Any]:
        from fusedlstm.model_config import layer_configs

        config = super().get_config()
        config["layer"], config["backward_layer"] = layer_configs([self.forward_layer, self.backward_layer])
        return {**config, "merge_mode": self.merge_mode}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Bidirectional:
        """A layer from what `get_config` gave; `custom_objects` has, by their names, classes not of this package."""
        from fusedlstm.model_config import make_layers, owner_of

        rest = {name: value for name, value in config.items() if name not in ("layer", "backward_layer")}
        layer, backward_layer = make_layers(
            owner_of(cls, config), [config["layer"], config["backward_layer"]], custom_objects
        )
        return cls(layer, backward_layer=backward_layer, **rest)
