r"""Up to which learning rate a formula is to be believed.

With c_k the part of order η^k, m the lowest k ≥ 1 with one and d the order of the formula, the growth of the series is

    x = max_{m ≤ j < k ≤ d} ( (|c_k| + s_k) / |c_j| )^{1/(k−j)},        s_k the standard error of c_k,

so that every part known is at most x^{k−m} |c_m|. If those left out are too, they sum up to at most

    |c_m| x^{d+1−m} / (1 − x).

The formula is taken to hold while x^{d+1−m} ≤ tolerance^{3/2}: then what is left out is about 0.3 % of the lowest part
by default, and of the first three orders the highest is `tolerance` of the lowest. A resummed formula is also held to
η λ_max ≤ 1, where the largest eigenvalue of H has been measured: beyond, steps overshoot, and what multiplies high
orders grows. A formula of one order knows no growth, and its range is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float

__all__ = ["growth", "largest_growth", "largest_rate", "left_out"]

OCTAVES = 40
"""How far above and below a given rate the edge of a range is looked for."""


def growth(
    parts: Float[np.ndarray, ...], errors: Float[np.ndarray, ...], orders: Sequence[int]
) -> Float[np.ndarray, "*k"]:
    """By how much each order of a series may be larger than the one before it.

    Args:
        parts: |c_k| for k = 0, …, d.
        errors: their standard errors.
        orders: the k ≥ 1 that the formula was derived at, ascending.

    Returns:
        x; NaN where only one order is there, or the parts below the highest vanish within their errors.

    Example:
        >>> parts = np.array([5.0, 1.0, 0.1, 0.02])
        >>> round(float(growth(parts, np.zeros(4), [1, 2, 3])), 3)
        0.2
    """
    found = np.full(parts.shape[1:], np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        for j, k in combinations(orders, 2):
            known = (parts[j] > 0) & (parts[j] > 2 * errors[j])
            ratio = ((parts[k] + errors[k]) / parts[j]) ** (1 / (k - j))
            found = np.where(known, np.fmax(found, ratio), found)
    return found


def left_out(lowest: Float[np.ndarray, "*k"], x: Float[np.ndarray, "*k"], steps: int) -> Float[np.ndarray, "*k"]:
    """What the terms left out sum up to at most, |c_m| x^{steps+1} / (1 − x), with steps = d − m; inf for x ≥ 1."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(x < 1, lowest * x ** (steps + 1) / (1 - x), np.where(np.isnan(x), np.nan, np.inf))


def largest_growth(tolerance: float, steps: int) -> float:
    """The largest x in range, tolerance^{3/(2(steps+1))}, with steps = d − m."""
    return tolerance ** (1.5 / (steps + 1))


def largest_rate(
    growth_at: Callable[[Float[np.ndarray, " k"]], Float[np.ndarray, " k"]], bound: float, start: float, power: bool
) -> float:
    """The largest η below which x ≤ bound throughout.

    Args:
        growth_at: x at some learning rates.
        bound: the largest x.
        start: a learning rate to begin with.
        power: whether x is proportional to η.

    Returns:
        The rate, to 1 %; NaN if x is not known, inf if no rate breaks the bound.
    """
    if power:
        x = float(growth_at(np.array([start]))[0])
        return float("nan") if np.isnan(x) else float("inf") if x == 0 else start * bound / x
    low, high = start * 2.0**-OCTAVES, start * 2.0**OCTAVES
    for _ in range(3):
        rates = np.geomspace(low, high, 81)
        x = growth_at(rates)
        if not np.isfinite(x).any() and np.isnan(x).any():
            return float("nan")
        beyond = ~(x <= bound)
        if not beyond.any():
            return float("inf")
        first = int(np.argmax(beyond))
        if first == 0:
            return float(low)
        low, high = rates[first - 1], rates[first]
    return float(low)
