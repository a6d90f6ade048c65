"""What a resummed result is through some order in η, which un-resummed ones are held against."""

from __future__ import annotations

from functools import reduce
from typing import Any

import sympy
from sympy import QQ
from sympy.polys.ring_series import rs_exp, rs_mul, rs_pow, rs_series_inversion
from sympy.polys.rings import ring

from taylorsgd.symbols import eta

__all__ = ["through"]

SERIES, VARIABLE = ring("eta", QQ)


def through(result: Any, order: int) -> Any:
    """The Taylor polynomial in η of a polynomial, a quotient or one with exponentials, or of each entry of a matrix.

    Example:
        >>> through((1 + eta) ** 2, 1), through(1 / (1 - eta), 2), through(sympy.exp(2 * eta), 1)
        (2*eta + 1, eta**2 + eta + 1, 2*eta + 1)
    """
    return result.applyfunc(lambda entry: cut(entry, order)) if isinstance(result, sympy.MatrixBase) else cut(
        result, order
    )  # fmt: skip


def cut(entry: Any, order: int) -> Any:
    """Of one entry."""
    entry = sympy.sympify(entry)
    if entry.is_polynomial(eta):
        return sum(c * eta**k for (k,), c in sympy.Poly(entry, eta).terms() if k <= order)
    try:
        found = series_of(entry, order + 1)
    except ZeroDivisionError:  # what is divided by η may be a multiple of it
        found = series_of(sympy.cancel(entry), order + 1)
    return found.as_expr(eta)


def series_of(entry: sympy.Expr, precision: int) -> Any:
    """The Taylor polynomial, as sums, products and powers make it, with `precision` coefficients.

    Raises:
        ZeroDivisionError: where something is divided by a multiple of η.
    """
    if entry == eta:
        return VARIABLE
    if entry.is_Rational:
        return SERIES(QQ.from_sympy(entry))
    parts = [series_of(part, precision) for part in (entry.args[:1] if entry.is_Pow else entry.args)]
    if entry.is_Add:
        return sum(parts, SERIES.zero)
    if isinstance(entry, sympy.exp):
        return rs_exp(parts[0], VARIABLE, precision)
    if entry.is_Mul:
        return reduce(lambda one, two: rs_mul(one, two, VARIABLE, precision), parts)
    assert entry.is_Pow and entry.exp.is_Integer, entry
    if entry.exp > 0:
        return rs_pow(parts[0], int(entry.exp), VARIABLE, precision)
    if not parts[0].coeff(1):
        raise ZeroDivisionError
    return rs_pow(rs_series_inversion(parts[0], VARIABLE, precision), -int(entry.exp), VARIABLE, precision)
