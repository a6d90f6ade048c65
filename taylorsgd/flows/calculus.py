r"""A vector field that is a formula: its vector at a point of a landscape, exactly, and as a function in JAX.

Every flow is a sum of terms in derivatives of a vector field along each other, and so it is evaluated by one walk
through its terms, in any arithmetic that has

    f^{(k)}(V_1, …, V_k)        the k-th derivative of the field (of gradient descent −∇E) along k vectors
    ψ(g, θ)                     a scalar function of the gradient and the parameter at each coordinate
    numbers                     the coefficients, in h and the parameters of the rule.

That is a `Calculus`: of exact numbers at a point here (`PointCalculus`), of JAX arrays in `regularizing`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

from sympy import (
    Add,
    Derivative,
    Expr,
    ImmutableMatrix,
    Integer,
    Mul,
    Subs,
    Symbol,
    diff,
    expand,
    factor,
    nan,
    oo,
    sign,
    zoo,
)

from taylorsgd import symbols
from taylorsgd.arguments import listed
from taylorsgd.exact_numbers import as_exact, exact_argument

if TYPE_CHECKING:
    from taylorsgd.formulas import Observable

__all__ = ["Calculus", "PointCalculus", "VectorField", "mean_field"]


class Calculus(Protocol):
    """The arithmetic in which the terms of a field are added up; vectors know +, and × with vectors and numbers."""

    def derivative(self, field: int, along: Sequence[Any]) -> Any:
        """The derivative of one of the fields along vectors, the field itself along none."""

    def function(self, expression: Expr) -> Any:
        """A function of `symbols.g` and `symbols.theta`, at every coordinate."""

    def number(self, expression: Expr) -> Any:
        """A coefficient."""


class VectorField(ABC):
    """A field θ̇ = … (or a step) in derivatives of a loss, or of a field of one's own."""

    @abstractmethod
    def _assembled(self, calculus: Calculus) -> Any:
        """The vector, in any arithmetic."""

    @property
    @abstractmethod
    def free_symbols(self) -> set[Symbol]:
        """The parameters of the rule that the coefficients hold, h not among them."""

    def _fields(self, f: tuple[Expr, ...], variables: tuple[Symbol, ...]) -> list[tuple[Expr, ...]]:
        """The fields that the terms are made of, given that which all of θ follows."""
        return [f]

    def _functions(
        self, f: Callable[[Any], Any], number: Callable[[Expr], Any], size: int
    ) -> list[Callable[[Any], Any]]:
        """The same as functions of θ in any arithmetic."""
        return [f]

    def evaluate(self, landscape: Any, at: Any, penalty: Observable | None = None) -> ImmutableMatrix:
        """The vector at a point of an exact landscape, in the symbol `h` of `taylorsgd.symbols`.

        Args:
            landscape: a `FiniteLandscape`, or any that knows its mean `loss` and `variables`: f = −∇E, with E the mean
                loss; or finitely many `fields` with `weights` and `variables`: f is their mean.
            at: the point θ, P numbers or expressions.
            penalty: p(θ), what descent minimizes beside the losses, as an `Observable`: f = −∇(E + p). Coupled weight
                decay w towards a is p = w|θ − a|²/2.

        Returns:
            A column of P exact expressions, sums over powers of h.

        Raises:
            TypeError: if it is no landscape, the point holds something that is no number, or the penalty is no
                `Observable`.
            ValueError: if the point does not fit the landscape, or the field is not smooth there.

        Example:
            >>> import taylorsgd as ts
            >>> from sympy.abc import x
            >>> bowl = ts.FiniteLandscape([x**2], [1], [x])
            >>> ts.modified_flow(3).evaluate(bowl, at=1)
            Matrix([[-8*h**2/3 - 2*h - 2]])
        """
        f, variables, moment = mean_field(landscape, penalty)
        point = tuple(landscape.point(at)) if moment is not None else _point(at, variables)
        fields = self._fields(f, variables)
        known = moment if penalty is None and fields == [f] else None
        calculus = PointCalculus(fields, variables, point, known)
        return calculus.column(self._assembled(calculus))

    def lower(self, loss: Callable[..., Any]) -> Any:
        """The field on any loss, as a jitted function of JAX.

        Args:
            loss: E, a function `loss(theta, *arguments)` that returns a scalar, or a `Landscape` on data, for its mean
                loss; θ is any pytree of float arrays.

        Returns:
            A function `field(theta, *arguments, h=0.1, beta=0.9, …)` of θ, the loss's other arguments, the step size
            and the parameters of the rule that are symbols, by their names; it returns a vector like θ. All may be
            traced. No matrix P × P is formed: a term of k derivatives costs about 2^k gradients.

        Raises:
            TypeError: if the loss is neither a function nor a landscape.

        Example:
            >>> import taylorsgd as ts
            >>> field = ts.modified_flow(2).lower(lambda theta: theta**2)
            >>> float(field(1.0, h=0.5))                         # −2θ − (h/2)·4θ
            -3.0
        """
        return self._lowered(loss, of_field=False)

    def _lowered(self, loss: Any, of_field: bool) -> Any:
        from taylorsgd.regularizing.vector_fields import lower_field

        return lower_field(self, loss, of_field)


def mean_field(
    landscape: Any, penalty: Any = None
) -> tuple[tuple[Expr, ...], tuple[Symbol, ...], Callable[..., Any] | None]:
    """The field that all of θ follows on a landscape.

    Returns:
        −∇(E + p), or the mean of its fields; the variables; and, of losses, the landscape's own moments.

    Raises:
        TypeError: if it is no landscape, or the penalty no `Observable`.
        ValueError: if a penalty comes with fields, which minimize nothing.
    """
    from taylorsgd.formulas import Observable

    if penalty is not None and not isinstance(penalty, Observable):
        raise TypeError(f"penalty={penalty!r} is not an Observable; write for example Observable(x**2 / 2)")
    known = ("variables", "fields", "weights", "loss", "moment")
    variables, fields, weights, loss, moment = (getattr(landscape, name, None) for name in known)
    if isinstance(variables, tuple) and fields is not None and weights is not None:
        if penalty is not None:
            raise ValueError(
                f"penalty={penalty!r} is added to a loss, and {landscape!r} has none; add it to the fields"
            )
        entries = zip(*fields, strict=True)
        return tuple(Add(*(w * u for w, u in zip(weights, us, strict=True))) for us in entries), variables, None
    if isinstance(variables, tuple) and isinstance(loss, Expr) and callable(moment):
        total = loss if penalty is None else loss + _penalty(penalty, variables)  # type: ignore[operator]
        return tuple(-diff(total, variable) for variable in variables), variables, moment  # type: ignore[operator]
    raise TypeError(f"landscape={landscape!r} has no mean loss in SymPy; give a FiniteLandscape")


def _point(at: Any, variables: tuple[Symbol, ...]) -> tuple[Expr, ...]:
    """A point of a landscape of fields, P numbers or expressions."""
    given = [at[x] for x in variables] if isinstance(at, Mapping) and set(at) == set(variables) else at
    entries = listed([given] if isinstance(given, Expr | int | float) else given, "at", "[0, 1]")
    if len(entries) != len(variables):
        raise ValueError(f"at={at!r} has {len(entries)} entries; give {len(variables)}, one for each of {variables}")
    return tuple(exact_argument(entry, f"at[{i}]", binary=True) for i, entry in enumerate(entries))


def _penalty(penalty: Any, variables: tuple[Symbol, ...]) -> Expr:
    found = penalty.s(variables) if callable(penalty.s) and not isinstance(penalty.s, Expr) else penalty.s
    return exact_argument(found, f"the penalty {penalty.name!r}", binary=True)


class PointCalculus:
    """Exact arithmetic at one point; vectors are arrays of expressions.

    Args:
        fields: the fields, each P expressions in the variables.
        variables: P symbols.
        point: P expressions.
        moment: the landscape's own mean derivatives, right beside kinks too, where f = −∇E is the one field.
    """

    def __init__(
        self,
        fields: Sequence[tuple[Expr, ...]],
        variables: tuple[Symbol, ...],
        point: tuple[Expr, ...],
        moment: Callable[..., Any] | None = None,
    ) -> None:
        """Keep the fields; derivatives are taken when they are needed."""
        self._variables, self._point, self._moment = variables, point, moment
        self._symbolic: dict[tuple[int, tuple[int, ...]], tuple[Expr, ...]] = {
            (number, ()): tuple(entries) for number, entries in enumerate(fields)
        }
        self._values: dict[tuple[int, tuple[int, ...]], Any] = {}

    def derivative(self, field: int, along: Sequence[Any]) -> Any:
        """f^{(k)}(V_1, …, V_k), index by index; derivatives that vanish are skipped."""
        import numpy as np

        total = np.array([Integer(0)] * len(self._variables), dtype=object)
        for indices in product(range(len(self._variables)), repeat=len(along)):
            tensor = self._value(field, tuple(sorted(indices)))
            if tensor.any():
                total = total + Mul(*(vector[i] for vector, i in zip(along, indices, strict=True))) * tensor
        return _expanded(total)

    def function(self, expression: Expr) -> Any:
        """ψ(g_i, θ_i) for every i; g is minus the first field."""
        import numpy as np

        slopes = [-entry for entry in self._value(0, ())]
        found = [self._at(expression, g, x) for g, x in zip(slopes, self._point, strict=True)]
        return np.array(found, dtype=object)

    def number(self, expression: Expr) -> Expr:
        """The coefficient as it is."""
        return expression

    def column(self, vector: Any) -> ImmutableMatrix:
        """A vector as a column of sums over powers of h."""
        return ImmutableMatrix([_by_powers(entry) for entry in vector])

    def _at(self, expression: Expr, g: Expr, x: Expr) -> Expr:
        if g == 0 and expression.has(sign):
            raise ValueError(
                f"at: the rule's flow holds {expression}, which jumps where the gradient is 0, as it is here"
            )
        value: Any = expression.xreplace({symbols.g: g, symbols.theta: x})
        if value.has(nan, oo, -oo, zoo):
            raise ValueError(f"at: the rule's flow holds {expression}, which is not finite where the gradient is {g}")
        return value

    def _value(self, field: int, indices: tuple[int, ...]) -> Any:
        import numpy as np

        key = field, indices
        if key not in self._values:
            self._values[key] = np.array(self._entries(field, indices), dtype=object)
        return self._values[key]

    def _entries(self, field: int, indices: tuple[int, ...]) -> list[Expr]:
        if self._moment is not None:
            row = self._moment((1 + len(indices),), at=self._point)
            return [-_exact(row[(i, *indices)]) for i in range(len(self._variables))]
        there: Mapping[Any, Any] = dict(zip(self._variables, self._point, strict=True))
        entries = [entry.subs(there, simultaneous=True) for entry in self._derivatives(field, indices)]
        for entry in entries:
            if entry.has(nan, oo, -oo, zoo, Derivative, Subs):
                raise ValueError(f"at={self._point}: a derivative of the field is not finite there")
        return entries

    def _derivatives(self, field: int, indices: tuple[int, ...]) -> tuple[Expr, ...]:
        key = field, indices
        if key not in self._symbolic:
            before = self._derivatives(field, indices[:-1])
            self._symbolic[key] = tuple(diff(entry, self._variables[indices[-1]]) for entry in before)  # type: ignore[misc]
        return self._symbolic[key]


def _exact(number: Any) -> Expr:
    """An entry of a moment, a fraction or an expression."""
    found = as_exact(number)
    assert found is not None
    return found


def _by_powers(entry: Any) -> Expr:
    """An entry with what stands with every power of h in one factored number or fraction."""
    found: dict[Any, list[Any]] = {}
    for term in Add.make_args(entry):
        coefficient, power = term.as_coeff_exponent(symbols.h)
        if coefficient.has(symbols.h):
            return _by_powers(opened) if (opened := expand(entry)) != entry else entry
        found.setdefault(power, []).append(coefficient)
    totals = {power: Add(*coefficients) for power, coefficients in found.items()}
    return Add(*((expand(c) if c.is_number else factor(c)) * symbols.h**power for power, c in totals.items()))


def _expanded(vector: Any) -> Any:
    import numpy as np

    return np.array([expand(entry) for entry in vector], dtype=object)
