"""What every spacetime answers: which diagrams it embeds, how often, and what its sizes are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import cache, lru_cache
from itertools import product
from math import factorial, prod
from typing import Any, ClassVar, NamedTuple, Self, SupportsIndex

from attrs import evolve, fields
from sympy import QQ, Expr, Integer, Mul, Rational, Symbol, cancel, factor, nan, oo, zoo
from sympy.core.mul import _keep_coeff
from sympy.polys.fields import FracElement, sfield
from sympy.polys.rings import PolyElement, ring

from taylorsgd.arguments import as_whole, is_one_of, pairs_of
from taylorsgd.diagrams import Diagram
from taylorsgd.exact_numbers import as_exact, exact_argument
from taylorsgd.timesums.cells import CellSum, Way
from taylorsgd.timesums.events import TimeSum, sum_of_events
from taylorsgd.timesums.orders import surjections
from taylorsgd.timesums.two_clocks import TwoClocks
from taylorsgd.timesums.walking import plain_system, sum_over_cells

__all__ = [
    "BATCHES", "EPOCHS", "FIELD", "INVERSE_BATCH", "INVERSE_ROWS", "RING", "Batches", "Count", "Placement",
    "ResummedPlacement", "Size", "Spacetime", "binomial_polynomial", "by_tree", "factored", "fresh_or_fixed",
    "placed_nodes", "placed_parts", "row_ways", "size",
]  # fmt: skip

Size = SupportsIndex | Expr | None
"""What a constructor takes for a size: an integer, an expression, or None for the symbol."""

Batches = tuple[tuple[int, ...], ...]
"""The rows in the batch of every update."""

Count = PolyElement | FracElement
"""A count: an element of `RING` or of its field."""

RING, BATCHES, EPOCHS, INVERSE_BATCH, INVERSE_ROWS = ring("n,e,b,c", QQ)
"""Exact counts: polynomials in n (batches per epoch; the time T of a flow), e (epochs), b = 1/B, c = 1/N."""
FIELD = RING.to_field()
"""Quotients of these, where averages over orders bring 1/(N − 1)."""


class Placement(NamedTuple):
    """One way to place a diagram whatever the sizes are.

    Attributes:
        number: what multiplies the sum over times, an element of `RING`.
        times: the events that the diagram's nodes make, and the edges between them.
    """

    number: PolyElement
    times: TimeSum


class ResummedPlacement(NamedTuple):
    """One way to place a linkless diagram, whose edges carry powers of K.

    Attributes:
        number: what multiplies the sum over times.
        times: the sum over times: of one clock or of two, or cell by cell.
    """

    number: Count
    times: TimeSum | TwoClocks | CellSum


@cache
def binomial_polynomial(x: PolyElement, k: int) -> PolyElement:
    """The binomial coefficient C(x, k) as a polynomial in a generator of `RING`."""
    binomial: Any = prod(((x - i) / (i + 1) for i in range(k)), start=RING.one)
    return binomial


class Spacetime(ABC):
    """The cells in which an optimizer's updates meet training points; a frozen class of its sizes.

    A spacetime says how a diagram may be placed in it: `placements` in the symbols of its sizes, `ways` where these
    are numbers, and `histories` from its plain definition, which the others are tested against.
    """

    tied_ancestors: ClassVar[bool] = True
    """Whether a diagram with a node tied to its own ancestor can have embeddings."""
    largest_part: ClassVar[int | None] = None
    """The most nodes in a part of a diagram with embeddings; None for no limit."""
    has_training_set: ClassVar[bool] = True
    """Whether there are training points to take a training loss on."""
    is_flow: ClassVar[bool] = False
    """Whether time flows, and sums over it are integrals; without noise if no part has two nodes."""
    clock: ClassVar[PolyElement] = BATCHES
    """The generator of `RING` that stands for T in placements."""

    random: bool = False
    """Whether chance fills the batches: then trees without a common part are correlated, too."""
    data: str = "fresh"
    """Whether training sets are averaged over ("fresh"), or the landscape is the one training set ("fixed")."""

    def placements(self, diagram: Diagram, instant: frozenset[int] = frozenset()) -> Iterator[Placement] | None:
        """Yield the ways to place a diagram, if events need no other times than 0, …, T − 1, or a flow's.

        Args:
            diagram: the diagram.
            instant: nodes whose outgoing edges carry no time.

        Returns:
            The placements, whose sums over times are to be multiplied by their counts and added up to Z(D) / B^|D|;
            None where times have more structure, as in several epochs.
        """
        return None

    def ways(self, diagram: Diagram, instant: frozenset[int] = frozenset()) -> Iterator[Way]:
        """Yield the ways to place a diagram where all sizes are numbers; they add up to Z(D).

        With fixed data they multiply the product of the parts' empirical moments.

        Raises:
            NotImplementedError: for dynamics without cells.
        """
        raise NotImplementedError(f"{self} has no cells; supported are SGD, GD, Replacement and Grid")

    def histories(self) -> Iterator[tuple[Fraction, Batches]]:
        """Yield every sequence of batches with its chance, by definition; slow, and all sizes must be numbers.

        Raises:
            NotImplementedError: for dynamics without batches.
        """
        raise NotImplementedError(f"{type(self).__name__} has no batches; supported are SGD, GD, Replacement and Grid")

    @property
    def log_histories(self) -> float:
        """About how many histories are gone through one by one, as a power of ten; all sizes must be numbers."""
        return 0.0

    def draw(self, keys: Any) -> Any:
        """Draw the batches of some trials.

        Args:
            keys: a JAX random key for every trial.

        Returns:
            The rows in every batch, integers (trials, T, B); or (T, B) where there is but one history.

        Raises:
            NotImplementedError: for dynamics without batches.

        Example:
            >>> import taylorsgd as ts
            >>> ts.SGD(N=4, B=2, E=1).draw(None).tolist()
            [[0, 1], [2, 3]]
        """
        import numpy as np

        chances, batches = zip(*self.histories(), strict=True)
        shape = [int(self.sizes[name]) for name in ("T", "B")]
        rows = np.array(batches, dtype=int).reshape(len(chances), *shape)
        if len(chances) == 1:
            return rows[0]
        import jax

        p = np.array(chances, dtype=float)
        return jax.numpy.asarray(rows)[jax.vmap(lambda key: jax.random.choice(key, len(p), p=p))(keys)]

    def weight(self, diagram: Diagram) -> Count:
        """Z(D) / B^|D| as an element of `RING` or its field; without placements, a number.

        With fixed data, what multiplies the product of the parts' empirical moments instead.
        """
        placements = self.placements(diagram)
        if placements is not None:
            return _total(number * self.orders(times) for number, times in placements)
        updates, batch = (int(self.sizes[name]) for name in ("T", "B"))
        ends, system = [updates] * diagram.order, plain_system(updates)
        total = sum((way.number * sum_over_cells(way, system, ends) for way in self.ways(diagram)), Fraction(0))
        return RING(total) / batch**diagram.order

    def orders(self, times: TimeSum) -> PolyElement:
        """In how many ways events can be put at times, or the volume of those in a flow."""
        levels = surjections(times.lattice.below)
        if levels is None:
            return RING.zero
        if self.is_flow:  # only those without ties have volume
            return self.clock**times.events * levels[-1] / factorial(times.events)
        return _total(binomial_polynomial(self.clock, k) * s for k, s in enumerate(levels) if s)

    def cell_sum(self, instant: frozenset[int] = frozenset()) -> CellSum | None:
        """The sum over the cells of this run; None if a size is a symbol, or there are no cells."""
        known = all(size.is_number for size in self.sizes.values())
        return CellSum(self, instant) if known and not self.is_flow else None

    def resummed_placements(
        self, diagram: Diagram, instant: frozenset[int] = frozenset()
    ) -> Iterable[ResummedPlacement] | None:
        """The ways to place a linkless diagram, whose edges carry powers of K.

        Args:
            diagram: the diagram.
            instant: nodes whose outgoing edges carry no time.

        Returns:
            As `placements`; else the sum over the cells where all sizes are numbers; None where neither is there.
        """
        placements = self.placements(diagram, instant)
        if placements is not None:
            return (ResummedPlacement(*placement) for placement in placements)
        cells = self.cell_sum(instant)
        return None if cells is None else [ResummedPlacement(INVERSE_BATCH**diagram.order, cells)]

    def correlated_placements(
        self, diagram: Diagram, instant: frozenset[int] = frozenset()
    ) -> Iterable[ResummedPlacement] | None:
        """What the covariance of two trees without a common part sums, where chance fills the batches.

        Args:
            diagram: the diagram.
            instant: nodes whose outgoing edges carry no time.

        Returns:
            The ways to place both in one run, less those to place each in a run of its own.
        """
        return None

    @property
    @abstractmethod
    def sizes(self) -> dict[str, Expr]:
        """The sizes that the user may name, the derived ones included, in the free symbols."""

    def _generators(self) -> tuple[Expr, Expr, Expr, Expr]:
        """What the generators of `RING` stand for here."""
        sizes = self.sizes
        return cancel(sizes["N"] / sizes["B"]), sizes.get("E", Integer(1)), 1 / sizes["B"], 1 / sizes["N"]

    @property
    def free_symbols(self) -> tuple[Symbol, ...]:
        """The symbols that the sizes are written in, in a fixed order."""
        found: dict[Symbol, None] = {}
        for expression in self.sizes.values():
            found.update(dict.fromkeys(sorted(expression.free_symbols, key=str)))  # type: ignore[arg-type]
        return tuple(found)

    def expression(self, count: Count) -> Expr:
        """Write a count in the sizes of this spacetime, factored."""
        return _written(self, count)

    def embeddings(self, diagram: Diagram) -> Expr:
        """The number Z(D) of embeddings of a diagram, exact and in the sizes' own symbols.

        Example:
            >>> import taylorsgd as ts
            >>> chain, fork = ts.Diagram((-1, 0, 1)), ts.Diagram((-1, 0, 0), (0, 1, 1))
            >>> ts.SGD(B=1).embeddings(chain)
            E*N*(E*N - 1)/2
            >>> ts.SGD(N=6, B=2, E=3).embeddings(fork)
            54

        Raises:
            TypeError: if it is no diagram.
        """
        if not isinstance(diagram, Diagram):
            raise TypeError(f"diagram={diagram!r} is not a Diagram")
        weight = self.weight(diagram)
        return factor(self.expression(weight) * self._generators()[2] ** (-diagram.order))

    def __repr__(self) -> str:
        """The constructor's call, without what has its default."""
        entries = {field.name: getattr(self, field.name) for field in fields(type(self))}
        shown = {name: value for name, value in entries.items() if value is not False and value != "fresh"}
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in shown.items())})"

    def substitute(self, values: Mapping[Any, Any]) -> Self:
        """The same dynamics with some symbols of its sizes replaced.

        Raises:
            TypeError: if `values` is no mapping from symbols to numbers or expressions.
            ValueError: if a size becomes impossible.
        """
        given: dict[Any, Expr] = {}
        for key, value in pairs_of(values, "values"):
            if not isinstance(key, Symbol):  # SymPy would run a text
                raise TypeError(f"values holds {key!r}: only symbols are replaced")
            given[key] = exact_argument(value, str(key))
        changed = {
            field.name: value.xreplace(given)
            for field in fields(type(self))
            if isinstance(value := getattr(self, field.name), Expr)
        }
        return evolve(self, **changed)


@lru_cache(maxsize=64)
def _stand_for(spacetime: Spacetime) -> list[FracElement]:
    """What the generators stand for, in the field of the sizes: asked once for every coefficient of a formula."""
    return sfield(spacetime._generators())[1]


def _in_sizes(count: PolyElement, numbers: list[FracElement]) -> FracElement:
    """A count with the sizes put in."""
    field = numbers[0].field
    total = field.zero
    for exponents, coefficient in count.terms():
        term = field(coefficient.numerator) / field(coefficient.denominator)
        for number, exponent in zip(numbers, exponents, strict=True):
            if exponent:
                term = term * number**exponent
        total = total + term
    return total


def _at(count: PolyElement, numbers: list[Any]) -> Any:
    """A count where all sizes are numbers."""
    total = QQ.zero
    for exponents, coefficient in count.terms():
        for number, exponent in zip(numbers, exponents, strict=True):
            if exponent:
                coefficient *= number**exponent
        total += coefficient
    return total


def factored(quotient: FracElement) -> Expr:
    """A quotient of polynomials with integer coefficients, each a product of its factors.

    Example:
        >>> from taylorsgd.symbols import N, T
        >>> factored(sfield((T**2 - T) / N)[1])
        T*(T - 1)/N
    """
    above, factors = quotient.numer.factor_list()
    below, divisors = quotient.denom.factor_list()
    powers = [part.as_expr() ** k for part, k in factors] + [part.as_expr() ** -k for part, k in divisors]
    return _keep_coeff(Rational(int(above), int(below)), Mul(*powers))


def _total(polynomials: Iterable[Any]) -> Any:
    return sum(polynomials, RING.zero)


def placed_parts(diagram: Diagram, instant: frozenset[int]) -> Iterator[Placement]:
    """Yield the one way to place a diagram where each part has a time: one epoch, and the SDE."""
    times = sum_of_events(diagram, diagram.inner_blocks, instant)
    if times is not None:
        yield Placement(INVERSE_BATCH ** (diagram.order - len(diagram.inner_blocks)), times)


def placed_nodes(diagram: Diagram, instant: frozenset[int]) -> Iterator[Placement]:
    """Yield the one way to place a diagram where each node has a time of its own: GD, and the ODE."""
    times = sum_of_events(diagram, (), instant)
    assert times is not None
    yield Placement(INVERSE_BATCH ** (diagram.order - len(diagram.inner_blocks)), times)


def by_tree(diagram: Diagram, parts: Iterable[tuple[int, ...]]) -> list[tuple[tuple[int, ...], ...]]:
    """Parts that lie in one tree each, tree by tree."""
    found: list[tuple[tuple[int, ...], ...]] = [()] * len(diagram.roots)
    for part in parts:
        found[diagram.tree_of[part[0]]] += (part,)
    return found


def row_ways(
    diagram: Diagram, instant: frozenset[int], rows: Mapping[tuple[int, ...], int], batch: int
) -> Iterator[Way]:
    """Yield the ways to place a diagram in a fixed grid: every tied part chooses a row.

    Args:
        diagram: the diagram.
        instant: nodes whose outgoing edges carry no time.
        rows: for every kind of row, 0 or 1 at every update, how many are alike.
        batch: B, the cells at every update that a node which is alone may be in.
    """
    times = sum_of_events(diagram, (), instant)
    assert times is not None
    anywhere = (batch,) * len(next(iter(rows)))
    tied = [block for block in diagram.inner_blocks if len(block) > 1]
    event_of = [source for source, _ in times.edges]
    for chosen in product(rows, repeat=len(tied)):
        row_of = {node: row for row, block in zip(chosen, tied, strict=True) for node in block}
        cells = [(1,) * len(anywhere)] * times.events
        for node, event in zip(diagram.inner_nodes, event_of, strict=True):
            own = row_of.get(node, anywhere)
            cells[event] = tuple(a * b for a, b in zip(cells[event], own, strict=True))
        yield Way(Fraction(prod(rows[row] for row in chosen)), times, tuple(cells))


def size(name: str, symbol: Symbol, least: int) -> Callable[[Any], Expr]:
    """Make the converter of a constructor's argument to an exact size.

    Args:
        name: the argument's name, for the error.
        symbol: what None means.
        least: the smallest integer allowed.

    Returns:
        A function of None for the symbol, an integer, or a SymPy expression, which raises a TypeError if it is
        neither, and a ValueError if it is a number that is no integer or is too small.

    Example:
        >>> from taylorsgd.symbols import N
        >>> size("N", N, 1)(None), size("N", N, 1)(7)
        (N, 7)
    """

    def convert(value: Any) -> Expr:
        if value is None:
            return symbol
        expression: Any = as_exact(value) if isinstance(value, Expr) else as_whole(value)
        if expression is None:
            raise TypeError(
                f"{name}={value!r} is not a size; it must be an integer of at least {least}, "
                f"a SymPy expression, or None for the symbol {symbol}"
            )
        expression = Integer(expression) if isinstance(expression, int) else expression
        if (
            expression.has(oo, -oo, nan, zoo)
            or expression.is_number
            and not (expression.is_Integer and expression >= least)
        ):
            raise ValueError(f"{name}={value} is impossible; it must be an integer of at least {least}")
        if expression.is_integer is False or (expression - least).is_negative:
            raise ValueError(
                f"{name}={value} is declared to be no integer of at least {least}; leave its assumptions out"
            )
        return expression

    return convert


def fresh_or_fixed(_: Any, __: Any, data: Any) -> None:
    """Check that `data` is "fresh" or "fixed", as attrs does.

    Raises:
        ValueError: otherwise.
    """
    if not is_one_of(data, ("fresh", "fixed")):
        raise ValueError(
            f"data={data!r} is unknown; give 'fresh' (average over training sets) or 'fixed' (over the order alone)"
        )


@lru_cache(maxsize=4096)
def _written(spacetime: Spacetime, count: Count) -> Expr:
    # Factored as quotients of polynomials: SymPy's own `factor` would find out first that they are.
    numbers = _stand_for(spacetime)
    if not numbers[0].field.gens:
        above, below = (count.numer, count.denom) if isinstance(count, FracElement) else (count, RING.one)
        known = [QQ(int(number.numer.LC), int(number.denom.LC)) for number in numbers]
        return QQ.to_sympy(_at(above, known) / _at(below, known))
    if isinstance(count, FracElement):
        found = _in_sizes(count.numer, numbers) / _in_sizes(count.denom, numbers)
    else:
        found = _in_sizes(count, numbers)
    return factored(found)
