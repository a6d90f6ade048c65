r"""Reshuffling, replacement and fixed data against descent over every order, batch and training set, as rationals.

Identities:
    (1) derive(s, S, d).evaluate = perturb(s, S, d) for S = SGD(shuffle=True) and Replacement, on fresh and on
        fixed data, every observable, d ≤ 3, and d = 4 in one variable; perturb goes through all schedules
    (2) the formula that is symbolic in the sizes gives the same as the one derived for its numbers
    (3) shuffling first matters at η⁴, in 17 of the 101 diagrams of that order
    (4) one epoch of fresh data is the same with and without shuffling; so is GD
    (5) covariances of order 4 with replacement, where diagrams without a common part are correlated
    (6) Smith et al. 2021 (section 2): on fixed data one epoch of n batches moves, to order η², as the flow of
        C + (η/4)(|∇C|² + (N − B)/(B(N − 1)) tr ĉ) over time nη, ĉ the biased covariance of the gradients
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

import taylorsgd as ts
from taylorsgd.diagrams import diagrams_of_order
from taylorsgd.spacetime import Spacetime
from taylorsgd.spacetime.base import INVERSE_BATCH
from taylorsgd.spacetime.epochs import epoch_count
from taylorsgd.spacetime.shuffling import reshuffled_count
from taylorsgd.symbols import B, N

x, y = sympy.symbols("x y")

SINGLE = [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement(), ts.Observable(x**3 / 3 - x)]
FOURTH = [ts.TestLoss(), ts.TrainLoss(), ts.Displacement()]
PAIRS = [make(a, b) for make in (ts.SecondMoment, ts.Covariance) for a in SINGLE[:4] for b in SINGLE[:4]]
SHUFFLED = [(2, 1, 2), (3, 1, 1), (2, 2, 2), (2, 1, 3), (1, 1, 3), (4, 2, 1)]
"""(N, B, E)"""
DRAWN = [(2, 1, 2), (3, 2, 1), (2, 2, 2), (1, 2, 2), (2, 1, 3), (2, 3, 1)]
"""(N, B, T)"""


@cache
def derived(observable: Any, spacetime: Spacetime, order: int) -> ts.Formula:
    return ts.derive(observable, spacetime, order)


def check(observable: Any, numbers: Spacetime, landscape: Any, start: Any, order: int) -> None:
    """The formula of numbers, and that of symbols with numbers put in, against all runs."""
    truth = ts.perturb(observable, numbers, landscape, start, order)
    assert derived(observable, numbers, order).evaluate(landscape, start) == truth, (observable, numbers)
    options = {"data": numbers.data} | ({"shuffle": True} if isinstance(numbers, ts.SGD) else {})
    symbolic = derived(observable, type(numbers)(**options), order)
    sizes = {name: numbers.sizes[name] for name in ("N", "B", "T")}
    assert symbolic.evaluate(landscape, start, **sizes) == truth, (observable, numbers)


@pytest.mark.shows("shuffle", ("test loss", "training loss", "gap", "displacement", "variance"))
@pytest.mark.shows("Replacement", ("test loss", "training loss", "gap", "displacement", "variance"))
@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 4, 1), (2, 3, 1), (1, 3, 25), (2, 2, 4)])
@pytest.mark.parametrize("kind", ["shuffled", "drawn"])
def test_fresh_data(landscapes, some_of, kind: str, dimension: int, order: int, examples: int) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(dimension, order + 1, atoms=2))
        if kind == "shuffled":
            n, b, e = data.draw(st.sampled_from(SHUFFLED))
            spacetime: Spacetime = ts.SGD(N=n, B=b, E=e, shuffle=True)
        else:
            n, b, t = data.draw(st.sampled_from(DRAWN))
            spacetime = ts.Replacement(N=n, B=b, T=t)
        kinds = some_of(data, ("single", "pair"), examples, 1)
        if "single" in kinds:
            for observable in some_of(data, SINGLE if order < 4 else FOURTH, examples):
                check(observable, spacetime, landscape, start, order)
        if "pair" in kinds:
            check(data.draw(st.sampled_from(PAIRS)), spacetime, landscape, start, min(order, 3))

    run()


@st.composite
def training_sets(draw: st.DrawFn, size: int, dimension: int, degree: int) -> tuple[Any, Any]:
    """N polynomial losses of equal weight."""
    variables = [x, y][:dimension]
    powers = [p for p in ((i, j) for i in range(degree + 1) for j in range(degree + 1)) if sum(p) <= degree]
    powers = [p for p in powers if dimension == 2 or p[1] == 0]
    losses = []
    for _ in range(size):
        chosen = draw(st.lists(st.sampled_from(powers), min_size=2, max_size=4, unique=True))
        losses.append(sum(draw(st.integers(-3, 3)) * x**i * y**j for i, j in chosen) + sympy.Integer(0))
    start = [sympy.Rational(draw(st.integers(-4, 4)), 3) for _ in variables]
    return ts.FiniteLandscape(losses, [sympy.Rational(1, size)] * size, variables), start


@pytest.mark.shows("fixed data", ("test loss", "training loss", "gap", "displacement", "variance"))
@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 4, 1), (2, 3, 1), (2, 2, 25)])
@pytest.mark.parametrize("kind", ["shuffled", "drawn"])
def test_fixed_data(some_of, kind: str, dimension: int, order: int, examples: int) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        if kind == "shuffled":
            n, b, e = data.draw(st.sampled_from([*SHUFFLED, (3, 1, 2), (4, 2, 2)]))
            spacetime: Spacetime = ts.SGD(N=n, B=b, E=e, shuffle=True, data="fixed")
        else:
            n, b, t = data.draw(st.sampled_from([*DRAWN, (3, 1, 3), (4, 1, 2)]))
            spacetime = ts.Replacement(N=n, B=b, T=t, data="fixed")
        landscape, start = data.draw(training_sets(n, dimension, order + 1))
        for observable in some_of(data, SINGLE if order < 4 else FOURTH[:1], examples):
            check(observable, spacetime, landscape, start, order)
        for pair in data.draw(st.lists(st.sampled_from(PAIRS), min_size=2, max_size=2)):
            check(pair, spacetime, landscape, start, min(order, 3))

    run()


def test_two_rows_in_two_epochs() -> None:
    """From η⁴ on two parts may meet in two epochs: a cycle, whose terms are averages over distinct rows."""
    losses = [x**4 - x + x**2, x**2 / 2 + x**5]
    landscape = ts.FiniteLandscape(losses, [sympy.Rational(1, 3), sympy.Rational(2, 3)], [x])
    check(ts.TestLoss(), ts.SGD(N=3, B=1, E=2, shuffle=True), landscape, 1, 4)


@pytest.mark.shows("Replacement", "variance")
def test_batches_of_chance_correlate_what_shares_no_part() -> None:
    """Of E[a | schedule] alone the η² terms vary, so a covariance has disconnected diagrams from η⁴ on."""
    landscape = ts.FiniteLandscape(
        [x**4 - x + x**2, x**2 / 2 + x**5], [sympy.Rational(1, 3), sympy.Rational(2, 3)], [x]
    )
    for pair in (ts.Variance(ts.TestLoss()), ts.Covariance(ts.Displacement(), ts.TrainLoss())):
        spacetime = ts.Replacement(N=2, B=1, T=2)
        truth = ts.perturb(pair, spacetime, landscape, 1, 4)
        assert ts.derive(pair, spacetime, 4).evaluate(landscape, 1) == truth


def test_shuffling_first_matters_at_fourth_order() -> None:
    for observable in FOURTH:
        plain, shuffled = (derived(observable, ts.SGD(shuffle=flag), 4) for flag in (False, True))
        difference = shuffled - plain
        assert difference
        assert {term.order for term in difference.terms} == {4}
        assert not difference.subs(E=1)
    counted = [d for d in diagrams_of_order(4) if reshuffled_count(d, None) != epoch_count(d) * _batch(d)]
    assert len(counted) == 17


def _batch(diagram: Any) -> Any:
    return INVERSE_BATCH ** (diagram.order - len(diagram.inner_blocks))


def test_one_epoch_of_fresh_data_needs_no_shuffling() -> None:
    for observable in SINGLE[:4]:
        assert derived(observable, ts.SGD(E=1, shuffle=True), 3) == derived(observable, ts.SGD(E=1), 3)
        full = derived(observable, ts.SGD(B=N, shuffle=True), 3)
        assert full == derived(observable, ts.SGD(B=N), 3)


def test_one_epoch_on_fixed_data_follows_smith_and_coauthors() -> None:
    moved = derived(ts.Displacement(), ts.SGD(E=1, shuffle=True, data="fixed"), 2)
    coefficients = {str(term.value): term.coefficient for term in moved.terms}
    steps = N / B
    expected = {
        "G^μ": -steps,
        # over the time nη the flow of C + (η/4)|∇C|² + … moves by −nη∇C − nη² H∇C/2 + (nη)² H∇C/2
        "H^μ_ν G^ν": steps * (steps - 1) / 2,
        "½ ∇^μ C^ν_ν": -steps * (N - B) / (2 * B * (N - 1)),  # times ½∇tr ĉ
    }
    assert set(coefficients) == set(expected), coefficients
    for name, coefficient in coefficients.items():
        assert sympy.simplify(coefficient - expected[name]) == 0, (name, coefficient, expected[name])


def test_random_schedules_in_text_and_json() -> None:
    for spacetime in (
        ts.SGD(shuffle=True),
        ts.SGD(N=6, B=2, shuffle=True, data="fixed"),
        ts.Replacement(T=4),
        ts.Replacement(data="fixed"),
    ):
        formula = derived(ts.TestLoss(), spacetime, 2)
        again = ts.Formula.from_json(formula.to_json())
        assert again == formula and again.spacetimes == formula.spacetimes
    assert repr(ts.SGD(N=6, B=2, shuffle=True)) == "SGD(N=6, B=2, E=E, shuffle=True)"
    assert repr(ts.Replacement(data="fixed")) == "Replacement(N=N, B=B, T=T, data=fixed)"


def test_small_sets_after_symbols() -> None:
    """1/(N − 1) from averages over orders is removable: at N = 1 there is one order."""
    coin = ts.FiniteLandscape([x**4 - x, x**2 / 2 + x**3], [sympy.Rational(1, 2)] * 2, [x])
    formula = derived(ts.TestLoss(), ts.SGD(shuffle=True), 4)
    assert formula.evaluate(coin, 1, N=1, B=1, E=3) == ts.perturb(ts.TestLoss(), ts.SGD(N=1, B=1, E=3), coin, 1, 4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shuffle": 1}, TypeError, "shuffle=1 must be True"),
        ({"data": "stale"}, ValueError, "data='stale' is unknown"),
        ({"data": "fixed"}, ValueError, "add shuffle=True"),
    ],
)
def test_errors(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ts.SGD(**arguments)


def test_errors_of_use() -> None:
    shuffled = ts.SGD(N=2, B=1, E=2, shuffle=True)
    with pytest.raises(ValueError, match="is no single grid"):
        shuffled.grid()
    coin = ts.FiniteLandscape([x, x**2], [sympy.Rational(1, 3), sympy.Rational(2, 3)], [x])
    with pytest.raises(ValueError, match="the landscape is the training set"):
        ts.perturb(ts.TestLoss(), ts.Replacement(N=2, B=1, T=1, data="fixed"), coin, 0, 1)
    formula = ts.derive(ts.TestLoss(), ts.Replacement(data="fixed"), 1)
    with pytest.raises(ValueError, match="the landscape is the training set"):
        formula.evaluate(coin, 0, N=2, B=1, T=1)
