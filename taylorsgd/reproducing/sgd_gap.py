"""The generalization gap of SGD on images against ηT, predicted and simulated: Figure 2, center."""

from __future__ import annotations

from dataclasses import replace

from taylorsgd.datasets.fashion import fashion_mnist_folder
from taylorsgd.formulas import GeneralizationGap
from taylorsgd.reproducing.agreement import LEAST_P
from taylorsgd.reproducing.curve_findings import notes, of_large_times, of_small_times
from taylorsgd.reproducing.curve_panels import curves_figure
from taylorsgd.reproducing.curves import CurveSize, loss_curves, rows
from taylorsgd.reproducing.experiment import Experiment, Outcome, Say
from taylorsgd.reproducing.images import Images
from taylorsgd.reproducing.parts import Parts
from taylorsgd.reproducing.sgd_test_loss import DATA

__all__ = ["EXPERIMENT"]

SMALL = 0.5
"""ηT up to which the paper claims agreement."""


def _run(size: CurveSize, images: Images, say: Say, parts: Parts) -> Outcome:
    found = loss_curves(size, images, GeneralizationGap(), say, parts)
    findings = [
        *of_small_times(found, size.order, SMALL, "Figure 2"),
        of_large_times(found, size.order, "Figure 2"),
    ]
    figure = curves_figure(found, "generalization gap (nats)", SMALL)
    subtracted = "what a training set contributes to the gap before training, 0 on average, is subtracted"
    return Outcome(figure, rows(found), findings, [*notes(size, images), subtracted])


QUICK = CurveSize(
    images=128,
    side=28,
    initializations=6,
    times=(0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0),
    trials=250,
    samples=1024,
    order=2,
    eigenpairs=(3, 9),
)
"""The settings of a quick run."""

EXPERIMENT = Experiment(
    title="the generalization gap of SGD on images, predicted and simulated",
    shows="Tenka, Section 4.1 and Appendix C: Figure 2, center",
    claim="the order 2 prediction of the generalization gap, test less training loss, agrees with experiment through "
    "ηT ≈ 0.5 for all initializations tested",
    judged=f"the joint χ² of prediction and simulation over initializations and learning rates with ηT ≤ {SMALL:g}, "
    f"both errors counted, p > {LEAST_P:g}, for the number of trials fixed in the settings; where that first fails "
    "with larger ηT is the point where it breaks",
    sizes={
        "quick": QUICK,
        "full": replace(QUICK, images=2000, trials=20_000, samples=16_384, eigenpairs=(6, 18)),
    },
    lasts={"quick": "about a minute and a half", "full": "about eight hours"},
    run=_run,
    data=DATA + "; the paper's panel has CIFAR-10",
    usual=fashion_mnist_folder,
    resumes=True,
)
"""The experiment."""
