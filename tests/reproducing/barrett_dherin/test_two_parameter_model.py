"""The two-parameter model: its gradients against the library's losses, its flow against what it conserves."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from taylorsgd.landscapes import explicitly_regularized, implicitly_regularized
from taylorsgd.reproducing.barrett_dherin.two_parameter_model import X, Y, descend, flow, slopes


def loss(theta: jax.Array) -> jax.Array:
    return (Y - theta[0] * theta[1] * X) ** 2 / 2


def test_its_losses_are_the_librarys() -> None:
    """E (1 + c x²r²) is the modified loss of h = 2c, and E + μ|∇E|² for μ = c/2, not for μ = c."""
    with jax.enable_x64(True):
        theta, c = np.array([2.8, 3.5]), 0.5
        for function in (implicitly_regularized(loss, 2 * c), explicitly_regularized(loss, c / 2)):
            np.testing.assert_allclose(slopes(*theta, c), jax.grad(function)(theta), rtol=1e-13)
        np.testing.assert_allclose(slopes(*theta), jax.grad(loss)(theta), rtol=1e-13)


@pytest.mark.parametrize("c", [0.0, 0.3])
def test_the_flow_ends_at_a_minimum_and_small_steps_follow_it(c: float) -> None:
    path = flow((2.8, 3.5), c, np.linspace(0, 8, 5))
    if c == 0:  # the flow of a product conserves a² − b²
        np.testing.assert_allclose(path[:, 0] ** 2 - path[:, 1] ** 2, 2.8**2 - 3.5**2, rtol=1e-9)
    assert X * path[-1].prod() == pytest.approx(Y, abs=1e-6)
    ends = [descend((2.8, 3.5), h, c, 1e-8, 10**6)[-1] for h in (4e-4, 2e-4)]
    errors = [np.linalg.norm(end - flow((2.8, 3.5), c, [0, 20])[-1]) for end in ends]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.05)  # descent is of first order


def test_descent_that_diverges_says_so() -> None:
    with pytest.raises(ArithmeticError, match=r"descent from \(2.8, 3.5\) with h=0.5 and c=0 is at"):
        descend((2.8, 3.5), 0.5, 0.0, 1e-6, 1000)
    with pytest.raises(ArithmeticError, match="after 10 steps"):
        descend((2.8, 3.5), 1e-3, 0.0, 1e-6, 10)
