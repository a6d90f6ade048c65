"""What a formula is of: expectations of observables at the end of runs, and their sums.

A formula equals a linear combination of expectations, E[l(θ_T)] or E_SGD[l(θ_T)] − E_GD[l(θ_T)]. It prints this as its
left-hand side, and whatever is computed from the formula can be checked against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import evolve, fields, frozen, has
from sympy import Expr, Integer, Symbol, cancel, latex, sstr

from taylorsgd import symbols
from taylorsgd.formulas.observables import AnyObservable, Covariance, Displacement, Observable, SecondMoment
from taylorsgd.spacetime import Spacetime
from taylorsgd.updates import Descent, Update
from taylorsgd.writing.page import joined, signed

__all__ = ["Expectation", "Expectations", "Run"]

ENDS = ("end", "limit", "drift")
"""When an expectation is taken: at the end of a run, for T → ∞, or as growth in one update."""

Texts = tuple[str, str]
"""The same in LaTeX and in plain text."""


@frozen
class Run:
    """One kind of descent: where, by which rule, and under which penalty.

    Args:
        spacetime: the spacetime.
        update: the update rule.
        penalty: what is minimized besides the losses; None for nothing.
    """

    spacetime: Spacetime
    update: Update = Descent()
    penalty: Observable | None = None

    def __str__(self) -> str:
        """The spacetime, and what is not plain about the run."""
        plain = self.update == Descent()
        rule = "" if plain else f", update={self.update!r}"
        return f"{self.spacetime!r}{rule}" + ("" if self.penalty is None else f", penalty {self.penalty.name}")

    def substitute(self, values: Mapping[Any, Expr]) -> Run:
        """The same with some symbols replaced."""
        return evolve(self, spacetime=self.spacetime.substitute(values), update=_replaced(self.update, values))

    def differs_from(self, other: Run) -> str | None:
        """In what two runs differ, as far as their sizes are numbers; None if in nothing."""
        mine, yours = self.spacetime, other.spacetime
        if type(mine) is not type(yours):
            return f"{mine!r} is not {yours!r}"
        for name, size in mine.sizes.items():
            another = yours.sizes.get(name, size)
            if size.is_number and another.is_number and size != another:
                return f"{name}={size} is not {name}={another}"
        for field in fields(type(mine)):
            one, two = getattr(mine, field.name), getattr(yours, field.name)
            if not isinstance(one, Expr) and one != two:
                return f"{mine!r} is not {yours!r}"
        if not _may_be_equal(self.update, other.update):
            return f"update={self.update!r} is not update={other.update!r}"
        if self.penalty != other.penalty:
            return f"penalty={self.penalty!r} is not penalty={other.penalty!r}"
        return None


@frozen
class Expectation:
    """The expectation of an observable over the training sets and orders of a run.

    Args:
        observable: what is observed.
        run: of which run.
        ends: when: at the end ("end"), for T → ∞ ("limit"), or as growth in one update ("drift").
    """

    observable: AnyObservable
    run: Run
    ends: str = "end"

    def __str__(self) -> str:
        """In words: the observable and the run."""
        when = {"end": "", "limit": ", T → ∞", "drift": ", its growth per update"}[self.ends]
        return f"{self.observable!r} of {self.run}{when}"

    def substitute(self, values: Mapping[Any, Expr]) -> Expectation:
        """The same with some symbols replaced."""
        observable = self.observable
        times = getattr(observable, "times", None)
        if isinstance(observable, (SecondMoment, Covariance)) and times is not None:
            replaced = tuple(time if time is None else time.xreplace(values) for time in times)
            observable = type(observable)(observable.a, observable.b, replaced)  # type: ignore[arg-type]
        return evolve(self, observable=observable, run=self.run.substitute(values))

    @property
    def free_symbols(self) -> set[Symbol]:
        """The symbols of the times at which is observed."""
        times = getattr(self.observable, "times", None) or ()
        return {symbol for time in times if time is not None for symbol in time.free_symbols}

    def differs_from(self, other: Expectation) -> str | None:
        """In what two expectations differ; None if in nothing."""
        if self.observable != other.observable:
            return f"{self.observable!r} is not {other.observable!r}"
        if self.ends != other.ends:
            return f"{self} is not {other}"
        return self.run.differs_from(other.run)

    def written(self, end: Expr = symbols.T, label: str = "") -> Texts:
        """The left-hand side in LaTeX and in plain text.

        Args:
            end: how the number of updates is written.
            label: what tells this run from others in a sum.
        """
        return self._written(True, end, label), self._written(False, end, label)

    def _before_end(self, time: Expr | None) -> Expr:
        """How much earlier than the last observation a time is."""
        end, times = self.run.spacetime.sizes["T"], getattr(self.observable, "times", None)
        first, last = (
            end if moment is None else moment.subs(symbols.T, end) for moment in (time, (times or (0, None))[1])
        )
        return Integer(0) if time is None else cancel(last - first)

    def _written(self, is_latex: bool, end: Expr, label: str) -> str:
        def theta(time: Expr | None) -> str:
            if self.ends == "limit":
                lag = self._before_end(time)
                if lag == 0:
                    return r"\theta_{\infty}" if is_latex else "θ_∞"
                return rf"\theta_{{\infty - {latex(lag)}}}" if is_latex else f"θ_(∞ - {lag})"
            if is_latex:
                return rf"\theta_{{{latex(end if time is None else time)}}}"
            written = sstr(end if time is None else time)
            return f"θ_{written}" if written.isalnum() else f"θ_({written})"

        mark = (rf"_{{\mathrm{{{label}}}}}" if is_latex else f"_{label}") if label else ""
        opening, closing = (r"\left[", r"\right]") if is_latex else ("[", "]")
        mean = (r"\mathbb{E}" if is_latex else "E") + mark + opening
        observable = self.observable
        if self.ends == "drift" and isinstance(observable, Displacement):
            return f"{mean}{theta(end + 1)} - {theta(end)}{closing}" + (r"^{\mu}" if is_latex else "^μ")
        growth = "" if self.ends != "drift" else r"\frac{d}{dT} " if is_latex else "d/dT "
        if not isinstance(observable, (SecondMoment, Covariance)):
            return f"{growth}{mean}{observable.at(theta(None), is_latex, 0)}{closing}"
        first, second = observable.times or (None, None)
        a, b = observable.a.at(theta(first), is_latex, 0), observable.b.at(theta(second), is_latex, 1)
        if isinstance(observable, SecondMoment):
            a, b = (f"({one})" if " - " in one and not one.startswith("(") else one for one in (a, b))
            return f"{growth}{mean}{a} {b}{closing}"
        name, inside = ("Var", a) if a == b else ("Cov", f"{a}, {b}")
        return growth + (rf"\mathrm{{{name}}}" if is_latex else name) + mark + opening + inside + closing


@frozen
class Expectations:
    """A linear combination of expectations with exact coefficients: what a formula equals.

    Args:
        parts: the expectations, each with its coefficient.
        assumed: what was assumed on the way, such as "minimum".
        altered: whether terms were changed by hand: then the formula is meant to equal them, and does not.
    """

    parts: tuple[tuple[Expectation, Expr], ...]
    assumed: tuple[str, ...] = ()
    altered: bool = False

    @classmethod
    def of(cls, observable: AnyObservable, run: Run) -> Expectations:
        """A single one."""
        return cls(((Expectation(observable, run), Integer(1)),))

    @property
    def only(self) -> Expectation | None:
        """The expectation, if there is just one and it is not scaled."""
        return self.parts[0][0] if len(self.parts) == 1 and self.parts[0][1] == 1 else None

    def __add__(self, other: Expectations) -> Expectations | None:
        """The sum; None if nothing is left of it."""
        merged: dict[Expectation, Expr] = {}
        for part, coefficient in (*self.parts, *other.parts):
            merged[part] = merged.get(part, Integer(0)) + coefficient
        parts = tuple((part, coefficient) for part, coefficient in merged.items() if coefficient != 0)
        assumed = tuple(dict.fromkeys((*self.assumed, *other.assumed)))
        return Expectations(parts, assumed, self.altered or other.altered) if parts else None

    def __mul__(self, scale: Expr) -> Expectations | None:
        """All of them times a number."""
        return None if scale == 0 else evolve(self, parts=tuple((part, scale * c) for part, c in self.parts))

    def substitute(self, values: Mapping[Any, Expr]) -> Expectations:
        """The same with some symbols replaced."""
        parts = ((part.substitute(values), c.xreplace(values)) for part, c in self.parts)
        return evolve(self, parts=tuple(parts))

    def ending(self, ends: str) -> Expectations:
        """The same for T → ∞ ("limit"), or as growth in one update ("drift")."""
        return evolve(self, parts=tuple((evolve(part, ends=ends), c) for part, c in self.parts))

    def assuming(self, assumptions: Iterable[str]) -> Expectations:
        """The same under assumptions."""
        return evolve(self, assumed=tuple(dict.fromkeys((*self.assumed, *assumptions))))

    @property
    def free_symbols(self) -> set[Symbol]:
        """The symbols of the times at which is observed."""
        return {symbol for part, _ in self.parts for symbol in part.free_symbols}

    @property
    def names_T(self) -> bool:
        """Whether the left side speaks of T: all runs have one number of updates, which is no number yet."""
        return self._end == symbols.T and any(part.ends == "end" for part, _ in self.parts)

    @property
    def _end(self) -> Expr | None:
        """How the number of updates is written in all runs alike; None if they differ in it."""
        ends = {part.run.spacetime.sizes["T"] for part, _ in self.parts}
        if len(ends) > 1:
            return None
        (end,) = ends
        return end if end.is_number else symbols.T

    def written(self) -> Texts:
        """The left-hand side in LaTeX and in plain text."""
        labels = _labels([part.run for part, _ in self.parts])
        found: list[list[str]] = [[], []]
        for (part, c), label in zip(self.parts, labels, strict=True):
            texts = part.written(part.run.spacetime.sizes["T"] if self._end is None else self._end, label)
            for side, text, write in zip(found, texts, (latex, sstr), strict=True):
                side.append(signed(c, text, write))
        return joined(found[0]), joined(found[1])

    @property
    def heading(self) -> str:
        """The left-hand side in plain text, and whether terms were altered."""
        return self.written()[1] + (", altered by hand" if self.altered else "")

    def __str__(self) -> str:
        """In words, for errors."""
        parts = (str(part) if c == 1 else f"{c} times {part}" if c != -1 else f"minus {part}" for part, c in self.parts)
        return ", ".join(parts) + (", altered by hand" if self.altered else "")


def _labels(runs: list[Run]) -> list[str]:
    """For every run a short name that tells it from the others; none if all are the same."""
    if len(set(runs)) == 1:
        return [""] * len(runs)
    namings: list[Callable[[Run], str]] = [
        lambda run: type(run.spacetime).__name__,
        lambda run: type(run.update).__name__,
        lambda run: f"{type(run.update).__name__} on {type(run.spacetime).__name__}",
    ]
    for name in namings:
        if len({name(run) for run in runs}) == len(set(runs)):
            return [name(run) for run in runs]
    number = {run: str(i) for i, run in enumerate(dict.fromkeys(runs), start=1)}
    return [number[run] for run in runs]


def _replaced(made: Any, values: Mapping[Any, Expr]) -> Any:
    """A frozen object of parameters with some symbols of these replaced."""
    if isinstance(made, Expr):
        return made.xreplace(values)
    if isinstance(made, tuple):
        return tuple(_replaced(entry, values) for entry in made)
    if not has(type(made)):
        return made
    entries = {field.name: getattr(made, field.name) for field in fields(type(made))}
    changed = {name: _replaced(entry, values) for name, entry in entries.items()}
    return evolve(made, **changed) if changed != entries else made


def _may_be_equal(one: Any, two: Any) -> bool:
    """Whether two rules are equal, or can be made so by numbers for symbols."""
    if isinstance(one, Expr) and isinstance(two, Expr):
        return one == two or not (one.is_number and two.is_number)
    if type(one) is not type(two):
        return False
    if isinstance(one, tuple):
        return len(one) == len(two) and all(map(_may_be_equal, one, two))
    if not has(type(one)):
        return one == two
    return all(_may_be_equal(getattr(one, field.name), getattr(two, field.name)) for field in fields(type(one)))
