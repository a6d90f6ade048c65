r"""Effective flows, integrated exactly and held against descent over every training set.

References: Barrett and Dherin, *Implicit Gradient Regularization*; Smith, Dherin, Barrett and De 2021; Tenka,
Corollary 1 in its right form.

Identities, with D the expected displacement and φ its effective flow:
    (1) Σ_n T^n/n! (φ·∂)^{n−1} φ = perturb(Displacement()) through the order of φ, for SGD, GD, grids, flows, schedules
        and update rules; derivatives are SymPy's, on the values of φ at a symbolic θ
    (2) GD without noise is the modified equation of Euler, with h = η
    (3) GD: f₁ = −½HG + (T−1)/(4N) ∇C; many epochs: (E−1)/(4B); one epoch: no ∇C; the ODE: φ = −G at every order
    (4) Smith et al.: one shuffled epoch of fixed data has the loss l + ¼(|G|² + (N−B)/(B(N−1)) tr C)
    (5) φ = −η∇(loss) + remainder, and the remainder is 0 if and only if φ is a gradient
"""

from __future__ import annotations

from math import factorial
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.mathtext import MathTextParser
from sympy import QQ, Expr, Rational
from sympy.polys.rings import PolyRing

import taylorsgd as ts
from taylorsgd.diagrams import value_of
from taylorsgd.flows import EffectiveFlow
from taylorsgd.symbols import B, E, N, T, eta

x, y = sympy.symbols("x y")
COEFFICIENTS = [Rational(n, d) for n in (-3, -2, -1, 1, 2, 3) for d in (1, 2)]

G, HG = ts.Value((-1, 0), None, ("@0", "")), ts.Value((-1, 0, 1), None, ("@0", "", ""))
NABLA_C = ts.Value((-1, 0, 1), (0, 1, 1), ("@0", "", ""))  # κ(∇l, ∇∇l) = ½ ∇C


def moved(spacetime: Any, order: int, **options: Any) -> ts.Formula:
    return ts.derive(ts.Displacement(), spacetime, order, **options)


def coefficients(formula: ts.Formula) -> dict[Any, Expr]:
    return {term.value: term.coefficient for term in formula.terms}


def equal(found: dict[Any, Expr], expected: dict[Any, Expr]) -> bool:
    return found.keys() == expected.keys() and all(
        sympy.simplify(found[value] - expected[value]) == 0 for value in expected
    )


@st.composite
def landscapes(draw: st.DrawFn, dimension: int) -> ts.FiniteLandscape:
    """Two polynomial losses of degree 4 in one variable, of degree 3 in two, that differ in every example."""
    monomials = [x, x**2, x**3, x**4] if dimension == 1 else [x, y, x * y, x**2, y**2, x**2 * y, x * y**2]
    numbers = st.lists(st.sampled_from(COEFFICIENTS), min_size=len(monomials), max_size=len(monomials))
    first, second = (
        sum((n * m for n, m in zip(draw(numbers), monomials, strict=True)), sympy.Integer(0)) for _ in range(2)
    )
    second += x**3 / 3 - 2 * x**2 + (0 if dimension == 1 else x * y**2 - 3 * x * y + y)
    losses = [first, second]
    return ts.FiniteLandscape(losses, [Rational(1, 3), Rational(2, 3)], [x, y][:dimension])


def integrated(field: Any, variables: Any, start: Any, time: Expr, order: int) -> list[Expr]:
    """Where the flow of a field, a polynomial in η, has moved at a time, through η^order."""
    ring = PolyRing(variables, QQ)
    parts = [
        [ring.from_expr(sympy.Poly(entry, eta).coeff_monomial(eta**d)) for entry in field] for d in range(order + 1)
    ]
    powers = parts
    total = [sympy.Integer(0)] * len(variables)
    point = [(v, QQ.from_sympy(entry)) for v, entry in zip(ring.gens, start, strict=True)]
    for n in range(1, order + 1):
        for d in range(n, order + 1):
            for i, entry in enumerate(powers[d]):
                total[i] += time**n / factorial(n) * eta**d * QQ.to_sympy(entry.evaluate(point))
        derivative = [[ring.zero] * len(variables) for _ in range(order + 1)]
        for a in range(1, order + 1):
            for b in range(1, order + 1 - a):
                for i, entry in enumerate(powers[b]):
                    for k, u in enumerate(parts[a]):
                        derivative[a + b][i] += entry.diff(k) * u
        powers = derivative
    return [sympy.expand(entry) for entry in total]


NUMBERS = [
    ts.GD(N=2, T=3),
    ts.SGD(N=2, B=1, E=2),
    ts.SGD(N=4, B=2, E=1),
    ts.Grid([[1, 0, 1], [0, 1, 0]]),
    ts.ODE(T=3),
    ts.SDE(T=2, B=4),
    ts.Replacement(N=2, B=1, T=2),
    ts.SGD(N=2, B=1, E=2, shuffle=True),
]


def check(spacetime: Any, landscape: ts.FiniteLandscape, start: list[Any], order: int, **options: Any) -> None:
    flow = moved(spacetime, order, **options).effective_flow()
    field = flow.field.evaluate(landscape, list(landscape.variables))
    found = integrated(field, landscape.variables, start, spacetime.sizes["T"], order)
    assert found == list(ts.perturb(ts.Displacement(), spacetime, landscape, start, order, **options))


@pytest.mark.parametrize("spacetime", NUMBERS, ids=str)
@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 3, 25), (1, 4, 2), (2, 3, 2)])
def test_the_flow_moves_as_descent_does(spacetime: Any, dimension: int, order: int, examples: int) -> None:
    @given(landscape=landscapes(dimension), start=st.tuples(*[st.sampled_from(COEFFICIENTS)] * dimension))
    @settings(max_examples=examples)
    def run(landscape: ts.FiniteLandscape, start: tuple[Any, ...]) -> None:
        check(spacetime, landscape, list(start), order)

    run()


@pytest.mark.parametrize("update", [ts.HeavyBall(Rational(1, 2)), ts.Nesterov(Rational(1, 3)), ts.SecondOrder()])
def test_other_update_rules(update: Any) -> None:
    landscape = ts.FiniteLandscape([x**3 + x, x**2 - x**4], [Rational(1, 3), Rational(2, 3)], [x])
    check(ts.SGD(N=2, B=1, E=1), landscape, [Rational(1, 2)], 3, update=update)
    check(ts.GD(N=2, T=3), landscape, [Rational(1, 2)], 3, update=update)


def test_the_flow_of_symbols_is_the_flow_of_numbers() -> None:
    symbolic = moved(ts.SGD(), 3).effective_flow().field
    assert symbolic.subs(N=4, B=2, E=3) == moved(ts.SGD(N=4, B=2, E=3), 3).effective_flow().field
    assert symbolic.subs(N=N, B=N, E=T) == moved(ts.GD(), 3).effective_flow().field


# -- published flows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", range(1, 6))
def test_descent_without_noise_is_the_modified_equation(order: int) -> None:
    flow = moved(ts.GD(), order).assume("noiseless").effective_flow()
    assert not flow.depends_on_T
    modified = ts.modified_flow(order)
    found = {}
    for term in flow.field.terms:
        (diagram,) = term.diagrams
        parents = diagram.parents[1:]  # without the open index, of which node 1 is the only child
        found[ts.Diagram([parent - 1 for parent in parents])] = term.coefficient * (-1) ** len(parents)
    assert found == {tree: c for tree, c in modified.items() if c != 0}


def test_full_batches_of_fresh_data() -> None:
    flow = moved(ts.GD(), 2).effective_flow()
    expected = {G: sympy.Integer(-1), HG: -Rational(1, 2), NABLA_C: (T - 1) / (2 * N)}
    assert equal(coefficients(flow.field), expected)
    assert flow.depends_on_T
    assert flow[1] == moved(ts.ODE(), 1).effective_flow().field
    assert str(flow) == ("dθ/dt = -G^μ - 1/2 H^μ_ν G^ν + (T - 1)/(4*N) ∇^μ C^ν_ν, 0 ≤ t ≤ T, a field that depends on T")
    loss = flow.modified_loss()
    assert loss.exists
    assert str(loss) == "l + 1/4 G_μ G^μ - (T - 1)/(4*N) C^μ_μ"
    without_noise = moved(ts.GD(), 2).assume("noiseless").effective_flow()
    assert str(without_noise.modified_loss()) == "l + 1/4 G_μ G^μ"


def test_many_epochs_and_one() -> None:
    many = moved(ts.SGD(), 2).effective_flow()
    expected = {G: sympy.Integer(-1), HG: -Rational(1, 2), NABLA_C: (E - 1) / (2 * B)}
    assert equal(coefficients(many.field), expected)
    assert many.depends_on_T
    one = moved(ts.SGD(E=1), 2).effective_flow()
    assert equal(coefficients(one.field), {G: sympy.Integer(-1), HG: -Rational(1, 2)})
    assert not one.depends_on_T
    assert moved(ts.SGD(E=1), 3).effective_flow().depends_on_T


def test_gradient_flow_is_its_own_effective_flow() -> None:
    assert coefficients(moved(ts.ODE(), 5).effective_flow().field) == {G: -1}
    noisy = moved(ts.SDE(), 3).effective_flow()
    assert str(noisy) == "dθ/dt = -G^μ - T/(4*B) J^μ_νλ C^νλ, 0 ≤ t ≤ T, a field that depends on T"


def test_smith_and_others() -> None:
    """Smith et al. 2021, random composition of batches: l + (η/4)(|G|² + (N−B)/(B(N−1)) tr C)."""
    flow = moved(ts.SGD(E=1, shuffle=True, data="fixed"), 2).effective_flow()
    assert flow.T == N / B
    assert not flow.depends_on_T, "N is the size of the data, not the length of a run"
    loss = flow.modified_loss()
    assert loss.exists
    squares, noise = ts.Value((-1, 0)), ts.Value((-1, 0), (0, 0))
    expected = {ts.Value((-1,)): sympy.Integer(1), squares: Rational(1, 4), noise: (N - B) / (4 * B * (N - 1))}
    assert equal(coefficients(loss.loss), expected)


# -- modified losses -------------------------------------------------------------------------------------------


def gradient(scalar: Expr, variables: Any) -> sympy.Matrix:
    return sympy.Matrix([sympy.diff(scalar, v) for v in variables])


@pytest.mark.parametrize("spacetime", [ts.GD(N=3, T=4), ts.SGD(N=4, B=2, E=2), ts.SDE(T=2, B=3)], ids=str)
@given(landscape=landscapes(2))
@settings(max_examples=1)
def test_field_is_gradient_and_remainder(spacetime: Any, landscape: ts.FiniteLandscape) -> None:
    flow = moved(spacetime, 3).effective_flow()
    loss = flow.modified_loss()
    at = list(landscape.variables)
    field, rest = (f.evaluate(landscape, at) for f in (flow.field, loss.remainder))
    descent = gradient(loss.loss.evaluate(landscape, at), at) * -eta
    assert (field - descent - rest).applyfunc(sympy.expand).is_zero_matrix
    for d in (1, 2, 3):
        part = sympy.Matrix([entry.coeff(eta, d) for entry in field])
        jacobian = part.jacobian(at)
        curl = sympy.expand(jacobian[0, 1] - jacobian[1, 0])
        assert (curl == 0) == (not loss.remainder[d])
    assert not loss.exists


def test_what_is_no_gradient() -> None:
    loss = moved(ts.GD(), 3).assume("noiseless").effective_flow().modified_loss()
    assert str(loss.loss) == "l + 1/4 G_μ G^μ + 5/36 G_μ H^μ_ν G^ν"
    assert str(loss).endswith("and no gradient: 1/18 J^μ_νλ G^ν G^λ - 1/18 H^μ_ν H^ν_λ G^λ")
    by_trees = ts.modified_loss(2)
    assert coefficients(loss.loss) == dict(by_trees)
    assert loss.exists is by_trees.exists is False


# -- faces and errors ----------------------------------------------------------------------------------------


def test_faces() -> None:
    parser = MathTextParser("path")
    for flow in (moved(ts.GD(), 3).effective_flow(), moved(ts.SGD(), 2).effective_flow()):
        parser.parse(f"${flow.latex()}$")
        loss = flow.modified_loss()
        for shown in (flow._repr_latex_(), loss._repr_latex_(), f"${loss.latex()}$"):
            parser.parse(shown.replace("\\displaystyle ", ""))
    flow = moved(ts.SGD(), 2).effective_flow()
    assert flow.latex().startswith(r"\frac{d\theta^{\mu}}{dt} = -G^{\mu} - \frac{1}{2} H^{\mu}_{\nu} G^{\nu}")
    assert flow.order == 2
    assert repr(flow).startswith("<EffectiveFlow dθ/dt = ")
    for term in moved(ts.GD(), 4).effective_flow().field.terms:
        assert [value_of(diagram, ["@0"]) for diagram in term.diagrams] == [term.value]


def test_moments_make_the_same_flow() -> None:
    formula = moved(ts.GD(), 3)
    again: EffectiveFlow = formula.to_moments().effective_flow()
    assert again.field == formula.effective_flow().field


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (lambda: moved(ts.GD(), 2, resum="discrete"), "is resummed"),
        (lambda: ts.derive(ts.TestLoss(), ts.GD(), 2), "0 open indices moves nothing"),
        (lambda: ts.derive(ts.Variance(ts.Displacement()), ts.GD(), 2), "2 open indices"),
        (lambda: ts.derive(ts.Covariance(ts.Displacement(), ts.TestLoss()), ts.GD(), 2), "is no displacement"),
        (lambda: ts.derive(ts.SecondMoment(ts.TestLoss(), ts.Displacement()), ts.GD(), 2), "no displacement"),
        (lambda: moved(ts.GD(), 2) - moved(ts.SGD(), 2), r"no one number of updates T, but E\*N/B, T"),
        (lambda: moved(ts.GD(T=0), 2), "T=0"),
    ],
)
def test_errors(formula: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        formula().effective_flow()
