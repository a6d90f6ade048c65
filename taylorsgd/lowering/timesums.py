r"""Sums over the times of a diagram's nodes as JAX arrays: accurate wherever the eigenvalues lie.

The numeric face of `spacetime.timesums.TimeSum`. With s_e = ηλ_e for the edge e, a chain of events has nodes

    x_i = Π_e (1 − s_e)    or    y_i = −Σ_e s_e    over the edges alive in the interval i,

and contributes Π_e (1 − s_e)^{extra_e} · [x^T; 1, x_1, …, x_m], resp. [e^{Ty}; 0, y_1, …, y_m]. A branch is
the sum over its chains (over those without ties, in an integral), the whole the product over branches. As
T → ∞ the divided differences tend to Π 1/(1 − x_i), resp. Π 1/(−y_i).

The chains of a branch are not evaluated one by one: they are the ways through one triangular matrix. Its
states are the sets of events that may lie in the past, from none to all; the diagonal entry of a set is x (or
y) of the edges alive after it, and in one update a set may grow by events whose edges all start in the past,
which costs 1 − s_e for every edge that is alive before and after. So for a branch of m events that do not
depend on each other before the last there are 2^{m−1} + 1 states instead of all weak orderings. The sum is
the last entry in the first row of M^T, the integral that of exp(T·M) (`lowering.divided`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from taylorsgd.lowering.divided import triangular_exponential, triangular_power
from taylorsgd.lowering.nodes import complement_of_decays, product_of_decays, total_rate
from taylorsgd.lowering.triangular import Triangle
from taylorsgd.timesums.events import TimeSum

__all__ = ["branch_sums", "time_sum", "time_sum_limit"]


def time_sum(structure: TimeSum, rates: Sequence[ArrayLike], T: ArrayLike, *, continuous: bool) -> Array:
    """The sum over times, or the integral, for given rates and T.

    Without division, so equal, nearly equal and vanishing rates are nothing special. Where no 1 − s_e is
    negative every term is positive and the result is accurate to a few units in the last place per binary
    digit of T (or of |s|T); otherwise the error is bounded by that of the same sum with |1 − s_e|.

    Rates and T are traced: one compilation serves all of one shape. Derivatives of every order in the rates,
    and in T if continuous, are as accurate as the value.

    Args:
        structure: the events, and the edges between them.
        rates: s_e = ηλ_e for every edge, of any sign, dimensionless; arrays that broadcast. Give every edge
            its own axis: then only the last step works on the whole array.
        T: the number of updates, an integer from 0 to 2³¹ (a float may hold it), or the time in units of one
            update, any real number, if continuous; a scalar, or an array that broadcasts with the rates.
        continuous: integrals of exponentials instead of sums of powers.

    Returns:
        An array of the broadcast shape, of the rates' dtype (T's too, if continuous), at least float32.

    Raises:
        ValueError: if the number of rates is not that of edges, or T is known and no number of updates.

    Example:
        >>> from taylorsgd.timesums.events import ROOT, TimeSum
        >>> fork = TimeSum(1, ((0, ROOT), (0, ROOT)))     # Σ_t ((1 − s_0)(1 − s_1))^t
        >>> print(time_sum(fork, [0.5, 0.5], 3, continuous=False))
        1.3125
        >>> print(time_sum(fork, [jnp.array([[0.0], [1.0]]), jnp.array([0.0, 2.0])], 1000, continuous=False))
        [[1000.    0.]
         [   1.    1.]]
    """
    sums = branch_sums(structure, rates, T, continuous=continuous)
    return reduce(_times, sums) if sums else jnp.ones(())


def branch_sums(
    structure: TimeSum, rates: Sequence[ArrayLike], T: ArrayLike, *, continuous: bool
) -> tuple[Array, ...]:
    """The independent factors of the sum over times, each of the broadcast shape of its own edges' rates.

    Args:
        structure: the events, and the edges between them.
        rates: as in `time_sum`.
        T: as in `time_sum`.
        continuous: as in `time_sum`.

    Returns:
        One array for each of `structure.branches`.

    Raises:
        ValueError: as in `time_sum`.

    Example:
        >>> from taylorsgd.timesums.events import ROOT, TimeSum
        >>> two = TimeSum(2, ((0, ROOT), (1, ROOT)))
        >>> rates = [jnp.zeros((5, 1)), jnp.zeros((1, 7))]
        >>> [factor.shape for factor in branch_sums(two, rates, 10, continuous=True)]
        [(5, 1), (1, 7)]
    """
    if continuous:
        T = jnp.asarray(T)
        dtype = _dtype(structure, rates, *([T] if jnp.issubdtype(T.dtype, jnp.floating) else []))
        T = T.astype(dtype)
    else:
        dtype = _dtype(structure, rates)
        T = jnp.asarray(T if isinstance(T, Tracer) else _checked(np.asarray(T))).astype(jnp.uint32)
    return _branch_sums(structure, tuple(jnp.asarray(rate, dtype) for rate in rates), T, continuous)


def time_sum_limit(structure: TimeSum, rates: Sequence[ArrayLike], *, continuous: bool) -> Array:
    """The limit of the sum over times as T → ∞.

    It is infinite, or without a meaning, unless every |x_i| < 1 (every Σ s_e > 0 if continuous): along a flat
    direction the sum grows for ever.

    Args:
        structure: the events, and the edges between them.
        rates: s_e = ηλ_e for every edge, dimensionless; arrays that broadcast.
        continuous: integrals of exponentials instead of sums of powers.

    Returns:
        An array of the broadcast shape, of the rates' dtype, at least float32.

    Raises:
        ValueError: if the number of rates is not that of edges.

    Example:
        The tied fork, 1/(s_0 + s_1 − s_0 s_1) or 1/(s_0 + s_1).

        >>> from taylorsgd.timesums.events import ROOT, TimeSum
        >>> fork = TimeSum(1, ((0, ROOT), (0, ROOT)))
        >>> print(time_sum_limit(fork, [0.5, 0.5], continuous=False).round(4))
        1.3333
        >>> print(time_sum_limit(fork, [0.5, 0.5], continuous=True))
        1.0
    """
    dtype = _dtype(structure, rates)
    arrays = tuple(jnp.asarray(rate, dtype) for rate in rates)
    limits = [
        _branch_limit(own, tuple(arrays[e] for e in labels), dtype, continuous)
        for _, labels, own in structure.branches
    ]
    return reduce(jnp.multiply, limits, jnp.ones((), dtype))


@partial(jax.jit, static_argnums=(0, 3))
def _branch_sums(
    structure: TimeSum, rates: tuple[Array, ...], T: Array, continuous: bool
) -> tuple[Array, ...]:
    return tuple(
        _branch_sum(own, tuple(rates[e] for e in labels), T, continuous)
        for _, labels, own in structure.branches
    )


def _branch_sum(own: TimeSum, rates: tuple[Array, ...], T: Array, continuous: bool) -> Array:
    if not own.possible:
        return jnp.zeros(
            jnp.broadcast_shapes(T.shape, *(rate.shape for rate in rates)), jnp.result_type(*rates)
        )
    steps = _steps(own, continuous)
    alive = [tuple(rates[e] for e in edges) for edges in steps.alive]
    if continuous:
        return triangular_exponential(steps.triangle, [-total_rate(interval) for interval in alive], T)
    nodes = [product_of_decays(interval) for interval in alive]
    return triangular_power(steps.triangle, nodes, _couplings(steps, rates), T)


def _branch_limit(own: TimeSum, rates: tuple[Array, ...], dtype: Any, continuous: bool) -> Array:
    """The same for 1/(1 − M), or −1/M: each state once, the last first."""
    if not own.possible:
        return jnp.zeros((), dtype)
    steps = _steps(own, continuous)
    lost = total_rate if continuous else complement_of_decays
    limits = {steps.triangle.size - 1: jnp.ones((), dtype)}
    couplings = dict(zip(steps.triangle.moves, _couplings(steps, rates), strict=True))
    for state in reversed(range(steps.triangle.size)):
        for (before, after), coupling in couplings.items():
            if before == state:
                term = limits[after] if coupling is None else coupling * limits[after]
                limits[state] = limits.get(state, jnp.zeros((), dtype)) + term
        if state > 0:
            limits[state] = limits[state] / lost(tuple(rates[e] for e in steps.alive[state - 1]))
    return limits[0]


@dataclass(frozen=True)
class _Steps:
    """How the events of a branch come to lie in the past, a set of them after the other.

    Attributes:
        triangle: the down-sets and the steps between them.
        alive: for every down-set but the empty one the edges alive after it.
        kept: for every step the edges alive before and after it; there are none if continuous.
    """

    triangle: Triangle
    alive: tuple[tuple[int, ...], ...]
    kept: tuple[tuple[int, ...], ...]


@lru_cache(maxsize=1024)
def _steps(own: TimeSum, continuous: bool) -> _Steps:
    states = own.lattice.states
    place = {state: i for i, state in enumerate(states)}
    moves = [
        (state, state | step)
        for state in states
        for step in own.lattice.steps[state]
        if step.bit_count() == 1 or not continuous
    ]
    moves.sort(key=lambda move: (place[move[0]], place[move[1]]))
    alive = {state: own.alive(state) for state in states}
    kept = [() if continuous else tuple(sorted({*alive[a]} & {*alive[b]})) for a, b in moves]
    return _Steps(
        Triangle(len(states), tuple((place[a], place[b]) for a, b in moves)),
        tuple(alive[state] for state in states[1:]),
        tuple(kept),
    )


def _couplings(steps: _Steps, rates: Sequence[Array]) -> list[Array | None]:
    """Π (1 − s_e) over the edges that stay alive in a step."""
    return [reduce(jnp.multiply, [1 - rates[e] for e in edges]) if edges else None for edges in steps.kept]


def _times(a: Array, b: Array) -> Array:
    """The product, 0 also where one factor is 0 and the other overflows."""
    return jnp.where((b == 0) & jnp.isinf(a), 0, a) * jnp.where((a == 0) & jnp.isinf(b), 0, b)


def _dtype(structure: TimeSum, rates: Sequence[ArrayLike], *more: ArrayLike) -> Any:
    if len(rates) != len(structure.edges):
        raise ValueError(f"{len(rates)} rates for {len(structure.edges)} edges: every edge needs its own")
    return jnp.promote_types(jnp.result_type(float, *map(jnp.asarray, rates), *more), jnp.float32)


def _checked(T: np.ndarray) -> np.ndarray:
    if not np.all((T >= 0) & (T <= 2**31) & (T == np.floor(T))):
        raise ValueError(f"T={T} is no number of updates: the discrete sum takes integers from 0 to 2**31")
    return T.astype(np.uint32)
