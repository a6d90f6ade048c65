r"""Breaking a term that is wider than a line: between its factors, and inside of sums.

A fraction that is too wide becomes 1/denominator in front of the factors of the numerator; a bracket that is too wide
is opened on one line and closed on another, with brackets of one size, for \left and \right can't be parted.
"""

from __future__ import annotations

from typing import Any

from sympy import Add, Expr, Mul, Pow, fraction

from taylorsgd.writing.em_widths import latex_width
from taylorsgd.writing.printers import to_latex

__all__ = ["TIMES", "broken"]

TIMES = "\N{INVISIBLE TIMES}"
"""In front of a piece that multiplies the one before."""


def broken(prefactor: Expr, words: list[str], rest: Expr, room: float) -> list[str]:
    r"""The pieces of a term, each narrow enough for a line where that can be had.

    Args:
        prefactor: the number in front.
        words: the tensors, in LaTeX.
        rest: a further factor, behind them.
        room: the width of a line, in em.

    Returns:
        LaTeX texts, the first of which begins with the term's sign; those that multiply what is before them begin
        with `TIMES`, which is to be left out within a line.

    Example:
        >>> from sympy import Integer
        >>> from sympy.abc import N, T
        >>> for piece in broken(-(T + N) * (T + 1), [r"G_{\mu} G^{\mu}"], Integer(1), 7):
        ...     print(piece.replace(TIMES, "times "))
        + \left(- N - T\right)
        times \left(T + 1\right)
        times G_{\mu} G^{\mu}
    """
    room -= 1.3  # for the sign, or the dot of a product that goes on
    sign = "-" if prefactor.could_extract_minus_sign() else "+"
    size = -prefactor if sign == "-" else prefactor
    atoms = [] if size == 1 else _atoms(size, room, None)
    atoms += words
    if rest != 1:
        atoms += _atoms(rest, room, "old")
    return [f"{sign} {atoms[0]}", *(atom if atom.startswith(("+ ", "- ")) else TIMES + atom for atom in atoms[1:])]


def _atoms(expression: Expr, room: float, order: str | None) -> list[str]:
    """An expression as factors and pieces of factors."""
    whole = to_latex(expression, order)
    if isinstance(expression, Add):
        whole = rf"\left({whole}\right)"
    if latex_width(whole) <= room:
        return [whole]
    if isinstance(expression, Add):
        return _bracketed(expression, room, order, "")
    numerator, denominator = fraction(expression)
    if denominator != 1:
        together = rf"\frac{{1}}{{{to_latex(denominator, order)}}}"
        factors = [denominator] if latex_width(together) <= room else Mul.make_args(denominator)
        under = [atom for factor in factors for atom in _under(factor, room, order)]
        return [*under, *(_atoms(numerator, room, order) if numerator != 1 else [])]
    if isinstance(expression, Mul):
        return [atom for factor in expression.as_ordered_factors() for atom in _atoms(factor, room, order)]
    if isinstance(expression, Pow) and isinstance(expression.base, Add):
        return _bracketed(expression.base, room, order, f"^{{{to_latex(expression.exp)}}}")
    return [whole]


def _under(factor: Expr, room: float, order: str | None) -> list[str]:
    """One over a factor, or where that is too wide the factor to a negative power."""
    written = rf"\frac{{1}}{{{to_latex(factor, order)}}}"
    base, exponent = factor.as_base_exp()
    if latex_width(written) <= room or not isinstance(base, Add):
        return [written]
    return _bracketed(base, room, order, f"^{{{to_latex(-exponent)}}}")


def _bracketed(sum_: Add, room: float, order: str | None, power: str) -> list[str]:
    """A sum in brackets that can be broken at its signs."""
    pieces: list[str] = []
    terms: Any = sum_.as_ordered_terms()
    for term in terms:
        negative = term.could_extract_minus_sign()
        size = -term if negative else term
        sign = "- " if negative else "+ " if pieces else ""
        first, *others = _atoms(size, room, order) if size != 1 else ["1"]
        pieces += [f"{sign}{first}", *others]
    return [rf"\bigl({pieces[0]}", *pieces[1:-1], rf"{pieces[-1]}\bigr){power}"]
