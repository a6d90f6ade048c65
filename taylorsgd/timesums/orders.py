"""Strict order polynomials: in how many ways can events be put in order?

Ω(P; m) counts the maps of a poset P to {1, …, m} that strictly preserve the order,

    Ω(P; m) = Σ_k s_k(P) · C(m, k),

with s_k the number of such maps *onto* a k-chain (Stanley, *Enumerative Combinatorics* I, section 3.15).
Such a map is a chain of down-sets ∅ = I_0 ⊂ I_1 ⊂ … ⊂ I_k = P in which every difference is an antichain, so
s_k is counted by walking the lattice of down-sets. (The plain way lists all weak orderings and keeps
those that respect P; it is what the tests compare with.) s_|P| counts linear extensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product

from taylorsgd.diagrams import Diagram

__all__ = ["levels_of_parts", "levels_of_tree", "split_surjections", "surjections", "weak_orderings"]


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
    full = (1 << len(below)) - 1
    layers: dict[int, list[int]] = {0: [1]}  # down-set -> number of chains that reach it, by length
    for ideal in sorted(_down_sets(below), key=int.bit_count):
        counts = layers.get(ideal)
        if counts is None:
            continue
        minimal = [i for i, mask in enumerate(below) if not ideal >> i & 1 and mask & ~ideal == 0]
        for chosen in range(1, 1 << len(minimal)):
            grown = ideal
            for position, element in enumerate(minimal):
                if chosen >> position & 1:
                    grown |= 1 << element
            target = layers.setdefault(grown, [0])
            target.extend([0] * (len(counts) + 1 - len(target)))
            for length, count in enumerate(counts):
                target[length + 1] += count
    if full not in layers:
        return None
    reached = layers[full]
    return tuple(reached + [0] * (len(below) + 1 - len(reached)))


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
    if surjections(below) is None:
        return counts
    for ideal in _down_sets(below):
        if early & ~ideal:
            continue
        before, after = (
            surjections(_restricted(below, part)) or () for part in (ideal, (1 << len(below)) - 1 & ~ideal)
        )
        for (j, first), (k, second) in product(enumerate(before), enumerate(after)):
            if first * second:
                counts[j, k] = counts.get((j, k), 0) + first * second
    return counts


def _restricted(below: Sequence[int], part: int) -> tuple[int, ...]:
    """The relations among the elements of a bit mask alone."""
    kept = [i for i in range(len(below)) if part >> i & 1]
    return tuple(sum((below[i] >> j & 1) << place for place, j in enumerate(kept)) for i in kept)


def levels_of_tree(diagram: Diagram) -> tuple[int, ...]:
    """Surjection counts for the order of the non-root nodes, children before parents."""
    nodes = [node for node, parent in enumerate(diagram.parents) if parent >= 0]
    names = {node: i for i, node in enumerate(nodes)}
    below = tuple(sum(1 << names[child] for child in diagram.children[node]) for node in nodes)
    counts = surjections(below)
    assert counts is not None, "a tree has no cycle"
    return counts


def levels_of_parts(diagram: Diagram) -> tuple[int, ...] | None:
    """Surjection counts when all nodes of a part share one time; None if that is impossible."""
    below = [0] * len(diagram.inner_blocks)
    names = {node: i for i, block in enumerate(diagram.inner_blocks) for node in block}
    for node, parent in enumerate(diagram.parents):
        if parent >= 0 and diagram.parents[parent] >= 0:
            if names[node] == names[parent]:
                return None
            below[names[parent]] |= 1 << names[node]
    return surjections(tuple(below))


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


def _down_sets(below: Sequence[int]) -> list[int]:
    found = {0}
    frontier = [0]
    while frontier:
        ideal = frontier.pop()
        for i, mask in enumerate(below):
            grown = ideal | 1 << i
            if grown != ideal and mask & ~ideal == 0 and grown not in found:
                found.add(grown)
                frontier.append(grown)
    return list(found)
