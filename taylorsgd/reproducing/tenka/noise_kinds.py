"""Vector and covector noise on slices of a real landscape: Figure 1, right.

Through the minimum θ* of a logistic regression run slices φ(t) = l(θ* + t v) along eigenvectors v of H, flat ones and
sharp ones. Noise of the same size b, or δ, in all of them transforms the test loss φ into an observed one:

    a covector   φ(t) ± b t          vector noise   φ(t ± δ)

and the test loss at the observed minimum, less φ(0), is what is overfitted: b²/2H and Hδ²/2 where φ is a parabola. GD
on the first for a fixed ηT lies between: it reaches δ = ηTb where H ≪ 1/ηT, and the minimum where H ≫ 1/ηT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from matplotlib.figure import Figure

from taylorsgd.datasets.fashion import fashion_mnist_folder
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Work
from taylorsgd.reproducing.pictures import panels
from taylorsgd.reproducing.significance import LEVEL, trend
from taylorsgd.reproducing.tenka.image_classifiers import DATA
from taylorsgd.reproducing.tenka.known_minimum import LogisticMinimum, MinimumSize, logistic_minimum

__all__ = ["EXPERIMENT", "KindsSize", "overfitting"]

NEAR = 0.25
"""How near GD must come to vector noise at the flattest slice and to a covector at the sharpest one, relatively."""
SIGNS = np.array([1.0, -1.0])


@dataclass(frozen=True, kw_only=True)
class KindsSize(MinimumSize):
    """The settings.

    Attributes:
        directions: how many eigenvectors, evenly spaced in log H.
        points: N; b is the size of the noise in the mean of so many gradients, on average over the directions.
        updates: T of GD; η is such that ηT = 1/H in the middle of the range.
    """

    directions: int = 12
    points: int = 10
    updates: int = 400


def overfitting(minimum: LogisticMinimum, direction: Any, noise: float, shift: float, rate: float, updates: int) -> Any:
    """The test loss, less that of the minimum, that noise on one slice leads to, on average over its two signs.

    Args:
        minimum: the landscape.
        direction: a unit vector, (p,).
        noise: b.
        shift: δ.
        rate: η of GD on φ(t) ± b t from t = 0.
        updates: its T.

    Returns:
        With a covector, with vector noise, and of GD, an array (3,).
    """

    def slice_loss(t: Any) -> Any:
        return minimum.loss(minimum.theta + t * direction) - minimum.loss(minimum.theta)

    slope = jax.grad(slice_loss)

    def at_observed_minimum(force: Any) -> Any:
        """By Newton's method, halving a step that does not lower the observed loss."""

        def observed(t: Any) -> Any:
            return slice_loss(t) + force * t

        def step(t: Any, _: None) -> tuple[Any, None]:
            whole = -(slope(t) + force) / jax.grad(slope)(t)
            tried = t + whole * 0.5 ** jnp.arange(12.0)
            values = jax.vmap(observed)(tried)
            best = jnp.argmin(values)
            return jnp.where(values[best] < observed(t), tried[best], t), None

        return lax.scan(step, jnp.zeros(()), None, length=30)[0]

    def after_descent(force: Any) -> Any:
        def update(t: Any, _: None) -> tuple[Any, None]:
            return t - rate * (slope(t) + force), None

        return lax.scan(update, jnp.zeros(()), None, length=updates)[0]

    forces = noise * jnp.asarray(SIGNS)
    reached = (jax.vmap(at_observed_minimum)(forces), shift * jnp.asarray(SIGNS), jax.vmap(after_descent)(forces))
    return jnp.stack([jnp.mean(jax.vmap(slice_loss)(t)) for t in reached])


def _run(size: KindsSize, work: Work) -> Outcome:
    with jax.enable_x64(True):
        work.say(f"Newton's method on {size.images} images")
        minimum = logistic_minimum(work.images, size)
        curvatures, vectors = (np.asarray(each) for each in jnp.linalg.eigh(minimum.hessian))
        wanted = np.geomspace(curvatures[0], curvatures[-1], size.directions)
        chosen = np.unique([np.abs(np.log(curvatures / each)).argmin() for each in wanted])
        slices, hessians = vectors[:, chosen].T, curvatures[chosen]
        own = np.einsum("ip,pq,iq->i", slices, np.asarray(minimum.covariance), slices)
        noise = float(np.sqrt(own.mean() / size.points))
        time = float(1 / np.sqrt(hessians[0] * hessians[-1]))
        work.say(f"{len(chosen)} slices")
        run = jax.jit(
            lambda direction: overfitting(minimum, direction, noise, time * noise, time / size.updates, size.updates)
        )
        found = np.stack([np.asarray(run(jnp.asarray(direction))) for direction in slices])
    rows = [
        {
            "H": h,
            "C": c,
            "covector": covector,
            "vector": vector,
            "GD": descent,
            "own covector": c / (2 * h * size.points),
        }
        for h, c, (covector, vector, descent) in zip(hessians, own, found, strict=True)
    ]
    notes = [
        f"{work.images}; the population is the first {size.images} of them, pooled to about {size.side} pixels a side; "
        f"logistic regression with a ridge of {size.ridge:g}, at its minimum, {len(slices)} of {len(curvatures)} "
        "eigenvectors of H",
        f"b = {noise:.3g} is the root mean square over them of the noise in the mean of N = {size.points} gradients, "
        f"ηT = {time:.3g}, δ = ηTb, T = {size.updates}; no random numbers",
    ]
    return Outcome(_picture(hessians, found, time), rows, _findings(hessians, own, found, time), notes)


def _findings(hessians: np.ndarray, own: np.ndarray, found: np.ndarray, time: float) -> list[Finding]:
    covector, vector, descent = found.T
    flat, sharp = float(descent[0] / vector[0]), float(descent[-1] / covector[-1])
    largest = float(hessians[descent.argmax()] * time)
    return [
        Finding.of_trend(
            "covector-perturbed landscapes favor large Hs: what is overfitted falls with H (Figure 1)",
            trend(hessians, covector, -1),
        ),
        Finding.of_trend(
            "vector-perturbed landscapes favor small Hs: what is overfitted rises with H (Figure 1)",
            trend(hessians, vector, 1),
        ),
        Finding(
            "the implicit regularization of descent interpolates between these rows (Figure 1, Corollary 5)",
            f"with ηT = {time:.3g} GD's overfitting is {flat:.2f} times that of vector noise at the flattest slice, "
            f"{sharp:.2f} times that of a covector at the sharpest, and largest at ηTH = {largest:.2g}; agrees if both "
            f"are within {NEAR:.0%} of 1 and the largest is at neither end",
            bool(max(abs(flat - 1), abs(sharp - 1)) < NEAR and 0 < descent.argmax() < len(descent) - 1),
            {"flat": flat, "sharp": sharp, "largest": largest},
        ),
        Finding.of_trend(
            "the landscape's own noise is not of one size: C rises with H", trend(hessians, own, 1), "control"
        ),
    ]


def _picture(hessians: np.ndarray, found: np.ndarray, time: float) -> Figure:
    figure, axes = panels(7, 5)
    for values, label in zip(found.T, ("covector noise", "vector noise", "GD, fixed $ηT$"), strict=True):
        axes.loglog(hessians, values, "o-", ms=5, label=label)
    axes.axvline(1 / time, color="0.5", lw=0.8, ls=":", label="$H = 1/ηT$")
    axes.set(xlabel="$H$ along the slice", ylabel="test loss at the observed minimum, less the least")
    axes.set_title("Slices of a logistic regression through its minimum")
    axes.legend()
    return figure


EXPERIMENT = Experiment(
    title="vector and covector noise on a real landscape",
    shows="Tenka, Sections 3.3 and 3.4: Figure 1, right",
    claim="where noise shifts gradients sharp minima overfit less, where it shifts weights flat ones do; descent for a "
    "fixed time interpolates between the two",
    judged=f"Kendall's τ of what is overfitted against H, one-sided, at the level {LEVEL:g}; the ratios at both ends, "
    f"within {NEAR:.0%}",
    sizes={"quick": KindsSize(), "full": KindsSize(images=512, side=14, directions=30)},
    lasts={"quick": "about 20 s", "full": "some minutes"},
    run=_run,
    data=DATA,
    usual=fashion_mnist_folder,
)
"""The experiment."""
