"""Callbacks of a few lines each."""

from __future__ import annotations

import math
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
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        self.model.history = self


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


class TerminateOnNaN(Callback):
    """Stops `fit` at a batch whose loss is NaN or infinite.

    Parameters
    ----------
    raise_error : bool
        Raise RuntimeError instead of ending `fit` in the ordinary way.
    """

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(f"TerminateOnNaN: the loss is {loss} at batch {batch}")
        print(f"Batch {batch}: the loss is {loss}, training stops")
        self.model.stop_training = True
