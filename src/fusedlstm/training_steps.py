"""Single training steps, and gradients, for every kind of model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fusedlstm import optimizers
from fusedlstm.batches import Batch
from fusedlstm.gradients import with_row_gradients
from fusedlstm.layers.base import Array
from fusedlstm.objective import Objective
from fusedlstm.online import Online, online_update, step_losses
from fusedlstm.running import Runner
from fusedlstm.variables import Variable


class StepTrainer(Runner):
    """The part of a model that learns from one batch, or from one step of a stream."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.online: Online | None = None

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
        self._learn(batch, objective, optimizer, self.trainable_weights)
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

    def _learn(
        self, batch: Batch, objective: Objective, optimizer: optimizers.Optimizer, variables: list[Variable]
    ) -> None:
        with_row_gradients(self._gradients, batch, objective, True)
        optimizer.apply(self.gradients, variables, scaled=False)

    def _gradients(self, batch: Batch, objective: Objective, training: bool) -> None:
        self._backward(objective, batch, *self._pass(batch.x, training, True))

    def _backward(
        self, objective: Objective, batch: Batch, y_pred: list[Any], masks: list[Any], backward: Callable[..., Any]
    ) -> None:
        """The loss of outputs, and all gradients."""
        penalties = self._penalties
        penalty = 0.0 if penalties.none else penalties.value()
        backward(objective.step(batch.y, y_pred, batch.weight, masks, True, penalty))  # type: ignore[arg-type]
        if not penalties.none:
            penalties.add_gradients(self.gradients)

    def step_losses(self, x: Any, y: Any = None, sample_weight: Any = None, batch_size: int | None = None) -> Any:
        """The loss of every time step: where in a sequence the model struggles.

        Parameters
        ----------
        x, y, sample_weight, batch_size
            As in `evaluate`; a target for each step, all sequences of as many.

        Returns
        -------
        (T,) array, or list or dict of them
            The mean over the samples of each step's loss, in float64, without penalties; NaN at a step that is masked
            in all of them. Where nothing is masked the mean over the steps is the loss. Of a model of several outputs
            as `predict` returns them, None for one that has no loss.

        Raises
        ------
        RuntimeError
            Before `compile`.
        ValueError, TypeError
            For data that do not fit, or an output that has no steps.
        """
        return step_losses(self, x, y, sample_weight, batch_size)

    def online_update(
        self, x: Any, y: Any, sample_weight: Any = None, window: int = 16, return_dict: bool = False
    ) -> float | list[float] | dict[str, float]:
        """Train on the next step of a stream, with the states kept from call to call.

        The model runs over the last `window` steps, the new one among them, from the states ahead of them; the loss is
        that of the new step alone, its gradient goes back through all of these steps, and one update follows. When
        there are `window` steps, the states after the first of them, with the weights from ahead of the update, become
        what the next call starts from. So with ``window=1`` it is `train_on_batch` on one step of a stateful model.
        Other methods see nothing of these states.

        Parameters
        ----------
        x : (B,...) or (B,T,...) array, or list or dict of them
            Inputs of one step; or of T steps, which are taken as T calls.
        y : array, or list or dict of arrays
            Targets, with an axis of steps if `x` has one.
        sample_weight : (B,) or (B,T) array, optional
        window : int
            The same until the next `reset_states`, as is B.
        return_dict : bool

        Returns
        -------
        float, list of float or dict
            Loss and metrics as `train_on_batch`, from ahead of the updates; means over the steps.

        Raises
        ------
        RuntimeError
            Before `compile`.
        ValueError, TypeError
            For data that do not fit; by a layer that cannot go on with a sequence, such as `Bidirectional`.
        """
        return online_update(self, x, y, sample_weight, window, return_dict)

    def reset_state(self) -> None:
        """Forget the states of stateful layers, and those of `online_update`."""
        self.online = None
        super().reset_state()
