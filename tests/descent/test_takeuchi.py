"""Takeuchi's criterion by simulation: at a minimum the gap of gradient descent tends to tr(C H⁻¹)/N.

Exactly so where noise is additive, l_x = ½ θᵀHθ + xᵀθ: descent on N points ends at −H⁻¹x̄, and the gap is
x̄ᵀH⁻¹x̄. Otherwise O(1/N²) remains: the gap times N, less tr(C H⁻¹), halves when N doubles. With C = H the trace is
the number of parameters, and the limit the AIC's. (Tenka, Corollary 5.)
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts

HESSIAN = np.array([[2.0, 0.5], [0.5, 1.0]])
NOISE = np.array([[1.0, 0.5], [-1.0, 1.0], [0.5, -2.0], [-0.5, 0.5]])
assert not NOISE.sum(axis=0).any()


def additive(theta: Any, x: Any) -> Any:
    return theta @ HESSIAN @ theta / 2 + x @ theta


def fluctuating(theta: Any, x: Any) -> Any:
    return additive(theta, x) + x[0] * theta[0] ** 2 / 2 + theta[0] ** 4 / 8


def predicted(loss: Any, points: int, noise: np.ndarray = NOISE) -> float:
    """The formula's limit at order 1, from the measured tensors."""
    formula = ts.derive(ts.GeneralizationGap(), ts.GD(), 1, resum="discrete").assume("minimum").limit()
    tensors = ts.measure(formula, ts.Landscape(loss, noise), jnp.zeros(2), key=jax.random.key(0))
    return float(formula.lower()(tensors, eta=0.2, N=points))


def simulated(loss: Any, points: int, trials: int, noise: np.ndarray = NOISE) -> tuple[float, float]:
    run = ts.simulate(
        ts.Landscape(loss, noise), jnp.zeros(2), ts.GD(N=points, T=150), 0.2, trials, jax.random.key(points)
    )
    assert run.gap is not None
    return float(run.gap.mean), float(run.gap.standard_error)


@pytest.mark.parametrize("points", [2, 5])
def test_additive_noise(points: int) -> None:
    covariance = NOISE.T @ NOISE / len(NOISE)
    limit = predicted(additive, points)
    assert limit == pytest.approx(np.trace(covariance @ np.linalg.inv(HESSIAN)) / points, rel=1e-5)
    mean, error = simulated(additive, points, 20_000)
    assert abs(mean - limit) < 4 * error
    assert error < 0.02 * limit


def test_covariance_equal_to_the_hessian_counts_parameters() -> None:
    noise = np.sqrt(2) * np.concatenate([np.linalg.cholesky(HESSIAN).T, -np.linalg.cholesky(HESSIAN).T])
    assert predicted(additive, 7, noise) == pytest.approx(2 / 7, rel=1e-5)
    mean, error = simulated(additive, 7, 20_000, noise)
    assert abs(mean - 2 / 7) < 4 * error


def test_what_remains_otherwise_is_of_second_order_in_one_over_N() -> None:
    sizes, trials = (10, 20), 100_000
    remainders, errors = [], []
    for points in sizes:
        mean, error = simulated(fluctuating, points, trials)
        remainders.append(points**2 * (mean - predicted(fluctuating, points)))
        errors.append(points**2 * error)
    first, second = remainders
    assert abs(first) > 4 * errors[0]  # it is there
    assert abs(first - second) < 4 * np.hypot(*errors)  # and falls as 1/N²
