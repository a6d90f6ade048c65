r"""Resummed formulas of one training set, whose order is drawn anew every epoch, or whose batches are.

Identities:
    (1) through order d they agree with perturb, which goes through all orders, on random finite landscapes, with
        symbols and with numbers for sizes; so do variances
    (2) on a quadratic training set with one Hessian they are exact in η
    (3) E → ∞ there: Σ = X Σ X + η² Q, with X = K^n and Q the covariance over all orders of Σ_b K^{n−1−b} ∇l_b(0);
        for N = 32 against simulation
    (4) along a valley the drift is what the displacement grows by in late epochs; at one direction it is
        −(η²/2) C J · [the variance's own crossover], from ηλN/B ≪ 1, where an epoch's noise cancels, to ≫ 1
    (5) of drawn batches: the same as one epoch of the empirical distribution
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from orders_of_eta import through
from sympy import Matrix, Rational, eye

import taylorsgd as ts

x, y = sympy.symbols("x y")
OBSERVABLES = [ts.TestLoss(), ts.TrainLoss(), ts.Displacement(), ts.GeneralizationGap()]
PAIRS = [ts.Variance(ts.TestLoss()), ts.Covariance(ts.TestLoss(), ts.Displacement())]
RUNS = [
    (ts.SGD(N=2, B=1, E=2, shuffle=True, data="fixed"), {"N": 2, "B": 1, "E": 2}),
    (ts.SGD(N=3, B=1, E=1, shuffle=True, data="fixed"), {"N": 3, "B": 1, "E": 1}),
    (ts.SGD(N=3, B=1, E=2, shuffle=True, data="fixed"), {"N": 3, "B": 1, "E": 2}),
    (ts.SGD(N=4, B=2, E=2, shuffle=True, data="fixed"), {"N": 4, "B": 2, "E": 2}),
    (ts.SGD(N=3, B=3, E=2, shuffle=True, data="fixed"), {"N": 3, "B": 3, "E": 2}),
    (ts.Replacement(N=2, B=1, T=3, data="fixed"), {"N": 2, "B": 1, "T": 3}),
    (ts.Replacement(N=3, B=2, T=2, data="fixed"), {"N": 3, "B": 2, "T": 2}),
]
SYMBOLS = {ts.SGD: ts.SGD(shuffle=True, data="fixed"), ts.Replacement: ts.Replacement(data="fixed")}
RESHUFFLED = SYMBOLS[ts.SGD]
ALL = ("test loss", "training loss", "gap", "displacement", "variance")


@pytest.mark.shows("fixed data", ALL, resum="discrete")
@pytest.mark.parametrize(("order", "examples"), [(2, 25), (3, 4)])
def test_random_training_sets(landscapes, some_of, order: int, examples: int) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        spacetime, sizes = data.draw(st.sampled_from(RUNS))
        drawn, start = data.draw(landscapes(1, order + 1, atoms=sizes["N"]))
        landscape = ts.FiniteLandscape(drawn.losses, [Rational(1, sizes["N"])] * sizes["N"], drawn.variables)
        update = data.draw(st.sampled_from([None, None, ts.HeavyBall(Rational(1, 3))]))
        for observable in [
            *some_of(data, OBSERVABLES, examples),
            *data.draw(st.lists(st.sampled_from(PAIRS), max_size=1)),
        ]:
            degree = 2 if observable in PAIRS else order
            truth = ts.perturb(observable, spacetime, landscape, start, degree, update=update)
            formula = ts.derive(observable, spacetime, degree, resum="discrete", update=update)
            assert through(formula.evaluate(landscape, start), degree) == truth
            if degree == 2 or sizes["N"] > 2:
                symbolic = ts.derive(observable, SYMBOLS[type(spacetime)], degree, resum="discrete", update=update)
                assert through(symbolic.evaluate(landscape, start, **sizes), degree) == truth

    run()


HESSIAN = Matrix([[2, Rational(1, 2)], [Rational(1, 2), 1]])
SLOPES = [Matrix([1, 2]), Matrix([-1, 1]), Matrix([1, -3]), Matrix([-1, 0])]


def quadratic(points: int) -> ts.FiniteLandscape:
    theta = Matrix([x, y])
    mean = sum(SLOPES[:points], start=sympy.zeros(2, 1)) / points
    losses = [(theta.T * HESSIAN * theta)[0] / 2 + (slope - mean).dot(theta) for slope in SLOPES[:points]]
    return ts.FiniteLandscape(losses, [Rational(1, points)] * points, [x, y])


@pytest.mark.parametrize(("spacetime", "sizes"), RUNS, ids=repr)
def test_exact_on_a_quadratic_training_set(spacetime: Any, sizes: dict[str, int]) -> None:
    landscape, degree = quadratic(sizes["N"]), 2 * int(spacetime.sizes["T"])
    for observable, order in ((ts.TestLoss(), 2), (ts.Displacement(), 1), (ts.Variance(ts.Displacement()), 2)):
        formula = ts.derive(observable, spacetime, order, resum="discrete")
        truth = ts.perturb(observable, spacetime, landscape, [1, -2], degree)
        assert through(formula.evaluate(landscape, [1, -2]), degree + 2) == truth


@pytest.mark.parametrize(("points", "batch"), [(2, 1), (3, 1), (4, 1), (4, 2)])
def test_many_epochs(points: int, batch: int) -> None:
    """All orders of an epoch, and the equation that a stationary covariance obeys."""
    rate, n, landscape = Rational(1, 3), points // batch, quadratic(points)
    damped = eye(2) - rate * HESSIAN
    slopes = [Matrix([sympy.diff(loss, v) for v in (x, y)]).subs({x: 0, y: 0}) for loss in landscape.losses]
    noise, orders = sympy.zeros(2), list(permutations(slopes))
    for order in orders:
        means = [sum(order[b * batch : (b + 1) * batch], start=sympy.zeros(2, 1)) / batch for b in range(n)]
        moved = sum((damped ** (n - 1 - b) * mean for b, mean in enumerate(means)), start=sympy.zeros(2, 1))
        noise += rate**2 * moved * moved.T / len(orders)
    spread = ts.derive(ts.Variance(ts.Displacement()), RESHUFFLED, 2, resum="discrete").assume("minimum").limit()
    found = spread.evaluate(landscape, [0, 0], eta=rate, N=points, B=batch)
    through_an_epoch = damped**n
    assert (found - through_an_epoch * found * through_an_epoch - noise).is_zero_matrix and found[0, 0] > 0
    excess = ts.derive(ts.TestLoss(), RESHUFFLED, 2, resum="discrete").assume("minimum").limit()
    value = excess.evaluate(landscape, [0, 0], eta=rate, N=points, B=batch)
    assert value == (HESSIAN * found).trace() / 2
    mean = ts.derive(ts.Displacement(), RESHUFFLED, 2, resum="discrete").assume("minimum").limit()
    assert mean.evaluate(landscape, [0, 0], eta=rate, N=points, B=batch) == sympy.zeros(2, 1)


def test_the_variance_of_a_direction() -> None:
    """Two closed forms: shared batches as in one epoch, and what an epoch takes back, (1 − X)/(1 + X) with X = K^n."""
    spread = ts.derive(ts.Variance(ts.Displacement()), RESHUFFLED, 2, resum="discrete").assume("minimum").limit()
    s, n = sympy.symbols("s n")
    sums = [value.closed_sum([s, s]).subs(ts.symbols.N, n * ts.symbols.B) for value in spread.values]
    X = (1 - s) ** n
    expected = [1 / (s * (2 - s)), (1 - X) / (s**2 * (1 + X))]
    for found, want in zip(sorted(sums, key=sympy.count_ops), expected, strict=True):
        assert sympy.simplify(found - want) == 0
    coin = ts.FiniteLandscape([x**2 / 2 + x, x**2 / 2 - x] * 20, [Rational(1, 40)] * 40, [x])
    small, large = Rational(1, 10**4), Rational(1, 2)
    found = [spread.evaluate(coin, [0], eta=rate, N=40, B=1)[0] for rate in (small, large)]
    assert float(found[0]) == pytest.approx(float(small**3 * 40 * 41 / 24), rel=1e-3)  # η³λC n(n + 1)/24 for ηλn ≪ 1
    assert float(found[1]) == pytest.approx(float(large * (Rational(40, 39) / (2 - large) - Rational(1, 39) / large)))


def tilted(theta: Any, slope: Any) -> Any:
    return theta**2 / 2 + slope * theta


@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_simulated(rate: float) -> None:
    """32 points of one direction, far into the run: at a small and at a large ηλN/B."""
    slopes = jax.random.normal(jax.random.key(1), (32,))
    slopes = slopes - slopes.mean()
    landscape = ts.Landscape(tilted, slopes)
    run = ts.simulate(
        landscape,
        jnp.float32(0.0),
        ts.SGD(N=32, B=2, E=40, shuffle=True, data="fixed"),
        rate,
        20_000,
        jax.random.key(2),
    )
    formula = ts.derive(ts.TestLoss(), RESHUFFLED, 2, resum="discrete").assume("minimum")
    variance = float(np.mean(np.asarray(slopes, dtype=float) ** 2))
    tensors = {(0,): 0.0, (2,): np.eye(1), (1, 1): np.array([[variance]])}
    predicted = float(formula.lower()(tensors, eta=rate, N=32, B=2, E=40))
    assert abs(float(run.test_loss.mean) - predicted) < 4 * float(run.test_loss.standard_error)
    assert float(run.test_loss.standard_error) < 0.02 * predicted
    late = float(formula.limit().lower()(tensors, eta=rate, N=32, B=2))
    assert predicted == pytest.approx(late, rel=0.01 if rate > 0.1 else 1e-2)


def test_heavy_ball_simulated() -> None:
    """Reshuffled heavy ball late in its run, against the limit for E → ∞."""
    slopes = [3, -1, 2, -4, 1, -2, 4, -3]
    landscape = ts.Landscape(lambda theta, a: theta**2 / 2 + a * theta / 4, jnp.array(slopes, dtype=jnp.float32))
    update = ts.HeavyBall(Rational(1, 2))
    spacetime = ts.SGD(N=8, B=2, E=30, shuffle=True, data="fixed")
    run = ts.simulate(landscape, jnp.float32(0.0), spacetime, 0.2, 20_000, jax.random.key(5), update=ts.HeavyBall(0.5))
    formula = ts.derive(ts.TestLoss(), RESHUFFLED, 2, resum="discrete", update=update).assume("minimum").limit()
    exact = ts.FiniteLandscape([x**2 / 2 + Rational(a, 4) * x for a in slopes], [Rational(1, 8)] * 8, [x])
    found = float(formula.evaluate(exact, [0], eta=Rational(1, 5), N=8, B=2))
    assert abs(float(run.test_loss.mean) - found) < 4 * float(run.test_loss.standard_error)
    assert float(run.test_loss.standard_error) < 0.02 * found


def test_drift_along_a_valley() -> None:
    losses = [x**2 * (1 + y) / 2 + a * x for a in (1, 2, -3)]
    valley = ts.FiniteLandscape(losses, [Rational(1, 3)] * 3, [x, y])
    formula = ts.derive(ts.Displacement(), RESHUFFLED, 3, resum="discrete").assume("minimum")
    drift = formula.drift()
    sizes: dict[str, Any] = {"eta": Rational(1, 4), "N": 3, "B": 1}
    found = drift.evaluate(valley, [0, 0], **sizes)
    late = [formula.evaluate(valley, [0, 0], E=epochs, **sizes) for epochs in (30, 31)]
    assert found[0] == 0 and found[1] < 0
    assert float(found[1]) == pytest.approx(float(late[1][1] - late[0][1]) / 3, rel=1e-6)


def test_what_is_not_there_says_so() -> None:
    with pytest.raises(NotImplementedError, match="a part of 4 nodes: resummed sums over orders of fixed data"):
        ts.derive(ts.TestLoss(), RESHUFFLED, 4, resum="discrete")
    assert len(ts.derive(ts.GeneralizationGap(), RESHUFFLED, 2, resum="discrete")) == 0  # the two losses are one
    again = ts.derive(ts.TestLoss(), RESHUFFLED, 3, resum="discrete").assume("minimum")
    for each in (again, again.limit(), ts.derive(ts.TestLoss(), SYMBOLS[ts.Replacement], 2, resum="discrete")):
        assert ts.Formula.from_json(each.to_json()) == each and each.latex()


@pytest.mark.parametrize("n", [1, 2])
def test_cumulants_that_small_sets_do_not_have(n: int) -> None:
    """1/((N − 1)(N − 2)) multiplies a third cumulant, and two points have none."""
    landscape = ts.FiniteLandscape([x**3 - x, x**2 + 3 * x][:n], [Rational(1, n)] * n, [x])
    formula = ts.derive(ts.TestLoss(), ts.SGD(shuffle=True, data="fixed"), 3, resum="discrete")
    run = ts.SGD(N=n, B=1, E=2, shuffle=True, data="fixed")
    found = formula.evaluate(landscape, [1], N=n, B=1, E=2)
    assert through(found, 3) == ts.perturb(ts.TestLoss(), run, landscape, [1], 3)
