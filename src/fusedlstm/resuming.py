"""Everything but weights and optimizer that a stopped run of `fit` needs to go on as if it had not been stopped.

Plain values only (numbers, strings, lists, dicts), so that JSON keeps them to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fusedlstm import random
from fusedlstm.backends import placement
from fusedlstm.layers.base import Layer
from fusedlstm.metrics.base import State

if TYPE_CHECKING:
    from fusedlstm.batches import Passes
    from fusedlstm.objective import Objective


class Resumable(Protocol):
    """What of a model is read and set here."""

    progress: Progress

    @property
    def label(self) -> str: ...

    def all_layers(self) -> list[Any]: ...

    _objective: Objective | None


class Progress:
    """Where `fit` is: the epoch, counted from 0, how many of its batches are done, and where in the data that is.

    Parameters
    ----------
    epoch, batch : int
    passes : Passes, optional
        What the batches come from, while `fit` runs.
    position : dict, optional
        What `Passes.position` told, when it does not.
    """

    def __init__(self, epoch: int = 0, batch: int = 0, passes: Passes | None = None, position: Any = None) -> None:
        self.epoch, self.batch, self._passes, self._position = epoch, batch, passes, position

    @property
    def position(self) -> Any:
        """Where in the data: for `Passes.resume`."""
        return self._position if self._passes is None else self._passes.position()

    def ended(self) -> Progress:
        """The same, without holding on to the data."""
        return Progress(self.epoch, self.batch, position=self.position)


def training_state(model: Resumable) -> dict[str, Any]:
    """What `restore` needs, for a moment inside `fit` (between two batches or epochs), or after it."""
    objective, progress = model._objective, model.progress
    return {
        "epoch": progress.epoch,
        "batch": progress.batch,
        "position": progress.position,
        "random": random.get_state(),
        "layers": [_state_of(layer) for layer in model.all_layers()],
        "sums": None if objective is None else [_plain_values(part) for part in _summing(objective)],
        "variables": None if objective is None else [_variables(part) for part in _summing(objective)],
    }


def restore(model: Resumable, state: Mapping[str, Any]) -> None:
    """Take the model back to the moment at which `training_state` was called; the model is the same, built as then.

    Weights and the optimizer's state are restored by themselves. ``fit``, called next, or going to begin if this is
    called in ``on_train_begin``, goes on from there.

    Raises
    ------
    ValueError
        If the model has other layers; nothing is changed.
    """
    layers, states = model.all_layers(), state["layers"]
    if [type(layer).__name__ for layer in layers] != [each["class"] for each in states]:
        raise ValueError(
            f"{model.label}: expected the training state of a model of its layers, "
            f"{', '.join(type(layer).__name__ for layer in layers[1:])}, got that of one of "
            f"{', '.join(each['class'] for each in states[1:])}"
        )
    random.set_state(state["random"])
    for layer, each in zip(layers, states, strict=True):
        for name, generator in _generators(layer).items():
            generator.bit_generator.state = each["generators"][name]
        if layer.stateful:
            layer.states = _arrays(each["states"])
    if model._objective is not None and state["sums"] is not None:  # metrics that are not made yet have none
        for part, values in zip(_summing(model._objective), state["sums"], strict=False):
            for name, value in values.items():
                _set(part, name, _arrays(value))
        for part, variables in zip(_summing(model._objective), state.get("variables", ()), strict=False):
            _set_variables(part, variables)
    model.progress = Progress(state["epoch"], state["batch"], position=state["position"])


def _generators(layer: Layer) -> dict[str, np.random.Generator]:
    return {name: value for name, value in vars(layer).items() if isinstance(value, np.random.Generator)}


def _state_of(layer: Layer) -> dict[str, Any]:
    return {
        "class": type(layer).__name__,
        "generators": {name: generator.bit_generator.state for name, generator in _generators(layer).items()},
        "states": _plain(layer.states) if layer.stateful else None,
    }


def _summing(objective: Objective) -> list[Any]:
    """What keeps the sums of an epoch."""
    return [objective, *objective.outputs, *objective.metrics]


def _own(owner: Any) -> list[State]:
    """What a metric made by `add_variable`."""
    return getattr(owner, "_variables", [])


def _variables(owner: Any) -> list[dict[str, Any]]:
    """Their values, and the attributes that they are."""
    return [
        {"value": _plain(variable), "names": [name for name, value in vars(owner).items() if value is variable]}
        for variable in _own(owner)
    ]


def _set_variables(owner: Any, values: list[dict[str, Any]]) -> None:
    """Set in place what the metric also holds by other names; makes what it would have made with the first batch."""
    for k, each in enumerate(values):
        value = np.asarray(_arrays(each["value"]))
        if k == len(_own(owner)):
            variable = owner.add_variable(value.shape, dtype=value.dtype)
            vars(owner).update(dict.fromkeys(each["names"], variable))
        _own(owner)[k][...] = value


def _plain_values(owner: Any) -> dict[str, Any]:
    """Numbers and arrays among the attributes, but for a metric's variables and views of these."""
    own = _own(owner)
    values = {name: placement.fetch(value) for name, value in vars(owner).items() if name != "_variables"}
    return {name: _plain(value) for name, value in values.items() if _is_plain(value, own)}


def _set(owner: Any, name: str, value: Any) -> None:
    """Give an attribute the value, as a `State` where it was one."""
    if isinstance(value, np.ndarray | np.generic) and isinstance(vars(owner).get(name), State):
        value = np.asarray(value).view(State)
    vars(owner)[name] = value


def _is_plain(value: Any, own: list[State]) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item, own) for item in value)
    if isinstance(value, np.ndarray) and any(np.may_share_memory(value, variable) for variable in own):
        return False
    return isinstance(value, int | float | np.ndarray | np.number) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """Arrays as dicts of their dtype, shape and numbers; lists of them item by item."""
    value = placement.fetch(value)
    if isinstance(value, np.ndarray | np.generic):
        return {"dtype": str(value.dtype), "shape": list(value.shape), "numbers": np.ravel(value).tolist()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _arrays(value: Any) -> Any:
    """What `_plain` was given; tuples come back as lists."""
    if isinstance(value, Mapping):
        array = np.array(value["numbers"], value["dtype"]).reshape(value["shape"])
        return array if array.ndim else array[()]
    return [_arrays(item) for item in value] if isinstance(value, list) else value
