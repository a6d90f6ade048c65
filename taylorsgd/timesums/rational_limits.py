r"""T → ∞ for rules with memory, in closed form: a rational function of the rates and of the rule's parameters.

In an eigenbasis an edge carries c M^{Δ−1} b with M = A − s b c, s = ηλ: a matrix of the size of the rule's memory. For
the heavy ball M has the eigenvalues r± of r² − (1 + β − s) r + β, and c M^{Δ−1} b = (r₊^Δ − r₋^Δ)/(r₊ − r₋): square
roots. In the limit they cancel: a state of the walk is left by the resolvent (1 − ⊗ M_e)^{−1} of the edges alive, whose
entries are rational. For one event with two equal edges

    Σ_Δ (c M^{Δ−1} b)² = (1 + β) / ((1 − β) s (2 (1 + β) − s)).

Along a flat edge, s = 0, M has the eigenvalue 1, and an interval in which nothing else is alive lasts ever longer: the
sum grows, by the projector on that eigenvalue in place of the resolvent, per update.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sympy import Dummy, Expr, Integer, factor
from sympy.polys.constructor import construct_domain
from sympy.polys.matrices import DomainMatrix

from taylorsgd.timesums.events import TimeSum

__all__ = ["LinearRule", "growth_with_memory", "limit_with_memory"]

FLAT = (
    "the sum over times diverges as T -> oo: H has a flat direction (an eigenvalue 0), along which nothing is damped; "
    "drift() gives the growth per update along it"
)


class LinearRule(Protocol):
    """A rule as a linear system, z ← A z + b u with u = −η g(θ_0 + c·z), and θ_T − θ_0 = r·z."""

    @property
    def carry(self) -> Sequence[Sequence[Expr]]:
        """The rows of A."""
        ...

    @property
    def enter(self) -> Sequence[Expr]:
        """The vector b."""
        ...

    @property
    def read(self) -> Sequence[Expr]:
        """The vector c."""
        ...

    @property
    def read_by_root(self) -> Sequence[Expr]:
        """The vector r."""
        ...


def limit_with_memory(times: TimeSum, rates: Sequence[Expr], rule: LinearRule) -> Expr:
    """The sum over times as T → ∞.

    Args:
        times: the sum.
        rates: s_e = ηλ_e for every edge.
        rule: the linear system, at its constant rate.

    Returns:
        A rational function of the rates and the rule's parameters.

    Raises:
        ValueError: if the sum diverges whatever the rates are, for a rate is 0.

    Example:
        >>> from sympy import symbols
        >>> import taylorsgd as ts
        >>> from taylorsgd.timesums.events import ROOT, TimeSum
        >>> s, beta = symbols("s beta")
        >>> fork = TimeSum(1, ((0, ROOT), (0, ROOT)))
        >>> limit_with_memory(fork, [s, s], ts.HeavyBall(beta).memory(Integer(1)))
        (beta + 1)/(s*(beta - 1)*(-2*beta + s - 2))
    """
    return _Walk(times, rates, rule, frozenset()).sums().get(0, Integer(0))


def growth_with_memory(times: TimeSum, rates: Sequence[Expr], rule: LinearRule, flat: Sequence[int]) -> Expr:
    """By how much the sum grows per update as T → ∞.

    Args:
        times: the sum.
        rates: s_e = ηλ_e for every edge, 0 for flat ones.
        rule: the linear system.
        flat: the flat edges.

    Raises:
        ValueError: if the growth is not steady.
    """
    return _Walk(times, rates, rule, frozenset(flat)).sums().get(1, Integer(0))


State = dict[int, list[Any]]
"""By the number of intervals in which only flat edges are alive, the tensor of the memories of the edges alive."""


class _Walk:
    """The walk of `timesums.walking`, with a matrix of its own on every edge, over a field of rational functions."""

    def __init__(self, times: TimeSum, rates: Sequence[Expr], rule: LinearRule, flat: frozenset[int]) -> None:
        self.times, self.flat = times, flat
        self.named: dict[Expr, Any] = {rate: Dummy(f"s{i}") for i, rate in enumerate(rates) if not rate.is_number}
        known = [self.named.get(rate, rate) for rate in rates]
        written = [*rule.enter, *rule.read, *rule.read_by_root, *(entry for row in rule.carry for entry in row)]
        domain, numbers = construct_domain([Integer(1), *known, *written], field=True)
        self.domain: Any = domain
        if not (domain.is_Field and domain.is_Exact):
            raise NotImplementedError(f"sums over {written} have no closed form here")
        stream = iter(numbers[1 + len(known) :])
        size = len(rule.enter)
        self.enter, self.read, self.by_root = ([next(stream) for _ in range(size)] for _ in range(3))
        carry = [[next(stream) for _ in range(size)] for _ in range(size)]
        self.damped = [
            [
                [carry[i][j] - rate * self.enter[i] * self.read[j] for j in range(size)]
                for i in range(size)
            ]
            for rate in numbers[1 : 1 + len(known)]
        ]  # fmt: skip
        self.size = size

    def sums(self) -> dict[int, Expr]:
        """The sum at the end, by the number of intervals in which it grows."""
        one = self.domain.one
        found = self.times.lattice.through({0: [one]}, self._moved, _added, self._left)
        back: Mapping[Any, Any] = {name: rate for rate, name in self.named.items()}
        totals = {}
        for count, state in (found or {}).items():
            for _ in self.times.alive(self.times.lattice.full):
                state = self._applied(state, [self.by_root], len(state) // self.size)
            totals[count] = factor(self.domain.to_sympy(state[0]).xreplace(back))
        if 2 in totals:
            raise ValueError("the growth per update grows itself: two flat directions meet; no steady drift exists")
        return totals

    def _moved(self, sums: State, done: int, step: int) -> State:
        before, after = self.times.alive(done), self.times.alive(done | step)
        moved = {}
        for count, state in sums.items():
            labels = list(before)
            for e in reversed(before):
                behind = self.size ** sum(other > e for other in labels)
                if e in after:
                    state = self._applied(state, self.damped[e], behind)
                else:
                    state = self._applied(state, [self.read], behind)
                    labels.remove(e)
            for place, e in enumerate(after):
                if e not in labels:
                    labels.insert(place, e)
                    behind = self.size ** (len(labels) - place - 1)
                    state = [
                        number * entry
                        for start in range(0, len(state), behind)
                        for entry in self.enter
                        for number in state[start : start + behind]
                    ]
            moved[count] = state
        return moved

    def _applied(self, state: list[Any], rows: list[list[Any]], behind: int) -> list[Any]:
        """The product with a matrix along the axis that has so many entries behind it."""
        return [
            sum((entry * state[start + i * behind + offset] for i, entry in enumerate(row)), start=self.domain.zero)
            for start in range(0, len(state), self.size * behind)
            for row in rows
            for offset in range(behind)
        ]

    def _left(self, sums: State, done: int) -> State:
        """Any number of updates without events: the resolvent, or where only flat edges are alive its pole."""
        alive = self.times.alive(done)
        whole = [[self.domain.one]]
        for e in alive:
            whole = [[a * b for a in row for b in other] for row in whole for other in self.damped[e]]
        size = len(whole)
        left = DomainMatrix.eye(size, self.domain) - DomainMatrix(whole, (size, size), self.domain)
        idle = bool(alive) and set(alive) <= self.flat
        if idle:
            projector = _pole(left, self.domain)
            return {count + 1: _product(projector, state) for count, state in sums.items()}
        if not left.charpoly()[-1]:
            raise ValueError(FLAT if not self.flat else "another direction is flat as well; no steady drift exists")
        right = DomainMatrix([[x for state in sums.values() for x in [state[i]]] for i in range(size)],
                             (size, len(sums)), self.domain)  # fmt: skip
        solved = left.to_dense().lu_solve(right.to_dense()).to_list()
        return {count: [row[k] for row in solved] for k, count in enumerate(sums)}


def _pole(left: DomainMatrix, domain: Any) -> list[list[Any]]:
    """What is left of (1 − x M)^{−1} (1 − x) as x → 1, from 1 − M: the projector on M's eigenvalue 1."""
    columns, rows = left.nullspace().to_list(), left.transpose().nullspace().to_list()
    if len(columns) != 1:
        raise ValueError("nothing, or more than one direction, grows under this rule; no steady drift exists")
    (column,), (row,) = columns, rows
    scale = sum((a * b for a, b in zip(row, column, strict=True)), start=domain.zero)
    if not scale:
        raise ValueError("the growth per update grows itself under this rule; no steady drift exists")
    return [[a * b / scale for b in row] for a in column]


def _product(matrix: list[list[Any]], state: list[Any]) -> list[Any]:
    return [sum((a * b for a, b in zip(row, state, strict=True)), start=0 * state[0]) for row in matrix]


def _added(some: State, more: State) -> State:
    total = dict(some)
    for count, state in more.items():
        total[count] = [a + b for a, b in zip(total[count], state, strict=True)] if count in total else state
    return total
