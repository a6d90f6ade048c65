"""Losses with kinks or frozen randomness are warned of; smooth ones are not, however they are computed."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import taylorsgd as ts
from taylorsgd.landscapes.smoothness import warn_of_rough_losses

POINTS = jnp.ones((3, 2))

SMOOTH = {
    "logsumexp": lambda t, x: jax.nn.logsumexp(t * x),
    "log_softmax": lambda t, x: jax.nn.log_softmax(t * x)[0],
    "softmax": lambda t, x: jnp.log(jax.nn.softmax(t * x)[0]),
    "tanh": lambda t, x: jnp.tanh(t * x).sum(),
    "gelu": lambda t, x: jax.nn.gelu(t * x).sum(),
    "silu": lambda t, x: jax.nn.silu(t * x).sum(),
    "softplus": lambda t, x: jax.nn.softplus(t * x).sum(),
    "log_sigmoid": lambda t, x: jax.nn.log_sigmoid(t * x).sum(),
    "kinks in data": lambda t, x: (t * jnp.abs(x)).sum() * jnp.max(x),
    "where of data": lambda t, x: jnp.where(x > 0, t, t**2).sum(),
    "stopped": lambda t, x: (t * jax.lax.stop_gradient(jnp.abs(t)) * x).sum(),
}
ROUGH = {
    "max": lambda t, x: jnp.maximum(t * x, 0).sum(),
    "relu": lambda t, x: jax.nn.relu(t * x).sum(),
    "abs": lambda t, x: jnp.abs(t * x).sum(),
    "where": lambda t, x: jax.nn.leaky_relu(t * x).sum(),
    "reduce_max": lambda t, x: jnp.max(t * x),
    "relu6": lambda t, x: jax.lax.scan(lambda c, _: (jax.nn.relu6(c * t.sum()), None), x.sum(), None, length=3)[0],
}


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_rough_losses(ts.Landscape(SMOOTH[name], POINTS), jnp.ones(2), 2)


@pytest.mark.parametrize("name", ROUGH)
def test_kinks(name: str) -> None:
    with pytest.warns(RuntimeWarning, match=rf"kinks in theta \(.*\b{name}\b"):
        warn_of_rough_losses(ts.Landscape(ROUGH[name], POINTS), jnp.ones(2), 2)


def test_dropout() -> None:
    def dropped(theta: Any, x: Any, key: Any) -> Any:
        return (theta * x * jax.random.bernoulli(key, 0.5, (2,))).sum()

    frozen = ts.Landscape(lambda theta, x: dropped(theta, x, jax.random.key(0)), POINTS)
    with pytest.warns(RuntimeWarning, match="the same at every evaluation"):
        warn_of_rough_losses(frozen, jnp.ones(2), 2)
    own = ts.Landscape(
        lambda theta, point: dropped(theta, point[0], jax.random.wrap_key_data(point[1])),
        (POINTS, jnp.arange(6, dtype=jnp.uint32).reshape(3, 2)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_rough_losses(own, jnp.ones(2), 2)


def test_measuring_warns() -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 1)
    with pytest.warns(RuntimeWarning, match="kinks"):
        ts.measure(formula, ts.Landscape(ROUGH["relu"], POINTS), jnp.ones(2), key=jax.random.key(0))
