"""Set partitions: which nodes share a part, which parts share a row, which rows share a cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["set_partitions"]


def set_partitions(items: Sequence[int]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Yield the set partitions of some distinct items.

    Example:
        >>> list(set_partitions([1, 2]))
        [((1, 2),), ((1,), (2,))]
    """
    if not items:
        yield ()
        return
    first, *rest = items
    for partition in set_partitions(rest):
        for position, block in enumerate(partition):
            yield (*partition[:position], (first, *block), *partition[position + 1 :])
        yield ((first,), *partition)
