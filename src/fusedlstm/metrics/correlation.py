"""How closely predictions follow what was to be predicted, sample by sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusedlstm.backends import placement
from fusedlstm.metrics.base import Array, ElementMean


class PearsonCorrelation(ElementMean):
    """The mean correlation coefficient of labels and predictions along `axis`.

    Source: Pearson 1895. NaN where either does not vary.

    Parameters
    ----------
    name, dtype
        As in `Metric`.
    axis : int or tuple of int
    """

    direction = "up"

    def __init__(self, name: str | None = "pearson_correlation", dtype: Any = None, axis: Any = -1) -> None:
        super().__init__(name, dtype)
        axes = axis if isinstance(axis, tuple | list) else (axis,)
        if not axes or any(isinstance(k, bool) or not isinstance(k, int | np.integer) for k in axes):
            raise TypeError(f"{type(self).__name__}: expected axis to be an integer or a tuple of them, got {axis!r}")
        self.axis = tuple(axes) if isinstance(axis, tuple | list) else int(axis)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        true, pred, covariance = self._centred(y_true, y_pred)
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = covariance / np.sqrt((true**2).mean(self.axis) * (pred**2).mean(self.axis))
        return placement.as_array(correlation)  # type: ignore[no-any-return]

    def _centred(self, y_true: Array, y_pred: Array) -> tuple[Array, Array, Array]:
        """Both less their means, and their covariance."""
        true, pred = (a - a.mean(axis=self.axis, keepdims=True, dtype=np.float64) for a in (y_true, y_pred))
        return true, pred, (true * pred).mean(axis=self.axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class ConcordanceCorrelation(PearsonCorrelation):
    """The mean of 2 cov / (var + var + the difference of the means^2) along `axis`: 1 only where both are equal.

    Source: Lin 1989. The parameters are those of `PearsonCorrelation`.
    """

    def __init__(self, name: str | None = "concordance_correlation", dtype: Any = None, axis: Any = -1) -> None:
        super().__init__(name, dtype, axis)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        true, pred, covariance = self._centred(y_true, y_pred)
        apart = y_true.mean(self.axis, dtype=np.float64) - y_pred.mean(self.axis, dtype=np.float64)
        spread = (true**2).mean(self.axis) + (pred**2).mean(self.axis) + apart**2
        return placement.as_array(2 * covariance / (spread + 1e-7))  # type: ignore[no-any-return]


def pearson_correlation(y_true: ArrayLike, y_pred: ArrayLike, axis: Any = -1) -> Array:
    """`PearsonCorrelation` of every sample or step."""
    metric = PearsonCorrelation(axis=axis)
    return metric.values(*metric.align(y_true, y_pred))


def concordance_correlation(y_true: ArrayLike, y_pred: ArrayLike, axis: Any = -1) -> Array:
    """`ConcordanceCorrelation` of every sample or step."""
    metric = ConcordanceCorrelation(axis=axis)
    return metric.values(*metric.align(y_true, y_pred))
