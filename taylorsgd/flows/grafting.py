"""Derivatives of values: new edges at their nodes.

A node's tensor depends on θ, so a derivative of a value is a sum over its nodes of the same network with one
more edge there; nodes of a part stay tied, for derivatives of a joint cumulant are joint cumulants. With the new
edge left open the sum is the gradient. With another vector at its end it is the derivative along that vector,
the *grafting* of one tree onto another (a pre-Lie product: Chapoton and Livernet 2001).

A vector is a value of one tree with one open index; an edge carries η, so a gradient has one η more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from taylorsgd.diagrams import Diagram, Value
from taylorsgd.diagrams.values import LOSS, open_index

__all__ = ["closed", "diagram_of", "gradient_of", "grafted", "is_vector", "opened"]

OPEN = open_index(0)


def is_vector(value: Value) -> bool:
    """Whether a value is one tree of derivatives of the loss with one open index."""
    return value.parents.count(-1) == 1 and sorted(set(value.marks)) in ([OPEN], [LOSS, OPEN])


def opened(value: Value, node: int) -> Value:
    """A value with a new open index at a node."""
    return Value((*value.parents, node), (*value.parts, "open"), (*value.marks, OPEN), moments=value.moments)


def closed(vector: Value) -> Value:
    """A vector without its open index: the scalar that has it as a term of its gradient.

    Example:
        >>> print(closed(opened(Value((-1, 0, 1)), 2)))
        G_μ H^μ_ν G^ν
    """
    parents, nodes = _hung(vector, *_stem(vector))
    return Value(parents, [vector.parts[node] for node in nodes], moments=vector.moments)


def gradient_of(value: Value) -> Counter[Value]:
    """The terms of a scalar's gradient, with their multiplicities.

    Example:
        >>> for vector, copies in gradient_of(Value((-1, 0, 1))).items():      # ∇(G·H·G)
        ...     print(copies, vector)
        1 J^μ_νλ G^ν G^λ
        2 H^μ_ν H^ν_λ G^λ
    """
    return Counter(opened(value, node) for node in range(len(value.parents)))


@lru_cache(maxsize=1 << 14)  # series graft the same pairs again and again
def grafted(moved: Value, along: Value) -> tuple[tuple[Value, int], ...]:
    """The terms of the derivative of one vector along another, with their multiplicities.

    Example:
        >>> g = opened(Value((-1,)), 0)
        >>> [(str(vector), copies) for vector, copies in grafted(g, g)]      # (G·∇) G
        [('H^μ_ν G^ν', 1)]
    """
    parents, nodes = _hung(along, *_stem(along))
    offset = len(moved.parents)
    parts = (*moved.parts, *(("along", along.parts[node]) for node in nodes))
    marks = (*moved.marks, *(LOSS for _ in nodes))
    found: Counter[Value] = Counter()
    for node, mark in enumerate(moved.marks):
        if mark == LOSS:
            grown = (*moved.parents, node, *(offset + parent for parent in parents[1:]))
            found[Value(grown, parts, marks)] += 1
    return tuple(found.items())


def diagram_of(vector: Value) -> Diagram:
    """The diagram of a displacement that has this value: its root is the open index.

    Example:
        >>> vector = opened(Value((-1, 0), (0, 0)), 0)         # κ(∇l, ∇∇l): half the gradient of tr C
        >>> print(diagram_of(vector))
        (a(a))
    """
    parents, nodes = _hung(vector, vector.open_indices[0])
    return Diagram(parents, [vector.parts[node] for node in nodes])


def _stem(vector: Value) -> tuple[int, int]:
    """The node that carries the open index, and the open index."""
    (end,) = vector.open_indices
    (stem,) = vector.neighbours[end]
    return stem, end


def _hung(value: Value, root: int, without: int = -1) -> tuple[list[int], Sequence[int]]:
    """The tree hung from another root, without one of its leaves: parents, and the nodes they had been."""
    nodes, parents = [root], [-1]
    for position, node in enumerate(nodes):  # grows while it is read: a breadth-first walk
        for other in value.neighbours[node]:
            if other != without and other not in nodes:
                nodes.append(other)
                parents.append(position)
    return parents, nodes
