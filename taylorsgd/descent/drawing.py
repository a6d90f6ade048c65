"""What trials differ in: their training sets, their orders and their fresh test points, drawn chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from attrs import frozen

from taylorsgd.descent.pytree_arithmetic import AnyUpdate
from taylorsgd.descent.runs import TrainingSets
from taylorsgd.device_arrays import on_device
from taylorsgd.landscapes.landscape import BUDGET, Landscape, floats_per_point
from taylorsgd.measuring.devices import spread
from taylorsgd.spacetime import Spacetime

__all__ = ["MOST_KEPT", "Draws", "refuse_many_test_points", "trial_keys", "trials_at_once"]

MOST_KEPT = 4 * 2**30
"""The most bytes of results of single trials, and of what is drawn for them."""
MOST_VISITS = 2**27
"""The most rows in all batches of a run, of which every one is written down."""


@frozen(eq=False)
class Draws:
    """The training sets and orders of a number of trials.

    They depend only on the key, the position of a learning rate, the number of trials and N; of a sampler also on how
    many trials it is asked for at a time.

    Args:
        landscape: the loss and its data. With data="fixed" a population of N points.
        spacetime: with numbers for its sizes.
        key: a JAX random key.
        trials: how many.
        at_once: how many in a chunk.
        test_points: fresh points for the test loss of a trial; None for none.

    Raises:
        ValueError: if runs are too long, or training sets too many, to be written down; if data are fixed and the
            landscape has not N points, or there are test points.
    """

    landscape: Landscape
    spacetime: Spacetime
    key: jax.Array
    trials: int
    at_once: int
    test_points: int | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse what can't be drawn."""
        if self.fixed:
            _refuse_other_points(self.landscape, self.spacetime, self.test_points)
        _refuse_long_runs(self.spacetime, self.trials)

    @property
    def fixed(self) -> bool:
        """Whether the landscape's points are the training set of all trials."""
        return self.spacetime.data == "fixed"

    @property
    def population(self) -> Any:
        """The points that the test loss is averaged over; None where trials have their own, or it is known."""
        return self.landscape.data if self.test_points is None and self.landscape.size is not None else None

    @property
    def training_sets(self) -> TrainingSets:
        """Which training sets the trials have."""
        points = "fixed" if self.fixed else int(self.spacetime.sizes["N"])
        return TrainingSets.seen_by(self.key, points, self.trials, None if self.landscape.size else self.at_once)

    @property
    def chunks_at_each(self) -> int:
        """The number of chunks at each learning rate."""
        return -(-self.trials // self.at_once)

    def chunks(self, rates: int) -> Iterator[tuple[int, jax.Array, Any, Any]]:
        """Yield, chunk by chunk of each of some learning rates, its position, batches, training and test points.

        Batches are (T, B), or (trials, T, B) where each trial has its own; points come with an axis for the trials,
        except a fixed training set.
        """
        batches = on_device(self.spacetime.draw(jax.random.split(self.key, 1)))
        for i, train, test, (ordering, chosen) in self._points(rates):
            if batches.ndim == 3:  # every trial has its own
                batches = spread(_drawn(self.spacetime, ordering, chosen, self.trials))
            train, test = (self.landscape.data, None) if self.fixed else spread((train, test))
            yield i, batches, train, test

    def _points(self, rates: int) -> Iterator[tuple[int, Any, Any, tuple[jax.Array, np.ndarray]]]:
        """Yield positions of learning rates, training points, test points, and a key for the orders of some trials."""
        landscape, trials, at_once = self.landscape, self.trials, self.at_once
        widths = (None if self.fixed else int(self.spacetime.sizes["N"]), self.test_points)
        for i in range(rates):
            *keys, ordering = jax.random.split(jax.random.fold_in(self.key, i), 3)
            drawn = [
                None
                if width is None or landscape.size is None
                else np.asarray(jax.random.randint(own, (trials, width), 0, landscape.size))
                for own, width in zip(keys, widths, strict=True)
            ]
            for start in range(0, trials, at_once):
                chosen = np.minimum(np.arange(start, start + at_once), trials - 1)  # fills the last chunk up
                points = []
                for own, width, rows in zip(keys, widths, drawn, strict=True):
                    if rows is not None:
                        points.append(landscape.rows(rows[chosen]))
                    elif width is not None:
                        points.append(landscape.draw(jax.random.fold_in(own, start), (at_once, width)))
                    else:
                        points.append(None)
                train, test = points
                yield i, train, test, (ordering, chosen)


def trials_at_once(landscape: Landscape, theta: Any, spacetime: Spacetime, rule: AnyUpdate, copies: int = 1) -> int:
    """How many trials fit the budget. A sampler's must not depend on the batches: they share its points.

    Args:
        landscape: the loss and its data.
        theta: the parameters.
        spacetime: with numbers for its sizes.
        rule: the update rule.
        copies: how many times over a trial keeps what it computes with.
    """
    parameters = sum(leaf.size for leaf in jax.tree.leaves(theta))
    point, arising = floats_per_point(landscape, theta)
    rows, updates, batch = (int(spacetime.sizes[name]) for name in ("N", "T", "B"))
    width, steps = (rows, 0) if landscape.size is None else (batch, updates * batch)
    vectors = 8 + 4 * rows * getattr(rule, "needs_rows", False)  # as long as θ; some for every point
    computed = copies * (vectors * parameters + 4 * width * arising)
    return max(1, min(1024, BUDGET // (computed + rows * point + steps)))


def refuse_many_test_points(test_points: int | None, trials: int) -> None:
    """Raise for fresh test points that would fill a machine.

    Raises:
        ValueError: naming how many there may be.
    """
    fresh = 4 * trials * (0 if test_points is None else test_points)
    if fresh > MOST_KEPT:
        raise ValueError(
            f"test_points={test_points} of {trials} trials would take {fresh / 2**30:.3g} GiB to draw; take at most "
            f"{MOST_KEPT // (4 * trials)} of them"
        )


@partial(jax.jit, static_argnames="trials")
def trial_keys(key: jax.Array, chosen: np.ndarray, trials: int) -> jax.Array:
    """The keys of some of so many trials."""
    return jax.random.split(key, trials)[chosen]


@partial(jax.jit, static_argnames=("spacetime", "trials"))
def _drawn(spacetime: Spacetime, ordering: jax.Array, chosen: np.ndarray, trials: int) -> jax.Array:
    """The batches of some of all trials."""
    return spacetime.draw(trial_keys(ordering, chosen, trials))


def _refuse_long_runs(spacetime: Spacetime, trials: int) -> None:
    """Raise for batches, or rows of training sets, that are too many to be written down."""
    rows, updates, batch = (int(spacetime.sizes[name]) for name in ("N", "T", "B"))
    if updates * batch > MOST_VISITS:
        raise ValueError(
            f"spacetime={spacetime!r} makes {updates} updates with batches of {batch}, more than {MOST_VISITS} rows in "
            "all; simulate a shorter run"
        )
    if 4 * trials * rows > MOST_KEPT:
        raise ValueError(
            f"spacetime={spacetime!r}: the rows of {trials} training sets would take {4 * trials * rows / 2**30:.3g} "
            "GiB to draw; take fewer training points or trials"
        )


def _refuse_other_points(landscape: Landscape, spacetime: Spacetime, test_points: int | None) -> None:
    """Raise unless the landscape is a training set of N points."""
    count = spacetime.sizes["N"]
    if landscape.size != count:
        found = "is a sampler" if landscape.size is None else f"has {landscape.size} points"
        raise ValueError(
            f"spacetime={spacetime!r} has data='fixed', for which the landscape's points are the N={count} "
            f"training points, and {landscape!r} {found}; give a Landscape of N points"
        )
    if test_points is not None:
        raise ValueError(f"test_points={test_points} are fresh points, and {spacetime!r} has fixed data; leave it out")
