r"""Value classes: which diagrams evaluate to the same tensor network.

References: Tenka, section A.4; a value forgets which plain node was the root.

Identities:
    (1) value(D) = value(D')  ⟺  the networks (unrooted trees, marks, partition) are isomorphic, brute force
    (2) choosing another root, renumbering and renaming parts changes neither == nor hash
    (3) G·H·G comes from two diagrams; every value of order d has d edges
    (4) a part in moments differs from the part in cumulants exactly when a part is tied
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import combinations_with_replacement, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taylorsgd as ts
from taylorsgd.diagrams import Diagram, Value, forests_of_order, value_of

Network = tuple[frozenset[frozenset[int]], tuple[object, ...], tuple[str, ...]]


def network(parents: Sequence[int], labels: Sequence[object], marks: Sequence[str]) -> Network:
    """Undirected edges, part labels and marks."""
    edges = frozenset(frozenset((node, parent)) for node, parent in enumerate(parents) if parent >= 0)
    return edges, tuple(labels), tuple(marks)


def isomorphic(a: Network, b: Network) -> bool:
    """Try every bijection of the nodes."""
    edges, labels, marks = a
    other_edges, other_labels, other_marks = b
    if len(labels) != len(other_labels) or len(edges) != len(other_edges):
        return False
    for image in permutations(range(len(labels))):
        if (
            all(marks[node] == other_marks[image[node]] for node in range(len(labels)))
            and frozenset(frozenset(image[node] for node in edge) for edge in edges) == other_edges
        ):
            pairs = {(labels[node], other_labels[image[node]]) for node in range(len(labels))}
            if len(pairs) == len(set(labels)) == len(set(other_labels)):
                return True
    return False


def plain(diagram: Diagram) -> Network:
    return network(diagram.parents, diagram.parts, [""] * len(diagram.parents))


@pytest.mark.parametrize("order", range(4))
def test_value_classes_are_isomorphism_classes(order: int) -> None:
    diagrams = list(ts.diagrams_of_order(order))
    for a, b in combinations_with_replacement(diagrams, 2):
        assert (value_of(a) == value_of(b)) == isomorphic(plain(a), plain(b)), (a, b)


@pytest.mark.parametrize("ties", [(False, False), (True, True)])
@pytest.mark.parametrize("order", range(3))
def test_value_classes_of_forests(order: int, ties: tuple[bool, bool]) -> None:
    diagrams = list(forests_of_order(order, ties))
    for a, b in combinations_with_replacement(diagrams, 2):
        same = value_of(a, ("", "")) == value_of(b, ("", ""))
        assert same == isomorphic(plain(a), plain(b)), (a, b)


def test_the_root_is_forgotten() -> None:
    chain, fork = Diagram((-1, 0, 1)), Diagram((-1, 0, 0))
    assert chain != fork
    assert value_of(chain) == value_of(fork) == Value((1, 2, -1))


def test_an_observable_remembers_its_root() -> None:
    chain, fork = Diagram((-1, 0, 1)), Diagram((-1, 0, 0))
    assert value_of(chain, ["s"]) != value_of(fork, ["s"])
    assert value_of(chain, ["s"]) != value_of(chain, ["u"]) != value_of(chain)


def test_open_indices_of_two_observables_are_told_apart() -> None:
    """E[δθ^μ δθ^ν] at orders 1 and 2: the first index belongs to the first observable."""
    lopsided = Diagram((-1, 0, 1, -1, 3))
    mirrored = Diagram((-1, 0, -1, 2, 3))
    assert value_of(lopsided, ("@0", "@1")) != value_of(mirrored, ("@0", "@1"))
    assert value_of(lopsided, ("@1", "@0")) == value_of(mirrored, ("@0", "@1"))
    value = value_of(lopsided, ("@0", "@1"))
    assert [value.marks[node] for node in value.open_indices] == ["@0", "@1"]


@st.composite
def raw_values(draw, most: int = 7) -> tuple[list[int], list[int], list[str]]:
    size = draw(st.integers(1, most))
    parents = [-1] + [draw(st.integers(-1, node - 1)) for node in range(1, size)]
    labels = [draw(st.integers(0, size)) for _ in range(size)]
    marks = [draw(st.sampled_from(["", "", "s"])) if labels.count(labels[node]) == 1 else "" for node in range(size)]
    return parents, labels, marks


def rerooted(parents: Sequence[int], root: int) -> list[int]:
    """The same unrooted tree, hanging from another node."""
    turned = list(parents)
    node, above = root, -1
    while node >= 0:
        turned[node], node, above = above, parents[node], node
    return turned


@given(raw_values(), st.data())
@settings(max_examples=200)
def test_relabelling_and_rerooting(raw, data: st.DataObject) -> None:
    parents, labels, marks = raw
    turned = rerooted(parents, data.draw(st.integers(0, len(parents) - 1)))
    where = data.draw(st.permutations(range(len(parents))))
    moved, parts, names = [0] * len(parents), [""] * len(parents), [""] * len(parents)
    for node, parent in enumerate(turned):
        moved[where[node]] = where[parent] if parent >= 0 else -1
        parts[where[node]] = f"part {labels[node]}"
        names[where[node]] = marks[node]
    original, other = Value(parents, labels, marks), Value(moved, parts, names)
    assert original == other
    assert hash(original) == hash(other)
    assert repr(original) == repr(other)
    assert str(original) == str(other)


@given(raw_values(most=5), raw_values(most=5))
@settings(max_examples=300)
def test_equal_exactly_when_isomorphic(left, right) -> None:
    assert (Value(*left) == Value(*right)) == isomorphic(network(*left), network(*right))


@given(raw_values(most=6), st.data())
@settings(max_examples=200)
def test_near_misses_are_told_apart(raw, data: st.DataObject) -> None:
    parents, labels, _ = raw
    node = data.draw(st.integers(0, len(parents) - 1))
    changed_labels, changed_parents = [*labels], [*parents]
    changed_labels[node] = data.draw(st.sampled_from([*labels, -1]))
    if node:
        changed_parents[node] = data.draw(st.integers(-1, node - 1))
    plain_marks = [""] * len(parents)
    same = isomorphic(network(parents, labels, plain_marks), network(changed_parents, changed_labels, plain_marks))
    assert (Value(parents, labels) == Value(changed_parents, changed_labels)) == same


@given(raw_values())
def test_accessors(raw) -> None:
    parents, labels, marks = raw
    value = Value(parents, labels, marks)
    assert value.order == len(value.edges) == sum(parent >= 0 for parent in parents)
    assert sum(value.degrees) == 2 * value.order
    assert sorted(value.marks) == sorted(marks)
    assert sorted(map(len, value.blocks)) == sorted(labels.count(label) for label in set(labels))
    assert Value(value.parents, value.parts, value.marks) == value


def test_hashes_are_distinct() -> None:
    values = {value_of(diagram) for order in range(6) for diagram in ts.diagrams_of_order(order)}
    assert len({hash(value) for value in values}) == len(values)


def test_moments_are_not_cumulants() -> None:
    tied, single = ((-1, 0, 0), (0, 1, 1)), ((-1, 0, 0), (0, 1, 2))
    assert Value(*tied, moments=True) != Value(*tied)
    assert Value(*tied, moments=True).moments
    assert Value(*single, moments=True) == Value(*single), "of a single node, moment and cumulant agree"
    assert not Value(*single, moments=True).moments


def test_a_value_is_frozen_and_a_good_key() -> None:
    value = Value((-1, 0, 0, 0), (0, 1, 1, 2), ("s", "", "", ""), moments=True)
    for name in ("parents", "parts", "marks", "moments", "colour"):
        with pytest.raises(AttributeError, match=f"cannot assign to field '{name}'"):
            setattr(value, name, None)
    assert pickle.loads(pickle.dumps(value)) == value
    assert hash(pickle.loads(pickle.dumps(value))) == hash(value)
    assert Value.from_data(value.to_data()) == value
    assert repr(value) == f"<Value {value}>"
    assert value != "S·J"


def test_sorting_goes_by_order_then_from_few_ties_to_many() -> None:
    values = sorted({value_of(d) for order in range(4) for d in ts.diagrams_of_order(order)}, key=str)
    ranks = [(value.order, -len(value.blocks)) for value in sorted(values)]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((-1, 0), (0, 0), ("s", "")), "node 0 carries 's' and can't be tied"),
        (((-1, 0, 0), None, ("@0", "", "")), "the open index '@0' needs exactly one edge, not 2"),
        (((-1,), None, ("@0",)), "the open index '@0' needs exactly one edge, not 0"),
    ],
)
def test_what_is_no_value(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Value(*arguments)
