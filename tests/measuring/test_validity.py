"""Up to which learning rate a formula is to be believed.

Identities:
    (1) for c_k = a r^k the growth is r, and what is left out of a/(1 − r) is its remainder
    (2) the growth bounds every part by the lowest, and is the smallest number that does
    (3) eta_max of a geometric series is where x^{d+1−m} = tolerance^{3/2}
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import taylorsgd as ts
from taylorsgd.measuring.validity import growth, largest_growth, largest_rate, left_out

SIZES = st.lists(st.floats(1e-3, 1e3), min_size=4, max_size=6)


@given(ratio=st.floats(0.01, 0.9), first=st.floats(0.1, 10))
def test_a_geometric_series(ratio: float, first: float) -> None:
    parts = first * ratio ** np.arange(5)
    x = growth(parts, np.zeros(5), [1, 2, 3, 4])
    assert x == pytest.approx(ratio)
    rest = first * ratio**5 / (1 - ratio)
    assert left_out(parts[1], x, 3) == pytest.approx(rest)


@given(sizes=SIZES)
def test_the_growth_bounds_every_part(sizes: list[float]) -> None:
    parts, orders = np.array([0.0, *sizes]), list(range(1, len(sizes) + 1))
    x = float(growth(parts, np.zeros_like(parts), orders))
    bounds = parts[1] * x ** (np.array(orders) - 1)
    assert (parts[1:] <= bounds * (1 + 1e-9)).all()
    pairs = [(parts[k] / parts[j]) ** (1 / (k - j)) for j in orders for k in orders if j < k]
    assert max(pairs) == pytest.approx(x)


def test_what_noise_hides_is_no_growth() -> None:
    parts = np.array([1.0, 1.0, 1e-9, 0.01])
    assert growth(parts, np.zeros(4), [1, 2, 3]) > 100, "a part that happens to vanish makes the next one look large"
    assert growth(parts, np.array([0, 0, 1e-6, 0]), [1, 2, 3]) == pytest.approx(0.1), "unless it is within its error"
    assert np.isnan(growth(parts, np.zeros(4), [2])) and np.isnan(growth(0 * parts, np.zeros(4), [1, 2, 3]))


def test_the_largest_rate() -> None:
    bound = largest_growth(0.02, 2)
    assert bound**3 == pytest.approx(0.02**1.5)
    assert largest_rate(lambda eta: 4 * eta, bound, 0.3, True) == pytest.approx(bound / 4)
    assert largest_rate(lambda eta: 4 * eta**2, bound, 0.3, False) == pytest.approx((bound / 4) ** 0.5, rel=0.01)
    assert largest_rate(lambda eta: 0 * eta, bound, 0.3, True) == np.inf == largest_rate(np.zeros_like, bound, 1, False)
    assert np.isnan(largest_rate(lambda eta: eta * np.nan, bound, 1, True))


COIN = ts.Landscape(lambda theta, x: jnp.cosh(theta + x), jnp.array([-1.0, 1.0, 0.3]))


def predicted(order: int, eta: Any = (0.001, 100.0), **settings: Any) -> Any:
    f = ts.derive(ts.TestLoss(), ts.SGD(N=4, B=1, E=1), order, **settings)
    method = ts.Dense() if settings else ts.MatrixFree("exact")
    return ts.predict(f, COIN, 0.7, eta=np.array(eta), method=method)


def test_one_order_does_not_know_its_range() -> None:
    first = predicted(1)
    assert np.isnan(first.eta_max) and not first.range_known and not first.range_ok.any()
    assert "unknown" in str(first) and "its range is unknown" in first.heading
    assert np.isnan(first.remainder).all()


def test_eta_max_is_where_the_growth_reaches_its_bound() -> None:
    third = predicted(3)
    x = growth(np.abs(third.contributions), np.zeros_like(third.contributions), [1, 2, 3]) / third.eta
    assert third.eta_max == pytest.approx(largest_growth(0.02, 2) / x[0], rel=1e-5)
    assert third.range_ok.tolist() == [True, False]
    assert third.remainder[1] == np.inf and 0 < third.remainder[0] < 1e-5
    assert f"up to η = {third.eta_max:.3g}" in str(third)
    assert predicted(3, [third.eta_max * 0.999, third.eta_max * 1.001]).range_ok.tolist() == [True, False]


def test_overflow_is_out_of_range() -> None:
    with np.errstate(all="ignore"):
        assert not predicted(3, [1e30]).range_ok.any()
        assert not predicted(1, [np.finfo(np.float32).max]).range_ok.any()


def test_a_linear_loss_has_no_end() -> None:
    line = ts.Landscape(lambda theta, x: theta * x, jnp.array([1.0, 2.0]))
    found = ts.predict(
        ts.derive(ts.TestLoss(), ts.GD(N=2, T=3), 3), line, 1.0, eta=[0.1], method=ts.MatrixFree("exact")
    )
    assert found.eta_max == np.inf and found.range_ok.all() and "no higher orders" in found.heading


def test_resummed_formulas_stop_where_steps_overshoot() -> None:
    """On a quadratic nothing is left out, and still no step may be longer than 1/λ_max."""
    bowl = ts.Landscape(lambda theta, x: 2 * (theta - x) ** 2, jnp.array([-1.0, 1.0]))
    f = ts.derive(ts.TestLoss(), ts.SGD(N=4, B=1, E=1), 2, resum="discrete")
    found = ts.predict(f, bowl, 0.7, eta=[0.01], method=ts.Dense())
    assert found.eta_max <= 1 / 4 * 1.01
    assert predicted(3, [0.001], resum="discrete").eta_max > predicted(3).eta_max / 3


def test_the_truth_is_inside() -> None:
    """Exactly: the expectation over all training sets of a finite landscape, by direct enumeration of descent."""
    third = predicted(3, [0.001])
    edge = third.eta_max
    run = ts.simulate(COIN, 0.7, ts.SGD(N=4, B=1, E=1), edge, 100_000, 0)
    at_edge = predicted(3, [edge])
    miss = abs(float(at_edge.mean[0]) - float(run.test_loss.mean))
    assert miss <= 0.02**1.5 * abs(at_edge.contributions[1, 0]) + 3 * float(run.test_loss.standard_error)


def test_bad_tolerances() -> None:
    for tolerance in (0.0, -1.0, 2.0, float("nan")):
        with pytest.raises(ValueError, match="tolerance="):
            ts.predict(ts.derive(ts.TestLoss(), ts.GD(), 1), COIN, 0.7, eta=0.1, tolerance=tolerance, T=3)


def test_plots_show_the_range() -> None:
    import matplotlib

    matplotlib.use("agg")
    third = predicted(3, [0.001, 0.05])
    axes = third.plot()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["through $η^1$", "through $η^2$", "prediction, through $η^3$", "beyond the range"]
    (shade,) = axes.patches
    assert shade.get_x() == pytest.approx(third.eta_max)
    curve = next(line for line in axes.lines if line.get_label().startswith("prediction"))
    eta, values = curve.get_xdata(), curve.get_ydata()
    assert len(eta) == 200 and np.interp(0.001, eta, values) == pytest.approx(float(third.mean[0]), rel=1e-5)
    assert axes.get_xlabel() == "learning rate $η$" and "theta_{4}" in axes.get_ylabel()
    assert predicted(1).plot(axes) is axes
    vectors = ts.Landscape(lambda theta, x: jnp.sum(jnp.cosh(theta + x)), jnp.array([-1.0, 1.0]))
    moved = ts.predict(ts.derive(ts.Displacement(), ts.GD(N=2, T=2), 2), vectors, jnp.ones(2), eta=[0.1], key=0)
    with pytest.raises(TypeError, match="is a vector"):
        moved.plot()
    with pytest.raises(TypeError, match="no matplotlib Axes"):
        third.plot(3)
