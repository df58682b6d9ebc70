"""Where to draw the boxes of a graph and the lines between them: layer by layer, with few crossings.

After Sugiyama, Tagawa and Toda (1981): a rank for each box by its longest way from the start, an order in each rank by
the mean place of the neighbours, then places that keep the order and are as near to those means as the boxes' widths
allow.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

SWEEPS = 12


class Layout:
    """Places for boxes, along two axes: `across`, on which the boxes of one rank stand, and the ranks' own.

    Parameters
    ----------
    across, along : sequence of float
        Sizes of the boxes on the two axes.
    edges : sequence of (int, int)
        From which box to which; there is no loop.
    gap, rank_gap : float
        Space between boxes, and between ranks.

    Attributes
    ----------
    boxes : list of (float, float)
        The middle of each box: across, along.
    paths : list of list of (float, float, float)
        For each edge, the places that it passes between its ends: across, and from where to where along.
    size : (float, float)
        Of the whole, from (0, 0) on.
    """

    def __init__(
        self,
        across: Sequence[float],
        along: Sequence[float],
        edges: Sequence[tuple[int, int]],
        gap: float,
        rank_gap: float,
    ) -> None:
        count = len(across)
        ranks = _ranks(count, edges)
        widths = list(across)
        links: list[tuple[int, int]] = []
        passed: list[list[int]] = []
        for a, b in edges:  # one point for each rank that a long edge crosses
            chain = [a]
            for rank in range(ranks[a] + 1, ranks[b]):
                ranks.append(rank)
                widths.append(0.0)
                chain.append(len(ranks) - 1)
            links += zip(chain, [*chain[1:], b], strict=True)
            passed.append(chain[1:])
        rows: list[list[int]] = [[] for _ in range(max(ranks) + 1)]
        for k, rank in enumerate(ranks):
            rows[rank].append(k)
        before: list[list[int]] = [[] for _ in ranks]
        after: list[list[int]] = [[] for _ in ranks]
        for a, b in links:
            before[b].append(a)
            after[a].append(b)
        _order(rows, before, after)
        places = _places(rows, before, after, widths, gap)
        low = min(place - width / 2 for place, width in zip(places, widths, strict=True))
        high = max(place + width / 2 for place, width in zip(places, widths, strict=True))
        sizes = [max((along[k] for k in row if k < count), default=0.0) for row in rows]
        starts = [sum(sizes[:rank]) + rank * rank_gap for rank in range(len(rows))]
        self.boxes = [(places[k] - low, starts[ranks[k]] + sizes[ranks[k]] / 2) for k in range(count)]
        self.paths = [
            [(places[k] - low, starts[ranks[k]], starts[ranks[k]] + sizes[ranks[k]]) for k in chain] for chain in passed
        ]
        self.size = (high - low, starts[-1] + sizes[-1])


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The length of the longest way to each box; what nothing leads to stands right ahead of what it leads to."""
    ranks = [0] * count
    for _ in range(count):
        moved = False
        for a, b in edges:
            if ranks[b] < ranks[a] + 1:
                ranks[b], moved = ranks[a] + 1, True
        if not moved:
            break
    fed = {b for _, b in edges}
    for k in range(count):
        following = [ranks[b] for a, b in edges if a == k]
        if k not in fed and following:
            ranks[k] = min(following) - 1
    return ranks


def _order(rows: list[list[int]], before: list[list[int]], after: list[list[int]]) -> None:
    """Sort each row by the mean index of its neighbours in the row that was sorted last, forth and back."""
    for sweep in range(SWEEPS):
        forth = sweep % 2 == 0
        neighbours = before if forth else after
        for rank in range(1, len(rows)) if forth else range(len(rows) - 2, -1, -1):
            index = {k: i for i, k in enumerate(rows[rank - 1 if forth else rank + 1])}
            own = {k: i for i, k in enumerate(rows[rank])}

            def wish(k: int, index: dict[int, int] = index, own: dict[int, int] = own) -> float:
                found = [index[n] for n in neighbours[k] if n in index]  # noqa: B023
                return sum(found) / len(found) if found else own[k]

            rows[rank].sort(key=wish)


def _places(
    rows: list[list[int]], before: list[list[int]], after: list[list[int]], widths: list[float], gap: float
) -> list[float]:
    places = [0.0] * len(widths)
    for row in rows:
        place = 0.0
        for k in row:
            places[k] = place + widths[k] / 2
            place += widths[k] + gap
        for k in row:
            places[k] -= (place - gap) / 2
    for sweep in range(2 * SWEEPS):
        forth = sweep % 2 == 0
        for row in rows if forth else rows[::-1]:
            wishes = []
            for k in row:
                near = (before if forth else after)[k] or (after if forth else before)[k]
                wishes.append(sum(places[n] for n in near) / len(near) if near else places[k])
            for k, place in zip(row, _apart(wishes, [widths[k] for k in row], gap), strict=True):
                places[k] = place
    return places


def _apart(wishes: list[float], widths: list[float], gap: float) -> list[float]:
    """Places as near to `wishes` as the order and the widths allow, in the sense of least squares."""
    offsets = [0.0]
    for a, b in itertools.pairwise(widths):
        offsets.append(offsets[-1] + (a + b) / 2 + gap)
    blocks: list[list[float]] = []  # the sum of what stands together, and how many
    for wish, offset in zip(wishes, offsets, strict=True):
        blocks.append([wish - offset, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    levels = [total / count for total, count in blocks for _ in range(int(count))]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]
