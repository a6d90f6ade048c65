r"""SGD whose batches are drawn with replacement.

Every slot of every batch holds any of the N rows, independently. Nodes in one slot share its row; let κ be the
partition of the nodes into slots. A part needs one row, so slots that a part connects must have drawn alike:

    Z̄(π) = Σ_κ A(κ) N^{|π∨κ| − |κ|},        A(κ) = Σ_L C(T, |L|) Π_j (B)_{|L_j|},

with L the ordered set partitions of κ's blocks that are strict along edges. Of fixed data every slot is an
independent draw: then A(ρ) itself multiplies the empirical moments of the parts ρ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import product
from math import log10
from typing import Any

from attrs import field, frozen
from sympy import Expr, Integer
from sympy.polys.rings import PolyElement

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram
from taylorsgd.diagrams.partitions import components, set_partitions
from taylorsgd.spacetime.base import (
    INVERSE_ROWS,
    RING,
    Batches,
    ResummedPlacement,
    Spacetime,
    Way,
    fresh_or_fixed,
    placed_parts,
    size,
)
from taylorsgd.spacetime.shuffling import dealt, translated
from taylorsgd.timesums.events import sum_of_events

__all__ = ["Replacement"]


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

    def resummed_placements(self, diagram: Diagram) -> Iterable[ResummedPlacement] | None:
        """Of fixed data every slot is a point of the empirical distribution: as in one epoch, over T updates."""
        if self.data != "fixed":
            return super().resummed_placements(diagram)
        return (ResummedPlacement(*placement) for placement in placed_parts(diagram, frozenset()))

    def weight(self, diagram: Diagram) -> PolyElement:
        """Z̄(D) / B^|D| as an element of `RING`, with n for T."""
        total = RING.zero
        for slots, joins in self._slots(diagram):
            times = sum_of_events(diagram, slots)
            if times is not None:
                dealt_out = translated(dealt(times.lattice.below), diagram.order)
                total = total + dealt_out * INVERSE_ROWS**joins
        return total

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

    def _slots(self, diagram: Diagram) -> Iterator[tuple[tuple[tuple[int, ...], ...], int]]:
        """Yield the partitions of the nodes into slots, and how many slots must have drawn what others did."""
        if self.data == "fixed":
            yield diagram.inner_blocks, 0
            return
        place = {node: i for i, node in enumerate(diagram.inner_nodes)}
        for slots in set_partitions(diagram.inner_nodes):
            groups = (*slots, *diagram.inner_blocks)
            pairs = [(place[group[0]], place[node]) for group in groups for node in group[1:]]
            yield slots, len(slots) - len(set(components(len(place), pairs)))

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
