"""Weights and the optimizer's state, into a file and back: what does not fit is found before anything is changed."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fusedlstm.backends import placement
from fusedlstm.saving.errors import FileError
from fusedlstm.saving.layout import groups

Array = NDArray[Any]

_OPTIMIZER = "optimizer/vars/"
#: Parts of Keras's files that have no counterpart here: the keys that its layers draw from, and the metrics' sums.
_UNUSED = ("seed_generator", "metrics", "_loss_tracker", "_metrics")


class Store(Protocol):
    """Arrays by path in an open file."""

    @property
    def names(self) -> list[str]:
        """The paths of all arrays."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one, without reading it."""

    def read(self, name: str) -> Array:
        """One array."""


def collect(model: Any, optimizer: bool) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays by path, and the names of the layers by the paths of their groups.

    Parameters
    ----------
    model : Model
    optimizer : bool
        Whether to add the state of the optimizer, if it has one.
    """
    arrays: dict[str, Array] = {}
    names: dict[str, str] = {}
    for group in groups(model):
        names[group.path] = group.layer.name
        arrays.update((path, placement.fetch(variable.value)) for path, variable in group.items())
    if optimizer and model.optimizer is not None and model.optimizer.built:
        arrays.update((f"{_OPTIMIZER}{k}", array) for k, array in enumerate(model.optimizer.variables))
        names["optimizer"] = model.optimizer.name
    return arrays, names


def apply(model: Any, store: Store, owner: str, skip_mismatch: bool = False, optimizer: str = "built") -> None:
    """Set the weights, and the optimizer's state, from a file.

    Parameters
    ----------
    model : Model
    store : Store
    owner : str
        How errors call the file.
    skip_mismatch : bool
        Warn of what is missing or of another shape, instead of an error, and leave it as it is.
    optimizer : {"built", "build", "no"}
        Whether to restore the optimizer's state: if it has one already, in any case, or not.

    Raises
    ------
    FileError
        If the file lacks a weight, has another shape or weights that the model lacks; the model stays as it was.
    """
    present = set(store.names)
    wanted: list[tuple[Any, str]] = []
    problems: list[str] = []
    for group in groups(model):
        for path, variable in group.items():
            what = f"{group.layer.label}, {variable.name}"
            if path not in present:
                problems.append(f"{what}: expected shape {variable.shape} at {path!r}, the file has none")
            elif store.shape(path) != variable.shape:
                problems.append(f"{what}: expected shape {variable.shape} at {path!r}, got {store.shape(path)}")
            else:
                wanted.append((variable, path))
            present.discard(path)
    others = sorted(path for path in present if not path.startswith(_OPTIMIZER) and not _is_unused(path))
    if others:
        problems.append(f"the model lacks what the file has at {_listed([repr(path) for path in others])}")
    if problems and not skip_mismatch:
        raise FileError(f"{owner} does not fit {model.label}: {_listed(problems, '; ')}")
    values = [(variable, variable.check(store.read(path))) for variable, path in wanted]
    state = None if optimizer == "no" else _optimizer_state(model, store, owner, optimizer == "build")
    if state is not None:
        try:
            model.optimizer.set_weights(state)
        except (ValueError, TypeError, OverflowError) as error:
            raise FileError(f"{owner}: the optimizer's state cannot be restored: {error}") from error
    for variable, value in values:
        variable.assign(value)
    for problem in problems:
        warnings.warn(f"{owner}: skipped: {problem}", stacklevel=3)


def _is_unused(path: str) -> bool:
    return any(part.startswith(_UNUSED) for part in path.split("/"))


def _listed(items: list[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(items) - 4} more" if len(items) > 4 else ""
    return separator.join(items[:4]) + more


def _optimizer_state(model: Any, store: Store, owner: str, build: bool) -> list[Array] | None:
    """The arrays for the optimizer's `set_weights`, None if there is nothing to restore."""
    paths = sorted((name for name in store.names if name.startswith(_OPTIMIZER)), key=_number)
    chosen = model.optimizer
    if not paths or chosen is None or not (build or chosen.built):
        return None
    if not chosen.built:
        chosen.build(model.trainable_weights)
    expected = [np.shape(array) for array in chosen.variables]
    found = [store.shape(path) for path in paths]
    if expected != found:
        warnings.warn(
            f"{owner}: the optimizer's state is left out: {type(chosen).__name__} has {len(expected)} arrays, the file "
            f"{len(found)}, or of other shapes",
            stacklevel=4,
        )
        return None
    return [store.read(path) for path in paths]


def _number(path: str) -> tuple[int, str]:
    last = path.rpartition("/")[2]
    return (int(last) if last.isdecimal() else 1 << 62, path)
