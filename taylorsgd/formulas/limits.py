r"""T → ∞: limits at a minimum, and steady drifts along a valley.

At a non-degenerate minimum (G = 0, H > 0) every sum over times of a resummed formula converges: an interval
of the order between two events sums to 1/(1 − x_i), or integrates to 1/s_i (Tenka, Theorem 2). Along a
flat direction of a valley nothing is damped, and a displacement grows by a constant amount per update.
"""

from __future__ import annotations

from typing import Any

from sympy import Dummy, Expr, Integer, Symbol, factor, limit, oo

from taylorsgd import symbols
from taylorsgd.formulas.assumptions import survives
from taylorsgd.formulas.resummed_value import ResummedValue, is_resummed
from taylorsgd.formulas.term import Combination, Term
from taylorsgd.timesums.cells import CellSum
from taylorsgd.timesums.events import TimeSum
from taylorsgd.timesums.set_times import SetTimes
from taylorsgd.timesums.two_clocks import TwoClocks
from taylorsgd.timesums.two_moments import TwoMoments
from taylorsgd.updates.rule import refuse_lasting_momentum

__all__ = ["formula_drift", "formula_limit"]


def formula_limit(formula: Combination) -> Any:
    """The limit T → ∞, term by term; see `Formula.limit`."""
    limits = [_at_minimum(term, "limit()").with_T(oo) if term.order else term.value for term in formula.terms]
    pairs = zip(formula.terms, limits, strict=True)
    return formula.replaced([_rescaled(term, value, formula) for term, value in pairs])


def formula_drift(formula: Combination) -> Any:
    """The growth per update along flat open indices; see `Formula.drift`."""
    if not formula.indices:
        raise ValueError(
            "drift() is the steady motion along the open indices of a displacement; this formula has none. "
            "Derive Displacement() or its covariance; a loss tends to a limit()"
        )
    terms = []
    for term in formula.terms:
        value = _at_minimum(term, "drift()")
        flat = [e for node in value.open_indices for e, (_, parent) in enumerate(value.edges) if parent == node]
        rates: list[Expr] = [Integer(0) if e in flat else Dummy(f"s{e}") for e in range(len(value.edges))]
        try:
            growth = value.with_T(oo).closed_sum(rates, flat)
        except ValueError as error:
            raise ValueError(f"the term {term} has no steady drift: {error}") from error
        if growth != 0:
            terms.append(_rescaled(term, value.with_T(oo, drift=True), formula))
    return formula.replaced(terms)


def _at_minimum(term: Term, method: str) -> ResummedValue:
    value = term.value
    if is_resummed(value):
        refuse_lasting_momentum(value.update, method)
    if not is_resummed(value):
        raise ValueError(
            f"{method}: the term {term} is a polynomial in T, which diverges as T -> oo; "
            "derive the formula with resum='discrete' or resum='continuous'"
        )
    if isinstance(value.times, TwoClocks) and value.times.epochs.is_number:
        raise NotImplementedError(
            f"{method}: the number of epochs is the number {value.times.epochs}, and several batches go to infinity "
            "along an epoch only; leave E free, or take E=1"
        )
    if isinstance(value.times, TwoMoments) and (method == "drift()" or not isinstance(value.times.times, TimeSum)):
        raise NotImplementedError(
            f"{method}: a formula at two times has no such growth, and its limit only in one epoch, for GD and flows; "
            "give both times as late numbers"
        )
    if isinstance(value.times, (CellSum, SetTimes)):
        raise NotImplementedError(
            f"{method}: a grid of concrete cells has no T to send to infinity; supported are SGD with a free E or "
            "with E=1, GD, ODE and SDE"
        )
    if not survives(value, "minimum"):
        raise ValueError(
            f"{method}: the term {term} holds G. Away from a minimum the run leaves the neighbourhood of theta_0: "
            "every order contributes alike as T -> oo, and the expansion in eta breaks down. At a minimum, "
            "use assume('minimum') first"
        )
    return value


def _rescaled(term: Term, value, formula: Combination) -> Term:
    """The term with another value; what T is derived from, E or N where there is one epoch, goes to infinity too."""
    coefficient = term.coefficient
    for spacetime in formula.spacetimes:
        T = spacetime.sizes["T"]
        if T.is_number:
            raise ValueError(f"T = {T} is a number in {spacetime}; leave it free to let it go to infinity")
        symbol = _driver(T)
        if symbol in coefficient.free_symbols:
            coefficient = limit(coefficient, symbol, oo)
    return type(term)(factor(coefficient), value, term.diagrams)


def _driver(T: Expr) -> Symbol:
    """The symbol that grows with T."""
    # sizes are positive, which their symbols do not say
    one = dict.fromkeys(T.free_symbols, Integer(1))
    growing = [s for s in T.free_symbols if limit(T.subs({o: v for o, v in one.items() if o != s}), s, oo) == oo]
    preferred = [symbol for symbol in (symbols.T, symbols.E, symbols.N) if symbol in growing]
    if not growing:
        raise ValueError(f"no symbol in T = {T} can go to infinity")
    return (preferred or sorted(growing, key=str))[0]  # type: ignore[return-value]
