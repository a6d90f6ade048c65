"""Many steps, or the fixed point, of the second moments of linear regression, in exact numbers or polynomials.

The state of direction i is a vector y_i of m entries (`linear_rules`), its second moments an m × m matrix Y_ij. Numbers
are elements of the smallest exact domain that holds all that goes in: a ring of polynomials for a run with symbols, a
field for a fixed point. What is summed here is written out in `second_moments`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

from sympy import Abs, Expr, Integer, construct_domain
from sympy.polys.matrices import DomainMatrix

from taylorsgd.landscapes.linear_rules import LinearRule, linear_rule, step_rates

__all__ = ["Moments", "Recursion", "is_symbolic", "moments_after", "moments_at_rest"]

ONE = Integer(1)
Matrix = list[list[Any]]
"""A small matrix of domain elements."""


class Recursion(NamedTuple):
    """The problem, and how it is descended; what the entries are is said in `MomentRecursion`.

    All numbers are exact, but in JAX the learning rate may be any number, or traced.
    """

    spectrum: tuple[Expr, ...]
    start: tuple[Expr, ...]
    noise: Expr
    weights: tuple[Expr, ...]
    wide: bool
    eta: Any
    batch: Expr
    update: Any


class Moments(NamedTuple):
    """E θ_i, E θ_i², and E θ_i θ_j where it was asked for, of directions i; SymPy expressions."""

    mean: list[Expr]
    second: list[Expr]
    full: list[list[Expr]] | None


def is_symbolic(recursion: Recursion) -> bool:
    """Whether anything but a number goes in, or numbers that have no domain of their own."""
    numbers = _Numbers(recursion, [ONE], field=False)
    return numbers.domain.is_Composite or numbers.domain.is_EX


def moments_after(recursion: Recursion, updates: int, full: bool) -> Moments:
    """The moments after a number of updates.

    Args:
        recursion: the problem.
        updates: how many, at least 0.
        full: whether entries off the diagonal are wanted.

    Raises:
        TypeError: if the rule is none.
        ValueError: if it has rates for another number of updates.
        NotImplementedError: if its second moments do not close.
    """
    rates = step_rates(recursion.update, updates) or (ONE,) * updates
    numbers = _Numbers(recursion, [*dict.fromkeys([ONE, *rates])], field=False)
    directions = range(len(numbers.steps))
    pairs = [*combinations_with_replacement(directions, 2)] if full else [(i, i) for i in directions]
    means = [[entry * numbers.start[i] for entry in numbers.rules[ONE].start] for i in directions]
    seconds = {(i, j): _outer(means[i], means[j]) for i, j in pairs}
    for rate in rates:
        rule = numbers.rules[rate]
        forward = [numbers.forward(rule, i) for i in directions]
        heard = {pair: _form(rule.read, second, rule.read) for pair, second in seconds.items()}
        level = sum((numbers.spectrum[i] * heard[i, i] for i in directions), numbers.noise)
        for i, j in pairs:
            entering = numbers.own * numbers.steps[i] * numbers.steps[j] * heard[i, j]
            if i == j:
                entering += numbers.shared[i] * level
            moved = _product(_product(forward[i], seconds[i, j]), _transposed(forward[j]))
            seconds[i, j] = _plus(moved, _outer(rule.enter, rule.enter), entering)
        means = [_applied(forward[i], means[i]) for i in directions]
    return numbers.answer(means, seconds, full)


def moments_at_rest(recursion: Recursion, full: bool) -> Moments:
    """The moments for T → ∞.

    With R_i and S_i the fixed points of Y ↦ F_i Y F_iᵀ + b bᵀ and of what decay's last entry adds, ρ and σ their forms
    cᵀ·c, the entering t_i in Y_ii = S_i + t_i R_i obeys t_i = o_i (σ_i + ρ_i t_i) + h_i (s + noise), with o_i what a
    direction's own error makes of noise and h_i its share of what all make, and s = Σ λ_i (σ_i + ρ_i t_i) is linear.

    Raises:
        TypeError: if the rule is none.
        ValueError: if moments grow for ever; by the condition that fails.
        NotImplementedError: if its second moments do not close.
    """
    numbers = _Numbers(recursion, [ONE], field=True)
    rule = numbers.rules[ONE]
    directions = range(len(numbers.steps))
    forward = [numbers.forward(rule, i) for i in directions]
    for i in directions:
        _refuse_lasting(numbers, rule, forward[i], recursion, i)
    means = [numbers.fixed_mean(rule, forward[i], i) for i in directions]
    entering = _outer(rule.enter, rule.enter)
    answers = [numbers.fixed(rule, forward[i], forward[i], entering, numbers.zero) for i in directions]
    starts = [
        numbers.fixed(rule, forward[i], forward[i], None, numbers.start[i] * numbers.start[i]) for i in directions
    ]
    own = [numbers.own * step * step for step in numbers.steps]
    echo, rest = ([_form(rule.read, second, rule.read) for second in found] for found in (answers, starts))
    for i in directions:
        _refuse_loud(numbers, own[i] * echo[i], recursion, f"along spectrum[{i}]={recursion.spectrum[i]} a direction's")
    freely = [own[i] * rest[i] / (numbers.one - own[i] * echo[i]) for i in directions]
    driven = [numbers.shared[i] / (numbers.one - own[i] * echo[i]) for i in directions]
    quiet = sum((numbers.spectrum[i] * (rest[i] + echo[i] * freely[i]) for i in directions), numbers.zero)
    feedback = sum((numbers.spectrum[i] * echo[i] * driven[i] for i in directions), numbers.zero)
    _refuse_loud(numbers, feedback, recursion, "through the test loss all directions'")
    level = (quiet + numbers.noise) / (numbers.one - feedback)
    seconds = {(i, i): _plus(starts[i], answers[i], freely[i] + driven[i] * level) for i in directions}
    if full:
        for i, j in combinations_with_replacement(directions, 2):
            if i != j:
                across = numbers.fixed(rule, forward[i], forward[j], entering, numbers.zero)
                held = numbers.fixed(rule, forward[i], forward[j], None, numbers.start[i] * numbers.start[j])
                own_ij = numbers.own * numbers.steps[i] * numbers.steps[j]
                heard = _form(rule.read, held, rule.read)
                loop = numbers.one - own_ij * _form(rule.read, across, rule.read)
                seconds[i, j] = _plus(held, across, own_ij * heard / loop)
    return numbers.answer(means, seconds, full)


class _Numbers:
    """The numbers of a recursion in one domain."""

    def __init__(self, recursion: Recursion, rates: Sequence[Expr], field: bool) -> None:
        rules = {rate: linear_rule(recursion.update, rate) for rate in rates}
        share = ONE / recursion.batch
        given = list(
            dict.fromkeys(
                [recursion.noise, recursion.eta, share, *recursion.spectrum, *recursion.start, *recursion.weights]
                + [entry for rule in rules.values() for entry in _entries(rule)]
            )
        )
        self.domain, elements = construct_domain(given, field=field, extension=True)
        known = dict(zip(given, elements, strict=True))
        self.zero, self.one = self.domain.zero, self.domain.one
        self.rules = {rate: _converted(rule, known) for rate, rule in rules.items()}
        self.root = self.rules[ONE].read_by_root
        self.spectrum = [known[eigenvalue] for eigenvalue in recursion.spectrum]
        self.start = [known[entry] for entry in recursion.start]
        self.noise = known[recursion.noise]
        eta = known[recursion.eta]
        self.steps = [eta * eigenvalue for eigenvalue in self.spectrum]
        """ηλ_i: the slope's factor in η g."""
        self.own = self.zero if recursion.wide else known[share]
        """1/B: what of the errors along i and j the noise of their Hessians gives back; too little where wide."""
        weights = [known[weight] for weight in recursion.weights]
        self.shared = [eta * known[share] * w * step for w, step in zip(weights, self.steps, strict=True)]
        """η² w_i λ_i/B: what along i the noise is that all errors together make."""

    def forward(self, rule: LinearRule, i: int) -> Matrix:
        """F_i = A − ηλ_i b cᵀ."""
        return [
            [entry - self.steps[i] * enter * read for entry, read in zip(row, rule.read, strict=True)]
            for row, enter in zip(rule.carry, rule.enter, strict=True)
        ]

    def fixed(self, rule: LinearRule, left: Matrix, right: Matrix, entering: Matrix | None, held: Any) -> Matrix:
        """The Y = F_i Y F_jᵀ + entering whose last entry is `held`, where the rule holds θ_0 for ever."""
        size = len(left)
        places = [(a, b) for a in range(size) for b in range(size)]
        unknown = places[:-1] if rule.holds_start else places
        corner = [left[a][-1] * right[b][-1] * held if rule.holds_start else self.zero for a, b in unknown]
        constants = [
            value + (entering[a][b] if entering else self.zero) for value, (a, b) in zip(corner, unknown, strict=True)
        ]
        system = [
            [(self.one if (a, b) == (c, d) else self.zero) - left[a][c] * right[b][d] for c, d in unknown]
            for a, b in unknown
        ]
        found = dict(zip(unknown, self.solved(system, constants), strict=True))
        return [[found.get((a, b), held) for b in range(size)] for a in range(size)]

    def fixed_mean(self, rule: LinearRule, forward: Matrix, i: int) -> list[Any]:
        """The y = F_i y whose last entry is θ_0's, where the rule holds it; else 0."""
        if not rule.holds_start:
            return [self.zero] * len(forward)
        inner = range(len(forward) - 1)
        system = [[(self.one if a == b else self.zero) - forward[a][b] for b in inner] for a in inner]
        return [*self.solved(system, [forward[a][-1] * self.start[i] for a in inner]), self.start[i]]

    def solved(self, system: Matrix, constants: list[Any]) -> list[Any]:
        """The solution of a regular linear system."""
        size = len(constants)
        matrix = DomainMatrix(system, (size, size), self.domain)
        column = DomainMatrix([[value] for value in constants], (size, 1), self.domain)
        return [row[0] for row in matrix.lu_solve(column).to_list()]

    def expression(self, element: Any) -> Expr:
        """A number as a SymPy expression, a polynomial multiplied out."""
        found = self.domain.to_sympy(element)
        return found.expand() if found.is_polynomial() else found

    def answer(self, means: list[list[Any]], seconds: dict[tuple[int, int], Matrix], full: bool) -> Moments:
        """What θ = r·y has of the moments of y."""
        theta = {pair: self.expression(_form(self.root, second, self.root)) for pair, second in seconds.items()}
        mean = [self.expression(sum(map(_times, self.root, found), self.zero)) for found in means]
        directions = range(len(means))
        square = [[theta[min(i, j), max(i, j)] for j in directions] for i in directions] if full else None
        return Moments(mean, [theta[i, i] for i in directions], square)


# -- what has no end ---------------------------------------------------------------------------------------


def _refuse_lasting(numbers: _Numbers, rule: LinearRule, forward: Matrix, recursion: Recursion, i: int) -> None:
    """Refuse a mean that does not converge: an eigenvalue of F_i outside of the unit circle, or on it."""
    size = len(forward) - rule.holds_start
    inner = [row[:size] for row in forward[:size]]
    characteristic = DomainMatrix(inner, (size, size), numbers.domain).charpoly()
    coefficients = [numbers.expression(entry) for entry in characteristic]
    if all(entry.is_number for entry in coefficients) and not _inside_circle(coefficients):
        limit = "" if recursion.update else ", that is 0 < eta*spectrum[i] < 2"
        raise ValueError(
            f"eta={recursion.eta}: along spectrum[{i}]={recursion.spectrum[i]} the mean does not converge; every "
            f"eigenvalue of its update must be less than 1 in absolute value{limit}"
        )


def _refuse_loud(numbers: _Numbers, feedback: Any, recursion: Recursion, whose: str) -> None:
    """Refuse noise that makes as much noise again, or more."""
    found = numbers.expression(feedback)
    if found.is_number and found >= 1:
        raise ValueError(
            f"eta={recursion.eta}, B={recursion.batch}: {whose} noise is fed back {found}-fold and grows for ever; "
            "it must be less than 1-fold: take a smaller eta or a larger B"
        )


def _inside_circle(coefficients: list[Expr]) -> bool:
    """Whether all roots of a real polynomial, highest coefficient first, are in the open unit disk (Schur, Cohn)."""
    while len(coefficients) > 1:
        first, last = coefficients[0], coefficients[-1]
        if not Abs(last) < Abs(first):
            return False
        turned = coefficients[::-1]
        coefficients = [
            (first * entry - last * other).expand() for entry, other in zip(coefficients, turned, strict=True)
        ][:-1]
    return True


# -- small matrices ----------------------------------------------------------------------------------------


def _entries(rule: LinearRule) -> list[Expr]:
    """All numbers of a rule."""
    rows = [*rule.carry, rule.enter, rule.read, rule.read_by_root, map(Integer, rule.start)]
    return [entry for row in rows for entry in row]


def _converted(rule: LinearRule, known: dict[Expr, Any]) -> Any:
    """The same rule of domain elements."""
    enter, read, root = (tuple(known[entry] for entry in row) for row in rule[1:4])
    carry = tuple(tuple(known[entry] for entry in row) for row in rule.carry)
    return LinearRule(carry, enter, read, root, tuple(known[Integer(entry)] for entry in rule.start), rule.holds_start)


def _times(left: Any, right: Any) -> Any:
    return left * right


def _outer(left: Sequence[Any], right: Sequence[Any]) -> Matrix:
    return [[one * other for other in right] for one in left]


def _applied(matrix: Matrix, vector: Sequence[Any]) -> list[Any]:
    return [_total(map(_times, row, vector)) for row in matrix]


def _product(left: Matrix, right: Matrix) -> Matrix:
    columns = _transposed(right)
    return [[_total(map(_times, row, column)) for column in columns] for row in left]


def _transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


def _plus(matrix: Matrix, direction: Matrix, times: Any) -> Matrix:
    return [
        [one + times * other for one, other in zip(row, more, strict=True)]
        for row, more in zip(matrix, direction, strict=True)
    ]


def _form(left: Sequence[Any], matrix: Matrix, right: Sequence[Any]) -> Any:
    return _total(map(_times, left, _applied(matrix, right)))


def _total(terms: Any) -> Any:
    first, *others = terms
    for term in others:
        first = first + term
    return first
