"""What a loss is made of: kinks, which Taylor expansions miss, and random numbers that are always the same.

The traced loss is read operation by operation, with note taken of which results depend on θ and on the point, and
which went through a kink. `stop_gradient` ends both; where it changes no derivative, as for the maximum that
`logsumexp` subtracts, it does no harm, and whether it does is seen by differences. Functions with derivatives of their
own (`custom_jvp`) are trusted to be as smooth as these, except the rectifiers.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import or_
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taylorsgd.landscapes.point_functions import PointFunction

__all__ = ["Roughness", "roughness_of", "warn_of_roughness"]

KINKS = {
    "max", "min", "abs", "sign", "clamp", "floor", "ceil", "round", "rem", "sort", "top_k", "cummax", "cummin",
    "reduce_max", "reduce_min", "reduce_window_max", "reduce_window_min", "select_and_gather_add",
}  # fmt: skip
POSITIVE = {
    "add", "mul", "div", "sqrt", "reduce_sum", "reduce_prod", "broadcast_in_dim", "reshape", "squeeze",
    "convert_element_type", "transpose", "dot_general", "concatenate", "copy", "expand_dims",
}  # fmt: skip
"""What keeps positive numbers positive. Of these the absolute value has no kink (`logsumexp` takes one)."""
STEP = 0.01
"""Of the differences that are compared with slopes, along a direction of length √(P/2)."""
JUMPS = {"sign", "floor", "ceil", "round", "astype"}
"""What is constant between its jumps: its derivatives, where there are any, vanish."""
RECTIFIERS = ("relu", "elu", "hard", "clip")


@dataclass(frozen=True)
class _Note:
    """What is known of a result."""

    theta: bool = False
    point: bool = False
    kinks: frozenset[str] = frozenset()
    frozen: bool = False
    positive: bool = False
    stopped: bool = False

    def __or__(self, other: _Note) -> _Note:
        return _Note(
            self.theta or other.theta,
            self.point or other.point,
            self.kinks | other.kinks,
            self.frozen or other.frozen,
            stopped=self.stopped or other.stopped,
        )


@dataclass(frozen=True)
class Roughness:
    """What keeps the results of a program from being smooth in some of its arguments.

    Attributes:
        depends: whether they depend on these at all.
        kinks: the operations with kinks or jumps, by name.
        jumps: those that jump.
        stopped: whether a derivative is stopped on purpose.
    """

    depends: bool
    kinks: frozenset[str]
    jumps: frozenset[str]
    stopped: bool


def roughness_of(program: Any, chosen: Sequence[bool]) -> Roughness:
    """What keeps a program's results from being smooth in the chosen arguments.

    Args:
        program: a closed jaxpr.
        chosen: which of its arguments.

    Example:
        >>> program = jax.make_jaxpr(lambda x, y: (jnp.abs(y) + x, jnp.sign(x)))(1.0, 1.0)
        >>> sorted(roughness_of(program, [True, False]).kinks)
        ['sign']
    """
    together = _Note()
    for note in _read(program.jaxpr, [_Note(theta=one) for one in chosen]):
        together = together | note
    return Roughness(together.theta, together.kinks, together.kinks & JUMPS, together.stopped)


def warn_of_roughness(function: PointFunction, theta: Any, points: Any, stacklevel: int) -> None:
    """Warn if a traced function of θ has kinks, or draws random numbers that depend on no point.

    Args:
        function: the loss of a point, or an observable.
        theta: the parameters.
        points: some points for a loss; None for an observable.
        stacklevel: as in `warnings.warn`.

    Warns:
        RuntimeWarning: naming the operations.
    """
    program = function.program
    name = {"loss": "the loss", "u": "the field"}.get(function.name, function.name)
    parameters = len(jax.tree.leaves(theta))
    given = [_Note(theta=i < parameters, point=i >= parameters) for i in range(len(program.in_avals))]
    found = reduce(or_, _read(program.jaxpr, given))  # several leaves of a field
    if function.is_field:  # goes along what it returns, whatever was stopped; and its values have no slope to compare
        found = replace(found, stopped=False)
    if found.stopped and not _slopes_agree(function, theta, points):
        warnings.warn(
            f"{name} holds a stop_gradient, and its derivatives are not those of its values: formulas expand a loss "
            "whose updates go down its own gradient; leave the stop_gradient out, or expect them to disagree",
            RuntimeWarning,
            stacklevel=stacklevel,
        )
    if found.kinks:
        warnings.warn(
            f"{name} has kinks in theta ({', '.join(sorted(found.kinks))}): its derivatives of order two and more "
            "are those of the smooth pieces, so that formulas miss what the kinks do; use smooth functions instead, "
            "such as tanh, gelu, softplus or logsumexp",
            RuntimeWarning,
            stacklevel=stacklevel,
        )
    if found.frozen:
        warnings.warn(
            f"{name} draws random numbers that are the same at every evaluation (dropout without a key of its own?); "
            "make the key a part of the data, or switch dropout off",
            RuntimeWarning,
            stacklevel=stacklevel,
        )


def _slopes_agree(function: PointFunction, theta: Any, points: Any) -> bool:
    """Whether the slope at θ along a direction is the limit of differences, up to their errors."""
    values, slope = (np.asarray(found, np.float64) for found in _values_and_slope(function, theta, points))
    inner, outer = (values[3] - values[1]) / (2 * STEP), (values[4] - values[0]) / (4 * STEP)
    limit = (4 * inner - outer) / 3
    precision = float(jnp.finfo(jax.tree.leaves(theta)[0].dtype).eps)
    room = 0.01 * max(abs(limit), abs(slope)) + 100 * precision / STEP * np.abs(values).max()
    return not np.isfinite([limit, slope]).all() or abs(limit - slope) <= room


@partial(jax.jit, static_argnames="function")
def _values_and_slope(function: PointFunction, theta: Any, points: Any) -> tuple[jax.Array, jax.Array]:
    along = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), theta)

    def moved(steps: Any) -> Any:
        parameters = jax.tree.map(lambda leaf, step: leaf + steps.astype(leaf.dtype) * step, theta, along)
        return function(parameters) if points is None else jnp.mean(jax.vmap(function, (None, 0))(parameters, points))

    steps = STEP * jnp.arange(-2, 3)
    return jax.lax.map(moved, steps), jax.grad(moved)(steps[2])


def _read(program: Any, given: Sequence[_Note]) -> list[_Note]:
    """What is known of a program's results, from what is known of its arguments."""
    notes: dict[Any, _Note] = dict(zip(program.invars, given, strict=True))

    def known(atom: Any) -> _Note:
        return _Note() if hasattr(atom, "val") else notes.get(atom, _Note())

    for operation in program.eqns:
        arguments = [known(atom) for atom in operation.invars]
        for result, note in zip(operation.outvars, _results(operation, arguments), strict=True):
            notes[result] = note
    return [known(atom) for atom in program.outvars]


def _results(operation: Any, arguments: list[_Note]) -> list[_Note]:
    name, count = operation.primitive.name, len(operation.outvars)
    together = _Note()
    for note in arguments:
        together = together | note
    if name == "stop_gradient":
        stopped = together.theta or together.stopped
        return [_Note(point=together.point, frozen=together.frozen, stopped=stopped)] * count
    inner = _inner(operation)
    if inner is not None:
        names, bodies = inner
        for body in bodies:
            # A loop's body, a branch: what enters any place may reach any other.
            padded = arguments if len(body.invars) == len(arguments) else [together] * len(body.invars)
            for note in _read(body, padded):
                together = together | note
        if name == "cond" and arguments[0].theta:
            together = together | _Note(kinks=frozenset({"cond"}))
        if name == "while" and together.theta and _read(bodies[0], [together] * len(bodies[0].invars))[0].theta:
            together = together | _Note(kinks=frozenset({"while_loop"}))
        if name.startswith("custom_") and not any(word in names for word in RECTIFIERS):
            outside = frozenset().union(*(note.kinks for note in arguments))
            stopped = any(note.stopped for note in arguments)
            together = _Note(together.theta, together.point, outside, together.frozen, stopped=stopped)
        elif name.startswith("custom_") and together.theta:
            together = together | _Note(kinks=frozenset({names}))
        return [together] * count
    if name in ("eq", "ne", "is_finite"):  # at single points, not from one side of a kink to the other
        return [replace(together, theta=False)] * count
    if name.startswith("random_bits") or name == "threefry2x32":
        return [together | _Note(frozen=not together.point and not together.theta)] * count
    if name == "exp" or (name in POSITIVE and all(note.positive for note in arguments)):
        return [replace(together, positive=True)] * count
    if name == "abs" and arguments[0].positive:
        return arguments
    if name in KINKS and together.theta:
        together = together | _Note(kinks=frozenset({name}))
    if name == "convert_element_type" and together.theta and _is_stepwise(operation):
        together = together | _Note(kinks=frozenset({"astype"}))
    if name == "select_n" and arguments[0].theta:
        together = together | _Note(kinks=frozenset({"where"}))
    return [together] * count


def _is_stepwise(operation: Any) -> bool:
    """Whether a conversion is of or to integers or truth values, whose derivatives vanish."""
    types = (operation.invars[0].aval.dtype, operation.outvars[0].aval.dtype)
    return sum(jnp.issubdtype(dtype, jnp.inexact) for dtype in types) == 1


def _inner(operation: Any) -> tuple[str, list[Any]] | None:
    """The name and the bodies of a jitted function, a loop, a branch or a function with its own derivative."""
    bodies = []
    for parameter in jax.tree.leaves(operation.params, is_leaf=lambda leaf: hasattr(leaf, "eqns")):
        body = getattr(parameter, "jaxpr", parameter)
        if hasattr(body, "eqns"):
            bodies.append(body)
    if not bodies:
        return None
    given = operation.params.get("name") or getattr(bodies[0].debug_info, "func_name", "") or ""
    return str(given), bodies
