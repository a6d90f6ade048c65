"""One call from a formula to a verdict, and what comparisons refuse.

Checked here:
    (1) what is compared is what the formula is of: gaps with gaps, differences of formulas with differences of runs
    (2) anything else is refused, and both sides are named
    (3) a check agrees with its parts, made by hand from the same key
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from sympy import Symbol

import taylorsgd as ts

COIN = ts.Landscape(lambda theta, x: jnp.cosh(theta + x), jnp.array([-1.0, 1.0, 0.3]))
SGD = ts.SGD(N=4, B=2, E=2)
RATES = [0.005, 0.01]


@pytest.fixture(scope="module")
def run() -> ts.descent.Simulation:
    return ts.simulate(COIN, 0.7, SGD, RATES, 4000, key=1)


@pytest.mark.parametrize(
    "observable", [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.SecondMoment(ts.TestLoss(), ts.TestLoss())]
)
def test_the_observable_is_inferred(observable, run) -> None:
    prediction = ts.predict(ts.derive(observable, SGD, 3), COIN, 0.7, eta=RATES)
    comparison = ts.compare(prediction, run)
    assert comparison.agrees
    np.testing.assert_array_equal(comparison.simulated, run.statistic(observable).mean)
    assert prediction.expectations.written()[1] in str(comparison)


def test_a_sum_of_observables_is_compared_with_the_sum(run) -> None:
    test, train = (ts.derive(s, SGD, 3) for s in (ts.TestLoss(), ts.TrainLoss()))
    for formula, expected in ((test - train, run.gap), (3 * test, None), (test + train, None)):
        comparison = ts.compare(ts.predict(formula, COIN, 0.7, eta=RATES), run)
        assert comparison.agrees
        if expected is not None:
            np.testing.assert_allclose(comparison.simulated, expected.mean)


@pytest.mark.parametrize(
    ("formula", "sizes", "observable", "message"),
    [
        (ts.derive(ts.TestLoss(), ts.SGD(), 2), {"N": 8, "B": 2, "E": 2}, None, "N=8 is not N=4"),
        (ts.derive(ts.TestLoss(), ts.GD(), 2), {"N": 4, "T": 4}, None, r"GD\(N=4, T=4\).*SGD\(N=4, B=2, E=2\)"),
        (ts.derive(ts.TestLoss(), ts.SGD(shuffle=True), 2), {"N": 4, "B": 2, "E": 2}, None, "shuffle=True"),
        (ts.derive(ts.TestLoss(), SGD, 2, update=ts.HeavyBall(0.5)), {}, None, "HeavyBall.*is not update=Descent"),
        (
            ts.derive(ts.GeneralizationGap(), SGD, 2),
            {},
            ts.TestLoss(),
            r"GeneralizationGap\(\), and observable=TestLoss\(\)",
        ),
        (ts.derive(ts.TestLoss(), SGD, 2)[2], {}, None, "does not know what it is of"),
        (
            ts.derive(ts.TestLoss(), SGD, 2) - ts.derive(ts.TestLoss(), ts.GD(N=4, T=4), 2),
            {},
            None,
            "the simulation of SGD",
        ),
    ],
)
def test_what_does_not_match_is_refused(formula, sizes, observable, message: str, run) -> None:
    prediction = ts.predict(formula, COIN, 0.7, eta=RATES, **sizes)
    with pytest.raises(ValueError, match=message):
        ts.compare(prediction, run, observable)


def test_controls_may_be_compared(run) -> None:
    prediction = ts.predict(ts.derive(ts.TestLoss(), ts.GD(), 3), COIN, 0.7, eta=RATES, N=4, T=8)
    assert ts.compare(prediction, run, strict=False).p_value < 1e-6
    altered = ts.derive(ts.TestLoss(), SGD, 3)
    altered = altered - altered[1] / 2
    comparison = ts.compare(ts.predict(altered, COIN, 0.7, eta=RATES), run)
    assert comparison.p_value < 1e-6 and "altered by hand" in str(comparison)


def test_a_difference_of_two_runs() -> None:
    sgd, gd = (ts.derive(ts.TestLoss(), place, 3) for place in (ts.SGD(B=1, E=1), ts.GD(T=ts.symbols.N)))
    found = ts.check(sgd - gd, COIN, 0.7, N=4, trials=4000, eta=[0.002, 0.003])
    assert found.agrees and isinstance(found.simulation, ts.descent.Difference)
    assert "E_SGD[l(θ_4)] - E_GD[l(θ_4)]" in str(found)
    turned = ts.compare(found.prediction, found.simulation.second - found.simulation.first)
    assert turned.chi2 == pytest.approx(found.comparison.chi2), "which run is subtracted is seen from the formula"
    swapped = ts.check(gd - sgd, COIN, 0.7, N=4, trials=4000, eta=[0.002, 0.003])
    np.testing.assert_allclose(swapped.comparison.simulated, -found.comparison.simulated)


def test_a_check_is_its_parts() -> None:
    found = ts.check(ts.GeneralizationGap(), COIN, 0.7, SGD, RATES, trials=500, key=3)
    f = ts.derive(ts.GeneralizationGap(), SGD, 3)
    measuring, simulating = jax.random.split(jax.random.key(3))
    prediction = ts.predict(f, COIN, 0.7, eta=RATES, key=measuring)
    comparison = ts.compare(prediction, ts.simulate(COIN, 0.7, SGD, RATES, 500, simulating))
    assert found.p_value == comparison.p_value and found.eta_max == prediction.eta_max
    assert found.curve.eta[0] == 0 and found.curve.eta[-1] > max(RATES) and len(found.curve.eta) == 200
    assert str(comparison) in str(found) and "<table>" in found._repr_html_()


def test_sizes_and_parameters_are_said_once() -> None:
    formula = ts.derive(ts.TestLoss(), ts.GD(), 3, update=ts.HeavyBall(Symbol("beta")))
    found = ts.check(formula, COIN, 0.7, ts.GD(N=4, T=3), update=ts.HeavyBall(0.5), trials=500)
    assert found.agrees and found.simulation.update == ts.HeavyBall(0.5)
    np.testing.assert_allclose(found.prediction.eta / found.eta_max, [0.25, 0.5, 1, 2], rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: ts.check(f, COIN, 0.7, ts.GD(N=4, T=3)), ValueError, "the formula is of SGD"),
        (lambda f: ts.check(f, COIN, 0.7, SGD, update=ts.HeavyBall(0.5)), ValueError, "is not update="),
        (lambda f: ts.check(f[1], COIN, 0.7, SGD), ValueError, "does not know what it is of"),
        (lambda f: ts.check(f, COIN, 0.7, N=4), ValueError, "the sizes B, E have no value"),
        (lambda f: ts.check("f", COIN, 0.7, SGD), TypeError, "formula='f' is neither"),
        (lambda f: ts.check(ts.TestLoss(), COIN, 0.7), ValueError, "spacetime=None"),
        (lambda f: ts.check(f.truncate(1), COIN, 0.7, SGD), ValueError, "eta=None: the formula's range ends at nan"),
    ],
)
def test_errors(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(ts.derive(ts.TestLoss(), ts.SGD(), 2))


def test_plots(run) -> None:
    matplotlib.use("agg")
    found = ts.check(ts.TestLoss(), COIN, 0.7, SGD, RATES, trials=500)
    axes = found.plot()
    assert axes.get_title() == found.comparison.verdict
    (bars,) = axes.containers
    np.testing.assert_allclose(bars.lines[0].get_ydata(), found.comparison.simulated)
    low, high = axes.get_ylim()
    assert low < min(found.comparison.simulated) < max(found.comparison.simulated) < high
    assert found.comparison.plot(axes, orders=False) is axes
    gap = run.plot(observable=ts.GeneralizationGap())
    np.testing.assert_allclose(gap.containers[0].lines[0].get_ydata(), run.gap.mean)
    with pytest.raises(TypeError, match="is a vector"):
        run.plot(observable=ts.Displacement())
