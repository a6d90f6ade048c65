r"""Taylor coefficients in η of what JAX computes, by forward mode: of states of descent, step by step.

A state whose arrays are polynomials x(η) = Σ_k x_k η^k is stepped on by differentiating f(η) = step(η, x(η)) d times
at η = 0, and f^(k)(0)/k! are the new coefficients. So a run holds d + 1 states, whatever its length, and a step costs
about 2^d steps of plain descent, for d derivatives are taken one inside the other. (A derivative of the whole run
carries 2^d states along, and takes three times as long at order 4.) Whatever has a forward derivative will do:
`jax.experimental.jet`, which would cost less at high orders, has rules for some operations only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import factorial
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["Jet", "jet_of"]

Derivatives = Callable[[jax.Array], tuple[list[tuple[jax.Array, ...]], list[jax.Array]]]
"""From η to f, …, f^(k) for every leaf of floats, and the other leaves."""


@jax.custom_jvp
def _curve(eta: jax.Array, coefficients: tuple[jax.Array, ...]) -> jax.Array:
    """Σ_k η^k x_k at η = 0; its derivatives there are told, not computed."""
    return coefficients[0]


@_curve.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    eta, coefficients = primals
    value = _curve(eta, coefficients)  # again as a function of η, for the derivatives after this one
    if len(coefficients) == 1:
        return value, jnp.zeros_like(value)
    slope = _curve(eta, tuple(k * x for k, x in enumerate(coefficients[1:], start=1)))
    return value, tangents[0].astype(value.dtype) * slope


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Jet:
    """A pytree whose floats are polynomials in η.

    Attributes:
        leaves: for every leaf its coefficients x_0, …, x_d; of one that is no float x_0 only.
        structure: of the pytree.
    """

    leaves: tuple[tuple[jax.Array, ...], ...]
    structure: Any = field(metadata={"static": True})

    def at(self, eta: jax.Array) -> Any:
        """The pytree as a function of η, near 0."""
        leaves = [_curve(eta, one) if _is_float(one[0]) else one[0] for one in self.leaves]
        return jax.tree.unflatten(self.structure, leaves)

    def stacked(self) -> Any:
        """A pytree of floats with its coefficients along a first axis, (d + 1, *leaf)."""
        return jax.tree.unflatten(self.structure, [jnp.stack(one) for one in self.leaves])


def jet_of(function: Callable[[jax.Array], Any], order: int, dtype: Any) -> Jet:
    """The Taylor coefficients of a function of η at 0.

    Args:
        function: of a float, returns a pytree.
        order: the highest power.
        dtype: of η.

    Example:
        >>> jet = jet_of(lambda eta: {"a": jnp.exp(2 * eta), "count": 3}, 3, jnp.float32)
        >>> [round(float(x), 4) for x in jet.leaves[0]], int(jet.leaves[1][0])
        ([1.0, 2.0, 2.0, 1.3333], 3)
        >>> [round(float(x), 4) for x in jet_of(lambda eta: jnp.log(jet.at(eta)["a"]), 3, jnp.float32).leaves[0]]
        [0.0, 2.0, 0.0, 0.0]
    """
    kinds: list[Any] = []

    def flat(eta: jax.Array) -> tuple[list[tuple[jax.Array, ...]], list[jax.Array]]:
        leaves, structure = jax.tree.flatten(function(eta))
        arrays = [jnp.asarray(leaf) for leaf in leaves]
        floating = [_is_float(leaf) for leaf in arrays]
        kinds[:] = structure, floating  # alike every time
        others = [leaf for leaf, is_float in zip(arrays, floating, strict=True) if not is_float]
        return [(leaf,) for leaf, is_float in zip(arrays, floating, strict=True) if is_float], others

    derivatives: Derivatives = flat
    for _ in range(order):
        derivatives = _one_more(derivatives)
    found, others = derivatives(jnp.zeros((), dtype))
    structure, floating = kinds
    series = iter([tuple(x / factorial(k) for k, x in enumerate(one)) for one in found])
    rest = iter(others)
    return Jet(tuple(next(series) if is_float else (next(rest),) for is_float in floating), structure)


def _one_more(derivatives: Derivatives) -> Derivatives:
    """From f, …, f^(k) to f, …, f^(k+1)."""

    def higher(eta: jax.Array) -> tuple[list[tuple[jax.Array, ...]], list[jax.Array]]:
        found, slopes, others = jax.jvp(derivatives, (eta,), (jnp.ones_like(eta),), has_aux=True)
        return [(*one, slope[-1]) for one, slope in zip(found, slopes, strict=True)], others

    return higher


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)
