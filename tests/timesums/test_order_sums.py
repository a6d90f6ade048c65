r"""Sums over drawn orders against the sum over all batches and epochs, term by term.

Identities, for any tree order on up to three nodes, any events and groups, n and E up to 3:
    (1) closed_time_sum = Σ over the batch of every event and the epoch of every group of Π κ^{Δt − 1}, as rationals
    (2) the same in JAX, and with matrices on the edges; for E → ∞ these agree with each other
    (3) a link is one more node
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import QQ, Integer, Rational, oo

from taylorsgd.lowering.epoch_powers import epoch_sums
from taylorsgd.timesums.closed_forms import closed_time_sum
from taylorsgd.timesums.epoch_walks import epoch_tensor
from taylorsgd.timesums.events import ROOT
from taylorsgd.timesums.order_sums import OrderSum

Shape = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Where the edge of every node leads, its event and its group."""
    count = draw(st.sampled_from([3, 2, 1]))
    targets = tuple(draw(st.sampled_from([ROOT, *range(v)])) for v in range(count))
    groups = tuple(draw(st.sampled_from(range(count - 1, -1, -1))) for _ in range(count))
    return targets, tuple(10 * group + draw(st.sampled_from([2, 1, 0])) for group in groups), groups


def one_by_one(shape: Shape, n: int, epochs: int, kappa: Any) -> Fraction:
    targets, events, groups = shape
    batches, classes = sorted(set(events)), sorted(set(groups))
    total = Fraction(0)
    for chosen in product(range(n), repeat=len(batches)):
        for where in product(range(epochs), repeat=len(classes)):
            times = [
                n * where[classes.index(g)] + chosen[batches.index(e)] for e, g in zip(events, groups, strict=True)
            ]
            gaps = [(n * epochs if t == ROOT else times[t]) - times[v] for v, t in enumerate(targets)]
            if min(gaps) > 0:
                total += prod(kappa[v] ** (gap - 1) for v, gap in enumerate(gaps))
    return total


NUMBERS = st.lists(st.integers(1, 9), min_size=3, max_size=3, unique=True)


@given(shapes(), st.integers(1, 3), st.sampled_from([2, 3, 1, 0]), NUMBERS)
@settings(max_examples=60)
def test_closed_form(shape: Shape, n: int, epochs: int, numbers: list[int]) -> None:
    kappa = [Fraction(number, 10 + v) for v, number in enumerate(numbers)]
    rates = [1 - Rational(k.numerator, k.denominator) for k in kappa]
    times = OrderSum(shape[0], Integer(n), Integer(epochs), *shape[1:])
    closed = closed_time_sum(times, rates, times.T, continuous=False)
    truth = one_by_one(shape, n, epochs, kappa)
    assert closed == Rational(truth.numerator, truth.denominator)


@given(shapes(), st.sampled_from([3, 4, 2, 1]), st.sampled_from([3, oo, 2, 1, 0]), NUMBERS)
@settings(max_examples=60)
def test_matrices_and_arrays(shape: Shape, n: int, epochs: Any, numbers: list[int]) -> None:
    rates = [1 - Rational(number, 10 + v) for v, number in enumerate(numbers[: len(shape[0])])]
    times = OrderSum(shape[0], Integer(n), epochs if epochs is oo else Integer(epochs), *shape[1:])
    closed = closed_time_sum(times, rates, oo if epochs is oo else times.T, continuous=False)
    same = closed_time_sum(times, rates[:1] * len(rates), oo if epochs is oo else times.T, continuous=False)
    kappa = 1 - rates[0]
    found = epoch_tensor(times, np.array([[QQ(kappa.p, kappa.q)]], dtype=object), QQ(1), QQ)
    assert QQ.to_sympy(QQ(found.item())) == same
    with jax.enable_x64(True):
        count = None if epochs is oo else jnp.uint32(epochs)
        factors = epoch_sums(times, [jnp.float64(float(rate)) for rate in rates], jnp.uint32(n), count)
        assert float(prod(map(float, factors))) == pytest.approx(float(closed), rel=1e-12, abs=1e-14)


def test_links() -> None:
    pair = OrderSum((ROOT, 0), Integer(3), Integer(2), (0, 1), (0, 0))
    linked = pair.linked(1)
    assert (linked.targets, linked.events, linked.groups) == ((ROOT, 2, 0), (0, 1, 2), (0, 0, 1))
    kappa = [Fraction(k, 5) for k in (1, 2, 3)]
    truth = one_by_one(((ROOT, 2, 0), (0, 1, 2), (0, 0, 1)), 3, 2, kappa)
    rates = [1 - Rational(k.numerator, k.denominator) for k in kappa]
    assert closed_time_sum(linked, rates, linked.T, continuous=False) == Rational(truth.numerator, truth.denominator)
