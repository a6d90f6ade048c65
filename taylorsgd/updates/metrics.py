"""Matrix learning rates ηΛ: edges carry Λ beside η, which raises indices, and no count changes."""

from __future__ import annotations

from typing import Any

from sympy import ImmutableMatrix

from taylorsgd.arguments import listed
from taylorsgd.exact_numbers import exact_argument

__all__ = ["checked_metric", "exact_metric", "one_metric"]


def checked_metric(metric: Any) -> Any:
    """A metric as exact numbers, or the function of pytrees that it is given as."""
    return metric if callable(metric) else exact_metric(metric)


def exact_metric(metric: Any, dimension: int | None = None) -> ImmutableMatrix:
    """A matrix learning rate Λ as exact numbers.

    Args:
        metric: a matrix, or nested lists.
        dimension: P; None for any.

    Raises:
        TypeError: if it is no matrix of exact numbers.
        ValueError: if it is not P × P and symmetric.

    Example:
        >>> exact_metric([[2, 1], [1, 3]], 2)
        Matrix([
        [2, 1],
        [1, 3]])
    """
    try:
        rows = [
            [exact_argument(entry, f"metric[{i}][{j}]", floats=False) for j, entry in enumerate(listed(row, "metric"))]
            for i, row in enumerate(listed(metric.tolist() if hasattr(metric, "tolist") else metric, "metric"))
        ]
    except TypeError as error:
        raise TypeError(f"metric={metric!r} is no matrix of numbers; give a P x P one: {error}") from error
    wanted = len(rows) if dimension is None else dimension
    if [len(row) for row in rows] != [wanted] * wanted:
        shape = f"{len(rows)} rows of {', '.join(sorted({str(len(row)) for row in rows}))} entries"
        raise ValueError(f"metric has {shape}; it must be P x P, here {(wanted, wanted)}")
    matrix = ImmutableMatrix(rows)
    if matrix.is_symmetric() is False:
        raise ValueError(
            f"metric={matrix.tolist()} is not symmetric, as a matrix learning rate must be; for any other matrix write "
            "−Λ∇l as a field"
        )
    return matrix


def one_metric(given: Any, own: Any) -> Any:
    """The metric that is asked for: the one given, or else an update rule's own.

    Raises:
        ValueError: if there are two.
    """
    if given is None or own is None:
        return own if given is None else given
    held = own.tolist() if isinstance(own, ImmutableMatrix) else own
    raise ValueError(f"metric={given!r} is given, and the update rule has {held}; leave one of them out")
