r"""Akaike's and Takeuchi's estimates of the generalization gap, beside which `gap_estimate` (STIC) stands.

Where training ends at a minimum, test and training loss differ on average by (Takeuchi 1976)

    TIC = tr(Ĉ Ĥ⁻¹)/N,        Ĉ = Σ_n (g_n − ḡ)(g_n − ḡ)ᵀ/(N − 1),   Ĥ = ∇∇ mean loss,

which is P/N, Akaike's criterion, for the negative log likelihood of a model that holds the truth, as C = H there. STIC,
tr(Ĉ Ĥ⁻¹ (1 − e^{−ηTĤ}))/N, tends to TIC as T → ∞, and stays finite where Ĥ is flat. All are in units of the loss:
what AIC and TIC are called elsewhere is 2N times training loss + estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.regularizing.noise import gradients_apart

__all__ = ["akaike", "takeuchi"]

DENSE = 2048
"""The most parameters whose Hessian is formed."""


def akaike(theta: Any, batch: Any) -> float:
    """Akaike's estimate of the gap, P/N: the number of parameters over that of points.

    Args:
        theta: the parameters, any pytree of float arrays.
        batch: the N training points, a pytree of arrays with a common leading axis.

    Returns:
        A number in units of a negative log likelihood per point.

    Example:
        >>> akaike(jnp.zeros(3), jnp.ones((30, 2)))
        0.1

    Source: Akaike (1974); Tenka, Corollary 5.
    """
    points = {leaf.shape[0] if jnp.ndim(leaf) else 0 for leaf in map(jnp.asarray, jax.tree.leaves(batch))}
    if len(points) != 1 or points == {0}:
        raise ValueError(f"batch has leading axes of lengths {sorted(points)}; the N points need one in common")
    return sum(jnp.size(leaf) for leaf in jax.tree.leaves(theta)) / points.pop()


def takeuchi(loss: Callable[[Any, Any], Any], theta: Any, batch: Any) -> jax.Array:
    """Takeuchi's estimate of the gap, tr(Ĉ Ĥ⁻¹)/N, from the training points at a minimum of their mean loss.

    Args:
        loss: a function `loss(theta, x)` that returns the loss of one point.
        theta: the parameters, any pytree of float arrays, at most 2048 numbers.
        batch: the N training points, a pytree of arrays with a common leading axis.

    Returns:
        A scalar, which JAX can differentiate, compile and batch; in units of the loss. It is not finite where Ĥ is
        singular, and large where Ĥ nearly is, of either sign: `gap_estimate` is neither.

    Raises:
        ValueError: if there are more parameters, or the loss returns no scalar.

    Example:
        The loss θ²/2 + xθ has H = 1, and points ±1 have Ĉ = 2:

        >>> print(takeuchi(lambda theta, x: theta**2 / 2 + x * theta, 0.0, jnp.array([-1.0, 1.0])))
        1.0

    Source: Takeuchi (1976); Dixon and Ward (2018); Tenka, Corollary 5.
    """
    theta = jax.tree.map(jnp.asarray, theta)
    flat, unravel = ravel_pytree(theta)
    if flat.size > DENSE:
        raise ValueError(f"theta has {flat.size} parameters, too many for their Hessian; the most are {DENSE}")
    function = PointFunction(loss, "loss")
    rows = jax.vmap(lambda row: ravel_pytree(row)[0])(gradients_apart(function, theta, batch))

    def mean(flat: jax.Array) -> jax.Array:
        return jnp.mean(jax.vmap(function, (None, 0))(unravel(flat), batch))

    return jnp.sum(rows * jnp.linalg.solve(jax.hessian(mean)(flat), rows.T).T) / len(rows)
