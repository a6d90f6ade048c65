"""What a resummed result is through some order in η, which un-resummed ones are held against."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import QQ
from sympy.polys.ring_series import rs_mul, rs_series_inversion
from sympy.polys.rings import ring

from taylorsgd.symbols import eta

__all__ = ["through"]


def through(result: Any, order: int) -> Any:
    """The Taylor polynomial in η of a polynomial or a quotient, or of each entry of a matrix.

    Example:
        >>> through((1 + eta) ** 2, 1), through(1 / (1 - eta), 2)
        (2*eta + 1, eta**2 + eta + 1)
    """
    return result.applyfunc(lambda entry: cut(entry, order)) if isinstance(result, sympy.MatrixBase) else cut(
        result, order
    )  # fmt: skip


def cut(entry: Any, order: int) -> Any:
    """Of one entry."""
    entry = sympy.sympify(entry)
    if entry.is_polynomial(eta):
        return sum(c * eta**k for (k,), c in sympy.Poly(entry, eta).terms() if k <= order)
    series, variable = ring("eta", QQ)
    above, below = (series.from_expr(sympy.expand(part)) for part in sympy.fraction(sympy.cancel(entry)))
    inverse = rs_series_inversion(below, variable, order + 1)
    return rs_mul(above, inverse, variable, order + 1).as_expr(eta)
