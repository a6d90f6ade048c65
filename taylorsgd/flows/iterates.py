r"""How a tree's coefficient grows with the number of steps: its growth in one step, and its rate at zero steps.

After t steps θ_t = θ_0 + Σ_τ h^{|τ|}/σ(τ) · u_τ(t) F(τ)(f), and u_τ is a polynomial in t of degree ≤ |τ|. The
flow that passes through all θ_t at times t·h is the modified equation's; its velocity at θ_0 is

    b(τ) = d/dt u_τ(t) at t = 0 = Σ_k (−1)^{k−1}/k · Δ^k u_τ(0),            that is, D = log(1 + Δ).

and the memoryless step that the iterates make is θ_1: it has the coefficients u_τ(1).

A function f(Y) has the coefficient r(t) = Π_i y_{τ_i}(t) on τ = [τ_1 … τ_k] where Y has y: one product of what is
known for smaller trees. So u_τ is found by running the method itself, at t = 0, …, m (m ≥ |τ|):

    Runge-Kutta   y_i = u + Σ_j a_ij r_j,   u(t+1) = u(t) + Σ_i b_i r_i(t)
    heavy ball    v(t+1) = β v(t) + r(t),   u(t+1) = u(t) + v(t+1)
    Nesterov      the same v,               u(t+1) = u(t) + r(t) + β v(t+1)         (torch, optax)
                  the same v and u as heavy ball, and r of the subtrees' u(t) + β v(t)  (Sutskever)
    decay         u(t+1) = u(t) + r(t): a node of the field −λ(θ − θ_0), which momentum does not see

For Euler u_τ counts the maps of the nodes to steps that strictly increase towards the root: it is the strict
order polynomial of the tree. Momentum starts on the slow manifold, where v is a polynomial in t too: there
(1 + Δ − β) v = r, so with q = 1/(1 − β)

    v = q w,    w = Σ_k (−q)^k Δ^k r,    in Newton coordinates    w_j = r_j − q w_{j+1},
    heavy ball  u_{j+1} = q (w_j + w_{j+1}),    Nesterov (torch)  u_{j+1} = q w_j + (2q − 1) w_{j+1},

since r + βv(t+1) = v + (1 + β)Δv, and q(1 + β) = 2q − 1.

(The plain way is the recursion of Hairer, Lubich and Wanner, section IX.9.1, by substitution of B-series; or the
convolution logarithm in the Connes-Kreimer Hopf algebra. Both sum over ways to cut or contract a tree.)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import comb, lcm, prod
from typing import Any, Protocol

from sympy import QQ, ZZ, Add, Expr, Integer, construct_domain, expand, factor
from sympy.polys.rings import ring

from taylorsgd.flows.coloured import Coloured
from taylorsgd.flows.tableau import RungeKutta

__all__ = [
    "Growth", "MomentumGrowth", "RungeKuttaGrowth", "State", "displacements", "newton_coordinates", "newton_values",
    "velocities",
]  # fmt: skip

State = tuple[list[Any], ...]
"""Coefficients at t = 0, …, m: of θ_t first, then of what else the method remembers."""


class Growth(Protocol):
    """One method, run on one tree at a time."""

    def grow(self, below: Sequence[State], field: int = 0) -> State:
        """The coefficients on a tree, given those on the subtrees at its root, and which field stands there."""
        ...

    def expression(self, number: Any, denominator: int) -> Expr:
        """A number of the method's own domain over an integer, as a SymPy expression."""
        ...


def velocities(shapes: Sequence[Any], growth: Growth, steps: int) -> list[Expr]:
    """The coefficients b(τ) of the modified equation on some trees of at most `steps` nodes.

    Args:
        shapes: the trees, plain (`Shape`) or of several fields (`Coloured`).
        growth: the method, run for at least `steps` steps.
        steps: m, at least the number of nodes of every tree.

    Returns:
        Exact numbers, or expressions in the parameters of the method.
    """
    return _weighed(shapes, growth, *_derivative_at_zero(steps))


def displacements(shapes: Sequence[Any], growth: Growth, steps: int) -> list[Expr]:
    """The coefficients u_τ(1) of a step on the slow manifold; arguments as for `velocities`."""
    return _weighed(shapes, growth, [0, 1] + [0] * (steps - 1), 1)


def _weighed(shapes: Sequence[Any], growth: Growth, weights: Sequence[int], denominator: int) -> list[Expr]:
    known: dict[Any, State] = {}

    def state(shape: Any) -> State:
        found = known.get(shape)
        if found is None:
            field, below = (shape.field, shape.below) if isinstance(shape, Coloured) else (0, shape)
            found = known[shape] = growth.grow([state(child) for child in below], field)
        return found

    return [
        growth.expression(sum(w * u for w, u in zip(weights, state(shape)[0], strict=True) if w), denominator)
        for shape in shapes
    ]


@cache
def _derivative_at_zero(steps: int) -> tuple[list[int], int]:
    """Integer weights of u(0), …, u(m), and the number to divide by, that give u′(0) of a polynomial u."""
    denominator = lcm(*range(1, steps + 1))
    weights = [0] * (steps + 1)
    for k in range(1, steps + 1):
        for t in range(k + 1):  # (−1)^{k−1} Δ^k u(0)
            weights[t] -= (-1) ** t * comb(k, t) * (denominator // k)
    return weights, denominator


class RungeKuttaGrowth:
    """Runs a Runge-Kutta method; implicit stages are no harder, since r_j knows smaller trees only."""

    def __init__(self, method: RungeKutta, steps: int) -> None:
        """Put the tableau's numbers into one exact domain."""
        entries = [*(a for row in method.A for a in row), *method.b]
        self._domain, numbers = construct_domain([Integer(1), *entries], extension=True)
        self._one, *numbers = numbers
        s = method.stages
        self._A = [[(j, a) for j, a in enumerate(numbers[i * s : (i + 1) * s]) if a] for i in range(s)]
        self._b = [(i, weight) for i, weight in enumerate(numbers[s * s :]) if weight]
        self._steps = steps

    def grow(self, below: Sequence[State], field: int = 0) -> State:
        """Run the method on a tree: θ_t, then the stages Y_i."""
        times = range(self._steps + 1)
        slopes = [
            [prod((state[1 + i][t] for state in below), start=self._one) for t in times] for i in range(len(self._A))
        ]
        position = [0 * self._one]
        for t in times[:-1]:
            position.append(sum((weight * slopes[i][t] for i, weight in self._b), start=position[-1]))
        stages = [[sum((a * slopes[j][t] for j, a in row), start=position[t]) for t in times] for row in self._A]
        return position, *stages

    def expression(self, number: Any, denominator: int) -> Expr:
        """A number over an integer, factored."""
        rate = self._domain.to_sympy(number) / denominator
        return rate if rate.is_number else factor(rate)


class MomentumGrowth:
    """Runs heavy ball or Nesterov's method on its slow manifold; decay is a second field, number 1.

    Args:
        beta: β.
        steps: how many steps.
        kind: "polyak" for heavy ball, "torch" or "sutskever" for Nesterov's momentum.
    """

    def __init__(self, beta: Expr, steps: int, kind: str = "polyak") -> None:
        """Make 1/(1 − β) a number where it is rational, else the generator of a polynomial ring."""
        self._inverse = 1 / (1 - beta)
        if self._inverse.is_Rational:
            self._ring = None
            self._q, self._one = QQ.from_sympy(self._inverse), QQ.one
        else:
            self._ring, self._q = ring("q", ZZ)  # no coefficient is ever divided
            self._one = self._ring.one
        self._steps = steps
        self._kind = kind
        self._after = 2 * self._q - 1 if kind == "torch" else self._q

    def grow(self, below: Sequence[State], field: int = 0) -> State:
        """Run the method on a tree: θ_t, and for Sutskever's convention the point where gradients are taken."""
        seen = -1 if field == 0 else 0  # momentum's gradients are taken there; decay looks at θ itself
        forces = [prod((state[seen][t] for state in below), start=self._one) for t in range(self._steps + 1)]
        forces = newton_coordinates(forces)
        position = [0 * self._one] * (self._steps + 1)
        if field == 1:
            position[1:] = forces[:-1]
            return (newton_values(position),)
        momentum = [0 * self._one] * (self._steps + 2)
        for j in reversed(range(self._steps)):
            momentum[j] = forces[j] - self._q * momentum[j + 1]
            position[j + 1] = self._q * momentum[j] + self._after * momentum[j + 1]
        if self._kind != "sutskever":
            return (newton_values(position),)
        ahead = [u + (self._q - 1) * w for u, w in zip(position, momentum, strict=False)]
        return newton_values(position), newton_values(ahead)

    def expression(self, number: Any, denominator: int) -> Expr:
        """A number over an integer, as a polynomial in β over a power of 1 − β."""
        if self._ring is None:
            return QQ.to_sympy(number) / denominator
        if not number:
            return Integer(0)
        remaining, power = 1 / self._inverse, number.degree()
        numerator = Add(*(Integer(int(n)) * remaining ** (power - exponent) for (exponent,), n in number.terms()))
        return factor(expand(numerator) / denominator) / remaining**power


def newton_coordinates(values: Sequence[Any]) -> list[Any]:
    """The differences Δ^j at 0 of a polynomial, from its values at 0, 1, 2 and so on."""
    row, differences = list(values), []
    while row:
        differences.append(row[0])
        row = [after - before for before, after in zip(row, row[1:], strict=False)]
    return differences


def newton_values(differences: Sequence[Any]) -> list[Any]:
    """The values at 0, 1, 2 and so on of a polynomial, from its differences at 0."""
    row, values = list(differences), []
    while row:
        values.append(row[0])
        row = [low + high for low, high in zip(row, row[1:], strict=False)]
    return values
