"""Continuous approximations of SGD: gradient flow and the stochastic differential equation."""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from typing import ClassVar

from sympy import Expr, Integer
from sympy.polys.rings import PolyElement

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram
from taylorsgd.spacetime.base import RING, Size, Spacetime, Times, inverse_batch, size
from taylorsgd.timesums.events import times_of_nodes, times_of_parts
from taylorsgd.timesums.orders import levels_of_parts, levels_of_tree

__all__ = ["ODE", "SDE"]


@dataclass(frozen=True, init=False, repr=False)
class ODE(Spacetime):
    """Gradient flow dθ = −η ∇l dt for a time T: noiseless, and without a training set.

    Args:
        T: the time, in units of one update. None means the symbol; else an integer of at least 0 or a
            SymPy expression.

    Raises:
        TypeError: if T is neither an integer nor an expression.
        ValueError: if T is negative.
    """

    T: Expr

    largest_part: ClassVar[int | None] = 1
    has_training_set: ClassVar[bool] = False

    def __init__(self, T: Size = None) -> None:
        """Check the time."""
        object.__setattr__(self, "T", size("T", T, symbols.T, 0))

    @property
    def sizes(self) -> dict[str, Expr]:
        """The time T."""
        return {"T": self.T}

    def weight(self, diagram: Diagram) -> PolyElement:
        """The volume of the embeddings of D, T^d/d! for every linear extension of the tree."""
        if len(diagram.inner_blocks) < diagram.order:
            return RING.zero
        return _volume(levels_of_tree(diagram))

    def times(self, diagram: Diagram, continuous: bool) -> tuple[PolyElement, Times]:
        """Integrals over the nodes' times."""
        _check_continuous(self, continuous)
        return RING(len(diagram.inner_blocks) == diagram.order), times_of_nodes(diagram)

    def _generators(self) -> tuple[Expr, Expr, Expr, Expr]:
        return self.T, Integer(1), Integer(1), Integer(1)


@dataclass(frozen=True, init=False, repr=False)
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

    T: Expr
    B: Expr

    tied_ancestors: ClassVar[bool] = False
    largest_part: ClassVar[int | None] = 2
    has_training_set: ClassVar[bool] = False

    def __init__(self, T: Size = None, B: Size = None) -> None:
        """Check the sizes."""
        object.__setattr__(self, "T", size("T", T, symbols.T, 0))
        object.__setattr__(self, "B", size("B", B, symbols.B, 1))

    @property
    def sizes(self) -> dict[str, Expr]:
        """The time T and the batch size B."""
        return {"T": self.T, "B": self.B}

    def weight(self, diagram: Diagram) -> PolyElement:
        """The volume of the embeddings of D over B^d: each tied pair shares one time and gives 1/B."""
        if any(len(block) > 2 for block in diagram.inner_blocks):
            return RING.zero
        levels = levels_of_parts(diagram)
        if levels is None:
            return RING.zero
        return _volume(levels) * inverse_batch(diagram.order - len(diagram.inner_blocks))

    def times(self, diagram: Diagram, continuous: bool) -> tuple[PolyElement, Times]:
        """Integrals over the parts' times."""
        _check_continuous(self, continuous)
        if any(len(block) > 2 for block in diagram.inner_blocks):
            return RING.zero, times_of_parts(diagram)
        return inverse_batch(diagram.order - len(diagram.inner_blocks)), times_of_parts(diagram)

    def _generators(self) -> tuple[Expr, Expr, Expr, Expr]:
        return self.T, Integer(1), 1 / self.B, Integer(1)


def _check_continuous(spacetime: Spacetime, continuous: bool) -> None:
    if not continuous:
        raise ValueError(f"resum='discrete': {spacetime} runs in continuous time; use resum='continuous'")


def _volume(levels: tuple[int, ...]) -> PolyElement:
    """Linear extensions · T^k/k!: of the ways to order k events, only those without ties have volume."""
    k = len(levels) - 1
    return RING.gens[0] ** k * levels[k] / factorial(k)
