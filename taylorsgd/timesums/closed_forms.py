r"""Sums over time in closed form: partial fractions in T and the rates, for reading.

With s_e = ηλ_e on the edge e, which carries k_e = 1 − s_e (discrete) or e^{−s_e} (continuous), the sum is a product
over branches, of sums over chains, of divided differences. For one ordering t_1 < … < t_m < T of the events of a
branch let x_i be the product of k_e over the edges alive between t_i and t_{i+1} (t_{m+1} = T); then

    Σ_{t_1<…<t_m<T} Π_e k_e^{Δt_e − 1} = [Π_e k_e^{(intervals spanned) − 1}] · h_{T−m}(1, x_1, …, x_m),

with h the complete homogeneous symmetric polynomial: the divided difference of x^T at 1, x_1, …, x_m. The
integral, over orderings without ties only, is the divided difference of e^{Ty} at 0, −s_1, …, −s_m, with
s_i the sum of s_e over the edges alive. As T → ∞ they tend to Π 1/(1 − x_i) and Π 1/s_i. For a chain of one event

    (1 − (1 − ηλ_μ)^T) / (ηλ_μ)        (1 − e^{−Tη(λ_μ + λ_ν)}) / (η(λ_μ + λ_ν)).

(Tenka, section A.5 and Remark 1, where these sums are integrals; Opitz 1964 for divided differences as entries of
functions of one bidiagonal matrix, which is what numbers come from, without division: `lowering`.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import factorial, prod
from typing import Any

from sympy import Add, Dummy, Expr, Integer, Mul, Pow, Symbol, diff, exp, expand, factor, factor_terms, oo, simplify

from taylorsgd.timesums.events import ROOT, TimeSum
from taylorsgd.timesums.rational_limits import LinearRule, growth_with_memory, limit_with_memory
from taylorsgd.timesums.set_times import SetTimes
from taylorsgd.timesums.two_clocks import TwoClocks
from taylorsgd.timesums.two_moments import TwoMoments

__all__ = ["chains_of", "closed_time_sum", "divided_difference"]

MOST_FACTORED = 12
"""The most terms of a sum over two clocks that are brought over one denominator, where much cancels."""
Chain = tuple[tuple[int, ...], ...]
"""One weak ordering of a branch's events: for each interval after a time of it, the edges alive in it."""


@lru_cache(maxsize=4096)
def chains_of(times: TimeSum, continuous: bool) -> tuple[Chain, ...]:
    """The ways through the lattice of a sum; where sums are integrals those without ties, which have all the volume.

    Example:
        >>> from taylorsgd.timesums.events import ROOT, TimeSum
        >>> chains_of(TimeSum(2, ((0, ROOT), (1, ROOT))), continuous=True)
        (((0,), (0, 1)), ((1,), (0, 1)))
    """

    def longer(chains: list[Chain], state: int, step: int) -> list[Chain]:
        alive = times.alive(state | step)
        return [] if continuous and step.bit_count() > 1 else [(*chain, alive) for chain in chains]

    empty: list[Chain] = [()]
    return tuple(times.lattice.through(empty, longer, list.__add__) or ())


def closed_time_sum(
    times: TimeSum | TwoClocks | TwoMoments | SetTimes,
    rates: Sequence[Expr],
    T: Expr,
    *,
    continuous: bool,
    flat: Sequence[int] = (),
    memory: LinearRule | None = None,
) -> Expr:
    """The sum over times as a SymPy expression in T and the rates.

    Args:
        times: the sum.
        rates: s_e = ηλ_e for every edge; equal or zero rates are handled where SymPy can see them.
        T: the number of updates, or `sympy.oo` for the limit: of epochs, where there are several.
        continuous: integrals of exponentials instead of sums of powers.
        flat: edges with rate 0 along which the sum grows; if given, the result is the growth per update as
            T → ∞ instead of the sum.
        memory: the linear system of a rule with memory or decay, at its constant rate; None for plain descent.

    Returns:
        The closed form.

    Raises:
        ValueError: if a limit, or a growth per update, does not exist.
        NotImplementedError: with memory up to a finite T, or over several epochs.

    Example:
        >>> from sympy import symbols
        >>> from taylorsgd.timesums.events import ROOT, TimeSum
        >>> a, b, T = symbols("a b T")
        >>> closed_time_sum(TimeSum(1, ((0, ROOT), (0, ROOT))), [a, b], T, continuous=True)
        (1 - exp(T*(-a - b)))/(a + b)
    """
    if isinstance(times, SetTimes):
        if memory is not None:
            raise NotImplementedError("edges between set times are written without memory; evaluate() has it exactly")
        return times.product([1 - rate for rate in rates], T)
    if isinstance(times, TwoMoments):
        if memory is not None or not isinstance(times.times, TimeSum):
            raise NotImplementedError(
                "a sum at two times is written for rules without memory and one epoch; evaluate() computes it exactly"
            )
        return _at_two_moments(times, times.times, rates, T, continuous)
    if memory is not None:
        if isinstance(times, TwoClocks) or continuous or not (T is oo or flat):
            raise NotImplementedError(
                "a sum over times with memory or decay has no closed form in T and the eigenvalues here, but for its "
                "limit T -> oo in one epoch; evaluate() computes it exactly"
            )
        return _remembering(times, rates, memory, set(flat))
    if isinstance(times, TwoClocks):
        return _over_epochs(times, rates, T, set(flat))
    if flat:
        return _growth(times, rates, continuous, set(flat))
    return Mul(*(_branch(own, labels, rates, T, continuous) for _, labels, own in times.branches))


def _at_two_moments(times: TwoMoments, whole: TimeSum, rates: Sequence[Expr], T: Expr, continuous: bool) -> Expr:
    """The product over branches, of what happens by T₁ and after it."""
    first, factors = times.first, []
    rest = T - first if times.lag is None else times.lag
    for _, labels, own in whole.branches:
        own_rates = [rates[label] for label in labels]
        early = tuple(e for e, label in enumerate(labels) if label in times.early)
        into_root = [e for e, (_, target) in enumerate(own.edges) if target == ROOT]
        if not early or len(early) == len(into_root):
            factors.append(closed_time_sum(own, own_rates, first if early else T, continuous=continuous))
            continue
        branch, total = TwoMoments(own, early, first), Integer(0)
        for cut in branch.cuts:
            held, before = branch.before(cut)
            by_then = closed_time_sum(before, [own_rates[e] for e in held], first, continuous=continuous)
            crossing = tuple(e for e in own.alive(cut) if e not in early)
            chains = ([[e for e in alive if e not in early] for alive in c] for c in _chains_from(own, cut, continuous))
            after = Add(*(_from(tuple(map(tuple, c)), crossing, own_rates, rest, continuous) for c in chains))
            total = total + by_then * after
        factors.append(total)
    return Mul(*factors)


def _chains_from(own: TimeSum, cut: int, continuous: bool) -> list[Chain]:
    """The ways from a down-set to all events: for each interval after a time the edges alive in it."""
    if cut == own.lattice.full:
        return [()]
    found = []
    for step in own.lattice.steps[cut]:
        if not (continuous and step.bit_count() > 1):
            found += [(own.alive(cut | step), *rest) for rest in _chains_from(own, cut | step, continuous)]
    return found


def _from(chain: Chain, crossing: tuple[int, ...], rates: Sequence[Expr], T: Expr, continuous: bool) -> Expr:
    """Π k_e^(intervals spanned − 1) h_{T−n}(y_0, …, y_n), but k_e^spanned for the edges that cross."""
    every, y = (crossing, *chain), Dummy("y")
    gaps = _gaps(every, rates, continuous)
    if continuous:
        return divided_difference(exp(T * y), y, [-gap for gap in gaps])
    spans = Counter(e for interval in chain for e in interval)
    factors = Mul(*((1 - rates[e]) ** (span - (e not in crossing)) for e, span in spans.items()))
    nodes = [Mul(*(1 - rates[e] for e in interval)) for interval in every]
    powers = [Mul(*((1 - rates[e]) ** T for e in interval)) for interval in every]
    return factors * divided_difference(y**T, y, nodes, powers)


def _remembering(times: TimeSum, rates: Sequence[Expr], memory: LinearRule, flat: set[int]) -> Expr:
    """The limit or, where edges are flat, the growth per update: of one branch, while the others are settled."""
    branches = [(own, [rates[label] for label in labels], labels) for _, labels, own in times.branches]
    if not flat:
        return Mul(*(limit_with_memory(own, own_rates, memory) for own, own_rates, _ in branches))
    growing: Expr = Integer(0)
    for position, (own, own_rates, labels) in enumerate(branches):
        here = [e for e, label in enumerate(labels) if label in flat]
        slope = growth_with_memory(own, own_rates, memory, here) if here else Integer(0)
        if slope != 0:
            others = [(each, known) for i, (each, known, _) in enumerate(branches) if i != position]
            growing = growing + slope * Mul(*(limit_with_memory(each, known, memory) for each, known in others))
    return growing


def _over_epochs(times: TwoClocks, rates: Sequence[Expr], T: Expr, flat: set[int]) -> Expr:
    if flat:  # per update: there are n in an epoch
        labels, own = times.moving
        grown = {own_label for own_label, label in enumerate(labels) if label in flat}
        known = [rates[label] for label in labels]
        return _pieces(own, known, lambda epochs, kept: _growth(epochs, kept, False, grown)) / times.batches

    def in_all(epochs: TimeSum, kept: Sequence[Expr]) -> Expr:
        return closed_time_sum(epochs, kept, oo if T is oo else times.epochs, continuous=False)

    factors = []
    for labels, own in times.branches:
        own_rates = [rates[label] for label in labels]
        if own.is_untied:
            factors.append(closed_time_sum(own.untied, own_rates, oo if T is oo else own.T, continuous=False))
        else:
            factors.append(_pieces(own, own_rates, in_all))
    return Mul(*factors)


def _pieces(times: TwoClocks, rates: Sequence[Expr], over_epochs: Callable[[TimeSum, Sequence[Expr]], Expr]) -> Expr:
    """Sums over batches times sums over epochs, in which an edge carries X = κ^n."""
    n, y = times.batches, Dummy("y")
    total: Expr = Integer(0)
    for piece in times.pieces:
        batches: Expr = Integer(1)
        for passed, passing in piece.circles:
            nodes = [Mul(*(1 - rates[e] for e in edges)) for edges in passing]
            powers = [Mul(*((1 - rates[e]) ** n for e in edges)) for edges in passing]
            before = Mul(*((1 - rates[e]) ** count for e, count in enumerate(passed)))
            batches = batches * before * divided_difference(y**n, y, nodes, powers)
        late = Mul(*((1 - rates[e]) ** n for e in piece.late))
        epochs = over_epochs(piece.epochs, [1 - (1 - rate) ** n for rate in rates])
        total = total + batches * late * epochs
    if 1 < len(times.pieces) <= MOST_FACTORED:
        total = factor(total)
    plain: Any = total.replace(_is_power_of_power, lambda power: power.base.base ** (power.base.exp * power.exp))
    return plain


def _is_power_of_power(expression: Expr) -> bool:
    """Such as (κ^n)^E, which SymPy leaves where it is not told that n and E are integers."""
    return isinstance(expression, Pow) and isinstance(expression.base, Pow)


def _branch(own: TimeSum, labels: Sequence[int], rates: Sequence[Expr], T: Expr, continuous: bool) -> Expr:
    own_rates = [rates[label] for label in labels]
    return Add(*(_chain(chain, own_rates, T, continuous) for chain in chains_of(own, continuous)))


def _chain(chain: Chain, rates: Sequence[Expr], T: Expr, continuous: bool) -> Expr:
    gaps = _gaps(chain, rates, continuous)
    factors = _spanned(chain, rates, continuous)
    if T is oo:
        for gap in gaps:
            if _vanishes(gap):
                raise ValueError(
                    "the sum over times diverges as T -> oo: H has a flat direction (an eigenvalue 0), along which "
                    "nothing is damped; drift() gives the growth per update along it"
                )
        return factors / prod(gaps, start=Integer(1))
    y = Dummy("y")
    if continuous:
        return divided_difference(exp(T * y), y, [Integer(0), *(-gap for gap in gaps)])
    alive = [Mul(*(1 - rates[e] for e in interval)) for interval in chain]
    powers = [Mul(*((1 - rates[e]) ** T for e in interval)) for interval in chain]
    return factors * divided_difference(y**T, y, [Integer(1), *alive], [Integer(1), *powers])


def _gaps(chain: Chain, rates: Sequence[Expr], continuous: bool) -> list[Expr]:
    """1 − x_i (discrete) or Σ s_e (continuous) for every interval: what damps in it."""
    if continuous:
        return [factor_terms(Add(*(rates[e] for e in interval))) for interval in chain]
    return [factor_terms(expand(1 - Mul(*(1 - rates[e] for e in interval), evaluate=True))) for interval in chain]


def _spanned(chain: Chain, rates: Sequence[Expr], continuous: bool) -> Expr:
    """Π k_e^(intervals spanned − 1)."""
    if continuous:
        return Integer(1)
    spans = Counter(e for interval in chain for e in interval)
    return Mul(*((1 - rates[e]) ** (span - 1) for e, span in spans.items() if span > 1))


def _growth(times: TimeSum, rates: Sequence[Expr], continuous: bool, flat: set[int]) -> Expr:
    """The growth per update: intervals in which only flat edges are alive last ever longer."""
    growing = Integer(0)
    steady = [_limit_or_none(own, labels, rates, continuous) for _, labels, own in times.branches]
    for position, (_, labels, own) in enumerate(times.branches):
        flat_here = {e for e, label in enumerate(labels) if label in flat}
        if not flat_here:
            continue
        own_rates = [rates[label] for label in labels]
        slope: Expr = Integer(0)
        for chain in chains_of(own, continuous):
            gaps = _gaps(chain, own_rates, continuous)
            idle = [gap for interval, gap in zip(chain, gaps, strict=True) if set(interval) <= flat_here]
            others = [gap for interval, gap in zip(chain, gaps, strict=True) if not set(interval) <= flat_here]
            if len(idle) > 1:
                raise ValueError("the growth per update grows itself: two flat directions meet; no steady drift exists")
            if any(_vanishes(gap) for gap in others):
                raise ValueError("another direction is flat as well; no steady drift exists")
            if idle:
                slope = slope + _spanned(chain, own_rates, continuous) / prod(others, start=Integer(1))
        if slope == 0:
            continue
        rest: list[Any] = [limit for i, limit in enumerate(steady) if i != position]
        if any(limit is None for limit in rest):
            raise ValueError("two flat directions grow at once; no steady drift exists")
        growing = growing + slope * prod(rest, start=Integer(1))
    return growing


def _limit_or_none(own: TimeSum, labels: Sequence[int], rates: Sequence[Expr], continuous: bool) -> Expr | None:
    try:
        return _branch(own, labels, rates, oo, continuous)
    except ValueError:
        return None


def divided_difference(
    function: Expr, variable: Symbol, nodes: Sequence[Expr], images: Sequence[Expr] | None = None
) -> Expr:
    """The divided difference of a function at some nodes, equal ones included.

    Σ_g (1/(m_g − 1)!) d^{m_g−1}/dy^{m_g−1} [ f(y) / Π_{h≠g} (y − x_h)^{m_h} ] at y = x_g, over the distinct
    nodes x_g with multiplicities m_g.

    Args:
        function: f, an expression in the variable.
        variable: y.
        nodes: where the difference is taken.
        images: f at every node, if there is a nicer way to write it than by substitution.

    Example:
        >>> from sympy import symbols
        >>> y, a = symbols("y a")
        >>> divided_difference(y**3, y, [a, a])
        3*a**2
    """
    if images is None:
        images = [function.subs(variable, node) for node in nodes]
    groups: list[tuple[Expr, Expr, int]] = []
    for node, image in zip(nodes, images, strict=True):
        for i, (other, known, count) in enumerate(groups):
            if _vanishes(node - other):
                groups[i] = (other, known, count + 1)
                break
        else:
            groups.append((node, image, 1))
    if len(nodes) == 2 and len(groups) == 2:
        # One event: written as the paper does, (1 − x^T)/(1 − x).
        return (images[0] - images[1]) / factor_terms(expand(nodes[0] - nodes[1]))
    total: Expr = Integer(0)
    for g, (node, image, count) in enumerate(groups):
        rest = [(other, m) for h, (other, _, m) in enumerate(groups) if h != g]
        if count == 1:
            total = total + image / prod((_factored(node - other) ** m for other, m in rest), start=Integer(1))
            continue
        smooth = function / prod(((variable - other) ** m for other, m in rest), start=Integer(1))
        total = total + diff(smooth, variable, count - 1).subs(variable, node) / factorial(count - 1)
    return total


@lru_cache(maxsize=4096)
def _factored(difference: Expr) -> Expr:
    """A difference of two nodes as a product; the chains of a sum share theirs."""
    return factor(difference)


@lru_cache(maxsize=65_536)
def _vanishes(difference: Expr) -> bool:
    if difference.is_Rational:
        return difference == 0
    expanded = expand(difference)
    return expanded == 0 or (not expanded.free_symbols and simplify(expanded) == 0)
