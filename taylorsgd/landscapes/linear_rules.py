r"""Which update rules move second moments by a linear map of their own, and how one direction of θ moves.

A rule is z ← A z + b u with u = −η g(θ_0 + c·z) and θ = θ_0 + r·z (`Update.memory`). Along one eigendirection of a
quadratic test loss the mean gradient at w is λw, with w and θ measured from the minimum. The state becomes

    y = z + θ_0 e_1      if A e_1 = e_1 and c_1 = r_1 = 1: what forgets nothing of θ keeps θ_0 as well;
    y = (z, θ_0)         otherwise, as decay towards θ_0 wants it, with a last entry that never moves.

Either way the gradient is read at c·y, the loss at r·y, and on average y ← F y with F = A − ηλ b cᵀ.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sympy import Expr, Integer

from taylorsgd.updates import Descent, RateSchedule, Update

__all__ = ["LinearRule", "linear_rule", "refuse_rates", "step_rates"]


class LinearRule(NamedTuple):
    """One update of one direction, y ← A y − b (η times the slope at c·y), with θ = r·y and y = start · θ_0 at first.

    Attributes:
        carry: A, m × m.
        enter: b, m numbers.
        read: c, where the slope is taken.
        read_by_root: r, where the loss is.
        start: m zeros and ones.
        holds_start: whether the last entry of y is θ_0 for ever.
    """

    carry: tuple[tuple[Expr, ...], ...]
    enter: tuple[Expr, ...]
    read: tuple[Expr, ...]
    read_by_root: tuple[Expr, ...]
    start: tuple[int, ...]
    holds_start: bool


def linear_rule(update: Any, rate: Expr) -> LinearRule:
    """What one update with the rate factor r_t does along one direction.

    Args:
        update: `Descent`, `HeavyBall` or `Nesterov`, or another rule that is linear in the batch's gradients; None for
            plain descent.
        rate: r_t, a factor of η.

    Raises:
        TypeError: if it is no update rule.
        NotImplementedError: if it is not linear in fresh gradients, or has a metric.

    Example:
        >>> import taylorsgd as ts
        >>> linear_rule(ts.HeavyBall(0.5), Integer(1))[:2]
        (((1, 1/2), (0, 1/2)), (1, 1))
    """
    rule = _checked(update)
    memory = rule.memory(rate)
    one, zero = Integer(1), Integer(0)
    size = len(memory.enter)
    first = tuple(row[0] for row in memory.carry)
    if first == (one, *(zero,) * (size - 1)) and memory.read[0] == memory.read_by_root[0] == 1:
        return LinearRule(*memory, (1, *(0,) * (size - 1)), False)
    carry = (*((*row, zero) for row in memory.carry), (*(zero,) * size, one))
    return LinearRule(
        carry, (*memory.enter, zero), (*memory.read, one), (*memory.read_by_root, one), (*(0,) * size, 1), True
    )


def step_rates(update: Any, updates: int) -> tuple[Expr, ...] | None:
    """The factors r_t of η in the first updates; None where all of them are 1.

    Raises:
        ValueError: if the rule has a list of rates of another length.
    """
    rates = None if update is None else _checked(update).rates
    if isinstance(rates, RateSchedule):
        return rates.rates(updates)
    if rates is not None and len(rates) != updates:
        raise ValueError(f"update={update} has {len(rates)} rates for T={updates} updates; give one for each")
    return rates


def refuse_rates(update: Any) -> None:
    """Raise where a rule must be the same at all times.

    Raises:
        ValueError: if it has rates.
    """
    if update is not None and _checked(update).rates is not None:
        raise ValueError(f"update={update} has rates; only at a constant rate, rates=None, is there a stationary state")


def _checked(update: Any) -> Update:
    if update is None:
        return Descent()
    if not isinstance(update, Update):
        raise TypeError(f"update={update!r} must be an update rule, such as HeavyBall(0.9), or None for plain descent")
    if update.has_instant_edges or update.needs_rows:
        raise NotImplementedError(
            f"update={update} is not linear in the batch's gradients, and second moments would not close; supported "
            "are Descent, HeavyBall and Nesterov"
        )
    if getattr(update, "metric", None) is not None:
        raise NotImplementedError(
            f"update={update} has a metric, which mixes the eigendirections of H; supported is metric=None"
        )
    return update
