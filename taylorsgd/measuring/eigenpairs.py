r"""The eigenpairs of the Hessian that are largest in absolute value, by products with vectors only.

Lanczos with full reorthogonalization (`matfree`), on products Hv by forward over reverse differentiation of the
population loss. One starting vector sees one direction of each eigenspace, so after the eigenpairs that it
finds the search goes on in their orthogonal complement, with (1 − VᵀV) H (1 − VᵀV) and a fresh starting vector,
until nothing larger is left there. The ends of what it finds there say what is neglected.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, PRNGKeyArray

from taylorsgd.landscapes.landscape import Landscape, population_chunk, population_mean, weighted_loss
from taylorsgd.landscapes.point_functions import PointFunction

__all__ = ["Eigenpairs", "top_eigenpairs"]

MOST_STEPS = 320
"""The longest Krylov space that is tried: so many vectors like θ are held at once."""


@dataclass(frozen=True)
class Eigenpairs:
    """Approximate eigenpairs of H at θ_0.

    Attributes:
        values: λ_1, …, λ_k, the largest in absolute value first: Ritz values v_iᵀHv_i.
        vectors: v_1, …, v_k, (k, P) and orthonormal, over the parameters in the order of `ravel_pytree`.
        residuals: the norms ‖Hv_i − λ_i v_i‖.
        left: the least and the largest Ritz value found in the orthogonal complement; 0, 0 if there is none.
    """

    values: Float[Array, " k"]
    vectors: Float[Array, "k P"]
    residuals: Float[Array, " k"]
    left: tuple[float, float]

    @property
    def neglected(self) -> tuple[float, float]:
        """Bounds on the eigenvalues of H − Σ λ_i v_i v_iᵀ, as far as the search in the complement found its ends."""
        miss = float(np.linalg.norm(np.asarray(self.residuals, dtype=float)))
        return min(self.left[0], 0.0) - miss, max(self.left[1], 0.0) + miss


def top_eigenpairs(landscape: Landscape, theta: Any, count: int, key: PRNGKeyArray) -> Eigenpairs:
    """Find the eigenpairs of the population's Hessian that are largest in absolute value.

    Time: some tens of products Hv over the whole population for a handful of eigenpairs, more where the spectrum is
    dense. Memory: that many vectors like θ, and nothing P × P.

    Args:
        landscape: the loss and its population.
        theta: the parameters θ_0, a pytree of float arrays of one dtype.
        count: k, from 1 to P.
        key: a JAX random key for starting vectors.

    Returns:
        The eigenpairs, converged to a residual of about ε^{2/3} λ_1 if 320 steps suffice, with ε the precision of
        the dtype; `residuals` holds what was reached.

    Raises:
        ValueError: if a product Hv is not finite.

    Example:
        >>> data = jnp.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        >>> valley = Landscape(lambda theta, x: jnp.dot(theta, x) ** 2, data)
        >>> pairs = top_eigenpairs(valley, jnp.ones(3), 2, jax.random.key(0))
        >>> print(pairs.values.round(4), *(abs(round(end, 4)) for end in pairs.left))
        [4. 1.] 0.0 0.0
    """
    flat, _ = ravel_pytree(theta)
    size = flat.size
    chunk = population_chunk(landscape, theta)
    products = partial(_products, landscape.point_loss, theta, landscape.data, chunk)
    tolerance = float(jnp.finfo(flat.dtype).eps) ** (2 / 3)
    values, vectors = np.zeros(0), jnp.zeros((0, size), flat.dtype)
    left = (0.0, 0.0)
    # Every round but the last finds an eigenpair, or a larger one than those known.
    for round_key in jax.random.split(key, 4 * count + 4):
        if len(values) == size:
            left = (0.0, 0.0)
            break
        least = abs(values[-1]) if len(values) == count else 0.0
        found, directions, left = _search(
            landscape.point_loss, theta, landscape.data, chunk, vectors, count, least, round_key, tolerance
        )
        if len(values) == count and np.max(np.abs(left)) <= least * (1 + tolerance) + np.finfo(float).tiny:
            break
        vectors = jnp.concatenate([vectors, directions])
        values = np.concatenate([values, found])
        best = np.argsort(-np.abs(values), kind="stable")[:count]
        values, vectors = values[best], vectors[best]
    # One Rayleigh–Ritz step mends what rounding did to the vectors' orthogonality.
    vectors = jnp.linalg.qr(vectors.T)[0].T
    images = products(vectors)
    small = jnp.matmul(vectors, images.T, precision="highest")
    ritz, turn = jnp.linalg.eigh((small + small.T) / 2)
    order = jnp.argsort(-jnp.abs(ritz), stable=True)
    turn = turn[:, order].T
    vectors = jnp.matmul(turn, vectors, precision="highest")
    misses = jnp.matmul(turn, images, precision="highest") - ritz[order, None] * vectors
    return Eigenpairs(ritz[order], vectors, jnp.linalg.norm(misses, axis=1), left)


def _search(
    loss: PointFunction,
    theta: Any,
    data: Any,
    chunk: int,
    known: Float[Array, "known P"],
    count: int,
    least: float,
    key: PRNGKeyArray,
    tolerance: float,
) -> tuple[Float[np.ndarray, " found"], Float[Array, "found P"], tuple[float, float]]:
    """The top eigenpairs in the complement of known ones, converged where larger than `least`, and both ends."""
    size = known.shape[1]
    room = size - known.shape[0]
    # A fixed number of rows, so that one compilation serves every round.
    padded = jnp.zeros((count, size), known.dtype).at[: known.shape[0]].set(known)
    start = jax.random.normal(key, (size,), known.dtype)
    steps = min(room, max(2 * count + 10, 20))
    while True:
        basis, diagonal, beside, last = map(np.asarray, _krylov(loss, theta, data, chunk, steps, padded, start))
        scale = np.max(np.abs(diagonal[np.isfinite(diagonal)]), initial=0.0)
        if not np.isfinite(diagonal[0]):
            raise ValueError(
                "a product of the Hessian with a vector is not finite at theta; the loss is not smooth there"
            )
        # Where the Krylov space is exhausted the next vector is noise, or 0/0.
        small = ~(np.abs(beside) > 10 * size**0.5 * np.finfo(basis.dtype).eps * scale)
        length = int(np.argmax(small)) + 1 if small.any() else steps
        exhausted = bool(small.any()) or steps == room
        matrix = np.diag(diagonal[:length].astype(float))
        matrix += np.diag(beside[: length - 1].astype(float), 1) + np.diag(beside[: length - 1].astype(float), -1)
        ritz, coordinates = np.linalg.eigh(matrix)
        ends = float(ritz[0]), float(ritz[-1])
        order = np.argsort(-np.abs(ritz), kind="stable")[:count]
        ritz, coordinates = ritz[order], coordinates[:, order]
        misses = 0.0 if exhausted else last * np.abs(coordinates[-1])
        wanted = np.abs(ritz) > least * (1 + tolerance)
        converged = np.all((misses <= tolerance * max(scale, least)) | ~wanted)
        if converged or exhausted or steps >= min(room, MOST_STEPS):
            turn = jnp.asarray(coordinates.T.astype(basis.dtype))
            return ritz, jnp.matmul(turn, jnp.asarray(basis[:length]), precision="highest"), ends
        steps = min(room, 2 * steps, MOST_STEPS)


@partial(jax.jit, static_argnames=("loss", "chunk", "steps"))
def _krylov(
    loss: PointFunction,
    theta: Any,
    data: Any,
    chunk: int,
    steps: int,
    known: Float[Array, "k P"],
    start: Float[Array, " P"],
) -> tuple[Any, ...]:
    """Lanczos vectors (steps, P) in the complement of `known`, the tridiagonal matrix, and what would come next."""
    from matfree import decomp

    def complement(vector: Float[Array, " P"]) -> Float[Array, " P"]:
        return vector - jnp.matmul(known.T, jnp.matmul(known, vector, precision="highest"), precision="highest")

    def product(vector: Float[Array, " P"]) -> Float[Array, " P"]:
        return complement(_product(loss, theta, data, chunk, complement(vector)))

    lanczos = decomp.tridiag_sym(steps, reortho="full", materialize=False, custom_vjp=False)
    basis, (diagonal, beside), residual, _ = lanczos(product, complement(start))
    return basis, diagonal, beside, jnp.linalg.norm(residual)


@partial(jax.jit, static_argnames=("loss", "chunk"))
def _products(
    loss: PointFunction, theta: Any, data: Any, chunk: int, vectors: Float[Array, "k P"]
) -> Float[Array, "k P"]:
    return jax.lax.map(partial(_product, loss, theta, data, chunk), vectors)


def _product(loss: PointFunction, theta: Any, data: Any, chunk: int, vector: Float[Array, " P"]) -> Float[Array, " P"]:
    """Hv over the population, forward over reverse."""
    flat, unravel = ravel_pytree(theta)

    def share(batch: Any, weights: Float[Array, " points"]) -> Float[Array, " P"]:
        gradient = jax.grad(lambda point: weighted_loss(loss, unravel(point), batch, weights))
        return jax.jvp(gradient, (flat,), (vector,))[1]

    return population_mean(share, data, chunk)
