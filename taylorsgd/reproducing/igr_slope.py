"""The slope of the loss surface where perceptrons end, and around it: Figure 3a."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from taylorsgd.regularizing.loss_surface import loss_surface_slope
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Say
from taylorsgd.reproducing.images import Images
from taylorsgd.reproducing.networks import cross_entropy, perceptron
from taylorsgd.reproducing.parts import Parts
from taylorsgd.reproducing.perturbing import SIZES, PerturbedSize, Shaken, shake
from taylorsgd.reproducing.trends import trend

__all__ = ["EXPERIMENT"]


LEAST = 1e-30
"""A slope below the range of float32 is drawn here."""


def _loss(theta: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return cross_entropy(perceptron(theta, x), y)


def _slope(theta: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.maximum(loss_surface_slope(_loss, theta, x, y), LEAST)


def _run(size: PerturbedSize, images: Images | None, say: Say, parts: Parts) -> Outcome:
    shaken = shake(size, images, say, parts, _slope, on_training_set=True)
    # Slopes span decades, and a perturbed one is as likely ten times larger as smaller.
    around = np.log(shaken.perturbed).mean(axis=(0, 2))
    small = [i for i, sigma in enumerate(size.sigmas) if sigma <= 0.3]
    findings = [
        Finding.of_trend(
            "the slope at the time of maximum test accuracy falls with the learning rate (Figure 3a)",
            trend(shaken.rates, shaken.unperturbed, -1, shaken.seeds.tolist()),
        ),
        Finding.of_trend(
            "the slope around it, averaged over perturbations of all sizes, falls with the learning rate (Figure 3a)",
            trend(shaken.rates, around, -1, shaken.seeds.tolist()),
        ),
        Finding.of_trend(
            "the slope under perturbations of at most 30% falls with the learning rate",
            trend(shaken.rates, np.log(shaken.perturbed[small]).mean(axis=(0, 2)), -1, shaken.seeds.tolist()),
            "control",
        ),
    ]
    notes = [
        str(shaken.images),
        f"{len(shaken.rates)} of {len(shaken.training.best)} networks fit all training images; the others are left out",
    ]
    return Outcome(_picture(size, shaken), shaken.rows(size.sigmas, "slope"), findings, notes)


def _picture(size: PerturbedSize, shaken: Shaken) -> Figure:
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    fitted = [rate for rate in size.rates if (shaken.rates == rate).any()]
    sigmas = np.array(size.sigmas)
    for rate in fitted:
        colour = colormaps["viridis"](0.9 * size.rates.index(rate) / max(len(size.rates) - 1, 1))
        chosen = shaken.rates == rate
        logs = np.log(shaken.perturbed[:, chosen]).reshape(len(sigmas), -1)
        mean, spread = logs.mean(axis=1), logs.std(axis=1)
        axes.plot(sigmas, np.exp(mean), "o-", ms=4, color=colour, label=f"$h = {rate:g}$")
        axes.fill_between(
            sigmas, np.exp(mean - spread), np.exp(mean + spread), color=colour, alpha=0.12, lw=0
        )
        centre = np.exp(np.log(shaken.unperturbed[chosen]).mean())
        axes.plot(sigmas[0] / 2.2, centre, "D", color=colour, ms=6)
    axes.set(xscale="log", yscale="log", xlabel="perturbation $σ$, relative to each parameter")
    axes.set_ylabel("loss surface slope $|∇E|$")
    axes.set_title("(3a) Slopes at maximum test accuracy (◆), and perturbed")
    axes.legend(fontsize=8)
    return figure


EXPERIMENT = Experiment(
    title="the slope of the loss surface where perceptrons end, and around it",
    shows="Barrett and Dherin, Section 7: Figure 3a",
    claim="networks trained with larger learning rates end where the loss surface is less steep, and its slope "
    "stays small for larger perturbations of the parameters, θ(1 + σξ) with σ up to 300%",
    judged="Kendall's τ of the slope, and of the mean of its logarithm over all perturbations, against the "
    "learning rate, within initializations, one-sided, at the level 0.01",
    sizes=SIZES,
    lasts={"quick": "about a minute", "full": "about an hour"},
    run=_run,
    resumes=True,
    data="scikit-learn's 1797 digits, or the images of --data (MNIST's, Fashion-MNIST's or CIFAR-10's files)",
)
"""The experiment."""
