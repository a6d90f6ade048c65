"""Figures 3 to 9, Table 1 and the author responses: their files and verdicts at a tiny size, and what they rest on."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sympy import Rational, Symbol, diff, lambdify, symbols

import taylorsgd as ts
from taylorsgd.reproducing import Outcome, load_experiment, run_experiment
from taylorsgd.reproducing.expectations import Expectations
from taylorsgd.reproducing.sgd_landscape import descents

TINY: dict[str, dict[str, Any]] = {
    "sgd-diagrams": {"links": 1},
    "sgd-landscape": {"updates": 600, "trials": 40},
    "sgd-responses": {"rates": (0.04, 0.02), "complete": ((2, 1),), "hopping": (0.4, 0.3), "points": 60},
}
REFUTED = {
    "sgd-diagrams": ["every other two-edged diagram embeds M² times"],
    "sgd-landscape": [],
    "sgd-responses": ["positive definite Hessians", "with probability 1"],
}
"""What the paper says and the software does not find."""


def run(name: str, output: Path) -> Outcome:
    settings = replace(load_experiment(name).sizes["quick"], **TINY[name])
    return run_experiment(name, output=output, settings=settings, say=lambda line: None)


@pytest.mark.parametrize("name", TINY)
def test_an_experiment_leaves_its_files_and_its_verdict(name: str, tmp_path: Path) -> None:
    outcome = run(name, tmp_path)
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    ElementTree.parse(tmp_path / f"{name}.svg")
    with (tmp_path / f"{name}.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(outcome.table) > 0
    content = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    refuted = [f["claim"] for f in content["findings"] if not f["agrees"]]
    assert len(refuted) == len(REFUTED[name])
    assert all(words in claim for words, claim in zip(REFUTED[name], refuted, strict=True))


def test_the_same_drawings_twice(tmp_path: Path) -> None:
    for folder in ("once", "again"):
        run("sgd-diagrams", tmp_path / folder)
    for path in (tmp_path / "once").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_trajectories_are_plain_descent() -> None:
    """The first update moves along the noise; later ones as the losses' own derivatives say."""
    path = descents(0.2, 30, 2, 0)
    place = ts.landscapes.helix()
    slopes = lambdify((place.variables, place.noise), [diff(place.sample_loss, v) for v in place.variables])
    for points in path:
        for before, after in zip(points, points[1:], strict=False):
            # the noise that explains the change of u, or of v where w has no u, explains all of it
            quiet = np.array(slopes(before, 0.0))
            per_unit = np.array(slopes(before, 1.0)) - quiet
            moved = (before - after) / 0.2 - quiet
            x = moved @ per_unit / (per_unit @ per_unit)
            np.testing.assert_allclose(moved, x * per_unit, atol=1e-4)


def test_expectations_are_sums_over_all_words() -> None:
    x = Symbol("x")
    losses = [x**2 / 2 + x**3 / 6 + x**4 / 8 + x, x**2 / 2 + x**4 / 8 - x / 2]
    place = ts.FiniteLandscape(losses, [Rational(1, 3), Rational(2, 3)], [x])
    exact = Expectations(place, 0.2, (-2.0, 2.0), 40)
    slopes = [lambdify(x, diff(loss, x)) for loss in losses]
    total = 0.0
    for word in product((0, 1), repeat=6):
        theta, weight = 0.3, 1.0
        for letter in word:
            theta -= 0.2 * slopes[letter](theta)
            weight *= (1 / 3, 2 / 3)[letter]
        total += weight * lambdify(x, place.loss)(theta)
    assert exact.test_loss(0.3, 6) == pytest.approx(total, abs=1e-13)
    assert exact.test_loss(0.3, 2**12) == pytest.approx(exact.limit(), abs=1e-9)
    assert Expectations(place, 0.2, (-2.0, 2.0), 60).limit() == pytest.approx(exact.limit(), abs=1e-12)


def test_expectations_refuse_what_they_are_not_for() -> None:
    x, y = symbols("x y")
    with pytest.raises(ValueError, match="has 2 variables"):
        Expectations(ts.FiniteLandscape([x * y], [1], [x, y]), 0.1, (-1.0, 1.0))
    with pytest.raises(ValueError, match=r"interval=\(-1.0, 1.0\) is left by an update with η = 0.1"):
        Expectations(ts.FiniteLandscape([-(x**2)], [1], [x]), 0.1, (-1.0, 1.0))
