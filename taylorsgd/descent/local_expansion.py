"""A finite landscape or vector field near a point: Taylor polynomials in the displacement δ, and truncated series in η.

With δ = θ − θ_0 = O(η) a function of θ is needed through total degree `order` in δ only. The coefficients
∂^α f(θ_0)/α! are elements of one exact domain: the rationals where they can be, else an algebraic number
field, or polynomials in the parameters. `perturb` works on nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache, reduce
from itertools import combinations_with_replacement
from math import comb, factorial, prod
from operator import add
from typing import Any

from sympy import QQ, ZZ, Add, Dummy, Expr, ImmutableMatrix, Poly, Pow, Rational, Symbol, construct_domain, nan, oo, zoo
from sympy.polys.rings import PolyElement, PolyRing

from taylorsgd.arguments import as_whole
from taylorsgd.exact_numbers import as_exact
from taylorsgd.formulas.observables import Displacement, Observable, SingleObservable, TestLoss, TrainLoss
from taylorsgd.landscapes import FiniteField, FiniteLandscape
from taylorsgd.symbols import eta

__all__ = ["LocalExpansion"]

Series = list[Any]
"""The coefficients of η⁰, …, η^order, elements of the exact domain."""
Rows = tuple[int, ...]
"""The number of its loss in the landscape, for each row of a training set or of a batch."""
Powers = tuple[int, ...]
"""The exponents of δ_1, …, δ_P in a monomial."""


class LocalExpansion:
    """The losses and the observables near θ_0 as polynomials in δ, and truncated series in η.

    Args:
        landscape: the losses; or a field, whose updates go along its u_x.
        at: the point θ_0.
        order: the degree at which everything is truncated.
        members: the observables to average, one or two.
        sizes: further expressions to compute with. Those that are no rationals are indeterminates: whatever
            they are, the domain stays one of polynomials in them.
        penalty: what descent minimizes beside the losses.
        metric: Λ, which turns gradients into directions; None for the identity.
    """

    def __init__(
        self,
        landscape: FiniteLandscape | FiniteField,
        at: Any,
        order: int,
        members: Sequence[SingleObservable],
        sizes: Sequence[Expr] = (),
        penalty: Observable | None = None,
        metric: ImmutableMatrix | None = None,
    ) -> None:
        """Expand the losses and the observables, and find the domain that holds all their coefficients."""
        self.order = _checked_order(order)
        self.dimension = landscape.dimension
        self.members = members
        variables, point = landscape.variables, landscape.point(at)
        observables = [member for member in members if isinstance(member, Observable)]
        self.count = len(landscape.weights)
        if isinstance(landscape, FiniteField):
            _refuse_losses(members, landscape)
            every = [(u, f"fields[{i}][{j}]") for i, one in enumerate(landscape.fields) for j, u in enumerate(one)]
        else:
            every = [(loss, f"losses[{i}]") for i, loss in enumerate(landscape.losses)]
        functions = list(every)
        functions += [(_expression(observable, variables), "s") for observable in observables]
        if penalty is not None:
            functions.append((_expression(penalty, variables), "penalty"))
        expansions = [_taylor(function, name, variables, point, self.order) for function, name in functions]
        coefficients = [number for expansion in expansions for number in expansion.values()]
        if any(number.has(eta) for number in [*sizes, *coefficients]):
            raise ValueError(
                f"losses, s, at and sizes must not depend on the learning rate {eta}, in which the result is "
                "expanded; use another symbol"
            )
        # with 1/2 among them the domain holds every rational: N, B and factorials are divided by
        numbers = [Rational(1, 2), *landscape.weights, *(metric or ()), *coefficients]
        self.domain, elements = construct_domain(numbers, extension=True)
        unknown = {size: Dummy() for size in sizes if not size.is_Rational}
        self._meaning = {dummy: size for size, dummy in unknown.items()}
        if unknown:
            self.domain = self.domain.poly_ring(*self._meaning)
            # convert() refuses what is a polynomial itself
            elements = [self.domain.ring.ground_new(element) for element in elements]
        self.sizes = [self.domain.from_sympy(unknown.get(size, size)) for size in sizes]
        stream = iter(elements[1:])
        self.weights = [next(stream) for _ in landscape.weights]
        self.ring = PolyRing([Dummy() for _ in variables], self.domain)
        entries = [next(stream) for _ in metric or ()]
        axes = range(self.dimension)
        self.metric = [entries[i * self.dimension : (i + 1) * self.dimension] for i in axes] if entries else None
        polynomials = [self.ring.from_dict({powers: next(stream) for powers in each}) for each in expansions]
        self.penalty = polynomials.pop() if penalty is not None else self.ring.zero
        self.observables = dict(zip(observables, polynomials[len(every) :], strict=True))
        if isinstance(landscape, FiniteField):
            width = self.dimension
            self.slopes = [[-u for u in polynomials[width * i : width * (i + 1)]] for i in range(self.count)]
        else:
            self.losses = polynomials[: self.count]
            self.test_loss = self.test_mean(self.losses)
            self.slopes = [self.gradient(loss) for loss in self.losses]
        self._batch_gradients: dict[Rows, list[PolyElement]] = {}

    def rational(self, numerator: int, denominator: int) -> Any:
        """A rational number as an element of the domain."""
        return self.domain.from_sympy(Rational(numerator, denominator))

    def test_mean(self, functions: Sequence[PolyElement]) -> PolyElement:
        """The mean of one polynomial for each loss, by the weights of the landscape."""
        return reduce(add, (f.mul_ground(w) for f, w in zip(functions, self.weights, strict=True)))

    def mean_loss(self, rows: Rows) -> PolyElement:
        """The mean loss over the rows of a batch or of a training set."""
        return reduce(add, (self.losses[row] for row in rows)).mul_ground(self.rational(1, len(rows)))

    def mean_slope(self, rows: Rows) -> list[PolyElement]:
        """What the rows of a batch step against, on average: their gradients, or of a field −u."""
        share = self.rational(1, len(rows))
        return [reduce(add, slopes).mul_ground(share) for slopes in zip(*(self.slopes[n] for n in rows), strict=True)]

    def batch_gradient(self, rows: Rows) -> list[PolyElement]:
        """Where a batch and the penalty point, Λ∇ of the mean loss with the penalty, exact to degree order − 1."""
        rows = tuple(sorted(rows))
        if rows not in self._batch_gradients:
            both = zip(self.mean_slope(rows), self.gradient(self.penalty), strict=True)
            self._batch_gradients[rows] = self.raised([own + penalty for own, penalty in both])
        return self._batch_gradients[rows]

    def raised(self, covector: list[PolyElement]) -> list[PolyElement]:
        """Λ times a gradient."""
        if self.metric is None:
            return covector
        return [
            reduce(add, (slope.mul_ground(entry) for slope, entry in zip(covector, row, strict=True)))
            for row in self.metric
        ]

    def gradient(self, function: PolyElement) -> list[PolyElement]:
        """The partial derivatives by δ_1, …, δ_P."""
        return [function.diff(i) for i in range(self.dimension)]

    def components(self, rows: Rows | None) -> list[list[PolyElement]]:
        """The components of every observable on a training set."""
        return [self._components(member, rows) for member in self.members]

    def _components(self, member: SingleObservable, rows: Rows | None) -> list[PolyElement]:
        if isinstance(member, Displacement):
            return [self.truncated(displacement, self.order) for displacement in self.ring.gens]
        if isinstance(member, Observable):
            return [self.observables[member]]
        if isinstance(member, TestLoss):
            return [self.test_loss]
        assert rows is not None  # flows were refused the training loss
        train_loss = self.mean_loss(rows)
        return [train_loss if isinstance(member, TrainLoss) else self.test_loss - train_loss]

    def truncated(self, function: PolyElement, degree: int) -> PolyElement:
        """Drop the terms of a polynomial in δ above a total degree."""
        return self.ring.from_dict({powers: c for powers, c in function.iterterms() if sum(powers) <= degree})

    def constant(self, value: Any) -> Series:
        """A number as a series in η."""
        return [value] + [self.domain.zero] * self.order

    def times(self, a: Series, b: Series) -> Series:
        """The product of two series, truncated."""
        result = self.constant(self.domain.zero)
        for i, x in enumerate(a):
            if x:
                for j, y in enumerate(b[: self.order + 1 - i]):
                    result[i + j] += x * y
        return result

    def monomials(self, displacement: list[Series]) -> dict[Powers, Series]:
        """Every monomial in δ of degree at most `order`, with δ a vector of series."""
        found = {(0,) * self.dimension: self.constant(self.domain.one)}
        for powers in _exponents(self.dimension, self.order):
            if powers not in found:
                i = next(i for i, power in enumerate(powers) if power)
                found[powers] = self.times(found[_lowered(powers, i)], displacement[i])
        return found

    def value(self, function: PolyElement, monomials: dict[Powers, Series]) -> Series:
        """A polynomial in δ at the series δ whose monomials are given."""
        result = self.constant(self.domain.zero)
        for powers, coefficient in function.iterterms():
            for k, x in enumerate(monomials[powers]):
                if x:
                    result[k] += coefficient * x
        return result

    def in_eta(self, series: Series) -> Expr:
        """A series as an expanded SymPy polynomial in η."""
        numbers = [self.domain.to_sympy(x).xreplace(self._meaning) for x in series]
        return Add(*(number * eta**k for k, number in enumerate(numbers))).expand()


def _refuse_losses(members: Sequence[SingleObservable], landscape: FiniteField) -> None:
    for member in members:
        if not isinstance(member, (Displacement, Observable)):
            raise ValueError(
                f"observable {member!r} is of a loss, and the field {landscape!r} has none: ask for the "
                "Displacement(), an Observable(s), or moments of these"
            )


MOST_POWER = 100
"""The highest power of η: of one parameter it takes seconds, of more it grows with the number of monomials."""


def _checked_order(order: int) -> int:
    checked = as_whole(order)
    if checked is None:
        raise TypeError(f"order={order!r} must be an int, the highest power of eta")
    if not 0 <= checked <= MOST_POWER:
        raise ValueError(f"order={order} must be at least 0 and at most {MOST_POWER}, the highest power of eta")
    return checked


def _expression(observable: Observable, variables: tuple[Symbol, ...]) -> Expr:
    """The observable as an expression in the variables, its floats turned into the rationals they are."""
    s = observable.s
    result = s if isinstance(s, Expr) or not callable(s) else s(variables)
    expression = as_exact(result, binary=True)
    if expression is None:
        raise TypeError(f"s={s!r} returns {result!r} for theta={variables}; it must be a scalar expression")
    if {str(symbol) for symbol in expression.free_symbols - set(variables)} & set(map(str, variables)):
        raise ValueError(f"{observable!r} holds another symbol that is called like one of {variables}")
    return expression


@lru_cache(maxsize=256)  # symbolic differentiation takes most of the time, and observables share the losses
def _taylor(
    function: Expr, name: str, variables: tuple[Symbol, ...], point: tuple[Expr, ...], degree: int
) -> dict[Powers, Expr]:
    """The coefficients ∂^α f(θ_0)/α! of every δ^α with |α| at most `degree`; of a polynomial those that are not 0."""
    low = all(power.exp.is_Integer and power.exp <= MOST_POWER for power in function.atoms(Pow))
    if low and all(entry.is_Rational for entry in point):
        polynomial = function.as_poly(*variables)
        if polynomial is not None and polynomial.domain in (ZZ, QQ):
            return _shifted(polynomial, point, degree)
    derivatives = {(0,) * len(variables): function}
    coefficients = {}
    substitution = list(zip(variables, point, strict=True))
    for powers in _exponents(len(variables), degree):
        if powers not in derivatives:
            i = next(i for i, power in enumerate(powers) if power)
            derivatives[powers] = derivatives[_lowered(powers, i)].diff(variables[i])
        value = derivatives[powers].subs(substitution, simultaneous=True)
        if value.has(nan, oo, -oo, zoo):
            raise ValueError(
                f"at={point}: {name}={function} or one of its derivatives is not finite there; "
                "expand around a point where it is smooth"
            )
        coefficients[powers] = value / prod(map(factorial, powers))
    return coefficients


def _shifted(polynomial: Poly, point: tuple[Expr, ...], degree: int) -> dict[Powers, Expr]:
    """The coefficients of p(θ_0 + δ) through a degree in δ."""
    found: dict[Powers, Any] = polynomial.set_domain(QQ).as_dict(native=True)
    for i, entry in enumerate(map(QQ.from_sympy, point)):
        moved: dict[Powers, Any] = defaultdict(lambda: QQ.zero)
        for powers, number in found.items():
            before, power, after = powers[:i], powers[i], powers[i + 1 :]
            for k in range(min(power, degree - sum(before)) + 1):
                moved[*before, k, *after] += number * comb(power, k) * entry ** (power - k)
        found = moved
    return {powers: QQ.to_sympy(number) for powers, number in found.items() if number}


def _exponents(dimension: int, degree: int) -> list[Powers]:
    """The exponents of all monomials of degree at most `degree`, lower degrees first."""
    return [
        tuple(map(factors.count, range(dimension)))
        for total in range(degree + 1)
        for factors in combinations_with_replacement(range(dimension), total)
    ]


def _lowered(powers: Powers, i: int) -> Powers:
    return (*powers[:i], powers[i] - 1, *powers[i + 1 :])
