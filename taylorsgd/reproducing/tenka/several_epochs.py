"""SGD of several epochs against SGD of one, with the same ηT: Figure 10, left, and Corollary 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from sympy import Rational

import taylorsgd as ts
from taylorsgd.datasets.fashion import fashion_mnist_folder
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Work
from taylorsgd.reproducing.pictures import band, bars, panels
from taylorsgd.reproducing.significance import LEAST_P, LEVEL, joint_z
from taylorsgd.reproducing.tenka.curves import Curve, joint_agreement
from taylorsgd.reproducing.tenka.image_classifiers import CONVOLUTIONAL, DATA, POINTS, ClassifierSize, on_classifiers

__all__ = ["EXPERIMENT", "EpochSize", "more_epochs", "printed"]

ORDER_2, ORDER_3, PRINTED = 1, 2, 3
"""The rows of `Curve.predicted` here."""
NAMES = {  # in the order of these rows
    ORDER_2: "order 2, the right form of Corollary 2",
    ORDER_3: "order 3, the right form of Corollary 2",
    PRINTED: "order 3, Corollary 2 as printed",
}


@dataclass(frozen=True, kw_only=True)
class EpochSize(ClassifierSize):
    """The settings.

    Attributes:
        epochs: E of the runs that are compared with one epoch; with the learning rate η/E.
        rates: the learning rates η of one epoch.
    """

    initializations: int = 3
    trials: int = 500
    epochs: tuple[int, ...] = (2, 3, 5, 8)
    rates: tuple[float, ...] = (0.025, 0.05, 0.1)


def more_epochs(epochs: int, order: int) -> ts.Formula:
    """The test loss of E epochs at η/E less that of one at η, N = 10: its terms of orders 2 to `order`."""
    loss = ts.derive(ts.TestLoss(), ts.SGD(B=1), order).subs(N=POINTS)
    parts = [
        Rational(1, epochs**power) * loss[power].subs(E=epochs) - loss[power].subs(E=1) for power in range(2, order + 1)
    ]
    return sum(parts[1:], start=parts[0]).simplify()  # type: ignore[return-value]


def printed(epochs: int) -> ts.Formula:
    """`more_epochs` through order 3, with Corollary 2 and A.1.4 for its order 2: η² (E−1)N/(4E) G·∇C, no G·H·G."""
    right = more_epochs(epochs, 2)
    return (more_epochs(epochs, 3) - right.assume("noiseless")).simplify()


def _run(size: EpochSize, work: Work) -> Outcome:
    what = f"{size.trials} trials of 1 and {size.epochs} epochs"
    curves = [
        Curve(
            net=f"{epochs} epochs",
            seed=seed,
            eta=np.array(size.rates),
            start=0.0,
            **{name: array[i] for name, array in found.items()},
        )
        for seed, found in on_classifiers(size, work, CONVOLUTIONAL, what, _differences)
        for i, epochs in enumerate(size.epochs)
    ]
    return Outcome(
        _picture(curves, size),
        [
            {"epochs": curve.net.split()[0], **curve.simulation(i), **curve.predictions(i, tuple(NAMES.values()))}
            for curve in curves
            for i in range(len(curve.eta))
        ],
        _findings(curves),
        [
            f"{size.of_population(work.images)}; N = {POINTS}, batch size 1, no shuffling between epochs; E epochs "
            "run at η/E; all E have the same training sets in a trial",
            "agreement is judged for each E over initializations and learning rates: runs of different E share "
            "training sets, so their χ² do not add",
        ],
    )


def _differences(landscape: ts.Landscape, theta: Any, size: EpochSize, key: jax.Array) -> dict[str, np.ndarray]:
    """For every E the simulated differences with their errors, and the predicted ones with their covariances."""
    simulating, measuring = jax.random.split(key)

    def run(epochs: int) -> Any:
        slower = ts.Descent([Rational(1, epochs)] * (epochs * POINTS))
        where = ts.SGD(N=POINTS, B=1, E=epochs)
        return ts.simulate(
            landscape, theta, where, size.rates, size.trials, simulating, update=slower, chunk=size.chunk
        )

    once = run(1)
    formulas = [[more_epochs(e, 2), more_epochs(e, 3), printed(e)] for e in size.epochs]
    everything = [formula for row in formulas for formula in row]
    measured = ts.measure(everything, landscape, theta, key=measuring, samples=size.samples)
    predictions = [
        [ts.predict(f, landscape, theta, eta=size.rates, measurement=measured) for f in row] for row in formulas
    ]
    statistics = [(run(epochs) - once).test_loss for epochs in size.epochs]
    return {
        "simulated": np.stack([statistic.mean for statistic in statistics]),
        "error": np.stack([statistic.standard_error for statistic in statistics]),
        "predicted": np.array([[prediction.mean for prediction in row] for row in predictions]),
        "covariance": np.array([[prediction.covariance for prediction in row] for row in predictions]),
    }


def _findings(curves: Sequence[Curve]) -> list[Finding]:
    most = float(curves[0].eta[-1])
    findings = []
    for name in dict.fromkeys(curve.net for curve in curves):
        chosen = [curve for curve in curves if curve.net == name]
        mean = np.concatenate([curve.simulated for curve in chosen])
        error = np.concatenate([curve.error for curve in chosen])
        (score, p_value), (_, contrary) = joint_z(mean, error), joint_z(-mean, error)
        findings.append(
            Finding(
                f"SGD with {name} incurs greater test loss than one-epoch SGD (Figure 10)",
                f"joint z-score {score:.1f} over initializations and learning rates, one-sided p = {p_value:.2g}; "
                f"agrees below {LEVEL:g}",
                p_value < LEVEL,
                {"z": score, "p_value": p_value},
                contrary=contrary,
            )
        )
        lower = joint_agreement(chosen, ORDER_2, most)
        unmet = "" if lower.p_value < LEAST_P else "order 2 is not excluded"
        lacks = "G·H·G is missing from it, as sgd-errata proves"
        for which, label, proof in (
            (ORDER_3, "by the predicted amount", ""),
            (PRINTED, "by the amount of Corollary 2", lacks),
        ):
            joint = joint_agreement(chosen, which, most)
            findings.append(
                Finding(
                    f"… with {name}, {label} (Figure 10)",
                    f"{NAMES[which]}: through ηT = {most * POINTS:g} jointly {joint}; agrees above {LEAST_P:g}",
                    joint.agrees,
                    asdict(joint),
                    proof=proof,
                    unmet=unmet,
                )
            )
        findings.append(
            Finding(
                f"… with {name}, order 2 does not agree: the simulation tells orders apart",
                f"jointly {lower}; excluded below {LEAST_P:g}",
                lower.p_value < LEAST_P,
                asdict(lower),
                "control",
            )
        )
    return findings


COLORS = {PRINTED: "tab:red", ORDER_2: "tab:green", ORDER_3: "tab:blue"}


def _picture(curves: Sequence[Curve], size: EpochSize) -> Figure:
    count = len(size.epochs)
    figure, row = panels(3.6 * count, 4.3, columns=count, sharey=True, squeeze=False)
    first = [curve for curve in curves if curve.seed == 0]
    scale = 1e3
    for axes, curve in zip(row[0], first, strict=True):
        times = np.concatenate([[0], curve.eta * POINTS])
        for which, label in NAMES.items():
            values, spread = curve.predicted[which - 1], np.sqrt(np.diagonal(curve.covariance[which - 1]))
            style = "--" if which == PRINTED else "-"
            band(axes, times, scale * values, scale * spread, label, COLORS[which], style)
        bars(axes, times[1:], scale * curve.simulated, scale * curve.error, "simulated (95%)")
        axes.axhline(0, color="0.7", lw=0.8, zorder=0)
        axes.set(xlabel="$ηT$", title=f"{curve.net} less one")
    figure.axes[0].set_ylabel("difference of test losses ($10^{-3}$ nats)")
    figure.axes[0].legend(fontsize=8, loc="upper left")
    figure.suptitle(f"The {CONVOLUTIONAL}, initialization 1: $E$ epochs at $η/E$ against one at $η$")
    return figure


EXPERIMENT = Experiment(
    title="SGD of several epochs against SGD of one",
    shows="Tenka, Corollary 2, Sections 4.1 and C.7: Figure 10, left",
    claim="SGD with 2, 3, 5 and 8 epochs incurs greater test loss than one-epoch SGD, by the predicted amounts, for a "
    "range of learning rates, those of E epochs scaled by 1/E",
    judged=f"a joint one-sided z-score for each E, at the level {LEVEL:g}; the joint χ² of the predicted amounts, of "
    f"order 3 with Corollary 2 as printed and in its right form, over initializations and learning rates, "
    f"p > {LEAST_P:g}, only if order 2 is excluded, p < {LEAST_P:g}",
    sizes={
        "quick": EpochSize(),
        "full": EpochSize(
            images=1000, initializations=6, trials=20_000, samples=16_384, rates=(0.01, 0.025, 0.05, 0.075, 0.1)
        ),
    },
    lasts={"quick": "about a minute", "full": "about a day"},
    run=_run,
    data=DATA,
    usual=fashion_mnist_folder,
)
"""The experiment."""
