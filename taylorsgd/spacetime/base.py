"""What every spacetime answers: which diagrams it embeds, how often, and what its sizes are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, ClassVar, Self, SupportsIndex

from sympy import QQ, Expr, Integer, Rational, Symbol, factor, sympify
from sympy.polys.fields import FracElement
from sympy.polys.rings import PolyElement, ring

from taylorsgd.diagrams import Diagram
from taylorsgd.timesums.cells import GridSum
from taylorsgd.timesums.events import TimeSum

__all__ = [
    "FIELD",
    "RESUMMED",
    "RING",
    "Count",
    "Size",
    "Spacetime",
    "binomial_polynomial",
    "check_data",
    "inverse_batch",
    "size",
]

Size = SupportsIndex | Expr | None
"""What a constructor takes for a size: an integer, an expression, or None for the symbol."""

Count = PolyElement | FracElement
"""A count: an element of `RING` or of its field."""

Times = TimeSum | GridSum
"""A sum over the times of a diagram's nodes: in closed form, or cell by cell."""

RING, _n, _e, _b, _c = ring("n,e,b,c", QQ)
"""Exact counts: polynomials in n (batches per epoch; the time T of a flow), e (epochs), b = 1/B, c = 1/N."""
FIELD = RING.to_field()
"""Quotients of these, where averages over orders bring 1/(N − 1)."""


RESUMMED = (
    "resum='discrete' for SGD with E=1, GD, and any Grid or SGD with concrete sizes, "
    "resum='continuous' for SGD with E=1, GD, ODE and SDE"
)
"""Where resummation is supported, for error messages."""


@cache
def binomial_polynomial(generator: int, k: int) -> PolyElement:
    """The binomial coefficient C(x, k) as a polynomial in the given generator of `RING`."""
    x = RING.gens[generator]
    product = RING.one
    for i in range(k):
        product = product * (x - i) / (i + 1)
    return product


def inverse_batch(power: int) -> PolyElement:
    """The power b^power, that is 1/B^power."""
    return _b**power


class Spacetime(ABC):
    """The cells in which an optimizer's updates meet training points; a frozen dataclass of its sizes."""

    tied_ancestors: ClassVar[bool] = True
    """Whether a diagram with a node tied to its own ancestor can have embeddings."""
    largest_part: ClassVar[int | None] = None
    """The most nodes in a part of a diagram with embeddings; None for no limit."""
    has_training_set: ClassVar[bool] = True
    """Whether there are training points to take a training loss on."""

    random: bool = False
    """Whether chance fills the batches: then trees without a common part are correlated, too."""
    data: str = "fresh"
    """Whether training sets are averaged over ("fresh"), or the landscape is the one training set ("fixed")."""

    @abstractmethod
    def weight(self, diagram: Diagram) -> Count:
        """Z(D) / B^|D| as an element of `RING` or its field.

        With fixed data, what multiplies the product of the parts' empirical moments instead.
        """

    def times(self, diagram: Diagram, continuous: bool) -> tuple[PolyElement, Times]:
        """Which times resummation sums over, and the factor in front of that sum.

        Args:
            diagram: a linkless diagram.
            continuous: whether sums over times are to be integrals.

        Returns:
            What multiplies the sum over times, an element of `RING`, and the sum itself.

        Raises:
            ValueError: if the dynamics have no such sum by their nature.
            NotImplementedError: if it has no closed form here.
        """
        raise NotImplementedError(f"{self} has no resummed form; supported are {RESUMMED}")

    @property
    @abstractmethod
    def sizes(self) -> dict[str, Expr]:
        """The sizes that the user may name, the derived ones included, in the free symbols."""

    @abstractmethod
    def _generators(self) -> tuple[Expr, Expr, Expr, Expr]:
        """What the generators of `RING` stand for here."""

    @property
    def free_symbols(self) -> tuple[Symbol, ...]:
        """The symbols that the sizes are written in, in a fixed order."""
        found: dict[Symbol, None] = {}
        for expression in self.sizes.values():
            found.update(dict.fromkeys(sorted(expression.free_symbols, key=str)))  # type: ignore[arg-type]
        return tuple(found)

    def expression(self, count: Count) -> Expr:
        """Write a count in the sizes of this spacetime, factored."""
        if isinstance(count, FracElement):
            return factor(self._expanded(count.numer) / self._expanded(count.denom))
        return factor(self._expanded(count))

    def _expanded(self, count: PolyElement) -> Expr:
        numbers = self._generators()
        total: Expr = Integer(0)
        for exponents, coefficient in count.terms():
            term: Expr = Rational(coefficient.numerator, coefficient.denominator)
            for number, exponent in zip(numbers, exponents, strict=True):
                if exponent:
                    term = term * number**exponent
            total = total + term
        return total

    def embeddings(self, diagram: Diagram) -> Expr:
        """The number Z(D) of embeddings of a diagram, exact and in the sizes' own symbols.

        Example:
            >>> import taylorsgd as ts
            >>> chain, fork = ts.Diagram((-1, 0, 1)), ts.Diagram((-1, 0, 0), (0, 1, 1))
            >>> ts.SGD(B=1).embeddings(chain)
            E*N*(E*N - 1)/2
            >>> ts.SGD(N=6, B=2, E=3).embeddings(fork)
            54
        """
        weight = self.weight(diagram)
        return factor(self.expression(weight) * self._generators()[2] ** (-diagram.order))

    def __repr__(self) -> str:
        """The constructor's call, without what has its default."""
        entries = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        shown = {name: value for name, value in entries.items() if value is not False and value != "fresh"}
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in shown.items())})"

    def substitute(self, values: Mapping[Any, Any]) -> Self:
        """The same dynamics with some symbols of its sizes replaced."""
        constructor: dict[str, Any] = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            constructor[field.name] = (
                value.subs(values, simultaneous=True) if isinstance(value, Expr) else value
            )
        return type(self)(**constructor)


def size(name: str, value: Any, symbol: Symbol, least: int) -> Expr:
    """Turn a constructor argument into an exact size.

    Args:
        name: the argument's name, for the error.
        value: None for the symbol, an integer, or a SymPy expression.
        symbol: what None means.
        least: the smallest integer allowed.

    Raises:
        TypeError: if `value` is neither an integer nor a SymPy expression.
        ValueError: if it is a number that is no integer or is too small.
    """
    if value is None:
        return symbol
    if isinstance(value, bool) or not (isinstance(value, (int, Expr)) or _is_integer(value)):
        raise TypeError(
            f"{name}={value!r} is not a size; it must be an integer of at least {least}, "
            f"a SymPy expression, or None for the symbol {symbol}"
        )
    expression: Any = sympify(int(value)) if _is_integer(value) else value
    if expression.is_number and not (expression.is_Integer and expression >= least):
        raise ValueError(f"{name}={value} is impossible; it must be an integer of at least {least}")
    return expression


def check_data(data: Any) -> None:
    """Raise unless `data` is "fresh" or "fixed".

    Raises:
        ValueError: otherwise.
    """
    if data not in ("fresh", "fixed"):
        raise ValueError(
            f"data={data!r} is unknown; give 'fresh' (average over training sets) or 'fixed' (over the order alone)"
        )


def _is_integer(value: Any) -> bool:
    return hasattr(value, "__index__")
