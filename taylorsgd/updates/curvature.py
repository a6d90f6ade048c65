r"""Rules that look at the curvature of the update's own loss: second-order and implicit steps.

Resummed, let δ be the displacement, r what a node adds to the slope, and s the step over −η, all of one update. From

    s = Hδ + r − ηλ(H + ∇r) s, with r at δ    (second order)        s = H(δ − ηλs) + r, with r at δ − ηλs    (implicit)

follows s = R(Hδ + …) with R = (1 + ηλH)⁻¹. So δ shrinks by K = 1 − ηHR, every edge leaves its node with an R, an
instant edge weighs λR, and an edge from the past enters an inner node

    implicit        as δ − ηλ·RHδ = Rδ
    second order    as δ, or in the one place that s has as −ηλ·RHδ = (R − 1)δ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import Any

from attrs import field, frozen
from sympy import Expr, Integer

from taylorsgd.diagrams import Diagram
from taylorsgd.updates.rule import Batch, Memoryless, exactly

__all__ = ["ImplicitStep", "SecondOrder"]


@frozen
class SecondOrder(Memoryless):
    """θ ← θ − η (1 + ηλ ∇∇l_t)⁻¹ ∇l_t, with l_t the mean loss of the batch (Tenka, section B.7).

    Args:
        lam: λ, an exact number or a SymPy expression.

    Raises:
        TypeError: if λ is neither an exact number nor a SymPy expression.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import Symbol
        >>> lam = Symbol("lambda")
        >>> f = ts.derive(ts.TestLoss(), ts.GD(), order=2, update=ts.SecondOrder(lam)).assume("noiseless")
        >>> print(f)
        E[l(θ_T)] = l - T G_μ G^μ + T*(2*T + 2*lambda - 1)/2 G_μ H^μ_ν G^ν + O(η^3)    with no noise
    """

    lam: Expr = field(default=Integer(1), converter=exactly("lam"))

    def step(self, numbers: Mapping[str, Any], state: tuple[Any, ...], batch: Batch, rate: Any) -> tuple[Any, ...]:
        """S = −η(g + λH s)."""
        (x,) = state
        slope = batch.slope(x)
        return (x + batch.solve_linear(lambda s: -(slope + numbers["lam"] * batch.curved(x, s))),)

    @property
    def instant(self) -> Expr:  # type: ignore[override]
        """λ."""
        return self.lam

    def allows(self, edges: list[tuple[int, int]]) -> bool:
        """At most one edge ends in each node: the rule is linear in the gradient."""
        return len({parent for _, parent in edges}) == len(edges)

    def dressings(self, diagram: Diagram, instant: frozenset[int]) -> Iterator[tuple[int, tuple[int, ...]]]:
        """One R where an edge starts; at a node that no instant edge enters 1 + Σ (R − 1) over the edges into it."""
        choices: list[list[tuple[int, tuple[int, ...]]]] = []
        for node in diagram.inner_nodes:
            entering = diagram.children[node]
            if entering and not instant & set(entering):
                choices.append([(1 - len(entering), ()), *((1, (child,)) for child in entering)])
        for chosen in product(*choices):
            number = prod(factor for factor, _ in chosen)
            if number:
                shrunk = {child for _, some in chosen for child in some}
                yield number, tuple(1 + (node in shrunk) for node in diagram.inner_nodes)


@frozen
class ImplicitStep(Memoryless):
    """The implicit step to θ′ = θ − η ∇l_t(θ + λ (θ′ − θ)): implicit Euler at λ = 1, the midpoint rule at 1/2.

    Args:
        lam: λ, an exact number or a SymPy expression; 1 by default.

    Raises:
        TypeError: if λ is neither an exact number nor a SymPy expression.
    """

    lam: Expr = field(default=Integer(1), converter=exactly("lam"))

    def step(self, numbers: Mapping[str, Any], state: tuple[Any, ...], batch: Batch, rate: Any) -> tuple[Any, ...]:
        """S = −η∇l(θ + λs)."""
        (x,) = state
        return (x + batch.solve(lambda s: -batch.slope(x + numbers["lam"] * s)),)

    @property
    def instant(self) -> Expr:  # type: ignore[override]
        """λ."""
        return self.lam

    def allows(self, edges: list[tuple[int, int]]) -> bool:
        """Any number."""
        return True

    def dressings(self, diagram: Diagram, instant: frozenset[int]) -> Iterator[tuple[int, tuple[int, ...]]]:
        """One R where an edge starts, and one where it enters an inner node from the past."""
        inner = set(diagram.inner_nodes)
        yield 1, tuple(1 + (node not in instant and diagram.parents[node] in inner) for node in diagram.inner_nodes)
