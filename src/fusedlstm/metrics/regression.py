"""How far predicted numbers are from the true ones, and how much of their variance they explain."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusedlstm.metrics.base import Array, ElementMean, Metric, as_rows
from fusedlstm.utils.numbers import integer


class MeanSquaredError(ElementMean):
    """The mean of (y_true - y_pred)^2."""

    direction = "down"

    def __init__(self, name: str | None = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        error = np.subtract(y_pred, y_true, dtype=np.result_type(y_true, y_pred, np.float32))
        return error * error


class RootMeanSquaredError(MeanSquaredError):
    """The square root of the mean, over everything counted, of (y_true - y_pred)^2."""

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def result(self) -> float:
        return math.sqrt(super().result())


class MeanAbsoluteError(ElementMean):
    """The mean of |y_true - y_pred|."""

    direction = "down"

    def __init__(self, name: str | None = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.abs(np.subtract(y_pred, y_true, dtype=np.result_type(y_true, y_pred, np.float32)))


class CosineSimilarity(ElementMean):
    """The mean cosine of the angle between vectors along `axis`: 1 where they point the same way, 0 for a zero vector.

    Parameters
    ----------
    name, dtype
        As in `Metric`.
    axis : int
    """

    direction = "up"

    def __init__(self, name: str | None = "cosine_similarity", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(name, dtype)
        if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
            raise TypeError(f"CosineSimilarity: expected axis to be an integer, got {axis!r}")
        self.axis = int(axis)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        if not -y_pred.ndim <= self.axis < y_pred.ndim:
            raise ValueError(f"metric '{self.name}': axis {self.axis} is not one of y_pred {y_pred.shape}")
        true, pred = (a.astype(np.float64, copy=False) for a in (y_true, y_pred))
        lengths = np.linalg.norm(true, axis=self.axis) * np.linalg.norm(pred, axis=self.axis)
        products = (true * pred).sum(axis=self.axis)
        cosines: Array = np.divide(products, lengths, out=np.zeros_like(lengths), where=lengths != 0)
        return cosines

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class R2Score(Metric):
    """The coefficient of determination, 1 - sum of (y_true - y_pred)^2 / sum of (y_true - its mean)^2.

    Of (..., C) numbers, one for each of the C columns, then aggregated; a column without variance scores 0 unless it is
    met exactly. Source: Wright 1921; with `num_regressors` adjusted as by Ezekiel 1930.

    Parameters
    ----------
    class_aggregation : {"uniform_average", "variance_weighted_average", None}
        None: `result` has a score for each column.
    num_regressors : int
        p in the adjusted 1 - (1 - R2) (n - 1) / (n - p - 1), n how many numbers were counted; 0: not adjusted.
    name, dtype
        As in `Metric`.
    """

    direction = "up"

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = "r2_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, dtype)
        if class_aggregation not in ("uniform_average", "variance_weighted_average", None):
            raise ValueError(
                "R2Score: expected class_aggregation to be 'uniform_average', 'variance_weighted_average' or None, "
                f"got {class_aggregation!r}"
            )
        self.class_aggregation = class_aggregation
        self.num_regressors = integer("R2Score", "num_regressors", num_regressors, 0)
        self.reset_state()

    def reset_state(self) -> None:
        self._numbers = 0
        self._weight = self._mean = self._squares = self._residual = np.zeros(0)

    def update_state(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Count a batch; see `Metric.update_state`."""
        owner = f"metric '{self.name}'"
        true, pred, given = as_rows(owner, y_true, y_pred, sample_weight, mask)
        columns = true.shape[1]
        if not self._numbers:
            self._weight, self._mean, self._squares, self._residual = np.zeros((4, columns))
        elif len(self._weight) != columns:
            raise ValueError(f"{owner}: expected {len(self._weight)} columns as before, got {columns}")
        if not len(true):
            return
        true, pred = true.astype(np.float64), pred.astype(np.float64)
        weight = np.ones_like(true) if given is None else given.astype(np.float64)
        total = weight.sum(axis=0)
        mean = (weight * true).sum(axis=0) / np.where(total, total, 1)
        # Sums of squares about the mean, merged as by Chan et al. 1979: those about 0 cancel where the mean is large.
        both = self._weight + total
        share = np.divide(total, both, out=np.zeros_like(both), where=both != 0)
        apart = mean - self._mean
        self._squares = self._squares + (weight * (true - mean) ** 2).sum(axis=0) + apart**2 * self._weight * share
        self._mean = self._mean + apart * share
        self._weight = both
        self._residual = self._residual + (weight * (true - pred) ** 2).sum(axis=0)
        self._numbers += true.size

    def result(self) -> Any:
        """The score, NaN where nothing was counted; without aggregation an array of the columns' scores."""
        if not self._numbers:
            return math.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = 1 - self._residual / self._squares
            scores = np.where(np.isinf(scores), 0.0, scores)
            if self.class_aggregation == "uniform_average":
                score = scores.mean()
            elif self.class_aggregation == "variance_weighted_average":
                score = (self._squares * scores).sum() / self._squares.sum()
            else:
                score = scores
        left = self._numbers - self.num_regressors - 1
        if self.num_regressors and left <= 0:
            warnings.warn(
                f"metric '{self.name}': {self._numbers} numbers are too few to adjust for {self.num_regressors} "
                "regressors; the score is not adjusted",
                stacklevel=2,
            )
        elif self.num_regressors:
            score = 1 - (1 - score) * (self._numbers - 1) / left
        return score if self.class_aggregation is None else float(score)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "class_aggregation": self.class_aggregation,
            "num_regressors": self.num_regressors,
        }
