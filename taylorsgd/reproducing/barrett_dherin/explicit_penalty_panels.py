"""The panels of Figures 3c, A.6 and A.7."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taylorsgd.reproducing.barrett_dherin.training import Training
from taylorsgd.reproducing.pictures import panels, shades

__all__ = ["draw"]

LEAST = 1e-30


def draw(everything: Sequence[tuple[Any, Mapping[tuple[float, float], Sequence[Training]]]]) -> Figure:
    """Two rows of panels for each kind of network: with explicit regularization, and without it."""
    figure, grid = panels(17, 7.5 * len(everything), 2 * len(everything), 4, squeeze=False)
    for number, (tier, trained) in enumerate(everything):
        with_penalty = {mu: trained[tier.rate, mu] for mu in (0.0, *tier.mus)}
        without = {rate: trained[rate, 0.0] for rate in tier.rates}
        explicit, implicit = shades((0.0, *tier.mus), "plasma", 0.85), shades(tier.rates)
        above, below = grid[2 * number], grid[2 * number + 1]
        title = f"{tier.network}, $h = {tier.rate:g}$"
        _draw_courses(above[0], with_penalty, explicit, "μ", lambda run: run.test_accuracy)
        above[0].set(ylabel="test accuracy", title=f"(3c) {title}")
        _draw_courses(above[1], with_penalty, explicit, "μ", lambda run: run.regularizer, logarithmic=True)
        above[1].set(ylabel="$R_{IG}$", title=f"(3c, its precondition) {title}")
        _draw_gains(above[2], tier, with_penalty)
        _draw_best(above[3], without, implicit)
        for place, name, ylabel, record, logarithmic in (
            (below[0], "A.6a", "test accuracy", lambda run: run.test_accuracy, False),
            (below[1], "A.6b", "$R_{IG}$", lambda run: run.regularizer, True),
            (below[2], "A.6c", "slope $|∇E|$", lambda run: run.slope, True),
            (below[3], "A.6d", "$|θ|$", lambda run: run.norm, False),
        ):
            _draw_courses(place, without, implicit, "h", record, logarithmic)
            place.set(ylabel=ylabel, title=f"({name}) {tier.network}, $μ = 0$")
    return figure


def _draw_courses(
    place: Axes,
    chosen: Mapping[float, Sequence[Training]],
    colours: Mapping[float, Any],
    name: str,
    record: Callable[[Training], np.ndarray],
    logarithmic: bool = False,
) -> None:
    """Means over initializations, geometric ones of what spans decades, against steps."""
    for value, runs in chosen.items():
        each = np.concatenate([record(run) for run in runs])
        mean = np.exp(np.log(np.maximum(each, LEAST)).mean(axis=0)) if logarithmic else each.mean(axis=0)
        place.plot(runs[0].steps, mean, color=colours[value], label=f"${name} = {value:g}$")
    place.set(xlabel="steps")
    place.set_yscale("log" if logarithmic else "linear")
    place.legend(fontsize=8)


def _draw_gains(place: Axes, tier: Any, with_penalty: Mapping[float, Sequence[Training]]) -> None:
    """Maximum test accuracy against μ, one line for each initialization."""
    at = (min(tier.mus) / 3, *tier.mus)  # 0 has no logarithm
    best = np.array([[run.at_best(run.test_accuracy)[0] for run in runs] for runs in with_penalty.values()])
    place.plot(at, best, "o-", ms=3, color="0.7")
    place.plot(at, best.mean(axis=1), "o-", color="tab:blue", label="mean over initializations")
    place.set(xscale="log", xlabel="$μ$", ylabel="maximum test accuracy", title="(3c) the gain")
    place.minorticks_off()
    place.set_xticks(at, [f"{mu:g}" for mu in with_penalty])
    place.legend(fontsize=8)


def _draw_best(place: Axes, without: Mapping[float, Sequence[Training]], colours: Mapping[float, Any]) -> None:
    """R_IG and test accuracy of each network at its best."""
    for rate, runs in without.items():
        points = ([run.at_best(record(run))[0] for run in runs] for record in (_regularizer, _accuracy))
        place.plot(*points, "o", color=colours[rate], mec="k", mew=0.3, label=f"$h = {rate:g}$")
    place.set(xscale="log", xlabel="$R_{IG}$", ylabel="test accuracy", title="(A.7) at maximum test accuracy")
    place.legend(fontsize=8)


def _regularizer(run: Training) -> np.ndarray:
    return run.regularizer


def _accuracy(run: Training) -> np.ndarray:
    return run.test_accuracy
