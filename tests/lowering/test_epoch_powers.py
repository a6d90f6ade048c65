r"""Sums over several epochs as JAX arrays: accurate, differentiable, compiled once.

Identities:
    (1) epoch_sums = closed_time_sum in rational arithmetic, in both precisions, for rates of both signs, coincident,
        at 0, at 1 (κ = 0), near 0 and near 2, also for E → ∞
    (2) lowered formulas = Formula.evaluate; their derivatives in η, H and C are differences
    (3) new N, B, E and η do not compile again; they batch, and are exported for every platform
    (4) a prediction from measured tensors or along eigenvectors is the exact value
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy import Integer, Rational, oo, symbols

import taylorsgd as ts
from taylorsgd.lowering import resummed as module
from taylorsgd.lowering.epoch_powers import epoch_sums
from taylorsgd.measuring import TopEigenpairs
from taylorsgd.timesums.closed_forms import closed_time_sum
from taylorsgd.timesums.events import ROOT
from taylorsgd.timesums.two_clocks import EpochSum

X, Y = symbols("x y")
LANDSCAPE = ts.FiniteLandscape(
    [X**3 / 3 - 2 * X + X**2 + X * Y + Y**2, 2 * X**2 + X + Y**2 / 2 - X * Y**2, X * Y + Y**2 + Y + X**2],
    [Rational(1, 2), Rational(1, 4), Rational(1, 4)],
    [X, Y],
)
AT = [Rational(1, 2), Rational(1, 3)]
SHAPES = [
    ((ROOT, ROOT), (0, 0)),
    ((ROOT, 0), (0, 0)),
    ((ROOT, 0, 0), (0, 1, 1)),
    ((ROOT, 0, 1), (0, 1, 0)),
    ((ROOT, ROOT, 0), (0, 1, 1)),
    ((ROOT, 0), (0, 1)),
]
RATES = [
    Rational(0),
    Rational(1),
    Rational(1, 10**7),
    Rational(1, 3),
    Rational(1, 3),
    Rational(19, 10),
    Rational(-1, 50),
]


def tensors_of(formula: Any, at: Any = AT) -> dict[Any, jax.Array]:
    return {key: jnp.asarray(np.vectorize(float)(LANDSCAPE.cumulant(key, at))) for key in formula.lower().parts}


@given(
    st.sampled_from(SHAPES), st.integers(1, 6), st.sampled_from([0, 1, 2, 5, oo]),
    st.lists(st.sampled_from(RATES), min_size=3, max_size=3), st.booleans(),
)  # fmt: skip
def test_numbers(shape: Any, n: int, epochs: Any, rates: list[Any], wide: bool) -> None:
    times = EpochSum(shape[0], Integer(n), epochs if epochs is oo else Integer(epochs), shape[1])
    chosen = [rates[v] if epochs is not oo else abs(rates[v]) + Rational(1, 100) for v in range(len(shape[0]))]
    exact = closed_time_sum(times, chosen, oo if epochs is oo else times.T, continuous=False)
    positive = closed_time_sum(  # what the error is bounded by where 1 − s is negative
        times, [1 - abs(1 - rate) for rate in chosen], oo if epochs is oo else times.T, continuous=False
    )
    with jax.enable_x64(wide):
        dtype = jnp.float64 if wide else jnp.float32
        count = None if epochs is oo else jnp.uint32(epochs)
        found = epoch_sums(times, [jnp.asarray(float(rate), dtype) for rate in chosen], jnp.uint32(n), count)
        value = float(np.prod([float(factor) for factor in found]))
    bound = 200 * float(jnp.finfo(dtype).eps) * (1 + float(max(abs(float(r)) for r in chosen)))
    assert abs(value - float(exact)) <= bound * abs(float(positive)) + 1e-30


@pytest.mark.parametrize(
    "observable", [ts.TestLoss(), ts.TrainLoss(), ts.Displacement(), ts.Variance(ts.TestLoss())], ids=str
)
def test_lowered_is_evaluated(observable: Any) -> None:
    formula = ts.derive(observable, ts.SGD(), 2, resum="discrete")
    lowered = formula.lower()
    with jax.enable_x64(True):
        tensors = tensors_of(formula)
        before = module._evaluate._cache_size()
        for n, b, e in [(4, 2, 3), (3, 1, 2), (2, 2, 3), (5, 1, 1)]:
            exact = np.array(formula.evaluate(LANDSCAPE, AT, eta=Rational(1, 10), N=n, B=b, E=e), dtype=float).ravel()
            found = lowered(tensors, eta=0.1, N=n, B=b, E=e)
            np.testing.assert_allclose(np.ravel(found), exact, rtol=1e-11, atol=1e-14)
        assert module._evaluate._cache_size() == before + 1


def test_limit_is_evaluated() -> None:
    formula = ts.derive(ts.GeneralizationGap(), ts.SGD(), 2, resum="discrete").assume("minimum").limit()
    losses = [X**2 + 2 * X + Y**2 + X * Y, 2 * X**2 - 2 * X + Y**2 - X * Y, X**2 / 2 + Y**2]
    bowl = ts.FiniteLandscape(losses, [Rational(1, 3)] * 3, [X, Y])
    exact = float(formula.evaluate(bowl, [0, 0], eta=Rational(1, 10), N=4, B=2))
    with jax.enable_x64(True):
        tensors = {key: jnp.asarray(np.vectorize(float)(bowl.cumulant(key, [0, 0]))) for key in formula.lower().parts}
        assert float(formula.lower()(tensors, eta=0.1, N=4, B=2)) == pytest.approx(exact, rel=1e-12)


def test_derivatives_are_differences() -> None:
    formula = ts.derive(ts.TrainLoss(), ts.SGD(), 2, resum="discrete")
    lowered, sizes, step = formula.lower(), {"N": 4, "B": 2, "E": 3}, 1e-6
    with jax.enable_x64(True):
        tensors = tensors_of(formula)
        slope = jax.grad(lambda rate: lowered(tensors, eta=rate, **sizes))
        for f in (lambda rate: lowered(tensors, eta=rate, **sizes), slope):
            found, difference = jax.grad(f)(0.1), (f(0.1 + step) - f(0.1 - step)) / (2 * step)
            assert float(found) == pytest.approx(float(difference), rel=1e-7)
        for key, along in (((2,), jnp.array([[1.0, 2.0], [2.0, -1.0]])), ((1, 1), jnp.eye(2))):

            def moved(t: Any, key: Any = key, along: Any = along) -> Any:
                return lowered(tensors | {key: tensors[key] + t * along}, eta=0.1, **sizes)

            difference = (moved(step) - moved(-step)) / (2 * step)
            assert float(jax.grad(moved)(0.0)) == pytest.approx(float(difference), rel=1e-7)


def test_it_batches_and_is_exported() -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(), 2, resum="discrete")
    lowered, tensors = formula.lower(), tensors_of(formula)
    rates, epochs = jnp.array([0.05, 0.1]), jnp.array([2, 4])
    together = lowered(tensors, eta=rates, N=4, B=2, E=epochs)
    apart = [float(lowered(tensors, eta=r, N=4, B=2, E=e)) for r, e in zip(rates, epochs, strict=True)]
    np.testing.assert_allclose(together, apart, rtol=1e-5)

    def function(tensors: Any, eta: Any, N: Any, B: Any, E: Any) -> Any:
        return lowered(tensors, eta=eta, N=N, B=B, E=E)

    exported = jax.export.export(jax.jit(function), platforms=["cpu", "cuda", "tpu"])(tensors, 0.1, 4, 2, 3)
    assert float(exported.call(tensors, 0.1, 4, 2, 3)) == pytest.approx(float(lowered(tensors, eta=0.1, N=4, B=2, E=3)))


def test_predictions() -> None:
    """Four points in two dimensions, by dense tensors and along all eigenvectors."""
    points = jnp.array([[0.5, -1.0], [-0.25, 0.75], [1.0, 0.5], [0.0, 0.25]])
    landscape = ts.Landscape(
        lambda theta, p: jnp.sum((theta - p) ** 2 * jnp.array([1.0, 2.0])) / 2 + jnp.cosh(theta @ p), points
    )
    formula = ts.derive(ts.TestLoss(), ts.SGD(), 2, resum="discrete")
    settings: dict[str, Any] = {"eta": [0.05, 0.1], "N": 4, "B": 2, "E": 5, "key": 0}
    dense = ts.predict(formula, landscape, jnp.array([0.3, -0.2]), **settings)
    along = ts.predict(formula, landscape, jnp.array([0.3, -0.2]), samples=4096, method=TopEigenpairs(2), **settings)
    assert np.all(np.abs(dense.mean - along.mean) < 5 * np.asarray(along.standard_error) + 1e-5)
