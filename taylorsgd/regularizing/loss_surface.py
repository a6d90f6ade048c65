"""The slope of the loss surface, and what implicit gradient regularization says about it."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from taylorsgd.landscapes.landscape import checked_parameters
from taylorsgd.landscapes.objective import AnyLoss, total_loss
from taylorsgd.landscapes.pytrees import count_entries, squared_norm
from taylorsgd.lowering.real_arrays import real_array

__all__ = [
    "gradient_regularizer", "loss_surface_slope", "metric_determinant", "norm_growth_bound", "regularization_rate",
]  # fmt: skip


def gradient_regularizer(loss: AnyLoss, theta: Any, *arguments: Any) -> jax.Array:
    """The implicit gradient regularizer R_IG(θ) = |∇E(θ)|²/m, with m the number of parameters.

    Gradient descent of step h follows the flow of E + λ R_IG, λ = hm/4 (`regularization_rate`), to one order
    more in h than that of E.

    Args:
        loss: E, a function `loss(theta, *arguments)`, or a landscape, whose E is the mean over its population.
        theta: the parameters, any pytree of float arrays.
        arguments: what else the loss takes, such as a batch.

    Returns:
        A scalar array, in units of E² per θ².

    Raises:
        TypeError: if `loss` is no function and no landscape, or `theta` holds other things than floats.
        ValueError: if the loss returns no scalar, or the landscape has no population.

    Example:
        >>> gradient_regularizer(lambda theta: theta["a"] ** 2 + 4 * theta["b"], {"a": 1.0, "b": 0.0}).item()
        10.0

    Source: Barrett and Dherin, equation 4.
    """
    theta = checked_parameters(theta)
    return _squared_gradient(*_prepared(loss, theta, arguments)) / count_entries(theta)


def regularization_rate(h: Any, theta: Any) -> Any:
    """The implicit regularization rate λ = hm/4.

    Args:
        h: the learning rate.
        theta: the parameters, m numbers in all.

    Returns:
        λ, of the type of `h`, in units of θ² per E.

    Raises:
        TypeError: if `theta` holds other things than floats, or `h` is no real number.
        ValueError: if `h` is not finite.

    Example:
        >>> regularization_rate(0.25, {"a": jnp.zeros((3, 5)), "b": 1.0})
        1.0

    Source: Barrett and Dherin, equation 3.
    """
    rate = real_array(h, "h")
    return (rate if isinstance(h, (list, tuple)) else h) * count_entries(checked_parameters(theta)) / 4


def loss_surface_slope(loss: AnyLoss, theta: Any, *arguments: Any) -> jax.Array:
    """The slope of the loss surface {(θ, E(θ))}: tan α = |∇E| = √(m R_IG).

    α is the angle between the surface's normal (−∇E, 1)/√(1 + |∇E|²) and the vertical (0, 1), so that
    cos α = 1/√(1 + |∇E|²). The modified loss is E + (h/4) slope².

    Args:
        loss: E, a function `loss(theta, *arguments)`, or a landscape.
        theta: the parameters, any pytree of float arrays.
        arguments: what else the loss takes.

    Returns:
        A scalar array, in units of E per θ.

    Raises:
        TypeError: as `gradient_regularizer`.
        ValueError: as `gradient_regularizer`.

    Example:
        >>> loss_surface_slope(lambda theta: theta @ theta / 2, jnp.array([3.0, 4.0])).item()
        5.0

    Source: Barrett and Dherin, equations A.15 to A.18.
    """
    theta = checked_parameters(theta)
    square = _squared_gradient(*_prepared(loss, theta, arguments))
    steep = square > 0
    return jnp.where(steep, jnp.sqrt(jnp.where(steep, square, 1)), 0)  # with a derivative of 0 at a minimum


def metric_determinant(loss: AnyLoss, theta: Any, *arguments: Any) -> jax.Array:
    """The determinant |g| = 1 + |∇E|² of the metric g_ij = δ_ij + ∂_i E ∂_j E of the loss surface.

    √|g| is the area of the surface above a unit of the parameter plane; R_IG = (|g| − 1)/m. The metric
    itself, m × m, is not formed: a matrix of rank one beside the identity has one eigenvalue that is not 1.

    Args:
        loss: E, a function `loss(theta, *arguments)`, or a landscape.
        theta: the parameters, any pytree of float arrays, in units in which E has none.
        arguments: what else the loss takes.

    Returns:
        A scalar array.

    Raises:
        TypeError: as `gradient_regularizer`.
        ValueError: as `gradient_regularizer`.

    Example:
        >>> metric_determinant(lambda theta: theta @ theta / 2, jnp.array([3.0, 4.0])).item()
        26.0

    Source: Barrett and Dherin, remark B.3.
    """
    theta = checked_parameters(theta)
    return 1 + _squared_gradient(*_prepared(loss, theta, arguments))


def norm_growth_bound(loss: AnyLoss, theta: Any, h: Any, *arguments: Any) -> jax.Array:
    """The most that |θ| can change in one step of gradient descent: ||θ − h∇E| − |θ|| ≤ h slope(θ).

    Args:
        loss: E, a function `loss(theta, *arguments)`, or a landscape.
        theta: the parameters, any pytree of float arrays.
        h: the learning rate.
        arguments: what else the loss takes.

    Returns:
        h |∇E(θ)|, a scalar array in units of θ; reached when ∇E points towards the origin or away from it.

    Raises:
        TypeError: as `gradient_regularizer`.
        ValueError: as `gradient_regularizer`.

    Example:
        >>> print(norm_growth_bound(lambda theta: theta @ theta / 2, jnp.array([3.0, 4.0]), 0.1))
        0.5

    Source: Barrett and Dherin, proposition B.4 (the triangle inequality bounds the norm's decrease as well).
    """
    return real_array(h, "h") * loss_surface_slope(loss, theta, *arguments)


def _prepared(loss: AnyLoss, theta: Any, arguments: tuple[Any, ...]) -> tuple[Any, Any, tuple[Any, ...]]:
    function, fixed = total_loss(loss, (theta, *arguments))
    return function, theta, (*fixed, *arguments)


@partial(jax.jit, static_argnums=0)
def _squared_gradient(function: Any, theta: Any, arguments: tuple[Any, ...]) -> jax.Array:
    return squared_norm(jax.grad(function)(theta, *arguments))
