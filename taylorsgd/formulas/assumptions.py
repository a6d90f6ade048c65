"""Assumptions about the landscape that make whole terms vanish."""

from __future__ import annotations

from collections.abc import Callable

from taylorsgd.diagrams.tensor_network import LOSS, TensorNetwork

__all__ = ["ASSUMPTIONS", "survives"]


def _minimum(value: TensorNetwork) -> bool:
    """G = 0 at θ_0: no node of degree 1 is alone."""
    return not any(
        len(block) == 1 and value.degrees[block[0]] == 1 and value.marks[block[0]] == LOSS for block in value.blocks
    )


def _gaussian(value: TensorNetwork) -> bool:
    """The losses are jointly Gaussian: no cumulants of three or more."""
    return all(len(block) <= 2 for block in value.blocks)


def _noiseless(value: TensorNetwork) -> bool:
    """Every training point has the expected loss: all parts are single."""
    return all(len(block) == 1 for block in value.blocks)


def _quadratic(value: TensorNetwork) -> bool:
    """Every l_x is quadratic: no node of degree 3 or more. Its Hessian may still fluctuate."""
    return all(degree <= 2 or mark != LOSS for degree, mark in zip(value.degrees, value.marks, strict=True))


ASSUMPTIONS: dict[str, Callable[[TensorNetwork], bool]] = {
    "minimum": _minimum,
    "gaussian": _gaussian,
    "noiseless": _noiseless,
    "quadratic": _quadratic,
}
"""For every assumption, whether a value can still be different from 0."""


def survives(value: TensorNetwork, assumption: str) -> bool:
    """Whether a value can be different from 0 under an assumption.

    Args:
        value: a `Value` in cumulants, or a resummed value.
        assumption: "minimum", "gaussian", "noiseless" or "quadratic".

    Raises:
        ValueError: if the assumption has another name.

    Example:
        >>> from taylorsgd.diagrams import Value
        >>> survives(Value((-1, 0)), "minimum")      # G·G
        False
    """
    if not isinstance(assumption, str) or assumption not in ASSUMPTIONS:
        names = ", ".join(repr(name) for name in ASSUMPTIONS)
        raise ValueError(f"assumption={assumption!r} is unknown; known are {names}")
    return ASSUMPTIONS[assumption](value)
