"""Regularizers of the papers inside a user's own training loop: GDC and STIC as optax transformations.

Both look at the single points of a batch, so they take the loss of one point, and at every update the batch.
`explicit` holds the third, which needs the loss of a batch only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.regularizing.gap import gap_estimate
from taylorsgd.regularizing.noise import noise_slope

__all__ = ["covariance_regularization", "gap_regularization"]


def covariance_regularization(loss: Callable[[Any, Any], Any], strength: Any) -> optax.GradientTransformationExtraArgs:
    """Turn the gradient of l̂ into that of l̂ + s tr Ĉ (GDC), for a Hessian-vector product of every point.

        ∇l̂  ->  ∇l̂ + s (2/(N − 1)) Σ_n H_n (∇l_n − ∇l̂),        Ĉ = Σ_n (∇l_n − ∇l̂)(∇l_n − ∇l̂)ᵀ / (N − 1)

    Descent on all N training points with the learning rate η and s = η (1/B − 1/N)/4 has the expected test loss
    of SGD with batches of B, to order η²; `simulate(..., update=GDC(B))` runs it on a landscape. Where it comes
    first in a chain, what it receives is ∇l̂ itself: `optimizer.update(gradient, state, theta, batch=...)`.

    Args:
        loss: a function `loss(theta, x)` that returns the loss of one point.
        strength: s, in units of θ² per loss. For one that changes in time, wrap this function in
            `optax.inject_hyperparams(..., static_args="loss")`.

    Returns:
        A transformation without state of its own, for θ any pytree of float arrays. Its `update` raises a
        ValueError if it is called without `params`, or with a loss that returns no scalar, and a TypeError if it
        is called without `batch`.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(theta, x):
        ...     return x * theta**2 / 2
        >>> optimizer = optax.chain(covariance_regularization(loss, strength=0.25), optax.sgd(1.0))
        >>> theta, batch = jnp.array(3.0), jnp.array([1.0, 3.0])          # ∇l_n = x θ, so tr Ĉ = 2θ²
        >>> change, _ = optimizer.update(2 * theta, optimizer.init(theta), theta, batch=batch)
        >>> change.item()                                                 # −(2θ + 0.25 · 4θ)
        -9.0

    Source: Tenka, Corollary 1 and section C.4.
    """
    function = PointFunction(loss, "loss")

    def update(updates: Any, state: Any, params: Any = None, *, batch: Any = None, **others: Any) -> tuple[Any, Any]:
        _refuse_missing("covariance_regularization", params, batch)
        _, slope = noise_slope(function, params, batch)
        return jax.tree.map(lambda g, c: g + strength * c, updates, slope), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def gap_regularization(
    loss: Callable[[Any, Any], Any], time: Any, *, weights: Any = None, steps: int | None = None
) -> optax.GradientTransformationExtraArgs:
    """Turn the gradient of l̂ into that of l̂ + the estimated generalization gap (STIC).

    What is added is the gradient of `gap_estimate`, the gap that training over ηT brings. Hyperparameters inside of
    θ, such as the coefficient of an l₂ penalty, are trained with it; an `optax.masked(
    optax.keep_params_nonnegative(), mask)` at the end of the chain projects them to λ ≥ 0. It is called like
    `covariance_regularization`.

    Args:
        loss: a function `loss(theta, x)` that returns the loss of one point.
        time: ηT, as in `gap_estimate`.
        weights: which parameters are weights rather than hyperparameters, as in `gap_estimate`.
        steps: as in `gap_estimate`.

    Returns:
        A transformation without state of its own. Its `update` raises as `gap_estimate` does, a ValueError if it
        is called without `params` and a TypeError without `batch`.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(theta, x):
        ...     return (2 + theta["lam"]) * theta["w"] ** 2 / 2 + x * theta["w"]
        >>> mask = {"w": False, "lam": True}
        >>> optimizer = optax.chain(
        ...     gap_regularization(loss, time=1e3, weights={"w": True, "lam": False}),
        ...     optax.sgd(0.1),
        ...     optax.masked(optax.keep_params_nonnegative(), mask),
        ... )
        >>> theta, batch = {"w": jnp.array(0.0), "lam": jnp.array(0.0)}, jnp.array([-2.0, 2.0])
        >>> gradient = {"w": jnp.array(0.0), "lam": jnp.array(0.0)}
        >>> change, _ = optimizer.update(gradient, optimizer.init(theta), theta, batch=batch)
        >>> print(f"{change['lam']:.4f}")                                      # 0.1 · Ĉ/N · 1/H² = 0.1 · 4/4
        0.1000

    Source: Tenka, Corollary 5, section 4 and C.4.
    """

    def update(updates: Any, state: Any, params: Any = None, *, batch: Any = None, **others: Any) -> tuple[Any, Any]:
        _refuse_missing("gap_regularization", params, batch)
        slope = jax.grad(lambda params: gap_estimate(loss, params, batch, time, weights=weights, steps=steps))(params)
        return jax.tree.map(lambda g, c: g + c, updates, slope), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _refuse_missing(name: str, params: Any, batch: Any) -> None:
    if params is None:
        raise ValueError(f"params=None: {name} differentiates the loss at them")
    if batch is None:
        raise TypeError(
            f"batch=None: {name} looks at the single points; call optimizer.update(gradient, state, params, "
            "batch=batch)"
        )
