r"""Flows of elementwise optimizers, against a plain series: without trees, on a concrete loss.

With a filter's memory A and a = A/(1 − A),

    s = P + a (s∘Φ_{−h} − s),        Σ_n (hL)^n Φ/(n + 1)! = −U(s),

as power series in the variables of the loss and in h: equal part by part through h², and of two rules through h³.
"""

from __future__ import annotations

from itertools import product
from math import factorial
from typing import Any

import mpmath
import pytest
import sympy
from sympy import Rational

import taylorsgd as ts
from taylorsgd.symbols import g, h, theta

x, y = VARIABLES = sympy.symbols("x y")
m, v = sympy.symbols("m v")
HALF, THIRD = Rational(1, 2), Rational(1, 3)
LOSS = x**3 * y / 5 - x * y**2 + 2 * x**2 + x * y + y**3 / 3 + x
PLACE = ts.FiniteLandscape([LOSS], [1], VARIABLES)
POINT = (HALF, -THIRD)


class Jet:
    """A power series in x, y about POINT and in h, of 40 digits: exponents to numbers, to a total degree."""

    degree = 3

    def __init__(self, terms: dict[tuple[int, int, int], Any]) -> None:
        self.terms = {e: c for e, c in terms.items() if sum(e) <= self.degree and c != 0}

    def __add__(self, other: Any) -> Jet:
        other = other if isinstance(other, Jet) else Jet({(0, 0, 0): other})
        return Jet({e: self.terms.get(e, 0) + other.terms.get(e, 0) for e in {*self.terms, *other.terms}})

    def __mul__(self, other: Any) -> Jet:
        if not isinstance(other, Jet):
            return Jet({e: other * c for e, c in self.terms.items()})
        found: dict[Any, Any] = {}
        for (a, c), (b, d) in product(self.terms.items(), other.terms.items()):
            e = (a[0] + b[0], a[1] + b[1], a[2] + b[2])
            if sum(e) <= self.degree:
                found[e] = found.get(e, 0) + c * d
        return Jet(found)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Jet:
        return self * -1

    def __sub__(self, other: Any) -> Jet:
        return self + -other

    def of(self, function: Any) -> Jet:
        """A function of one number."""
        start = self.terms.get((0, 0, 0), mpmath.mpf(0))
        change, power, total = self - start, Jet({(0, 0, 0): 1}), Jet({})
        for c in mpmath.taylor(function, start, self.degree):
            total, power = total + power * c, power * change
        return total

    def diff(self, axis: int) -> Jet:
        found = {}
        for e, c in self.terms.items():
            if e[axis]:
                found[tuple(n - (i == axis) for i, n in enumerate(e))] = c * e[axis]
        return Jet(found)  # type: ignore[arg-type]


def root(jet: Jet) -> Jet:
    return jet.of(mpmath.sqrt)


def inverse(jet: Jet) -> Jet:
    return jet.of(lambda t: 1 / t)


def plain_flow(filters: list[tuple[Any, Any]], step: Any) -> list[Jet]:
    """Φ as a power series on LOSS about POINT, without trees; each round is right to one more power of h."""
    local = sympy.Poly(LOSS.subs({z: z + p for z, p in zip(VARIABLES, POINT, strict=True)}), *VARIABLES)
    Jet.degree += 1  # of which the gradient takes one
    loss = Jet({(*e, 0): mpmath.mpf(c.p) / c.q for e, c in local.terms()})
    slopes = [loss.diff(i) for i in range(2)]
    Jet.degree -= 1
    slopes = [Jet(s.terms) for s in slopes]
    places = [Jet({(0, 0, 0): mpmath.mpf(p.p) / p.q, (int(i == 0), int(i == 1), 0): 1}) for i, p in enumerate(POINT)]
    one_h = Jet({(0, 0, 1): 1})

    def along(jet: Jet, field: list[Jet]) -> Jet:
        """H L of a series."""
        return one_h * (jet.diff(0) * field[0] + jet.diff(1) * field[1])

    def states(i: int, field: list[Jet]) -> list[Jet]:
        found = []
        for memory, force in filters:
            start = force(slopes[i], places[i])
            s = start
            for _ in range(Jet.degree):  # s = P + a(e^{−hL} s − s)
                change, term = Jet({}), s
                for n in range(1, Jet.degree + 1):
                    term = along(term, field)
                    change = change + term * (mpmath.mpf((-1) ** n) / factorial(n))
                s = start + change * (mpmath.mpf(memory.p) / (memory.q - memory.p))
            found.append(s)
        return found

    field = [-step(slopes[i], places[i], *(force(slopes[i], places[i]) for _, force in filters)) for i in range(2)]
    for _ in range(Jet.degree - 1):
        new = []
        for i in range(2):
            total, term = -step(slopes[i], places[i], *states(i, field)), field[i]
            for n in range(1, Jet.degree + 1):
                term = along(term, field)
                total = total - term * (mpmath.mpf(1) / factorial(n + 1))
            new.append(total)
        field = new
    return field


def gradient(g: Jet, theta: Jet) -> Jet:
    return g


def squared(g: Jet, theta: Jet) -> Jet:
    return g * g


with mpmath.workdps(40):
    third = mpmath.mpf(1) / 3
RULES: dict[str, tuple[Any, list[Any], Any]] = {
    "Adam": (
        ts.Adam(HALF, Rational(3, 4), THIRD),
        [(HALF, gradient), (Rational(3, 4), squared)],
        lambda g, t, m, v: m * inverse(root(v) + third),
    ),
    "AdamW, inside": (
        ts.Adam(HALF, Rational(3, 4), THIRD, decay=Rational(2, 5), epsilon_inside=True),
        [(HALF, gradient), (Rational(3, 4), squared)],
        lambda g, t, m, v: m * inverse(root(v + third)) + t * (mpmath.mpf(2) / 5),
    ),
    "RMSProp": (
        ts.RMSProp(Rational(1, 4), THIRD),
        [(Rational(1, 4), squared)],
        lambda g, t, v: g * inverse(root(v) + third),
    ),
    "no epsilon": (
        ts.Adam(HALF, THIRD, 0),
        [(HALF, gradient), (THIRD, squared)],
        lambda g, t, m, v: m * inverse(root(v)),
    ),
    "own": (
        ts.Elementwise({m: (THIRD, g), v: (-HALF, g**2)}, m * (1 - v) + theta * m),
        [(THIRD, gradient), (-HALF, squared)],
        lambda g, t, m, v: m - m * v + t * m,
    ),
    "transcendental": (
        ts.Elementwise({m: (THIRD, sympy.tanh(g))}, sympy.sin(m)),
        [(THIRD, lambda g, t: g.of(mpmath.tanh))],
        lambda g, t, m: m.of(mpmath.sin),
    ),
}


@pytest.mark.parametrize(("name", "order"), [*((name, 2) for name in RULES), ("RMSProp", 3), ("no epsilon", 3)])
def test_a_plain_series_without_trees(name: str, order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rule, filters, step = RULES[name]
    monkeypatch.setattr(Jet, "degree", order + 1)
    exact = ts.modified_flow(order + 1, update=rule).evaluate(PLACE, POINT)
    with mpmath.workdps(40):
        for entry, jet in zip(exact, plain_flow(filters, step), strict=True):
            for k in range(order + 1):
                theirs = jet.terms.get((0, 0, k), mpmath.mpf(0))
                ours = mpmath.mpf(str(sympy.N(entry.coeff(h, k), 40)))
                assert abs(ours - theirs) < 1e-25 * max(1, abs(theirs)), k
