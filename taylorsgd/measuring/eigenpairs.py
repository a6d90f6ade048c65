r"""The eigenpairs of the Hessian that are largest in absolute value, by products with vectors only.

Lanczos with full reorthogonalization, on products Hv by forward over reverse differentiation of the population loss.
With a positive matrix learning rate ηΛ it is HΛ whose powers edges carry. That is symmetric in the inner product p·Λq,
so Lanczos takes that one, and pairs (p, Λp): nothing is inverted, and no root of Λ is taken. One starting vector sees
one direction of each eigenspace, so after the eigenpairs that it finds the search goes on in their orthogonal
complement, with a fresh starting vector, until nothing larger is left there. The ends of what it finds there say what
is neglected. Where ΛH is symmetric in no inner product, `two_sided` searches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Inexact, PRNGKeyArray

from taylorsgd.landscapes.landscape import Landscape, population_chunk, population_mean, weighted_loss
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.landscapes.raising import Raising

__all__ = ["Eigenpairs", "hessian_product", "raised_row", "top_eigenpairs"]

MOST_STEPS = 320
"""The longest Krylov space that is tried: so many vectors like θ are held at once."""


@dataclass(frozen=True)
class Eigenpairs:
    """Approximate eigenpairs of ΛH at θ_0, with Λ the metric or the identity; of a field H_μν = −∂_ν u_μ.

        ΛH v_i = λ_i v_i,        K^m Λ ≈ Σ_i (1 − ηλ_i)^m v_i w_iᵀ + …,        Λu_i = v_i,        w_i·u_j = δ_ij.

    Of a field, and of a metric that is not positive, all of these are complex: eigenvalues may be conjugate pairs.

    Attributes:
        values: λ_1, …, λ_k, the largest in absolute value first.
        vectors: v_1, …, v_k, (k, P), over the parameters in the order of `ravel_pytree`; orthonormal without a metric.
        residuals: the norms ‖ΛHv_i − λ_i v_i‖; with a positive metric as it measures them, √(p·Λp) of Hv_i − λ_i u_i.
        left: the least and the largest Ritz value found in the complement; 0, 0 if there is none. Where they may be
            complex, ∓ the largest absolute value.
        reads: w_1, …, w_k, what takes the components of a gradient; None if they are v_1, …, v_k.
        lifts: u_1, …, u_k; None if they are v_1, …, v_k.
    """

    values: Inexact[Array, " k"]
    vectors: Inexact[Array, "k P"]
    residuals: Float[Array, " k"]
    left: tuple[float, float]
    reads: Inexact[Array, "k P"] | None = None
    lifts: Inexact[Array, "k P"] | None = None

    @property
    def neglected(self) -> tuple[float, float]:
        """Bounds on the eigenvalues of ΛH − Σ λ_i v_i …, as far as the search in the complement found its ends."""
        miss = float(np.linalg.norm(np.asarray(self.residuals, dtype=float)))
        return min(self.left[0], 0.0) - miss, max(self.left[1], 0.0) + miss


def top_eigenpairs(
    landscape: Landscape, theta: Any, count: int, key: PRNGKeyArray, raising: Raising | None = None
) -> Eigenpairs:
    """Find the eigenpairs of the population's Hessian that are largest in absolute value.

    Time: some tens of products Hv over the whole population for a handful of eigenpairs, more where the spectrum is
    dense. Memory: that many vectors like θ, twice as many with a metric, and nothing P × P.

    Args:
        landscape: the loss and its population.
        theta: the parameters θ_0, a pytree of float arrays of one dtype.
        count: k, from 1 to P.
        key: a JAX random key for starting vectors.
        raising: a positive metric Λ; None for the identity.

    Returns:
        The eigenpairs, converged to a residual of about ε^{2/3} λ_1 if 320 steps suffice, with ε the precision of
        the dtype; `residuals` holds what was reached.

    Raises:
        ValueError: if a product Hv is not finite, or the metric moves fewer than k directions.

    Example:
        >>> data = jnp.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        >>> valley = Landscape(lambda theta, x: jnp.dot(theta, x) ** 2, data)
        >>> pairs = top_eigenpairs(valley, jnp.ones(3), 2, jax.random.key(0))
        >>> print(pairs.values.round(4), *(abs(round(end, 4)) for end in pairs.left))
        [4. 1.] 0.0 0.0
        >>> half = Raising(lambda v: v / jnp.arange(1.0, 4.0))
        >>> pairs = top_eigenpairs(valley, jnp.ones(3), 1, jax.random.key(0), half)
        >>> print(pairs.values.round(4), abs(pairs.vectors).round(4))
        [2.] [[0.     0.7071 0.    ]]
    """
    flat, _ = ravel_pytree(theta)
    size = flat.size
    place = _Place(landscape.point_loss, raising, theta, landscape.data, population_chunk(landscape, theta))
    tolerance = float(jnp.finfo(flat.dtype).eps) ** (2 / 3)
    values, vectors = np.zeros(0), np.zeros((0, size), flat.dtype)
    left = (0.0, 0.0)
    # Every round but the last finds an eigenpair, or a larger one than those known.
    for round_number in range(4 * count + 4):
        if len(values) == size:
            left = (0.0, 0.0)
            break
        least = abs(values[-1]) if len(values) == count else 0.0
        start = jax.random.normal(jax.random.fold_in(key, round_number), (size,), flat.dtype)
        found, directions, left = _search(place, vectors, count, least, start, tolerance)
        if not len(found):  # the metric moves nothing else
            break
        if len(values) == count and np.max(np.abs(left)) <= least * (1 + tolerance) + np.finfo(float).tiny:
            break
        vectors = np.concatenate([vectors, directions])
        values = np.concatenate([values, found])
        best = np.argsort(-np.abs(values), kind="stable")[:count]
        values, vectors = values[best], vectors[best]
    if len(values) < count:
        raise ValueError(
            f"count={count}, of eigenpairs, is more than the directions that the metric moves; found {len(values)}"
        )
    ritz, found_vectors, raised, norms = _mended(place, vectors)
    if raising is None:
        return Eigenpairs(ritz, found_vectors, norms, left)
    return Eigenpairs(ritz, raised, norms, left, lifts=found_vectors)


@partial(jax.tree_util.register_dataclass, data_fields=["theta", "data"], meta_fields=["loss", "raising", "chunk"])
@dataclass(frozen=True)
class _Place:
    """The loss, the metric, the parameters and the population, of which so many points are taken at once."""

    loss: PointFunction
    raising: Raising | None
    theta: Any
    data: Any
    chunk: int


def _search(
    place: _Place,
    known: Float[np.ndarray, "known P"],
    count: int,
    least: float,
    start: Float[Array, " P"],
    tolerance: float,
) -> tuple[Float[np.ndarray, " found"], Float[np.ndarray, "found P"], tuple[float, float]]:
    """The top eigenpairs in the complement of known ones, converged where larger than `least`, and both ends."""
    size = known.shape[1]
    room = size - known.shape[0]
    # A fixed number of rows, so that one compilation serves every round.
    padded = np.zeros((count, size), known.dtype)
    padded[: known.shape[0]] = known
    steps = min(room, max(2 * count + 10, 20))
    while True:
        basis, diagonal, beside = map(np.asarray, _krylov(place, steps, padded, start))
        scale = np.max(np.abs(diagonal[np.isfinite(diagonal)]), initial=0.0)
        epsilon = np.finfo(basis.dtype).eps
        if place.raising is not None and not beside[0] > 100 * epsilon * float(np.linalg.norm(start)):
            return np.zeros(0), known[:0], (0.0, 0.0)
        if not np.isfinite(diagonal[0]):
            raise ValueError(
                "a product of the Hessian with a vector is not finite at theta; the loss is not smooth there"
            )
        # Where the Krylov space is exhausted the next vector is noise, or 0/0.
        small = ~(np.abs(beside[1:steps]) > 10 * size**0.5 * epsilon * scale)
        length = int(np.argmax(small)) + 1 if small.any() else steps
        exhausted = bool(small.any()) or steps == room
        matrix = np.diag(diagonal[:length].astype(float))
        matrix += np.diag(beside[1:length].astype(float), 1) + np.diag(beside[1:length].astype(float), -1)
        ritz, coordinates = np.linalg.eigh(matrix)
        ends = float(ritz[0]), float(ritz[-1])
        order = np.argsort(-np.abs(ritz), kind="stable")[:count]
        ritz, coordinates = ritz[order], coordinates[:, order]
        misses = 0.0 if exhausted else beside[steps] * np.abs(coordinates[-1])
        wanted = np.abs(ritz) > least * (1 + tolerance)
        converged = np.all((misses <= tolerance * max(scale, least)) | ~wanted)
        if converged or exhausted or steps >= min(room, MOST_STEPS):
            return ritz, coordinates.T.astype(basis.dtype) @ basis[:length], ends
        steps = min(room, 2 * steps, MOST_STEPS)


@partial(jax.jit, static_argnames="steps")
def _krylov(
    place: _Place, steps: int, known: Float[Array, "k P"], start: Float[Array, " P"]
) -> tuple[Float[Array, "steps P"], Float[Array, " steps"], Float[Array, " after"]]:
    """Lanczos vectors p in the complement of `known`, the diagonal, and what every p had to be divided by.

    The last of these is the norm of what would come next.
    """
    known_up = _raised_rows(place.raising, place.theta, known)

    def up(vector: Float[Array, " P"]) -> Float[Array, " P"]:
        return raised_row(place.raising, place.theta, vector)

    def norm(vector: Float[Array, " P"]) -> Float[Array, ""]:
        return jnp.sqrt(jnp.dot(vector, up(vector), precision="highest"))

    def without(image: Float[Array, " P"], rows: Array, rows_up: Array | None) -> Float[Array, " P"]:
        components = jnp.matmul(rows if rows_up is None else rows_up, image, precision="highest")
        return image - jnp.matmul(components, rows, precision="highest")

    def step(j: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        basis, basis_up, diagonal, beside, coming = state
        length = norm(coming)
        vector = coming / length
        basis = basis.at[j].set(vector)
        basis_up = None if basis_up is None else basis_up.at[j].set(up(vector))
        image = hessian_product(place.loss, place.theta, place.data, place.chunk, up(vector))
        diagonal = diagonal.at[j].set(jnp.dot(up(vector), image, precision="highest"))
        for _ in range(2):  # twice is enough (Parlett 1998, section 6.9)
            image = without(without(image, known, known_up), basis, basis_up)
        return basis, basis_up, diagonal, beside.at[j].set(length), image

    empty = jnp.zeros((steps, start.size), start.dtype)
    state = (
        empty,
        None if place.raising is None else empty,
        jnp.zeros(steps, start.dtype),
        jnp.zeros(steps + 1, start.dtype),
        without(start, known, known_up),
    )
    basis, _, diagonal, beside, coming = lax.fori_loop(0, steps, step, state)
    return basis, diagonal, beside.at[steps].set(norm(coming))


@jax.jit
def _mended(
    place: _Place, vectors: Float[Array, "k P"]
) -> tuple[Float[Array, " k"], Float[Array, "k P"], Float[Array, "k P"], Float[Array, " k"]]:
    """One Rayleigh–Ritz step, which mends what rounding did to the orthogonality of some eigenvectors.

    Returns:
        The eigenvalues λ, vectors p with p·Λq = δ, Λp, and the norms √(m·Λm) of the residuals m = HΛp − λp.
    """
    up = partial(_raised_rows, place.raising, place.theta)
    if place.raising is None:
        vectors = jnp.linalg.qr(vectors.T)[0].T
    else:
        factor = jnp.linalg.cholesky(jnp.matmul(up(vectors), vectors.T, precision="highest"), symmetrize_input=True)
        vectors = jax.scipy.linalg.solve_triangular(factor, vectors, lower=True)
    raised = up(vectors)
    images = lax.map(partial(hessian_product, place.loss, place.theta, place.data, place.chunk), raised)
    small = jnp.matmul(raised, images.T, precision="highest")
    ritz, turn = jnp.linalg.eigh((small + small.T) / 2)
    order = jnp.argsort(-jnp.abs(ritz), stable=True)
    ritz, turn = ritz[order], turn[:, order].T
    vectors, raised, images = (jnp.matmul(turn, rows, precision="highest") for rows in (vectors, raised, images))
    misses = images - ritz[:, None] * vectors
    return ritz, vectors, raised, jnp.sqrt(jnp.abs(jnp.sum(misses * up(misses), axis=1)))


def raised_row(raising: Raising | None, theta: Any, vector: Float[Array, " P"]) -> Float[Array, " P"]:
    """Λ times a vector, over the parameters in a row."""
    if raising is None:
        return vector
    return ravel_pytree(raising(ravel_pytree(theta)[1](vector)))[0]


def _raised_rows(raising: Raising | None, theta: Any, rows: Float[Array, "k P"]) -> Float[Array, "k P"]:
    return rows if raising is None else lax.map(partial(raised_row, raising, theta), rows)


def hessian_product(
    loss: PointFunction, theta: Any, data: Any, chunk: int, vector: Float[Array, " P"]
) -> Float[Array, " P"]:
    """Hv over the population for an upper v, forward over reverse."""
    flat, unravel = ravel_pytree(theta)

    def share(batch: Any, weights: Float[Array, " points"]) -> Float[Array, " P"]:
        gradient = jax.grad(lambda point: weighted_loss(loss, unravel(point), batch, weights))
        return jax.jvp(gradient, (flat,), (vector,))[1]

    return population_mean(share, data, chunk)
