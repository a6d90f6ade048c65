r"""What an edge that is cut hands to the nodes at its ends: eigenvectors of ΛH, in real arithmetic.

With the notation of `Eigenpairs` an edge carries K^m Λ = Σ_i (1 − ηλ_i)^m v_i w_iᵀ + the rest: the node that it leaves
is read along w_i, the one that it enters is differentiated along v_i, and what stays in the rest of a gradient g is

    g − Σ_i u_i (w_i·g),        raised by Λ on its way.

Complex vectors of a conjugate pair span a plane, v_± = x ± iy. Nodes are differentiated along x and y, and read along
its dual basis; labels that turn, λ_±, are put together from these numbers with S = [[1, 1], [i, −i]] and its inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Complex, Float

from taylorsgd.device_arrays import on_device
from taylorsgd.landscapes.pytrees import FlatFunction
from taylorsgd.landscapes.raising import Raising
from taylorsgd.measuring.eigenpairs import Eigenpairs

__all__ = ["EdgeLabels", "raised_rows"]


@dataclass(frozen=True, eq=False)
class EdgeLabels:
    """The vectors of all labels, over the parameters in a row.

    Attributes:
        legs: x_1, …, x_k, (k, P): what nodes are differentiated along.
        reads: what takes components of gradients.
        lifts: what these components stand for, in a gradient.
        metric: Λ on a row; None for the identity.
        turn: S, (k, k); None if no label is complex.
    """

    legs: Float[Array, "k P"]
    reads: Float[Array, "k P"]
    lifts: Float[Array, "k P"]
    metric: FlatFunction | None = None
    turn: Complex[np.ndarray, "k k"] | None = None

    @classmethod
    def of(cls, pairs: Eigenpairs, raising: Raising | None, theta: Any) -> EdgeLabels:
        """Those of some eigenpairs.

        Example:
            >>> turning = jnp.array([[1, -1j], [1, 1j]]) / 2
            >>> pairs = Eigenpairs(jnp.array([2j, -2j]), turning, jnp.zeros(2), (0.0, 0.0), 2 * turning.conj())
            >>> print(EdgeLabels.of(pairs, None, jnp.zeros(2)).legs)
            [[ 0.5  0. ]
             [ 0.  -0.5]]
        """
        metric = None if raising is None else FlatFunction.of(raising, theta)
        vectors = pairs.vectors
        reads, lifts = (vectors if one is None else one for one in (pairs.reads, pairs.lifts))
        if not jnp.iscomplexobj(vectors):
            return cls(vectors, reads, lifts, metric)
        values = np.asarray(pairs.values)
        turn, inverse = np.eye(len(values), dtype=complex), np.eye(len(values), dtype=complex)
        for i in np.flatnonzero(np.imag(values) > 0):
            turn[i : i + 2, i : i + 2] = [[1, 1], [1j, -1j]]
            inverse[i : i + 2, i : i + 2] = np.array([[1, -1j], [1, 1j]]) / 2

        def planes(rows: Array, matrix: np.ndarray) -> Float[Array, "k P"]:
            """R with rows = matrix · R."""
            return jnp.matmul(on_device(np.linalg.inv(matrix), rows.dtype), rows, precision="highest").real

        return cls(planes(vectors, turn.T), planes(reads, inverse), planes(lifts, turn.T), metric, turn)

    def turned(self, numbers: np.ndarray, axis: int, read: bool) -> np.ndarray:
        """Numbers for the labels from those for the legs, or from those that were read."""
        if self.turn is None:
            return numbers
        matrix = np.linalg.inv(self.turn) if read else self.turn.T
        return np.moveaxis(np.tensordot(matrix, numbers, (1, axis)), 0, axis)


@partial(jax.jit, static_argnames="metric")
def raised_rows(metric: FlatFunction | None, rows: Float[Array, "... P"]) -> Float[Array, "... P"]:
    """Λ times vectors."""
    if metric is None:
        return rows

    def raised(row: Float[Array, " P"]) -> Float[Array, " P"]:
        return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(metric(row))])

    return lax.map(raised, rows.reshape(-1, rows.shape[-1])).reshape(rows.shape)
