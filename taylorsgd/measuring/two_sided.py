r"""Eigenpairs of a step that is symmetric in no inner product: of a vector field, or with a metric not positive.

The step 1 − ηA of plain descent, A = ΛH with H_μν = −∂_ν u_μ, has right and left eigenvectors, and eigenvalues that may
be complex,

    A v_i = λ_i v_i,        l_iᵀA = λ_i l_iᵀ,        l_i·v_j = δ_ij,        A ≈ Σ_i λ_i v_i l_iᵀ.

Both come from ARPACK's implicitly restarted Arnoldi method (Lehoucq, Sorensen and Yang 1998), by products with A and
with Aᵀ, forward and reverse over reverse; small spaces are decomposed whole. Spaces that are found are projected off,
obliquely, (1 − Σ v lᵀ) A (1 − Σ v lᵀ), until nothing larger is left: one starting vector sees one direction of each
eigenspace.

**Where there is no such sum.** Where eigenvectors are parallel A is no sum of eigenpairs, as for a shear: K^m then
grows like m, which no label on an edge carries. Nearly parallel ones are told by ‖v_i‖ ‖l_i‖, by which rounding errors
grow, and refused.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jaxtyping import Complex, Float, PRNGKeyArray
from sympy import MatrixBase

from taylorsgd.device_arrays import on_device
from taylorsgd.landscapes.landscape import Landscape, population_chunk, population_mean, weighted_loss
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.landscapes.raising import Raising
from taylorsgd.measuring.eigenpairs import Eigenpairs, hessian_product, raised_row

__all__ = ["is_positive", "two_sided_eigenpairs"]

LEAST_KEPT = 20
"""Arnoldi vectors that are held at least."""


def is_positive(raising: Raising, theta: Any) -> bool:
    """Whether no eigenvalue of a metric is negative, as far as Lanczos' method sees its least one.

    Example:
        >>> import sympy
        >>> [is_positive(Raising(sympy.Matrix([[2, 1], [1, entry]])), jnp.zeros(2)) for entry in (1, 0)]
        [True, False]
    """
    flat, _ = ravel_pytree(theta)
    room = 100 * float(jnp.finfo(flat.dtype).eps)
    if isinstance(raising.metric, MatrixBase) or flat.size <= LEAST_KEPT:
        spectrum = np.linalg.eigvalsh(np.asarray(raising.matrix(theta), float))
        return bool(spectrum[0] >= -room * np.abs(spectrum).max())
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    product = _on_host(partial(_raised, raising, theta), flat)
    matrix = LinearOperator((flat.size, flat.size), matvec=product, dtype=np.float64)  # type: ignore[call-arg]
    try:
        start: Any = np.cos(np.arange(flat.size))
        ends: Any = eigsh(matrix, 2, which="BE", tol=1e-3, v0=start, return_eigenvectors=False)  # type: ignore[arg-type]
    except ArpackNoConvergence:
        return False  # what follows from that holds for positive metrics too
    return bool(ends.min() >= -room * np.abs(ends).max())


def two_sided_eigenpairs(
    landscape: Landscape, theta: Any, count: int, key: PRNGKeyArray, raising: Raising | None = None
) -> Eigenpairs:
    """Find the eigenpairs of A that are largest in absolute value, with left and right eigenvectors.

    Time: some tens of products with A and as many with Aᵀ for a handful. Memory: max(2k + 10, 20) vectors like θ.

    Args:
        landscape: the field or loss and its population.
        theta: the parameters θ_0, a pytree of float arrays of one dtype.
        count: k, from 1 to P.
        key: a JAX random key for starting vectors.
        raising: the metric Λ; None for the identity.

    Returns:
        The eigenpairs, complex.

    Raises:
        ValueError: if a product is not finite, k would part a pair of complex eigenvalues, or eigenvectors are
            parallel.
        RuntimeError: if the search does not converge.

    Example:
        >>> from taylorsgd.landscapes import Field
        >>> spiral = Field(lambda t, x: (-t[0] + 2 * t[1], -2 * t[0] - t[1], -x * t[2]), jnp.ones(1))
        >>> pairs = two_sided_eigenpairs(spiral.as_landscape(), (0.0, 0.0, 0.0), 2, jax.random.key(0))
        >>> print(pairs.values, *map("{:.3f}".format, pairs.left))
        [1.+2.j 1.-2.j] -1.000 1.000
    """
    flat, _ = ravel_pytree(theta)
    size, epsilon = flat.size, float(jnp.finfo(flat.dtype).eps)
    given = (landscape.point_loss, raising, theta, landscape.data, population_chunk(landscape, theta))
    forward, backward = (_on_host(partial(product, *given), flat) for product in (_forward, _backward))
    probe = forward(start := np.asarray(jax.random.normal(key, (size,)), float))
    if not np.isfinite(probe).all():
        raise ValueError(
            "a product of a derivative with a vector is not finite at theta; what moves theta is not smooth"
        )
    tolerance = epsilon ** (2 / 3)
    nothing = tolerance * float(np.linalg.norm(probe) / np.linalg.norm(start))  # what is smaller is as good as flat
    right, left = np.zeros((size, 0), complex), np.zeros((size, 0), complex)
    values, rest = np.zeros(0, complex), 0.0
    for round_key in jax.random.split(key, count + 2):
        wanted = min(size - len(values), count + 1)
        if not wanted:
            rest = 0.0
            break
        start = np.asarray(jax.random.normal(round_key, (size,)), float)
        left_over = np.linalg.norm(_projections(right, left)[0](forward(start))) / np.linalg.norm(start)
        if not left_over > nothing:
            rest = float(left_over)
            break
        found = _search(forward, backward, right, left, wanted, start, tolerance, nothing)
        rest = float(np.abs(found[0]).max(initial=0.0))
        if not found[1].size:
            raise ValueError(PARALLEL)
        if len(values) >= count and rest <= np.abs(values[count - 1]) * (1 + tolerance):
            break
        right, left = (np.concatenate(pair, axis=1) for pair in zip((right, left), found[1:], strict=True))
        values, right, left = _settled(forward, right, left)
        if len(values) == size:  # all that there are: the rest is what was not asked for
            rest = float(np.abs(values[count:]).max(initial=0.0))
            break
        kept = _whole_pairs(values, count + 1)
        rest = max(rest if kept == len(values) else 0.0, float(np.abs(values[kept:]).max(initial=0.0)))
        values, right, left = values[:kept], right[:, :kept], left[:, :kept]
    if len(values) < count:
        none = ((0, 0), (0, count - len(values)))  # A moves fewer directions
        values, right, left = np.pad(values, none[1]), np.pad(right, none), np.pad(left, none)
    if _whole_pairs(values, count) < count:
        pair = values[count - 1]
        raise ValueError(
            f"count={count}, of eigenpairs, would part the pair of complex eigenvalues {pair.real:.6g} ± "
            f"{abs(pair.imag):.6g}i; take {count + 1}"
        )
    rest = max(rest, float(np.abs(values[count:]).max(initial=0.0)))
    values, right, left = values[:count], right[:, :count], left[:, :count]
    _refuse_parallel(values, right, left, epsilon)
    images = _columns(forward, right)
    misses = np.linalg.norm(images - right * values, axis=0)
    reads, lifts = left, right
    if raising is not None:
        raised = _on_host(partial(_raised, raising, theta), flat)
        slopes = _on_host(partial(_slope, *given), flat)
        reads = _columns(raised, left)
        still = np.abs(values) <= tolerance * np.abs(values).max(initial=0.0)  # as good as flat, and divided by
        values = np.where(still, 0, values)
        right, reads = np.where(still, 0, right), np.where(still, 0, reads)
        lifts = _columns(slopes, right) / np.where(still, 1, values)
    dtype = jnp.result_type(flat.dtype, jnp.complex64)
    arrays = (on_device(array, dtype) for array in (values, right.T, reads.T, lifts.T))
    found_values, vectors, found_reads, found_lifts = arrays
    return Eigenpairs(found_values, vectors, on_device(misses, flat.dtype), (-rest, rest), found_reads, found_lifts)


Vectors = Complex[np.ndarray, "P n"]
Operator = Any
"""A real linear map of NumPy rows (P,)."""


def _search(
    forward: Operator,
    backward: Operator,
    right: Vectors,
    left: Vectors,
    wanted: int,
    start: np.ndarray,
    tolerance: float,
    nothing: float,
) -> tuple[Complex[np.ndarray, " n"], Vectors, Vectors]:
    """The top eigenvalues of what known pairs leave, with right and left vectors that span alike, not yet paired."""
    size = len(start)
    off = _projections(right, left)

    def ahead(vector: np.ndarray) -> np.ndarray:
        return off[0](forward(off[0](np.ravel(vector))))

    def back(vector: np.ndarray) -> np.ndarray:
        return off[1](backward(off[1](np.ravel(vector))))

    kept = max(2 * wanted + 10, LEAST_KEPT)
    if size <= kept:
        matrix = np.stack([ahead(row) for row in np.eye(size)], axis=1)
        values, vectors = np.linalg.eig(matrix)
        others, covectors = np.linalg.eig(matrix.T)
    else:
        values, vectors = _arnoldi(ahead, start, wanted, kept, tolerance)
        others, covectors = _arnoldi(back, start, wanted, kept, tolerance)
    mine, theirs = _matched(values, others, 100 * tolerance, nothing)
    return values, vectors[:, mine], covectors[:, theirs]


def _arnoldi(
    product: Operator, start: np.ndarray, wanted: int, kept: int, tolerance: float
) -> tuple[Complex[np.ndarray, " n"], Vectors]:
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

    matrix = LinearOperator((len(start),) * 2, matvec=product, dtype=np.float64)  # type: ignore[call-arg]
    try:
        values, vectors = eigs(matrix, wanted, which="LM", v0=start, ncv=kept, tol=tolerance)  # type: ignore[misc]
        return values, vectors
    except ArpackNoConvergence as error:
        if len(error.eigenvalues) + 1 < wanted:  # one more is looked for than is needed
            raise RuntimeError(
                f"the search for {wanted - 1} eigenpairs did not converge ({error}): eigenvalues of nearly the same "
                "size follow; take more, or fewer"
            ) from error
        return error.eigenvalues, error.eigenvectors


def _matched(one: np.ndarray, other: np.ndarray, room: float, nothing: float) -> tuple[list[int], list[int]]:
    """The numbers of eigenvalues that are in both, nearest to nearest, without those that are as good as 0."""
    scale = np.abs(one).max(initial=0.0)
    free, mine, theirs = set(range(len(other))), [], []
    for i in np.argsort(-np.abs(one), kind="stable"):
        near = min(free, key=lambda j: abs(one[i] - other[j]), default=None)
        if near is not None and abs(one[i]) > nothing and abs(one[i] - other[near]) <= room * scale:
            free.discard(near)
            mine.append(int(i))
            theirs.append(near)
    return mine, theirs


def _settled(forward: Operator, right: Vectors, left: Vectors) -> tuple[np.ndarray, Vectors, Vectors]:
    """Eigenvalues and biorthogonal eigenvectors of A between two spans, largest first; vectors v of length 1."""
    right, left = _real_basis(right), _real_basis(left)
    meeting = left.T @ right
    if right.shape != left.shape or np.linalg.svd(meeting, compute_uv=False)[-1] < 1e-8:
        raise ValueError(PARALLEL)
    left = left @ np.linalg.inv(meeting).T
    values, turn = np.linalg.eig(left.T @ _columns(forward, right))
    sizes = np.abs(values) / np.abs(values).max(initial=1e-300)
    turns = np.imag(values)
    order = np.lexsort((-turns, np.abs(turns), np.real(values), -sizes.round(10)))  # pairs stay together
    values, turn = values[order].astype(complex), turn[:, order].astype(complex)
    try:
        right, left = right @ turn, left @ np.linalg.inv(turn).T
    except np.linalg.LinAlgError as error:
        raise ValueError(PARALLEL) from error
    lengths = np.linalg.norm(right, axis=0)
    return values, right / lengths, left * lengths


PARALLEL = (
    "eigenvectors of the step are parallel, as those of a shear: its powers are no sum over eigenpairs; supported is "
    "Dense()"
)


def _refuse_parallel(values: np.ndarray, right: Vectors, left: Vectors, epsilon: float) -> None:
    conditions = np.linalg.norm(right, axis=0) * np.linalg.norm(left, axis=0)
    if conditions.max(initial=0.0) > epsilon**-0.5:
        raise ValueError(
            f"{PARALLEL} (the condition number of the eigenvalue {values[conditions.argmax()]:.6g} is "
            f"{conditions.max():.3g})"
        )


def _real_basis(vectors: Vectors) -> Float[np.ndarray, "P n"]:
    """An orthonormal basis of what some vectors and their conjugates span."""
    both = np.concatenate([np.real(vectors), np.imag(vectors)], axis=1)
    turned, sizes, _ = np.linalg.svd(both, full_matrices=False)
    return turned[:, sizes > 1e-8 * sizes.max(initial=0.0)]


def _whole_pairs(values: np.ndarray, count: int) -> int:
    """The most of the first eigenvalues, at most so many, that do not part a conjugate pair."""
    count = min(count, len(values))
    unpaired = round(float(np.sign(np.imag(values[:count])).sum()))
    return count - abs(unpaired)


def _projections(right: Vectors, left: Vectors) -> tuple[Operator, Operator]:
    """What takes off the spans of known pairs, on vectors and on covectors."""

    def vectors(vector: np.ndarray) -> np.ndarray:
        return vector - np.real(right @ (left.T @ vector))

    def covectors(vector: np.ndarray) -> np.ndarray:
        return vector - np.real(left @ (right.T @ vector))

    return vectors, covectors


def _on_host(product: Any, flat: Float[Array, " P"]) -> Operator:
    return lambda vector: np.asarray(product(on_device(np.ravel(vector), flat.dtype)), float)


def _columns(product: Operator, vectors: Vectors) -> Vectors:
    """A real map of complex columns."""
    images = [
        product(column.real) + (1j * product(column.imag) if np.iscomplexobj(column) else 0) for column in vectors.T
    ]
    return np.stack(images, axis=1) if images else vectors


@partial(jax.jit, static_argnames="raising")
def _raised(raising: Raising, theta: Any, vector: Float[Array, " P"]) -> Float[Array, " P"]:
    return raised_row(raising, theta, vector)


@partial(jax.jit, static_argnames=("loss", "raising", "chunk"))
def _slope(loss: PointFunction, raising: Any, theta: Any, data: Any, chunk: int, vector: Array) -> Float[Array, " P"]:
    """Hv, with a lower index."""
    del raising
    return hessian_product(loss, theta, data, chunk, vector)


@partial(jax.jit, static_argnames=("loss", "raising", "chunk"))
def _forward(loss: PointFunction, raising: Any, theta: Any, data: Any, chunk: int, vector: Array) -> Float[Array, " P"]:
    """A v."""
    return raised_row(raising, theta, hessian_product(loss, theta, data, chunk, vector))


@partial(jax.jit, static_argnames=("loss", "raising", "chunk"))
def _backward(
    loss: PointFunction, raising: Any, theta: Any, data: Any, chunk: int, vector: Array
) -> Float[Array, " P"]:
    """Aᵀ l = HᵀΛ l."""
    flat, unravel = ravel_pytree(theta)
    upper = raised_row(raising, theta, vector)

    def share(batch: Any, weights: Float[Array, " points"]) -> Float[Array, " P"]:
        gradient = jax.grad(lambda point: weighted_loss(loss, unravel(point), batch, weights))
        return jax.vjp(gradient, flat)[1](upper)[0]

    return population_mean(share, data, chunk)
