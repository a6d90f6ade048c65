r"""What edges carry in one update, in an eigenbasis of H: a small matrix each.

Along an edge of rate s = ηλ a rule's state z of size m (`updates.rule.Memory`) is carried on by A − s b c; it enters
with b, and is read by c, or by r where it ends in a root. All edges alive together hold m^{alive} numbers, of which a
step through the lattice of down-sets makes

    ⊗_e { A − s_e b c where e stays alive,  c where it ends,  b where it begins } · state,

with the factors in the order of the edges' labels. For plain descent m = 1, and every edge carries 1 − s.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from sympy import Integer

from taylorsgd.timesums.events import ROOT, TimeSum
from taylorsgd.updates import Descent, Memory

__all__ = ["PLAIN", "EdgeMemory", "Floats", "applied", "complement", "in_floats", "kronecker", "spectral_radius"]

PLAIN = Descent().memory(Integer(1))
"""The memory of plain descent."""


class Floats(NamedTuple):
    """A `Memory` of arrays."""

    carry: Float[Array, "m m"]
    enter: Float[Array, " m"]
    read: Float[Array, " m"]
    read_by_root: Float[Array, " m"]


class EdgeMemory:
    """The factors of every step of a sum over times; states are rows, multiplied from the right.

    Args:
        times: the events and edges.
        memory: the rule's linear system: exact numbers, or arrays.
        rates: s_e = ηλ_e for every edge; arrays that broadcast.
        moments: the events that are roots.

    Attributes:
        size: m.
        dtype: that of the rates.
        carry: for every edge A − s b c, its matrix in one update.
        lost: 1 less that, without the rounding of 1 − s.
        enter: b, a row.
        read: for every edge c, or r, a column.
    """

    def __init__(
        self, times: TimeSum, memory: Memory | Floats, rates: Sequence[Float[Array, ...]], moments: Sequence[int] = ()
    ) -> None:
        """Make the factors of each edge."""
        self.dtype = jnp.result_type(*rates) if rates else jnp.result_type(float)
        self._plain = isinstance(memory, Memory) and memory == PLAIN
        carry, enter, read, by_root = in_floats(memory, self.dtype) if isinstance(memory, Memory) else memory
        self.times, self.size = times, len(enter)
        bent = jnp.outer(read, enter)
        self.carry = [carry.T - rate[..., None, None] * bent for rate in rates]
        still = jnp.eye(self.size, dtype=self.dtype) - carry.T
        self.lost = [still + rate[..., None, None] * bent for rate in rates]
        self.enter = enter[None, :]
        self.read = [(by_root if target == ROOT or target in moments else read)[:, None] for _, target in times.edges]

    def factors(self, done: int, step: int) -> list[Float[Array, "... before after"]]:
        """What a step from a down-set does to every edge alive before or after it, where this is not 1."""
        before, after = set(self.times.alive(done)), set(self.times.alive(done | step))
        return [
            self.enter if e not in before else self.carry[e] if e in after else self.read[e]
            for e in sorted(before & after if self._plain else before | after)
        ]

    def block(self, done: int, step: int) -> Float[Array, "... before after"]:
        """All of them as one matrix."""
        return reduce(kronecker, self.factors(done, step), jnp.ones((1, 1), self.dtype))

    def left(self, done: int) -> Float[Array, "... before before"]:
        """1 less the block of no step."""
        alive = self.times.alive(done)
        return complement([self.carry[e] for e in alive], [self.lost[e] for e in alive])

    def roots(self) -> list[Float[Array, "m 1"]]:
        """What the roots read after the last update."""
        alive = self.times.alive(self.times.lattice.full)
        return [] if self._plain else [self.read[e] for e in alive]

    def root_block(self) -> Float[Array, "alive 1"]:
        """All of them as one matrix."""
        return reduce(kronecker, self.roots(), jnp.ones((1, 1), self.dtype))


def in_floats(memory: Memory, dtype: Any) -> Floats:
    """The same system with arrays for its parts."""
    return Floats(*(jnp.asarray(np.array(part, float), dtype) for part in memory))


def applied(state: Float[Array, "... before"], factors: Sequence[Float[Array, "... m n"]]) -> Float[Array, "... after"]:
    """A state times ⊗ of some factors, one after the other."""
    left, behind = 1, state.shape[-1]
    for factor in factors:
        size, following = factor.shape[-2:]
        if size == following == state.shape[-1] == 1:
            state = state * factor[..., 0]
            continue
        behind //= size
        split = state.reshape(*state.shape[:-1], left, size, 1, behind)
        state = jnp.sum(split * factor[..., None, :, :, None], axis=-3)
        left *= following
        state = state.reshape(*state.shape[:-3], left * behind)
    return state


def kronecker(a: Float[Array, "... i j"], b: Float[Array, "... k l"]) -> Float[Array, "... ik jl"]:
    """The Kronecker product."""
    product = a[..., :, None, :, None] * b[..., None, :, None, :]
    return product.reshape(*product.shape[:-4], a.shape[-2] * b.shape[-2], a.shape[-1] * b.shape[-1])


def complement(kept: Sequence[Float[Array, "... m m"]], lost: Sequence[Float[Array, "... m m"]]) -> Float[Array, ...]:
    """1 − K_1 ⊗ K_2 ⊗ …, from the K and the 1 − K: the second as often as the first, no 1 is rounded away."""
    total, whole = jnp.zeros((1, 1), lost[0].dtype), jnp.ones((1, 1), lost[0].dtype)
    for K, gone in zip(kept, lost, strict=True):  # 1 − W ⊗ K = (1 − W) ⊗ 1 + W ⊗ (1 − K)
        total = kronecker(total, jnp.eye(K.shape[-1], dtype=K.dtype)) + kronecker(whole, gone)
        whole = kronecker(whole, K)
    return total


def spectral_radius(memory: Memory, rate: complex) -> float:
    """The largest |eigenvalue| of A − s b c: by how much an influence grows in an update."""
    carry, enter, read, _ = (np.array(part, float) for part in memory)
    return float(np.abs(np.linalg.eigvals(carry - rate * np.outer(enter, read))).max())
