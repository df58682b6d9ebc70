"""What every optimizer does: schedule, accumulate, clip, decay, keep buffers and averages, apply constraints."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusedlstm import backends
from fusedlstm.backends import placement
from fusedlstm.gradients import RowGradient
from fusedlstm.optimizers.clipping import clip_scales
from fusedlstm.optimizers.settings import Settings
from fusedlstm.variables import Variable

Array = NDArray[Any]


class Optimizer(Settings):
    """Base class: implement `slots` and `update`, and `get_config` if there are further arguments.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        At least 0; `learning_rate` may be set later. A schedule is called with the number of calls of `apply` so far,
        a function without arguments.
    weight_decay : float, optional
        Ahead of every update a variable shrinks by weight_decay * learning_rate of itself.
    clipnorm : float, optional
        The gradient of each variable is scaled down to this norm.
    clipvalue : float, optional
        Gradients are clipped to +- this.
    global_clipnorm : float, optional
        All gradients are scaled down together to this norm; if it is not finite, they all become NaN.
    use_ema : bool
        Follow the variables with an exponential moving average, average = ema_momentum average + (1 - ema_momentum) w
        after every call of `apply` (before constraints). `fit` puts the averages in the place of the weights when it
        ends.
    ema_momentum : float
        In 0 ... 1.
    ema_overwrite_frequency : int, optional
        Put them there after every so many updates, too.
    loss_scale_factor : float, optional
        `apply` divides gradients by it: they are those of the loss from `scale_loss`. Without effect in `fit`, whose
        dtypes need no scaling.
    gradient_accumulation_steps : int, optional
        From 2 on: update once every so many calls of `apply`, with the mean of their gradients. A schedule, and the
        averages, count calls.
    name : str, optional

    Raises
    ------
    TypeError
        If an argument is not of its type, or unknown.
    ValueError
        If it is not finite or outside its range, or more than one kind of clipping is asked for.
    """

    #: So many of the slots, the first ones, stand side by side in `variables` (m0 v0 m1 v1); each other for itself.
    paired = 1
    #: Whether `update` takes ``rows``; if not, it gets whole gradients.
    takes_rows = False
    #: Attributes, numbers, that are a part of the state.
    scalars: tuple[str, ...] = ()

    _trained: list[Variable] | None = None
    _slots: Sequence[tuple[Array | None, ...]] = ()
    _averages: Sequence[Array] = ()
    _accumulated: Sequence[Array] = ()

    @abstractmethod
    def slots(self) -> tuple[float | None, ...]:
        """For each of the buffers that `update` takes, in order, the value that it starts from; None: not needed."""

    @abstractmethod
    def update(
        self, w: Array, g: Array, buffers: tuple[Array | None, ...], learning_rate: float, **common: Any
    ) -> None:
        """Change the weights `w` and their buffers in place.

        Parameters
        ----------
        w, g : array
            The weights, and their gradient in the same shape, dtype and order; with ``rows`` that of some of its rows.
        buffers : tuple of array or None
            As `slots` says.
        learning_rate : float
        **common
            What the backends' update functions take besides: ``gradient_scale`` and ``clip``, by which the gradient is
            first multiplied and then limited, ``decay``, the share of w that is taken off, and ``rows``.
        """

    def before_update(self) -> None:
        """Called once ahead of the updates of all variables; `iterations` does not count them yet."""

    def update_all(
        self,
        gradients: Sequence[Array | None],
        scales: list[float],
        clip: float,
        decays: list[float],
        rows: Mapping[int, Array],
        learning_rate: float,
    ) -> None:
        """Update the variables of `build`, those whose gradient is not None; see `reference_updates.Updates`."""
        for k, (variable, g) in enumerate(zip(self._trained or (), gradients, strict=True)):
            if g is not None:
                common = {"gradient_scale": scales[k], "clip": clip, "decay": decays[k], "rows": rows.get(k)}
                g = placement.contiguous(g, variable.dtype)
                self.update(variable.update(), g, self._slots[k], learning_rate, **common)

    @property
    def built(self) -> bool:
        """Whether it has its buffers, that is, state to save."""
        return self._trained is not None

    def build(self, variables: Sequence[Variable]) -> None:
        """Make the buffers for these variables; `apply` does it when first called.

        Raises
        ------
        ValueError
            If the optimizer already belongs to other variables.
        """
        if self._trained is not None:
            self._places(variables)
            return
        starts = self.slots()
        self._slots = [
            tuple(None if start is None else np.full_like(v.value, start) for start in starts) for v in variables
        ]
        self._averages = [np.zeros_like(v.value) for v in variables] if self.use_ema else []
        self._accumulated = [np.zeros_like(v.value) for v in variables] if self.gradient_accumulation_steps else []
        self._trained = list(variables)
        placement.follow(self)

    def moved(self, move: Callable[[Any], Any]) -> Callable[[], None]:
        """See `placement.Owner`."""
        attributes = self._elsewhere(move)
        return lambda: vars(self).update(attributes)

    def _elsewhere(self, move: Callable[[Any], Any]) -> dict[str, Any]:
        """The attributes that hold arrays, with copies of these elsewhere."""
        return {
            "_slots": [tuple(None if buffer is None else move(buffer) for buffer in slots) for slots in self._slots],
            "_averages": [*map(move, self._averages)],
            "_accumulated": [*map(move, self._accumulated)],
        }

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | self._elsewhere(placement.fetch)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        vars(self).update(self._elsewhere(placement.place))
        placement.follow(self)

    def _places(self, variables: Sequence[Variable]) -> Sequence[int]:
        """Where the variables stand among those of `build`, which they are or, when some were frozen since, among."""
        trained = self._trained or []
        if list(variables) == trained:  # variables are only equal to themselves
            return range(len(trained))
        places = {id(variable): k for k, variable in enumerate(trained)}
        if any(id(variable) not in places for variable in variables):
            raise ValueError(
                f"{type(self).__name__}: already trains {len(trained)} variables, which these "
                f"{len(variables)} are not: make a new optimizer"
            )
        return [places[id(variable)] for variable in variables]

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> None:
        """`apply` for pairs of a gradient and its variable."""
        pairs = list(grads_and_vars)
        self.apply([gradient for gradient, _ in pairs], [variable for _, variable in pairs])

    def apply(
        self, gradients: Sequence[Any], variables: Sequence[Variable] | None = None, *, scaled: bool = True
    ) -> None:
        """One step: clip the gradients, then decay and update every variable, then apply its constraint.

        Parameters
        ----------
        gradients : sequence of array, RowGradient or None
            Aligned with `variables`, of their shapes, any memory layout; they are not changed. A variable whose
            gradient is None stays as it is.
        variables : sequence of Variable, optional
            The same ones at every call, or some of them; those of `build` if None.
        scaled : bool
            Whether the gradients are those of the loss times `loss_scale_factor`, if there is one.

        Raises
        ------
        ValueError
            If numbers or shapes differ, every gradient is None, or the variables are others than before.
        """
        if variables is None:
            if self._trained is None:
                raise ValueError(f"{type(self).__name__}: expected variables in the first call of apply, got None")
            variables = self._trained
        gradients = self._checked(gradients, variables)
        rate = self.learning_rate
        if self._trained is None:
            self.build(variables)
        places = self._places(variables)
        if type(places) is not range:
            given = dict(zip(places, gradients, strict=True))
            gradients = [given.get(place) for place in range(len(self._trained or ()))]
        scale = 1 / self.loss_scale_factor if self.loss_scale_factor and scaled else 1.0
        steps = self.gradient_accumulation_steps
        if not steps:
            self._clip_and_update(gradients, rate, scale)
        else:
            for total, gradient in zip(self._accumulated, gradients, strict=True):
                if gradient is not None:
                    _accumulate(total, gradient, scale)
            if (self._iterations + 1) % steps == 0:
                pairs = list(zip(self._accumulated, gradients, strict=True))
                self._clip_and_update([None if g is None else total for total, g in pairs], rate, 1 / steps)
                for total, gradient in pairs:
                    if gradient is not None:
                        total.fill(0)
        if self.use_ema:
            self._follow()
        for variable, gradient in zip(self._trained or (), gradients, strict=True):
            if variable.constraint is not None and gradient is not None:
                variable.assign(variable.constraint(variable.value))
        self._iterations += 1

    def _checked(self, gradients: Sequence[Any], variables: Sequence[Variable]) -> list[Any]:
        """The gradients as the updates take them, if they fit."""
        if len(gradients) != len(variables):
            raise ValueError(
                f"{type(self).__name__}: expected a gradient for each of {len(variables)} variables, "
                f"got {len(gradients)}"
            )
        checked: list[Any] = []
        array_type, found = placement.array_type, False
        for gradient, variable in zip(gradients, variables, strict=True):
            if gradient is not None:
                value = variable.value
                if gradient.shape != value.shape:
                    raise ValueError(
                        f"{type(self).__name__}: expected the gradient of '{variable.path}' to have shape "
                        f"{variable.shape}, got {gradient.shape}"
                    )
                if type(gradient) is not array_type or gradient.dtype != value.dtype:
                    gradient = self._as_dtype(gradient, value.dtype)
                found = True
            checked.append(gradient)
        if variables and not found:
            raise ValueError(f"{type(self).__name__}: no variable has a gradient")
        return checked

    def _as_dtype(self, gradient: Any, dtype: np.dtype[Any]) -> Any:
        if isinstance(gradient, RowGradient):
            if self.takes_rows:
                return gradient.astype(dtype)
            gradient = gradient.whole()
        return placement.contiguous(gradient, dtype)

    def _clip_and_update(self, gradients: list[Any], rate: float, scale: float) -> None:
        """Clip, decay and update: `scale` times each gradient of the variables of `build`."""
        limit = math.inf
        gradients = list(gradients)
        rows: dict[int, Array] = {}
        for k, gradient in enumerate(gradients):
            if type(gradient) is RowGradient:
                rows[k], gradients[k] = gradient.rows, gradient.values
        scales, decays = [scale] * len(gradients), [0.0] * len(gradients)
        if self.clipnorm is not None or self.global_clipnorm is not None:
            given = [k for k, gradient in enumerate(gradients) if gradient is not None]
            factors = clip_scales([gradients[k] for k in given], scale, self.clipnorm, self.global_clipnorm)
            for k, factor in zip(given, factors, strict=True):
                scales[k] = factor
        elif self.clipvalue is not None:
            limit = self.clipvalue
        if self.weight_decay:
            decay = self.weight_decay * rate
            decays = [decay if self._decays(variable) else 0.0 for variable in self._trained or ()]
        self.before_update()
        self.update_all(gradients, scales, limit, decays, rows, rate)

    def _follow(self) -> None:
        """Move the averages of all variables, whether they were updated or not, and put them in their place if due."""
        momentum = self.ema_momentum if self.iterations else 0.0
        frequency = self.ema_overwrite_frequency
        for variable, average in zip(self._trained or (), self._averages, strict=True):
            backends.current().average_update(variable.value, average, momentum=momentum)
            if frequency and (self.iterations + 1) % frequency == 0:
                variable.assign(average)

    def averages(self) -> list[tuple[Variable, Array]]:
        """With `use_ema`, each trained variable and its moving average; none before the first step."""
        return list(zip(self._trained or (), self._averages, strict=True)) if self.use_ema and self._iterations else []

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        """Put the moving averages in the place of the variables, with `use_ema`: what `fit` does when it ends.

        Constraints hold afterwards too; Keras leaves them out here.
        """
        if not self.use_ema or not self.built or not self._iterations:
            return
        for variable, place in zip(var_list, self._places(var_list), strict=True):
            variable.assign(self._averages[place])
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable.value))

    @property
    def variables(self) -> list[Array]:
        """Copies of all that is needed to go on to the bit, in the order of Keras's files.

        The number of calls of `apply`, the learning rate (but for a schedule), then with `use_ema` the averages, with
        accumulation the sums, then the buffers.
        """
        rate = self._learning_rate
        state = [np.asarray(self._iterations, np.int64)]
        state += [np.asarray(rate)] if isinstance(rate, float) else []
        state += [np.array(buffer) for buffer in self._buffers()]
        return state + [np.asarray(getattr(self, name)) for name in self.scalars if self.built]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Restore what `variables` gave.

        Raises
        ------
        ValueError
            If the optimizer was not built yet, or numbers or shapes differ; nothing is changed.
        """
        if self._trained is None:
            raise ValueError(f"{type(self).__name__}: call build(variables) ahead of set_weights")
        buffers, arrays = self._buffers(), [np.asarray(weight) for weight in weights]
        first = 1 if self.scheduled else 2
        shapes = [()] * first + [buffer.shape for buffer in buffers] + [()] * len(self.scalars)
        if [array.shape for array in arrays] != shapes:
            raise ValueError(
                f"{type(self).__name__}: expected state of shapes {shapes}, got {[array.shape for array in arrays]}"
            )
        if not self.scheduled:
            self.learning_rate = float(arrays[1])
        self._iterations = int(arrays[0])
        for buffer, array in zip(buffers, arrays[first:], strict=False):
            buffer[...] = array
        for name, array in zip(reversed(self.scalars), reversed(arrays), strict=False):
            setattr(self, name, float(array))

    def _buffers(self) -> list[Array]:
        """The arrays of the state in the order in which Keras keeps them."""
        side_by_side = [buffer for slots in self._slots for buffer in slots[: self.paired]]
        others = [slots[k] for k in range(self.paired, len(self.slots())) for slots in self._slots]
        return [*self._averages, *self._accumulated, *(b for b in side_by_side + others if b is not None)]


def _accumulate(total: Array, gradient: Any, scale: float) -> None:
    """total += scale * gradient."""
    rows: Any = gradient.rows if isinstance(gradient, RowGradient) else ...
    values = gradient.values if isinstance(gradient, RowGradient) else gradient
    total[rows] += values if scale == 1 else values * total.dtype.type(scale)
