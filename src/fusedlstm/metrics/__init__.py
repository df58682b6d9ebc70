"""Metrics: values that accumulate over batches, weighted as Keras weights them, in float64."""

from __future__ import annotations

import inspect
from typing import Any

from fusedlstm import losses
from fusedlstm.losses import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from fusedlstm.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from fusedlstm.metrics.base import LossMetric, Mean, MeanMetricWrapper, Metric, Sum
from fusedlstm.metrics.confusion import (
    FalseNegatives,
    FalsePositives,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)
from fusedlstm.metrics.correlation import (
    ConcordanceCorrelation,
    PearsonCorrelation,
    concordance_correlation,
    pearson_correlation,
)
from fusedlstm.metrics.curves import AUC
from fusedlstm.metrics.f_scores import F1Score, FBetaScore
from fusedlstm.metrics.from_losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsolutePercentageError,
    MeanSquaredLogarithmicError,
    Poisson,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from fusedlstm.metrics.regression import (
    CosineSimilarity,
    MeanAbsoluteError,
    MeanSquaredError,
    R2Score,
    RootMeanSquaredError,
)
from fusedlstm.utils.custom_objects import (
    class_name,
    custom_object_scope,
    find_custom,
    find_function,
    function_from,
    is_function_config,
)
from fusedlstm.utils.names import snake_case

_BY_CLASS: tuple[type[Metric], ...] = (
    AUC,
    Accuracy,
    BinaryAccuracy,
    BinaryCrossentropy,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    CategoricalHinge,
    ConcordanceCorrelation,
    CosineSimilarity,
    F1Score,
    FBetaScore,
    FalseNegatives,
    FalsePositives,
    Hinge,
    KLDivergence,
    LogCoshError,
    LossMetric,
    Mean,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanMetricWrapper,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    PearsonCorrelation,
    Poisson,
    Precision,
    PrecisionAtRecall,
    R2Score,
    Recall,
    RecallAtPrecision,
    RootMeanSquaredError,
    SensitivityAtSpecificity,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
    SpecificityAtSensitivity,
    SquaredHinge,
    Sum,
    TopKCategoricalAccuracy,
    TrueNegatives,
    TruePositives,
)
__all__ = [
    *(cls.__name__ for cls in _BY_CLASS),
    "Metric",
    "binary_accuracy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "concordance_correlation",
    "deserialize",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "pearson_correlation",
    "poisson",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
]
_BY_NAME: dict[str, type[Metric]] = {
    **{cls.__name__: cls for cls in _BY_CLASS},
    **{snake_case(cls.__name__): cls for cls in _BY_CLASS},
    "fbeta_score": FBetaScore,
    "kld": KLDivergence,
    "KLD": KLDivergence,
    "bce": BinaryCrossentropy,
    "BCE": BinaryCrossentropy,
    "mse": MeanSquaredError,
    "MSE": MeanSquaredError,
    "rmse": RootMeanSquaredError,
    "RMSE": RootMeanSquaredError,
    "mae": MeanAbsoluteError,
    "MAE": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "MAPE": MeanAbsolutePercentageError,
    "msle": MeanSquaredLogarithmicError,
    "MSLE": MeanSquaredLogarithmicError,
}


def get(
    identifier: Any,
    y_true_shape: tuple[int, ...] | None = None,
    y_pred_shape: tuple[int, ...] | None = None,
) -> Metric:
    """The metric that `identifier` names, under the name that it was asked by.

    Parameters
    ----------
    identifier : str, Metric, type, Loss, callable or dict
        A name, also that of a loss, a metric, its class, a loss, a function of (y_true, y_pred) with a value for each
        sample, or what `serialize` gave. "accuracy" and "acc" are `BinaryAccuracy` for predictions with one output,
        else `SparseCategoricalAccuracy` for labels of fewer axes than the predictions or with one number to their
        many, else `CategoricalAccuracy`.
    y_true_shape, y_pred_shape : tuple of int, optional
        Needed for "accuracy".

    Returns
    -------
    Metric

    Raises
    ------
    ValueError
        If there is none of this name, or "accuracy" lacks the shapes.
    TypeError
        If `identifier` is nothing of the above.
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        function = find_function(identifier)
        if function is not None:
            return MeanMetricWrapper(function)
        if identifier.lower() in ("accuracy", "acc"):
            return _accuracy(identifier, y_true_shape, y_pred_shape)
        cls = _find(identifier)
        if cls is None:
            return LossMetric(_loss(identifier), identifier)
        metric = _made(cls)
        metric.name = identifier
        return metric
    if is_function_config(identifier):
        return get(function_from(identifier))
    if isinstance(identifier, dict):
        name = identifier.get("class_name")
        cls = _find(name)
        if cls is None:
            raise _unknown(name)
        return cls.from_config(dict(identifier.get("config") or {}))
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        return _made(identifier)
    if isinstance(identifier, losses.Loss):
        return LossMetric(identifier)
    if callable(identifier) and not isinstance(identifier, type):
        if losses.is_function(identifier):
            return LossMetric(identifier, identifier.__name__)
        return MeanMetricWrapper(identifier)
    raise TypeError(f"metric: expected a name, a Metric or a function, got {identifier!r}")


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Metric:
    """The metric that `serialize` described; classes of a program's own by their names in `custom_objects`."""
    with custom_object_scope(custom_objects):
        return get(config)


def _accuracy(name: str, y_true: tuple[int, ...] | None, y_pred: tuple[int, ...] | None) -> Metric:
    if not y_true or not y_pred:
        raise ValueError(f"metric '{name}': which accuracy it is depends on the shapes of y_true and y_pred")
    if y_pred[-1] == 1:
        return BinaryAccuracy(name)
    if len(y_true) < len(y_pred) or y_true[-1] == 1:
        return SparseCategoricalAccuracy(name)
    return CategoricalAccuracy(name)


def _made(cls: type[Metric]) -> Metric:
    """A metric of the class without arguments."""
    if inspect.isabstract(cls):
        raise TypeError(f"metric: {cls.__name__} lacks methods")
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise TypeError(f"metric: {cls.__name__} cannot be made without arguments ({error}); pass an object") from None
    return cls()


def _find(name: Any) -> type[Metric] | None:
    found: type[Metric] | None = find_custom(name, Metric)
    return found or (_BY_NAME.get(name) if isinstance(name, str) else None)


def _loss(name: str) -> losses.Loss:
    try:
        return losses.get(name)
    except ValueError:
        raise _unknown(name) from None


def _unknown(name: Any) -> ValueError:
    expected = sorted(n for n in {*_BY_NAME, "acc"} if n.islower() and n not in ("loss_metric", "mean_metric_wrapper"))
    return ValueError(f"unknown metric {name!r}: expected one of {', '.join(map(repr, expected))} or a loss's name")


def serialize(metric: Metric) -> dict[str, Any]:
    """``{"class_name": ..., "config": ...}``, from which `get` makes an equal metric."""
    if not isinstance(metric, Metric):
        raise TypeError(f"serialize: expected a Metric, got {metric!r}")
    return {"class_name": class_name(type(metric)), "config": metric.get_config()}
