r"""Sums over several epochs as JAX arrays: a power of one triangular matrix inside of another.

The numeric face of `timesums.two_clocks`. Within an epoch an edge carries κ = 1 − s from batch to batch, and the sum
over the batches of the parts is a divided difference of x^n; from epoch to epoch it carries X = κ^n, and the sum over
epochs is an entry of M^E with products of X on the diagonal of M. Logarithms stay accurate on the way, log|X| =
n log|κ|, and 1 − X^… is (1 − x) (1 + x + … + x^{n−1}) with x the product of the κ, so nothing cancels at small rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from taylorsgd.device_arrays import on_device
from taylorsgd.lowering.divided import signed_power, triangular_power
from taylorsgd.lowering.eigenbasis_sums import branch_limits, branch_sums
from taylorsgd.lowering.nodes import Node, complement_of_decays, product_of_decays
from taylorsgd.lowering.triangular import Triangle
from taylorsgd.timesums.events import TimeSum
from taylorsgd.timesums.two_clocks import Circle, TwoClocks

__all__ = ["epoch_sums"]

Rates = tuple[Float[Array, "*grid"], ...]
"""s_e for every edge of a branch."""


def epoch_sums(
    times: TwoClocks, rates: Sequence[Float[Array, ...]], batches: Float[Array, ""], epochs: Float[Array, ""] | None
) -> tuple[Float[Array, ...], ...]:
    """The independent factors of a sum over the times of several epochs.

    Args:
        times: the sum; the sizes in it are not looked at.
        rates: s_e = ηλ_e for every edge, arrays that broadcast, in each branch.
        batches: n, the number of batches in an epoch, at least 1.
        epochs: E; None for the limit E → ∞.

    Returns:
        One array for each of `times.branches`.

    Example:
        The tied fork in two epochs of three batches: Σ_b (κ^{5−b} + κ^{2−b})², here with κ = 1/2.

        >>> from sympy import symbols
        >>> from taylorsgd.timesums.events import ROOT
        >>> from taylorsgd.timesums.two_clocks import EpochSum
        >>> fork = EpochSum((ROOT, ROOT), *symbols("n E"), (0, 0))
        >>> print(epoch_sums(fork, [jnp.float32(0.5)] * 2, jnp.uint32(3), jnp.uint32(2))[0])
        1.6611328
    """
    n = on_device(batches).astype(jnp.uint32)
    count = None if epochs is None else on_device(epochs).astype(jnp.uint32)
    found = []
    for labels, own in times.branches:
        own_rates = [rates[label] for label in labels]
        if not own.is_untied:
            found.append(_branch(own, tuple(own_rates), n, count))
        elif count is None:
            found.append(reduce(jnp.multiply, branch_limits(own.untied, own_rates, continuous=False)))
        else:
            found.append(reduce(jnp.multiply, branch_sums(own.untied, own_rates, n * count, continuous=False)))
    return tuple(found)


@partial(jax.jit, static_argnums=0)
def _branch(own: TwoClocks, rates: Rates, n: Array, epochs: Array | None) -> Array:
    around: dict[Circle, Array] = {}
    along: dict[TimeSum, Array] = {}
    total = jnp.zeros(())
    for piece in own.pieces:
        for circle in piece.circles:
            if circle not in around:
                around[circle] = _around(circle, rates, n)
        if piece.epochs not in along:
            along[piece.epochs] = _along(piece.epochs, rates, n, epochs)
        late = [_raised(rates, (e,), n).value for e in piece.late]
        total = total + reduce(
            jnp.multiply, [*late, *(around[circle] for circle in piece.circles)], along[piece.epochs]
        )
    return total


def _around(circle: Circle, rates: Rates, n: Array) -> Array:
    """Π κ^{passed} times the sum over the batches of an epoch."""
    nodes = [_product(rates, edges) for edges in circle.passing]
    triangle = Triangle.chain(len(nodes) - 1)
    couplings = [None] * len(triangle.moves)
    total = triangular_power(triangle, nodes if circle.passing[0] else nodes[1:], couplings, n)
    for rate, count in zip(rates, circle.passed, strict=True):
        total = total * (1 - rate) ** count
    return total


def _along(times: TimeSum, rates: Rates, n: Array, epochs: Array | None) -> Array:
    """The sum over epochs, in which edges carry X."""
    lattice = times.lattice
    triangle = Triangle.of_lattice(lattice)
    alive = [times.alive(state) for state in lattice.states]
    if triangle.size == 1:  # no event: only where a diagram has no edges
        return jnp.ones(())
    couplings: Mapping[tuple[int, int], Array | None] = {
        (i, j): reduce(jnp.multiply, kept) if (kept := _kept(rates, alive[i], alive[j], n)) else None
        for i, j in triangle.moves
    }
    if epochs is not None:
        nodes = [_raised(rates, edges, n) for edges in alive[1:]]
        return triangular_power(triangle, nodes, [couplings[move] for move in triangle.moves], epochs)
    limits: dict[int, Array] = {triangle.size - 1: jnp.ones(())}
    for state in reversed(range(triangle.size)):
        for move in triangle.moves:
            if move[0] == state:
                coupling = couplings[move]
                term = limits[move[1]] if coupling is None else coupling * limits[move[1]]
                limits[state] = limits.get(state, jnp.zeros(())) + term
        if state > 0:
            limits[state] = limits[state] / _lost(rates, alive[state], n)
    return limits[0]


def _kept(rates: Rates, before: Sequence[int], after: Sequence[int], n: Array) -> list[Array]:
    return [_raised(rates, (e,), n).value for e in before if e in after]


def _product(rates: Rates, edges: Sequence[int]) -> Node:
    one = jnp.ones((), jnp.result_type(*rates))
    return product_of_decays([rates[e] for e in edges]) if edges else Node(one, one * 0)


def _raised(rates: Rates, edges: Sequence[int], n: Array) -> Node:
    """Π X, what edges carry through an epoch."""
    node = _product(rates, edges)
    return Node(signed_power(0, node.value, node.log, n), node.log * n.astype(node.log.dtype))


def _lost(rates: Rates, edges: Sequence[int], n: Array) -> Array:
    """1 − Π X = (1 − x)(1 + x + … + x^{n−1})."""
    node = _product(rates, edges)
    lost = complement_of_decays([rates[e] for e in edges])
    return lost * triangular_power(Triangle.chain(1), [node], [None], n)
