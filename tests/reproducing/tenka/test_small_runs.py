"""The experiments on *SGD at Small Learning Rates* at a tiny size, runs that are resumed, and derived differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from same_files import assert_same
from sympy import Rational, symbols

import taylorsgd as ts
from taylorsgd.reproducing import Outcome, load_experiment
from taylorsgd.reproducing.labelled_images import load_images
from taylorsgd.reproducing.tenka import EXPERIMENTS, image_classifiers
from taylorsgd.reproducing.tenka.image_classifiers import CONVOLUTIONAL, LOGISTIC, population
from taylorsgd.reproducing.tenka.sde_difference import differences
from taylorsgd.reproducing.tenka.several_epochs import more_epochs, printed
from taylorsgd.symbols import eta

SMALL = {"images": 12, "side": 28, "initializations": 2, "trials": 6}
CURVE = {**SMALL, "samples": 16, "order": 2, "eigenpairs": (1, 1)}
TINY: dict[str, dict[str, Any]] = {
    "sgd-curvature": {"points": (2,), "fourth": False},
    "sgd-diagrams": {"links": 1},
    "sgd-landscape": {"updates": 600, "trials": 40},
    "sgd-responses": {"rates": (0.04, 0.02), "complete": ((2, 1),), "hopping": (0.4, 0.3), "points": 60},
    "sgd-test-loss": {**CURVE, "times": (1.0, 2.0)},
    "sgd-gap": {**CURVE, "times": (0.25, 2.0)},
    "sgd-gdc": {**SMALL, "samples": 16, "rates": (0.05, 0.1)},
    "sgd-epochs": {**SMALL, "samples": 16, "rates": (0.05, 0.1), "epochs": (2,)},
    "sgd-helix": {"rates": (0.1, 0.2), "updates": 500, "trials": 60},
    "sgd-mean-estimation": {"hessians": (1e-4, 0.3, 4.0), "trials": 400},
    "sgd-sde": {"rates": (0.2, 0.25), "trials": 4000, "refinement": 2, "terms": 4},
    "sgd-noise-kinds": {"images": 12, "side": 2, "ridge": 0.01, "directions": 4, "updates": 50},
    "sgd-smoothing": {"images": 12, "side": 2, "draws": 10, "trials": 20},
    "sgd-l2-tuning": {"hessians": (0.01, 2.0), "trials": 50, "rounds": 10, "rates": (0.05, 0.1), "distances": (10.0,)},
    "sgd-model-selection": {"updates": (5, 20), "trials": 6, "tested": 50, "largest": 2},
}
REFUTED = {
    "sgd-curvature": ["Conjecture 1"],
    "sgd-diagrams": ["every other two-edged diagram embeds M² times"],
    "sgd-landscape": [],
    "sgd-responses": ["positive definite Hessians", "with probability 1"],
    "sgd-helix": ["the displacement exceeds the landscape's period"],  # which it does in more updates
    "sgd-mean-estimation": [],
}
"""What the paper says and these runs on exact landscapes do not find; of the others verdicts say little."""
ON_IMAGES = ("sgd-test-loss", "sgd-gap", "sgd-gdc", "sgd-epochs", "sgd-noise-kinds", "sgd-smoothing")


WHOLLY_DRAWN = "sgd-diagrams"
"""It is run again to compare the pictures as well."""


Run = Callable[..., Outcome]
Once = Callable[..., tuple[Outcome, Path]]


@pytest.fixture
def run(run_small: Callable[..., tuple[Outcome, list[str]]]) -> Run:
    return lambda name, output, data=None: run_small(name, output, data, **TINY[name])[0]


@pytest.fixture(scope="module")
def first_runs() -> dict[str, tuple[Outcome, Path]]:
    return {}


@pytest.fixture
def once(
    run: Run, first_runs: dict[str, tuple[Outcome, Path]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Outcome, Path]]:
    """An experiment's outcome and the folder of its files, run by the first test that asks."""

    def outcome(name: str, data: Path | None = None) -> tuple[Outcome, Path]:
        if name not in first_runs:
            folder = tmp_path_factory.mktemp(name)
            first_runs[name] = run(name, folder, data), folder
        return first_runs[name]

    return outcome


def perceptron(theta: Any, point: Any) -> Any:
    """Three classes of a few numbers, quick to compile."""
    x, y = point
    scores = jnp.tanh(x @ theta["in"]) @ theta["out"]
    return jax.nn.logsumexp(scores) - scores[y]


@pytest.fixture
def small_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the paper's nets, perceptrons of 8 parameters on the corners of the images."""

    def small(images: Any, size: Any) -> Iterator[Any]:
        pixels, labels = population(images, size)
        place = ts.Landscape(perceptron, (jnp.asarray(pixels[:, 0, :1, 0]), jnp.asarray(labels % 3)))
        for seed, net in ((0, CONVOLUTIONAL), (1, CONVOLUTIONAL), (0, LOGISTIC)):
            inward, outward = jax.random.split(jax.random.key(seed))
            theta = {"in": jax.random.normal(inward, (1, 2)), "out": jax.random.normal(outward, (2, 3))}
            yield net, seed, place, theta

    monkeypatch.setattr(image_classifiers, "classifiers", small)


def test_every_experiment_is_run_here_or_among_the_errata() -> None:
    assert {*TINY, "sgd-errata"} == set(EXPERIMENTS)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.usefixtures("small_nets")
def test_an_experiment_leaves_its_files_and_its_verdict(
    name: str, once: Once, check_files: Callable[..., Any], cifar10: Path, request: pytest.FixtureRequest
) -> None:
    if name != WHOLLY_DRAWN:
        request.getfixturevalue("drawn_once")
    outcome, folder = once(name, cifar10 if name in ON_IMAGES else None)
    content = check_files(name, folder, outcome)
    if name in REFUTED:
        refuted = [f["claim"] for f in content["findings"] if not f["agrees"] and f["source"] == "paper"]
        assert len(refuted) == len(REFUTED[name])
        assert all(words in claim for words, claim in zip(REFUTED[name], refuted, strict=True))


def test_the_papers_nets_on_both_kinds_of_images(cifar10: Path, fashion: Path) -> None:
    size = replace(load_experiment("sgd-test-loss").sizes["quick"], **{**CURVE, "images": 130})
    nets = list(image_classifiers.classifiers(load_images(cifar10), size))
    assert [(net, seed) for net, seed, *_ in nets] == [(CONVOLUTIONAL, 0), (CONVOLUTIONAL, 1), (LOGISTIC, 0)]
    assert all(place.size == 120 for *_, place, _ in nets)  # all that there are
    assert nets[0][3]["convolution 1"].shape == (5, 5, 3, 10) and nets[2][3]["dense"].shape == (32 * 32 * 3, 10)
    pixels, labels = population(load_images(fashion), size)
    assert pixels.shape == (40, 4, 6, 1) and 0 <= pixels.min() and pixels.max() <= 1 and len(labels) == 40


def test_the_same_pictures_twice(once: Once, run: Run, tmp_path: Path) -> None:
    _, folder = once(WHOLLY_DRAWN)
    run(WHOLLY_DRAWN, tmp_path)
    assert_same(folder, tmp_path, ".png", ".svg", ".csv", ".json")
    assert all(path.stat().st_size > 10_000 for path in folder.iterdir() if path.name.endswith("g"))


def test_an_interrupted_run_goes_on_where_it_was(
    once: Once, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """And leaves the same numbers as one that was not interrupted."""
    _, whole = once("sgd-sde")
    request.getfixturevalue("undrawn")
    simulated = []
    simulate = ts.simulate

    def interrupted(place: Any, theta: Any, spacetime: Any, *rest: Any, **others: Any) -> Any:
        if isinstance(spacetime, ts.SDE) and not simulated.count("SDE"):
            simulated.append("SDE")
            raise KeyboardInterrupt
        simulated.append(type(spacetime).__name__)
        return simulate(place, theta, spacetime, *rest, **others)

    monkeypatch.setattr(ts, "simulate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("sgd-sde", tmp_path)
    assert simulated == ["SGD", "SDE"]
    run("sgd-sde", tmp_path)
    assert simulated == ["SGD", "SDE", "SDE", "SGD", "SGD"]  # SGD's part was kept; last come the scaled batches
    assert_same(whole, tmp_path, ".csv", ".json")
    assert not (tmp_path / "sgd-sde.parts").exists()  # a finished run keeps nothing back


@pytest.mark.parametrize("epochs", [2, 3])
def test_more_epochs_at_the_same_total_time(epochs: int) -> None:
    """What is printed lacks exactly the term with G·H·G."""
    x = symbols("x")
    place = ts.FiniteLandscape([x**2 - x**3 / 3 + x, x**2 / 2 - 2 * x], [Rational(1, 3), Rational(2, 3)], [x])
    found = more_epochs(epochs, 3).evaluate(place, at=[1])
    loss = ts.derive(ts.TestLoss(), ts.SGD(B=1), order=3)
    many, one = (loss.evaluate(place, at=[1], N=10, E=e) for e in (epochs, 1))
    expected = many.subs(eta, eta / epochs) - one
    assert (found - expected).expand() == 0
    lacking = (more_epochs(epochs, 3) - printed(epochs)).simplify()
    assert len(lacking.terms) == 1 and "G_μ H^μ_ν G^ν" in str(lacking)


def test_sgd_less_sde_at_the_lowest_order() -> None:
    """One update from the minimum of GAUSS, where l' = (1 − e^{−h})/2, l'' = e^{−h}/2 and C = e^{−2h}/2.

    d E[l]/dt = −η E[(l')²] + (η²/2) E[C l''] by Itô; Var h = η² t/2 at the lowest order, so that η³ has −∫ t/8 dt
    = −1/16. SGD's −1/12 is in the docstring of `gauss`; both have η²/8.
    """
    rate = np.array([1e-3])
    assert differences(rate)[3][0] / rate[0] ** 3 == pytest.approx(-1 / 12 + 1 / 16, rel=1e-9)
