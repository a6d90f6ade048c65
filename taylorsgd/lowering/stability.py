"""Where resummed formulas grow: limits that do not exist are refused, and descent that diverges is warned of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from taylorsgd.lowering.edge_memory import PLAIN, spectral_radius
from taylorsgd.lowering.matrix_sums import needs_eigenvectors, parallel
from taylorsgd.lowering.networks import Network
from taylorsgd.lowering.projected import ProjectedTensors
from taylorsgd.updates import Memory

__all__ = ["Memories", "check_growth", "check_neglected", "check_stability", "refuse_growth"]

Memories = tuple[tuple[Memory, float], ...]
"""The memories on a formula's edges, each with the bend γ of its rule."""


def check_growth(
    networks: Sequence[Network],
    memories: Memories,
    hessian: Float[Array, "P P"],
    metric: Float[Array, "P P"] | None,
    eta: Float[Array, ...],
) -> None:
    """Refuse limits and eigenvectors that do not exist, where the numbers are concrete."""
    if any(isinstance(x, Tracer) for x in (hessian, metric, eta)):
        return
    bent = np.asarray(hessian, float).T @ (np.eye(len(hessian)) if metric is None else np.asarray(metric, float))
    refuse_growth(networks, memories, np.linalg.eigvals(bent), eta)
    if any(map(needs_eigenvectors, networks)) and parallel(bent) > np.finfo(hessian.dtype).eps ** -0.5:
        raise NotImplementedError(
            "integrals over time, and sums over epochs with symbols for sizes, are lowered by the step's eigenvectors, "
            "and here some are parallel, as a shear's; use resum='discrete' with numbers for sizes, or evaluate()"
        )


def refuse_growth(networks: Sequence[Network], memories: Memories, eigenvalues: Any, eta: Float[Array, ...]) -> None:
    """Refuse limits that do not exist; elsewhere nothing grows for ever, and games may spiral outwards at any rate."""
    if not any(network.limit for network in networks) or isinstance(eigenvalues, Tracer):
        return
    rates = np.multiply.outer(np.ravel(np.asarray(eta, float)), np.asarray(eigenvalues)).ravel()
    if any(network.limit and network.continuous for network in networks) and not rates.real.min(initial=1.0) > 0:
        raise ValueError(f"the limit T -> oo does not exist: an influence grows like exp({-rates.real.min():.6g} t)")
    for memory, bend in memories:
        grows = max(spectral_radius(memory, rate / (1 + bend * rate)) for rate in rates)
        if grows > 1 - 1e-12:
            raise ValueError(f"the limit T -> oo does not exist: an influence grows by {grows:.6g} in an update")


def check_stability(
    networks: Sequence[Network], memories: Memories, extremes: Float[Array, " 2"], eta: Float[Array, ...], size: int
) -> None:
    """Warn of divergent descent, and refuse limits that do not exist, where the numbers are concrete."""
    if isinstance(extremes, Tracer) or isinstance(eta, Tracer) or not size:
        return
    smallest, largest = map(float, np.asarray(extremes))
    rate = float(np.max(np.asarray(eta), initial=0.0))
    if any(network.limit for network in networks):
        if not np.all(np.asarray(eta) > 0):
            raise ValueError(
                f"eta={np.asarray(eta).tolist()}: the limit T -> oo exists for positive learning rates only"
            )
        if smallest <= 8 * size * np.finfo(extremes.dtype).eps * max(abs(smallest), largest):
            kind = "flat direction" if smallest > -1e-3 * abs(largest) else "saddle"
            raise ValueError(
                f"the limit T -> oo does not exist: H has the eigenvalue {smallest:.6g}, a {kind}; lower the formula "
                "at finite T, or use drift()"
            )
    for memory, bend in memories:
        plain = memory == PLAIN and not bend
        grows = spectral_radius(memory, rate * largest / (1 + bend * rate * largest))
        if plain and rate * largest >= 2:
            message = f"H has the eigenvalue {largest:.6g}, at or beyond 2/eta = {2 / rate:.6g}"
        elif not plain and rate * largest > 1e-6 and grows > 1 - 1e-12:
            message = f"H has the eigenvalue {largest:.6g}, where an influence grows by {grows:.6g} in an update"
        else:
            continue
        if any(network.limit and not network.continuous for network in networks):
            raise ValueError(f"the limit T -> oo does not exist: {message}")
        warnings.warn(
            f"{message}: descent diverges along it, and so does the formula as T grows", RuntimeWarning, stacklevel=4
        )


def check_neglected(tensors: ProjectedTensors, reach: Float[Array, ""]) -> None:
    """Warn where directions that are taken to be flat are not, over the time at hand."""
    if not tensors.rest or isinstance(reach, Tracer) or isinstance(tensors.neglected, Tracer):
        return
    low, high = map(float, np.asarray(tensors.neglected))
    damping = max(-low, high) * float(reach)
    if damping > 0.1:
        warnings.warn(
            f"eigenvalues of H from {low:.3g} to {high:.3g} are taken to vanish, and eta T |lambda| reaches "
            f"{damping:.3g} for them; uncertainty() states the effect, more eigenpairs lessen it",
            RuntimeWarning,
            stacklevel=4,
        )
