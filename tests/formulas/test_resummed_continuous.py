r"""Integrals instead of sums: each is the limit of its sum, of more and more updates at ever smaller rates.

Identities:
    (1) a formula with integrals has the terms and coefficients of the one with sums over updates, which the tests of
        these compare with perturbation; and with k events s^{-k} Σ(T·s, ηλ/s) → ∫(T, ηλ) as s → ∞
    (2) decoupled decay adds w to every rate
    (3) under a metric it is the formula of other coordinates
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mpmath
import pytest
import sympy
from sympy import Matrix, Rational

import taylorsgd as ts
from taylorsgd.symbols import eta

x, y = sympy.symbols("x y")
OBSERVABLES = [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement(), ts.Variance(ts.TestLoss())]
ALL = ("test loss", "training loss", "gap", "displacement", "variance")
RATES = [Rational(1, 2), Rational(3, 4), Rational(5, 4), Rational(2, 3)]


def summed(value: Any, T: int, shrunk: int) -> Any:
    """A sum over times in many digits."""
    rates, end = sympy.symbols(f"s:{value.order}"), sympy.Symbol("end")
    numbers = [mpmath.mpf(rate.p) / rate.q / shrunk for rate in RATES[: value.order]]
    return sympy.lambdify([*rates, end], value.with_T(end).closed_sum(rates), "mpmath")(*numbers, T * shrunk)


@pytest.mark.shows("one epoch", ALL, resum="continuous")
@pytest.mark.shows("GD", ALL, resum="continuous")
@pytest.mark.shows("Replacement", ALL, resum="continuous")
@pytest.mark.shows("fixed data", ALL, resum="continuous")
@pytest.mark.parametrize("spacetime", [ts.SGD(E=1), ts.GD(), ts.Replacement(), ts.Replacement(data="fixed")], ids=repr)
@pytest.mark.parametrize("observable", OBSERVABLES, ids=str)
def test_integrals_are_limits_of_sums(observable: Any, spacetime: Any) -> None:
    order = 2 if isinstance(observable, ts.Covariance) else 3
    sums, integrals = (ts.derive(observable, spacetime, order, resum=r) for r in ("discrete", "continuous"))
    of_sums = {term.value: term.coefficient for term in sums.terms}
    assert len(integrals.terms) == len(of_sums)
    for term in integrals.terms:
        value = term.value
        assert of_sums[replace(value, continuous=False) if value.is_resummed else value] == term.coefficient
        if value.is_resummed:
            with mpmath.workdps(60):
                many = 10**12
                found = summed(replace(value, continuous=False), 3, many) / mpmath.mpf(many) ** value.times.events
                assert mpmath.almosteq(found, summed(value, 3, 1), 1e-9), term


@pytest.mark.shows("decay", ALL, resum="continuous")
@pytest.mark.parametrize("observable", OBSERVABLES, ids=str)
def test_decay_adds_to_every_rate(observable: Any) -> None:
    decay = Rational(1, 3)
    plain = ts.derive(observable, ts.GD(), 2, resum="continuous")
    decayed = ts.derive(observable, ts.GD(), 2, resum="continuous", update=ts.Descent(decay=decay))
    assert len(plain.terms) == len(decayed.terms) > 0
    for term in plain.terms:
        if not term.value.is_resummed:
            continue
        (same,) = [
            other
            for other in decayed.terms
            if other.value.is_resummed and replace(other.value, update=term.value.update) == term.value
        ]
        assert same.coefficient == term.coefficient
        rates = RATES[: term.value.order]
        shifted = term.value.with_T(sympy.Integer(2)).closed_sum([rate + decay for rate in rates])
        assert sympy.simplify(same.value.with_T(sympy.Integer(2)).closed_sum(rates) - shifted) == 0


FLAT = ts.FiniteLandscape([x**2 - x, 3 * x**2 + 2 * x], [Rational(1, 2)] * 2, [x])


def test_decayed_numbers() -> None:
    """Exactly, lowered, and at rest: the excess loss under decay is that of exponentials e^{−(w + ηλ)t}."""
    import jax
    import jax.numpy as jnp

    rule = ts.Descent(decay=Rational(1, 3))
    formula = ts.derive(ts.TestLoss(), ts.GD(N=3), 2, resum="continuous", update=rule)
    exact = formula.evaluate(FLAT, [1], eta=Rational(1, 10), T=4)
    lowered = formula.lower()
    with jax.enable_x64(True):
        tensors = {key: jnp.array(FLAT.cumulant(key, [1]), dtype=float) for key in lowered.parts}
        assert float(lowered(tensors, eta=0.1, T=4)) == pytest.approx(float(exact), rel=1e-12)
    late = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum="continuous", update=rule).assume("minimum").limit()
    rate, slope = 2 * (Rational(1, 3) + 4 * eta), FLAT.cumulant((1, 1), [0])[0][0]
    expected = sympy.Rational(slope) * eta**2 / rate * 4 / 2
    centered = ts.FiniteLandscape([x**2 + x * 3 / 2, 3 * x**2 - x * 3 / 2], [Rational(1, 2)] * 2, [x])
    assert sympy.simplify(late.evaluate(centered, [0]) - expected) == 0


@pytest.mark.shows("metric", ALL, resum="continuous")
@pytest.mark.parametrize("observable", OBSERVABLES, ids=str)
def test_a_metric_is_a_change_of_coordinates(observable: Any) -> None:
    """Θ = Aφ: descent on l(Aφ) is descent of θ with the metric AAᵀ, and displacements are A times those of φ."""
    a = Matrix([[2, 1], [0, 1]])
    losses = [x**2 + y**2 / 2 + x * x * y - x + 2 * y, x**2 + 3 * y**2 / 2 - x * y * y + 2 * x - 2 * y]
    start = Matrix([1, -1])
    u, v = a * Matrix([x, y])
    landscape = ts.FiniteLandscape(losses, [Rational(1, 2)] * 2, [x, y])
    turned = ts.FiniteLandscape(
        [sympy.expand(loss.subs({x: u, y: v}, simultaneous=True)) for loss in losses], [Rational(1, 2)] * 2, [x, y]
    )
    formula = ts.derive(observable, ts.GD(N=3, T=2), 2 if observable != OBSERVABLES[3] else 1, resum="continuous")
    found = Matrix([formula.evaluate(landscape, list(start), Rational(1, 10), metric=a * a.T)]).evalf(30)
    same = Matrix([formula.evaluate(turned, list(a.inv() * start), Rational(1, 10))])
    if observable == ts.Displacement():
        found, same = Matrix([found.reshape(2, 1)]), a * same.reshape(2, 1)
    assert (found - same.evalf(30)).norm() < 1e-20
