r"""Sums of terms on the page: plain text and LaTeX.

Coefficients are stored in the free sizes of the spacetime. On the page a derived T = E·N/B often reads
better: each coefficient is shown in whichever of the sizes and T makes it shortest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from math import inf
from textwrap import wrap
from typing import Any, NamedTuple, Protocol

from sympy import Add, Expr, Symbol, factor, solve

from taylorsgd import symbols
from taylorsgd.arguments import finite_number, is_one_of, whole_number
from taylorsgd.writing.breaking import TIMES, broken
from taylorsgd.writing.em_widths import latex_width
from taylorsgd.writing.notation import LATEX, TEXT, Contraction, Face
from taylorsgd.writing.printers import to_latex, to_text

__all__ = ["Page", "Statement", "joined", "signed"]

CELL = 50.0
"""How wide a formula may be in a notebook's cell of 1,000 pixels, in em."""
LEAST_WIDTH = 20.0
"""The narrowest column that formulas can be broken for, in em: one of two on a page has 24."""
ENVIRONMENTS = (None, "aligned", "align", "align*", "equation", "equation*")
_INDENT = 1.0


class _Value(Protocol):
    @property
    def T(self) -> Any: ...
    def with_T(self, T: Any) -> Any: ...
    def contraction(self) -> Contraction: ...
    def directed_contraction(self) -> Contraction: ...
    def latex(self) -> str: ...


class _Term(Protocol):
    @property
    def order(self) -> int: ...
    @property
    def coefficient(self) -> Expr: ...
    @property
    def value(self) -> _Value: ...


class Statement(NamedTuple):
    """What a sum of terms is said to be; every text twice, in LaTeX and plain.

    Attributes:
        left: what the sum equals, with T in it if it is at the end of a run; None to leave it out.
        rest: what the terms leave out, such as O(η^4); None for nothing.
        conditions: what was assumed, such as G = 0.
        names_T: whether the left side speaks of T.
    """

    left: tuple[str, str] | None = None
    rest: tuple[str, str] | None = None
    conditions: tuple[tuple[str, str], ...] = ()
    names_T: bool = False


_NOTHING = Statement()


class Page:
    """A sum of terms as it is shown.

    Args:
        terms: the terms.
        derived: T in the sizes of the coefficients, if there is one T.
        statement: what the sum is.
        eta: whether η^d is written in front of a value of order d; else a raised index stands for each η.
        sums: whether sums over indices are written, with all indices lower; then η^d is written too.
        rate: what is written for η, 1 where it is part of the coefficients already.
        field: whether it is written for a vector field u, with the powers of η.
    """

    def __init__(
        self,
        terms: Sequence[_Term],
        derived: Expr | None = None,
        statement: Statement = _NOTHING,
        *,
        eta: bool = False,
        sums: bool = False,
        rate: Expr = symbols.eta,
        field: bool = False,
    ) -> None:
        """Find out what T stands for, if it is derived from other sizes and free to be used."""
        self.terms = terms
        self.statement = statement
        self.eta = eta or sums or field
        self.field = field
        self.sums = sums
        self.rate = rate
        own = derived is not None and derived != symbols.T and derived.free_symbols
        self.derived = derived if own else None
        used = any(symbols.T in term.coefficient.free_symbols for term in terms)
        self.shorthand = derived if own and own <= {symbols.N, symbols.B, symbols.E} and not used else None

    def text(self, width: int | None = None) -> str:
        """The sum in plain text, with T explained where it is a shorthand.

        Args:
            width: the columns of a line, which ends between two terms; None for one line.
        """
        room = inf if width is None else whole_number(width, "width", 1)
        pieces = [signed(number, TEXT.product(words, rest), to_text) for number, words, rest in self._pieces(TEXT)]
        body = self._completed(pieces, TEXT)
        where = self._where(TEXT)
        last = [f"   with {', '.join(where)}"] if where else []
        return "\n".join(_packed([*body, *last], room, len))

    def latex(self, width: float | None = None, environment: str | None = None) -> str:
        r"""The sum in LaTeX; T is written for E·N/B where that is shorter, and explained.

        Args:
            width: how wide a line may be, in em; None for one line.
            environment: what to put it into: "aligned", "align", "align*", "equation" or "equation*"; by default
                nothing for one line, and "aligned" for several.
        """
        if not is_one_of(environment, ENVIRONMENTS):
            known = ", ".join(repr(name) for name in ENVIRONMENTS)
            raise ValueError(f"environment={environment!r} is unknown; give one of {known}")
        if width is not None and finite_number(width, "width") < LEAST_WIDTH:
            raise ValueError(f"width={width!r} is too narrow for a formula; give at least {LEAST_WIDTH} em, or None")
        room = inf if width is None else width - _INDENT
        pieces = []
        for number, words, rest in self._pieces(LATEX):
            whole = signed(number, LATEX.product(words, rest), to_latex)
            pieces += [whole] if latex_width(whole) <= room else broken(number, words, rest, room)
        body = self._completed(pieces, LATEX)
        where = self._where(LATEX)
        last = (r"\qquad\left(" + r",\ ".join(where) + r"\right)").split(r"\allowbreak ") if where else []
        if len(last) > 1:  # \left and \right can't be on two lines
            last = [last[0].replace(r"\left(", "("), *last[1:-1], last[-1].removesuffix(r"\right)") + ")"]
        lines = _packed([*body, *last], room, latex_width)
        return _in_environment(lines, environment)

    def display(self) -> str:
        """The sum in LaTeX for a notebook, broken to fit a cell."""
        return f"$\\displaystyle {self.latex(CELL)}$"

    @cached_property
    def coefficients(self) -> list[Expr]:
        """The coefficients as they are shown: with T for E·N/B wherever that is shorter."""
        coefficients = [term.coefficient for term in self.terms]
        return [_shortest(c, self.shorthand) for c in coefficients] if self.shorthand else coefficients

    @property
    def shown(self) -> list[tuple[_Term, Expr, _Value]]:
        """The terms, each with its coefficient and its value as they are shown."""
        values = (t.value.with_T(symbols.T) if self._is_short(t) else t.value for t in self.terms)
        return list(zip(self.terms, self.coefficients, values, strict=True))

    @property
    def where(self) -> tuple[str, str] | None:
        """What T is, if the terms are shown in it, and what was assumed: in LaTeX and plain."""
        found = [", ".join(self._where(face)) for face in (LATEX, TEXT)]
        return (found[0], found[1]) if found[1] else None

    def _completed(self, pieces: list[str], face: Face) -> list[str]:
        """Signed pieces as a sum with its left side and the rest."""
        left, rest = self.statement.left, self.statement.rest
        if rest is not None:
            pieces = [*pieces, f"+ {rest[face.greek]}"]
        if not pieces:
            pieces = ["+ 0"]
        head, *tail = pieces
        head = head[2:] if head.startswith("+ ") else f"-{head[2:]}" if head.startswith("- ") else head
        return [head, *tail] if left is None else [f"{left[face.greek]} =", head, *tail]

    def _pieces(self, face: Face) -> list[tuple[Expr, list[str], Expr]]:
        """What is written for every term: a number, tensors, and what depends on eigenvalues."""
        found = []
        for term, coefficient, value in self.shown:
            contraction = value.directed_contraction() if self.field else value.contraction()
            if self.field:
                coefficient = coefficient * (-1) ** term.order
            if contraction.eigenbasis is None and contraction.unwritten is None:
                if self.sums:
                    contraction = contraction.with_sums()
                if self.eta:
                    coefficient = coefficient * self.rate**term.order
            found.append(face.pieces(contraction, coefficient))
        return found

    def _is_short(self, term: _Term) -> bool:
        """Whether a term's value sums up to the T that has a shorthand."""
        return self.shorthand is not None and term.value.T == self.shorthand

    def _where(self, face: Face) -> list[str]:
        """What has to be known to read the sum: what T is, and what was assumed."""
        short = self.shorthand is not None and (
            any(symbols.T in coefficient.free_symbols for coefficient in self.coefficients)
            or any(map(self._is_short, self.terms))
        )
        named = self.statement.left is not None and self.statement.names_T and self.derived is not None
        found = [f"T = {face.write(self.derived)}"] if short or named else []
        sums = [term.value.contraction() for term in self.terms if term.value.T is not None]
        legends = [one.unwritten.legend if one.unwritten else one.eigenbasis and one.eigenbasis.legend for one in sums]
        found += dict.fromkeys(legend[face.greek] for legend in legends if legend)
        return [*found, *(condition[face.greek] for condition in self.statement.conditions)]


def _packed(pieces: list[str], room: float, measure: Callable[[str], float]) -> list[str]:
    """Pieces put into lines as they come, none longer than there is room for unless a single piece is."""
    lines: list[str] = []
    if measure is len and room < inf:  # plain text that is too long ends at a blank
        pieces = [line for piece in pieces for line in _wrapped(piece, int(room))]
    for piece in pieces:
        if lines and measure(f"{lines[-1]} {piece}") <= room:
            lines[-1] += f" {piece.removeprefix(TIMES)}"
        else:
            lines.append(piece.strip() if measure is len else _continued(piece) if lines else piece)
    if measure is len:
        return [lines[0], *("    " + line for line in lines[1:])]
    return lines


def _wrapped(piece: str, room: int) -> list[str]:
    return wrap(piece, room, break_long_words=False, break_on_hyphens=False) if len(piece) > room else [piece]


def _in_environment(lines: list[str], environment: str | None) -> str:
    r"""Lines of LaTeX, all but the first a quad to the right."""
    if environment is None and len(lines) == 1:
        return lines[0]
    numbered = environment == "align"
    ends = (r" \notag" if numbered else "") + " \\\\\n"
    aligned = ends.join(["&" + lines[0], *(r"&\quad " + line for line in lines[1:])])
    inside = environment if environment in ("align", "align*") else "aligned"
    text = f"\\begin{{{inside}}}\n{aligned}\n\\end{{{inside}}}"
    if environment in ("equation", "equation*"):
        return f"\\begin{{{environment}}}\n{text}\n\\end{{{environment}}}"
    return text


def _continued(line: str) -> str:
    """A line that goes on: its sign is set as that of a sum, or of a product that was broken."""
    if line.startswith(("+", "-")):
        return "{}" + line
    return r"{}\cdot " + line.removeprefix(TIMES) if line.startswith(TIMES) else line


@lru_cache(maxsize=4096)  # formulas repeat their coefficients, and are written more than once
def _shortest(coefficient: Expr, shorthand: Expr) -> Expr:
    """A coefficient with T for the shorthand, if that is shorter."""
    candidates = [coefficient]
    for symbol in (symbols.N, symbols.E, symbols.B):
        if symbol in coefficient.free_symbols & shorthand.free_symbols and _solved(shorthand, symbol) is not None:
            candidate = factor(coefficient.subs(symbol, _solved(shorthand, symbol)))
            # At equal length T reads better than N, but not than E or B.
            candidates.insert(0 if symbol == symbols.N else len(candidates), candidate)
    return min(candidates, key=_length)


@lru_cache(maxsize=64)
def _solved(shorthand: Expr, symbol: Symbol) -> Any:
    """What a size is when T is the shorthand; None where that is not one expression, as for T = N²."""
    roots = solve(shorthand - symbols.T, symbol)
    return roots[0] if len(roots) == 1 else None


def _length(expression: Expr) -> int:
    return int(expression.count_ops()) + len(expression.free_symbols)


def signed(coefficient: Expr, tensors: str, write: Callable[..., str]) -> str:
    """A term with its sign in front, as '-' or '+' and a space."""
    sign = "-" if coefficient.could_extract_minus_sign() else "+"
    size = -coefficient if sign == "-" else coefficient
    if size == 1:
        return f"{sign} {tensors}"
    written = write(size)
    if isinstance(size, Add):
        written = rf"\left({written}\right)" if write is to_latex else f"({written})"
    return f"{sign} {written}" if tensors == "1" else f"{sign} {written} {tensors}"


def joined(pieces: list[str]) -> str:
    """Signed terms as a sum, which begins without its '+'; 0 for none."""
    if not pieces:
        return "0"
    first, *rest = pieces
    head = first[2:] if first.startswith("+") else f"-{first[2:]}"
    return " ".join([head, *rest])
