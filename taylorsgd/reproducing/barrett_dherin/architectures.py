"""The networks of the experiments, as plain pytrees: multilayer perceptrons and residual networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taylorsgd.reproducing.labelled_images import CLASSES

__all__ = ["accuracy", "cross_entropy", "new_perceptron", "new_residual_net", "perceptron", "residual_net"]

Parameters = Any
Seed = int | Sequence[int]
CONVOLUTION = ("NHWC", "HWIO", "NHWC")


def new_perceptron(seed: Seed, inputs: int, width: int, layers: int = 5) -> Parameters:
    """Parameters of a perceptron with so many layers: weights normal of variance 2/fan-in (He et al. 2015), no bias.

    Example:
        >>> jax.tree.map(jnp.shape, new_perceptron(0, inputs=64, width=7, layers=3))
        [{'W': (64, 7), 'b': (7,)}, {'W': (7, 7), 'b': (7,)}, {'W': (7, 10), 'b': (10,)}]
    """
    random = np.random.default_rng(seed)
    sizes = [inputs, *[width] * (layers - 1), CLASSES]
    return [
        {"W": _normal(random, (ins, outs), ins), "b": np.zeros(outs, np.float32)}
        for ins, outs in zip(sizes[:-1], sizes[1:], strict=True)
    ]


def perceptron(theta: Parameters, x: jax.Array) -> jax.Array:
    """Scores (n, 10) of images (n, height, width, colours); ReLU between the layers."""
    x = x.reshape(len(x), -1)
    for layer in theta[:-1]:
        x = jax.nn.relu(x @ layer["W"] + layer["b"])
    return x @ theta[-1]["W"] + theta[-1]["b"]


def new_residual_net(seed: Seed, colours: int, widths: Sequence[int], blocks: int = 2) -> Parameters:
    """Parameters of a residual network: a convolution, stages of blocks of two, and a linear layer.

    Every branch ends in a trained factor that starts at 1/√depth, which stands in for batch normalization (De
    and Smith 2020): the loss of an image then depends on θ and that image alone.

    Args:
        seed: which initialization.
        colours: of the images.
        widths: the channels in each stage; (64, 128, 256, 512) with two blocks each is a ResNet-18.
        blocks: blocks in a stage. Stages after the first halve the image.
    """
    random = np.random.default_rng(seed)

    def filters(side: int, ins: int, outs: int) -> np.ndarray:
        return _normal(random, (side, side, ins, outs), side * side * ins)

    stages, ins, depth = [], widths[0], blocks * len(widths)
    first = filters(3, colours, ins)
    for outs in widths:
        stage = []
        for place in range(blocks):
            block = {"first": filters(3, ins, outs), "second": filters(3, outs, outs), "scale": np.float32(depth**-0.5)}
            block |= {"bias": np.zeros(outs, np.float32)}
            if ins != outs or (stages and not place):  # the image is halved there
                block["skip"] = filters(1, ins, outs)
            stage.append(block)
            ins = outs
        stages.append(stage)
    return {
        "first": first,
        "stages": stages,
        "W": _normal(random, (ins, CLASSES), ins),
        "b": np.zeros(CLASSES, np.float32),
    }


def residual_net(theta: Parameters, x: jax.Array) -> jax.Array:
    """Scores (n, 10) of images (n, height, width, colours); the pixels' mean is taken before the last layer."""
    x = _convolve(x, theta["first"])
    for number, stage in enumerate(theta["stages"]):
        for place, block in enumerate(stage):
            stride = 2 if number and not place else 1
            inside = _convolve(jax.nn.relu(x), block["first"], stride) + block["bias"]
            inside = _convolve(jax.nn.relu(inside), block["second"])
            if "skip" in block:
                x = _convolve(x, block["skip"], stride)
            x = x + block["scale"] * inside
    return jnp.mean(jax.nn.relu(x), axis=(1, 2)) @ theta["W"] + theta["b"]


def cross_entropy(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean of −log softmax(scores)_label."""
    chosen = jnp.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(scores, axis=1) - chosen)


def accuracy(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """The fraction of labels that have the highest score."""
    return jnp.mean(jnp.argmax(scores, axis=1) == labels)


def _convolve(x: jax.Array, filters: jax.Array, stride: int = 1) -> jax.Array:
    return jax.lax.conv_general_dilated(x, filters, (stride, stride), "SAME", dimension_numbers=CONVOLUTION)


def _normal(random: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
    return random.standard_normal(shape, dtype=np.float32) * np.float32((2 / fan_in) ** 0.5)
