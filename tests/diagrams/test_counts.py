r"""Counts of diagrams, each found in two ways.

References: S. Tenka, *SGD at Small Learning Rates*, sections 2.4, A.3 and B.3; OEIS A000272 (labelled trees),
A000110 (Bell numbers), A000081 (rooted trees).

Identities, d the order:
    (1) diagrams                 1, 4, 17, 101, 700, 5861       generated = published = counted by Burnside
    (2) linkless                 1, 3, 12, 65, 423, 3379        and every diagram is one linkless diagram with
                                                                its edges stretched into chains
    (3) with Z ≠ 0 at E = B = 1  1, 3, 9, 36, 158, 838          linkless of those 1, 2, 6, 20, 79, 382
    (4) distinct values          1, 3, 12, 62, 401              at E = B = 1: 1, 2, 6, 20, 85
    (5) Σ_D d! / |Aut D| = (d+1)^(d−1) · Bell(d)
    (6) Σ_{labelled (tree, partition)} is (5) split into orbits of size d! / |Aut D|, every orbit one diagram
    (7) generalized diagrams: a root that may join a part, two roots: orbits of labelled forests
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from math import factorial

import pytest
import sympy

import taylorsgd as ts
from taylorsgd.diagrams import Diagram, forests_of_order, value_of
from taylorsgd.diagrams.generation import rooted_trees

DIAGRAMS = (1, 1, 4, 17, 101, 700, 5861)
LINKLESS = (1, 1, 3, 12, 65, 423, 3379)
ONE_EPOCH = (1, 1, 3, 9, 36, 158, 838)
ONE_EPOCH_LINKLESS = (1, 1, 2, 6, 20, 79, 382)
VALUES = (1, 1, 3, 12, 62, 401)
ONE_EPOCH_VALUES = (1, 1, 2, 6, 20, 85)
ROOTED_TREES = (1, 1, 2, 4, 9, 20, 48, 115, 286)


def all_of(order: int) -> list[Diagram]:
    return list(ts.diagrams_of_order(order))


def one_epoch(order: int) -> list[Diagram]:
    spacetime = ts.SGD(B=1, E=1)
    return [diagram for diagram in all_of(order) if spacetime.weight(diagram)]


@pytest.mark.parametrize("order", range(7))
def test_generated_published_and_counted_agree(order: int) -> None:
    diagrams = all_of(order)
    assert len(diagrams) == DIAGRAMS[order] == ts.count_diagrams(order)
    assert len(set(diagrams)) == len(diagrams)
    assert all(diagram.order == order and len(diagram.roots) == 1 for diagram in diagrams)
    assert all(len(diagram.blocks[diagram.parts[0]]) == 1 for diagram in diagrams), "the root is alone"


@pytest.mark.parametrize("order", range(7))
def test_linkless(order: int) -> None:
    assert sum(diagram.is_linkless for diagram in all_of(order)) == LINKLESS[order]


def stretched(diagram: Diagram, lengths: Sequence[int]) -> Diagram:
    """Replace the edge above every non-root node by a chain of so many edges."""
    parents = list(diagram.parents)
    parts: list[object] = list(diagram.parts)
    for node in range(1, len(diagram.parents)):
        above = diagram.parents[node]
        for link in range(lengths[node - 1] - 1):
            parents.append(above)
            parts.append(("link", node, link))
            above = len(parents) - 1
        parents[node] = above
    return Diagram(parents, parts)


def compositions(total: int, count: int) -> Iterator[tuple[int, ...]]:
    if count == 0:
        if total == 0:
            yield ()
        return
    for first in range(1, total + 1):
        for rest in compositions(total - first, count - 1):
            yield (first, *rest)


@pytest.mark.parametrize("order", range(1, 6))
def test_every_diagram_is_one_linkless_diagram_with_stretched_edges(order: int) -> None:
    found: Counter[Diagram] = Counter()
    for linkless_order in range(1, order + 1):
        for linkless in filter(lambda diagram: diagram.is_linkless, all_of(linkless_order)):
            found.update({stretched(linkless, lengths) for lengths in compositions(order, linkless_order)})
    assert set(found) == set(all_of(order))
    assert set(found.values()) == {1}, "two linkless diagrams stretch to one"


def test_linkless_counts_by_subtraction() -> None:
    """17 − 1 − 2 − 1 − 1 = 12 at order 3, where order 2 has the fork, the tied fork and the tied chain."""
    linkless_of_order_2 = [diagram for diagram in all_of(2) if diagram.is_linkless]
    assert {str(diagram) for diagram in linkless_of_order_2} == {"(. .)", "(a a)", "(a(a))"}
    stretches = {str(d): len({stretched(d, c) for c in compositions(3, 2)}) for d in linkless_of_order_2}
    assert stretches == {"(. .)": 1, "(a a)": 1, "(a(a))": 2}
    assert DIAGRAMS[3] - 1 - sum(stretches.values()) == LINKLESS[3]


@pytest.mark.parametrize("order", range(7))
def test_one_epoch(order: int) -> None:
    diagrams = one_epoch(order)
    assert len(diagrams) == ONE_EPOCH[order]
    assert sum(diagram.is_linkless for diagram in diagrams) == ONE_EPOCH_LINKLESS[order]
    generated = set(forests_of_order(order, tied_ancestors=False))
    assert set(diagrams) <= generated, "leaving out tied ancestors early must lose no diagram with Z ≠ 0"


@pytest.mark.parametrize("order", range(6))
def test_distinct_values(order: int) -> None:
    assert len({value_of(diagram) for diagram in all_of(order)}) == VALUES[order]
    assert len({value_of(diagram) for diagram in one_epoch(order)}) == ONE_EPOCH_VALUES[order]


@pytest.mark.parametrize("order", range(7))
def test_symmetry_weighted_sum(order: int) -> None:
    total = sum(factorial(order) // diagram.automorphisms for diagram in all_of(order))
    assert all(factorial(order) % diagram.automorphisms == 0 for diagram in all_of(order))
    assert total == sympy.Integer(order + 1) ** (order - 1) * sympy.bell(order)


def set_partitions(count: int) -> Iterator[tuple[int, ...]]:
    """All restricted growth strings."""
    for labels in product(range(count), repeat=count):
        if all(label <= max(labels[:i], default=-1) + 1 for i, label in enumerate(labels)):
            yield labels


def labelled_trees(order: int) -> Iterator[tuple[int, ...]]:
    """All ways to hang the nodes 1, …, d below the root 0."""
    for parents in product(range(order + 1), repeat=order):
        rooted = (-1, *parents)
        if all(reaches_root(rooted, node) for node in range(order + 1)):
            yield rooted


def reaches_root(parents: Sequence[int], node: int) -> bool:
    for _ in parents:
        if parents[node] < 0:
            return True
        node = parents[node]
    return parents[node] < 0


@pytest.mark.parametrize("order", range(5))
def test_orbits_of_labelled_diagrams(order: int) -> None:
    orbits: Counter[Diagram] = Counter()
    for parents in labelled_trees(order):
        for labels in set_partitions(order):
            orbits[Diagram(parents, ("root", *labels))] += 1
    assert set(orbits) == set(all_of(order))
    assert all(size == factorial(order) // diagram.automorphisms for diagram, size in orbits.items())


@pytest.mark.parametrize("order", range(4))
def test_orbits_with_a_root_that_may_join_a_part(order: int) -> None:
    orbits: Counter[Diagram] = Counter()
    for parents in labelled_trees(order):
        for labels in set_partitions(order + 1):
            orbits[Diagram(parents, labels)] += 1
    generated = list(forests_of_order(order, (True,)))
    assert len(set(generated)) == len(generated)
    assert set(orbits) == set(generated)
    assert all(size == factorial(order) // diagram.automorphisms for diagram, size in orbits.items())


@pytest.mark.parametrize("ties", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("order", range(4))
def test_orbits_with_two_roots(order: int, ties: tuple[bool, bool]) -> None:
    orbits: Counter[Diagram] = Counter()
    for above in product(range(order + 2), repeat=order):
        parents = (-1, -1, *above)
        if not all(reaches_root(parents, node) for node in range(order + 2)):
            continue
        for labels in set_partitions(order + 2):
            if all(tie or labels.count(labels[root]) == 1 for root, tie in enumerate(ties)):
                orbits[Diagram(parents, labels)] += 1
    generated = list(forests_of_order(order, ties))
    assert len(set(generated)) == len(generated)
    assert set(orbits) == set(generated)
    assert all(size == factorial(order) // diagram.automorphisms for diagram, size in orbits.items())


@pytest.mark.parametrize("order", range(5))
def test_leaving_out_diagrams_early_is_filtering(order: int) -> None:
    def has_tied_ancestor(diagram: Diagram) -> bool:
        for node, part in enumerate(diagram.parts):
            above = diagram.parents[node]
            while above >= 0 and diagram.parents[above] >= 0:
                if diagram.parts[above] == part:
                    return True
                above = diagram.parents[above]
        return False

    for ties in [(False,), (True,), (True, False), (True, True)]:
        everything = list(forests_of_order(order, ties))
        lawful = [diagram for diagram in everything if not has_tied_ancestor(diagram)]
        assert list(forests_of_order(order, ties, tied_ancestors=False)) == lawful
        for limit in (1, 2, 3):
            small = [diagram for diagram in everything if max(map(len, diagram.blocks)) <= limit]
            assert list(forests_of_order(order, ties, largest_part=limit)) == small


def test_rooted_trees() -> None:
    """Beyer and Hedetniemi's algorithm against OEIS A000081."""
    assert [len(rooted_trees(edges)) for edges in range(9)] == list(ROOTED_TREES)
    for edges in range(7):
        assert len({Diagram(parents) for parents in rooted_trees(edges)}) == ROOTED_TREES[edges]


@pytest.mark.parametrize("function", [ts.count_diagrams, lambda order: list(ts.diagrams_of_order(order))])
@pytest.mark.parametrize("order", [-1, 1.0, True, "2", None])
def test_impossible_orders(function, order) -> None:
    with pytest.raises(ValueError, match="is not an order; it must be an integer of at least 0"):
        function(order)


def test_iterators_are_fresh() -> None:
    first = ts.diagrams_of_order(3)
    next(first)
    assert len(all_of(3)) == DIAGRAMS[3]
    assert len(list(first)) == DIAGRAMS[3] - 1
