"""Checks of what a drawing is given: nodes that exist, edges that are pairs, ties that are disjoint."""

import operator
from collections.abc import Sequence

__all__ = ["checked_edges", "checked_node", "checked_ties"]


def checked_node(name: str, node: int, count: int) -> int:
    """Return a node's index.

    Args:
        name: the argument that it comes from.
        node: the index.
        count: how many nodes there are.

    Returns:
        `node`, as a plain `int`.

    Raises:
        ValueError: unless it is one of 0 to count − 1.

    Example:
        >>> checked_node("roots", 3, 2)
        Traceback (most recent call last):
        ValueError: roots: there is no node 3, only 0 to 1
    """
    try:
        index = operator.index(node)
    except TypeError:
        index = -1
    if not 0 <= index < count:
        raise ValueError(f"{name}: there is no node {node!r}, only 0 to {count - 1}")
    return index


def checked_edges(edges: Sequence[Sequence[int]], count: int) -> tuple[tuple[int, int], ...]:
    """Return edges as pairs of nodes.

    Args:
        edges: pairs of node indices.
        count: how many nodes there are.

    Returns:
        The pairs as tuples.

    Raises:
        ValueError: if an edge is no pair, joins a node to itself or names a node that does not exist.

    Example:
        >>> checked_edges([[1, 0]], 2)
        ((1, 0),)
    """
    out = []
    for edge in edges:
        if len(edge) != 2 or edge[0] == edge[1]:
            raise ValueError(f"edges: {tuple(edge)} is not a pair of two different nodes")
        out.append((checked_node("edges", edge[0], count), checked_node("edges", edge[1], count)))
    return tuple(out)


def checked_ties(ties: Sequence[Sequence[int]], count: int) -> tuple[tuple[int, ...], ...]:
    """Return ties as disjoint groups of nodes.

    Args:
        ties: groups of node indices.
        count: how many nodes there are.

    Returns:
        The groups as tuples.

    Raises:
        ValueError: if a tie has fewer than two nodes, names a node twice or one that does not exist, or
            meets another tie.

    Example:
        >>> checked_ties([(0, 1), (1, 2)], 3)
        Traceback (most recent call last):
        ValueError: ties: node 1 is in (0, 1) and in (1, 2); a node is in one tie at most
    """
    home: dict[int, tuple[int, ...]] = {}
    for group in map(tuple, ties):
        if len(set(group)) < 2 or len(set(group)) < len(group):
            raise ValueError(f"ties: {group} is not a group of at least two different nodes")
        for v in group:
            if checked_node("ties", v, count) in home:
                raise ValueError(f"ties: node {v} is in {home[v]} and in {group}; a node is in one tie at most")
            home[v] = group
    return tuple(tuple(map(operator.index, group)) for group in ties)
