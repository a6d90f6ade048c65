"""GAUSS from its minimum without sampling: SGD in closed form, its SDE by quadrature, and where their series converge.

l_x(h) = (h + x² e^{−h})/2 with x standard normal. After one update e^{−h} has the mean e^{η/2}/√(1 + η), whose series
in η converges for η < 1. After two, by one of the training points and then by the other,

    E e^{−h₂} = e^{η/2} Σ_k C(−½, k) η^k e^{(k+1)η/2}/√(1 + (k + 1)η)        (as a power series in η, term by term)

has singularities at η = −1/(k + 1) for every k, as near to 0 as one likes, and its coefficients grow like factorials:
gradients that no number bounds, which B.1 excludes, make Theorem 1 an asymptotic series.
"""

from __future__ import annotations

from functools import cache
from math import comb, factorial
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.polynomial.hermite_e import hermegauss
from scipy.optimize import minimize_scalar
from scipy.special import gamma, gammaincc
from sympy import Rational, Symbol, binomial, exp, series

__all__ = ["clipping_moves", "guaranteed_rate", "sde_loss", "series_after_two", "sgd_loss", "stepped_sde_loss"]

NODES, ANGLES = 60, 30
"""Of the interpolation in h, and of the quadrature over one step's noise."""
FINE = 256
"""Steps of an update, from which and from half as many the limit is extrapolated."""


def sgd_loss(rate: float) -> float:
    """The expected test loss after one update: e^{η/2}/√(1 + η)/2, for E h₁ = 0.

    Example:
        >>> round(sgd_loss(0.1), 6)
        0.501174
    """
    return float(np.exp(rate / 2) / np.sqrt(1 + rate) / 2)


def stepped_sde_loss(rate: float, refinement: int) -> float:
    """The expected test loss of the SDE after a unit of time, in so many Euler–Maruyama steps, without sampling.

    Backwards in time u(h) ← E u(h − η δ l′(h) + η √(δ C(h)) ξ), δ = 1/refinement, l′ = (1 − e^{−h})/2, C = e^{−2h}/2,
    on Chebyshev nodes ten standard deviations wide.
    """
    reach, step = 7 * rate, 1 / refinement
    angles, weights = hermegauss(ANGLES)
    nodes = reach * np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)[:, None]
    reached = nodes - rate * step * (1 - np.exp(-nodes)) / 2 + rate * np.sqrt(step / 2) * np.exp(-nodes) * angles
    values = chebvander(np.clip(reached, -reach, reach) / reach, NODES - 1)
    to_coefficients = np.linalg.inv(chebvander(nodes[:, 0] / reach, NODES - 1))
    mean = np.einsum("q,iqk->ik", weights / weights.sum(), values) @ to_coefficients
    u = (nodes[:, 0] + np.exp(-nodes[:, 0])) / 2
    for _ in range(refinement):
        u = mean @ u
    return float(chebvander(np.zeros(1), NODES - 1)[0] @ to_coefficients @ u)


def sde_loss(rate: float) -> float:
    """The expected test loss of the SDE after a unit of time; what is left in the step is extrapolated to 0."""
    return 2 * stepped_sde_loss(rate, FINE) - stepped_sde_loss(rate, FINE // 2)


@cache
def series_after_two(order: int) -> tuple[Rational, ...]:
    """The exact coefficients of 1, η, …, η^order in E e^{−h} after two updates, by one point each.

    Example:
        >>> series_after_two(3)
        (1, 0, 1/2, -17/24)
    """
    eta = Symbol("eta")
    total = sum(
        binomial(Rational(-1, 2), k) * eta**k * exp((k + 2) * eta / 2) * (1 + (k + 1) * eta) ** Rational(-1, 2)
        for k in range(order + 1)
    )
    powers = series(total, eta, 0, order + 1).removeO()
    return tuple(powers.coeff(eta, k) for k in range(order + 1))


def guaranteed_rate(clip: float, updates: int = 1) -> float:
    """Up to which η condition (3) of the Key Lemma, 2ηTb < ρ, holds on GAUSS with |x| at most `clip`, for the best ρ.

    b is the largest |∇l_x| in the ball of radius ρ around 0, (clip² e^ρ − 1)/2.
    """

    def reached(radius: float) -> float:
        return radius / (updates * (clip**2 * np.exp(radius) - 1))

    best: Any = minimize_scalar(lambda radius: -reached(radius), bounds=(0.01, 10.0), method="bounded")
    return reached(float(best.x))


def clipping_moves(clip: float, order: int) -> float:
    """The largest relative change of a coefficient of E l after one update by leaving out |x| > clip.

    The coefficient of η^k is E[((1 − x²)/2)^k]/(2 k!): moments of x, and E[x^{2j}; |x| > c] = 2^j Γ(j + ½, c²/2)/√π.
    """

    def moment(j: int) -> float:
        return 2**j * gamma(j + 0.5) / np.sqrt(np.pi)

    def beyond(j: int) -> float:
        return moment(j) * gammaincc(j + 0.5, clip**2 / 2)

    def coefficient(moments: list[float], k: int) -> float:
        return sum(comb(k, j) * (-1) ** j * moments[j] for j in range(k + 1)) / (2**k * 2 * factorial(k))

    whole, tails = [moment(j) for j in range(order + 1)], [beyond(j) for j in range(order + 1)]
    # a change so small would drown in the moments: it is that of the tails, and of the probability in front of them
    return max(abs(coefficient(tails, k) / coefficient(whole, k)) + tails[0] for k in range(2, order + 1))
