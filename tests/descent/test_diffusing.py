"""The simulated ODE and SDE against formulas, closed forms and the resummed drift.

References: DESIGN's table for the ODE and SDE (Tenka, Corollary 3); the Ornstein–Uhlenbeck process; HELIX.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

import taylorsgd as ts

POINTS = jnp.array([-1.0, 0.5, 2.0, 0.25])


def quartic(theta: Any, x: Any) -> Any:
    return jnp.sum((theta - x) ** 2) / 2 + theta[0] ** 4 / 12 + x * theta[0] * theta[1] / 2


def exact_twin() -> ts.FiniteLandscape:
    u, v = sp.symbols("u v")
    points = [sp.Rational(-1), sp.Rational(1, 2), sp.Integer(2), sp.Rational(1, 4)]
    losses = [((u - x) ** 2 + (v - x) ** 2) / 2 + u**4 / 12 + x * u * v / 2 for x in points]
    return ts.FiniteLandscape(losses, [sp.Rational(1, 4)] * 4, [u, v])


START = [sp.Rational(1, 2), sp.Rational(-1, 4)]


@pytest.fixture
def double() -> Any:
    with jax.enable_x64(True):
        yield


def theta_0() -> Any:
    return jnp.array([float(x) for x in START])


def test_ode_follows_its_formula_to_the_claimed_order(double: Any) -> None:
    landscape = ts.Landscape(quartic, POINTS)
    formula = ts.derive(ts.TestLoss(), ts.ODE(), order=3)
    rates = np.array([0.01, 0.02, 0.04])
    run = ts.simulate(landscape, theta_0(), ts.ODE(T=5), rates, 2, jax.random.key(0))
    predicted = [float(formula.evaluate(exact_twin(), START, eta=sp.nsimplify(r), T=5)) for r in rates]
    errors = np.abs(run.test_loss.mean - predicted)
    slope = np.polyfit(np.log(rates), np.log(errors), 1)[0]
    assert 3.8 < slope < 4.2
    assert np.all(run.test_loss.standard_error == 0) and np.all(run.displacement.standard_error == 0)


def test_ode_on_a_parabola_is_an_exponential(double: Any) -> None:
    toy = ts.landscapes.mean_estimation(H=2, S=1)
    run = ts.simulate(toy, toy.array([3]), ts.ODE(T=7), 0.1, 2, jax.random.key(0))
    assert run.displacement.mean == pytest.approx(3 * (np.exp(-1.4) - 1), rel=1e-11)
    assert run.test_loss.mean == pytest.approx(9 * np.exp(-2.8), rel=1e-11)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("kind", ["whole", "points", "sampler"])
def test_sde_on_a_parabola_is_an_ornstein_uhlenbeck_process(double: Any, kind: str, batch: int) -> None:
    """Euler–Maruyama with K = 1 − ηHh: mean θ_0 K^n, variance η² C h/B (1 − K^2n)/(1 − K²), exactly."""
    rate, time, refinement, trials = 0.4, 3, 2, 20_000
    noise = jnp.tile(jnp.array([-1.0, 1.0, 2.0, -2.0]), 1 if kind == "whole" else 10)

    def loss(theta: Any, x: Any) -> Any:
        return theta**2 / 2 + x * theta

    data: Any = noise
    if kind == "sampler":
        data = lambda key, n: jax.random.choice(key, noise, (n,))  # noqa: E731
    run = ts.simulate(
        ts.Landscape(loss, data), 1.5, ts.SDE(T=time, B=batch), rate, trials, jax.random.key(3),
        refinement=refinement, test_points=1, observables=[ts.Observable(lambda t: t, name="theta")],
    )  # fmt: skip
    final = run.observables["theta"]
    k, steps = 1 - rate / refinement, time * refinement
    mean = 1.5 * k**steps
    variance = rate**2 * 2.5 / refinement / batch * (1 - k ** (2 * steps)) / (1 - k**2)
    deviations = final.trials - mean
    assert abs(deviations.mean()) < 4 * np.sqrt(variance / trials)
    squares = deviations**2
    assert abs(squares.mean() - variance) < 4 * squares.std() / np.sqrt(trials)
    third = deviations**3
    assert abs(third.mean()) < 4 * third.std() / np.sqrt(trials)  # the data are not skewed, nor is the noise


def test_sde_agrees_with_its_formula() -> None:
    landscape = ts.Landscape(quartic, POINTS)
    place = ts.SDE(T=4, B=1)
    formula = ts.derive(ts.TestLoss(), ts.SDE(), order=4)
    rate = sp.Rational(1, 25)
    predicted = float(formula.evaluate(exact_twin(), START, eta=rate, T=4, B=1))
    without = float(formula[0].evaluate(exact_twin(), START) + formula[1].evaluate(exact_twin(), START, eta=rate, T=4))
    run = ts.simulate(landscape, theta_0(), place, float(rate), 20_000, jax.random.key(1), refinement=64)
    error = float(run.test_loss.standard_error)
    assert abs(run.test_loss.mean - predicted) < 4 * error
    assert abs(predicted - without) > 20 * error  # the test sees more than the first order


def test_sde_has_no_training_set() -> None:
    landscape = ts.Landscape(quartic, POINTS)
    run = ts.simulate(landscape, theta_0(), ts.SDE(T=2, B=1), [0.1, 0.2], 10, jax.random.key(0))
    assert run.train_loss is None and run.gap is None
    assert "training" not in str(run)
    for observable in (ts.TrainLoss(), ts.GeneralizationGap()):
        with pytest.raises(ValueError, match="has no training set"):
            run.statistic(observable)


def test_the_helix_sde_drifts_as_sgd_does_and_not_as_the_stationary_analysis_says() -> None:
    """dθ with the state-dependent C drifts by η²/6 along +z; Chaudhari and Soatto's analysis says 0.

    At T = 2,000 updates the start-up costs 1/(3ηT) of the drift, 0.5 % at η = 0.03; terms of order 5 and
    steps of 1/2 an update cost a relative order η.
    """
    helix = ts.landscapes.helix()
    rate, updates, trials = 0.03, 2_000, 300
    formula = ts.derive(ts.Displacement(), ts.SDE(B=1), 3, resum="continuous").assume("minimum").drift()
    predicted = float(formula.evaluate(helix, [0, 0, 0], eta=sp.nsimplify(rate))[2])
    assert predicted == pytest.approx(rate**2 / 6)
    run = ts.simulate(
        helix, helix.array([0, 0, 0]), ts.SDE(T=updates, B=1), rate, trials, jax.random.key(5), refinement=2
    )
    drift = np.asarray(run.displacement.mean) / updates
    error = np.asarray(run.displacement.standard_error) / updates
    assert abs(drift[2] - predicted) < 3 * error[2] + 0.01 * predicted
    assert drift[2] > 50 * error[2]  # not 0


def test_errors() -> None:
    landscape = ts.Landscape(quartic, POINTS)
    sampler = ts.Landscape(quartic, lambda key, n: jax.random.normal(key, (n,)))
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="give Landscape.*expected"):
        ts.simulate(sampler, theta_0(), ts.ODE(T=1), 0.1, 2, key)
    with pytest.raises(ValueError, match="leaves T open"):
        ts.simulate(landscape, theta_0(), ts.SDE(B=1), 0.1, 2, key)
    with pytest.raises(ValueError, match="refinement=4 is for the SDE"):
        ts.simulate(landscape, theta_0(), ts.ODE(T=1), 0.1, 2, key, refinement=4)
    with pytest.raises(ValueError, match="take at least 4"):
        ts.simulate(sampler, theta_0(), ts.SDE(T=4, B=64), 0.1, 2, key, refinement=1)
    with pytest.raises(ValueError, match="comes with a population"):
        ts.Landscape(quartic, POINTS, expected=lambda theta: theta)
    with pytest.raises(TypeError, match="expected=3 is not a function"):
        ts.Landscape(quartic, lambda key, n: key, expected=3)


def test_flows_that_do_not_arrive_and_runs_that_do_not_fit() -> None:
    """θ' = 4 θ³ is infinite at t = 1/8; and 10¹⁰ trials are refused before their keys are made."""
    steep = ts.Landscape(lambda theta, x: -(theta**4) + 0 * x, jnp.ones(2))
    with pytest.raises(ValueError, match="did not get to T=10 in 10000 steps at eta=1: it diverges or is stiff"):
        ts.simulate(steep, 1.0, ts.ODE(T=10), 1.0, 10, 0)
    assert np.isfinite(ts.simulate(steep, 1.0, ts.ODE(T=1), 0.01, 10, 0).test_loss.mean)
    with pytest.raises(ValueError, match="trials=10000000000 at 1 learning rates would keep 149 GiB"):
        ts.simulate(steep, 1.0, ts.GD(N=2, T=2), 0.1, 10**10, 0)
    with pytest.raises(ValueError, match="samples=10000000000 are more draws"):
        ts.measure(ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2), steep, 1.0, key=0, samples=10**10)
