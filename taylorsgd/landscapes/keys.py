"""Random keys, as users give them: a JAX key, or an integer that seeds one."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taylorsgd.device_arrays import on_device

__all__ = ["random_key"]


def random_key(key: Any, name: str = "key") -> jax.Array:
    """A JAX random key.

    Args:
        key: a key that `jax.random.key` or `jax.random.PRNGKey` made, or an integer seed from 0 to 2³² − 1.
        name: the argument's name, for errors.

    Raises:
        TypeError: if it is neither.
        ValueError: if an integer is out of range.

    Example:
        >>> bool(random_key(3) == jax.random.key(3))
        True
    """
    if isinstance(key, Integral) and not isinstance(key, bool):
        if not 0 <= int(key) < 2**32:
            raise ValueError(f"{name}={key} is out of range; a seed is an integer from 0 to 4294967295")
        return jax.random.key(int(key))
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ():
        return key
    if isinstance(key, (np.ndarray, jax.Array)) and key.dtype == jnp.uint32 and key.shape == (2,):
        return jax.random.wrap_key_data(on_device(key))
    raise TypeError(f"{name}={key!r} is no random key; give jax.random.key(0), or an integer seed such as {name}=0")
