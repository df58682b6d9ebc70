"""What `compile` sets up beside the optimizer: losses and metrics, and their values over an epoch."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm import losses, metrics
from fusedlstm.backends import placement
from fusedlstm.layers.base import Array, Layer, find
from fusedlstm.metrics import Metric
from fusedlstm.metrics.base import plain
from fusedlstm.variables import Variable


def _is_metric(value: Any) -> bool:
    return isinstance(value, str | metrics.Metric)


def _metrics_of(owner: str, argument: str, value: Any) -> list[Any]:
    """The metrics of one output."""
    if value is None:
        return []
    items = list(value) if isinstance(value, list | tuple) else [value] if _is_metric(value) else None
    if items is None:
        raise TypeError(f"{owner}: expected {argument} to be a list of metrics, got {value!r}")
    for item in items:
        find(owner, lambda name: metrics.get(name, (1, 1), (1, 1)), argument, item)
    return items


def _per_output(owner: str, argument: str, value: Any, names: Sequence[str], *, complete: bool) -> list[Any]:
    """A value for each output from a list or a dict by names; None where a dict has none, unless `complete`."""
    shown = ", ".join(map(repr, names))
    if isinstance(value, dict):
        unknown = [key for key in value if key not in names]
        missing = [name for name in names if name not in value] if complete else []
        if unknown or missing:
            got = ", ".join(map(repr, value)) or "none"
            raise ValueError(f"{owner}: expected {argument} to be a dict with the keys {shown}, got {got}")
        return [value.get(name) for name in names]
    if not isinstance(value, list | tuple) or len(value) != len(names):
        got = f"{len(value)} items" if isinstance(value, list | tuple) else repr(value)
        raise ValueError(
            f"{owner}: expected {argument} to be a list or dict with an item for each of {len(names)} outputs "
            f"({shown}), got {got}"
        )
    return list(value)


class Output:
    """The loss and the metrics of one output of a model.

    Attributes
    ----------
    name : str
    loss : Loss or None
    weight : float
        Of its loss in the sum.
    """

    def __init__(self, name: str, loss: Any, weight: float, plain: list[Any], weighted: list[Any]) -> None:
        self.name, self.loss, self.weight = name, loss, weight
        self.identifiers = [(item, False) for item in plain] + [(item, True) for item in weighted]
        self.metrics: list[tuple[metrics.Metric, bool]] | None = None
        self.names: list[str] = []
        self._takes_mask: list[bool] = []
        self.loss_sum = 0.0

    def prepare(self, owner: str, y: Array | None, y_pred: Array, weight: Array | None) -> None:
        """Check one row of targets against one of predictions, and make the metrics for them."""
        if y is None:
            if self.loss is not None or self.identifiers:
                raise ValueError(f"expected y to be an array for output '{self.name}', got None")
            return
        if self.loss is not None:
            self.loss(y, y_pred, weight)
        if self.metrics is None:
            made = [(metrics.get(item, y.shape, y_pred.shape), weighted) for item, weighted in self.identifiers]
            names: list[str] = []
            for metric, weighted in made:
                name = f"weighted_{metric.name}" if weighted and metric.name in names else metric.name
                if name in names or name == "loss":
                    raise ValueError(f"{owner}: expected metrics of different names, got {name!r} twice")
                names.append(name)
            self.metrics, self.names = made, names
            # A user's own metric may have Keras's signature: y_true, y_pred, sample_weight.
            self._takes_mask = ["mask" in inspect.signature(metric.update_state).parameters for metric, _ in made]

    def judge(self, y: Array, y_pred: Array, weight: Array | None, mask: Array | None) -> None:
        """Take a batch into the metrics; what is masked does not count in any, with or without the sample weights."""
        for (metric, weighted), takes_mask in zip(self.metrics or (), self._takes_mask, strict=True):
            used = weight if weighted else None
            if mask is None:
                metric.update_state(y, y_pred, used)
            elif takes_mask:
                metric.update_state(y, y_pred, used, mask)
            else:
                given = mask.astype(y_pred.dtype) if used is None else mask * used.reshape(len(used), -1)
                metric.update_state(y, y_pred, given)


class Objective:
    """The loss that training lowers, and the metrics beside it.

    Parameters
    ----------
    owner : str
        How errors call the model.
    names : sequence of str
        Of the outputs.
    loss : str, Loss, list, dict or None
        One for all outputs, or one (or None) for each.
    loss_weights : number, list, dict or None
        Of the outputs' losses in their sum; 1 if None.
    metric_list, weighted_metrics : list or dict, optional
        Without and with the sample weights; for several outputs, metrics or None for each. A name like "accuracy" is
        resolved by the first batch's shapes.

    Raises
    ------
    TypeError, ValueError
        For a loss or metric that does not exist, already here.
    """

    def __init__(
        self,
        owner: str,
        names: Sequence[str],
        loss: Any = None,
        loss_weights: Any = None,
        metric_list: Any = None,
        weighted_metrics: Any = None,
    ) -> None:
        self.owner = owner
        count = len(names)
        if isinstance(loss, dict | list | tuple) and not (isinstance(loss, dict) and "class_name" in loss):
            given = _per_output(owner, "loss", loss, names, complete=True)
        else:
            given = [loss] * count
        chosen = [None if item is None else find(owner, losses.get, "loss", item) for item in given]
        weights = self._weights(loss_weights, names)
        plain = self._metrics(owner, "metrics", metric_list, names)
        weighted = self._metrics(owner, "weighted_metrics", weighted_metrics, names)
        self.outputs = [Output(*parts) for parts in zip(names, chosen, weights, plain, weighted, strict=True)]
        self._single = self.outputs[0] if count == 1 else None
        self.reset()

    def _weights(self, loss_weights: Any, names: Sequence[str]) -> list[float]:
        if loss_weights is None:
            return [1.0] * len(names)
        if isinstance(loss_weights, list | tuple | dict):
            given = _per_output(self.owner, "loss_weights", loss_weights, names, complete=False)
        else:
            given = [loss_weights] * len(names)
        for value in given:
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float | np.number)):
                raise TypeError(f"{self.owner}: expected loss_weights to be numbers, got {value!r}")
        return [1.0 if value is None else float(value) for value in given]

    @staticmethod
    def _metrics(owner: str, argument: str, value: Any, names: Sequence[str]) -> list[list[Any]]:
        if value is None:
            return [[] for _ in names]
        nested = isinstance(value, list | tuple) and any(item is None or not _is_metric(item) for item in value)
        if (
            len(names) == 1
            and not isinstance(value, dict)
            and not (nested and len(value) == 1 and isinstance(value[0], list | tuple))
        ):
            return [_metrics_of(owner, argument, value)]
        each = _per_output(owner, argument, value, names, complete=False)
        return [_metrics_of(owner, argument, item) for item in each]

    @property
    def has_loss(self) -> bool:
        """Whether any output has a loss."""
        return any(output.loss is not None for output in self.outputs)

    def prepare(self, y: Sequence[Any], y_pred: Sequence[Array], weight: Sequence[Any] | None) -> None:
        """Check one row of targets against one of predictions, and make the metrics for them.

        Raises
        ------
        ValueError
            If the shapes do not go together.
        """
        for k, output in enumerate(self.outputs):
            output.prepare(self.owner, y[k], y_pred[k], None if weight is None else weight[k])

    @property
    def metrics(self) -> list[metrics.Metric]:
        """The metrics, in the order of `compile`; none before the first data."""
        return [metric for output in self.outputs for metric, _ in output.metrics or ()]

    @property
    def names(self) -> list[str]:
        """`loss`, that of each output if several have one, then the metrics in the order of `compile`."""
        single = self._single is not None
        parts = [f"{output.name}_loss" for output in self._judged()]
        own = [name if single else f"{output.name}_{name}" for output, name, _ in self._ordered()]
        return ["loss", *parts, *own]

    def _judged(self) -> list[Output]:
        """The outputs whose losses are shown beside their sum."""
        found = [output for output in self.outputs if output.loss is not None]
        return found if len(found) > 1 else []

    def _ordered(self) -> list[tuple[Output, str, Metric]]:
        """The metrics in the order of `names`: over all outputs those without, then those with the weights."""
        found = [
            (output, name, metric, weighted)
            for output in self.outputs
            for name, (metric, weighted) in zip(output.names, output.metrics or (), strict=True)
        ]
        return [row[:3] for wanted in (False, True) for row in found if row[3] == wanted]

    def reset(self) -> None:
        """Start a new mean of everything."""
        self._loss_sum = 0.0
        self._rows = 0
        for output in self.outputs:
            output.loss_sum = 0.0
            for metric, _ in output.metrics or ():
                metric.reset_state()

    def step(
        self,
        y: Sequence[Any],
        y_pred: Sequence[Array],
        weight: Sequence[Any] | None,
        mask: Sequence[Any],
        gradient: bool,
        penalty: float = 0.0,
    ) -> list[Any]:
        """Take in a batch; returns the gradients of its loss with respect to `y_pred`, if wanted.

        Parameters
        ----------
        y, y_pred, weight : lists with an array, or None, for each output
        mask : list of (B,T) array of bool or None
            Of `y_pred`.
        gradient : bool
        penalty : float
            To be added to the loss: of weights and activities.
        """
        rows = len(y_pred[0])
        gradients: list[Any] = []
        total = penalty
        for k, output in enumerate(self.outputs):
            loss, output_mask, d_y_pred = output.loss, mask[k], None
            output_weight = None if weight is None else weight[k]
            if loss is not None:
                if gradient or output_mask is not None:
                    value, d_y_pred = loss.value_and_gradient(y[k], y_pred[k], output_weight, output_mask)
                    if gradient and output.weight != 1:
                        d_y_pred = d_y_pred * d_y_pred.dtype.type(output.weight)
                else:
                    value = loss(y[k], y_pred[k], output_weight)
                total += output.weight * value
                output.loss_sum += value * rows
            gradients.append(d_y_pred)
            if output.metrics:
                output.judge(y[k], y_pred[k], output_weight, output_mask)
        self._loss_sum += total * rows
        self._rows += rows
        return gradients

    def values(self) -> list[float]:
        """The means since `reset`, in the order of `names`; losses weighted by the batches' sizes."""
        rows = self._rows or float("nan")
        own = [plain(metric.result()) for _, _, metric in self._ordered()]
        parts = [float(output.loss_sum / rows) for output in self._judged()]
        return [float(self._loss_sum / rows), *parts, *own]

    def logs(self) -> dict[str, float]:
        """The means by name, in alphabetical order."""
        return dict(sorted(zip(self.names, self.values(), strict=True)))


class Penalties:
    """What the regularizers of a model's weights and outputs add to its loss.

    Parameters
    ----------
    layers : sequence of Layer
        All, those inside others too.
    variables : sequence of Variable
        The model's trainable weights.
    """

    def __init__(self, layers: Sequence[Layer], variables: Sequence[Variable]) -> None:
        self._layers = [layer for layer in layers if layer.activity_regularizer is not None]
        self._weights = [(k, v, v.regularizer) for k, v in enumerate(variables) if v.regularizer is not None]
        self.none = not self._layers and not self._weights
        self._gradients: list[Array] = []

    def start(self) -> None:
        """Forget the penalties of the outputs of earlier calls."""
        for layer in self._layers:
            layer.activity_losses.clear()

    def value(self) -> float:
        """The sum, after the model ran; the weights' gradients are kept for `add_gradients`."""
        self._gradients = []
        total = sum(value for layer in self._layers for value in layer.activity_losses)
        for _, variable, regularizer in self._weights:
            value, gradient = regularizer.value_and_gradient(variable.value)
            total += value
            self._gradients.append(gradient)
        return placement.plain_number(total)  # type: ignore[no-any-return]

    def add_gradients(self, gradients: list[Array]) -> None:
        """Add those of the weights' penalties to the loss's, in the order of the trainable weights."""
        for (k, _, _), gradient in zip(self._weights, self._gradients, strict=True):
            gradients[k] = gradients[k] + gradient
