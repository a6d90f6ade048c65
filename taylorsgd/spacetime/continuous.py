"""Continuous approximations of SGD: gradient flow and the stochastic differential equation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from attrs import field, frozen
from sympy import Expr, Integer

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram
from taylorsgd.spacetime.base import Placement, Spacetime, placed_nodes, placed_parts, size

__all__ = ["ODE", "SDE"]


@frozen(repr=False)
class ODE(Spacetime):
    """Gradient flow dθ = −η ∇l dt for a time T: noiseless, and without a training set.

    Args:
        T: the time, in units of one update. None means the symbol; else an integer of at least 0 or a
            SymPy expression.

    Raises:
        TypeError: if T is neither an integer nor an expression.
        ValueError: if T is negative.
    """

    T: Expr = field(default=None, converter=size("T", symbols.T, 0))

    largest_part: ClassVar[int | None] = 1
    has_training_set: ClassVar[bool] = False
    is_flow: ClassVar[bool] = True

    @property
    def sizes(self) -> dict[str, Expr]:
        """The time T."""
        return {"T": self.T}

    def placements(self, diagram: Diagram, instant: frozenset[int] = frozenset()) -> Iterator[Placement]:
        """Every node has its own time; nothing is tied."""
        if len(diagram.inner_blocks) == diagram.order:
            yield from placed_nodes(diagram, instant)

    def _generators(self) -> tuple[Expr, Expr, Expr, Expr]:
        return self.T, Integer(1), Integer(1), Integer(1)


@frozen(repr=False)
class SDE(Spacetime):
    """The diffusion dθ = −η ∇l dt + η √(C(θ)/B) dW (Itô) for a time T: Gaussian, uncorrelated noise.

    C(θ) is the covariance of the gradients at the current θ. There is no training set.

    Args:
        T: the time, in units of one update. None means the symbol; else an integer of at least 0 or a
            SymPy expression.
        B: the batch size that sets the noise, at least 1. Likewise.

    Raises:
        TypeError: if a size is neither an integer nor an expression.
        ValueError: if a size is impossible.
    """

    T: Expr = field(default=None, converter=size("T", symbols.T, 0))
    B: Expr = field(default=None, converter=size("B", symbols.B, 1))

    tied_ancestors: ClassVar[bool] = False
    largest_part: ClassVar[int | None] = 2
    has_training_set: ClassVar[bool] = False
    is_flow: ClassVar[bool] = True

    @property
    def sizes(self) -> dict[str, Expr]:
        """The time T and the batch size B."""
        return {"T": self.T, "B": self.B}

    def placements(self, diagram: Diagram, instant: frozenset[int] = frozenset()) -> Iterator[Placement]:
        """Each tied pair shares one time and gives 1/B."""
        if all(len(block) <= 2 for block in diagram.inner_blocks):
            yield from placed_parts(diagram, instant)

    def _generators(self) -> tuple[Expr, Expr, Expr, Expr]:
        return self.T, Integer(1), 1 / self.B, Integer(1)
