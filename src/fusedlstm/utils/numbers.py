"""Checks of plain numbers among arguments: the value as its type, or an error that names owner and argument."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def number(owner: str, argument: str, value: Any) -> float:
    """A real number, finite or not."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{owner}: expected {argument} to be a number, got {value!r}")
    return float(value)


def finite(owner: str, argument: str, value: Any, least: float = -math.inf, below: float = math.inf) -> float:
    """A finite number from `least` on and below `below`."""
    checked = number(owner, argument, value)
    if not (math.isfinite(checked) and least <= checked < below):
        lower = f" >= {least:g}" if least > -math.inf else ""
        upper = f" < {below:g}" if below < math.inf else " finite"
        raise ValueError(f"{owner}: expected {argument}{lower}{' and' if lower else ''}{upper}, got {value!r}")
    return checked


def counting(owner: str, argument: str, value: Any, least: int = 1) -> int:
    """An integer from `least` on."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{owner}: expected {argument} to be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{owner}: expected {argument} >= {least}, got {value!r}")
    return int(value)


def integer(owner: str, argument: str, value: Any, least: int, most: int | None = None) -> int:
    """An integer from `least` on, up to `most` if that is given; a ValueError for all else."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        bounds = f"from {least} on" if most is None else f"in {least} ... {most}"
        raise ValueError(f"{owner}: expected {argument} to be an integer {bounds}, got {value!r}")
    return int(value)


def boolean(owner: str, argument: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{owner}: expected {argument} to be True or False, got {value!r}")
    return bool(value)
