"""One term of a formula: an exact coefficient times a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from sympy import Expr, nan, oo, zoo

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram, Value
from taylorsgd.formulas.expectations import Expectations
from taylorsgd.formulas.observables import Observable
from taylorsgd.formulas.resummed_value import ResummedValue
from taylorsgd.spacetime import Spacetime
from taylorsgd.writing.page import Page

if TYPE_CHECKING:
    from taylorsgd.formulas.explaining import Explanation

__all__ = ["AnyValue", "Combination", "Term"]

AnyValue = Value | ResummedValue
"""What a term multiplies: a plain value, or a resummed one."""


@dataclass(frozen=True)
class Term:
    """One term of a formula: an exact coefficient times a value.

    Attributes:
        coefficient: (−1)^d Z / (B^d |Aut|) summed over the diagrams, a SymPy expression in the sizes.
        value: the tensor network, which holds its own d powers of η.
        diagrams: the diagrams that have this value.

    Raises:
        TypeError: if one of these is of another kind.
        ValueError: if the coefficient is not finite.
    """

    coefficient: Expr
    value: AnyValue
    diagrams: tuple[Diagram, ...]

    def __post_init__(self) -> None:
        """Refuse other kinds: a formula that holds one would fail late."""
        if not isinstance(self.coefficient, Expr) or not self.coefficient.is_commutative:
            raise TypeError(f"coefficient={self.coefficient!r} must be a scalar SymPy expression")
        if self.coefficient in (nan, oo, -oo, zoo):
            raise ValueError(f"coefficient={self.coefficient!r} must be finite")
        if not isinstance(self.value, (Value, ResummedValue)):
            raise TypeError(f"value={self.value!r} must be a Value")
        if not isinstance(self.diagrams, tuple) or not all(isinstance(diagram, Diagram) for diagram in self.diagrams):
            raise TypeError(f"diagrams={self.diagrams!r} must be a tuple of diagrams")

    @property
    def order(self) -> int:
        """The power of η."""
        return self.value.order

    @property
    def free_symbols(self) -> set[Any]:
        """The sizes that have no number yet."""
        return self.coefficient.free_symbols | self.value.free_symbols

    def explain(self, spacetime: Spacetime | None = None) -> Explanation:
        """What the term says, read off its structure, in words.

        Which update acts on which, what noise it needs, where it vanishes, how its coefficient grows with T, N and B,
        and its sign where that is definite. Under rules that correct an update by itself, such as
        `SecondOrder`, a later update may be the same one.

        Args:
            spacetime: where it was derived, which says what T is; None to read it off: a coefficient with E is SGD's.

        Raises:
            TypeError: if `spacetime` is no spacetime.

        Example:
            >>> import taylorsgd as ts
            >>> f = ts.derive(ts.TestLoss(), ts.SGD(), order=2)
            >>> print(f.terms[-1].explain())
            E**2*N/(2*B**2) C_μν H^μν
              what happens   (a a): updates a and b along -∇l together change the loss through its Hessian ∇∇l; a and b
                             use the same training point
              noise          the covariance C of the gradients at one point
              vanishes       without noise: all points would have one loss
              size           the coefficient grows as T^2, falls as 1/N, is independent of B
              sign           never negative where H ≥ 0
        """
        from taylorsgd.formulas.explaining import explained

        return explained(str(self), self.coefficient, self.value, self.diagrams, spacetime)

    def __str__(self) -> str:
        """The term in plain text."""
        return Page([self]).text()

    def __repr__(self) -> str:
        """The term in plain text, so that it reads well at a prompt and in lists.

        Example:
            >>> import taylorsgd as ts
            >>> ts.derive(ts.TestLoss(), ts.GD(), order=1).terms
            (<Term l>, <Term -T G_μ G^μ>)
        """
        return f"<Term {self}>"

    def _repr_latex_(self) -> str:
        return Page([self]).display()


@runtime_checkable
class Combination(Protocol):
    """What the algebra of terms asks of a `Formula`, for whatever `Formula` itself is built on."""

    terms: tuple[Term, ...]
    spacetimes: tuple[Spacetime, ...]
    observables: dict[str, Observable]
    indices: int
    metric: Any
    rate: Expr
    expectations: Expectations | None
    through: int | None

    def __init__(
        self,
        terms: Iterable[Term],
        spacetimes: Iterable[Spacetime],
        observables: Mapping[str, Observable],
        indices: int = 0,
        metric: Any = None,
        rate: Expr = symbols.eta,
        expectations: Expectations | None = None,
        through: int | None = None,
    ) -> None:
        """Merge equal values, drop zeros and sort."""

    @property
    def order(self) -> int:
        """The power of η through which it was derived; of a part, the highest that it has."""
        ...

    @property
    def values(self) -> Sequence[AnyValue]:
        """The values of the terms."""
        ...

    def __getitem__(self, order: int) -> Combination:
        """The part of one order in η."""
        ...

    def replaced(self, terms: Iterable[Term]) -> Combination:
        """A formula of the same expectations with other terms."""
        ...

    def part(self, terms: Iterable[Term]) -> Combination:
        """A formula of the same kind with other terms, which is not known to equal anything."""
        ...

    def to_cumulants(self) -> Combination:
        """The formula in cumulants."""
        ...

    def latex(self) -> str:
        """The formula in LaTeX."""
        ...
