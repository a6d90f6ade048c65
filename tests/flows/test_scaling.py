r"""Scaling rules, held against descent over every training set before and after.

Where B → κB, η → κη, T → T/κ keeps the generator through η, means differ first at η², by T times what the rule says.
"""

from __future__ import annotations

from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.mathtext import MathTextParser
from sympy import Rational

import taylorsgd as ts
from taylorsgd.symbols import eta

x = sympy.Symbol("x")
kappa = sympy.Symbol("kappa", positive=True)
COEFFICIENTS = [Rational(n, d) for n in (-3, -2, -1, 1, 2, 3) for d in (1, 2)]


@given(
    numbers=st.lists(st.sampled_from(COEFFICIENTS), min_size=6, max_size=6),
    start=st.sampled_from(COEFFICIENTS),
    factor=st.sampled_from([2, 3]),
)
@settings(max_examples=10)
def test_what_fails_first(numbers: list[Any], start: Any, factor: int) -> None:
    first = sum((c * x**k for k, c in enumerate(numbers[:3], 1)), sympy.Integer(0))
    second = sum((c * x**k for k, c in enumerate(numbers[3:], 1)), x**3 - 4 * x)
    landscape = ts.FiniteLandscape([first, second], [Rational(1, 3), Rational(2, 3)], [x])
    phi = ts.Observable(x**3 - x)
    before = ts.perturb(phi, ts.SGD(N=factor, B=1, E=1), landscape, [start], 2)
    after = ts.perturb(phi, ts.SGD(N=factor, B=factor, E=1), landscape, [start], 2)
    gained = sympy.expand(after.subs(eta, factor * eta) - before)
    rule = ts.scaling_rule(factor)
    assert (rule.rate, rule.time) == (factor, Rational(1, factor))
    predicted = rule.mismatch(phi).evaluate(landscape, at=[start], B=1)
    assert gained == sympy.expand(factor * predicted)
    assert gained.coeff(eta, 1) == 0
    found = rule.failure(landscape, [start], eta=Rational(1, 10), B=1)
    drift, curvature = landscape.cumulant((1,), [start])[0], landscape.cumulant((2,), [start])[0, 0]
    if drift * curvature == 0:
        assert found is None
    else:
        assert (found.order, found.ratio) == (2, abs(Rational(factor - 1, 20) * Rational(str(curvature))))


def test_the_linear_rule() -> None:
    rule = ts.scaling_rule(order=3)
    assert (rule.rate, rule.time) == (kappa, 1 / kappa)
    (failing,) = rule.first.terms
    assert str(failing.value) == "(∇_μ φ) H^μ_ν G^ν"
    assert sympy.expand(failing.coefficient - (1 - kappa) / 2) == 0
    assert not rule.mismatch.rest, "the third cumulant is kept: η³/B² per update goes with T"
    assert str(rule).startswith("B → B*kappa, η → kappa*η, T → T/kappa keeps drift and noise; first to fail, at η^2: ")
    MathTextParser("path").parse(f"${rule.latex()}$")
    assert "ScalingRule" in repr(rule)
    assert str(ts.scaling_rule(1)).endswith("keeps the generator through η^2")
    assert not ts.scaling_rule(1).first


def test_momentum_keeps_the_scale_of_noise() -> None:
    """η/((1−β)B), Smith and Le 2018; and the time ηT/(1−β)."""
    beta, other = sympy.symbols("beta gamma", positive=True)
    rule = ts.scaling_rule(update=ts.HeavyBall(beta), becomes=ts.HeavyBall(other))
    assert sympy.simplify(rule.rate - kappa * (1 - other) / (1 - beta)) == 0
    assert sympy.simplify(rule.time * rule.rate * (1 - beta) / (1 - other)) == 1
    same = ts.scaling_rule(update=ts.HeavyBall(beta))
    assert (same.rate, same.time) == (kappa, 1 / kappa)
    assert sympy.simplify(same.first.terms[0].coefficient - (kappa - 1) * (1 + beta) / (2 * (beta - 1) ** 3)) == 0


def test_what_fails_where_there_is_no_slope() -> None:
    """At a minimum the first to fail is η³: the drift J[C], and C H in the diffusion."""
    even = ts.FiniteLandscape([x**2 + x + x**3, x**2 - x + x**3], [Rational(1, 2)] * 2, [x])
    found = ts.scaling_rule(order=3).failure(even, [0], eta=Rational(1, 100), B=2, kappa=4)
    assert found is not None
    assert found.order == 3
    # H = 2, J = 6, C = 1: 3 of η³ J C/(4B) and of η³ (C H)/B, beside η² C/B
    assert found.drift[0] == 3 * Rational(6, 8) * Rational(1, 100) ** 3
    assert found.ratio == 3 * 2 * Rational(1, 100)
    assert ts.scaling_rule(4).failure(even, [0], eta=Rational(1, 100), B=2) is None


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ts.scaling_rule(0), ValueError, "kappa=0 must be positive"),
        (lambda: ts.scaling_rule("a"), TypeError, "kappa='a'"),
        (lambda: ts.scaling_rule(2, order=1), ValueError, "order=1"),
        (lambda: ts.scaling_rule(2, update="Adam"), TypeError, "update='Adam'"),
        (lambda: ts.scaling_rule(2).failure(None, [0], 1, 1, kappa=3), ValueError, "not the rule's own 2"),
        (lambda: ts.scaling_rule().failure(None, [0], 1, 1), ValueError, "say which"),
    ],
)
def test_errors(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
