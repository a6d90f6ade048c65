"""How long a derivation takes: a bar while it runs, and a word before an order that will take minutes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TypeVar

from taylorsgd.diagrams import count_diagrams
from taylorsgd.display.progress import tracked

__all__ = ["Pace", "SlowDerivation"]

Item = TypeVar("Item")

LONG = 60.0
"""From how many seconds on an order is announced."""


class SlowDerivation(RuntimeWarning):
    """An order will take minutes."""


class Pace:
    """What the orders of a derivation have taken so far.

    An order has about as many diagrams as `count_diagrams` says, of each of which the work grows with the order.
    """

    def __init__(self) -> None:
        """Begin."""
        self._seconds: dict[int, float] = {}
        self._counts: dict[int, int] = {}

    def through(self, diagrams: Iterable[Item], order: int) -> Iterator[Item]:
        """Yield the diagrams of an order; under a bar where somebody watches and it takes long.

        Warns:
            SlowDerivation: if the order is expected to take more than a minute.
        """
        expected = self._expected(order)
        known = count_diagrams(order)
        if expected > LONG:
            warnings.warn(
                f"order {order} has {known:,} diagrams and will take about {_duration(expected)}; interrupt to stop, "
                "nothing is lost but the time",
                SlowDerivation,
                stacklevel=6,
            )
        start, count = monotonic(), 0
        for diagram in tracked(diagrams, f"Deriving order {order}", known):
            yield diagram
            count += 1
        self._seconds[order], self._counts[order] = monotonic() - start, count

    def _expected(self, order: int) -> float:
        """How many seconds an order will take, from what the ones before took for each diagram."""
        if order < 3 or self._counts[order - 1] == 0 or self._counts[order - 2] == 0:
            return 0.0
        last = self._seconds[order - 1] / self._counts[order - 1]
        before = self._seconds[order - 2] / self._counts[order - 2]
        growth = min(max(last / before, 1.0), 4.0) if before else 1.0
        count = count_diagrams(order) * self._counts[order - 1] / count_diagrams(order - 1)
        return last * growth * count


def _duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 172800 else f"{seconds / 86400:.0f} days"
