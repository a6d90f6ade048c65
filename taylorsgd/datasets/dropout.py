r"""Dropout, as what it is to a formula: the mask is part of the point.

The losses are l_{(x, m)}(θ), with x from some data and m a mask of independent entries,

    m_i = 1/keep with probability keep, else 0,        E m_i = 1.

So the test loss is the mean over masks too, and what masks add to the covariance C of gradients and to its slope is
noise like any other. A training point keeps its mask: in one epoch, where it is seen once, this is dropout as it is
trained with; in several, the mask of a point comes again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from attrs import frozen

from taylorsgd.arguments import finite_number, listed, whole_number
from taylorsgd.landscapes.landscape import Landscape

__all__ = ["with_dropout"]


def with_dropout(loss: Callable[[Any, Any, jax.Array], Any], data: Any, shape: Any, keep: float = 0.5) -> Landscape:
    """A landscape whose points are a point of some data and a random mask.

    Args:
        loss: a function `loss(theta, x, mask)` that returns a scalar, with the mask multiplied into what is dropped.
        data: a pytree of arrays that share their leading axis, or a sampler, as for `Landscape`.
        shape: the mask's, such as (8,) for eight hidden units.
        keep: the probability that an entry stays, above 0 and at most 1.

    Returns:
        The landscape of a sampler: of pairs (x, mask), both drawn anew for every point.

    Raises:
        TypeError: if `loss` is no function, `keep` no number, or the shape no sequence.
        ValueError: if the data are none, `keep` is no probability above 0, or a length is impossible.

    Example:
        >>> def loss(theta, x, mask):
        ...     return jnp.sum((theta * mask - x) ** 2)
        >>> dropped = with_dropout(loss, jnp.ones((5, 2)), shape=(2,), keep=0.8)
        >>> x, mask = dropped.draw(jax.random.key(0), (1000,))
        >>> x.shape, mask.shape, sorted(set(mask.ravel().tolist()))
        ((1000, 2), (1000, 2), [0.0, 1.25])

    Source: Tenka, section 1.1, which names dropout; the method is Srivastava et al.'s, 2014.
    """
    if not callable(loss):
        raise TypeError(f"loss={loss!r} is not a function; it is called as loss(theta, x, mask)")
    lengths = tuple(whole_number(length, "shape", 1, 2**20) for length in listed(shape, "shape", "(8,)"))
    share = finite_number(keep, "keep")
    if not 0 < share <= 1:
        raise ValueError(f"keep={keep!r} must be a probability above 0 and at most 1")
    return Landscape(_Dropped(loss), _Masked(Landscape(_Dropped(loss), data), lengths, share))


@frozen(eq=False)
class _Dropped:
    """The loss of a pair."""

    loss: Callable[[Any, Any, jax.Array], Any]

    def __call__(self, theta: Any, point: tuple[Any, jax.Array]) -> Any:
        x, mask = point
        return self.loss(theta, x, mask)


@frozen(eq=False)
class _Masked:
    """The sampler of pairs."""

    unmasked: Landscape
    shape: tuple[int, ...]
    keep: float

    def __call__(self, key: jax.Array, count: int) -> tuple[Any, jax.Array]:
        which, dropped = jax.random.split(key)
        stays = jax.random.bernoulli(dropped, self.keep, (count, *self.shape))
        return self.unmasked.draw(which, (count,)), stays.astype(jnp.float32) / self.keep
