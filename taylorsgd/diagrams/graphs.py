"""Diagrams and values as networkx graphs, and back: labelled graphs that networkx draws, matches and searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx

__all__ = ["forest_of", "network_graph", "rooted_graph"]


def rooted_graph(parents: Sequence[int], parts: Sequence[int]) -> nx.DiGraph:
    """Draw a forest as a graph; see `Diagram.to_networkx`."""
    graph = nx.DiGraph()
    depth: list[int] = []
    for node, (parent, part) in enumerate(zip(parents, parts, strict=True)):  # parents have the smaller numbers
        depth.append(depth[parent] + 1 if parent >= 0 else 0)
        root = None if parent >= 0 else parents[:node].count(-1)
        graph.add_node(node, part=part, root=root, layer=-depth[node])
    graph.add_edges_from((node, parent) for node, parent in enumerate(parents) if parent >= 0)
    return graph


def forest_of(graph: Any) -> tuple[list[int], list[Any]]:
    """Read the parent and the part of every node from a graph; see `Diagram.from_networkx`."""
    if not isinstance(graph, nx.DiGraph) or graph.is_multigraph():
        raise TypeError(f"graph={graph!r} is no networkx.DiGraph, with edges from each node to its parent")
    for node, number in graph.out_degree():
        if number > 1:
            raise ValueError(f"node {node!r} has {number} parents; the edges of a diagram lead to its roots")
    roots = dict(graph.nodes(data="root"))
    nodes = sorted(graph, key=lambda node: (roots[node] is None, roots[node] or 0))
    place = {node: i for i, node in enumerate(nodes)}
    parents = [place[next(graph.successors(node))] if graph.out_degree(node) else -1 for node in nodes]
    labels = [("part", graph.nodes[node]["part"]) if "part" in graph.nodes[node] else ("alone", node) for node in nodes]
    return parents, labels


def network_graph(
    edges: Sequence[tuple[int, int]], parts: Sequence[int], marks: Sequence[str], moments: bool
) -> nx.Graph:
    """Draw a tensor network as a graph; see `Value.to_networkx`."""
    graph = nx.Graph(moments=moments)
    for node, (part, mark) in enumerate(zip(parts, marks, strict=True)):
        graph.add_node(node, part=part, mark=mark)
    graph.add_edges_from(edges)
    return graph
