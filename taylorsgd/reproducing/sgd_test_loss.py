"""The test loss of SGD on images against ηT, predicted order by order and simulated: Figure 2, left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taylorsgd.formulas import TestLoss
from taylorsgd.landscapes.images import fashion_mnist_folder
from taylorsgd.reproducing.agreement import LEAST_P, Curve, agreement, breaking_point
from taylorsgd.reproducing.curves import CONVOLUTIONAL, LOGISTIC, POINTS, CurveSize, curves, rows
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Say
from taylorsgd.reproducing.images import Images
from taylorsgd.reproducing.parts import Parts

__all__ = ["DATA", "EXPERIMENT"]

SMALL = 1.0
"""ηT up to which the paper claims agreement."""
DATA = "Fashion-MNIST, or the images of --data (MNIST's, Fashion-MNIST's or CIFAR-10's files)"


def _run(size: CurveSize, images: Images, say: Say, parts: Parts) -> Outcome:
    found = curves(size, images, TestLoss(), say, parts)
    nets = [curve for curve in found if curve.net == CONVOLUTIONAL]
    logistic = [curve for curve in found if curve.net == LOGISTIC]
    return Outcome(
        _picture(found, size),
        rows(found),
        [*_of_small(nets, size), *_of_large(nets, size), *_of_resumming(logistic, size)],
        notes(size, images),
    )


def notes(size: CurveSize, images: Images) -> list[str]:
    """What a reader should know of the population and the statistics."""
    count = min(size.images, len(images.train[1]) + len(images.test[1]))
    return [
        f"{images}; the population is the first {count} of them, from which training sets of N = {POINTS} are "
        "drawn with replacement, and over all of which the test loss is averaged; one epoch, batch size 1, T = N",
        f"un-resummed values from {size.samples} independent draws; their errors count in every χ²",
        f"resummed values are of order 2, along the top {size.eigenpairs[0]} eigendirections of the convolutional "
        f"net's Hessian and the top {size.eigenpairs[1]} of logistic regression's; all others are taken to be flat",
    ]


def _of_small(nets: Sequence[Curve], size: CurveSize) -> list[Finding]:
    joint = {order: agreement(nets, order, SMALL / POINTS) for order in range(1, size.order + 1)}
    last = joint[size.order]
    each = [agreement([curve], size.order, SMALL / POINTS).p_value for curve in nets]
    findings = [
        Finding(
            f"for all {len(nets)} initializations of the convolutional net, the order {size.order} prediction agrees "
            f"with simulation through ηT ≈ {SMALL:g} (Figure 2)",
            f"jointly {last}; alone p = {', '.join(f'{p:.2g}' for p in each)}",
            last.agrees,
            {"chi2": last.chi2, "degrees": last.degrees, "p_value": last.p_value},
        )
    ]
    for order in range(1, size.order):
        findings.append(
            Finding(
                f"so would the order {order} prediction: the simulation does not tell it from the truth there",
                f"jointly {joint[order]}",
                joint[order].agrees,
                {"chi2": joint[order].chi2, "p_value": joint[order].p_value},
                "control",
            )
        )
    return findings


def _of_large(nets: Sequence[Curve], size: CurveSize) -> list[Finding]:
    good, bad = breaking_point(nets, size.order)
    where = "nowhere" if good is None else f"through ηT = {good * POINTS:g}"
    broken = "which is all that was looked at" if bad is None else f"and no longer at ηT = {bad * POINTS:g}"
    alone = [breaking_point([curve], size.order)[1] for curve in nets]
    ends = ", ".join("none" if end is None else f"{end * POINTS:g}" for end in alone)
    return [
        Finding(
            f"for large ηT the order {size.order} prediction breaks down (Figure 2)",
            f"it agrees {where}, {broken} (p < {LEAST_P:g}); breaks of single initializations at ηT = {ends}",
            bad is not None,
            {"last": POINTS * (good or 0.0)} | ({} if bad is None else {"first": POINTS * bad}),
        )
    ]


def _of_resumming(logistic: Sequence[Curve], size: CurveSize) -> list[Finding]:
    """At which of the larger learning rates the resummed value of order 2 is nearer than the un-resummed one."""
    curve = logistic[0]
    large = curve.eta > SMALL / POINTS * (1 + 1e-9)
    plain = np.abs(curve.predicted[min(2, size.order) - 1] - curve.simulated)[large]
    resummed = np.abs(curve.resummed[-1] - curve.simulated)[large]
    nearer = int((resummed < plain).sum())
    return [
        Finding(
            f"un-resummed values may be less accurate than resummed ones (Figure 2): of order 2, {LOGISTIC}, "
            f"ηT > {SMALL:g}",
            f"resummed nearer to the simulation at {nearer} of {len(plain)} learning rates; largest errors "
            f"{resummed.max():.3g} and, un-resummed, {plain.max():.3g}; agrees if nearer at more than half",
            nearer > len(plain) / 2,
            {"nearer": nearer, "of": len(plain), "resummed": resummed.max(), "un-resummed": plain.max()},
        )
    ]


COLORS = ("tab:orange", "tab:green", "tab:blue", "tab:purple")


def draw_curve(axes: Axes, curve: Curve, largest: float, smallest: float = 0.0) -> None:
    """The change of a number against ηT: predictions with their 95% bands, and what was simulated."""
    inside = (curve.eta * POINTS <= largest * (1 + 1e-9)) & (curve.eta * POINTS >= smallest)
    times = curve.eta[inside] * POINTS
    for k, (values, covariance) in enumerate(zip(curve.predicted, curve.covariance, strict=True)):
        change = (values - curve.start)[inside]
        half = 1.96 * np.sqrt(np.diag(covariance))[inside]
        axes.plot(times, change, color=COLORS[k], label=f"order {k + 1}, un-resummed")
        axes.fill_between(times, change - half, change + half, color=COLORS[k], alpha=0.25, lw=0)
    resummed = (curve.resummed[-1] - curve.start)[inside]
    axes.plot(times, resummed, "--", color="tab:red", label="order 2, resummed")
    simulated, error = (curve.simulated - curve.start)[inside], 1.96 * curve.error[inside]
    axes.errorbar(times, simulated, error, fmt="k+", ms=7, capsize=2, label="simulated SGD", zorder=3)
    finite = np.concatenate([simulated - error, simulated + error, [0.0]])
    finite = finite[np.isfinite(finite)]
    low, high = float(finite.min()), float(finite.max())
    margin = 0.45 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    axes.axhline(0, color="0.8", lw=0.8, zorder=0)
    axes.set_xlabel("$ηT$")


def _picture(found: Sequence[Curve], size: CurveSize) -> Figure:
    nets = [curve for curve in found if curve.net == CONVOLUTIONAL]
    figure = Figure(figsize=(13, 8), layout="constrained")
    panels = figure.subplots(2, 3)
    largest = max(size.times)
    draw_curve(panels[0, 0], nets[0], SMALL)
    panels[0, 0].set_title("Convolutional net, first initialization, small $ηT$")
    draw_curve(panels[0, 1], nets[0], largest)
    panels[0, 1].set_title("the same, large $ηT$")
    draw_curve(panels[0, 2], found[-1], largest)
    panels[0, 2].set_title("Logistic regression")
    for axes in panels[0]:
        axes.set_ylabel("change of the test loss (nats)")
    panels[0, 0].legend(fontsize=8, loc="lower left")
    draw_deviations(panels[1], nets, size)
    return figure


def draw_deviations(panels: Sequence[Axes], nets: Sequence[Curve], size: CurveSize) -> None:
    """(prediction − simulation) over its standard error for each of the last three orders and all initializations."""
    orders = range(max(1, size.order - 2), size.order + 1)
    for axes, order in zip(panels, orders, strict=False):
        for curve in nets:
            axes.plot(
                curve.eta * POINTS,
                curve.deviations(order),
                "o-",
                ms=4,
                lw=0.8,
                label=f"initialization {curve.seed + 1}",
            )
        axes.axhspan(-1.96, 1.96, color="0.9", zorder=0)
        axes.axvline(SMALL, color="0.6", lw=0.8, ls=":")
        axes.set(xscale="log", xlabel="$ηT$", yscale="symlog", title=f"Order {order}, all initializations")
        axes.set_ylabel("(prediction − simulation) / standard error")
    panels[0].legend(fontsize=7)
    for axes in panels[len(orders) :]:
        axes.set_axis_off()


QUICK = CurveSize(
    images=256,
    side=28,
    initializations=6,
    times=(0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0),
    trials=250,
    samples=1024,
    order=3,
    eigenpairs=(3, 9),
)
"""The settings of a quick run."""

EXPERIMENT = Experiment(
    title="the test loss of SGD on images, predicted and simulated",
    shows="Tenka, Section 4.1 and Appendix C: Figure 2, left",
    claim="the order 3 prediction of SGD's test loss agrees with experiment through ηT ≈ 1 for all initializations "
    "tested; for large ηT the predictions break down",
    judged=f"the joint χ² of prediction and simulation over initializations and learning rates with ηT ≤ {SMALL:g}, "
    f"both errors counted, p > {LEAST_P:g}, for the number of trials fixed in the settings; where that first fails "
    "with larger ηT is the point where it breaks",
    sizes={
        "quick": QUICK,
        "full": replace(
            QUICK, images=2000, trials=20_000, samples=16_384, eigenpairs=(6, 18),
            times=(0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0),
        ),
    },
    lasts={"quick": "about two minutes", "full": "about ten hours"},
    run=_run,
    data=DATA,
    usual=fashion_mnist_folder,
    resumes=True,
)  # fmt: skip
"""The experiment."""
