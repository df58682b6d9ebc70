"""What `compile` sets up beside the optimizer: the loss and the metrics, and their values over an epoch."""

from __future__ import annotations

from typing import Any

from fusedlstm import losses, metrics
from fusedlstm.layers.base import Array, find


def _listed(owner: str, argument: str, value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, str | metrics.Metric):
        return [value]
    raise TypeError(f"{owner}: expected {argument} to be a list of metrics, got {value!r}")


class Objective:
    """The loss that training lowers, and the metrics beside it.

    Parameters
    ----------
    owner : str
        How errors call the model.
    loss : str, Loss or None
    metric_list, weighted_metrics : list of str or Metric, optional
        Without and with the sample weights. A name like "accuracy" is resolved by the first batch's shapes.

    Raises
    ------
    TypeError, ValueError
        For a loss or metric that does not exist, already here.
    """

    def __init__(self, owner: str, loss: Any, metric_list: Any, weighted_metrics: Any) -> None:
        self.owner = owner
        self.loss = None if loss is None else find(owner, losses.get, "loss", loss)
        plain = _listed(owner, "metrics", metric_list)
        weighted = _listed(owner, "weighted_metrics", weighted_metrics)
        self._identifiers = [(item, False) for item in plain] + [(item, True) for item in weighted]
        for item, is_weighted in self._identifiers:
            argument = "weighted_metrics" if is_weighted else "metrics"
            find(owner, lambda name: metrics.get(name, (1, 1), (1, 1)), argument, item)
        self._metrics: list[tuple[metrics.Metric, bool]] | None = None
        self._names: list[str] = []
        self.reset()

    def prepare(self, y: Array, y_pred: Array, weight: Array | None) -> None:
        """Check one row of targets against one of predictions, and make the metrics for them.

        Raises
        ------
        ValueError
            If the shapes do not go together.
        """
        if self.loss is not None:
            self.loss(y, y_pred, weight)
        if self._metrics is None:
            made = [(metrics.get(item, y.shape, y_pred.shape), weighted) for item, weighted in self._identifiers]
            names: list[str] = []
            for metric, weighted in made:
                name = f"weighted_{metric.name}" if weighted and metric.name in names else metric.name
                if name in names or name == "loss":
                    raise ValueError(f"{self.owner}: expected metrics of different names, got {name!r} twice")
                names.append(name)
            self._metrics, self._names = made, names

    @property
    def metrics(self) -> list[metrics.Metric]:
        """The metrics, in the order of `compile`; none before the first data."""
        return [metric for metric, _ in self._metrics or []]

    @property
    def names(self) -> list[str]:
        """`loss` and the metrics' names, in the order of `compile`."""
        return ["loss", *self._names]

    def reset(self) -> None:
        """Start a new mean of everything."""
        self._loss_sum = 0.0
        self._rows = 0
        for metric, _ in self._metrics or ():
            metric.reset_state()

    def step(self, y: Array, y_pred: Array, weight: Array | None, mask: Array | None, gradient: bool) -> Array | None:
        """Take in a batch; returns the gradient of its loss with respect to `y_pred`, if wanted.

        Parameters
        ----------
        y, y_pred, weight : array
        mask : (B,T) array of bool or None
            Of `y_pred`.
        gradient : bool
        """
        d_y_pred = None
        rows = len(y_pred)
        if self.loss is not None:
            if gradient or mask is not None:
                value, d_y_pred = self.loss.value_and_gradient(y, y_pred, weight, mask)
            else:
                value = self.loss(y, y_pred, weight)
            self._loss_sum += value * rows
        self._rows += rows
        if self._metrics:
            for metric, weighted in self._metrics:
                used = weight if weighted else None
                if mask is not None:
                    used = mask.astype(y_pred.dtype) if used is None else mask * used.reshape(len(used), -1)
                metric.update_state(y, y_pred, used)
        return d_y_pred if gradient else None

    def values(self) -> list[float]:
        """The means since `reset`, in the order of `names`; the loss weighted by the batches' sizes."""
        loss = self._loss_sum / self._rows if self._rows else float("nan")
        return [loss, *(metric.result() for metric, _ in self._metrics or ())]

    def logs(self) -> dict[str, float]:
        """The means by name, in alphabetical order."""
        return dict(sorted(zip(self.names, self.values(), strict=True)))
