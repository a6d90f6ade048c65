"""Descent with any optimizer, expanded in η: the Taylor coefficients of what it ends with, by numbers alone.

    E s(θ_T) = Σ_k η^k E[(1/k!) d^k s(θ_T)/dη^k at η = 0]

No formula is claimed and no diagram summed: every trial of a simulation is run once, at η = 0, with θ and all that the
optimizer remembers polynomials in η (see `jets`). What a formula needs is smoothness, and so does this: of the loss,
and of the optimizer in its gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from taylorsgd.arguments import switched, whole_number
from taylorsgd.descent.drawing import MOST_KEPT, Draws, refuse_many_test_points, trials_at_once
from taylorsgd.descent.expansions import Expansion, over_series, run_of
from taylorsgd.descent.jets import Jet, jet_of
from taylorsgd.descent.optimizers import refuse_rough_optimizers
from taylorsgd.descent.pytree_arithmetic import AnyUpdate, form_of, numbers_of, stepping
from taylorsgd.descent.recording import observable_functions, refuse_open_sizes
from taylorsgd.device_arrays import on_device
from taylorsgd.display.progress import tracked
from taylorsgd.formulas.expectations import Expectations
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
from taylorsgd.landscapes.fingerprints import Origin, probed_points
from taylorsgd.landscapes.keys import random_key
from taylorsgd.landscapes.landscape import (
    AnyLandscape,
    as_landscape,
    check_counts,
    checked_parameters,
    expected_loss,
    population_chunk,
    population_mean,
    weighted_loss,
)
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.landscapes.smoothness import warn_of_roughness
from taylorsgd.measuring.devices import gathered
from taylorsgd.measuring.results import DrawMoments
from taylorsgd.spacetime import Spacetime

__all__ = ["expand"]

MOST_ORDER = 8
"""The highest power of η: each one more doubles what a step costs, and what is compiled for it."""
TEST, TRAIN = "test", "train"
Member = str | PointFunction
"""A number that is followed: the test loss, the training loss, or a function of θ."""


def expand(
    optimizer: AnyUpdate,
    landscape: AnyLandscape,
    theta: Any,
    spacetime: Spacetime,
    order: int = 3,
    *,
    observable: AnyObservable | None = None,
    trials: int = 1000,
    key: jax.Array | int = 0,
    test_points: int | None = None,
    chunk: int | None = None,
    progress: bool | None = None,
) -> Expansion:
    """Expand E[s(θ_T)] through η^order for any optimizer, by differentiating its runs.

        c_k = mean over trials of (1/k!) d^k s(θ_T)/dη^k at η = 0,        k = 0, …, order

    The trials are those that `simulate` makes of the same key, at its first learning rate: the same training sets, in
    the same orders. Each is differentiated in forward mode, update by update, and so holds order + 1 times what a
    simulated one holds, whatever T; its time in simulated trials is about 1.4 at order 1, 3 at order 2, 6 at order 3
    and 10 at order 4 (`benchmarks/expanding.py`).

    The series of one trial converges below the learning rate at which its path first meets a kink or a pole: of Adam's
    step g/(√v̂ + ε), where a gradient changes sign within √eps_root or ε. So give Adam and RMSProp an `eps_root` that
    gradients do not drown in, and look at `Expanded.eta_max`, the range of the series' own estimate.

    Args:
        optimizer: a function of η that returns an optax transformation, such as `optax.adam` or
            `lambda eta: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(eta, eps_root=1e-4))`; or that returns
            anything else with `init(theta)` and `update(gradient, state, theta)`, as optax calls them. Or an update
            rule, such as `HeavyBall(beta)`, with numbers for its parameters.
        landscape: the loss and its data, or a toy landscape. With data="fixed" a population of N points.
        theta: the parameters θ_0, a pytree of float arrays.
        spacetime: `SGD(N=…, B=…, E=…)`, `GD(N=…, T=…)`, `Replacement(N=…, B=…, T=…)` or `Grid(cells)`, with numbers
            for its sizes.
        order: the highest power of η, from 0 to 8.
        observable: what is averaged: `TestLoss()`, the default, `TrainLoss()`, `GeneralizationGap()`,
            `Displacement()`, an `Observable` whose s is a function of θ, or a `SecondMoment`, `Covariance` or
            `Variance` of scalars.
        trials: the number of training sets, at least 2.
        key: a JAX random key, or an integer seed.
        test_points: as in `simulate`.
        chunk: the number of trials run side by side; by default what a few hundred megabytes hold. A sampler is asked
            for the training points of one chunk at a time.
        progress: as in `simulate`.

    Returns:
        An `Expansion`, with `coefficients`, `standard_errors`, `covariance` and `predict(eta)`.

    Raises:
        TypeError: if arguments have other types; if the learning rate of the optimizer is fixed already.
        ValueError: if the optimizer does not depend on η, jumps or stops derivatives; if a size of the spacetime or a
            parameter is a symbol, a number is impossible, data are fixed and the landscape has not N points, or a
            coefficient is not finite, as where a square root is taken of 0.
        NotImplementedError: for the ODE and SDE, which make no updates, and `ImplicitStep`, whose iterations have
            other derivatives than its steps: `derive` has formulas for these.

    Warns:
        RuntimeWarning: if the loss, the observable or the optimizer has kinks: clipping has one where it sets in. The
            coefficients are then right as far as no trial crosses a kink.

    Example:
        >>> import jax, optax, taylorsgd as ts
        >>> bowl = ts.Landscape(lambda theta, x: theta**2 / 2 + x * theta, jax.numpy.array([-0.5, 0.5]))
        >>> adam = lambda eta: optax.adam(eta, eps_root=0.1)
        >>> found = ts.expand(adam, bowl, 1.0, ts.SGD(N=4, B=1, E=1), order=2, trials=4000)
        >>> print(found.predict(0.01))
        Prediction of E[l(θ_4)] through η^2, to be believed up to η = 0.0264
        <BLANKLINE>
           η  prediction ± s.e.     order 1    order 2  in range
        ────  ───────────────────  ────────  ─────────  ────────
        0.01  0.465275 ± 0.000026  -0.03544  0.0007118  yes
    """
    place = as_landscape(landscape)
    theta = checked_parameters(theta)
    order = whole_number(order, "order", 0, MOST_ORDER, why="doubles the cost with every power of eta")
    check_counts(
        trials=(trials, 2),
        test_points=(1 if test_points is None else test_points, 1),
        chunk=(1 if chunk is None else chunk, 1),
    )
    progress = None if progress is None else switched(progress, "progress")
    observable = TestLoss() if observable is None else observable
    singles = _singles(observable)
    functions = {one: f for one in singles if isinstance(one, Observable) for f in observable_functions([one])}
    if 8 * trials * (order + 1) * 2 > MOST_KEPT:
        raise ValueError(f"trials={trials} would keep more than {MOST_KEPT >> 30} GiB of coefficients; take fewer")
    refuse_many_test_points(test_points, trials)
    key = random_key(key)
    if not isinstance(spacetime, Spacetime):
        raise TypeError(
            f"spacetime={spacetime!r} is not a spacetime; give SGD(...), GD(...), Replacement(...) or Grid(cells)"
        )
    if spacetime.is_flow:
        raise NotImplementedError(
            f"spacetime={spacetime!r} makes no updates, and an optimizer does; supported are SGD, GD, Replacement and "
            "Grid, and derive(...) has formulas for flows"
        )
    refuse_open_sizes(spacetime)
    refuse_rough_optimizers(optimizer, theta)
    numbers = numbers_of(optimizer, spacetime, int(spacetime.sizes["T"]), "optimizer")
    if place.size is None and place.expected is None and test_points is None:
        test_points = 256
    place = place.traced(theta)
    warn_of_roughness(place.point_loss, theta, probed_points(place), stacklevel=3)
    functions = {one: function.traced(theta) for one, function in functions.items()}
    for function in functions.values():
        warn_of_roughness(function, theta, None, stacklevel=3)
    at_once = min(trials, chunk or trials_at_once(place, theta, spacetime, optimizer, copies=2**order))
    draws = Draws(place, spacetime, key, trials, at_once, test_points)
    members = _members(singles, functions)
    run = partial(
        _expanded,
        place.point_loss,
        members,
        expected_loss(place) if test_points is None else None,
        form_of(optimizer),
        theta,
        draws.population if TEST in members else None,
        jax.tree.map(on_device, numbers),
        order=order,
        chunk=population_chunk(place, theta, copies=4 * at_once * 2**order),
        moved=isinstance(observable, Displacement),
        fixed=draws.fixed,
    )
    scalars, moments = [], DrawMoments()
    for _, batches, train, test in _tracked(draws.chunks(1), draws.chunks_at_each, progress):
        found, displacement = run(batches, train, test)
        wanted = min(at_once, trials - sum(map(len, scalars)))
        scalars.append(gathered(found)[:wanted].astype(np.float64))
        if displacement is not None:
            moments.add([gathered(leaf)[:wanted] for leaf in jax.tree.leaves(displacement)])
    about: dict[str, Any] = {
        "spacetime": spacetime,
        "optimizer": optimizer,
        "expectations": Expectations.of(observable, run_of(spacetime, optimizer)),
        "training_sets": draws.training_sets,
        "origin": Origin(place, theta),
    }
    if isinstance(observable, Displacement):
        structure = jax.tree.structure(theta)
        _refuse_infinite(np.concatenate([leaf.reshape(order + 1, -1) for leaf in moments.mean], axis=1), optimizer)
        mean, covariance = (jax.tree.unflatten(structure, one) for one in (moments.mean, moments.covariance_of_mean()))
        return Expansion(mean, covariance, trials, **about)
    series = np.concatenate(scalars)
    _refuse_infinite(np.moveaxis(series, 1, 0).reshape(order + 1, -1), optimizer)
    columns = dict(zip(members, np.moveaxis(series, -1, 0), strict=True))
    return over_series(_of(observable, columns, functions), **about)


def _singles(observable: Any) -> tuple[SingleObservable, ...]:
    """The observables of single runs that an observable is made of.

    Raises:
        TypeError: if it is none, or a moment of a displacement.
        NotImplementedError: for times before the end.
    """
    if isinstance(observable, SingleObservable):
        return (observable,)
    if not isinstance(observable, (SecondMoment, Covariance)):
        raise TypeError(f"observable={observable!r} is not an observable, such as TestLoss()")
    if observable.times is not None:
        raise NotImplementedError(f"{observable!r}: an expansion is of the end of a run; leave out times")
    singles = (observable.a, observable.b)
    if any(isinstance(one, Displacement) for one in singles):
        raise TypeError(f"{observable!r}: moments of a displacement are not expanded; observe scalars")
    return singles


def _members(singles: Iterable[SingleObservable], functions: Mapping[Any, PointFunction]) -> tuple[Member, ...]:
    """The numbers that are followed: no more than are asked for, for a test loss takes all the data."""
    found: dict[Member, None] = {}
    for one in singles:
        if isinstance(one, (TestLoss, GeneralizationGap)):
            found[TEST] = None
        if isinstance(one, (TrainLoss, GeneralizationGap)):
            found[TRAIN] = None
        if isinstance(one, Observable):
            found[functions[one]] = None
    return tuple(found)


def _of(observable: AnyObservable, columns: Mapping[Member, np.ndarray], functions: Mapping[Any, Any]) -> np.ndarray:
    """An observable's coefficients in every trial, (trials, order + 1)."""
    match observable:
        case TestLoss():
            return columns[TEST]
        case TrainLoss():
            return columns[TRAIN]
        case GeneralizationGap():
            return columns[TEST] - columns[TRAIN]
        case SecondMoment():
            return _times(_of(observable.a, columns, functions), _of(observable.b, columns, functions))
        case Covariance():
            a, b = (_of(one, columns, functions) for one in (observable.a, observable.b))
            return _times(a - a.mean(axis=0), b - b.mean(axis=0)) * (len(a) / (len(a) - 1))
    return columns[functions[observable]]


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product of two truncated series in every trial."""
    product = [sum(a[:, i] * b[:, k - i] for i in range(k + 1)) for k in range(a.shape[1])]
    return np.stack(product, axis=1)


def _refuse_infinite(found: np.ndarray, optimizer: Any) -> None:
    """Raise if a coefficient, (order + 1, others), is not finite."""
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"the coefficient of η^{np.argmin(finite)} is not finite: optimizer={optimizer!r}, or the loss, is not "
            "smooth at a gradient that occurs; a square root or norm of 0 is not: give optax.adam and optax.rmsprop an "
            "eps_root above 0"
        )


def _tracked(chunks: Iterable[Any], count: int, progress: bool | None) -> Iterable[Any]:
    """The chunks of trials, under a progress bar where it is wanted."""
    return tracked(chunks, "Expanding", count, progress)


@partial(jax.jit, static_argnames=("loss", "members", "expected", "rule", "order", "chunk", "moved", "fixed"))
def _expanded(
    loss: PointFunction,
    members: tuple[Member, ...],
    expected: PointFunction | None,
    rule: AnyUpdate,
    theta: Any,
    population: Any,
    numbers: Mapping[str, jax.Array],
    batches: jax.Array,
    train: Any,
    test: Any,
    *,
    order: int,
    chunk: int,
    moved: bool,
    fixed: bool,
) -> tuple[jax.Array, Any]:
    """Expand some trials side by side: their scalars (trials, order + 1, members), and displacements if asked for.

    Batches and points are as `simulate` has them.
    """
    dtype = jnp.result_type(*jax.tree.leaves(theta))

    def one(batches: jax.Array, points: Any, fresh: Any) -> tuple[jax.Array, Any]:
        def begin(eta: jax.Array) -> Any:
            return stepping(rule, loss, theta, eta, numbers)

        def update(state: Jet, now: tuple[jax.Array, jax.Array]) -> tuple[Jet, None]:
            batch, rate = now
            seen = jax.tree.map(lambda leaf: leaf[batch], points)
            return jet_of(lambda eta: begin(eta)[1](state.at(eta), seen, rate), order, dtype), None

        def mean(final: Any, points: Any) -> jax.Array:
            return population_mean(lambda batch, w: weighted_loss(loss, final, batch, w), points, chunk=chunk)

        def observed(final: Any, member: Member) -> jax.Array:
            if isinstance(member, PointFunction):
                return member(final)
            if member == TRAIN:
                return mean(final, points)
            return mean(final, population if fresh is None else fresh) if expected is None else expected(final)

        state, _ = lax.scan(update, jet_of(lambda eta: begin(eta)[0], order, dtype), (batches, numbers["rates"]))

        def ended(eta: jax.Array) -> list[jax.Array]:
            final = state.at(eta)[0].value
            return [observed(final, member) for member in members]

        scalars = jet_of(ended, order, dtype).stacked()
        columns = jnp.stack(scalars, axis=-1) if scalars else jnp.zeros((order + 1, 0), dtype)
        if not moved:
            return columns, None
        displacement = jet_of(lambda eta: jax.tree.map(jnp.subtract, state.at(eta)[0].value, theta), order, dtype)
        return columns, displacement.stacked()

    return jax.vmap(one, (None if batches.ndim == 2 else 0, None if fixed else 0, 0))(batches, train, test)
