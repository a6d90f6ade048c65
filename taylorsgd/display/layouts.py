"""Where the nodes of a rooted forest stand: root rightmost, every child one unit to the left of its parent.

Subtrees are packed as closely as their outlines allow (Reingold and Tilford 1981), once from the top and
once from the bottom; the mean of the two packings keeps every distance and is as symmetric as the tree.
"""

import itertools
import math
from collections.abc import Sequence

from taylorsgd.display.canvas import Point

__all__ = ["layout_tree"]

_GAP = 0.8  # between neighbours of one depth

Outline = list[tuple[float, float]]  # per depth, the least and greatest y


def layout_tree(parents: Sequence[int], ties: Sequence[Sequence[int]] = ()) -> tuple[Point, ...]:
    """Return tidy positions for a rooted forest, x growing to the right and y downwards.

    A node at depth d stands at x = −d, a parent halfway between its first and last child, and nodes of
    one depth at least 0.8 apart. A single root stands at the origin; several stand below each other
    at x = 0, in the order given, around y = 0.

    Args:
        parents: `parents[v]` is the parent of node v, or −1 if v is a root; parents precede children.
        ties: groups of nodes that belong together. Siblings keep their order unless another one brings
            tied nodes closer together.

    Returns:
        One (x, y) per node.

    Raises:
        ValueError: if a parent does not precede its child or does not exist, or a tie names a node that
            does not exist.

    Example:
        >>> layout_tree((-1, 0, 0))
        ((0.0, 0.0), (-1.0, -0.4), (-1.0, 0.4))
        >>> layout_tree((-1, 0, 0, 0), ties=[(1, 3)])
        ((0.0, 0.0), (-1.0, 0.0), (-1.0, -0.8), (-1.0, 0.8))
    """
    parents = tuple(parents)
    children = _children(parents)
    for group in ties:
        for v in group:
            if not 0 <= v < len(parents):
                raise ValueError(f"ties = {ties!r}: there is no node {v}, only 0 to {len(parents) - 1}")
    positions = _place(parents, children)
    if not ties:
        return positions

    best, improved = _tie_length(positions, ties), True
    while improved:
        improved = False
        for siblings in children[:-1]:
            for i, j in itertools.combinations(range(len(siblings)), 2):
                siblings[i], siblings[j] = siblings[j], siblings[i]
                trial = _place(parents, children)
                length = _tie_length(trial, ties)
                if length < best - 1e-9:
                    positions, best, improved = trial, length, True
                else:
                    siblings[i], siblings[j] = siblings[j], siblings[i]
    return positions


def _children(parents: tuple[int, ...]) -> list[list[int]]:
    """Return the children of every node and, last, the roots: the children of node −1."""
    children: list[list[int]] = [[] for _ in range(len(parents) + 1)]
    for v, p in enumerate(parents):
        if not -1 <= p < len(parents):
            raise ValueError(f"parents[{v}] = {p}: a parent is −1 or a node, 0 to {len(parents) - 1}")
        if p >= v:
            walk = v
            for _ in parents:
                walk = parents[walk] if 0 <= walk < len(parents) else -1
                if walk == v:
                    raise ValueError(f"parents = {parents}: node {v} is its own ancestor; a tree has no cycle")
            raise ValueError(
                f"parents[{v}] = {p}: a parent comes before its child; number nodes from the root outwards"
            )
        children[p].append(v)
    return children


def _place(parents: tuple[int, ...], children: list[list[int]]) -> tuple[Point, ...]:
    """Place every node; the outlines are computed from the leaves to the root, the positions back."""
    offsets = [0.0] * len(parents)  # from the parent
    outlines: list[Outline] = [[] for _ in parents]
    for v in (*reversed(range(len(parents))), -1):
        below = [outlines[c] for c in children[v]]
        down = _pack(below)
        up = [-y for y in reversed(_pack([[(-b, -a) for a, b in o] for o in reversed(below)]))]
        if below:
            shift = down[-1] - up[-1]
            ys = [(a + b + shift) / 2 for a, b in zip(down, up, strict=True)]
            ys = [y - (ys[0] + ys[-1]) / 2 for y in ys]
        else:
            ys = []
        for c, y in zip(children[v], ys, strict=True):
            offsets[c] = y
        if v >= 0:
            outlines[v] = [(0.0, 0.0), *_merge(below, ys)]
    positions: list[Point] = []
    for v, p in enumerate(parents):
        x, y = (1.0, 0.0) if p == -1 else positions[p]
        positions.append((x - 1.0, round(y + offsets[v], 9)))
    return tuple(positions)


def _pack(outlines: Sequence[Outline]) -> list[float]:
    """Put each outline below all earlier ones, one gap away from where they come closest."""
    ys: list[float] = []
    for i, outline in enumerate(outlines):
        gaps = [
            ys[j] + bottom - top + _GAP
            for j in range(i)
            for (_, bottom), (top, _) in zip(outlines[j], outline, strict=False)
        ]
        ys.append(max(gaps, default=0.0))
    return ys


def _merge(outlines: Sequence[Outline], ys: Sequence[float]) -> Outline:
    """Return the outline of several subtrees, each moved down by its y."""
    merged: Outline = []
    for depth in range(max(map(len, outlines), default=0)):
        rows = [(o[depth][0] + y, o[depth][1] + y) for o, y in zip(outlines, ys, strict=True) if depth < len(o)]
        merged.append((min(top for top, _ in rows), max(bottom for _, bottom in rows)))
    return merged


def _tie_length(positions: Sequence[Point], ties: Sequence[Sequence[int]]) -> float:
    """Return the total length of the shortest trees that span the groups (Prim 1957)."""
    total = 0.0
    for group in ties:
        if len(group) < 2:
            continue
        joined, rest = [group[0]], list(group[1:])
        while rest:
            length, v = min((math.dist(positions[u], positions[v]), v) for u in joined for v in rest)
            total += length
            joined.append(v)
            rest.remove(v)
    return total
