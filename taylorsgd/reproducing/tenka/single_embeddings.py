"""Diagrams laid over spacetimes node by node, and drawn with their nodes in the order of time.

What `Spacetime.embeddings` counts is here looked at one map at a time: whether it is an embedding, and if not,
which condition it breaks (Tenka, section A.1.2):

    time-ordering   the times strictly increase along every path from leaf to root
    correlation     nodes of one part are assigned to one training point n
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations

from taylorsgd.diagrams import Diagram
from taylorsgd.display import Placement, TreeDrawing, layout_tree
from taylorsgd.spacetime import Grid

__all__ = ["broken_conditions", "drawn_in_time", "placed", "time_orders", "with_links", "without_links"]

Cell = tuple[int, int]


def broken_conditions(diagram: Diagram, grid: Grid, cells: Mapping[int, Cell]) -> list[str]:
    """What keeps a map from being an embedding; nothing if it is one.

    Args:
        diagram: the diagram.
        grid: the spacetime.
        cells: for every node but the roots its cell (n, t).

    Returns:
        Some of "shaded cells", "time-ordering" and "correlation".

    Raises:
        ValueError: if a node is left out, or a root is not.

    Example:
        >>> chain, grid = Diagram((-1, 0, 1)), Grid([[1, 0], [0, 1]])
        >>> broken_conditions(chain, grid, {1: (1, 1), 2: (0, 0)})
        []
        >>> broken_conditions(chain, grid, {1: (0, 0), 2: (1, 1)})
        ['time-ordering']
    """
    inner = [node for node, parent in enumerate(diagram.parents) if parent >= 0]
    if sorted(cells) != inner:
        raise ValueError(f"cells={dict(cells)} must name the nodes {inner} of {diagram!r} and no others")
    shaded = all(0 <= n < grid.N and 0 <= t < grid.T and grid.cells[n][t] for n, t in cells.values())
    ordered = all(cells[v][1] < cells[p][1] for v, p in enumerate(diagram.parents) if p in cells)
    correlated = all(len({cells[node][0] for node in block}) == 1 for block in diagram.inner_blocks)
    kept = {"shaded cells": shaded, "time-ordering": ordered, "correlation": correlated}
    return [name for name, holds in kept.items() if not holds]


def placed(diagram: Diagram, cells: Mapping[int, Cell]) -> Placement:
    """The diagram on a grid, whether that is an embedding or not; its roots stand outside."""
    return _placement(diagram.parents, diagram.inner_blocks, cells)


def time_orders(diagram: Diagram) -> list[tuple[int, ...]]:
    """All total orders of the nodes, children first and parts contiguous, up to automorphisms (Proposition 2).

    Returns:
        Tuples of the non-root nodes, the earliest first.

    Example:
        >>> time_orders(Diagram((-1, 0, 1)))                    # of a chain
        [(2, 1)]
        >>> len(time_orders(Diagram((-1, 0, 1, 0))))            # of a chain beside a leaf
        3
    """
    inner = [node for node, parent in enumerate(diagram.parents) if parent >= 0]
    found: dict[object, tuple[int, ...]] = {}
    for order in permutations(inner):
        place = {node: i for i, node in enumerate(order)}
        if any(place[v] > place[p] for v, p in enumerate(diagram.parents) if p in place):
            continue
        spans = [sorted(place[node] for node in block) for block in diagram.inner_blocks]
        if all(span[-1] - span[0] == len(span) - 1 for span in spans):
            above = tuple(place.get(diagram.parents[node], -1) for node in order)
            found.setdefault((above, frozenset(map(tuple, spans))), order)
    return list(found.values())


def drawn_in_time(diagram: Diagram, order: tuple[int, ...]) -> TreeDrawing:
    """A tree with one root whose nodes stand from left to right in a total order, the root last.

    Example:
        >>> drawn_in_time(Diagram((-1, 0, 0)), (2, 1)).positions
        ((0.0, 0.0), (-1.0, -0.4), (-2.0, 0.4))
    """
    ties = tuple(block for block in diagram.blocks if len(block) > 1)
    heights = [y for _, y in layout_tree(diagram.parents, ties)]
    place = {node: float(i - len(order)) for i, node in enumerate(order)}
    return TreeDrawing(
        tuple((place.get(node, 0.0), y) for node, y in enumerate(heights)),
        tuple((node, parent) for node, parent in enumerate(diagram.parents) if parent >= 0),
        ties,
        diagram.roots,
    )


def with_links(
    diagram: Diagram, cells: Mapping[int, Cell], last: int, links: Mapping[int, Sequence[int]]
) -> tuple[Diagram, Placement]:
    """One of the un-resummed embeddings for which an embedding of a linkless diagram stands.

    In one-epoch SGD with B = 1 an edge from t to t′ carries (I − ηH)^(t′−t−1): each of the cells at the times
    between may hold a link, a factor −ηH, or not, which makes 2^(t′−t−1) un-resummed embeddings.

    Args:
        diagram: the linkless diagram.
        cells: for every node but the root its cell.
        last: T, the time of the root.
        links: for some nodes the times of the links on the edge that leaves them, rising.

    Returns:
        The diagram with its links, and how it stands on the grid.

    Raises:
        ValueError: if a link does not stand between the ends of its edge.

    Example:
        >>> edge = Diagram((-1, 0))
        >>> chain, placement = with_links(edge, {1: (0, 0)}, 3, {1: [2]})
        >>> chain == Diagram((-1, 0, 1)), placement.spots
        (True, (None, (0, 0), (2, 2)))
    """
    parents, parts, spots = list(diagram.parents), list(diagram.parts), dict(cells)
    for node, times in links.items():
        above = parents[node]
        end = cells[above][1] if above in cells else last
        if list(times) != sorted(set(times)) or not all(cells[node][1] < t < end for t in times):
            raise ValueError(f"links[{node}]={list(times)} must rise between {cells[node][1]} and {end}, both left out")
        below = node
        for t in times:
            link = len(parents)
            parents.append(above)
            parts.append(max(parts) + 1)
            parents[below], spots[link], below = link, (t, t), link
    return Diagram(parents, parts), _placement(parents, diagram.inner_blocks, spots)


def without_links(diagram: Diagram) -> Diagram:
    """The linkless diagram that is left when every link becomes a plain edge (Definition 2).

    Example:
        >>> without_links(Diagram((-1, 0, 1, 0))) == Diagram((-1, 0, 0))
        True
    """
    for node, parent in enumerate(diagram.parents):
        alone = len(diagram.blocks[diagram.parts[node]]) == 1
        if parent >= 0 and alone and len(diagram.children[node]) == 1:
            above = [parent if p == node else p for p in diagram.parents]
            kept = [v for v in range(len(above)) if v != node]
            renamed = {v: i for i, v in enumerate(kept)} | {-1: -1}
            smaller = Diagram([renamed[above[v]] for v in kept], [diagram.parts[v] for v in kept])
            return without_links(smaller)
    return diagram


def _placement(parents: Sequence[int], blocks: Iterable[tuple[int, ...]], cells: Mapping[int, Cell]) -> Placement:
    return Placement(
        tuple(cells.get(node) for node in range(len(parents))),
        tuple((node, parent) for node, parent in enumerate(parents) if parent >= 0),
        tuple(block for block in blocks if len(block) > 1),
    )
