"""Power series in h whose coefficients are polynomials in θ, and random fields: the plain arithmetic of flows."""

from __future__ import annotations

from typing import Any

import sympy
from hypothesis import strategies as st
from sympy import QQ, Rational
from sympy.polys.rings import PolyElement, ring

import taylorsgd as ts

x, y = sympy.symbols("x y")


class Series:
    """Power series in h whose coefficients are polynomials in θ."""

    def __init__(self, dimension: int, order: int) -> None:
        self.ring, *gens = ring(["x", "y"][:dimension] + ["h"], QQ)
        self.theta, self.h, self.order = gens[:-1], gens[-1], order

    def cut(self, p: PolyElement) -> PolyElement:
        return self.ring.from_dict({m: c for m, c in p.items() if m[-1] <= self.order})

    def read(self, expression: sympy.Expr) -> PolyElement:
        return self.cut(self.ring.from_expr(expression))

    def at(self, f: list[PolyElement], point: list[PolyElement]) -> list[PolyElement]:
        """F at a point that is a series."""
        found = []
        for entry in f:
            total = self.ring.zero
            for exponents, number in entry.terms():
                term = self.ring.one * number * self.h ** exponents[-1]
                for coordinate, exponent in zip(point, exponents[:-1], strict=True):
                    for _ in range(exponent):
                        term = self.cut(term * coordinate)
                total += term
            found.append(self.cut(total))
        return found

    def flow(self, field: list[PolyElement], time: int) -> list[PolyElement]:
        """Φ at time·h, by the Lie series Σ_n (time·h)^n/n! (field·∂)^n θ."""
        term, total = list(self.theta), list(self.theta)
        for n in range(1, self.order + 1):
            derivative = [self.cut(sum((v * g.diff(i) for i, v in enumerate(field)), self.ring.zero)) for g in term]
            term = [self.cut(d * self.h * QQ(time, n)) for d in derivative]
            total = [s + t for s, t in zip(total, term, strict=True)]
        return total

    def step(self, method: ts.RungeKutta, f: list[PolyElement]) -> list[PolyElement]:
        """A step of a Runge-Kutta method; implicit stages are iterated, each time right to one more order."""
        stages = [list(self.theta) for _ in method.b]
        for _ in range(self.order + 1):
            slopes = [self.at(f, stage) for stage in stages]
            stages = [self.combined(row, slopes) for row in method.A]
        return self.combined(method.b, [self.at(f, stage) for stage in stages])

    def combined(self, weights: Any, slopes: list[list[PolyElement]]) -> list[PolyElement]:
        return [
            self.cut(
                theta
                + self.h * sum((s[i] * QQ(w.p, w.q) for w, s in zip(weights, slopes, strict=True)), self.ring.zero)
            )
            for i, theta in enumerate(self.theta)
        ]


@st.composite
def fields(draw: st.DrawFn, dimension: int) -> list[sympy.Expr]:
    """A polynomial vector field of degree 2 (3 in one dimension) with small rational coefficients."""
    monomials = [1, x, x**2, x**3] if dimension == 1 else [1, x, y, x**2, x * y, y**2]
    numbers = st.lists(st.sampled_from(range(1, 5)), min_size=len(monomials), max_size=len(monomials))
    signs = st.lists(st.sampled_from((-1, 1)), min_size=len(monomials), max_size=len(monomials))
    return [
        sum((Rational(s * n, 2) * m for n, s, m in zip(draw(numbers), draw(signs), monomials, strict=True)),
            sympy.Integer(0))
        for _ in range(dimension)
    ]  # fmt: skip
