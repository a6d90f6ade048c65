"""No text ever reaches a parser: one gate for numbers and expressions, and nothing beside it.

Checked here:
    (1) every argument that means a number refuses a text, by its name, and the text is never run
    (2) nothing in the package calls SymPy's own gate, which would run it
    (3) what the gate lets in is exact: the shortest decimal of a float, or the binary fraction where that is meant
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy import Float, Integer, Rational, Symbol, nan, oo

import taylorsgd as ts
from taylorsgd.exact_numbers import as_exact, exact_argument

x = Symbol("x")
COIN = ts.FiniteLandscape([x**2 / 2 + x, x**2 / 2 - x], [Rational(1, 2)] * 2, [x])
EVIL = "[__import__('builtins').setattr(__import__('builtins'), 'ran', True), 1][1]"
DOORS: list[Any] = [
    lambda s: ts.derive(ts.TestLoss(), ts.GD(N=1, T=1), 1).evaluate(COIN, [1], eta=s),
    lambda s: ts.derive(ts.TestLoss(), ts.GD(N=1, T=1), 1).evaluate(COIN, [1], metric=[[s]]),
    lambda s: ts.derive(ts.TestLoss(), ts.GD(N=1, T=1), 1) * s,
    lambda s: ts.derive(ts.TestLoss(), ts.GD(N=1), 1).evaluate(COIN, [1], T=s),
    lambda s: ts.derive(ts.Observable(lambda theta: s), ts.GD(N=1, T=1), 1).evaluate(COIN, [1]),
    lambda s: ts.derive(ts.Observable(s), ts.GD(N=1, T=1), 1),
    lambda s: ts.perturb(ts.Observable(lambda theta: s), ts.GD(N=1, T=1), COIN, [1], 1),
    lambda s: ts.perturb(ts.TestLoss(), ts.GD(N=1, T=1), COIN, [s], 1),
    lambda s: ts.Descent(metric=[[s]]),
    lambda s: ts.Descent(metric=s),
    lambda s: ts.Descent(decay=s),
    lambda s: ts.Descent(decay=[s]),
    lambda s: ts.Descent(rates=[[s]]),
    lambda s: ts.Descent(rates=s),
    lambda s: ts.HeavyBall([s]),
    lambda s: ts.Nesterov(s),
    lambda s: ts.SecondOrder([s]),
    lambda s: ts.ImplicitStep(s),
    lambda s: ts.RungeKutta([[[s]]], [1]),
    lambda s: ts.RungeKutta([[0]], [s]),
    lambda s: ts.modified_loss(1).expression(s, [x]),
    lambda s: ts.modified_flow(2).field([s], [x]),
    lambda s: ts.modified_flow(2).field(s, [x]),
    lambda s: ts.GD(N=s),
    lambda s: ts.SGD(N=[s]),
    lambda s: ts.FiniteLandscape([s], [1], [x]),
    lambda s: ts.FiniteLandscape([x], [s], [x]),
]


@pytest.mark.parametrize("door", DOORS)
def test_texts_are_refused_and_never_run(door: Callable[[str], object]) -> None:
    import builtins

    for text in (EVIL, "1/2", "x"):
        with pytest.raises((TypeError, ValueError)):
            door(text)
    assert not hasattr(builtins, "ran")


def test_nothing_parses_a_text() -> None:
    forbidden = {"sympify", "_sympify", "parse_expr", "eval", "exec", "literal_eval", "S"}
    for path in Path(ts.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                own = isinstance(node.func, ast.Attribute) and name in ("eval", "exec")  # a method of something else
                assert name not in forbidden or own, f"{path.name}:{node.lineno} calls {name}"


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_floats(number: float) -> None:
    assert float(as_exact(number)) == number == float(as_exact(np.float64(number)))  # type: ignore[arg-type]
    assert as_exact(number, binary=True) == Rational(*number.as_integer_ratio())
    assert as_exact(number) == Rational(str(number))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, Integer(3)),
        (np.int64(3), Integer(3)),
        (Fraction(1, 3), Rational(1, 3)),
        (Decimal("0.1"), Rational(1, 10)),
        (np.float32(0.1), Rational(1, 10)),
        (np.array(0.5), Rational(1, 2)),
        (Float(0.1) * x, x / 10),
        (x, x),
        (float("inf"), oo),
        ("1", None),
        (True, None),
        (None, None),
        (1j, None),
        ([1], None),
    ],
)
def test_what_comes_in(value: object, expected: object) -> None:
    assert as_exact(value) == expected


def test_nan() -> None:
    assert as_exact(float("nan")) is nan
    for value in (float("nan"), float("inf"), oo, Decimal("NaN")):
        with pytest.raises(ValueError, match="beta=.* must be finite"):
            exact_argument(value, "beta")
    with pytest.raises(ValueError, match="no finite number"):
        ts.derive(ts.TestLoss(), ts.GD(), 1) * oo
