"""Trained networks whose parameters are shaken, θ_p = θ(1 + σξ): Figures 3a and 3b.

Figure 3a has the slope |∇E| of the loss surface where perceptrons end, and around it; Figure 3b their test accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from taylorsgd.landscapes import loss_surface_slope
from taylorsgd.reproducing.barrett_dherin.architectures import accuracy, cross_entropy, perceptron
from taylorsgd.reproducing.barrett_dherin.perceptrons import PerceptronSize, train_perceptrons
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Work
from taylorsgd.reproducing.labelled_images import CLASSES, DIGITS
from taylorsgd.reproducing.pictures import panels, shades
from taylorsgd.reproducing.significance import Trend, trend

__all__ = ["ROBUSTNESS", "SLOPE", "PerturbedSize", "Shaken", "shake"]

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
    initializations: int = 6
    sigmas: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0)
    draws: int = 8


@dataclass(frozen=True)
class Shaken:
    """What was measured on R networks, unperturbed and perturbed.

    Attributes:
        rates: the learning rate of each network, (R,).
        initializations: the one of each network, (R,).
        unperturbed: the measure, (R,).
        perturbed: the measure, (S, R, D) for S sizes σ and D draws.
        notes: which images, and how many networks were left out as they never fitted the training images.
    """

    rates: np.ndarray
    initializations: np.ndarray
    unperturbed: np.ndarray
    perturbed: np.ndarray
    notes: Sequence[str]

    def rows(self, sigmas: Sequence[float], name: str) -> list[dict[str, Any]]:
        """One row for each network and σ, with the mean and the standard deviation over draws."""
        at_zero = [(0.0, self.unperturbed[:, None])]
        return [
            {
                "rate": self.rates[i],
                "initialization": self.initializations[i],
                "sigma": sigma,
                f"mean {name}": values[i].mean(),
                f"standard deviation of {name}": values[i].std(),
                "draws": values.shape[1],
            }
            for sigma, values in [*at_zero, *zip(sigmas, self.perturbed, strict=True)]
            for i in range(len(self.rates))
        ]

    def trend(self, values: np.ndarray, expected: int) -> Trend:
        """The trend of a number of each network with the learning rate, among networks of one initialization."""
        return trend(self.rates, values, expected, self.initializations.tolist())


def shake(size: PerturbedSize, work: Work, measure: Measure, on_training_set: bool) -> Shaken:
    """Train networks at several rates, take each at its best, and measure it with and without perturbations.

    A network's best is the first checkpoint of maximum test accuracy at which it classifies all its training
    images right. All networks of an initialization meet the same perturbations ξ ~ N(0, 1), independent for every
    parameter.

    Args:
        size: the settings.
        work: has the images, and keeps the trained networks of an interrupted run.
        measure: a function (θ, x, y) of parameters, images and labels that returns a number.
        on_training_set: whether x and y are the training set, or else the test set.

    Raises:
        ArithmeticError: if no network fits its training images.
    """
    images = size.prepared(work)
    work.say(f"Training {len(size.rates) * size.initializations} networks of width {size.width}")
    (trained,) = train_perceptrons(work, "training", images, size, size.width)
    chosen = np.flatnonzero(trained.training.fitted)
    if not len(chosen):
        raise size.none_fits(images)
    kept = jax.tree.map(lambda leaf: leaf[chosen], trained.training.theta)
    rates, numbers = trained.rates[chosen], trained.initializations[chosen]
    x, y = map(jnp.asarray, images.train if on_training_set else images.test)
    work.say(f"Perturbing them {size.draws} times at each of {len(size.sigmas)} sizes")
    unperturbed = np.asarray(_measured(measure, kept, kept, 0.0, x, y))
    draws = []
    for draw in range(size.draws):
        noise = _noise(kept, numbers, (size.seed, draw))
        draws.append([_measured(measure, kept, noise, sigma, x, y) for sigma in size.sigmas])
    fitted = f"{len(chosen)} of {len(trained.rates)} networks fit all training images; the others are left out"
    return Shaken(rates, numbers, unperturbed, np.moveaxis(np.array(draws), 0, -1), [str(images), fitted])


def _noise(theta: Any, numbers: np.ndarray, draw: tuple[int, int]) -> Any:
    """Standard normal numbers in the shape of R networks, the same for all networks of an initialization."""
    random = {number: np.random.default_rng((*draw, int(number))) for number in dict.fromkeys(numbers)}

    def like(leaf: Any) -> np.ndarray:
        drawn = {n: each.standard_normal(leaf.shape[1:], dtype=np.float32) for n, each in random.items()}
        return np.stack([drawn[number] for number in numbers])

    return jax.tree.map(like, theta)


@partial(jax.jit, static_argnums=0)
def _measured(measure: Measure, theta: Any, noise: Any, sigma: Any, x: Any, y: Any) -> jax.Array:
    """The measure of R networks, each with its parameters θ(1 + σξ)."""
    moved = jax.tree.map(lambda leaf, xi: leaf * (1 + sigma * xi), theta, noise)
    return jax.vmap(measure, (0, None, None))(moved, x, y)


# -- the slope of the loss surface -----------------------------------------------------------------------------

LEAST = 1e-30
"""A slope below the range of float32 is drawn here."""


def _slope(theta: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.maximum(loss_surface_slope(_loss, theta, x, y), LEAST)


def _loss(theta: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return cross_entropy(perceptron(theta, x), y)


def _run_slope(size: PerturbedSize, work: Work) -> Outcome:
    shaken = shake(size, work, _slope, on_training_set=True)
    # Slopes span decades, and a perturbed one is as likely ten times larger as smaller.
    around = np.log(shaken.perturbed).mean(axis=(0, 2))
    small = [i for i, sigma in enumerate(size.sigmas) if sigma <= 0.3]
    findings = [
        Finding.of_trend(
            "the slope at the time of maximum test accuracy falls with the learning rate (Figure 3a)",
            shaken.trend(shaken.unperturbed, -1),
        ),
        Finding.of_trend(
            "the slope around it, averaged over perturbations of all sizes, falls with the learning rate (Figure 3a)",
            shaken.trend(around, -1),
        ),
        Finding.of_trend(
            "the slope under perturbations of at most 30% falls with the learning rate",
            shaken.trend(np.log(shaken.perturbed[small]).mean(axis=(0, 2)), -1),
            "control",
        ),
    ]
    return Outcome(_picture_of_slope(size, shaken), shaken.rows(size.sigmas, "slope"), findings, shaken.notes)


def _picture_of_slope(size: PerturbedSize, shaken: Shaken) -> Figure:
    figure, axes = panels(7, 5)
    sigmas = np.array(size.sigmas)
    for rate, colour in shades(size.rates).items():
        chosen = shaken.rates == rate
        if not chosen.any():
            continue
        logs = np.log(shaken.perturbed[:, chosen]).reshape(len(sigmas), -1)
        mean, spread = logs.mean(axis=1), logs.std(axis=1)
        low, high = np.exp(mean - spread), np.exp(mean + spread)
        axes.plot(sigmas, np.exp(mean), "o-", ms=4, color=colour, label=f"$h = {rate:g}$")
        axes.fill_between(sigmas, low, high, color=colour, alpha=0.12, lw=0)
        centre = np.exp(np.log(shaken.unperturbed[chosen]).mean())
        axes.plot(sigmas[0] / 2.2, centre, "D", color=colour, ms=6)
    axes.set(xscale="log", yscale="log", xlabel="perturbation $σ$, relative to each parameter")
    axes.set_ylabel("loss surface slope $|∇E|$")
    axes.set_title("(3a) Slopes at maximum test accuracy (◆), and perturbed")
    axes.legend(fontsize=8)
    return figure


# -- test accuracy ---------------------------------------------------------------------------------------------


def _accuracy(theta: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return accuracy(perceptron(theta, x), y)


def _run_robustness(size: PerturbedSize, work: Work) -> Outcome:
    shaken = shake(size, work, _accuracy, on_training_set=False)
    kept = shaken.perturbed.mean(axis=(0, 2))
    findings = [
        Finding.of_trend(
            "test accuracy, averaged over perturbations of all sizes, rises with the learning rate (Figure 3b)",
            shaken.trend(kept, 1),
        ),
        Finding.of_trend(
            "the part of the unperturbed test accuracy that is kept rises as well",
            shaken.trend(kept / shaken.unperturbed, 1),
            "control",
        ),
    ]
    rows = shaken.rows(size.sigmas, "test accuracy")
    return Outcome(_picture_of_robustness(size, shaken), rows, findings, shaken.notes)


def _picture_of_robustness(size: PerturbedSize, shaken: Shaken) -> Figure:
    figure, axes = panels(7, 5)
    sigmas = np.array([0.0, *size.sigmas])
    for rate, colour in shades(size.rates).items():
        chosen = shaken.rates == rate
        if not chosen.any():
            continue
        every = [shaken.unperturbed[chosen], *shaken.perturbed[:, chosen]]
        mean, spread = (np.array([statistic(values) for values in every]) for statistic in (np.mean, np.std))
        axes.plot(sigmas, mean, "o-", ms=4, color=colour, label=f"$h = {rate:g}$")
        for side in (-1, 1):
            axes.plot(sigmas, mean + side * spread, "--", lw=0.7, color=colour)
    axes.axhline(1 / CLASSES, color="0.7", lw=1, zorder=0)
    axes.text(0, 1 / CLASSES, "chance", color="0.5", va="bottom", fontsize=8)
    axes.set(xlabel="perturbation $σ$, relative to each parameter", ylabel="test accuracy", ylim=(0, 1.02))
    axes.set_title("(3b) Robustness; dashed: one standard deviation")
    axes.legend(fontsize=8)
    return figure


QUICK = PerturbedSize()
FULL = PerturbedSize(width=200, initializations=8, points=1000, epochs=300, draws=100, tested=10000)
SIGMAS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 3.0)
"""The sizes σ for test accuracies."""

SLOPE = Experiment(
    title="the slope of the loss surface where perceptrons end, and around it",
    shows="Barrett and Dherin, Section 7: Figure 3a",
    claim="networks trained with larger learning rates end where the loss surface is less steep, and its slope "
    "stays small for larger perturbations of the parameters, θ(1 + σξ) with σ up to 300%",
    judged="Kendall's τ of the slope, and of the mean of its logarithm over all perturbations, against the "
    "learning rate, within initializations, one-sided, at the level 0.01",
    sizes={"quick": QUICK, "full": FULL},
    lasts={"quick": "about a minute", "full": "about an hour"},
    run=_run_slope,
    data=DIGITS,
)
"""The experiment igr-slope."""

ROBUSTNESS = Experiment(
    title="robustness of test accuracy to perturbed parameters",
    shows="Barrett and Dherin, Section 7: Figure 3b",
    claim="networks trained with larger learning rates keep a higher test accuracy when every parameter is "
    "multiplied by 1 + σξ, with normal ξ",
    judged="Kendall's τ of the mean test accuracy over all perturbations against the learning rate, within "
    "initializations, one-sided, at the level 0.01",
    sizes={"quick": replace(QUICK, sigmas=SIGMAS, draws=20), "full": replace(FULL, sigmas=(*SIGMAS[:-1], 2.0, 3.0))},
    lasts={"quick": "about a minute", "full": "about an hour"},
    run=_run_robustness,
    data=DIGITS,
)
"""The experiment igr-robustness."""
