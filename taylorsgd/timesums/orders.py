"""Strict order polynomials: in how many ways can events be put in order?

Ω(P; m) counts the maps of a poset P to {1, …, m} that strictly preserve the order,

    Ω(P; m) = Σ_k s_k(P) · C(m, k),

with s_k the number of such maps *onto* a k-chain (Stanley, *Enumerative Combinatorics* I, section 3.15): what a
walk through the lattice of down-sets counts, by the number of its steps. s_|P| counts linear extensions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import product, zip_longest

from taylorsgd.timesums.lattice import lattice_of

__all__ = ["compositions", "split_surjections", "surjections", "weak_orderings"]


@cache
def surjections(below: tuple[int, ...]) -> tuple[int, ...] | None:
    """Count the strict order-preserving maps onto chains.

    Args:
        below: for every element, a bit mask of elements that must come strictly earlier (a generating set
            of the order is enough).

    Returns:
        (s_0, s_1, …, s_n), or None if the relations have a cycle.

    Example:
        >>> surjections((0, 1, 1))          # a V: one element before two others
        (0, 0, 1, 2)
        >>> surjections((2, 1)) is None     # each before the other
        True
    """

    def added(some: list[int], more: list[int]) -> list[int]:
        return [a + b for a, b in zip_longest(some, more, fillvalue=0)]

    counts = lattice_of(below).through([1], lambda counts, state, step: [0, *counts], added)
    return None if counts is None else tuple(counts + [0] * (len(below) + 1 - len(counts)))


def split_surjections(below: tuple[int, ...], early: int) -> dict[tuple[int, int], int]:
    """Count the strict maps onto j levels before some moment and k levels after it, by (j, k).

    With C(T_1, j) C(T_2 − T_1, k) for each they make the strict maps to T_2 times, the first T_1 of them before
    the moment: Ω(I; T_1) Ω(P − I; T_2 − T_1) summed over the down-sets I of what comes before.

    Args:
        below: as for `surjections`.
        early: a bit mask of elements that must come before the moment.

    Returns:
        The counts that are not 0; nothing if the relations have a cycle.

    Example:
        >>> split_surjections((0, 1), 1)    # a < b, and a early: either both before the moment or a alone
        {(1, 1): 1, (2, 0): 1}
    """
    counts: dict[tuple[int, int], int] = {}
    lattice = lattice_of(below)
    if not lattice.possible:
        return counts
    for ideal in sorted(lattice.states):
        if early & ~ideal:
            continue
        before, after = (surjections(_restricted(below, part)) or () for part in (ideal, lattice.full & ~ideal))
        for (j, first), (k, second) in product(enumerate(before), enumerate(after)):
            if first * second:
                counts[j, k] = counts.get((j, k), 0) + first * second
    return counts


@cache
def compositions(below: tuple[int, ...], sizes: tuple[int, ...]) -> Counter[tuple[int, ...]]:
    """Count the strict maps onto chains by what their levels hold, earliest first.

    Args:
        below: as for `surjections`.
        sizes: how much every element adds to its level.

    Example:
        >>> sorted(compositions((0, 0), (1, 2)).items())
        [((1, 2), 1), ((2, 1), 1), ((3,), 1)]
    """

    def longer(found: Counter[tuple[int, ...]], state: int, step: int) -> Counter[tuple[int, ...]]:
        held = sum(size for element, size in enumerate(sizes) if step >> element & 1)
        return Counter({(*levels, held): number for levels, number in found.items()})

    return lattice_of(below).through(Counter({(): 1}), longer, Counter.__add__) or Counter()


@cache
def weak_orderings(count: int) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """List the weak orderings of so many things as (number of levels, level of every thing).

    Example:
        >>> weak_orderings(2)
        ((1, (0, 0)), (2, (0, 1)), (2, (1, 0)))
        >>> [len(weak_orderings(n)) for n in range(6)]
        [1, 1, 3, 13, 75, 541]
    """
    found: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    for _ in range(count):
        longer = []
        for levels, ranks in found:
            longer.extend((levels, (*ranks, level)) for level in range(levels))
            for gap in range(levels + 1):  # or on a level of its own, above `gap` others
                longer.append((levels + 1, (*(rank + (rank >= gap) for rank in ranks), gap)))
        found = longer
    return tuple(sorted(found))


def _restricted(below: Sequence[int], part: int) -> tuple[int, ...]:
    """The relations among the elements of a bit mask alone."""
    kept = [i for i in range(len(below)) if part >> i & 1]
    return tuple(sum((below[i] >> j & 1) << place for place, j in enumerate(kept)) for i in kept)
