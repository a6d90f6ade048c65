r"""Sums over the times of a diagram's nodes, in closed form.

In an eigenbasis of ηH an edge e from time t to time t′ carries k_e^{t′−t−1}, k_e = 1 − s_e with s_e = ηλ_e
(exact), or e^{−s_e (t′−t)} (the continuous approximation, with integrals for sums). A `TimeSum` is the sum
of the product over all edges, over all times 0 ≤ t < T of some *events* that increase strictly along the
edges; the root, the last event, sits at T. In one epoch an event is a part of the diagram, in GD a node.

Events that no edge connects, except through the root, are independent: the sum is a product over
*branches*. Within a branch it is a sum over weak orderings of the events, t_1 < … < t_m < T. For one of
them let x_i be the product of k_e over the edges alive between t_i and t_{i+1} (t_{m+1} = T); then

    Σ_{t_1<…<t_m<T} Π_e k_e^{Δt_e − 1} = [Π_e k_e^{(intervals spanned) − 1}] · h_{T−m}(1, x_1, …, x_m),

with h the complete homogeneous symmetric polynomial: the divided difference of x^T at 1, x_1, …, x_m. The
integral, over orderings without ties only, is the divided difference of e^{Ty} at 0, −s_1, …, −s_m, with
s_i the sum of s_e over the edges alive.
As T → ∞ they tend to Π 1/(1 − x_i) and Π 1/s_i.

(Tenka, section A.5 and Remark 1, where these sums are integrals; divided differences as entries of
functions of one bidiagonal matrix: Opitz 1964.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import prod
from typing import Any, TypeVar

from taylorsgd.diagrams import Diagram
from taylorsgd.timesums.orders import weak_orderings

__all__ = ["ROOT", "Branch", "Chain", "TimeSum", "homogeneous", "times_of_nodes", "times_of_parts"]

ROOT = -1
"""The target of an edge into a root, which sits at time T."""

Number = TypeVar("Number")


@dataclass(frozen=True)
class Chain:
    """One weak ordering of a branch's events: t_1 < … < t_m < T.

    Attributes:
        alive: for each of the m intervals after an event, the edges alive in it.
        spanned: for every edge, how many extra intervals it spans, as (edge, extra) with extra ≥ 1.
    """

    alive: tuple[tuple[int, ...], ...]
    spanned: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Branch:
    """Events that the edges connect otherwise than through the root.

    Attributes:
        events: how many there are.
        edges: the labels of the edges that leave the branch's events.
        chains: the weak orderings of the events that respect the edges.
    """

    events: int
    edges: tuple[int, ...]
    chains: tuple[Chain, ...]

    @property
    def strict_chains(self) -> tuple[Chain, ...]:
        """The orderings without ties: all that has volume in an integral over times."""
        return tuple(chain for chain in self.chains if len(chain.alive) == self.events)


@dataclass(frozen=True)
class TimeSum:
    """The sum over the times of some events of the product of what the edges carry.

    Args:
        events: the number of events, each at a time 0 ≤ t < T.
        edges: for every edge its source event and its target event, or `ROOT`.

    Example:
        The tied fork of C·H, one event with two edges into the root: (1 − (k_0 k_1)^T)/(1 − k_0 k_1).

        >>> fork = TimeSum(1, ((0, ROOT), (0, ROOT)))
        >>> [fork.discrete([0.5, 0.5], T) for T in (1, 2, 3)]
        [1, 1.25, 1.3125]
        >>> len(fork.branches)
        1
    """

    events: int
    edges: tuple[tuple[int, int], ...]

    @cached_property
    def possible(self) -> bool:
        """Whether any times obey the order: whether the edges make no circle."""
        return all(branch.chains for branch in self.branches)

    @cached_property
    def branches(self) -> tuple[Branch, ...]:
        """The independent factors of the sum."""
        group = list(range(self.events))

        def find(event: int) -> int:
            while group[event] != event:
                event = group[event]
            return event

        for source, target in self.edges:
            if target != ROOT:
                group[find(source)] = find(target)
        members: dict[int, list[int]] = {}
        for event in range(self.events):
            members.setdefault(find(event), []).append(event)
        return tuple(self._branch(tuple(events)) for events in members.values())

    def _branch(self, events: tuple[int, ...]) -> Branch:
        labels = tuple(label for label, (source, _) in enumerate(self.edges) if source in events)
        place = {event: i for i, event in enumerate(events)}
        edges = tuple(
            (
                place[self.edges[label][0]],
                ROOT if self.edges[label][1] == ROOT else place[self.edges[label][1]],
            )
            for label in labels
        )
        chains = tuple(
            Chain(
                tuple(tuple(labels[e] for e in interval) for interval in alive),
                tuple((labels[e], extra) for e, extra in spanned),
            )
            for alive, spanned in _chains(len(events), edges)
        )
        return Branch(len(events), labels, chains)

    def discrete(self, decays: Sequence[Any], T: int) -> Any:
        """The exact sum for given factors k_e = 1 − ηλ_e and an integer T, in their own arithmetic.

        Args:
            decays: k_e for every edge: integers, Fractions, SymPy expressions, …
            T: the number of updates.

        Returns:
            The sum, by the recurrence of h: exact for exact input. (For floats see `lowering`.)
        """
        return prod(
            (sum((self._chain(chain, decays, T) for chain in branch.chains), 0) for branch in self.branches),
            start=1,
        )

    @staticmethod
    def _chain(chain: Chain, decays: Sequence[Any], T: int) -> Any:
        nodes = [1, *(prod((decays[e] for e in interval), start=1) for interval in chain.alive)]
        factor = prod((decays[e] ** extra for e, extra in chain.spanned), start=1)
        return factor * homogeneous(nodes, T - len(chain.alive))


def times_of_parts(diagram: Diagram) -> TimeSum:
    """The sum in which all nodes of a part share one time: one epoch, and the SDE.

    Edges are labelled by the diagram's non-root nodes, from which they leave, in their order.
    """
    return _time_sum(diagram, {node: i for i, block in enumerate(diagram.inner_blocks) for node in block})


def times_of_nodes(diagram: Diagram) -> TimeSum:
    """The sum in which every node chooses its own time: GD, and the ODE.

    Edges are labelled by the diagram's non-root nodes, from which they leave, in their order.
    """
    inner = [node for node, parent in enumerate(diagram.parents) if parent >= 0]
    return _time_sum(diagram, {node: i for i, node in enumerate(inner)})


def _time_sum(diagram: Diagram, event_of: dict[int, int]) -> TimeSum:
    edges = tuple(
        (event_of[node], event_of.get(parent, ROOT))
        for node, parent in enumerate(diagram.parents)
        if parent >= 0
    )
    return TimeSum(max(event_of.values(), default=-1) + 1, edges)


def homogeneous(nodes: Sequence[Any], degree: int) -> Any:
    """The complete homogeneous symmetric polynomial h_degree of the nodes; 0 for a negative degree.

    Example:
        >>> homogeneous([1, 2], 3)      # 1 + 2 + 4 + 8
        15
    """
    if degree < 0:
        return 0
    row: list[Any] = [1] + [0] * degree
    for node in nodes:
        for n in range(1, degree + 1):
            row[n] = row[n] + node * row[n - 1]
    return row[degree]


@cache
def _chains(
    events: int, edges: tuple[tuple[int, int], ...]
) -> tuple[tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, int], ...]], ...]:
    return tuple(_walk(events, edges))


def _walk(
    events: int, edges: tuple[tuple[int, int], ...]
) -> Iterator[tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, int], ...]]]:
    for levels, ranks in weak_orderings(events):
        spans = [(ranks[source], levels if target == ROOT else ranks[target]) for source, target in edges]
        if any(start >= end for start, end in spans):
            continue
        alive = tuple(
            tuple(e for e, (start, end) in enumerate(spans) if start <= level < end)
            for level in range(levels)
        )
        spanned = tuple((e, end - start - 1) for e, (start, end) in enumerate(spans) if end - start > 1)
        yield alive, spanned
