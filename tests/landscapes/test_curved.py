r"""Steps along geodesics: they know no coordinates, and on a sphere they go along great circles.

(1) the exponential map of a sphere and of a hyperbolic plane, through its order, by the closed form
(2) what is observed after steps along geodesics is the same in other coordinates; after steps in coordinates not
(3) formulas agree with `perturb`, which knows neither metric nor geodesics
(4) curvature enters the gap of steps in normal coordinates at order 3 as predicted, and that of geodesics not there
"""

from __future__ import annotations

from typing import Any

import pytest
import sympy
from sympy import Integer, Matrix, Rational

import taylorsgd as ts
from taylorsgd.landscapes.curved import at_rate, christoffel, geodesic_descent, sectional_curvature
from taylorsgd.landscapes.training_fields import natural_gradient
from taylorsgd.reproducing.tenka.curvature_conjecture import curved_metric
from taylorsgd.symbols import eta, h

x, y = sympy.symbols("x y")
HALF = Rational(1, 2)
ONE_STEP = ts.GD(N=1, T=1)


@pytest.mark.parametrize("curvature", [1, -4])
def test_great_circles(curvature: int) -> None:
    """In stereographic coordinates tan(√k s/2)·2/√k at a distance s from the pole; here the first step ends there."""
    conformal = sympy.eye(2) * (1 + Rational(curvature, 4) * (x**2 + y**2)) ** 2
    assert sectional_curvature(conformal, [x, y], [0, 0], ((1, 0), (1, 1))) == curvature
    assert sectional_curvature(conformal, [x, y], [HALF, 1], ((1, 0), (0, 1))) == curvature
    steep = ts.FiniteLandscape([-2 * x], [1], [x, y])
    field = geodesic_descent(steep, conformal, 3, at=[0, 0])
    moved = at_rate(ts.perturb(ts.Displacement(), ONE_STEP, field, [0, 0], 3), 3)
    assert list(moved) == [2 * eta + Rational(2, 3) * curvature * eta**3, 0]  # 2 tan(√k η)/√k
    assert field.mean[0].subs({x: 0, y: 0}) == geodesic_descent(steep, conformal, 3).mean[0].subs({x: 0, y: 0})


@pytest.mark.parametrize("order", [2, 3])
def test_coordinates_do_not_matter(order: int) -> None:
    """θ = φ(ψ): the same losses, metric and start in other coordinates, two steps with noise."""
    losses = [x**2 * y + x - y, x * y - y**2 + 2 * x]
    metric = Matrix([[1 + x**2, x * y], [x * y, 1]])
    to = {x: x + y**2, y: y}
    jacobian = Matrix([[to[v].diff(w) for w in (x, y)] for v in (x, y)])
    inverse = jacobian.inv()
    turned = (inverse * metric.subs(to, simultaneous=True) * inverse.T).applyfunc(sympy.together)
    here = ts.FiniteLandscape(losses, [HALF, HALF], [x, y])
    there = ts.FiniteLandscape([loss.subs(to, simultaneous=True) for loss in losses], [HALF, HALF], [x, y])
    seen = x**2 + 3 * x - y
    epoch = ts.SGD(N=2, B=1, E=1)

    def found(field: Any, s: Any) -> Any:
        return at_rate(ts.perturb(ts.Observable(s), epoch, field, [0, 0], order), order)

    other = seen.subs(to, simultaneous=True)
    straight = found(geodesic_descent(here, metric, order, at=[0, 0]), seen)
    assert straight == found(geodesic_descent(there, turned, order, at=[0, 0]), other)
    if order == 3:
        shorter = found(geodesic_descent(there, turned, 2, at=[0, 0]), other)
        assert straight.coeff(eta, 3) != shorter.coeff(eta, 3)  # what Γ changes at c³ is seen
        return
    apart = sympy.expand(found(natural_gradient(here, metric), seen) - found(natural_gradient(there, turned), other))
    assert apart.coeff(eta, 1) == 0 != apart.coeff(eta, 2)


def test_formulas_of_geodesic_steps() -> None:
    landscape = ts.FiniteLandscape([x + y**2, x * y - y, y + x**2], [Rational(1, 3)] * 3, [x, y])
    field = geodesic_descent(landscape, curved_metric(1), 2, at=[0, 0])
    epoch = ts.SGD(N=2, B=1, E=1)
    for observable in (ts.Displacement(), ts.Observable(x * y + x)):
        found = ts.derive(observable, epoch, 2).evaluate(field, [0, 0])
        assert found == ts.perturb(observable, epoch, field, [0, 0], 2)
        assert not at_rate(found, 2).has(h)


def test_batches() -> None:
    """A batch steps along one geodesic, which is not the mean of several; two equal points are as one."""
    landscape = ts.FiniteLandscape([x, y], [HALF, HALF], [x, y])
    pairs = geodesic_descent(landscape, curved_metric(1), 2, at=[HALF, 0], batch=2)
    single = geodesic_descent(landscape, curved_metric(1), 2, at=[HALF, 0])
    assert len(pairs.fields) == 3 and pairs.fields[0] == single.fields[0] and pairs.fields[2] == single.fields[1]
    mean = [(a + b) / 2 for a, b in zip(*single.fields, strict=True)]
    assert any(sympy.expand(a - b) != 0 for a, b in zip(mean, pairs.fields[1], strict=True))


def test_curvature_of_normal_coordinates() -> None:
    for k in (1, -2):
        assert sectional_curvature(curved_metric(Integer(k)), [x, y], [0, 0], ((1, 0), (0, 1))) == k
        flat = {x: 0, y: 0}
        assert all(
            entry.subs(flat) == 0 for square in christoffel(curved_metric(k), [x, y]) for row in square for entry in row
        )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((ts.FiniteField([[x]], [1], [x]), [[1]]), TypeError, "must be a FiniteLandscape"),
        ((ts.FiniteLandscape([x], [1], [x, y]), [[1]]), ValueError, "must be P x P"),
        ((ts.FiniteLandscape([x], [1], [x, y]), [[1, x], [0, 1]]), ValueError, "not symmetric"),
        ((ts.FiniteLandscape([x], [1], [x]), "flat"), TypeError, "no matrix"),
        ((ts.FiniteLandscape([x], [1], [x]), [[1]], 7), ValueError, "order=7 must be at most 6"),
        ((ts.FiniteLandscape([x], [1], [x]), [[1]], 0), ValueError, "order=0"),
    ],
)
def test_errors(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        geodesic_descent(*arguments)
    with pytest.raises(ValueError, match="not finite there"):
        geodesic_descent(ts.FiniteLandscape([x], [1], [x]), [[1 / x]], 2, at=[0])
