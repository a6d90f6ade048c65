"""Small sums over pytrees: of parameters, gradients, and whatever has their structure."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from attrs import frozen
from jax import Array
from jaxtyping import Bool, Float

__all__ = ["FlatFunction", "all_finite", "count_entries", "inner", "squared_norm"]


@jax.jit
def all_finite(tree: Any) -> Bool[Array, ""]:
    """Whether all the entries of a pytree are finite.

    Example:
        >>> bool(all_finite({"a": jnp.array([1.0, jnp.inf]), "b": 2.0}))
        False
    """
    return jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


@jax.jit
def squared_norm(tree: Any) -> Float[Array, ""]:
    """The sum of the squares of all the entries of a pytree.

    Example:
        >>> squared_norm({"a": jnp.array([1.0, 2.0]), "b": 2.0}).item()
        9.0
    """
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda leaf: jnp.sum(jnp.square(leaf)), tree))


@jax.jit
def inner(left: Any, right: Any) -> Float[Array, ""]:
    """The sum of the products of the entries of two pytrees of the same structure.

    Example:
        >>> inner({"a": jnp.array([1.0, 2.0]), "b": 2.0}, {"a": jnp.array([3.0, 4.0]), "b": 5.0}).item()
        21.0
    """
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda a, b: jnp.sum(a * b), left, right))


def count_entries(tree: Any) -> int:
    """The number of entries of a pytree: P, of parameters.

    Example:
        >>> count_entries({"a": jnp.zeros((3, 5)), "b": 1.0})
        16
    """
    return sum(jnp.size(leaf) for leaf in jax.tree.leaves(tree))


@frozen
class FlatFunction:
    """A function of a pytree θ as one of its entries in a row, hashable by what it computes.

    Attributes:
        function: of θ and other arguments; hashable.
        structure: of θ.
        leaves: the shape and dtype of every leaf.

    Example:
        >>> flat = FlatFunction.of(lambda theta, x: theta["b"] * x, {"a": jnp.zeros(2), "b": jnp.zeros(())})
        >>> flat(jnp.array([1.0, 2.0, 3.0]), 5.0).item()
        15.0
    """

    function: Callable[..., Any]
    structure: Any
    leaves: tuple[tuple[tuple[int, ...], Any], ...]

    @classmethod
    def of(cls, function: Callable[..., Any], theta: Any) -> FlatFunction:
        """For parameters like `theta`."""
        leaves, structure = jax.tree.flatten(theta)
        return cls(function, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))

    def __call__(self, flat: Float[Array, " P"], *arguments: Any) -> Any:
        """Call the function on the parameters that a row of entries stands for."""
        rest, leaves = flat, []
        for shape, dtype in self.leaves:
            leaves.append(rest[: prod(shape)].reshape(shape).astype(dtype))
            rest = rest[prod(shape) :]
        return self.function(jax.tree.unflatten(self.structure, leaves), *arguments)
