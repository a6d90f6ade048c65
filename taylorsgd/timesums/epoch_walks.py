r"""Sums over several epochs with matrices on the edges: the exact arithmetic of `timesums.two_clocks`.

All that an edge carries is a power of one matrix K, so the product of a sum over batches and a sum over epochs is one
matrix product for every edge: K^{passed} · (a stretch of the circle) · X^{late} · (epochs), with X = K^n.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sympy import Integer, oo

from taylorsgd.timesums.two_clocks import Circle, TwoClocks
from taylorsgd.timesums.walking import Tensors, along, walk

__all__ = ["epoch_tensor"]


def epoch_tensor(times: TwoClocks, damped: Any, one: Any, domain: Any = None) -> Any:
    """The sum over the times of several epochs.

    Args:
        times: the sum; its sizes are integers, or epochs are `sympy.oo`.
        damped: K, a P × P array of exact numbers.
        one: 1 among them.
        domain: the field of the entries, for the limit.

    Returns:
        An array with the axes (start_1, end_1, start_2, end_2, …) of the edges that take time, all of length P.

    Raises:
        ValueError: if a size is no integer.
    """
    import numpy as np

    _, times = times.moving
    n, count = (replace(times, epochs=Integer(0)) if times.epochs is oo else times).whole_sizes
    size = len(damped)
    identity = np.array([[one * int(i == j) for j in range(size)] for i in range(size)], dtype=object)
    epoch = identity
    for _ in range(n):
        epoch = epoch @ damped
    total = np.full((size,) * (2 * len(times.targets)), one - one, dtype=object)
    for piece in times.pieces:
        if any(len(circle.passing) - 1 > n for circle in piece.circles):
            continue  # more batches than there are
        batches = _around(piece.circles[0], n, damped, identity, one)
        for circle in piece.circles[1:]:
            batches = _joined(batches, _around(circle, n, damped, identity, one))
        if times.epochs is oo:
            sums = Tensors(piece.epochs, [epoch], [identity], identity, identity, one).limit(domain)
        else:
            sums = walk(Tensors(piece.epochs, [epoch] * count, [identity] * count, identity, identity, one), count)
        moving = [e for e, (source, target) in enumerate(piece.epochs.edges) if source != target]
        if sums.ndim != 2 * len(moving):
            continue  # more epochs than there are
        for e in piece.late:
            batches = along(batches, 2 * e + 1, epoch)
        edges = range(len(times.targets))
        labels = [label for e in edges for label in (2 * e, 2 * e + 1)]
        ends = {2 * e + 1: 2 * len(edges) + e for e in moving}
        inner = [label for e in moving for label in (2 * e + 1, ends[2 * e + 1])]
        total = total + np.einsum(batches, labels, sums, inner, [ends.get(label, label) for label in labels])
    return total


def _joined(first: Any, second: Any) -> Any:
    """The product along every edge."""
    import numpy as np

    edges = range(first.ndim // 2)
    middle = first.ndim + 1
    labels = [label for e in edges for label in (2 * e, middle + e)]
    others = [label for e in edges for label in (middle + e, 2 * e + 1)]
    return np.einsum(first, labels, second, others, [*range(first.ndim)])


def _around(circle: Circle, n: int, damped: Any, identity: Any, one: Any) -> Any:
    """K^{passed}, and the sum over the lengths of the stretches, which add up to n − k."""
    import numpy as np

    start = np.array(one, dtype=object)
    for e, count in enumerate(circle.passed):
        start = np.multiply.outer(start, identity)
        for _ in range(count):
            start = along(start, 2 * e + 1, damped)
    free = n - (len(circle.passing) - 1)
    sums: list[Any] = [start, *[start * 0] * free]
    for edges in circle.passing:
        for length in range(1, free + 1):
            moved = sums[length - 1]
            for e in edges:
                moved = along(moved, 2 * e + 1, damped)
            sums[length] = sums[length] + moved
    return sums[free]
