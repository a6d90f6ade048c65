r"""Canonical form, equality and automorphisms of diagrams, against brute force over all permutations.

References: Tenka, Definition 3 (section B.3); Aho, Hopcroft and Ullman 1974, section 3.2.

Identities:
    (1) |Aut D| = #{σ permutes the non-root nodes : σ preserves parents and parts}, roots fixed
    (2) D = D'  ⟺  some permutation that keeps the roots in their order carries D to D'
    (3) renumbering nodes and renaming parts changes neither == nor hash
    (4) hashes of different diagrams differ (orders up to 6)
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import taylorsgd as ts
from taylorsgd.diagrams import Diagram, forests_of_order
from taylorsgd.diagrams.symmetry import symmetries


def same_parts(left: Sequence[object], right: Sequence[object]) -> bool:
    """Whether two labellings describe the same set partition."""
    return len(set(left)) == len(set(right)) == len(set(zip(left, right, strict=True)))


def isomorphisms(a: Diagram, b: Diagram) -> Iterator[tuple[int, ...]]:
    """All maps of the nodes of a onto those of b that respect roots in their order, parents and parts."""
    inner_a = [node for node, parent in enumerate(a.parents) if parent >= 0]
    inner_b = [node for node, parent in enumerate(b.parents) if parent >= 0]
    if len(a.roots) != len(b.roots) or len(inner_a) != len(inner_b):
        return
    for images in permutations(inner_b):
        image = dict(zip(inner_a, images, strict=True)) | dict(zip(a.roots, b.roots, strict=True))
        if all(image[a.parents[node]] == b.parents[image[node]] for node in inner_a) and same_parts(
            a.parts, [b.parts[image[node]] for node in range(len(a.parts))]
        ):
            yield tuple(image[node] for node in range(len(a.parts)))


def automorphism_count(diagram: Diagram) -> int:
    return sum(1 for _ in isomorphisms(diagram, diagram))


@pytest.mark.parametrize("order", range(6))
def test_automorphisms_of_every_diagram(order: int) -> None:
    for diagram in ts.diagrams_of_order(order):
        assert diagram.automorphisms == automorphism_count(diagram), diagram


@pytest.mark.parametrize("order", range(5))
def test_automorphisms_with_a_tied_root(order: int) -> None:
    for diagram in forests_of_order(order, (True,)):
        assert diagram.automorphisms == automorphism_count(diagram), diagram


@pytest.mark.parametrize("ties", [(False, False), (True, True)])
@pytest.mark.parametrize("order", range(4))
def test_automorphisms_of_forests(order: int, ties: tuple[bool, bool]) -> None:
    for diagram in forests_of_order(order, ties):
        assert diagram.automorphisms == automorphism_count(diagram), diagram


def test_automorphisms_never_swap_the_roots() -> None:
    assert Diagram((-1, -1)).automorphisms == 1
    assert Diagram((-1, -1, 0, 1), (0, 1, 2, 2)).automorphisms == 1
    assert Diagram((-1, 0, -1)) != Diagram((-1, -1, 1))


@pytest.mark.parametrize("order", range(5))
def test_different_diagrams_are_not_isomorphic(order: int) -> None:
    for a, b in combinations(ts.diagrams_of_order(order), 2):
        assert a != b
        if sorted(map(len, a.children)) == sorted(map(len, b.children)):
            assert next(isomorphisms(a, b), None) is None, (a, b)


def test_hashes_are_distinct() -> None:
    diagrams = [diagram for order in range(7) for diagram in ts.diagrams_of_order(order)]
    assert len({hash(diagram) for diagram in diagrams}) == len(set(diagrams)) == len(diagrams)


@st.composite
def raw_diagrams(draw, most: int = 7, roots: int = 1) -> tuple[list[int], list[int]]:
    """Parents and part labels of a random forest, any node tied to any other."""
    size = draw(st.integers(roots, most))
    parents = [-1] * roots + [draw(st.integers(0, node - 1)) for node in range(roots, size)]
    labels = [draw(st.integers(0, size)) for _ in range(size)]
    return parents, labels


def relabelled(parents: Sequence[int], labels: Sequence[int], where: Sequence[int]) -> Diagram:
    """The same diagram with node i called where[i] and its parts renamed."""
    moved = [0] * len(parents)
    parts: list[object] = [None] * len(parents)
    for node, parent in enumerate(parents):
        moved[where[node]] = where[parent] if parent >= 0 else -1
        parts[where[node]] = f"part {-labels[node]}"
    return Diagram(moved, parts)


@given(raw_diagrams(), st.data())
def test_relabelling_one_tree(raw: tuple[list[int], list[int]], data: st.DataObject) -> None:
    parents, labels = raw
    where = data.draw(st.permutations(range(len(parents))))
    original, other = Diagram(parents, labels), relabelled(parents, labels, where)
    assert original == other
    assert hash(original) == hash(other)
    assert (original.parents, original.parts) == (other.parents, other.parts)
    assert original.automorphisms == other.automorphisms
    assert original.is_linkless == other.is_linkless


@given(raw_diagrams(most=8, roots=2), st.data())
def test_relabelling_a_forest_keeps_the_order_of_its_roots(raw, data: st.DataObject) -> None:
    parents, labels = raw
    where = data.draw(st.permutations(range(len(parents))))
    assume(where[0] < where[1])
    assert relabelled(parents, labels, where) == Diagram(parents, labels)
    swapped = [1, 0, *range(2, len(parents))]
    first, second = relabelled(parents, labels, swapped), Diagram(parents, labels)
    assert (first == second) == (next(isomorphisms(first, second), None) is not None)


@given(raw_diagrams(most=6), raw_diagrams(most=6))
@settings(max_examples=200)
def test_equal_exactly_when_isomorphic(left, right) -> None:
    a, b = Diagram(*left), Diagram(*right)
    assert (a == b) == (next(isomorphisms(a, b), None) is not None)


@given(raw_diagrams(most=6), st.data())
@settings(max_examples=200)
def test_near_misses_are_told_apart(raw, data: st.DataObject) -> None:
    """Change one node's part or parent: equal only if a permutation says so."""
    parents, labels = raw
    node = data.draw(st.integers(0, len(parents) - 1))
    changed_labels = [*labels]
    changed_labels[node] = data.draw(st.sampled_from([*labels, -1]))
    changed_parents = [*parents]
    if node:
        changed_parents[node] = data.draw(st.integers(0, node - 1))
    a, b = Diagram(parents, labels), Diagram(changed_parents, changed_labels)
    assert (a == b) == (next(isomorphisms(a, b), None) is not None)


@given(raw_diagrams(most=7, roots=1))
def test_canonical_form_describes_the_diagram(raw) -> None:
    diagram = Diagram(*raw)
    assert Diagram(diagram.parents, diagram.parts) == diagram
    assert diagram.parents[0] == -1
    assert all(0 <= parent < node for node, parent in enumerate(diagram.parents) if node)
    assert all(part <= max(diagram.parts[:i], default=-1) + 1 for i, part in enumerate(diagram.parts))
    assert sorted(map(len, diagram.blocks)) == sorted(raw[1].count(label) for label in set(raw[1]))
    assert diagram.order == len(raw[0]) - 1
    assert sum(diagram.degree(node) for node in range(len(diagram.parents))) == 2 * diagram.order
    assert diagram.automorphisms == automorphism_count(diagram)


def test_a_diagram_is_frozen() -> None:
    diagram = Diagram((-1, 0, 0), (0, 1, 1))
    for name, value in [("parents", (-1,)), ("parts", (0,)), ("automorphisms", 3), ("colour", "red")]:
        with pytest.raises(AttributeError, match=f"cannot assign to field '{name}'"):
            setattr(diagram, name, value)
    assert (diagram.parents, diagram.parts, diagram.automorphisms) == ((-1, 0, 0), (0, 1, 1), 2)


def test_a_diagram_is_a_good_key() -> None:
    diagram = Diagram((-1, 0, 1, 1), (0, 1, 1, 2))
    assert {diagram: "found"}[Diagram((3, 3, -1, 2), "abcb")] == "found"
    assert diagram != "((.))"
    for other in (pickle.loads(pickle.dumps(diagram)), copy.copy(diagram), copy.deepcopy(diagram)):
        assert other == diagram
        assert hash(other) == hash(diagram)
    assert eval(repr(diagram), {"Diagram": Diagram}) == diagram


def test_sorting_goes_by_order_first() -> None:
    diagrams = [diagram for order in range(4) for diagram in ts.diagrams_of_order(order)]
    diagrams.reverse()
    ordered = sorted(diagrams)
    assert [diagram.order for diagram in ordered] == sorted(diagram.order for diagram in diagrams)
    assert sorted(ordered) == ordered


@pytest.mark.parametrize(
    ("parents", "parts", "message"),
    [
        ((), None, "has no root; mark each root with -1"),
        ((0, 0), None, "has no root"),
        ((-1, 2), None, "node 1 has parent 2, which is not a node"),
        ((-1, -2), None, "node 1 has parent -2, which is not a node"),
        ((-1, 2, 1), None, "has a cycle through node 1"),
        ((-1, 1), None, "has a cycle through node 1"),
        ((-1, 0, 0), (0, 1), r"labels 2 nodes but .* has 3; give one label per node"),
    ],
)
def test_what_is_no_diagram(parents, parts, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Diagram(parents, parts)


def test_accessors_of_a_worked_example() -> None:
    """A forest: a chain whose leaf is tied to the other tree's root's second child."""
    diagram = Diagram((-1, 0, 1, -1, 3, 3), (0, 1, 2, 3, 4, 2))
    assert diagram.order == 4
    assert len(diagram.roots) == 2
    first, second = diagram.roots
    assert diagram.degree(first) == 1
    assert diagram.degree(second) == 2
    assert diagram.tree_of.count(0) == diagram.tree_of.count(1) == 3
    assert sorted(map(len, diagram.blocks)) == [1, 1, 1, 1, 2]
    assert sorted(map(len, diagram.inner_blocks)) == [1, 1, 2]
    assert not diagram.is_linkless
    (tied,) = [block for block in diagram.blocks if len(block) == 2]
    assert {diagram.tree_of[node] for node in tied} == {0, 1}


def test_a_node_tied_to_the_root_is_no_link() -> None:
    assert not Diagram((-1, 0, 1)).is_linkless
    assert Diagram((-1, 0, 1), (0, 0, 1)).is_linkless
    assert Diagram((-1, 0, 1), (0, 1, 1)).is_linkless
    assert not Diagram((-1, 0, 1), (0, 1, 0)).is_linkless


@pytest.mark.parametrize("order", range(4))
def test_automorphisms_one_by_one(order: int) -> None:
    for diagram in forests_of_order(order, [True, True]):
        found = list(symmetries(diagram.parents, diagram.parts))
        assert len(found) == diagram.automorphisms and sorted(found) == sorted(set(isomorphisms(diagram, diagram)))
