"""The sequential model: one layer after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fusedlstm.data import Place, Spec
from fusedlstm.functional import Model
from fusedlstm.graph import chain
from fusedlstm.layers.base import Array, Layer, Shape
from fusedlstm.layers.input import InputLayer
from fusedlstm.model_config import layer_configs, make_layers
from fusedlstm.symbolic import SymbolicTensor, record


class Sequential(Model):
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

    _later = True

    def __init__(self, layers: Sequence[Any] | None = None, name: str | None = None, trainable: bool = True) -> None:
        self._layers: list[Layer] = []
        self._input: InputLayer | None = None
        self._chain: list[SymbolicTensor] = []  # the input, then each layer's output, once built
        super().__init__(name=name, trainable=trainable)
        if layers is not None and not isinstance(layers, list | tuple):
            layers = [layers]
        for layer in layers or ():
            self._append(layer)
        self._build_if_known()
        if not trainable:
            self.trainable = False

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
                del self._chain[len(self._layers) + 1 :]
                self._build_if_known()
            raise

    def _append(self, layer: Any) -> None:
        if isinstance(layer, SymbolicTensor):
            if not isinstance(layer.layer, InputLayer):
                raise TypeError(f"{self.label}: expected a layer, got the output of {layer.layer.label}")
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
            if self in layer.all_layers():
                raise ValueError(f"{self.label}: expected a layer that does not hold this model, got {layer.label}")
            self._layers.append(layer)
            self.dtype = self._layers[0].dtype
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
        del self._chain[len(self._layers) + 1 :]
        self.built = False
        if rebuild:
            self._build_if_known()
        return layer

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
        known = self._known_shape()
        shape = input_shape if known is None else known
        chain(self._layers).output_shapes([shape], build=True)
        if not self._chain or self._chain[0].shape != shape:
            source = self._input or InputLayer(batch_shape=shape)
            self._chain = [source.nodes[0].outputs[0]]
        for layer in self._layers[len(self._chain) - 1 :]:
            self._chain.append(record(layer, self._chain[-1], None, None, {}))
        self._trace(self._chain[0], self._chain[-1])
        self.batch_input_shape = shape

    def _check_chain(self, input_shape: Shape) -> Any:
        self._require_layers()
        if self._input is not None:
            self._input.check_shape(input_shape)
        shape: Any = input_shape
        for layer in self._layers:
            shape = layer.compute_output_shape(shape)
            if isinstance(shape, list):
                raise ValueError(f"{self.label}: expected layers of one output, {layer.label} has {len(shape)}")
        return shape

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the outputs for inputs of this shape; the model need not be built."""
        if isinstance(input_shape, list) and len(input_shape) == 1 and isinstance(input_shape[0], tuple):
            input_shape = input_shape[0]
        return self._check_chain(self._check_dimensions("input_shape", input_shape))

    def _expected(self, k: int) -> Shape | None:
        # A shape that only the first data told binds no one: the layers check what they need.
        return self._known_shape()

    def require_built(self) -> None:
        if not self.built:
            raise ValueError(
                f"{self.label}: not built yet: start with Input(shape), give the first layer input_shape=, "
                "or call build(input_shape)"
            )

    # Running.

    def _require_layers(self) -> None:
        if not self._layers:
            raise ValueError(f"{self.label}: expected at least one layer, there is none")

    def spec(self) -> Spec:
        self._require_layers()
        if self.built:
            return super().spec()
        first, last = self._layers[0], self._layers[-1]
        given = None if self._input is None else self._input.given_dtype
        name = "input" if self._input is None else self._input.name
        dtype = first.input_dtype(0) if given is None else given
        return Spec(self.label, [Place(name, self._known_shape(), dtype)], [Place(last.name, None, last.dtype)])

    def prepare(self, x: list[Array]) -> list[Shape]:
        return [self.compute_output_shape(x[0].shape)]

    def check_inputs(self, inputs: Any) -> Any:
        self._require_layers()
        return super().check_inputs(inputs)

    # Saving.

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to make an equal model with new weights."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "build_input_shape": self._known_shape() or (self.batch_input_shape if self.built else None),
            "layers": layer_configs(self._layers),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Sequential:
        """A model from what `get_config` gave; see `Model.from_config`."""
        model = cls(name=config.get("name"), trainable=config.get("trainable", True))
        for layer in make_layers(model.label, config["layers"], custom_objects):
            model._append(layer)
        if config.get("build_input_shape") is not None:
            model.build(config["build_input_shape"])
        return model
