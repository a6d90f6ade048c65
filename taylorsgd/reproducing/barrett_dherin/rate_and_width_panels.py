"""The panels of Figures 2 and A.2 to A.5, from courses of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taylorsgd.reproducing.barrett_dherin.courses import LEAST, Course, common_times, trend_at
from taylorsgd.reproducing.pictures import panels, shades
from taylorsgd.reproducing.significance import LEVEL

__all__ = ["draw"]

Record = Callable[[Course], np.ndarray]


def draw(width: int, main: Sequence[Course], swept: Sequence[Course], full: Sequence[Course]) -> Figure:
    """All panels.

    Args:
        width: that of the networks whose courses are drawn.
        main: networks that fit, of every width.
        swept: those of other batch sizes.
        full: those of full-batch descent.
    """
    figure, axes = panels(17, 16, 4, 4)
    of_width = [course for course in main if course.width == width] or main
    _draw_dots(axes[0], main, [*of_width, *swept], full)
    label = f"width {of_width[0].width}"
    for place, name, ylabel, record in (
        (axes[1, 0], "A.2a", "$E$", lambda c: c.loss),
        (axes[1, 1], "A.2b", "$R_{IG}$", lambda c: c.regularizer),
        (axes[1, 2], "A.2c", "$R_{IG}/E$", lambda c: c.ratio),
        (axes[1, 3], "A.2d", "$|θ|$", lambda c: c.norm),
        (axes[2, 0], "A.3a", "test $E$", lambda c: c.test_loss),
        (axes[2, 1], "A.3b", "test $R_{IG}$", lambda c: c.test_regularizer),
        (axes[2, 2], "A.3c", "test $R_{IG}/E$", lambda c: c.test_ratio),
        (axes[2, 3], "A.3d", "test accuracy", lambda c: c.test_accuracy),
    ):
        _draw_courses(place, of_width, record, lambda c: c.steps)
        place.set(xlabel="steps $i$", ylabel=ylabel, title=f"({name}) {label}")
    axes[2, 3].set_yscale("linear")
    axes[1, 0].legend(fontsize=8)
    _draw_courses(axes[3, 0], of_width, lambda c: c.ratio, lambda c: c.times)
    axes[3, 0].set(xlabel="physical time $i h$", ylabel="$R_{IG}/E$", title=f"(A.4) {label}")
    _draw_trends(axes[3, 1], main)
    _draw_sizes(axes[3, 2:], main)
    return figure


def _rates(found: Iterable[Course]) -> list[float]:
    return sorted({course.rate for course in found})


def _draw_dots(row: Sequence[Axes], main: Sequence[Course], batches: Sequence[Course], full: Sequence[Course]) -> None:
    """Figures 2a, 2b and A.5: each network at maximum test accuracy; R_IG against h for each batch size."""
    colours = shades(_rates(main))
    widths = sorted({course.width for course in main})
    areas = {width: 14 * (i + 1) ** 1.5 for i, width in enumerate(widths)}
    style = {"c": [colours[c.rate] for c in main], "s": [areas[c.width] for c in main], "alpha": 0.75}
    table = [course.row for course in main]
    for place, x, y in (
        (row[0], "lambda", "R_IG"),
        (row[1], "lambda", "test accuracy"),
        (row[2], "R_IG", "test accuracy"),
    ):
        columns = ([max(each[name], LEAST) for each in table] for name in (x, y))
        place.scatter(*columns, **style, lw=0.3, edgecolor="k")
        place.set_xscale("log")
    row[0].set(yscale="log", xlabel="$λ = hm/4$", ylabel="$R_{IG}$", title="(2a) at maximum test accuracy")
    row[1].set(xlabel="$λ = hm/4$", ylabel="test accuracy", title="(2b) at maximum test accuracy")
    row[2].set(xlabel="$R_{IG}$", ylabel="test accuracy", title="(A.5) at maximum test accuracy")
    keys = [
        row[0].scatter([], [], s=areas[width], c="0.6", edgecolor="k", lw=0.3, label=f"width {width}")
        for width in widths
    ]
    row[0].legend(handles=keys, fontsize=8)
    groups = {f"batches of {b}": [c for c in batches if c.batch == b] for b in sorted({c.batch for c in batches})}
    for (label, some), colour in zip(
        (groups | {"full batch": full}).items(), ["C0", "C1", "C2", "k"] * 3, strict=False
    ):
        _draw_means(row[3], some, lambda c: c.rate, lambda c: c.row["R_IG"], label, colour)
    row[3].set(xscale="log", yscale="log", xlabel="$h$", ylabel="$R_{IG}$", title="(A.5) batch sizes")
    row[3].legend(fontsize=8)


def _draw_means(
    place: Axes, found: Sequence[Course], x: Callable, y: Callable, label: str, colour: str, style: str = "o-"
) -> None:
    """Geometric means of a number over the networks with the same x."""
    groups: dict[float, list[float]] = {}
    for course in found:
        groups.setdefault(x(course), []).append(np.log(max(y(course), LEAST)))
    if groups:
        at = sorted(groups)
        place.plot(at, [np.exp(np.mean(groups[each])) for each in at], style, ms=4, label=label, color=colour)


def _draw_courses(place: Axes, found: Sequence[Course], record: Record, abscissa: Record) -> None:
    """Geometric means over initializations, for each rate; from the first checkpoint after the start."""
    for rate, colour in shades(_rates(found)).items():
        some = [course for course in found if course.rate == rate]
        count = min(len(course.steps) for course in some)
        logs = np.mean([np.log(np.maximum(record(course)[1:count], LEAST)) for course in some], axis=0)
        place.plot(abscissa(some[0])[1:count], np.exp(logs), color=colour, label=f"$h = {rate:g}$")
    place.set(xscale="log", yscale="log")


def _draw_trends(place: Axes, found: Sequence[Course]) -> None:
    """Kendall's τ of R_IG/E with h, at every physical time that all networks have lived through."""
    times = common_times(found)
    trends = [trend_at(found, time) for time in times]
    tau = np.array([each.tau for each in trends])
    place.plot(times, tau, "-", color="0.6")
    falls, rises = ([getattr(t, side) < LEVEL for t in trends] for side in ("p_value", "contrary"))
    for chosen, colour, label in ((falls, "tab:green", "falls"), (rises, "tab:red", "rises")):
        place.plot(times[chosen], tau[chosen], "o", color=colour, ms=5, label=f"{label}, p < {LEVEL:g}")
    place.axhline(0, color="k", lw=0.8)
    place.set(xscale="log", xlabel="physical time $T$", ylabel="Kendall's τ of $R_{IG}/E$ with $h$", ylim=(-1.05, 1.05))
    place.set_title("(A.4) as a function of $T$")
    place.legend(fontsize=8)


def _draw_sizes(row: Sequence[Axes], main: Sequence[Course]) -> None:
    """R_IG and |∇E|² = m R_IG against m: with and without its own 1/m."""
    for place, name, power, ylabel in ((row[0], "R_IG", 1, "$R_{IG}$"), (row[1], "slope", 2, "$|∇E|^2 = m R_{IG}$")):
        for rate, colour in shades(_rates(main)).items():
            some = [course for course in main if course.rate == rate]
            _draw_means(
                place,
                some,
                lambda c: c.parameters,
                lambda c, name=name, power=power: c.row[name] ** power,
                f"$h = {rate:g}$",
                colour,
            )
        place.set(xscale="log", yscale="log", xlabel="$m$", ylabel=ylabel, title=f"(A.5) {ylabel} against $m$")
    row[0].legend(fontsize=8)
