"""Which lists of parents are forests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taylorsgd.arguments import as_whole, listed, pairs_of

__all__ = ["checked_forest", "checked_labels", "few_nodes"]

MOST_NODES = 32
"""The most nodes of a diagram that is read from data: far more than one has whose order can be derived."""


def checked_forest(parents: Sequence[int]) -> tuple[int, ...]:
    """The parents of the nodes of a forest: every node has a parent or is a root, and none is above itself.

    Raises:
        TypeError: if they are no sequence, or a parent is no integer.
        ValueError: naming the node.

    Example:
        >>> checked_forest((0, 0))
        Traceback (most recent call last):
        ValueError: parents=(0, 0) has no root; mark each root with -1
    """
    parents = tuple(listed(parents, "parents", "(-1, 0)", empty=True))
    for node, parent in enumerate(map(as_whole, parents)):
        if parent is None:
            raise TypeError(f"parents={parents!r}: node {node} has parent {parents[node]!r}, which is no integer")
        if not -1 <= parent < len(parents):
            raise ValueError(f"parents={parents!r}: node {node} has parent {parent}, which is not a node")
    parents = tuple(map(int, parents))
    if -1 not in parents:
        raise ValueError(f"parents={parents!r} has no root; mark each root with -1")
    for node in range(len(parents)):
        above, steps = node, 0
        while parents[above] >= 0:
            above, steps = parents[above], steps + 1
            if steps > len(parents):
                raise ValueError(f"parents={parents!r} has a cycle through node {node}; a diagram is a forest")
    return parents


def checked_labels(labels: Any, name: str, nodes: int) -> list[Any]:
    """One label for each node of a forest, as a list.

    Args:
        labels: what was given.
        name: the argument's name, for errors.
        nodes: the number of nodes.

    Raises:
        TypeError: if they are no sequence, or one can't be compared with others.
        ValueError: if there are not as many as nodes.
    """
    found = list(labels) if isinstance(labels, str) else listed(labels, name, empty=True)
    if len(found) != nodes:
        raise ValueError(
            f"{name}={labels!r} labels {len(found)} nodes but parents has {nodes}; give one label per node"
        )
    for label in found:
        try:
            hash(label)
        except TypeError as error:
            raise TypeError(f"{name}={labels!r}: {label!r} is no label; give numbers or texts") from error
    return found


def few_nodes(data: Any) -> Mapping[str, Any]:
    """A diagram as it was written to data, which must not be larger than any that can be derived.

    Raises:
        TypeError: if it is no mapping.
        ValueError: if something is missing, or naming the number of nodes.
    """
    pairs_of(data, "data")
    missing = [name for name in ("parents", "parts") if name not in data]
    if missing:
        raise ValueError(f"data={data!r} lacks {' and '.join(missing)}")
    nodes = len(listed(data["parents"], "parents"))
    if nodes > MOST_NODES:
        raise ValueError(f"a diagram of {nodes} nodes is larger than any that can be derived")
    return data
