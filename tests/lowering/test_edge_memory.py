"""Resummed formulas under rules with memory, lowered: the numbers of exact evaluation, limits and derivatives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from sympy import Integer, Rational, Symbol

import taylorsgd as ts
from taylorsgd.lowering.block_sums import remembering_limit, remembering_sum
from taylorsgd.lowering.edge_memory import PLAIN
from taylorsgd.lowering.eigenbasis_sums import time_sum, time_sum_limit
from taylorsgd.timesums.events import ROOT, TimeSum

X, Y = sp.symbols("x y")
LANDSCAPE = ts.FiniteLandscape(
    [X**2 * Y + X * Y**2 - X + Y**3 / 3 + X**2 + 2 * Y**2, 3 * X - Y + X**2 / 2 + X**3 / 2 + Y**2 - X * Y],
    [Rational(1, 3), Rational(2, 3)],
    [X, Y],
)
AT = [Rational(1, 3), Rational(1, 2)]
BALL = ts.HeavyBall(Rational(1, 2))


def tensors_of(formula: ts.Formula) -> dict[Any, Any]:
    parts = formula.lower().parts
    return {key: jnp.asarray(np.vectorize(float)(LANDSCAPE.cumulant(key, AT))) for key in parts}


@pytest.mark.parametrize(
    ("update", "spacetime", "sizes"),
    [
        (BALL, ts.GD(N=2), {"T": 6}),
        (ts.Nesterov(Rational(1, 3), convention="sutskever"), ts.SGD(B=1, E=1), {"N": 5}),
        (ts.HeavyBall(Rational(1, 3), decay=Rational(1, 10)), ts.SGD(N=2, B=1, E=2), {}),
        (ts.HeavyBall(Rational(1, 2), convention="torch", rates=ts.LinearWarmup(2)), ts.GD(N=2, T=3), {}),
        (ts.Descent(rates=[1, Rational(1, 2), 2, 1]), ts.SGD(N=2, B=1, E=2), {}),
        (ts.Descent(decay=Rational(1, 5)), ts.GD(N=3), {"T": 4}),
        (ts.SecondOrder(Rational(1, 3)), ts.GD(N=3), {"T": 4}),
        (ts.SecondOrder(Rational(1, 3)), ts.SGD(), {"N": 4, "B": 2, "E": 2}),
        (ts.ImplicitStep(Rational(1, 2)), ts.Replacement(N=2, B=1, T=3), {}),
    ],
    ids=str,
)
def test_lowered_is_evaluated(update: Any, spacetime: Any, sizes: Any) -> None:
    for observable, order in ((ts.TestLoss(), 2), (ts.Displacement(), 3 if spacetime != ts.SGD() else 2)):
        formula = ts.derive(observable, spacetime, order, resum="discrete", update=update)
        exact = sp.Matrix([formula.evaluate(LANDSCAPE, AT, eta=Rational(1, 10), **sizes)]).evalf(20)
        with jax.enable_x64(True):
            found = formula.lower()(tensors_of(formula), eta=0.1, **sizes)
        np.testing.assert_allclose(np.ravel(found), np.array(exact.tolist(), float).ravel(), rtol=1e-11)


@pytest.mark.parametrize("spacetime", [ts.GD(N=2, T=3), ts.SGD()], ids=str)
def test_derivatives_in_curvature_dressed_edges_are_differences(spacetime: Any) -> None:
    """Edges carry powers of R, some of them nothing else."""
    formula = ts.derive(ts.TestLoss(), spacetime, 2, resum="discrete", update=ts.SecondOrder(Rational(1, 3)))
    sizes = {"N": 4, "B": 2, "E": 2} if spacetime == ts.SGD() else {}
    kept = [term for term in formula.terms if term.value.is_resummed and (term.value.instant or "C" in str(term))]
    assert any(term.value.instant for term in kept) and any("C_" in str(term) for term in kept)
    formula = formula.replaced(kept)
    g, step = formula.lower(), 1e-5
    with jax.enable_x64(True):
        tensors = tensors_of(formula)
        turn = jnp.array([[0.3, -0.7], [-0.7, 1.1]])

        def moved(s: Any) -> Any:
            return g(tensors | {(2,): tensors[2,] + s * turn}, eta=0.1, **sizes)

        difference = (moved(step) - moved(-step)) / (2 * step)
        assert float(jax.grad(moved)(0.0)) == pytest.approx(float(difference), rel=1e-8)


def test_limit_is_evaluated() -> None:
    """One dimension: η C H/2 · (1 + β)/((1 − β) ηλ (2(1 + β) − ηλ)) η."""
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum="discrete", update=BALL).assume("minimum").limit()
    g = formula.lower()
    with jax.enable_x64(True):
        found = g({(0,): 0.0, (2,): jnp.array([[0.75]]), (1, 1): jnp.array([[3.0]])}, eta=0.5)
        s, beta = 0.375, 0.5
        variance = (1 + beta) / ((1 - beta) * s * (2 * (1 + beta) - s))
        assert float(found) == pytest.approx(0.5**2 * 3.0 * 0.75 / 2 * variance, rel=1e-13)
        with pytest.raises(ValueError, match="does not exist.*an influence grows by"):
            g({(0,): 0.0, (2,): jnp.full((1, 1), 7.0), (1, 1): jnp.ones((1, 1))}, eta=0.5)


def test_momentum_is_stable_for_larger_rates() -> None:
    g = ts.derive(ts.TestLoss(), ts.GD(N=2), 1, resum="discrete", update=BALL).lower()
    tensors = {(0,): 0.0, (1,): jnp.ones(1), (2,): jnp.full((1, 1), 5.0)}
    g(tensors, eta=0.5, T=3)  # 2 < 2.5 < 2 (1 + 1/2)
    with pytest.warns(RuntimeWarning, match="eigenvalue 5, where an influence grows by"):
        g(tensors, eta=0.7, T=3)


@pytest.mark.parametrize("spacetime", [ts.GD(N=2), ts.SGD(N=2, B=1, E=2)], ids=str)
def test_derivatives_are_differences(spacetime: Any) -> None:
    formula = ts.derive(ts.TestLoss(), spacetime, 2, resum="discrete", update=BALL)
    sizes = {"T": 5} if spacetime == ts.GD(N=2) else {}
    with jax.enable_x64(True):
        g, tensors = formula.lower(), tensors_of(formula)
        direction = jnp.array([[1.0, 0.5], [0.5, -1.0]])

        @jax.jit
        def value(hessian: Any, eta: Any) -> Any:
            return g({**tensors, (2,): hessian}, eta=eta, **sizes)

        equal, h = jnp.eye(2) * 1.3, 1e-5  # eigenvectors have no derivative, the formula does
        in_hessian, in_eta = jax.grad(value, (0, 1))(equal, 0.1)
        difference = (value(equal + h * direction, 0.1) - value(equal - h * direction, 0.1)) / (2 * h)
        np.testing.assert_allclose(jnp.sum(in_hessian * direction), difference, rtol=1e-6)
        difference = (value(equal, 0.1 + h) - value(equal, 0.1 - h)) / (2 * h)
        np.testing.assert_allclose(in_eta, difference, rtol=1e-6)


def test_plain_blocks_are_divided_differences() -> None:
    """M of numbers: what is squared block by block is what `eigenbasis_sums` finds, to T = 10⁵."""
    times = TimeSum(2, ((0, 1), (0, ROOT), (1, ROOT)))
    rates = [jnp.array([0.1, 1.0, 0.0]).reshape(*(3 if a == e else 1 for a in range(3))) for e in range(3)]
    with jax.enable_x64(True):
        rates = [jnp.asarray(rate, float) for rate in rates]
        by_blocks = jax.jit(lambda T: remembering_sum(times, PLAIN, rates, T))
        for T in (0, 1, 2, 7, 100_000):
            blocks = by_blocks(jnp.uint32(T))
            np.testing.assert_allclose(blocks, time_sum(times, rates, T, continuous=False), rtol=1e-9)
        damped = [rate + 0.25 for rate in rates]
        np.testing.assert_allclose(
            remembering_limit(times, PLAIN, damped), time_sum_limit(times, damped, continuous=False), rtol=1e-13
        )


def test_divergent_powers_that_are_not_used_do_no_harm() -> None:
    memory = BALL.memory(Integer(1))

    def value(rate: Any) -> Any:
        return remembering_sum(TimeSum(1, ((0, ROOT),)), memory, [rate], jnp.uint32(17)).sum()

    found, slope = jax.value_and_grad(value)(jnp.array([-60.0]))
    assert np.isfinite(found) and np.isfinite(slope).all()


def test_what_is_not_lowered_is_named() -> None:
    for update in (ts.HeavyBall(Symbol("b")), ts.Descent(rates=[Symbol("r"), 1])):
        formula = ts.derive(ts.TestLoss(), ts.GD(N=2, T=2), 1, resum="discrete", update=update)
        with pytest.raises(NotImplementedError, match="is not lowered: only rules"):
            formula.lower()
