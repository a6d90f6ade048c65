"""Perturbations of trained networks: relative to each parameter, and the same for all networks of an initialization."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from taylorsgd.reproducing.barrett_dherin import shaken_networks


def test_perturbations_are_relative_to_each_parameter() -> None:
    theta = {"a": np.full((3, 20000), 2.0, np.float32), "b": np.zeros((3, 5), np.float32)}
    numbers = np.array([0, 1, 0])
    noise = shaken_networks._noise(theta, numbers, (0, 1))
    assert (noise["a"][0] == noise["a"][2]).all() and (noise["a"][0] != noise["a"][1]).all()
    for other in ((0, 2), (1, 1)):  # of another draw, of another seed
        assert (noise["a"] != shaken_networks._noise(theta, numbers, other)["a"]).all()

    def spread(theta: Any, x: Any, y: Any) -> Any:
        return jnp.std(theta["a"]) + jnp.sum(jnp.abs(theta["b"]))

    found = shaken_networks._measured(spread, theta, noise, 0.3, None, None)
    np.testing.assert_allclose(found, 0.6, rtol=0.02)  # four standard deviations of 1/√(2·20000)
    np.testing.assert_array_equal(shaken_networks._measured(spread, theta, noise, 0.0, None, None), 0)
