"""Where each weight of a model stands in a file: Keras's paths, by classes and places, not by the layers' names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from fusedlstm.layers.base import Layer
from fusedlstm.layers.cells import FusedCell
from fusedlstm.layers.checks import snake_case
from fusedlstm.layers.multi_head_attention import MultiHeadAttention
from fusedlstm.layers.recurrent import Recurrent
from fusedlstm.layers.weights import Weighted
from fusedlstm.variables import Variable

_PROJECTIONS = ("query_dense", "key_dense", "value_dense", "output_dense")
_NOT_INSIDE = frozenset(["_inner", "_layers", "_chain", "_input", "nodes", "traces", "_traced", "_inputs", "_outputs"])


class Group(NamedTuple):
    """The variables of a layer that stand side by side, as ``<path>/vars/0``, ``1`` ..."""

    path: str
    layer: Layer
    variables: Sequence[Variable]

    def items(self) -> Iterator[tuple[str, Variable]]:
        """Each variable with its path."""
        for k, variable in enumerate(self.variables):
            yield f"{self.path}/vars/{k}" if self.path else f"vars/{k}", variable


def groups(model: Any) -> list[Group]:
    """All variables of a model, each once, in groups; a layer without any has an empty one."""
    found: list[Group] = []
    _walk(model, "", found, set())
    return found


def _walk(layer: Any, path: str, found: list[Group], seen: set[int]) -> None:
    if id(layer) in seen:
        return
    seen.add(id(layer))

    def inside(name: str) -> str:
        return f"{path}/{name}" if path else name

    if isinstance(layer, Recurrent):
        found += [Group(path, layer, []), Group(inside("cell"), layer, layer.weights)]
    elif isinstance(layer, FusedCell):
        seen.add(id(layer.layer))
        found.append(Group(path, layer, layer.weights))
    elif isinstance(layer, MultiHeadAttention):
        found.append(Group(path, layer, []))
        each = 2 if layer.use_bias else 1
        for k, name in enumerate(_PROJECTIONS):
            found.append(Group(inside(name), layer, layer.weights[each * k : each * (k + 1)]))
    else:
        own = list(layer._weights)
        found.append(Group(path, layer, [v for v in own if v.trainable] + [v for v in own if not v.trainable]))
        for name, part in _inside(layer):
            _walk_part(part, inside(name), found, seen)


def _walk_part(part: Any, path: str, found: list[Group], seen: set[int]) -> None:
    if isinstance(part, Weighted):
        _walk(part, path, found, seen)
        return
    counts: dict[str, int] = {}
    for item in part.values() if isinstance(part, dict) else part:
        if not isinstance(item, Weighted | list | tuple | dict):
            continue
        stem = _stem(item) if isinstance(item, Weighted) else "container"
        count = counts[stem] = counts.get(stem, -1) + 1
        _walk_part(item, f"{path}/{stem}_{count}" if count else f"{path}/{stem}", found, seen)


def _stem(layer: Any) -> str:
    # What Keras makes of Model is called Functional.
    plain = type(layer).__name__ == "Model" and getattr(layer, "call", None) is None
    return "functional" if plain else snake_case(type(layer).__name__)


def _inside(layer: Any) -> Iterator[tuple[str, Any]]:
    """The layers, and the lists, tuples and dicts that may hold some, by the names of the attributes."""
    if getattr(layer, "calls", None) is not None and getattr(layer, "call", None) is None:
        yield "layers", layer.layers
    for name in sorted(vars(layer)):
        value = vars(layer)[name]
        if name not in _NOT_INSIDE and isinstance(value, Weighted | list | tuple | dict):
            yield name, value
