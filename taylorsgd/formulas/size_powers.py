"""How coefficients grow with a size: leading powers, exactly.

A coefficient is a rational function of the sizes, at most with decaying powers such as β^T beside them. As one size
grows and the others stay, it tends to a·size^p: p is the difference of the degrees of numerator and denominator.
"""

from __future__ import annotations

from functools import lru_cache

from sympy import Expr, Integer, Pow, Symbol, degree, factor, fraction, solve, together
from sympy.polys.polyerrors import PolynomialError
from sympy.polys.polytools import LC

from taylorsgd import symbols

__all__ = ["in_updates", "leading_power"]


@lru_cache(maxsize=4096)
def leading_power(coefficient: Expr, size: Symbol) -> tuple[Expr, int] | None:
    """The leading part a·size^p of a coefficient as a size grows.

    Powers b^(k·size) with k > 0 of numbers |b| < 1 and of symbols, such as the β of momentum, tend to 0.

    Args:
        coefficient: an expression.
        size: the symbol that tends to infinity.

    Returns:
        The pair (a, p); None where it is no rational function of the size.

    Example:
        >>> from taylorsgd.symbols import N, T
        >>> leading_power(T * (T - 1) / (4 * N), T)
        (1/(4*N), 2)
    """
    settled = together(coefficient.replace(lambda e: _decays(e, size), lambda e: Integer(0)))
    if settled == 0:
        return None
    above, below = fraction(settled)
    if any(part.has(Pow) and not part.is_rational_function(size) for part in (above, below)):
        return None
    try:
        a, b = LC(above, size), LC(below, size)
        return factor(a / b), int(degree(above, size)) - int(degree(below, size))
    except PolynomialError:
        return None


def _decays(expression: Expr, size: Symbol) -> bool:
    """Whether an expression is a power that tends to 0."""
    if not isinstance(expression, Pow) or size not in expression.exp.free_symbols or size in expression.base.free_symbols:
        return False
    growth = expression.exp.diff(size)
    small = abs(expression.base) < 1 if expression.base.is_number else expression.base.is_Symbol
    return bool(small) and bool(growth.is_number and growth > 0)


@lru_cache(maxsize=256)
def in_updates(updates: Expr) -> dict[Symbol, Expr]:
    """The size to replace so that a derived number of updates is T: E, else N, else B.

    Args:
        updates: T in the sizes of a spacetime, such as E·N/B.

    Returns:
        The symbol and its value in T; empty where T is a symbol of its own, or a number.

    Example:
        >>> from taylorsgd.symbols import B, E, N
        >>> in_updates(E * N / B)
        {E: B*T/N}
    """
    if updates == symbols.T or symbols.T in updates.free_symbols:
        return {}
    for size in (symbols.E, symbols.N, symbols.B):
        if size in updates.free_symbols:
            (root,) = solve(updates - symbols.T, size)
            return {size: root}
    return {}
