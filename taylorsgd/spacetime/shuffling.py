r"""Counting embeddings into epochs that are reshuffled, averaged over all orders.

Every epoch e deals the N rows into n = N/B batches anew. Let the nodes choose epochs, weakly increasing to the
root; E epochs offer C(E, m) choices of the m that are used. What a part has in one epoch is a block: its nodes
there sit in one cell, so a block that holds an edge, or a cycle of blocks, has no embeddings. With distinct
rows in the k blocks of an epoch, the average over its order is

    W = 1/(N)_k · Σ_L C(n, |L|) Π_j (B)_{|L_j|},       L: ordered set partitions of the blocks, strict along edges,

and parts may share rows, as σ ≥ π says:

    Z̄(π) = Σ_{σ ≥ π} (N)_{|σ|} P(σ),        P(σ) = Σ_epochs C(E, m) Π_epochs W(σ).                       (1)

Fast form. A block without an edge inside its epoch is free, and drops out of W. If then the graph of parts and
epochs is a forest, every epoch averages over rows on its own, where order does not matter: the term is

    C(E, m) N^#parts Π_i (B/N)^{k_i} Ω(P_i; n),                                                        (2)

as if nothing were shuffled. Only cycles (two parts that meet in two epochs) need the sum over σ, and they
need four nodes: shuffling matters from η⁴ on.

Of fixed data only the order is random, and values are empirical moments m̂(ρ) of the N rows. A sum over distinct
rows is Σ_{ρ ≥ σ} μ(σ, ρ) N^{|ρ|} m̂(ρ), so what multiplies m̂(ρ) is

    N^{|ρ|} Σ_{σ ≤ ρ} μ(σ, ρ) P(σ),         μ(σ, ρ) = Π_{blocks of ρ} (−1)^{k−1} (k−1)!,                    (3)

with k the number of blocks of σ inside a block of ρ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache, lru_cache
from itertools import combinations, product
from math import perm, prod
from typing import Any

from sympy import QQ
from sympy.polys.fields import FracElement
from sympy.polys.rings import PolyElement, ring

from taylorsgd.diagrams import Diagram
from taylorsgd.diagrams.partitions import components, moebius, set_partitions
from taylorsgd.spacetime.base import BATCHES, EPOCHS, FIELD, INVERSE_BATCH, RING, Way, binomial_polynomial
from taylorsgd.timesums.events import sum_of_events
from taylorsgd.timesums.orders import compositions, surjections, weak_orderings

__all__ = ["fixed_count", "reshuffled_count", "shuffled_ways"]

_OWN, _n, _e, _B = ring("n,e,B", QQ)


@lru_cache(maxsize=1 << 12)
def reshuffled_count(diagram: Diagram, rows: int | None) -> PolyElement | FracElement:
    """Z̄(D) / B^|D|, the average over independent orders of every epoch.

    Args:
        diagram: any diagram; roots' own ties are not counted here.
        rows: N where it is a number, None for a symbol.

    Returns:
        An element of `RING`, or of its field where N is a symbol and (1) needs a quotient.
    """
    order, parts = diagram.order, [tuple(block) for block in diagram.inner_blocks]
    plain, cyclic = RING.zero, []
    for used, epochs in _epoch_assignments(diagram.parents):
        blocks = _blocks(diagram.parents, parts, used, epochs)
        if blocks is None:
            continue
        kept = [_with_edges(present, below) for present, below in blocks]
        if _is_forest(len(parts), [present for present, _ in kept]):
            plain = plain + _independent(len(parts), order, used, kept)
        else:
            cyclic.append(epochs)
    if not cyclic:
        return plain
    chosen = set(cyclic)
    total = _Quotients(rows)
    for merged in _coarsenings(parts):
        total.add(diagram.parents, merged, len(merged), 1, chosen)
    return total.element(order) + plain


@lru_cache(maxsize=1 << 12)
def fixed_count(diagram: Diagram, rows: int | None) -> PolyElement | FracElement:
    """What multiplies the empirical moments of the parts, divided by B^|D|; see (3).

    Args:
        diagram: any diagram whose roots are alone.
        rows: N where it is a number, None for a symbol.
    """
    parts = [tuple(block) for block in diagram.inner_blocks]
    total = _Quotients(rows)
    for refined in product(*(list(set_partitions(part)) for part in parts)):
        sign = moebius(map(len, refined))
        total.add(diagram.parents, [block for inside in refined for block in inside], 0, sign, None)
    number: PolyElement | FracElement
    if rows is None:
        number = FIELD(BATCHES) / FIELD(INVERSE_BATCH)  # N
    else:
        number = RING(rows)
    return total.element(diagram.order) * number ** len(parts)


class _Quotients:
    """A sum of polynomials over products of falling factorials of N, kept apart by denominator."""

    def __init__(self, rows: int | None) -> None:
        self.rows = rows
        self.numerators: dict[tuple[int, ...], Any] = {}

    def add(
        self,
        parents: Sequence[int],
        blocks: Sequence[tuple[int, ...]],
        falling: int,
        weight: int,
        only: set[tuple[int, ...]] | None,
    ) -> None:
        """Add weight · (N)_falling · P(σ), over all epochs or only some."""
        if self.rows is not None and len(blocks) > self.rows:
            return  # there are not so many distinct rows
        for used, epochs in _epoch_assignments(tuple(parents)):
            if only is not None and epochs not in only:
                continue
            present = _blocks(parents, blocks, used, epochs)
            if present is None:
                continue
            numerator = _binomial(_e, used) * weight * self._falling(falling)
            for names, below in present:
                numerator = numerator * _dealt(_renamed(names, below))
            sizes = tuple(sorted(len(names) for names, _ in present))
            if self.rows is not None:
                numerator = numerator * QQ(1, prod(perm(self.rows, k) for k in sizes))
                sizes = ()
            self.numerators[sizes] = self.numerators.get(sizes, _OWN.zero) + numerator

    def element(self, order: int) -> PolyElement | FracElement:
        """The sum divided by B^order, in the generators of `RING`."""
        if self.rows is not None:
            return _translated(self.numerators.get((), _OWN.zero), order)
        total: Any = FIELD(0)
        for sizes, numerator in self.numerators.items():
            denominator: Any = prod((self._falling(k) for k in sizes), start=_OWN.one)
            # Both are polynomials in B = 1/b: the same power of b makes them polynomials in b.
            power = max(_degree(numerator), _degree(denominator))
            quotient = FIELD(_translated(numerator, power)) / FIELD(_translated(denominator, power))
            total = total + quotient * FIELD(INVERSE_BATCH**order)
        return total

    def _falling(self, k: int) -> PolyElement:
        if self.rows is not None:
            return _OWN(perm(self.rows, k))
        falling: Any = prod((_n * _B - i for i in range(k)), start=_OWN.one)
        return falling


def _independent(
    parts: int, order: int, used: int, epochs: list[tuple[tuple[int, ...], tuple[int, ...]]]
) -> PolyElement:
    """The term (2) divided by B^order, in n, e and b."""
    count = RING.one
    shared = 0
    for present, below in epochs:
        levels = surjections(_renamed(present, below))
        if levels is None:
            return RING.zero
        count = count * sum((binomial_polynomial(BATCHES, k) * s for k, s in enumerate(levels)), RING.zero)
        shared += len(present)
    # N^#parts (B/N)^shared = n^(#parts − shared) B^#parts; every Ω holds a factor n, so nothing is divided by n.
    count = (count * BATCHES**parts).exquo(BATCHES**shared)
    return binomial_polynomial(EPOCHS, used) * count * INVERSE_BATCH ** (order - parts)


@cache
def _epoch_assignments(parents: tuple[int, ...]) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """All ways to send the non-root nodes onto epochs 0 … m − 1, weakly increasing to the root."""
    inner = [node for node, parent in enumerate(parents) if parent >= 0]
    found = []
    for used, ranks in weak_orderings(len(inner)):
        epoch = dict(zip(inner, ranks, strict=True))
        if all(epoch[node] <= epoch.get(parents[node], used) for node in inner):
            found.append((used, tuple(epoch.get(node, -1) for node in range(len(parents)))))
    return tuple(found)


def _blocks(
    parents: Sequence[int], parts: Sequence[tuple[int, ...]], used: int, epochs: Sequence[int]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]] | None:
    """For every epoch the parts present, and which must come strictly before which; None if a block has an edge."""
    part_of = {node: i for i, part in enumerate(parts) for node in part}
    below: list[dict[int, int]] = [{} for _ in range(used)]
    for node, part in part_of.items():
        below[epochs[node]].setdefault(part, 0)
    for node, part in part_of.items():
        parent = parents[node]
        if parent in part_of and epochs[parent] == epochs[node]:
            if part_of[parent] == part:
                return None
            below[epochs[node]][part_of[parent]] |= 1 << part
    return [(tuple(found), tuple(found.values())) for found in below]


def _with_edges(present: tuple[int, ...], below: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The blocks of an epoch that an edge inside the epoch begins or ends in."""
    ends = 0
    for part, mask in zip(present, below, strict=True):
        ends |= mask | (1 << part if mask else 0)
    kept = [(part, mask) for part, mask in zip(present, below, strict=True) if ends >> part & 1]
    return tuple(part for part, _ in kept), tuple(mask for _, mask in kept)


def _renamed(present: Sequence[int], below: Sequence[int]) -> tuple[int, ...]:
    """The masks in terms of positions in the epoch."""
    return tuple(sum((mask >> part & 1) << i for i, part in enumerate(present)) for mask in below)


def _is_forest(parts: int, epochs: Sequence[tuple[int, ...]]) -> bool:
    """Whether the bipartite graph of parts and epochs has no cycle: as many components as nodes less edges."""
    pairs = [(part, parts + i) for i, present in enumerate(epochs) for part in present]
    nodes = parts + len(epochs)
    return len(set(components(nodes, pairs))) == nodes - len(pairs)


@cache
def _dealt(below: tuple[int, ...]) -> PolyElement:
    """Σ_L C(n, |L|) Π_j (B)_{|L_j|}: the ways to deal distinct things into n times of B slots, in strict order.

    Args:
        below: for every thing, a bit mask of those that must come strictly earlier.

    Returns:
        A polynomial in n, e and B; see `_translated`. Zero if the relations have a cycle.
    """
    patterns: Counter[tuple[int, ...]] = Counter()
    for levels, number in compositions(below, (1,) * len(below)).items():
        patterns[tuple(sorted(levels))] += number
    total = _OWN.zero
    for sizes, number in patterns.items():
        batches = prod((_B - i for size in sizes for i in range(size)), start=_OWN.one)
        total = total + _binomial(_n, len(sizes)) * batches * number
    return total


def _binomial(x: PolyElement, k: int) -> PolyElement:
    binomial: Any = prod(((x - i) * QQ(1, i + 1) for i in range(k)), start=_OWN.one)
    return binomial


def _translated(polynomial: PolyElement, power: int) -> PolyElement:
    """b^power times a polynomial in n, e, B, as a polynomial in n, e, b = 1/B."""
    return RING.from_dict({(i, j, power - k, 0): c for (i, j, k), c in polynomial.terms()})


def _degree(polynomial: PolyElement) -> int:
    return max((k for _, _, k in polynomial.monoms()), default=0)


def shuffled_ways(
    diagram: Diagram, instant: frozenset[int], batches: int, width: int, epochs: int, fixed: bool
) -> Iterator[Way]:
    """Yield the ways to place a diagram in epochs of numbers: distinct rows, and in each epoch one cell for a row.

    Args:
        diagram: the diagram.
        instant: nodes whose outgoing edges carry no time.
        batches: n = N/B.
        width: B.
        epochs: E.
        fixed: whether values are empirical moments, see (3).
    """
    rows, updates = batches * width, batches * epochs
    parts = list(diagram.inner_blocks)
    if fixed:
        choices = product(*(list(set_partitions(part)) for part in parts))
        merged = [
            ([block for inside in refined for block in inside], moebius(map(len, refined)) * rows ** len(parts))
            for refined in choices
        ]
    else:
        merged = [(blocks, perm(rows, len(blocks))) for blocks in _coarsenings(parts)]
    place = {node: i for i, node in enumerate(diagram.inner_nodes)}
    for (blocks, weight), (used, ranks) in product(merged, _epoch_assignments(diagram.parents)):
        if any(ranks[node] != ranks[diagram.parents[node]] for node in instant) or not weight:
            continue
        groups: dict[tuple[int, int], list[int]] = {}  # the nodes of a row in an epoch
        for i, block in enumerate(blocks):
            for node in block:
                groups.setdefault((i, ranks[node]), []).append(node)
        times = sum_of_events(diagram, groups.values(), instant)
        if times is None:
            continue
        taken, epoch_of = [0] * times.events, [0] * times.events
        for (_, rank), nodes in groups.items():
            event = times.edges[place[nodes[0]]][0]
            taken[event] += 1
            epoch_of[event] = rank
        present = Counter(rank for _, rank in groups)
        if any(number > rows for number in present.values()):
            continue
        count = Fraction(weight, prod(perm(rows, number) for number in present.values()))
        for chosen in combinations(range(epochs), used):
            cells = tuple(tuple(int(t // batches == chosen[rank]) for t in range(updates)) for rank in epoch_of)
            yield Way(count, times, cells, width, tuple(taken))


def _coarsenings(parts: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """All mergers of parts."""
    for grouping in set_partitions(tuple(range(len(parts)))):
        yield [tuple(node for i in group for node in parts[i]) for group in grouping]
