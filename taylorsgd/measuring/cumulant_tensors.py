"""Dense tensors of small problems, by their names: G, H, J, C, S and any cumulant of derivatives as an array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jaxtyping import Float, PRNGKeyArray

from taylorsgd.arguments import listed
from taylorsgd.landscapes.keys import random_key
from taylorsgd.landscapes.landscape import AnyLandscape, as_landscape, checked_parameters
from taylorsgd.measuring.dense import measure_dense
from taylorsgd.measuring.tasks import checked_samples
from taylorsgd.writing.notation import NAMED

__all__ = ["tensors"]

LETTERS = {letter: degrees for degrees, letter in NAMED.items()}


def tensors(
    landscape: AnyLandscape,
    theta: Any,
    names: Sequence[str | tuple[int, ...]] = ("G", "H", "C"),
    *,
    key: PRNGKeyArray | None = None,
    samples: int = 2048,
) -> dict[str | tuple[int, ...], Float[jax.Array, "*P"]]:
    """Compute dense tensors of a landscape at θ_0 = theta.

    A name stands for the degrees of a cumulant's nodes: κ(∇^{k_1} l_x, …, ∇^{k_m} l_x) is (k_1, …, k_m), with Σ k_i
    axes of length P, those of the first node first. G = (1,), H = (2,), J = (3,), C = (1, 1) and S = (1, 1, 1).

    Args:
        landscape: the loss and its data, or a toy landscape.
        theta: the parameters θ_0, a pytree of float arrays; axes are in the order of
            `jax.flatten_util.ravel_pytree`.
        names: letters, or degrees of at least 0, in ascending order.
        key: a JAX random key; for samplers only.
        samples: the number of points drawn from a sampler: the tensors are then unbiased estimates (k-statistics)
            of cumulants of at most four nodes. Those of a population are exact.

    Returns:
        The arrays by the names that were given.

    Raises:
        TypeError: if θ has leaves that are no floats.
        ValueError: if a name is unknown, a sampler comes without a key, or a derivative is not finite.
        MemoryError: if the tensors would take more than 2 GiB: it names the largest and a way out.
        NotImplementedError: for cumulants of five and more nodes from a sampler.

    Example:
        >>> import jax.numpy as jnp, taylorsgd as ts
        >>> coin = ts.Landscape(lambda theta, x: jnp.sum(theta**2) / 2 + x * theta[0], jnp.array([-1.0, 1.0]))
        >>> found = ts.tensors(coin, jnp.array([3.0, 1.0]), ["G", "C", (1, 2)])
        >>> print(found["G"], found["C"].tolist(), found[1, 2].shape)
        [3. 1.] [[1.0, 0.0], [0.0, 0.0]] (2, 2, 2)
    """
    parameters = checked_parameters(theta)
    place = as_landscape(landscape).traced(parameters)
    samples = checked_samples(samples)
    if place.size is None and key is None:
        raise ValueError("key=None: a sampler draws points; give a JAX random key such as jax.random.key(0)")
    degrees = {name: _degrees(name) for name in listed(names, "names", "['G', 'H']", empty=True)}
    if not degrees:
        return {}
    own = jax.random.key(0) if key is None else random_key(key)
    measured = measure_dense(tuple(dict.fromkeys(degrees.values())), place, parameters, own, samples, {})
    return {name: measured[found] for name, found in degrees.items()}


def _degrees(name: Any) -> tuple[int, ...]:
    if isinstance(name, str) and name in LETTERS:
        return LETTERS[name]
    if isinstance(name, tuple) and name and all(type(degree) is int and degree >= 0 for degree in name):
        if list(name) == sorted(name):
            return name
        raise ValueError(f"names: {name} must be ascending: give {tuple(sorted(name))}")
    raise ValueError(
        f"names: {name!r} is no tensor; give {', '.join(LETTERS)}, or degrees such as (1, 2) for κ(∇l, ∇∇l)"
    )
