"""Sums over the cells of a run in an eigenbasis of H, update by update."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from taylorsgd.lowering.edge_memory import PLAIN, EdgeMemory, Floats, applied, in_floats
from taylorsgd.timesums.cells import Way
from taylorsgd.timesums.events import TimeSum
from taylorsgd.updates import Memory

__all__ = ["sum_of_ways"]

States: TypeAlias = dict[int, Float[Array, "..."]]
"""For every down-set an axis for each edge, of length 1 until it is born, and one for what the edges alive remember."""


def sum_of_ways(
    ways: Sequence[Way], edges: int, rates: Float[Array, " P"], memories: Sequence[Memory] = (PLAIN,)
) -> Float[Array, ...]:
    """The sum over all ways, and over the cells of each, of the product of what the edges carry.

    Args:
        ways: in how many cells each event can be at each update; those with equal events and edges are done at once.
        edges: the number of edges.
        rates: ηλ for every eigendirection.
        memories: the rule's linear system at every update, or one for all.

    Returns:
        An array with one axis of length P for every edge.

    Example:
        Two updates, each with an edge to the root: (1 − ηλ) + 1.

        >>> from fractions import Fraction
        >>> from taylorsgd.timesums.events import ROOT
        >>> way = Way(Fraction(1), TimeSum(1, ((0, ROOT),)), ((1, 1),))
        >>> print(sum_of_ways([way], 1, jnp.array([0.0, 0.25])))
        [2.   1.75]
    """
    spread = [rates.reshape(*(-1 if axis == e else 1 for axis in range(edges))) for e in range(edges)]
    alike: dict[tuple[TimeSum, tuple[int, ...]], list[Way]] = {}
    for way in ways:
        if way.times.possible:
            alike.setdefault((way.times, way.moments), []).append(way)
    total = jnp.zeros(rates.shape * edges, rates.dtype)
    for (times, moments), group in alike.items():
        updates = len(group[0].cells[0]) if times.events else 0
        cells = jnp.array([way.cells for way in group], rates.dtype)
        cells = jnp.moveaxis(cells.reshape(len(group), times.events, updates), 2, 1)
        drawn: dict[int, Float[Array, " ways"]] = {}
        if any(way.slots is not None for way in group):
            # In how many ways a step's events find slots, where each has one cell.
            steps = sorted({step for after in times.lattice.steps.values() for step in after})
            alone = [way._replace(cells=((1,),) * times.events) for way in group]
            drawn = {step: jnp.array([way.choices(step, 0) for way in alone], rates.dtype) for step in steps}
        sums = jax.vmap(partial(_scanned, times, moments, memories, spread))(cells, drawn)
        counts = jnp.array([float(way.number) for way in group], rates.dtype)
        total = total + jnp.tensordot(counts, sums, 1, precision="highest")
    return total


def _scanned(
    times: TimeSum,
    moments: tuple[int, ...],
    memories: Sequence[Memory],
    rates: Sequence[Float[Array, ...]],
    cells: Float[Array, "T events"],
    drawn: dict[int, Float[Array, ""]],
) -> Float[Array, ...]:
    """The sum over the cells of one way: a walk through the lattice of down-sets, an update at a time."""
    lattice, steady = times.lattice, EdgeMemory(times, memories[-1], rates, moments)
    changing = None
    if len(memories) > 1:
        floats = [in_floats(memory, cells.dtype) for memory in memories]
        changing = jax.tree.map(lambda *parts: jnp.stack(parts), *floats)

    def empty(done: int) -> Float[Array, ...]:
        born = times.born(done)
        axes = (rate.size if e in born else 1 for e, rate in enumerate(rates))
        return jnp.zeros((*axes, steady.size ** len(times.alive(done))), cells.dtype)

    def update(states: States, now: tuple[Float[Array, " events"], Floats | None]) -> tuple[States, None]:
        free, memory = now
        carried = steady if memory is None else EdgeMemory(times, memory, rates, moments)
        following = {done: applied(state, carried.factors(done, 0)) for done, state in states.items()}
        for done, state in states.items():
            for step in lattice.steps[done]:
                chosen = [free[event] for event in range(times.events) if step >> event & 1]
                weight = reduce(jnp.multiply, [*chosen, drawn[step]] if drawn else chosen)
                following[done | step] += weight * applied(state, carried.factors(done, step))
        return following, None

    start = {done: empty(done) for done in lattice.states}
    final, _ = lax.scan(update, start | {0: start[0] + 1}, (cells, changing))
    return applied(final[lattice.full], steady.roots())[..., 0]
