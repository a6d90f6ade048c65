r"""Moments of observables at two times of one run, against that run on every training set, as rationals.

Identities:
    (1) derive(moment with times=(t, t′), S, d).evaluate = perturb(the same), for every pair of observables and
        all t ≤ t′ ≤ T, on one epoch, GD, several epochs, any grid and flows, under update rules too, d ≤ 3
    (2) in one epoch, GD and flows t and t′ may be symbols; numbers put in give the formula of the numbers
    (3) at t = t′ = T these are the moments at the end; at t = 0 all covariances vanish
    (4) Ornstein–Uhlenbeck in steps: on (x ± 1)²/2, one epoch of B = 1, the covariance of x at t and t′ is
        (1 − η)^(t′−t) times the variance at t
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Rational, Symbol

import taylorsgd as ts
from taylorsgd.symbols import eta

x = Symbol("x")
early, late = sympy.symbols("s t")
SINGLE = [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement()]
ALL = ("test loss", "training loss", "gap", "displacement", "variance")


@cache
def symbolic(moment: Any, a: Any, b: Any, spacetime: Any, order: int) -> ts.Formula:
    return ts.derive(moment(a, b, times=(early, late)), spacetime, order)


@pytest.mark.shows("two times", ALL)
@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 3, 25), (2, 2, 4), (2, 3, 1)])
def test_random_landscapes(landscapes, some_of, dimension: int, order: int, examples: int) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(dimension, order + 1, atoms=2))
        one_epoch, gd = ts.SGD(N=4, B=2, E=1), ts.GD(N=2, T=3)
        grid = ts.Grid([[1, 0, 1, 1], [0, 1, 0, 0]])
        a, b, moment = (data.draw(st.sampled_from(x)) for x in (SINGLE, SINGLE, MOMENTS))
        spacetimes = (one_epoch, gd, grid, ts.SGD(N=2, B=1, E=2))
        for spacetime in some_of(data, spacetimes, examples, 1):
            steps = int(spacetime.sizes["T"])
            t = data.draw(st.integers(0, steps))
            s = data.draw(st.integers(0, t))
            observable = moment(a, b, times=(s, None if t == steps else t))
            truth = ts.perturb(observable, spacetime, landscape, start, order)
            assert ts.derive(observable, spacetime, order).evaluate(landscape, start) == truth
            if spacetime in (one_epoch, gd):
                free = ts.GD() if spacetime == gd else ts.SGD(B=2, E=1)
                formula = symbolic(moment, a, b, free, order)
                found = formula.evaluate(landscape, start, N=spacetime.sizes["N"], T=steps, s=s, t=t)
                assert found == truth, (observable, spacetime)

    run()


MOMENTS = [ts.SecondMoment, ts.Covariance]


@pytest.mark.parametrize(
    "update",
    [
        ts.HeavyBall(Rational(1, 3)),
        ts.Nesterov(Rational(1, 3), convention="sutskever"),
        ts.Descent([1, 3, 2], decay=Rational(1, 4)),
        ts.SecondOrder(2),
        ts.ImplicitStep(),
        ts.GDC(1),
    ],
    ids=lambda update: type(update).__name__,
)
def test_update_rules(update: Any) -> None:
    landscape = ts.FiniteLandscape([x**4 - x, x**2 / 2 + x**3], [Rational(1, 3), Rational(2, 3)], [x])
    spacetime = ts.GD(N=2, T=3)
    for a, b in ((SINGLE[3], SINGLE[0]), (SINGLE[1], SINGLE[3])):
        for times in ((1, 2), (2, None)):
            pair = ts.Covariance(a, b, times=times)
            truth = ts.perturb(pair, spacetime, landscape, 1, 3, update=update)
            assert ts.derive(pair, spacetime, 3, update=update).evaluate(landscape, 1) == truth
    if type(update) in (ts.SecondOrder, ts.ImplicitStep, ts.GDC):
        formula = ts.derive(ts.Covariance(a, b, times=(early, late)), ts.GD(), 3, update=update)
        assert formula.evaluate(landscape, 1, N=2, T=3, s=2, t=3) == truth


@pytest.mark.shows("two times", ("test loss", "displacement", "variance"))
@pytest.mark.parametrize("spacetime", [ts.ODE(), ts.SDE(), ts.SDE(T=9, B=2)], ids=repr)
def test_flows(landscapes, spacetime: Any) -> None:
    @given(data=st.data())
    @settings(max_examples=2)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(2, 4, atoms=2))
        numbers = {early: 2, late: 5, ts.symbols.T: 9, ts.symbols.B: 2}
        for times in ((early, late), (early, None), (1, 3)):
            for a, b in ((SINGLE[0], SINGLE[3]), (SINGLE[3], SINGLE[0])):
                pair = data.draw(st.sampled_from(MOMENTS))(a, b, times=times)
                formula = ts.derive(pair, spacetime, 3)
                free = {symbol for term in formula.terms for symbol in term.free_symbols}
                sizes = {str(name): number for name, number in numbers.items() if name in free}
                truth = ts.perturb(pair, spacetime, landscape, start, 3).subs(numbers)
                assert formula.evaluate(landscape, start, **sizes) == truth

    run()


def test_the_end_and_the_beginning() -> None:
    for spacetime in (ts.SGD(B=2, E=1), ts.GD()):
        end = spacetime.sizes["T"]
        for a, b in zip(SINGLE, SINGLE[::-1], strict=True):
            for moment in MOMENTS:
                plain = ts.derive(moment(a, b), spacetime, 2)
                assert ts.derive(moment(a, b, times=(end, None)), spacetime, 2) == plain
                general = symbolic(moment, a, b, spacetime, 2)
                present = set().union(*(term.free_symbols for term in general.terms)) & {early, late}
                assert general.subs(dict.fromkeys(present, end)) == plain
            covariance = symbolic(ts.Covariance, ts.Displacement(), b, spacetime, 3)
            assert not covariance.subs(s=0)  # nothing has moved yet
    assert ts.Covariance(*SINGLE[:2], times=(None, None)) == ts.Covariance(*SINGLE[:2])


def test_an_ornstein_uhlenbeck_process_in_steps() -> None:
    coin = ts.FiniteLandscape([(x - 1) ** 2 / 2, (x + 1) ** 2 / 2], [Rational(1, 2)] * 2, [x])
    pair = ts.Covariance(ts.Displacement(), ts.Displacement(), times=(early, late))
    formula = ts.derive(pair, ts.SGD(B=1, E=1), 4)
    for s, t in ((1, 1), (1, 3), (2, 3), (3, 6)):
        exact = (1 - eta) ** (t - s) * eta**2 * sum((1 - eta) ** (2 * k) for k in range(s))
        series = sympy.series(sympy.expand(exact), eta, 0, 5).removeO()
        assert sympy.expand(formula.evaluate(coin, 0, N=6, s=s, t=t)[0] - series) == 0


def test_errors() -> None:
    loss, coin = ts.TestLoss(), ts.FiniteLandscape([x, x**2], [Rational(1, 2)] * 2, [x])

    def pair(*times: Any) -> ts.Covariance:
        return ts.Covariance(loss, loss, times=times)  # type: ignore[arg-type]

    for make, error, message in [
        (lambda: pair(1), TypeError, "must be two"),
        (lambda: pair(1.5, 2), TypeError, "1.5 is neither"),
        (lambda: pair(-1, 2), ValueError, "-1 is no number of updates"),
        (lambda: pair(3, 2), ValueError, "swap a and b"),
        (lambda: pair(None, 2), ValueError, "swap a and b"),
        (lambda: ts.derive(pair(1, 4), ts.GD(N=2, T=3), 1), ValueError, "later than the last of 3"),
        (lambda: ts.perturb(pair(1, 4), ts.GD(N=2, T=3), coin, 0, 2), ValueError, "0 to the 3 updates"),
        (lambda: ts.derive(pair(1, 2), ts.SGD(), 2), NotImplementedError, "supported are SGD with E=1"),
        (
            lambda: ts.derive(pair(1, late), ts.GD(), 2, update=ts.HeavyBall(Rational(1, 2))),
            NotImplementedError,
            "rules without memory",
        ),
        (lambda: ts.perturb(pair(1, 4), ts.ODE(T=3), coin, 0, 1), ValueError, "after the end"),
        (lambda: ts.derive(pair(1, 4), ts.ODE(T=3), 1), ValueError, "later than the last of 3"),
    ]:
        with pytest.raises(error, match=message):
            make()
