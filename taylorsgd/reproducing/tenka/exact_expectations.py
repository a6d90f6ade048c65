"""What SGD does in one dimension to any time, without sampling and without expanding in η.

One update maps an observable f to (Uf)(θ) = Σ_x w_x f(θ − η l_x′(θ)), so that E[f(θ_T)] = (U^T f)(θ_0) for
SGD on fresh points with B = 1, and lim_{T→∞} E[f(θ_T)] = π f with πU = π where that is unique. On an interval
that no update leaves, f is held by its values at Chebyshev points: U becomes a small matrix, and the error
falls exponentially with its size for analytic losses (Trefethen 2013).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial import chebyshev
from sympy import diff, lambdify

from taylorsgd.landscapes import FiniteLandscape

__all__ = ["Expectations"]


@dataclass(frozen=True)
class Expectations:
    """E[l(θ_T)] of one-epoch SGD with B = 1 on a finite landscape of one variable, for every T.

    Args:
        landscape: the landscape.
        rate: the learning rate η.
        interval: the ends of an interval that no update leaves.
        size: how many Chebyshev points.

    Raises:
        ValueError: if the landscape has several variables, or an update leaves the interval.

    Example:
        On (θ ± 1)²/2 the mean of l = (θ² + 1)/2 is E θ² → η/(2 − η) around the minimum:

        >>> from sympy import Rational, Symbol
        >>> x = Symbol("x")
        >>> coin = FiniteLandscape([(x - 1) ** 2 / 2, (x + 1) ** 2 / 2], [Rational(1, 2)] * 2, [x])
        >>> exact = Expectations(coin, 0.2, (-1.5, 1.5))
        >>> round(exact.test_loss(0.0, 1), 12), round(exact.limit(), 12)
        (0.52, 0.555555555556)
    """

    landscape: FiniteLandscape
    rate: float
    interval: tuple[float, float]
    size: int = 40

    def __post_init__(self) -> None:
        """Check the landscape and the interval."""
        if len(self.landscape.variables) != 1:
            raise ValueError(f"landscape has {len(self.landscape.variables)} variables; this is for one")
        low, high = self.interval
        line = np.linspace(low, high, 1001)
        variables = self.landscape.variables
        for loss in self.landscape.losses:
            after = line - self.rate * lambdify(variables, diff(loss, *variables))(line)
            if np.min(after) < low or np.max(after) > high:
                raise ValueError(
                    f"interval={self.interval} is left by an update with η = {self.rate:g}: it reaches "
                    f"[{np.min(after):.4g}, {np.max(after):.4g}]"
                )

    def test_loss(self, start: float, updates: int) -> float:
        """E[l(θ_T)] from a point of the interval."""
        weights = self._interpolate(np.array([start]))
        return float((weights @ np.linalg.matrix_power(self._update, updates) @ self._loss).item())

    def limit(self, observable: Callable[[np.ndarray], np.ndarray] | None = None) -> float:
        """lim_{T→∞} E[f(θ_T)], the mean in the stationary distribution of f, or else of l."""
        # π(U − 1) = 0 with Σπ = 1: the last left singular vector, which no power of U has rounded.
        left = np.linalg.svd(self._update - np.eye(self.size))[0][:, -1]
        values = self._loss if observable is None else observable(self._points)
        return float(left @ values / left.sum())

    @cached_property
    def _points(self) -> np.ndarray:
        low, high = self.interval
        return (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(self.size) + 0.5) / self.size)

    @cached_property
    def _loss(self) -> np.ndarray:
        return lambdify(self.landscape.variables, self.landscape.loss)(self._points)

    @cached_property
    def _update(self) -> np.ndarray:
        """U in the values at the points."""
        variables = self.landscape.variables
        total = np.zeros((self.size, self.size))
        for loss, weight in zip(self.landscape.losses, self.landscape.weights, strict=True):
            after = self._points - self.rate * lambdify(variables, diff(loss, *variables))(self._points)
            total += float(weight) * self._interpolate(after)
        return total

    def _interpolate(self, at: np.ndarray) -> np.ndarray:
        """The matrix from values at the points to values elsewhere.

        The Chebyshev coefficients of the interpolant are Σ_i f(x_i) T_k(x_i) · 2/n, half of that for k = 0.
        """
        low, high = self.interval
        scaled, nodes = ((2 * x - low - high) / (high - low) for x in (at, self._points))
        degrees = self.size - 1
        transform = chebyshev.chebvander(nodes, degrees).T * (2 / self.size)
        transform[0] /= 2
        return chebyshev.chebvander(scaled, degrees) @ transform
