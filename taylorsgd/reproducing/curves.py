"""A number of the paper's classifiers against the learning rate: predicted order by order, and simulated."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from taylorsgd.descent.simulating import simulate
from taylorsgd.formulas import TestLoss, derive
from taylorsgd.landscapes import Landscape, convolutional_net, logistic_regression, measure, predict
from taylorsgd.measuring import TopEigenpairs
from taylorsgd.reproducing.agreement import Curve
from taylorsgd.reproducing.experiment import Say
from taylorsgd.reproducing.images import Images
from taylorsgd.reproducing.parts import Parts
from taylorsgd.spacetime import GD, SGD

__all__ = [
    "CONVOLUTIONAL",
    "LOGISTIC",
    "POINTS",
    "CurveSize",
    "classifiers",
    "loss_curves",
    "population",
    "rows",
]

CONVOLUTIONAL, LOGISTIC = "convolutional net", "logistic regression"
"""The classifiers, by what they are called."""
POINTS = 10
"""N, and so T, of one epoch with batch size 1."""


@dataclass(frozen=True)
class CurveSize:
    """The settings.

    Attributes:
        images: the population, so many images; test losses are averages over all of it.
        side: they are averaged over blocks to about this height and width.
        initializations: of the convolutional net.
        times: ηT.
        trials: simulated training sets at each.
        samples: draws for measuring a value.
        order: of the un-resummed predictions.
        eigenpairs: of the Hessian, for the resummed ones, of the convolutional net and of logistic regression.
        seed: of everything.
    """

    images: int
    side: int
    initializations: int
    times: tuple[float, ...]
    trials: int
    samples: int
    order: int
    eigenpairs: tuple[int, int]
    seed: int = 0


def population(images: Images, size: Any) -> tuple[np.ndarray, np.ndarray]:
    """The first `size.images` images, about `size.side` pixels high, with pixels in [0, 1], and their labels."""
    pixels, labels = (
        np.concatenate(both)[: size.images] for both in zip(images.train, images.test, strict=True)
    )
    pooled = Images(images.name, (pixels, labels), (pixels[:0], labels[:0])).pooled(size.side)
    return (pooled.train[0] + 1) / 2, labels


def classifiers(images: Images, size: Any) -> Iterator[tuple[str, int, Landscape, Any]]:
    """The convolutional net from each of its initializations, then logistic regression from 0.

    Yields:
        The net's name, the number of the initialization, the landscape and θ_0.
    """
    pixels, labels = population(images, size)
    for seed in range(size.initializations):
        yield (CONVOLUTIONAL, seed, *convolutional_net(pixels, labels, seed))
    yield (LOGISTIC, 0, *logistic_regression(pixels, labels))


def loss_curves(size: CurveSize, images: Images, observable: Any, say: Say, parts: Parts) -> list[Curve]:
    """Measure, predict and simulate an observable of one epoch of SGD, batch size 1, for all classifiers.

    Args:
        size: the settings.
        images: what is classified.
        observable: `TestLoss()` or `GeneralizationGap()`.
        say: told which classifier is next.
        parts: keeps each classifier's numbers.

    Returns:
        A curve for every initialization of the convolutional net, then one for logistic regression.
    """
    eta = np.array(size.times) / POINTS
    found = []
    for net, seed, landscape, theta in classifiers(images, size):
        say(f"{net}, initialization {seed + 1}: measuring, and {size.trials} trials at {len(eta)} rates")

        def compute(net: str = net, seed: int = seed, place: Landscape = landscape, at: Any = theta) -> Any:
            measuring, simulating, resumming = jax.random.split(jax.random.key(size.seed + seed), 3)
            run, still = (
                simulate(place, at, where, eta, size.trials, simulating, chunk=_chunk(size))
                for where in (SGD(N=POINTS, B=1, E=1), GD(N=POINTS, T=0))
            )
            # Without updates the gap has mean 0, but a large variance from which training set it was.
            statistic = (
                run.statistic(observable) if observable == TestLoss() else (run - still).statistic(observable)
            )
            pairs = size.eigenpairs[net == LOGISTIC]
            return {
                "simulated": statistic.mean,
                "error": statistic.standard_error,
                **_predicted(place, at, observable, eta, size, measuring),
                **_resummed(place, at, observable, eta, pairs, size, resumming),
            }

        part: Any = parts(f"{net} {seed}", compute)
        start = float(part["start"])
        rest = {name: array for name, array in part.items() if name != "start"}
        found.append(Curve(net=net, seed=seed, eta=eta, start=start, **rest))
    return found


def _chunk(size: CurveSize) -> int:
    """Trials side by side: few enough that what arises in them stays in a processor's cache."""
    return max(1, min(size.trials, 4096 // size.images))


def _predicted(
    landscape: Landscape, theta: Any, observable: Any, eta: np.ndarray, size: CurveSize, key: jax.Array
) -> dict[str, np.ndarray]:
    """The un-resummed predictions, and their covariances."""
    formulas = [derive(observable, SGD(B=1, E=1), order) for order in range(1, size.order + 1)]
    measured = measure(formulas[-1], landscape, theta, key=key, samples=size.samples)
    predictions = [
        predict(formula, landscape, theta, eta=eta, measurement=measured, N=POINTS) for formula in formulas
    ]
    return {
        "start": predictions[-1].contributions[0, 0],
        "predicted": np.stack([prediction.mean for prediction in predictions]),
        "covariance": np.stack([prediction.covariance for prediction in predictions]),
    }


def _resummed(
    landscape: Landscape,
    theta: Any,
    observable: Any,
    eta: np.ndarray,
    eigenpairs: int,
    size: CurveSize,
    key: jax.Array,
) -> dict[str, np.ndarray]:
    """The resummed predictions through order 2, in the top eigendirections of H; the others are taken to be flat."""
    formula = derive(observable, SGD(B=1, E=1), 2, resum="discrete")
    measured = measure(
        formula,
        landscape,
        theta,
        key=key,
        samples=size.samples,
        method=TopEigenpairs(min(eigenpairs, _parameters(theta))),
    )
    lowered = formula.lower()
    with warnings.catch_warnings():  # what is neglected is said in the notes
        warnings.simplefilter("ignore", RuntimeWarning)
        parts = np.asarray(lowered.contributions(measured, eta, N=POINTS), dtype=float)
        uncertainty = lowered.uncertainty(measured, eta, N=POINTS)
    return {
        "resummed": np.cumsum(parts, axis=0)[1:],
        "resummed_error": np.asarray(uncertainty.sampling, dtype=float),
    }


def _parameters(theta: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(theta))


def rows(found: Sequence[Curve]) -> list[dict[str, Any]]:
    """The numbers behind some curves, one row for each learning rate."""
    return [
        {
            "net": curve.net,
            "initialization": curve.seed + 1,
            "eta": curve.eta[i],
            "simulated": curve.simulated[i],
            "simulated error": curve.error[i],
            "at the start": curve.start,
            **{
                name: value
                for k, values in enumerate(curve.predicted)
                for name, value in (
                    (f"order {k + 1}", values[i]),
                    (f"error of order {k + 1}", np.sqrt(curve.covariance[k, i, i])),
                )
            },
            **{f"resummed order {k + 1}": values[i] for k, values in enumerate(curve.resummed)},
            "error of resummed": curve.resummed_error[i],
        }
        for curve in found
        for i in range(len(curve.eta))
    ]
