"""Any grid of cells: which training point is in the batch of which update."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from attrs import field, frozen
from sympy import Expr, Integer, Rational

from taylorsgd.diagrams import Diagram
from taylorsgd.display.canvas import Shape
from taylorsgd.display.grids import grid_shapes
from taylorsgd.spacetime.base import Batches, Spacetime, Way, row_ways
from taylorsgd.writing.drawn import Drawn

__all__ = ["Grid"]


@frozen(repr=False)
class Grid(Spacetime, Drawn):
    """Descent on any N × T grid of cells: row n is in the batch of update t where `cells[n][t]` is true.

    Args:
        cells: a boolean array, rows n and columns t. Every column must hold the same number B ≥ 1 of cells.

    Raises:
        ValueError: if the array is ragged or empty, has other entries than booleans (or 0 and 1), or its
            columns hold different numbers of cells.
        TypeError: if there are no rows to go through.

    Example:
        >>> import taylorsgd as ts
        >>> grid = ts.Grid([[1, 0, 1, 0], [0, 1, 0, 1]])       # two epochs of SGD on two points
        >>> grid.sizes
        {'N': 2, 'B': 1, 'T': 4, 'M': 2}
        >>> print(grid)
        ■□■□
        □■□■
    """

    cells: tuple[tuple[bool, ...], ...] = field(converter=lambda cells: _checked(cells))

    @property
    def N(self) -> int:
        """The number of rows."""
        return len(self.cells)

    @property
    def T(self) -> int:
        """The number of columns."""
        return len(self.cells[0])

    @property
    def B(self) -> int:
        """The number of cells in every column."""
        return sum(row[0] for row in self.cells)

    @property
    def sizes(self) -> dict[str, Expr]:
        """N, B, T and M = T/N, all integers or a ratio of them."""
        return {"N": Integer(self.N), "B": Integer(self.B), "T": Integer(self.T), "M": Rational(self.T, self.N)}

    def count(self, diagram: Diagram) -> int:
        """Z(D) as an integer."""
        return int(self.embeddings(diagram))

    def ways(self, diagram: Diagram, instant: frozenset[int] = frozenset()) -> Iterator[Way]:
        """Every tied part chooses a row; equal rows count together."""
        return row_ways(diagram, instant, Counter(tuple(map(int, row)) for row in self.cells), self.B)

    def histories(self) -> Iterator[tuple[Fraction, Batches]]:
        """The rows of every column."""
        yield Fraction(1), tuple(tuple(n for n in range(self.N) if self.cells[n][t]) for t in range(self.T))

    def __str__(self) -> str:
        """The grid as filled and empty squares."""
        return "\n".join("".join("■" if cell else "□" for cell in row) for row in self.cells)

    def shapes(self) -> list[Shape]:
        """The grid: rows n downwards, columns t to the right, the cells in use shaded."""
        return grid_shapes(self.cells)

    @property
    def description(self) -> str:
        """What the picture shows, in words."""
        return f"grid of {self.N} rows and {self.T} columns, {self.B} of the cells in each column shaded"


def _checked(cells: Iterable[Iterable[Any]]) -> tuple[tuple[bool, ...], ...]:
    try:
        rows = [list(row) for row in cells]
    except TypeError as error:
        raise TypeError(
            f"cells={cells!r} is no array of rows and columns; write for example [[1, 0], [0, 1]]"
        ) from error
    if not rows or not rows[0]:
        raise ValueError(f"cells={cells!r} is empty; a grid needs at least one row and one column")
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise ValueError(f"cells is ragged: its rows have lengths {sorted(widths)}; all rows need one length")
    for n, row in enumerate(rows):
        for t, cell in enumerate(row):
            if getattr(cell, "shape", ()) or cell not in (0, 1):
                raise ValueError(f"cells[{n}][{t}]={cell!r} is neither true nor false")
    counts = [sum(bool(row[t]) for row in rows) for t in range(len(rows[0]))]
    for t, count in enumerate(counts):
        if count == 0:
            raise ValueError(f"cells: column {t} is empty; every update needs a batch of at least one point")
        if count != counts[0]:
            raise ValueError(
                f"cells: column {t} holds {count} cells but column 0 holds {counts[0]}; "
                "every batch must have the same size B"
            )
    return tuple(tuple(bool(cell) for cell in row) for row in rows)
