"""What `compile` was given, as plain values and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from fusedlstm import losses, metrics, optimizers
from fusedlstm.saving import archive
from fusedlstm.saving.errors import FileError
from fusedlstm.utils.custom_objects import (
    class_name,
    find_custom,
    find_function,
    function_config,
    function_from,
    is_function,
    is_function_config,
)


class _NotPlainError(TypeError):
    pass


def compile_config(model: Any) -> dict[str, Any] | None:
    """The arguments of a model's `compile`; None if there was none, or, with a warning, if they have no config.

    Functions stand in it by their names.
    """
    given = model.compile_arguments
    if not model.compiled or given is None:
        return None
    try:
        made = {
            "optimizer": _described(model.optimizer),
            "loss": _plain(given["loss"], losses.Loss),
            "loss_weights": _plain(given["loss_weights"], ()),
            "metrics": _plain(given["metrics"], metrics.Metric),
            "weighted_metrics": _plain(given["weighted_metrics"], metrics.Metric),
        }
        archive.check_plain(made)
        return made
    except (_NotPlainError, archive.NotPlainError) as error:
        warnings.warn(f"{model.label}: saved without what compile was given: {error}", stacklevel=4)
        return None


def _plain(value: Any, base: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, dict):
        return _by_name(value) if "class_name" in value else {key: _plain(item, base) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, base) for item in value]
    if base and isinstance(value, base):
        return _described(value)
    if base and isinstance(value, type) and issubclass(value, base):
        return _described(value())
    if losses.is_function(value) or _is_of_metrics(value):
        return value.__name__
    if base and is_function(value):
        return _by_name(value)
    raise _NotPlainError(f"expected names or objects with get_config, got {value!r}")


def _described(value: Any) -> dict[str, Any]:
    """The class's name and the config of an optimizer, loss or metric."""
    try:
        return {"class_name": class_name(type(value)), "config": _by_name(value.get_config())}
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise _NotPlainError(f"{type(value).__name__} cannot be saved: {error}") from error


def _by_name(value: Any) -> Any:
    """A config with names in the place of functions."""
    if isinstance(value, dict):
        return {key: _by_name(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_by_name(item) for item in value]
    if not is_function(value):
        return value
    try:
        return function_config(value)
    except TypeError as error:
        raise _NotPlainError(f"expected names or objects with get_config: {error}") from error


def _is_of_metrics(value: Any) -> bool:
    return is_function(value) and value.__name__ in metrics.__all__ and getattr(metrics, value.__name__) is value


def compile_from(model: Any, config: Any, owner: str) -> None:
    """Compile a model with what `compile_config` gave."""
    if config is None:
        return
    try:
        optimizer = _made(config["optimizer"], optimizers.Optimizer, optimizers.get)
        loss = _each(config["loss"], losses.Loss, _loss)
        chosen = {name: _each(config.get(name), metrics.Metric, _metric) for name in ("metrics", "weighted_metrics")}
        model.compile(optimizer, loss, config.get("loss_weights"), **chosen)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(
            f"{owner}: the model cannot be compiled as the file says (compile=False leaves that out): {error}"
        ) from error


def _loss(value: Any) -> Any:
    return _own_function(value) or losses.get(value)


def _metric(value: Any) -> Any:
    # A name is resolved when the first data comes.
    return _own_function(value) or (value if isinstance(value, str) else metrics.get(value))


def _own_function(value: Any) -> Any:
    """The function itself, so that the model is saved again as it was; None if it is none of one's own."""
    return function_from(value) if is_function_config(value) else find_function(value)


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
