"""The CTC loss: sequences of labels without an alignment to the steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusedlstm import backends
from fusedlstm.losses.base import Array, Backward, Loss, spread

#: The value of a row whose steps cannot spell its target: large, as in Keras, and the same for all.
IMPOSSIBLE = 1e5


class CTC(Loss):
    """Connectionist temporal classification: -log of the probability that the steps spell the labels.

    Source: Graves et al. 2006. y_true (B,L) are labels from 1; 0 is padding, wherever it stands. y_pred (B,T,C) are
    logits of the blank, 0, and of the labels. All steps count, but for those that y_pred's mask leaves out; the values
    are one to a sample, so sample weights are too.

    Where a sample has too few steps for its labels (each needs one, and a blank between equal ones), its value is 1e5
    and its gradient 0, so that it shows without changing what the others teach.

    Parameters
    ----------
    reduction, name, dtype
        As in `Loss`.
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = "ctc", dtype: Any = None
    ) -> None:
        super().__init__(name, reduction, dtype)

    def align(self, y_true: Array, y_pred: Array, weighted: bool) -> tuple[Array, Array]:
        """Labels as integers with the padding behind them; logits as they are."""
        if y_pred.ndim != 3:
            raise ValueError(f"CTC: expected y_pred (batch, steps, classes), got {y_pred.shape}")
        if y_true.ndim != 2 or len(y_true) != len(y_pred):
            raise ValueError(f"CTC: expected y_true ({len(y_pred)}, labels), got {y_true.shape}")
        labels = y_true
        if labels.dtype.kind == "f":
            labels = np.rint(np.where(np.isfinite(labels), labels, -1))
            if (labels != y_true).any():
                raise ValueError(f"CTC: expected labels to be integers, got {y_true[labels != y_true][0]}")
        labels = labels.astype(np.int64, copy=False)
        classes = y_pred.shape[2]
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(
                f"CTC: expected labels in 0 ... {classes - 1} for y_pred {y_pred.shape}, "
                f"got {labels.min()} ... {labels.max()}"
            )
        return _to_the_front(labels, labels != 0), y_pred

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Backward]:
        return self._forward(y_true, y_pred, None, True)[:2]

    def _forward(
        self, y_true: Array, y_pred: Array, mask: ArrayLike | None, gradient: bool
    ) -> tuple[Array, Backward, Array | None]:
        batch, steps, _ = y_pred.shape
        lengths, order = np.full(batch, steps), None
        if mask is not None:
            used = spread("CTC", "mask", mask, (batch, steps)) != 0
            lengths = used.sum(axis=1)
            if (used[:, 1:] > used[:, :-1]).any():  # they do not stand at the front
                order = np.argsort(~used, axis=1, kind="stable")[..., None]
                y_pred = np.take_along_axis(y_pred, order, axis=1)
        labels = np.count_nonzero(y_true, axis=1)
        values, d_logits = backends.current().ctc_loss(y_pred, y_true, labels, lengths, gradient)
        values[values == np.inf] = IMPOSSIBLE

        def backward(d_values: Any) -> Array:
            d = d_logits * (d_values if isinstance(d_values, float) else d_values[:, None, None])
            if order is not None:
                d_sorted, d = d, np.empty_like(d)
                np.put_along_axis(d, order, d_sorted, axis=1)
            return d

        return values, backward, None


def _to_the_front(labels: Array, used: Array) -> Array:
    """Each row's used labels, in their order, ahead of the others."""
    if (used[:, 1:] <= used[:, :-1]).all():
        return labels
    return np.take_along_axis(labels, np.argsort(~used, axis=1, kind="stable"), axis=1)


def ctc(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """`CTC` of every sample, without reduction."""
    return CTC().call(y_true, y_pred)
