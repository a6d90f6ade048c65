r"""What multiplies the value of a diagram: its sums over time, over all ways to place it, under an update rule.

An embedding counts the product of what its edges carry, a function of the times at their ends; under plain descent
that is 1. The sum over embeddings is taken in one of three ways:

    plain        edges carry 1: an exact polynomial in the sizes, the spacetime's `weight`
    a run        all sizes (and the roots' times) are numbers: cell by cell, with any rule's linear system
    in symbols   each placement's events at T times. With memory and constant rates Σ c x^{Δ−1} over the rule's modes,
                 multiplied out over the edges, sums over time in closed form, the ones of resummation with 1 − x
                 for ηλ; with a schedule of rates and no memory nested sums of powers of rates

If one root sits at T_1 and another at T_2 ≥ T_1, all that leads to the first comes before T_1; in symbols the
orders are counted before and after T_1 (`timesums.orders.split_surjections`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cache
from itertools import product
from math import prod
from typing import Any

from sympy import Expr, Integer, Rational, binomial, construct_domain, expand, expand_func, factorial

from taylorsgd.diagrams import Diagram
from taylorsgd.spacetime.base import INVERSE_BATCH, Count, Spacetime
from taylorsgd.timesums.closed_forms import closed_time_sum
from taylorsgd.timesums.events import TimeSum
from taylorsgd.timesums.orders import compositions, split_surjections
from taylorsgd.timesums.walking import System, sum_over_cells
from taylorsgd.updates import RateSchedule, Update

__all__ = ["system_of", "weights_of"]

Weights = Callable[[Diagram], Iterable[tuple[Count, Expr]]]
"""For a diagram pairs of a count and an expression, whose products add up to its weighted embeddings over B^|D|."""

Times = tuple[Expr, ...] | None
"""When the roots are taken, the earlier one first; None for all at T."""


def weights_of(spacetime: Spacetime, update: Update, times: Times = None) -> Weights:
    """Choose how embeddings are summed.

    Args:
        spacetime: where.
        update: what edges carry.
        times: when the roots are taken.

    Raises:
        NotImplementedError: for spacetimes and sizes where there is no closed form here.
    """
    if times is None and update.is_plain:
        return lambda diagram: [(spacetime.weight(diagram), Integer(1))]
    if spacetime.cell_sum() is not None and all(time.is_number for time in times or ()):
        return _Run(spacetime, update, times)
    return _Closed(spacetime, update, times)


def system_of(update: Update, updates: int) -> tuple[System, Any]:
    """A rule's linear system at every update, in the smallest exact domain that holds its numbers, and that domain.

    Raises:
        ValueError: if there are not as many rates as updates.
    """
    memories = [update.memory(rate) for rate in update.rates_of(updates)]
    last = memories[-1] if memories else update.memory(Integer(1))
    size = len(last.read)
    written: list[Expr] = [Integer(1), *last.read, *last.read_by_root]
    for memory in memories:
        written += [*(entry for row in memory.carry for entry in row), *memory.enter]
    domain, entries = construct_domain([expand(entry) for entry in written], extension=True)
    one, *numbers = entries
    rows = [tuple(numbers[start : start + size]) for start in range(0, len(numbers), size)]
    read, by_root, rest = rows[0], rows[1], rows[2:]
    carry = [tuple(rest[t * (size + 1) : t * (size + 1) + size]) for t in range(updates)]
    enter = [rest[t * (size + 1) + size] for t in range(updates)]
    return System(carry, enter, read, by_root, one), domain


class _Run:
    """Cell by cell, where sizes and times are numbers."""

    def __init__(self, spacetime: Spacetime, update: Update, times: Times) -> None:
        self.spacetime, self.update = spacetime, update
        updates = int(spacetime.sizes["T"])
        self.roots = None if times is None else [int(time) for time in times]
        self.updates = updates
        self.system, self.domain = system_of(update, updates)
        self.known: dict[Any, Any] = {}

    def __call__(self, diagram: Diagram) -> Iterator[tuple[Count, Expr]]:
        ends = [
            self.updates if self.roots is None else self.roots[diagram.tree_of[node]] for node in diagram.inner_nodes
        ]
        for instant in self.update.instant_edges(diagram):
            totals: dict[Fraction, Any] = {}
            for way in self.spacetime.ways(diagram, instant):
                key = (*way[1:], *ends)
                if key not in self.known:
                    self.known[key] = sum_over_cells(way, self.system, ends)
                totals[way.number] = totals.get(way.number, self.domain.zero) + self.known[key]
            total: Expr = Integer(0)
            for count, number in totals.items():
                written = self.domain.to_sympy(self.domain.convert(number))
                total = total + Rational(count.numerator, count.denominator) * written
            weight = self.update.weighed(self.spacetime, diagram, instant) * total
            yield INVERSE_BATCH**diagram.order, weight


class _Closed:
    """In symbols: the events of each placement at T times."""

    def __init__(self, spacetime: Spacetime, update: Update, times: Times) -> None:
        self.spacetime, self.update, self.times = spacetime, update, times
        remembers = not update.is_memoryless
        varied = update.rates is not None and (
            not isinstance(update.rates, RateSchedule) or remembers or times is not None
        )
        single = Diagram((-1, 0))
        if (
            spacetime.placements(single) is None
            or (spacetime.is_flow and not update.is_plain)
            or varied
            or (times is not None and remembers)
        ):
            raise NotImplementedError(
                f"update={update!r} on {spacetime!r} at times={times or 'the end'} has no closed form here; supported "
                "are SGD with E=1 and GD at constant rates (at two times for rules without memory), descent there with "
                "LinearWarmup() or Cosine(), two times of ODE and SDE, and SGD, GD, Replacement and Grid with numbers "
                "for all sizes and times"
            )
        self.modes = {root: update.modes(root) for root in (False, True)} if remembers else None

    def __call__(self, diagram: Diagram) -> Iterator[tuple[Count, Expr]]:
        for instant in self.update.instant_edges(diagram):
            weight = self.update.weighed(self.spacetime, diagram, instant)
            for count, times in self.spacetime.placements(diagram, instant) or ():
                if times.possible:
                    counted, factor = self._summed(diagram, times)
                    yield count * counted, weight * factor

    def _summed(self, diagram: Diagram, times: TimeSum) -> tuple[Any, Expr]:
        T = self.spacetime.sizes["T"]
        if self.modes is not None:
            return 1, self._over_modes(diagram, times, T)
        below = times.lattice.below
        if isinstance(self.update.rates, RateSchedule):
            held = Counter(source for source, _ in times.edges)
            return 1, _scheduled(below, tuple(held[i] for i in range(times.events)), self.update.rates, T)
        if self.times is None:
            return self.spacetime.orders(times), Integer(1)
        first, second = (*self.times, *self.times)[:2]
        early = 0
        if len(self.times) > 1:
            for node, (source, _) in zip(diagram.inner_nodes, times.edges, strict=True):
                early |= (diagram.tree_of[node] == 0) << source
        return 1, _split(below, early, first, second - first, self.spacetime.is_flow)

    def _over_modes(self, diagram: Diagram, times: TimeSum, T: Expr) -> Expr:
        assert self.modes is not None
        choices = [self.modes[diagram.parents[diagram.parents[node]] < 0] for node in diagram.inner_nodes]
        total: Expr = Integer(0)
        for chosen in product(*choices):
            weight = prod((c for c, _ in chosen), start=Integer(1))
            rates = [1 - x for _, x in chosen]
            total = total + weight * closed_time_sum(times, rates, T, continuous=False)
        return total


@cache  # many diagrams have one order
def _split(below: tuple[int, ...], early: int, before: Expr, after: Expr, flow: bool) -> Expr:
    """The strict maps of events to so many times before some moment and after it, the early ones before it."""
    total: Expr = Integer(0)
    for (j, k), number in split_surjections(below, early).items():
        if not flow:
            total = total + number * expand_func(binomial(before, j)) * expand_func(binomial(after, k))
        elif j + k == len(below):  # the volume of so many moments in order; none if events share one
            total = total + number * before**j / factorial(j) * after**k / factorial(k)
    return total


@cache
def _scheduled(below: tuple[int, ...], sizes: Sequence[int], rates: RateSchedule, updates: Expr) -> Expr:
    """The strict maps of events to T updates, each weighed by the rates of all its nodes."""
    found = compositions(below, tuple(sizes))
    return sum((number * rates.nested_sum(p, updates) for p, number in found.items()), Integer(0))
