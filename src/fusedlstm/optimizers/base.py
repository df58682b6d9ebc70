"""What every optimizer does: clip, decay, keep buffers, apply constraints."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusedlstm.variables import Variable

Array = NDArray[Any]


class Optimizer(ABC):
    """Base class: implement `slots` and `update`, and `get_config` if there are further arguments.

    Parameters
    ----------
    learning_rate : float
        At least 0; `learning_rate` may be set later.
    weight_decay : float, optional
        Ahead of every update a variable shrinks by weight_decay * learning_rate of itself.
    clipnorm : float, optional
        The gradient of each variable is scaled down to this norm.
    clipvalue : float, optional
        Gradients are clipped to +- this.
    global_clipnorm : float, optional
        All gradients are scaled down together to this norm; if it is not finite, they all become NaN.
    name : str, optional

    Raises
    ------
    TypeError
        If an argument is not a number.
    ValueError
        If it is not finite or outside its range, or more than one kind of clipping is asked for.
    """

    def __init__(
        self,
        learning_rate: float,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        self.name = name or type(self).__name__.lower()
        self.learning_rate = learning_rate
        self.weight_decay = None if weight_decay is None else self._number("weight_decay", weight_decay)
        self.clipnorm = self._limit("clipnorm", clipnorm)
        self.clipvalue = self._limit("clipvalue", clipvalue)
        self.global_clipnorm = self._limit("global_clipnorm", global_clipnorm)
        if sum(value is not None for value in (clipnorm, clipvalue, global_clipnorm)) > 1:
            raise ValueError(
                f"{type(self).__name__}: expected one of clipnorm, clipvalue and global_clipnorm, "
                f"got clipnorm={clipnorm}, clipvalue={clipvalue}, global_clipnorm={global_clipnorm}"
            )
        self.iterations = 0
        self._trained: list[Variable] | None = None
        self._slots: list[tuple[Array | None, ...]] = []

    def _number(self, argument: str, value: Any, below: float = math.inf) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise TypeError(f"{type(self).__name__}: expected {argument} to be a number, got {value!r}")
        if not (math.isfinite(value) and 0 <= value < below):
            upper = "and finite" if below == math.inf else f"and < {below:g}"
            raise ValueError(f"{type(self).__name__}: expected {argument} >= 0 {upper}, got {value!r}")
        return float(value)

    def _limit(self, argument: str, value: Any) -> float | None:
        if value is None:
            return None
        limit = self._number(argument, value)
        if limit == 0:
            raise ValueError(f"{type(self).__name__}: expected {argument} > 0 (None: no clipping), got {value!r}")
        return limit

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = self._number("learning_rate", value)

    @abstractmethod
    def slots(self) -> tuple[bool, ...]:
        """For each of the buffers that `update` takes, in order, whether a variable has it or None."""

    @abstractmethod
    def update(self, w: Array, g: Array, buffers: tuple[Array | None, ...], scale: float, decay: float) -> None:
        """Change the weights `w` and their buffers in place.

        Parameters
        ----------
        w, g : array
            The weights, and their gradient in the same shape, dtype and order.
        buffers : tuple of array or None
            As `slots` says; zeros at first.
        scale : float
            Multiplies the gradient.
        decay : float
            This share of w is taken off first.
        """

    def build(self, variables: Sequence[Variable]) -> None:
        """Make the buffers for these variables; `apply` does it when first called.

        Raises
        ------
        ValueError
            If the optimizer already belongs to other variables.
        """
        if self._trained is not None:
            self._slots_of(variables)
            return
        wanted = self.slots()
        self._slots = [
            tuple(np.zeros(variable.shape, variable.dtype) if slot else None for slot in wanted)
            for variable in variables
        ]
        self._trained = list(variables)

    def _slots_of(self, variables: Sequence[Variable]) -> list[tuple[Array | None, ...]]:
        """The buffers of these variables, which are the first ones or, when some were frozen since, among them."""
        trained = self._trained or []
        if len(variables) == len(trained) and all(a is b for a, b in zip(variables, trained, strict=True)):
            return self._slots
        places = {id(variable): k for k, variable in enumerate(trained)}
        if any(id(variable) not in places for variable in variables):
            raise ValueError(
                f"{type(self).__name__}: already trains {len(trained)} variables, which these "
                f"{len(variables)} are not: make a new optimizer"
            )
        return [self._slots[places[id(variable)]] for variable in variables]

    def apply(self, gradients: Sequence[Array | None], variables: Sequence[Variable]) -> None:
        """One step: clip the gradients, then decay and update every variable, then apply its constraint.

        Parameters
        ----------
        gradients : sequence of array or None
            Aligned with `variables`, of their shapes, any memory layout; they are not changed. A variable whose
            gradient is None stays as it is.
        variables : sequence of Variable
            The same ones at every call, or some of them.

        Raises
        ------
        ValueError
            If numbers or shapes differ, every gradient is None, or the variables are others than before.
        """
        if len(gradients) != len(variables):
            raise ValueError(
                f"{type(self).__name__}: expected a gradient for each of {len(variables)} variables, "
                f"got {len(gradients)}"
            )
        missing = 0
        for gradient, variable in zip(gradients, variables, strict=True):
            if gradient is None:
                missing += 1
            elif gradient.shape != variable.shape:
                raise ValueError(
                    f"{type(self).__name__}: expected the gradient of '{variable.path}' to have shape "
                    f"{variable.shape}, got {gradient.shape}"
                )
        if missing and missing == len(gradients):
            raise ValueError(f"{type(self).__name__}: no variable has a gradient")
        if self._trained is None:
            self.build(variables)
        slots = self._slots_of(variables)
        scale, clipnorm, clipvalue = 1.0, self.clipnorm, self.clipvalue
        if clipnorm is None and self.global_clipnorm is not None:
            scale, clipvalue = _global_scale(gradients, self.global_clipnorm), None
        decay = (self.weight_decay or 0.0) * self._learning_rate
        constrained = []
        for gradient, variable, buffers in zip(gradients, variables, slots, strict=True):
            if gradient is None:
                continue
            w = variable.update()
            g = np.asarray(gradient, dtype=w.dtype, order="C")
            if clipnorm is not None:
                norm = _norm(g)
                scale = clipnorm / norm if not norm <= clipnorm else 1.0
            elif clipvalue is not None:
                g = g.clip(-clipvalue, clipvalue)
            self.update(w, g, buffers, scale, decay)
            if variable.constraint is not None:
                constrained.append(variable)
        for variable in constrained:
            variable.assign(variable.constraint(variable.value))
        self.iterations += 1

    @property
    def variables(self) -> list[Array]:
        """Copies of the state in Keras's order: iterations, learning rate, then the buffers."""
        state = [np.asarray(self.iterations, np.int64), np.asarray(self._learning_rate)]
        return state + [buffer.copy() for buffer in self._ordered()]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Restore what `variables` gave.

        Raises
        ------
        ValueError
            If the optimizer was not built yet, or numbers or shapes differ; nothing is changed.
        """
        if self._trained is None:
            raise ValueError(f"{type(self).__name__}: call build(variables) ahead of set_weights")
        buffers, arrays = self._ordered(), [np.asarray(weight) for weight in weights]
        shapes = [(), (), *(buffer.shape for buffer in buffers)]
        if [array.shape for array in arrays] != shapes:
            raise ValueError(
                f"{type(self).__name__}: expected state of shapes {shapes}, got {[array.shape for array in arrays]}"
            )
        self.learning_rate = float(arrays[1])
        self.iterations = int(arrays[0])
        for buffer, array in zip(buffers, arrays[2:], strict=True):
            buffer[...] = array

    def _ordered(self) -> list[Array]:
        """The buffers in the order in which Keras keeps them: slot by slot."""
        by_slot = zip(*self._slots, strict=True)
        return [buffer for slot in by_slot for buffer in slot if buffer is not None]

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal optimizer, without its state."""
        return {
            "name": self.name,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "clipvalue": self.clipvalue,
            "global_clipnorm": self.global_clipnorm,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        """The optimizer that `get_config` described."""
        return cls(**config)


def _squares(g: Array) -> float:
    # In float64, for large gradients; not through BLAS, whose sum depends on the number of threads.
    return float(np.square(g, dtype=np.float64).sum())


def _norm(g: Array) -> float:
    return math.sqrt(_squares(g))


def _global_scale(gradients: Sequence[Array | None], limit: float) -> float:
    norm = math.sqrt(math.fsum(_squares(g) for g in gradients if g is not None))
    if not math.isfinite(norm):
        return math.nan
    return limit / norm if norm > limit else 1.0
