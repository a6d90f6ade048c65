"""Runs less their own Taylor series, where both are known: one step on a parabola is a polynomial in η."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts
from taylorsgd.reproducing.tenka.image_classifiers import ErrorRate
from taylorsgd.reproducing.tenka.own_series import less_own_series

IMAGES, LABELS = np.array([[0.5, 1.0], [1.5, -0.5], [-1.0, 2.0]], np.float32), np.array([2, 1, 3])
START = np.array([1.0, 0.75], np.float32)
RATES = np.array([0.05, 0.2])


def squared(theta: Any, point: Any) -> Any:
    image, label = point
    return (theta @ image - label) ** 2 / 2


@pytest.fixture(scope="module")
def place() -> ts.Landscape:
    return ts.Landscape(squared, (jnp.asarray(IMAGES), jnp.asarray(LABELS)))


def test_one_step_on_a_parabola_leaves_nothing_beyond_order_2(place: ts.Landscape) -> None:
    """The runs' ends are enumerated: with N = 1 there are three, in the proportions drawn."""
    found = less_own_series(
        place, jnp.asarray(START), ts.SGD(N=1, B=1, E=1), ts.TestLoss(), RATES, 2, trials=40, key=jax.random.key(1),
        chunk=8,
    )  # fmt: skip
    with jax.enable_x64(True):  # which other training sets are drawn with
        run = ts.simulate(place, START, ts.SGD(N=1, B=1, E=1), [0.2], 40, jax.random.key(1), chunk=8)
    slopes = (IMAGES @ START - LABELS)[:, None] * IMAGES
    ends = np.array([np.mean((IMAGES @ (START - 0.2 * g) - LABELS) ** 2) / 2 for g in slopes])
    second = np.array([np.mean((IMAGES @ g) ** 2) / 2 for g in slopes])
    drawn = np.abs(np.asarray(run.test_loss.trials)[0][:, None] - ends).argmin(axis=1)
    share = np.bincount(drawn, minlength=3) / 40
    start = np.mean((IMAGES @ START - LABELS) ** 2) / 2
    assert found.own == pytest.approx([start, -share @ slopes @ slopes.mean(axis=0), share @ second], rel=1e-5)
    assert found.left[0, 1] == pytest.approx(share @ ends - start, rel=1e-5)
    assert found.left[1] == pytest.approx(share @ second * RATES**2, rel=1e-4)
    assert np.abs(found.left[2]).max() < 1e-6 < found.left_error[1].min()
    assert found.left_error[1, 1] == pytest.approx(0.04 * second[drawn].std(ddof=1) / 40**0.5, rel=1e-4)


def test_the_zero_one_error_counts_images(place: ts.Landscape) -> None:
    """The loss of a label falls as it comes nearer to the output, so that the nearest label is the likeliest."""
    wrong = ErrorRate(place)
    nearest = np.clip(np.round(IMAGES @ START), 0, 9)
    assert float(wrong(jnp.asarray(START))) == pytest.approx(np.mean(nearest != LABELS))
    assert 0 < np.mean(nearest != LABELS) < 1
    same, other = ErrorRate(ts.Landscape(squared, place.data)), ErrorRate(ts.Landscape(squared, (IMAGES, LABELS + 1)))
    assert same == wrong and hash(same) == hash(wrong) and other != wrong


def test_what_is_left_is_no_rounding(place: ts.Landscape) -> None:
    """At a rate of 1/1000 the bracket, of η² a loss in float32 is rounded by, is still found to six digits."""
    found = less_own_series(
        place, jnp.asarray(START), ts.SGD(N=1, B=1, E=1), ts.TestLoss(), np.array([1e-3, 1e-2]), 1, trials=40,
        key=jax.random.key(1), chunk=8,
    )  # fmt: skip
    assert found.left[1, 0] == pytest.approx(found.left[1, 1] / 100, rel=1e-6)
    assert not jnp.zeros(1).dtype == np.float64  # elsewhere arithmetic is as it was
