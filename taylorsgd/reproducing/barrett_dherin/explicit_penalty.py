"""Explicit gradient regularization of a residual network, and its learning rates: Figures 3c, A.6 and A.7."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import ttest_1samp

from taylorsgd.reproducing.barrett_dherin.architectures import new_residual_net, residual_net
from taylorsgd.reproducing.barrett_dherin.perceptrons import trend_among
from taylorsgd.reproducing.barrett_dherin.training import Training, TrainingSize, seconds_per_epoch, stacked, train_once
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Work
from taylorsgd.reproducing.labelled_images import Images
from taylorsgd.reproducing.pictures import panels, shades
from taylorsgd.reproducing.significance import LEVEL

__all__ = ["EXPERIMENT", "ResidualSize"]

CLAIMED_GAIN = 0.12
"""The paper's gain in test accuracy by explicit regularization."""


@dataclass(frozen=True, kw_only=True)
class ResidualSize(TrainingSize):
    """The settings.

    Attributes:
        channels: in each stage of the network.
        blocks: in each stage.
        rate: the one of the learning rates with which explicit regularization is tried.
        mus: its regularization rates μ > 0.
        only_cifar10: whether 32 × 32 colour images are asked for.
    """

    channels: tuple[int, ...] = (8, 16)
    blocks: int = 1
    rates: tuple[float, ...] = (0.0125, 0.025, 0.05, 0.1)
    rate: float = 0.05
    mus: tuple[float, ...] = (0.001, 0.003, 0.01)
    points: int = 500
    tested: int = 1000
    side: int = 8
    epochs: int = 60
    batch: int = 50
    only_cifar10: bool = False


Run = tuple[float, float, int]
"""The learning rate, μ and the seed of a network."""


def _row(run: Run, training: Training) -> dict[str, Any]:
    """What a network was at maximum test accuracy, and at the end."""
    records = {
        "R_IG": training.regularizer,
        "E": training.loss,
        "test accuracy": training.test_accuracy,
        "train accuracy": training.train_accuracy,
        "|theta|^2": training.squared_norm,
    }
    return {
        **dict(zip(("rate", "mu", "initialization"), run, strict=True)),
        "m": training.parameters,
        **{name: training.at_best(record)[0] for name, record in records.items()},
        "steps at best": training.steps[training.best[0]],
        **{f"{name} at end": records[name][0, -1] for name in ("R_IG", "E", "test accuracy")},
    }


def _network(size: ResidualSize, images: Images, seed: int) -> Any:
    return stacked([new_residual_net(seed, images.train[0].shape[-1], size.channels, size.blocks)])


def _run(size: ResidualSize, work: Work) -> Outcome:
    if size.only_cifar10 and work.images.train[0].shape[1:] != (32, 32, 3):
        raise ValueError(
            f"--full trains a ResNet-18 on CIFAR-10's 32 × 32 colour images, not on {work.images}; give their folder "
            "by --data, or leave out --full"
        )
    images = size.prepared(work)
    rates = [*((rate, 0.0) for rate in size.rates), *((size.rate, mu) for mu in size.mus)]
    runs = [(*both, seed) for both in rates for seed in range(size.initializations)]
    if size.only_cifar10:
        plain, regularized = (
            seconds_per_epoch(residual_net, _network(size, images, 0), images, size.batch, explicit)
            for explicit in (False, True)
        )
        count = len(size.mus) * size.initializations
        hours = size.epochs * ((len(runs) - count) * plain + count * regularized) / 3600
        device = jax.devices()[0]
        work.say(
            f"On this device ({device.device_kind}) an epoch takes {plain:.3g} s, {regularized:.3g} s with explicit "
            f"regularization: {len(runs)} networks of {size.epochs} epochs will take about {hours:.3g} hours"
            + ("; this is meant for a GPU" if device.platform == "cpu" else "")
        )
    trained: dict[Run, Training] = {}
    for number, (rate, mu, seed) in enumerate(runs, start=1):
        if size.only_cifar10 or seed == 0:
            work.say(f"Network {number} of {len(runs)}: learning rate {rate:g}, μ = {mu:g}")
        plan = (images, [rate], [seed], size.epochs, size.batch, size.every)
        start = _network(size, images, seed)
        trained[rate, mu, seed] = train_once(work, f"network {number}", residual_net, start, *plan, mu=[mu])
    rows = [_row(run, training) for run, training in trained.items()]
    notes = [
        str(images),
        f"a residual network of {rows[0]['m']} parameters: stages of {size.blocks} blocks with "
        f"{', '.join(map(str, size.channels))} channels, no batch normalization",
    ]
    ends = Counter((row["rate"], row["mu"]) for row in rows if not np.isfinite(row["E at end"]))
    if ends:
        kinds = ", ".join(f"{count} with h = {rate:g}, μ = {mu:g}" for (rate, mu), count in ends.items())
        notes.append(f"networks that diverged in the end, and count as they were at their best: {kinds}")
    if not size.only_cifar10:
        notes.append("the paper's is a ResNet-18 on the whole of CIFAR-10: --full --data DIR, where there is a GPU")
    return Outcome(_picture(size, trained, rows), rows, _findings(size, rows), notes)


def _findings(size: ResidualSize, rows: Sequence[dict[str, Any]]) -> list[Finding]:
    finite = [row for row in rows if np.isfinite(row["R_IG"])]
    plain = [row for row in finite if row["mu"] == 0]
    compared = [row for row in finite if row["rate"] == size.rate]
    R, accuracy, without = "R_IG", "test accuracy", "without explicit regularization,"
    falls = f"{without} R_IG falls with the learning rate (Figures A.6b, A.7)"
    rises = f"{without} test accuracy rises with the learning rate (Figures A.6a, A.7)"
    return [
        *_gains(size, rows),
        trend_among(plain, falls, "rate", R, -1),
        trend_among(plain, rises, "rate", accuracy, 1),
        trend_among(plain, "test accuracy falls with R_IG (Figure A.7)", R, accuracy, -1),
        trend_among(compared, "R_IG falls with μ", "mu", R, -1, source="control"),
    ]


def _gains(size: ResidualSize, rows: Sequence[dict[str, Any]]) -> list[Finding]:
    """Gains in maximum test accuracy by explicit regularization, seed by seed."""
    best = {(row["rate"], row["mu"], row["initialization"]): row["test accuracy"] for row in rows}
    gains = {
        mu: np.array([best[size.rate, mu, s] - best[size.rate, 0.0, s] for s in range(size.initializations)])
        for mu in size.mus
    }
    mu = max(gains, key=lambda mu: gains[mu].mean())
    gain = float(gains[mu].mean())
    # gains without a spread, as of one network, have no t; their sign is all there is
    single = float(gain <= 0)
    if gains[mu].std() > 0:
        test: Any = ttest_1samp(gains[mu], 0.0, alternative="greater")
        single = float(test.pvalue)
    p_value = min(1.0, len(gains) * single)
    return [
        Finding(
            f"explicit regularization raises the maximum test accuracy, at h = {size.rate:g} (Figure 3c)",
            f"by {gain:+.2%} at the best μ = {mu:g}, one-sided p = {p_value:.2g} (paired t-test on {size.initializations} "
            f"initializations, times {len(gains)} for the choice of μ)",
            p_value < LEVEL,
            {"mu": mu, "gain": gain, "p_value": p_value},
        ),
        Finding(
            f"it raises it by more than {CLAIMED_GAIN:.0%} (Figure 3c)",
            f"by {gain:+.2%}",
            gain > CLAIMED_GAIN,
            {"gain": gain},
        ),
    ]


def _picture(size: ResidualSize, trained: Mapping[Run, Training], rows: Sequence[dict[str, Any]]) -> Figure:
    figure, (above, below) = panels(12, 7.5, 2, 3)
    seeds = range(size.initializations)
    with_penalty = {mu: [trained[size.rate, mu, seed] for seed in seeds] for mu in (0.0, *size.mus)}
    without = {rate: [trained[rate, 0.0, seed] for seed in seeds] for rate in size.rates}
    explicit, implicit = shades((0.0, *size.mus), "plasma", 0.85), shades(size.rates)
    _draw_curves(above[:2], with_penalty, explicit, "μ", f"explicit regularization, $h = {size.rate:g}$")
    _draw_curves(below[:2], without, implicit, "h", "learning rates, $μ = 0$")
    for axes, figures in zip((*above, *below), ("3c", "control", "3c", "A.6", "A.6b", "A.7"), strict=True):
        axes.set_title(f"({figures}) {axes.get_title() or 'at maximum test accuracy'}")

    shown = [each for each in rows if each["rate"] == size.rate]
    at = dict(zip(with_penalty, (min(size.mus) / 3, *size.mus), strict=True))  # 0 has no logarithm
    last = above[2]
    last.plot([at[each["mu"]] for each in shown], [each["test accuracy"] for each in shown], "k.", alpha=0.5)
    means = [np.mean([each["test accuracy"] for each in shown if each["mu"] == mu]) for mu in at]
    last.plot(list(at.values()), means, "o-", color="tab:blue", label="mean over initializations")
    last.set(xscale="log", xlabel="$μ$", ylabel="maximum test accuracy")
    last.minorticks_off()
    last.set_xticks(list(at.values()), [f"{mu:g}" for mu in at])
    last.legend(fontsize=8)

    shown, last = [each for each in rows if each["mu"] == 0], below[2]
    columns = ([each[name] for each in shown] for name in ("R_IG", "test accuracy"))
    last.scatter(*columns, c=[implicit[each["rate"]] for each in shown], edgecolor="k", lw=0.3)
    last.set(xscale="log", xlabel="$R_{IG}$", ylabel="test accuracy")
    return figure


def _draw_curves(
    panels: Any, chosen: Mapping[float, Sequence[Training]], colours: Mapping[float, Any], name: str, title: str
) -> None:
    """Test accuracy and R_IG against steps, averaged over the networks of each value of a rate."""
    accuracy, regularizer = panels
    for value, runs in chosen.items():
        tested = np.mean([run.test_accuracy[0] for run in runs], axis=0)
        logs = np.mean([np.log(np.maximum(run.regularizer[0], 1e-30)) for run in runs], axis=0)
        accuracy.plot(runs[0].steps, tested, color=colours[value], label=f"${name} = {value:g}$")
        regularizer.plot(runs[0].steps, np.exp(logs), color=colours[value])
    accuracy.set(xlabel="steps", ylabel="test accuracy", title=title)
    regularizer.set(xlabel="steps", ylabel="$R_{IG}$", yscale="log", title=title)
    accuracy.legend(fontsize=8)


EXPERIMENT = Experiment(
    title="explicit gradient regularization of a residual network",
    shows="Barrett and Dherin, Section 7 and Appendix E: Figures 3c, A.6 and A.7",
    claim="explicit gradient regularization raises a residual network's test accuracy on CIFAR-10, by more than 12%; "
    "without it, larger learning rates give a smaller R_IG and a higher test accuracy, at its maximum",
    judged="for explicit regularization a paired t-test over initializations at the best μ, with Bonferroni's factor "
    "for its choice; for learning rates Kendall's τ within initializations; one-sided, at the level 0.01",
    sizes={
        "quick": ResidualSize(),
        "full": ResidualSize(
            channels=(64, 128, 256, 512),
            blocks=2,
            rates=(0.005, 0.01, 0.05, 0.1, 0.2),
            rate=0.01,
            mus=(0.003, 0.01, 0.03, 0.1),
            initializations=3,
            points=50000,
            tested=10000,
            side=32,
            epochs=100,
            batch=512,
            every=1,
            only_cifar10=True,
        ),
    },
    lasts={
        "quick": "about two minutes",
        "full": "a day on a large GPU, out of reach on two cores, and says how long before it starts",
    },
    run=_run,
    data="a small network on scikit-learn's 1797 digits or the images of --data; with --full a ResNet-18 on all the "
    "CIFAR-10 images of --data",
)
"""The experiment."""
