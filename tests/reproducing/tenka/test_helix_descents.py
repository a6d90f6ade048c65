"""SGD on HELIX, against its updates one by one; and the drift that formulas derive, in closed form."""

from __future__ import annotations

import jax
import numpy as np
from sympy import Rational, diff, lambdify

import taylorsgd as ts
from taylorsgd.reproducing.tenka.helix_descents import derived_drift, descents


def test_trajectories_are_plain_descent() -> None:
    """The first update moves along the noise; later ones as the losses' own derivatives say."""
    path = descents(0.2, 30, 2, jax.random.key(0))
    place = ts.landscapes.helix()
    slopes = lambdify((place.variables, place.noise), [diff(place.sample_loss, v) for v in place.variables])
    for points in path:
        for before, after in zip(points, points[1:], strict=False):
            # the noise that explains the change of u, or of v where w has no u, explains all of it
            quiet = np.array(slopes(before, 0.0))
            per_unit = np.array(slopes(before, 1.0)) - quiet
            moved = (before - after) / 0.2 - quiet
            x = moved @ per_unit / (per_unit @ per_unit)
            np.testing.assert_allclose(moved, x * per_unit, atol=1e-4)


def test_the_drift_of_sgd_and_of_the_sde() -> None:
    rate = Rational(1, 7)
    assert derived_drift(rate) == rate**2 / (6 - 4 * rate)
    assert derived_drift(rate, ts.SDE(B=1), "continuous") == rate**2 / 6
