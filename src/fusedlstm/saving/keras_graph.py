"""The calls of a functional model as Keras keeps them, with each layer, and as this package does, in one list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fusedlstm.saving.errors import FileError

_TENSOR = "__keras_tensor__"
_SLICE = "__slice__"
#: Arithmetic's operations and the classes that Keras has for them.
_OPERATIONS = {"add": "Add", "subtract": "Subtract", "multiply": "Multiply", "divide": "Divide", "power": "Power"}
_FROM_KERAS = {**{there: here for here, there in _OPERATIONS.items()}, "TrueDivide": "divide"}


# To Keras.


def graph_to_keras(config: dict[str, Any], entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Keras's config of a model from its own and the layers' entries in Keras's form."""
    made = {entry["config"]["name"]: {**entry, "inbound_nodes": []} for entry in entries}
    counts: dict[str, int] = {}
    places: list[tuple[str, int]] = []  # of each call: its layer, and which call of that layer it is

    def tensor(place: Any) -> Any:
        if place is None:
            return None
        source, position = place
        name, node = (source, 0) if isinstance(source, str) else places[source]
        # Keras finds the tensor by its history alone.
        return {
            "class_name": _TENSOR,
            "config": {"shape": [], "dtype": "float32", "keras_history": [name, node, position]},
        }

    for call in config["calls"]:
        name = call["layer"]
        layer = made[name]
        places.append((name, counts.get(name, 0)))
        counts[name] = counts.get(name, 0) + 1
        layer["inbound_nodes"].append(_node_to_keras(layer, call, tensor))
    for layer in made.values():
        _operation_to_keras(layer)

    def ends(structure: Any) -> Any:
        def end(place: Any) -> list[Any]:
            history: list[Any] = tensor(place)["config"]["keras_history"]
            return history

        if isinstance(structure, dict):
            return {key: end(place) for key, place in structure.items()}
        found = [end(place) for place in structure]
        return found[0] if len(found) == 1 else found

    return {
        "name": config["name"],
        "trainable": config["trainable"],
        "layers": list(made.values()),
        "input_layers": ends(config["inputs"]),
        "output_layers": ends(config["outputs"]),
    }


def _node_to_keras(layer: dict[str, Any], call: dict[str, Any], tensor: Callable[[Any], Any]) -> dict[str, Any]:
    inputs = [tensor(place) for place in call["inputs"]]
    given = {key: value for key, value in call["arguments"].items() if value is not None and value is not False}
    keywords = {**given, **{key: tensor(place) for key, place in call["tensors"].items()}}
    if call["states"]:
        keywords["initial_state"] = [tensor(place) for place in call["states"]]
    if call["training"] is not None:
        keywords["training"] = call["training"]
    name = layer["class_name"]
    masks = [tensor(place) for place in call["masks"]]
    if name == "MultiHeadAttention":
        if any(mask is not None for mask in masks):
            parts = ("query_mask", "value_mask", "key_mask")
            keywords.update({part: mask for part, mask in zip(parts, masks, strict=False) if mask is not None})
        return {"args": inputs, "kwargs": keywords}
    if any(mask is not None for mask in masks):
        keywords["mask"] = masks if call["listed"] else masks[0]
    if name == "Arithmetic":
        return {"args": _operands(layer["config"], inputs), "kwargs": {}}
    if name == "Slice":
        return {"args": [inputs[0], [_key_to_keras(k) for k in layer["config"]["key"]]], "kwargs": {}}
    return {"args": [inputs if call["listed"] else inputs[0]], "kwargs": keywords}


def _operands(config: dict[str, Any], inputs: list[Any]) -> list[Any]:
    constant = config["constant"]
    if constant is None:
        return inputs
    if isinstance(constant, list):
        raise ValueError(f"'{config['name']}' has an array as its constant, which is not written for Keras")
    return [constant, inputs[0]] if config["reverse"] else [inputs[0], constant]


def _key_to_keras(key: Any) -> Any:
    if isinstance(key, dict) and key.get("kind") == "slice":
        return {"class_name": _SLICE, "config": {name: key[name] for name in ("start", "stop", "step")}}
    if isinstance(key, dict):
        raise ValueError("x[...] with an ellipsis is not written for Keras")
    return key


def _operation_to_keras(layer: dict[str, Any]) -> None:
    name = layer["class_name"]
    if name in ("Arithmetic", "Slice"):
        there = "GetItem" if name == "Slice" else _OPERATIONS[layer["config"]["operation"]]
        layer.update(module="keras.src.ops.numpy", class_name=there, registered_name=there)
        layer["config"] = {"name": layer["name"]}


# From Keras.


def graph_from_keras(config: dict[str, Any], convert: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """A model's config from Keras's; `convert` turns a layer's entry into this package's."""
    entries = {entry["name"] if "name" in entry else entry["config"]["name"]: entry for entry in config["layers"]}
    made: dict[str, dict[str, Any]] = {}
    calls: list[dict[str, Any]] = []
    numbers: dict[tuple[str, int], int] = {}
    ends = [*_listed(config["input_layers"]), *_listed(config["output_layers"])]
    waiting = [(name, node) for name, node, _ in reversed(ends)]
    begun: set[tuple[str, int]] = set()
    while waiting:  # what a call takes comes ahead of it
        name, node = waiting[-1]
        entry = entries.get(name)
        if entry is None:
            raise FileError(f"the model has no layer {name!r}, which is called")
        if (name, node) in numbers or entry["class_name"] == "InputLayer":
            waiting.pop()
            continue
        nodes = entry.get("inbound_nodes", ())
        if not 0 <= node < len(nodes):
            raise FileError(f"layer {name!r} is called {len(nodes)} times, not {node + 1}")
        arguments = _arguments(entry, nodes[node], entries)
        missing = [
            source
            for source in _sources(arguments)
            if source not in numbers and entries.get(source[0], {}).get("class_name") != "InputLayer"
        ]
        if missing:
            if (name, node) in begun:
                raise FileError(f"layer {name!r} depends on its own outputs")
            begun.add((name, node))
            waiting += missing
            continue
        waiting.pop()
        numbers[name, node] = len(calls)
        key = name if not _is_operation(entry) or node == 0 else f"{name}__{node}"
        if _is_operation(entry):
            made[key] = _operation_from_keras(entry, arguments, key)
        calls.append(_call(key, entry, arguments, numbers))
    for name, entry in entries.items():
        used = entry["class_name"] == "InputLayer" or any(call["layer"] == name for call in calls)
        if used and name not in made:
            made[name] = convert(entry)
    order = [name for name in entries if name in made]
    order += [name for name in made if name not in entries]

    def place(end: Any) -> list[Any]:
        return _place(tuple(end), numbers)

    def structure(found: Any) -> Any:
        if isinstance(found, dict):
            return {key: place(end) for key, end in found.items()}
        return [place(end) for end in _listed(found)]

    return {
        "name": config.get("name"),
        "trainable": config.get("trainable", True),
        "layers": [made[name] for name in order],
        "calls": calls,
        "inputs": structure(config["input_layers"]),
        "outputs": structure(config["output_layers"]),
    }


def _listed(ends: Any) -> list[Any]:
    if isinstance(ends, dict):
        return list(ends.values())
    return [ends] if ends and isinstance(ends[0], str) else list(ends)


def _is_operation(entry: dict[str, Any]) -> bool:
    return str(entry.get("module")).startswith("keras.src.ops")


def _history(value: Any) -> tuple[str, int, int] | None:
    if isinstance(value, dict) and value.get("class_name") == _TENSOR:
        name, node, position = value["config"]["keras_history"]
        return str(name), int(node), int(position)
    return None


def _arguments(entry: dict[str, Any], node: dict[str, Any], entries: dict[str, Any]) -> dict[str, Any]:
    """``args`` and ``kwargs`` of a call, without the masks that come along by themselves."""
    kept = {}
    for key, value in node.get("kwargs", {}).items():
        if value is None:
            continue
        if "mask" in key and key != "attention_mask":
            histories = [_history(item) for item in (value if isinstance(value, list) else [value])]
            if all(h is None or _is_operation(entries.get(h[0], {})) for h in histories):
                continue
        if key == "training" and value is False:
            continue
        kept[key] = value
    return {"args": list(node.get("args", ())), "kwargs": kept}


def _sources(arguments: Any) -> list[tuple[str, int]]:
    found = _history(arguments)
    if found is not None:
        return [found[:2]]
    items = arguments.values() if isinstance(arguments, dict) else arguments if isinstance(arguments, list) else ()
    return [source for item in items for source in _sources(item)]


def _place(history: tuple[str, int, int], numbers: dict[tuple[str, int], int]) -> list[Any]:
    name, node, position = history
    # An input goes by its name.
    return [numbers.get((name, node), name), position]


def _call(
    key: str, entry: dict[str, Any], arguments: dict[str, Any], numbers: dict[tuple[str, int], int]
) -> dict[str, Any]:
    args, keywords = arguments["args"], dict(arguments["kwargs"])

    def place(value: Any) -> Any:
        history = _history(value)
        return None if history is None else _place(history, numbers)

    name = entry["class_name"]
    states: list[Any] = keywords.pop("initial_state", None) or []
    masks = keywords.pop("mask", None)
    if _is_operation(entry):
        inputs, listed = [a for a in args if _history(a)], sum(map(bool, map(_history, args))) > 1
    elif name == "MultiHeadAttention":
        inputs, listed = args + [keywords.pop(part) for part in ("value", "key") if part in keywords], True
        parts = [keywords.pop(part, None) for part in ("query_mask", "value_mask", "key_mask")]
        masks = parts[: len(inputs)] if any(parts) else None
    elif args and isinstance(args[0], list):
        inputs, listed = args[0], True
    else:
        inputs, listed = args[:1], False
        if len(args) > 1 and not states:
            states = args[1] if isinstance(args[1], list) else [args[1]]
    tensors = {key: place(value) for key, value in keywords.items() if _history(value)}
    others = {key: value for key, value in keywords.items() if not _history(value) and key != "training"}
    return {
        "layer": key,
        "inputs": [place(value) for value in inputs],
        "listed": listed,
        "states": [place(value) for value in (states if isinstance(states, list) else [states])],
        "masks": [] if masks is None else [place(mask) for mask in (masks if isinstance(masks, list) else [masks])],
        "tensors": tensors,
        "training": keywords.get("training"),
        "arguments": others,
    }


def _operation_from_keras(entry: dict[str, Any], arguments: dict[str, Any], name: str) -> dict[str, Any]:
    args, there = arguments["args"], entry["class_name"]
    if there == "GetItem":
        key = args[1] if isinstance(args[1], list) else [args[1]]
        return {"class_name": "Slice", "config": {"name": name, "key": [_key_from_keras(k) for k in key]}}
    if there not in _FROM_KERAS:
        raise FileError(f"the operation {there} of {name!r} on symbolic tensors is not one that can be loaded")
    constants = [a for a in args if not _history(a)]
    if any(not isinstance(a, int | float) for a in constants) or len(args) != 2:
        raise FileError(f"expected tensors and numbers for {there} of {name!r}, got {constants!r}")
    config = {
        "name": name,
        "operation": _FROM_KERAS[there],
        "constant": constants[0] if constants else None,
        "reverse": bool(constants) and not _history(args[0]),
    }
    return {"class_name": "Arithmetic", "config": config}


def _key_from_keras(key: Any) -> Any:
    if isinstance(key, dict) and key.get("class_name") == _SLICE:
        return {"kind": "slice", **{name: key["config"].get(name) for name in ("start", "stop", "step")}}
    return key
