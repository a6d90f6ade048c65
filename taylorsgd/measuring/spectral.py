"""Measuring a resummed formula in the top eigendirections of H: for models too large for dense tensors.

The eigenpairs come from `eigenpairs`, the contractions from the messages that `splitting` plans. What is exact
(diagrams without ties, and all diagrams on small populations) is computed once; the rest are means over draws of
random points, kept apart for sixteen groups of draws, whose scatter is the standard error of whatever number is
made of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from taylorsgd.landscapes.landscape import (
    BUDGET,
    Landscape,
    PointFunction,
    floats_per_point,
    population_chunk,
    population_mean,
    weighted_loss,
)
from taylorsgd.lowering.networks import DiagramKey
from taylorsgd.lowering.projected import ProjectedTensors, Projection
from taylorsgd.measuring.dense import LIMIT
from taylorsgd.measuring.directions import Message, Piece, Share, Split, split
from taylorsgd.measuring.eigenpairs import top_eigenpairs
from taylorsgd.measuring.spectral_results import SpectralMeasurement

__all__ = ["measure_spectral"]

GROUPS = 16
"""Of draws, whose scatter is the standard error."""
AT_ONCE = 8
"""The most choices of labels that are differentiated at once, if each takes a pass over the population."""


def measure_spectral(
    keys: Sequence[DiagramKey],
    landscape: Landscape,
    theta: Any,
    key: jax.Array,
    count: int,
    samples: int,
    batch: int,
    observables: Mapping[str, PointFunction],
) -> SpectralMeasurement:
    """Find eigenpairs, and contract the diagrams of a resummed formula along them.

    Args:
        keys: the diagrams.
        landscape: the loss and its population.
        theta: the parameters θ_0, checked.
        key: a JAX random key.
        count: k, the number of eigenpairs.
        samples: the number of draws; rounded up to a multiple of 16. A diagram whose tied points can be
            enumerated with less work is averaged exactly.
        batch: the number of fresh points that stand for the population inside a draw.
        observables: the functions behind the formula's observables.

    Returns:
        The measurement.

    Raises:
        NotImplementedError: for a sampler, and for two open indices.
        ValueError: if k is not from 1 to P, or something is not finite.
        MemoryError: if the contractions of a displacement would take more than 2 GiB.
    """
    flat, _ = ravel_pytree(theta)
    if landscape.size is None:
        raise NotImplementedError(
            "eigenpairs= takes the Hessian of a population, and the data are a sampler; draw a population from it, "
            "as in Landscape(loss, sampler(key, n))"
        )
    if isinstance(count, bool) or not hasattr(count, "__index__") or not 1 <= count <= flat.size:
        raise ValueError(f"eigenpairs={count!r} must be an integer from 1 to P = {flat.size}")
    rest = count < flat.size
    plans = {one: _plan(one, landscape.size, samples * batch, rest) for one in dict.fromkeys(keys)}
    labels = count + rest
    _check_memory(list(plans.values()), labels, flat)
    own, drawing = jax.random.split(key)
    pairs = top_eigenpairs(landscape, theta, count, own)
    runner = _Runner(landscape, theta, pairs.vectors, observables)
    projections: dict[DiagramKey, Projection] = {}
    for points in sorted({plan.points for plan, fresh in plans.values() if not fresh}):
        some = {one: plan for one, (plan, fresh) in plans.items() if not fresh and plan.points == points}
        projections |= runner.enumerated(some, points)
    # All others share their draws.
    drawn = {one: plan for one, (plan, fresh) in plans.items() if fresh}
    samples = -(-samples // GROUPS) * GROUPS if drawn else 0
    if drawn:
        projections |= runner.drawn(drawn, drawing, samples, batch)
    tensors = ProjectedTensors(
        pairs.values, pairs.vectors, jnp.asarray(pairs.neglected, flat.dtype), projections, rest
    )
    for one in keys:
        if not all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(projections[one])):
            raise ValueError(f"a derivative of the loss that the diagram {one} takes is not finite at theta")
    return SpectralMeasurement(tensors, pairs, landscape.size, samples)


def _plan(one: DiagramKey, size: int, work: int, rest: bool) -> tuple[Split, bool]:
    """Exact where enumerating the tied points, each time with the whole population, is no more work than drawing."""
    exact = split(one, fresh=False, rest=rest)
    if exact.points == 0 or size ** (exact.points + 1) <= work:
        return exact, False
    return split(one, fresh=True, rest=rest), True


def _check_memory(plans: Sequence[tuple[Split, bool]], labels: int, flat: jax.Array) -> None:
    open_ones = [(plan, GROUPS if fresh else 1) for plan, fresh in plans if plan.open is not None]
    total = (
        sum(groups * labels ** (plan.edges - 1) * flat.size for plan, groups in open_ones)
        * flat.dtype.itemsize
    )
    if total > LIMIT:
        raise MemoryError(
            f"a displacement in {labels - 1} eigendirections of P = {flat.size} parameters would take "
            f"{total / 2**30:.3g} GiB; ask for fewer eigenpairs or a lower order, or observe scalars of theta"
        )


class _Runner:
    """Carries out plans on a landscape, with given eigenvectors."""

    def __init__(
        self, landscape: Landscape, theta: Any, vectors: jax.Array, observables: Mapping[str, PointFunction]
    ) -> None:
        self.landscape = landscape
        self.theta = theta
        self.vectors = vectors
        self.observables = observables
        self.arising = max(1, sum(floats_per_point(landscape, theta)))
        self.chunk = population_chunk(landscape, theta, copies=8 * AT_ONCE)
        self.exact: dict[Message, jax.Array] = {}

    def enumerated(self, plans: Mapping[DiagramKey, Split], points: int) -> dict[DiagramKey, Projection]:
        """Exact averages over all choices of the tied points."""
        size = self.landscape.size
        assert size is not None
        choices = np.array(list(product(range(size), repeat=points)), dtype=int).reshape(size**points, points)
        draws = {("point", str(slot)): choices[:, slot, None] for slot in range(points)}
        return self._averaged(plans, draws, len(choices), 1, size)

    def drawn(
        self, plans: Mapping[DiagramKey, Split], key: jax.Array, samples: int, batch: int
    ) -> dict[DiagramKey, Projection]:
        """Averages over random choices of all points, for each group of draws."""
        places = sorted(
            {(m.kind, m.place) for m in _messages(plans.values()) if m.kind in ("point", "fresh")}
        )
        size = self.landscape.size
        assert size is not None
        draws = {
            place: np.asarray(
                jax.random.randint(own, (samples, 1 if place[0] == "point" else batch), 0, size)
            )
            for place, own in zip(places, jax.random.split(key, len(places)), strict=True)
        }
        return self._averaged(plans, draws, samples, GROUPS, batch)

    def _averaged(
        self,
        plans: Mapping[DiagramKey, Split],
        draws: Mapping[tuple[str, str], np.ndarray],
        count: int,
        groups: int,
        width: int,
    ) -> dict[DiagramKey, Projection]:
        messages = list(_messages(plans.values()))
        for message in messages:
            if not message.sampled and message not in self.exact:
                self.exact[message] = self._evaluate(message, self.exact, {})
        totals = {one: [_Total(plan, self.vectors) for _ in range(groups)] for one, plan in plans.items()}
        per_group = count // groups
        at_once = min(per_group, self._draws_at_once(messages, width))
        for group in range(groups):
            for start in range(0, per_group, at_once):
                # The last chunk is filled up, with weight 0, so that one compilation serves all.
                rows = np.arange(start, start + at_once)
                weights = (rows < per_group) / per_group
                rows = group * per_group + np.minimum(rows, per_group - 1)
                points = {place: self.landscape.rows(indices[rows]) for place, indices in draws.items()}
                results = dict(self.exact)
                for message in messages:
                    if message.sampled:
                        results[message] = self._evaluate(message, results, points, at_once)
                met: dict[tuple[Message, ...], Any] = {}
                for one, plan in plans.items():
                    for share in plan.shares:
                        pieces = [self._met(piece, results, met) for piece in share.pieces]
                        totals[one][group].add(share, pieces, weights)
        return {one: _projection(several, self.vectors.dtype) for one, several in totals.items()}

    def _draws_at_once(self, messages: Sequence[Message], width: int) -> int:
        count = len(self.vectors)
        held = sum(count**message.labels for message in messages if message.sampled) * self.vectors.shape[1]
        return max(1, BUDGET // (2 * held + 4 * width * self.arising * AT_ONCE))

    def _evaluate(
        self,
        message: Message,
        results: Mapping[Message, jax.Array],
        points: Mapping[tuple[str, str], Any],
        draws: int = 0,
    ) -> jax.Array:
        """A message for all labels, with axes (draws, if sampled; labels as one; then what it ends in)."""
        stacks = [(self.vectors, False)] * message.cuts
        stacks += [(results[incoming], incoming.sampled) for incoming in message.incoming]
        sizes = [stack.shape[-2] for stack, _ in stacks]
        total = int(np.prod(sizes, dtype=int))
        chosen = np.unravel_index(np.arange(total), sizes) if sizes else ()
        function, data = self.landscape.point_loss, self.landscape.data
        if message.kind == "observable":
            function, data = self.observables[message.place], None
        elif message.kind != "population":
            data = points[message.kind, message.place]
        sampled = message.kind in ("point", "fresh") or any(incoming.sampled for incoming in message.incoming)
        # All numbers of labels are powers of k: in blocks of k there are few shapes to compile for.
        block = min(total, len(self.vectors))
        found = []
        for start in range(0, total, block):
            legs = tuple(
                _rows(stack, index[start : start + block], draws if sampled and not own else None)
                for (stack, own), index in zip(stacks, chosen, strict=True)
            )
            derivative = _kernel(
                function,
                self.theta,
                data,
                legs,
                kind=message.kind,
                number=message.ends == "number",
                sampled=(sampled and message.kind in ("point", "fresh"), sampled),
                chunk=self.chunk,
            )
            if message.ends != "number":
                derivative = _ended(derivative, self.vectors, message.ends == "labels")
            found.append(derivative)
        axis = 1 if sampled else 0
        return _centred(found, None if message.centre is None else results[message.centre], axis)

    def _met(
        self, piece: Piece, results: Mapping[Message, jax.Array], met: dict[tuple[Message, ...], Any]
    ) -> tuple[Any, bool, Piece]:
        """A piece's entries, with axes (draws, if sampled; a label for each cut edge; P, if open)."""
        sampled = any(message.sampled for message in piece.messages)
        if piece.messages not in met:
            arrays = [results[message] for message in piece.messages]
            if len(arrays) == 2:
                found = np.asarray(_dotted(*arrays), dtype=float)
            else:
                found = arrays[0] if piece.open else np.asarray(arrays[0], dtype=float)
            met[piece.messages] = found
        found = met[piece.messages]
        shape = found.shape[:1] if sampled else ()
        shape += (len(self.vectors),) * len(piece.edges)
        return found.reshape((*shape, *(found.shape[-1:] if piece.open else ()))), sampled, piece


class _Total:
    """W of one diagram, as it is added up over draws; * is the last label."""

    def __init__(self, plan: Split, vectors: jax.Array) -> None:
        self.plan = plan
        self.count, size = vectors.shape
        labels = (self.count + (self.count < size),)
        self.numbers = np.zeros(labels * plan.edges)
        self.vectors = None
        if plan.open is not None and self.count < size:
            self.vectors = np.zeros((*labels * (plan.edges - 1), size), vectors.dtype)

    def add(self, share: Share, pieces: Sequence[tuple[Any, bool, Piece]], weights: np.ndarray) -> None:
        draw, coordinate = self.plan.edges, self.plan.edges + 1
        operands: list[Any] = []
        for array, sampled, piece in pieces:
            operands += [
                array,
                [*([draw] if sampled else []), *piece.edges, *([coordinate] if piece.open else [])],
            ]
        if any(sampled for _, sampled, _ in pieces):
            operands += [weights, [draw]]
        else:
            share = replace(share, sign=share.sign * weights.sum())
        if self.vectors is not None and any(piece.open for _, _, piece in pieces):
            dtype = self.vectors.dtype
            operands = [jnp.asarray(x, dtype) if i % 2 == 0 else x for i, x in enumerate(operands)]
            block = jnp.einsum(*operands, [*share.cut, coordinate], precision="highest")
            whole, edges = self.vectors, [e for e in range(self.plan.edges) if e != self.plan.open]
        else:
            block = np.einsum(*operands, list(share.cut), optimize=True)
            whole, edges = self.numbers, list(range(self.plan.edges))
        whole[tuple(slice(self.count) if e in share.cut else -1 for e in edges)] += share.sign * np.asarray(
            block
        )


def _projection(totals: Sequence[_Total], dtype: Any) -> Projection:
    numbers = jnp.asarray(np.stack([total.numbers for total in totals]), dtype)
    vectors = [total.vectors for total in totals if total.vectors is not None]
    return Projection(numbers, jnp.asarray(np.stack(vectors)) if vectors else None)


def _messages(plans: Iterable[Split]) -> Iterator[Message]:
    """All messages of some plans, each once and after those that it needs."""
    seen: set[Message] = set()

    def visit(message: Message) -> Iterator[Message]:
        if message not in seen:
            seen.add(message)
            for needed in message.needs:
                yield from visit(needed)
            yield message

    for plan in plans:
        for share in plan.shares:
            for piece in share.pieces:
                for message in piece.messages:
                    yield from visit(message)


@partial(jax.jit, static_argnames="draws")
def _rows(stack: jax.Array, index: np.ndarray, draws: int | None) -> jax.Array:
    """Some vectors of a stack, repeated for each draw if asked."""
    rows = jnp.take(stack, index, axis=-2)
    return rows if draws is None else jnp.broadcast_to(rows, (draws, *rows.shape))


@partial(jax.jit, static_argnames=("function", "kind", "number", "sampled", "chunk"))
def _kernel(
    function: PointFunction,
    theta: Any,
    data: Any,
    legs: tuple[jax.Array, ...],
    *,
    kind: str,
    number: bool,
    sampled: tuple[bool, bool],
    chunk: int,
) -> jax.Array:
    """A derivative of f along legs (labels, P), for one label after another, and for all draws if any differ.

    `sampled` says of the points and of the legs whether they have a leading axis for the draws.
    """
    flat, unravel = ravel_pytree(theta)

    def derivative(f: Any, along: tuple[jax.Array, ...]) -> jax.Array:
        result = f if number else jax.grad(f)
        for vector in along:
            result = _along(result, vector)
        return result(flat)

    def weighted(batch: Any, weights: jax.Array, along: tuple[jax.Array, ...]) -> jax.Array:
        return derivative(lambda point: weighted_loss(function, unravel(point), batch, weights), along)

    def of_one(data: Any, along: tuple[jax.Array, ...]) -> jax.Array:
        if kind == "observable":
            return derivative(lambda point: function(unravel(point)), along)
        if kind == "population":
            return population_mean(lambda batch, weights: weighted(batch, weights, along), data, chunk)
        count = jax.tree.leaves(data)[0].shape[0]
        return weighted(data, jnp.full(count, 1 / count, flat.dtype), along)

    def of_all(data: Any, legs: tuple[jax.Array, ...]) -> jax.Array:
        if not legs:
            return of_one(data, ())[None]
        return lax.map(partial(of_one, data), legs, batch_size=min(AT_ONCE, len(legs[0])))

    axes = tuple(0 if flag else None for flag in sampled)
    return (jax.vmap(of_all, axes) if any(sampled) else of_all)(data, legs)


@partial(jax.jit, static_argnames="labels")
def _ended(gradients: jax.Array, vectors: jax.Array, labels: bool) -> jax.Array:
    """Components of gradients along the eigenvectors, or what they leave in the rest."""
    components = jnp.matmul(gradients, vectors.T, precision="highest")
    return components if labels else gradients - jnp.matmul(components, vectors, precision="highest")


@partial(jax.jit, static_argnames="axis")
def _centred(blocks: list[jax.Array], centre: jax.Array | None, axis: int) -> jax.Array:
    whole = jnp.concatenate(blocks, axis)
    return whole if centre is None else whole - centre


def _along(function: Any, vector: jax.Array) -> Any:
    return lambda point: jax.jvp(function, (point,), (vector,))[1]


@jax.jit
def _dotted(left: jax.Array, right: jax.Array) -> jax.Array:
    """All products of two messages in the rest, for each draw where either has an axis for it."""
    return jnp.einsum("...ip,...jp->...ij", left, right, precision="highest")
