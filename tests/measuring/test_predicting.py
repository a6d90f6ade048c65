"""Predictions: linear in what was measured, so their errors are exact combinations of its errors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts
from taylorsgd import symbols
from taylorsgd.landscapes import Landscape, measure, predict
from taylorsgd.measuring import MatrixFree

RATES = [0.002, 0.01, 0.05]
PAIRS = MatrixFree(batch=2)


@pytest.fixture(scope="module")
def gap() -> ts.Formula:
    return ts.derive(ts.GeneralizationGap(), ts.SGD(B=1), order=2)


def test_mean_and_covariance_are_the_weights_applied(twins: Any, gap: ts.Formula, x64: None) -> None:
    measured = measure(gap, twins.landscape(), twins.theta(), key=jax.random.key(0), samples=100, method=PAIRS)
    predicted = predict(gap, twins.landscape(), twins.theta(), eta=RATES, measurement=measured, T=12, N=4)
    sizes = {"T": 12, "N": 4}
    weights = np.array(
        [
            [float(term.coefficient.subs({symbols.E: 3, symbols.N: 4})) * eta**term.order for term in gap.terms]
            for eta in RATES
        ]
    )
    assert sizes["T"] == 3 * sizes["N"]
    np.testing.assert_allclose(predicted.mean, weights @ measured.mean, rtol=1e-12)
    np.testing.assert_allclose(predicted.covariance, weights @ measured.covariance @ weights.T, rtol=1e-12)
    np.testing.assert_allclose(
        predicted.standard_error, np.sqrt(np.diag(weights @ measured.covariance @ weights.T)), rtol=1e-12
    )
    low, high = predicted.interval
    np.testing.assert_allclose(high - low, 2 * 1.959964 * predicted.standard_error, rtol=1e-6)
    np.testing.assert_allclose(np.sum(predicted.contributions, axis=0), predicted.mean, rtol=1e-12)
    assert predicted.contributions.shape == (3, 3) and (predicted.contributions[0] == 0).all()


def test_a_scalar_rate_gives_scalars(twins: Any, gap: ts.Formula) -> None:
    listed = predict(gap, twins.landscape(), twins.theta(), eta=RATES, samples=50, method=PAIRS, E=1, N=4)
    single = predict(gap, twins.landscape(), twins.theta(), eta=RATES[1], samples=50, method=PAIRS, E=1, N=4)
    assert single.mean.shape == single.covariance.shape == single.standard_error.shape == ()
    np.testing.assert_allclose(single.mean, listed.mean[1], rtol=1e-6)
    np.testing.assert_allclose(single.standard_error, listed.standard_error[1], rtol=1e-6)
    assert "in range" in str(single)


def test_one_measurement_serves_several_formulas(twins: Any, gap: ts.Formula) -> None:
    other = ts.derive(ts.TestLoss(), ts.GD(), order=2)
    key = jax.random.key(4)
    both = measure([gap, other], twins.landscape(), twins.theta(), key=key, samples=50, method=PAIRS)
    alone = measure(other, twins.landscape(), twins.theta(), key=key, samples=50, method=PAIRS)
    shared = predict(other, twins.landscape(), twins.theta(), eta=0.01, measurement=both, T=3, N=4)
    own = predict(other, twins.landscape(), twins.theta(), eta=0.01, measurement=alone, T=3, N=4)
    assert abs(shared.mean - own.mean) < 6 * np.hypot(shared.standard_error, own.standard_error)
    assert own.covariance > 0 and shared.covariance == pytest.approx(float(own.covariance), rel=0.5)


def test_displacements_have_errors_entry_by_entry(twins: Any, x64: None) -> None:
    f = ts.derive(ts.Displacement(), ts.SGD(B=1), order=2)
    measured = measure(f, twins.landscape(), twins.theta(), key=jax.random.key(0), samples=100, method=PAIRS)
    predicted = predict(f, twins.landscape(), twins.theta(), eta=RATES, measurement=measured, E=2, N=4)
    weights = f.lower().weights(np.array(RATES), E=2, N=4)
    for entry in range(2):
        np.testing.assert_allclose(predicted.mean[entry], weights @ measured.mean[entry], rtol=1e-12)
        expected = weights @ measured.covariance[entry] @ weights.T
        np.testing.assert_allclose(predicted.covariance[entry], expected, rtol=1e-12)
    assert predicted.range_ok.shape == (3,)
    assert "in range" in repr(predicted)


def test_the_range_is_where_the_highest_order_is_small(twins: Any) -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(N=4, B=1, E=1), order=3)
    predicted = predict(f, twins.landscape(), twins.theta(), eta=RATES, samples=50, method=PAIRS, tolerance=0.05)
    ratio = np.abs(predicted.contributions[3] / predicted.contributions[1])
    np.testing.assert_allclose(predicted.truncation, ratio)
    parts = np.abs(predicted.contributions)
    steps = [parts[2] / parts[1], parts[3] / parts[2], np.sqrt(parts[3] / parts[1])]
    assert (ratio[predicted.range_ok] <= 0.05).all()
    # The parts' errors make them larger: here by at most a third.
    assert (np.max(steps, axis=0)[predicted.range_ok] <= np.sqrt(0.05)).all()
    assert (1.4 * np.max(steps, axis=0)[~predicted.range_ok] >= np.sqrt(0.05)).all()
    edge = np.max(np.abs(RATES)[predicted.range_ok])
    assert edge <= predicted.eta_max < np.inf
    assert predicted.range_ok.any() and not predicted.range_ok.all()
    html = predicted._repr_html_()
    assert html.count("<tr>") == 4


def test_one_order_has_no_range(twins: Any) -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(N=4, B=1, E=1), order=1)
    predicted = predict(f, twins.landscape(), twins.theta(), eta=RATES)
    assert np.isnan(predicted.truncation).all() and np.isnan(predicted.eta_max) and not predicted.range_ok.any()
    assert (predicted.standard_error == 0).all()  # l − T G·G needs no samples


def test_coverage_of_the_intervals(twins: Any) -> None:
    # 200 predictions from independent measurements: the exact answer lies in about 95 % of the intervals.
    f = ts.derive(ts.GeneralizationGap(), ts.SGD(N=2, B=1, E=1), order=2)
    exact = float(f.evaluate(twins.exact, at=twins.start).subs("eta", 0.01))
    inside = 0
    for seed in range(200):
        predicted = predict(
            f, twins.landscape(), twins.theta(), eta=0.01, key=jax.random.key(seed), samples=60, method=PAIRS
        )
        low, high = predicted.interval
        inside += bool(low <= exact <= high)
    assert 178 <= inside <= 200  # 190 ± 3.9 standard deviations of 3.1


class TestErrors:
    def test_sizes_are_asked_for_before_measuring(self, twins: Any, gap: ts.Formula) -> None:
        def never(theta: Any, x: Any) -> Any:
            raise AssertionError("measured before the sizes were checked")

        with pytest.raises(ValueError, match="the sizes E, N have no value yet"):
            predict(gap, Landscape(never, jnp.ones(2)), 1.0, eta=0.1)

    def test_bad_arguments(self, twins: Any, gap: ts.Formula) -> None:
        landscape, theta = twins.landscape(), twins.theta()
        with pytest.raises(TypeError, match="not a Formula"):
            predict(3, landscape, theta, eta=0.1)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="not a Measurement"):
            predict(gap, landscape, theta, eta=0.1, measurement=3, N=2, E=1)  # type: ignore[arg-type]
        for eta in ([], [[0.1]], np.nan):
            with pytest.raises(ValueError, match="eta="):
                predict(gap, landscape, theta, eta=eta, N=2, E=1)

    def test_a_measurement_of_something_else(self, twins: Any, gap: ts.Formula) -> None:
        measured = measure(gap[1], twins.landscape(), twins.theta(), key=jax.random.key(0), samples=10)
        with pytest.raises(ValueError, match="tensors lacks the values"):
            predict(gap, twins.landscape(), twins.theta(), eta=0.1, measurement=measured, N=2, E=1)
