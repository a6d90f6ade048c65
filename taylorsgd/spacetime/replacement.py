r"""SGD whose batches are drawn with replacement.

Every slot of every batch holds any of the N rows, independently. Nodes in one slot share its row; let κ be the
partition of the nodes into slots. A part needs one row, so slots that a part connects must have drawn alike:

    Z̄(π) = Σ_κ A(κ) N^{|π∨κ| − |κ|},        A(κ) = Σ_L C(T, |L|) Π_j (B)_{|L_j|},

with L the ordered set partitions of κ's blocks that are strict along edges. Of fixed data every slot is an
independent draw: then A(ρ) itself multiplies the empirical moments of the parts ρ.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Integer
from sympy.polys.rings import PolyElement

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram
from taylorsgd.diagrams.partitions import set_partitions
from taylorsgd.spacetime.base import RING, Size, Spacetime, check_data, size
from taylorsgd.spacetime.shuffling import dealt, translated

__all__ = ["Replacement"]


@dataclass(frozen=True, init=False, repr=False)
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
        T*(2*T - 1)/2 G_μ H^μ_ν G^ν + T*(T - 1)/(4*N) ∇_μ C^ν_ν G^μ + T*(N + T - 1)/(2*N) C_μν H^μν
    """

    N: Expr
    B: Expr
    T: Expr
    data: str
    random = True

    def __init__(self, N: Size = None, B: Size = None, T: Size = None, data: str = "fresh") -> None:
        """Check the sizes."""
        object.__setattr__(self, "N", size("N", N, symbols.N, 1))
        object.__setattr__(self, "B", size("B", B, symbols.B, 1))
        object.__setattr__(self, "T", size("T", T, symbols.T, 0))
        check_data(data)
        object.__setattr__(self, "data", data)

    @property
    def sizes(self) -> dict[str, Expr]:
        """N, B, T and the derived E = T·B/N and M = T/N, expected uses of a training point by its order."""
        return {
            "N": self.N,
            "B": self.B,
            "T": self.T,
            "E": self.T * self.B / self.N,
            "M": self.T / self.N,
        }

    def weight(self, diagram: Diagram) -> PolyElement:
        """Z̄(D) / B^|D| as an element of `RING`, with n for T."""
        inner = [node for node, parent in enumerate(diagram.parents) if parent >= 0]
        if self.data == "fixed":
            return self._slots(diagram, diagram.inner_blocks)
        total = RING.zero
        for slots in set_partitions(inner):
            count = self._slots(diagram, slots)
            if count:
                merged = _components(slots, diagram.inner_blocks)
                total = total + count * RING.gens[3] ** (len(slots) - merged)
        return total

    def _slots(self, diagram: Diagram, slots: tuple[tuple[int, ...], ...]) -> PolyElement:
        """A(κ) / B^|D|."""
        slot_of = {node: i for i, slot in enumerate(slots) for node in slot}
        below = [0] * len(slots)
        for node, slot in slot_of.items():
            parent = diagram.parents[node]
            if parent in slot_of:
                if slot_of[parent] == slot:
                    return RING.zero
                below[slot_of[parent]] |= 1 << slot
        return translated(dealt(tuple(below)), diagram.order)

    def _generators(self) -> tuple[Expr, Expr, Expr, Expr]:
        return self.T, Integer(1), 1 / self.B, 1 / self.N


def _components(slots: tuple[tuple[int, ...], ...], parts: tuple[tuple[int, ...], ...]) -> int:
    """The number of blocks of the join of two partitions."""
    groups: list[set[int]] = []
    for block in (*slots, *parts):
        joined = set(block).union(*(group for group in groups if not group.isdisjoint(block)))
        groups = [group for group in groups if group.isdisjoint(block)] + [joined]
    return len(groups)
