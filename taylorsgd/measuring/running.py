"""Carrying out a plan of contractions for many draws at once.

A stage is one call of a compiled kernel (`kernels`) for all its messages; where edges are cut, one for every message
and block of labels. Draws, and the choices of points that a sweep lists, are taken in chunks that fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from taylorsgd.device_arrays import on_device
from taylorsgd.landscapes.landscape import BUDGET, POPULATION_CHUNK, Landscape, floats_per_point
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.landscapes.pytrees import all_finite, count_entries, inner
from taylorsgd.landscapes.raising import Raising
from taylorsgd.measuring.contraction import Message, Plan, Product, Source, Stage
from taylorsgd.measuring.devices import gathered, spread
from taylorsgd.measuring.edge_labels import EdgeLabels, raised_rows
from taylorsgd.measuring.kernels import AT_ONCE, Request, finite_at, labelled, parted, per_draw, stage_derivatives
from taylorsgd.measuring.linear_functions import LinearFunction

__all__ = ["Points", "Runner", "finite_columns", "spans"]

Points = dict[tuple[str, int], Any]
"""By group, the points that some draws read: pytrees with axes (draws, width)."""
Rows = dict[tuple[str, int], Int[np.ndarray, "draws width"]]
"""By group, the indices of such points."""


class Runner:
    """Carries out a plan on a landscape.

    Args:
        plan: what to evaluate.
        landscape: the loss and its data.
        theta: the parameters, a pytree of float arrays; one array (P,) if edges are cut.
        observables: by name, the functions of θ that marked nodes carry.
        memory: about how many bytes may be taken beyond what is needed anyway, which `floats` models; None for
            64 MiB, or more where one draw takes more.
        labels: what cut edges carry.
        raising: the metric Λ that vectors pass on their way along an edge; None for the identity.

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
        labels: EdgeLabels | None = None,
        raising: Raising | None = None,
    ) -> None:
        """Evaluate the messages that are the same in every draw."""
        self.plan = plan
        self.landscape = landscape
        self.theta = theta
        self.observables = observables
        self.labels = labels
        self.raising = raising
        self.draws_at_once, self._chunk = self._sizes(memory)
        self.known: dict[Message, Any] = {}
        for stage, messages in plan.stages.items():
            if not stage.sampled:
                self._evaluate(stage, messages, self.known, {})
        if labels is None:  # else something may be infinite along a label only: that is seen in what is made of it
            self._check_exact()
        self._swept = self._sweep() if plan.swept and labels is None else {}

    def draws(self, key: PRNGKeyArray, samples: int, at_once: int, groups: int = 1) -> Iterator[Points]:
        """Yield the points of all draws, one of the `spans` after another; the last is filled up to its full length.

        A plan of the exact estimator lists its combinations of points, whatever the key.
        """
        chunks = spans(samples, at_once, groups)
        if self.landscape.size is None:
            keys = jax.random.split(key, len(self.plan.groups))
            for start, _ in chunks:
                yield {
                    group: self.landscape.draw(jax.random.fold_in(own, start), (at_once, width))
                    for own, (group, width) in zip(keys, self.plan.groups.items(), strict=True)
                }
            return
        rows = self._drawn_rows(key, samples)
        for start, stop in chunks:
            yield self._points(rows(np.minimum(np.arange(start, start + at_once), stop - 1)))

    def rows(self, key: PRNGKeyArray, samples: int, draw: int) -> list[int]:
        """The points of the population, by their indices, that one of so many draws reads."""
        read = self._drawn_rows(key, samples)(np.array([draw]))
        return sorted({int(row) for indices in read.values() for row in indices.ravel()})

    def choices(self, slots: int) -> Iterator[tuple[int, int, Points]]:
        """Yield all choices of so many points in chunks: from which to which, and the points, filled up alike."""
        rows, total = (self._listed([("x", slot) for slot in range(slots)]), (self.landscape.size or 0) ** slots)
        at_once = min(total, self.draws_at_once)
        for start, stop in spans(total, at_once):
            yield start, stop, self._points(rows(np.minimum(np.arange(start, start + at_once), stop - 1)))

    def _points(self, rows: Rows) -> Points:
        picked = _picked(self.landscape.data, tuple(map(on_device, rows.values())))
        return dict(zip(rows, picked, strict=True))

    def _listed(self, groups: Sequence[tuple[str, int]]) -> Callable[[Int[np.ndarray, " draws"]], Rows]:
        """A function from the numbers of some choices of a point for every group to their indices."""

        def listed(numbers: Int[np.ndarray, " draws"]) -> Rows:
            indices = np.unravel_index(numbers, (self.landscape.size or 0,) * len(groups))
            return {group: i[:, None] for group, i in zip(groups, indices, strict=True)}

        return listed

    def _drawn_rows(self, key: PRNGKeyArray, samples: int) -> Callable[[Int[np.ndarray, " draws"]], Rows]:
        """A function from the numbers of some draws to the indices of their points, (draws, width) by group."""
        groups, size = self.plan.groups, self.landscape.size or 0
        if self.plan.combinations is not None:
            return self._listed(list(groups))
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
        parameters = count_entries(self.theta)
        point, arising = floats_per_point(self.landscape, self.theta)
        side_by_side = AT_ONCE if self.plan.eigenvectors else 1
        exact = sum(self._vectors_of(m) for m in self.plan.steps if not m.sampled)
        alive = [self._vectors_alive(p) for p in (self.plan.sampled, *(p for _, p in self.plan.sweeps))]
        vectors = max(alive)
        width = max(self.plan.batch, 1 + self.plan.centring)
        # Of vectors the moments over draws are held in float64; means over groups of draws take no more than these.
        moments = len(self.plan.sampled) if self.plan.open and not self.plan.eigenvectors else 0
        draw = (3 * vectors + 4 * moments) * parameters + width * (point + 4 * arising * side_by_side)
        held = (exact + 4 + 24 * moments**2) * parameters
        passed = 8 * max(arising, 1) * side_by_side
        if memory is None:
            budget = max(BUDGET, held + max(draw, passed, BUDGET * bool(self.plan.eigenvectors)))
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

    def _vectors_of(self, message: Message) -> int:
        """How many vectors like θ a message is."""
        return 0 if message.scalar else (self.plan.eigenvectors or 1) ** message.labels

    def _vectors_alive(self, positions: tuple[int, ...]) -> int:
        """The most vectors of a draw that are alive at once."""
        alive = most = 0
        for _, messages, finished in _schedule(self.plan, positions):
            alive += sum(map(self._vectors_of, messages))
            most = max(most, alive)
            alive -= sum(map(self._vectors_of, finished))
        return most + (len(positions) if self.plan.open and not self.plan.eigenvectors else 0)

    def exact(self, position: int) -> Any:
        """A value that needs no sampling, by its position in the plan."""
        if position in self._swept:
            return self._swept[position]
        return _value(self.plan, position, self.known, self.raising)

    def _check_exact(self) -> None:
        """Raise if an exact derivative is not finite, and say for which points."""
        for message, result in self.known.items():
            if all_finite(result):
                continue
            of, where = f"s = {message.source.name}", "at theta"
            if message.source.kind == "population":
                finite = np.asarray(
                    finite_at(
                        self.landscape.point_loss,
                        self.theta,
                        self.landscape.data,
                        tuple(_raised(self.raising, False, self.known[vector]) for vector in message.incoming),
                        scalar=message.scalar,
                    )
                )
                of = "the loss"
                where += f" for {np.sum(~finite)} of {len(finite)} points, first for point {np.argmin(finite)}"
            order = len(message.incoming) + (not message.scalar)
            raise ValueError(f"a derivative of {of} of order {order} is infinite or undefined {where}")

    def _sweep(self) -> dict[int, Any]:
        """The means over the population of the values that read one point, summed in float64."""
        ((slots, positions),) = self.plan.sweeps
        totals: Any = None
        for start, stop, points in self.choices(slots):
            found = self._estimated(positions, spread(points))
            found = jax.tree.map(lambda leaf, new=stop - start: gathered(leaf)[:new], found)
            for position, finite in zip(positions, finite_columns(jax.tree.leaves(found)), strict=True):
                if not finite.all():
                    raise ValueError(
                        f"{self.plan.values[position]} is not finite: a derivative of the loss is infinite, "
                        f"undefined or too large at theta, first for point {start + np.argmin(finite)}"
                    )
            sums = jax.tree.map(lambda leaf: leaf.sum(0, dtype=np.float64), found)
            totals = sums if totals is None else jax.tree.map(np.add, totals, sums)
        count = (self.landscape.size or 0) ** slots
        return {
            position: jax.tree.map(lambda leaf, i=i: leaf[i] / count, totals) for i, position in enumerate(positions)
        }

    def estimates(self, points: Points) -> Any:
        """The unbiased estimates of the s sampled values in each draw.

        Args:
            points: for every group of points that the plan names, a pytree with axes (draws, width).

        Returns:
            An array (draws, s), or a pytree like θ of arrays (draws, s, *leaf).
        """
        return self._estimated(self.plan.sampled, points)

    def _estimated(self, positions: tuple[int, ...], points: Points) -> Any:
        answers = self.answers(positions, points)
        found = [answers[message] for message in self.plan.answers(positions)]
        return _estimates(self.plan, positions, self.raising, found)

    def answers(self, positions: tuple[int, ...], points: Points) -> dict[Message, Any]:
        """The messages that some values multiply, for the points of some draws."""
        results = dict(self.known)
        for stage, messages, finished in _schedule(self.plan, positions):
            self._evaluate(stage, messages, results, points)
            for message in finished:
                del results[message]
        return results

    def _evaluate(self, stage: Stage, messages: Sequence[Message], results: dict[Message, Any], points: Points) -> None:
        """Add the results of a stage to those of the stages before."""
        source = stage.source
        read = [points[group] for group in source.groups]
        if source.kind == "observable" and not self.plan.eigenvectors:
            linear = self.observables[source.name].function
            if isinstance(linear, LinearFunction):
                results.update({message: _along(linear, message, results) for message in messages})
                return
        if source.kind == "observable":
            function, data = self.observables[source.name], None
        else:
            function, data = self.landscape.point_loss, read or self.landscape.data
        # Many draws may share a point function and kernel, whatever the numbers of its slots.
        derivatives = partial(
            stage_derivatives,
            function,
            self.theta,
            data,
            self._weights(source) if read else None,
            kind="points" if read else source.kind,
            chunk=self._chunk,
        )
        evaluated = self._with_labels if self.plan.eigenvectors else self._together
        results.update(zip(messages, evaluated(derivatives, messages, results), strict=True))

    def _together(
        self, derivatives: Callable[..., list[Any]], messages: Sequence[Message], results: Mapping[Message, Any]
    ) -> list[Any]:
        """All messages of a stage, by one call."""
        vectors = list(dict.fromkeys(needed for message in messages for needed in message.incoming))
        requests: list[Request] = [(tuple(map(vectors.index, m.incoming)), m.scalar) for m in messages]
        return derivatives(
            tuple(_raised(self.raising, vector.sampled, results[vector]) for vector in vectors),
            centres=tuple(tuple(results[centre] for centre in message.centre) for message in messages),
            sampled=tuple(vector.sampled for vector in vectors),
            requests=tuple(requests),
        )

    def _with_labels(
        self, derivatives: Callable[..., list[Any]], messages: Sequence[Message], results: Mapping[Message, Any]
    ) -> Iterator[Any]:
        """Messages one by one, for all labels, with axes (draws, if sampled; labels as one; then what it ends in)."""
        assert self.labels is not None
        known = self.labels
        for message in messages:
            arrived = [raised_rows(known.metric, results[incoming]) for incoming in message.incoming]
            stacks = [known.legs] * message.cuts + arrived
            sampled = (False,) * message.cuts + tuple(incoming.sampled for incoming in message.incoming)
            total = self.plan.eigenvectors**message.labels
            chosen = np.unravel_index(np.arange(total), [stack.shape[-2] for stack in stacks]) if stacks else ()
            # All numbers of labels are powers of k: in blocks of k there are few shapes to compile for.
            block = min(total, self.plan.eigenvectors)
            request = (tuple(range(len(stacks))), message.scalar)
            found = []
            for start in range(0, total, block):
                legs = tuple(labelled(s, i[start : start + block]) for s, i in zip(stacks, chosen, strict=True))
                (derivative,) = derivatives(legs, sampled=sampled, requests=(request,), labels=block)
                if not message.scalar:
                    along = known.legs if message.ends == "legs" else known.reads
                    derivative = parted(derivative, along, known.lifts if message.ends == "vector" else None)
                found.append(derivative)
            axis = -1 if message.scalar else -2
            whole = found[0] if len(found) == 1 else jnp.concatenate(found, axis)
            for centre in message.centre:
                whole = _difference(whole, results[centre])
            yield whole

    def _weights(self, source: Source) -> Float[Array, " width"]:
        """One weight for each point that a source reads: means over x, or over b, less that over y."""
        weights: list[float] = []
        for group in source.groups:
            width = self.plan.width(group)
            weights += [(-1 if group[0] == "y" else 1) / width] * width
        return on_device(np.array(weights))


def _along(linear: LinearFunction, message: Message, results: Mapping[Message, Any]) -> Any:
    """What the node of a linear function sends: its gradient, or at a root its derivative along what it receives."""
    if not message.incoming:
        return linear.direction
    (received,) = message.incoming
    return per_draw(inner, (False, received.sampled))(linear.direction, results[received])


def spans(samples: int, at_once: int, groups: int = 1) -> list[tuple[int, int]]:
    """From which draw to which (exclusive) every chunk reaches, where none holds draws of two groups.

    Example:
        >>> spans(8, 3, groups=2)
        [(0, 3), (3, 4), (4, 7), (7, 8)]
    """
    size = samples // groups
    return [
        (start, min(start + at_once, group + size))
        for group in range(0, samples, size)
        for start in range(group, group + size, at_once)
    ]


def _schedule(plan: Plan, positions: tuple[int, ...]) -> list[tuple[Stage, list[Message], list[Message]]]:
    """The stages that some values need in every draw, with their messages and those that are used up after them."""
    needed = frozenset(plan.evaluated(positions))
    stages = [
        (stage, [m for m in messages if m in needed])
        for stage, messages in plan.stages.items()
        if not needed.isdisjoint(messages)
    ]
    last = {n: i for i, (_, messages) in enumerate(stages) for m in messages for n in (m, *m.needs)}
    for message in plan.answers(positions):
        last.pop(message, None)
    return [
        (stage, messages, [m for m, i in last.items() if i == number and m.sampled])
        for number, (stage, messages) in enumerate(stages)
    ]


def _raised(raising: Raising | None, sampled: bool, vector: Any) -> Any:
    """What arrives at the other end of an edge, for each draw if any."""
    return vector if raising is None else _mapped(raising, sampled, vector)


@partial(jax.jit, static_argnames=("raising", "sampled"))
def _mapped(raising: Raising, sampled: bool, vector: Any) -> Any:
    return per_draw(raising, [sampled])(vector)


@partial(jax.jit, static_argnames=("plan", "positions", "raising"))
def _estimates(plan: Plan, positions: tuple[int, ...], raising: Raising | None, answers: Sequence[Any]) -> Any:
    results = dict(zip(plan.answers(positions), answers, strict=True))
    columns = [_value(plan, i, results, raising) for i in positions]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *columns)


def _value(plan: Plan, position: int, results: Mapping[Message, Any], raising: Raising | None) -> Any:
    shares = [_product(item, results, raising) for item in plan.products[position]]
    return jax.tree.map(lambda *leaves: sum(leaves[1:], start=leaves[0]), *shares)


def _product(item: Product, results: Mapping[Message, Any], raising: Raising | None) -> Any:
    """The product of all pieces' answers, a number or a vector, for each draw if any of them is sampled."""

    def multiplied(*factors: Any) -> Any:
        known = dict(zip(item.messages, factors, strict=True))
        scalar: Any = item.coefficient
        vector: Any = None
        for piece in item.pieces:
            answers = [known[message] for message in piece.messages]
            if piece.open:
                vector = answers[0] if raising is None else raising(answers[0])
            elif len(answers) == 2:  # which meet in an edge
                one, other = answers
                scalar = scalar * inner(one, other if raising is None else raising(other))
            else:
                scalar = scalar * answers[0]
        if vector is None:
            return scalar
        return jax.tree.map(lambda leaf: jnp.asarray(scalar * leaf, leaf.dtype), vector)

    factors = [results[message] for message in item.messages]
    return per_draw(multiplied, [message.sampled for message in item.messages])(*factors)


def finite_columns(leaves: Sequence[Float[np.ndarray, "draws values ..."]]) -> list[Bool[np.ndarray, " draws"]]:
    """For each value, in which draws it is finite: leaves have the shape (draws, values, *leaf)."""
    finite = [np.isfinite(leaf).reshape(*leaf.shape[:2], -1).all(2) for leaf in leaves]
    return list(np.all(finite, axis=0).T)


@jax.jit
def _picked(data: Any, rows: tuple[Int[Array, "draws width"], ...]) -> tuple[Any, ...]:
    """The points of a population with some indices."""
    return tuple(jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], data) for chosen in rows)


@jax.jit
def _difference(left: Any, right: Any) -> Any:
    return jax.tree.map(jnp.subtract, left, right)
