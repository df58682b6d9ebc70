"""The kinds of hyperparameters: which values each can have, and when it is active."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

Value = bool | int | float | str

SAMPLINGS = ("linear", "log", "reverse_log")


@dataclass(frozen=True)
class Condition:
    """Holds where the hyperparameter `name` has one of `values`."""

    name: str
    values: tuple[Value, ...]

    def holds(self, values: Mapping[str, Value]) -> bool:
        return self.name in values and values[self.name] in self.values

    def __str__(self) -> str:
        return f"{self.name} is {' or '.join(map(repr, self.values))}"


@dataclass(frozen=True)
class HyperParameter:
    """Base of the kinds."""

    name: str
    conditions: tuple[Condition, ...]
    default: Any

    def is_active(self, values: Mapping[str, Value]) -> bool:
        """Whether all conditions hold."""
        return all(condition.holds(values) for condition in self.conditions)

    def contains(self, value: Any) -> bool:
        """Whether it can have this value."""
        raise NotImplementedError

    def alike(self, other: HyperParameter) -> bool:
        """Whether both may stand under one name, in different scopes."""
        return type(self) is type(other)


@dataclass(frozen=True)
class Fixed(HyperParameter):
    """One value."""

    def contains(self, value: Any) -> bool:
        return bool(value == self.default)

    def __str__(self) -> str:
        return f"Fixed {self.default!r}"


@dataclass(frozen=True)
class Choice(HyperParameter):
    """One of several values."""

    values: tuple[Value, ...]
    ordered: bool

    @classmethod
    def make(cls, name: str, conditions: tuple[Condition, ...], values: Any, ordered: Any, default: Any) -> Choice:
        owner = f"hp.Choice '{name}'"
        if isinstance(values, str) or not hasattr(values, "__iter__"):
            raise TypeError(f"{owner}: expected values to be a list, got {values!r}")
        checked = tuple(check_value(owner, "values", value) for value in values)
        if not checked:
            raise ValueError(f"{owner}: expected at least one value, got none")
        kinds = {float if type(value) is int else type(value) for value in checked}
        if len(kinds) > 1:
            raise TypeError(f"{owner}: expected values of one kind, got {list(checked)}")
        if len(set(checked)) < len(checked):
            raise ValueError(f"{owner}: expected values that differ, got {list(checked)}")
        if default is None:
            default = checked[0]
        elif default not in checked:
            raise ValueError(f"{owner}: expected default to be one of {list(checked)}, got {default!r}")
        if ordered not in (None, False, True):
            raise TypeError(f"{owner}: expected ordered to be a bool, got {ordered!r}")
        return cls(name, conditions, default, checked, bool(ordered))

    def contains(self, value: Any) -> bool:
        return value in self.values

    def alike(self, other: HyperParameter) -> bool:
        return isinstance(other, Choice) and (self.values, self.ordered) == (other.values, other.ordered)

    def __str__(self) -> str:
        return f"Choice of {', '.join(map(repr, self.values))}"


@dataclass(frozen=True)
class Number(HyperParameter):
    """An integer or a float between two, both included."""

    low: Any
    high: Any
    step: Any
    sampling: str
    integer: bool

    @classmethod
    def make(
        cls,
        name: str,
        conditions: tuple[Condition, ...],
        low: Any,
        high: Any,
        step: Any,
        sampling: str | None,
        default: Any,
        integer: bool,
    ) -> Number:
        owner = f"hp.{'Int' if integer else 'Float'} '{name}'"
        if sampling is None:
            sampling = "linear"
        if sampling not in SAMPLINGS:
            raise ValueError(f"{owner}: expected sampling to be one of {', '.join(SAMPLINGS)}, got {sampling!r}")
        low = _number(owner, "min_value", low, integer)
        high = _number(owner, "max_value", high, integer)
        if low > high:
            raise ValueError(f"{owner}: expected max_value >= min_value, got {low} ... {high}")
        if sampling != "linear" and low <= 0:
            raise ValueError(f"{owner}: expected min_value > 0 with sampling={sampling!r}, got {low}")
        if step is not None:
            step = _number(owner, "step", step, integer and sampling == "linear")
            least = 0 if sampling == "linear" else 1
            if step <= least:
                raise ValueError(f"{owner}: expected step > {least} with sampling={sampling!r}, got {step}")
        elif integer and sampling == "linear":
            step = 1
        default = low if default is None else _number(owner, "default", default, integer)
        if not low <= default <= high:
            raise ValueError(f"{owner}: expected default in {low} ... {high}, got {default}")
        return cls(name, conditions, default, low, high, step, sampling, integer)

    def values(self) -> list[Any]:
        """All values, in their order, if it has a step."""
        if self.sampling == "linear":
            return [self.at(k) for k in range(self.last + 1)]
        count = int(math.log(self.high / self.low, self.step) + 1e-8) + 1
        found = [self.low * self.step**k for k in range(count)]
        if self.sampling == "reverse_log":
            found = [self.low + self.high - value for value in reversed(found)]
        return sorted({round(value) for value in found}) if self.integer else found

    @property
    def last(self) -> int:
        """How many steps lead to the last value."""
        return int((Decimal(str(self.high)) - Decimal(str(self.low))) / Decimal(str(self.step)))

    def at(self, k: int) -> Any:
        """The value after k steps: 0.3 where it is 0.3, not 0.1 + 0.1 + 0.1."""
        value = Decimal(str(self.low)) + k * Decimal(str(self.step))
        return int(value) if self.integer else float(value)

    def contains(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def alike(self, other: HyperParameter) -> bool:
        same = ("integer", "sampling") if self.step is None else ("integer", "sampling", "step")
        return isinstance(other, Number) and all(getattr(self, name) == getattr(other, name) for name in same)

    def __str__(self) -> str:
        kind = "Int" if self.integer else "Float"
        step = "" if self.step in (None, 1) else f", step {self.step}"
        return f"{kind} {self.low} ... {self.high}{step}{'' if self.sampling == 'linear' else ', ' + self.sampling}"


def check_value(owner: str, argument: str, value: Any) -> Value:
    """A bool, number or string as Python's own, or a TypeError."""
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, bool | int | float | str):
        raise TypeError(f"{owner}: expected {argument} to be numbers, strings or bools, got {value!r}")
    return value


def _number(owner: str, argument: str, value: Any, integer: bool) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{owner}: expected {argument} to be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{owner}: expected {argument} to be finite, got {value}")
    if integer:
        if value != int(value):
            raise ValueError(f"{owner}: expected {argument} to be an integer, got {value}")
        return int(value)
    return value.item() if isinstance(value, np.generic) else value
