"""Models: layers put together, to be trained and run as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fusedlstm.data import Spec
from fusedlstm.graph import Graph, chain
from fusedlstm.layers.base import Array, Backward, Layer, Shape
from fusedlstm.layers.input import InputLayer, SymbolicTensor
from fusedlstm.training import Trainer
from fusedlstm.utils.summary import summarize
from fusedlstm.variables import Variable


class Sequential(Trainer):
    """Layers one after the other.

    It is built, which is when the weights are made, as soon as the shape of its inputs is known: from `Input` as the
    first item, from ``input_shape=`` of the first layer, from `build`, or else from the first data.

    Parameters
    ----------
    layers : sequence of Layer, optional
        May start with ``Input(shape)``.
    name : str, optional
        `sequential`, `sequential_1` ... if None.
    trainable : bool
        Whether training changes the layers' weights.

    Attributes
    ----------
    history : History or None
        Of the last `fit`.
    stop_training : bool
        Set it to True, from a callback, to end `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedlstm.layers import LSTM, Dense, Input
    >>> model = Sequential([Input((10, 1)), LSTM(16), Dense(1)])
    >>> model.compile(optimizer="adam", loss="mse")
    >>> history = model.fit(np.zeros((64, 10, 1)), np.zeros(64), epochs=2, verbose=0)
    >>> model.predict(np.zeros((3, 10, 1)), verbose=0).shape
    (3, 1)
    """

    def __init__(self, layers: Sequence[Any] | None = None, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        self._layers: list[Layer] = []
        self._input: InputLayer | None = None
        self._graph: Graph | None = None
        if layers is not None and not isinstance(layers, list | tuple):
            layers = [layers]
        for layer in layers or ():
            self._append(layer)
        self._build_if_known()

    # The layers.

    @property
    def layers(self) -> list[Layer]:
        """The layers in their order, without the input."""
        return list(self._layers)

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Append a layer, or ``Input(shape)`` to an empty model.

        Raises
        ------
        TypeError
            If it is not a layer.
        ValueError
            If its name is taken, or it does not fit the one ahead; the model stays as it was.
        """
        self._append(layer)
        if not rebuild:
            return
        try:
            self._build_if_known()
        except (TypeError, ValueError):
            if isinstance(layer, Layer) and self._layers and self._layers[-1] is layer:
                self._layers.pop()
            raise

    def _append(self, layer: Any) -> None:
        if isinstance(layer, SymbolicTensor):
            layer = layer.layer
        if not isinstance(layer, Layer):
            made = f"the class {layer.__name__}; call it to make one" if isinstance(layer, type) else repr(layer)
            raise TypeError(f"{self.label}: expected a layer, got {made}")
        if isinstance(layer, InputLayer):
            if self._layers or self._input is not None:
                raise ValueError(f"{self.label}: expected an input in the first place only, got {layer.label}")
            self._input = layer
        else:
            if any(layer.name == other.name for other in self._layers):
                raise ValueError(f"{self.label}: expected layers of different names, got '{layer.name}' twice")
            self._layers.append(layer)
            self.dtype = self._layers[0].dtype
        self._graph = None
        self.built = False

    def pop(self, rebuild: bool = True) -> Layer:
        """Remove the last layer and return it.

        Raises
        ------
        ValueError
            If there is none.
        """
        if not self._layers:
            raise ValueError(f"{self.label}: expected a layer to remove, there is none")
        layer = self._layers.pop()
        self._graph = None
        self.built = False
        if rebuild:
            self._build_if_known()
        return layer

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of this name, or at this place.

        Raises
        ------
        ValueError
            If there is none, or not exactly one of `name` and `index` is given.
        """
        if (name is None) == (index is None):
            raise ValueError(
                f"{self.label}: expected name or index in get_layer, got {'none' if name is None else 'both'}"
            )
        if index is not None:
            if not -len(self._layers) <= index < len(self._layers):
                raise ValueError(f"{self.label}: expected index of one of {len(self._layers)} layers, got {index}")
            return self._layers[index]
        for layer in self._layers:
            if layer.name == name:
                return layer
        names = ", ".join(repr(layer.name) for layer in self._layers) or "none"
        raise ValueError(f"{self.label}: no layer {name!r}, there are: {names}")

    # Building.

    def _known_shape(self) -> Shape | None:
        if self._input is not None:
            return self._input.batch_shape
        return self._layers[0].batch_input_shape if self._layers else None

    def _build_if_known(self) -> None:
        shape = self._known_shape()
        if self._layers and shape is not None and all(n is not None for n in shape[-1:]):
            self.build(shape)

    def build(self, input_shape: Any = None) -> None:
        """Make the weights of all layers that have none, for inputs of this shape (with the batch axis).

        Raises
        ------
        ValueError
            By the first layer that its inputs do not fit; nothing is built then.
        """
        if input_shape is None:
            input_shape = self._known_shape()
            if input_shape is None:
                raise ValueError(f"{self.label}: expected input_shape in build(), got None")
        input_shape = self._check_dimensions("input_shape", input_shape)
        self._check_chain(input_shape)
        graph = chain(self._layers)
        graph.output_shapes([input_shape], build=True)
        known = self._known_shape()
        self.batch_input_shape = (None, *input_shape[1:]) if known is None else known
        self._graph = graph
        self.built = True

    def _check_chain(self, input_shape: Shape) -> Any:
        if not self._layers:
            raise ValueError(f"{self.label}: expected at least one layer, there is none")
        if self._input is not None:
            self._input.check_shape(input_shape)
        shape: Any = input_shape
        for layer in self._layers:
            shape = layer.compute_output_shape(shape)
            if isinstance(shape, list):
                raise ValueError(f"{self.label}: expected layers of one output, {layer.label} has {len(shape)}")
        return shape

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Shape of the outputs for inputs of this shape; the model need not be built."""
        shape: Shape = self._check_chain(self._check_dimensions("input_shape", input_shape))
        return shape

    def fits(self, shape: Shape) -> bool:
        # A shape that only the first data told binds no one: the layers check what they need.
        expected = self._known_shape()
        return len(shape) >= 1 and (
            expected is None
            or (
                len(shape) == len(expected)
                and all(a is None or b is None or a == b for a, b in zip(shape[1:], expected[1:], strict=True))
            )
        )

    def expected_inputs(self) -> str:
        sizes = (self._known_shape() or (None,))[1:]
        return "(" + ", ".join(["batch", *("any" if n is None else str(n) for n in sizes)]) + ")"

    @property
    def input_shape(self) -> Shape:
        """Shape of the inputs, None for sizes that vary."""
        self.require_built()
        assert self.batch_input_shape is not None
        return self.batch_input_shape

    @property
    def output_shape(self) -> Shape:
        """Shape of the outputs, None for sizes that vary."""
        return self.compute_output_shape((None, *self.input_shape[1:]))

    def output_shape_of(self, layer: Layer) -> Any:
        """Shape of the outputs of one of the layers, None if the model is not built."""
        if not self.built:
            return None
        shape: Any = (None, *self.input_shape[1:])
        for other in self._layers:
            shape = other.compute_output_shape(shape)
            if other is layer:
                break
        return shape

    @property
    def weights(self) -> list[Variable]:
        return [variable for layer in self._layers for variable in layer.weights]

    @property
    def trainable_weights(self) -> list[Variable]:
        if not self.trainable:
            return []
        return [variable for layer in self._layers for variable in layer.trainable_weights]

    @property
    def learns(self) -> bool:
        return self.trainable and any(layer.learns for layer in self._layers)

    def require_built(self) -> None:
        if not self.built:
            raise ValueError(
                f"{self.label}: not built yet: start with Input(shape), give the first layer input_shape=, "
                "or call build(input_shape)"
            )

    # Running.

    def spec(self) -> Spec:
        if not self._layers:
            raise ValueError(f"{self.label}: expected at least one layer, there is none")
        return Spec(self.label, self._known_shape(), self._layers[0].dtype, self._layers[-1].dtype)

    def prepare(self, x: list[Array]) -> Shape:
        return self.compute_output_shape(x[0].shape)

    def run(self, x: list[Array], training: bool, need_backward: bool) -> tuple[Array, Any, Backward | None]:
        assert self._graph is not None
        outputs, masks, backward = self._graph.forward(x, training, None, need_backward)
        if backward is None:
            return outputs[0], masks[0], None

        def run_backward(d_outputs: Any) -> None:
            backward(d_outputs)
            self._collect()

        return outputs[0], masks[0], run_backward

    def _collect(self) -> None:
        self.gradients = [g for layer in self._layers for g in layer.gradients] if self.trainable else []

    def check_inputs(self, inputs: Any) -> Array:
        if not self._layers:
            raise ValueError(f"{self.label}: expected at least one layer, there is none")
        return super().check_inputs(inputs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The outputs' mask; found by running the layers, unless there is none to pass on."""
        if mask is None and not any(layer.makes_mask for layer in self._layers):
            return None
        assert self._graph is not None
        return self._graph.forward([inputs], False, [mask])[1][0]

    def forward(
        self,
        inputs: Any,
        training: bool = False,
        mask: Any = None,
        *,
        need_backward: bool | None = None,
        need_d_inputs: bool = True,
    ) -> tuple[Array, Backward | None]:
        """Run all layers; see `Layer.forward`."""
        x = self.check_inputs(inputs)
        keep = training if need_backward is None else need_backward
        assert self._graph is not None
        outputs, _, backward = self._graph.forward([x], training, [mask], keep, need_d_inputs)
        if backward is None:
            return outputs[0], None

        def run_backward(d_outputs: Any) -> Any:
            d_inputs = backward([d_outputs])
            self._collect()
            return d_inputs[0]

        return outputs[0], run_backward

    # Showing and saving.

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
    ) -> None:
        """Print a table of the layers, their output shapes and how many weights they have.

        Parameters
        ----------
        line_length : int, optional
            Width of the table.
        positions : sequence of float, optional
            Where each column ends, as a share of the width or in characters.
        print_fn : function, optional
            Gets the whole text once; `print` if None.
        expand_nested : bool
            List the layers of models inside this one.
        show_trainable : bool
            Add a column that tells whether training changes a layer.
        layer_range : (str, str), optional
            Names of the first and the last layer to list.

        Raises
        ------
        ValueError
            If there is no layer of a name in `layer_range`.
        """
        first, last = 0, len(self._layers) - 1
        if layer_range is not None:
            first, last = sorted(self._layers.index(self.get_layer(name)) for name in layer_range)
        text = summarize(
            self,
            [(layer, self.output_shape_of(layer)) for layer in self._layers[first : last + 1]],
            line_length=line_length,
            positions=positions,
            expand_nested=expand_nested,
            show_trainable=show_trainable,
        )
        (print_fn or print)(text)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to make an equal model with new weights."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "build_input_shape": self._known_shape() or (self.batch_input_shape if self.built else None),
            "layers": [{"class_name": type(layer).__name__, "config": layer.get_config()} for layer in self._layers],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Sequential:
        """A model from what `get_config` gave; no name in it is resolved outside the package's own layers."""
        import fusedlstm.layers as known

        model = cls(name=config.get("name"), trainable=config.get("trainable", True))
        for entry in config["layers"]:
            name = entry["class_name"]
            if name == "Sequential":
                model._append(cls.from_config(entry["config"]))
            elif name in known.__all__:
                model._append(getattr(known, name).from_config(entry["config"]))
            else:
                raise ValueError(f"{model.label}: unknown layer class {name!r}")
        if config.get("build_input_shape") is not None:
            model.build(config["build_input_shape"])
        return model
