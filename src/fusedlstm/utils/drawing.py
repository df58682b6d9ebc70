"""`plot_model` with matplotlib."""

from __future__ import annotations

import itertools
from pathlib import Path as FilePath

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from fusedlstm.utils.layout import Layout
from fusedlstm.utils.plotting import Box, Edge, colors

# All in points, of which there are 72 to an inch.
LARGE, SMALL = 10.0, 7.5
PAD_X, PAD_Y, LEADING = 11.0, 7.0, 1.38
GAP, RANK_GAP, MARGIN = 22.0, 30.0, 14.0
INK, PALE = "#212529", "#495057"


def _text(line: str, first: bool) -> tuple[float, FontProperties, float]:
    size = LARGE if first else SMALL
    font = FontProperties(family="DejaVu Sans", weight="bold" if first else "normal", size=size)
    return TextPath((0, 0), line, size=size, prop=font).get_extents().width, font, size * LEADING


def _lines(box: Box) -> list[str]:
    return [*box.lines, f"part of {box.group}"] if box.group else box.lines


def draw(boxes: list[Box], edges: list[Edge], rankdir: str, dpi: int, path: FilePath) -> None:
    """Draw the boxes and edges into a file."""
    down = rankdir in ("TB", "BT")
    widths, heights = [], []
    for box in boxes:
        texts = [_text(line, not k) for k, line in enumerate(_lines(box))]
        widths.append(max(width for width, _, _ in texts) + 2 * PAD_X)
        heights.append(sum(height for _, _, height in texts) + 2 * PAD_Y)
    across, along = (widths, heights) if down else (heights, widths)
    layout = Layout(across, along, [(e.start, e.end) for e in edges], GAP, RANK_GAP)
    total = layout.size[1]

    def place(x: float, y: float) -> tuple[float, float]:
        """From the layout's axes to the page's, whose second one points up."""
        y = y if rankdir in ("TB", "LR") else total - y
        return (MARGIN + x, MARGIN + total - y) if down else (MARGIN + y, MARGIN + layout.size[0] - x)

    size = layout.size if down else layout.size[::-1]
    figure = Figure(figsize=((size[0] + 2 * MARGIN) / 72, (size[1] + 2 * MARGIN) / 72), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, size[0] + 2 * MARGIN)
    axes.set_ylim(0, size[1] + 2 * MARGIN)
    axes.axis("off")

    for points, edge in zip(_ways(layout, across, along, edges), edges, strict=True):
        vertices, codes = [place(*points[0])], [Path.MOVETO]
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            middle = (y0 + y1) / 2
            vertices += [place(x0, middle), place(x1, middle), place(x1, y1)]
            codes += [Path.CURVE4] * 3
        axes.add_patch(
            FancyArrowPatch(
                path=Path(vertices, codes),
                arrowstyle="-|>,head_length=4,head_width=2",
                color=PALE,
                linewidth=1.0,
                linestyle=(0, (3, 2)) if edge.dashed else "solid",
                shrinkA=0,
                shrinkB=0,
                joinstyle="miter",
                zorder=1,
            )
        )
    for box, spot, width, height in zip(boxes, layout.boxes, widths, heights, strict=True):
        center, level = place(*spot)
        fill, border = colors(box.kind)
        axes.add_patch(
            FancyBboxPatch(
                (center - width / 2, level - height / 2),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=4",
                facecolor=fill,
                edgecolor=border,
                linewidth=1.0,
                linestyle=(0, (4, 2)) if box.group else "solid",
                zorder=2,
            )
        )
        line_top = level + height / 2 - PAD_Y
        for k, line in enumerate(_lines(box)):
            _, font, leading = _text(line, not k)
            color = INK if not k else PALE
            axes.text(
                center,
                line_top - leading / 2,
                line,
                ha="center",
                va="center",
                color=color,
                fontproperties=font,
                zorder=3,
            )
            line_top -= leading
    figure.savefig(path, dpi=dpi)


def _ways(
    layout: Layout, across: list[float], along: list[float], edges: list[Edge]
) -> list[list[tuple[float, float]]]:
    """For each edge the points that it passes, from the end of one box to the start of the other."""
    ports: dict[tuple[int, bool], list[tuple[float, int]]] = {}  # by box and side: where the other end is, which edge
    for k, edge in enumerate(edges):
        path = layout.paths[k]
        ports.setdefault((edge.start, True), []).append((path[0][0] if path else layout.boxes[edge.end][0], k))
        ports.setdefault((edge.end, False), []).append((path[-1][0] if path else layout.boxes[edge.start][0], k))

    def port(box: int, leaving: bool, k: int) -> float:
        order = [number for _, number in sorted(ports[box, leaving])]
        step = min(16.0, 0.6 * across[box] / len(order))
        return layout.boxes[box][0] + (order.index(k) - (len(order) - 1) / 2) * step

    ways = []
    for k, edge in enumerate(edges):
        points = [(port(edge.start, True, k), layout.boxes[edge.start][1] + along[edge.start] / 2)]
        for x, start, end in layout.paths[k]:
            points += [(x, start), (x, end)]
        points.append((port(edge.end, False, k), layout.boxes[edge.end][1] - along[edge.end] / 2))
        ways.append(points)
    return ways
