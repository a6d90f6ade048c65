"""Losses that penalize their own slope: E + μ|∇E|², chosen or left behind by gradient descent.

The gradient of the penalty is a Hessian-vector product, ∇(μ|∇E|²) = 2μ H∇E, found by differentiating ∇E
forward along itself: one sweep gives ∇E and H∇E both, at about the cost of two gradients, and without the
record of a gradient's computation that reverse differentiation of |∇E|² would keep. H is never formed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from taylorsgd.landscapes.landscape import checked_parameters
from taylorsgd.landscapes.objective import AnyLoss, total_loss
from taylorsgd.landscapes.pytrees import inner, squared_norm
from taylorsgd.lowering.real_arrays import real_array

__all__ = ["explicitly_regularized", "gradient_and_curvature", "implicitly_regularized"]


def explicitly_regularized(loss: AnyLoss, mu: Any) -> Callable[..., jax.Array]:
    """The explicitly regularized loss E_μ(θ) = E(θ) + μ|∇E(θ)|².

    Args:
        loss: E, a function `loss(theta, *arguments)`, or a landscape, whose E is the mean over its population.
        mu: the regularization rate μ, in units of θ² per E. A number, or a JAX scalar.

    Returns:
        A function of (theta, *arguments) that JAX differentiates as often as it does E, in `theta`, in the
        arguments and in `mu`. Its first derivative in `theta` costs one Hessian-vector product, also in
        reverse mode.

    Raises:
        TypeError: if `loss` is no function and no landscape, or `mu` no real number.
        ValueError: if `mu` is not finite; if `loss` is a landscape without a population; when called: if it returns
            no scalar.

    Example:
        >>> penalized = explicitly_regularized(lambda theta: theta**2, 0.25)
        >>> jax.value_and_grad(penalized)(3.0)[1].item()      # E + 0.25 (2θ)² = 2θ²
        12.0

    Source: Barrett and Dherin, equation 8.
    """
    function, fixed = total_loss(loss)
    return partial(_penalized, function, real_array(mu, "mu"), fixed)


def implicitly_regularized(loss: AnyLoss, h: Any) -> Callable[..., jax.Array]:
    """The modified loss Ẽ(θ) = E(θ) + λ R_IG(θ) = E(θ) + (h/4)|∇E(θ)|² of gradient descent with step h.

    One step of descent stays within O(h³) of the flow θ̇ = −∇Ẽ, and within O(h²) of θ̇ = −∇E. At order h²
    there is in general no such loss (`modified_loss` says where there is one).

    Args:
        loss: E, a function `loss(theta, *arguments)`, or a landscape.
        h: the learning rate.

    Returns:
        E_μ with μ = h/4, as `explicitly_regularized` makes it.

    Raises:
        TypeError: as `explicitly_regularized`.
        ValueError: as `explicitly_regularized`.

    Example:
        >>> implicitly_regularized(lambda theta: theta**2, 0.5)(3.0).item()   # 9 + 0.5/4 · 36
        13.5

    Source: Barrett and Dherin, theorem 3.1 and proposition 6.1.
    """
    return explicitly_regularized(loss, real_array(h, "h") / 4)


def gradient_and_curvature(function: Callable[..., Any], theta: Any, along: Any = None) -> tuple[Any, Any]:
    """The gradient ∇E(θ) and the Hessian-vector product H(θ)v in one forward sweep over the gradient.

    Args:
        function: E, a function of `theta` alone.
        theta: the parameters, any pytree of float arrays.
        along: v, a pytree like `theta`; None means ∇E(θ), for one gradient more.

    Returns:
        ∇E and Hv, pytrees like `theta`.

    Example:
        >>> gradient, product = gradient_and_curvature(lambda theta: theta**3, 2.0)
        >>> gradient.item(), product.item()
        (12.0, 144.0)

    Source: Pearlmutter 1994.
    """
    gradient = jax.grad(function)
    return jax.jvp(gradient, (theta,), (gradient(theta) if along is None else along,))


@partial(jax.jit, static_argnums=0)
def _penalized(function: Any, mu: Any, fixed: tuple[Any, ...], theta: Any, *arguments: Any) -> jax.Array:
    return _with_rule(function, jnp.asarray(mu), checked_parameters(theta), (*fixed, *arguments))


def _plain(function: Any, mu: Any, theta: Any, arguments: Any) -> jax.Array:
    value, gradient = jax.value_and_grad(function)(theta, *arguments)
    return value + mu * squared_norm(gradient)


_with_rule = jax.custom_jvp(_plain, nondiff_argnums=(0,))


def _derivative(function: Any, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """The rule dE_μ = ⟨∇E + 2μ H∇E, dθ⟩ + |∇E|² dμ; where the arguments vary, plain differentiation."""
    mu, theta, arguments = primals
    if not all(isinstance(leaf, SymbolicZero) for leaf in jax.tree.leaves(tangents[2])):
        return jax.jvp(partial(_plain, function), primals, jax.tree.map(_filled, tangents))
    along_mu, along_theta, _ = jax.tree.map(_filled, tangents)
    both = jax.value_and_grad(lambda theta: function(theta, *arguments))
    (value, gradient), (square, product) = jax.jvp(both, (theta,), (both(theta)[1],))
    slope = jax.tree.map(lambda g, hg: g + 2 * mu * hg, gradient, product)
    change = inner(slope, along_theta)
    return value + mu * square, change + along_mu * square


_with_rule.defjvp(_derivative, symbolic_zeros=True)


def _filled(tangent: Any) -> Any:
    """An array of zeros for a symbolic zero; a tangent of integers has the dtype float0."""
    if not isinstance(tangent, SymbolicZero):
        return tangent
    kind: Any = tangent.dtype
    make: Any = np if kind == jax.dtypes.float0 else jnp
    return make.zeros(tangent.shape, kind)
