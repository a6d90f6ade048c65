"""A finite population of SymPy vector fields with rational weights: every moment and cumulant is exact.

With φ_a the indicator of atom a, u_x = Σ_a φ_a(x) u_a, as for a finite population of losses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from attrs import field, frozen
from sympy import Add, Expr, Rational, Symbol

from taylorsgd.arguments import listed
from taylorsgd.exact_numbers import distinct_symbols
from taylorsgd.landscapes.exact import ExactTensors, exact_expression
from taylorsgd.landscapes.finite import checked_weights

__all__ = ["FiniteField"]


def _checked_fields(fields: Iterable[Any]) -> tuple[tuple[Expr, ...], ...]:
    checked = []
    for i, one in enumerate(listed(fields, "fields", "[[y, -x]]")):
        entries = listed(one, f"fields[{i}]", "[y, -x], one expression for each variable")
        checked.append(tuple(exact_expression(entry, f"fields[{i}][{j}]") for j, entry in enumerate(entries)))
    return tuple(checked)


@frozen
class FiniteField(ExactTensors):
    """Finitely many vector fields u_x with probabilities w_x, for any training that is no descent of a loss.

        θ ← θ + η u_x(θ),        averaged over the batch.

    A field goes wherever a `FiniteLandscape` does. What is observed is the `Displacement`, an `Observable(s)` or their
    moments: a field has no loss. Every formula of `derive` holds as it stands, for this is descent on the loss
    −p·u_x(θ) in doubled space at p = 0, where the indefinite metric [[0, 1], [1, 0]] swaps θ and p: each node has one
    derivative by p, an arrow to its parent, and G_μ stands for −u^μ, H_μν for −∂_ν u^μ, and so on.

    Args:
        fields: the u_x, for each a list of P SymPy expressions in the variables. Other symbols are allowed and stay
            symbolic parameters.
        weights: their probabilities: positive ints, Fractions or SymPy Rationals that sum to 1.
        variables: the P parameters θ, distinct SymPy symbols.

    Attributes:
        fields: tuple of K tuples of P SymPy expressions.
        weights: tuple of K SymPy Rationals.
        variables: tuple of P SymPy symbols.

    Raises:
        TypeError: an entry is no scalar expression, a weight is no exact rational, a variable is no symbol.
        ValueError: no fields or variables, a variable repeated, a field that has not P entries, a weight for each field
            is missing, a weight is not positive, or they do not sum to 1.

    Example:
        Two players, one down and the other up the slope of xy: in discrete time they spiral away.

        >>> import taylorsgd as ts
        >>> from sympy import symbols
        >>> x, y = symbols("x y")
        >>> game = ts.FiniteField([[-y, x]], [1], [x, y])
        >>> radius = ts.Observable(x**2 + y**2)
        >>> f = ts.derive(radius, ts.GD(), order=2)
        >>> f.evaluate(game, at=[1, 0], N=1, T=10)
        10*eta**2 + 1
        >>> ts.perturb(radius, ts.GD(N=1, T=10), game, at=[1, 0], order=2)
        10*eta**2 + 1
    """

    fields: tuple[tuple[Expr, ...], ...] = field(converter=_checked_fields)
    weights: tuple[Rational, ...] = field(converter=checked_weights)
    variables: tuple[Symbol, ...] = field(converter=distinct_symbols)

    VECTOR: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        """Count fields, their entries and weights; nothing is differentiated yet."""
        for i, one in enumerate(self.fields):
            if len(one) != len(self.variables):
                raise ValueError(
                    f"fields[{i}]={list(one)} has {len(one)} entries; give {len(self.variables)}, one for each of "
                    f"{self.variables}"
                )
        if len(self.weights) != len(self.fields):
            raise ValueError(
                f"weights={self.weights} has {len(self.weights)} entries for {len(self.fields)} fields; give one "
                "weight for each field"
            )

    @property
    def mean(self) -> tuple[Expr, ...]:
        """The mean field u = E_x[u_x], P expressions in the variables."""
        columns = zip(*self.fields, strict=True)
        return tuple(Add(*(w * entry for w, entry in zip(self.weights, c, strict=True))) for c in columns)

    # -- what exact cumulants ask: φ_a(x) is 1 for atom a and 0 for the others ---------------------------

    @property
    def components(self) -> tuple[Expr, ...]:
        """The entries of all fields, those of the first one first."""
        return tuple(entry for one in self.fields for entry in one)

    @property
    def _labels(self) -> range:
        return range(len(self.fields))

    def _describe(self, component: int) -> str:
        return "fields[{}][{}]".format(*divmod(component, self.dimension))

    def _product(self, left: int, right: int) -> int | None:
        return left if left == right else None

    def _means(self, nodes: int) -> dict[int, Expr]:
        return dict(enumerate(self.weights))
