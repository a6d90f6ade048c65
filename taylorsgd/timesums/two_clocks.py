r"""Sums over the times of several epochs in one order: a part keeps its batch, and each of its nodes has its epoch.

Update t = n e + b is batch b of epoch e, with n batches an epoch. All nodes of a part share b, and choose e apart.
An edge from (e, b) to (e′, b′) carries κ^{Δt − 1} with Δt = n (e′ − e) + (b′ − b), so with X = κ^n

    κ^{Δt − 1} = κ^{b′ − b − 1} · X^{e′ − e}              where b < b′, and e ≤ e′
               = κ^{n − (b − b′) − 1} · X^{e′ − e − 1}    where b ≥ b′, and e < e′,

and a root sits at batch 0 of epoch E. Which of the two holds for an edge is known once the parts' batches are ordered;
then the exponents of κ are those of one trip around the circle of n batches, the exponents of X those of a sum over
epochs, and the sum is a product. With β_0 < … < β_{k−1} the batches that parts are in, and x_i the product of the κ
that pass between β_{i−1} and β_i (before the first and after the last, too),

    Σ = Σ over weak orderings of the parts  [Π_e κ_e^{batches passed}] · h_{n−k}(x_0, …, x_k) · Σ_epochs,

and Σ_epochs is a sum over times of its own, with X on its edges: where e ≤ e′ is allowed it is that of e = e′, in which
the two nodes make one event, and X times that of e < e′.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple, Self

from sympy import Expr, Symbol

from taylorsgd.diagrams import Diagram
from taylorsgd.diagrams.partitions import components
from taylorsgd.timesums.cells import Way
from taylorsgd.timesums.events import ROOT, TimeSum
from taylorsgd.timesums.orders import weak_orderings

__all__ = ["Circle", "EpochSum", "Piece", "TwoClocks"]


class Circle(NamedTuple):
    """A sum over the batches of one epoch, h_{n−k}(x_0, …, x_k) times powers of κ.

    Attributes:
        passed: how often κ_e stands before the sum, for every edge.
        passing: for each of the k + 1 stretches before, between and after the k batches, the edges that pass it.
    """

    passed: tuple[int, ...]
    passing: tuple[tuple[int, ...], ...]


class Piece(NamedTuple):
    """A product of sums over batches and a sum over epochs.

    Attributes:
        circles: the sums over batches.
        epochs: the sum over epochs; edges between nodes of one epoch are instant there.
        late: the edges with one more X, which may have joined nodes of one epoch and do not.
    """

    circles: tuple[Circle, ...]
    epochs: TimeSum
    late: tuple[int, ...] = ()


@dataclass(frozen=True)
class TwoClocks(ABC):
    """A sum over times that are batches of epochs.

    Attributes:
        targets: for every node the node that its edge leads to, or `ROOT`; edges are labelled by their nodes. A node
            whose edge is *instant* leads to itself, and what leads to it, to the node at the end of instant edges.
        batches: n, the number of batches in an epoch.
        epochs: E, their number.
    """

    targets: tuple[int, ...]
    batches: Expr
    epochs: Expr

    def __post_init__(self) -> None:
        """Check that edges lead to nodes, and that every node has its labels."""
        count = len(self.targets)
        if not all(type(target) is int and ROOT <= target < count for target in self.targets):
            raise ValueError(f"targets={self.targets!r}: each must be one of {count} nodes, or {ROOT}")
        if any(target not in (v, ROOT) and self.targets[target] == target for v, target in self.edges):
            raise ValueError(f"targets={self.targets!r}: no edge leads to a node whose own edge is instant")
        for name, labels in self.labels.items():
            if len(labels) != count or not all(type(label) is int for label in labels):
                raise ValueError(f"{name}={labels!r} must be {count} integers, one for each node")

    @property
    @abstractmethod
    def labels(self) -> dict[str, tuple[int, ...]]:
        """What nodes share, by name: a number for every node."""

    @property
    @abstractmethod
    def pieces(self) -> tuple[Piece, ...]:
        """The sum as a sum of products, where no edge is instant."""

    @abstractmethod
    def ways(self, diagram: Diagram, updates: int) -> Iterator[Way]:
        """The ways to place a diagram where sizes are numbers: what shares a batch or an epoch chooses it.

        Args:
            diagram: the diagram, whose inner nodes are the nodes of the sum.
            updates: not looked at: cells are those of all n E updates.

        Raises:
            ValueError: if a size is no integer.
        """

    @property
    def whole_sizes(self) -> tuple[int, int]:
        """The number of batches and that of epochs.

        Raises:
            ValueError: if one is no integer.
        """
        for name, size in (("N/B", self.batches), ("E", self.epochs)):
            if not size.is_Integer:
                raise ValueError(f"{name}={size} is not an integer")
        return int(self.batches), int(self.epochs)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """For every edge its source node and its target node, or `ROOT`."""
        return tuple(enumerate(self.targets))

    @property
    def T(self) -> Expr:
        """The number of updates, n E."""
        return self.batches * self.epochs

    @property
    def possible(self) -> bool:
        """Whether there are times at all."""
        return bool(self.moving[1].pieces)

    @property
    def moving(self) -> tuple[tuple[int, ...], Self]:
        """The labels of the edges that take time, and the sum over the times of their nodes."""
        kept = tuple(v for v, target in self.edges if target != v)
        return kept, self if len(kept) == len(self.targets) else self._of(kept)

    def _of(self, nodes: Sequence[int]) -> Self:
        """The sum over some nodes, whose edges lead to each other or to roots."""
        place = {ROOT: ROOT, **{v: i for i, v in enumerate(nodes)}}
        kept = {name: tuple(labels[v] for v in nodes) for name, labels in self.labels.items()}
        return replace(self, targets=tuple(place[self.targets[v]] for v in nodes), **kept)

    @property
    def free_symbols(self) -> set[Symbol]:
        """The symbols in the sizes."""
        return self.batches.free_symbols | self.epochs.free_symbols  # type: ignore[return-value]

    def substitute(self, values: Mapping[Any, Any]) -> Self:
        """The same sum with some symbols of its sizes replaced."""
        batches, epochs = (size.xreplace(values) for size in (self.batches, self.epochs))
        return replace(self, batches=batches, epochs=epochs)

    @property
    def is_untied(self) -> bool:
        """Whether all nodes are alone, and so at any time."""
        return all(len(set(labels)) == len(labels) for labels in self.labels.values())

    @property
    def untied(self) -> TimeSum:
        """The sum over all times, where nodes are alone."""
        return TimeSum(len(self.targets), self.edges)

    @property
    def branches(self) -> tuple[tuple[tuple[int, ...], Self], ...]:
        """The independent factors: for each the labels of its edges that take time, and the sum itself."""
        kept, moving = self.moving
        joined = [(v, target) for v, target in moving.edges if target != ROOT]
        for labels in moving.labels.values():
            joined += [(v, labels.index(label)) for v, label in enumerate(labels)]
        component = components(len(kept), joined)
        found = []
        for each in dict.fromkeys(component):
            nodes = [v for v in range(len(component)) if component[v] == each]
            found.append((tuple(kept[v] for v in nodes), moving._of(nodes)))
        return tuple(found)

    def linked(self, edge: int) -> Self:
        """With one more node, in the middle of an edge that takes time, which shares nothing."""
        link = len(self.targets)
        targets = (*self.targets[:edge], link, *self.targets[edge + 1 :], self.targets[edge])
        own = {name: (*labels, max(labels, default=-1) + 1) for name, labels in self.labels.items()}
        return replace(self, targets=targets, **own)

    def cut(self, edge: int) -> Self:
        """With an edge in two, of which the first is instant."""
        last = len(self.targets)
        targets = [last if target == edge else target for target in self.targets]
        own = {name: (*labels, labels[edge]) for name, labels in self.labels.items()}
        return replace(self, targets=(*targets[:edge], edge, *targets[edge + 1 :], self._end(edge, last)), **own)

    def _end(self, edge: int, label: int) -> int:
        """Where an edge leads that is labelled anew."""
        return label if self.targets[edge] == edge else self.targets[edge]


@dataclass(frozen=True)
class EpochSum(TwoClocks):
    """The sum over the batches of parts and the epochs of nodes of the product of what the edges carry.

    Args:
        targets: for every node the node that its edge leads to, or `ROOT`; edges are labelled by their nodes.
        batches: n, the number of batches in an epoch.
        epochs: E, their number.
        parts: for every node the number of its part; parts that instant edges join have one.

    Example:
        The tied fork of C·H: two nodes in one batch, each in any epoch.

        >>> from sympy import symbols
        >>> fork = EpochSum((ROOT, ROOT), *symbols("n E"), (0, 0))
        >>> fork.possible, len(fork.pieces)
        (True, 1)
        >>> fork.pieces[0].circles[0].passing
        ((), (0, 1))
    """

    parts: tuple[int, ...]

    @property
    def labels(self) -> dict[str, tuple[int, ...]]:
        """The parts: their nodes share a batch."""
        return {"parts": self.parts}

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The sum as a sum of products; see the module."""
        return _pieces(self.targets, self.parts)

    def ways(self, diagram: Diagram, updates: int) -> Iterator[Way]:
        """Parts of several nodes choose their batches."""
        n, epochs = self.whole_sizes
        kept, moving = self.moving
        place = {ROOT: ROOT, **{v: i for i, v in enumerate(kept)}}
        # an instant edge is where it does no harm: it carries nothing through time
        edges = tuple((place.get(v, 0), 0 if v == target else place[target]) for v, target in self.edges)
        times = TimeSum(len(kept), edges)
        tied = [part for part in dict.fromkeys(moving.parts) if moving.parts.count(part) > 1]
        for chosen in product(range(n), repeat=len(tied)):
            batch = dict(zip(tied, chosen, strict=True))
            cells = (tuple(int(batch.get(part, t % n) == t % n) for t in range(n * epochs)) for part in moving.parts)
            yield Way(Fraction(1), times, tuple(cells))


@lru_cache(maxsize=4096)
def _pieces(targets: tuple[int, ...], parts: tuple[int, ...]) -> tuple[Piece, ...]:
    names = list(dict.fromkeys(parts))
    found = []
    for levels, ranks in weak_orderings(len(names)):
        level = [ranks[names.index(part)] for part in parts]
        ways = [_way(level[v], None if t == ROOT else level[t], levels) for v, t in enumerate(targets)]
        passing = tuple(tuple(e for e, (_, stretches) in enumerate(ways) if s in stretches) for s in range(levels + 1))
        passed = tuple(number for number, _ in ways)
        weak = [v for v, t in enumerate(targets) if t != ROOT and level[v] < level[t]]
        for choice in product((False, True), repeat=len(weak)):
            same = [v for v, chosen in zip(weak, choice, strict=True) if chosen]
            late = tuple(v for v, chosen in zip(weak, choice, strict=True) if not chosen)
            label = components(len(targets), [(v, targets[v]) for v in same])
            event = [sorted(set(label)).index(least) for least in label]
            edges = tuple((event[v], ROOT if t == ROOT else event[t]) for v, t in enumerate(targets))
            strict = [e for v, e in enumerate(edges) if v not in same]
            epochs = TimeSum(len(set(label)), edges)
            if all(source != target for source, target in strict) and epochs.possible:
                found.append(Piece((Circle(passed, passing),), epochs, late))
    return tuple(found)


def _way(start: int, end: int | None, levels: int) -> tuple[int, Sequence[int]]:
    """Around the circle, from one level to another or to the end: the levels and the stretches that are passed."""
    if end is None:
        return levels - 1 - start, range(start + 1, levels + 1)
    if start < end:
        return end - start - 1, range(start + 1, end + 1)
    return levels - 1 - start + end, [*range(start + 1, levels + 1), *range(end + 1)]
