"""Predictions for shuffled, replaced and fixed data, against exact evaluation and against simulation of a small net."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import taylorsgd as ts

POINTS = [(1, 2), (-1, 0), (2, -1)]


def loss(theta: Any, x: Any) -> Any:
    u, v = theta
    return (u * v + x[0]) ** 2 / 2 + (u**2 - x[1] * v) ** 2 / 4


@pytest.mark.parametrize(
    ("spacetime", "sizes"),
    [
        (ts.SGD(shuffle=True, data="fixed"), {"B": 1, "E": 2}),
        (ts.SGD(shuffle=True, data="fixed"), {"B": 1, "T": 3, "N": 3}),
        (ts.SGD(N=3, B=3, E=2, shuffle=True, data="fixed"), {}),
        (ts.Replacement(data="fixed"), {"B": 2, "T": 3}),
    ],
    ids=str,
)
def test_fixed_data_are_measured_without_sampling(spacetime: Any, sizes: Any) -> None:
    u, v = sympy.symbols("u v")
    exact = ts.FiniteLandscape([loss((u, v), x) for x in POINTS], [sympy.Rational(1, 3)] * 3, [u, v])
    f = ts.derive(ts.TestLoss(), spacetime, order=3)
    start = (sympy.Rational(1, 2), sympy.Rational(-3, 4))
    more = {} if isinstance(spacetime.N, sympy.Integer) else {"N": 3}
    expected = f.evaluate(exact, at=start, eta=sympy.Rational(1, 64), **(sizes | more))
    with jax.enable_x64(True):
        landscape = ts.Landscape(loss, jnp.array(POINTS, float))
        predicted = ts.predict(f, landscape, jnp.array([0.5, -0.75]), eta=1 / 64, **sizes)
    assert float(predicted.mean) == pytest.approx(float(expected), rel=1e-10)
    assert predicted.standard_error == 0


def test_the_points_are_the_training_set() -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1, shuffle=True, data="fixed"), order=2)
    landscape, theta = ts.Landscape(loss, jnp.array(POINTS, float)), jnp.array([0.5, -0.75])
    with pytest.raises(ValueError, match=r"N=4 training points, and <Landscape loss on 3 points> has 3"):
        ts.predict(f, landscape, theta, eta=0.1, N=4)
    with pytest.raises(ValueError, match="N=6 training points"):
        g = ts.derive(ts.TestLoss(), ts.Replacement(N=6, B=1, T=2, data="fixed"), order=2)
        ts.predict(g, landscape, theta, eta=0.1)
    with pytest.raises(ValueError, match="contradicts"):
        ts.predict(f, landscape, theta, eta=0.1, T=4)
    sampler = ts.Landscape(loss, lambda key, n: jax.random.normal(key, (n, 2)))
    with pytest.raises(ValueError, match="data='fixed'.*has none"):
        ts.predict(f, sampler, theta, eta=0.1)


@pytest.mark.parametrize(
    "spacetime",
    [ts.SGD(N=8, B=2, E=2, shuffle=True), ts.Replacement(N=8, B=2, T=8), ts.Replacement(N=8, B=2, T=8, data="fixed")],
    ids=repr,
)
def test_a_small_net(spacetime: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8 if spacetime.data == "fixed" else 40, 3)).astype("f4")
    theta = {"W": jnp.asarray(rng.normal(size=(3, 4)), "float32"), "a": jnp.asarray(rng.normal(size=4), "float32")}

    def net(theta: Any, point: Any) -> Any:
        return (jnp.tanh(point @ theta["W"]) @ theta["a"] - jnp.sin(2 * point[0])) ** 2 / 2

    landscape, rates = ts.Landscape(net, x), [0.001, 0.003]
    f = ts.derive(ts.TestLoss(), spacetime, order=2)
    predicted = ts.predict(f, landscape, theta, eta=rates, tolerance=0.1)
    run = ts.simulate(landscape, theta, spacetime, rates, 4000, jax.random.key(1))
    assert ts.compare(predicted, run).agrees


def test_fixed_data_against_simulated_orders() -> None:
    """Orders of one training set differ little, so that simulation is sharp: order 2 is large against its error."""
    sgd = ts.SGD(N=3, B=1, E=2, shuffle=True, data="fixed")
    f = ts.derive(ts.TestLoss(), sgd, order=3)
    with jax.enable_x64(True):
        landscape, theta = ts.Landscape(loss, jnp.array(POINTS, float)), jnp.array([0.5, -0.75])
        predicted = ts.predict(f, landscape, theta, eta=[1 / 128, 1 / 64])
        run = ts.simulate(landscape, theta, sgd, [1 / 128, 1 / 64], 20_000, jax.random.key(0))
    error = run.test_loss.standard_error
    assert (np.abs(predicted.mean - run.test_loss.mean) < 4 * error).all()
    assert (np.abs(predicted.contributions[2]) > 10 * error).all()
