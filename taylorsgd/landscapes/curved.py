r"""Descent on curved weight spaces: steps along geodesics of a metric that moves with θ, as fields.

With η^{μν}(θ) the inverse metric, v = −η∇l the step of a batch, and Γ the Levi-Civita connection, a step along the
geodesic from θ with velocity v, for a time h, ends at

    exp_θ(hv)^μ = θ^μ + h v^μ + Σ_{k ≥ 2} h^k/k! a_k^μ(v),    a_{k+1} = (v·∂_θ + a_2·∂_v) a_k, a_2 = −Γ(v, v).

So it is a step θ ← θ + h u with u = v + h a_2/2 + h² a_3/6 + …, a field that holds the learning rate itself: h is a
symbol of its own, to be put to η once a formula is evaluated (`at_rate`). Descent in coordinates, θ ← θ + hv, is
`training_fields.natural_gradient`; the two agree to first order in h, and only the other knows no coordinates.

(Tenka, section B.7; Bonnabel 2013.)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement, product
from math import factorial, prod
from typing import Any

from sympy import Add, Dummy, Expr, ImmutableMatrix, MatrixBase, Poly, Symbol, expand, fraction, together

from taylorsgd import symbols
from taylorsgd.arguments import whole_number
from taylorsgd.exact_numbers import exact_argument
from taylorsgd.landscapes.finite import FiniteLandscape
from taylorsgd.landscapes.finite_field import FiniteField
from taylorsgd.landscapes.training_fields import field_of_batches, matrix_of

__all__ = ["at_rate", "christoffel", "geodesic_descent", "sectional_curvature"]

MOST_STEPS = 6
"""The most terms of the exponential map."""


def geodesic_descent(
    landscape: FiniteLandscape, metric: Any, order: int = 3, *, at: Any = None, batch: int = 1, step: Symbol = symbols.h
) -> FiniteField:
    """Steps along geodesics, θ ← exp_θ(−h η(θ) ∇l), through h^order.

    Args:
        landscape: the losses.
        metric: η^{μν}(θ), the inverse metric: a symmetric P × P matrix of SymPy expressions in the variables.
        order: how many terms of the exponential map: to know a formula through η^d take d.
        at: a point θ_0 whose neighbourhood is enough: the field is its Taylor polynomial there, of degree `order`,
            which is all that formulas at θ_0 read of it; it is found and differentiated much faster.
        batch: how many points l is the mean of; a point of the field is a batch of them.
        step: the symbol h that stands for the learning rate inside the field.

    Returns:
        A `FiniteField` in which h is a parameter: `at_rate(formula.evaluate(field, …), d)` puts η for h.

    Raises:
        TypeError: if `landscape` is no `FiniteLandscape`, or the metric no matrix.
        ValueError: if the metric is not P × P and symmetric, or the order not from 1 to 6.

    Example:
        On a line whose unit grows like e^θ nothing is curved: with φ = e^θ the steps are plain ones.

        >>> import sympy, taylorsgd as ts
        >>> x = sympy.Symbol("x")
        >>> steps = geodesic_descent(ts.FiniteLandscape([sympy.exp(x)], [1], [x]), [[sympy.exp(-2 * x)]], 3)
        >>> found = ts.perturb(ts.Observable(sympy.exp(x)), ts.GD(N=1, T=2), steps, [0], 3)
        >>> at_rate(found, 3)
        1 - 2*eta
    """
    if not isinstance(landscape, FiniteLandscape):
        raise TypeError(f"landscape={landscape!r} must be a FiniteLandscape, whose losses are expressions")
    matrix = _symmetric(metric, landscape.dimension)
    count = whole_number(order, "order", 1)
    if count > MOST_STEPS:
        raise ValueError(f"order={order} must be at most {MOST_STEPS}, terms of the exponential map")
    if not isinstance(step, Symbol):
        raise TypeError(f"step={step!r} must be a symbol, which stands for the learning rate")
    variables = landscape.variables
    velocity = [Dummy(f"v{i}") for i in range(len(variables))]
    connection = christoffel(matrix, variables)
    near = None if at is None else _Near(variables, landscape.point(at), count)
    if near is not None:
        connection = [[[near.of(entry).as_expr() for entry in row] for row in square] for square in connection]
    axes = range(len(variables))
    bend = [-Add(*(connection[m][a][b] * velocity[a] * velocity[b] for a, b in product(axes, repeat=2))) for m in axes]
    terms: list[list[Any]] = [list(velocity)]
    higher: list[Any] = bend
    for _ in range(count - 1):
        terms.append(higher)
        higher = [
            Add(*(entry.diff(variables[i]) * velocity[i] + entry.diff(velocity[i]) * bend[i] for i in axes))
            for entry in higher
        ]
    whole = [Add(*(step**k / factorial(k + 1) * term[m] for k, term in enumerate(terms))) for m in axes]

    def exactly(loss: Expr, slope: list[Expr], _: tuple[Any, ...]) -> list[Expr]:
        downward = list(-matrix * ImmutableMatrix(slope))
        if near is not None:
            values = [near.of(entry) for entry in downward]
            return [near.composed(entry, velocity, values) for entry in whole]
        moved: Any = dict(zip(velocity, downward, strict=True))
        return [entry.subs(moved, simultaneous=True) for entry in whole]

    return field_of_batches(landscape, batch, exactly)


def at_rate(found: Any, order: int, step: Symbol = symbols.h) -> Any:
    """What a formula or `perturb` found on a field that holds h, with η for h, through η^order.

    Args:
        found: a polynomial in η and h, or a matrix of some.
        order: where to cut; no more than the formula was derived to.
        step: the symbol h.

    Raises:
        TypeError: if `found` is no expression and no matrix, or `step` no symbol.
        ValueError: if the order is no integer of at least 0.

    Example:
        >>> from taylorsgd.symbols import eta, h
        >>> at_rate(eta + eta * h + eta**2 * h, 2)
        eta**2 + eta
    """
    order = whole_number(order, "order")
    if not isinstance(step, Symbol):
        raise TypeError(f"step={step!r} must be the symbol that stands for the learning rate, such as symbols.h")
    if isinstance(found, MatrixBase):
        return found.applyfunc(lambda entry: at_rate(entry, order, step))
    exact = exact_argument(found, "found")
    expanded = expand(expand(exact).subs(step, symbols.eta))
    return Add(*(expanded.coeff(symbols.eta, k) * symbols.eta**k for k in range(order + 1)))


def christoffel(metric: Any, variables: Any) -> list[list[list[Expr]]]:
    """The connection Γ^μ_{αβ} of an inverse metric, by its three indices.

    Args:
        metric: η^{μν}(θ), the inverse metric.
        variables: θ.

    Example:
        >>> from sympy import symbols
        >>> r, phi = symbols("r phi")
        >>> christoffel([[1, 0], [0, 1 / r**2]], [r, phi])[0][1][1]        # of the plane in polar coordinates
        -r
    """
    upper = _symmetric(metric, len(variables))
    lower = upper.inv().applyfunc(together)
    axes = range(len(variables))

    def first(m: int, a: int, b: int) -> Expr:
        one, two, three = lower[m, a].diff(variables[b]), lower[m, b].diff(variables[a]), lower[a, b].diff(variables[m])
        return (one + two - three) / 2

    return [[[together(Add(*(upper[m, n] * first(n, a, b) for n in axes))) for b in axes] for a in axes] for m in axes]


def sectional_curvature(metric: Any, variables: Any, at: Any, plane: tuple[Any, Any]) -> Expr:
    """The sectional curvature R(x, y, x, y) / (|x|²|y|² − (x·y)²) of an inverse metric at a point.

    Args:
        metric: η^{μν}(θ), the inverse metric.
        variables: θ.
        at: the point, an exact number for each variable.
        plane: two vectors x and y, with upper indices.

    Example:
        >>> from sympy import sin, symbols
        >>> t, phi = symbols("t phi")
        >>> sectional_curvature([[1, 0], [0, 1 / sin(t) ** 2]], [t, phi], [1, 0], ((1, 0), (0, 1)))     # a sphere
        1
    """
    connection, axes = christoffel(metric, variables), range(len(variables))
    lower = _symmetric(metric, len(variables)).inv()

    def riemann(m: int, a: int, n: int, b: int) -> Expr:
        """R^m_{a n b}."""
        total = connection[m][a][b].diff(variables[n]) - connection[m][a][n].diff(variables[b])
        for k in axes:
            total += connection[m][n][k] * connection[k][a][b] - connection[m][b][k] * connection[k][a][n]
        return total

    first, second = plane
    down = [[Add(*(lower[m, n] * vector[n] for n in axes)) for m in axes] for vector in plane]
    bent = Add(
        *(down[0][m] * second[a] * first[n] * second[b] * riemann(m, a, n, b) for m, a, n, b in product(axes, repeat=4))
    )

    def dot(one: int, other: int) -> Expr:
        return Add(*(down[one][m] * plane[other][m] for m in axes))

    point: Any = dict(zip(variables, at, strict=True))
    return together((bent / (dot(0, 0) * dot(1, 1) - dot(0, 1) ** 2)).subs(point, simultaneous=True)).simplify()


class _Near:
    """Taylor polynomials around a point, through a degree, as polynomials in the distances from it."""

    def __init__(self, variables: Sequence[Symbol], point: Sequence[Expr], degree: int) -> None:
        self.variables, self.degree = variables, degree
        self.moved: Any = {v: v + value for v, value in zip(variables, point, strict=True)}
        self.back: Any = {v: v - value for v, value in zip(variables, point, strict=True)}

    def of(self, entry: Expr) -> Poly:
        """That of an expression, in the shifted variables."""
        above, below = (
            self._polynomial(part) for part in fraction(together(entry.subs(self.moved, simultaneous=True)))
        )
        if above is not None and below is not None:
            first = below.coeff_monomial(1)
            if first == 0:
                raise ValueError(f"at={list(self.moved.values())}: {entry} is not finite there; take another point")
            rest, inverse, power = self.cut(1 - below * (1 / first)), Poly(1, *self.variables), Poly(1, *self.variables)
            for _ in range(self.degree if rest else 0):
                power = self.cut(power * rest)
                inverse += power
            return self.cut(self.cut(above * (1 / first)) * inverse)
        derivatives = {(0,) * len(self.variables): entry}
        found: dict[tuple[int, ...], Expr] = {}
        at: Any = {v: value.subs(v, 0) for v, value in self.moved.items()}
        for size in range(self.degree + 1):
            for chosen in combinations_with_replacement(range(len(self.variables)), size):
                powers = tuple(map(chosen.count, range(len(self.variables))))
                if chosen:
                    before = tuple(p - (i == chosen[-1]) for i, p in enumerate(powers))
                    derivatives[powers] = derivatives[before].diff(self.variables[chosen[-1]])
                found[powers] = derivatives[powers].subs(at, simultaneous=True) / prod(map(factorial, powers))
        return Poly.from_dict(found, *self.variables)

    def cut(self, polynomial: Poly) -> Poly:
        """Without what is of a higher degree."""
        kept = {powers: c for powers, c in polynomial.as_dict().items() if sum(powers) <= self.degree}
        return Poly.from_dict(kept, *self.variables) if kept else Poly(0, *self.variables)

    def composed(self, entry: Expr, velocity: Sequence[Symbol], values: Sequence[Poly]) -> Expr:
        """A polynomial in velocities, with polynomials for them, in the variables themselves."""
        total = Poly(0, *self.variables)
        for powers, coefficient in Poly(entry, *velocity).terms():
            product_of = self.cut(Poly(coefficient, *self.variables))
            for value, power in zip(values, powers, strict=True):
                for _ in range(power):
                    product_of = self.cut(product_of * value)
            total += product_of
        return total.as_expr().subs(self.back, simultaneous=True)

    def _polynomial(self, part: Expr) -> Poly | None:
        return part.as_poly(*self.variables)


def _symmetric(metric: Any, dimension: int) -> ImmutableMatrix:
    matrix = matrix_of(metric, dimension)
    if matrix.is_symmetric() is False:
        raise ValueError(f"metric={matrix.tolist()} is not symmetric, as an inverse metric must be")
    return matrix
