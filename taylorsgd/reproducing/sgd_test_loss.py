"""The test loss of SGD on images against ηT, predicted order by order and simulated: Figure 2, left."""

from __future__ import annotations

from dataclasses import replace

from taylorsgd.datasets.fashion import fashion_mnist_folder
from taylorsgd.formulas import TestLoss
from taylorsgd.reproducing.agreement import LEAST_P
from taylorsgd.reproducing.curve_findings import notes, of_large_times, of_resumming, of_small_times
from taylorsgd.reproducing.curve_panels import curves_figure
from taylorsgd.reproducing.curves import CurveSize, loss_curves, rows
from taylorsgd.reproducing.experiment import Experiment, Outcome, Say
from taylorsgd.reproducing.images import Images
from taylorsgd.reproducing.parts import Parts

__all__ = ["DATA", "EXPERIMENT"]

SMALL = 1.0
"""ηT up to which the paper claims agreement."""
DATA = "Fashion-MNIST, or the images of --data (MNIST's, Fashion-MNIST's or CIFAR-10's files)"
"""What the experiments on classifiers take."""


def _run(size: CurveSize, images: Images, say: Say, parts: Parts) -> Outcome:
    found = loss_curves(size, images, TestLoss(), say, parts)
    findings = [
        *of_small_times(found, size.order, SMALL, "Figure 2"),
        of_large_times(found, size.order, "Figure 2"),
        of_resumming(found, SMALL, "Figure 2"),
    ]
    figure = curves_figure(found, "change of the test loss (nats)", SMALL)
    return Outcome(figure, rows(found), findings, notes(size, images))


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
    lasts={"quick": "about two and a half minutes", "full": "about half a day"},
    run=_run,
    data=DATA,
    usual=fashion_mnist_folder,
    resumes=True,
)  # fmt: skip
"""The experiment."""
