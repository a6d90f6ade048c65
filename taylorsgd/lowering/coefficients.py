"""Exact SymPy expressions as arithmetic on arrays.

Coefficients stay in the factored form in which a formula holds them: (E − 1)·(B − E·N) is exactly 0 at
E = 1 in floats too, and its sum of monomials is not. A rational p/q becomes the nearest float, rounded
once; a whole power stays a product, so that derivatives at 0 are right. `sympy.lambdify` would print integers
that overflow int32 and would call `power` for x³.

Averages over orders divide by N − 1, N − 2, …, also where N is that small. The batches are then so few or so small
that the numerator A vanishes as well, and what counts is the limit as N alone goes there: with the quotient Q and
the remainder r of A by N − p,

    A/(N − p) = Q + r/(N − p),        r = A(p) = 0:        the limit is Q(p).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import jax.scipy.special as jsp
import sympy
from sympy import Add, Expr, Integer, Mul, NumberSymbol, Poly, Pow, Rational, Symbol, div

from taylorsgd import symbols

__all__ = ["evaluate_expression", "without_poles"]

NEAR = 1e-5
"""How near to an integer a number of points is it; rounding makes E·N/B·B/E differ from N."""

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
    sympy.sign: jnp.sign,
    sympy.erf: jsp.erf,
    sympy.gamma: jsp.gamma,
    sympy.factorial: lambda x: jsp.gamma(x + 1),
    # of whole numbers, such as T = 1 in sums of cosines
    sympy.KroneckerDelta: lambda i, j: jnp.where(jnp.abs(jnp.subtract(i, j)) < 0.5, 1.0, 0.0),
}


class _Removable(sympy.Function):
    """A/((N − p)(N − q)…), and its limit where a factor vanishes. Arguments: N, A, then p, Q_p, q, Q_q and so on."""


def without_poles(coefficient: Expr) -> Expr:
    """The coefficient with its limits where a factor N − p of the denominator vanishes, for `evaluate_expression`.

    Example:
        >>> from taylorsgd.symbols import B, N
        >>> limit = without_poles((N - B) ** 2 / (N - 1))
        >>> [float(evaluate_expression(limit, {N: n, B: b})) for n, b in ((1.0, 1.0), (5.0, 2.0))]
        [0.0, 2.25]
    """
    points: list[Expr] = []
    others: list[Expr] = []
    for part in Mul.make_args(coefficient):
        base, exponent = part.as_base_exp()
        root = symbols.N - base
        if exponent == -1 and root.is_Integer and root > 0:
            points.append(root)  # type: ignore[arg-type]
        else:
            others.append(part)  # type: ignore[arg-type]
    numerator = Mul(*others)
    if not points or not numerator.is_polynomial(symbols.N):
        return coefficient
    polynomial = Poly(numerator, symbols.N)
    quotients = [div(polynomial, Poly(symbols.N - point, symbols.N))[0].as_expr() for point in points]
    paired = [argument for pair in zip(points, quotients, strict=True) for argument in pair]
    return _Removable(symbols.N, numerator, *paired)  # type: ignore[return-value]


def evaluate_expression(expression: Expr, values: Mapping[Symbol, Any], known: dict[Expr, Any] | None = None) -> Any:
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
    if isinstance(expression, _Removable):
        number, result, *paired = operands
        for point, quotient in zip(paired[::2], paired[1::2], strict=True):
            result = jnp.where(abs(number - point) < NEAR, quotient, result)
        for point in paired[::2]:  # no division by 0 even where it is not used: derivatives would see it
            result = result / jnp.where(abs(number - point) < NEAR, 1, number - point)
        return result
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
