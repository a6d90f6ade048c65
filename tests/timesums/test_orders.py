r"""Order polynomials, linear extensions and epochs, against listing every map.

References: Stanley, *Enumerative Combinatorics* I, section 3.15; OEIS A000670 (weak orderings); hook length
formula (Knuth, *The Art of Computer Programming* 3, section 5.1.4).

Identities, for a poset P of n elements and Ω(P; m) the number of strict order-preserving maps to {1, …, m}:
    (1) Ω(P; m) = Σ_k s_k C(m, k), s_k the maps onto a k-chain = weak orderings that respect P
    (2) s_n = #linear extensions; of a tree n! / Π_v (size of the subtree below v)
    (3) a relation with a cycle has no map at all
    (4) many epochs: epochs weakly increase along an edge that runs to a later batch, strictly else
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from math import comb, factorial, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

import taylorsgd as ts
from taylorsgd.diagrams import Diagram
from taylorsgd.spacetime.base import RING, binomial_polynomial
from taylorsgd.spacetime.epochs import epoch_count
from taylorsgd.timesums.events import sum_of_events
from taylorsgd.timesums.orders import compositions, split_surjections, surjections, weak_orderings

FUBINI = (1, 1, 3, 13, 75, 541)
DIAGRAMS = [diagram for order in range(5) for diagram in ts.diagrams_of_order(order)]


def strict_maps(below: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    """All maps of the elements to 0, …, size − 1 that respect the relations."""
    return [
        image
        for image in product(range(size), repeat=len(below))
        if all(not mask >> j & 1 or image[j] < image[i] for i, mask in enumerate(below) for j in range(len(below)))
    ]


def relations_of_tree(diagram: Diagram) -> tuple[int, ...]:
    nodes = [node for node, parent in enumerate(diagram.parents) if parent >= 0]
    return tuple(sum(1 << i for i, v in enumerate(nodes) if diagram.parents[v] == w) for w in nodes)


def relations_of_parts(diagram: Diagram) -> tuple[int, ...]:
    blocks = diagram.inner_blocks
    return tuple(
        sum(1 << i for i, lower in enumerate(blocks) if any(diagram.parents[v] in upper for v in lower))
        for upper in blocks
    )


def levels(diagram: Diagram, together: Sequence[tuple[int, ...]] = ()) -> tuple[int, ...] | None:
    times = sum_of_events(diagram, together)
    return None if times is None else surjections(times.lattice.below)


def check(levels: tuple[int, ...] | None, below: tuple[int, ...]) -> None:
    n = len(below)
    maps = {m: strict_maps(below, m) for m in range(n + 2)}
    if levels is None:
        assert not maps[n], "only relations with a cycle have no strict maps"
        return
    assert levels == tuple(sum(set(image) == set(range(k)) for image in maps[k]) for k in range(n + 1))
    for m, images in maps.items():
        assert len(images) == sum(s * comb(m, k) for k, s in enumerate(levels))
    extensions = sum(
        all(not mask >> j & 1 or order[j] < order[i] for i, mask in enumerate(below) for j in range(n))
        for order in permutations(range(n))
    )
    assert levels[n] == extensions


@given(st.integers(0, 4).flatmap(lambda n: st.tuples(*[st.integers(0, (1 << n) - 1)] * n)))
def test_any_relations(below: tuple[int, ...]) -> None:
    check(surjections(below), below)


@given(st.lists(st.integers(0, 31), min_size=5, max_size=5))
def test_posets_of_five(masks: list[int]) -> None:
    """Only earlier elements below later ones: never a cycle."""
    below = tuple(mask & ((1 << i) - 1) for i, mask in enumerate(masks))
    assert surjections(below) is not None
    check(surjections(below), below)


def test_orders_of_every_diagram() -> None:
    for diagram in DIAGRAMS:
        check(levels(diagram), relations_of_tree(diagram))
        check(levels(diagram, diagram.inner_blocks), relations_of_parts(diagram))


@pytest.mark.parametrize("order", range(7))
def test_hook_length_formula(order: int) -> None:
    for diagram in ts.diagrams_of_order(order):
        if len(set(diagram.parts)) < len(diagram.parts):
            continue  # once for each tree
        sizes = [1] * (order + 1)
        for node in range(order, 0, -1):
            sizes[diagram.parents[node]] += sizes[node]
        counts = levels(diagram)
        assert counts is not None and counts[order] == factorial(order) // prod(sizes[1:])


@given(st.lists(st.integers(0, 15), min_size=4, max_size=4), st.lists(st.integers(1, 3), min_size=4, max_size=4))
def test_compositions_and_moments(masks: list[int], sizes: list[int]) -> None:
    """By what levels hold, and before or after a moment: sums of the counts by the number of levels."""
    below = tuple(mask & ((1 << i) - 1) for i, mask in enumerate(masks))
    counts = surjections(below)
    assert counts is not None
    held = compositions(below, tuple(sizes))
    assert all(sum(composition) == sum(sizes) for composition in held)
    assert [sum(n for c, n in held.items() if len(c) == k) for k in range(5)] == list(counts)
    early = masks[0] & 15
    for first, second in ((0, 3), (2, 2), (1, 4)):
        split = sum(n * comb(first, j) * comb(second, k) for (j, k), n in split_surjections(below, early).items())
        images = strict_maps(below, first + second)
        assert split == sum(all(i[e] < first for e in range(4) if early >> e & 1) for i in images)


def test_antichains_and_chains() -> None:
    assert surjections((0, 0, 0)) == (0, 1, 6, 6)
    assert surjections((0, 1, 2)) == (0, 0, 0, 1)
    assert surjections(()) == (1,)
    assert surjections((1,)) is None, "an element before itself"
    assert surjections((2, 4, 1)) is None, "a cycle of three"


@pytest.mark.parametrize("count", range(6))
def test_weak_orderings(count: int) -> None:
    found = weak_orderings(count)
    onto = [
        (levels, ranks)
        for levels in range(count + 1)
        for ranks in product(range(levels), repeat=count)
        if set(ranks) == set(range(levels))
    ]
    assert sorted(found) == sorted(onto)
    assert len(found) == FUBINI[count]


def epochs_by_hand(diagram: Diagram, batches: int, epochs: int) -> int:
    """Parts choose a batch, nodes an epoch; times (epoch, batch) rise along the edges."""
    inner = [node for node, parent in enumerate(diagram.parents) if parent >= 0]
    part = {node: i for i, block in enumerate(diagram.inner_blocks) for node in block}
    edges = [(v, diagram.parents[v]) for v in inner if diagram.parents[diagram.parents[v]] >= 0]
    count = 0
    for choice in product(range(batches), repeat=len(diagram.inner_blocks)):
        for of_node in product(range(epochs), repeat=len(inner)):
            epoch = dict(zip(inner, of_node, strict=True))
            count += all((epoch[v], choice[part[v]]) < (epoch[w], choice[part[w]]) for v, w in edges)
    return count


@pytest.mark.parametrize(("batches", "epochs"), [(1, 1), (1, 3), (2, 1), (2, 2), (3, 1), (2, 0)])
def test_epochs(batches: int, epochs: int) -> None:
    for diagram in DIAGRAMS:
        polynomial = epoch_count(diagram)
        assert all(b == c == 0 for _, _, b, c in polynomial.monoms()), "a polynomial in n and e alone"
        numbers = list(zip(RING.gens, (batches, epochs, 0, 0), strict=True))
        assert polynomial.evaluate(numbers) == epochs_by_hand(diagram, batches, epochs), diagram


def test_binomials_are_polynomials() -> None:
    for generator in range(2):
        for k in range(6):
            polynomial = binomial_polynomial(RING.gens[generator], k)
            for x in range(8):
                values = [0, 0, 0, 0]
                values[generator] = x
                assert polynomial.evaluate(list(zip(RING.gens, values, strict=True))) == comb(x, k)
