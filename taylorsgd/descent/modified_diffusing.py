r"""Simulated modified diffusions: dθ = (aη ∇l + bη² ∇∇l ∇l) dt + η √(cC) dW (Itô).

A step of h = 1/refinement averages the drift over its two ends, and takes the noise at its beginning:

    θ* = θ + h D(θ) + N,        θ ← θ + (h/2)(D(θ) + D(θ*)) + N,        N = η √(hc) ζ(θ),

with ζ of mean 0 and covariance C as for the SDE (see `diffusing`). By Euler–Maruyama a step would add a drift
−(h/2)η² ∇∇l ∇l, which is 1/refinement of what tells weak order 2 from 1. Here what it adds is O(hη³), from the change
of C along a step, and so beyond weak order 2 whatever h is. The drift is that of the whole population: points drawn
anew would be correlated with θ*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from taylorsgd.descent.recording import Record
from taylorsgd.descent.stochastic_paths import sample_paths
from taylorsgd.flows import ModifiedSDE
from taylorsgd.landscapes.landscape import Landscape
from taylorsgd.landscapes.point_functions import PointFunction

__all__ = ["diffuse_modified"]


def diffuse_modified(
    landscape: Landscape,
    theta: Any,
    equation: ModifiedSDE,
    rates: np.ndarray,
    trials: int,
    key: jax.Array,
    *,
    functions: tuple[PointFunction, ...],
    refinement: int,
    test_points: int | None,
    chunk: int | None,
    simulated: Callable[[Iterable[Any], int], Iterable[Any]],
) -> list[Record]:
    """Run a modified SDE at some learning rates; arguments as for `diffuse`.

    Returns:
        One record for each learning rate, its scalars being the test loss and the observables.

    Raises:
        NotImplementedError: if its drift has other terms than ∇l and ∇∇l ∇l, or its noise than C.
        ValueError: if it is asked of a sampler whose expected loss is not known, or a path has too many steps.
    """
    if landscape.size is None and landscape.expected is None:
        raise ValueError(
            f"the drift of {equation!r} is that of the expected loss, and {landscape!r} is a sampler that does not "
            "know it; give Landscape(loss, data, expected=...), or a population of data"
        )
    time = float(equation.sizes["T"])
    along, curved, noise = map(float, equation.strengths)

    def strengths(step: float, points: int, whole: bool) -> tuple[float, float, float]:
        return step * along, step * curved, float(np.sqrt(step * noise / (points if whole else points - 1)))

    return sample_paths(
        landscape, theta, time, rates, trials, key, strengths, averaged=True, functions=functions,
        refinement=refinement, test_points=test_points, chunk=chunk, simulated=simulated,
    )  # fmt: skip
