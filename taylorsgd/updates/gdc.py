r"""Gradient descent with the regularizer that imitates small batches (Tenka, Corollary 1).

Descent on all N rows with the loss l̂ + ηs tr Ĉ, s = (1/B − 1/N)/4 and Ĉ the unbiased covariance of the rows'
gradients, moves like SGD with batches of B, to order η². With W = (N/(N − 1)) (1 − 1/N · 11ᵀ) the gradient of the
regularizer is

    ∇_μ tr Ĉ = 2/N Σ_nm W_nm (∇_ν l_n) (∇^ν ∇_μ l_m),

which joins two nodes of one update, as an *instant* edge does (see `updates`): it ends in the root of no diagram,
joins no third node, and weighs N² times −2s/N · W_nm where free choices of both rows weigh 1 each.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from math import prod
from typing import Any, ClassVar

from attrs import field, frozen
from sympy import Expr, Integer, factor

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram
from taylorsgd.diagrams.partitions import components
from taylorsgd.spacetime.base import Spacetime, size
from taylorsgd.spacetime.gd import GD
from taylorsgd.updates.rule import Batch, Memoryless

__all__ = ["GDC"]


@frozen
class GDC(Memoryless):
    """Descent on l̂ + η (1/B − 1/N)/4 · tr Ĉ over all N rows; the update rule of `GD(N, T)` and of no other spacetime.

    θ ← θ − η ∇[ l̂ + η (1/B − 1/N)/4 · tr Ĉ ],  Ĉ = Σ_n (∇l_n − ∇l̂)(∇l_n − ∇l̂)ᵀ / (N − 1). At B = 1 the factor is
    (N − 1)/(4N). After T = E·N/B updates the test and training loss and the displacement are those of SGD(N, B, E)
    to order η²; at η³ they differ. One row alone has no covariance: then this is descent.

    Args:
        B: the batch size to imitate, at most N. None means the symbol; else an integer of at least 1 or a SymPy
            expression.

    Raises:
        TypeError: if B is neither an integer nor an expression.
        ValueError: if B is impossible, or (where it is used) exceeds N or the spacetime is no GD.

    Example:
        >>> import taylorsgd as ts
        >>> from taylorsgd.symbols import B, E, N
        >>> imitated = ts.derive(ts.TestLoss(), ts.GD(), order=2, update=ts.GDC())
        >>> print(imitated[2])
        T*(2*T - 1)/2 G_μ H^μ_ν G^ν + T*(B*T - N)/(4*B*N) (∇_μ C^ν_ν) G^μ + T**2/(2*N) C_μν H^μν
        >>> sgd = ts.derive(ts.TestLoss(), ts.SGD(), order=2)
        >>> (imitated.subs(T=E * N / B) - sgd).simplify()
        <Formula E_GD[l(θ_T)] - E_SGD[l(θ_T)] = O(η^3)    with T = E*N/B>

    Source: Tenka, Corollary 1 (section 3.2) and section B.7.
    """

    B: Expr = field(default=None, converter=size("B", symbols.B, 1))

    needs_rows: ClassVar[bool] = True

    def step(self, numbers: Mapping[str, Any], state: tuple[Any, ...], batch: Batch, rate: Any) -> tuple[Any, ...]:
        """The rule, with s = (1/B − 1/N)/4."""
        (x,) = state
        slope, of_noise = batch.noise_slope(x)
        return (x - slope - numbers["s"] * of_noise,)

    def numbers(self, spacetime: Spacetime) -> dict[str, Expr]:
        """S = (1/B − 1/N)/4.

        Raises:
            ValueError: if the spacetime is no GD, or B exceeds its N.
        """
        return {"s": (1 / self.B - 1 / self.rows(spacetime)) / 4}

    def rows(self, spacetime: Spacetime) -> Expr:
        """N of the spacetime.

        Raises:
            ValueError: if the spacetime is no GD, or B exceeds its N.
        """
        if not isinstance(spacetime, GD):
            raise ValueError(
                f"update={self!r} is gradient descent on all rows, and {spacetime!r} has batches; give GD(N, T)"
            )
        if (spacetime.N - self.B).is_negative:
            raise ValueError(f"B={self.B} of {self!r} exceeds the N={spacetime.N} rows of {spacetime!r}")
        return spacetime.N

    @property
    def has_instant_edges(self) -> bool:
        """Always."""
        return True

    def allows(self, edges: list[tuple[int, int]]) -> bool:
        """No two edges share a node."""
        return len({node for edge in edges for node in edge}) == 2 * len(edges)

    def weighed(self, spacetime: Spacetime, diagram: Diagram, instant: frozenset[int]) -> Expr:
        """What instant edges weigh, averaged over the rows of all parts: E Π_edges (−2sN) W[row(v), row(parent of v)].

        W is N/(N − 1) times δ_nm − 1/N. Multiplied out, every edge either joins the rows of its parts or weighs −1/N.
        """
        rows = self.rows(spacetime)
        if not instant:
            return Integer(1)
        if rows == 1:
            return Integer(0)
        parts = len(diagram.inner_blocks)
        block_of = {node: i for i, block in enumerate(diagram.inner_blocks) for node in block}
        edges = [(block_of[node], block_of[diagram.parents[node]]) for node in sorted(instant)]
        total: Expr = Integer(0)
        for number in range(len(edges) + 1):
            for joined in combinations(edges, number):
                free = len(set(components(parts, joined)))
                total = total + (-1 / rows) ** (len(edges) - number) * rows ** (free - parts)
        weight = -rows * (rows - self.B) / (2 * self.B * (rows - 1))
        return factor(prod([weight] * len(edges), start=total))
