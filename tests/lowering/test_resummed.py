"""Resummed formulas as JAX functions: the numbers of exact evaluation, their derivatives, one compilation.

1. g(tensors) equals `Formula.evaluate` on the same tensors, for every observable, spacetime and method.
2. Derivatives equal differences, where eigenvalues of H coincide too.
3. Divergent descent is warned of by name; limits that do not exist are refused.
4. Measured tensors of a population equal the exact ones.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from sympy import Rational

import taylorsgd as ts
from taylorsgd.lowering import LoweredResummed
from taylorsgd.lowering import resummed as module

X, Y = sp.symbols("x y")
LANDSCAPE = ts.FiniteLandscape(
    [X**2 * Y + X * Y**2 - X + Y**3 / 3 + X**2 + 2 * Y**2, -(X**2) * Y / 2 + 3 * X - Y + X**2 / 2 + X**3 / 2 + Y**2],
    [Rational(1, 3), Rational(2, 3)],
    [X, Y],
)
AT = [Rational(1, 3), Rational(1, 2)]


def tensors_of(formula, landscape=LANDSCAPE, at=AT):
    return {
        key: jnp.asarray(np.vectorize(float)(landscape.cumulant(key, at)))
        for key in formula.lower().parts
        if not isinstance(key[0], str)
    }


CASES = [
    (ts.SGD(N=4, B=1, E=1), "discrete"),
    (ts.GD(N=2, T=5), "discrete"),
    (ts.SGD(N=2, B=1, E=2), "discrete"),
    (ts.Grid([[1, 0, 1], [1, 1, 0], [0, 1, 1]]), "discrete"),
    (ts.SGD(N=4, B=2, E=1), "continuous"),
    (ts.SDE(T=3, B=2), "continuous"),
]


@pytest.mark.parametrize(("spacetime", "method"), CASES, ids=range(len(CASES)))
@pytest.mark.parametrize(
    "observable", [ts.TestLoss(), ts.GeneralizationGap(), ts.Displacement(), ts.Variance(ts.Displacement())], ids=str
)
def test_lowered_is_evaluated(observable, spacetime, method):
    if not spacetime.has_training_set and observable == ts.GeneralizationGap():
        pytest.skip("the SDE has no training set")
    order = 3 if method == "discrete" and not isinstance(observable, ts.Covariance) else 2
    formula = ts.derive(observable, spacetime, order, resum=method)
    exact = sp.Matrix([formula.evaluate(LANDSCAPE, AT, eta=Rational(1, 10))]).evalf(20)
    with jax.enable_x64(True):
        found = formula.lower()(tensors_of(formula), eta=0.1)
        np.testing.assert_allclose(np.ravel(found), np.array(exact.tolist(), dtype=float).ravel(), rtol=1e-11)


def test_limit_is_evaluated():
    H = np.array([[3, 1], [1, 2]])
    C = np.array([[2, 1], [1, 1]])
    for method in ("discrete", "continuous"):
        formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum=method).assume("minimum").limit()
        with jax.enable_x64(True):
            found = formula.lower()({(0,): 0.0, (2,): H * 1.0, (1, 1): C * 1.0}, eta=0.05)
        kron = np.kron(H, np.eye(2)) + np.kron(np.eye(2), H) - (0.05 * np.kron(H, H) if method == "discrete" else 0)
        sigma = np.linalg.solve(kron, 0.05 * C.ravel()).reshape(2, 2)
        assert np.isclose(found, np.trace(H @ sigma) / 2, rtol=1e-12)


def one_epoch(order=3, method="discrete"):
    return ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order, resum=method)


@pytest.mark.parametrize("method", ["discrete", "continuous"])
def test_derivatives_are_differences(method):
    # order 2 has every kind of sum over times that order 3 has, and compiles ten times faster
    formula = one_epoch(2, method)
    with jax.enable_x64(True):
        g, tensors = formula.lower(), tensors_of(formula)
        # two equal eigenvalues: eigenvectors have no derivative, the formula does
        for hessian in (jnp.eye(2) * 1.3, jnp.array([[1.0, 0.2], [0.2, 0.7]])):

            def along(direction, hessian=hessian):
                return lambda step: g({**tensors, (2,): hessian + step * direction}, eta=0.1, N=20)

            gradient = jax.grad(lambda h: g({**tensors, (2,): h}, eta=0.1, N=20))(hessian)
            for direction in (jnp.eye(2), jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.array([[1.0, 0.5], [0.5, -1.0]])):
                f = along(direction)
                difference = (f(1e-5) - f(-1e-5)) / 2e-5
                np.testing.assert_allclose(jnp.sum(gradient * direction), difference, rtol=1e-7, atol=1e-9)
                np.testing.assert_allclose(jax.jvp(f, (0.0,), (1.0,))[1], difference, rtol=1e-7, atol=1e-9)
        in_noise = jax.grad(lambda c: g({**tensors, (1, 1): c}, eta=0.1, N=20))(tensors[1, 1])
        assert np.all(np.isfinite(in_noise)) and np.any(in_noise != 0)
        if method == "continuous":
            in_time = jax.grad(lambda n: g(tensors, eta=0.1, N=n))(20.0)
            difference = (g(tensors, eta=0.1, N=20 + 1e-4) - g(tensors, eta=0.1, N=20 - 1e-4)) / 2e-4
            np.testing.assert_allclose(in_time, difference, rtol=1e-6)


@pytest.mark.parametrize("method", ["discrete", "continuous"])
def test_derivatives_in_the_rate_are_differences(method):
    formula = one_epoch(3, method)
    with jax.enable_x64(True):
        g, tensors = formula.lower(), tensors_of(formula)
        in_eta = jax.grad(lambda eta: g(tensors, eta=eta, N=20))(0.1)
        difference = (g(tensors, eta=0.1 + 1e-6, N=20) - g(tensors, eta=0.1 - 1e-6, N=20)) / 2e-6
        np.testing.assert_allclose(in_eta, difference, rtol=1e-7)


def test_grid_derivative_in_the_hessian():
    formula = ts.derive(ts.TestLoss(), ts.SGD(N=2, B=1, E=2), 2, resum="discrete")
    with jax.enable_x64(True):
        g, tensors = formula.lower(), tensors_of(formula)
        hessian, direction = jnp.eye(2), jnp.array([[1.0, 0.3], [0.3, -2.0]])
        f = lambda step: g({**tensors, (2,): hessian + step * direction}, eta=0.2)  # noqa: E731
        gradient = jax.grad(lambda h: g({**tensors, (2,): h}, eta=0.2))(hessian)
        np.testing.assert_allclose(jnp.sum(gradient * direction), (f(1e-5) - f(-1e-5)) / 2e-5, rtol=1e-8)


def test_new_numbers_do_not_compile_again():
    formula = one_epoch()
    g, tensors = formula.lower(), tensors_of(formula)
    g(tensors, eta=0.1, N=10)
    compiled = module._evaluate._cache_size()
    for eta, count in ((0.2, 11), (0.05, 1000), (0.3, 3)):
        g({key: 1.5 * array for key, array in tensors.items()}, eta=eta, N=count)
    assert module._evaluate._cache_size() == compiled


def test_broadcasts_batches_and_exports():
    formula = one_epoch(order=2)
    with jax.enable_x64(True):
        g, tensors = formula.lower(), tensors_of(formula)
        rates = jnp.array([0.05, 0.1, 0.2])
        together = g(tensors, eta=rates, N=7)
        assert together.shape == (3,)
        np.testing.assert_allclose(together, [g(tensors, eta=float(r), N=7) for r in rates], rtol=1e-12)
        np.testing.assert_allclose(jax.vmap(lambda r: g(tensors, eta=r, N=7))(rates), together, rtol=1e-12)
        parts = g.contributions(tensors, rates, N=7)
        assert parts.shape == (3, 3)
        np.testing.assert_allclose(parts.sum(0), together, rtol=1e-12)
        np.testing.assert_allclose(g(tensors, eta=0.1, metric=2 * np.eye(2), N=7), g(tensors, eta=0.2, N=7), rtol=1e-12)
    exported = jax.export.export(
        jax.jit(lambda t, eta, n: g(dict(zip(g.parts, t, strict=True)), eta=eta, N=n)), platforms=["cpu", "cuda", "tpu"]
    )(tuple(jnp.zeros((2,) * sum(key)) for key in g.parts), jnp.float32(0.1), jnp.float32(7))
    assert exported.platforms == ("cpu", "cuda", "tpu")


def test_a_matrix_learning_rate_is_a_change_of_coordinates():
    """θ = L φ turns the rate η Λ = η L Lᵀ into the rate η, for every tensor."""
    formula = one_epoch()
    factor = np.array([[1.0, 0.0], [0.5, 2.0]])
    with jax.enable_x64(True):
        g, tensors = formula.lower(), tensors_of(formula)
        turned = {}
        for key, array in tensors.items():
            for axis in range(array.ndim):
                array = jnp.moveaxis(jnp.tensordot(array, factor, (axis, 0)), -1, axis)
            turned[key] = array
        metric = factor @ factor.T
        np.testing.assert_allclose(g(tensors, eta=0.03, metric=metric, N=9), g(turned, eta=0.03, N=9), rtol=1e-11)
        of_rule = ts.derive(
            ts.TestLoss(), ts.SGD(B=1, E=1), 3, resum="discrete", update=ts.Descent(metric=[[2, 1], [1, 3]])
        )
        np.testing.assert_allclose(
            of_rule.lower()(tensors, eta=0.03, N=9),
            g(tensors, eta=0.03, metric=np.array([[2, 1], [1, 3]]), N=9),
            rtol=1e-12,
        )


def test_divergence_and_missing_limits_are_named():
    g = one_epoch(order=2).lower()
    steep = {(0,): 0.0, (1,): jnp.ones(2), (2,): jnp.diag(jnp.array([1.0, 8.0])), (1, 1): jnp.eye(2)}
    with pytest.warns(RuntimeWarning, match="eigenvalue 8, at or beyond 2/eta = 5"):
        g(steep, eta=0.4, N=5)
    limit = one_epoch(order=2).assume("minimum").limit().lower()
    with pytest.raises(ValueError, match="does not exist.*eigenvalue 8"):
        limit(steep, eta=0.4)
    with pytest.raises(ValueError, match="flat direction"):
        limit({**steep, (2,): jnp.diag(jnp.array([0.0, 1.0]))}, eta=0.1)
    with pytest.raises(ValueError, match="saddle"):
        limit({**steep, (2,): jnp.diag(jnp.array([-1.0, 1.0]))}, eta=0.1)
    with pytest.raises(NotImplementedError, match="drift is not lowered"):
        ts.derive(ts.Displacement(), ts.SDE(), 3, resum="continuous").assume("minimum").drift().lower()


def test_bad_tensors_are_named():
    g = one_epoch(order=2).lower()
    assert isinstance(g, LoweredResummed)
    good = {(0,): 0.0, (1,): jnp.ones(2), (2,): jnp.eye(2), (1, 1): jnp.eye(2)}
    with pytest.raises(ValueError, match=r"lacks \(1, 1\)"):
        g({key: array for key, array in good.items() if key != (1, 1)}, eta=0.1, N=3)
    with pytest.raises(ValueError, match=r"tensors\[\(1,\)\] has shape \(3,\)"):
        g({**good, (1,): jnp.ones(3)}, eta=0.1, N=3)
    with pytest.raises(ValueError, match="no value yet"):
        g(good, eta=0.1)
    with pytest.raises(ValueError, match="P x P"):
        g(good, eta=0.1, metric=np.eye(3), N=3)
    with pytest.raises(ValueError, match="not symmetric"):
        g(good, eta=0.1, metric=np.array([[1.0, 1.0], [0.0, 1.0]]), N=3)
    with pytest.raises(TypeError, match="mapping"):
        g([1.0, 2.0], eta=0.1, N=3)


def test_measured_tensors_of_a_population_are_exact():
    formula = ts.derive(ts.TrainLoss(), ts.GD(), 3, resum="discrete")
    losses = [sp.cosh(X + a) + b * X * Y + sp.exp(b * Y) for a, b in ((0, 1), (1, -1), (2, Rational(1, 2)))]
    exact = ts.FiniteLandscape(losses, [Rational(1, 3)] * 3, [X, Y])

    def loss(theta, x):
        return jnp.cosh(theta["a"] + x[0]) + x[1] * theta["a"] * theta["b"] + jnp.exp(x[1] * theta["b"])

    with jax.enable_x64(True):
        landscape = ts.Landscape(loss, jnp.array([[0.0, 1.0], [1.0, -1.0], [2.0, 0.5]]))
        theta = {"a": jnp.float64(0.25), "b": jnp.float64(0.5)}
        measured = ts.measure(formula, landscape, theta, key=jax.random.key(0))
        assert measured.exact and max(map(len, measured.tensors)) >= 4
        for part, array in measured.tensors.items():
            expected = np.vectorize(lambda entry: float(sp.N(entry, 17)))(exact.cumulant(part, [0.25, 0.5]))
            np.testing.assert_allclose(array, expected, rtol=1e-9, atol=1e-12)
        formula = ts.derive(ts.TestLoss(), ts.GD(), 2, resum="discrete")
        prediction = ts.predict(formula, landscape, theta, eta=[0.01, 0.1], N=3, T=4)
        direct = formula.lower()(measured, eta=jnp.array([0.01, 0.1]), N=3, T=4)
        np.testing.assert_allclose(prediction.mean, direct, rtol=1e-12)
        assert np.all(prediction.covariance == 0)


def test_tensors_from_a_sampler_are_unbiased():
    """All samples of 4 from a population of 3, each with its probability: the mean is the cumulant."""
    from itertools import product

    with jax.enable_x64(True):
        points = jnp.array([-1.0, 2.0, 2.0])
        parts = ((1,), (2,), (1, 1), (1, 1, 1), (1, 2), (1, 1, 1, 1))
        loss = lambda theta, x: jnp.sum(jnp.exp(theta * x))  # noqa: E731
        theta = jnp.array([0.3])
        from taylorsgd.measuring.dense import measure_dense

        whole = measure_dense(parts, ts.Landscape(loss, points), theta, jax.random.key(0), 4, {})
        total = dict.fromkeys(parts, 0.0)
        for choice in product(range(3), repeat=4):
            chosen = points[jnp.array(choice)]
            sampler = ts.Landscape(loss, lambda key, n, chosen=chosen: chosen)
            sample = measure_dense(parts, sampler, theta, jax.random.key(0), 4, {})
            for part in parts:
                total[part] = total[part] + sample[part] / 81
        for part in parts:
            np.testing.assert_allclose(total[part], whole[part], rtol=1e-10, atol=1e-13)


def test_dense_tensors_of_large_models_are_refused():
    formula = one_epoch(order=2)
    landscape = ts.Landscape(lambda theta, x: jnp.sum(theta**2) * x, jnp.ones(3))
    with pytest.raises(MemoryError, match="P = 100000"):
        ts.measure(formula, landscape, jnp.zeros(100000), key=jax.random.key(0))
