"""Every mistake of the papers that the design lists is shown, and what is right is right."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from sympy import Rational, expand

import taylorsgd as ts
from taylorsgd.reproducing import igr_errata, load_experiment, run_experiment
from taylorsgd.reproducing.errata import Erratum, errata_outcome
from taylorsgd.reproducing.sgd_errata import PRINTED, VALLEY, _gap_of_minimizers, by_descent
from taylorsgd.reproducing.sgd_errata import value as value_on_landscape
from taylorsgd.symbols import eta

QUICKLY = {"updates": 1500, "trials": 200, "time": 100, "paths": 400}

WRONG = {
    "sgd-errata": {
        "authors' table, test loss, order 2",
        "authors' table, gap, order 3",
        "authors' table, GD − SGD",
        "Corollary 1",
        "Corollary 2",
        "A.1.4",
        "Corollary 3, SDE",
        "Corollary 3, ODE",
        "Corollary 4",
        "Corollary 5, limit",
        "A.8.2 and B.6.5",
        "A.3",
        "C.4",
        "4.2, the SDE on HELIX",
        "4.2, SGD on HELIX",
    },
    "igr-errata": {"Lemmas A.1 to A.4, f_3", "Example A.5", "Theorem 3.1, at h²", "A.23"},
}
RIGHT = {
    "sgd-errata": {
        "authors' table, test loss, order 3",
        "authors' table, gap, order 2",
        "A.2, footnote 1",
    },
    "igr-errata": {"Lemmas A.1 to A.4, f_1", "Lemmas A.1 to A.4, f_2"},
}


@pytest.mark.parametrize("name", WRONG)
def test_every_mistake_is_shown(name: str, tmp_path: Path) -> None:
    settings = load_experiment(name).sizes["quick"]
    if name == "sgd-errata":
        settings = replace(settings, **QUICKLY)
    outcome = run_experiment(name, output=tmp_path, settings=settings, say=lambda line: None)
    with (tmp_path / f"{name}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    verdicts = {row["where"]: row["the printed one is right"] for row in rows}
    assert {where for where, right in verdicts.items() if right == "False"} == WRONG[name]
    assert {where for where, right in verdicts.items() if right == "True"} == RIGHT[name]
    *printed, derived = outcome.findings
    assert derived.source == "control" and derived.agrees, derived.found
    assert len(printed) == len(rows) and not outcome.agrees


def test_the_coefficients_are_those_of_direct_perturbation() -> None:
    """The first ones by hand: −T G·G of the test loss, and T tr C/N of the gap with tr C = E|∇l_x|² − |G|²."""
    slope = value_on_landscape(ts.Value((-1, 0)))
    spread = value_on_landscape(ts.Value((-1, 0), (0, 0), moments=True)) - slope
    assert by_descent(ts.TestLoss(), ts.SGD(N=3, B=1, E=1), 1) == -3 * slope
    assert by_descent(ts.GeneralizationGap(), ts.SGD(N=3, B=1, E=1), 1) == spread


def test_the_table_is_copied_right() -> None:
    """Without noise there are no gaps, and GD is SGD: the numbers before C(T, k) of one tree sum to 0."""
    for entry in ("gap, order 2", "gap, order 3", "GD - SGD, order 2"):
        sums: dict[tuple[str, int], Rational] = {}
        for number, k, tree, _ in PRINTED[entry]:
            sums[tree, k] = sums.get((tree, k), 0) + number
        assert not any(sums.values())


def test_gaps_of_minimizers() -> None:
    """One point: θ²/2 − θ has its minimum −½ at 1, θ² + θ has −¼ at −½; the test loss is ¾ θ²."""
    assert _gap_of_minimizers(1) == Rational(1, 2) * (
        Rational(3, 4) + Rational(1, 2) + Rational(3, 16) + Rational(1, 4)
    )


def test_the_valley_is_as_it_says() -> None:
    tensors = [VALLEY.cumulant(degrees, 0).item() for degrees in ((1,), (2,), (1, 1), (1, 1, 1), (3,))]
    assert tensors == [0, 2, 2, 2, 6]
    third = ts.perturb(ts.TestLoss(), ts.SGD(N=1, B=1, E=1), VALLEY, [0], 3)
    assert expand(third).coeff(eta, 3) == -Rational(1, 6) * 2 * 6


def test_the_right_recursion_makes_an_euler_step() -> None:
    field = [-slope for slope in igr_errata.gradient(igr_errata.LOSS)]
    parts = igr_errata.corrections(lambda f: igr_errata.along(f, f), field, 3)
    assert all(igr_errata.euler_defect(parts[: k + 1], k) == [0, 0] for k in (1, 2, 3))
    assert igr_errata.euler_defect([*parts[:3], [0, 0]], 3) != [0, 0]


def test_a_wrong_derivation_would_be_told() -> None:
    """The control is what fails if the software is wrong; a tolerance is relative."""
    good = Erratum("here", "two", "three", 2, 3, 3)
    bad = replace(good, derived=4)
    near = replace(good, printed=Rational(31, 10), derived=Rational(29, 10), tolerance=0.05)
    assert not good.is_right(good.printed) and near.is_right(near.printed) and not near.is_right(2.8)
    outcome = errata_outcome([good, bad, near], [])
    assert [finding.agrees for finding in outcome.findings] == [False, False, True, False]
    assert "2 of 3; not here" in outcome.findings[-1].found
    assert errata_outcome([good], []).findings[-1].agrees
