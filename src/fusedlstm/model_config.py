"""A functional model as plain values, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from fusedlstm.layers.base import Layer
from fusedlstm.layers.input import InputLayer
from fusedlstm.symbolic import Node, SymbolicTensor, record

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
            entry: dict[str, Any] = {"class_name": type(layer).__name__, "number": len(known)}
            if id(layer) in known:
                entry["number"] = known[id(layer)][0]
            else:
                known[id(layer)] = len(known), layer
                entry["config"] = layer.get_config()
            entries.append(entry)
    return entries


def make_layers(owner: str, entries: Sequence[dict[str, Any]]) -> list[Layer]:
    """Layers and models of the package with new weights; a name is not looked for anywhere else.

    Raises
    ------
    ValueError
        If the package has no class of a name.
    """
    made = []
    with _outermost(_read) as known:
        for entry in entries:
            number = entry.get("number", object())  # one without a number is shared with no other
            if number not in known:
                known[number] = _make(owner, entry)
            made.append(known[number])
    return made


def _make(owner: str, entry: dict[str, Any]) -> Layer:
    from fusedlstm import layers, models
    from fusedlstm.layers import operations

    name = entry["class_name"]
    known = {**vars(operations), **{n: getattr(layers, n) for n in layers.__all__}, **vars(models)}
    found = known.get(name)
    if not (isinstance(found, type) and issubclass(found, Layer)):
        raise ValueError(f"{owner}: unknown layer class {name!r}")
    made: Layer = found.from_config(entry["config"])
    return made


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
                "training": node.training,
                "arguments": node.arguments,
            }
            for node in calls
        ],
        "inputs": structure(model.inputs, model._input_keys),
        "outputs": structure(model.outputs, model._output_keys),
    }


def from_config(cls: type[Model], config: dict[str, Any]) -> Model:
    """The inverse of `get_config`."""
    owner = f"{cls.__name__} '{config.get('name')}'"
    layers = {layer.name: layer for layer in make_layers(owner, config["layers"])}
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
        arguments = dict(call["arguments"])
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
