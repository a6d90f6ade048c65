"""Linear regression on normal features, whose first two moments obey an exact recursion.

Identities, with e = 1/B, s = tr(HM) and κ the noise that the test loss feeds back:

    (1) diagrams: `derive` on the landscape has the recursion's Taylor coefficients in η. The coefficient of η^k is a
        polynomial in T of degree at most k, so T = 0, …, k tell it apart from any other
    (2) atoms −a, 0, a with weights 1/6, 2/3, 1/6 have the moments of N(0, a²/3) through order 5, and second moments of
        θ_T hold at most the fourth of one point's data: descent on all training sets of such atoms has the same ones
    (3) resummed, at the minimum: order 2k is the recursion's Taylor polynomial of degree k in 1/B, for every η
    (4) at rest, plain descent: M_ii = η(s + σ²)/(B(2 − ηλ_i(1 + e))), stable if and only if the spectral radius of the
        diagonal matrix plus rank one is below 1
    (5) many dimensions: k copies of each direction with batches of kB come as close as 1/k
    (6) the limit is a renewal equation for s
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sympy import Integer, Matrix, Poly, Rational, Symbol, cancel, interpolate, oo, sqrt, symbols

import taylorsgd as ts
from taylorsgd.landscapes import LinearRegression, MomentRecursion, linear_regression, moment_curves
from taylorsgd.symbols import B, eta

ATOMS = [(-1, Fraction(1, 6)), (0, Fraction(2, 3)), (1, Fraction(1, 6))]
"""Times a, the atoms with variance a²/3; identity (2)."""
HEAVY = ts.HeavyBall(Rational(1, 3))
RULES = [
    None,
    HEAVY,
    ts.HeavyBall(Rational(-1, 2), decay=Rational(1, 10)),
    ts.HeavyBall(Rational(1, 3), convention="torch"),
    ts.Nesterov(Rational(1, 3)),
    ts.Nesterov(Rational(1, 3), convention="sutskever"),
    ts.Descent(decay=Rational(1, 5)),
]


def widths_as_variances(widths: Any) -> list[Rational]:
    return [Rational(a) ** 2 / 3 for a in widths]


def finite(widths: list[Any], label: Any) -> ts.FiniteLandscape:
    """The same regression on atoms, whose moments are those of normal data as far as second moments ask."""
    theta = symbols(f"theta_1:{len(widths) + 1}")
    losses, weights = [], []
    for signs in product(ATOMS, repeat=len(widths) + 1):
        features = [sign * Rational(a) for (sign, _), a in zip(signs, [*widths, label], strict=True)]
        residual = sum(t * x for t, x in zip(theta, features, strict=False)) - features[-1]
        losses.append(residual**2 / 2)
        weights.append(np.prod([weight for _, weight in signs]))
    return ts.FiniteLandscape(losses, weights, theta)


def cut(polynomial: Any, order: int) -> Any:
    return sum(polynomial.expand().coeff(eta, k) * eta**k for k in range(order + 1))


SETTINGS = [([2], 1, [1]), ([Rational(1, 2), 3], Rational(2, 3), [2, -1])]


# -- the landscape -----------------------------------------------------------------------------------------


def test_the_landscape_is_what_it_says() -> None:
    toy = linear_regression([2, 1], noise=Rational(1, 3), start=[1, Rational(1, 2)])
    one, two = toy.variables
    assert (toy.loss - (one**2 + two**2 / 2 + Rational(1, 6))).expand() == 0
    assert toy.start == (1, Rational(1, 2)) and toy.spectrum == (2, 1) and toy.label_noise == Rational(1, 3)
    assert isinstance(toy, LinearRegression) and isinstance(toy.recursion, MomentRecursion)
    hessian, theta = Matrix.diag(2, 1), Matrix(toy.start)
    prediction = (theta.T * hessian * theta)[0] + Rational(1, 3)
    covariance = prediction * hessian + hessian * theta * theta.T * hessian
    assert toy.cumulant((1, 1), toy.start).tolist() == covariance.tolist()
    assert toy.cumulant((1,), toy.start).tolist() == list(hessian * theta)
    assert toy.cumulant((2,), toy.start).tolist() == hessian.tolist()
    assert toy.cumulant((0,), toy.start).item() == toy.loss.subs({one: 1, two: Rational(1, 2)})


def test_cumulants_of_hessians_are_wisharts() -> None:
    """Cov(x_i x_j, x_k x_l) = H_ik H_jl + H_il H_jk, and tr κ_3(xxᵀ, xxᵀ, xxᵀ) = 8 λ³ in one dimension."""
    a, b = symbols("a b", positive=True)
    toy = linear_regression([a, b], noise=1)
    hessian = np.array([[a, 0], [0, b]], dtype=object)
    expected = np.einsum("ik,jl->ijkl", hessian, hessian) + np.einsum("il,jk->ijkl", hessian, hessian)
    assert not (toy.cumulant((2, 2), [0, 0]) - expected).any()
    assert linear_regression([a], noise=1).cumulant((2, 2, 2), 0).item() == 8 * a**3
    assert toy.parameters == (a, b)


def test_thousands_of_features_are_quick() -> None:
    toy = linear_regression([1 / k for k in range(1, 2001)], noise=1)
    assert repr(toy) == "<LinearRegression of 2000 features, noise 1>"
    assert toy.jax().draw(0).shape == (2001,)


# -- (1) diagrams are the recursion's Taylor coefficients -------------------------------------------------------


@pytest.mark.parametrize(("spectrum", "noise", "start"), SETTINGS)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("rule", [None, HEAVY])
def test_diagrams_are_the_recursion_order_by_order(
    spectrum: Any, noise: Any, start: Any, batch: int, rule: Any
) -> None:
    toy = linear_regression(spectrum, noise, start)
    order = 4 if rule is None else 3
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=batch, E=1), order, update=rule)
    mean = ts.derive(ts.Displacement(), ts.SGD(B=batch, E=1), order, update=rule)
    for updates in range(1, order + 1):
        found = toy.moments(eta, updates, batch, rule)
        assert formula.evaluate(toy, at=toy.start, N=batch * updates) == cut(found.test_loss, order)
        moved = mean.evaluate(toy, at=toy.start, N=batch * updates)
        assert moved == found.displacement.applyfunc(lambda entry: cut(entry, order))


@pytest.mark.parametrize("rule", [None, HEAVY])
def test_diagrams_with_symbols_for_the_batch_and_the_spectrum(rule: Any) -> None:
    a, b, v = symbols("a b v", positive=True)
    toy = linear_regression([a, b], v)
    formula = ts.derive(ts.TestLoss(), ts.SGD(E=1), 2, update=rule)
    found = toy.moments(eta, 2, B, rule).test_loss
    for batch in (1, 2, 5):
        assert (formula.evaluate(toy, at=toy.start, T=2, B=batch) - cut(found, 2).subs(B, batch)).expand() == 0


@pytest.mark.parametrize(("spectrum", "noise", "start"), SETTINGS)
@pytest.mark.parametrize("rule", [None, HEAVY])
def test_second_moments_of_the_displacement(spectrum: Any, noise: Any, start: Any, rule: Any) -> None:
    toy, order = linear_regression(spectrum, noise, start), 3
    both = ts.SecondMoment(ts.Displacement(), ts.Displacement())
    for batch in (1, 2):
        formula = ts.derive(both, ts.SGD(B=batch, E=1), order, update=rule)
        for updates in range(1, order + 1):
            found = toy.moments(eta, updates, batch, rule, full=True).displacement_second_moment
            expected = formula.evaluate(toy, at=toy.start, N=batch * updates)
            assert found.applyfunc(lambda entry: cut(entry, order)) == Matrix(expected)


# -- (2) descent on atoms with the moments of normal data ----------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_perturbation_on_matching_atoms(rule: Any) -> None:
    """Rules with memory and decay too, to order 4, by the package's own oracle."""
    widths, label, start = [2], 1, [Rational(3, 2)]
    toy = linear_regression(widths_as_variances(widths), Rational(1, 3), start)
    for batch, updates in ((1, 2), (2, 1), (1, 3)):
        spacetime = ts.SGD(N=batch * updates, B=batch, E=1)
        found = ts.perturb(ts.TestLoss(), spacetime, finite(widths, label), start, 4, update=rule)
        assert found == cut(toy.moments(eta, updates, batch, rule).test_loss, 4)


def test_perturbation_with_rates() -> None:
    widths, start = [2], [Rational(3, 2)]
    toy = linear_regression(widths_as_variances(widths), Rational(1, 3), start)
    for rule in (ts.Descent(rates=[1, Rational(1, 2)]), ts.HeavyBall(Rational(1, 3), rates=[1, 3], convention="torch")):
        found = ts.perturb(ts.TestLoss(), ts.SGD(N=2, B=1, E=1), finite(widths, 1), start, 4, update=rule)
        assert found == cut(toy.moments(eta, 2, 1, rule).test_loss, 4)
        assert toy.curve(0.05, [0, 2], 1, rule).test_loss[1] == pytest.approx(
            float(toy.moments(0.05, 2, 1, rule).test_loss), rel=1e-6
        )


def runs(widths: list[Fraction], batch: int, updates: int) -> Any:
    """All training sets of atoms with their probabilities: arrays of shape (updates, batch, features + 1)."""
    for atoms in product(ATOMS, repeat=updates * batch * len(widths)):
        weight = Fraction(1)
        for _, share in atoms:
            weight *= share
        signs = np.array([sign for sign, _ in atoms], object).reshape(updates, batch, len(widths))
        yield weight, signs * np.array(widths, object)


def brute_force(
    widths: list[Fraction], start: list[Fraction], rate: Fraction, batch: int, updates: int, beta: Fraction
) -> tuple[np.ndarray, np.ndarray]:
    """E θ and E θθᵀ by descent as it is written, on every training set, at one learning rate."""
    mean, second = 0, 0
    for weight, data in runs(widths, batch, updates):
        theta, v = np.array(start, object), np.array([Fraction(0)] * len(start), object)
        for rows in data:
            features, labels = rows[:, :-1], rows[:, -1]
            v = beta * v - rate * ((features @ theta - labels) @ features) / batch
            theta = theta + v
        mean, second = mean + weight * theta, second + weight * np.outer(theta, theta)
    return mean, second  # type: ignore[return-value]


rationals = st.fractions(Fraction(1, 3), 2, max_denominator=3)


@settings(max_examples=25)
@given(
    st.sampled_from([(1, 1, 1), (1, 2, 1), (1, 1, 2), (2, 1, 1), (2, 2, 1), (2, 1, 2), (1, 1, 3), (1, 3, 1)]),
    st.lists(rationals, min_size=3, max_size=3),
    st.lists(rationals, min_size=2, max_size=2),
    st.fractions(Fraction(-1, 2), 1, max_denominator=4),
    st.sampled_from([Fraction(0), Fraction(1, 2), Fraction(-1, 3)]),
)
def test_the_recursion_is_exact_at_every_rate(
    sizes: tuple[int, int, int], widths: list[Fraction], start: list[Fraction], rate: Fraction, beta: Fraction
) -> None:
    dimension, batch, updates = sizes
    mean, second = brute_force([*widths[:dimension], widths[-1]], start[:dimension], rate, batch, updates, beta)
    *spectrum, noise = widths_as_variances([*widths[:dimension], widths[-1]])
    toy = linear_regression(spectrum, noise, start[:dimension])
    found = toy.moments(rate, updates, batch, None if beta == 0 else ts.HeavyBall(beta), full=True)
    assert list(found.mean) == [Rational(entry) for entry in mean]
    assert found.full == Matrix(second.tolist())
    assert found.second == tuple(found.full[i, i] for i in range(dimension))
    assert found.test_loss == (sum(a * m for a, m in zip(spectrum, found.second, strict=True)) + noise) / 2


# -- (3) which diagrams: ladders --------------------------------------------------------------------------------


def in_batches(expression: Any, degree: int, batch: Any) -> Any:
    """The Taylor polynomial in 1/B of an expression that is a polynomial in it, at a batch size."""
    share = Symbol("share")
    polynomial = Poly(expression.subs(B, 1 / share).expand(), share)
    return sum(polynomial.coeff_monomial(share**k) / Integer(batch) ** k for k in range(degree + 1))


@pytest.mark.parametrize("rule", [None, HEAVY])
def test_a_resummed_formula_sums_ladders_by_their_rungs(rule: Any) -> None:
    """At the minimum, order 2k has all ladders of at most k rungs at all orders of η, and 2k + 1 has no more."""
    rate, updates, batch = Rational(1, 3), 4, 3
    toy = linear_regression([1, Rational(1, 2)], 2, start=[0, 0])
    whole = toy.moments(rate, updates, B, rule).test_loss
    for order, rungs in ((0, 0), (1, 0), (2, 1), (3, 1), (4, 2)):
        formula = ts.derive(ts.TestLoss(), ts.SGD(E=1), order, resum="discrete", update=rule).assume("minimum")
        found = formula.evaluate(toy, at=toy.start, eta=rate, T=updates, B=batch)
        assert found == in_batches(whole, rungs, batch)
        assert found != whole.subs(B, batch)
    assert in_batches(whole, updates, batch) == whole.subs(B, batch), "T updates have at most T rungs"


def test_away_from_the_minimum_loose_ends_are_nodes_too() -> None:
    """Order 2k + 2 has all ladders of k rungs; of one more rung only those that end there, with C at θ_0."""
    rate, updates, share = Rational(1, 3), 3, Symbol("share")
    toy = linear_regression([1], 2, start=[1])

    def by_rungs(at: Callable[[int], Any]) -> list[Any]:
        """The coefficients of a polynomial in 1/B, from as many values as it may have."""
        points = [(Rational(1, batch), at(batch)) for batch in range(1, updates + 2)]
        return Poly(interpolate(points, share), share).all_coeffs()[::-1]

    whole = by_rungs(lambda batch: toy.moments(rate, updates, batch).test_loss)
    assert len(whole) == updates + 1
    for order in (0, 1, 2, 3, 4):
        formula = ts.derive(ts.TestLoss(), ts.SGD(E=1), order, resum="discrete")
        found = by_rungs(
            lambda batch, formula=formula: formula.evaluate(toy, at=toy.start, eta=rate, T=updates, B=batch)
        )
        complete = order // 2  # rungs below this many are all there
        assert len(found) == complete + 1
        assert found[:complete] == whole[:complete]
        assert found[complete] != whole[complete]
        if order == 2:  # C = sH + HθθᵀH = 4
            assert found[1] == sum(rate**2 * 4 * (1 - rate) ** (2 * t) for t in range(updates)) / 2


@pytest.mark.parametrize("order", [2, 3])
def test_a_resummed_formula_is_the_recursion_to_its_order(order: int) -> None:
    toy = linear_regression([2, 1], 1)
    formula = ts.derive(ts.TestLoss(), ts.SGD(E=1), order, resum="discrete")
    for updates, batch in ((2, 1), (3, 2)):
        found = formula.evaluate(toy, at=toy.start, T=updates, B=batch)
        exact = toy.moments(eta, updates, batch).test_loss
        assert cut(found, order) == cut(exact, order)
        assert cut(found, order + 1) != cut(exact, order + 1)


# -- (4) at rest -----------------------------------------------------------------------------------------------


def test_at_rest_in_closed_form() -> None:
    a, b, v = symbols("a b v", positive=True)
    toy = linear_regression([a, b], v)
    found = toy.stationary(eta, B)
    beta = Symbol("beta", positive=True)
    heavy = toy.stationary(eta, B, ts.HeavyBall(beta))
    for state, held in (
        (found, lambda rate: 2 - eta * rate * (1 + 1 / B)),
        (heavy, lambda rate: 2 * (1 - beta) - eta * rate * ((1 - beta) / (1 + beta) + 1 / B)),
    ):
        kappa = sum(eta * rate / held(rate) for rate in (a, b)) / B
        level = v / (1 - kappa)
        for rate, second in zip((a, b), state.second, strict=True):
            assert cancel(second - eta * level / (B * held(rate))) == 0
        assert cancel(state.test_loss - level / 2) == 0
        assert state.updates == oo and list(state.mean) == [0, 0]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("wide", [False, True])
def test_the_state_at_rest_stays(rule: Any, wide: bool) -> None:
    """And a run comes close to it, faster than any power."""
    toy = linear_regression([2, Rational(1, 2)], Rational(1, 2), start=[1, -2])
    recursion = toy.in_many_dimensions([1, 3]) if wide else toy.recursion
    rate, batch = Rational(1, 8), 3
    rest = recursion.stationary(rate, batch, rule, full=not wide)
    run = recursion.moments(rate, 400, batch, rule, full=not wide)
    # the slowest direction forgets a factor 1 − 1/16 of its start with every update, the mean not squared
    assert abs(float(rest.test_loss - run.test_loss)) < 1e-20
    assert max(abs(float(entry)) for entry in rest.mean - run.mean) < 1e-10
    assert max(abs(float(one - other)) for one, other in zip(rest.second, run.second, strict=True)) < 1e-20
    if not wide:
        assert rest.full is not None and run.full is not None
        assert max(abs(float(entry)) for entry in rest.full - run.full) < 1e-20


def spectral_radius(spectrum: list[Any], rate: Any, batch: int) -> float:
    values = np.array([float(entry) for entry in spectrum])
    step = float(rate) * values
    matrix = np.diag(1 - 2 * step + step**2 * (1 + 1 / batch)) + np.outer(float(rate) ** 2 * values / batch, values)
    return float(np.abs(np.linalg.eigvals(matrix)).max())


@settings(max_examples=25)
@given(
    st.lists(st.fractions(Fraction(1, 10), 2, max_denominator=10), min_size=1, max_size=4),
    st.fractions(Fraction(1, 20), 2, max_denominator=20),
    st.integers(1, 4),
)
def test_the_condition_is_that_of_the_spectral_radius(spectrum: list[Any], rate: Any, batch: int) -> None:
    radius = spectral_radius(spectrum, rate, batch)
    assume(abs(radius - 1) > 1e-9)
    toy = linear_regression(spectrum, 1)
    if radius < 1:
        assert toy.stationary(rate, batch).excess > 0
    else:
        with pytest.raises(ValueError, match=r"the mean does not converge|grows for ever"):
            toy.stationary(rate, batch)


def doubled_radius(spectrum: list[Any], rate: Any, batch: int, beta: Any) -> float:
    """The spectral radius of the map of (E θ², E θv, E v²) of every direction, written out by hand."""
    n, r, b = len(spectrum), float(rate), float(beta)
    matrix = np.zeros((3 * n, 3 * n))
    for i, entry in enumerate(spectrum):
        a = float(entry)
        velocity = np.zeros(3 * n)  # E v′² = β² E v² − 2βηλ E θv + η² E g²
        velocity[3 * i : 3 * i + 3] = [r**2 * a**2 * (1 + 1 / batch), -2 * b * r * a, b**2]
        velocity[::3] += r**2 * a / batch * np.array([float(other) for other in spectrum])
        cross = np.zeros(3 * n)
        cross[3 * i : 3 * i + 2] = [-r * a, b]
        square = np.zeros(3 * n)
        square[3 * i] = 1
        matrix[3 * i : 3 * i + 3] = [square + 2 * cross + velocity, cross + velocity, velocity]
    return float(np.abs(np.linalg.eigvals(matrix)).max())


@settings(max_examples=25)
@given(
    st.lists(st.fractions(Fraction(1, 10), 2, max_denominator=10), min_size=1, max_size=3),
    st.fractions(Fraction(1, 20), 3, max_denominator=20),
    st.integers(1, 6),
    st.fractions(Fraction(-9, 10), Fraction(9, 10), max_denominator=10),
)
def test_the_condition_with_momentum(spectrum: list[Any], rate: Any, batch: int, beta: Any) -> None:
    assume(beta != 0)
    radius = doubled_radius(spectrum, rate, batch, beta)
    assume(abs(radius - 1) > 1e-7)
    toy = linear_regression(spectrum, 1)
    if radius < 1:
        assert toy.stationary(rate, batch, ts.HeavyBall(beta)).excess > 0
    else:
        with pytest.raises(ValueError, match=r"the mean does not converge|grows for ever"):
            toy.stationary(rate, batch, ts.HeavyBall(beta))


@pytest.mark.parametrize(
    ("rate", "batch", "rule", "message"),
    [
        (2, 1, None, r"eta=2: along spectrum\[0\]=1 the mean does not converge; .* 0 < eta\*spectrum\[i\] < 2"),
        (0, 1, None, r"eta=0: along spectrum\[0\]=1 the mean does not converge"),
        (-1, 1, None, r"eta=-1: along spectrum\[0\]=1 the mean does not converge"),
        (0.9, 1, None, r"eta=9/10, B=1: through the test loss all directions' noise is fed back .*-fold"),
        (1, 1, None, r"eta=1, B=1: along spectrum\[0\]=1 a direction's noise is fed back 1-fold and grows for ever"),
        (0.1, 1, ts.HeavyBall(1), r"the mean does not converge; every eigenvalue of its update must be less than 1"),
        (0.1, 1, ts.HeavyBall(0.99), r"noise is fed back"),
        (0.1, 1, ts.Descent(rates=[1]), r"has rates; only at a constant rate, rates=None"),
        (0.1, 1, ts.Descent(rates=ts.Cosine()), r"has rates; only at a constant rate, rates=None"),
    ],
)
def test_what_does_not_come_to_rest(rate: Any, batch: int, rule: Any, message: str) -> None:
    toy = linear_regression([1, Rational(1, 2)], 1)
    with pytest.raises(ValueError, match=message):
        toy.stationary(rate, batch, rule)


def test_the_resummed_limit_is_the_state_at_rest() -> None:
    """T → ∞ of the resummed formula at the minimum, against the closed form, in powers of 1/B."""
    toy = linear_regression([1, Rational(1, 2)], 2, start=[0, 0])
    rest = toy.stationary(Rational(1, 3), B).test_loss
    share = Symbol("share")
    powers = rest.subs(B, 1 / share).series(share, 0, 2).removeO()
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=7, E=1), 2, resum="discrete").assume("minimum").limit()
    found = formula.evaluate(toy, at=toy.start, eta=Rational(1, 3))
    assert found == powers.subs(share, Rational(1, 7))


# -- (5), (6) many dimensions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [None, HEAVY])
def test_many_copies_come_close_to_the_limit(rule: Any) -> None:
    spectrum, start, rate, updates, batch = [1, Rational(1, 2)], [1, 2], Rational(1, 2), 6, 2
    toy = linear_regression(spectrum, 1, start)
    limit = toy.in_many_dimensions().moments(rate, updates, batch, rule)
    rest = toy.in_many_dimensions().stationary(rate, batch, rule)
    errors = []
    for copies in (4, 16, 64):
        many = linear_regression(
            [entry for entry in spectrum for _ in range(copies)],
            1,
            [entry / sqrt(Integer(copies)) for entry in start for _ in range(copies)],
        )
        found = many.moments(rate, updates, copies * batch, rule)
        assert all(
            sum(found.second[i * copies : (i + 1) * copies]) - limit.second[i] != 0 for i in range(len(spectrum))
        )
        at_rest = many.stationary(rate, copies * batch, rule)
        errors.append([float(found.test_loss - limit.test_loss), float(at_rest.test_loss - rest.test_loss)])
    for before, after in zip(errors, errors[1:], strict=False):
        assert np.array(before) / np.array(after) == pytest.approx([4, 4], rel=0.25)


def test_weights_are_how_many_copies_there_are() -> None:
    """w = (1, 3) for [a, b] is the spectrum [a, b, b, b], as far as tr(HM) goes."""
    few = linear_regression([2, 1], 1, [1, 3]).in_many_dimensions([1, 3])
    many = linear_regression([2, 1, 1, 1], 1, [1, 3, 0, 0]).in_many_dimensions()
    for updates in (0, 1, 5):
        assert few.moments(0.1, updates, 2).test_loss == many.moments(0.1, updates, 2).test_loss
    assert few.stationary(0.1, 2).test_loss == many.stationary(0.1, 2).test_loss


def test_the_limit_is_a_renewal_equation() -> None:
    spectrum, start, weights = [Rational(3, 2), Rational(1, 2), 1], [1, 2, -1], [1, 2, Rational(1, 2)]
    rate, batch, noise, updates = Rational(1, 4), Rational(3, 2), Rational(1, 5), 8
    wide = linear_regression(spectrum, noise, start).in_many_dimensions(weights)

    def kernel(t: int) -> Any:
        terms = (w * a**2 * (1 - rate * a) ** (2 * t) for w, a in zip(weights, spectrum, strict=True))
        return rate**2 / batch * sum(terms)

    levels: list[Any] = []
    for t in range(updates):
        forcing = sum(a * (1 - rate * a) ** (2 * t) * x**2 for a, x in zip(spectrum, start, strict=True))
        levels.append(forcing + sum(kernel(t - 1 - u) * (levels[u] + noise) for u in range(t)))
    assert [2 * wide.moments(rate, t, batch).excess for t in range(updates)] == levels


# -- the same in JAX -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("wide", [False, True])
def test_curves_are_the_exact_moments(rule: Any, wide: bool, x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = linear_regression([1, Rational(1, 2), Rational(1, 7)], Rational(1, 2), start=[1, -2, 3])
    recursion = toy.in_many_dimensions([1, 2, 3]) if wide else toy.recursion
    times = [7, 0, 40, 1, 7]
    exact = [recursion.moments(Rational(1, 5), time, 3, rule) for time in times]
    for squares in (True, False):
        monkeypatch.setattr(moment_curves, "_squares_are_cheaper", lambda *_, squares=squares: squares)
        found = recursion.curve(0.2, times, 3, rule)
        assert found.times.tolist() == times
        np.testing.assert_allclose(found.test_loss, [float(one.test_loss) for one in exact], rtol=1e-12)
        np.testing.assert_allclose(found.mean, [[float(x) for x in one.mean] for one in exact], rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(found.second, [[float(x) for x in one.second] for one in exact], rtol=1e-11)


def test_curves_keep_their_digits_over_a_million_updates(x64: None) -> None:
    """One direction in closed form, M_T = M_∞ + a^T (M_0 − M_∞), with 60 digits."""
    rate, curvature, updates = 1e-3, 1e-6, 10**6
    with mpmath.workdps(60):
        step = mpmath.mpf("1e-3") * mpmath.mpf("1e-6")
        kept = 1 - 2 * step + 3 * step**2  # 1 + 1/B = 2, and 1/B more through s
        rest = mpmath.mpf("1e-3") ** 2 * mpmath.mpf("1e-6") / (1 - kept)
        second = rest + kept**updates * (1 - rest)
        mean = (1 - step) ** updates
        expected = [float(mean), float(second)]
    assert moment_curves._squares_are_cheaper(1, 1, 1, updates, 1)
    found = linear_regression([curvature], 1).curve(rate, updates, 1)
    np.testing.assert_allclose([found.mean[0, 0], found.second[0, 0]], expected, rtol=1e-13)


def test_the_cheaper_way_is_taken() -> None:
    cheaper = moment_curves._squares_are_cheaper
    assert cheaper(1, 1, 10, 10**6, 1) and not cheaper(1, 1, 1000, 10, 1)
    assert not cheaper(1, 1, 5000, 100, 1) and not cheaper(1, 1, 10_000, 10**6, 1)


def test_curves_are_differentiable_in_the_rate(x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    toy = linear_regression([2, 1], 1)
    slope = toy.moments(eta, 9, 2).test_loss.diff(eta).subs(eta, Rational(1, 10))
    for squares in (True, False):
        monkeypatch.setattr(moment_curves, "_squares_are_cheaper", lambda *_, squares=squares: squares)
        found = jax.jacfwd(lambda rate: toy.curve(rate, 9, 2).test_loss[0])(0.1)
        assert float(found) == pytest.approx(float(slope), rel=1e-10)
    many = jax.vmap(lambda rate: toy.curve(rate, [0, 9], 2).test_loss)(jax.numpy.array([0.1, 0.2]))
    assert many.shape == (2, 2)
    assert float(many[1, 1]) == pytest.approx(float(toy.moments(0.2, 9, 2).test_loss), rel=1e-10)


@pytest.mark.parametrize("rule", [None, HEAVY])
def test_simulated_runs_have_these_moments(rule: Any) -> None:
    toy = linear_regression([2, 1, Rational(1, 2)], Rational(1, 2), start=[1, 0, -2])
    batch, updates, rate = 2, 8, Rational(1, 8)
    run = ts.simulate(
        toy, toy.array(toy.start), ts.SGD(N=batch * updates, B=batch, E=1), [float(rate)], 20_000, 5, update=rule,
        progress=False,
    )  # fmt: skip
    found = run.statistic(ts.TestLoss())
    score = (float(found.mean[0]) - float(toy.moments(rate, updates, batch, rule).test_loss)) / float(
        found.standard_error[0]
    )
    assert abs(score) < 4


def test_measured_values_predict_the_expansion() -> None:
    """The JAX side in `measure` and `predict`, on the exact evaluation of the same formula."""
    toy = linear_regression([2, 1], Rational(1, 2))
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=2, E=1), 2)
    found = ts.predict(formula, toy, toy.array(toy.start), eta=[0.05], key=1, samples=20_000, N=6, progress=False)
    exact = float(formula.evaluate(toy, at=toy.start, N=6).subs(eta, Rational(1, 20)))
    assert abs(float(found.mean[0]) - exact) < 4 * float(found.standard_error[0])


def test_the_jax_side_is_the_expression() -> None:
    import jax
    from sympy import lambdify

    toy = linear_regression([2, Rational(1, 3)], Rational(1, 2))
    landscape, rng = toy.jax(), np.random.default_rng(3)
    reference = lambdify([*toy.variables, *toy.noise], toy.sample_loss)
    for _ in range(4):
        theta, x = rng.normal(size=2), rng.normal(size=3)
        assert float(landscape.loss(theta, x)) == pytest.approx(reference(*theta, *x), rel=1e-5)
        assert float(toy.population_loss(theta)) == pytest.approx(
            float(toy.loss.subs(dict(zip(toy.variables, theta, strict=True)))), rel=1e-5
        )
    draws = np.asarray(landscape.draw(jax.random.key(0), (40_000,)))
    assert draws.shape == (40_000, 3)
    variances = np.array([2, 1 / 3, 1 / 2])
    assert np.abs((np.mean(draws**2, 0) - variances) / (variances * np.sqrt(2 / 40_000))).max() < 4
    assert np.abs(np.corrcoef(draws.T) - np.eye(3)).max() < 4 / np.sqrt(40_000)
    assert toy.jax() is linear_regression([2, Rational(1, 3)], Rational(1, 2)).as_landscape()


# -- what is refused -----------------------------------------------------------------------------------------------

TOY = linear_regression([2, 1], 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: linear_regression([], 1), ValueError, r"spectrum=\[\] is empty"),
        (lambda: linear_regression(2, 1), TypeError, "spectrum=2 must be a sequence"),
        (lambda: linear_regression([1, 0], 1), ValueError, r"spectrum\[1\]=0 must be positive"),
        (lambda: linear_regression([1, "a"], 1), TypeError, r"spectrum\[1\]='a' must be a number"),
        (lambda: linear_regression([1], -1), ValueError, "noise=-1 must be at least 0"),
        (lambda: linear_regression([Symbol("y")], 1), ValueError, r"spectrum\[0\]=y must depend on neither"),
        (lambda: linear_regression([1] * 10_001, 1), ValueError, "has 10001 entries; it must have at most 10000"),
        (lambda: linear_regression([1, 2], 1, [1]), ValueError, "1 entries; give 2"),
        (lambda: TOY.moments(0.1, -1), ValueError, "T=-1 must be an integer of at least 0"),
        (lambda: TOY.moments(0.1, 10**6), ValueError, r"T=1000000 is too many updates for exact numbers"),
        (lambda: TOY.moments(eta, 2000), ValueError, "T=2000 is too many updates .* at most 1000"),
        (lambda: TOY.moments("a", 1), TypeError, "eta='a' must be a number"),
        (lambda: TOY.moments(1j, 1), (TypeError, ValueError), "eta=1j must be"),
        (lambda: TOY.moments(0.1, 1, 0), ValueError, "B=0 must be an integer of at least 1"),
        (lambda: TOY.moments(0.1, 1, 1.5), ValueError, "B=1.5 must be an integer of at least 1"),
        (lambda: TOY.in_many_dimensions().moments(0.1, 1, 0), ValueError, "B=0 must be positive"),
        (lambda: TOY.moments(0.1, 1, full="yes"), TypeError, "full='yes' must be True or False"),
        (lambda: TOY.in_many_dimensions().moments(0.1, 1, full=True), NotImplementedError, "full=True in many"),
        (lambda: TOY.moments(0.1, 1).displacement_second_moment, ValueError, "full=False left out"),
        (lambda: TOY.moments(0.1, 1, update="a"), TypeError, "update='a' must be an update rule"),
        (lambda: TOY.moments(0.1, 1, update=ts.SecondOrder(1)), NotImplementedError, "is not linear in the batch's"),
        (lambda: TOY.moments(0.1, 1, update=ts.ImplicitStep(1)), NotImplementedError, "is not linear in the batch's"),
        (lambda: TOY.moments(0.1, 1, update=ts.GDC(1)), NotImplementedError, "is not linear in the batch's"),
        (
            lambda: TOY.moments(0.1, 1, update=ts.Descent(metric=[[2, 0], [0, 1]])),
            NotImplementedError,
            "has a metric, which mixes",
        ),
        (lambda: TOY.moments(0.1, 3, update=ts.Descent(rates=[1])), ValueError, "has 1 rates for T=3 updates"),
        (lambda: TOY.in_many_dimensions([1]), ValueError, "has 1 entries; give 2"),
        (lambda: TOY.in_many_dimensions([1, 0]), ValueError, r"weights\[1\]=0 must be positive"),
        (lambda: TOY.curve(0.1, -1), ValueError, r"times\[0\]=-1 must be an integer of at least 0"),
        (lambda: TOY.curve(0.1, []), ValueError, r"times=\[\] is empty"),
        (lambda: TOY.curve(0.1, 10**10), ValueError, "is more updates than are counted"),
        (lambda: TOY.curve(eta, 1), TypeError, "eta=eta must be a number"),
        (lambda: TOY.curve(0.1, 1, B), ValueError, "B=B must be a real number in JAX"),
        (lambda: linear_regression([Symbol("a")], 1).curve(0.1, 1), ValueError, r"spectrum\[0\]=a must be a real"),
        (lambda: linear_regression([Symbol("a")], 1).jax(), ValueError, "without a number: a"),
    ],
)
def test_what_is_refused(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
