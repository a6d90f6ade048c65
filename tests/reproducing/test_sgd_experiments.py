"""Figures 2 and 10: the experiments at a tiny size, what their statistics rest on, and runs that are resumed."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2
from sympy import Rational, symbols

import taylorsgd as ts
from taylorsgd.reproducing import (
    Experiment,
    Outcome,
    curves,
    load_experiment,
    registry,
    run_experiment,
    sgd_epochs,
    sgd_gdc,
    sgd_sde,
)
from taylorsgd.reproducing.agreement import Curve, breaking_point, joint_agreement
from taylorsgd.reproducing.curves import CONVOLUTIONAL, LOGISTIC, population
from taylorsgd.reproducing.images import load_images
from taylorsgd.reproducing.parts import Parts
from taylorsgd.reproducing.sgd_epochs import more_epochs, printed
from taylorsgd.reproducing.sgd_sde import differences
from taylorsgd.symbols import eta

SMALL = {"images": 12, "side": 28, "initializations": 2, "trials": 6}
CURVE = {**SMALL, "samples": 16, "order": 2, "eigenpairs": (1, 1)}
TINY: dict[str, dict[str, Any]] = {
    "sgd-test-loss": {**CURVE, "times": (0.5, 2.0)},
    "sgd-gap": {**CURVE, "times": (0.25, 2.0)},
    "sgd-gdc": {**SMALL, "samples": 16, "rates": (0.05, 0.1)},
    "sgd-epochs": {**SMALL, "samples": 16, "rates": (0.05, 0.1), "epochs": (2,)},
    "sgd-helix": {"rates": (0.1, 0.2), "updates": 500, "trials": 60},
    "sgd-mean-estimation": {"hessians": (1e-4, 0.3, 4.0), "trials": 400},
    "sgd-sde": {"rates": (0.2, 0.25), "trials": 4000, "refinement": 2},
    "sgd-l2-tuning": {"hessians": (0.01, 2.0), "trials": 50, "rounds": 10},
}
FAR = "the displacement exceeds the landscape's period of 2π (Figure 2)"
"""What HELIX shows in many updates only."""
ON_IMAGES = ("sgd-test-loss", "sgd-gap", "sgd-gdc", "sgd-epochs")


def perceptron(theta: Any, point: Any) -> Any:
    """Three classes of a few numbers, quick to compile."""
    x, y = point
    scores = jnp.tanh(x @ theta["in"]) @ theta["out"]
    return jax.nn.logsumexp(scores) - scores[y]


@pytest.fixture
def small_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the paper's nets, perceptrons of 8 parameters on the corners of the images."""

    def classifiers(images: Any, size: Any) -> Iterator[Any]:
        pixels, labels = population(images, size)
        place = ts.Landscape(perceptron, (jnp.asarray(pixels[:, 0, :1, 0]), jnp.asarray(labels % 3)))
        for seed, net in ((0, CONVOLUTIONAL), (1, CONVOLUTIONAL), (0, LOGISTIC)):
            inward, outward = jax.random.split(jax.random.key(seed))
            theta = {"in": jax.random.normal(inward, (1, 2)), "out": jax.random.normal(outward, (2, 3))}
            yield net, seed, place, theta

    for module in (curves, sgd_gdc, sgd_epochs):
        monkeypatch.setattr(module, "classifiers", classifiers)


def run(name: str, output: Path, data: Path | None = None, **changes: Any) -> Outcome:
    settings = replace(load_experiment(name).sizes["quick"], **{**TINY[name], **changes})
    return run_experiment(name, output=output, data=data, settings=settings, say=lambda line: None)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.usefixtures("small_nets")
def test_an_experiment_leaves_its_files(name: str, tmp_path: Path, cifar10: Path) -> None:
    """At this size verdicts say little; but those on exact landscapes hold."""
    output = tmp_path / "output"
    outcome = run(name, output, cifar10 if name in ON_IMAGES else None)
    assert {path.name for path in output.iterdir()} == {
        f"{name}{end}" for end in (".png", ".svg", ".csv", ".json")
    }
    assert (output / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    ElementTree.parse(output / f"{name}.svg")
    with (output / f"{name}.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(outcome.table) > 0
    content = json.loads((output / f"{name}.json").read_text(encoding="utf-8"))
    assert [f["agrees"] for f in content["findings"]] == [f.agrees for f in outcome.findings]
    if name in ("sgd-helix", "sgd-mean-estimation"):
        refuted = [f.claim for f in outcome.findings if not f.agrees and f.source == "paper"]
        assert refuted == (
            ["the displacement exceeds the landscape's period of 2π (Figure 2)"] if "helix" in name else []
        )


def test_the_papers_nets_on_both_kinds_of_images(cifar10: Path, fashion: Path) -> None:
    size = replace(load_experiment("sgd-test-loss").sizes["quick"], **{**CURVE, "images": 130})
    nets = list(curves.classifiers(load_images(cifar10), size))
    assert [(net, seed) for net, seed, *_ in nets] == [(CONVOLUTIONAL, 0), (CONVOLUTIONAL, 1), (LOGISTIC, 0)]
    assert all(place.size == 120 for *_, place, _ in nets)  # all that there are
    assert nets[0][3]["convolution 1"].shape == (5, 5, 3, 10) and nets[2][3]["dense"].shape == (
        32 * 32 * 3,
        10,
    )
    pixels, labels = curves.population(load_images(fashion), size)
    assert pixels.shape == (40, 4, 6, 1) and 0 <= pixels.min() and pixels.max() <= 1 and len(labels) == 40


def test_the_same_numbers_twice(tmp_path: Path) -> None:
    for folder in ("once", "again"):
        run("sgd-sde", tmp_path / folder)
    for path in (tmp_path / "once").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


# -- an interrupted run ----------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run("sgd-sde", tmp_path / "whole")
    simulated = []
    simulate = sgd_sde.simulate

    def interrupted(place: Any, theta: Any, spacetime: Any, *rest: Any, **others: Any) -> Any:
        if isinstance(spacetime, ts.SDE) and not simulated.count("SDE"):
            simulated.append("SDE")
            raise KeyboardInterrupt
        simulated.append(type(spacetime).__name__)
        return simulate(place, theta, spacetime, *rest, **others)

    monkeypatch.setattr(sgd_sde, "simulate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("sgd-sde", tmp_path / "parts")
    assert simulated == ["SGD", "SDE"]
    resumed = run("sgd-sde", tmp_path / "parts")
    assert simulated == ["SGD", "SDE", "SDE"]  # SGD's part was kept
    assert resumed.table == whole.table
    assert not (tmp_path / "parts" / "sgd-sde.parts").exists()
    run("sgd-sde", tmp_path / "parts")
    assert simulated[3:] == ["SGD", "SDE"]  # a finished run keeps nothing back


def test_parts_of_other_settings_are_not_taken(tmp_path: Path) -> None:
    one = Parts(tmp_path, "trials=1")("a part", lambda: {"x": np.arange(3)})
    other = Parts(tmp_path, "trials=2")("a part", lambda: {"x": np.arange(4)})
    assert len(one["x"]) == 3 and len(other["x"]) == 4
    assert len(Parts(tmp_path, "trials=1")("a part", dict)["x"]) == 3


def test_the_papers_images_are_the_usual_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fashion: Path
) -> None:
    taken = []
    experiment = replace(
        load_experiment("sgd-test-loss"),
        usual=lambda: fashion,
        run=lambda size, images, say, parts: taken.append(str(images)),
    )
    assert isinstance(experiment, Experiment)
    monkeypatch.setattr(registry, "load_experiment", lambda name: experiment)
    monkeypatch.setattr(registry, "write_files", lambda *rest: [])
    with pytest.raises(AttributeError):  # this run finds nothing
        run_experiment("sgd-test-loss", output=tmp_path, say=lambda line: None)
    assert taken == ["IDX images: 30 training and 10 test images of 4 × 6 × 1"]


# -- statistics ------------------------------------------------------------------------------------------------


def curve(simulated: Any, covariance: Any, seed: int = 0) -> Curve:
    simulated = np.asarray(simulated, dtype=float)
    size = len(simulated)
    return Curve(
        "a net", seed, np.arange(1.0, size + 1), simulated, np.full(size, 0.1), 0.0,
        np.zeros((1, size)), np.asarray([covariance], dtype=float), np.zeros((1, size)), np.zeros(size),
    )  # fmt: skip


def test_the_joint_chi2_knows_that_predictions_share_their_error() -> None:
    """Three equal residuals are as likely as one if the prediction's error, the same for all, makes them."""
    shared = curve([0.3, 0.3, 0.3], np.full((3, 3), 0.09))
    own = curve([0.3, 0.3, 0.3], 0.09 * np.eye(3))
    inverse = np.linalg.inv(np.full((3, 3), 0.09) + 0.01 * np.eye(3))
    assert joint_agreement([shared], 1, 3.0).chi2 == pytest.approx(0.09 * inverse.sum())
    assert joint_agreement([own], 1, 3.0).chi2 == pytest.approx(3 * 0.09 / 0.1)
    both = joint_agreement([shared, own], 1, 2.0)
    assert both.degrees == 4
    assert both.p_value == pytest.approx(chi2.sf(both.chi2, 4))


def test_the_joint_p_value_is_uniform() -> None:
    random = np.random.default_rng(0)
    covariance = np.array([[0.04, 0.03], [0.03, 0.09]])
    factor = np.linalg.cholesky(covariance + 0.01 * np.eye(2))
    p_values = [
        joint_agreement([curve(factor @ random.normal(size=2), covariance) for _ in range(3)], 1, 2.0).p_value
        for _ in range(400)
    ]
    assert abs(np.mean(p_values) - 0.5) < 4 * (1 / 12 / 400) ** 0.5
    assert np.mean(np.array(p_values) < 0.1) == pytest.approx(0.1, abs=0.06)


def test_where_a_prediction_breaks() -> None:
    covariance = np.zeros((4, 4))
    assert breaking_point([curve([0.0, 0.1, 0.1, 0.9], covariance)], 1) == (3.0, 4.0)
    assert breaking_point([curve([0.0, 0.1, 0.1, 0.1], covariance)], 1) == (4.0, None)
    assert breaking_point([curve([9.0, 0.1, 0.1, 0.1], covariance)], 1) == (None, 1.0)
    assert breaking_point([curve([0.0, 0.1, np.nan, 0.1], covariance)], 1) == (2.0, 3.0)


# -- formulas --------------------------------------------------------------------------------------------------


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
