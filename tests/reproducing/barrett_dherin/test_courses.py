"""What is said of courses of training whose records are known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from taylorsgd.reproducing.barrett_dherin.courses import (
    TIMES,
    Course,
    at_time,
    common_times,
    courses_of,
    of_physical_time,
    of_test_data,
    of_training_data,
)
from taylorsgd.reproducing.barrett_dherin.perceptrons import Perceptrons
from taylorsgd.reproducing.barrett_dherin.training import Training
from taylorsgd.reproducing.verdicts import Verdict

STEPS = np.arange(11) * 10
RATES = (0.1, 0.2, 0.4)
Law = Callable[[np.ndarray, float], np.ndarray]


def course(rate: float, number: int, **records: Law) -> Course:
    """One that falls as 1/(1 + steps) in all that it falls in, and grows by the logarithm of that."""
    usual: dict[str, Law] = {
        "loss": lambda n, h: 1 / (1 + n),
        "regularizer": lambda n, h: 1 / (1 + n) ** 2,
        "test_loss": lambda n, h: 1 / (1 + n) + n / 1000,
        "test_regularizer": lambda n, h: 1 / (1 + n) + n / 1000,
        "test_accuracy": lambda n, h: 0.9 - (n - 50) ** 2 / 1e4,
        "norm": lambda n, h: 1 + np.log1p(n),
    }
    values: dict[str, Any] = {name: law(STEPS.astype(float), rate) for name, law in (usual | records).items()}
    return Course(
        width=8, batch=4, rate=rate, initialization=number, parameters=100, fitted=True, best=5, steps=STEPS, **values
    )


def some(**records: Law) -> list[Course]:
    return [course(rate, number, **records) for rate in RATES for number in range(10)]


def verdicts(findings: list[Any]) -> dict[str, Verdict]:
    return {finding.claim: finding.verdict for finding in findings}


def test_what_falls_and_grows_is_told() -> None:
    found = verdicts(of_training_data(some()))
    # log |θ| is the logarithm of what log E goes as, and so makes most of its way earlier
    assert found.pop("|θ| comes to a plateau before E does (Figure A.2d, Proposition B.4)") is Verdict.AGREES
    assert set(found.values()) == {Verdict.AGREES}
    reversed_ = verdicts(
        of_training_data(some(loss=lambda n, h: 1 + n, regularizer=lambda n, h: 1 + n**2, norm=lambda n, h: 9 - n / 50))
    )
    assert reversed_["E falls during training (Figure A.2a)"] is Verdict.LOOSE
    assert reversed_["|θ| grows during training (Figure A.2d)"] is Verdict.LOOSE


def test_what_rises_again_on_test_data_is_told() -> None:
    found = of_test_data(some(test_regularizer=lambda n, h: 1 / (1 + n)))
    loss, regularizer, ratio, accuracy = found
    assert loss.verdict is accuracy.verdict is Verdict.AGREES and regularizer.verdict is Verdict.LOOSE
    assert "for 30 of 30 networks; initializations with most of theirs 10 of 10" in loss.found
    assert "for 0 of 30 networks" in regularizer.found and ratio.verdict is Verdict.UNRESOLVED


def test_most_of_an_initialization_are_more_than_half() -> None:
    """At one of three rates E rises: most of each initialization's networks fall all the same."""
    mixed = some(loss=lambda n, h: 1 + n if h == RATES[0] else 1 / (1 + n))
    (first, *_) = of_training_data(mixed)
    assert first.verdict is Verdict.AGREES and "for 20 of 30 networks" in first.found and "10 of 10" in first.found


def test_physical_times_are_common_ones_and_steps_apart() -> None:
    """log R_IG/E = −T h/10 falls with h at every T; as a function of steps alone, of T/h, it rises."""
    falling = some(loss=lambda n, h: np.ones(11), regularizer=lambda n, h: np.exp(-n * h * h / 10))
    times = common_times(falling)
    assert len(times) == TIMES and times[0] == pytest.approx(4) and times[-1] == pytest.approx(10)
    assert at_time(falling[0], 5.0) == pytest.approx(-5 * 0.1 / 10)
    found = of_physical_time(falling)
    assert found.verdict is Verdict.AGREES and f"falls at {TIMES} of {TIMES} times, T = 4 to 10" in found.found
    rising = of_physical_time(some())
    assert rising.verdict is Verdict.LOOSE and f"rises at {TIMES} of {TIMES} times" in rising.found


def test_courses_are_the_rows_of_a_training() -> None:
    records = {
        name: np.arange(6.0).reshape(2, 3) + i
        for i, name in enumerate(
            (
                "loss",
                "squared_slope",
                "train_accuracy",
                "test_loss",
                "squared_test_slope",
                "test_accuracy",
                "squared_norm",
            )
        )
    }
    run = Training(steps=np.array([0, 5, 10]), **records, best=np.array([2, -1]), theta=None, parameters=10)
    first, second = courses_of([Perceptrons(7, 4, np.array([0.1, 0.2]), np.array([0, 3]), run)])
    assert (first.rate, first.initialization, second.rate, second.initialization) == (0.1, 0, 0.2, 3)
    assert first.fitted and not second.fitted and first.best == 2
    row = first.row
    assert row["R_IG"] == pytest.approx(0.3) and row["slope"] == pytest.approx(3**0.5) and row["norm"] == 8**0.5
    assert row["test R_IG at end"] == pytest.approx(0.6) and row["lambda"] == pytest.approx(0.25)
    assert np.isnan(second.row["R_IG"]) and second.row["E at end"] == 5 and second.row["steps at best"] == -1
