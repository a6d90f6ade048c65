r"""SymPy's printers with a memory: the eigenvalues of resummed terms share most of their subexpressions.

SymPy sorts the terms of a sum anew wherever it is printed, and its order "old" (1 − x rather than −x + 1) matches
every term against a pattern in every comparison; at order 4 that is most of the time that typesetting takes. What is
printed here is the same to the letter.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sympy import Basic, Expr, Wild
from sympy.printing.latex import LatexPrinter
from sympy.printing.printer import Printer
from sympy.printing.str import StrPrinter

__all__ = ["to_latex", "to_text"]

REMEMBERED = 65_536
"""How many texts of subexpressions are kept, and how many exponents."""

_COEFFICIENT, _BASE, _EXPONENT = Wild("p1"), Wild("p2"), Wild("p3")


@lru_cache(maxsize=REMEMBERED)
def _last_exponent(term: Basic) -> Basic | None:
    """The power of the last power in a term, by which the order "old" sorts."""
    found = term.match(_COEFFICIENT * _BASE**_EXPONENT)
    return found.get(_EXPONENT) if found else None


class _Remembering(Printer):
    """Prints every subexpression once."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(settings)
        self._remembered = lru_cache(maxsize=REMEMBERED, typed=True)(super()._print)

    def _print(self, expr: Any, **options: Any) -> str:
        return self._remembered(expr, **options) if isinstance(expr, Expr) else super()._print(expr, **options)

    def _compare_pretty(self, a: Basic, b: Basic) -> int:
        if not (a.is_Rational and b.is_Rational or a.is_Order or b.is_Order):
            of_a = _last_exponent(a)
            of_b = None if of_a is None else _last_exponent(b)
            if of_a is not None and of_b is not None and (order := Basic.compare(of_a, of_b)):
                return order
            return Basic.compare(a, b)
        return super()._compare_pretty(a, b)


class _Latex(_Remembering, LatexPrinter):
    pass


class _Text(_Remembering, StrPrinter):
    pass


@lru_cache(maxsize=4)
def _latex(order: str | None) -> _Latex:
    return _Latex(order=order)


@lru_cache(maxsize=4)
def _text(order: str | None) -> _Text:
    return _Text(order=order)


def to_latex(expression: Expr, order: str | None = None) -> str:
    r"""What `sympy.latex` returns.

    Args:
        expression: anything that SymPy can print.
        order: the order of a sum's terms: "lex" by default, or "old".

    Example:
        >>> from sympy import exp
        >>> from sympy.abc import x
        >>> to_latex(1 - exp(-x)), to_latex(1 - x, order="old")
        ('1 - e^{- x}', '1 - x')
    """
    return _latex(order).doprint(expression)


def to_text(expression: Expr, order: str | None = None) -> str:
    """What `sympy.sstr` returns; the arguments are those of `to_latex`.

    Example:
        >>> from sympy.abc import x
        >>> to_text(1 - x), to_text(1 - x, order="old")
        ('1 - x', '1 - x')
    """
    return _text(order).doprint(expression)
