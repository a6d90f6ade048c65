"""The paper's classifiers of images, and what the experiments on them have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taylorsgd.landscapes import Landscape, convolutional_net, logistic_regression
from taylorsgd.reproducing.experiment import Work
from taylorsgd.reproducing.labelled_images import Images

__all__ = [
    "CONVOLUTIONAL", "DATA", "LOGISTIC", "POINTS", "ClassifierSize", "ErrorRate", "classifiers", "on_classifiers",
    "population",
]  # fmt: skip

CONVOLUTIONAL, LOGISTIC = "convolutional net", "logistic regression"
"""The classifiers, by what they are called."""
POINTS = 10
"""N, and so T, of one epoch with batch size 1."""
DATA = "Fashion-MNIST, or the images of --data (MNIST's, Fashion-MNIST's or CIFAR-10's files)"
"""What the experiments take."""

CLASSES = 10
"""Every data set here has ten."""

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class ClassifierSize:
    """What settings of experiments on classifiers have in common.

    Attributes:
        images: the population, so many images; test losses are averages over all of it.
        side: they are averaged over blocks to about this height and width.
        initializations: of the convolutional net.
        trials: training sets at each learning rate, the same for all dynamics that are compared.
        samples: draws for measuring a value.
        seed: of everything.
    """

    images: int = 128
    side: int = 14
    initializations: int = 6
    trials: int = 250
    samples: int = 1024
    seed: int = 0

    @property
    def chunk(self) -> int:
        """Trials side by side: few enough that what arises in them stays in a processor's cache."""
        return max(1, min(self.trials, 4096 // self.images))

    def of_population(self, images: Images) -> str:
        """What notes say of the population."""
        count = min(self.images, len(images.train[1]) + len(images.test[1]))
        return f"{images}; the population is the first {count} of them, pooled to about {self.side} pixels a side"


class ErrorRate:
    """The 0–1 error of a classifier over its population, a function of θ: how many images another label is likelier of.

    Equal for equal populations, so that what is compiled for one initialization serves the next.

    Args:
        place: a landscape whose points are (image, label), and whose loss of a label falls as its score rises.
    """

    def __init__(self, place: Landscape) -> None:
        """Remember the loss and the population."""
        self.loss, (self.images, self.labels) = place.loss, place.data
        self.key = (self.loss, np.asarray(self.images).tobytes(), np.asarray(self.labels).tobytes())

    def __call__(self, theta: Any) -> jax.Array:
        """The fraction of images that θ gives another label."""

        def likeliest(image: jax.Array) -> jax.Array:
            return jnp.argmin(jax.vmap(lambda label: self.loss(theta, (image, label)))(jnp.arange(CLASSES)))

        return jnp.mean(jax.vmap(likeliest)(self.images) != self.labels, dtype=jnp.float32)

    def __eq__(self, other: object) -> bool:
        """Whether loss and population are the same."""
        return isinstance(other, ErrorRate) and self.key == other.key

    def __hash__(self) -> int:
        """Hash the same."""
        return hash(self.key)


def population(images: Images, size: ClassifierSize) -> tuple[np.ndarray, np.ndarray]:
    """The first `size.images` images, about `size.side` pixels high, with pixels in [0, 1], and their labels."""
    pixels, labels = (np.concatenate(both)[: size.images] for both in zip(images.train, images.test, strict=True))
    pooled = Images(images.name, (pixels, labels), (pixels[:0], labels[:0])).pooled(size.side)
    return (pooled.train[0] + 1) / 2, labels


def classifiers(images: Images, size: ClassifierSize) -> Iterator[tuple[str, int, Landscape, Any]]:
    """The convolutional net from each of its initializations, then logistic regression from 0.

    Yields:
        The net's name, the number of the initialization, the landscape and θ_0.
    """
    pixels, labels = population(images, size)
    for number in range(size.initializations):
        key = _stream(size.seed, CONVOLUTIONAL, number, "initialization")
        yield (CONVOLUTIONAL, number, *convolutional_net(pixels, labels, key))
    yield (LOGISTIC, 0, *logistic_regression(pixels, labels))


def on_classifiers(
    size: ClassifierSize, work: Work, net: str, what: str, compute: Callable[[Landscape, Any, Any, jax.Array], Arrays]
) -> Iterator[tuple[int, Arrays]]:
    """Do something with a classifier from each of its initializations, and keep what comes out.

    Args:
        size: the settings.
        work: told which initialization is next.
        net: the classifier's name.
        what: is done, in words.
        compute: does it, with a landscape, θ_0, the settings and a random key.

    Yields:
        The number of the initialization, and arrays by name.
    """
    for name, number, landscape, theta in classifiers(work.images, size):
        if name == net:
            work.say(f"{net}, initialization {number + 1}: {what}")
            key = _stream(size.seed, net, number, "runs")
            yield number, work.keep(f"{net} {number}", partial(compute, landscape, theta, size, key))


def _stream(seed: int, net: str, number: int, use: str) -> jax.Array:
    """A key for one use of one initialization, independent of all others and of those of other seeds."""
    key = jax.random.key(seed)
    for part in ((CONVOLUTIONAL, LOGISTIC).index(net), number, ("initialization", "runs").index(use)):
        key = jax.random.fold_in(key, part)
    return key
