"""Losses with kinks or frozen randomness are warned of; smooth ones are not, however they are computed."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import taylorsgd as ts
from taylorsgd.landscapes.smoothness import warn_of_roughness

POINTS = jnp.ones((3, 2))


def by_hand(scores: Any, largest: Any) -> Any:
    return largest + jnp.log(jnp.sum(jnp.exp(scores - largest)))


def looped(t: Any, x: Any) -> Any:
    return jax.lax.while_loop(lambda state: state[0] < t.sum(), lambda s: (s[0] + 1, s[1] + t @ x), (0.0, 0.0))[1]


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
    "stopped without harm": lambda t, x: by_hand(t * x, jax.lax.stop_gradient(jnp.max(t * x))),
    "loops": lambda t, x: jax.lax.fori_loop(0, 3, lambda i, c: c + jnp.sin(t * x).sum() * i, 0.0),
    "branches of data": lambda t, x: jax.lax.cond(x[0] > 0, jnp.sum, jnp.prod, t),
    "rounded data": lambda t, x: (t * x.astype(int)).sum() + t[x.astype(int)[0] - 1],
}
STOPPED = {
    "a factor": lambda t, x: (t * jax.lax.stop_gradient(jnp.abs(t)) * x).sum(),
    "all": lambda t, x: (jax.lax.stop_gradient(t) * x).sum(),
    "a target": lambda t, x: ((t - jax.lax.stop_gradient(2 * t)) ** 2 * x).sum(),
}
ROUGH = {
    "max": lambda t, x: jnp.maximum(t * x, 0).sum(),
    "relu": lambda t, x: jax.nn.relu(t * x).sum(),
    "abs": lambda t, x: jnp.abs(t * x).sum(),
    "where": lambda t, x: jax.nn.leaky_relu(t * x).sum(),
    "cond": lambda t, x: jax.lax.cond(t[0] > 0, lambda: (t * x).sum(), lambda: (t**2 * x).sum()),
    "while_loop": looped,
    "astype": lambda t, x: (t * x).astype(int).astype(float).sum() + t.sum(),
    "round": lambda t, x: jnp.round(t * x).sum(),
    "reduce_max": lambda t, x: jnp.max(t * x),
    "relu6": lambda t, x: jax.lax.scan(lambda c, _: (jax.nn.relu6(c * t.sum()), None), x.sum(), None, length=3)[0],
}


def warn_of(place: ts.Landscape, theta: Any) -> None:
    warn_of_roughness(place.traced(theta).point_loss, theta, place.rows(jnp.arange(3)), 2)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of(ts.Landscape(SMOOTH[name], POINTS), jnp.array([1.0, 0.7]))


@pytest.mark.parametrize("name", ROUGH)
def test_kinks(name: str) -> None:
    with pytest.warns(RuntimeWarning, match=rf"kinks in theta \(.*\b{name}\b"):
        warn_of(ts.Landscape(ROUGH[name], POINTS), jnp.ones(2))


@pytest.mark.parametrize("name", STOPPED)
def test_stopped_gradients(name: str) -> None:
    with pytest.warns(RuntimeWarning, match="the loss holds a stop_gradient, and its derivatives are not those"):
        warn_of(ts.Landscape(STOPPED[name], POINTS), jnp.array([1.0, 0.7]))


def test_truth_values_of_parameters() -> None:
    with pytest.warns(RuntimeWarning, match="astype"):
        warn_of(ts.Landscape(lambda t, x: (t * x * (t > 0)).sum(), POINTS), jnp.ones(2))


def test_observables_are_looked_at() -> None:
    place, theta = ts.Landscape(SMOOTH["tanh"], POINTS), jnp.array([1.0, 0.7])
    for s, said in (
        (lambda t: jnp.abs(t).sum(), r"the observable R has kinks in theta \(abs\)"),
        (lambda t: (t * jax.lax.stop_gradient(t)).sum(), "the observable R holds a stop_gradient"),
    ):
        f = ts.derive(ts.Observable(s, name="R"), ts.SGD(B=1, E=1), 1)
        with pytest.warns(RuntimeWarning, match=said):
            ts.measure(f, place, theta)


def test_dropout() -> None:
    def dropped(theta: Any, x: Any, key: Any) -> Any:
        return (theta * x * jax.random.bernoulli(key, 0.5, (2,))).sum()

    frozen = ts.Landscape(lambda theta, x: dropped(theta, x, jax.random.key(0)), POINTS)
    with pytest.warns(RuntimeWarning, match="the same at every evaluation"):
        warn_of(frozen, jnp.ones(2))
    own = ts.Landscape(
        lambda theta, point: dropped(theta, point[0], jax.random.wrap_key_data(point[1])),
        (POINTS, jnp.arange(6, dtype=jnp.uint32).reshape(3, 2)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of(own, jnp.ones(2))


def test_measuring_warns() -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 1)
    with pytest.warns(RuntimeWarning, match="kinks"):
        ts.measure(formula, ts.Landscape(ROUGH["relu"], POINTS), jnp.ones(2), key=jax.random.key(0))
