"""Generating every diagram of an order once.

Rooted trees come from their level sequences (Beyer and Hedetniemi 1980); on each tree every set partition
of the nodes is drawn as a restricted growth string, and isomorphic results are kept once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache

from taylorsgd.arguments import checked_order
from taylorsgd.diagrams.diagram import Diagram

__all__ = ["diagrams_of_order", "forests_of_order", "rooted_trees"]

MOST_REMEMBERED = 4
"""The highest order whose diagrams are kept, and with them what they know of themselves; those above are too many."""


def diagrams_of_order(order: int) -> Iterator[Diagram]:
    """Yield every diagram with `order` edges whose root is alone, each once.

    Args:
        order: the number of edges d ≥ 0.

    Yields:
        The diagrams, in a fixed order.

    Raises:
        ValueError: if `order` is not a non-negative integer, or above 20.

    Example:
        >>> [sum(1 for _ in diagrams_of_order(d)) for d in range(5)]
        [1, 1, 4, 17, 101]
        >>> [str(d) for d in diagrams_of_order(2)]
        ['(a(a))', '((.))', '(a a)', '(. .)']
    """
    yield from forests_of_order(order)


def forests_of_order(
    order: int, root_ties: Sequence[bool] = (False,), *, tied_ancestors: bool = True, largest_part: int | None = None
) -> Iterator[Diagram]:
    """Yield every diagram with the given roots and `order` edges in all, each once.

    Args:
        order: the number of edges d ≥ 0, summed over the trees.
        root_ties: one entry per root: whether that root may join a part (a root that carries the training
            loss may, one that carries the test loss may not).
        tied_ancestors: whether a node may share a part with its ancestors. In one epoch such diagrams
            have no embeddings, and leaving them out early saves most of the work.
        largest_part: the most nodes in a part (2 for the SDE, 1 for the ODE); None for no limit.

    Yields:
        The diagrams, in a fixed order.

    Example:
        >>> [str(d) for d in forests_of_order(1, (True,))]
        ['a(a)', '(.)']
        >>> len(list(forests_of_order(2, (False, False))))
        10
    """
    order = checked_order(order)
    kinds = (tuple(root_ties), bool(tied_ancestors), largest_part)
    yield from _few(order, *kinds) if order <= MOST_REMEMBERED else _every(order, *kinds)


@lru_cache(maxsize=64)
def _few(
    order: int, root_ties: tuple[bool, ...], tied_ancestors: bool, largest_part: int | None
) -> tuple[Diagram, ...]:
    return tuple(_every(order, root_ties, tied_ancestors, largest_part))


def _every(
    order: int, root_ties: tuple[bool, ...], tied_ancestors: bool, largest_part: int | None
) -> Iterator[Diagram]:
    for sizes in _compositions(order, len(root_ties)):
        for parents in _forests(sizes):
            seen: set[Diagram] = set()
            free = [parent >= 0 for parent in parents]
            roots = iter(root_ties)
            free = [is_free or next(roots) for is_free in free]
            for parts in _partitions(parents, free, tied_ancestors, largest_part):
                diagram = Diagram(parents, parts)
                if diagram not in seen:
                    seen.add(diagram)
                    yield diagram


@cache
def rooted_trees(edges: int) -> tuple[tuple[int, ...], ...]:
    """List every rooted tree with so many edges as the tuple of its nodes' parents.

    Named algorithm: T. Beyer and S. M. Hedetniemi, *Constant time generation of rooted trees*, 1980.

    Example:
        >>> rooted_trees(2)
        ((-1, 0, 1), (-1, 0, 0))
        >>> [len(rooted_trees(n)) for n in range(8)]
        [1, 1, 2, 4, 9, 20, 48, 115]
    """
    trees = []
    levels = list(range(edges + 1))
    while True:
        latest: dict[int, int] = {}
        parents = []
        for node, level in enumerate(levels):
            parents.append(latest[level - 1] if level else -1)
            latest[level] = node
        trees.append(tuple(parents))
        last = max((i for i, level in enumerate(levels) if level > 1), default=None)
        if last is None:
            return tuple(trees)
        start = max(i for i in range(last) if levels[i] == levels[last] - 1)
        period = last - start
        for i in range(last, len(levels)):
            levels[i] = levels[i - period]


def _compositions(total: int, count: int) -> Iterator[tuple[int, ...]]:
    if count == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _compositions(total - first, count - 1):
            yield (first, *rest)


def _forests(sizes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    if not sizes:
        yield ()
        return
    for tree in rooted_trees(sizes[0]):
        for rest in _forests(sizes[1:]):
            yield tree + tuple(parent + len(tree) if parent >= 0 else -1 for parent in rest)


def _partitions(
    parents: tuple[int, ...], free: list[bool], tied_ancestors: bool, largest_part: int | None
) -> Iterator[tuple[int, ...]]:
    """Set partitions of the nodes in which the nodes that are not free stay alone."""
    ancestors: list[int] = []
    for parent in parents:
        ancestors.append(0 if parent < 0 else ancestors[parent] | 1 << parent)
    limit = len(parents) if largest_part is None else largest_part
    labels: list[int] = []
    blocks: list[int] = []  # the members of every block as a bit mask; −1 closes a block

    def extend(node: int) -> Iterator[tuple[int, ...]]:
        if node == len(parents):
            yield tuple(labels)
            return
        for label in range(len(blocks) if free[node] else 0):
            members = blocks[label]
            if members < 0 or members.bit_count() >= limit:
                continue
            # A root's own time is T, so sharing a part with its descendants closes no circle.
            if not tied_ancestors and any(
                parents[a] >= 0 and members >> a & ancestors[node] >> a & 1 for a in range(node)
            ):
                continue
            labels.append(label)
            blocks[label] |= 1 << node
            yield from extend(node + 1)
            blocks[label] = members
            labels.pop()
        labels.append(len(blocks))
        blocks.append(1 << node if free[node] else -1)
        yield from extend(node + 1)
        blocks.pop()
        labels.pop()

    yield from extend(0)
