"""A finite population: moments, cumulants and the points at which they are taken.

Identities, with κ the cumulants and m the moments of a list of nodes:

    (1) κ(a, b, c) = m(abc) − m(ab) m(c) − m(ac) m(b) − m(bc) m(a) + 2 m(a) m(b) m(c)
    (2) Bernoulli(p): κ_k is the k-th Taylor coefficient of log(1 − p + p e^t), times k!
    (3) for l_x + l'_y with x, y independent the cumulants add
    (4) a common deterministic summand leaves the cumulants of two nodes or more alone
    (5) permuting the nodes permutes the blocks of axes; within a block the axes are symmetric
"""

import subprocess
import sys
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Expr, Float, Function, Rational, Symbol, cos, cosh, exp, log, pi, simplify, sin, sqrt, symbols

import taylorsgd
from taylorsgd.landscapes import FiniteLandscape

x, y, a, b = symbols("x y a b")
THIRDS = [Rational(1, 2), Rational(1, 3), Rational(1, 6)]
CUBICS = [x**3 / 3 + x * y + y**2, 2 * x**2 * y + y**3 - x, x * y - x**3 * y]
POINT = (Rational(1, 2), Rational(-2, 3))


@pytest.fixture(scope="module")
def cubic():
    return FiniteLandscape(CUBICS, THIRDS, [x, y])


def derivative(loss, axes, variables=(x, y), point=POINT):
    for axis in axes:
        loss = loss.diff(variables[axis])
    return loss.subs(dict(zip(variables, point, strict=True)))


@pytest.mark.parametrize("degrees", [(0,), (1,), (3,), (4,), (1, 1), (2, 1), (0, 2), (1, 0, 2), (0, 0)])
def test_moment_is_the_weighted_mean_of_products(cubic, degrees):
    tensor = cubic.moment(degrees, POINT)
    assert tensor.shape == (2,) * sum(degrees)
    for axes in product(range(2), repeat=sum(degrees)):
        expected = 0
        for weight, loss in zip(THIRDS, CUBICS, strict=True):
            term, start = weight, 0
            for degree in degrees:
                term *= derivative(loss, axes[start : start + degree])
                start += degree
            expected += term
        assert tensor[axes] == expected


@pytest.mark.parametrize("degrees", [(1, 1, 1), (1, 2, 0), (2, 1, 3)])
def test_third_cumulant_in_moments(cubic, degrees):
    """Identity (1), the axes written out."""
    i, j, k = degrees
    outer = np.multiply.outer

    def m(*nodes):
        return cubic.moment(nodes, POINT)

    ac_b = outer(m(i, k), m(j))  # axes: those of a, of c, of b
    ac_b = ac_b.transpose(*range(i), *range(i + k, i + k + j), *range(i, i + k))
    once = outer(m(i, j), m(k)) + ac_b + outer(m(i), m(j, k))
    assert (cubic.cumulant(degrees, POINT) == m(i, j, k) - once + 2 * outer(outer(m(i), m(j)), m(k))).all()


@pytest.mark.parametrize("p", [Rational(1, 3), Rational(1, 2), Rational(5, 7)])
def test_cumulants_of_a_bernoulli(p):
    """Identity (2): the loss ξ x has gradient ξ."""
    t = Symbol("t")
    coin = FiniteLandscape([0, x], [1 - p, p], [x])
    generating = log(1 - p + p * exp(t))
    for k in range(1, 7):
        cumulant = coin.cumulant((1,) * k, at=7)
        assert cumulant.shape == (1,) * k
        assert cumulant.item() == generating.diff(t, k).subs(t, 0)
    assert coin.cumulant((1,) * 4, at=7).item() == p * (1 - p) * (1 - 6 * p * (1 - p))


def test_second_cumulant_is_the_covariance_and_a_single_loss_has_none(cubic):
    mean = cubic.moment((1,), POINT)
    covariance = cubic.moment((1, 1), POINT) - np.multiply.outer(mean, mean)
    assert (cubic.cumulant((1, 1), POINT) == covariance).all()
    assert (covariance == covariance.T).all() and covariance[0, 0] > 0
    alone = FiniteLandscape([cosh(x) * y], [1], [x, y])
    assert not alone.cumulant((1, 2), (1, 2)).any()
    assert not alone.cumulant((1, 1, 2), (a, sqrt(2))).any()


fractions = st.fractions(min_value=-3, max_value=3, max_denominator=4)
quadratics = st.lists(fractions, min_size=5, max_size=5).map(
    lambda c: c[0] * x + c[1] * y + c[2] * x**2 + c[3] * x * y + c[4] * y**3
)


@st.composite
def landscapes(draw):
    losses = draw(st.lists(quadratics, min_size=1, max_size=3))
    raw = draw(st.lists(st.integers(1, 5), min_size=len(losses), max_size=len(losses)))
    return FiniteLandscape(losses, [Rational(weight, sum(raw)) for weight in raw], [x, y])


degree_lists = st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple)


@settings(max_examples=25, deadline=None)
@given(landscapes(), landscapes(), degree_lists)
def test_cumulants_of_independent_sums_add(one, two, degrees):
    """Identity (3)."""
    pairs = list(product(range(len(one.losses)), range(len(two.losses))))
    both = FiniteLandscape(
        [one.losses[i] + two.losses[j] for i, j in pairs], [one.weights[i] * two.weights[j] for i, j in pairs], [x, y]
    )
    apart = one.cumulant(degrees, POINT) + two.cumulant(degrees, POINT)
    assert (both.cumulant(degrees, POINT) == apart).all()


@settings(max_examples=25, deadline=None)
@given(landscapes(), degree_lists.filter(lambda degrees: len(degrees) > 1))
def test_a_common_summand_has_no_cumulants(landscape, degrees):
    """Identity (4)."""
    moved = FiniteLandscape([loss + x**2 * y - 5 for loss in landscape.losses], landscape.weights, [x, y])
    assert (moved.cumulant(degrees, POINT) == landscape.cumulant(degrees, POINT)).all()


def test_axes_belong_to_nodes_in_order(cubic):
    """Identity (5)."""
    for tensor in (cubic.moment, cubic.cumulant):
        apart, swapped = tensor((2, 1), POINT), tensor((1, 2), POINT)
        assert (apart == apart.transpose(1, 0, 2)).all()
        assert (apart == swapped.transpose(1, 2, 0)).all()
        assert not (apart == swapped).all()


def test_entries_are_fractions_or_expressions_that_mix():
    landscape = FiniteLandscape([a * x**2, x * y + b * y**2], [Rational(1, 3), Rational(2, 3)], [x, y])
    symbolic = landscape.cumulant((2,), (0, 0))
    assert all(isinstance(entry, Expr) for entry in symbolic.flat)
    assert symbolic.tolist() == [[2 * a / 3, Rational(2, 3)], [Rational(2, 3), 4 * b / 3]]
    rational = landscape.cumulant((1,), (0, 0))
    assert all(type(entry) is Fraction for entry in rational.flat)
    mixed = rational[0] * symbolic[0, 0] + Fraction(1, 3) + a * Fraction(1, 2) - rational[1]
    assert mixed == a / 2 + Rational(1, 3)
    assert (symbolic @ rational).tolist() == [0, 0]


def test_irrational_points_cancel_exactly():
    """The variance of √2 ξ is 2, and what does not depend on the row has none, whatever the numbers are."""
    coin = FiniteLandscape([x**2 / 2, -(x**2) / 2], [Rational(1, 2)] * 2, [x])
    assert coin.cumulant((1, 1), sqrt(2)).item() == Fraction(2)
    assert type(coin.cumulant((1, 1), sqrt(2)).item()) is Fraction
    waves = FiniteLandscape([exp(a * x) + x, exp(a * x) + cos(x)], [Rational(1, 3), Rational(2, 3)], [x])
    variance = waves.cumulant((1, 1), 1).item()
    assert simplify(variance - Rational(2, 9) * (1 + sin(1)) ** 2) == 0
    assert not variance.has(a)
    f = Function("f")
    abstract = FiniteLandscape([f(x), f(x) + 3 * x], [Rational(1, 2)] * 2, [x])
    assert abstract.cumulant((1, 1), b).item() == Fraction(9, 4)
    nested = FiniteLandscape([sqrt(2) * a * x, -sqrt(2) * a * x], [Rational(1, 2)] * 2, [x])
    assert nested.cumulant((1, 1), 0).item() == 2 * a**2
    assert nested.cumulant((1, 1, 1), 0).item() == 0


def test_point_in_the_variables_themselves_gives_functions():
    landscape = FiniteLandscape([x**2 * y], [1], [x, y])
    assert landscape.moment((1,), (x, y)).tolist() == [2 * x * y, x**2]
    assert landscape.moment((1,), (y, x)).tolist() == [2 * x * y, y**2]  # simultaneous, not one by one


def test_point_forms_and_exact_floats():
    plane, line = FiniteLandscape([x * y], [1], [x, y]), FiniteLandscape([x], [1], [x])
    half = Rational(1, 2)
    for at in [(half, 2), [0.5, 2.0], {y: 2, x: Fraction(1, 2)}, np.array([0.5, 2]), (np.float32(0.5), np.int64(2))]:
        assert plane.point(at) == (half, 2)
        assert not any(entry.has(Float) for entry in plane.point(at))
    for at in [0.5, half, Fraction(1, 2), [0.5], {x: 0.5}, np.array(0.5), np.float64(0.5)]:
        assert line.point(at) == (half,)
    assert line.point(0.1) == (Rational(3602879701896397, 36028797018963968),)
    assert line.point(a + 0.5 * pi) == (a + pi / 2,)
    assert FiniteLandscape([0.5 * x**2], [1], [x]) == FiniteLandscape([x**2 / 2], [1], [x])


def test_loss_and_attributes():
    landscape = FiniteLandscape([x, 3, a * y], THIRDS, [x, y])
    assert landscape.loss == x / 2 + 1 + a * y / 6
    assert landscape.dimension == 2
    assert landscape.losses == (x, 3, a * y)
    assert landscape.weights == tuple(THIRDS)
    assert landscape.variables == (x, y)
    same = FiniteLandscape((x, 3, a * y), [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)], (x, y))
    assert same == landscape and hash(same) == hash(landscape)
    assert FiniteLandscape([x, 3, a * y], THIRDS, [y, x]) != landscape


def test_cached_and_read_only(cubic):
    tensor = cubic.cumulant((1, 2), POINT)
    assert cubic.cumulant([1, 2], {x: 0.5, y: Rational(-2, 3)}) is tensor
    assert cubic.moment((1, 2), POINT) is not tensor
    with pytest.raises(ValueError, match="read-only"):
        tensor[0, 0, 0] = 0
    with pytest.raises(AttributeError):
        cubic.losses = ()


HALVES = [Rational(1, 2)] * 2


@pytest.mark.parametrize(
    ("losses", "weights", "variables", "error", "message"),
    [
        ([x, -x], [Rational(1, 2), Rational(1, 3)], [x], ValueError, "weights=.* sum to 5/6"),
        ([x, -x], [Rational(3, 2), Rational(-1, 2)], [x], ValueError, r"weights\[1\]=-1/2 must be positive"),
        ([x, -x], [1, 0], [x], ValueError, r"weights\[1\]=0 must be positive"),
        ([x, -x], [1], [x], ValueError, "weights=.* has 1 entries for 2 losses"),
        ([x, -x], [0.5, 0.5], [x], TypeError, r"weights\[0\]=0.5 must be exact"),
        ([x, -x], [a, 1 - a], [x], TypeError, r"weights\[0\]=a must be exact"),
        ([x, -x], ["1/2", "1/2"], [x], TypeError, r"weights\[0\]='1/2' must be"),
        ([x], 1, [x], TypeError, "weights=1 must be a sequence"),
        ([], [], [x], ValueError, r"losses=\[\] is empty"),
        (x, [1], [x], TypeError, "losses=x must be a sequence"),
        (["x"], [1], [x], TypeError, r"losses\[0\]='x' must be a number or a SymPy expression"),
        ([x > 0], [1], [x], TypeError, r"losses\[0\]=x > 0 must be"),
        ([x], [1], [], ValueError, r"variables=\[\] is empty"),
        ([x], [1], x, TypeError, "variables=x must be a sequence"),
        ([x], [1], ["x"], TypeError, r"variables\[0\]='x' must be a SymPy symbol"),
        ([x, -x], HALVES, [x, y, x], ValueError, r"variables=\[x, y, x\] must be distinct"),
    ],
)
def test_bad_population(losses, weights, variables, error, message):
    with pytest.raises(error, match=message):
        FiniteLandscape(losses, weights, variables)


@pytest.mark.parametrize(
    ("at", "error", "message"),
    [
        ((1,), ValueError, r"at=\(1,\) has 1 entries; give 2"),
        (1, ValueError, "at=1 has 1 entries; give 2"),
        ((1, 2, 3), ValueError, "has 3 entries; give 2"),
        ({x: 1}, ValueError, "must have exactly the variables"),
        ({x: 1, y: 1, a: 1}, ValueError, "must have exactly the variables"),
        (("1", 2), TypeError, r"at\[0\]='1' must be a number"),
        ((1, None), TypeError, r"at\[1\]=None must be a number"),
        ((1, True), TypeError, r"at\[1\]=True must be"),
        ((1, float("nan")), ValueError, r"at\[1\]=nan must be finite"),
        ((float("inf"), 1), ValueError, r"at\[0\]=inf must be finite"),
        ("12", TypeError, "at='12' must be a sequence"),
        (None, TypeError, "at=None must be a sequence"),
    ],
)
def test_bad_point(cubic, at, error, message):
    with pytest.raises(error, match=message):
        cubic.point(at)
    with pytest.raises(error, match=message):
        cubic.cumulant((1,), at)


@pytest.mark.parametrize(
    ("degrees", "error", "message"),
    [
        ((), ValueError, r"degrees=\(\) must name at least one node"),
        ((1, -1), ValueError, r"degrees=\(1, -1\) must name"),
        (2, TypeError, "degrees=2 must be a sequence of ints"),
        ((1.5,), TypeError, r"degrees=\(1.5,\) must be a sequence of ints"),
    ],
)
def test_bad_degrees(cubic, degrees, error, message):
    for tensor in (cubic.moment, cubic.cumulant):
        with pytest.raises(error, match=message):
            tensor(degrees, POINT)


def test_singular_points_name_the_loss():
    landscape = FiniteLandscape([x, log(x), sqrt(x)], THIRDS, [x])
    with pytest.raises(ValueError, match=r"losses\[1\]=log\(x\).*not finite"):
        landscape.moment((0,), 0)
    with pytest.raises(ValueError, match=r"losses\[1\]=sqrt\(x\).*degree 1 is not finite"):
        FiniteLandscape([x, sqrt(x)], HALVES, [x]).moment((1,), 0)


def test_symbolic_half_loads_neither_numpy_nor_jax():
    code = (
        "import sys; from sympy import Symbol; from taylorsgd.landscapes import FiniteLandscape;"
        "FiniteLandscape([0], [1], [Symbol('x')]).point(0);"
        "print([module for module in ('numpy', 'jax') if module in sys.modules])"
    )
    root = Path(taylorsgd.__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert result.stdout.strip() == "[]"
