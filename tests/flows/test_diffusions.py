r"""Modified SDEs: weak order 2 against 1, in exact moments, and where there is none (Li, Tai and E).

On l_x = (1 + s x) θ²/2 + c x θ, x = ±1, the moments of SGD and of both diffusions close on themselves: their slopes
in η at a fixed ηT are the weak orders.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.mathtext import MathTextParser
from scipy.linalg import expm
from sympy import Rational

import taylorsgd as ts

S, C = 0.25, 0.5


def loss_of_sgd(eta: float, updates: int, start: float) -> float:
    mean, square = start, start**2
    for _ in range(updates):
        square = (1 - eta) ** 2 * square + eta**2 * (S**2 * square + 2 * S * C * mean + C**2)
        mean *= 1 - eta
    return square / 2


def loss_of_sde(order: int, eta: float, updates: int, start: float) -> float:
    """From the strengths of the modified SDE, with G = θ, H = 1, C = (sθ + c)²."""
    along, curved, noise = map(float, ts.modified_sde(order, ts.SGD(B=1, E=1)).strengths)
    pull, spread = along * eta + curved * eta**2, noise * eta**2
    matrix = np.array(
        [[0, 0, 0], [0, pull, 0], [spread * C**2, spread * 2 * S * C, 2 * pull + spread * S**2]]
    )  # of (1, E θ, E θ²)
    return float((expm(updates * matrix) @ [1, start, start**2])[2]) / 2


@pytest.mark.parametrize("order", [1, 2])
def test_its_weak_order_is_the_slope(order: int) -> None:
    errors = [
        abs(loss_of_sde(order, eta, round(2 / eta), 1.0) - loss_of_sgd(eta, round(2 / eta), 1.0))
        for eta in (1 / 128, 1 / 256)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.05)


def test_what_they_are() -> None:
    first, second = ts.modified_sde(1), ts.modified_sde(2)
    assert first.drift == ts.generator(1, ts.SDE()).drift
    assert str(first) == "dθ = (-G^μ) dt + σ dW, σσᵀ = 1/B C^μν"
    assert str(second.drift) == "-G^μ - 1/2 H^μ_ν G^ν"
    assert second.diffusion == first.diffusion
    heavy = ts.modified_sde(2, ts.SGD(N=8, B=2, E=1), update=ts.HeavyBall(Rational(1, 2)))
    assert [str(c) for c in heavy.strengths] == ["-2", "-6", "2"]  # −1/(1−β), −(1+β)/(2(1−β)³), 1/(B(1−β)²)
    assert repr(heavy).startswith("<ModifiedSDE of weak order 2 of SGD(N=8, B=2, E=1), update=HeavyBall")
    assert ts.modified_sde(4, ts.GD()).drift == ts.generator(4, ts.GD()).drift
    assert ts.modified_sde(3, ts.SDE()).diffusion == ts.modified_sde(2, ts.SDE()).diffusion
    for sde in (first, second):
        for line in sde.latex().replace("\\qquad", "\\quad").splitlines():
            MathTextParser("path").parse(f"${line}$")


def test_where_there_is_none() -> None:
    with pytest.raises(ValueError, match=r"order=3: no Itô diffusion from η\^3 on: it would lack -eta\*\*3/.*S_μνλ"):
        ts.modified_sde(3)
    with pytest.raises(ValueError, match="order=0"):
        ts.modified_sde(0)
    with pytest.raises(NotImplementedError, match="simulated are drifts along G and H G"):
        _ = ts.modified_sde(3, ts.GD()).strengths
