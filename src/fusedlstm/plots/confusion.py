"""Which classes a model takes for which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fusedlstm.plots.style import canvas

#: From so many classes on, numbers in the cells would overlap.
MANY = 25


def confusion_matrix(
    y_true: Any,
    y_pred: Any,
    labels: Sequence[str] | None = None,
    normalize: bool = True,
    ax: Any = None,
    path: str | Path | None = None,
) -> Any:
    """How often each class (rows) was taken for each (columns).

    Parameters
    ----------
    y_true, y_pred : (N,) array of int, or (N,C) array
        Classes 0 ... C - 1; of one-hot rows, probabilities or logits the largest counts. (N,) or (N,1) probabilities
        of two classes, between 0 and 1, are rounded.
    labels : sequence of str, optional
        The classes' names.
    normalize : bool
        Colour, and write, the shares of each row, with the counts below; else the counts alone.
    ax : Axes, optional
    path : str or Path, optional
        Where to write the picture.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        For arrays that are no classes, of different lengths, or beyond `labels`.
    ImportError
        Without matplotlib.
    """
    truth, guess = _classes("y_true", y_true), _classes("y_pred", y_pred)
    if len(truth) != len(guess):
        raise ValueError(f"confusion_matrix: expected {len(truth)} rows of y_pred, as of y_true, got {len(guess)}")
    widths = [np.shape(y)[1] for y in (y_true, y_pred) if np.ndim(y) == 2]
    found = 1 + int(max(truth.max(), guess.max()))
    count = max(found, *widths, 2) if labels is None else len(labels)
    if found > count:
        raise ValueError(f"confusion_matrix: expected labels for {found} classes, got {count}")
    names = [str(k) for k in range(count)] if labels is None else [str(label) for label in labels]
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (truth, guess), 1)
    rows = table.sum(axis=1, keepdims=True)
    shares = np.divide(table, rows, out=np.zeros(table.shape), where=rows > 0)

    side = min(max(3.2 + 0.62 * count, 4.2), 11)
    with canvas("confusion_matrix", ax, path, size=(side + 0.9, side)) as axes:
        (one,) = axes
        shown = shares if normalize else table
        image = one.imshow(shown, cmap="Blues", vmin=0, vmax=1 if normalize else max(1, table.max()))
        one.grid(visible=False)
        right = float((truth == guess).mean())
        one.set(xlabel="predicted class", ylabel="true class", title=f"{right:.1%} of {len(truth):,} right")
        one.spines[:].set_visible(False)
        every = -(-count // 40)  # names that would run into each other are left out
        long = max(map(len, names)) * count > 40 * every
        one.set_xticks(range(0, count, every), names[::every], rotation=90 if long else 0)
        one.set_yticks(range(0, count, every), names[::every])
        one.tick_params(length=0)
        if count < MANY:
            _write(one, table, shares, normalize)
        bar = one.figure.colorbar(image, ax=one, shrink=0.8)
        bar.outline.set_visible(False)
        bar.set_label("share of the true class" if normalize else "rows")
        return one.figure


def _classes(argument: str, value: Any) -> Any:
    """The class of each row."""
    array = np.asarray(value)
    if array.ndim == 2 and array.shape[1] > 1:
        return array.argmax(axis=1)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or not array.size or array.dtype.kind not in "biuf":
        raise ValueError(f"confusion_matrix: expected {argument} (N,) or (N, C) of numbers, got {array.shape}")
    classes = np.floor(array + 0.5) if array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1 else array
    if not (classes >= 0).all() or not np.array_equal(classes, classes.astype(np.int64)):
        raise ValueError(f"confusion_matrix: expected {argument} to hold classes from 0 on, or probabilities")
    return classes.astype(np.int64)


def _write(ax: Any, table: Any, shares: Any, normalize: bool) -> None:
    most = 1 if normalize else max(1, table.max())
    size = 9.5 if len(table) <= 12 else 7
    for (row, column), number in np.ndenumerate(table):
        if not number:
            continue
        text = f"{number:,}"
        if normalize:
            text = f"{shares[row, column]:.0%}" + (f"\n{number:,}" if len(table) <= 12 else "")
        dark = (shares[row, column] if normalize else number) > 0.55 * most
        color = "white" if dark else "#1a1a1a"
        ax.text(column, row, text, ha="center", va="center", color=color, fontsize=size, linespacing=1.15)
