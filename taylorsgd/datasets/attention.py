r"""One head of soft attention that classifies short sequences of tokens.

With tokens X (L × d), queries Q = X W_q, keys K = X W_k and values V = X W_v,

    A = softmax(Q Kᵀ/√w) row by row,        scores = mean over tokens of tanh(A V) · W + b,

and l_{(X, y)}(θ) = −log softmax(scores)_y: analytic in θ, as the paper's hypotheses ask (section B.1). Weights are
Xavier weights times standard normal θ, as in the other nets.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from taylorsgd.arguments import whole_number
from taylorsgd.landscapes.keys import random_key
from taylorsgd.landscapes.landscape import Landscape
from taylorsgd.lowering.real_arrays import real_array

__all__ = ["attention_head"]

Parameters = dict[str, jax.Array]


def attention_head(tokens: Any, labels: Any, width: int = 4, seed: int = 0) -> tuple[Landscape, Parameters]:
    """Classify sequences by one head of soft attention.

    Args:
        tokens: (n, L, d), floats: n sequences of L tokens.
        labels: (n,), integers from 0 on.
        width: w, the length of queries, keys and values.
        seed: which initialization.

    Returns:
        The landscape with the sequences as its population, and θ_0: standard normal.

    Raises:
        TypeError: if tokens or labels are no numbers, or the seed is none.
        ValueError: if shapes or values are impossible.

    Example:
        >>> landscape, theta = attention_head(jnp.zeros((5, 3, 2)), [0, 1, 2, 1, 0], width=4)
        >>> landscape.size, {name: leaf.shape for name, leaf in theta.items()}
        (5, {'query': (2, 4), 'key': (2, 4), 'value': (2, 4), 'dense': (4, 3), 'dense bias': (3,)})

    Source: Tenka, section 1.1 and hypotheses B.1, which name soft attention; the head is Vaswani et al.'s, 2017.
    """
    sequences, classes = real_array(tokens, "tokens", jnp.float32), real_array(labels, "labels")
    width = whole_number(width, "width", 1, 2**20)
    if not jnp.issubdtype(classes.dtype, jnp.integer):
        raise TypeError(f"labels has dtype {classes.dtype}; they must be integers from 0 on")
    if sequences.ndim != 3 or classes.shape != sequences.shape[:1] or not sequences.size:
        raise ValueError(
            f"tokens has shape {sequences.shape} and labels {classes.shape}; they must be (n, L, d) and (n,)"
        )
    count = int(classes.max()) + 1
    if int(classes.min()) < 0 or count > 2**16:
        raise ValueError(f"labels range from {classes.min()} to {classes.max()}; they must be small integers from 0 on")
    shapes = dict.fromkeys(("query", "key", "value"), (sequences.shape[2], width))
    keys = jax.random.split(random_key(seed, "seed"), 5)
    shapes |= {"dense": (width, count), "dense bias": (count,)}
    theta = {name: jax.random.normal(own, shape) for own, (name, shape) in zip(keys, shapes.items(), strict=True)}
    return Landscape(_loss, (sequences, classes.astype(jnp.int32))), theta


def _loss(theta: Parameters, point: tuple[jax.Array, jax.Array]) -> jax.Array:
    tokens, label = point
    query, key, value, weights = (_xavier(theta[name]) for name in ("query", "key", "value", "dense"))
    agreement = (tokens @ query) @ (tokens @ key).T / query.shape[1] ** 0.5
    read = jax.nn.softmax(agreement, axis=-1) @ (tokens @ value)
    scores = jnp.mean(jnp.tanh(read), axis=0) @ weights + theta["dense bias"] * (2 / (1 + weights.shape[1])) ** 0.5
    return jax.nn.logsumexp(scores) - scores[label]


def _xavier(weights: jax.Array) -> jax.Array:
    return weights * (2 / sum(weights.shape)) ** 0.5
