"""What one asks of a formula once it is there: its terms, a coefficient, how it compares, what is left, its source.

The answers are loaded when they are asked for: they are half as much code as all the rest that derives a formula.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sympy import Expr

from taylorsgd.formulas.term import Term

if TYPE_CHECKING:
    from typing import Self

    from taylorsgd.formulas.comparison import FormulaComparison

__all__ = ["Questions"]


class Questions:
    """The questions that a `Formula` answers; it is the only class that asks for them."""

    terms: tuple[Term, ...]

    def __iter__(self) -> Iterator[Term]:
        """The terms, by order and then from few ties to many; `f[d]` is the part of order d.

        Example:
            >>> import taylorsgd as ts
            >>> f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=1)
            >>> len(f), [str(term) for term in f]
            (2, ['l', '-N G_μ G^μ'])
        """
        return iter(self.terms)

    def __len__(self) -> int:
        """The number of terms; the formula 0 has none."""
        return len(self.terms)

    def coefficient(self, which: Any) -> Expr:
        r"""The coefficient of one value.

        Args:
            which: a value; or a diagram, for the coefficient of the value that it has (with all other diagrams of that
                value); or a text: "G_μ G^μ" with any letters (LaTeX, Unicode or names such as C_mu_nu), or in short
                "G G", "C H", "∇C G", without indices.

        Returns:
            The coefficient, so that coefficient × text is the term: that of "∇_μ C^ν_ν G^μ" is half that of the value
            ½ ∇_μ C^ν_ν G^μ. 0 for a value or a diagram that the formula does not have.

        Raises:
            TypeError: if `which` is none of these.
            ValueError: if a text can't be read, names no value of the formula (it lists what there is; a misprint
                should not read as 0), or fits several (it lists them).

        Example:
            >>> import taylorsgd as ts
            >>> f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)
            >>> f.coefficient("C H"), f.coefficient(r"C_{\mu\nu} H^{\mu\nu}"), f.coefficient(ts.Diagram((-1, 0)))
            (N/2, N/2, -N)
        """
        from taylorsgd.formulas.lookup import coefficient_of

        return coefficient_of(self, which)  # type: ignore[arg-type]

    def leading(self, size: Any) -> Self:
        """The leading part as one size grows and the others stay fixed.

        A coefficient tends to a·size^p. Each is replaced by its a·size^p, and of the terms of one order in η those
        with the greatest p of that order are kept. What stays are the sizes that the coefficients are written in; for
        the derived T of SGD they are N and B, and E = T·B/N (in one epoch N = T·B/E grows along with T). The formula
        differs from its leading part by a factor 1 + O(1/size) on each value that is kept.

        Args:
            size: the name or the symbol of what grows: "N", "T", "E", "B", or another symbol of the coefficients.

        Raises:
            ValueError: if no size of the formula has that name.
            NotImplementedError: if a coefficient has no leading power, or a resummed value depends on the size.

        Example:
            >>> import taylorsgd as ts
            >>> f = ts.derive(ts.TestLoss(), ts.GD(), order=2)
            >>> print(f[2])
            T*(2*T - 1)/2 G_μ H^μ_ν G^ν + T*(T - 1)/(4*N) (∇_μ C^ν_ν) G^μ + T**2/(2*N) C_μν H^μν
            >>> print(f[2].leading("T"))
            T**2 G_μ H^μ_ν G^ν + T**2/(4*N) (∇_μ C^ν_ν) G^μ + T**2/(2*N) C_μν H^μν
            >>> print(f[2].leading("N"))
            T*(2*T - 1)/2 G_μ H^μ_ν G^ν
        """
        formula: Any = self
        from taylorsgd.formulas.leading_part import leading_terms

        terms, replaced = leading_terms(formula, size)
        places = [spacetime.substitute(replaced) for spacetime in formula.spacetimes]
        return type(formula)(terms, places, formula.observables, formula.indices, formula.metric, formula.rate)

    def compare(self, other: Any) -> FormulaComparison:
        """Which values two formulas share, and where they differ, after equally many updates T.

        A size of one name is one size in both. Where T is derived, as in SGD, E is put as T·B/N (in one epoch N as
        T·B/E) in both formulas, before coefficients are compared; `.at` and `.sizes` say so. Resummed values are equal
        only with equal sums over times.

        Args:
            other: a formula of the same kind, of any dynamics.

        Returns:
            A `FormulaComparison` with `.shared`, `.differing`, `.only_first`, `.only_second`: rows with `.value`,
            `.first`, `.second`, `.difference`, `.diagrams`. It is a table in text, HTML and LaTeX.

        Raises:
            TypeError: if `other` is no formula.
            ValueError: if the formulas are of different kinds, or can't make equally many updates.

        Example:
            >>> import taylorsgd as ts
            >>> sgd, gd = (ts.derive(ts.Displacement(), s, order=2) for s in (ts.SGD(B=1, E=1), ts.GD()))
            >>> print(sgd.compare(gd))
            first: SGD(N=N, B=1, E=1), second: GD(N=N, T=T), at equal T, with N = T
                                value        first        second       difference  diagrams
            ──────────────────  ───────────  ───────────  ───────────  ──────────  ────────
            shared              G^μ          -T           -T           0           (.)
            shared              H^μ_ν G^ν    T*(T - 1)/2  T*(T - 1)/2  0           ((.))
            only in the second  ½ ∇^μ C^ν_ν  0            (T - 1)/2    -(T - 1)/2  (a(a))
        """
        formula: Any = self
        from taylorsgd.formulas.comparison import compared

        return compared(formula, other)

    def to_python(self, backend: str = "numpy", name: str = "formula") -> str:
        """The source of a Python function that computes the formula, standing alone.

        It imports NumPy or JAX and nothing else. Its arguments are the dense tensors at θ_0, named as in `to_sympy`
        (G, H, J, C, S, D4, kappa_1_2, s_1, and `loss` for l; of a cumulant the axes of the lowest degree first),
        then by keyword `eta` and the free sizes. Its docstring holds the formula and all shapes. Exact fractions are
        written as p/q. A resummed formula diagonalizes H; there T must be a number even with JAX.

        Args:
            backend: "numpy" or "jax".
            name: what the function is called.

        Raises:
            TypeError: if the name is no text.
            ValueError: if the backend is another, or the name is none; for the vector or matrix 0.
            NotImplementedError: for resummed formulas on a grid, with memory or a matrix learning rate, and for
                drifts: what has no closed form in the eigenvalues.

        Example:
            >>> import numpy as np, taylorsgd as ts
            >>> source = ts.derive(ts.TestLoss(), ts.SGD(), order=1).to_python()
            >>> print(source[source.index("    N = ") :])
                N = 1.0 * N
                total = 0.0
                # l
                total = total + loss
                # G_μ G^μ
                total = total + (-E*N/B) * eta * einsum("a,a->", G, G)
                return total
            <BLANKLINE>
            >>> exec(source)
            >>> print(formula(2.0, np.array([1.0, 2.0]), eta=0.1, N=4, B=2, E=1))
            1.0
        """
        formula: Any = self
        from taylorsgd.formulas.source_writing import python_source

        return python_source(formula, backend, name)
