"""The paper's artificial landscapes against what a pencil finds.

Identities:

    (1) GAUSS: with r = e^{−h}, m ≥ 2 nodes of degrees k_i have cumulant (−1)^{Σ k} r^m (m − 1)! / 2, by the
        cumulants 2^{m−1} (m − 1)! of chi-squared; H = C at h = 0 (Bartlett: the model is well specified)
    (2) GAUSS: E[exp(a x²)] = (1 − 2a)^{−1/2} makes one step of SGD act on powers of r in closed form,
        r^m ↦ r^m e^{mη/2} (1 + mηr)^{−1/2}, hence the test loss of one-epoch SGD to any order
    (3) HELIX: l_x is invariant under z → z + a with (u, v) rotated by a; in the valley
        H = diag(1, 1, 0) + n n^T, C = w w^T, w·n = 1/√2 and Σ C_μν J_μνλ = (0, 0, −1);
        with A = I + n n^T, to order η³ E[z_T − z_0] = η³ T(T − 1)/4 and
        E[l] = η² T w^T A w/2 − η³ T(T − 1)/2 w^T A² w
    (4) MEAN ESTIMATION: θ_T is normal; with K = 1 − ηH, one epoch, B = 1: E[l] = (H/2)(θ_0² K^{2T} + η² S²
        (1 − K^{2T})/(1 − K²)); GD: the generalization gap is S² (1 − K^T)/(N H)
"""

from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import (
    Integer,
    Matrix,
    Rational,
    binomial,
    cos,
    exp,
    expand,
    eye,
    factor,
    lambdify,
    oo,
    pi,
    series,
    simplify,
    sin,
    sqrt,
    symbols,
)

import taylorsgd as ts
from taylorsgd.landscapes.toys import ToyLandscape, gauss, helix, mean_estimation
from taylorsgd.symbols import eta

h, u, v, z, x, theta, a = symbols("h u v z x theta a")
H, S = symbols("H S", positive=True)


def matrix(tensor):
    return Matrix(tensor.tolist())


def truncated(expression, order):
    """The Taylor polynomial of an expression in η."""
    return expand(series(expression, eta, 0, order + 1).removeO())


def cut(polynomial, order):
    """The terms of a polynomial in η of degree at most `order`."""
    expanded = expand(polynomial)
    return sum(expanded.coeff(eta, k) * eta**k for k in range(order + 1))


# -- GAUSS -------------------------------------------------------------------------------------------------


def test_gauss_is_the_loss_of_the_paper():
    toy = gauss()
    assert simplify(toy.sample_loss - (h + x**2 * exp(-h)) / 2) == 0
    assert simplify(toy.loss - (h + exp(-h)) / 2) == 0
    assert (toy.name, toy.variables, toy.noise, toy.start, toy.parameters) == ("GAUSS", (h,), x, (0,), ())


def test_gauss_at_its_start():
    toy, half = gauss(), Rational(1, 2)
    expected = {(0,): half, (1,): 0, (2,): half, (3,): -half, (1, 1): half, (1, 1, 1): -1, (1, 2): -half}
    assert {degrees: toy.cumulant(degrees, toy.start).item() for degrees in expected} == expected


@settings(max_examples=25)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_gauss_cumulants_are_those_of_chi_squared(degrees):
    m = len(degrees)
    expected = (-1) ** sum(degrees) * exp(-m * h) * factorial(m - 1) / 2
    if m == 1:
        expected += {0: h / 2, 1: Rational(1, 2)}.get(degrees[0], 0)
    assert simplify(gauss().cumulant(degrees, h).item() - expected) == 0


def gauss_test_loss(at, steps, order):
    """The test loss of one-epoch SGD with B = 1 by identity (2), as a polynomial in η."""
    powers = {1: Integer(1)}  # E[exp(−h_t)] as a polynomial in r = exp(−h_0), by its coefficients
    mean = Integer(0)  # E[h_t − h_0]
    for _ in range(steps):  # every round puts one more step before those already taken
        mean += eta / 2 * (sum(c * exp(-m * at) for m, c in powers.items()) - 1)
        stepped = {}
        for m, c in powers.items():
            growth = sum((m * eta / 2) ** j / factorial(j) for j in range(order + 1))
            for k in range(order + 1):
                moved = c * growth * binomial(Rational(-1, 2), k) * (m * eta) ** k
                stepped[m + k] = stepped.get(m + k, 0) + moved
        powers = {m: cut(c, order) for m, c in stepped.items()}
    return cut((at + mean + sum(c * exp(-m * at) for m, c in powers.items())) / 2, order)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("at", [Integer(0), h])
def test_gauss_test_loss_through_order_three(at, steps):
    toy = gauss()
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=3)
    ours = formula.evaluate(toy, at=[at], N=steps)
    assert simplify(ours - gauss_test_loss(at, steps, 3)) == 0


def test_gauss_test_loss_of_one_step_in_closed_form():
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=4)
    closed = exp(eta / 2) / (2 * sqrt(1 + eta))
    assert formula.evaluate(gauss(), at=0, N=1) == truncated(closed, 4)


# -- HELIX -------------------------------------------------------------------------------------------------


def test_helix_is_the_loss_of_the_paper():
    toy = helix()
    quadratic = u**2 + v**2 + (cos(z) * u + sin(z) * v) ** 2
    linear = cos(z - pi / 4) * u + sin(z - pi / 4) * v
    assert simplify(toy.sample_loss - (quadratic / 2 + x * linear)) == 0
    assert simplify(toy.loss - quadratic / 2) == 0
    assert (toy.name, toy.variables, toy.noise, toy.start) == ("HELIX", (u, v, z), x, (0, 0, 0))


def test_helix_has_the_symmetry_of_a_screw():
    turned = {u: cos(a) * u - sin(a) * v, v: sin(a) * u + cos(a) * v, z: z + a}
    loss = helix().sample_loss
    assert simplify(expand(loss.subs(turned, simultaneous=True) - loss, trig=True)) == 0


def test_helix_in_its_valley_for_every_z():
    toy, at = helix(), (0, 0, z)
    n, w = Matrix([cos(z), sin(z), 0]), Matrix([cos(z - pi / 4), sin(z - pi / 4), 0])
    assert toy.cumulant((1,), at).tolist() == [0, 0, 0]
    hessian, covariance = matrix(toy.cumulant((2,), at)), matrix(toy.cumulant((1, 1), at))
    assert simplify(hessian - (Matrix.diag(1, 1, 0) + n * n.T)) == Matrix.zeros(3, 3)
    assert simplify(covariance - w * w.T) == Matrix.zeros(3, 3)
    assert factor(simplify(hessian.charpoly(a).as_expr())) == a * (a - 1) * (a - 2)
    assert simplify(expand((covariance * hessian).trace(), trig=True)) == Rational(3, 2)
    third = toy.cumulant((3,), at)
    pull = np.einsum("ij,ijk->k", toy.cumulant((1, 1), at), third)
    assert [simplify(entry) for entry in pull] == [0, 0, -1]
    along = np.einsum("iik->k", toy.cumulant((1, 2), at))  # ∇ C_μμ / 2: the noise keeps its size in the valley
    assert [simplify(entry) for entry in along] == [0, 0, 0]
    assert not any(toy.cumulant((1, 1, 1), at).flat)


def test_helix_stays_exact_at_algebraic_points():
    covariance = matrix(helix().cumulant((1, 1), (0, 0, pi / 12)))
    w = Matrix([cos(pi / 6), -sin(pi / 6), 0])
    assert covariance == w * w.T
    assert helix().cumulant((1, 1), (0, 0, 0)).tolist() == [
        [Rational(1, 2), -Rational(1, 2), 0],
        [-Rational(1, 2), Rational(1, 2), 0],
        [0, 0, 0],
    ]


@pytest.mark.parametrize("height", [Integer(0), pi / 3, z])
def test_helix_drifts_upwards_at_order_three(height):
    formula = ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), order=3)
    for steps in (1, 2, 7):
        ours = formula.evaluate(helix(), at=(0, 0, height), N=steps)
        assert simplify(ours - Matrix([0, 0, eta**3 * steps * (steps - 1) / 4])) == Matrix.zeros(3, 1)


def test_helix_test_loss_through_order_three():
    n, w = Matrix([1, 0]), Matrix([1, -1]) / sqrt(2)
    A = eye(2) + n * n.T
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=3)
    for T in (1, 2, 7):
        expected = eta**2 * T * (w.T * A * w)[0] / 2 - eta**3 * T * (T - 1) / 2 * (w.T * A**2 * w)[0]
        assert expand(formula.evaluate(helix(), at=(0, 0, 0), N=T) - expected) == 0


# -- MEAN ESTIMATION ---------------------------------------------------------------------------------------


def test_mean_estimation_is_the_loss_of_the_paper():
    toy = mean_estimation()
    assert expand(toy.sample_loss - (H * theta**2 / 2 + x * S * theta)) == 0
    assert expand(toy.loss - H * theta**2 / 2) == 0
    assert (toy.name, toy.variables, toy.noise, toy.start) == ("MEAN ESTIMATION", (theta,), x, (0,))
    assert toy.parameters == (H, S)
    assert all(symbol.is_positive for symbol in toy.parameters)


def test_mean_estimation_has_additive_noise():
    toy = mean_estimation()
    expected = {(1,): H * theta, (2,): H, (1, 1): S**2}
    others = dict.fromkeys([(3,), (1, 2), (2, 2), (1, 1, 1), (1, 1, 1, 1), (1, 1, 2, 2)], 0)
    for degrees, value in (expected | others).items():
        assert expand(toy.cumulant(degrees, theta).item() - value) == 0


def test_mean_estimation_with_numbers():
    toy = mean_estimation(H=Rational(1, 3), S=2.5)
    assert toy.parameters == ()
    assert (toy.cumulant((2,), 1).item(), toy.cumulant((1, 1), 1).item()) == (Rational(1, 3), Rational(25, 4))
    assert mean_estimation(S=a).parameters == (H, a)
    assert mean_estimation(1, 1) == mean_estimation(H=1, S=1) != mean_estimation(1, 2)


@pytest.mark.parametrize("T", [1, 2])
def test_mean_estimation_test_loss_is_exact_at_order_2T(T):
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2 * T)
    K = 1 - eta * H
    variance = sum((eta * S) ** 2 * K ** (2 * t) for t in range(T))
    expected = expand(H / 2 * (theta**2 * K ** (2 * T) + variance))
    toy = mean_estimation()
    assert expand(formula.evaluate(toy, at=theta, N=T) - expected) == 0
    assert expand(formula.assume("quadratic").evaluate(toy, at=theta, N=T) - expected) == 0
    assert formula.assume("quadratic", "minimum").evaluate(toy, at=0, N=T) == expected.subs(theta, 0)


def test_mean_estimation_generalization_gap_of_gradient_descent():
    T = 4
    formula = ts.derive(ts.GeneralizationGap(), ts.GD(), order=T).assume("quadratic")
    gap = formula.evaluate(mean_estimation(), at=0, T=T, N=6)
    assert expand(gap - S**2 * (1 - (1 - eta * H) ** T) / (6 * H)) == 0


@pytest.mark.parametrize("argument", ["H", "S"])
@pytest.mark.parametrize("value", [0, -1, -0.5, -H, oo, theta, 1 + x])
def test_mean_estimation_wants_positive_constants(argument, value):
    with pytest.raises(ValueError, match=f"{argument}="):
        mean_estimation(**{argument: value})


def test_a_start_must_fit():
    with pytest.raises(ValueError, match="2 entries; give 1"):
        ToyLandscape("MINE", u**2 + x * u, [u], x, start=[0, 0])
    assert ToyLandscape("MINE", u**2 + x * u, [u], x, start={u: 0.5}).start == (Rational(1, 2),)


def test_reprs_are_short():
    assert repr(gauss()) == "<ToyLandscape GAUSS, l_x(h) = h/2 + x**2*exp(-h)/2>"


# -- the JAX side ------------------------------------------------------------------------------------------

TOYS = [gauss(), helix(), mean_estimation(H=Rational(1, 3), S=10)]


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.name)
@pytest.mark.parametrize(("double", "tolerance"), [(False, 2e-6), (True, 1e-14)])
def test_jax_values_and_gradients_are_those_of_the_expression(toy, double, tolerance):
    import jax

    landscape = toy.jax()
    rng = np.random.default_rng(20)
    expressions = [toy.sample_loss, *(toy.sample_loss.diff(variable) for variable in toy.variables)]
    reference = lambdify([*toy.variables, toy.noise], expressions, "mpmath")
    with jax.enable_x64(double):
        both = jax.jit(jax.value_and_grad(landscape.loss))
        for _ in range(5):
            at, noise = rng.normal(size=toy.dimension), rng.normal()
            theta_0 = jax.numpy.asarray(at, "float64" if double else "float32")
            value, gradient = both(theta_0, noise)
            assert value.dtype == gradient.dtype == theta_0.dtype
            expected = np.array([float(entry) for entry in reference(*at, noise)])
            scale = 1 + np.abs(expected).max()
            np.testing.assert_allclose([value, *gradient], expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.name)
def test_jax_in_float32_where_data_are_float64(toy):
    import jax

    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        theta_0 = jax.numpy.ones(toy.dimension, "float32")
        gradient = jax.grad(toy.jax().loss)(theta_0, jax.numpy.asarray(0.5, "float64"))
        assert gradient.dtype == np.float32


def test_jax_draws_standard_normal_numbers():
    import jax

    draws = np.asarray(helix().jax().data(jax.random.key(0), 40_000))
    assert draws.shape == (40_000,)
    z_scores = [
        (np.mean(draws**power) - mean) / np.sqrt(variance / draws.size)
        for power, mean, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]
    ]
    assert np.abs(z_scores).max() < 4


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.name)
def test_jax_test_loss_is_the_expected_loss(toy):
    import jax

    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    theta_0 = toy.array(np.random.default_rng(21).normal(size=toy.dimension))
    average = weights @ jax.vmap(toy.jax().loss, (None, 0))(theta_0, nodes) / weights.sum()
    np.testing.assert_allclose(toy.population_loss(theta_0), average, rtol=1e-5)


def test_jax_landscape_draws_points_of_the_right_shape():
    import jax

    landscape = helix().as_landscape()
    draw = landscape.draw(jax.random.key(1), (5, 3))
    assert draw.shape == (5, 3)
    assert landscape.losses(helix().array(helix().start), draw[0]).shape == (3,)


def test_equal_toys_share_one_jax_side():
    assert helix().jax() is helix().jax() is helix().as_landscape()
    assert helix().jax() is not gauss().jax()


def test_points_as_arrays():
    assert helix().array((0, Rational(1, 2), pi)).tolist() == pytest.approx([0, 0.5, np.pi])
    assert helix().array(helix().start).shape == (3,)
    with pytest.raises(ValueError, match=r"at\[0\]=H must be a real number"):
        mean_estimation().array(H)


def test_jax_side_needs_numbers():
    with pytest.raises(ValueError, match="without a number: H, S"):
        mean_estimation().jax()
    with pytest.raises(ValueError, match="without a number: S;"):
        mean_estimation(H=2).as_landscape()


def test_jax_side_checks_the_shape_of_theta():
    import jax.numpy as jnp

    with pytest.raises(ValueError, match=r"shape \(2,\); .* must have shape \(3,\)"):
        helix().jax().loss(jnp.zeros(2), 0.0)
