"""The Runge-Kutta tableau: a one-step method as two arrays of exact numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sympy import Expr, Integer

from taylorsgd.arguments import listed
from taylorsgd.exact_numbers import exact_argument

__all__ = ["EULER", "RungeKutta"]


@dataclass(frozen=True, init=False)
class RungeKutta:
    """A Runge-Kutta method: Y_i = θ + h Σ_j a_ij f(Y_j), then θ ← θ + h Σ_i b_i f(Y_i).

    Explicit where A is strictly lower triangular. Implicit methods have modified equations as well, and are
    welcome: `RungeKutta([[1]], [1])` is implicit Euler.

    Args:
        A: s × s exact numbers or SymPy expressions.
        b: s of them, which sum to 1.

    Raises:
        TypeError: if an entry is neither an exact number nor a SymPy expression.
        ValueError: if A is not square, b has another length or does not sum to 1.

    Example:
        >>> from fractions import Fraction
        >>> midpoint = RungeKutta([[0, 0], [Fraction(1, 2), 0]], [0, 1])
        >>> midpoint.stages, midpoint.is_explicit
        (2, True)

    Source: Hairer, Lubich and Wanner, *Geometric Numerical Integration*, section II.1.
    """

    A: tuple[tuple[Expr, ...], ...]
    b: tuple[Expr, ...]

    def __init__(self, A: Iterable[Iterable[Any]], b: Iterable[Any]) -> None:
        """Check the tableau."""
        rows = tuple(
            tuple(_exact(f"A[{i}][{j}]", a) for j, a in enumerate(listed(row, f"A[{i}]", empty=True)))
            for i, row in enumerate(listed(A, "A", "[[0, 0], [1, 0]]"))
        )
        weights = tuple(_exact(f"b[{i}]", weight) for i, weight in enumerate(listed(b, "b", "[0, 1]")))
        if not weights or [len(row) for row in rows] != [len(weights)] * len(weights):
            shape = [len(row) for row in rows]
            raise ValueError(
                f"A has rows of {shape} entries beside {len(weights)} entries of b; "
                "give a square A and one entry of b for each row"
            )
        total = sum(weights, Integer(0))
        if (total - 1).expand() != 0:
            raise ValueError(f"b={weights} sums to {total}; a consistent method has a sum of 1")
        object.__setattr__(self, "A", rows)
        object.__setattr__(self, "b", weights)

    @property
    def stages(self) -> int:
        """How often a step evaluates f."""
        return len(self.b)

    @property
    def is_explicit(self) -> bool:
        """Whether every stage needs only earlier ones: A is strictly lower triangular."""
        return all(a == 0 for i, row in enumerate(self.A) for a in row[i:])


def _exact(name: str, value: Any) -> Expr:
    return exact_argument(value, name, floats=False)


EULER = RungeKutta([[0]], [1])
"""Explicit Euler, which gradient descent is: θ ← θ + h f(θ)."""
