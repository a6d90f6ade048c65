"""The second moments of linear regression in JAX: thousands of directions, millions of updates.

Two ways to the same numbers, and the cheaper one is taken:

    step by step   T updates of d small matrices and one sum over all of them, O(T d): for many directions
    by squaring    an update is a matrix M, diagonal plus rank one, and P_n = M^n − I doubles by P_{2n} = 2P_n + P_n²,
                   which keeps the digits of what is close to I: O(d³ log T), for many updates

What is summed is written out in `second_moments`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from sympy import Expr, Integer

from taylorsgd.arguments import finite_number, listed, whole_number
from taylorsgd.device_arrays import on_device
from taylorsgd.landscapes.linear_rules import LinearRule, linear_rule, step_rates
from taylorsgd.landscapes.moment_arithmetic import Recursion

__all__ = ["MomentCurve", "moment_curve"]

MOST_UPDATES = 2**31 - 1
"""The most updates: they are counted in 32 bits."""
OVERHEAD = 2_000
"""What a step costs beside its arithmetic, in multiplications: the loop's own time."""
SPEED_OF_PRODUCTS = 20
"""How many times faster a multiplication is inside of a product of large matrices."""
MOST_SQUARES = 2**27
"""The most floats that the squares of the matrix may take together."""


class MomentCurve(NamedTuple):
    """The moments at n times, of d directions; a pytree of arrays.

    Attributes:
        times: after how many updates, shape (n,), as given.
        test_loss: E l(θ_t), shape (n,).
        mean: E θ_t along each direction, shape (n, d).
        second: E θ_i² along each direction, shape (n, d).
    """

    times: Array
    test_loss: Array
    mean: Array
    second: Array


class _Problem(NamedTuple):
    """A recursion as arrays: of d directions, and of rules with m entries, one rule or one for every update."""

    spectrum: Any
    weights: Any
    start: Any
    noise: Any
    eta: Any
    size: Any
    narrow: Any
    """1, or 0 in the limit of many dimensions, where what a direction gives back to itself does not count."""
    begin: Any
    carry: Any
    enter: Any
    read: Any
    root: Any

    @property
    def own(self) -> Array:
        """What of a direction's second moment the noise of its Hessian gives back to it."""
        return (self.eta * self.spectrum) ** 2 / self.size * self.narrow

    @property
    def shared(self) -> Array:
        """What of the loss the noise gives to a direction."""
        return self.eta**2 * self.weights * self.spectrum / self.size


class _State(NamedTuple):
    """E y_i, shape (d, m), and E y_i y_iᵀ, shape (d, m, m)."""

    mean: Array
    second: Array


def moment_curve(recursion: Recursion, times: Any) -> MomentCurve:
    """The moments at many times; `MomentRecursion.curve` says of what.

    Args:
        recursion: the problem, all of its entries but η numbers, and η a number or traced by JAX.
        times: after how many updates, one int or a sequence of them in any order, each at least 0.

    Raises:
        TypeError: η is no number, the times are no sequence, or the rule is none.
        ValueError: there are symbols, times out of range, or rates for another number of updates.
        NotImplementedError: the rule is not linear in the gradients, or has a metric.
    """
    entries = [times] if getattr(times, "shape", None) == () or not hasattr(times, "__len__") else times
    known = [
        whole_number(time, f"times[{i}]", 0, MOST_UPDATES, why="is more updates than are counted")
        for i, time in enumerate(listed(entries, "times", "[0, 10, 100]"))
    ]
    last = max(known)
    rates = step_rates(recursion.update, last)
    rules = [linear_rule(recursion.update, factor) for factor in rates or [Integer(1)]]
    problem = _problem(recursion, rules)
    order = np.argsort(known, kind="stable")
    gaps = np.diff(np.array(known)[order], prepend=0).astype(np.int32)
    cheaper = rates is None and _squares_are_cheaper(problem.enter.shape[1], len(problem.start), last, len(known))
    squares = max(1, last.bit_length()) if cheaper else None
    return MomentCurve(on_device(np.array(known)), *_curve(problem, gaps, np.argsort(order, kind="stable"), squares))


def _problem(recursion: Recursion, rules: list[LinearRule]) -> _Problem:
    def array(entries: Any, name: str) -> np.ndarray:
        return np.array([_number(entry, f"{name}[{i}]") for i, entry in enumerate(entries)])

    rate = recursion.eta if isinstance(recursion.eta, Tracer) else np.array(float(finite_number(recursion.eta, "eta")))
    enter, read, root = (np.array([array(rule[k], "update") for rule in rules]) for k in (1, 2, 3))
    return _Problem(
        array(recursion.spectrum, "spectrum"),
        array(recursion.weights, "weights"),
        array(recursion.start, "start"),
        np.array(_number(recursion.noise, "noise")),
        rate,
        np.array(_number(recursion.batch, "B")),
        np.array(float(not recursion.wide)),
        np.array(rules[0].start, float),
        np.array([[array(row, "update") for row in rule.carry] for rule in rules]),
        enter,
        read,
        root,
    )


@partial(jax.jit, static_argnames="squares")
def _curve(problem: _Problem, gaps: Array, back: Array, squares: int | None) -> tuple[Array, Array, Array]:
    """The loss, the means and the second moments, from the gaps between times and where each time stands among them."""
    problem = problem._replace(eta=jnp.asarray(problem.eta, problem.spectrum.dtype))
    begin = problem.begin * problem.start[:, None]
    state = _State(begin, begin[:, :, None] * begin[:, None, :])
    states = _step_by_step(problem, state, gaps) if squares is None else _by_squaring(problem, state, gaps, squares)
    root = problem.root[0]
    second = jnp.einsum("a,ndab,b->nd", root, states.second, root)[back]
    return (second @ problem.spectrum + problem.noise) / 2, (states.mean @ root)[back], second


def _number(value: Expr, name: str) -> float:
    if not value.is_extended_real or value.free_symbols:
        raise ValueError(f"{name}={value} must be a real number in JAX; moments() takes symbols")
    return float(value)


def _squares_are_cheaper(size: int, directions: int, last: int, times: int) -> bool:
    """Whether squaring takes less time than stepping, as far as one can know; and has room."""
    rows, squares = directions * size**2 + 1, max(1, last.bit_length())
    stepping = last * (OVERHEAD + directions * (4 * size**3 + 6 * size**2))
    squaring = squares * rows**2 * (rows / SPEED_OF_PRODUCTS + times)
    return squares * rows**2 <= MOST_SQUARES and squaring < stepping


def _step_by_step(problem: _Problem, state: _State, gaps: Array) -> _State:
    own, shared = problem.own, problem.shared

    def update(t: Array, state: _State) -> _State:
        k = t if len(problem.enter) > 1 else 0
        carry, enter, read = problem.carry[k], problem.enter[k], problem.read[k]
        forward = carry - (problem.eta * problem.spectrum)[:, None, None] * jnp.outer(enter, read)
        heard = jnp.einsum("a,dab,b->d", read, state.second, read)
        entering = own * heard + shared * (problem.spectrum @ heard + problem.noise)
        moved = jnp.einsum("dab,dbc,dec->dae", forward, state.second, forward)
        return _State(
            jnp.einsum("dab,db->da", forward, state.mean), moved + entering[:, None, None] * jnp.outer(enter, enter)
        )

    def segment(at: tuple[Array, _State], gap: Array) -> tuple[tuple[Array, _State], _State]:
        time, state = at
        state = lax.fori_loop(time, time + gap, update, state)
        return (time + gap, state), state

    return lax.scan(segment, (jnp.zeros((), jnp.int32), state), gaps)[1]


def _by_squaring(problem: _Problem, state: _State, gaps: Array, squares: int) -> _State:
    directions, size = len(problem.spectrum), problem.enter.shape[1]
    identity, enter, read = jnp.eye(size), problem.enter[0], problem.read[0]
    away = problem.carry[0] - identity - (problem.eta * problem.spectrum)[:, None, None] * jnp.outer(enter, read)
    entering, heard = jnp.kron(enter, enter), jnp.kron(read, read)
    # F ⊗ F − I without I, which would round what is small
    same = jnp.broadcast_to(identity, away.shape)
    pairs = ((away, away), (away, same), (same, away))
    tensors = jnp.stack([jnp.einsum("dab,dce->dacbe", left, right) for left, right in pairs]).sum(0)
    alone = tensors.reshape(directions, size**2, size**2) + problem.own[:, None, None] * jnp.outer(entering, heard)
    rows = directions * size**2
    spread = (problem.shared[:, None] * entering).ravel()
    blocks = jnp.einsum("dab,de->daeb", alone, jnp.eye(directions)).reshape(rows, rows)
    whole = jnp.zeros((rows + 1, rows + 1), blocks.dtype)
    whole = whole.at[:rows, :rows].set(blocks + jnp.outer(spread, (problem.spectrum[:, None] * heard).ravel()))
    whole = whole.at[:rows, rows].set(spread * problem.noise)

    def squared(power: Array, _: None) -> tuple[Array, Array]:
        return 2 * power + power @ power, power

    powers = [lax.scan(squared, matrix, None, squares)[1] for matrix in (away, whole)]

    def segment(state: tuple[Array, Array], gap: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        def bit(state: tuple[Array, Array], number: Any) -> tuple[tuple[Array, Array], None]:
            k, mean_power, power = number
            mean, second = state
            moved = (mean + jnp.einsum("dab,db->da", mean_power, mean), second + power @ second)
            return jax.tree.map(partial(jnp.where, (gap >> k) & 1 == 1), moved, state), None

        state = lax.scan(bit, state, (jnp.arange(squares), *powers))[0]
        return state, state

    begin = (state.mean, jnp.append(state.second.ravel(), 1))
    means, seconds = lax.scan(segment, begin, gaps)[1]
    return _State(means, seconds[:, :-1].reshape(len(gaps), directions, size, size))
