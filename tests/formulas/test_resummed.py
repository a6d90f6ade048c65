"""Resummed formulas against direct perturbation (Tenka, Theorems 1 and 2, Remark 1).

1. Discrete sums agree with descent through η^d, for every observable, tied roots included.
2. They are exact in T and η on quadratic landscapes with additive noise.
3. Continuous ones agree with the generators of ODE and SDE through η^d, and with SGD in the leading power of T.
4. As T → ∞ on a quadratic the excess loss is ½ tr(HΣ), HΣ + ΣH − ηHΣH = ηC (discrete), = ηC without the
   last term on the left (continuous).
"""

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from orders_of_eta import through
from sympy import Rational

import taylorsgd as ts
from taylorsgd.symbols import eta

OBSERVABLES = [
    ts.TestLoss(),
    ts.TrainLoss(),
    ts.GeneralizationGap(),
    ts.Displacement(),
    ts.Variance(ts.TestLoss()),
    ts.Covariance(ts.TrainLoss(), ts.GeneralizationGap()),
    ts.Covariance(ts.Displacement(), ts.TrainLoss()),
    ts.SecondMoment(ts.Displacement(), ts.Displacement()),
    ts.Observable(lambda theta: theta[0] ** 2 + 3 * theta[-1]),
]
SPACETIMES = [
    ts.SGD(N=3, B=1, E=1),
    ts.SGD(N=4, B=2, E=1),
    ts.GD(N=2, T=3),
    ts.SGD(N=2, B=1, E=2),
    ts.Grid([[1, 0, 1], [1, 1, 0], [0, 1, 1]]),
]

fractions = st.fractions(min_value=-2, max_value=2, max_denominator=3).map(
    lambda q: Rational(q.numerator, q.denominator)
)


@st.composite
def landscapes(draw, order, variables=(1, 2), atoms=(2, 2)):
    """A finite landscape of random polynomials of degree order + 1, and a point on it."""
    names = sp.symbols("x y z")[: draw(st.integers(*variables))]
    monomials = sorted(sp.itermonomials(names, order + 1), key=str)
    losses = []
    for _ in range(draw(st.integers(*atoms))):
        picked = draw(st.lists(st.sampled_from(monomials), min_size=3, max_size=5, unique=True))
        losses.append(sum(draw(fractions) * monomial for monomial in picked))
    counts = [draw(st.integers(1, 3)) for _ in losses]
    weights = [Rational(count, sum(counts)) for count in counts]
    return ts.FiniteLandscape(losses, weights, names), [draw(fractions) for _ in names]


def truncated(result, order):
    """The polynomial through η^order of an expression or a matrix, as a list of coefficients."""
    entries = list(result) if isinstance(result, sp.MatrixBase) else [result]
    return [[sp.expand(entry).coeff(eta, n) for n in range(order + 1)] for entry in entries]


@pytest.mark.shows("one epoch", ("test loss", "training loss", "gap", "displacement", "variance"), resum="discrete")
@pytest.mark.shows("SGD", ("test loss", "training loss", "gap", "displacement", "variance"), resum="discrete")
@pytest.mark.shows("GD", ("test loss", "training loss", "gap", "displacement", "variance"), resum="discrete")
@pytest.mark.shows("Grid", ("test loss", "training loss", "gap", "displacement", "variance"), resum="discrete")
@pytest.mark.parametrize(("dearest", "examples"), [(2, 25), (3, 3)])
@pytest.mark.parametrize("observable", OBSERVABLES, ids=range(len(OBSERVABLES)))
def test_discrete_sums_agree_with_descent(observable, dearest, examples):
    order = min(dearest, 2 if isinstance(observable, ts.Covariance) else 3)  # two roots: four times the diagrams

    @settings(max_examples=examples)
    @given(landscapes(order, (1, dearest - 1)), st.sampled_from(SPACETIMES))
    def run(place, spacetime):
        landscape, at = place
        resummed = ts.derive(observable, spacetime, order, resum="discrete").evaluate(landscape, at)
        direct = ts.perturb(observable, spacetime, landscape, at, order)
        assert truncated(resummed, order) == truncated(direct, order)

    run()


def quadratic(size, noises):
    """l_x = ½ θ·Hθ + x·θ with x one of a few vectors of mean 0: additive noise."""
    theta = sp.symbols("x y z")[:size]
    hessian = sp.Matrix([[2, Rational(1, 2), 0], [Rational(1, 2), 1, 0], [0, 0, Rational(3, 2)]])[:size, :size]
    vector = sp.Matrix(theta)
    base = (vector.T * hessian * vector)[0] / 2
    losses = [base + sum(a * b for a, b in zip(noise, theta, strict=False)) for noise in noises]
    return ts.FiniteLandscape(losses, [Rational(1, len(noises))] * len(noises), theta)


NOISES = [(1, 2, 0), (-1, 1, 1), (0, -3, -1)]


@pytest.mark.shows("one epoch", ("test loss", "training loss", "gap", "displacement", "variance"), resum="discrete")
@pytest.mark.shows("SGD", ("test loss", "training loss", "gap", "displacement", "variance"), resum="discrete")
@pytest.mark.shows("GD", ("test loss", "training loss", "gap", "displacement", "variance"), resum="discrete")
@pytest.mark.shows("Grid", ("test loss", "training loss", "gap", "displacement", "variance"), resum="discrete")
@pytest.mark.parametrize("spacetime", [*SPACETIMES, ts.SGD(N=4, B=1, E=1), ts.SGD(N=2, B=2, E=3)], ids=repr)
@pytest.mark.parametrize(
    ("observable", "order"),
    [
        (ts.TestLoss(), 2),
        (ts.TrainLoss(), 2),
        (ts.GeneralizationGap(), 2),
        (ts.Displacement(), 1),
        (ts.Variance(ts.Displacement()), 2),
        (ts.Variance(ts.TestLoss()), 4),
    ],
    ids=str,
)
def test_exact_on_quadratics_with_additive_noise(observable, order, spacetime):
    """All higher diagrams vanish, so the formula of this order is the whole polynomial in η."""
    landscape, at = quadratic(1 if order == 4 else 2, NOISES), [1, Rational(-1, 2)][: 1 if order == 4 else 2]
    degree = 2 * int(spacetime.sizes["T"]) * (2 if order == 4 else 1)
    resummed = ts.derive(observable, spacetime, order, resum="discrete").evaluate(landscape, at)
    direct = ts.perturb(observable, spacetime, landscape, at, degree)
    assert truncated(resummed, degree + 2) == truncated(direct, degree + 2)
    assert truncated(resummed, degree)[0][-1] != 0 or observable != ts.TestLoss()  # nothing is cut off


@pytest.mark.shows("ODE", ("test loss", "displacement", "variance"), resum="continuous")
@pytest.mark.shows("SDE", ("test loss", "displacement", "variance"), resum="continuous")
@pytest.mark.parametrize(("order", "examples"), [(2, 25), (3, 2)])
@pytest.mark.parametrize("spacetime", [ts.ODE(T=2), ts.SDE(T=3, B=2)], ids=repr)
@pytest.mark.parametrize("observable", [ts.TestLoss(), ts.Displacement(), ts.Variance(ts.TestLoss())], ids=str)
def test_continuous_sums_agree_with_the_generators(observable, spacetime, order, examples):
    formula = ts.derive(observable, spacetime, order, resum="continuous")

    @settings(max_examples=examples)
    @given(landscapes(order=order, variables=(1, 1)))
    def run(place):
        landscape, at = place
        resummed = formula.evaluate(landscape, at)
        truth = ts.perturb(observable, spacetime, landscape, at, order)
        assert truncated(through(resummed, order), order) == truncated(truth, order)

    run()


def test_continuous_sums_agree_with_the_sde_in_two_dimensions():
    x, y = sp.symbols("x y")
    losses = [x**2 + y**2 / 2 + x**2 * y - x + y**3, x**2 + 3 * y**2 / 2 - x * y**2 + 2 * x - y]
    landscape = ts.FiniteLandscape(losses, [Rational(2, 3), Rational(1, 3)], [x, y])
    spacetime = ts.SDE(T=2, B=1)
    for observable in (ts.TestLoss(), ts.Displacement()):
        resummed = sp.Matrix([ts.derive(observable, spacetime, 3, resum="continuous").evaluate(landscape, [0, 0])])
        series = resummed.applyfunc(lambda entry: sp.series(entry, eta, 0, 4).removeO())
        direct = sp.Matrix([ts.perturb(observable, spacetime, landscape, [0, 0], 3)])
        assert truncated(series.applyfunc(sp.simplify), 3) == truncated(direct, 3)


@pytest.mark.shows("GD", "test loss", resum="continuous")
def test_continuous_sums_have_the_leading_power_of_T_of_sgd():
    x, T = sp.Symbol("x"), sp.Symbol("T")
    landscape = ts.FiniteLandscape([x**2 + x**3 - x, 2 * x**2 - x], [Rational(1, 2)] * 2, [x])
    plain = ts.derive(ts.TestLoss(), ts.GD(), 2)
    resummed = ts.derive(ts.TestLoss(), ts.GD(), 2, resum="continuous")
    steps = sp.Symbol("n", positive=True)
    for d in (1, 2):
        exact = [plain.evaluate(landscape, [1], N=3, T=t).coeff(eta, d) for t in range(d + 1)]
        polynomial = sp.interpolate(list(zip(range(d + 1), exact, strict=True)), T)
        smooth = [
            sp.series(resummed.evaluate(landscape, [1], N=3, T=t), eta, 0, d + 1).removeO().coeff(eta, d)
            for t in range(d + 1)
        ]
        flow = sp.interpolate(list(zip(range(d + 1), smooth, strict=True)), T)
        leading = [sp.limit(sp.expand(p).subs(T, steps) / steps**d, steps, sp.oo) for p in (polynomial, flow)]
        assert leading[0] == leading[1] != 0
        assert d == 1 or sp.expand(polynomial - flow) != 0  # beyond it they differ


class Tensors:
    """A landscape that is given by its cumulants."""

    def __init__(self, **named):
        keys = {"l": (0,), "G": (1,), "H": (2,), "J": (3,), "C": (1, 1), "S": (1, 1, 1)}
        self.arrays = {keys[name]: array for name, array in named.items()}

    def cumulant(self, degrees, at):
        import numpy as np

        size = self.arrays[2,].shape[0]
        zero = np.full((size,) * sum(degrees), sp.Integer(0), dtype=object)
        return self.arrays.get(tuple(degrees), zero)


def spd(draw, size):
    root = sp.Matrix(size, size, lambda i, j: draw(st.integers(-2, 2)))
    return root * root.T + sp.eye(size)


@pytest.mark.shows("one epoch", "test loss", resum="discrete")
@pytest.mark.shows("one epoch", "test loss", resum="continuous")
@given(st.data(), st.booleans(), st.integers(1, 4))
def test_excess_loss_solves_lyapunovs_equation(data, continuous, size):
    import numpy as np

    H, C = spd(data.draw, size), spd(data.draw, size)
    rate = Rational(1, 2 * int(sp.ceiling(H.trace())))
    check_lyapunov(np.array(H.tolist(), dtype=object), np.array(C.tolist(), dtype=object), rate, continuous)


@pytest.mark.parametrize("continuous", [False, True])
def test_excess_loss_solves_lyapunovs_equation_in_five_dimensions(continuous):
    import numpy as np

    H = sp.eye(5) * 3 + sp.Matrix(5, 5, lambda i, j: Rational(1, 1 + i + j))
    C = sp.eye(5) + sp.Matrix(5, 5, lambda i, j: Rational(i * j, 7))
    check_lyapunov(np.array(H.tolist(), dtype=object), np.array(C.tolist(), dtype=object), Rational(1, 10), continuous)


def check_lyapunov(H, C, rate, continuous):
    size = len(H)
    method = "continuous" if continuous else "discrete"
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum=method).assume("minimum").limit()
    excess = formula.evaluate(Tensors(H=H, C=C), at=None, eta=rate)
    h, c = sp.Matrix(H.tolist()), sp.Matrix(C.tolist())
    eye = sp.eye(size)
    operator = sp.kronecker_product(h, eye) + sp.kronecker_product(eye, h)
    if not continuous:
        operator = operator - rate * sp.kronecker_product(h, h)
    sigma = operator.LUsolve(rate * c.reshape(size * size, 1)).reshape(size, size)
    assert excess == (h * sigma).trace() / 2


def test_merging_and_algebra():
    spacetime = ts.SGD(B=1, E=1)
    test, train, gap = (
        ts.derive(observable, spacetime, 3, resum="discrete")
        for observable in (ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap())
    )
    assert test - train == gap
    assert 2 * test - test == test and not (test - test)
    assert ts.Formula.from_json(gap.to_json()) == gap
    assert ts.Formula.from_json(gap.assume("minimum").limit().to_json()) == gap.assume("minimum").limit()
    plain = ts.derive(ts.TestLoss(), spacetime, 3)
    mixed = test - plain  # what resummation adds
    x = sp.Symbol("x")
    landscape = ts.FiniteLandscape([x**2 - x, x**2 + x**3 + x], [Rational(1, 2)] * 2, [x])
    assert sp.expand(mixed.evaluate(landscape, [1], N=3)).coeff(eta, 3) == 0
    assert sp.expand(mixed.evaluate(landscape, [1], N=3)).coeff(eta, 4) != 0


def test_order_of_a_resummed_formula_counts_linkless_edges():
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 3, resum="discrete")
    assert [len(formula[d].terms) for d in range(4)] == [1, 1, 2, 6]
    assert all(diagram.is_linkless for term in formula.terms for diagram in term.diagrams)


def test_errors():
    with pytest.raises(ValueError, match="resum='both'"):
        ts.derive(ts.TestLoss(), ts.GD(), 1, resum="both")
    with pytest.raises(ValueError, match="rows return after whole numbers of updates"):
        ts.derive(ts.TestLoss(), ts.SGD(N=4, B=2, E=2), 1, resum="continuous")
    with pytest.raises(ValueError, match="resum='continuous'"):
        ts.derive(ts.TestLoss(), ts.ODE(), 1, resum="discrete")
    with pytest.raises(ValueError, match="no.*training set|has none"):
        ts.derive(ts.TrainLoss(), ts.SDE(), 1, resum="continuous")
    with pytest.raises(ValueError, match="in cumulants"):
        ts.derive(ts.TestLoss(), ts.GD(), 2, resum="discrete").to_moments()
    with pytest.raises(ValueError, match="sizes N"):
        ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 1, resum="discrete").evaluate(Tensors(), at=None)
    x, y, z = sp.symbols("x y z")
    cubic = ts.FiniteLandscape(
        [x**2 + y**2 + 3 * z**2 + x * y + 2 * y * z, x**2 + x * z + x], [Rational(1, 2)] * 2, [x, y, z]
    )
    with pytest.raises(NotImplementedError, match="resum='discrete'"):
        ts.derive(ts.TestLoss(), ts.ODE(T=1), 1, resum="continuous").evaluate(cubic, [1, 0, 0])
