"""The area under the curve of decisions at all thresholds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusedlstm.metrics.base import Array, as_rows
from fusedlstm.metrics.confusion import Confusion, check_thresholds, ratio
from fusedlstm.utils.numbers import integer

_EPSILON = 1e-7
_CURVES = ("ROC", "PR", "PRGAIN")
_SUMS: dict[str, Callable[[Array, Array], Array]] = {
    "interpolation": lambda left, right: (left + right) / 2,
    "minoring": np.minimum,
    "majoring": np.maximum,
}


class AUC(Confusion):
    """The area under a curve of rates, drawn through a number of thresholds.

    Parameters
    ----------
    num_thresholds : int
        Evenly spaced; with more the sum comes closer to the area.
    curve : {"ROC", "PR", "PRGAIN"}
        Recall over the false positive rate, precision over recall, or both of the latter as gains over always deciding
        for the label. Source of the last: Flach & Kull 2015.
    summation_method : {"interpolation", "minoring", "majoring"}
        Between two thresholds the mean of both heights, the smaller, or the larger. "interpolation" of "PR" has true
        and false positives vary linearly, not their ratio: Davis & Goadrich 2006.
    name, dtype
        As in `Metric`.
    thresholds : sequence of float, optional
        In 0 ... 1, instead of `num_thresholds`; one below 0 and one above 1 are added.
    multi_label : bool
        The mean of the areas of the columns of (..., labels), instead of one area of all predictions together.
    num_labels : int, optional
        How many there are, with `multi_label`; those of the first batch if None.
    label_weights : sequence of float, optional
        Of the columns: in the mean with `multi_label`, else in the counts.
    from_logits : bool
        Predictions are x with p = sigmoid(x), instead of p itself.
    """

    direction = "up"

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Any = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Any = None,
        from_logits: bool = False,
    ) -> None:
        if not isinstance(curve, str) or curve.upper() not in _CURVES:
            raise ValueError(f"AUC: expected curve to be 'ROC', 'PR' or 'PRGAIN', got {curve!r}")
        if not isinstance(summation_method, str) or summation_method.lower() not in _SUMS:
            expected = "'interpolation', 'minoring' or 'majoring'"
            raise ValueError(f"AUC: expected summation_method to be {expected}, got {summation_method!r}")
        if num_labels is not None and not multi_label:
            raise ValueError(f"AUC: expected num_labels None without multi_label, got {num_labels!r}")
        num_thresholds = integer("AUC", "num_thresholds", num_thresholds, 2)
        self.curve, self.summation_method = curve.upper(), summation_method.lower()
        self.multi_label, self.num_labels, self.from_logits = bool(multi_label), num_labels, bool(from_logits)
        self.label_weights = None if label_weights is None else np.asarray(label_weights, np.float64)
        if self.label_weights is not None and (self.label_weights.ndim != 1 or (self.label_weights < 0).any()):
            raise ValueError(f"AUC: expected label_weights to be a list of numbers from 0 on, got {label_weights!r}")
        self._given = None if thresholds is None else sorted(check_thresholds("AUC", thresholds))
        inner = np.linspace(0, 1, num_thresholds)[1:-1].tolist() if self._given is None else self._given
        self.num_thresholds = len(inner) + 2
        # So that predictions of exactly 0 and 1 are above the first and not above the last.
        self.thresholds = [-_EPSILON, *inner, 1 + _EPSILON]
        super().__init__(self.thresholds, name=name, dtype=dtype, per_column=self.multi_label)

    def update_state(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Count a batch; see `Metric.update_state`. Labels other than 0 are true."""
        owner = f"metric '{self.name}'"
        true, pred, weight = as_rows(owner, y_true, y_pred, sample_weight, mask)
        columns = pred.shape[1]
        for argument, expected in (
            ("num_labels", self.num_labels),
            ("label_weights", None if self.label_weights is None else len(self.label_weights)),
        ):
            if expected is not None and expected != columns:
                raise ValueError(f"{owner}: expected y_pred with {expected} labels, as {argument} says, got {columns}")
        if self.from_logits:
            pred = 0.5 * np.tanh(0.5 * pred) + 0.5
        if self.label_weights is not None and not self.multi_label:
            weight = np.broadcast_to(self.label_weights, pred.shape) * (1 if weight is None else weight)
        self._count(true, np.clip(pred, 0, 1), weight)

    def result(self) -> float:
        areas = self._areas()
        if not self.multi_label:
            return float(areas)
        if self.label_weights is None or not areas.ndim:
            return float(areas.mean())
        total = self.label_weights.sum()
        return float((areas * self.label_weights).sum() / total) if total else 0.0

    def _areas(self) -> Array:
        """The area, or that of each label."""
        tp, fp, fn, tn = self.true_positives, self.false_positives, self.false_negatives, self.true_negatives
        if self.curve == "PR" and self.summation_method == "interpolation":
            return _interpolated(tp, fp, fn)
        recall, precision = ratio(tp, tp + fn), ratio(tp, tp + fp)
        if self.curve == "ROC":
            x, y = ratio(fp, fp + tn), recall
        elif self.curve == "PR":
            x, y = recall, precision
        else:
            odds = ratio(tp + fn, tn + fp)
            x = np.where(tp == 0, 0, np.maximum(1 - odds * ratio(fn, tp), 0))
            y = np.where(tp == 0, 1, 1 - odds * ratio(fp, tp))
        heights = _SUMS[self.summation_method](y[:-1], y[1:])
        return np.asarray(((x[:-1] - x[1:]) * heights).sum(axis=0))

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": None if self.label_weights is None else self.label_weights.tolist(),
            "from_logits": self.from_logits,
        }
        return config if self._given is None else {**config, "thresholds": self._given}


def _interpolated(tp: Array, fp: Array, fn: Array) -> Array:
    """The area under precision over recall where true and false positives vary linearly between two thresholds.

    With p = tp + fp, from A to B, precision is (tp_B + slope (p - p_B)) / p, slope = d_tp / d_p; its integral over
    recall is slope (d_tp + (tp_B - slope p_B) log(p_A / p_B)) / (tp + fn). Source: Davis & Goadrich 2006.
    """
    p = tp + fp
    d_tp = tp[:-1] - tp[1:]
    slope = ratio(d_tp, np.maximum(p[:-1] - p[1:], 0))
    both = (p[:-1] > 0) & (p[1:] > 0)
    logs = np.log(np.divide(p[:-1], p[1:], out=np.ones_like(d_tp), where=both))
    parts = slope * (d_tp + (tp[1:] - slope * p[1:]) * logs)
    return np.asarray(ratio(parts, tp[1:] + fn[1:]).sum(axis=0))
