"""Carrying out a plan of contractions for many draws at once.

A message is one call of a compiled kernel: forward-over-reverse `jvp` of `grad` where it is a vector, nested
`jvp` where it is a number. There are only a few kernels, whatever the number of values: they differ in how
many vectors come in and in what kind of points they read, so compiling takes seconds even for formulas of a
hundred terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taylorsgd.landscapes.contraction import Message, Plan, Product
from taylorsgd.landscapes.landscape import (
    Landscape,
    PointFunction,
    population_chunk,
    population_mean,
    weighted_loss,
)

__all__ = ["Points", "Runner"]

Points = dict[tuple[str, int], Any]
"""By group, the points that some draws read: pytrees with axes (draws, width)."""


class Runner:
    """Carries out a plan on a landscape.

    Args:
        plan: what to evaluate.
        landscape: the loss and its data.
        theta: the parameters, a pytree of float arrays.
        observables: by name, the functions of θ that marked nodes carry.
    """

    def __init__(
        self, plan: Plan, landscape: Landscape, theta: Any, observables: Mapping[str, PointFunction]
    ) -> None:
        """Evaluate the messages that are the same in every draw."""
        self.plan = plan
        self.landscape = landscape
        self.theta = theta
        self.observables = observables
        self._chunk = population_chunk(landscape, theta)
        self._exact: dict[Message, Any] = {}
        for message in plan.steps:
            if not message.sampled:
                self._exact[message] = self._evaluate(message, self._exact, {})

    def draws(self, key: jax.Array, samples: int, at_once: int) -> Iterator[Points]:
        """Yield the points of all draws, chunk by chunk; the last chunk is filled up to its full length."""
        groups = self.plan.groups
        keys = jax.random.split(key, len(groups))
        size = self.landscape.size
        if size is None:
            for start in range(0, samples, at_once):
                yield {
                    group: self.landscape.draw(jax.random.fold_in(own, start), (at_once, width))
                    for own, (group, width) in zip(keys, groups.items(), strict=True)
                }
            return
        rows = {
            group: np.asarray(jax.random.randint(own, (samples, width), 0, size))
            for own, (group, width) in zip(keys, groups.items(), strict=True)
        }
        for start in range(0, samples, at_once):
            chosen = np.minimum(np.arange(start, start + at_once), samples - 1)
            yield {group: self.landscape.rows(indices[chosen]) for group, indices in rows.items()}

    def exact(self, position: int) -> Any:
        """A value that needs no sampling, by its position in the plan."""
        return self._value(position, self._exact)

    def estimates(self, points: Points) -> Any:
        """The unbiased estimates of the s sampled values in each draw.

        Args:
            points: for every group of points that the plan names, a pytree with axes (draws, width).

        Returns:
            An array (draws, s), or a pytree like θ of arrays (draws, s, *leaf).
        """
        steps = [message for message in self.plan.steps if message.sampled]
        last_use = {needed: step for step, message in enumerate(steps) for needed in message.needs}
        answers = {
            message
            for i in self.plan.sampled
            for item in self.plan.products[i]
            for tree in item.trees
            for message in tree
        }
        results = dict(self._exact)
        for step, message in enumerate(steps):
            results[message] = self._evaluate(message, results, points)
            for needed in message.needs:
                if last_use[needed] == step and needed not in answers:
                    results.pop(needed, None)
        columns = [self._value(i, results) for i in self.plan.sampled]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *columns)

    def _evaluate(self, message: Message, results: Mapping[Message, Any], points: Any) -> Any:
        source = message.source
        read = [points[group] for group in source.groups]
        weights: list[float] = []
        for group in source.groups:  # means over x, or over b, less that over y
            width = self.plan.groups[group]
            weights += [(-1 if group[0] == "y" else 1) / width] * width
        function = self.observables[source.name] if source.kind == "observable" else self.landscape.point_loss
        centre = None if message.centre is None else results[message.centre]
        return _kernel(
            function,
            self.theta,
            _joined(read) if read else None if source.kind == "observable" else self.landscape.data,
            jnp.asarray(weights) if read else None,
            tuple(results[incoming] for incoming in message.incoming),
            centre,
            kind=source.kind if source.kind == "observable" else "points" if read else "population",
            sampled=tuple(incoming.sampled for incoming in message.incoming),
            scalar=message.scalar,
            chunk=self._chunk,
        )

    def _value(self, position: int, results: Mapping[Message, Any]) -> Any:
        shares = [self._product(item, results) for item in self.plan.products[position]]
        return jax.tree.map(lambda *leaves: sum(leaves[1:], start=leaves[0]), *shares)

    def _product(self, item: Product, results: Mapping[Message, Any]) -> Any:
        scalar: Any = item.coefficient
        sampled = False
        vector: Message | None = None
        for tree in item.trees:
            if len(tree) == 2:
                left, right = tree
                scalar = scalar * _dot(results[left], results[right], (left.sampled, right.sampled))
            elif tree[0].scalar:
                scalar = scalar * results[tree[0]]
            else:
                (vector,) = tree
                continue
            sampled = sampled or any(message.sampled for message in tree)
        return scalar if vector is None else _scaled(scalar, results[vector], (sampled, vector.sampled))


def _derivative(function: Any, theta: Any, incoming: tuple[Any, ...], scalar: bool) -> Any:
    """D_{v_1} … D_{v_j} f(θ), or its gradient, forward over reverse."""
    derivative = function if scalar else jax.grad(function)
    for vector in incoming:
        derivative = _along(derivative, vector)
    return derivative(theta)


def _along(function: Any, vector: Any) -> Any:
    return lambda theta: jax.jvp(function, (theta,), (vector,))[1]


@partial(jax.jit, static_argnames=("function", "kind", "sampled", "scalar", "chunk"))
def _kernel(
    function: PointFunction,
    theta: Any,
    data: Any,
    weights: jax.Array | None,
    incoming: tuple[Any, ...],
    centre: Any,
    *,
    kind: str,
    sampled: tuple[bool, ...],
    scalar: bool,
    chunk: int,
) -> Any:
    """Evaluate one message, for all draws at once if anything that it reads differs between them."""

    def weighted(batch: Any, weights: jax.Array, vectors: tuple[Any, ...]) -> Any:
        return _derivative(
            lambda theta: weighted_loss(function, theta, batch, weights), theta, vectors, scalar
        )

    def one(points: Any, *vectors: Any) -> Any:
        if kind == "observable":
            return _derivative(function, theta, vectors, scalar)
        if kind == "population":
            return population_mean(lambda batch, weights: weighted(batch, weights, vectors), data, chunk)
        return weighted(points, weights, vectors)  # type: ignore[arg-type]

    result = _per_draw(one, (kind == "points", *sampled))(data if kind == "points" else None, *incoming)
    return result if centre is None else jax.tree.map(jnp.subtract, result, centre)


def _per_draw(function: Any, sampled: tuple[bool, ...]) -> Any:
    """Map a function over the leading axes of those arguments that differ from draw to draw."""
    return jax.vmap(function, tuple(0 if flag else None for flag in sampled)) if any(sampled) else function


@jax.jit
def _joined(groups: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *groups)


@partial(jax.jit, static_argnames="sampled")
def _dot(left: Any, right: Any, sampled: tuple[bool, bool]) -> jax.Array:
    def one(left: Any, right: Any) -> jax.Array:
        shares = jax.tree.map(lambda a, b: jnp.sum(a * b), left, right)
        return jax.tree.reduce(jnp.add, shares)

    return _per_draw(one, sampled)(left, right)


@partial(jax.jit, static_argnames="sampled")
def _scaled(scalar: Any, vector: Any, sampled: tuple[bool, bool]) -> Any:
    def one(scalar: Any, vector: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.asarray(scalar * leaf, leaf.dtype), vector)

    return _per_draw(one, sampled)(scalar, vector)
