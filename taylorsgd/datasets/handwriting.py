"""A small real landscape that is always at hand: a smooth classifier of handwritten digits."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from taylorsgd.arguments import whole_number
from taylorsgd.device_arrays import on_device
from taylorsgd.landscapes.keys import random_key
from taylorsgd.landscapes.landscape import Landscape

__all__ = ["digits"]

CLASSES = 10
MOST_HIDDEN = 2**20
"""The most units of the hidden layer: a gigabyte of parameters."""


def digits(hidden: int = 10, seed: int = 0) -> tuple[Landscape, dict[str, jax.Array]]:
    """The cross entropy of a tanh network on scikit-learn's digits, and its initialization.

    The 1797 images of 8 × 8 pixels (Alpaydin and Kaynak 1998) come with scikit-learn. With x ∈ [−1, 1]^64 and
    a class y, l_(x,y)(θ) = −log softmax(W₂ tanh(W₁ x + b₁) + b₂)_y. Weights start as independent normals of
    variance 1/fan-in (LeCun et al. 1998), biases at 0.

    Args:
        hidden: the width of the hidden layer, at least 1.
        seed: which initialization.

    Returns:
        The landscape, with the images as its population, and θ_0: 75·hidden + 10 parameters in all.

    Raises:
        TypeError: if the seed is none.
        ValueError: if `hidden` is less than 1, or too wide; if the seed is out of range.

    Example:
        >>> landscape, theta = digits(hidden=4)
        >>> landscape.size, sum(leaf.size for leaf in theta.values())
        (1797, 310)
    """
    hidden = whole_number(
        hidden, "hidden", 1, MOST_HIDDEN, why="is wider than any layer", says="is no width; it must be"
    )
    first, second = jax.random.split(random_key(seed, "seed"))
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images = on_device(bunch.data / 8.0 - 1.0, jnp.float32)
    labels = on_device(bunch.target, jnp.int32)
    pixels = images.shape[1]
    theta = {
        "W1": jax.random.normal(first, (hidden, pixels)) / pixels**0.5,
        "b1": jnp.zeros(hidden),
        "W2": jax.random.normal(second, (CLASSES, hidden)) / hidden**0.5,
        "b2": jnp.zeros(CLASSES),
    }
    return Landscape(_cross_entropy, (images, labels)), theta


def _cross_entropy(theta: dict[str, jax.Array], point: tuple[jax.Array, jax.Array]) -> jax.Array:
    image, label = point
    scores = theta["W2"] @ jnp.tanh(theta["W1"] @ image + theta["b1"]) + theta["b2"]
    return jax.nn.logsumexp(scores) - scores[label]
