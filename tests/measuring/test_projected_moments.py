"""Displacements along directions, and their covariance, without a P × P array.

(1) exact measurements against the whole matrix of a finite landscape, exact in rationals
(2) sampled ones within their errors
(3) resummed: the dense matrix contracted
(4) principal components: against numpy's of the whole matrix, and where P is far too large for it
(5) new directions compile nothing
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from sympy import Rational

import taylorsgd as ts
from taylorsgd.measuring import running
from taylorsgd.measuring.contraction import Message, Source
from taylorsgd.measuring.linear_functions import LinearFunction

X, Y, Z = VARIABLES = sympy.symbols("x y z")
ROWS = np.array([[1.0, -0.5, 0.25], [-0.75, 1.0, 0.5], [0.5, 0.25, -1.0], [0.25, 0.75, 0.5]])
START = np.array([0.5, -0.25, 0.75])
MOVED = ts.Displacement()
SCATTER = ts.derive(ts.Covariance(MOVED, MOVED), ts.SGD(N=4, B=2, E=1), 3)
EXACTLY, NOISILY = ts.MatrixFree("exact"), ts.MatrixFree("correlators")
THETA = {"a": jnp.array(START[:1]), "b": jnp.array(START[1:])}
ALONG = {"a": np.array([[1.0], [-2.0]]), "b": np.array([[0.5, 0.0], [1.0, 3.0]])}
FLAT = np.concatenate([ALONG["a"], ALONG["b"]], axis=1)


def polynomial(theta: Any, row: Any) -> Any:
    x, y, z = theta
    u, v, w = row
    return u * x * y + v * z**2 + w * x * z * y + u * y**3 / 3 + (x**2 + y**2 + 2 * z**2) / 2 + v * x


def loss(theta: Any, row: Any) -> Any:
    return polynomial((theta["a"][0], theta["b"][0], theta["b"][1]), row)


@pytest.fixture(scope="module")
def place() -> ts.Landscape:
    return ts.Landscape(loss, jnp.array(ROWS, jnp.float32))


def whole(formula: ts.Formula, eta: Any) -> np.ndarray:
    """The vector or matrix of the same landscape in rationals, as floats."""
    losses = [polynomial(VARIABLES, [Rational(entry) for entry in row]) for row in ROWS]
    finite = ts.FiniteLandscape(losses, [Rational(1, 4)] * 4, VARIABLES)
    found = formula.evaluate(finite, at=[Rational(entry) for entry in START], eta=Rational(eta))
    return np.array(found.tolist(), float).squeeze()


OF = {
    "covariance": (SCATTER, FLAT @ whole(SCATTER, 0.125) @ FLAT.T),
    "two times": (late := ts.derive(ts.Covariance(MOVED, MOVED, times=(1, 2)), ts.SGD(N=4, B=2, E=1), 3),
                  FLAT @ whole(late, 0.125) @ FLAT.T),
    "displacement": (mean := ts.derive(MOVED, ts.SGD(N=4, B=2, E=1), 2), FLAT @ whole(mean, 0.125)),
}  # fmt: skip


@pytest.mark.parametrize("name", OF)
def test_components_are_those_of_the_whole(name: str, place: ts.Landscape) -> None:
    """(1)."""
    formula, expected = OF[name]
    found = ts.predict(formula, place, THETA, eta=[0.0625, 0.125], along=ALONG, method=EXACTLY)
    assert found.mean.shape == (2, *expected.shape) and found.covariance.shape == (2, 2, *expected.shape)
    np.testing.assert_allclose(found.mean[1], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.contributions.sum(axis=0), found.mean, rtol=1e-5)
    assert not found.standard_error.any() and found.formula == formula
    assert str(found).startswith("Prediction of ") and 0 < found.eta_max < 1


def test_sampled_components_are_within_their_errors(place: ts.Landscape) -> None:
    """(2): the largest of six z-scores."""
    found = ts.predict(SCATTER, place, THETA, eta=0.125, along=ALONG, key=1, samples=4000, method=NOISILY)
    _, expected = OF["covariance"]
    scores = (found.mean - expected) / found.standard_error
    assert (found.standard_error > 0).all() and (found.standard_error < 0.2 * np.abs(expected).max()).all()
    assert np.abs(scores).max() < 3.5, scores
    np.testing.assert_array_equal(found.mean, found.mean.T)


def test_resummed_matrices_are_contracted(place: ts.Landscape) -> None:
    """(3)."""
    resummed = ts.derive(ts.Covariance(MOVED, MOVED), ts.SGD(N=4, B=2, E=1), 2, resum="discrete")
    matrix = ts.predict(resummed, place, THETA, eta=[0.1, 0.2])
    found = ts.predict(resummed, place, THETA, eta=[0.1, 0.2], along=ALONG)
    np.testing.assert_allclose(found.mean, FLAT @ matrix.mean @ FLAT.T, rtol=1e-6)
    np.testing.assert_allclose(found.contributions, FLAT @ matrix.contributions @ FLAT.T, rtol=1e-6)
    assert found.covariance.shape == (2, 2, 2, 2)


@pytest.mark.parametrize("count", [2, 3])
def test_principal_components_are_eigenpairs(count: int, place: ts.Landscape) -> None:
    """(4): of the whole matrix, and orthonormal."""
    values, vectors = np.linalg.eigh(whole(SCATTER, 0.0625))
    found = ts.principal_components(SCATTER, place, THETA, eta=0.0625, count=count, method=EXACTLY)
    np.testing.assert_allclose(found.variances, values[::-1][:count], rtol=1e-3)
    flat = np.concatenate([found.directions["a"], found.directions["b"]], axis=1)
    np.testing.assert_allclose(np.abs(flat @ vectors[:, ::-1]), np.eye(3)[:count], atol=2e-3)
    assert not found.standard_errors.any() and found.residuals.max() < 1e-4
    assert "Top eigenpairs of Cov[" in repr(found) and "<table" in found._repr_html_()


def test_it_needs_no_matrix() -> None:
    """(4): P = 20 000, whose covariance would take 1.6 GB; noise of known strengths along two directions."""
    size = 20_000
    noise = jax.random.normal(jax.random.key(0), (2, size))
    strengths = jnp.array([3.0, 1.0])[:, None] / jnp.linalg.norm(noise, axis=1, keepdims=True)
    points = jnp.concatenate([sign * (strengths * noise) for sign in (1.0, -1.0)])  # each along one of the two

    def bowl(theta: Any, x: Any) -> Any:
        return jnp.sum(theta**2) / 2 + theta @ x

    formula = ts.derive(ts.Covariance(MOVED, MOVED), ts.SGD(N=8, B=1, E=1), 2)
    found = ts.principal_components(formula, ts.Landscape(bowl, points), jnp.zeros(size), eta=0.01, count=2)
    np.testing.assert_allclose(found.variances, 8 * 0.01**2 * np.array([9.0, 1.0]) / 2, rtol=1e-2)
    cosines = found.directions @ noise.T / jnp.linalg.norm(noise, axis=1)
    np.testing.assert_allclose(np.abs(cosines), np.eye(2), atol=2e-2)


def test_new_directions_compile_nothing(place: ts.Landscape, compilations: list[str]) -> None:
    """(5): neither in sampling nor in looking at what is measured."""
    ts.predict(SCATTER, place, THETA, eta=0.1, along=ALONG, key=1, samples=20)
    compilations.clear()
    turned = jax.tree.map(lambda leaf: leaf[::-1] + 0.1, ALONG)
    ts.predict(SCATTER, place, THETA, eta=0.1, along=turned, key=1, samples=20)
    assert not compilations


@pytest.mark.parametrize("draws", [(), (5,)])
def test_a_tree_may_be_rooted_at_a_direction(draws: tuple[int, ...]) -> None:
    """Then its node yields the number u·v, draw by draw where v differs between draws."""
    linear = LinearFunction({"a": jnp.array([2.0, -1.0])}, {"a": jnp.zeros(2)})
    received = Message(Source("batch", 0) if draws else Source("population"), ())
    root = Message(Source("observable", name="→0"), (received,), "number")
    vectors = jax.random.normal(jax.random.key(0), (*draws, 2))
    found = running._along(linear, root, {received: {"a": vectors}})
    np.testing.assert_allclose(found, vectors @ np.array([2.0, -1.0]), rtol=1e-6)


def iter_errors() -> Iterator[Any]:
    scalar = ts.derive(ts.TestLoss(), ts.SGD(N=4, B=2, E=1), 1)
    yield ts.predict, {"formula": scalar}, ValueError, "along= is for formulas with open indices"
    yield ts.predict, {"along": np.eye(3)}, ValueError, "along has the structure"
    yield ts.predict, {"along": {"a": np.ones((2, 1)), "b": np.ones(2)}}, ValueError, "along['b'] has shape (2,)"
    yield ts.predict, {"along": {"a": np.ones((2, 1)), "b": np.ones((1, 2))}}, ValueError, "along holds [1, 2]"
    yield ts.predict, {"along": {"a": [["a"]], "b": [["a", "b"]]}}, ValueError, "along has the structure"
    yield ts.predict, {"along": {"a": 1j * np.ones((1, 1)), "b": np.ones((1, 2))}}, TypeError, "dtype complex128"
    yield ts.predict, {"along": {"a": np.full((1, 1), np.nan), "b": np.ones((1, 2))}}, ValueError, "must be finite"
    yield ts.principal_components, {"formula": 3}, TypeError, "formula=3 is not a Formula"
    yield ts.principal_components, {"formula": scalar}, ValueError, "two open indices"
    yield ts.principal_components, {"formula": late}, ValueError, "that can be swapped"
    yield ts.principal_components, {"eta": [0.1, 0.2]}, ValueError, "must be one number"
    yield ts.principal_components, {"count": 4}, ValueError, "count=4 is more than there are parameters, P = 3"
    resummed = ts.derive(ts.Covariance(MOVED, MOVED), ts.SGD(N=4, B=2, E=1), 2, resum="discrete")
    yield ts.principal_components, {"formula": resummed}, NotImplementedError, "resummed"


@pytest.mark.parametrize(("function", "arguments", "error", "message"), list(iter_errors()))
def test_errors(place: ts.Landscape, function: Any, arguments: Any, error: Any, message: str) -> None:
    given = {"formula": SCATTER, "landscape": place, "theta": THETA, "eta": 0.1}
    given |= {"along": ALONG} if function is ts.predict else {}
    with pytest.raises(error, match=re.escape(message)):
        function(**given | arguments)
