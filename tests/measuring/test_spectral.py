"""Resummed formulas in the top eigendirections of H, against dense tensors.

1. The contractions W[r] of every diagram are those of the dense cumulants with projectors on the edges.
2. With all eigenpairs the lowered formula equals the dense one; with some where the others are truly flat.
3. Elsewhere the true error lies within the stated one, and a warning names what is neglected.
4. Draws are unbiased, and scatter as much as their standard error says.
5. A model of 10⁵ parameters; one compilation; derivatives; errors.
"""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.lowering import resummed as module
from taylorsgd.lowering.projected import Projection
from taylorsgd.measuring.dense import measure_dense

KEY = jax.random.key(0)


def loss(theta, x):
    """Σ_j x_j exp(w_j·θ) + θᵀMθ/2. Directions and matrix are part of the point: all tests share compiled code."""
    weights, directions, matrix = x
    return weights @ jnp.exp(directions @ theta) + theta @ (matrix @ theta) / 2


def landscape_with(spectrum, points=3, seed=0):
    """Random losses whose mean's Hessian has the given spectrum at θ = 0."""
    random = np.random.default_rng(seed)
    size = len(spectrum)
    weights, directions = random.normal(size=(points, 4)), random.normal(size=(4, size))
    basis = np.linalg.qr(random.normal(size=(size, size)))[0]
    matrix = basis * np.array(spectrum) @ basis.T - (directions.T * weights.mean(0)) @ directions
    everywhere = [np.broadcast_to(array, (points, *array.shape)) for array in (directions, matrix)]
    return ts.Landscape(loss, tuple(map(jnp.asarray, (weights, *everywhere))))


def measured(formula, landscape, count, size, **settings):
    return ts.measure(formula, landscape, jnp.zeros(size), key=KEY, method=ts.TopEigenpairs(count), **settings)


DIAGRAMS = [
    ((-1,), (0,), ("",)),
    ((-1, 0, 0, 0), (0, 1, 2, 3), ("",) * 4),
    ((-1, 0, 0, 0), (0, 0, 0, 0), ("",) * 4),  # four tied nodes: two independent points
    ((-1, 0, 1, 2), (0, 1, 0, 1), ("",) * 4),  # tied nodes that receive from tied nodes
    ((-1, 0, 1, 1), (0, 1, 2, 2), ("@0", "", "", "")),
    ((-1, 0, 1, 1), (0, 1, 2, 1), ("@0", "", "", "")),
    ((-1, 0, 1), (0, 1, 1), ("bump", "", "")),
    ((-1, 0, -1, 2), (0, 1, 2, 1), ("", "", "bump", "")),  # two trees, tied
]
BUMP = ts.Observable(lambda theta: jnp.sin(theta[0] + 0.3) * jnp.exp(theta[1] * theta[2]), name="bump")
FUNCTIONS = {"bump": PointFunction(BUMP.s, "bump")}


def dense_operands(diagram, dense):
    """The tensors of a diagram's parts with their axes: 2e at the child's end of the edge e, 2e + 1 at the other."""
    parents, parts, marks = diagram
    edges = [(node, parent) for node, parent in enumerate(parents) if parent >= 0]
    degrees = [sum(node in pair for pair in edges) for node in range(len(parents))]
    for part in sorted(set(parts)):
        nodes = sorted((n for n in range(len(parents)) if parts[n] == part), key=lambda n: degrees[n])
        mark, key = marks[nodes[0]], tuple(degrees[node] for node in nodes)
        if not mark.startswith("@"):
            ends = [2 * e + (node == p) for node in nodes for e, (c, p) in enumerate(edges) if node in (c, p)]
            yield dense[key if not mark else (mark, *key)], ends


def measured_and_expected(landscape, samples, batch):
    """Contractions along two of three eigendirections, and the same from dense tensors, label by label."""
    task = SimpleNamespace(
        resummed=True, diagrams=DIAGRAMS, observables=FUNCTIONS, landscape=landscape, theta=jnp.zeros(3), draws=samples,
        progress=False, started=lambda draws: KEY, origin=SimpleNamespace(fingerprint=None), metric=None, raising=None,
    )  # fmt: skip
    measurement = ts.TopEigenpairs(2, batch=batch).measure(task)
    parts = ((0,), (1,), (2,), (3,), (1, 1), (1, 2), (2, 2), (1, 3), (1, 1, 1), (1, 1, 1, 3), ("bump", 1))
    dense = measure_dense(parts, landscape, jnp.zeros(3), KEY, 9, FUNCTIONS).tensors
    vectors = np.asarray(measurement.tensors.vectors)
    onto = [np.outer(v, v) for v in vectors] + [np.eye(3) - vectors.T @ vectors]
    for diagram in DIAGRAMS:
        found = jax.tree.map(np.asarray, measurement.tensors.projections[diagram])
        operands = [x for tensor, ends in dense_operands(diagram, dense) for x in (np.asarray(tensor), ends)]
        end = [1] if diagram[2][0] == "@0" else []  # in these diagrams the first edge ends there
        for labels in product(range(3), repeat=found.numbers.ndim - 1):
            edges = [x for e, r in enumerate(labels) for x in (onto[r], [2 * e, 2 * e + 1])]
            expected = np.einsum(*operands, *edges, end, optimize=True)
            groups = found.numbers[(slice(None), *labels)]
            if end and labels[0] < 2:
                groups = groups[:, None] * vectors[labels[0]]
            elif end:
                groups = found.vectors[(slice(None), *labels[1:])]
            yield measurement, groups, expected


def test_contractions_are_those_of_dense_tensors():
    with jax.enable_x64(True):
        for measurement, groups, expected in measured_and_expected(landscape_with([1.5, -0.7, 0.2]), 100, 4):
            assert measurement.exact and len(groups) == 1
            np.testing.assert_allclose(groups[0], expected, rtol=1e-10, atol=1e-11)


def test_draws_are_unbiased():
    """Forty points, 1,024 draws: every contraction within its standard error of the exact one."""
    scores = []
    with jax.enable_x64(True):
        landscape = landscape_with([1.5, -0.7, 0.2], points=40)
        for measurement, groups, expected in measured_and_expected(landscape, 1020, 1):
            assert measurement.samples == 1024
            if len(groups) > 1:
                error = groups.std(axis=0, ddof=1) / len(groups) ** 0.5
                scores.append(((groups.mean(axis=0) - expected) / error).ravel())
            else:
                np.testing.assert_allclose(groups[0], expected, rtol=1e-10, atol=1e-11)
    scores = np.concatenate(scores)
    # Student's t with 15 degrees of freedom: its variance is 15/13.
    assert len(scores) > 150 and np.max(np.abs(scores)) < 5.5 and 0.5 < np.mean(scores**2) < 2


FLAT, ALL = ([1.5, -0.7, 0.0], 2), ([1.5, -0.7, 0.2], 3)
CASES = [
    (ts.TestLoss(), ts.SGD(B=1, E=1), "discrete", {"N": 6}, ALL),
    (ts.TrainLoss(), ts.SGD(B=1, E=1), "continuous", {"N": 6}, FLAT),
    (ts.GeneralizationGap(), ts.SGD(N=2, B=1, E=2), "discrete", {}, FLAT),
    (ts.Displacement(), ts.SGD(B=1, E=1), "discrete", {"N": 6}, FLAT),
    (ts.Displacement(), ts.GD(), "continuous", {"N": 4, "T": 5}, ALL),
    (BUMP, ts.SGD(B=1, E=1), "discrete", {"N": 6}, FLAT),
    (ts.Variance(ts.TestLoss()), ts.SDE(), "continuous", {"T": 3, "B": 2}, FLAT),
]


@pytest.mark.parametrize(("observable", "spacetime", "method", "sizes", "known"), CASES, ids=range(len(CASES)))
def test_all_eigenpairs_or_all_but_flat_ones_are_the_dense_path(observable, spacetime, method, sizes, known):
    spectrum, count = known
    with jax.enable_x64(True):
        formula = ts.derive(observable, spacetime, 2, resum=method)
        g, landscape = formula.lower(), landscape_with(spectrum)
        dense = ts.measure(formula, landscape, jnp.zeros(3), key=KEY)
        spectral = measured(formula, landscape, count, 3)
        assert spectral.exact and spectral.tensors.rest == (count < 3)
        parts = g.contributions(spectral, 0.2, **sizes)
        np.testing.assert_allclose(parts, g.contributions(dense, 0.2, **sizes), rtol=1e-11, atol=1e-14)


def test_order_three_with_a_flat_rest():
    with jax.enable_x64(True):
        formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 3, resum="discrete")
        landscape, g = landscape_with([1.5, 0.7, 0.0]), formula.lower()
        dense = ts.measure(formula, landscape, jnp.zeros(3), key=KEY)
        spectral = measured(formula, landscape, 2, 3)
        np.testing.assert_allclose(g(spectral, eta=0.1, N=30), g(dense, eta=0.1, N=30), rtol=1e-12)
        known = g.uncertainty(spectral, 0.1, N=30)
        assert np.abs(known.neglected) < 1e-12 and known.sampling == 0


@pytest.mark.parametrize("observable", [ts.TestLoss(), ts.Displacement()], ids=str)
def test_the_error_lies_within_what_is_stated(observable):
    """A curvature of ±0.02 is neglected. What is stated is a bound, and of the size of the error."""
    with jax.enable_x64(True):
        formula = ts.derive(observable, ts.SGD(B=1, E=1), 2, resum="discrete")
        g = formula.lower()
        errors, bounds = [], []
        for seed in range(6):
            small = 0.02 * (-1) ** seed
            landscape = landscape_with([1.5, 0.7, small], seed=seed)
            dense = ts.measure(formula, landscape, jnp.zeros(3), key=KEY)
            spectral = measured(formula, landscape, 2, 3)
            np.testing.assert_allclose(spectral.neglected, sorted((0.0, small)), atol=1e-10)
            for count in (5, 30):
                exact, found = (g(m, eta=0.1, N=count) for m in (dense, spectral))
                errors.append(np.linalg.norm(exact - found))
                bounds.append(np.linalg.norm(g.uncertainty(spectral, 0.1, N=count).neglected))
        assert np.all(np.array(errors) <= np.array(bounds) * (1 + 1e-6)) and min(errors) > 0
        assert np.sum(bounds) < 10 * np.sum(errors)
        spectral = measured(formula, landscape_with([1.5, 0.7, -0.02]), 2, 3)
        with pytest.warns(RuntimeWarning, match=r"from -0.02 to .* are taken to vanish.*reaches 0.2"):
            g(spectral, eta=0.1, N=100)


def test_groups_of_draws_make_a_mean_and_its_standard_error():
    with jax.enable_x64(True):
        formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum="discrete")
        g, exact = formula.lower(), measured(formula, landscape_with([1.5, 0.7, 0.0]), 2, 3).tensors

        def scaled(factors):
            projections = {
                key: Projection(jnp.multiply.outer(jnp.array(factors), one.numbers[0]), None)
                for key, one in exact.projections.items()
            }
            return replace(exact, projections=projections)

        factors = [1.1, 0.8, 1.0, 1.3]
        single = [float(g(scaled([factor]), eta=0.1, N=9)) for factor in factors]
        together = scaled(factors)
        np.testing.assert_allclose(g(together, eta=0.1, N=9), np.mean(single), rtol=1e-12)
        error = g.uncertainty(together, 0.1, N=9).sampling
        np.testing.assert_allclose(error, np.std(single, ddof=1) / 2, rtol=1e-12)


def test_a_model_of_a_hundred_thousand_parameters():
    """P² floats are 40 GB."""
    random = np.random.default_rng(0)
    points = jnp.asarray(random.normal(size=(8, 100)), jnp.float32)
    theta = {
        "in": jnp.asarray(random.normal(size=(100, 990)) / 10, jnp.float32),
        "out": jnp.asarray(random.normal(size=990) / 30, jnp.float32),
    }
    landscape = ts.Landscape(lambda t, x: (jnp.tanh(x @ t["in"]) @ t["out"] - x[0]) ** 2, points)
    formula = ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), 2, resum="discrete")
    spectral = ts.measure(formula, landscape, theta, key=KEY, method=ts.TopEigenpairs(8))
    assert spectral.tensors.vectors.shape == (8, 99990)
    g = formula.lower()
    small, smaller = (g(spectral, eta=eta, N=2) for eta in (2e-3, 1e-3))
    assert small.shape == (99990,)
    # To first order it is −ηT∇l.
    gradient = jax.grad(lambda t: landscape.population_loss(t))(theta)
    first = -2 * jnp.concatenate([gradient["in"].ravel(), gradient["out"]])
    slope = 2 * smaller / 1e-3 - small / 2e-3  # without what is quadratic in eta
    np.testing.assert_allclose(slope, first, atol=2e-3 * float(jnp.max(jnp.abs(first))))


def test_one_compilation_and_derivatives():
    with jax.enable_x64(True):
        formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum="continuous")
        g, spectral = formula.lower(), measured(formula, landscape_with([1.5, 0.7, 0.0]), 2, 3)
        g(spectral, eta=0.1, N=10)
        compiled = module._evaluate_projected._cache_size()
        for eta, count in ((0.2, 11), (0.05, 100)):
            g(spectral, eta=eta, N=count)
        assert module._evaluate_projected._cache_size() == compiled
        for name, at in (("eta", 0.1), ("N", 10.0)):

            def f(x, name=name):
                return g(spectral, **({"eta": 0.1, "N": 10.0} | {name: x}))

            step = 1e-5 * at
            np.testing.assert_allclose(jax.grad(f)(at), (f(at + step) - f(at - step)) / (2 * step), rtol=1e-8)
        rates = jnp.array([0.05, 0.1])
        np.testing.assert_allclose(
            jax.vmap(lambda eta: g(spectral, eta=eta, N=10))(rates), g(spectral, eta=rates, N=10), rtol=1e-13
        )


def test_limits_need_the_whole_spectrum():
    with jax.enable_x64(True):
        formula = ts.derive(ts.GeneralizationGap(), ts.GD(), 1, resum="continuous").limit()
        g, landscape = formula.lower(), landscape_with([1.5, 0.7, 0.2])
        dense = ts.measure(formula, landscape, jnp.zeros(3), key=KEY)
        np.testing.assert_allclose(
            g(measured(formula, landscape, 3, 3), eta=0.1, N=3), g(dense, eta=0.1, N=3), rtol=1e-11
        )
        with pytest.raises(ValueError, match="flat direction"):
            g(measured(formula, landscape, 2, 3), eta=0.1, N=3)


def test_the_table_says_what_is_neglected():
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 1, resum="discrete")
    with jax.enable_x64(True):
        spectral = measured(formula, landscape_with([1.5, -0.7, 0.25]), 2, 3)
    assert str(spectral).splitlines()[2].split()[0] == "1.5"
    low, dots, high, *rest = str(spectral).splitlines()[-1].split()
    assert -1e-12 < float(low) <= 0 and (dots, high) == ("…", "0.25")  # the low end is 0 but for rounding
    assert " ".join(rest) == "the other 1, taken to be 0"
    assert repr(spectral).startswith("<SpectralMeasurement of 2 diagrams in 2 of 3 eigendirections, from 3 points")
    assert "<table" in spectral._repr_html_()


def test_errors_are_named():
    with jax.enable_x64(True):  # as everywhere here: compiled code is shared
        resummed = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 1, resum="discrete")
        landscape = landscape_with([1.5, -0.7, 0.25])
        for bad in (0, 4, 1.5, True):
            with pytest.raises(ValueError, match=r"must be an integer from 1 to P( = 3)?$"):
                measured(resummed, landscape, bad, 3)
        sampler = ts.Landscape(lambda theta, x: theta @ x, lambda key, n: jax.random.normal(key, (n, 3)))
        with pytest.raises(NotImplementedError, match="draw a population from it"):
            measured(resummed, sampler, 2, 3)
        with pytest.raises(ValueError, match="TopEigenpairs.* is for resummed formulas"):
            measured(ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 1), landscape, 2, 3)
        pair = ts.derive(ts.Variance(ts.Displacement()), ts.SGD(B=1, E=1), 2, resum="discrete")
        with pytest.raises(NotImplementedError, match="two open indices"):
            measured(pair, landscape, 2, 3)
        g, spectral = resummed.lower(), measured(resummed, landscape, 2, 3)
        with pytest.raises(NotImplementedError, match="a SpectralMeasurement has none"):
            g(spectral, eta=0.1, N=2, metric=np.eye(3))
        with pytest.raises(ValueError, match="was not measured; measure this formula"):
            ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum="discrete").lower()(spectral, eta=0.1, N=2)
        dense = ts.measure(resummed, landscape, jnp.zeros(3), key=KEY)
        with pytest.raises(TypeError, match="is no SpectralMeasurement"):
            g.uncertainty(dense, 0.1, N=2)
        with pytest.warns(RuntimeWarning, match="eigenvalue 1.5, at or beyond 2/eta"):
            g(measured(resummed, landscape, 3, 3), eta=2.0, N=2)
        large = ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), 3, resum="discrete")
        flat = ts.Landscape(lambda theta, x: jnp.sum(theta**2) * x, jnp.ones(3))
        with pytest.raises(MemoryError, match="ask for fewer eigenpairs"):
            ts.measure(large, flat, jnp.zeros(10**6), key=KEY, method=ts.TopEigenpairs(100))
