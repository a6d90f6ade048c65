"""Finding a term of a formula by its value, by a diagram, or by how the value is written."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sympy import Expr, Integer, factor

from taylorsgd.diagrams import Diagram, Value
from taylorsgd.diagrams.tensor_network import TensorNetwork
from taylorsgd.formulas.term import Combination, Term
from taylorsgd.formulas.value_text import Reading, read_value

__all__ = ["coefficient_of"]


def coefficient_of(formula: Combination, which: Any) -> Expr:
    """The coefficient of one value; see `Formula.coefficient`."""
    if isinstance(which, TensorNetwork):
        return next((term.coefficient for term in formula.terms if term.value == which), Integer(0))
    if isinstance(which, Diagram):
        found = [term for term in formula.terms if which in term.diagrams]
        if len(found) > 1:
            raise ValueError(f"the diagram {which} has several values here: {_listed(found)}; give one of them")
        return found[0].coefficient if found else Integer(0)
    if not isinstance(which, str):
        raise TypeError(f"coefficient({which!r}): give a value, a diagram, or a text such as 'G_μ G^μ' or 'G G'")
    return _by_text(formula, which)


def _by_text(formula: Combination, text: str) -> Expr:
    squeezed = "".join(text.replace("$", "").replace(r"\displaystyle", "").split())
    for term in formula.terms:
        if squeezed in _written(term.value):
            return term.coefficient  # as the value itself is written, its ½ included
    reading = read_value(text, formula.observables)
    fits = [term for term in formula.terms if _fits(term.value, reading)]
    if not fits:
        known = "; ".join(str(term.value) for term in formula.terms) or "no term at all"
        raise ValueError(f"{text!r} names no value of this formula, which has {known}")
    if len(fits) > 1:
        raise ValueError(f"{text!r} may name {len(fits)} values: {_listed(fits)}; write one of them with its indices")
    return factor(fits[0].coefficient / reading.number)


@lru_cache(maxsize=4096)
def _written(value: TensorNetwork) -> tuple[str, str]:
    """How a value is written, in plain text and in LaTeX, without spaces."""
    return "".join(str(value).split()), "".join(value.latex().split())


def _fits(value: Any, reading: Reading) -> bool:
    if not reading.is_short:
        plain = Value(value.parents, value.parts, value.marks, moments=value.moments)
        return plain in reading.networks()
    return reading.names(value)


def _listed(terms: list[Term]) -> str:
    return "; ".join(f"{term.value} (from {term.diagrams[0]})" if term.diagrams else str(term.value) for term in terms)
