"""Where a stroke runs between two nodes, so that it hides nothing and is mistaken for nothing.

From one node to another there are a few candidate arcs: the straight one, and cubic curves that bulge to
either side. Each is charged for its length and its bend, for coming near a node that it does not join, and
for running close along a stroke that is already there; the cheapest is drawn. A group of tied nodes is
joined by the minimum spanning tree (Kruskal 1956) under these charges: k nodes, k − 1 strokes.
"""

import itertools
import math
from collections.abc import Sequence

from taylorsgd.display.canvas import Point, along

__all__ = ["best_arc", "route_ties"]

_BULGES = (0.0, 0.34, -0.34, 0.5, -0.5, 0.7, -0.7, 0.95, -0.95, 1.25, -1.25)
_NEAR_NODE = 0.4  # closer to a stranger's centre than this costs, ever more steeply
_NEAR_EDGE = 0.26  # closer to an edge than this counts as running along it
_NEAR_TIE = 0.42  # the same for an earlier tie
_FREE = 0.33  # so close to its own ends an arc may run along anything
_STEPS = 14  # at least so many pieces of an arc are looked at, and six per unit

Curve = tuple[Point, ...]


def best_arc(
    start: Point,
    end: Point,
    strangers: Sequence[Point],
    walls: Sequence[Curve] = (),
    ties: Sequence[Curve] = (),
    bulges: Sequence[float] = _BULGES,
) -> tuple[float, Curve]:
    """Return the cheapest arc between two points, with its cost.

    Args:
        start: where the arc begins.
        end: where it ends, another point than `start`.
        strangers: nodes to keep away from.
        walls: polylines to cross, if at all, at a steep angle, and not to run along.
        ties: the same, to be kept at a wider distance.
        bulges: the heights of the candidate arcs above the chord; of equal ones the first wins.

    Returns:
        The cost, and the arc as 2 points (a line) or 4 (a cubic Bezier curve).

    Example:
        >>> best_arc((0.0, 0.0), (2.0, 0.0), [])
        (2.0, ((0.0, 0.0), (2.0, 0.0)))
        >>> cost, curve = best_arc((0.0, 0.0), (2.0, 0.0), [(1.0, 0.0)])
        >>> len(curve), cost > 2.0
        (4, True)
    """
    edge_pieces = [piece for wall in walls for piece in itertools.pairwise(wall)]
    tie_pieces = [piece for tie in ties for piece in itertools.pairwise(tie)]
    best = (math.inf, ())
    for height in bulges:
        curve = _arc(start, end, height)
        points = along(curve, max(_STEPS, math.ceil(6 * math.dist(start, end))))
        own_pieces = list(itertools.pairwise(points))
        cost = sum(math.dist(p, q) for p, q in own_pieces) + 0.3 * abs(height)
        if cost >= best[0]:
            continue
        cost += sum(_node_charge(min(_distance(s, piece) for piece in own_pieces)) for s in strangers)
        if cost >= best[0]:
            continue
        cost += _wall_charge(points, edge_pieces, _NEAR_EDGE) + _wall_charge(points, tie_pieces, _NEAR_TIE)
        if cost < best[0] - 1e-9:
            best = (round(cost, 9), curve)
    return best


def route_ties(
    positions: Sequence[Point], edges: Sequence[Curve], ties: Sequence[Sequence[int]]
) -> tuple[tuple[tuple[int, int, Curve], ...], ...]:
    """Choose the strokes that join every group of tied nodes.

    Args:
        positions: of all nodes, no two equal.
        edges: lines or curves that the strokes keep clear of.
        ties: groups of at least two node indices; later groups keep clear of earlier ones.

    Returns:
        Per group, its `len(group) − 1` strokes (a, b, curve) from node a to node b.

    Example:
        >>> [[(a, b, curve)]] = route_ties(((0.0, 0.0), (0.0, 1.0)), (), ((0, 1),))
        >>> a, b, curve
        (0, 1, ((0.0, 0.0), (0.0, 1.0)))
    """
    walls = [tuple(along(curve, 1 if len(curve) == 2 else 6)) for curve in edges]
    taken: list[Curve] = []
    routed = []
    for group in ties:
        candidates = []
        ordered = sorted(group, key=lambda v: (positions[v], v))  # a level arc's first choice is upwards
        for a, b in itertools.combinations(ordered, 2):
            candidates.append((*_arc_between(a, b, positions, walls, taken, _BULGES), a, b))
        strokes = _spanning_tree(candidates, group)
        if len({len(curve) for _, _, curve in strokes}) == 2:  # bend all of them, or none
            bent = [_arc_between(a, b, positions, walls, taken, _BULGES[1:]) for a, b, _ in strokes]
            strokes = tuple((a, b, curve) for (a, b, _), (_, curve) in zip(strokes, bent, strict=True))
        taken += [tuple(along(curve, 6)) for _, _, curve in strokes]
        routed.append(strokes)
    return tuple(routed)


def _arc_between(
    a: int, b: int, positions: Sequence[Point], walls: Sequence[Curve], ties: Sequence[Curve], bulges: Sequence[float]
) -> tuple[float, Curve]:
    strangers = [p for v, p in enumerate(positions) if v not in (a, b)]
    return best_arc(positions[a], positions[b], strangers, walls, ties, bulges)


def _arc(start: Point, end: Point, height: float) -> Curve:
    """Return the arc whose middle stands `height` off the chord, to the left of the way (y downwards)."""
    if height == 0:
        return (start, end)
    (x0, y0), (x1, y1) = start, end
    dx, dy = x1 - x0, y1 - y0
    lift = height / 0.75 / math.hypot(dx, dy)
    side = (dy * lift, -dx * lift)
    return (
        start,
        (x0 + 0.2 * dx + side[0], y0 + 0.2 * dy + side[1]),
        (x1 - 0.2 * dx + side[0], y1 - 0.2 * dy + side[1]),
        end,
    )


def _node_charge(distance: float) -> float:
    return 0.0 if distance >= _NEAR_NODE else 0.5 + 8.0 * (1 - distance / _NEAR_NODE)


def _wall_charge(points: Sequence[Point], pieces: Sequence[tuple[Point, Point]], reach: float) -> float:
    """Charge the length that runs close to a wall; next to the ends, where walls may begin, it is free."""
    charge = 0.0
    for p, q in itertools.pairwise(points):
        middle = ((p[0] + q[0]) / 2, (p[1] + q[1]) / 2)
        if min(math.dist(middle, points[0]), math.dist(middle, points[-1])) < _FREE:
            continue
        near = min((_distance(middle, piece) for piece in pieces), default=reach)
        if near < reach:
            charge += 6.0 * (1 - near / reach) * math.dist(p, q)
    return charge


def _distance(p: Point, piece: tuple[Point, Point]) -> float:
    """Return the distance from a point to a segment."""
    (x0, y0), (x1, y1) = piece
    dx, dy = x1 - x0, y1 - y0
    square = dx * dx + dy * dy
    s = 0.0 if square == 0 else max(0.0, min(1.0, ((p[0] - x0) * dx + (p[1] - y0) * dy) / square))
    return math.hypot(p[0] - x0 - s * dx, p[1] - y0 - s * dy)


def _spanning_tree(
    candidates: Sequence[tuple[float, Curve, int, int]], group: Sequence[int]
) -> tuple[tuple[int, int, Curve], ...]:
    """Join the group by the cheapest strokes that close no loop."""
    component = {v: v for v in group}
    strokes = []
    for _, curve, a, b in sorted(candidates, key=lambda c: (c[0], c[2:])):
        old, new = component[a], component[b]
        if old != new:
            component = {v: new if c == old else c for v, c in component.items()}
            strokes.append((a, b, curve))
    return tuple(strokes)
