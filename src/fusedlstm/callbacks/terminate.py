"""Ending `fit` when numbers are no longer finite, and telling where they came from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fusedlstm.callbacks.base import Callback, Logs
from fusedlstm.graph import Graph


class TerminateOnNaN(Callback):
    """Stops `fit` at a batch whose loss is NaN or infinite, and says at which layer it first appeared.

    Parameters
    ----------
    raise_error : bool
        Raise RuntimeError instead of ending `fit` in the ordinary way.

    Attributes
    ----------
    where : str or None
        What is not finite: the data, a layer's weights or its outputs, or the loss alone.
    """

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error
        self.where: str | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.where = None
        if hasattr(self.model, "watch_passes"):
            # The step that follows makes all weights NaN: it has to be seen ahead of it, at the outputs.
            self.model.watch_passes(self._look)

    def _look(self, x: list[Any], outputs: list[Any]) -> None:
        if self.where is None and not all(np.isfinite(y).all() for y in outputs):
            self.where = first_not_finite(self.model, x)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        watched = hasattr(self.model, "watch_passes")
        where = f" ({self.where or 'the outputs are finite: it comes from the targets or the loss'})" if watched else ""
        if self.raise_error:
            raise RuntimeError(f"TerminateOnNaN: the loss is {loss} at batch {batch}{where}")
        print(f"Batch {batch}: the loss is {loss}, training stops{where}")
        self.model.stop_training = True


def first_not_finite(model: Any, x: list[Any]) -> str:
    """Where the first number comes from that is NaN or infinite, when a model runs on a batch.

    Parameters
    ----------
    model : Model
        Built; its state is as it was afterwards.
    x : list of arrays
        One per input.
    """
    for name, array in zip(model.input_names, x, strict=True):
        if not np.isfinite(array).all():
            rows = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
            return f"the input {name!r} is not finite in row {rows[0]} of the batch"
    for layer in model.all_layers():
        for variable in layer._weights:
            if not np.isfinite(variable.value).all():
                return f"the weights of {layer.label} are not finite: {variable.name}"
    graph = model.graph
    calls = graph.calls
    kept = [(layer, layer.states) for layer in model.all_layers() if layer.stateful]
    with np.errstate(all="ignore"):
        numbers = tuple(k for call in calls for k in call.outputs)
        values = dict(zip(numbers, Graph(calls, graph.inputs, numbers).forward(x)[0], strict=True))
    for layer, states in kept:
        layer.states = states
    for call in calls:
        if not all(np.isfinite(values[k]).all() for k in call.outputs):
            return f"it first appears in the outputs of {call.layer.label}"
    return "it appears only with what is drawn in training"
