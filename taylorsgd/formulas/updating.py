r"""Counting embeddings with weights on the edges, and with roots that sit at different times.

Plainly an embedding counts 1. Under an update rule it counts the product of what its edges carry, a function of
the times at their ends. At constant rates that is Σ c x^{Δ−1} over the rule's modes, and multiplied out over
the edges of a diagram every product is a sum over times in closed form, the one of resummation with 1 − x for ηλ.

Where edges carry 1, or λ in an instant, an embedding is a strict order of *events*, groups of nodes of one update.
If one root sits at T_1 and another at T_2 ≥ T_1, all that leads to the first comes before T_1, and the orders are
counted before and after T_1 (`spacetime.posets.split_surjections`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import product
from math import prod
from typing import Any

from sympy import Expr, Integer, binomial, expand_func, factorial

from taylorsgd.diagrams import Diagram
from taylorsgd.spacetime import GD, GDC, ODE, SDE, SGD, Descent, Grid, RateSchedule, Spacetime
from taylorsgd.spacetime.base import inverse_batch
from taylorsgd.spacetime.chances import counts_by_chance, weighted_chance
from taylorsgd.timesums.closed_forms import closed_time_sum
from taylorsgd.timesums.events import TimeSum
from taylorsgd.timesums.orders import split_surjections, surjections, weak_orderings
from taylorsgd.updates.rules import Update

__all__ = ["updated_weight"]

Times = tuple[Expr, ...] | None
"""When the roots are taken, the earlier one first; None for all at T."""


def updated_weight(spacetime: Spacetime, diagram: Diagram, update: Update, times: Times = None) -> Expr:
    """The weighted number of embeddings over B^|D|, in the sizes of the spacetime and the rule's parameters.

    Args:
        spacetime: where.
        diagram: the diagram.
        update: what its edges carry.
        times: when the roots are taken.

    Raises:
        NotImplementedError: for spacetimes and sizes where it has no closed form here.
        ValueError: if there are not as many rates as updates, or a spacetime does not fit the rule.
    """
    if isinstance(update, GDC):
        return _imitating_weight(spacetime, diagram, update, times)
    grid = _as_grid(spacetime)
    if times is None or all(time.is_number for time in times):
        ends = None if times is None else [int(time) for time in times]
        if grid is not None:
            return grid.weighted_count(diagram, update, ends) / Integer(grid.B) ** diagram.order
        if counts_by_chance(spacetime):
            return weighted_chance(spacetime, diagram, update, ends)
    remembers = update.modes(False) != Descent().modes(False)
    varied = update.rates is not None and (isinstance(update.rates, tuple) or remembers or times is not None)
    flow = isinstance(spacetime, (ODE, SDE)) and update.is_plain
    if (
        not (flow or _one_epoch(spacetime) or _full_batch(spacetime))
        or varied
        or (times is not None and remembers)
    ):
        raise NotImplementedError(
            f"update={update!r} on {spacetime!r} at times={times or 'the end'} has no closed form here; supported "
            "are SGD with E=1 and GD at constant rates (at two times for rules without memory), descent there with "
            "LinearWarmup() or Cosine(), two times of ODE and SDE, and SGD, GD, Replacement and Grid with numbers for "
            "all sizes and times"
        )
    if not remembers:
        edges = update.instant_edges(diagram)
        return sum((_instant_weight(spacetime, diagram, i, update, times) for i in edges), Integer(0))
    share, sums = spacetime.times(diagram, False)
    assert isinstance(sums, TimeSum)
    if not sums.possible:
        return Integer(0)
    inner = [node for node, parent in enumerate(diagram.parents) if parent >= 0]
    modes = [update.modes(diagram.parents[diagram.parents[node]] < 0) for node in inner]
    total: Expr = Integer(0)
    for chosen in product(*modes):
        weight = prod((c for c, _ in chosen), start=Integer(1))
        rates = [1 - x for _, x in chosen]
        total = total + weight * closed_time_sum(sums, rates, spacetime.sizes["T"], continuous=False)
    return total * spacetime.expression(share)


def _imitating_weight(spacetime: Spacetime, diagram: Diagram, update: GDC, times: Times) -> Expr:
    """GD: times and rows are chosen apart from each other."""
    rows = update.rows(spacetime)
    total: Expr = Integer(0)
    for instant in update.instant_edges(diagram):
        together = [{node, diagram.parents[node]} for node in instant]
        orders = _orders_in_time(spacetime, diagram, instant, together, times)
        total = total + orders * update.pairing(diagram, instant, rows)
    return total / rows**diagram.order


def _instant_weight(
    spacetime: Spacetime, diagram: Diagram, instant: frozenset[int], update: Update, times: Times
) -> Expr:
    """Embeddings in which some edges are instant."""
    together = [{node, diagram.parents[node]} for node in instant]
    if _one_epoch(spacetime) or isinstance(spacetime, SDE):  # a part is one cell, or one moment
        together += [set(block) for block in diagram.inner_blocks]
    share = spacetime.expression(inverse_batch(diagram.order - len(diagram.inner_blocks)))
    orders = _orders_in_time(spacetime, diagram, instant, together, times, update.rates)
    return update.instant ** len(instant) * share * orders


def _orders_in_time(
    spacetime: Spacetime,
    diagram: Diagram,
    instant: frozenset[int],
    together: list[set[int]],
    times: Times,
    rates: Any = None,
) -> Expr:
    """Ways to place the nodes in T updates: an order polynomial of events that hold several nodes.

    Args:
        spacetime: where T is read.
        diagram: the diagram.
        instant: the edges, by the node that they leave, along which time stays.
        together: groups of nodes of one update.
        times: when the roots are taken.
        rates: a schedule of rates, one for each edge that leaves an event; None for 1.
    """
    events = [{node} for node, parent in enumerate(diagram.parents) if parent >= 0]
    for group in together:
        events = [e for e in events if e.isdisjoint(group)] + [
            group.union(*(e for e in events if not e.isdisjoint(group)))
        ]
    event_of = {node: i for i, event in enumerate(events) for node in event}
    below = [0] * len(events)
    for node, parent in enumerate(diagram.parents):
        if parent in event_of and node not in instant:
            if event_of[node] == event_of[parent]:
                return Integer(0)
            below[event_of[parent]] |= 1 << event_of[node]
    if rates is not None:
        return _scheduled_maps(tuple(below), tuple(map(len, events)), rates, spacetime.sizes["T"])
    places = _powers if isinstance(spacetime, (ODE, SDE)) else _binomials
    if times is None or len(times) == 1:
        return _strict_maps(tuple(below), 0, Integer(0), times[0] if times else spacetime.sizes["T"], places)
    first, second = times
    early = sum(1 << i for i, event in enumerate(events) if any(diagram.tree_of[node] == 0 for node in event))
    return _strict_maps(tuple(below), early, first, second - first, places)


@cache  # many diagrams have one order
def _strict_maps(
    below: tuple[int, ...],
    early: int,
    before: Expr,
    after: Expr,
    places: Callable[[Expr, int, int], Expr],
) -> Expr:
    """The strict maps of events to so many times before some moment and after it, the early ones before it."""
    if early == 0 and before == 0:
        counts = {(0, k): number for k, number in enumerate(surjections(below) or ())}
    else:
        counts = split_surjections(below, early)
    total: Expr = Integer(0)
    for (j, k), number in counts.items():
        shared = len(below) - j - k
        total = total + number * places(before, j, shared) * places(after, k, shared)
    return total


def _binomials(updates: Expr, levels: int, shared: int) -> Expr:
    """The ways to choose updates for so many levels."""
    return expand_func(binomial(updates, levels))


def _powers(time: Expr, levels: int, shared: int) -> Expr:
    """The volume of so many moments in order; none if events share a moment."""
    return Integer(0) if shared else time**levels / factorial(levels)


@cache
def _scheduled_maps(
    below: tuple[int, ...], sizes: tuple[int, ...], rates: RateSchedule, updates: Expr
) -> Expr:
    """The strict maps of events to T updates, each weighed by the rates of all its nodes."""
    found: Counter[tuple[int, ...]] = Counter()
    for levels, ranks in weak_orderings(len(below)):
        if all(
            ranks[j] < ranks[i] for i, mask in enumerate(below) for j in range(len(below)) if mask >> j & 1
        ):
            powers = [0] * levels
            for rank, nodes in zip(ranks, sizes, strict=True):
                powers[rank] += nodes
            found[tuple(powers)] += 1
    return sum((number * rates.nested_sum(p, updates) for p, number in found.items()), Integer(0))


def _one_epoch(spacetime: Spacetime) -> bool:
    """Whether every row is met once; a random order does so like any other."""
    return isinstance(spacetime, SGD) and spacetime.data == "fresh" and spacetime.E == 1


def _full_batch(spacetime: Spacetime) -> bool:
    """Whether every update meets all rows."""
    return isinstance(spacetime, GD) or (
        isinstance(spacetime, SGD)
        and spacetime.data == "fresh"
        and spacetime.E != 1
        and spacetime.batches == 1
    )


def _as_grid(spacetime: Spacetime) -> Grid | None:
    """The grid of a spacetime with numbers for its sizes; None if it has none."""
    if isinstance(spacetime, Grid):
        return spacetime
    if not isinstance(spacetime, (SGD, GD)) or not all(size.is_number for size in spacetime.sizes.values()):
        return None
    if isinstance(spacetime, GD):
        return Grid([[True] * int(spacetime.T)] * int(spacetime.N)) if spacetime.T else None
    if spacetime.random or not spacetime.E:
        return None
    return SGD(spacetime.N, spacetime.B, spacetime.E).grid()  # where shuffling makes no difference, without
