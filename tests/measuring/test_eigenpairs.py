"""Top eigenpairs of H: against spectra that are known by construction, repeated, vanishing and negative ones too.

1. Values are the k largest in absolute value, each as often as it occurs; vectors are orthonormal.
2. Residuals are what they say; what is left lies between the ends that are stated.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts
from taylorsgd.measuring.eigenpairs import top_eigenpairs

SPECTRA = [
    ([3, -2.5, 1, 0.5, 0.1], 3, False),
    ([2, 2, 2, 1, 1], 3, False),  # one starting vector sees one direction of each eigenspace
    ([2, 2, 2, 1, 1], 5, True),
    ([5, 0, 0, 0], 2, True),
    ([0, 0], 1, False),
]


def valley(spectrum, seed=0, diagonal=False):
    size = len(spectrum)
    basis = np.eye(size) if diagonal else np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    hessian = jnp.asarray(basis * np.array(spectrum, dtype=float) @ basis.T)
    # Points of weights 1/2 and 3/2: the Hessian of the mean is what counts.
    return ts.Landscape(lambda theta, x: theta @ hessian @ theta * x / 2, jnp.array([0.5, 1.5])), hessian


@pytest.mark.parametrize(("spectrum", "count", "diagonal"), SPECTRA, ids=range(len(SPECTRA)))
def test_known_spectra(spectrum, count, diagonal):
    with jax.enable_x64(True):
        landscape, hessian = valley(spectrum, diagonal=diagonal)
        pairs = top_eigenpairs(landscape, jnp.ones(len(spectrum)), count, jax.random.key(0))
        expected = np.array(sorted(spectrum, key=abs, reverse=True), dtype=float)
        np.testing.assert_allclose(pairs.values, expected[:count], atol=1e-13)
        np.testing.assert_allclose(pairs.vectors @ pairs.vectors.T, np.eye(count), atol=1e-13)
        misses = hessian @ pairs.vectors.T - pairs.vectors.T * pairs.values
        np.testing.assert_allclose(pairs.residuals, np.linalg.norm(misses, axis=0), atol=1e-13)
        low, high = pairs.neglected
        left = [0.0, *expected[count:]]
        assert low <= min(left) + 1e-13 and max(left) - 1e-13 <= high
        assert high - low <= max(left) - min(left) + 1e-12


def test_a_dense_spectrum():
    """The last wanted eigenvalues lie in the bulk, 1 % apart: more steps than the first try are needed."""
    bulk = np.random.default_rng(1).normal(size=196)
    spectrum = np.concatenate([[30, -20, 10, 9.9], bulk])
    expected = sorted(spectrum, key=abs, reverse=True)
    landscape, _ = valley(spectrum)  # in single precision
    theta = {"a": jnp.ones(50), "b": jnp.ones(150)}
    tree = ts.Landscape(lambda t, x: landscape.loss(jnp.concatenate([t["a"], t["b"]]), x), landscape.data)
    pairs = top_eigenpairs(tree, theta, 6, jax.random.key(0))
    np.testing.assert_allclose(pairs.values, expected[:6], rtol=1e-5)
    assert np.max(pairs.residuals) < 30 * float(np.finfo(np.float32).eps) ** (2 / 3)
    np.testing.assert_allclose(pairs.left, [min(expected[6:]), max(expected[6:])], rtol=0.02)


def test_a_kink_is_named():
    landscape = ts.Landscape(lambda theta, x: jnp.sum(jnp.abs(theta) ** 1.5) * x, jnp.ones(2))
    with pytest.raises(ValueError, match="Hessian with a vector is not finite"):
        top_eigenpairs(landscape, jnp.zeros(4), 2, jax.random.key(0))
