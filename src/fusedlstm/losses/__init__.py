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
from fusedlstm.losses.ctc import (
    CTC,
    ctc,
)
from fusedlstm.losses.focal import (
    BinaryFocalCrossentropy,
    CategoricalFocalCrossentropy,
    binary_focal_crossentropy,
    categorical_focal_crossentropy,
)
from fusedlstm.losses.margins import (
    CategoricalHinge,
    Hinge,
    KLDivergence,
    SquaredHinge,
    categorical_hinge,
    hinge,
    kl_divergence,
    squared_hinge,
)
from fusedlstm.losses.own import FunctionLoss
from fusedlstm.losses.regression import (
    CosineSimilarity,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    cosine_similarity,
    huber,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
)
from fusedlstm.utils.custom_objects import class_name, find_custom, find_function, function_from, is_function_config

__all__ = [
    "CTC",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "ElementwiseLoss",
    "FunctionLoss",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "cosine_similarity",
    "ctc",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
]

_BY_FUNCTION: dict[Any, type[Loss]] = {
    binary_crossentropy: BinaryCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
    ctc: CTC,
    binary_focal_crossentropy: BinaryFocalCrossentropy,
    categorical_focal_crossentropy: CategoricalFocalCrossentropy,
    categorical_hinge: CategoricalHinge,
    hinge: Hinge,
    kl_divergence: KLDivergence,
    squared_hinge: SquaredHinge,
    cosine_similarity: CosineSimilarity,
    huber: Huber,
    log_cosh: LogCosh,
    mean_absolute_error: MeanAbsoluteError,
    mean_absolute_percentage_error: MeanAbsolutePercentageError,
    mean_squared_error: MeanSquaredError,
    mean_squared_logarithmic_error: MeanSquaredLogarithmicError,
    poisson: Poisson,
}
_BY_NAME: dict[str, type[Loss]] = {function.__name__: cls for function, cls in _BY_FUNCTION.items()}
_SHORT: dict[str, type[Loss]] = {
    "bce": BinaryCrossentropy,
    "kld": KLDivergence,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "mse": MeanSquaredError,
    "msle": MeanSquaredLogarithmicError,
}
_ALIASES: dict[str, type[Loss]] = {
    **{cls.__name__: cls for cls in _BY_NAME.values()},
    **_SHORT,
    **{name.upper(): cls for name, cls in _SHORT.items()},
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
        a function of your own that returns values and gradient (`FunctionLoss`), or what `serialize` gave. A class or
        function of your own is found by its name if it is registered or in a `custom_object_scope`. None gives None.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        If there is none of this name.
    TypeError
        If `identifier` is nothing of the above.
    """
    if identifier is None or isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str):
        function = find_function(identifier)
        return FunctionLoss(function) if function is not None else _class(identifier)()
    if is_function_config(identifier):
        return get(function_from(identifier))
    if isinstance(identifier, dict):
        cls = FunctionLoss if identifier.get("class_name") == "FunctionLoss" else _class(identifier.get("class_name"))
        return cls.from_config(dict(identifier.get("config") or {}))
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if is_function(identifier):
        return _BY_FUNCTION[identifier]()
    if callable(identifier) and not isinstance(identifier, type):
        return FunctionLoss(identifier)
    raise TypeError(f"loss: expected a name, a fusedlstm.losses.Loss or a function, got {identifier!r}")


def is_function(value: Any) -> bool:
    """Whether it is one of this module's functions, for which there is a `Loss`."""
    return callable(value) and value in _BY_FUNCTION


def _class(name: Any) -> Any:
    cls: Any = find_custom(name, Loss) or _BY_NAME.get(name) or _ALIASES.get(name)
    if cls is None:
        raise ValueError(f"unknown loss {name!r}: expected one of {', '.join(map(repr, sorted(_BY_NAME)))}")
    return cls


def serialize(loss: Loss) -> dict[str, Any]:
    """``{"class_name": ..., "config": ...}``, from which `get` makes an equal loss."""
    if not isinstance(loss, Loss):
        raise TypeError(f"serialize: expected a Loss, got {loss!r}")
    return {"class_name": class_name(type(loss)), "config": loss.get_config()}
