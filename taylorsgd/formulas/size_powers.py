"""How coefficients grow with a size: leading powers, exactly.

A coefficient is a rational function of the sizes, at most with decaying powers such as β^T beside them. As one size
grows and the others stay, it tends to a·size^p: p is the difference of the degrees of numerator and denominator.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

from sympy import Expr, Integer, Poly, Pow, Symbol, expand, factor, fraction, solve, together
from sympy.polys.fields import sfield
from sympy.polys.polyerrors import PolynomialError
from sympy.polys.rings import PolyElement

from taylorsgd import symbols
from taylorsgd.spacetime.base import factored

__all__ = ["in_updates", "leading_power"]


@lru_cache(maxsize=4096)
def leading_power(coefficient: Expr, size: Symbol) -> tuple[Expr, int] | None:
    """The leading part a·size^p of a coefficient as a size grows.

    Decaying powers tend to 0: b^(k·size) of numbers with |b|^k < 1, and with k > 0 of symbols, such as momentum's β.

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
    if coefficient.is_rational_function() and all(power.exp.is_Integer for power in coefficient.atoms(Pow)):
        return _of_quotient(coefficient, size)
    if any(size in power.exp.free_symbols for power in coefficient.atoms(Pow)):
        coefficient = expand(coefficient)  # so that growing powers above and below cancel
    settled = together(coefficient.replace(lambda e: _decays(e, size), lambda e: Integer(0)))
    if settled == 0:
        return None
    above, below = fraction(settled)
    if any(part.has(Pow) and not part.is_rational_function(size) for part in (above, below)):
        return None
    try:
        upper, lower = Poly(above, size), Poly(below, size)
    except PolynomialError:
        return None
    leading: Any = upper.LC() / lower.LC()
    return factor(leading), int(upper.degree()) - int(lower.degree())


def _of_quotient(coefficient: Expr, size: Symbol) -> tuple[Expr, int] | None:
    """The same of a quotient of polynomials in the sizes with rational coefficients."""
    if not coefficient.free_symbols:
        return (coefficient, 0) if coefficient else None
    field, quotient = cast(tuple[Any, Any], sfield(coefficient))
    (upper, above), (lower, below) = (_highest(part, size) for part in (quotient.numer, quotient.denom))
    return factored(field(upper) / field(lower)), above - below


def _highest(polynomial: PolyElement, size: Symbol) -> tuple[PolyElement, int]:
    """What multiplies the highest power of a size, and that power."""
    ring = polynomial.ring
    if size not in ring.symbols:
        return polynomial, 0
    place = ring.symbols.index(size)
    degree = polynomial.degree(place)
    terms = {powers: number for powers, number in polynomial.terms() if powers[place] == degree}
    return ring.from_dict(terms).quo(ring.gens[place] ** degree), int(degree)


def _decays(expression: Expr, size: Symbol) -> bool:
    """Whether an expression is a power that tends to 0."""
    if (
        not isinstance(expression, Pow)
        or size not in expression.exp.free_symbols
        or size in expression.base.free_symbols
    ):
        return False
    base, growth = expression.base, expression.exp.diff(size)
    if not growth.is_number or growth == 0:
        return False
    if not base.is_number:
        return bool(base.is_Symbol and growth > 0)
    return bool(abs(base) < 1) if growth > 0 else bool(abs(base) > 1)


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
