r"""Resummed values: diagrams whose edges carry what happens between two updates.

Between the updates t and t′ an influence passes t′ − t − 1 others, each of which damps it by K = I − ηH. So
an edge carries K^{t′−t−1} η instead of η, and the sum runs over linkless diagrams only: a chain of links
is a power of ηH, and the geometric series of chains is the power of K (Tenka, Theorem 1). In the continuous
approximation K^{t′−t−1} becomes e^{−(t′−t)ηH} and sums over times become integrals (Remark 1).

With heavy-ball momentum β an influence lives in two updates, and K^{Δ−1} becomes the first block of A^{Δ−1},

    A = [[(1 + β) I − ηH, −β I], [I, 0]],

in an eigenbasis (r₊^Δ − r₋^Δ)/(r₊ − r₋) with r± the roots of r² − (1 + β − ηλ) r + β.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from sympy import Expr, Symbol, oo

from taylorsgd.diagrams import Diagram
from taylorsgd.diagrams.values import LOSS
from taylorsgd.timesums.cells import CellSum
from taylorsgd.timesums.events import TimeSum
from taylorsgd.updates import Descent, Update

__all__ = ["ResummedValue"]

PLAIN = Descent()


class ResummedValue:
    """The value of a linkless diagram, summed over the times of its nodes.

    value = Σ_times (tensors of the parts, contracted along edges that carry K^{t′−t−1} η).

    It holds the sum over times that a plain formula has in its coefficient, so it depends on T.

    Args:
        diagram: a linkless diagram. Its root matters here: the root sits at T.
        marks: what each root carries, as in `Value`.
        times: the sum over times.
        T: the number of updates, or `sympy.oo` for the limit.
        continuous: whether sums are integrals and powers of K exponentials.
        drift: whether the value is the growth per update along a flat open index, instead of the sum.
        update: the rule, whose memory edges carry besides.
    """

    __slots__ = (
        "T",
        "__dict__",
        "_hash",
        "continuous",
        "diagram",
        "drift",
        "root_marks",
        "times",
        "update",
    )

    diagram: Diagram
    root_marks: tuple[str, ...]
    times: TimeSum | CellSum
    T: Expr
    continuous: bool
    drift: bool
    update: Update

    moments = False
    """A resummed value is always in cumulants."""

    def __init__(
        self,
        diagram: Diagram,
        root_marks: Sequence[str],
        times: TimeSum | CellSum,
        T: Expr,
        continuous: bool,
        drift: bool = False,
        update: Update = PLAIN,
    ) -> None:
        """Keep the parts; the diagram is canonical already."""
        self.diagram = diagram
        self.root_marks = tuple(root_marks)
        self.times = times
        self.T = T
        self.continuous = continuous
        self.drift = drift
        self.update = update
        self._hash = hash((diagram, self.root_marks, times, T, continuous, drift, update))

    @property
    def order(self) -> int:
        """The number of edges: the power of η in front."""
        return self.diagram.order

    @property
    def parents(self) -> tuple[int, ...]:
        """The parent of every node, −1 for a root."""
        return self.diagram.parents

    @property
    def parts(self) -> tuple[int, ...]:
        """The part of every node."""
        return self.diagram.parts

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The parts as tuples of nodes, roots included."""
        return self.diagram.blocks

    @cached_property
    def marks(self) -> tuple[str, ...]:
        """What every node carries."""
        marks = [LOSS] * len(self.parents)
        for root, mark in zip(self.diagram.roots, self.root_marks, strict=True):
            marks[root] = mark
        return tuple(marks)

    @cached_property
    def degrees(self) -> tuple[int, ...]:
        """The number of edges at every node."""
        return tuple(map(self.diagram.degree, range(len(self.parents))))

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The edges as pairs (child, parent), in the order in which `times` labels them."""
        return tuple((node, parent) for node, parent in enumerate(self.parents) if parent >= 0)

    @cached_property
    def open_indices(self) -> tuple[int, ...]:
        """The nodes with an open index, in the order of the observables that left them open."""
        return tuple(
            root for root, mark in zip(self.diagram.roots, self.root_marks, strict=True) if mark[:1] == "@"
        )

    @property
    def free_symbols(self) -> set[Symbol]:
        """The symbols in T."""
        return self.T.free_symbols if self.T is not oo else set()  # type: ignore[return-value]

    @property
    def sort_key(self) -> tuple[object, ...]:
        """Powers of η first, then from few ties to many."""
        kind = (
            str(self.T),
            self.continuous,
            self.drift,
            repr(self.times) if isinstance(self.times, CellSum) else "",
            "" if self.update == PLAIN else repr(self.update),
        )
        return (self.order, 1, -len(self.blocks), self.parents, self.parts, self.marks, kind)

    def substitute(self, values: Mapping[Any, Any]) -> ResummedValue:
        """The same value with some symbols of T replaced."""
        if not self.free_symbols & values.keys():
            return self
        return self.with_T(self.T.subs(values, simultaneous=True))

    def with_T(self, T: Expr, drift: bool = False) -> ResummedValue:
        """The same sum up to another T, or its drift."""
        return ResummedValue(
            self.diagram, self.root_marks, self.times, T, self.continuous, drift, self.update
        )

    @property
    def time_sum(self) -> TimeSum:
        """The sum over times in closed form.

        Raises:
            NotImplementedError: on a grid or with memory, where there is none.
        """
        if not self.update.is_plain:
            raise NotImplementedError(
                "a sum over times with momentum has no closed form in T and the eigenvalues here; evaluate() computes "
                "it exactly with the companion matrix of the heavy ball"
            )
        if isinstance(self.times, CellSum):
            raise NotImplementedError(
                "a sum over the cells of a grid has no closed form in T and the eigenvalues; "
                "evaluate() and lower() compute it cell by cell"
            )
        return self.times

    def __eq__(self, other: object) -> bool:
        """Equal when diagram, sum over times, T and method are."""
        if not isinstance(other, ResummedValue):
            return NotImplemented
        return self._hash == other._hash and self.T == other.T and self.sort_key == other.sort_key

    def __lt__(self, other: Any) -> bool:
        """Order by `sort_key`."""
        return self.sort_key < other.sort_key

    def __hash__(self) -> int:
        """Hash what equality compares."""
        return self._hash

    def __repr__(self) -> str:
        """What it is, short enough for an error."""
        method = "continuous" if self.continuous else "discrete"
        return f"ResummedValue({self.diagram!r}, {self.root_marks}, T={self.T}, {method})"

    def __str__(self) -> str:
        """In an eigenbasis of ηH, in plain text."""
        from taylorsgd.writing.eigenbasis import value_text

        return value_text(self)

    def latex(self) -> str:
        """In an eigenbasis of ηH, in LaTeX."""
        from taylorsgd.writing.eigenbasis import value_latex

        return value_latex(self)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"
