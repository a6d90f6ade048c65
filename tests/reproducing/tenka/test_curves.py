"""The statistics that hold predictions against simulations, where both have errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from taylorsgd.reproducing.tenka.curves import Curve, breaking_point, joint_agreement


def curve(simulated: Any, covariance: Any, seed: int = 0) -> Curve:
    simulated = np.asarray(simulated, dtype=float)
    size = len(simulated)
    return Curve(
        "a net", seed, np.arange(1.0, size + 1), simulated, np.full(size, 0.1), 0.0,
        np.zeros((1, size)), np.asarray([covariance], dtype=float), np.zeros((1, size)), np.zeros(size),
    )  # fmt: skip


def test_the_joint_chi2_knows_that_predictions_share_their_error() -> None:
    """Three equal residuals are as likely as one if the prediction's error, the same for all, makes them."""
    shared = curve([0.3, 0.3, 0.3], np.full((3, 3), 0.09))
    own = curve([0.3, 0.3, 0.3], 0.09 * np.eye(3))
    inverse = np.linalg.inv(np.full((3, 3), 0.09) + 0.01 * np.eye(3))
    assert joint_agreement([shared], 1, 3.0).chi2 == pytest.approx(0.09 * inverse.sum())
    assert joint_agreement([own], 1, 3.0).chi2 == pytest.approx(3 * 0.09 / 0.1)
    both = joint_agreement([shared, own], 1, 2.0)
    assert both.degrees == 4
    assert both.p_value == pytest.approx(chi2.sf(both.chi2, 4))


def test_the_joint_p_value_is_uniform() -> None:
    random = np.random.default_rng(0)
    covariance = np.array([[0.04, 0.03], [0.03, 0.09]])
    factor = np.linalg.cholesky(covariance + 0.01 * np.eye(2))
    p_values = [
        joint_agreement([curve(factor @ random.normal(size=2), covariance) for _ in range(3)], 1, 2.0).p_value
        for _ in range(400)
    ]
    assert abs(np.mean(p_values) - 0.5) < 4 * (1 / 12 / 400) ** 0.5
    assert np.mean(np.array(p_values) < 0.1) == pytest.approx(0.1, abs=0.06)


def test_where_a_prediction_breaks() -> None:
    covariance = np.zeros((4, 4))
    assert breaking_point([curve([0.0, 0.1, 0.1, 0.9], covariance)], 1) == (3.0, 4.0)
    assert breaking_point([curve([0.0, 0.1, 0.1, 0.1], covariance)], 1) == (4.0, None)
    assert breaking_point([curve([9.0, 0.1, 0.1, 0.1], covariance)], 1) == (None, 1.0)
    assert breaking_point([curve([0.0, 0.1, np.nan, 0.1], covariance)], 1) == (2.0, 3.0)
