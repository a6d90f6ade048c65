"""Exact losses with kinks: refused where they bend, and right elsewhere."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy import Abs, Heaviside, Max, Min, Piecewise, Rational, ceiling, floor, frac, sign, sin
from sympy.abc import x, y

import taylorsgd as ts

CASES: list[tuple[Any, Any]] = [
    (x * sign(x), 0), (Abs(x - 1) * x, 1), (Heaviside(x - 2), 2), (Max(x**2, x), 1), (Min(x, 3 - x, 5), Rational(3, 2)),
    (Piecewise((x**2, x < 1), (2 * x - 1, True)), 1), (floor(2 * x), Rational(1, 2)), (x * ceiling(x), -3),
    (frac(x), 4), (sin(Abs(Abs(x) - 2)), -2),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "kink"), CASES, ids=str)
def test_kinks_are_refused(loss: Any, kink: Any) -> None:
    landscape = ts.FiniteLandscape([loss + y**2, y], [Rational(1, 2)] * 2, [x, y])
    with pytest.raises(ValueError, match=r"losses\[0\]=.* has a kink there, for .* bends or jumps there"):
        landscape.cumulant((1,), [kink, 1])
    formula = ts.derive(ts.TestLoss(), ts.GD(N=2, T=2), 1)
    with pytest.raises(ValueError, match="has a kink there"):
        formula.evaluate(landscape, [kink, 1])
    assert landscape.moment((0,), [kink, 1]).shape == ()


@pytest.mark.parametrize(("loss", "kink"), CASES, ids=str)
@given(st.fractions(-4, 4, max_denominator=7))
def test_elsewhere_derivatives_are_limits_of_differences(loss: Any, kink: Any, at: Fraction) -> None:
    point = Rational(at.numerator, at.denominator)
    landscape = ts.FiniteLandscape([loss], [1], [x])
    step = Rational(1, 10**9)
    try:
        slope = landscape.cumulant((1,), [point])[0]
    except ValueError:
        ahead, behind = (
            [loss.subs(x, point + k * s) for k in range(1, 4)] for s in (step, -step)
        )  # values, slopes or curvatures differ on the two sides
        gaps = [
            ahead[0] - behind[0],
            (ahead[1] - ahead[0] + behind[1] - behind[0]) / step,
            (ahead[2] - 2 * ahead[1] + ahead[0] - behind[2] + 2 * behind[1] - behind[0]) / step**2,
        ]
        assert max(abs(float(gap.evalf(30))) for gap in gaps) > 1e-3
        return
    difference = (loss.subs(x, point + step) - loss.subs(x, point - step)) / (2 * step)
    assert float(slope) == pytest.approx(float(difference), abs=1e-6)
    bend = (loss.subs(x, point + step) + loss.subs(x, point - step) - 2 * loss.subs(x, point)) / step**2
    assert float(landscape.cumulant((2,), [point])[0, 0]) == pytest.approx(float(bend.evalf(30)), abs=1e-6)


def test_a_symbolic_point_stays_symbolic() -> None:
    landscape = ts.FiniteLandscape([Max(x, 1) ** 2], [1], [x])
    assert landscape.moment((0,), [y]).item() == Max(y, 1) ** 2
