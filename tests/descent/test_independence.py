"""Direct perturbation borrows nothing from what it is to judge: which functions of the package it calls."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from sympy import Rational, Symbol, symbols

import taylorsgd as ts
from taylorsgd.descent import perturb

ROOT = Path(ts.__file__).parent
x, y = symbols("x y")
HALF = Rational(1, 2)
PLACE = ts.FiniteLandscape([x**3 / 3 + x * y, x * y**2 - x**2], [HALF, HALF], [x, y])
OWN = {"descent/perturbation", "descent/local_expansion", "descent/series_arithmetic", "formulas/observables"}
OWN |= {"_lazy", "arguments", "exact_numbers"}  # public names are looked up, and what users give goes through gates
ASKED = {
    "spacetime": {"sizes", "histories", "log_histories", "N", "B", "T", "E", "M", "batches"},
    "updates": {"start", "step", "numbers", "parameters", "rows", "rates", "one_metric", "exact_metric", "few_updates"}
    | {"exactly", "checked_rates"},  # what checks a constructor's argument
    "landscapes": {"point", "dimension", "exact_expression", "_is_finite"},
}
"""What each room may be asked for, besides constructors."""

CASES: list[tuple[Any, dict[str, Any]]] = [
    (ts.SGD(N=2, B=1, E=2), {"update": ts.HeavyBall(Symbol("beta"), decay=HALF)}),
    (ts.SGD(N=2, B=1, E=2, shuffle=True), {"metric": [[2, 1], [1, 3]]}),
    (ts.SGD(N=2, B=1, E=2, shuffle=True, data="fixed"), {"update": ts.Nesterov(HALF)}),
    (ts.GD(N=2, T=2), {"update": ts.GDC(B=1)}),
    (ts.GD(N=2, T=3), {"update": ts.Descent(rates=ts.Cosine(), metric=[[2, 1], [1, 3]])}),
    (ts.Grid([[1, 0, 1], [0, 1, 0]]), {"update": ts.ImplicitStep()}),
    (ts.Replacement(N=2, B=1, T=2), {"update": ts.SecondOrder(HALF)}),
    (ts.ODE(), {"penalty": ts.Observable(x**2 / 2)}),
    (ts.SDE(), {}),
]


def functions_called(work: Any) -> set[tuple[str, str]]:
    """The (module, qualified name) of all functions of the package that are called."""
    found = set()

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(ROOT):
                name = path.relative_to(ROOT).with_suffix("").as_posix()
                found.add((name, frame.f_code.co_qualname))

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


def borrowed(called: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those that a direct perturbation has no business with."""
    return {
        (module, name)
        for module, name in called
        if module not in OWN and not ASKED.get(module.split("/")[0], set()) & set(name.split("."))
    }


@pytest.mark.parametrize(("spacetime", "options"), CASES, ids=lambda value: repr(value)[:30])
def test_it_asks_for_histories_and_steps_alone(spacetime: Any, options: Any) -> None:
    at = HALF, 1 - Rational(len(repr(options)), 7)  # a point of its own: nothing is known of it from before

    def work() -> None:
        perturb(ts.TestLoss(), spacetime, PLACE, at, 2, **options)

    called = functions_called(work)
    assert any(module == "descent/perturbation" for module, _ in called)
    assert borrowed(called) == set()


def test_what_formulas_are_made_of_would_be_noticed() -> None:
    place = ts.GD(N=17, T=23)  # of which nothing is known from before
    found = borrowed(functions_called(lambda: ts.derive(ts.TestLoss(), place, order=1)))
    rooms = {module.split("/")[0] for module, _ in found}
    assert rooms >= {"diagrams", "formulas", "spacetime", "timesums", "updates"}
