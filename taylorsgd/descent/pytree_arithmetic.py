r"""Steps of update rules in JAX: vectors that are pytrees of floats, and the losses of a batch of points.

The rules' numbers are traced, so that runs that differ only in β, λ, the decay or the rates share compiled code.
The equation s = f(s) of an implicit step is solved by Newton's method, (1 − f′(s)) δ = f(s) − s, with conjugate
gradients inside (where its matrix is not symmetric, as of a vector field, by BiCGSTAB); a linear one takes one
iteration from s = 0. No Hessian is formed, nor for GDC (see `noise`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from operator import add, sub
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import bicgstab, cg
from sympy import Expr

from taylorsgd.landscapes.landscape import weighted_loss
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.landscapes.raising import Raising
from taylorsgd.regularizing.loss_surface import squared_norm
from taylorsgd.regularizing.noise import noise_slope
from taylorsgd.spacetime import Spacetime
from taylorsgd.updates import Update

__all__ = ["AnyUpdate", "form_of", "made_with", "numbers_of", "stepping"]

AnyUpdate = Update | Callable[[Any], optax.GradientTransformation]
"""An update rule, or a function of η that returns an optax transformation."""

Step = Callable[[Any, Any, Any], Any]
"""From the state and a batch (a pytree of points) and r_t to the next state; the first entry has θ as its `value`."""

NEWTON = 20
"""The most iterations for one implicit step."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Vector:
    """A pytree of arrays that can be added, and multiplied by numbers in the dtypes of its leaves."""

    value: Any

    def _with(self, other: _Vector, operation: Callable[[Any, Any], Any]) -> _Vector:
        return _Vector(jax.tree.map(operation, self.value, other.value))

    def __add__(self, other: _Vector) -> _Vector:
        return self._with(other, add)

    def __sub__(self, other: _Vector) -> _Vector:
        return self._with(other, sub)

    def __neg__(self) -> _Vector:
        return -1 * self

    def __mul__(self, number: Any) -> _Vector:
        return _Vector(jax.tree.map(lambda leaf: jnp.asarray(number, leaf.dtype) * leaf, self.value))

    def __truediv__(self, number: Any) -> _Vector:
        return _Vector(jax.tree.map(lambda leaf: leaf / jnp.asarray(number, leaf.dtype), self.value))

    __rmul__ = __mul__


def numbers_of(
    update: AnyUpdate, spacetime: Spacetime, updates: int, argument: str = "update"
) -> dict[str, np.ndarray]:
    """What a rule computes with: its numbers by name, all r_t as "rates", and Λ as "metric" if there is one.

    Args:
        update: the rule, or a function of η.
        spacetime: where it is run.
        updates: T.
        argument: what the rule is called in errors.

    Raises:
        TypeError: if `update` is neither an update rule nor a function.
        ValueError: if a number is still a symbol, there are not as many rates as updates, or the spacetime does
            not fit the rule.
    """
    if not isinstance(update, Update):
        if not callable(update):
            raise TypeError(
                f"{argument}={update!r} must be an update rule, such as HeavyBall(beta), or a function of eta that "
                "returns an optax transformation, such as optax.adam"
            )
        return {"rates": np.ones(updates)}
    numbers, rates = update.numbers(spacetime), update.rates_of(updates)
    given = [*update.parameters().items(), *((f"rates[{t}]", rate) for t, rate in enumerate(rates))]
    for name, number in given:
        if getattr(number, "free_symbols", None):
            raise ValueError(f"{argument}={update!r} leaves {name} open in {number}; give a number")
    for name, number in numbers.items():
        if number.is_extended_real is False:
            raise ValueError(f"{name}={number} of {argument}={update!r} is no real number, and a run needs one")
    floats = {name: np.array(float(number)) for name, number in numbers.items()}
    metric = getattr(update, "metric", None)
    if metric is not None and not callable(metric):
        floats["metric"] = np.array(metric.tolist(), dtype=float)
    return floats | {"rates": np.array([float(rate) for rate in rates])}


def form_of(update: AnyUpdate) -> AnyUpdate:
    """The rule without its numbers, which are traced: what compiled code depends on."""
    if not isinstance(update, Update):
        return update
    form = copy(update)
    for name, value in update.parameters().items():
        if isinstance(value, Expr) or name == "rates" or (name == "metric" and not callable(value)):
            object.__setattr__(form, name, None)
    return form


def stepping(
    update: AnyUpdate, loss: PointFunction, theta: Any, eta: jax.Array, numbers: Mapping[str, jax.Array]
) -> tuple[Any, Step]:
    """The state at first, and the step from one update to the next.

    Args:
        update: the rule, as `form_of` returns it.
        loss: the loss of one point.
        theta: θ_0.
        eta: the learning rate η, traced.
        numbers: what `numbers_of` returned, traced.

    Returns:
        The state (θ, …) and a function of state, batch and r_t.
    """
    origin = _Vector(theta)
    if isinstance(update, Update):
        metric = numbers.get("metric", getattr(update, "metric", None))

        def step(state: Any, points: Any, rate: Any) -> Any:
            return update.step(numbers, state, PointBatch(loss, points, eta, metric, origin), rate)

        return update.start(origin), step
    extended = optax.with_extra_args_support(made_with(update, eta))

    def optimized(state: Any, points: Any, _: Any) -> Any:
        """What a training loop does; the loss and the points go along for transformations that ask for them."""
        here, inner = state
        batch = PointBatch(loss, points, eta, None, origin)
        slope = jax.grad(batch.mean)(here.value)
        value = _no_loss if loss.is_field else batch.mean
        change, inner = extended.update(slope, inner, here.value, value_fn=value, batch=points)
        return _Vector(optax.apply_updates(here.value, change)), inner

    return (origin, extended.init(theta)), optimized


def made_with(
    update: Callable[[Any], optax.GradientTransformation], eta: Any, argument: str = "update"
) -> optax.GradientTransformation:
    """The transformation that a function of η makes.

    Args:
        update: the function.
        eta: the learning rate.
        argument: what it is called in errors.

    Raises:
        TypeError: if it can't be called with a learning rate, or makes something else.
    """
    try:
        made = update(eta)
    except TypeError as error:
        if type(error) is not TypeError:  # JAX's own kinds say more
            raise
        raise TypeError(f"{argument}={update!r} can't be called with a learning rate: {error}") from error
    if not (callable(getattr(made, "init", None)) and callable(getattr(made, "update", None))):
        raise TypeError(
            f"{argument}={update!r} returned {made!r}; a function of eta must return an optax transformation, "
            "such as optax.adam(eta)"
        )
    return made


def _no_loss(theta: Any) -> Any:
    raise ValueError("the optax transformation asks for the loss of a batch, and a vector field has none")


@dataclass(frozen=True)
class PointBatch:
    """The mean loss of a batch of points.

    Attributes:
        loss: the loss of one point.
        points: a pytree of arrays with a common leading axis.
        eta: the learning rate η.
        metric: Λ, P × P in the order of the leaves of θ, or a function of pytrees like θ; None for the identity.
        origin: θ_0.
    """

    loss: PointFunction
    points: Any
    eta: jax.Array
    metric: Any
    origin: _Vector

    def mean(self, theta: Any) -> jax.Array:
        """The mean loss, a function of a pytree."""
        count = jax.tree.leaves(self.points)[0].shape[0]
        return weighted_loss(self.loss, theta, self.points, jnp.full(count, 1 / count))

    def slope(self, theta: _Vector) -> _Vector:
        """ηΛ∇l(θ)."""
        return self.eta * self._raised(jax.grad(self.mean)(theta.value))

    def curved(self, theta: _Vector, along: _Vector) -> _Vector:
        """ηΛ∇∇l(θ) times a vector."""
        return jax.jvp(self.slope, (theta,), (along,))[1]

    def noise_slope(self, theta: _Vector) -> tuple[_Vector, _Vector]:
        """The slope, and η²∇ tr Ĉ; without a metric.

        Raises:
            NotImplementedError: if there is one.
        """
        if self.metric is not None:
            raise NotImplementedError("tr Ĉ under a metric is not simulated; supported is the identity")
        slope, of_noise = noise_slope(self.loss, theta.value, self.points)
        return self.eta * _Vector(slope), self.eta * (self.eta * _Vector(of_noise))

    def solve(self, function: Callable[[_Vector], _Vector]) -> _Vector:
        """The solution of s = f(s); not a number if 20 iterations do not find it."""
        precision = self._precision

        def unsolved(carry: Any) -> Any:
            _, last, size, count = carry
            return (last > 8 * precision * size) & (count < NEWTON)

        def iterate(carry: Any) -> Any:
            step, _, _, count = carry
            better, change = self._newton(function, step)
            return better, jnp.sqrt(squared_norm(change)), jnp.sqrt(squared_norm(better)), count + 1

        norm = squared_norm(self.origin)
        start = (0 * self.origin, jnp.full_like(norm, jnp.inf), jnp.ones_like(norm), 0)
        step, last, size, _ = lax.while_loop(unsolved, iterate, start)
        return _unless(last > jnp.sqrt(precision) * size, step)

    def solve_linear(self, function: Callable[[_Vector], _Vector]) -> _Vector:
        """The solution of s = f(s) for a linear f."""
        return self._newton(function, 0 * self.origin)[0]

    def _newton(self, function: Callable[[_Vector], _Vector], step: _Vector) -> tuple[_Vector, _Vector]:
        """One iteration of Newton's method, and its change δ; not a number where they fail."""
        reached, product = jax.linearize(function, step)
        residual = reached - step

        def matrix(direction: _Vector) -> _Vector:
            return direction - product(direction)

        symmetric = self.metric is None and not self.loss.is_field
        change, _ = (cg if symmetric else bicgstab)(
            matrix, residual, tol=float(8 * self._precision), maxiter=4 * NEWTON
        )
        left = squared_norm(residual - matrix(change))
        change = _unless(left > self._precision * squared_norm(residual), change)
        return step + change, change

    @property
    def _precision(self) -> float:
        return float(jnp.finfo(jnp.result_type(*jax.tree.leaves(self.origin))).eps)

    def _raised(self, slope: Any) -> _Vector:
        if self.metric is None:
            return _Vector(slope)
        if callable(self.metric):
            return _Vector(Raising(self.metric)(slope))
        flat, back = ravel_pytree(slope)
        size = flat.size
        if self.metric.shape != (size, size):
            raise ValueError(f"metric has shape {self.metric.shape}; it must be P x P, here {(size, size)}")
        return _Vector(back(jnp.asarray(self.metric, flat.dtype) @ flat))


def _unless(failed: Any, vector: _Vector) -> _Vector:
    return jax.tree.map(lambda leaf: jnp.where(failed, jnp.nan, leaf), vector)
