"""The table that `model.summary()` prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from fusedlstm.layers.base import Layer
from fusedlstm.symbolic import SymbolicTensor
from fusedlstm.variables import Variable

# Corners and lines of the head's top and bottom, of the rows between and of the foot, and the columns' bars.
_BOX = {"top": "┏━┳┓", "head": "┡━╇┩", "row": "├─┼┤", "foot": "└─┴┘", "bars": "┃│"}
_PLAIN = {"top": "+-++", "head": "+=++", "row": "+-++", "foot": "+-++", "bars": "||"}


def summarize(
    model: Any,
    layers: Sequence[Layer],
    *,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
) -> str:
    """The table as text, without a final newline.

    Parameters
    ----------
    model : Model
        Whose totals stand below.
    layers : sequence of Layer
        Those of its layers to list.
    line_length, positions, expand_nested, show_trainable
        As in `Model.summary`.
    """
    connected = is_branched(model)
    heads = ["Layer (type)", "Output Shape", "Param #"]
    heads += (["Connected to"] if connected else []) + (["Trainable"] if show_trainable else [])
    cells = _cells(model, layers, connected, show_trainable, expand_nested, 0)
    widths = _widths([heads, *cells], line_length, positions)
    box = _BOX if _can_print("".join(_BOX.values())) else _PLAIN
    thick, thin = tuple(box["bars"])
    lines = [
        f'Model: "{model.name}"',
        _rule(box["top"], widths),
        _row(heads, widths, thick),
        _rule(box["head"], widths),
    ]
    for k, row in enumerate(cells):
        if k:
            lines.append(_rule(box["row"], widths))
        lines.append(_row(row, widths, thin))
    lines.append(_rule(box["foot"], widths))
    trainable, frozen = model.trainable_weights, model.non_trainable_weights
    for title, variables in (("Total", trainable + frozen), ("Trainable", trainable), ("Non-trainable", frozen)):
        lines.append(f" {title} params: {_count(variables):,} ({_bytes(variables)})")
    return "\n".join(lines)


def is_branched(model: Any) -> bool:
    """Whether it is more than one layer after the other: several inputs to one, several users of one, shared layers."""
    calls = model.calls
    if len({id(node.layer) for node in calls}) < len(calls):
        return True
    used = [tensor for node in calls for tensor in node.taken]
    several = any(len(node.taken) != 1 or len(node.outputs) != 1 for node in calls)
    ends = len(model.inputs) + len(model.outputs) if calls else 2
    return several or ends != 2 or len({id(tensor) for tensor in used}) < len(used)


def connections(model: Any, layer: Layer) -> list[str]:
    """What feeds a layer, over all its calls in the model: names, with the number of call and output if not the first.

    ``lstm[1]`` is the second output of its only call, ``lstm(2)[1]`` that of its second call.
    """
    calls = model.calls
    numbers = {id(node): [n for n in calls if n.layer is node.layer].index(node) for node in calls}

    def show(tensor: SymbolicTensor) -> str:
        number = numbers.get(id(tensor.node), 0)
        call = f"({number + 1})" if number else ""
        return f"{tensor.name}{call}" + (f"[{tensor.position}]" if tensor.position else "")

    return [show(tensor) for node in calls if node.layer is layer for tensor in node.taken]


def shape_text(model: Any, layer: Layer) -> str:
    """The shapes of a layer's outputs in the model, "?" if they are not known."""
    nodes = [node for node in model.calls if node.layer is layer] or layer.nodes[:1]
    if not model.built or not nodes:
        return "?"
    return ", ".join(str(tensor.shape) for tensor in nodes[0].outputs)


def _cells(
    model: Any, layers: Sequence[Layer], connected: bool, show_trainable: bool, expand: bool, depth: int
) -> list[list[str]]:
    rows = []
    for layer in layers:
        count = f"{_count(layer.weights):,}" if layer.built else "0 (unbuilt)"
        row = ["    " * depth + f"{layer.name} ({type(layer).__name__})", shape_text(model, layer), count]
        if connected:
            row.append(", ".join(connections(model, layer)) or "-")
        if show_trainable:
            row.append("-" if not layer.weights else "Y" if layer.trainable_weights else "N")
        rows.append(row)
        inner: Any = layer
        if expand and hasattr(inner, "calls"):
            rows += _cells(inner, inner.layers, connected, show_trainable, expand, depth + 1)
    return rows


def _widths(rows: list[list[str]], line_length: int | None, positions: Sequence[float] | None) -> list[int]:
    """Characters of each column's text: as much as it needs, at least its share of the line."""
    needed = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    length = 76 if line_length is None else line_length
    if positions is None:
        positions = {3: [0.45, 0.8, 1.0], 4: [0.4, 0.65, 0.82, 1.0]}.get(len(needed), [0.3, 0.52, 0.66, 0.88, 1.0])
    ends = [round(end * length) if end <= 1 else int(end) for end in positions]
    shares = [end - start - 3 for start, end in zip([1, *ends], ends, strict=False)]
    return [max(a, b) for a, b in zip(needed, shares, strict=True)]


def _rule(corners: str, widths: list[int]) -> str:
    left, line, cross, right = tuple(corners)
    return left + cross.join(line * (width + 2) for width in widths) + right


def _row(cells: list[str], widths: list[int], bar: str) -> str:
    words = [f"{c:>{w}}" if k == 2 else f"{c:<{w}}" for k, (c, w) in enumerate(zip(cells, widths, strict=True))]
    return f"{bar} " + f" {bar} ".join(words) + f" {bar}"


def _count(variables: Sequence[Variable]) -> int:
    return sum(variable.value.size for variable in variables)


def _bytes(variables: Sequence[Variable]) -> str:
    size = float(sum(variable.value.nbytes for variable in variables))
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} TB"


def _can_print(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
