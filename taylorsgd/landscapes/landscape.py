"""A loss and its data: where measuring and simulating draw their points from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from attrs import evolve, field, frozen
from jax import lax
from jax.core import Tracer
from jax.tree_util import keystr, tree_flatten_with_path

from taylorsgd.arguments import listed, whole_number
from taylorsgd.device_arrays import on_device
from taylorsgd.forks import refuse_forks
from taylorsgd.landscapes.keys import random_key
from taylorsgd.landscapes.point_functions import PointFunction

__all__ = [
    "BUDGET", "POPULATION_CHUNK", "AnyLandscape", "Landscape", "as_landscape", "check_counts",
    "checked_parameters", "checked_points", "expected_loss", "floats_per_point", "population_chunk", "population_mean",
    "weighted_loss",
]  # fmt: skip

BUDGET = 2**24
"""About how many floats may be alive at once, in what is evaluated side by side."""
POPULATION_CHUNK = 512
"""The most points of a population that are evaluated at once."""


MOST_POINTS = 2**31 - 1
"""The most points of one draw: arrays have no more entries along an axis."""


@frozen(eq=False, repr=False)
class Landscape:
    """The losses l_x(θ) with x from a population of data, or from a sampler.

    The given data *are* the distribution: a training set of N points is N independent draws from them, with
    replacement, and the test loss is their exact mean l(θ) = (1/|data|) Σ_x l_x(θ).

    Args:
        loss: a function `loss(theta, x)` that returns a scalar, differentiable by JAX in theta as often as
            the order of what is measured asks. `theta` is any pytree of float arrays.
        data: any pytree of arrays that share their leading axis, one entry for each point; x is one slice.
            Or a sampler: a function `data(key, n)` that returns n independent points, stacked likewise.
        expected: for a sampler whose test loss is known, the function θ ↦ l(θ) = E[l_x(θ)]; it spares
            simulations their test points. A population's is its mean, and is not to be given.

    Attributes:
        size: the number of points, None for a sampler.

    Raises:
        TypeError: if `loss` or `expected` is not callable, or `data` holds something that is no array.
        ValueError: if `data` is empty, or its arrays have different leading axes; if a population comes with
            an `expected` loss.

    Example:
        >>> import jax.numpy as jnp
        >>> coin = Landscape(lambda theta, x: theta**2 / 2 + x * theta, jnp.array([-1.0, 1.0]))
        >>> coin.size, float(coin.population_loss(3.0))
        (2, 4.5)

    Source: Tenka, section C.2.2.
    """

    loss: Callable[[Any, Any], Any]
    data: Any = field(converter=lambda data: data if callable(data) else jax.tree.map(_array, data))
    expected: Callable[[Any], Any] | None = None

    def __attrs_post_init__(self) -> None:
        """Check the functions and the data, which are on the default device."""
        if not callable(self.loss):
            raise TypeError(f"loss={self.loss!r} is not a function; it is called as loss(theta, x)")
        if self.expected is not None and not callable(self.expected):
            raise TypeError(f"expected={self.expected!r} is not a function; it is called as expected(theta)")
        if not callable(self.data):
            _common_length(self.data, "data")
            if self.expected is not None:
                raise ValueError(
                    f"expected={self.expected!r} comes with a population, whose mean is the test loss; leave it out"
                )

    @property
    def size(self) -> int | None:
        """The number of points in the population; None for a sampler."""
        return None if callable(self.data) else _common_length(self.data, "data")

    @property
    def point_loss(self) -> PointFunction:
        """The loss l_x(θ) of one point, checked to return a scalar, and hashable."""
        return self.loss if isinstance(self.loss, PointFunction) else PointFunction(self.loss, "loss")

    def traced(self, theta: Any) -> Landscape:
        """The same landscape with what its functions read now, which compiled code would not notice by itself.

        Args:
            theta: parameters of the shapes to come.
        """
        loss = self.point_loss
        points = self.draw(jax.random.key(0), (1,)) if self.size is None else self.data
        point = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), points)
        known = expected_loss(self)
        return evolve(self, loss=loss.traced(theta, point), expected=None if known is None else known.traced(theta))

    def draw(self, key: jax.Array, shape: tuple[int, ...] = ()) -> Any:
        """Draw independent points, with replacement from a population.

        Args:
            key: a JAX random key.
            shape: the shape of the draw.

        Returns:
            A pytree like the data with the leading axis replaced by `shape`.

        Raises:
            TypeError: if the key is none, or the shape is no sequence.
            ValueError: if a length of the shape is no integer, or too large; if a sampler does not return as many
                points as it was asked for.

        Example:
            >>> import jax
            >>> coin = Landscape(lambda theta, x: x * theta, jax.numpy.array([-1.0, 1.0]))
            >>> coin.draw(jax.random.key(0), (5, 3)).shape
            (5, 3)
        """
        key = random_key(key)
        shape = tuple(
            whole_number(length, "shape", 0, MOST_POINTS) for length in listed(shape, "shape", "(2,)", empty=True)
        )
        if self.size is not None:
            return self.rows(jax.random.randint(key, shape, 0, self.size))
        count = prod(shape)
        batch = jax.tree.map(_array, self.data(key, count))
        found = _common_length(batch, "data(key, n)")
        if found != count:
            raise ValueError(f"data(key, {count}) returned {found} points; a sampler must return n of them")
        return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), batch)

    def rows(self, indices: Any) -> Any:
        """The points of the population with the given indices, of any shape.

        Raises:
            TypeError: if the indices are no integers.
            ValueError: if there is no such point, or no population.
        """
        self._require_population("rows()")
        found = _array(indices, "indices")
        if not jnp.issubdtype(found.dtype, jnp.integer):
            raise TypeError(f"indices={indices!r} must be integers, the numbers of points")
        if not isinstance(found, Tracer) and found.size:
            known = np.asarray(indices)  # where the host has them, nothing waits for the device
            if known.min() < 0 or known.max() >= (self.size or 0):  # JAX would take the nearest
                raise ValueError(f"indices={indices!r} must be from 0 to {(self.size or 0) - 1}")
        return _rows(self.data, found)

    def losses(self, theta: Any, batch: Any) -> jax.Array:
        """The loss of every point of a batch, a pytree with a leading axis.

        Raises:
            TypeError: if θ has leaves that are no floats, or the batch something that is no array.
            ValueError: if the batch is empty, or its arrays have different leading axes.
        """
        return jax.vmap(self.point_loss, (None, 0))(checked_parameters(theta), checked_points(batch)[0])

    def population_loss(self, theta: Any) -> jax.Array:
        """The test loss l(θ), exactly: the mean over the population, or a sampler's expected loss.

        Args:
            theta: the parameters.

        Returns:
            A scalar array.

        Raises:
            ValueError: if the data are a sampler whose expected loss was not given.
        """
        self.refuse_field("population_loss()")
        known, theta = expected_loss(self), checked_parameters(theta)
        if known is not None:
            return known(theta)
        self._require_population("population_loss()")
        return _population_loss(self.traced(theta).point_loss, theta, self.data)

    def population_slope(self, theta: Any) -> Any:
        """The gradient of the test loss, the mean over the population; of a field −u.

        Args:
            theta: the parameters.

        Returns:
            A pytree like θ.

        Raises:
            ValueError: if the data are a sampler.
        """
        self._require_population("population_slope()")
        theta = checked_parameters(theta)
        return _population_slope(self.traced(theta).point_loss, theta, self.data)

    @property
    def is_field(self) -> bool:
        """Whether a vector field stands in the place of the loss (`fields`)."""
        return self.point_loss.is_field

    def refuse_field(self, what: str) -> None:
        """Raise where a loss is needed, and there is a field.

        Raises:
            ValueError: naming what needs it.
        """
        if self.is_field:
            raise ValueError(f"{what} needs a loss, and {self!r} is a vector field, which has none")

    def _require_population(self, what: str) -> None:
        if self.size is None:
            raise ValueError(f"{what} needs a population, and data={self.data!r} is a sampler; use draw()")

    def __repr__(self) -> str:
        """The loss and the extent of the data."""
        loss = self.point_loss.function
        name = getattr(loss, "__name__", repr(loss))
        extent = "a sampler" if self.size is None else f"{self.size} points"
        return f"<{'Field' if self.is_field else 'Landscape'} {name} on {extent}>"


class StandsForLandscape(Protocol):
    """An object, such as a toy landscape, that measuring and simulating take for a landscape."""

    def as_landscape(self) -> Landscape:
        """What it stands for."""
        ...


AnyLandscape = Landscape | StandsForLandscape
"""A landscape to measure on, or what can be turned into one."""


def as_landscape(landscape: AnyLandscape) -> Landscape:
    """Return a landscape, or what an object with a method `as_landscape()` (a toy) stands for.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(landscape, Landscape):
        return landscape
    if hasattr(landscape, "as_landscape"):
        return landscape.as_landscape()
    raise TypeError(f"landscape={landscape!r} is not a Landscape; write Landscape(loss, data)")


def expected_loss(landscape: Landscape) -> PointFunction | None:
    """The expected loss of a sampler, hashable; None where it is not known, or the mean of a population."""
    known = landscape.expected
    return known if known is None or isinstance(known, PointFunction) else PointFunction(known, "expected")


def check_counts(**counts: tuple[Any, int]) -> None:
    """Raise if a setting, given by name with its least value, is not an integer of at least that.

    Raises:
        ValueError: naming the setting.
    """
    for name, (number, least) in counts.items():
        whole_number(number, name, least)


def learning_rates(eta: Any) -> np.ndarray:
    """Learning rates as an array, (k,) or of no axis.

    Raises:
        TypeError: if they are no real numbers.
        ValueError: if one is not finite, there are none, or they have several axes.
    """
    try:
        given = np.asarray(eta)
        if given.dtype.kind not in "iufO":  # no booleans, complex numbers, texts or dates
            raise TypeError(given.dtype)
        rates = given.astype(float)
    except (TypeError, ValueError, OverflowError, ArithmeticError) as error:
        raise TypeError(f"eta={eta!r} must be a finite number or a sequence of them") from error
    if rates.ndim > 1 or rates.size == 0 or not np.isfinite(rates).all():
        raise ValueError(f"eta={eta!r} must be a finite number or a sequence of them")
    return rates


def population_mean(weighted_sum: Callable[[Any, jax.Array], Any], data: Any, chunk: int = POPULATION_CHUNK) -> Any:
    """Average over a population without evaluating all of it at once.

    Args:
        weighted_sum: a function of a batch (a pytree with a leading axis) and of weights, one for each point,
            that returns Σ weight · (what is to be averaged), a pytree.
        data: the population, a pytree with a leading axis.
        chunk: the most points in a batch.

    Returns:
        The mean over the population, a pytree like the function's.

    Example:
        >>> import jax.numpy as jnp
        >>> print(population_mean(lambda x, w: jnp.sum(x * w), jnp.arange(7.0), chunk=3))
        3.0
    """
    count = _common_length(data, "data")
    batches = -(-count // chunk)
    length = -(-count // batches)

    def part(i: Any) -> Any:
        start = jnp.minimum(i * length, count - length)  # the last batch reaches back, and counts no point twice
        batch = jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, start, length), data)
        fresh = start + jnp.arange(length) >= i * length
        return weighted_sum(batch, fresh / count)

    if batches == 1:
        return part(0)
    empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(part, 0))
    total, _ = lax.scan(lambda total, i: (jax.tree.map(jnp.add, total, part(i)), None), empty, jnp.arange(batches))
    return total


def checked_parameters(theta: Any) -> Any:
    """Return θ as a pytree of float arrays.

    Raises:
        TypeError: if a leaf is no array of floats.
        ValueError: if there are no leaves, or one is known not to be finite.
    """
    refuse_forks()
    leaves, structure = tree_flatten_with_path(theta)
    if not leaves:
        raise ValueError(f"theta={theta!r} holds no parameters")
    checked = []
    for path, leaf in leaves:
        name = f"theta{keystr(path)}"
        if callable(leaf) or isinstance(leaf, (str, bytes)):
            raise TypeError(
                f"{name}={leaf!r} is not an array; keep only the trained arrays in theta "
                "(for an Equinox module: equinox.partition(module, equinox.is_inexact_array))"
            )
        array = _array(leaf, name)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"{name} has dtype {array.dtype}; parameters must be floats to be differentiated in")
        if not isinstance(array, Tracer) and not np.isfinite(array).all():
            raise ValueError(f"{name}={leaf!r} must be finite")
        checked.append(array)
    return jax.tree.unflatten(structure, checked)


def checked_points(batch: Any) -> tuple[Any, int]:
    """Return a batch as a pytree of arrays, and how many points it has.

    Raises:
        TypeError: if a leaf is no array.
        ValueError: if there are no leaves, or they have different leading axes.
    """
    batch = jax.tree.map(_array, batch)
    return batch, _common_length(batch, "batch")


def _array(leaf: Any, name: str = "data") -> jax.Array:
    try:
        return on_device(leaf)
    except OverflowError as error:
        raise ValueError(f"{name} holds {leaf!r}, which is too large for an array") from error
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} holds {leaf!r}, which is not an array") from error


def _common_length(batch: Any, name: str) -> int:
    leaves, _ = tree_flatten_with_path(batch)
    if not leaves:
        raise ValueError(f"{name} holds no arrays")
    lengths = {}
    for path, leaf in leaves:
        if leaf.ndim == 0:
            raise ValueError(f"{name}{keystr(path)} is a scalar; its leading axis must count the points")
        lengths[f"{name}{keystr(path)}"] = leaf.shape[0]
    if len(set(lengths.values())) > 1:
        described = ", ".join(f"{n}: {length}" for n, length in lengths.items())
        raise ValueError(f"the arrays of {name} have different leading axes ({described}); they must agree")
    (length,) = set(lengths.values())
    if length == 0:
        raise ValueError(f"{name} is empty; give at least one point")
    return length


def weighted_loss(loss: PointFunction, theta: Any, batch: Any, weights: jax.Array) -> jax.Array:
    """Σ_j weight_j l_{x_j}(θ) over a batch, in the dtype of the loss."""
    losses = jax.vmap(loss, (None, 0))(theta, batch)
    return jnp.sum(losses * weights.astype(losses.dtype))


def floats_per_point(landscape: Landscape, theta: Any) -> tuple[int, int]:
    """The floats in one point of the data, and about how many arise in evaluating its loss.

    The second counts the results of all operations of the traced loss, which reverse differentiation keeps, by what
    one point more adds: what θ alone determines, such as scaled weights, is the same for all points.
    """
    point = landscape.draw(jax.random.key(0), (1,))

    def arising(count: int) -> int:
        batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype), point)
        return _arising(jax.make_jaxpr(landscape.losses)(theta, batch))

    return sum(leaf.size for leaf in jax.tree.leaves(point)), arising(3) - arising(2)


def _arising(program: Any) -> int:
    total = 0
    for operation in program.eqns:
        total += sum(result.aval.size for result in operation.outvars)
        for parameter in jax.tree.leaves(operation.params, is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            if hasattr(parameter, "eqns"):  # a jitted function, a loop's body, a branch
                total += operation.params.get("length", 1) * _arising(parameter)
    return total


def population_chunk(landscape: Landscape, theta: Any, copies: int = 8) -> int:
    """How many points of a population fit the budget, if a point's floats arise that many times over."""
    _, arising = floats_per_point(landscape, theta)
    return max(1, min(POPULATION_CHUNK, BUDGET // (copies * max(arising, 1))))


@jax.jit
def _rows(data: Any, indices: jax.Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[indices], data)


@partial(jax.jit, static_argnames="loss")
def _population_loss(loss: PointFunction, theta: Any, data: Any) -> jax.Array:
    return population_mean(lambda batch, weights: weighted_loss(loss, theta, batch, weights), data)


@partial(jax.jit, static_argnames="loss")
def _population_slope(loss: PointFunction, theta: Any, data: Any) -> Any:
    def share(batch: Any, weights: jax.Array) -> Any:
        return jax.grad(lambda parameters: weighted_loss(loss, parameters, batch, weights))(theta)

    return population_mean(share, data)
