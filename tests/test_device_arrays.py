"""Arrays of the host reach the device as `jnp.asarray` brings them, and no program is compiled for their shapes."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from taylorsgd.device_arrays import on_device


@pytest.mark.parametrize("array", [np.linspace(0, 1, 313), np.arange(311), np.full((3, 103), 1 + 2j), np.float64(0.1)])
def test_the_same_array_without_a_program(array: np.ndarray, compilations: list[str]) -> None:
    found = on_device(array)
    assert not compilations
    wanted = jnp.asarray(array)
    assert found.dtype == wanted.dtype and bool(jnp.all(found == wanted))


def test_the_dtype_is_changed_on_the_host(compilations: list[str]) -> None:
    assert on_device(np.arange(307), jnp.float32).dtype == jnp.float32
    assert not compilations
