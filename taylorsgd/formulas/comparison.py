"""Which values two formulas share, and where they differ, after equally many updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from sympy import Expr, Integer, Symbol, cancel, factor, latex, simplify, solve, sstr

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram
from taylorsgd.display import Raw, html_table, text_table
from taylorsgd.formulas.size_powers import in_updates
from taylorsgd.formulas.sizes import substituted
from taylorsgd.formulas.term import AnyValue, Combination, Term

__all__ = ["FormulaComparison", "Row", "compared"]


@dataclass(frozen=True)
class Row:
    """One value in two formulas.

    Attributes:
        value: the value.
        first: its coefficient in the first formula, 0 if it is not there.
        second: its coefficient in the second.
        diagrams: the diagrams that have the value, in either.
    """

    value: AnyValue
    first: Expr
    second: Expr
    diagrams: tuple[Diagram, ...]

    @cached_property
    def difference(self) -> Expr:
        """The first coefficient minus the second, in factored form; 0 exactly where they agree."""
        difference = cast(Expr, factor(cancel(self.first - self.second)))
        # a quotient of polynomials is 0 by now, if it is
        if not difference.is_rational_function() and simplify(difference) == 0:
            return Integer(0)
        return difference


@dataclass(frozen=True)
class FormulaComparison:
    """Two formulas side by side, value by value; shows itself as HTML in a notebook, else as text.

    Attributes:
        rows: every value of either, by order and then from few ties to many.
        sizes: what was put in for sizes so that both make T updates.
        names: what the formulas are called: their spacetimes.
    """

    rows: tuple[Row, ...]
    sizes: dict[Symbol, Expr]
    names: tuple[str, str]

    @property
    def shared(self) -> tuple[Row, ...]:
        """The values with equal coefficients."""
        return tuple(row for row in self.rows if row.difference == 0)

    @property
    def differing(self) -> tuple[Row, ...]:
        """The values in both whose coefficients differ."""
        return tuple(row for row in self.rows if row.difference != 0 and row.first != 0 and row.second != 0)

    @property
    def only_first(self) -> tuple[Row, ...]:
        """The values that only the first formula has."""
        return tuple(row for row in self.rows if row.second == 0 and row.first != 0)

    @property
    def only_second(self) -> tuple[Row, ...]:
        """The values that only the second formula has."""
        return tuple(row for row in self.rows if row.first == 0 and row.second != 0)

    @property
    def at(self) -> str:
        """At which sizes the formulas are compared, in words."""
        said = ", ".join(f"{size} = {sstr(value)}" for size, value in self.sizes.items())
        return f"at equal T{f', with {said}' if said else ''}"

    def _groups(self) -> list[tuple[str, Sequence[Row]]]:
        return [
            ("shared", self.shared),
            ("differ", self.differing),
            ("only in the first", self.only_first),
            ("only in the second", self.only_second),
        ]

    def _title(self) -> str:
        return f"first: {self.names[0]}, second: {self.names[1]}, {self.at}"

    def __str__(self) -> str:
        """The table in plain text."""
        rows = [
            (
                name,
                str(row.value),
                *map(sstr, (row.first, row.second, row.difference)),
                "  ".join(map(str, row.diagrams)),
            )
            for name, group in self._groups()
            for row in group
        ]
        return self._title() + "\n" + text_table(["", "value", "first", "second", "difference", "diagrams"], rows)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [
            (
                name,
                *(f"${written}$" for written in _written(row)),
                Raw(" ".join(diagram.svg() for diagram in row.diagrams)),
            )
            for name, group in self._groups()
            for row in group
        ]
        return html_table(["", "value", "first", "second", "difference", "diagrams"], rows) + f"<p>{self._title()}</p>"

    def latex(self) -> str:
        r"""The table as a LaTeX `array`: values, both coefficients and their difference.

        Example:
            >>> import taylorsgd as ts
            >>> f, g = (ts.derive(ts.TestLoss(), s, order=1) for s in (ts.SGD(), ts.GD()))
            >>> print(f.compare(g).latex())
            \begin{array}{llll}
            \text{value} & \text{first} & \text{second} & \text{difference} \\
            l & 1 & 1 & 0 \\
            G_{\mu} G^{\mu} & - T & - T & 0
            \end{array}
        """
        head = " & ".join(rf"\text{{{name}}}" for name in ("value", "first", "second", "difference"))
        body = [" & ".join(_written(row)) for _, group in self._groups() for row in group]
        return "\\begin{array}{llll}\n" + " \\\\\n".join([head, *body]) + "\n\\end{array}"


def _written(row: Row) -> list[str]:
    return [row.value.latex(), *(latex(number) for number in (row.first, row.second, row.difference))]


def compared(first: Combination, second: Any) -> FormulaComparison:
    """Compare two formulas after equally many updates; see `Formula.compare`."""
    if not isinstance(second, Combination):
        raise TypeError(f"compare({second!r}): give another Formula")
    for name in ("indices", "metric", "rate"):
        mine, yours = getattr(first, name), getattr(second, name)
        if mine != yours:
            raise ValueError(f"compare: these formulas have {name} {mine} and {yours}; only equal ones compare")
    for name in first.observables.keys() & second.observables.keys():
        if first.observables[name] != second.observables[name]:
            raise ValueError(f"compare: both formulas observe something called {name!r}; give one another name")
    sizes = _equal_updates(first, second)
    found: dict[AnyValue, tuple[list[Expr], dict[Diagram, None]]] = {}
    for which, formula in enumerate((first, second)):
        for term in formula.terms:
            put = _put(term, sizes)
            numbers, diagrams = found.setdefault(put.value, ([Integer(0), Integer(0)], {}))
            numbers[which] = numbers[which] + put.coefficient
            diagrams |= dict.fromkeys(put.diagrams)
    rows = tuple(
        Row(value, factor(found[value][0][0]), factor(found[value][0][1]), tuple(found[value][1]))
        for value in sorted(found, key=lambda value: value.sort_key)
    )
    names = [" and ".join(map(repr, formula.spacetimes)) or "a formula" for formula in (first, second)]
    return FormulaComparison(
        tuple(row for row in rows if row.first != 0 or row.second != 0), sizes, (names[0], names[1])
    )


def _put(term: Term, sizes: dict[Symbol, Expr]) -> Term:
    return Term(substituted(term.coefficient, sizes), term.value.substitute(sizes), term.diagrams)


def _equal_updates(*formulas: Combination) -> dict[Symbol, Expr]:
    """What to put in for sizes so that all spacetimes make equally many updates, T; a name is one size in all."""
    updates = [spacetime.sizes["T"] for formula in formulas for spacetime in formula.spacetimes]
    sizes: dict[Any, Any] = {}
    target: Expr = next((T for T in updates if T.is_number), symbols.T)
    for T in updates:
        here = cancel(T.subs(sizes, simultaneous=True))
        if here == target:
            continue
        known = in_updates(here) if target == symbols.T else {}
        step: dict[Any, Any] = known or _solved(here, target)
        if not step:
            raise ValueError(
                f"compare: these formulas make {' and '.join(map(str, dict.fromkeys(updates)))} updates, which "
                "can't be equal; give sizes with subs() that make them so, or subtract one formula from the other"
            )
        sizes = {size: cancel(value.subs(step, simultaneous=True)) for size, value in sizes.items()} | step
    return {size: value for size, value in sizes.items() if size != value}


def _solved(here: Expr, target: Expr) -> dict[Any, Any]:
    """The first size that makes an expression the target; empty if none does."""
    for size in (symbols.T, symbols.E, symbols.N, symbols.B, *sorted(here.free_symbols, key=str)):
        if size in here.free_symbols:
            roots = solve(here - target, size)
            if len(roots) == 1 and roots[0] != 0 and not (roots[0].is_number and not roots[0].is_Integer):
                return {size: roots[0]}
    return {}
