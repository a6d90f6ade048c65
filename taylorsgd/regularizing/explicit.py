"""Explicit gradient regularization inside a user's own training loop, as an optax transformation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.regularizing.gradient_penalty import gradient_and_curvature

__all__ = ["explicit_gradient_regularization"]


def explicit_gradient_regularization(mu: Any) -> optax.GradientTransformationExtraArgs:
    """Turn the gradient of E into that of E_μ = E + μ|∇E|², for one Hessian-vector product.

        ∇E  ->  ∇E + 2μ H∇E

    It comes first in a chain, so that what it receives is ∇E itself, and needs the loss at every update, as
    optax's line searches do: `optimizer.update(gradient, state, theta, value_fn=...)`, where `value_fn(theta)`
    is the loss on the batch that the gradient comes from. A learning rate h and batches that are the whole
    data have an implicit regularization of h/4 beside this explicit one.

    Args:
        mu: the regularization rate μ, in units of θ² per E. For one that changes in time, wrap this function
            in `optax.inject_hyperparams`.

    Returns:
        A transformation without state of its own, for θ any pytree of float arrays. Its `update` raises a
        ValueError if it is called without `params`, or with a loss that returns no scalar, and a TypeError if
        it is called without `value_fn`.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(theta, x):
        ...     return jnp.mean((theta - x) ** 2) / 2
        >>> optimizer = optax.chain(explicit_gradient_regularization(mu=0.5), optax.sgd(0.25))
        >>> theta, batch = jnp.array(3.0), jnp.array([-1.0, 1.0])
        >>> state = optimizer.init(theta)
        >>> gradient = jax.grad(loss)(theta, batch)
        >>> change, state = optimizer.update(
        ...     gradient, state, theta, value_fn=lambda theta: loss(theta, batch)
        ... )
        >>> change.item()                                             # −0.25 (∇E + 2·0.5 H∇E)
        -1.5

    Source: Barrett and Dherin, equation 8.
    """

    def update(
        updates: Any, state: Any, params: Any = None, *, value_fn: Callable[[Any], Any] | None = None, **others: Any
    ) -> tuple[Any, Any]:
        if params is None:
            raise ValueError("params=None: explicit_gradient_regularization differentiates the loss at them")
        if value_fn is None:
            raise TypeError(
                "value_fn=None: explicit_gradient_regularization differentiates the loss once more; call "
                "optimizer.update(gradient, state, params, value_fn=lambda params: loss(params, batch))"
            )
        _, product = gradient_and_curvature(PointFunction(value_fn, "value_fn"), params, updates)
        return jax.tree.map(lambda g, hg: g + 2 * mu * hg, updates, product), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
