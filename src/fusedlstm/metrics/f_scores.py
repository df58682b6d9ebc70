"""The weighted harmonic mean of precision and recall."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusedlstm.metrics.base import Metric, as_rows
from fusedlstm.metrics.confusion import ratio


class FBetaScore(Metric):
    """(1 + b^2) precision recall / (b^2 precision + recall) of every class, for labels and predictions (..., C).

    Source: van Rijsbergen 1979.

    Parameters
    ----------
    average : {None, "micro", "macro", "weighted"}
        A score for each class; that of all counts together; the mean over the classes; the mean weighted by how many
        of each there are.
    beta : float
        How much more recall counts than precision.
    threshold : float, optional
        In 0 ... 1; a prediction above it is a decision for the class. None: the largest of a row is.
    name, dtype
        As in `Metric`.
    """

    direction = "up"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, dtype)
        owner = type(self).__name__
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError(f"{owner}: expected average None, 'micro', 'macro' or 'weighted', got {average!r}")
        if isinstance(beta, bool) or not isinstance(beta, int | float | np.number) or not beta > 0:
            raise ValueError(f"{owner}: expected beta to be a number above 0, got {beta!r}")
        if threshold is not None and (
            isinstance(threshold, bool) or not isinstance(threshold, int | float | np.number) or not 0 < threshold <= 1
        ):
            raise ValueError(f"{owner}: expected threshold above 0 and up to 1 or None, got {threshold!r}")
        self.average, self.beta = average, float(beta)
        self.threshold = None if threshold is None else float(threshold)
        self.reset_state()

    def reset_state(self) -> None:
        self._right = self._decided = self._there = np.zeros(0)

    def update_state(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Count a batch; see `Metric.update_state`."""
        owner = f"metric '{self.name}'"
        true, pred, weight = as_rows(owner, y_true, y_pred, sample_weight, mask)
        classes = pred.shape[1]
        if not self._there.size:
            self._right, self._decided, self._there = np.zeros((3, classes))
        elif self._there.size != classes:
            raise ValueError(f"{owner}: expected {self._there.size} classes as before, got {classes}")
        if self.threshold is None:
            # A row of zeros decides for nothing.
            decided = (pred == pred.max(axis=1, keepdims=True)) & (np.abs(pred) > 1e-9)
        else:
            decided = pred > self.threshold
        one = 1.0 if weight is None else weight.astype(np.float64)
        there = true * one
        self._right = self._right + (decided * there).sum(axis=0)
        self._decided = self._decided + (decided * one).sum(axis=0)
        self._there = self._there + there.sum(axis=0, dtype=np.float64)

    def result(self) -> Any:
        """The score; without average, an array of a score for each class."""
        right, decided, there = self._right, self._decided, self._there
        if self.average == "micro":
            right, decided, there = right.sum(), decided.sum(), there.sum()
        squared = self.beta**2
        # From precision = right / decided and recall = right / there.
        scores = np.asarray(ratio((1 + squared) * right, squared * there + decided))
        if self.average is None:
            return scores
        if self.average == "weighted":
            total = there.sum()
            return float((scores * there).sum() / total) if total else 0.0
        return float(scores.mean()) if scores.size else 0.0

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "average": self.average, "beta": self.beta, "threshold": self.threshold}


class F1Score(FBetaScore):
    """2 precision recall / (precision + recall): `FBetaScore` with beta 1, whose other parameters these are."""

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["beta"]
        return config
