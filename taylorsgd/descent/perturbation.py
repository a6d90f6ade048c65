"""Direct perturbation: descent with θ a truncated power series in η, on every training set there is.

The slow and plain way to the expansion of E[s(θ_T)], and therefore the one to check the others with: it asks a
spacetime for its `histories` and a rule for its `step`, and for nothing that formulas are made of. With
δ = θ_T − θ_0 = O(η), every function of θ may be replaced by its Taylor polynomial in δ of degree `order`.

    descent   for each of the K^N training sets and each history, T steps of δ as a series in η; the mean of s(δ)
    flows     E[s(δ)] = Σ_k T^k/k! L^k s at δ = 0,    L = −η G·∇ + η²/(2B) C:∇∇

where G(δ) and C(δ) are the mean and the covariance of the gradients (of a field u: of −u) as functions of δ; the
generator L has its second term for the SDE only (Itô), not for the ODE. All numbers are elements of one exact domain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, product, starmap
from math import log10, prod
from operator import sub
from typing import Any, overload

from attrs import fields
from sympy import Expr, ImmutableMatrix, Integer
from sympy.polys.rings import PolyElement

from taylorsgd.descent.local_expansion import LocalExpansion, Rows, Series
from taylorsgd.descent.series_arithmetic import descents
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
from taylorsgd.landscapes import FiniteField, FiniteLandscape
from taylorsgd.spacetime import Spacetime
from taylorsgd.updates import Descent, RateSchedule, Update
from taylorsgd.updates.metrics import exact_metric, one_metric

__all__ = ["perturb"]

LOG_MOST_RUNS = 8
"""The most runs that are gone through, as a power of ten: hours of them."""
MOST_UPDATES = 10**5
"""The most updates of a run."""
Run = tuple[Rows, tuple[Rows, ...]]
"""Which losses a training set holds, and which every batch: all that a run depends on, in ascending order."""


@overload
def perturb(
    observable: TestLoss | TrainLoss | GeneralizationGap | Observable,
    spacetime: Any,
    landscape: FiniteLandscape | FiniteField,
    at: Any,
    order: int,
    update: Update | None = None,
    penalty: Observable | None = None,
    metric: Any = None,
) -> Expr: ...
@overload
def perturb(
    observable: Displacement,
    spacetime: Any,
    landscape: FiniteLandscape | FiniteField,
    at: Any,
    order: int,
    update: Update | None = None,
    penalty: Observable | None = None,
    metric: Any = None,
) -> ImmutableMatrix: ...
@overload
def perturb(
    observable: SecondMoment | Covariance,
    spacetime: Any,
    landscape: FiniteLandscape | FiniteField,
    at: Any,
    order: int,
    update: Update | None = None,
    penalty: Observable | None = None,
    metric: Any = None,
) -> Any: ...
def perturb(
    observable: AnyObservable,
    spacetime: Any,
    landscape: FiniteLandscape | FiniteField,
    at: Any,
    order: int,
    update: Update | None = None,
    penalty: Observable | None = None,
    metric: Any = None,
) -> Expr | ImmutableMatrix:
    """Expand E[s(θ_T)] through η^order by running descent on every training set.

        E[s(θ_T)] = Σ_{x_1 … x_N} w_{x_1} ⋯ w_{x_N} s(θ_T(x_1, …, x_N))  +  O(η^(order+1))

    The work grows as K^N · T for K losses and N rows: nothing is counted or resummed, and of runs that see the same
    losses in every batch one is made.

    Args:
        observable: what to average.
        spacetime: SGD, GD, Replacement or Grid, or whatever has `histories`, with concrete integer sizes: all orders
            of all epochs, or all draws of all batches, are gone through as well. Or ODE or SDE, whose T and B may
            be symbolic.
        landscape: the finite population that the rows are drawn from: of losses, or of vector fields u_x, along whose
            means over batches updates go, θ ← θ + η u.
        at: the initial point θ_0, in any form that `landscape.point` takes.
        order: the highest power of η, an int of at least 0.
        update: the update rule, such as a `Descent`, `HeavyBall` or `Nesterov`; None for plain descent. The ODE
            and SDE have none.
        penalty: p(θ), what descent minimizes beside the losses: updates follow l_x + p, and l is observed without.
            Coupled weight decay w towards a is p = w|θ − a|²/2.
        metric: Λ, a symmetric P × P matrix of exact numbers, for the learning rate ηΛ;
            by default that of the update rule, `Descent(metric=Λ)`, or else the identity.

    Returns:
        An expanded polynomial in `taylorsgd.symbols.eta` of degree at most `order`. For a vector, and for the
        moments of a vector and a scalar, a P × 1 ImmutableMatrix of them; for the moments of two vectors a
        P × P one, whose rows are the index of the first.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: `order` is negative or above 100; there are more runs than can be made; a size of SGD, GD or
            Replacement is symbolic; fixed data are not
            the N equally weighted losses of the landscape; the training loss is
            asked of an ODE or SDE, which have no training set; a function is not smooth at the point, or
            depends on the symbol eta.

    Example:
        Descent on (x ± 1)²/2 multiplies the mean of x by 1 − η at every update; the coins add variance:

        >>> import taylorsgd as ts
        >>> from sympy import Rational, Symbol
        >>> x = Symbol("x")
        >>> coin = ts.FiniteLandscape([(x - 1) ** 2 / 2, (x + 1) ** 2 / 2], [Rational(1, 2)] * 2, [x])
        >>> ts.perturb(ts.Displacement(), ts.GD(N=2, T=3), coin, at=1, order=3)
        Matrix([[-eta**3 + 3*eta**2 - 3*eta]])
        >>> ts.perturb(ts.Variance(ts.Displacement()), ts.SGD(N=2, B=1, E=1), coin, at=1, order=3)
        Matrix([[-2*eta**3 + 2*eta**2]])
    """
    if not isinstance(landscape, (FiniteLandscape, FiniteField)):
        raise TypeError(
            f"landscape={landscape!r} must be a FiniteLandscape or FiniteField: every training set is visited"
        )
    members = _members(observable)
    if penalty is not None and not isinstance(penalty, Observable):
        raise TypeError(f"penalty={penalty!r} must be an Observable, such as Observable(w * x**2 / 2)")
    if penalty is not None and isinstance(landscape, FiniteField):
        raise ValueError(f"penalty={penalty!r}: a vector field takes none; add its −∇p to the field")
    metric = one_metric(metric, getattr(update, "metric", None))
    if metric is not None:
        metric = exact_metric(metric, landscape.dimension)
    if not isinstance(spacetime, Spacetime):
        raise TypeError(f"spacetime={spacetime!r} must be an SGD, GD, Replacement, Grid, ODE or SDE")
    if spacetime.is_flow:
        _refuse_training_loss(members, spacetime)
        if update is not None:
            raise ValueError(f"update={update!r}: {spacetime!r} makes no updates; leave it out")
        time = spacetime.sizes["T"]
        first, second = getattr(observable, "times", None) or (time, None)
        last = time if second is None else second
        if (last - time).is_positive or (first - time).is_positive:
            raise ValueError(f"{observable!r} is taken after the end of {spacetime!r}")
        noise = [] if spacetime.largest_part == 1 else [1 / spacetime.sizes["B"]]
        local = LocalExpansion(landscape, at, order, members, [first, last - first, *noise], penalty, metric)
        means = _mean_under_flow(local)
    else:
        _refuse_symbols(spacetime)
        rule = Descent() if update is None else update
        if not isinstance(rule, Update):
            raise TypeError(
                f"update={update!r} must be a Descent, HeavyBall, Nesterov, SecondOrder, ImplicitStep or GDC"
            )
        _refuse_many_runs(spacetime, landscape)
        updates = int(spacetime.sizes["T"])
        numbers = rule.numbers(spacetime)
        sizes = [*numbers.values(), *_rates(rule, updates)]
        local = LocalExpansion(landscape, at, order, members, sizes, penalty, metric)
        runs = _runs(spacetime, local, landscape)
        means = _mean_over_runs(local, runs, rule, list(numbers), _times(observable, updates))

    vectors = [isinstance(member, Displacement) for member in members]
    if len(members) == 2:
        # `targets` lists the components of a, those of b, and then their products
        widths = [local.dimension if vector else 1 for vector in vectors]
        a, b, means = means[: widths[0]], means[widths[0] : sum(widths)], means[sum(widths) :]
        if isinstance(observable, Covariance):
            apart = starmap(local.times, product(a, b))
            means = [list(map(sub, joint, separate)) for joint, separate in zip(means, apart, strict=True)]
    entries = [local.in_eta(mean) for mean in means]
    if not any(vectors):
        return entries[0]
    return ImmutableMatrix(local.dimension, len(entries) // local.dimension, entries)


def _mean_over_runs(
    local: LocalExpansion, runs: dict[Run, Any], update: Update, names: list[str], times: tuple[int, ...]
) -> list[Series]:
    """The targets during descent, averaged over runs of known probabilities."""
    totals: list[Series] = []
    in_order = sorted(runs, key=lambda run: run[1])  # so that runs that begin alike are neighbours
    numbers, rates = dict(zip(names, local.sizes, strict=False)), local.sizes[len(names) :]
    paths = descents(local, update, numbers, rates, (batches for _, batches in in_order))
    for run, passed in zip(in_order, paths, strict=True):
        taken = []
        for time, components in zip(times, local.components(run[0]), strict=True):
            monomials = local.monomials(passed[time])
            taken.append([local.value(component, monomials) for component in components])
        # of two observables the products come last
        values = [*chain(*taken), *(starmap(local.times, product(*taken)) if len(taken) == 2 else ())]
        totals = totals or [local.constant(local.domain.zero) for _ in values]
        totals = [
            [total + runs[run] * x for total, x in zip(*pair, strict=True)] for pair in zip(totals, values, strict=True)
        ]
    return totals


def _runs(spacetime: Spacetime, local: LocalExpansion, landscape: FiniteLandscape | FiniteField) -> dict[Run, Any]:
    """The probabilities of all runs: of every training set with every history of batches."""
    histories = [
        (local.rational(chance.numerator, chance.denominator), batches) for chance, batches in spacetime.histories()
    ]
    found: dict[Run, Any] = defaultdict(lambda: local.domain.zero)
    for rows, drawn in _training_sets(spacetime, local, landscape):
        losses = {batch: tuple(sorted(rows[n] for n in batch)) for _, batches in histories for batch in batches}
        held = tuple(sorted(rows))
        for chance, batches in histories:
            found[held, tuple(losses[batch] for batch in batches)] += drawn * chance
    return found


def _training_sets(
    spacetime: Spacetime, local: LocalExpansion, landscape: FiniteLandscape | FiniteField
) -> Iterator[tuple[Rows, Any]]:
    """Every choice of losses for the rows; of fixed data the only one, each loss in a row of its own."""
    size = int(spacetime.sizes["N"])
    if spacetime.data == "fresh":
        for rows in product(range(local.count), repeat=size):
            yield rows, prod((local.weights[row] for row in rows), start=local.domain.one)
        return
    if size != local.count or len(set(landscape.weights)) > 1:
        raise ValueError(
            f"with data='fixed' the landscape is the training set: it must have N={size} losses of equal weights, "
            f"not {local.count} of weights {landscape.weights}"
        )
    yield tuple(range(size)), local.domain.one


def _mean_under_flow(local: LocalExpansion) -> list[Series]:
    """The observables' means, by T^k/k! times the k-th power of the generator; two times one after the other."""
    _, _, *inverse_batch = local.sizes
    half_noise = [noise * local.rational(1, 2) for noise in inverse_batch]  # none for the ODE
    slopes = [local.raised(slope) for slope in local.slopes]
    mean = [local.test_mean(entries) for entries in zip(*slopes, strict=True)]
    drift = [own + pull for own, pull in zip(mean, local.raised(local.gradient(local.penalty)), strict=True)]
    pairs = list(product(range(local.dimension), repeat=2))
    diffusion = {
        (i, j): local.test_mean([slope[i] * slope[j] for slope in slopes]) - mean[i] * mean[j] for i, j in pairs
    }

    def generate(functions: dict[int, PolyElement]) -> dict[int, PolyElement]:
        """Apply L to Σ_m η^m functions[m], dropping the powers of δ that no longer reach η^order."""
        image: dict[int, Any] = dict.fromkeys(range(local.order + 1), local.ring.zero)
        for m, function in functions.items():
            gradient = local.gradient(function)
            if m + 1 <= local.order:
                for slope, derivative in zip(drift, gradient, strict=True):
                    image[m + 1] -= slope * derivative
            if m + 2 <= local.order:
                for (i, j), noise in product(pairs, half_noise):
                    image[m + 2] += diffusion[i, j] * gradient[i].diff(j).mul_ground(noise)
        return {m: local.truncated(function, local.order - m) for m, function in image.items()}

    def evolved(functions: dict[int, PolyElement], time: Any) -> dict[int, Any]:
        """The functions' means after a time, as functions of where they start."""
        total: dict[int, Any] = dict.fromkeys(range(local.order + 1), local.ring.zero)
        volume = local.domain.one  # T^k/k!
        for k in range(local.order + 1):
            for m, function in functions.items():
                total[m] += function.mul_ground(volume)
            volume = volume * time * local.rational(1, k + 1)
            functions = generate(functions)
        return total

    def mean_of(functions: dict[int, PolyElement], time: Any) -> Series:
        return [function.coeff(1) for function in evolved(functions, time).values()]

    first, gap, *_ = local.sizes
    components = local.components(None)
    times = (first + gap,) if len(components) == 1 else (first, first + gap)
    means = [mean_of({0: f}, time) for time, each in zip(times, components, strict=True) for f in each]
    if len(components) == 2:
        for a, b in product(*components):
            later = evolved({0: b}, gap).items()
            means.append(mean_of({m: local.truncated(a * f, local.order - m) for m, f in later}, first))
    return means


def _rates(update: Update, updates: int) -> Sequence[Expr]:
    """r_t of every update.

    Raises:
        ValueError: if there are not as many as updates.
    """
    given = (Integer(1),) * updates if update.rates is None else update.rates
    rates = given.rates(updates) if isinstance(given, RateSchedule) else given
    if len(rates) != updates:
        raise ValueError(f"rates has {len(rates)} entries for {updates} updates; give one for each")
    return rates


def _refuse_symbols(spacetime: Spacetime) -> None:
    for field in fields(type(spacetime)):
        name, size = field.name, getattr(spacetime, field.name)
        if getattr(size, "free_symbols", None):
            raise ValueError(
                f"{name}={size} of {type(spacetime).__name__} is symbolic, but running descent needs a concrete "
                f"integer, for example {name}=2"
            )


def _refuse_many_runs(spacetime: Spacetime, landscape: FiniteLandscape | FiniteField) -> None:
    """Raise where more runs, or longer ones, would be gone through than a machine can.

    Raises:
        ValueError: with about how many.
    """
    rows, updates = int(spacetime.sizes["N"]), int(spacetime.sizes["T"])
    sets = rows * log10(len(landscape.weights)) if spacetime.data == "fresh" else 0.0
    runs = sets + spacetime.log_histories
    if updates > MOST_UPDATES or runs > LOG_MOST_RUNS:
        raise ValueError(
            f"spacetime={spacetime!r} has about 10^{runs:.3g} runs of {updates} updates on {len(landscape.weights)} "
            f"losses, and each is made; take at most 10^{LOG_MOST_RUNS} and {MOST_UPDATES}, or derive a formula"
        )


def _times(observable: AnyObservable, updates: int) -> tuple[int, ...]:
    """After how many updates the observables are taken."""
    if not isinstance(observable, (SecondMoment, Covariance)):
        return (updates,)
    if observable.times is None:
        return updates, updates
    times = [updates if time is None else time for time in observable.times]
    if not all(time in range(updates + 1) for time in times):
        raise ValueError(
            f"times={observable.times} of {observable!r} must be integers from 0 to the {updates} updates of the run"
        )
    return int(times[0]), int(times[1])


def _members(observable: AnyObservable) -> tuple[SingleObservable, ...]:
    """The one observable, or the two whose product is averaged."""
    if isinstance(observable, (SecondMoment, Covariance)):
        return observable.a, observable.b
    if isinstance(observable, SingleObservable):
        return (observable,)
    raise TypeError(
        f"observable={observable!r} must be a TestLoss, TrainLoss, GeneralizationGap, Displacement, "
        "Observable, SecondMoment or Covariance; write for example TestLoss()"
    )


def _refuse_training_loss(members: Sequence[SingleObservable], spacetime: Any) -> None:
    for member in members:
        if isinstance(member, (TrainLoss, GeneralizationGap)):
            raise ValueError(
                f"observable {member!r} needs a training set, and {type(spacetime).__name__} has none; "
                "ask for the TestLoss, or take SGD or GD"
            )
