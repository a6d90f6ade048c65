"""Carrying out a plan of contractions for many draws at once.

A stage is one call of a compiled kernel: forward-over-reverse `jvp` of `grad` for its vectors, nested `jvp` for
its numbers. All of them are traced as one program, in which XLA finds what is common. (`jax.experimental.jet` would
propagate Taylor coefficients along one vector instead, and knows fewer operations.) Kernels are told apart by how
vectors enter and by what points they read, not by values, so a formula of a hundred terms compiles a dozen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from taylorsgd.landscapes.landscape import (
    BUDGET,
    POPULATION_CHUNK,
    Landscape,
    PointFunction,
    floats_per_point,
    population_mean,
    weighted_loss,
)
from taylorsgd.measuring.contraction import SWEPT, Message, Plan, Product, Source, Stage
from taylorsgd.measuring.devices import gathered, spread

__all__ = ["Points", "Runner", "finite_columns"]

Points = dict[tuple[str, int], Any]
"""By group, the points that some draws read: pytrees with axes (draws, width)."""
Request = tuple[tuple[int, ...], bool]
"""A derivative along the vectors with these numbers, and whether it is a number rather than a gradient."""


class Runner:
    """Carries out a plan on a landscape.

    Args:
        plan: what to evaluate.
        landscape: the loss and its data.
        theta: the parameters, a pytree of float arrays.
        observables: by name, the functions of θ that marked nodes carry.
        memory: about how many bytes may be taken beyond what is needed anyway, which `floats` models; None for
            64 MiB, or more where one draw takes more.

    Raises:
        MemoryError: if one draw, or one point of the population, takes more than `memory`.
    """

    def __init__(
        self,
        plan: Plan,
        landscape: Landscape,
        theta: Any,
        observables: Mapping[str, PointFunction],
        memory: int | None = None,
    ) -> None:
        """Evaluate the messages that are the same in every draw."""
        self.plan = plan
        self.landscape = landscape
        self.theta = theta
        self.observables = observables
        self.draws_at_once, self._chunk = self._sizes(memory)
        self._exact: dict[Message, Any] = {}
        for stage, messages in plan.stages.items():
            if not stage.sampled:
                self._evaluate(stage, messages, self._exact, {})
        self._check_exact()
        self._swept = self._sweep() if plan.swept else []

    def draws(self, key: jax.Array, samples: int, at_once: int) -> Iterator[Points]:
        """Yield the points of all draws, chunk by chunk; the last chunk is filled up to its full length.

        A plan of the exact estimator lists its combinations of points, whatever the key.
        """
        starts = range(0, samples, at_once)
        if self.landscape.size is None:
            keys = jax.random.split(key, len(self.plan.groups))
            for start in starts:
                yield {
                    group: self.landscape.draw(jax.random.fold_in(own, start), (at_once, width))
                    for own, (group, width) in zip(keys, self.plan.groups.items(), strict=True)
                }
            return
        rows = self._drawn_rows(key, samples)
        for start in starts:
            chosen = rows(np.minimum(np.arange(start, start + at_once), samples - 1))
            yield {group: self.landscape.rows(indices) for group, indices in chosen.items()}

    def rows(self, key: jax.Array, samples: int, draw: int) -> list[int]:
        """The points of the population, by their indices, that one of so many draws reads."""
        read = self._drawn_rows(key, samples)(np.array([draw]))
        return sorted({int(row) for indices in read.values() for row in indices.ravel()})

    def _drawn_rows(
        self, key: jax.Array, samples: int
    ) -> Callable[[np.ndarray], dict[tuple[str, int], np.ndarray]]:
        """A function from the numbers of some draws to the indices of their points, (draws, width) by group."""
        groups, size = self.plan.groups, self.landscape.size or 0
        if self.plan.combinations is not None:

            def listed(numbers: np.ndarray) -> dict[tuple[str, int], np.ndarray]:
                indices = np.unravel_index(numbers, (size,) * len(groups))
                return {group: i[:, None] for group, i in zip(groups, indices, strict=True)}

            return listed
        keys = jax.random.split(key, len(groups))
        rows = {
            group: np.asarray(jax.random.randint(own, (samples, width), 0, size))
            for own, (group, width) in zip(keys, groups.items(), strict=True)
        }
        return lambda numbers: {group: indices[numbers] for group, indices in rows.items()}

    def _sizes(self, memory: int | None) -> tuple[int, int]:
        """How many draws, and how many points of the population, are evaluated at once.

        A draw takes three times the vectors that are alive at once (as results, tangents and work space), and at
        its points four times what arises there; a pass over the population four vectors, and for every point of a
        chunk eight times what arises. Exact vectors are held all the time, and of vector values the moments over
        draws in float64.
        """
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self.theta))
        point, arising = floats_per_point(self.landscape, self.theta)
        exact = sum(not (m.scalar or m.sampled) for m in self.plan.steps)
        vectors = max(_vectors_alive(self.plan, p) for p in (self.plan.sampled, self.plan.swept))
        width = max(self.plan.batch, 1 + self.plan.centring)
        open_ones = len(self.plan.sampled) if any(v.open_indices for v in self.plan.values) else 0
        draw = (3 * vectors + 4 * open_ones) * parameters + width * (point + 4 * arising)
        held = (exact + 4 + 24 * open_ones**2) * parameters
        passed = 8 * max(arising, 1)
        if memory is None:
            budget = max(BUDGET, held + max(draw, passed))
        else:
            width_of_float = max(leaf.dtype.itemsize for leaf in jax.tree.leaves(self.theta))
            budget = memory // width_of_float
            least = held + max(draw, passed)
            if least > budget:
                raise MemoryError(
                    f"memory={memory} bytes: a single draw of this formula takes about {least * width_of_float} "
                    f"({vectors + exact} vectors of {parameters} parameters, and {width} points that take "
                    f"{4 * arising} floats each); give memory={least * width_of_float} or more, a smaller batch, "
                    "a lower order, or fewer values at a time"
                )
        free = budget - held
        return max(1, min(1024, free // draw)), max(1, min(POPULATION_CHUNK, free // passed))

    def exact(self, position: int) -> Any:
        """A value that needs no sampling, by its position in the plan."""
        if position in self.plan.swept:
            return self._swept[self.plan.swept.index(position)]
        return _value(self.plan, position, self._exact)

    def _check_exact(self) -> None:
        """Raise if an exact derivative is not finite, and say for which points."""
        for message, result in self._exact.items():
            if all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(result)):
                continue
            of, where = f"s = {message.source.name}", "at theta"
            if message.source.kind == "population":
                finite = np.asarray(
                    _finite_at(
                        self.landscape.point_loss,
                        self.theta,
                        self.landscape.data,
                        tuple(self._exact[vector] for vector in message.incoming),
                        scalar=message.scalar,
                    )
                )
                of = "the loss"
                where += (
                    f" for {np.sum(~finite)} of {len(finite)} points, first for point {np.argmin(finite)}"
                )
            order = len(message.incoming) + (not message.scalar)
            raise ValueError(f"a derivative of {of} of order {order} is infinite or undefined {where}")

    def _sweep(self) -> list[Any]:
        """The means over the population of the values that read one point, summed in float64."""
        count = self.landscape.size or 0
        at_once = min(count, self.draws_at_once)
        totals: Any = None
        for start in range(0, count, at_once):
            rows = np.arange(start, start + at_once)
            points = {SWEPT: self.landscape.rows(np.minimum(rows, count - 1)[:, None])}
            found = self._contracted(self.plan.swept, spread(points))
            new = min(at_once, count - start)  # the rest fills the last chunk, or the devices, up
            found = jax.tree.map(lambda leaf, new=new: gathered(leaf)[:new], found)
            for i, finite in enumerate(finite_columns(jax.tree.leaves(found))):
                if not finite.all():
                    raise ValueError(
                        f"{self.plan.values[self.plan.swept[i]]} is not finite: a derivative of the loss is infinite, "
                        f"undefined or too large at theta, first for point {start + np.argmin(finite)}"
                    )
            sums = jax.tree.map(lambda leaf: leaf.sum(0, dtype=np.float64), found)
            totals = sums if totals is None else jax.tree.map(np.add, totals, sums)
        return [jax.tree.map(lambda leaf, i=i: leaf[i] / count, totals) for i in range(len(self.plan.swept))]

    def estimates(self, points: Points) -> Any:
        """The unbiased estimates of the s sampled values in each draw.

        Args:
            points: for every group of points that the plan names, a pytree with axes (draws, width).

        Returns:
            An array (draws, s), or a pytree like θ of arrays (draws, s, *leaf).
        """
        return self._contracted(self.plan.sampled, points)

    def _contracted(self, positions: tuple[int, ...], points: Points) -> Any:
        results = dict(self._exact)
        for stage, messages, finished in _schedule(self.plan, positions):
            self._evaluate(stage, messages, results, points)
            for message in finished:
                del results[message]
        return _estimates(
            self.plan, positions, [results[message] for message in _answers(self.plan, positions)]
        )

    def _evaluate(
        self, stage: Stage, messages: Sequence[Message], results: dict[Message, Any], points: Points
    ) -> None:
        """Add the results of a stage to those of the stages before."""
        source = stage.source
        read = [points[group] for group in source.groups]
        # Many draws may share a point function and kernel, whatever the numbers of its slots.
        vectors = list(dict.fromkeys(needed for message in messages for needed in message.incoming))
        requests = tuple(
            dict.fromkeys((tuple(vectors.index(v) for v in m.incoming), m.scalar) for m in messages)
        )
        data = None if source.kind == "observable" else _joined(read) if read else self.landscape.data
        found = _kernel(
            self.observables[source.name] if source.kind == "observable" else self.landscape.point_loss,
            self.theta,
            data,
            self._weights(source) if read else None,
            tuple(results[vector] for vector in vectors),
            kind="points" if read else source.kind,
            sampled=tuple(vector.sampled for vector in vectors),
            requests=requests,
            chunk=self._chunk,
        )
        by_request = dict(zip(requests, found, strict=True))
        for message in messages:
            result = by_request[tuple(vectors.index(v) for v in message.incoming), message.scalar]
            if message.centre is not None:
                result = _difference(result, results[message.centre])
            results[message] = result

    def _weights(self, source: Source) -> jax.Array:
        """One weight for each point that a source reads: means over x, or over b, less that over y."""
        weights: list[float] = []
        for group in source.groups:
            width = self.plan.width(group)
            weights += [(-1 if group[0] == "y" else 1) / width] * width
        return jnp.asarray(weights)


def _schedule(plan: Plan, positions: tuple[int, ...]) -> list[tuple[Stage, list[Message], list[Message]]]:
    """The stages that some values need in every draw, with their messages and those that are used up after them."""
    needed = frozenset(plan.swept_steps if positions == plan.swept else plan.drawn_steps)
    stages = [
        (stage, [m for m in messages if m in needed])
        for stage, messages in plan.stages.items()
        if not needed.isdisjoint(messages)
    ]
    last = {n: i for i, (_, messages) in enumerate(stages) for m in messages for n in (m, *m.needs)}
    for message in _answers(plan, positions):
        last.pop(message, None)
    return [
        (stage, messages, [m for m, i in last.items() if i == number and m.sampled])
        for number, (stage, messages) in enumerate(stages)
    ]


def _vectors_alive(plan: Plan, positions: tuple[int, ...]) -> int:
    """The most vectors of a draw that are alive at once."""
    alive = most = 0
    for _, messages, finished in _schedule(plan, positions):
        alive += sum(not m.scalar for m in messages)
        most = max(most, alive)
        alive -= sum(not m.scalar for m in finished)
    return most + (len(positions) if any(plan.values[i].open_indices for i in positions) else 0)


def _answers(plan: Plan, positions: Sequence[int]) -> tuple[Message, ...]:
    """The messages that some values multiply."""
    items = (item for i in positions for item in plan.products[i])
    return tuple(dict.fromkeys(message for item in items for message in item.messages))


@partial(jax.jit, static_argnames=("plan", "positions"))
def _estimates(plan: Plan, positions: tuple[int, ...], answers: Sequence[Any]) -> Any:
    results = dict(zip(_answers(plan, positions), answers, strict=True))
    columns = [_value(plan, i, results) for i in positions]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *columns)


def _value(plan: Plan, position: int, results: Mapping[Message, Any]) -> Any:
    shares = [_product(item, results) for item in plan.products[position]]
    return jax.tree.map(lambda *leaves: sum(leaves[1:], start=leaves[0]), *shares)


def _product(item: Product, results: Mapping[Message, Any]) -> Any:
    """The product of all trees' answers, a number or a vector, for each draw if any of them is sampled."""

    def multiplied(*factors: Any) -> Any:
        known = dict(zip(item.messages, factors, strict=True))
        scalar: Any = item.coefficient
        vector: Any = None
        for tree in item.trees:
            if len(tree) == 2:
                shares = jax.tree.map(lambda a, b: jnp.sum(a * b), known[tree[0]], known[tree[1]])
                scalar = scalar * jax.tree.reduce(jnp.add, shares)
            elif tree[0].scalar:
                scalar = scalar * known[tree[0]]
            else:
                vector = known[tree[0]]
        if vector is None:
            return scalar
        return jax.tree.map(lambda leaf: jnp.asarray(scalar * leaf, leaf.dtype), vector)

    factors = [results[message] for message in item.messages]
    return _per_draw(multiplied, [message.sampled for message in item.messages])(*factors)


@partial(jax.jit, static_argnames=("function", "kind", "sampled", "requests", "chunk"))
def _kernel(
    function: PointFunction,
    theta: Any,
    data: Any,
    weights: jax.Array | None,
    vectors: tuple[Any, ...],
    *,
    kind: str,
    sampled: tuple[bool, ...],
    requests: tuple[Request, ...],
    chunk: int,
) -> list[Any]:
    """Evaluate the requests of one stage, for all draws at once if anything that it reads differs between them."""

    def derivatives(function: Any, vectors: Sequence[Any]) -> list[Any]:
        return [
            _derivative(function, theta, [vectors[i] for i in along], scalar) for along, scalar in requests
        ]

    def weighted(batch: Any, weights: Any, vectors: Sequence[Any]) -> list[Any]:
        return derivatives(lambda theta: weighted_loss(function, theta, batch, weights), vectors)

    def one(points: Any, *vectors: Any) -> list[Any]:
        if kind == "observable":
            return derivatives(function, vectors)
        if kind == "population":
            return population_mean(lambda batch, weights: weighted(batch, weights, vectors), data, chunk)
        return weighted(points, weights, vectors)

    return _per_draw(one, (kind == "points", *sampled))(data if kind == "points" else None, *vectors)


def finite_columns(leaves: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each value, in which draws it is finite: leaves have the shape (draws, values, *leaf)."""
    finite = [np.isfinite(leaf).reshape(*leaf.shape[:2], -1).all(2) for leaf in leaves]
    return list(np.all(finite, axis=0).T)


@partial(jax.jit, static_argnames=("loss", "scalar"))
def _finite_at(loss: PointFunction, theta: Any, data: Any, vectors: tuple[Any, ...], *, scalar: bool) -> Any:
    """At which points of a population a derivative of the loss is finite."""

    def finite(point: Any) -> jax.Array:
        leaves = jax.tree.leaves(_derivative(lambda theta: loss(theta, point), theta, vectors, scalar))
        return jnp.array([jnp.isfinite(leaf).all() for leaf in leaves]).all()

    return lax.map(finite, data)


def _derivative(function: Any, theta: Any, vectors: Sequence[Any], scalar: bool) -> Any:
    """D_{v_1} … D_{v_j} f(θ), or its gradient, forward over reverse."""
    derivative = function if scalar else jax.grad(function)
    for vector in vectors:
        derivative = _along(derivative, vector)
    return derivative(theta)


def _along(function: Any, vector: Any) -> Any:
    return lambda theta: jax.jvp(function, (theta,), (vector,))[1]


def _per_draw(function: Any, sampled: Sequence[bool]) -> Any:
    """Map a function over the leading axes of those arguments that differ from draw to draw."""
    return jax.vmap(function, tuple(0 if flag else None for flag in sampled)) if any(sampled) else function


@jax.jit
def _joined(groups: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *groups)


@jax.jit
def _difference(left: Any, right: Any) -> Any:
    return jax.tree.map(jnp.subtract, left, right)
