"""Any grid of cells: which training point is in the batch of which update."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sympy import Expr, Integer, Rational
from sympy.polys.rings import PolyElement

from taylorsgd.diagrams import Diagram
from taylorsgd.spacetime.base import RESUMMED, RING, Spacetime, Times
from taylorsgd.timesums.cells import GridSum
from taylorsgd.updates.rules import Update

__all__ = ["Grid"]


@dataclass(frozen=True, init=False, repr=False)
class Grid(Spacetime):
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

    cells: tuple[tuple[bool, ...], ...]

    def __init__(self, cells: Iterable[Iterable[Any]]) -> None:
        """Check that the cells are a spacetime."""
        object.__setattr__(self, "cells", _checked(cells))

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
        return {
            "N": Integer(self.N),
            "B": Integer(self.B),
            "T": Integer(self.T),
            "M": Rational(self.T, self.N),
        }

    def weight(self, diagram: Diagram) -> PolyElement:
        """Z(D) / B^|D| as an element of `RING`: a number."""
        return RING(self.count(diagram)) / self.B**diagram.order

    def count(self, diagram: Diagram) -> int:
        """Z(D) as an integer."""
        filled = sum(map(sum, self.cells))
        # No sum can exceed cells^nodes; beyond int64 it is done on Python's integers.
        exact = filled**diagram.order >= 2**62
        earlier = [[int(t < later) for later in range(self.T)] for t in range(self.T)]
        return int(
            self._contracted(diagram, dict.fromkeys(range(len(diagram.parents)), earlier), None, exact)
        )

    def weighted_count(self, diagram: Diagram, update: Update, ends: Sequence[int] | None = None) -> Expr:
        """The sum over all maps of the product of what the edges carry under an update rule.

        Args:
            diagram: the diagram.
            update: the rule.
            ends: the time at which each root sits; None for T.

        Example:
            >>> import taylorsgd as ts
            >>> chain = ts.Diagram((-1, 0, 1))
            >>> ts.Grid([[1, 0], [0, 1]]).weighted_count(chain, ts.HeavyBall(3))
            1
        """
        domain, between, into = update.edges(self.T, ends or [self.T] * len(diagram.roots))
        together = [
            [domain.one if t == later else domain.zero for later in range(self.T)] for t in range(self.T)
        ]
        last = {node: into[diagram.tree_of[node]] for node in range(len(diagram.parents))}
        total: Expr = Integer(0)
        for instant in update.instant_edges(diagram):
            edges = {node: together if node in instant else between for node in range(len(diagram.parents))}
            count = domain.convert(self._contracted(diagram, edges, last, exact=True))
            total = total + update.instant ** len(instant) * domain.to_sympy(count)
        return total

    def _contracted(self, diagram: Diagram, between: Mapping[int, Any], last: Any, exact: bool) -> Any:
        """The sum over all maps as one tensor contraction.

        With A the cells, L_v[t, t'] what the edge that leaves v carries between times and l_v[t] one to a
        root, it is Σ Π_nodes A[row of part, t_v] Π_edges L_v[t_v, t_w] Π_edges to a root l_v[t_v].
        """
        import numpy as np

        kind = object if exact else np.int64
        inner = [node for node, parent in enumerate(diagram.parents) if parent >= 0]
        if not inner:
            return 1
        # A last axis of length 1 stays open: NumPy would turn a scalar of Python integers back into int64.
        cells = np.array(self.cells, dtype=kind)[..., None]
        kept = len(diagram.inner_blocks) + len(inner)
        row = {node: i for i, block in enumerate(diagram.inner_blocks) for node in block}
        time = {node: len(diagram.inner_blocks) + i for i, node in enumerate(inner)}
        operands: list[Any] = []
        for node in inner:
            operands += [cells, [row[node], time[node], kept]]
            parent = diagram.parents[node]
            if diagram.parents[parent] >= 0:
                operands += [np.array(between[node], dtype=kind)[..., None], [time[node], time[parent], kept]]
            elif last is not None:
                operands += [np.array(last[node], dtype=kind)[..., None], [time[node], kept]]
        return np.einsum(*operands, [kept], optimize="greedy")[0]

    def times(self, diagram: Diagram, continuous: bool) -> tuple[PolyElement, Times]:
        """The sum over cells."""
        if continuous:
            raise NotImplementedError(f"a Grid has no continuous resummation; supported are {RESUMMED}")
        return RING(1) / self.B**diagram.order, GridSum(self.cells)

    def _generators(self) -> tuple[Expr, Expr, Expr, Expr]:
        # A count on a grid is a number: only 1/B (for Z itself) and 1/N (for tied roots) are asked for.
        return Integer(1), Integer(1), Rational(1, self.B), Rational(1, self.N)

    def __str__(self) -> str:
        """The grid as filled and empty squares."""
        return "\n".join("".join("■" if cell else "□" for cell in row) for row in self.cells)

    def _repr_svg_(self) -> str:
        from taylorsgd.display import grid_svg

        return grid_svg(self.cells)


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
