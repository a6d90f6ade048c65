"""Training many networks at once, and remembering each as it was when it was best on the test images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from taylorsgd.descent import explicit_gradient_regularization
from taylorsgd.reproducing.barrett_dherin.architectures import accuracy, cross_entropy
from taylorsgd.reproducing.experiment import Work
from taylorsgd.reproducing.labelled_images import Images

__all__ = ["Training", "TrainingSize", "seconds_per_epoch", "stacked", "train", "train_once"]

Network = Callable[[Any, jax.Array], jax.Array]
EVALUATED_AT_ONCE = 1000
"""The most images whose gradient is taken at once."""


@dataclass(frozen=True, kw_only=True)
class TrainingSize:
    """What all experiments that train networks have in common.

    Attributes:
        rates: the learning rates.
        seed: of everything: initializations and orders of the images.
        initializations: how many.
        points: training images, at most.
        tested: test images, at most.
        side: images are averaged down to about so many pixels a side.
        epochs: of SGD.
        batch: images in a batch.
        every: epochs between checkpoints.
    """

    rates: tuple[float, ...] = (0.01, 0.02, 0.04, 0.08, 0.16)
    seed: int = 0
    initializations: int = 5
    points: int = 500
    tested: int = 500
    side: int = 28
    epochs: int = 100
    batch: int = 32
    every: int = 5

    def prepared(self, work: Work) -> Images:
        """The images to train and test on; says which they are."""
        images = work.images.pooled(self.side).subset(self.points, self.tested)
        work.say(str(images))
        return images


@dataclass(frozen=True)
class Training:
    """What became of R networks over C checkpoints.

    Attributes:
        steps: the number of updates before each checkpoint, (C,).
        loss: E on the whole training set, (R, C).
        squared_slope: |∇E|² on the whole training set, (R, C).
        train_accuracy: on the training set, (R, C).
        test_loss: E on the whole test set, (R, C).
        squared_test_slope: |∇E|² on the whole test set, (R, C).
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
    test_loss: np.ndarray
    squared_test_slope: np.ndarray
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

    @property
    def test_regularizer(self) -> np.ndarray:
        """R_IG of the test set, (R, C)."""
        return self.squared_test_slope / self.parameters

    @property
    def slope(self) -> np.ndarray:
        """|∇E|, (R, C)."""
        return np.sqrt(self.squared_slope)

    @property
    def norm(self) -> np.ndarray:
        """|θ|, (R, C)."""
        return np.sqrt(self.squared_norm)

    def each(self) -> list[Training]:
        """The training of each network by itself."""
        arrays = [one.name for one in fields(self) if one.name not in ("steps", "theta", "parameters")]
        return [
            replace(
                self,
                theta=jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], self.theta),
                **{name: getattr(self, name)[i : i + 1] for name in arrays},
            )
            for i in range(len(self.best))
        ]

    def at_best(self, record: np.ndarray) -> np.ndarray:
        """The values of a record (R, C) at the best checkpoints, (R,); NaN where there is none."""
        return np.where(self.fitted, record[np.arange(len(self.best)), self.best], np.nan)


def stacked(networks: Sequence[Any]) -> Any:
    """The parameters of R networks of one shape as one pytree with a leading axis of R."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *networks)


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
    most: int = 0,
) -> Training:
    """Train R networks by SGD on the cross entropy, each with its own learning rate, μ and order of the images.

    Args:
        network: scores of images, a function (theta, x).
        theta: the initial parameters, a pytree with a leading axis of R.
        images: what to learn, and what to test on.
        rates: R learning rates.
        seeds: R integers or tuples of some: the order of the images; they are shuffled every epoch, and the last
            incomplete batch of an epoch is left out.
        epochs: how many times the training set is gone through.
        batch: images in a batch; the size of the training set, or more, makes it full-batch descent.
        every: epochs between checkpoints. The first one is before training.
        mu: R rates μ of explicit gradient regularization, or 0 for none of them.
        only_fitted: whether the best checkpoint must be one where every training image is classified right.
        most: while a network whose loss is finite has not yet classified every training image right at any
            checkpoint, training goes on for all of them, up to so many epochs. It ends when no loss is finite.

    Returns:
        A `Training`.

    Raises:
        ValueError: if `every` does not divide `epochs` or `most`.
    """
    for name, value in (("epochs", epochs), ("most", most)):
        if value % every:
            raise ValueError(f"every={every} does not divide {name}={value}")
    x, y = map(jnp.asarray, images.train)
    batch = min(batch, len(y))
    updates = len(y) // batch
    rates, mus = (jnp.broadcast_to(jnp.asarray(each, jnp.float32), np.shape(rates)) for each in (rates, mu))
    update = partial(_update, network, bool(np.any(np.asarray(mu))))
    records = [_look(network, theta, images)]
    best, highest, kept = _better(0, theta, records[0], only_fitted, np.full(len(rates), -1), -1.0, theta)
    fitted = _fits(records[0])
    epoch = 0
    while epoch < epochs or (epoch < most and (np.isfinite(records[-1][0]) & ~fitted).any()):
        epoch += 1
        orders = [np.random.default_rng((*np.atleast_1d(seed), epoch)).permutation(len(y)) for seed in seeds]
        rows = np.stack(orders)[:, : updates * batch].reshape(len(rates), updates, batch)
        for number in range(updates):
            theta = update(theta, rates, mus, rows[:, number], x, y)
        if epoch % every == 0:
            records.append(_look(network, theta, images))
            best, highest, kept = _better(len(records) - 1, theta, records[-1], only_fitted, best, highest, kept)
            fitted |= _fits(records[-1])
            if not np.isfinite(records[-1][0]).any():
                break
    steps = np.arange(len(records)) * every * updates
    loss, slope, right, test_loss, test_slope, tested, norm = np.stack(records, axis=-1)
    return Training(steps, loss, slope, right, test_loss, test_slope, tested, norm, best, kept, _count(kept))


def train_once(work: Work, name: str, network: Network, theta: Any, *arguments: Any, **options: Any) -> Training:
    """What `train` returns, or what it returned to a run that was interrupted later.

    Args:
        work: keeps what the run has finished.
        name: of this training, its own in the run.
        network: as in `train`.
        theta: likewise.
        *arguments: likewise.
        **options: likewise.
    """

    def compute() -> dict[str, np.ndarray]:
        training = train(network, theta, *arguments, **options)
        numbers = {one.name: getattr(training, one.name) for one in fields(training) if one.name != "theta"}
        leaves = {f"theta {i}": leaf for i, leaf in enumerate(jax.tree.leaves(training.theta))}
        return {key: np.asarray(array) for key, array in (numbers | leaves).items()}

    part: dict[str, Any] = dict(work.keep(name, compute))
    structure = jax.tree.structure(theta)
    leaves = [part.pop(f"theta {i}") for i in range(structure.num_leaves)]
    return Training(**part | {"theta": structure.unflatten(leaves), "parameters": int(part["parameters"])})


def seconds_per_epoch(network: Network, theta: Any, images: Images, batch: int, regularized: bool) -> float:
    """How long an epoch of training one network takes, with a look at it: from five updates, after one more.

    Args:
        network: scores of images.
        theta: the parameters, a pytree with a leading axis of 1.
        images: the whole sets.
        batch: images in a batch.
        regularized: whether with explicit gradient regularization.
    """
    x, y = map(jnp.asarray, images.train)
    batch = min(batch, len(y))
    one = jnp.ones(1)
    few = images.subset(EVALUATED_AT_ONCE, EVALUATED_AT_ONCE)

    def timed(count: int, action: Callable[[], Any]) -> float:
        jax.block_until_ready(action())
        start = perf_counter()
        for _ in range(count):
            jax.block_until_ready(action())
        return (perf_counter() - start) / count

    rows = np.arange(batch)[None]
    update = timed(5, lambda: _update(network, regularized, theta, 1e-6 * one, one, rows, x, y))
    look = timed(1, lambda: _look(network, theta, few))
    share = (len(images.train[1]) + len(images.test[1])) / (len(few.train[1]) + len(few.test[1]))
    return update * (len(y) // batch) + look * share


@partial(jax.jit, static_argnums=(0, 1))
def _update(network: Network, regularized: bool, theta: Any, rates: Any, mus: Any, rows: Any, x: Any, y: Any) -> Any:
    """One step of SGD for all networks, each with its own rates and batch."""

    def one(theta: Any, rate: jax.Array, mu: jax.Array, rows: jax.Array) -> Any:
        def loss(theta: Any) -> jax.Array:
            return cross_entropy(network(theta, x[rows]), y[rows])

        penalty = [explicit_gradient_regularization(mu)] if regularized else []
        optimizer = optax.with_extra_args_support(optax.chain(*penalty, optax.sgd(rate)))
        state = optimizer.init(theta)  # plain descent has none to carry along
        change, _ = optimizer.update(jax.grad(loss)(theta), state, theta, value_fn=loss)
        return optax.apply_updates(theta, change)

    return jax.vmap(one)(theta, rates, mus, rows)


def _look(network: Network, theta: Any, images: Images) -> np.ndarray:
    """What a checkpoint records of R networks, in the order of `Training`'s fields, an array (7, R)."""
    records = []
    for pictures, labels in (images.train, images.test):
        parts = (_sums(network, theta, *part, 1 / len(labels)) for part in _parts(pictures, labels))
        loss, right, gradient = jax.tree.map(lambda *each: sum(each), *parts)
        records += [loss, _squares(gradient), right]
    return np.array([*records, _squares(theta)], dtype=np.float64)


@jax.jit
def _squares(trees: Any) -> jax.Array:
    """|v|² of R pytrees."""
    return jax.vmap(partial(optax.tree.norm, squared=True))(trees)


def _fits(record: np.ndarray) -> np.ndarray:
    """Which networks classify every training image right."""
    return np.isfinite(record[0]) & (record[2] > 1 - 1e-5)


def _parts(x: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    count = -(-len(y) // EVALUATED_AT_ONCE)
    return list(zip(np.array_split(x, count), np.array_split(y, count), strict=True))


@partial(jax.jit, static_argnums=0)
def _sums(network: Network, theta: Any, x: Any, y: Any, weight: Any) -> tuple[Any, Any, Any]:
    """Weighted sums over some images, for each network: the loss, the right answers, and the loss's gradient."""

    def loss(theta: Any) -> tuple[jax.Array, jax.Array]:
        scores = network(theta, x)
        share = weight * len(y)
        return share * cross_entropy(scores, y), share * accuracy(scores, y)

    def one(theta: Any) -> tuple[Any, Any, Any]:
        (value, right), gradient = jax.value_and_grad(loss, has_aux=True)(theta)
        return value, right, gradient

    return jax.vmap(one)(theta)


def _better(
    number: int, theta: Any, record: np.ndarray, only_fitted: bool, best: np.ndarray, highest: Any, kept: Any
) -> tuple[np.ndarray, np.ndarray, Any]:
    """The best checkpoints so far, their test accuracies, and the parameters there."""
    loss, tested = record[0], record[5]
    eligible = _fits(record) if only_fitted else np.isfinite(loss)
    better = eligible & (tested > highest)
    if better.any():
        kept = _chosen(better, theta, kept)
    return np.where(better, number, best), np.where(better, tested, highest), kept


@jax.jit
def _chosen(which: Any, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(which.reshape(-1, *[1] * (n.ndim - 1)), n, o), new, old)


def _count(theta: Any) -> int:
    """The number of parameters of one of R networks."""
    return sum(leaf[0].size for leaf in jax.tree.leaves(theta))
