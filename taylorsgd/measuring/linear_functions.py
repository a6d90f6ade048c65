"""Linear functions of θ, whose gradient is known: what closes an open index that is measured along a direction."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from attrs import frozen
from jax.tree_util import keystr, tree_flatten_with_path

from taylorsgd.device_arrays import on_device
from taylorsgd.landscapes.pytrees import inner

__all__ = ["LinearFunction", "checked_directions", "one_direction"]


@frozen(eq=False)
class LinearFunction:
    """θ ↦ u·(θ − θ_0), told apart from others by identity.

    Nothing that knows it has to be compiled for its u: derivatives are taken along u as along any vector.

    Attributes:
        direction: u, a pytree like θ.
        origin: θ_0.
    """

    direction: Any
    origin: Any

    def __call__(self, theta: Any) -> jax.Array:
        """u·(θ − θ_0)."""
        return inner(self.direction, jax.tree.map(jnp.subtract, theta, self.origin))


def one_direction(along: Any) -> Any:
    """The first of some directions: what stands for θ where there is none.

    Raises:
        TypeError: if a leaf is no array of real numbers.
        ValueError: if a leaf has no axis for the directions, there are no leaves, or no directions.
    """
    leaves, structure = tree_flatten_with_path(along)
    found = []
    for path, leaf in leaves:
        name = f"along{keystr(path)}"
        try:
            array = np.asarray(leaf)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name}={leaf!r} is no array: {error}") from error
        if array.dtype.kind not in "iuf":
            raise TypeError(f"{name} has dtype {array.dtype}; directions are arrays of real numbers")
        if array.ndim == 0 or len(array) == 0:
            raise ValueError(f"{name} has shape {array.shape}; its leading axis must count the directions")
        found.append(on_device(array[0], float))
    if not found:
        raise ValueError(f"along={along!r} holds no directions; give a pytree like theta, with an axis in front")
    return jax.tree.unflatten(structure, found)


def checked_directions(along: Any, theta: Any) -> list[Any]:
    """Directions as a list of pytrees like θ, in its dtypes.

    Args:
        along: a pytree like θ whose leaves have an axis for the m directions in front.
        theta: the parameters, checked.

    Raises:
        TypeError: if a leaf is no array of real numbers.
        ValueError: if the structure or a shape is not that of θ, there are no directions, or a number is not finite.

    Example:
        >>> checked_directions(np.eye(2), jnp.zeros(2))
        [Array([1., 0.], dtype=float32), Array([0., 1.], dtype=float32)]
    """
    if jax.tree.structure(along) != jax.tree.structure(theta):
        raise ValueError(
            f"along has the structure {jax.tree.structure(along)}, and theta {jax.tree.structure(theta)}; give a "
            "pytree like theta whose leaves have an axis for the directions in front"
        )
    leaves, counts = [], set()
    for (path, leaf), parameter in zip(tree_flatten_with_path(along)[0], jax.tree.leaves(theta), strict=True):
        name = f"along{keystr(path)}"
        try:
            array = np.asarray(leaf)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name}={leaf!r} is no array: {error}") from error
        if array.dtype.kind not in "iuf":
            raise TypeError(f"{name} has dtype {array.dtype}; directions are arrays of real numbers")
        if array.ndim == 0 or array.shape[1:] != parameter.shape:
            wanted = ", ".join(["m", *map(str, parameter.shape)])
            raise ValueError(f"{name} has shape {array.shape}; for m directions it must be ({wanted})")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite")
        counts.add(array.shape[0])
        leaves.append(on_device(array, parameter.dtype))
    if len(counts) > 1 or 0 in counts:
        raise ValueError(f"along holds {sorted(counts)} directions; give as many in every leaf, at least one")
    structure = jax.tree.structure(theta)
    return [jax.tree.unflatten(structure, [leaf[i] for leaf in leaves]) for i in range(*counts)]
