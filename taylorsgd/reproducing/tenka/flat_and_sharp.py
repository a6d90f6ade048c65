"""Sharp and flat minima overfit less than medium ones, on MEAN ESTIMATION: Figure 2, right."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
from matplotlib.figure import Figure
from sympy import Symbol, lambdify

import taylorsgd as ts
from taylorsgd.display.figures import COLORS
from taylorsgd.landscapes import mean_estimation
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Work
from taylorsgd.reproducing.pictures import bars, panels
from taylorsgd.reproducing.significance import LEAST_P, chi_square

__all__ = ["EXPERIMENT", "MeanEstimationSize"]


@dataclass(frozen=True)
class MeanEstimationSize:
    """The settings.

    Attributes:
        hessians: H of each landscape, in rising order.
        noise: S, the square root of the covariance C of gradients.
        rate: the learning rate η.
        updates: T.
        points: N.
        trials: training sets for each H.
        seed: of the training sets; every H has a stream of its own.
    """

    hessians: tuple[float, ...] = (1e-4, 1e-3, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.8, 1.3, 2.5, 4.0)
    noise: float = 10.0
    rate: float = 0.05
    updates: int = 100
    points: int = 10
    trials: int = 1000
    seed: int = 0


CONTINUOUS, DISCRETE = "resummed, continuous time", "resummed, discrete time"
RESUMMED: dict[str, Literal["continuous", "discrete"] | None] = {
    CONTINUOUS: "continuous",
    DISCRETE: "discrete",
    "un-resummed, order 2": None,
}
"""The predictions by formulas of order 2."""
OBSERVABLES = {"overfitting": ts.TestLoss(), "generalization gap": ts.GeneralizationGap()}


def _simulated(size: MeanEstimationSize, hessian: float, key: jax.Array) -> dict[str, np.ndarray]:
    place, where = mean_estimation(hessian, size.noise), ts.GD(N=size.points, T=size.updates)
    run = ts.simulate(place, jax.numpy.zeros(1), where, size.rate, size.trials, key)
    both = [run.statistic(observable) for observable in OBSERVABLES.values()]
    return {
        "mean": np.array([one.mean for one in both], dtype=float),
        "error": np.array([one.standard_error for one in both], dtype=float),
    }


def _run(size: MeanEstimationSize, work: Work) -> Outcome:
    work.say(f"{size.trials} training sets for each of {len(size.hessians)} Hessians")
    key = jax.random.key(size.seed)
    simulated = [
        work.keep(f"H {i}", partial(_simulated, size, hessian, jax.random.fold_in(key, i)))
        for i, hessian in enumerate(size.hessians)
    ]
    # (2, Hessians)
    mean, error = (np.stack([one[name] for one in simulated], axis=1) for name in ("mean", "error"))
    predicted = _predicted(size)
    table = [
        {"number": name, "H": hessian, "simulated": mean[k, i], "standard error": error[k, i]}
        | {method: values[k, i] for method, values in predicted.items()}
        for k, name in enumerate(OBSERVABLES)
        for i, hessian in enumerate(size.hessians)
    ]
    return Outcome(
        _picture(size, mean, error, predicted),
        table,
        _findings(size, mean, error, predicted),
        [
            f"GD with N = {size.points}, T = {size.updates}, η = {size.rate:g} from the truth θ = 0, gradients of "
            f"covariance C = {size.noise**2:g}; the paper names T, C and the range of H, not N and η",
            "overfitting is the test loss less that of the truth; TIC says C/(2NH) for it and C/(NH) for the gap",
        ],
    )


def _predicted(size: MeanEstimationSize) -> dict[str, np.ndarray]:
    """Overfitting and gap by each method, (2, Hessians): those of GD are the formulas, on the landscapes themselves."""
    sizes = {"N": size.points, "T": size.updates}
    places = [mean_estimation(hessian, size.noise) for hessian in size.hessians]
    found = {}
    for method, resum in RESUMMED.items():
        formulas = [
            ts.derive(observable, ts.GD(), 2, resum=resum).assume("minimum") for observable in OBSERVABLES.values()
        ]
        found[method] = np.array(
            [[float(f.evaluate(place, at=0, eta=size.rate, **sizes)) for place in places] for f in formulas]
        )
    limit = size.noise**2 / (size.points * np.array(size.hessians))
    return found | {"TIC": np.stack([limit / 2, limit])}


def _findings(
    size: MeanEstimationSize, mean: np.ndarray, error: np.ndarray, predicted: dict[str, np.ndarray]
) -> list[Finding]:
    overfitting, its_error = mean[0], error[0]
    top = int(overfitting.argmax())
    scores = [(overfitting[top] - overfitting[i]) / np.hypot(its_error[top], its_error[i]) for i in (0, -1)]
    time = size.hessians[top] * size.rate * size.updates
    findings = [
        Finding(
            "overfitting after fixed-T GD is smallest for very sharp and for very flat H (Figure 2)",
            f"largest at H = {size.hessians[top]:g}; there {scores[0]:.1f} standard errors above the flattest and "
            f"{scores[1]:.1f} above the sharpest; agrees if both exceed 5",
            bool(min(scores) > 5),
            {"z-score over flattest": float(scores[0]), "z-score over sharpest": float(scores[1])},
        ),
        Finding(
            "overfitting is largest for medium minima, H ~ 1/(ηT) (Section 3.4)",
            f"ηTH = {time:.2g} at the largest; agrees if between 1/3 and 3",
            1 / 3 < time < 3,
            {"eta T H": time},
        ),
    ]
    for k, name in enumerate(OBSERVABLES):
        for method, who, figure, source in (
            (CONTINUOUS, "Corollary 5", " (Figure 2)", "paper"),
            (DISCRETE, "the formula with exact sums", "", "control"),
        ):
            total = float(np.sum(((predicted[method][k] - mean[k]) / error[k]) ** 2))
            found = chi_square(total, mean.shape[1])
            numbers = {"chi2": found.chi2, "p_value": found.p_value}
            claim = f"{who} predicts the {name} for all H{figure}"
            findings.append(Finding(claim, str(found), found.agrees, numbers, source))
        ours, tic = (abs(predicted[m][k, 0] - mean[k, 0]) for m in (CONTINUOUS, "TIC"))
        findings.append(
            Finding(
                f"near H = 0, Corollary 5's {name} improves on TIC's (Figure 2)",
                f"at H = {size.hessians[0]:g}: off by {ours:.3g}, TIC's by {tic:.3g}",
                bool(ours < tic),
                {"Corollary 5": float(ours), "TIC": float(tic)},
            )
        )
    return findings


STYLES = {
    CONTINUOUS: ("Corollary 5", COLORS[0], "-", 1.8),
    DISCRETE: ("resummed, exact sums", COLORS[4], "o", 1.4),
    "un-resummed, order 2": ("un-resummed, order 2", COLORS[2], ":", 1.6),
    "TIC": ("TIC", COLORS[1], "-.", 1.4),
}


def _curve(size: MeanEstimationSize, method: str, observable: Any, hessians: np.ndarray) -> np.ndarray:
    """A prediction at many Hessians: its formula in a symbol for H, as a function of numbers."""
    if method == "TIC":
        return size.noise**2 / (size.points * hessians) / (2 if observable == ts.TestLoss() else 1)
    curvature = Symbol("H", positive=True)
    formula = ts.derive(observable, ts.GD(), 2, resum=RESUMMED[method]).assume("minimum")
    place = mean_estimation(curvature, size.noise)
    found = formula.evaluate(place, at=0, eta=size.rate, N=size.points, T=size.updates)
    return lambdify(curvature, found)(hessians)


def _picture(size: MeanEstimationSize, mean: np.ndarray, error: np.ndarray, predicted: dict[str, np.ndarray]) -> Figure:
    figure, both = panels(9, 3.8, columns=2)
    dense = np.geomspace(size.hessians[0], size.hessians[-1], 200)
    for k, (axes, (name, observable)) in enumerate(zip(both, OBSERVABLES.items(), strict=True)):
        for method, (label, color, style, width) in STYLES.items():
            if method == DISCRETE:  # exact sums at a symbolic H are polynomials of degree 2T
                axes.plot(
                    size.hessians, predicted[method][k], style, color=color, ms=9, mfc="none", mew=width, label=label
                )
            else:
                axes.plot(dense, _curve(size, method, observable, dense), style, color=color, lw=width, label=label)
        bars(axes, size.hessians, mean[k], error[k], "simulated GD (95%)")
        top = float(mean[k].max())
        axes.set(xscale="log", xlabel="Hessian $H$", ylim=(-0.05 * top, 1.5 * top))
        axes.set_ylabel(f"{name} (units of loss)")
        axes.axvline(1 / (size.rate * size.updates), color="0.7", lw=0.8, zorder=0)
        axes.text(0.93 / (size.rate * size.updates), -0.03 * top, "$H=1/(ηT)$", color="0.4", fontsize=8, ha="right")
    figure.suptitle(f"MEAN ESTIMATION, GD with $T = {size.updates}$", fontsize=10)
    figure.axes[0].legend(fontsize=8, loc="upper left")
    return figure


EXPERIMENT = Experiment(
    title="sharp and flat minima overfit less",
    shows="Tenka, Sections 3.4 and 4.3 and Appendix C: Figure 2, right; Corollary 5",
    claim="on MEAN ESTIMATION with a fixed C and a range of H, from the truth, overfitting after fixed-T GD is least "
    "for very sharp and very flat H; near H = 0 the predictions improve on TIC",
    judged="z-scores of the largest overfitting over that of the extreme H, above 5; χ² of Corollary 5 over all H, "
    f"p > {LEAST_P:g}; the distance from the simulated number at the smallest H",
    sizes={
        "quick": MeanEstimationSize(),
        "full": MeanEstimationSize(trials=10_000, hessians=tuple(float(h) for h in np.geomspace(1e-4, 4, 40).round(6))),
    },
    lasts={"quick": "about 20 s", "full": "about three minutes"},
    run=_run,
)
"""The experiment."""
