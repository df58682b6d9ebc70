"""compile, evaluate, predict and the checks of data, for every kind of model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fusedlstm import optimizers
from fusedlstm.backends import placement
from fusedlstm.batches import Arrays, Batch, Passes, Stream
from fusedlstm.callbacks import Callback, CallbackList
from fusedlstm.data import Spec, check_x, combine, is_iterable_of_batches
from fusedlstm.layers.base import Array, Backward, Layer, Shape
from fusedlstm.objective import Objective, Penalties
from fusedlstm.utils.progress import ProgressBar

BATCH_SIZE = 32
_NO_PENALTIES = Penalties([], [])
Watcher = Callable[[list[Array], list[Any]], None]


class Runner(Layer):
    """The part of a model that meets data; a subclass says what runs, in `spec`, `prepare` and `run`."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.optimizer: optimizers.Optimizer | None = None
        self.loss: Any = None
        self._objective: Objective | None = None
        self.compile_arguments: dict[str, Any] | None = None
        self._penalties = _NO_PENALTIES

    _watchers: tuple[Watcher, ...] = ()  # only while `fit` runs

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_watchers"}

    # What a subclass defines.

    def spec(self) -> Spec:
        """What the model takes and gives."""
        raise TypeError(f"{self.label}: a subclass of Runner has to define spec")

    def prepare(self, x: list[Array]) -> list[Shape]:
        """Check the inputs' shapes through all layers; returns the shapes of the outputs."""
        raise TypeError(f"{self.label}: a subclass of Runner has to define prepare")

    def run(self, x: list[Array], training: bool, need_backward: bool) -> tuple[list[Any], list[Any], Backward | None]:
        """Outputs, their masks, and the function that sets `gradients` from a list of the outputs'."""
        raise TypeError(f"{self.label}: a subclass of Runner has to define run")

    def fixed_batch(self) -> int | None:
        """The number of rows that every batch has to have, for layers that keep a state for each."""
        return None

    # Setting up.

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Choose how the model is trained and judged.

        Parameters
        ----------
        optimizer : str or Optimizer
        loss : str, Loss, list or dict, optional
            Of a model of several outputs: one for all, or one for each in a list or a dict by the outputs' names,
            None for an output that is not trained. Not needed to predict only.
        loss_weights : number, list or dict, optional
            What each output's loss is multiplied by in their sum.
        metrics, weighted_metrics : list of str or Metric, or dict, optional
            Without and with the sample weights. Of a model of several outputs: a list or dict with metrics for each.
        run_eagerly, steps_per_execution, jit_compile, auto_scale_loss
            Accepted for the sake of programs that have them, without effect.

        Raises
        ------
        ValueError, TypeError
            For an optimizer, loss or metric that does not exist; nothing is changed.

        Notes
        -----
        Steps that the outputs' mask leaves out count neither in the loss nor in any metric, with or without the sample
        weights. Keras agrees, but counts them in RootMeanSquaredError, and on JAX in every metric of `fit`.
        """
        chosen = self.find(optimizers.get, "optimizer", optimizer)
        names = [place.name for place in self.spec().outputs]
        objective = Objective(self.label, names, loss, loss_weights, metrics, weighted_metrics)
        self.optimizer, self.loss, self._objective = chosen, loss, objective
        self.compile_arguments = {
            "loss": loss, "loss_weights": loss_weights, "metrics": metrics, "weighted_metrics": weighted_metrics
        }  # fmt: skip

    @property
    def compiled(self) -> bool:
        """Whether `compile` was called."""
        return self._objective is not None

    @property
    def metrics(self) -> list[Any]:
        """The metrics of `compile`; strings are resolved when the first data comes."""
        return [] if self._objective is None else self._objective.metrics

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` returns, in its order."""
        return [] if self._objective is None else self._objective.names

    def _compiled(self, method: str) -> tuple[Objective, optimizers.Optimizer]:
        if self._objective is None or self.optimizer is None:
            raise RuntimeError(f"{self.label}: call compile() before {method}()")
        if not self._objective.has_loss:
            raise ValueError(f"{self.label}: {method}() needs compile(loss=...), got loss=None")
        return self._objective, self.optimizer

    def _check(self, batch: Batch, objective: Objective, owner: str = "") -> None:
        """Check a batch's shapes against the model, the loss and the metrics before anything is computed."""
        self._check_targets(batch, self.prepare(batch.x), objective, owner or self.label)

    def _check_targets(self, batch: Batch, shapes: Sequence[Shape], objective: Objective, owner: str) -> None:
        """Check a batch's targets and weights beside outputs of these shapes."""
        if batch.y is None:
            raise ValueError(f"{owner}: expected y to be an array, got None")
        y_pred = [
            np.zeros((1, *(1 if n is None else n for n in shape[1:])), place.dtype)
            for shape, place in zip(shapes, self.spec().outputs, strict=True)
        ]
        first = [None if y is None else y[:1] for y in batch.y]
        weight = None if batch.weight is None else [None if w is None else w[:1] for w in batch.weight]
        with np.errstate(all="ignore"):  # the numbers mean nothing here, only the shapes do
            try:
                objective.prepare(first, y_pred, weight)
            except ValueError as error:
                raise ValueError(f"{owner}: y does not fit, seen in its first row: {error}") from error

    def _ready(self, batch: Batch, objective: Objective | None = None) -> None:
        """Check a batch, without an objective only against the model, then build the model if it is not yet."""
        if objective is not None:
            self._check(batch, objective)
        if not self.built:
            self.prepare(batch.x)
            self.build((None, *batch.x[0].shape[1:]))
        self._find_penalties(objective is not None)

    def _find_penalties(self, weighed: bool) -> None:
        weighed = weighed or Layer.penalized
        self._penalties = Penalties(self.all_layers(), self.trainable_weights) if weighed else _NO_PENALTIES

    def _pass(self, x: list[Array], training: bool, need_backward: bool) -> tuple[list[Any], list[Any], Any]:
        """`run`, with the outputs' penalties counted from here."""
        if not self._penalties.none:
            self._penalties.start()
        results = self.run(x, training, need_backward)
        for watcher in self._watchers:
            watcher(x, results[0])
        return results

    def watch_passes(self, watcher: Watcher) -> None:
        """For a callback's ``on_train_begin``: call a function with inputs and outputs of each run of this `fit`."""
        self._watchers = (*self._watchers, watcher)

    # Data.

    def _batch(self, x: Any, y: Any, weight: Any, class_weight: Any = None, owner: str = "") -> Batch:
        spec = self.spec()
        if owner:
            spec = spec._replace(owner=owner)
        arrays = check_x(spec, x)
        return Batch(arrays, *combine(spec, y, weight, class_weight, len(arrays[0])))

    def _check_fixed(self, batch: Batch, size: int | None, owner: str) -> int:
        """The batch size for all rows: as given, else what a stateful model needs, else the usual one."""
        fixed = self.fixed_batch()
        if fixed is None:
            return BATCH_SIZE if size is None else size
        if size not in (None, fixed):
            raise ValueError(
                f"{owner}: expected batch_size {fixed}, for which its stateful layers are built, got {size}"
            )
        if batch.rows % fixed:
            raise ValueError(
                f"{owner}: expected a multiple of {fixed} rows, for which its stateful layers are built, "
                f"got {batch.rows}"
            )
        return fixed

    def _source(
        self, x: Any, y: Any, weight: Any, batch_size: Any, class_weight: Any = None, owner: str = ""
    ) -> Arrays | Stream:
        if is_iterable_of_batches(x):
            for name, value in (("y", y), ("sample_weight", weight), ("batch_size", batch_size)):
                if value is not None:
                    raise ValueError(
                        f"{self.label}: expected {name} to be None when x is an iterable of batches, got "
                        f"{value if name == 'batch_size' else type(value).__name__}"
                    )
            return Stream(x, lambda x, y, w: self._batch(x, y, w, class_weight, owner))
        size = None if batch_size is None else self.positive_integer("batch_size", batch_size)
        batch = self._batch(x, y, weight, class_weight, owner)
        return Arrays(batch, self._check_fixed(batch, size, owner or self.label))

    def _steps(self, argument: str, value: Any) -> int | None:
        return None if value is None else self.positive_integer(argument, value)

    def _callbacks(self, callbacks: Any, verbose: Any, extra: list[Callback], **params: Any) -> CallbackList:
        if isinstance(callbacks, CallbackList):
            callbacks = callbacks.callbacks
        given = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())
        own = any(isinstance(callback, ProgressBar) for callback in given)
        shown = [ProgressBar()] if verbose != 0 and not own else []
        return CallbackList(given + shown + extra, model=self, params={"verbose": verbose, **params})

    def _check_verbose(self, verbose: Any) -> int:
        if isinstance(verbose, bool | np.bool_):
            return int(verbose)
        if not isinstance(verbose, str | int) or verbose not in ("auto", 0, 1, 2):
            raise ValueError(f"{self.label}: expected verbose 'auto', 0, 1 or 2, got {verbose!r}")
        return 1 if isinstance(verbose, str) else verbose

    # Judging and predicting.

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> float | list[float] | dict[str, float]:
        """The loss and the metrics on data.

        Parameters
        ----------
        x, y, batch_size, verbose, sample_weight, callbacks
            As in `fit`.
        steps : int, optional
            Use only so many batches.
        return_dict : bool

        Returns
        -------
        float, list of float or dict
            The loss; with metrics [loss, *metrics] in the order of `metrics_names`; with `return_dict` by name.

        Raises
        ------
        RuntimeError
            Before `compile`.
        ValueError, TypeError
            For data or arguments that do not fit, or if there are no rows.
        """
        objective, _ = self._compiled("evaluate")
        verbose = self._check_verbose(verbose)
        limit = self._steps("steps", steps)
        source = self._source(x, y, sample_weight, batch_size)
        if isinstance(source, Arrays):
            self._require_rows(source)
            self._ready(source.sample(), objective)
        called = self._callbacks(callbacks, verbose, [], epochs=1, steps=limit or source.steps)
        self._test(source, limit, objective, called)
        return objective.logs() if return_dict else self._result(objective)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The model's outputs.

        Parameters
        ----------
        x : array, or iterable of batches
        batch_size, verbose, steps, callbacks
            As in `evaluate`.

        Returns
        -------
        array, or list or dict of arrays
            (N, ...), a row for each of `x`; of no rows if `x` has none. Of a model of several outputs, a list or a
            dict of them, as it was made with. On the GPU if `x` is there.

        Raises
        ------
        ValueError, TypeError
            For data or arguments that do not fit.
        """
        verbose = self._check_verbose(verbose)
        limit = self._steps("steps", steps)
        source = self._source(x, None, None, batch_size)
        if isinstance(source, Arrays):
            if self.built:
                self._find_penalties(False)
            else:
                self._ready(source.sample())
            unseen = not (verbose or callbacks or limit)
            if not source.rows or (unseen and source.rows <= source.batch_size):
                return self.pack(self._predicted(source.data.x))
        called = self._callbacks(callbacks, verbose, [], epochs=1, steps=limit or source.steps)
        begins, ends = called.has("on_predict_batch_begin"), called.has("on_predict_batch_end")
        called.on_predict_begin()
        outputs: list[list[Array]] = []
        for batch in Passes(source, limit).epoch():
            if begins:
                called.on_predict_batch_begin(len(outputs))
            if not outputs and not isinstance(source, Arrays):
                self._ready(batch)
            outputs.append(self._predicted(batch.x))
            if ends:
                called.on_predict_batch_end(len(outputs) - 1, {"outputs": self.pack(outputs[-1])})
        if not outputs:
            raise ValueError(f"{self.label}: expected at least one batch to predict, got none")
        called.on_predict_end()
        if len(outputs) == 1:
            return self.pack(outputs[0])
        return self.pack([np.concatenate(parts) for parts in zip(*outputs, strict=True)])

    def _predicted(self, x: list[Array]) -> list[Any]:
        """For inputs, where these are."""
        outputs: list[Any] = placement.returned(self._pass(x, False, False)[0], x)
        return outputs

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for all rows of an array in one go, without callbacks or progress."""
        x = check_x(self.spec(), x)
        self._ready(Batch(x, None, None))
        return self.pack(self._predicted(x))

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> float | list[float] | dict[str, float]:
        """The loss and the metrics on this batch alone; as `evaluate`."""
        objective, _ = self._compiled("test_on_batch")
        batch = self._batch(x, y, sample_weight)
        self._require_rows(batch)
        self._ready(batch, objective)
        objective.reset()
        self._judge(batch, objective)
        return objective.logs() if return_dict else self._result(objective)

    def _result(self, objective: Objective) -> float | list[float]:
        values = objective.values()
        return values[0] if len(values) == 1 else values

    def _test(self, source: Arrays | Stream, steps: int | None, objective: Objective, called: CallbackList) -> None:
        objective.reset()
        called.on_test_begin()
        begins, ends = called.has("on_test_batch_begin"), called.has("on_test_batch_end")
        done = 0
        for batch in Passes(source, steps).epoch():
            if begins:
                called.on_test_batch_begin(done)
            if not done:
                self._ready(batch, objective)
            self._judge(batch, objective)
            if ends:
                called.on_test_batch_end(done, objective.logs())
            done += 1
        if not done:
            raise ValueError(f"{self.label}: expected at least one batch to evaluate, got none")
        called.on_test_end(objective.logs())

    def _judge(self, batch: Batch, objective: Objective) -> None:
        y_pred, masks, _ = self._pass(batch.x, False, False)
        penalty = 0.0 if self._penalties.none else self._penalties.value()
        objective.step(batch.y, y_pred, batch.weight, masks, False, penalty)  # type: ignore[arg-type]

    def _require_rows(self, data: Arrays | Batch, owner: str = "") -> None:
        if not data.rows:
            raise ValueError(f"{owner or self.label}: expected x to have at least one row, got 0")
