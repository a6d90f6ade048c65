"""Arrays of the host on the device, where nothing is compiled for each of their shapes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["on_device"]


def on_device(value: Any, dtype: Any = None) -> jax.Array:
    """An array on the device, which may be traced.

    What `jnp.asarray` gives; but that compiles a program for every shape of NumPy's arrays whose dtype it changes.
    Here the host changes it.

    Args:
        value: an array, a number, or a sequence of them.
        dtype: of the array; None for JAX's own choice.

    Example:
        >>> on_device(np.arange(3)).dtype
        dtype('int32')
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return jax.device_put(value if dtype is None else value.astype(dtype))
    return jnp.asarray(value, dtype)
