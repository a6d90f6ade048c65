r"""A coefficient by value, by diagram, or by how the value is written.

Identities:
    (1) coefficient(value) is the term's; 0 for a value or a diagram that the formula does not have
    (2) coefficient(text) · text = term for every value of every observable, up to order 3, in cumulants and in moments,
        as text and as LaTeX, with its letters exchanged, and in short where that is unique
    (3) what fits several values, or none, raises a ValueError that lists them
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import sympy

import taylorsgd as ts
from taylorsgd.formulas.value_text import read_value
from taylorsgd.symbols import B, E, N

SINGLE = [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement(), ts.Observable(sympy.Symbol("x"))]
PAIRS = [
    ts.Variance(ts.TestLoss()),
    ts.Variance(ts.Displacement()),
    ts.SecondMoment(ts.Displacement(), ts.Displacement()),
    ts.Covariance(ts.TestLoss(), ts.Displacement()),
    ts.Covariance(ts.Observable(sympy.Symbol("x"), name="loss2"), ts.TrainLoss()),
]


@cache
def derived(observable: Any, order: int = 3) -> ts.Formula:
    return ts.derive(observable, ts.SGD(), order)


def without_number(text: str) -> tuple[sympy.Expr, str]:
    """The number that a value begins with, and the rest."""
    for number, written in ((2, "½ "), (2, r"\frac{1}{2} "), (4, "1/4 "), (4, r"\frac{1}{4} ")):
        if text.startswith(written):
            return sympy.Integer(number), text.removeprefix(written)
    return sympy.Integer(1), text


EXCHANGED = str.maketrans("μνλρστ", "ijkabc")


@pytest.mark.parametrize("observable", [*SINGLE, *PAIRS], ids=repr)
@pytest.mark.parametrize("moments", [False, True])
def test_every_value_by_its_text(observable: Any, moments: bool) -> None:
    f = derived(observable).to_moments() if moments else derived(observable)
    for term in f:
        assert f.coefficient(term.value) == term.coefficient
        for written in (str(term.value), term.value.latex()):
            number, rest = without_number(written)
            assert f.coefficient(written) == term.coefficient, written
            assert sympy.simplify(f.coefficient(rest) * number - term.coefficient) == 0, rest
        number, rest = without_number(str(term.value))
        assert sympy.simplify(f.coefficient(rest.translate(EXCHANGED)) * number - term.coefficient) == 0, rest


def shortened(text: str) -> str:
    return re.sub(r"[_^][μνλρστ]+", "", text)


@pytest.mark.parametrize("observable", [*SINGLE, *PAIRS], ids=repr)
def test_every_value_in_short(observable: Any) -> None:
    """A short text finds its value, or names all that it fits, this one among them."""
    f = derived(observable)
    unique = 0
    for term in f:
        number, rest = without_number(str(term.value))
        try:
            found = f.coefficient(shortened(rest))
        except ValueError as error:
            assert "may name" in str(error) and str(term.value) in str(error)
        else:
            unique += 1
            assert sympy.simplify(found * number - term.coefficient) == 0, rest
    assert unique > 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("G G", -E * N / B),
        ("G_i G^i", -E * N / B),
        ("G_mu G^mu", -E * N / B),
        (r"$G_\mu G^\mu$", -E * N / B),
        ("C H", E**2 * N / (2 * B**2)),
        ("H C", E**2 * N / (2 * B**2)),
        ("C_{mu nu}H^{mu nu}", E**2 * N / (2 * B**2)),
        (r"C_{\mu\nu} H^{\mu\nu}", E**2 * N / (2 * B**2)),
        ("2 C H", E**2 * N / (4 * B**2)),
        ("1/2 C H", E**2 * N / B**2),
        ("G H G", -E * N * (B - 2 * E * N) / (2 * B**2)),
        ("∇C G", E * N * (E - 1) / (4 * B**2)),
        ("½ ∇_a C_bb G_a", E * N * (E - 1) / (2 * B**2)),
        ("κ(∇l, ∇∇l) G", E * N * (E - 1) / (2 * B**2)),
        ("l", 1),
    ],
)
def test_texts(text: str, expected: Any) -> None:
    assert sympy.simplify(derived(ts.TestLoss(), 2).coefficient(text) - expected) == 0


def test_higher_derivatives_in_any_spelling() -> None:
    f = ts.derive(ts.TestLoss(), ts.ODE(), 4)
    expected = f.coefficient(ts.Value((-1, 0, 0, 0, 0)))
    assert expected != 0
    gradients = "G_i G_j G_k G_m"
    for text in ("∇_i∇_j∇_k∇_m l", "(∇_i∇_j∇_k∇_m l)", "∇⁴l_{ijkm}", "∇^4_{ijkm} l", "(∇⁴l)_{ijkm}"):
        assert f.coefficient(f"{text} {gradients}") == expected, text
    for text in ("∇^4l", "∇∇∇∇ l", "∇⁴l", r"\nabla^4 l"):
        assert f.coefficient(f"{text} G G G G") == expected, text


def test_values_and_diagrams_that_are_not_there() -> None:
    f = derived(ts.TestLoss(), 2)
    assert f.coefficient(ts.Value((-1, 0, 0, 0))) == 0
    assert f.coefficient(ts.Diagram((-1, 0, 1, 2))) == 0
    assert f.coefficient(ts.Diagram((-1, 0, 1))) == f.coefficient(ts.Diagram((-1, 0, 0))) == f.coefficient("G H G")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("C G", r"names no value of this formula, which has l; G_μ G\^μ; "),
        ("J_ijk G_i G_j G_k", "names no value"),
        ("G_i", "names no value"),
        ("X", "expected one of G, H, J, C, S, l"),
        ("", "names no tensors"),
        ("G_i G", "give indices to all tensors or to none"),
        ("H_i G_i", "H takes 2 indices, not 1"),
        ("G_i G_i G_i", "the index i stands 3 times"),
        ("H_ii", "close a loop"),
        ("∇_i C_jk", "only the trace"),
        ("(∇_i∇_j l", "not closed"),
        ("κ(∇_i l", "closing bracket|not closed"),
    ],
)
def test_texts_that_name_nothing(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        derived(ts.TestLoss(), 2).coefficient(text)


def test_a_text_that_fits_several_lists_them() -> None:
    f = derived(ts.TestLoss())
    with pytest.raises(ValueError, match=r"may name 2 values: .*∇_μ C\^ν_ν\) H.*; κ\(∇_μ∇_ν l, ∇_λ l\) H"):
        f.coefficient("κ(∇l, ∇∇l) H G")
    assert f.coefficient("∇C H G") == f.coefficient("∇_i C_jj H_ik G_k")  # only one is the derivative of a trace


def test_only_values_diagrams_and_texts() -> None:
    with pytest.raises(TypeError, match=r"coefficient\(2\)"):
        derived(ts.TestLoss()).coefficient(2)


@pytest.mark.parametrize("resum", ["discrete", "continuous"])
def test_resummed_values(resum: str) -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum=resum)
    for term in f:
        assert f.coefficient(term.value) == f.coefficient(str(term.value)) == f.coefficient(term.value.latex())
        assert all(f.coefficient(diagram) == term.coefficient for diagram in term.diagrams)
    assert f.coefficient("C H") == f.coefficient("C_ij H_ij") == sympy.Rational(1, 2)


def test_a_name_wins_over_letters() -> None:
    assert read_value("C_munu H_munu").networks() == read_value("C_ij H_ij").networks()
    assert read_value("C_in H_in").networks() == read_value("C_ij H_ij").networks()
