"""One run of an update rule on one training set, with θ a truncated power series in η: as the rules are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sympy import Expr, Integer

from taylorsgd.descent.local_expansion import LocalExpansion, Rows, Series
from taylorsgd.updates import GDC, Descent, HeavyBall, ImplicitStep, Nesterov, RateSchedule, SecondOrder

__all__ = ["descend", "numbers_of"]


def numbers_of(update: Any, updates: int) -> list[Expr]:
    """What a run computes with besides the landscape: β, w and all r_t; or λ; or 1/B of GDC; or nothing.

    Raises:
        TypeError: if `update` is no update rule that runs here.
        ValueError: if there are not as many rates as updates.
    """
    if update is None:
        return []
    if isinstance(update, (SecondOrder, ImplicitStep)):
        return [update.instant]
    if isinstance(update, GDC):
        return [1 / update.B]
    if not isinstance(update, (Descent, HeavyBall, Nesterov)):
        raise TypeError(
            f"update={update!r} must be a Descent, HeavyBall, Nesterov, SecondOrder, ImplicitStep or GDC"
        )
    rates = [Integer(1)] * updates if update.rates is None else update.rates
    rates = list(rates.rates(updates) if isinstance(rates, RateSchedule) else rates)
    if len(rates) != updates:
        raise ValueError(f"rates has {len(rates)} entries for {updates} updates; give one for each")
    return [getattr(update, "beta", Integer(0)), getattr(update, "decay", Integer(0)), *rates]


def descend(local: LocalExpansion, rows: Rows, batches: Sequence[Rows], update: Any) -> list[list[Series]]:
    """θ_t − θ_0 after t = 0, 1, …, T updates on one training set.

    Args:
        local: the landscape near θ_0, with `numbers_of(update)` as its sizes.
        rows: which loss every row holds.
        batches: the rows in the batch of each update.
        update: the update rule, None for plain descent.
    """
    if isinstance(update, (SecondOrder, ImplicitStep)):
        return _descend_by_curvature(local, rows, batches, isinstance(update, ImplicitStep))
    if isinstance(update, GDC):
        return _descend_with_regularizer(local, rows, len(batches))
    one, zero = local.domain.one, local.domain.zero
    beta, decay, *rates = local.sizes or [zero, zero, *[one] * len(batches)]
    axes = range(local.dimension)
    displacement = [local.constant(zero) for _ in axes]
    velocity = [local.constant(zero) for _ in axes]
    passed = [list(displacement)]
    convention = getattr(update, "convention", "plain")
    nesterov = isinstance(update, Nesterov)

    def combined(a: Any, x: Series, b: Any, y: Series) -> Series:
        return [a * p + b * q for p, q in zip(x, y, strict=True)]

    for batch, rate in zip(batches, rates, strict=True):
        ahead = nesterov and convention == "sutskever"
        here = [combined(one, displacement[i], beta, velocity[i]) for i in axes] if ahead else displacement
        monomials = local.monomials(here)
        # η times the gradient: its coefficient of η^(k−1) moves that of η^k
        slopes = [
            [zero, *local.value(slope, monomials)[:-1]]
            for slope in local.batch_gradient(tuple(rows[n] for n in batch))
        ]
        for i, slope in enumerate(slopes):
            if convention == "torch":
                velocity[i] = combined(beta, velocity[i], one, slope)
                used = combined(one, slope, beta, velocity[i]) if nesterov else velocity[i]
                displacement[i] = combined(one, displacement[i], -rate, used)
            else:
                velocity[i] = combined(beta, velocity[i], -rate, slope)
                displacement[i] = combined(one - decay, displacement[i], one, velocity[i])
        passed.append(list(displacement))
    return passed


def _descend_by_curvature(
    local: LocalExpansion, rows: Rows, batches: Sequence[Rows], implicit: bool
) -> list[list[Series]]:
    """Solve each update's equation by iteration: every round fixes one more power of η."""
    (lam,) = local.sizes
    zero, axes = local.domain.zero, range(local.dimension)
    displacement = [local.constant(zero) for _ in axes]
    passed = [displacement]
    for batch in batches:
        slopes = local.batch_gradient(tuple(rows[n] for n in batch))
        step = [local.constant(zero) for _ in axes]  # θ′ − θ
        here = local.monomials(displacement)
        for _ in range(local.order):
            if implicit:
                ahead = [[x + lam * y for x, y in zip(displacement[i], step[i], strict=True)] for i in axes]
                forces = [local.value(slope, local.monomials(ahead)) for slope in slopes]
            else:  # (1 + ηλH) step = −ηg, or step = −η(g + λH step)
                forces = []
                for slope in slopes:
                    force = local.value(slope, here)
                    for j, curvature in enumerate(local.gradient(slope)):
                        bent = local.times(local.value(curvature, here), step[j])
                        force = [x + lam * y for x, y in zip(force, bent, strict=True)]
                    forces.append(force)
            step = [[zero, *(-x for x in force[:-1])] for force in forces]
        displacement = [
            [x + y for x, y in zip(*pair, strict=True)] for pair in zip(displacement, step, strict=True)
        ]
        passed.append(displacement)
    return passed


def _descend_with_regularizer(local: LocalExpansion, rows: Rows, updates: int) -> list[list[Series]]:
    """T updates on l̂ + η (1/B − 1/N)/4 · tr Ĉ, with Ĉ from its definition."""
    zero, axes, size = local.domain.zero, range(local.dimension), len(rows)
    displacement = [local.constant(zero) for _ in axes]
    passed = [list(displacement)]
    slopes = local.batch_gradient(rows)
    regularizer = local.ring.zero
    if size > 1:
        (inverse_batch,) = local.sizes
        spread = local.ring.zero
        middle = local.gradient(local.mean_loss(rows))
        for row in rows:
            apart: list[Any] = [
                own - mean for own, mean in zip(local.gradient(local.losses[row]), middle, strict=True)
            ]
            for a, b in zip(apart, local.raised(apart), strict=True):
                spread = local.truncated(spread + a * b, local.order)
        scale = (inverse_batch - local.rational(1, size)) * local.rational(1, 4 * (size - 1))
        regularizer = spread.mul_ground(scale)
    forces = list(zip(slopes, local.raised(local.gradient(regularizer)), strict=True))
    for _ in range(updates):
        monomials = local.monomials(displacement)
        for i, (slope, force) in enumerate(forces):
            once, twice = local.value(slope, monomials), local.value(force, monomials)
            step = [x + y for x, y in zip([zero, *once], [zero, zero, *twice], strict=False)]
            displacement[i] = [x - y for x, y in zip(displacement[i], step, strict=False)]
        passed.append(list(displacement))
    return passed
