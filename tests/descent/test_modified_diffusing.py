"""Modified SDEs simulated: the moments that they have, beside those of SGD (see tests/flows/test_diffusions.py)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts

S, C, ETA, UPDATES = 0.25, 0.5, 0.25, 8


def loss(theta, x):
    return (1 + S * x) * theta**2 / 2 + C * x * theta


def moments(pull, spread, discrete):
    """E θ²/2 of θ ← θ − pull θ + noise from θ = 2, by the recursion or in a thousand steps of the flow."""
    parts = 1 if discrete else 4_000
    mean, square = 2.0, 4.0
    for _ in range(UPDATES * parts):
        noise = spread * (S**2 * square + 2 * S * C * mean + C**2) / parts
        square = ((1 - pull) ** 2 * square if discrete else square - 2 * pull * square / parts) + noise
        mean -= pull * mean / parts
    return square / 2


SGD = moments(ETA, ETA**2, discrete=True)
FIRST = moments(ETA, ETA**2, discrete=False)
SECOND = moments(ETA + ETA**2 / 2, ETA**2, discrete=False)
PLACE = ts.SGD(N=UPDATES, B=1, E=1)


@pytest.mark.parametrize(
    ("order", "expected", "other", "kind", "trials"),
    [
        (1, FIRST, SECOND, "two points", 10_000),
        (2, SECOND, FIRST, "two points", 10_000),
        (2, SECOND, FIRST, "many points", 5_000),
        (2, SECOND, FIRST, "sampler", 5_000),
    ],
)
def test_simulated_moments(order, expected, other, kind, trials):
    if kind == "sampler":
        landscape = ts.Landscape(loss, lambda key, n: jax.random.rademacher(key, (n,)).astype(float),
                                 expected=lambda theta: theta**2 / 2)  # fmt: skip
    else:
        landscape = ts.Landscape(loss, jnp.asarray([-1.0, 1.0] * (1 if kind == "two points" else 20)))
    run = ts.simulate(landscape, 2.0, ts.modified_sde(order, PLACE), ETA, trials, 3, refinement=4)
    mean, error = float(run.test_loss.mean), float(run.test_loss.standard_error)
    assert abs(mean - expected) < 4 * error + 0.01 * abs(FIRST - SECOND)
    assert abs(mean - other) > 10 * error
    assert run.train_loss is None


def test_the_second_order_is_nearer_to_descent():
    landscape = ts.Landscape(loss, jnp.asarray([-1.0, 1.0]))
    run = ts.simulate(landscape, 2.0, PLACE, ETA, 20_000, 4)
    assert abs(run.test_loss.mean - SGD) < 4 * run.test_loss.standard_error
    assert abs(SECOND - SGD) < abs(FIRST - SGD) / 3


def test_without_noise_it_is_the_modified_flow():
    """θ' = −(η + η²/2) θ; Heun's steps cost h²η³."""
    landscape = ts.Landscape(loss, jnp.asarray([-1.0, 1.0]))
    run = ts.simulate(landscape, 2.0, ts.modified_sde(2, ts.GD(N=2, T=4)), 0.1, 2, 0, refinement=64)
    assert run.displacement.mean == pytest.approx(2 * np.exp(-4 * 0.105) - 2, rel=1e-5)


def test_errors():
    sampler = ts.Landscape(loss, lambda key, n: jax.random.normal(key, (n,)))
    with pytest.raises(ValueError, match="give Landscape.*expected"):
        ts.simulate(sampler, 1.0, ts.modified_sde(2, PLACE), 0.1, 2, 0)
    landscape = ts.Landscape(loss, jnp.asarray([-1.0, 1.0]))
    with pytest.raises(ValueError, match="leaves N open"):
        ts.simulate(landscape, 1.0, ts.modified_sde(2, ts.SGD(B=1, E=1)), 0.1, 2, 0)
    with pytest.raises(NotImplementedError, match="is a rule for updates"):
        ts.simulate(landscape, 1.0, ts.modified_sde(2, PLACE), 0.1, 2, 0, update=ts.HeavyBall(0))
    run = ts.simulate(landscape, 1.0, ts.modified_sde(2, PLACE), 0.1, 4, 0)
    plain = ts.predict(ts.derive(ts.TestLoss(), ts.SDE(), 2), landscape, 1.0, eta=0.1, T=8, B=1,
                       method=ts.MatrixFree("exact"))  # fmt: skip
    with pytest.raises(ValueError, match="ModifiedSDE"):
        ts.compare(plain, run)
