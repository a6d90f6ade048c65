"""Sums over time chain by chain, by the recurrence of h: exact for exact input, which others are held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod
from typing import Any

from taylorsgd.timesums.closed_forms import chains_of
from taylorsgd.timesums.events import TimeSum


def exact_time_sum(times: TimeSum, decays: Sequence[Any], T: int) -> Any:
    """The discrete sum for given factors k_e = 1 − ηλ_e and an integer T, in their own arithmetic.

    Args:
        times: the sum.
        decays: k_e for every edge: integers, Fractions, SymPy expressions, …
        T: the number of updates.

    Example:
        The tied fork of C·H: (1 − (k_0 k_1)^T)/(1 − k_0 k_1).

        >>> from taylorsgd.timesums.events import ROOT, TimeSum
        >>> fork = TimeSum(1, ((0, ROOT), (0, ROOT)))
        >>> [exact_time_sum(fork, [0.5, 0.5], T) for T in (1, 2, 3)]
        [1, 1.25, 1.3125]
    """
    total: Any = 1
    for _, labels, own in times.branches:
        branch: Any = 0
        for chain in chains_of(own, continuous=False):
            nodes = [1, *(prod(decays[labels[e]] for e in interval) for interval in chain)]
            spans = Counter(e for interval in chain for e in interval)
            factor = prod(decays[labels[e]] ** (span - 1) for e, span in spans.items() if span > 1)
            branch = branch + factor * homogeneous(nodes, T - len(chain))
        total = total * branch
    return total


def homogeneous(nodes: Sequence[Any], degree: int) -> Any:
    """The complete homogeneous symmetric polynomial h_degree of the nodes; 0 for a negative degree.

    Example:
        >>> homogeneous([1, 2], 3)      # 1 + 2 + 4 + 8
        15
    """
    if degree < 0:
        return 0
    row: list[Any] = [1] + [0] * degree
    for node in nodes:
        for n in range(1, degree + 1):
            row[n] = row[n] + node * row[n - 1]
    return row[degree]
