r"""The cumulants of an order that is drawn: what a part is of fixed data, resummed.

Of N fixed points an epoch meets each once, in batches of B: batch means fluctuate around the population's mean, and
those of one epoch are correlated, as they add up to it. Let a part be a set of nodes in one epoch, weighted by the
joint cumulant of sampling without replacement in its pattern of coincident batches; different epochs are independent,
and a single node carries the population's mean at every time, so that links sum to K. With n = N/B batches the
cumulants of two and three batch means are those of the population, κ₂ and κ₃ (moments over all N points), times

    aa: (n − 1)/(N − 1)        ab: −1/(N − 1)
    aaa: (n − 1)(n − 2)/((N − 1)(N − 2))        aab: −(n − 2)/((N − 1)(N − 2))        abc: 2/((N − 1)(N − 2)),

for batch means add up to zero over an epoch. Four and more also have products of lower cumulants.

(Cochran 1977, chapter 2, for two; each line but the first follows from that sum.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from taylorsgd.diagrams.partitions import moebius, set_partitions
from taylorsgd.spacetime.base import BATCHES, FIELD, INVERSE_BATCH

__all__ = ["part_weights"]

LARGEST = 3
"""The most nodes in a part whose weight is a multiple of the population's cumulant."""

Blocks = tuple[tuple[Any, ...], ...]


def part_weights(nodes: Sequence[Any], rows: int | None) -> Iterator[tuple[Blocks, Any]]:
    """What multiplies the population's cumulant of a part, by which of its nodes must share a batch.

    Args:
        nodes: the nodes of the part, which are in one epoch.
        rows: N where it is a number, None for a symbol.

    Yields:
        Pairs of a partition, whose blocks are in one batch each, be it the same or not, and an element of `FIELD`.

    Raises:
        NotImplementedError: for more than three nodes.

    Example:
        >>> for blocks, weight in part_weights("uv", None):
        ...     print(blocks, weight)
        (('u', 'v'),) n*b/(n - b)
        (('u',), ('v',)) -b/(n - b)
    """
    if len(nodes) > LARGEST:
        raise NotImplementedError(
            f"a part of {len(nodes)} nodes: resummed sums over orders of fixed data are there for parts of up to "
            f"{LARGEST}, as all are through order {LARGEST}"
        )
    for coarse in set_partitions(nodes):
        weight: Any = FIELD(0)
        for fine in set_partitions(nodes):
            cuts = [sum(set(block) <= set(whole) for block in fine) for whole in coarse]
            if sum(cuts) == len(fine):  # finer than, or the same
                weight = weight + _cumulant([len(block) for block in fine], rows) * moebius(cuts)
        yield coarse, weight


def _cumulant(batches: Sequence[int], rows: int | None) -> Any:
    """The weight of the nodes' joint cumulant when so many of them are in each of some batches."""
    if sum(batches) == 1:
        return FIELD(1)
    if rows is not None and rows < sum(batches):
        return FIELD(0)  # as the population's own cumulant is
    n, b = FIELD(BATCHES), FIELD(INVERSE_BATCH)
    count = len(batches)
    if sum(batches) == 2:
        return b * (n - 1 if count == 1 else FIELD(-1)) / (n - b)
    above = {1: (n - 1) * (n - 2), 2: 2 - n, 3: FIELD(2)}[count]
    return b**2 * above / ((n - b) * (n - 2 * b))
