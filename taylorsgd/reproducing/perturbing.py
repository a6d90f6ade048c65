"""Trained networks whose parameters are shaken, θ_p = θ(1 + σξ): what Figures 3a and 3b have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taylorsgd.reproducing.experiment import Say
from taylorsgd.reproducing.images import Images
from taylorsgd.reproducing.networks import new_perceptron, perceptron
from taylorsgd.reproducing.parts import Parts
from taylorsgd.reproducing.training import PerceptronSize, Training, stacked, train_once

__all__ = ["SIZES", "PerturbedSize", "Shaken", "shake"]

Measure = Callable[[Any, jax.Array, jax.Array], jax.Array]


@dataclass(frozen=True, kw_only=True)
class PerturbedSize(PerceptronSize):
    """The settings.

    Attributes:
        width: n_l, the units in each of the hidden layers.
        sigmas: the sizes σ of the perturbations, relative to each parameter.
        draws: perturbations of each network at each σ.
    """

    width: int = 64
    sigmas: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0)
    draws: int = 8


SIZES = {
    "quick": PerturbedSize(),
    "full": PerturbedSize(width=200, seeds=8, epochs=300, draws=100, tested=10000),
}
"""The settings of both experiments, by name."""


@dataclass(frozen=True)
class Shaken:
    """What was measured on R networks, unperturbed and perturbed.

    Attributes:
        images: what they were trained and tested on.
        training: how they were trained; networks that never fitted the training images are left out below.
        rates: the learning rate of each network, (R,).
        seeds: the initialization of each network, (R,).
        unperturbed: the measure, (R,).
        perturbed: the measure, (S, R, D) for S sizes σ and D draws.
    """

    images: Images
    training: Training
    rates: np.ndarray
    seeds: np.ndarray
    unperturbed: np.ndarray
    perturbed: np.ndarray

    def rows(self, sigmas: Sequence[float], name: str) -> list[dict[str, Any]]:
        """One row for each network and σ, with the mean and the standard deviation over draws."""
        at_zero = [(0.0, self.unperturbed[:, None])]
        return [
            {
                "rate": self.rates[i],
                "seed": self.seeds[i],
                "sigma": sigma,
                f"mean {name}": values[i].mean(),
                f"standard deviation of {name}": values[i].std(),
                "draws": values.shape[1],
            }
            for sigma, values in [*at_zero, *zip(sigmas, self.perturbed, strict=True)]
            for i in range(len(self.rates))
        ]


def shake(
    size: PerturbedSize,
    images: Images | None,
    say: Say,
    parts: Parts,
    measure: Measure,
    on_training_set: bool,
) -> Shaken:
    """Train networks at several rates, take each at its best, and measure it with and without perturbations.

    A network's best is the first checkpoint of maximum test accuracy at which it classifies all its training
    images right. All networks of a seed meet the same perturbations ξ ~ N(0, 1), independent for every
    parameter.

    Args:
        size: the settings.
        images: the images.
        say: tells how far it has come.
        parts: keeps the trained networks of an interrupted run.
        measure: a function (θ, x, y) of parameters, images and labels that returns a number.
        on_training_set: whether x and y are the training set, or else the test set.
    """
    images = size.prepared(images)
    say(str(images))
    rates, seeds = (grid.ravel() for grid in np.meshgrid(size.rates, np.arange(size.seeds), indexing="ij"))
    inputs = int(np.prod(images.train[0].shape[1:]))
    theta = stacked([new_perceptron(int(seed), inputs, size.width, size.layers) for seed in seeds])
    say(f"Training {len(rates)} networks of width {size.width}")
    training = train_once(
        parts,
        "training",
        perceptron,
        theta,
        images,
        rates,
        seeds,
        size.epochs,
        size.batch,
        size.every,
        only_fitted=True,
    )
    chosen = np.flatnonzero(training.fitted)
    if not len(chosen):
        raise size.none_fits()
    kept = jax.tree.map(lambda leaf: leaf[chosen], training.theta)
    rates, seeds = rates[chosen], seeds[chosen]
    x, y = map(jnp.asarray, images.train if on_training_set else images.test)
    say(f"Perturbing them {size.draws} times at each of {len(size.sigmas)} sizes")
    unperturbed = np.asarray(_measured(measure, kept, kept, 0.0, x, y))
    draws = []
    for draw in range(size.draws):
        noise = _noise(kept, seeds, draw)
        draws.append([_measured(measure, kept, noise, sigma, x, y) for sigma in size.sigmas])
    return Shaken(images, training, rates, seeds, unperturbed, np.moveaxis(np.array(draws), 0, -1))


def _noise(theta: Any, seeds: np.ndarray, draw: int) -> Any:
    """Standard normal numbers in the shape of R networks, the same for all networks of a seed."""
    random = {seed: np.random.default_rng((int(seed), draw)) for seed in dict.fromkeys(seeds)}

    def like(leaf: Any) -> np.ndarray:
        of_seed = {
            seed: each.standard_normal(leaf.shape[1:], dtype=np.float32) for seed, each in random.items()
        }
        return np.stack([of_seed[seed] for seed in seeds])

    return jax.tree.map(like, theta)


@partial(jax.jit, static_argnums=0)
def _measured(measure: Measure, theta: Any, noise: Any, sigma: Any, x: Any, y: Any) -> jax.Array:
    """The measure of R networks, each with its parameters θ(1 + σξ)."""
    moved = jax.tree.map(lambda leaf, xi: leaf * (1 + sigma * xi), theta, noise)
    return jax.vmap(measure, (0, None, None))(moved, x, y)
