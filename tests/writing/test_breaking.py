r"""Formulas broken to a width: no line runs off the page, and nothing is lost on the way.

Checked here:
    (1) the width of LaTeX is never below what matplotlib's mathtext measures in the same font, and not far above
    (2) lines put together again are the formula on one line; each is as narrow as was asked for
    (3) pdfLaTeX sets every formula of a table of observables and dynamics without an overfull box
"""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from sympy import Integer, Rational, Symbol, expand, symbols

import taylorsgd as ts
from taylorsgd.writing.breaking import TIMES, broken
from taylorsgd.writing.em_widths import latex_width

x, beta = symbols("x beta")
OBSERVABLES = [
    ts.TestLoss(),
    ts.GeneralizationGap(),
    ts.Displacement(),
    ts.Covariance(ts.Displacement(), ts.Displacement()),
    ts.Observable(x**2, name="R_IG"),
]
DYNAMICS: list[tuple[ts.SGD | ts.GD | ts.SDE | ts.Replacement, dict[str, Any]]] = [
    (ts.SGD(), {}),
    (ts.SGD(shuffle=True), {}),
    (ts.Replacement(), {}),
    (ts.GD(), {"resum": "discrete"}),
    (ts.SDE(), {"resum": "continuous"}),
    (ts.SGD(N=4, B=2, E=2), {"resum": "discrete"}),
    (ts.GD(), {"update": ts.HeavyBall(beta)}),
    (ts.GD(), {"update": ts.HeavyBall(Rational(1, 2)), "resum": "discrete"}),
]


def formulas() -> list[ts.Formula]:
    found = []
    for observable, (place, options) in product(OBSERVABLES, DYNAMICS):
        if place.has_training_set or not isinstance(observable, ts.GeneralizationGap):
            found.append(ts.derive(observable, place, 2, **options))
    return found


FORMULAS = formulas()


def test_widths_are_those_of_the_font() -> None:
    parser, font = MathTextParser("path"), FontProperties(size=10, math_fontfamily="cm")
    pieces = {value.latex() for formula in FORMULAS for value in formula.values}
    pieces |= {formula.expectations.written()[0] for formula in FORMULAS}
    for piece in sorted(pieces):
        shown = piece.replace(r"\frac", r"\dfrac").replace(r"\nolimits", "").replace(r"\mathtt", r"\mathrm")
        measured = parser.parse(f"${shown.replace('~', ' ')}$", dpi=72, prop=font).width / 10
        if r"\sum" not in piece:  # mathtext sets scripts beside the sign
            assert measured * 0.97 - 0.1 <= latex_width(piece) <= 1.45 * measured + 0.6, piece  # whole points


@pytest.mark.parametrize("width", [24, 34, 50])
def test_lines_are_as_narrow_as_asked_and_nothing_is_lost(width: float) -> None:
    for formula in FORMULAS:
        whole, lines = formula.latex(), formula.latex(width)
        body = re.sub(r"\\(begin|end)\{aligned\}|&|\\quad(?![a-z])|\\\\$|\{\}", "", lines, flags=re.MULTILINE)
        for line in body.split("\n"):
            assert latex_width(line) <= width + 1, line
        if r"\bigl" not in lines and r"\cdot " not in lines and r"\allowbreak" not in whole:
            assert re.sub(r"\s", "", body) == re.sub(r"\s", "", whole)


def test_brackets_that_are_opened_are_closed() -> None:
    T, N = symbols("T N")
    long = expand((T + N + 1) ** 4)
    for number, rest in ((long / 12, Integer(1)), (Integer(1), 1 / long), (-(long**2), long), (long / (T - 1), 1 / T)):
        pieces = broken(number, [r"G_{\mu}"], rest, 10)
        assert all(latex_width(piece) <= 10 for piece in pieces), pieces
        text = "".join(pieces)
        assert text.count(r"\bigl(") == text.count(r"\bigr)") >= 1
        assert pieces[0][0] == ("-" if number == -(long**2) else "+")
        assert r"\left" not in text or text.count(r"\left") == text.count(r"\right")


def test_the_pieces_are_the_term() -> None:
    """With numbers put in, by reading the pieces as Python."""
    T, N = symbols("T N")
    number = (T**3 + 7 * N * T + 11 * N**2 - 5) / (12 * N * (N - 1))
    text = " ".join(broken(number, [], Integer(1), 6))
    for tex, python in [
        (r"\bigl(", "("),
        (r"\bigr)", ")"),
        (r"\left(", "("),
        (r"\right)", ")"),
        (TIMES, "*"),
        ("^", "**"),
    ]:
        text = text.replace(tex, python)
    text = re.sub(r"\\frac\{1\}\{([^{}]*)\}", r"1/(\1)", text).replace("{", "(").replace("}", ")")
    text = re.sub(r"(?<=[\dNT)]) (?=[NT(])", "*", text)
    names = {"T": 3, "N": 4}
    assert eval(text, {}, names) == pytest.approx(float(number.subs({T: 3, N: 4})))


@pytest.mark.parametrize("environment", ["aligned", "align", "align*", "equation", "equation*"])
def test_environments(environment: str) -> None:
    text = ts.derive(ts.TestLoss(), ts.SGD(), 2).latex(24, environment)
    outer = re.match(r"\\begin\{([a-z*]+)\}", text)
    assert outer and outer[1] == environment and text.endswith(rf"\end{{{environment}}}")
    assert text.count(r"\notag") == (text.count("\\\\") if environment == "align" else 0)


def test_options() -> None:
    formula = ts.derive(ts.TestLoss(), ts.GD(), 2)
    assert formula.latex(lhs=False).startswith("l - T")
    assert formula.latex(lhs="L(T)").startswith("L(T) = l - T") and formula.latex(lhs="L(T)").endswith(r"O(\eta^{3})")
    assert r"T \eta G_{\mu} G^{\mu}" in formula.latex(eta=True)
    sums = formula.latex(sums=True)
    assert r"T \eta \sum_{\mu} G_{\mu} G_{\mu}" in sums and "^{\\mu}" not in sums
    assert "T*eta Σ_μ G_μ G_μ" in formula.text(sums=True)
    assert r"T = \frac{E N}{B}" in ts.derive(ts.TestLoss(), ts.SGD(), 1).latex(), "what T stands for is kept"
    assert max(map(len, str(ts.derive(ts.TestLoss(), ts.SGD(), 3)).split("\n"))) <= 110
    for options, error, message in [
        ({"width": 5}, ValueError, "width=5 is too narrow"),
        ({"environment": "gather"}, ValueError, "environment='gather' is unknown"),
        ({"lhs": 3}, TypeError, "lhs=3 is neither"),
    ]:
        with pytest.raises(error, match=message):
            formula.latex(**options)
    weighted = ts.derive(ts.TestLoss(), ts.GD(), 1, update=ts.Descent(metric=[[2, 0], [0, 1]]))
    with pytest.raises(ValueError, match="sums=True: this formula has a matrix learning rate"):
        weighted.latex(sums=True)


def test_derivatives_are_told_from_products() -> None:
    fourth = ts.derive(ts.TestLoss(), ts.GD(), 4)[4]
    assert r"G_{\mu} \left(\nabla^{\mu}\nabla_{\nu}\nabla_{\lambda}\nabla_{\rho}l\right) G^{\nu}" in fourth.latex()
    assert "G_μ (∇^μ∇_ν∇_λ∇_ρ l) G^ν G^λ G^ρ" in fourth.text()


def test_momentum_coefficients_are_tidy() -> None:
    formula = ts.derive(ts.TestLoss(), ts.GD(), 2, update=ts.HeavyBall(Symbol("beta")))
    assert "beta*beta**" not in str(formula) and "beta**(T + 1)" in str(formula)


def test_sums_without_a_closed_form_say_what_they_are() -> None:
    cells = str(ts.derive(ts.TestLoss(), ts.SGD(N=4, B=2, E=2), 1, resum="discrete"))
    assert "Σ_[(.)] Σ_μ G_μ G_μ" in cells
    assert "Σ_[D] over the placements of D, N = 4, T = 4, edges carry (1 - eta H)^(Δt - 1)" in cells
    ball = ts.HeavyBall(Rational(1, 2))
    modes = " ".join(str(ts.derive(ts.TestLoss(), ts.GD(), 1, update=ball, resum="discrete")).split())
    assert "w_μ*(1 - r_μ**T)/(1 - r_μ)" in modes and "sums over the roots of r**2 + r*(eta*lambda - 3/2) + 1/2" in modes
    memory = " ".join(str(ts.derive(ts.TestLoss(), ts.Grid([[1, 1]]), 1, update=ball, resum="discrete")).split())
    assert "edges carry c (A - eta H b c)^(Δt - 1) b of HeavyBall(beta=1/2)" in memory


def test_tables_and_formulas_show_one_form() -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(), 2)
    table = formula.table()
    assert str(table).endswith("with T = E*N/B") and "T*(2*T - 1)/2" in str(table)
    assert r"\frac{E N}{B}" in table._repr_html_() and r"\frac{E N}{B}" in table.latex()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdfLaTeX is not installed")
@pytest.mark.parametrize("width", [24, 34])
def test_pdflatex_finds_no_line_too_long(width: int, tmp_path: Path) -> None:
    written = [f.latex(width, **style) for f in FORMULAS for style in ({}, {"sums": True}, {"eta": True, "lhs": False})]
    lengths = "".join(rf"\{name}={width}em" for name in ("hsize", "textwidth", "linewidth", "columnwidth"))
    page = "\n".join(rf"\[{text}\]" for text in written)
    (tmp_path / "page.tex").write_text(
        r"\documentclass[10pt]{article}\usepackage{amsmath,amssymb}\usepackage[paperwidth=60cm]{geometry}"
        rf"\allowdisplaybreaks\begin{{document}}{lengths}{page}\end{{document}}"
    )
    run = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "page.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert not re.findall(r"^!.*", run.stdout, flags=re.MULTILINE)
    assert not re.findall(r"Overfull \\hbox.*", run.stdout)
