"""The second moments of linear regression in JAX: the exact ones, step by step and by squaring."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from sympy import Rational

import taylorsgd as ts
from taylorsgd.landscapes import linear_regression, moment_curves
from taylorsgd.symbols import eta

HEAVY = ts.HeavyBall(Rational(1, 3))
RULES = [
    None,
    HEAVY,
    ts.HeavyBall(Rational(-1, 2), decay=Rational(1, 10)),
    ts.HeavyBall(Rational(1, 3), convention="torch"),
    ts.Nesterov(Rational(1, 3)),
    ts.Nesterov(Rational(1, 3), convention="sutskever"),
    ts.Descent(decay=Rational(1, 5)),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("wide", [False, True])
def test_curves_are_the_exact_moments(rule: Any, wide: bool, x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = linear_regression([1, Rational(1, 2), Rational(1, 7)], Rational(1, 2), start=[1, -2, 3])
    recursion = toy.in_many_dimensions([1, 2, 3]) if wide else toy.recursion
    times = [7, 0, 40, 1, 7]
    exact = [recursion.moments(Rational(1, 5), time, 3, rule) for time in times]
    for squares in (True, False):
        monkeypatch.setattr(moment_curves, "_squares_are_cheaper", lambda *_, squares=squares: squares)
        found = recursion.curve(0.2, times, 3, rule)
        assert found.times.tolist() == times
        np.testing.assert_allclose(found.test_loss, [float(one.test_loss) for one in exact], rtol=1e-12)
        np.testing.assert_allclose(found.mean, [[float(x) for x in one.mean] for one in exact], rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(found.second, [[float(x) for x in one.second] for one in exact], rtol=1e-11)


def test_curves_keep_their_digits_over_a_million_updates(x64: None) -> None:
    """One direction in closed form, M_T = M_∞ + a^T (M_0 − M_∞), with 60 digits."""
    rate, curvature, updates = 1e-3, 1e-6, 10**6
    with mpmath.workdps(60):
        step = mpmath.mpf("1e-3") * mpmath.mpf("1e-6")
        kept = 1 - 2 * step + 3 * step**2  # 1 + 1/B = 2, and 1/B more through s
        rest = mpmath.mpf("1e-3") ** 2 * mpmath.mpf("1e-6") / (1 - kept)
        second = rest + kept**updates * (1 - rest)
        mean = (1 - step) ** updates
        expected = [float(mean), float(second)]
    assert moment_curves._squares_are_cheaper(1, 1, updates, 1)
    found = linear_regression([curvature], 1).curve(rate, updates, 1)
    np.testing.assert_allclose([found.mean[0, 0], found.second[0, 0]], expected, rtol=1e-13)


def test_the_cheaper_way_is_taken() -> None:
    cheaper = moment_curves._squares_are_cheaper
    assert cheaper(1, 10, 10**6, 1) and not cheaper(1, 1000, 10, 1)
    assert not cheaper(1, 5000, 100, 1) and not cheaper(1, 10_000, 10**6, 1)


def test_curves_are_differentiable_in_the_rate(x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    toy = linear_regression([2, 1], 1)
    slope = toy.moments(eta, 9, 2).test_loss.diff(eta).subs(eta, Rational(1, 10))
    for squares in (True, False):
        monkeypatch.setattr(moment_curves, "_squares_are_cheaper", lambda *_, squares=squares: squares)
        found = jax.jacfwd(lambda rate: toy.curve(rate, 9, 2).test_loss[0])(0.1)
        assert float(found) == pytest.approx(float(slope), rel=1e-10)
    many = jax.vmap(lambda rate: toy.curve(rate, [0, 9], 2).test_loss)(jax.numpy.array([0.1, 0.2]))
    assert many.shape == (2, 2)
    assert float(many[1, 1]) == pytest.approx(float(toy.moments(0.2, 9, 2).test_loss), rel=1e-10)
