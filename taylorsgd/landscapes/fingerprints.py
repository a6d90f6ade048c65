"""What numbers were measured on, told by numbers: so that nothing is put together that does not belong together.

Neither the text of a loss nor its identity says what it computes. So a loss is known by what it gives: its values at a
few points and parameters, θ_0 among them, and slopes there, which tell apart functions of equal values whose
derivatives are not those of the values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from attrs import field, frozen
from jax import Array, lax
from jaxtyping import Float

from taylorsgd.device_arrays import on_device
from taylorsgd.landscapes.landscape import POPULATION_CHUNK, Landscape
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.landscapes.pytrees import inner

__all__ = ["Fingerprint", "Origin", "first_losses", "probed_points", "refuse_other_origins"]

PROBED = 8
"""At how many points a loss is probed, and how many rows of the data are looked at."""
DRAWN = 64
"""How many points of a sampler its loss is looked at for."""
SHIFTS = (0.0, 0.01, 0.5)
"""How far the probed parameters are from θ_0, in every entry at most half as much."""

Rows = tuple[tuple[float, ...], ...]


@frozen
class Fingerprint:
    """Numbers that tell apart landscapes, parameters and observables.

    They are compared up to rounding: θ and the data within 8 units of the coarser precision ε, what is computed from
    them within √ε of the largest in its row. So what was measured on one machine is known on another.

    Attributes:
        parts: by what they are of ("theta", "data", "loss", "the observable R"), rows of numbers.
        epsilon: the precision of the parameters.
    """

    parts: Mapping[str, Rows]
    epsilon: float

    def differing(self, other: Fingerprint) -> list[str]:
        """In what the parts that both have differ."""
        epsilon = max(self.epsilon, other.epsilon)

        def alike(name: str) -> bool:
            room = 8 * epsilon if name in ("theta", "data") else epsilon**0.5
            return _alike(self.parts[name], other.parts[name], room)

        return [name for name in self.parts if name in other.parts and not alike(name)]

    def without(self, name: str) -> Fingerprint:
        """The same, for what does not depend on one of its parts."""
        return Fingerprint({part: rows for part, rows in self.parts.items() if part != name}, self.epsilon)

    def to_json(self) -> dict[str, Any]:
        """As JSON structure."""
        return {"epsilon": self.epsilon, "parts": {name: list(map(list, rows)) for name, rows in self.parts.items()}}

    @classmethod
    def from_json(cls, data: Any) -> Fingerprint | None:
        """What `to_json` made; None if there was none, as in files of version 0.1.

        Raises:
            ValueError: if it is damaged.
        """
        if data is None:
            return None
        try:
            parts = {
                str(name): tuple(tuple(map(float, row)) for row in rows) for name, rows in dict(data["parts"]).items()
            }
            return cls(parts, float(data["epsilon"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"a fingerprint is damaged: {error!r}") from error


@frozen(eq=False)
class Origin:
    """Where numbers come from: a landscape, parameters and observables; the fingerprint is taken when it is asked for.

    Attributes:
        landscape: the loss and its data, traced.
        theta: the parameters, checked.
        observables: by name, the functions of θ that are observed.
        raised: what a metric makes of vectors, where numbers depend on it.

    Example:
        >>> import jax.numpy as jnp
        >>> data = jnp.array([-1.0, 1.0])
        >>> one, two = (Landscape(lambda theta, x, k=k: (theta - x) ** 2 + k * theta, data) for k in (0, 1))
        >>> Origin(one, jnp.array(1.0)).differing(Origin(two, jnp.array(1.0)))
        ['loss']
    """

    landscape: Landscape
    theta: Any
    observables: Mapping[str, PointFunction] = field(factory=dict)
    raised: Callable[[Any], Any] | None = None
    _wide: bool = field(factory=lambda: bool(jax.config.read("jax_enable_x64")), init=False)
    """Whether there were 64 bits, which the loss may take for granted."""

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Numbers that tell it apart from others."""
        with jax.enable_x64(self._wide):
            return self._taken()

    def _taken(self) -> Fingerprint:
        place = self.landscape
        points = probed_points(place)
        parts: dict[str, Rows] = {
            "theta": tuple(row for leaf in jax.tree.leaves(self.theta) for row in _rows_of_parameters(leaf)),
            "data": tuple(row for leaf in jax.tree.leaves(place.data if place.size else points) for row in _rows(leaf)),
            "loss": (_moments(self.losses), *_probed(place.point_loss, self.theta, points)),
        }
        if self.raised is not None:
            parts["metric"] = _probed_metric(self.raised, self.theta)
        for name, function in self.observables.items():
            parts[f"the observable {name}"] = _probed(function, self.theta, None)
        epsilon = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(self.theta))
        return Fingerprint(parts, epsilon)

    @cached_property
    def losses(self) -> np.ndarray:
        """The losses at θ_0 of all points of a population, or of a sampler's first ones."""
        return first_losses(self.landscape, self.theta)

    def differing(self, other: Origin) -> list[str]:
        """In what two differ, of their parameters, data, losses and common observables."""
        same_loss = self.landscape.point_loss == other.landscape.point_loss
        data = [jax.tree.leaves(one.landscape.data) for one in (self, other)]
        if (
            same_loss
            and self.raised == other.raised
            and len(data[0]) == len(data[1])
            and all(a is b for a, b in zip(*data, strict=True))
        ):
            leaves = [jax.tree.leaves(one.theta) for one in (self, other)]
            if len(leaves[0]) == len(leaves[1]) and all(map(np.array_equal, *leaves)):
                return []
        return self.fingerprint.differing(other.fingerprint)


def refuse_other_origins(one: Origin | None, two: Origin | None, whose: str) -> None:
    """Raise if two origins are known and differ.

    Raises:
        ValueError: beginning with whose they are, and naming in what they differ.
    """
    differing = [] if one is None or two is None else one.differing(two)
    if differing:
        raise ValueError(f"{whose} of different landscapes or theta: they differ in {', '.join(differing)}")


def first_losses(landscape: Landscape, theta: Any) -> np.ndarray:
    """The losses at θ of all points of a population, or of a sampler's first `DRAWN` ones."""
    batch = landscape.draw(jax.random.key(0), (DRAWN,)) if landscape.size is None else landscape.data
    return np.asarray(_losses(landscape.point_loss, theta, batch))


@partial(jax.jit, static_argnames="loss")
def _losses(loss: PointFunction, theta: Any, batch: Any) -> Float[Array, " n"]:
    return lax.map(lambda x: loss(theta, x), batch, batch_size=POPULATION_CHUNK)


def _alike(one: Rows, two: Rows, room: float) -> bool:
    """Whether rows agree up to a fraction of the largest number in each."""
    if [len(row) for row in one] != [len(row) for row in two]:
        return False
    for a, b in ((np.array(row), np.array(other)) for row, other in zip(one, two, strict=True)):
        finite = np.isfinite(a) & np.isfinite(b)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        scale = max(np.max(np.abs(a[finite]), initial=0.0), np.max(np.abs(b[finite]), initial=0.0))
        same[finite] |= np.abs(a[finite] - b[finite]) <= room * scale
        if not same.all():
            return False
    return True


def _moments(losses: np.ndarray) -> tuple[float, ...]:
    wide = losses.astype(np.float64)
    return float(wide.mean()), float(np.sqrt(np.mean(wide**2)))


def _spread_rows(count: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, PROBED)).round().astype(int)


def probed_points(landscape: Landscape) -> Any:
    """A few points, always the same ones."""
    if landscape.size is None:
        return landscape.draw(jax.random.key(0), (PROBED,))
    return landscape.rows(_spread_rows(landscape.size))


def _numbers(leaf: Any) -> np.ndarray:
    """An array of anything, random keys too, as real numbers."""
    if isinstance(leaf, Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    return np.stack([np.real(array), np.imag(array)], axis=-1) if np.iscomplexobj(array) else array


def _rows(leaf: Any) -> Rows:
    """The shape of some data, their mean, and a few of their rows: each by its length and along a direction."""
    array = _numbers(leaf)
    some = array[_spread_rows(len(array))].reshape(min(len(array), PROBED), -1).astype(np.float64)
    along = np.asarray(_direction(some.shape[1]))
    lengths = np.linalg.norm(some, axis=1)
    return (
        tuple(map(float, array.shape)),
        (float(array.mean(dtype=np.float64)), float(np.max(np.abs(some), initial=0.0))),
        *((float(length), float(row @ along)) for length, row in zip(lengths, some, strict=True)),
    )


def _rows_of_parameters(leaf: Any) -> Rows:
    """The shape of some parameters, and all of them by their length and along two directions."""
    array = _numbers(leaf)
    flat = array.ravel().astype(np.float64)
    along = (float(flat @ np.asarray(_direction(flat.size, salt))) for salt in (0, 1))
    return tuple(map(float, array.shape)), (float(np.linalg.norm(flat)), *along)


def _direction(size: int, salt: int = 0) -> np.ndarray:
    """Numbers between −½ and ½ that look random and are the same on every machine."""
    return np.asarray(_scrambled(np.arange(size, dtype=np.uint32), salt), np.float64)


def _scrambled(counts: Any, salt: int) -> Any:
    mixed = (counts + np.uint32(salt + 1)) * np.uint32(2654435761)
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(2246822519)
    return (mixed >> np.uint32(8)).astype(np.float32) / np.float32(2**24) - np.float32(0.5)


def _probed_metric(raised: Callable[[Any], Any], theta: Any) -> Rows:
    """What a metric makes of one direction, along that and another."""
    leaves, structure = jax.tree.flatten(theta)
    one, other = (
        jax.tree.unflatten(
            structure, [on_device(_direction(x.size, salt + i), x.dtype).reshape(x.shape) for i, x in enumerate(leaves)]
        )
        for salt in (2, 7)
    )
    image = raised(one)
    return ((float(inner(one, image)), float(inner(other, image))),)


def _probed(function: PointFunction, theta: Any, points: Any) -> Rows:
    """Its values near θ, at some points if it has any, and its slopes there."""
    try:
        values, slopes = _values_and_slopes(function, theta, points, True)
    except (TypeError, ValueError, NotImplementedError):  # not differentiable in reverse; what needs it will say so
        values, slopes = _values_and_slopes(function, theta, points, False)
    rows = np.concatenate([np.asarray(values), np.asarray(slopes)[:, None]], axis=1).astype(np.float64)
    return tuple(tuple(map(float, part)) for row in rows for part in (row[:-1], row[-1:]))


@partial(jax.jit, static_argnames=("function", "sloped"))
def _values_and_slopes(
    function: PointFunction, theta: Any, points: Any, sloped: bool
) -> tuple[Float[Array, "shifts points"], Float[Array, " shifts"]]:
    leaves, structure = jax.tree.flatten(theta)
    directions: Sequence[Any] = [
        _scrambled(jnp.arange(leaf.size, dtype=jnp.uint32), i).astype(leaf.dtype).reshape(leaf.shape)
        for i, leaf in enumerate(leaves)
    ]
    along = jax.tree.unflatten(structure, directions)

    def mean(parameters: Any) -> tuple[Any, Any]:
        if points is None:
            values = function(parameters)[None]
        else:
            values = jax.vmap(function, (None, 0))(parameters, points)
        return jnp.mean(values), values

    def at(shift: Any) -> tuple[Any, Any]:
        moved = jax.tree.map(lambda leaf, step: leaf + shift.astype(leaf.dtype) * step, theta, along)
        if not sloped:
            value, values = mean(moved)
            return values, jnp.full_like(value, jnp.nan)
        gradient, values = jax.grad(mean, has_aux=True)(moved)
        return values, inner(gradient, along)

    return lax.map(at, jnp.asarray(SHIFTS, jnp.float32))
