r"""The generalization gap that training will bring, estimated from the training points, smooth in θ (STIC).

T updates of gradient descent from a minimum make test and training loss differ by (Tenka, Corollary 5)

    gap = tr[ C/N · H⁻¹ (1 − e^{−ηTH}) ],        H⁻¹ (1 − e^{−ηTH}) = ∫_0^{ηT} e^{−sH} ds,

with the covariance C of gradients and the Hessian H: a Takeuchi information criterion, to which it tends as
T → ∞, smoothed so that flat and downward directions of H do no harm. Estimated by Ĉ and Ĥ of the N training points
it may be added to the loss and descended on, in the weights and in what the loss depends on besides.

The dense estimate is the lowered formula of order 1. The one without matrices takes `steps` steps of the same
descent in each direction g_n − ḡ, v ← v + h (g_n − ḡ − Ĥv), which leads to Ĥ⁻¹ (1 − (1 − hĤ)^steps) (g_n − ḡ):
with h = η the resummation of T = steps discrete updates, exact on quadratics.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from taylorsgd.formulas import GeneralizationGap, derive
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.landscapes.pytrees import inner
from taylorsgd.regularizing.noise import gradients_apart
from taylorsgd.spacetime import GD

__all__ = ["gap_estimate"]

DENSE = 2048
"""The most weights whose Hessian is formed."""


def gap_estimate(
    loss: Callable[[Any, Any], Any], theta: Any, batch: Any, time: Any, *, weights: Any = None, steps: int | None = None
) -> jax.Array:
    """Estimate the generalization gap that training on a batch brings, Σ_n d_nᵀ Ĥ⁻¹ (1 − e^{−ηTĤ}) d_n / N.

    The d_n = (g_n − ḡ)/√(N − 1), so that Σ d_n d_nᵀ is the unbiased covariance Ĉ of the gradients; Ĥ is the
    Hessian of the mean loss on the batch. A sum of both, mean loss + gap estimate, is what STIC descends on.

    Args:
        loss: a function `loss(theta, x)` that returns the loss of one point.
        theta: the parameters, any pytree of float arrays.
        batch: the N training points, a pytree of arrays with a common leading axis.
        time: ηT, the learning rate times the number of updates, at least 0.
        weights: which parameters training moves, and so which ones Ĥ and Ĉ are of: a pytree of booleans with
            the structure of `theta` or a prefix of it. The others are hyperparameters, in which the estimate can be
            differentiated all the same. None means all.
        steps: None for dense matrices over the weights, of which there may be at most 2048. Else no matrix is
            formed: N · steps Hessian-vector products, with e^{−ηTĤ} replaced by (1 − hĤ)^steps, h = ηT/steps; that
            is exact for steps = T updates of rate η on a quadratic, and diverges where hĤ has eigenvalues above 2.

    Returns:
        A scalar, which JAX can differentiate, compile and batch; in units of the loss. 0 for N = 1.

    Raises:
        ValueError: if the weights are more than 2048 and `steps` is not given, or it is less than 1, or no
            parameter is a weight, or the loss returns no scalar.

    Example:
        The loss θ²/2 + xθ has H = 1, and points ±1 have Ĉ = 2:

        >>> parabola, batch = lambda theta, x: theta**2 / 2 + x * theta, jnp.array([-1.0, 1.0])
        >>> print(gap_estimate(parabola, 0.0, batch, time=1.0).round(4))        # 2/2 (1 − 1/e)
        0.6321

        The coefficient λ of an l₂ penalty lessens it, the more the longer training goes on:

        >>> def penalized(theta, x):
        ...     return (1 + theta["lam"]) * theta["w"] ** 2 / 2 + x * theta["w"]
        >>> which = {"w": True, "lam": False}
        >>> slope = jax.grad(lambda theta: gap_estimate(penalized, theta, batch, 1e3, weights=which))
        >>> print(slope({"w": 0.0, "lam": 0.0})["lam"].round(4))                # d/dλ of 1/(1 + λ)
        -1.0

    Source: Tenka, Corollary 5, section 4 and C.4.
    """
    if steps is not None and steps < 1:
        raise ValueError(f"steps={steps} must be at least 1, or None for dense matrices")
    chosen, whole = _split(theta, weights)
    function = PointFunction(lambda chosen, x: loss(whole(chosen), x), "loss")
    apart = gradients_apart(function, chosen, batch)
    count = jax.tree.leaves(batch)[0].shape[0]

    def gradient(chosen: Any) -> Any:
        return jax.grad(lambda chosen: jnp.mean(jax.vmap(function, (None, 0))(chosen, batch)))(chosen)

    if steps is None:
        return _dense(gradient, chosen, apart, count, time)
    _, product = jax.linearize(gradient, chosen)
    short = jnp.asarray(time) / steps

    def along(direction: Any) -> jax.Array:
        def step(moved: Any, _: None) -> tuple[Any, None]:
            force = jax.tree.map(jnp.subtract, direction, product(moved))
            return jax.tree.map(lambda v, f: v + short.astype(v.dtype) * f, moved, force), None

        moved, _ = lax.scan(step, jax.tree.map(jnp.zeros_like, direction), length=steps)
        return inner(direction, moved)

    return jnp.sum(jax.vmap(along)(apart)) / count


def _dense(gradient: Any, theta: Any, apart: Any, count: int, time: Any) -> jax.Array:
    """Corollary 5 itself, the formula of order 1 evaluated on Ĥ and Ĉ."""
    flat, unravel = ravel_pytree(theta)
    if flat.size > DENSE:
        raise ValueError(
            f"theta has {flat.size} weights, too many for their Hessian; give steps, such as steps=20, for "
            "Hessian-vector products instead"
        )
    rows = jax.vmap(lambda row: ravel_pytree(row)[0])(apart)
    tensors = {
        (2,): jax.jacfwd(lambda flat: ravel_pytree(gradient(unravel(flat)))[0])(flat),
        (1, 1): jnp.matmul(rows.T, rows, precision="highest"),
    }
    return _corollary()(tensors, eta=1.0, T=time, N=count)


@lru_cache(maxsize=1)
def _corollary() -> Any:
    return derive(GeneralizationGap(), GD(), order=1, resum="continuous").lower()


def _split(theta: Any, weights: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The weights as a list of leaves, and the way back to all parameters."""
    leaves, structure = jax.tree.flatten(theta)
    mask = True if weights is None else weights
    flags = jax.tree.leaves(jax.tree.map(lambda flag, part: jax.tree.map(lambda _: bool(flag), part), mask, theta))
    if not any(flags):
        raise ValueError(f"weights={weights!r} marks no parameter; mark those that training moves by True")

    def whole(chosen: Any) -> Any:
        kept = iter(chosen)
        return structure.unflatten([next(kept) if flag else leaf for flag, leaf in zip(flags, leaves, strict=True)])

    return [leaf for flag, leaf in zip(flags, leaves, strict=True) if flag], whole
