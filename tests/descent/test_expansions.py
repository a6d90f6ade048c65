"""What an expansion gives: errors that are those of its trials, predictions linear in them, comparisons."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import taylorsgd as ts

COIN = ts.Landscape(lambda theta, x: theta**2 / 2 + x * theta, jnp.array([-1.0, 1.0]))
PLACE = ts.SGD(N=4, B=1, E=1)


@pytest.fixture(scope="module")
def found() -> Any:
    return ts.expand(optax.sgd, COIN, 1.0, PLACE, 3, trials=500, key=5)


def test_errors_are_those_of_the_mean_over_trials(found: Any) -> None:
    np.testing.assert_allclose(found.coefficients, found.trials.mean(axis=0))
    np.testing.assert_allclose(found.covariance, np.cov(found.trials.T) / 500, atol=1e-15)
    np.testing.assert_allclose(found.standard_errors, found.trials.std(axis=0, ddof=1) / 500**0.5, atol=1e-12)
    assert found[2] == found.coefficients[2] and found.order == 3
    with pytest.raises(KeyError, match="η\\^4 was not computed"):
        found[4]


def test_predictions_are_the_series(found: Any) -> None:
    """At learning rates each trial is a polynomial, and the prediction is their mean with its error."""
    rates = np.array([0.1, 0.3])
    prediction = found.predict(rates)
    runs = found.trials @ rates ** np.arange(4)[:, None]  # (trials, k)
    np.testing.assert_allclose(prediction.mean, runs.mean(axis=0))
    np.testing.assert_allclose(prediction.covariance, np.cov(runs.T) / 500)
    np.testing.assert_allclose(prediction.contributions.sum(axis=0), prediction.mean)
    alone = found.predict(0.3)
    assert alone.mean.shape == alone.standard_error.shape == ()
    np.testing.assert_allclose(alone.standard_error, prediction.standard_error[1])
    with pytest.raises(ValueError, match="tolerance=2"):
        found.predict(0.1, tolerance=2)


def test_a_displacement_has_the_axes_of_its_leaves() -> None:
    landscape = ts.Landscape(lambda theta, x: jnp.sum(theta["a"] ** 2) / 2 + x * theta["a"][0], jnp.array([-1.0, 1.0]))
    theta = {"a": np.array([1.0, 2.0, 3.0])}
    vector = ts.expand(optax.sgd, landscape, theta, PLACE, 2, trials=50, observable=ts.Displacement())
    assert vector.coefficients["a"].shape == (3, 3) and vector.covariance["a"].shape == (3, 3, 3)
    np.testing.assert_allclose(vector.coefficients["a"][:, 1:], [[0, 0], [-8, -12], [12, 18]], rtol=1e-5)
    prediction = vector.predict([0.1, 0.2])
    assert prediction.mean["a"].shape == (2, 3) and prediction.covariance["a"].shape == (2, 2, 3)
    assert prediction.contributions["a"].shape == (3, 2, 3)
    expected = vector.coefficients["a"].T @ np.array([1, 0.2, 0.04])
    np.testing.assert_allclose(prediction.mean["a"][1], expected, rtol=1e-6)
    weights = np.array([[1, 0.1, 0.01], [1, 0.2, 0.04]])
    np.testing.assert_allclose(
        prediction.covariance["a"][..., 0], weights @ vector.covariance["a"][..., 0] @ weights.T, rtol=1e-6
    )
    with pytest.raises(TypeError, match="a displacement is a vector"):
        ts.compare(prediction, ts.simulate(landscape, theta, PLACE, [0.1, 0.2], 10, 0, update=optax.sgd))
    with pytest.raises(TypeError, match="without their trials"):
        _ = vector - vector


def test_it_is_compared_beside_a_formula(found: Any) -> None:
    """`compare` takes both; a simulation by the rule itself will do; shared draws are refused."""
    rates = [0.01, 0.02]
    run = ts.simulate(COIN, 1.0, PLACE, rates, 2000, key=6)
    by_formula = ts.predict(ts.derive(ts.TestLoss(), PLACE, 3), COIN, 1.0, eta=rates)
    for prediction in (found.predict(rates), by_formula):
        assert ts.compare(prediction, run).agrees
    assert "E[l(θ_4)], 2000 trials" in str(ts.compare(found.predict(rates), run))
    np.testing.assert_allclose(found.predict(rates).eta_max, by_formula.eta_max, rtol=0.2)
    with pytest.raises(ValueError, match="had the same training sets"):
        ts.compare(found.predict(rates), ts.simulate(COIN, 1.0, PLACE, rates, 500, key=5))
    with pytest.raises(ValueError, match="different landscapes or theta"):
        ts.compare(found.predict(rates), ts.simulate(COIN, 1.1, PLACE, rates, 500, key=7))
    with pytest.raises(ValueError, match="N=4 is not N=5"):
        ts.compare(found.predict(rates), ts.simulate(COIN, 1.0, ts.SGD(N=5, B=1, E=1), rates, 500, key=7))


def test_it_shows_itself(found: Any) -> None:
    assert "<Expansion from 500 trials of SGD(N=4, B=1, E=1)" in repr(found)
    assert "E[l(θ_4)] = Σ_k c_k η^k + O(η^4)" in str(found) and "<table" in found._repr_html_()
    assert "through η^3" in str(found.predict(0.1))
    axes = found.predict([0.1, 0.2]).plot()
    assert len(axes.lines) == 3  # orders 1, 2 and 3
    jax.tree.map(np.testing.assert_array_equal, found.predict(0.0).mean, found.coefficients[0])


def test_what_does_not_move_has_no_range() -> None:
    still = ts.Landscape(lambda theta, x: 0 * theta + x, jnp.array([-1.0, 1.0]))
    prediction = ts.expand(optax.sgd, still, 1.0, PLACE, 2, trials=10).predict([0.1])
    assert not prediction.range_known and np.isnan(prediction.truncation).all()
