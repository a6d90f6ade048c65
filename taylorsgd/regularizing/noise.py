r"""How gradients differ over the points of a batch: their covariance, its trace, and the slope of that trace.

With g_n = ∇l_n and ḡ their mean over N points, the unbiased covariance is

    Ĉ = Σ_n (g_n − ḡ)(g_n − ḡ)ᵀ / (N − 1),        ∇ tr Ĉ = (2/(N − 1)) Σ_n H_n (g_n − ḡ):

ḡ moves with θ too, but the g_n − ḡ sum to 0. For the pair x, y this is the mean of 2 ∇l_x·∇∇(l_x − l_y) and
2 ∇l_y·∇∇(l_y − l_x), each of which is unbiased for ∇ tr C. One point alone has no covariance; 0 stands for it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from taylorsgd.landscapes.point_functions import PointFunction

__all__ = ["gradients_apart", "noise_slope"]


def gradients_apart(loss: PointFunction, theta: Any, batch: Any) -> Any:
    """The g_n − ḡ over √(N − 1), whose products sum to Ĉ: a pytree like θ whose leaves have a leading axis.

    Args:
        loss: the loss l_x(θ) of one point.
        theta: the parameters.
        batch: the points, a pytree of arrays with a common leading axis.
    """
    return jax.tree.map(_apart, jax.vmap(jax.grad(loss), (None, 0))(theta, batch))


def noise_slope(loss: PointFunction, theta: Any, batch: Any) -> tuple[Any, Any]:
    """The gradient of the mean loss, and ∇ tr Ĉ, for a Hessian-vector product of every point.

    Args:
        loss: as in `gradients_apart`.
        theta: likewise.
        batch: likewise.

    Returns:
        Two pytrees like `theta`.

    Example:
        Slopes x θ² of the points have covariance θ⁴ Var x:

        >>> slope = noise_slope(PointFunction(lambda theta, x: x * theta**3 / 3, "loss"), 2.0, jnp.array([1.0, 3.0]))
        >>> [float(part) for part in slope]                     # 2 θ², and 4 θ³ · 2
        [8.0, 64.0]
    """
    count = jax.tree.leaves(batch)[0].shape[0]
    copies = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), theta)
    gradients, curved = jax.linearize(lambda copies: jax.vmap(jax.grad(loss))(copies, batch), copies)
    products = curved(jax.tree.map(_apart, gradients))
    mean = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), gradients)
    return mean, jax.tree.map(lambda leaf: 2 / max(count - 1, 1) ** 0.5 * jnp.sum(leaf, axis=0), products)


def _apart(leaf: jax.Array) -> jax.Array:
    return (leaf - jnp.mean(leaf, axis=0)) / max(len(leaf) - 1, 1) ** 0.5
