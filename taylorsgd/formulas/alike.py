r"""Which of several equal sums over times stands for all: automorphisms exchange instant edges and dressings.

An automorphism of a diagram takes its edges to others, and with them which are instant and what power of R each
carries. Values that differ in nothing else are equal; the least of them is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from taylorsgd.diagrams import Diagram
from taylorsgd.diagrams.symmetry import symmetries
from taylorsgd.timesums.cells import CellSum
from taylorsgd.timesums.events import ROOT, TimeSum
from taylorsgd.timesums.two_clocks import TwoClocks
from taylorsgd.timesums.two_moments import TwoMoments

__all__ = ["least_alike"]


@cache
def least_alike(diagram: Diagram, times: Any, powers: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """The least of the sums over times, with the powers of R on their edges, that automorphisms make of one.

    Args:
        diagram: the diagram.
        times: the sum over times; its edges are those of the diagram's inner nodes.
        powers: the power of R on every edge.

    Example:
        A fork, one of whose edges is dressed once more than the other:

        >>> from taylorsgd.diagrams import Diagram
        >>> fork, sums = Diagram((-1, 0, 0)), TimeSum(2, ((0, ROOT), (1, ROOT)))
        >>> least_alike(fork, sums, (2, 1)) == least_alike(fork, sums, (1, 2))
        True
    """
    if diagram.automorphisms == 1:
        return times, powers
    inner, found = diagram.inner_nodes, []
    place = {node: e for e, node in enumerate(inner)}
    for image in symmetries(diagram.parents, diagram.parts):
        label = [place[image[node]] for node in inner]
        moved = [powers[label.index(e)] for e in range(len(inner))]
        found.append((_relabelled(times, label, {node: image[node] for node in inner}), tuple(moved)))
    return min(found, key=lambda pair: (repr(pair[0]), pair[1]))


def _relabelled(times: Any, label: Sequence[int], image: dict[int, int]) -> Any:
    """The same sum with its edges labelled anew."""
    if isinstance(times, CellSum):
        return replace(times, instant=frozenset(image[node] for node in times.instant))
    if isinstance(times, TwoMoments):
        early = tuple(sorted(label[e] for e in times.early))
        return replace(times, times=_relabelled(times.times, label, image), early=early)
    back = [list(label).index(e) for e in range(len(label))]
    if isinstance(times, TimeSum):
        edges = [times.edges[e] for e in back]
        number = {ROOT: ROOT} | {event: i for i, event in enumerate(dict.fromkeys(source for source, _ in edges))}
        return TimeSum(times.events, tuple((number[source], number[target]) for source, target in edges))
    assert isinstance(times, TwoClocks)
    ends = tuple(ROOT if times.targets[v] == ROOT else label[times.targets[v]] for v in back)
    moved = {name: [labels[v] for v in back] for name, labels in times.labels.items()}
    return replace(
        times, targets=ends, **{name: tuple(labels.index(one) for one in labels) for name, labels in moved.items()}
    )
