"""Penalties on weights: objects called on a weight, with their gradient beside their value."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusedlstm.backends import placement
from fusedlstm.utils.custom_objects import class_name, custom_object_scope, find_custom

Array = NDArray[Any]

_EPSILON = 1e-7  # the least norm that a row is divided by


def _check_factor(owner: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{owner}: expected {name} to be a number, got {value!r}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{owner}: expected {name} to be a finite number from 0 on, got {value!r}")
    return float(value)


class Regularizer(ABC):
    """Base class: implement `value_and_gradient`, and `get_config` if there are arguments."""

    @abstractmethod
    def value_and_gradient(self, w: Array) -> tuple[float, Array]:
        """The penalty and its gradient.

        Parameters
        ----------
        w : array of float32 or float64

        Returns
        -------
        value : float
            Of a weight that is not on the host an array without axes, there.
        gradient : array
            Shaped like w and of its dtype.
        """

    def __call__(self, w: ArrayLike) -> float:
        """The penalty alone."""
        return float(self.value_and_gradient(placement.as_array(w))[0])

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal regularizer."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        """The regularizer that `get_config` described."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items())})"


def _l1(w: Array, factor: float) -> tuple[float, Array]:
    return factor * placement.plain_number(np.abs(w).sum()), w.dtype.type(factor) * np.sign(w)


def _l2(w: Array, factor: float) -> tuple[float, Array]:
    flat = w.ravel()
    return factor * placement.plain_number(flat @ flat), w.dtype.type(2 * factor) * w


class L1(Regularizer):
    """``l1 sum |w|``."""

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = _check_factor("L1", "l1", 0.01 if l1 is None else l1)

    def value_and_gradient(self, w: Array) -> tuple[float, Array]:
        return _l1(w, self.l1)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(Regularizer):
    """``l2 sum w^2``."""

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = _check_factor("L2", "l2", 0.01 if l2 is None else l2)

    def value_and_gradient(self, w: Array) -> tuple[float, Array]:
        return _l2(w, self.l2)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


class L1L2(Regularizer):
    """``l1 sum |w| + l2 sum w^2``; by the name "l1_l2", both are 0.01."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = _check_factor("L1L2", "l1", 0.0 if l1 is None else l1)
        self.l2 = _check_factor("L1L2", "l2", 0.0 if l2 is None else l2)

    def value_and_gradient(self, w: Array) -> tuple[float, Array]:
        (value_1, gradient_1), (value_2, gradient_2) = _l1(w, self.l1), _l2(w, self.l2)
        return value_1 + value_2, gradient_1 + gradient_2

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


class OrthogonalRegularizer(Regularizer):
    """`factor` times the mean absolute cosine between each two rows, or columns, of a matrix.

    Parameters
    ----------
    factor : float
    mode : {"rows", "columns"}

    Raises
    ------
    ValueError
        When used on a weight that is not a matrix. A single row has no pair: its penalty is 0.
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = _check_factor("OrthogonalRegularizer", "factor", factor)
        if mode not in ("rows", "columns"):
            raise ValueError(f"OrthogonalRegularizer: expected mode 'rows' or 'columns', got {mode!r}")
        self.mode = mode

    def value_and_gradient(self, w: Array) -> tuple[float, Array]:
        if w.ndim != 2:
            raise ValueError(f"OrthogonalRegularizer: expected a weight of 2 axes, got shape {w.shape}")
        rows = w if self.mode == "rows" else w.T
        count = len(rows)
        if count < 2:
            return 0.0, np.zeros_like(w)
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
        inverse = 1 / np.maximum(norms, _EPSILON)
        unit = rows * inverse
        cosines = unit @ unit.T
        cosines[np.arange(count), np.arange(count)] = 0
        scale = self.factor / (count * (count - 1))  # each pair stands in the matrix twice
        d_unit = w.dtype.type(2 * scale) * (np.sign(cosines) @ unit)
        # A row shorter than epsilon is divided by a constant.
        along = np.where(norms > _EPSILON, np.einsum("ij,ij->i", d_unit, unit)[:, None], 0)
        d_rows = (d_unit - along * unit) * inverse
        gradient = d_rows if self.mode == "rows" else d_rows.T
        total = placement.plain_number(np.abs(cosines).sum())
        return scale * total, np.ascontiguousarray(gradient, w.dtype, like=w)

    def get_config(self) -> dict[str, Any]:
        return {"factor": self.factor, "mode": self.mode}


_CLASSES: dict[str, type[Regularizer]] = {
    **{cls.__name__: cls for cls in (L1, L2, L1L2, OrthogonalRegularizer)},
    "l1l2": L1L2,
}
_BY_NAME: dict[str, type[Regularizer]] = {
    "l1": L1,
    "l2": L2,
    "l1_l2": L1L2,
    "orthogonal_regularizer": OrthogonalRegularizer,
}


def get(identifier: Any) -> Regularizer | None:
    """The regularizer that `identifier` names.

    Parameters
    ----------
    identifier : str, Regularizer, type, dict or None
        A name ("l2", "L2"), a regularizer, its class, or what `serialize` gave. None gives None.

    Returns
    -------
    Regularizer or None

    Raises
    ------
    ValueError
        If there is none of this name.
    TypeError
        If `identifier` is nothing of the above: a plain function has no gradient here.
    """
    if identifier is None or isinstance(identifier, Regularizer):
        return identifier
    if isinstance(identifier, dict):
        return _class(identifier.get("class_name")).from_config(dict(identifier.get("config") or {}))
    if isinstance(identifier, str):
        cls = _class(identifier)
        return L1L2(0.01, 0.01) if cls is L1L2 else cls()
    if isinstance(identifier, type) and issubclass(identifier, Regularizer):
        return identifier()
    raise TypeError(
        "regularizer: expected a name or a fusedlstm.regularizers.Regularizer (which has a gradient), "
        f"got {identifier!r}"
    )


def _class(name: Any) -> type[Regularizer]:
    cls = find_custom(name, Regularizer) or _BY_NAME.get(name) or _CLASSES.get(name)
    if cls is None:
        raise ValueError(f"unknown regularizer {name!r}: expected one of {', '.join(map(repr, sorted(_BY_NAME)))}")
    return cls


def serialize(regularizer: Regularizer | None) -> dict[str, Any] | None:
    """``{"class_name": ..., "config": ...}``, from which `get` makes an equal regularizer; None for None."""
    if regularizer is None:
        return None
    if not isinstance(regularizer, Regularizer):
        raise TypeError(f"serialize: expected a Regularizer, got {regularizer!r}")
    return {"class_name": class_name(type(regularizer)), "config": regularizer.get_config()}


def deserialize(config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Regularizer | None:
    """The regularizer that `serialize` described.

    Parameters
    ----------
    config : dict
    custom_objects : dict of str to class, optional
        Own classes by their names.
    """
    with custom_object_scope(custom_objects):
        return get(config)


# Keras's second spelling of each class.
l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer
