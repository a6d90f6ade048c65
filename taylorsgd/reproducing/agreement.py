"""Whether predictions agree with simulations, jointly over learning rates and initializations, and up to where.

For one initialization, with r the residuals at k learning rates, χ² = rᵀ (Cov_prediction + diag(s²))⁻¹ r: predictions
share one measurement, simulations at different rates are independent. Initializations are independent of each other,
so that their χ² and degrees of freedom add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["LEAST_P", "Agreement", "Curve", "breaking_point", "joint_agreement"]

LEAST_P = 0.001
"""Predictions agree with simulations if data this unlikely or likelier are seen."""


@dataclass(frozen=True)
class Curve:
    """A number against the learning rate, predicted and simulated, from one initialization.

    Attributes:
        net: whose number it is.
        seed: which initialization.
        eta: the learning rates in rising order, (k,).
        simulated: the means over trials, (k,); not finite where trials diverged.
        error: their standard errors, (k,).
        start: the number before training.
        predicted: by orders 1, 2, … as partial sums, (orders, k).
        covariance: of the errors of measuring in each of them, (orders, k, k).
        resummed: by orders 1, 2, … too, each with its exact dependence on ηTH, (orders, k).
        resummed_error: the standard errors of the last of them, (k,).
    """

    net: str
    seed: int
    eta: np.ndarray
    simulated: np.ndarray
    error: np.ndarray
    start: float
    predicted: np.ndarray
    covariance: np.ndarray
    resummed: np.ndarray
    resummed_error: np.ndarray

    def deviations(self, order: int) -> np.ndarray:
        """(prediction − simulation) in units of their joint standard error, (k,)."""
        variance = np.diag(self.covariance[order - 1]) + self.error**2
        return (self.predicted[order - 1] - self.simulated) / np.sqrt(variance)


@dataclass(frozen=True)
class Agreement:
    """A joint χ².

    Attributes:
        chi2: its value.
        degrees: its degrees of freedom.
        p_value: the probability of a larger one if predictions are right.
    """

    chi2: float
    degrees: int
    p_value: float

    @property
    def agrees(self) -> bool:
        """Whether predictions are consistent with simulations."""
        return self.p_value > LEAST_P

    def __str__(self) -> str:
        """The statistic in one line."""
        return f"χ² = {self.chi2:.1f} for {self.degrees} degrees of freedom, p = {self.p_value:.2g}"


def joint_agreement(curves: Sequence[Curve], order: int, most: float) -> Agreement:
    """The joint χ² of some curves at learning rates up to one.

    Args:
        curves: the curves.
        order: of the prediction.
        most: the largest learning rate that counts.

    Returns:
        An `Agreement`; with p = 0 where trials diverged.

    Raises:
        ValueError: if no learning rate is that small.
    """
    from scipy.stats import chi2 as distribution

    total, degrees = 0.0, 0
    for curve in curves:
        inside = curve.eta <= most * (1 + 1e-9)
        residual = (curve.predicted[order - 1] - curve.simulated)[inside]
        covariance = (curve.covariance[order - 1] + np.diag(curve.error**2))[np.ix_(inside, inside)]
        degrees += int(inside.sum())
        if np.isfinite(residual).all() and np.isfinite(covariance).all():
            total += float(residual @ np.linalg.solve(covariance, residual))
        else:
            total = np.inf
    if not degrees:
        raise ValueError(f"most={most!r} is below all learning rates")
    return Agreement(total, degrees, float(distribution.sf(total, degrees)))


def breaking_point(curves: Sequence[Curve], order: int) -> tuple[float | None, float | None]:
    """Up to where a prediction agrees, and where it first does not, by the joint χ² of all smaller learning rates.

    Args:
        curves: the curves, with the same learning rates.
        order: of the prediction.

    Returns:
        The last learning rate with p > 0.001, and the next one; None where there is none.
    """
    good = None
    for rate in curves[0].eta:
        if not joint_agreement(curves, order, rate).agrees:
            return good, float(rate)
        good = float(rate)
    return good, None
