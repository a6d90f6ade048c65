r"""Formulas as JSON: there and back, and nothing but a ValueError from a damaged text.

Checked here:
    (1) from_json(to_json(f)) = f in terms, diagrams, spacetimes, observables, and evaluates to the same
    (2) symbols keep their assumptions, expressions their structure; no string is parsed into an expression
    (3) any part of the text replaced by anything else gives a formula that prints, or a ValueError, soon
    (4) a text that was changed and still has its digest is refused
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Rational, Symbol

import taylorsgd as ts
from taylorsgd.symbols import B, E, M, N

x, y = sympy.symbols("x y")
LANDSCAPE = ts.FiniteLandscape([x**3 - y, x**2 + 2 * x * y], [Rational(1, 3), Rational(2, 3)], [x, y])
START = [1, 2]
k = Symbol("k", positive=True, integer=True)
FORMULAS = [
    ts.derive(ts.TestLoss(), ts.SGD(), 3),
    ts.derive(ts.TrainLoss(), ts.SGD(N=6, B=2, E=3), 2),
    ts.derive(ts.GeneralizationGap(), ts.GD(), 2),
    ts.derive(ts.Displacement(), ts.SDE(), 2),
    ts.derive(ts.TestLoss(), ts.ODE(T=3), 2),
    ts.derive(ts.Variance(ts.Displacement()), ts.Grid([[1, 0, 1], [0, 1, 0]]), 2),
    ts.derive(ts.SecondMoment(ts.TrainLoss(), ts.Displacement()), ts.SGD(B=1), 2),
    ts.derive(ts.TestLoss(), ts.SGD(), 2).to_moments(),
    ts.derive(ts.TestLoss(), ts.SGD(N=k * B, E=M * B), 2),
    ts.derive(ts.TestLoss(), ts.SGD(), 2) - sympy.sqrt(k) / 3 * ts.derive(ts.TestLoss(), ts.GD(), 2),
    ts.derive(ts.Observable(x**2 * y - sympy.exp(x / 2) + sympy.pi), ts.SGD(), 2),
    ts.derive(ts.Covariance(ts.Observable(x, name="u"), ts.Observable(sympy.sin(y), name="v")), ts.GD(), 2),
    0 * ts.derive(ts.Displacement(), ts.SGD(), 1),
]


@pytest.mark.parametrize("formula", FORMULAS, ids=range(len(FORMULAS)))
def test_there_and_back(formula: ts.Formula) -> None:
    text = formula.to_json()
    again = ts.Formula.from_json(text)
    assert again == formula
    assert again.terms == formula.terms
    assert again.spacetimes == formula.spacetimes
    assert again.observables == formula.observables
    assert (again.indices, str(again), again.latex()) == (formula.indices, str(formula), formula.latex())
    assert again.to_json() == text
    json.loads(text)


@pytest.mark.parametrize("formula", FORMULAS[:8], ids=range(8))
def test_it_can_go_on(formula: ts.Formula) -> None:
    """What comes back adds, substitutes and evaluates."""
    again = ts.Formula.from_json(formula.to_json())
    assert again + again == 2 * formula
    free = {str(symbol): symbol for spacetime in formula.spacetimes for symbol in spacetime.free_symbols}
    numbers = {name: {"N": 4, "B": 2, "E": 3, "T": 6}[name] for name in free}
    assert again.subs(numbers) == formula.subs(numbers)
    assert again.evaluate(LANDSCAPE, START, **numbers) == formula.evaluate(LANDSCAPE, START, **numbers)


def test_symbols_keep_their_assumptions() -> None:
    again = ts.Formula.from_json(ts.derive(ts.TestLoss(), ts.SGD(N=k, B=1), 1).to_json())
    (symbol,) = again.spacetimes[0].sizes["N"].free_symbols
    assert symbol == k
    assert symbol != Symbol("k")
    assert symbol.is_positive


def test_names_are_never_parsed() -> None:
    """Symbols called like SymPy's own objects, or like code."""
    for name in ("N", "E", "S", "I", "__import__('os')", "x + y", "", "lambda"):
        odd = Symbol(name)
        formula = ts.derive(ts.TestLoss(), ts.SGD(), 1) * odd
        again = ts.Formula.from_json(formula.to_json())
        assert again == formula
        assert odd in again.terms[0].coefficient.free_symbols
    data = json.loads(FORMULAS[0].to_json())
    data["terms"][0]["coefficient"] = "1 + 1"
    with pytest.raises(ValueError, match="damaged"):
        ts.Formula.from_json(json.dumps(data))


def test_what_json_can_not_hold() -> None:
    with pytest.raises(TypeError, match="'s' is a Python function, which JSON can't hold; give a SymPy expression"):
        ts.derive(ts.Observable(lambda theta: theta[0]), ts.SGD(), 1).to_json()
    strange = ts.derive(ts.Observable(sympy.besselj(0, x)), ts.SGD(), 1)
    with pytest.raises(TypeError, match="can't be written as JSON: the function besselj is none of Add"):
        strange.to_json()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"l"',
        "{}",
        '{"taylorsgd": 0}',
        '{"taylorsgd": 1}',
        '{"taylorsgd": "1", "terms": []}',
    ],
)
def test_texts_that_are_no_formula(text: str) -> None:
    with pytest.raises(ValueError, match="is not JSON|is not a formula written by to_json|is damaged"):
        ts.Formula.from_json(text)


@pytest.mark.parametrize("cut", [1, 10, 100, 500])
def test_truncated_texts(cut: int) -> None:
    text = FORMULAS[0].to_json()
    with pytest.raises(ValueError, match="is not JSON"):
        ts.Formula.from_json(text[:-cut])


def contents(formula: ts.Formula) -> Any:
    """The structure of a formula's text without the digest, as if it were written by hand."""
    found = json.loads(formula.to_json())
    del found["digest"]
    return found


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all parts of a JSON structure."""
    found = [path] if path else []
    children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else []
    for key, child in children:
        found += places(child, (*path, key))
    return found


LARGE = st.sampled_from(
    [
        10**9, -(10**30), {"head": "factorial", "arguments": [10**9]}, {"head": "gamma", "arguments": [10**9]},
        {"head": "binomial", "arguments": [10**9, 10**8]}, {"head": "Pow", "arguments": [2, 10**9]},
        {"head": "Pow", "arguments": [{"head": "Pow", "arguments": [3, 10**3]}, 10**6]}, {"rational": [1, 0]},
        {"head": "Pow", "arguments": [{"head": "Add", "arguments": [1, {"symbol": "N", "assumptions": {}}]}, 10**6]},
    ]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers(-3, 5) | st.floats(-2, 2) | st.sampled_from(["", "x", "@0", "Pow"])
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["rational", "symbol", "assumptions", "head", "arguments", "kind", "cells", "N"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=4,
)


@given(st.data())
@settings(max_examples=400)
def test_damaged_texts(data: st.DataObject) -> None:
    formula = data.draw(st.sampled_from([FORMULAS[i] for i in (1, 3, 5, 7, 9, 10)]))
    damaged = contents(formula)
    path = data.draw(st.sampled_from(places(damaged)))
    target = damaged
    for key in path[:-1]:
        target = target[key]
    if data.draw(st.booleans()):
        target[path[-1]] = data.draw(ANYTHING | LARGE)
    else:
        del target[path[-1]]
    try:
        again = ts.Formula.from_json(json.dumps(damaged))
    except ValueError:
        return
    assert isinstance(again, ts.Formula)
    assert isinstance(str(again) + again.latex() + repr(again), str)
    assert ts.Formula.from_json(again.to_json()) == again


def test_errors_say_that_the_text_is_damaged() -> None:
    for path, value in [
        (("terms", 0, "value", "parents"), 5),
        (("terms", 0, "value", "marks"), [1]),
        (("terms", 0, "coefficient"), {"head": "eval", "arguments": ["1"]}),
        (("spacetimes", 0, "kind"), "Nowhere"),
        (("spacetimes", 0, "N"), None),
        (("terms",), {"0": 1}),
    ]:
        damaged = contents(ts.derive(ts.TestLoss(), ts.SGD(N=N, E=E), 1))
        target = damaged
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value
        with pytest.raises(ValueError, match="the JSON text is damaged"):
            ts.Formula.from_json(json.dumps(damaged))


def nested(depth: int) -> Any:
    inner: Any = 1
    for _ in range(depth):
        inner = {"head": "exp", "arguments": [inner]}
    return inner


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("terms", 1, "coefficient"), {"head": "factorial", "arguments": [10**9]}, "factorial of numbers is larger"),
        (("terms", 1, "coefficient"), {"head": "gamma", "arguments": [{"rational": [10**9, 2]}]}, "gamma of numbers"),
        (("terms", 1, "coefficient"), {"head": "binomial", "arguments": [10**9, 10**8]}, "binomial of numbers"),
        (("terms", 1, "coefficient"), {"head": "Pow", "arguments": [2, 10**9]}, "Pow of numbers"),
        (("terms", 1, "coefficient"), nested(150), "nested more than 100 deep"),
        (("terms", 1, "coefficient"), 10**4999, "not JSON that can be read|an integer has"),
        (("terms", 1, "coefficient"), {"rational": [1, 0]}, "the fraction 1/0 is no number"),
        (("terms", 1, "value", "parents"), [0, 1], "has no root"),
        (("terms", 1, "value", "parents"), [-1, 2, 1], "has a cycle"),
        (("terms", 1, "diagrams", 0, "parents"), [-1] * 40, "larger than any"),
    ],
    ids=range(10),
)
def test_sizes_are_bounded(path: tuple[Any, ...], value: Any, said: str) -> None:
    damaged = contents(FORMULAS[0])
    target = damaged
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    sys.set_int_max_str_digits(0)
    text = json.dumps(damaged)
    sys.set_int_max_str_digits(4300)
    with pytest.raises(ValueError, match=said):
        ts.Formula.from_json(text)


def test_large_sizes_that_mean_something_are_read() -> None:
    for formula in (
        ts.derive(ts.TestLoss(), ts.GD(N=10**30, T=10**12), 2),
        ts.derive(ts.TestLoss(), ts.GD(), 2, update=ts.HeavyBall(Symbol("b"))).subs(T=10**6),
    ):
        assert ts.Formula.from_json(formula.to_json()) == formula


def test_numbers_that_are_too_long_to_write() -> None:
    with pytest.raises(ValueError, match="too long to be written"):
        (sympy.Integer(10) ** 5000 * FORMULAS[0]).to_json()


@given(st.data())
def test_no_flipped_character_gives_another_formula(data: st.DataObject) -> None:
    text = FORMULAS[1].to_json()
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("0123456789-eT[]{}:, "))
    changed = text[:place] + other + text[place + 1 :]
    try:
        again = ts.Formula.from_json(changed)
    except ValueError:
        return
    assert again == FORMULAS[1]


@pytest.mark.parametrize("momentum", [0, Rational(1, 2)])
@pytest.mark.parametrize("spacetime", [ts.GD(), ts.Grid([[1, 0, 1], [0, 1, 0]])], ids=["GD", "Grid"])
def test_formulas_of_version_0_1_are_read(spacetime: Any, momentum: Any) -> None:
    """A resummed value held beta of a heavy ball, and the cells of a grid, in place of a rule and a run."""
    update = ts.HeavyBall(momentum) if momentum else None
    formula = ts.derive(ts.TestLoss(), spacetime, 2, resum="discrete", update=update)
    data = contents(formula)
    for value in (term["value"] for term in data["terms"] if "propagated" in term["value"]):
        run = value.pop("run")
        del value["update"]
        value["momentum"] = {"rational": [1, 2]} if momentum else 0
        value["cells"] = None if run in (None, {"none": []}) else run["cells"]
    assert ts.Formula.from_json(json.dumps(data)) == formula
