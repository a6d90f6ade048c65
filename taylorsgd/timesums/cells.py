"""Sums over the cells of an explicit grid, for resummation where no closed form is known.

For a diagram on a grid each tied part chooses a row, and each of its nodes a time at which that row is in
the batch; a single node may sit in any of the B cells of a column. Rows with the same cells are alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

from taylorsgd.diagrams import Diagram

__all__ = ["GridSum"]


@dataclass(frozen=True)
class GridSum:
    """The sum over all maps of a diagram's nodes to the cells of a grid.

    Attributes:
        cells: rows n, columns t.
    """

    cells: tuple[tuple[bool, ...], ...]

    possible = True
    """No order of the nodes is impossible by its shape alone."""

    def schedules(self, diagram: Diagram) -> Iterator[tuple[int, dict[int, tuple[int, ...]]]]:
        """Yield, for every choice of rows, how often it occurs and when each node may be.

        Yields:
            Pairs of a multiplicity and, for every non-root node, its number of cells in each column.
        """
        rows = Counter(self.cells)
        batch = sum(row[0] for row in self.cells)
        anywhere = (batch,) * len(self.cells[0])
        tied = [block for block in diagram.inner_blocks if len(block) > 1]
        single = [node for block in diagram.inner_blocks if len(block) == 1 for node in block]
        for choice in product(rows, repeat=len(tied)):
            when = dict.fromkeys(single, anywhere)
            for row, block in zip(choice, tied, strict=True):
                when |= dict.fromkeys(block, tuple(map(int, row)))
            yield prod(rows[row] for row in choice), when
