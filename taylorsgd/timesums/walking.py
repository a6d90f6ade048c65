r"""Sums over time, update by update: one walk through the lattice of down-sets, in any arithmetic.

The state after some events is what the edges born so far carry. In one update every edge that stays alive is
carried on, A or K for each; an edge that ends in an event of the update is read, and those that leave one enter:

    state_{t+1}(I ∪ S) = Σ_{I, S} choices(S, t) · advance_t(state_t(I)),        S = ∅ included.

`Numbers` carries edges without curvature, each a vector of the rule's memory, over any exact domain; `Tensors`
carries matrices, with K = A − ηH b c for A, and has the limit T → ∞ as well: there a state is left by the
resolvent (1 − ⊗ K)^{−1} of the edges alive, or (Σ ηH)^{−1} in a flow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import prod
from operator import mul
from typing import Any, NamedTuple

from sympy.polys.matrices import DomainMatrix

from taylorsgd.timesums.cells import Way
from taylorsgd.timesums.events import ROOT, TimeSum

__all__ = ["Numbers", "System", "Tensors", "along", "plain_system", "scan", "sum_over_cells", "walk"]


def walk(
    arithmetic: Numbers | Tensors,
    updates: int,
    choices: Callable[[int, int], int] | None = None,
    begun: Mapping[int, Any] | None = None,
) -> Any:
    """Sum over all times of the events below `updates`.

    Args:
        arithmetic: what edges carry.
        updates: T.
        choices: in how many ways the events of a step can happen at an update; None for one.
        begun: the states after what has happened before; None for nothing.
    """
    times = arithmetic.times
    states: dict[int, Any] = {0: arithmetic.start()} if begun is None else dict(begun)
    for update in range(updates):
        following: dict[int, Any] = {}
        for done, state in states.items():
            for step in (0, *times.lattice.steps[done]):
                number = choices(step, update) if choices is not None and step else 1
                if not number:
                    continue
                moved = arithmetic.scaled(arithmetic.advance(state, done, step, update), number)
                after = done | step
                following[after] = arithmetic.added(following[after], moved) if after in following else moved
        states = following
    return arithmetic.finish(states.get(times.lattice.full))


class System(NamedTuple):
    """A rule's memory without curvature, as exact numbers of one domain: z ← A_t z + b_t u, read by c or r.

    Attributes:
        carry: for every update the rows of A_t.
        enter: for every update b_t.
        read: c, by inner nodes.
        read_by_root: r.
        one: 1.
    """

    carry: Sequence[Sequence[Sequence[Any]]]
    enter: Sequence[Sequence[Any]]
    read: Sequence[Any]
    read_by_root: Sequence[Any]
    one: Any


def plain_system(updates: int) -> System:
    """Plain descent: an edge carries 1."""
    return System((((1,),),) * updates, ((1,),) * updates, (1,), (1,), 1)


def scan(way: Way, system: System, ends: Sequence[int]) -> Any:
    """The sum over the cells of a way whose events make a tree and choose their cells apart from each other.

    What comes in along an edge by each time is carried on once for all of them: the walk, one event at a time.

    Args:
        way: the way; one edge leaves each event.
        system: what edges carry.
        ends: for every edge into a root the time of that root, T or earlier, at the edge's label.

    Example:
        >>> from fractions import Fraction
        >>> from taylorsgd.timesums.cells import Way
        >>> chain = TimeSum(2, ((0, ROOT), (1, 0)))
        >>> scan(Way(Fraction(1), chain, ((1,) * 5, (1,) * 5)), plain_system(5), [5, 5])        # C(5, 2)
        10
    """
    total, updates = system.one, len(system.carry)
    inside: list[list[Any]] = [list(cells) for cells in way.cells]
    for e in reversed(range(len(way.times.edges))):  # children come after their parents
        source, target = way.times.edges[e]
        if source == target:
            continue
        read = system.read_by_root if target == ROOT else system.read
        state: list[Any] = [system.one * 0] * len(read)
        for t in range(updates + 1):
            arrived = sum(map(mul, read, state))
            if t < updates:
                entering = inside[source][t]
                state = [
                    sum(map(mul, row, state)) + entry * entering
                    for row, entry in zip(system.carry[t], system.enter[t], strict=True)
                ]
            if target != ROOT and t < updates:
                inside[target][t] = inside[target][t] * arrived
            elif target == ROOT and t == ends[e]:
                total = total * arrived
    return total


def sum_over_cells(way: Way, system: System, ends: Sequence[int]) -> Any:
    """The sum over all cells of a way, without its count; arguments as for `scan`."""
    updates = len(system.carry)
    leaving = [source for source, target in way.times.edges if source != target]
    if way.slots is None and len(set(leaving)) == len(leaving):
        return scan(way, system, ends)
    # A root before the end is an event of its own, with one cell.
    first = way.times.events
    into_roots = [target == ROOT and end < updates for end, (_, target) in zip(ends, way.times.edges, strict=True)]
    moments = sorted({end for end, early in zip(ends, into_roots, strict=True) if early})
    edges = tuple(
        (source, first + moments.index(end) if early else target)
        for end, early, (source, target) in zip(ends, into_roots, way.times.edges, strict=True)
    )
    cells = tuple(tuple(int(t == end) for t in range(updates)) for end in moments)
    whole = way._replace(
        times=TimeSum(first + len(moments), edges),
        cells=way.cells + cells,
        taken=way.taken and way.taken + (0,) * len(moments),
    )
    return walk(Numbers(whole.times, system, first), updates, whole.choices)


class Numbers:
    """Edges without curvature: a state holds m numbers for each edge alive, m the size of the rule's memory.

    Args:
        times: the events and edges.
        system: what edges carry.
        roots: the events from which on they are roots.

    Example:
        A chain of two events, each edge damped by a half: Σ_{s<t<3} (1/2)^{t−s−1} (1/2)^{2−t}.

        >>> from fractions import Fraction
        >>> half, one = Fraction(1, 2), Fraction(1)
        >>> chain = TimeSum(2, ((0, 1), (1, ROOT)))
        >>> walk(Numbers(chain, System([((half,),)] * 3, [(one,)] * 3, (one,), (one,), one), 2), 3)
        Fraction(2, 1)
    """

    def __init__(self, times: TimeSum, system: System, roots: int) -> None:
        """Keep the numbers."""
        self.times, self.system, self.one = times, system, system.one
        self.readers = [
            [system.read_by_root if target == ROOT or target >= roots else system.read] for _, target in times.edges
        ]

    def start(self) -> list[Any]:
        """One number."""
        return [self.one]

    def advance(self, state: list[Any], done: int, step: int, update: int) -> list[Any]:
        """Carry, read and enter."""
        before, after = self.times.alive(done), self.times.alive(done | step)
        carry = self.system.carry[update]
        labels = list(before)
        # from the last axis to the first, so that what lies behind an axis is known
        behind = 1
        for e in reversed(before):
            matrix = carry if e in after else self.readers[e]
            state = self._applied(state, matrix, behind)
            if e in after:
                behind *= len(carry)
            else:
                labels.remove(e)
        for place, e in enumerate(after):
            if e not in labels:
                labels.insert(place, e)
                entered, behind = self.system.enter[update], len(carry) ** (len(labels) - place - 1)
                state = [
                    number * entry
                    for start in range(0, len(state), behind)
                    for entry in entered
                    for number in state[start : start + behind]
                ]
        return state

    def _applied(self, state: list[Any], rows: Sequence[Sequence[Any]], behind: int) -> list[Any]:
        """The product with a matrix along the axis that has so many entries behind it."""
        size = len(rows[0])
        if len(rows) == size == 1:
            (factor,) = rows[0]
            return state if factor == self.one else [number * factor for number in state]
        zero = self.one - self.one
        return [
            sum((entry * state[start + i * behind + offset] for i, entry in enumerate(row)), start=zero)
            for start in range(0, len(state), size * behind)
            for row in rows
            for offset in range(behind)
        ]

    def scaled(self, state: list[Any], number: int) -> list[Any]:
        """Every entry times a number."""
        return state if number == 1 else [entry * number for entry in state]

    def added(self, some: list[Any], more: list[Any]) -> list[Any]:
        """Entry by entry."""
        return [a + b for a, b in zip(some, more, strict=True)]

    def finish(self, state: list[Any] | None) -> Any:
        """One number, what the roots read."""
        if state is None:
            return self.one - self.one
        for e in reversed(self.times.alive(self.times.lattice.full)):
            state = self._applied(state, self.readers[e], 1)
        return state[0]


class Tensors:
    """Edges with curvature: a state has two axes for each edge born, where it starts and where it is, or has ended.

    An axis where an edge starts has length P; where it is alive its end has length mP, with the memory first, and
    once it has been read length P.

    Args:
        times: the events and edges.
        carry: for every update K = A − ηH b c, mP × mP, as arrays of exact numbers.
        enter: for every update b, P × mP.
        read: c, mP × P.
        read_by_root: r, likewise.
        one: 1.
        moments: the events that are roots.
    """

    def __init__(
        self,
        times: TimeSum,
        carry: Sequence[Any],
        enter: Sequence[Any],
        read: Any,
        read_by_root: Any,
        one: Any,
        moments: Sequence[int] = (),
    ) -> None:
        """Keep the arrays."""
        self.times, self.carry, self.enter, self.one = times, carry, enter, one
        self.read, self.read_by_root = read, read_by_root
        self._readers = [read_by_root if target in moments else read for _, target in times.edges]

    def start(self) -> Any:
        """An array without axes."""
        import numpy as np

        return np.array(self.one, dtype=object)

    def advance(self, state: Any, done: int, step: int, update: int) -> Any:
        """Carry, read and enter."""
        import numpy as np

        born, alive = self.times.born(done), set(self.times.alive(done))
        after, born_after = set(self.times.alive(done | step)), self.times.born(done | step)
        for e in alive:
            state = along(state, 2 * born.index(e) + 1, self.carry[update] if e in after else self._readers[e])
        fresh = [e for e in born_after if e not in born]
        for _ in fresh:
            state = np.multiply.outer(state, self.enter[update])
        # New edges stand last; put all in the order of their labels.
        labels = [*born, *fresh]
        order = [axis for e in born_after for axis in (2 * labels.index(e), 2 * labels.index(e) + 1)]
        return np.transpose(state, order) if order else state

    def scaled(self, state: Any, number: int) -> Any:
        """Every entry times a number."""
        return state if number == 1 else state * number

    def added(self, some: Any, more: Any) -> Any:
        """Entry by entry."""
        return some + more

    def finish(self, state: Any) -> Any:
        """An array with the axes (start_1, end_1, start_2, end_2, …), all of length P."""
        import numpy as np

        if state is None:
            shape = (self.read.shape[1],) * (2 * len(self.times.born(self.times.lattice.full)))
            return np.full(shape, self.one - self.one, dtype=object)
        born = self.times.born(self.times.lattice.full)
        for e in self.times.alive(self.times.lattice.full):
            state = along(state, 2 * born.index(e) + 1, self.read_by_root)
        return state

    def limit(self, domain: Any, flow: Any = None) -> Any:
        """The sum over all times, T → ∞.

        Args:
            domain: the field of the entries.
            flow: ηH, where sums are integrals: events of one instant have no volume then.
        """
        late = self.late(domain, flow)
        return self.finish(late.get(self.times.lattice.full))

    def late(self, domain: Any, flow: Any = None) -> dict[int, Any]:
        """The states late in a long run, by what has happened; arguments as for `limit`."""

        def leave(state: Any, done: int) -> Any:
            return self._resolved(state, done, domain, flow)

        def move(state: Any, done: int, step: int) -> Any:
            moved = self.advance(state, done, step, 0)
            return moved * 0 if flow is not None and step.bit_count() > 1 else moved

        return self.times.lattice.everywhere(self.start(), move, self.added, leave)

    def _resolved(self, state: Any, done: int, domain: Any, flow: Any) -> Any:
        """Apply (1 − ⊗ K)^{−1}, or (Σ ηH)^{−1}, to the edges alive after a down-set."""
        import numpy as np

        born, alive = self.times.born(done), self.times.alive(done)
        axes = [2 * born.index(e) + 1 for e in alive]
        single = self.carry[0] if flow is None else flow
        inverse = _resolvent(tuple(map(tuple, single)), len(axes), flow is not None, domain)
        moved = np.moveaxis(state, axes, range(len(axes)))
        solved = np.dot(inverse.T, moved.reshape(len(inverse), -1)).reshape(moved.shape)
        return np.moveaxis(solved, range(len(axes)), axes)


def along(state: Any, axis: int, matrix: Any) -> Any:
    """The product of an array with a matrix along one of its axes."""
    import numpy as np

    if _is_identity(matrix):  # what reads and enters plain descent
        return state
    before, after = state.shape[:axis], state.shape[axis + 1 :]
    product = np.matmul(matrix.T, state.reshape(prod(before), len(matrix), prod(after)))
    return product.reshape(*before, matrix.shape[1], *after)


def _is_identity(matrix: Any) -> bool:
    rows, columns = matrix.shape
    return rows == columns and all(matrix[i, j] == int(i == j) for i in range(rows) for j in range(columns))


@lru_cache(maxsize=64)  # states of one landscape are left again and again
def _resolvent(single: tuple[tuple[Any, ...], ...], edges: int, flow: bool, domain: Any) -> Any:
    """(1 − ⊗ K)^{−1} of so many edges, or of flows (Σ ηH)^{−1}."""
    import numpy as np

    size = len(single)
    matrix = DomainMatrix([[*row] for row in single], (size, size), domain)
    identity = DomainMatrix.eye(size, domain)
    if flow:
        terms = [_kronecker([matrix if i == place else identity for i in range(edges)]) for place in range(edges)]
        whole = sum(terms[1:], start=terms[0])
    else:
        whole = DomainMatrix.eye(size**edges, domain) - _kronecker([matrix] * edges)
    return np.array(_inverse(whole.to_dense()), dtype=object)


def _inverse(matrix: DomainMatrix) -> list[list[Any]]:
    """The rows of the inverse of a matrix of quotients, found without dividing polynomials on the way."""
    scale: Any
    scale, whole = matrix.clear_denoms(convert=True)
    numerators, denominator = whole.inv_den()
    domain = matrix.domain
    factor = domain.convert_from(scale.element, whole.domain) / domain.convert_from(denominator, whole.domain)
    return [[domain.convert_from(entry, whole.domain) * factor for entry in row] for row in numerators.to_list()]


def _kronecker(factors: Sequence[DomainMatrix]) -> DomainMatrix:
    product = factors[0].to_list()
    for factor in factors[1:]:
        right = factor.to_list()
        product = [[a * b for a in row for b in other] for row in product for other in right]
    return DomainMatrix(product, (len(product), len(product)), factors[0].domain)
