r"""Rooted trees whose nodes carry one of several fields: the terms of methods that treat parts of a field differently.

With θ̇ = Σ_c f_c(θ) the elementary differential of a tree has at each node the derivative of that node's field,

    F([τ_1 … τ_k]_c) = f_c^{(k)}(F(τ_1), …, F(τ_k)),        F(•_c) = f_c

(P-series: Hairer, Lubich and Wanner, *Geometric Numerical Integration*, section III.2). A field that is affine has no
second derivative, so its nodes have at most one child.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations_with_replacement
from math import factorial, prod
from typing import NamedTuple

__all__ = ["Coloured", "coloured_trees", "automorphisms", "written"]


class Coloured(NamedTuple):
    """A rooted tree with a field at each node; equal for isomorphic trees.

    Attributes:
        field: the number of the root's field.
        below: the subtrees, smaller ones first.

    Example:
        >>> leaf = Coloured(1, ())
        >>> print(written(Coloured(0, (leaf, Coloured(0, (leaf,)))), ("f", "d")))
        f''(d, f'd)
    """

    field: int
    below: tuple[Coloured, ...]

    @property
    def nodes(self) -> int:
        """The number of nodes."""
        return 1 + sum(tree.nodes for tree in self.below)


@cache
def coloured_trees(nodes: int, most: tuple[int | None, ...]) -> tuple[Coloured, ...]:
    """List the trees with so many nodes, each once.

    Args:
        nodes: how many.
        most: for every field how many children its nodes may have; None for any number.

    Example:
        >>> [len(coloured_trees(n, (None,))) for n in range(1, 8)]            # rooted trees
        [1, 1, 2, 4, 9, 20, 48]
        >>> [len(coloured_trees(n, (None, None))) for n in range(1, 7)]       # of two colours
        [2, 4, 14, 52, 214, 916]
    """
    return tuple(
        Coloured(field, forest)
        for field, limit in enumerate(most)
        for forest in _forests(nodes - 1, nodes - 1, most)
        if limit is None or len(forest) <= limit
    )


def _forests(nodes: int, largest: int, most: tuple[int | None, ...]) -> Iterator[tuple[Coloured, ...]]:
    """Multisets of trees with so many nodes in all and at most `largest` in one, larger ones last."""
    if nodes == 0:
        yield ()
        return
    for size in range(1, min(nodes, largest) + 1):
        for count in range(1, nodes // size + 1):
            for rest in _forests(nodes - size * count, size - 1, most):
                for chosen in combinations_with_replacement(coloured_trees(size, most), count):
                    yield (*rest, *chosen)


def automorphisms(tree: Coloured) -> int:
    """How many automorphisms a tree has.

    Example:
        >>> leaf, other = Coloured(0, ()), Coloured(1, ())
        >>> automorphisms(Coloured(0, (leaf, leaf))), automorphisms(Coloured(0, (leaf, other)))
        (2, 1)
    """
    return prod(factorial(count) * automorphisms(child) ** count for child, count in Counter(tree.below).items())


def written(tree: Coloured, names: Sequence[str]) -> str:
    """An elementary differential in Butcher's notation."""
    below = [written(child, names) for child in tree.below]
    count = len(below)
    head = names[tree.field] + ("'" * count if count < 4 else f"^({count})")
    return head + (below[0] if count == 1 else f"({', '.join(below)})" if below else "")
