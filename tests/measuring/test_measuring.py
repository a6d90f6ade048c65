"""Measured values against exact cumulants.

The estimates of one draw are functions of finitely many points. On a population of three points, all choices
of them can be listed: their mean must be the exact value, to rounding. That shows that an estimator has no
bias for every value up to some order, at the smallest batches. Standard errors and covariances are then those
of the listed draws, and a Monte Carlo run must agree with both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import taylorsgd as ts
from taylorsgd.landscapes import Landscape, Measurement, measure
from taylorsgd.measuring import MatrixFree
from taylorsgd.measuring.planning import make_plan
from taylorsgd.measuring.running import Runner

SCALARS = (
    ts.TestLoss(),
    ts.TrainLoss(),
    ts.GeneralizationGap(),
    ts.Variance(ts.TestLoss()),
    ts.Variance(ts.GeneralizationGap()),
)


def values_of(observables: Sequence[Any], order: int) -> tuple[ts.Value, ...]:
    formulas = [ts.derive(observable, ts.SGD(), order=order) for observable in observables]
    return tuple(sorted({value for formula in formulas for value in plain(formula)}))


def plain(formula: ts.Formula) -> list[ts.Value]:
    return [value for value in formula.values if isinstance(value, ts.Value)]


def test_parts_of_every_size_up_to_five_occur() -> None:
    sizes = {len(block) for value in values_of(SCALARS, 3) for block in value.blocks}
    assert sizes == {1, 2, 3, 4, 5}


@pytest.mark.usefixtures("x64")
def test_a_population_used_as_a_whole_is_unbiased_to_order_three(twins: Any) -> None:
    twins.check_unbiased(values_of(SCALARS, 3), twins.landscape(), batch=3, size=3)


@pytest.mark.usefixtures("x64")
def test_smallest_batches_are_unbiased_to_order_three(twins: Any) -> None:
    twins.check_unbiased(values_of(SCALARS[:3], 3), twins.landscape(), batch=1, size=3)


@pytest.mark.usefixtures("x64")
def test_a_sampler_is_unbiased_to_order_three(twins: Any) -> None:
    twins.check_unbiased(values_of([ts.TestLoss()], 3), twins.sampler(), batch=1, size=None)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("batch", "size"), [(1, 3), (3, 3), (1, None)])
def test_displacements_are_unbiased_to_order_three(twins: Any, batch: int, size: int | None) -> None:
    landscape = twins.landscape() if size else twins.sampler()
    twins.check_unbiased(values_of([ts.Displacement()], 3), landscape, batch, size)


@pytest.mark.usefixtures("x64")
def test_covariance_of_a_loss_and_a_displacement_is_unbiased(twins: Any) -> None:
    values = values_of([ts.Covariance(ts.TrainLoss(), ts.Displacement())], 2)
    twins.check_unbiased(values, twins.landscape(), batch=1, size=3)


@pytest.mark.usefixtures("x64")
def test_an_observable_is_unbiased(twins: Any) -> None:
    s = ts.Observable(twins.observable)
    values = values_of([s, ts.Covariance(s, ts.TestLoss())], 3)
    assert any(value.degrees[value.marks.index("s")] == 3 for value in values)
    twins.check_unbiased(values, twins.landscape(), batch=1, size=3)


@pytest.mark.usefixtures("x64")
def test_moments_are_unbiased(twins: Any) -> None:
    values = tuple(plain(ts.derive(ts.GeneralizationGap(), ts.SGD(), order=3).to_moments()))
    assert any(value.moments for value in values)
    twins.check_unbiased(values, twins.landscape(), batch=1, size=3)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("batch", [2, 3])
def test_monte_carlo_agrees_in_mean_and_covariance(twins: Any, batch: int) -> None:
    formulas = [ts.derive(observable, ts.SGD(), order=3) for observable in SCALARS[:4]]
    samples = 6000
    measured = measure(
        formulas,
        twins.landscape(),
        twins.theta(),
        key=jax.random.key(3),
        samples=samples,
        method=MatrixFree(batch=batch),
    )
    exact = np.array([twins.value(value).item() for value in measured.values])
    errors = measured.standard_error
    sampled = np.array(measured.sampled)
    exactly = np.setdiff1d(np.arange(len(exact)), sampled)
    np.testing.assert_allclose(np.asarray(measured.mean)[exactly], exact[exactly], rtol=1e-12)
    assert (errors[exactly] == 0).all()
    z = (np.asarray(measured.mean) - exact)[sampled] / errors[sampled]
    assert np.abs(z).max() < 4.0
    assert 0.2 < np.mean(z**2) < (2.0 if batch == 2 else 5.0)  # correlated; and of batch 3 only six are sampled
    if batch == 3:  # then a draw has few enough choices to list, and its covariance is known
        plan = make_plan(measured.values, batch=3, population=3)
        runner = Runner(plan, twins.landscape(), twins.theta(), {})
        covariance = np.cov(twins.all_draws(runner).T, bias=True) / samples
        scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
        assert np.abs((measured.sampled_covariance - covariance) / scale).max() < 0.1


def test_thousands_of_parameters_as_any_pytree(x64: None) -> None:
    # l_x = Σ_i cosh(θ_i + x_i) has diagonal derivatives, so every contraction is a sum over i in closed form.
    # With P = 40,000 a single P × P array would take 12.8 GB.
    parameters = 40_000
    points = np.random.default_rng(1).normal(size=(4, parameters)) / 2

    def loss(theta: dict[str, Any], x: Any) -> Any:
        flat = jnp.concatenate([theta["a"].ravel(), theta["b"]])
        return jnp.sum(jnp.cosh(flat + x))

    theta = {"a": jnp.full((100, 300), 0.25), "b": jnp.full(10_000, -0.5)}
    flat = np.concatenate([np.asarray(theta["a"]).ravel(), np.asarray(theta["b"])])
    f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)
    measured = measure(f, Landscape(loss, points), theta, key=jax.random.key(0), samples=64, method=MatrixFree(batch=2))
    gradients, hessians = np.sinh(flat + points), np.cosh(flat + points)
    G, H = gradients.mean(0), hessians.mean(0)
    expected = [hessians.sum(1).mean(), G @ G, G @ (H * G), ((gradients - G) ** 2).mean(0) @ H]
    np.testing.assert_allclose(measured.mean[:3], expected[:3], rtol=1e-12)
    z = (measured.mean[3] - expected[3]) / measured.standard_error[3]
    assert abs(z) < 4


def test_the_shape_of_the_parameters_does_not_matter(twins: Any, x64: None) -> None:
    f = ts.derive(ts.GeneralizationGap(), ts.SGD(), order=2)
    points = jnp.asarray(twins.points)
    key = jax.random.key(5)
    plain = measure(f, twins.landscape(), twins.theta(), key=key, samples=50)
    nested = Landscape(
        lambda theta, x: twins.landscape().loss((theta["p"][0], theta["q"]), (x["z"][0], x["z"][1])), {"z": points}
    )
    start = {"p": [twins.theta()[0]], "q": twins.theta()[1]}
    np.testing.assert_allclose(measure(f, nested, start, key=key, samples=50).mean, plain.mean, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_chunks_change_nothing_but_rounding(twins: Any) -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(), order=3)
    key = jax.random.key(1)
    whole, pieces = (
        measure(f, twins.landscape(), twins.theta(), key=key, samples=50, method=MatrixFree(batch=2, chunk=chunk))
        for chunk in (50, 7)
    )
    np.testing.assert_allclose(pieces.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(pieces.sampled_covariance, whole.sampled_covariance, rtol=1e-10)
    assert pieces.samples == whole.samples == 50


def test_a_population_larger_than_one_chunk(x64: None) -> None:
    points = np.random.default_rng(0).normal(size=1300)
    landscape = Landscape(lambda theta, x: jnp.cosh(theta + x), points)
    f = ts.derive(ts.TestLoss(), ts.SGD(), order=2).assume("noiseless")
    measured = measure(f, landscape, 0.5, key=jax.random.key(0))
    loss, G, H = (np.mean(function(0.5 + points)) for function in (np.cosh, np.sinh, np.cosh))
    np.testing.assert_allclose(measured.mean, [loss, G**2, G**2 * H], rtol=1e-12)
    assert measured.samples == 0 and measured.sampled == ()


@pytest.mark.parametrize("estimator", ["centred", "correlators", "exact"])
def test_a_second_measurement_compiles_nothing(twins: Any, compilations: list[str], estimator: str) -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(), order=2)
    settings: dict[str, Any] = {"method": MatrixFree(estimator)}
    if estimator != "exact":
        settings["samples"] = 30
    landscape = twins.landscape()
    measure(f, landscape, twins.theta(), key=jax.random.key(0), **settings)
    assert compilations
    compilations.clear()
    measure(f, landscape, (0.1, 0.2), key=jax.random.key(1), **settings)
    measure(f, Landscape(landscape.loss, (landscape.data[1], landscape.data[0])), twins.theta(),
            key=jax.random.key(2), **settings)  # fmt: skip
    assert not compilations


def test_new_learning_rates_and_sizes_compile_nothing(twins: Any, compilations: list[str]) -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(), order=2)

    def predicted(eta: float, **sizes: int) -> None:
        ts.predict(f, twins.landscape(), twins.theta(), eta=eta, samples=30, **sizes)

    predicted(0.01, N=10, B=1, E=1)
    compilations.clear()
    predicted(0.02, N=12, B=3, E=2)
    predicted(0.05, N=40, B=4, E=1)
    assert not compilations


def test_a_measurement_looks_up_and_shows_its_values(twins: Any) -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(), order=1)
    measured = measure([f, f[0]], twins.landscape(), twins.theta(), key=jax.random.key(0))
    assert measured.values == f.values
    assert float(measured[f.values[0]]) == pytest.approx(float(measured.mean[0]))
    assert "G_μ G^μ" in str(measured) and "exact" in str(measured)
    assert r"$G_{\mu} G^{\mu}$" in measured._repr_html_()
    with pytest.raises(KeyError, match="was not measured"):
        measured[ts.derive(ts.TestLoss(), ts.SGD(), order=2).values[-1]]
    doubled = jax.tree.map(lambda leaf: 2 * leaf, measured)
    assert isinstance(doubled, Measurement) and float(doubled.mean[0]) == 2 * float(measured.mean[0])


def test_a_vector_measurement_shows_norms(twins: Any) -> None:
    f = ts.derive(ts.Displacement(), ts.SGD(), order=2)
    measured = measure(f, twins.landscape(), twins.theta(), key=jax.random.key(0), samples=20)
    assert isinstance(measured.mean, tuple) and measured.mean[0].shape == (3,)
    assert measured.covariance[0].shape == (3, 3) and measured.standard_error[1].shape == (3,)
    assert "norm" in str(measured)


def test_float32_is_kept(twins: Any) -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(), order=1)
    assert measure(f, twins.landscape(), twins.theta(), key=jax.random.key(0)).mean.dtype == jnp.float32


class TestErrors:
    f = ts.derive(ts.TestLoss(), ts.SGD(), order=2)

    def call(self, twins: Any, *, formula: Any = f, **changes: Any) -> Any:
        settings: dict[str, Any] = {"key": jax.random.key(0), "samples": 10, **changes}
        theta = settings.pop("theta", twins.theta())
        settings["method"] = MatrixFree(**{n: settings.pop(n) for n in ("batch", "chunk") if n in settings})
        return measure(formula, settings.pop("landscape", twins.landscape()), theta, **settings)

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"formula": 3}, TypeError, "not a Formula"),
            ({"landscape": 3}, TypeError, "not a Landscape"),
            ({"samples": 1}, ValueError, "samples=1"),
            ({"batch": 0}, ValueError, "batch=0"),
            ({"chunk": 0}, ValueError, "chunk=0"),
            ({"theta": ()}, ValueError, "no parameters"),
            ({"theta": (1, 2)}, TypeError, r"theta\[0\] has dtype int"),
            ({"theta": (1.0, jnp.tanh)}, TypeError, r"theta\[1\]=.* is not an array"),
            ({"theta": (1e30, 1e30)}, ValueError, "the loss is not finite at theta for 3 of 3 points"),
            (
                {"formula": [f, ts.derive(ts.Displacement(), ts.SGD(), order=1)]},
                ValueError,
                "mixes scalars with vectors",
            ),
            (
                {"formula": ts.derive(ts.Observable(sympy.Symbol("u") ** 2), ts.SGD(), order=1)},
                TypeError,
                "must be a function of the parameters",
            ),
            (
                {"formula": ts.derive(ts.Variance(ts.Displacement()), ts.SGD(), order=2)},
                NotImplementedError,
                "is a P × P matrix; give predict",
            ),
        ],
    )
    def test_bad_arguments(self, twins: Any, changes: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            self.call(twins, **changes)

    def test_a_loss_that_is_no_scalar(self, twins: Any) -> None:
        landscape = Landscape(lambda theta, x: jnp.stack(theta), twins.points)
        with pytest.raises(ValueError, match=r"loss returned an array of shape \(2,\)"):
            self.call(twins, landscape=landscape)

    def test_an_infinite_derivative_is_named(self, twins: Any) -> None:
        landscape = Landscape(lambda theta, x: jnp.sqrt(theta[0]) + x[0] * theta[1], twins.points)
        with pytest.raises(ValueError, match="of the loss of order 1 is .* for 3 of 3 points, first for point 0"):
            self.call(twins, landscape=landscape, theta=(0.0, 1.0))

    def test_points_with_infinite_derivatives_are_named(self, twins: Any) -> None:
        # |θ − x|^{3/2} has an infinite second derivative where θ is x, at the points 5 and 30.
        places = np.linspace(1.0, 2.0, 40).astype(np.float32)
        places[[5, 30]] = 0.5
        landscape = Landscape(lambda theta, x: ((theta - x) ** 2) ** 0.75, places)
        settings: dict[str, Any] = {"key": jax.random.key(0), "samples": 100}
        with pytest.raises(ValueError, match="order 1 .* for 2 of 40 points, first for point 5"):
            measure(self.f, landscape, 0.5, **settings)
        with pytest.raises(ValueError, match=r"in \d+ of 100 draws, first in draw \d+, of points \[.*\b(5|30)\b.*\]"):
            measure(self.f, landscape, 0.5, method=MatrixFree("correlators"), **settings)
        sampler = Landscape(landscape.loss, lambda key, n: jax.random.choice(key, places, (n,)))
        with pytest.raises(ValueError, match=r"in \d+ of 100 draws, first in draw \d+: a derivative"):
            measure(self.f, sampler, 0.5, **settings)

    def test_points_are_named_by_a_sweep(self) -> None:
        # All derivatives are finite, but g_x·H_x G ~ 10⁴⁰ of the seventh point is too large for float32.
        places = np.ones(30, np.float32)
        places[7] = 5e13
        landscape = Landscape(lambda theta, x: jnp.sum(jnp.cosh(theta)) * x, places)
        divergence = ts.derive(ts.TestLoss(), ts.GD(), order=2).assume("quadratic")
        with pytest.raises(ValueError, match="is not finite: .* first for point 7"):
            measure(divergence, landscape, jnp.ones(2), key=jax.random.key(0), samples=10)
        with pytest.raises(ValueError, match="G_μ G.μ is not finite: it is too large for float32"):
            measure(divergence[1], Landscape(landscape.loss, 1e8 * places), jnp.ones(2))

    def test_one_name_for_two_observables(self, twins: Any) -> None:
        formulas = [ts.derive(ts.Observable(s), ts.SGD(), order=1) for s in (twins.observable, lambda theta: theta[0])]
        with pytest.raises(ValueError, match="observe something called 's'"):
            self.call(twins, formula=formulas)
