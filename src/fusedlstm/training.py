"""fit, for every kind of model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fusedlstm import random, resuming
from fusedlstm.batches import Arrays, Passes, Stream
from fusedlstm.callbacks import CallbackList, History
from fusedlstm.data import is_iterable_of_batches
from fusedlstm.layers.segments import recomputing
from fusedlstm.layers.weights import Weighted
from fusedlstm.objective import Penalties
from fusedlstm.training_steps import StepTrainer
from fusedlstm.truncated import Windows


class Validation(NamedTuple):
    """What `fit` validates on, and after which epochs."""

    source: Arrays | Stream | None
    steps: int | None
    frequency: int | set[int]

    def due(self, epoch: int) -> bool:
        """Whether after this epoch, counted from 1."""
        if self.source is None:
            return False
        return epoch % self.frequency == 0 if isinstance(self.frequency, int) else epoch in self.frequency


class Trainer(StepTrainer):
    """The part of a model that learns from data."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.stop_training = False
        self.history: History | None = None
        self.progress = resuming.Progress()
        self._resumed: Mapping[str, Any] | None = None

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
        *,
        tbptt: int | None = None,
        checkpoint_time: bool | str = "auto",
    ) -> History:
        """Train on data.

        Parameters
        ----------
        x : array, list or dict of arrays, or iterable of batches
            (N, ...), cast to the model's dtype; columns and tables of pandas and Arrow are arrays too. Of a model of
            several inputs, one for each of them in a list or in a dict by their names. An iterable (a generator, a
            loader, an object with ``__len__`` and ``__getitem__``) gives (x, y) or (x, y, sample_weight). NaN is not
            refused: it runs through and shows in the loss, where `callbacks.TerminateOnNaN` sees it.
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
            How many epochs are done already; after `restore_training_state`, 0 or as many as were done then.
        steps_per_epoch, validation_steps : int, optional
            Batches instead of a whole pass over the data; the next epoch goes on where the last one ended.
        validation_batch_size : int, optional
            `batch_size` if None.
        validation_freq : int or sequence of int
            Validate every so many epochs, or after these (counted from 1).
        tbptt : int, optional
            Truncated back-propagation through time: the sequences of a batch are cut into windows of so many steps, and
            their targets and weights per step with them; after each window there is an update, as by `train_on_batch`,
            and the next one starts from the states that it ended with, as if these were data. At the start of a batch
            states are zero, but for those of stateful layers. The layers have to be recurrent, with a target for each
            step, or look at each step by itself. The loss is the mean over windows.
        checkpoint_time : bool or "auto"
            Whether recurrent layers keep no more of sequences of 8192 steps and more than the states at every
            sqrt(T)-th step, and run them anew from there in the backward pass: memory for sqrt(T) steps instead of T,
            in about 4/3 of the time. The results are the same to the bit. "auto": if it saves a layer 256 MiB or more.

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
        if validation_batch_size is not None:
            self.positive_integer("validation_batch_size", validation_batch_size)
        source = self._source(x, y, sample_weight, batch_size, class_weight)
        validation: Arrays | Stream | None = None
        split = self._check_split(validation_split)
        if validation_data is not None:
            validation = self._validation(
                validation_data, batch_size if validation_batch_size is None else validation_batch_size
            )
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
                validation.batch_size = validation_batch_size
            for part in (source, validation):
                self._check_fixed(part.data, part.batch_size, f"{self.label}: validation_split {split}")
        validate = Validation(
            validation, self._steps("validation_steps", validation_steps), self._check_frequency(validation_freq)
        )
        windows = None if tbptt is None else Windows(self, self.positive_integer("tbptt", tbptt))
        if not isinstance(checkpoint_time, bool) and checkpoint_time != "auto":
            raise ValueError(
                f"{self.label}: expected checkpoint_time to be True, False or 'auto', got {checkpoint_time!r}"
            )
        passes = Passes(source, steps, validation)
        history = History()
        called = self._callbacks(callbacks, verbose, [history], epochs=epochs, steps=passes.steps)
        owner = f"{self.label}: validation_data"
        for data, name in ((source, ""), (validation, owner)):  # the model is built when both are found good
            if isinstance(data, Arrays):
                self._require_rows(data, name)
                self._check(data.sample(), objective, name)
        if isinstance(source, Arrays):
            self._ready(source.sample())
            if windows is not None:
                windows.check(source.sample())
            source.generator = random.generator() if shuffle else None

        self.history = history
        self.stop_training = False
        try:
            called.on_train_begin()
            begun = self._resume(passes, initial_epoch)
            with recomputing(checkpoint_time):
                logs = self._train_epochs(passes, windows, begun, epochs, validate, called)
            if epochs:
                optimizer.finalize_variable_values(self.trainable_weights)
        finally:
            self.progress = self.progress.ended()
            self._watchers = ()
        called.on_train_end(logs)
        return history

    def _train_epochs(
        self,
        passes: Passes,
        windows: Windows | None,
        begun: int,
        epochs: int,
        validate: Validation,
        called: CallbackList,
    ) -> dict[str, float]:
        """All epochs from where `progress` is, `begun` batches of the first being done; the last one's logs."""
        objective, optimizer = self._compiled("fit")
        logs: dict[str, float] = {}
        for epoch in range(self.progress.epoch, epochs):
            called.on_epoch_begin(epoch)
            done = self._train_epoch(passes, windows, begun, called)
            begun = 0
            short = not done or (passes.steps is not None and done < passes.steps)
            if short and not self.stop_training:
                warnings.warn(
                    f"{self.label}: fit ran out of data after {done} of {passes.steps or 'some'} batches of epoch "
                    f"{epoch + 1} and ends here; pass data that can be iterated again",
                    stacklevel=3,
                )
                self.stop_training = True
                if not done:
                    break
            logs = objective.logs()
            if validate.due(epoch + 1):
                assert validate.source is not None
                self._test(validate.source, validate.steps, objective, called)
                logs |= {f"val_{name}": value for name, value in objective.logs().items()}
            if not self.stop_training or done == passes.steps:
                self.progress.epoch, self.progress.batch = epoch + 1, 0
            if optimizer.scheduled:
                logs["learning_rate"] = optimizer.learning_rate
            called.on_epoch_end(epoch, logs)
            if self.stop_training:
                break
        return logs

    def _resume(self, passes: Passes, initial_epoch: int) -> int:
        """Begin to count; returns how many batches of the first epoch are done already."""
        resumed, self._resumed = self._resumed, None
        if resumed is None:
            self.progress = resuming.Progress(initial_epoch, 0, passes)
            return 0
        if initial_epoch not in (0, resumed["epoch"]):
            raise ValueError(
                f"{self.label}: expected initial_epoch 0 or {resumed['epoch']}, that of the training state that was "
                f"restored, got {initial_epoch}"
            )
        last = None if resumed["position"] is None else passes.resume(resumed["position"])
        if last is not None:
            self._ready(last, self._objective)  # makes the metrics, which have sums to restore
        resuming.restore(self, resumed)  # again: what `fit` drew from the random state since was drawn then too
        self.progress = resuming.Progress(resumed["epoch"], resumed["batch"], passes)
        return self.progress.batch

    def training_state(self) -> dict[str, Any]:
        """All that a stopped `fit` needs besides weights and the optimizer's state to go on as if it had not been.

        To be called by a callback between two batches or epochs, or after `fit`.

        Returns
        -------
        dict
            Plain values, which JSON keeps to the bit: ``epoch`` and ``batch`` that come next, the random state of the
            package and of every layer, the order of the rows, the epoch's sums, the states of stateful layers.
        """
        return resuming.training_state(self)

    def restore_training_state(self, state: Mapping[str, Any]) -> None:
        """Take up what `training_state` gave: ahead of `fit`, or in a callback's ``on_train_begin``.

        The next `fit` (with the same data, batch size and compile arguments) goes on there, amid an epoch too. Weights
        and the optimizer's state are restored by themselves. An iterable of batches has to start over as it did
        then.

        Raises
        ------
        ValueError
            If the model has other layers; nothing is changed.
        """
        resuming.restore(self, state)
        self._resumed = state

    def _train_epoch(self, passes: Passes, windows: Windows | None, begun: int, called: CallbackList) -> int:
        """The batches of an epoch, `begun` of which are done already; returns how many are done then."""
        objective, optimizer = self._compiled("fit")
        if not begun:
            objective.reset()
        begins, ends = called.has("on_train_batch_begin"), called.has("on_train_batch_end")
        known = isinstance(passes.source, Arrays)
        variables, progress = self.trainable_weights, self.progress
        if known:
            self._penalties = Penalties(self.all_layers(), variables)
        done, changes, prepared = begun, Weighted.changes, known
        for batch in passes.epoch(begun):
            if begins:
                called.on_train_batch_begin(done)
            if not prepared:
                self._ready(batch, objective)
                variables, prepared = self.trainable_weights, True
            if Weighted.changes != changes:  # a callback froze a layer, or the opposite
                changes, variables = Weighted.changes, self.trainable_weights
                self._penalties = Penalties(self.all_layers(), variables)
            if windows is None:
                self._learn(batch, objective, optimizer, variables)
            else:
                windows.learn(batch, self._learn, objective, optimizer, variables)
            progress.batch = done + 1
            if ends:
                called.on_train_batch_end(done, objective.logs())
            done += 1
            if self.stop_training:
                break
        return done

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
