"""E[l(θ_T)] of SGD in one dimension, against the sum over all words."""

from __future__ import annotations

from itertools import product

import pytest
from sympy import Rational, Symbol, diff, lambdify, symbols

import taylorsgd as ts
from taylorsgd.reproducing.tenka.exact_expectations import Expectations


def test_expectations_are_sums_over_all_words() -> None:
    x = Symbol("x")
    losses = [x**2 / 2 + x**3 / 6 + x**4 / 8 + x, x**2 / 2 + x**4 / 8 - x / 2]
    place = ts.FiniteLandscape(losses, [Rational(1, 3), Rational(2, 3)], [x])
    exact = Expectations(place, 0.2, (-2.0, 2.0), 40)
    slopes = [lambdify(x, diff(loss, x)) for loss in losses]
    total = 0.0
    for word in product((0, 1), repeat=6):
        theta, weight = 0.3, 1.0
        for letter in word:
            theta -= 0.2 * slopes[letter](theta)
            weight *= (1 / 3, 2 / 3)[letter]
        total += weight * lambdify(x, place.loss)(theta)
    assert exact.test_loss(0.3, 6) == pytest.approx(total, abs=1e-13)
    assert exact.test_loss(0.3, 2**12) == pytest.approx(exact.limit(), abs=1e-9)
    assert Expectations(place, 0.2, (-2.0, 2.0), 60).limit() == pytest.approx(exact.limit(), abs=1e-12)


def test_expectations_refuse_what_they_are_not_for() -> None:
    x, y = symbols("x y")
    with pytest.raises(ValueError, match="has 2 variables"):
        Expectations(ts.FiniteLandscape([x * y], [1], [x, y]), 0.1, (-1.0, 1.0))
    with pytest.raises(ValueError, match=r"interval=\(-1.0, 1.0\) is left by an update with η = 0.1"):
        Expectations(ts.FiniteLandscape([-(x**2)], [1], [x]), 0.1, (-1.0, 1.0))
