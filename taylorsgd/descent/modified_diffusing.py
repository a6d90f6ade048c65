r"""Simulated modified diffusions: dθ = (aη ∇l + bη² ∇∇l ∇l) dt + η √(cC) dW (Itô).

A step of h = 1/refinement averages the drift over its two ends, and takes the noise at its beginning:

    θ* = θ + h D(θ) + N,        θ ← θ + (h/2)(D(θ) + D(θ*)) + N,        N = η √(hc) ζ(θ),

with ζ of mean 0 and covariance C as for the SDE (see `diffusing`). By Euler–Maruyama a step would add a drift
−(h/2)η² ∇∇l ∇l, which is 1/refinement of what tells weak order 2 from 1. Here what it adds is O(hη³), from the change
of C along a step, and so beyond weak order 2 whatever h is. The drift is that of the whole population: points drawn
anew would be correlated with θ*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from taylorsgd.descent.diffusing import MOST_OF_PATH, POINTS
from taylorsgd.descent.recording import Record
from taylorsgd.flows import ModifiedSDE
from taylorsgd.landscapes.landscape import (
    BUDGET,
    Landscape,
    expected_loss,
    floats_per_point,
    population_chunk,
    population_mean,
    weighted_loss,
)
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.measuring.devices import spread

__all__ = ["diffuse_modified"]


def diffuse_modified(
    landscape: Landscape,
    theta: Any,
    equation: ModifiedSDE,
    rates: np.ndarray,
    trials: int,
    key: jax.Array,
    *,
    functions: tuple[PointFunction, ...],
    refinement: int,
    test_points: int | None,
    chunk: int | None,
    simulated: Callable[[Iterable[Any], int], Iterable[Any]],
) -> list[Record]:
    """Run a modified SDE at some learning rates; arguments as for `diffuse`.

    Returns:
        One record for each learning rate, its scalars being the test loss and the observables.

    Raises:
        NotImplementedError: if its drift has other terms than ∇l and ∇∇l ∇l, or its noise than C.
        ValueError: if it is asked of a sampler whose expected loss is not known, or a path has too many steps.
    """
    if landscape.size is None and landscape.expected is None:
        raise ValueError(
            f"the drift of {equation!r} is that of the expected loss, and {landscape!r} is a sampler that does not "
            "know it; give Landscape(loss, data, expected=...), or a population of data"
        )
    time = float(equation.sizes["T"])
    steps = int(np.ceil(time * refinement))
    if steps > MOST_OF_PATH:
        raise ValueError(
            f"T={time:g} at refinement={refinement} takes {steps:.3g} steps, more than {MOST_OF_PATH}; take a smaller T"
        )
    along, curved, noise = map(float, equation.strengths)
    points = min(POINTS, landscape.size or POINTS)
    whole = landscape.size is not None and landscape.size <= POINTS
    step = time / max(steps, 1)
    strength = np.sqrt(step * noise / (points if whole else points - 1))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(theta))
    point, arising = floats_per_point(landscape, theta)
    at_once = min(trials, chunk or max(1, min(1024, BUDGET // (16 * parameters + points * (point + 8 * arising)))))
    run = partial(
        _paths,
        landscape.point_loss,
        landscape if landscape.size is None else None,
        expected_loss(landscape),
        functions,
        theta,
        None if landscape.size is None else landscape.data,
        jnp.asarray([step * along, step * curved, strength]),
        steps=steps,
        points=points,
        whole=whole,
        test_points=test_points,
        chunk=population_chunk(landscape, theta, copies=8 * at_once),
    )
    records = [Record() for _ in range(rates.size)]
    starts = [(i, start) for i in range(rates.size) for start in range(0, trials, at_once)]
    for i, start in simulated(starts, len(starts)):
        keys = jax.random.split(jax.random.fold_in(key, i), trials)
        chosen = np.minimum(np.arange(start, start + at_once), trials - 1)  # fills the last chunk up
        records[i].add(run(jnp.asarray(rates.flat[i]), spread(keys[chosen])), at_once, trials)
    return records


@partial(
    jax.jit,
    static_argnames=(
        "loss", "sampler", "expected", "observables", "steps", "points", "whole", "test_points", "chunk",
    ),
)  # fmt: skip
def _paths(
    loss: PointFunction,
    sampler: Landscape | None,
    expected: PointFunction | None,
    observables: tuple[PointFunction, ...],
    theta: Any,
    population: Any,
    strengths: jax.Array,
    eta: jax.Array,
    keys: jax.Array,
    *,
    steps: int,
    points: int,
    whole: bool,
    test_points: int | None,
    chunk: int,
) -> tuple[jax.Array, Any]:
    """Run some paths side by side: their scalars (paths, 1 + observables) and displacements."""
    along, curved, noisy = strengths

    def mean_loss(theta: Any, points: Any) -> jax.Array:
        return population_mean(lambda batch, weights: weighted_loss(loss, theta, batch, weights), points, chunk=chunk)

    def test_loss(theta: Any) -> jax.Array:
        return expected(theta) if expected is not None else mean_loss(theta, population)

    def draw(key: jax.Array, count: int) -> Any:
        if sampler is not None:
            return sampler.draw(key, (count,))
        rows = jax.random.randint(key, (count,), 0, jax.tree.leaves(population)[0].shape[0])
        return jax.tree.map(lambda leaf: leaf[rows], population)

    def drift(theta: Any) -> Any:
        gradient = jax.grad(test_loss)(theta)
        bent = jax.jvp(jax.grad(test_loss), (theta,), (gradient,))[1]
        return jax.tree.map(lambda g, hg: (along * eta * g + curved * eta**2 * hg).astype(g.dtype), gradient, bent)

    def one(key: jax.Array) -> tuple[jax.Array, Any]:
        ahead, last = jax.random.split(key)

        def update(theta: Any, own: jax.Array) -> tuple[Any, None]:
            where, random = jax.random.split(own)
            batch = population if whole else draw(where, points)
            normal = jax.random.normal(random, (points,))
            weights = eta * noisy * (normal - normal.mean())
            noise = jax.grad(lambda theta: weighted_loss(loss, theta, batch, weights))(theta)
            first = drift(theta)
            ahead = jax.tree.map(lambda p, d, n: p + d + n, theta, first, noise)
            moved = jax.tree.map(lambda p, d, e, n: p + (d + e) / 2 + n, theta, first, drift(ahead), noise)
            return moved, None

        final, _ = lax.scan(update, theta, jax.random.split(ahead, steps))
        loss_there = test_loss(final) if test_points is None else mean_loss(final, draw(last, test_points))
        scalars = jnp.stack([loss_there, *(s(final) for s in observables)])
        return scalars, jax.tree.map(jnp.subtract, final, theta)

    return jax.vmap(one)(keys)
