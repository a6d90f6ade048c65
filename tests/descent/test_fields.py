r"""Vector fields in JAX: what measuring and simulating make of them, beside what is exact and beside each other.

The rule: θ ← θ + η u_x(θ), averaged over the batch.

Claims:
    (1) measured exactly, predictions of a `Field` are those of its `FiniteField`; drawn, within errors
    (2) resummed ones as well, under every rule, of one or several epochs, reshuffled, and in the limit
    (3) predicted and simulated agree (χ²): a bilinear game of two players, a Dirac GAN, sharpness-aware steps, and
        every spacetime and rule
    (4) a metric that is not positive, as a matrix and as a function, measured, is what is exact
    (5) what a field can't do, and bad fields, get one clear error
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from sympy import Rational

import taylorsgd as ts

X, Y = sympy.symbols("x y")
POINTS = [(1, Rational(-1, 2)), (Rational(3, 10), Rational(7, 10)), (Rational(-6, 5), Rational(2, 5))]
START = (Rational(1, 2), Rational(-7, 10))
RATE = Rational(1, 10)
METRIC = [[1, 2], [2, -1]]
EXACTLY = ts.MatrixFree("exact")


def field(theta: Any, point: Any) -> Any:
    """The same source serves SymPy and JAX."""
    (x, y), (a, b) = theta, point
    return a * x * y - b * y**2 + a * x**2 * y, -x + b * y * x**2 + a * y**3 + b


def loss(theta: Any, point: Any) -> Any:
    (x, y), (a, b) = theta, point
    return a * x**2 * y - b * x * y**2 + x**3 / 3 - a * b * y + (x * y) ** 2 / 2


def seen(theta: Any) -> Any:
    return theta[0] ** 2 * theta[1] + theta[1] ** 3 + theta[0]


def turned(vector: Any) -> Any:
    return vector[0] + 2 * vector[1], 2 * vector[0] - vector[1]


SEEN = ts.Observable(seen)
EXACT = ts.FiniteField([field((X, Y), point) for point in POINTS], [Rational(1, 3)] * 3, [X, Y])
EXACT_LOSS = ts.FiniteLandscape([loss((X, Y), point) for point in POINTS], [Rational(1, 3)] * 3, [X, Y])


def data() -> Any:
    return tuple(jnp.array([float(point[i]) for point in POINTS]) for i in (0, 1))


def start() -> Any:
    return tuple(jnp.array(float(entry)) for entry in START)


def flat(found: Any) -> np.ndarray:
    return np.array([float(entry) for entry in (found if hasattr(found, "shape") else [found])])


def joined(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize("observable", [ts.Displacement(), ts.Variance(SEEN)])
def test_measured_exactly(x64: None, observable: Any) -> None:
    formula = ts.derive(observable, ts.SGD(N=4, B=1, E=1), 3)
    truth = flat(formula.evaluate(EXACT, START, RATE))
    found = ts.predict(formula, ts.Field(field, data()), start(), eta=0.1, method=EXACTLY)
    assert joined(found.mean) == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("estimator", ["centred", "correlators"])
def test_drawn_values_have_their_errors(x64: None, estimator: str) -> None:
    """Of a sampler, so that nothing is exact."""
    formula = ts.derive(SEEN, ts.SGD(N=4, B=1, E=1), 2)
    whole = data()

    def draw(key: jax.Array, n: int) -> Any:
        rows = jax.random.randint(key, (n,), 0, 3)
        return tuple(column[rows] for column in whole)

    found = ts.predict(
        formula, ts.Field(field, draw), start(), eta=0.1, method=ts.MatrixFree(estimator), key=1, samples=4096
    )
    truth = float(formula.evaluate(EXACT, START, RATE))
    assert 0 < found.standard_error < 0.02
    assert abs(found.mean - truth) < 4 * found.standard_error


@pytest.mark.parametrize(
    ("spacetime", "update"),
    [
        (ts.SGD(N=3, B=1, E=1), None),
        (ts.GD(N=2, T=3), ts.HeavyBall(Rational(1, 3))),
        (ts.SGD(N=3, B=1, E=1), ts.Descent([1, 2, 1])),
        (ts.SGD(N=3, B=1, E=1), ts.Descent(metric=METRIC)),
        (ts.SGD(N=3, B=1, E=1), ts.Descent(metric=turned)),
        (ts.SGD(N=2, B=1, E=2, shuffle=True), None),
    ],
)
def test_resummed(x64: None, spacetime: Any, update: Any) -> None:
    for observable in (SEEN, ts.Displacement()):
        formula = ts.derive(observable, spacetime, 2, resum="discrete", update=update)
        known = ts.Descent(metric=METRIC) if update == ts.Descent(metric=turned) else update
        exact = ts.derive(observable, spacetime, 2, resum="discrete", update=known)
        truth = flat(exact.evaluate(EXACT, START, RATE))
        found = ts.predict(formula, ts.Field(field, data()), start(), eta=0.1)
        assert joined(found.mean) == pytest.approx(truth, rel=1e-12)
        # a metric that is not positive, on a loss
        if known != update or update == ts.Descent(metric=METRIC):
            truth = flat(exact.evaluate(EXACT_LOSS, START, RATE))
            found = ts.predict(formula, ts.Landscape(loss, data()), start(), eta=0.1)
            assert joined(found.mean) == pytest.approx(truth, rel=1e-12)


def test_resummed_limits(x64: None, tmp_path: Any) -> None:
    linear = ts.FiniteField([[-X - 2 * Y + s, X - Y] for s in (1, -1)], [Rational(1, 2)] * 2, [X, Y])
    traced = ts.Field(lambda t, s: (-t[0] - 2 * t[1] + s, t[0] - t[1]), jnp.array([1.0, -1.0]))
    origin = (jnp.zeros(()), jnp.zeros(()))
    seen = ts.Observable(lambda t: t[0] ** 2 + t[0] * t[1])
    formula = ts.derive(seen, ts.SGD(B=1, E=1), 2, resum="discrete").assume("minimum")
    measured = ts.measure(formula, traced, origin)
    measured.save(tmp_path / "field")
    again = ts.landscapes.DenseMeasurement.load(tmp_path / "field")
    truth = float(formula.limit().evaluate(linear, [0, 0], Rational(1, 5)))
    for held in (measured, again):
        assert float(formula.limit().lower()(held, eta=0.2)) == pytest.approx(truth, rel=1e-12)
    truth = float(formula.evaluate(linear, [0, 0], Rational(1, 5), N=50))
    assert float(formula.lower()(measured, eta=0.2, N=50)) == pytest.approx(truth, rel=1e-12)
    with pytest.raises(ValueError, match=r"an influence grows by 1\.41421 in an update"):
        formula.limit().lower()(measured, eta=1.0)
    flow = ts.derive(seen, ts.SDE(B=1), 2, resum="continuous").assume("minimum")
    truth = complex(flow.limit().evaluate(linear, [0, 0], Rational(1, 5))).real
    assert float(flow.limit().lower()(measured, eta=0.2)) == pytest.approx(truth, rel=1e-12)
    with pytest.raises(ValueError, match=r"an influence grows like exp\(0\.2 t\)"):
        flow.limit().lower()(measured, eta=-0.2)


def test_resummed_by_eigenvectors(x64: None) -> None:
    """Integrals over time, and epochs with symbols: the step is taken apart, and may turn."""

    def u(theta: Any, s: Any) -> Any:
        return -theta[0] - 2 * theta[1] + s + theta[0] * theta[1], theta[0] - s * theta[1]

    seen = ts.Observable(lambda t: t[0] ** 2 + t[0] * t[1])
    integral = ts.derive(seen, ts.SDE(T=2, B=1), 2, resum="continuous")
    epochs = ts.derive(seen, ts.SGD(B=1), 2, resum="discrete")
    exact = ts.FiniteField([u((X, Y), s) for s in (3, -1)], [Rational(1, 2)] * 2, [X, Y])
    measured: Any = ts.measure([integral, epochs], ts.Field(u, jnp.array([3.0, -1.0])), start())
    for formula, sizes in ((integral, {}), (epochs, {"N": 2, "E": 2})):
        truth = complex(formula.evaluate(exact, START, RATE, **sizes)).real
        assert float(formula.lower()(measured, eta=0.1, **sizes)) == pytest.approx(truth, rel=1e-12)
    shear = replace(measured, tensors={**measured.tensors, (2,): jnp.array([[1.0, 1.0], [0.0, 1.0]])})
    with pytest.raises(NotImplementedError, match="some are parallel, as a shear's"):
        integral.lower()(shear, eta=0.1)


def test_measured_metrics(x64: None) -> None:
    landscape, epoch = ts.Landscape(loss, data()), ts.SGD(N=4, B=1, E=1)
    for observable, metric in (
        (ts.TestLoss(), METRIC),
        (ts.GeneralizationGap(), turned),
        (ts.Displacement(), turned),
        (SEEN, turned),
    ):
        formula = ts.derive(observable, epoch, 2, update=ts.Descent(metric=metric))
        known = ts.derive(observable, epoch, 2, update=ts.Descent(metric=METRIC))
        found = ts.predict(formula, landscape, start(), eta=0.1, method=EXACTLY)
        assert joined(found.mean) == pytest.approx(flat(known.evaluate(EXACT_LOSS, START, RATE)), rel=1e-12)
    drawn = ts.predict(formula, landscape, start(), eta=0.1, key=2, method=ts.MatrixFree("correlators"), samples=4096)
    assert abs(drawn.mean - found.mean) < 4 * drawn.standard_error
    checked = ts.check(formula, landscape, start(), eta=[0.005, 0.01], method=EXACTLY, trials=500, key=3)
    assert checked.agrees
    other = ts.derive(SEEN, ts.SGD(N=4, B=1, E=1), 2)
    with pytest.raises(ValueError, match="they differ in metric"):
        ts.predict(other, landscape, start(), eta=0.1, measurement=drawn.measurement)


@pytest.mark.parametrize(
    ("metric", "error", "message"),
    [
        (lambda v: v[0], ValueError, "it must return a pytree like its argument"),
        (lambda v: (v[0] ** 2, v[1]), ValueError, "not linear"),
        (lambda v: (v[1], -v[0]), ValueError, "not symmetric"),
        (lambda v: (v[0], "y"), TypeError, "not an array"),
        (lambda v: (v[0], jnp.ones(3)), ValueError, "of shape"),
        (lambda v: (v[0], jnp.inf * v[1]), ValueError, "not finite"),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], ValueError, "must be P x P"),
    ],
)
def test_bad_metrics(metric: Any, error: type[Exception], message: str) -> None:
    formula = ts.derive(ts.TestLoss(), ts.GD(N=2, T=2), 2, update=ts.Descent(metric=metric))
    with pytest.raises(error, match=message):
        ts.measure(formula, ts.Landscape(loss, data()), start(), key=0)


# -- predicted against simulated -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spacetime", "update"),
    [
        (ts.SGD(N=4, B=2, E=2, shuffle=True), None),
        (ts.SDE(T=3, B=1), None),
        (ts.SGD(N=4, B=1, E=1), ts.ImplicitStep(1)),
        (ts.GD(N=3, T=3), ts.GDC(1)),
    ],
)
def test_simulated(spacetime: Any, update: Any) -> None:
    found = ts.check(
        SEEN, ts.Field(field, data()), start(), spacetime, [0.005, 0.01], order=2, update=update, trials=500, key=5,
        method=EXACTLY,
    )  # fmt: skip
    assert found.comparison.p_value > 1e-3


def test_a_flow_is_integrated(x64: None) -> None:
    run = ts.simulate(
        ts.Field(lambda t, x: (-x * t[1], x * t[0]), jnp.ones(1)), (1.0, 0.0), ts.ODE(T=10), 0.1, 2, 0,
        observables=[ts.Observable(lambda t: t[0])],
    )  # fmt: skip
    assert run.observables["s"].mean == pytest.approx(np.cos(1.0), rel=1e-9)


def bilinear() -> tuple[Any, Any, Any]:
    """min over x, max over y of x·y with noise in both slopes: it spirals outwards."""

    def cost(theta: Any, xi: Any) -> Any:
        return theta[0] * theta[1] + xi[0] * theta[0] + xi[1] * theta[1]

    points = jnp.array([[1.0, 0.0], [-1.0, 0.5], [0.0, -0.5]])
    players = ts.landscapes.game([cost, lambda theta, xi: -cost(theta, xi)], points, rates=[1, 2])
    return players, (1.0, 0.5), ts.Observable(lambda t: t[0] ** 2 - 2 * t[0] * t[1])


def dirac_gan() -> tuple[Any, Any, Any]:
    """A generator at a point, a discriminator of one slope; Mescheder et al. 2018."""

    def cost(theta: Any, x: Any) -> Any:
        return jax.nn.softplus(-theta["slope"] * x) + jax.nn.softplus(theta["slope"] * theta["place"])

    players = ts.landscapes.game(
        {"place": lambda theta, x: -cost(theta, x), "slope": cost}, jnp.array([-0.3, 0.1, 0.4])
    )
    return players, {"place": 1.0, "slope": 0.5}, ts.Observable(lambda t: t["place"] ** 2 - t["slope"] * t["place"])


def sharpness_aware() -> tuple[Any, Any, Any]:
    place = ts.Landscape(loss, data())
    stepped = ts.landscapes.sharpness_aware(place, 0.2, 0.3, batch=2)
    return stepped, start(), ts.Observable(lambda theta: loss(theta, (0.1, 0.2)))


@pytest.mark.parametrize("make", [bilinear, dirac_gan, sharpness_aware])
def test_games_and_sharpness(make: Any) -> None:
    """What is not the same run is seen as well: four times as many updates."""
    players, theta, observed = make()
    formula, rates = ts.derive(observed, ts.SGD(N=10, B=1, E=1), 2), [0.0003, 0.0006]
    theta = jax.tree.map(jnp.asarray, theta)
    found = ts.predict(formula, players, theta, eta=rates, method=EXACTLY)
    run = ts.simulate(players, theta, ts.SGD(N=10, B=1, E=1), rates, 1000, 7, observables=[observed])
    assert ts.compare(found, run).p_value > 1e-3
    other = ts.predict(ts.derive(observed, ts.SGD(N=40, B=1, E=1), 2), players, theta, eta=rates, method=EXACTLY)
    assert ts.compare(other, run, strict=False).p_value < 1e-3


# -- what can't be ---------------------------------------------------------------------------------------------


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda t, x: t[0], ValueError, "a field is a pytree like theta"),
    (lambda t, x: (1, 2), TypeError, r"u\[0\] has dtype int32; a field must be of floats"),
    (lambda t, x: (t[0], jnp.ones(3)), ValueError, r"u\[1\] has shape \(3,\), and theta there \(\)"),
    (lambda t, x: (t[0], "y"), TypeError, "is not an array"),
    (lambda t: t, TypeError, "u can't be computed from"),
    (lambda t, x: (t[0], jnp.log(x[0])), ValueError, "the field u is not finite at theta for 1 of 3 points"),
]


@pytest.mark.parametrize(("u", "error", "message"), BAD)
def test_bad_fields(u: Any, error: type[Exception], message: str) -> None:
    bad, formula = ts.Field(u, data()), ts.derive(SEEN, ts.GD(N=2, T=2), 1)
    with pytest.raises(error, match=message):
        ts.measure(formula, bad, start(), key=0)
    if "finite" not in message:
        with pytest.raises(error, match=message):
            ts.simulate(bad, start(), ts.GD(N=2, T=2), 0.1, 2, 0)


def test_other_errors() -> None:
    good, formula = ts.Field(field, data()), ts.derive(SEEN, ts.GD(N=2, T=2), 1)
    with pytest.raises(TypeError, match="u=3 is not a function"):
        ts.Field(3, data())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"theta\[0\] has dtype int32"):
        ts.measure(formula, good, (1, 2), key=0)
    for observable in (ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Variance(ts.TestLoss())):
        with pytest.raises(ValueError, match="is of a loss, and a vector field has none"):
            ts.measure(ts.derive(observable, ts.GD(N=2, T=2), 2), good, start(), key=0)
    run = ts.simulate(good, start(), ts.GD(N=2, T=2), 0.1, 2, 0, observables=[SEEN])
    assert "loss" not in str(run) and "s ± s.e." in str(run - run)
    with pytest.raises(ValueError, match="what ran is a vector field"):
        run.statistic(ts.TestLoss())
    for call in (
        lambda: ts.landscapes.gradient_regularizer(good, start()),
        lambda: ts.simulate(good, start(), ts.GD(N=2, T=2), 0.1, 2, 0, test_points=3),
        lambda: ts.landscapes.clipped(good, 1.0),
        lambda: good.as_landscape().population_loss(start()),
    ):
        with pytest.raises(ValueError, match="is a vector field, which has none"):
            call()


def test_kinks_are_warned_of() -> None:
    kinked = ts.Field(lambda t, x: (t[0], jnp.abs(t[1]) + x[0]), data())
    with pytest.warns(RuntimeWarning, match="the field has kinks in theta"):
        ts.measure(ts.derive(SEEN, ts.GD(N=2, T=2), 1), kinked, start(), key=0)


def test_divergence_is_seen() -> None:
    upward = ts.Field(lambda t, x: (t[0] ** 3, t[1]), data())
    with pytest.warns(RuntimeWarning, match="trials diverged"):
        run = ts.simulate(upward, start(), ts.GD(N=2, T=40), 10.0, 2, 0)
    assert int(run.diverged) == 2
