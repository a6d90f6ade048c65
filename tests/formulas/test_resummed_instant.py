r"""Resummed formulas of rules with instant edges, K = 1 − ηHR with R = (1 + ηλH)⁻¹.

Identities:
    (1) through order d they agree with perturb on random finite landscapes
    (2) on quadratics with additive noise they are exact in η
    (3) T → ∞ there: the covariance of θ solves Σ = KΣK + η² R C R
    (4) λ = 0 is plain descent, and so is the rule of GDC where gradients do not fluctuate with θ
"""

from __future__ import annotations

from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from orders_of_eta import through
from sympy import Matrix, Rational, eye

import taylorsgd as ts
from taylorsgd.diagrams.symmetry import symmetries
from taylorsgd.timesums.order_sums import OrderSum

x, y = sympy.symbols("x y")
SINGLE = [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement()]
PAIRS = [ts.Variance(ts.TestLoss()), ts.Covariance(ts.TrainLoss(), ts.Displacement())]
ALL = ("test loss", "training loss", "gap", "displacement", "variance")
RULES = [ts.SecondOrder(Rational(1, 3)), ts.ImplicitStep(Rational(1, 2))]
RUNS = [
    ts.GD(N=2, T=3),
    ts.SGD(N=2, B=1, E=1),
    ts.SGD(N=4, B=2, E=1),
    ts.SGD(N=2, B=1, E=2),
    ts.SGD(N=2, B=1, E=2, shuffle=True),
    ts.Replacement(N=2, B=2, T=2),
    ts.SGD(N=2, B=1, E=2, shuffle=True, data="fixed"),
    ts.Replacement(N=2, B=1, T=2, data="fixed"),
]
SIZES = {"N": 2, "B": 1, "E": 2}


@pytest.mark.shows("SecondOrder", ALL, resum="discrete")
@pytest.mark.shows("ImplicitStep", ALL, resum="discrete")
@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 2, 25), (2, 2, 2)])
def test_curvature_of_the_batch(landscapes, some_of, dimension: int, order: int, examples: int) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        spacetime = data.draw(st.sampled_from(RUNS))
        fixed = getattr(spacetime, "data", "fresh") == "fixed"
        landscape, start = data.draw(landscapes(dimension, order + 1, atoms=2))
        if fixed:  # its points are the training set
            landscape = ts.FiniteLandscape(landscape.losses, [Rational(1, 2)] * 2, landscape.variables)
        rule = data.draw(st.sampled_from(RULES))
        epochs = isinstance(spacetime, ts.SGD) and spacetime.E == 2
        free = ts.SGD(shuffle=spacetime.shuffle, data=spacetime.data) if epochs else spacetime
        for observable in [*some_of(data, SINGLE, examples), data.draw(st.sampled_from(PAIRS))]:
            truth = ts.perturb(observable, spacetime, landscape, start, order, update=rule)
            for where, sizes in ((spacetime, {}), *([(free, SIZES)] if epochs else [])):
                formula = ts.derive(observable, where, order, resum="discrete", update=rule)
                assert through(formula.evaluate(landscape, start, **sizes), order) == truth

    run()


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_powers_of_shrinking_on_edges_to_inner_nodes(rule: Any) -> None:
    """They show at third order: in a node that is tied or branches, and that an edge enters from the past."""
    landscape = ts.FiniteLandscape([x**4 - 2 * x, 2 * x**2 + x**3 - x], [Rational(1, 3), Rational(2, 3)], [x])
    for spacetime, observable in (
        (ts.GD(N=2, T=2), ts.TestLoss()),
        (ts.SGD(N=3, B=1, E=1), ts.Displacement()),
        (ts.SGD(N=2, B=1, E=2), ts.TestLoss()),
        (ts.SGD(N=2, B=1, E=2, shuffle=True), ts.Displacement()),
    ):
        epochs = isinstance(spacetime, ts.SGD) and spacetime.E == 2
        free, sizes = (ts.SGD(shuffle=spacetime.shuffle), SIZES) if epochs else (spacetime, {})
        formula = ts.derive(observable, free, 3, resum="discrete", update=rule)
        truth = ts.perturb(observable, spacetime, landscape, [1], 3, update=rule)
        assert through(formula.evaluate(landscape, [1], **sizes), 3) == truth


@pytest.mark.shows("GDC", ALL, resum="discrete")
@pytest.mark.parametrize(("order", "examples"), [(2, 25), (3, 3)])
def test_penalized_noise(landscapes, some_of, order: int, examples: int) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(1, order + 1, atoms=2))
        spacetime = data.draw(st.sampled_from([ts.GD(N=2, T=2), ts.GD(N=3, T=2), ts.GD(N=2, T=3)]))
        for observable in [*some_of(data, SINGLE, examples), PAIRS[0]]:
            formula = ts.derive(observable, spacetime, order, resum="discrete", update=ts.GDC(1))
            truth = ts.perturb(observable, spacetime, landscape, start, order, update=ts.GDC(1))
            assert through(formula.evaluate(landscape, start), order) == truth

    run()


HESSIAN = Matrix([[2, Rational(1, 2)], [Rational(1, 2), 1]])
NOISES = [Matrix([1, 2]), Matrix([-1, 1]), Matrix([0, -3])]
QUADRATIC = ts.FiniteLandscape(
    [(Matrix([x, y]).T * HESSIAN * Matrix([x, y]))[0] / 2 + noise.dot(Matrix([x, y])) for noise in NOISES],
    [Rational(1, 3)] * 3,
    [x, y],
)


@pytest.mark.parametrize("rule", [*RULES, ts.SecondOrder(-1)], ids=repr)
@pytest.mark.parametrize("observable", [ts.TestLoss(), ts.SecondMoment(SINGLE[3], SINGLE[3])], ids=str)
def test_exact_on_quadratics_with_additive_noise(observable: Any, rule: Any) -> None:
    formula = ts.derive(observable, ts.SGD(N=2, B=1, E=1), 2, resum="discrete", update=rule)
    truth = ts.perturb(observable, ts.SGD(N=2, B=1, E=1), QUADRATIC, [1, -2], 7, update=rule)
    assert through(formula.evaluate(QUADRATIC, [1, -2]), 7) == truth


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_the_limit_solves_its_equation(rule: Any) -> None:
    pair = ts.SecondMoment(ts.Displacement(), ts.Displacement())
    formula = ts.derive(pair, ts.SGD(B=1, E=1), 2, resum="discrete", update=rule).assume("minimum").limit()
    rate = Rational(1, 5)
    covariance = formula.evaluate(QUADRATIC, [0, 0], eta=rate)
    shrunk = (eye(2) + rate * rule.lam * HESSIAN).inv()
    damped = eye(2) - rate * HESSIAN * shrunk
    noise = sum((g * g.T for g in NOISES), start=sympy.zeros(2)) / 3
    assert covariance == (damped * covariance * damped + rate**2 * shrunk * noise * shrunk).applyfunc(sympy.nsimplify)
    (term,) = [term for term in formula.terms if term.coefficient != 0]
    step = sympy.Symbol("s")
    expected = 1 / ((1 + rule.lam * step) ** 2 * (1 - (1 - step / (1 + rule.lam * step)) ** 2))
    assert sympy.simplify(term.value.closed_sum([step, step]) - expected) == 0


def test_many_epochs_in_one_order() -> None:
    """θ = −η (1 − K^n)^{−1} Σ_b K^{n−1−b} R g_b, with g_b the mean of batch b."""
    rule, rate, n = RULES[0], Rational(1, 5), 2
    pair = ts.SecondMoment(ts.Displacement(), ts.Displacement())
    limit = ts.derive(pair, ts.SGD(), 2, resum="discrete", update=rule).assume("minimum").limit()
    shrunk = (eye(2) + rate * rule.lam * HESSIAN).inv()
    damped = eye(2) - rate * HESSIAN * shrunk
    noise, settled = sum((g * g.T for g in NOISES), start=sympy.zeros(2)) / 3, (eye(2) - damped**n).inv()
    passed = [settled * damped ** (n - 1 - b) * shrunk for b in range(n)]
    expected = rate**2 * sum((p * noise * p.T for p in passed), start=sympy.zeros(2))
    assert limit.evaluate(QUADRATIC, [0, 0], eta=rate, N=n, B=1) == expected


def test_values_that_a_symmetry_exchanges_are_one() -> None:
    """Two leaves tied to each other: which of the two edges is dressed once more makes no difference."""
    for spacetime in (ts.GD(), ts.SGD(), ts.SGD(N=2, B=1, E=2), ts.SGD(shuffle=True, data="fixed")):
        formula = ts.derive(ts.TestLoss(), spacetime, 3, resum="discrete", update=RULES[0])
        values = [value for value in formula.values if value.is_resummed]
        for value in values:
            alike = set()
            for image in symmetries(value.diagram.parents, value.diagram.parts):
                place = [value.diagram.inner_nodes.index(image[node]) for node in value.diagram.inner_nodes]
                alike.add((frozenset(image[v] for v in value.instant), tuple(value.powers[e] for e in place)))
            found = [
                other for other in values
                if other.diagram == value.diagram and (other.instant, other.powers) in alike
                and not isinstance(other.times, OrderSum)
            ]  # fmt: skip
            assert len(found) <= 1, found


def test_without_curvature_it_is_descent() -> None:
    plain = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum="discrete")
    for rule in (ts.SecondOrder(0), ts.ImplicitStep(0)):
        same = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum="discrete", update=rule)
        assert same.evaluate(QUADRATIC, [1, 1], N=4) == plain.evaluate(QUADRATIC, [1, 1], N=4)
    imitating = ts.derive(ts.TestLoss(), ts.GD(N=3, T=2), 2, resum="discrete", update=ts.GDC(1))
    gd = ts.derive(ts.TestLoss(), ts.GD(N=3, T=2), 2, resum="discrete")
    assert imitating.evaluate(QUADRATIC, [1, 1]) == gd.evaluate(QUADRATIC, [1, 1])


def test_json() -> None:
    for spacetime in (ts.GD(), ts.SGD(), ts.SGD(N=2, B=1, E=2)):
        formula = ts.derive(ts.TestLoss(), spacetime, 3, resum="discrete", update=RULES[0])
        again = ts.Formula.from_json(formula.to_json())
        assert again == formula and any(value.instant for value in again.values if value.is_resummed)
