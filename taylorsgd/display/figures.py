"""Figures in one house style: predictions order by order, simulations as bars, what is beyond a range shaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

__all__ = ["COLORS", "FAINT", "bars", "draw_orders", "given_or_new", "house_style", "shade_beyond"]

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's colours, told apart by colour-blind readers: the first is that of a whole prediction."""
INK = "#222222"
FAINT = ("#c8c8c8", "#e69f00", "#56b4e9", "#009e73")
"""Of the lower orders of a prediction, from the first."""

STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelsize": 10,
    "axes.titlesize": 10,
    "axes.formatter.limits": (-3, 4),
    "axes.formatter.use_mathtext": True,
    "errorbar.capsize": 2,
    "font.size": 9,
    "legend.edgecolor": "none",
    "legend.facecolor": "white",
    "legend.framealpha": 0.85,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "mathtext.fontset": "stix",  # whose letters are those of Unicode, so that text in an SVG reads without the font
    "svg.fonttype": "none",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib in the style of this package's figures, while the context lasts.

    Example:
        >>> import matplotlib
        >>> with house_style():
        ...     matplotlib.rcParams["svg.fonttype"]                # text is text
        'none'
    """
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def given_or_new(axes: Axes | None) -> Axes:
    """The axes that were given, or those of a new figure.

    Raises:
        TypeError: if what was given is no Axes.
    """
    if axes is None:
        import matplotlib.pyplot as plt

        _, new = plt.subplots(figsize=(6.0, 3.8), layout="constrained")
        return new
    if not hasattr(axes, "errorbar"):
        raise TypeError(f"axes={axes!r} is no matplotlib Axes; leave it out for a new figure")
    return axes


def draw_orders(
    axes: Axes, eta: np.ndarray, parts: np.ndarray, error: np.ndarray, orders: list[int], label: str = "prediction"
) -> None:
    """Draw a prediction order by order, the last with a band of one standard error.

    Args:
        axes: where.
        eta: the learning rates, (k,), ascending.
        parts: the part of every order from the constant on, (d + 1, k).
        error: the standard errors of their sum, (k,).
        orders: the orders to draw, the highest last.
        label: what the curves are called.
    """
    import numpy as np

    *lower, highest = orders
    for i, order in enumerate(lower):
        color = FAINT[i % len(FAINT)]
        axes.plot(eta, np.sum(parts[: order + 1], axis=0), "--", lw=1, color=color, label=f"through $η^{order}$")
    whole = np.sum(parts[: highest + 1], axis=0)
    axes.plot(eta, whole, color=COLORS[0], label=f"{label}, through $η^{highest}$")
    axes.fill_between(eta, whole - error, whole + error, color=COLORS[0], alpha=0.25, lw=0)


def bars(axes: Axes, eta: np.ndarray, mean: np.ndarray, error: np.ndarray, label: str) -> None:
    """Draw simulated means with bars of one standard error."""
    axes.errorbar(eta, mean, error, fmt="o", ms=3.5, color=INK, lw=1, label=f"{label} ± s.e.", zorder=3)


def shade_beyond(axes: Axes, eta_max: float, end: float) -> None:
    """Shade the learning rates at which a prediction is not to be believed; all of them, if its range is not known."""
    import numpy as np

    start = 0.0 if np.isnan(eta_max) else eta_max
    if start < end:
        label = "range unknown" if np.isnan(eta_max) else "beyond the range"
        axes.axvspan(start, end, color="#ececec", lw=0, zorder=-1, label=label)
