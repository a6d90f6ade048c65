r"""Simulated gradient flow and diffusion: the ODE and the SDE that stand beside SGD.

The SDE  dθ = −η ∇l dt + η √(C(θ)/B) dW  (Itô) takes Euler–Maruyama steps of h = 1/refinement:

    θ ← θ − η h ∇l(θ) + η √(h/B) ζ,        ζ = n^{−1/2} Σ_j (ξ_j − ξ̄) ∇l_j(θ),   ξ_j independent standard normals.

Over a whole population of n points ζ is normal with covariance exactly C(θ), and drift and noise together are
one gradient, of a randomly weighted loss. Of a larger population, and of a sampler, every step draws m fresh
points: their mean gradient is off by noise of covariance C/m, so ζ is scaled by √(h/B − h²/m) instead of
√(h/B), and with m − 1 for n. Mean and covariance of a step are then those of Euler–Maruyama, its third
cumulant is O(h³), and so it converges weakly to first order in h (Kloeden and Platen 1992, section 14.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

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
from taylorsgd.landscapes.pytrees import squared_norm
from taylorsgd.measuring.devices import spread
from taylorsgd.spacetime import Spacetime

__all__ = ["diffuse", "has_noise"]

MOST_OF_PATH = 2**27
"""The most steps of a path of the SDE."""
MOST_STEPS = 10_000
"""The most steps of the ODE: a flow that needs more blows up, or is stiff."""
POINTS = 16
"""The most points whose gradients make up one step of the SDE."""


def has_noise(spacetime: Any) -> bool:
    """Whether a spacetime is a flow with noise, the SDE or a modified one."""
    return isinstance(spacetime, ModifiedSDE) or spacetime.is_flow and spacetime.largest_part != 1


def diffuse(
    landscape: Landscape,
    theta: Any,
    spacetime: Spacetime,
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
    """Run the ODE or SDE at some learning rates.

    Args:
        landscape: the loss and its data. A sampler for the SDE must be made of JAX operations.
        theta: the parameters θ_0, checked.
        spacetime: the ODE or SDE, with numbers for its sizes.
        rates: the learning rates.
        trials: the number of paths for each; those of the ODE are all the same.
        key: a JAX random key.
        functions: the functions behind the observables to record.
        refinement: the steps of the SDE in one unit of time.
        test_points: how many fresh points the test loss is averaged over; None for the exact test loss.
        chunk: the number of paths run side by side.
        simulated: wraps an iterable of known length in a progress bar.

    Returns:
        One record for each learning rate, its scalars being the test loss and the observables.

    Raises:
        ValueError: if the ODE is asked of a sampler whose expected loss is not known or does not get to its end in
            10,000 steps, or the steps are so long
            that the m points of one make more noise than the SDE has.
    """
    records = [Record() for _ in range(rates.size)]
    time = float(spacetime.sizes["T"])
    if not has_noise(spacetime):
        if landscape.size is None and landscape.expected is None:
            raise ValueError(
                f"the ODE flows down the expected loss, and {landscape!r} is a sampler that does not know it; "
                "give Landscape(loss, data, expected=...), or a population of data"
            )
        for i, rate in enumerate(simulated(rates.flat, rates.size)):
            own = jax.random.fold_in(key, i)
            scalars, displacement, arrived = _flow(
                landscape.point_loss,
                expected_loss(landscape),
                functions,
                theta,
                None if landscape.size is None else landscape.data,
                None if test_points is None else landscape.draw(own, (test_points,)),
                jnp.asarray(rate * time),
                chunk=population_chunk(landscape, theta),
            )
            if not bool(arrived):
                raise ValueError(
                    f"the ODE did not get to T={time:g} in {MOST_STEPS} steps at eta={rate:g}: it diverges or is stiff"
                    "; take a smaller learning rate or T"
                )
            records[i].add_copies(scalars, displacement, trials)
        return records
    steps = int(np.ceil(time * refinement))
    if steps > MOST_OF_PATH:
        raise ValueError(
            f"T={time:g} at refinement={refinement} takes {steps:.3g} steps, more than {MOST_OF_PATH}; take a smaller T"
        )
    points = min(POINTS, landscape.size or POINTS)
    whole = landscape.size is not None and landscape.size <= POINTS
    step = time / max(steps, 1)
    batch = float(spacetime.sizes["B"])
    strength = step / batch - (0 if whole else step**2 / points)
    if strength < 0:
        raise ValueError(
            f"refinement={refinement} makes steps whose {points} points are noisier than the SDE with "
            f"B={batch:g}; take at least {int(np.ceil(batch / points))}"
        )
    parameters = sum(leaf.size for leaf in jax.tree.leaves(theta))
    point, arising = floats_per_point(landscape, theta)
    at_once = min(trials, chunk or max(1, min(1024, BUDGET // (8 * parameters + points * (point + 4 * arising)))))
    run = partial(
        _paths,
        landscape.point_loss,
        landscape if landscape.size is None else None,
        expected_loss(landscape) if test_points is None else None,
        functions,
        theta,
        None if landscape.size is None else landscape.data,
        jnp.asarray([step, np.sqrt(strength / (points if whole else points - 1))]),
        steps=steps,
        points=points,
        whole=whole,
        test_points=test_points,
        chunk=population_chunk(landscape, theta, copies=4 * at_once),
    )
    starts = [(i, start) for i in range(rates.size) for start in range(0, trials, at_once)]
    for i, start in simulated(starts, len(starts)):
        keys = jax.random.split(jax.random.fold_in(key, i), trials)
        chosen = np.minimum(np.arange(start, start + at_once), trials - 1)  # fills the last chunk up
        records[i].add(run(jnp.asarray(rates.flat[i]), spread(keys[chosen])), at_once, trials)
    return records


@partial(jax.jit, static_argnames=("loss", "expected", "observables", "chunk"))
def _flow(
    loss: PointFunction,
    expected: PointFunction | None,
    observables: tuple[PointFunction, ...],
    theta: Any,
    population: Any,
    fresh: Any,
    time: jax.Array,
    *,
    chunk: int,
) -> tuple[jax.Array, Any, jax.Array]:
    """Integrate θ' = −∇l(θ) over ηT: the scalars and the displacement of the one path, and whether it got there."""
    import diffrax

    def test_loss(theta: Any) -> jax.Array:
        return expected(theta) if expected is not None else _mean_loss(loss, theta, population, chunk)

    def velocity(_: Any, theta: Any, __: Any) -> Any:
        return jax.tree.map(jnp.negative, jax.grad(test_loss)(theta))

    precision = float(jnp.finfo(jnp.result_type(*jax.tree.leaves(theta))).eps)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        diffrax.Dopri8(),
        t0=0.0,
        t1=time,
        dt0=None,
        y0=theta,
        # The pairs' difference overestimates the error; a tolerance nearer to eps would only chase rounding.
        stepsize_controller=diffrax.PIDController(rtol=100 * precision, atol=100 * precision),
        max_steps=MOST_STEPS,
        throw=False,
        adjoint=diffrax.ForwardMode(),
    )
    assert solution.ys is not None
    final = jax.tree.map(lambda leaf: leaf[-1], solution.ys)
    if loss.is_field:  # which has no losses
        loss_there = squared_norm(final)
    else:
        loss_there = test_loss(final) if fresh is None else _mean_loss(loss, final, fresh, chunk)
    scalars = jnp.stack([loss_there, *(s(final) for s in observables)])
    arrived = solution.result == diffrax.RESULTS.successful
    return scalars, jax.tree.map(jnp.subtract, final, theta), arrived


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
    scales: jax.Array,
    eta: jax.Array,
    keys: jax.Array,
    *,
    steps: int,
    points: int,
    whole: bool,
    test_points: int | None,
    chunk: int,
) -> tuple[jax.Array, Any]:
    """Run some paths of the SDE side by side: their scalars (paths, 1 + observables) and displacements."""
    drift, strength = scales

    def draw(key: jax.Array, count: int) -> Any:
        if sampler is not None:
            return sampler.draw(key, (count,))
        rows = jax.random.randint(key, (count,), 0, jax.tree.leaves(population)[0].shape[0])
        return jax.tree.map(lambda leaf: leaf[rows], population)

    def one(key: jax.Array) -> tuple[jax.Array, Any]:
        ahead, last = jax.random.split(key)

        def update(theta: Any, own: jax.Array) -> tuple[Any, None]:
            where, noise = jax.random.split(own)
            batch = population if whole else draw(where, points)
            normal = jax.random.normal(noise, (points,))
            weights = drift / points + strength * (normal - normal.mean())
            gradient = jax.grad(lambda theta: weighted_loss(loss, theta, batch, weights))(theta)
            return jax.tree.map(lambda p, g: p - eta.astype(p.dtype) * g, theta, gradient), None

        final, _ = lax.scan(update, theta, jax.random.split(ahead, steps))
        if loss.is_field:
            reached = squared_norm(final)
        elif expected is not None:
            reached = expected(final)
        else:
            fresh = population if test_points is None else draw(last, test_points)
            reached = _mean_loss(loss, final, fresh, chunk)
        scalars = jnp.stack([reached, *(s(final) for s in observables)])
        return scalars, jax.tree.map(jnp.subtract, final, theta)

    return jax.vmap(one)(keys)


def _mean_loss(loss: PointFunction, theta: Any, points: Any, chunk: int) -> jax.Array:
    return population_mean(lambda batch, weights: weighted_loss(loss, theta, batch, weights), points, chunk=chunk)
