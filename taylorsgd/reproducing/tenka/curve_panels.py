"""Panels with curves of predictions and simulations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from taylorsgd.reproducing.pictures import HALF, band, bars, panels
from taylorsgd.reproducing.tenka.controlled_curves import LossCurve
from taylorsgd.reproducing.tenka.image_classifiers import CONVOLUTIONAL, LOGISTIC, POINTS

__all__ = ["curves_figure", "draw_curve"]

COLORS = ("tab:orange", "tab:green", "tab:blue", "tab:purple")


def curves_figure(found: Sequence[LossCurve], what: str, small: float) -> Figure:
    """The first initialization at small and large ηT, logistic regression, deviations, 0–1 errors, what orders leave.

    Args:
        found: the curves.
        what: the number's name with its unit.
        small: the largest ηT that is small.
    """
    nets = [curve for curve in found if curve.net == CONVOLUTIONAL]
    (logistic,) = (curve for curve in found if curve.net == LOGISTIC)
    orders = len(nets[0].predicted)
    figure, grid = panels(18, 8, 2, 4)
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
    for axes, (order, curves) in zip(grid[1, :3], [*shown, (orders, [logistic])], strict=False):
        _draw_deviations(axes, curves, order, small)
    grid[1, 0].legend(fontsize=8, loc="upper left")
    _draw_errors(grid[0, 3], [*nets, logistic])
    _draw_what_is_left(grid[1, 3], nets[0])
    return figure


def draw_curve(axes: Axes, curve: LossCurve, largest: float) -> None:
    """The change of a number against ηT: predictions with 95% bands, and what was simulated with 95% bars."""
    inside = curve.eta * POINTS <= largest * (1 + 1e-9)
    times = np.concatenate([[0.0], curve.eta[inside] * POINTS])
    for k, (values, covariance) in enumerate(zip(curve.predicted, curve.covariance, strict=True)):
        change, error = (values - curve.start)[inside], np.sqrt(np.diag(covariance))[inside]
        band(axes, times, change, error, f"order {k + 1}, un-resummed", COLORS[k])
    resummed = np.concatenate([[0.0], (curve.resummed[-1] - curve.start)[inside]])
    axes.plot(times, resummed, "--", color="tab:red", label=f"order {len(curve.resummed)}, resummed")
    mean, errors = curve.estimate
    simulated, error = (mean - curve.start)[inside], errors[inside]
    bars(axes, times[1:], simulated, error, "simulated SGD (95%)")
    ends = np.concatenate([simulated - HALF * error, simulated + HALF * error, [0.0]])
    ends = ends[np.isfinite(ends)]
    margin = 0.4 * (ends.max() - ends.min())
    axes.set_ylim(ends.min() - margin, ends.max() + margin)
    axes.axhline(0, color="0.8", lw=0.8, zorder=0)
    axes.set_xlabel("$ηT$")


def _draw_deviations(axes: Axes, curves: Sequence[LossCurve], order: int, small: float) -> None:
    """(prediction − simulation) over its standard error, for some initializations."""
    for curve in curves:
        label = f"initialization {curve.seed + 1}"
        axes.plot(curve.eta * POINTS, curve.deviations(order), "o-", ms=4, lw=0.8, label=label)
    axes.axhspan(-HALF, HALF, color="0.9", zorder=0)
    axes.axvline(small, color="0.5", lw=0.8, ls=":")
    _log_times(axes, curves[0])
    if max(np.abs(curve.deviations(order)).max() for curve in curves) > 10:
        axes.set_yscale("symlog", linthresh=3)
    which = LOGISTIC if curves[0].net == LOGISTIC else f"all initializations of the {CONVOLUTIONAL}"
    axes.set_title(f"Order {order}: {which}", fontsize=10)
    axes.set(xlabel="$ηT$", ylabel="(prediction − simulation) / standard error")


def _draw_errors(axes: Axes, curves: Sequence[LossCurve]) -> None:
    """How the 0–1 error changes, for all initializations."""
    for curve in curves:
        label = LOGISTIC if curve.net == LOGISTIC else f"initialization {curve.seed + 1}"
        change = curve.series.wrong - curve.series.wrong_start
        bars(axes, curve.eta * POINTS, change, curve.series.wrong_error, label, fmt="o-", ms=3, lw=0.8)
    axes.axhline(0, color="0.8", lw=0.8, zorder=0)
    _log_times(axes, curves[0])
    axes.set(xlabel="$ηT$", ylabel="change of the 0–1 error", title="0–1 error beside the loss (95% bars)")
    axes.legend(fontsize=7)


def _draw_what_is_left(axes: Axes, curve: LossCurve) -> None:
    """|mean of what is left of the runs beyond their own series|, order by order."""
    for order, (left, error) in enumerate(zip(curve.series.left, curve.series.left_error, strict=True)):
        bars(axes, curve.eta * POINTS, np.abs(left), error, f"beyond order {order}", fmt="o-", ms=3, lw=0.8)
    _log_times(axes, curve)
    axes.set(yscale="log", xlabel="$ηT$", ylabel="|left of the runs| (nats)")
    axes.set_title("Beyond the runs' own Taylor series, initialization 1", fontsize=10)
    axes.legend(fontsize=8)


def _log_times(axes: Axes, curve: LossCurve) -> None:
    """A logarithmic axis of ηT, with ticks where something was looked at."""
    times = curve.eta * POINTS
    axes.set_xscale("log")
    axes.set_xticks(times, [f"{time:g}" for time in times], minor=False)
    axes.xaxis.set_minor_locator(NullLocator())
