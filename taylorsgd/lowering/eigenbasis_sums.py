r"""Sums over the times of a diagram's nodes as JAX arrays: accurate wherever the eigenvalues lie.

The numeric face of `timesums.closed_forms`: a branch is a sum of divided differences over chains of down-sets.
These are not evaluated one by one, for they are the ways through one triangular matrix M. Its states are the
down-sets of the lattice; with s_e = ηλ_e for the edge e the diagonal entry of a state is

    x = Π_e (1 − s_e)    or    y = −Σ_e s_e    over the edges alive after it,

and a step costs 1 − s_e for every edge that is alive before and after it. So for a branch of m events that do not
depend on each other before the last there are 2^{m−1} + 1 states instead of all weak orderings. The sum is
the last entry in the first row of M^T, the integral that of exp(T·M) (`lowering.divided`), in which steps of more
than one event have no volume. As T → ∞ they tend to that of 1/(1 − M), resp. −1/M.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from taylorsgd.lowering.divided import triangular_exponential, triangular_power
from taylorsgd.lowering.nodes import complement_of_decays, product_of_decays, total_rate
from taylorsgd.lowering.triangular import Triangle
from taylorsgd.timesums.events import TimeSum

__all__ = ["branch_limits", "branch_sums", "time_sum", "time_sum_limit"]


def time_sum(times: TimeSum, rates: Sequence[ArrayLike], T: ArrayLike, *, continuous: bool) -> Float[Array, ...]:
    """The sum over times, or the integral, for given rates and T.

    Without division, so equal, nearly equal and vanishing rates are nothing special. Where no 1 − s_e is
    negative every term is positive and the result is accurate to a few units in the last place per binary
    digit of T (or of |s|T); otherwise the error is bounded by that of the same sum with |1 − s_e|.

    Rates and T are traced: one compilation serves all of one shape. Derivatives of every order in the rates,
    and in T if continuous, are as accurate as the value.

    Args:
        times: the events, and the edges between them.
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
    sums = branch_sums(times, rates, T, continuous=continuous)
    return reduce(_times, sums) if sums else jnp.ones(())


def branch_sums(
    times: TimeSum, rates: Sequence[ArrayLike], T: ArrayLike, *, continuous: bool
) -> tuple[Float[Array, ...], ...]:
    """The independent factors of the sum over times, each of the broadcast shape of its own edges' rates.

    Args:
        times: the events, and the edges between them.
        rates: as in `time_sum`.
        T: as in `time_sum`.
        continuous: as in `time_sum`.

    Returns:
        One array for each of `times.branches`.

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
        dtype = _dtype(times, rates, *([T] if jnp.issubdtype(T.dtype, jnp.floating) else []))
        T = T.astype(dtype)
    else:
        dtype = _dtype(times, rates)
        T = jnp.asarray(T if isinstance(T, Tracer) else _checked(np.asarray(T))).astype(jnp.uint32)
    return _branch_sums(times, tuple(jnp.asarray(rate, dtype) for rate in rates), T, continuous)


def time_sum_limit(times: TimeSum, rates: Sequence[ArrayLike], *, continuous: bool) -> Float[Array, ...]:
    """The limit of the sum over times as T → ∞.

    It is infinite, or without a meaning, unless every |x_i| < 1 (every Σ s_e > 0 if continuous): along a flat
    direction the sum grows for ever.

    Args:
        times: the events, and the edges between them.
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
    limits = branch_limits(times, rates, continuous=continuous)
    return reduce(jnp.multiply, limits, jnp.ones((), _dtype(times, rates)))


def branch_limits(times: TimeSum, rates: Sequence[ArrayLike], *, continuous: bool) -> tuple[Float[Array, ...], ...]:
    """The independent factors of the limit, as `branch_sums` of the sum; arguments as in `time_sum_limit`."""
    dtype = _dtype(times, rates)
    arrays = [jnp.asarray(rate, dtype) for rate in rates]
    return tuple(
        _branch_limit(own, tuple(arrays[e] for e in labels), dtype, continuous) for _, labels, own in times.branches
    )


@partial(jax.jit, static_argnums=(0, 3))
def _branch_sums(times: TimeSum, rates: tuple[Array, ...], T: Array, continuous: bool) -> tuple[Array, ...]:
    return tuple(_branch_sum(own, tuple(rates[e] for e in labels), T, continuous) for _, labels, own in times.branches)


def _branch_sum(own: TimeSum, rates: tuple[Array, ...], T: Array, continuous: bool) -> Array:
    if not own.possible:
        return jnp.zeros(jnp.broadcast_shapes(T.shape, *(rate.shape for rate in rates)), jnp.result_type(*rates))
    triangle, alive, couplings = _matrix(own, rates, continuous)
    if continuous:
        return triangular_exponential(triangle, [-total_rate(interval) for interval in alive], T)
    return triangular_power(triangle, [product_of_decays(interval) for interval in alive], couplings, T)


def _branch_limit(own: TimeSum, rates: tuple[Array, ...], dtype: Any, continuous: bool) -> Array:
    """The same for 1/(1 − M), or −1/M: each state once, the last first."""
    if not own.possible:
        return jnp.zeros((), dtype)
    triangle, alive, couplings = _matrix(own, rates, continuous)
    lost = total_rate if continuous else complement_of_decays
    limits = {triangle.size - 1: jnp.ones((), dtype)}
    for state in reversed(range(triangle.size)):
        for (before, after), coupling in zip(triangle.moves, couplings, strict=True):
            if before == state:
                term = limits[after] if coupling is None else coupling * limits[after]
                limits[state] = limits.get(state, jnp.zeros((), dtype)) + term
        if state > 0:
            limits[state] = limits[state] / lost(alive[state - 1])
    return limits[0]


def _matrix(
    own: TimeSum, rates: Sequence[Array], continuous: bool
) -> tuple[Triangle, list[tuple[Array, ...]], list[Array | None]]:
    """The entries of M, the rates alive after each down-set but the first, and Π (1 − s_e) for every step."""
    triangle = Triangle.of_lattice(own.lattice, ties=not continuous)
    alive = [own.alive(state) for state in own.lattice.states]
    kept = [() if continuous else [1 - rates[e] for e in alive[i] if e in alive[j]] for i, j in triangle.moves]
    couplings = [reduce(jnp.multiply, decays) if decays else None for decays in kept]
    return triangle, [tuple(rates[e] for e in edges) for edges in alive[1:]], couplings


def _times(a: Array, b: Array) -> Array:
    """The product, 0 also where one factor is 0 and the other overflows."""
    return jnp.where((b == 0) & jnp.isinf(a), 0, a) * jnp.where((a == 0) & jnp.isinf(b), 0, b)


def _dtype(times: TimeSum, rates: Sequence[ArrayLike], *more: ArrayLike) -> Any:
    if len(rates) != len(times.edges):
        raise ValueError(f"{len(rates)} rates for {len(times.edges)} edges: every edge needs its own")
    return jnp.promote_types(jnp.result_type(float, *map(jnp.asarray, rates), *more), jnp.float32)


def _checked(T: Float[np.ndarray, "*sizes"]) -> Float[np.ndarray, "*sizes"]:
    if not np.all((T >= 0) & (T <= 2**31) & (T == np.floor(T))):
        raise ValueError(f"T={T} is no number of updates: the discrete sum takes integers from 0 to 2**31")
    return T.astype(np.uint32)
