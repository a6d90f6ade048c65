r"""The generator to all orders in η on quadratics with additive noise.

Against two others: its series in η is that of `generator`, and what its exponential makes of θ, θθ and θθθ after T
updates is what descent makes, whose means are polynomials in η of a degree that `perturb` reaches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy
from sympy import Rational

import taylorsgd as ts
from taylorsgd.symbols import eta

x, y = sympy.symbols("x y")
SKEWED = ts.FiniteLandscape([x**2 + x, x**2 - 3 * x], [Rational(2, 3), Rational(1, 3)], [x])
TURNED = ts.FiniteLandscape(
    [x**2 + x * y + y**2 + x, x**2 + x * y + y**2 - 2 * x + y], [Rational(1, 2)] * 2, [x, y]
)  # eigenvalues 1 and 3
FLAT = ts.FiniteLandscape([x**2 + x, x**2 - x + y], [Rational(1, 2)] * 2, [x, y])


def series(expression: Any, order: int) -> sympy.Expr:
    return sympy.series(expression, eta, 0, order + 1).removeO()


@pytest.mark.parametrize("landscape", [SKEWED, TURNED, FLAT], ids=["skewed", "turned", "flat"])
def test_its_series(landscape: ts.FiniteLandscape) -> None:
    found, plain = ts.generator(3, ts.SGD(E=1)), ts.generator(3, ts.SGD(E=1)).resummed()
    at = [Rational(3, 2), Rational(-1, 3)][: len(landscape.variables)]
    drift = plain.coefficient(1, landscape, at)
    diffusion = plain.coefficient(2, landscape, at, B=2)
    for mine, entry in zip(drift, found.drift.evaluate(landscape, at, B=2), strict=True):
        assert sympy.expand(series(mine, 3) - entry) == 0
    expected = found.diffusion.evaluate(landscape, at, B=2)
    for (i, j), entry in np.ndenumerate(diffusion):
        assert sympy.expand(series(entry, 3) - expected[i, j]) == 0


def test_the_third_derivatives_too() -> None:
    """Of x³: 3x² drift + 3x diffusion + M_3."""
    found, at = ts.generator(4, ts.SGD(B=2, E=1)), Rational(3, 2)
    one, two, three = (found.resummed().coefficient(m, SKEWED, [at]).ravel()[0] for m in (1, 2, 3))
    whole = found(ts.Observable(x**3)).evaluate(SKEWED, [at])
    assert sympy.expand(series(3 * at**2 * one + 3 * at * two + three, 4) - whole) == 0


def test_its_exponential_is_descent() -> None:
    """On 1, θ, θ², θ³, a space that it keeps: exp(T𝓖) as a matrix, at one rate, to the last digit."""
    plain, rate, start, updates = ts.generator(1, ts.SGD(B=1, E=1)).resummed(), Rational(1, 10), Rational(1, 2), 2
    slope = plain.coefficient(1, SKEWED, [x], rate)[0]  # log(k) (x − x*)
    two, three = (plain.coefficient(m, SKEWED, [x], rate).ravel()[0] for m in (2, 3))
    matrix = np.zeros((4, 4))
    for power in range(4):
        acted = sum(c * sympy.diff(x**power, x, m) / sympy.factorial(m) for m, c in ((1, slope), (2, two), (3, three)))
        for k in range(4):
            matrix[k, power] = float(sympy.expand(acted).coeff(x, k))
    from scipy.linalg import expm

    powers = np.array([float(start) ** k for k in range(4)])
    for power in (1, 2, 3):
        exact = ts.perturb(ts.Observable(x**power), ts.SGD(N=updates, B=1, E=1), SKEWED, [start], updates * power)
        found = powers @ expm(updates * matrix)[:, power]
        assert found == pytest.approx(float(exact.subs(eta, rate)), abs=1e-13)


def test_full_batches_have_no_noise() -> None:
    plain = ts.generator(2, ts.GD()).resummed()
    assert not plain.coefficient(2, SKEWED, [1]).any()
    assert plain.coefficient(1, SKEWED, [1])[0] == sympy.log(1 - 2 * eta) * Rational(5, 6)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda g: g.coefficient(2, SKEWED, [1]), ValueError, "B has no value"),
        (lambda g: g.coefficient(0, SKEWED, [1]), ValueError, "degree=0"),
        (lambda g: g.coefficient(1, SKEWED, [1], eta=1), ValueError, "overshoots"),
        (lambda g: g.coefficient(2, SKEWED, [1], M=1, K=2), ValueError, "has no such size"),
        (lambda g: g.coefficient(1, None, [1]), TypeError, "landscape=None"),
        (lambda g: g.coefficient(1, ts.landscapes.gauss(), [0]), ValueError, "third derivatives"),
        (
            lambda g: g.coefficient(1, ts.FiniteLandscape([x**2, 2 * x**2], [Rational(1, 2)] * 2, [x]), [0]),
            ValueError,
            "Hessian differs",
        ),
    ],
)
def test_errors(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make(ts.generator(1, ts.SGD(E=1)).resummed())


def test_where_it_is_not_summed() -> None:
    for generator in (
        ts.generator(1, ts.SDE()),
        ts.generator(1, ts.SGD(E=1), update=ts.HeavyBall(Rational(1, 2))),
        ts.generator(1, ts.SGD(shuffle=True, data="fixed")),
    ):
        with pytest.raises(NotImplementedError, match="is not summed to all orders"):
            generator.resummed()
