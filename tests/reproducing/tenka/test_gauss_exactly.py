"""GAUSS without sampling, against the derived formulas and against paths."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from sympy import Rational, symbols

import taylorsgd as ts
from taylorsgd.landscapes import gauss
from taylorsgd.reproducing.tenka.gauss_exactly import (
    clipping_moves,
    guaranteed_rate,
    sde_loss,
    series_after_two,
    sgd_loss,
    stepped_sde_loss,
)
from taylorsgd.reproducing.tenka.noise_scale import split_by_law
from taylorsgd.reproducing.tenka.sde_difference import differences
from taylorsgd.symbols import eta


def test_one_update_is_an_integral_over_one_point() -> None:
    def end(x: float) -> float:
        h = -0.2 * (1 - x**2) / 2
        return norm.pdf(x) * (h + np.exp(-h)) / 2

    assert sgd_loss(0.2) == pytest.approx(quad(end, -12, 12)[0], rel=1e-9)


def test_the_series_after_two_updates_is_the_derived_one() -> None:
    """E e^{−h} is twice the test loss less E h."""
    place = gauss()
    where = ts.SGD(N=2, B=1, E=1)
    loss = ts.derive(ts.TestLoss(), where, 4).evaluate(place, at=place.start)
    moved = ts.derive(ts.Displacement(), where, 4).evaluate(place, at=place.start)[0]
    assert (2 * loss - moved - sum(c * eta**k for k, c in enumerate(series_after_two(4)))).expand() == 0


def test_the_sde_by_quadrature_is_that_of_the_formulas_and_of_paths() -> None:
    """At a small rate the fifth order, the sixth being less than the tolerance; then paths in the same coarse steps."""
    (fifth,) = differences(np.array([0.02]))[5]
    assert sgd_loss(0.02) - sde_loss(0.02) == pytest.approx(fifth, rel=1e-3)
    start, where = np.zeros(1, np.float32), ts.SDE(T=1, B=1)
    paths = ts.simulate(gauss(), start, where, [0.5], 40_000, jax.random.key(0), refinement=2).test_loss
    assert abs(stepped_sde_loss(0.5, 2) - paths.mean[0]) < 4 * paths.standard_error[0]


def test_what_steps_miss_falls_as_their_number() -> None:
    missed = [steps * (stepped_sde_loss(0.1, steps) - sde_loss(0.1)) for steps in (32, 64, 128)]
    assert missed == pytest.approx([missed[2]] * 3, rel=0.05) and abs(missed[2]) > 1e-5


def test_where_the_key_lemma_holds() -> None:
    """2ηTb < ρ with b the largest gradient in the ball, on a grid of radii."""
    radii = np.linspace(0.1, 5, 2000)
    bound = np.maximum((144 * np.exp(radii) - 1) / 2, (1 - 0) / 2)
    assert guaranteed_rate(12.0) == pytest.approx(np.max(radii / (2 * bound)), rel=1e-5)
    assert guaranteed_rate(12.0, 4) == pytest.approx(guaranteed_rate(12.0) / 4)


def test_what_cutting_off_changes() -> None:
    """At ±3, where integrals see it: the coefficient of η² is E[(1 − x²)²]/16."""

    def moved(power: int, factor: float) -> float:
        inside, whole = (
            quad(lambda x: norm.pdf(x) * ((1 - x**2) / 2) ** power / factor, -c, c)[0] for c in (3.0, 40.0)
        )
        return abs(inside / whole - 1)

    tail = 2 * norm.sf(3.0)
    assert clipping_moves(3.0, 2) == pytest.approx(moved(2, 4) + tail, rel=1e-6)
    assert clipping_moves(3.0, 3) == pytest.approx(max(moved(2, 4), moved(3, 12)) + tail, rel=1e-6)
    assert 0 < clipping_moves(12.0, 5) < 1e-20


def test_terms_that_keep_to_the_law_of_noise() -> None:
    """On one loss in one variable the terms without noise are those of GD, none of which keeps to it but the first."""
    kept, broken = split_by_law(3)
    assert kept == ["G_μ G^μ", "C_μν H^μν", "S_μνλ J^μνλ"] and len(broken) == 6
    x = symbols("x")
    formula = ts.derive(ts.TestLoss(), ts.SGD(E=1), 3)
    place = ts.FiniteLandscape([x**3 / 3], [Rational(1)], [x])
    one, two = (formula.evaluate(place, at=[1], N=8, B=b).subs(eta, b * eta).expand() for b in (1, 2))
    assert (two - one).coeff(eta, 1) == 0 and (two - one).coeff(eta, 2) != 0 and (two - one).coeff(eta, 3) != 0
