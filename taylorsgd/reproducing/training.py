"""Training many networks at once, and remembering each as it was when it was best on the test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from taylorsgd.descent.explicit import explicit_gradient_regularization
from taylorsgd.landscapes.landscape import population_mean
from taylorsgd.landscapes.loss_surface import squared_norm
from taylorsgd.reproducing.images import Images
from taylorsgd.reproducing.networks import accuracy, cross_entropy

__all__ = ["Training", "parameter_count", "train"]

Network = Callable[[Any, jax.Array], jax.Array]
EVALUATED_AT_ONCE = 1000
"""The most images whose gradient is taken at once."""


@dataclass(frozen=True)
class Training:
    """What became of R networks over C checkpoints.

    Attributes:
        steps: the number of updates before each checkpoint, (C,).
        loss: E on the whole training set, (R, C).
        squared_slope: |∇E|² on the whole training set, (R, C).
        train_accuracy: on the training set, (R, C).
        test_accuracy: on the test set, (R, C).
        squared_norm: |θ|², (R, C).
        best: the checkpoint of maximum test accuracy, the first of several, (R,). If `only_fitted`, of those
            at which all training images are classified right; −1 where there is none.
        theta: the parameters at that checkpoint, a pytree with a leading axis of R.
        parameters: m, the number of parameters of one network.
    """

    steps: np.ndarray
    loss: np.ndarray
    squared_slope: np.ndarray
    train_accuracy: np.ndarray
    test_accuracy: np.ndarray
    squared_norm: np.ndarray
    best: np.ndarray
    theta: Any
    parameters: int

    @property
    def fitted(self) -> np.ndarray:
        """Which networks have a best checkpoint, (R,)."""
        return self.best >= 0

    @property
    def regularizer(self) -> np.ndarray:
        """R_IG = |∇E|²/m, (R, C)."""
        return self.squared_slope / self.parameters

    def at_best(self, record: np.ndarray) -> np.ndarray:
        """The values of a record (R, C) at the best checkpoints, (R,); NaN where there is none."""
        return np.where(self.fitted, record[np.arange(len(self.best)), self.best], np.nan)


def parameter_count(theta: Any) -> int:
    """m, the number of parameters of one network."""
    return sum(leaf.size for leaf in jax.tree.leaves(theta))


def train(
    network: Network,
    theta: Any,
    images: Images,
    rates: Any,
    seeds: Any,
    epochs: int,
    batch: int,
    every: int = 1,
    mu: Any = 0.0,
    only_fitted: bool = False,
) -> Training:
    """Train R networks by SGD on the cross entropy, each with its own learning rate, μ and order of the images.

    Args:
        network: scores of images, a function (theta, x).
        theta: the initial parameters, a pytree with a leading axis of R.
        images: what to learn, and what to test on.
        rates: R learning rates.
        seeds: R integers: the order of the images; they are shuffled every epoch, and the last incomplete
            batch of an epoch is left out.
        epochs: how many times the training set is gone through.
        batch: images in a batch; the size of the training set, or more, makes it full-batch descent.
        every: epochs between checkpoints. The first one is before training.
        mu: R rates μ of explicit gradient regularization, or 0 for none of them.
        only_fitted: whether the best checkpoint must be one where every training image is classified right.

    Returns:
        A `Training`.

    Raises:
        ValueError: if `every` does not divide `epochs`.
    """
    if epochs % every:
        raise ValueError(f"every={every} does not divide epochs={epochs}")
    train_set, test_set = (tuple(map(jnp.asarray, part)) for part in (images.train, images.test))
    points = len(train_set[1])
    batch = min(batch, points)
    one = jax.tree.map(lambda leaf: leaf[0], theta)
    run = _Run(network, points, batch, epochs // every, every, bool(np.any(np.asarray(mu))), only_fitted)
    mus = jnp.broadcast_to(jnp.asarray(mu, jnp.float32), np.shape(rates))
    records, best, kept = _all(
        run, theta, jnp.asarray(rates, jnp.float32), mus, jnp.asarray(seeds), train_set, test_set
    )
    fields: list[Any] = [
        np.arange(epochs // every + 1) * every * (points // batch),
        *(np.asarray(record, np.float64) for record in records),
        np.asarray(best),
        kept,
        parameter_count(one),
    ]
    return Training(*fields)


@partial(jax.jit, static_argnums=0)
def _all(run: _Run, *arguments: Any) -> Any:
    return jax.vmap(run, (0, 0, 0, 0, None, None))(*arguments)


@dataclass(frozen=True)
class _Run:
    """The training of one network: a scan over checkpoints, epochs and batches."""

    network: Network
    points: int
    batch: int
    checkpoints: int
    every: int
    regularized: bool
    only_fitted: bool

    def __call__(
        self, theta: Any, rate: jax.Array, mu: jax.Array, seed: jax.Array, train_set: Any, test_set: Any
    ) -> Any:
        """The records at all checkpoints, the number of the best one, and θ there."""
        x, y = train_set
        key = jax.random.key(seed)
        updates = self.points // self.batch
        penalty = [explicit_gradient_regularization(mu)] if self.regularized else []
        optimizer = optax.with_extra_args_support(optax.chain(*penalty, optax.sgd(rate)))

        def update(theta: Any, rows: jax.Array) -> tuple[Any, None]:
            def loss(theta: Any) -> jax.Array:
                return cross_entropy(self.network(theta, x[rows]), y[rows])

            state = optimizer.init(theta)
            change, _ = optimizer.update(jax.grad(loss)(theta), state, theta, value_fn=loss)
            return optax.apply_updates(theta, change), None

        def epoch(theta: Any, number: jax.Array) -> tuple[Any, None]:
            order = jax.random.permutation(jax.random.fold_in(key, number), self.points)
            rows = order[: updates * self.batch].reshape(updates, self.batch)
            return jax.lax.scan(update, theta, rows)

        def advance(carry: Any, number: jax.Array) -> Any:
            theta, *best = carry
            theta, _ = jax.lax.scan(epoch, theta, (number - 1) * self.every + jnp.arange(self.every))
            record = self._look(theta, train_set, test_set)
            return (theta, *self._best(number, theta, record, *best)), record

        record = self._look(theta, train_set, test_set)
        none = (jnp.asarray(-1), jnp.asarray(-1.0), theta)
        start = (theta, *self._best(jnp.asarray(0), theta, record, *none))
        (_, best, _, kept), records = jax.lax.scan(advance, start, 1 + jnp.arange(self.checkpoints))
        joined = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), record, records)
        return joined, best, kept

    def _look(self, theta: Any, train_set: Any, test_set: Any) -> tuple[jax.Array, ...]:
        """E, |∇E|² and the accuracy on the training set, the accuracy on the test set, and |θ|²."""

        def of_part(part: Any, weights: jax.Array) -> Any:
            def loss(theta: Any) -> tuple[jax.Array, jax.Array]:
                scores = self.network(theta, part[0])
                return cross_entropy(scores, part[1], weights), accuracy(scores, part[1], weights)

            return jax.value_and_grad(loss, has_aux=True)(theta)

        (value, right), gradient = population_mean(of_part, train_set, EVALUATED_AT_ONCE)
        tested = population_mean(
            lambda part, weights: accuracy(self.network(theta, part[0]), part[1], weights),
            test_set,
            EVALUATED_AT_ONCE,
        )
        return value, squared_norm(gradient), right, tested, squared_norm(theta)

    def _best(self, number: jax.Array, theta: Any, record: Any, best: Any, highest: Any, kept: Any) -> Any:
        """The best checkpoint so far, its test accuracy, and θ there."""
        loss, _, right, tested, _ = record
        eligible = jnp.isfinite(loss) & ((right > 1 - 0.5 / self.points) | (not self.only_fitted))
        better = eligible & (tested > highest)
        chosen = jax.tree.map(lambda new, old: jnp.where(better, new, old), theta, kept)
        return jnp.where(better, number, best), jnp.where(better, tested, highest), chosen
