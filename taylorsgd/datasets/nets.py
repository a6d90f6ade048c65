r"""The paper's image classifiers (section C.2.1): logistic regression and a small tanh convolutional net.

Both classify images x with pixels in [0, 1] by l_{(x, y)}(θ) = −log softmax(scores(x; θ))_y. Linear maps are
parametrized so that standard normal θ are Gaussian Xavier weights (Glorot and Bengio 2010): a weight is
θ·√(2/(fan in + fan out)), which sets a standard distance scale in the space of θ, and with it the scale of η. As in
the authors' code a convolution's fan in counts its taps, and a bias is a linear map of the constant 1, of fan in 1.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from taylorsgd.landscapes.keys import random_key
from taylorsgd.landscapes.landscape import Landscape
from taylorsgd.lowering.real_arrays import real_array

__all__ = ["convolutional_net", "logistic_regression"]

CLASSES = 10
CHANNELS = 10
KERNEL = 5
HIDDEN = 10

Parameters = dict[str, jax.Array]


def logistic_regression(images: Any, labels: Any) -> tuple[Landscape, Parameters]:
    """Multinomial logistic regression on the pixels, from θ_0 = 0.

    Args:
        images: (n, height, width) or (n, height, width, channels), bytes or floats in [0, 1].
        labels: (n,), integers from 0 to 9.

    Returns:
        The landscape with the images as its population, and θ_0.

    Raises:
        TypeError: if images or labels are no numbers.
        ValueError: if shapes or values are impossible.

    Example:
        >>> import numpy as np
        >>> landscape, theta = logistic_regression(np.zeros((3, 28, 28), np.uint8), [0, 1, 2])
        >>> landscape.size, {name: leaf.shape for name, leaf in theta.items()}
        (3, {'dense': (784, 10), 'dense bias': (10,)})
    """
    pixels, classes = _checked(images, labels)
    theta = {"dense": jnp.zeros((pixels[0].size, CLASSES)), "dense bias": jnp.zeros(CLASSES)}
    return Landscape(_logistic_loss, (pixels, classes)), theta


def convolutional_net(images: Any, labels: Any, seed: int | jax.Array = 0) -> tuple[Landscape, Parameters]:
    """The paper's net: two 5 × 5 convolutions of stride 2 with 10 channels, a hidden layer of 10; tanh between.

    Args:
        images: (n, height, width) or (n, height, width, channels), bytes or floats in [0, 1]; at least 13
            pixels high and wide.
        labels: (n,), integers from 0 to 9.
        seed: which initialization: an integer, or a JAX key.

    Returns:
        The landscape with the images as its population, and θ_0: standard normal.

    Raises:
        TypeError: if images or labels are no numbers, or the seed is none.
        ValueError: if shapes or values are impossible.

    Example:
        >>> import numpy as np
        >>> landscape, theta = convolutional_net(np.zeros((3, 28, 28), np.uint8), [0, 1, 2])
        >>> sum(leaf.size for leaf in theta.values())
        4490
    """
    pixels, classes = _checked(images, labels)
    height, width, channels = pixels.shape[1:]
    sides = [((side - KERNEL) // 2 + 1 - KERNEL) // 2 + 1 for side in (height, width)]
    if min(height, width) < 13:
        raise ValueError(f"images of {height} × {width} are too small; two 5 × 5 convolutions of stride 2 need 13 × 13")
    shapes = {
        "convolution 1": (KERNEL, KERNEL, channels, CHANNELS),
        "convolution 2": (KERNEL, KERNEL, CHANNELS, CHANNELS),
        "dense 1": (sides[0] * sides[1] * CHANNELS, HIDDEN),
        "dense 2": (HIDDEN, CLASSES),
    }
    keys = jax.random.split(random_key(seed, "seed"), len(shapes))
    theta: Parameters = {}
    for key, (name, shape) in zip(keys, shapes.items(), strict=True):
        weights, bias = jax.random.split(key)
        theta[name] = jax.random.normal(weights, shape)
        theta[f"{name} bias"] = jax.random.normal(bias, shape[-1:])
    return Landscape(_convolutional_loss, (pixels, classes)), theta


def _checked(images: Any, labels: Any) -> tuple[jax.Array, jax.Array]:
    """Images in [0, 1] with an axis of channels, and labels."""
    pixels, classes = real_array(images, "images"), real_array(labels, "labels")
    if not jnp.issubdtype(classes.dtype, jnp.integer):
        raise TypeError(f"labels has dtype {classes.dtype}; they must be integers from 0 to {CLASSES - 1}")
    classes = classes.astype(jnp.int32)
    if pixels.ndim not in (3, 4) or classes.shape != pixels.shape[:1]:
        raise ValueError(
            f"images has shape {pixels.shape} and labels {classes.shape}; they must be (n, height, width) or "
            "(n, height, width, channels), and (n,)"
        )
    if not bool(jnp.all((classes >= 0) & (classes < CLASSES))):
        raise ValueError(f"labels range from {classes.min()} to {classes.max()}; they must be 0 to 9")
    scaled = pixels / 255 if pixels.dtype == jnp.uint8 else pixels
    scaled = scaled.astype(jnp.float32)
    return scaled if scaled.ndim == 4 else scaled[..., None], classes


def _xavier(theta: Parameters, name: str) -> tuple[jax.Array, jax.Array]:
    """A layer's weights (…, in, out) and bias (out,): θ·√(2/(fan in + fan out))."""
    weights, bias = theta[name], theta[f"{name} bias"]
    outward = bias.size
    inward = weights.size // outward
    return weights * (2 / (inward + outward)) ** 0.5, bias * (2 / (1 + outward)) ** 0.5


def _cross_entropy(scores: jax.Array, label: jax.Array) -> jax.Array:
    return jax.nn.logsumexp(scores) - scores[label]


def _logistic_loss(theta: Parameters, point: tuple[jax.Array, jax.Array]) -> jax.Array:
    image, label = point
    weights, bias = _xavier(theta, "dense")
    return _cross_entropy(image.ravel() @ weights + bias, label)


def _convolutional_loss(theta: Parameters, point: tuple[jax.Array, jax.Array]) -> jax.Array:
    image, label = point
    signal = image[None]
    for name in ("convolution 1", "convolution 2"):
        kernel, bias = _xavier(theta, name)
        signal = lax.conv_general_dilated(signal, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        signal = jnp.tanh(signal + bias)
    weights, bias = _xavier(theta, "dense 1")
    hidden = jnp.tanh(signal.ravel() @ weights + bias)
    weights, bias = _xavier(theta, "dense 2")
    return _cross_entropy(hidden @ weights + bias, label)
