"""Panels with curves of predictions and simulations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taylorsgd.reproducing.pictures import HALF, band, bars, panels
from taylorsgd.reproducing.tenka.curves import Curve
from taylorsgd.reproducing.tenka.image_classifiers import CONVOLUTIONAL, LOGISTIC, POINTS

__all__ = ["curves_figure", "draw_curve"]

COLORS = ("tab:orange", "tab:green", "tab:blue", "tab:purple")


def curves_figure(found: Sequence[Curve], what: str, small: float) -> Figure:
    """The first initialization at small and large ηT, logistic regression, and the deviations of all initializations.

    Args:
        found: the curves.
        what: the number's name with its unit.
        small: the largest ηT that is small.
    """
    nets = [curve for curve in found if curve.net == CONVOLUTIONAL]
    (logistic,) = (curve for curve in found if curve.net == LOGISTIC)
    orders = len(nets[0].predicted)
    figure, grid = panels(13.5, 8, 2, 3)
    largest = nets[0].eta[-1] * POINTS
    for axes, curve, end, title in (
        (grid[0, 0], nets[0], small, f"{CONVOLUTIONAL}, initialization 1, small $ηT$"),
        (grid[0, 1], nets[0], largest, f"{CONVOLUTIONAL}, initialization 1, large $ηT$"),
        (grid[0, 2], logistic, largest, LOGISTIC),
    ):
        draw_curve(axes, curve, end)
        axes.set_title(title[0].upper() + title[1:])
        axes.set_ylabel(what)
    grid[0, 2].legend(fontsize=8)
    shown = [(order, nets) for order in range(max(1, orders - 1), orders + 1)]
    for axes, (order, curves) in zip(grid[1], [*shown, (orders, [logistic])], strict=False):
        _draw_deviations(axes, curves, order, small)
    grid[1, 0].legend(fontsize=8, loc="upper left")
    return figure


def draw_curve(axes: Axes, curve: Curve, largest: float) -> None:
    """The change of a number against ηT: predictions with 95% bands, and what was simulated with 95% bars."""
    inside = curve.eta * POINTS <= largest * (1 + 1e-9)
    times = np.concatenate([[0.0], curve.eta[inside] * POINTS])
    for k, (values, covariance) in enumerate(zip(curve.predicted, curve.covariance, strict=True)):
        change, error = (values - curve.start)[inside], np.sqrt(np.diag(covariance))[inside]
        band(axes, times, change, error, f"order {k + 1}, un-resummed", COLORS[k])
    resummed = np.concatenate([[0.0], (curve.resummed[-1] - curve.start)[inside]])
    axes.plot(times, resummed, "--", color="tab:red", label=f"order {len(curve.resummed)}, resummed")
    simulated, error = (curve.simulated - curve.start)[inside], curve.error[inside]
    bars(axes, times[1:], simulated, error, "simulated SGD (95%)")
    ends = np.concatenate([simulated - HALF * error, simulated + HALF * error, [0.0]])
    ends = ends[np.isfinite(ends)]
    margin = 0.4 * (ends.max() - ends.min())
    axes.set_ylim(ends.min() - margin, ends.max() + margin)
    axes.axhline(0, color="0.8", lw=0.8, zorder=0)
    axes.set_xlabel("$ηT$")


def _draw_deviations(axes: Axes, curves: Sequence[Curve], order: int, small: float) -> None:
    """(prediction − simulation) over its standard error, for some initializations."""
    for curve in curves:
        label = f"initialization {curve.seed + 1}"
        axes.plot(curve.eta * POINTS, curve.deviations(order), "o-", ms=4, lw=0.8, label=label)
    axes.axhspan(-HALF, HALF, color="0.9", zorder=0)
    axes.axvline(small, color="0.5", lw=0.8, ls=":")
    axes.set_xscale("log")
    if max(np.abs(curve.deviations(order)).max() for curve in curves) > 10:
        axes.set_yscale("symlog", linthresh=3)
    which = LOGISTIC if curves[0].net == LOGISTIC else f"all initializations of the {CONVOLUTIONAL}"
    axes.set_title(f"Order {order}: {which}", fontsize=10)
    axes.set(xlabel="$ηT$", ylabel="(prediction − simulation) / standard error")
