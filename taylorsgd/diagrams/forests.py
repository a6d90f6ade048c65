"""Which lists of parents are forests."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

__all__ = ["check_forest", "few_nodes"]

MOST_NODES = 32
"""The most nodes of a diagram that is read from data; of order 12 there are 190 million."""


def check_forest(parents: Sequence[int]) -> None:
    """Raise unless every node has a parent or is a root, and none is above itself.

    Raises:
        TypeError: if a parent is no integer.
        ValueError: naming the node.

    Example:
        >>> check_forest((0, 0))
        Traceback (most recent call last):
        ValueError: parents=(0, 0) has no root; mark each root with -1
    """
    parents = tuple(parents)
    for node, parent in enumerate(parents):
        if isinstance(parent, bool) or not isinstance(parent, Integral):
            raise TypeError(f"parents={parents!r}: node {node} has parent {parent!r}, which is no integer")
        if not -1 <= parent < len(parents):
            raise ValueError(f"parents={parents!r}: node {node} has parent {parent}, which is not a node")
    if -1 not in parents:
        raise ValueError(f"parents={parents!r} has no root; mark each root with -1")
    for node in range(len(parents)):
        above, steps = node, 0
        while parents[above] >= 0:
            above, steps = parents[above], steps + 1
            if steps > len(parents):
                raise ValueError(f"parents={parents!r} has a cycle through node {node}; a diagram is a forest")


def few_nodes(parents: Sequence[int]) -> None:
    """Raise if a diagram that is read from data is larger than any that can be derived.

    Raises:
        ValueError: with the number of nodes.
    """
    if len(parents) > MOST_NODES:
        raise ValueError(f"a diagram of {len(parents)} nodes is larger than any that can be derived")
