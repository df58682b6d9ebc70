"""A model's configuration as Keras writes it into ``config.json``, from and to this package's own."""

from __future__ import annotations

import inspect
from typing import Any

from fusedlstm import layers, losses, metrics
from fusedlstm.saving.errors import FileError
from fusedlstm.saving.keras_graph import graph_from_keras, graph_to_keras
from fusedlstm.utils.custom_objects import is_function_config

#: What Keras's layers have besides, and the values at which it makes no difference.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "quantization_config": (None,), "lora_rank": (None,), "lora_alpha": (None,), "data_format": (None, "channels_last"),
    "use_gate": (False,), "attention_axes": (None, [1]), "flash_attention": (None, False), "sparse": (False, None),
    "ragged": (False, None), "optional": (False, None), "renorm": (False,), "renorm_clipping": (None,),
    "renorm_momentum": (0.99,), "synchronized": (False,), "use_cudnn": ("auto", True, False),
    "implementation": (0, 1, 2), "autocast": (True,), "rms_scaling": (False,),
}  # fmt: skip
#: What this package's layers have besides.
_OWN = frozenset(
    ["peephole", "coupled_gates", "removed", "cell_clip", "full_gate_recurrence", "layer_norm", "layer_norm_epsilon",
     "projection", "zoneout_h", "zoneout_c"]
)  # fmt: skip
_NOT_IN_KERAS = frozenset(["MUT1", "MUT2", "MUT3"])
_KERAS_FUNCTIONS = frozenset(name for name in (*losses.__all__, *metrics.__all__) if name.islower())
_FUNCTION = "function"
_KINDS = ("initializer", "regularizer", "constraint")


# To Keras.


def to_keras(model: Any, entry: dict[str, Any]) -> dict[str, Any]:
    """Keras's form of a model's entry.

    Raises
    ------
    ValueError
        If it has layers, or options of layers, that Keras lacks.
    """
    made = _layer_to_keras(entry, model.label, {})
    compiled = entry.get("compile_config")
    return {**made, "compile_config": None if compiled is None else _compile_to_keras(compiled)}


def _layer_to_keras(entry: dict[str, Any], owner: str, seen: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    name, number = entry["class_name"], entry.get("number")
    if "config" not in entry:
        return seen[number]
    config = dict(entry["config"])
    label = f"{name} '{config.get('name')}'"
    if name in _NOT_IN_KERAS:
        raise ValueError(f"{owner}: Keras has no {name}, that of {label}: save it as .fusedlstm")
    made: dict[str, Any] = {"module": "keras.layers", "class_name": name, "registered_name": None}
    if name == "Sequential":
        made["module"] = "keras"
        config = {**config, "layers": [_layer_to_keras(e, owner, seen) for e in config["layers"]]}
    elif "calls" in config:
        made.update(module="keras.src.models.functional", class_name="Functional", registered_name="Functional")
        inner = [_layer_to_keras(e, owner, seen) for e in config["layers"]]
        config = graph_to_keras(config, inner)
    elif not isinstance(getattr(layers, name, None), type) and name not in ("Arithmetic", "Slice"):
        made.update(module=None, class_name=name.rpartition(">")[2], registered_name=name)
    else:
        config = _options_to_keras(name, config, owner, label, seen)
    made["config"] = config
    if "name" in config:
        made["name"] = config["name"]
    if number is not None:
        made["shared_object_id"] = number + 1
        seen[number] = made
    return made


def _options_to_keras(name: str, config: dict[str, Any], owner: str, label: str, seen: Any) -> dict[str, Any]:
    made: dict[str, Any] = {}
    defaults = inspect.signature(layers.LSTM).parameters
    for key, value in config.items():
        if key in _OWN:
            if (tuple(value) if isinstance(value, list) else value) != defaults[key].default:
                raise ValueError(f"{owner}: Keras has no {key}, that of {label}: save it as .fusedlstm")
        elif isinstance(value, dict) and "number" in value:
            made[key] = _layer_to_keras(value, owner, seen)
        elif isinstance(value, list) and value and isinstance(value[0], dict) and "number" in value[0]:
            made[key] = [_layer_to_keras(item, owner, seen) for item in value]
        else:
            made[key] = _object_to_keras(key, value)
    if name == "SpatialDropout1D":
        made = {key: value for key, value in made.items() if key in ("rate", "seed", "name", "dtype")}
    if name == "InputLayer":
        made["dtype"] = made.get("dtype") or "float32"
    return made


def _object_to_keras(key: str, value: Any) -> Any:
    kind = next((kind for kind in _KINDS if key.endswith(kind)), None)
    if kind is None or not isinstance(value, dict):
        return value
    return {"module": f"keras.{kind}s", "registered_name": None, **value}


def _compile_to_keras(config: dict[str, Any]) -> dict[str, Any]:
    def placed(value: Any, module: str) -> Any:
        if isinstance(value, list):
            return [placed(item, module) for item in value]
        if not isinstance(value, dict):
            return value
        if "class_name" not in value:
            return {key: placed(item, module) for key, item in value.items()}
        if is_function_config(value):
            module = "builtins" if str(value["module"]).startswith("fusedlstm.") else value["module"]
            return {**value, "module": module, "registered_name": _FUNCTION}
        inner = {k: placed(v, "keras.optimizers.schedules") if k == "learning_rate" or is_function_config(v) else v
                 for k, v in value["config"].items()}  # fmt: skip
        return {"module": module, "class_name": value["class_name"], "config": inner, "registered_name": None}

    modules = {"optimizer": "keras.optimizers", "loss": "keras.losses"}
    return {key: placed(value, modules.get(key, "keras.metrics")) for key, value in config.items()}


# From Keras.


def from_keras(entry: dict[str, Any]) -> dict[str, Any]:
    """What a file of Keras says, in the form of this package.

    Raises
    ------
    FileError
        If it has something that there is not here.
    """
    made = _layer_from_keras(entry)
    compiled = entry.get("compile_config")
    if compiled is not None:
        made["compile_config"] = _plain(compiled, True)
        for part in ("optimizer", "loss", "metrics", "weighted_metrics"):
            _drop_empty(made["compile_config"].get(part))
    return made


def _layer_from_keras(entry: dict[str, Any]) -> dict[str, Any]:
    name, config = entry.get("class_name"), entry.get("config")
    if not isinstance(name, str) or not isinstance(config, dict):
        raise FileError(f"expected a layer's class_name and config, got {name!r}")
    label = f"{name} '{config.get('name')}'"
    made: dict[str, Any] = {"class_name": _class_of(entry)}
    if entry.get("shared_object_id") is not None:
        made["number"] = entry["shared_object_id"]
    if name == "Functional" or "input_layers" in config:
        made["class_name"] = "Model" if name == "Functional" else made["class_name"]
        made["config"] = graph_from_keras(config, _layer_from_keras)
    elif name == "Sequential":
        made["config"] = _sequential_from_keras(config)
    else:
        made["config"] = _options_from_keras(config, label)
    if made["class_name"] == "SimpleRNN" or made["class_name"].endswith("Cell"):
        made["config"].pop("implementation", None)
    return made


def _class_of(entry: dict[str, Any]) -> str:
    registered, module = entry.get("registered_name"), entry.get("module")
    own = isinstance(module, str) and module.split(".")[0] == "keras"
    return str(entry["class_name"] if own or not registered else registered)


def _sequential_from_keras(config: dict[str, Any]) -> dict[str, Any]:
    listed = [_layer_from_keras(item) for item in config.get("layers", ())]
    return {
        "name": config.get("name"),
        "trainable": config.get("trainable", True),
        "build_input_shape": config.get("build_input_shape"),
        "layers": listed,
    }


def _options_from_keras(config: dict[str, Any], label: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in config.items():
        if key in _NEUTRAL:
            if value not in _NEUTRAL[key]:
                raise FileError(f"{label}: expected {key} to be {_NEUTRAL[key][0]!r}, got {value!r}")
        elif key == "build_config":
            continue
        elif _is_layer(key, value):
            made[key] = _layer_from_keras(value)
        elif isinstance(value, list) and value and all(_is_layer(key, item) for item in value):
            made[key] = [_layer_from_keras(item) for item in value]
        else:
            made[key] = _plain(value)
    return made


def _is_layer(key: str, value: Any) -> bool:
    return key in ("layer", "backward_layer", "cell", "cells") and isinstance(value, dict) and "class_name" in value


def _plain(value: Any, compiling: bool = False) -> Any:
    """Keras's objects as {"class_name", "config"}; a dtype policy as the dtype's name.

    Functions as their names; with `compiling` those that are not Keras's stay what `function_config` gives.
    """
    if isinstance(value, list):
        return [_plain(item, compiling) for item in value]
    if not isinstance(value, dict):
        return value
    name = value.get("class_name")
    if name == "DTypePolicy":
        return value["config"]["name"]
    if name == "__tuple__":
        return [_plain(item, compiling) for item in value.get("items", ())]
    if name == "__lambda__":
        raise FileError("the file holds code (a lambda), which is never run: define it by name, in custom_objects")
    if is_function_config(value):
        called, module = value.get("config"), str(value.get("module"))
        # Keras writes "builtins" for its own and all others, and knows its own by their names, too.
        keras = called in _KERAS_FUNCTIONS if module == "builtins" else module.partition(".")[0] == "keras"
        return {"class_name": name, "module": module, "config": called} if compiling and not keras else called
    if name is not None and "config" in value:
        return {"class_name": _class_of(value), "config": _plain(value["config"], compiling)}
    return {key: _plain(item, compiling) for key, item in value.items()}


def _drop_empty(value: Any) -> None:
    """Leave out what an optimizer, loss or metric of Keras may have and here does not, where it is not set."""
    if isinstance(value, list):
        for item in value:
            _drop_empty(item)
    elif isinstance(value, dict) and "class_name" not in value:
        for item in value.values():
            _drop_empty(item)
    elif isinstance(value, dict) and isinstance(value["config"], dict):
        config = value["config"]
        for key in (
            "loss_scale_factor",
            "jit_compile",
            "is_legacy_optimizer",
            "dtype",
            "ema_overwrite_frequency",
            "fn",
        ):
            if key == "dtype" or not config.get(key):
                config.pop(key, None)
