"""The course of a network's training, checkpoint by checkpoint, and what the paper says of it: Figures A.2 to A.4."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from taylorsgd.reproducing.barrett_dherin.perceptrons import Perceptrons, Row
from taylorsgd.reproducing.experiment import Finding
from taylorsgd.reproducing.significance import LEVEL, Trend, sign_test, trend

__all__ = [
    "LEAST", "Course", "at_time", "common_times", "courses_of", "of_physical_time", "of_test_data", "of_training_data",
    "trend_at",
]  # fmt: skip

LEAST = 1e-30
"""A loss or a slope below the range of float32 is taken for this."""
CLEAR = 0.5
"""Something rises or falls along a course if Kendall's τ with the number of steps is beyond this."""
SHARE = 0.9
"""A record has reached its plateau when this share of its whole change, in logarithms, is behind it."""
AGAIN = 1.01
"""A record has risen again if it ends above so many times its least value."""
TIMES = 25
"""How many physical times are looked at."""


@dataclass(frozen=True)
class Course:
    """One network's training, with C checkpoints.

    Attributes:
        width: the units in each of its hidden layers.
        batch: images in a batch.
        rate: its learning rate h.
        initialization: which.
        parameters: m.
        fitted: whether it classified every training image right at a checkpoint.
        best: the checkpoint of maximum test accuracy among those.
        steps: the number of updates before each checkpoint, (C,).
        loss: E, (C,), like all that follow.
        regularizer: R_IG.
        test_loss: E of the test set.
        test_regularizer: R_IG of the test set.
        test_accuracy: on the test set.
        norm: |θ|.
    """

    width: int
    batch: int
    rate: float
    initialization: int
    parameters: int
    fitted: bool
    best: int
    steps: np.ndarray
    loss: np.ndarray
    regularizer: np.ndarray
    test_loss: np.ndarray
    test_regularizer: np.ndarray
    test_accuracy: np.ndarray
    norm: np.ndarray

    @property
    def times(self) -> np.ndarray:
        """The physical times of the checkpoints, steps · h, (C,)."""
        return self.steps * self.rate

    @property
    def ratio(self) -> np.ndarray:
        """R_IG/E, (C,)."""
        return np.maximum(self.regularizer, LEAST) / np.maximum(self.loss, LEAST)

    @property
    def test_ratio(self) -> np.ndarray:
        """R_IG/E of the test set, (C,)."""
        return np.maximum(self.test_regularizer, LEAST) / np.maximum(self.test_loss, LEAST)

    @property
    def row(self) -> Row:
        """What the table says of it: what it was at its best, and at the end."""
        best = self.best

        def at_best(record: np.ndarray) -> float:
            return float(record[best]) if self.fitted else float("nan")

        return {
            "batch": self.batch,
            "width": self.width,
            "m": self.parameters,
            "rate": self.rate,
            "lambda": self.rate * self.parameters / 4,
            "initialization": self.initialization,
            "fitted": self.fitted,
            "steps at best": int(self.steps[best]) if self.fitted else -1,
            "E": at_best(self.loss),
            "R_IG": at_best(self.regularizer),
            "slope": at_best(np.sqrt(self.regularizer * self.parameters)),
            "test E": at_best(self.test_loss),
            "test R_IG": at_best(self.test_regularizer),
            "test accuracy": at_best(self.test_accuracy),
            "norm": at_best(self.norm),
            "steps at end": int(self.steps[-1]),
            "E at end": self.loss[-1],
            "R_IG at end": self.regularizer[-1],
            "test E at end": self.test_loss[-1],
            "test R_IG at end": self.test_regularizer[-1],
            "test accuracy at end": self.test_accuracy[-1],
            "norm at end": self.norm[-1],
        }


def courses_of(groups: Sequence[Perceptrons]) -> list[Course]:
    """The course of every network."""
    return [
        Course(
            width=group.width,
            batch=group.batch,
            rate=float(group.rates[i]),
            initialization=int(group.initializations[i]),
            parameters=run.parameters,
            fitted=bool(run.fitted[i]),
            best=int(run.best[i]),
            steps=run.steps,
            loss=run.loss[i],
            regularizer=run.regularizer[i],
            test_loss=run.test_loss[i],
            test_regularizer=run.test_regularizer[i],
            test_accuracy=run.test_accuracy[i],
            norm=run.norm[i],
        )
        for group in groups
        for run in [group.training]
        for i in range(len(group.rates))
    ]


def _of_most(claim: str, found: Sequence[Course], so: Callable[[Course], bool], what: str) -> Finding:
    """A claim about each course, judged by the initializations of each width: what is so for most of their rates."""
    together: dict[tuple[int, int], list[bool]] = {}
    for course in found:
        together.setdefault((course.width, course.initialization), []).append(so(course))
    each = [bool(np.mean(verdicts) > 0.5) for verdicts in together.values()]
    networks = [verdict for verdicts in together.values() for verdict in verdicts]
    words = f"{what}: for {sum(networks)} of {len(networks)} networks; initializations with most of theirs {{}}"
    return Finding.of_most(claim, sign_test(each), words)


def _along(first: np.ndarray, second: np.ndarray) -> float:
    found: Any = kendalltau(first, second)
    return float(np.nan_to_num(found.statistic))


def _arrival(record: np.ndarray) -> int:
    """The checkpoint from which on a record has made its share of its whole change, in logarithms."""
    logs = np.log(np.maximum(record, LEAST))
    share = (logs - logs[0]) / (logs[-1] - logs[0]) if logs[-1] != logs[0] else np.ones(len(logs))
    late = np.flatnonzero(share < SHARE)
    return int(late[-1]) + 1 if len(late) else 0


def _slows(course: Course) -> bool:
    growth = np.diff(course.norm) / np.diff(course.steps)
    return _along(growth, course.regularizer[:-1]) > CLEAR


def of_training_data(found: Sequence[Course]) -> list[Finding]:
    """Figure A.2: what falls, what grows, and what comes to rest first."""

    def falls(record: Callable[[Course], np.ndarray]) -> Callable[[Course], bool]:
        return lambda course: _along(course.steps, record(course)) < -CLEAR

    clear = f"Kendall's τ with the number of steps below −{CLEAR:g}"
    plateau = f"{SHARE:.0%} of the whole change of log |θ| is made before {SHARE:.0%} of that of log E"
    return [
        _of_most("E falls during training (Figure A.2a)", found, falls(lambda c: c.loss), clear),
        _of_most("R_IG falls during training (Figure A.2b)", found, falls(lambda c: c.regularizer), clear),
        _of_most("R_IG/E falls during training (Appendix E)", found, falls(lambda c: c.ratio), clear),
        _of_most(
            "|θ| grows during training (Figure A.2d)",
            found,
            lambda course: _along(course.steps, course.norm) > CLEAR,
            f"Kendall's τ with the number of steps above {CLEAR:g}",
        ),
        _of_most(
            "the growth of |θ| slows as R_IG falls (Figure A.2d, Proposition B.4)",
            found,
            _slows,
            f"Kendall's τ of growth per step with R_IG above {CLEAR:g}",
        ),
        _of_most(
            "|θ| comes to a plateau before E does (Figure A.2d, Proposition B.4)",
            found,
            lambda course: _arrival(course.norm) < _arrival(course.loss),
            plateau,
        ),
    ]


def of_test_data(found: Sequence[Course]) -> list[Finding]:
    """Figure A.3: what falls and rises again, and the ratio at the end."""

    def rises_again(record: Callable[[Course], np.ndarray]) -> Callable[[Course], bool]:
        def so(course: Course) -> bool:
            values = record(course)
            return 0 < int(np.argmin(values)) and values[-1] > AGAIN * values.min()

        return so

    again = f"the least value comes after the start, and the last is more than {AGAIN - 1:.0%} above it"
    ends = [(course.rate, np.log(course.test_ratio[-1]), _same(course)) for course in found]
    return [
        _of_most(
            "E of the test data falls, then rises (Figure A.3a)", found, rises_again(lambda c: c.test_loss), again
        ),
        _of_most(
            "R_IG of the test data falls, then rises (Figure A.3b)",
            found,
            rises_again(lambda c: c.test_regularizer),
            again,
        ),
        Finding.of_trend("R_IG/E of the test data falls with h after equal steps (Figure A.3c)", _falling(ends)),
        _of_most(
            "test accuracy rises to a maximum, then falls (Figure A.3d)",
            found,
            lambda c: 0 < int(np.argmax(c.test_accuracy)) and c.test_accuracy[-1] < c.test_accuracy.max(),
            "the maximum comes after the start, and the last value is below it",
        ),
    ]


# -- physical time ---------------------------------------------------------------------------------------------


def _same(course: Course) -> tuple[int, int]:
    return course.width, course.initialization


def _falling(points: Sequence[tuple[float, float, tuple[int, int]]]) -> Trend:
    """Whether the second number falls with the first, among those that have the third in common."""
    finite = [point for point in points if np.isfinite(point[:2]).all()]
    xs, ys, groups = zip(*finite, strict=True) if finite else ((), (), ())
    return trend(xs, ys, -1, groups)


def common_times(found: Sequence[Course]) -> np.ndarray:
    """Physical times T that all networks have lived through, evenly spaced in logarithms, (n,)."""
    first = max(course.times[1] for course in found)
    last = min(course.times[-1] for course in found)
    return np.geomspace(first, last, TIMES) if first < last else np.array([last])


def at_time(course: Course, time: float) -> float:
    """The logarithm of R_IG/E at a physical time, between checkpoints by straight lines in T."""
    return float(np.interp(time, course.times, np.log(course.ratio)))


def trend_at(found: Sequence[Course], time: float) -> Trend:
    """Whether R_IG/E falls with h at a physical time, within widths and initializations."""
    return _falling([(c.rate, at_time(c, time), _same(c)) for c in found])


def of_physical_time(found: Sequence[Course]) -> Finding:
    """Figure A.4: R_IG/E against h at equal physical times, judged at the longest of them."""
    times = common_times(found)
    trends = [trend_at(found, time) for time in times]
    falling = [f"{time:.3g}" for time, each in zip(times, trends, strict=True) if each.p_value < LEVEL]
    rising = [f"{time:.3g}" for time, each in zip(times, trends, strict=True) if each.contrary < LEVEL]
    words = [
        f"{name} at {len(some)} of {len(times)} times" + (f", T = {some[0]} to {some[-1]}" if some else "")
        for name, some in (("falls", falling), ("rises", rising))
    ]
    last = trends[-1]
    return Finding(
        "R_IG/E falls with h after a sufficiently long equal physical time T (Figure A.4)",
        f"at the longest, T = {times[-1]:.3g}: {last}; {', '.join(words)}",
        last.agrees,
        {
            "T": float(times[-1]),
            "tau": last.tau,
            "p_value": last.p_value,
            "falling": len(falling),
            "rising": len(rising),
        },
        contrary=last.contrary,
    )
