"""How a formula shows itself: plain text, LaTeX, a table, SymPy."""

from __future__ import annotations

from typing import Any, NamedTuple

from sympy import Expr, Integer

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


class _Directed(NamedTuple):
    """A term of a vector field, whose diagrams have arrows."""

    term: Term

    @property
    def order(self) -> int:
        """The power of η."""
        return self.term.order

    @property
    def diagrams(self) -> tuple[Any, ...]:
        """The diagrams of the term."""
        return tuple(diagram.with_arrows() for diagram in self.term.diagrams)


class Faces:
    """The faces of a `Formula`; it is the only class that has them."""

    terms: tuple[Term, ...]
    spacetimes: tuple[Spacetime, ...]
    metric: Any
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
        field: bool = False,
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
            field: whether to write it for a vector field u (a `FiniteField` or `Field`) instead of a loss: in u^μ,
                ∂_ν u^μ, … and their cumulants, with the powers of η. A metric of the formula is part of u then.

        Raises:
            TypeError: if an argument is of another kind.
            ValueError: if the environment is unknown, the width is below 20 em, or sums are asked of a formula with
                a metric, where indices are raised by it; for a field, if the formula is of a loss, or resummed, or with
                sums.

        Example:
            >>> import taylorsgd as ts
            >>> f = ts.derive(ts.TestLoss(), ts.GD(), order=1)
            >>> print(f.latex())
            \mathbb{E}\left[l(\theta_{T})\right] = l - T G_{\mu} G^{\mu} + O(\eta^{2})
            >>> print(f.latex(lhs=r"L", sums=True))
            L = l - T \eta \sum_{\mu} G_{\mu} G_{\mu} + O(\eta^{2})
        """
        return self._page(lhs, eta, sums, field).latex(width, environment)

    def text(
        self,
        width: int | None = LINE,
        *,
        lhs: bool | str = True,
        eta: bool = False,
        sums: bool = False,
        field: bool = False,
    ) -> str:
        """The formula in plain text.

        Args:
            width: the columns of a line, which ends between two terms; None for one line.
            lhs: as in `latex`.
            eta: as in `latex`.
            sums: as in `latex`.
            field: as in `latex`.

        Raises:
            TypeError: if an argument is of another kind.
            ValueError: if the width is below 1, or as for `latex`.

        Example:
            >>> import taylorsgd as ts
            >>> print(ts.derive(ts.Displacement(), ts.GD(), order=2).text(field=True))
            E[(θ_T - θ_0)^μ] = T*eta u^μ + T*eta**2*(T - 1)/2 u^ν ∂_ν u^μ + T*eta**2*(T - 1)/(2*N) κ(∂_ν u^μ, u^ν)
                + O(η^3)
            >>> print(ts.derive(ts.TestLoss(), ts.GD(), order=1).text(eta=True, lhs=False))
            l - T*eta G_μ G^μ
        """
        return self._page(lhs, eta, sums, field).text(width)

    def _repr_latex_(self) -> str:
        return self._page().display()

    def __str__(self) -> str:
        """The formula in plain text, on lines of 110 columns."""
        return self.text()

    def __repr__(self) -> str:
        """The formula in plain text, so that it reads well at a prompt."""
        return f"<Formula {self}>"

    def table(self, *, field: bool = False) -> Any:
        """A table of the terms, each with its diagrams; shows itself as HTML in a notebook, else as text.

        Args:
            field: whether it is of a vector field, as in `latex`: diagrams have arrows then, from every u^μ to where μ
                is differentiated in.

        Example:
            >>> import taylorsgd as ts
            >>> print(ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=1).table())
            order  coefficient  value    diagrams
            ─────  ───────────  ───────  ────────
                0  1            l        .
                1  -T           G_μ G^μ  (.)
            with T = N
        """
        page = self._page(field=field)
        shown: Any = page.shown
        if field:
            shown = [
                (_Directed(t), c * (-1) ** t.order * self.rate**t.order, v.directed_contraction())  # type: ignore[attr-defined]
                for t, c, v in shown
            ]
        return TermTable(shown, page.where)

    def _page(self, lhs: bool | str = True, eta: bool = False, sums: bool = False, field: bool = False) -> Page:
        eta, sums, field = switched(eta, "eta"), switched(sums, "sums"), switched(field, "field")
        if sums and field:
            raise ValueError("sums=True: a field's indices stand once up and once down; leave out sums, or field")
        if sums and self.metric is not None:
            raise ValueError("sums=True: this formula has a matrix learning rate, which raises indices; leave out sums")
        ends = {spacetime.sizes["T"] for spacetime in self.spacetimes}
        derived = ends.pop() if len(ends) == 1 else None
        return Page(self.terms, derived, stated(self, lhs), eta=eta, sums=sums, rate=self.rate, field=field)  # type: ignore[arg-type]
