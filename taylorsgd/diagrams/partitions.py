"""Set partitions: which nodes share a part, which parts share a row, which rows share a cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import factorial, prod
from typing import Any

__all__ = ["components", "moebius", "set_partitions"]


def set_partitions(things: Sequence[Any]) -> Iterator[tuple[tuple[Any, ...], ...]]:
    """Yield all partitions of some things into blocks, both in the order of the things.

    Example:
        >>> list(set_partitions("ab"))
        [(('a', 'b'),), (('a',), ('b',))]
        >>> [sum(1 for _ in set_partitions(range(n))) for n in range(6)]
        [1, 1, 2, 5, 15, 52]
    """
    if not things:
        yield ()
        return
    *others, last = things
    for partition in set_partitions(others):
        for i, block in enumerate(partition):
            yield (*partition[:i], (*block, last), *partition[i + 1 :])
        yield (*partition, (last,))


def moebius(sizes: Iterable[int]) -> int:
    """The Möbius function of the lattice of set partitions, Π (−1)^{k−1} (k−1)!.

    Args:
        sizes: for every block of the coarser partition, into how many the finer one cuts it.

    Example:
        >>> [moebius([k]) for k in (1, 2, 3, 4)]
        [1, -1, 2, -6]
    """
    return prod((-1) ** (k - 1) * factorial(k - 1) for k in sizes)


def components(size: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Label the connected components of a graph on 0, …, size − 1 by their least members.

    Example:
        >>> components(4, [(0, 2), (2, 3)])
        [0, 1, 0, 0]
    """
    label = list(range(size))
    for a, b in pairs:
        first, second = sorted((label[a], label[b]))
        label = [first if other == second else other for other in label]
    return label
