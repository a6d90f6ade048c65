"""A real landscape whose minimum is known: ridge logistic regression on a population of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import taylorsgd as ts
from taylorsgd.landscapes import logistic_regression
from taylorsgd.reproducing.labelled_images import Images
from taylorsgd.reproducing.tenka.image_classifiers import population

__all__ = ["LogisticMinimum", "MinimumSize", "logistic_minimum"]


@dataclass(frozen=True, kw_only=True)
class MinimumSize:
    """What settings of experiments at a minimum have in common.

    Attributes:
        images: the population, so many images.
        side: they are averaged over blocks to about this height and width.
        ridge: ρ of ρ|θ|²/2 in the loss of every image, so that the minimum is not degenerate.
    """

    images: int = 128
    side: int = 7
    ridge: float = 3e-4


@dataclass(frozen=True)
class LogisticMinimum:
    """The landscape over one vector of parameters, at its minimum.

    Attributes:
        place: the landscape.
        theta: θ*, (p,).
        gradients: ∇l_x(θ*) of every image, (n, p); their mean vanishes.
        hessian: H, (p, p).
    """

    place: ts.Landscape
    theta: jax.Array
    gradients: jax.Array
    hessian: jax.Array

    @property
    def covariance(self) -> jax.Array:
        """C, (p, p)."""
        return self.gradients.T @ self.gradients / len(self.gradients)

    def loss(self, theta: Any) -> jax.Array:
        """The test loss, without checks, to be differentiated."""
        return _mean_loss(self.place, theta)


def logistic_minimum(images: Images, size: MinimumSize) -> LogisticMinimum:
    """Descend to the minimum by Newton's method, in double precision: run under `jax.enable_x64`.

    Args:
        images: of which the first are taken.
        size: the settings.

    Raises:
        ArithmeticError: if the gradient does not vanish in the end.
    """
    pixels, labels = population(images, size)  # type: ignore[arg-type]
    plain, start = logistic_regression(pixels, labels)
    flat, unravel = ravel_pytree(start)

    def loss(theta: Any, point: Any) -> Any:
        return plain.loss(unravel(theta.astype(flat.dtype)), point) + size.ridge * theta @ theta / 2

    data = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), plain.data)
    place = ts.Landscape(loss, (jnp.asarray(data[0], flat.dtype), data[1]))
    slope = jax.jit(jax.grad(lambda theta: _mean_loss(place, theta)))
    curvature = jax.jit(jax.hessian(lambda theta: _mean_loss(place, theta)))
    theta = flat
    for _ in range(20):
        theta = theta - jnp.linalg.solve(curvature(theta), slope(theta))
    if float(jnp.linalg.norm(slope(theta))) > 1e-10:
        raise ArithmeticError("Newton's method did not reach the minimum of the logistic regression")
    gradients = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(theta, place.data)
    return LogisticMinimum(place, theta, gradients, curvature(theta))


def _mean_loss(place: ts.Landscape, theta: Any) -> jax.Array:
    return jnp.mean(jax.vmap(place.loss, (None, 0))(theta, place.data))
