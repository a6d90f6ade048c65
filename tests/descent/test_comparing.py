"""Predictions beside simulations: the joint χ², and that it tells right formulas from wrong ones."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import taylorsgd as ts
from taylorsgd.descent.comparing import compare
from taylorsgd.descent.simulating import simulate
from taylorsgd.landscapes import Landscape, measure, predict

SPACETIME = ts.SGD(N=4, B=1, E=2)
RATES = [0.002, 0.004, 0.008, 0.1]


@pytest.fixture(scope="module")
def landscape() -> Landscape:
    points = np.random.default_rng(3).normal(size=(40, 2)) / 2
    return Landscape(lambda theta, x: jnp.sum(jnp.cosh(theta + x)) + theta[0] * theta[1] * x[0], points)


@pytest.fixture(scope="module")
def theta() -> jax.Array:
    return jnp.array([0.75, -0.5])


@pytest.fixture(scope="module")
def simulation(landscape: Landscape, theta: jax.Array) -> Any:
    return simulate(landscape, theta, SPACETIME, RATES, 40_000, jax.random.key(5))


@pytest.fixture(scope="module")
def measurement(landscape: Landscape, theta: jax.Array) -> Any:
    formulas = [ts.derive(o, ts.SGD(), order=3) for o in (ts.TestLoss(), ts.GeneralizationGap())]
    return measure(formulas, landscape, theta, key=jax.random.key(0), samples=20_000)


def prediction_of(observable: Any, measurement: Any, landscape: Landscape, theta: Any, order: int = 3) -> Any:
    f = ts.derive(observable, SPACETIME, order=order)
    return predict(f, landscape, theta, eta=RATES, measurement=measurement)


@pytest.mark.parametrize("observable", [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap()], ids=repr)
def test_third_order_agrees_with_simulation(
    observable: Any, simulation: Any, measurement: Any, landscape: Landscape, theta: Any
) -> None:
    predicted = prediction_of(observable, measurement, landscape, theta)
    comparison = compare(predicted, simulation, observable)
    assert comparison.inside.tolist() == [True, True, True, False]
    assert comparison.degrees == 3
    assert comparison.agrees and comparison.p_value > 0.01
    assert abs(comparison.deviations[3]) > 5  # where the range ends, the truncation shows


def test_the_variance_agrees(simulation: Any, landscape: Landscape, theta: Any) -> None:
    observable = ts.Variance(ts.TestLoss())
    f = ts.derive(observable, SPACETIME, order=4)
    predicted = predict(f, landscape, theta, eta=RATES, samples=20_000)
    comparison = compare(predicted, simulation, observable)
    assert comparison.degrees >= 1 and comparison.p_value > 0.01


def test_wrong_formulas_are_found_out(simulation: Any, measurement: Any, landscape: Landscape, theta: Any) -> None:
    first_order = prediction_of(ts.TestLoss(), measurement, landscape, theta, order=1)
    assert compare(first_order, simulation).p_value < 1e-6
    right = ts.derive(ts.TestLoss(), SPACETIME, order=3)
    wrong = right - right[2] / 10
    predicted = predict(wrong, landscape, theta, eta=RATES, measurement=measurement)
    assert compare(predicted, simulation).p_value < 1e-4
    train = prediction_of(ts.TrainLoss(), measurement, landscape, theta)
    assert compare(train, simulation, ts.TestLoss(), strict=False).p_value < 1e-6


def test_chi_squared_by_hand(simulation: Any, measurement: Any, landscape: Landscape, theta: Any) -> None:
    predicted = prediction_of(ts.TestLoss(), measurement, landscape, theta)
    comparison = compare(predicted, simulation)
    residual = (predicted.mean - simulation.test_loss.mean)[:3]
    covariance = predicted.covariance[:3, :3] + np.diag(simulation.test_loss.standard_error[:3] ** 2)
    chi2 = residual @ np.linalg.inv(covariance) @ residual
    assert comparison.chi2 == pytest.approx(chi2, rel=1e-9)
    assert comparison.p_value == pytest.approx(stats.chi2.sf(chi2, 3), rel=1e-9)
    np.testing.assert_allclose(comparison.deviations[:3], residual / np.sqrt(np.diag(covariance)))
    assert f"p = {comparison.p_value:.2g}: they agree" in str(comparison)
    assert "they agree" in repr(comparison)
    assert comparison._repr_html_().count("<tr>") == 5


def test_a_single_rate(landscape: Landscape, theta: Any) -> None:
    f = ts.derive(ts.TestLoss(), SPACETIME, order=2)
    predicted = predict(f, landscape, theta, eta=0.001, samples=200)
    run = simulate(landscape, theta, SPACETIME, 0.001, 200, jax.random.key(0))
    assert compare(predicted, run).degrees == 1


class TestErrors:
    def run(self, landscape: Landscape, theta: Any, eta: Any, order: int = 2, **settings: Any) -> Any:
        f = ts.derive(settings.pop("observable", ts.TestLoss()), SPACETIME, order=order)
        predicted = predict(f, landscape, theta, eta=eta, samples=20, **settings)
        return predicted, simulate(landscape, theta, SPACETIME, eta, 20, jax.random.key(0))

    def test_other_types(self, simulation: Any) -> None:
        with pytest.raises(TypeError, match="a Prediction and a Simulation, not int and Simulation"):
            compare(3, simulation)  # type: ignore[arg-type]

    def test_other_rates(self, simulation: Any, landscape: Landscape, theta: Any) -> None:
        predicted, _ = self.run(landscape, theta, [0.01, 0.02])
        with pytest.raises(ValueError, match="learning rates differ"):
            compare(predicted, simulation)

    def test_nothing_in_range(self, landscape: Landscape, theta: Any) -> None:
        with pytest.raises(ValueError, match="no learning rate lies in the formula's range"):
            compare(*self.run(landscape, theta, [0.05], tolerance=1e-6))

    def test_vectors(self, landscape: Landscape, theta: Any) -> None:
        predicted, run = self.run(landscape, theta, [0.01], observable=ts.Displacement())
        for observable in (ts.Displacement(), ts.TestLoss()):
            with pytest.raises(TypeError, match="takes scalars"):
                compare(predicted, run, observable, strict=False)

    def test_divergence_in_range(self, landscape: Landscape, theta: Any) -> None:
        with pytest.warns(RuntimeWarning, match="diverged"):
            pair = self.run(landscape, theta, [5.0], order=1)
        with pytest.raises(ValueError, match="trials diverged"):
            compare(*pair)

    def test_no_errors_at_all(self, theta: Any) -> None:
        certain = Landscape(lambda theta, x: jnp.sum(theta**2) + 0 * x, jnp.ones(1))
        with pytest.raises(ValueError, match="both without error"):
            compare(*self.run(certain, theta, [0.001]))
