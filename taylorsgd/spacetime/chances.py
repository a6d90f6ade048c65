r"""Batches of chance under any update rule: sums over times one by one, for sizes that are numbers.

With M[n, t] how often row n is in batch t, the mean count of embeddings, each with the weight of its edges, is

    Z̄(π) = Σ_times w(times) Σ_{σ ≥ π} (N)_|σ| E Π_v M[σ(v), t_v],

σ merging parts into distinct rows. Where the data are fixed, what multiplies the empirical moments of the parts ρ is

    N^|ρ| Σ_{σ ≤ ρ} μ(σ, ρ) E Π_v M[σ(v), t_v],        μ(σ, ρ) = Π_{blocks of ρ} (−1)^{k−1} (k − 1)!

with k the blocks of σ inside. Without weights `shuffling` and `replacement` have closed forms of both; here the work
grows as T^|D|.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from math import factorial, perm, prod
from typing import Any

from sympy import Expr, Integer, Rational

from taylorsgd.diagrams import Diagram
from taylorsgd.diagrams.partitions import set_partitions
from taylorsgd.diagrams.symmetry import restricted_growth
from taylorsgd.spacetime.base import Spacetime
from taylorsgd.spacetime.replacement import Replacement
from taylorsgd.spacetime.sgd import SGD
from taylorsgd.updates.rules import Update

__all__ = ["counts_by_chance", "weighted_chance"]

Blocks = Sequence[tuple[int, ...]]


def counts_by_chance(spacetime: Spacetime) -> bool:
    """Whether batches are random and all sizes numbers."""
    known = isinstance(spacetime, (SGD, Replacement)) and spacetime.random
    return known and all(size.is_number for size in spacetime.sizes.values())


def weighted_chance(
    spacetime: Spacetime, diagram: Diagram, update: Update, ends: Sequence[int] | None = None
) -> Expr:
    """The mean weighted number of embeddings over B^|D|; of fixed data what multiplies the moments of the parts.

    Args:
        spacetime: SGD with shuffling or Replacement, with numbers for sizes.
        diagram: the diagram.
        update: what its edges carry.
        ends: the time at which each root sits; None for T.

    Example:
        >>> import taylorsgd as ts
        >>> fork, drawn = ts.Diagram((-1, 0, 0), (0, 1, 1)), ts.Replacement(N=3, B=2, T=4)
        >>> weighted_chance(drawn, fork, ts.Descent()) * 4 == drawn.embeddings(fork)
        True
    """
    size, batch, updates = (int(spacetime.sizes[name]) for name in ("N", "B", "T"))
    ends = [updates] * len(diagram.roots) if ends is None else list(ends)
    domain, between, into = update.edges(updates, ends)
    blocks = diagram.inner_blocks
    together = {
        False: between,
        True: [[domain.one * (s == t) for t in range(updates)] for s in range(updates)],
    }
    total: Expr = Integer(0)
    known: dict[Any, Expr] = {}
    for instant in update.instant_edges(diagram):
        weights: dict[Any, Any] = {}
        for times, weight in _times(diagram, instant, together, into, domain.one):
            pattern = _pattern(spacetime, [times[node] for block in blocks for node in block], size // batch)
            weights[pattern] = weights.get(pattern, domain.zero) + weight
            if pattern not in known:
                known[pattern] = _meetings(spacetime, blocks, times, size, batch)
        for pattern, weight in weights.items():
            total = total + update.instant ** len(instant) * domain.to_sympy(weight) * known[pattern]
    return total / Integer(batch) ** diagram.order


def _times(
    diagram: Diagram, instant: frozenset[int], together: dict[bool, Any], into: Any, one: Any
) -> Iterator[tuple[dict[int, int], Any]]:
    """Yield all times of the nodes with what the edges carry, where that is not 0; parents come before children."""
    inner = [node for node, parent in enumerate(diagram.parents) if parent >= 0]

    def extend(place: int, times: dict[int, int], weight: Any) -> Iterator[tuple[dict[int, int], Any]]:
        if place == len(inner):
            yield dict(times), weight
            return
        node = inner[place]
        parent = diagram.parents[node]
        for time in range(len(into[0])):
            carried = (
                together[node in instant][time][times[parent]]
                if parent in times
                else into[diagram.tree_of[node]][time]
            )
            if carried:
                times[node] = time
                yield from extend(place + 1, times, weight * carried)
                del times[node]

    yield from extend(0, {}, one)


def _pattern(spacetime: Spacetime, times: Sequence[int], batches: int) -> Any:
    """What the chances depend on: which nodes share an update, and with shuffling which an epoch."""
    epochs = [time // batches for time in times] if isinstance(spacetime, SGD) else []
    return restricted_growth(times), restricted_growth(epochs)


def _meetings(spacetime: Spacetime, blocks: Blocks, times: dict[int, int], size: int, batch: int) -> Expr:
    """The sum over rows of E Π M; of fixed data with the signs that turn distinct rows into any rows."""
    chance = _shuffled if isinstance(spacetime, SGD) else _drawn
    total: Expr = Integer(0)
    if spacetime.data == "fresh":
        for merger in set_partitions(tuple(range(len(blocks)))):
            rows = [tuple(node for i in group for node in blocks[i]) for group in merger]
            total = total + perm(size, len(rows)) * chance(rows, times, size, batch)
        return total
    for split in product(*(set_partitions(block) for block in blocks)):
        rows = [group for groups in split for group in groups]
        sign = prod((-1) ** (len(groups) - 1) * factorial(len(groups) - 1) for groups in split)
        total = total + sign * chance(rows, times, size, batch)
    return total * size ** len(blocks)


def _shuffled(rows: Blocks, times: dict[int, int], size: int, batch: int) -> Expr:
    """The chance that distinct rows are where their nodes are: in every epoch a row is in one batch."""
    epochs: dict[int, Counter[int]] = {}
    for row in rows:
        places = {times[node] for node in row}
        found = Counter(time // (size // batch) for time in places)
        if max(found.values()) > 1:
            return Integer(0)
        for time in places:
            epochs.setdefault(time // (size // batch), Counter())[time] += 1
    chance: Expr = Integer(1)
    for present in epochs.values():
        ways = prod(perm(batch, number) for number in present.values())
        among = perm(size, present.total())
        chance = chance * (Rational(ways, among) if among else 0)
    return chance


def _drawn(rows: Blocks, times: dict[int, int], size: int, batch: int) -> Expr:
    """E Π M where slots are independent: per update, nodes of one row choose slots, which then hold that row."""
    mean: Expr = Integer(1)
    for time in set(times.values()):
        present = [tuple(node for node in row if times[node] == time) for row in rows]
        moment: Expr = Integer(0)
        for split in product(*(set_partitions(nodes) for nodes in present if nodes)):
            slots = sum(map(len, split))
            moment = moment + Rational(perm(batch, slots), size**slots)
        mean = mean * moment
    return mean
