"""Where the second moments of linear regression come to rest, and their limit of many dimensions.

Identities, with e = 1/B, s = tr(HM) and κ the noise that the test loss feeds back:

    (1) at rest, plain descent: M_ii = η(s + σ²)/(B(2 − ηλ_i(1 + e))), stable if and only if the spectral radius of the
        diagonal matrix plus rank one is below 1; heavy ball: 2(1 − β) − ηλ_i((1 − β)/(1 + β) + e) for 2 − ηλ_i(1 + e)
    (2) many dimensions: k copies of each direction with batches of kB come as close as 1/k
    (3) the limit is a renewal equation for s
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sympy import Integer, Rational, Symbol, cancel, oo, sqrt, symbols

import taylorsgd as ts
from taylorsgd.landscapes import linear_regression
from taylorsgd.symbols import B, eta

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


# -- (1) at rest -----------------------------------------------------------------------------------------------


def test_at_rest_in_closed_form() -> None:
    a, b, v = symbols("a b v", positive=True)
    toy = linear_regression([a, b], v)
    found = toy.stationary(eta, B)
    beta = Symbol("beta", positive=True)
    heavy = toy.stationary(eta, B, ts.HeavyBall(beta))
    for state, held in (
        (found, lambda rate: 2 - eta * rate * (1 + 1 / B)),
        (heavy, lambda rate: 2 * (1 - beta) - eta * rate * ((1 - beta) / (1 + beta) + 1 / B)),
    ):
        kappa = sum(eta * rate / held(rate) for rate in (a, b)) / B
        level = v / (1 - kappa)
        for rate, second in zip((a, b), state.second, strict=True):
            assert cancel(second - eta * level / (B * held(rate))) == 0
        assert cancel(state.test_loss - level / 2) == 0
        assert state.updates == oo and list(state.mean) == [0, 0]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("wide", [False, True])
def test_the_state_at_rest_stays(rule: Any, wide: bool) -> None:
    """And a run comes close to it, faster than any power."""
    toy = linear_regression([2, Rational(1, 2)], Rational(1, 2), start=[1, -2])
    recursion = toy.in_many_dimensions([1, 3]) if wide else toy.recursion
    rate, batch = Rational(1, 8), 3
    rest = recursion.stationary(rate, batch, rule, full=not wide)
    run = recursion.moments(rate, 400, batch, rule, full=not wide)
    # the slowest direction forgets a factor 1 − 1/16 of its start with every update, the mean not squared
    assert abs(float(rest.test_loss - run.test_loss)) < 1e-20
    assert max(abs(float(entry)) for entry in rest.mean - run.mean) < 1e-10
    assert max(abs(float(one - other)) for one, other in zip(rest.second, run.second, strict=True)) < 1e-20
    if not wide:
        assert rest.full is not None and run.full is not None
        assert max(abs(float(entry)) for entry in rest.full - run.full) < 1e-20


def spectral_radius(spectrum: list[Any], rate: Any, batch: int) -> float:
    values = np.array([float(entry) for entry in spectrum])
    step = float(rate) * values
    matrix = np.diag(1 - 2 * step + step**2 * (1 + 1 / batch)) + np.outer(float(rate) ** 2 * values / batch, values)
    return float(np.abs(np.linalg.eigvals(matrix)).max())


@settings(max_examples=25)
@given(
    st.lists(st.fractions(Fraction(1, 10), 2, max_denominator=10), min_size=1, max_size=4),
    st.fractions(Fraction(1, 20), 2, max_denominator=20),
    st.integers(1, 4),
)
def test_the_condition_is_that_of_the_spectral_radius(spectrum: list[Any], rate: Any, batch: int) -> None:
    radius = spectral_radius(spectrum, rate, batch)
    assume(abs(radius - 1) > 1e-9)
    toy = linear_regression(spectrum, 1)
    if radius < 1:
        assert toy.stationary(rate, batch).excess > 0
    else:
        with pytest.raises(ValueError, match=r"the mean does not converge|grows for ever"):
            toy.stationary(rate, batch)


def doubled_radius(spectrum: list[Any], rate: Any, batch: int, beta: Any) -> float:
    """The spectral radius of the map of (E θ², E θv, E v²) of every direction, written out by hand."""
    n, r, b = len(spectrum), float(rate), float(beta)
    matrix = np.zeros((3 * n, 3 * n))
    for i, entry in enumerate(spectrum):
        a = float(entry)
        velocity = np.zeros(3 * n)  # E v′² = β² E v² − 2βηλ E θv + η² E g²
        velocity[3 * i : 3 * i + 3] = [r**2 * a**2 * (1 + 1 / batch), -2 * b * r * a, b**2]
        velocity[::3] += r**2 * a / batch * np.array([float(other) for other in spectrum])
        cross = np.zeros(3 * n)
        cross[3 * i : 3 * i + 2] = [-r * a, b]
        square = np.zeros(3 * n)
        square[3 * i] = 1
        matrix[3 * i : 3 * i + 3] = [square + 2 * cross + velocity, cross + velocity, velocity]
    return float(np.abs(np.linalg.eigvals(matrix)).max())


@settings(max_examples=25)
@given(
    st.lists(st.fractions(Fraction(1, 10), 2, max_denominator=10), min_size=1, max_size=3),
    st.fractions(Fraction(1, 20), 3, max_denominator=20),
    st.integers(1, 6),
    st.fractions(Fraction(-9, 10), Fraction(9, 10), max_denominator=10),
)
def test_the_condition_with_momentum(spectrum: list[Any], rate: Any, batch: int, beta: Any) -> None:
    assume(beta != 0)
    radius = doubled_radius(spectrum, rate, batch, beta)
    assume(abs(radius - 1) > 1e-7)
    toy = linear_regression(spectrum, 1)
    if radius < 1:
        assert toy.stationary(rate, batch, ts.HeavyBall(beta)).excess > 0
    else:
        with pytest.raises(ValueError, match=r"the mean does not converge|grows for ever"):
            toy.stationary(rate, batch, ts.HeavyBall(beta))


@pytest.mark.parametrize(
    ("rate", "batch", "rule", "message"),
    [
        (2, 1, None, r"eta=2: along spectrum\[0\]=1 the mean does not converge; .* 0 < eta\*spectrum\[i\] < 2"),
        (0, 1, None, r"eta=0: along spectrum\[0\]=1 the mean does not converge"),
        (-1, 1, None, r"eta=-1: along spectrum\[0\]=1 the mean does not converge"),
        (0.9, 1, None, r"eta=9/10, B=1: through the test loss all directions' noise is fed back .*-fold"),
        (1, 1, None, r"eta=1, B=1: along spectrum\[0\]=1 a direction's noise is fed back 1-fold and grows for ever"),
        (0.1, 1, ts.HeavyBall(1), r"the mean does not converge; every eigenvalue of its update must be less than 1"),
        (0.1, 1, ts.HeavyBall(0.99), r"noise is fed back"),
        (0.1, 1, ts.Descent(rates=[1]), r"has rates; only at a constant rate, rates=None"),
        (0.1, 1, ts.Descent(rates=ts.Cosine()), r"has rates; only at a constant rate, rates=None"),
    ],
)
def test_what_does_not_come_to_rest(rate: Any, batch: int, rule: Any, message: str) -> None:
    toy = linear_regression([1, Rational(1, 2)], 1)
    with pytest.raises(ValueError, match=message):
        toy.stationary(rate, batch, rule)


def test_the_resummed_limit_is_the_state_at_rest() -> None:
    """T → ∞ of the resummed formula at the minimum, against the closed form, in powers of 1/B."""
    toy = linear_regression([1, Rational(1, 2)], 2, start=[0, 0])
    rest = toy.stationary(Rational(1, 3), B).test_loss
    share = Symbol("share")
    powers = rest.subs(B, 1 / share).series(share, 0, 2).removeO()
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=7, E=1), 2, resum="discrete").assume("minimum").limit()
    found = formula.evaluate(toy, at=toy.start, eta=Rational(1, 3))
    assert found == powers.subs(share, Rational(1, 7))


# -- (2), (3) many dimensions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [None, HEAVY])
def test_many_copies_come_close_to_the_limit(rule: Any) -> None:
    spectrum, start, rate, updates, batch = [1, Rational(1, 2)], [1, 2], Rational(1, 2), 6, 2
    toy = linear_regression(spectrum, 1, start)
    limit = toy.in_many_dimensions().moments(rate, updates, batch, rule)
    rest = toy.in_many_dimensions().stationary(rate, batch, rule)
    errors = []
    for copies in (4, 16, 64):
        many = linear_regression(
            [entry for entry in spectrum for _ in range(copies)],
            1,
            [entry / sqrt(Integer(copies)) for entry in start for _ in range(copies)],
        )
        found = many.moments(rate, updates, copies * batch, rule)
        assert all(
            sum(found.second[i * copies : (i + 1) * copies]) - limit.second[i] != 0 for i in range(len(spectrum))
        )
        at_rest = many.stationary(rate, copies * batch, rule)
        errors.append([float(found.test_loss - limit.test_loss), float(at_rest.test_loss - rest.test_loss)])
    for before, after in zip(errors, errors[1:], strict=False):
        assert np.array(before) / np.array(after) == pytest.approx([4, 4], rel=0.25)


def test_weights_are_how_many_copies_there_are() -> None:
    """w = (1, 3) for [a, b] is the spectrum [a, b, b, b], as far as tr(HM) goes."""
    few = linear_regression([2, 1], 1, [1, 3]).in_many_dimensions([1, 3])
    many = linear_regression([2, 1, 1, 1], 1, [1, 3, 0, 0]).in_many_dimensions()
    for updates in (0, 1, 5):
        assert few.moments(0.1, updates, 2).test_loss == many.moments(0.1, updates, 2).test_loss
    assert few.stationary(0.1, 2).test_loss == many.stationary(0.1, 2).test_loss


def test_the_limit_is_a_renewal_equation() -> None:
    spectrum, start, weights = [Rational(3, 2), Rational(1, 2), 1], [1, 2, -1], [1, 2, Rational(1, 2)]
    rate, batch, noise, updates = Rational(1, 4), Rational(3, 2), Rational(1, 5), 8
    wide = linear_regression(spectrum, noise, start).in_many_dimensions(weights)

    def kernel(t: int) -> Any:
        terms = (w * a**2 * (1 - rate * a) ** (2 * t) for w, a in zip(weights, spectrum, strict=True))
        return rate**2 / batch * sum(terms)

    levels: list[Any] = []
    for t in range(updates):
        forcing = sum(a * (1 - rate * a) ** (2 * t) * x**2 for a, x in zip(spectrum, start, strict=True))
        levels.append(forcing + sum(kernel(t - 1 - u) * (levels[u] + noise) for u in range(t)))
    assert [2 * wide.moments(rate, t, batch).excess for t in range(updates)] == levels
