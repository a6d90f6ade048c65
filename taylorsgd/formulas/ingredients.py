"""What a formula is made of: checked, as it would fail late and far from where it was made, and merged."""

from __future__ import annotations

from typing import Any

from sympy import Add, ImmutableMatrix, Symbol

from taylorsgd import symbols
from taylorsgd.arguments import as_whole, listed, pairs_of, whole_number
from taylorsgd.formulas.expectations import Expectations
from taylorsgd.formulas.observables import Observable
from taylorsgd.formulas.sizes import tidied
from taylorsgd.formulas.term import Term

__all__ = ["all_of", "merged", "refuse_other_ingredients"]


def all_of(kind: type, given: Any, name: str) -> list[Any]:
    """A sequence whose entries are of one class, as a list.

    Raises:
        TypeError: if it is none.

    Example:
        >>> all_of(str, ["l", 2], "names")
        Traceback (most recent call last):
        TypeError: names holds 2, which is not a str
    """
    entries = listed(given, name, empty=True)
    for entry in entries:
        if not isinstance(entry, kind):
            raise TypeError(f"{name} holds {entry!r}, which is not a {kind.__name__}")
    return entries


def refuse_other_ingredients(
    observables: Any, indices: Any, metric: Any, rate: Any, expectations: Any, through: Any
) -> None:
    """Raise if something that a `Formula` is made of, beside its terms and spacetimes, is of another kind.

    Raises:
        TypeError: if it is of another class.
        ValueError: if the number of indices, the rate or the order is impossible.
    """
    for name, observable in pairs_of(observables, "observables"):
        if not isinstance(name, str) or not isinstance(observable, Observable):
            raise TypeError(f"observables holds {name!r}: {observable!r}, which is not an Observable by its name")
    if as_whole(indices) not in (0, 1, 2):
        raise ValueError(f"indices={indices!r} is none of 0, 1, 2")
    if not callable(metric) and not isinstance(metric, (ImmutableMatrix, type(None))):
        raise TypeError(f"metric={metric!r} is neither None, nor a matrix, nor a function of pytrees")
    kinds = {"expectations": (expectations, Expectations)}
    for name, (given, kind) in kinds.items():
        if given is not None and not isinstance(given, kind):
            raise TypeError(f"{name}={given!r} is neither None nor of the class {kind.__name__}")
    if as_whole(rate) != 1 and not (isinstance(rate, Symbol) and rate == symbols.eta):
        raise ValueError(f"rate={rate!r} is neither eta nor 1; subs(eta=...) ties a learning rate")
    if through is not None:
        whole_number(through, "through")


def merged(terms: list[Term]) -> Term:
    """One term for all that have one value."""
    if len(terms) == 1:
        return terms[0]
    diagrams = dict.fromkeys(diagram for term in terms for diagram in term.diagrams)
    return Term(tidied(Add(*(term.coefficient for term in terms))), terms[0].value, tuple(diagrams))
