"""What `compile` was given, as plain values and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from fusedlstm import losses, metrics, optimizers
from fusedlstm.saving.errors import FileError
from fusedlstm.utils.custom_objects import class_name, find_custom


class _NotPlainError(TypeError):
    pass


def compile_config(model: Any) -> dict[str, Any] | None:
    """The arguments of a model's `compile`; None if there was none, or they hold functions, which warns."""
    given = model.compile_arguments
    if not model.compiled or given is None:
        return None
    try:
        return {
            "optimizer": optimizers.serialize(model.optimizer),
            "loss": _plain(given["loss"], losses.Loss),
            "loss_weights": _plain(given["loss_weights"], ()),
            "metrics": _plain(given["metrics"], metrics.Metric),
            "weighted_metrics": _plain(given["weighted_metrics"], metrics.Metric),
        }
    except _NotPlainError as error:
        warnings.warn(f"{model.label}: saved without what compile was given: {error}", stacklevel=4)
        return None


def _plain(value: Any, base: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, dict):
        return value if "class_name" in value else {key: _plain(item, base) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, base) for item in value]
    if base and isinstance(value, base):
        return {"class_name": class_name(type(value)), "config": value.get_config()}
    if base and isinstance(value, type) and issubclass(value, base):
        return {"class_name": class_name(value), "config": value().get_config()}
    if losses.is_function(value):
        return value.__name__
    raise _NotPlainError(f"expected names or objects with get_config, got {value!r}")


def compile_from(model: Any, config: Any, owner: str) -> None:
    """Compile a model with what `compile_config` gave."""
    if config is None:
        return
    try:
        optimizer = _made(config["optimizer"], optimizers.Optimizer, optimizers.get)
        loss = _each(config["loss"], losses.Loss, losses.get)
        chosen = {name: _each(config.get(name), metrics.Metric, _metric) for name in ("metrics", "weighted_metrics")}
        model.compile(optimizer, loss, config.get("loss_weights"), **chosen)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(
            f"{owner}: the model cannot be compiled as the file says (compile=False leaves that out): {error}"
        ) from error


def _metric(value: Any) -> Any:
    return value if isinstance(value, str) else metrics.get(value)  # a name is resolved when the first data comes


def _each(value: Any, base: type, get: Callable[[Any], Any]) -> Any:
    if isinstance(value, list):
        return [_each(item, base, get) for item in value]
    if isinstance(value, dict) and "class_name" not in value:
        return {key: _each(item, base, get) for key, item in value.items()}
    return None if value is None else _made(value, base, get)


def _made(value: Any, base: type, get: Callable[[Any], Any]) -> Any:
    if not isinstance(value, dict):
        return get(value)
    own = find_custom(value.get("class_name"), base)
    if own is not None:
        return own.from_config(value.get("config") or {})
    return get(value)
