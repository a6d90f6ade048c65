"""Cumulants and moments of the parts of a value, related by sums over set partitions.

    κ(p) = Σ_{π partition of p} (−1)^{|π|−1} (|π|−1)! Π_{b in π} m(b),        m(p) = Σ_π Π_{b in π} κ(b).

(Rota 1964; Tenka, sections A.4 and B.4.)
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import factorial, prod

from taylorsgd.diagrams import Value
from taylorsgd.diagrams.partitions import set_partitions

__all__ = ["in_cumulants", "in_moments"]


def in_moments(value: Value) -> Iterator[tuple[int, Value]]:
    """Write a value in cumulants as integer multiples of values in moments."""
    yield from _refinements(value, lambda blocks: (-1) ** (blocks - 1) * factorial(blocks - 1), moments=True)


def in_cumulants(value: Value) -> Iterator[tuple[int, Value]]:
    """Write a value in moments as integer multiples of values in cumulants."""
    yield from _refinements(value, lambda blocks: 1, moments=False)


def _refinements(value: Value, weight, moments: bool) -> Iterator[tuple[int, Value]]:
    for choice in product(*(list(set_partitions(block)) for block in value.blocks)):
        parts = [0] * len(value.parents)
        for label, block in enumerate(block for partition in choice for block in partition):
            for node in block:
                parts[node] = label
        factor = prod(weight(len(partition)) for partition in choice)
        yield factor, Value(value.parents, parts, value.marks, moments=moments)
