"""Sums over the cells of a grid in an eigenbasis, update by update."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from taylorsgd.timesums.events import ROOT, TimeSum

__all__ = ["Schedules", "grid_sum"]

Schedules = tuple[tuple[int, tuple[tuple[int, ...], ...]], ...]
"""For every choice of rows its multiplicity, and for every event its number of cells in each column."""


def grid_sum(times: TimeSum, schedules: Schedules, rates: jax.Array) -> jax.Array:
    """The sum over all cells of the product of what the edges carry.

    The state after some events (a down-set of their order) is the array over the eigendirections of the
    edges born so far; at every update those still alive are multiplied by 1 − ηλ.

    Args:
        times: the events and the edges between them.
        schedules: in how many cells each event can be at each update, for every choice of rows.
        rates: ηλ for every eigendirection, of shape (P,).

    Returns:
        An array with one axis of length P for every edge.
    """
    if not times.events:
        return jnp.ones((), rates.dtype)
    walk = _Walk(times, 1 - rates)
    cells = jnp.asarray([when for _, when in schedules], rates.dtype)  # (rows, events, T)
    counts = jnp.asarray([count for count, _ in schedules], rates.dtype)
    sums = jax.vmap(walk.run)(jnp.moveaxis(cells, 2, 1))
    return jnp.tensordot(counts, sums, 1, precision="highest")


class _Walk:
    def __init__(self, times: TimeSum, decay: jax.Array) -> None:
        self.times = times
        self.decay = decay
        self.states = times.lattice.states
        self.moves = [(done, step) for done in self.states for step in (0, *times.lattice.steps[done])]

    def born(self, done: int) -> list[int]:
        return [e for e, (source, _) in enumerate(self.times.edges) if done >> source & 1]

    def run(self, cells: jax.Array) -> jax.Array:
        """Sum over all times for one choice of rows; `cells` has the shape (T, events)."""
        size = self.decay.shape[0]
        start = {
            done: jnp.full((size,) * len(self.born(done)), 1.0 if done == 0 else 0.0, self.decay.dtype)
            for done in self.states
        }

        def update(states: dict[int, jax.Array], free: jax.Array) -> tuple[dict[int, jax.Array], None]:
            following = {done: jnp.zeros_like(array) for done, array in states.items()}
            for done, step in self.moves:
                weight: Any = 1.0
                for event in range(self.times.events):
                    if step >> event & 1:
                        weight = weight * free[event]
                following[done | step] += weight * self.advanced(states[done], done, done | step)
            return following, None

        final, _ = lax.scan(update, start, cells)
        return final[(1 << self.times.events) - 1]

    def advanced(self, array: jax.Array, done: int, after: int) -> jax.Array:
        """The array one update later: survivors damped, new edges as new axes in the order of all edges."""
        born, later = self.born(done), self.born(after)
        for axis, e in enumerate(born):
            target = self.times.edges[e][1]
            if target == ROOT or not after >> target & 1:  # still alive
                array = array * self.decay.reshape(-1, *(1,) * (len(born) - axis - 1))
        return jnp.expand_dims(array, [axis for axis, e in enumerate(later) if e not in born])
