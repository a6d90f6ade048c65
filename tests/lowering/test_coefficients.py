"""Expressions on floats against exact arithmetic in SymPy."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import taylorsgd as ts
from taylorsgd import symbols
from taylorsgd.lowering.coefficients import evaluate_expression
from taylorsgd.lowering.programs import make_program
from taylorsgd.symbols import B, E, N


def test_numbers_are_rounded_once() -> None:
    for number in (Fraction(1, 3), Fraction(2**80 + 1, 3**40), Fraction(-7, 2**70)):
        assert evaluate_expression(sympy.Rational(number), {}) == float(number)
    assert evaluate_expression(sympy.pi * sympy.sqrt(2), {}) == pytest.approx(np.pi * np.sqrt(2), rel=1e-15)


def test_every_coefficient_of_order_three_on_many_sizes() -> None:
    coefficients = [term.coefficient for term in ts.derive(ts.TrainLoss(), ts.SGD(), order=3).terms]
    with jax.enable_x64(True):
        for n, b, e in [(6, 2, 3), (10, 10, 1), (10**6, 1, 2), (12, 3, 1000), (4096, 64, 17)]:
            sizes = {N: jnp.asarray(float(n)), B: jnp.asarray(float(b)), E: jnp.asarray(float(e))}
            known: dict[sympy.Expr, jax.Array] = {}
            for coefficient in coefficients:
                exact = float(coefficient.subs({N: n, B: b, E: e}))
                computed = float(evaluate_expression(coefficient, sizes, known))
                assert computed == pytest.approx(exact, rel=1e-13, abs=0)


def test_factors_vanish_exactly_in_float32() -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(), order=3)
    ones = {N: jnp.float32(999_983.0), B: jnp.float32(999_983.0), E: jnp.float32(1.0)}
    exact = [term.coefficient.subs({N: 999_983, B: 999_983, E: 1}) for term in f.terms]
    computed = [float(evaluate_expression(term.coefficient, ones)) for term in f.terms]
    assert [value == 0 for value in exact] == [value == 0 for value in computed]
    assert sum(value == 0 for value in exact) > 5
    np.testing.assert_allclose(computed, [float(value) for value in exact], rtol=1e-5)


def test_large_integers_and_derivatives_at_zero() -> None:
    x = sympy.Symbol("x")
    expression = 10**20 * x**3 + x**2 - sympy.sin(x) / x**-1
    function = jax.grad(lambda value: evaluate_expression(expression, {x: value}))
    assert float(function(0.0)) == 0.0
    assert float(jax.grad(jax.grad(lambda value: evaluate_expression(x**2, {x: value})))(0.0)) == 2.0


@pytest.mark.parametrize(
    "function",
    ["exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "atanh"]
    + ["Abs", "erf", "gamma", "factorial", "sqrt"],
)
def test_functions(function: str) -> None:
    x = sympy.Symbol("x")
    expression = getattr(sympy, function)(x)
    computed = evaluate_expression(expression, {x: jnp.float32(0.375)})
    assert float(computed) == pytest.approx(float(expression.subs(x, sympy.Rational(3, 8))), rel=1e-5)


def test_an_unknown_function_is_named() -> None:
    x = sympy.Symbol("x")
    with pytest.raises(TypeError, match="besselj has no counterpart"):
        evaluate_expression(sympy.besselj(0, x), {x: jnp.float32(1.0)})


def test_whole_numbers_that_are_equal() -> None:
    T = sympy.Symbol("T")
    expression = 3 * sympy.KroneckerDelta(1, T) + T
    assert [float(evaluate_expression(expression, {T: jnp.float32(n)})) for n in (1, 2, 3)] == [4, 2, 3]


@pytest.mark.parametrize("points", [1, 2, 5])
def test_a_cosine_schedule_is_lowered(points: int) -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, update=ts.Descent(rates=ts.Cosine()))
    values = [2.0, 0.5, -0.25, 3.0]
    exact = sum(
        float(term.coefficient.subs({symbols.N: points, symbols.T: points})) * value * 0.1**term.order
        for term, value in zip(formula.terms, values, strict=True)
    )
    assert float(formula.lower()(values, eta=0.1, N=points)) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("observable", [ts.TestLoss(), ts.Variance(ts.TestLoss())], ids=str)
def test_sets_too_small_for_a_cumulant(observable: Any) -> None:
    """Of one training set and resummed: averages over orders divide by N − 1 and N − 2, where κ₂ and κ₃ vanish."""
    formula = ts.derive(observable, ts.SGD(shuffle=True, data="fixed"), 3, resum="discrete")
    program = make_program(formula, [term.coefficient for term in formula.terms], ["B", "E", "N"])
    for n, b in ((1, 1), (2, 1), (2, 2)):
        found = program.evaluate({"N": np.float64(n), "B": np.float64(b), "E": np.float64(2)})
        assert np.isfinite(np.array(found, dtype=float)).all()
