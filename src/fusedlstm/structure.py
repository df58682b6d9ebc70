"""What a model is made of: its layers, inputs and outputs, and their names, shapes and dtypes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fusedlstm.data import Place, Spec
from fusedlstm.graph import Graph
from fusedlstm.layers.base import Array, Layer, Shape, show_shape
from fusedlstm.layers.input import InputLayer
from fusedlstm.symbolic import FOLLOWING, Node, SymbolicError, SymbolicTensor
from fusedlstm.tracing import Traced
from fusedlstm.training import Trainer


def _flat(owner: str, argument: str, value: Any) -> tuple[list[SymbolicTensor], list[str] | None]:
    """The symbolic tensors in one, a list or a dict, and the dict's keys."""
    keys = list(value) if isinstance(value, dict) else None
    items = list(value.values()) if isinstance(value, dict) else value
    tensors = list(items) if isinstance(items, list | tuple) else [items]
    if not tensors:
        raise ValueError(f"{owner}: expected {argument} to hold at least one symbolic tensor, got none")
    for tensor in tensors:
        if not isinstance(tensor, SymbolicTensor):
            raise TypeError(
                f"{owner}: expected {argument} to be what Input, or a layer called on it, returns, "
                f"got {type(tensor).__name__}"
            )
    return tensors, keys


def _names(tensors: Sequence[SymbolicTensor], keys: list[str] | None) -> list[str]:
    """The names of inputs or outputs: a dict's keys, else the layers' names, with numbers where they repeat."""
    if keys is not None:
        return keys
    names: list[str] = []
    for tensor in tensors:
        name, count = tensor.name, 0
        while name in names:
            count += 1
            name = f"{tensor.name}_{count}"
        names.append(name)
    return names


class Structured(Trainer):
    """The part of a `Model` that knows what is connected to what."""

    _later = False  # whether a subclass makes its graph after __init__

    #: A subclass may define it instead of giving inputs and outputs.
    call: Callable[..., Any] | None = None

    def __init__(
        self, inputs: Any = None, outputs: Any = None, name: str | None = None, trainable: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(name=name, trainable=trainable, **kwargs)
        self._traced: Traced | None = None
        self._overlap: bool | None = None
        self._spec: tuple[str, Spec] | None = None  # for a name, which may be set
        self._inputs: list[SymbolicTensor] = []
        self._outputs: list[SymbolicTensor] = []
        self._input_keys: list[str] | None = None
        self._output_keys: list[str] | None = None
        self.input_names: list[str] = []
        self.output_names: list[str] = []
        self._input_dtypes: list[np.dtype[Any] | None] = []
        if inputs is None and outputs is None and (self._later or self.call is not None):
            return
        if inputs is None or outputs is None:
            missing = "inputs" if inputs is None else "outputs"
            raise ValueError(f"{self.label}: expected inputs and outputs, got {missing}=None")
        self._trace(inputs, outputs)
        if not trainable:
            self.trainable = False

    def _trace(self, inputs: Any, outputs: Any) -> None:
        """Make the graph between symbolic tensors this model's."""
        tensors, self._input_keys = _flat(self.label, "inputs", inputs)
        results, self._output_keys = _flat(self.label, "outputs", outputs)
        traced = Traced(self.label, tensors, results)
        self._inputs, self._outputs = tensors, results
        self._traced, self._overlap, self._spec = traced, None, None
        self.input_names = _names(tensors, self._input_keys)
        self.output_names = _names(results, self._output_keys)
        self._input_dtypes = [self._dtype_of_input(k) for k in range(len(tensors))]
        if self._objective is not None and len(self._objective.outputs) != len(results):
            raise ValueError(f"{self.label}: has {len(results)} outputs: call build(input_shape) before compile()")
        self.dtype = results[0].dtype if results[0].dtype.kind == "f" else np.dtype("float32")
        self.built = True

    def _dtype_of_input(self, k: int) -> np.dtype[Any] | None:
        """What an input is cast to: as it says, else what the layers that take it compute in; None: for integers."""
        assert self._traced is not None
        tensor = self._inputs[k]
        source = tensor.layer
        if not isinstance(source, InputLayer):
            return tensor.dtype
        if source.given_dtype is not None:
            return source.given_dtype
        found = [
            call.layer.input_dtype(place)
            for call in self._traced.graph.calls
            for place, value in enumerate(call.inputs + call.states)
            if value == k
        ]
        floats = [dtype for dtype in found if dtype is not None]
        if found and not floats:
            return None
        return np.result_type(*floats) if floats else tensor.dtype

    # The layers.

    @property
    def layers(self) -> list[Layer]:
        """Every layer once, the inputs' too, in Keras's order: that of the weights."""
        if self._traced is not None and self.call is None:
            return list(self._traced.layers)
        own = super().sublayers  # of a subclass: the attributes
        traced = [] if self._traced is None else self._traced.layers
        return own + [layer for layer in traced if layer not in own and not isinstance(layer, InputLayer)]

    @property
    def sublayers(self) -> list[Any]:
        return self.layers

    @property
    def graph(self) -> Graph:
        """The calls that run."""
        self.require_built()
        assert self._traced is not None
        return self._traced.graph

    @property
    def calls(self) -> list[Node]:
        """The symbolic calls between inputs and outputs, in the order in which they run."""
        return [] if self._traced is None else list(self._traced.nodes)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of this name, or at this place.

        Raises
        ------
        ValueError
            If there is none, or not exactly one of `name` and `index` is given.
        """
        layers = self.layers
        if (name is None) == (index is None):
            raise ValueError(
                f"{self.label}: expected name or index in get_layer, got {'none' if name is None else 'both'}"
            )
        if index is not None:
            if not -len(layers) <= index < len(layers):
                raise ValueError(f"{self.label}: expected index of one of {len(layers)} layers, got {index}")
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        names = ", ".join(repr(layer.name) for layer in layers) or "none"
        raise ValueError(f"{self.label}: no layer {name!r}, there are: {names}")

    # Inputs and outputs.

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic inputs."""
        self.require_built()
        return list(self._inputs)

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic outputs."""
        self.require_built()
        return list(self._outputs)

    @property
    def input(self) -> Any:
        """The symbolic input, or the list of them."""
        inputs = self.inputs
        return inputs[0] if len(inputs) == 1 else inputs

    @property
    def output(self) -> Any:
        """The symbolic output, or the list of them."""
        outputs = self.outputs
        return outputs[0] if len(outputs) == 1 else outputs

    @property
    def input_shape(self) -> Any:
        """Shape of the inputs, None for sizes that vary; a list if there are several."""
        shapes = [tensor.shape for tensor in self.inputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_shape(self) -> Any:
        """Shape of the outputs, None for sizes that vary; a list if there are several."""
        shapes = [tensor.shape for tensor in self.outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    def pack(self, outputs: list[Any], several: bool = False) -> Any:
        if self._output_keys is not None:
            return dict(zip(self._output_keys, outputs, strict=True))
        return outputs[0] if len(outputs) == 1 else outputs

    def input_dtype(self, place: int) -> np.dtype[Any] | None:
        return self._input_dtypes[place]

    def output_dtypes(self, count: int, inputs: Any) -> list[np.dtype[Any]]:
        return [tensor.dtype for tensor in self._outputs]

    def _expected(self, k: int) -> Shape | None:
        """The shape that input `k` has to have, None if any may do."""
        return self._inputs[k].shape

    def _fits(self, k: int, shape: Shape) -> bool:
        expected = self._expected(k)
        return expected is None or (
            len(shape) == len(expected)
            and all(a is None or b is None or a == b for a, b in zip(shape[1:], expected[1:], strict=True))
        )

    def _check_shapes(self, input_shape: Any) -> list[Shape]:
        """The inputs' shapes, given as one or a list, as a list; or the error that one of them deserves."""
        count = max(len(self._inputs), 1)
        given = input_shape if isinstance(input_shape, list) else [input_shape]
        if len(given) != count:
            raise ValueError(f"{self.label}: expected {count} inputs, got {len(given)}")
        shapes = [self._check_dimensions("input_shape", shape) for shape in given]
        for k, shape in enumerate(shapes):
            if not self._fits(k, shape):
                sizes = ", ".join(["batch", *("any" if n is None else str(n) for n in (self._expected(k) or ())[1:])])
                which = "inputs" if count == 1 else f"input {self.input_names[k]!r}"
                raise ValueError(f"{self.label}: expected {which} ({sizes}), got {show_shape(shape)}")
        return shapes

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the outputs, a list if there are several, for inputs of this shape, or a list of shapes.

        A subclass's ``call`` is traced for it.
        """
        if not self.built and self.call is not None:
            self.build(input_shape)
        shapes = self.graph.output_shapes(self._check_shapes(input_shape))
        return shapes[0] if len(shapes) == 1 else shapes

    def build(self, input_shape: Any = None) -> None:
        """Trace a subclass's ``call``, for inputs of this shape, or list of shapes. Others are built from the start.

        Raises
        ------
        TypeError
            If ``call`` does with its inputs what only arrays can do.
        """
        if self.call is None or self.built:
            if input_shape is not None:
                self.compute_output_shape(input_shape)
            return
        several = isinstance(input_shape, list)
        shapes = [self._check_dimensions("input_shape", s) for s in (input_shape if several else [input_shape])]
        inputs = [InputLayer(batch_shape=shape).output for shape in shapes]
        known = inspect.signature(self.call).parameters
        options = {"training": FOLLOWING} if "training" in known else {}
        try:
            outputs = self.call(inputs if several else inputs[0], **options)
        except SymbolicError as error:
            raise TypeError(f"{self.label}: expected call to be made of layers and arithmetic: {error}") from error
        self._trace(inputs, outputs)

    def require_built(self) -> None:
        if not self.built:
            raise ValueError(f"{self.label}: not built yet: run it on data first")

    # Running.

    def spec(self) -> Spec:
        if not self.built:
            return Spec(self.label, [Place("input", None, None)], [Place("output", None, self.dtype)])
        known = self._spec
        if known is None or known[0] != self.name:
            known = self._spec = self.name, self._find_spec()
        return known[1]

    def _find_spec(self) -> Spec:
        inputs = [Place(name, self._expected(k), self._input_dtypes[k]) for k, name in enumerate(self.input_names)]
        floats = [t.dtype if t.dtype.kind == "f" else np.dtype("float32") for t in self._outputs]
        outputs = [Place(*parts) for parts in zip(self.output_names, [None] * len(floats), floats, strict=True)]
        return Spec(self.label, inputs, outputs)

    def fixed_batch(self) -> int | None:
        fixed = next((shape[0] for shape in map(self._expected, range(len(self._inputs))) if shape and shape[0]), None)
        return fixed if fixed and any(layer.stateful for layer in self.all_layers()) else None

    def prepare(self, x: list[Array]) -> list[Shape]:
        if not self.built:
            self.build((None, *x[0].shape[1:]))
        return self.graph.output_shapes([array.shape for array in x])
