"""Modules of Equinox and Flax as losses: measured values are those of the same net written by hand."""

from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

import taylorsgd as ts

DATA = jnp.array([[0.5, -1.0], [1.0, 0.25], [-0.75, 0.5]])
FORMULA = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)


def measured(loss: Any, theta: Any) -> Any:
    landscape = ts.Landscape(loss, DATA)
    return ts.measure(FORMULA, landscape, theta, key=jax.random.key(1), samples=16, method=ts.MatrixFree(batch=2)).mean


def by_hand(weight: Any, bias: Any) -> Any:
    return measured(lambda theta, x: jnp.sum(jnp.tanh(theta[0] @ x + theta[1]) ** 2), (weight, bias))


def test_an_equinox_module() -> None:
    layer = equinox.nn.Linear(2, 3, key=jax.random.key(0))
    theta, static = equinox.partition(layer, equinox.is_inexact_array)

    def loss(theta: Any, x: Any) -> Any:
        return jnp.sum(jnp.tanh(equinox.combine(theta, static)(x)) ** 2)

    np.testing.assert_allclose(measured(loss, theta), by_hand(layer.weight, layer.bias), rtol=1e-5)


def test_a_flax_linen_module() -> None:
    layer = linen.Dense(3)
    theta = layer.init(jax.random.key(0), DATA[0])

    def loss(theta: Any, x: Any) -> Any:
        return jnp.sum(jnp.tanh(layer.apply(theta, x)) ** 2)

    inner = theta["params"]
    np.testing.assert_allclose(measured(loss, theta), by_hand(inner["kernel"].T, inner["bias"]), rtol=1e-5)


def test_a_flax_nnx_module() -> None:
    layer = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    static, theta = nnx.split(layer)

    def loss(theta: Any, x: Any) -> Any:
        return jnp.sum(jnp.tanh(nnx.merge(static, theta)(x)) ** 2)

    weight, bias = layer.kernel[...].T, layer.bias[...]  # type: ignore[union-attr]
    np.testing.assert_allclose(measured(loss, theta), by_hand(weight, bias), rtol=1e-5)
