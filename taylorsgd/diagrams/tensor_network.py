"""What every kind of value is: a tensor network of trees whose nodes are partitioned and marked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taylorsgd.diagrams.symmetry import blocks_of, neighbours_of

if TYPE_CHECKING:
    from taylorsgd.writing.notation import Contraction

__all__ = ["LOSS", "TensorNetwork", "is_open", "open_index"]

LOSS = ""
"""The mark of an ordinary node, which carries derivatives of l_x."""


def open_index(position: int) -> str:
    """The mark of the open index of the observable in the given position (0 or 1)."""
    return f"@{position}"


def is_open(mark: str) -> bool:
    """Whether a mark is that of an open index; no observable's name is."""
    return mark.startswith("@")


class TensorNetwork(ABC):
    """What every kind of value is: trees whose nodes are partitioned and marked.

    A kind gives `parents`, `parts` and `marks`, and what is abstract here; the rest follows.
    """

    parents: tuple[int, ...]
    """The parent of every node, −1 where a tree begins."""
    parts: tuple[int, ...]
    """The part of every node, numbered by first appearance."""
    marks: tuple[str, ...]
    """What every node carries."""
    moments: bool = False
    """Whether parts are moments rather than cumulants."""
    is_resummed: bool = False
    """Whether edges carry powers of K, summed over times; else the value is a monomial in η."""
    T: Any = None
    """The number of updates that the value sums over, where it does."""

    @property
    @abstractmethod
    def sort_key(self) -> tuple[Any, ...]:
        """Powers of η first, then from few ties to many: from the noiseless terms to the noisiest."""

    @abstractmethod
    def contraction(self) -> Contraction:
        """The value as plain data for the page."""

    def directed_contraction(self) -> Contraction:
        """The same for a vector field, from the leaves to the root, without the sign (−1)^d of its d nodes −u.

        Raises:
            ValueError: if it is of a loss, or resummed.

        Example:
            >>> from taylorsgd.diagrams import Value
            >>> from taylorsgd.writing.notation import TEXT
            >>> print(TEXT.alone(Value((-1, 0, 1), marks=("@0", "", "")).directed_contraction()))
            u^ν ∂_ν u^μ
        """
        from taylorsgd.writing.notation import directed_contraction

        arrows = self.arrows
        if self.is_resummed:
            raise ValueError(
                "a resummed formula is written in an eigenbasis of a symmetric H, and a vector field has none; leave "
                "out resum, or field=True"
            )
        order: dict[tuple[int, ...], None] = {}
        stack = [node for node, arrow in enumerate(arrows) if arrow < 0]
        while stack:
            node = stack.pop()
            if not is_open(self.marks[node]):
                order[self.blocks[self.parts[node]]] = None
            behind = (
                other for other in self.neighbours[node] if node in self.edges[arrows[other]] and arrows[other] >= 0
            )
            stack += [other for other in behind if arrows[other] != arrows[node]]
        ends = [[e for e, edge in enumerate(self.edges) if node in edge] for node in range(len(self.parents))]

        def split(node: int) -> tuple[int | None, list[int]]:
            leaving = None if arrows[node] < 0 else arrows[node]
            return leaving, [e for e in ends[node] if e != leaving]

        parts = [(self.marks[block[0]], [split(node) for node in block]) for block in reversed(order)]
        return directed_contraction(parts, [ends[node][0] for node in self.open_indices], self.moments)

    @abstractmethod
    def to_data(self) -> dict[str, Any]:
        """What JSON keeps of the value; the class's `from_data` reads it."""

    @abstractmethod
    def in_moments(self) -> Iterator[tuple[int, Any]]:
        """Write the value as integer multiples of values in moments."""

    @property
    def order(self) -> int:
        """The number of edges: the power of η that the value holds."""
        return len(self.edges)

    @cached_property
    def neighbours(self) -> tuple[tuple[int, ...], ...]:
        """The nodes next to every node, its parent first."""
        return tuple(map(tuple, neighbours_of(self.parents)))

    @cached_property
    def degrees(self) -> tuple[int, ...]:
        """The number of edges at every node."""
        return tuple(map(len, self.neighbours))

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The edges as pairs (child, parent)."""
        return tuple((node, parent) for node, parent in enumerate(self.parents) if parent >= 0)

    @cached_property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The parts as tuples of nodes."""
        return blocks_of(self.parts)

    @cached_property
    def open_indices(self) -> tuple[int, ...]:
        """The nodes with an open index, in the order of the observables that left them open."""
        opened = (node for node, mark in enumerate(self.marks) if is_open(mark))
        return tuple(sorted(opened, key=lambda node: self.marks[node]))

    @cached_property
    def arrows(self) -> tuple[int, ...]:
        """For every node the edge, by its number, that leads it to the marked node of its tree; −1 for that one itself.

        Of a vector field a node carries derivatives of u^μ, and μ is the index on this edge.

        Raises:
            ValueError: if a tree has no marked node, so that its root carries the loss; or several, as with a penalty.
        """
        found = [-1] * len(self.parents)
        seen = [node for node, mark in enumerate(self.marks) if mark != LOSS]
        number = {frozenset(edge): e for e, edge in enumerate(self.edges)}
        reached = set(seen)
        for node in seen:  # grows on the way
            for other in self.neighbours[node]:
                edge = number[frozenset((node, other))]
                if edge == found[node]:
                    continue
                if other in reached:
                    raise ValueError(f"{self} is of a penalty, and a vector field takes none: add its −∇p to the field")
                found[other] = edge
                reached.add(other)
                seen.append(other)
        if len(seen) < len(self.parents):
            raise ValueError(
                f"{self} is of a loss, and a vector field has none: derive the Displacement(), an Observable(s), or "
                "moments of these"
            )
        return tuple(found)

    @property
    def free_symbols(self) -> set[Any]:
        """The symbols of the sizes that the value holds."""
        return set()

    def substitute(self, values: Mapping[Any, Any]) -> Any:
        """The same value with some symbols replaced."""
        return self

    def with_T(self, T: Any) -> Any:
        """The same value up to another T."""
        return self

    def in_cumulants(self) -> Iterator[tuple[int, Any]]:
        """Write the value as integer multiples of values in cumulants."""
        yield 1, self

    def __lt__(self, other: TensorNetwork) -> bool:
        """Order by `sort_key`."""
        return self.sort_key < other.sort_key

    def __str__(self) -> str:
        """Index notation in plain text."""
        from taylorsgd.writing.notation import TEXT

        return TEXT.alone(self.contraction())

    def __repr__(self) -> str:
        """Index notation between angle brackets, so that it reads well at a prompt and in lists."""
        return f"<{type(self).__name__} {self}>"

    def latex(self) -> str:
        """Index notation in LaTeX, with the paper's named tensors; η raises indices."""
        from taylorsgd.writing.notation import LATEX

        return LATEX.alone(self.contraction())

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"
