r"""Formulas of rules with memory, resummed: an edge carries powers of A − ηH b c.

Identities:
    (1) they agree with perturb(update=…) through order d on random finite landscapes
    (2) on quadratic landscapes with additive noise they are exact in T and η
    (3) T → ∞ there: the excess loss is ½ tr(HΣ), Σ the θ-block of the stationary covariance X of the pair
        (δ_t, δ_{t−1}), X = A X Aᵀ + η² diag(C, 0); in one dimension Σ_Δ R² = (1+β)/((1−β) ηλ (2(1+β) − ηλ))
    (4) β = 0 is plain descent
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from orders_of_eta import through
from sympy import Matrix, Rational

import taylorsgd as ts
from taylorsgd.formulas.memory_modes import modes_of
from taylorsgd.formulas.resummed_evaluation import Resummation
from taylorsgd.symbols import eta

x, y = sympy.symbols("x y")
BETAS = [Rational(n, 10) for n in (-5, 3, 9)]
UPDATES = [
    ts.HeavyBall(Rational(1, 2)),
    ts.HeavyBall(Rational(1, 3), convention="torch"),
    ts.Nesterov(Rational(1, 2), convention="sutskever"),
    ts.Descent(decay=Rational(1, 5)),
]
ALL = ("test loss", "training loss", "gap", "displacement", "variance")
SINGLE = [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement()]
PAIRS = [ts.Variance(ts.TestLoss()), ts.Covariance(ts.TrainLoss(), ts.Displacement())]


@pytest.mark.shows("HeavyBall", ALL, resum="discrete")
@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 2, 25), (1, 3, 2), (2, 2, 2)])
def test_agrees_with_perturbation(landscapes, some_of, dimension: int, order: int, examples: int) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        landscape, start = data.draw(landscapes(dimension, order + 1))
        update = ts.HeavyBall(data.draw(st.sampled_from(BETAS)))
        spacetime = data.draw(st.sampled_from([ts.SGD(N=4, B=2, E=1), ts.GD(N=2, T=3), ts.SGD(N=2, B=1, E=2)]))
        for observable in [*some_of(data, SINGLE, examples), data.draw(st.sampled_from(PAIRS))]:
            formula = ts.derive(observable, spacetime, order, resum="discrete", update=update)
            truth = ts.perturb(observable, spacetime, landscape, start, order, update=update)
            assert through(formula.evaluate(landscape, start), order) == truth

    run()


CUBIC = ts.FiniteLandscape(
    [x**4 - x + x**2, x**2 / 2 + x**3, x**3 - 2 * x], [Rational(1, 2), Rational(1, 3), Rational(1, 6)], [x]
)
THIRD, TENTH, RATES = Rational(1, 3), Rational(1, 10), [Rational(1, 2), 1, 2, Rational(1, 3)]
RULES = [
    pytest.param(ts.HeavyBall(THIRD, RATES, "torch"), 4, marks=pytest.mark.shows("rates", ALL, resum="discrete")),
    pytest.param(ts.HeavyBall(THIRD, decay=TENTH), 4, marks=pytest.mark.shows("decay", ALL, resum="discrete")),
    pytest.param(ts.Nesterov(THIRD), 4, marks=pytest.mark.shows("Nesterov", ALL, resum="discrete")),
    pytest.param(ts.Nesterov(THIRD, RATES, "sutskever"), 4),
    pytest.param(ts.Descent(ts.LinearWarmup(3)), 4, marks=pytest.mark.shows("warm-up", ALL, resum="discrete")),
    pytest.param(ts.Descent(RATES, decay=TENTH), 4),
    pytest.param(ts.HeavyBall(THIRD, ts.Cosine()), 4, marks=pytest.mark.shows("cosine", ALL, resum="discrete")),
]


@pytest.mark.parametrize(("update", "updates"), RULES)
def test_every_linear_rule_agrees_with_perturbation(update: Any, updates: int) -> None:
    """The kernel is all that a rule brings: nothing else is told that it is resummed."""
    for spacetime in (ts.SGD(N=2, B=1, E=2), ts.GD(N=2, T=updates), ts.SGD(N=4, B=1, E=1)):
        for observable in [*SINGLE, *PAIRS]:
            formula = ts.derive(observable, spacetime, 2, resum="discrete", update=update)
            truth = ts.perturb(observable, spacetime, CUBIC, 1, 2, update=update)
            assert through(formula.evaluate(CUBIC, 1) - truth, 2) == truth * 0, (spacetime, observable)


def quadratic(hessian: Matrix, noises: list[list[Any]]) -> ts.FiniteLandscape:
    theta = Matrix([x, y][: hessian.rows])
    losses = [
        (theta.T * hessian * theta)[0] / 2 + sum(n * t for n, t in zip(noise, theta, strict=True)) for noise in noises
    ]
    return ts.FiniteLandscape(losses, [Rational(1, len(noises))] * len(noises), list(theta))


CASES = [
    (Matrix([[2]]), [[1], [-1]]),
    (Matrix([[2, Rational(1, 2)], [Rational(1, 2), 1]]), [[1, 0], [0, 1], [-1, -1]]),
    (Matrix([[3, -1], [-1, 2]]), [[2, 1], [-2, -1], [1, -1], [-1, 1]]),
]


@pytest.mark.parametrize(("case", "beta"), [*((0, beta) for beta in BETAS), (1, BETAS[1])])
def test_exact_on_quadratics(beta: Any, case: int) -> None:
    landscape = quadratic(*CASES[case])
    start = [1, Rational(-1, 2)][: landscape.dimension]
    spacetime = ts.SGD(N=3, B=1, E=1)  # three updates of a quadratic loss: degree 6 in η
    for observable in SINGLE[:2]:
        formula = ts.derive(observable, spacetime, 2, resum="discrete", update=ts.HeavyBall(beta))
        truth = ts.perturb(observable, spacetime, landscape, start, 6, update=ts.HeavyBall(beta))
        assert sympy.expand(formula.evaluate(landscape, start) - truth) == 0


@pytest.mark.shows("HeavyBall", "test loss", resum="discrete")
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("case", range(len(CASES)))
def test_limit_is_the_lyapunov_equations(beta: Any, case: int) -> None:
    hessian, noises = CASES[case]
    landscape = quadratic(hessian, noises)
    size, rate = hessian.rows, Rational(1, 5)
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum="discrete", update=ts.HeavyBall(beta))
    found = formula.assume("minimum").limit().evaluate(landscape, [0] * size, eta=rate)
    covariance = sum((Matrix(n) * Matrix(n).T for n in noises), sympy.zeros(size)) / len(noises)
    one = sympy.eye(size)
    companion = Matrix(sympy.BlockMatrix([[(1 + beta) * one - rate * hessian, -beta * one], [one, 0 * one]]))
    source = sympy.diag(rate**2 * covariance, sympy.zeros(size))
    pair = sympy.eye(4 * size**2) - sympy.kronecker_product(companion, companion)
    stationary = pair.LUsolve(source.reshape(4 * size**2, 1)).reshape(2 * size, 2 * size)
    expected = (hessian * stationary[:size, :size]).trace() / 2
    assert found == sympy.nsimplify(expected)
    if size == 1:
        lam, c = hessian[0], covariance[0]
        sum_of_squares = (1 + beta) / ((1 - beta) * rate * lam * (2 * (1 + beta) - rate * lam))
        assert found == lam * rate**2 * c * sum_of_squares / 2


def test_no_momentum_is_plain_descent() -> None:
    formulas = [ts.derive(ts.TestLoss(), ts.GD(), 2, resum="discrete", update=u) for u in (None, ts.HeavyBall(0))]
    assert formulas[0] == formulas[1]
    moved = ts.derive(ts.TestLoss(), ts.GD(), 2, resum="discrete", update=ts.HeavyBall(Rational(1, 2)))
    assert moved != formulas[0]
    again = ts.Formula.from_json(moved.to_json())
    assert again == moved and "sums over the roots of" in str(moved)


def test_errors() -> None:
    landscape = quadratic(*CASES[0])

    def limit(beta: Any) -> ts.Formula:
        derived = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum="discrete", update=ts.HeavyBall(beta))
        return derived.assume("minimum").limit()

    with pytest.raises(ValueError, match="beta=1: momentum that is never forgotten has no limit"):
        limit(1)
    with pytest.raises(ValueError, match=r"eigenvalue 2, where under HeavyBall\(.* grows by"):
        limit(Rational(1, 2)).evaluate(landscape, [0], eta=2)
    assert limit(Rational(1, 2)).evaluate(landscape, [0], eta=Rational(6, 5))  # beyond 2/λ, within 2(1 + β)/λ
    flat = ts.FiniteLandscape([x, -x], [Rational(1, 2)] * 2, [x, y])
    quadratic_in_x = ts.FiniteLandscape([x**2 + x + y, x**2 - x - y], [Rational(1, 2)] * 2, [x, y])
    with pytest.raises(ValueError, match="flat direction"):
        moments = ts.SecondMoment(ts.Displacement(), ts.Displacement())
        spread = ts.derive(moments, ts.SGD(B=1, E=1), 2, resum="discrete", update=ts.HeavyBall(Rational(1, 2)))
        spread.assume("minimum").limit().evaluate(quadratic_in_x, [0, 0], eta=Rational(1, 2))
    assert limit(Rational(1, 2)).evaluate(flat, [0, 0], eta=1) == 0  # where nothing is bent, nothing is lost
    derived = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum="discrete", update=ts.HeavyBall(Rational(1, 2)))
    with pytest.raises(NotImplementedError, match="in the modes of the memory"):
        derived.to_sympy()


@pytest.mark.parametrize("update", UPDATES, ids=repr)
def test_the_limit_is_written_as_a_fraction(update: Any) -> None:
    """With numbers for the eigenvalues it is what evaluate() finds with matrices; nothing has a root in it."""
    for observable, order in ((ts.TestLoss(), 2), (ts.GeneralizationGap(), 3), (ts.Variance(ts.Displacement()), 2)):
        derived = ts.derive(observable, ts.SGD(E=1), order, resum="discrete", update=update)
        formula = derived.assume("minimum").limit()
        for value in formula.values:
            if not value.order:
                continue
            rates = [Rational(n, 7) for n in (1, 3, 2, 4)[: value.order]]
            written = sympy.Symbol("s"), [sympy.Symbol(f"s{e}") for e in range(value.order)]
            fraction = value.closed_sum(written[1])
            assert value.has_closed_form and fraction.is_rational_function(*written[1])
            assert not fraction.atoms(sympy.Pow) or all(p.exp.is_Integer for p in fraction.atoms(sympy.Pow))
            system = update.memory(sympy.Integer(1))
            found = fraction.subs(dict(zip(written[1], rates, strict=True)))
            late = sum_to(value.times, rates, system, 300)
            assert float(found) == pytest.approx(late, rel=1e-6)


def sum_to(times: Any, rates: list[Any], system: Any, updates: int) -> float:
    """The sum over all times below T in floating point, event by event: one event, or a chain of two."""
    carry, enter, read, root = (np.array(part, dtype=float) for part in system)
    damped = [carry - float(rate) * np.outer(enter, read) for rate in rates]
    passed = [[enter] for _ in rates]
    for e, matrix in enumerate(damped):
        for _ in range(updates):
            passed[e].append(matrix @ passed[e][-1])
    total = 0.0
    for moments in product(*(range(max(0, updates - 60), updates) for _ in range(times.events))):
        weight = 1.0
        for e, (source, target) in enumerate(times.edges):
            gap = (updates if target < 0 else moments[target]) - moments[source]
            weight *= float((root if target < 0 else read) @ passed[e][gap - 1]) if gap > 0 else 0.0
        total += weight
    return total


def test_drift_with_momentum() -> None:
    """A quadratic valley whose width changes along y: the displacement's growth in late updates."""
    valley = ts.FiniteLandscape([x**2 * (1 + y) / 2 + x, x**2 * (1 + y) / 2 - x], [Rational(1, 2)] * 2, [x, y])
    for update in UPDATES:
        formula = ts.derive(ts.Displacement(), ts.SGD(E=1), 3, resum="discrete", update=update).assume("minimum")
        if not isinstance(update, ts.Descent):
            found = formula.drift().evaluate(valley, [0, 0], eta=Rational(1, 4), B=1)
            late = [formula.evaluate(valley, [0, 0], eta=Rational(1, 4), N=n, B=1) for n in (50, 51)]
            assert found[0] == 0 and float(found[1]) == pytest.approx(float(late[1][1] - late[0][1]), rel=1e-5)
            continue
        with pytest.raises(ValueError, match="grows under this rule"):  # decay pulls back to the start
            formula.drift()


@pytest.mark.parametrize(
    "rule",
    [
        ts.HeavyBall(Rational(1, 3)),
        ts.Nesterov(Rational(1, 2)),
        ts.Nesterov(Rational(1, 2), convention="sutskever"),
        ts.HeavyBall(Rational(1, 3), decay=Rational(1, 5)),
    ],
    ids=repr,
)
def test_what_is_written_in_modes_is_the_sum(rule: Any) -> None:
    """Over the two modes of every edge, in 30 digits, against matrices."""
    import numpy as np

    rate, slope = Rational(1, 10), Rational(3, 2)
    modes = modes_of(rule.memory(sympy.Integer(1)))
    known = {sympy.Symbol("lambda"): slope, eta: rate}
    roots = sympy.Poly(modes.equation.subs(known), sympy.Symbol("r")).nroots(n=30)
    carried = [
        (root, *(w.subs({**known, sympy.Symbol("r"): root}) for w in (modes.weight, modes.root_weight)))
        for root in roots
    ]
    for spacetime, sizes in ((ts.GD(N=2), {"T": 4}), (ts.SGD(B=1), {"N": 2, "E": 2})):
        formula = ts.derive(ts.TestLoss(), spacetime, 2, resum="discrete", update=rule)
        assert "sums over the roots of" in str(formula) and r"\text{sums over the roots of }" in formula.latex()
        for value in formula.subs(sizes).values:
            if not value.is_resummed:
                continue
            matrices = Resummation(lambda degrees: np.full((1,) * sum(degrees), sympy.Integer(1)), {}, rate)
            vars(matrices)["hessian"] = np.array([[slope]])
            written = value.contraction().eigenbasis.scalar
            total = sum(written(*zip(*chosen, strict=True)) for chosen in product(carried, repeat=value.order))
            found = matrices.evaluate(value)
            exact = found.arithmetic.expression(found.entries)
            assert abs(sympy.N(total.subs(eta, rate) - exact, 30)) < 1e-25, value
