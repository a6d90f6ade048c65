"""Dense tensors by name, against exact cumulants of the same landscape."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import taylorsgd as ts

x, y = sympy.symbols("x y")
DATA = [sympy.Rational(n, 4) for n in (-3, 1, 2, 5)]
EXACT = ts.FiniteLandscape(
    [x**2 * y * d + (x - d) ** 3 / 3 + d**2 * y**2 for d in DATA], [sympy.Rational(1, 4)] * 4, [x, y]
)
START = [sympy.Rational(1, 2), sympy.Rational(-1, 3)]


def loss(theta: Any, d: Any) -> Any:
    u, v = theta["u"], theta["v"]
    return u**2 * v * d + (u - d) ** 3 / 3 + d**2 * v**2


NAMES: dict[Any, tuple[int, ...]] = {
    "G": (1,), "H": (2,), "J": (3,), "C": (1, 1), "S": (1, 1, 1),
    (0,): (0,), (1, 2): (1, 2), (1, 1, 2, 2): (1, 1, 2, 2),
}  # fmt: skip


def theta() -> dict[str, Any]:
    return {"u": jnp.array(float(START[0])), "v": jnp.array(float(START[1]))}


def test_population() -> None:
    with jax.enable_x64(True):
        found = ts.tensors(ts.Landscape(loss, np.array(DATA, dtype=float)), theta(), list(NAMES))
        for name, degrees in NAMES.items():
            expected = np.array(EXACT.cumulant(degrees, START), dtype=float)
            assert found[name].shape == (2,) * sum(degrees)
            np.testing.assert_allclose(found[name], expected, rtol=1e-12, atol=1e-14)


def test_sampler() -> None:
    points = jnp.array([float(d) for d in DATA])
    sampler = ts.Landscape(loss, lambda key, n: jax.random.choice(key, points, (n,)))
    runs = [ts.tensors(sampler, theta(), ["C", "S"], key=jax.random.key(i), samples=32) for i in range(200)]
    for name in ("C", "S"):
        each = np.array([run[name] for run in runs], dtype=np.float64)
        error = each.std(0) / np.sqrt(len(each))
        expected = np.array(EXACT.cumulant(NAMES[name], START), dtype=float)
        assert (np.abs(each.mean(0) - expected) < 4 * error + 1e-5).all()


def test_errors() -> None:
    place = ts.Landscape(loss, jnp.arange(4.0))
    with pytest.raises(ValueError, match="'K' is no tensor; give G, H, J, C, S"):
        ts.tensors(place, theta(), ["K"])
    with pytest.raises(ValueError, match=r"must be ascending: give \(1, 2\)"):
        ts.tensors(place, theta(), [(2, 1)])
    with pytest.raises(ValueError, match="key=None"):
        ts.tensors(ts.Landscape(loss, lambda key, n: jax.random.normal(key, (n,))), theta())
    wide = ts.Landscape(lambda theta, d: jnp.sum(theta**2) * d, jnp.arange(4.0))
    with pytest.raises(MemoryError, match=r"\(3,\) over P = 2000 parameters.*eigenpairs"):
        ts.tensors(wide, jnp.ones(2000), ["J"])
    assert ts.tensors(place, theta(), []) == {}
