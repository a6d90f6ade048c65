r"""Learning-rate schedules with sums over times in closed form.

A schedule makes update t of T descend with rate η r_t. An event of several nodes at time t carries a power of r_t,
and orders of events bring the nested sums (monomial quasi-symmetric functions of the rates)

    M_p(T) = Σ_{t_1 < … < t_k < T} Π_i r_{t_i}^{p_i}.

On a warm-up r_t is a polynomial in t, and so is every partial sum (Faulhaber). On half a cosine r_t is a sum of z^{jt},
z = e^{iπ/T}, |j| ≤ 1; inside, a summand is Σ_j q_j(t) z^{jt} with polynomials q_j over Q(z), and its sum

    Σ_{t < t'} q(t) z^{jt} = Q(t') z^{jt'} − Q(0),        z^j Q(t + 1) − Q(t) = q(t),

is of that kind again. At the end z^T = −1, and what is left is real: a rational function of cos(π/T) and T. If z^j = 1
for some j in sight, that is if 2T ≤ Σp, the sum is another; such few T are corrected one by one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import combinations, product
from math import comb, prod
from typing import Any

from attrs import field, frozen
from attrs.converters import optional
from sympy import (
    QQ,
    Dummy,
    Expr,
    Integer,
    KroneckerDelta,
    Poly,
    Rational,
    Symbol,
    binomial,
    cancel,
    chebyshevt,
    cos,
    expand_func,
    factor,
    nan,
    pi,
    simplify,
    zoo,
)
from sympy.polys.rings import ring

from taylorsgd.arguments import whole_number
from taylorsgd.spacetime.base import size
from taylorsgd.symbols import T as UPDATES

__all__ = ["Cosine", "LinearWarmup", "RateSchedule", "few_updates"]

MOST_UPDATES = 10**6
"""The most updates whose rates are listed, one by one."""

_Z = QQ.frac_field("z")
_RING, _t = ring("t", _Z)
_z = _Z.gens[0]
_SYMBOL = Symbol("z")
_COSINE = Dummy("cos(pi/T)")


def few_updates(updates: Any) -> int:
    """A number of updates T whose rates can be listed.

    Raises:
        ValueError: if T is no integer of at least 0, or too large.
    """
    return whole_number(updates, "updates", 0, MOST_UPDATES, why="are too many to list their rates")


class RateSchedule(ABC):
    """Rates r_0, …, r_{T−1} for any number T of updates; a frozen class of its parameters."""

    @abstractmethod
    def rates(self, updates: int) -> tuple[Expr, ...]:
        """The rates of T updates.

        Args:
            updates: T.
        """

    @abstractmethod
    def nested_sum(self, powers: tuple[int, ...], updates: Expr) -> Expr:
        """M_p(T) in closed form.

        Args:
            powers: p, the power of the rate at each time, earliest first.
            updates: T, an expression.

        Raises:
            NotImplementedError: if there is none that holds at every T.
        """


@frozen
class LinearWarmup(RateSchedule):
    """r_t = min(1, (t + 1)/W): a linear warm-up in W updates, then a constant rate.

    Args:
        steps: W, an integer of at least 1 or a SymPy expression. None for W = T, the whole run. A formula in symbols
            holds for T ≥ W; with numbers for all sizes any W will do.

    Raises:
        TypeError: if W is neither an integer nor an expression.
        ValueError: if W is impossible, or a symbol where numbers are needed.

    Example:
        >>> import taylorsgd as ts
        >>> ts.LinearWarmup(2).rates(4)
        (1/2, 1, 1, 1)
        >>> print(ts.derive(ts.TestLoss(), ts.GD(), order=1, update=ts.Descent(rates=ts.LinearWarmup())))
        E[l(θ_T)] = l - (T + 1)/2 G_μ G^μ + O(η^2)
    """

    steps: Expr | None = field(default=None, converter=optional(size("steps", UPDATES, 1)))

    def rates(self, updates: int) -> tuple[Expr, ...]:
        """The rates of T updates.

        Raises:
            ValueError: if W is a symbol; if T is no integer of at least 0, or too large to list its rates.
        """
        updates = few_updates(updates)
        steps = Integer(updates) if self.steps is None else self.steps
        if not steps.is_number:
            raise ValueError(f"steps={steps} is a symbol; the rates of {updates} updates need a number")
        return tuple(min(Integer(1), (t + 1) / steps) for t in range(updates))

    def nested_sum(self, powers: tuple[int, ...], updates: Expr) -> Expr:
        """M_p(T): some of the times are in the warm-up, the others follow it."""
        steps = updates if self.steps is None else self.steps
        total: Expr = Integer(0)
        for warm in range(len(powers) + 1):
            later = len(powers) - warm
            if self.steps is None and later:
                continue
            climbed = _nested([{0: (_t + 1) ** power} for power in powers[:warm]])[0]
            rising = _expression(climbed, steps) / steps ** sum(powers[:warm])
            total = total + rising * expand_func(binomial(updates - steps, later))
        return factor(total)


@frozen
class Cosine(RateSchedule):
    """r_t = (1 + cos(πt/T))/2: half a cosine, from the full rate down to almost none (Loshchilov and Hutter 2017).

    Formulas in symbols go to order 3. From order 2 on they hold a `KroneckerDelta`, as T = 1 is an exception.

    Example:
        >>> import taylorsgd as ts
        >>> ts.Cosine().rates(3)
        (1, 3/4, 1/4)
        >>> print(ts.derive(ts.TestLoss(), ts.GD(), order=1, update=ts.Descent(rates=ts.Cosine())))
        E[l(θ_T)] = l - (T + 1)/2 G_μ G^μ + O(η^2)
    """

    def rates(self, updates: int) -> tuple[Expr, ...]:
        """The rates of T updates, algebraic numbers.

        Raises:
            ValueError: if T is no integer of at least 0, or too large to list its rates.
        """
        updates = few_updates(updates)
        return tuple((1 + cos(Rational(t, updates) * pi)) / 2 for t in range(updates))

    def nested_sum(self, powers: tuple[int, ...], updates: Expr) -> Expr:
        """M_p(T), a rational function of cos(π/T) and T, corrected at the few T ≤ Σp/2."""
        # r^p = ((2 + z^t + z^−t)/4)^p = Σ_j C(2p, p + j) z^{jt} / 4^p
        factors = [{j: _RING(QQ(comb(2 * p, p + j), 4**p)) for j in range(-p, p + 1)} for p in powers]
        general = _real_part(_nested(factors))
        total = general.subs(UPDATES, updates)
        for few in range(1, sum(powers) // 2 + 1):
            found = general.subs(UPDATES, few)
            if found.has(nan, zoo):
                raise NotImplementedError(
                    f"{self}: the sum of powers={powers} of its rates has no closed form here that holds at T={few}; "
                    "supported are formulas through order 3, and any order with numbers for all sizes"
                )
            missing = simplify(_plain_sum(powers, self.rates(few)) - found)
            total = total + missing * KroneckerDelta(updates, few)
        return total


def _nested(factors: list[dict[int, Any]]) -> dict[int, Any]:
    """The sum over t_1 < … < t_k < t of the product of factors Σ_j q_j(t_i) z^{j t_i}, as a function of t."""
    total = {0: _RING.one}
    for own in factors:
        summand: dict[int, Any] = {}
        for (i, p), (j, q) in product(total.items(), own.items()):
            summand[i + j] = summand.get(i + j, _RING.zero) + p * q
        total = {j: _antidifference(j, q) for j, q in summand.items() if q}
        start = sum((q.coeff(1) for q in total.values()), _Z.zero)
        total[0] = total.get(0, _RING.zero) - start
    return total


def _antidifference(j: int, q: Any) -> Any:
    """Q with z^j Q(t + 1) − Q(t) = q(t); without a constant if j = 0."""
    step = _z**j if j else _Z.one
    found: dict[int, Any] = {}
    degree = max(power for (power,) in q.monoms())
    for power in range(degree, -1, -1):
        # at t^power: step · Σ_m C(m, power) Q_m − Q_power = q_power; for j = 0 it fixes Q_{power+1}
        known = sum((found[m] * comb(m, power) for m in found), _Z.zero)
        rest = q.coeff(_t**power if power else 1) - step * known
        if j:
            found[power] = rest / (step - 1)
        else:
            found[power + 1] = rest / (power + 1)
    return _RING.from_dict({(power,): number for power, number in found.items() if number})


def _expression(polynomial: Any, t: Expr) -> Expr:
    """A polynomial in t without z."""
    return sum((_Z.to_sympy(c) * t**power for (power,), c in polynomial.terms()), Integer(0))


def _real_part(function: dict[int, Any]) -> Expr:
    """The value at t = T, where z^T = −1 and z + 1/z = 2 cos(π/T), in T and cos(π/T)."""
    ending: Any = sum(((-1) ** j * q for j, q in function.items()), _RING.zero)
    x = cos(pi / UPDATES)
    total: Expr = Integer(0)
    for (power,), c in ending.terms():
        # Re P/Q = Re(P Q̄)/(Q Q̄), and both are sums of cosines
        above, below = (Poly(part.as_expr(), _SYMBOL).all_coeffs()[::-1] for part in (c.numer, c.denom))
        total = total + cancel(_cosines(above, below) / _cosines(below, below)).subs(_COSINE, x) * UPDATES**power
    return total


def _cosines(a: list[Any], b: list[Any]) -> Expr:
    """Re Σ a_i z^i · conj(Σ b_j z^j) as a polynomial in cos(π/T)."""
    return sum(
        (p * q * chebyshevt(abs(i - j), _COSINE) for (i, p), (j, q) in product(enumerate(a), enumerate(b))), Integer(0)
    )


def _plain_sum(powers: tuple[int, ...], rates: tuple[Expr, ...]) -> Expr:
    """M_p, term by term."""
    total: Expr = Integer(0)
    for chosen in combinations(rates, len(powers)):
        total = total + prod(map(pow, chosen, powers), start=Integer(1))
    return total
