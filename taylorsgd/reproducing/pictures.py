"""What the pictures of experiments have in common: panels, shades for rising numbers, bars of simulated numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["HALF", "band", "bars", "panels", "shades"]

HALF = 1.96
"""Standard errors on either side of a 95% interval."""


def panels(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure of so many inches with its panels, as `Figure.subplots` returns them.

    Example:
        >>> figure, (left, right) = panels(11, 4.5, columns=2)
        >>> figure.axes == [left, right]
        True
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def shades(values: Sequence[float], name: str = "viridis", most: float = 0.9) -> dict[float, Any]:
    """A colour for every number, darker to lighter in the order in which they are given.

    Example:
        >>> list(shades([0.1, 0.2]))
        [0.1, 0.2]
    """
    return {value: colormaps[name](most * i / max(len(values) - 1, 1)) for i, value in enumerate(values)}


def bars(axes: Axes, x: Any, mean: Any, error: Any, label: str | None = None, **options: Any) -> None:
    """Simulated numbers with 95% bars; black crosses unless `options` of Matplotlib's `errorbar` say otherwise."""
    style = {"fmt": "k+", "ms": 7, "capsize": 2, "zorder": 3} | options
    axes.errorbar(x, mean, HALF * error, label=label, **style)


def band(axes: Axes, x: Any, mean: Any, error: Any, label: str, color: str, style: str = "-") -> None:
    """A predicted number that starts at 0, with the 95% band of its standard error, which does too."""
    mean, half = (np.concatenate([[0.0], values]) for values in (mean, HALF * error))
    axes.plot(x, mean, style, color=color, label=label)
    axes.fill_between(x, mean - half, mean + half, color=color, alpha=0.2, lw=0)
