"""Full-batch gradient descent on N training points."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from attrs import field, frozen
from sympy import Expr

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram
from taylorsgd.spacetime.base import EPOCHS, Batches, Placement, Spacetime, Way, placed_nodes, row_ways, size

__all__ = ["GD"]


@frozen(repr=False)
class GD(Spacetime):
    """Full-batch gradient descent: T updates, each on all N training points.

    Args:
        N: training points. None means the symbol; else an integer of at least 1 or a SymPy expression.
        T: updates, at least 0. Likewise.

    Raises:
        TypeError: if a size is neither an integer nor an expression.
        ValueError: if a size is impossible.

    Example:
        >>> import taylorsgd as ts
        >>> ts.GD(T=5).sizes
        {'N': N, 'B': N, 'E': 5, 'T': 5, 'M': 5/N}
    """

    N: Expr = field(default=None, converter=size("N", symbols.N, 1))
    T: Expr = field(default=None, converter=size("T", symbols.T, 0))

    clock = EPOCHS

    @property
    def sizes(self) -> dict[str, Expr]:
        """N and T, and the derived B = N, E = T, M = T/N."""
        return {"N": self.N, "B": self.N, "E": self.T, "T": self.T, "M": self.T / self.N}

    def placements(self, diagram: Diagram, instant: frozenset[int] = frozenset()) -> Iterator[Placement]:
        """Every node chooses its own time, every part its row."""
        return placed_nodes(diagram, instant)

    def ways(self, diagram: Diagram, instant: frozenset[int] = frozenset()) -> Iterator[Way]:
        """All rows are met at every update."""
        return row_ways(diagram, instant, {(1,) * int(self.T): int(self.N)}, int(self.N))

    def histories(self) -> Iterator[tuple[Fraction, Batches]]:
        """All rows, T times."""
        yield Fraction(1), (tuple(range(int(self.N))),) * int(self.T)
