"""A number of a classifier against the learning rate: predicted order by order, simulated, and compared.

For one initialization, with r the residuals at k learning rates whose training sets are independent,
χ² = rᵀ (Cov_prediction + diag(s²))⁻¹ r: predictions share one measurement. Initializations are independent of each
other, so that their χ² and degrees of freedom add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from taylorsgd.reproducing.significance import ChiSquare, chi_square

__all__ = ["Curve", "joint_agreement"]


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
    """

    net: str
    seed: int
    eta: np.ndarray
    simulated: np.ndarray
    error: np.ndarray
    start: float
    predicted: np.ndarray
    covariance: np.ndarray

    def simulation(self, i: int) -> dict[str, Any]:
        """What was simulated at the i-th learning rate, as columns of a table."""
        initialization, eta = self.seed + 1, self.eta[i]
        simulated, error = self.simulated[i], self.error[i]
        return {"initialization": initialization, "eta": eta, "simulated": simulated, "simulated error": error}

    def predictions(self, i: int, labels: Sequence[str]) -> dict[str, Any]:
        """What was predicted at the i-th learning rate, with errors, as columns of a table."""
        columns: dict[str, Any] = {}
        for label, values, covariance in zip(labels, self.predicted, self.covariance, strict=True):
            columns |= {label: values[i], f"error of {label}": np.sqrt(covariance[i, i])}
        return columns


def joint_agreement(curves: Sequence[Curve], order: int, most: float) -> ChiSquare:
    """The joint χ² of some curves at learning rates up to one.

    Args:
        curves: the curves.
        order: of the prediction.
        most: the largest learning rate that counts.

    Returns:
        A `ChiSquare`; with p = 0 where trials diverged.

    Raises:
        ValueError: if no learning rate is that small.
    """
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
    return chi_square(total, degrees)
