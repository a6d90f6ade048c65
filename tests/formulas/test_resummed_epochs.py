r"""Resummed formulas of several epochs, of drawn orders and of drawn batches.

Identities:
    (1) with symbols for N, B and E: through order d they agree with perturb on random finite landscapes, for every
        linear rule; with numbers they are what the sum over cells is
    (2) on quadratics with additive noise they are exact in η
    (3) E → ∞ there, in one order: θ = θ_0 − η (1 − K^n)^{−1} Σ_b K^{n−1−b} g_b, with g_b the mean of batch b
    (4) along a valley the drift is the growth of the displacement in late epochs
    (5) with reshuffling and with replacement, of numbers and with symbols for sizes: (1) and (2), and covariances, to
        which trees that share no part add from order 4 on
"""

from __future__ import annotations

from typing import Any

import pytest
import sympy
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from orders_of_eta import through
from sympy import Matrix, Rational, eye

import taylorsgd as ts
from taylorsgd.timesums.two_clocks import EpochSum

x, y = sympy.symbols("x y")
SINGLE = [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement()]
PAIRS = [
    ts.Variance(ts.TestLoss()),
    ts.Covariance(ts.TrainLoss(), ts.Displacement()),
    ts.SecondMoment(ts.Displacement(), ts.Displacement()),
]
SIZES = [(2, 1, 2), (2, 1, 3), (4, 2, 2), (3, 1, 2), (2, 2, 2), (1, 1, 3)]
RULES = [
    ts.HeavyBall(Rational(1, 3)),
    ts.Nesterov(Rational(1, 2), convention="sutskever"),
    ts.Descent(decay=Rational(1, 5)),
]
DRAWN = [
    ts.SGD(N=2, B=1, E=2, shuffle=True),
    ts.SGD(N=3, B=1, E=2, shuffle=True),
    ts.SGD(N=4, B=2, E=2, shuffle=True),
    ts.Replacement(N=2, B=1, T=3),
    ts.Replacement(N=2, B=2, T=2),
]
ALL = ("test loss", "training loss", "gap", "displacement", "variance")


@pytest.mark.shows("SGD", ALL, resum="discrete")
@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 2, 25), (2, 2, 2), (1, 3, 2)])
def test_symbols_for_the_sizes(landscapes, some_of, dimension: int, order: int, examples: int) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(dimension, order + 1))
        n, b, e = data.draw(st.sampled_from(SIZES))
        update = data.draw(st.sampled_from([None, None, *RULES]))
        for observable in [*some_of(data, SINGLE, examples), data.draw(st.sampled_from(PAIRS))]:
            degree = 2 if observable in PAIRS else order
            formula = ts.derive(observable, ts.SGD(), degree, resum="discrete", update=update)
            truth = ts.perturb(observable, ts.SGD(N=n, B=b, E=e), landscape, start, degree, update=update)
            assert through(formula.evaluate(landscape, start, N=n, B=b, E=e), degree) == truth

    run()


CUBIC = ts.FiniteLandscape(
    [x**3 / 3 - 2 * x + x**2 + x * y + y**2, 2 * x**2 + x + y**2 / 2 - x * y**2],
    [Rational(1, 3), Rational(2, 3)],
    [x, y],
)
AT = [Rational(1, 2), Rational(1, 3)]


@pytest.mark.parametrize("update", [None, *RULES], ids=repr)
@pytest.mark.parametrize("observable", [ts.TrainLoss(), ts.Variance(ts.TestLoss())], ids=str)
def test_two_clocks_or_cell_by_cell(observable: Any, update: Any) -> None:
    """All of a value, not only its first orders in η."""
    formula = ts.derive(observable, ts.SGD(), 2, resum="discrete", update=update)
    assert any(isinstance(getattr(value, "times", None), EpochSum) for value in formula.values)
    for n, b, e in SIZES[:4]:
        cells = ts.derive(observable, ts.SGD(N=n, B=b, E=e), 2, resum="discrete", update=update)
        found = formula.evaluate(CUBIC, AT, eta=Rational(1, 7), N=n, B=b, E=e)
        assert found == cells.evaluate(CUBIC, AT, eta=Rational(1, 7))


HESSIAN = Matrix([[2, Rational(1, 2)], [Rational(1, 2), 1]])
NOISES = [Matrix([1, 2]), Matrix([-1, 1]), Matrix([0, -3])]
QUADRATIC = ts.FiniteLandscape(
    [(Matrix([x, y]).T * HESSIAN * Matrix([x, y]))[0] / 2 + noise.dot(Matrix([x, y])) for noise in NOISES],
    [Rational(1, 3)] * 3,
    [x, y],
)


@pytest.mark.shows("shuffle", ALL[:4], resum="discrete")
@pytest.mark.shows("Replacement", ALL[:4], resum="discrete")
@pytest.mark.parametrize("spacetime", DRAWN, ids=repr)
@pytest.mark.parametrize(
    ("observable", "order"), [*((o, 2) for o in SINGLE[:3]), (SINGLE[3], 1), (PAIRS[2], 2)], ids=str
)
def test_exact_on_quadratics_with_additive_noise(observable: Any, order: int, spacetime: Any) -> None:
    degree = 2 * int(spacetime.sizes["T"])
    formula = ts.derive(observable, spacetime, order, resum="discrete")
    truth = ts.perturb(observable, spacetime, QUADRATIC, [1, -2], degree)
    assert through(formula.evaluate(QUADRATIC, [1, -2]), degree + 2) == truth


@pytest.mark.shows("shuffle", ALL, resum="discrete")
@pytest.mark.shows("Replacement", ALL, resum="discrete")
@pytest.mark.parametrize(("order", "examples"), [(2, 25), (3, 3)])
def test_drawn_orders_and_batches(landscapes, some_of, order: int, examples: int) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(1, order + 1, atoms=2))
        spacetime = data.draw(st.sampled_from(DRAWN))
        update = data.draw(st.sampled_from([None, None, *RULES]))
        for observable in [*some_of(data, SINGLE, examples), data.draw(st.sampled_from(PAIRS))]:
            truth = ts.perturb(observable, spacetime, landscape, start, order, update=update)
            for symbolic in (False, True):
                where, sizes = in_symbols(spacetime) if symbolic else (spacetime, {})
                formula = ts.derive(observable, where, order, resum="discrete", update=update)
                assert through(formula.evaluate(landscape, start, **sizes), order) == truth

    run()


def in_symbols(spacetime: Any) -> tuple[Any, dict[str, Any]]:
    """The same dynamics with symbols for its sizes, and their values."""
    names = ("N", "B", "T") if isinstance(spacetime, ts.Replacement) else ("N", "B", "E")
    free = evolve(spacetime, **{name: sympy.Symbol(name) for name in names})
    return free, {name: spacetime.sizes[name] for name in names}


@pytest.mark.parametrize("spacetime", [DRAWN[0], DRAWN[3]], ids=repr)
def test_trees_that_meet_in_two_rows(spacetime: Any) -> None:
    """Each tree has a tied pair: only that both rows coincide makes them correlated."""
    pair = ts.Covariance(ts.Displacement(), ts.Displacement())
    landscape = ts.FiniteLandscape(
        [x**3 / 3 - 2 * x + x**2, 2 * x**2 + x - x**3], [Rational(1, 3), Rational(2, 3)], [x]
    )
    free, sizes = in_symbols(spacetime)
    formula = ts.derive(pair, free, 4, resum="discrete")
    alone = [term for term in formula.terms if term.diagrams and all("|" in str(d) for d in term.diagrams)]
    assert any(not set(a) & set(b) for term in alone for d in term.diagrams for a, b in [letters(d)])
    assert through(formula.evaluate(landscape, [1], **sizes), 4) == ts.perturb(pair, spacetime, landscape, [1], 4)


def letters(diagram: Any) -> tuple[str, str]:
    """The parts that each tree has."""
    one, other = ("".join(filter(str.isalpha, tree)) for tree in str(diagram).split("|"))
    return one, other


def stationary(n: int, b: int, rate: Any) -> Matrix:
    """The covariance of θ after many epochs in one order, from (3)."""
    damped = eye(2) - rate * HESSIAN
    noise = sum((g * g.T for g in NOISES), start=sympy.zeros(2)) / 3
    settled = (eye(2) - damped**n).inv()
    total = sympy.zeros(2)
    for batch in range(n):
        passed = settled * damped ** (n - 1 - batch)
        total += passed * noise * passed.T
    return rate**2 * total / b


@pytest.mark.parametrize(("n", "b"), [(1, 1), (2, 1), (3, 2)])
def test_many_epochs(n: int, b: int) -> None:
    rate = Rational(1, 5)
    spread = ts.derive(ts.Variance(ts.Displacement()), ts.SGD(), 2, resum="discrete").assume("minimum").limit()
    covariance = stationary(n, b, rate)
    assert spread.evaluate(QUADRATIC, [0, 0], eta=rate, N=n * b, B=b) == covariance
    excess = ts.derive(ts.TestLoss(), ts.SGD(), 2, resum="discrete").assume("minimum").limit()
    assert excess.evaluate(QUADRATIC, [0, 0], eta=rate, N=n * b, B=b) == (HESSIAN * covariance).trace() / 2
    gap = ts.derive(ts.GeneralizationGap(), ts.SGD(), 1, resum="discrete").assume("minimum").limit()
    damped, noise = eye(2) - rate * HESSIAN, sum((g * g.T for g in NOISES), start=sympy.zeros(2)) / 3
    passed = sum((damped**k for k in range(n)), start=sympy.zeros(2))
    expected = rate * ((eye(2) - damped**n).inv() * passed * noise).trace() / (n * b)
    assert gap.evaluate(QUADRATIC, [0, 0], eta=rate, N=n * b, B=b) == expected


def test_one_epoch_after_another_is_not_new_data() -> None:
    """Few rows, many epochs: what is left is the training set's own minimum, θ = −H^{-1} ḡ, as η → 0."""
    excess = ts.derive(ts.TestLoss(), ts.SGD(B=1), 2, resum="discrete").assume("minimum").limit()
    noise = sum((g * g.T for g in NOISES), start=sympy.zeros(2)) / 3
    for rows in (2, 4):
        found = excess.evaluate(QUADRATIC, [0, 0], eta=Rational(1, 10**6), N=rows)
        assert float(found) == pytest.approx(float((noise * HESSIAN.inv()).trace() / 2 / rows), rel=1e-5)


def test_drift_along_a_valley() -> None:
    """y is flat, and C and ∇C drive it; in late epochs the displacement grows by n · drift in each."""
    losses = [x**2 / 2 + x * (1 + y), x**2 / 2 - x * (1 + y)]
    valley = ts.FiniteLandscape(losses, [Rational(1, 2)] * 2, [x, y])
    formula = ts.derive(ts.Displacement(), ts.SGD(), 2, resum="discrete").assume("minimum")
    drift = formula.drift()
    sizes: dict[str, Any] = {"eta": Rational(1, 4), "N": 3, "B": 1}
    found = drift.evaluate(valley, [0, 0], **sizes)
    late = [formula.evaluate(valley, [0, 0], E=epochs, **sizes) for epochs in (40, 41)]
    assert found[0] == 0 and found[1] != 0
    assert float(found[1]) == pytest.approx(float(late[1][1] - late[0][1]) / 3, rel=1e-6)


def test_it_is_written_read_and_typeset() -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(), 2, resum="discrete").assume("minimum")
    assert str(formula.limit()[2]).startswith(
        "eta/(2*B) Σ_μν C_μν H_μν (1 - (1 - eta*λ_μ)**(N/B)*(1 - eta*λ_ν)**(N/B))"
    )
    for each in (
        formula,
        formula.limit(),
        formula.subs(E=3),
        ts.derive(SINGLE[3], ts.SGD(), 2, resum="discrete").assume("minimum").drift(),
    ):
        again = ts.Formula.from_json(each.to_json())
        assert again == each and again.latex() == each.latex()
    assert formula.subs(N=4, B=2, E=3).evaluate(QUADRATIC, [0, 0]) == formula.evaluate(QUADRATIC, [0, 0], N=4, B=2, E=3)


def test_a_number_of_epochs_has_no_limit() -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(E=2), 2, resum="discrete").assume("minimum")
    with pytest.raises(NotImplementedError, match="the number of epochs is the number 2"):
        formula.limit()
