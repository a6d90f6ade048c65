"""Explicit gradient regularization, and learning rates without it, on CIFAR-10: Figures 3c, A.6 and A.7."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from scipy.stats import ttest_1samp

from taylorsgd.reproducing.barrett_dherin.architectures import (
    new_perceptron,
    new_residual_net,
    perceptron,
    residual_net,
)
from taylorsgd.reproducing.barrett_dherin.explicit_penalty_panels import draw
from taylorsgd.reproducing.barrett_dherin.perceptrons import Row, trend_among
from taylorsgd.reproducing.barrett_dherin.training import Training, seconds_per_epoch, stacked, train_once
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Work
from taylorsgd.reproducing.labelled_images import Images
from taylorsgd.reproducing.significance import LEVEL

__all__ = ["EXPERIMENT", "EgrSize", "Tier"]

CLAIMED_GAIN = 0.12
"""The paper's gain in test accuracy by explicit regularization."""


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A kind of network, and how it is trained.

    Attributes:
        network: its name, "perceptron" or "residual net".
        widths: the units of the hidden layers, or the channels in each stage.
        blocks: of a residual net, in each stage.
        rates: the learning rates without explicit regularization.
        rate: the learning rate at which it is tried; one that leaves something to gain, and is one of `rates`.
        mus: its regularization rates μ > 0.
        points: training images, at most.
        side: images are averaged down to about so many pixels a side.
        epochs: of SGD.
        batch: images in a batch.
        every: epochs between checkpoints.
    """

    network: str
    widths: tuple[int, ...]
    blocks: int = 1
    rates: tuple[float, ...]
    rate: float
    mus: tuple[float, ...]
    points: int
    side: int
    epochs: int
    batch: int = 50
    every: int = 4

    def new(self, images: Images, seed: tuple[int, int]) -> Any:
        """The parameters of a new network."""
        shape = images.train[0].shape[1:]
        if self.network == "perceptron":
            return new_perceptron(seed, int(np.prod(shape)), self.widths[0], len(self.widths) + 1)
        return new_residual_net(seed, shape[-1], self.widths, self.blocks)

    @property
    def scores(self) -> Any:
        """The network's function of parameters and images."""
        return perceptron if self.network == "perceptron" else residual_net


@dataclass(frozen=True, kw_only=True)
class EgrSize:
    """The settings.

    Attributes:
        tiers: the kinds of networks.
        seed: of everything.
        initializations: of each kind.
        tested: test images, at most.
        published: whether it is the paper's network and images, which are asked for.
    """

    tiers: tuple[Tier, ...]
    seed: int = 0
    initializations: int = 6
    tested: int = 800
    published: bool = False


Kind = tuple[float, float]
"""The learning rate and μ of some networks."""


def _train(tier: Tier, size: EgrSize, work: Work, images: Images) -> dict[Kind, list[Training]]:
    """The networks of every learning rate and μ, one training for each initialization.

    Perceptrons of all rates are trained at once; residual nets one by one, as batches of filters are slow.
    """
    kinds = [*((rate, 0.0) for rate in tier.rates), *((tier.rate, mu) for mu in tier.mus)]
    numbers = range(size.initializations)
    trained: dict[Kind, list[Training]] = {}
    for rate, mu in kinds:
        work.say(f"{tier.network}: learning rate {rate:g}, μ = {mu:g}")
        groups = [list(numbers)] if tier.network == "perceptron" else [[number] for number in numbers]
        for group in groups:
            seeds = [(size.seed, number) for number in group]
            theta = stacked([tier.new(images, seed) for seed in seeds])
            name = f"{tier.network} {rate:g} {mu:g} {group[0]}"
            plan = (images, [rate] * len(group), seeds, tier.epochs, tier.batch, tier.every)
            runs = train_once(work, name, tier.scores, theta, *plan, mu=[mu] * len(group))
            trained.setdefault((rate, mu), []).extend(runs.each())
    return trained


def _row(tier: Tier, kind: Kind, number: int, training: Training) -> Row:
    """What a network was at maximum test accuracy, and at the end."""
    records = {
        "R_IG": training.regularizer,
        "E": training.loss,
        "slope": training.slope,
        "test E": training.test_loss,
        "test R_IG": training.test_regularizer,
        "test accuracy": training.test_accuracy,
        "norm": training.norm,
    }
    return {
        "network": tier.network,
        "rate": kind[0],
        "mu": kind[1],
        "initialization": number,
        "m": training.parameters,
        "steps at best": training.steps[training.best[0]],
        **{name: training.at_best(record)[0] for name, record in records.items()},
        **{f"{name} at end": record[0, -1] for name, record in records.items()},
        "mean log slope": float(np.mean(np.log(np.maximum(training.slope[0], 1e-30)))),
    }


def _warn(size: EgrSize, tier: Tier, work: Work, images: Images) -> None:
    """Say how long the published network will take."""
    plain, regularized = (
        seconds_per_epoch(tier.scores, stacked([tier.new(images, (size.seed, 0))]), images, tier.batch, explicit)
        for explicit in (False, True)
    )
    seconds = size.initializations * tier.epochs * (len(tier.rates) * plain + len(tier.mus) * regularized)
    device = jax.devices()[0]
    work.say(
        f"On this device ({device.device_kind}) an epoch takes {plain:.3g} s, {regularized:.3g} s with explicit "
        f"regularization: {size.initializations * (len(tier.rates) + len(tier.mus))} networks of {tier.epochs} epochs "
        f"will take about {seconds / 3600:.3g} hours" + ("; this is meant for a GPU" * (device.platform == "cpu"))
    )


def _run(size: EgrSize, work: Work) -> Outcome:
    if size.published and work.images.train[0].shape[1:] != (32, 32, 3):
        raise ValueError(
            f"--full trains a ResNet-18 on CIFAR-10's 32 × 32 colour images, not on {work.images}; give their folder "
            "by --data, or leave out --full"
        )
    rows: list[Row] = []
    findings: list[Finding] = []
    notes: list[str] = []
    everything: list[tuple[Tier, dict[Kind, list[Training]]]] = []
    for tier in size.tiers:
        images = work.images.pooled(tier.side).subset(tier.points, size.tested)
        work.say(str(images))
        if size.published:
            _warn(size, tier, work, images)
        trained = _train(tier, size, work, images)
        mine = [_row(tier, kind, i, run) for kind, runs in trained.items() for i, run in enumerate(runs)]
        everything.append((tier, trained))
        rows += mine
        findings += _findings(tier, size, mine)
        notes.append(f"{tier.network}, {', '.join(map(str, tier.widths))}, of {mine[0]['m']} parameters: {images}")
        ends = Counter((row["rate"], row["mu"]) for row in mine if not np.isfinite(row["E at end"]))
        if ends:
            kinds = ", ".join(f"{count} with h = {rate:g}, μ = {mu:g}" for (rate, mu), count in ends.items())
            notes.append(f"networks that diverged in the end, and count as they were at their best: {kinds}")
    if not size.published:
        notes.append("the paper's is a ResNet-18 on the whole of CIFAR-10: --full --data DIR, where there is a GPU")
    return Outcome(draw(everything), rows, findings, notes)


def _findings(tier: Tier, size: EgrSize, rows: Sequence[Row]) -> list[Finding]:
    finite = [row for row in rows if np.isfinite(row["R_IG"])]
    plain = [row for row in finite if row["mu"] == 0]
    compared = [row for row in finite if row["rate"] == tier.rate]
    R, accuracy, of = "R_IG", "test accuracy", f"{tier.network}:"
    without = f"{of} without explicit regularization,"
    falls = trend_among(compared, f"{of} R_IG falls with μ, at h = {tier.rate:g}", "mu", R, -1, source="control")
    slopes = f"{without} paths have smaller slopes on average where h is larger (Figure A.6c)"
    finite_paths = [row for row in plain if np.isfinite(row["mean log slope"])]
    return [
        *_gains(tier, size, rows, falls),
        trend_among(plain, f"{without} R_IG falls with h (Figures A.6b, A.7)", "rate", R, -1),
        trend_among(plain, f"{without} test accuracy rises with h (Figures A.6a, A.7)", "rate", accuracy, 1),
        trend_among(plain, f"{without} test accuracy falls with R_IG (Figure A.7)", R, accuracy, -1),
        trend_among(finite_paths, slopes, "rate", "mean log slope", -1),
        falls,
    ]


def _gains(tier: Tier, size: EgrSize, rows: Sequence[Row], falls: Finding) -> list[Finding]:
    """Gains in maximum test accuracy by explicit regularization, initialization by initialization."""
    best = {(row["rate"], row["mu"], row["initialization"]): row["test accuracy"] for row in rows}
    numbers = range(size.initializations)
    base = np.array([best[tier.rate, 0.0, number] for number in numbers])
    gains = {mu: np.array([best[tier.rate, mu, number] for number in numbers]) - base for mu in tier.mus}
    mu = max(gains, key=lambda mu: gains[mu].mean())
    gain = gains[mu]
    relative = float(gain.mean() / base.mean())
    error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else float("nan")
    # gains without a spread, as of one network, have no t; their sign is all there is
    tests: dict[str, float] = {side: float(sign * gain.mean() <= 0) for side, sign in (("greater", 1), ("less", -1))}
    if gain.std() > 0:
        for side in tests:
            test: Any = ttest_1samp(gain, 0.0, alternative=side)
            tests[side] = float(test.pvalue)
    p_value = min(1.0, len(gains) * tests["greater"])
    unmet = "" if falls.agrees else f"its precondition fails, that R_IG falls with μ: {falls.found}"
    found = (
        f"by {100 * gain.mean():+.2f} ± {100 * error:.2f} points, {relative:+.1%} of {base.mean():.1%}, at the best "
        f"μ = {mu:g}"
    )
    numbers_found = {"mu": mu, "points": 100 * float(gain.mean()), "error": 100 * error, "relative": relative}
    much = relative > CLAIMED_GAIN
    other = "" if much or size.published else "it is about a ResNet-18 on all of CIFAR-10, which needs a GPU"
    return [
        Finding(
            f"{tier.network}: explicit regularization raises the maximum test accuracy (Figure 3c)",
            f"{found}, h = {tier.rate:g}, one-sided p = {p_value:.2g} (paired t-test on {len(gain)} initializations, "
            f"times {len(gains)} for the choice of μ)",
            p_value < LEVEL,
            numbers_found | {"p_value": p_value},
            contrary=tests["less"],
            unmet=unmet,
        ),
        Finding(
            f"{tier.network}: it raises it by more than {CLAIMED_GAIN:.0%} (Figure 3c)",
            f"{found}; agrees if the relative gain is",
            much,
            numbers_found,
            unmet=unmet or other,
        ),
    ]


PERCEPTRON = Tier(
    network="perceptron",
    widths=(64, 64, 64, 64),
    rates=(0.01, 0.02, 0.04),
    rate=0.02,
    mus=(0.03, 0.1),
    points=1000,
    side=16,
    epochs=60,
)
RESIDUAL = Tier(
    network="residual net",
    widths=(8, 16),
    rates=(0.05, 0.1, 0.2),
    rate=0.1,
    mus=(0.01, 0.03),
    points=500,
    side=8,
    epochs=40,
)
RESNET_18 = Tier(
    network="residual net",
    widths=(64, 128, 256, 512),
    blocks=2,
    rates=(0.005, 0.01, 0.05, 0.1, 0.2),
    rate=0.01,
    mus=(0.003, 0.01, 0.03, 0.1),
    points=50000,
    side=32,
    epochs=100,
    batch=512,
    every=1,
)

EXPERIMENT = Experiment(
    title="explicit gradient regularization, and learning rates without it",
    shows="Barrett and Dherin, Section 7 and Appendix E: Figures 3c, A.6 and A.7",
    claim="explicit gradient regularization raises a residual network's test accuracy on CIFAR-10, by more than 12%; "
    "without it, larger learning rates give a smaller R_IG and a higher test accuracy, at its maximum",
    judged="for explicit regularization a paired t-test over initializations at the best μ, with Bonferroni's factor "
    "for its choice, if R_IG falls with μ; for learning rates Kendall's τ within initializations; one-sided, at the "
    "level 0.01",
    sizes={
        "quick": EgrSize(tiers=(PERCEPTRON, RESIDUAL)),
        "full": EgrSize(tiers=(RESNET_18,), initializations=3, tested=10000, published=True),
    },
    lasts={
        "quick": "about two minutes",
        "full": "a day on a large GPU, out of reach on two cores, and says how long before it starts",
    },
    run=_run,
    data="a perceptron and a small residual network on scikit-learn's 1797 digits or the images of --data, meant for "
    "CIFAR-10's; with --full a ResNet-18 on all the CIFAR-10 images of --data",
    gpu=("full",),
)
"""The experiment."""
