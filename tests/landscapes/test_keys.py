"""Random keys are keys or integers; data of the wrong shape and inexact parameters are named."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy import Rational, Symbol

import taylorsgd as ts
from taylorsgd.landscapes.keys import random_key

COIN = ts.Landscape(lambda theta, x: jnp.cosh(theta + x), jnp.array([-1.0, 1.0, 0.3]))


def test_integers_seed_keys() -> None:
    gd = ts.GD(N=2, T=2)
    by_number, by_key, raw = (
        ts.simulate(COIN, 0.7, gd, 0.1, 20, key).test_loss.mean for key in (3, jax.random.key(3), jax.random.PRNGKey(3))
    )
    assert by_number == by_key == raw
    f = ts.derive(ts.TestLoss(), gd, 2)
    assert ts.predict(f, COIN, 0.7, eta=0.1, key=np.int64(5)).mean == ts.predict(f, COIN, 0.7, eta=0.1, key=5).mean


@pytest.mark.parametrize("key", [None, "0", 1.0, True, [1, 2], np.zeros(2)])
def test_other_things_are_no_keys(key) -> None:
    with pytest.raises(TypeError, match=r"key=.* is no random key; give jax.random.key\(0\)"):
        random_key(key)


@pytest.mark.parametrize("key", [-1, 2**32])
def test_seeds_out_of_range(key: int) -> None:
    with pytest.raises(ValueError, match="is out of range"):
        ts.simulate(COIN, 0.7, ts.GD(N=2, T=2), 0.1, 20, key)


@given(number=st.decimals(-10, 10, places=4))
def test_floats_are_the_shortest_decimals(number) -> None:
    """0.9 is 9/10, and not the binary fraction nearest to it."""
    exact = Rational(str(number))
    for given_ in (float(number), np.float64(number), number, Fraction(str(number))):
        assert ts.HeavyBall(given_).beta == exact
    assert ts.Descent(rates=[float(number)]).rates == (exact,)
    assert ts.HeavyBall(float(number) * Symbol("b")).beta == exact * Symbol("b")


def test_arrays_of_rates() -> None:
    assert ts.Descent(rates=np.linspace(0, 1, 5)).rates == tuple(Rational(i, 4) for i in range(5))
    assert ts.Descent(rates=np.float32([0.1])).rates == (Rational(1, 10),)
    assert ts.SecondOrder(0.5).lam == Rational(1, 2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float64("nan")])
def test_parameters_are_finite(value) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        ts.HeavyBall(value)


@pytest.mark.parametrize("value", ["1/2", None, [1], 1j, True])
def test_other_parameters(value) -> None:
    with pytest.raises(TypeError, match="beta="):
        ts.HeavyBall(value)


@pytest.mark.parametrize("rates", ["12", 5, 0.1])
def test_rates_are_a_sequence(rates) -> None:
    with pytest.raises(TypeError, match="rates=.* must be a sequence of numbers, one for each update"):
        ts.Descent(rates=rates)


def test_data_of_the_wrong_shape() -> None:
    line = ts.Landscape(lambda theta, x: (theta @ x) ** 2, jnp.ones((5, 3)))
    f = ts.derive(ts.TestLoss(), ts.GD(N=2, T=2), 2)
    message = r"loss can't be computed from an array of shape \(2,\) and an array of shape \(3,\)"
    with pytest.raises(TypeError, match=message):
        ts.predict(f, line, jnp.ones(2), eta=0.1, key=0)
    with pytest.raises(TypeError, match=message):
        ts.simulate(line, jnp.ones(2), ts.GD(N=2, T=2), 0.1, 10, 0)
