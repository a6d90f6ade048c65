"""One term of a formula: an exact coefficient times a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sympy import Expr

from taylorsgd.diagrams import Diagram, Value
from taylorsgd.formulas.resummed_value import ResummedValue

__all__ = ["AnyValue", "Term"]

AnyValue = Value | ResummedValue
"""What a term multiplies: a plain value, or a resummed one."""


@dataclass(frozen=True)
class Term:
    """One term of a formula: an exact coefficient times a value.

    Attributes:
        coefficient: (−1)^d Z / (B^d |Aut|) summed over the diagrams, a SymPy expression in the sizes.
        value: the tensor network, which holds its own d powers of η.
        diagrams: the diagrams that have this value.
    """

    coefficient: Expr
    value: AnyValue
    diagrams: tuple[Diagram, ...]

    @property
    def order(self) -> int:
        """The power of η."""
        return self.value.order

    @property
    def free_symbols(self) -> set[Any]:
        """The sizes that have no number yet."""
        own = self.value.free_symbols if isinstance(self.value, ResummedValue) else set()
        return {*self.coefficient.free_symbols, *own}

    def __str__(self) -> str:
        """The term in plain text."""
        from taylorsgd.formulas.formula import Formula

        return str(Formula([self], (), {}))

    def _repr_latex_(self) -> str:
        from taylorsgd.formulas.formula import Formula

        return Formula([self], (), {})._repr_latex_()
