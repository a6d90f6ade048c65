"""Explicit gradient regularization in training loops, against dense Hessians and the penalized loss.

(1) one update is the gradient of E_μ, for any pytree, whatever comes after it in the chain
(2) a whole jitted loop with minibatches goes where descent on `explicitly_regularized` goes
(3) μ may change in time through optax.inject_hyperparams
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from taylorsgd.descent import explicit_gradient_regularization
from taylorsgd.landscapes import explicitly_regularized


def loss(theta: Any, batch: Any) -> Any:
    x, y = batch
    return jnp.mean((jnp.tanh(x @ theta["W"] + theta["b"][0]) - y) ** 2)


def start() -> Any:
    return {"W": np.random.default_rng(0).normal(size=5).astype("f4"), "b": [np.float32(0.3)]}


def batches(count: int) -> Any:
    x = np.random.default_rng(1).normal(size=(count, 8, 5)).astype("f4")
    return x, np.sin(3 * x[..., 0])


def run(optimizer: Any, of: Any, count: int = 12, **keywords: Any) -> Any:
    def step(carry: Any, batch: Any) -> Any:
        theta, state = carry
        gradient = jax.grad(of)(theta, batch)
        more = {"value_fn": lambda theta: of(theta, batch)} if keywords.get("value_fn", True) else {}
        change, state = optimizer.update(gradient, state, theta, **more)
        return (optax.apply_updates(theta, change), state), None

    theta = start()
    (theta, state), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, batches(count)))((theta, optimizer.init(theta)))
    return ravel_pytree(theta)[0]


def test_one_update_is_the_gradient_of_the_regularized_loss() -> None:
    theta, mu = start(), 0.7
    batch = jax.tree.map(lambda leaf: leaf[0], batches(1))
    flat, unravel = ravel_pytree(theta)
    gradient = jax.grad(loss)(theta, batch)
    hessian = jax.jit(jax.hessian(lambda flat: loss(unravel(flat), batch)))(flat)
    optimizer = explicit_gradient_regularization(mu)
    update, _ = optimizer.update(gradient, optimizer.init(theta), theta, value_fn=lambda theta: loss(theta, batch))
    flat_gradient = ravel_pytree(gradient)[0]
    np.testing.assert_allclose(
        ravel_pytree(update)[0], flat_gradient + 2 * mu * hessian @ flat_gradient, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("after", [optax.sgd(0.2), optax.adam(0.05)])
def test_a_training_loop_goes_down_the_regularized_loss(after: Any) -> None:
    found = run(optax.chain(explicit_gradient_regularization(0.3), after), loss)
    expected = run(after, explicitly_regularized(loss, 0.3), value_fn=False)
    plain = run(after, loss, value_fn=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(plain - expected).max() > 0.01


def test_a_rate_that_changes_in_time() -> None:
    scheduled = optax.inject_hyperparams(explicit_gradient_regularization)(mu=lambda count: 0.1 * (count < 6))
    found = run(optax.chain(scheduled, optax.sgd(0.2)), loss)
    constant = optax.chain(explicit_gradient_regularization(0.1), optax.sgd(0.2))
    assert np.abs(found - run(constant, loss)).max() > 1e-3
    at_first = run(optax.chain(scheduled, optax.sgd(0.2)), loss, count=6)
    np.testing.assert_allclose(at_first, run(constant, loss, count=6), rtol=1e-5)


def test_it_says_what_it_needs() -> None:
    optimizer = explicit_gradient_regularization(0.1)
    with pytest.raises(ValueError, match="params=None"):
        optimizer.update(1.0, optimizer.init(1.0))
    with pytest.raises(TypeError, match="value_fn=None.*optimizer.update"):
        optimizer.update(1.0, optimizer.init(1.0), 1.0)
    with pytest.raises(ValueError, match="value_fn returned an array of shape"):
        optimizer.update(jnp.ones(2), optimizer.init(1.0), jnp.ones(2), value_fn=lambda theta: theta)
