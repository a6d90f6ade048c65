"""A number of a classifier against the learning rate: predicted order by order, simulated, and compared.

For one initialization, with r the residuals at k learning rates, χ² = rᵀ (Cov_prediction + diag(s²))⁻¹ r: predictions
share one measurement, simulations at different rates are independent. Initializations are independent of each other,
so that their χ² and degrees of freedom add.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

import taylorsgd as ts
from taylorsgd.measuring import TopEigenpairs
from taylorsgd.reproducing.experiment import Work
from taylorsgd.reproducing.significance import ChiSquare, chi_square
from taylorsgd.reproducing.tenka.image_classifiers import (
    CONVOLUTIONAL,
    LOGISTIC,
    POINTS,
    ClassifierSize,
    on_classifiers,
)

__all__ = ["Curve", "CurveSize", "breaking_point", "joint_agreement", "loss_curves", "rows"]


@dataclass(frozen=True, kw_only=True)
class CurveSize(ClassifierSize):
    """The settings.

    Attributes:
        times: ηT.
        order: of the un-resummed predictions.
        eigenpairs: of the Hessian, for the resummed ones, of the convolutional net and of logistic regression.
    """

    side: int = 28
    times: tuple[float, ...]
    order: int
    eigenpairs: tuple[int, int] = (3, 9)


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


def loss_curves(size: CurveSize, work: Work, observable: Any) -> list[Curve]:
    """Measure, predict and simulate an observable of one epoch of SGD, batch size 1, for all classifiers.

    Args:
        size: the settings.
        work: says which classifier is next, and keeps each one's numbers.
        observable: `TestLoss()` or `GeneralizationGap()`.

    Returns:
        A curve for every initialization of the convolutional net, then one for logistic regression.
    """
    eta = np.array(size.times) / POINTS
    what = f"measuring, and {size.trials} trials at {len(eta)} rates"
    found = []
    for net, pairs in zip((CONVOLUTIONAL, LOGISTIC), size.eigenpairs, strict=True):
        for seed, part in on_classifiers(size, work, net, what, partial(_curve, observable, eta, pairs)):
            arrays: dict[str, Any] = {**part, "start": float(part["start"])}
            found.append(Curve(net=net, seed=seed, eta=eta, **arrays))
    return found


def _curve(
    observable: Any, eta: np.ndarray, eigenpairs: int, place: ts.Landscape, theta: Any, size: CurveSize, key: jax.Array
) -> dict[str, np.ndarray]:
    """The arrays of a `Curve`."""
    measuring, simulating, resumming = jax.random.split(key, 3)
    run, still = (
        ts.simulate(place, theta, where, eta, size.trials, simulating, chunk=size.chunk)
        for where in (ts.SGD(N=POINTS, B=1, E=1), ts.GD(N=POINTS, T=0))
    )
    # Without updates the gap has mean 0, but a large variance from which training set it was.
    statistic = (run if observable == ts.TestLoss() else run - still).statistic(observable)
    return {
        "simulated": statistic.mean,
        "error": statistic.standard_error,
        **_predicted(place, theta, observable, eta, size, measuring),
        **_resummed(place, theta, observable, eta, eigenpairs, size, resumming),
    }


def _predicted(
    landscape: ts.Landscape, theta: Any, observable: Any, eta: np.ndarray, size: CurveSize, key: jax.Array
) -> dict[str, np.ndarray]:
    """The un-resummed predictions, and their covariances."""
    formulas = [ts.derive(observable, ts.SGD(B=1, E=1), order) for order in range(1, size.order + 1)]
    measured = ts.measure(formulas[-1], landscape, theta, key=key, samples=size.samples)
    predictions = [
        ts.predict(formula, landscape, theta, eta=eta, measurement=measured, N=POINTS) for formula in formulas
    ]
    return {
        "start": predictions[-1].contributions[0, 0],
        "predicted": np.stack([prediction.mean for prediction in predictions]),
        "covariance": np.stack([prediction.covariance for prediction in predictions]),
    }


def _resummed(
    landscape: ts.Landscape,
    theta: Any,
    observable: Any,
    eta: np.ndarray,
    eigenpairs: int,
    size: CurveSize,
    key: jax.Array,
) -> dict[str, np.ndarray]:
    """The resummed predictions through order 2, in the top eigendirections of H; the others are taken to be flat."""
    formula = ts.derive(observable, ts.SGD(B=1, E=1), 2, resum="discrete")
    pairs = min(eigenpairs, sum(leaf.size for leaf in jax.tree.leaves(theta)))
    method = TopEigenpairs(pairs)
    measured = ts.measure(formula, landscape, theta, key=key, samples=size.samples, method=method)
    lowered = formula.lower()
    with warnings.catch_warnings():  # what is neglected is said in the notes
        warnings.simplefilter("ignore", RuntimeWarning)
        parts = np.asarray(lowered.contributions(measured, eta, N=POINTS), dtype=float)
        uncertainty = lowered.uncertainty(measured, eta, N=POINTS)
    return {"resummed": np.cumsum(parts, axis=0)[1:], "resummed_error": np.asarray(uncertainty.sampling, dtype=float)}


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


def rows(found: Sequence[Curve]) -> list[dict[str, Any]]:
    """The numbers behind some curves, one row for each learning rate."""
    return [
        {"net": curve.net}
        | curve.simulation(i)
        | {"at the start": curve.start}
        | curve.predictions(i, [f"order {k + 1}" for k in range(len(curve.predicted))])
        | {f"resummed order {k + 1}": values[i] for k, values in enumerate(curve.resummed)}
        | {"error of resummed": curve.resummed_error[i]}
        for curve in found
        for i in range(len(curve.eta))
    ]
