"""Expansions of descent, against formulas on the same draws, against plain runs, and against simulation.

A sampler that returns every training set once makes the mean over trials the expectation itself:

    (1) optax.sgd, with and without momentum, and update rules equal `derive`, and `perturb`, to rounding
    (2) other optimizers equal a polynomial fitted through plain training loops at several η
    (3) optax.adam predicts simulated means within errors, and at order 1 it does not
    (4) memory does not grow with T
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sympy
from hypothesis import HealthCheck, given, settings
from sympy import Poly, Rational

import taylorsgd as ts
from taylorsgd.descent import expanding

HALF = Rational(1, 2)
ORDER = 3
POWERS = list(product(range(4), repeat=2))
POINTS = jnp.array([-1.0, 0.5, 0.75])


def polynomial_loss(theta: Any, coefficients: Any) -> Any:
    """A polynomial of degree 3 in each of two variables, whose coefficients are the point."""
    squares = theta * theta
    powers = jnp.stack([jnp.ones(2), theta, squares, squares * theta])
    return powers[:, 0] @ coefficients.reshape(4, 4) @ powers[:, 1]


def every_training_set(points: Any, size: int) -> Callable[[Any, int], Any]:
    """A sampler of all training sets one after the other; asked for another number of points it repeats these."""
    points = jnp.asarray(points)
    rows = np.array(list(product(range(len(points)), repeat=size))).ravel()

    def draw(key: Any, n: int) -> Any:
        return points[rows] if n == len(rows) else points[np.arange(n) % len(points)]

    return draw


def expanded_everywhere(optimizer: Any, loss: Any, points: Any, theta: Any, spacetime: Any, **others: Any) -> Any:
    """The expansion over all training sets, each once."""
    size, count = int(spacetime.sizes["N"]), len(points)
    landscape = ts.Landscape(loss, every_training_set(points, size))
    trials = count**size
    return ts.expand(
        optimizer, landscape, theta, spacetime, trials=trials, chunk=trials, test_points=3 * count, **others
    )  # fmt: skip


def second_coordinate(theta: Any) -> Any:
    return theta[1] * theta[0] + theta[1]


SUMMED = ts.Observable(second_coordinate, "u")
CASES: dict[str, tuple[Any, Any, Any, Any]] = {
    "batches": (optax.sgd, ts.Descent(), ts.SGD(N=4, B=2, E=1), ts.TestLoss()),
    "heavy ball": (
        lambda eta: optax.sgd(eta, momentum=0.5), ts.HeavyBall(HALF), ts.SGD(N=2, B=1, E=2), ts.GeneralizationGap(),
    ),
    "Nesterov": (
        lambda eta: optax.sgd(eta, momentum=0.5, nesterov=True), ts.Nesterov(HALF), ts.GD(N=2, T=3), ts.Displacement(),
    ),
    "variance": (optax.sgd, ts.Descent(), ts.SGD(N=2, B=1, E=1), ts.Variance(ts.TestLoss())),
    "an update rule": (ts.Nesterov(HALF), ts.Nesterov(HALF), ts.SGD(N=2, B=1, E=1), SUMMED),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_equals_the_formula_on_the_same_draws(name: str, landscapes: Any, x64: None) -> None:
    """(1): coefficient by coefficient, on random landscapes; they are data, so that one program serves all."""
    optimizer, rule, spacetime, observable = CASES[name]
    formula = ts.derive(observable, spacetime, ORDER, update=rule)
    variables = sympy.symbols("x y")
    trials = 2 ** int(spacetime.sizes["N"])

    @settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(landscapes(dimension=2, degree=3, atoms=2))
    def check(drawn: Any) -> None:
        landscape, start = ts.FiniteLandscape(drawn[0].losses, [HALF, HALF], variables), drawn[1]
        exact = formula.evaluate(landscape, at=start)
        by_perturbing = ts.perturb(observable, spacetime, landscape, start, ORDER, update=rule)
        assert exact == by_perturbing
        points = [
            [float(Poly(loss, *variables).coeff_monomial((i, j))) for i, j in POWERS] for loss in landscape.losses
        ]
        theta = jnp.array([float(entry) for entry in start])
        found = expanded_everywhere(optimizer, polynomial_loss, points, theta, spacetime, observable=observable)
        entries = list(exact) if isinstance(exact, sympy.MatrixBase) else [exact]
        expected = [[float(entry.coeff(ts.symbols.eta, k)) for k in range(ORDER + 1)] for entry in entries]
        if isinstance(observable, ts.Covariance):  # of all draws, not estimated from some
            expected = [[c * trials / (trials - 1) for c in entry] for entry in expected]
        np.testing.assert_allclose(np.reshape(found.coefficients, (4, -1)).T, expected, rtol=1e-10, atol=1e-9)

    check()


def test_orders_of_one_training_set_are_drawn() -> None:
    """Shuffled, on fixed data: within errors of the exact expectation over orders."""
    spacetime, rule = ts.SGD(N=3, B=1, E=2, shuffle=True, data="fixed"), ts.HeavyBall(HALF)
    x = sympy.Symbol("x")
    rows = [(1, -HALF, HALF), (-1, 1, Rational(1, 3)), (HALF, 2, -1)]
    finite = ts.FiniteLandscape([a * x**3 / 3 + b * x**2 / 2 + c * x for a, b, c in rows], [Rational(1, 3)] * 3, [x])
    exact = ts.derive(ts.TestLoss(), spacetime, 3, update=rule).evaluate(finite, at=[HALF])

    def loss(theta: Any, row: Any) -> Any:
        return row[0] * theta**3 / 3 + row[1] * theta**2 / 2 + row[2] * theta

    place = ts.Landscape(loss, jnp.array(np.array(rows, float)))
    found = ts.expand(lambda eta: optax.sgd(eta, momentum=0.5), place, 0.5, spacetime, 3, trials=2000)
    expected = [float(exact.coeff(ts.symbols.eta, k)) for k in range(4)]
    np.testing.assert_allclose(found.coefficients[0], expected[0], rtol=1e-5)
    scores = (found.coefficients - expected)[1:] / found.standard_errors[1:]
    assert np.abs(scores).max() < 3.5, scores


# -- (2) against training loops ------------------------------------------------------------------------------


class SmoothLion(NamedTuple):
    """Lion with x/√(x² + w²) for the sign of x, as an object that only looks like an optax transformation."""

    eta: Any
    width: float = 0.5

    def init(self, theta: Any) -> Any:
        return jax.tree.map(jnp.zeros_like, theta)

    def update(self, slope: Any, memory: Any, theta: Any = None) -> Any:
        mixed = jax.tree.map(lambda g, m: 0.1 * g + 0.9 * m, slope, memory)
        step = jax.tree.map(lambda x: -self.eta * x / jnp.sqrt(x**2 + self.width**2), mixed)
        return step, jax.tree.map(lambda g, m: 0.01 * g + 0.99 * m, slope, memory)


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "adam": lambda eta: optax.adam(eta, eps_root=0.05),
    "rmsprop": lambda eta: optax.rmsprop(eta, decay=0.7, eps=0.3, initial_scale=0.1),
    "smooth lion": SmoothLion,
    "clipped adamw": lambda eta: optax.chain(optax.clip_by_global_norm(1.1), optax.adamw(eta, eps_root=0.05)),
    "scheduled": lambda eta: optax.sgd(optax.cosine_decay_schedule(eta, 5), momentum=0.3),
}


def bent_loss(theta: Any, x: Any) -> Any:
    return (theta["a"] - x) ** 2 / 2 + jnp.sin(theta["b"][0] * x + theta["a"]) * theta["b"][1]


BENT = {"a": 0.7, "b": np.array([0.4, -0.3])}


def trained(optimizer: Any, rows: Any, batches: Any, eta: float) -> Any:
    """A training loop as in optax's manual."""
    theta = jax.tree.map(jnp.asarray, BENT)
    made = optimizer(eta)
    state = made.init(theta)
    for batch in batches:

        def mean(theta: Any, own: Any = rows[batch]) -> Any:
            return jnp.mean(jax.vmap(bent_loss, (None, 0))(theta, own))

        change, state = made.update(jax.grad(mean)(theta), state, theta)
        theta = optax.apply_updates(theta, change)
    return jnp.mean(jax.vmap(bent_loss, (None, 0))(theta, POINTS))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_equals_a_fit_through_training_loops(name: str, x64: None) -> None:
    """(2): nine learning rates between −0.02 and 0.02 and a polynomial of degree 8, over all pairs of points.

    Of order 3 for one of them: that a coefficient of any order is one more derivative is not the optimizer's.
    """
    optimizer, spacetime, order = OPTIMIZERS[name], ts.SGD(N=2, B=1, E=1), 3 if name == "adam" else 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if "clipped" in name else "error", RuntimeWarning)
        found = expanded_everywhere(optimizer, bent_loss, POINTS, BENT, spacetime, order=order)
    sets = jnp.array(list(product(POINTS, repeat=2)))
    batches = np.asarray(spacetime.draw(jax.random.split(jax.random.key(0), 1)))
    rates = 0.02 * np.cos(np.pi * (np.arange(9) + 0.5) / 9)
    at = jax.jit(jax.vmap(jax.vmap(lambda rows, eta: trained(optimizer, rows, batches, eta), (0, None)), (None, 0)))
    means = np.asarray(at(sets, jnp.asarray(rates))).mean(axis=1)
    fitted = np.polynomial.Polynomial.fit(rates, means, 8).convert().coef
    np.testing.assert_allclose(found.coefficients, fitted[: order + 1], rtol=1e-5)


# -- (3) against simulation ----------------------------------------------------------------------------------


def test_adam_predicts_what_is_simulated() -> None:
    """(3): a joint χ² over three learning rates, with trials of other keys; a lower order fails the same test."""
    landscape = ts.Landscape(bent_loss, POINTS)
    spacetime, rates = ts.SGD(N=6, B=2, E=2), [0.005, 0.01, 0.02]

    def adam(eta: Any) -> Any:
        return optax.adam(eta, eps_root=0.05)

    run = ts.simulate(landscape, BENT, spacetime, rates, 8000, key=1, update=adam)
    found = ts.expand(adam, landscape, BENT, spacetime, 3, trials=8000, key=2)
    prediction = found.predict(rates)
    comparison = ts.compare(prediction, run)
    assert comparison.degrees == 3 and comparison.agrees, comparison
    assert np.abs(comparison.deviations).max() < 3
    straight = prediction.contributions[:2].sum(axis=0)
    assert np.abs(straight - comparison.simulated)[-1] > 5 * comparison.simulated_error[-1]


def test_differences_are_paired() -> None:
    """Of two optimizers on the same draws, against the paired difference of two simulations."""
    landscape, spacetime = ts.Landscape(bent_loss, POINTS), ts.SGD(N=4, B=2, E=1)
    ball, sgd = (lambda eta: optax.sgd(eta, momentum=0.5)), optax.sgd
    one, two = (ts.expand(o, landscape, BENT, spacetime, 2, trials=2000, key=3) for o in (ball, sgd))
    apart = one - two
    assert str(apart).startswith("E_")
    np.testing.assert_allclose(apart.coefficients, np.subtract(one.coefficients, two.coefficients), atol=1e-6)
    assert apart.standard_errors[1] < 0.9 * np.hypot(one.standard_errors, two.standard_errors)[1]
    runs = [ts.simulate(landscape, BENT, spacetime, [0.01], 2000, key=4, update=o) for o in (ball, sgd)]
    assert ts.compare(apart.predict([0.01]), runs[0] - runs[1]).agrees
    with pytest.raises(ValueError, match="different training sets"):
        _ = one - ts.expand(sgd, landscape, BENT, spacetime, 2, trials=2000, key=4)
    with pytest.raises(ValueError, match="is nothing"):
        _ = one - one


# -- (4) what it costs ---------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """(4): what the compiled program holds beside its arguments is the same for 4 updates and for 400."""
    held = []

    def measured(*arguments: Any, **others: Any) -> Any:
        program = jitted.lower(*arguments, **others).compile()
        held.append(program.memory_analysis().temp_size_in_bytes)
        return jitted(*arguments, **others)

    jitted = expanding._expanded
    monkeypatch.setattr(expanding, "_expanded", measured)
    for epochs in (1, 100):
        ts.expand(optax.sgd, ts.Landscape(bent_loss, POINTS), BENT, ts.SGD(N=4, B=1, E=epochs), 1, trials=8)
    assert held[1] < 1.1 * held[0] + 8 * 4 * 400  # and the order of the rows


def test_one_program_serves_all_keys_and_points(compilations: list[str]) -> None:
    """The data, θ_0 and the draws are traced."""
    landscape, spacetime = ts.Landscape(bent_loss, POINTS), ts.SGD(N=4, B=2, E=1)
    ts.expand(optax.sgd, landscape, BENT, spacetime, 2, trials=10, key=0)
    compilations.clear()
    moved = jax.tree.map(lambda leaf: leaf + 0.1, BENT)
    ts.expand(optax.sgd, landscape, moved, spacetime, 2, trials=10, key=1)
    assert not compilations


# -- what it refuses -----------------------------------------------------------------------------------------


def stopped(eta: Any) -> Any:
    """A rule behind whose steps derivatives are stopped."""
    return optax.stateless(lambda slope, _: jax.tree.map(lambda g: -eta * jax.lax.stop_gradient(g), slope))


def iter_errors() -> Iterator[Any]:
    yield {"optimizer": optax.sgd(0.1)}, TypeError, "has its learning rate fixed already"
    yield {"optimizer": 3}, TypeError, "optimizer=3 must be a function of eta"
    yield {"optimizer": lambda eta: 3}, TypeError, "returned 3; a function of eta must return"
    yield {"optimizer": lambda: 3}, TypeError, "can't be called with a learning rate"
    yield {"optimizer": lambda eta: optax.sgd(0.1)}, ValueError, "does not depend on the learning rate"
    yield {"optimizer": optax.lion}, ValueError, "jumps (sign)"
    yield {"optimizer": stopped}, ValueError, "holds a stop_gradient"
    yield {"optimizer": lambda eta: optax.masked(optax.sgd(eta), {"c": True})}, ValueError, "can't step from theta['a']"
    yield {"optimizer": ts.ImplicitStep()}, NotImplementedError, "solved by iterations"
    yield {"optimizer": ts.HeavyBall(sympy.Symbol("beta"))}, ValueError, "leaves beta open"
    yield {"optimizer": lambda eta: optax.rmsprop(eta, eps=0), "theta": {"a": 0.0, "b": [0.0, 0.0]}}, ValueError, "eps_root"  # fmt: skip  # noqa: E501
    yield {"theta": {"a": 1, "b": [0.1, 0.1]}}, TypeError, "theta['a'] has dtype"
    yield {"theta": 0.5}, TypeError, "loss can't be computed from"
    yield {"spacetime": ts.ODE(T=3)}, NotImplementedError, "makes no updates"
    yield {"spacetime": ts.SGD(N=4, B=1)}, ValueError, "leaves E open"
    yield {"spacetime": 3}, TypeError, "spacetime=3 is not a spacetime"
    yield {"order": 9}, ValueError, "order=9 doubles the cost"
    yield {"order": -1}, ValueError, "order=-1 must be"
    yield {"trials": 1}, ValueError, "trials=1"
    yield {"observable": 3}, TypeError, "observable=3 is not an observable"
    yield {"observable": ts.Variance(ts.Displacement())}, TypeError, "moments of a displacement"
    yield {"observable": ts.Observable(sympy.Symbol("x"))}, TypeError, "is an expression"
    yield {"observable": ts.Covariance(ts.TestLoss(), ts.TestLoss(), times=(1, 2))}, NotImplementedError, "times"


@pytest.mark.parametrize(("arguments", "error", "message"), list(iter_errors()))
def test_errors(arguments: Any, error: Any, message: str) -> None:
    good = {"optimizer": optax.sgd, "theta": BENT, "spacetime": ts.SGD(N=2, B=1, E=1), "order": 2, "trials": 2}
    with pytest.raises(error, match=re.escape(message)):
        ts.expand(**{"landscape": ts.Landscape(bent_loss, POINTS)} | good | arguments)


def test_kinks_are_warned_of() -> None:
    landscape, spacetime = ts.Landscape(bent_loss, POINTS), ts.SGD(N=2, B=1, E=1)
    with pytest.warns(RuntimeWarning, match=r"the optimizer has kinks in its gradients \(where\)") as found:
        ts.expand(
            lambda eta: optax.chain(optax.clip_by_global_norm(9.0), optax.sgd(eta)), landscape, BENT, spacetime, 1,
            trials=2,
        )  # fmt: skip
    assert found[0].filename == __file__
    with pytest.warns(RuntimeWarning, match="the loss has kinks"):
        ts.expand(optax.sgd, ts.Landscape(lambda t, x: abs(t - x), POINTS), 0.3, spacetime, 1, trials=2)
