"""Training on a stream a step at a time, and the loss of every step: `Model.online_update` and `step_losses`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from fusedlstm.backends import placement
from fusedlstm.batches import Arrays, Batch
from fusedlstm.data import Spec, check_weight, check_x, check_y
from fusedlstm.layers.base import Array, show_shape
from fusedlstm.layers.rnn import RNN
from fusedlstm.losses import Loss
from fusedlstm.step_by_step import StepByStep, carrying


class Online:
    """What a model keeps between calls of `online_update`: the last steps, and the states ahead of them.

    Parameters
    ----------
    model : Model
        Built and compiled.
    x : list of (B,1,...) arrays
        Inputs like those to come.
    window : int
        Steps that gradients go back through.

    Raises
    ------
    ValueError
        By the first layer that needs more of a sequence than its steps so far.
    """

    def __init__(self, model: Any, x: list[Array], window: int) -> None:
        parts = StepByStep("online_update", model, [array.shape for array in x])
        for layer in parts.layers:
            if window > 1 and isinstance(layer, RNN):
                raise ValueError(
                    f"{layer.label}: expected window=1 in online_update with an RNN, got {window}; LSTM, GRU and "
                    "SimpleRNN take longer ones"
                )
        self.window, self.rows = window, len(x[0])
        self.has_steps = parts.has_steps
        self._layers = parts.layers
        self._states: list[Any] = [None] * len(parts.layers)
        self._x = [array[:, :0] for array in x]

    def update(self, model: Any, x: list[Array], y: list[Any], weight: list[Any] | None) -> None:
        """One more step, with its inputs (B,1,...), and targets and weights of the shapes of its outputs."""
        objective, optimizer = model._compiled("online_update")
        x = [np.concatenate(parts, axis=1) for parts in zip(self._x, x, strict=True)]
        steps = x[0].shape[1]
        full = (
            steps == self.window
        )  # then the first step is left behind, and its states are what comes next starts from
        with carrying(self._layers, self._states, 1 if full and steps > 1 else None):
            y_pred, masks, backward = model._pass(x, True, True)
            after = [layer.states for layer in self._layers]
        model._backward(objective, Batch(x, y, weight), *self._last(y_pred, masks), self._spread(y_pred, backward))
        optimizer.apply(model.gradients, model.trainable_weights, scaled=False)
        self._x = [array[:, 1:] if full else array for array in x]
        if full:
            self._states = after

    def _last(self, y_pred: list[Array], masks: list[Any]) -> tuple[list[Array], list[Any]]:
        """Of the outputs and masks the last step."""
        parts = [
            (y[:, -1:], None if mask is None else mask[:, -1:]) if has_steps else (y, mask)
            for y, mask, has_steps in zip(y_pred, masks, self.has_steps, strict=True)
        ]
        return [y for y, _ in parts], [mask for _, mask in parts]

    def _spread(self, y_pred: list[Array], backward: Any) -> Callable[[list[Any]], None]:
        """`backward` for the gradients of the last step of the outputs."""

        def run_backward(d_last: list[Any]) -> None:
            d_outputs = []
            for d, y, has_steps in zip(d_last, y_pred, self.has_steps, strict=True):
                if d is not None and has_steps:
                    full = np.zeros_like(y)
                    full[:, -1:] = d
                    d = full
                d_outputs.append(d)
            backward(d_outputs)

        return run_backward


def online_update(
    model: Any, x: Any, y: Any, sample_weight: Any, window: int, return_dict: bool
) -> float | list[float] | dict[str, float]:
    """What `Model.online_update` does."""
    objective, _ = model._compiled("online_update")
    model.require_built()
    window = model.positive_integer("window", window)
    spec = model.spec()
    places = [place._replace(shape=(None, None, *place.shape[2:])) for place in spec.inputs]
    spec = Spec(spec.owner, places, spec.outputs)
    single = _rank(x) == len(places[0].shape) - 1
    inputs = check_x(spec, _map(lambda value: placement.as_array(value)[:, None], x) if single else x)
    rows, steps = inputs[0].shape[:2]
    targets = check_y(spec, _map(lambda value: placement.as_array(value)[:, None], y) if single else y, rows)
    weights = check_weight(spec, sample_weight, rows)
    if weights is not None:  # one for all steps is (B,) from here on
        weights = [w[:, 0] if w is not None and w.ndim > 1 and w.shape[1] == 1 else w for w in weights]
        for k, weight in enumerate(weights):
            if weight is not None and weight.ndim > 1 and weight.shape[1] != steps:
                raise ValueError(
                    f"{model.label}: expected sample_weight to have {steps} steps, as x, got "
                    f"{show_shape(weight.shape)} for '{spec.outputs[k].name}'"
                )
    for k, target in enumerate(targets):
        if target is not None and (target.ndim < 2 or target.shape[1] != steps):
            raise ValueError(
                f"{model.label}: expected y to have {steps} steps, as x, got {show_shape(target.shape)} for "
                f"'{spec.outputs[k].name}'"
            )
    stream: Online | None = model.online
    if stream is not None and (stream.rows, stream.window) != (rows, window):
        raise ValueError(
            f"{model.label}: expected {stream.rows} rows and window {stream.window} in online_update, as since "
            f"reset_states(), got {rows} and {window}"
        )
    if stream is None:
        stream = Online(model, [array[:, :1] for array in inputs], window)

    def at(arrays: list[Any] | None, t: int) -> list[Any] | None:
        """Of arrays (B,T,...) step t; for outputs without steps without that axis. Weights (B,) are for all steps."""
        return (
            None
            if arrays is None
            else [
                array if array is None or array.ndim < 2 else array[:, t : t + 1] if has_steps else array[:, t]
                for array, has_steps in zip(arrays, stream.has_steps, strict=True)
            ]
        )

    first = Batch([array[:, :1] for array in inputs], at(targets, 0), at(weights, 0))
    # Whatever number of steps the model was made for, it takes one here.
    whole = [
        np.broadcast_to(x_t, (rows, (place.shape or (None, None))[1] or 1, *x_t.shape[2:]))
        for x_t, place in zip(first.x, model.spec().inputs, strict=True)
    ]
    shapes = [
        (shape[0], 1, *shape[2:]) if has_steps else shape
        for shape, has_steps in zip(model.prepare(whole), stream.has_steps, strict=True)
    ]
    model._check_targets(first, shapes, objective, model.label)
    model._find_penalties(True)
    objective.reset()
    model.online = stream
    for t in range(steps):
        stream.update(model, [array[:, t : t + 1] for array in inputs], at(targets, t) or [], at(weights, t))
    return objective.logs() if return_dict else model._result(objective)


def _map(change: Callable[[Any], Any], value: Any) -> Any:
    """A change to each of some arrays, which come as one, a list or a dict."""
    if isinstance(value, dict):
        return {name: _map(change, item) for name, item in value.items()}
    if isinstance(value, list | tuple) and any(isinstance(item, np.ndarray) for item in value):
        return [_map(change, item) for item in value]
    return None if value is None else change(value)


def _rank(value: Any) -> int:
    """The number of axes of an array, or of the first of several."""
    if isinstance(value, dict):
        value = next(iter(value.values()), None)
    elif isinstance(value, list | tuple) and value and isinstance(value[0], np.ndarray):
        value = value[0]
    return np.ndim(value)


def step_losses(model: Any, x: Any, y: Any, sample_weight: Any, batch_size: int | None) -> Any:
    """What `Model.step_losses` does."""
    objective, _ = model._compiled("step_losses")
    source = model._source(x, y, sample_weight, batch_size)
    batches: list[tuple[Any, ...]] = []
    if isinstance(source, Arrays):
        model._require_rows(source)
        model._ready(source.sample(), objective)
    for batch in source:
        if not batches:
            model._ready(batch, objective)
        y_pred, masks, _ = model._pass(batch.x, False, False)
        batches.append((batch.y, y_pred, batch.weight or [None] * len(y_pred), masks))
    if not batches:
        raise ValueError(f"{model.label}: expected at least one batch for step_losses, got none")
    found: list[Any] = []
    for k, output in enumerate(objective.outputs):
        if output.loss is None:
            found.append(None)
            continue
        y_true, y_pred, weight, mask = ([part[k] for part in parts] for parts in zip(*batches, strict=True))
        owner = f"{model.label}: output '{output.name}'"
        found.append(_losses_of_steps(owner, output.loss, y_true, y_pred, weight, mask))
    return model.pack(found)


def _losses_of_steps(
    owner: str, loss: Loss, y_true: list[Array], y_pred: list[Array], weight: list[Any], mask: list[Any]
) -> Array:
    """The mean over the rows of all batches for each step (T,); NaN where all rows are masked."""
    steps = y_pred[0].shape[1] if y_pred[0].ndim > 2 else None
    for target, predicted in zip(y_true, y_pred, strict=True):
        if steps is None or predicted.shape[1] != steps or target.ndim < 2 or target.shape[1] != steps:
            expected = "steps" if steps is None else steps
            raise ValueError(
                f"{owner}: expected predictions (batch, {expected}, ...) and a target for each step in step_losses, "
                f"got {show_shape(predicted.shape)} and {show_shape(target.shape)}"
            )
    assert steps is not None
    if loss.reduction not in ("sum_over_batch_size", "mean", "mean_with_sample_weight"):
        loss = copy.copy(loss)
        loss.reduction = "sum_over_batch_size"
    true, pred = np.concatenate(y_true), np.concatenate(y_pred)
    weights = None if weight[0] is None else np.concatenate(weight)
    valid = None if mask[0] is None else np.concatenate(mask).astype(bool)
    losses = np.full(steps, np.nan)
    for t in range(steps):
        at_t = None if valid is None else valid[:, t]
        if at_t is None or at_t.any():
            weight_t = weights if weights is None or weights.ndim < 2 else weights[:, min(t, weights.shape[1] - 1)]
            losses[t] = loss(true[:, t], pred[:, t], weight_t, at_t)
    return losses
