"""R_IG against learning rate, network size and batch size, for perceptrons on images: Figures 2 and A.2 to A.5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from taylorsgd.reproducing.barrett_dherin.courses import (
    Course,
    courses_of,
    of_physical_time,
    of_test_data,
    of_training_data,
)
from taylorsgd.reproducing.barrett_dherin.perceptrons import PerceptronSize, Row, train_perceptrons, trend_among
from taylorsgd.reproducing.barrett_dherin.rate_and_width_panels import draw
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Work
from taylorsgd.reproducing.labelled_images import DIGITS, Images
from taylorsgd.reproducing.pictures import panels

__all__ = ["EXPERIMENT", "RateWidthSize"]


@dataclass(frozen=True, kw_only=True)
class RateWidthSize(PerceptronSize):
    """The settings; there are `initializations` networks for each rate and width.

    Attributes:
        widths: n_l, the units in each of the hidden layers.
        batches: other batch sizes, for networks of the middle width; of larger batches so many more epochs.
        full_batch_rates: the learning rates of full-batch descent, for networks of the middle width.
        full_batch_points: its training images.
        full_batch_epochs: its updates.
        full_batch_most: likewise, while there are networks that do not fit.
        full_batch_initializations: how many.
    """

    widths: tuple[int, ...] = (24, 48, 96)
    initializations: int = 4
    batches: tuple[int, ...] = (8,)
    full_batch_rates: tuple[float, ...] = (0.01, 0.02, 0.04, 0.08)
    full_batch_points: int = 100
    full_batch_epochs: int = 600
    full_batch_most: int = 3000
    full_batch_initializations: int = 10

    @property
    def middle(self) -> int:
        """The middle width."""
        return self.widths[len(self.widths) // 2]

    def with_batch(self, batch: int) -> RateWidthSize:
        """The settings for another batch size."""
        more = max(batch // self.batch, 1)
        return replace(self, batch=batch, epochs=self.epochs * more, most=self.most * more, every=self.every * more)

    def full_batch(self) -> RateWidthSize:
        """The settings for full-batch descent."""
        return replace(
            self,
            rates=self.full_batch_rates,
            initializations=self.full_batch_initializations,
            points=self.full_batch_points,
            batch=self.full_batch_points,
            epochs=self.full_batch_epochs,
            most=self.full_batch_most,
            every=self.full_batch_epochs // 30 or 1,
        )

    def trained(self, work: Work, images: Images) -> tuple[list[Course], list[Course], list[Course]]:
        """All networks: of every width, of other batch sizes, and those of full-batch descent."""
        by_width, by_batch = [], []
        for width in self.widths:
            work.say(f"{len(self.rates) * self.initializations} networks of width {width}")
            by_width += train_perceptrons(work, f"width {width}", images, self, width)
        for batch in self.batches:
            size = self.with_batch(batch)
            work.say(f"{len(size.rates) * size.initializations} networks of width {size.middle}, batches of {batch}")
            by_batch += train_perceptrons(work, f"batch {batch}", images, size, size.middle)
        size = self.full_batch()
        count = len(size.rates) * size.initializations
        work.say(f"{count} networks of width {size.middle} on full batches of {size.points}")
        few = images.subset(size.points, size.tested)
        full = train_perceptrons(work, "full batch", few, size, size.middle)
        return courses_of(by_width), courses_of(by_batch), courses_of(full)


def _fitted(found: Sequence[Course]) -> list[Course]:
    """Those that fit all their training images and never left the finite numbers."""
    return [course for course in found if course.fitted and np.isfinite(course.loss).all()]


def _by_size(fitted: Sequence[Course]) -> list[Finding]:
    """Figures 2 and A.5: at the time of maximum test accuracy, against λ = hm/4, h and m."""
    rows = [course.row for course in fitted]
    by_width, by_rate, by_start = ("width", "initialization"), ("rate", "initialization"), ("initialization",)
    R, accuracy = "R_IG", "test accuracy"

    def squared_slope(row: Row) -> float:
        return row["slope"] ** 2

    def ratio(row: Row) -> float:
        return row["R_IG"] / max(row["E"], 1e-30)

    slope_with_m = trend_among(rows, "", "m", squared_slope, -1, by_rate)
    slope_with_lambda = trend_among(rows, "", "lambda", squared_slope, -1, by_start)
    beyond = [
        Finding(
            f"R_IG falls with {name} by more than its own 1/m ({figure})",
            f"|∇E|²: {slope.found}{more}",
            slope.agrees,
            slope.numbers,
            contrary=slope.contrary,
        )
        for name, figure, slope, more in (
            ("λ = hm/4", "Figure 2a", slope_with_lambda, ""),
            ("m", "Figure A.5", slope_with_m, f"; {_exponents(rows)}"),
        )
    ]
    return [
        trend_among(rows, "R_IG falls with λ = hm/4 (Figure 2a)", "lambda", R, -1, by_start),
        beyond[0],
        trend_among(rows, "R_IG falls with h, width by width (Figure A.5)", "rate", R, -1, by_width),
        trend_among(rows, "R_IG falls with m, rate by rate (Figure A.5)", "m", R, -1, by_rate),
        beyond[1],
        trend_among(rows, "R_IG/E falls with h, width by width (Prediction 2.1)", "rate", ratio, -1, by_width),
        trend_among(rows, "test accuracy rises with λ (Figure 2b)", "lambda", accuracy, 1, by_start),
        trend_among(rows, "test accuracy rises with h, width by width (Figure A.5)", "rate", accuracy, 1, by_width),
        trend_among(rows, "test accuracy rises with m, rate by rate (Figure A.5)", "m", accuracy, 1, by_rate),
        trend_among(rows, "test accuracy falls with R_IG (Figure A.5)", R, accuracy, -1, by_start),
    ]


def _exponents(rows: Sequence[Row]) -> str:
    """The powers of m that R_IG and its parts go as, fitted with a constant for each rate and initialization."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault((row["rate"], row["initialization"]), []).append(row)

    def power(name: str, of: float) -> float:
        points = [(np.log([r["m"] for r in g]), of * np.log([max(r[name], 1e-30) for r in g])) for g in groups.values()]
        x, y = (np.concatenate([each[i] - each[i].mean() for each in points]) for i in (0, 1))
        return float(x @ y / (x @ x)) if x.any() else float("nan")

    return f"R_IG goes as m^{power('R_IG', 1):.2f}, its own m^−1 times |∇E|² as m^{power('slope', 2):.2f}"


def _at_the_end(fitted: Sequence[Course]) -> list[Finding]:
    """Figure A.2c: after equal steps."""
    rows = [course.row for course in fitted]
    same = ("width", "initialization")

    def ratio(row: Row) -> float:
        return row["R_IG at end"] / max(row["E at end"], 1e-30)

    def scaled(row: Row) -> float:
        return row["lambda"] * ratio(row)

    return [
        trend_among(rows, "R_IG/E falls with h after equal steps (Appendix E)", "rate", ratio, -1, same),
        trend_among(
            rows, "λ R_IG/E falls with h after equal steps (Figure A.2c, as printed)", "rate", scaled, -1, same
        ),
    ]


def _by_batch(fitted: Sequence[Course], full: Sequence[Course]) -> list[Finding]:
    """Figure A.5 again: at each batch size, and in full-batch descent."""
    found = []
    groups = {f"batches of {batch}": [c for c in fitted if c.batch == batch] for batch in _batches(fitted)}
    for label, some in (groups | {"full-batch descent": full}).items():
        rows = [course.row for course in some]
        found += [
            trend_among(rows, f"R_IG falls with h in {label} (Figure A.5)", "rate", "R_IG", -1),
            trend_among(rows, f"test accuracy rises with h in {label} (Figure A.5)", "rate", "test accuracy", 1),
        ]
    return found


def _batches(found: Sequence[Course]) -> list[int]:
    return sorted({course.batch for course in found})


def _pieces(size: RateWidthSize, done: int) -> str:
    planned = len(size.rates) * size.initializations * len(size.widths)
    return f"pieces so far: {done} of {planned} networks with batches of {size.batch}"


def _none_fits_so_far(size: RateWidthSize, images: Images, found: Sequence[Course]) -> Outcome:
    """What the first pieces of a run come to while claims, which are about networks that fit, have nothing to go by."""
    reached = "; ".join(
        f"width {course.width} at h = {course.rate:g}: E at least {np.nanmin(course.loss):.2g}, test accuracy at most "
        f"{np.nanmax(course.test_accuracy):.2%}"
        for course in found
    )
    figure, axes = panels(7, 4)
    for course in found:
        for loss, part in ((course.loss, "training"), (course.test_loss, "test")):
            axes.plot(course.steps, loss, label=f"width {course.width}, h = {course.rate:g}: {part}")
    axes.set(xlabel="steps", ylabel="$E$", yscale="log")
    axes.legend(fontsize=8)
    notes = [
        str(images),
        _pieces(size, len(found)),
        f"none of them fits all {len(images.train[1])} training images in {max(size.epochs, size.most)} epochs: "
        f"{reached}",
    ]
    return Outcome(figure, [course.row for course in found], [], notes)


def _run(size: RateWidthSize, work: Work) -> Outcome:
    images = size.prepared(work)
    everything = size.trained(work, images)
    main, swept, full = (_fitted(found) for found in everything)
    if not main:
        if work.keep.whole or not any(everything):
            raise size.none_fits(images)
        return _none_fits_so_far(size, images, [course for found in everything for course in found])
    of_middle = [course for course in main if course.width == size.middle]
    findings = [
        *_by_size(main),
        *_by_batch([*of_middle, *swept], full),
        *of_training_data(main),
        *_at_the_end(main),
        *of_test_data(main),
        of_physical_time(main),
    ]
    counts = [f"{len(fit)} of {len(found)}" for fit, found in zip((main, swept, full), everything, strict=True)]
    notes = [
        f"{images}; full-batch descent has the first {size.full_batch_points} of them",
        f"networks that fit all training images, on which the verdicts rest: {counts[0]} with batches of {size.batch}; "
        f"{counts[1]} with other batches, of width {size.middle}; {counts[2]} in full-batch descent",
        f"networks have {size.layers - 1} hidden layers: with 400 units in each they have 0.96 × 10⁶ parameters for "
        "MNIST, as Appendix E means by 9.6 × 10⁶",
        "claims about the course of training are judged by initializations of one width: whether it is so for most of "
        "their learning rates",
    ]
    if not work.keep.whole:
        notes.append(_pieces(size, len(everything[0])))
    rows = [course.row for found in everything for course in found]
    return Outcome(draw(size.middle, main, swept, full), rows, findings, notes)


EXPERIMENT = Experiment(
    title="implicit gradient regularization against learning rate, network size and batch size",
    shows="Barrett and Dherin, Section 7 and Appendix E: Figures 2a, 2b and A.2 to A.5",
    claim="among perceptrons that fit all training images, those with a larger rate of implicit regularization "
    "λ = hm/4 have a smaller R_IG and a higher test accuracy at the time of maximum test accuracy",
    judged="Kendall's τ within groups that share all else (initialization; width or rate), one-sided, at the level "
    "0.01; what a course of training does by a sign test over initializations, likewise; the time of maximum test "
    "accuracy is the first such checkpoint among those where all training images are classified right",
    sizes={
        "quick": RateWidthSize(),
        "full": RateWidthSize(
            widths=(50, 100, 200, 400),
            initializations=8,
            rates=(0.0025, 0.005, 0.01, 0.02, 0.04),
            points=1000,
            tested=2000,
            epochs=300,
            most=1200,
            full_batch_points=500,
            full_batch_epochs=2400,
            full_batch_most=12000,
            full_batch_rates=(0.005, 0.01, 0.02, 0.04, 0.08),
            full_batch_initializations=20,
            apart=True,
        ),
        "paper": RateWidthSize(
            widths=(50, 100, 200, 400, 800, 1600),
            initializations=1,
            rates=(0.1, 0.05, 0.01, 0.5, 0.005, 0.001, 0.0005),
            points=60000,
            tested=10000,
            epochs=60,
            most=1000,
            every=2,
            batches=(128, 512),
            full_batch_points=60000,
            full_batch_epochs=3000,
            full_batch_most=30000,
            full_batch_rates=(0.5, 0.1, 0.05, 0.01, 0.005),
            full_batch_initializations=1,
            apart=True,
        ),
    },
    lasts={
        "quick": "about three minutes",
        "full": "some hours on two cores, a piece of it (--pieces) some minutes",
        "paper": "days on a GPU, its first pieces (--pieces 3) about half an hour on two cores",
    },
    run=_run,
    data=DIGITS,
    gpu=("paper",),
    pieces=("full", "paper"),
)
"""The experiment."""
