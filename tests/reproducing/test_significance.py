"""The statistics of the verdicts, against SciPy, against all permutations, and against known orders."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import scipy.stats

from taylorsgd.reproducing.significance import LEAST_P, chi_square, joint_z, order_of_convergence, trend


@pytest.mark.parametrize("levels", [30, 4])
def test_one_group_is_scipys_kendall(levels: int) -> None:
    """The same statistic and variance, with and without ties; SciPy makes no continuity correction."""
    random = np.random.default_rng(levels)
    x, y = random.permuted(np.arange(30) % levels, axis=0), random.permuted(np.arange(30) % levels)
    found = trend(x, y, expected=1)
    theirs = scipy.stats.kendalltau(x, y, method="asymptotic", variant="b")
    assert 2 * scipy.stats.norm.sf(abs(found.z)) == pytest.approx(theirs.pvalue, rel=1e-9)
    if levels == 30:
        assert found.tau == pytest.approx(theirs.statistic, rel=1e-12)


def test_groups_are_as_all_permutations_within_them() -> None:
    """The variance over all orders of y within each group; the p-value is close to the exact one."""
    x, y = [1, 2, 3, 4, 1, 2, 3, 4], [1.0, 2.0, 2.0, 5.0, 0.3, 0.1, 0.4, 0.5]
    strata = ["a"] * 4 + ["b"] * 4

    def score(values: tuple[float, ...], start: int) -> float:
        pairs = [(i, j) for i in range(4) for j in range(i)]
        return sum(np.sign(x[start + i] - x[start + j]) * np.sign(values[i] - values[j]) for i, j in pairs)

    scores = [[score(order, start) for order in permutations(y[start : start + 4])] for start in (0, 4)]
    sums = np.add.outer(*map(np.array, scores)).ravel()
    observed = score(tuple(y[:4]), 0) + score(tuple(y[4:]), 4)
    found = trend(x, y, 1, strata)
    assert found.z == pytest.approx(observed / np.std(sums), rel=1e-12)
    assert found.p_value == pytest.approx(np.mean(sums >= observed), abs=0.005)
    assert found.tau == observed / found.pairs and found.pairs == 11
    assert found.contrary == trend(x, y, -1, strata).p_value == pytest.approx(np.mean(sums <= observed), abs=0.005)


def test_what_groups_have_in_common_does_not_matter() -> None:
    x = np.tile(np.arange(5), 6)
    strata = np.repeat(np.arange(6), 5)
    falling = 100.0 * strata - x  # which rises over all
    assert trend(strata * 5 + x, falling, 1).agrees
    inside = trend(x, falling, -1, strata.tolist())
    assert inside.tau == -1 and inside.agrees and not trend(x, falling, 1, strata.tolist()).agrees


def test_under_no_trend_it_is_seldom_significant() -> None:
    random = np.random.default_rng(0)
    p_values = [trend(range(20), random.normal(size=20), 1, [0, 1] * 10).p_value for _ in range(400)]
    count = sum(p < 0.1 for p in p_values)
    assert abs(count - 40) / np.sqrt(400 * 0.1 * 0.9) < 3


def test_nothing_to_compare_agrees_with_nothing() -> None:
    for x, y, strata in (([], [], None), ([1.0], [2.0], None), ([1, 2], [3, 3], None), ([1, 2], [3, 4], ["a", "b"])):
        found = trend(x, y, 1, strata)
        assert found.p_value == 1.0 and found.agrees is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1, 2], [1], 1), "lengths 2, 1 and 2"),
        (([1, 2], [1, 2], 0), "expected=0 must be 1"),
        (([1, 2], [1, np.nan], 1), "finite"),
    ],
)
def test_bad_input(arguments: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trend(*arguments)


def test_orders_of_convergence() -> None:
    steps = np.geomspace(1e-3, 1e-2, 5)
    assert order_of_convergence(steps, 7 * steps**3) == pytest.approx(3)
    assert order_of_convergence(steps, steps**2 * (1 + steps)) == pytest.approx(2, abs=0.01)


def test_chi_square_and_joint_z_are_scipys() -> None:
    found = chi_square(17.3, 6)
    assert found.p_value == pytest.approx(1 - scipy.stats.chi2.cdf(17.3, 6)) and found.agrees
    assert not chi_square(scipy.stats.chi2.isf(0.9 * LEAST_P, 6), 6).agrees
    mean, error = np.array([0.2, 0.5, -0.1]), np.array([0.1, 0.4, 0.2])
    combined = scipy.stats.combine_pvalues(scipy.stats.norm.sf(mean / error), method="stouffer")
    assert joint_z(mean, error) == pytest.approx((combined.statistic, combined.pvalue))
