"""Expressions as JSON: structure in, structure out. No string is ever parsed into an expression.

A short text can stand for a number that fills a machine, such as factorial(10**9), or for a polynomial of a billion
terms. So the size of what a text stands for is bounded before it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sympy
from attrs import fields, has
from sympy import Expr, Integer, Rational, Symbol

__all__ = ["decoded", "decoded_call", "encoded", "encoded_call"]

_HEADS: dict[str, Callable[..., Expr]] = {
    name: getattr(sympy, name)
    for name in (
        "Add", "Mul", "Pow", "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan",
        "asinh", "acosh", "atanh", "Abs", "erf", "gamma", "factorial", "binomial", "KroneckerDelta",
    )
}  # fmt: skip
MOST_BITS = 16_384
"""The most bits of a number, and of what a function makes of numbers."""
MOST_DEPTH = 100
"""How deep expressions may be nested."""
MOST_EXPANDED = 256
"""The largest power of a sum."""
_CONSTANTS: dict[str, Expr] = {"pi": sympy.pi, "e": sympy.E}


def encoded(expression: Any) -> Any:
    """A SymPy expression as a structure of numbers, texts, lists and dictionaries.

    Raises:
        TypeError: for a function that JSON does not hold.

    Example:
        >>> encoded(Symbol("x") + Rational(1, 2))["arguments"]
        [{'rational': [1, 2]}, {'symbol': 'x', 'assumptions': {}}]
    """
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
        raise TypeError(f"{expression} can't be written as JSON: the function {head} is none of {', '.join(_HEADS)}")
    return {"head": head, "arguments": [encoded(argument) for argument in expression.args]}


def decoded(data: Any, depth: int = 0) -> Expr:
    """The expression that `encoded` wrote.

    Args:
        data: the structure.
        depth: how deep it lies in another.

    Raises:
        TypeError, KeyError, ValueError: if the structure is damaged, or stands for something too large.
    """
    if depth > MOST_DEPTH:
        raise ValueError(f"an expression is nested more than {MOST_DEPTH} deep")
    if not isinstance(data, dict):
        return Integer(_whole(data))
    if "rational" in data:
        p, q = map(_whole, data["rational"])
        if q == 0:
            raise ValueError(f"the fraction {p}/{q} is no number")
        return Rational(p, q)
    if "symbol" in data:
        name, assumptions = data["symbol"], data["assumptions"]
        if not isinstance(name, str) or not all(isinstance(is_so, bool) for is_so in assumptions.values()):
            raise TypeError(f"{data} is no symbol: its name is text and its assumptions are true or false")
        return Symbol(name, **assumptions)
    if "constant" in data:
        return _CONSTANTS[data["constant"]]
    head = _HEADS[data["head"]]
    arguments = [decoded(argument, depth + 1) for argument in data["arguments"]]
    _refuse_large(data["head"], arguments)
    # Sums, products and powers come back as they were written: 2*(x + y) would turn into 2*x + 2*y.
    return head(*arguments, evaluate=False) if head in (sympy.Add, sympy.Mul, sympy.Pow) else head(*arguments)


def encoded_call(made: Any) -> dict[str, Any]:
    """A frozen attrs object, such as a spacetime or an update rule, by its class and its constructor's arguments."""
    arguments = {field.name: _encoded_argument(getattr(made, field.name)) for field in fields(type(made))}
    return {"kind": type(made).__name__} | arguments


def decoded_call(data: Mapping[str, Any], kinds: Mapping[str, Callable[..., Any]]) -> Any:
    """The object that `encoded_call` wrote, of one of the classes that are known by name.

    Raises:
        TypeError, KeyError, ValueError: if the structure is damaged.
    """
    arguments = {name: _decoded_argument(entry, kinds) for name, entry in data.items() if name != "kind"}
    return kinds[data["kind"]](**arguments)


def _encoded_argument(entry: Any) -> Any:
    if isinstance(entry, tuple):
        return [int(item) if isinstance(item, bool) else _encoded_argument(item) for item in entry]
    if has(type(entry)):
        return encoded_call(entry)
    return {"none": []} if entry is None else entry if isinstance(entry, (bool, str)) else encoded(entry)


def _decoded_argument(data: Any, kinds: Mapping[str, Callable[..., Any]]) -> Any:
    if isinstance(data, list):
        return [_decoded_argument(item, kinds) for item in data]
    if isinstance(data, dict) and "kind" in data:
        return decoded_call(data, kinds)
    return None if data == {"none": []} else data if isinstance(data, (bool, str)) else decoded(data)


def _whole(data: Any) -> int:
    """An integer as JSON writes it; true and false are none, though Python counts them as such."""
    if isinstance(data, bool) or not isinstance(data, int):
        raise TypeError(f"{data!r} is no integer")
    if data.bit_length() > MOST_BITS:
        raise ValueError(f"an integer has {data.bit_length()} bits, more than {MOST_BITS}")
    return data


def _refuse_large(head: str, arguments: list[Expr]) -> None:
    """Raise if a function of some arguments would be too large to be made or expanded.

    Raises:
        ValueError: naming the function.
    """
    bits = 0.0
    if head == "Pow" and len(arguments) == 2:
        base, exponent = arguments
        if exponent.is_Rational:
            bits = _bits(base) * float(abs(exponent))
            if base.is_Add and base.free_symbols and abs(exponent) > MOST_EXPANDED:
                raise ValueError(f"a sum to the power {exponent} has too many terms to be expanded")
    elif head in ("factorial", "gamma", "binomial") and arguments and arguments[0].is_number:
        bits = abs(float(arguments[0])) if _bits(arguments[0]) < 64 else MOST_BITS + 1
    if head in ("Mul", "Add"):
        bits = sum(map(_bits, arguments))
    if not bits <= MOST_BITS:
        raise ValueError(f"{head} of numbers is larger than {MOST_BITS} bits")


def _bits(expression: Any) -> float:
    """About how many bits the numbers in an expression have, once they are multiplied out."""
    if expression.is_Rational:
        return float(int(expression.p).bit_length() + int(expression.q).bit_length() - 1)
    if expression.is_Pow and expression.exp.is_Rational:
        return _bits(expression.base) * float(abs(expression.exp))
    return float(sum(map(_bits, expression.args))) if expression.is_Add or expression.is_Mul else 0.0
