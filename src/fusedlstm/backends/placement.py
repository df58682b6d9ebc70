"""Where arrays are: on the host, or where a backend computes that defines `require_device`,
`to_device`, `to_host` and `DeviceArray`.

`set_backend` moves all that lives on from call to call. What comes from outside is moved when it is first computed
with, and results go back to where the inputs were.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from fusedlstm import backends


class Owner(Protocol):
    """What keeps arrays from call to call."""

    def moved(self, move: Callable[[Any], Any]) -> Callable[[], None]:
        """Make copies elsewhere with `move`; returns what puts them in place."""


#: The type of the arrays that the current backend computes with; None until there is one.
array_type: Any = None

_owners: weakref.WeakSet[Any] = weakref.WeakSet()
_move: Callable[[Any], Any] | None = None  # to where the current backend computes


def follow(owner: Owner) -> None:
    """Let `set_backend` move the arrays of this owner, as long as it lives."""
    _owners.add(owner)


def enter(backend: ModuleType) -> None:
    """Move all owners' arrays to where a backend computes; if one cannot be moved, all stay where they are."""
    global array_type, _move
    getattr(backend, "require_device", lambda: None)()
    move = getattr(backend, "to_device", fetch)
    if move is not _move and array_type is not None:
        for finish in [owner.moved(move) for owner in list(_owners)]:
            finish()
        for name in backends.BACKENDS.values():  # what was packed of them, and kept, is out of date
            if name in sys.modules:
                sys.modules[name].generation += 1  # type: ignore[attr-defined]
    array_type, _move = getattr(backend, "DeviceArray", np.ndarray), move


def is_elsewhere(value: Any) -> bool:
    """Whether it is an array that is not on the host, of this package or another."""
    return type(value) is not np.ndarray and hasattr(value, "__cuda_array_interface__")


def is_array(value: Any) -> bool:
    """Whether it is an array, wherever that is."""
    return isinstance(value, np.ndarray) or is_elsewhere(value)


def fetch(value: Any) -> Any:
    """An array, or a list of arrays and None, on the host; arrays that are there already are not copied."""
    if isinstance(value, list):
        return [fetch(item) for item in value]
    if is_elsewhere(value):
        from fusedlstm.backends.device_array import to_device, to_host

        return to_host(to_device(value))
    return value


def place(array: Any) -> Any:
    """An array where the current backend computes."""
    if type(array) is array_type:
        return array
    if _move is None:
        backends.current()
    return _move(array)  # type: ignore[misc]


def as_array(value: Any) -> Any:
    """`np.asarray`, but for what is elsewhere: that comes to where the current backend computes."""
    if type(value) is np.ndarray:
        return value
    return place(value) if is_elsewhere(value) else np.asarray(value)


def beside(array: Any, other: Any) -> Any:
    """An array where another one is."""
    return array if type(other) is np.ndarray or not is_elsewhere(other) else place(array)


def returned(outputs: Any, inputs: Any) -> Any:
    """Outputs of a call, or a list of them, where its inputs were."""
    if array_type is np.ndarray:
        return outputs
    first = inputs[0] if isinstance(inputs, list | tuple) and inputs else inputs
    return outputs if is_elsewhere(first) else fetch(outputs)


def plain_number(value: Any) -> Any:
    """A number as a float; one that is elsewhere stays there until somebody asks for it, as an array without axes."""
    return float(value) if isinstance(value, float) or not is_elsewhere(value) else value


def contiguous(array: Any, dtype: Any) -> Any:
    """An array where the current backend computes, of this dtype, in C order."""
    placed = array if type(array) is array_type else place(array)
    if is_elsewhere(placed):
        return np.ascontiguousarray(placed, dtype, like=placed)
    return np.asarray(placed, dtype, "C")
