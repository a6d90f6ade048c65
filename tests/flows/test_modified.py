r"""Modified equations against the steps that they describe, against kauri, and against published coefficients.

References: Hairer, Lubich and Wanner, *Geometric Numerical Integration*, section IX.9; Barrett and Dherin,
*Implicit Gradient Regularization*, appendix A; kauri 2.3; Ghosh et al. 2023.

Identities, with Φ_t the flow of the field truncated after h^(d−1), as power series in h:
    (1) f₁ = −½ f'f,  f₂ = ⅓ f'f'f + 1/12 f''(f,f),  f₃ = −¼ f'f'f'f − 1/12 f'f''(f,f) − 1/12 f''(f,f'f) + 0·f'''(f,f,f)
    (2) c(τ) = kauri's modified_equation_map()(τ) / σ(τ) on all trees of at most 7 nodes; on those of 8 its inverse,
        kauri's exp of c σ, is Euler's elementary weights: 1 on the single node, else 0 (the logarithm takes 50 s)
    (3) Euler: b(τ) = Σ_k (−1)^{k−1} s_k / k with s_k the surjections of the nodes onto a k-chain
    (4) a step of the method = Φ_h + h^{d+1} f_d + O(h^{d+2}), on random polynomial fields: the order and not the next
    (5) heavy ball: Φ_h − (1 + β) + β Φ_{−h} − h f = (1 − β) h^{d+1} f_d + …; on f = −θ the field is
        log(λ)/h θ, λ the dominant eigenvalue of the companion matrix; β = 0 is Euler
    (6) a method's adjoint has b(τ) (−1)^{|τ|−1}: implicit Euler; the midpoint rule has even powers of h only
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import kauri
import mpmath
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.mathtext import MathTextParser
from plain_series import Series, fields
from sympy import QQ, Rational

import taylorsgd as ts
from taylorsgd.diagrams.generation import rooted_trees
from taylorsgd.symbols import h
from taylorsgd.timesums.events import sum_of_events
from taylorsgd.timesums.orders import surjections

beta, lam = sympy.symbols("beta lambda")
x, y = sympy.symbols("x y")
half = Fraction(1, 2)

EULER = ts.RungeKutta([[0]], [1])
HEUN = ts.RungeKutta([[0, 0], [1, 0]], [half, half])
RALSTON = ts.RungeKutta([[0, 0], [Fraction(2, 3), 0]], [Fraction(1, 4), Fraction(3, 4)])
ODD = ts.RungeKutta([[0, 0, 0], [2, 0, 0], [-1, Fraction(1, 3), 0]], [Fraction(1, 2), Fraction(-3, 2), 2])
CLASSICAL = ts.RungeKutta(
    [[0, 0, 0, 0], [half, 0, 0, 0], [0, half, 0, 0], [0, 0, 1, 0]],
    [Fraction(1, 6), Fraction(1, 3), Fraction(1, 3), Fraction(1, 6)],
)
IMPLICIT = ts.RungeKutta([[1]], [1])
LOBATTO = ts.RungeKutta([[half, -half], [half, half]], [half, half])
METHODS = {
    "Euler": EULER,
    "Heun": HEUN,
    "Ralston": RALSTON,
    "odd": ODD,
    "classical": CLASSICAL,
    "implicit Euler": IMPLICIT,
    "Lobatto IIIC": LOBATTO,
}


def tree(nested: Sequence[Any]) -> ts.Diagram:
    """A rooted tree from nested lists of subtrees, [] a leaf."""
    parents: list[int] = []

    def visit(node: Sequence[Any], parent: int) -> None:
        number = len(parents)
        parents.append(parent)
        for child in node:
            visit(child, number)

    visit(nested, -1)
    return ts.Diagram(parents)


# -- published coefficients and other ways to them ---------------------------------------------------------


def test_the_first_parts() -> None:
    flow = ts.modified_flow(4)
    published = {
        (): 1,
        ((),): Rational(-1, 2),
        (((),),): Rational(1, 3),
        ((), ()): Rational(1, 12),
        ((((),),),): Rational(-1, 4),
        (((), ()),): Rational(-1, 12),
        ((), ((),)): Rational(-1, 12),
        ((), (), ()): 0,
    }
    assert dict(flow) == {tree(nested): number for nested, number in published.items()}
    assert str(flow[1]) == "-h/2 f'f"
    assert str(flow[2]) == "h**2/3 f'f'f + h**2/12 f''(f, f)"
    assert str(flow[3]) == "-h**3/4 f'f'f'f - h**3/12 f'f''(f, f) - h**3/12 f''(f, f'f)"


def test_every_rooted_tree_has_a_coefficient() -> None:
    flow = ts.modified_flow(8)
    assert [len(flow[d]) for d in range(8)] == [1, 1, 2, 4, 9, 20, 48, 115]
    assert all(number.is_Rational for number in flow.values())


@pytest.mark.parametrize("nodes", range(1, 8))
def test_kauri(nodes: int) -> None:
    theirs = kauri.RK([[0]], [1]).modified_equation_map()
    flow = ts.modified_flow(nodes)
    known = {tree(_subtrees(t.list_repr)): theirs(t) / t.sigma() for t in kauri.trees_of_order(nodes)}
    assert known.keys() == set(flow[nodes - 1])
    assert max(abs(number - float(flow[t])) for t, number in known.items()) < 1e-12


def test_kauris_exponential_gives_the_method_back() -> None:
    flow = ts.modified_flow(8)
    weights = kauri.RK([[0]], [1]).elementary_weights_map()

    def ours(t: Any) -> float:
        return 1.0 if t.list_repr is None else float(flow[tree(_subtrees(t.list_repr))]) * t.sigma()

    back = kauri.Map(ours).exp()
    for nodes in (1, 4, 8):
        assert all(abs(back(t) - weights(t)) < 1e-12 for t in kauri.trees_of_order(nodes)), nodes


def _subtrees(representation: Any) -> list[Any]:
    """Kauri's list of subtrees, which ends in a colour."""
    return [_subtrees(child) for child in representation[:-1]]


@pytest.mark.parametrize("nodes", range(1, 8))
def test_order_polynomials(nodes: int) -> None:
    flow = ts.modified_flow(nodes)
    for parents in rooted_trees(nodes - 1):
        planted = ts.Diagram((-1, *(parent + 1 for parent in parents)))  # all nodes now have a time
        levels = surjections(sum_of_events(planted).lattice.below)
        linear = sum(Rational((-1) ** (k - 1) * s, k) for k, s in enumerate(levels) if k)
        assert flow.weight(ts.Diagram(parents)) == linear


def test_classical_runge_kutta_has_order_4() -> None:
    flow = ts.modified_flow(5, update=CLASSICAL)
    assert [bool(flow[d]) for d in range(5)] == [True, False, False, False, True]


def test_adjoint_and_symmetric_methods() -> None:
    explicit, implicit = ts.modified_flow(7), ts.modified_flow(7, update=IMPLICIT)
    assert all(implicit[t] == (-1) ** (len(t.parents) - 1) * explicit[t] for t in explicit)
    midpoint = ts.modified_flow(6, update=ts.ImplicitStep(Rational(1, 2)))
    assert [bool(midpoint[d]) for d in range(6)] == [True, False, True, False, True, False]
    family = ts.modified_flow(4, update=ts.ImplicitStep(lam))
    for number, method in ((0, EULER), (1, IMPLICIT), (Rational(1, 3), ts.RungeKutta([[Rational(1, 3)]], [1]))):
        assert {t: c.subs(lam, number) for t, c in family.items()} == dict(ts.modified_flow(4, update=method))


# -- the steps themselves ------------------------------------------------------------------------------------


SPLITS = [(1, 4, 25), (2, 2, 25), (2, 3, 3)]
"""Dimension, order and examples: many where they are cheap."""


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("dimension", "order", "examples"), SPLITS)
def test_the_flow_makes_the_steps(name: str, dimension: int, order: int, examples: int) -> None:
    @given(fields(dimension))
    @settings(max_examples=examples)
    def run(f: list[sympy.Expr]) -> None:
        check_steps(name, dimension, order, f)

    run()


def check_steps(name: str, dimension: int, order: int, f: list[sympy.Expr]) -> None:
    variables = [x, y][:dimension]
    method = METHODS[name]
    flow = ts.modified_flow(order + 1, update=method)
    series = Series(dimension, order + 1)
    field = [series.read(entry) for entry in flow.truncate(order).field(f, variables)]
    next_part = [series.read(h * entry) for entry in flow[order].field(f, variables)]
    step = series.step(method, [series.read(entry) for entry in f])
    defect = [s - p for s, p in zip(step, series.flow(field, 1), strict=True)]
    assert defect == next_part
    vanishes = (name == "classical" and order < 4) or (name == "Lobatto IIIC" and order == 1)
    assert any(next_part) != vanishes, "the next order must fail"


# -- heavy ball ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dimension", "order", "examples"), SPLITS)
def test_heavy_ball_on_its_slow_manifold(dimension: int, order: int, examples: int) -> None:
    """θ_{t+1} − θ_t = β (θ_t − θ_{t−1}) + h f(θ_t) along the flow, to the order claimed and not to the next."""

    @given(fields(dimension), st.sampled_from([Rational(1, 2), Rational(-1, 3), Rational(9, 10)]))
    @settings(max_examples=examples)
    def run(f: list[sympy.Expr], momentum: sympy.Rational) -> None:
        check_slow_manifold(dimension, order, f, momentum)

    run()


def check_slow_manifold(dimension: int, order: int, f: list[sympy.Expr], momentum: sympy.Rational) -> None:
    variables = [x, y][:dimension]
    flow = ts.modified_flow(order + 1, update=ts.HeavyBall(momentum))
    series = Series(dimension, order + 1)
    field = [series.read(entry) for entry in flow.truncate(order).field(f, variables)]
    next_part = [series.read(h * (1 - momentum) * entry) for entry in flow[order].field(f, variables)]
    number = QQ(momentum.p, momentum.q)
    defect = [
        here * (1 + number) - before * number - after + series.h * series.read(push)
        for here, before, after, push in zip(
            series.theta, series.flow(field, -1), series.flow(field, 1), f, strict=True
        )
    ]
    assert defect == next_part
    assert any(next_part)


@pytest.mark.parametrize("momentum", [Rational(1, 2), Rational(-2, 3), Rational(9, 10)])
def test_heavy_ball_on_a_line(momentum: Rational) -> None:
    """On f = −θ chains alone matter, and the field is log(λ)/h θ, λ the larger root of λ² = (1 + β − h) λ − β."""
    order = 8
    chains = [ts.Diagram(tuple(range(-1, d))) for d in range(order)]
    numbers = ts.modified_flow(order, update=ts.HeavyBall(momentum))
    symbolic = ts.modified_flow(5, update=ts.HeavyBall(beta))

    def logarithm(step: Any) -> Any:
        trace = 1 + mpmath.mpf(momentum.p) / momentum.q - step
        return mpmath.log((trace + mpmath.sqrt(trace**2 - 4 * mpmath.mpf(momentum.p) / momentum.q)) / 2)

    with mpmath.workdps(60):
        exact = mpmath.taylor(logarithm, 0, order)
        for chain, number in zip(chains, exact[1:], strict=True):
            sign = (-1) ** len(chain.parents)
            assert abs(sympy.N(sign * numbers[chain], 50) - number) < 1e-18 * abs(number)
            if chain in symbolic:
                assert symbolic[chain].subs(beta, momentum) == numbers[chain]


def test_heavy_ball_without_momentum_is_euler() -> None:
    assert ts.modified_flow(6, update=ts.HeavyBall(0)) == ts.modified_flow(6)
    symbolic = ts.modified_flow(5, update=ts.HeavyBall(beta))
    for momentum in (sympy.Integer(0), Rational(3, 4)):
        numbers = ts.modified_flow(5, update=ts.HeavyBall(momentum))
        assert {t: sympy.nsimplify(c.subs(beta, momentum)) for t, c in symbolic.items()} == dict(numbers)


def test_constant_rates_do_not_tell_conventions_apart() -> None:
    torch = ts.HeavyBall(beta, convention="torch")
    assert ts.modified_flow(4, update=torch) == ts.modified_flow(4, update=ts.HeavyBall(beta))
    assert ts.modified_flow(4, update=ts.Descent()) == ts.modified_flow(4)


# -- mappings, algebra, faces, errors ------------------------------------------------------------------------


def test_a_flow_is_a_mapping_and_a_vector_space() -> None:
    flow = ts.modified_flow(5)
    assert len(flow) == 17
    assert list(flow)[:3] == [tree([]), tree([[]]), tree([[[]]])]
    assert flow[ts.Diagram((1, 2, -1, 2))] == Rational(-1, 12), "any numbering of the nodes"
    parts = [flow[d] for d in range(5)]
    assert parts[0] + parts[1] + parts[2] + parts[3] + parts[4] == flow
    assert flow + flow == 2 * flow == flow * 4 / 2
    assert not flow - flow
    assert (flow - ts.modified_flow(3)).order == 3
    assert flow.truncate(3) == ts.modified_flow(3) != flow
    assert len({flow, ts.modified_flow(5), flow[1]}) == 2
    assert (lam * flow)[tree([[]])] == -lam / 2
    assert flow[4].weight(tree([[], [], [], []])) == Rational(-1, 30), "a Bernoulli number"
    assert tree([[]]) in flow
    assert 1 not in flow


def test_a_field_is_evaluated() -> None:
    flow = ts.modified_flow(7)
    (entry,) = flow.field(x, x)
    assert sympy.expand(entry - x * sympy.series(sympy.log(1 + h), h, 0, 8).removeO() / h) == 0
    rotation = ts.modified_flow(2).field([y, -x], [x, y])
    assert rotation == sympy.Matrix([y + h * x / 2, -x + h * y / 2]), "Euler spirals outwards"
    bent = ts.modified_flow(3).field([sympy.sin(x)], [x])[0]
    s, c = sympy.sin(x), sympy.cos(x)
    assert sympy.simplify(bent - (s - h * c * s / 2 + h**2 * (c * c * s / 3 - s**3 / 12))) == 0


def test_the_latex_is_parsed() -> None:
    parser = MathTextParser("path")
    flow = ts.modified_flow(6)
    for part in (*(flow[d] for d in range(6)), ts.modified_flow(3, update=ts.HeavyBall(beta))):
        parser.parse(f"${part.latex()}$")
        parser.parse(f"${part.latex(gradient=True)}$")
    assert flow[2].latex() == r"\frac{h^{2}}{3} f'f'f + \frac{h^{2}}{12} f''(f, f)"
    assert flow[1].latex(gradient=True) == r"- \frac{h}{2} \nabla\nabla E\, \nabla E"
    assert flow[2].gradient_text() == "-h**2/3 ∇∇E ∇∇E ∇E - h**2/12 ∇∇∇E(∇E, ∇E)"
    assert flow[4].latex().endswith(r"- \frac{h^{4}}{720} f^{(4)}(f, f, f, f)")
    assert ts.modified_flow(1)._repr_latex_() == r"$\displaystyle \dot{\theta} = f$"


def test_signs_of_a_gradient_field() -> None:
    """The text in E evaluates to the field on −∇E: a tree of k nodes has the sign (−1)^k."""
    loss = x**3 / 3
    (entry,) = ts.modified_flow(3).field([-sympy.diff(loss, x)], [x])
    g, two, three = (sympy.diff(loss, x, k) for k in (1, 2, 3))
    assert sympy.expand(entry - (-g - h / 2 * two * g - h**2 * (two**2 * g / 3 + three * g**2 / 12))) == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ts.modified_flow(0), ValueError, "order=0 is no number of nodes"),
        (lambda: ts.modified_flow(2.0), ValueError, "order=2.0"),
        (lambda: ts.modified_flow(2, update="euler"), TypeError, "update='euler' is not an update rule"),
        (lambda: ts.modified_flow(2, update=ts.Nesterov(beta, [1, 2])), NotImplementedError, "supported are None"),
        (lambda: ts.modified_flow(2, update=ts.GDC(1)), NotImplementedError, "no modified flow"),
        (lambda: ts.modified_loss(1, update=ts.Descent(metric=[[2]])), NotImplementedError, "is a part of the field"),
        (lambda: ts.modified_flow(2, update=ts.HeavyBall(beta, [1, 2])), NotImplementedError, "supported are"),
        (lambda: ts.modified_flow(2, update=ts.HeavyBall(1)), ValueError, "beta=1: .* between -1 and 1"),
        (lambda: ts.modified_flow(2)[2], KeyError, "h.2 is not known; this series goes .* through h.1"),
        (lambda: ts.modified_flow(2)["f"], TypeError, "give a rooted tree as a Diagram"),
        (lambda: ts.modified_flow(2)[tree([[[]]])], KeyError, "has 3 nodes; .* known through 2"),
        (lambda: ts.modified_flow(2)[ts.Diagram((-1, 0), "aa")], KeyError, "no ties"),
        (lambda: ts.modified_flow(2) * 0.5, TypeError, "0.5 is not exact"),
        (lambda: ts.modified_flow(2) / 0, ZeroDivisionError, "divided by 0"),
        (lambda: ts.modified_flow(2).field([x, y], [x]), ValueError, "has 2 components for 1 variables"),
        (lambda: ts.RungeKutta([[0]], [half]), ValueError, "sums to 1/2; a consistent method"),
        (lambda: ts.RungeKutta([[0, 0]], [1]), ValueError, "give a square A"),
        (lambda: ts.RungeKutta([[0.5]], [1]), TypeError, r"A\[0\]\[0\]=0.5 is not exact"),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_elementary_weights_by_factorials() -> None:
    """Methods of high order have the exact flow's weights 1/γ: Gauss's 2-stage method has no part before h⁴."""
    root = sympy.sqrt(3)
    gauss = ts.RungeKutta(
        [[Rational(1, 4), Rational(1, 4) - root / 6], [Rational(1, 4) + root / 6, Rational(1, 4)]], [half, half]
    )
    flow = ts.modified_flow(5, update=gauss)
    assert [bool(flow[d]) for d in range(5)] == [True, False, False, False, True]
    bushes = [ts.modified_flow(n).weight(tree([[]] * (n - 1))) for n in range(1, 9)]
    bernoulli = [1, Rational(-1, 2), Rational(1, 6), 0, Rational(-1, 30), 0, Rational(1, 42), 0]
    assert bushes == bernoulli
