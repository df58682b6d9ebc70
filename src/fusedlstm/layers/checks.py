"""Names and checks of arguments, with errors that name the layer, the argument, what was expected and what came."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusedlstm import constraints, initializers, regularizers

Array = NDArray[Any]
Shape = tuple[int | None, ...]

FLOATS: dict[str, np.dtype[Any]] = {"float32": np.dtype("float32"), "float64": np.dtype("float64")}

_counters: dict[str, itertools.count[int]] = {}


def automatic_name(cls: type, stem: str | None = None) -> str:
    """`lstm`, `lstm_1` ... for an `LSTM`: snake case, or `stem`, then how many there were before."""
    if stem is None:
        stem = snake_case(cls.__name__)
    number = next(_counters.setdefault(stem, itertools.count()))
    return f"{stem}_{number}" if number else stem


def snake_case(name: str) -> str:
    """The name of a class in lower case, its words apart: `simple_rnn` for SimpleRNN."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])", "_", name).lower()


class Named:
    """Base of `Layer`: its name, and checks of what its constructor and calls get."""

    name: str

    @property
    def label(self) -> str:
        """How errors call the layer: ``LSTM 'encoder'``."""
        return f"{type(self).__name__} '{self.name}'"

    def _check_dtype(self, dtype: Any) -> np.dtype[Any]:
        if dtype is None:
            return FLOATS["float32"]
        try:
            return FLOATS[np.dtype(dtype).name]
        except (TypeError, KeyError):
            raise ValueError(f"{self.label}: expected dtype 'float32' or 'float64', got {dtype!r}") from None

    def _check_dimensions(self, argument: str, shape: Any) -> Shape:
        if isinstance(shape, int | np.integer):
            shape = (shape,)
        try:
            shape = tuple(None if n is None else int(n) for n in shape)
        except (TypeError, ValueError):
            raise ValueError(f"{self.label}: expected {argument} to be a tuple of sizes, got {shape!r}") from None
        if any(n is not None and n < 0 for n in shape):
            raise ValueError(f"{self.label}: expected {argument} to have no negative size, got {shape}")
        return shape

    def positive_integer(self, argument: str, value: Any) -> int:
        """`value` if it is an integer above 0, else a ValueError."""
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value <= 0:
            raise ValueError(f"{self.label}: expected {argument} to be a positive integer, got {value!r}")
        return int(value)

    def boolean(self, argument: str, value: Any) -> bool:
        """`value` if it is True or False, else a TypeError."""
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{self.label}: expected {argument} to be True or False, got {value!r}")
        return bool(value)

    def fraction(self, argument: str, value: Any) -> float:
        """`value` if it is a number from 0 to 1, else a ValueError."""
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
            raise ValueError(f"{self.label}: expected {argument} to be a number from 0 to 1, got {value!r}")
        return float(value)

    def positive_number(self, argument: str, value: Any) -> float:
        """`value` if it is a finite number above 0, else a ValueError."""
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not 0 < value < float("inf"):
            raise ValueError(f"{self.label}: expected {argument} to be a finite number above 0, got {value!r}")
        return float(value)

    def unavailable(self, argument: str, value: Any, default: Any) -> None:
        """Refuse an argument that this version takes at its default only."""
        if value is not default and value != default:
            raise ValueError(f"{self.label}: {argument} is not available yet, expected {default!r}, got {value!r}")

    def find(self, get: Callable[[Any], Any], argument: str, identifier: Any) -> Any:
        """``get(identifier)`` with an error that names this layer and the argument."""
        return find(self.label, get, argument, identifier)

    def initializer(self, argument: str, identifier: Any) -> Any:
        """The initializer that `identifier` names, or an error that names this layer and the argument."""
        if identifier is None:
            raise ValueError(f"{self.label}: expected {argument} to be an initializer, got None")
        return self.find(initializers.get, argument, identifier)

    def regularizer(self, argument: str, identifier: Any) -> regularizers.Regularizer | None:
        """The regularizer that `identifier` names, or an error that names this layer and the argument."""
        found: regularizers.Regularizer | None = self.find(regularizers.get, argument, identifier)
        return found

    def constraint(self, argument: str, identifier: Any) -> constraints.Constraint | None:
        """The constraint that `identifier` names, or an error that names this layer and the argument."""
        found: constraints.Constraint | None = self.find(constraints.get, argument, identifier)
        return found


def find(owner: str, get: Callable[[Any], Any], argument: str, identifier: Any) -> Any:
    """``get(identifier)`` with an error that names owner and argument."""
    try:
        return get(identifier)
    except (TypeError, ValueError) as error:
        # Some errors start with the kind of thing that was looked for, which the argument's name says already.
        message = re.sub(r"^\w+: (?=expected)", "", str(error))
        raise type(error)(f"{owner}: {argument}: {message}") from error


def show_shape(shape: Sequence[int | None]) -> str:
    """A shape as errors print it."""
    return str(tuple(shape))


def level_of_caller() -> int:
    """The `stacklevel` with which a warning that the calling function gives points out of this package."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "fusedlstm":
        frame, level = frame.f_back, level + 1
    return level
