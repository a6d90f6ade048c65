"""The loss E(θ) that descent goes down: a function of θ and of what else it needs, or a landscape's mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taylorsgd.landscapes.landscape import Landscape, StandsForLandscape, as_landscape, population_mean, weighted_loss
from taylorsgd.landscapes.point_functions import PointFunction

__all__ = ["AnyLoss", "total_loss"]

AnyLoss = Callable[..., Any] | Landscape | StandsForLandscape
"""A function `loss(theta, *arguments)` of a pytree, such as parameters and a batch; or a landscape."""


def total_loss(loss: AnyLoss, given: tuple[Any, ...] = ()) -> tuple[PointFunction | PopulationLoss, tuple[Any, ...]]:
    """The loss as a hashable function, and the arguments that it always has.

    A landscape stands for its test loss, the mean over its population, whose data are an argument rather
    than a constant of what is compiled.

    Args:
        loss: a function `loss(theta, *arguments)` that returns one float, or a landscape.
        given: θ and the arguments that it will be called with, or arrays of their shapes: what the function reads is
            then read anew. Else it is read when it is first compiled.

    Returns:
        A function E and a tuple `fixed`, so that E(theta, *fixed, *arguments) is the loss.

    Raises:
        TypeError: if `loss` is neither.
        ValueError: if it is a landscape whose data are a sampler, which has no population.

    Example:
        >>> import jax.numpy as jnp
        >>> coin = Landscape(lambda theta, x: (theta - x) ** 2, jnp.array([-1.0, 1.0]))
        >>> E, fixed = total_loss(coin)
        >>> float(E(3.0, *fixed))
        10.0
    """
    if isinstance(loss, Landscape) or hasattr(loss, "as_landscape"):
        landscape = as_landscape(loss)  # type: ignore[arg-type]
        landscape.refuse_field("this function of θ")
        if landscape.size is None:
            raise ValueError(
                f"loss={landscape!r} draws its data from a sampler, which has no mean to differentiate; "
                "give a landscape on data, or a function loss(theta)"
            )
        seen = landscape.traced(given[0]) if given else landscape
        return PopulationLoss(seen.point_loss), (landscape.data,)
    if not callable(loss):
        raise TypeError(f"loss={loss!r} is neither a function loss(theta, ...) nor a landscape")
    function = PointFunction(loss, "loss")
    return function.traced(*given) if given else function, ()


@dataclass(frozen=True)
class PopulationLoss:
    """The mean of a point's loss over a population, hashable by the point's loss.

    Attributes:
        point_loss: the loss of one point.
    """

    point_loss: PointFunction

    def __call__(self, theta: Any, data: Any) -> Any:
        """E(θ) = (1/|data|) Σ_x l_x(θ)."""
        return population_mean(lambda batch, weights: weighted_loss(self.point_loss, theta, batch, weights), data)
