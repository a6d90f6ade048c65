"""The statistics that hold predictions against simulations, where both have errors, with control variates too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from taylorsgd.reproducing.tenka.controlled_curves import LossCurve, agreement_at, breaking_point, coefficients_agree
from taylorsgd.reproducing.tenka.curves import Curve, joint_agreement
from taylorsgd.reproducing.tenka.own_series import OwnSeries


def curve(simulated: Any, covariance: Any, seed: int = 0) -> Curve:
    simulated = np.asarray(simulated, dtype=float)
    size = len(simulated)
    return Curve(
        "a net", seed, np.arange(1.0, size + 1), simulated, np.full(size, 0.1), 0.0,
        np.zeros((1, size)), np.asarray([covariance], dtype=float),
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


def loss_curve(left: Any, below: Any = 0.02, last: Any = 0.0) -> LossCurve:
    """Predictions of orders 1 and 2 whose last term is `last`, and runs that leave `left` beyond their own order 1.

    That is 0.7 by the trials that were drawn, and 0.5 by the formula.
    """
    left = np.asarray(left, dtype=float)
    size = len(left)
    none, row = np.zeros(size), np.zeros((2, size))
    series = OwnSeries(
        own=np.array([0.0, 1.0, 3.0]), own_error=np.array([0.0, 0.1, 0.3]),
        left=np.stack([left + 0.5, left, none]), left_error=np.stack([none + 0.4, none + below, none + 0.01]),
        wrong=none, wrong_error=none, wrong_start=np.array(0.0),
    )  # fmt: skip
    return LossCurve(
        net="a net", seed=0, eta=np.arange(1.0, size + 1), simulated=left + 0.7, error=none + 0.4, start=0.0,
        predicted=np.stack([none + 0.5, none + 0.5 + last]), covariance=np.zeros((2, size, size)), series=series,
        trials=100, between=np.stack([none, none + last]), between_error=row, coefficients=np.array([1.0, 2.0]),
        coefficients_error=np.array([0.0, 0.4]), resummed=row, resummed_error=none,
    )  # fmt: skip


def test_control_variates_leave_what_the_last_term_is_held_against() -> None:
    curve = loss_curve([0.06], last=0.1)
    assert curve.deviations(1)[0] == pytest.approx(-0.06 / 0.02)
    assert curve.deviations(2)[0] == pytest.approx((0.1 - 0.06) / 0.02)
    assert curve.deviations(2, published=400)[0] == pytest.approx((0.1 - 0.06) / np.hypot(0.02, 0.2))
    assert curve.estimate[0][0] == pytest.approx(0.5 + 0.06) and curve.estimate[1][0] == pytest.approx(0.02)
    assert curve.gain[0] == pytest.approx(20**2)


def test_where_control_variates_do_harm_they_are_left_out() -> None:
    """Beyond the reach of a run's own series what is left of it has the larger error."""
    curve = loss_curve([0.3], below=2.0, last=0.1)
    assert curve.deviations(2)[0] == pytest.approx((0.6 - 1.0) / 0.4)
    assert curve.estimate[0][0] == pytest.approx(1.0) and curve.estimate[1][0] == pytest.approx(0.4)


def test_coefficients_are_held_against_the_runs_own() -> None:
    curves = [loss_curve([0.0])] * 3
    assert coefficients_agree(curves, 1).chi2 == pytest.approx(0.0)
    assert coefficients_agree(curves, 2).chi2 == pytest.approx(3 * 1 / (0.16 + 0.09))
    assert coefficients_agree(curves, 2, predicted=False).chi2 == pytest.approx(3 * 9 / 0.09)
    assert coefficients_agree(curves, 2).degrees == 3


def test_where_a_prediction_breaks() -> None:
    assert breaking_point([loss_curve([0.0, 0.02, 0.02, 0.2])], 2) == (3.0, 4.0)
    assert breaking_point([loss_curve([0.0, 0.02, 0.02, 0.02])], 2) == (4.0, None)
    assert breaking_point([loss_curve([0.2, 0.02, 0.02, 0.02])], 2) == (None, 1.0)
    assert breaking_point([loss_curve([0.0, 0.02, np.nan, 0.02])], 2) == (2.0, 3.0)
    assert breaking_point([loss_curve([0.0, 0.2, 0.2, 0.2])], 2, published=100) == (4.0, None)
    two = [loss_curve([0.04]), loss_curve([0.04])]
    assert agreement_at(two, 2, 0).p_value == pytest.approx(chi2.sf(8.0, 2))
