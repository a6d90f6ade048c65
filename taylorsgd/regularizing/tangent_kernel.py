"""The neural tangent kernel of a least-squares loss, applied without being formed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from taylorsgd.arguments import finite_number
from taylorsgd.landscapes.landscape import checked_parameters
from taylorsgd.landscapes.pytrees import squared_norm
from taylorsgd.lowering.real_arrays import real_array

__all__ = ["TangentKernel"]


class TangentKernel:
    """The kernel K = J Jᵀ of the residuals ε(θ) of a least-squares loss, J = ∂ε/∂θ.

    Entry (i, j) is ∇ε_i·∇ε_j, the neural tangent kernel of the model at the data points i and j, a c × c block
    for c outputs. With E(θ) = s |ε(θ)|² the gradient is ∇E = 2s Jᵀε, so that

        m R_IG = |∇E|² = 4 s² εᵀKε,        Ẽ = E + (h/4)|∇E|² = s εᵀ(1 + h s K) ε.

    K v = J(Jᵀv) is one reverse and one forward sweep over the model; εᵀKε = |Jᵀε|² is one reverse sweep.

    Args:
        residuals: ε, a function `residuals(theta, *arguments)` that returns an array of any shape, such as
            model outputs less targets, (n,) or (n, c).
        theta: the parameters θ, any pytree of float arrays.
        arguments: what else the residuals take.
        scale: s, 1 for a sum of squares as in the paper, 1/2 for half of one, 1/n for a mean.

    Attributes:
        errors: ε(θ).
        scale: s.

    Raises:
        TypeError: if `residuals` is no function, returns no array of floats, `theta` holds other things, or `scale`
            is no number.
        ValueError: if `scale` is not finite.

    Example:
        >>> slopes = jnp.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
        >>> kernel = TangentKernel(lambda theta: slopes @ theta - 1, jnp.array([1.0, 0.0]))
        >>> (kernel @ jnp.array([1.0, 0.0, 0.0])).tolist()            # the first column of slopes slopesᵀ
        [5.0, 2.0, 3.0]
        >>> kernel.loss().item(), kernel.modified_loss(h=0.5).item()   # |ε|² = |(0, −1, 2)|²
        (5.0, 23.5)

    Source: Barrett and Dherin, proposition C.1. Equation A.23 there lacks the h.
    """

    def __init__(self, residuals: Callable[..., Any], theta: Any, *arguments: Any, scale: float = 1.0) -> None:
        """Evaluate the residuals once."""
        if not callable(residuals):
            raise TypeError(f"residuals={residuals!r} is not a function; it is called as residuals(theta, ...)")
        self._residuals = residuals
        self._theta = checked_parameters(theta)
        self._arguments = arguments
        self.scale = finite_number(scale, "scale")
        errors = residuals(self._theta, *arguments)
        if not isinstance(errors, jax.Array) or not jnp.issubdtype(errors.dtype, jnp.floating):
            raise TypeError(f"residuals returned {errors!r}; it must return one array of floats")
        self.errors = errors

    def __matmul__(self, vector: Any) -> jax.Array:
        """K v, for v of the shape of the residuals.

        Raises:
            ValueError: if `vector` has another shape.
        """
        vector = jnp.asarray(vector, self.errors.dtype)
        if vector.shape != self.errors.shape:
            raise ValueError(
                f"vector has shape {vector.shape}; the kernel acts on residuals of shape {self.errors.shape}"
            )
        return _apply(self._residuals, self._theta, self._arguments, vector)

    def loss(self) -> jax.Array:
        """E(θ) = s |ε(θ)|², a scalar."""
        return self.scale * jnp.vdot(self.errors, self.errors)

    def quadratic_form(self) -> jax.Array:
        """εᵀKε = |Jᵀε|² = m R_IG / (4s²), a scalar."""
        return _quadratic(self._residuals, self._theta, self._arguments, self.errors)

    def modified_loss(self, h: Any) -> jax.Array:
        """Ẽ(θ) = s εᵀ(1 + h s K) ε, the modified loss of gradient descent on E with step h, a scalar."""
        return self.loss() + real_array(h, "h") * self.scale**2 * self.quadratic_form()


@partial(jax.jit, static_argnums=0)
def _apply(residuals: Any, theta: Any, arguments: tuple[Any, ...], vector: jax.Array) -> jax.Array:
    model = partial(_with_arguments, residuals, arguments)
    (gradient,) = jax.vjp(model, theta)[1](vector)
    return jax.jvp(model, (theta,), (gradient,))[1]


@partial(jax.jit, static_argnums=0)
def _quadratic(residuals: Any, theta: Any, arguments: tuple[Any, ...], errors: jax.Array) -> jax.Array:
    (gradient,) = jax.vjp(partial(_with_arguments, residuals, arguments), theta)[1](errors)
    return squared_norm(gradient)


def _with_arguments(residuals: Any, arguments: tuple[Any, ...], theta: Any) -> Any:
    return residuals(theta, *arguments)
