"""Counting embeddings into many epochs without shuffling.

In the epoch e every batch b comes once, and a training point is in the same batch each time: the cell
times are e·N/B + b, ordered lexicographically by (e, b). So a part chooses a batch (and one of B rows in
it), and every node chooses an epoch. Along an edge from v up to w, with β the batch of a node's part,

    e_v ≤ e_w  if β_v < β_w,        e_v < e_w  otherwise.

Only the relative order of the batches matters. For each weak ordering of the parts onto k levels there
are C(n, k) choices of batches, n = N/B; the epochs are then counted by a sum over the tree, leaf to root.
The sum is done on integers: its values at E = 0, …, d are summed up, and forward differences turn them
into a polynomial in the binomials C(E, j) (Newton).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from sympy.polys.rings import PolyElement

from taylorsgd.diagrams import Diagram
from taylorsgd.spacetime.base import BATCHES, EPOCHS, RING, binomial_polynomial
from taylorsgd.timesums.orders import weak_orderings

__all__ = ["epoch_count"]


@lru_cache(maxsize=1 << 14)
def epoch_count(diagram: Diagram) -> PolyElement:
    """Z(D) / B^#parts as a polynomial in n = N/B and e = E.

    Args:
        diagram: any diagram; roots' own ties are not counted here.

    Returns:
        An element of `RING` in the generators n and e.
    """
    parents = diagram.parents
    part_of = {node: i for i, block in enumerate(diagram.inner_blocks) for node in block}
    edges = [(node, parent) for node, parent in enumerate(parents) if parent >= 0 and parents[parent] >= 0]
    # How many weak orderings of k levels make which edges weak?
    patterns: Counter[tuple[int, int]] = Counter()
    for levels, ranks in weak_orderings(len(diagram.inner_blocks)):
        weak = 0
        for child, parent in edges:
            if ranks[part_of[child]] < ranks[part_of[parent]]:
                weak |= 1 << child
        patterns[levels, weak] += 1
    total = RING.zero
    for (levels, weak), number in patterns.items():
        batches = binomial_polynomial(BATCHES, levels) * number
        for j, difference in enumerate(_epoch_differences(parents, weak)):
            if difference:
                total = total + batches * binomial_polynomial(EPOCHS, j) * difference
    return total


@lru_cache(maxsize=1 << 16)
def _epoch_differences(parents: tuple[int, ...], weak: int) -> tuple[int, ...]:
    """Forward differences at 0 of the number of epoch assignments as a function of E."""
    order = sum(parent >= 0 for parent in parents)
    # inside[v][x]: ways to choose the epochs below v when v itself is in epoch x
    inside = [[1] * order for _ in parents]
    totals = [1] * (order + 1)
    for node in range(len(parents) - 1, -1, -1):
        parent = parents[node]
        if parent < 0:
            continue
        sums = [0, *accumulate(inside[node])]  # sums[x]: node in one of the first x epochs
        if parents[parent] < 0:
            totals = [total * ways for total, ways in zip(totals, sums, strict=True)]
        else:
            shift = weak >> node & 1
            inside[parent] = [ways * sums[x + shift] for x, ways in enumerate(inside[parent])]
    return _forward_differences(totals)


def _forward_differences(values: Sequence[int]) -> tuple[int, ...]:
    differences = []
    row = list(values)
    while row:
        differences.append(row[0])
        row = [right - left for left, right in zip(row, row[1:], strict=False)]
    return tuple(differences)
