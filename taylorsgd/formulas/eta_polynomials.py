r"""Polynomials in η, and quotients of them by powers of one polynomial: the numbers of exact resummed values.

Polynomials are dense, the coefficients of η^0, η^1, … in a row: they are short, and have no gaps. Where a rule has
instant edges, R = (1 + ηγH)⁻¹ = adj(1 + ηγH)/D with D = det(1 + ηγH), and a quotient keeps the power of D that it is
over: sums and products then need no common divisors, and what is common is cancelled once, at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import reduce
from operator import mul
from typing import Any

from sympy import EX, QQ, Expr, Rational, construct_domain
from sympy.polys.matrices import DomainMatrix
from sympy.polys.rings import ring

__all__ = ["Arithmetic", "Quotient", "is_rational"]

MOST_IRRATIONALS = 4
"""So many roots make a number field that is quickly found; beyond, expressions are simplified one by one."""


class Quotient:
    """A polynomial in η over a power of D; it adds and multiplies with others over the same D, and with integers.

    Attributes:
        numbers: the coefficients, that of η^0 first; the last is not 0.
        power: k, of D^k below.
        over: D as such a polynomial, shared; None where no D is known.
    """

    __slots__ = ("numbers", "over", "power")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, numbers: Sequence[Any], power: int = 0, over: Quotient | None = None) -> None:
        """Leave out vanishing coefficients of the highest powers."""
        count = len(numbers)
        while count and not numbers[count - 1]:
            count -= 1
        self.numbers = numbers if count == len(numbers) else numbers[:count]
        self.power, self.over = power if count else 0, over

    def __bool__(self) -> bool:
        """Whether it is not 0."""
        return bool(self.numbers)

    def __eq__(self, other: object) -> bool:
        """Also with integers."""
        if isinstance(other, int):
            other = Quotient([other] if other else [])
        if not isinstance(other, Quotient):
            return NotImplemented
        one, two = self._alike(other)
        return list(one.numbers) == list(two.numbers)

    def __neg__(self) -> Quotient:
        """The negative."""
        return Quotient([-number for number in self.numbers], self.power, self.over)

    def __add__(self, other: Any) -> Quotient:
        """The sum."""
        if not isinstance(other, Quotient):
            other = Quotient([other])
        if not other.numbers or not self.numbers:
            return self if self.numbers else other
        one, two = (self, other) if self.power == other.power else self._alike(other)
        longer, shorter = (one, two) if len(one.numbers) >= len(two.numbers) else (two, one)
        total = list(longer.numbers)
        for i, number in enumerate(shorter.numbers):
            total[i] += number
        return Quotient(total, one.power, one.over or two.over)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Quotient:
        """The difference."""
        return self + -other

    def __rsub__(self, other: Any) -> Quotient:
        """The difference."""
        return -self + other

    def __mul__(self, other: Any) -> Quotient:
        """The product."""
        if not isinstance(other, Quotient):
            return Quotient([number * other for number in self.numbers], self.power, self.over)
        one, two = self.numbers, other.numbers
        if not one or not two:
            return Quotient([])
        power, over = self.power + other.power, self.over or other.over
        if len(one) > len(two):
            one, two = two, one
        first = one[0]
        if len(one) == 1:
            return Quotient(two if first == 1 else [first * number for number in two], power, over)
        total = [first * number for number in two] + [first * 0] * (len(one) - 1)
        for i, a in enumerate(one):
            if i and a:
                for j, b in enumerate(two):
                    total[i + j] += a * b
        return Quotient(total, power, over)

    __rmul__ = __mul__

    def _alike(self, other: Quotient) -> tuple[Quotient, Quotient]:
        """Both over one power of D."""
        power, over = max(self.power, other.power), self.over or other.over
        return self._raised(power, over), other._raised(power, over)

    def _raised(self, power: int, over: Quotient | None) -> Quotient:
        """Over a higher power of D."""
        if self.power == power or not self.numbers or over is None:
            return self
        raised = Quotient(self.numbers)
        for _ in range(power - self.power):
            raised = raised * over
        return Quotient(raised.numbers, power, over)


class Arithmetic:
    """Exact entries over the numbers of a landscape: polynomials in η, numbers when η is one, and their quotients."""

    def __init__(self, eta: Expr, entries: Iterable[Expr], *, field: bool = False) -> None:
        """Choose the smallest domain that holds the learning rate and the entries.

        Args:
            eta: the learning rate; a rational number, or an expression that is put in at the end.
            entries: what of the landscape's numbers is not rational.
            field: whether entries are elements of a field, as limits need, of any quotients of polynomials; otherwise
                they are `Quotient`s.
        """
        self.eta = eta
        self.ring = ring("eta", _domain(list(entries)))[0]
        self.field: Any = self.ring.to_field() if field else None
        one = self.ring.domain.one
        self.one, self.zero = self._entry([one]), self._entry([])
        self._known: dict[Any, Any] = {}
        self.rate = self.convert(eta) if isinstance(eta, Rational) else self._entry([one - one, one])

    def convert(self, entry: Any) -> Any:
        """Bring a landscape's number into the domain."""
        found = self._known.get(entry)
        if found is None:
            domain = self.ring.domain
            if isinstance(entry, Expr):
                number = domain.from_sympy(entry)
            else:
                number = domain.convert_from(QQ(int(entry.numerator), int(entry.denominator)), QQ)
            found = self._known[entry] = self._entry([number])
        return found

    def power(self, exponent: int) -> Any:
        """A power of the learning rate."""
        return reduce(mul, [self.rate] * exponent, self.one)

    def number(self, count: Fraction) -> Any:
        """A rational number in the domain."""
        return self.convert(Rational(count.numerator, count.denominator))

    def identity(self, size: int) -> Any:
        """The unit matrix."""
        import numpy as np

        return np.array([[self.one * int(i == j) for j in range(size)] for i in range(size)], dtype=object)

    def inverse(self, matrix: Any) -> Any:
        """The inverse of a matrix of polynomials, over its determinant, which is D from here on."""
        import numpy as np

        shape = (len(matrix), len(matrix))
        if self.field is not None:
            rows = [[*row] for row in matrix]
            return np.array(DomainMatrix(rows, shape, self.field.to_domain()).to_dense().inv().to_list(), dtype=object)
        rows = [[self._polynomial(entry) for entry in row] for row in matrix]
        adjugate, determinant = DomainMatrix(rows, shape, self.ring.to_domain()).to_dense().adj_det()
        over = Quotient(self._numbers(determinant))
        found = [[Quotient(self._numbers(entry), 1, over) for entry in row] for row in adjugate.to_dense().to_list()]
        return np.array(found, dtype=object)

    def expression(self, entry: Any) -> Expr:
        """Write an entry as a SymPy expression, with the learning rate put in."""
        if isinstance(entry, Quotient):
            if not entry.power:
                return self._written(entry.numbers)
            assert entry.over is not None
            field = self.ring.to_field()
            entry = field(self._polynomial(entry)) / field(self._polynomial(entry.over)) ** entry.power
        return self._written(self._numbers(entry.numer)) / self._written(self._numbers(entry.denom))

    def _entry(self, numbers: Sequence[Any]) -> Any:
        entry = Quotient(numbers)
        return entry if self.field is None else self.field(self._polynomial(entry))

    def _written(self, numbers: Sequence[Any]) -> Expr:
        total: Expr = Rational(0)
        for power, number in enumerate(numbers):
            if number:
                total = total + self.ring.domain.to_sympy(number) * self.eta**power
        return total

    def _polynomial(self, entry: Quotient) -> Any:
        return self.ring.from_dict({(power,): number for power, number in enumerate(entry.numbers) if number})

    def _numbers(self, polynomial: Any) -> list[Any]:
        known = {power: number for (power,), number in polynomial.terms()}
        return [known.get(power, self.ring.domain.zero) for power in range(max(known, default=-1) + 1)]


def is_rational(entry: Any) -> bool:
    """Whether a number of the landscape is a rational one."""
    return not isinstance(entry, Expr) or bool(entry.is_Rational)


def _domain(irrational: list[Expr]) -> Any:
    """The rationals, a field of algebraic numbers, or any expressions."""
    if not irrational:
        return QQ
    if len(irrational) > MOST_IRRATIONALS or any(entry.free_symbols or not entry.is_algebraic for entry in irrational):
        return EX
    return construct_domain(irrational, extension=True)[0]
