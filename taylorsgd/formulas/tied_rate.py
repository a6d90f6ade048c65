"""A learning rate that is tied to sizes, such as η = cB: the linear scaling rule.

A value of order d holds η^d. Tied to an expression, η^d goes into the coefficient, and the values hold powers of 1:
the formula's `rate` is 1 then instead of η. Scaled, η → η·B, the values keep a new η and the coefficients take B^d.
"""

from __future__ import annotations

from typing import Any

from sympy import Expr, Integer, cancel, factor

from taylorsgd import symbols
from taylorsgd.formulas.resummed_value import is_resummed
from taylorsgd.formulas.sizes import exact_number
from taylorsgd.formulas.term import Combination, Term

__all__ = ["read_rate", "tie_rate"]


def tie_rate(formula: Combination, expression: Any) -> tuple[list[Term], Expr]:
    """Put an expression for η into a formula.

    Args:
        formula: the formula.
        expression: an exact number, an expression in sizes and other symbols, or η times one.

    Returns:
        The terms, whose coefficients are multiplied by the d-th power of the expression (over η, if it holds η), and
        what their values hold powers of: 1, or η.

    Raises:
        TypeError: if it is no exact number or expression.
        ValueError: if η is tied already, does not enter linearly, or a size in it is not unique.
        NotImplementedError: for resummed formulas.
    """
    exact = exact_number(expression)
    if exact is None:
        raise TypeError(f"eta={expression!r} is no exact number or SymPy expression, such as c*B")
    if formula.rate != symbols.eta:
        raise ValueError(f"eta={expression}: the learning rate of this formula is tied already, eta is not in it")
    if any(is_resummed(term.value) for term in formula.terms):
        raise NotImplementedError(
            f"eta={expression} in a resummed formula, whose values hold exponentials or powers of 1 - eta*H; supported "
            "are formulas without resum=, evaluate(..., eta=...), and to_sympy().subs(...)"
        )
    scale = _in_free_sizes(formula, exact)
    rate: Expr = Integer(1)
    if symbols.eta in scale.free_symbols:
        scale, rate = cancel(scale / symbols.eta), symbols.eta
        if symbols.eta in scale.free_symbols:
            raise ValueError(f"eta={expression}: a new rate must be proportional to eta, or an expression without it")
    terms = [Term(factor(term.coefficient * scale**term.order), term.value, term.diagrams) for term in formula.terms]
    return terms, rate


def read_rate(formula: Combination, eta: Any) -> Any:
    """What η is in an evaluation: what was given, or 1 where it is tied.

    Raises:
        ValueError: if η is given for a formula without one.
    """
    if formula.rate == symbols.eta:
        return eta
    if eta is not None:
        raise ValueError(f"eta={eta}: the learning rate of this formula was tied by subs(eta=...); leave out eta")
    return Integer(1)


def _in_free_sizes(formula: Combination, expression: Expr) -> Expr:
    """Derived sizes in an expression, such as T of SGD, in those that the coefficients are written in."""
    free = {symbol for term in formula.terms for symbol in term.free_symbols}
    free |= {symbol for spacetime in formula.spacetimes for symbol in spacetime.free_symbols}
    known: dict[Any, Expr] = {}
    for symbol in sorted(expression.free_symbols - free, key=str):
        sides = {spacetime.sizes[str(symbol)] for spacetime in formula.spacetimes if str(symbol) in spacetime.sizes}
        if len(sides) > 1:
            raise ValueError(f"eta={expression}: {symbol} is {' and '.join(map(str, sides))} in this sum of formulas")
        if sides:
            known[symbol] = sides.pop()
    return expression.subs(known, simultaneous=True)
