r"""How flows of elementwise optimizers are written: u for the step's direction, ∇|∇E| for what it makes of curvature.

With g = ∇E and φ = −U(P(g)) = −c u, a slot that φ fills is ∇∇E u, and this is the gradient of a norm of ∇E where u has
an integral: of |∇E|²/2 for u = g, of |∇E|_1 = Σ_i |g_i| for the sign, of Σ_i √(g_i² + ε) for g/√(g² + ε).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sympy import Abs, Add, Expr, Integer, Symbol, Wild, factor, log, sign, sqrt
from sympy.printing.latex import LatexPrinter
from sympy.printing.str import StrPrinter

from taylorsgd import symbols
from taylorsgd.flows.slow_manifold import Branch, Factors, Vector
from taylorsgd.writing.page import joined, signed

__all__ = ["LATEX", "TEXT", "Face", "Writer"]


class _Text(StrPrinter):
    def _print_Abs(self, expr: Abs) -> str:
        return f"|{self._print(expr.args[0])}|"


class Face(NamedTuple):
    """Plain text, or LaTeX.

    Attributes:
        write: an expression.
        nabla: ∇ so many times.
        times: the elementwise product.
        norm: |∇E| with a mark below.
        theta: θ.
        where: what stands before definitions.
    """

    write: Callable[[Expr], str]
    nabla: Callable[[int], str]
    times: str
    norm: Callable[[str], str]
    space: str
    brackets: tuple[str, str]
    gradient: str
    sum: str
    where: str


TEXT = Face(
    lambda e: _Text().doprint(e), lambda k: "∇" * k + "E", " ⊙ ", lambda mark: f"|∇E|_{mark}", " ", ("(", ")"), "∇",
    "Σ_i ", ", with ",
)  # fmt: skip
"""Plain text."""
LATEX = Face(
    lambda e: LatexPrinter().doprint(e),
    lambda k: r"\nabla" * k + " E",
    r" \odot ",
    lambda mark: rf"\left|\nabla E\right|_{{{mark}}}",
    r"\, ",
    (r"\left(", r"\right)"),
    r"\nabla ",
    r"\sum_i ",
    r",\qquad ",
)
"""LaTeX."""


class Writer:
    """Writes one flow.

    Args:
        face: plain or LaTeX.
        in_slots: the functions in slots; the first is φ.
    """

    def __init__(self, face: Face, in_slots: Sequence[Expr]) -> None:
        """Find out what u is, and which norm it is the gradient of."""
        self.face, self.in_slots = face, in_slots
        leaf = in_slots[0]
        number, self.direction = (-leaf).as_independent(symbols.g, symbols.theta, as_Add=False)
        self.number = number
        self.norm = _norm(self.direction)
        self._uses_norm = self._uses_direction = self._uses_g = False

    def whole(self, parts: Sequence[Vector]) -> str:
        """Φ_0 + hΦ_1 + …, with what its letters stand for."""
        pieces = []
        for power, part in enumerate(parts):
            for factors, function in part.items():
                scale = factor(function * self._scale(factors) * symbols.h**power) if factors else function
                pieces.append(self._piece(scale, factors))
        text = joined(pieces)
        return text + self._where()

    # -- inside ------------------------------------------------------------------------------------------

    def _piece(self, scale: Expr, factors: Factors) -> str:
        words = self.face.times.join(self._derivative(slots) for slots in factors)
        if self.direction == symbols.g and not scale.has(symbols.theta):
            body, power = scale.as_independent(symbols.g, as_Add=False)
            if power == symbols.g and not factors:
                return signed(body, self.face.nabla(1), self.face.write)
        self._uses_g = self._uses_g or scale.has(symbols.g)
        return signed(scale, words or "1", self.face.write)

    def _scale(self, factors: Factors) -> Expr:
        """(−c)^n for the n leaves φ = −c u."""
        found: Expr = Integer(1)
        for slots in factors:
            for child in slots:
                found = found * self._scale(child.factors) * (-self.number if child.function == 0 else 1)
        return found

    def _derivative(self, slots: tuple[Branch, ...]) -> str:
        if slots == (Branch(0, ()),) and self.norm is not None:
            self._uses_norm = True
            return self.face.gradient + self.face.norm(self.norm.mark)
        inside = [self._branch(child, alone=len(slots) == 1) for child in slots]
        head = self.face.nabla(len(slots) + 1)
        opening, closing = self.face.brackets
        return (
            f"{head}{self.face.space}{inside[0]}"
            if len(inside) == 1
            else f"{head}{opening}{', '.join(inside)}{closing}"
        )

    def _branch(self, child: Branch, alone: bool) -> str:
        words = [self._derivative(slots) for slots in child.factors]
        opening, closing = self.face.brackets
        if child.function == 0:
            if self.direction == symbols.g:
                first = self.face.nabla(1)
            else:
                self._uses_direction, first = True, "u"
            words = [first, *words]
        elif (function := self.in_slots[child.function]) != 1:
            self._uses_g = True
            written = self.face.write(function)
            words = [f"{opening}{written}{closing}" if isinstance(function, Add) else written, *words]
        text = self.face.times.join(words)
        return f"{opening}{text}{closing}" if alone and len(words) > 1 else text

    def _where(self) -> str:
        found = []
        if self._uses_direction:
            found.append(f"u = {self.face.write(self.direction)}")
            self._uses_g = True
        if self._uses_norm and self.norm is not None and self.norm.sum is not None:
            found.append(f"{self.face.norm(self.norm.mark)} = {self.face.sum}{self._bracketed(self.norm.sum)}")
            self._uses_g = True
        if self._uses_g:
            found.append(f"g = {self.face.nabla(1)}")
        return self.face.where + ", ".join(found) if found else ""

    def _bracketed(self, expression: Expr) -> str:
        written = self.face.write(expression)
        opening, closing = self.face.brackets
        return f"{opening}{written}{closing}" if isinstance(expression, Add) else written


class _Norm(NamedTuple):
    """|∇E|_mark = Σ_i sum, whose gradient is ∇∇E u; the sum is None where the name says it."""

    mark: str
    sum: Expr | None


def _norm(direction: Expr) -> _Norm | None:
    g, k, a = symbols.g, Wild("k", exclude=[symbols.g]), Wild("a", exclude=[symbols.g, Integer(0)])
    if direction == sign(g):
        return _Norm("1", None)
    found = direction.match(g / sqrt(a * g**2 + k))
    if found:
        return _Norm("*", sqrt(found[a] * g**2 + found[k]) / found[a])
    found = direction.match(g / (a * Abs(g) + k))
    if found:
        return _Norm("*", Abs(g) / found[a] - found[k] / found[a] ** 2 * log(found[a] * Abs(g) + found[k]))
    return None
