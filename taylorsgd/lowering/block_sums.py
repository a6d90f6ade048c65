r"""Sums over time of edges with memory, in an eigenbasis of H: powers of a block triangular matrix.

Between the down-sets I and I ∪ S stands the block of what a step does to the edges alive (`lowering.edge_memory`),
with m^{alive(I)} rows and m^{alive(I ∪ S)} columns. The sum over all times is the last block in the first row of M^T,
read by the roots; found by repeated squaring in log2(T) steps, with as many squarings as T has digits. As T → ∞ it is
that of 1/(1 − M): each state is left by (1 − ⊗ K)^{−1}.

A block has the broadcast shape of the rates of the edges alive on its ways only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer

from taylorsgd.lowering.edge_memory import EdgeMemory
from taylorsgd.lowering.triangular import Entry, Triangle, entries_below, entry_shape, product
from taylorsgd.timesums.events import TimeSum
from taylorsgd.updates import Memory

__all__ = ["Blocks", "block_limit", "block_power", "remembering_limit", "remembering_sum"]

Blocks = dict[Entry, Float[Array, "... before after"]]
"""The blocks of a matrix, by state and state."""

_matmul = partial(jnp.matmul, precision="highest")


def remembering_sum(
    times: TimeSum, memory: Memory, rates: Sequence[Float[Array, ...]], T: Integer[Array, ""]
) -> Float[Array, ...]:
    """The sum over times for given rates and T.

    Args:
        times: the events and edges.
        memory: the rule's linear system, with numbers only.
        rates: s_e = ηλ_e for every edge; arrays that broadcast, each with an axis of its own.
        T: the number of updates, traced or not.

    Returns:
        An array of the broadcast shape. Differentiable in the rates.

    Example:
        Momentum 1/2, two updates, no curvature: an influence grows to 1 + 1/2, and another one to 1.

        >>> import taylorsgd as ts
        >>> from sympy import Integer, Rational
        >>> from taylorsgd.timesums.events import ROOT
        >>> memory = ts.HeavyBall(Rational(1, 2)).memory(Integer(1))
        >>> print(remembering_sum(TimeSum(1, ((0, ROOT),)), memory, [jnp.zeros(1)], jnp.uint32(2)))
        [2.5]
    """
    if not times.possible:
        return jnp.zeros(jnp.broadcast_shapes(*(rate.shape for rate in rates)), jnp.result_type(*rates))
    triangle, blocks, carried = _matrix(times, memory, rates)
    return _matmul(block_power(triangle, blocks, T), carried.root_block())[..., 0, 0]


def remembering_limit(times: TimeSum, memory: Memory, rates: Sequence[Float[Array, ...]]) -> Float[Array, ...]:
    """The limit of the sum over times as T → ∞, without a meaning unless every influence fades.

    Args:
        times: the events and edges.
        memory: the rule's linear system, with numbers only.
        rates: s_e = ηλ_e for every edge; arrays that broadcast.

    Returns:
        An array of the broadcast shape.

    Example:
        A force is followed to where it is balanced, with momentum as without: 1/(ηλ).

        >>> import taylorsgd as ts
        >>> from sympy import Integer, Rational
        >>> from taylorsgd.timesums.events import ROOT
        >>> memory = ts.HeavyBall(Rational(1, 2)).memory(Integer(1))
        >>> print(remembering_limit(TimeSum(1, ((0, ROOT),)), memory, [jnp.array([0.25])]))
        [4.]
    """
    if not times.possible:
        return jnp.zeros((), jnp.result_type(*rates))
    triangle, blocks, carried = _matrix(times, memory, rates)
    leaving = [None, *(partial(jnp.linalg.solve, carried.left(done)) for done in times.lattice.states[1:])]
    return block_limit(triangle, blocks, leaving, carried.root_block())[..., 0, 0]


def block_power(triangle: Triangle, blocks: Blocks, T: Integer[Array, ""]) -> Float[Array, "... first last"]:
    """The last block in the first row of M^T, by repeated squaring.

    Args:
        triangle: which blocks M has.
        blocks: the blocks, those on the diagonal too; arrays whose leading axes broadcast.
        T: an unsigned integer, traced or not.

    Example:
        >>> print(block_power(Triangle.chain(0), {(0, 0, ()): jnp.array([[1.0, 1.0], [0.0, 1.0]])}, jnp.uint32(5)))
        [[1. 5.]
         [0. 1.]]
    """
    last = triangle.size - 1
    diagonal = [blocks[i, i, ()].shape[:-2] for i in range(last + 1)]
    moved = [blocks[*move, ()].shape[:-2] for move in triangle.moves]
    pairs = [*((i, i, ()) for i in range(last + 1)), *entries_below(triangle, [(0, last, ())])]
    power = {}
    for i, j, _ in pairs:
        shape = entry_shape(triangle, (i, j, ()), diagonal, moved)
        rows, columns = blocks[i, i, ()].shape[-2], blocks[j, j, ()].shape[-1]
        nothing = jnp.zeros((), blocks[i, i, ()].dtype)
        power[i, j, ()] = jnp.broadcast_to(blocks.get((i, j, ()), nothing), (*shape, rows, columns))
    row = {(0, j, ()): power[0, j, ()] for j in range(last + 1) if (0, j, ()) in power}
    start = {pair: jnp.eye(*block.shape[-2:], dtype=block.dtype) * (pair[1] == 0) for pair, block in row.items()}
    row = {pair: jnp.where(T & 1, block, start[pair]) for pair, block in row.items()}

    def doubled(state: Any, digit: Array) -> Any:
        row, power = state
        power = {pair: product(triangle, pair, power, power, _matmul) for pair in power}
        more = {pair: product(triangle, pair, row, power, _matmul) for pair in row}
        return {pair: jnp.where(digit & 1, more[pair], row[pair]) for pair in row}, power

    def step(state: Any, digit: Array) -> tuple[Any, None]:
        # Not beyond the first digit: a power that is not used may overflow.
        return lax.cond(digit > 0, doubled, lambda state, digit: state, state, digit), None

    (row, _), _ = lax.scan(step, (row, power), T >> jnp.arange(1, 32, dtype=T.dtype))
    return row[0, last, ()]


def block_limit(
    triangle: Triangle, blocks: Blocks, leaving: Sequence[Callable[[Array], Array] | None], read: Float[Array, "n m"]
) -> Float[Array, "... first m"]:
    """The last block in the first row of 1/(1 − M), where M_00 counts as 0, times what is read there.

    Args:
        triangle: which blocks M has.
        blocks: the blocks beside the diagonal.
        leaving: for every state what solves (1 − M_ii) x = b; None for the first.
        read: what the last block is multiplied by.
    """
    left = {triangle.size - 1: read}
    for i in reversed(range(triangle.size)):
        ahead = [_matmul(blocks[i, j, ()], left[j]) for k, j in triangle.moves if k == i]
        left[i] = reduce(jnp.add, ahead) if ahead else read
        solve = leaving[i]
        if solve is not None:
            left[i] = solve(left[i])
    return left[0]


def _matrix(times: TimeSum, memory: Memory, rates: Sequence[Float[Array, ...]]) -> tuple[Triangle, Blocks, EdgeMemory]:
    """Which blocks M has, the blocks, and what they are made of."""
    carried, lattice = EdgeMemory(times, memory, rates), times.lattice
    triangle = Triangle.of_lattice(lattice)
    states = [(i, i) for i in range(triangle.size)]
    blocks: Blocks = {}
    for i, j in (*states, *triangle.moves):
        step = lattice.states[j] & ~lattice.states[i]
        blocks[i, j, ()] = carried.block(lattice.states[i], step)
    return triangle, blocks, carried
