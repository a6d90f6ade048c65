r"""Descent on l + p, observed on l, against the same descent on every training set, as rationals.

Identities:
    (1) derive(s, S, d, penalty=p).evaluate = perturb(s, S, d, penalty=p) for random p, every observable, all
        dynamics and update rules, d ≤ 3
    (2) coupled weight decay w towards a is p = w|θ − a|²/2; on GD it multiplies what is beside the losses by 1 − ηw
    (3) it is descent on the losses l_x + p, on which l is the test loss less p
    (4) resummed, all tensors are those of l + p, and so is the H of K: (1) to its order, (3), measured as evaluated;
        on a quadratic loss and penalty it is exact in η
"""

from __future__ import annotations

from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from orders_of_eta import through
from sympy import Rational

import taylorsgd as ts
from taylorsgd.symbols import eta

x, y, w = sympy.symbols("x y w")
OBSERVABLES = [
    ts.TestLoss(),
    ts.TrainLoss(),
    ts.GeneralizationGap(),
    ts.Displacement(),
    ts.Observable(x**3 - x),
    ts.Variance(ts.TestLoss()),
    ts.Covariance(ts.TrainLoss(), ts.Displacement()),
]
DYNAMICS: list[tuple[Any, Any]] = [
    (ts.SGD(N=4, B=2, E=1), None),
    (ts.SGD(N=2, B=1, E=2), None),
    (ts.SGD(N=2, B=1, E=2, shuffle=True), None),
    (ts.Replacement(N=2, B=1, T=2), None),
    (ts.Grid([[1, 0, 1], [0, 1, 0]]), None),
    (ts.GD(N=2, T=2), ts.HeavyBall(Rational(1, 3))),
    (ts.GD(N=2, T=3), ts.Descent([1, 2, 1], decay=Rational(1, 4))),
    (ts.GD(N=2, T=2), ts.SecondOrder(2)),
    (ts.GD(N=2, T=2), ts.ImplicitStep()),
    (ts.GD(N=2, T=2), ts.GDC(1)),
    (ts.SDE(T=2, B=3), None),
    (ts.ODE(T=2), None),
]
ALL = ("test loss", "training loss", "gap", "displacement", "variance")


@pytest.mark.shows("coupled decay", ALL)
@pytest.mark.parametrize(("spacetime", "update"), DYNAMICS, ids=repr)
@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 3, 25), (2, 2, 1)])
def test_random_landscapes(
    landscapes, some_of, dimension: int, order: int, examples: int, spacetime: Any, update: Any
) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(dimension, order + 1, atoms=2))
        variables = [x, y][:dimension]
        center, bend = data.draw(st.integers(-2, 2)), data.draw(st.integers(0, 1))
        penalty = ts.Observable(sum((v - center) ** 2 / 6 for v in variables) + bend * sympy.prod(variables) ** 3, "p")
        possible = OBSERVABLES if spacetime.has_training_set else [OBSERVABLES[0], OBSERVABLES[3]]
        for observable in some_of(data, possible, examples):
            truth = ts.perturb(observable, spacetime, landscape, start, order, update=update, penalty=penalty)
            formula = ts.derive(observable, spacetime, order, update=update, penalty=penalty)
            assert formula.evaluate(landscape, start) == truth, observable

    run()


@pytest.mark.shows("coupled decay", ALL, resum="discrete")
@pytest.mark.parametrize(("spacetime", "update"), DYNAMICS[:6], ids=repr)
def test_resummed(landscapes, some_of, spacetime: Any, update: Any) -> None:
    @given(data=st.data())
    @settings(max_examples=5)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(1, 3, atoms=2))
        penalty = ts.Observable((x - data.draw(st.integers(-2, 2))) ** 2 / 6 + data.draw(st.integers(0, 1)) * x**3, "p")
        for observable in some_of(data, [*OBSERVABLES[:4], *OBSERVABLES[5:]], 5):
            truth = ts.perturb(observable, spacetime, landscape, start, 2, update=update, penalty=penalty)
            formula = ts.derive(observable, spacetime, 2, update=update, penalty=penalty, resum="discrete")
            found = formula.evaluate(landscape, start)
            assert sympy.expand(sympy.Matrix([truth])) == through(sympy.Matrix([found]), 2), observable

    run()


COIN = ts.FiniteLandscape([x**2 - x, x**2 / 2 + x * 3], [Rational(1, 3), Rational(2, 3)], [x])
RIDGE = ts.Observable((x - 2) ** 2 / 5, "p")
RIDGED = ts.FiniteLandscape([loss + (x - 2) ** 2 / 5 for loss in COIN.losses], COIN.weights, [x])


@pytest.mark.shows("coupled decay", ALL, resum="continuous")
@pytest.mark.parametrize("observable", [*OBSERVABLES[:4], *OBSERVABLES[5:]], ids=str)
@pytest.mark.parametrize("resum", ["discrete", "continuous"])
def test_resummed_it_is_descent_on_other_losses(resum: str, observable: Any) -> None:
    """A loss that is observed is that of l + p less p."""
    sizes = {"N": 5, "T": 3}

    def other(one: Any) -> Any:
        return ts.derive(one, ts.GD(), 2, resum=resum).evaluate(RIDGED, [1], eta=Rational(1, 7), **sizes)

    ridged = ts.derive(observable, ts.GD(), 2, resum=resum, penalty=RIDGE)
    if isinstance(observable, ts.Covariance):
        a, b = observable.a, observable.b
        without_b = [b] if b == ts.Displacement() else [b, RIDGE]
        signed = [(s, r, (-1) ** ((s is RIDGE) + (r is RIDGE))) for s in (a, RIDGE) for r in without_b]
        parts = [sign * sympy.Matrix([other(ts.Covariance(s, r))]) for s, r, sign in signed]
        expected = sum(parts[1:], start=parts[0])
    else:
        observes_loss = isinstance(observable, (ts.TestLoss, ts.TrainLoss))
        expected = sympy.Matrix([other(observable)]) - sympy.Matrix(
            [other(RIDGE) if observes_loss else 0 * other(observable)]
        )
    found = sympy.Matrix([ridged.evaluate(COIN, [1], eta=Rational(1, 7), **sizes)])
    assert (found - sympy.Matrix(expected)).applyfunc(sympy.simplify).is_zero_matrix


def test_resummed_it_is_exact_on_quadratics() -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(N=2, B=1, E=1), 2, resum="discrete", penalty=RIDGE)
    landscape = ts.FiniteLandscape([x**2 - x, x**2 + x * 3], COIN.weights, [x])
    truth = ts.perturb(ts.TestLoss(), ts.SGD(N=2, B=1, E=1), landscape, [1], 6, penalty=RIDGE)
    assert sympy.expand(formula.evaluate(landscape, [1]) - truth) == 0
    assert "l + p for l" in str(formula) and ts.Formula.from_json(formula.to_json()) == formula
    plain = ts.derive(ts.TestLoss(), ts.SGD(N=2, B=1, E=1), 2, resum="discrete")
    with pytest.raises(NotImplementedError, match="mixes tensors of l, l [+] p"):
        (formula - 2 * plain).evaluate(landscape, [1])


def test_resummed_it_is_measured() -> None:
    import jax
    import jax.numpy as jnp

    data, at = jnp.array([[1.0, -1.0], [0.5, 3.0], [0.5, 3.0]]), jnp.array([1.0])
    place = ts.Landscape(lambda theta, row: row[0] * theta[0] ** 2 + row[1] * theta[0], data)
    ridge = ts.Observable(lambda theta: (theta[0] - 2) ** 2 / 5, "p")
    formula = ts.derive(ts.TestLoss(), ts.GD(N=3, T=4), 2, resum="discrete", penalty=ridge)
    exact = float(formula.evaluate(COIN, [1], eta=Rational(1, 10)))
    with jax.enable_x64(True):
        for method in (ts.Dense(), ts.TopEigenpairs(1)):
            found = ts.predict(formula, place, at, eta=0.1, method=method, key=jax.random.key(0))
            assert float(found.mean) == pytest.approx(exact, rel=1e-5)


@pytest.mark.shows("coupled decay", "displacement")
def test_coupled_decay_of_gradient_descent() -> None:
    """On l_x = x·θ descent with decay towards a contracts towards a, step by step."""
    a = Rational(3, 2)
    slopes = ts.FiniteLandscape([2 * x, -x], [Rational(1, 2)] * 2, [x])
    penalty = ts.Observable(w * (x - a) ** 2 / 2, "p")
    formula = ts.derive(ts.Displacement(), ts.GD(), 3, penalty=penalty)
    for steps in (1, 2, 4):
        place = sympy.Integer(1)
        for _ in range(steps):
            place = place - eta * (Rational(1, 2) + w * (place - a))
        exact = sympy.Poly(sympy.expand(place - 1), eta)
        through = sum(c * eta**k for (k,), c in exact.terms() if k <= 3)
        assert sympy.expand(formula.evaluate(slopes, 1, N=2, T=steps)[0] - through) == 0


def test_it_is_descent_on_other_losses() -> None:
    landscape = ts.FiniteLandscape([x**4 - x, x**2 / 2 + x**3], [Rational(1, 3), Rational(2, 3)], [x])
    p = (x - 2) ** 2 / 5
    penalty = ts.Observable(p, "p")
    other = ts.FiniteLandscape([loss + p for loss in landscape.losses], landscape.weights, [x])
    for loss in (ts.TestLoss(), ts.TrainLoss()):
        formula = ts.derive(loss, ts.SGD(), 3, penalty=penalty)
        plain = ts.derive(loss, ts.SGD(), 3) - ts.derive(penalty, ts.SGD(), 3)
        sizes = {"N": 4, "B": 2, "E": 3}
        assert formula.evaluate(landscape, 1, **sizes) == plain.evaluate(other, 1, **sizes)
    assert ts.Formula.from_json(formula.to_json()) == formula
    assert ts.derive(loss, ts.SGD(), 3, penalty=ts.Observable(0, "p")).evaluate(landscape, 1, **sizes) == (
        ts.derive(loss, ts.SGD(), 3).evaluate(landscape, 1, **sizes)
    )


def test_errors() -> None:
    loss, p = ts.TestLoss(), ts.Observable(x**2, "p")
    coin = ts.FiniteLandscape([x, x**2], [Rational(1, 2)] * 2, [x])
    for make, error, message in [
        (lambda: ts.derive(loss, ts.GD(), 1, penalty=x), TypeError, "penalty=x must be an Observable"),
        (lambda: ts.perturb(loss, ts.GD(1, 1), coin, 0, 1, penalty=x), TypeError, "must be an Observable"),
        (lambda: ts.derive(ts.Observable(x, "p"), ts.GD(), 1, penalty=p), ValueError, "share the name 'p'"),
        (lambda: ts.derive(loss, ts.GD(), 1, penalty=x, resum="discrete"), TypeError, "penalty=x must be an Observ"),
        (lambda: ts.derive(loss, ts.Replacement(data="fixed"), 1, penalty=p), NotImplementedError, "data='fresh'"),
    ]:
        with pytest.raises(error, match=message):
            make()
