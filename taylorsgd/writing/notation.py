r"""Index notation for values, in LaTeX and in plain text.

The paper's named tensors (section 1.2), all at θ_0:

    G_μ = E ∇_μ l_x      H_μν = E ∇_μ∇_ν l_x      J_μνλ = E ∇_μ∇_ν∇_λ l_x
    C_μν = κ(∇_μ l_x, ∇_ν l_x)                     S_μνλ = κ(∇_μ l_x, ∇_ν l_x, ∇_λ l_x)

with κ the joint cumulant. A tied pair of a gradient and a Hessian that share an index is a derivative of
the trace of the covariance, κ(∇_μ l, ∇_ν∇^μ l) = ½ ∇_ν C^μ_μ, and is written so. Every other cumulant is
written κ(…), a moment E[…]. An edge is an index that occurs twice, raised once by η^{μν}: a value of
order d holds d powers of η, one for each raised index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taylorsgd.diagrams.values import Value

__all__ = ["factored_latex", "factored_text", "value_latex", "value_text"]

GREEK = (
    (r"\mu", "μ"), (r"\nu", "ν"), (r"\lambda", "λ"), (r"\rho", "ρ"), (r"\sigma", "σ"), (r"\tau", "τ"),
    (r"\alpha", "α"), (r"\beta", "β"), (r"\gamma", "γ"), (r"\delta", "δ"), (r"\epsilon", "ε"),
    (r"\zeta", "ζ"), (r"\kappa", "κ"), (r"\xi", "ξ"), (r"\pi", "π"), (r"\phi", "φ"), (r"\chi", "χ"),
    (r"\psi", "ψ"), (r"\omega", "ω"),
)  # fmt: skip
NAMED = {(1,): "G", (2,): "H", (3,): "J", (1, 1): "C", (1, 1, 1): "S"}


@dataclass(frozen=True)
class _Index:
    letter: int
    raised: bool


@dataclass(frozen=True)
class _Style:
    """How one face of the notation writes tensors, derivatives and brackets."""

    greek: int  # which column of GREEK
    derivative: str
    cumulant: tuple[str, str]
    moment: tuple[str, str]
    braces: bool

    def letter(self, number: int) -> str:
        if number < len(GREEK):
            return GREEK[number][self.greek]
        digits = str(number - len(GREEK) + 1)
        return rf"\mu_{{{digits}}}" if self.braces else f"μ{digits}"

    def script(self, mark: str, indices: Sequence[_Index]) -> str:
        if not indices:
            return ""
        joined = ("" if not self.braces else " ").join(self.letter(index.letter) for index in indices)
        return f"{mark}{{{joined}}}" if self.braces else f"{mark}{joined}"

    def tensor(self, name: str, indices: Sequence[_Index]) -> str:
        raised = [index for index in indices if index.raised]
        lowered = [index for index in indices if not index.raised]
        return name + self.script("^", raised) + self.script("_", lowered)

    def derivatives(self, name: str, indices: Sequence[_Index]) -> str:
        nablas = "".join(self.tensor(self.derivative, [index]) for index in indices)
        return f"{nablas} {name}" if indices and not self.braces else nablas + name


_LATEX = _Style(0, r"\nabla", (r"\kappa\left(", r"\right)"), (r"\mathbb{E}\left[", r"\right]"), True)
_TEXT = _Style(1, "∇", ("κ(", ")"), ("E[", "]"), False)


def value_latex(value: Value) -> str:
    r"""Write a value in LaTeX.

    Example:
        >>> from taylorsgd.diagrams import Value
        >>> print(value_latex(Value((-1, 0, 0), (0, 1, 1))))
        C_{\mu \nu} H^{\mu \nu}
    """
    factor, text = factored_latex(value)
    return text if factor == 1 else rf"\frac{{{factor.numerator}}}{{{factor.denominator}}} {text}"


def value_text(value: Value) -> str:
    """Write a value in plain text.

    Example:
        >>> from taylorsgd.diagrams import Value
        >>> print(value_text(Value((-1, 0, 1), (0, 1, 1))))
        ½ ∇_μ C^ν_ν G^μ
    """
    factor, text = factored_text(value)
    return text if factor == 1 else f"{'½' if factor == Fraction(1, 2) else factor} {text}"


def factored_latex(value: Value) -> tuple[Fraction, str]:
    """The rational factor that the notation splits off (½ for each ∇C), and the rest in LaTeX."""
    return _write(value, _LATEX)


def factored_text(value: Value) -> tuple[Fraction, str]:
    """The rational factor that the notation splits off (½ for each ∇C), and the rest in plain text."""
    return _write(value, _TEXT)


def _write(value: Value, style: _Style) -> tuple[Fraction, str]:
    letters: dict[frozenset[int], int] = {}
    raised: set[frozenset[int]] = set()
    neighbours: list[list[int]] = [[] for _ in value.parents]
    for child, parent in value.edges:
        neighbours[child].append(parent)
        neighbours[parent].append(child)
    for node in value.open_indices:  # free indices come first and are always upper
        edge = frozenset((node, neighbours[node][0]))
        letters[edge] = len(letters)
        raised.add(edge)

    def indices(node: int) -> list[_Index]:
        found = []
        for other in neighbours[node]:
            edge = frozenset((node, other))
            found.append(_Index(letters.setdefault(edge, len(letters)), edge in raised))
            raised.add(edge)
        return sorted(found, key=lambda index: index.letter)

    factor = Fraction(1)
    factors = []
    for block in _reading_order(value, neighbours):
        degrees = tuple(sorted(value.degrees[node] for node in block))
        mark = value.marks[block[0]]
        if mark:
            factors.append(style.derivatives(mark, indices(block[0])))
        elif degrees == (0,):
            factors.append("l")
        elif degrees in NAMED and not (value.moments and len(block) > 1):
            found = [index for node in block for index in indices(node)]
            factors.append(style.tensor(NAMED[degrees], sorted(found, key=lambda index: index.letter)))
        elif len(block) == 1:
            factors.append(style.derivatives("l", indices(block[0])))
        elif degrees == (1, 2) and not value.moments and block[0] in neighbours[block[1]]:
            gradient, hessian = sorted(block, key=lambda node: value.degrees[node])
            (other,) = [node for node in neighbours[hessian] if node != gradient]
            edge = frozenset((hessian, other))
            outer = _Index(letters.setdefault(edge, len(letters)), edge in raised)
            raised.add(edge)
            inner = letters.setdefault(frozenset((hessian, gradient)), len(letters))
            trace = style.tensor("C", [_Index(inner, True), _Index(inner, False)])
            space = " " if not style.braces else ""
            factors.append(style.tensor(style.derivative, [outer]) + space + trace)
            factor /= 2
        else:
            opening, closing = style.moment if value.moments else style.cumulant
            separator = " " if value.moments else ", "
            inside = separator.join(style.derivatives("l", indices(node)) for node in block)
            factors.append(f"{opening}{inside}{closing}")
    return factor, " ".join(factors)


def _reading_order(value: Value, neighbours: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The parts in the order in which a reader meets them, walking each tree from one of its ends."""
    order: list[tuple[int, ...]] = []

    def visit(node: int, above: int) -> None:
        block = value.blocks[value.parts[node]]
        if not value.marks[node].startswith("@") and block not in order:
            order.append(block)
        for other in sorted(neighbours[node], key=lambda n: (value.degrees[n], n)):
            if other != above:
                visit(other, node)

    def end_first(node: int) -> tuple[bool, int, bool, int]:
        # Start at an open index, else at a leaf, rather a tied one.
        tied = len(value.blocks[value.parts[node]]) > 1
        return (not value.marks[node].startswith("@"), value.degrees[node], not tied, node)

    tree_of: list[int] = []
    for parent in value.parents:
        tree_of.append(tree_of[parent] if parent >= 0 else max(tree_of, default=-1) + 1)
    for tree in range(max(tree_of) + 1):
        visit(min((n for n, t in enumerate(tree_of) if t == tree), key=end_first), -1)
    return order
