"""A loss and its data: drawing, averaging, and errors that name what is wrong."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts
from taylorsgd.landscapes import Landscape
from taylorsgd.landscapes.landscape import (
    as_landscape,
    check_counts,
    checked_parameters,
    floats_per_point,
    population_mean,
)
from taylorsgd.landscapes.point_functions import PointFunction


def square(theta: Any, x: Any) -> Any:
    return (theta - x) ** 2


def test_a_population_is_drawn_from_with_replacement() -> None:
    landscape = Landscape(square, np.array([1.0, 2.0, 4.0]))
    assert landscape.size == 3
    drawn = np.asarray(landscape.draw(jax.random.key(0), (200, 30)))
    counts = np.array([(drawn == value).sum() for value in (1.0, 2.0, 4.0)])
    assert counts.sum() == 6000
    assert np.sum((counts - 2000) ** 2 / 2000) < 13.8  # χ² with 2 degrees of freedom, p = 0.001
    np.testing.assert_array_equal(landscape.rows([[2, 0]]), [[4.0, 1.0]])


def test_a_sampler_is_asked_for_as_many_points_as_needed() -> None:
    asked = []

    def sampler(key: jax.Array, n: int) -> dict[str, jax.Array]:
        asked.append(n)
        return {"x": jax.random.normal(key, (n, 5))}

    landscape = Landscape(lambda theta, point: theta * point["x"][0], sampler)
    assert landscape.size is None
    assert landscape.draw(jax.random.key(0), (4, 3))["x"].shape == (4, 3, 5)
    assert asked == [12]
    with pytest.raises(ValueError, match="needs a population"):
        landscape.population_loss(1.0)
    with pytest.raises(ValueError, match="returned 3 points"):
        Landscape(square, lambda key, n: jnp.zeros(3)).draw(jax.random.key(0), (2,))


@pytest.mark.parametrize("count", [1, 7, 512, 513, 1500])
def test_the_population_loss_is_the_exact_mean(count: int) -> None:
    with jax.enable_x64(True):
        points = np.random.default_rng(count).normal(size=count)
        landscape = Landscape(square, points)
        expected = np.mean((0.5 - points) ** 2)
        np.testing.assert_allclose(landscape.population_loss(0.5), expected, rtol=1e-13)
        np.testing.assert_allclose(jnp.mean(landscape.losses(0.5, landscape.data)), expected, rtol=1e-13)


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 7, 10])
def test_population_means_count_every_point_once(chunk: int) -> None:
    data = {"a": jnp.arange(7.0), "b": jnp.ones((7, 2))}

    def weighted_sum(batch: Any, weights: jax.Array) -> Any:
        assert len(weights) <= chunk
        return jnp.sum(batch["a"] * weights), weights @ batch["b"]

    mean, ones = population_mean(weighted_sum, data, chunk)
    np.testing.assert_allclose(mean, 3.0, rtol=1e-6)
    np.testing.assert_allclose(ones, [1.0, 1.0], rtol=1e-6)


def test_what_a_point_costs_is_counted_inside_loops_and_jitted_functions() -> None:
    def layer(theta: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.tanh(theta @ x)

    def deep(theta: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.sum(jax.lax.scan(lambda h, _: (layer(theta, h), None), x, None, length=10)[0])

    data, theta = jnp.ones((3, 20)), jnp.eye(20)
    point, one = floats_per_point(Landscape(lambda theta, x: jnp.sum(layer(theta, x)), data), theta)
    assert point == 20 and 40 <= one <= 50
    _, jitted = floats_per_point(Landscape(lambda theta, x: jnp.sum(jax.jit(layer)(theta, x)), data), theta)
    assert jitted >= one
    _, ten = floats_per_point(Landscape(deep, data), theta)
    assert ten >= 400


def test_functions_are_equal_when_they_wrap_the_same() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, theta: Any, x: Any) -> Any:
            return square(theta, x)

    first, second = Unhashable(), Unhashable()
    assert PointFunction(square, "loss") == PointFunction(square, "loss")
    assert hash(PointFunction(first, "loss")) == hash(PointFunction(first, "loss"))
    assert PointFunction(first, "loss") == PointFunction(first, "loss") != PointFunction(second, "loss")
    assert float(Landscape(first, jnp.array([1.0])).population_loss(3.0)) == 4.0


def test_a_toy_stands_for_its_landscape() -> None:
    toy = ts.landscapes.gauss()
    assert as_landscape(toy).size is None
    landscape = Landscape(square, jnp.ones(2))
    assert as_landscape(landscape) is landscape


def test_integers_in_the_data_stay_integers() -> None:
    assert Landscape(square, np.array([1, 2])).data.dtype == jnp.int32


class TestErrors:
    @pytest.mark.parametrize(
        ("loss", "data", "error", "message"),
        [
            (3, jnp.ones(2), TypeError, "loss=3 is not a function"),
            (square, jnp.ones((0, 2)), ValueError, "data is empty"),
            (square, {}, ValueError, "data holds no arrays"),
            (square, 1.0, ValueError, "data is a scalar"),
            (square, {"a": "text"}, TypeError, "'text', which is not an array"),
            (
                square,
                {"image": jnp.ones((3, 2)), "label": jnp.ones(4)},
                ValueError,
                r"data\['image'\]: 3, data\['label'\]: 4",
            ),
        ],
    )
    def test_bad_landscapes(self, loss: Any, data: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            Landscape(loss, data)

    @pytest.mark.parametrize(
        ("result", "error", "message"),
        [
            (jnp.ones(2), ValueError, r"loss returned an array of shape \(2,\)"),
            ((1.0, 2.0), ValueError, "loss returned 2 arrays"),
            (jnp.ones((), int), TypeError, "dtype int32"),
        ],
    )
    def test_bad_losses(self, result: Any, error: type[Exception], message: str) -> None:
        landscape = Landscape(lambda theta, x: result, jnp.ones(3))
        with pytest.raises(error, match=message):
            landscape.population_loss(1.0)

    def test_bad_parameters(self) -> None:
        with pytest.raises(TypeError, match=r"theta\['b'\] has dtype int32"):
            checked_parameters({"a": 1.0, "b": 2})
        with pytest.raises(TypeError, match="partition"):
            checked_parameters([jnp.tanh])
        with pytest.raises(ValueError, match="no parameters"):
            checked_parameters(None)

    def test_bad_counts(self) -> None:
        check_counts(samples=(np.int64(3), 2))
        for wrong in (1, 2.0, True, "3"):
            with pytest.raises(ValueError, match="samples="):
                check_counts(samples=(wrong, 2))

    def test_no_landscape(self) -> None:
        with pytest.raises(TypeError, match="is not a Landscape"):
            as_landscape(square)  # type: ignore[arg-type]
