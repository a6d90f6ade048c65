r"""Update rules against descent itself, on every training set of random finite landscapes, as rationals.

Identities:
    (1) derive(s, S, d, update=u).evaluate = perturb(s, S, d, update=u) for heavy ball and Nesterov in both
        conventions, rates and decay, every observable, SGD, GD and any grid, d ≤ 3
    (2) closed forms in T, symbolic in β and w, equal the formulas of numbers
    (3) β = 0 is descent; constant rates don't tell the two conventions of heavy ball apart
    (4) second-order updates and implicit steps likewise; they differ from η³ on
    (5) an edge is its rule's Green's function: one gradient alone moves θ by it
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Rational

import taylorsgd as ts
from taylorsgd.symbols import N

beta, decay = sympy.symbols("beta w")
x, y = sympy.symbols("x y")

SINGLE = [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement(), ts.Observable(x**3 - x)]
PAIRS = [ts.Variance(ts.TestLoss()), ts.Covariance(ts.TrainLoss(), ts.Displacement())]
NUMBERS = [Rational(n, 5) for n in (-2, 0, 1, 3, 5)]
MEMORY = ["descent", "polyak", "torch", "nesterov", "sutskever", "ball with decay"]
RULES = [*MEMORY, "second order", "implicit"]
ALL = ("test loss", "training loss", "gap", "displacement", "variance")
SHOWN = {
    "descent": ("rates", "decay"),
    "polyak": ("HeavyBall",),
    "torch": ("HeavyBall",),
    "nesterov": ("Nesterov",),
    "sutskever": ("Nesterov",),
    "ball with decay": ("HeavyBall", "decay"),
    "second order": ("SecondOrder",),
    "implicit": ("ImplicitStep",),
}


def rule(kind: str, b: Any, w: Any, rates: Any) -> Any:
    match kind:
        case "descent":
            return ts.Descent(rates, decay=w)
        case "polyak" | "torch":
            return ts.HeavyBall(b, rates, convention=kind)
        case "nesterov":
            return ts.Nesterov(b, rates)
        case "sutskever":
            return ts.Nesterov(b, rates, convention="sutskever")
        case "second order":
            return ts.SecondOrder(b)
        case "implicit":
            return ts.ImplicitStep(b)
    return ts.HeavyBall(b, rates, decay=w)


@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 3, 25), (2, 2, 2), (2, 3, 1)])
@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.shows(name, ALL) for name in SHOWN[k]]) for k in RULES]
)
def test_random_landscapes(landscapes, some_of, kind: str, dimension: int, order: int, examples: int) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(dimension, order + 1, atoms=2))
        spacetime = data.draw(
            st.sampled_from(
                [
                    ts.SGD(N=3, B=1, E=1),
                    ts.SGD(N=2, B=1, E=2),
                    ts.SGD(N=4, B=2, E=1),
                    ts.GD(N=2, T=3),
                    ts.Grid([[1, 0, 1, 1], [0, 1, 0, 0]]),
                ]
            )
        )
        updates = int(spacetime.sizes["T"])
        number = st.sampled_from(NUMBERS)
        lists = st.lists(number, min_size=updates, max_size=updates)
        rates = data.draw(lists if kind == "descent" else st.none() | lists)
        update = rule(kind, data.draw(number), data.draw(number), rates)
        for observable in some_of(data, [*SINGLE, *PAIRS], examples):
            truth = ts.perturb(observable, spacetime, landscape, start, order, update=update)
            formula = ts.derive(observable, spacetime, order, update=update)
            assert formula.evaluate(landscape, start) == truth, (observable, spacetime, update)

    run()


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("spacetime", [ts.SGD(B=2, E=1), ts.GD(N=3)], ids=repr)
def test_closed_forms_in_T(kind: str, spacetime: Any) -> None:
    update = rule(kind, beta, decay, None)
    for observable in (ts.TestLoss(), ts.TrainLoss(), ts.Displacement()):
        closed = ts.derive(observable, spacetime, 2, update=update)
        numbers = {"N": 6} if isinstance(spacetime, ts.SGD) else {"T": 4}
        concrete = ts.derive(observable, spacetime.substitute({N: 6, ts.symbols.T: 4}), 2, update=update)
        assert closed.subs(numbers) == concrete


def test_closed_form_of_third_order(landscapes) -> None:
    landscape = ts.FiniteLandscape([x**4 - x, x**2 / 2 + x**3], [Rational(1, 3), Rational(2, 3)], [x])
    update = ts.HeavyBall(Rational(1, 3))
    closed = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 3, update=update)
    truth = ts.perturb(ts.TestLoss(), ts.SGD(N=4, B=1, E=1), landscape, 1, 3, update=update)
    assert closed.evaluate(landscape, 1, N=4) == truth


def test_rules_that_coincide() -> None:
    spacetime = ts.SGD(N=3, B=1, E=2)
    plain = ts.derive(ts.TestLoss(), spacetime, 3)
    for update in (ts.HeavyBall(0), ts.Nesterov(0), ts.Nesterov(0, convention="sutskever"), ts.Descent([1] * 6)):
        assert ts.derive(ts.TestLoss(), spacetime, 3, update=update) == plain
    assert ts.derive(ts.TestLoss(), ts.SGD(), 3, update=ts.Descent()) == ts.derive(ts.TestLoss(), ts.SGD(), 3)
    polyak, torch = (ts.HeavyBall(beta, convention=name) for name in ("polyak", "torch"))
    formulas = [ts.derive(ts.TestLoss(), spacetime, 2, update=update) for update in (polyak, torch)]
    assert formulas[0] == formulas[1]
    rates = [1, 2, 3, 4, 5, 6]
    polyak, torch = (ts.HeavyBall(beta, rates, convention=name) for name in ("polyak", "torch"))
    formulas = [ts.derive(ts.TestLoss(), spacetime, 1, update=update) for update in (polyak, torch)]
    assert formulas[0] != formulas[1]


def test_second_order_updates_and_implicit_steps_part_at_third_order() -> None:
    for order, equal in ((2, True), (3, False)):
        second, implicit = (
            ts.derive(ts.TestLoss(), ts.GD(), order, update=update(beta))
            for update in (ts.SecondOrder, ts.ImplicitStep)
        )
        assert (second == implicit) is equal
    assert ts.derive(ts.TestLoss(), ts.GD(), 3, update=ts.SecondOrder(0)) == ts.derive(ts.TestLoss(), ts.GD(), 3)


def green(update: ts.Descent, start: int, end: int, rates: Sequence[sympy.Expr]) -> sympy.Expr:
    """What an edge into the root carries: r A_{end−1} … A_{start+1} b_start."""
    state = sympy.Matrix(update.memory(rates[start]).enter)
    for t in range(start + 1, end):
        state = sympy.Matrix(update.memory(rates[t]).carry) * state
    return (sympy.Matrix(update.memory(rates[start]).read_by_root).T * state)[0]


def test_an_edge_is_what_one_gradient_moves() -> None:
    """On slopes without curvature θ_T − θ_0 is linear in the gradients: the edges into the root."""
    rates = sympy.symbols("r0:3")
    slope = ts.FiniteLandscape([x], [1], [x])
    for kind in MEMORY:
        update = rule(kind, beta, decay, rates)
        moved = ts.perturb(ts.Displacement(), ts.GD(N=1, T=3), slope, 0, 1, update=update)
        edges = sum(green(update, t, 3, rates) for t in range(3))
        assert sympy.expand(moved[0] + ts.symbols.eta * edges) == 0


def test_errors() -> None:
    test, sgd = ts.TestLoss(), ts.SGD(N=2, B=1, E=1)
    for make, error, message in [
        (lambda: ts.HeavyBall(float("nan")), ValueError, "beta=nan must be finite"),
        (lambda: ts.HeavyBall("b"), TypeError, "beta='b' must be"),
        (lambda: ts.Descent(rates=[1, "0.5"]), TypeError, r"rates\[1\]='0.5'"),
        (lambda: ts.Nesterov(beta, convention="polyak"), ValueError, "convention='polyak' is unknown"),
        (lambda: ts.HeavyBall(beta, convention="torch", decay=decay), NotImplementedError, "supported is"),
        (lambda: ts.derive(test, sgd, 1, update=0.9), TypeError, "is not an update rule"),
        (lambda: ts.derive(test, sgd, 1, update=ts.Descent([1])), ValueError, "1 entries for 2 updates"),
        (lambda: ts.derive(test, ts.SGD(), 1, update=ts.HeavyBall(beta)), NotImplementedError, "supported are SGD"),
        (lambda: ts.derive(test, ts.ODE(), 1, update=ts.HeavyBall(beta)), NotImplementedError, "supported are"),
        (lambda: ts.derive(test, ts.SGD(shuffle=True), 1, update=ts.HeavyBall(beta)), NotImplementedError, "all sizes"),
        (lambda: ts.derive(test, ts.GD(), 1, update=ts.HeavyBall(1)), ValueError, "coincide"),
        (
            lambda: ts.derive(test, sgd, 1, update=ts.Nesterov(beta), resum="continuous"),
            ValueError,
            "takes no time in a flow",
        ),
        (
            lambda: ts.perturb(test, sgd, ts.FiniteLandscape([x], [1], [x]), 0, 1, update=3),
            TypeError,
            "must be a Descent",
        ),
    ]:
        with pytest.raises(error, match=message):
            make()
    assert ts.derive(test, ts.GD(N=2, T=3), 1, update=ts.HeavyBall(1))  # numbers need no closed form
