"""Sums over times that end at two moments, written and as the sum of all their terms."""

from __future__ import annotations

from itertools import product

import pytest
import sympy
from sympy import Integer, Rational

from taylorsgd.timesums.closed_forms import closed_time_sum
from taylorsgd.timesums.events import ROOT, TimeSum
from taylorsgd.timesums.two_moments import TwoMoments

RATES = [Rational(1, 2), Rational(3, 4), Rational(2, 3), Rational(1, 5)]
SUMS = [
    TwoMoments(TimeSum(1, ((0, ROOT), (0, ROOT))), (0,), Integer(2)),
    # an event before the earlier moment leads to one that may be after it
    TwoMoments(TimeSum(2, ((0, ROOT), (0, 1), (1, ROOT))), (0,), Integer(2)),
    TwoMoments(TimeSum(2, ((0, ROOT), (0, 1), (1, ROOT), (1, ROOT))), (0,), Integer(3)),
    TwoMoments(TimeSum(3, ((0, ROOT), (0, 2), (1, 2), (2, ROOT))), (0,), Integer(2)),
    TwoMoments(TimeSum(3, ((0, 1), (1, ROOT), (1, 2), (2, ROOT))), (1,), Integer(3)),
]


@pytest.mark.parametrize("times", SUMS, ids=repr)
@pytest.mark.parametrize("last", [3, 5])
def test_what_is_written_is_the_sum(times: TwoMoments, last: int) -> None:
    assert isinstance(times.times, TimeSum)
    total, first = Integer(0), int(times.first)
    for at in product(range(last), repeat=times.times.events):
        term = Integer(1)
        for e, (source, target) in enumerate(times.times.edges):
            end = (first if e in times.early else last) if target == ROOT else at[target]
            term = term * (1 - RATES[e]) ** (end - at[source] - 1) if at[source] < end else Integer(0)
        total = total + term
    rates = RATES[: len(times.times.edges)]
    assert sympy.simplify(closed_time_sum(times, rates, Integer(last), continuous=False) - total) == 0
