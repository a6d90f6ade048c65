"""Formulas as JSON text: their terms, spacetimes and observables as structures of plain data."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any, TypeVar

import sympy
from sympy import Expr

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram, Value
from taylorsgd.exact_numbers import exact_argument
from taylorsgd.formulas.assumptions import ASSUMPTIONS
from taylorsgd.formulas.expectations import ENDS, Expectation, Expectations, Run
from taylorsgd.formulas.observables import (
    AnyObservable,
    Covariance,
    Displacement,
    GeneralizationGap,
    Observable,
    SecondMoment,
    TestLoss,
    TrainLoss,
)
from taylorsgd.formulas.resummed_value import RULES, SPACETIMES, ResummedValue
from taylorsgd.formulas.term import Combination, Term
from taylorsgd.updates.metrics import exact_metric
from taylorsgd.writing.json_form import decoded, decoded_call, encoded, encoded_call

__all__ = ["read_text", "written_text"]

VERSION = 1
SINGLE = {kind.__name__: kind for kind in (TestLoss, TrainLoss, GeneralizationGap, Displacement)}
PAIRS = {kind.__name__: kind for kind in (SecondMoment, Covariance)}
Made = TypeVar("Made")


def written_text(formula: Combination) -> str:
    """Write a formula as JSON text; see `Formula.to_json`."""
    if callable(formula.metric):
        raise TypeError(f"metric={formula.metric!r} is a Python function, which JSON can't hold; give a matrix")
    content = {
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
        "of": None if formula.expectations is None else _encode_expectations(formula.expectations),
        "through": formula.through,
        "metric": None if formula.metric is None else [list(map(encoded, row)) for row in formula.metric.tolist()],
        "rate": encoded(formula.rate),
    }
    try:
        return json.dumps(content | {"digest": _digest(content)}, indent=1)
    except ValueError as error:  # Python writes integers of some thousand digits only
        raise ValueError(f"a number of the formula is too long to be written: {error}") from error


def _digest(content: dict[str, Any]) -> str:
    """What changes when any number or text in it does, but not with blanks or the order of names."""
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_text(text: str, make: Callable[..., Made]) -> Made:
    """Read what a `Formula` is made of from JSON text, and make it; see `Formula.from_json`."""
    if not isinstance(text, str):
        raise TypeError(f"text={text!r} must be the JSON text that to_json wrote")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # no JSON, nested too deep, or an integer of thousands of digits
        raise ValueError(f"the text is not JSON that can be read: {error}") from error
    if not isinstance(data, dict) or data.get("taylorsgd") != VERSION:
        raise ValueError(f"the text is not a formula written by to_json (format {VERSION})")
    known = data.pop("digest", None)  # version 0.1 wrote none
    if known is not None and known != _digest(data):
        raise ValueError(
            "the JSON text is damaged: its digest is not that of its content; leave the digest out where it was "
            "changed on purpose"
        )
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
        of = None if data.get("of") is None else _decode_expectations(data["of"])
        through = data.get("through")
        if through is not None and (isinstance(through, bool) or not isinstance(through, int) or through < 0):
            raise ValueError(f"through={through!r} is no order")
        rate = decoded(data["rate"]) if "rate" in data else symbols.eta  # version 0.1 wrote none
        if rate not in (symbols.eta, 1):
            raise ValueError(f"rate={rate} is neither eta nor 1")
        return make(terms, places, observed, indices, metric, rate, of, through)
    except (KeyError, TypeError, IndexError, AttributeError, ArithmeticError, RecursionError, ValueError) as error:
        raise ValueError(f"the JSON text is damaged: {error!r}") from error


def _encode_expectations(of: Expectations) -> dict[str, Any]:
    parts = [
        {
            "coefficient": encoded(coefficient),
            "observable": _encode_observed(part.observable),
            "spacetime": encoded_call(part.run.spacetime),
            "update": encoded_call(part.run.update),
            "penalty": None if part.run.penalty is None else _encode_observable(part.run.penalty),
            "ends": part.ends,
        }
        for part, coefficient in of.parts
    ]
    return {"parts": parts, "assumed": list(of.assumed), "altered": of.altered}


def _decode_expectations(data: dict[str, Any]) -> Expectations:
    parts = []
    for entry in data["parts"]:
        penalty = entry["penalty"]
        run = Run(
            decoded_call(entry["spacetime"], SPACETIMES),
            decoded_call(entry["update"], RULES),
            None if penalty is None else _decode_observed(penalty),
        )
        if entry["ends"] not in ENDS:
            raise ValueError(f"ends={entry['ends']!r} is none of {', '.join(ENDS)}")
        part = Expectation(_decode_observed(entry["observable"]), run, entry["ends"])
        coefficient = decoded(entry["coefficient"])
        if coefficient.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
            raise ValueError(f"the coefficient {coefficient} is no number")
        parts.append((part, coefficient))
    if not parts or any(name not in ASSUMPTIONS for name in data["assumed"]):
        raise ValueError(f"{data!r} is no combination of expectations")
    return Expectations(tuple(parts), tuple(data["assumed"]), data["altered"] is True)


def _encode_observed(observable: AnyObservable) -> dict[str, Any]:
    if isinstance(observable, Observable):
        return _encode_observable(observable)
    kind = type(observable).__name__
    if not isinstance(observable, (SecondMoment, Covariance)):
        return {"kind": kind}
    times = None if observable.times is None else [None if t is None else encoded(t) for t in observable.times]
    return {"kind": kind, "a": _encode_observed(observable.a), "b": _encode_observed(observable.b), "times": times}


def _decode_observed(data: dict[str, Any]) -> Any:
    if "kind" not in data:
        return Observable(decoded(data["s"]), data["name"])
    if data["kind"] in SINGLE:
        return SINGLE[data["kind"]]()
    times = data["times"]
    return PAIRS[data["kind"]](
        _decode_observed(data["a"]),
        _decode_observed(data["b"]),
        None if times is None else tuple(None if t is None else decoded(t) for t in times),  # type: ignore[arg-type]
    )


def _encode_observable(observable: Observable) -> dict[str, Any]:
    if callable(observable.s) and not isinstance(observable.s, Expr):
        raise TypeError(
            f"the observable {observable.name!r} is a Python function, which JSON can't hold; give a SymPy expression"
        )
    return {"name": observable.name, "s": encoded(exact_argument(observable.s, observable.name, binary=True))}
