r"""Diagrams and values as networkx graphs: there and back, and networkx as an independent oracle.

References: VF2 (Cordella et al. 2004) counts isomorphisms; Varol and Rotem 1981 list topological sorts; Wright,
Richmond, Odlyzko and McKay 1986 list free trees. None of it shares code or ideas with the package.

Identities:
    (1) from_networkx(to_networkx(D)) = D, under any names of the nodes, the parts and any order of either
    (2) |Aut D| is the number of isomorphisms of D's graph onto itself
    (3) D = D' and value(D) = value(D') exactly when the graphs are isomorphic
    (4) the last surjection number of a poset, s_n, is its number of topological sorts
    (5) noiseless values of order d are the free trees with d edges
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networkx.algorithms.isomorphism import DiGraphMatcher, categorical_node_match

import taylorsgd as ts
from taylorsgd.diagrams import Diagram, Value, forests_of_order, value_of
from taylorsgd.diagrams.generation import rooted_trees
from taylorsgd.timesums.orders import surjections

SAME_KIND = categorical_node_match("kind", None)


def with_parts(graph: Any, kind: str) -> nx.DiGraph:
    """The graph with a further node for every part, to which its members point; `kind` tells nodes apart."""
    plain = nx.DiGraph(graph.edges)
    for node, data in graph.nodes(data=True):
        plain.add_node(node, kind=("node", data[kind]))
        plain.add_node(("part", data["part"]), kind="part")
        plain.add_edge(node, ("part", data["part"]))
    return plain


def diagram_graph(diagram: Diagram) -> nx.DiGraph:
    return with_parts(diagram.to_networkx(), "root")


def value_graph(value: Value) -> nx.DiGraph:
    graph = value.to_networkx()
    assert graph.graph == {"moments": value.moments}
    return with_parts(nx.to_directed(graph), "mark")


def isomorphic(a: nx.DiGraph, b: nx.DiGraph) -> bool:
    return nx.is_isomorphic(a, b, SAME_KIND)


@pytest.mark.parametrize(("ties", "orders"), [((False,), 5), ((True,), 4), ((False, False), 3), ((True, True), 3)])
def test_automorphisms_are_what_networkx_counts(ties: tuple[bool, ...], orders: int) -> None:
    for order in range(orders + 1):
        for diagram in forests_of_order(order, ties):
            graph = diagram_graph(diagram)
            count = sum(1 for _ in DiGraphMatcher(graph, graph, SAME_KIND).isomorphisms_iter())
            assert diagram.automorphisms == count, diagram


@pytest.mark.parametrize("ties", [(False,), (True, False)])
@pytest.mark.parametrize("order", range(4))
def test_equal_exactly_when_networkx_finds_them_isomorphic(order: int, ties: tuple[bool, ...]) -> None:
    diagrams = list(forests_of_order(order, ties))[:40]
    pairs = [(diagram, diagram_graph(diagram), value_of(diagram, ["" for _ in ties])) for diagram in diagrams]
    for (a, graph, value), (b, other, another) in combinations_with_replacement(pairs, 2):
        assert (a == b) == isomorphic(graph, other), (a, b)
        assert (value == another) == isomorphic(value_graph(value), value_graph(another)), (a, b)


@pytest.mark.parametrize("ties", [(False,), (True,), (True, False)])
@pytest.mark.parametrize("order", range(4))
def test_there_and_back(order: int, ties: tuple[bool, ...]) -> None:
    for diagram in forests_of_order(order, ties):
        assert Diagram.from_networkx(diagram.to_networkx()) == diagram


@st.composite
def forests(draw: st.DrawFn, most: int = 9) -> tuple[list[int], list[int]]:
    """Parents of a random forest of one or two trees, and a label for every node's part."""
    size = draw(st.integers(2, most))
    parents = [-1, draw(st.sampled_from([-1, 0]))] + [draw(st.integers(0, node - 1)) for node in range(2, size)]
    return parents, [draw(st.integers(0, size)) for _ in range(size)]


@given(forests(), st.data())
@settings(max_examples=150)
def test_relabelling_changes_nothing(forest: tuple[list[int], list[int]], data: st.DataObject) -> None:
    diagram = Diagram(*forest)
    names = data.draw(st.permutations([f"node {i}" for i in range(len(forest[0]))]))
    graph: Any = nx.relabel_nodes(diagram.to_networkx(), dict(enumerate(names)))
    shuffled = nx.DiGraph()
    shuffled.add_nodes_from(data.draw(st.permutations(list(graph.nodes(data=True)))))
    shuffled.add_edges_from(data.draw(st.permutations(list(graph.edges))))
    for name in shuffled:
        shuffled.nodes[name]["part"] = f"part {-shuffled.nodes[name]['part']}"
    again = Diagram.from_networkx(shuffled)
    assert again == diagram
    assert hash(again) == hash(diagram)
    assert isomorphic(diagram_graph(again), diagram_graph(diagram))


@given(forests(6), forests(6))
@settings(max_examples=200)
def test_random_pairs(left: tuple[list[int], list[int]], right: tuple[list[int], list[int]]) -> None:
    a, b = Diagram(*left), Diagram(*right)
    assert (a == b) == isomorphic(diagram_graph(a), diagram_graph(b))
    x, y = Value(*left), Value(*right)
    assert (x == y) == isomorphic(value_graph(x), value_graph(y))


def test_marks_are_kept() -> None:
    force = Value((-1, 0, 1), marks=("@0", "", "")).to_networkx()
    assert sorted(mark for _, mark in force.nodes(data="mark")) == ["", "", "@0"]
    s, u = (Value((-1, 0, 0), marks=(name, "", "")) for name in "su")
    assert not isomorphic(value_graph(s), value_graph(u))
    assert Value((-1, 0), (0, 0), moments=True).to_networkx().graph["moments"]


@pytest.mark.parametrize("edges", range(8))
def test_linear_extensions_of_trees(edges: int) -> None:
    for parents in rooted_trees(edges):
        graph = Diagram(parents).to_networkx()
        below = tuple(sum(1 << child for child in graph.predecessors(node)) for node in sorted(graph))
        counts = surjections(below)
        assert counts is not None
        assert counts[-1] == sum(1 for _ in nx.all_topological_sorts(graph))


@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.integers(0, 2**n - 1), min_size=n, max_size=n)))
@settings(max_examples=150)
def test_linear_extensions_of_relations(masks: list[int]) -> None:
    """Any relations at all; where they have a circle there is no way to sort them."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(masks)))
    graph.add_edges_from((i, j) for j, mask in enumerate(masks) for i in range(len(masks)) if mask >> i & 1)
    counts = surjections(tuple(masks))
    assert (counts is not None) == nx.is_directed_acyclic_graph(graph)
    if counts is not None:
        assert counts[-1] == sum(1 for _ in nx.all_topological_sorts(graph))


@pytest.mark.parametrize("order", range(1, 10))
def test_noiseless_values_are_free_trees(order: int) -> None:
    values = {value_of(Diagram(parents)) for parents in rooted_trees(order)}
    assert len(values) == nx.number_of_nonisomorphic_trees(order + 1)


@pytest.mark.parametrize("order", range(1, 5))
def test_noiseless_terms_are_free_trees(order: int) -> None:
    """The same of what `derive` and `assume` leave: gradient descent without noise."""
    formula = ts.derive(ts.TestLoss(), ts.ODE(), order)
    assert len(formula[order].terms) == nx.number_of_nonisomorphic_trees(order + 1)


def test_networkx_draws_the_root_rightmost() -> None:
    graph = Diagram((-1, 0, 1, 1, 0), (0, 1, 2, 2, 3)).to_networkx()
    where = nx.multipartite_layout(graph, "layer")
    assert all(where[parent][0] > where[node][0] for node, parent in graph.edges)
    figure = pytest.importorskip("matplotlib.figure").Figure()
    nx.draw(graph, where, ax=figure.subplots(), labels=dict(graph.nodes(data="part")))


@pytest.mark.parametrize(
    ("graph", "error", "message"),
    [
        (nx.path_graph(3), TypeError, "is no networkx.DiGraph"),
        (nx.MultiDiGraph([(1, 0)]), TypeError, "is no networkx.DiGraph"),
        ([(1, 0)], TypeError, "is no networkx.DiGraph"),
        (nx.DiGraph([(0, 1), (0, 2)]), ValueError, "node 0 has 2 parents"),
        (nx.DiGraph([(0, 1), (1, 0)]), ValueError, "has no root"),
        (nx.DiGraph([(0, 1), (1, 0), (2, 3)]), ValueError, "has a cycle"),
        (nx.DiGraph([(0, 0), (1, 2)]), ValueError, "has a cycle"),
        (nx.DiGraph(), ValueError, "has no root"),
    ],
)
def test_what_is_no_forest(graph: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Diagram.from_networkx(graph)
