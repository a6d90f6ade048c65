r"""The flow of an elementwise optimizer on its slow manifold: trees with elementwise products.

With s_i ← A_i s_i + (1 − A_i) P_i(g) and θ ← θ − h U(s), all at every coordinate, and L the derivative along the
unknown field Φ,

    s_i = (1 − A_i)/(1 − A_i e^{−hL}) P_i(g) = Σ_m a_i^m (e^{−hL} − 1)^m P_i,    a = A/(1 − A),
    (e^{hL} − 1)/(hL) Φ = −U(s),                                                    Φ = Φ_0 + hΦ_1 + h²Φ_2 + …

solved order by order, from Φ_0 = φ(g) = −U(P(g)). The terms of Φ are trees with elementwise products,

    V = ψ(g) ⊙ Π_i ∇^{k_i}g[V_1, …, V_{k_i}],

ψ a scalar function and the V again such trees: L adds Φ to a derivative, L D[…] = ∇^{k+1}g[…, Φ] + …, and turns ψ
into ψ′ ⊙ ∇g[Φ]. A term with h^k has k slots in all; leaves are φ. With a parameter in the step (decay) L turns ψ also
into ∂_θψ ⊙ Φ.

The number of shapes with k slots: T = exp(Σ_j D(x^j)/j) multisets of derivatives, each a multiset of at least one tree,
D = exp(Σ_j x^j T(x^j)/j) − 1: 1, 1, 3, 8, 24, ….
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import factorial, prod
from typing import Any, NamedTuple

from sympy import DiracDelta, Dummy, Expr, Integer, Rational, Symbol, binomial, diff, factor

from taylorsgd.flows.scalar_functions import ScalarFunctions
from taylorsgd.updates import ElementwiseRule

__all__ = ["Branch", "Factors", "Solved", "Vector", "solved"]

Factors = tuple[tuple["Branch", ...], ...]
"""Π_i ∇^{k_i}g[V_1, …]: for every factor its slots, in order."""
Vector = dict[Factors, Expr]
"""Σ ψ ⊙ Π …: the function ψ, in the normal form, of every product of derivatives."""


class Branch(NamedTuple):
    """A tree in a slot: one of the functions by its number, 0 for φ, times a product of derivatives."""

    function: int
    factors: Factors


class Trees:
    """Trees with elementwise products, and the derivative of one field along another.

    Args:
        functions: the arithmetic of the scalar functions.
        leaf: φ, in the normal form.
    """

    def __init__(self, functions: ScalarFunctions, leaf: Expr) -> None:
        """Number the functions that stand in slots, from φ on."""
        self.functions = functions
        self.in_slots: list[Expr] = []
        self._known: dict[Expr, tuple[int, Expr]] = {}
        self.in_slots.append(leaf)
        if leaf != 0:
            number, body = functions.parameters(leaf)
            self._known[body] = (0, number)
        self._moved: dict[tuple[Branch, int], list[tuple[Branch, Expr]]] = {}

    def slot(self, function: Expr) -> tuple[Expr, int]:
        """A function that is not 0 as a number times one of those that are numbered."""
        number, body = self.functions.parameters(function)
        if body not in self._known:
            self._known[body] = (len(self.in_slots), Integer(1))
            self.in_slots.append(body)
        index, own = self._known[body]
        return number / own, index

    def branches(self, vector: Vector) -> list[tuple[Branch, Expr]]:
        """A vector as what may stand in a slot, with numbers."""
        found = []
        for factors, function in vector.items():
            number, index = self.slot(function)
            found.append((Branch(index, factors), number))
        return found

    def along(self, moved: Vector, field: Vector) -> Vector:
        """L moved: the derivative along a field."""
        directions = self.branches(field)
        found: dict[Factors, list[Expr]] = {}
        for factors, function in moved.items():
            for grown, change in self._derivative(function, factors, field, directions):
                found.setdefault(grown, []).append(change)
        return self.collected(found)

    def _derivative(
        self, function: Expr, factors: Factors, field: Vector, directions: list[tuple[Branch, Expr]]
    ) -> Iterator[tuple[Factors, Expr]]:
        slope = self.functions.derivative(function)
        if slope != 0:
            for branch, number in directions:
                yield _sorted((*factors, (branch,))), slope * number
        drift = self.functions.derivative(function, by_theta=True)
        if drift != 0:
            for others, velocity in field.items():
                yield _sorted((*factors, *others)), drift * velocity
        for position, slots in enumerate(factors):
            rest = factors[:position] + factors[position + 1 :]
            for branch, number in directions:
                yield _sorted((*rest, (*slots, branch))), function * number
            for place, child in enumerate(slots):
                kept = slots[:place] + slots[place + 1 :]
                for branch, number in self._along_branch(child, field, directions):
                    yield _sorted((*rest, (*kept, branch))), function * number

    def _along_branch(
        self, child: Branch, field: Vector, directions: list[tuple[Branch, Expr]]
    ) -> list[tuple[Branch, Expr]]:
        key = child, id(field)
        if key not in self._moved:
            found: dict[Factors, list[Expr]] = {}
            for grown, change in self._derivative(self.in_slots[child.function], child.factors, field, directions):
                found.setdefault(grown, []).append(change)
            self._moved[key] = self.branches(self.collected(found))
        return self._moved[key]

    def times(self, left: Vector, right: Vector) -> Vector:
        """The elementwise product."""
        found: dict[Factors, list[Expr]] = {}
        for (a, f), (b, g) in product(left.items(), right.items()):
            found.setdefault(_sorted((*a, *b)), []).append(f * g)
        return self.collected(found)

    def combined(self, parts: Sequence[tuple[Expr, Vector]]) -> Vector:
        """A sum of vectors times functions."""
        found: dict[Factors, list[Expr]] = {}
        for scale, vector in parts:
            for factors, function in vector.items():
                found.setdefault(factors, []).append(scale * function)
        return self.collected(found)

    def collected(self, terms: Mapping[Factors, list[Expr]]) -> Vector:
        """Sums in the normal form; what vanishes is left out."""
        sums = {factors: self.functions.normal(sum(changes, Integer(0))) for factors, changes in terms.items()}
        return {factors: function for factors, function in sums.items() if function != 0}


def _sorted(factors: Any) -> Factors:
    return tuple(sorted(tuple(sorted(slots)) for slots in factors))


class Solved(NamedTuple):
    """Φ_0, Φ_1, …, with the functions in the slots; all in the parameters of the rule.

    Attributes:
        parts: Φ_k by powers of h.
        in_slots: the functions that branches number.
        functions: their arithmetic.
    """

    parts: list[Vector]
    in_slots: list[Expr]
    functions: ScalarFunctions


def solved(rule: ElementwiseRule, order: int) -> Solved:
    """Solve for Φ_0, …, Φ_{order−1}."""
    functions = ScalarFunctions()
    memories: dict[Symbol, Expr] = {}  # a symbol for every a that is not a number
    filters = [one for one in rule.filters if rule.step.has(one.state)]
    places = {one.state: Dummy(one.state.name, real=True) for one in filters}
    step: Any = rule.step.xreplace(places)
    averages: Any = {places[one.state]: one.force for one in filters}

    def on_manifold(expression: Any) -> Expr:
        return functions.read(expression.subs(averages, simultaneous=True).doit())

    trees = Trees(functions, on_manifold(-step))
    series = [_Filtered(trees, functions.read(one.force), _memory(one.memory, memories)) for one in filters]
    flow = _Powers(trees, [])
    slopes: dict[tuple[int, ...], Expr] = {}

    def slope(degrees: tuple[int, ...]) -> Expr:
        if degrees not in slopes:
            found = step
            for one, degree in zip(filters, degrees, strict=True):
                found = diff(found, places[one.state], degree) / factorial(degree)
                found = found.replace(DiracDelta, lambda *_: Integer(0))  # away from where a sign changes
            slopes[degrees] = on_manifold(found)
        return slopes[degrees]

    fields: list[Vector] = []
    for power in range(order):
        if power == 0:
            found = {(): trees.in_slots[0]} if trees.in_slots[0] != 0 else {}
        else:
            shifts = [one.through(power, fields) for one in series]
            parts = [(-slope(degrees), vector) for degrees, vector in _products(trees, shifts, power) if sum(degrees)]
            parts += [(Rational(-1, factorial(n + 1)), flow.applied(n, power, fields)) for n in range(1, power + 1)]
            found = trees.combined(parts)
        fields.append(found)
        flow.start.append(found)
    return _in_own_parameters(trees, fields, memories)


def _memory(memory: Expr, names: dict[Symbol, Expr]) -> Expr:
    """A = A/(1 − A), as a symbol of its own if it is no number."""
    ratio = factor(memory / (1 - memory))
    if ratio.is_number:
        return ratio
    for symbol, known in names.items():
        if known == ratio:
            return symbol
    symbol = Dummy("a")
    names[symbol] = ratio
    return symbol


class _Powers:
    """(hL)^n X for a series X = Σ h^k X_k, part by part."""

    def __init__(self, trees: Trees, start: list[Vector]) -> None:
        self.trees, self.start = trees, start
        self._known: dict[tuple[int, int], Vector] = {}

    def applied(self, n: int, power: int, fields: list[Vector]) -> Vector:
        """The part of (hL)^n X with a power of h."""
        if n == 0:
            return self.start[power] if power < len(self.start) else {}
        if power < n:
            return {}
        if (n, power) not in self._known:
            parts = [
                (Integer(1), self.trees.along(self.applied(n - 1, power - 1 - j, fields), fields[j]))
                for j in range(power)
            ]
            self._known[n, power] = self.trees.combined(parts)
        return self._known[n, power]


class _Filtered:
    """s − P = Σ_{n≥1} c_n (hL)^n P, with Σ c_n x^n = Σ_m a^m (e^{−x} − 1)^m."""

    def __init__(self, trees: Trees, force: Expr, memory: Expr) -> None:
        self.trees, self.memory = trees, memory
        self._powers = _Powers(trees, [{(): force}])

    def through(self, order: int, fields: list[Vector]) -> list[Vector]:
        """The parts with h^0 (none) through h^order."""
        return [
            self.trees.combined(
                [(_filter_coefficient(self.memory, n), self._powers.applied(n, k, fields)) for n in range(1, k + 1)]
            )
            for k in range(order + 1)
        ]


def _filter_coefficient(a: Expr, n: int) -> Expr:
    """c_n = Σ_m a^m [x^n] (e^{−x} − 1)^m."""
    total: Expr = Integer(0)
    for m in range(n + 1):
        inner = sum((-1) ** (m - j) * binomial(m, j) * Integer(-j) ** n for j in range(m + 1))
        total = total + a**m * inner / factorial(n)
    return total


def _products(trees: Trees, shifts: list[list[Vector]], power: int) -> Iterator[tuple[tuple[int, ...], Vector]]:
    """Π_i δ_i^{d_i} at a power of h, for all degrees d with a part there."""
    one: Vector = {(): Integer(1)}
    nothing: Vector = {}

    def powers(shift: list[Vector]) -> list[list[Vector]]:
        """For every degree the parts by powers of h."""
        found: list[list[Vector]] = [[one, *([nothing] * power)]]
        for _ in range(power):
            found.append([_at(found[-1], shift, k) for k in range(power + 1)])
        return found

    def _at(left: list[Vector], right: list[Vector], k: int) -> Vector:
        parts = [(Integer(1), trees.times(left[j], right[k - j])) for j in range(k + 1) if left[j] and right[k - j]]
        return trees.combined(parts)

    tables = [powers(shift) for shift in shifts]
    for degrees in product(range(power + 1), repeat=len(shifts)):
        if 1 <= sum(degrees) <= power:
            current = [one, *([nothing] * power)]
            for table, degree in zip(tables, degrees, strict=True):
                if degree:
                    current = [_at(current, table[degree], k) for k in range(power + 1)]
            if current[power]:
                yield degrees, current[power]


def _in_own_parameters(trees: Trees, fields: list[Vector], memories: Mapping[Symbol, Expr]) -> Solved:
    """Put the rule's own A/(1 − A) back for the symbols a, and numbers in slots in front."""
    values: Any = dict(memories)

    def back(function: Any) -> Expr:
        return factor(function.xreplace(values)) if values else function

    fronts: list[Any] = [Integer(1)]
    bodies: list[Any] = [back(trees.in_slots[0])]
    for function in trees.in_slots[1:]:
        number, body = trees.functions.parameters(back(function))
        sign = Integer(-1) if body.could_extract_minus_sign() else Integer(1)
        fronts.append(sign * number)
        bodies.append(sign * body)

    def front(factors: Factors) -> Expr:
        return prod((fronts[b.function] * front(b.factors) for slots in factors for b in slots), start=Integer(1))

    parts = [{factors: factor(back(f) * front(factors)) for factors, f in field.items()} for field in fields]
    return Solved(parts, bodies, trees.functions)
