"""How all pictures look, and where they are drawn; the only module here that meets matplotlib first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Of Okabe and Ito (2008), which people tell apart whatever colours they see; in the order of use.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
INK, PALE, GRID = "#333333", "#999999", "#e8e8e8"

_STYLE: Any = {
    "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": PALE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.color": PALE,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


def matplotlib() -> Any:
    """The module, or an ImportError that names the extra."""
    try:
        import matplotlib as module
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'fusedlstm[plot]'") from error
    return module


@contextmanager
def canvas(
    owner: str, ax: Any, path: str | Path | None, panels: int = 1, size: tuple[float, float] = (7, 4), **layout: Any
) -> Iterator[list[Any]]:
    """The axes to draw into; afterwards the file is written.

    Parameters
    ----------
    owner : str
        How errors call the plot.
    ax : Axes, sequence of Axes or None
        Given by the caller, one for each panel; None: a figure is made. It is pyplot's, to be shown by it, unless it
        is only to be written.
    path : str or Path or None
        Where to write the figure.
    panels : int
    size : (float, float)
        Of a figure that is made, in inches.
    **layout
        Of `Figure.subplots`; without it the panels stand in one row.

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        For another number of axes.
    """
    matplotlib()
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    with pyplot.rc_context(_STYLE):
        if ax is not None:
            axes = _flat(ax)
            if len(axes) != panels or not all(hasattr(one, "plot") for one in axes):
                raise ValueError(f"{owner}: expected ax to be {panels} matplotlib Axes, one for each panel, got {ax!r}")
        else:
            make = Figure if path is not None else pyplot.figure
            layout = layout or {"nrows": 1, "ncols": panels}
            axes = _flat(make(figsize=size, layout="constrained").subplots(**layout))
            for spare in axes[panels:]:
                spare.set_visible(False)
            axes = axes[:panels]
        yield axes
        if path is not None:
            axes[0].figure.savefig(path, dpi=150)


def _flat(axes: Any) -> list[Any]:
    if hasattr(axes, "ravel"):
        return list(axes.ravel())
    return list(axes) if isinstance(axes, Sequence) else [axes]


def colors(ax: Any, count: int) -> list[str]:
    """Colours for further lines, after those that the axes have."""
    taken = len({line.get_color() for line in ax.get_lines()})
    return [COLORS[(taken + k) % len(COLORS)] for k in range(count)]
