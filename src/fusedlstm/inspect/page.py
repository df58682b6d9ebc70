"""A page of HTML that shows a text coloured by what a cell was at each character."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# The two ends of a scale that people who confuse red and green tell apart; white is 0.
_LOW, _HIGH = (230, 97, 1), (44, 123, 182)

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ margin: 2rem auto; max-width: 60rem; padding: 0 1rem; background: #fff; color: #1a1a1a;
  font-family: system-ui, sans-serif; }}
h1 {{ font-size: 1.1rem; }}
.scale {{ display: flex; align-items: center; gap: .6rem; font-size: .85rem; color: #444; margin-bottom: 1.2rem; }}
.scale i {{ width: 14rem; height: .9rem; border: 1px solid #ccc;
  background: linear-gradient(to right, {low}, #fff, {high}); }}
pre {{ font: 15px/1.7 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }}
pre span {{ padding: .12em 0; }}
</style>
</head>
<body>
<h1>{title}</h1>
<div class="scale"><span>&minus;1</span><i></i><span>1</span></div>
<pre>{text}</pre>
</body>
</html>
"""


def color_text(
    text: str | Sequence[str], values: Any, path: str | Path | None = None, title: str = "Cell by character"
) -> str:
    """A page of a text whose characters are coloured by a cell, as in Karpathy, Johnson and Fei-Fei (2015).

    The page needs no other file. The value of a character shows when the pointer rests on it.

    Parameters
    ----------
    text : str or sequence of str
        The characters, or tokens, that the model read.
    values : (T,) array
        One for each, from -1 (orange) to 1 (blue): tanh(c) of an LSTM's cell, such as
        ``np.tanh(gate_activations(model, x)["c"][0, :, unit])``. NaN is left uncoloured.
    path : str or Path, optional
        Where to write the page.
    title : str
        Its heading.

    Returns
    -------
    str
        The page.

    Raises
    ------
    ValueError
        Unless there is a value from -1 to 1 for each character.
    TypeError
        For a text of anything but strings.
    """
    tokens = list(text)
    for token in tokens:
        if not isinstance(token, str):
            raise TypeError(f"color_text: expected text to be a string or a sequence of them, got {token!r} in it")
    array = np.asarray(values, float)
    if array.shape != (len(tokens),):
        raise ValueError(f"color_text: expected values ({len(tokens)},), one for each character, got {array.shape}")
    outside = array[np.abs(array) > 1 + 1e-6]
    if outside.size:
        raise ValueError(f"color_text: expected values from -1 to 1, got {outside[0]:g}")
    marked = "".join(_span(token, value) for token, value in zip(tokens, array, strict=True))
    page = _PAGE.format(title=html.escape(title), text=marked, low=_css(_LOW), high=_css(_HIGH))
    if path is not None:
        Path(path).write_text(page, encoding="utf-8")
    return page


def _css(color: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in color)


def _span(token: str, value: float) -> str:
    # A line's end is nothing to see a colour on.
    shown = html.escape(token).replace("\n", "↵\n")
    if np.isnan(value):
        return shown
    share = 0.85 * min(abs(value), 1)  # of the full colour, on which black letters would be hard to read
    end = _HIGH if value > 0 else _LOW
    color = _css(tuple(round(255 + share * (part - 255)) for part in end))  # type: ignore[arg-type]
    return f'<span style="background:{color}" title="{value:+.2f}">{shown}</span>'
