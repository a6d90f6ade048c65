"""Simulated descent against every training set of a small population, one by one.

On a population of K points there are K^N training sets. Descent on each, in plain Python, gives the exact
expectation, variance and covariance that a simulation estimates.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import taylorsgd as ts
from taylorsgd.descent.runs import Simulation
from taylorsgd.descent.simulating import simulate
from taylorsgd.landscapes import Landscape

POINTS = np.array([[0.5, -1.0], [-0.25, 0.75], [1.0, 0.5]])
START = np.array([0.5, -0.75])
ETA = 0.1


def loss(theta: Any, x: Any) -> Any:
    u, v = theta["uv"]
    return (u * v + x[0]) ** 2 / 2 + (u**2 - x[1] * v) ** 2 / 4 + x[0] * u


def plain_loss(theta: np.ndarray, x: np.ndarray) -> float:
    return float(loss({"uv": theta}, x))


def plain_gradient(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    u, v = theta
    first, second = u * v + x[0], u**2 - x[1] * v
    return np.array([first * v + second * u + x[0], first * u - second * x[1] / 2])


@pytest.fixture(scope="module")
def landscape() -> Landscape:
    return Landscape(loss, POINTS)


@pytest.fixture
def theta() -> dict[str, Any]:
    return {"uv": jnp.asarray(START)}


def every_training_set(spacetime: Any, eta: float) -> dict[str, np.ndarray]:
    """Test loss, training loss and θ_T for each of the K^N training sets."""
    count, batches = int(spacetime.N), next(spacetime.histories())[1]
    results: dict[str, list[Any]] = {"test": [], "train": [], "moved": []}
    for rows in product(range(len(POINTS)), repeat=count):
        at = START.copy()
        for batch in batches:
            at = at - eta * np.mean([plain_gradient(at, POINTS[rows[n]]) for n in batch], axis=0)
        results["test"].append(np.mean([plain_loss(at, x) for x in POINTS]))
        results["train"].append(np.mean([plain_loss(at, POINTS[n]) for n in rows]))
        results["moved"].append(at - START)
    return {name: np.array(found) for name, found in results.items()}


SPACETIMES = [
    ts.SGD(N=4, B=2, E=2),
    ts.SGD(N=3, B=1, E=1),
    ts.GD(N=3, T=4),
    ts.Grid([[1, 1, 0], [0, 1, 1], [1, 0, 1]]),
    ts.SGD(N=2, B=1, E=0),
]


@pytest.mark.parametrize("spacetime", SPACETIMES, ids=repr)
def test_means_agree_with_every_training_set(spacetime: Any, landscape: Landscape, theta: Any) -> None:
    trials = 4000
    run = simulate(landscape, theta, spacetime, ETA, trials, jax.random.key(2))
    exact = every_training_set(spacetime, ETA)
    gap = exact["test"] - exact["train"]
    for statistic, expected in ((run.test_loss, exact["test"]), (run.train_loss, exact["train"]), (run.gap, gap)):
        spread = expected.std() / np.sqrt(trials)
        assert abs(statistic.mean - expected.mean()) <= 4 * spread + 1e-6
        assert statistic.standard_error == pytest.approx(spread, rel=0.1, abs=1e-8)
        assert statistic.trials.shape == (trials,)
    spread = exact["moved"].std(axis=0) / np.sqrt(trials)
    assert (np.abs(run.displacement.mean["uv"] - exact["moved"].mean(axis=0)) <= 4 * spread + 1e-6).all()
    np.testing.assert_allclose(run.displacement.standard_error["uv"], spread, rtol=0.1, atol=1e-8)
    # every single trial is one of the possible ones
    distance = np.abs(run.test_loss.trials[:, None] - exact["test"]).min(axis=1)
    assert distance.max() < 1e-5


def test_moments_over_trials(landscape: Landscape, theta: Any) -> None:
    spacetime = ts.SGD(N=3, B=1, E=1)
    exact = every_training_set(spacetime, ETA)
    trials = 8000
    run = simulate(landscape, theta, spacetime, [ETA, ETA / 2], trials, jax.random.key(0))
    centred = {name: exact[name] - exact[name].mean() for name in ("test", "train")}
    for observable, each in (
        (ts.SecondMoment(ts.TestLoss(), ts.TestLoss()), exact["test"] ** 2),
        (ts.Variance(ts.TestLoss()), centred["test"] ** 2),
        (ts.Covariance(ts.TrainLoss(), ts.TestLoss()), centred["test"] * centred["train"]),
    ):
        statistic = run.statistic(observable)
        assert abs(statistic.mean[0] - each.mean()) < 4 * each.std() / np.sqrt(trials)
        assert statistic.standard_error[0] == pytest.approx(each.std() / np.sqrt(trials), rel=0.1)
    sample = np.cov(run.train_loss.trials[1], run.test_loss.trials[1])[0, 1]
    covariance = run.statistic(ts.Covariance(ts.TrainLoss(), ts.TestLoss()))
    assert covariance.mean[1] == pytest.approx(sample, rel=1e-10)


def test_observables_are_recorded(landscape: Landscape, theta: Any) -> None:
    norm = ts.Observable(lambda theta: jnp.sum(theta["uv"] ** 2), name="norm")
    spacetime = ts.SGD(N=2, B=1, E=1)
    run = simulate(landscape, theta, spacetime, ETA, 2000, jax.random.key(0), observables=[norm])
    exact = ((every_training_set(spacetime, ETA)["moved"] + START) ** 2).sum(axis=1)
    statistic = run.statistic(norm)
    assert abs(statistic.mean - exact.mean()) < 4 * statistic.standard_error
    assert "norm" in str(run)


def test_equal_training_sets_for_equal_keys(landscape: Landscape, theta: Any) -> None:
    key, rates = jax.random.key(7), [0.0, 0.0, 0.01]
    sgd = simulate(landscape, theta, ts.SGD(N=4, B=1, E=2), rates, 300, key)
    gd = simulate(landscape, theta, ts.GD(N=4, T=8), rates, 300, key, chunk=17)
    # at η = 0 the training loss tells which points were drawn
    np.testing.assert_allclose(sgd.train_loss.trials[:2], gd.train_loss.trials[:2], rtol=1e-6)
    assert not np.allclose(sgd.train_loss.trials[0], sgd.train_loss.trials[1])  # another η, another set
    paired = (sgd.test_loss.trials - gd.test_loss.trials)[2].std()
    assert paired < np.hypot(sgd.test_loss.trials[2].std(), gd.test_loss.trials[2].std()) / 2


def test_a_grid_is_the_spacetime_that_it_draws(landscape: Landscape, theta: Any) -> None:
    key = jax.random.key(1)
    grid = simulate(landscape, theta, ts.Grid([[1, 0, 1, 0], [0, 1, 0, 1]]), ETA, 50, key)
    sgd = simulate(landscape, theta, ts.SGD(N=2, B=1, E=2), ETA, 50, key)
    np.testing.assert_allclose(grid.test_loss.trials, sgd.test_loss.trials, rtol=1e-6)
    full = simulate(landscape, theta, ts.SGD(N=2, B=2, E=3), ETA, 50, key)
    gd = simulate(landscape, theta, ts.GD(N=2, T=3), ETA, 50, key)
    np.testing.assert_allclose(full.test_loss.trials, gd.test_loss.trials, rtol=1e-6)


def test_schedules() -> None:
    assert ts.SGD(N=6, B=2, E=2).draw(None).tolist() == [[0, 1], [2, 3], [4, 5]] * 2
    assert ts.GD(N=2, T=3).draw(None).tolist() == [[0, 1]] * 3
    assert ts.Grid([[1, 0], [0, 1], [1, 1]]).draw(None).tolist() == [[0, 2], [1, 2]]
    assert ts.GD(N=2, T=0).draw(None).shape == (0, 2)


def test_a_sampler_has_fresh_test_points(theta: Any) -> None:
    def draw(key: jax.Array, n: int) -> jax.Array:
        return jnp.asarray(POINTS)[jax.random.randint(key, (n,), 0, len(POINTS))]

    spacetime = ts.SGD(N=3, B=1, E=1)
    exact = every_training_set(spacetime, ETA)
    for landscape, test_points in ((Landscape(loss, draw), None), (Landscape(loss, POINTS), 5)):
        run = simulate(landscape, theta, spacetime, ETA, 2000, jax.random.key(0), test_points=test_points)
        for statistic, expected in ((run.test_loss, exact["test"]), (run.train_loss, exact["train"])):
            assert abs(statistic.mean - expected.mean()) < 4 * statistic.standard_error
        assert run.test_loss.trials.std() > exact["test"].std()  # sampling the test points adds noise


def test_a_toy_is_simulated_as_it_is() -> None:
    toy = ts.landscapes.mean_estimation(H=1, S=2)
    run = simulate(toy, jnp.array([1.0]), ts.SGD(N=4, B=1, E=1), 0.1, 3000, jax.random.key(0))
    # θ_T = Π (1 − η) θ_0 − η S Σ …, a Gaussian
    mean = 0.9**4
    assert abs(run.displacement.mean[0] - (mean - 1)) < 4 * run.displacement.standard_error[0]


def test_it_compiles_once_for_all_rates(landscape: Landscape, theta: Any) -> None:
    found: list[str] = []

    def note(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        simulate(landscape, theta, ts.SGD(N=5, B=1, E=1), [0.1, 0.2], 40, jax.random.key(0), chunk=13)
        assert found
        found.clear()
        simulate(landscape, theta, ts.SGD(N=5, B=1, E=1), [0.3, 0.4, 0.5], 40, jax.random.key(1), chunk=13)
        assert not found
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def test_divergence_is_reported(landscape: Landscape, theta: Any) -> None:
    with pytest.warns(RuntimeWarning, match=r"eta=50: \d+ of 30 trials diverged"):
        run = simulate(landscape, theta, ts.GD(N=2, T=20), [0.01, 50.0], 30, jax.random.key(0))
    assert run.diverged.tolist()[0] == 0 < run.diverged[1]
    assert np.isfinite(run.test_loss.mean[0]) and not np.isfinite(run.test_loss.mean[1])
    assert run._repr_html_().count("<tr>") == 3


def iter_errors() -> Iterator[Any]:
    good: dict[str, Any] = {"spacetime": ts.SGD(N=2, B=1, E=1), "eta": 0.1, "trials": 10}
    yield good | {"spacetime": ts.SGD(N=2, B=1)}, ValueError, "leaves E open"
    yield good | {"spacetime": ts.GD()}, ValueError, "leaves N, T open"
    yield good | {"spacetime": 3}, TypeError, "is not a spacetime"
    yield good | {"eta": []}, ValueError, "eta="
    yield good | {"eta": [0.1, np.inf]}, ValueError, "eta="
    yield good | {"trials": 1}, ValueError, "trials=1"
    yield good | {"test_points": 0}, ValueError, "test_points=0"
    yield good | {"chunk": 0}, ValueError, "chunk=0"
    yield good | {"landscape": 3}, TypeError, "not a Landscape"
    yield good | {"theta": 3}, TypeError, "dtype int32"
    yield good | {"observables": [3]}, TypeError, "takes Observable"
    yield good | {"observables": [ts.Observable(sympy.Symbol("x"))]}, TypeError, "is an expression"
    yield good | {"observables": [ts.Observable(jnp.sum)] * 2}, ValueError, "share a name: s, s"


@pytest.mark.parametrize(("arguments", "error", "message"), list(iter_errors()))
def test_errors(landscape: Landscape, theta: Any, arguments: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        simulate(**{"landscape": landscape, "theta": theta, "key": jax.random.key(0)} | arguments)


def test_statistics_that_were_not_recorded(landscape: Landscape, theta: Any) -> None:
    run = simulate(landscape, theta, ts.SGD(N=2, B=1, E=1), ETA, 10, jax.random.key(0))
    assert isinstance(run, Simulation)
    with pytest.raises(ValueError, match="was not recorded"):
        run.statistic(ts.Observable(jnp.sum))
    with pytest.raises(TypeError, match="moments of a displacement"):
        run.statistic(ts.Variance(ts.Displacement()))
    with pytest.raises(TypeError, match="is not an observable"):
        run.statistic(3)
    assert run.statistic(ts.Displacement()) is run.displacement
