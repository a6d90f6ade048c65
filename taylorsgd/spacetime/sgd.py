"""Stochastic and full-batch gradient descent on N training points."""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Integer, cancel
from sympy.polys.rings import PolyElement

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram
from taylorsgd.spacetime.base import (
    RESUMMED,
    RING,
    Count,
    Size,
    Spacetime,
    Times,
    binomial_polynomial,
    check_data,
    inverse_batch,
    size,
)
from taylorsgd.spacetime.epochs import epoch_count
from taylorsgd.spacetime.grid import Grid
from taylorsgd.spacetime.shuffling import fixed_count, reshuffled_count
from taylorsgd.timesums.events import times_of_nodes, times_of_parts
from taylorsgd.timesums.orders import levels_of_parts, levels_of_tree

__all__ = ["GD", "SGD"]


@dataclass(frozen=True, init=False, repr=False)
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

    N: Expr
    B: Expr
    E: Expr
    shuffle: bool
    data: str

    def __init__(
        self,
        N: Size = None,
        B: Size = None,
        E: Size = None,
        shuffle: bool = False,
        data: str = "fresh",
    ) -> None:
        """Check the sizes."""
        if not isinstance(shuffle, bool):
            raise TypeError(f"shuffle={shuffle!r} must be True (a new order every epoch) or False")
        check_data(data)
        if data == "fixed" and not shuffle:
            raise ValueError(
                "data='fixed' averages over the order of the batches, and without shuffle=True there is only one; "
                "add shuffle=True, or take data='fresh'"
            )
        object.__setattr__(self, "shuffle", shuffle)
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "N", size("N", N, symbols.N, 1))
        object.__setattr__(self, "B", size("B", B, symbols.B, 1))
        object.__setattr__(self, "E", size("E", E, symbols.E, 0))
        batches = self.batches
        if batches.is_number and not (batches.is_Integer and batches >= 1):
            raise ValueError(f"B={self.B} does not divide N={self.N}; batches must fill an epoch exactly")

    @property
    def batches(self) -> Expr:
        """The batches in an epoch, N/B."""
        return cancel(self.N / self.B)

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
    def _rows(self) -> int | None:
        return int(self.N) if isinstance(self.N, Integer) else None

    def weight(self, diagram: Diagram) -> Count:
        """Z(D) / B^|D| as an element of `RING` or its field."""
        parts = len(diagram.inner_blocks)
        if self.data == "fixed":
            return fixed_count(diagram, self._rows)
        if self.E == 1:
            levels = levels_of_parts(diagram)
            if levels is None:
                return RING.zero
            count = sum((binomial_polynomial(0, k) * s for k, s in enumerate(levels)), RING.zero)
        elif self.batches == 1:
            count = sum(
                (binomial_polynomial(1, k) * s for k, s in enumerate(levels_of_tree(diagram))), RING.zero
            )
        elif self.shuffle:
            return reshuffled_count(diagram, self._rows)
        else:
            count = epoch_count(diagram)
        return count * inverse_batch(diagram.order - parts)

    def times(self, diagram: Diagram, continuous: bool) -> tuple[PolyElement, Times]:
        """One epoch sums over the parts' times; several epochs of concrete sizes, cell by cell."""
        if self.data == "fixed" or self.shuffle and self.E != 1 and self.batches != 1:
            raise NotImplementedError(f"{self} has no resummation; supported are {RESUMMED}")
        if self.E == 1:
            return inverse_batch(diagram.order - len(diagram.inner_blocks)), times_of_parts(diagram)
        if self.batches == 1:
            return inverse_batch(diagram.order - len(diagram.inner_blocks)), times_of_nodes(diagram)
        if continuous or not all(isinstance(size, Integer) for size in (self.N, self.B, self.E)):
            kind = "continuous" if continuous else "discrete"
            raise NotImplementedError(f"{self} has no {kind} resummation; supported are {RESUMMED}")
        return self.grid().times(diagram, continuous)

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

    def _generators(self) -> tuple[Expr, Expr, Expr, Expr]:
        return self.batches, self.E, 1 / self.B, 1 / self.N


@dataclass(frozen=True, init=False, repr=False)
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

    N: Expr
    T: Expr

    def __init__(self, N: Size = None, T: Size = None) -> None:
        """Check the sizes."""
        object.__setattr__(self, "N", size("N", N, symbols.N, 1))
        object.__setattr__(self, "T", size("T", T, symbols.T, 0))

    @property
    def sizes(self) -> dict[str, Expr]:
        """N and T, and the derived B = N, E = T, M = T/N."""
        return {"N": self.N, "B": self.N, "E": self.T, "T": self.T, "M": self.T / self.N}

    def weight(self, diagram: Diagram) -> PolyElement:
        """Z(D) / N^|D| as an element of `RING`."""
        count = sum((binomial_polynomial(1, k) * s for k, s in enumerate(levels_of_tree(diagram))), RING.zero)
        return count * inverse_batch(diagram.order - len(diagram.inner_blocks))

    def times(self, diagram: Diagram, continuous: bool) -> tuple[PolyElement, Times]:
        """Every node chooses its own time, every part its row."""
        return inverse_batch(diagram.order - len(diagram.inner_blocks)), times_of_nodes(diagram)

    def _generators(self) -> tuple[Expr, Expr, Expr, Expr]:
        return Integer(1), self.T, 1 / self.N, 1 / self.N
