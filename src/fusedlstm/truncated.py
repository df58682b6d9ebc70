"""Truncated back-propagation through time: a long sequence in windows, with an update after each (Werbos 1990)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fusedlstm.batches import Batch
from fusedlstm.layers.base import Array, show_shape
from fusedlstm.step_by_step import StepByStep, carrying


class Windows:
    """Cuts batches into windows of steps, for a model that carries its states from one to the next.

    Parameters
    ----------
    model : Model
        Built when the first batch comes.
    steps : int
        Of a window; the last one of a sequence may be shorter.
    """

    def __init__(self, model: Any, steps: int) -> None:
        self._model, self._steps = model, steps
        self._layers: list[Any] | None = None

    def _find_layers(self, batch: Batch) -> list[Any]:
        model = self._model
        parts = StepByStep("tbptt", model, [x.shape for x in batch.x])
        for name, has_steps in zip(model.output_names, parts.has_steps, strict=True):
            if not has_steps:
                raise ValueError(
                    f"{model.label}: expected outputs of every step with tbptt, got one for the last step alone from "
                    f"'{name}': set return_sequences=True; or use checkpoint_time=True instead of tbptt, for the "
                    "gradient of the whole sequence in little memory"
                )
        return parts.layers

    def check(self, batch: Batch) -> int:
        """The number of steps of a batch.

        Raises
        ------
        ValueError
            By the first layer that needs more of a sequence than a window; for an output without steps; if inputs and
            targets do not have the same number of steps.
        """
        if self._layers is None:
            self._layers = self._find_layers(batch)
        label, steps = self._model.label, batch.x[0].shape[1]
        if any(x.shape[1] != steps for x in batch.x):
            got = ", ".join(show_shape(x.shape) for x in batch.x)
            raise ValueError(f"{label}: expected inputs of as many steps each with tbptt, got {got}")
        for y in batch.y or ():
            if y is not None and (y.ndim < 2 or y.shape[1] != steps):
                raise ValueError(
                    f"{label}: expected y (batch, {steps}, ...) with tbptt, a target for each step, got "
                    f"{show_shape(y.shape)}"
                )
        return steps

    def learn(self, batch: Batch, step: Callable[..., None], *arguments: Any) -> None:
        """Call `step` on each window of a batch; states are zero at its start, but for those of stateful layers."""
        steps = self.check(batch)
        assert self._layers is not None
        with carrying(self._layers):
            for begin in range(0, steps, self._steps):
                x, y, weight = (_cut(part, slice(begin, begin + self._steps), steps) for part in batch)
                step(Batch(x or [], y, weight), *arguments)


def _cut(arrays: list[Any] | None, window: slice, steps: int) -> list[Any] | None:
    """Those steps of arrays (B,T,...); others, which are weights (B,) or (B,1), stay whole."""

    def part(array: Array) -> Array:
        return array[:, window] if array.ndim > 1 and array.shape[1] == steps else array

    return None if arrays is None else [None if array is None else part(array) for array in arrays]
