r"""Differential operators whose coefficients are values, acting on an observable φ.

A term of E φ(θ_T) is a tree with one node that carries ∇^k φ. What hangs from that node is the coefficient of an
operator X = Σ_k X^{μ_1…μ_k} ∂_{μ_1}…∂_{μ_k}, with ties between its branches, and the term is Xφ. In a product
X(Yφ) the k derivatives meet any nodes of Yφ, that of φ or those of the loss, whose ties they keep:

    X Y φ = Σ over maps of X's k branches to nodes of Yφ

(the Grossman–Larson product of forests; with k = 1 it is the grafting of a field). Means over independent updates
multiply like operators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product

from sympy import Expr, Integer

from taylorsgd.diagrams import Value
from taylorsgd.diagrams.tensor_network import LOSS, open_index

__all__ = ["PHI", "Operator", "composed", "degree_of", "operator_product", "with_open_ends"]

PHI = "φ"
"""The mark of the node that carries the observable on which operators act."""

Operator = Mapping[Value, Expr]
"""A coefficient for every value Xφ."""


def degree_of(value: Value) -> int:
    """How many derivatives act on φ: 1 for a drift, 2 for a diffusion."""
    return value.degrees[value.marks.index(PHI)]


@lru_cache(maxsize=1 << 14)  # powers of an operator multiply the same pairs again and again
def composed(outer: Value, inner: Value) -> tuple[tuple[Value, int], ...]:
    """The terms of X Y φ, with their multiplicities.

    Example:
        >>> G = Value((-1, 0), None, ("φ", ""))
        >>> for value, copies in composed(G, G):                # (G·∂)(G·∂)φ
        ...     print(copies, value)
        1 (∇_μ φ) H^μ_ν G^ν
        1 G_μ (∇^μ∇_ν φ) G^ν
    """
    nodes, parents = _hung(outer)
    offset = len(inner.parents) - 1  # the root of X is left out
    parts = (*inner.parts, *(("outer", outer.parts[node]) for node in nodes[1:]))
    marks = (*inner.marks, *(LOSS for _ in nodes[1:]))
    found: Counter[Value] = Counter()
    for chosen in product(range(len(inner.parents)), repeat=degree_of(outer)):
        places = iter(chosen)
        hung = [next(places) if parent == 0 else offset + parent for parent in parents[1:]]
        found[Value((*inner.parents, *hung), parts, marks)] += 1
    return tuple(found.items())


def operator_product(outer: Operator, inner: Operator, order: int) -> dict[Value, Expr]:
    """The product of two operators through η^order."""
    found: dict[Value, Expr] = {}
    for left, c in outer.items():
        for right, d in inner.items():
            if left.order + right.order <= order:
                for value, copies in composed(left, right):
                    found[value] = found.get(value, Integer(0)) + copies * c * d
    return found


def with_open_ends(value: Value, order: Sequence[int]) -> Value:
    """The coefficient X^{μν…} of Xφ: the value without its node φ, with open indices in the given order.

    Example:
        >>> ch = Value((-1, 0, 0, 1), (0, 1, 2, 2), ("φ", "", "", ""))
        >>> print(ch, "|", with_open_ends(ch, (0, 1)), "|", with_open_ends(ch, (1, 0)))
        C_μν (∇^μ∇_λ φ) H^νλ | H^μ_λ C^νλ | H^ν_λ C^μλ
    """
    nodes, parents = _hung(value)
    ends = len(parents) - 1  # the new nodes come last, where the root is left out
    places = iter(range(ends, ends + len(order)))
    hung = [next(places) if parent == 0 else parent - 1 for parent in parents[1:]]
    parts = [*(str(value.parts[node]) for node in nodes[1:]), *(f"end {i}" for i in order)]
    marks = [*(value.marks[node] for node in nodes[1:]), *map(open_index, order)]
    return Value([*hung, *(-1 for _ in order)], parts, marks)


def _hung(value: Value) -> tuple[list[int], list[int]]:
    """A tree hung from its node φ: its nodes from the root on, and the positions of their parents among these."""
    nodes, parents = [value.marks.index(PHI)], [-1]
    for position, node in enumerate(nodes):  # grows while it is read: a breadth-first walk
        for other in value.neighbours[node]:
            if other not in nodes:
                nodes.append(other)
                parents.append(position)
    return nodes, parents
