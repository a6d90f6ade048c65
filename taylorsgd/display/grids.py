"""Spacetime grids: rows n downwards, columns t to the right, the cells in use shaded, trees laid over them.

Nodes stand in cells, several in one cell side by side; what stands outside the grid is drawn to its right
as a ring. An edge that would run through a node it does not end at is bent around it.
"""

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from taylorsgd.display.arcs import Curve, best_arc, route_ties
from taylorsgd.display.canvas import Box, Label, Point, Shape, Stroke
from taylorsgd.display.checks import checked_edges, checked_ties
from taylorsgd.display.svg import write_svg
from taylorsgd.display.tikz import write_tikz
from taylorsgd.display.trees import tree_shapes

__all__ = ["Placement", "grid_shapes", "grid_svg", "grid_tikz"]

_RULE = 0.03
_OUTSIDE = 0.8  # how far right of the grid the roots stand
_BENDS = (0.0, 0.25, -0.25, 0.4, -0.4, 0.6, -0.6)

Spot = tuple[int, int] | None


@dataclass(frozen=True)
class Placement:
    """A tree laid over a grid: which cell each node stands in.

    Whether its edges run forward in time, and its ties along a row, is not checked: what is forbidden can
    be drawn as well.

    Args:
        spots: per node its cell (n, t), or (n, T) for outside the grid in row n, or None for outside.
        edges: pairs of node indices.
        ties: groups of at least two node indices; no node is in two of them.

    Raises:
        ValueError: if a spot is no pair of integers, an index names no node, an edge joins a node to
            itself, or a tie is too small or meets another.

    Example:
        >>> Placement(spots=(None, (0, 1), (0, 0)), edges=((1, 0), (2, 1)), ties=((1, 2),))
        Placement(spots=(None, (0, 1), (0, 0)), edges=((1, 0), (2, 1)), ties=((1, 2),))
    """

    spots: tuple[Spot, ...]
    edges: tuple[tuple[int, int], ...] = ()
    ties: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        """Check the fields and make them tuples."""
        spots: list[Spot] = []
        for v, spot in enumerate(self.spots):
            if spot is None:
                spots.append(None)
                continue
            try:
                n, t = map(operator.index, spot)
            except (TypeError, ValueError):
                raise ValueError(f"spots[{v}] = {spot!r}: a cell (n, t) of two integers is needed, or None") from None
            spots.append((n, t))
        object.__setattr__(self, "spots", tuple(spots))
        object.__setattr__(self, "edges", checked_edges(self.edges, len(spots)))
        object.__setattr__(self, "ties", checked_ties(self.ties, len(spots)))


def grid_svg(
    cells: Iterable[Iterable[object]], placements: Sequence[Placement] = (), scale: float = 24, title: str | None = None
) -> str:
    """Draw a grid, and trees laid over it, as an SVG element.

    Args:
        cells: N rows of T values each; the true ones are shaded.
        placements: trees to draw on the grid.
        scale: pixels per cell, positive.
        title: the accessible text; by default it states the size of the grid.

    Returns:
        The text of a self-contained `<svg>` element on a white panel.

    Raises:
        ValueError: if the rows are empty or differ in length, a node stands in no cell of the grid, or
            `scale` is not a positive number.

    Example:
        >>> text = grid_svg([[1, 0], [0, 1]], [Placement((None, (1, 1)), ((1, 0),))])
        >>> text.count('data-kind="cell"'), text.count("<circle")
        (2, 2)
        >>> grid_svg([[1, 0], [1]])
        Traceback (most recent call last):
        ValueError: cells: row 1 has 1 cells, row 0 has 2; all need the same number
    """
    rows = _rows(cells)
    if title is None:
        title = f"grid of {len(rows)} rows and {len(rows[0])} columns, {sum(map(sum, rows))} cells shaded"
    return write_svg(grid_shapes(rows, placements), scale, title)


def grid_tikz(cells: Iterable[Iterable[object]], placements: Sequence[Placement] = (), scale: float = 0.6) -> str:
    r"""Draw a grid, and trees laid over it, as a `tikzpicture` that needs `\usepackage{tikz}` and no library.

    Args:
        cells: N rows of T values each; the true ones are shaded.
        placements: trees to draw on the grid.
        scale: centimetres per cell, positive.

    Returns:
        The picture, centred on the line of text that it stands in.

    Raises:
        ValueError: if the rows are empty or differ in length, a node stands in no cell of the grid, or
            `scale` is not a positive number.

    Example:
        >>> text = grid_tikz([[1, 0], [0, 1]], [Placement((None, (1, 1)), ((1, 0),))])
        >>> text.count("rectangle"), text.count("circle[")
        (2, 2)
    """
    return write_tikz(grid_shapes(cells, placements), scale)


def _rows(cells: Iterable[Iterable[object]]) -> list[list[bool]]:
    rows = [[bool(cell) for cell in row] for row in cells]
    if not rows or not rows[0]:
        raise ValueError("cells: at least one row and one column are needed")
    for n, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError(f"cells: row {n} has {len(row)} cells, row 0 has {len(rows[0])}; all need the same number")
    return rows


def grid_shapes(cells: Iterable[Iterable[object]], placements: Sequence[Placement] = ()) -> list[Shape]:
    """Return the shapes of a grid and of trees laid over it, for a page that holds more than one picture.

    Args:
        cells: N rows of T values each; the true ones are shaded.
        placements: trees to draw on the grid.

    Returns:
        The cells, the rules and axes over them, and all trees on top.

    Raises:
        ValueError: as `grid_svg`.

    Example:
        >>> [shape.kind for shape in grid_shapes([[1]])][:3]
        ['cell', 'rule', 'rule']
    """
    rows = _rows(cells)
    height, width = len(rows), len(rows[0])
    shapes: list[Shape] = [
        Box((t, n), (1.0, 1.0), "blue", kind="cell")
        for n, row in enumerate(rows)
        for t, shaded in enumerate(row)
        if shaded
    ]
    lines = [((0.0, float(n)), (float(width), float(n))) for n in range(height + 1)]
    lines += [((float(t), 0.0), (float(t), float(height))) for t in range(width + 1)]
    shapes += [Stroke(line, _RULE, "gray15", kind="rule") for line in lines]
    shapes += [
        Stroke(((-0.35, 0.05), (-0.35, 0.85)), 0.04, kind="axis", arrow=True),
        Label((-0.35, 1.2), "n", 0.6, italic=True),
        Stroke(((0.05, height + 0.35), (0.85, height + 0.35)), 0.04, kind="axis", arrow=True),
        Label((1.15, height + 0.35), "t", 0.6, italic=True),
    ]

    edges, ties, start = [], [], 0
    for placement in placements:
        edges += [(a + start, b + start) for a, b in placement.edges]
        ties += [tuple(v + start for v in group) for group in placement.ties]
        start += len(placement.spots)
    spots = [spot for placement in placements for spot in placement.spots]
    positions = _positions(spots, edges, height, width)
    outside = [v for v, (x, _) in enumerate(positions) if x > width]
    curves: list[Curve] = []
    for a, b in edges:
        strangers = [p for v, p in enumerate(positions) if v not in (a, b)]
        curves.append(best_arc(positions[a], positions[b], strangers, bulges=_BENDS)[1])
    return shapes + tree_shapes(positions, curves, route_ties(positions, curves, ties), outside)


def _positions(spots: Sequence[Spot], edges: Sequence[tuple[int, int]], height: int, width: int) -> list[Point]:
    """Stand the nodes in their cells, then those outside, each level with what it is joined to."""
    positions: dict[int, Point] = {}
    cells: dict[tuple[int, int], list[int]] = {}
    for v, spot in enumerate(spots):
        if spot is not None:
            n, t = spot
            if not (0 <= n < height and 0 <= t <= width):
                raise ValueError(
                    f"spots: node at {spot} is off the grid; n is 0 to {height - 1}, t is 0 to {width - 1}, "
                    f"or {width} for outside"
                )
            cells.setdefault(spot, []).append(v)
    for (n, t), nodes in cells.items():
        x = t + 0.5 if t < width else width + _OUTSIDE
        for v, (dx, dy) in zip(nodes, _spread(len(nodes)), strict=True):
            positions[v] = (x + dx, n + 0.5 + dy)

    taken = [y for x, y in positions.values() if x > width]
    wishes = []
    for v in (v for v, spot in enumerate(spots) if spot is None):
        near = [positions[w][1] for edge in edges if v in edge for w in edge if w in positions]
        wishes.append((sum(near) / len(near) if near else height / 2, v))
    for y, v in sorted(wishes):
        steps = (side * 0.4 * k for k in range(len(spots) + 1) for side in (1, -1))
        y = next((y + s for s in steps if all(abs(y + s - other) > 0.5 for other in taken)), y)
        taken.append(y)
        positions[v] = (width + _OUTSIDE, y)
    return [positions[v] for v in range(len(spots))]


def _spread(count: int) -> list[Point]:
    """Return where `count` nodes stand around the middle of one cell."""
    if count == 1:
        return [(0.0, 0.0)]
    if count <= 6:
        turns = [math.pi * (2 * k / count - 0.5) for k in range(count)]
        return [(round(0.27 * math.cos(a), 9), round(0.27 * math.sin(a), 9)) for a in turns]
    side = math.ceil(math.sqrt(count))
    return [(0.72 * ((k % side) / (side - 1) - 0.5), 0.72 * ((k // side) / (side - 1) - 0.5)) for k in range(count)]
