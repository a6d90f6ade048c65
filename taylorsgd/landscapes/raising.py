"""Matrix learning rates on pytrees: what a metric Λ makes of a gradient, without any P × P array unless it is one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from attrs import frozen
from jax import Array
from jax.flatten_util import ravel_pytree
from jaxtyping import Float
from sympy import MatrixBase

from taylorsgd.landscapes.pytrees import all_finite, inner, squared_norm

__all__ = ["Raising", "like"]


@frozen
class Raising:
    """v ↦ Λv on pytrees like θ, hashable by its metric.

    Attributes:
        metric: Λ, a P × P matrix in the order of `ravel_pytree`, or a linear function of pytrees like θ.

    Example:
        >>> import sympy
        >>> down_and_up = Raising(lambda v: {"x": v["x"], "y": -v["y"]})
        >>> print(down_and_up({"x": jnp.ones(2), "y": jnp.array(3.0)}))
        {'x': Array([1., 1.], dtype=float32), 'y': Array(-3., dtype=float32)}
        >>> print(Raising(sympy.Matrix([[2, 1], [1, 0]]))(jnp.array([1.0, 10.0])))
        [12.  1.]
    """

    metric: Any

    def __call__(self, vector: Any) -> Any:
        """Λ times a vector.

        Raises:
            TypeError: if a metric's function returns something that is no array.
            ValueError: if a matrix is not P × P, or a function's result is not like its argument.
        """
        if not isinstance(self.metric, MatrixBase):
            return like(vector, self.metric(vector))
        flat, back = ravel_pytree(vector)
        size = flat.size
        if self.metric.shape != (size, size):
            raise ValueError(f"metric has shape {self.metric.shape}; it must be P x P, here {(size, size)}")
        rows = np.array(self.metric.tolist(), dtype=float)
        return back(jnp.matmul(jnp.asarray(rows, flat.dtype), flat, precision="highest"))

    def checked(self, theta: Any) -> Raising:
        """The same, if it is linear and symmetric on vectors like θ, as far as two directions can tell.

        Raises:
            TypeError: as for a call.
            ValueError: as for a call, or if it is not linear, not symmetric or not finite.
        """
        leaves, structure = jax.tree.flatten(theta)
        ones, twos = (
            jax.tree.unflatten(
                structure,
                [
                    jnp.cos((jnp.arange(leaf.size, dtype=leaf.dtype) + i + 1) * salt).reshape(leaf.shape)
                    for i, leaf in enumerate(leaves)
                ],
            )
            for salt in (1.0, 2.5)
        )
        first, second = self(ones), self(twos)
        if not all_finite((first, second)):
            raise ValueError("metric is not finite; it must map vectors like theta to finite ones")
        precision = max(float(jnp.finfo(leaf.dtype).eps) for leaf in leaves)
        both = self(jax.tree.map(lambda a, b: a - 3 * b, ones, twos))
        off = jax.tree.map(lambda c, a, b: c - (a - 3 * b), both, first, second)
        scale = float(squared_norm(first) + 9 * squared_norm(second))
        if float(squared_norm(off)) > (1000 * precision) ** 2 * scale:
            raise ValueError("metric is not linear; it must be a linear function of vectors like theta")
        room = (
            1000
            * precision
            * float(
                jnp.sqrt(squared_norm(first) * squared_norm(twos)) + jnp.sqrt(squared_norm(second) * squared_norm(ones))
            )
        )
        if abs(float(inner(twos, first)) - float(inner(ones, second))) > room:
            raise ValueError(
                "metric is not symmetric, as a matrix learning rate must be; for any other write −Λ∇l as a Field"
            )
        return self

    def matrix(self, theta: Any) -> Float[Array, "P P"]:
        """The P × P matrix, in the order of `ravel_pytree`."""
        flat, back = ravel_pytree(theta)
        columns = jax.vmap(lambda column: ravel_pytree(self(back(column)))[0])(jnp.eye(flat.size, dtype=flat.dtype))
        return columns.T


def like(vector: Any, found: Any) -> Any:
    """What a metric made of a vector, with the vector's structure and dtypes.

    Raises:
        TypeError: if a leaf is no array.
        ValueError: if it is not like the vector.
    """
    if jax.tree.structure(found) != jax.tree.structure(vector):
        raise ValueError(
            f"metric returned {jax.tree.structure(found)} for {jax.tree.structure(vector)}; it must return a pytree "
            "like its argument"
        )

    def checked(leaf: Any, like: Any) -> Array:
        try:
            array = jnp.asarray(leaf)
        except TypeError as error:
            raise TypeError(f"metric returned {leaf!r}, which is not an array") from error
        if array.shape != jnp.shape(like):
            raise ValueError(f"metric returned an array of shape {array.shape} for one of {jnp.shape(like)}")
        return array.astype(jnp.result_type(like))

    return jax.tree.map(checked, found, vector)
