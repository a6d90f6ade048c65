"""The estimators by themselves: coefficients in exact arithmetic, bias by listing all draws, refusals.

The estimates of one draw are functions of finitely many points. On a population of three points, all choices of
them can be listed: their mean must be the exact value, to rounding (as in test_measuring, for "centred").

For cumulants the recursion down the lattice of partitions has a closed form: the joint cumulants of a mean of S
independent points are those of a point over S^(m−1), so with μ the parts of a value of D nodes

    κ = S^(D−|μ|) Σ_{τ ≤ μ} Π_{p ∈ μ} (−1)^(k_p−1) (k_p−1)! E{x}_τ.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts
from taylorsgd.landscapes import Landscape, measure
from taylorsgd.measuring import MatrixFree
from taylorsgd.measuring.estimators import Correlators, correlator
from taylorsgd.measuring.planning import make_plan
from taylorsgd.measuring.results import DrawMoments
from taylorsgd.measuring.running import Runner


def values_of(observables: Sequence[Any], order: int) -> tuple[ts.Value, ...]:
    formulas = [ts.derive(observable, ts.SGD(), order=order) for observable in observables]
    return tuple(sorted({value for f in formulas for value in f.values if isinstance(value, ts.Value)}))


TREES = values_of([ts.TrainLoss()], 3)
"""All partitions of all trees with up to three edges, in cumulants."""


def star(*parts: int) -> ts.Value:
    return ts.Value((-1, 0, 0), parts, moments=True)


def test_three_tied_nodes_as_in_the_papers_example() -> None:
    # ⟨012⟩ = S²{012} − (S−1)(S−2)⟨0 1 2⟩ − (S−1)(⟨01 2⟩ + ⟨02 1⟩ + ⟨12 0⟩),  ⟨01 2⟩ = S{01 2} − (S−1){0 1 2}
    for S in range(1, 6):
        pairs = {star(0, 0, 1): 2, star(0, 1, 1): 1}
        single = -(S - 1) * (S - 2) + 3 * (S - 1) ** 2
        expected = {star(0, 0, 0): S**2, star(0, 1, 2): single}
        expected |= {pair: -(S - 1) * S * count for pair, count in pairs.items()}
        found = correlator(star(0, 0, 0), S)
        assert {network: weight for network, weight in found.items() if weight} == {
            network: weight for network, weight in expected.items() if weight
        }


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_correlators_combine_into_cumulants_of_batch_means(batch: int) -> None:
    larger = values_of([ts.Variance(ts.TrainLoss())], 3)
    assert max(len(value.parents) for value in larger) == 5
    for value in (*TREES, *larger):
        scale = batch ** (len(value.parents) - len(value.blocks))
        expected: dict[ts.Value, Fraction] = {}
        for factor, network in value.in_moments():
            expected[network] = expected.get(network, Fraction(0)) + scale * factor
        assert Correlators(batch, 5).networks(value) == {n: w for n, w in expected.items() if w}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("moments", [False, True])
def test_single_points_give_unbiased_correlators(twins: Any, moments: bool) -> None:
    f = ts.derive(ts.GeneralizationGap(), ts.SGD(), order=3)
    values = f.to_moments().values if moments else TREES
    twins.check_unbiased(values, twins.sampler(), batch=1, size=None, estimator="correlators")


@pytest.mark.usefixtures("x64")
def test_batches_give_unbiased_correlators(twins: Any) -> None:
    values = values_of([ts.TrainLoss()], 2)
    twins.check_unbiased(values, twins.landscape(), batch=2, size=3, estimator="correlators")


@pytest.mark.usefixtures("x64")
def test_displacements_have_unbiased_correlators(twins: Any) -> None:
    values = values_of([ts.Displacement()], 3)
    twins.check_unbiased(values, twins.landscape(), batch=1, size=3, estimator="correlators")


@pytest.mark.usefixtures("x64")
def test_exact_values_are_exact(twins: Any) -> None:
    formulas = [ts.derive(o, ts.SGD(), order=3) for o in (ts.TrainLoss(), ts.Variance(ts.TestLoss()))]
    plan = ts.plan(formulas, twins.landscape(), method=MatrixFree("exact"))
    assert plan.combinations == 9 and len(plan.groups) == 2  # two tied parts at most
    measured = measure(formulas, twins.landscape(), twins.theta(), method=MatrixFree("exact", chunk=4))
    expected = [twins.value(value).item() for value in measured.values]
    np.testing.assert_allclose(measured.mean, expected, rtol=1e-12)
    assert measured.samples == 0 and not measured.standard_error.any()


@pytest.mark.usefixtures("x64")
def test_exact_displacements_are_exact(twins: Any) -> None:
    measured = measure(
        ts.derive(ts.Displacement(), ts.SGD(), order=3), twins.landscape(), twins.theta(), method=MatrixFree("exact")
    )
    expected = np.array([twins.value(value) for value in measured.values])
    np.testing.assert_allclose(np.stack(measured.mean, axis=-1), expected, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_an_exact_prediction_has_no_error(twins: Any) -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)
    predicted = ts.predict(f, twins.landscape(), twins.theta(), eta=0.01, N=5, method=MatrixFree("exact"))
    exact = f.evaluate(twins.exact, at=twins.start, eta=Fraction(1, 100), N=5)
    assert float(predicted.mean) == pytest.approx(float(exact), rel=1e-12)
    assert float(predicted.standard_error) == 0


def test_float32_costs_little_beside_the_noise(twins: Any) -> None:
    # The worst case: correlators multiply differences of nearly equal numbers by S^(D−|μ|) = 64.
    points = np.random.default_rng(0).normal(size=(40, 3)) / 10 + 1.0

    def loss(theta: Any, x: Any) -> Any:
        return jnp.sum(jnp.cosh(theta + x)) + jnp.sum(theta * x) ** 3

    plan = make_plan(TREES, batch=4, population=None, estimator="correlators")
    rows = {
        group: np.random.default_rng(i).integers(0, 40, (200, width))
        for i, (group, width) in enumerate(plan.groups.items())
    }
    estimates = {}
    for wide in (False, True):
        with jax.enable_x64(wide):
            landscape = Landscape(loss, points)
            theta = jnp.array([0.5, -0.25, 1.0])
            runner = Runner(plan, landscape, theta, {})
            estimates[wide] = np.asarray(runner.estimates({g: landscape.rows(r) for g, r in rows.items()}))
    assert estimates[False].dtype == np.float32 and estimates[True].dtype == np.float64
    lost = np.abs(estimates[False] - estimates[True]).max(axis=0)
    noise = estimates[True].std(axis=0)
    assert (lost < 1e-3 * noise).all() and lost.max() > 0


def test_float32_draws_are_summed_in_float64() -> None:
    # A million draws near 1000 with a spread of 0.1: sums in float32 would lose all digits of the variance.
    draws = (1000 + np.random.default_rng(0).normal(size=(1000, 1000, 1)) / 10).astype(np.float32)
    moments = DrawMoments()
    for chunk in draws:
        moments.add([chunk])
    wide = draws.astype(np.float64)
    assert moments.mean[0][0] == pytest.approx(wide.mean(), rel=1e-14)
    assert moments.covariance_of_mean()[0][0, 0] == pytest.approx(wide.var(ddof=1) / 10**6, rel=1e-10)


class TestErrors:
    f = ts.derive(ts.TestLoss(), ts.SGD(), order=3)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"estimator": "population"}, "estimator='population' must be one of 'centred', 'correlators'"),
            ({"estimator": "exact", "batch": 3}, "batch=3: estimator='exact' uses every point"),
            ({"estimator": "exact", "samples": 30}, "samples=30: estimator='exact' uses every point"),
            ({"batch": 2}, "key=None: measuring draws points"),
            ({"estimator": "correlators"}, "key=None: measuring draws points"),
        ],
    )
    def test_impossible_settings(self, twins: Any, settings: Any, message: str) -> None:
        samples = settings.pop("samples", None)
        with pytest.raises(ValueError, match=message):
            measure(self.f, twins.landscape(), twins.theta(), samples=samples, method=MatrixFree(**settings))

    def test_a_sampler_has_no_exact_values(self, twins: Any) -> None:
        with pytest.raises(ValueError, match="a sampler has none; use 'centred' or 'correlators'"):
            ts.plan(self.f, twins.sampler(), method=MatrixFree("exact"))

    def test_too_many_points_for_exact_values(self) -> None:
        landscape = Landscape(lambda theta, x: theta * x, jnp.zeros(10_000))
        two_ties = ts.derive(ts.TrainLoss(), ts.SGD(), order=3)
        with pytest.raises(ValueError, match="100000000 choices of 2 points .* use estimator='centred'"):
            ts.plan(two_ties, landscape, method=MatrixFree("exact"))

    def test_noiseless_values_need_no_key(self, twins: Any) -> None:
        measured = measure(self.f.assume("noiseless"), twins.landscape(), twins.theta())
        assert measured.samples == 0

    def test_a_resummed_formula_has_no_plan_and_no_correlators(self, twins: Any) -> None:
        f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2, resum="discrete")
        with pytest.raises(ValueError, match="formula is resummed"):
            ts.plan(f, twins.landscape())
        with pytest.raises(ValueError, match="'correlators'.* is for plain formulas; this one is resummed"):
            measure(f, twins.landscape(), twins.theta(), method=MatrixFree("correlators"))


def test_every_choice_of_points_is_listed_once(twins: Any) -> None:
    plan = ts.plan(ts.derive(ts.TrainLoss(), ts.SGD(), order=3), twins.landscape(), method=MatrixFree("exact"))
    runner = Runner(plan, twins.landscape(), twins.theta(), {})
    found = []
    for points in runner.draws(jax.random.key(0), 9, 4):
        columns = [np.asarray(points[group][0])[:, 0] for group in plan.groups]
        found += list(zip(*columns, strict=True))
    assert found[:9] == list(product(twins.points[:, 0], repeat=2))
    assert twins.all_draws(runner).shape == (9, len(plan.sampled))
