r"""Index notation for values of every kind, in LaTeX and in plain text.

The paper's named tensors (section 1.2), all at θ_0:

    G_μ = E ∇_μ l_x      H_μν = E ∇_μ∇_ν l_x      J_μνλ = E ∇_μ∇_ν∇_λ l_x
    C_μν = κ(∇_μ l_x, ∇_ν l_x)                     S_μνλ = κ(∇_μ l_x, ∇_ν l_x, ∇_λ l_x)

with κ the joint cumulant. A tied pair of a gradient and a Hessian that share an index is a derivative of
the trace of the covariance, κ(∇_μ l, ∇_ν∇^μ l) = ½ ∇_ν C^μ_μ, and is written so. Every other cumulant is
written κ(…), a moment E[…]. Of a vector field u the tensors are u^μ, ∂_ν u^μ, … and κ(u^μ, ∂_λ u^ν), …, each index
once up, at the u whose arrow it is, and once down. An edge is an index that occurs twice, raised once by η^{μν}: a
value of order d holds d powers of η, one for each raised index. In an eigenbasis of ηH all indices are lower, sums are
written out, and what the edges carry is a function of eigenvalues λ_μ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sympy import Add, Expr, Rational, S, Symbol

from taylorsgd import symbols
from taylorsgd.writing.printers import to_latex, to_text

__all__ = [
    "LATEX", "TEXT", "Contraction", "Eigenbasis", "Face", "Tensor", "Unwritten", "contracted", "directed_contraction",
    "in_latex", "letter",
]  # fmt: skip

GREEK = (
    (r"\mu", "μ"), (r"\nu", "ν"), (r"\lambda", "λ"), (r"\rho", "ρ"), (r"\sigma", "σ"), (r"\tau", "τ"),
    (r"\alpha", "α"), (r"\beta", "β"), (r"\gamma", "γ"), (r"\delta", "δ"), (r"\epsilon", "ε"),
    (r"\zeta", "ζ"), (r"\kappa", "κ"), (r"\xi", "ξ"), (r"\pi", "π"), (r"\phi", "φ"), (r"\chi", "χ"),
    (r"\psi", "ψ"), (r"\omega", "ω"),
)  # fmt: skip
NAMED = {(1,): "G", (2,): "H", (3,): "J", (1, 1): "C", (1, 1, 1): "S"}

Index = tuple[int, bool]
"""The number of an index, which stands for its letter, and whether it is raised."""


class Tensor(NamedTuple):
    """One tensor: what its nodes carry ("" for the loss, else an observable's name), and the indices at each."""

    mark: str
    nodes: tuple[tuple[Index, ...], ...]
    directed: bool = False
    """Whether a node of the loss carries −∂…∂u with its raised index, for a vector field u."""

    @property
    def degrees(self) -> tuple[int, ...]:
        """How often each node is differentiated."""
        return tuple(map(len, self.nodes))

    @property
    def indices(self) -> list[Index]:
        """The indices at all nodes, by their numbers."""
        return sorted((index for node in self.nodes for index in node), key=lambda index: index[0])

    @property
    def trace(self) -> tuple[Index, Index] | None:
        """The outer and the inner index of a cumulant that is ½ ∇C; None for any other."""
        if self.mark or self.directed or sorted(self.degrees) != [1, 2]:
            return None
        (inner,), hessian = sorted(self.nodes, key=len)
        outer = [index for index in hessian if index[0] != inner[0]]
        return (outer[0], inner) if len(outer) == 1 else None


@dataclass(frozen=True)
class Eigenbasis:
    """What a value has besides its tensors in an eigenbasis of ηH.

    Attributes:
        scalar: given the eigenvalues of all indices, the sum over times with its powers of η; given what other letters
            stand for instead, all of the first, all of the second, …
        letters: in LaTeX and in plain text, λ for the eigenvalue.
        legend: what other letters mean, in LaTeX and in plain text.
    """

    scalar: Callable[..., Expr]
    letters: tuple[tuple[str, str], ...] = (("lambda", "λ"),)
    legend: tuple[str, str] | None = None


@dataclass(frozen=True)
class Unwritten:
    """A sum over times without a closed form: it is written as such, in front of the tensors.

    Attributes:
        diagram: the diagram in plain text, which names the sum.
        legend: what the sum is over and what its edges carry, in LaTeX and in plain text.
    """

    diagram: str
    legend: tuple[str, str]


@dataclass(frozen=True)
class Contraction:
    """A value as plain data: a product of tensors whose indices are contracted.

    Attributes:
        tensors: the factors, in the order in which they are written.
        order: the number of edges.
        numbers: the numbers of all indices, ascending.
        free: those of them that are open.
        moments: whether a tensor of several nodes is their joint moment instead of their joint cumulant.
        eigenbasis: what else there is in an eigenbasis of ηH; None outside of one.
    """

    tensors: tuple[Tensor, ...]
    order: int
    numbers: tuple[int, ...]
    free: tuple[int, ...]
    moments: bool = False
    eigenbasis: Eigenbasis | None = None
    explicit: bool = False
    """Whether sums over indices are written out; then all indices are lower."""
    unwritten: Unwritten | None = None
    """The sum over times in front, if there is one that has no closed form."""

    def __str__(self) -> str:
        """Index notation in plain text."""
        return TEXT.alone(self)

    def latex(self) -> str:
        """Index notation in LaTeX."""
        return LATEX.alone(self)

    @property
    def summed(self) -> tuple[int, ...]:
        """The indices that are summed over."""
        return tuple(number for number in self.numbers if number not in self.free)

    def trace(self, tensor: Tensor) -> tuple[Index, Index] | None:
        """The outer and the inner index of a tensor that is written as ½ ∇C; None for any other."""
        return None if self.moments or self.eigenbasis else tensor.trace

    def with_sums(self) -> Contraction:
        """The same with all indices lower, and sums over them to be written."""
        lower = (Tensor(t.mark, tuple(tuple((i, False) for i, _ in node) for node in t.nodes)) for t in self.tensors)
        return replace(self, tensors=tuple(lower), explicit=True)


def contracted(parts: Iterable[tuple[str, Sequence[Sequence[int]]]], free: Sequence[int], moments: bool) -> Contraction:
    """Number the edges of a network as they are met, and raise each index where it occurs again.

    Args:
        parts: for every part its mark, and for each of its nodes the labels of the edges there.
        free: the labels of the edges that are open, which come first and are raised.
        moments: whether parts stand for moments.
    """
    number = {edge: i for i, edge in enumerate(free)}
    raised = set(free)

    def index(edge: int) -> Index:
        found = number.setdefault(edge, len(number)), edge in raised
        raised.add(edge)
        return found

    tensors = []
    for mark, nodes in parts:
        labels = Tensor(mark, tuple(tuple((edge, False) for edge in node) for node in nodes))
        if not moments and labels.trace:  # the outer index is met before the inner one
            number.setdefault(labels.trace[0][0], len(number))
        tensors.append(Tensor(mark, tuple(tuple(sorted(map(index, node))) for node in nodes)))
    numbers = tuple(range(len(number)))
    return Contraction(tuple(tensors), len(number), numbers, numbers[: len(free)], moments)


def directed_contraction(
    parts: Iterable[tuple[str, Sequence[tuple[int | None, Sequence[int]]]]], free: Sequence[int], moments: bool
) -> Contraction:
    """The same for a vector field, whose indices are raised at the node that they leave.

    Args:
        parts: for every part its mark, and for each of its nodes the label of the edge that leaves it, None at a root,
            and those of the edges that come in.
        free: the labels of the edges that end in open indices.
        moments: whether parts stand for moments.
    """
    number = {edge: i for i, edge in enumerate(free)}
    tensors = []
    for mark, nodes in parts:
        written = []
        for leaving, entering in nodes:
            own = [] if leaving is None else [(number.setdefault(leaving, len(number)), True)]
            written.append((*own, *sorted((number.setdefault(edge, len(number)), False) for edge in entering)))
        tensors.append(Tensor(mark, tuple(written), directed=True))
    numbers = tuple(range(len(number)))
    return Contraction(tuple(tensors), len(number), numbers, numbers[: len(free)], moments)


def letter(number: int, face: int) -> str:
    """The letter of an index, in LaTeX (0) or in plain text (1)."""
    if number < len(GREEK):
        return GREEK[number][face]
    digits = str(number - len(GREEK) + 1)
    return f"μ{digits}" if face else rf"\mu_{{{digits}}}"


def in_latex(name: str) -> str:
    r"""A name that a user chose, as LaTeX sets it: a letter as a variable, any other upright.

    Example:
        >>> in_latex("s"), in_latex("R_IG")
        ('s', '\\mathrm{R\\_IG}')
    """
    escaped = re.sub(r"([_&%$#{}])", r"\\\1", name)
    return name if len(name) == 1 else rf"\mathrm{{{escaped}}}"


@dataclass(frozen=True)
class Face:
    """One face of the notation: how it writes expressions, tensors, derivatives and brackets."""

    write: Callable[..., str]
    greek: int  # which column of GREEK
    derivative: str
    cumulant: tuple[str, str]
    moment: tuple[str, str]
    braces: bool
    partial: str

    def alone(self, value: Contraction) -> str:
        """A value by itself."""
        prefactor, words, rest = self.pieces(value)
        body = self.product(words, rest)
        if prefactor == 1:
            return body
        return f"{'½' if prefactor == S.Half and not self.braces else self.write(prefactor)} {body}"

    def pieces(self, value: Contraction, coefficient: Expr = S.One) -> tuple[Expr, list[str], Expr]:
        """A coefficient times the factor that the notation splits off (½ for each ∇C), the tensors, and the rest.

        In an eigenbasis the factor is all that holds no eigenvalue, and the rest all that does.
        """
        halves = sum(value.trace(tensor) is not None for tensor in value.tensors)
        prefactor = coefficient * Rational(1, 2**halves)
        basis = value.eigenbasis
        summed = self._script(r"\sum_" if self.braces else "Σ_", [(i, False) for i in value.summed])
        if value.unwritten is not None:
            drawn = value.unwritten.diagram
            over = rf"\sum\nolimits_{{\mathtt{{{drawn.replace(' ', '~')}}}}}" if self.braces else f"Σ_[{drawn}]"
            return prefactor * symbols.eta**value.order, [over, *filter(None, [summed]), *self._tensors(value)], S.One
        if basis is None:
            return prefactor, [*filter(None, [summed if value.explicit else ""]), *self._tensors(value)], S.One
        given = [
            tuple(Symbol(f"{own[self.greek]}_{letter(i, self.greek)}".replace("\\", "")) for i in value.numbers)
            for own in basis.letters
        ]
        scalar = coefficient * basis.scalar(*given)
        prefactor, rest = scalar.as_independent(*(symbol for some in given for symbol in some), as_Add=False)
        return prefactor, [*filter(None, [summed]), *self._tensors(value)], rest

    def product(self, words: Sequence[str], rest: Expr) -> str:
        """Tensors and what stands behind them; 1 for nothing."""
        if rest == 1:
            return " ".join(words) or "1"
        written = self.write(rest, order="old")  # 1 - x rather than -x + 1
        return " ".join([*words, self.bracketed(written) if isinstance(rest, Add) else written])

    def bracketed(self, written: str) -> str:
        """An expression in round brackets."""
        return rf"\left({written}\right)" if self.braces else f"({written})"

    def _tensors(self, value: Contraction) -> list[str]:
        """All tensors; a derivative in front of another factor is bracketed, for it ends there."""
        written = [self._tensor(tensor, value) for tensor in value.tensors]
        is_derivative = [
            value.trace(tensor) is not None
            or (word.startswith((self.derivative, self.partial)) and len(tensor.nodes) == 1)
            for tensor, word in zip(value.tensors, written, strict=True)
        ]
        for i in range(len(written) - 1):
            if is_derivative[i]:
                written[i] = self.bracketed(written[i])
        return written

    def _tensor(self, tensor: Tensor, value: Contraction) -> str:
        degrees, trace = tuple(sorted(tensor.degrees)), value.trace(tensor)
        if tensor.directed:
            words = [self._partials(tensor.mark or "u", node) for node in tensor.nodes]
            opening, closing = ("", "") if len(words) == 1 else self.moment if value.moments else self.cumulant
            return opening + (" " if value.moments else ", ").join(words) + closing
        if not tensor.mark and degrees in NAMED and not (value.moments and len(degrees) > 1):
            return self._indexed(NAMED[degrees], tensor.indices)
        if len(tensor.nodes) == 1:
            return self._derivatives(tensor.mark or "l", tensor.nodes[0])
        if trace is not None:
            outer, (inner, _) = trace
            space = "" if self.braces else " "
            covariance = self._indexed("C", [(inner, not value.explicit), (inner, False)])
            return self._indexed(self.derivative, [outer]) + space + covariance
        opening, closing = self.moment if value.moments else self.cumulant
        separator = " " if value.moments else ", "
        return opening + separator.join(self._derivatives("l", node) for node in tensor.nodes) + closing

    def _partials(self, name: str, indices: Sequence[Index]) -> str:
        """Derivatives by the lower indices, of a field if one is raised."""
        by = "".join(self._indexed(self.partial, [index]) for index in indices if not index[1])
        of = self._indexed(in_latex(name) if self.braces else name, [index for index in indices if index[1]])
        return f"{by} {of}" if by and not self.braces else by + of

    def _script(self, mark: str, indices: Sequence[Index]) -> str:
        if not indices:
            return ""
        letters = (" " if self.braces else "").join(letter(number, self.greek) for number, _ in indices)
        return f"{mark}{{{letters}}}" if self.braces else f"{mark}{letters}"

    def _indexed(self, name: str, indices: Sequence[Index]) -> str:
        raised = self._script("^", [index for index in indices if index[1]])
        return name + raised + self._script("_", [index for index in indices if not index[1]])

    def _derivatives(self, name: str, indices: Sequence[Index]) -> str:
        nablas = "".join(self._indexed(self.derivative, [index]) for index in indices)
        if self.braces:
            name = in_latex(name)
        return f"{nablas} {name}" if indices and not self.braces else nablas + name


LATEX = Face(
    to_latex, 0, r"\nabla", (r"\kappa\left(", r"\right)"), (r"\mathbb{E}\left[", r"\right]"), True, r"\partial"
)
"""Index notation in LaTeX."""
TEXT = Face(to_text, 1, "∇", ("κ(", ")"), ("E[", "]"), False, "∂")
"""Index notation in plain text."""
