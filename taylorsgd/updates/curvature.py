"""Rules that look at the curvature of the update's own loss: second-order and implicit steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from sympy import Expr, Integer

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
