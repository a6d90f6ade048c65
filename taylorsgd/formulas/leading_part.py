"""The part of a formula that is left as a size grows."""

from __future__ import annotations

from typing import Any

from sympy import Expr, Symbol, factor

from taylorsgd.formulas.size_powers import in_updates, leading_power
from taylorsgd.formulas.term import Combination, Term

__all__ = ["leading_terms"]


def leading_terms(formula: Combination, size: Any) -> tuple[list[Term], dict[Symbol, Expr]]:
    """The leading terms as a size grows, and what was replaced to write them; see `Formula.leading`."""
    name = str(size)
    tables = [spacetime.sizes for spacetime in formula.spacetimes]
    free = {symbol for term in formula.terms for symbol in term.free_symbols}
    free |= {symbol for spacetime in formula.spacetimes for symbol in spacetime.free_symbols}
    grows = Symbol(name)
    replaced: dict[Symbol, Expr] = {}
    if grows not in free:
        derived = {table[name] for table in tables if name in table}
        if name != "T" or len(derived) != 1 or not in_updates(next(iter(derived))):
            known = ", ".join(
                sorted({str(symbol) for symbol in free} | ({"T"} if any("T" in t for t in tables) else set()))
            )
            raise ValueError(f"leading({name!r}): no size of this formula grows by that name; it has {known or 'none'}")
        replaced = in_updates(derived.pop())
    parts: list[tuple[Term, Expr, int]] = []
    for term in formula.terms:
        value = term.value.substitute(replaced)
        if grows in value.free_symbols:
            raise NotImplementedError(
                f"leading({name!r}): the resummed value {value} depends on {name} itself; use limit() for T -> oo"
            )
        found = leading_power(factor(term.coefficient.xreplace(replaced)), grows)
        if found is None:
            raise NotImplementedError(
                f"leading({name!r}): the coefficient {term.coefficient} of {value} has no leading power of {name}"
            )
        parts.append((Term(found[0], value, term.diagrams), *found))
    greatest: dict[int, int] = {}
    for term, _, power in parts:
        greatest[term.order] = max(power, greatest.get(term.order, power))
    kept = [
        Term(factor(number * grows**power), term.value, term.diagrams)
        for term, number, power in parts
        if power == greatest[term.order]
    ]
    return kept, replaced
