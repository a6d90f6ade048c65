"""Optimizers of users: made from η, checked to be smooth, told apart from those whose learning rate is fixed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_flatten_with_path

from taylorsgd.descent.pytree_arithmetic import AnyUpdate, made_with, stepping
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.landscapes.pytrees import inner
from taylorsgd.landscapes.smoothness import Roughness, roughness_of
from taylorsgd.updates import ImplicitStep, Update

__all__ = ["refuse_rough_optimizers"]


def refuse_rough_optimizers(optimizer: AnyUpdate, theta: Any, stacklevel: int = 3) -> None:
    """Raise unless an optimizer can be expanded in η, and warn if it has kinks.

    It is looked at on a loss that is linear in θ, whose gradients are what is given: so what is found is its own.

    Args:
        optimizer: a function of η, or an update rule.
        theta: the parameters.
        stacklevel: as in `warnings.warn`.

    Raises:
        TypeError: if it is neither, or its learning rate is fixed already.
        ValueError: if it does not depend on η, can't step from θ, jumps, or stops derivatives.
        NotImplementedError: for `ImplicitStep`.
    """
    if isinstance(optimizer, ImplicitStep):
        raise NotImplementedError(
            f"optimizer={optimizer!r} is solved by iterations, whose derivatives are not those of the step; supported "
            "are the other rules and functions of eta, and derive(..., update=ImplicitStep()) has formulas"
        )
    if isinstance(optimizer, Update):
        return
    if hasattr(optimizer, "init") and hasattr(optimizer, "update") and not isinstance(optimizer, type):
        raise TypeError(
            f"optimizer={optimizer!r} has its learning rate fixed already, and it is expanded in; give the function of "
            "eta that makes it, such as optax.adam or lambda eta: optax.adam(eta, b1=0.8)"
        )
    if not callable(optimizer):
        raise TypeError(
            f"optimizer={optimizer!r} must be a function of eta that returns an optax transformation, such as "
            "optax.adam, or an update rule, such as HeavyBall(beta)"
        )
    first, later = _roughness(optimizer, theta)
    if not first.depends:
        raise ValueError(
            f"optimizer={optimizer!r} does not depend on the learning rate eta that it is called with; pass it on, as "
            "in lambda eta: optax.adam(eta, b1=0.8)"
        )
    if later.stopped:
        raise ValueError(
            f"optimizer={optimizer!r} holds a stop_gradient, behind which its dependence on eta is not seen; leave it "
            "out"
        )
    if later.jumps:
        raise ValueError(
            f"optimizer={optimizer!r} jumps ({', '.join(sorted(later.jumps))}): between its jumps it is constant, and "
            "coefficients would miss what it does; smooth it, such as sign(x) to x / sqrt(x**2 + width**2)"
        )
    if later.kinks:
        warnings.warn(
            f"the optimizer has kinks in its gradients ({', '.join(sorted(later.kinks))}), such as clipping has where "
            "it sets in: the coefficients are those of the smooth pieces that the trials start on, and say nothing "
            "of what happens where a trial crosses a kink",
            RuntimeWarning,
            stacklevel=stacklevel,
        )


def _roughness(optimizer: Callable[[Any], Any], theta: Any) -> tuple[Roughness, Roughness]:
    """Of the first step in η, and of any step in η, θ, the gradients and what is remembered."""
    loss = PointFunction(inner, "loss")
    eta = jnp.zeros((), jnp.result_type(*jax.tree.leaves(theta)))
    slopes = jax.tree.map(lambda leaf: jnp.ones((1, *leaf.shape), leaf.dtype), theta)
    made_with(optimizer, eta, "optimizer")

    def begin(eta: Any) -> Any:
        return stepping(optimizer, loss, theta, eta, {})[0]

    def step(eta: Any, state: Any, slopes: Any) -> Any:
        return stepping(optimizer, loss, theta, eta, {})[1](state, slopes, jnp.ones(()))

    try:
        state = jax.eval_shape(begin, eta)
        first = jax.make_jaxpr(lambda eta, slopes: step(eta, begin(eta), slopes))(eta, slopes)
        later = jax.make_jaxpr(step)(eta, state, slopes)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        leaves, _ = tree_flatten_with_path(theta)
        shapes = ", ".join(f"theta{keystr(path)}: {leaf.shape}" for path, leaf in leaves)
        raise ValueError(f"optimizer={optimizer!r} can't step from {shapes}: {error}") from error
    of_eta = [i == 0 for i in range(len(first.in_avals))]
    floats = [jnp.issubdtype(one.dtype, jnp.inexact) for one in later.in_avals]
    return roughness_of(first, of_eta), roughness_of(later, floats)
