"""Functions that bend or jump, such as |x|: near a point they are one smooth function, or the point is a kink."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from sympy import Abs, Expr, Heaviside, Max, Min, Piecewise, Symbol, ceiling, floor, frac, pi, sign, sin
from sympy.core.relational import Relational

__all__ = ["BENDING", "smooth_near"]

BENDING: Any = (Abs, sign, Heaviside, Max, Min, Piecewise, floor, ceiling, frac)
"""The functions of SymPy with kinks and jumps."""


def smooth_near(expression: Expr, point: Sequence[tuple[Symbol, Expr]]) -> Expr:
    """An expression without bending functions that is equal to it around a point.

    SymPy differentiates |x| into Dirac's δ, or not at all where x may be complex.

    Args:
        expression: the expression.
        point: variables with their values, which are real.

    Returns:
        The expression; bending functions whose place at the point is left open by symbols stay.

    Raises:
        ValueError: if one of them bends or jumps there: it is named.

    Example:
        >>> from sympy.abc import x
        >>> smooth_near(x * Abs(x) + Max(x, 1), [(x, -2)])
        1 - x**2
    """
    if not expression.has(*BENDING):
        return expression
    at: Any = dict(point)

    def smooth(bent: Any) -> Any:
        for edge in _edges(bent, at):
            if edge.subs(at, simultaneous=True).equals(0):
                raise ValueError(f"{bent} bends or jumps there")
        return _piece(bent, at)

    return expression.replace(lambda e: isinstance(e, BENDING), smooth)  # type: ignore[return-value]


def _edges(bent: Any, at: Any) -> list[Any]:
    """What vanishes where a function bends or jumps."""
    parts: Any = bent.args
    if isinstance(bent, (Max, Min)):
        value = bent.subs(at, simultaneous=True)
        largest = [part for part in parts if (part.subs(at, simultaneous=True) - value).equals(0)]
        return [a - b for a, b in combinations(largest, 2)]
    if isinstance(bent, Piecewise):
        return [edge.lhs - edge.rhs for _, condition in parts for edge in condition.atoms(Relational)]
    if isinstance(bent, (floor, ceiling, frac)):
        return [sin(pi * parts[0])]
    return [parts[0]]


def _piece(bent: Any, at: Any) -> Any:
    """What a function is around a point that is none of its edges."""
    value = bent.subs(at, simultaneous=True)
    parts: Any = bent.args
    if value.free_symbols:
        return bent
    if isinstance(bent, Abs):
        return parts[0] * sign(parts[0].subs(at, simultaneous=True))
    if isinstance(bent, (Max, Min)):
        return next(part for part in parts if (part.subs(at, simultaneous=True) - value).equals(0))
    if isinstance(bent, Piecewise):
        return next(piece for piece, condition in parts if condition.subs(at, simultaneous=True) == True)  # noqa: E712
    if isinstance(bent, frac):
        return parts[0] - floor(parts[0]).subs(at, simultaneous=True)
    return value
