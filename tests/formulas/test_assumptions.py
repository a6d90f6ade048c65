r"""Assumptions about the landscape drop exactly the terms that vanish, checked on landscapes that meet them.

References: Tenka, section A.8.2; Gauss–Hermite quadrature: Abramowitz and Stegun, 25.4.46.

For minimum (G = 0), gaussian (no third or higher cumulants), noiseless (one loss) and quadratic (every l_x):
    (1) on a landscape that meets it, every dropped term evaluates to 0, so both formulas agree
    (2) on a generic landscape that meets it, every kept term does not
    (3) assumptions commute and combine
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Rational

import taylorsgd as ts
from taylorsgd.formulas.assumptions import ASSUMPTIONS

x, y = sympy.symbols("x y")
OBSERVABLES = [
    ts.TestLoss(),
    ts.TrainLoss(),
    ts.Displacement(),
    ts.Variance(ts.TestLoss()),
    ts.Covariance(ts.TrainLoss(), ts.Displacement()),
    ts.Observable(x**4 - 3 * x**3 * y + y**2 - 2 * x + y),
]


def at_a_minimum(landscape: ts.FiniteLandscape, start: list[Any]) -> ts.FiniteLandscape:
    """Tilt every loss, so that the expected gradient vanishes at the start."""
    where: Any = dict(zip(landscape.variables, start, strict=True))
    slope = [sympy.diff(landscape.loss, v).subs(where) for v in landscape.variables]
    tilt = sum(g * v for g, v in zip(slope, landscape.variables, strict=True))
    return ts.FiniteLandscape([loss - tilt for loss in landscape.losses], landscape.weights, landscape.variables)


def with_gaussian_noise(landscape: ts.FiniteLandscape, start: list[Any]) -> ts.FiniteLandscape:
    """l + ξ·m for ξ = 0, ±√3 with weights 2/3, 1/6, 1/6: the cumulants of ξ of orders 3, 4 and 5 vanish."""
    base, noise = landscape.losses[:2]
    losses = [base + sign * sympy.sqrt(3) * noise for sign in (-1, 0, 1)]
    return ts.FiniteLandscape(losses, [Rational(1, 6), Rational(2, 3), Rational(1, 6)], landscape.variables)


def without_noise(landscape: ts.FiniteLandscape, start: list[Any]) -> ts.FiniteLandscape:
    return ts.FiniteLandscape([landscape.losses[0]] * len(landscape.losses), landscape.weights, landscape.variables)


def of_second_degree(landscape: ts.FiniteLandscape, start: list[Any]) -> ts.FiniteLandscape:
    def cut(loss: sympy.Expr) -> sympy.Expr:
        terms = sympy.Poly(loss, *landscape.variables).terms()
        monomial = [sympy.prod(v**e for v, e in zip(landscape.variables, powers, strict=True)) for powers, _ in terms]
        return sum(
            (c * m for (powers, c), m in zip(terms, monomial, strict=True) if sum(powers) <= 2), sympy.Integer(0)
        )

    return ts.FiniteLandscape([cut(loss) for loss in landscape.losses], landscape.weights, landscape.variables)


MEETING: dict[str, Callable[[ts.FiniteLandscape, list[Any]], ts.FiniteLandscape]] = {
    "minimum": at_a_minimum,
    "gaussian": with_gaussian_noise,
    "noiseless": without_noise,
    "quadratic": of_second_degree,
}


def test_every_assumption_is_tested() -> None:
    assert set(ASSUMPTIONS) == set(MEETING)


def is_zero(value: Any) -> bool:
    entries = value if isinstance(value, sympy.MatrixBase) else [value]
    return all(sympy.expand(entry) == 0 for entry in entries)


@pytest.mark.parametrize("assumption", MEETING)
@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 3, 25), (2, 2, 4)])
def test_dropped_terms_vanish(landscapes, some_of, dimension: int, order: int, examples: int, assumption: str) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        generic, start = data.draw(landscapes(dimension, order + 1))
        landscape = MEETING[assumption](generic, start)
        for observable in some_of(data, OBSERVABLES[: 5 if dimension == 1 else 6], examples):
            formula = ts.derive(observable, ts.SGD(N=2, B=1, E=2), order)
            kept = formula.assume(assumption)
            assert is_zero((formula - kept).evaluate(landscape, start))
            for term in (formula - kept).terms:
                alone = ts.Formula([term], formula.spacetimes, formula.observables, formula.indices)
                assert is_zero(alone.evaluate(landscape, start)), (observable, str(term))

    run()


@pytest.mark.parametrize("assumption", MEETING)
def test_kept_terms_do_not_vanish(assumption: str) -> None:
    """Nothing more could be dropped: each kept value is different from 0 on one landscape."""
    losses = [
        x**4 - 2 * x**3 * y + 3 * x**2 * y**2 + 5 * x * y**3 - y**4 + 2 * x**2 + x * y - 3 * y**2 + 4 * x - y,
        -2 * x**4 + x**3 * y + x * y**3 + 3 * y**4 - x**3 + 2 * x**2 * y - 5 * x * y + 7 * x**2 + y**2 - x + 3 * y,
        x**4 + x**2 * y**2 + y**3 - 4 * x * y**2 + 11 * x * y - x**2 + 2 * y**2 + 6 * y + x,
    ]
    start = [Rational(1, 2), Rational(-1, 3)]
    landscape = MEETING[assumption](ts.FiniteLandscape(losses, [Rational(w, 6) for w in (1, 2, 3)], [x, y]), start)
    for observable in OBSERVABLES:
        formula = ts.derive(observable, ts.SGD(N=3, B=1, E=2), 3)
        for term in formula.assume(assumption).terms:
            alone = ts.Formula([term], formula.spacetimes, formula.observables, formula.indices)
            assert not is_zero(alone.evaluate(landscape, start)), (observable, str(term))


def test_assumptions_combine() -> None:
    formula = ts.derive(ts.TrainLoss(), ts.SGD(), 3)
    for first, second in permutations(ASSUMPTIONS, 2):
        both = formula.assume(first, second)
        assert both == formula.assume(second).assume(first) == formula.assume(second, first)
        assert both.assume(first) == both
        assert {t.value for t in both.terms} == {t.value for t in formula.assume(first).terms} & {
            t.value for t in formula.assume(second).terms
        }
    assert formula.assume() == formula


def test_what_is_left() -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(), 2)
    left = {name: [str(t.value) for t in formula.assume(name).terms] for name in ASSUMPTIONS}
    assert left["minimum"] == ["l", "C_μν H^μν"]
    assert left["noiseless"] == ["l", "G_μ G^μ", "G_μ H^μ_ν G^ν"]
    assert left["gaussian"] == [str(t.value) for t in formula.terms]
    third = ts.derive(ts.TestLoss(), ts.SGD(), 3)[3].assume("quadratic")
    assert not any("J" in str(t.value) or "∇_μ∇_ν∇_λ" in str(t.value) for t in third.terms)
    assert any("κ(∇_ν∇_λ l, ∇^μ∇^ν l)" in str(t.value) for t in third.terms), "H may still fluctuate"


def test_a_marked_root_is_not_the_loss() -> None:
    """s may have any derivatives, and a slope, at a minimum of the loss."""
    s = ts.Observable(x**3)
    third = ts.derive(s, ts.SGD(), 3)
    assert "S_μνλ ∇^μ∇^ν∇^λ s" in [str(t.value) for t in third.assume("quadratic").terms]
    assert "½ (∇_μ C^ν_ν) ∇^μ s" in [str(t.value) for t in third.assume("minimum").terms]


def test_unknown_assumptions() -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(), 2)
    with pytest.raises(ValueError, match="assumption='flat' is unknown; known are 'minimum', 'gaussian'"):
        formula.assume("flat")
    with pytest.raises(ValueError, match="unknown"):
        formula.assume("minimum", "Gaussian")
    with pytest.raises(ValueError, match="this formula is in moments; use to_cumulants"):
        formula.to_moments().assume("minimum")
