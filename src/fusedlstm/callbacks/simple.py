"""Callbacks of a few lines each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fusedlstm.callbacks.base import HOOKS, Callback, Logs


class History(Callback):
    """What every epoch ended with; `fit` returns one.

    Attributes
    ----------
    history : dict of str to list
        Per name, one value an epoch.
    epoch : list of int
        The epochs' numbers, from 0.
    epochs : dict of str to list of int
        Per name, after which epochs its values were: not all have a validation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self.epochs: dict[str, list[int]] = {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
            self.epochs.setdefault(name, []).append(epoch)
        self.model.history = self

    def get_state(self) -> dict[str, Any]:
        return {"history": self.history, "epoch": self.epoch, "epochs": self.epochs}

    def plot(self, metrics: Any = None, ax: Any = None, path: Any = None) -> Any:
        """Draw loss, metrics and learning rate over the epochs: `fusedlstm.plots.history`, with its arguments."""
        from fusedlstm import plots

        return plots.history(self, metrics, ax, path)


class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    **functions : callable
        By the name of a method of `Callback`, with its arguments, such as
        ``on_epoch_end=lambda epoch, logs: print(epoch)``. None is ignored.

    Raises
    ------
    TypeError
        If a name is not a method of `Callback`, or a value not callable.
    """

    def __init__(self, **functions: Callable[..., Any] | None) -> None:
        super().__init__()
        for name, function in functions.items():
            if name not in HOOKS:
                raise TypeError(f"LambdaCallback: unknown argument {name!r}: expected one of {', '.join(HOOKS)}")
            if function is None:
                continue
            if not callable(function):
                raise TypeError(f"LambdaCallback: expected {name} to be a function, got {function!r}")
            setattr(self, name, function)


class SwapEMAWeights(Callback):
    """Judges the model with the moving averages of its weights, which an optimizer keeps with ``use_ema=True``.

    Weights and averages change places while `evaluate`, the validation of `fit` and `predict` run.

    Parameters
    ----------
    swap_on_epoch : bool
        Let the averages stay in the model from the end of an epoch, so that `ModelCheckpoint`, after this one in the
        list, saves them.

    Raises
    ------
    ValueError
        In `fit`, if the optimizer has no averages.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        super().__init__()
        self.swap_on_epoch = swap_on_epoch
        self._kept: list[Any] | None = None  # the weights, while their averages stand in their place

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._kept = None
        self._check()

    def _check(self) -> None:
        optimizer = self.model.optimizer
        if optimizer is None or not optimizer.use_ema:
            raise ValueError("SwapEMAWeights: expected an optimizer with use_ema=True")

    def _put_averages(self) -> None:
        self._check()
        if self._kept is None and self.model.optimizer.built:
            self._kept = self.model.get_weights()
            for variable, average in self.model.optimizer.averages():
                variable.assign(average)

    def _put_back(self) -> None:
        if self._kept is not None:
            self.model.set_weights(self._kept)
            self._kept = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._put_back()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._put_averages()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._kept = None  # a fit with averages ends with them as the weights

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._put_averages()

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._put_back()

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._put_averages()

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._put_back()

    def get_state(self) -> dict[str, Any]:
        return {"_kept": self._kept}
