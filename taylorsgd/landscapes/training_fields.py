r"""Training rules that are no descent of a mean loss, as vector fields: sharpness-aware, clipped, normalized, ….

With g = ∇l at θ, of one point or of the mean loss of a whole batch,

    sharpness-aware        −∇l(θ + ρ g),  or normalized  −∇l(θ + ρ g/√(|g|² + ε²))
    clipped, smoothly      −g/√(1 + |g|²/c²)
    normalized             −g/√(|g|² + ε²)
    natural gradient       −Λ(θ) g

All but the last are not linear in l, so a mean over a batch of fields is not the field of a batch. There a whole batch
is one point: `batch=B` gives the field on batches, drawn with replacement, and SGD(N=T, B=1, E=1) makes T updates, each
with a batch of B fresh points. Of a `FiniteLandscape` they are exact `FiniteField`s, of a `Landscape` `Field`s in JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement, product
from math import comb, factorial, prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sympy import Add, Expr, ImmutableMatrix, Mul, Rational, sqrt

from taylorsgd.arguments import finite_number, listed, whole_number
from taylorsgd.exact_numbers import exact_argument
from taylorsgd.landscapes.fields import Field
from taylorsgd.landscapes.finite import FiniteLandscape
from taylorsgd.landscapes.finite_field import FiniteField
from taylorsgd.landscapes.landscape import AnyLandscape, Landscape, as_landscape
from taylorsgd.landscapes.pytrees import squared_norm
from taylorsgd.landscapes.raising import like
from taylorsgd.updates import Players

__all__ = ["clipped", "game", "natural_gradient", "normalized", "sharpness_aware"]

MOST_LISTED = 4096
"""The most batches that are listed, each of them a point of a population; more are drawn."""

MOST_EXACT = 256
"""The most batches whose fields are written as expressions."""
MOST_DRAWN = 2**24
"""The most points of a batch."""

Exactly = Callable[[Expr, list[Expr], tuple[Any, ...]], list[Expr]]
"""From a loss, its gradient and the variables to a field."""
Traced = Callable[[Callable[[Any], Any], Any], Any]
"""From a loss of θ and θ to a field."""


def sharpness_aware(landscape: Any, rho: Any, epsilon: Any = None, *, batch: int = 1) -> Any:
    r"""Sharpness-aware steps: u = −∇l(θ + ρ ∇l(θ)), or with the ascent normalized to about ρ.

    Args:
        landscape: the losses: a `FiniteLandscape`, or a `Landscape`.
        rho: ρ, how far to go up before the slope is taken.
        epsilon: ε > 0 of the normalized kind, −∇l(θ + ρ g/√(|g|² + ε²)), which keeps it smooth where g vanishes;
            None for the un-normalized one.
        batch: how many points l is the mean of. A point of the field is a batch of them.

    Returns:
        A `FiniteField` or `Field`; on batches of a `Landscape` with a population where there are at most 4096 of them,
        else with a sampler.

    Raises:
        TypeError: if `landscape` is none, or a number is no number.
        ValueError: if a number is not finite, ε is not positive, the batch is not an integer of at least 1, or there
            would be too many of them.

    Example:
        On l = x²/2 the step is −(1 + ρ) x:

        >>> import sympy, taylorsgd as ts
        >>> x = sympy.Symbol("x")
        >>> bowl = ts.FiniteLandscape([x**2 / 2], [1], [x])
        >>> sharpness_aware(bowl, sympy.Rational(1, 10)).fields
        ((-11*x/10,),)

    Source: Foret et al. 2021; un-normalized, Andriushchenko and Flammarion 2022.
    """
    if isinstance(landscape, FiniteLandscape):
        length = exact_argument(rho, "rho")
        room = None if epsilon is None else _positive(epsilon, "epsilon", True)

        def exactly(loss: Expr, slope: list[Expr], variables: tuple[Any, ...]) -> list[Expr]:
            scale = length if room is None else length / sqrt(_square(slope) + room**2)
            up = {v: v + scale * g for v, g in zip(variables, slope, strict=True)}
            return [-g.subs(up, simultaneous=True) for g in slope]

        return field_of_batches(landscape, batch, exactly)
    length = finite_number(rho, "rho")
    room = None if epsilon is None else _positive(epsilon, "epsilon", False)

    def traced(loss: Callable[[Any], Any], theta: Any) -> Any:
        slope = jax.grad(loss)(theta)
        scale = length if room is None else length / jnp.sqrt(squared_norm(slope) + room**2)
        up = jax.tree.map(lambda leaf, g: leaf + jnp.asarray(scale, leaf.dtype) * g, theta, slope)
        return _negative(jax.grad(loss)(up))

    return _field(landscape, batch, traced)


def clipped(landscape: Any, threshold: Any, *, batch: int = 1) -> Any:
    r"""Gradients clipped smoothly: u = −g/√(1 + |g|²/c²), shorter than c.

    Args:
        landscape: as for `sharpness_aware`.
        threshold: c > 0.
        batch: as for `sharpness_aware`.

    Returns:
        A `FiniteField` or `Field`.

    Raises:
        TypeError: as for `sharpness_aware`.
        ValueError: as there, or if c is not positive.

    Example:
        >>> import jax.numpy as jnp, taylorsgd as ts
        >>> steep = ts.Landscape(lambda theta, x: x * theta**2 / 2, jnp.array([1.0]))
        >>> print(f"{clipped(steep, 1.0).mean(100.0):.4f}")
        -0.9999
    """
    return _scaled(
        landscape,
        batch,
        _positive(threshold, "threshold", isinstance(landscape, FiniteLandscape)),
        lambda c, s: 1 + s / c**2,
    )


def normalized(landscape: Any, epsilon: Any, *, batch: int = 1) -> Any:
    r"""Normalized gradients: u = −g/√(|g|² + ε²), of length about 1 but near critical points.

    Args:
        landscape: as for `sharpness_aware`.
        epsilon: ε > 0, which keeps it smooth where g vanishes.
        batch: as for `sharpness_aware`.

    Returns:
        A `FiniteField` or `Field`.

    Raises:
        TypeError: as for `sharpness_aware`.
        ValueError: as there.

    Example:
        >>> import jax.numpy as jnp, taylorsgd as ts
        >>> steep = ts.Landscape(lambda theta, x: x * theta**2 / 2, jnp.array([1.0]))
        >>> print(f"{normalized(steep, 0.1).mean(100.0):.4f}")
        -1.0000
    """
    return _scaled(
        landscape, batch, _positive(epsilon, "epsilon", isinstance(landscape, FiniteLandscape)), lambda e, s: s + e**2
    )


def natural_gradient(landscape: Any, metric: Any) -> Any:
    r"""Descent with a metric that moves with θ: u = −Λ(θ) ∇l, with Λ^{μν} raising indices.

    It is linear in l, so a batch is the mean of its points.

    Args:
        landscape: as for `sharpness_aware`.
        metric: Λ(θ): of a `FiniteLandscape` a P × P matrix of SymPy expressions in its variables; of a `Landscape` a
            function `metric(theta, vector)` that returns Λ(θ) times a vector, both pytrees like θ. It need be neither
            symmetric nor positive.

    Returns:
        A `FiniteField` or `Field`.

    Raises:
        TypeError: if `landscape` is none, or the metric of another kind.
        ValueError: if the matrix is not P × P. Whoever calls the field raises if the function returns something that
            is not like θ.

    Example:
        >>> import sympy, taylorsgd as ts
        >>> x = sympy.Symbol("x")
        >>> natural_gradient(ts.FiniteLandscape([x**2 / 2], [1], [x]), [[1 + x**2]]).fields
        ((-x*(x**2 + 1),),)
    """
    if isinstance(landscape, FiniteLandscape):
        matrix = matrix_of(metric, landscape.dimension)
        return field_of_batches(
            landscape, 1, lambda loss, slope, variables: [-g for g in matrix * ImmutableMatrix(slope)]
        )
    if not callable(metric):
        raise TypeError(f"metric={metric!r} is not a function; it is called as metric(theta, vector)")

    def traced(loss: Callable[[Any], Any], theta: Any) -> Any:
        slope = jax.grad(loss)(theta)
        return _negative(like(slope, metric(theta, slope)))

    return _field(landscape, 1, traced)


def game(losses: Any, data: Any = None, rates: Any = None, *, split: Any = None) -> Any:
    r"""A game: every player goes down the slope of a loss of its own, by its own parameters, u_i = −r_i ∇_{θ_i} l_i.

    Args:
        losses: a list or a dictionary with a function `loss(theta, x)` for each player, of all players' parameters.
            θ is a list, a tuple or a dictionary alike: an entry, any pytree, for each player. Or, to be exact, a list
            with a `FiniteLandscape` for each player, all of the same variables and weights.
        data: as for `Landscape`; None where the losses are landscapes.
        rates: a number r_i for each player, in the same order or by the same names, each times η; None for 1.
        split: for landscapes, how many of the variables each player owns, in their order, or which; None where each
            owns one. As for `Players`.

    Returns:
        A `Field`, or a `FiniteField`.

    Raises:
        TypeError: if the losses are no functions, or the rates no numbers.
        ValueError: if there are no losses, or other rates than losses, or landscapes of different points or variables
            or with a split that does not divide these. Whoever calls a `Field` raises if θ has other entries than
            there are players.

    Example:
        >>> import jax.numpy as jnp, taylorsgd as ts
        >>> def cost(theta, x):
        ...     return x * theta[0] * theta[1]
        >>> duel = game([cost, lambda theta, x: -cost(theta, x)], jnp.array([1.0]), rates=[1, 2])
        >>> [float(entry) for entry in duel.mean((3.0, 5.0))]
        [-5.0, 6.0]
        >>> import sympy
        >>> a, b = sympy.symbols("a b")
        >>> game([ts.FiniteLandscape([s * a * b], [1], [a, b]) for s in (1, -1)], rates=[1, 2]).fields
        ((-b, 2*a),)
    """
    if isinstance(losses, (list, tuple)) and any(isinstance(loss, FiniteLandscape) for loss in losses):
        return _exact_game(losses, data, rates, split)
    if split is not None:
        raise ValueError(f"split={split!r} is for landscapes; of functions every player owns an entry of theta")
    named = dict(losses) if isinstance(losses, dict) else dict(enumerate(_listed_losses(losses)))
    if not named:
        raise ValueError(f"losses={losses!r} holds no losses; give one for each player")
    for name, loss in named.items():
        if not callable(loss):
            raise TypeError(f"losses[{name!r}]={loss!r} is not a function; it is called as loss(theta, x)")
    given = dict.fromkeys(named, 1.0) if rates is None else rates
    given = dict(given) if isinstance(given, dict) else dict(enumerate(given)) if hasattr(given, "__iter__") else None
    if given is None:
        raise TypeError(f"rates={rates!r} must be numbers, one for each player")
    if set(given) != set(named):
        raise ValueError(f"rates={rates!r} must have a number for each of the players {', '.join(map(str, named))}")
    factors = {name: finite_number(rate, f"rates[{name!r}]") for name, rate in given.items()}

    def played(theta: Any, x: Any) -> Any:
        keyed = isinstance(theta, dict)
        if not isinstance(theta, (dict, list, tuple)) or set(theta if keyed else range(len(theta))) != set(named):
            raise ValueError(f"theta={theta!r} must have an entry for each of the players {', '.join(map(str, named))}")

        def moved(name: Any) -> Any:
            def own(part: Any) -> Any:
                everyone: Any = {**dict(theta), name: part} if keyed else [*theta[:name], part, *theta[name + 1 :]]
                return named[name](everyone if keyed else type(theta)(everyone), x)

            return jax.tree.map(lambda g: -jnp.asarray(factors[name], g.dtype) * g, jax.grad(own)(theta[name]))

        if keyed:
            return {name: moved(name) for name in theta}
        return type(theta)([moved(name) for name in range(len(theta))])

    return Field(played, data)


# -- inside ------------------------------------------------------------------------------------------


def _exact_game(landscapes: Any, data: Any, rates: Any, split: Any) -> FiniteField:
    if data is not None:
        raise ValueError(f"data={data!r} comes with landscapes, which have their own points; leave it out")
    first = next(one for one in landscapes if isinstance(one, FiniteLandscape))
    for i, one in enumerate(landscapes):
        if not isinstance(one, FiniteLandscape):
            raise TypeError(f"losses[{i}]={one!r} is no FiniteLandscape, and others are; give one for each player")
        if (one.variables, one.weights) != (first.variables, first.weights):
            raise ValueError(
                f"losses[{i}]={one!r} has other variables or weights than {first!r}; players meet the same"
            )
    players = Players([1] * len(landscapes) if rates is None else rates, split=split)
    if len(players.rates) != len(landscapes):
        raise ValueError(f"rates={rates!r} must have a number for each of the {len(landscapes)} players")
    owners = players.owners(first.variables, first.dimension)
    return FiniteField(
        [
            [-players.rates[i] * landscapes[i].losses[x].diff(v) for v, i in zip(first.variables, owners, strict=True)]
            for x in range(len(first.weights))
        ],
        first.weights,
        first.variables,
    )


def _listed_losses(losses: Any) -> list[Any]:
    if callable(losses) or not hasattr(losses, "__iter__") or isinstance(losses, str):
        raise TypeError(f"losses={losses!r} must be a list or a dictionary of functions, one for each player")
    return list(losses)


def _scaled(landscape: Any, batch: int, number: Any, under_root: Callable[[Any, Any], Any]) -> Any:
    """The field −g/√(what is under the root, of a number and |g|²)."""
    if isinstance(landscape, FiniteLandscape):

        def exactly(loss: Expr, slope: list[Expr], variables: tuple[Any, ...]) -> list[Expr]:
            return [-g / sqrt(under_root(number, _square(slope))) for g in slope]

        return field_of_batches(landscape, batch, exactly)

    def traced(loss: Callable[[Any], Any], theta: Any) -> Any:
        slope = jax.grad(loss)(theta)
        scale = jnp.sqrt(under_root(number, squared_norm(slope)))
        return jax.tree.map(lambda g: -g / scale.astype(g.dtype), slope)

    return _field(landscape, batch, traced)


def field_of_batches(landscape: FiniteLandscape, batch: int, exactly: Exactly) -> FiniteField:
    """The field of every batch of a finite population, however it is ordered, with its probability."""
    batch = whole_number(batch, "batch", 1)
    atoms = len(landscape.losses)
    if batch > MOST_EXACT or comb(atoms + batch - 1, batch) > MOST_EXACT:
        raise ValueError(
            f"batch={batch}: {atoms} losses make more than {MOST_EXACT} different batches, and each has a field; take "
            "smaller ones"
        )
    fields, weights = [], []
    for chosen in combinations_with_replacement(range(len(landscape.losses)), batch):
        counts = [chosen.count(atom) for atom in set(chosen)]
        orders = Rational(factorial(batch), prod(map(factorial, counts)))
        weights.append(Mul(orders, *(landscape.weights[atom] for atom in chosen)))
        loss = Add(*(landscape.losses[atom] for atom in chosen)) / batch
        slope: list[Any] = [loss.diff(variable) for variable in landscape.variables]
        fields.append(exactly(loss, slope, landscape.variables))
    return FiniteField(fields, weights, landscape.variables)


def _field(landscape: AnyLandscape, batch: int, traced: Traced) -> Field:
    """The field of batches of a landscape."""
    batch = whole_number(batch, "batch", 1)
    if batch > MOST_DRAWN:
        raise ValueError(f"batch={batch} is too large; a batch has at most {MOST_DRAWN} points")
    place = as_landscape(landscape)
    place.refuse_field("this field")
    loss = place.point_loss
    if batch == 1:
        return Field(lambda theta, x: traced(lambda at: loss(at, x), theta), place.data)

    def u(theta: Any, points: Any) -> Any:
        return traced(lambda at: jnp.mean(jax.vmap(loss, (None, 0))(at, points)), theta)

    return Field(u, _batches(place, batch))


def _batches(place: Landscape, batch: int) -> Any:
    """All batches of a population, or where they are many a sampler of them."""
    size = place.size
    if size is not None and size**batch <= MOST_LISTED:
        return place.rows(np.array(list(product(range(size), repeat=batch))))
    return lambda key, n: place.draw(key, (n, batch))


def _square(slope: list[Expr]) -> Expr:
    return Add(*(g**2 for g in slope))


def _negative(tree: Any) -> Any:
    return jax.tree.map(jnp.negative, tree)


def _positive(number: Any, name: str, exact: bool) -> Any:
    found = exact_argument(number, name) if exact else finite_number(number, name)
    if getattr(found, "is_positive", None) is False or (isinstance(found, (int, float)) and not found > 0):
        raise ValueError(f"{name}={number!r} must be positive")
    return found


def matrix_of(metric: Any, dimension: int) -> ImmutableMatrix:
    """A P × P matrix of expressions.

    Raises:
        TypeError: if it is no matrix of numbers and expressions.
        ValueError: if it is not P × P.
    """
    try:
        rows = [
            [exact_argument(entry, f"metric[{i}][{j}]", binary=True) for j, entry in enumerate(listed(row, "metric"))]
            for i, row in enumerate(listed(metric.tolist() if hasattr(metric, "tolist") else metric, "metric"))
        ]
    except TypeError as error:
        raise TypeError(f"metric={metric!r} is no matrix of expressions; give a P x P one: {error}") from error
    if [len(row) for row in rows] != [dimension] * dimension:
        shape = f"{len(rows)} rows of {', '.join(sorted({str(len(row)) for row in rows}))} entries"
        raise ValueError(f"metric has {shape}; it must be P x P, here {(dimension, dimension)}")
    return ImmutableMatrix(rows)
