"""Test accuracy when parameters are perturbed: Figure 3b."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Say
from taylorsgd.reproducing.images import CLASSES, Images
from taylorsgd.reproducing.networks import accuracy, perceptron
from taylorsgd.reproducing.parts import Parts
from taylorsgd.reproducing.perturbing import SIZES, PerturbedSize, Shaken, shake
from taylorsgd.reproducing.trends import trend

__all__ = ["EXPERIMENT"]


def _accuracy(theta: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return accuracy(perceptron(theta, x), y)


def _run(size: PerturbedSize, images: Images | None, say: Say, parts: Parts) -> Outcome:
    shaken = shake(size, images, say, parts, _accuracy, on_training_set=False)
    kept = shaken.perturbed.mean(axis=(0, 2))
    seeds = shaken.seeds.tolist()
    findings = [
        Finding.of_trend(
            "test accuracy, averaged over perturbations of all sizes, rises with the learning rate (Figure 3b)",
            trend(shaken.rates, kept, 1, seeds),
        ),
        Finding.of_trend(
            "the part of the unperturbed test accuracy that is kept rises as well",
            trend(shaken.rates, kept / shaken.unperturbed, 1, seeds),
            "control",
        ),
    ]
    notes = [
        str(shaken.images),
        f"{len(shaken.rates)} of {len(shaken.training.best)} networks fit all training images; the others are left out",
    ]
    return Outcome(_picture(size, shaken), shaken.rows(size.sigmas, "test accuracy"), findings, notes)


def _picture(size: PerturbedSize, shaken: Shaken) -> Figure:
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    sigmas = np.array([0.0, *size.sigmas])
    for rate in size.rates:
        chosen = shaken.rates == rate
        if not chosen.any():
            continue
        colour = colormaps["viridis"](0.9 * size.rates.index(rate) / max(len(size.rates) - 1, 1))
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


EXPERIMENT = Experiment(
    title="robustness of test accuracy to perturbed parameters",
    shows="Barrett and Dherin, Section 7: Figure 3b",
    claim="networks trained with larger learning rates keep a higher test accuracy when every parameter is "
    "multiplied by 1 + σξ, with normal ξ",
    judged="Kendall's τ of the mean test accuracy over all perturbations against the learning rate, within "
    "initializations, one-sided, at the level 0.01",
    sizes={
        "quick": replace(SIZES["quick"], sigmas=(0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 3.0), draws=20),
        "full": replace(SIZES["full"], sigmas=(0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)),
    },
    lasts={"quick": "about a minute", "full": "about an hour"},
    run=_run,
    resumes=True,
    data="scikit-learn's 1797 digits, or the images of --data (MNIST's, Fashion-MNIST's or CIFAR-10's files)",
)
"""The experiment."""
