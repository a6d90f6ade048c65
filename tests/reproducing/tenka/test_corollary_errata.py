"""Every mistake of *SGD at Small Learning Rates* that the design lists is shown, and what is right is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sympy import Rational, expand

import taylorsgd as ts
from taylorsgd.reproducing.tenka.authors_table import GD, ONE_EPOCH, PRINTED, found_twice
from taylorsgd.reproducing.tenka.authors_table import value as value_on_landscape
from taylorsgd.reproducing.tenka.corollary_errata import VALLEY, _gap_of_minimizers
from taylorsgd.symbols import eta

QUICKLY = {"updates": 1500, "trials": 200, "time": 100, "paths": 400}
WRONG = {
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
}
RIGHT = {"authors' table, test loss, order 3", "authors' table, gap, order 2", "A.2, footnote 1"}


def test_every_mistake_is_shown(check_errata: Callable[..., None], tmp_path: Path) -> None:
    check_errata("sgd-errata", tmp_path, WRONG, RIGHT, **QUICKLY)


def test_the_coefficients_are_those_of_direct_perturbation() -> None:
    """The first ones by hand: −T G·G of the test loss, and T tr C/N of the gap with tr C = E|∇l_x|² − |G|²."""
    slope = value_on_landscape(ts.Value((-1, 0)))
    spread = value_on_landscape(ts.Value((-1, 0), (0, 0), moments=True)) - slope
    assert ONE_EPOCH.direct(ts.TestLoss(), 1) == ONE_EPOCH.derived(ts.TestLoss(), 1) == -3 * slope
    assert found_twice(ts.GeneralizationGap(), 1, (1, ONE_EPOCH)) == (spread, spread)
    assert found_twice(ts.TestLoss(), 1, (2, GD), (1, ONE_EPOCH)) == (-9 * slope, -9 * slope)


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
