r"""The algebra of triangular matrices whose entries are power series in what the matrix holds.

M has a value m_s on the diagonal for every state s and a coupling c_{kj} for every move k → j, k < j. A power
of it, or an exponential, sums over all ways from i to j. To have derivatives as well, every entry is expanded
in changes of the m_s and c_{kj}: the coefficient of a monomial D, a multiset of *marks* (s, s) and (k, j), is

    f(M)_{ij; D} = Π 1/(multiplicity)! · ∂^{|D|} f(M)_{ij} / ∂D,

the sum over those ways only that pass all the marks of D. Products convolve,

    (AB)_{ij; D} = Σ_k Σ_{D = D′ + D″} A_{ik; D′} B_{kj; D″},

and where what M holds is positive, so are all terms. Only entries that some way passes exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import combinations

import jax.numpy as jnp

from taylorsgd.lowering.nodes import OnGrid
from taylorsgd.timesums.lattice import Lattice

__all__ = [
    "Entry", "Marks", "Triangle", "degree", "entries_below", "entry_shape", "product", "times_matrix", "way_exists",
    "with_mark", "without_mark",
]  # fmt: skip

Marks = tuple[tuple[int, int], ...]
"""A sorted multiset D of marks: (s, s) for the state s, (k, j) for the move k → j."""

Entry = tuple[int, int, Marks]
"""The coefficient (i, j; D)."""


@dataclass(frozen=True)
class Triangle:
    """Which entries of an upper triangular matrix do not vanish.

    Args:
        size: the number of states, 0, 1, …, size − 1; ways lead from 0 to the last.
        moves: the pairs (k, j), k < j, with a coupling.

    Example:
        >>> Triangle.chain(2)
        Triangle(size=3, moves=((0, 1), (1, 2)))
    """

    size: int
    moves: tuple[tuple[int, int], ...]

    @classmethod
    def of_lattice(cls, lattice: Lattice, *, ties: bool = True) -> Triangle:
        """That of the steps between down-sets, in the order of `lattice.states`; without ties those of one event.

        Example:
            >>> Triangle.of_lattice(Lattice((0, 0)), ties=False)
            Triangle(size=4, moves=((0, 1), (0, 2), (1, 3), (2, 3)))
        """
        place = {state: i for i, state in enumerate(lattice.states)}
        moves = [
            (i, place[state | step])
            for state, i in place.items()
            for step in lattice.steps[state]
            if ties or step.bit_count() == 1
        ]
        return cls(len(place), tuple(sorted(moves)))

    @classmethod
    def chain(cls, length: int) -> Triangle:
        """The bidiagonal one: every state has one move, to the next."""
        return cls(length + 1, tuple((i, i + 1) for i in range(length)))


@lru_cache(maxsize=1024)
def _lengths(triangle: Triangle) -> dict[tuple[int, int], int]:
    """For every pair of states that a way joins, the number of moves of the longest one."""
    lengths = {(i, i): 0 for i in range(triangle.size)}
    for k, j in sorted(triangle.moves, key=lambda move: move[1]):
        for i in range(k + 1):
            if (i, k) in lengths:
                lengths[i, j] = max(lengths.get((i, j), 0), lengths[i, k] + 1)
    return lengths


def degree(triangle: Triangle, entry: Entry) -> int:
    """The number of moves of the longest way from i to j, plus that of marks.

    Where all ways are equally long, the entry of exp(T·M) is of this order in T.
    """
    i, j, marks = entry
    return _lengths(triangle)[i, j] + len(marks)


def way_exists(triangle: Triangle, entry: Entry) -> bool:
    """Whether a way from i to j passes all the marks.

    Example:
        >>> [way_exists(Triangle.chain(2), (0, 2, marks)) for marks in [((1, 1),), ((0, 1), (0, 1))]]
        [True, False]
    """
    i, j, marks = entry
    lengths = _lengths(triangle)
    stops = [i, *(end for mark in marks for end in mark), j]
    return all((stops[n], stops[n + 1]) in lengths for n in range(0, len(stops), 2))


def with_mark(marks: Marks, mark: tuple[int, int]) -> tuple[Marks, int]:
    """D + {mark}, and the multiplicity of the mark in it: ∂ f_{ij; D} = multiplicity · f_{ij; D + mark}."""
    more = tuple(sorted((*marks, mark)))
    return more, more.count(mark)


def without_mark(marks: Marks, mark: tuple[int, int]) -> Marks:
    """D − {mark}, for a mark in D."""
    first = marks.index(mark)
    return marks[:first] + marks[first + 1 :]


@lru_cache(maxsize=1 << 16)
def _factors(triangle: Triangle, entry: Entry) -> tuple[tuple[Entry, Entry], ...]:
    """The pairs (i, k; D′), (k, j; D″) with D′ + D″ = D for which there are ways."""
    i, j, marks = entry
    splits = {
        (tuple(marks[n] for n in chosen), tuple(marks[n] for n in range(len(marks)) if n not in chosen))
        for count in range(len(marks) + 1)
        for chosen in combinations(range(len(marks)), count)
    }
    return tuple(
        ((i, k, first), (k, j, second))
        for k in range(i, j + 1)
        for first, second in sorted(splits)
        if way_exists(triangle, (i, k, first)) and way_exists(triangle, (k, j, second))
    )


def entries_below(triangle: Triangle, wanted: Iterable[Entry]) -> tuple[Entry, ...]:
    """All entries i < j that squaring needs for the wanted ones, these included.

    Example:
        >>> entries_below(Triangle.chain(2), [(0, 2, ())])
        ((0, 1, ()), (0, 2, ()), (1, 2, ()))
    """
    found: set[Entry] = set()
    queue = [entry for entry in wanted if entry[0] < entry[1]]
    while queue:
        entry = queue.pop()
        if entry not in found:
            found.add(entry)
            queue.extend(e for pair in _factors(triangle, entry) for e in pair if e[0] < e[1])
    return tuple(sorted(found))


def product(
    triangle: Triangle,
    entry: Entry,
    first: Mapping[Entry, OnGrid],
    second: Mapping[Entry, OnGrid],
    times: Callable[[OnGrid, OnGrid], OnGrid] = jnp.multiply,
) -> OnGrid:
    """An entry (i, j; D) of the product AB.

    Args:
        triangle: the shape of both matrices.
        entry: which one.
        first: the coefficients of A, those of its diagonal too.
        second: the coefficients of B.
        times: the product of two coefficients, which may be matrices.

    Returns:
        Σ over states and splits of D, of the broadcast shape.
    """
    return reduce(jnp.add, [times(first[a], second[b]) for a, b in _factors(triangle, entry)])


def times_matrix(
    triangle: Triangle,
    entry: Entry,
    power: Mapping[Entry, OnGrid],
    nodes: Sequence[OnGrid],
    couplings: Mapping[tuple[int, int], OnGrid | None],
) -> OnGrid:
    """An entry (i, j; D) of A M, with M and its derivatives written out.

    Args:
        triangle: the shape of both matrices.
        entry: which one.
        power: the coefficients of A; those that it lacks are 0.
        nodes: the diagonal of M.
        couplings: for every move the entry of M, None for 1.

    Returns:
        An array of the broadcast shape.
    """
    i, j, marks = entry
    terms: list[OnGrid | None] = [power[entry] * nodes[j] if entry in power else None]
    if (j, j) in marks:
        terms.append(power.get((i, j, without_mark(marks, (j, j)))))
    for move, coupling in couplings.items():
        if move[1] == j:
            before = power.get((i, move[0], marks))
            terms.append(before if before is None or coupling is None else before * coupling)
            if move in marks:
                terms.append(power.get((i, move[0], without_mark(marks, move))))
    return reduce(jnp.add, [term for term in terms if term is not None])


def entry_shape(
    triangle: Triangle, entry: Entry, states: Sequence[tuple[int, ...]], couplings: Sequence[tuple[int, ...]]
) -> tuple[int, ...]:
    """The broadcast shape of the diagonal entries and couplings on the ways of an entry.

    Args:
        triangle: the shape of the matrix.
        entry: (i, j; D).
        states: the shape of every diagonal entry.
        couplings: the shape of every coupling, in the order of the moves.

    Returns:
        The shape.
    """
    i, j, marks = entry
    marked = [((s, s), shape) for s, shape in enumerate(states)]
    marked += list(zip(triangle.moves, couplings, strict=True))
    return jnp.broadcast_shapes(
        *(shape for mark, shape in marked if way_exists(triangle, (i, j, with_mark(marks, mark)[0])))
    )
