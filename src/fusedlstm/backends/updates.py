"""What the updates of the optimizers are called with, by the signatures in `reference_updates`; for other backends."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fusedlstm.backends import reference_updates
from fusedlstm.backends.arguments import Array, check, contiguous, require

_COMMON = ("gradient_scale", "clip", "decay", "rows")


def buffers_of(function: str) -> dict[str, bool]:
    """The buffers that an update takes behind w and g, and whether each may be None."""
    parameters = _parameters(function)[2:]
    return {p.name: "None" in p.annotation for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}


def options_of(function: str) -> list[str]:
    """The options that are this update's own."""
    return [p.name for p in _parameters(function) if p.kind is p.KEYWORD_ONLY and p.name not in _COMMON]


#: The updates, in the order in which `as_functions` returns them.
UPDATES = (
    "sgd_update",
    "lion_update",
    "rmsprop_update",
    "adagrad_update",
    "adadelta_update",
    "adam_update",
    "nadam_update",
    "adamax_update",
)


def as_functions(prepare: Callable[..., reference_updates.Updates]) -> list[Any]:
    """All `UPDATES` of a backend, from its `prepare_updates`."""
    return [_as_function(function, prepare) for function in UPDATES]


def _as_function(function: str, prepare: Callable[..., reference_updates.Updates]) -> Any:
    """The update of this name, from what prepares it for many steps."""
    signature = _signature(function)
    buffers, options = buffers_of(function), options_of(function)

    @functools.wraps(getattr(reference_updates, function))
    def update(*args: Any, **kwargs: Any) -> None:
        try:
            call = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{function}() {error}") from None
        call.apply_defaults()
        given = call.arguments
        prepared = prepare(function, [(given["w"], [given[name] for name in buffers])])
        scale, clip, decay, rows = (given[name] for name in _COMMON)
        by_place = {} if rows is None else {0: rows}
        prepared([given["g"]], [scale], clip, [decay], by_place, {name: given[name] for name in options})

    return update


def check_numbers(function: str, clip: float, decay: float, options: Mapping[str, float]) -> None:
    """Raise unless all are in their domains; the gradient's scale may be anything."""
    for name, number in options.items():
        require(function, name, math.isfinite(number))
    require(function, "clip", clip >= 0)  # false for NaN
    require(function, "decay", math.isfinite(decay))


def check_rows(function: str, g: Array, rows: Array, w: Array) -> Array:
    """The rows that `g` is the gradient of, contiguous."""
    check(function, "rows", rows, (len(rows),), np.int64)
    if w.ndim != 2:
        raise ValueError(f"{function}: expected w of 2 axes with rows, got {w.shape}")
    check(function, "g", g, (len(rows), w.shape[1]), w.dtype)
    if rows.size and not (rows[0] >= 0 and rows[-1] < len(w) and (np.diff(rows) > 0).all()):
        raise IndexError(f"update: expected ascending rows in 0 ... {len(w) - 1}, got {rows}")
    return contiguous(rows)


@functools.cache
def _signature(function: str) -> inspect.Signature:
    return inspect.signature(getattr(reference_updates, function))


def _parameters(function: str) -> Sequence[inspect.Parameter]:
    return list(_signature(function).parameters.values())
