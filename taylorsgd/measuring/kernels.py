"""The compiled arithmetic of a stage: derivatives of one function along vectors, for all draws and labels at once.

Forward-over-reverse `jvp` of `grad` for vectors, nested `jvp` for numbers. All derivatives of a stage are traced as
one program, in which XLA finds what is common. (`jax.experimental.jet` would propagate Taylor coefficients along one
vector instead, and knows fewer operations.) Kernels are told apart by how vectors enter and by what points they read,
not by values, so a formula of a hundred terms compiles a dozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

from taylorsgd.landscapes.landscape import population_mean, weighted_loss
from taylorsgd.landscapes.point_functions import PointFunction

__all__ = ["AT_ONCE", "Request", "finite_at", "labelled", "parted", "per_draw", "stage_derivatives"]

AT_ONCE = 8
"""The most choices of labels that are differentiated at once, if each takes a pass over the population."""
Request = tuple[tuple[int, ...], bool]
"""A derivative along the vectors with these numbers, and whether it is a number rather than a gradient."""


@partial(jax.jit, static_argnames=("function", "kind", "sampled", "requests", "chunk", "labels"))
def stage_derivatives(
    function: PointFunction,
    theta: Any,
    data: Any,
    weights: Float[Array, " width"] | None,
    vectors: tuple[Any, ...],
    *,
    centres: tuple[tuple[Any, ...], ...] = (),
    kind: str,
    sampled: tuple[bool, ...],
    requests: tuple[Request, ...],
    chunk: int,
    labels: int = 0,
) -> list[Any]:
    """Evaluate the requests of one stage, for all draws at once if anything that it reads differs between them.

    Args:
        function: f of one point, or of θ alone for an observable.
        theta: the parameters.
        data: groups of points with axes (draws, width) if kind is "points"; the population; or None.
        weights: one for each point that a draw reads.
        vectors: pytrees like θ, with a leading axis for the draws where `sampled`, and then one for labels if any.
        centres: for every request what is taken off its derivative, with a leading axis for draws or without; none
            if left out.
        kind: "points", "population" or "observable".
        sampled: for every vector whether it differs between draws.
        requests: the derivatives; what several ask for is found once.
        chunk: the most points of the population at once.
        labels: how many choices of labels the vectors hold, to be taken one after another; 0 without an axis for them.

    Returns:
        For every request its derivative, with leading axes for draws, if anything differs between them, and labels.
    """
    different = list(dict.fromkeys(requests))

    def derivatives(function: Any, vectors: Sequence[Any]) -> list[Any]:
        return [_derivative(function, theta, [vectors[i] for i in along], scalar) for along, scalar in different]

    def weighted(batch: Any, weights: Any, vectors: Sequence[Any]) -> list[Any]:
        return derivatives(lambda theta: weighted_loss(function, theta, batch, weights), vectors)

    def one(points: Any, *vectors: Any) -> list[Any]:
        if kind == "observable":
            return derivatives(function, vectors)
        if kind == "population":
            return population_mean(lambda batch, weights: weighted(batch, weights, vectors), data, chunk)
        return weighted(points, weights, vectors)

    def for_labels(points: Any, *vectors: Any) -> list[Any]:
        if not labels:
            return one(points, *vectors)
        if not vectors:
            return jax.tree.map(lambda leaf: leaf[None], one(points))
        return lax.map(lambda legs: one(points, *legs), vectors, batch_size=min(AT_ONCE, labels))

    points = None
    if kind == "points":
        points = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *data)
    found = per_draw(for_labels, (kind == "points", *sampled))(points, *vectors)
    answers = map(dict(zip(different, found, strict=True)).__getitem__, requests)
    if not centres:
        return list(answers)
    return [reduce(_less, off, answer) for answer, off in zip(answers, centres, strict=True)]


@partial(jax.jit, static_argnames=("loss", "scalar"))
def finite_at(
    loss: PointFunction, theta: Any, data: Any, vectors: tuple[Any, ...], *, scalar: bool
) -> Bool[Array, " population"]:
    """At which points of a population a derivative of the loss is finite."""

    def finite(point: Any) -> Bool[jax.Array, ""]:
        leaves = jax.tree.leaves(_derivative(lambda theta: loss(theta, point), theta, vectors, scalar))
        return jnp.array([jnp.isfinite(leaf).all() for leaf in leaves]).all()

    return lax.map(finite, data)


def per_draw(function: Any, sampled: Sequence[bool]) -> Any:
    """Map a function over the leading axes of those arguments that differ from draw to draw."""
    return jax.vmap(function, tuple(0 if flag else None for flag in sampled)) if any(sampled) else function


@jax.jit
def labelled(stack: Float[Array, "*draws k P"], index: Any) -> Float[Array, "*draws block P"]:
    """Some vectors of a stack, by their labels."""
    return jnp.take(stack, index, axis=-2)


@jax.jit
def parted(
    gradients: Float[Array, "*draws block P"], reads: Float[Array, "k P"], lifts: Float[Array, "k P"] | None
) -> Float[Array, "*draws block kP"]:
    """Components of gradients, or what is left when what they stand for is taken off."""
    components = jnp.matmul(gradients, reads.T, precision="highest")
    return components if lifts is None else gradients - jnp.matmul(components, lifts, precision="highest")


def _derivative(function: Any, theta: Any, vectors: Sequence[Any], scalar: bool) -> Any:
    """D_{v_1} … D_{v_j} f(θ), or its gradient, forward over reverse."""
    derivative = function if scalar else jax.grad(function)
    for vector in vectors:
        derivative = _along(derivative, vector)
    return derivative(theta)


def _less(left: Any, right: Any) -> Any:
    return jax.tree.map(jnp.subtract, left, right)


def _along(function: Any, vector: Any) -> Any:
    return lambda theta: jax.jvp(function, (theta,), (vector,))[1]
