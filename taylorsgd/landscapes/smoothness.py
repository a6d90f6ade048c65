"""What a loss is made of: kinks, which Taylor expansions miss, and random numbers that are always the same.

The traced loss is read operation by operation, with note taken of which results depend on θ and on the point, and
which went through a kink. `stop_gradient` ends both: the maximum that `logsumexp` subtracts does no harm. Functions
with derivatives of their own (`custom_jvp`) are trusted to be as smooth as these, except the rectifiers.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from taylorsgd.landscapes.landscape import Landscape

__all__ = ["warn_of_rough_losses"]

KINKS = {
    "max", "min", "abs", "sign", "clamp", "floor", "ceil", "round", "rem", "sort", "top_k", "cummax", "cummin",
    "reduce_max", "reduce_min", "reduce_window_max", "reduce_window_min", "select_and_gather_add",
}  # fmt: skip
POSITIVE = {
    "add", "mul", "div", "sqrt", "reduce_sum", "reduce_prod", "broadcast_in_dim", "reshape", "squeeze",
    "convert_element_type", "transpose", "dot_general", "concatenate", "copy", "expand_dims",
}  # fmt: skip
"""What keeps positive numbers positive. Of these the absolute value has no kink (`logsumexp` takes one)."""
RECTIFIERS = ("relu", "elu", "hard", "clip")


@dataclass(frozen=True)
class _Note:
    """What is known of a result."""

    theta: bool = False
    point: bool = False
    kinks: frozenset[str] = frozenset()
    frozen: bool = False
    positive: bool = False

    def __or__(self, other: _Note) -> _Note:
        return _Note(
            self.theta or other.theta, self.point or other.point, self.kinks | other.kinks, self.frozen or other.frozen
        )


def warn_of_rough_losses(landscape: Landscape, theta: Any, stacklevel: int) -> None:
    """Warn if the loss of a traced landscape has kinks in θ, or draws random numbers that depend on no point.

    Warns:
        RuntimeWarning: naming the operations.
    """
    program = landscape.point_loss.program
    parameters = len(jax.tree.leaves(theta))
    given = [_Note(theta=i < parameters, point=i >= parameters) for i in range(len(program.in_avals))]
    (found,) = _read(program.jaxpr, given)
    if found.kinks:
        warnings.warn(
            f"the loss has kinks in theta ({', '.join(sorted(found.kinks))}): its derivatives of order two and more "
            "are those of the smooth pieces, so that formulas miss what the kinks do; use smooth functions instead, "
            "such as tanh, gelu, softplus or logsumexp",
            RuntimeWarning,
            stacklevel=stacklevel,
        )
    if found.frozen:
        warnings.warn(
            "the loss draws random numbers that are the same at every evaluation (dropout without a key of its own?); "
            "make the key a part of the data, or switch dropout off",
            RuntimeWarning,
            stacklevel=stacklevel,
        )


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
        return [_Note(point=together.point, frozen=together.frozen)] * count
    inner = _inner(operation)
    if inner is not None:
        names, bodies = inner
        for body in bodies:
            # A loop's body, a branch: what enters any place may reach any other.
            padded = arguments if len(body.invars) == len(arguments) else [together] * len(body.invars)
            for note in _read(body, padded):
                together = together | note
        if name.startswith("custom_") and not any(word in names for word in RECTIFIERS):
            outside = frozenset().union(*(note.kinks for note in arguments))
            together = _Note(together.theta, together.point, outside, together.frozen)
        elif name.startswith("custom_") and together.theta:
            together = together | _Note(kinks=frozenset({names}))
        return [together] * count
    if name.startswith("random_bits") or name == "threefry2x32":
        return [together | _Note(frozen=not together.point and not together.theta)] * count
    if name == "exp" or (name in POSITIVE and all(note.positive for note in arguments)):
        return [replace(together, positive=True)] * count
    if name == "abs" and arguments[0].positive:
        return arguments
    if name in KINKS and together.theta:
        together = together | _Note(kinks=frozenset({name}))
    if name == "select_n" and arguments[0].theta:
        together = together | _Note(kinks=frozenset({"where"}))
    return [together] * count


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
