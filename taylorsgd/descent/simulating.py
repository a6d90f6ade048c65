"""Simulated descent on a landscape: what really happens, with error bars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from taylorsgd.arguments import listed, switched
from taylorsgd.descent.diffusing import diffuse, has_noise
from taylorsgd.descent.pytree_arithmetic import AnyUpdate, form_of, numbers_of, stepping
from taylorsgd.descent.recording import Record, assembled, observable_functions, refuse_open_sizes, warn_of_divergence
from taylorsgd.descent.runs import Simulation, TrainingSets
from taylorsgd.display.progress import tracked
from taylorsgd.formulas import Observable
from taylorsgd.landscapes.fingerprints import Origin
from taylorsgd.landscapes.keys import random_key
from taylorsgd.landscapes.landscape import (
    BUDGET,
    AnyLandscape,
    Landscape,
    as_landscape,
    check_counts,
    checked_parameters,
    expected_loss,
    floats_per_point,
    learning_rates,
    population_chunk,
    population_mean,
    weighted_loss,
)
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.landscapes.pytrees import squared_norm
from taylorsgd.measuring.devices import spread
from taylorsgd.spacetime import Spacetime
from taylorsgd.updates import Descent

__all__ = ["simulate"]

MOST_KEPT = 4 * 2**30
"""The most bytes of results of single trials, and of what is drawn for them."""
MOST_VISITS = 2**27
"""The most rows in all batches of a run, of which every one is written down."""


def simulate(
    landscape: AnyLandscape,
    theta: Any,
    spacetime: Spacetime,
    eta: Any,
    trials: int,
    key: jax.Array | int,
    *,
    update: AnyUpdate | None = None,
    observables: Sequence[Observable] = (),
    test_points: int | None = None,
    refinement: int | None = None,
    chunk: int | None = None,
    progress: bool | None = None,
) -> Simulation:
    """Run descent from θ_0 = theta on many independent training sets.

    Every trial draws N training points from the landscape, with replacement, and updates
    θ ← θ − (η/B) Σ_{n in batch} ∇l_n(θ) through the batches of the spacetime, or as another update rule says.
    Where the spacetime is shuffled, or draws its batches with replacement, so does every trial; with
    data="fixed" this is all that trials differ in, and the landscape's points are the training set. Trials of
    the SDE are paths of its diffusion, by Euler–Maruyama steps of 1/refinement of an update; the ODE's only path
    is integrated by an adaptive Runge–Kutta method. These two have no training set (see `diffuse`).

    Different learning rates use independent training sets. These depend only on `key`, the position of the
    learning rate, `trials` and N, and so do the orders that trials draw. Two runs with the same N see the same
    training sets, whatever spacetime and update rule, and their difference `run - other` has a small error.

    Args:
        landscape: the loss and its data, or a toy landscape, or a `Field`, whose updates are θ ← θ + η u. With
            data="fixed" a population of N points.
        theta: the parameters θ_0, a pytree of float arrays.
        spacetime: `SGD(N=…, B=…, E=…)`, `GD(N=…, T=…)`, `Replacement(N=…, B=…, T=…)`, `Grid(cells)`, `ODE(T=…)` or
            `SDE(T=…, B=…)`, with numbers for its sizes.
        eta: a learning rate, or a sequence of k of them.
        trials: the number of training sets for each learning rate, at least 2.
        key: a JAX random key, or an integer seed.
        update: the update rule, with numbers for its parameters, `Descent()` if None; not with the ODE or SDE.
            `SecondOrder` and `ImplicitStep` solve their equations by conjugate gradients, and a trial where that
            fails counts as diverged. Or a function of η that returns an optax transformation, such as
            `optax.adam`; one with extra arguments is given the loss on the batch, a function of θ, as `value_fn`,
            and the training points in it as `batch`.
        observables: `Observable`s whose s is a function of the parameters, to be recorded as well.
        test_points: how many fresh points the test loss of a trial is averaged over. None means the whole
            population, or a sampler's expected loss, or else 256 points of the sampler.
        refinement: for the SDE, the steps in one unit of time; 16 if None.
        chunk: the number of trials run side by side; by default what a few hundred megabytes hold. A sampler
            is asked for the training points of one chunk at a time.
        progress: whether to show a progress bar with the time left; None for one on a terminal and in a notebook, if
            more than a few seconds are ahead.

    Returns:
        A `Simulation`.

    Raises:
        TypeError: if arguments have other types, or an observable is a SymPy expression.
        ValueError: if a size of the spacetime or a parameter of the update rule is a symbol, a number is
            impossible, `refinement` is given for another spacetime than the SDE, the ODE is asked of a sampler
            without an expected loss, or data are fixed and the landscape has not N points.
        NotImplementedError: for an update rule with the ODE or SDE.

    Warns:
        RuntimeWarning: if trials diverge to something that is not finite.

    Example:
        >>> import jax, taylorsgd as ts
        >>> from sympy import Rational
        >>> coin = ts.Landscape(lambda theta, x: theta**2 / 2 + x * theta, jax.numpy.array([-1.0, 1.0]))
        >>> sgd, key = ts.SGD(N=4, B=2, E=1), jax.random.key(0)
        >>> run = ts.simulate(coin, 1.0, sgd, eta=0.1, trials=1000, key=key)
        >>> print(f"{run.test_loss.mean:.2f} ± {run.test_loss.standard_error:.3f}")
        0.33 ± 0.002
        >>> half = ts.simulate(coin, 1.0, sgd, eta=0.1, trials=1000, key=key, update=ts.HeavyBall(Rational(1, 2)))
        >>> saved = (run - half).test_loss
        >>> print(f"{saved.mean:.3f} ± {saved.standard_error:.4f}")
        0.037 ± 0.0008

    Source: Tenka, sections C.2.2 and C.3.2.
    """
    place = as_landscape(landscape)
    theta = checked_parameters(theta)
    if test_points is not None:
        place.refuse_field("test_points")
    rates = learning_rates(eta)
    check_counts(
        trials=(trials, 2),
        test_points=(1 if test_points is None else test_points, 1),
        chunk=(1 if chunk is None else chunk, 1),
        refinement=(1 if refinement is None else refinement, 1),
    )
    progress = None if progress is None else switched(progress, "progress")
    observables = listed(observables, "observables", "[Observable(s)]", empty=True)
    functions = observable_functions(observables)
    kept = 8 * trials * rates.size * (2 + len(functions))
    if kept > MOST_KEPT:
        raise ValueError(
            f"trials={trials} at {rates.size} learning rates would keep {kept / 2**30:.3g} GiB of results; what every "
            f"trial gives is kept, so take at most {MOST_KEPT // (kept // trials)} trials"
        )
    fresh = 4 * trials * (0 if test_points is None else test_points)
    if fresh > MOST_KEPT:
        raise ValueError(
            f"test_points={test_points} of {trials} trials would take {fresh / 2**30:.3g} GiB to draw; take at most "
            f"{MOST_KEPT // (4 * trials)} of them"
        )
    key = random_key(key)
    simulated = partial(_simulated, progress=progress)
    if place.size is None and place.expected is None and test_points is None and not place.is_field:
        test_points = 256
    if not isinstance(spacetime, Spacetime):
        raise TypeError(f"spacetime={spacetime!r} is not a spacetime; give SGD(...), GD(...) or Grid(cells)")
    if refinement is not None and not has_noise(spacetime):
        raise ValueError(f"refinement={refinement} is for the SDE; {spacetime!r} has steps of its own")
    refuse_open_sizes(spacetime)
    place = place.traced(theta)
    functions = tuple(function.traced(theta) for function in functions)
    if spacetime.is_flow:
        if update is not None:
            raise NotImplementedError(
                f"update={update!r} is a rule for updates, and {spacetime!r} has none; supported are SGD, GD, "
                "Replacement and Grid"
            )
        seen = None
        records = diffuse(
            place, theta, spacetime, rates, trials, key,
            functions=functions, refinement=refinement or 16, test_points=test_points, chunk=chunk,
            simulated=simulated,
        )  # fmt: skip
    else:
        count, updates = int(spacetime.sizes["N"]), int(spacetime.sizes["T"])
        fixed = spacetime.data == "fixed"
        if fixed:
            _refuse_other_points(place, spacetime, test_points)
        _refuse_long_runs(spacetime, trials)
        rule = Descent() if update is None else update
        numbers = jax.tree.map(jnp.asarray, numbers_of(rule, spacetime, updates))
        at_once = min(trials, chunk or _trials_at_once(place, theta, spacetime, rule))
        seen = TrainingSets.seen_by(key, "fixed" if fixed else count, trials, None if place.size else at_once)
        run = partial(
            _trials,
            place.point_loss,
            functions,
            expected_loss(place) if test_points is None else None,
            form_of(rule),
            theta,
            place.data if test_points is None and place.size is not None else None,
            numbers,
            chunk=population_chunk(place, theta, copies=4 * at_once),
        )
        records = [Record() for _ in range(rates.size)]
        batches = jnp.asarray(spacetime.draw(jax.random.split(key, 1)))
        for i, train, test, keys in simulated(
            _points(place, key, rates.size, trials, at_once, (None if fixed else count, test_points)),
            rates.size * -(-trials // at_once),
        ):
            if batches.ndim == 3:  # every trial has its own
                batches = spread(_drawn(spacetime, keys))
            train, test = (place.data, None) if fixed else spread((train, test))
            results = run(jnp.asarray(rates.flat[i]), batches, train, test, fixed=fixed)
            records[i].add(results, at_once, trials)
    warn_of_divergence(rates, records, trials)
    names = [observable.name for observable in observables]
    return assembled(spacetime, rates, trials, records, names, seen, update, Origin(place, theta))


@partial(jax.jit, static_argnums=0)
def _drawn(spacetime: Spacetime, keys: jax.Array) -> jax.Array:
    return spacetime.draw(keys)


def _refuse_long_runs(spacetime: Spacetime, trials: int) -> None:
    """Raise for batches, or rows of training sets, that are too many to be written down."""
    rows, updates, batch = (int(spacetime.sizes[name]) for name in ("N", "T", "B"))
    if updates * batch > MOST_VISITS:
        raise ValueError(
            f"spacetime={spacetime!r} makes {updates} updates with batches of {batch}, more than {MOST_VISITS} rows in "
            "all; simulate a shorter run"
        )
    if 4 * trials * rows > MOST_KEPT:
        raise ValueError(
            f"spacetime={spacetime!r}: the rows of {trials} training sets would take {4 * trials * rows / 2**30:.3g} "
            "GiB to draw; take fewer training points or trials"
        )


def _refuse_other_points(landscape: Landscape, spacetime: Spacetime, test_points: int | None) -> None:
    """Raise unless the landscape is a training set of N points."""
    count = spacetime.sizes["N"]
    if landscape.size != count:
        found = "is a sampler" if landscape.size is None else f"has {landscape.size} points"
        raise ValueError(
            f"spacetime={spacetime!r} has data='fixed', for which the landscape's points are the N={count} "
            f"training points, and {landscape!r} {found}; give a Landscape of N points"
        )
    if test_points is not None:
        raise ValueError(f"test_points={test_points} are fresh points, and {spacetime!r} has fixed data; leave it out")


def _trials_at_once(landscape: Landscape, theta: Any, spacetime: Spacetime, rule: AnyUpdate) -> int:
    """How many trials fit the budget. A sampler's must not depend on the batches: they share its points."""
    parameters = sum(leaf.size for leaf in jax.tree.leaves(theta))
    point, arising = floats_per_point(landscape, theta)
    rows, updates, batch = (int(spacetime.sizes[name]) for name in ("N", "T", "B"))
    width, steps = (rows, 0) if landscape.size is None else (batch, updates * batch)
    vectors = 8 + 4 * rows * getattr(rule, "needs_rows", False)  # as long as θ; some for every point
    return max(1, min(1024, BUDGET // (vectors * parameters + rows * point + 4 * width * arising + steps)))


def _points(
    landscape: Landscape, key: jax.Array, rates: int, trials: int, at_once: int, widths: tuple[int | None, int | None]
) -> Iterator[tuple[int, Any, Any, jax.Array]]:
    """Yield, chunk by chunk of each learning rate, training points, test points, and keys for the orders."""
    for i in range(rates):
        *keys, ordering = jax.random.split(jax.random.fold_in(key, i), 3)
        orders = jax.random.split(ordering, trials)
        drawn = [
            None
            if width is None or landscape.size is None
            else np.asarray(jax.random.randint(own, (trials, width), 0, landscape.size))
            for own, width in zip(keys, widths, strict=True)
        ]
        for start in range(0, trials, at_once):
            chosen = np.minimum(np.arange(start, start + at_once), trials - 1)  # fills the last chunk up
            points = []
            for own, width, rows in zip(keys, widths, drawn, strict=True):
                if rows is not None:
                    points.append(landscape.rows(rows[chosen]))
                elif width is not None:
                    points.append(landscape.draw(jax.random.fold_in(own, start), (at_once, width)))
                else:
                    points.append(None)
            train, test = points
            yield i, train, test, orders[chosen]


def _simulated(chunks: Iterable[Any], count: int, progress: bool | None) -> Iterable[Any]:
    """The chunks of trials, under a progress bar where it is wanted."""
    return tracked(chunks, "Simulating", count, progress)


@partial(jax.jit, static_argnames=("loss", "observables", "expected", "rule", "chunk", "fixed"))
def _trials(
    loss: PointFunction,
    observables: tuple[PointFunction, ...],
    expected: PointFunction | None,
    rule: AnyUpdate,
    theta: Any,
    population: Any,
    numbers: Mapping[str, jax.Array],
    eta: jax.Array,
    batches: jax.Array,
    train: Any,
    test: Any,
    *,
    chunk: int,
    fixed: bool,
) -> tuple[jax.Array, Any]:
    """Run some trials side by side: their scalars (trials, test and training loss, observables) and displacements.

    Batches are (T, B), or (trials, T, B) where each trial has its own; training points come with an axis for
    the trials unless they are fixed.
    """

    def one(batches: jax.Array, points: Any, fresh: Any) -> tuple[jax.Array, Any]:
        state, step = stepping(rule, loss, theta, eta, numbers)

        def update(state: Any, now: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
            batch, rate = now
            return step(state, jax.tree.map(lambda leaf: leaf[batch], points), rate), None

        state, _ = lax.scan(update, state, (batches, numbers["rates"]))
        final = state[0].value
        mean = partial(population_mean, lambda batch, weights: weighted_loss(loss, final, batch, weights), chunk=chunk)
        if loss.is_field:  # which has no losses; that a run is finite is seen in θ
            ends = [squared_norm(final)]
        else:
            test = mean(population if fresh is None else fresh) if expected is None else expected(final)
            ends = [test, mean(points)]
        return jnp.stack([*ends, *(s(final) for s in observables)]), jax.tree.map(jnp.subtract, final, theta)

    return jax.vmap(one, (None if batches.ndim == 2 else 0, None if fixed else 0, 0))(batches, train, test)
