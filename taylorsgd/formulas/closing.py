"""Open indices contracted with vectors: what a displacement's formula says of its components along directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve

from taylorsgd.diagrams import Value
from taylorsgd.diagrams.tensor_network import is_open, open_index
from taylorsgd.formulas.expectations import Expectation, Expectations
from taylorsgd.formulas.formula import Formula
from taylorsgd.formulas.observables import Covariance, Displacement, Observable, SecondMoment
from taylorsgd.formulas.resummed_value import ResummedValue
from taylorsgd.formulas.term import AnyValue, Term

__all__ = ["closed", "open_positions"]


def open_positions(formula: Formula) -> tuple[int, ...]:
    """Which observables of a pair (0 and 1) leave an index open in a formula's values.

    Example:
        >>> import taylorsgd as ts
        >>> open_positions(ts.derive(ts.Covariance(ts.TestLoss(), ts.Displacement()), ts.SGD(), order=2))
        (1,)
    """
    marks = {mark for value in formula.values for mark in value.marks if is_open(mark)}
    return tuple(position for position in (0, 1) if open_index(position) in marks)


def closed(formula: Formula, along: Mapping[int, Observable]) -> Formula:
    """Contract open indices with the gradients of linear observables u·(θ − θ_0).

    The displacement in such a place becomes that observable: in values a node that ends the edge instead of the open
    index, in what the formula is of E[u·(θ_T − θ_0)]. An index that stays open alone becomes the first.

    Args:
        formula: the formula.
        along: by position, the observables; linear ones, which vanish at θ_0.

    Example:
        >>> import taylorsgd as ts
        >>> f = ts.derive(ts.Covariance(ts.Displacement(), ts.Displacement()), ts.SGD(B=1, E=1), order=2)
        >>> u, v = (ts.Observable(lambda theta, i=i: theta[i], "uv"[i]) for i in (0, 1))
        >>> print(closed(f, {0: u, 1: v}))
        Cov[u(θ_T), v(θ_T)] = T C_μν (∇^μ u) ∇^ν v + O(η^3)    with T = N
    """
    names = {open_index(position): observable.name for position, observable in along.items()}
    left = [position for position in open_positions(formula) if position not in along]
    if len(left) == 1:
        names[open_index(left[0])] = open_index(0)
    terms = (Term(term.coefficient, _renamed(term.value, names), term.diagrams) for term in formula.terms)
    of = formula.expectations
    return Formula(
        terms,
        formula.spacetimes,
        formula.observables | {observable.name: observable for observable in along.values()},
        len(left),
        formula.metric,
        formula.rate,
        None if of is None else _of(of, along),
        formula.through,
    )


def _renamed(value: AnyValue, names: Mapping[str, str]) -> AnyValue:
    if isinstance(value, ResummedValue):
        marks = [names.get(mark, mark) for mark in value.root_marks]
        times, T, continuous = value.times, value.T, value.continuous
        return ResummedValue(value.diagram, marks, times, T, continuous, value.drift, value.update)
    marks = [names.get(mark, mark) for mark in value.marks]
    return Value(value.parents, value.parts, marks, moments=value.moments)


def _of(of: Expectations, along: Mapping[int, Observable]) -> Expectations:
    def in_part(part: Expectation) -> Expectation:
        one: Any = part.observable
        if isinstance(one, (SecondMoment, Covariance)):
            a, b = (along.get(i, single) for i, single in enumerate((one.a, one.b)))
            return evolve(part, observable=type(one)(a, b, one.times))  # type: ignore[arg-type]
        return evolve(part, observable=along[0]) if isinstance(one, Displacement) and 0 in along else part

    return evolve(of, parts=tuple((in_part(part), coefficient) for part, coefficient in of.parts))
