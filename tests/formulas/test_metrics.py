r"""Matrix learning rates ηΛ, against the same descent on every training set and against other coordinates.

Identities:
    (1) derive(s, S, d).evaluate(metric=Λ) = perturb(s, S, d, metric=Λ) for random Λ, every observable, all dynamics
        and update rules, d ≤ 3
    (2) resummed, K = I − ηΛH: exact in T and η on quadratics with additive noise; continuous through η²
    (3) with θ = Aφ and Λ = AAᵀ it is descent in φ: scalars are those of the losses l_x(Aφ), T → ∞ included
"""

from __future__ import annotations

from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Matrix, Rational

import taylorsgd as ts
from taylorsgd.symbols import eta

x, y = sympy.symbols("x y")
OBSERVABLES = [
    ts.TestLoss(),
    ts.TrainLoss(),
    ts.GeneralizationGap(),
    ts.Displacement(),
    ts.Variance(ts.Displacement()),
    ts.Covariance(ts.TrainLoss(), ts.Displacement()),
]
DYNAMICS: list[tuple[Any, Any]] = [
    (ts.SGD(N=4, B=2, E=1), None),
    (ts.SGD(N=2, B=1, E=2, shuffle=True), None),
    (ts.Replacement(N=2, B=1, T=2), None),
    (ts.GD(N=2, T=2), ts.HeavyBall(Rational(1, 3))),
    (ts.GD(N=2, T=2), ts.SecondOrder(2)),
    (ts.GD(N=2, T=2), ts.GDC(1)),
    (ts.SDE(T=2, B=3), None),
    (ts.ODE(T=2), None),
]
ALL = ("test loss", "training loss", "gap", "displacement", "variance")
MATRICES = [[[2, 1], [1, 3]], [[1, 0], [0, 5]], [[Rational(1, 2), -1], [-1, 4]]]


@pytest.mark.shows("metric", ALL)
@pytest.mark.parametrize(("spacetime", "update"), DYNAMICS, ids=repr)
@pytest.mark.parametrize(("order", "examples"), [(2, 25), (3, 1)])
def test_random_landscapes(landscapes, some_of, order: int, examples: int, spacetime: Any, update: Any) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(2, order + 1, atoms=2))
        metric = data.draw(st.sampled_from(MATRICES))
        possible = OBSERVABLES if spacetime.has_training_set else [OBSERVABLES[0], OBSERVABLES[3]]
        for observable in some_of(data, possible, examples):
            truth = ts.perturb(observable, spacetime, landscape, start, order, update=update, metric=metric)
            formula = ts.derive(observable, spacetime, order, update=update)
            assert formula.evaluate(landscape, start, metric=metric) == truth, observable

    run()


NOISES = [x - 2 * y, y - 2 * x, x + y]
QUADRATIC = ts.FiniteLandscape([x**2 + y**2 / 2 + x * y / 2 + noise for noise in NOISES], [Rational(1, 3)] * 3, [x, y])


@pytest.mark.shows("metric", ALL, resum="discrete")
@pytest.mark.parametrize("update", [None, ts.HeavyBall(Rational(1, 3))], ids=repr)
def test_exact_on_quadratics(update: Any) -> None:
    for observable in OBSERVABLES[:5]:
        formula = ts.derive(observable, ts.GD(N=2, T=2), 2, resum="discrete", update=update)
        truth = ts.perturb(observable, ts.GD(N=2, T=2), QUADRATIC, [1, -1], 4, update=update, metric=MATRICES[0])
        found = formula.evaluate(QUADRATIC, [1, -1], metric=MATRICES[0])
        assert Matrix([found - truth]).expand().is_zero_matrix


@pytest.mark.parametrize("update", [None, ts.Nesterov(Rational(1, 3), convention="sutskever")], ids=repr)
def test_exact_over_several_epochs(update: Any) -> None:
    """Here K = I − ηHΛ is not symmetric."""
    for observable in OBSERVABLES[:5]:
        formula = ts.derive(observable, ts.SGD(), 2, resum="discrete", update=update)
        truth = ts.perturb(observable, ts.SGD(N=2, B=1, E=2), QUADRATIC, [1, -1], 8, update=update, metric=MATRICES[0])
        found = formula.evaluate(QUADRATIC, [1, -1], metric=MATRICES[0], N=2, B=1, E=2)
        assert Matrix([found - truth]).expand().is_zero_matrix


@pytest.mark.shows("metric", "test loss", resum="continuous")
def test_continuous() -> None:
    losses = [x**2 + y**2 / 2 + x * x * y - x + 2 * y, x**2 + 3 * y**2 / 2 - x * y * y + 2 * x - 2 * y]
    landscape, spacetime = ts.FiniteLandscape(losses, [Rational(1, 2)] * 2, [x, y]), ts.SDE(T=2, B=1)
    metric = [[2, 1], [1, 2]]  # HΛ has eigenvalues that are rational
    formula = ts.derive(ts.TestLoss(), spacetime, 2, resum="continuous")
    found = sympy.series(formula.evaluate(landscape, [0, 0], metric=metric), eta, 0, 3).removeO()
    truth = ts.perturb(ts.TestLoss(), spacetime, landscape, [0, 0], 2, metric=metric)
    assert sympy.simplify(found - truth) == 0


def test_other_coordinates() -> None:
    a = Matrix([[2, 1], [0, 3]])
    metric = a * a.T
    u, v = a * Matrix([x, y])
    turned = ts.FiniteLandscape(
        [loss.subs({x: u, y: v}, simultaneous=True).expand() for loss in QUADRATIC.losses], QUADRATIC.weights, [x, y]
    )
    for method in ("discrete", "continuous"):
        formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum=method).assume("minimum").limit()
        rate = Rational(1, 40)
        assert formula.evaluate(QUADRATIC, [0, 0], rate, metric) == formula.evaluate(turned, [0, 0], rate)
    with pytest.raises(ValueError, match="at or beyond 2/eta"):
        ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum="discrete").assume("minimum").limit().evaluate(
            QUADRATIC, [0, 0], Rational(1, 5), metric
        )


def test_the_metric_of_an_update_rule() -> None:
    """`Descent(metric=Λ)` is the same as giving Λ to `evaluate` and `perturb`."""
    rule, spacetime = ts.Descent(rates=[1, 2], metric=MATRICES[0]), ts.GD(N=2, T=2)
    formula = ts.derive(ts.TestLoss(), spacetime, 3, update=rule)
    plain = ts.derive(ts.TestLoss(), spacetime, 3, update=ts.Descent(rates=[1, 2]))
    found = formula.evaluate(QUADRATIC, [1, -1])
    assert found == plain.evaluate(QUADRATIC, [1, -1], metric=MATRICES[0])
    assert found != plain.evaluate(QUADRATIC, [1, -1])
    assert found == ts.perturb(ts.TestLoss(), spacetime, QUADRATIC, [1, -1], 3, update=rule)
    assert formula != plain and ts.Formula.from_json(formula.to_json()) == formula
    parts = formula[0] + formula[1] + formula[2] + formula[3]
    assert parts.assume("minimum").subs().metric == Matrix(MATRICES[0])
    resummed = ts.derive(ts.TestLoss(), spacetime, 1, resum="discrete", update=ts.Descent(metric=MATRICES[0]))
    assert resummed.evaluate(QUADRATIC, [1, -1]) == ts.derive(ts.TestLoss(), spacetime, 1, resum="discrete").evaluate(
        QUADRATIC, [1, -1], metric=MATRICES[0]
    )
    with pytest.raises(ValueError, match="have the matrix learning rates"):
        _ = formula + plain
    with pytest.raises(ValueError, match="leave one of them out"):
        formula.evaluate(QUADRATIC, [1, -1], metric=MATRICES[0])
    with pytest.raises(ValueError, match="leave one of them out"):
        ts.perturb(ts.TestLoss(), spacetime, QUADRATIC, [1, -1], 1, update=rule, metric=MATRICES[0])
    with pytest.raises(ValueError, match="not symmetric"):
        ts.Descent(metric=[[1, 2], [0, 1]])


def test_metrics_that_are_not_positive() -> None:
    """Uphill in one direction: a game of two players, or a saddle turned into a valley."""
    for metric in ([[1, 2], [2, 1]], [[1, 0], [0, -1]], [[0, 0], [0, 0]]):
        rule, spacetime = ts.Descent(metric=metric), ts.SGD(N=2, B=1, E=2)
        for observable in (ts.TestLoss(), ts.GeneralizationGap(), ts.Displacement()):
            truth = ts.perturb(observable, spacetime, QUADRATIC, [1, -1], 3, update=rule)
            assert ts.derive(observable, spacetime, 3, update=rule).evaluate(QUADRATIC, [1, -1]) == truth
            resummed = ts.derive(observable, spacetime, 2, resum="discrete", update=rule).evaluate(QUADRATIC, [1, -1])
            difference = sympy.Matrix([resummed]) - sympy.Matrix([truth])
            assert all(sympy.expand(entry).coeff(eta, k) == 0 for entry in difference for k in range(3))


def test_metrics_that_are_functions_are_measured_only() -> None:
    formula = ts.derive(ts.TestLoss(), ts.GD(N=2, T=2), 2, update=ts.Descent(metric=lambda v: v))
    with pytest.raises(TypeError, match="is no matrix of numbers"):
        formula.evaluate(QUADRATIC, [1, -1])
    with pytest.raises(TypeError, match="which JSON can't hold"):
        formula.to_json()
    with pytest.raises(NotImplementedError, match="no source here"):
        formula.to_python()


def test_errors() -> None:
    formula = ts.derive(ts.TestLoss(), ts.GD(N=2, T=2), 1)
    for metric, error, message in [
        ([[1, 0]], ValueError, "must be P x P, here"),
        ([[1, 2], [0, 1]], ValueError, "not symmetric"),
        ([[1, 0.5], [0.5, 1]], TypeError, r"metric\[0\]\[1\]=0.5 is not exact"),
        ("Λ", TypeError, "is no matrix"),
    ]:
        with pytest.raises(error, match=message):
            formula.evaluate(QUADRATIC, [0, 0], metric=metric)
        with pytest.raises(error, match=message):
            ts.perturb(ts.TestLoss(), ts.GD(N=2, T=2), QUADRATIC, [0, 0], 1, metric=metric)
