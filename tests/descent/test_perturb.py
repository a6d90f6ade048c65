"""Direct perturbation against what is known without it.

(1) one loss (a/2) x²:            θ_T = (1 − ηa)^T θ_0
(2) losses (a/2) x² − ξ x:        θ_T = (1 − ηa)^T θ_0 + (η/B) Σ_{cells (n, t)} ξ_n (1 − ηa)^{T−1−t}
(3) any smooth losses:            what an expansion through η^d leaves out of a run at η shrinks as η^{d+1}
(4) ODE with l = x³/3 and e^x:    θ(T) = θ_0/(1 + ηTθ_0) and −log(e^{−θ_0} + ηT); else Picard's iteration
(5) SDE with losses ξ θᵀAθ/2:     S = E[θθᵀ] obeys dS/dt = −η(AS + SA) E ξ + (η²/B) Var ξ · A S A
(6) SDE with (a/2) x² − ξ x:      an Ornstein-Uhlenbeck process
(7) test loss at η²:              SGD − SDE = −(T/2) GHG, SGD − ODE = (T/2)(C·H − GHG) when B = 1
"""

from itertools import product
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy import (
    Function,
    ImmutableMatrix,
    Integer,
    Matrix,
    Poly,
    Rational,
    Symbol,
    cosh,
    exp,
    expand,
    factorial,
    integrate,
    lambdify,
    log,
    simplify,
    sin,
    sqrt,
    symbols,
    zeros,
)

from taylorsgd import symbols as table
from taylorsgd.descent import perturb
from taylorsgd.formulas.observables import (
    Covariance,
    Displacement,
    GeneralizationGap,
    Observable,
    SecondMoment,
    TestLoss,
    TrainLoss,
)
from taylorsgd.landscapes import FiniteLandscape
from taylorsgd.spacetime import GD, ODE, SDE, SGD, Grid
from taylorsgd.symbols import eta
from taylorsgd.updates import Descent

x, y, a, b, c = symbols("x y a b c")
WEIGHTS = [Rational(1, 3), Rational(2, 3)]
POINT = (Rational(1, 2), Rational(-2, 3))
POLYNOMIAL = FiniteLandscape([x**3 / 3 + x * y + y**2, 2 * x**2 * y - y**2 - x], WEIGHTS, [x, y])
# around POINT their derivatives are rational; at other points they are not
dx, dy = x - POINT[0], y - POINT[1]
SMOOTH = FiniteLandscape([cosh(dx - 2 * dy) + sin(dx + dy), exp(dx * dy + dy) - dx**2], WEIGHTS, [x, y])
CELLS = {
    SGD(N=2, B=1, E=1): [[1, 0], [0, 1]],
    SGD(N=2, B=1, E=2): [[1, 0, 1, 0], [0, 1, 0, 1]],
    SGD(N=4, B=2, E=1): [[1, 0], [1, 0], [0, 1], [0, 1]],
    GD(N=3, T=2): [[1, 1], [1, 1], [1, 1]],
    Grid([[1, 0, 1], [0, 1, 0], [0, 0, 0]]): [[1, 0, 1], [0, 1, 0], [0, 0, 0]],
    Grid([[1, 1, 0], [0, 1, 1], [1, 0, 1]]): [[1, 1, 0], [0, 1, 1], [1, 0, 1]],
}
grids = pytest.mark.parametrize(("spacetime", "cells"), CELLS.items(), ids=lambda value: repr(value)[:24])


def truncated(polynomial, order):
    """Drop the powers of η above `order` of a polynomial in η."""
    kept = (c * eta**k for (k,), c in Poly(polynomial, eta).terms() if k <= order)
    return expand(sum(kept, Integer(0)))


# (1) and (2): quadratics, by hand


@pytest.mark.parametrize("updates", [0, 1, 4])
@pytest.mark.parametrize("order", [0, 1, 3, 6])
def test_one_quadratic_is_a_geometric_sequence(updates, order):
    landscape = FiniteLandscape([a * x**2 / 2], [1], [x])
    final = (1 - eta * a) ** updates * b
    for spacetime in (GD(N=1, T=updates), GD(N=3, T=updates), SGD(N=2, B=2, E=updates)):
        displacement = perturb(Displacement(), spacetime, landscape, b, order)
        assert displacement == ImmutableMatrix([truncated(final - b, order)])
        assert perturb(TestLoss(), spacetime, landscape, b, order) == truncated(a * final**2 / 2, order)
        assert perturb(TrainLoss(), spacetime, landscape, b, order) == truncated(a * final**2 / 2, order)
        assert perturb(GeneralizationGap(), spacetime, landscape, b, order) == 0


@grids
@pytest.mark.parametrize("order", [2, 5])
def test_additive_noise_by_hand(spacetime, cells, order):
    """The noise ξ = 2 or −1 has mean 0 and second and third moments 2; rows are independent."""
    landscape = FiniteLandscape([a * x**2 / 2 - 2 * x, a * x**2 / 2 + x], WEIGHTS, [x])
    updates, batch = len(cells[0]), sum(row[0] for row in cells)
    decay = 1 - eta * a
    mean = decay**updates * b
    push = [sum(eta / batch * decay ** (updates - 1 - t) for t, on in enumerate(row) if on) for row in cells]
    variance = 2 * sum(p**2 for p in push)
    third = 2 * sum(p**3 for p in push)
    gap = 2 * sum(push) / Integer(len(cells))  # the covariance of θ_T with the mean of ξ over all rows
    position = Observable(x)
    expected = {
        position: mean,
        Covariance(position, position): variance,
        SecondMoment(position, position): variance + mean**2,
        Covariance(position, Observable(x**2)): third + 2 * mean * variance,
        TestLoss(): a / 2 * (variance + mean**2),
        GeneralizationGap(): gap,
        TrainLoss(): a / 2 * (variance + mean**2) - gap,
    }
    for observable, series in expected.items():
        assert perturb(observable, spacetime, landscape, b, order) == truncated(series, order), observable


# (3): any losses, by runs at two small learning rates with 120 digits

S = Observable(x**2 * y + exp(dx), name="s")
SINGLES = {TestLoss(): [0], TrainLoss(): [1], GeneralizationGap(): [2], Displacement(): [3, 4], S: [5]}
PAIRS = [
    (TestLoss(), TestLoss()),
    (TrainLoss(), GeneralizationGap()),
    (Displacement(), Displacement()),
    (Displacement(), TrainLoss()),
    (S, Displacement()),
    (GeneralizationGap(), S),
]


def run(landscape, cells, rate):
    """The means of the six numbers of SINGLES and of their products over all training sets: no series."""
    variables = landscape.variables
    losses = [lambdify(variables, loss, "mpmath") for loss in landscape.losses]
    slopes = [[lambdify(variables, loss.diff(v), "mpmath") for v in variables] for loss in landscape.losses]
    s = lambdify(variables, S.s, "mpmath")
    weights = [mpmath.mpmathify(weight) for weight in landscape.weights]
    start = [mpmath.mpmathify(value) for value in POINT]
    first, second = np.zeros(6, dtype=object), np.zeros((6, 6), dtype=object)
    for rows in product(range(len(losses)), repeat=len(cells)):
        theta = list(start)
        for column in zip(*cells, strict=True):
            batch = [row for row, on in zip(rows, column, strict=True) if on]
            steps = [sum(slopes[row][i](*theta) for row in batch) / len(batch) for i in range(2)]
            theta = [value - rate * step for value, step in zip(theta, steps, strict=True)]
        test = sum(weight * loss(*theta) for weight, loss in zip(weights, losses, strict=True))
        train = sum(losses[row](*theta) for row in rows) / len(rows)
        moved = [value - value_0 for value, value_0 in zip(theta, start, strict=True)]
        numbers = np.array([test, train, test - train, *moved, s(*theta)], dtype=object)
        probability = mpmath.fprod(weights[row] for row in rows)
        first = first + probability * numbers
        second = second + probability * np.multiply.outer(numbers, numbers)
    return first, second


def assert_slopes(observable, spacetime, landscape, order, runs, pick):
    """The errors at η and η/2 have the ratio 2^(order + 1), entry by entry, or the expansion is complete."""
    expansion = perturb(observable, spacetime, landscape, POINT, order)
    entries = expansion.flat() if isinstance(expansion, ImmutableMatrix) else [expansion]
    errors = []
    for rate, means in runs:
        exact = np.atleast_1d(pick(means)).ravel()
        assert len(exact) == len(entries)
        predicted = [lambdify(eta, entry, "mpmath")(rate) for entry in entries]
        errors.append([value - guess for value, guess in zip(exact, predicted, strict=True)])
    for large, small in zip(*errors, strict=True):
        if abs(large) > 1e-100:
            assert abs(mpmath.log(abs(large / small), 2) - (order + 1)) < 1e-6, (observable, errors)


@grids
def test_errors_shrink_by_the_next_power(spacetime, cells):
    # differentiating the transcendental losses takes most of the time, so they go to one spacetime
    landscape = SMOOTH if spacetime == SGD(N=2, B=1, E=2) else POLYNOMIAL
    with mpmath.workdps(120):
        runs = [(rate, run(landscape, cells, rate)) for rate in (mpmath.mpf(10) ** -12, mpmath.mpf(10) ** -12 / 2)]
        for observable, which in SINGLES.items():
            for order in (1, 3):
                assert_slopes(observable, spacetime, landscape, order, runs, lambda means, i=which: means[0][i])
        for one, two in PAIRS:
            i, j = SINGLES[one], SINGLES[two]

            def moment(means, i=i, j=j):
                return means[1][np.ix_(i, j)]

            def covariance(means, i=i, j=j):
                return means[1][np.ix_(i, j)] - np.multiply.outer(means[0][i], means[0][j])

            assert_slopes(SecondMoment(one, two), spacetime, landscape, 3, runs, moment)
            assert_slopes(Covariance(one, two), spacetime, landscape, 3, runs, covariance)


# (4): gradient flow


def test_flow_of_a_cubic_and_of_an_exponential():
    T, order = table.T, 5
    cubic = FiniteLandscape([x**3 / 3], [1], [x])
    expected: Any = sum((-eta * T * b) ** k * b for k in range(order + 1))
    assert perturb(Displacement(), ODE(), cubic, b, order) == ImmutableMatrix([expand(expected - b)])
    exponential = FiniteLandscape([exp(x) + 1, exp(x) - 1], [Rational(1, 2)] * 2, [x])
    expected = sum((-eta * 7) ** k / Integer(k) for k in range(1, order + 1))
    assert perturb(Observable(x), ODE(T=7), exponential, 0, order) == expected
    # the same from a symbolic point: −log(e^{−b} + ηT) + b, and the loss e^x = 1/(e^{−b} + ηT)
    expected = sum((-eta * T * exp(b)) ** k / k for k in range(1, order + 1))
    assert simplify(perturb(Observable(x - b), ODE(), exponential, b, order) - expected) == 0
    expected = sum((-eta * T) ** k * exp(b) ** (k + 1) for k in range(order + 1))
    assert simplify(perturb(TestLoss(), ODE(), exponential, b, order) - expected) == 0


def test_flow_by_picard_iteration():
    order, time = 4, Symbol("time")
    gradient = [POLYNOMIAL.loss.diff(v) for v in (x, y)]
    path: list[Any] = list(POINT)
    for _ in range(order):
        along = [truncated(g.subs({x: path[0], y: path[1]}, simultaneous=True), order) for g in gradient]
        path = [start - eta * integrate(g, (time, 0, time)) for start, g in zip(POINT, along, strict=True)]
    final = [truncated(p.subs(time, table.T), order) for p in path]
    moved = perturb(Displacement(), ODE(), POLYNOMIAL, POINT, order)
    assert moved == ImmutableMatrix([expand(p - start) for p, start in zip(final, POINT, strict=True)])
    loss = POLYNOMIAL.loss.subs({x: final[0], y: final[1]}, simultaneous=True)
    assert perturb(TestLoss(), ODE(), POLYNOMIAL, POINT, order) == truncated(loss, order)
    second = perturb(SecondMoment(TestLoss(), Displacement()), ODE(), POLYNOMIAL, POINT, order)
    assert second == (moved * loss).applyfunc(lambda entry: truncated(entry, order))
    assert perturb(Covariance(S, Displacement()), ODE(), POLYNOMIAL, POINT, order) == zeros(2, 1)


# (5) to (7): the SDE


def test_ornstein_uhlenbeck():
    """E[θ] = e^{−aηT} b, Var θ = η²σ²/B · (1 − e^{−2aηT})/(2aη), here with σ² = 2; θ is Gaussian."""
    landscape = FiniteLandscape([a * x**2 / 2 - 2 * x, a * x**2 / 2 + x], WEIGHTS, [x])
    T, B, order = table.T, table.B, 6
    mean = sum((-a * eta * T) ** k / factorial(k) for k in range(order + 1)) * b
    variance = -sum((-2 * a * eta * T) ** k / factorial(k) for k in range(1, order + 1)) * eta / (B * a)
    position = Observable(x)
    expected = {
        position: mean,
        Covariance(position, position): variance,
        TestLoss(): a / 2 * (mean**2 + variance),
        Covariance(position, Observable(x**2)): 2 * mean * variance,
        Observable(x**4): mean**4 + 6 * mean**2 * variance + 3 * variance**2,
    }
    for observable, series in expected.items():
        found = perturb(observable, SDE(), landscape, b, order)
        assert expand(found - truncated(series, order)) == 0, observable


def test_sde_with_multiplicative_noise():
    """Losses ξ θᵀAθ/2 with ξ = 3 or 0: E ξ = 1, Var ξ = 2."""
    A = Matrix([[1, 2], [2, -3]])
    form = (Matrix([[x, y]]) * A * Matrix([x, y]))[0] / 2
    landscape = FiniteLandscape([3 * form, 0], WEIGHTS, [x, y])
    start = Matrix(POINT)
    order, T, B = 4, table.T, table.B
    step, total = start * start.T, zeros(2, 2)
    for k in range(order + 1):
        total += step * T**k / factorial(k)
        step = -eta * (A * step + step * A) + 2 * eta**2 / B * A * step * A
    mean: Any = sum(((-eta * T * A) ** k * start / factorial(k) for k in range(order + 1)), zeros(2, 1))
    second = total - mean * start.T - start * mean.T + start * start.T  # of θ − θ_0
    found = perturb(SecondMoment(Displacement(), Displacement()), SDE(), landscape, POINT, order)
    assert found == second.applyfunc(lambda entry: truncated(entry, order))
    assert perturb(Displacement(), SDE(), landscape, POINT, order) == (mean - start).applyfunc(expand)
    covariance = (total - mean * mean.T).applyfunc(lambda entry: truncated(entry, order))
    assert perturb(Covariance(Displacement(), Displacement()), SDE(), landscape, POINT, order) == covariance


def test_geometric_brownian_motion_is_taken_in_the_sense_of_ito():
    """dx = −ηx dt + η√(2/B) x dW: E[log x] = log b − ηT − η²T/B; Stratonovich lacks the last term."""
    landscape = FiniteLandscape([3 * x**2 / 2, 0], WEIGHTS, [x])
    found = perturb(Observable(log(x)), SDE(B=5), landscape, b, 4)
    assert simplify(found - (log(b) - eta * table.T - eta**2 * table.T / 5)) == 0


@pytest.mark.parametrize("landscape", [POLYNOMIAL, SMOOTH], ids=["polynomial", "smooth"])
def test_sgd_differs_from_its_flows_at_second_order(landscape):
    """Identity (7)."""
    G, H = landscape.cumulant((1,), POINT), landscape.cumulant((2,), POINT)
    GHG, CH = G @ H @ G, (landscape.cumulant((1, 1), POINT) * H).sum()
    T = 3
    sgd, sde, ode = (perturb(TestLoss(), s, landscape, POINT, 2) for s in (SGD(T, 1, 1), SDE(T, 1), ODE(T)))
    assert simplify(sgd - sde + eta**2 * T * GHG / 2) == 0
    assert simplify(sgd - ode - eta**2 * T * (CH - GHG) / 2) == 0


# relations between answers

EVERYWHERE = [*CELLS, ODE(), SDE(), SDE(T=3, B=2)]


@pytest.mark.parametrize("spacetime", EVERYWHERE, ids=lambda value: repr(value)[:24])
def test_answers_agree_with_each_other(spacetime):
    at, order = {y: -1, x: 0.5}, 3

    def found(observable: Any, order: int = order) -> Any:
        return perturb(observable, spacetime, POLYNOMIAL, at, order)

    assert found(Observable(POLYNOMIAL.loss)) == found(TestLoss())
    assert found(Observable(lambda theta: theta[0] * theta[1] + 0.5)) == found(Observable(x * y + Rational(1, 2)))
    assert found(Observable(2)) == found(Observable(2.0)) == 2
    moved = found(Displacement())
    assert moved == ImmutableMatrix([found(Observable(x - Rational(1, 2))), found(Observable(y + 1))])
    spread = found(Covariance(Displacement(), Displacement()))
    assert spread.shape == (2, 2) and spread == spread.T
    assert spread[0, 1] == found(Covariance(Observable(x), Observable(y)))
    mixed = found(Covariance(Displacement(), S))
    assert mixed.shape == (2, 1) and mixed == found(Covariance(S, Displacement()))
    assert mixed[1] == found(Covariance(Observable(y), S))
    for lower in range(order):
        for observable in (TestLoss(), SecondMoment(TestLoss(), S), Covariance(S, S)):
            assert found(observable, lower) == truncated(found(observable), lower)
    assert found(Displacement(), 0) == zeros(2, 1)
    assert found(SecondMoment(Displacement(), TestLoss()), 0) == zeros(2, 1)


def test_gap_is_test_minus_training_loss():
    spacetime = SGD(N=2, B=1, E=2)
    test, train, gap = (perturb(o, spacetime, SMOOTH, POINT, 3) for o in (TestLoss(), TrainLoss(), GeneralizationGap()))
    assert simplify(test - train - gap) == 0
    # only then do the signs and the sizes follow: at first order the gap is η T tr C / N
    trace = SMOOTH.cumulant((1, 1), POINT).trace()
    assert simplify(gap.coeff(eta, 1) - Rational(4, 2) * trace) == 0


@given(st.permutations(range(3)), st.integers(0, 10**6))
def test_rows_are_exchangeable(order_of_rows, seed):
    cells = np.random.default_rng(seed).permuted(np.repeat([[True], [False], [False]], 3, axis=1), axis=0)
    for observable in (TrainLoss(), Displacement()):
        plain = perturb(observable, Grid(cells), POLYNOMIAL, POINT, 3)
        assert plain == perturb(observable, Grid(cells[list(order_of_rows)]), POLYNOMIAL, POINT, 3)


@pytest.mark.parametrize("spacetime", [SGD(N=2, B=1, E=2), GD(N=2, T=2), ODE(), SDE()], ids=repr)
def test_symbolic_and_irrational_points(spacetime):
    """The answer at (a, b) turns into the answer at numbers, and √2 stays exact."""
    general = perturb(Covariance(TestLoss(), TestLoss()), spacetime, POLYNOMIAL, (a, b), 3)
    for numbers in [POINT, (sqrt(2), 1 - sqrt(2)), (0, 3 * c)]:
        special = perturb(Covariance(TestLoss(), TestLoss()), spacetime, POLYNOMIAL, numbers, 3)
        assert expand(general.subs(dict(zip((a, b), numbers, strict=True)))) == expand(special)
    assert perturb(TestLoss(), spacetime, POLYNOMIAL, (y, x), 2) == expand(
        perturb(TestLoss(), spacetime, POLYNOMIAL, (a, b), 2).subs({a: y, b: x})
    )


def test_abstract_loss():
    """The start of every expansion, for a loss of which nothing is known."""
    f = Function("f")
    landscape = FiniteLandscape([f(x)], [1], [x])
    slope, curvature = f(x).diff(x), f(x).diff(x, 2)
    found = perturb(TestLoss(), GD(N=1, T=2), landscape, x, 2)
    assert simplify(found - (f(x) - 2 * eta * slope**2 + 3 * eta**2 * slope**2 * curvature)) == 0


@pytest.mark.parametrize("spacetime", [GD(N=2, T=0), SGD(N=2, B=1, E=0), ODE(T=0), SDE(T=0, B=3)], ids=repr)
def test_nothing_moves_in_no_time(spacetime):
    landscape = FiniteLandscape([a * x**3, b * x], WEIGHTS, [x])
    assert perturb(TestLoss(), spacetime, landscape, c, 3) == expand(a * c**3 / 3 + 2 * b * c / 3)
    assert perturb(SecondMoment(Displacement(), TestLoss()), spacetime, landscape, c, 3) == zeros(1, 1)


# bad input


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"order": -1}, ValueError, "order=-1 must be at least 0"),
        ({"order": 1.5}, TypeError, "order=1.5 must be an int"),
        ({"observable": TestLoss}, TypeError, "observable=.*must be a TestLoss"),
        ({"observable": x**2}, TypeError, r"observable=x\*\*2 must be a TestLoss"),
        ({"observable": Observable(lambda theta: theta)}, TypeError, "must be a scalar expression"),
        ({"observable": Observable(lambda theta: "x")}, TypeError, "returns 'x'"),
        ({"observable": Observable(log(x - 1))}, ValueError, r"at=.*s=log\(x - 1\) or .* not finite there"),
        ({"observable": Observable(eta * x)}, ValueError, "must not depend on the learning rate eta"),
        ({"at": (eta, 0)}, ValueError, "must not depend on the learning rate eta"),
        ({"at": (1, 2, 3)}, ValueError, "at=.* has 3 entries; give 2"),
        ({"landscape": x**2}, TypeError, r"landscape=x\*\*2 must be a FiniteLandscape"),
        ({"spacetime": [[1, 0], [0, 1]]}, TypeError, "spacetime=.* must be an SGD, GD, Replacement, Grid, ODE or SDE"),
        ({"spacetime": SGD()}, ValueError, "N=N of SGD is symbolic"),
        ({"spacetime": SGD(N=2, B=1)}, ValueError, "E=E of SGD is symbolic"),
        ({"spacetime": GD(N=2)}, ValueError, "T=T of GD is symbolic"),
        ({"update": Descent(rates=[])}, ValueError, "rates has 0 entries for 2 updates"),
        ({"update": 3}, TypeError, "update=3 must be a Descent"),
        ({"spacetime": ODE(T=1 / eta)}, ValueError, "must not depend on the learning rate eta"),
        ({"spacetime": ODE(), "observable": TrainLoss()}, ValueError, "TrainLoss.* ODE has none"),
        ({"spacetime": SDE(), "observable": GeneralizationGap()}, ValueError, "GeneralizationGap.* SDE has none"),
        ({"spacetime": SDE(), "observable": Covariance(S, TrainLoss())}, ValueError, "TrainLoss.* SDE has none"),
        ({"landscape": FiniteLandscape([sqrt(x) * y], [1], [x, y]), "at": (0, 1)}, ValueError, r"losses\[0\]"),
    ],
)
def test_bad_arguments(change, error, message):
    arguments = {"observable": TestLoss(), "spacetime": GD(N=2, T=2), "landscape": POLYNOMIAL, "at": (1, 1), "order": 2}
    with pytest.raises(error, match=message):
        perturb(**(arguments | change))
