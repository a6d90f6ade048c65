"""HELIX drawn: a level surface around its valley of minima, and SGD moving into the page: Figure 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from sympy import Matrix, Symbol, cos, hessian, simplify, sin

from taylorsgd.display.figures import COLORS
from taylorsgd.landscapes import helix
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Work
from taylorsgd.reproducing.tenka.helix_descents import PERIOD, derived_drift, descents

__all__ = ["EXPERIMENT", "LandscapeSize"]

LEAST_Z_SCORE = 5.0
"""How many standard errors every stretch of the drift must be above zero."""


@dataclass(frozen=True)
class LandscapeSize:
    """The settings.

    Attributes:
        rate: the learning rate η, large so that a single trajectory shows the drift.
        updates: T, divided into four stretches.
        trials: trajectories for the statistics; the first one is drawn.
        seed: of the training points.
    """

    rate: float = 0.3
    updates: int = 2000
    trials: int = 400
    seed: int = 3


def _run(size: LandscapeSize, work: Work) -> Outcome:
    work.say(f"{size.trials} trajectories of {size.updates} updates at η = {size.rate:g}")
    paths = descents(size.rate, size.updates, size.trials, jax.random.key(size.seed))
    stretches = np.diff(paths[:, :: size.updates // 4, 2], axis=1)[:, :4]
    mean = stretches.mean(axis=0)
    error = stretches.std(axis=0, ddof=1) / np.sqrt(size.trials)
    velocity = float(derived_drift(size.rate))
    rows = [
        {"stretch": i + 1, "mean of z": m, "standard error": e, "predicted": velocity * (size.updates // 4)}
        for i, (m, e) in enumerate(zip(mean, error, strict=True))
    ]
    return Outcome(
        _picture(paths),
        rows,
        [*_of_the_landscape(), *_of_the_trajectories(mean, error, paths[:, -1, 2])],
        [
            f"order 3 predicts {rows[0]['predicted']:.3f} for each stretch; sgd-helix looks at small η",
            "the trajectory is drawn where it is near a pane's z; its first point in a pane is the darker one",
        ],
    )


def _of_the_landscape() -> list[Finding]:
    """What the caption says of HELIX itself, in exact symbols, all along the valley."""
    place = helix()
    (u, v, z), (x,) = place.variables, place.noises
    valley = {u: 0, v: 0}
    curvature = hessian(place.loss, (u, v, z)).subs(valley)
    slope = Matrix([place.loss]).jacobian([u, v, z]).subs(valley)
    noise = Matrix([place.sample_loss.coeff(x)]).jacobian([u, v, z]).subs(valley)
    eigenvalues = {simplify(value): count for value, count in curvature.eigenvals().items()}
    turn = Symbol("c", real=True)
    turned: Any = {u: cos(turn) * u - sin(turn) * v, v: sin(turn) * u + cos(turn) * v, z: z + turn}
    change = simplify((place.sample_loss.subs(turned, simultaneous=True) - place.sample_loss).expand(trig=True))
    return [
        Finding(
            "the landscape's axis is a one-dimensional valley of minima perpendicular to the page (Figure 3)",
            f"at u = v = 0 and any z, ∇l = {list(slope)} and ∇∇l has eigenvalues {', '.join(map(str, eigenvalues))}",
            not any(slope) and eigenvalues == {0: 1, 1: 1, 2: 1},
            {"flat directions": float(eigenvalues.get(0, 0))},
            exact=True,
        ),
        Finding(
            "gradient noise is parallel to the page (Figure 3)",
            f"in the valley it is x·({noise[0]}, {noise[1]}, {noise[2]})",
            noise[2] == 0,
            {"component along z": float(noise[2])},
            exact=True,
        ),
        Finding(
            "the landscape has a continuous screw symmetry (C.1.2)",
            f"turning (u, v) by c and moving z by c changes l_x by {change}",
            change == 0,
            {"terms left": float(len(change.as_ordered_terms()) if change else 0)},
            exact=True,
        ),
    ]


def _of_the_trajectories(mean: np.ndarray, error: np.ndarray, ends: np.ndarray) -> list[Finding]:
    scores = mean / error
    turns = ends.mean() / PERIOD
    return [
        Finding(
            "HELIX induces SGD to move into the page, and it goes on for all time (Figure 3)",
            "mean of z in four stretches "
            + ", ".join(f"{m:.2f} ± {e:.2f}" for m, e in zip(mean, error, strict=True))
            + f"; agrees if each is {LEAST_Z_SCORE:g} standard errors above zero",
            bool(np.all(scores > LEAST_Z_SCORE)),
            {f"z-score {i + 1}": float(score) for i, score in enumerate(scores)},
        ),
        Finding(
            "the displacement exceeds the landscape's period of 2π (Figure 2)",
            f"on average {turns:.2f} periods after all updates",
            bool(turns > 1),
            {"periods": float(turns)},
        ),
    ]


VIEW = 1.6
"""How far from the valley the panes reach."""
PANES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
"""The depths z of the four cross sections."""


def _picture(paths: np.ndarray) -> Figure:
    figure = Figure(figsize=(9, 7), layout="constrained")
    upper, lower = figure.add_gridspec(2, 1, height_ratios=(1.7, 1))
    left, right = upper.subgridspec(1, 2, width_ratios=(1.1, 1))
    _draw_surface(figure.add_subplot(left, projection="3d"), paths[0])
    panes: Any = right.subgridspec(2, 2).subplots(sharex=True, sharey=True)
    for axes, depth in zip(panes.flat, PANES, strict=True):
        _draw_pane(axes, depth, paths[0])
    for axes in panes[1]:
        axes.set_xlabel("$u$")
    for axes in panes[:, 0]:
        axes.set_ylabel("$v$")
    _draw_drift(figure.add_subplot(lower), paths[..., 2])
    return figure


def _draw_drift(axes: Axes, depths: np.ndarray, shown: int = 8) -> None:
    """Z against time for some trajectories, their mean, and the landscape's periods."""
    times = np.unique(np.linspace(0, depths.shape[1] - 1, 126).astype(int))
    axes.plot(times, depths[:shown, times].T, color=COLORS[2], lw=0.8, alpha=0.7)
    axes.plot(times, depths[:, times].mean(axis=0), color="black", lw=1.8, label=f"mean of {len(depths)}")
    for period in range(int(depths.mean(axis=0)[-1] / PERIOD) + 2):
        axes.axhline(PERIOD * period, color="0.85", lw=0.8, zorder=0)
    axes.set(xlabel="updates", ylabel="depth $z$", title="Gray lines are periods of the landscape apart", xmargin=0)
    axes.legend(loc="upper left")


def _draw_surface(axes: Any, path: np.ndarray) -> None:
    """The level surface l = 1/2, an ellipse that turns with z, and the trajectory near its axis."""
    last = min(int(np.argmax(path[:, 2] > 4 * np.pi)) or len(path), len(path))
    angle, depth = np.meshgrid(np.linspace(0, 2 * np.pi, 81), np.linspace(0, 4 * np.pi, 161))
    short, long = np.cos(angle) / np.sqrt(2), np.sin(angle)
    u = short * np.cos(depth) - long * np.sin(depth)
    v = short * np.sin(depth) + long * np.cos(depth)
    # Thousands of facets are no drawing: they are an image, also in an SVG.
    axes.plot_surface(u, depth, v, color=COLORS[4], alpha=0.3, linewidth=0, rcount=161, ccount=81, rasterized=True)
    axes.plot(*path[:last:3, [0, 2, 1]].T, "-", color=COLORS[2], lw=0.7)
    axes.plot([0, 0], [0, 4 * np.pi], [0, 0], color=COLORS[0], lw=2)
    axes.set(title="Where $l = 1/2$; the valley (straight); SGD, every third step")
    axes.set_xlabel("$u$", labelpad=-4)
    axes.set_ylabel("$z$", labelpad=6)
    axes.set_zlabel("$v$", labelpad=-6)
    axes.tick_params(pad=-1)
    axes.set_box_aspect((1, 2.4, 1), zoom=1.1)
    axes.view_init(elev=18, azim=-60)
    for axis in (axes.xaxis, axes.zaxis):
        axis.set_major_locator(MultipleLocator(1))


def _draw_pane(axes: Axes, depth: float, path: np.ndarray) -> None:
    """A cross section: shades and levels of l, the axis of the noise, the trajectory on its way through."""
    line = np.linspace(-VIEW, VIEW, 161)
    u, v = np.meshgrid(line, line)
    loss = (u**2 + v**2 + (np.cos(depth) * u + np.sin(depth) * v) ** 2) / 2
    levels = np.linspace(0, 4, 9)
    axes.contourf(u, v, loss, levels=levels, cmap="Blues_r", extend="max", alpha=0.6).set_rasterized(True)
    axes.contour(u, v, loss, levels=[0.5, 1.125, 2], colors="white", linewidths=0.8)
    w = np.array([np.cos(depth - np.pi / 4), np.sin(depth - np.pi / 4)])
    for sign in (1, -1):
        arrow = {"arrowstyle": "-|>", "color": COLORS[1], "lw": 1.5}
        axes.annotate("", xy=tuple(1.4 * sign * w), xytext=(0, 0), arrowprops=arrow)
    near = _visit(path[:, 2], depth)
    axes.plot(*path[near, :2].T, "o-", color=COLORS[2], ms=3, lw=0.8)
    axes.plot(*path[near[:1], :2].T, "o", color="#222222", ms=5)
    axes.set(xlim=(-VIEW, VIEW), ylim=(-VIEW, VIEW), aspect="equal")
    axes.set_title(f"$z = {depth / np.pi:.2g}\\,π$" if depth else "$z = 0$")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(1))


def _visit(depths: Sequence[float] | np.ndarray, depth: float, most: int = 12) -> np.ndarray:
    """The numbers of some successive points, from the first that has come as deep."""
    first = int(np.argmax(np.asarray(depths) >= depth))
    return np.arange(first, min(first + most, len(depths)))


EXPERIMENT = Experiment(
    title="the HELIX landscape and a trajectory of SGD on it",
    shows="Tenka, Figure 3 and C.1.2",
    claim="a helical level surface winds around a valley of minima perpendicular to the page; gradient noise is "
    "parallel to the page; SGD moves into the page, eternally",
    judged="exact symbols for the landscape; for the trajectories the mean of z in each quarter of the time, five "
    "standard errors above zero",
    sizes={"quick": LandscapeSize(), "full": LandscapeSize(rate=0.1, updates=8_000, trials=1000)},
    lasts={"quick": "about 10 s", "full": "about a minute"},
    run=_run,
)
"""The experiment."""
