r"""Formulas on the page: plain text, LaTeX and tables of diagrams.

Coefficients are stored in the free sizes of the spacetime. On the page a derived T = E·N/B often reads
better: each coefficient is shown in whichever of the sizes and T makes it shortest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sympy import Add, Expr, Rational, Symbol, factor, latex, solve, sstr

from taylorsgd import symbols
from taylorsgd.formulas.resummed_value import ResummedValue
from taylorsgd.writing import eigenbasis, notation

if TYPE_CHECKING:
    from taylorsgd.formulas.formula import Formula

__all__ = [
    "TermTable",
    "formula_display",
    "formula_latex",
    "formula_text",
    "joined",
    "presented",
    "signed",
]

_LINE = 4
"""How many terms stand on one line of a displayed formula."""


def formula_text(formula: Formula) -> str:
    """Write a formula in plain text, with T explained where it is a shorthand."""
    pieces = [
        signed(*piece, sstr) for piece in _pieces(formula, notation.factored_text, eigenbasis.pieces_text)
    ]
    return joined(pieces) + _explanation(formula, sstr, "    with T = {}")


def formula_latex(formula: Formula) -> str:
    """Write a formula in LaTeX on one line; T is written for E·N/B where that is shorter."""
    return joined(_latex_pieces(formula))


def formula_display(formula: Formula) -> str:
    """Write a formula in LaTeX for display, a few terms a line, with T explained where it is a shorthand."""
    pieces = _latex_pieces(formula)
    orders = [term.order for term in formula.terms]
    explanation = _explanation(formula, latex, r"\qquad\left(T = {}\right)")
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


def presented(formula: Formula) -> list[Expr]:
    """The coefficients as they are shown: with T for E·N/B wherever that is shorter."""
    coefficients = [term.coefficient for term in formula.terms]
    shorthand = _shorthand(formula)
    if shorthand is None:
        return coefficients
    return [_shortest(coefficient, shorthand) for coefficient in coefficients]


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


def _shorthand(formula: Formula) -> Expr | None:
    """What T stands for, if it is derived from other sizes and free to be used."""
    if len(formula.spacetimes) != 1:
        return None
    derived = formula.spacetimes[0].sizes.get("T")
    if derived is None or derived == symbols.T or not derived.free_symbols:
        return None
    own = derived.free_symbols <= {symbols.N, symbols.B, symbols.E}
    used = any(symbols.T in term.coefficient.free_symbols for term in formula.terms)
    return derived if own and not used else None


def _explanation(formula: Formula, write: Any, template: str) -> str:
    shorthand = _shorthand(formula)
    used = any(symbols.T in c.free_symbols for c in presented(formula)) or any(
        isinstance(value, ResummedValue) and value.T == shorthand for value in formula.values
    )
    if shorthand is None or not used:
        return ""
    return template.replace("{}", write(shorthand))


def _latex_pieces(formula: Formula) -> list[str]:
    return [
        signed(*piece, latex) for piece in _pieces(formula, notation.factored_latex, eigenbasis.pieces_latex)
    ]


def _pieces(formula: Formula, plain: Any, resummed: Any) -> list[tuple[Expr, str]]:
    """For every term what stands in front, and its tensors."""
    shorthand = _shorthand(formula)
    found = []
    for coefficient, term in zip(presented(formula), formula.terms, strict=True):
        value = term.value
        if isinstance(value, ResummedValue):
            found.append(
                resummed(value.with_T(symbols.T, value.drift) if value.T == shorthand else value, coefficient)
            )
        else:
            scale, tensors = plain(value)
            found.append((coefficient * Rational(scale.numerator, scale.denominator), tensors))
    return found


def signed(coefficient: Expr, tensors: str, write: Any) -> str:
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


class TermTable:
    """The terms of a formula with the diagrams behind each; HTML in a notebook, text elsewhere."""

    header = ("order", "coefficient", "value", "diagrams")

    def __init__(self, formula: Formula) -> None:
        """Keep the formula; nothing is drawn before it is shown."""
        self.formula = formula

    def __str__(self) -> str:
        """An aligned table in plain text."""
        from taylorsgd.display import text_table

        rows = [
            (str(t.order), sstr(t.coefficient), str(t.value), "  ".join(map(str, t.diagrams)))
            for t in self.formula.terms
        ]
        return text_table(self.header, rows)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from taylorsgd.display import Raw, html_table

        rows = [
            (
                str(t.order),
                f"${latex(t.coefficient)}$",
                f"${t.value.latex()}$",
                Raw(" ".join(diagram.svg() for diagram in t.diagrams)),
            )
            for t in self.formula.terms
        ]
        return html_table(self.header, rows)
