"""Deriving a formula: sum over diagrams, count embeddings, merge by value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import cast

from sympy import QQ, Add, Expr, Integer, factor

from taylorsgd.diagrams import Diagram, Value, forests_of_order, value_of
from taylorsgd.diagrams.values import LOSS, open_index, side_by_side
from taylorsgd.formulas.formula import Formula
from taylorsgd.formulas.observables import (
    AnyObservable,
    Covariance,
    Displacement,
    GeneralizationGap,
    Observable,
    SecondMoment,
    SingleObservable,
    TestLoss,
    TrainLoss,
)
from taylorsgd.formulas.resummed_value import ResummedValue
from taylorsgd.formulas.term import AnyValue, Term
from taylorsgd.formulas.updating import updated_weight
from taylorsgd.spacetime import Spacetime
from taylorsgd.spacetime.base import RING, Count
from taylorsgd.updates.rules import Descent, HeavyBall, Update

__all__ = ["derive", "generalized_diagrams"]


@dataclass(frozen=True)
class _Root:
    """What an observable asks of its root."""

    mark: str
    may_tie: bool = False
    must_tie: bool = False
    sign: int = 1


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
            in closed form for GD and one epoch, with numbers for sizes and times wherever batches are.
        spacetime: `SGD(...)`, `GD(...)`, `Replacement(...)`, `ODE(...)`, `SDE(...)` or `Grid(cells)`.
        order: the highest power d ≥ 0 of η.
        resum: None for a polynomial in η and T; "discrete" for exact sums over times with powers of K
            (one epoch, GD, and any grid or SGD of concrete sizes); "continuous" for integrals with
            exponentials of ηH (one epoch, GD, ODE and SDE). A resummed formula is exact on quadratic
            landscapes with additive noise and stays finite as T → ∞ at a minimum.
        update: the update rule, `HeavyBall(beta)`, `Nesterov(beta)`, `SecondOrder(lam)`, `ImplicitStep(lam)`,
            a `Descent` with rates, decay or metric, or (of GD) `GDC(B)`; None for plain descent. In closed form for
            GD and one epoch at constant rates, or of descent with `LinearWarmup()` or `Cosine()`; elsewhere with
            numbers for sizes. Of these `HeavyBall(beta)` can be resummed (discrete): evaluate() and limit() are
            exact, a closed form in the eigenvalues is not written.
        penalty: p(θ), what descent minimizes beside the losses, as an `Observable`: every update follows l_x + p,
            and l is observed without it. Coupled weight decay w towards a is p = w|θ − a|²/2. A node that is
            alone carries l + p, and so has a term with each.

    Returns:
        A `Formula`. Its coefficients are written in the free sizes of the spacetime.

    Raises:
        TypeError: if the observable or the spacetime is of another kind.
        ValueError: if `order` is not a non-negative integer, or a training loss or gap is asked of an ODE
            or SDE, which have no training set, or `resum` is unknown, or two observables share a name.
        NotImplementedError: if this resummation of this spacetime, or this update rule on it, has no closed
            form here; for a penalty that is resummed or with fixed data.

    Example:
        >>> import taylorsgd as ts
        >>> print(ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2))
        l - T G_μ G^μ + T*(2*T - 1)/2 G_μ H^μ_ν G^ν + T/2 C_μν H^μν    with T = N
        >>> print(ts.derive(ts.GeneralizationGap(), ts.GD(), order=1))
        T/N C^μ_μ
        >>> print(ts.derive(ts.GeneralizationGap(), ts.GD(), order=1, resum="continuous"))
        1/N Σ_μ C_μμ (1 - exp(-T*eta*λ_μ))/λ_μ
        >>> decay = ts.Observable(lambda theta: sum(x**2 for x in theta) / 20, name="p")
        >>> print(ts.derive(ts.TestLoss(), ts.GD(), order=1, penalty=decay))
        l - T G_μ G^μ - T G_μ ∇^μ p

    Source: Tenka, Theorem 3 (section B.3), summed over maps instead of embeddings; resummed, Theorem 1.
    """
    if isinstance(update, Descent) and update.metric is not None:
        plain = Descent(update.rates, update.decay)
        formula = derive(observable, spacetime, order, resum=resum, update=plain, penalty=penalty)
        return formula.under(update.metric)
    roots = _roots(observable)
    _check(observable, spacetime, order, resum, update)
    if penalty is not None:
        _check_penalty(penalty, observable, spacetime, resum)
    times = _times(observable, spacetime)
    if resum is not None:
        if times is not None:
            raise NotImplementedError(
                f"resum={resum!r} of {observable!r} at two times is not derived; leave out resum or times"
            )
        return _derive_resummed(observable, spacetime, order, resum == "continuous", _momentum(update, resum))
    if spacetime.random and isinstance(observable, Covariance):
        return _covariance_over_schedules(observable, spacetime, order, update, penalty)
    if times is not None or update is not None and not update.is_plain:
        return _derive_weighted(observable, spacetime, order, update or Descent(), times, penalty)
    coefficients: dict[Value, Count] = {}
    sources: dict[Value, list[Diagram]] = {}
    marks = [root.mark for root in roots]
    moments = spacetime.data == "fixed"
    for d in range(order + 1):
        for diagram, ties in generalized_diagrams(observable, spacetime, d):
            weight = spacetime.weight(diagram)
            if not weight:
                continue
            sign = (-1) ** d
            for root in roots:
                sign *= root.sign
            term = weight * (RING.gens[3] ** ties * QQ(sign, diagram.automorphisms))
            for value in _values(diagram, marks, moments, penalty):
                coefficients[value] = coefficients.get(value, RING.zero) + term
                sources.setdefault(value, []).append(diagram)
    terms = [
        Term(spacetime.expression(coefficient), value, tuple(sources[value]))
        for value, coefficient in coefficients.items()
        if coefficient
    ]
    formula = Formula(terms, (spacetime,), _observed(observable, penalty), _indices(roots))
    return formula.to_cumulants() if moments else formula


def _derive_weighted(
    observable: AnyObservable,
    spacetime: Spacetime,
    order: int,
    update: Update,
    times: tuple[Expr, ...] | None,
    penalty: Observable | None,
) -> Formula:
    """The sum over diagrams with an update rule's Green's functions on their edges, each root at its own time."""
    roots = _roots(observable)
    marks = [root.mark for root in roots]
    ancestors = True if update.instant != 0 else None  # an instant edge may join nodes of one part
    moments = spacetime.data == "fixed"
    found: dict[Value, list[tuple[Expr, Diagram]]] = {}
    for d in range(order + 1):
        for diagram, ties in generalized_diagrams(observable, spacetime, d, tied_ancestors=ancestors):
            weight = updated_weight(spacetime, diagram, update, times)
            if weight == 0:
                continue
            sign = prod(root.sign for root in roots) * (-1) ** d
            shares = spacetime.expression(RING.gens[3] ** ties * QQ(sign, diagram.automorphisms))
            for value in _values(diagram, marks, moments, penalty):
                found.setdefault(value, []).append((weight * shares, diagram))
    terms = (
        Term(factor(Add(*(weight for weight, _ in summands))), value, tuple(d for _, d in summands))
        for value, summands in found.items()
    )
    formula = Formula(terms, (spacetime,), _observed(observable, penalty), _indices(roots))
    return formula.to_cumulants() if moments else formula


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
    observable: Covariance,
    spacetime: Spacetime,
    order: int,
    update: Update | None,
    penalty: Observable | None,
) -> Formula:
    """E[ab] − E[a] E[b]. Trees that share no part share the schedule, and so they are correlated."""
    pair = SecondMoment(observable.a, observable.b, observable.times)
    joint = derive(pair, spacetime, order, update=update, penalty=penalty)
    times = _times(observable, spacetime)
    if times is None:
        a, b = (derive(s, spacetime, order, update=update, penalty=penalty) for s in (pair.a, pair.b))
    else:
        a, b = (
            _derive_weighted(single, spacetime, order, update or Descent(), (time,), penalty)
            for single, time in zip((pair.a, pair.b), times, strict=True)
        )
    apart = [
        Term(
            -left.coefficient * right.coefficient,
            side_by_side(cast(Value, left.value), cast(Value, right.value)),
            (),
        )
        for left in a.terms
        for right in b.terms
        if left.order + right.order <= order
    ]
    return joint + Formula(apart, (spacetime,), joint.observables, joint.indices)


def _times(observable: AnyObservable, spacetime: Spacetime) -> tuple[Expr, Expr] | None:
    """When a pair of observables is taken; None for the end.

    Raises:
        ValueError: if that is after the last update.
    """
    if not isinstance(observable, (SecondMoment, Covariance)) or observable.times is None:
        return None
    end = spacetime.sizes["T"]
    first, second = (end if time is None else time for time in observable.times)
    if (second - end).is_positive or (first - end).is_positive:
        raise ValueError(
            f"times={observable.times} of {observable!r} are later than the last of {end} updates"
        )
    return first, second


def _momentum(update: Update | None, resum: str) -> Expr:
    """β of a heavy ball that can be resummed; 0 for plain descent."""
    if update is None or update.is_plain:
        return Integer(0)
    if isinstance(update, HeavyBall) and resum == "discrete" and update.rates is None and update.decay == 0:
        return update.beta
    raise NotImplementedError(
        f"resum={resum!r} with update={update!r} is not derived; supported are plain descent, and with "
        "resum='discrete' HeavyBall(beta) with neither rates nor decay"
    )


def _derive_resummed(
    observable: AnyObservable, spacetime: Spacetime, order: int, continuous: bool, momentum: Expr
) -> Formula:
    roots = _roots(observable)
    marks = [root.mark for root in roots]
    sign = 1
    for root in roots:
        sign *= root.sign
    terms = []
    for d in range(order + 1):
        for diagram, ties in generalized_diagrams(observable, spacetime, d):
            if not diagram.is_linkless:
                continue
            factor, times = spacetime.times(diagram, continuous)
            if not factor or not times.possible:
                continue
            weight = factor * RING.gens[3] ** ties * sign * (-1) ** d / diagram.automorphisms
            value: AnyValue = value_of(diagram, marks)
            if d:  # without edges nothing depends on T
                value = ResummedValue(
                    diagram, marks, times, spacetime.sizes["T"], continuous, momentum=momentum
                )
            terms.append(Term(spacetime.expression(weight), value, (diagram,)))
    return Formula(terms, (spacetime,), _observed(observable), _indices(roots))


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
    connected = isinstance(observable, Covariance)
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


def _roots(observable: AnyObservable) -> list[_Root]:
    if isinstance(observable, (SecondMoment, Covariance)):
        first, second = observable.a, observable.b
        if isinstance(first, Observable) and isinstance(second, Observable) and first != second:
            if first.name == second.name:
                raise ValueError(
                    f"the observables {first!r} and {second!r} share the name {first.name!r}; "
                    "give each its own, as in Observable(s, name='u')"
                )
        return [_root(first, 0), _root(second, 1)]
    return [_root(observable, 0)]


def _root(observable: SingleObservable, position: int) -> _Root:
    match observable:
        case TestLoss():
            return _Root(LOSS)
        case TrainLoss():
            return _Root(LOSS, may_tie=True)
        case GeneralizationGap():
            return _Root(LOSS, may_tie=True, must_tie=True, sign=-1)
        case Displacement():
            return _Root(open_index(position))
        case Observable():
            return _Root(observable.name)
        case _:
            raise TypeError(
                f"observable={observable!r} is not an observable; give TestLoss(), TrainLoss(), "
                "GeneralizationGap(), Displacement(), Observable(s), or a SecondMoment, Covariance or Variance"
            )


def _indices(roots: list[_Root]) -> int:
    return sum(root.mark.startswith("@") for root in roots)


def _observed(observable: AnyObservable, penalty: Observable | None = None) -> dict[str, Observable]:
    pair = (
        (observable.a, observable.b) if isinstance(observable, (SecondMoment, Covariance)) else (observable,)
    )
    return {single.name: single for single in (*pair, penalty) if isinstance(single, Observable)}


def _check_penalty(
    penalty: Observable, observable: AnyObservable, spacetime: Spacetime, resum: str | None
) -> None:
    if not isinstance(penalty, Observable):
        raise TypeError(
            f"penalty={penalty!r} must be an Observable, such as Observable(w * x**2 / 2, name='p')"
        )
    known = _observed(observable).get(penalty.name, penalty)
    if known != penalty:
        raise ValueError(
            f"penalty={penalty!r} and the observable {known!r} share the name {penalty.name!r}; give each its own"
        )
    if resum is not None or spacetime.data == "fixed":
        raise NotImplementedError(
            f"penalty={penalty!r} is supported without resum and with data='fresh'; elsewhere add it to the losses, "
            "and subtract its own expectation, that of the Observable, from a loss that is observed"
        )


def _check(
    observable: AnyObservable, spacetime: Spacetime, order: int, resum: str | None, update: Update | None
) -> None:
    if resum not in (None, "discrete", "continuous"):
        raise ValueError(f"resum={resum!r} is unknown; give 'discrete', 'continuous' or None")
    if not isinstance(spacetime, Spacetime):
        raise TypeError(
            f"spacetime={spacetime!r} is not a spacetime; give SGD(...), GD(...), ODE(...), SDE(...) or Grid(cells)"
        )
    if update is not None and not isinstance(update, Update):
        raise TypeError(
            f"update={update!r} is not an update rule; give Descent(...), HeavyBall(beta), Nesterov(beta), "
            "SecondOrder(lam), ImplicitStep(lam) or GDC(B)"
        )
    if isinstance(order, bool) or not isinstance(order, int) or order < 0:
        raise ValueError(f"order={order!r} is not an order; it must be an integer of at least 0")
    if any(root.may_tie for root in _roots(observable)) and not spacetime.has_training_set:
        raise ValueError(
            f"{observable!r} needs a training set, and {type(spacetime).__name__} has none; "
            "observe the test loss, the displacement or an Observable, or use SGD, GD or a Grid"
        )
