r"""Tables of terms with the diagrams behind each: HTML in a notebook, LaTeX in a paper, text elsewhere.

In LaTeX the columns share the width of a line, and what is in a cell begins a new line where its column is full: a
coefficient or a value at a sign or after a factor, diagrams between two. Coefficients get what the longest one seems to
need, within bounds, and values the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from sympy import Expr, latex, sstr

from taylorsgd.display import Raw, html_table, text_table

__all__ = ["TermTable"]

_TEXTS = 0.6  # of a line of LaTeX for coefficients and values
_COEFFICIENTS = (0.12, 0.3)  # the least and the most of it for coefficients
_CHARACTER = 0.01  # of a line, in a fraction
_DIAGRAMS = 0.24
_CENTIMETRES = 0.4  # per unit of a diagram in LaTeX


class _Value(Protocol):
    def latex(self) -> str: ...


class _Drawn(Protocol):
    def html(self) -> str: ...

    def tikz(self, scale: float) -> str: ...


class _Term(Protocol):
    @property
    def order(self) -> int: ...

    @property
    def diagrams(self) -> Sequence[_Drawn]: ...


class TermTable:
    """Terms with the diagrams behind each; HTML in a notebook, text elsewhere."""

    header = ("order", "coefficient", "value", "diagrams")

    def __init__(self, shown: Sequence[tuple[_Term, Expr, _Value]], where: tuple[str, str] | None = None) -> None:
        """Keep terms, each with its coefficient and its value as they are shown, and what T stands for there.

        Nothing is drawn before it is shown.
        """
        self.shown = shown
        self.where = where

    def __str__(self) -> str:
        """An aligned table in plain text."""
        rows = [(str(t.order), sstr(c), str(v), "  ".join(map(str, t.diagrams))) for t, c, v in self.shown]
        return text_table(self.header, rows) + ("" if self.where is None else f"\nwith {self.where[1]}")

    __repr__ = __str__

    def latex(self, environment: str = "tabular") -> str:
        r"""The table in LaTeX, as wide as a line, with its diagrams in TikZ.

        Args:
            environment: "tabular", or "longtable" for one that goes on over pages and repeats its header.

        Returns:
            The text of the environment, which needs `\usepackage{tikz}` (and `\usepackage{longtable}`).

        Raises:
            ValueError: if `environment` is another.

        Example:
            >>> import taylorsgd as ts
            >>> text = ts.derive(ts.TestLoss(), ts.GD(), order=1).table().latex()
            >>> for line in text.splitlines()[:4]:
            ...     print(line)
            \begin{tabular}{@{}rp{0.12\linewidth}p{0.48\linewidth}p{0.24\linewidth}@{}}
            \hline
            order & coefficient & value & diagrams \\
            \hline
        """
        if environment not in ("tabular", "longtable"):
            raise ValueError(f'environment = {environment!r}: give "tabular" or "longtable"')
        lengths = [max(len(sstr(side)) for side in c.as_numer_denom()) for _, c, _ in self.shown]
        longest = max(lengths, default=0)
        first = round(min(max(_CHARACTER * longest, _COEFFICIENTS[0]), _COEFFICIENTS[1]), 2)
        widths = (first, round(_TEXTS - first, 2), _DIAGRAMS)
        columns = "".join(rf"p{{{width}\linewidth}}" for width in widths)
        head = [r"\hline", " & ".join(self.header) + r" \\", r"\hline"]
        if environment == "longtable":
            head.append(r"\endhead")
        lines = [rf"\begin{{{environment}}}{{@{{}}r{columns}@{{}}}}", *head]
        for (term, shown, value), length in zip(self.shown, lengths, strict=True):
            # A fraction is never broken; of one that is too long the numerator stands beside it.
            ratio = 2 if length * _CHARACTER > first else None
            coefficient = latex(shown, long_frac_ratio=ratio)
            pictures = "\n".join(diagram.tikz(_CENTIMETRES) for diagram in term.diagrams)
            cells = (f"${_breakable(coefficient)}$", f"${_breakable(value.latex())}$", pictures)
            lines.append(" & ".join([str(term.order), *map(_ragged, cells)]) + r" \tabularnewline[5pt]")
        lines.append(r"\hline")
        if self.where is not None:
            lines.append(rf"\multicolumn{{4}}{{@{{}}l}}{{with ${self.where[0]}$}} \\")
        return "\n".join([*lines, rf"\end{{{environment}}}"])

    def _repr_html_(self) -> str:
        rows = [
            (
                str(term.order),
                f"${latex(shown)}$",
                f"${value.latex()}$",
                Raw(" ".join(diagram.html() for diagram in term.diagrams)),
            )
            for term, shown, value in self.shown
        ]
        note = "" if self.where is None else f"\n<p>with ${self.where[0]}$</p>"
        return html_table(self.header, rows) + note


def _breakable(formula: str) -> str:
    r"""A formula with breakable outer brackets: TeX never breaks a line between \left and \right.

    Example:
        >>> print(_breakable(r"\left(a + \frac{\left(b\right)}{c}\right) d"))
        \bigl(a + \frac{\left(b\right)}{c}\bigr) d
    """
    pieces, depth = [], 0
    for piece in re.split(r"(\\[A-Za-z]+|\\.|[{}])", formula):
        depth += (piece == "{") - (piece == "}")
        pieces.append({r"\left": r"\bigl", r"\right": r"\bigr"}.get(piece, piece) if depth == 0 else piece)
    return "".join(pieces)


def _ragged(cell: str) -> str:
    r"""A cell whose lines are not stretched; there \\ ends a line of the cell, and \tabularnewline a row."""
    return rf"\raggedright {cell}"
