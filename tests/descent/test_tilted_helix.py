"""A valley that goes up, and SGD that climbs it (Tenka, section 1.1)."""

import jax
import numpy as np
import pytest
import sympy as sp

import taylorsgd as ts

RATE, UPDATES, TRIALS = 0.1, 3_000, 200


@pytest.mark.parametrize("share", [sp.Rational(1, 2), sp.Rational(3, 2)])
def test_descent_climbs_where_the_tilt_is_less_than_the_drift(share):
    """Drift along the valley against the pull −ηα: up for α < η/(6 − 4η), down above; loss and height go together.

    The start-up costs 1/(3ηT) of the drift, and terms of order 5 add a relative η/6 or so, as on HELIX itself.
    """
    eta = sp.nsimplify(RATE)
    drift = ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), 3, resum="discrete").assume("minimum").drift()
    level = drift.evaluate(ts.landscapes.helix(), [0, 0, 0], eta=eta)[2]
    tilt = share * level / eta
    predicted = float(level - eta * tilt)
    tilted = ts.landscapes.helix(tilt)
    height = ts.Observable(lambda theta: theta[2], name="z")
    with jax.enable_x64(True):
        run = ts.simulate(
            tilted, tilted.array([0, 0, 0]), ts.SGD(N=UPDATES, B=1, E=1), RATE, TRIALS, 11, observables=[height]
        )  # fmt: skip
        velocity = float(run.observables["z"].mean) / UPDATES
        error = float(run.observables["z"].standard_error) / UPDATES
        climbed = float(run.test_loss.mean)
    assert abs(velocity - predicted) < 4 * error + 0.02 * float(level)
    assert abs(velocity) > 20 * error
    assert (velocity > 0) == bool(share < 1)
    # l(θ_T) is α z, and what the noise keeps the run above the valley
    assert np.sign(climbed) == np.sign(velocity)
    assert climbed == pytest.approx(float(tilt) * velocity * UPDATES, abs=0.1)
