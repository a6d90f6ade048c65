"""Tables of terms: in HTML that survives untrusted notebooks, in LaTeX that fits a page."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from base64 import b64decode
from pathlib import Path

import pytest
import sympy

import taylorsgd as ts

OBSERVABLES = [
    ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement(), ts.Variance(ts.TestLoss()),
    ts.Covariance(ts.GeneralizationGap(), ts.Displacement()),
]  # fmt: skip
SPACETIMES = [ts.SGD(), ts.SGD(B=1, E=1), ts.GD(), ts.SGD(shuffle=True), ts.Replacement()]


def pictures(html: str) -> list[ElementTree.Element]:
    found = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]*)"', html)
    return [ElementTree.fromstring(b64decode(data)) for data in found]


def test_pictures_are_images_with_a_text() -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(), 3)
    html = formula.table()._repr_html_()
    diagrams = [str(diagram) for term in formula.terms for diagram in term.diagrams]
    assert re.findall(r'alt="diagram ([^"]*)"', html) == diagrams
    assert len(pictures(html)) == len(diagrams)
    assert "<svg" not in html, "it is taken out of an untrusted notebook"


def test_pictures_have_one_scale() -> None:
    html = ts.derive(ts.TestLoss(), ts.GD(), 3).table()._repr_html_()
    name = "{http://www.w3.org/2000/svg}circle"
    dots = {
        dot.attrib["r"]
        for svg in pictures(html)
        for dot in svg.iter(name)
        if dot.attrib["data-kind"] in ("node", "root")
    }
    assert len(dots) == 1
    assert html.count("<img") == html.count("max-width: none"), "a narrow column does not shrink them"


def test_formulas_are_not_broken() -> None:
    formula = ts.derive(ts.TestLoss(), ts.GD(), 2)
    html = formula.table()._repr_html_()
    for term in formula.terms:
        for written in (term.value.latex(), sympy.latex(term.coefficient)):
            assert f'<td style="text-align: left; white-space: nowrap">${written}$</td>' in html


@pytest.mark.parametrize("environment", ["tabular", "longtable"])
def test_latex_has_a_row_for_every_term(environment: str) -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(), 2)
    text = formula.table().latex(environment)
    assert text.startswith(rf"\begin{{{environment}}}") and text.endswith(rf"\end{{{environment}}}")
    rows = text.split(r"\tabularnewline")[:-1]
    assert len(rows) == len(formula.terms)
    for row, term in zip(rows, formula.terms, strict=True):
        assert row.count(r"\begin{tikzpicture}") == len(term.diagrams)
        assert row.count("&") == 3 + (term is formula.terms[0]) * 3
    assert (r"\endhead" in text) == (environment == "longtable")
    with pytest.raises(ValueError, match='environment = \'array\': give "tabular" or "longtable"'):
        formula.table().latex("array")


def test_no_terms_no_rows() -> None:
    nothing = ts.derive(ts.TestLoss(), ts.GD(), 1)
    assert r"\tabularnewline" not in (nothing - nothing).table().latex()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_tables_fit_a_page_of_pdflatex(tmp_path: Path) -> None:
    """Up to order 3, and resummed up to order 2, in a line of 6.5 inches."""
    pages = [
        r"\documentclass{article}\usepackage[textwidth=6.5in]{geometry}\usepackage{amsmath,tikz,longtable}",
        r"\begin{document}\noindent",
    ]
    for observable in OBSERVABLES:
        for spacetime in SPACETIMES:
            pages.append(ts.derive(observable, spacetime, 2).table().latex() + r"\par\noindent")
        for spacetime in (ts.GD(), ts.SGD(B=1, E=1)):
            for resum in ("discrete", "continuous"):
                pages.append(ts.derive(observable, spacetime, 2, resum=resum).table().latex() + r"\par\noindent")
    for observable in (ts.TestLoss(), ts.TrainLoss()):
        pages.append(ts.derive(observable, ts.SGD(), 3).table().latex("longtable"))
    (tmp_path / "tables.tex").write_text("\n\n".join([*pages, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    log = run.stdout.decode(errors="replace")
    assert run.returncode == 0, log[-2000:]
    assert "Overfull \\hbox" not in log
    assert (tmp_path / "tables.pdf").read_bytes().startswith(b"%PDF")
