r"""Flows on any loss, in JAX: derivatives of ∇E along vectors, never a matrix P × P.

θ, of any structure, is a row of P numbers. ∇^k g[V_1, …, V_k] is k nested forward derivatives of the gradient, each
about twice the cost of what it differentiates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from sympy import Expr, Symbol

from taylorsgd import symbols
from taylorsgd.landscapes.landscape import checked_parameters
from taylorsgd.landscapes.objective import total_loss
from taylorsgd.lowering.coefficients import evaluate_expression
from taylorsgd.lowering.real_arrays import real_array

__all__ = ["LoweredField", "lower_field"]


class LoweredField:
    """A field on one loss: call it with θ, the loss's other arguments, h and the rule's parameters by name.

    Attributes:
        parameters: the names that a call has to give, h among them.
    """

    def __init__(self, field: Any, loss: Any, of_field: bool) -> None:
        """Compile nothing yet; users call `lower` of a flow."""
        self._field, self._of_field = field, of_field
        if of_field and not callable(loss):
            raise TypeError(f"loss={loss!r} is not a function field(theta, ...) of the players' directions")
        self._loss, self._fixed = (loss, ()) if of_field else total_loss(loss)
        self._symbols = {symbol.name: symbol for symbol in sorted(field.free_symbols | {symbols.h}, key=str)}
        self.parameters = tuple(self._symbols)
        self._compiled = jax.jit(self._vector)

    def __call__(self, theta: Any, *arguments: Any, **parameters: Any) -> Any:
        """The vector at θ.

        Args:
            theta: a pytree of float arrays.
            *arguments: what else the loss takes.
            **parameters: h, and a number for every symbol of the rule.

        Returns:
            A pytree like θ.

        Raises:
            TypeError: if a parameter is missing, unknown or no number, or θ holds what is no float array.
            ValueError: if a parameter is no single number, or something is not finite.
        """
        wanted, given = set(self.parameters), set(parameters)
        if wanted != given:
            missing, unknown = sorted(wanted - given), sorted(given - wanted)
            raise TypeError(
                "; ".join(
                    text
                    for text in (
                        f"give {', '.join(f'{name}=' for name in missing)}" if missing else "",
                        f"unknown are {', '.join(unknown)}" if unknown else "",
                    )
                    if text
                )
                + f"; the field takes {', '.join(self.parameters)}"
            )
        numbers = {name: real_array(value, name) for name, value in parameters.items()}
        for name, number in numbers.items():
            if number.shape != ():
                raise ValueError(f"{name}={parameters[name]!r} must be one number; use jax.vmap for several")
        return self._compiled(checked_parameters(theta), (*self._fixed, *arguments), numbers)

    def __repr__(self) -> str:
        """The parameters that it takes."""
        return f"<LoweredField (theta, *arguments, {', '.join(f'{name}=' for name in self.parameters)})>"

    def _vector(self, theta: Any, arguments: tuple[Any, ...], parameters: dict[str, Any]) -> Any:
        flat, shaped = ravel_pytree(theta)
        values = {symbol: jnp.asarray(parameters[name], flat.dtype) for name, symbol in self._symbols.items()}

        def downhill(row: Any) -> Any:
            if self._of_field:
                return self._directions(shaped(row), arguments, flat)
            return -jax.grad(lambda at: self._loss(shaped(at), *arguments))(row)

        calculus = _ArrayCalculus(downhill, flat, values)
        calculus.fields = self._field._functions(downhill, calculus.number, flat.size)
        return shaped(self._field._assembled(calculus))

    def _directions(self, theta: Any, arguments: tuple[Any, ...], like: Any) -> Any:
        found = self._loss(theta, *arguments)
        if (
            jax.tree.structure(found) != jax.tree.structure(theta)
            or jnp.size(row := ravel_pytree(found)[0]) != like.size
        ):
            raise ValueError(f"the players' field returned {found!r}; it must return a pytree like theta")
        return row.astype(like.dtype)


def lower_field(field: Any, loss: Any, of_field: bool) -> LoweredField:
    """The field on a loss, or on a field of its own, as a jitted function; see `VectorField.lower`."""
    return LoweredField(field, loss, of_field)


class _ArrayCalculus:
    """Arithmetic of rows of floats at one θ."""

    def __init__(self, downhill: Callable[[Any], Any], at: Any, values: dict[Symbol, Any]) -> None:
        self.fields: Sequence[Callable[[Any], Any]] = [downhill]
        self._at, self._values = at, values
        self._coordinates: dict[Symbol, Any] | None = None

    def derivative(self, field: int, along: Sequence[Any]) -> Any:
        """Nested derivatives along vectors."""
        function = self.fields[field]
        for vector in along:
            function = _along(function, vector)
        return function(self._at)

    def function(self, expression: Expr) -> Any:
        """A function of g and θ, coordinate by coordinate."""
        if self._coordinates is None:
            self._coordinates = {**self._values, symbols.g: -self.fields[0](self._at), symbols.theta: self._at}
        return evaluate_expression(expression, self._coordinates) + jnp.zeros_like(self._at)

    def number(self, expression: Expr) -> Any:
        """A coefficient, rounded once."""
        return evaluate_expression(expression, self._values)


def _along(function: Callable[[Any], Any], vector: Any) -> Callable[[Any], Any]:
    return lambda at: jax.jvp(function, (at,), (vector,))[1]
