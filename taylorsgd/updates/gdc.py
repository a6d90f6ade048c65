r"""Gradient descent with the regularizer that imitates small batches (Tenka, Corollary 1).

Descent on all N rows with the loss l̂ + ηs tr Ĉ, s = (1/B − 1/N)/4 and Ĉ the unbiased covariance of the rows'
gradients, moves like SGD with batches of B, to order η². With W = (N/(N − 1)) (1 − 1/N · 11ᵀ) the gradient of the
regularizer is

    ∇_μ tr Ĉ = 2/N Σ_nm W_nm (∇_ν l_n) (∇^ν ∇_μ l_m),

which joins two nodes of one update, as an *instant* edge does (see `updates`): it ends in the root of no diagram,
joins no third node, and weighs N² times −2s/N · W_nm where free choices of both rows weigh 1 each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import Any

from sympy import Expr, Integer, factor

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram
from taylorsgd.spacetime.base import Size, size
from taylorsgd.spacetime.sgd import GD
from taylorsgd.updates.rules import Memoryless

__all__ = ["GDC"]


@dataclass(frozen=True, init=False)
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
        T*(2*T - 1)/2 G_μ H^μ_ν G^ν + T*(B*T - N)/(4*B*N) ∇_μ C^ν_ν G^μ + T**2/(2*N) C_μν H^μν
        >>> sgd = ts.derive(ts.TestLoss(), ts.SGD(), order=2)
        >>> (imitated.subs(T=E * N / B) - sgd).simplify()
        <Formula 0>

    Source: Tenka, Corollary 1 (section 3.2) and section B.7.
    """

    B: Expr

    def __init__(self, B: Size = None) -> None:
        """Check the batch size."""
        object.__setattr__(self, "B", size("B", B, symbols.B, 1))

    def rows(self, spacetime: Any) -> Expr:
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

    def _allows(self, edges: list[tuple[int, int]]) -> bool:
        return len({node for edge in edges for node in edge}) == 2 * len(edges)  # no two share a node

    def pairing(self, diagram: Diagram, instant: frozenset[int], rows: Expr) -> Expr:
        """What instant edges weigh, summed over the rows of all parts: Σ Π_edges (−2sN) W[row(v), row(parent of v)].

        W is N/(N − 1) times δ_nm − 1/N. Multiplied out, every edge either joins the rows of its parts or weighs −1/N.
        """
        if not instant:
            return rows ** len(diagram.inner_blocks)
        if rows == 1:
            return Integer(0)
        block_of = {node: i for i, block in enumerate(diagram.inner_blocks) for node in block}
        edges = [(block_of[node], block_of[diagram.parents[node]]) for node in sorted(instant)]
        total: Expr = Integer(0)
        for number in range(len(edges) + 1):
            for joined in combinations(edges, number):
                free = _components(len(diagram.inner_blocks), joined)
                total = total + (-1 / rows) ** (len(edges) - number) * rows**free
        weight = -rows * (rows - self.B) / (2 * self.B * (rows - 1))
        return factor(prod([weight] * len(edges), start=total))


def _components(size: int, edges: tuple[tuple[int, int], ...]) -> int:
    """The number of connected components of a graph."""
    label = list(range(size))
    for a, b in edges:
        label = [label[a] if other == label[b] else other for other in label]
    return len(set(label))
