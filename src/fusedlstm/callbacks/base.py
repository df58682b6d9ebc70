"""The callback protocol, and the list that calls several as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Logs = dict[str, Any]


class Callback:
    """Base class: override the methods for the moments that matter.

    `logs` is a dict of the loss and metrics known at that moment; keep a copy if it is needed later. Setting
    ``self.model.stop_training = True`` ends `fit` after the current batch's or epoch's callbacks.

    Attributes
    ----------
    model : object
        The model that runs; set before any other call.
    params : dict
        ``verbose``, ``epochs`` and ``steps`` (None if unknown) of the run.
    """

    #: Whether it is called after all others, wherever it stands among them; it gets them as `siblings`.
    runs_last = False
    siblings: Sequence[Callback] = ()

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_model(self, model: Any) -> None:
        """Called once ahead of a run."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called once ahead of a run."""
        self.params = params

    def get_state(self) -> dict[str, Any] | None:
        """What it counts and remembers, for `BackupAndRestore`: attributes by name, plain values and arrays."""
        return None

    def set_state(self, state: dict[str, Any]) -> None:
        """Take up what `get_state` gave, in a run that goes on; after `on_train_begin`."""
        vars(self).update(state)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start of `fit`."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """End of `fit`; `logs` are the last epoch's."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start of an epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """End of an epoch, after its validation; `logs` has the ``val_`` values too."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Another name for `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Another name for `on_train_batch_end`."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Start of a batch of `fit`, counted from 0 in each epoch."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """End of a batch of `fit`; `logs` are the epoch's values so far."""
        self.on_batch_end(batch, logs=logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Start of `evaluate`, or of a validation inside `fit`."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """End of `evaluate`, or of a validation inside `fit`."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Start of a batch of `evaluate`."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """End of a batch of `evaluate`."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Start of `predict`."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """End of `predict`."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Start of a batch of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """End of a batch of `predict`; `logs` has its ``outputs``."""


#: The names of the moments.
HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))
# A class that overrides the short name is called through the long one.
_SHORT_NAMES = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}


def _overrides(callback: Callback, hook: str) -> bool:
    return hook in vars(callback) or getattr(type(callback), hook) is not getattr(Callback, hook)


class CallbackList(Callback):
    """Several callbacks called as one, in order.

    A moment for which no callback has a method costs one call of an empty loop; `has(hook)` tells beforehand, so that
    `fit` need not make the logs of every batch.

    Parameters
    ----------
    callbacks : Callback or sequence of Callback, optional
    model : object, optional
    params : dict, optional
        Passed on to every callback.

    Raises
    ------
    TypeError
        If one of them is not a Callback.
    """

    def __init__(
        self,
        callbacks: Callback | Sequence[Callback] | None = None,
        model: Any = None,
        params: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if callbacks is None:
            callbacks = ()
        given: list[Any] = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
        for index, callback in enumerate(given):
            if not isinstance(callback, Callback):
                made = " (a class: call it to make an instance)" if isinstance(callback, type) else ""
                raise TypeError(f"callbacks[{index}]: expected a Callback, got {callback!r}{made}")
        self.callbacks: list[Callback] = sorted(given, key=lambda callback: callback.runs_last)
        for callback in self.callbacks:
            if callback.runs_last:
                callback.siblings = [other for other in self.callbacks if not other.runs_last]
        self._methods: dict[str, tuple[Callable[..., None], ...]] = {}
        if model is not None:
            self.set_model(model)
        self.set_params(params or {})

    def set_model(self, model: Any) -> None:
        self.model = model
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params
        for callback in self.callbacks:
            callback.set_params(params)
        # Collected here because a callback may choose its methods by the params.
        for hook in HOOKS:
            names = {hook, _SHORT_NAMES.get(hook, hook)}
            self._methods[hook] = tuple(
                getattr(callback, hook) for callback in self.callbacks if any(_overrides(callback, n) for n in names)
            )

    def has(self, hook: str) -> bool:
        """Whether any callback has a method for this moment, such as ``"on_train_batch_end"``."""
        return bool(self._methods[hook])

    def on_train_begin(self, logs: Logs | None = None) -> None:
        for method in self._methods["on_train_begin"]:
            method(logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        for method in self._methods["on_train_end"]:
            method(logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        for method in self._methods["on_epoch_begin"]:
            method(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        for method in self._methods["on_epoch_end"]:
            method(epoch, logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.on_train_batch_begin(batch, logs)

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.on_train_batch_end(batch, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        for method in self._methods["on_train_batch_begin"]:
            method(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        for method in self._methods["on_train_batch_end"]:
            method(batch, logs=logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        for method in self._methods["on_test_begin"]:
            method(logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        for method in self._methods["on_test_end"]:
            method(logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        for method in self._methods["on_test_batch_begin"]:
            method(batch, logs=logs)

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        for method in self._methods["on_test_batch_end"]:
            method(batch, logs=logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        for method in self._methods["on_predict_begin"]:
            method(logs)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        for method in self._methods["on_predict_end"]:
            method(logs)

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        for method in self._methods["on_predict_batch_begin"]:
            method(batch, logs=logs)

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        for method in self._methods["on_predict_batch_end"]:
            method(batch, logs=logs)
