"""A sum over times with one term: every node has its time already, as in a single embedding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from sympy import Expr, Mul

from taylorsgd.diagrams import Diagram
from taylorsgd.timesums.cells import Way
from taylorsgd.timesums.events import ROOT, TimeSum

__all__ = ["SetTimes"]


@dataclass(frozen=True)
class SetTimes:
    """The product of what edges carry between nodes at set times; a root is at the end.

    Args:
        targets: for every node the node that its edge leads to, or `ROOT`; edges are labelled by their nodes.
        at: the time of every node.

    Raises:
        ValueError: if an edge does not lead to a node, or to one that is not later.

    Example:
        A leaf at time 0, a node at time 2, the root at 5: κ_1^{2 − 0 − 1} κ_0^{5 − 2 − 1}.

        >>> from sympy import symbols
        >>> SetTimes((ROOT, 0), (2, 0)).product(symbols("a b"), 5)
        a**2*b
    """

    targets: tuple[int, ...]
    at: tuple[int, ...]

    possible = True
    """Its times are in order."""

    def __post_init__(self) -> None:
        """Check that edges lead to later nodes."""
        count = len(self.targets)
        if len(self.at) != count or not all(type(t) is int and t >= 0 for t in self.at):
            raise ValueError(f"at={self.at!r} must be {count} times")
        for v, target in enumerate(self.targets):
            if not (
                type(target) is int and ROOT <= target < count and (target == ROOT or self.at[v] < self.at[target])
            ):
                raise ValueError(f"targets={self.targets!r}: node {v} at {self.at[v]} does not lead to a later node")

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """For every edge its source node and its target node, or `ROOT`."""
        return tuple(enumerate(self.targets))

    def product(self, carried: tuple[Expr, ...] | list[Expr], end: Expr | int) -> Expr:
        """Π κ_e^{Δt_e − 1}."""
        ends = [end if target == ROOT else self.at[target] for target in self.targets]
        return Mul(*(k ** (end - start - 1) for k, start, end in zip(carried, self.at, ends, strict=True)))

    def ways(self, diagram: Diagram, updates: int) -> Iterator[Way]:
        """The one way to place a diagram below T updates.

        Raises:
            ValueError: if a node is not before the end.
        """
        if max(self.at, default=-1) >= updates:
            raise ValueError(f"T={updates}: a node is placed at time {max(self.at)}, which is not before it")
        cells = tuple(tuple(int(t == own) for t in range(updates)) for own in self.at)
        yield Way(Fraction(1), TimeSum(len(self.at), self.edges), cells)
