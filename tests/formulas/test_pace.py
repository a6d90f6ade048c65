"""Long derivations: announced before, watched during, and interrupted without harm."""

from __future__ import annotations

import warnings

import pytest

import taylorsgd as ts
from taylorsgd.formulas import pace
from taylorsgd.formulas.pace import Pace, SlowDerivation


def test_an_order_that_takes_minutes_is_announced(monkeypatch) -> None:
    """With a clock that is a thousand times too fast."""
    now = [0.0]

    def clock() -> float:
        now[0] += 5.0
        return now[0]

    monkeypatch.setattr(pace, "monotonic", clock)
    watch = Pace(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for order in range(3):
            list(watch.through(range(ts.count_diagrams(order)), order))
    with pytest.warns(SlowDerivation, match=r"order 5 has 578 diagrams and will take about \d+ (minutes|hours)"):
        list(watch.through(range(3), 5))


def test_quick_orders_are_not() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 4)


def test_the_number_of_diagrams_is_known_at_once() -> None:
    assert ts.count_diagrams(9) == 7_075_470


def test_an_interrupt_leaves_nothing_broken(monkeypatch) -> None:
    spacetime = ts.SGD(E=7)
    calls = [0]
    weight = ts.SGD.placements

    def interrupting(self, diagram, *rest):
        calls[0] += 1
        if calls[0] == 5:
            raise KeyboardInterrupt
        return weight(self, diagram, *rest)

    monkeypatch.setattr(ts.SGD, "placements", interrupting)
    with pytest.raises(KeyboardInterrupt):
        ts.derive(ts.TestLoss(), spacetime, 3)
    monkeypatch.undo()
    assert ts.derive(ts.TestLoss(), spacetime, 3) == ts.derive(ts.TestLoss(), ts.SGD(), 3).subs(E=7)
