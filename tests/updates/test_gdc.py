r"""GDC against its own definition, descent on l̂ + η (1/B − 1/N)/4 · tr Ĉ, on every training set, as rationals.

Identities:
    (1) derive(s, GD, d, update=GDC).evaluate = perturb(s, GD, d, update=GDC), from numbers and from symbols, d ≤ 3
    (2) at T = E·N/B test loss, training loss and displacement are those of SGD(N, B, E) to order η², and no further
    (3) GDC(N) is descent; so is any GDC on one row
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

import taylorsgd as ts
from taylorsgd.symbols import B, E, N

x = sympy.Symbol("x")
OBSERVABLES = [
    ts.TestLoss(),
    ts.TrainLoss(),
    ts.GeneralizationGap(),
    ts.Displacement(),
    ts.Observable(x**3 - x),
    ts.Variance(ts.TestLoss()),
    ts.Covariance(ts.TrainLoss(), ts.Displacement()),
]


@cache
def symbolic(observable: Any, order: int) -> ts.Formula:
    return ts.derive(observable, ts.GD(), order, update=ts.GDC())


@pytest.mark.shows("GDC", ("test loss", "training loss", "gap", "displacement", "variance"))
@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 3, 25), (2, 3, 2)])
def test_random_landscapes(landscapes, some_of, dimension: int, order: int, examples: int) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(dimension, order + 1))
        n, t, b = data.draw(st.sampled_from([(2, 3, 1), (3, 2, 1), (3, 2, 2), (2, 2, 2), (1, 3, 1)]))
        spacetime, update = ts.GD(N=n, T=t), ts.GDC(b)
        for observable in some_of(data, OBSERVABLES, examples):
            truth = ts.perturb(observable, spacetime, landscape, start, order, update=update)
            assert ts.derive(observable, spacetime, order, update=update).evaluate(landscape, start) == truth
            assert symbolic(observable, order).evaluate(landscape, start, N=n, T=t, B=b) == truth

    run()


def test_fourth_order() -> None:
    """Two instant edges on one diagram, whose parts may close a circle."""
    landscape = ts.FiniteLandscape(
        [x**4 - x + x**2, x**2 / 2 + x**5], [sympy.Rational(1, 3), sympy.Rational(2, 3)], [x]
    )
    truth = ts.perturb(ts.TestLoss(), ts.GD(3, 2), landscape, 1, 4, update=ts.GDC(2))
    assert ts.derive(ts.TestLoss(), ts.GD(3, 2), 4, update=ts.GDC(2)).evaluate(landscape, 1) == truth


def test_it_imitates_sgd_to_second_order() -> None:
    """Corollary 1."""
    for observable in (ts.TestLoss(), ts.TrainLoss(), ts.Displacement()):
        imitated = symbolic(observable, 3).subs(T=E * N / B)
        difference = (imitated - ts.derive(observable, ts.SGD(), 3)).simplify()
        assert {term.order for term in difference.terms} == {3}


def test_batches_of_everything() -> None:
    for observable in OBSERVABLES[:4]:
        descent = ts.derive(observable, ts.GD(), 3)
        assert symbolic(observable, 3).subs({"B": N}) == descent
        assert ts.derive(observable, ts.GD(N=1), 3, update=ts.GDC()) == descent.subs(N=1)


def test_errors() -> None:
    coin = ts.FiniteLandscape([x, x**2], [sympy.Rational(1, 2)] * 2, [x])
    sgd = ts.SGD(N=2, B=1, E=1)
    for make, error, message in [
        (lambda: ts.GDC(0), ValueError, "B=0 is impossible"),
        (lambda: ts.GDC(0.5), TypeError, "B=0.5 is not a size"),
        (lambda: ts.derive(ts.TestLoss(), sgd, 1, update=ts.GDC(1)), ValueError, "has batches; give GD"),
        (lambda: ts.perturb(ts.TestLoss(), sgd, coin, 0, 1, update=ts.GDC(1)), ValueError, "give GD"),
        (lambda: ts.derive(ts.TestLoss(), ts.GD(N=2), 1, update=ts.GDC(4)), ValueError, "exceeds the N=2"),
        (
            lambda: ts.derive(ts.TestLoss(), ts.GD(), 1, update=ts.GDC(), resum="continuous"),
            ValueError,
            "no volume in an integral",
        ),
    ]:
        with pytest.raises(error, match=message):
            make()
