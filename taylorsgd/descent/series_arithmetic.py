"""Steps of update rules with θ a truncated power series in η: exact numbers, vectors, and the losses of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property, lru_cache
from operator import add, sub
from typing import Any

from taylorsgd.descent.local_expansion import LocalExpansion, Powers, Rows, Series
from taylorsgd.updates import Update

__all__ = ["SeriesBatch", "descents"]


@dataclass(frozen=True)
class _Scalar:
    """A number of the exact domain, whose own elements do not know how to multiply vectors."""

    local: LocalExpansion
    value: Any

    def _with(self, other: Any, operation: Callable[[Any, Any], Any]) -> _Scalar:
        return _Scalar(self.local, operation(self.value, _element(self.local, other)))

    def __add__(self, other: Any) -> _Scalar:
        return self._with(other, add)

    def __sub__(self, other: Any) -> _Scalar:
        return self._with(other, sub)

    def __neg__(self) -> _Scalar:
        return _Scalar(self.local, -self.value)

    def __rsub__(self, other: Any) -> _Scalar:
        return -self + other

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, _Vector):
            return NotImplemented
        return self._with(other, lambda a, b: a * b)

    def __truediv__(self, whole: int) -> _Scalar:
        return self * Fraction(1, whole)

    __radd__, __rmul__ = __add__, __mul__


@dataclass(frozen=True, eq=False)
class _Vector:
    """A vector of series, such as θ − θ_0."""

    local: LocalExpansion
    entries: list[Series]

    def _with(self, other: _Vector, operation: Callable[[Any, Any], Any]) -> _Vector:
        pairs = zip(self.entries, other.entries, strict=True)
        return _Vector(self.local, [list(map(operation, *pair)) for pair in pairs])

    def __add__(self, other: _Vector) -> _Vector:
        return self._with(other, add)

    def __sub__(self, other: _Vector) -> _Vector:
        return self._with(other, sub)

    def __neg__(self) -> _Vector:
        return -1 * self

    def __mul__(self, number: Any) -> _Vector:
        scale = _element(self.local, number)
        return _Vector(self.local, [[scale * x for x in entry] for entry in self.entries])

    def __truediv__(self, whole: int) -> _Vector:
        return self * Fraction(1, whole)

    __rmul__ = __mul__


def _element(local: LocalExpansion, number: Any) -> Any:
    """A scalar, an integer or a fraction as an element of the domain."""
    if isinstance(number, _Scalar):
        return number.value
    return local.rational(number.numerator, number.denominator)


@lru_cache(maxsize=8)  # a step may look at one point several times
def _monomials(theta: _Vector) -> dict[Powers, Series]:
    return theta.local.monomials(theta.entries)


class SeriesBatch:
    """The mean loss of a batch near θ_0.

    Args:
        local: the landscape near θ_0.
        rows: which loss each row of the batch holds.
        origin: the displacement 0.
    """

    def __init__(self, local: LocalExpansion, rows: Rows, origin: _Vector) -> None:
        """Keep what the batch holds."""
        self.local, self.rows, self.origin = local, rows, origin
        self.slopes = local.batch_gradient(rows)

    def slope(self, theta: _Vector) -> _Vector:
        """ηΛ∇l(θ): the coefficient of η^(k−1) in the gradient goes to η^k."""
        return self._at(theta, self.slopes, 1)

    def curved(self, theta: _Vector, along: _Vector) -> _Vector:
        """ηΛ∇∇l(θ) times a vector."""
        total = 0 * theta
        for j, entry in enumerate(along.entries):
            column = self._at(theta, [row[j] for row in self._curvatures], 1)
            total = total + _Vector(self.local, [self.local.times(x, entry) for x in column.entries])
        return total

    def noise_slope(self, theta: _Vector) -> tuple[_Vector, _Vector]:
        """The slope, and η²Λ∇ tr Ĉ."""
        return self.slope(theta), self._at(theta, self._noise, 2)

    def solve(self, function: Callable[[_Vector], _Vector]) -> _Vector:
        """The s = f(s), f = O(η), by iteration: every round fixes one more power of η."""
        found = 0 * self.origin
        for _ in range(self.local.order):
            found = function(found)
        return found

    solve_linear = solve

    def _at(self, theta: _Vector, functions: list[Any], power: int) -> _Vector:
        """η^power times functions of θ."""
        monomials, shift = _monomials(theta), [self.local.domain.zero] * power
        values = [self.local.value(function, monomials) for function in functions]
        return _Vector(self.local, [[*shift, *value][: self.local.order + 1] for value in values])

    @cached_property
    def _curvatures(self) -> list[list[Any]]:
        return [self.local.gradient(slope) for slope in self.slopes]

    @cached_property
    def _noise(self) -> list[Any]:
        """The polynomials Λ∇ tr Ĉ = 2 Λ mean (∇g_n − ∇ḡ)(g_n − ḡ)·Λ, unbiased, with g_n the slopes of the rows."""
        local, rows = self.local, self.rows
        middle = local.mean_slope(rows)
        spread = [local.ring.zero] * local.dimension
        for row in rows:
            apart = list(map(sub, local.slopes[row], middle))
            turned = local.raised(apart)
            for i, entry in enumerate(apart):
                for j, other in enumerate(turned):
                    spread[i] = local.truncated(spread[i] + entry.diff(j) * other, local.order)
        unbiased = local.rational(2, max(len(rows) - 1, 1))
        return local.raised([entry.mul_ground(unbiased) for entry in spread])


def descents(
    local: LocalExpansion,
    update: Update,
    numbers: Mapping[str, Any],
    rates: list[Any],
    runs: Iterable[tuple[Rows, ...]],
) -> Iterator[list[list[Series]]]:
    """Yield θ_t − θ_0 after t = 0, 1, …, T updates for every run; neighbours share what they begin with.

    Args:
        local: the landscape near θ_0.
        update: the update rule.
        numbers: what its steps compute with, elements of the domain.
        rates: r_t, likewise.
        runs: which losses the batch of every update holds.
    """
    origin = _Vector(local, [local.constant(local.domain.zero)] * local.dimension)
    scalars = {name: _Scalar(local, number) for name, number in numbers.items()}
    factors = [_Scalar(local, rate) for rate in rates]
    batch_of = cache(lambda rows: SeriesBatch(local, rows, origin))
    states, before = [update.start(origin)], ()
    for batches in runs:
        same = [a == b for a, b in zip(before, batches, strict=False)]
        shared = same.index(False) if False in same else len(same)
        del states[shared + 1 :]
        for rows, rate in zip(batches[shared:], factors[shared:], strict=True):
            states.append(update.step(scalars, states[-1], batch_of(rows), rate))
        yield [state[0].entries for state in states]
        before = batches
