"""Stochastic gradient descent on N training points: epochs of batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from itertools import chain, permutations, product
from math import factorial, lgamma, log, prod
from typing import Any

from attrs import field, frozen
from sympy import Expr, Integer, cancel

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram
from taylorsgd.diagrams.partitions import components
from taylorsgd.spacetime.base import (
    BATCHES,
    EPOCHS,
    FIELD,
    INVERSE_BATCH,
    Batches,
    Count,
    Placement,
    ResummedPlacement,
    Spacetime,
    Way,
    by_tree,
    fresh_or_fixed,
    placed_nodes,
    placed_parts,
    row_ways,
    size,
)
from taylorsgd.spacetime.drawn_orders import Blocks, part_weights, row_weights
from taylorsgd.spacetime.epochs import epoch_count
from taylorsgd.spacetime.grid import Grid
from taylorsgd.spacetime.shuffling import fixed_count, reshuffled_count, shuffled_ways
from taylorsgd.timesums.cells import CellSum
from taylorsgd.timesums.events import ROOT, sum_of_events
from taylorsgd.timesums.order_sums import OrderSum
from taylorsgd.timesums.two_clocks import EpochSum

__all__ = ["SGD"]


@frozen(repr=False)
class SGD(Spacetime):
    """SGD on N training points in batches of B for E epochs.

    T = E·N/B updates θ ← θ − η·(1/B)·Σ_{n in batch} ∇l_n(θ), each training point once an epoch.

    Args:
        N: training points. None means the symbol; else an integer of at least 1 or a SymPy expression.
        B: batch size, a divisor of N. Likewise.
        E: epochs, at least 0. Likewise.
        shuffle: whether every epoch has an order of its own, drawn uniformly; else all have the same. It
            makes a difference from η⁴ on.
        data: "fresh" averages over training sets, N independent draws from the landscape. "fixed" averages
            over the order alone: the landscape is the training set, so that test loss and training loss are
            one, and cumulants are those of its N points. Needs `shuffle=True`.

    Raises:
        TypeError: if a size is neither an integer nor an expression, or `shuffle` no boolean.
        ValueError: if a size is impossible, B does not divide N, or fixed data are not shuffled.

    Example:
        >>> import taylorsgd as ts
        >>> ts.SGD(N=10, B=2, E=3).T
        15
        >>> ts.SGD(B=1).sizes["M"]
        E

    Source: Tenka, sections 1.2 and A.2.
    """

    N: Expr = field(default=None, converter=size("N", symbols.N, 1))
    B: Expr = field(default=None, converter=size("B", symbols.B, 1))
    E: Expr = field(default=None, converter=size("E", symbols.E, 0))
    shuffle: bool = False
    data: str = field(default="fresh", validator=fresh_or_fixed)

    def __attrs_post_init__(self) -> None:
        """Check what concerns several arguments."""
        if not isinstance(self.shuffle, bool):
            raise TypeError(f"shuffle={self.shuffle!r} must be True (a new order every epoch) or False")
        if self.data == "fixed" and not self.shuffle:
            raise ValueError(
                "data='fixed' averages over the order of the batches, and without shuffle=True there is only one; "
                "add shuffle=True, or take data='fresh'"
            )
        batches = self.batches
        if batches.is_number and not (batches.is_Integer and batches >= 1):
            raise ValueError(f"B={self.B} does not divide N={self.N}; batches must fill an epoch exactly")

    @property
    def batches(self) -> Expr:
        """The batches in an epoch, N/B."""
        return _quotient(self.N, self.B)

    @property
    def T(self) -> Expr:
        """The number of updates, E·N/B."""
        return self.E * self.batches

    @property
    def M(self) -> Expr:
        """The number of updates per training point, E/B."""
        return self.E / self.B

    @property
    def sizes(self) -> dict[str, Expr]:
        """N, B, E and the derived T = E·N/B and M = E/B."""
        return {"N": self.N, "B": self.B, "E": self.E, "T": self.T, "M": self.M}

    @property
    def tied_ancestors(self) -> bool:  # type: ignore[override]
        """In one epoch a training point is met once, so a node is never tied to its ancestor."""
        return self.E != 1 or self.data == "fixed"

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Reshuffling is a matter of chance; one epoch of fresh data is the same in any order."""
        return self.shuffle and (self.data == "fixed" or self.E != 1 and self.batches != 1)

    @property
    def clock(self) -> Any:  # type: ignore[override]
        """One epoch has N/B updates; in full batch every update is an epoch."""
        return BATCHES if self.E == 1 else EPOCHS

    @property
    def _rows(self) -> int | None:
        return int(self.N) if isinstance(self.N, Integer) else None

    def placements(self, diagram: Diagram, instant: frozenset[int] = frozenset()) -> Iterator[Placement] | None:
        """One epoch: the nodes of a part share their one cell. Full batch: every node has a time of its own."""
        if self.data == "fixed":
            return None
        if self.E == 1:
            return placed_parts(diagram, instant)
        return placed_nodes(diagram, instant) if self.batches == 1 else None

    def resummed_placements(
        self, diagram: Diagram, instant: frozenset[int] = frozenset()
    ) -> Iterable[ResummedPlacement] | None:
        """In several epochs of one order parts choose batches, and nodes epochs: a sum in closed form.

        Where the order is drawn, groups of nodes choose epochs: of fixed data parts are those of the order.
        """
        known = None if self.data == "fixed" else super().resummed_placements(diagram, instant)
        if known is not None:
            return known
        if self.data == "fixed":
            return self._drawn_placements(diagram, instant, diagram.inner_blocks)
        if self.random:
            return self._drawn_placements(diagram, instant, diagram.tied_blocks)
        part = {node: i for i, block in enumerate(diagram.inner_blocks) for node in block}
        targets, (parts,) = _numbered(diagram, instant, part)
        times = EpochSum(targets, self.batches, self.E, parts)
        return [ResummedPlacement(INVERSE_BATCH ** (diagram.order - len(diagram.inner_blocks)), times)]

    def correlated_placements(
        self, diagram: Diagram, instant: frozenset[int] = frozenset()
    ) -> Iterator[ResummedPlacement]:
        """Trees without a common part are correlated by the order: those of one run, less those of a run for each."""
        tied = diagram.tied_blocks
        yield from self._drawn_placements(diagram, instant, tied)
        for number, times in self._drawn_placements(diagram, instant, *by_tree(diagram, tied)):
            yield ResummedPlacement(-number, times)

    def _drawn_placements(
        self, diagram: Diagram, instant: frozenset[int], *runs: Blocks
    ) -> Iterator[ResummedPlacement]:
        """Groups of nodes are in one epoch, and events in one of its batches; of the parts in each of some runs."""
        laws = [law for parts in runs for law in self._laws(parts)]
        placed = {node for parts in runs for part in parts for node in part}
        alone = tuple((node,) for node in diagram.inner_nodes if node not in placed)
        for chosen in product(*laws):
            number = prod((weight for _, _, weight in chosen), start=FIELD(1))
            by_epochs, by_batches = (
                {node: i for i, block in enumerate(chain(alone, *blocks)) for node in block}
                for blocks in ((epochs for epochs, _, _ in chosen), (batches for _, batches, _ in chosen))
            )
            targets, (events, groups) = _numbered(diagram, instant, by_batches, by_epochs)
            yield ResummedPlacement(number, OrderSum(targets, self.batches, self.E, events, groups))

    def _laws(self, parts: Blocks) -> list[Iterable[tuple[Blocks, Blocks, Any]]]:
        """How parts may be met in a run: nodes by their epochs and by their batches, and weights."""
        if self.data == "fresh":
            return [row_weights(parts, self._rows)]
        return [[((part,), batches, weight) for batches, weight in part_weights(part, self._rows)] for part in parts]

    def weight(self, diagram: Diagram) -> Count:
        """Z(D) / B^|D|; in several epochs parts choose batches, and nodes epochs."""
        if self.data == "fixed":
            return fixed_count(diagram, self._rows)
        if self.E == 1 or self.batches == 1:
            return super().weight(diagram)
        if self.shuffle:
            return reshuffled_count(diagram, self._rows)
        return epoch_count(diagram) * INVERSE_BATCH ** (diagram.order - len(diagram.inner_blocks))

    def ways(self, diagram: Diagram, instant: frozenset[int] = frozenset()) -> Iterator[Way]:
        """In a fixed order rows are met every N/B updates; where it is drawn, with chances."""
        batches, epochs, width = int(self.batches), int(self.E), int(self.B)
        if self.random:
            return shuffled_ways(diagram, instant, batches, width, epochs, self.data == "fixed")
        if self.E == 1:  # the nodes of a part share their time: no need to go through its rows
            times = sum_of_events(diagram, diagram.inner_blocks, instant)
            number = Fraction(width ** len(diagram.inner_blocks))
            return iter([] if times is None else [Way(number, times, ((1,) * batches,) * times.events)])
        rows = {tuple(int(t % batches == b) for t in range(batches * epochs)): width for b in range(batches)}
        return row_ways(diagram, instant, rows if epochs else {(): int(self.N)}, width)

    def cell_sum(self, instant: frozenset[int] = frozenset()) -> CellSum | None:
        """The sum over the cells of this run; where the order is fixed, that of its grid."""
        sums = super().cell_sum(instant)
        return sums if sums is None or self.shuffle or self.E == 0 else CellSum(self.grid(), instant)

    def histories(self) -> Iterator[tuple[Fraction, Batches]]:
        """Batch after batch in the order of the rows, or of every epoch's own order."""
        batches, width = int(self.batches), int(self.B)
        count = width * batches

        def cut(order: tuple[int, ...]) -> Batches:
            return tuple(tuple(sorted(order[b * width : (b + 1) * width])) for b in range(batches))

        if not self.shuffle:
            yield Fraction(1), cut(tuple(range(count))) * int(self.E)
            return
        orders = Counter(map(cut, permutations(range(count))))
        for epochs in product(orders, repeat=int(self.E)):
            chance = Fraction(1)
            for epoch in epochs:
                chance *= Fraction(orders[epoch], factorial(count))
            yield chance, tuple(chain(*epochs))

    @property
    def log_histories(self) -> float:
        """The N! orders of every epoch."""
        return max(1, int(self.E)) * lgamma(int(self.N) + 1) / log(10) if self.shuffle else 0.0

    def draw(self, keys: Any) -> Any:
        """A uniform order of each epoch, cut into batches: equal keys give equal orders whatever the batch size is."""
        if not self.shuffle:
            return super().draw(keys)
        import jax

        count, epochs = int(self.N), int(self.E)

        def order(key: Any) -> Any:
            return jax.vmap(lambda key: jax.random.permutation(key, count))(jax.random.split(key, epochs))

        return jax.vmap(order)(keys).reshape(len(keys), int(self.T), int(self.B))

    def grid(self) -> Grid:
        """The same spacetime as an explicit grid of cells.

        Raises:
            ValueError: if a size is still a symbol, or there are no updates.

        Example:
            >>> import taylorsgd as ts
            >>> print(ts.SGD(N=4, B=2, E=2).grid())
            ■□■□
            ■□■□
            □■□■
            □■□■
        """
        if not all(isinstance(size, Integer) for size in (self.N, self.B, self.E)):
            raise ValueError(f"{self} has symbols for sizes; a grid needs integers")
        if self.shuffle:
            raise ValueError(f"{self} draws its order anew every epoch, and is no single grid")
        batch = [n // int(self.B) for n in range(int(self.N))]
        return Grid([[t % int(self.batches) == b for t in range(int(self.T))] for b in batch])


def _numbered(
    diagram: Diagram, instant: frozenset[int], *groupings: Mapping[int, int]
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """For every inner node the place of the node that its edge leads to, and the numbers of its groups.

    Nodes that instant edges join share what they are in, and other edges lead to the last of them; see `TwoClocks`.

    Args:
        diagram: the diagram.
        instant: nodes whose outgoing edges carry no time.
        *groupings: for every inner node the number of its group.
    """
    inner = diagram.inner_nodes
    place = {node: v for v, node in enumerate(inner)}
    last: dict[int, int] = {}
    for node in inner:  # parents come before their children
        last[node] = last[diagram.parents[node]] if node in instant else node
    ends = (node if node in instant else last.get(diagram.parents[node], ROOT) for node in inner)
    targets = tuple(place.get(end, ROOT) for end in ends)
    found = []
    for group in groupings:
        first: dict[int, int] = {}
        joined = [(v, place[last[node]]) for v, node in enumerate(inner)]
        joined += [(v, first.setdefault(group[node], v)) for v, node in enumerate(inner)]
        found.append(components(len(inner), joined))
    return targets, tuple(tuple(labels) for labels in found)


@lru_cache(maxsize=256)  # asked for again and again
def _quotient(N: Expr, B: Expr) -> Expr:
    return cancel(N / B)
