r"""Formulas against descent itself, on every training set of random finite landscapes, as rationals.

References: Tenka, Theorem 3 (section B.3) and section A.7; direct perturbation: section B.2.

Identities, with `perturb` running descent on θ as a truncated series in η over all training sets:
    (1) derive(s, S, d).evaluate = perturb(s, S, d) for s the test loss, the training loss, the gap, the
        displacement and any Observable; S = SGD(N, B, E), GD and any grid; 1 to 3 variables; d ≤ 3,
        d = 4 in one variable
    (2) the same for second moments and covariances of any two of them
    (3) the formula that is symbolic in N, B, E gives the same as the one derived for its numbers
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

import taylorsgd as ts
from taylorsgd.spacetime import Spacetime

x, y, z = sympy.symbols("x y z")

SINGLE = [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement()]
PAIRS = [
    *(ts.SecondMoment(a, b) for a in SINGLE for b in SINGLE),
    *(ts.Covariance(a, b) for a in SINGLE for b in SINGLE),
]
SIZES = [(1, 1, 3), (2, 1, 1), (2, 1, 2), (2, 1, 3), (2, 2, 2), (3, 1, 1), (3, 1, 2), (4, 2, 1), (4, 2, 2), (4, 1, 1)]
"""(N, B, E), up to K^N · T = 3^4 · 4 runs' worth of updates."""
BATCH = [(1, 2), (2, 2), (2, 3), (3, 2), (4, 1)]
"""(N, T) of GD."""


OBSERVABLES = {
    1: [x**2 / 2 - x**5, 1 / (1 + x**2)],
    2: [x**3 * y - y**2, (x + y) / (2 + x**2 * y**2)],
    3: [x * y * z + z**4, x**2 * z - y],
}


@cache
def derived(observable: Any, spacetime: Spacetime, order: int) -> ts.Formula:
    return ts.derive(observable, spacetime, order)


@st.composite
def grids(draw: st.DrawFn) -> ts.Grid:
    """Any grid of up to 3 × 4 cells whose columns are equally full."""
    rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    batch = draw(st.integers(1, rows))
    chosen = [draw(st.permutations(range(rows)))[:batch] for _ in range(columns)]
    return ts.Grid([[row in column for column in chosen] for row in range(rows)])


def check(observable: Any, spacetime: Spacetime, landscape: Any, start: Any, order: int) -> None:
    truth = ts.perturb(observable, spacetime, landscape, start, order)
    assert derived(observable, spacetime, order).evaluate(landscape, start) == truth, (observable, spacetime)


def check_symbolic(observable: Any, size: tuple[int, int, int], landscape: Any, start: Any, order: int) -> None:
    """The formula with symbols N, B, E, and numbers put in when it is evaluated."""
    n, b, e = size
    truth = ts.perturb(observable, ts.SGD(N=n, B=b, E=e), landscape, start, order)
    predicted = derived(observable, ts.SGD(), order).evaluate(landscape, start, N=n, B=b, E=e)
    assert predicted == truth, (observable, size)


@pytest.mark.shows("one epoch", ("test loss", "training loss", "gap", "displacement", "variance"))
@pytest.mark.parametrize("observable", [*SINGLE, ts.Variance(ts.TestLoss())], ids=str)
def test_one_epoch(landscapes, observable: Any) -> None:
    @given(data=st.data())
    @settings(max_examples=5)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(1, 4, atoms=2))
        n, b = data.draw(st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 1)]))
        truth = ts.perturb(observable, ts.SGD(N=n, B=b, E=1), landscape, start, 3)
        assert derived(observable, ts.SGD(E=1), 3).evaluate(landscape, start, N=n, B=b) == truth

    run()


@pytest.mark.shows("SGD", ("test loss", "training loss", "gap", "displacement", "variance"))
@pytest.mark.shows("GD", ("test loss", "training loss", "gap", "displacement"))
@pytest.mark.shows("Grid", ("test loss", "training loss", "gap", "displacement", "variance"))
@pytest.mark.parametrize(
    ("dimension", "order", "examples"), [(1, 4, 3), (1, 3, 25), (2, 3, 2), (2, 2, 25), (3, 2, 2), (3, 3, 1)]
)
def test_random_landscapes(landscapes, some_of, dimension: int, order: int, examples: int) -> None:
    """Each landscape meets SGD, GD and a grid; all single observables, and a few pairs."""

    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(dimension, order + 1))
        n, b, e = size = data.draw(st.sampled_from(SIZES))
        batch, steps = data.draw(st.sampled_from(BATCH))
        grid = data.draw(grids())
        for observable in some_of(data, SINGLE, examples, 1):
            check_symbolic(observable, size, landscape, start, order)
            check(observable, ts.GD(N=batch, T=steps), landscape, start, order)
            check(observable, grid, landscape, start, min(order, 3))
        count = 1 if examples >= 25 else 3
        for pair in data.draw(st.lists(st.sampled_from(PAIRS), min_size=count, max_size=count)):
            check(pair, ts.SGD(N=n, B=b, E=e), landscape, start, min(order, 3))
            check(pair, grid, landscape, start, min(order, 3))
        check_symbolic(data.draw(st.sampled_from(PAIRS)), size, landscape, start, min(order, 2))
        expression = data.draw(st.sampled_from(OBSERVABLES[dimension]))
        check(ts.Observable(expression), ts.SGD(N=n, B=b, E=e), landscape, start, order)
        check(ts.Observable(expression), grid, landscape, start, min(order, 3))

    run()


@pytest.mark.shows("GD", "variance")
@given(data=st.data())
@settings(max_examples=6)
def test_moments_of_two_to_fourth_order(landscapes, data: st.DataObject) -> None:
    landscape, start = data.draw(landscapes(1, 5))
    spacetime = data.draw(st.sampled_from([ts.SGD(N=2, B=1, E=2), ts.SGD(N=3, B=1, E=1), ts.GD(N=2, T=2)]))
    check(data.draw(st.sampled_from(PAIRS)), spacetime, landscape, start, 4)


@pytest.mark.shows("SGD", "variance")
def test_every_pair_of_observables(landscapes) -> None:
    """All 32 moments of two, in two variables at order 2, on one landscape."""
    losses = [x**3 - 2 * x * y + y, 2 * x**2 * y - y**2 + x, x * y**2 / 2 - 3 * x]
    landscape = ts.FiniteLandscape(losses, [sympy.Rational(w, 6) for w in (1, 2, 3)], [x, y])
    start = [1, sympy.Rational(-1, 2)]
    for observable in PAIRS:
        for size in [(2, 1, 2), (2, 2, 2)]:
            check_symbolic(observable, size, landscape, start, 2)


@given(data=st.data())
@settings(max_examples=2)
def test_covariance_with_an_observable(landscapes, data: st.DataObject) -> None:
    landscape, start = data.draw(landscapes(2, 3))
    size = data.draw(st.sampled_from(SIZES[:5]))
    observable = ts.Observable(data.draw(st.sampled_from(OBSERVABLES[2])), name="u")
    second = ts.Observable(x * y**2, name="v")
    others = [*SINGLE, observable, second]
    for pair in [*((observable, other) for other in others), *((other, observable) for other in SINGLE)]:
        check_symbolic(ts.Covariance(*pair), size, landscape, start, 2)
        check_symbolic(ts.SecondMoment(*pair), size, landscape, start, 2)


def test_an_observable_given_as_a_function() -> None:
    landscape = ts.FiniteLandscape([x**3 * y - x, y**2 + x * y], [sympy.Rational(1, 3), sympy.Rational(2, 3)], [x, y])
    start = [1, 2]
    as_function = ts.Observable(lambda theta: theta[0] ** 2 * theta[1])
    as_expression = ts.Observable(x**2 * y)
    for spacetime in (ts.SGD(N=2, B=1, E=2), ts.GD(N=2, T=2)):
        one, other = (ts.derive(s, spacetime, 3).evaluate(landscape, start) for s in (as_function, as_expression))
        assert one == other == ts.perturb(as_expression, spacetime, landscape, start, 3)


def test_losses_that_are_no_polynomials() -> None:
    losses = [sympy.exp(x) - 2 * x, sympy.cos(x) + x**2, 1 / (2 + x)]
    landscape = ts.FiniteLandscape(losses, [sympy.Rational(w, 4) for w in (1, 1, 2)], [x])
    for observable in (*SINGLE, ts.Observable(sympy.sin(x) + sympy.exp(2 * x))):
        check_symbolic(observable, (2, 1, 2), landscape, [0], 3)


def test_irrational_points_and_parameters() -> None:
    """Exact numbers need not be rational, and a loss may hold a parameter."""
    a = sympy.Symbol("a")
    landscape = ts.FiniteLandscape([x**3 - a * x, x**2 + a], [sympy.Rational(1, 2)] * 2, [x])
    for start in ([sympy.sqrt(2)], [a]):
        for observable in (ts.TestLoss(), ts.Variance(ts.TrainLoss())):
            spacetime = ts.SGD(N=2, B=1, E=1)
            predicted = derived(observable, spacetime, 2).evaluate(landscape, start)
            assert sympy.expand(predicted - ts.perturb(observable, spacetime, landscape, start, 2)) == 0


@pytest.mark.parametrize("observable", [*SINGLE, ts.Variance(ts.TrainLoss()), ts.Variance(ts.Displacement())])
def test_no_updates_at_all(observable: Any) -> None:
    landscape = ts.FiniteLandscape([x**2, x**3], [sympy.Rational(1, 2)] * 2, [x])
    for spacetime in (ts.SGD(N=2, B=1, E=0), ts.GD(N=2, T=0)):
        assert ts.derive(observable, spacetime, 3).evaluate(landscape, [2]) == ts.perturb(
            observable, spacetime, landscape, [2], 3
        )
