"""What weights have to keep to after each update: objects that map a weight to the one that does."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusedlstm.backends import placement
from fusedlstm.utils.custom_objects import class_name, custom_object_scope, find_custom

Array = NDArray[Any]

_EPSILON = 1e-7  # beside a norm that is divided by


class Constraint(ABC):
    """Base class: implement ``__call__(w)``, and `get_config` if there are arguments."""

    @abstractmethod
    def __call__(self, w: ArrayLike) -> Array:
        """A new array, shaped like `w` and of its dtype, that keeps to the constraint."""

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal constraint."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Constraint:
        """The constraint that `get_config` described."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items())})"


class NonNeg(Constraint):
    """No value below 0."""

    def __call__(self, w: ArrayLike) -> Array:
        return np.maximum(placement.as_array(w), 0)


class _Norm(Constraint):
    """Base of those that rescale vectors along `axis`: 0 for the incoming weights of each unit of a kernel."""

    def __init__(self, axis: int | Sequence[int] = 0) -> None:
        axes = axis if isinstance(axis, list | tuple) else (axis,)
        if not axes or any(isinstance(a, bool) or not isinstance(a, int | np.integer) for a in axes):
            raise TypeError(f"{type(self).__name__}: expected axis to be an integer or several, got {axis!r}")
        self.axis = axis
        self._axes = tuple(int(a) for a in axes)

    def _number(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise TypeError(f"{type(self).__name__}: expected {name} to be a number, got {value!r}")
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"{type(self).__name__}: expected {name} to be a finite number from 0 on, got {value!r}")
        return float(value)

    def _desired(self, norms: Array) -> Array:
        raise TypeError(f"{type(self).__name__}: a subclass of _Norm has to define _desired")

    def __call__(self, w: ArrayLike) -> Array:
        array: Array = placement.as_array(w)
        if any(not -array.ndim <= a < array.ndim for a in self._axes):
            raise ValueError(f"{type(self).__name__}: axis {self.axis} does not fit a weight of shape {array.shape}")
        norms = np.sqrt(np.sum(array * array, axis=self._axes, keepdims=True))
        return (array * (self._desired(norms) / (_EPSILON + norms))).astype(array.dtype, copy=False)

    def get_config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class MaxNorm(_Norm):
    """No vector along `axis` longer than `max_value`."""

    def __init__(self, max_value: float = 2, axis: int | Sequence[int] = 0) -> None:
        super().__init__(axis)
        self.max_value = self._number("max_value", max_value)

    def _desired(self, norms: Array) -> Array:
        return np.minimum(norms, self.max_value)

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "axis": self.axis}


class UnitNorm(_Norm):
    """Every vector along `axis` of length 1."""

    def _desired(self, norms: Array) -> Array:
        return np.ones_like(norms)


class MinMaxNorm(_Norm):
    """Every vector along `axis` of a length from `min_value` to `max_value`.

    Parameters
    ----------
    min_value, max_value : float
    rate : float
        How far towards it one call goes, from 0 to 1.
    axis : int or sequence of int
    """

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int | Sequence[int] = 0
    ) -> None:
        super().__init__(axis)
        self.min_value = self._number("min_value", min_value)
        self.max_value = self._number("max_value", max_value)
        self.rate = self._number("rate", rate)
        if self.rate > 1:
            raise ValueError(f"MinMaxNorm: expected rate to be a number from 0 to 1, got {rate!r}")
        if self.min_value > self.max_value:
            raise ValueError(f"MinMaxNorm: expected min_value <= max_value, got {min_value!r} and {max_value!r}")

    def _desired(self, norms: Array) -> Array:
        return self.rate * np.clip(norms, self.min_value, self.max_value) + (1 - self.rate) * norms

    def get_config(self) -> dict[str, Any]:
        return {"min_value": self.min_value, "max_value": self.max_value, "rate": self.rate, "axis": self.axis}


_CLASSES: dict[str, type[Constraint]] = {cls.__name__: cls for cls in (MaxNorm, NonNeg, UnitNorm, MinMaxNorm)}
_BY_NAME: dict[str, type[Constraint]] = {
    "max_norm": MaxNorm,
    "non_neg": NonNeg,
    "unit_norm": UnitNorm,
    "min_max_norm": MinMaxNorm,
}


def get(identifier: Any) -> Any:
    """The constraint that `identifier` names.

    Parameters
    ----------
    identifier : str, Constraint, type, callable, dict or None
        A name ("max_norm" or "MaxNorm"), a constraint, its class, any function of a weight that returns the new one,
        or what `serialize` gave. None gives None.

    Returns
    -------
    callable or None

    Raises
    ------
    ValueError
        If there is none of this name.
    TypeError
        If `identifier` is nothing of the above.
    """
    if identifier is None or isinstance(identifier, Constraint):
        return identifier
    if isinstance(identifier, dict):
        return _class(identifier.get("class_name")).from_config(dict(identifier.get("config") or {}))
    if isinstance(identifier, str):
        return _class(identifier)()
    if isinstance(identifier, type) and issubclass(identifier, Constraint):
        return identifier()
    if callable(identifier):
        return identifier
    raise TypeError(f"constraint: expected a name, a Constraint or a function, got {identifier!r}")


def _class(name: Any) -> type[Constraint]:
    cls = find_custom(name, Constraint) or _BY_NAME.get(name) or _CLASSES.get(name)
    if cls is None:
        raise ValueError(f"unknown constraint {name!r}: expected one of {', '.join(map(repr, sorted(_BY_NAME)))}")
    return cls


def serialize(constraint: Any) -> dict[str, Any] | None:
    """``{"class_name": ..., "config": ...}``, from which `get` makes an equal constraint; None for None."""
    if constraint is None:
        return None
    if not isinstance(constraint, Constraint):
        raise TypeError(f"serialize: expected a Constraint, got {constraint!r}")
    return {"class_name": class_name(type(constraint)), "config": constraint.get_config()}


def deserialize(config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The constraint that `serialize` described.

    Parameters
    ----------
    config : dict
    custom_objects : dict of str to class, optional
        Own classes by their names.
    """
    with custom_object_scope(custom_objects):
        return get(config)


# Keras's second spelling of each class.
max_norm, non_neg, unit_norm, min_max_norm = MaxNorm, NonNeg, UnitNorm, MinMaxNorm
