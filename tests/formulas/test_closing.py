"""Open indices contracted with the gradients of linear observables.

(1) what is closed with u and v equals what is derived for the observables u·δθ and v·δθ themselves, whose second
    derivatives vanish
(2) it says what it is of, and keeps order, spacetimes and what stays open
"""

from __future__ import annotations

from typing import Any

import pytest
import sympy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import taylorsgd as ts
from taylorsgd.formulas.closing import closed, open_positions

MOVED = ts.Displacement()
PLACE = ts.SGD(N=2, B=1, E=2)
PAIRS = {
    "covariance": ts.Covariance(MOVED, MOVED),
    "second moment": ts.SecondMoment(MOVED, MOVED),
    "two times": ts.Covariance(MOVED, MOVED, times=(2, None)),
    "with a loss": ts.Covariance(ts.TestLoss(), MOVED),
    "displacement": MOVED,
}


def linear(coefficients: Any, landscape: Any, start: Any, name: str) -> ts.Observable:
    moved = zip(coefficients, landscape.variables, start, strict=True)
    return ts.Observable(sympy.Add(*(c * (v - a) for c, v, a in moved)), name)


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_it_equals_the_formula_of_linear_observables(name: str, landscapes: Any, data: st.DataObject) -> None:
    """(1), exactly."""
    landscape, start = data.draw(landscapes(dimension=2, degree=3, atoms=2))
    u, v = (linear(data.draw(st.tuples(*[st.integers(-2, 2)] * 2)), landscape, start, one) for one in "uv")
    pair = PAIRS[name]
    formula = ts.derive(pair, PLACE, 3)
    if pair == MOVED:
        along, other = {0: u}, ts.derive(u, PLACE, 3)
    elif pair.a != MOVED:
        along, other = {1: v}, ts.derive(ts.Covariance(pair.a, v), PLACE, 3)
    else:
        along, other = {0: u, 1: v}, ts.derive(type(pair)(u, v, pair.times), PLACE, 3)
    short = closed(formula, along)
    assert short.evaluate(landscape, at=start) == other.evaluate(landscape, at=start)
    assert short.observable == other.observable and short.indices == 0 and short.order == 3


@pytest.mark.parametrize("resum", [None, "discrete"])
def test_one_index_may_stay_open(resum: Any) -> None:
    """(2): half closed, the formula is one of a vector; resummed values are closed too."""
    formula = ts.derive(PAIRS["covariance"], ts.SGD(N=2, B=1, E=1), 2, resum=resum)
    u = ts.Observable(lambda theta: theta[0], "u")
    half = closed(formula, {1: u})
    assert (open_positions(formula), open_positions(half)) == ((0, 1), (0,))
    assert half.indices == 1 and half.observables == {"u": u} and half.spacetimes == formula.spacetimes
    assert half.observable == ts.Covariance(MOVED, u)
    assert open_positions(closed(half, {0: u})) == ()
