"""What was measured elsewhere is refused, and what a loss reads is read anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import taylorsgd as ts
from taylorsgd.landscapes.fingerprints import Fingerprint, Origin
from taylorsgd.measuring.results import Measured

DATA = jnp.linspace(-1.0, 1.0, 5)
THETA = jnp.array([0.3, -0.4])


def loss(theta: Any, x: Any) -> Any:
    return jnp.cosh(theta[0] + x) + theta[0] * theta[1] ** 2


def origin(function: Callable[..., Any] = loss, data: Any = DATA, theta: Any = THETA) -> Origin:
    return Origin(ts.Landscape(function, data).traced(theta), theta)


@jax.custom_jvp
def stubborn(theta: Any, x: Any) -> Any:
    """The same values as `loss`, with other derivatives."""
    return loss(theta, x)


@stubborn.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return loss(*primals), jnp.zeros(())


OTHERS: list[tuple[str, Origin, list[str]]] = [
    ("another slope", origin(lambda t, x: loss(t, 1.1 * x)), ["loss"]),
    ("another constant", origin(lambda t, x: loss(t, x) + 0.01), ["loss"]),
    ("equal at theta only", origin(lambda t, x: loss(t, x) + jnp.sum((t - THETA) ** 2)), ["loss"]),
    ("equal values, other derivatives", origin(stubborn), ["loss"]),
    ("no derivative", origin(lambda t, x: loss(lax.stop_gradient(t), x)), ["loss"]),
    ("other data", origin(data=DATA + 0.01), ["data", "loss"]),
    ("fewer data", origin(data=DATA[:4]), ["data", "loss"]),
    ("one point changed", origin(data=DATA.at[2].set(0.2)), ["data", "loss"]),
    ("another theta", origin(theta=THETA.at[1].set(-0.3)), ["theta", "loss"]),
    ("theta in other places", origin(theta=THETA[::-1]), ["theta", "loss"]),
    ("another sampler", origin(data=lambda key, n: 2 * jax.random.normal(key, (n,))), ["data", "loss"]),
]


@pytest.mark.parametrize(("other", "parts"), [case[1:] for case in OTHERS], ids=[case[0] for case in OTHERS])
def test_what_differs_is_named(other: Origin, parts: list[str]) -> None:
    assert origin().differing(other) == parts
    assert other.differing(origin()) == parts


def test_the_same_written_otherwise_is_the_same() -> None:
    twin = origin(
        lambda theta, x: theta[1] * theta[0] * theta[1] + (jnp.exp(x + theta[0]) + jnp.exp(-x - theta[0])) / 2
    )
    assert origin().differing(twin) == []
    again = Fingerprint.from_json(origin().fingerprint.to_json())
    assert again is not None
    assert again.differing(twin.fingerprint) == []
    sampler = [origin(data=lambda key, n: jax.random.normal(key, (n,))) for _ in range(2)]
    assert sampler[0].differing(sampler[1]) == []


def test_other_precision_is_the_same() -> None:
    with jax.enable_x64(True):
        wide = origin(data=jnp.linspace(-1.0, 1.0, 5), theta=jnp.array([0.3, -0.4])).fingerprint
    assert origin().fingerprint.differing(wide) == []


def test_losses_that_are_not_differentiable_in_reverse_are_known_by_their_values() -> None:
    def looped(theta: Any, x: Any) -> Any:
        return lax.while_loop(lambda state: state[0] < 3, lambda state: (state[0] + 1, state[1] * theta[0]), (0, x))[1]

    assert origin(looped).differing(origin(looped)) == []
    assert origin(looped).differing(origin(lambda t, x: looped(2 * t, x))) == ["loss"]


def test_random_keys_and_integers_among_the_data() -> None:
    def noisy(theta: Any, x: Any) -> Any:
        return theta[0] * jax.random.normal(x["key"]) + theta[1] * x["label"]

    first, second = ({"key": jax.random.split(jax.random.key(i), 4), "label": jnp.arange(4)} for i in (0, 1))
    assert origin(noisy, first).differing(origin(noisy, first)) == []
    assert origin(noisy, first).differing(origin(noisy, second)) == ["data", "loss"]


FORMULA = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)
RESUMMED = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2, resum="discrete")
WAYS: list[tuple[ts.Formula, Any]] = [
    (FORMULA, ts.MatrixFree()), (RESUMMED, ts.Dense()), (RESUMMED, ts.TopEigenpairs(2)),
]  # fmt: skip


@pytest.mark.parametrize(("formula", "method"), WAYS, ids=["values", "tensors", "eigenpairs"])
def test_measurements_of_elsewhere_are_refused(formula: ts.Formula, method: Any, tmp_path: Path) -> None:
    here, there = ts.Landscape(loss, DATA), ts.Landscape(lambda theta, x: loss(theta, 2 * x), DATA)
    measured: Measured = ts.measure(formula, here, THETA, key=0, samples=32, method=method)
    measured.save(tmp_path / "measured.npz")
    loaded = type(measured).load(tmp_path / "measured.npz")
    assert loaded.fingerprint == measured.fingerprint
    for known in (measured, loaded):
        ts.predict(formula, here, THETA, eta=0.01, measurement=known, N=4)
        for place, theta, named in ((there, THETA, "loss"), (here, THETA + 1, "theta")):
            with pytest.raises(ValueError, match=rf"the measurement is of another .* they differ in .*{named}"):
                ts.predict(formula, place, theta, eta=0.01, measurement=known, N=4)


def test_observables_are_told_apart() -> None:
    one, two = (ts.Observable(lambda theta, k=k: jnp.sum(theta**k), name="R") for k in (2, 4))
    here = ts.Landscape(loss, DATA)
    formulas = [ts.derive(observable, ts.SGD(B=1, E=1), order=1) for observable in (one, two)]
    measured = ts.measure(formulas[0], here, THETA)
    with pytest.raises(ValueError, match="the observable R"):
        ts.predict(formulas[1], here, THETA, eta=0.01, measurement=measured, N=4)


def test_checkpoints_know_their_loss(tmp_path: Path) -> None:
    method = ts.MatrixFree(checkpoint=tmp_path / "kept.npz", batch=2)
    here = ts.Landscape(loss, DATA)
    first = ts.measure(FORMULA, here, THETA, key=0, samples=32, method=method)
    again = ts.measure(FORMULA, here, THETA, key=0, samples=32, method=method)
    assert np.array_equal(first.mean, again.mean)
    with pytest.raises(ValueError, match="belongs to another measurement: they differ in loss;"):
        ts.measure(FORMULA, ts.Landscape(lambda t, x: loss(t, 2 * x), DATA), THETA, key=0, samples=32, method=method)
    drawn = ts.MatrixFree(checkpoint=tmp_path / "drawn.npz", batch=2)
    for scale, refused in ((1.0, False), (2.0, True)):
        place = ts.Landscape(loss, lambda key, n, scale=scale: scale * jax.random.normal(key, (n,)))
        if refused:
            with pytest.raises(ValueError, match="they differ in data, loss"):
                ts.measure(FORMULA, place, THETA, key=0, samples=32, method=drawn)
        else:
            ts.measure(FORMULA, place, THETA, key=0, samples=32, method=drawn)


def test_runs_of_elsewhere_are_not_compared() -> None:
    sgd = ts.SGD(N=4, B=1, E=1)
    here, there = ts.Landscape(loss, DATA), ts.Landscape(lambda theta, x: loss(theta, 2 * x), DATA)
    runs = [ts.simulate(place, THETA, sgd, 0.005, trials=64, key=0) for place in (here, there)]
    moved = ts.simulate(here, THETA + 1, sgd, 0.005, trials=64, key=0)
    with pytest.raises(ValueError, match="the runs are of different landscapes or theta: they differ in loss"):
        _ = runs[0] - runs[1]
    with pytest.raises(ValueError, match="they differ in theta"):
        _ = runs[0] - moved
    prediction = ts.predict(ts.derive(ts.TestLoss(), sgd, order=2), here, THETA, eta=0.005)
    with pytest.raises(ValueError, match="prediction and simulation are of different landscapes or theta: .* loss"):
        ts.compare(prediction, runs[1])
    ts.compare(prediction, runs[1], strict=False)
    ts.compare(prediction, runs[0])


SCALE = 1.0


class Scaled:
    """A callable that reads a global, a number and an array, each of which can be changed."""

    number: float = 1.0
    array: Any = np.array([1.0])

    def __call__(self, theta: Any, x: Any = 0.0) -> Any:
        return SCALE * self.number * jnp.sum(jnp.asarray(self.array)) * loss(theta, x)


def answers(function: Any, observed: Any) -> list[float]:
    """What every door gives that evaluates a loss, all of it proportional to the loss or its square."""
    place, sgd = ts.Landscape(function, DATA), ts.SGD(N=4, B=1, E=1)
    observable = ts.Observable(observed, name="R")
    run = ts.simulate(place, THETA, sgd, 1e-6, trials=2, key=0, observables=[observable])
    flow = ts.simulate(place, THETA, ts.ODE(T=1), 1e-6, trials=2, key=0)
    measured = ts.measure(FORMULA, place, THETA, method=ts.MatrixFree("exact"))
    return [
        float(measured.mean[0]), float(run.test_loss.mean), float(flow.test_loss.mean),
        float(run.observables["R"].mean), float(place.population_loss(THETA)),
        float(ts.tensors(place, THETA, ["G"])["G"][0]), float(ts.landscapes.loss_surface_slope(place, THETA)),
        float(ts.measure(ts.derive(observable, sgd, order=1), place, THETA).mean[0]),
        float(ts.measure(RESUMMED, place, THETA, method=ts.TopEigenpairs(2), key=0).pairs.values[0]),
    ]  # fmt: skip


def test_losses_are_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A global, an attribute and an array are changed one after the other: each door gives what its loss is now."""
    changed = Scaled()
    first = np.array(answers(changed, changed))
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    assert np.array(answers(changed, changed)) == pytest.approx(2 * first, rel=1e-4)
    changed.number = 1.5
    assert np.array(answers(changed, changed)) == pytest.approx(3 * first, rel=1e-4)
    changed.array = np.array([0.5])
    assert np.array(answers(changed, changed)) == pytest.approx(1.5 * first, rel=1e-4)


def test_losses_that_stay_are_compiled_once() -> None:
    traced = []

    def counted(theta: Any, x: Any) -> Any:
        traced.append(1)
        return loss(theta, x)

    def measured() -> int:
        before = len(traced)
        ts.measure(FORMULA, ts.Landscape(counted, DATA), THETA, key=0, samples=16)
        return len(traced) - before

    first, second, third = measured(), measured(), measured()
    assert first > second == third
