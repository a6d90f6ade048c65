"""The nodes of sums over time against mpmath, and the divided differences at them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mpmath import mp

from taylorsgd.lowering.divided import triangular_exponential, triangular_power
from taylorsgd.lowering.nodes import complement_of_decays, product_of_decays, total_rate
from taylorsgd.lowering.triangular import Triangle


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nodes_keep_their_digits(dtype: str) -> None:
    """Compiled with constants in sight, which XLA likes to reassociate; rates of both signs that cancel."""
    rng = np.random.default_rng(5)
    rates = (10.0 ** rng.uniform(-12, 0.4, (500, 3)) * rng.choice([1, -1], (500, 3))).astype(dtype)
    rates[::2, 1] = -rates[::2, 0] / (1 - rates[::2, 0])
    rates[:4] = [[0, 0, 0], [1, 0.5, 0.5], [2, 2, 2], [1, 1, 2]]

    @jax.jit
    def nodes(s: Any) -> Any:
        columns = (s[:, 0], s[:, 1], s[:, 2])
        return *product_of_decays(columns), complement_of_decays(columns), total_rate(columns)

    with jax.enable_x64(dtype == "float64"):
        values, logs, complements, totals = map(np.asarray, nodes(rates))
    eps = float(np.finfo(dtype).eps)

    def close(result: Any, value: Any, scale: Any) -> bool:
        """With twice as many digits as the dtype has before rates cancel, and all of them after."""
        return abs(float(result) - value) <= 4 * eps * (abs(value) + eps * min(1, scale / eps))

    with mp.workdps(60):
        for row, value, log, complement, total in zip(rates, values, logs, complements, totals, strict=True):
            s = [mp.mpf(float(s)) for s in row]
            x, scale = mp.fprod(1 - k for k in s), mp.fsum(map(abs, s))
            assert close(value, x, 0), row
            assert close(complement, 1 - x, scale), row
            assert close(total, mp.fsum(s), scale), row
            assert (log == -np.inf) if x == 0 else close(log, mp.log(abs(x)), scale), row


def test_divided_differences_are_symmetric() -> None:
    """[f; a, b, a] = [f; b, a, a]: equal nodes need not be neighbours."""
    chain = Triangle.chain(3)
    with jax.enable_x64(True):
        a, b = product_of_decays([jnp.array(0.25)]), product_of_decays([jnp.array(-0.01)])
        powers = jax.jit(lambda nodes, T: triangular_power(chain, nodes, [None] * 3, T))
        first, second = powers([a, b, a], jnp.uint32(300)), powers([b, a, a], jnp.uint32(300))
        assert float(first) == pytest.approx(float(second), rel=1e-14)
        y, z, t = jnp.array(-0.25), jnp.array(0.01), jnp.array(300.0)
        exponentials = jax.jit(lambda nodes, T: triangular_exponential(chain, nodes, T))
        first, second = exponentials([y, z, y], t), exponentials([z, y, y], t)
        assert float(first) == pytest.approx(float(second), rel=1e-14)
