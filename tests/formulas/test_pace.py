"""Long derivations: announced before, watched during, and interrupted without harm."""

from __future__ import annotations

import warnings

import pytest

import taylorsgd as ts
from taylorsgd.formulas import pace, summation
from taylorsgd.formulas.pace import Pace, SlowDerivation


def test_an_order_that_takes_minutes_is_announced(monkeypatch) -> None:
    """With half a second for each diagram, on a clock of our own."""
    now = [0.0]
    monkeypatch.setattr(pace, "monotonic", lambda: now[0])

    def diagrams(order: int):
        for number in range(ts.count_diagrams(order)):
            now[0] += 0.5
            yield number

    watch = Pace()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for order in range(5):
            list(watch.through(diagrams(order), order))
    seconds = ts.count_diagrams(5) / 2
    with pytest.warns(
        SlowDerivation, match=f"order 5 has {2 * seconds:.0f} diagrams and will take about {seconds / 60:.0f} m"
    ):
        list(watch.through(diagrams(5), 5))


def test_quick_orders_are_not() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 4)


def test_the_number_of_diagrams_is_known_at_once() -> None:
    assert ts.count_diagrams(9) == 7_075_470


def test_an_interrupt_leaves_nothing_broken(monkeypatch) -> None:
    summation._summation.cache_clear()  # whatever was derived before
    spacetime = ts.SGD(E=7)
    every = summation.generalized_diagrams

    def interrupting(*arguments, **options):
        for count, diagram in enumerate(every(*arguments, **options)):
            if count == 5:
                raise KeyboardInterrupt
            yield diagram

    monkeypatch.setattr(summation, "generalized_diagrams", interrupting)
    with pytest.raises(KeyboardInterrupt):
        ts.derive(ts.TestLoss(), spacetime, 3)
    monkeypatch.undo()
    assert ts.derive(ts.TestLoss(), spacetime, 3) == ts.derive(ts.TestLoss(), ts.SGD(), 3).subs(E=7)
