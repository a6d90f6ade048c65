"""Counting diagrams without generating any: the independent check of the generator.

A diagram is an orbit of pairs (forest of subtrees, set partition) on d nodes under relabelling. By
Burnside's lemma the number of orbits is a sum over cycle types λ of d,

    Σ_λ  fix_forest(λ) · fix_partition(λ) / z_λ,

where fix(λ) counts what a permutation of cycle type λ leaves fixed, and z_λ = Π_i i^{m_i} m_i!. Both come
from cycle index series (Bergeron, Labelle and Leroux 1998, sections 1.4 and 3.1): rooted trees solve
A = X · exp(Σ_k p_k∘A / k), partitions are exp(Σ_k (p_k∘U)/k) with U = exp(Σ_j p_j/j) − 1.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from functools import cache
from math import factorial

from taylorsgd.arguments import MOST_ORDER, whole_number

__all__ = ["count_diagrams"]

CycleIndex = dict[tuple[int, ...], Fraction]
"""A cycle index series: a coefficient for every cycle type (a sorted tuple of cycle lengths)."""


def count_diagrams(order: int) -> int:
    """Count the diagrams with `order` edges whose root is alone, independently of generation.

    Args:
        order: the number of edges d ≥ 0.

    Returns:
        1, 1, 4, 17, 101, 700, 5861, … for d = 0, 1, 2, …

    Raises:
        ValueError: if `order` is not a non-negative integer, or above 20.

    Example:
        >>> [count_diagrams(d) for d in range(8)]
        [1, 1, 4, 17, 101, 700, 5861, 55818]
    """
    why, says = "has too many diagrams to count in minutes", "is not an order; it must be"
    order = whole_number(order, "order", 0, MOST_ORDER, why=why, says=says)
    forests = _sets_of(_rooted_trees(order), order)
    partitions = _sets_of(_nonempty_sets(order), order)
    total = Fraction(0)
    for cycles, coefficient in forests.items():
        if sum(cycles) == order:
            total += coefficient * partitions.get(cycles, Fraction(0)) * _z(cycles)
    return int(total)


def _z(cycles: tuple[int, ...]) -> int:
    product = 1
    for length, number in Counter(cycles).items():
        product *= length**number * factorial(number)
    return product


def _multiply(a: CycleIndex, b: CycleIndex, order: int) -> CycleIndex:
    result: CycleIndex = {}
    for left, x in a.items():
        for right, y in b.items():
            if sum(left) + sum(right) <= order:
                cycles = tuple(sorted(left + right))
                result[cycles] = result.get(cycles, Fraction(0)) + x * y
    return result


def _sets_of(species: CycleIndex, order: int) -> CycleIndex:
    """The series of sets of disjoint structures: exp(Σ_k (p_k∘species)/k), to the given order."""
    exponent: CycleIndex = {}
    for k in range(1, order + 1):
        for cycles, coefficient in species.items():
            if k * sum(cycles) <= order:
                scaled = tuple(k * length for length in cycles)
                exponent[scaled] = exponent.get(scaled, Fraction(0)) + coefficient / k
    result: CycleIndex = {(): Fraction(1)}
    power: CycleIndex = {(): Fraction(1)}
    for n in range(1, order + 1):
        power = {cycles: c / n for cycles, c in _multiply(power, exponent, order).items()}
        for cycles, coefficient in power.items():
            result[cycles] = result.get(cycles, Fraction(0)) + coefficient
    return result


@cache
def _rooted_trees(order: int) -> CycleIndex:
    """The series of rooted trees with up to `order` nodes: A = X · Sets(A)."""
    if order == 0:
        return {}
    below = _sets_of(_rooted_trees(order - 1), order - 1)
    return {tuple(sorted((1, *cycles))): coefficient for cycles, coefficient in below.items()}


def _nonempty_sets(order: int) -> CycleIndex:
    sets = _sets_of({(1,): Fraction(1)}, order)
    return {cycles: coefficient for cycles, coefficient in sets.items() if cycles}
