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

Of fresh data the values are cumulants over training sets, and what chance decides is only when the rows of tied parts
are met. With all parts in rows of their own choice, equal or not, the average over orders of Σ_rows Π_nodes M depends
on which nodes share an epoch, and which of these a batch:

    f = Σ_σ (N)_{|σ|} Π_epochs Π_batches (B)_{rows in it} / (N)_{rows in the epoch},                           (1)

σ the mergers of parts that have one row; 0 if a row is in two batches of an epoch. What multiplies the sum over all
times in which some nodes *at least* share their epochs and batches follows by inversion, c = f minus all finer c.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from typing import Any

from taylorsgd.diagrams.partitions import moebius, set_partitions
from taylorsgd.spacetime.base import BATCHES, FIELD, INVERSE_BATCH

__all__ = ["part_weights", "row_weights"]

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


@cache
def row_weights(parts: Blocks, rows: int | None) -> tuple[tuple[Blocks, Blocks, Any], ...]:
    """What multiplies a sum over the times of tied nodes of fresh data, in which some share epochs and batches.

    Args:
        parts: the nodes of every part that is tied.
        rows: N where it is a number, None for a symbol.

    Returns:
        Triples of a partition of the nodes by epochs, a finer one by batches, and c of (1) divided by a B for each
        node, an element of `FIELD`.

    Example:
        >>> for epochs, batches, weight in row_weights((("u", "v"),), None):
        ...     print(epochs, batches, weight)
        (('u',), ('v',)) (('u',), ('v',)) b/n
        (('u', 'v'),) (('u',), ('v',)) -b/n
        (('u', 'v'),) (('u', 'v'),) b
    """
    nodes = [node for part in parts for node in part]
    patterns = [
        (epochs, tuple(batch for batches in inside for batch in batches), inside)
        for epochs in sorted(set_partitions(nodes), key=lambda blocks: -len(blocks))
        for inside in sorted(
            product(*(list(set_partitions(epoch)) for epoch in epochs)), key=lambda inside: -sum(map(len, inside))
        )
    ]
    known: list[tuple[Blocks, Blocks, Any]] = []
    for epochs, batches, inside in patterns:
        weight = _met(parts, inside, rows)
        for finer_epochs, finer_batches, finer in known:
            if _refines(finer_epochs, epochs) and _refines(finer_batches, batches):
                weight = weight - finer
        known.append((epochs, batches, weight))
    share = FIELD(INVERSE_BATCH) ** len(nodes)
    return tuple((epochs, batches, weight * share) for epochs, batches, weight in known if weight)


def _met(parts: Blocks, inside: Sequence[Blocks], rows: int | None) -> Any:
    """The average f of (1), of nodes in exactly these batches of these epochs."""
    B = 1 / FIELD(INVERSE_BATCH)
    N = FIELD(BATCHES) * B if rows is None else FIELD(rows)
    total: Any = FIELD(0)
    for merged in set_partitions(range(len(parts))):
        row_of = {node: i for i, block in enumerate(merged) for part in block for node in parts[part]}
        held = [[{row_of[node] for node in batch} for batch in batches] for batches in inside]
        present = [[row for batch in batches for row in batch] for batches in held]
        if rows is not None and len(merged) > rows or any(len(set(each)) < len(each) for each in present):
            continue
        chance = _falling(N, len(merged))
        for batches, each in zip(held, present, strict=True):
            for batch in batches:
                chance = chance * _falling(B, len(batch))
            chance = chance / _falling(N, len(each))
        total = total + chance
    return total


def _refines(fine: Blocks, coarse: Blocks) -> bool:
    """Whether every block of one partition lies in one of the other."""
    return all(any(set(block) <= set(whole) for whole in coarse) for block in fine)


def _falling(x: Any, k: int) -> Any:
    result: Any = FIELD(1)
    for i in range(k):
        result = result * (x - i)
    return result
