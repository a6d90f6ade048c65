"""STIC and GDC: the estimated gap against dense linear algebra and against simulated gaps; training loops.

(1) the estimate is tr(Ĉ ∫ e^{−sĤ} ds)/N, for any pytree, also with flat and downward directions
(2) without matrices it is that of T discrete updates, and so is its gradient
(3) over training sets its mean is the gap that simulation finds
(4) the transformations descend on the regularized losses, and tune an l₂ coefficient
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from scipy.linalg import expm

import taylorsgd as ts
from taylorsgd.descent import covariance_regularization, gap_estimate, gap_regularization

RNG = np.random.default_rng(0)
BATCH = (RNG.normal(size=(6, 3)), RNG.normal(size=6))


def loss(theta: Any, point: Any) -> Any:
    x, y = point
    return (jnp.tanh(x @ theta["W"] + theta["b"][0]) - y) ** 2 + theta["lam"] * jnp.sum(theta["W"] ** 2)


def start() -> Any:
    return {"W": jnp.array([0.5, -1.0, 0.3]), "b": [jnp.array(0.2)], "lam": jnp.array(0.1)}


WEIGHTS = {"W": True, "b": True, "lam": False}


def dense(theta: Any) -> tuple[np.ndarray, np.ndarray]:
    """Ĉ and Ĥ over the weights, in numpy."""
    flat, unravel = ravel_pytree({"W": theta["W"], "b": theta["b"]})

    def losses(flat: Any) -> Any:
        return jax.vmap(lambda point: loss(unravel(flat) | {"lam": theta["lam"]}, point))(BATCH)

    gradients = np.asarray(jax.jit(jax.jacrev(losses))(flat))
    hessian = jax.jit(jax.hessian(lambda flat: jnp.mean(losses(flat))))(flat)
    return np.cov(gradients.T), np.asarray(hessian)


def integral(H: np.ndarray, time: float) -> np.ndarray:
    size = len(H)
    return expm(np.block([[-time * H, time * np.eye(size)], [np.zeros_like(H), np.zeros_like(H)]]))[:size, size:]


def penalty(theta: Any, steps: Any = None, time: float = 1.5) -> Any:
    return gap_estimate(loss, theta, BATCH, time, weights=WEIGHTS, steps=steps)


def written(theta: Any, steps: Any = None, time: float = 1.5) -> float:
    C, H = dense(theta)
    if steps is None:
        return np.trace(C @ integral(H, time)) / 6
    power = np.linalg.matrix_power(np.eye(len(H)) - time / steps * H, steps)
    return np.trace(C @ np.linalg.solve(H, np.eye(len(H)) - power)) / 6


@pytest.mark.parametrize("steps", [None, 5])
def test_the_estimate_and_its_slope(steps: Any) -> None:
    with jax.enable_x64(True):
        theta = jax.tree.map(lambda leaf: leaf.astype(float), start())
        value, slope = jax.jit(jax.value_and_grad(penalty), static_argnums=1)(theta, steps)
        assert value == pytest.approx(written(theta, steps), rel=1e-8)
        flat, unravel = ravel_pytree(theta)
        for i, found in enumerate(ravel_pytree(slope)[0]):  # λ is the last
            ends = [written(unravel(flat.at[i].add(step)), steps) for step in (1e-5, -1e-5)]
            assert found == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


def test_flat_and_downward_directions_do_no_harm() -> None:
    H = np.diag([2.0, 0.0, 0.0, -0.5])

    def quadratic(theta: Any, x: Any) -> Any:
        return theta @ H @ theta / 2 + x @ theta

    noise = np.asarray(RNG.normal(size=(5, 4)), "f4")
    expected = np.trace(np.cov(noise.T) @ integral(H, 3.0)) / 5
    for theta in (jnp.zeros(4), jnp.ones(4)):
        value, slope = jax.value_and_grad(lambda theta: gap_estimate(quadratic, theta, noise, 3.0))(theta)
        assert value == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(slope, 0, atol=1e-5)
    assert gap_estimate(quadratic, jnp.zeros(4), noise[:1], 3.0) == 0


def test_its_mean_is_the_simulated_gap() -> None:
    """On quadratics with additive noise E[estimate] at N points with T steps is the gap of T updates, exactly."""
    H = np.array([[2.0, 0.5], [0.5, 1.0]])
    noise = jnp.array([[1.0, 0.5], [-1.0, 1.0], [0.5, -2.0], [-0.5, 0.5]])

    def quadratic(theta: Any, x: Any) -> Any:
        return theta @ H @ theta / 2 + x @ theta

    place = ts.Landscape(quadratic, noise)
    run = ts.simulate(place, jnp.zeros(2), ts.GD(N=4, T=6), 0.2, 20_000, jax.random.key(0))
    sets = place.draw(jax.random.key(1), (4000, 4))
    estimates = np.asarray(jax.vmap(lambda batch: gap_estimate(quadratic, jnp.zeros(2), batch, 1.2, steps=6))(sets))
    assert run.gap is not None
    error = np.hypot(run.gap.standard_error, estimates.std() / np.sqrt(4000))
    assert abs(estimates.mean() - run.gap.mean) < 4 * error
    assert error < 0.02 * run.gap.mean


def descended(optimizer: Any, objective: Any, steps: int = 10) -> Any:
    """A jitted training loop down the gradient of `objective`, with the batch handed to the optimizer."""

    def step(carry: Any, _: None) -> Any:
        theta, state = carry
        change, state = optimizer.update(jax.grad(objective)(theta), state, theta, batch=BATCH)
        return (optax.apply_updates(theta, change), state), None

    theta = start()
    (theta, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, length=steps))((theta, optimizer.init(theta)))
    return ravel_pytree(theta)[0]


def mean_loss(theta: Any) -> Any:
    return jnp.mean(jax.vmap(loss, (None, 0))(theta, BATCH))


def noise(theta: Any) -> Any:
    gradients = jax.vmap(lambda point: ravel_pytree(jax.grad(loss)(theta, point))[0])(BATCH)
    return jnp.sum(jnp.var(gradients, axis=0, ddof=1))


@pytest.mark.parametrize(
    ("transformation", "regularizer"),
    [
        (covariance_regularization(loss, 0.05), lambda theta: 0.05 * noise(theta)),
        (gap_regularization(loss, 1.5, weights=WEIGHTS), penalty),
        (gap_regularization(loss, 1.5, weights=WEIGHTS, steps=4), lambda theta: penalty(theta, 4)),
    ],
    ids=["GDC", "STIC", "STIC without matrices"],
)
def test_training_loops_go_down_the_regularized_losses(transformation: Any, regularizer: Any) -> None:
    after = optax.with_extra_args_support(optax.adam(0.05))
    found = descended(optax.chain(transformation, after), mean_loss)
    expected = descended(after, lambda theta: mean_loss(theta) + regularizer(theta))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert np.abs(descended(after, mean_loss) - expected).max() > 0.01


def test_gdc_in_a_loop_is_the_update_rule() -> None:
    place, key = ts.Landscape(loss, BATCH), jax.random.key(0)
    way: Any = ts.GD(N=4, T=3)

    def loop(eta: Any) -> Any:
        return optax.chain(covariance_regularization(loss, eta * (1 - 1 / 4) / 4), optax.sgd(eta))

    runs = [ts.simulate(place, start(), way, 0.1, 20, key, update=rule) for rule in (ts.GDC(B=1), loop)]
    np.testing.assert_allclose(runs[0].test_loss.trials, runs[1].test_loss.trials, rtol=1e-5)


def test_an_l2_coefficient_is_tuned_and_stays_positive() -> None:
    """MEAN ESTIMATION: where H ≪ C/N the penalty helps, and where H is large STIC leaves it at 0."""

    def losses(H: float) -> Any:
        def penalized(theta: Any, x: Any) -> Any:
            return (H + theta["lam"]) * theta["w"] ** 2 / 2 + x * theta["w"]

        plain = ts.Observable(lambda theta: H * theta["w"] ** 2 / 2, name="plain")
        place = ts.Landscape(penalized, jnp.array([-3.0, 3.0]))
        theta = {"w": jnp.array(2.0), "lam": jnp.array(0.0)}
        lam = ts.Observable(lambda theta: theta["lam"], name="lam")

        def stic(eta: Any) -> Any:
            return optax.chain(
                gap_regularization(penalized, eta * 60, weights={"w": True, "lam": False}),
                optax.sgd(eta),
                optax.masked(optax.keep_params_nonnegative(), {"w": False, "lam": True}),
            )

        def gd(eta: Any) -> Any:
            return optax.chain(optax.masked(optax.set_to_zero(), {"w": False, "lam": True}), optax.sgd(eta))

        runs = [
            ts.simulate(place, theta, ts.GD(N=4, T=60), 0.1, 300, jax.random.key(0), update=u, observables=[plain, lam])
            for u in (stic, gd)
        ]
        saved = (runs[1] - runs[0]).statistic(plain)
        return saved.mean / saved.standard_error, runs[0].observables["lam"].trials

    gain, coefficients = losses(0.3)
    assert gain > 4 and coefficients.mean() > 0.1
    assert min(coefficients.min(), losses(4.0)[1].min()) >= 0


def test_errors() -> None:
    theta = start()
    with pytest.raises(ValueError, match="steps=0 must be at least 1"):
        penalty(theta, 0)
    with pytest.raises(ValueError, match="marks no parameter"):
        gap_estimate(loss, theta, BATCH, 1.0, weights=False)
    with pytest.raises(ValueError, match="theta has 2049 weights.*give steps"):
        gap_estimate(lambda theta, x: x * jnp.sum(theta), jnp.zeros(2049), jnp.ones(2), 1.0)
    with pytest.raises(ValueError, match="loss returned an array of shape"):
        gap_estimate(lambda theta, x: theta, jnp.zeros(2), jnp.ones(2), 1.0)
    for optimizer in (covariance_regularization(loss, 0.1), gap_regularization(loss, 1.0)):
        with pytest.raises(ValueError, match="params=None"):
            optimizer.update(theta, optimizer.init(theta), batch=BATCH)
        with pytest.raises(TypeError, match="batch=None.*optimizer.update"):
            optimizer.update(theta, optimizer.init(theta), theta)
