"""The callback that keeps a run's best epoch, and ends runs that are not worth going on."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable
from typing import Any

from fusedlstm.callbacks import Callback
from fusedlstm.tuner.objective import Goal, Run, numbers


class BestEpoch(Callback):
    """Keeps the weights of the best epoch.

    Parameters
    ----------
    goal : Goal
    report : function, optional
        Told every epoch (from 1) and the best value so far; returns whether to stop here.
    """

    def __init__(self, goal: Goal, report: Callable[[int, float], bool] | None = None) -> None:
        super().__init__()
        self._goal = goal
        self._report = report
        self._weights: Any = None
        self._run: Run | None = None
        self.pruned = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        leave_with_parent()
        if not self._goal.known(logs or {}):
            return
        value = self._goal.value(logs)
        if self._goal.better(value, None if self._run is None else self._run.score):
            self._weights = self.model.get_weights()
            self._run = Run(value, numbers({k: v for k, v in logs.items() if k != "learning_rate"}), epoch + 1)
        if self._report is None or self._run is None or math.isnan(self._run.score):
            return
        stop = self._report(epoch + 1, self._run.score)
        if stop and epoch + 1 < self.params.get("epochs", math.inf):  # after the last one there is nothing to save
            self.pruned = self.model.stop_training = True

    def settle(self, model: Any, run: Run) -> Run:
        """Give the model the weights that `run` is the score of; returns the run with all that is known of it."""
        if self._run is None or self._run.score != run.score:
            return run  # fit returned something of its own: the weights that it ended with are the ones
        model.set_weights(self._weights)
        return self._run


def leave_with_parent() -> None:
    """End this process if it works for one that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit("the process of the search is gone")
