"""Which layers make of each step of a sequence what they would make of it alone, or keep a state for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fusedlstm import layers as kinds
from fusedlstm.graph import Call, Graph
from fusedlstm.layers.base import Layer, Shape, show_shape
from fusedlstm.layers.operations import Arithmetic, Slice
from fusedlstm.layers.recurrent import Recurrent

#: Layers that make of each step what they make of a sequence of one step.
OF_A_STEP = (
    kinds.Activation, kinds.Add, kinds.Average, kinds.BatchNormalization, kinds.Concatenate, kinds.Dense,
    kinds.Dropout, kinds.Embedding, kinds.GaussianNoise, kinds.InputLayer, kinds.LayerNormalization, kinds.Masking,
    kinds.Maximum, kinds.Minimum, kinds.Multiply, kinds.ReLU, kinds.Softmax, kinds.SpatialDropout1D, kinds.Subtract,
    kinds.TimeDistributed, Arithmetic,
)  # fmt: skip
#: Why all others cannot, in an error.
WHOLE_SEQUENCE = (
    "it has to see the whole sequence. Embedding, LSTM, GRU, SimpleRNN, Dense, TimeDistributed, dropout, "
    "normalization, activation and elementwise layers do not"
)


@contextmanager
def carrying(
    layers: Sequence[Any], states: Sequence[Any] | None = None, keep_after: int | None = None
) -> Iterator[None]:
    """Inside, layers carry their states from call to call, from zeros on, or, of those that are stateful, their own.

    Parameters
    ----------
    layers : sequence of Recurrent or RNN
    states : sequence of lists of arrays or None, optional
        What each layer, a stateful one too, starts from instead.
    keep_after : int, optional
        The states to keep of each call are those after this step instead of the last.
    """
    before = [(layer, layer.stateful, layer.states) for layer in layers]
    for k, layer in enumerate(layers):
        layer.states = states[k] if states is not None else layer.states if layer.stateful else None
        layer.stateful = True
        if keep_after is not None:
            layer.keep_after = keep_after
    try:
        yield
    finally:
        for layer, stateful, own in before:
            if not stateful or states is not None:
                layer.states = own
            layer.stateful = stateful
            if keep_after is not None:
                layer.keep_after = None


class StepByStep:
    """A model that can be run over parts of a sequence, one after the other, its recurrent layers keeping their states.

    Parameters
    ----------
    purpose : str
        For errors: what the model is to be run in parts for.
    model : Model
    shapes : sequence of tuple
        Of its inputs, (B,T,...).

    Attributes
    ----------
    layers : list of Layer
        Those that keep a state.
    has_steps : list of bool
        Of each output, whether it has a value for each step; else it has one for the last.

    Raises
    ------
    ValueError
        By the first layer that needs more of a sequence than a part.
    """

    def __init__(self, purpose: str, model: Any, shapes: Sequence[Shape]) -> None:
        self._purpose = purpose
        self.layers: list[Any] = []
        for place, shape in zip(model.spec().inputs, shapes, strict=True):
            if len(shape) < 2:
                raise ValueError(
                    f"{model.label}: expected inputs (batch, steps, ...) for {purpose}, got {show_shape(shape)} "
                    f"for '{place.name}'"
                )
        self.has_steps = self._walk(model.graph, shapes, [True] * len(shapes))

    def _walk(self, graph: Graph, shapes: Sequence[Shape], has_steps: Sequence[bool]) -> list[bool]:
        sizes = graph.shapes(shapes)
        steps = dict(zip(graph.inputs, has_steps, strict=True))
        for call in graph.calls:
            given = [steps[k] for k in call.inputs]
            if all(given):
                found = self._after(call, [sizes[k] for k in call.inputs])
            elif not any(given) and not isinstance(call.layer, Recurrent | kinds.RNN):
                found = [False] * len(call.outputs)
            else:
                raise self._refused(call.layer, "it is given what no longer has the steps of the inputs")
            steps.update(zip(call.outputs, found, strict=True))
        return [steps[k] for k in graph.outputs]

    def _after(self, call: Call, shapes: list[Shape]) -> list[bool]:
        """Which outputs of a call have steps, as its inputs have."""
        layer: Any = call.layer
        if call.states or call.arguments or call.tensors or any(number is not None for number in call.masks):
            raise self._refused(layer, "it is called with an initial state, a mask or further arguments")
        if isinstance(layer, Recurrent | kinds.RNN):
            if layer.go_backwards:
                raise self._refused(layer, "with go_backwards=True it begins at the last step")
            if layer in self.layers:
                raise self._refused(layer, "it is called several times, but keeps one state")
            self.layers.append(layer)
            return [layer.return_sequences] + [False] * (len(call.outputs) - 1)
        if hasattr(layer, "calls"):  # a model
            return self._walk(layer.graph, shapes, [True] * len(shapes))
        rank = max(len(shape) for shape in shapes)
        if type(layer) is Slice and rank > 2:
            key = layer._full_key(rank)
            if None not in key and key[1] in (slice(None), -1):
                return [key[1] != -1]
            raise self._refused(layer, "of the steps it may take all, or the last one")
        why = why_not_a_step(layer, rank)
        if why is not None:
            raise self._refused(layer, why)
        return [True] * len(call.outputs)

    def _refused(self, layer: Layer, why: str) -> ValueError:
        return ValueError(f"{layer.label}: cannot go through a sequence in parts, for {self._purpose}: {why}")


def why_not_a_step(layer: Any, rank: int) -> str | None:
    """What keeps a layer, on inputs of `rank` axes, from making a step without the others; None if nothing does."""
    if type(layer) is Arithmetic and layer.constant is not None:
        constant = (1,) * (rank - layer.constant.ndim) + layer.constant.shape
        return "its constant differs from step to step" if constant[1] > 1 else None
    if type(layer) not in OF_A_STEP:
        return WHOLE_SEQUENCE
    if isinstance(layer, kinds.Dense | kinds.Activation) and rank < 3:
        return "its inputs have no axis of features behind that of the steps"
    axes = getattr(layer, "axis", None)
    if axes is not None and any(axis % rank == 1 for axis in (axes if isinstance(axes, list | tuple) else [axes])):
        return f"its axis {axes} is that of the steps"
    return None
