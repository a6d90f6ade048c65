r"""Divided differences of powers and exponentials, stable wherever their nodes lie, equal ones included.

The divided difference of f at x_0, …, x_m is the entry (0, m) of f(M), with M the bidiagonal matrix that has
the x_i on its diagonal and ones above it (Opitz 1964):

    [x^T; x_0, …, x_m] = (M^T)_{0m} = h_{T−m}(x_0, …, x_m),        [e^{Ty}; y_0, …, y_m] = exp(T·M)_{0m}.

With any upper triangular M, the entry is the sum over all ways 0 → … → m of the product of the couplings
M_{kj} on the way, times the divided difference at the states on the way; one such matrix replaces the sum
over all chains of a branch (see `lowering.eigenbasis_sums`).

Both are found by repeated squaring, with no division, so that equal or vanishing nodes are nothing special.
What keeps the digits:

* The diagonal x_i^n is never squared but written down anew for every n, from an accurate log|x_i|.
* All other terms are positive (for x ≥ 0, and for every real y), so relative errors just add up: a few units
  in the last place per squaring. For negative x the error is bounded by the same sum with |x_i|.
* M^n itself is squared. P_n = M^n − 1, with P_2n = 2P_n + P_n², has the same entries off the diagonal, and
  with a diagonal from expm1 errors that are alike at worst (15 units in the last place for four events and T
  up to 10⁶) and 15 % smaller on average; this is not worth negative terms, x < 0 apart, and expm1.

A derivative is a divided difference with one node twice: ∂/∂x_i [f; …, x_i, …] = [f; …, x_i, x_i, …]. So
they are found in the same way, in the same loop and as accurately as values (`lowering.triangular`), to every
order, and the loops, whose lengths depend on T, are never differentiated.

An entry has the broadcast shape of the nodes on its ways only: where every node has an axis of its own, all
but few entries are small.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import comb, factorial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from taylorsgd.lowering.nodes import Node, OnGrid
from taylorsgd.lowering.triangular import (
    Entry,
    Marks,
    Triangle,
    degree,
    entries_below,
    entry_shape,
    product,
    times_matrix,
    way_exists,
    with_mark,
    without_mark,
)

__all__ = ["signed_power", "triangular_exponential", "triangular_power"]


def triangular_power(
    triangle: Triangle, nodes: Sequence[Node], couplings: Sequence[OnGrid | None], T: OnGrid
) -> OnGrid:
    """The last entry of the first row of M^T, where M_00 = 1 if it is not given.

    The time is that of log2(T) squarings. Differentiable in nodes and couplings, also at 0 and at x = 1.

    Args:
        triangle: which entries M has.
        nodes: the diagonal, or all of it but for its first entry; any shapes that broadcast.
        couplings: for every move k → j the entry M_kj, None for 1; any shapes that broadcast.
        T: unsigned 32-bit integers, a scalar or of a shape that broadcasts with the nodes.

    Returns:
        An array of the broadcast shape.

    Example:
        Two ways from 0 to 2, one of them direct: h_1(1, 1, 1) + 10 · h_2(1, 1).

        >>> from taylorsgd.lowering.nodes import product_of_decays
        >>> one, T = product_of_decays([jnp.array(0.0)]), jnp.uint32(3)
        >>> couplings = [None, jnp.array(10.0), None]
        >>> print(triangular_power(Triangle(3, ((0, 1), (0, 2), (1, 2))), [one, one], couplings, T))
        33.0
    """
    values, logs = tuple(node.value for node in nodes), tuple(node.log for node in nodes)
    return _powers(triangle, ((),), values, logs, tuple(couplings), T)[0]


def triangular_exponential(triangle: Triangle, nodes: Sequence[OnGrid], T: OnGrid) -> OnGrid:
    """The last entry of the first row of exp(T·M), where M_00 = 0 and every move has a coupling 1.

    The time is that of log2(max |y_i T|) squarings. Differentiable in the nodes and in T.

    Args:
        triangle: which entries M has; all ways between two states must be equally long.
        nodes: the diagonal but for its first entry, in units of 1/T; any shapes that broadcast.
        T: a scalar or of a shape that broadcasts with the nodes.

    Returns:
        An array of the broadcast shape.

    Example:
        Two ways, each with T²/2.

        >>> flat, T = jnp.array(0.0), jnp.array(3.0)
        >>> print(triangular_exponential(Triangle(4, ((0, 1), (0, 2), (1, 3), (2, 3))), [flat] * 3, T))
        9.0
    """
    return _exponentials(triangle, ((0, ()),), tuple(nodes), T)[0]


# -- powers ------------------------------------------------------------------------------------------


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _powers(
    triangle: Triangle,
    wanted: tuple[Marks, ...],
    values: tuple[OnGrid, ...],
    logs: tuple[OnGrid, ...],
    couplings: tuple[OnGrid | None, ...],
    T: OnGrid,
) -> tuple[OnGrid, ...]:
    """The entries (0, last; D) of M^T: from M^0 = 1 by n → 2n or 2n + 1 through the binary digits of T."""
    if wanted == ((),) and triangle.size == 2 and len(values) == 1 and couplings == (None,):
        return (_geometric(values[0], logs[0], T),)
    dtype = values[0].dtype
    last = triangle.size - 1
    goals = [(0, last, marks) for marks in wanted]
    pairs = entries_below(triangle, goals)
    known = triangle.size - len(values)  # 1 where the first entry is 1, else 0
    nodes = (*[jnp.ones((), dtype)] * known, *values)
    factors = dict(zip(triangle.moves, couplings, strict=True))
    shapes = [
        jnp.broadcast_shapes(
            T.shape,
            entry_shape(triangle, pair, [x.shape for x in nodes], [() if c is None else c.shape for c in couplings]),
        )
        for pair in pairs
    ]
    repeats = _repeats(triangle, pairs)
    digits = 32 - lax.clz(jnp.max(T)).astype(jnp.int32)

    def step(k: OnGrid, state: tuple[OnGrid, ...]) -> tuple[OnGrid, ...]:
        following = T >> (digits - 1 - k).astype(T.dtype)
        n = following >> 1
        half = {pair: _bounded(entry) for pair, entry in zip(pairs, state, strict=True)}
        for i, x in enumerate(nodes):
            for r in range(repeats[i] + 1):
                half[i, i, ((i, i),) * r] = _power(x, logs[i - known], n, r) if i >= known else x
        # M^{2n+1} as (M^n M) M^n, not M^{2n} M: there a factor may overflow though the product does not.
        odd = (following & 1) == 1
        other = {
            entry: _bounded(jnp.where(odd, times_matrix(triangle, entry, half, nodes, factors), value))
            for entry, value in half.items()
        }
        return tuple(
            jnp.broadcast_to(product(triangle, pair, other, half), shape)
            for pair, shape in zip(pairs, shapes, strict=True)
        )

    start = tuple(jnp.zeros(shape, dtype) for shape in shapes)
    found = dict(zip(pairs, lax.fori_loop(0, digits, step, start), strict=True))
    return tuple(found[goal] for goal in goals)


def _geometric(x: OnGrid, log: OnGrid, T: OnGrid) -> OnGrid:
    """1 + x + … + x^{T−1} = (1 − x^T)/(1 − x), with an accurate log|x|: near x = 1 nothing cancels.

    It is what one event needs, for all eigendirections of its edges at once, and its derivatives are divided
    differences with x in them twice.
    """
    exponent = jnp.where(T == 0, 0, T.astype(log.dtype) * jnp.where(T == 0, 0, log))
    lost = jnp.where(x < 0, 1 - x, -jnp.expm1(log))
    odd_below = (x < 0) & ((T & 1) == 1)
    above = jnp.where(x < 0, 1 - jnp.where(odd_below, -1, 1) * jnp.exp(exponent), -jnp.expm1(exponent))
    flat = lost == 0
    return jnp.where(flat, T.astype(log.dtype), above / jnp.where(flat, 1, lost))


def _powers_jvp(
    triangle: Triangle, wanted: tuple[Marks, ...], primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[tuple[OnGrid, ...], tuple[OnGrid, ...]]:
    changes: list[tuple[tuple[int, int], OnGrid]] = [
        *(
            ((i, i), change)
            for i, change in enumerate(tangents[0], start=triangle.size - len(tangents[0]))
            if _changes(change)
        ),
        *((move, change) for move, change in zip(triangle.moves, tangents[2], strict=True) if _changes(change)),
    ]
    last = triangle.size - 1
    terms = [
        [
            (change, *with_mark(marks, mark))
            for mark, change in changes
            if way_exists(triangle, (0, last, with_mark(marks, mark)[0]))
        ]
        for marks in wanted
    ]
    needed = tuple(dict.fromkeys((*wanted, *(more for row in terms for _, more, _ in row))))
    found = dict(zip(needed, _powers(triangle, needed, *primals), strict=True))
    return tuple(found[marks] for marks in wanted), tuple(
        sum((change * (found[more] * count) for change, more, count in row), start=jnp.zeros_like(found[marks]))
        for marks, row in zip(wanted, terms, strict=True)
    )


_powers.defjvp(_powers_jvp, symbolic_zeros=True)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def signed_power(repeats: int, x: OnGrid, log: OnGrid, n: OnGrid) -> OnGrid:
    """C(n, r) x^{n−r} with an accurate log|x|, differentiable in x as often as one likes.

    Args:
        repeats: r.
        x: any floating-point numbers.
        log: log|x|.
        n: unsigned integers.

    Example:
        >>> print(jax.grad(lambda x: signed_power(0, x, jnp.log(jnp.abs(x)), jnp.uint32(3)))(-2.0))
        12.0
    """
    return _power(x, log, n, repeats)


@signed_power.defjvp
def _signed_power_jvp(repeats: int, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[OnGrid, OnGrid]:
    # d C(n, r) x^{n−r} = (r + 1) C(n, r + 1) x^{n−r−1} dx
    slope = (repeats + 1) * signed_power(repeats + 1, *primals)
    return signed_power(repeats, *primals), slope * tangents[0]


def _power(x: OnGrid, log: OnGrid, n: OnGrid, repeats: int) -> OnGrid:
    """The signed C(n, r) x^{n−r}, for n ≥ 0 not above the largest number, so that 0 · x^n stays 0."""
    left = jnp.where(n > repeats, n - repeats, 0)
    if jnp.iscomplexobj(x):
        size = jnp.where(x == 0, 0, _exponential(left * jnp.where(x == 0, 0, log)))
        size = jnp.where(left == 0, 1, size)
    else:
        size = _exponential(left.astype(log.dtype) * log)
        size = jnp.where(left == 0, 1, jnp.where((x < 0) & ((left & 1) == 1), -size, size))
    for r in range(repeats):
        size = _bounded(size * (jnp.where(n > r, n - r, 0).astype(log.dtype) / (r + 1)))
    return size


# -- exponentials ------------------------------------------------------------------------------------


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _exponentials(
    triangle: Triangle, wanted: tuple[tuple[int, Marks], ...], nodes: tuple[OnGrid, ...], T: OnGrid
) -> tuple[OnGrid, ...]:
    """The entries (i, last; D) of exp(T·M).

    The entries of exp(h·M), divided by their powers of h, start from a Taylor series at a small h = T/2^J and
    are doubled J times; for the last time as they are, so that neither T^m nor the quotients overflow.
    """
    dtype = jnp.result_type(T, *nodes)
    last = triangle.size - 1
    goals = [(i, last, marks) for i, marks in wanted]
    pairs = entries_below(triangle, goals)
    exponents = [jnp.zeros((), dtype), *(jnp.asarray(node * T, dtype) for node in nodes)]
    shapes = [entry_shape(triangle, pair, [y.shape for y in exponents], [()] * len(triangle.moves)) for pair in pairs]
    shapes = [jnp.broadcast_shapes(T.shape, shape) for shape in shapes]
    repeats = _repeats(triangle, [*pairs, *goals])
    largest = jnp.stack([jnp.max(jnp.abs(exponent), initial=0) for exponent in exponents]).max()
    doublings = jnp.clip(jnp.frexp(largest)[1] + _HALVINGS, 1, -jnp.finfo(dtype).minexp)
    # 2^{−J} by halving: exact on every machine, unlike a power.
    scale = lax.fori_loop(0, doublings, lambda _, h: h / 2, jnp.ones((), dtype))

    def with_diagonal(h: OnGrid, state: Sequence[OnGrid]) -> dict[Entry, OnGrid]:
        entries = {pair: _bounded(entry) for pair, entry in zip(pairs, state, strict=True)}
        for i, exponent in enumerate(exponents):
            value = _exponential(exponent * h)
            for r in range(repeats[i] + 1):
                entries[i, i, ((i, i),) * r] = value / factorial(r)
        return entries

    def step(_: OnGrid, state: tuple[OnGrid, tuple[OnGrid, ...]]) -> tuple[OnGrid, tuple[OnGrid, ...]]:
        entries = with_diagonal(*state)
        return 2 * state[0], tuple(
            jnp.broadcast_to(product(triangle, pair, entries, entries) * 0.5 ** degree(triangle, pair), shape)
            for pair, shape in zip(pairs, shapes, strict=True)
        )

    series = _series(triangle, pairs, [exponent * scale for exponent in exponents], repeats)
    start = tuple(jnp.broadcast_to(series[pair], shape) for pair, shape in zip(pairs, shapes, strict=True))
    h, state = lax.fori_loop(0, doublings - 1, step, (scale, start))
    entries = with_diagonal(h, state)
    for entry in entries:
        for _ in range(degree(triangle, entry)):
            entries[entry] = entries[entry] * (T * h)
        entries[entry] = _bounded(entries[entry])
    return tuple(product(triangle, goal, entries, entries) for goal in goals)


def _exponentials_jvp(
    triangle: Triangle, wanted: tuple[tuple[int, Marks], ...], primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[tuple[OnGrid, ...], tuple[OnGrid, ...]]:
    nodes, _ = primals
    last = triangle.size - 1
    rows: list[list[tuple[OnGrid, tuple[int, Marks]]]] = []
    for i, marks in wanted:
        row = []
        for s, change in enumerate(tangents[0], start=1):
            more, count = with_mark(marks, (s, s))
            if _changes(change) and way_exists(triangle, (i, last, more)):
                row.append((change * count, (i, more)))
        if _changes(tangents[1]):
            # The row i of M exp(T·M).
            if i > 0:
                row.append((tangents[1] * nodes[i - 1], (i, marks)))
            if (i, i) in marks:
                row.append((tangents[1], (i, without_mark(marks, (i, i)))))
            row.extend(
                (tangents[1], (j, marks))
                for k, j in triangle.moves
                if k == i and way_exists(triangle, (j, last, marks))
            )
        rows.append(row)
    needed = tuple(dict.fromkeys((*wanted, *(entry for row in rows for _, entry in row))))
    found = dict(zip(needed, _exponentials(triangle, needed, *primals), strict=True))
    return tuple(found[entry] for entry in wanted), tuple(
        sum((change * found[more] for change, more in row), start=jnp.zeros_like(found[entry]))
        for entry, row in zip(wanted, rows, strict=True)
    )


_exponentials.defjvp(_exponentials_jvp, symbolic_zeros=True)

_HALVINGS = 4
"""The Taylor series is summed where |y h| ≤ 2^{−4}: ten terms in float64, five in float32."""


def _series(
    triangle: Triangle, pairs: Sequence[Entry], nodes: Sequence[OnGrid], repeats: Sequence[int]
) -> dict[Entry, OnGrid]:
    """The entries of exp(M) for small nodes, Σ_n (M^n)_{ij; D} / n!."""
    dtype = nodes[0].dtype
    terms, size = 0, 1.0
    while size > jnp.finfo(dtype).eps / 8:
        terms += 1
        size *= 0.5**_HALVINGS / terms
    ones = dict.fromkeys(triangle.moves)
    degrees = {pair: degree(triangle, pair) for pair in pairs}
    total: dict[Entry, OnGrid] = {}
    power: dict[Entry, OnGrid] = {}
    for n in range(max(degrees.values(), default=0) + terms + 1):
        # M^n, whose entry (i, j; D) is homogeneous of degree n − degree(i, j; D) in the nodes.
        power = {
            pair: times_matrix(triangle, pair, power, nodes, ones)
            for pair, lowest in degrees.items()
            if lowest <= n <= lowest + terms
        }
        for pair, entry in power.items():
            total[pair] = total.get(pair, 0) + entry / factorial(n)
        for i, node in enumerate(nodes):
            for r in range(min(repeats[i], n) + 1):
                power[i, i, ((i, i),) * r] = comb(n, r) * node ** (n - r)
    return total


# -- both --------------------------------------------------------------------------------------------


def _repeats(triangle: Triangle, entries: Sequence[Entry]) -> list[int]:
    """How often a state is marked at most."""
    return [max((marks.count((s, s)) for _, _, marks in entries), default=0) for s in range(triangle.size)]


def _changes(tangent: Any) -> bool:
    return tangent is not None and not isinstance(tangent, SymbolicZero)


def _exponential(exponent: OnGrid) -> OnGrid:
    """e^y, not above the largest number."""
    largest = _largest_exponent(jnp.finfo(exponent.dtype).dtype)
    if jnp.iscomplexobj(exponent):
        return jnp.exp(lax.complex(jnp.minimum(exponent.real, largest), exponent.imag))
    return jnp.exp(jnp.minimum(exponent, largest))


def _bounded(entry: OnGrid) -> OnGrid:
    """No infinities: where another factor is 0 the product is 0, and elsewhere it overflows anyway."""
    largest = jnp.finfo(entry.dtype).max
    if jnp.iscomplexobj(entry):
        return lax.complex(jnp.clip(entry.real, -largest, largest), jnp.clip(entry.imag, -largest, largest))
    return jnp.clip(entry, -largest, largest)


def _largest_exponent(dtype: Any) -> float:
    finfo = np.finfo(dtype)
    return float(np.log(finfo.max) * (1 - 2 * finfo.eps))
