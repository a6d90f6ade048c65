"""Exact SymPy expressions as arithmetic on arrays.

Coefficients stay in the factored form in which a formula holds them: (E − 1)·(B − E·N) is exactly 0 at
E = 1 in floats too, and its sum of monomials is not. A rational p/q becomes the nearest float, rounded
once; a whole power stays a product, so that derivatives at 0 are right. `sympy.lambdify` would print integers
that overflow int32 and would call `power` for x³.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import jax.scipy.special as jsp
import sympy
from sympy import Add, Expr, Integer, Mul, NumberSymbol, Pow, Rational, Symbol

__all__ = ["evaluate_expression"]

_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    sympy.exp: jnp.exp,
    sympy.log: jnp.log,
    sympy.sin: jnp.sin,
    sympy.cos: jnp.cos,
    sympy.tan: jnp.tan,
    sympy.asin: jnp.arcsin,
    sympy.acos: jnp.arccos,
    sympy.atan: jnp.arctan,
    sympy.sinh: jnp.sinh,
    sympy.cosh: jnp.cosh,
    sympy.tanh: jnp.tanh,
    sympy.asinh: jnp.arcsinh,
    sympy.acosh: jnp.arccosh,
    sympy.atanh: jnp.arctanh,
    sympy.Abs: jnp.abs,
    sympy.erf: jsp.erf,
    sympy.gamma: jsp.gamma,
    sympy.factorial: lambda x: jsp.gamma(x + 1),
}


def evaluate_expression(
    expression: Expr, values: Mapping[Symbol, Any], known: dict[Expr, Any] | None = None
) -> Any:
    """Evaluate an expression on floats or arrays.

    Args:
        expression: sums, products, powers and elementary functions of symbols and exact numbers.
        values: a float array (traced or not), or a number, for every symbol. All broadcast.
        known: subexpressions already evaluated on these values; filled as more are.

    Returns:
        An array of the values' dtype and broadcast shape; a Python float where there is no symbol.

    Raises:
        TypeError: if the expression holds a function without a counterpart in JAX.

    Example:
        >>> from taylorsgd.symbols import T
        >>> evaluate_expression(T * (T - 1) / 3, {T: 4.0})
        4.0
    """
    known = {} if known is None else known
    if expression in known:
        return known[expression]
    if isinstance(expression, Symbol):
        result = values[expression]
    elif isinstance(expression, Rational):
        result = int(expression.p) / int(expression.q)  # Python rounds a quotient of integers correctly
    elif isinstance(expression, (NumberSymbol, sympy.Float)):
        result = float(expression)
    else:
        operands = [evaluate_expression(operand, values, known) for operand in expression.args]  # type: ignore[arg-type]
        result = _combine(expression, operands)
    known[expression] = result
    return result


def _combine(expression: Expr, operands: list[Any]) -> Any:
    if isinstance(expression, Add):
        return sum(operands[1:], start=operands[0])
    if isinstance(expression, Mul):
        product = operands[0]
        for operand in operands[1:]:
            product = product * operand
        return product
    if isinstance(expression, Pow):
        exponent = expression.exp
        return operands[0] ** (int(exponent) if isinstance(exponent, Integer) else operands[1])
    function = _FUNCTIONS.get(expression.func)
    if function is None:
        raise TypeError(
            f"the coefficient holds {expression}, and {expression.func.__name__} has no counterpart in JAX; "
            f"known are powers, {', '.join(sorted(known.__name__ for known in _FUNCTIONS))}"
        )
    return function(*operands)
