"""HELIX: simulated SGD drifts along the valley as the formula says (Tenka, section 4.2 and C.1.2).

At 10⁴ updates the start-up costs about 1/(3ηT) of the drift. What remains between the simulation and the
discrete formula η²/(6 − 4η) is of relative order η and comes from the diagrams of order 5.
"""

import jax
import numpy as np
import pytest
import sympy as sp

import taylorsgd as ts

UPDATES = 10_000
TRIALS = 400


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.1])
def test_simulated_drift_is_the_formulas(rate):
    helix = ts.landscapes.helix()
    formula = ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), 3, resum="discrete").assume("minimum").drift()
    predicted = np.array(formula.evaluate(helix, [0, 0, 0], eta=sp.nsimplify(rate)).tolist(), dtype=float).ravel()
    with jax.enable_x64(True):
        run = ts.simulate(
            helix, helix.array([0, 0, 0]), ts.SGD(N=UPDATES, B=1, E=1), rate, TRIALS, jax.random.key(7), test_points=1
        )
        drift = np.asarray(run.displacement.mean) / UPDATES
        error = np.asarray(run.displacement.standard_error) / UPDATES
    assert abs(drift[2] / predicted[2] - 1) < 0.015
    assert error[2] / predicted[2] < 0.01
    assert np.all(np.abs(drift[:2]) < 5 * error[:2] + 1e-4 * predicted[2])  # none across the valley


def test_stationary_analysis_misses_the_drift():
    """Chaudhari and Soatto's stationary noise has no component along z; the drift comes from ∇H at work on C."""
    helix = ts.landscapes.helix()
    covariance = helix.cumulant((1, 1), [0, 0, 0])
    assert not np.any(covariance[2]) and not np.any(covariance[:, 2])
    sde = ts.derive(ts.Displacement(), ts.SDE(B=1), 3, resum="continuous").assume("minimum").drift()
    assert sde.evaluate(helix, [0, 0, 0]) == sp.Matrix([0, 0, ts.symbols.eta**2 / 6])
