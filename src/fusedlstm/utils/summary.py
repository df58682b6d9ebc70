"""The table that `model.summary()` prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from fusedlstm.layers.base import Layer
from fusedlstm.variables import Variable

# Corners and lines of the head's top and bottom, of the rows between and of the foot, and the columns' bars.
_BOX = {"top": "┏━┳┓", "head": "┡━╇┩", "row": "├─┼┤", "foot": "└─┴┘", "bars": "┃│"}
_PLAIN = {"top": "+-++", "head": "+=++", "row": "+-++", "foot": "+-++", "bars": "||"}


def summarize(
    model: Layer,
    rows: Sequence[tuple[Layer, Any]],
    *,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
) -> str:
    """The table as text, without a final newline.

    Parameters
    ----------
    model : Layer
        Whose totals stand below.
    rows : sequence of (Layer, shape)
        The shape of each layer's outputs, None if it is not known.
    line_length, positions, expand_nested, show_trainable
        As in `Sequential.summary`.
    """
    heads = ["Layer (type)", "Output Shape", "Param #"] + (["Trainable"] if show_trainable else [])
    cells = [cell for layer, shape in rows for cell in _cells(layer, shape, show_trainable, expand_nested, 0)]
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


def _cells(layer: Layer, shape: Any, show_trainable: bool, expand: bool, depth: int) -> list[list[str]]:
    if isinstance(shape, list):
        text = ", ".join(str(tuple(one)) for one in shape)
    else:
        text = "?" if shape is None else str(tuple(shape))
    count = f"{_count(layer.weights):,}" if layer.built else "0 (unbuilt)"
    row = ["    " * depth + f"{layer.name} ({type(layer).__name__})", text, count]
    if show_trainable:
        row.append("-" if not layer.weights else "Y" if layer.trainable_weights else "N")
    rows = [row]
    if expand:
        for inner in getattr(layer, "layers", ()):
            inner_shape = None
            if layer.built and shape is not None:
                inner_shape = layer.output_shape_of(inner)  # type: ignore[attr-defined]
            rows += _cells(inner, inner_shape, show_trainable, expand, depth + 1)
    return rows


def _widths(rows: list[list[str]], line_length: int | None, positions: Sequence[float] | None) -> list[int]:
    """Characters of each column's text: as much as it needs, at least its share of the line."""
    needed = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    length = 76 if line_length is None else line_length
    if positions is None:
        positions = [0.45, 0.8, 1.0] if len(needed) == 3 else [0.4, 0.65, 0.82, 1.0]
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
