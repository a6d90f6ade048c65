"""Sums over time: speed and worst errors, one JSON line per figure.

    python benchmarks/timesums.py

Three events in a chain, each edge with an axis of 32 eigenvalues, T = 1000, float64, all jitted: beside the
same entries of 32³ stacked 4 × 4 matrices, by `jax.numpy.linalg.matrix_power` and `jax.scipy.linalg.expm`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taylorsgd.lowering.eigenbasis_sums import time_sum
from taylorsgd.timesums.events import ROOT, TimeSum

CHAIN = TimeSum(3, ((0, 1), (1, 2), (2, ROOT)))
DIMENSION, UPDATES = 32, 1000


def milliseconds(function: Callable[..., Any], *arguments: Any, repeats: int = 15) -> tuple[float, float, Any]:
    """First call (with compilation), median of the others, and the result."""
    start = time.perf_counter()
    result = jax.block_until_ready(function(*arguments))
    first = time.perf_counter() - start
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return 1e3 * first, 1e3 * float(np.median(times)), result


def matrices(rates: list[Any], continuous: bool) -> Any:
    """The bidiagonal matrices M, of shape (32, 32, 32, 4, 4)."""
    diagonal = [0 * rates[0], *(-rate for rate in rates)] if continuous else [1 + 0 * rates[0], *(1 - r for r in rates)]
    stacked = jnp.stack(jnp.broadcast_arrays(*diagonal), axis=-1)
    return stacked[..., None] * jnp.eye(4) + jnp.eye(4, k=1)


def main() -> None:
    eigenvalues = np.random.default_rng(0).uniform(0, 0.3, DIMENSION)
    axes = [(DIMENSION, 1, 1), (1, DIMENSION, 1), (1, 1, DIMENSION)]
    rates = [jnp.asarray(eigenvalues.reshape(axis)) for axis in axes]
    broadcast = [jnp.array(jnp.broadcast_to(rate, (DIMENSION,) * 3)) for rate in rates]
    for continuous in (False, True):

        def ours(rates: Any, T: Any, continuous: bool = continuous) -> Any:
            return time_sum(CHAIN, rates, T, continuous=continuous)

        def stacked(rates: Any, continuous: bool = continuous) -> Any:
            m = matrices(rates, continuous)
            if continuous:
                return jax.scipy.linalg.expm(UPDATES * m, max_squarings=40)[..., 0, 3]
            return jnp.linalg.matrix_power(m, UPDATES)[..., 0, 3]

        def gradient(rates: Any, T: Any, ours: Any = ours) -> Any:
            return jax.grad(lambda rates: ours(rates, T).sum())(rates)

        cases: list[tuple[str, Any, tuple[Any, ...]]] = [
            ("time_sum", jax.jit(ours), (rates, UPDATES)),
            ("time_sum, no axis of size 1", jax.jit(ours), (broadcast, UPDATES)),
            ("gradient in all rates", jax.jit(gradient), (rates, UPDATES)),
            ("expm" if continuous else "matrix_power", jax.jit(stacked), (rates,)),
        ]
        results = {}
        for name, function, arguments in cases:
            first, median, results[name] = milliseconds(function, *arguments)
            line = {
                "benchmark": "timesums",
                "what": name,
                "continuous": continuous,
                "milliseconds": round(median, 3),
                "first_call_milliseconds": round(first),
            }
            print(json.dumps(line))
        value, other = results["time_sum"], results["expm" if continuous else "matrix_power"]
        difference = float(jnp.max(jnp.abs(value / other - 1)))
        print(
            json.dumps(
                {"benchmark": "timesums", "what": "relative difference", "continuous": continuous, "max": difference}
            )
        )


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
