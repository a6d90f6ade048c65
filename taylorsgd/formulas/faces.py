"""How a formula shows itself: plain text, LaTeX, a table, SymPy."""

from __future__ import annotations

from typing import Any

from sympy import Expr, ImmutableMatrix, Integer

from taylorsgd import symbols
from taylorsgd.arguments import switched
from taylorsgd.formulas.statement import stated
from taylorsgd.formulas.term import Term
from taylorsgd.spacetime import Spacetime
from taylorsgd.writing.page import Page
from taylorsgd.writing.sympy_form import to_sympy
from taylorsgd.writing.term_table import TermTable

__all__ = ["Faces"]

LINE = 110
"""The columns of a line of plain text."""


class Faces:
    """The faces of a `Formula`; it is the only class that has them."""

    terms: tuple[Term, ...]
    spacetimes: tuple[Spacetime, ...]
    metric: ImmutableMatrix | None
    rate: Expr

    def to_sympy(self) -> Expr:
        """The formula as one SymPy expression, with indexed tensors and sums over their indices.

        Example:
            >>> import taylorsgd as ts
            >>> ts.derive(ts.TestLoss(), ts.SGD(), order=1).to_sympy()
            l - E*N*eta*Sum(G[mu]**2, (mu, 0, P - 1))/B
        """
        values = (to_sympy(term.value.contraction()).xreplace({symbols.eta: self.rate}) for term in self.terms)
        return sum((term.coefficient * value for term, value in zip(self.terms, values, strict=True)), Integer(0))

    def latex(
        self,
        width: float | None = None,
        environment: str | None = None,
        *,
        lhs: bool | str = True,
        eta: bool = False,
        sums: bool = False,
    ) -> str:
        r"""The formula in LaTeX, in index notation; η raises indices, so a value of order d holds η^d.

        Args:
            width: how wide a line may be, in em of its font: 24 for one of two columns, 34 for a page, 50 for a
                notebook's cell of 1,000 pixels, at 10 to 14 points. Lines end between terms, and within those that
                are too wide. None for one line.
            environment: "aligned", "align", "align*", "equation" or "equation*" to put it into; by default none for
                one line, for display between dollars, and "aligned" for several.
            lhs: whether to write what the formula equals and of which order the rest is; or a left-hand side to
                write instead.
            eta: whether to write the powers of η, which otherwise are in the raised indices.
            sums: whether to write sums over indices, which then are all lower, and the powers of η.

        Raises:
            TypeError: if an argument is of another kind.
            ValueError: if the environment is unknown, the width is below 20 em, or sums are asked of a formula with
                a metric, where indices are raised by it.

        Example:
            >>> import taylorsgd as ts
            >>> f = ts.derive(ts.TestLoss(), ts.GD(), order=1)
            >>> print(f.latex())
            \mathbb{E}\left[l(\theta_{T})\right] = l - T G_{\mu} G^{\mu} + O(\eta^{2})
            >>> print(f.latex(lhs=r"L", sums=True))
            L = l - T \eta \sum_{\mu} G_{\mu} G_{\mu} + O(\eta^{2})
        """
        return self._page(lhs, eta, sums).latex(width, environment)

    def text(self, width: int | None = LINE, *, lhs: bool | str = True, eta: bool = False, sums: bool = False) -> str:
        """The formula in plain text.

        Args:
            width: the columns of a line, which ends between two terms; None for one line.
            lhs: as in `latex`.
            eta: as in `latex`.
            sums: as in `latex`.

        Raises:
            TypeError: if an argument is of another kind.
            ValueError: if the width is below 1, or as for `latex`.

        Example:
            >>> import taylorsgd as ts
            >>> print(ts.derive(ts.TestLoss(), ts.GD(), order=1).text(eta=True, lhs=False))
            l - T*eta G_μ G^μ
        """
        return self._page(lhs, eta, sums).text(width)

    def _repr_latex_(self) -> str:
        return self._page().display()

    def __str__(self) -> str:
        """The formula in plain text, on lines of 110 columns."""
        return self.text()

    def __repr__(self) -> str:
        """The formula in plain text, so that it reads well at a prompt."""
        return f"<Formula {self}>"

    def table(self) -> Any:
        """A table of the terms, each with its diagrams; shows itself as HTML in a notebook, else as text.

        Example:
            >>> import taylorsgd as ts
            >>> print(ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=1).table())
            order  coefficient  value    diagrams
            ─────  ───────────  ───────  ────────
                0  1            l        .
                1  -T           G_μ G^μ  (.)
            with T = N
        """
        page = self._page()
        return TermTable(page.shown, page.where)  # type: ignore[arg-type]

    def _page(self, lhs: bool | str = True, eta: bool = False, sums: bool = False) -> Page:
        eta, sums = switched(eta, "eta"), switched(sums, "sums")
        if sums and self.metric is not None:
            raise ValueError("sums=True: this formula has a matrix learning rate, which raises indices; leave out sums")
        ends = {spacetime.sizes["T"] for spacetime in self.spacetimes}
        derived = ends.pop() if len(ends) == 1 else None
        return Page(self.terms, derived, stated(self, lhs), eta=eta, sums=sums, rate=self.rate)  # type: ignore[arg-type]
