"""Callbacks that watch a value from epoch to epoch."""

from __future__ import annotations

import math
import warnings
from typing import Any

from fusedlstm.callbacks.base import Callback, Logs


class EarlyStopping(Callback):
    """Stops `fit` when a value no longer improves.

    Parameters
    ----------
    monitor : str
        Name in the epoch's logs. Where it is missing, a warning says so.
    min_delta : float
        Improvements smaller than this do not count.
    patience : int
        Epochs without improvement after which to stop. The first epoch never stops.
    verbose : int
        1: print a line when stopping or restoring.
    mode : {"auto", "min", "max"}
        Which way is better; "auto" asks the model's metric of that name.
    baseline : float, optional
        Epochs count as without improvement until the value is better than this.
    restore_best_weights : bool
        Go back to the weights of the best epoch at the end of `fit`, whether or not it was stopped.
    start_from_epoch : int
        Ignore the epochs before this one.

    Notes
    -----
    NaN is never an improvement (in Keras a NaN in the first epoch can never be improved upon).
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(monitor, str):
            raise TypeError(f"EarlyStopping: expected monitor to be a name, got {monitor!r}")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"EarlyStopping: expected mode 'auto', 'min' or 'max', got {mode!r}")
        for name, count in (("patience", patience), ("start_from_epoch", start_from_epoch)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise ValueError(f"EarlyStopping: expected {name} to be an integer >= 0, got {count!r}")
        self.monitor = monitor
        self.min_delta = abs(min_delta)
        self.patience = patience
        self.verbose = verbose
        self.mode = mode
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self._reset()

    def _reset(self) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best: float | None = None
        self.best_epoch = 0
        self.best_weights: Any = None
        self._sign: int | None = None  # 1: smaller is better, -1: larger

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        current = (logs or {}).get(self.monitor)
        if current is None:
            available = ", ".join(logs or {}) or "none"
            warnings.warn(f"EarlyStopping: there is no {self.monitor!r} to monitor, only: {available}", stacklevel=2)
            return
        if epoch < self.start_from_epoch:
            return
        if self._sign is None:
            self._sign = self._find_sign()
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self._improves(current, self.best):
            self.best, self.best_epoch = current, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self._improves(current, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose:
                print(f"Restoring the weights of the best epoch, {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)

    def _improves(self, value: float, reference: float | None) -> bool:
        if math.isnan(value):
            return False
        sign = self._sign or 1
        return reference is None or sign * value + self.min_delta < sign * reference

    def _find_sign(self) -> int:
        if self.mode != "auto":
            return 1 if self.mode == "min" else -1
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return 1
        for metric in getattr(self.model, "metrics", None) or ():
            direction = getattr(metric, "direction", None)
            if getattr(metric, "name", None) == name and direction in ("up", "down"):
                return 1 if direction == "down" else -1
        raise ValueError(
            f"EarlyStopping: cannot tell whether a larger or a smaller {self.monitor!r} is better: pass mode='max' "
            "or mode='min'"
        )
