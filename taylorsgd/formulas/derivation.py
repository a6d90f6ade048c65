"""Deriving a formula: sum over diagrams, count embeddings, merge by value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, product
from math import prod
from typing import Any, cast

from attrs import evolve
from sympy import QQ, Add, Expr, Integer

from taylorsgd import symbols
from taylorsgd.arguments import checked_order, is_one_of
from taylorsgd.diagrams import Diagram, Value, forests_of_order, value_of
from taylorsgd.diagrams.tensor_network import LOSS
from taylorsgd.diagrams.values import side_by_side
from taylorsgd.formulas.alike import least_alike
from taylorsgd.formulas.expectations import Expectations, Run
from taylorsgd.formulas.formula import Formula
from taylorsgd.formulas.observables import AnyObservable, Covariance, Observable, Root, SecondMoment, SingleObservable
from taylorsgd.formulas.pace import Pace
from taylorsgd.formulas.resummed_value import AnySum, ResummedValue
from taylorsgd.formulas.sizes import tidied
from taylorsgd.formulas.term import AnyValue, Term
from taylorsgd.formulas.weighing import weights_of
from taylorsgd.spacetime.base import INVERSE_ROWS, RING, Count, Spacetime
from taylorsgd.timesums.events import TimeSum
from taylorsgd.timesums.set_times import SetTimes
from taylorsgd.timesums.two_moments import TwoMoments
from taylorsgd.updates import Descent, ElementwiseRule, RateSchedule, Update

__all__ = ["derive", "generalized_diagrams"]


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
    roots = _roots(observable)
    moments = spacetime.data == "fixed" and resum is None
    if resum is None:
        summed = _unresummed(spacetime, rule, times, roots, moments, penalty)
    else:
        if penalty is not None:
            raise NotImplementedError(f"penalty={penalty!r} with resum and two times is not derived; leave one out")
        summed = _resummed(spacetime, rule, resum, roots, _is_correlated(observable, spacetime), times=times)
    formula = _added(observable, spacetime, order, rule, summed, penalty)
    return formula.to_cumulants() if moments else formula


def _added(
    observable: AnyObservable,
    spacetime: Spacetime,
    order: int,
    rule: Update,
    summed: Summed,
    penalty: Observable | None,
) -> Formula:
    """All diagrams, merged by value."""
    roots = _roots(observable)
    ancestors = True if rule.has_instant_edges else None  # an instant edge may join nodes of one part
    signs = prod(root.sign for root in roots)
    found: dict[AnyValue, dict[Expr, Count]] = {}
    sources: dict[AnyValue, dict[Diagram, None]] = {}
    pace = Pace(order)
    for d in range(order + 1):
        every = generalized_diagrams(observable, spacetime, d, tied_ancestors=ancestors)
        for diagram, ties in pace.through(every, d):
            share = INVERSE_ROWS**ties * QQ(signs * (-1) ** d, diagram.automorphisms)
            for count, weight, value in summed(diagram):
                if count and weight != 0:
                    counts = found.setdefault(value, {})
                    counts[weight] = counts.get(weight, RING.zero) + count * share
                    sources.setdefault(value, {})[diagram] = None
    terms = []
    for value, counts in found.items():
        written = [spacetime.expression(count) * weight for weight, count in counts.items() if count]
        coefficient = written[0] if written and counts.keys() == {1} else tidied(Add(*written))
        terms.append(Term(coefficient, value, tuple(sources[value])))
    of = Expectations.of(observable, Run(spacetime, rule, penalty))
    observed = _observed(observable, penalty)
    return Formula(terms, (spacetime,), observed, _indices(roots), expectations=of, through=order)


def _penalized(
    observable: AnyObservable, spacetime: Spacetime, order: int, rule: Update, resum: str, penalty: Observable
) -> Formula:
    """Descent on l + p, whose loss is observed less p."""
    _check_resummed(observable, spacetime, rule, resum)
    total: Formula | None = None
    for sign, observed in _without(observable, penalty):
        roots = _roots(observed)
        summed = _resummed(spacetime, rule, resum, roots, _is_correlated(observed, spacetime), penalty.name)
        part = sign * _added(observed, spacetime, order, rule, summed, penalty)
        total = part if total is None else total + part
    assert total is not None
    of = Expectations.of(observable, Run(spacetime, rule, penalty))
    named, indices = _observed(observable, penalty), _indices(_roots(observable))
    return Formula(total.terms, (spacetime,), named, indices, expectations=of, through=order)


def _without(observable: AnyObservable, penalty: Observable) -> list[tuple[int, Any]]:
    """An observable of l as a sum of those of l + p, each with its sign; differences of losses have no p."""
    if isinstance(observable, (SecondMoment, Covariance)):
        pairs = product(_without(observable.a, penalty), _without(observable.b, penalty))
        return [(sign * other, replace(observable, a=a, b=b)) for (sign, a), (other, b) in pairs]
    (root,) = _roots(observable)
    return [(1, observable)] + ([(-1, penalty)] if root.mark == LOSS and not root.must_tie else [])


Summed = Callable[[Diagram], Iterator[tuple[Count, Expr, AnyValue]]]
"""For a diagram the values that it gives, each with a count and an expression that multiply it."""


def _unresummed(
    spacetime: Spacetime,
    rule: Update,
    times: tuple[Expr, ...] | None,
    roots: list[Root],
    moments: bool,
    penalty: Observable | None,
) -> Summed:
    """The sums over time go into the coefficient."""
    weights = weights_of(spacetime, rule, times)
    marks = [root.mark for root in roots]

    def summed(diagram: Diagram) -> Iterator[tuple[Count, Expr, AnyValue]]:
        values = list(_values(diagram, marks, moments, penalty))
        for count, weight in weights(diagram):
            for value in values:
                yield count, weight, value

    return summed


def _resummed(
    spacetime: Spacetime,
    rule: Update,
    resum: str,
    roots: list[Root],
    correlated: bool,
    penalty: str = "",
    times: tuple[Expr, ...] | None = None,
) -> Summed:
    """The sums over time stay in the value, of linkless diagrams alone."""
    marks = [root.mark for root in roots]
    continuous = resum == "continuous"
    whole = spacetime.sizes["T"]
    T = whole if times is None else times[-1]
    plain = Descent() if rule.is_plain else rule
    if times is not None and isinstance(plain.rates, RateSchedule):  # which may depend on when the run ends
        plain = evolve(plain, rates=plain.rates_of(int(whole)))

    def summed(diagram: Diagram) -> Iterator[tuple[Count, Expr, AnyValue]]:
        if not diagram.is_linkless:
            return
        apart = correlated and not _meets_both_trees(diagram)
        if not diagram.order:  # nothing depends on T
            still: AnyValue = value_of(diagram, marks)
            if penalty:  # a value that says that its tensors are those of l + p
                still = ResummedValue(diagram, marks, TimeSum(0, ()), T, continuous, update=plain, penalty=penalty)
            yield RING(int(not apart)), Integer(1), still
            return
        for instant in rule.instant_edges(diagram):
            weight = rule.weighed(spacetime, diagram, instant)
            place = spacetime.correlated_placements if apart else spacetime.resummed_placements
            for count, placed in place(diagram, instant) or () if weight != 0 else ():
                taken: AnySum = placed
                if times is not None and not (times[0] == T and (isinstance(placed, TimeSum) or T == whole)):
                    taken = _earlier(placed, diagram, times[0])
                for number, powers in rule.dressings(diagram, instant) if taken.possible else ():
                    sums, dressed = least_alike(diagram, taken, powers) if rule.has_instant_edges else (taken, powers)
                    value = ResummedValue(diagram, marks, sums, T, continuous, False, plain, dressed, penalty)
                    yield count * number, weight, value

    return summed


def _earlier(times: AnySum, diagram: Diagram, first: Expr) -> AnySum:
    """A sum over times where the first root is taken at an earlier moment."""
    assert not isinstance(times, (TwoMoments, SetTimes))
    early = tuple(e for e, node in enumerate(diagram.inner_nodes) if diagram.parents[node] == diagram.roots[0])
    return TwoMoments(times, early, first)


def _is_correlated(observable: AnyObservable, spacetime: Spacetime) -> bool:
    """Whether trees that share no part may add to a covariance, as they share what chance decides."""
    return isinstance(observable, Covariance) and spacetime.random and spacetime.data == "fresh"


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


def _values(diagram: Diagram, marks: list[str], moments: bool, penalty: Observable | None) -> Iterator[Value]:
    """Yield the values of a diagram whose nodes carry the loss, or where they are alone the penalty."""
    alone = [block[0] for block in diagram.blocks if len(block) == 1 and diagram.parents[block[0]] >= 0]
    for number in range(len(alone) + 1 if penalty is not None else 1):
        for penalized in combinations(alone, number):
            carried = [LOSS] * len(diagram.parents)
            for root, mark in zip(diagram.roots, marks, strict=True):
                carried[root] = mark
            for node in penalized:
                carried[node] = penalty.name  # type: ignore[union-attr]
            yield Value(diagram.parents, diagram.parts, carried, moments=moments)


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


def generalized_diagrams(
    observable: AnyObservable, spacetime: Spacetime, order: int, *, tied_ancestors: bool | None = None
) -> Iterator[tuple[Diagram, int]]:
    """Yield the diagrams of one order that an observable sums, each with its power of 1/N.

    A training root draws its row with weight 1/N each; a part of roots alone has N rows to be in.

    Args:
        observable: what is observed.
        spacetime: where; it says which diagrams can't have embeddings.
        order: the number of edges.
        tied_ancestors: whether a node may share a part with its ancestors; None for what the spacetime says.

    Yields:
        Pairs of a diagram and the number of factors 1/N that its tied roots bring.
    """
    roots = _roots(observable)
    connected = isinstance(observable, Covariance) and not _is_correlated(observable, spacetime)
    forests = forests_of_order(
        order,
        # Of fixed data the training loss is the mean over the landscape: a test loss.
        [root.may_tie and spacetime.data == "fresh" for root in roots],
        tied_ancestors=spacetime.tied_ancestors if tied_ancestors is None else tied_ancestors,
        largest_part=spacetime.largest_part,
    )
    for diagram in forests:
        tied = [len(diagram.blocks[diagram.parts[node]]) > 1 for node in diagram.roots]
        if any(root.must_tie and not tie for root, tie in zip(roots, tied, strict=True)):
            continue
        if any(
            root.mark.startswith("@") and diagram.degree(node) != 1
            for root, node in zip(roots, diagram.roots, strict=True)
        ):
            continue
        if connected and not _meets_both_trees(diagram):
            continue
        yield diagram, _row_factors(diagram)


def _row_factors(diagram: Diagram) -> int:
    """The power of 1/N: one for each tied root, less one for a part made of roots alone."""
    power = 0
    for block in diagram.blocks:
        if len(block) > 1:
            roots = sum(diagram.parents[node] < 0 for node in block)
            power += roots - (roots == len(block))
    return power


def _meets_both_trees(diagram: Diagram) -> bool:
    return any(len({diagram.tree_of[node] for node in block}) > 1 for block in diagram.blocks)


def _roots(observable: AnyObservable) -> list[Root]:
    if isinstance(observable, (SecondMoment, Covariance)):
        first, second = observable.a, observable.b
        if isinstance(first, Observable) and isinstance(second, Observable) and first != second:
            if first.name == second.name:
                raise ValueError(
                    f"the observables {first!r} and {second!r} share the name {first.name!r}; "
                    "give each its own, as in Observable(s, name='u')"
                )
        return [first.root(0), second.root(1)]
    if not isinstance(observable, SingleObservable):
        raise TypeError(
            f"observable={observable!r} is not an observable; give TestLoss(), TrainLoss(), "
            "GeneralizationGap(), Displacement(), Observable(s), or a SecondMoment, Covariance or Variance"
        )
    return [observable.root(0)]


def _indices(roots: list[Root]) -> int:
    return sum(root.mark.startswith("@") for root in roots)


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
            f"spacetime={spacetime!r} is not a spacetime; give SGD(...), GD(...), ODE(...), SDE(...) or Grid(cells)"
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
    if any(root.may_tie for root in _roots(observable)) and not spacetime.has_training_set:
        raise ValueError(
            f"{observable!r} needs a training set, and {type(spacetime).__name__} has none; "
            "observe the test loss, the displacement or an Observable, or use SGD, GD or a Grid"
        )
