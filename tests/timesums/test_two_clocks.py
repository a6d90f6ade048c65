r"""Sums over several epochs against the sum over all batches and epochs, term by term.

Identities, for any tree order on up to three nodes, any parts, n and E up to 3:
    (1) closed_time_sum = Σ over the batch of every part and the epoch of every node of Π κ^{Δt − 1}, as rationals
    (2) the same with matrices on the edges, and for E → ∞ the same as closed_time_sum's limit
    (3) pieces of one branch do not depend on those of another; a link is one more node
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy import QQ, Integer, Rational, oo

from taylorsgd.timesums.closed_forms import closed_time_sum
from taylorsgd.timesums.epoch_walks import epoch_tensor
from taylorsgd.timesums.events import ROOT
from taylorsgd.timesums.two_clocks import EpochSum

Shape = tuple[tuple[int, ...], tuple[int, ...]]


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Where the edge of every node leads, and its part."""
    count = draw(st.integers(1, 3))
    targets = tuple(draw(st.sampled_from([ROOT, *range(v)])) for v in range(count))
    return targets, tuple(draw(st.integers(0, count - 1)) for _ in range(count))


def one_by_one(shape: Shape, n: int, epochs: int, kappa: Any) -> Fraction:
    targets, parts = shape
    names = sorted(set(parts))
    total = Fraction(0)
    for batches in product(range(n), repeat=len(names)):
        for chosen in product(range(epochs), repeat=len(parts)):
            times = [n * epoch + batches[names.index(part)] for epoch, part in zip(chosen, parts, strict=True)]
            gaps = [(n * epochs if t == ROOT else times[t]) - times[v] for v, t in enumerate(targets)]
            if min(gaps) > 0:
                total += prod(kappa[v] ** (gap - 1) for v, gap in enumerate(gaps))
    return total


@given(shapes(), st.integers(1, 3), st.integers(0, 3), st.lists(st.integers(1, 9), min_size=3, max_size=3))
def test_closed_form(shape: Shape, n: int, epochs: int, numbers: list[int]) -> None:
    kappa = [Fraction(number, 10 + v) for v, number in enumerate(numbers)]
    rates = [1 - Rational(k.numerator, k.denominator) for k in kappa]
    times = EpochSum(shape[0], Integer(n), Integer(epochs), shape[1])
    closed = closed_time_sum(times, rates, times.T, continuous=False)
    truth = one_by_one(shape, n, epochs, kappa)
    assert closed == Rational(truth.numerator, truth.denominator)


@given(shapes(), st.integers(1, 3), st.sampled_from([0, 1, 2, 3, oo]))
def test_matrices(shape: Shape, n: int, epochs: Any) -> None:
    """K with the eigenvalues ½ and −⅓ has entries that the closed form gives, direction by direction."""
    values, vectors = [QQ(1, 2), QQ(-1, 3)], np.array([[QQ(1), QQ(1)], [QQ(2), QQ(3)]], dtype=object)
    inverse = np.array([[QQ(3), QQ(-1)], [QQ(-2), QQ(1)]], dtype=object)
    damped = vectors @ np.diag(values).astype(object) @ inverse
    times = EpochSum(shape[0], Integer(n), epochs if epochs is oo else Integer(epochs), shape[1])
    found = epoch_tensor(times, damped, QQ(1), QQ)
    edges = len(shape[0])
    for axis in range(2 * edges):  # into the eigenbasis
        found = np.moveaxis(
            np.tensordot(found, vectors if axis % 2 else inverse, axes=(axis, 0 if axis % 2 else 1)), -1, axis
        )
    for index in product(range(2), repeat=2 * edges):
        starts, ends = index[::2], index[1::2]
        closed = Integer(0)
        if starts == ends:
            rates = [1 - Rational(int(values[i].numerator), int(values[i].denominator)) for i in starts]
            closed = closed_time_sum(times, rates, oo if epochs is oo else times.T, continuous=False)
        assert QQ.to_sympy(QQ(found[index])) == closed


def test_branches_and_links() -> None:
    fork = EpochSum((ROOT, 0, 0, ROOT, ROOT), Integer(2), Integer(2), (0, 1, 1, 2, 2))
    assert [labels for labels, _ in fork.branches] == [(0, 1, 2), (3, 4)]
    assert not fork.is_untied and EpochSum((ROOT, 0), Integer(2), Integer(2), (0, 1)).is_untied
    linked = fork.linked(1)
    assert linked.targets == (ROOT, 5, 0, ROOT, ROOT, 0) and linked.parts == (0, 1, 1, 2, 2, 3)
    kappa = [Fraction(k, 7) for k in range(1, 7)]
    split = [([0, 1, 2, 5], ((ROOT, 3, 0, 0), (0, 1, 1, 3))), ([3, 4], ((ROOT, ROOT), (0, 0)))]
    whole = prod(one_by_one(shape, 2, 2, [kappa[e] for e in own]) for own, shape in split)
    rates = [1 - Rational(k.numerator, k.denominator) for k in kappa]
    assert closed_time_sum(linked, rates, linked.T, continuous=False) == Rational(whole.numerator, whole.denominator)


def test_what_is_no_sum_is_refused() -> None:
    for targets, parts in [((0, 0), (0, 0)), ((1,), (0,)), ((-2,), (0,)), ((ROOT,), ()), ((ROOT,), ("a",))]:
        with pytest.raises(ValueError, match="targets|parts"):
            EpochSum(targets, Integer(2), Integer(2), parts)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="N/B=1/2 is not an integer"):
        epoch_tensor(EpochSum((ROOT,), Rational(1, 2), Integer(1), (0,)), np.array([[QQ(1)]], dtype=object), QQ(1))
