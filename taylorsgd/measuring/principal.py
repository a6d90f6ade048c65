r"""The directions in which descent scatters most: top eigenpairs of the covariance of the displacement.

With A = Cov(δθ_T), P × P, only products are formed,

    (A v)^μ = Σ_terms coefficient · W^{μν} v_ν:

one index of the formula is contracted with v, and what is left is a vector, measured like a displacement. Every product
takes the same draws, and so the same matrix. Its eigenvectors are searched for by ARPACK's implicitly restarted Lanczos
method (Lehoucq, Sorensen and Yang 1998); the variances along them are then measured with draws of their own, which did
not choose them, so that these carry no bias of selection, and have honest errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, PRNGKeyArray

from taylorsgd.arguments import whole_number
from taylorsgd.device_arrays import on_device
from taylorsgd.display import html_table, text_table
from taylorsgd.display.numbers import with_error
from taylorsgd.formulas import Formula
from taylorsgd.formulas.closing import open_positions
from taylorsgd.formulas.expectations import Expectations
from taylorsgd.formulas.resummed_value import is_resummed
from taylorsgd.landscapes.keys import random_key
from taylorsgd.landscapes.landscape import AnyLandscape, checked_parameters, learning_rates
from taylorsgd.measuring.predicting import predict, settled
from taylorsgd.measuring.predictions import Prediction
from taylorsgd.measuring.projected_moments import is_symmetric, one_way
from taylorsgd.measuring.results import Measurement
from taylorsgd.measuring.tasks import Method

__all__ = ["PrincipalComponents", "principal_components"]


@dataclass(frozen=True, repr=False)
class PrincipalComponents:
    """The top eigenpairs of the predicted covariance of a displacement.

    Attributes:
        eta: the learning rate.
        directions: v_1, …, v_k, orthonormal: a pytree like θ whose leaves have an axis k in front.
        variances: v_iᵀ Cov(δθ_T) v_i, (k,), the largest first.
        standard_errors: of these, (k,), for the directions as they are; 0 where nothing was sampled.
        residuals: the norms ‖A v_i − λ_i v_i‖ of the search, over the largest λ.
        products: how many products A v were measured.
        expectations: what the formula is of.
    """

    eta: float
    directions: Any
    variances: Float[np.ndarray, " k"]
    standard_errors: Float[np.ndarray, " k"]
    residuals: Float[np.ndarray, " k"]
    products: int
    expectations: Expectations | None = None

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the rows of a table, one row for each direction."""
        rows = [
            (str(i + 1), with_error(float(variance), float(error)), f"{residual:.1e}")
            for i, (variance, error, residual) in enumerate(
                zip(self.variances, self.standard_errors, self.residuals, strict=True)
            )
        ]
        return ("direction", "variance ± s.e.", "residual"), rows

    @property
    def heading(self) -> str:
        """What is decomposed, in a line."""
        of = "the covariance" if self.expectations is None else self.expectations.heading
        return f"Top eigenpairs of {of} at η = {self.eta:.4g}"

    def __str__(self) -> str:
        """The table in plain text, under a line that says what it is."""
        return f"{self.heading}\n\n{text_table(*self.table())}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{self.heading}</p>\n{html_table(*self.table())}"


def principal_components(
    formula: Formula,
    landscape: AnyLandscape,
    theta: Any,
    *,
    eta: float,
    count: int = 1,
    key: PRNGKeyArray | int = 0,
    samples: int | None = None,
    method: Method[Measurement] | None = None,
    **sizes: Any,
) -> PrincipalComponents:
    """The top eigenpairs of a predicted covariance of the displacement, without a P × P array.

    Time: some tens of measurements of a vector for a handful of eigenpairs, and `count` of a number. Memory: as many
    vectors like θ as ARPACK keeps, 2 · count + 2 or 10.

    Args:
        formula: a plain formula of `Covariance(Displacement(), Displacement())`, or of its `SecondMoment`.
        landscape: the loss and its data.
        theta: the parameters θ_0, a pytree of float arrays.
        eta: the learning rate, one number.
        count: k, from 1 to P.
        key: a JAX random key, or an integer seed.
        samples: as in `measure`, for each measurement.
        method: as in `measure`.
        **sizes: any sizes that determine those that the formula leaves free, as numbers.

    Returns:
        The eigenpairs, largest variance first.

    Raises:
        TypeError: as in `predict`.
        ValueError: as in `predict`, and if the formula has not two open indices that can be swapped, `eta` is not one
            number, or `count` is no number of directions.
        NotImplementedError: for a resummed formula, whose covariance `predict` gives as a dense matrix.
        RuntimeError: if the search does not converge.

    Example:
        >>> import jax.numpy as jnp, numpy as np, taylorsgd as ts
        >>> data = jnp.array([[3.0, 0.0, 1.0], [-3.0, 0.0, 1.0], [0.0, 1.0, -2.0]])
        >>> place = ts.Landscape(lambda theta, x: jnp.sum(theta**2) / 2 + theta @ x, data)
        >>> f = ts.derive(ts.Covariance(ts.Displacement(), ts.Displacement()), ts.SGD(B=1, E=1), order=2)
        >>> found = ts.principal_components(f, place, jnp.zeros(3), eta=0.1, count=2, N=10)
        >>> print(found)
        Top eigenpairs of Cov[(θ_10 - θ_0)^μ, (θ_10 - θ_0)^ν] at η = 0.1
        <BLANKLINE>
        direction  variance ± s.e.  residual
        ─────────  ───────────────  ────────
                1              0.6  ...
                2         0.222222  ...
        >>> np.abs(found.directions).round(3)[0]
        array([1., 0., 0.], dtype=float32)
    """
    if not isinstance(formula, Formula):
        raise TypeError(f"formula={formula!r} is not a Formula; derive() makes one")
    theta = checked_parameters(theta)
    rate = learning_rates(eta)
    if rate.ndim:
        raise ValueError(f"eta={eta!r} must be one number: directions change with the learning rate")
    if any(map(is_resummed, formula.values)):
        raise NotImplementedError(
            "the formula is resummed, and its covariance measured as a dense matrix: give what predict() returns to "
            "numpy.linalg.eigh; or derive it without resum="
        )
    if len(open_positions(formula)) != 2 or not is_symmetric(formula, theta):
        raise ValueError(
            "formula must have two open indices that can be swapped, as that of Covariance(Displacement(), "
            "Displacement()) at the end of a run has"
        )
    flat, unravel = ravel_pytree(theta)
    count = whole_number(count, "count", 1, flat.size, why=f"is more than there are parameters, P = {flat.size}")
    searching, weighing = jax.random.split(random_key(key))
    products = 0

    def predicted(*directions: Any, positions: tuple[int, ...], key: PRNGKeyArray) -> Prediction:
        closed = one_way(formula, directions, theta, positions)
        settings: dict[str, Any] = {"samples": samples, "method": method, "progress": False}
        return predict(closed, landscape, theta, eta=rate, key=key, **settings, **sizes)

    def product(vector: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        direction = unravel(on_device(np.ravel(vector), flat.dtype))
        found = predicted(direction, positions=(1,), key=searching)
        return np.asarray(ravel_pytree(jax.tree.map(jnp.asarray, found.mean))[0], float)

    vectors = _search(product, flat.size, count, searching, float(jnp.finfo(flat.dtype).eps))
    images = np.stack([product(vector) for vector in vectors])
    small = vectors @ images.T
    values, turn = np.linalg.eigh((small + small.T) / 2)
    turn = turn[:, ::-1].T
    vectors, images = turn @ vectors, turn @ images
    misses = np.linalg.norm(images - values[::-1, None] * vectors, axis=1) / max(np.abs(values).max(), 1e-300)
    directions = [unravel(on_device(vector, flat.dtype)) for vector in vectors]
    along = [predicted(one, one, positions=(0, 1), key=weighing) for one in directions]
    return PrincipalComponents(
        eta=float(rate),
        directions=jax.tree.map(lambda *leaves: jnp.stack(leaves), *directions),
        variances=np.array([float(one.mean) for one in along]),
        standard_errors=np.array([float(one.standard_error) for one in along]),
        residuals=misses,
        products=products,
        expectations=settled(formula, sizes),
    )


def _search(product: Any, size: int, count: int, key: jax.Array, epsilon: float) -> np.ndarray:
    """Orthonormal vectors (k, P) that span the top eigenspace of a symmetric matrix of known products."""
    if size == count:
        return np.eye(size)  # all directions were asked for
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    start = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (size,)), float)
    matrix = LinearOperator((size, size), matvec=product, dtype=np.float64)  # type: ignore[call-arg]
    kept = min(size, max(2 * count + 2, 10))  # every product is a measurement, and fewer than these are never made
    try:
        _, found = eigsh(matrix, count, which="LA", v0=start, ncv=kept, tol=epsilon ** (2 / 3))
    except ArpackNoConvergence as error:
        raise RuntimeError(
            f"the search for {count} eigenpairs did not converge ({error}): products of a noisy measurement are not "
            "symmetric enough; take more samples, or fewer eigenpairs"
        ) from error
    return np.linalg.qr(found)[0].T
