"""The curl of a field against SymPy's derivatives, and HELIX, where no function is minimized (Tenka, section 1.1)."""

from __future__ import annotations

from typing import Any

import pytest
import sympy
from sympy import Rational, cos, pi, sin

import taylorsgd as ts
from taylorsgd.flows import curl
from taylorsgd.symbols import eta

x, y = sympy.symbols("x y")
SQUARE = ts.FiniteLandscape(
    [x**3 - x * y + y**2 * x, 2 * x * y**2 + x - y**3], [Rational(1, 3), Rational(2, 3)], [x, y]
)


@pytest.mark.parametrize("order", [3, 4])
def test_the_derivatives_are_sympys(order: int) -> None:
    field = ts.generator(order, ts.SGD(B=2, E=1)).drift[order]
    vector = field.evaluate(SQUARE, [x, y])
    found = curl(field).evaluate(SQUARE, [x, y])
    expected = sympy.diff(vector[1], x) - sympy.diff(vector[0], y)
    assert expected != 0
    assert (found / eta - sympy.Matrix([[0, expected], [-expected, 0]])).expand().is_zero_matrix


def test_gradients_have_none() -> None:
    for spacetime in (ts.GD(), ts.SGD(E=1), ts.SGD(shuffle=True, data="fixed")):
        flow = ts.derive(ts.Displacement(), spacetime, 2).effective_flow()
        assert flow.modified_loss().exists
        assert not flow.curl()
    third = ts.derive(ts.Displacement(), ts.SGD(E=1), 3).effective_flow()
    assert third.curl()
    assert not third.modified_loss().exists
    remainder: Any = third.modified_loss().remainder
    assert curl(remainder) == third.curl()


def test_errors() -> None:
    valley = ts.derive(ts.Displacement(), ts.SDE(B=1), 3, resum="continuous").assume("minimum").drift()
    with pytest.raises(TypeError, match="is not a Formula"):
        curl("G")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has 0 open indices"):
        curl(ts.derive(ts.TestLoss(), ts.GD(), 1))
    for resummed in (valley.effective_flow().curl, valley.effective_flow().modified_loss):
        with pytest.raises(ValueError, match="is resummed"):
            resummed()


# -- HELIX -----------------------------------------------------------------------------------------------------


def test_helix_has_no_function_that_descent_goes_down() -> None:
    """At order η³ the effective field turns in the (u, v) plane by (T − 1)/2, at every height of the valley."""
    helix = ts.landscapes.helix()
    flow = ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), 3).effective_flow()
    found = flow.curl().evaluate(helix, [0, 0, helix.variables[2]], N=10)
    turning = sympy.Matrix([[0, -1, 0], [1, 0, 0], [0, 0, 0]]) * Rational(9, 2) * eta**4
    assert (found - turning).applyfunc(sympy.simplify).is_zero_matrix


def test_it_circulates_along_the_valley() -> None:
    """The landscape has the period 2π in z, where the valley is a circle: ∮ drift·dz = 2π η²/(6 − 4η) is not 0."""
    helix = ts.landscapes.helix()
    z = helix.variables[2]
    turned = {z: z + 2 * pi}
    assert sympy.simplify(helix.sample_loss.subs(turned) - helix.sample_loss) == 0
    drift = ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), 3, resum="discrete").assume("minimum").drift()
    flow = drift.effective_flow()
    assert flow.field == drift
    assert "0 ≤ t ≤ N" in str(flow)
    for height in (0, pi / 2, pi):
        velocity = flow.field.evaluate(helix, [0, 0, height])
        assert sympy.simplify(velocity[2] - eta**2 / (6 - 4 * eta)) == 0
    # In its own frame, which turns with z, the landscape is the same at every height.
    u, v = helix.variables[:2]
    frame = {u: cos(z) * u - sin(z) * v, v: sin(z) * u + cos(z) * v}
    assert z not in sympy.simplify(helix.sample_loss.subs(frame, simultaneous=True)).free_symbols


def test_a_tilt_that_descent_climbs() -> None:
    tilt = Rational(1, 100)
    tilted = ts.landscapes.helix(tilt)
    assert "TILTED HELIX" in repr(tilted)
    u, v, z = tilted.variables
    assert sympy.expand(tilted.loss - ts.landscapes.helix().loss) == tilt * z
    assert list(tilted.cumulant((1,), [0, 0, 3])) == [0, 0, tilt]
    with pytest.raises(ValueError, match="must not depend"):
        ts.landscapes.helix(z)
    assert u != v
