"""Paths of descent and flows on E(a, b) = (y − abx)²/2, which can be seen: Figures 1a, 1b and A.1, Table A.1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taylorsgd.reproducing.barrett_dherin.two_parameter_model import LEAST_NORM, X, Y, descend, flow, slopes
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Work
from taylorsgd.reproducing.pictures import panels
from taylorsgd.reproducing.significance import order_of_convergence, trend

__all__ = ["EXPERIMENT", "Start", "TwoParameterSize"]

ORDER_BAND = 0.05
"""How far a fitted order may be from the claimed one."""
NEAR = 0.05
"""How far, relatively, a norm may be from the least one to be near it."""


@dataclass(frozen=True)
class Start:
    """An initial point with its rates, a column of Table A.1.

    Attributes:
        label: the paper's number.
        at: (a_0, b_0).
        small: h_S.
        moderate: h_M.
        mu: μ of the explicit regularization, as in equation A.31.
        euler: h_Euler, the rate of descent on E_μ.
    """

    label: str
    at: tuple[float, float]
    small: float
    moderate: float
    mu: float
    euler: float


@dataclass(frozen=True)
class TwoParameterSize:
    """The settings.

    Attributes:
        starts: the initial points.
        large: h_L, from the first of them.
        rates: the learning rates of Figure 1b, from the first.
        steps: the step sizes of the local errors, in units of h_M.
        settled: a path ends where the residual |y − abx| is below this.
        most: the most steps of a descent.
    """

    starts: tuple[Start, ...] = (
        Start("I", (2.8, 3.5), 1e-3, 2.5e-2, 0.5, 1e-4),
        Start("II", (75.0, 74.925), 1e-6, 0.5e-4, 4.1e-2, 5e-7),
    )
    large: float = 0.18
    rates: tuple[float, ...] = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07)
    steps: tuple[float, ...] = tuple(2.0**-k for k in range(6, 12))
    settled: float = 1e-4
    most: int = 20_000_000


SMALL, MODERATE, FLOW, MODIFIED, EXPLICIT = STYLES = {
    "descent, h_S": ("descent, $h_S$", "tab:green", "-", 2.0),
    "descent, h_M": ("descent, $h_M$", "tab:red", "-", 1.6),
    "flow": ("flow of $E$", "0.25", ":", 1.5),
    "modified flow of h_M": ("flow of the modified loss, $λ = h_M/2$", "tab:orange", "--", 1.8),
    "descent on E_mu": ("descent on $E_μ$", "tab:blue", "--", 1.5),
}
"""The paths from a point by name, each with its label and how it is drawn."""

Paths = dict[str, tuple[np.ndarray, float]]
"""By name the points of each path, and the time between them."""


def _paths(start: Start, size: TwoParameterSize) -> Paths:
    """Flows are at the times of descent with h_M; the modified one is that of h_M."""
    small, moderate, explicit = (
        descend(start.at, h, c, size.settled, size.most)
        for h, c in ((start.small, 0.0), (start.moderate, 0.0), (start.euler, start.mu))
    )
    times = start.moderate * np.arange(len(moderate))
    original, modified = (flow(start.at, c, times) for c in (0.0, start.moderate / 2))
    points = (small, moderate, original, modified, explicit)
    steps = (start.small, start.moderate, start.moderate, start.moderate, start.euler)
    return dict(zip(STYLES, zip(points, steps, strict=True), strict=True))


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    """The largest distance between two paths at equal times."""
    return float(np.max(np.linalg.norm(first - second, axis=1)))


def _local_errors(start: Start, size: TwoParameterSize) -> dict[str, np.ndarray]:
    """|θ_1 − θ(h)| after one step, against the flow of E and against the modified one."""
    at, direction = np.array(start.at), np.array(slopes(*start.at))
    steps = start.moderate * np.array(size.steps)
    errors = {
        kind: np.array([np.linalg.norm(at - h * direction - flow(start.at, c * h, [0, h])[1]) for h in steps])
        for kind, c in (("original", 0.0), ("modified", 0.5))
    }
    return {"h": steps} | errors


def _run(size: TwoParameterSize, work: Work) -> Outcome:
    everything = {}
    for start in size.starts:
        work.say(f"Paths from point {start.label}, {start.at}")
        everything[start] = _paths(start, size)
    errors = [_local_errors(start, size) for start in size.starts]
    first = size.starts[0]
    ends = [descend(first.at, h, 0.0, size.settled, size.most)[-1] for h in size.rates]
    ratios = [X**2 * float(end @ end) for end in ends]
    ricochet = descend(first.at, size.large, 0.0, size.settled, size.most)
    findings = [
        *(finding for start, paths in everything.items() for finding in _of_paths(start, paths)),
        *(finding for start, each in zip(size.starts, errors, strict=True) for finding in _of_orders(start, each)),
        Finding.of_trend(
            f"from {first.label}, R_IG/E after descent falls with the learning rate (Figure 1b)",
            trend(size.rates, ratios, expected=-1),
        ),
        _of_ricochet(ricochet, size.large),
    ]
    table = [
        _row(f"{name} from {start.label}", time=time * i, a=a, b=b)
        for start, paths in everything.items()
        for name, (points, time) in paths.items()
        for i, (a, b) in _thinned(points)
    ]
    table += [
        _row("descent, h_L from I", h=size.large, time=size.large * i, a=a, b=b) for i, (a, b) in enumerate(ricochet)
    ]
    table += [
        _row("R_IG/E after descent", h=h, a=a, b=b, value=ratio)
        for h, (a, b), ratio in zip(size.rates, ends, ratios, strict=True)
    ]
    table += [
        _row(f"local error, {kind} flow from {start.label}", h=h, value=e)
        for start, each in zip(size.starts, errors, strict=True)
        for kind in ("original", "modified")
        for h, e in zip(each["h"], each[kind], strict=True)
    ]
    figure = _picture(everything, errors, ricochet, size, ratios)
    return Outcome(figure, table, findings, _notes(everything))


def _row(series: str, **numbers: float) -> dict[str, Any]:
    return {"series": series} | {name: numbers.get(name, "") for name in ("h", "time", "a", "b", "value")}


def _thinned(points: np.ndarray, most: int = 400) -> list[tuple[int, np.ndarray]]:
    """At most about so many points of a path, with their numbers.

    Half of them lie evenly along its length, half by the logarithm of what is left, so that the slow end is
    drawn as well.
    """
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    whole = length[-1]
    left = whole - length
    slow_end = whole - np.geomspace(whole, left[left > 0][-1], most // 2)  # the last steps may be rounded away
    marks = np.concatenate([np.linspace(0, whole, most // 2), slow_end])
    chosen = np.unique(np.clip(np.searchsorted(length, marks), 0, len(points) - 1))
    return [(int(i), points[i]) for i in chosen]


def _of_paths(start: Start, paths: Paths) -> list[Finding]:
    points = {name: points for name, (points, _) in paths.items()}
    exact, modified = (_distance(points[MODERATE], points[name]) for name in (FLOW, MODIFIED))
    flow_small = flow(start.at, 0.0, start.small * np.arange(len(points[SMALL])))
    small = _distance(points[SMALL], flow_small) / hypot(*start.at)
    norms = {name: float(np.hypot(*each[-1])) for name, each in points.items()}
    explicit, moderate = norms[EXPLICIT], norms[MODERATE]
    return [
        Finding(
            f"from {start.label}, descent with h_S = {start.small:g} follows the flow (Figure 1a)",
            f"never further than {small:.2%} of |θ_0| from it; agrees if below 1%",
            small < 0.01,
            {"relative distance": small},
        ),
        Finding(
            f"from {start.label}, descent with h_M = {start.moderate:g} is closer to the modified flow (Figure 1a)",
            f"largest distance at equal times {modified:.4g}, from the original flow {exact:.4g}",
            modified < exact,
            {"modified": modified, "original": exact},
        ),
        Finding(
            f"from {start.label}, descent on E_μ ends at a smaller norm than descent with h_M (Figure 1a)",
            f"|θ| = {explicit:.4g}; with h_M {moderate:.4g}, with h_S {norms[SMALL]:.4g}",
            explicit < moderate,
            norms,
        ),
        Finding(
            f"from {start.label}, descent on E_μ ends in the flattest region, of least norm (Figure 1a)",
            f"|θ| = {explicit:.4g} against a least {LEAST_NORM:.4g}; agrees if within {NEAR:.0%}",
            explicit < (1 + NEAR) * LEAST_NORM,
            {"norm": explicit, "least": LEAST_NORM},
            case=f"with Table A.1's values it ends where it is flatter than at the end of descent, yet |θ| is "
            f"{explicit / LEAST_NORM:.2f} times that of the flattest minimum",
        ),
    ]


def _of_orders(start: Start, errors: dict[str, np.ndarray]) -> list[Finding]:
    found = []
    for kind, order in (("original", 2), ("modified", 3)):
        fitted = order_of_convergence(errors["h"], errors[kind])
        found.append(
            Finding(
                f"at {start.label}, one step is O(h^{order}) from the {kind} flow (Theorem 3.1)",
                f"slope of log error against log h {fitted:.3f}; agrees if within {ORDER_BAND}",
                abs(fitted - order) < ORDER_BAND,
                {"order": fitted},
            )
        )
    return found


def _of_ricochet(path: np.ndarray, h: float) -> Finding:
    crossings = int(np.sum(np.diff(np.sign(X * path[:, 0] * path[:, 1] - Y)) != 0))
    return Finding(
        f"with h_L = {h:g} descent steps over the minima again and again, then converges (Figure A.1)",
        f"{crossings} crossings of ab = y/x in {len(path) - 1} steps, and it settled; agrees from 2 crossings",
        crossings >= 2,
        {"crossings": crossings, "steps": len(path) - 1},
    )


def _notes(everything: dict[Start, Paths]) -> list[str]:
    notes = ["Table A.1's μ is read as equation A.31 has it, E_μ = E + μ R_IG; equation 8 would call it μ/2"]
    for start, paths in everything.items():
        step = paths[EXPLICIT][0][1]
        if step @ np.array(start.at) < 0:
            followed = flow(start.at, start.mu, [0, start.euler])[1]
            notes.append(
                f"from {start.label}, the first step on E_μ with Table A.1's h_Euler = {start.euler:g} goes to "
                f"({step[0]:.3g}, {step[1]:.3g}), beyond the origin, where the flow of E_μ would be at "
                f"({followed[0]:.3g}, {followed[1]:.3g}): with these values descent on E_μ does not follow its flow"
            )
    return notes


VIEW = 4.2
"""How far from the origin the pictures reach."""


def _picture(
    everything: dict[Start, Paths],
    errors: Sequence[dict[str, np.ndarray]],
    ricochet: np.ndarray,
    size: TwoParameterSize,
    ratios: Sequence[float],
) -> Figure:
    figure, grid = panels(9, 8.5, 2, 2)
    (plane, ratio, jumps, local), first = grid.flat, size.starts[0]
    _draw_surface(plane, 0.0, VIEW)
    for start, paths in everything.items():
        for name, (points, _) in paths.items():
            label, color, style, width = STYLES[name]
            a, b = np.array([point for _, point in _thinned(points, 400)]).T
            plane.plot(a, b, color=color, ls=style, lw=width, label=label if start is first else None)
    for start in size.starts:
        if max(start.at) < VIEW:
            plane.plot(*start.at, "ko", ms=5)
            plane.annotate(start.label, start.at, (7, -3), textcoords="offset points", weight="bold")
        else:  # the first path that comes into view
            far = f"{start.label}, at ({start.at[0]:g}, {start.at[1]:.3g})"
            arrow, box = {"arrowstyle": "->", "color": "k"}, {"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 1.5}
            plane.annotate(far, (VIEW, 2.95), (VIEW - 0.35, 2.4), ha="right", arrowprops=arrow, bbox=box)
    plane.set_title("(1a) Descent and flows")
    plane.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, fontsize=8)

    ratio.plot(size.rates, ratios, "o-", color="tab:red")
    ratio.set(xlabel="learning rate $h$", ylabel="$R_{IG}/E$ after descent, $= x^2 |θ|^2$", xscale="log")
    ratio.set_title(f"(1b) From point {first.label}")

    _draw_surface(jumps, -VIEW, VIEW)
    small = everything[first][SMALL][0]
    jumps.plot(*small[:: max(len(small) // 400, 1)].T, color="tab:green", lw=2, label=f"$h_S = {first.small:g}$")
    jumps.plot(*ricochet.T, "o-", color="tab:red", ms=4, lw=1, label=f"$h_L = {size.large:g}$")
    jumps.plot(*first.at, "ko", ms=5)
    jumps.set_title("(A.1) A large learning rate")
    jumps.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, fontsize=8)

    for start, each, marker in zip(size.starts, errors, "os^v", strict=False):
        for kind, color, order in (("original", "0.25", 2), ("modified", "tab:orange", 3)):
            label = f"{kind} flow, {start.label}: order {order_of_convergence(each['h'], each[kind]):.2f}"
            h = each["h"] / start.moderate
            local.loglog(h, each[kind], marker, color=color, label=label)
            local.loglog(h, each[kind][0] * (h / h[0]) ** order, "-", color=color, lw=0.8)
    local.set(xlabel="step $h/h_M$", ylabel="error after one step, $|θ_1 - θ(h)|$")
    local.set_title("(Theorem 3.1) Lines of slope 2 and 3")
    local.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    return figure


def _draw_surface(axes: Axes, low: float, high: float) -> None:
    """The direction of the flow over shades of the loss, the minima, and the flattest of them."""
    grid = np.linspace(low, high, 151)
    a, b = np.meshgrid(grid, grid)
    height = np.log10(1e-3 + (Y - a * b * X) ** 2 / 2)
    axes.imshow(height, extent=(low, high, low, high), origin="lower", cmap="Greys", alpha=0.45, vmax=4)
    coarse = np.linspace(low, high, 14)[1:-1]  # which leaves out the saddle at the origin
    a, b = np.meshgrid(coarse, coarse)
    da, db = slopes(a, b)  # type: ignore[arg-type]
    length = np.hypot(da, db)
    axes.quiver(a, b, -da / length, -db / length, color="0.55", scale=26, width=0.0025)
    far = max(abs(low), high)
    for sign in (1, -1) if low < 0 else (1,):
        branch = sign * np.geomspace(Y / X / far, far, 200)
        axes.plot(branch, Y / X / branch, "k--", lw=1.2, label="minima, $ab = y/x$" if sign > 0 else None)
    axes.plot(sqrt(Y / X), sqrt(Y / X), "kx", ms=9, mew=2, label="the flattest minimum", ls="none")
    axes.set(xlim=(low, high), ylim=(low, high), xlabel="$a$", ylabel="$b$", aspect="equal")


EXPERIMENT = Experiment(
    title="paths of descent in a two-parameter model",
    shows="Barrett and Dherin, Section 5 and Appendix D: Figures 1a, 1b and A.1, Table A.1",
    claim="gradient descent with a moderate learning rate follows the flow of the modified loss more closely than "
    "that of the original one, to one order more in h; larger rates end where R_IG/E is smaller; explicit "
    "regularization goes further still, to the flattest minimum",
    judged="distances at equal times; the slopes of log local error against log h, within 0.05 of 2 and 3; "
    "Kendall's τ of R_IG/E against h; norms at the end, the flattest minimum within 5%",
    sizes={
        "quick": TwoParameterSize(),
        "full": TwoParameterSize(settled=1e-8, steps=tuple(2.0**-k for k in range(4, 14))),
    },
    lasts={"quick": "about 20 s", "full": "about a minute"},
    run=_run,
)
"""The experiment."""
