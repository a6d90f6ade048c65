r"""Every update rule on random schedules, fixed data included, against descent over every schedule, as rationals.

Identities:
    (1) derive(s, S, d, update=u).evaluate = perturb(s, S, d, update=u) for S = SGD(shuffle=True) and Replacement on
        fresh and on fixed data, all observables, at the end and at two times, d ≤ 3
    (2) summed time by time, plain descent has the weights of the closed forms
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import sympy
from sympy import Rational

import taylorsgd as ts
from taylorsgd.diagrams import diagrams_of_order
from taylorsgd.timesums.walking import plain_system, sum_over_cells

x = sympy.Symbol("x")
LOSSES = [x**4 - x + x**2, x**2 / 2 + x**5, x**3 - x, 2 * x + x**2]
FRESH = ts.FiniteLandscape(LOSSES[:2], [Rational(1, 3), Rational(2, 3)], [x])
ALL = ("test loss", "training loss", "gap", "displacement", "variance")


def shown(*dynamics: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.shows(name, ALL) for name in dynamics]


SPACETIMES = [
    pytest.param(ts.SGD(N=2, B=1, E=2, shuffle=True), marks=shown("shuffle")),
    pytest.param(ts.SGD(N=4, B=2, E=1, shuffle=True)),
    pytest.param(ts.Replacement(N=2, B=2, T=2), marks=shown("Replacement")),
    pytest.param(ts.Replacement(N=2, B=2, T=2, data="fixed"), marks=shown("fixed data")),
    pytest.param(ts.SGD(N=2, B=1, E=2, shuffle=True, data="fixed"), marks=shown("fixed data")),
    pytest.param(ts.SGD(N=4, B=2, E=1, shuffle=True, data="fixed"), marks=shown("fixed data")),
]
UPDATES = [
    pytest.param(ts.HeavyBall(Rational(1, 3)), marks=shown("HeavyBall")),
    pytest.param(ts.Nesterov(Rational(1, 3), ts.LinearWarmup()), marks=shown("Nesterov", "warm-up")),
    pytest.param(ts.Descent(ts.Cosine(), decay=Rational(1, 4)), marks=shown("decay", "cosine")),
    pytest.param(ts.SecondOrder(2), marks=shown("SecondOrder")),
    pytest.param(ts.ImplicitStep(), marks=shown("ImplicitStep")),
]
OBSERVABLES = [
    ts.TestLoss(),
    ts.TrainLoss(),
    ts.GeneralizationGap(),
    ts.Displacement(),
    ts.Variance(ts.TestLoss()),
    ts.Covariance(ts.Displacement(), ts.TrainLoss(), times=(1, 2)),
]


@pytest.mark.parametrize("update", UPDATES, ids=lambda update: type(update).__name__)
@pytest.mark.parametrize("spacetime", SPACETIMES, ids=repr)
def test_every_rule_on_every_schedule(spacetime: Any, update: Any) -> None:
    size = int(spacetime.sizes["N"])
    fixed = ts.FiniteLandscape(LOSSES[:size], [Rational(1, size)] * size, [x])
    landscape = fixed if spacetime.data == "fixed" else FRESH
    # in four updates, a root and three nodes have many times
    order = 3 if int(spacetime.sizes["T"]) == 2 else 2
    for observable in OBSERVABLES:
        truth = ts.perturb(observable, spacetime, landscape, 1, order, update=update)
        found = ts.derive(observable, spacetime, order, update=update).evaluate(landscape, 1)
        assert sympy.Matrix([found - truth]).applyfunc(sympy.expand).is_zero_matrix, observable


def test_every_count_is_a_sum_over_the_times_of_events() -> None:
    """Cell by cell, of whatever is placed, with 1 on every edge: also in several epochs, shuffled, with replacement."""
    for spacetime in (
        ts.SGD(N=4, B=2, E=3),
        ts.SGD(N=3, B=1, E=2),
        ts.SGD(N=6, B=2, E=1),
        ts.SGD(N=2, B=2, E=3),
        ts.GD(N=3, T=4),
        ts.SGD(N=4, B=2, E=3, shuffle=True),
        ts.SGD(N=3, B=1, E=2, shuffle=True, data="fixed"),
        ts.Replacement(N=3, B=2, T=3),
        ts.Replacement(N=3, B=1, T=4, data="fixed"),
    ):
        for order in range(4):
            for diagram in diagrams_of_order(order):
                closed = spacetime.expression(spacetime.weight(diagram))
                updates = int(spacetime.sizes["T"])
                system, ends = plain_system(updates), [updates] * order
                ways = (way.number * sum_over_cells(way, system, ends) for way in spacetime.ways(diagram))
                total = Fraction(sum(ways), int(spacetime.sizes["B"]) ** order)
                assert Rational(total.numerator, total.denominator) == closed, (spacetime, diagram)


def test_symbols_need_numbers() -> None:
    with pytest.raises(NotImplementedError, match="all sizes"):
        ts.derive(ts.TestLoss(), ts.SGD(shuffle=True), 1, update=ts.HeavyBall(Rational(1, 2)))
    with pytest.raises(ValueError, match="has batches; give GD"):
        ts.derive(ts.TestLoss(), ts.Replacement(N=2, B=1, T=2), 1, update=ts.GDC(1))
