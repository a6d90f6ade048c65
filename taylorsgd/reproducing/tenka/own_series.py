"""What runs leave when the Taylor series of their own paths are taken away: control variates that tell orders apart.

A run ω ends with s_ω(η), a smooth function of the learning rate: its training set and its order are the same at every
η. With a_k its own Taylor coefficients, by forward mode along the run (`ts.expand`),

    E s_ω(η) = Σ_{k≤D} η^k E a_k + E[s_ω(η) − Σ_{k≤D} η^k a_k],

and E a_k is what the diagrams of order k are a formula for. The first sum is the formula's; only the bracket is
averaged over trials, and its variance falls with η^(2D+2): what training sets differ in at low orders is gone.

At small learning rates the bracket is less than a loss in float32 is rounded by, so all of this is in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import taylorsgd as ts
from taylorsgd.reproducing.tenka.image_classifiers import ErrorRate

__all__ = ["OwnSeries", "less_own_series"]


@dataclass(frozen=True, kw_only=True)
class OwnSeries:
    """Some runs at k learning rates, with the same training sets at each, and their own Taylor series.

    Attributes:
        own: the means of the runs' own Taylor coefficients a_0, …, a_d, (d + 1,).
        own_error: their standard errors.
        left: the means of s_ω(η) − Σ_{j≤D} η^j a_j for D = 0, …, d, (d + 1, k).
        left_error: their standard errors.
        wrong: the 0–1 errors of what the runs end with, (k,).
        wrong_error: their standard errors.
        wrong_start: the 0–1 error before training.
    """

    own: np.ndarray
    own_error: np.ndarray
    left: np.ndarray
    left_error: np.ndarray
    wrong: np.ndarray
    wrong_error: np.ndarray
    wrong_start: np.ndarray


def less_own_series(
    place: ts.Landscape,
    theta: Any,
    spacetime: ts.SGD,
    observable: Any,
    eta: np.ndarray,
    order: int,
    *,
    trials: int,
    key: jax.Array,
    chunk: int,
) -> OwnSeries:
    """Run descent at some learning rates on the same training sets, and take away what each run's own series says.

    Landscape and θ_0 may be in float32; they are taken as the numbers that they are, and the runs are in float64.

    Args:
        place: the loss of a classifier, and its population of (image, label).
        theta: θ_0.
        spacetime: with numbers for its sizes.
        observable: `TestLoss()` or `GeneralizationGap()`.
        eta: the learning rates, (k,).
        order: the highest order d that is taken away.
        trials: how many runs.
        key: of the training sets and orders.
        chunk: trials side by side.

    Returns:
        The means over trials.
    """
    with jax.enable_x64(True):
        place, theta = ts.Landscape(place.loss, _double(place.data)), _double(theta)
        error_rate = ErrorRate(place)
        wrong = ts.Observable(error_rate, name="wrong")
        series = ts.expand(
            ts.Descent(), place, theta, spacetime, order, observable=observable, trials=trials, key=key, chunk=chunk
        )
        of_trials: Any = series.trials  # which a scalar has
        lefts, errors = [], []
        for rate in eta:  # one at a time: those of a sequence of learning rates have training sets of their own
            run = ts.simulate(place, theta, spacetime, [rate], trials, key, observables=[wrong], chunk=chunk)
            if run.training_sets != series.training_sets:
                raise ArithmeticError("the runs and their series have different training sets")
            ends = np.asarray(run.statistic(observable).trials, float)[0]
            partial_sums = np.cumsum(of_trials * float(rate) ** np.arange(order + 1), axis=1)
            lefts.append(ends - partial_sums.T)
            errors.append(np.asarray(run.statistic(wrong).trials, float)[0])
        left, errors = np.stack(lefts, axis=1), np.array(errors)
        root = trials**0.5
        return OwnSeries(
            own=series.coefficients,
            own_error=series.standard_errors,
            left=left.mean(axis=-1),
            left_error=left.std(axis=-1, ddof=1) / root,
            wrong=errors.mean(axis=-1),
            wrong_error=errors.std(axis=-1, ddof=1) / root,
            wrong_start=np.array(float(error_rate(theta))),
        )


def _double(numbers: Any) -> Any:
    """A pytree with its floats in float64."""
    return jax.tree.map(
        lambda leaf: leaf.astype(float) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
        jax.tree.map(jnp.asarray, numbers),
    )
