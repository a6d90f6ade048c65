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

from taylorsgd.descent.recording import Record
from taylorsgd.descent.stochastic_paths import mean_loss, sample_paths
from taylorsgd.device_arrays import on_device
from taylorsgd.flows import ModifiedSDE
from taylorsgd.landscapes.landscape import Landscape, expected_loss, population_chunk
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.landscapes.pytrees import squared_norm
from taylorsgd.spacetime import Spacetime

__all__ = ["diffuse", "has_noise"]

MOST_STEPS = 10_000
"""The most steps of the ODE: a flow that needs more blows up, or is stiff."""


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
                on_device(rate * time),
                chunk=population_chunk(landscape, theta),
            )
            if not bool(arrived):
                raise ValueError(
                    f"the ODE did not get to T={time:g} in {MOST_STEPS} steps at eta={rate:g}: it diverges or is stiff"
                    "; take a smaller learning rate or T"
                )
            records[i].add_copies(scalars, displacement, trials)
        return records

    def strengths(step: float, points: int, whole: bool) -> tuple[float, float, float]:
        batch = float(spacetime.sizes["B"])
        strength = step / batch - (0 if whole else step**2 / points)
        if strength < 0:
            raise ValueError(
                f"refinement={refinement} makes steps whose {points} points are noisier than the SDE with "
                f"B={batch:g}; take at least {int(np.ceil(batch / points))}"
            )
        return -step, 0.0, -float(np.sqrt(strength / (points if whole else points - 1)))

    return sample_paths(
        landscape, theta, time, rates, trials, key, strengths, averaged=False, functions=functions,
        refinement=refinement, test_points=test_points, chunk=chunk, simulated=simulated,
    )  # fmt: skip


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
        return expected(theta) if expected is not None else mean_loss(loss, theta, population, chunk)

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
        loss_there = test_loss(final) if fresh is None else mean_loss(loss, final, fresh, chunk)
    scalars = jnp.stack([loss_there, *(s(final) for s in observables)])
    arrived = solution.result == diffrax.RESULTS.successful
    return scalars, jax.tree.map(jnp.subtract, final, theta), arrived
