r"""Paths of diffusions, many side by side: what the SDE and modified ones have in common.

A step of length h moves θ by a drift and by noise of covariance C, made of m points j and standard normals ξ_j,

    D(θ) = a ∇l + b ∇∇l ∇l,        N = s Σ_j (ξ_j − ξ̄) ∇l_j(θ),

with a, b and s as `diffusing` and `modified_diffusing` say. The drift is that of the points that make the noise, or,
averaged over both ends of a step, that of the whole population.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from taylorsgd.descent.drawing import trial_keys
from taylorsgd.descent.recording import Record
from taylorsgd.device_arrays import on_device
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
from taylorsgd.landscapes.pytrees import squared_norm
from taylorsgd.measuring.devices import spread

__all__ = ["mean_loss", "sample_paths"]

MOST_OF_PATH = 2**27
"""The most steps of a path."""
POINTS = 16
"""The most points whose gradients make up one step."""


def sample_paths(
    landscape: Landscape,
    theta: Any,
    time: float,
    rates: np.ndarray,
    trials: int,
    key: jax.Array,
    strengths: Callable[[float, int, bool], tuple[float, float, float]],
    *,
    averaged: bool,
    functions: tuple[PointFunction, ...],
    refinement: int,
    test_points: int | None,
    chunk: int | None,
    simulated: Callable[[Iterable[Any], int], Iterable[Any]],
) -> list[Record]:
    """Run paths at some learning rates.

    Args:
        landscape: the loss and its data.
        theta: the parameters θ_0, checked.
        time: T.
        rates: the learning rates η.
        trials: the number of paths for each.
        key: a JAX random key.
        strengths: a/η, b/η² and s/η, given the length of a step, how many points make one, and if these are all.
        averaged: whether the drift is that of the population, averaged over both ends of a step.
        functions: the functions behind the observables to record.
        refinement: the steps in one unit of time.
        test_points: how many fresh points the test loss is averaged over; None for the exact test loss.
        chunk: the number of paths run side by side.
        simulated: wraps an iterable of known length in a progress bar.

    Returns:
        One record for each learning rate, its scalars being the test loss and the observables.

    Raises:
        ValueError: if a path has too many steps, and what `strengths` raises.
    """
    steps = int(np.ceil(time * refinement))
    if steps > MOST_OF_PATH:
        raise ValueError(
            f"T={time:g} at refinement={refinement} takes {steps:.3g} steps, more than {MOST_OF_PATH}; take a smaller T"
        )
    points = min(POINTS, landscape.size or POINTS)
    whole = landscape.size is not None and landscape.size <= POINTS
    scales = strengths(time / max(steps, 1), points, whole)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(theta))
    point, arising = floats_per_point(landscape, theta)
    work = 8 * (1 + averaged)
    at_once = min(
        trials, chunk or max(1, min(1024, BUDGET // (work * parameters + points * (point + work // 2 * arising))))
    )
    run = partial(
        _paths,
        landscape.point_loss,
        landscape if landscape.size is None else None,
        expected_loss(landscape) if averaged or test_points is None else None,
        functions,
        theta,
        None if landscape.size is None else landscape.data,
        on_device(scales),
        averaged=averaged,
        steps=steps,
        points=points,
        whole=whole,
        test_points=test_points,
        chunk=population_chunk(landscape, theta, copies=work // 2 * at_once),
    )
    records = [Record() for _ in range(rates.size)]
    starts = [(i, start) for i in range(rates.size) for start in range(0, trials, at_once)]
    for i, start in simulated(starts, len(starts)):
        chosen = np.minimum(np.arange(start, start + at_once), trials - 1)  # fills the last chunk up
        keys = trial_keys(jax.random.fold_in(key, i), chosen, trials)
        records[i].add(run(on_device(rates.flat[i]), spread(keys)), at_once, trials)
    return records


@partial(
    jax.jit,
    static_argnames=(
        "loss", "sampler", "expected", "observables", "averaged", "steps", "points", "whole", "test_points", "chunk",
    ),
)  # fmt: skip
def _paths(
    loss: PointFunction,
    sampler: Landscape | None,
    expected: PointFunction | None,
    observables: tuple[PointFunction, ...],
    theta: Any,
    population: Any,
    scales: jax.Array,
    eta: jax.Array,
    keys: jax.Array,
    *,
    averaged: bool,
    steps: int,
    points: int,
    whole: bool,
    test_points: int | None,
    chunk: int,
) -> tuple[jax.Array, Any]:
    """Run some paths side by side: their scalars (paths, 1 + observables) and displacements."""
    along, curved, noisy = scales

    def test_loss(theta: Any) -> jax.Array:
        return expected(theta) if expected is not None else mean_loss(loss, theta, population, chunk)

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
            weights = noisy * (normal - normal.mean()) + (0 if averaged else along / points)
            pushed = jax.grad(lambda theta: weighted_loss(loss, theta, batch, weights))(theta)
            noise = jax.tree.map(lambda g: eta.astype(g.dtype) * g, pushed)
            if not averaged:  # drift and noise are one gradient
                return jax.tree.map(jnp.add, theta, noise), None
            first = drift(theta)
            ahead = jax.tree.map(lambda p, d, n: p + d + n, theta, first, noise)
            return jax.tree.map(lambda p, d, e, n: p + (d + e) / 2 + n, theta, first, drift(ahead), noise), None

        final, _ = lax.scan(update, theta, jax.random.split(ahead, steps))
        if loss.is_field:  # which has no losses
            reached = squared_norm(final)
        else:
            reached = (
                test_loss(final) if test_points is None else mean_loss(loss, final, draw(last, test_points), chunk)
            )
        scalars = jnp.stack([reached, *(s(final) for s in observables)])
        return scalars, jax.tree.map(jnp.subtract, final, theta)

    return jax.vmap(one)(keys)


def mean_loss(loss: PointFunction, theta: Any, points: Any, chunk: int) -> jax.Array:
    """The mean loss over some points, so many of them at once."""
    return population_mean(lambda batch, weights: weighted_loss(loss, theta, batch, weights), points, chunk=chunk)
