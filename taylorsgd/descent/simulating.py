"""Simulated descent on a landscape: what really happens, with error bars."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from taylorsgd.descent.simulation import Simulation, Statistic, over_trials
from taylorsgd.formulas import Observable
from taylorsgd.landscapes.landscape import (
    BUDGET,
    AnyLandscape,
    Landscape,
    PointFunction,
    as_landscape,
    check_counts,
    checked_parameters,
    floats_per_point,
    population_chunk,
    population_mean,
    weighted_loss,
)
from taylorsgd.landscapes.measurement import DrawMoments
from taylorsgd.spacetime import GD, SGD, Grid, Spacetime

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
    chunk: int | None = None,
    progress: bool = False,
) -> Simulation:
    """Run descent from θ_0 = theta on many independent training sets.

    Every trial draws N training points from the landscape, with replacement, and updates
    θ ← θ − (η/B) Σ_{n in batch} ∇l_n(θ) through the batches of the spacetime.

    Different learning rates use independent training sets. These depend only on `key`, the position of the
    learning rate, `trials` and N: two spacetimes with the same N see the same training sets, and their
    difference has a small error.

    Args:
        landscape: the loss and its data, or a toy landscape.
        theta: the parameters θ_0, a pytree of float arrays.
        spacetime: `SGD(N=…, B=…, E=…)`, `GD(N=…, T=…)` or `Grid(cells)`, with numbers for its sizes.
        eta: a learning rate, or a sequence of k of them.
        trials: the number of training sets for each learning rate, at least 2.
        key: a JAX random key.
        observables: `Observable`s whose s is a function of the parameters, to be recorded as well.
        test_points: how many fresh points the test loss of a trial is averaged over. None means the whole
            population, or 256 points of a sampler.
        chunk: the number of trials run side by side; by default what a few hundred megabytes hold. A sampler
            is asked for the training points of one chunk at a time.
        progress: whether to show a progress bar with the time left.

    Returns:
        A `Simulation`.

    Raises:
        TypeError: if arguments have other types, or an observable is a SymPy expression.
        ValueError: if a size of the spacetime is a symbol, or a number is impossible.
        NotImplementedError: if the spacetime is continuous (ODE, SDE).

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
    rows, batches = schedule(spacetime)
    rates = np.asarray(eta, dtype=float)
    if rates.ndim > 1 or rates.size == 0 or not np.isfinite(rates).all():
        raise ValueError(f"eta={eta!r} must be a finite number or a sequence of them")
    check_counts(
        trials=(trials, 2),
        test_points=(1 if test_points is None else test_points, 1),
        chunk=(1 if chunk is None else chunk, 1),
    )
    functions = tuple(_observable_function(observable) for observable in observables)
    names = [observable.name for observable in observables]
    if len(set(names)) < len(names):
        raise ValueError(f"observables share a name: {', '.join(names)}; write Observable(s, name='u')")
    if place.size is None and test_points is None:
        test_points = 256
    at_once = min(trials, chunk or _trials_at_once(place, theta, rows, batches))
    run = partial(
        _trials,
        place.point_loss,
        functions,
        theta,
        place.data if test_points is None else None,
        jnp.asarray(batches),
        chunk=population_chunk(place, theta, copies=4 * at_once),
    )
    records = [_Record() for _ in range(rates.size)]
    for i, train, test in _tracked(
        _points(place, key, rates.size, trials, at_once, (rows, test_points)),
        rates.size * -(-trials // at_once),
        progress,
    ):
        records[i].add(run(jnp.asarray(rates.flat[i]), train, test), trials)
    _warn_of_divergence(rates, records, trials)
    return _simulation(spacetime, rates, trials, records, names, theta)


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
            f"{type(spacetime).__name__} can't be simulated yet; supported are SGD, GD and Grid. "
            "SGD with many small steps approaches gradient flow"
        )
    symbolic = {name: size for name, size in spacetime.sizes.items() if size.free_symbols}
    if symbolic:
        names = sorted({str(symbol) for size in symbolic.values() for symbol in size.free_symbols})
        raise ValueError(
            f"spacetime={spacetime!r} leaves {', '.join(names)} open; give numbers, as in SGD(N=10, B=1, E=2)"
        )
    count = int(spacetime.N)
    if isinstance(spacetime, Grid):
        cells = np.array(spacetime.cells)
        return count, np.stack([np.flatnonzero(column) for column in cells.T])
    epoch = np.arange(count).reshape(-1, int(spacetime.sizes["B"]))
    return count, np.tile(epoch, (int(spacetime.sizes["E"]), 1))


class _Record:
    """What the trials at one learning rate gave so far."""

    def __init__(self) -> None:
        self.scalars: list[np.ndarray] = []
        self.displacement = DrawMoments()

    def add(self, results: tuple[jax.Array, Any], trials: int) -> None:
        scalars, displacement = results
        wanted = trials - self.displacement.count  # the last chunk is longer than needed
        self.scalars.append(np.asarray(scalars)[:wanted])
        with np.errstate(all="ignore"):  # divergence is reported by name, once for a learning rate
            self.displacement.add([np.asarray(leaf)[:wanted, None] for leaf in jax.tree.leaves(displacement)])


def _observable_function(observable: Observable) -> PointFunction:
    if not isinstance(observable, Observable):
        raise TypeError(f"observables holds {observable!r}; it takes Observable(s)")
    if not callable(observable.s):
        raise TypeError(
            f"{observable!r} is an expression, and here s must be a function of the parameters, "
            "as in Observable(lambda theta: jnp.sum(theta**2))"
        )
    return PointFunction(observable.s, f"the observable {observable.name}")


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


@partial(jax.jit, static_argnames=("loss", "observables", "chunk"))
def _trials(
    loss: PointFunction,
    observables: tuple[PointFunction, ...],
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
            mean(population if fresh is None else fresh),
            mean(points),
            *(s(final) for s in observables),
        ]
        return jnp.stack(scalars), jax.tree.map(jnp.subtract, final, theta)

    return jax.vmap(one)(train, test)


def _warn_of_divergence(rates: np.ndarray, records: Sequence[_Record], trials: int) -> None:
    for rate, record in zip(rates.flat, records, strict=True):
        diverged = np.sum(~np.isfinite(np.concatenate(record.scalars)).all(axis=1))
        if diverged:
            warnings.warn(
                f"eta={rate:.4g}: {diverged} of {trials} trials diverged, and so do the means over trials",
                RuntimeWarning,
                stacklevel=3,
            )


def _simulation(
    spacetime: Spacetime,
    rates: np.ndarray,
    trials: int,
    records: Sequence[_Record],
    names: Sequence[str],
    theta: Any,
) -> Simulation:
    scalars = np.stack([np.concatenate(record.scalars) for record in records]).astype(np.float64)
    scalars = np.moveaxis(scalars, -1, 0).reshape(-1, *rates.shape, trials)
    test, train, *rest = scalars
    moments = [record.displacement for record in records]
    structure = jax.tree.structure(theta)

    def vector(leaves: Sequence[Sequence[np.ndarray]]) -> Any:
        joined = [
            np.stack(leaf).reshape((*rates.shape, *leaf[0].shape)) for leaf in zip(*leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, joined)

    with np.errstate(all="ignore"):
        displacement = Statistic(
            vector([[leaf[0] for leaf in m.mean] for m in moments]),
            vector([[np.sqrt(leaf[0, 0]) for leaf in m.covariance_of_mean()] for m in moments]),
        )
    return Simulation(
        spacetime=spacetime,
        eta=rates,
        count=trials,
        test_loss=over_trials(test),
        train_loss=over_trials(train),
        gap=over_trials(test - train),
        displacement=displacement,
        observables={name: over_trials(column) for name, column in zip(names, rest, strict=True)},
        diverged=np.sum(~np.isfinite(scalars).all(axis=0), axis=-1),
    )
