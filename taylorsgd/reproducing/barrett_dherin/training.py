"""Training many networks at once, and remembering each as it was when it was best on the test images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from operator import itemgetter
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from taylorsgd.descent import explicit_gradient_regularization
from taylorsgd.reproducing.barrett_dherin.architectures import accuracy, cross_entropy, new_perceptron, perceptron
from taylorsgd.reproducing.experiment import Finding, Work
from taylorsgd.reproducing.labelled_images import Images
from taylorsgd.reproducing.significance import trend

__all__ = [
    "PerceptronSize", "Perceptrons", "Row", "Training", "TrainingSize", "seconds_per_epoch", "stacked", "train",
    "train_once", "train_perceptrons", "trend_among",
]  # fmt: skip

Network = Callable[[Any, jax.Array], jax.Array]
Row = dict[str, Any]
"""What a table says of one network."""
EVALUATED_AT_ONCE = 1000
"""The most images whose gradient is taken at once."""


@dataclass(frozen=True, kw_only=True)
class TrainingSize:
    """What all experiments that train networks have in common.

    Attributes:
        rates: the learning rates.
        seeds: how many initializations.
        points: training images, at most.
        tested: test images, at most.
        side: images are averaged down to about so many pixels a side.
        epochs: of SGD.
        batch: images in a batch.
        every: epochs between checkpoints.
    """

    rates: tuple[float, ...] = (0.01, 0.02, 0.04, 0.08, 0.16)
    seeds: int = 5
    points: int = 1000
    tested: int = 2000
    side: int = 14
    epochs: int = 150
    batch: int = 32
    every: int = 2

    def prepared(self, work: Work) -> Images:
        """The images to train and test on; says which they are."""
        images = work.images.pooled(self.side).subset(self.points, self.tested)
        work.say(str(images))
        return images


@dataclass(frozen=True, kw_only=True)
class PerceptronSize(TrainingSize):
    """What experiments on perceptrons have in common.

    Attributes:
        layers: the layers of a network, the last one included.
    """

    layers: int = 5

    def none_fits(self, images: Images) -> ArithmeticError:
        """What to raise if there is nothing to compare."""
        return ArithmeticError(f"no network fits all {len(images.train[1])} training images in {self.epochs} epochs")


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
    x, y = map(jnp.asarray, images.train)
    batch = min(batch, len(y))
    updates = len(y) // batch
    rates, mus = (jnp.broadcast_to(jnp.asarray(each, jnp.float32), np.shape(rates)) for each in (rates, mu))
    update = partial(_update, network, bool(np.any(np.asarray(mu))))
    records = [_look(network, theta, images)]
    best, highest, kept = _better(0, theta, records[0], only_fitted, np.full(len(rates), -1), -1.0, theta)
    for epoch in range(1, epochs + 1):
        orders = [np.random.default_rng((int(seed), epoch)).permutation(len(y)) for seed in seeds]
        rows = np.stack(orders)[:, : updates * batch].reshape(len(rates), updates, batch)
        for number in range(updates):
            theta = update(theta, rates, mus, rows[:, number], x, y)
        if epoch % every == 0:
            records.append(_look(network, theta, images))
            best, highest, kept = _better(len(records) - 1, theta, records[-1], only_fitted, best, highest, kept)
    loss, slope, right, tested, norm = np.stack(records, axis=-1)
    steps = np.arange(len(records)) * every * updates
    return Training(steps, loss, slope, right, tested, norm, best, kept, _count(kept))


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


@dataclass(frozen=True)
class Perceptrons:
    """Trained networks of one width, for all learning rates and seeds.

    Attributes:
        width: the units in each of the hidden layers.
        rates: the learning rate of each network, (R,).
        seeds: the initialization of each network, (R,).
        training: what became of them.
    """

    width: int
    rates: np.ndarray
    seeds: np.ndarray
    training: Training


def train_perceptrons(
    work: Work, name: str, images: Images, size: PerceptronSize, width: int, separate: bool = False
) -> Perceptrons:
    """Train perceptrons at each rate from each seed; the same initializations at all rates.

    Args:
        work: as in `train_once`.
        name: likewise.
        images: to train and test on.
        size: the settings.
        width: the units in each of the hidden layers.
        separate: whether networks of another width start from other initializations and meet other orders.
    """
    rates, seeds = (grid.ravel() for grid in np.meshgrid(size.rates, np.arange(size.seeds), indexing="ij"))
    inputs = int(np.prod(images.train[0].shape[1:]))
    starts = [(width, int(seed)) if separate else int(seed) for seed in seeds]
    theta = stacked([new_perceptron(start, inputs, width, size.layers) for start in starts])
    orders = 1000 * width * separate + seeds
    plan = (rates, orders, size.epochs, size.batch, size.every)
    training = train_once(work, name, perceptron, theta, images, *plan, only_fitted=True)
    return Perceptrons(width, rates, seeds, training)


def trend_among(
    rows: Sequence[Row],
    claim: str,
    x: str,
    y: str | Callable[[Row], float],
    expected: int,
    within: Sequence[str] = ("seed",),
    source: str = "paper",
) -> Finding:
    """A trend of a column, or of a function of a row, with another column, among rows that share some."""
    read = itemgetter(y) if isinstance(y, str) else y
    points = [(row[x], read(row), tuple(row[name] for name in within)) for row in rows]
    # A network that diverged after its best has no ratio at the end.
    finite = [point for point in points if np.isfinite(point[:2]).all()]
    xs, ys, groups = zip(*finite, strict=True) if finite else ((), (), ())
    return Finding.of_trend(claim, trend(xs, ys, expected, groups), source)


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
    """E, |∇E|², the accuracies on the training and test sets and |θ|² of R networks, an array (5, R)."""
    (loss, right, gradient), (_, tested, _) = (
        jax.tree.map(
            lambda *parts: sum(parts),
            *(_sums(network, with_slope, theta, *part, 1 / len(labels)) for part in _parts(pictures, labels)),
        )
        for with_slope, (pictures, labels) in ((True, images.train), (False, images.test))
    )
    squares = jax.vmap(partial(optax.tree.norm, squared=True))
    return np.array([loss, squares(gradient), right, tested, squares(theta)], dtype=np.float64)


def _parts(x: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    count = -(-len(y) // EVALUATED_AT_ONCE)
    return list(zip(np.array_split(x, count), np.array_split(y, count), strict=True))


@partial(jax.jit, static_argnums=(0, 1))
def _sums(network: Network, with_slope: bool, theta: Any, x: Any, y: Any, weight: Any) -> tuple[Any, Any, Any]:
    """Weighted sums over some images, for each network: the loss, the right answers, and the loss's gradient."""

    def loss(theta: Any) -> tuple[jax.Array, jax.Array]:
        scores = network(theta, x)
        share = weight * len(y)
        return share * cross_entropy(scores, y), share * accuracy(scores, y)

    def one(theta: Any) -> tuple[Any, Any, Any]:
        if not with_slope:
            return *loss(theta), 0.0
        (value, right), gradient = jax.value_and_grad(loss, has_aux=True)(theta)
        return value, right, gradient

    return jax.vmap(one, out_axes=(0, 0, 0 if with_slope else None))(theta)


def _better(
    number: int, theta: Any, record: np.ndarray, only_fitted: bool, best: np.ndarray, highest: Any, kept: Any
) -> tuple[np.ndarray, np.ndarray, Any]:
    """The best checkpoints so far, their test accuracies, and the parameters there."""
    loss, _, right, tested, _ = record
    eligible = np.isfinite(loss) & ((right > 1 - 1e-5) | (not only_fitted))
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
