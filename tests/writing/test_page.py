r"""Formulas on the page: plain text, LaTeX, tables, SymPy.

Checked here:
    (1) the LaTeX of formulas is parsed by matplotlib's mathtext, and says what the text says
    (2) T stands for E·N/B only where that is explained, and then gives the coefficient back
    (3) to_sympy, with its tensors replaced by a landscape's numbers in two variables, equals evaluate
    (4) a table names every term and all of its diagrams
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import sympy
from matplotlib.mathtext import MathTextParser
from sympy import Indexed, Rational, Symbol

import taylorsgd as ts
from taylorsgd.symbols import B, E, N, T, eta
from taylorsgd.writing.em_widths import latex_width
from taylorsgd.writing.page import CELL, Page

x, y = sympy.symbols("x y")
OBSERVABLES = [
    ts.TestLoss(),
    ts.TrainLoss(),
    ts.GeneralizationGap(),
    ts.Displacement(),
    ts.Variance(ts.TestLoss()),
    ts.Covariance(ts.Displacement(), ts.Displacement()),
    ts.SecondMoment(ts.TrainLoss(), ts.Displacement()),
    ts.Observable(x**2 * y),
    ts.Covariance(ts.Observable(x, name="u"), ts.Observable(y, name="v")),
]
SPACETIMES = [ts.SGD(), ts.SGD(B=1, E=1), ts.SGD(N=4, B=2, E=3), ts.GD(), ts.Grid([[1, 0, 1], [0, 1, 0]])]


@pytest.mark.parametrize("observable", OBSERVABLES)
def test_mathtext_parses_the_latex(observable: Any) -> None:
    parser = MathTextParser("path")
    for spacetime in SPACETIMES:
        formula = ts.derive(observable, spacetime, 2)
        parser.parse(f"${formula.latex()}$")
        parser.parse(f"${formula.to_moments().latex()}$")
        for term in formula.terms:
            shown = term._repr_latex_()
            assert shown.startswith("$\\displaystyle ")
            parser.parse("$" + shown.removeprefix("$\\displaystyle "))


@pytest.mark.parametrize("observable", OBSERVABLES[:4])
def test_mathtext_parses_higher_orders(observable: Any) -> None:
    """Term by term: one line of a whole formula is long."""
    parser = MathTextParser("path")
    formula = ts.derive(observable, ts.SGD(B=1), 3)
    for d in range(4):
        parser.parse(f"${formula[d].latex()}$")


@pytest.mark.parametrize("formula", [
    ts.derive(ts.TestLoss(), ts.SGD(), 3),
    ts.derive(ts.TestLoss(), ts.SGD(), 1),
    ts.derive(ts.TrainLoss(), ts.GD(), 2),
    ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), 3)[3],
])  # fmt: skip
def test_the_display_is_the_line_broken_up(formula: ts.Formula) -> None:
    shown = formula._repr_latex_()
    assert shown.startswith("$\\displaystyle ")
    assert shown.endswith("$")
    body = shown.removeprefix("$\\displaystyle ").removesuffix("$").replace(r"&\quad {}", "&").replace(r"&\quad ", "&")
    lines = body.removeprefix("\\begin{aligned}").removesuffix("\\end{aligned}").strip().split(" \\\\\n")
    parser = MathTextParser("path")
    for line in lines:
        assert line.startswith("&") or len(lines) == 1
        parser.parse(f"${line.removeprefix('&')}$")
    assert all(latex_width(line) <= CELL for line in lines)
    joined = "".join(line.removeprefix("&") for line in lines)
    assert re.sub(r"\s", "", joined) == re.sub(r"\s", "", formula.latex())


@pytest.mark.parametrize(
    ("formula", "text", "latex"),
    [
        (
            ts.derive(ts.TestLoss(), ts.SDE(), 2),
            "l - T G_μ G^μ + T**2 G_μ H^μ_ν G^ν + T/(2*B) C_μν H^μν",
            r"l - T G_{\mu} G^{\mu} + T^{2} G_{\mu} H^{\mu}_{\nu} G^{\nu}"
            r" + \frac{T}{2 B} C_{\mu \nu} H^{\mu \nu}",
        ),
        (
            ts.derive(ts.Displacement(), ts.GD(), 2),
            "-T G^μ + T*(T - 1)/2 H^μ_ν G^ν + T*(T - 1)/(4*N) ∇^μ C^ν_ν",
            r"-T G^{\mu} + \frac{T \left(T - 1\right)}{2} H^{\mu}_{\nu} G^{\nu}"
            r" + \frac{T \left(T - 1\right)}{4 N} \nabla^{\mu}C^{\nu}_{\nu}",
        ),
        (ts.derive(ts.GeneralizationGap(), ts.GD(), 1), "T/N C^μ_μ", r"\frac{T}{N} C^{\mu}_{\mu}"),
        (
            ts.derive(ts.Variance(ts.TestLoss()), ts.GD(N=5, T=2), 2),
            "4/5 C_μν G^μ G^ν",
            r"\frac{4}{5} C_{\mu \nu} G^{\mu} G^{\nu}",
        ),
        (ts.derive(ts.Observable(x), ts.ODE(T=3), 1), "s - 3 G_μ ∇^μ s", r"s - 3 G_{\mu} \nabla^{\mu}s"),
    ],
)
def test_what_formulas_look_like(formula: ts.Formula, text: str, latex: str) -> None:
    assert formula.text(lhs=False) == text
    assert repr(formula) == f"<Formula {formula}>"
    assert formula.latex(lhs=False) == latex
    left, right = str(formula).split(" = ", 1)
    assert left == formula.expectations.written()[1]
    assert right == f"{text} + O(η^{formula.order + 1})"
    assert formula.latex() == rf"{formula.expectations.written()[0]} = {latex} + O(\eta^{{{formula.order + 1}}})"


def test_the_shorthand_is_explained() -> None:
    assert ts.derive(ts.TestLoss(), ts.SGD(), 2).text(None) == (
        "E[l(θ_T)] = l - T G_μ G^μ + T*(2*T - 1)/2 G_μ H^μ_ν G^ν + T*(E - 1)/(4*B) (∇_μ C^ν_ν) G^μ"
        " + T**2/(2*N) C_μν H^μν + O(η^3)    with T = E*N/B"
    )
    assert str(ts.derive(ts.TestLoss(), ts.SGD(), 1)) == "E[l(θ_T)] = l - T G_μ G^μ + O(η^2)    with T = E*N/B"
    gap = ts.derive(ts.TrainLoss(), ts.SGD(), 1)
    assert gap.text(lhs=False) == "l - T G_μ G^μ - E/B C^μ_μ    with T = E*N/B", "E/B is no longer than T/N"
    assert ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 1).text(lhs=False) == "l - T G_μ G^μ    with T = N"
    assert ts.derive(ts.TestLoss(), ts.SGD(N=4, B=2), 1).text(lhs=False) == "l - T G_μ G^μ    with T = 2*E"
    assert "with" not in str(ts.derive(ts.TestLoss(), ts.GD(), 2))
    assert "with" not in str(ts.derive(ts.TestLoss(), ts.SGD(N=4, B=2, E=3), 2))
    formula = ts.derive(ts.TestLoss(), ts.SGD(), 1)
    assert all(r"\left(T = \frac{E N}{B}\right)" in text for text in (formula._repr_latex_(), formula.latex()))


@pytest.mark.parametrize(
    "spacetime", [ts.SGD(), ts.SGD(B=1), ts.SGD(E=1), ts.SGD(B=1, E=1), ts.SGD(N=6), ts.SGD(N=2 * B)]
)
def test_the_shorthand_gives_the_coefficient_back(spacetime: ts.SGD) -> None:
    formula = ts.derive(ts.TrainLoss(), spacetime, 3)
    for shown, term in zip(Page(formula.terms, spacetime.T).coefficients, formula.terms, strict=True):
        assert sympy.simplify(shown.subs(T, spacetime.T) - term.coefficient) == 0
        assert shown.count_ops() <= term.coefficient.count_ops() + 1


def test_no_shorthand_where_T_is_taken() -> None:
    """A difference of two dynamics, and a formula that has a T of its own."""
    mixed = ts.derive(ts.TestLoss(), ts.SGD(), 1) - ts.derive(ts.TestLoss(), ts.GD(), 1)
    assert "with" not in str(mixed)
    assert Page(mixed.terms).coefficients == [term.coefficient for term in mixed.terms]
    scaled = T * ts.derive(ts.TestLoss(), ts.SGD(), 1)
    assert scaled.text(lhs=False) == "T l - E*N*T/B G_μ G^μ"
    renamed = ts.derive(ts.TestLoss(), ts.SGD(N=T, B=1, E=1), 1)
    assert renamed.text(lhs=False) == "l - T G_μ G^μ"


def test_signs_and_sums() -> None:
    f = ts.derive(ts.TestLoss(), ts.GD(), 1)
    assert str(-f) == "-E[l(θ_T)] = -l + T G_μ G^μ + O(η^2)"
    assert str((N + 1) * f[0]) == "(N + 1) l"
    assert (N + 1) * f[0] == f[0] + N * f[0]
    assert (f[0] * (N + 1)).latex() == r"\left(N + 1\right) l"
    assert str(f / 2) == "1/2 E[l(θ_T)] = 1/2 l - T/2 G_μ G^μ + O(η^2)"


def test_terms_show_themselves() -> None:
    _, first = ts.derive(ts.TestLoss(), ts.SGD(), 1).terms
    assert str(first) == "-E*N/B G_μ G^μ"
    assert first._repr_latex_() == r"$\displaystyle -\frac{E N}{B} G_{\mu} G^{\mu}$"


def test_tables() -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1), 2)
    text, page = str(formula.table()), formula.table()._repr_html_()
    for term in formula.terms:
        assert str(term.value) in text
        assert all(str(diagram) in text for diagram in term.diagrams)
        assert f"${term.value.latex()}$" in page
    assert page.count("<img") == sum(len(term.diagrams) for term in formula.terms)
    assert repr(formula.table()) == text


LANDSCAPE = ts.FiniteLandscape(
    [x**4 - 2 * x * y + y, 2 * x**2 * y - y**2 + x, x * y**2 / 2 - 3 * x + y**4],
    [Rational(w, 6) for w in (1, 2, 3)],
    [x, y],
)
START = [1, Rational(-1, 2)]
NAMES = {"G": (1,), "H": (2,), "J": (3,), "C": (1, 1), "S": (1, 1, 1)}


def number(name: str, indices: tuple[int, ...], observables: dict[str, Any]) -> sympy.Expr:
    """Look a tensor up by the documented names."""
    head, *degrees = name.split("_")
    entry: Any
    if head in observables:
        along = [(x, y)[i] for i in indices]
        slope = sympy.diff(observables[head], *along) if along else observables[head]
        return slope.subs({x: START[0], y: START[1]})
    if head == "m":
        entry = LANDSCAPE.moment(tuple(map(int, degrees)), START)[indices]
    elif head == "kappa":
        entry = LANDSCAPE.cumulant(tuple(map(int, degrees)), START)[indices]
    elif head == "l":
        entry = LANDSCAPE.moment((0,), START)[()]
    elif re.fullmatch(r"D\d+", head):
        entry = LANDSCAPE.cumulant((int(head[1:]),), START)[indices]
    else:
        entry = LANDSCAPE.cumulant(NAMES[head], START)[indices]
    return Rational(entry.numerator, entry.denominator)


def in_two_variables(expression: sympy.Expr, observables: dict[str, Any], free: dict[Any, int]) -> sympy.Expr:
    written_out = expression.subs(Symbol("P"), 2).doit().subs(free)
    replaced: dict[Any, Any] = {
        tensor: number(str(tensor.base), tuple(int(str(i)) for i in tensor.indices), observables)
        for tensor in written_out.atoms(Indexed)
    }
    for symbol in written_out.free_symbols - {eta}:
        if isinstance(symbol, Symbol) and str(symbol) in ("l", *observables):
            replaced[symbol] = number(str(symbol), (), observables)
    return sympy.expand(written_out.xreplace(replaced))


@pytest.mark.parametrize("moments", [False, True])
@pytest.mark.parametrize("observable", OBSERVABLES)
def test_to_sympy_equals_evaluate(observable: Any, moments: bool) -> None:
    formula = ts.derive(observable, ts.SGD(N=2, B=1, E=2), 2)
    expected = formula.evaluate(LANDSCAPE, START)
    written = (formula.to_moments() if moments else formula).to_sympy()
    observables = {name: o.s for name, o in formula.observables.items()}
    mu, nu = sympy.symbols("mu nu", integer=True)
    if formula.indices == 0:
        assert in_two_variables(written, observables, {}) == expected
    elif formula.indices == 1:
        found = [in_two_variables(written, observables, {mu: i}) for i in range(2)]
        assert sympy.Matrix(found) == sympy.Matrix(expected)
    else:
        entries = [[in_two_variables(written, observables, {mu: i, nu: j}) for j in range(2)] for i in range(2)]
        assert sympy.Matrix(entries) == sympy.Matrix(expected)


def test_to_sympy_keeps_the_sizes() -> None:
    third = ts.derive(ts.TestLoss(), ts.SGD(), 3).to_sympy()
    assert {N, B, E, eta} <= third.free_symbols
    numbers: dict[Any, Any] = {N: 4, B: 2, E: 2}
    concrete = ts.derive(ts.TestLoss(), ts.SGD(N=4, B=2, E=2), 3).to_sympy()
    assert sympy.expand(third.subs(numbers) - concrete) == 0


def test_to_sympy_of_fourth_derivatives() -> None:
    """D4 and κ(∇∇∇l, …) have names of their own."""
    third = ts.derive(ts.TestLoss(), ts.SGD(N=2, B=1, E=1), 4)[4]
    names = {str(tensor.base) for tensor in third.to_sympy().atoms(Indexed)}
    assert {"D4", "J", "kappa_1_3"} <= names
    assert in_two_variables(third.to_sympy(), {}, {}) == third.evaluate(LANDSCAPE, START)
