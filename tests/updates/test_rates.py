r"""Learning-rate schedules: their sums over times term by term, and formulas against descent itself, exactly.

Identities:
    (1) nested_sum(p, T) = Σ_{t_1 < … < t_k < T} Π r_{t_i}^{p_i}, at every small T, the exceptional ones included
    (2) derive(s, S, d, update=Descent(rates)).evaluate = perturb(the same) for linear warm-ups and half a cosine, every
        observable, in symbols on one epoch and GD and with numbers anywhere, d ≤ 3
    (3) memory takes the rates of a schedule with numbers for sizes
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from math import prod
from typing import Any

import pytest
import sympy
from sympy import Rational, Symbol, cos, pi

import taylorsgd as ts
from taylorsgd.symbols import T

x, W = Symbol("x"), Symbol("W")
OBSERVABLES = [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement(), ts.Variance(ts.TestLoss())]
ALL = ("test loss", "training loss", "gap", "displacement", "variance")
LANDSCAPE = ts.FiniteLandscape([x**4 - x + x**2, x**2 / 2 + x**5], [Rational(1, 3), Rational(2, 3)], [x])
COMPOSITIONS = [(1,), (2,), (1, 1), (3,), (2, 1), (1, 2), (1, 1, 1)]


@pytest.mark.parametrize("schedule", [ts.LinearWarmup(), ts.LinearWarmup(3), ts.LinearWarmup(W), ts.Cosine()])
def test_nested_sums(schedule: Any) -> None:
    longer = [] if schedule == ts.Cosine() else [(4,), (1, 2, 1), (2, 1, 1), (1, 1, 1, 1)]
    for powers in [*COMPOSITIONS, *longer]:
        closed = schedule.nested_sum(powers, T)
        for updates in range(1, 7):
            for steps in (1, 2, 4) if schedule == ts.LinearWarmup(W) else (0,):
                if updates < (3 if schedule == ts.LinearWarmup(3) else steps):
                    continue
                rates = schedule.rates(updates) if not steps else ts.LinearWarmup(steps).rates(updates)
                plain = sum(
                    prod(r**p for r, p in zip(chosen, powers, strict=True))
                    for chosen in combinations(rates, len(powers))
                )
                found, truth = (sympy.N(total, 30) for total in (closed.subs({T: updates, W: steps}), plain))
                assert abs(found - truth) < 1e-25, (powers, updates)


def test_rates() -> None:
    assert ts.LinearWarmup().rates(4) == (Rational(1, 4), Rational(1, 2), Rational(3, 4), 1)
    assert ts.LinearWarmup(2).rates(3) == (Rational(1, 2), 1, 1)
    assert ts.LinearWarmup(9).rates(2) == (Rational(1, 9), Rational(2, 9))
    assert ts.Cosine().rates(5)[3] == (1 + cos(3 * pi / 5)) / 2
    assert ts.Cosine().rates(1) == (1,) and ts.Cosine().rates(0) == ()


@cache
def symbolic(observable: Any, spacetime: Any, schedule: Any) -> ts.Formula:
    return ts.derive(observable, spacetime, 3, update=ts.Descent(rates=schedule))


def check(schedule: Any, spacetime: Any) -> None:
    free = ts.GD() if isinstance(spacetime, ts.GD) else ts.SGD(B=spacetime.B, E=1)
    for observable in OBSERVABLES:
        update = ts.Descent(rates=schedule)
        truth = ts.perturb(observable, spacetime, LANDSCAPE, 1, 3, update=update)
        numbers = ts.derive(observable, spacetime, 3, update=update).evaluate(LANDSCAPE, 1)
        symbols = symbolic(observable, free, schedule).evaluate(LANDSCAPE, 1, **spacetime.sizes)
        for found in (numbers, symbols):
            difference = sympy.Matrix([found - truth])
            assert difference.applyfunc(sympy.simplify).is_zero_matrix, (observable, spacetime)


@pytest.mark.shows("warm-up", ALL)
@pytest.mark.parametrize("schedule", [ts.LinearWarmup(), ts.LinearWarmup(2)], ids=repr)
@pytest.mark.parametrize("spacetime", [ts.SGD(N=4, B=2, E=1), ts.GD(N=2, T=3)], ids=repr)
def test_warm_up(schedule: Any, spacetime: Any) -> None:
    check(schedule, spacetime)


@pytest.mark.shows("cosine", ALL)
@pytest.mark.parametrize("spacetime", [ts.SGD(N=3, B=1, E=1), ts.GD(N=2, T=3), ts.GD(N=2, T=1)], ids=repr)
def test_cosine(spacetime: Any) -> None:
    check(ts.Cosine(), spacetime)


@pytest.mark.shows("rates", "test loss")
def test_memory_and_several_epochs() -> None:
    for update in (
        ts.HeavyBall(Rational(1, 3), ts.LinearWarmup(2)),
        ts.HeavyBall(Rational(1, 3), ts.Cosine(), convention="torch"),
        ts.Nesterov(Rational(1, 3), ts.LinearWarmup()),
        ts.Descent(ts.Cosine(), decay=Rational(1, 5)),
    ):
        spacetime = ts.SGD(N=2, B=1, E=2)
        truth = ts.perturb(ts.TestLoss(), spacetime, LANDSCAPE, 1, 3, update=update)
        found = ts.derive(ts.TestLoss(), spacetime, 3, update=update).evaluate(LANDSCAPE, 1)
        assert sympy.simplify(found - truth) == 0


def test_formulas_with_schedules_as_json() -> None:
    formula = symbolic(ts.TestLoss(), ts.GD(), ts.Cosine())
    assert ts.Formula.from_json(formula.to_json()) == formula


def test_errors() -> None:
    test, warm = ts.TestLoss(), ts.Descent(rates=ts.LinearWarmup())
    two = ts.SecondMoment(test, test, times=(1, None))
    for make, error, message in [
        (lambda: ts.LinearWarmup(0), ValueError, "steps=0 is impossible"),
        (lambda: ts.LinearWarmup(W).rates(3), ValueError, "need a number"),
        (lambda: ts.derive(test, ts.SGD(), 2, update=warm), NotImplementedError, "LinearWarmup"),
        (lambda: ts.derive(two, ts.GD(), 2, update=warm), NotImplementedError, "supported"),
        (
            lambda: ts.derive(test, ts.GD(), 2, update=ts.HeavyBall(Rational(1, 2), ts.Cosine())),
            NotImplementedError,
            "supported",
        ),
        (
            lambda: ts.derive(test, ts.GD(), 4, update=ts.Descent(rates=ts.Cosine())),
            NotImplementedError,
            "through order 3",
        ),
    ]:
        with pytest.raises(error, match=message):
            make()
