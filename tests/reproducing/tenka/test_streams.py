"""Random streams: two seeds, and within a seed two learning rates, Hessians or initializations, share none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from taylorsgd.reproducing import load_experiment
from taylorsgd.reproducing.experiment import Work
from taylorsgd.reproducing.labelled_images import Images
from taylorsgd.reproducing.tenka import flat_and_sharp, helix_velocity
from taylorsgd.reproducing.tenka.image_classifiers import (
    CONVOLUTIONAL,
    LOGISTIC,
    ClassifierSize,
    classifiers,
    on_classifiers,
)


def run(name: str, **changes: Any) -> None:
    """Run an experiment, and leave no files."""
    experiment = load_experiment(name)
    experiment.run(replace(experiment.sizes["quick"], **changes), work())


def work(images: Images | None = None) -> Work:
    return Work(lambda line: None, lambda name, compute: compute(), images)  # type: ignore[arg-type]


def numbers(key: jax.Array) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_learning_rates_on_helix(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def descents(rate: float, updates: int, trials: int, key: jax.Array) -> np.ndarray:
        used.append(numbers(key))
        return np.random.default_rng(used[-1]).normal(size=(trials, updates + 1, 3))

    monkeypatch.setattr(helix_velocity, "descents", descents)
    for seed in range(3):
        run("sgd-helix", rates=(0.1, 0.1, 0.2), updates=20, trials=5, seed=seed)
    assert len(used) == len(set(used)) == 9


def test_hessians(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def simulated(size: Any, hessian: float, key: jax.Array) -> dict[str, np.ndarray]:
        used.append(numbers(key))
        return {"mean": np.ones(2), "error": np.ones(2)}

    monkeypatch.setattr(flat_and_sharp, "_simulated", simulated)
    for seed in range(3):
        run("sgd-mean-estimation", hessians=(0.1, 0.1, 1.0), seed=seed)
    assert len(used) == len(set(used)) == 9


def test_initializations_and_the_runs_from_them() -> None:
    """Other seeds have other initializations and other training sets; the population stays."""
    random = np.random.default_rng(0)
    pixels, labels = random.uniform(-1, 1, (5, 14, 14, 1)), np.arange(5)
    images = Images("noise", (pixels, labels), (pixels, labels))
    keys, thetas, populations = [], [], set()
    for seed in range(2):
        size = ClassifierSize(images=6, initializations=2, seed=seed)
        for net in (CONVOLUTIONAL, LOGISTIC):
            used = on_classifiers(size, work(images), net, "", lambda *given: {"key": np.array(numbers(given[-1]))})
            keys += [tuple(found["key"].tolist()) for _, found in used]
        for net, _, place, theta in classifiers(images, size):
            populations.add(np.asarray(place.data[0]).tobytes())
            if net == CONVOLUTIONAL:
                thetas.append(float(theta["dense 1"][0, 0]))
    assert len(keys) == len(set(keys)) == 6
    assert len(thetas) == len(set(thetas)) == 4
    assert len(populations) == 1
