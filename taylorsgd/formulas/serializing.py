"""Formulas as JSON text: their terms, spacetimes and observables as structures of plain data."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import sympy
from sympy import Expr

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram, Value
from taylorsgd.formulas.observables import Observable
from taylorsgd.formulas.resummed_value import SPACETIMES, ResummedValue
from taylorsgd.formulas.term import Combination, Term
from taylorsgd.updates.metrics import exact_metric
from taylorsgd.writing.json_form import decoded, decoded_call, encoded, encoded_call

__all__ = ["read_text", "written_text"]

VERSION = 1
Made = TypeVar("Made")


def written_text(formula: Combination) -> str:
    """Write a formula as JSON text; see `Formula.to_json`."""
    return json.dumps(
        {
            "taylorsgd": VERSION,
            "terms": [
                {
                    "coefficient": encoded(term.coefficient),
                    "value": term.value.to_data(),
                    "diagrams": [diagram.to_data() for diagram in term.diagrams],
                }
                for term in formula.terms
            ],
            "spacetimes": [encoded_call(spacetime) for spacetime in formula.spacetimes],
            "observables": [_encode_observable(observable) for observable in formula.observables.values()],
            "indices": formula.indices,
            "metric": None if formula.metric is None else [list(map(encoded, row)) for row in formula.metric.tolist()],
            "rate": encoded(formula.rate),
        },
        indent=1,
    )


def read_text(text: str, make: Callable[..., Made]) -> Made:
    """Read what a `Formula` is made of from JSON text, and make it; see `Formula.from_json`."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"the text is not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("taylorsgd") != VERSION:
        raise ValueError(f"the text is not a formula written by to_json (format {VERSION})")
    try:
        terms = [
            Term(
                decoded(entry["coefficient"]),
                (ResummedValue if "propagated" in entry["value"] else Value).from_data(entry["value"]),
                tuple(map(Diagram.from_data, entry["diagrams"])),
            )
            for entry in data["terms"]
        ]
        places = [decoded_call(entry, SPACETIMES) for entry in data["spacetimes"]]
        indices = data["indices"]
        observed = {entry["name"]: Observable(decoded(entry["s"]), entry["name"]) for entry in data["observables"]}
        if indices not in (0, 1, 2):
            raise ValueError(f"indices={indices!r} is none of 0, 1, 2")
        for term in terms:
            if term.coefficient.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
                raise ValueError(f"the coefficient {term.coefficient} is no number")
        rows = data.get("metric")
        metric = None if rows is None else exact_metric([[decoded(entry) for entry in row] for row in rows])
        rate = decoded(data["rate"]) if "rate" in data else symbols.eta  # version 0.1 wrote none
        if rate not in (symbols.eta, 1):
            raise ValueError(f"rate={rate} is neither eta nor 1")
        return make(terms, places, observed, indices, metric, rate)
    except (KeyError, TypeError, IndexError, AttributeError, ArithmeticError, RecursionError, ValueError) as error:
        raise ValueError(f"the JSON text is damaged: {error!r}") from error


def _encode_observable(observable: Observable) -> dict[str, Any]:
    if callable(observable.s) and not isinstance(observable.s, Expr):
        raise TypeError(
            f"the observable {observable.name!r} is a Python function, which JSON can't hold; give a SymPy expression"
        )
    return {"name": observable.name, "s": encoded(sympy.sympify(observable.s))}
