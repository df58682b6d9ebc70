"""A functional model as plain values, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from fusedlstm.layers.base import Layer
from fusedlstm.layers.input import InputLayer
from fusedlstm.symbolic import Node, SymbolicTensor, record
from fusedlstm.utils.custom_objects import class_name, custom_object_scope, find_custom

if TYPE_CHECKING:
    from fusedlstm.functional import Model


# While the outermost model is written or read: which number each layer has, or which layer each number is. A layer may
# be part of several models inside one.
_written: ContextVar[dict[int, tuple[int, Layer]] | None] = ContextVar("written", default=None)
_read: ContextVar[dict[Any, Layer] | None] = ContextVar("read", default=None)


@contextmanager
def _outermost(variable: ContextVar[Any]) -> Iterator[dict[int, Any]]:
    known = variable.get()
    if known is not None:
        yield known
        return
    token = variable.set({})
    try:
        yield variable.get()
    finally:
        variable.reset(token)


def layer_configs(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """``{"class_name": ..., "config": ..., "number": ...}`` of each, from which `make_layers` makes equal ones.

    A layer that was written before, in this model or in one around it, has its number alone, without the config.
    """
    entries = []
    with _outermost(_written) as known:
        for layer in layers:
            entry: dict[str, Any] = {"class_name": class_name(type(layer)), "number": len(known)}
            if id(layer) in known:
                entry["number"] = known[id(layer)][0]
            else:
                known[id(layer)] = len(known), layer
                entry["config"] = layer.get_config()
            entries.append(entry)
    return entries


def make_layers(
    owner: str, entries: Sequence[dict[str, Any]], custom_objects: Mapping[str, Any] | None = None
) -> list[Layer]:
    """Layers and models with new weights: of the package, of `custom_objects`, or registered.

    Raises
    ------
    ValueError
        If there is no class of a name; it is not looked for anywhere else.
    TypeError
        If an own class's `get_config` does not give the arguments that it needs.
    """
    made = []
    with _outermost(_read) as known, custom_object_scope(custom_objects):
        for entry in entries:
            number = entry.get("number", object())  # one without a number is shared with no other
            if number not in known:
                known[number] = _make(owner, entry)
            made.append(known[number])
    return made


def owner_of(cls: type[Layer], config: Mapping[str, Any]) -> str:
    """How errors call the layer that a config is of."""
    return f"{cls.__name__} '{config['name']}'" if "name" in config else cls.__name__


def _make(owner: str, entry: dict[str, Any]) -> Layer:
    from fusedlstm import layers, models
    from fusedlstm.layers import operations

    name = entry["class_name"]
    own = find_custom(name, Layer)
    if own is not None:
        try:
            mine: Layer = own.from_config(entry["config"])
        except TypeError as error:
            raise TypeError(
                f"{owner}: {name} cannot be made from its config, its get_config has to give the arguments of its "
                f"class: {error}"
            ) from error
        return mine
    known = {**vars(operations), **{n: getattr(layers, n) for n in layers.__all__}, **vars(models)}
    found = known.get(name)
    if not (isinstance(found, type) and issubclass(found, Layer)):
        raise ValueError(
            f"{owner}: unknown layer class {name!r}: a subclass of Layer goes into custom_objects={{{name!r}: ...}}"
        )
    made: Layer = found.from_config(entry["config"])
    return made


def _model() -> type[Model]:
    from fusedlstm.functional import Model

    return Model


def get_config(model: Model) -> dict[str, Any]:
    """The layers, their calls in the order in which they run, and which tensors are the inputs and outputs."""
    calls = model.calls
    numbers: dict[int, Any] = {id(node): k for k, node in enumerate(calls)}

    def place(tensor: SymbolicTensor | None) -> Any:
        if tensor is None:
            return None
        if isinstance(tensor.layer, InputLayer):
            return [tensor.layer.name, tensor.position]
        return [numbers[id(tensor.node)], tensor.position]

    def structure(tensors: list[SymbolicTensor], keys: list[str] | None) -> Any:
        places = [place(tensor) for tensor in tensors]
        return places if keys is None else dict(zip(keys, places, strict=True))

    for tensor in model.inputs:
        if not isinstance(tensor.layer, InputLayer):
            raise ValueError(
                f"{model.label}: expected inputs made by Input in get_config, got one of {tensor.layer.label}"
            )
    layers = layer_configs(model.layers)
    return {
        "name": model.name,
        "trainable": model.trainable,
        "layers": layers,
        "calls": [
            {
                "layer": node.layer.name,
                "inputs": [place(tensor) for tensor in node.inputs],
                "listed": node.listed,
                "states": [place(tensor) for tensor in node.states],
                "masks": [place(tensor) for tensor in node.masks],
                "tensors": {name: place(tensor) for name, tensor in node.tensors.items()},
                "training": node.training,
                "arguments": node.arguments,
            }
            for node in calls
        ],
        "inputs": structure(model.inputs, model._input_keys),
        "outputs": structure(model.outputs, model._output_keys),
    }


def from_config(cls: type[Model], config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Model:
    """The inverse of `get_config`."""
    owner = owner_of(cls, config)
    if "calls" not in config:  # of a subclass that gives its own arguments
        with custom_object_scope(custom_objects):
            return cls(**config)
    if cls.__init__ is not _model().__init__:
        raise TypeError(f"{owner}: expected get_config to give the arguments of {cls.__name__}, got those of Model")
    layers = {layer.name: layer for layer in make_layers(owner, config["layers"], custom_objects)}
    nodes: list[Node] = []

    def tensor(place: Any) -> Any:
        if place is None:
            return None
        source, position = place
        node = layers[source].nodes[0] if isinstance(source, str) else nodes[source]
        return node.outputs[position]

    def structure(places: Any) -> Any:
        if isinstance(places, dict):
            return {key: tensor(place) for key, place in places.items()}
        return [tensor(place) for place in places]

    for call in config["calls"]:
        layer = layers[call["layer"]]
        inputs = [tensor(place) for place in call["inputs"]]
        arguments = {**call["arguments"], **{name: tensor(place) for name, place in call["tensors"].items()}}
        if call["states"]:
            arguments["initial_state"] = [tensor(place) for place in call["states"]]
        masks = [tensor(place) for place in call["masks"]] or None
        record(layer, inputs if call["listed"] else inputs[0], call["training"], masks, arguments)
        nodes.append(layer.nodes[-1])
    return cls(
        structure(config["inputs"]),
        structure(config["outputs"]),
        name=config.get("name"),
        trainable=config.get("trainable", True),
    )
