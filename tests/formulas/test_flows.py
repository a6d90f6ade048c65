r"""Gradient flow and the diffusion against their generators, exactly.

References: Øksendal, *Stochastic Differential Equations*, section 8.1 (the generator); Li, Tai and E 2017.

Identities, with L s = −η G·∇s + (η²/2B) C:∇∇s (the second term for the SDE only; G and C functions of θ):
    (1) E[s(θ_T)] = Σ_n T^n/n! · L^n s (θ_0), through η^4 in one variable and η^3 in two
    (2) E[s u] from the generator on the product, Cov = E[s u] − E[s] E[u]
    (3) the test loss of the ODE never rises: l − T G·G + T² G·H·G − …, and B → ∞ of the SDE is the ODE
"""

from __future__ import annotations

from itertools import product
from math import factorial
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import QQ
from sympy.polys.rings import PolyElement, PolyRing

import taylorsgd as ts
from taylorsgd.spacetime import Spacetime
from taylorsgd.symbols import B, T, eta

x, y = sympy.symbols("x y")
NOISE = sympy.Symbol("half_noise")


def generator_series(s: sympy.Expr, landscape: Any, start: Any, order: int, noise: sympy.Expr) -> sympy.Expr:
    """Σ_n T^n/n! L^n s at the start, through η^order; `noise` is 1/B, or 0 for gradient flow."""
    theta, axes = landscape.variables, range(len(landscape.variables))
    ring = PolyRing([*theta, T, NOISE], QQ)
    losses = [
        (ring.from_expr(loss), QQ.from_sympy(w)) for loss, w in zip(landscape.losses, landscape.weights, strict=True)
    ]
    mean = [sum((loss.diff(i) * w for loss, w in losses), ring.zero) for i in axes]
    covariance = {
        (i, j): sum((loss.diff(i) * loss.diff(j) * w for loss, w in losses), ring.zero) - mean[i] * mean[j]
        for i, j in product(axes, repeat=2)
    }
    *_, time, half_noise = ring.gens

    def generate(powers: list[PolyElement]) -> list[PolyElement]:
        """Apply L to Σ_k η^k powers[k], up to η^order."""
        image: list[Any] = [ring.zero] * (order + 1)
        for k, function in enumerate(powers):
            if k + 1 <= order:
                image[k + 1] -= sum((mean[i] * function.diff(i) for i in axes), ring.zero)
            if k + 2 <= order:
                for (i, j), c in covariance.items():
                    image[k + 2] += half_noise * c * function.diff(i).diff(j)
        return image

    point = [(v, QQ.from_sympy(at)) for v, at in zip(ring.gens[:-2], start, strict=True)]
    powers = [ring.from_expr(s)] + [ring.zero] * order
    total = sympy.Integer(0)
    for n in range(order + 1):
        for k, function in enumerate(powers):
            total += eta**k * (function * time**n * QQ(1, factorial(n))).evaluate(point).as_expr()
        powers = generate(powers)
    return sympy.expand(total.subs(NOISE, noise / 2))


def functions_of(observable: Any, landscape: Any, start: Any) -> list[sympy.Expr]:
    """The components of an observable as functions of θ."""
    match observable:
        case ts.TestLoss():
            return [landscape.loss]
        case ts.Displacement():
            return [v - at for v, at in zip(landscape.variables, start, strict=True)]
        case ts.Observable():
            s: Any = observable.s
            return [s]
    raise AssertionError(observable)


def generated(observable: Any, landscape: Any, start: Any, order: int, noise: sympy.Expr) -> Any:
    def mean(s: sympy.Expr) -> sympy.Expr:
        return generator_series(s, landscape, start, order, noise)

    def truncated(s: sympy.Expr) -> sympy.Expr:
        return sum((sympy.expand(s).coeff(eta, k) * eta**k for k in range(order + 1)), sympy.Integer(0))

    if not isinstance(observable, (ts.SecondMoment, ts.Covariance)):
        entries = [mean(s) for s in functions_of(observable, landscape, start)]
        return sympy.ImmutableMatrix(entries) if isinstance(observable, ts.Displacement) else entries[0]
    first, second = (functions_of(o, landscape, start) for o in (observable.a, observable.b))
    connected = isinstance(observable, ts.Covariance)
    rows = [[mean(s * u) - (truncated(mean(s) * mean(u)) if connected else 0) for u in second] for s in first]
    vectors = [isinstance(o, ts.Displacement) for o in (observable.a, observable.b)]
    if not any(vectors):
        return rows[0][0]
    if not vectors[0]:
        rows = [[entry] for entry in rows[0]]
    return sympy.ImmutableMatrix(rows)


def agree(one: Any, other: Any) -> bool:
    difference = one - other
    if isinstance(difference, sympy.MatrixBase):
        return difference.applyfunc(sympy.expand).is_zero_matrix is True
    return sympy.expand(difference) == 0


FLOWS: list[tuple[Spacetime, sympy.Expr]] = [(ts.ODE(), sympy.Integer(0)), (ts.SDE(), 1 / B)]
SINGLE = [ts.TestLoss(), ts.Displacement(), ts.Observable(x**4 - 2 * x)]
PAIRS = [
    ts.SecondMoment(ts.TestLoss(), ts.TestLoss()),
    ts.SecondMoment(ts.TestLoss(), ts.Displacement()),
    ts.Variance(ts.TestLoss()),
    ts.Variance(ts.Displacement()),
    ts.Covariance(ts.Displacement(), ts.TestLoss()),
    ts.Covariance(ts.TestLoss(), ts.Observable(x**3, name="u")),
]


def evaluated(observable: Any, spacetime: Spacetime, order: int, landscape: Any, start: Any) -> Any:
    """The formula is symbolic in T and B; numbers go in when it is evaluated, and are returned."""
    sizes = {str(symbol): symbol for symbol in spacetime.free_symbols}
    formula = ts.derive(observable, spacetime, order)
    numbers = {name: sympy.Integer(7 + i) for i, name in enumerate(sizes)}
    value = formula.evaluate(landscape, start, **numbers)
    return value, {sizes[name]: number for name, number in numbers.items()}


@pytest.mark.shows("ODE", ("test loss", "displacement"))
@pytest.mark.shows("SDE", ("test loss", "displacement"))
@pytest.mark.parametrize(("spacetime", "noise"), FLOWS)
@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 3, 25), (1, 4, 2), (2, 3, 1)])
def test_generator(landscapes, some_of, dimension: int, order: int, examples: int, spacetime, noise) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(dimension, order + 1))
        for observable in some_of(data, SINGLE, examples):
            value, numbers = evaluated(observable, spacetime, order, landscape, start)
            truth = generated(observable, landscape, start, order, noise).subs(numbers)
            assert agree(value, truth), observable

    run()


@pytest.mark.shows("ODE", "variance")
@pytest.mark.shows("SDE", "variance")
@pytest.mark.parametrize(("spacetime", "noise"), FLOWS)
@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 2, 25), (1, 4, 2), (2, 2, 2)])
def test_moments_of_two(landscapes, some_of, dimension: int, order: int, examples: int, spacetime, noise) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(dimension, order + 1, atoms=2))
        for observable in some_of(data, PAIRS, examples):
            value, numbers = evaluated(observable, spacetime, order, landscape, start)
            truth = generated(observable, landscape, start, order, noise).subs(numbers)
            assert agree(value, truth), observable

    run()


@pytest.mark.parametrize("spacetime", [ts.ODE(), ts.SDE(), ts.ODE(T=3), ts.SDE(T=2, B=4)])
@pytest.mark.parametrize(("order", "examples"), [(2, 25), (3, 2)])
def test_the_direct_perturbation_agrees_as_well(
    landscapes, some_of, order: int, examples: int, spacetime: Spacetime
) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(2, order + 1))
        numbers = {symbol: sympy.Integer(5 + i) for i, symbol in enumerate(spacetime.free_symbols)}
        concrete = spacetime.substitute(numbers)
        for observable in some_of(data, [*SINGLE[:2], *PAIRS[:5]], examples):
            predicted = ts.derive(observable, concrete, order).evaluate(landscape, start)
            assert predicted == ts.perturb(observable, concrete, landscape, start, order)

    run()


def test_polynomials_in_the_time() -> None:
    """The coefficients of order 2, as polynomials in T and B."""
    ode, sde = (ts.derive(ts.TestLoss(), s, 2) for s in (ts.ODE(), ts.SDE()))
    assert [(str(t.value), t.coefficient) for t in ode[2].terms] == [("G_μ H^μ_ν G^ν", T**2)]
    assert [(str(t.value), t.coefficient) for t in sde[2].terms] == [
        ("G_μ H^μ_ν G^ν", T**2),
        ("C_μν H^μν", T / (2 * B)),
    ]


def test_without_noise_the_diffusion_is_the_flow() -> None:
    for observable in (ts.TestLoss(), ts.Displacement(), ts.Observable(x**2)):
        assert ts.derive(observable, ts.SDE(), 4).assume("noiseless") == ts.derive(observable, ts.ODE(), 4)
    assert not ts.derive(ts.Variance(ts.TestLoss()), ts.ODE(), 3), "gradient flow has no variance"


def test_a_brownian_motion() -> None:
    """l_x = ±x: C = 1 and G = 0 everywhere, so θ_T − θ_0 is normal with variance η² T / B."""
    coin = ts.FiniteLandscape([x, -x], [sympy.Rational(1, 2)] * 2, [x])
    fourth = ts.derive(ts.Observable(x**4), ts.SDE(), 4).evaluate(coin, [0], T=6, B=2)
    assert fourth == 3 * (eta**2 * sympy.Integer(6) / 2) ** 2
    variance = ts.derive(ts.Variance(ts.Displacement()), ts.SDE(), 4).evaluate(coin, [0], T=6, B=2)
    assert variance == sympy.ImmutableMatrix([[3 * eta**2]])


def test_an_ornstein_uhlenbeck_process() -> None:
    """l_x = x²/2 ± x: E[x_T] = e^{−ηT} x_0 and Var = η (1 − e^{−2ηT}) / 2B, expanded."""
    coin = ts.FiniteLandscape([x**2 / 2 + x, x**2 / 2 - x], [sympy.Rational(1, 2)] * 2, [x])
    time, batch, order = 3, 2, 5
    moved = ts.derive(ts.Displacement(), ts.SDE(T=time, B=batch), order).evaluate(coin, [1])
    spread = ts.derive(ts.Variance(ts.Displacement()), ts.SDE(T=time, B=batch), order).evaluate(coin, [1])
    mean = sympy.series(sympy.exp(-eta * time) - 1, eta, 0, order + 1).removeO()
    variance = sympy.series(eta * (1 - sympy.exp(-2 * eta * time)) / (2 * batch), eta, 0, order + 1).removeO()
    assert sympy.expand(moved[0] - mean) == 0
    assert sympy.expand(spread[0] - variance) == 0
