"""The 24 statistics of order ≤ 3 that the paper's code measures, by all estimators.

They are the ways to tie the nodes of the trees with one to three edges: 2 + 4 + (7 + 11), in moments. With the
loss itself (its 25th entry) they make up the training loss of order 3; the generalization gap has exactly the
24; the test loss, whose root is never tied, has 1, 3 and 12 of them and the loss. Below, under the names of the
authors' code (bohrium/perturb, gradstats.py): edges, then parts; "01-02-03" is a star and "01-02-13" a path.

Oracles that share nothing with messages and plans:

(1) Dense contraction. The notation is an einsum: a letter for each edge and a letter x for each part, so
    (01-02)(01-2) is E_x[H_x,ij g_x,i] E_y[g_y,j] = mean_xy H_xij g_xi g_yj.
(2) A random quadratic, l_x = ½ (θ − c_x)·A_x (θ − c_x): g_x = A_x (θ − c_x), H_x = A_x, J = 0.
(3) l_x(θ) = Σ_i cosh(θ_i + x_i) with independent normal x_i of variance σ². Derivatives are diagonal, cosh
    (even degrees) or sinh (odd), so a statistic is Σ_i Π_parts E[sinh^p cosh^q (θ_i + x_i)], and expectations
    of such products are sums of E e^{k(θ+x)} = e^{kθ + k²σ²/2}.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts
from taylorsgd.landscapes import Landscape, Measurement, measure
from taylorsgd.measuring import MatrixFree

STATISTICS = {
    "-": "(01)(0-1)",
    "-all": "(01)(01)",
    "L": "(01-02)(0-1-2)",
    "Llvs": "(01-02)(0-12)",
    "Ltwg": "(01-02)(01-2)",
    "Lall": "(01-02)(012)",
    "Y": "(01-02-03)(0-1-2-3)",
    "Ylvs": "(01-02-03)(0-1-23)",
    "Yerg": "(01-02-03)(0-123)",
    "Ytwg": "(01-02-03)(01-2-3)",
    "Y:&|": "(01-02-03)(01-23)",
    "Yvee": "(01-02-03)(012-3)",
    "Yall": "(01-02-03)(0123)",
    "Z": "(01-02-13)(0-1-2-3)",
    "Zlvs": "(01-02-13)(0-1-23)",
    "Zalt": "(01-02-13)(0-12-3)",
    "Zexc": "(01-02-13)(0-123)",
    "Ztwg": "(01-02-13)(0-13-2)",
    "Zmid": "(01-02-13)(01-2-3)",
    "Z:&|": "(01-02-13)(01-23)",
    "Zvee": "(01-02-13)(012-3)",
    "Zall": "(01-02-13)(0123)",
    "Z|&|": "(01-02-13)(02-13)",
    "Z:&:": "(01-02-13)(03-12)",
}
GAP = ts.derive(ts.GeneralizationGap(), ts.SGD(), order=3).to_moments()
TRAINING = ts.derive(ts.TrainLoss(), ts.SGD(), order=3)


def parsed(notation: str) -> tuple[list[tuple[int, int]], list[list[int]]]:
    """The edges and the parts."""
    edges, parts = (text.split("-") for text in notation.strip("()").split(")("))
    return [(int(e[0]), int(e[1])) for e in edges], [[int(n) for n in part] for part in parts]


def as_value(notation: str) -> ts.Value:
    edges, parts = parsed(notation)
    parents = [-1] * (len(edges) + 1)
    for parent, child in edges:
        parents[child] = parent
    labels = [next(i for i, part in enumerate(parts) if node in part) for node in range(len(parents))]
    return ts.Value(parents, labels, moments=True)


def by_einsum(notation: str, derivatives: dict[int, np.ndarray]) -> float:
    """Contract the derivatives of all points, of shapes (n, P), (n, P, P), …, by degree."""
    edges, parts = parsed(notation)
    terms, tensors = [], []
    for node in range(len(edges) + 1):
        letters = "".join("ijk"[e] for e, edge in enumerate(edges) if node in edge)
        terms.append("xyzw"[next(p for p, part in enumerate(parts) if node in part)] + letters)
        tensors.append(derivatives[len(letters)])
    points = len(derivatives[1])
    return float(np.einsum(",".join(terms) + "->", *tensors, optimize=True)) / points ** len(parts)


def by_closed_form(value: ts.Value, theta: np.ndarray, sigma: float) -> float:
    """A value in moments on the cosh landscape with normal x."""

    def expectation(degrees: list[int], at: float) -> float:
        total = 0.0
        for signs in product((1, -1), repeat=len(degrees)):  # sinh or cosh = (e^u ∓ e^−u) / 2
            pairs = zip(signs, degrees, strict=True)
            weight = prod(sign if degree % 2 else 1 for sign, degree in pairs)
            total += weight * np.exp(sum(signs) * at + (sum(signs) * sigma) ** 2 / 2)
        return total / 2 ** len(degrees)

    parts = [[value.degrees[node] for node in block] for block in value.blocks]
    return sum(prod(expectation(degrees, at) for degrees in parts) for at in theta)


def quadratic() -> tuple[Landscape, jax.Array, dict[int, np.ndarray]]:
    """A random quadratic in three dimensions with five points, and its derivatives."""
    random = np.random.default_rng(4)
    A = random.normal(size=(5, 3, 3)) / 2
    A = A + np.swapaxes(A, 1, 2) + np.eye(3)
    centres = random.normal(size=(5, 3))
    theta = np.array([0.5, -1.0, 0.25])
    landscape = Landscape(lambda theta, point: (theta - point[1]) @ point[0] @ (theta - point[1]) / 2, (A, centres))
    gradients = np.einsum("xij,xj->xi", A, theta - centres)
    return landscape, jnp.asarray(theta), {1: gradients, 2: A, 3: np.zeros((5, 3, 3, 3))}


def cosh(theta: Any, x: Any) -> Any:
    return jnp.sum(jnp.cosh(theta + x))


COSH_AT, SIGMA = np.array([0.75, -0.5]), 0.4


def cosh_sampler() -> Landscape:
    return Landscape(cosh, lambda key, n: SIGMA * jax.random.normal(key, (n, 2)))


def cosh_population() -> tuple[Landscape, dict[int, np.ndarray]]:
    points = np.random.default_rng(1).normal(size=(6, 2)) * SIGMA
    even, odd = np.cosh(COSH_AT + points), np.sinh(COSH_AT + points)
    eye2, eye3 = np.eye(2), np.einsum("ij,jk->ijk", np.eye(2), np.eye(2))
    derivatives = {1: odd, 2: np.einsum("xi,ij->xij", even, eye2), 3: np.einsum("xi,ijk->xijk", odd, eye3)}
    return Landscape(cosh, points), derivatives


def check_z_scores(measured: Measurement, expected: dict[ts.Value, float]) -> None:
    assert set(measured.values) == set(expected)
    means, errors = np.asarray(measured.mean), measured.standard_error
    exact = np.array([expected[value] for value in measured.values])
    sampled = np.array(measured.sampled, dtype=int)
    certain = np.setdiff1d(np.arange(len(exact)), sampled)
    np.testing.assert_allclose(means[certain], exact[certain], rtol=1e-10, atol=1e-10)
    noisy = sampled[errors[sampled] > 1e-9]
    quiet = np.setdiff1d(sampled, noisy)  # with J, which vanishes on a quadratic
    np.testing.assert_allclose(means[quiet], exact[quiet], atol=1e-8)
    if not noisy.size:
        return
    z = (means[noisy] - exact[noisy]) / errors[noisy]
    assert np.abs(z).max() < 4.0, dict(zip([str(measured.values[i]) for i in noisy], z, strict=True))
    assert 0.2 < np.mean(z**2) < 3.0  # the statistics share draws: this is no χ² of independent ones


def test_the_statistics_are_the_ways_to_tie_the_trees() -> None:
    values = {as_value(notation) for notation in STATISTICS.values()}
    assert len(values) == 24 and values == set(GAP.values)
    loss = ts.Value((-1,))
    assert values | {loss} == set(TRAINING.to_moments().values)
    test_loss = ts.derive(ts.TestLoss(), ts.SGD(), order=3).to_moments()
    assert set(test_loss.values) < values | {loss}
    assert [len(test_loss[d].values) for d in range(4)] == [1, 1, 3, 12]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("estimator", "samples"), [("centred", 4000), ("correlators", 4000), ("exact", None)])
def test_statistics_of_a_random_quadratic(estimator: str, samples: int | None) -> None:
    landscape, theta, derivatives = quadratic()
    key = jax.random.key(6)
    measured = measure(GAP, landscape, theta, key=key, samples=samples, method=MatrixFree(estimator))
    expected = {as_value(text): by_einsum(text, derivatives) for text in STATISTICS.values()}
    check_z_scores(measured, expected)
    assert (len(measured.sampled) > 0) == (estimator != "exact")


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("estimator", ["centred", "correlators"])
def test_statistics_of_cosh_with_normal_noise(estimator: str) -> None:
    theta = jnp.asarray(COSH_AT)
    measured = measure(
        GAP, cosh_sampler(), theta, key=jax.random.key(2), samples=20_000, method=MatrixFree(estimator, batch=2)
    )
    check_z_scores(measured, {value: by_closed_form(value, COSH_AT, SIGMA) for value in GAP.values})
    assert len(measured.sampled) == 24


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("estimator", "samples"), [("centred", 4000), ("exact", None)])
def test_statistics_of_a_cosh_population_in_cumulants(estimator: str, samples: int | None) -> None:
    landscape, derivatives = cosh_population()
    by_moment = {as_value(text): by_einsum(text, derivatives) for text in STATISTICS.values()}
    by_moment[ts.Value((-1,))] = float(np.cosh(COSH_AT + np.asarray(landscape.data)).sum(axis=1).mean())
    expected = {v: sum(factor * by_moment[m] for factor, m in v.in_moments()) for v in TRAINING.values}
    measured = measure(
        TRAINING, landscape, jnp.asarray(COSH_AT), key=jax.random.key(3), samples=samples, method=MatrixFree(estimator)
    )
    check_z_scores(measured, expected)


def test_the_closed_form_is_the_dense_contraction() -> None:
    # On the population {±σ}² instead of normal noise both can be written down: E e^{kx} = cosh kσ.
    points = np.array(list(product((-SIGMA, SIGMA), repeat=2)))
    even, odd = np.cosh(COSH_AT + points), np.sinh(COSH_AT + points)
    derivatives = {1: odd, 2: np.einsum("xi,ij->xij", even, np.eye(2))}
    expected = sum((np.sinh(at) * np.cosh(SIGMA)) ** 2 * np.cosh(at) * np.cosh(SIGMA) for at in COSH_AT)
    assert by_einsum("(01-02)(0-1-2)", derivatives) == pytest.approx(expected, rel=1e-12)
    noiseless = by_closed_form(as_value("(01-02)(0-1-2)"), COSH_AT, 0.0)
    assert noiseless == pytest.approx(float(np.sum(np.sinh(COSH_AT) ** 2 * np.cosh(COSH_AT))), rel=1e-12)
