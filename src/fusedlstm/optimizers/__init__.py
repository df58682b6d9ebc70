"""Optimizers: the update formulas are Keras's, each run as one fused pass over a variable by the backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fusedlstm.optimizers import schedules
from fusedlstm.optimizers.adam import Adam, Adamax, AdamW, Nadam
from fusedlstm.optimizers.adaptive import Adadelta, Adagrad, RMSprop
from fusedlstm.optimizers.base import Optimizer
from fusedlstm.optimizers.sgd import SGD, Lion
from fusedlstm.utils.custom_objects import class_name, custom_object_scope, find_custom

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

_BY_NAME: dict[str, type[Optimizer]] = {
    cls.__name__.lower(): cls for cls in (SGD, RMSprop, Adam, AdamW, Nadam, Adamax, Adagrad, Adadelta, Lion)
}


def get(identifier: Any) -> Optimizer:
    """The optimizer that `identifier` names.

    Parameters
    ----------
    identifier : str, Optimizer, type or dict
        A name in any case ("adam"), an optimizer, its class, or what `serialize` gave.

    Returns
    -------
    Optimizer

    Raises
    ------
    ValueError
        If there is none of this name.
    TypeError
        If `identifier` is nothing of the above.
    """
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, str):
        return _class(identifier)()
    if isinstance(identifier, dict):
        return _class(identifier.get("class_name")).from_config(dict(identifier.get("config") or {}))
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        make: Callable[[], Optimizer] = identifier
        return make()
    raise TypeError(f"optimizer: expected a name or an Optimizer, got {identifier!r}")


def _class(name: Any) -> Any:
    cls = find_custom(name, Optimizer) or _BY_NAME.get(str(name).lower())
    if cls is None:
        expected = ", ".join(repr(c.__name__.lower()) for c in _BY_NAME.values())
        raise ValueError(f"unknown optimizer {name!r}: expected one of {expected}")
    return cls


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """``{"class_name": ..., "config": ...}``, from which `get` makes an equal optimizer, without its state."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"serialize: expected an Optimizer, got {optimizer!r}")
    return {"class_name": class_name(type(optimizer)), "config": optimizer.get_config()}


def deserialize(config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Optimizer:
    """The optimizer that `serialize` described.

    Parameters
    ----------
    config : dict
    custom_objects : dict of str to class, optional
        Own optimizers and schedules by their names.
    """
    with custom_object_scope(custom_objects):
        return get(config)
