r"""Sums over the times of two trees whose roots are taken at two moments of one run.

All that leads to the root at T₁ happens before T₁. At T₁ the edges into that root have ended, and every other edge
that is alive goes on; so a sum is one over what has happened by T₁, a down-set S of the events, of a product of two:
from nothing to S in T₁ updates, and from S to all events in T₂ − T₁. In the first every edge that leaves S ends at T₁;
in the second the edges e that cross carry k_e^{t − T₁} from the start:

    Σ_S Σ_chains [Π k^{spanned − 1} h_{T₁−m}(1, x_1, …, x_m)] · [Π k^{spanned − 1} h_{T₂−T₁−n}(y_0, y_1, …, y_n)],

with y_0 the product over the edges that cross. As both moments go to infinity at a lag that stays, h_{T₁−m} becomes
Π 1/(1 − x_i). Where sizes are numbers, the earlier root is one more event, which has one time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Self

from sympy import Expr, Symbol, cancel, oo

from taylorsgd.diagrams import Diagram
from taylorsgd.timesums.cells import CellSum, Way
from taylorsgd.timesums.events import ROOT, TimeSum
from taylorsgd.timesums.two_clocks import TwoClocks

__all__ = ["TwoMoments"]


@dataclass(frozen=True)
class TwoMoments:
    """The sum over times where some edges end at an earlier moment.

    Attributes:
        times: the sum, as if all roots were at the later moment.
        early: the labels of the edges into the earlier root.
        first: T₁; `sympy.oo` where both moments are late.
        lag: T₂ − T₁ where both are late, else None.
    """

    times: TimeSum | CellSum | TwoClocks
    early: tuple[int, ...]
    first: Expr
    lag: Expr | None = None

    @property
    def possible(self) -> bool:
        """Whether there are times at all."""
        return self.times.possible

    @property
    def free_symbols(self) -> set[Symbol]:
        """The symbols in T₁ and, in several epochs, in their number and length."""
        known = self.times.free_symbols if isinstance(self.times, TwoClocks) else set()
        ends = self.first if self.lag is None else self.lag
        return known | ends.free_symbols  # type: ignore[return-value]

    def substitute(self, values: Mapping[Any, Any]) -> Self:
        """The same sum with some symbols replaced."""
        times = self.times.substitute(values) if isinstance(self.times, TwoClocks) else self.times
        first, lag = (end if end in (None, oo) else end.xreplace(values) for end in (self.first, self.lag))
        return replace(self, times=times, first=first, lag=lag)

    def late(self, T: Expr) -> TwoMoments:
        """The sum where both moments are late, T₁ → ∞ with T₂ − T₁ as it is.

        Raises:
            ValueError: if T₁ does not grow with T₂.
        """
        lag = cancel(T - self.first)
        if not self.first.free_symbols - lag.free_symbols or (T - self.first).is_negative:
            raise ValueError(
                f"times {self.first} and {T}: T -> oo needs a lag between them that stays; give for example "
                "times=(T - 3, None) with T = taylorsgd.symbols.T"
            )
        return replace(self, first=oo, lag=lag)

    def ways(self, diagram: Diagram, updates: int) -> Iterator[Way]:
        """The ways to place a diagram below T₂ updates, with the earlier root as an event.

        Raises:
            ValueError: if T₁ is no integer from 0 to T₂.
        """
        moment = self.first if self.lag is None else updates - self.lag
        if not (moment.is_Integer and 0 <= moment <= updates):
            raise ValueError(f"times={moment}: it must be an integer from 0 to {updates}")
        first = int(moment)
        if not isinstance(self.times, TimeSum):
            ways = self.times.ways(diagram, updates)
        else:
            ways = (Way(Fraction(1), self.times, ((1,) * updates,) * self.times.events),)
        for way in ways:
            if any(len(own) < updates for own in way.cells):
                raise ValueError(f"times={updates}: it must be an integer from 0 to {len(way.cells[0])}")
            cells = tuple(own[:updates] for own in way.cells)
            if first == updates:
                yield way._replace(cells=cells)
                continue
            root = way.times.events
            edges = tuple(
                (source, root if e in self.early else target) for e, (source, target) in enumerate(way.times.edges)
            )
            yield way._replace(
                times=TimeSum(root + 1, edges),
                cells=(*cells, tuple(int(t == first) for t in range(updates))),
                taken=way.taken and (*way.taken, 0),
                moments=(root,),
            )

    @property
    def cuts(self) -> Iterator[int]:
        """The down-sets of events that may have happened by T₁: with all that leads to the earlier root."""
        assert isinstance(self.times, TimeSum)
        needed = sum({1 << self.times.edges[e][0] for e in self.early})
        return (state for state in self.times.lattice.states if not needed & ~state)

    def before(self, cut: int) -> tuple[tuple[int, ...], TimeSum]:
        """The edges that leave what has happened by T₁, and the sum in which all that have not ended do so then."""
        assert isinstance(self.times, TimeSum)
        events = [event for event in range(self.times.events) if cut >> event & 1]
        place = {event: i for i, event in enumerate(events)}
        labels = tuple(e for e, (source, _) in enumerate(self.times.edges) if source in place)
        edges = tuple((place[self.times.edges[e][0]], place.get(self.times.edges[e][1], ROOT)) for e in labels)
        return labels, TimeSum(len(events), edges)
