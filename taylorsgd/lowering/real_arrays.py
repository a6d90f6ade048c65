"""Numbers that users hand to compiled functions: real, finite where that can be seen, traced or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from taylorsgd.arguments import as_float

__all__ = ["real_array", "refuse_other_shapes"]


def real_array(value: Any, name: str, dtype: Any = None) -> jax.Array:
    """Real numbers as an array, which may be traced.

    Args:
        value: a number of any kind, or an array or a sequence of them.
        name: the argument's name, for errors.
        dtype: of the array; None for that of the numbers.

    Raises:
        TypeError: if these are no real numbers.
        ValueError: if they are known, and one is not finite.

    Example:
        >>> real_array("0.1", "eta")
        Traceback (most recent call last):
        TypeError: eta='0.1' must be a real number, or an array of them
    """
    number = None if hasattr(value, "dtype") else as_float(value)
    try:
        kind = getattr(getattr(value, "dtype", None), "kind", "f")
        if value is None or isinstance(value, (bool, str, bytes)) or kind in "bcmMSU":
            raise TypeError
        try:
            array = jnp.asarray(value if number is None else number)
        except TypeError:  # a sequence of SymPy's numbers
            array = jnp.asarray(np.asarray(value, dtype=float))
        if not jnp.issubdtype(array.dtype, jnp.floating) and not jnp.issubdtype(array.dtype, jnp.integer):
            raise TypeError
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{name}={value!r} must be a real number, or an array of them") from error
    if not isinstance(array, Tracer) and not np.isfinite(array).all():
        raise ValueError(f"{name}={value!r} must be finite")
    return array if dtype is None else array.astype(dtype)


def refuse_other_shapes(eta: jax.Array, sizes: Mapping[str, jax.Array]) -> None:
    """Raise unless learning rates and sizes have shapes that broadcast with each other.

    Raises:
        ValueError: with the shapes.
    """
    shapes = {"eta": eta.shape} | {name: size.shape for name, size in sizes.items()}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError as error:
        described = ", ".join(f"{name}: {shape}" for name, shape in shapes.items())
        raise ValueError(f"eta and the sizes have shapes that do not broadcast with each other: {described}") from error
