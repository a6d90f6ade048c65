"""Simulated descent on a landscape: what really happens, with error bars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from taylorsgd.descent.diffusing import diffuse
from taylorsgd.descent.recording import (
    Record,
    assembled,
    observable_functions,
    refuse_open_sizes,
    warn_of_divergence,
)
from taylorsgd.descent.simulation import Simulation
from taylorsgd.formulas import Observable
from taylorsgd.landscapes.devices import spread
from taylorsgd.landscapes.landscape import (
    BUDGET,
    AnyLandscape,
    Landscape,
    PointFunction,
    as_landscape,
    check_counts,
    checked_parameters,
    expected_loss,
    floats_per_point,
    population_chunk,
    population_mean,
    weighted_loss,
)
from taylorsgd.spacetime import GD, ODE, SDE, SGD, Grid, Spacetime

__all__ = ["schedule", "simulate"]


def simulate(
    landscape: AnyLandscape,
    theta: Any,
    spacetime: Spacetime,
    eta: Any,
    trials: int,
    key: jax.Array,
    *,
    observables: Sequence[Observable] = (),
    test_points: int | None = None,
    refinement: int | None = None,
    chunk: int | None = None,
    progress: bool = False,
) -> Simulation:
    """Run descent from θ_0 = theta on many independent training sets.

    Every trial draws N training points from the landscape, with replacement, and updates
    θ ← θ − (η/B) Σ_{n in batch} ∇l_n(θ) through the batches of the spacetime. Trials of the SDE are paths of
    its diffusion, by Euler–Maruyama steps of 1/refinement of an update; the ODE's only path is integrated by
    an adaptive Runge–Kutta method. These two have no training set (see `diffuse`).

    Different learning rates use independent training sets. These depend only on `key`, the position of the
    learning rate, `trials` and N: two spacetimes with the same N see the same training sets, and their
    difference has a small error.

    Args:
        landscape: the loss and its data, or a toy landscape.
        theta: the parameters θ_0, a pytree of float arrays.
        spacetime: `SGD(N=…, B=…, E=…)`, `GD(N=…, T=…)`, `Grid(cells)`, `ODE(T=…)` or `SDE(T=…, B=…)`, with
            numbers for its sizes.
        eta: a learning rate, or a sequence of k of them.
        trials: the number of training sets for each learning rate, at least 2.
        key: a JAX random key.
        observables: `Observable`s whose s is a function of the parameters, to be recorded as well.
        test_points: how many fresh points the test loss of a trial is averaged over. None means the whole
            population, or a sampler's expected loss, or else 256 points of the sampler.
        refinement: for the SDE, the steps in one unit of time; 16 if None.
        chunk: the number of trials run side by side; by default what a few hundred megabytes hold. A sampler
            is asked for the training points of one chunk at a time.
        progress: whether to show a progress bar with the time left.

    Returns:
        A `Simulation`.

    Raises:
        TypeError: if arguments have other types, or an observable is a SymPy expression.
        ValueError: if a size of the spacetime is a symbol, a number is impossible, `refinement` is given for
            another spacetime than the SDE, or the ODE is asked of a sampler without an expected loss.

    Warns:
        RuntimeWarning: if trials diverge to something that is not finite.

    Example:
        >>> import jax, taylorsgd as ts
        >>> coin = ts.Landscape(lambda theta, x: theta**2 / 2 + x * theta, jax.numpy.array([-1.0, 1.0]))
        >>> run = ts.simulate(coin, 1.0, ts.SGD(N=4, B=2, E=1), eta=0.1, trials=1000, key=jax.random.key(0))
        >>> print(f"{run.test_loss.mean:.2f} ± {run.test_loss.standard_error:.3f}")
        0.33 ± 0.002

    Source: Tenka, sections C.2.2 and C.3.2.
    """
    place = as_landscape(landscape)
    theta = checked_parameters(theta)
    rates = np.asarray(eta, dtype=float)
    if rates.ndim > 1 or rates.size == 0 or not np.isfinite(rates).all():
        raise ValueError(f"eta={eta!r} must be a finite number or a sequence of them")
    check_counts(
        trials=(trials, 2),
        test_points=(1 if test_points is None else test_points, 1),
        chunk=(1 if chunk is None else chunk, 1),
        refinement=(1 if refinement is None else refinement, 1),
    )
    functions = observable_functions(observables)
    if place.size is None and place.expected is None and test_points is None:
        test_points = 256
    if refinement is not None and not isinstance(spacetime, SDE):
        raise ValueError(f"refinement={refinement} is for the SDE; {spacetime!r} has steps of its own")
    if isinstance(spacetime, (ODE, SDE)):
        records = diffuse(
            place, theta, spacetime, rates, trials, key,
            functions=functions, refinement=refinement or 16, test_points=test_points, chunk=chunk,
            tracked=partial(_tracked, progress=progress),
        )  # fmt: skip
    else:
        rows, batches = schedule(spacetime)
        at_once = min(trials, chunk or _trials_at_once(place, theta, rows, batches))
        run = partial(
            _trials,
            place.point_loss,
            functions,
            expected_loss(place) if test_points is None else None,
            theta,
            place.data if test_points is None and place.size is not None else None,
            jnp.asarray(batches),
            chunk=population_chunk(place, theta, copies=4 * at_once),
        )
        records = [Record() for _ in range(rates.size)]
        for i, train, test in _tracked(
            _points(place, key, rates.size, trials, at_once, (rows, test_points)),
            rates.size * -(-trials // at_once),
            progress,
        ):
            records[i].add(run(jnp.asarray(rates.flat[i]), *spread((train, test))), at_once, trials)
    warn_of_divergence(rates, records, trials)
    names = [observable.name for observable in observables]
    return assembled(spacetime, rates, trials, records, names, theta)


def schedule(spacetime: Spacetime) -> tuple[int, np.ndarray]:
    """The batches of a spacetime whose sizes are numbers.

    Args:
        spacetime: `SGD`, `GD` or `Grid`.

    Returns:
        The number N of training points, and the rows in every batch, an integer array (T, B).

    Raises:
        TypeError: if `spacetime` is no spacetime.
        ValueError: if a size is a symbol.
        NotImplementedError: if the spacetime is continuous.

    Example:
        >>> import taylorsgd as ts
        >>> schedule(ts.SGD(N=4, B=2, E=1))[1].tolist()
        [[0, 1], [2, 3]]
    """
    if not isinstance(spacetime, Spacetime):
        raise TypeError(f"spacetime={spacetime!r} is not a spacetime; give SGD(...), GD(...) or Grid(cells)")
    if not isinstance(spacetime, (SGD, GD, Grid)):
        raise NotImplementedError(
            f"{type(spacetime).__name__} has no batches; supported are SGD, GD and Grid"
        )
    refuse_open_sizes(spacetime)
    count = int(spacetime.N)
    if isinstance(spacetime, Grid):
        cells = np.array(spacetime.cells)
        return count, np.stack([np.flatnonzero(column) for column in cells.T])
    epoch = np.arange(count).reshape(-1, int(spacetime.sizes["B"]))
    return count, np.tile(epoch, (int(spacetime.sizes["E"]), 1))


def _trials_at_once(landscape: Landscape, theta: Any, rows: int, batches: np.ndarray) -> int:
    """How many trials fit the budget. A sampler's must not depend on the batches: they share its points."""
    parameters = sum(leaf.size for leaf in jax.tree.leaves(theta))
    point, arising = floats_per_point(landscape, theta)
    width = rows if landscape.size is None else batches.shape[1]
    return max(1, min(1024, BUDGET // (8 * parameters + rows * point + 4 * width * arising)))


def _points(
    landscape: Landscape,
    key: jax.Array,
    rates: int,
    trials: int,
    at_once: int,
    widths: tuple[int, int | None],
) -> Iterator[tuple[int, Any, Any]]:
    """Yield, chunk by chunk of each learning rate, the training points and the test points of their own."""
    for i in range(rates):
        keys = jax.random.split(jax.random.fold_in(key, i))
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
            yield i, *points


def _tracked(chunks: Iterable[Any], count: int, progress: bool) -> Iterable[Any]:
    from rich.progress import track

    return track(chunks, description="Simulating", total=count, disable=not progress)


@partial(jax.jit, static_argnames=("loss", "observables", "expected", "chunk"))
def _trials(
    loss: PointFunction,
    observables: tuple[PointFunction, ...],
    expected: PointFunction | None,
    theta: Any,
    population: Any,
    batches: jax.Array,
    eta: jax.Array,
    train: Any,
    test: Any,
    *,
    chunk: int,
) -> tuple[jax.Array, Any]:
    """Run some trials side by side: their scalars (trials, 2 + observables) and displacements."""

    def one(points: Any, fresh: Any) -> tuple[jax.Array, Any]:
        def update(theta: Any, batch: jax.Array) -> tuple[Any, None]:
            chosen = jax.tree.map(lambda leaf: leaf[batch], points)
            weights = jnp.full(batch.shape, 1 / batch.shape[0])
            gradient = jax.grad(lambda theta: weighted_loss(loss, theta, chosen, weights))(theta)
            return jax.tree.map(lambda p, g: p - eta.astype(p.dtype) * g, theta, gradient), None

        final, _ = lax.scan(update, theta, batches)
        mean = partial(
            population_mean, lambda batch, weights: weighted_loss(loss, final, batch, weights), chunk=chunk
        )
        scalars = [
            mean(population if fresh is None else fresh) if expected is None else expected(final),
            mean(points),
            *(s(final) for s in observables),
        ]
        return jnp.stack(scalars), jax.tree.map(jnp.subtract, final, theta)

    return jax.vmap(one)(train, test)
