"""What is made of counts of right and wrong decisions: positives and negatives, precision, recall and the like.

A prediction above a threshold is a decision for the label. All thresholds are counted at once: a batch is one histogram
of the predictions between the thresholds, and the counts above each are its sums from the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusedlstm.metrics.base import Array, Metric, as_rows
from fusedlstm.utils.numbers import integer


def ratio(part: Array, whole: Array) -> Array:
    """part / whole, 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole != 0)


class Confusion(Metric):
    """Base of metrics of decisions: counts true and false positives and negatives at every threshold.

    Parameters
    ----------
    thresholds : sequence of float
        In any order; the counts stand in it.
    top_k : int, optional
        Only the k largest predictions of a row can be decisions for their labels.
    class_id : int, optional
        Only this column counts.
    per_column : bool
        Count each column by itself.
    name, dtype
        As in `Metric`.
    """

    def __init__(
        self,
        thresholds: Sequence[float],
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        *,
        per_column: bool = False,
    ) -> None:
        super().__init__(name, dtype)
        for argument, value, least in (("top_k", top_k, 1), ("class_id", class_id, 0)):
            if value is not None:
                integer(type(self).__name__, argument, value, least)
        self.top_k, self.class_id, self.per_column = top_k, class_id, per_column
        given = np.array(thresholds, np.float64)
        self._sorted = np.sort(given)
        self._places = np.searchsorted(self._sorted, given)
        self.reset_state()

    def reset_state(self) -> None:
        self._histogram: Array | None = None

    def update_state(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Count a batch; see `Metric.update_state`. Labels other than 0 are true."""
        true, pred, weight = as_rows(f"metric '{self.name}'", y_true, y_pred, sample_weight, mask)
        self._count(true, pred, weight)

    def _count(self, true: Array, pred: Array, weight: Array | None) -> None:
        """Count rows (N,C)."""
        columns = pred.shape[1]
        if self.top_k is not None and self.top_k < columns:
            pred = pred.astype(np.result_type(pred, np.float32))
            dropped = np.argsort(-pred, axis=1, kind="stable")[:, self.top_k :]
            np.put_along_axis(pred, dropped, -np.inf, axis=1)
        if self.class_id is not None:
            if self.class_id >= columns:
                raise ValueError(
                    f"metric '{self.name}': expected y_pred with more than {self.class_id} classes, got {columns}"
                )
            column = slice(self.class_id, self.class_id + 1)
            true, pred, weight = true[:, column], pred[:, column], None if weight is None else weight[:, column]
        groups = pred.shape[1] if self.per_column else 1
        if self._histogram is None:
            self._histogram = np.zeros((2, groups, len(self._sorted) + 1))
        elif groups != self._histogram.shape[1]:
            raise ValueError(
                f"metric '{self.name}': expected {self._histogram.shape[1]} columns as before, got {groups}"
            )
        # Compared in the predictions' precision, so that 0.7 is not above a threshold of 0.7.
        edges = self._sorted.astype(pred.dtype) if pred.dtype.kind == "f" else self._sorted
        level = np.searchsorted(edges, pred)  # how many thresholds a prediction is above
        level[np.isnan(pred)] = 0
        group = np.arange(groups) if self.per_column else 0
        cell = ((true != 0) * groups + group) * (len(edges) + 1) + level
        shape = self._histogram.shape
        counts = np.bincount(cell.ravel(), None if weight is None else weight.ravel(), minlength=self._histogram.size)
        self._histogram += counts.reshape(shape)

    def _at_least(self, label: int) -> tuple[Array, Array]:
        """The weights of a label above each threshold, and in all: (thresholds,), or (thresholds, columns)."""
        if self._histogram is None:
            return np.zeros(len(self._places)), np.zeros(1)
        sums = self._histogram[label, :, ::-1].cumsum(axis=1)[:, ::-1].T
        above, total = sums[1:][self._places], sums[:1]
        return (above, total) if self.per_column else (above[:, 0], total[:, 0])

    @property
    def true_positives(self) -> Array:
        """Weights of what is true and above each threshold."""
        return self._at_least(1)[0]

    @property
    def false_positives(self) -> Array:
        """Weights of what is false and above each threshold."""
        return self._at_least(0)[0]

    @property
    def false_negatives(self) -> Array:
        """Weights of what is true and not above each threshold."""
        above, total = self._at_least(1)
        return np.maximum(total - above, 0)

    @property
    def true_negatives(self) -> Array:
        """Weights of what is false and not above each threshold."""
        above, total = self._at_least(0)
        return np.maximum(total - above, 0)


def check_thresholds(owner: str, thresholds: Any) -> list[float]:
    """Numbers in 0 ... 1, given as one or several."""
    values = list(thresholds) if isinstance(thresholds, list | tuple | np.ndarray) else [thresholds]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
            raise ValueError(f"{owner}: expected thresholds in 0 ... 1, got {value!r}")
    if not values:
        raise ValueError(f"{owner}: expected at least one threshold, got none")
    return [float(value) for value in values]


class _AtThresholds(Confusion):
    """One value for each of the given thresholds; a float if there is one."""

    _options: tuple[str, ...] = ("thresholds",)

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.thresholds = thresholds.tolist() if isinstance(thresholds, np.ndarray) else thresholds
        if thresholds is not None:
            values = check_thresholds(type(self).__name__, thresholds)
        else:
            values = [0.5 if top_k is None else -np.inf]
        super().__init__(values, top_k, class_id, name, dtype)

    def result(self) -> Any:
        values = self._values()
        return float(values[0]) if len(values) == 1 else values

    def _values(self) -> Array:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{name: getattr(self, name) for name in self._options}}


class _Count(_AtThresholds):
    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(thresholds, name=name, dtype=dtype)


class TruePositives(_Count):
    """How many are true and predicted above the threshold (0.5 if None), or each of several thresholds."""

    def _values(self) -> Array:
        return self.true_positives


class FalsePositives(_Count):
    """How many are false and predicted above the threshold (0.5 if None), or each of several thresholds."""

    def _values(self) -> Array:
        return self.false_positives


class TrueNegatives(_Count):
    """How many are false and not predicted above the threshold (0.5 if None), or each of several thresholds."""

    def _values(self) -> Array:
        return self.true_negatives


class FalseNegatives(_Count):
    """How many are true and not predicted above the threshold (0.5 if None), or each of several thresholds."""

    def _values(self) -> Array:
        return self.false_negatives


class Precision(_AtThresholds):
    """How many of the positive decisions are right; 0 where there are none.

    Parameters
    ----------
    thresholds : float or sequence of float, optional
        In 0 ... 1; 0.5 if None, or with `top_k` no threshold. For several, `result` has a value for each. 0 goes with
        logits.
    top_k : int, optional
        Only the k largest predictions of a row can be positive.
    class_id : int, optional
        Only this class counts.
    name, dtype
        As in `Metric`.
    """

    direction = "up"
    _options = ("thresholds", "top_k", "class_id")

    def _values(self) -> Array:
        positives = self.true_positives
        return ratio(positives, positives + self.false_positives)


class Recall(_AtThresholds):
    """How many of the true ones are found; 0 where there are none. The parameters are those of `Precision`."""

    direction = "up"
    _options = ("thresholds", "top_k", "class_id")

    def _values(self) -> Array:
        positives = self.true_positives
        return ratio(positives, positives + self.false_negatives)


class _AtConstraint(Confusion):
    """The best of one rate over evenly spaced thresholds at which another rate is large enough; 0 if it never is."""

    direction = "up"
    _argument = ""

    def __init__(
        self,
        least: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        owner = type(self).__name__
        if isinstance(least, bool) or not isinstance(least, int | float | np.number) or not 0 <= least <= 1:
            raise ValueError(f"{owner}: expected {self._argument} in 0 ... 1, got {least!r}")
        self._least, self.num_thresholds = float(least), integer(owner, "num_thresholds", num_thresholds, 1)
        super().__init__(
            [0.5] if num_thresholds == 1 else np.linspace(0, 1, num_thresholds).tolist(),
            class_id=class_id,
            name=name,
            dtype=dtype,
        )

    def _best(self, constrained: Array, wanted: Array) -> float:
        return float(np.where(constrained >= self._least, wanted, 0).max())

    def _sensitivity(self) -> Array:
        positives = self.true_positives
        return ratio(positives, positives + self.false_negatives)

    def _specificity(self) -> Array:
        negatives = self.true_negatives
        return ratio(negatives, negatives + self.false_positives)

    def _precision(self) -> Array:
        positives = self.true_positives
        return ratio(positives, positives + self.false_positives)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            self._argument: self._least,
            "num_thresholds": self.num_thresholds,
            "class_id": self.class_id,
        }


class SensitivityAtSpecificity(_AtConstraint):
    """The best sensitivity, tp / (tp + fn), at a specificity, tn / (tn + fp), of at least `specificity`."""

    _argument = "specificity"

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(specificity, num_thresholds, class_id, name, dtype)

    def result(self) -> float:
        return self._best(self._specificity(), self._sensitivity())


class SpecificityAtSensitivity(_AtConstraint):
    """The best specificity, tn / (tn + fp), at a sensitivity, tp / (tp + fn), of at least `sensitivity`."""

    _argument = "sensitivity"

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)

    def result(self) -> float:
        return self._best(self._sensitivity(), self._specificity())


class PrecisionAtRecall(_AtConstraint):
    """The best precision, tp / (tp + fp), at a recall, tp / (tp + fn), of at least `recall`."""

    _argument = "recall"

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(recall, num_thresholds, class_id, name, dtype)

    def result(self) -> float:
        return self._best(self._sensitivity(), self._precision())


class RecallAtPrecision(_AtConstraint):
    """The best recall, tp / (tp + fn), at a precision, tp / (tp + fp), of at least `precision`."""

    _argument = "precision"

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(precision, num_thresholds, class_id, name, dtype)

    def result(self) -> float:
        return self._best(self._precision(), self._sensitivity())
