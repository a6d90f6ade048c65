"""Modules of Equinox and Flax as losses: measured values are those of the same net written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts

DATA = jnp.array([[0.5, -1.0], [1.0, 0.25], [-0.75, 0.5]])
FORMULA = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)


def measured(loss, theta):
    return ts.measure(FORMULA, ts.Landscape(loss, DATA), theta, key=jax.random.key(1), samples=16).mean


def by_hand(weight, bias):
    return measured(lambda theta, x: jnp.sum(jnp.tanh(theta[0] @ x + theta[1]) ** 2), (weight, bias))


def test_an_equinox_module():
    equinox = pytest.importorskip("equinox")
    layer = equinox.nn.Linear(2, 3, key=jax.random.key(0))
    theta, static = equinox.partition(layer, equinox.is_inexact_array)

    def loss(theta, x):
        return jnp.sum(jnp.tanh(equinox.combine(theta, static)(x)) ** 2)

    np.testing.assert_allclose(measured(loss, theta), by_hand(layer.weight, layer.bias), rtol=1e-5)


def test_a_flax_linen_module():
    linen = pytest.importorskip("flax.linen")
    layer = linen.Dense(3)
    theta = layer.init(jax.random.key(0), DATA[0])

    def loss(theta, x):
        return jnp.sum(jnp.tanh(layer.apply(theta, x)) ** 2)

    inner = theta["params"]
    np.testing.assert_allclose(measured(loss, theta), by_hand(inner["kernel"].T, inner["bias"]), rtol=1e-5)
