r"""Two dynamics side by side, after equally many updates.

References: Tenka, Corollaries 1 and 3, as corrected (DESIGN, section 7).

Identities:
    (1) first − second of every row, at sizes with equal T, is the coefficient of the difference of the formulas
    (2) every value is in exactly one of shared, differing, only_first, only_second
    (3) one epoch differs from GD by (N−1)/4 ∇C, at T = N; SGD from the SDE by −T/2 GHG
"""

from __future__ import annotations

from typing import Any

import pytest
import sympy

import taylorsgd as ts
from taylorsgd.formulas.comparison import FormulaComparison
from taylorsgd.symbols import B, E, N, T

PAIRS = [
    (ts.SGD(), ts.GD()),
    (ts.SGD(B=1, E=1), ts.GD()),
    (ts.SGD(E=1), ts.Replacement()),
    (ts.SGD(), ts.SDE()),
    (ts.SDE(), ts.ODE()),
    (ts.SGD(), ts.SGD(shuffle=True)),
    (ts.GD(T=6), ts.SGD()),
    (ts.GD(), ts.SGD(N=4, B=2, E=3)),
]


def both(observable: Any, pair: Any, order: int = 3, **options: Any) -> tuple[ts.Formula, ts.Formula]:
    return tuple(ts.derive(observable, spacetime, order, **options) for spacetime in pair)  # type: ignore[return-value]


@pytest.mark.parametrize("pair", PAIRS, ids=repr)
@pytest.mark.parametrize("observable", [ts.TestLoss(), ts.Displacement(), ts.Variance(ts.Displacement())], ids=repr)
def test_rows_against_numbers(observable: Any, pair: Any) -> None:
    """With N = 4 (or what one epoch makes it), B = 2 and T = 6, put in by hand."""
    first, second = both(observable, pair)
    compared = first.compare(second)
    groups = (compared.shared, compared.differing, compared.only_first, compared.only_second)
    assert sorted(row.value.sort_key for group in groups for row in group) == sorted(
        value.sort_key for value in {*first.values, *second.values}
    )
    sizes = {N: sympy.Integer(4), B: sympy.Integer(2), T: sympy.Integer(6)}
    if isinstance(pair[0], ts.SGD) and pair[0].E == 1:
        sizes[N] = 6 * pair[0].B.subs(B, 2)
    for row in compared.rows:
        for formula, number in ((first, row.first), (second, row.second)):
            (place,) = formula.spacetimes
            put = sizes | (
                {E: 6 * place.sizes["B"].subs(sizes) / place.sizes["N"].subs(sizes)} if "N" in place.sizes else {}
            )
            assert formula.coefficient(row.value).subs(put) == number.subs(put), (row.value, formula)
        assert sympy.cancel(row.first - row.second - row.difference) == 0
        assert (row.difference == 0) == (row in compared.shared)


def test_corollary_1() -> None:
    compared = ts.derive(ts.Displacement(), ts.GD(), 2).compare(ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), 2))
    (row,) = compared.only_first
    assert row.value == ts.Value((-1, 0, 1), (0, 1, 1), ("@0", "", ""))
    assert sympy.simplify(row.difference - (T - 1) / 2) == 0  # (T−1)/2 · ½ ∇C, with N = T
    assert compared.sizes == {N: T} and compared.differing == compared.only_second == ()
    assert "at equal T, with N = T" in str(compared)


def test_corollary_3() -> None:
    compared = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2).compare(ts.derive(ts.TestLoss(), ts.SDE(B=1), 2))
    assert [(str(row.value), sympy.simplify(row.difference + T / 2)) for row in compared.differing] == [
        ("G_μ H^μ_ν G^ν", 0)
    ]
    assert "C_μν H^μν" in [str(row.value) for row in compared.shared]


def test_shuffling_enters_at_the_fourth_order() -> None:
    first, second = both(ts.TestLoss(), (ts.SGD(), ts.SGD(shuffle=True)))
    assert not first.compare(second).differing and len(first.compare(second).shared) == len(first)


def test_it_shows_itself() -> None:
    first, second = both(ts.TestLoss(), (ts.SGD(), ts.GD()), 2)
    compared = first.compare(second)
    assert isinstance(compared, FormulaComparison)
    assert "first: SGD(N=N, B=B, E=E), second: GD(N=N, T=T), at equal T, with E = B*T/N" in str(compared)
    assert str(compared).count("shared") == 4 and str(compared).count("differ ") == 1
    html = compared._repr_html_()
    assert html.count("<tr>") == 6 and html.count("<svg") == 6 and "at equal T" in html
    assert compared.latex().count(r"\\") == 5


def test_resummed_formulas() -> None:
    first, second = both(ts.TestLoss(), (ts.SGD(B=1, E=1), ts.GD()), 2, resum="discrete")
    compared = first.compare(second)
    assert [len(group) for group in (compared.shared, compared.only_first, compared.only_second)] == [3, 1, 2]


def test_what_can_not_be_compared() -> None:
    loss, moved = (ts.derive(s, ts.SGD(), 1) for s in (ts.TestLoss(), ts.Displacement()))
    with pytest.raises(ValueError, match="have indices 0 and 1"):
        loss.compare(moved)
    with pytest.raises(TypeError, match="give another Formula"):
        loss.compare(3)
    with pytest.raises(ValueError, match=r"make N/B and 2\*N/B updates, which can't be equal"):
        ts.derive(ts.TestLoss(), ts.SGD(E=1), 1).compare(ts.derive(ts.TestLoss(), ts.SGD(E=2), 1))
    with pytest.raises(ValueError, match="make 3 and 4 updates"):
        ts.derive(ts.TestLoss(), ts.GD(T=3), 1).compare(ts.derive(ts.TestLoss(), ts.GD(T=4), 1))
    s, t = (ts.derive(ts.Observable(what), ts.GD(), 1) for what in sympy.symbols("x y"))
    with pytest.raises(ValueError, match="both formulas observe something called 's'"):
        s.compare(t)
    with pytest.raises(ValueError, match="have rate eta and 1"):
        loss.compare(loss.subs(eta=1))
