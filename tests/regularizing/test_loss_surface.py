"""What implicit gradient regularization asks of a loss, against dense matrices, SymPy and real steps of descent.

(1) R_IG, λ, slope and |g| of the paper's two-parameter model are its closed forms, equations A.25 to A.27
    and remark D.1
(2) cos α of the surface's normal, and det g of the metric, formed densely, are those of the slope
(3) ||θ_{n+1}| − |θ_n|| ≤ h slope, and equal along a ray
(4) E_μ: value and first and second derivatives are those of plain differentiation, for any pytree, and
    no array of m × m arises
(5) one step of descent is O(h³) from the flow of Ẽ, and no better
(6) εᵀKε with the dense kernel, and Ẽ = s εᵀ(1 + hsK)ε
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import sympy
from jax.flatten_util import ravel_pytree

import taylorsgd as ts
from taylorsgd.landscapes import (
    TangentKernel,
    explicitly_regularized,
    gradient_regularizer,
    implicitly_regularized,
    loss_surface_slope,
    metric_determinant,
    norm_growth_bound,
    regularization_rate,
)

X, Y = 1.5, 0.6


@pytest.fixture(autouse=True)
def doubles(x64: None) -> None:
    """All of it in float64."""


def two_parameters(theta: Any) -> Any:
    return (Y - theta["a"] * theta["b"] * X) ** 2 / 2


def network(theta: Any, x: Any) -> Any:
    return jnp.tanh(x @ theta["W"] + theta["rest"][0]) @ theta["rest"][1]


def network_loss(theta: Any, batch: Any) -> Any:
    x, y = batch
    return jnp.mean((network(theta, x) - y) ** 2) + jnp.sum(theta["W"] ** 4) / 10


def parameters(seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    W, b, v = (random.normal(size=shape) for shape in ((3, 4), (4,), (4,)))
    return {"W": W, "rest": (b, v)}


def batch(count: int = 6) -> Any:
    random = np.random.default_rng(7)
    return random.normal(size=(count, 3)), random.normal(size=(count,))


def dense(theta: Any) -> tuple[Any, Any]:
    """The gradient and the Hessian of the network's loss as plain arrays."""
    flat, unravel = ravel_pytree(theta)

    def function(flat: Any) -> Any:
        return network_loss(unravel(flat), batch())

    return jax.jit(lambda flat: (jax.grad(function)(flat), jax.hessian(function)(flat)))(flat)


def test_the_two_parameter_model_has_its_closed_forms() -> None:
    a, b, h = 2.8, 3.5, 0.025
    theta = {"a": a, "b": b}
    E = (Y - a * b * X) ** 2 / 2
    assert gradient_regularizer(two_parameters, theta) == pytest.approx((a**2 + b**2) * X**2 * E, rel=1e-14)
    assert regularization_rate(h, theta) == h / 2
    slope = np.hypot(a, b) * X * np.sqrt(2 * E)
    assert loss_surface_slope(two_parameters, theta) == pytest.approx(slope, rel=1e-14)
    modified = E * (1 + h / 2 * (a**2 + b**2) * X**2)
    assert implicitly_regularized(two_parameters, h)(theta) == pytest.approx(modified, rel=1e-14)


def test_the_modified_flow_of_the_two_parameter_model_is_sympys() -> None:
    a, b, h = sympy.symbols("a b h")
    E = (sympy.Rational(3, 5) - a * b * sympy.Rational(3, 2)) ** 2 / 2
    modified = E + h / 4 * (E.diff(a) ** 2 + E.diff(b) ** 2)
    at = {a: sympy.Rational(14, 5), b: sympy.Rational(7, 2), h: sympy.Rational(1, 40)}
    found = jax.grad(implicitly_regularized(two_parameters, 1 / 40))({"a": 2.8, "b": 3.5})
    for name, symbol in (("a", a), ("b", b)):
        assert found[name] == pytest.approx(float(modified.diff(symbol).subs(at)), rel=1e-13)


def test_normal_and_metric_of_the_surface() -> None:
    theta = parameters()
    gradient, _ = dense(theta)
    slope = loss_surface_slope(network_loss, theta, batch())
    normal = np.append(-np.asarray(gradient), 1.0)
    cosine = normal[-1] / np.linalg.norm(normal)
    np.testing.assert_allclose(slope, np.tan(np.arccos(cosine)), rtol=1e-12)
    metric = np.eye(gradient.size) + np.outer(gradient, gradient)
    determinant = metric_determinant(network_loss, theta, batch())
    np.testing.assert_allclose(determinant, np.linalg.det(metric), rtol=1e-12)
    regularizer = gradient_regularizer(network_loss, theta, batch())
    np.testing.assert_allclose(regularizer, (determinant - 1) / gradient.size, rtol=1e-12)


@pytest.mark.parametrize("h", [1e-3, 2.0])
def test_the_norm_grows_no_faster_than_the_slope(h: float) -> None:
    for seed in range(3):
        theta = parameters(seed)
        step = jax.tree.map(lambda t, g: t - h * g, theta, jax.grad(network_loss)(theta, batch()))
        before, after = (jnp.linalg.norm(ravel_pytree(tree)[0]) for tree in (theta, step))
        assert abs(after - before) <= norm_growth_bound(network_loss, theta, h, batch())


def test_the_norm_bound_is_reached_along_a_ray() -> None:
    theta = jnp.array([3.0, -4.0])
    bound = norm_growth_bound(lambda theta: theta @ theta, theta, 0.25)
    assert bound == abs(jnp.linalg.norm(theta - 0.25 * 2 * theta) - jnp.linalg.norm(theta))


def test_the_slope_is_differentiable_at_a_minimum() -> None:
    assert jax.grad(lambda theta: loss_surface_slope(lambda t: t @ t, theta))(jnp.zeros(2)).tolist() == [0, 0]


def test_a_landscape_stands_for_its_mean() -> None:
    landscape = ts.Landscape(network_loss, batch(700))  # which are two chunks
    theta = parameters()
    regularizer = gradient_regularizer(network_loss, theta, batch(700))
    np.testing.assert_allclose(gradient_regularizer(landscape, theta), regularizer, rtol=1e-12)
    slopes = [
        jax.jit(jax.grad(explicitly_regularized(loss, 0.3)))(theta, *arguments)
        for loss, arguments in ((landscape, ()), (network_loss, (batch(700),)))
    ]
    np.testing.assert_allclose(*(ravel_pytree(slope)[0] for slope in slopes), rtol=1e-11)


def test_the_gradient_of_the_penalty_is_a_hessian_vector_product() -> None:
    theta, mu = parameters(), 0.37
    gradient, hessian = dense(theta)
    value, found = jax.jit(jax.value_and_grad(explicitly_regularized(network_loss, mu)))(theta, batch())
    np.testing.assert_allclose(value, network_loss(theta, batch()) + mu * gradient @ gradient, rtol=1e-13)
    np.testing.assert_allclose(ravel_pytree(found)[0], gradient + 2 * mu * hessian @ gradient, rtol=1e-11, atol=1e-13)


def plainly(mu: Any, theta: Any, data: Any) -> Any:
    """E_μ without a rule for its derivative."""
    gradient, _ = ravel_pytree(jax.grad(network_loss)(theta, data))
    return network_loss(theta, data) + mu * gradient @ gradient


def test_all_derivatives_of_the_penalized_loss() -> None:
    """First ones in θ alone, and in μ, θ and the data at once; a second one; reverse and forward mode."""
    at = (jnp.asarray(0.2), parameters(), batch())
    along = jax.tree.map(jnp.cos, at)

    def ruled(mu: Any, theta: Any, data: Any) -> Any:
        return explicitly_regularized(network_loss, mu)(theta, data)

    def derivatives(function: Any) -> Any:
        slope = jax.grad(function, (0, 1, 2))
        in_theta = partial(jax.grad(function, 1), at[0])
        return (
            slope(*at),
            jax.grad(function, 1)(*at),
            jax.jvp(lambda theta: in_theta(theta, at[2]), (at[1],), (along[1],)),
            jax.jvp(function, at, along),
            jax.jvp(lambda theta: function(at[0], theta, at[2]), (at[1],), (along[1],)),
        )

    pair = [ravel_pytree(jax.jit(partial(derivatives, function))())[0] for function in (ruled, plainly)]
    np.testing.assert_allclose(*pair, rtol=1e-9, atol=1e-11)


def test_data_may_be_integers_and_rates_a_batch() -> None:
    def loss(theta: Any, labels: Any) -> Any:
        return -jnp.mean(jax.nn.log_softmax(theta)[labels])

    theta, labels = jnp.arange(3.0), jnp.array([0, 2])
    penalized = jax.jit(jax.vmap(lambda mu: jax.grad(explicitly_regularized(loss, mu))(theta, labels)))
    slopes = penalized(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(slopes[0], jax.grad(loss)(theta, labels), rtol=1e-14)
    hessian = jax.jit(jax.hessian(loss))(theta, labels)
    np.testing.assert_allclose(slopes[1] - slopes[0], 2 * hessian @ slopes[0], rtol=1e-12)


def sizes(program: Any) -> Iterator[int]:
    """The sizes of all arrays that arise in a program."""
    for operation in program.eqns:
        yield from (result.aval.size for result in operation.outvars)
        for parameter in jax.tree.leaves(operation.params, is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            if hasattr(parameter, "eqns"):
                yield from sizes(parameter)


def test_no_matrix_of_all_parameters_arises() -> None:
    m = 3000
    x = jnp.ones((5, m))
    theta = jnp.full(m, 0.01)

    def residuals(theta: Any) -> Any:
        return jnp.sin(x @ theta)

    def loss(theta: Any) -> Any:
        return jnp.sum(residuals(theta) ** 2)

    def everything(theta: Any) -> Any:
        kernel = TangentKernel(residuals, theta)
        return (
            jax.grad(implicitly_regularized(loss, 0.1))(theta),
            gradient_regularizer(loss, theta),
            metric_determinant(loss, theta),
            kernel @ kernel.errors,
            kernel.modified_loss(0.1),
        )

    program = jax.make_jaxpr(everything)(theta)
    assert max(sizes(program.jaxpr)) == m


def test_the_penalty_costs_one_hessian_vector_product() -> None:
    """Three sweeps like the gradient's, none of it kept for a second reverse sweep."""
    theta = parameters()

    def operations(function: Any) -> float:
        compiled = jax.jit(function).lower(theta, batch(200)).compile()
        return (compiled.cost_analysis() or {})["flops"]

    once = operations(jax.grad(network_loss))
    assert operations(jax.grad(explicitly_regularized(network_loss, 0.1))) < 4 * once


def test_what_is_asked_again_is_not_compiled_again(compilations: list[str]) -> None:
    counts = []
    for seed in range(3):
        gradient_regularizer(network_loss, parameters(seed), batch())
        explicitly_regularized(network_loss, 0.1 * seed)(parameters(seed), batch())
        counts.append(len(compilations))
    assert counts[0] > 0 and set(counts) == {counts[0]}


def test_descent_follows_the_modified_flow_to_third_order_and_no_further() -> None:
    start, unravel = ravel_pytree(parameters(1))
    rates = 0.005 / 2.0 ** np.arange(4)

    @jax.jit
    def field(h: Any, flat: Any) -> Any:
        loss = implicitly_regularized(network_loss, h)
        return -jax.grad(lambda flat: loss(unravel(flat), batch()))(flat)

    def local_error(h: float, modified: bool) -> float:
        flow = scipy.integrate.solve_ivp(
            lambda t, flat: np.asarray(field(h * modified, flat)), (0, h), start, "DOP853", rtol=1e-13, atol=1e-15
        )
        return float(np.linalg.norm(flow.y[:, -1] - (start + h * field(0.0, start))))

    for modified, order in ((False, 2), (True, 3)):
        errors = [local_error(h, modified) for h in rates]
        assert np.polyfit(np.log(rates), np.log(errors), 1)[0] == pytest.approx(order, abs=0.05)


@pytest.mark.parametrize(("outputs", "scale"), [(1, 1.0), (2, 1 / 7)])
def test_the_tangent_kernel(outputs: int, scale: float) -> None:
    x = np.random.default_rng(1).normal(size=(7, 3))
    y = np.random.default_rng(2).normal(size=(7, outputs))
    theta, h = parameters(), 0.3

    def residuals(theta: Any, x: Any) -> Any:
        once = network(theta, x)
        return jnp.stack([once, jnp.sin(once)], axis=-1)[:, :outputs] - y

    def loss(theta: Any) -> Any:
        return scale * jnp.sum(residuals(theta, x) ** 2)

    flat, unravel = ravel_pytree(theta)
    jacobian = jax.jit(jax.jacobian(lambda flat: residuals(unravel(flat), x).ravel()))(flat)
    kernel = TangentKernel(residuals, theta, x, scale=scale)
    vector = np.cos(y)
    np.testing.assert_allclose(
        (kernel @ vector).ravel(), jacobian @ (jacobian.T @ vector.ravel()), rtol=1e-10, atol=1e-12
    )
    np.testing.assert_allclose(kernel.loss(), loss(theta), rtol=1e-13)
    regularizer = gradient_regularizer(loss, theta)
    np.testing.assert_allclose(4 * scale**2 * kernel.quadratic_form() / flat.size, regularizer, rtol=1e-12)
    np.testing.assert_allclose(kernel.modified_loss(h), implicitly_regularized(loss, h)(theta), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: gradient_regularizer(3.0, 1.0), TypeError, "loss=3.0 is neither"),
        (lambda: gradient_regularizer(lambda t: t, jnp.ones(2)), ValueError, "loss returned an array of shape"),
        (lambda: loss_surface_slope(lambda t: 1.0 * t, 1), TypeError, "theta has dtype int"),
        (lambda: metric_determinant(lambda t: t, {}), ValueError, "holds no parameters"),
        (lambda: regularization_rate(0.1, "theta"), TypeError, "theta='theta' is not an array"),
        (
            lambda: explicitly_regularized(ts.Landscape(lambda t, x: t * x, lambda key, n: jnp.ones(n)), 0.1),
            ValueError,
            "draws its data from a sampler",
        ),
        (lambda: TangentKernel(1.0, 1.0), TypeError, "residuals=1.0 is not a function"),
        (lambda: TangentKernel(lambda t: [t], 1.0), TypeError, "must return one array of floats"),
        (
            lambda: TangentKernel(lambda t: t * jnp.ones(3), 1.0) @ jnp.ones(2),
            ValueError,
            r"vector has shape \(2,\); the kernel acts on residuals of shape \(3,\)",
        ),
    ],
)
def test_bad_input_gets_one_clear_error(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
