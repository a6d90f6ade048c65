"""What lowering asks of a formula and of its values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard, runtime_checkable

from sympy import Expr, ImmutableMatrix

from taylorsgd.diagrams import Value
from taylorsgd.formulas.resummed_value import ResummedValue
from taylorsgd.spacetime import Spacetime

__all__ = ["AnyValue", "LowerableFormula", "LowerableTerm", "is_resummed"]

AnyValue = Value | ResummedValue
"""A tensor network."""


def is_resummed(value: AnyValue) -> TypeGuard[ResummedValue]:
    """Whether a value holds a sum over times."""
    return isinstance(value, ResummedValue)


class LowerableTerm(Protocol):
    """A coefficient times a value."""

    @property
    def coefficient(self) -> Expr:
        """What the value is multiplied by."""
        ...

    @property
    def value(self) -> AnyValue:
        """The tensor network."""
        ...

    @property
    def order(self) -> int:
        """Its power of η."""
        ...

    @property
    def free_symbols(self) -> set[Any]:
        """The sizes without a number."""
        ...


@runtime_checkable
class LowerableFormula(Protocol):
    """Terms, and what their sizes and open indices mean."""

    @property
    def terms(self) -> Sequence[LowerableTerm]:
        """The terms."""
        ...

    @property
    def values(self) -> Sequence[AnyValue]:
        """Their values."""
        ...

    @property
    def spacetimes(self) -> Sequence[Spacetime]:
        """What the sizes are sizes of."""
        ...

    @property
    def metric(self) -> ImmutableMatrix | None:
        """Λ of a matrix learning rate."""
        ...
