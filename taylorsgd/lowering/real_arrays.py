"""Numbers that users hand to compiled functions: real, finite where that can be seen, traced or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Num

from taylorsgd.device_arrays import on_device

__all__ = ["real_array", "real_numbers", "refuse_other_shapes"]


def real_array(value: Any, name: str, dtype: Any = None) -> Num[jax.Array, "*shape"]:
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
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value)):
        array = jnp.asarray(value)
        if not jnp.issubdtype(array.dtype, jnp.floating) and not jnp.issubdtype(array.dtype, jnp.integer):
            raise TypeError(f"{name}={value!r} must be a real number, or an array of them")
        return array if dtype is None else array.astype(dtype)
    numbers = real_numbers(value, name)
    if isinstance(value, jax.Array):
        return value if dtype is None else value.astype(dtype)
    # Objects, such as SymPy's numbers and integers of many digits, are floats here.
    known = numbers if np.asarray(value).dtype.kind == "O" else value
    return on_device(known if dtype is None else np.asarray(known), dtype)


def real_numbers(value: Any, name: str, *, finite: bool = True) -> Num[np.ndarray, "*shape"]:
    """Real numbers that are known, as NumPy's array of float64.

    Args:
        value: a number of any kind, or an array or a sequence of them.
        name: the argument's name, for errors.
        finite: whether they have to be finite.

    Raises:
        TypeError: if these are no real numbers.
        ValueError: if one is not finite and has to be.
    """
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    try:
        if value is None or isinstance(value, (bool, str, bytes)) or kind in "bcmMSU":
            raise TypeError
        given = np.asarray(value)
        if given.dtype.kind in "bcmMSU":
            raise TypeError
        numbers = given.astype(float)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise TypeError(f"{name}={value!r} must be a real number, or an array of them") from error
    if finite and not np.isfinite(numbers).all():
        raise ValueError(f"{name}={value!r} must be finite")
    return numbers


def refuse_other_shapes(arrays: Mapping[str, Any]) -> None:
    """Raise unless arrays, given by name, have shapes that broadcast with each other.

    Raises:
        ValueError: with the shapes.
    """
    shapes = {name: array.shape for name, array in arrays.items()}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError as error:
        described = ", ".join(f"{name}: {shape}" for name, shape in shapes.items())
        raise ValueError(f"the shapes of arguments do not broadcast with each other: {described}") from error
