"""Simulated descent on a landscape: what really happens, with error bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from taylorsgd.arguments import listed, switched
from taylorsgd.descent.diffusing import diffuse, has_noise
from taylorsgd.descent.drawing import MOST_KEPT, Draws, refuse_many_test_points, trials_at_once
from taylorsgd.descent.modified_diffusing import diffuse_modified
from taylorsgd.descent.pytree_arithmetic import AnyUpdate, form_of, numbers_of, stepping
from taylorsgd.descent.recording import Record, assembled, observable_functions, refuse_open_sizes, warn_of_divergence
from taylorsgd.descent.runs import Simulation
from taylorsgd.device_arrays import on_device
from taylorsgd.display.progress import tracked
from taylorsgd.flows import ModifiedSDE
from taylorsgd.formulas import Observable
from taylorsgd.landscapes.fingerprints import Origin
from taylorsgd.landscapes.keys import random_key
from taylorsgd.landscapes.landscape import (
    AnyLandscape,
    as_landscape,
    check_counts,
    checked_parameters,
    expected_loss,
    learning_rates,
    population_chunk,
    population_mean,
    weighted_loss,
)
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.landscapes.pytrees import squared_norm
from taylorsgd.spacetime import Spacetime
from taylorsgd.updates import Descent

__all__ = ["simulate"]


def simulate(
    landscape: AnyLandscape,
    theta: Any,
    spacetime: Spacetime | ModifiedSDE,
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
            `SDE(T=…, B=…)`, with numbers for its sizes; or the `modified_sde` of one, run for as many updates.
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
        refinement: for the SDE, modified or not, the steps in one unit of time; 16 if None.
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
    refuse_many_test_points(test_points, trials)
    key = random_key(key)
    simulated = partial(_simulated, progress=progress)
    if place.size is None and place.expected is None and test_points is None and not place.is_field:
        test_points = 256
    if not isinstance(spacetime, (Spacetime, ModifiedSDE)):
        raise TypeError(
            f"spacetime={spacetime!r} is not a spacetime; give SGD(...), GD(...), Replacement(...), ODE(...), "
            "SDE(...) or Grid(cells)"
        )
    if refinement is not None and not has_noise(spacetime):
        raise ValueError(f"refinement={refinement} is for the SDE; {spacetime!r} has steps of its own")
    where: Any = spacetime  # a modified SDE stands for a spacetime from here on
    refuse_open_sizes(where)
    place = place.traced(theta)
    functions = tuple(function.traced(theta) for function in functions)
    if spacetime.is_flow:
        if update is not None:
            raise NotImplementedError(
                f"update={update!r} is a rule for updates, and {spacetime!r} has none; supported are SGD, GD, "
                "Replacement and Grid"
            )
        seen = None
        run = partial(diffuse_modified if isinstance(spacetime, ModifiedSDE) else diffuse, place, theta, where)
        records = run(
            rates, trials, key, functions=functions, refinement=refinement or 16, test_points=test_points, chunk=chunk,
            simulated=simulated,
        )  # fmt: skip
    else:
        rule = Descent() if update is None else update
        at_once = min(trials, chunk or trials_at_once(place, theta, where, rule))
        draws = Draws(place, where, key, trials, at_once, test_points)
        numbers = jax.tree.map(on_device, numbers_of(rule, where, int(spacetime.sizes["T"])))
        seen = draws.training_sets
        run = partial(
            _trials,
            place.point_loss,
            functions,
            expected_loss(place) if test_points is None else None,
            form_of(rule),
            theta,
            draws.population,
            numbers,
            chunk=population_chunk(place, theta, copies=4 * at_once),
        )
        records = [Record() for _ in range(rates.size)]
        chunks = simulated(draws.chunks(rates.size), rates.size * draws.chunks_at_each)
        for i, batches, train, test in chunks:
            results = run(on_device(rates.flat[i]), batches, train, test, fixed=draws.fixed)
            records[i].add(results, at_once, trials)
    warn_of_divergence(rates, records, trials)
    names = [observable.name for observable in observables]
    return assembled(where, rates, trials, records, names, seen, update, Origin(place, theta))


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
