"""R_IG against learning rate and network size, for perceptrons on images: Figures 2 and A.2 to A.5."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from taylorsgd.reproducing.barrett_dherin.training import (
    Perceptrons,
    PerceptronSize,
    Row,
    train_perceptrons,
    trend_among,
)
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Work
from taylorsgd.reproducing.labelled_images import DIGITS
from taylorsgd.reproducing.pictures import panels, shades

__all__ = ["EXPERIMENT", "RateWidthSize"]


@dataclass(frozen=True, kw_only=True)
class RateWidthSize(PerceptronSize):
    """The settings; there are `seeds` networks for each rate and width.

    Attributes:
        widths: n_l, the units in each of the hidden layers.
        full_batch_rates: the learning rates of full-batch descent, for networks of the middle width.
        full_batch_epochs: its updates.
    """

    seeds: int = 4
    widths: tuple[int, ...] = (16, 32, 64)
    full_batch_rates: tuple[float, ...] = (0.04, 0.08, 0.16, 0.32)
    full_batch_epochs: int = 1000

    @property
    def middle(self) -> int:
        """The middle width."""
        return self.widths[len(self.widths) // 2]

    def full_batch(self) -> RateWidthSize:
        """The settings for full-batch descent."""
        updates = self.full_batch_epochs
        rates = self.full_batch_rates
        return replace(self, rates=rates, epochs=updates, batch=self.points, every=updates // 50 or 1)


def _rows(groups: Sequence[Perceptrons], descent: str) -> list[Row]:
    """One row for each network: what it was at its best, at the end, and at a fixed physical time."""
    rows: list[Row] = []
    for group in groups:
        run = group.training
        reached = run.steps[-1] * group.rates.min()  # physical time: steps · rate, what the slowest one lives
        late = np.searchsorted(run.steps, reached / group.rates - 0.5).clip(max=len(run.steps) - 1)
        each = np.arange(len(group.rates))
        columns = {
            "rate": group.rates,
            "lambda": group.rates * run.parameters / 4,
            "seed": group.seeds,
            "fitted": run.fitted.tolist(),
            "R_IG": run.at_best(run.regularizer),
            "E": run.at_best(run.loss),
            "squared slope": run.at_best(run.squared_slope),
            "test accuracy": run.at_best(run.test_accuracy),
            "|theta|^2": run.at_best(run.squared_norm),
            "steps at best": np.where(run.fitted, run.steps[run.best], -1),
            "R_IG at end": run.regularizer[:, -1],
            "E at end": run.loss[:, -1],
            "R_IG at fixed physical time": run.regularizer[each, late],
            "E at fixed physical time": run.loss[each, late],
        }
        same = {"descent": descent, "width": group.width, "m": run.parameters}
        rows += [same | {name: values[i] for name, values in columns.items()} for i in each]
    return rows


def _findings(rows: Sequence[Row], control: Sequence[Row]) -> list[Finding]:
    fitted, full = ([row for row in each if row["fitted"]] for each in (rows, control))

    def ratio(moment: str) -> Callable[[Row], float]:
        return lambda row: row[f"R_IG{moment}"] / row[f"E{moment}"]

    by_width, by_rate = ("width", "seed"), ("rate", "seed")
    R, accuracy = "R_IG", "test accuracy"
    later = "R_IG/E falls with h after equal physical time, that of the slowest (Figure A.4)"
    slope = "|∇E|² = m R_IG falls with m, rate by rate: not only by the 1/m in R_IG"
    equal = "R_IG/E falls with h after equal steps (Figures A.2, A.3)"
    rises = "test accuracy rises with h, width by width (Figure A.5)"
    always = "R_IG/E falls with h as well, width by width"
    return [
        trend_among(fitted, "R_IG falls with λ = hm/4 (Figure 2a)", "lambda", R, -1),
        trend_among(fitted, "R_IG falls with h, width by width (Figure A.5)", "rate", R, -1, by_width),
        trend_among(fitted, "R_IG falls with m, rate by rate (Figure A.5)", "m", R, -1, by_rate),
        trend_among(fitted, "test accuracy rises with λ (Figure 2b)", "lambda", accuracy, 1),
        trend_among(fitted, rises, "rate", accuracy, 1, by_width),
        trend_among(fitted, "test accuracy rises with m, rate by rate (Figure A.5)", "m", accuracy, 1, by_rate),
        trend_among(fitted, "test accuracy falls with R_IG (Figure A.5)", R, accuracy, -1),
        trend_among(fitted, equal, "rate", ratio(" at end"), -1, by_width),
        trend_among(fitted, later, "rate", ratio(" at fixed physical time"), -1, by_width),
        trend_among(full, "R_IG falls with h in full-batch descent (Figure A.5)", "rate", R, -1),
        trend_among(fitted, always, "rate", ratio(""), -1, by_width, "control"),
        trend_among(fitted, slope, "m", "squared slope", -1, by_rate, "control"),
    ]


def _run(size: RateWidthSize, work: Work) -> Outcome:
    images = size.prepared(work)
    groups = []
    for width in size.widths:
        work.say(f"Training {len(size.rates) * size.seeds} networks of width {width}")
        groups.append(train_perceptrons(work, f"width {width}", images, size, width, separate=True))
    large = size.full_batch()
    work.say(f"Training {len(large.rates) * size.seeds} networks of width {size.middle} on full batches")
    full = train_perceptrons(work, f"width {size.middle} full batch", images, large, size.middle, separate=True)
    rows, control = _rows(groups, f"batches of {size.batch}"), _rows([full], "full batch")
    fitted = sum(row["fitted"] for row in rows)
    if not fitted:
        raise size.none_fits(images)
    notes = [
        str(images),
        f"{fitted} of {len(rows)} networks fit all training images at some checkpoint; the others are left out "
        f"(so are {sum(not row['fitted'] for row in control)} of {len(control)} in full-batch descent)",
    ]
    return Outcome(_picture(size, groups, rows), [*rows, *control], _findings(rows, control), notes)


def _picture(size: RateWidthSize, groups: Sequence[Perceptrons], rows: Sequence[Row]) -> Figure:
    figure, axes = panels(12, 8, 2, 3)
    fitted = [row for row in rows if row["fitted"]]
    colours = shades(size.rates)
    areas = {width: 14 * (i + 1) ** 1.5 for i, width in enumerate(size.widths)}
    for place, x, y in (
        (axes[0, 0], "lambda", "R_IG"),
        (axes[0, 1], "lambda", "test accuracy"),
        (axes[0, 2], "R_IG", "test accuracy"),
    ):
        style = {"c": [colours[row["rate"]] for row in fitted], "s": [areas[row["width"]] for row in fitted]}
        columns = ([row[name] for row in fitted] for name in (x, y))
        place.scatter(*columns, **style, alpha=0.75, lw=0.3, edgecolor="k")
        place.set_xscale("log")
    axes[0, 0].set(yscale="log", xlabel="$λ = hm/4$", ylabel="$R_{IG}$", title="(2a) at maximum test accuracy")
    axes[0, 1].set(xlabel="$λ = hm/4$", ylabel="test accuracy", title="(2b) at maximum test accuracy")
    axes[0, 2].set(xlabel="$R_{IG}$", ylabel="test accuracy", title="(A.5) at maximum test accuracy")
    widest = groups[-1]
    run = widest.training
    for rate in size.rates:
        chosen = (widest.rates == rate) & np.isfinite(run.loss).all(axis=1)
        if not chosen.any():
            continue
        steps = run.steps[1:]
        regularizer, ratio = (
            np.exp(np.mean(np.log(record[chosen, 1:]), axis=0))
            for record in (run.regularizer, run.regularizer / run.loss)
        )
        label = f"$h = {rate:g}$"
        axes[1, 0].plot(steps, regularizer, color=colours[rate], label=label)
        axes[1, 1].plot(steps, ratio, color=colours[rate], label=label)
        axes[1, 2].plot(steps * rate, ratio, color=colours[rate], label=label)
    for place, x, y, title in zip(
        axes[1],
        ("steps $i$", "steps $i$", "physical time $i h$"),
        ("$R_{IG}$", "$R_{IG}/E$", "$R_{IG}/E$"),
        ("(A.2b)", "(A.2c)", "(A.4)"),
        strict=True,
    ):
        place.set(xscale="log", yscale="log", xlabel=x, ylabel=y, title=f"{title} width {widest.width}")
    axes[1, 0].legend(fontsize=8)
    sizes = [
        axes[0, 0].scatter([], [], s=areas[width], c="0.6", edgecolor="k", lw=0.3, label=f"width {width}")
        for width in size.widths
    ]
    axes[0, 0].legend(handles=sizes, fontsize=8)
    return figure


EXPERIMENT = Experiment(
    title="implicit gradient regularization against learning rate and network size",
    shows="Barrett and Dherin, Section 7 and Appendix E: Figures 2a, 2b and A.2 to A.5",
    claim="among perceptrons that fit all training images, those with a larger rate of implicit regularization "
    "λ = hm/4 have a smaller R_IG and a higher test accuracy at the time of maximum test accuracy",
    judged="Kendall's τ within groups that share all else (seed; width or rate), one-sided, at the level 0.01; the "
    "time of maximum test accuracy is the first such checkpoint among those where all training images are "
    "classified right",
    sizes={
        "quick": RateWidthSize(),
        "full": RateWidthSize(
            widths=(16, 32, 64, 128, 256),
            rates=(0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32),
            seeds=5,
            tested=10000,
            epochs=400,
            full_batch_rates=(0.02, 0.04, 0.08, 0.16, 0.32),
            full_batch_epochs=5000,
        ),
    },
    lasts={"quick": "about a minute", "full": "about an hour"},
    run=_run,
    data=DIGITS,
)
"""The experiment."""
