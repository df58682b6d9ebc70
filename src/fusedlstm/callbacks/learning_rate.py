"""Learning rates by the number of the epoch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from fusedlstm.callbacks.base import Callback, Logs


class LearningRateScheduler(Callback):
    """Sets the learning rate ahead of every epoch, and adds `learning_rate` to its logs.

    Parameters
    ----------
    schedule : function
        ``schedule(epoch, learning_rate)``, or ``schedule(epoch)``, returns the new rate; epochs count from 0.
    verbose : int
        1: print a line an epoch.

    Raises
    ------
    TypeError
        If `schedule` is no function, or later returns something else than a number; in `fit`, if the optimizer has a
        schedule of its own.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        if not callable(schedule):
            raise TypeError(f"LearningRateScheduler: expected schedule to be a function, got {schedule!r}")
        self.schedule = schedule
        self.verbose = verbose
        self._takes_rate = _takes_two(schedule)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        check_settable("LearningRateScheduler", self.model)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        given = (epoch, float(optimizer.learning_rate)) if self._takes_rate else (epoch,)
        rate = self.schedule(*given)
        if isinstance(rate, bool) or not isinstance(rate, float | int | np.number):
            raise TypeError(f"LearningRateScheduler: expected schedule to return a number, got {rate!r}")
        optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: LearningRateScheduler: learning rate {float(rate):.6g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def check_settable(owner: str, model: Any) -> None:
    """A TypeError if the learning rate of a model's optimizer cannot be set to a number."""
    optimizer: Any = getattr(model, "optimizer", None)
    if getattr(optimizer, "scheduled", False):
        raise TypeError(
            f"{owner}: expected an optimizer whose learning rate is a number, got {type(optimizer).__name__} with a "
            f"schedule, {type(optimizer._learning_rate).__name__}: use one or the other"
        )


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(0, 0.0)
    except (TypeError, ValueError):
        return False
    return True
