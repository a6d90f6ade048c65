r"""How flows of elementwise optimizers are written: u for the step's direction, ∇|∇E| for what it makes of curvature.

With g = ∇E and φ = −U(P(g)) = −c u, a slot that φ fills is ∇∇E u, and this is the gradient of a norm of ∇E where u has
an integral: of |∇E|²/2 for u = g, of |∇E|_1 = Σ_i |g_i| for the sign, of Σ_i √(g_i² + ε) for g/√(g² + ε).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sympy import Abs, Add, Expr, Integer, Mul, Symbol, Wild, factor, log, sign, sqrt
from sympy.printing.latex import LatexPrinter
from sympy.printing.str import StrPrinter

from taylorsgd import symbols
from taylorsgd.flows.slow_manifold import Branch, Factors, Solved
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
        space: between a derivative and what it is applied to.
        brackets: an opening and a closing one.
        gradient: ∇ of what follows.
        sum: over coordinates.
        where: what stands before definitions.
        comma: what stands between them.
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
    comma: str


TEXT = Face(
    lambda e: _Text().doprint(e), lambda k: "∇" * k + "E", " ⊙ ", lambda mark: f"|∇E|_{mark}", " ", ("(", ")"), "∇",
    "Σ_i ", ", with ", ", ",
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
    r",\ ",
)
"""LaTeX."""


class Writer:
    """Writes one flow.

    Args:
        face: plain or LaTeX.
        flow: what was solved for.
    """

    def __init__(self, face: Face, flow: Solved) -> None:
        """Find out what u is, which norm it is the gradient of, and in powers of what functions are written."""
        self.face, self.flow = face, flow
        functions = flow.functions
        self.number, direction = functions.parameters(-flow.in_slots[0])
        self.direction = functions.write(direction)
        self.norm = _norm(self.direction)
        used = [*flow.in_slots, *(function for part in flow.parts for function in part.values())]
        self._size = functions.size(used)
        taken = {str(symbol) for function in used for symbol in function.free_symbols}
        self._letter = Symbol(next(name for name in ("w", "q", "z", "w_") if name not in taken))
        self._uses_norm = self._uses_direction = self._uses_g = self._uses_letter = False

    def whole(self) -> str:
        """Φ_0 + hΦ_1 + …, with what its letters stand for."""
        pieces = []
        for power, part in enumerate(self.flow.parts):
            for factors, function in part.items():
                scale = self._function(function * self._scale(factors))
                pieces.append(self._piece(self._times_h(scale, power), factors))
        return joined(pieces) + self.where()

    def plain(self, function: Expr, power: int) -> Expr:
        """A function in letters, times a power of h."""
        return self._times_h(self._function(function), power)

    def where(self) -> str:
        """What the letters that were used stand for."""
        found = []
        if self._uses_direction:
            found.append(f"u = {self.face.write(self._function(-self.flow.in_slots[0] / self.number))}")
        if self._uses_norm and self.norm is not None and self.norm.sum is not None:
            total = self.norm.sum if self._size is None else self.norm.sum.subs(self._size[0], self._letter)
            self._uses_letter = self._uses_letter or total.has(self._letter)
            self._uses_g = self._uses_g or total.has(symbols.g)
            found.append(f"{self.face.norm(self.norm.mark)} = {self.face.sum}{self._bracketed(total)}")
        if self._uses_letter and self._size is not None:
            self._uses_g = True
            found.append(f"{self._letter} = {self.face.write(self._size[0])}")
        if self._uses_g:
            found.append(f"g = {self.face.nabla(1)}")
        return self.face.where + self.face.comma.join(found) if found else ""

    def norm_piece(self, scale: Expr) -> str:
        """A number times Ψ, ∇Ψ = ∇∇E φ: −c/2 |∇E|² for φ = −c∇E, else −c times the norm."""
        scale = factor(-scale * self.number)
        if self.direction == symbols.g:
            square = f"|{self.face.nabla(1)}|²" if self.face is TEXT else rf"\left|{self.face.nabla(1)}\right|^{{2}}"
            return signed(scale / 2, square, self.face.write)
        if self.norm is None:
            opening, closing = self.face.brackets
            self._uses_direction = True
            return signed(scale, f"Ψ{opening}{self.face.nabla(1)}{closing}", self.face.write)
        self._uses_norm = True
        return signed(scale, self.face.norm(self.norm.mark), self.face.write)

    def bent(self, scale: Expr) -> tuple[Expr, str]:
        """A number times φ·∇∇E φ, with −c u for φ."""
        if self.direction == symbols.g:
            first = self.face.nabla(1)
        else:
            self._uses_direction, first = True, "u"
        dot = "·" if self.face is TEXT else r" \cdot "
        return factor(scale * self.number**2), f"{first}{dot}{self.face.nabla(2)}{self.face.space}{first}"

    # -- inside ------------------------------------------------------------------------------------------

    def _function(self, function: Expr) -> Expr:
        functions = self.flow.functions
        if self._size is None:
            found = functions.write(functions.normal(function))
        else:
            found = functions.in_powers(functions.normal(function), self._size[1], self._letter)
        self._uses_letter = self._uses_letter or found.has(self._letter)
        self._uses_g = self._uses_g or (found.has(symbols.g) and self.direction != symbols.g)
        return found

    def _times_h(self, scale: Expr, power: int) -> Expr:
        return scale if power == 0 else Mul(symbols.h**power, scale) if scale.is_Add else scale * symbols.h**power

    def _piece(self, scale: Expr, factors: Factors) -> str:
        words = self.face.times.join(self._derivative(slots) for slots in factors)
        if self.direction == symbols.g and not factors and not scale.has(symbols.theta):
            return signed(scale / symbols.g, self.face.nabla(1), self.face.write)
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
        elif (function := self._function(self.flow.in_slots[child.function])) != 1:
            words = [self._bracketed(function), *words]
        text = self.face.times.join(words)
        return f"{opening}{text}{closing}" if alone and len(words) > 1 else text

    def _bracketed(self, expression: Expr) -> str:
        written = self.face.write(expression)
        opening, closing = self.face.brackets
        return f"{opening}{written}{closing}" if isinstance(expression, Add) else written


class _Norm(NamedTuple):
    """|∇E|_mark = Σ_i sum, whose gradient is ∇∇E u; the sum is None where the name says it."""

    mark: str
    sum: Expr | None
    of_one: Expr


def _norm(direction: Expr) -> _Norm | None:
    g, k, a = symbols.g, Wild("k", exclude=[symbols.g]), Wild("a", exclude=[symbols.g, Integer(0)])
    if direction == sign(g):
        return _Norm("1", None, Abs(g))
    found = direction.match(g / sqrt(a * g**2 + k))
    if found:
        total = sqrt(found[a] * g**2 + found[k]) / found[a]
        return _Norm("*", total, total)
    found = direction.match(g / (a * Abs(g) + k))
    if found:
        total = Abs(g) / found[a] - found[k] / found[a] ** 2 * log(found[a] * Abs(g) + found[k])
        return _Norm("*", total, total)
    return None
