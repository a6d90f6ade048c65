r"""The square-root rule of RMSProp and Adam, against batches that are listed and runs that are simulated.

(1) mean and variance of an update of (θ, m, Bv), per unit of time: what is kept, and by how much the rest is missed
(2) where θ rests, the variance of v is changed as `failure` says: of an average of independent squares
(3) runs under noise agree in law at four times the batch, and under the linear rule they do not
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import sympy
from sympy import Rational, oo, sqrt

import taylorsgd as ts

x, k = sympy.symbols("x kappa", positive=True)
THIRD = Rational(1, 3)
LOSSES = [x**2 + 4 * x, 2 * x**2 - 5 * x, x**2 / 2 + 2 * x]
PLACE = ts.FiniteLandscape(LOSSES, [THIRD] * 3, [x])
ADAM = ts.Adam(Rational(9, 10), Rational(95, 100), Rational(1, 10), decay=Rational(1, 5))


def moments_of_update(rule: Any, eta: Any, B: int, state: tuple[Any, Any, Any]) -> tuple[list[Any], list[Any]]:
    """Mean and variance of the changes of θ, m and Bv in an update, of every batch; the step takes what was before."""
    theta, m, V = state
    slopes = [loss.diff(x).subs(x, theta) for loss in LOSSES]
    step = m / (sqrt(V / B) + rule.epsilon) + rule.decay * theta
    changes = []
    for batch in product(slopes, repeat=B):
        g = sum(batch) / B
        changes.append((-eta * step, (1 - rule.beta1) * (g - m), (1 - rule.beta2) * (B * g**2 - V)))
    columns = list(zip(*changes, strict=True))
    means = [sum(column) / len(changes) for column in columns]
    squares = [sum(entry**2 for entry in column) / len(changes) for column in columns]
    return means, [square - mean**2 for square, mean in zip(squares, means, strict=True)]


def test_what_an_update_keeps() -> None:
    rule, eta, B, at = ts.scaling_rule(4, update=ADAM), Rational(1, 50), 1, Rational(1, 4)
    state = (at, Rational(1, 7), Rational(3))
    before, spread = moments_of_update(rule.before, eta, B, state)
    after, wider = moments_of_update(rule.becomes, rule.rate * eta, 4 * B, state)
    per_time = 1 / rule.time  # updates before for one after
    assert sympy.simplify(after[0] - per_time * before[0]) == 0  # θ, with ε and decay
    assert after[1] == per_time * before[1] and wider[1] == per_time * spread[1]  # m, with its noise
    gained = after[2] - per_time * before[2]  # V follows C + B G²
    failure = rule.failure(PLACE, [at], B)
    noise = PLACE.cumulant((1, 1), [at])[0, 0]
    assert gained == per_time * (1 - ADAM.beta2) * noise * failure.signal[0] != 0
    assert rule.failure(PLACE, [Rational(-1, 7)], B).signal[0] == 0  # no slope
    alone = ts.FiniteLandscape([x**2], [1], [x])
    assert rule.failure(alone, [1], B).signal[0] is oo


def test_the_variance_of_an_average_of_squares() -> None:
    """v = (1 − A) Σ A^j g_j²: (1 − A)² Σ A^{2j}."""
    j = sympy.Symbol("j", integer=True, nonnegative=True)
    rule = ts.scaling_rule(3, update=ts.RMSProp(Rational(4, 5), 0))
    weights = [
        sympy.summation(((1 - A) * A**j) ** 2, (j, 0, oo)) for A in (rule.before.filters[0].memory, rule.becomes.rho)
    ]
    assert rule.failure(PLACE, [0], 1).memory == weights[1] / weights[0]
    symbolic = ts.scaling_rule(update=ts.RMSProp(Rational(4, 5), 0))
    assert symbolic.failure(PLACE, [0], 1, kappa=3) == rule.failure(PLACE, [0], 1)


def final_spread(eta: float, B: int, updates: int, beta1: float, beta2: float, seed: int) -> tuple[float, float]:
    """The mean of θ² after Adam on θ²/2 with noise ±8/√B, from 0, and its standard error; 10⁴ runs."""
    random = np.random.default_rng(seed)
    theta, m, v = np.zeros(10_000), np.zeros(10_000), np.full(10_000, 64.0 / B)
    for _ in range(updates):
        g = theta + 8 * random.standard_normal(10_000) / B**0.5
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        theta = theta - eta * m / np.sqrt(v)
    return float(np.mean(theta**2)), float(np.std(theta**2) / 100)


def test_runs_under_noise() -> None:
    rule = ts.scaling_rule(4, update=ts.Adam(Rational(39, 40), Rational(799, 800), 0))
    assert (rule.rate, rule.time) == (2, Rational(1, 4))
    now, error = final_spread(0.01, 1, 400, 39 / 40, 799 / 800, 0)
    later, other = final_spread(0.02, 4, 100, float(rule.becomes.beta1), float(rule.becomes.beta2), 1)
    linear, third = final_spread(0.04, 4, 100, 39 / 40, 799 / 800, 2)
    assert abs(later - now) < 0.05 * now + 4 * np.hypot(error, other)
    assert abs(linear - now) > 10 * np.hypot(error, third)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ts.scaling_rule(64, update=ADAM), r"beta1=9/10 would become -27/5.*at most 1/\(1 − beta1\) = 10"),
        (lambda: ts.scaling_rule(2, 3, update=ADAM), "leave becomes= and order= out"),
        (lambda: ts.scaling_rule(2, update=ADAM, becomes=ts.HeavyBall(0)), "leave becomes= and order= out"),
        (lambda: ts.scaling_rule(update=ADAM).failure(PLACE, [1], 1), "say which"),
        (lambda: ts.scaling_rule(2, update=ADAM).failure(PLACE, [1], 1, kappa=3), "not the rule's own 2"),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_faces() -> None:
    inside = ts.scaling_rule(update=ts.RMSProp(1 - x, x, epsilon_inside=True))
    assert str(inside).startswith("B → B*kappa, η → sqrt(kappa)*η, T → T/kappa, ρ → -kappa*x + 1, ε → x/kappa while")
    assert r"\eta \to \sqrt{\kappa} \eta" in inside.latex() == inside._repr_latex_()[15:-1]
