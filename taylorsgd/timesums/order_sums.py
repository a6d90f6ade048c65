r"""Sums over the times of epochs whose order is drawn: a group of nodes shares its epoch, and an event its batch too.

With t = n e + b, an edge from (e, b) to (e′, b′) carries κ^{b′ − b − 1} within an epoch, where b < b′, and else

    κ^{Δt − 1} = κ^{n − b − 1} · X^{e′ − e − 1} · κ^{b′},        X = κ^n,

so what is summed over batches in one epoch does not depend on other epochs. Groups that an edge joins are in one epoch,
and make a class, or in two; classes of one epoch that no edge joins do not see each other. The sum is a sum over which
edges join epochs, of products of a sum over the batches of every class and one sum over their epochs:

    Σ = Σ over sets of edges  Σ_epochs · Π_classes Σ over weak orderings  Π_e κ_e^{passed} h_{n−k}(x_0, …, x_k).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import product

from taylorsgd.diagrams import Diagram
from taylorsgd.diagrams.partitions import components
from taylorsgd.timesums.cells import Way
from taylorsgd.timesums.events import ROOT, TimeSum
from taylorsgd.timesums.orders import weak_orderings
from taylorsgd.timesums.two_clocks import Circle, Piece, TwoClocks

__all__ = ["OrderSum"]


@dataclass(frozen=True)
class OrderSum(TwoClocks):
    """The sum over the epochs of groups and the batches of events of the product of what the edges carry.

    Args:
        targets: for every node the node that its edge leads to, or `ROOT`; edges are labelled by their nodes.
        batches: n, the number of batches in an epoch.
        epochs: E, their number.
        events: for every node the number of its event, whose nodes share their time.
        groups: for every node the number of its group, whose nodes share their epoch; nodes of an event are in one.

    Example:
        Two nodes of one epoch, in any two of its batches:

        >>> from sympy import symbols
        >>> pair = OrderSum((ROOT, ROOT), *symbols("n E"), (0, 1), (0, 0))
        >>> [circle.passing for piece in pair.pieces for circle in piece.circles]
        [((), (0, 1)), ((), (0,), (0, 1)), ((), (1,), (0, 1))]
    """

    events: tuple[int, ...]
    groups: tuple[int, ...]

    @property
    def labels(self) -> dict[str, tuple[int, ...]]:
        """The events, whose nodes share a time, and the groups, whose nodes share an epoch."""
        return {"events": self.events, "groups": self.groups}

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The sum as a sum of products; see the module."""
        return _pieces(self.targets, self.events, self.groups)

    def ways(self, diagram: Diagram, updates: int) -> Iterator[Way]:
        """Groups of several events choose their epochs."""
        n, epochs = self.whole_sizes
        names = list(dict.fromkeys(self.events))
        place = [names.index(event) for event in self.events]
        edges = tuple((place[v], ROOT if t == ROOT else place[t]) for v, t in self.edges)
        if any(source == target for (source, target), (v, t) in zip(edges, self.edges, strict=True) if v != t):
            return
        group = [self.groups[self.events.index(event)] for event in names]
        held = [one for one in dict.fromkeys(group) if group.count(one) > 1]
        for chosen in product(range(epochs), repeat=len(held)):
            epoch = dict(zip(held, chosen, strict=True))
            cells = (tuple(int(epoch.get(one, t // n) == t // n) for t in range(n * epochs)) for one in group)
            yield Way(Fraction(1), TimeSum(len(names), edges), tuple(cells))


@lru_cache(maxsize=4096)
def _pieces(targets: tuple[int, ...], events: tuple[int, ...], groups: tuple[int, ...]) -> tuple[Piece, ...]:
    shared = [(v, groups.index(group)) for v, group in enumerate(groups)]
    inner = [v for v, t in enumerate(targets) if t != ROOT]
    open_edges = [v for v in inner if groups[v] != groups[targets[v]]]
    found = []
    for choice in product((False, True), repeat=len(open_edges)):
        joining = [v for v, chosen in zip(open_edges, choice, strict=True) if chosen]
        least = components(len(targets), [*shared, *((v, targets[v]) for v in joining)])
        names = sorted(set(least))
        place = [names.index(label) for label in least]
        later = [v for v in inner if v not in joining and groups[v] != groups[targets[v]]]
        edges = tuple((place[v], ROOT if t == ROOT else place[t]) for v, t in enumerate(targets))
        epochs = TimeSum(len(names), edges)
        if any(edges[v][0] == edges[v][1] for v in later) or not epochs.possible:
            continue
        within = [
            list(_circles(targets, events, {v for v, p in enumerate(place) if p == c})) for c in range(len(names))
        ]
        found += [Piece(circles, epochs) for circles in product(*within)]
    return tuple(found)


def _circles(targets: Sequence[int], events: Sequence[int], members: set[int]) -> Iterator[Circle]:
    """The weak orderings of a class's events that obey its edges."""
    names = list(dict.fromkeys(events[v] for v in sorted(members)))
    inside = [(v, targets[v]) for v in members if targets[v] in members]
    for levels, ranks in weak_orderings(len(names)):
        level = {v: ranks[names.index(events[v])] for v in members}
        if any(level[v] >= level[t] for v, t in inside):
            continue
        passed, stretches = [0] * len(targets), [range(0)] * len(targets)
        for v, t in enumerate(targets):
            first = level[v] + 1 if v in members else 0
            last = level[t] if t in members else levels
            if v in members or t in members:  # from its start or the epoch's, to its end or the epoch's
                passed[v], stretches[v] = last - first, range(first, last + 1)
        passing = (tuple(e for e, own in enumerate(stretches) if s in own) for s in range(levels + 1))
        yield Circle(tuple(passed), tuple(passing))
