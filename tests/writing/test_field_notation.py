"""Formulas of vector fields as they are written: indices up at the u that they leave, down where they come in."""

from __future__ import annotations

import re

import pytest
from sympy import Symbol

import taylorsgd as ts

EPOCH = ts.SGD(B=1, E=1)
SEEN = ts.Observable(Symbol("x"))


def test_text() -> None:
    formula = ts.derive(SEEN, EPOCH, 2)
    assert formula.text(field=True, lhs=False, width=None) == (
        "s + T*eta u^μ ∂_μ s + T*eta**2*(T - 1)/2 u^μ (∂_μ u^ν) ∂_ν s + T*eta**2*T/2 u^μ u^ν ∂_μ∂_ν s"
        " + T*eta**2/2 κ(u^μ, u^ν) ∂_μ∂_ν s    with T = N"
    ).replace("T*eta**2*T/2", "T**2*eta**2/2")
    assert "G_μ" in formula.text() and "u^" not in formula.text()


def test_latex() -> None:
    written = ts.derive(ts.Displacement(), EPOCH, 2).latex(field=True, lhs=False)
    assert r"T \eta u^{\mu}" in written and r"u^{\nu} \partial_{\nu}u^{\mu}" in written


@pytest.mark.parametrize("observable", [SEEN, ts.Displacement(), ts.Variance(ts.Displacement()), ts.Variance(SEEN)])
def test_every_index_is_up_once_and_down_once(observable: object) -> None:
    formula = ts.derive(observable, EPOCH, 3)  # type: ignore[call-overload]
    for term in formula:
        written = str(term.value.directed_contraction())
        up, down = (
            "".join(found) for found in (re.findall(r"\^([μνλρσ]+)", written), re.findall("_([μνλρσ]+)", written))
        )
        free = "μν"[: len(term.value.open_indices)]
        assert sorted(up) == sorted(set(up)) and sorted(up) == sorted(down + free), written
        assert up.count("μ") <= 1 and written.count("u^") == term.order


def test_moments_and_json() -> None:
    formula = ts.derive(SEEN, EPOCH, 2)
    assert "E[u^μ u^ν] ∂_μ∂_ν s" in formula.to_moments().text(field=True)
    again = ts.Formula.from_json(formula.to_json())
    assert again.text(field=True) == formula.text(field=True)


def test_tables_have_arrows() -> None:
    table = ts.derive(ts.Displacement(), EPOCH, 2).table(field=True)
    assert str(table).splitlines()[-2].split()[-3:] == ["∂_ν", "u^μ", "((.))"]
    plain, arrows = ts.Diagram.parse("((.))"), ts.Diagram.parse("((.))").with_arrows()
    assert arrows.svg().count(" M") == plain.svg().count(" M") + 4  # two barbs for each of two edges
    assert "arrows" in arrows.description and arrows.tikz() != plain.tikz() and str(arrows) == str(plain)


@pytest.mark.parametrize(
    ("formula", "sums", "message"),
    [
        (ts.derive(ts.TestLoss(), EPOCH, 1), False, "is of a loss"),
        (ts.derive(SEEN, EPOCH, 1, resum="discrete"), False, "eigenbasis of a symmetric H"),
        (ts.derive(SEEN, EPOCH, 1), True, "once up and once down"),
    ],
)
def test_errors(formula: ts.Formula, sums: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        formula.text(field=True, sums=sums)
