"""The sum over diagrams behind a formula, order by order: over all ways to place them, over all times.

    Σ_D  (−1)^|D| / (B^|D| |Aut D|) · Z_S(D) · value(D)

Of an observable it knows the roots alone: whatever s is, its formula has the same terms. Terms of few edges are
remembered, and so another s, a second call or a higher order takes up what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from math import prod
from typing import NamedTuple

from attrs import evolve
from sympy import QQ, Add, Expr, Integer

from taylorsgd.diagrams import Diagram, Value, forests_of_order, value_of
from taylorsgd.diagrams.values import marks_of
from taylorsgd.formulas.alike import least_alike
from taylorsgd.formulas.formula import Formula
from taylorsgd.formulas.observables import Root
from taylorsgd.formulas.pace import Pace
from taylorsgd.formulas.resummed_value import AnySum, ResummedValue
from taylorsgd.formulas.sizes import tidied
from taylorsgd.formulas.term import AnyValue, Term
from taylorsgd.formulas.weighing import weights_of
from taylorsgd.spacetime.base import INVERSE_ROWS, RING, Count, Spacetime
from taylorsgd.timesums.events import TimeSum
from taylorsgd.timesums.set_times import SetTimes
from taylorsgd.timesums.two_moments import TwoMoments
from taylorsgd.updates import Descent, RateSchedule, Update

__all__ = ["Asked", "Summation", "generalized_diagrams", "terms_through"]

MOST_REMEMBERED = 4
"""The highest order whose terms are remembered: those above are many, and take minutes anyway."""

Summed = Callable[[Diagram], Iterator[tuple[Count, Expr, AnyValue]]]
"""For a diagram the values that it gives, each with a count and an expression that multiply it."""


class Asked(NamedTuple):
    """What is summed.

    Attributes:
        roots: what the observables ask of the roots.
        covariance: whether the product of the observables' own expectations is taken off.
        spacetime: where.
        rule: the update rule.
        times: when the observables are taken, the earlier one first; None for all at the end.
        resum: None, "discrete" or "continuous".
        penalty: the name of what descent minimizes beside the losses; "" for nothing.
    """

    roots: tuple[Root, ...]
    covariance: bool
    spacetime: Spacetime
    rule: Update
    times: tuple[Expr, ...] | None = None
    resum: str | None = None
    penalty: str = ""

    @property
    def correlated(self) -> bool:
        """Whether trees that share no part may add to a covariance, as they share what chance decides."""
        return self.covariance and self.spacetime.random and self.spacetime.data == "fresh"


def terms_through(asked: Asked, order: int) -> list[Term]:
    """The terms through an order in η.

    Example:
        >>> import taylorsgd as ts
        >>> asked = Asked((ts.TestLoss().root(0),), False, ts.GD(), Descent())
        >>> [str(term.coefficient) for term in terms_through(asked, 1)]
        ['1', '-T']
    """
    return (_summation(asked) if _is_told_by_value(asked) else Summation(asked)).through(order)


def _is_told_by_value(asked: Asked) -> bool:
    """Whether equal means the same: a spacetime or a rule of one's own may be changed, and equals itself still."""
    parts = [asked.spacetime, asked.rule, getattr(asked.rule, "rates", None)]
    return all(type(one).__hash__ not in (None, object.__hash__) for one in parts if one is not None)


class Summation:
    """The terms of what is asked, order by order.

    Args:
        asked: what is summed.

    Raises:
        NotImplementedError: where there is no closed form here.
    """

    def __init__(self, asked: Asked) -> None:
        """Choose how embeddings are summed."""
        self.asked = asked
        self._summed = _unresummed(asked) if asked.resum is None else _resummed(asked)
        self._pace = Pace()
        self._known: dict[int, list[Term]] = {}

    def through(self, order: int) -> list[Term]:
        """The terms through an order, those of an order after those of lower ones."""
        terms: list[Term] = []
        for d in range(order + 1):
            found = self._known.get(d)
            if found is None:
                found = self._of_order(d)
                if d <= MOST_REMEMBERED:
                    self._known[d] = found
            terms += found
        return terms

    def _of_order(self, order: int) -> list[Term]:
        """All diagrams of an order, merged by value."""
        roots, covariance, spacetime, rule, *_ = self.asked
        every = generalized_diagrams(
            roots,
            spacetime,
            order,
            connected=covariance and not self.asked.correlated,
            tied_ancestors=True if rule.has_instant_edges else None,  # which may join nodes of one part
        )
        sign = prod(root.sign for root in roots) * (-1) ** order
        found: dict[AnyValue, dict[Expr, Count]] = {}
        sources: dict[AnyValue, dict[Diagram, None]] = {}
        for diagram, ties in self._pace.through(every, order):
            share = INVERSE_ROWS**ties * QQ(sign, diagram.automorphisms)
            for count, weight, value in self._summed(diagram):
                if count and weight != 0:
                    counts = found.setdefault(value, {})
                    counts[weight] = counts.get(weight, RING.zero) + count * share
                    sources.setdefault(value, {})[diagram] = None
        terms = []
        for value, counts in found.items():
            written = [spacetime.expression(count) * weight for weight, count in counts.items() if count]
            coefficient = written[0] if written and counts.keys() == {1} else tidied(Add(*written))
            terms.append(Term(coefficient, value, tuple(sources[value])))
        if self.asked.resum is None and spacetime.data == "fixed":  # found in moments of the one training set
            return list(Formula(terms, (spacetime,), {}).to_cumulants().terms)
        return terms


@lru_cache(maxsize=256)
def _summation(asked: Asked) -> Summation:
    return Summation(asked)


def _unresummed(asked: Asked) -> Summed:
    """The sums over time go into the coefficient."""
    weights = weights_of(asked.spacetime, asked.rule, asked.times)
    marks = [root.mark for root in asked.roots]

    def summed(diagram: Diagram) -> Iterator[tuple[Count, Expr, AnyValue]]:
        values = list(_values(diagram, marks, asked.spacetime.data == "fixed", asked.penalty))
        for count, weight in weights(diagram):
            for value in values:
                yield count, weight, value

    return summed


def _resummed(asked: Asked) -> Summed:
    """The sums over time stay in the value, of linkless diagrams alone."""
    roots, _, spacetime, rule, times, resum, penalty = asked
    marks = [root.mark for root in roots]
    continuous = resum == "continuous"
    whole = spacetime.sizes["T"]
    T = whole if times is None else times[-1]
    plain = Descent() if rule.is_plain else rule
    if times is not None and isinstance(plain.rates, RateSchedule):  # which may depend on when the run ends
        plain = evolve(plain, rates=plain.rates_of(int(whole)))

    def summed(diagram: Diagram) -> Iterator[tuple[Count, Expr, AnyValue]]:
        if not diagram.is_linkless:
            return
        apart = asked.correlated and not _meets_both_trees(diagram)
        if not diagram.order:  # nothing depends on T
            still: AnyValue = value_of(diagram, marks)
            if penalty:  # a value that says that its tensors are those of l + p
                still = ResummedValue(diagram, marks, TimeSum(0, ()), T, continuous, update=plain, penalty=penalty)
            yield RING(int(not apart)), Integer(1), still
            return
        for instant in rule.instant_edges(diagram):
            weight = rule.weighed(spacetime, diagram, instant)
            place = spacetime.correlated_placements if apart else spacetime.resummed_placements
            for count, placed in place(diagram, instant) or () if weight != 0 else ():
                taken: AnySum = placed
                if times is not None and not (times[0] == T and (isinstance(placed, TimeSum) or T == whole)):
                    taken = _earlier(placed, diagram, times[0])
                for number, powers in rule.dressings(diagram, instant) if taken.possible else ():
                    sums, dressed = least_alike(diagram, taken, powers) if rule.has_instant_edges else (taken, powers)
                    value = ResummedValue(diagram, marks, sums, T, continuous, False, plain, dressed, penalty)
                    yield count * number, weight, value

    return summed


def _earlier(times: AnySum, diagram: Diagram, first: Expr) -> AnySum:
    """A sum over times where the first root is taken at an earlier moment."""
    assert not isinstance(times, (TwoMoments, SetTimes))
    early = tuple(e for e, node in enumerate(diagram.inner_nodes) if diagram.parents[node] == diagram.roots[0])
    return TwoMoments(times, early, first)


def _values(diagram: Diagram, marks: Sequence[str], moments: bool, penalty: str) -> Iterator[Value]:
    """Yield the values of a diagram whose nodes carry the loss, or where they are alone the penalty."""
    alone = [block[0] for block in diagram.blocks if len(block) == 1 and diagram.parents[block[0]] >= 0]
    for number in range(len(alone) + 1 if penalty else 1):
        for penalized in combinations(alone, number):
            carried = list(marks_of(diagram, marks))
            for node in penalized:
                carried[node] = penalty
            yield _value(diagram, tuple(carried), moments)


@lru_cache(maxsize=4096)  # the same in all spacetimes
def _value(diagram: Diagram, marks: tuple[str, ...], moments: bool) -> Value:
    return Value(diagram.parents, diagram.parts, marks, moments=moments)


def generalized_diagrams(
    roots: Sequence[Root],
    spacetime: Spacetime,
    order: int,
    *,
    connected: bool = False,
    tied_ancestors: bool | None = None,
) -> Iterator[tuple[Diagram, int]]:
    """Yield the diagrams of one order that observables sum, each with its power of 1/N.

    A training root draws its row with weight 1/N each; a part of roots alone has N rows to be in.

    Args:
        roots: what the observables ask of the roots.
        spacetime: where; it says which diagrams can't have embeddings.
        order: the number of edges.
        connected: whether some part must meet both trees.
        tied_ancestors: whether a node may share a part with its ancestors; None for what the spacetime says.

    Yields:
        Pairs of a diagram and the number of factors 1/N that its tied roots bring.
    """
    forests = forests_of_order(
        order,
        # Of fixed data the training loss is the mean over the landscape: a test loss.
        [root.may_tie and spacetime.data == "fresh" for root in roots],
        tied_ancestors=spacetime.tied_ancestors if tied_ancestors is None else tied_ancestors,
        largest_part=spacetime.largest_part,
    )
    for diagram in forests:
        tied = [len(diagram.blocks[diagram.parts[node]]) > 1 for node in diagram.roots]
        if any(root.must_tie and not tie for root, tie in zip(roots, tied, strict=True)):
            continue
        if any(
            root.mark.startswith("@") and diagram.degree(node) != 1
            for root, node in zip(roots, diagram.roots, strict=True)
        ):
            continue
        if connected and not _meets_both_trees(diagram):
            continue
        yield diagram, _row_factors(diagram)


def _row_factors(diagram: Diagram) -> int:
    """The power of 1/N: one for each tied root, less one for a part made of roots alone."""
    power = 0
    for block in diagram.blocks:
        if len(block) > 1:
            roots = sum(diagram.parents[node] < 0 for node in block)
            power += roots - (roots == len(block))
    return power


def _meets_both_trees(diagram: Diagram) -> bool:
    return any(len({diagram.tree_of[node] for node in block}) > 1 for block in diagram.blocks)
