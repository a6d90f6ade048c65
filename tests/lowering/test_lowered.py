"""Lowered formulas against exact evaluation, and as citizens of JAX: traced, differentiable, exportable."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import taylorsgd as ts
from taylorsgd import symbols
from taylorsgd.formulas.evaluation import evaluate_value

START = (sympy.Rational(1, 2), sympy.Rational(-2, 3))


@pytest.fixture(scope="module")
def landscape() -> ts.FiniteLandscape:
    u, v = sympy.symbols("u v")
    losses = [u**4 + u * v, u**3 * v**2 - v, (u + v) ** 4 / 3 + u * v**3]
    return ts.FiniteLandscape(losses, [sympy.Rational(1, d) for d in (2, 3, 6)], [u, v])


def exact_tensors(formula: ts.Formula, landscape: ts.FiniteLandscape) -> dict[Any, Any]:
    cumulant = partial(landscape.cumulant, at=START)
    found = {}
    for value in formula.values:
        assert isinstance(value, ts.Value)
        found[value] = np.asarray(evaluate_value(value, cumulant, {})).astype(float)
    return found


@pytest.mark.parametrize(
    "observable",
    [ts.TestLoss(), ts.GeneralizationGap(), ts.Variance(ts.TrainLoss()), ts.Displacement()],
    ids=lambda observable: type(observable).__name__,
)
def test_values_agree_with_exact_evaluation(observable: Any, landscape: ts.FiniteLandscape) -> None:
    f = ts.derive(observable, ts.SGD(), order=3)
    tensors = exact_tensors(f, landscape)
    g = f.lower()
    with jax.enable_x64(True):
        given = [{"N": 6, "B": 2, "E": 3}, {"N": 4, "B": 4, "T": 5}, {"T": 12, "M": 3, "B": 2}]
        for sizes in given if observable == ts.TestLoss() else given[2:]:
            exact = f.evaluate(landscape, at=START, eta=sympy.Rational(1, 8), **sizes)
            computed = g(tensors, eta=0.125, **sizes)
            expected = np.array(exact.tolist() if hasattr(exact, "tolist") else exact, dtype=float).squeeze()
            np.testing.assert_allclose(computed, expected, rtol=1e-12)
            parts = g.contributions(tensors, 0.125, **sizes)
            assert parts.shape[0] == 4
            np.testing.assert_allclose(parts.sum(axis=0), computed, rtol=1e-12, atol=1e-12)


def test_tensors_in_every_form() -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)
    g = f.lower()
    numbers = [2.0, 0.5, 0.25, 3.0]
    # l − T G·G η + T(T − ½) G·H·G η² + (T/2) C·H η²
    expected = 2.0 - 4 * 0.5 * 0.1 + 4 * 3.5 * 0.25 * 0.01 + 2 * 3.0 * 0.01
    forms = [numbers, tuple(numbers), np.array(numbers), jnp.array(numbers)]
    forms += [dict(zip(g.values, numbers, strict=True))]
    for tensors in forms:
        assert float(g(tensors, eta=0.1, T=4)) == pytest.approx(expected, rel=1e-6)
    assert g.values == f.values and g.orders == (0, 1, 2, 2)
    np.testing.assert_allclose(g.weights(0.1, N=4), [1, -0.4, 0.14, 0.02], rtol=1e-6)


def test_vectors_are_pytrees_like_theta() -> None:
    g = ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), order=1).lower()  # −T G
    for tensors in ([{"a": jnp.ones(3), "b": 2.0}], {g.values[0]: {"a": jnp.ones(3), "b": 2.0}}):
        moved = g(tensors, eta=jnp.array([0.1, 0.2]), T=5)
        assert moved["a"].shape == (2, 3)
        np.testing.assert_allclose(moved["b"], [-1.0, -2.0], rtol=1e-6)
        assert g.contributions(tensors, 0.1, T=5)["a"].shape == (2, 3)
    # a tuple as θ is one tensor, not a sequence of them
    np.testing.assert_allclose(g([(jnp.ones(2), jnp.ones(()))], eta=0.1, T=5)[0], [-0.5, -0.5])


def test_learning_rates_and_sizes_broadcast() -> None:
    g = ts.derive(ts.TestLoss(), ts.SGD(B=1), order=1).lower()
    table = g([2.0, 0.5], eta=jnp.array([0.1, 0.2])[:, None], N=np.array([2, 4, 6]), E=1)
    expected = 2.0 - 0.5 * np.array([[0.2, 0.4, 0.6], [0.4, 0.8, 1.2]])
    np.testing.assert_allclose(table, expected, rtol=1e-6)
    assert g.contributions([2.0, 0.5], jnp.zeros((3, 1)), N=[1, 2], E=1).shape == (2, 3, 2)


def test_the_dtype_is_that_of_the_tensors() -> None:
    g = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=1).lower()
    with jax.enable_x64(True):
        assert g(jnp.ones(2, jnp.float32), eta=np.float64(0.1), N=2).dtype == jnp.float32
        assert g(jnp.ones(2), eta=np.float32(0.1), N=2).dtype == jnp.float64
        assert g([1, 2], eta=0.1, N=2).dtype in (jnp.float32, jnp.float64)


def test_derivatives_in_everything(landscape: ts.FiniteLandscape) -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(), order=3)
    tensors = jnp.array([float(t) for t in exact_tensors(f, landscape).values()])
    g = f.lower()
    T, rate = sympy.symbols("T eta")
    with jax.enable_x64(True):
        values = np.asarray(tensors, dtype=float)
        expression = sum(
            term.coefficient.subs({symbols.E: T * 2 / symbols.N, symbols.B: 2}) * rate**term.order * value
            for term, value in zip(f.terms, values, strict=True)
        )
        at = {T: 6, rate: sympy.Rational(1, 16), symbols.N: 4}
        by_rate, by_time = jax.grad(lambda eta, t: g(values, eta=eta, T=t, N=4.0, B=2.0), (0, 1))(0.0625, 6.0)
        assert float(by_rate) == pytest.approx(float(sympy.diff(expression, rate).subs(at)), rel=1e-10)
        assert float(by_time) == pytest.approx(float(sympy.diff(expression, T).subs(at)), rel=1e-10)
        by_tensors = jax.grad(lambda t: g(t, eta=0.0625, T=6, N=4, B=2))(values)
        np.testing.assert_allclose(by_tensors, g.weights(0.0625, T=6, N=4, B=2), rtol=1e-12)


def test_vmap_over_everything() -> None:
    g = ts.derive(ts.TestLoss(), ts.SGD(B=1), order=1).lower()
    tensors = jnp.array([[2.0, 0.5], [1.0, 0.25]])
    batched = jax.vmap(lambda t, eta, n: g(t, eta=eta, N=n, E=2))(tensors, jnp.array([0.1, 0.2]), jnp.array([3, 5]))
    np.testing.assert_allclose(batched, [2 - 6 * 0.1 * 0.5, 1 - 10 * 0.2 * 0.25], rtol=1e-6)


def test_new_numbers_compile_nothing(compilations: list[str]) -> None:
    f = ts.derive(ts.GeneralizationGap(), ts.SGD(), order=2)
    tensors = np.arange(1.0, 1.0 + len(f.terms), dtype=np.float32)
    g = f.lower()
    g(tensors, eta=0.1, N=4, B=2, E=3)
    assert compilations
    compilations.clear()
    for n, b, e, eta in ((6, 3, 2, 0.2), (100, 5, 1, jnp.float32(0.5)), (10**6, 1, 1, np.float64(1e-3))):
        g(tensors * 2, eta=eta, N=n, B=b, E=e)
    f.lower()(tensors, eta=0.1, N=4, B=2, E=3)  # another lowering of an equal formula
    assert not compilations
    g(tensors, eta=0.1, T=6, B=2, N=4)
    assert len(compilations) == 1  # other names are another program


@pytest.mark.parametrize("observable", [ts.TestLoss(), ts.Displacement()], ids=["scalar", "vector"])
def test_exports_for_cpu_gpu_and_tpu(observable: Any) -> None:
    f = ts.derive(observable, ts.SGD(), order=3)
    g = f.lower()
    shape = (len(f.terms),) if observable == ts.TestLoss() else (len(f.terms), 7)
    exported = jax.export.export(
        jax.jit(lambda tensors, eta, n: g(tensors, eta=eta, N=n, B=1.0, E=2.0)), platforms=["cpu", "cuda", "tpu"]
    )(
        jax.ShapeDtypeStruct(shape, jnp.float32),
        jax.ShapeDtypeStruct((5,), jnp.float32),
        jax.ShapeDtypeStruct((), jnp.float32),
    )
    assert set(exported.platforms) == {"cpu", "cuda", "tpu"}
    tensors, eta = jnp.ones(shape), jnp.linspace(0, 0.1, 5)
    computed = exported.call(tensors, eta, jnp.float32(4))
    np.testing.assert_allclose(computed, g(tensors, eta=eta, N=4, B=1, E=2), rtol=1e-5)


def test_zero_and_constants() -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(), order=1)
    assert float((f - f).lower()([], eta=0.1)) == 0.0
    assert float(f[0].lower()([3.0], eta=0.1)) == 3.0


def test_scaled_formulas_may_have_symbols_of_their_own() -> None:
    c = sympy.Symbol("c")
    g = (ts.derive(ts.TestLoss(), ts.SGD(), order=0) * sympy.exp(c)).lower()
    assert float(g([3.0], eta=0.1, c=0.5)) == pytest.approx(3 * np.exp(0.5), rel=1e-6)


class TestErrors:
    g = ts.derive(ts.TestLoss(), ts.SGD(), order=1).lower()

    @pytest.mark.parametrize(
        ("sizes", "error", "message"),
        [
            ({}, ValueError, "the sizes B, E, N have no value yet; give enough of B, E, M, N, T"),
            ({"N": 4, "T": 4, "M": 1}, ValueError, "B, E have no value"),
            ({"N": 4, "B": 1, "E": 1, "Q": 1}, ValueError, "Q is no size of this formula"),
            ({"N": 4, "B": 1, "E": 2, "T": 9}, ValueError, "contradict"),
            ({"N": 4.0, "B": 1.0, "E": 2.0, "T": 9.0}, ValueError, "T=9 contradicts"),
            ({"N": np.array([4, 5]), "B": 1, "E": 2, "T": np.array([8, 11])}, ValueError, "contradicts"),
            ({"N": 5, "B": 2, "E": 2}, ValueError, "does not divide"),
            ({"N": 4, "B": 1, "E": -2}, ValueError, "impossible"),
            ({"N": "4", "B": 1, "E": 1}, TypeError, "not a number"),
            ({"N": sympy.Symbol("n"), "B": 1, "E": 1}, TypeError, "SymPy"),
        ],
    )
    def test_bad_sizes(self, sizes: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            self.g([1.0, 1.0], eta=0.1, **sizes)

    def test_redundant_sizes_that_agree(self) -> None:
        assert float(self.g([2.0, 0.5], eta=0.5, N=4, B=2, E=3, T=6, M=1.5)) == 0.5
        assert float(jax.jit(lambda n: self.g([2.0, 0.5], eta=0.5, N=n, B=2, E=3, T=6))(4)) == 0.5

    def test_fixed_sizes_may_be_repeated(self) -> None:
        g = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=1).lower()
        assert float(g([2.0, 0.5], eta=0.5, N=4, B=1)) == 1.0
        with pytest.raises(ValueError, match="contradicts"):
            g([2.0, 0.5], eta=0.5, N=4, B=2)

    @pytest.mark.parametrize(
        ("tensors", "error", "message"),
        [
            ([1.0], ValueError, "1 entries for the 2 values"),
            ({}, ValueError, "tensors lacks the values l, G_μ G"),
            (jnp.ones((2, 3)), ValueError, "use jax.vmap"),
            (3.0, TypeError, "neither a Measurement"),
        ],
    )
    def test_bad_tensors(self, tensors: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            self.g(tensors, eta=0.1, N=1, B=1, E=1)

    def test_no_formula(self) -> None:
        from taylorsgd.lowering import lower

        with pytest.raises(TypeError, match="not a Formula"):
            lower(3)  # type: ignore[arg-type]
