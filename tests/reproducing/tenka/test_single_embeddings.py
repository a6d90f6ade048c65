"""Single maps into a spacetime: their conditions against the counts, orders against Proposition 2, links."""

from __future__ import annotations

from itertools import product

import pytest

import taylorsgd as ts
from taylorsgd.reproducing.tenka.single_embeddings import (
    broken_conditions,
    drawn_in_time,
    placed,
    time_orders,
    with_links,
    without_links,
)

SMALL = [diagram for order in range(4) for diagram in ts.diagrams_of_order(order)]


def test_maps_that_break_nothing_are_the_embeddings() -> None:
    for grid in (ts.SGD(N=2, B=1, E=2).grid(), ts.Grid([[1, 0, 1], [0, 1, 1], [1, 1, 0]])):
        filled = [(n, t) for n, row in enumerate(grid.cells) for t, cell in enumerate(row) if cell]
        for diagram in SMALL:
            inner = [node for node, parent in enumerate(diagram.parents) if parent >= 0]
            maps = (dict(zip(inner, cells, strict=True)) for cells in product(filled, repeat=len(inner)))
            assert sum(not broken_conditions(diagram, grid, cells) for cells in maps) == grid.count(diagram)


def test_broken_conditions_are_named() -> None:
    grid, tied = ts.Grid([[1, 0], [0, 1]]), ts.Diagram((-1, 0, 0), (0, 1, 1))
    assert broken_conditions(tied, grid, {1: (0, 0), 2: (1, 1)}) == ["correlation"]
    assert broken_conditions(tied, grid, {1: (0, 1), 2: (0, 1)}) == ["shaded cells"]
    with pytest.raises(ValueError, match=r"must name the nodes \[1, 2\]"):
        broken_conditions(tied, grid, {1: (0, 0)})


def test_orders_are_the_linear_extensions_of_untied_trees() -> None:
    """By the hook length formula, with every order counted |Aut| times: d!/Π |subtree| = |ords| · |Aut|."""
    for diagram in SMALL:
        if len(diagram.inner_blocks) == diagram.order:
            linear, sizes = 1, {}
            for node in range(len(diagram.parents) - 1, 0, -1):
                sizes[node] = 1 + sum(sizes[child] for child in diagram.children[node])
                linear *= len(sizes)
            for size in sizes.values():
                linear //= size
            assert len(time_orders(diagram)) * diagram.automorphisms == linear


def test_a_tied_ancestor_has_no_contiguous_order_but_at_one_edge() -> None:
    assert len(time_orders(ts.Diagram((-1, 0, 1, 2), (0, 1, 2, 1)))) == 0
    assert len(time_orders(ts.Diagram((-1, 0, 1), (0, 1, 1)))) == 1


def test_drawings_follow_the_order() -> None:
    for diagram in SMALL:
        for order in time_orders(diagram):
            drawing = drawn_in_time(diagram, order)
            places = [drawing.positions[node][0] for node in (*order, 0)]
            assert places == [float(i - len(order)) for i in range(len(order) + 1)]
            assert set(drawing.ties) == {block for block in diagram.blocks if len(block) > 1}


def test_links_come_and_go() -> None:
    fork, cells = ts.Diagram((-1, 0, 0), (0, 1, 1)), {1: (0, 0), 2: (0, 0)}
    longer, placement = with_links(fork, cells, 5, {1: [1, 3], 2: [4]})
    assert longer.order == 5 and without_links(longer) == fork
    assert placement.spots == (None, (0, 0), (0, 0), (1, 1), (3, 3), (4, 4))
    assert set(placement.edges) == {(1, 3), (3, 4), (4, 0), (2, 5), (5, 0)} and placement.ties == ((1, 2),)
    assert all(without_links(diagram).is_linkless for diagram in SMALL)
    assert all(without_links(diagram) == diagram for diagram in SMALL if diagram.is_linkless)
    for times in ([0], [5], [3, 2], [2, 2]):
        with pytest.raises(ValueError, match=r"links\[1\]=.* must rise between 0 and 5"):
            with_links(fork, cells, 5, {1: times})
    assert placed(fork, cells).edges == ((1, 0), (2, 0))
