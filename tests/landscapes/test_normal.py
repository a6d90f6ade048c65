"""Losses that are polynomial in independent normal numbers.

Identities, with κ the cumulants and m the moments of a list of nodes:

    (1) E[x^{2k}] = (2k − 1)!!; only the second cumulant of x differs from 0
    (2) κ_m(x²) = 2^{m−1} (m − 1)!: chi-squared with one degree of freedom
    (3) E[He_j(x) He_k(x)] = k! δ_jk for the Hermite polynomials
    (4) Stein (1972): E[x f(x)] = E[f'(x)]
    (5) x and −x have the same law
    (6) three atoms −√3, 0, √3 with weights 1/6, 2/3, 1/6 have the moments of x through order 5, not order 6
    (7) Isserlis (1918), for several: E[x_i x_j x_k x_l] is the sum over the three pairings
    (8) several independent normal numbers have the law of any rotation of them, and √v x that of variance v
"""

import subprocess
import sys
from fractions import Fraction
from itertools import product
from math import factorial
from pathlib import Path

import numpy as np
import pytest
from attrs.exceptions import FrozenInstanceError
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import (
    Abs,
    Float,
    Integer,
    Rational,
    cos,
    exp,
    factorial2,
    hermite_prob_poly,
    lambdify,
    log,
    oo,
    simplify,
    sin,
    sqrt,
    symbols,
)

import taylorsgd as ts
from taylorsgd.landscapes import FiniteLandscape
from taylorsgd.landscapes.normal import NormalLandscape

u, v, x, a = symbols("u v x a")
POINT = (Rational(1, 2), Rational(-2, 3))

# polynomials in u, v of degree at most 2, as coefficient lists, for every power of the noise
MONOMIALS = [1, u, v, u**2, u * v, v**2]
coefficients = st.lists(st.integers(-3, 3), min_size=len(MONOMIALS), max_size=len(MONOMIALS))


def polynomial_losses(noise_degree):
    rows = st.lists(coefficients, min_size=noise_degree + 1, max_size=noise_degree + 1)
    return rows.map(
        lambda rows: sum(
            c * monomial * x**power
            for power, row in enumerate(rows)
            for c, monomial in zip(row, MONOMIALS, strict=True)
        )
    )


def three_atoms(loss):
    """Gauss-Hermite quadrature with three nodes as a finite population."""
    atoms = [-sqrt(3), Integer(0), sqrt(3)]
    return FiniteLandscape(
        [(loss + 0 * u).subs(x, atom) for atom in atoms], [Rational(1, 6), Rational(2, 3), Rational(1, 6)], [u, v]
    )


def assert_equal(left, right):
    assert left.shape == right.shape
    assert all(simplify(mine - yours) == 0 for mine, yours in zip(left.flat, right.flat, strict=True))


def test_moments_of_the_noise():
    linear = NormalLandscape(x * u, [u], x)
    for n in range(1, 9):
        assert linear.moment((1,) * n, 7).item() == (0 if n % 2 else factorial2(n - 1))
        assert linear.cumulant((1,) * n, 7).item() == (1 if n == 2 else 0)


def test_cumulants_of_chi_squared():
    squared = NormalLandscape(x**2 * u, [u], x)
    for n in range(1, 7):
        assert squared.cumulant((1,) * n, 7).item() == 2 ** (n - 1) * factorial(n - 1)


def test_hermite_polynomials_are_orthogonal():
    names = symbols("c:6")
    loss = sum(name * hermite_prob_poly(k, x) for k, name in enumerate(names))
    moments = NormalLandscape(loss, names, x).moment((1, 1), [0] * 6)
    assert moments.tolist() == np.diag([factorial(k) for k in range(6)]).tolist()


@settings(max_examples=25)
@given(polynomial_losses(4), st.sampled_from([(0,), (1,), (2,)]))
def test_stein(loss, degrees):
    left = NormalLandscape(x * loss, [u, v], x).moment(degrees, POINT)
    right = NormalLandscape((loss + x * 0).diff(x) if loss != 0 else 0, [u, v], x).moment(degrees, POINT)
    assert (left == right).all()


@settings(max_examples=25)
@given(polynomial_losses(2), st.sampled_from([(1,), (1, 1), (2, 1), (1, 1, 1), (2, 0, 1)]))
def test_the_sign_of_the_noise_does_not_matter(loss, degrees):
    mirrored = (loss + 0 * u).subs(x, -x) if loss != 0 else loss
    left = NormalLandscape(loss, [u, v], x).cumulant(degrees, POINT)
    assert (left == NormalLandscape(mirrored, [u, v], x).cumulant(degrees, POINT)).all()


@settings(max_examples=25)
@given(polynomial_losses(1), st.lists(st.integers(0, 2), min_size=1, max_size=5))
def test_linear_noise_agrees_with_three_atoms_up_to_five_nodes(loss, degrees):
    if sum(degrees) > 5:
        degrees = [min(degree, 1) for degree in degrees]
    normal, finite = NormalLandscape(loss, [u, v], x), three_atoms(loss)
    assert_equal(normal.moment(degrees, POINT), finite.moment(degrees, POINT))
    assert_equal(normal.cumulant(degrees, POINT), finite.cumulant(degrees, POINT))


@settings(max_examples=25)
@given(polynomial_losses(2), st.lists(st.integers(0, 3), min_size=1, max_size=2))
def test_quadratic_noise_agrees_with_three_atoms_up_to_two_nodes(loss, degrees):
    normal, finite = NormalLandscape(loss, [u, v], x), three_atoms(loss)
    assert_equal(normal.cumulant(degrees, POINT), finite.cumulant(degrees, POINT))


def test_three_atoms_miss_the_sixth_moment():
    loss = x * u
    normal, finite = NormalLandscape(loss, [u, v], x), three_atoms(loss)
    assert normal.moment((1,) * 6, POINT).flat[0] == 15
    assert finite.moment((1,) * 6, POINT).flat[0] == 27 * Rational(1, 3)
    loss = x**2 * u
    normal, finite = NormalLandscape(loss, [u, v], x), three_atoms(loss)
    assert normal.cumulant((1,) * 3, POINT).flat[0] == 8
    assert finite.cumulant((1,) * 3, POINT).flat[0] == 9 - 3 * 3 + 2


@pytest.mark.parametrize("degrees", [(1,), (2,), (1, 1), (2, 1), (1, 1, 1), (1, 0, 2)])
def test_smooth_coefficients_against_quadrature(degrees):
    loss = x**2 * sin(u * v) / 2 + x * exp(u) * cos(v) + log(1 + u**2) * v
    point = (0.3, -0.7)
    exact = NormalLandscape(loss, [u, v], x).moment(degrees, point)
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    weights = weights / weights.sum()
    expected = np.zeros((2,) * sum(degrees))
    for axes in product(range(2), repeat=sum(degrees)):
        rest, factors = list(axes), []
        for degree in degrees:
            derivative = loss
            for axis in rest[:degree]:
                derivative = derivative.diff([u, v][axis])
            rest = rest[degree:]
            factors.append(lambdify([u, v, x], derivative)(*point, nodes) + 0 * nodes)
        expected[axes] = weights @ np.prod(factors, axis=0)
    np.testing.assert_allclose(exact.astype(float), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("observable", [ts.TestLoss(), ts.TrainLoss(), ts.Displacement()])
def test_a_formula_on_normal_data_is_descent_on_three_atoms(observable):
    # d edges are d + 1 nodes if the root is a training loss: order 1 meets at most (x²)², and order 3 with
    # linear noise at most x⁴, both below the sixth power, where the atoms give out.
    loss = (u**2 + u * v + v**4) / 2 + x * (u * v - v) + x**2 * u**2 / 3
    point, spacetime = (Rational(1, 2), Integer(1)), ts.SGD(N=2, B=1, E=2)
    normal = ts.derive(observable, spacetime, order=1).evaluate(NormalLandscape(loss, [u, v], x), at=point)
    finite = ts.perturb(observable, spacetime, three_atoms(loss), point, 1)
    assert normal == finite
    linear = loss.subs(x**2, 1)
    normal = ts.derive(observable, spacetime, order=3).evaluate(NormalLandscape(linear, [u, v], x), at=point)
    finite = ts.perturb(observable, spacetime, three_atoms(linear), point, 3)
    assert normal == finite


def test_the_expected_loss_and_its_parts():
    landscape = NormalLandscape((u + a * x) ** 3 + v * x**4, [u, v], x)
    assert simplify(landscape.loss - (u**3 + 3 * a**2 * u + 3 * v)) == 0
    assert [simplify(c) for c in landscape.components] == [u**3, 3 * a * u**2, 3 * a**2 * u, a**3, v]
    assert landscape.parameters == (a,)
    assert landscape.dimension == 2
    assert landscape.moment((1,), (1, 2)).tolist() == [3 * a**2 + 3, 3]


def test_coefficients_stay_as_they_are_written():
    bump = (1 + u) ** 10
    assert NormalLandscape(bump + x * exp(u), [u], x).components == (bump, exp(u))


def test_no_noise_and_no_loss():
    assert NormalLandscape(u**2, [u], x).cumulant((1, 1), 3).item() == 0
    assert NormalLandscape(0, [u], x).cumulant((1,), 3).item() == 0
    assert NormalLandscape((x + 1) ** 2 - x**2 - 2 * x, [u], x).components == (1,)


def test_floats_are_the_fractions_that_they_are():
    landscape = NormalLandscape(0.5 * x * u + 0.1 * u, [u], x)
    assert not landscape.sample_loss.atoms(Float)
    assert landscape.cumulant((1,), 0.3).item() == Fraction(0.1)
    assert landscape.cumulant((1, 1), 0.3).item() == Fraction(1, 4)


def test_equal_hashable_and_frozen():
    one, other = (NormalLandscape(x * u**2, [u], x) for _ in range(2))
    one.cumulant((1, 1), 2)
    assert one == other and hash(one) == hash(other)
    assert one != NormalLandscape(x * u, [u], x)
    with pytest.raises(FrozenInstanceError):
        one.noise = u  # type: ignore[misc]


def test_symbols_at_the_point():
    landscape = NormalLandscape(u * v**2 + x * u * v, [u, v], x)
    assert landscape.cumulant((1, 1), (v, a)).tolist() == [[a**2, a * v], [a * v, v**2]]
    with pytest.raises(ValueError, match=r"at\[1\]=2\*x holds the noise x"):
        landscape.cumulant((1,), (0, 2 * x))
    with pytest.raises(ValueError, match="3 entries; give 2"):
        landscape.cumulant((1,), (0, 0, 0))
    with pytest.raises(ValueError, match="must be finite"):
        landscape.cumulant((1,), (0, oo))


@pytest.mark.parametrize("loss", [exp(x) * u, u / (1 + x), sqrt(x) + u, x**a * u, Abs(x) * u, sin(u * x), x**u])
def test_losses_must_be_polynomial_in_the_noise(loss):
    with pytest.raises(ValueError, match="must be a polynomial in the noise x"):
        NormalLandscape(loss, [u], x)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((u**2, [u, x], x), ValueError, "noise=x must be none of the variables"),
        ((u**2, [u], "x"), TypeError, "noise='x' must be a SymPy symbol"),
        ((u**2, [], x), ValueError, "variables=.* is empty"),
        ((u**2, [u, u], x), ValueError, "must be distinct"),
        ((u**2, ["u"], x), TypeError, r"variables\[0\]='u' must be a SymPy symbol"),
        (("u**2", [u], x), TypeError, "sample_loss='u"),
        ((u > 0, [u], x), TypeError, "sample_loss=.* must be a number or a scalar"),
    ],
)
def test_arguments_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        NormalLandscape(*arguments)


def test_singular_points_name_the_coefficient():
    with pytest.raises(ValueError, match=r"the coefficient of x\*\*1=log\(u\).*not finite"):
        NormalLandscape(u + x * log(u), [u], x).cumulant((0, 0), 0)


# -- several normal numbers ----------------------------------------------------------------------------------

y, w = symbols("y w")


def test_moments_of_several_are_products() -> None:
    """E[x^j y^k] = E[x^j] E[y^k], each with its variance."""
    for j, k in product(range(5), repeat=2):
        loss = x**j * y**k * u
        found = NormalLandscape(loss, [u], [x, y], variances=[2, a]).moment((1,), 7).item()
        assert found == (0 if j % 2 or k % 2 else factorial2(j - 1) * 2 ** (j // 2) * factorial2(k - 1) * a ** (k // 2))


def test_isserlis_for_correlated_numbers() -> None:
    """z = A x has covariance AAᵀ, and fourth moments by pairing."""
    mixing = [[1, 0, 0], [2, 1, 0], [-1, Rational(1, 2), 3], [0, 1, 1]]
    names = symbols("t:4")
    correlated = [sum(entry * symbol for entry, symbol in zip(row, (x, y, w), strict=True)) for row in mixing]
    landscape = NormalLandscape(sum(t * z for t, z in zip(names, correlated, strict=True)), names, (x, y, w))
    covariance = np.array(mixing, object) @ np.array(mixing, object).T
    assert (landscape.moment((1, 1), [0] * 4) == covariance).all()
    pairings = [
        np.einsum(f"{p},{q}->ijkl", covariance, covariance) for p, q in (("ij", "kl"), ("ik", "jl"), ("il", "jk"))
    ]
    assert (landscape.moment((1, 1, 1, 1), [0] * 4) == sum(pairings)).all()
    assert not landscape.cumulant((1, 1, 1, 1), [0] * 4).any()


@settings(max_examples=25)
@given(polynomial_losses(2), st.sampled_from([(1,), (1, 1), (2, 1), (1, 1, 1), (0, 0, 2)]))
def test_a_rotation_of_the_noise_changes_nothing(loss, degrees):
    loss = loss + 0 * u
    several = loss + loss.subs(x, y) * u
    turned = several.subs({x: (3 * x + 4 * y) / 5, y: (4 * x - 3 * y) / 5}, simultaneous=True)
    left = NormalLandscape(several, [u, v], [x, y]).cumulant(degrees, POINT)
    assert (left == NormalLandscape(turned, [u, v], [x, y]).cumulant(degrees, POINT)).all()


@settings(max_examples=25)
@given(polynomial_losses(3), st.sampled_from([(1,), (1, 1), (2, 1)]), st.sampled_from([Rational(1, 9), 4, 0]))
def test_variances_are_squares_of_scales(loss, degrees, variance):
    loss = loss + 0 * u
    scaled = NormalLandscape(loss.subs(x, sqrt(variance) * x), [u, v], x).cumulant(degrees, POINT)
    assert (NormalLandscape(loss, [u, v], x, variances=[variance]).cumulant(degrees, POINT) == scaled).all()
    assert (NormalLandscape(loss, [u, v], [x], variances=[variance]).cumulant(degrees, POINT) == scaled).all()


def test_a_formula_on_two_normal_numbers_is_descent_on_nine_atoms() -> None:
    loss = (u**2 + u * v + v**4) / 2 + x * (u * v - v) + y * v**2 / 3 + x * u * y
    atoms, weights = [-sqrt(3), Integer(0), sqrt(3)], [Rational(1, 6), Rational(2, 3), Rational(1, 6)]
    pairs = [(one, other, p * q) for (one, p), (other, q) in product(zip(atoms, weights, strict=True), repeat=2)]
    nine = FiniteLandscape([loss.subs({x: one, y: other}) for one, other, _ in pairs], [p for *_, p in pairs], [u, v])
    point, spacetime = (Rational(1, 2), Integer(1)), ts.SGD(N=2, B=1, E=2)
    formula = ts.derive(ts.TestLoss(), spacetime, order=2)
    assert formula.evaluate(NormalLandscape(loss, [u, v], [x, y]), at=point) == ts.perturb(
        ts.TestLoss(), spacetime, nine, point, 2
    )


def test_several_normal_numbers_and_their_parts() -> None:
    landscape = NormalLandscape((u + x * y) ** 2 + a * x, [u], [x, y], variances=[2, w])
    assert landscape.noise == landscape.noises == (x, y)
    assert landscape.variances == (2, w) and landscape.parameters == (a, w)
    assert dict(zip(landscape.exponents, landscape.components, strict=True)) == {
        (0, 0): u**2, (1, 0): a, (1, 1): 2 * u, (2, 2): 1,
    }  # fmt: skip
    assert (landscape.loss - (u**2 + 2 * w)).expand() == 0
    single = NormalLandscape(x * u, [u], x)
    assert single.noise == x and single.noises == (x,) and single.variances == (1,)
    assert NormalLandscape(0, [u], [x, y]).cumulant((1,), 3).item() == 0
    with pytest.raises(ValueError, match=r"at\[0\]=y holds the noise"):
        landscape.cumulant((1,), [y])
    with pytest.raises(ValueError, match=r"the coefficient of x\*y\*\*2=log\(u\).*not finite"):
        NormalLandscape(u + x * y**2 * log(u), [u], [x, y]).cumulant((0, 0), 0)


@pytest.mark.parametrize(
    ("noise", "variances", "error", "message"),
    [
        ([], None, ValueError, r"noise=\[\] is empty"),
        ([x, x], None, ValueError, "must be distinct"),
        ([x, u], None, ValueError, "must be none of the variables"),
        ([x, "y"], None, TypeError, r"noise\[1\]='y' must be a SymPy symbol"),
        (3, None, TypeError, "noise=3 must be a SymPy symbol, such as Symbol.* or a sequence of them"),
        ([x, y], [1], ValueError, r"variances=\[1\] has 1 entries; give 2"),
        ([x, y], 2, TypeError, "variances=2 must be a sequence"),
        ([x, y], [1, -1], ValueError, r"variances\[1\]=-1 must be a number or expression of at least 0"),
        ([x, y], [1, "a"], TypeError, r"variances\[1\]='a' must be a number"),
        ([x, y], [1, oo], ValueError, r"variances\[1\]=oo must be finite"),
        ([x, y], [1, u], ValueError, r"variances\[1\]=u must depend on neither"),
        (x, [1, 2], ValueError, "has 2 entries; give 1"),
    ],
)
def test_the_noise_is_checked(noise, variances, error, message):
    with pytest.raises(error, match=message):
        NormalLandscape(u**2 + x * u, [u], noise, variances=variances)


def test_losses_must_be_polynomial_in_all_of_the_noise() -> None:
    with pytest.raises(ValueError, match=r"must be a polynomial in the noise \(x, y\)"):
        NormalLandscape(x * u + exp(y), [u], [x, y])


def test_jax_draws_every_number_with_its_variance() -> None:
    import jax

    loss = (u * x + v * y) ** 2 + u**4
    landscape = NormalLandscape(loss, [u, v], [x, y], variances=[Rational(1, 4), 2])
    twin = landscape.jax()
    draws = np.asarray(twin.draw(jax.random.key(0), (40_000,)))
    assert draws.shape == (40_000, 2)
    variances = np.array([0.25, 2])
    assert np.abs((np.mean(draws**2, 0) - variances) / (variances * np.sqrt(2 / 40_000))).max() < 4
    assert abs(np.mean(draws[:, 0] * draws[:, 1]) / np.sqrt(variances.prod() / 40_000)) < 4
    assert float(twin.loss(landscape.array([1, 2]), np.array([3.0, -1.0]))) == pytest.approx(2)
    assert float(landscape.population_loss(landscape.array([1, 2]))) == pytest.approx(0.25 + 8 + 1)
    one = NormalLandscape(x * u, [u], x, variances=[9]).jax().draw(jax.random.key(0), (40_000,))
    assert one.shape == (40_000,) and abs(np.mean(np.asarray(one) ** 2) / 9 - 1) < 4 * np.sqrt(2 / 40_000)
    with pytest.raises(ValueError, match=r"x has shape \(3,\); .* must have shape \(2,\)"):
        twin.loss(landscape.array([1, 2]), np.zeros(3))
    with pytest.raises(ValueError, match="without a number: a"):
        NormalLandscape(x * u, [u], x, variances=[a]).jax()


def test_formulas_of_several_are_simulated() -> None:
    loss = (u + x) ** 2 / 2 + (v + x / 2 + y) ** 2 / 2 + u * v * y / 4
    landscape = NormalLandscape(loss, [u, v], [x, y])
    run = ts.simulate(
        landscape, landscape.array([1, -1]), ts.SGD(N=3, B=1, E=1), [0.02], 20_000, 3, progress=False
    )  # fmt: skip
    exact = ts.derive(ts.TestLoss(), ts.SGD(N=3, B=1, E=1), 4).evaluate(landscape, at=[1, -1], eta=Rational(1, 50))
    found = run.statistic(ts.TestLoss())
    assert abs(float(found.mean[0]) - float(exact)) < 4 * float(found.standard_error[0])


def test_the_symbolic_half_loads_neither_numpy_nor_jax():
    code = (
        "import sys; from taylorsgd.landscapes.toys import gauss, helix, mean_estimation;"
        "gauss(), helix(), mean_estimation();"
        "print([module for module in ('numpy', 'jax') if module in sys.modules])"
    )
    root = Path(ts.__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert result.stdout.strip() == "[]"
