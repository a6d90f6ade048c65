"""The statistics that verdicts rest on: monotone trends within groups, χ², joint z-scores, orders of convergence."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

__all__ = [
    "LEAST_P", "LEVEL", "ChiSquare", "SignTest", "Trend", "chi_square", "joint_z", "order_of_convergence", "sign_test",
    "trend",
]  # fmt: skip

LEVEL = 0.01
"""The significance level of every verdict on a difference, fixed beforehand."""
LEAST_P = 0.001
"""Predictions agree with simulations if data this unlikely or likelier are seen."""


@dataclass(frozen=True)
class Trend:
    """Whether y goes one way with x, by the pairs of points.

    Attributes:
        tau: Kendall's τ in [−1, 1]: concordant less discordant pairs, over the pairs that differ in both.
        z: that difference over its standard deviation under no trend.
        p_value: the probability of at least that trend, in the expected direction, if there is none.
        expected: 1 for rising, −1 for falling.
        pairs: how many pairs differ in both x and y.
        contrary: the probability of at least that trend in the other direction, if there is none.
    """

    tau: float
    z: float
    p_value: float
    expected: int
    pairs: int
    contrary: float

    @property
    def agrees(self) -> bool | None:
        """Whether the trend has the expected direction at the fixed level; None if there is nothing to compare."""
        return self.p_value < LEVEL if self.pairs else None

    def __str__(self) -> str:
        """The statistic in one line."""
        return f"Kendall's τ = {self.tau:+.2f}, one-sided p = {self.p_value:.2g} ({self.pairs} pairs)"


def trend(x: Any, y: Any, expected: int, strata: Sequence[Hashable] | None = None) -> Trend:
    """Test for a monotone trend within groups: the seasonal Mann–Kendall test (Hirsch, Slack and Smith 1982).

    S = Σ_groups Σ_{i<j} sign(x_j − x_i) sign(y_j − y_i) is compared with a normal distribution of variance
    Σ_groups Var S, corrected for ties, with a continuity correction of one. Points of different groups are
    never compared: what a group has in common, such as the width of a network, does not matter.

    Args:
        x: n numbers.
        y: n numbers.
        expected: the direction that is tested for, 1 for rising and −1 for falling.
        strata: for every point its group; None means one group.

    Returns:
        A `Trend`; without any pairs that differ, τ = z = 0 and p = 1.

    Raises:
        ValueError: if the lengths differ, `expected` is neither 1 nor −1, or a number is not finite.

    Example:
        >>> print(trend([1, 2, 3, 4, 5, 6], [2, 3, 5, 7, 11, 13], expected=1))
        Kendall's τ = +1.00, one-sided p = 0.0043 (15 pairs)
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    groups = list(strata) if strata is not None else [0] * len(x)
    if not len(x) == len(y) == len(groups):
        raise ValueError(f"x, y and strata have lengths {len(x)}, {len(y)} and {len(groups)}; they must agree")
    if expected not in (1, -1):
        raise ValueError(f"expected={expected!r} must be 1 for a rising or −1 for a falling trend")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("x and y must be finite numbers")
    score, variance, pairs = 0.0, 0.0, 0
    for group in dict.fromkeys(groups):
        inside = np.array([other == group for other in groups])
        signs = np.multiply(*(np.sign(v[inside][:, None] - v[inside]) for v in (x, y)))
        score += signs.sum() / 2
        pairs += int(np.abs(signs).sum() / 2)
        variance += _variance(x[inside], y[inside])
    if not pairs or not variance:
        return Trend(0.0, 0.0, 1.0, expected, pairs, 1.0)
    from scipy.stats import norm

    # P(S ≥ s) for an S that only takes values two apart
    p_value, contrary = (float(norm.sf((side * score - 1) / sqrt(variance))) for side in (expected, -expected))
    return Trend(score / pairs, score / sqrt(variance), p_value, expected, pairs, contrary)


def _variance(x: np.ndarray, y: np.ndarray) -> float:
    """Var S without a trend, for samples with ties (Kendall 1970)."""
    n = len(x)
    ties = [np.unique(values, return_counts=True)[1] for values in (x, y)]
    pairs, triples, weighted = (
        [float(np.sum(t * (t - 1) * f(t))) for t in ties] for f in (lambda t: 1, lambda t: t - 2, lambda t: 2 * t + 5)
    )
    variance = (n * (n - 1) * (2 * n + 5) - sum(weighted)) / 18
    if n > 1:
        variance += pairs[0] * pairs[1] / (2 * n * (n - 1))
    if n > 2:
        variance += triples[0] * triples[1] / (9 * n * (n - 1) * (n - 2))
    return variance


@dataclass(frozen=True)
class SignTest:
    """Whether something is so for most of a number of independent runs.

    Attributes:
        count: for how many it is.
        of: of how many.
        p_value: the probability of so many or more if each is as likely as not.
        contrary: the probability of so few or fewer.
    """

    count: int
    of: int
    p_value: float
    contrary: float

    @property
    def agrees(self) -> bool | None:
        """Whether it is so for most, at the fixed level; None without any runs."""
        return self.p_value < LEVEL if self.of else None

    def __str__(self) -> str:
        """The statistic in one line."""
        return f"{self.count} of {self.of}, one-sided p = {self.p_value:.2g}"


def sign_test(so: Any) -> SignTest:
    """The statistic of some runs, for each of which something is so or not.

    Example:
        >>> print(sign_test([True] * 9 + [False]))
        9 of 10, one-sided p = 0.011
    """
    from scipy.stats import binom

    each = np.asarray(so, dtype=bool)
    count, of = int(each.sum()), each.size
    return SignTest(count, of, float(binom.sf(count - 1, of, 0.5)), float(binom.cdf(count, of, 0.5)))


@dataclass(frozen=True)
class ChiSquare:
    """Whether residuals are as large as their errors.

    Attributes:
        chi2: Σ (residual/error)², or its like for errors that are not independent.
        degrees: of freedom.
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


def chi_square(value: float, degrees: int) -> ChiSquare:
    """The statistic with its p-value.

    Example:
        >>> print(chi_square(3.0, 2))
        χ² = 3.0 for 2 degrees of freedom, p = 0.22
    """
    from scipy.stats import chi2

    return ChiSquare(value, degrees, float(chi2.sf(value, degrees)))


def joint_z(mean: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """How far some means are above 0 together: Σ_k z_k/√n, and the one-sided p-value (Stouffer 1949).

    Example:
        >>> z, p_value = joint_z(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
        >>> round(z, 3), round(p_value, 5)
        (2.828, 0.00234)
    """
    from scipy.stats import norm

    score = float(np.sum(mean / error) / np.sqrt(len(mean)))
    return score, float(norm.sf(score))


def order_of_convergence(steps: Any, errors: Any) -> float:
    """The slope of log error against log step, by least squares: p for errors that go as step^p.

    Example:
        >>> round(order_of_convergence([0.1, 0.2, 0.4], [0.002, 0.008, 0.032]), 12)
        2.0
    """
    return float(np.polyfit(np.log(np.asarray(steps)), np.log(np.asarray(errors)), 1)[0])
