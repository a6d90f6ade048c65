r"""Modified losses: gradients where there are gradients, and an honest remainder where there are none.

References: Barrett and Dherin, *Implicit Gradient Regularization*, Theorem 3.1 and Lemmas A.1-A.5; Ghosh et al. 2023.

Identities, on f = −∇E:
    (1) Euler: Ẽ = E + (h/4)|∇E|² + O(h²); heavy ball: θ̇ = −1/(1−β) ∇[E + h(1+β)/(4(1−β)²) |∇E|²]
    (2) field = −∇Ẽ + R, symbolically and on concrete losses
    (3) R = 0 if and only if the field's Jacobian is symmetric, part by part
    (4) −∇Ẽ is the orthogonal projection in ⟨τ, τ⟩ = σ(τ); Σ c over R is 0, tree by unrooted tree
    (5) the paper's recursion, θ'' = ∇|f̃|²/2, gives f₁ and f₂ and a wrong f₃; with θ'' = f̃'f̃ it gives f₃
"""

from __future__ import annotations

from math import factorial
from typing import Any

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.mathtext import MathTextParser
from sympy import Expr, Rational

import taylorsgd as ts
from taylorsgd.symbols import h

beta = sympy.Symbol("beta")
x, y = VARIABLES = sympy.symbols("x y")
LOSS = x**3 * y - x * y**2 + 2 * x**2 + x * y + y**3 / 3
"""No symmetry, so that nothing vanishes by chance."""

E0, GG, GHG = ts.Value((-1,)), ts.Value((-1, 0)), ts.Value((-1, 0, 1))


def gradient(loss: Expr, variables: Any = VARIABLES) -> list[Expr]:
    return [sympy.diff(loss, v) for v in variables]


def is_gradient(field: Any, variables: Any = VARIABLES) -> bool:
    jacobian = sympy.Matrix(field).jacobian(sympy.Matrix(variables))
    return (jacobian - jacobian.T).applyfunc(sympy.expand).is_zero_matrix is True


def on_loss(flow: ts.ModifiedFlow, loss: Expr = LOSS, variables: Any = VARIABLES) -> Any:
    return flow.field([-g for g in gradient(loss, variables)], variables)


# -- where there is one --------------------------------------------------------------------------------------


def test_the_modified_loss_of_gradient_descent() -> None:
    loss = ts.modified_loss(1)
    assert loss.exists
    assert not loss.remainder
    assert dict(loss) == {E0: 1, GG: Rational(1, 4)}
    assert str(loss) == "E + h/4 |∇E|²"
    assert loss.latex() == r"E + \frac{h}{4} \left|\nabla E\right|^{2}"
    slopes = gradient(LOSS)
    assert sympy.expand(loss.expression(LOSS, VARIABLES) - LOSS - h / 4 * sum(g**2 for g in slopes)) == 0


def test_the_modified_loss_of_heavy_ball() -> None:
    """Ghosh et al. 2023: (1+β)/(1−β) times that of gradient descent at equal effective step h/(1−β)."""
    loss = ts.modified_loss(1, update=ts.HeavyBall(beta))
    bracket = (1 - beta) * loss
    assert loss.exists
    assert sympy.simplify(bracket[E0] - 1) == 0
    assert sympy.simplify(bracket[GG] - (1 + beta) / (4 * (1 - beta) ** 2)) == 0
    effective = bracket[GG] * (1 - beta)  # the coefficient of h/(1 − β)
    assert sympy.simplify(effective / ts.modified_loss(1)[GG] - (1 + beta) / (1 - beta)) == 0
    flow = ts.modified_flow(2, update=ts.HeavyBall(beta))
    claimed = LOSS + h * (1 + beta) / (4 * (1 - beta) ** 2) * sum(g**2 for g in gradient(LOSS))
    for entry, slope in zip(on_loss(flow), gradient(claimed), strict=True):
        assert sympy.simplify(entry + slope / (1 - beta)) == 0


def test_implicit_euler_regularizes_the_other_way() -> None:
    implicit = ts.modified_loss(1, update=ts.ImplicitStep())
    assert str(implicit) == "E - h/4 |∇E|²"
    assert str((implicit + ts.modified_loss(1)) / 2) == "E"
    assert implicit - ts.modified_loss(1) == -1 * (ts.modified_loss(1) - implicit)


# -- where there is none -------------------------------------------------------------------------------------


def test_there_is_none_at_the_next_order() -> None:
    loss = ts.modified_loss(2)
    assert not loss.exists
    assert loss.truncate(1) == ts.modified_loss(1)
    chain, cherry = ts.Diagram((-1, 0, 1)), ts.Diagram((-1, 0, 0))
    assert loss.flow[chain] / loss.flow[cherry] == 4
    assert loss.gradient_part[chain] / loss.gradient_part[cherry] == 2
    assert loss[GHG] == Rational(5, 36)
    assert {t: c for t, c in loss.remainder.items() if c} == {chain: Rational(1, 18), cherry: Rational(-1, 18)}
    assert "no gradient: -h**2/18 ∇∇E ∇∇E ∇E + h**2/18 ∇∇∇E(∇E, ∇E)" in str(loss)
    assert "\\dot{\\theta} = -\\nabla \\tilde{E} + \\left(" in loss._repr_latex_()
    assert not loss[2].exists
    assert loss[1].exists


UPDATES = [None, ts.HeavyBall(Rational(1, 3)), ts.RungeKutta([[0, 0], [1, 0]], [Rational(1, 2)] * 2)]


@pytest.mark.parametrize("update", UPDATES)
def test_field_is_gradient_and_remainder(update: Any) -> None:
    loss = ts.modified_loss(3, update=update)
    assert loss.gradient_part + loss.remainder == ts.modified_flow(4, update=update)
    slopes = gradient(loss.expression(LOSS, VARIABLES))
    assert [sympy.expand(-slope) for slope in slopes] == list(on_loss(loss.gradient_part))
    for d in range(4):
        assert is_gradient(on_loss(loss.gradient_part[d]))
        assert is_gradient(on_loss(loss.flow[d])) == is_gradient(on_loss(loss.remainder[d])) == loss[d].exists
    assert not all(loss[d].exists for d in range(4))


@pytest.mark.parametrize("update", UPDATES)
def test_the_projection_is_orthogonal(update: Any) -> None:
    """The remainder is orthogonal to the gradient of every unrooted tree."""
    loss = ts.modified_loss(5, update=update)
    assert loss.remainder
    for d in range(6):
        for value in loss[d]:
            pure = ts.modified_flow(d + 1) * 0
            for node in range(len(value.parents)):  # ∇ of the tree: all its rootings
                rooted = ts.Diagram(rerooted(value, node))
                pure += ts.ModifiedFlow({rooted: sympy.Integer(1)}, d + 1)
            product = sum(c * loss.remainder[t] * t.automorphisms for t, c in pure.items())
            assert product == 0
            assert sum(loss.remainder[t] for t, c in pure.items() if c) == 0


def rerooted(value: ts.Value, root: int) -> list[int]:
    parents = [-1] * len(value.parents)

    def visit(node: int, above: int) -> None:
        parents[node] = above
        for edge in value.edges:
            if node in edge and sum(edge) - node != above:
                visit(sum(edge) - node, node)

    visit(root, -1)
    return parents


# -- the paper's recursion -----------------------------------------------------------------------------------


def recursion(second: Any, f: list[Expr], order: int) -> list[list[Expr]]:
    """f_0, …, f_order from θ + hf = Σ h^n/n! θ^(n)(0), with θ'' as `second` says and d/dt along the field.

    (A.6), (A.12) and (A.14) of the paper, which takes second = ∇|f̃|²/2 (A.8); all expanded in h.
    """
    parts = [f]

    def cut(expression: Expr) -> Expr:
        series = sympy.Poly(expression, h)
        return sum((c * h**k for (k,), c in series.terms() if k <= order), sympy.Integer(0))

    for level in range(1, order + 1):
        field = [cut(sum(h**k * part[i] for k, part in enumerate(parts))) for i in range(len(f))]
        derivative = [cut(entry) for entry in second(field)]
        total = [sympy.Integer(0)] * len(f)
        for n in range(2, level + 2):
            for i, entry in enumerate(derivative):
                total[i] += sympy.expand(entry).coeff(h, level + 1 - n) / factorial(n)
            derivative = [
                cut(sum(sympy.diff(entry, v) * u for v, u in zip(VARIABLES, field, strict=True)))
                for entry in derivative
            ]
        parts.append([sympy.expand(-entry) for entry in total])
    return parts


def of_the_paper(field: list[Expr]) -> list[Expr]:
    """(A.8): the gradient of |f̃|²/2."""
    return gradient(sum(entry**2 for entry in field) / 2)


def by_the_chain_rule(field: list[Expr]) -> list[Expr]:
    return [sympy.Add(*(sympy.diff(entry, v) * u for v, u in zip(VARIABLES, field, strict=True))) for entry in field]


def test_the_papers_recursion_goes_wrong_at_f3() -> None:
    """Barrett and Dherin, Lemma A.1: true of gradient fields, and f_2 is none."""
    loss = x**2 * y + y
    f = [-g for g in gradient(loss)]
    flow = ts.modified_flow(4)
    true = [list((flow[d].field(f, VARIABLES) / h**d).applyfunc(sympy.expand)) for d in range(4)]
    paper = recursion(of_the_paper, f, 3)
    assert paper[:3] == true[:3]
    assert paper[3] != true[3]
    assert recursion(by_the_chain_rule, f, 3) == true
    assert [is_gradient(part) for part in true] == [True, True, False, False]


def test_a_field_that_is_no_gradient_has_none_at_first_order_either() -> None:
    """Example A.5 says "for any vector field f, the first order correction always comes from the gradient"."""
    f = [x * y, x + y**2]
    assert not is_gradient(ts.modified_flow(2)[1].field(f, VARIABLES))
    assert recursion(of_the_paper, f, 1)[1] != recursion(by_the_chain_rule, f, 1)[1]


# -- faces and errors ----------------------------------------------------------------------------------------


def test_scalars_read_well() -> None:
    loss = ts.modified_loss(3)
    assert str(loss).startswith(
        "E + h/4 |∇E|² + 5*h**2/36 ∇E·∇∇E ∇E + h**3/48 ∇E·∇∇∇E(∇E, ∇E) + h**3/12 |∇∇E ∇E|², and"
    )
    parser = MathTextParser("path")
    for order in range(4):
        parser.parse(f"${ts.modified_loss(4)[order].latex()}$")
    parser.parse(f"${ts.modified_loss(1, update=ts.HeavyBall(beta)).latex()}$")
    parser.parse(ts.modified_loss(2)._repr_latex_().replace("\\displaystyle ", ""))
    assert len({loss, ts.modified_loss(3), ts.modified_loss(2)}) == 2
    assert GG in loss
    assert loss[ts.Value((-1, 0, 0, 0, 0))] == 0


@given(data=st.data())
def test_expressions_of_random_losses(data: st.DataObject) -> None:
    """Ẽ and |∇E|², ∇E·∇∇E ∇E, … written out by hand."""
    numbers = data.draw(st.lists(st.integers(-3, 3), min_size=6, max_size=6))
    loss = sum((n * m for n, m in zip(numbers, (x, y, x * y, x**2 * y, y**3, x**4), strict=True)), sympy.Integer(0))
    g = sympy.Matrix(gradient(loss))
    hessian = sympy.hessian(loss, VARIABLES)
    third = sympy.diff(g.dot(hessian * g), x) * g[0] + sympy.diff(g.dot(hessian * g), y) * g[1]
    third -= 2 * (hessian * g).dot(hessian * g)  # ∇E·∇ of GHG is JGGG + 2 |HG|²
    expected = loss + h / 4 * g.dot(g) + 5 * h**2 / 36 * g.dot(hessian * g)
    expected += h**3 / 48 * third + h**3 / 12 * (hessian * g).dot(hessian * g)
    assert sympy.expand(ts.modified_loss(3).expression(loss, VARIABLES) - expected) == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ts.modified_loss(-1), ValueError, "order=-1 is no power of h"),
        (lambda: ts.modified_loss(1, update="adam"), TypeError, "update='adam' is not an update rule"),
        (lambda: ts.modified_loss(1)[2], KeyError, "h.2 is not known"),
        (lambda: ts.modified_loss(1) * 0.5, TypeError, "not exact"),
        (lambda: ts.modified_loss(1) / 0, ZeroDivisionError, "divided by 0"),
        (lambda: ts.modified_loss(2).truncate(-1), ValueError, "order=-1"),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
