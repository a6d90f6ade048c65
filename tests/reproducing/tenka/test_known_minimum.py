"""What is looked at around a minimum, on landscapes where it is known: parabolas, and a quartic in two variables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts
from taylorsgd.reproducing.labelled_images import load_images
from taylorsgd.reproducing.tenka.known_minimum import LogisticMinimum, MinimumSize, logistic_minimum
from taylorsgd.reproducing.tenka.noise_kinds import overfitting
from taylorsgd.reproducing.tenka.smoothed_landscape import pulls, raised


@pytest.fixture(autouse=True)
def doubles() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def rough(theta: Any, x: Any) -> Any:
    """A cubic and a quartic, with noise that depends on θ; symmetric x leave the minimum at 0."""
    u, v = theta
    return u**2 + v**2 / 2 + u * v**2 + v**4 + x * (u - 2 * v + u * v + 3 * u**2)


def around(place: ts.Landscape, size: int) -> LogisticMinimum:
    theta = jnp.zeros(size)
    gradients = jax.vmap(jax.grad(place.loss), (None, 0))(theta, place.data)
    mean = lambda t: jnp.mean(jax.vmap(place.loss, (None, 0))(t, place.data))  # noqa: E731
    return LogisticMinimum(place, theta, gradients, jax.hessian(mean)(theta))


@pytest.fixture
def minimum() -> LogisticMinimum:
    return around(ts.Landscape(rough, jnp.array([-1.0, 1.0])), 2)


def test_newton_ends_at_a_minimum_of_what_is_drawn_from() -> None:
    found = logistic_minimum(load_images(), MinimumSize(images=20, side=2, ridge=0.01))
    assert float(jnp.linalg.norm(found.gradients.mean(axis=0))) < 1e-10
    assert float(jnp.linalg.eigvalsh(found.hessian)[0]) >= 0.01 * (1 - 1e-9)
    other = np.random.default_rng(0).normal(size=found.theta.shape)
    assert float(found.loss(found.theta + 0.1 * other)) > float(found.loss(found.theta))


@pytest.mark.parametrize("curvature", [0.05, 2.0])
def test_noise_on_a_parabola(curvature: float) -> None:
    place = ts.Landscape(lambda theta, x: curvature * theta @ theta / 2 + x * theta[0], jnp.array([-1.0, 1.0]))
    noise, shift, rate, updates = 0.3, 0.7, 0.1, 15
    found = overfitting(around(place, 1), jnp.ones(1), noise, shift, rate, updates)
    least = noise**2 / (2 * curvature)
    left = 1 - (1 - rate * curvature) ** updates
    np.testing.assert_allclose(found, [least, curvature * shift**2 / 2, least * left**2], rtol=1e-9)


def test_the_observed_minimum_of_a_slice_that_is_no_parabola(minimum: LogisticMinimum) -> None:
    """Along v the loss is v²/2 + v⁴: where v + 4v³ = ∓b, by bisection."""
    noise = 3.0
    low, high = 0.0, 2.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if middle + 4 * middle**3 < noise else (low, middle)
    found = overfitting(minimum, jnp.array([0.0, 1.0]), noise, 0.1, 0.01, 5)
    assert float(found[0]) == pytest.approx(low**2 / 2 + low**4, rel=1e-9)


def test_smoothing_raises_a_quartic_by_its_fourth_moment(minimum: LogisticMinimum) -> None:
    """Beyond ξHξ/2 there is the mean of v⁴, with v = √ε (−2)(z₂ − z₁)/√2; odd terms cancel between ±ξ."""
    normals = np.random.default_rng(0).normal(size=(50, 2))
    mean, error = raised(minimum, (0.5, 2.0), jnp.asarray(normals))
    v = -2 * (normals[:, 1] - normals[:, 0]) / np.sqrt(2)
    for i, width in enumerate((0.5, 2.0)):
        assert mean[i] == pytest.approx(width**2 * np.mean(v**4), rel=1e-9)
        assert error[i] == pytest.approx(width**2 * np.std(v**4, ddof=1) / 50**0.5, rel=1e-9)


def test_the_pull_of_the_current_covariance_and_of_a_changing_one(minimum: LogisticMinimum) -> None:
    """By tensors written out: C = ccᵀ with c = (1 + v + 6u, −2 + u) at θ, H of the mean loss."""
    held, changing = pulls(minimum)

    def tensors(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = theta
        c = np.array([1 + v + 6 * u, -2 + u])
        return np.outer(c, c), np.array([[2, 2 * v], [2 * v, 1 + 2 * u + 12 * v**2]])

    def slope(of: Any) -> list[float]:
        step = 1e-5
        return [(of(step * e) - of(-step * e)) / (2 * step) for e in np.eye(2)]

    fixed = tensors(np.zeros(2))[0]
    np.testing.assert_allclose(held, slope(lambda t: np.sum(fixed * tensors(t)[1])), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(changing, slope(lambda t: np.sum(tensors(t)[0] * tensors(t)[1])), rtol=1e-6)
    assert np.abs(held - changing).max() > 1


def test_the_pull_is_what_is_derived_for_sgd() -> None:
    """The displacement from a minimum at η³, whose only diagram is C J, by the brute force of `perturb`."""
    from sympy import Rational, symbols

    u, v = symbols("u v")
    losses = [rough((u, v), x) for x in (-1, 1)]
    place = ts.FiniteLandscape(losses, [Rational(1, 2)] * 2, [u, v])
    brute = ts.perturb(ts.Displacement(), ts.SGD(N=2, B=1, E=1), place, [0, 0], order=3)
    held, _ = pulls(around(ts.Landscape(rough, jnp.array([-1.0, 1.0])), 2))
    third = [float(component.expand().coeff(ts.symbols.eta, 3)) for component in brute]
    np.testing.assert_allclose(third, -2 * (2 - 1) / 4 * np.asarray(held), rtol=1e-9)
