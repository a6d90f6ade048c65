"""Canonical forms and automorphisms of trees whose nodes are partitioned.

The plain algorithm would try every relabelling of the nodes. It is enough to try every naming of the
*tied* parts by colours: once the nodes are coloured, sorting subtrees decides isomorphism (Aho, Hopcroft
and Ullman 1974, section 3.2). Single parts need no colour of their own, and parts that already differ by
what surrounds them are never exchanged, so a handful of colourings remains (three tied pairs at order 6).

The automorphism group follows from the same search by the orbit-stabilizer theorem: its order is the
number of colourings that reach the smallest code, times the number of ways to exchange equal subtrees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, permutations, product
from math import factorial
from typing import Any

__all__ = [
    "Code", "best_colouring", "blocks_of", "children_of", "exchanges", "neighbours_of", "parts_of",
    "restricted_growth", "rooted_code", "symmetries", "unfolded",
]  # fmt: skip

Code = tuple[Any, ...]
"""A coloured subtree: (node key, code of child, code of child, …) with the children sorted, largest first."""


def children_of(parents: Sequence[int]) -> list[list[int]]:
    """List the children of every node, given the parent of every node (−1 for a root)."""
    children: list[list[int]] = [[] for _ in parents]
    for node, parent in enumerate(parents):
        if parent >= 0:
            children[parent].append(node)
    return children


def neighbours_of(parents: Sequence[int]) -> list[list[int]]:
    """List the nodes next to every node, its parent first.

    Example:
        >>> neighbours_of((-1, 0, 1))
        [[1], [0, 2], [1]]
    """
    near = zip(parents, children_of(parents), strict=True)
    return [[parent, *children] if parent >= 0 else children for parent, children in near]


def restricted_growth(labels: Sequence[Any]) -> tuple[int, ...]:
    """Rename labels 0, 1, 2, … in the order of their first appearance.

    Example:
        >>> restricted_growth("abac")
        (0, 1, 0, 2)
    """
    names: dict[Any, int] = {}
    return tuple(names.setdefault(label, len(names)) for label in labels)


def blocks_of(parts: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """List the nodes of every part, given the part of every node, numbered by first appearance.

    Example:
        >>> blocks_of((0, 1, 0, 2))
        ((0, 2), (1,), (3,))
    """
    blocks: list[list[int]] = [[] for _ in range(max(parts, default=-1) + 1)]
    for node, part in enumerate(parts):
        blocks[part].append(node)
    return tuple(map(tuple, blocks))


def parts_of(colours: Sequence[int]) -> tuple[int, ...]:
    """The part of every node, given the colour of its tied part; 0 for a node that is alone.

    Example:
        >>> parts_of((0, 2, 0, 2))
        (0, 1, 2, 1)
    """
    return restricted_growth([colour or ("alone", node) for node, colour in enumerate(colours)])


def rooted_code(neighbours: Sequence[Sequence[int]], keys: Sequence[Any], root: int, above: int = -1) -> Code:
    """Code the subtree of `root` seen from `above`: isomorphic coloured subtrees have equal codes."""
    below = [rooted_code(neighbours, keys, node, root) for node in neighbours[root] if node != above]
    below.sort(reverse=True)
    return (keys[root], *below)


def exchanges(code: Code) -> int:
    """Count the automorphisms of a coloured subtree: the ways to exchange equal subtrees."""
    count = 1
    for child, copies in groupby(code[1:]):
        number = len(list(copies))
        count *= factorial(number) * exchanges(child) ** number
    return count


def symmetries(parents: Sequence[int], parts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield the automorphisms one by one: where each takes every node; roots stay.

    Args:
        parents: the parent of every node, −1 for a root.
        parts: the part of every node, numbered by first appearance.

    Example:
        >>> list(symmetries((-1, 0, 0), (0, 1, 2)))
        [(0, 1, 2), (0, 2, 1)]
    """
    children = children_of(parents)

    def images(node: int, image: int) -> Iterator[dict[int, int]]:
        if len(children[node]) == len(children[image]):
            for order in permutations(children[image]):
                below = (list(images(child, other)) for child, other in zip(children[node], order, strict=True))
                for chosen in product(*below):
                    yield {node: image} | {v: to for some in chosen for v, to in some.items()}

    roots = [node for node, parent in enumerate(parents) if parent < 0]
    for chosen in product(*(list(images(root, root)) for root in roots)):
        taken = {v: to for some in chosen for v, to in some.items()}
        if restricted_growth([parts[taken[v]] for v in range(len(parents))]) == tuple(parts):
            yield tuple(taken[v] for v in range(len(parents)))


def best_colouring(
    parts: Sequence[int], surroundings: Callable[[Sequence[int]], Sequence[Any]], code: Callable[[Sequence[int]], Any]
) -> tuple[Any, int]:
    """Name the tied parts so that the code of the whole is smallest.

    Args:
        parts: the part of every node, numbered by first appearance.
        surroundings: given a first colouring by part size, an isomorphism invariant of every node.
        code: given a colour for every node (0 for the nodes of single parts), the code of the whole.

    Returns:
        The smallest code, and the number of colourings that reach it.
    """
    tied = [nodes for nodes in blocks_of(parts) if len(nodes) > 1]
    sizes = [0] * len(parts)
    for nodes in tied:
        for node in nodes:
            sizes[node] = len(nodes) - 1
    best: Any = None
    ways = 0
    for order in _orders(tied, surroundings(sizes) if tied else ()):
        colours = [0] * len(parts)
        for colour, nodes in enumerate(order, start=1):
            for node in nodes:
                colours[node] = colour
        candidate = code(colours)
        if best is None or candidate < best:
            best, ways = candidate, 1
        elif candidate == best:
            ways += 1
    return best, ways


def unfolded(codes: Sequence[Code]) -> tuple[tuple[int, ...], list[Any]]:
    """Number the nodes of coded trees depth first: the parent of every node, and its key.

    Example:
        >>> unfolded([("root", ("leaf",)), ("other",)])
        ((-1, 0, -1), ['root', 'leaf', 'other'])
    """
    parents: list[int] = []
    keys: list[Any] = []

    def visit(code: Code, parent: int) -> None:
        node = len(parents)
        parents.append(parent)
        keys.append(code[0])
        for child in code[1:]:
            visit(child, node)

    for code in codes:
        visit(code, -1)
    return tuple(parents), keys


def _orders(tied: Sequence[Sequence[int]], around: Sequence[Any]) -> Iterator[list[Sequence[int]]]:
    """Every order of the tied parts that respects what surrounds them."""
    signature = [(tuple(sorted(around[node] for node in nodes)), nodes) for nodes in tied]
    signature.sort(key=lambda pair: pair[0])
    classes = [[nodes for _, nodes in group] for _, group in groupby(signature, key=lambda pair: pair[0])]
    for choice in product(*(permutations(group) for group in classes)):
        yield [nodes for group in choice for nodes in group]
