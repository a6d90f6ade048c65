r"""Update rules with memory: counting embeddings with weights on the edges.

Plainly an embedding counts 1. Under an update rule it counts the product of what its edges carry, a function of
the times at their ends. At constant rates that is Σ c x^{Δ−1} over the rule's modes, and multiplied out over
the edges of a diagram every product is a sum over times in closed form, the one of resummation with 1 − x for ηλ.
"""

from __future__ import annotations

from itertools import product
from math import prod

from sympy import Expr, Integer, binomial, expand_func, factor

from taylorsgd.diagrams import Diagram
from taylorsgd.formulas.eigenbasis import closed_time_sum
from taylorsgd.spacetime import GD, GDC, SGD, Grid, Spacetime
from taylorsgd.spacetime.base import inverse_batch
from taylorsgd.spacetime.posets import surjections
from taylorsgd.spacetime.timesums import TimeSum
from taylorsgd.spacetime.updates import Update

__all__ = ["updated_weight"]


def updated_weight(spacetime: Spacetime, diagram: Diagram, update: Update) -> Expr:
    """The weighted number of embeddings over B^|D|, in the sizes of the spacetime and the rule's parameters.

    Args:
        spacetime: where.
        diagram: the diagram.
        update: what its edges carry.

    Raises:
        NotImplementedError: for spacetimes and sizes where it has no closed form here.
        ValueError: if there are not as many rates as updates, or a spacetime does not fit the rule.
    """
    if isinstance(update, GDC):
        return _imitating_weight(spacetime, diagram, update)
    grid = _as_grid(spacetime)
    if grid is not None:
        return factor(grid.weighted_count(diagram, update) / Integer(grid.B) ** diagram.order)
    # a random order meets every row once in one epoch, like any other
    one_epoch = isinstance(spacetime, SGD) and spacetime.data == "fresh" and spacetime.E == 1
    if not (one_epoch or isinstance(spacetime, GD)) or update.rates is not None:
        raise NotImplementedError(
            f"update={update!r} on {spacetime!r} has no closed form here; supported are SGD with E=1 and GD at "
            "constant rates, and SGD without shuffling, GD and Grid with numbers for all sizes"
        )
    if update.instant != 0:
        return factor(
            sum(_instant_weight(spacetime, diagram, i, update) for i in update.instant_edges(diagram))
        )
    share, times = spacetime.times(diagram, False)
    assert isinstance(times, TimeSum)
    if not times.possible:
        return Integer(0)
    inner = [node for node, parent in enumerate(diagram.parents) if parent >= 0]
    modes = [update.modes(diagram.parents[diagram.parents[node]] < 0) for node in inner]
    total: Expr = Integer(0)
    for chosen in product(*modes):
        weight = prod((c for c, _ in chosen), start=Integer(1))
        rates = [1 - x for _, x in chosen]
        total = total + weight * closed_time_sum(times, rates, spacetime.sizes["T"], continuous=False)
    return factor(total * spacetime.expression(share))


def _imitating_weight(spacetime: Spacetime, diagram: Diagram, update: GDC) -> Expr:
    """GD: times and rows are chosen apart from each other."""
    rows = update.rows(spacetime)
    total: Expr = Integer(0)
    for instant in update.instant_edges(diagram):
        together = [{node, diagram.parents[node]} for node in instant]
        times = _orders_in_time(spacetime, diagram, instant, together)
        total = total + times * update.pairing(diagram, instant, rows)
    return factor(total / rows**diagram.order)


def _instant_weight(spacetime: Spacetime, diagram: Diagram, instant: frozenset[int], update: Update) -> Expr:
    """Embeddings in which some edges are instant."""
    together = [{node, diagram.parents[node]} for node in instant]
    if isinstance(spacetime, SGD):  # one epoch: a part is one cell
        together += [set(block) for block in diagram.inner_blocks]
    share = spacetime.expression(inverse_batch(diagram.order - len(diagram.inner_blocks)))
    times = _orders_in_time(spacetime, diagram, instant, together)
    return update.instant ** len(instant) * share * times


def _orders_in_time(
    spacetime: Spacetime, diagram: Diagram, instant: frozenset[int], together: list[set[int]]
) -> Expr:
    """Ways to place the nodes in T updates: an order polynomial of events that hold several nodes.

    Args:
        spacetime: where T is read.
        diagram: the diagram.
        instant: the edges, by the node that they leave, along which time stays.
        together: groups of nodes of one update.
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
    levels = surjections(tuple(below))
    if levels is None:
        return Integer(0)
    return expand_func(sum(binomial(spacetime.sizes["T"], k) * s for k, s in enumerate(levels)))


def _as_grid(spacetime: Spacetime) -> Grid | None:
    """The grid of a spacetime with numbers for its sizes; None if it has none."""
    if isinstance(spacetime, Grid):
        return spacetime
    if not isinstance(spacetime, (SGD, GD)) or not all(size.is_number for size in spacetime.sizes.values()):
        return None
    if isinstance(spacetime, GD):
        return Grid([[True] * int(spacetime.T)] * int(spacetime.N)) if spacetime.T else None
    return None if spacetime.shuffle or not spacetime.E else spacetime.grid()
