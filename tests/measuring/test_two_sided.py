"""Eigendirections of steps that are not symmetric: of fields, and with metrics that are positive or not.

1. Eigenpairs are those of NumPy, repeated ones and planes that turn too; left and right vectors are biorthogonal.
2. With labels for all that is not flat, formulas are those of dense tensors, under every metric and on a field.
3. Draws are unbiased; a field of 10⁴ parameters, whose step is known; what can't be is said.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts
from taylorsgd.landscapes.raising import Raising
from taylorsgd.measuring import SpectralMeasurement, top_eigenpairs
from taylorsgd.measuring.two_sided import is_positive, two_sided_eigenpairs

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0)


def linear(matrix):
    """The field −Ax, as the mean of two."""
    return ts.Field(lambda theta, x: -x * (matrix @ theta), jnp.array([0.5, 1.5])).as_landscape()


def step_with(blocks, size):
    """A matrix with a conjugate pair a ± bi for every (a, b), and a for every a."""
    whole = np.zeros((size, size))
    i = 0
    for block in blocks:
        if isinstance(block, tuple):
            (a, b) = block
            whole[i : i + 2, i : i + 2] = [[a, b], [-b, a]]
        else:
            whole[i, i] = block
        i += 1 + isinstance(block, tuple)
    basis = RANDOM.normal(size=(size, size)) + 2 * np.eye(size)
    return basis @ whole @ np.linalg.inv(basis)


@pytest.mark.parametrize("size", [7, 40], ids=["whole", "by Arnoldi"])
def test_known_spectra(x64, size):
    matrix = step_with([(1, 3), 2, 2, 2, -1, 0.5], size)
    pairs = two_sided_eigenpairs(linear(matrix), jnp.ones(size), 5, KEY)
    np.testing.assert_allclose(pairs.values, [1 + 3j, 1 - 3j, 2, 2, 2], atol=1e-9)
    np.testing.assert_allclose(pairs.reads @ pairs.vectors.T, np.eye(5), atol=1e-9)
    np.testing.assert_allclose(matrix @ pairs.vectors.T, pairs.vectors.T * pairs.values, atol=1e-9)
    np.testing.assert_allclose(matrix.T @ pairs.reads.T, pairs.reads.T * pairs.values, atol=1e-8)
    np.testing.assert_allclose(pairs.left, [-1, 1], rtol=1e-3)
    assert np.max(pairs.residuals) < 1e-9
    with pytest.raises(ValueError, match=r"count=1, .* the pair of complex eigenvalues 1 ± 3i; take 2"):
        two_sided_eigenpairs(linear(matrix), jnp.ones(size), 1, KEY)


def test_metrics(x64):
    """ΛH for a positive Λ by Lanczos, and for another by both sides; twenty-five directions."""
    hessian, root = (RANDOM.normal(size=(25, 25)) for _ in range(2))
    hessian, other = hessian + hessian.T, root + root.T
    bowl = ts.Landscape(lambda theta, x: theta @ hessian @ theta * x / 2, jnp.array([0.5, 1.5]))
    for metric, search in ((root @ root.T, top_eigenpairs), (other, two_sided_eigenpairs)):
        raising = Raising(lambda v, metric=metric: metric @ v)
        assert is_positive(raising, jnp.ones(25)) == (search is top_eigenpairs)
        expected = np.linalg.eigvals(metric @ hessian)
        expected = expected[np.argsort(-np.abs(expected.round(9)), kind="stable")]
        pairs = search(bowl, jnp.ones(25), 4, KEY, raising)
        np.testing.assert_allclose(np.abs(pairs.values), np.abs(expected[:4]), rtol=1e-9)
        np.testing.assert_allclose(metric @ hessian @ pairs.vectors.T, pairs.vectors.T * pairs.values, atol=1e-6)
        np.testing.assert_allclose(metric @ pairs.lifts.T, pairs.vectors.T, atol=1e-7)
        reads = pairs.vectors if pairs.reads is None else pairs.reads
        np.testing.assert_allclose(reads @ pairs.lifts.T, np.eye(4), atol=1e-8)
    with pytest.raises(ValueError, match="more than the directions that the metric moves; found 1"):
        top_eigenpairs(bowl, jnp.ones(25), 2, KEY, Raising(lambda v: v.at[1:].set(0.0)))


# -- formulas ------------------------------------------------------------------------------------------------


POSITIVE, OTHER = ((np.array(rows) @ np.diag(signs) @ np.array(rows).T).tolist() for rows, signs in (
    ([[1, 0, 0], [1, 2, 0], [0, 1, 1]], [1, 1, 1]), ([[1, 0, 0], [1, 2, 0], [0, 1, 1]], [1, -1, 1])))  # fmt: skip
WEIGHTS, SLOPES = RANDOM.normal(size=(2, 3, 3, 3))
SEEN = ts.Observable(lambda theta: theta[0] * theta[1] * theta[2] + theta[0] ** 2 + theta[1], name="seen")


def raised(vector):
    return jnp.array(POSITIVE, vector.dtype) @ vector


def loss(theta, x):
    weights, slopes, matrix = x
    along = weights[0] @ theta
    return along**3 / 3 + along**2 / 2 + slopes[0] @ theta + theta @ matrix @ theta / 2


def move(theta, x):
    weights, slopes, matrix = x
    return -(weights @ theta) * theta[0] + slopes[1] - matrix @ theta


RANK_TWO = np.diag([1.0, -0.5, 0.0])
TURNING = np.array([[0.5, 1.0, 0.0], [-1.0, 0.4, 0.0], [0.2, 0.3, 0.0]])
CURVED = np.mean([np.outer(w[0], w[0]) for w in WEIGHTS], axis=0)


@cache
def land():
    return ts.Landscape(loss, (WEIGHTS, SLOPES, np.broadcast_to(RANK_TWO - CURVED, (3, 3, 3))))


@cache
def field():
    return ts.Field(move, (WEIGHTS, SLOPES, np.broadcast_to(TURNING, (3, 3, 3))))


CASES = [
    (land, raised, ts.TestLoss()), (land, OTHER, ts.Displacement()), (field, None, ts.Variance(SEEN)),
    (field, OTHER, SEEN),
]  # fmt: skip


@pytest.mark.parametrize(("place", "metric", "observable"), CASES, ids=range(len(CASES)))
def test_all_but_flat_directions_are_the_dense_path(x64, tmp_path, place, metric, observable):
    place, update = place(), None if metric is None else ts.Descent(metric=metric)
    formula = ts.derive(observable, ts.SGD(B=1, E=1), 2, resum="discrete", update=update)
    g = formula.lower()
    dense = ts.measure(formula, place, jnp.zeros(3), key=KEY)
    spectral = ts.measure(formula, place, jnp.zeros(3), key=KEY, method=ts.TopEigenpairs(2))
    exact = g.contributions(dense, 0.2, N=6)
    np.testing.assert_allclose(g.contributions(spectral, 0.2, N=6), exact, rtol=1e-11, atol=1e-13)
    assert np.max(np.abs(g.uncertainty(spectral, 0.2, N=6).neglected)) < 1e-11
    spectral.save(tmp_path / "it")
    np.testing.assert_array_equal(g(SpectralMeasurement.load(tmp_path / "it"), eta=0.2, N=6), g(spectral, eta=0.2, N=6))
    if place is field() and metric is None:
        assert np.abs(spectral.pairs.values[0].imag) > 0.9 and "i" in str(spectral).splitlines()[2]
    plain = ts.derive(observable, ts.SGD(B=1, E=1), 2, resum="discrete")
    if metric is not None:
        with pytest.raises(ValueError, match="and measured was .*; measure this formula"):
            plain.lower()(spectral, eta=0.2, N=6)
        with pytest.raises(ValueError, match="they differ in metric"):
            ts.predict(plain, place, jnp.zeros(3), eta=0.2, measurement=spectral, N=6)


def test_draws_are_unbiased():
    """Forty points are too many to list: five standard errors for one fixed seed."""
    weights, slopes = RANDOM.normal(size=(2, 40, 3, 3))
    many = ts.Field(move, tuple(np.float32(x) for x in (weights, slopes, np.broadcast_to(TURNING, (40, 3, 3)))))
    formula = ts.derive(SEEN, ts.SGD(B=1, E=1), 2, resum="discrete")
    exact = ts.predict(formula, many, jnp.zeros(3), eta=0.2, N=6)
    drawn = ts.predict(
        formula, many, jnp.zeros(3), eta=0.2, N=6, key=1, samples=256, method=ts.TopEigenpairs(2, batch=1)
    )
    assert 0 < drawn.standard_error < 0.02
    assert abs(drawn.mean - exact.mean) < 5 * drawn.standard_error


def test_a_field_of_ten_thousand_parameters(x64):
    """One plane that turns, one direction that fades, and nothing else; what noise there is does not move the mean."""
    size = 10_000
    axis, other, slow = (jnp.asarray(RANDOM.normal(size=size) / size**0.5) for _ in range(3))

    def u(theta, x):
        along, across = axis @ theta, other @ theta
        return -(along + 2 * across) * axis - (across - 2 * along) * other - (slow @ theta) * slow + x * slow

    theta = jnp.asarray(RANDOM.normal(size=size))
    formula = ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), 1, resum="discrete")
    found = ts.predict(
        formula, ts.Field(u, jnp.array([-1.0, 1.0])), theta, eta=0.1, N=30, method=ts.TopEigenpairs(3), key=0
    )
    moved = theta
    for _ in range(30):
        moved = moved + 0.1 * u(moved, 0.0)
    np.testing.assert_allclose(found.mean, moved - theta, atol=1e-9)


def test_errors_are_named(x64):
    formula = ts.derive(SEEN, ts.SGD(B=1, E=1), 1, resum="discrete")
    shear = ts.Field(lambda t, x: -x * jnp.array([t[0] + t[1], t[1], 0 * t[2]]), jnp.ones(1))
    with pytest.raises(ValueError, match="eigenvectors of the step are parallel, as those of a shear"):
        ts.measure(formula, shear, jnp.ones(3), key=KEY, method=ts.TopEigenpairs(2))
    rough = ts.Field(lambda t, x: x * jnp.sqrt(jnp.abs(t)), jnp.ones(1))
    with pytest.raises(ValueError, match="not finite at theta"), pytest.warns(RuntimeWarning, match="kinks"):
        ts.measure(formula, rough, jnp.zeros(3), key=KEY, method=ts.TopEigenpairs(2))
    plan = ts.plan(formula, field(), method=ts.TopEigenpairs(2))
    assert plan.eigenvectors == 2 and not any(
        len(p.messages) > 1 for one in plan.products for i in one for p in i.pieces
    )
