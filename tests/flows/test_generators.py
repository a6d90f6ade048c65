r"""Generators, held against descent over every training set, and against the rule that they were first found by.

Identities, with 𝓖_d the part of 𝓖 with η^d:
    (1) E φ(θ_T) = Σ_n T^n/n! 𝓖^n φ through η^3 and η^4, T = 1, 2, 3: both sides exact polynomials in η, the left from
        `perturb`; on the right 𝓖 acts on SymPy expressions
    (2) derive(Observable(φ)) = W exp(T𝓖)φ as operators, for every spacetime that has a generator; with momentum
        without the terms β^T
    (3) 𝓖 at B = 1 to η³, as published; order 2 is the equation of Li, Tai and E
    (4) GD's is the modified flow, heavy ball's and Nesterov's without noise as well; flows have no corrections
    (5) on quadratics with additive noise the series of the resummed generator
"""

from __future__ import annotations

from itertools import product
from math import factorial
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import QQ, Expr, Integer, Rational
from sympy.polys.rings import PolyRing

import taylorsgd as ts
from taylorsgd.flows.operators import operator_product
from taylorsgd.symbols import B, E, N, T, eta

x, y = sympy.symbols("x y")
COEFFICIENTS = [Rational(n, d) for n in (-3, -2, -1, 1, 2, 3) for d in (1, 2)]
PHI = ts.Observable(lambda theta: theta[0], name="φ")


@st.composite
def landscapes(draw: st.DrawFn, dimension: int, equal_weights: bool = False) -> ts.FiniteLandscape:
    """Two polynomial losses, of degree 4 in one variable and 3 in two, that differ in every example."""
    monomials = [x, x**2, x**3, x**4] if dimension == 1 else [x, y, x * y, x**2, y**2, x**2 * y, x * y**2]
    numbers = st.lists(st.sampled_from(COEFFICIENTS), min_size=len(monomials), max_size=len(monomials))
    first, second = (
        sum((n * m for n, m in zip(draw(numbers), monomials, strict=True)), sympy.Integer(0)) for _ in range(2)
    )
    second += x**3 / 3 - 2 * x**2 + (0 if dimension == 1 else x * y**2 - 3 * x * y + y)
    weight = Rational(1, 2) if equal_weights else Rational(1, 3)
    return ts.FiniteLandscape([first, second], [weight, 1 - weight], [x, y][:dimension])


def coefficients(generator: Any, landscape: ts.FiniteLandscape, order: int, **sizes: Any) -> dict[Any, list[Expr]]:
    """For every monomial ∂^α what 𝓖 multiplies it with, by powers of η: 𝓖 of (θ − θ_0)^α/α! at θ_0."""
    found = {}
    here = sympy.symbols("x_0 y_0")[: len(landscape.variables)]
    for powers in product(range(order + 1), repeat=len(here)):
        if 0 < sum(powers) <= order:
            monomial = sympy.prod(
                (v - h) ** k / factorial(k) for v, h, k in zip(landscape.variables, here, powers, strict=True)
            )
            value = generator(ts.Observable(monomial)).evaluate(landscape, at=here, **sizes)
            value = value.subs(dict(zip(here, landscape.variables, strict=True)), simultaneous=True)
            found[powers] = [sympy.expand(value).coeff(eta, d) for d in range(order + 1)]
    return found


def exponential(generator: Any, phi: Expr, landscape: ts.FiniteLandscape, order: int, **sizes: Any) -> list[Any]:
    """Σ_n T^n/n! 𝓖^n φ at a symbolic θ: the coefficients of η^0, η^1, …, as polynomials in θ and T."""
    ring = PolyRing([*landscape.variables, T], QQ)
    acting = {
        powers: [ring.from_expr(part) for part in parts]
        for powers, parts in coefficients(generator, landscape, order, **sizes).items()
    }
    power = [ring.from_expr(phi), *[ring.zero] * order]
    total = list(power)
    for n in range(1, order + 1):
        raised = [ring.zero] * (order + 1)
        for powers, parts in acting.items():
            for e, derivative in enumerate(power):
                for v, k in zip(ring.gens, powers, strict=False):
                    for _ in range(k):
                        derivative = derivative.diff(v)
                for d in range(1, order - e + 1) if derivative else ():
                    raised[e + d] += parts[d] * derivative
        power = raised
        total = [one + ring.gens[-1] ** n * part / factorial(n) for one, part in zip(total, power, strict=True)]
    return total


def check(landscape: ts.FiniteLandscape, start: Any, phi: Expr, order: int, runs: Any, generator: Any) -> None:
    """(1) for some spacetimes of equal sizes, given by the T that their generator is multiplied with."""
    sizes, places = runs
    found = exponential(generator, phi, landscape, order, **sizes)
    for time, place in places.items():
        expected = sympy.Poly(ts.perturb(ts.Observable(phi), place, landscape, list(start), order), eta)
        for d, part in enumerate(found):
            assert part(*start, time) == expected.coeff_monomial(eta**d)


@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 3, 4), (1, 4, 2), (2, 3, 1)])
def test_the_exponential_is_descent(dimension: int, order: int, examples: int) -> None:
    general = ts.generator(order, ts.SGD(E=1))
    phi = x**2 - 3 * x if dimension == 1 else x * y + x**2

    @given(landscape=landscapes(dimension), start=st.tuples(*[st.sampled_from(COEFFICIENTS)] * dimension))
    @settings(max_examples=examples)
    def run(landscape: ts.FiniteLandscape, start: tuple[Any, ...]) -> None:
        for b, times in ((1, (1, 2, 3)), (2, (1, 2))):
            runs = ({"B": b}, {t: ts.SGD(N=b * t, B=b, E=1) for t in times})
            check(landscape, start, phi, order, runs, general)

    run()


@given(landscape=landscapes(1, equal_weights=True), start=st.tuples(st.sampled_from(COEFFICIENTS)))
@settings(max_examples=1)
def test_fixed_data(landscape: ts.FiniteLandscape, start: tuple[Any, ...]) -> None:
    general = ts.generator(4, ts.Replacement(data="fixed"))
    for b, times in ((1, (1, 2, 3)), (2, (1, 2))):
        drawn = {t: ts.Replacement(N=2, B=b, T=t, data="fixed") for t in times}
        check(landscape, start, x**2, 4, ({"N": 2, "B": b}, drawn), general)
    epochs = {2 * e: ts.SGD(N=2, B=1, E=e, shuffle=True, data="fixed") for e in (1, 2)}  # of two updates
    check(landscape, start, x**2, 3, ({}, epochs), ts.generator(3, ts.SGD(N=2, B=1, shuffle=True, data="fixed")))


@given(landscape=landscapes(1), start=st.tuples(st.sampled_from(COEFFICIENTS)))
@settings(max_examples=1)
def test_without_noise(landscape: ts.FiniteLandscape, start: tuple[Any, ...]) -> None:
    """The whole training set in every batch: its mean loss, alone in a landscape."""
    mean = ts.FiniteLandscape([landscape.loss], [1], [x])
    check(mean, start, x**3, 4, ({}, {t: ts.GD(N=1, T=t) for t in (1, 2, 3)}), ts.generator(4, ts.GD()))
    whole = ts.generator(4, ts.GD()).drift
    assert whole.evaluate(mean, [x]) == whole.evaluate(landscape, [x])


# -- as operators ----------------------------------------------------------------------------------------------

SECOND = ts.SecondOrder(Rational(1, 3))
HEAVY, NESTEROV = ts.HeavyBall(Rational(1, 2)), ts.Nesterov(Rational(1, 3))


@pytest.mark.parametrize(
    ("spacetime", "place", "time", "order", "update"),
    [
        (ts.SGD(E=1), ts.SGD(E=1), N / B, 4, None),
        (ts.SGD(B=1, E=1), ts.SGD(B=1, E=1), N, 3, SECOND),
        (ts.SGD(E=1), ts.SGD(E=1), N / B, 3, HEAVY),
        (ts.SGD(E=1), ts.SGD(E=1), N / B, 2, NESTEROV),
        (ts.Replacement(data="fixed"), ts.Replacement(data="fixed"), T, 3, None),
        (ts.SGD(shuffle=True, data="fixed"), ts.SGD(shuffle=True, data="fixed"), E * N / B, 2, None),
        (ts.SGD(N=4, B=2, shuffle=True, data="fixed"), ts.SGD(N=4, B=2, shuffle=True, data="fixed"), 2 * E, 3, None),
        (ts.SDE(), ts.SDE(), T, 4, None),
        (ts.ODE(), ts.ODE(), T, 4, None),
    ],
    ids=str,
)
def test_the_exponential_is_the_formula(spacetime: Any, place: Any, time: Any, order: int, update: Any) -> None:
    found = ts.generator(order, spacetime, update=update)
    once = {term.value: term.coefficient for term in found.action.terms}
    power = {ts.Value((-1,), None, ("φ",)): Integer(1)}
    start = power | {term.value: term.coefficient for term in found.start.terms}
    assert bool(found.start) is (update in (HEAVY, NESTEROV))
    total = dict(start)
    for n in range(1, order + 1):
        power = operator_product(once, power, order)
        for value, c in operator_product(start, power, order).items():
            total[value] = total.get(value, Integer(0)) + c * time**n / factorial(n)
    expected = {t.value: t.coefficient for t in ts.derive(PHI, place, order, update=update).terms}
    assert not expected.keys() - total.keys()
    for value, c in total.items():
        fading = sympy.expand(expected.get(value, Integer(0)))
        fading = fading.replace(lambda e: isinstance(e, sympy.Pow) and e.exp.has(N), lambda _: Integer(0))
        assert sympy.simplify(c - fading) == 0, value


def test_what_was_published() -> None:
    found = ts.generator(3, ts.SGD(B=1, E=1))
    assert str(found.drift) == ("-G^μ - 1/2 H^μ_ν G^ν - 1/12 J^μ_νλ G^ν G^λ - 1/3 H^μ_ν H^ν_λ G^λ + 1/4 J^μ_νλ C^νλ")
    acting = {str(term.value): term.coefficient for term in found[3].action.terms}
    assert acting["κ(∇_μ∇_ν l, ∇_λ l) (∇^μ∇^λ φ) G^ν"] == Rational(1, 2)
    assert acting["C_μν (∇^μ∇_λ φ) H^νλ"] == Rational(1, 2)
    assert acting["S_μνλ ∇^μ∇^ν∇^λ φ"] == -Rational(1, 6)
    assert len(acting) == 6
    li_tai_e = ts.generator(2, ts.SGD(E=1))
    assert str(li_tai_e.drift) == "-G^μ - 1/2 H^μ_ν G^ν"
    assert str(li_tai_e.diffusion) == "1/B C^μν"
    assert li_tai_e.obstruction is None
    assert found.obstruction is not None
    assert found.obstruction.order == 3
    assert "S_μνλ" in str(found.obstruction)


def test_drift_diffusion_and_rest_are_the_generator() -> None:
    """𝓖φ from the three parts, on a landscape: drift·∂φ + ½ diffusion:∂∂φ + rest."""
    landscape = ts.FiniteLandscape([x**3 - x * y + y, x * y**2 + x], [Rational(1, 3), Rational(2, 3)], [x, y])
    found, phi, at = ts.generator(3, ts.SGD(B=2, E=1)), x**3 * y - y**2 * x, [x, y]
    drift, diffusion = (part.evaluate(landscape, at) for part in (found.drift, found.diffusion))
    assert diffusion == diffusion.T
    gradient = sympy.Matrix([sympy.diff(phi, v) for v in at])
    acted = (drift.T * gradient)[0] + (diffusion * sympy.hessian(phi, at)).trace() / 2
    whole = found(ts.Observable(phi)).evaluate(landscape, at)
    three = found(ts.Observable(phi)).part(
        t for t in found(ts.Observable(phi)).terms if t.value.degrees[t.value.marks.index("s")] > 2
    )
    assert len(three.terms) == len(found.rest.terms)
    assert sympy.expand(whole - acted - three.evaluate(landscape, at)) == 0


@pytest.mark.parametrize("update", [None, HEAVY], ids=str)
def test_without_noise_it_is_the_modified_flow(update: Any) -> None:
    order = 4 if update is None else 3
    found = ts.generator(order, ts.GD(), update=update)
    assert not found.diffusion
    assert not found.rest
    flow = {}
    for tree, c in ts.modified_flow(order, update).items():
        if c != 0:  # with an open index at the root, and −∇l for f
            marks = (*("" for _ in tree.parents), "@0")
            flow[ts.Value((*tree.parents, tree.roots[0]), None, marks)] = c * (-1) ** len(tree.parents)
    assert {term.value: term.coefficient for term in found.drift.terms} == flow


# -- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ts.generator(2, ts.SGD()), ValueError, r"not independent.*SGD\(E=1\)"),
        (lambda: ts.generator(2, ts.Replacement()), ValueError, "data='fixed'"),
        (lambda: ts.generator(2, ts.Grid([[1, 0], [0, 1]])), ValueError, "not independent"),
        (lambda: ts.generator(2, "SGD"), TypeError, "spacetime='SGD'"),
        (lambda: ts.generator(-1, ts.GD()), ValueError, "order=-1"),
        (lambda: ts.generator(2, ts.GD(), update="Adam"), TypeError, "update='Adam'"),
        (lambda: ts.generator(2, ts.GD(), update=ts.HeavyBall(-1)), ValueError, "beta=-1: .* has no generator"),
        (lambda: ts.modified_sde(2, update=ts.Nesterov(2)), ValueError, "beta=2: .* has no generator"),
        (lambda: ts.generator(2, ts.GD(), update=ts.Descent(rates=[1, 2])), NotImplementedError, "not alike"),
        (lambda: ts.generator(2, ts.GD(), update=ts.Descent(decay=Rational(1, 3))), NotImplementedError, "not alike"),
        (
            lambda: ts.generator(2, ts.SGD(shuffle=True, data="fixed"), update=HEAVY),
            NotImplementedError,
            "joins one epoch",
        ),
        (lambda: ts.generator(2, ts.GD())(x), TypeError, "is not an Observable"),
        (lambda: ts.generator(2, ts.GD())["a"], TypeError, "an order is an integer"),
    ],
)
def test_errors(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_an_observable_is_put_in_before_it_evaluates() -> None:
    coin = ts.FiniteLandscape([x**3 / 2 + x, x**2 / 2 - x**3], [Rational(1, 2)] * 2, [x])
    with pytest.raises(ValueError, match="put one in"):
        ts.generator(3, ts.SGD(B=1, E=1)).rest.evaluate(coin, at=[1])
