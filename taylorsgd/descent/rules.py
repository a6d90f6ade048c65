r"""One update of every rule, in JAX: what `simulate` repeats.

The rules are those of `spacetime.updates`. Their numbers are traced, so that runs that differ only in β, λ, the
decay or the rates share compiled code. The two rules with curvature solve F(s) = s + η ∇l_t(θ + λs) = 0 for the
step s by Newton's method, (1 + ηλ ∇∇l_t(θ + λs)) δ = −F(s), with conjugate gradients inside: the implicit step
to the end, the second-order update from s = 0 and once. Neither forms a Hessian, nor does GDC (see `noise`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg

from taylorsgd.landscapes.landscape import PointFunction, weighted_loss
from taylorsgd.regularizing.loss_surface import squared_norm
from taylorsgd.regularizing.noise import noise_slope
from taylorsgd.spacetime import Spacetime
from taylorsgd.updates import GDC, Descent, HeavyBall, ImplicitStep, Nesterov, SecondOrder, Update

__all__ = ["AnyUpdate", "form_of", "numbers_of", "update_rule"]

AnyUpdate = Update | Callable[[Any], optax.GradientTransformation]
"""An update rule, or a function of η that returns an optax transformation."""

Step = Callable[[Any, Any, Any], Any]
"""From the state and a batch (a pytree of points) and r_t to the next state; θ is its first entry."""

NEWTON = 20
"""The most iterations for one implicit step."""


def numbers_of(update: AnyUpdate, spacetime: Spacetime, updates: int) -> dict[str, np.ndarray]:
    """What a rule computes with: all r_t, and β, the decay w, λ, Λ, or 1/B − 1/N of GDC.

    Raises:
        TypeError: if `update` is neither an update rule nor a function.
        ValueError: if a number is still a symbol, there are not as many rates as updates, or GDC meets batches.
    """
    if not isinstance(update, Update):
        if not callable(update):
            raise TypeError(
                f"update={update!r} must be an update rule, such as HeavyBall(beta), or a function of eta that "
                "returns an optax transformation, such as optax.adam"
            )
        return {"rates": np.ones(updates)}
    names = {"beta": "beta", "decay": "decay", "lam": "instant"}
    given = {name: getattr(update, field) for name, field in names.items() if hasattr(update, field)}
    if isinstance(update, GDC):
        given["B"] = 1 / update.B - 1 / update.rows(spacetime)
    metric = getattr(update, "metric", None)
    if metric is not None and metric.free_symbols:
        raise ValueError(f"update={update!r} leaves its metric open; give numbers")
    rates = update.rates_of(updates)
    for name, number in [*given.items(), *((f"rates[{t}]", rate) for t, rate in enumerate(rates))]:
        if number.free_symbols:
            raise ValueError(f"update={update!r} leaves {name} open in {number}; give a number")
    numbers = {name: np.array(float(number)) for name, number in given.items()}
    if metric is not None:
        numbers["metric"] = np.array(metric.tolist(), dtype=float)
    return numbers | {"rates": np.array([float(rate) for rate in rates])}


def form_of(update: AnyUpdate) -> AnyUpdate:
    """The rule without its numbers, which are traced: what compiled code depends on."""
    if isinstance(update, Descent):
        return Descent()
    if isinstance(update, (HeavyBall, Nesterov)):
        return type(update)(0, convention=update.convention)  # type: ignore[arg-type]
    if isinstance(update, (SecondOrder, ImplicitStep)):
        return type(update)(0)
    return GDC() if isinstance(update, GDC) else update


def update_rule(
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

    Raises:
        NotImplementedError: if the rule is unknown.
    """

    def mean(theta: Any, batch: Any) -> jax.Array:
        count = jax.tree.leaves(batch)[0].shape[0]
        return weighted_loss(loss, theta, batch, jnp.full(count, 1 / count))

    gradient = jax.grad(mean)
    zero = jax.tree.map(jnp.zeros_like, theta)
    if not isinstance(update, Update):
        return _optax_rule(update(eta), mean, theta)
    if isinstance(update, (SecondOrder, ImplicitStep)):
        step = _newton_step if isinstance(update, ImplicitStep) else _newton_direction
        solve = partial(step, gradient, eta, numbers["lam"])
        return (theta,), lambda state, batch, _: (_sum(1, state[0], 1, solve(state[0], batch)),)
    if isinstance(update, GDC):

        def avoid(state: Any, batch: Any, _: Any) -> Any:
            (here,) = state
            slope, of_noise = noise_slope(loss, here, batch)
            return (_sum(1, here, -eta, _sum(1, slope, eta * numbers["B"] / 4, of_noise)),)

        return (theta,), avoid
    if isinstance(update, Descent):
        raised = partial(_raised, numbers.get("metric"))

        def descend(state: Any, batch: Any, rate: Any) -> Any:
            (here,) = state
            moved = _sum(1, here, -eta * rate, raised(gradient(here, batch)))
            return (_sum(1, moved, -numbers["decay"], _sum(1, here, -1, theta)),)

        return (theta,), descend
    if isinstance(update, (HeavyBall, Nesterov)):
        beta = numbers["beta"]
        ahead = isinstance(update, Nesterov)

        def inside(state: Any, batch: Any, rate: Any) -> Any:  # the rate is inside of the buffer
            here, velocity = state
            at = _sum(1, here, beta, velocity) if ahead else here
            velocity = _sum(beta, velocity, -eta * rate, gradient(at, batch))
            moved = _sum(1, here, 1, velocity)
            return _sum(1, moved, -numbers.get("decay", 0), _sum(1, here, -1, theta)), velocity

        def outside(state: Any, batch: Any, rate: Any) -> Any:
            here, velocity = state
            slope = gradient(here, batch)
            velocity = _sum(beta, velocity, 1, slope)
            used = _sum(1, slope, beta, velocity) if ahead else velocity
            return _sum(1, here, -eta * rate, used), velocity

        return (theta, zero), outside if update.convention == "torch" else inside
    raise NotImplementedError(
        f"{type(update).__name__} is not simulated; supported are Descent, HeavyBall, Nesterov, SecondOrder, "
        "ImplicitStep, GDC and functions of eta that return an optax transformation"
    )


def _optax_rule(optimizer: optax.GradientTransformation, mean: Any, theta: Any) -> tuple[Any, Step]:
    """What a training loop does; the loss and the points go along for transformations that ask for them."""
    extended = optax.with_extra_args_support(optimizer)

    def step(state: Any, batch: Any, _: Any) -> Any:
        here, inner = state
        slope = jax.grad(mean)(here, batch)
        change, inner = extended.update(
            slope, inner, here, value_fn=lambda theta: mean(theta, batch), batch=batch
        )
        return optax.apply_updates(here, change), inner

    return (theta, extended.init(theta)), step


def _newton_direction(gradient: Any, eta: Any, lam: Any, theta: Any, batch: Any) -> Any:
    """−(1 + ηλH)⁻¹ η g, the first iterate of Newton's method."""
    return _newton_iterate(gradient, eta, lam, theta, batch, jax.tree.map(jnp.zeros_like, theta))[0]


def _newton_step(gradient: Any, eta: Any, lam: Any, theta: Any, batch: Any) -> Any:
    """The solution of s + η g(θ + λs) = 0; not a number if 20 iterations do not find it."""
    precision = _precision(theta)

    def unsolved(carry: Any) -> Any:
        _, last, size, count = carry
        return (last > 8 * precision * size) & (count < NEWTON)

    def iterate(carry: Any) -> Any:
        step, _, _, count = carry
        better, change = _newton_iterate(gradient, eta, lam, theta, batch, step)
        return better, jnp.sqrt(squared_norm(change)), jnp.sqrt(squared_norm(better)), count + 1

    norm = squared_norm(theta)
    start = (jax.tree.map(jnp.zeros_like, theta), jnp.full_like(norm, jnp.inf), jnp.ones_like(norm), 0)
    step, last, size, _ = lax.while_loop(unsolved, iterate, start)
    return _unless(last > jnp.sqrt(precision) * size, step)


def _newton_iterate(gradient: Any, eta: Any, lam: Any, theta: Any, batch: Any, step: Any) -> tuple[Any, Any]:
    """One iteration of Newton's method, and its change δ; not a number where conjugate gradients fail."""
    force, product = jax.linearize(lambda at: gradient(at, batch), _sum(1, theta, lam, step))

    def matrix(direction: Any) -> Any:
        return _sum(1, direction, eta * lam, product(direction))

    residual = _sum(-1, step, -eta, force)
    precision = _precision(theta)
    change, _ = cg(matrix, residual, tol=float(8 * precision), maxiter=4 * NEWTON)
    left = squared_norm(_sum(1, residual, -1, matrix(change)))
    change = _unless(left > precision * squared_norm(residual), change)
    return _sum(1, step, 1, change), change


def _raised(metric: Any, slope: Any) -> Any:
    """Λg; a metric is P × P, in the order of the leaves of θ."""
    if metric is None:
        return slope
    flat, back = ravel_pytree(slope)
    if metric.shape != (flat.size, flat.size):
        raise ValueError(f"metric has shape {metric.shape}; it must be P x P, here {(flat.size, flat.size)}")
    return back(jnp.asarray(metric, flat.dtype) @ flat)


def _unless(failed: Any, tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.where(failed, jnp.nan, leaf), tree)


def _precision(theta: Any) -> float:
    return float(jnp.finfo(jnp.result_type(*jax.tree.leaves(theta))).eps)


def _sum(a: Any, x: Any, b: Any, y: Any) -> Any:
    """The sum a x + b y, in the dtypes of x."""

    def leaf(p: Any, q: Any) -> Any:
        return jnp.asarray(a, p.dtype) * p + jnp.asarray(b, p.dtype) * q

    return jax.tree.map(leaf, x, y)
