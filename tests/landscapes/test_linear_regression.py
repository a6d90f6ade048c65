"""Linear regression on normal features, whose first two moments obey an exact recursion.

Identities, with e = 1/B, s = tr(HM) and κ the noise that the test loss feeds back:

    (1) diagrams: `derive` on the landscape has the recursion's Taylor coefficients in η. The coefficient of η^k is a
        polynomial in T of degree at most k, so T = 0, …, k tell it apart from any other
    (2) atoms −a, 0, a with weights 1/6, 2/3, 1/6 have the moments of N(0, a²/3) through order 5, and second moments of
        θ_T hold at most the fourth of one point's data: descent on all training sets of such atoms has the same ones
    (3) resummed, at the minimum: order 2k is the recursion's Taylor polynomial of degree k in 1/B, for every η
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Integer, Matrix, Poly, Rational, Symbol, interpolate, symbols

import taylorsgd as ts
from taylorsgd.landscapes import LinearRegression, MomentRecursion, linear_regression
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


def widths_as_variances(widths: Any) -> list[Any]:
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


@pytest.mark.parametrize(
    "rule",
    [
        ts.Descent(rates=[1, Rational(1, 2)]),
        ts.HeavyBall(Rational(1, 3), rates=[1, 3], convention="torch"),
        ts.Descent(rates=ts.LinearWarmup(3)),
        ts.HeavyBall(Rational(1, 3), rates=ts.LinearWarmup(3)),
    ],
    ids=str,
)
def test_perturbation_with_rates(rule: Any) -> None:
    widths, start = [2], [Rational(3, 2)]
    toy = linear_regression(widths_as_variances(widths), Rational(1, 3), start)
    found = ts.perturb(ts.TestLoss(), ts.SGD(N=2, B=1, E=1), finite(widths, 1), start, 4, update=rule)
    assert found == cut(toy.moments(eta, 2, 1, rule).test_loss, 4)
    exact = float(toy.moments(0.05, 2, 1, rule).test_loss)
    assert float(toy.curve(0.05, [0, 2], 1, rule).test_loss[1]) == pytest.approx(exact, rel=1e-6)


def test_perturbation_in_two_dimensions() -> None:
    widths, start = [2, 1], [Rational(3, 2), -1]
    toy = linear_regression(widths_as_variances(widths), Rational(1, 3), start)
    for batch, updates in ((1, 2), (2, 1)):
        spacetime = ts.SGD(N=2, B=batch, E=1)
        found = ts.perturb(ts.TestLoss(), spacetime, finite(widths, 1), start, 3, update=HEAVY)
        assert found == cut(toy.moments(eta, updates, batch, HEAVY).test_loss, 3)


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
    assert found.full is not None and found.full == Matrix(second.tolist())
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


# -- the JAX side -----------------------------------------------------------------------------------------------


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
    reference = lambdify([*toy.variables, *toy.noises], toy.sample_loss)
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
