"""Deriving a formula: sum over diagrams, count embeddings, merge by value."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any, cast

from attrs import evolve
from sympy import Expr, Integer

from taylorsgd import symbols
from taylorsgd.arguments import checked_order, is_one_of
from taylorsgd.diagrams import Diagram, Value
from taylorsgd.diagrams.tensor_network import LOSS, is_open
from taylorsgd.diagrams.values import side_by_side
from taylorsgd.formulas.expectations import Expectations, Run
from taylorsgd.formulas.formula import Formula
from taylorsgd.formulas.observables import AnyObservable, Covariance, Observable, SecondMoment, roots_of
from taylorsgd.formulas.sizes import tidied
from taylorsgd.formulas.summation import Asked, terms_through
from taylorsgd.formulas.term import Term
from taylorsgd.spacetime.base import Spacetime
from taylorsgd.timesums.events import TimeSum
from taylorsgd.updates import Descent, ElementwiseRule, Update

__all__ = ["derive"]


def derive(
    observable: AnyObservable,
    spacetime: Spacetime,
    order: int,
    *,
    resum: str | None = None,
    update: Update | None = None,
    penalty: Observable | None = None,
) -> Formula:
    """Derive E[observable] after descent on a spacetime, through η^order, exactly.

    E[s(θ_T)] = Σ_D (−1)^|D| / (B^|D| |Aut D|) · Z_S(D) · value(D), over all diagrams D of at most `order`
    edges, with all tensors taken at θ_0. Resummed, over linkless diagrams only, with Z_S(D) · value(D)
    replaced by the sum over embeddings of value(D) with K^{Δt−1} η on its edges, K = I − ηH.

    Args:
        observable: `TestLoss()`, `TrainLoss()`, `GeneralizationGap()`, `Displacement()`, `Observable(s)`,
            or the `SecondMoment`, `Covariance` or `Variance` of these, the first two also at two times of one run:
            un-resummed in closed form for GD and one epoch, with numbers for sizes and times wherever batches are.
        spacetime: `SGD(...)`, `GD(...)`, `Replacement(...)`, `ODE(...)`, `SDE(...)` or `Grid(cells)`.
        order: the highest power d ≥ 0 of η.
        resum: None for a polynomial in η and T; "discrete" for exact sums over times with powers of K
            (SGD, GD and Replacement, and any grid); "continuous" for integrals with
            exponentials of ηH (one epoch, GD, ODE and SDE). A resummed formula is exact on quadratic
            landscapes with additive noise and stays finite as T → ∞ at a minimum.
        update: the update rule, `HeavyBall(beta)`, `Nesterov(beta)`, `SecondOrder(lam)`, `ImplicitStep(lam)`,
            a `Descent` with rates, decay or metric, or (of GD) `GDC(B)`; None for plain descent. In closed form for
            GD and one epoch at constant rates, or of descent with `LinearWarmup()` or `Cosine()`; elsewhere with
            numbers for sizes. Those with memory or decay can be resummed (discrete), at constant rates or with
            numbers for sizes.
        penalty: p(θ), what descent minimizes beside the losses, as an `Observable`: every update follows l_x + p,
            and l is observed without it. Coupled weight decay w towards a is p = w|θ − a|²/2. A node that is
            alone carries l + p, and so has a term with each; resummed, all tensors are those of l + p.

    Returns:
        A `Formula`. Its coefficients are written in the free sizes of the spacetime.

    Raises:
        TypeError: if the observable or the spacetime is of another kind.
        ValueError: if `order` is not a non-negative integer, or a training loss or gap is asked of an ODE
            or SDE, which have no training set, or `resum` is unknown, or two observables share a name.
        NotImplementedError: if this resummation of this spacetime, or this update rule on it, has no closed
            form here; for a penalty with fixed data.

    Example:
        >>> import taylorsgd as ts
        >>> print(ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2))
        E[l(θ_T)] = l - T G_μ G^μ + T*(2*T - 1)/2 G_μ H^μ_ν G^ν + T/2 C_μν H^μν + O(η^3)    with T = N
        >>> print(ts.derive(ts.GeneralizationGap(), ts.GD(), order=1))
        E[l(θ_T) - l_train(θ_T)] = T/N C^μ_μ + O(η^2)
        >>> print(ts.derive(ts.GeneralizationGap(), ts.GD(), order=1, resum="continuous"))
        E[l(θ_T) - l_train(θ_T)] = 1/N Σ_μ C_μμ (1 - exp(-T*eta*λ_μ))/λ_μ + …
        >>> decay = ts.Observable(lambda theta: sum(x**2 for x in theta) / 20, name="p")
        >>> print(ts.derive(ts.TestLoss(), ts.GD(), order=1, penalty=decay))
        E[l(θ_T)] = l - T G_μ G^μ - T G_μ ∇^μ p + O(η^2)

    Source: Tenka, Theorem 3 (section B.3), summed over maps instead of embeddings; resummed, Theorem 1.
    """
    if isinstance(update, Descent) and update.metric is not None:
        plain = evolve(update, metric=None)
        formula = derive(observable, spacetime, order, resum=resum, update=plain, penalty=penalty)
        return formula.under(update.metric)
    rule = Descent() if update is None else update
    _check(observable, spacetime, order, resum, rule)
    order = int(order)
    if penalty is not None:
        _check_penalty(penalty, observable, spacetime, resum)
        if resum is not None and _times(observable, spacetime) is None:
            return _penalized(observable, spacetime, order, rule, resum, penalty)
    times = _times(observable, spacetime)
    if resum is None and spacetime.random and isinstance(observable, Covariance):
        return _covariance_over_schedules(observable, spacetime, order, rule, penalty)
    if resum is not None:
        _check_resummed(observable, spacetime, rule, resum)
    return _summed_up(observable, spacetime, order, rule, times, resum, penalty)


def _summed_up(
    observable: AnyObservable,
    spacetime: Spacetime,
    order: int,
    rule: Update,
    times: tuple[Expr, ...] | None,
    resum: str | None,
    penalty: Observable | None,
) -> Formula:
    """The sum over all diagrams, over all ways to place them, over all times."""
    if resum is not None and penalty is not None:
        raise NotImplementedError(f"penalty={penalty!r} with resum and two times is not derived; leave one out")
    asked = _asked(observable, spacetime, rule, times, resum, penalty)
    return _formula(terms_through(asked, order), observable, order, spacetime, rule, penalty)


def _penalized(
    observable: AnyObservable, spacetime: Spacetime, order: int, rule: Update, resum: str, penalty: Observable
) -> Formula:
    """Descent on l + p, whose loss is observed less p."""
    _check_resummed(observable, spacetime, rule, resum)
    terms = [
        Term(tidied(sign * term.coefficient), term.value, term.diagrams)
        for sign, observed in _without(observable, penalty)
        for term in terms_through(_asked(observed, spacetime, rule, None, resum, penalty), order)
    ]
    return _formula(terms, observable, order, spacetime, rule, penalty)


def _asked(
    observable: AnyObservable,
    spacetime: Spacetime,
    rule: Update,
    times: tuple[Expr, ...] | None,
    resum: str | None,
    penalty: Observable | None,
) -> Asked:
    """What is summed of an observable: all but the function that it is."""
    name = "" if penalty is None else penalty.name
    return Asked(roots_of(observable), isinstance(observable, Covariance), spacetime, rule, times, resum, name)


def _formula(
    terms: list[Term],
    observable: AnyObservable,
    order: int,
    spacetime: Spacetime,
    rule: Update,
    penalty: Observable | None,
) -> Formula:
    """A formula of an observable after descent."""
    of = Expectations.of(observable, Run(spacetime, rule, penalty))
    indices = sum(is_open(root.mark) for root in roots_of(observable))
    return Formula(terms, (spacetime,), _observed(observable, penalty), indices, expectations=of, through=order)


def _without(observable: AnyObservable, penalty: Observable) -> list[tuple[int, Any]]:
    """An observable of l as a sum of those of l + p, each with its sign; differences of losses have no p."""
    if isinstance(observable, (SecondMoment, Covariance)):
        pairs = product(_without(observable.a, penalty), _without(observable.b, penalty))
        return [(sign * other, replace(observable, a=a, b=b)) for (sign, a), (other, b) in pairs]
    (root,) = roots_of(observable)
    return [(1, observable)] + ([(-1, penalty)] if root.mark == LOSS and not root.must_tie else [])


def _check_resummed(observable: AnyObservable, spacetime: Spacetime, rule: Update, resum: str) -> None:
    supported = (
        "resum='discrete' for SGD, GD, Replacement and any Grid, "
        "resum='continuous' for SGD with E=1, GD, Replacement, ODE and SDE"
    )
    if spacetime.is_flow and resum == "discrete":
        raise ValueError(f"resum='discrete': {spacetime} runs in continuous time; use resum='continuous'")
    if resum == "continuous":
        _check_continuous(spacetime, rule)
    placeable = spacetime.resummed_placements(Diagram((-1, 0))) is not None
    if not placeable:
        raise NotImplementedError(f"{spacetime} has no {resum} resummation; supported are {supported}")
    if rule.rates is not None and not spacetime.sizes["T"].is_number:
        raise NotImplementedError(
            f"resum={resum!r} with update={rule!r} is not derived; supported are all rules at constant rates, or with "
            "numbers for sizes"
        )


def _check_continuous(spacetime: Spacetime, rule: Update) -> None:
    """Refuse what loses its meaning when sums over updates become integrals."""
    reason = None
    if rule.has_instant_edges:
        reason = "nodes of one update have no volume in an integral over times"
    elif rule.rates is not None:
        reason = "noise is weighed by the squares of rates, which no change of time makes constant"
    elif len(rule.memory(Integer(1)).enter) > 1:
        reason = "a memory of finitely many updates takes no time in a flow; use descent with its effective rate"
    if reason is not None:
        raise ValueError(f"resum='continuous' with update={rule!r}: {reason}")
    if not all(isinstance(p.times, TimeSum) for p in spacetime.resummed_placements(Diagram((-1, 0))) or ()):
        raise ValueError(
            f"resum='continuous' of {spacetime}: its rows return after whole numbers of updates, which a flow does not "
            "count; use resum='discrete'"
        )


def _covariance_over_schedules(
    observable: Covariance, spacetime: Spacetime, order: int, update: Update, penalty: Observable | None
) -> Formula:
    """E[ab] − E[a] E[b]. Trees that share no part share the schedule, and so they are correlated."""
    pair = SecondMoment(observable.a, observable.b, observable.times)
    joint = derive(pair, spacetime, order, update=update, penalty=penalty)
    times = _times(observable, spacetime)
    if times is None:
        a, b = (derive(s, spacetime, order, update=update, penalty=penalty) for s in (pair.a, pair.b))
    else:
        a, b = (
            _summed_up(single, spacetime, order, update, (time,), None, penalty)
            for single, time in zip((pair.a, pair.b), times, strict=True)
        )
    apart = [
        Term(-left.coefficient * right.coefficient, side_by_side(cast(Value, left.value), cast(Value, right.value)), ())
        for left in a.terms
        for right in b.terms
        if left.order + right.order <= order
    ]
    of = Expectations.of(observable, Run(spacetime, update, penalty))
    both = (*joint.terms, *apart)
    return Formula(both, (spacetime,), joint.observables, joint.indices, expectations=of, through=order)


def _times(observable: AnyObservable, spacetime: Spacetime) -> tuple[Expr, Expr] | None:
    """When a pair of observables is taken; None for the end.

    Raises:
        ValueError: if that is after the last update.
    """
    if not isinstance(observable, (SecondMoment, Covariance)) or observable.times is None:
        return None
    end = spacetime.sizes["T"]
    first, second = (end if time is None else time.subs(symbols.T, end) for time in observable.times)
    if (second - end).is_positive or (first - end).is_positive:
        raise ValueError(f"times={observable.times} of {observable!r} are later than the last of {end} updates")
    return first, second


def _observed(observable: AnyObservable, penalty: Observable | None = None) -> dict[str, Observable]:
    pair = (observable.a, observable.b) if isinstance(observable, (SecondMoment, Covariance)) else (observable,)
    return {single.name: single for single in (*pair, penalty) if isinstance(single, Observable)}


def _check_penalty(penalty: Observable, observable: AnyObservable, spacetime: Spacetime, resum: str | None) -> None:
    if not isinstance(penalty, Observable):
        raise TypeError(f"penalty={penalty!r} must be an Observable, such as Observable(w * x**2 / 2, name='p')")
    known = _observed(observable).get(penalty.name, penalty)
    if known != penalty:
        raise ValueError(
            f"penalty={penalty!r} and the observable {known!r} share the name {penalty.name!r}; give each its own"
        )
    if spacetime.data == "fixed":
        raise NotImplementedError(
            f"penalty={penalty!r} is supported with data='fresh'; of fixed data add it to the losses, "
            "and subtract its own expectation, that of the Observable, from a loss that is observed"
        )


def _check(observable: AnyObservable, spacetime: Spacetime, order: int, resum: str | None, update: Update) -> None:
    if not is_one_of(resum, (None, "discrete", "continuous")):
        raise ValueError(f"resum={resum!r} is unknown; give 'discrete', 'continuous' or None")
    if not isinstance(spacetime, Spacetime):
        raise TypeError(
            f"spacetime={spacetime!r} is not a spacetime; give SGD(...), GD(...), Replacement(...), ODE(...), "
            "SDE(...) or Grid(cells)"
        )
    if isinstance(update, ElementwiseRule):
        raise NotImplementedError(
            f"update={update!r} is not linear in gradients, and diagrams are sums over what one gradient leaves in θ; "
            "modified_flow(order, update=...) and modified_loss take it"
        )
    if not isinstance(update, Update):
        raise TypeError(
            f"update={update!r} is not an update rule; give Descent(...), HeavyBall(beta), Nesterov(beta), "
            "SecondOrder(lam), ImplicitStep(lam) or GDC(B)"
        )
    checked_order(order)
    if any(root.may_tie for root in roots_of(observable)) and not spacetime.has_training_set:
        raise ValueError(
            f"{observable!r} needs a training set, and {type(spacetime).__name__} has none; "
            "observe the test loss, the displacement or an Observable, or use SGD, GD or a Grid"
        )
