"""Tables of terms with the diagrams behind each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sympy import Expr, latex, sstr

from taylorsgd.display import Raw, html_table, text_table

__all__ = ["TermTable"]


class _Value(Protocol):
    def latex(self) -> str: ...


class _Drawn(Protocol):
    def svg(self) -> str: ...


class _Term(Protocol):
    @property
    def order(self) -> int: ...
    @property
    def coefficient(self) -> Expr: ...
    @property
    def value(self) -> _Value: ...
    @property
    def diagrams(self) -> Sequence[_Drawn]: ...


class TermTable:
    """Terms with the diagrams behind each; HTML in a notebook, text elsewhere."""

    header = ("order", "coefficient", "value", "diagrams")

    def __init__(self, terms: Sequence[_Term]) -> None:
        """Keep the terms; nothing is drawn before it is shown."""
        self.terms = terms

    def __str__(self) -> str:
        """An aligned table in plain text."""
        rows = [(str(t.order), sstr(t.coefficient), str(t.value), "  ".join(map(str, t.diagrams))) for t in self.terms]
        return text_table(self.header, rows)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [
            (
                str(t.order),
                f"${latex(t.coefficient)}$",
                f"${t.value.latex()}$",
                Raw(" ".join(diagram.svg() for diagram in t.diagrams)),
            )
            for t in self.terms
        ]
        return html_table(self.header, rows)
