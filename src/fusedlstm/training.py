"""fit and the single training step, for every kind of model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm import optimizers, random
from fusedlstm.callbacks import CallbackList, History
from fusedlstm.data import Arrays, Batch, Passes, Stream, is_iterable_of_batches
from fusedlstm.layers.base import Array
from fusedlstm.layers.weights import Weighted
from fusedlstm.objective import Objective, Penalties
from fusedlstm.running import Runner


class Trainer(Runner):
    """The part of a model that learns from data."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.stop_training = False
        self.history: History | None = None

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
    ) -> History:
        """Train on data.

        Parameters
        ----------
        x : array, list or dict of arrays, or iterable of batches
            (N, ...), cast to the model's dtype; of a model of several inputs, one for each of them in a list or in a
            dict by their names. An iterable (a generator, a loader, an object with ``__len__`` and
            ``__getitem__``) gives (x, y) or (x, y, sample_weight). NaN is not refused: it runs through and shows in
            the loss, where `callbacks.TerminateOnNaN` sees it.
        y : array, list or dict of arrays
            (N, ...) targets, for several outputs one for each, likewise; None with an iterable.
        batch_size : int, optional
            Rows of a step; 32 if None.
        epochs : int
            Number of the last epoch, counted from 1.
        verbose : {"auto", 0, 1, 2}
            Nothing, a live bar, or a line an epoch; "auto" is 1.
        callbacks : list of Callback, optional
        validation_split : float
            Share of the rows, the last ones before shuffling, that are held out; not used with `validation_data`.
        validation_data : (x, y), (x, y, sample_weight) or iterable of batches, optional
        shuffle : bool
            Draw a new order of the rows for each epoch; not for iterables.
        class_weight : dict of int to float, optional
            A weight for each class of `y`; 1 for those that it leaves out.
        sample_weight : (N,) or (N,T) array, or list or dict of them, optional
            One for all outputs, or one or None for each.
        initial_epoch : int
            How many epochs are done already.
        steps_per_epoch, validation_steps : int, optional
            Batches instead of a whole pass over the data; the next epoch goes on where the last one ended.
        validation_batch_size : int, optional
            `batch_size` if None.
        validation_freq : int or sequence of int
            Validate every so many epochs, or after these (counted from 1).

        Returns
        -------
        History
            Its `history` has a list of values per name, one an epoch. The loss is the mean over batches, weighted by
            their sizes.

        Raises
        ------
        RuntimeError
            Before `compile`.
        ValueError, TypeError
            For data or arguments that do not fit; all is checked before the first step, nothing is changed.
        """
        objective, optimizer = self._compiled("fit")
        self._check_epochs(epochs, initial_epoch)
        verbose = self._check_verbose(verbose)
        self.boolean("shuffle", shuffle)
        steps = self._steps("steps_per_epoch", steps_per_epoch)
        source = self._source(x, y, sample_weight, batch_size, class_weight)
        validation: Arrays | Stream | None = None
        split = self._check_split(validation_split)
        if validation_data is not None:
            validation = self._validation(validation_data, validation_batch_size or batch_size)
        elif split:
            if not isinstance(source, Arrays):
                raise ValueError(f"{self.label}: expected validation_split 0 with an iterable of batches, got {split}")
            source, validation = source.split(split)
            if not source.rows or not validation.rows:
                raise ValueError(
                    f"{self.label}: validation_split {split} leaves {source.rows} rows to train on and "
                    f"{validation.rows} to validate"
                )
            if validation_batch_size is not None:
                validation.batch_size = self.positive_integer("validation_batch_size", validation_batch_size)
            for part in (source, validation):
                self._check_fixed(part.data, part.batch_size, f"{self.label}: validation_split {split}")
        check_steps = self._steps("validation_steps", validation_steps)
        frequency = self._check_frequency(validation_freq)
        passes = Passes(source, steps)
        history = History()
        called = self._callbacks(callbacks, verbose, [history], epochs=epochs, steps=passes.steps)
        owner = f"{self.label}: validation_data"
        for data, name in ((source, ""), (validation, owner)):  # the model is built when both are found good
            if isinstance(data, Arrays):
                self._require_rows(data, name)
                self._check(data.sample(), objective, name)
        if isinstance(source, Arrays):
            self._ready(source.sample())
            source.generator = random.generator() if shuffle else None

        self.history = history
        self.stop_training = False
        logs: dict[str, float] = {}
        called.on_train_begin()
        for epoch in range(initial_epoch, epochs):
            called.on_epoch_begin(epoch)
            done = self._train_epoch(passes, objective, optimizer, called)
            short = not done or (passes.steps is not None and done < passes.steps)
            if short and not self.stop_training:
                warnings.warn(
                    f"{self.label}: fit ran out of data after {done} of {passes.steps or 'some'} batches of epoch "
                    f"{epoch + 1} and ends here; pass data that can be iterated again",
                    stacklevel=2,
                )
                self.stop_training = True
                if not done:
                    break
            logs = objective.logs()
            due = (epoch + 1) % frequency == 0 if isinstance(frequency, int) else epoch + 1 in frequency
            if validation is not None and due:
                self._test(validation, check_steps, objective, called)
                logs |= {f"val_{name}": value for name, value in objective.logs().items()}
            called.on_epoch_end(epoch, logs)
            if self.stop_training:
                break
        called.on_train_end(logs)
        return history

    def _train_epoch(
        self, passes: Passes, objective: Objective, optimizer: optimizers.Optimizer, called: CallbackList
    ) -> int:
        objective.reset()
        begins, ends = called.has("on_train_batch_begin"), called.has("on_train_batch_end")
        known = isinstance(passes.source, Arrays)
        variables = self.trainable_weights
        if known:
            self._penalties = Penalties(self.all_layers(), variables)
        done, changes = 0, Weighted.changes
        for batch in passes.epoch():
            if begins:
                called.on_train_batch_begin(done)
            if not known and not done:
                self._ready(batch, objective)
                variables = self.trainable_weights
            if Weighted.changes != changes:  # a callback froze a layer, or the opposite
                changes, variables = Weighted.changes, self.trainable_weights
                self._penalties = Penalties(self.all_layers(), variables)
            self._gradients(batch, objective, True)
            optimizer.apply(self.gradients, variables)
            if ends:
                called.on_train_batch_end(done, objective.logs())
            done += 1
            if self.stop_training:
                break
        return done

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> float | list[float] | dict[str, float]:
        """One step on one batch; returns its loss and metrics, from ahead of the update, as `evaluate` does."""
        objective, optimizer = self._compiled("train_on_batch")
        batch = self._batch(x, y, sample_weight, class_weight)
        self._require_rows(batch)
        self._ready(batch, objective)
        objective.reset()
        self._gradients(batch, objective, True)
        optimizer.apply(self.gradients, self.trainable_weights)
        return objective.logs() if return_dict else self._result(objective)

    def compute_gradients(
        self, x: Any, y: Any, sample_weight: Any = None, training: bool = True, update_state: bool = False
    ) -> tuple[float, list[Array]]:
        """The loss on a batch and its gradients. For gradient checks and own training loops.

        Parameters
        ----------
        x, y, sample_weight : array
            As in `fit`.
        training : bool
            Whether Dropout is at work, and BatchNormalization uses the batch's moments.
        update_state : bool
            Whether moving statistics and the states of stateful layers follow the batch, as they do in `fit`; if not,
            the model stays as it was.

        Returns
        -------
        loss : float
        gradients : list of arrays
            One for each of `trainable_weights`, in their order and shapes.

        Raises
        ------
        RuntimeError
            Before `compile`.
        ValueError, TypeError
            For data that do not fit.
        """
        objective, _ = self._compiled("compute_gradients")
        batch = self._batch(x, y, sample_weight)
        self._require_rows(batch)
        self._ready(batch, objective)
        objective.reset()
        layers = [] if self.boolean("update_state", update_state) else self.all_layers()
        states = [(layer, layer.states) for layer in layers if layer.stateful]
        statistics = [(v, v.version, v.numpy()) for layer in layers for v in layer._weights if not v.trainable]
        try:
            self._gradients(batch, objective, training)
        finally:
            for layer, state in states:
                layer.states = state
            for variable, version, value in statistics:
                if variable.version != version:
                    variable.assign(value)
        return objective.values()[0], self.gradients

    def _gradients(self, batch: Batch, objective: Objective, training: bool) -> None:
        x, y, weight = batch
        penalties = self._penalties
        y_pred, masks, backward = self._pass(x, training, True)
        penalty = 0.0 if penalties.none else penalties.value()
        backward(objective.step(y, y_pred, weight, masks, True, penalty))  # type: ignore[arg-type]
        if not penalties.none:
            penalties.add_gradients(self.gradients)

    def _check_epochs(self, epochs: Any, initial_epoch: Any) -> None:
        for name, value, least in (("epochs", epochs, 0), ("initial_epoch", initial_epoch, 0)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ValueError(f"{self.label}: expected {name} to be an integer from {least} on, got {value!r}")

    def _check_split(self, split: Any) -> float:
        if isinstance(split, bool) or not isinstance(split, int | float | np.number) or not 0 <= split < 1:
            raise ValueError(f"{self.label}: expected validation_split to be a number from 0 to below 1, got {split!r}")
        return float(split)

    def _check_frequency(self, frequency: Any) -> Any:
        if isinstance(frequency, list | tuple | set):
            return {self.positive_integer("validation_freq", epoch) for epoch in frequency}
        return self.positive_integer("validation_freq", frequency)

    def _validation(self, data: Any, batch_size: Any) -> Arrays | Stream:
        owner = f"{self.label}: validation_data"
        if is_iterable_of_batches(data):
            return self._source(data, None, None, None, None, owner)
        if not isinstance(data, tuple | list) or len(data) not in (2, 3):
            got = f"{len(data)} items" if isinstance(data, tuple | list) else type(data).__name__
            raise ValueError(f"{self.label}: expected validation_data (x, y) or (x, y, sample_weight), got {got}")
        return self._source(data[0], data[1], data[2] if len(data) == 3 else None, batch_size, None, owner)
