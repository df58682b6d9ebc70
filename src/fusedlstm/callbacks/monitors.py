"""Callbacks that act when a value no longer improves."""

from __future__ import annotations

from typing import Any

from fusedlstm.callbacks.base import Logs
from fusedlstm.callbacks.learning_rate import check_settable
from fusedlstm.callbacks.monitoring import MonitorCallback


class EarlyStopping(MonitorCallback):
    """Stops `fit` when a value no longer improves.

    Parameters
    ----------
    monitor : str
        Name in the epoch's logs. Where it is missing, a warning says so.
    min_delta : float
        Improvements that are not larger than this do not count.
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
        super().__init__(monitor, mode, min_delta)
        self.patience = self.check_count("patience", patience)
        self.verbose = verbose
        self.baseline = None if baseline is None else self.check_number("baseline", baseline)
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = self.check_count("start_from_epoch", start_from_epoch)
        self._reset()

    def _reset(self) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best = None
        self.best_epoch = 0
        self.best_weights: Any = None
        self._sign = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        current = self.value_in(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        better = self.improves(current, self.best)
        if self.restore_best_weights and (better or self.best_weights is None):
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if better:
            self.best, self.best_epoch = current, epoch
            if self.baseline is None or self.improves(current, self.baseline):
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

    def get_state(self) -> dict[str, Any]:
        names = ("wait", "stopped_epoch", "best", "best_epoch", "best_weights")
        return {name: getattr(self, name) for name in names}


class ReduceLROnPlateau(MonitorCallback):
    """Lowers the learning rate when a value no longer improves; adds `learning_rate` to the logs.

    Parameters
    ----------
    monitor : str
        Name in the epoch's logs. Where it is missing, a warning says so.
    factor : float
        Below 1: what the learning rate is multiplied by.
    patience : int
        Epochs without improvement after which to do so.
    verbose : int
        1: print a line when it happens.
    mode : {"auto", "min", "max"}
        Which way is better; "auto" asks the model's metric of that name.
    min_delta : float
        Improvements that are not larger than this do not count.
    cooldown : int
        Epochs to wait after a reduction before counting again.
    min_lr : float
        The learning rate does not fall below this.

    Raises
    ------
    TypeError
        In `fit`, if the optimizer has a schedule of its own.

    Notes
    -----
    NaN is never an improvement.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if not 0 <= self.check_number("factor", factor) < 1:
            raise ValueError(f"{self.owner}: expected factor from 0 to below 1, got {factor!r}")
        if self.check_number("min_lr", min_lr) < 0:
            raise ValueError(f"{self.owner}: expected min_lr >= 0, got {min_lr!r}")
        self.factor = factor
        self.patience = self.check_count("patience", patience)
        self.verbose = verbose
        self.cooldown = self.check_count("cooldown", cooldown)
        self.min_lr = min_lr
        self._reset()

    def _reset(self) -> None:
        self.best = None
        self.wait = 0
        self.cooldown_counter = 0
        self._sign = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()
        check_settable(self.owner, self.model)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        if logs is not None:
            logs["learning_rate"] = float(optimizer.learning_rate)
        current = self.value_in(logs)
        if current is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improves(current, self.best):
            self.best = current
            self.wait = 0
        elif self.cooldown_counter == 0:
            self.wait += 1
            before = float(optimizer.learning_rate)
            if self.wait >= self.patience and before > self.min_lr:
                optimizer.learning_rate = max(before * self.factor, self.min_lr)
                if self.verbose:
                    print(f"\nEpoch {epoch + 1}: ReduceLROnPlateau: learning rate {float(optimizer.learning_rate):.6g}")
                self.cooldown_counter = self.cooldown
                self.wait = 0

    def get_state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("best", "wait", "cooldown_counter")}
