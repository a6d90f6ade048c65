r"""Formulas of vector fields against the updates themselves, on every training set of random finite fields.

The rule: θ ← θ + η u_x(θ) is descent on −p·u_x(θ) in doubled space at p = 0, with the metric that swaps θ and p. So
every formula holds as it stands. `perturb` knows nothing of that: it adds η u.

Identities, exact:
    (1) derive(s, S, d).evaluate(field) = perturb(s, S, field, d) for s the displacement, any Observable and the moments
        of two; S one epoch, several, reshuffled, GD, Replacement, fixed data, any grid, SDE and ODE; d ≤ 3; 1 to 3
        variables
    (2) the same under every update rule
    (3) resummed formulas through their order, and exactly on linear fields with additive noise
    (4) the lift by hand, −p·u as a FiniteLandscape, gives the same with the metric that swaps θ and p
    (5) of u = −Λ∇l the same as descent on l with the metric Λ
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from orders_of_eta import through
from sympy import Rational

import taylorsgd as ts
from taylorsgd.symbols import eta

VARIABLES = x, y, z = sympy.symbols("x y z")
HALF, THIRD = Rational(1, 2), Rational(1, 3)
SPACETIMES = [
    ts.SGD(N=3, B=1, E=1),
    ts.SGD(N=2, B=1, E=2),
    ts.SGD(N=2, B=1, E=2, shuffle=True),
    ts.SGD(N=4, B=2, E=1),
    ts.GD(N=2, T=3),
    ts.Replacement(N=2, B=1, T=2),
    ts.Grid([[1, 0, 1], [0, 1, 0]]),
    ts.SDE(T=2, B=1),
    ts.ODE(T=3),
]
RULES = [
    ts.HeavyBall(THIRD),
    ts.HeavyBall(HALF, rates=[1, 2, 1]),
    ts.Nesterov(THIRD),
    ts.Nesterov(HALF, convention="sutskever"),
    ts.Descent([1, 2, 1], decay=Rational(1, 4)),
    ts.SecondOrder(2),
    ts.ImplicitStep(HALF),
    ts.GDC(1),
]
SCALARS = {1: x**3 - x, 2: x**2 * y - y + x, 3: x * y * z + z**2 - x}


@cache
def derived(observable: Any, spacetime: Any, order: int, update: Any = None, resum: str | None = None) -> ts.Formula:
    return ts.derive(observable, spacetime, order, update=update, resum=resum)


def observables(dimension: int) -> list[Any]:
    seen, moved = ts.Observable(SCALARS[dimension]), ts.Displacement()
    return [seen, moved, ts.Covariance(seen, moved), ts.SecondMoment(moved, moved), ts.Variance(seen)]


def entries(found: Any) -> list[Any]:
    return list(found) if hasattr(found, "shape") else [found]


@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 3, 6), (2, 2, 10), (2, 3, 3), (3, 2, 3), (3, 3, 1)])
def test_random_fields(fields: Any, dimension: int, order: int, examples: int) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        field, start = data.draw(fields(dimension, min(order, 2)))
        for observable in observables(dimension)[:2]:
            for spacetime in SPACETIMES:
                truth = ts.perturb(observable, spacetime, field, start, order)
                assert derived(observable, spacetime, order).evaluate(field, start) == truth, (observable, spacetime)
        pair = data.draw(st.sampled_from(observables(dimension)[2:]))
        spacetime = data.draw(st.sampled_from(SPACETIMES))
        truth = ts.perturb(pair, spacetime, field, start, order)
        assert derived(pair, spacetime, order).evaluate(field, start) == truth, (pair, spacetime)

    run()


@given(data=st.data())
@settings(max_examples=4)
def test_update_rules(fields: Any, data: st.DataObject) -> None:
    dimension = data.draw(st.sampled_from([1, 2]))
    field, start = data.draw(fields(dimension, 2))
    metric = [[0, 2], [2, -1]][:dimension] if dimension > 1 else [[-2]]
    for rule in [*RULES, ts.Descent(metric=metric)]:
        spacetime = ts.GD(N=2, T=3) if isinstance(rule, ts.GDC) else ts.SGD(N=3, B=1, E=1)
        observable = data.draw(st.sampled_from(observables(dimension)[:3]))
        truth = ts.perturb(observable, spacetime, field, start, 3, update=rule)
        assert derived(observable, spacetime, 3, rule).evaluate(field, start) == truth, (observable, rule)


@given(data=st.data())
@settings(max_examples=3)
def test_fixed_data(fields: Any, data: st.DataObject) -> None:
    """The fields are the training set, and only the order is random."""
    field, start = data.draw(fields(2, 2))
    whole = ts.FiniteField(field.fields, [HALF, HALF], field.variables)
    for spacetime in (ts.SGD(N=2, B=1, E=2, shuffle=True, data="fixed"), ts.Replacement(N=2, B=1, T=3, data="fixed")):
        for observable in observables(2)[:3]:
            truth = ts.perturb(observable, spacetime, whole, start, 3)
            assert derived(observable, spacetime, 3).evaluate(whole, start) == truth


@given(data=st.data())
@settings(max_examples=3)
def test_resummed_through_its_order(fields: Any, data: st.DataObject) -> None:
    field, start = data.draw(fields(2, 2))
    metric = ts.Descent(metric=[[1, 2], [2, -1]])
    for spacetime, rule in [
        (ts.SGD(N=2, B=1, E=2), None),
        (ts.GD(N=2, T=3), ts.HeavyBall(THIRD)),
        (ts.SGD(N=3, B=1, E=1), metric),
    ]:
        for observable in (observables(2)[1], observables(2)[3]):
            found = derived(observable, spacetime, 2, rule, "discrete").evaluate(field, start)
            assert through(found, 2) == ts.perturb(observable, spacetime, field, start, 2, update=rule)


def test_resummed_is_exact_on_linear_fields() -> None:
    """With additive noise, whatever the matrix: here one with complex eigenvalues, and one without eigenvectors."""
    radius = ts.Observable(x**2 + y**2 - x * y)
    for a, b, c, d in [(-1, -2, 1, -1), (0, 1, 0, 0)]:
        linear = [a * x + b * y, c * x + d * y]
        field = ts.FiniteField([[linear[0] + 1, linear[1] + 2], [linear[0] - 3, linear[1]]], [HALF, HALF], [x, y])
        for spacetime in (ts.SGD(N=3, B=1, E=1), ts.GD(N=2, T=3)):
            found = derived(radius, spacetime, 2, resum="discrete").evaluate(field, [1, 2])
            assert sympy.expand(found - ts.perturb(radius, spacetime, field, [1, 2], 8)) == 0


def test_limits_and_flows_of_linear_fields() -> None:
    """θ ← Kθ + ηξ comes to rest where V = KVKᵀ + η²C: solved here as linear equations."""
    field = ts.FiniteField([[-x - 2 * y + 1, x - y], [-x - 2 * y - 1, x - y]], [HALF, HALF], [x, y])
    rate = Rational(1, 5)
    formula = derived(ts.SecondMoment(ts.Displacement(), ts.Displacement()), ts.SGD(B=1, E=1), 2, resum="discrete")
    found = formula.assume("minimum").limit().evaluate(field, [0, 0], rate)
    jacobian, noise = sympy.Matrix([[-1, -2], [1, -1]]), sympy.Matrix([[1, 0], [0, 0]])
    kept = sympy.eye(2) + rate * jacobian
    assert (kept * found * kept.T + rate**2 * noise - found).is_zero_matrix
    with pytest.raises(ValueError, match=r"an influence grows by 1\.\d+ in an update"):
        formula.assume("minimum").limit().evaluate(field, [0, 0], 1)
    upward = ts.FiniteField([[x + y, 2 * y]], [1], [x, y])
    with pytest.raises(ValueError, match="no minimum"):
        formula.assume("minimum").limit().evaluate(upward, [0, 0], rate)
    shear = ts.FiniteField([[-x + y + 1, -2 * y + 1]], [1], [x, y])
    flow = derived(ts.Displacement(), ts.ODE(T=2), 2, resum="continuous").evaluate(shear, [0, 0])
    truth = ts.perturb(ts.Displacement(), ts.ODE(T=2), shear, [0, 0], 6)
    assert [sympy.series(entry, eta, 0, 7).removeO().expand() for entry in flow] == list(truth)


@given(data=st.data())
@settings(max_examples=3)
def test_the_lift_by_hand(fields: Any, data: st.DataObject) -> None:
    field, start = data.draw(fields(2, 2))
    p = sympy.symbols("p:2")
    losses = [-sum(a * b for a, b in zip(p, one, strict=True)) for one in field.fields]
    lifted = ts.FiniteLandscape(losses, field.weights, [x, y, *p])
    swap = sympy.Matrix(4, 4, lambda i, j: int(abs(i - j) == 2)).tolist()
    formula = derived(observables(2)[0], ts.SGD(N=2, B=1, E=2), 3)
    assert formula.evaluate(field, start) == formula.evaluate(lifted, [*start, 0, 0], metric=swap)
    truth = ts.perturb(ts.Displacement(), ts.GD(N=2, T=2), lifted, [*start, 0, 0], 2, metric=swap)
    assert list(truth) == [*ts.perturb(ts.Displacement(), ts.GD(N=2, T=2), field, start, 2), 0, 0]


@given(data=st.data())
@settings(max_examples=3)
def test_descent_is_a_field(landscapes: Any, data: st.DataObject) -> None:
    landscape, start = data.draw(landscapes(2, 3))
    metric = sympy.Matrix([[1, 2], [2, -1]])  # up a slope as well as down
    slopes = [metric * sympy.Matrix([loss.diff(v) for v in (x, y)]) for loss in landscape.losses]
    field = ts.FiniteField([list(-slope) for slope in slopes], landscape.weights, [x, y])
    for observable in observables(2)[:3]:
        formula = derived(observable, ts.SGD(N=2, B=1, E=2), 3)
        found = formula.evaluate(landscape, start, metric=metric.tolist())
        assert found == formula.evaluate(field, start)
        assert found == ts.perturb(observable, ts.SGD(N=2, B=1, E=2), landscape, start, 3, metric=metric.tolist())


FIELD = ts.FiniteField([[y, -x], [x * y, 1]], [HALF, HALF], [x, y])


@pytest.mark.parametrize("observable", [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap()])
def test_a_field_has_no_loss(observable: Any) -> None:
    for wrapped in (observable, ts.Variance(observable), ts.Covariance(ts.Displacement(), observable)):
        for resum in (None, "discrete"):
            with pytest.raises(ValueError, match="is of a loss, and a vector field has none"):
                derived(wrapped, ts.SGD(N=2, B=1, E=1), 2, resum=resum).evaluate(FIELD, [1, 2])
        with pytest.raises(ValueError, match="is of a loss, and the field .* has none"):
            ts.perturb(wrapped, ts.SGD(N=2, B=1, E=1), FIELD, [1, 2], 1)


def test_a_field_takes_no_penalty() -> None:
    penalty = ts.Observable(x**2 / 2, name="p")
    formula = ts.derive(ts.Displacement(), ts.GD(N=2, T=1), 2, penalty=penalty)
    with pytest.raises(ValueError, match="is of a penalty"):
        formula.evaluate(FIELD, [1, 2])
    with pytest.raises(ValueError, match="add its −∇p to the field"):
        ts.perturb(ts.Displacement(), ts.GD(N=2, T=1), FIELD, [1, 2], 2, penalty=penalty)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[y]], [1], [x, y]), ValueError, r"fields\[0\]=\[y\] has 1 entries; give 2"),
        (([y, x], [1], [x, y]), TypeError, r"fields\[0\]=y must be"),
        (([], [1], [x, y]), ValueError, "fields"),
        (([[y, "x"]], [1], [x, y]), TypeError, r"fields\[0\]\[1\]='x' must be"),
        (([[y, sympy.oo]], [1], [x, y]), ValueError, r"fields\[0\]\[1\]"),
        (([[y, x]], [HALF, HALF], [x, y]), ValueError, "2 entries for 1 fields"),
        (([[y, x]], [HALF], [x, y]), ValueError, "must sum to 1"),
    ],
)
def test_bad_fields(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ts.FiniteField(*arguments)


def test_a_field_that_is_not_smooth() -> None:
    kinked = ts.FiniteField([[abs(x) * y, 1 / x]], [1], [x, y])
    formula = derived(ts.Displacement(), ts.GD(N=1, T=2), 2)
    beside = ts.FiniteField([[-x * y, 1 / x]], [1], [x, y])
    assert formula.evaluate(kinked, [-1, 2]) == ts.perturb(ts.Displacement(), ts.GD(N=1, T=2), beside, [-1, 2], 2)
    with pytest.raises(ValueError, match=r"fields\[0\]\[[01]\]"):
        formula.evaluate(kinked, [0, 1])
