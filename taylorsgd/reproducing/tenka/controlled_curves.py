"""The test loss or the gap of a classifier against the learning rate, with control variates that tell orders apart.

All learning rates have the same training sets, and from each run its own Taylor series is taken away through the
order D below the one that is looked at (see `own_series`). What is left is compared with what the formula has beyond
order D: of the prediction of order d = D + 1 its last term, of that of order D nothing. Learning rates are judged one
by one, for their runs share training sets; initializations have their own, and their χ² add.

A truncated series is never equal to what it approximates, and enough trials tell it apart at any η. So agreement is
judged at a resolution: to the errors of measuring and simulating here is added the standard error that a mean over so
many plain trials has, those of the paper.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

import taylorsgd as ts
from taylorsgd.measuring import TopEigenpairs
from taylorsgd.reproducing.experiment import Work
from taylorsgd.reproducing.significance import LEAST_P, ChiSquare, chi_square
from taylorsgd.reproducing.tenka.curves import Curve
from taylorsgd.reproducing.tenka.image_classifiers import (
    CONVOLUTIONAL,
    LOGISTIC,
    POINTS,
    ClassifierSize,
    on_classifiers,
)
from taylorsgd.reproducing.tenka.own_series import OwnSeries, less_own_series

__all__ = [
    "CurveSize", "LossCurve", "agreement_at", "breaking_point", "coefficients_agree", "loss_curves", "rows",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CurveSize(ClassifierSize):
    """The settings.

    Attributes:
        times: ηT.
        order: of the un-resummed predictions, at least 2.
        published: the trials of the paper, whose resolution agreement is judged at.
        eigenpairs: of the Hessian, for the resummed ones, of the convolutional net and of logistic regression.
    """

    trials: int = 128
    times: tuple[float, ...]
    order: int
    published: int
    eigenpairs: tuple[int, int] = (3, 9)


@dataclass(frozen=True, kw_only=True)
class LossCurve(Curve):
    """A number against the learning rate from one initialization; `simulated` are plain means over trials.

    Attributes:
        series: what the runs leave beyond their own Taylor series.
        trials: how many there are.
        between: the predictions of orders 1, 2, … less that of order D, (orders, k).
        between_error: their standard errors.
        coefficients: of η, η², … by the formulas, (orders,).
        coefficients_error: their standard errors.
        resummed: predictions of orders 1, 2, …, each with its exact dependence on ηTH, (orders, k).
        resummed_error: the standard errors of the last of them, (k,).
    """

    series: OwnSeries
    trials: int
    between: np.ndarray
    between_error: np.ndarray
    coefficients: np.ndarray
    coefficients_error: np.ndarray
    resummed: np.ndarray
    resummed_error: np.ndarray

    @property
    def below(self) -> int:
        """D, the order through which the runs' own series are taken away."""
        return len(self.predicted) - 1

    @property
    def estimate(self) -> tuple[np.ndarray, np.ndarray]:
        """The simulated number with its standard error, with or without control variates, as has the smaller one."""
        better, mean, error = self._controlled
        return np.where(better, mean, self.simulated), np.where(better, error, self.error)

    @property
    def gain(self) -> np.ndarray:
        """By what factor the control variates lower the variance of the mean over trials, (k,)."""
        return (self.error / self.series.left_error[self.below]) ** 2

    def deviations(self, order: int, published: float = np.inf) -> np.ndarray:
        """(prediction − simulation) in units of their joint standard error, the smaller of two, (k,).

        Without control variates the prediction is compared with the mean over trials; with them the terms that the
        prediction has beyond order D with what is left of the runs.

        Args:
            order: of the prediction.
            published: the number of plain trials whose standard error is added.
        """
        plain = self.predicted[order - 1] - self.simulated
        plain_error = np.sqrt(np.diag(self.covariance[order - 1]) + self.error**2)
        rest = self.between[order - 1] - self.series.left[self.below]
        rest_error = np.hypot(self.between_error[order - 1], self.series.left_error[self.below])
        with np.errstate(invalid="ignore"):
            error = np.where(rest_error < plain_error, rest_error, plain_error)
            residual = np.where(rest_error < plain_error, rest, plain)
            return residual / np.hypot(error, self.error * (self.trials / published) ** 0.5)

    @property
    def _controlled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where control variates help, and the simulated number with them: the formula's order D, and what is left."""
        mean = self.predicted[self.below - 1] + self.series.left[self.below]
        error = np.sqrt(np.diag(self.covariance[self.below - 1]) + self.series.left_error[self.below] ** 2)
        return error < self.error, mean, error


def loss_curves(size: CurveSize, work: Work, observable: Any) -> list[LossCurve]:
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
    resummed = ts.derive(observable, ts.SGD(B=1, E=1), 2, resum="discrete").lower()  # and so compiled once for all
    found = []
    for net, pairs in zip((CONVOLUTIONAL, LOGISTIC), size.eigenpairs, strict=True):
        for seed, part in on_classifiers(size, work, net, what, partial(_curve, observable, resummed, eta, pairs)):
            named = {name: array for name, array in part.items() if name in OwnSeries.__annotations__}
            series = OwnSeries(**named)
            arrays: dict[str, Any] = {name: array for name, array in part.items() if name not in named}
            start = float(arrays.pop("start"))
            plain = {"simulated": start + series.left[0], "error": series.left_error[0]}
            same: dict[str, Any] = {"net": net, "seed": seed, "eta": eta, "trials": size.trials}
            found.append(LossCurve(start=start, series=series, **same, **plain, **arrays))
    return found


def _curve(
    observable: Any,
    resummed: Any,
    eta: np.ndarray,
    eigenpairs: int,
    place: ts.Landscape,
    theta: Any,
    size: CurveSize,
    key: jax.Array,
) -> dict[str, np.ndarray]:
    """The arrays of a `LossCurve`."""
    measuring, simulating, resumming = jax.random.split(key, 3)
    where, many = ts.SGD(N=POINTS, B=1, E=1), {"trials": size.trials, "chunk": size.chunk}
    series = less_own_series(place, theta, where, observable, eta, size.order, key=simulating, **many)
    return {
        **asdict(series),
        **_predicted(place, theta, observable, eta, size, measuring),
        **_resummed(resummed, place, theta, eta, eigenpairs, size, resumming),
    }


def _predicted(
    landscape: ts.Landscape, theta: Any, observable: Any, eta: np.ndarray, size: CurveSize, key: jax.Array
) -> dict[str, np.ndarray]:
    """The un-resummed predictions, their covariances, and what lies between two of them."""
    whole = ts.derive(observable, ts.SGD(B=1, E=1), size.order)
    formulas = [ts.derive(observable, ts.SGD(B=1, E=1), order) for order in range(1, size.order)] + [whole]
    measured = ts.measure(whole, landscape, theta, key=key, samples=size.samples)

    def predicted(formula: ts.Formula, rates: Any) -> Any:
        return ts.predict(formula, landscape, theta, eta=rates, measurement=measured, N=POINTS)

    predictions = [predicted(formula, eta) for formula in formulas]
    *lower, below, last = formulas
    steps = [(below - formula).simplify() for formula in lower]
    between = [(-one.mean, one.standard_error) for one in (predicted(step, eta) for step in steps)]
    beyond = predicted((last - below).simplify(), eta)
    between += [(np.zeros_like(eta), np.zeros_like(eta)), (beyond.mean, beyond.standard_error)]
    orders = [predicted(whole[order], 1.0) for order in range(1, size.order + 1)]
    return {
        "start": predictions[-1].contributions[0, 0],
        "predicted": np.stack([prediction.mean for prediction in predictions]),
        "covariance": np.stack([prediction.covariance for prediction in predictions]),
        "between": np.stack([mean for mean, _ in between]),
        "between_error": np.stack([error for _, error in between]),
        "coefficients": np.array([float(one.mean) for one in orders]),
        "coefficients_error": np.array([float(one.standard_error) for one in orders]),
    }


def _resummed(
    lowered: Any, landscape: ts.Landscape, theta: Any, eta: np.ndarray, eigenpairs: int, size: CurveSize, key: jax.Array
) -> dict[str, np.ndarray]:
    """The resummed predictions through order 2, in the top eigendirections of H; the others are taken to be flat."""
    pairs = min(eigenpairs, sum(leaf.size for leaf in jax.tree.leaves(theta)))
    method = TopEigenpairs(pairs)
    measured = ts.measure(lowered.formula, landscape, theta, key=key, samples=size.samples, method=method)
    with warnings.catch_warnings():  # what is neglected is said in the notes
        warnings.simplefilter("ignore", RuntimeWarning)
        parts = np.asarray(lowered.contributions(measured, eta, N=POINTS), dtype=float)
        uncertainty = lowered.uncertainty(measured, eta, N=POINTS)
    return {"resummed": np.cumsum(parts, axis=0)[1:], "resummed_error": np.asarray(uncertainty.sampling, dtype=float)}


def agreement_at(curves: Sequence[LossCurve], order: int, i: int, published: float = np.inf) -> ChiSquare:
    """χ² of the order's prediction at the i-th learning rate, over some curves; with p = 0 where trials diverged."""
    deviations = np.array([curve.deviations(order, published)[i] for curve in curves])
    return chi_square(float(np.sum(deviations**2)) if np.isfinite(deviations).all() else np.inf, len(curves))


def coefficients_agree(curves: Sequence[LossCurve], order: int, predicted: bool = True) -> ChiSquare:
    """χ² of a coefficient by the formulas against the mean of the runs' own, over some curves.

    Args:
        curves: the curves.
        order: whose coefficient, at least 1.
        predicted: False to hold 0 against the runs.
    """
    total = 0.0
    for curve in curves:
        mean, error = curve.series.own[order], curve.series.own_error[order]
        told, uncertain = curve.coefficients[order - 1], curve.coefficients_error[order - 1]
        total += (predicted * told - mean) ** 2 / (predicted * uncertain**2 + error**2)
    return chi_square(float(total), len(curves))


def breaking_point(
    curves: Sequence[LossCurve], order: int, published: float = np.inf
) -> tuple[float | None, float | None]:
    """Up to where a prediction agrees, and where it first does not, learning rate by learning rate.

    Args:
        curves: the curves, with the same learning rates.
        order: of the prediction.
        published: as in `LossCurve.deviations`.

    Returns:
        The last learning rate with p > 0.001, and the next one; None where there is none.
    """
    good = None
    for i, rate in enumerate(curves[0].eta):
        if not agreement_at(curves, order, i, published).p_value > LEAST_P:
            return good, float(rate)
        good = float(rate)
    return good, None


def rows(found: Sequence[LossCurve]) -> list[dict[str, Any]]:
    """The numbers behind some curves, one row for each learning rate."""
    return [
        {"net": curve.net}
        | curve.simulation(i)
        | {"at the start": curve.start}
        | {"with control variates": curve.estimate[0][i], "error with them": curve.estimate[1][i]}
        | {"gain in variance": curve.gain[i]}
        | {f"left beyond order {k}": curve.series.left[k][i] for k in range(1, len(curve.series.left))}
        | {f"error beyond order {k}": curve.series.left_error[k][i] for k in range(1, len(curve.series.left))}
        | curve.predictions(i, [f"order {k + 1}" for k in range(len(curve.predicted))])
        | {f"resummed order {k + 1}": values[i] for k, values in enumerate(curve.resummed)}
        | {"error of resummed": curve.resummed_error[i]}
        | {"0-1 error at the start": float(curve.series.wrong_start)}
        | {"0-1 error": curve.series.wrong[i], "error of 0-1 error": curve.series.wrong_error[i]}
        for curve in found
        for i in range(len(curve.eta))
    ]
