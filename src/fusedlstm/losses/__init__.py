"""Losses: how far predictions are from what was to be predicted, and the gradient of that."""

from __future__ import annotations

from typing import Any, overload

from fusedlstm.losses.base import ElementwiseLoss, Loss
from fusedlstm.losses.classification import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    binary_crossentropy,
    categorical_crossentropy,
    sparse_categorical_crossentropy,
)
from fusedlstm.losses.regression import (
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    huber,
    mean_absolute_error,
    mean_squared_error,
)

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "ElementwiseLoss",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "get",
    "huber",
    "mean_absolute_error",
    "mean_squared_error",
    "serialize",
    "sparse_categorical_crossentropy",
]

_BY_FUNCTION: dict[Any, type[Loss]] = {
    mean_squared_error: MeanSquaredError,
    mean_absolute_error: MeanAbsoluteError,
    huber: Huber,
    binary_crossentropy: BinaryCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
}
_BY_NAME: dict[str, type[Loss]] = {function.__name__: cls for function, cls in _BY_FUNCTION.items()}
_ALIASES: dict[str, type[Loss]] = {
    **{cls.__name__: cls for cls in _BY_NAME.values()},
    "mse": MeanSquaredError,
    "MSE": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "MAE": MeanAbsoluteError,
    "bce": BinaryCrossentropy,
    "BCE": BinaryCrossentropy,
}


@overload
def get(identifier: None) -> None: ...
@overload
def get(identifier: object) -> Loss: ...
def get(identifier: Any) -> Loss | None:
    """The loss that `identifier` names.

    Parameters
    ----------
    identifier : str, Loss, type, function, dict or None
        A name ("mse", "mean_squared_error" or "MeanSquaredError"), a loss, its class, one of this module's functions,
        or what `serialize` gave. None gives None.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        If there is none of this name.
    TypeError
        If `identifier` is nothing of the above: any other function has no gradient.
    """
    if identifier is None or isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str):
        return _class(identifier)()
    if isinstance(identifier, dict):
        return _class(identifier.get("class_name")).from_config(dict(identifier.get("config") or {}))
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if is_function(identifier):
        return _BY_FUNCTION[identifier]()
    raise TypeError(f"loss: expected a name or a fusedlstm.losses.Loss (which has a gradient), got {identifier!r}")


def is_function(value: Any) -> bool:
    """Whether it is one of this module's functions, for which there is a `Loss`."""
    return callable(value) and value in _BY_FUNCTION


def _class(name: Any) -> type[Loss]:
    cls = _BY_NAME.get(name) or _ALIASES.get(name)
    if cls is None:
        raise ValueError(f"unknown loss {name!r}: expected one of {', '.join(map(repr, sorted(_BY_NAME)))}")
    return cls


def serialize(loss: Loss) -> dict[str, Any]:
    """``{"class_name": ..., "config": ...}``, from which `get` makes an equal loss."""
    if not isinstance(loss, Loss):
        raise TypeError(f"serialize: expected a Loss, got {loss!r}")
    return {"class_name": type(loss).__name__, "config": loss.get_config()}
