"""Every update rule and every random schedule in simulations, against plain numpy loops.

On three points there are few training sets and orders. Each is run in numpy as the rule is written, with dense
Hessians, and every trial of a simulation must be one of those runs.
"""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import fsolve
from sympy import Rational, Symbol

import taylorsgd as ts

POINTS = np.array([[0.5, -1.0], [-0.25, 0.75], [1.0, 0.5]])
START = np.array([0.5, -0.75])
ETA = 0.1
HALF = Rational(1, 2)


def loss(theta: Any, x: Any) -> Any:
    u, v = theta
    return (u * v + x[0]) ** 2 / 2 + (u**2 - x[1] * v) ** 2 / 4 + x[0] * u


def gradient(theta: np.ndarray, points: np.ndarray) -> np.ndarray:
    u, v = theta
    a, b = points.T
    first, second = u * v + a, u**2 - b * v
    return np.array([first * v + second * u + a, first * u - second * b / 2]).mean(axis=1)


def hessian(theta: np.ndarray, points: np.ndarray) -> np.ndarray:
    u, v = theta
    a, b = points.T
    mixed = 2 * u * v + a - u * b
    found = [[v**2 + 3 * u**2 - b * v, mixed], [mixed, u**2 + b**2 / 2]]
    return np.array([[np.mean(entry * np.ones(len(a))) for entry in row] for row in found])


def written(update: Any, batches: Any) -> np.ndarray:
    """θ_T by the rule of `update`, one batch of points after the other."""
    at, velocity = START.copy(), np.zeros(2)
    rates = getattr(update, "rates", None) or [1] * len(batches)
    beta, decay, lam = (float(getattr(update, name, 0)) for name in ("beta", "decay", "instant"))
    metric = np.array(getattr(update, "metric", None) or np.eye(2), dtype=float).reshape(2, 2)
    torch, ahead = getattr(update, "convention", "") == "torch", isinstance(update, ts.Nesterov)
    for batch, r in zip(batches, map(float, rates), strict=True):
        slope = metric @ gradient(at, batch)
        if isinstance(update, ts.SecondOrder):
            at = at - ETA * np.linalg.solve(np.eye(2) + ETA * lam * hessian(at, batch), slope)
        elif isinstance(update, ts.ImplicitStep):
            at: Any = fsolve(lambda to: to - at + ETA * gradient(at + lam * (to - at), batch), at, xtol=1e-13)  # noqa: B023
        elif isinstance(update, ts.GDC):
            rows = [batch[n : n + 1] for n in range(len(batch))]
            apart = [gradient(at, row) - slope for row in rows]
            of_noise = sum(2 * hessian(at, row) @ a for row, a in zip(rows, apart, strict=True)) / (len(rows) - 1)
            at = at - ETA * (slope + ETA * (1 / int(update.B) - 1 / len(rows)) / 4 * of_noise)
        elif torch:
            velocity = beta * velocity + slope
            at = at - ETA * r * (slope + beta * velocity if ahead else velocity)
        else:
            if ahead:
                slope = gradient(at + beta * velocity, batch)
            velocity = beta * velocity - ETA * r * slope
            at = at + velocity - decay * (at - START)
    return np.asarray(at)


def orders(spacetime: Any) -> list[Any]:
    """All equally likely sequences of batches of rows."""
    count, batches = int(spacetime.N), np.array(next(spacetime.histories())[1])
    if isinstance(spacetime, ts.Replacement):
        return [np.reshape(rows, batches.shape) for rows in product(range(count), repeat=batches.size)]
    if not getattr(spacetime, "shuffle", False):
        return [batches]
    epochs = [np.reshape(order, (-1, batches.shape[1])) for order in permutations(range(count))]
    return [np.concatenate(chosen) for chosen in product(epochs, repeat=len(batches) * batches.shape[1] // count)]


def training_sets(spacetime: Any) -> Any:
    if getattr(spacetime, "data", "fresh") == "fixed":
        return [POINTS]
    return POINTS[np.array(list(product(range(3), repeat=int(spacetime.N))))]


PLACE = ts.Landscape(loss, POINTS)
BOTH = [ts.Observable(lambda theta: theta[0], name="u"), ts.Observable(lambda theta: theta[1], name="v")]


def simulated(spacetime: Any, trials: int, update: Any = None, **options: Any) -> Any:
    start, key = jnp.asarray(START), jax.random.key(3)
    with jax.enable_x64(True):
        return ts.simulate(
            PLACE, start.astype(float), spacetime, ETA, trials, key, update=update, observables=BOTH, **options
        )


def check_every_trial(spacetime: Any, trials: int, update: Any = None) -> Any:
    run = simulated(spacetime, trials, update)
    finals = np.array(
        [written(update, points[order]) for points in training_sets(spacetime) for order in orders(spacetime)]
    )
    each = np.stack([run.observables[name].trials for name in "uv"], axis=1)
    assert np.abs(each[:, None] - finals).max(axis=2).min(axis=1).max() < 1e-9
    spread = finals.std(axis=0) / np.sqrt(trials)
    assert (np.abs(each.mean(axis=0) - finals.mean(axis=0)) < 4 * spread + 1e-12).all()
    return run


RULES = [
    ts.Descent(rates=[HALF, 2, 0, 1], decay=Rational(1, 10)),
    ts.Descent(metric=[[2, 1], [1, 3]]),
    ts.HeavyBall(Rational(9, 10), decay=Rational(1, 5)),
    ts.HeavyBall(HALF, rates=[1, 3, 2, HALF]),
    ts.HeavyBall(HALF, rates=[1, 3, 2, HALF], convention="torch"),
    ts.Nesterov(HALF, rates=[1, 3, 2, HALF]),
    ts.Nesterov(HALF, rates=[1, 3, 2, HALF], convention="sutskever"),
    ts.SecondOrder(Rational(3, 2)),
    ts.ImplicitStep(),
    ts.ImplicitStep(HALF),
]


@pytest.mark.parametrize("update", RULES, ids=repr)
def test_a_rule_does_what_is_written(update: Any) -> None:
    check_every_trial(ts.SGD(N=4, B=2, E=2), 100, update)


def test_gdc() -> None:
    check_every_trial(ts.GD(N=4, T=3), 100, ts.GDC(B=2))
    # it explains SGD better than GD does, on the same training sets
    sgd, gd = (simulated(way, 4000) for way in (ts.SGD(N=4, B=1, E=1), ts.GD(N=4, T=4)))
    gdc = simulated(ts.GD(N=4, T=4), 4000, ts.GDC(B=1))
    missed = [abs((sgd - other).test_loss.mean) for other in (gd, gdc)]
    assert missed[0] - missed[1] > 4 * (gd - gdc).test_loss.standard_error
    alone = ts.GD(N=1, T=3)
    np.testing.assert_array_equal(
        simulated(alone, 30, ts.GDC(B=1)).test_loss.trials, simulated(alone, 30).test_loss.trials
    )


@pytest.mark.parametrize(
    "spacetime",
    [
        ts.SGD(N=3, B=1, E=2, shuffle=True),
        ts.Replacement(N=2, B=2, T=2),
        ts.SGD(N=3, B=1, E=2, shuffle=True, data="fixed"),
        ts.Replacement(N=3, B=1, T=3, data="fixed"),
    ],
    ids=repr,
)
def test_random_batches(spacetime: Any) -> None:
    run = check_every_trial(spacetime, 3000)
    check_every_trial(spacetime, 200, ts.HeavyBall(HALF))
    if spacetime.data == "fixed":
        np.testing.assert_allclose(run.gap.trials, 0, atol=1e-12)
        means = np.mean([loss(START, x) for x in POINTS])
        at_rest = simulated(spacetime, 10, ts.Descent(rates=[0] * int(spacetime.T)))
        np.testing.assert_allclose(at_rest.train_loss.trials, means)


def test_all_orders_are_drawn_equally_often() -> None:
    drawn = np.asarray(ts.SGD(N=3, B=1, E=2, shuffle=True).draw(jax.random.split(jax.random.key(0), 7200)))
    _, counts = np.unique(drawn.reshape(-1, 6), axis=0, return_counts=True)
    assert len(counts) == 36 and ((counts - 200) ** 2 / 200).sum() < 66  # χ² of 35 degrees at 0.1 %


def test_the_same_key_gives_the_same_training_sets_and_orders() -> None:
    shuffled = simulated(ts.SGD(N=4, B=1, E=2, shuffle=True), 60, ts.Descent(rates=[0] * 8))
    replaced = simulated(ts.Replacement(N=4, B=2, T=3), 60, ts.HeavyBall(0, rates=[0] * 3), chunk=7)
    np.testing.assert_allclose(shuffled.train_loss.trials, replaced.train_loss.trials)
    one, two = (ts.SGD(N=4, B=B, E=2, shuffle=True) for B in (1, 2))
    keys = jax.random.split(jax.random.key(1), 5)
    np.testing.assert_array_equal(one.draw(keys).reshape(5, 4, 2), two.draw(keys))
    # and a difference knows whether they are
    first, second = simulated(one, 60), simulated(two, 60)
    difference = first - second
    np.testing.assert_allclose(difference.test_loss.mean, first.test_loss.mean - second.test_loss.mean)
    assert difference.test_loss.standard_error < first.test_loss.standard_error
    with pytest.raises(ValueError, match="different training sets"):
        _ = first - simulated(ts.SGD(N=2, B=1, E=2), 60)
    with pytest.raises(TypeError, match="is a vector"):
        difference.statistic(ts.Displacement())
    assert "60 paired trials" in repr(difference) and difference._repr_html_().count("<tr>") == 2


def test_an_optax_optimizer() -> None:
    sgd = ts.SGD(N=4, B=2, E=2)
    momentum = simulated(sgd, 50, lambda eta: optax.sgd(eta, momentum=0.5, nesterov=True))
    same = simulated(sgd, 50, ts.Nesterov(HALF))
    np.testing.assert_allclose(momentum.test_loss.trials, same.test_loss.trials, rtol=1e-9)

    def watchful(eta: Any) -> optax.GradientTransformationExtraArgs:
        """Descent whose gradient is taken anew, from the loss or from the points that it is handed."""

        def update(_: Any, state: Any, params: Any, *, value_fn: Any, batch: Any) -> Any:
            assert batch.shape == (2, 2)
            own = jax.grad(lambda theta: jnp.mean(jax.vmap(loss, (None, 0))(theta, batch)))(params)
            return -eta * (own + jax.grad(value_fn)(params)) / 2, state

        return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)

    np.testing.assert_allclose(simulated(sgd, 50, watchful).test_loss.trials, simulated(sgd, 50).test_loss.trials)


def test_a_difference_agrees_with_the_difference_of_formulas() -> None:
    """SGD against heavy ball on the same training sets, with a tenth of the error of unpaired runs."""
    place, sgd, ball = ts.Landscape(loss, POINTS), ts.SGD(N=6, B=2, E=1), ts.HeavyBall(Rational(1, 5))
    rates, key = [0.005, 0.01], jax.random.key(5)
    f, g = (ts.derive(ts.TestLoss(), sgd, order=3, update=update) for update in (ts.Descent(), ball))
    prediction = ts.predict(f - g, place, jnp.asarray(START), eta=rates)
    plain, moved = (
        ts.simulate(place, jnp.asarray(START), sgd, rates, 2000, key, update=update) for update in (None, ball)
    )
    assert ts.compare(prediction, plain - moved).agrees
    assert ((plain - moved).test_loss.standard_error < plain.test_loss.standard_error / 2).all()
    assert not ts.compare(ts.predict(f, place, jnp.asarray(START), eta=rates), moved, strict=False).agrees


def test_one_compilation_for_all_numbers() -> None:
    found: list[str] = []

    def note(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(event)

    sgd = ts.SGD(N=4, B=2, E=2, shuffle=True)
    simulated(sgd, 20, ts.HeavyBall(HALF))
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        simulated(sgd, 20, ts.HeavyBall(Rational(1, 3), rates=[4, 3, 2, 1]))
        assert not found
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def test_an_equation_that_is_not_solved_diverges() -> None:
    steep = ts.Landscape(lambda theta, x: -5 * theta**2 + x * theta, np.array([1.0, 2.0]))
    with pytest.warns(RuntimeWarning, match="4 of 4 trials diverged"):  # 1 + ηλH = 0
        ts.simulate(steep, 1.0, ts.GD(N=2, T=1), 0.1, 4, jax.random.key(0), update=ts.SecondOrder(1))


def test_errors() -> None:
    sgd = ts.SGD(N=3, B=1, E=1)
    for bad, error, message in (
        ({"update": 3}, TypeError, "must be an update rule"),
        ({"update": ts.HeavyBall(Symbol("beta"))}, ValueError, "leaves beta open in beta"),
        ({"update": ts.GDC(B=1)}, ValueError, "is gradient descent on all rows"),
        ({"spacetime": ts.GD(N=3, T=1), "update": ts.GDC()}, ValueError, "leaves B open in"),
        ({"update": ts.Descent(rates=[1])}, ValueError, "rates has 1 entries for 3 updates"),
        ({"spacetime": ts.SDE(T=1, B=1), "update": ts.Descent()}, NotImplementedError, "has none; supported"),
        ({"spacetime": ts.Replacement(N=5, B=1, T=1, data="fixed")}, ValueError, "N=5 training points.*3 points"),
        ({"spacetime": ts.Replacement(N=3, B=1, T=1, data="fixed"), "test_points": 4}, ValueError, "fixed data"),
    ):  # fmt: skip
        arguments: dict[str, Any] = {"spacetime": sgd} | bad
        with pytest.raises(error, match=message):
            simulated(arguments.pop("spacetime"), 4, **arguments)
