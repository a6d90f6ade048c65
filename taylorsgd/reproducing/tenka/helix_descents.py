"""SGD on HELIX from its valley of minima: trajectories, and the drift along the valley that formulas derive."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import taylorsgd as ts
from taylorsgd.landscapes import helix

__all__ = ["PERIOD", "derived_drift", "descents"]

PERIOD = 2 * np.pi
"""HELIX looks the same this much further along the valley."""


def descents(rate: float, updates: int, trials: int, key: jax.Array) -> np.ndarray:
    """SGD on HELIX from the valley, one fresh point an update.

    Args:
        rate: the learning rate η.
        updates: T.
        trials: how many trajectories.
        key: of the training points.

    Returns:
        θ = (u, v, z) after every update, the beginning included, an array (trials, updates + 1, 3).

    Example:
        >>> descents(0.1, 5, 2, jax.random.key(0)).shape
        (2, 6, 3)
    """
    loss = helix().as_landscape().point_loss

    def step(theta: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        theta = theta - rate * jax.grad(loss)(theta, x)
        return theta, theta

    def trial(noise: jax.Array) -> jax.Array:
        return jax.lax.scan(step, jax.numpy.zeros(3), noise)[1]

    noise = jax.random.normal(key, (trials, updates))
    path = np.asarray(jax.jit(jax.vmap(trial))(noise), dtype=float)
    return np.concatenate([np.zeros((trials, 1, 3)), path], axis=1)


def derived_drift(rate: Any, spacetime: Any = None, resum: Any = "discrete") -> Any:
    """The steady change of z per update by the resummed formula of order 3; of SGD, if no spacetime is named.

    Example:
        >>> from sympy import Rational
        >>> derived_drift(Rational(1, 10))                                   # η²/(6 − 4η)
        1/560
    """
    where = ts.SGD(B=1, E=1) if spacetime is None else spacetime
    drift = ts.derive(ts.Displacement(), where, 3, resum=resum).assume("minimum").drift()
    place = helix()
    return drift.evaluate(place, place.start, eta=rate)[2]
