"""Perceptrons of one width, trained at several learning rates from the same initializations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from taylorsgd.reproducing.barrett_dherin.architectures import new_perceptron, perceptron
from taylorsgd.reproducing.barrett_dherin.training import Training, TrainingSize, stacked, train_once
from taylorsgd.reproducing.experiment import Finding, Work
from taylorsgd.reproducing.labelled_images import Images
from taylorsgd.reproducing.significance import trend

__all__ = ["PerceptronSize", "Perceptrons", "Row", "train_perceptrons", "trend_among"]

Row = dict[str, Any]
"""What a table says of one network."""


@dataclass(frozen=True, kw_only=True)
class PerceptronSize(TrainingSize):
    """What experiments on perceptrons have in common.

    Attributes:
        layers: the layers of a network, the last one included: five hidden ones of 400 units and the last make
            0.96 × 10⁶ parameters for MNIST, which Appendix E prints as 9.6 × 10⁶.
        most: epochs, while there are networks that do not yet fit all training images.
        apart: whether each network is trained by itself, a piece of the run that can be interrupted after any.
    """

    rates: tuple[float, ...] = (0.005, 0.01, 0.02, 0.04)
    layers: int = 6
    most: int = 450
    apart: bool = False

    def none_fits(self, images: Images) -> ArithmeticError:
        """What to raise if there is nothing to compare."""
        return ArithmeticError(
            f"no network fits all {len(images.train[1])} training images in {max(self.epochs, self.most)} epochs"
        )


@dataclass(frozen=True)
class Perceptrons:
    """Trained networks of one width.

    Attributes:
        width: the units in each of the hidden layers.
        batch: images in a batch.
        rates: the learning rate of each network, (R,).
        initializations: the one of each network, (R,).
        training: what became of them.
    """

    width: int
    batch: int
    rates: np.ndarray
    initializations: np.ndarray
    training: Training


def train_perceptrons(work: Work, name: str, images: Images, size: PerceptronSize, width: int) -> list[Perceptrons]:
    """Train perceptrons at each rate from each initialization; the same ones at all rates.

    Networks of other widths, and those of other seeds, start elsewhere and meet the images in other orders.

    Args:
        work: as in `train_once`; of networks that are trained apart, those that it does not allow now are left out.
        name: likewise.
        images: to train and test on.
        size: the settings.
        width: the units in each of the hidden layers.

    Returns:
        All of them together or, if they are trained apart, each of them.
    """
    grid = np.meshgrid(size.rates, np.arange(size.initializations), indexing="ij")
    rates, numbers = (axis.ravel() for axis in grid)
    each = np.arange(len(rates))
    inputs = int(np.prod(images.train[0].shape[1:]))
    found = []
    for chosen in np.split(each, len(each)) if size.apart else [each]:
        part = f"{name} rate {rates[chosen[0]]:g} {numbers[chosen[0]]}" if size.apart else name
        if not work.keep.may(part):
            continue
        if size.apart:
            work.say(f"Network {part}")
        seeds = [(size.seed, width, int(number)) for number in numbers[chosen]]
        theta = stacked([new_perceptron(seed, inputs, width, size.layers) for seed in seeds])
        plan = (rates[chosen], seeds, size.epochs, size.batch, size.every)
        training = train_once(work, part, perceptron, theta, images, *plan, only_fitted=True, most=size.most)
        found.append(Perceptrons(width, size.batch, rates[chosen], numbers[chosen], training))
    return found


def trend_among(
    rows: Sequence[Row],
    claim: str,
    x: str,
    y: str | Callable[[Row], float],
    expected: int,
    within: Sequence[str] = ("initialization",),
    source: str = "paper",
) -> Finding:
    """A trend of a column, or of a function of a row, with another column, among rows that share some."""
    read = itemgetter(y) if isinstance(y, str) else y
    points = [(row[x], read(row), tuple(row[name] for name in within)) for row in rows]
    # A network that diverged after its best has no ratio at the end.
    finite = [point for point in points if np.isfinite(point[:2]).all()]
    xs, ys, groups = zip(*finite, strict=True) if finite else ((), (), ())
    return Finding.of_trend(claim, trend(xs, ys, expected, groups), source)
