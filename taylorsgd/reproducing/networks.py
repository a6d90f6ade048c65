"""The networks of the experiments, as plain pytrees: multilayer perceptrons and residual networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from taylorsgd.reproducing.images import CLASSES

__all__ = ["accuracy", "cross_entropy", "new_perceptron", "new_residual_net", "perceptron", "residual_net"]

Parameters = Any
CONVOLUTION = ("NHWC", "HWIO", "NHWC")


def new_perceptron(key: jax.Array, inputs: int, width: int, layers: int = 5) -> Parameters:
    """Parameters of a perceptron with so many layers: weights normal of variance 2/fan-in (He et al. 2015), no bias.

    Example:
        >>> jax.tree.map(jnp.shape, new_perceptron(jax.random.key(0), inputs=64, width=7, layers=3))
        [{'W': (64, 7), 'b': (7,)}, {'W': (7, 7), 'b': (7,)}, {'W': (7, 10), 'b': (10,)}]
    """
    sizes = [inputs, *[width] * (layers - 1), CLASSES]
    return [
        {"W": _normal(jax.random.fold_in(key, i), (ins, outs), ins), "b": jnp.zeros(outs)}
        for i, (ins, outs) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
    ]


def perceptron(theta: Parameters, x: jax.Array) -> jax.Array:
    """Scores (n, 10) of images (n, height, width, colours); ReLU between the layers."""
    x = x.reshape(len(x), -1)
    for layer in theta[:-1]:
        x = jax.nn.relu(x @ layer["W"] + layer["b"])
    return x @ theta[-1]["W"] + theta[-1]["b"]


def new_residual_net(key: jax.Array, colours: int, widths: Sequence[int], blocks: int = 2) -> Parameters:
    """Parameters of a residual network: a convolution, stages of blocks of two, and a linear layer.

    Every branch ends in a factor that starts at 0, which lets a deep network train without batch
    normalization (SkipInit, De and Smith 2020): a loss that depends on θ and the images alone.

    Args:
        key: a JAX random key.
        colours: of the images.
        widths: the channels in each stage; (64, 128, 256, 512) with two blocks each is a ResNet-18.
        blocks: blocks in a stage. Stages after the first halve the image.
    """
    keys = iter(jax.random.split(key, 2 + 3 * blocks * len(widths)))

    def filters(side: int, ins: int, outs: int) -> jax.Array:
        return _normal(next(keys), (side, side, ins, outs), side * side * ins)

    stages, ins = [], widths[0]
    first = filters(3, colours, ins)
    for outs in widths:
        stage = []
        for _ in range(blocks):
            block = {"first": filters(3, ins, outs), "second": filters(3, outs, outs), "scale": jnp.zeros(())}
            block |= {"bias": jnp.zeros(outs)}
            if ins != outs:
                block["skip"] = filters(1, ins, outs)
            stage.append(block)
            ins = outs
        stages.append(stage)
    return {
        "first": first,
        "stages": stages,
        "W": _normal(next(keys), (ins, CLASSES), ins),
        "b": jnp.zeros(CLASSES),
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


def cross_entropy(scores: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The mean of −log softmax(scores)_label, or the sum with weights."""
    chosen = jnp.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    return _mean(jax.nn.logsumexp(scores, axis=1) - chosen, weights)


def accuracy(scores: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The fraction of labels that have the highest score, or the sum of their weights."""
    return _mean((jnp.argmax(scores, axis=1) == labels).astype(scores.dtype), weights)


def _mean(values: jax.Array, weights: jax.Array | None) -> jax.Array:
    return jnp.mean(values) if weights is None else jnp.sum(values * weights.astype(values.dtype))


def _convolve(x: jax.Array, filters: jax.Array, stride: int = 1) -> jax.Array:
    return jax.lax.conv_general_dilated(x, filters, (stride, stride), "SAME", dimension_numbers=CONVOLUTION)


def _normal(key: jax.Array, shape: tuple[int, ...], fan_in: int) -> jax.Array:
    return jax.random.normal(key, shape) * (2 / fan_in) ** 0.5
