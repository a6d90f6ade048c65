"""The lattice of down-sets of a poset of events: what may have happened by some time.

A way to put events in order, where several may share a time, is a chain of down-sets ∅ = I_0 ⊂ I_1 ⊂ … ⊂ P in
which every difference is an antichain. So a sum over all such ways is one pass over the lattice (`through`), or,
update by update, a power of the matrix whose rows are down-sets. Every sum over times in this package is one of
these, in some arithmetic. (The plain way lists all weak orderings and keeps those that respect P; it is what the
tests compare with.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar

__all__ = ["Lattice", "lattice_of"]

Number = TypeVar("Number")


class Lattice:
    """The down-sets of some events, as bit masks, and the steps between them.

    Args:
        below: for every event, a bit mask of events that must come strictly earlier (a generating set of the
            order is enough).

    Attributes:
        below: the same.
        full: the set of all events.
        states: the down-sets, small ones first. Without `full` if the relations have a cycle.
        steps: for every state, the non-empty sets of events that can happen at one time after it.

    Example:
        >>> fork = Lattice((0, 1, 1))           # one event before two others
        >>> fork.states, fork.steps[1]
        ((0, 1, 3, 5, 7), (2, 4, 6))
    """

    def __init__(self, below: Sequence[int]) -> None:
        """Walk through the lattice once."""
        self.below = tuple(below)
        self.full = (1 << len(below)) - 1
        self.steps: dict[int, tuple[int, ...]] = {}
        frontier = [0]
        while frontier:
            state = frontier.pop()
            if state in self.steps:
                continue
            steps = [0]
            for event, mask in enumerate(below):
                if not state >> event & 1 and not mask & ~state:
                    steps += [step | 1 << event for step in steps]
            self.steps[state] = tuple(steps[1:])
            frontier += [state | step for step in steps[1:]]
        self.states = tuple(sorted(self.steps, key=lambda state: (state.bit_count(), state)))

    @property
    def possible(self) -> bool:
        """Whether any times obey the order: whether its relations have no cycle."""
        return self.full in self.steps

    def through(
        self,
        start: Number,
        move: Callable[[Number, int, int], Number],
        add: Callable[[Number, Number], Number],
        leave: Callable[[Number, int], Number] | None = None,
    ) -> Number | None:
        """Sum over all ways from no events to all.

        Args:
            start: what to begin with.
            move: from what was summed at a state, the state and a step, what the step makes of it.
            add: the sum of two.
            leave: what happens to the sum at a state, other than the first, before anything leaves it.

        Returns:
            The sum at the last state; None if there is no way to it.
        """
        return self.everywhere(start, move, add, leave).get(self.full)

    def everywhere(
        self,
        start: Number,
        move: Callable[[Number, int, int], Number],
        add: Callable[[Number, Number], Number],
        leave: Callable[[Number, int], Number] | None = None,
    ) -> dict[int, Number]:
        """The sums at all states over all ways to them; arguments as for `through`."""
        found = {0: start}
        for state in self.states:
            here = found[state]
            if state and leave is not None:
                here = found[state] = leave(here, state)
            for step in self.steps[state]:
                moved = move(here, state, step)
                after = state | step
                found[after] = add(found[after], moved) if after in found else moved
        return found


@cache
def lattice_of(below: tuple[int, ...]) -> Lattice:
    """The lattice of an order, walked through once for all."""
    return Lattice(below)
