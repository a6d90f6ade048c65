r"""What a sum over times sums over: the events of a diagram, and the edges between them.

An *event* is a set of nodes that share one time. A `TimeSum` is the sum over the times of all events, which
increase strictly along the edges, of the product of what the edges carry; a root sits at T, after everything.
Which nodes share a time is for the spacetime to say: in one epoch the nodes of a part do, in GD every node is
an event of its own, with replacement the nodes of a slot.

Events that no edge connects, except through a root, are independent: the sum is a product over *branches*.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from taylorsgd.diagrams import Diagram
from taylorsgd.diagrams.partitions import components
from taylorsgd.timesums.lattice import Lattice, lattice_of

__all__ = ["ROOT", "TimeSum", "sum_of_events"]

ROOT = -1
"""The target of an edge into a root, which sits at time T."""
MOST_EVENTS = 32
"""As many as the nodes of a diagram that is read from data."""


@dataclass(frozen=True)
class TimeSum:
    """The sum over the times of some events of the product of what the edges carry.

    Args:
        events: the number of events.
        edges: for every edge its source event and its target event, or `ROOT`. An edge whose source is its target
            is *instant*: it carries no time.

    Example:
        The tied fork of C·H: one event with two edges into the root.

        >>> fork = TimeSum(1, ((0, ROOT), (0, ROOT)))
        >>> fork.possible, len(fork.branches), fork.alive(1)
        (True, 1, (0, 1))
    """

    events: int
    edges: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        """Check that all edges join events."""
        if type(self.events) is not int or not 0 <= self.events <= MOST_EVENTS:
            raise ValueError(f"events={self.events!r} must be an integer up to {MOST_EVENTS}")
        for edge in self.edges:
            if not all(type(end) is int and low <= end < self.events for end, low in zip(edge, (0, ROOT), strict=True)):
                raise ValueError(f"edges: {edge} does not lead from one of {self.events} events to one or to {ROOT}")

    @cached_property
    def lattice(self) -> Lattice:
        """The down-sets of the events."""
        below = [0] * self.events
        for source, target in self.edges:
            if target not in (ROOT, source):
                below[target] |= 1 << source
        return lattice_of(tuple(below))

    @property
    def possible(self) -> bool:
        """Whether any times obey the order: whether the edges make no circle."""
        return self.lattice.possible

    def born(self, state: int) -> tuple[int, ...]:
        """The edges that leave the events of a down-set, by their labels."""
        return tuple(e for e, (source, target) in enumerate(self.edges) if state >> source & 1 and source != target)

    def alive(self, state: int) -> tuple[int, ...]:
        """Those of them that have not ended in one of its events."""
        return tuple(e for e in self.born(state) if self.edges[e][1] == ROOT or not state >> self.edges[e][1] & 1)

    @cached_property
    def branches(self) -> tuple[tuple[tuple[int, ...], tuple[int, ...], TimeSum], ...]:
        """The independent factors of the sum: for each its events, the labels of its edges, and the sum itself."""
        inner = [edge for edge in self.edges if edge[1] != ROOT]
        label = components(self.events, inner)
        found = []
        for first in dict.fromkeys(label):
            events = tuple(event for event in range(self.events) if label[event] == first)
            edges = tuple(e for e, (source, _) in enumerate(self.edges) if label[source] == first)
            place = {ROOT: ROOT, **{event: i for i, event in enumerate(events)}}
            own = tuple((place[self.edges[e][0]], place[self.edges[e][1]]) for e in edges)
            found.append((events, edges, TimeSum(len(events), own)))
        return tuple(found)


def sum_of_events(
    diagram: Diagram, together: Iterable[Iterable[int]] = (), instant: frozenset[int] = frozenset()
) -> TimeSum | None:
    """The sum in which some nodes of a diagram share their time.

    Edges are labelled by the diagram's non-root nodes, from which they leave, in their order.

    Args:
        diagram: the diagram.
        together: groups of nodes that share one time; overlapping groups merge.
        instant: the nodes whose outgoing edges are instant: they share their parents' time.

    Returns:
        The sum; None if an edge that is not instant joins nodes of one event.

    Example:
        >>> from taylorsgd.diagrams import Diagram
        >>> chain = Diagram((-1, 0, 1))
        >>> sum_of_events(chain)
        TimeSum(events=2, edges=((0, -1), (1, 0)))
        >>> sum_of_events(chain, [(1, 2)]) is None
        True
    """
    place = {node: i for i, node in enumerate(diagram.inner_nodes)}
    pairs = [(place[node], place[diagram.parents[node]]) for node in instant]
    for group in together:
        first, *others = (place[node] for node in group)
        pairs += [(first, other) for other in others]
    label = components(len(place), pairs)
    names = {first: i for i, first in enumerate(dict.fromkeys(label))}
    event_of = {node: names[label[i]] for node, i in place.items()}
    edges = tuple((event_of[node], event_of.get(diagram.parents[node], ROOT)) for node in place)
    if any(source == target and node not in instant for node, (source, target) in zip(place, edges, strict=True)):
        return None
    return TimeSum(len(names), edges)
