"""Which training points every update sees: once and for all, or in an order that each trial draws for itself."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from taylorsgd.descent.recording import refuse_open_sizes
from taylorsgd.spacetime import GD, SGD, Grid, Replacement, Spacetime

__all__ = ["draws_orders", "drawn_batches", "is_fixed", "schedule"]


def is_fixed(spacetime: Spacetime) -> bool:
    """Whether the landscape's own points are the training set, and only their order is random."""
    return getattr(spacetime, "data", "fresh") == "fixed"


def draws_orders(spacetime: Spacetime) -> bool:
    """Whether every trial draws its batches."""
    return isinstance(spacetime, Replacement) or isinstance(spacetime, SGD) and spacetime.shuffle


def schedule(spacetime: Spacetime) -> tuple[int, np.ndarray]:
    """The batches of a spacetime whose sizes are numbers, before any shuffling.

    Args:
        spacetime: `SGD`, `GD`, `Replacement` or `Grid`.

    Returns:
        The number N of training points, and the rows in every batch, an integer array (T, B). Where each
        trial draws its batches, as `drawn_batches` does, their shape is what counts.

    Raises:
        TypeError: if `spacetime` is no spacetime.
        ValueError: if a size is a symbol.
        NotImplementedError: if the spacetime is continuous.

    Example:
        >>> import taylorsgd as ts
        >>> schedule(ts.SGD(N=4, B=2, E=1))[1].tolist()
        [[0, 1], [2, 3]]
    """
    if not isinstance(spacetime, Spacetime):
        raise TypeError(f"spacetime={spacetime!r} is not a spacetime; give SGD(...), GD(...) or Grid(cells)")
    if not isinstance(spacetime, (SGD, GD, Grid, Replacement)):
        raise NotImplementedError(
            f"{type(spacetime).__name__} has no batches; supported are SGD, GD, Replacement and Grid"
        )
    refuse_open_sizes(spacetime)
    count = int(spacetime.N)
    if isinstance(spacetime, Grid):
        cells = np.array(spacetime.cells)
        return count, np.stack([np.flatnonzero(column) for column in cells.T])
    if isinstance(spacetime, Replacement):
        return count, np.zeros((int(spacetime.T), int(spacetime.B)), dtype=int)
    epoch = np.arange(count).reshape(-1, int(spacetime.sizes["B"]))
    return count, np.tile(epoch, (int(spacetime.sizes["E"]), 1))


def drawn_batches(spacetime: Spacetime, keys: jax.Array) -> jax.Array:
    """The batches that some trials draw: uniform orders of each epoch, or rows with replacement.

    Equal keys give equal orders whatever the batch size is: the rows of an epoch (or all rows, with replacement)
    come in a line, which is then cut into batches.

    Args:
        spacetime: `SGD(..., shuffle=True)` or `Replacement`, with numbers for its sizes.
        keys: a JAX random key for every trial.

    Returns:
        The rows in every batch, an integer array (trials, T, B).

    Example:
        >>> import jax, taylorsgd as ts
        >>> two = drawn_batches(ts.SGD(N=4, B=2, E=3, shuffle=True), jax.random.split(jax.random.key(0)))
        >>> two.shape, sorted(two[0, :2].ravel().tolist())
        ((2, 6, 2), [0, 1, 2, 3])
    """
    count, batches = schedule(spacetime)
    return _drawn(keys, count, *batches.shape, isinstance(spacetime, Replacement))


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _drawn(keys: jax.Array, count: int, updates: int, width: int, replacement: bool) -> jax.Array:
    def one(key: jax.Array) -> jax.Array:
        if replacement:
            return jax.random.randint(key, (updates, width), 0, count)
        epochs = jax.random.split(key, updates * width // count)
        return jax.vmap(lambda key: jax.random.permutation(key, count))(epochs).reshape(updates, width)

    return jax.vmap(one)(keys)
