"""Akaike's and Takeuchi's criteria: against dense linear algebra, each other, STIC's limit and a simulated gap."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from taylorsgd.landscapes import akaike, gap_estimate, takeuchi

RNG = np.random.default_rng(0)
BATCH = (RNG.normal(size=(9, 3)), RNG.normal(size=9))


def loss(theta: Any, point: Any) -> Any:
    x, y = point
    return jnp.logaddexp(0.0, -y * (x @ theta["W"] + theta["b"]))


def start() -> Any:
    return {"W": jnp.array([0.5, -1.0, 0.3]), "b": jnp.array(0.2)}


def test_takeuchis_is_dense_linear_algebra_and_the_limit_of_stic() -> None:
    with jax.enable_x64(True):
        theta = jax.tree.map(lambda leaf: leaf.astype(float), start())
        x, y = np.column_stack([*BATCH[0].T, np.ones(9)]), BATCH[1]
        weight = np.array([0.5, -1.0, 0.3, 0.2])
        slope = -y / (1 + np.exp(y * (x @ weight)))  # of each point's loss by its score
        curvature = -slope * (slope + y)
        C, H = np.cov((slope[:, None] * x).T), (x.T * curvature) @ x / 9
        assert takeuchi(loss, theta, BATCH) == pytest.approx(np.trace(np.linalg.solve(H, C)) / 9, rel=1e-9)
        assert gap_estimate(loss, theta, BATCH, 1e6) == pytest.approx(float(takeuchi(loss, theta, BATCH)), rel=1e-6)
        assert akaike(theta, BATCH) == 4 / 9


def test_where_the_model_holds_the_truth_they_agree_with_each_other_and_with_the_gap() -> None:
    """Least squares with unit noise, 4000 training sets of 40 points: the fitted gap is P/N up to O(1/N²)."""
    points, count, trials = 40, 3, 4000
    x, noise = RNG.normal(size=(trials, points, count)), RNG.normal(size=(trials, points))
    fitted = np.linalg.solve(np.einsum("tni,tnj->tij", x, x), np.einsum("tni,tn->ti", x, noise)[..., None])[..., 0]
    # the truth is 0: the test loss is (1 + |θ|²)/2
    gap = (1 + (fitted**2).sum(axis=1)) / 2 - ((noise - np.einsum("tni,ti->tn", x, fitted)) ** 2).mean(axis=1) / 2

    def squares(theta: Any, point: Any) -> Any:
        return (point[1] - point[0] @ theta) ** 2 / 2

    estimates = jax.jit(jax.vmap(lambda theta, x, y: takeuchi(squares, theta, (x, y))))(fitted, x, noise)
    error = gap.std() / trials**0.5
    expected = akaike(fitted[0], (x[0], noise[0]))
    order = 4 * expected**2  # of what is left out
    assert abs(gap.mean() - expected) < order + 4 * error
    assert abs(float(jnp.mean(estimates)) - expected) < order


def test_flat_directions_blow_up_takeuchis_alone() -> None:
    def flat(theta: Any, x: Any) -> Any:
        return theta[0] ** 2 / 2 + x @ theta

    noise = np.asarray(RNG.normal(size=(5, 2)), "f4")
    assert not np.isfinite(takeuchi(flat, jnp.zeros(2), noise))
    assert np.isfinite(gap_estimate(flat, jnp.zeros(2), noise, 2.0))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="2049 parameters, too many for their Hessian"):
        takeuchi(lambda theta, x: jnp.sum(theta) * x, jnp.zeros(2049), jnp.ones(3))
    with pytest.raises(ValueError, match=r"batch has leading axes of lengths \[2, 3\]"):
        akaike(jnp.zeros(2), (jnp.ones(2), jnp.ones(3)))
