"""Sums over the cells of a run whose sizes are numbers: a number of ways to place a diagram, each with its events.

On a grid each tied part chooses a row, and each of its nodes a time at which that row is in the batch; a single
node may sit in any of the B cells of a column. Where chance fills the batches, nodes that share a row in one update
share an event, and the events of one update need slots of their own: k of them have (B)_k choices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import perm, prod
from typing import NamedTuple, Protocol

from taylorsgd.diagrams import Diagram
from taylorsgd.timesums.events import TimeSum

__all__ = ["CellSum", "Run", "Way"]


class Way(NamedTuple):
    """One way to place a diagram in a run: its events, and the cells that each can be in.

    Attributes:
        number: what multiplies the sum.
        times: the events and the edges between them.
        cells: for every event and every update, in how many cells it can be there.
        slots: B, if the events of one update need distinct slots of its batch; None if they are independent.
        taken: how many slots each event takes.
        moments: the events that are roots which are taken before the end.
    """

    number: Fraction
    times: TimeSum
    cells: tuple[tuple[int, ...], ...]
    slots: int | None = None
    taken: tuple[int, ...] = ()
    moments: tuple[int, ...] = ()

    def choices(self, step: int, update: int) -> int:
        """In how many ways the events of a step (a bit mask) can all happen at an update."""
        happening = [event for event in range(self.times.events) if step >> event & 1]
        ways = prod(self.cells[event][update] for event in happening)
        if self.slots is None or not ways:
            return ways
        return ways * perm(self.slots, sum(self.taken[event] for event in happening))


class Run(Protocol):
    """What a sum over cells asks of a spacetime whose sizes are numbers."""

    def ways(self, diagram: Diagram, instant: frozenset[int] = ...) -> Iterator[Way]:
        """The ways to place a diagram."""
        ...


@dataclass(frozen=True)
class CellSum:
    """The sum over all maps of a diagram's nodes to the cells of a run.

    Attributes:
        run: the spacetime, with numbers for its sizes.
        instant: the nodes whose outgoing edges carry no time.
    """

    run: Run
    instant: frozenset[int] = frozenset()

    possible = True
    """No order of the nodes is impossible by its shape alone."""

    def ways(self, diagram: Diagram, updates: int) -> tuple[Way, ...]:
        """The ways to place a diagram below T updates, those of the run."""
        return tuple(self.run.ways(diagram, self.instant))
