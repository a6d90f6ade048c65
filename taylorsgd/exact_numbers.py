"""The one gate through which numbers and expressions come in: exact, finite, and never parsed from a text.

SymPy's own gate, `sympify`, runs the text of a string as Python. Nothing here does: a string is no number.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import isfinite, isnan
from numbers import Integral, Real
from typing import Any

from sympy import Expr, Float, Integer, Rational, Symbol, nan, oo, zoo

from taylorsgd.arguments import listed

__all__ = ["as_exact", "distinct_symbols", "exact_argument", "refuse_infinite"]


def as_exact(value: Any, *, binary: bool = False) -> Expr | None:
    """A number as an exact one, or an expression whose numbers are exact.

    Args:
        value: an integer, a fraction, a decimal, a float of Python or NumPy, or a SymPy expression.
        binary: whether a float means the binary fraction that it is, instead of the shortest decimal for it.

    Returns:
        A SymPy expression; None for anything else, texts among it.

    Example:
        >>> as_exact(0.9), as_exact(Fraction(1, 3)), as_exact("1/3")
        (9/10, 1/3, None)
        >>> as_exact(0.1, binary=True)
        3602879701896397/36028797018963968
    """
    if isinstance(value, (bool, str, bytes)):
        return None
    if isinstance(value, Expr):
        if not value.is_commutative:  # a matrix, or an operator
            return None
        floats: dict[Any, Any] = {
            number: _of_float(float(number), str(float(number)), binary) for number in value.atoms(Float)
        }
        return value.xreplace(floats)  # type: ignore[return-value]
    if isinstance(value, Integral):
        return Integer(int(value))
    if isinstance(value, Fraction):
        return Rational(value.numerator, value.denominator)
    if isinstance(value, Decimal):
        return Rational(str(value)) if value.is_finite() else nan
    if getattr(value, "shape", None) == () and hasattr(value, "item") and not isinstance(value, Real):
        try:
            return as_exact(value.item(), binary=binary)
        except (TypeError, NotImplementedError):  # a random key, or a number that JAX only traces
            return None
    if isinstance(value, Real):
        return _of_float(float(value), str(value), binary)  # of a float32 its own shortest decimal
    return None


def exact_argument(value: Any, name: str, *, binary: bool = False, floats: bool = True) -> Expr:
    """An argument that must be a finite number or expression, as `as_exact` makes it.

    Args:
        value: what was given.
        name: the argument's name, for errors.
        binary: as in `as_exact`.
        floats: whether floats will do.

    Raises:
        TypeError: if it is neither a number nor an expression, or a float where these won't do.
        ValueError: if it is not finite.

    Example:
        >>> exact_argument("1/3", "eta")
        Traceback (most recent call last):
        TypeError: eta='1/3' must be a number (such as 0.9 or Rational(9, 10)) or a SymPy expression
    """
    if not floats and (isinstance(value, float) or (isinstance(value, Expr) and value.has(Float))):
        raise TypeError(f"{name}={value!r} is not exact; give an int, a Fraction or a SymPy expression")
    expression = as_exact(value, binary=binary)
    if expression is None:
        raise TypeError(f"{name}={value!r} must be a number (such as 0.9 or Rational(9, 10)) or a SymPy expression")
    refuse_infinite(expression, value, name)
    return expression


def refuse_infinite(expression: Expr, value: Any, name: str) -> None:
    """Raise for an expression that holds something not finite.

    Args:
        expression: what was made of the argument.
        value: what was given.
        name: the argument's name, for errors.

    Raises:
        ValueError: naming the argument.
    """
    if expression.has(nan, oo, -oo, zoo):
        raise ValueError(f"{name}={value!r} must be finite")


def distinct_symbols(variables: Any, name: str = "variables") -> tuple[Symbol, ...]:
    """Variables, which must be distinct symbols, as a tuple.

    Args:
        variables: what was given.
        name: the argument's name, for errors.

    Raises:
        TypeError: if it is no sequence of symbols.
        ValueError: if there are none, or one is repeated.

    Example:
        >>> distinct_symbols(["x"])
        Traceback (most recent call last):
        TypeError: variables[0]='x' must be a SymPy symbol, such as Symbol('x')
    """
    checked = listed(variables, name, "[x, y]")
    for i, variable in enumerate(checked):
        if not isinstance(variable, Symbol):
            raise TypeError(f"{name}[{i}]={variable!r} must be a SymPy symbol, such as Symbol('x')")
    if len(set(checked)) != len(checked):
        raise ValueError(f"{name}={checked} must be distinct")
    return tuple(checked)


def _of_float(number: float, text: str, binary: bool) -> Expr:
    if not isfinite(number):
        return nan if isnan(number) else oo if number > 0 else -oo
    return Rational(*number.as_integer_ratio()) if binary else Rational(text)
