r"""The number of embeddings Z, symbolic and counted, against a plain loop over all maps to cells.

References: Tenka, sections A.1.2, A.2 and B.6.4.

Identities:
    (1) Z_SGD(N,B,E)(D) as a polynomial, with any of N, B, E symbolic = Σ over all maps (brute force)
    (2) Grid.count = Z on the grid of SGD = Σ over all maps
    (3) Z_GD(N,T) = Z_SGD(N, B=N, E=T)
    (4) one epoch: Z = B^#parts · Ω(parts; T); the chain has C(T,2) B² of them, the tied fork N
    (5) Z is an integer ≥ 0, and 0 for one epoch exactly if the order of the parts has a cycle
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

import taylorsgd as ts
from taylorsgd.diagrams import Diagram
from taylorsgd.symbols import B, E, N, T

SIZES = [(2, 1, 2), (2, 2, 3), (4, 2, 2), (3, 1, 1), (3, 3, 2), (2, 1, 3), (4, 4, 1), (6, 2, 1), (1, 1, 4), (4, 1, 1)]
ALL = [diagram for order in range(5) for diagram in ts.diagrams_of_order(order)]
SMALL = [diagram for diagram in ALL if diagram.order <= 3]


def cells_of_sgd(n: int, b: int, e: int) -> list[list[bool]]:
    """Row r is in the batch of update t when its batch number r // B is that of t, without shuffling."""
    per_epoch = n // b
    return [[t % per_epoch == row // b for t in range(e * per_epoch)] for row in range(n)]


def brute_force(diagram: Diagram, cells: list[list[bool]]) -> int:
    """Count the maps from non-root nodes to cells: parts share their row, time rises towards the root."""
    filled = [(n, t) for n, row in enumerate(cells) for t, cell in enumerate(row) if cell]
    inner = [node for node, parent in enumerate(diagram.parents) if parent >= 0]
    place = {node: i for i, node in enumerate(inner)}
    rising = [(place[v], place[diagram.parents[v]]) for v in inner if diagram.parents[v] in place]
    sharing = [(place[v], place[w]) for v in inner for w in inner if v < w and diagram.parts[v] == diagram.parts[w]]
    count = 0
    for spots in product(filled, repeat=len(inner)):
        if all(spots[v][0] == spots[w][0] for v, w in sharing):
            count += all(spots[v][1] < spots[w][1] for v, w in rising)
    return count


@pytest.fixture(scope="module")
def counted() -> dict[tuple[int, int, int], list[int]]:
    """For every size the brute-force counts of all diagrams up to order 4."""
    return {size: [brute_force(diagram, cells_of_sgd(*size)) for diagram in ALL] for size in SIZES}


def test_fully_symbolic(counted) -> None:
    for i, diagram in enumerate(ALL):
        symbolic = ts.SGD().embeddings(diagram)
        assert symbolic.free_symbols <= {N, B, E}
        for (n, b, e), counts in counted.items():
            assert symbolic.subs({N: n, B: b, E: e}) == counts[i], (diagram, n, b, e)


def test_fully_concrete(counted) -> None:
    for (n, b, e), counts in counted.items():
        spacetime, grid = ts.SGD(N=n, B=b, E=e), ts.Grid(cells_of_sgd(n, b, e))
        assert spacetime.sizes["T"] == grid.T == e * n // b
        for diagram, count in zip(ALL, counts, strict=True):
            assert spacetime.embeddings(diagram) == count, (diagram, n, b, e)
            assert grid.count(diagram) == count, (diagram, n, b, e)
            assert spacetime.expression(spacetime.weight(diagram)) == sympy.Rational(count, b**diagram.order)


@pytest.mark.parametrize("given_sizes", ["N", "B", "E", "NB", "NE", "BE"])
def test_some_sizes_symbolic(counted, given_sizes: str) -> None:
    for size in SIZES[:6]:
        numbers = dict(zip("NBE", size, strict=True))
        spacetime = ts.SGD(**{name: numbers[name] for name in given_sizes})
        rest: dict[Any, Any] = {symbol: numbers[symbol.name] for symbol in (N, B, E)}
        for diagram, count in zip(SMALL, counted[size], strict=False):
            assert spacetime.embeddings(diagram).subs(rest) == count, (diagram, size)


@pytest.mark.parametrize("spacetime", [ts.SGD(B=1), ts.SGD(E=1), ts.SGD(B=1, E=1), ts.SGD(N=4), ts.SGD(N=N, B=N)])
def test_families(counted, spacetime: ts.SGD) -> None:
    """All diagrams up to order 4 in the families that have a formula of their own."""
    symbolic = [spacetime.embeddings(diagram) for diagram in ALL]
    checked = 0
    for size in SIZES:
        numbers: dict[Any, Any] = dict(zip((N, B, E), size, strict=True))
        if all(spacetime.sizes[symbol.name].subs(numbers) == number for symbol, number in numbers.items()):
            for diagram, z, count in zip(ALL, symbolic, counted[size], strict=True):
                assert z.subs(numbers) == count, (diagram, size)
            checked += 1
    assert checked >= 2


def test_sizes_that_are_expressions() -> None:
    """N = 2B in one symbol: two batches an epoch."""
    spacetime = ts.SGD(N=2 * B, E=2)
    assert spacetime.sizes["T"] == 4
    for diagram in SMALL:
        assert sympy.expand(spacetime.embeddings(diagram) - ts.SGD(E=2).embeddings(diagram).subs(N, 2 * B)) == 0


def test_gd_is_sgd_with_the_whole_set_as_batch() -> None:
    for diagram in ALL:
        assert ts.GD().embeddings(diagram) == ts.SGD(N=N, B=N, E=T).embeddings(diagram)
    for n, steps in [(2, 2), (3, 1), (1, 3)]:
        gd, grid = ts.GD(N=n, T=steps), ts.Grid([[1] * steps] * n)
        for diagram in ALL:
            assert gd.embeddings(diagram) == grid.count(diagram) == brute_force(diagram, [[True] * steps] * n)


def test_the_diagrams_of_order_2() -> None:
    """Tenka, the table of section B.6.4, with M = E/B (embeddings there are counted per automorphism)."""
    z = ts.SGD().embeddings
    cells = E * N
    pairs = B**2 * (cells / B) * (cells / B - 1) / 2  # pairs of cells in different columns, in order
    assert sympy.expand(z(Diagram((-1, 0, 0))) - cells**2) == 0
    assert sympy.expand(z(Diagram((-1, 0, 1))) - pairs) == 0
    assert sympy.expand(z(Diagram((-1, 0, 0), (0, 1, 1))) - N * E**2) == 0
    assert sympy.expand(z(Diagram((-1, 0, 1), (0, 1, 1))) - N * E * (E - 1) / 2) == 0
    assert z(Diagram((-1,))) == 1


def test_one_epoch_closed_form() -> None:
    chain, fork, tied = Diagram((-1, 0, 1)), Diagram((-1, 0, 0), (0, 1, 1)), Diagram((-1, 0, 1), (0, 1, 1))
    assert ts.SGD(B=1, E=1).embeddings(chain) == N * (N - 1) / 2
    assert ts.SGD(E=1).embeddings(fork) == N
    assert ts.SGD(E=1).embeddings(tied) == 0


def acyclic(diagram: Diagram) -> bool:
    """Whether the parts can be put in order (Kahn 1962)."""
    after = {
        (diagram.parts[node], diagram.parts[parent])
        for node, parent in enumerate(diagram.parents)
        if parent >= 0 and diagram.parents[parent] >= 0
    }
    remaining = set(diagram.parts)
    while free := {part for part in remaining if not any(v in remaining and w == part for v, w in after)}:
        remaining -= free
    return not remaining


@pytest.mark.parametrize("order", range(6))
def test_one_epoch_needs_an_order_of_the_parts(order: int) -> None:
    one_epoch = ts.SGD(E=1)
    for diagram in ts.diagrams_of_order(order):
        assert bool(one_epoch.weight(diagram)) == acyclic(diagram), diagram


@st.composite
def grids(draw) -> list[list[bool]]:
    """Any cells with equally full columns."""
    rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    batch = draw(st.integers(1, rows))
    chosen = [draw(st.permutations(range(rows)))[:batch] for _ in range(columns)]
    return [[row in column for column in chosen] for row in range(rows)]


@given(grids(), st.integers(0, len(ALL) - 1))
@settings(max_examples=150)
def test_any_grid(cells: list[list[bool]], which: int) -> None:
    diagram = ALL[which] if sum(map(sum, cells)) ** ALL[which].order < 30000 else SMALL[which % len(SMALL)]
    grid = ts.Grid(cells)
    count = brute_force(diagram, cells)
    assert grid.count(diagram) == count
    assert grid.embeddings(diagram) == count
    assert isinstance(grid.count(diagram), int)


def test_two_trees_are_counted_together() -> None:
    """A part that meets both trees ties their rows."""
    forest = Diagram((-1, -1, 0, 1), (0, 1, 2, 2))
    for cells in (cells_of_sgd(2, 1, 2), cells_of_sgd(4, 2, 2)):
        count = ts.Grid(cells).count(forest)
        assert count == brute_force(forest, cells)
    assert ts.SGD().embeddings(forest) == E**2 * N


def test_large_grids_stay_exact() -> None:
    """Beyond 64 bits: 400 cells, 8 nodes."""
    grid = ts.Grid(np.ones((2, 200), dtype=bool))
    star = Diagram((-1,) + (0,) * 8)
    assert grid.count(star) == 400**8 > 2**62
    chain = Diagram((-1, *range(8)))
    assert grid.count(chain) == 2**8 * sympy.binomial(200, 8)
