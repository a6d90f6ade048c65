"""Descent on an l₂ coefficient, against closed forms of GD on a parabola and of Corollary 5 in one dimension."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from taylorsgd.descent import gap_estimate
from taylorsgd.reproducing.tenka.penalty_tuning import TuningSize, joint, tuned

SIZE = TuningSize(rounds=30)


def reached(hessian: float, penalty: float, x: np.ndarray) -> float:
    """θ_T of GD on H(θ − a)²/2 + S x̄ (θ − a) + λθ²/2 from 0, a geometric sum."""
    force, whole = hessian * SIZE.distance - SIZE.noise * x.mean(), hessian + penalty
    return force * (1 - (1 - SIZE.rate * whole) ** SIZE.updates) / whole


def criterion(hessian: float, penalty: float, x: np.ndarray) -> float:
    """The training loss at θ_T(λ) and tr[Ĉ/N · (1 − e^{−ηT(H+λ)})/(H+λ)]."""
    away, whole = reached(hessian, penalty, x) - SIZE.distance, hessian + penalty
    loss = hessian * away**2 / 2 + SIZE.noise * x.mean() * away
    gap = SIZE.noise**2 * x.var(ddof=1) / len(x) * -np.expm1(-SIZE.rate * SIZE.updates * whole) / whole
    return loss + gap


@pytest.mark.parametrize("hessian", [0.01, 0.3, 4.0])
def test_descent_on_the_coefficient_is_that_on_closed_forms(hessian: float) -> None:
    x = np.random.default_rng(1).standard_normal(SIZE.points)
    penalty = 0.0
    for _ in range(SIZE.rounds):
        step = 1e-6
        slope = (criterion(hessian, penalty + step, x) - criterion(hessian, penalty - step, x)) / (2 * step)
        penalty = max(0.0, penalty - SIZE.tuning * slope)
    with jax.enable_x64(True):
        found, weight, plain = tuned(hessian, jnp.asarray(x), SIZE)
    np.testing.assert_allclose(found, penalty, rtol=1e-5)
    np.testing.assert_allclose(weight, reached(hessian, penalty, x), rtol=1e-5)
    np.testing.assert_allclose(plain, reached(hessian, 0.0, x), rtol=1e-9)


def test_the_coefficient_stays_above_zero() -> None:
    """Far from the truth the training loss asks for a negative one."""
    far = TuningSize(distance=1000.0, rounds=5)
    found, weight, plain = tuned(1.0, jnp.linspace(-1, 1, 10), far)
    assert float(found) == 0.0 and float(weight) == float(plain)


@pytest.mark.parametrize(("known", "around_truth"), [(True, False), (False, False), (False, True)])
def test_joint_descent_is_that_on_the_estimated_gap(known: bool, around_truth: bool) -> None:
    """By automatic derivatives of the loss in (θ, λ) and of `gap_estimate`, which has C from the training set."""
    size = TuningSize(updates=12)
    hessian, rate, truth = 0.3, 0.05, 1.0
    x = np.random.default_rng(2).standard_normal((1, size.points))
    if known:  # points of variance 1, so that what is estimated is known
        x = (x - x.mean()) / x.std(ddof=1) + 0.2

    def loss(theta: Any, point: Any) -> Any:
        away, pulled = theta["weight"] - truth, theta["weight"] - truth * around_truth
        return hessian * away**2 / 2 + size.noise * point * away + theta["penalty"] * pulled**2 / 2

    def criterion(theta: Any) -> Any:
        of_weight = {"weight": True, "penalty": False}
        gap = gap_estimate(loss, theta, jnp.asarray(x[0]), rate * size.updates, weights=of_weight)
        return jnp.mean(jax.vmap(lambda point: loss(theta, point))(jnp.asarray(x[0]))) + gap

    with jax.enable_x64(True):
        theta = {"weight": jnp.zeros(()), "penalty": jnp.zeros(())}
        plain, slope_at = 0.0, jax.jit(jax.grad(criterion))
        for _ in range(size.updates):
            slope = slope_at(theta)
            theta = jax.tree.map(lambda leaf, g: leaf - rate * g, theta, slope)
            theta["penalty"] = jnp.maximum(0.0, theta["penalty"])
            plain -= rate * (hessian * (plain - truth) + size.noise * x.mean())
        penalty, weight, without = joint(hessian, x, size, rate, truth, known=known, around_truth=around_truth)
    assert float(theta["penalty"]) > 0.1
    np.testing.assert_allclose(penalty, [theta["penalty"]], rtol=1e-6)
    np.testing.assert_allclose(weight, [theta["weight"]], rtol=1e-6)
    np.testing.assert_allclose(without, [plain], rtol=1e-9)


def test_a_joint_coefficient_stays_above_zero() -> None:
    """Once the weight is far from where it began, the penalty is dear."""
    penalty, _, _ = joint(4.0, np.zeros((1, 10)), SIZE, 0.05, 1000.0)
    assert penalty.tolist() == [0.0]
