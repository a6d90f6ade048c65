"""The model E(a, b) = (y − abx)²/2: its gradient, its descent, its flow.

With r² = a² + b² the paper's regularizer is R_IG = |∇E|²/2 = x² r² E, so that every loss here is
E (1 + c x² r²): c = 0 the original one, c = λ = h/2 the modified one, and c = μ the explicitly regularized one
of equation A.31. Equation 8 would give 2μ there: Table A.1's μ multiplies R_IG, not |∇E|².
"""

from __future__ import annotations

from math import hypot, sqrt
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

__all__ = ["LEAST_NORM", "X", "Y", "descend", "flow", "slopes"]

X, Y = 1.0, 0.6
"""The one training point."""
LEAST_NORM = sqrt(2 * Y / X)
"""|θ| at the minimum a = b = √(y/x), the flattest one."""


def slopes(a: float, b: float, c: float = 0.0) -> tuple[float, float]:
    """The gradient of E (1 + c x²(a² + b²)), equation A.28."""
    residual = Y - a * b * X
    factor = -X * residual * (1 + c * X**2 * (a * a + b * b))
    central = c * X**2 * residual**2
    return factor * b + central * a, factor * a + central * b


def descend(at: tuple[float, float], h: float, c: float, settled: float, most: int) -> np.ndarray:
    """Gradient descent on E (1 + c x²r²) until the residual is below `settled`.

    Returns:
        The points, an array (steps + 1, 2).

    Raises:
        ArithmeticError: if it diverges, or has not settled after `most` steps.
    """
    a, b = at
    path = [at]
    while abs(Y - a * b * X) > settled:
        da, db = slopes(a, b, c)
        a, b = a - h * da, b - h * db
        path.append((a, b))
        if not abs(a) + abs(b) < 1e100 or len(path) > most:
            raise ArithmeticError(
                f"descent from {at} with h={h:g} and c={c:g} is at {(a, b)} after {len(path) - 1} steps"
            )
    return np.array(path)


def flow(at: tuple[float, float], c: float, times: Any) -> np.ndarray:
    """The flow of E (1 + c x²r²) from a point, at increasing times from 0, to a relative error of 1e-12 a step.

    Returns:
        The points, an array (times, 2).
    """
    times = np.asarray(times, dtype=float)
    solution = solve_ivp(
        lambda _, point: -np.array(slopes(point[0], point[1], c)),
        (0.0, times[-1]),
        at,
        method="DOP853",
        t_eval=times,
        rtol=1e-12,
        atol=1e-14 * hypot(*at),
    )
    return solution.y.T
