"""What was summed once is remembered, where nothing can have changed.

1. A repeat, another s and a higher order take up what is there.
2. A rule that is told by its identity alone may have been changed: it is asked again.
"""

from __future__ import annotations

from typing import Any

from attrs import define
from sympy import Expr, Integer, symbols

import taylorsgd as ts
from taylorsgd.formulas.summation import _summation
from taylorsgd.updates import Memory, Update

ONE = Integer(1)
x = symbols("x")


@define(eq=False)
class Scaled(Update):
    """θ ← θ − ηsg, with an s that may be set anew."""

    scale: Expr = ONE
    rates: Any = None

    def start(self, origin: Any) -> tuple[Any, ...]:
        return (origin,)

    def step(self, numbers: Any, state: Any, batch: Any, rate: Any) -> tuple[Any, ...]:
        return (state[0] - rate * self.scale * batch.slope(state[0]),)

    def memory(self, rate: Expr) -> Memory:
        return Memory(((ONE,),), (rate * self.scale,), (ONE,), (ONE,))


def test_what_is_the_same_is_summed_once() -> None:
    _summation.cache_clear()
    place = ts.SGD(N=5, B=1, E=1)
    ts.derive(ts.Observable(x), place, 1)
    ts.derive(ts.Observable(x**2), place, 2)
    ts.derive(ts.Observable(x**2), place, 1)
    assert (_summation.cache_info().misses, _summation.cache_info().hits) == (1, 2)


def test_what_may_have_changed_is_asked_again() -> None:
    rule, place = Scaled(), ts.FiniteLandscape([x**2 / 2, x**2], [ONE / 2, ONE / 2], [x])
    found = []
    for scale in (1, 2):
        rule.scale = Integer(scale)
        found.append(ts.derive(ts.TestLoss(), ts.GD(N=2, T=2), 1, update=rule).evaluate(place, [1]))
        assert found[-1] == ts.perturb(ts.TestLoss(), ts.GD(N=2, T=2), place, [1], 1, update=rule)
    assert found[0] != found[1]
