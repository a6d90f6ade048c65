r"""Sums of terms on the page: plain text and LaTeX.

Coefficients are stored in the free sizes of the spacetime. On the page a derived T = E·N/B often reads
better: each coefficient is shown in whichever of the sizes and T makes it shortest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import Any, Protocol

from sympy import Add, Expr, Symbol, factor, latex, solve

from taylorsgd import symbols
from taylorsgd.writing.notation import LATEX, TEXT, Contraction, Face

__all__ = ["Page", "joined", "signed"]

_LINE = 4
"""How many terms stand on one line of a displayed formula."""


class _Value(Protocol):
    @property
    def T(self) -> Any: ...
    def with_T(self, T: Any) -> Any: ...
    def contraction(self) -> Contraction: ...
    def latex(self) -> str: ...


class _Term(Protocol):
    @property
    def order(self) -> int: ...
    @property
    def coefficient(self) -> Expr: ...
    @property
    def value(self) -> _Value: ...


class Page:
    """A sum of terms as it is shown.

    Args:
        terms: the terms.
        derived: T in the sizes of the coefficients, if there is one T.
    """

    def __init__(self, terms: Sequence[_Term], derived: Expr | None = None) -> None:
        """Find out what T stands for, if it is derived from other sizes and free to be used."""
        self.terms = terms
        own = derived is not None and derived != symbols.T and derived.free_symbols
        used = any(symbols.T in term.coefficient.free_symbols for term in terms)
        self.shorthand = derived if own and own <= {symbols.N, symbols.B, symbols.E} and not used else None

    def text(self) -> str:
        """The sum in plain text, with T explained where it is a shorthand."""
        return joined(self._pieces(TEXT)) + self._explanation(TEXT, "    with T = {}")

    def latex(self) -> str:
        """The sum in LaTeX on one line; T is written for E·N/B where that is shorter."""
        return joined(self._pieces(LATEX))

    def display(self) -> str:
        """The sum in LaTeX for display, a few terms a line, with T explained where it is a shorthand."""
        pieces = self._pieces(LATEX)
        orders = [term.order for term in self.terms]
        explanation = self._explanation(LATEX, r"\qquad\left(T = {}\right)")
        if len(pieces) <= _LINE:
            return f"$\\displaystyle {joined(pieces)}{explanation}$"
        lines: list[str] = []
        for order in sorted(set(orders)):
            group = [piece for piece, d in zip(pieces, orders, strict=True) if d == order]
            for start in range(0, len(group), _LINE):
                line = joined(group[start : start + _LINE])
                lines.append("&" + (line if not lines or line.startswith("-") else "+ " + line))
        body = " \\\\\n".join(lines)
        return f"$\\displaystyle \\begin{{aligned}}\n{body}{explanation}\n\\end{{aligned}}$"

    @cached_property
    def coefficients(self) -> list[Expr]:
        """The coefficients as they are shown: with T for E·N/B wherever that is shorter."""
        coefficients = [term.coefficient for term in self.terms]
        return [_shortest(c, self.shorthand) for c in coefficients] if self.shorthand else coefficients

    def _pieces(self, face: Face) -> list[str]:
        """Every term with its sign."""
        found = []
        for coefficient, term in zip(self.coefficients, self.terms, strict=True):
            value = term.value.with_T(symbols.T) if self._is_short(term) else term.value
            found.append(signed(*face.pieces(value.contraction(), coefficient), face.write))
        return found

    def _is_short(self, term: _Term) -> bool:
        """Whether a term's value sums up to the T that has a shorthand."""
        return self.shorthand is not None and term.value.T == self.shorthand

    def _explanation(self, face: Face, template: str) -> str:
        used = any(symbols.T in coefficient.free_symbols for coefficient in self.coefficients)
        if self.shorthand is None or not (used or any(map(self._is_short, self.terms))):
            return ""
        return template.replace("{}", face.write(self.shorthand))


@lru_cache(maxsize=4096)  # formulas repeat their coefficients, and are written more than once
def _shortest(coefficient: Expr, shorthand: Expr) -> Expr:
    """A coefficient with T for the shorthand, if that is shorter."""
    candidates = [coefficient]
    for symbol in (symbols.N, symbols.E, symbols.B):
        if symbol in coefficient.free_symbols & shorthand.free_symbols:
            candidate = factor(coefficient.subs(symbol, _solved(shorthand, symbol)))
            # At equal length T reads better than N, but not than E or B.
            candidates.insert(0 if symbol == symbols.N else len(candidates), candidate)
    return min(candidates, key=_length)


@lru_cache(maxsize=64)
def _solved(shorthand: Expr, symbol: Symbol) -> Expr:
    """What a size is when T is the shorthand."""
    (root,) = solve(shorthand - symbols.T, symbol)
    return root


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
        written = rf"\left({written}\right)" if write is latex else f"({written})"
    return f"{sign} {written}" if tensors == "1" else f"{sign} {written} {tensors}"


def joined(pieces: list[str]) -> str:
    """Signed terms as a sum, which begins without its '+'; 0 for none."""
    if not pieces:
        return "0"
    first, *rest = pieces
    head = first[2:] if first.startswith("+") else f"-{first[2:]}"
    return " ".join([head, *rest])
