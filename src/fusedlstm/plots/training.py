"""How training went: losses and metrics over the epochs, and the loss over the steps of a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fusedlstm.plots.style import COLORS, INK, canvas, colors

#: What callbacks write into the logs beside losses and metrics.
LEARNING_RATES = ("learning_rate", "lr")
ACRONYMS = ("auc", "mae", "mape", "mse", "msle", "rmse")
#: From this ratio of the largest to the smallest value on, an axis is logarithmic.
WIDE = 30


def history(history: Any, metrics: Sequence[str] | None = None, ax: Any = None, path: str | Path | None = None) -> Any:
    """Loss and metrics over the epochs, each with its validation, and the learning rate if a callback logged it.

    Parameters
    ----------
    history : History, or dict of str to list
        What `fit` returned, or its `history`.
    metrics : sequence of str, optional
        What to draw, a panel each, such as ["loss"]; all if None. The ``val_`` values go with them.
    ax : Axes or sequence of Axes, optional
        One for each panel.
    path : str or Path, optional
        Where to write the picture.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        If there is no epoch, or nothing of a name.
    ImportError
        Without matplotlib.
    """
    values, epochs = _of_history(history)
    names = [name for name in values if not (name.startswith("val_") and name[4:] in values)]
    if metrics is not None:
        names = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in names:
        if name not in values:
            known = ", ".join(map(repr, values))
            raise ValueError(f"history: expected metrics to be some of {known}, got {name!r}")
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    size = (max(4.2 * columns, 5.5), 3.4 * rows)
    with canvas("history", ax, path, len(names), size, nrows=rows, ncols=columns) as axes:
        for one, name in zip(axes, names, strict=True):
            pair = {
                label: (epochs[key], np.asarray(values[key], float))
                for label, key in (("training", name), ("validation", f"val_{name}"))
                if key in values
            }
            _panel(one, name, pair)
        return axes[0].figure


def _of_history(history: Any) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """The values by name, and after which epoch, counted from 1, each of them was."""
    values = history if isinstance(history, Mapping) else getattr(history, "history", None)
    if not isinstance(values, Mapping):
        raise TypeError(f"history: expected a History or its dict, got {type(history).__name__}")
    longest = max((len(column) for column in values.values()), default=0)
    if not longest:
        raise ValueError("history: expected at least one epoch, got none")
    numbers = list(getattr(history, "epoch", None) or range(longest))
    known = getattr(history, "epochs", None) or {}
    epochs = {}
    for name, column in values.items():
        at = known.get(name, numbers)
        if len(at) != len(column):
            raise ValueError(
                f"history: expected {len(numbers)} values of {name!r}, one for each epoch, got {len(column)}: of a "
                "validation every few epochs only the History tells when it was, not its dict"
            )
        epochs[name] = np.asarray(at) + 1
    return dict(values), epochs


def _panel(ax: Any, name: str, lines: Mapping[str, tuple[Any, Any]]) -> None:
    rate = name in LEARNING_RATES
    longest = 0
    for (label, (epochs, values)), color in zip(lines.items(), (INK,) if rate else COLORS, strict=False):
        longest = max(longest, len(epochs))
        # Few points are shown as such; of many they would only make the line thick, and a thick line hides the other.
        marker, width = ("o", 1.8) if len(epochs) <= 30 else (None, 1.3)
        drawstyle = "steps-post" if rate else "default"
        ax.plot(
            epochs,
            values,
            color=color,
            marker=marker,
            markersize=3.5,
            linewidth=width,
            label=label,
            drawstyle=drawstyle,
        )
    title = name.replace("_", " ")
    ax.set(title=title.upper() if name in ACRONYMS else title[:1].upper() + title[1:], xlabel="epoch")
    ax.xaxis.get_major_locator().set_params(integer=True)
    finite = np.concatenate([values[np.isfinite(values)] for _, values in lines.values()])
    if finite.size and finite.min() > 0 and finite.max() > WIDE * finite.min():
        ax.set_yscale("log")
    if longest == 1:
        ax.set_xlim(0.5, 1.5)
    if "validation" in lines:
        _mark_best(ax, name, *lines["validation"])
        ax.legend(loc="best")


def _mark_best(ax: Any, name: str, epochs: Any, values: Any) -> None:
    """A ring around the lowest validation loss: where one would have stopped."""
    if (name == "loss" or name.endswith("_loss")) and np.isfinite(values).any():
        best = int(np.nanargmin(np.where(np.isfinite(values), values, np.nan)))
        label = f"best: {values[best]:.4g}, epoch {epochs[best]}"
        ax.plot(epochs[best], values[best], "o", markersize=9, markerfacecolor="none", color=COLORS[1], label=label)


def step_losses(
    losses: Any,
    ax: Any = None,
    path: str | Path | None = None,
    label: str | None = None,
    ylabel: str = "loss",
) -> Any:
    """The loss of every time step: where in the sequence a model struggles.

    Parameters
    ----------
    losses : (T,) array
        What `model.step_losses` returns.
    ax : Axes, optional
        To draw into, beside what is there: another model's losses, say.
    path : str or Path, optional
        Where to write the picture.
    label : str, optional
        What to call the line.
    ylabel : str
        What the loss is, with its unit.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        If it is not an array of one axis with a step or more.
    ImportError
        Without matplotlib.
    """
    values = np.asarray(losses, float)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"step_losses: expected losses (steps,), got {values.shape}")
    with canvas("step_losses", ax, path, size=(7.5, 3.8)) as axes:
        (one,) = axes
        (color,) = colors(one, 1)
        steps = np.arange(len(values))
        one.plot(steps, values, color=color, marker="o" if len(values) <= 40 else None, markersize=3.5, label=label)
        one.set(title="Loss of each step", xlabel="step", ylabel=ylabel)
        one.set_xlim(-0.02 * len(values) - 0.1, 1.02 * (len(values) - 1) + 0.1)
        one.xaxis.get_major_locator().set_params(integer=True)
        mean = float(np.nanmean(values))
        name = f"mean {mean:.3g}" if label is None else f"{label}: mean {mean:.3g}"
        one.axhline(mean, color=color, linewidth=1.1, linestyle="--", zorder=1, label=name)
        one.legend(loc="best")
        drawn = np.concatenate([line.get_ydata() for line in one.get_lines()]).astype(float)
        drawn = drawn[np.isfinite(drawn)]
        if drawn.size and drawn.min() > 0 and drawn.max() > WIDE * drawn.min():
            one.set_yscale("log")
        elif drawn.size and drawn.min() >= 0:
            one.set_ylim(0, 1.05 * drawn.max() or 1)
        return one.figure
