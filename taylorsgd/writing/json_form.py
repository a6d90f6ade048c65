"""Formulas as JSON: structure in, structure out. No string is ever parsed into an expression."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import sympy
from attrs import fields
from sympy import Expr, Integer, Rational, Symbol

from taylorsgd import spacetime as spacetimes
from taylorsgd import updates
from taylorsgd.diagrams import Diagram, Value
from taylorsgd.formulas.observables import Observable
from taylorsgd.formulas.resummed_value import ResummedValue
from taylorsgd.spacetime import Spacetime
from taylorsgd.timesums.cells import CellSum
from taylorsgd.timesums.events import TimeSum
from taylorsgd.updates import Update
from taylorsgd.updates.metrics import exact_metric

if TYPE_CHECKING:
    from taylorsgd.formulas.formula import Formula

__all__ = ["from_json", "to_json"]

VERSION = 2

_HEADS: dict[str, Callable[..., Expr]] = {
    name: getattr(sympy, name)
    for name in (
        "Add", "Mul", "Pow", "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan",
        "asinh", "acosh", "atanh", "Abs", "erf", "gamma", "factorial", "binomial", "KroneckerDelta",
    )
}  # fmt: skip
_CONSTANTS: dict[str, Expr] = {"pi": sympy.pi, "e": sympy.E}
_SPACETIMES: dict[str, type[Spacetime]] = {
    name: getattr(spacetimes, name) for name in ("SGD", "GD", "Replacement", "ODE", "SDE", "Grid")
}


_UPDATES: dict[str, type[Update]] = {
    name: getattr(updates, name) for name in ("Descent", "HeavyBall", "Nesterov")
}


def to_json(formula: Formula) -> str:
    """Write a formula as JSON text; see `Formula.to_json`."""
    return json.dumps(
        {
            "taylorsgd": VERSION,
            "terms": [
                {
                    "coefficient": _encode(term.coefficient),
                    "value": _encode_value(term.value),
                    "diagrams": [_encode_diagram(diagram) for diagram in term.diagrams],
                }
                for term in formula.terms
            ],
            "spacetimes": [_encode_parts(spacetime) for spacetime in formula.spacetimes],
            "observables": [_encode_observable(observable) for observable in formula.observables.values()],
            "indices": formula.indices,
            "metric": None
            if formula.metric is None
            else [list(map(_encode, row)) for row in formula.metric.tolist()],
        },
        indent=1,
    )


def from_json(text: str) -> Formula:
    """Read a formula from JSON text; see `Formula.from_json`."""
    from taylorsgd.formulas.formula import Formula
    from taylorsgd.formulas.term import Term

    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"the text is not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("taylorsgd") != VERSION:
        raise ValueError(f"the text is not a formula written by to_json (format {VERSION})")
    try:
        terms = [
            Term(
                _decode(entry["coefficient"]),
                _decode_value(entry["value"]),
                tuple(Diagram(d["parents"], d["parts"]) for d in entry["diagrams"]),
            )
            for entry in data["terms"]
        ]
        places = [_decode_parts(entry, _SPACETIMES) for entry in data["spacetimes"]]
        indices = data["indices"]
        observed = {
            entry["name"]: Observable(_decode(entry["s"]), entry["name"]) for entry in data["observables"]
        }
        if indices not in (0, 1, 2):
            raise ValueError(f"indices={indices!r} is none of 0, 1, 2")
        for term in terms:
            if term.coefficient.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
                raise ValueError(f"the coefficient {term.coefficient} is no number")
        rows = data.get("metric")
        metric = None if rows is None else exact_metric([[_decode(entry) for entry in row] for row in rows])
        return Formula(terms, places, observed, indices, metric)
    except (
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        ValueError,
    ) as error:
        raise ValueError(f"the JSON text is damaged: {error!r}") from error


def _encode(expression: Any) -> Any:
    if isinstance(expression, Integer):
        return int(expression)
    if isinstance(expression, Rational):
        return {"rational": [int(expression.p), int(expression.q)]}
    if isinstance(expression, Symbol):
        return {"symbol": expression.name, "assumptions": expression._assumptions_orig}
    for name, constant in _CONSTANTS.items():
        if expression == constant:
            return {"constant": name}
    head = type(expression).__name__
    if head not in _HEADS:
        raise TypeError(
            f"{expression} can't be written as JSON: the function {head} is none of {', '.join(_HEADS)}"
        )
    return {"head": head, "arguments": [_encode(argument) for argument in expression.args]}


def _decode(data: Any) -> Expr:
    if not isinstance(data, dict):
        return Integer(_whole(data))
    if "rational" in data:
        p, q = map(_whole, data["rational"])
        return Rational(p, q)
    if "symbol" in data:
        name, assumptions = data["symbol"], data["assumptions"]
        if not isinstance(name, str) or not all(isinstance(is_so, bool) for is_so in assumptions.values()):
            raise TypeError(f"{data} is no symbol: its name is text and its assumptions are true or false")
        return Symbol(name, **assumptions)
    if "constant" in data:
        return _CONSTANTS[data["constant"]]
    head = _HEADS[data["head"]]
    arguments = list(map(_decode, data["arguments"]))
    # Sums, products and powers come back as they were written: 2*(x + y) would turn into 2*x + 2*y.
    return head(*arguments, evaluate=False) if head in (sympy.Add, sympy.Mul, sympy.Pow) else head(*arguments)


def _whole(data: Any) -> int:
    """An integer as JSON writes it; true and false are none, though Python counts them as such."""
    if isinstance(data, bool) or not isinstance(data, int):
        raise TypeError(f"{data!r} is no integer")
    return data


def _encode_value(value: Value | ResummedValue) -> dict[str, Any]:
    if isinstance(value, ResummedValue):
        times = value.times
        return {
            "propagated": _encode_diagram(value.diagram),
            "marks": value.root_marks,
            "T": "oo" if value.T is sympy.oo else _encode(value.T),
            "continuous": value.continuous,
            "drift": value.drift,
            "update": _encode_parts(value.update),
            "run": _encode_parts(times.run) if isinstance(times, CellSum) else None,
            "events": [times.events, times.edges] if isinstance(times, TimeSum) else None,
        }
    return {"parents": value.parents, "parts": value.parts, "marks": value.marks, "moments": value.moments}


def _decode_value(data: dict[str, Any]) -> Value | ResummedValue:
    if "propagated" not in data:
        return Value(data["parents"], data["parts"], data["marks"], moments=data["moments"])
    if data["run"] is not None:
        times: TimeSum | CellSum = CellSum(_decode_parts(data["run"], _SPACETIMES))
    else:
        events, edges = data["events"]
        times = TimeSum(events, tuple((source, target) for source, target in edges))
    diagram = Diagram(data["propagated"]["parents"], data["propagated"]["parts"])
    T = sympy.oo if data["T"] == "oo" else _decode(data["T"])
    return ResummedValue(
        diagram,
        data["marks"],
        times,
        T,
        data["continuous"],
        data["drift"],
        _decode_parts(data["update"], _UPDATES),
    )


def _encode_diagram(diagram: Diagram) -> dict[str, Any]:
    return {"parents": diagram.parents, "parts": diagram.parts}


def _encode_parts(made: Any) -> dict[str, Any]:
    """A spacetime or an update rule, by the arguments of its constructor."""
    entries = {field.name: getattr(made, field.name) for field in fields(type(made))}
    return {"kind": type(made).__name__} | {
        name: [[int(cell) for cell in row] for row in entry]
        if name == "cells"
        else entry
        if entry is None or isinstance(entry, (bool, str))
        else _encode(entry)
        for name, entry in entries.items()
    }


def _decode_parts(data: dict[str, Any], kinds: Mapping[str, Callable[..., Any]]) -> Any:
    arguments = {
        name: value
        if name in ("cells", "shuffle", "data", "convention") or value is None and name in ("rates", "metric")
        else _decode(value)
        for name, value in data.items()
        if name != "kind"
    }
    return kinds[data["kind"]](**arguments)


def _encode_observable(observable: Observable) -> dict[str, Any]:
    if callable(observable.s) and not isinstance(observable.s, Expr):
        raise TypeError(
            f"the observable {observable.name!r} is a Python function, which JSON can't hold; give a SymPy expression"
        )
    return {"name": observable.name, "s": _encode(sympy.sympify(observable.s))}
