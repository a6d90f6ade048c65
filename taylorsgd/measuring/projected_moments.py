r"""Predictions of a displacement along directions, and of its covariance, without a P × P array.

A value with open indices is contracted with vectors at both ends, and is a number like any other:

    Cov(δθ_T)_{ij} = u_i^μ (Σ_terms coefficient · W_{μν}) u_j^ν,        i, j = 1, …, m.

One measurement is made for every pair of directions, m(m + 1)/2 of them where the formula is symmetric; all read the
same draws, and share compiled programs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from jax.flatten_util import ravel_pytree

from taylorsgd.formulas import Formula, Observable
from taylorsgd.formulas.closing import closed, open_positions
from taylorsgd.formulas.expectations import Expectations
from taylorsgd.measuring.linear_functions import LinearFunction
from taylorsgd.measuring.predictions import Prediction
from taylorsgd.measuring.validity import growth, largest_growth

__all__ = ["NAMES", "along_all", "count_components", "dense_along", "is_symmetric", "one_way"]

NAMES = ("→0", "→1")
"""What the two directions are called in closed formulas, whichever they are."""


def one_way(formula: Formula, directions: Sequence[Any], theta: Any, positions: Sequence[int]) -> Formula:
    """The formula with some of its open indices contracted.

    Args:
        formula: the formula.
        directions: for every position a pytree like θ.
        theta: θ_0.
        positions: which indices.
    """
    own = {
        position: Observable(LinearFunction(direction, theta), NAMES[i])
        for i, (position, direction) in enumerate(zip(positions, directions, strict=True))
    }
    return closed(formula, own)


def along_all(
    formula: Formula,
    directions: Sequence[Any],
    theta: Any,
    predicted: Callable[[Formula], Prediction],
    expectations: Expectations | None,
) -> Prediction:
    """The prediction of all components along some directions.

    Args:
        formula: the formula, with one or two open indices.
        directions: m pytrees like θ.
        theta: θ_0.
        predicted: how a scalar formula is predicted.
        expectations: what the whole is of.

    Returns:
        A prediction whose arrays have the axes (m,) or (m, m) of components behind those of `Prediction`.
    """
    positions = open_positions(formula)
    symmetric = len(positions) == 2 and is_symmetric(formula, theta)
    count = len(directions)
    found: dict[tuple[int, ...], Prediction] = {}
    for chosen in product(range(count), repeat=len(positions)):
        if symmetric and chosen[0] > chosen[1]:
            found[chosen] = found[chosen[::-1]]
        else:
            found[chosen] = predicted(one_way(formula, [directions[i] for i in chosen], theta, positions))
    shape = (count,) * len(positions)

    def spread(part: str) -> np.ndarray:
        arrays = [np.asarray(getattr(one, part)) for one in found.values()]
        return np.stack(arrays, axis=-1).reshape(*arrays[0].shape, *shape)

    first = next(iter(found.values()))
    return replace(
        first,
        formula=formula,
        mean=spread("mean"),
        covariance=spread("covariance"),
        contributions=spread("contributions"),
        eta_max=_edge(first, spread("contributions")),
        expectations=expectations,
    )


def count_components(formula: Formula, count: int, theta: Any) -> int:
    """How many components along so many directions are measured: of a symmetric matrix those on and above the diagonal.

    Args:
        formula: the formula, with one or two open indices.
        count: m, of the directions.
        theta: a pytree like θ.
    """
    positions = open_positions(formula)
    if len(positions) == 2 and is_symmetric(formula, theta):
        return count * (count + 1) // 2
    return count ** len(positions)


def _edge(prediction: Prediction, parts: np.ndarray) -> float:
    """Up to which learning rate all components together are to be believed, by the norms of their orders."""
    orders, rate = prediction.orders, np.atleast_1d(np.abs(prediction.eta))
    if len(orders) < 2 or not rate.any():
        return float("nan")
    largest = int(np.argmax(rate))
    sizes = np.zeros(max(prediction.order + 1, len(parts)))
    norm = np.linalg.norm(parts.reshape(len(parts), rate.size, -1)[:, largest], axis=-1)
    sizes[: len(norm)] = norm
    x = float(growth(sizes[:, None], np.zeros((len(sizes), 1)), orders)[0])
    bound = largest_growth(prediction.tolerance, orders[-1] - orders[0])
    return float("inf") if x == 0 else float(rate[largest]) * bound / x


def dense_along(prediction: Prediction, directions: Sequence[Any]) -> Prediction:
    """The components along directions of a prediction that is a dense vector or matrix, without errors."""
    rows = np.stack([np.asarray(ravel_pytree(direction)[0], float) for direction in directions])

    def projected(array: Any, axes: int) -> np.ndarray:
        found = np.asarray(array, float)
        for axis in range(axes, found.ndim):
            found = np.moveaxis(np.tensordot(found, rows, axes=(axis, 1)), -1, axis)
        return found

    axes = prediction.eta.ndim
    return replace(
        prediction,
        mean=projected(prediction.mean, axes),
        covariance=projected(prediction.covariance, 2 * axes),
        contributions=projected(prediction.contributions, 1 + axes),
    )


def is_symmetric(formula: Formula, theta: Any) -> bool:
    """Whether the two indices can be swapped: not where they are taken at two times."""
    two = [Observable(LinearFunction(theta, theta), name) for name in NAMES]
    one, other = closed(formula, {0: two[0], 1: two[1]}), closed(formula, {0: two[1], 1: two[0]})
    return one == other
