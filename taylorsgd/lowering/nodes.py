r"""The nodes of sums over time, with all their digits: Π_e (1 − s_e) and Σ_e s_e.

x^T with T = 10⁶ needs log|x| to an absolute error of 10⁻¹⁶, which a rounded 1 − s has lost. Even a sum of
log1p(−s_e) loses it where rates of both signs cancel, and XLA's double-precision `log1p` is off by up to
10² units in the last place. So the product is carried as an unevaluated sum hi + lo of two floating-point
numbers; then

    log|x| = log|hi| + lo/hi,        1 − x = (1 − hi) − lo

are good to a few units in the last place: near x = 1 the subtraction is exact, and log is accurate there.

(Dekker 1971, Knuth 1969: sums and products of two floating-point numbers without error.)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["Node", "complement_of_decays", "product_of_decays", "total_rate"]


OnGrid = Float[Array, "*grid"]
"""A number for every combination of eigenvalues: arrays that broadcast against each other."""


class Node(NamedTuple):
    """What one interval carries per update, x.

    Attributes:
        value: x, rounded.
        log: log|x|, accurate in absolute and relative terms; −∞ for x = 0. It carries no derivative: those of
            powers of x are taken by `value`.
    """

    value: OnGrid
    log: OnGrid


def product_of_decays(rates: Sequence[OnGrid]) -> Node:
    """The product x = Π_e (1 − s_e) over the edges that are alive in an interval, and log|x|.

    Args:
        rates: s_e = ηλ_e, floating-point arrays that broadcast; dimensionless; one or more.

    Returns:
        Value and logarithm, of the broadcast shape.

    Example:
        >>> node = product_of_decays([jnp.float32(1e-9), jnp.float32(-1e-9), jnp.float32(1e-12)])
        >>> print(node.value, node.log)
        1.0 -1e-12
    """
    return Node(*_decay(tuple(rates))[:2])


def complement_of_decays(rates: Sequence[OnGrid]) -> OnGrid:
    """What is lost, 1 − Π_e (1 − s_e), without the rounding of 1 − s_e.

    Args:
        rates: s_e = ηλ_e, floating-point arrays that broadcast; dimensionless; one or more.

    Returns:
        An array of the broadcast shape.

    Example:
        >>> print(complement_of_decays([jnp.float32(1e-9), jnp.float32(1e-9)]))
        2e-09
    """
    return _decay(tuple(rates))[2]


@jax.custom_jvp
def total_rate(rates: tuple[OnGrid, ...]) -> OnGrid:
    """The sum Σ_e s_e over the edges that are alive in an interval, rounded once.

    Args:
        rates: s_e = ηλ_e, floating-point arrays that broadcast; dimensionless; one or more.

    Returns:
        An array of the broadcast shape.

    Example:
        >>> print(total_rate((jnp.float32(1e8), jnp.float32(1.5), jnp.float32(-1e8))))
        1.5
    """
    total, error = rates[0], jnp.zeros_like(rates[0])
    for rate in rates[1:]:
        total, lost = _two_sum(total, rate)
        error = error + lost
    return total + jnp.where(jnp.isfinite(error), error, 0)


@total_rate.defjvp
def _total_rate_jvp(primals: tuple[tuple[OnGrid, ...]], tangents: tuple[tuple[OnGrid, ...]]) -> tuple[OnGrid, OnGrid]:
    value = total_rate(*primals)
    return value, jnp.broadcast_to(sum(tangents[0]), value.shape)


@jax.custom_jvp
def _decay(rates: tuple[OnGrid, ...]) -> tuple[OnGrid, OnGrid, OnGrid]:
    """x, log|x| and 1 − x for x = Π (1 − s); of complex rates log x, from its digits in single."""
    if any(jnp.iscomplexobj(rate) for rate in rates):
        logs = [jnp.where(rate == 1, -jnp.inf, jnp.log1p(-jnp.where(rate == 1, 0, rate))) for rate in rates]
        value, log = reduce(jnp.multiply, [1 - rate for rate in rates]), reduce(jnp.add, logs)
        return value, log, jnp.where(value == 0, 1, -jnp.expm1(jnp.where(value == 0, 0, log)))
    high, low = _two_sum(jnp.ones_like(rates[0]), -rates[0])
    for rate in rates[1:]:
        factor, rest = _two_sum(jnp.ones_like(rate), -rate)
        product, error = _two_product(high, factor)
        high, low = _two_sum(product, error + (high * rest + low * factor))
    low = jnp.where(jnp.isfinite(low), low, 0)
    zero = high == 0
    safe = jnp.where(zero, 1, high)
    log = jnp.where(zero, -jnp.inf, jnp.log(jnp.abs(safe)) + low / safe)
    return high, log, (1 - high) - low


@_decay.defjvp
def _decay_jvp(
    primals: tuple[tuple[OnGrid, ...]], tangents: tuple[tuple[OnGrid, ...]]
) -> tuple[tuple[OnGrid, OnGrid, OnGrid], tuple[OnGrid, OnGrid, OnGrid]]:
    (rates,), (changes,) = primals, tangents
    value, log, complement = _decay(rates)
    # No division by 1 − s: it may vanish.
    change = jnp.zeros_like(value)
    for e, rate_change in enumerate(changes):
        others = [1 - rate for f, rate in enumerate(rates) if f != e]
        change = change - (reduce(jnp.multiply, others) * rate_change if others else rate_change)
    return (value, log, complement), (change, jnp.zeros_like(log), -change)


def _two_sum(a: OnGrid, b: OnGrid) -> tuple[OnGrid, OnGrid]:
    """The rounded sum and what was rounded away."""
    # XLA reassociates constants, (1 + b) − 1 = b, unless the sum is hidden from it.
    total = jax.lax.optimization_barrier(a + b)
    shift = total - a
    return total, (a - (total - shift)) + (b - shift)


def _two_product(a: OnGrid, b: OnGrid) -> tuple[OnGrid, OnGrid]:
    """The rounded product and what was rounded away, also where a compiler fuses multiply and add."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(a: OnGrid) -> tuple[OnGrid, OnGrid]:
    """A number as a sum of two with half as many bits, whose products are exact."""
    finfo = jnp.finfo(a.dtype)
    high = jax.lax.reduce_precision(a, exponent_bits=finfo.nexp, mantissa_bits=(finfo.nmant - 1) // 2)
    return high, a - high
