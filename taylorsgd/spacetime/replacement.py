r"""SGD whose batches are drawn with replacement.

Every slot of every batch holds any of the N rows, independently. Nodes in one slot share its row; let κ be the
partition of the nodes into slots. A part needs one row, so slots that a part connects must have drawn alike:

    Z̄(π) = Σ_κ A(κ) N^{|π∨κ| − |κ|},        A(κ) = Σ over distinct slots of κ's blocks, later along edges.     (1)

A node that is alone meets any of the rows, B of them in every update whatever was drawn; so only nodes of tied parts
are in κ. Slots that need not be distinct are independent, and make a sum over times; from those, with ρ ≥ κ,

    Z̄(π) = Σ_ρ c(ρ) Σ_times B^{|ρ|},            c(ρ) = Σ_{κ ≤ ρ} μ(κ, ρ) N^{|π∨κ| − |κ|}.                      (2)

Of fixed data every slot is an independent draw: then A(π) itself multiplies the empirical moments of the parts π,
and c(ρ) = μ(π, ρ).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from itertools import product
from math import log10, prod
from typing import Any

from attrs import field, frozen
from sympy import Expr, Integer
from sympy.polys.rings import PolyElement

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram
from taylorsgd.diagrams.partitions import components, moebius, set_partitions
from taylorsgd.spacetime.base import (
    INVERSE_BATCH,
    INVERSE_ROWS,
    RING,
    Batches,
    Placement,
    ResummedPlacement,
    Spacetime,
    Way,
    by_tree,
    fresh_or_fixed,
    placed_parts,
    size,
)
from taylorsgd.timesums.events import sum_of_events

__all__ = ["Replacement"]

Slots = tuple[tuple[int, ...], ...]
"""Nodes by the slot that they share."""


@frozen(repr=False)
class Replacement(Spacetime):
    """SGD on N training points, every batch of B drawn from them independently and with replacement.

    T updates θ ← θ − η·(1/B)·Σ_{j ≤ B} ∇l_{n_j}(θ), with all n_j independent and uniform.

    Args:
        N: training points. None means the symbol; else an integer of at least 1 or a SymPy expression.
        B: batch size, at least 1. Likewise.
        T: updates, at least 0. Likewise.
        data: "fresh" averages over training sets too; "fixed" over the batches alone, with the landscape as
            the training set (see `SGD`).

    Raises:
        TypeError: if a size is neither an integer nor an expression.
        ValueError: if a size is impossible.

    Example:
        >>> import taylorsgd as ts
        >>> print(ts.derive(ts.TestLoss(), ts.Replacement(B=1), order=2)[2])
        T*(2*T - 1)/2 G_μ H^μ_ν G^ν + T*(T - 1)/(4*N) (∇_μ C^ν_ν) G^μ + T*(N + T - 1)/(2*N) C_μν H^μν
    """

    N: Expr = field(default=None, converter=size("N", symbols.N, 1))
    B: Expr = field(default=None, converter=size("B", symbols.B, 1))
    T: Expr = field(default=None, converter=size("T", symbols.T, 0))
    data: str = field(default="fresh", validator=fresh_or_fixed)

    random = True

    @property
    def sizes(self) -> dict[str, Expr]:
        """N, B, T and the derived E = T·B/N and M = T/N, expected uses of a training point by its order."""
        return {"N": self.N, "B": self.B, "T": self.T, "E": self.T * self.B / self.N, "M": self.T / self.N}

    def placements(self, diagram: Diagram, instant: frozenset[int] = frozenset()) -> Iterator[Placement]:
        """Nodes that may share a slot make an event; see (2)."""
        return _placed(diagram, self._shared_slots(diagram), instant)

    def resummed_placements(
        self, diagram: Diagram, instant: frozenset[int] = frozenset()
    ) -> Iterable[ResummedPlacement]:
        """Of fixed data every slot is a point of the empirical distribution: as in one epoch, over T updates."""
        placed = self.placements(diagram, instant) if self.data == "fresh" else placed_parts(diagram, instant)
        return (ResummedPlacement(*placement) for placement in placed)

    def correlated_placements(
        self, diagram: Diagram, instant: frozenset[int] = frozenset()
    ) -> Iterator[ResummedPlacement]:
        """Trees without a common part are correlated by the rows that were drawn, if both have tied nodes."""
        trees = by_tree(diagram, diagram.tied_blocks)
        for together in self.placements(diagram, instant):
            yield ResummedPlacement(*together)
        for chosen in product(*map(_weights_of_slots, trees)):
            slots = tuple(slot for some, _ in chosen for slot in some)
            number = prod((weight for _, weight in chosen), start=-RING.one)
            for each in _placed(diagram, [(slots, number)], instant):
                yield ResummedPlacement(*each)

    def _shared_slots(self, diagram: Diagram) -> Iterable[tuple[Slots, PolyElement]]:
        """The partitions ρ of (2), and c(ρ)."""
        if self.data == "fresh":
            return _weights_of_slots(diagram.tied_blocks)
        merged = set_partitions(diagram.inner_blocks)
        return (
            (tuple(tuple(node for part in parts for node in part) for parts in blocks), RING(moebius(map(len, blocks))))
            for blocks in merged
        )

    def ways(self, diagram: Diagram, instant: frozenset[int] = frozenset()) -> Iterator[Way]:
        """The nodes of a slot share their event."""
        for slots, joins in self._slots(diagram):
            times = sum_of_events(diagram, slots, instant)
            if times is None:
                continue
            taken = [0] * times.events
            place = {node: i for i, node in enumerate(diagram.inner_nodes)}
            for slot in slots:
                taken[times.edges[place[slot[0]]][0]] += 1
            cells = ((1,) * int(self.T),) * times.events
            yield Way(Fraction(1, int(self.N) ** joins), times, cells, int(self.B), tuple(taken))

    def _slots(self, diagram: Diagram) -> Iterator[tuple[Slots, int]]:
        """Yield the partitions of the nodes into slots, and how many slots must have drawn what others did."""
        if self.data == "fixed":
            yield diagram.inner_blocks, 0
            return
        for slots in set_partitions(diagram.inner_nodes):
            yield slots, _joins((*slots, *diagram.inner_blocks), len(slots))

    def histories(self) -> Iterator[tuple[Fraction, Batches]]:
        """Any rows in any slots."""
        rows, width, updates = int(self.N), int(self.B), int(self.T)
        for drawn in product(product(range(rows), repeat=width), repeat=updates):
            yield Fraction(1, rows ** (width * updates)), drawn

    @property
    def log_histories(self) -> float:
        """N^(B T) of them."""
        return int(self.B) * int(self.T) * log10(int(self.N))

    def draw(self, keys: Any) -> Any:
        """Any rows, in a line that is cut into batches."""
        import jax

        shape = (int(self.T), int(self.B))
        return jax.vmap(lambda key: jax.random.randint(key, shape, 0, int(self.N)))(keys)

    def _generators(self) -> tuple[Expr, Expr, Expr, Expr]:
        return self.T, Integer(1), 1 / self.B, 1 / self.N


def _placed(
    diagram: Diagram, weighed: Iterable[tuple[Slots, PolyElement]], instant: frozenset[int]
) -> Iterator[Placement]:
    """The nodes of a slot make an event."""
    for slots, number in weighed:
        times = sum_of_events(diagram, slots, instant)
        if times is not None and number:
            yield Placement(number * INVERSE_BATCH ** (sum(map(len, slots)) - len(slots)), times)


@cache
def _weights_of_slots(parts: Slots) -> tuple[tuple[Slots, PolyElement], ...]:
    """The partitions ρ of the nodes of some parts, and c(ρ) of (2), a polynomial in 1/N."""
    nodes = [node for part in parts for node in part]
    found = []
    for coarse in set_partitions(nodes):
        number = RING.zero
        for inside in product(*(list(set_partitions(block)) for block in coarse)):
            fine = [slot for slots in inside for slot in slots]
            number = number + INVERSE_ROWS ** _joins((*fine, *parts), len(fine)) * moebius(map(len, inside))
        found.append((coarse, number))
    return tuple(found)


def _joins(groups: Iterable[tuple[int, ...]], slots: int) -> int:
    """How many of some slots must have drawn what others did, where nodes of a group have one row."""
    held = [*groups]
    nodes = sorted({node for group in held for node in group})
    pairs = [(nodes.index(group[0]), nodes.index(node)) for group in held for node in group[1:]]
    return slots - len(set(components(len(nodes), pairs)))
