r"""Sums over several epochs of edges with memory, in an eigenbasis of H.

As in `lowering.epoch_powers`, but that an edge carries powers of a matrix, K = A − s b c for 1 − s, and X = K^n from
epoch to epoch. Sums over batches and over epochs are sums of products of powers of the same K, one for each edge, so
they commute: each is one matrix on the memories of all edges of a branch, m^d × m^d, and their product takes ⊗ b to
what is read by ⊗ c. No root of K is looked for, so those that are complex or coincide are nothing special.

A sum over batches, h_{n−k}(x_0, …, x_k), is a block of the power n of a block bidiagonal matrix, one over epochs that
of the power E of a block triangular one (`lowering.block_sums`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from taylorsgd.device_arrays import on_device
from taylorsgd.lowering.block_sums import Blocks, block_limit, block_power, remembering_limit, remembering_sum
from taylorsgd.lowering.edge_memory import EdgeMemory, complement, kronecker
from taylorsgd.lowering.triangular import Triangle
from taylorsgd.timesums.events import TimeSum
from taylorsgd.timesums.two_clocks import Circle, Piece, TwoClocks
from taylorsgd.updates import Memory

__all__ = ["remembering_epochs"]

Matrix = Float[Array, "*grid whole whole"]
_matmul = partial(jnp.matmul, precision="highest")


def remembering_epochs(
    times: TwoClocks,
    memory: Memory,
    rates: Sequence[Float[Array, ...]],
    batches: Float[Array, ""],
    epochs: Float[Array, ""] | None,
) -> tuple[Float[Array, ...], ...]:
    """The independent factors of a sum over the times of several epochs.

    Args:
        times: the sum; the sizes in it are not looked at.
        memory: the rule's linear system, with numbers only.
        rates: s_e = ηλ_e for every edge, arrays that broadcast, in each branch.
        batches: n, the number of batches in an epoch, at least 1.
        epochs: E; None for the limit E → ∞.

    Returns:
        One array for each of `times.branches`. Differentiable in the rates.

    Example:
        Momentum ½ without curvature: an influence grows to 1, 3/2, 7/4, … In two epochs of two batches the tied fork
        is (1 + 7/4)² + (3/2 + 15/8)².

        >>> import taylorsgd as ts
        >>> from sympy import Integer, symbols
        >>> from taylorsgd.timesums.events import ROOT
        >>> from taylorsgd.timesums.two_clocks import EpochSum
        >>> fork, half = EpochSum((ROOT, ROOT), *symbols("n E"), (0, 0)), ts.HeavyBall(0.5).memory(Integer(1))
        >>> print(remembering_epochs(fork, half, [jnp.zeros(())] * 2, jnp.uint32(2), jnp.uint32(2))[0])
        18.953125
    """
    n = on_device(batches).astype(jnp.uint32)
    count = None if epochs is None else on_device(epochs).astype(jnp.uint32)
    found = []
    for labels, own in times.branches:
        own_rates = tuple(rates[label] for label in labels)
        if not own.is_untied:
            found.append(_branch(own, memory, own_rates, n, count))
        elif count is None:
            found.append(remembering_limit(own.untied, memory, own_rates))
        else:
            found.append(remembering_sum(own.untied, memory, own_rates, n * count))
    return tuple(found)


@partial(jax.jit, static_argnums=(0, 1))
def _branch(
    own: TwoClocks, memory: Memory, rates: tuple[Array, ...], n: Array, epochs: Array | None
) -> Float[Array, ...]:
    edges = _Edges(EdgeMemory(own.untied, memory, rates), n)
    around: dict[Circle, Matrix] = {}
    along: dict[TimeSum, Matrix] = {}
    total = jnp.zeros(())
    for piece in own.pieces:
        for circle in piece.circles:
            if circle not in around:
                around[circle] = edges.around(circle)
        if piece.epochs not in along:
            along[piece.epochs] = edges.along(piece.epochs, epochs)
        total = total + edges.read(piece, [*(around[circle] for circle in piece.circles), along[piece.epochs]])
    return total


class _Edges:
    """The edges of a branch, whose memories stand side by side."""

    def __init__(self, carried: EdgeMemory, n: Array) -> None:
        self.carried, self.n = carried, n
        self.count = len(carried.carry)
        self.eye = jnp.eye(carried.size, dtype=carried.dtype)
        self.epoch = [block_power(Triangle.chain(0), {(0, 0, ()): K}, n) for K in carried.carry]

    def whole(self, matrices: Sequence[Float[Array, "... m m"]], edges: Iterable[int]) -> Matrix:
        """The matrices of some edges, which stand for what all edges do: others carry 1."""
        chosen = set(edges)
        return reduce(kronecker, [matrices[e] if e in chosen else self.eye for e in range(self.count)])

    def around(self, circle: Circle) -> Matrix:
        """Π K^{passed} times the sum over the batches of an epoch."""
        triangle, total = Triangle.chain(len(circle.passing) - 1), self.whole(self.carried.carry, ())
        blocks: Blocks = {(i, i, ()): self.whole(self.carried.carry, each) for i, each in enumerate(circle.passing)}
        blocks |= {(*move, ()): total for move in triangle.moves}
        for number in range(max(circle.passed)):
            passing = [e for e, count in enumerate(circle.passed) if count > number]
            total = _matmul(total, self.whole(self.carried.carry, passing))
        return _matmul(total, block_power(triangle, blocks, self.n))

    def along(self, times: TimeSum, epochs: Array | None) -> Matrix:
        """The sum over epochs, in which edges carry X."""
        states = times.lattice.states
        alive: Mapping[int, set[int]] = {i: set(times.alive(state)) for i, state in enumerate(states)}
        triangle = Triangle.of_lattice(times.lattice)
        blocks: Blocks = {
            (i, j, ()): self.whole(self.epoch, alive[i] & alive[j])
            for i, j in (*((i, i) for i in alive), *triangle.moves)
        }
        if epochs is not None:
            return block_power(triangle, blocks, epochs)
        leaving = [None, *(partial(self._resolved, edges) for i, edges in alive.items() if i)]
        return block_limit(triangle, blocks, leaving, self.whole(self.epoch, ()))

    def _resolved(self, edges: Iterable[int], state: Matrix) -> Matrix:
        """Divide by 1 − ⊗ X = (1 − ⊗ K)(1 + ⊗ K + … + ⊗ K^{n−1})."""
        chosen, one = set(edges), self.whole(self.epoch, ())
        kept = [self.carried.carry[e] if e in chosen else self.eye for e in range(self.count)]
        lost = [self.carried.lost[e] if e in chosen else self.eye * 0 for e in range(self.count)]
        blocks: Blocks = {(0, 0, ()): one, (0, 1, ()): one, (1, 1, ()): self.whole(self.carried.carry, chosen)}
        together = block_power(Triangle.chain(1), blocks, self.n)
        return jnp.linalg.solve(complement(kept, lost), jnp.linalg.solve(together, state))

    def read(self, piece: Piece, sums: Sequence[Matrix]) -> Float[Array, ...]:
        """What the roots and other nodes read of ⊗ b once all has been carried on."""
        state = reduce(kronecker, self.carried.read)
        for each in (self.whole(self.epoch, piece.late), *sums):
            state = _matmul(each, state)
        return _matmul(reduce(kronecker, [self.carried.enter] * self.count), state)[..., 0, 0]
