"""A finite population of SymPy losses with rational weights: every moment and cumulant is exact.

With φ_a the indicator of atom a, l_x = Σ_a φ_a(x) l_a. Here φ_a φ_b is φ_a if a = b and 0 otherwise, and the
mean of φ_a is the weight w_a.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import field, frozen
from sympy import Expr, Rational, Symbol

from taylorsgd.arguments import listed
from taylorsgd.exact_numbers import as_exact, distinct_symbols
from taylorsgd.landscapes.exact import ExactPopulation, exact_expression

__all__ = ["FiniteLandscape", "checked_weights"]


def _checked_losses(losses: Iterable[Any]) -> tuple[Expr, ...]:
    checked = listed(losses, "losses", "[x**2, (x - 1)**2]")
    return tuple(exact_expression(loss, f"losses[{i}]") for i, loss in enumerate(checked))


def checked_weights(weights: Iterable[Any]) -> tuple[Rational, ...]:
    """Probabilities as exact rationals.

    Raises:
        TypeError: if one is no exact rational.
        ValueError: if one is not positive, or they do not sum to 1.
    """
    checked = []
    for i, weight in enumerate(listed(weights, "weights", "[Rational(1, 2), Rational(1, 2)]")):
        name = f"weights[{i}]={weight!r}"
        share = None if isinstance(weight, float) else as_exact(weight)
        if not isinstance(share, Rational):
            raise TypeError(f"{name} must be exact: an int, a Fraction or a SymPy Rational such as 1/3")
        if share <= 0:
            raise ValueError(f"{name} must be positive; leave out what has no weight")
        checked.append(share)
    if sum(checked) != 1:
        raise ValueError(f"weights={weights!r} sum to {sum(checked)}; probabilities must sum to 1")
    return tuple(checked)


@frozen
class FiniteLandscape(ExactPopulation):
    """Finitely many losses l_x with probabilities w_x; the test loss is l = Σ_x w_x l_x.

    A float inside a loss, or in a point, means the binary fraction that it is: 0.5 is 1/2, and 0.1 is
    3602879701896397/36028797018963968. Write `sympy.Rational(1, 10)` for a tenth.

    Args:
        losses: the l_x, SymPy expressions in the variables. Other symbols are allowed and stay symbolic
            parameters.
        weights: their probabilities: positive ints, Fractions or SymPy Rationals that sum to 1.
        variables: the P parameters θ that descent moves, distinct SymPy symbols.

    Attributes:
        losses: tuple of K SymPy expressions.
        weights: tuple of K SymPy Rationals.
        variables: tuple of P SymPy symbols.

    Raises:
        TypeError: a loss is no scalar expression, a weight is no exact rational, a variable is no symbol.
        ValueError: no losses or variables, a variable repeated, a weight for each loss is missing, a weight
            is not positive, or they do not sum to 1.

    Example:
        The loss x²/2 + ξ x with a fair coin ξ = ±1 has gradient covariance 1 everywhere:

        >>> from sympy import Rational, symbols
        >>> x = symbols("x")
        >>> coin = FiniteLandscape([x**2/2 - x, x**2/2 + x], [Rational(1, 2)] * 2, [x])
        >>> coin.loss
        x**2/2
        >>> coin.moment((1, 1), at=3).item(), coin.cumulant((1, 1), at=3).item()
        (Fraction(10, 1), Fraction(1, 1))
    """

    losses: tuple[Expr, ...] = field(converter=_checked_losses)
    weights: tuple[Rational, ...] = field(converter=checked_weights)
    variables: tuple[Symbol, ...] = field(converter=distinct_symbols)

    def __attrs_post_init__(self) -> None:
        """Count losses and weights; nothing is differentiated yet."""
        if len(self.weights) != len(self.losses):
            raise ValueError(
                f"weights={self.weights} has {len(self.weights)} entries for {len(self.losses)} losses; give one "
                "weight for each loss"
            )

    # -- what exact cumulants ask: φ_a(x) is 1 for atom a and 0 for the others ---------------------------

    @property
    def components(self) -> tuple[Expr, ...]:
        """The losses: l_x = Σ_a [x is atom a] l_a."""
        return self.losses

    def _describe(self, component: int) -> str:
        return f"losses[{component}]"

    def _product(self, left: int, right: int) -> int | None:
        return left if left == right else None

    def _means(self, nodes: int) -> dict[int, Expr]:
        return dict(enumerate(self.weights))
