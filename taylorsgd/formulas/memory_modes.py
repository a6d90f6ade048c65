r"""How the sums over time of rules with memory are written: in the modes of their memory.

In an eigenbasis an edge of rate s = ηλ carries c K^{Δ−1} b with K = A − s b c, a matrix of the size of the memory.
With χ(r) = det(r − K) and its roots r that is Σ_r w(r) r^{Δ−1}, w(r) = c adj(r − K) b / χ′(r). So a sum over times is
that of plain descent with r for 1 − ηλ and a weight w for every edge, added up over the modes of every direction:

    Σ_{μν} C_{μν} H_{μν} η² w_μ w_ν (1 − (r_μ r_ν)^T) / (1 − r_μ r_ν)           (heavy ball: r² − (1 + β − s) r + β = 0)

It is for reading: where roots meet numbers come from the matrices themselves (`resummed_evaluation`, `lowering`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from sympy import Expr, Matrix, Symbol, collect, diff, expand, eye, factor, latex

from taylorsgd import symbols
from taylorsgd.updates import Memory

__all__ = ["Modes", "modes_of"]


class Modes(NamedTuple):
    """The modes of a memory, in the root r and the eigenvalue λ.

    Attributes:
        equation: χ(r), which vanishes.
        weight: w(r) of an edge to an inner node.
        root_weight: that of an edge into a root.
    """

    equation: Expr
    weight: Expr
    root_weight: Expr

    @property
    def legend(self) -> tuple[str, str]:
        """What the letters mean, in LaTeX and in plain text."""
        weights = [("w", self.weight)] + ([("v", self.root_weight)] if self.root_weight != self.weight else [])
        written = ", ".join(f"{name} = {weight}" for name, weight in weights)
        typeset = r",\allowbreak ".join(f"{name} = {latex(weight)}" for name, weight in weights)
        equation = latex(self.equation).replace(r"\left(", "(").replace(r"\right)", ")")
        return (
            rf"\text{{sums over the roots of }}\allowbreak {equation} = 0\allowbreak "
            rf"\text{{ for each }}\lambda,\allowbreak {typeset}",
            f"sums over the roots of {self.equation} = 0 for each lambda, {written}",
        )


@lru_cache(maxsize=256)
def modes_of(memory: Memory) -> Modes:
    """The modes of a rule's linear system.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import Integer, Symbol
        >>> modes_of(ts.HeavyBall(Symbol("beta")).memory(Integer(1))).legend[1]
        'sums over the roots of beta + r**2 + r*(-beta + eta*lambda - 1) = 0 for each lambda, w = r/(-beta + ...
    """
    r, rate = Symbol("r"), symbols.eta * Symbol("lambda")
    carry, enter = Matrix(memory.carry), Matrix(memory.enter)
    read, by_root = Matrix(memory.read).T, Matrix(memory.read_by_root).T
    resolved = r * eye(carry.rows) - carry + rate * enter * read
    equation = collect(expand(resolved.det()), r)
    adjugate = resolved.adjugate()
    weight, root_weight = (factor((row * adjugate * enter)[0] / diff(equation, r)) for row in (read, by_root))
    return Modes(equation, weight, root_weight)
