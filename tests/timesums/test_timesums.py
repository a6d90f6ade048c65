"""Sums over times (DESIGN section 3; Tenka, section A.5).

1. The closed form equals the plain sum over all times, for every linkless diagram.
2. The integral equals SymPy's own integration over the simplex of times.
3. As T → ∞ both tend to products of 1/(1 − x_i) and 1/s_i.
4. Orderings without ties are the linear extensions.
"""

from fractions import Fraction
from itertools import product

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_sums import exact_time_sum, homogeneous

from taylorsgd.diagrams import Diagram, diagrams_of_order
from taylorsgd.timesums.closed_forms import chains_of, closed_time_sum, divided_difference
from taylorsgd.timesums.events import ROOT, TimeSum, sum_of_events
from taylorsgd.timesums.orders import surjections


def times_of_nodes(diagram: Diagram) -> TimeSum | None:
    return sum_of_events(diagram)


def times_of_parts(diagram: Diagram) -> TimeSum | None:
    return sum_of_events(diagram, diagram.inner_blocks)


def possible(times: TimeSum | None) -> bool:
    return times is not None and times.possible


def plain_sum(times, decays, T):
    """Σ over all times of Π k^{Δt − 1}, one time after the other."""
    total = 0
    for chosen in product(range(T), repeat=times.events):
        term = 1
        for decay, (source, target) in zip(decays, times.edges, strict=True):
            gap = (T if target == ROOT else chosen[target]) - chosen[source]
            term = term * decay ** (gap - 1) if gap > 0 else 0
        total += term
    return total


@pytest.mark.parametrize("T", [0, 1, 2, 4])
@pytest.mark.parametrize("make", [times_of_parts, times_of_nodes])
def test_closed_form_is_the_plain_sum(make, T):
    decays = [Fraction(1, 2), Fraction(-2, 3), Fraction(1), Fraction(3, 4)]
    for order in (1, 2, 3, 4) if T < 4 else (1, 2, 3):
        for diagram in diagrams_of_order(order):
            times = make(diagram)
            if possible(times):
                assert exact_time_sum(times, decays[:order], T) == plain_sum(times, decays[:order], T), diagram


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    st.lists(st.fractions(min_value=-2, max_value=2, max_denominator=5), min_size=3, max_size=3),
    st.integers(0, 6),
    st.sampled_from([d for d in diagrams_of_order(3) if possible(times_of_parts(d))]),
)
def test_sympy_form_is_the_recurrence(rates, T, diagram):
    rates = [sp.Rational(rate.numerator, rate.denominator) for rate in rates]
    closed = closed_time_sum(times_of_parts(diagram), rates, sp.Integer(T), continuous=False)
    assert sp.simplify(closed - exact_time_sum(times_of_parts(diagram), [1 - rate for rate in rates], T)) == 0


def test_impossible_orders_are_recognized():
    tied_chain = Diagram((-1, 0, 1), (0, 1, 1))
    assert times_of_parts(tied_chain) is None
    assert possible(times_of_nodes(tied_chain))
    crossed = Diagram((-1, 0, 1, 0, 3), (0, 1, 2, 2, 1))
    assert times_of_parts(crossed) is not None and not possible(times_of_parts(crossed))


@pytest.mark.parametrize(
    "times",
    [
        TimeSum(1, ((0, ROOT), (0, ROOT))),
        TimeSum(2, ((0, 1), (1, ROOT))),
        TimeSum(2, ((0, 1), (1, ROOT), (0, ROOT))),
        TimeSum(3, ((0, 2), (1, 2), (2, ROOT))),
        TimeSum(2, ((0, ROOT), (1, ROOT))),
    ],
)
@pytest.mark.parametrize("rates", [(2, 3, 5), (1, 1, 1), (0, 1, 2), (2, 2, -1)])
def test_integral_is_sympys_own(times, rates):
    rates = [sp.Integer(rate) for rate in rates[: len(times.edges)]]
    T = sp.Symbol("T", positive=True)
    when = sp.symbols("t:3", positive=True)[: times.events]
    weight = sp.exp(
        -sum(rate * ((T if b == ROOT else when[b]) - when[a]) for rate, (a, b) in zip(rates, times.edges, strict=True))
    )
    # Integrate each event up to the first event above it, leaves first.
    integral = weight
    for event in range(times.events):
        above = [target for source, target in times.edges if source == event and target != ROOT]
        integral = sp.integrate(sp.expand(integral), (when[event], 0, when[above[0]] if above else T))
    closed = closed_time_sum(times, rates, T, continuous=True)
    assert sp.simplify(sp.expand(closed - integral)) == 0


def test_limits():
    a, b, c = sp.symbols("a b c", positive=True)
    ladder = TimeSum(2, ((0, 1), (0, 1), (1, ROOT)))  # Corollary 4
    assert closed_time_sum(ladder, [a, b, c], sp.oo, continuous=True) == 1 / (c * (a + b))
    discrete = closed_time_sum(ladder, [a, b, c], sp.oo, continuous=False)
    assert sp.simplify(discrete - 1 / (c * (a + b - a * b))) == 0
    values = {a: sp.Rational(1, 2), b: sp.Rational(1, 3), c: sp.Rational(1, 4)}
    rates = [values[x] for x in (a, b, c)]
    far = closed_time_sum(ladder, rates, sp.Integer(400), continuous=False)
    assert abs(sp.N(far - discrete.subs(values), 40)) < 1e-40


def test_limit_names_the_flat_direction():
    with pytest.raises(ValueError, match="flat direction"):
        closed_time_sum(TimeSum(1, ((0, ROOT),)), [sp.Integer(0)], sp.oo, continuous=False)


def test_growth_is_the_difference_of_late_sums():
    a, b = sp.Rational(1, 2), sp.Rational(2, 3)
    ladder = TimeSum(2, ((0, 1), (0, 1), (1, ROOT)))
    for continuous in (False, True):
        growth = closed_time_sum(ladder, [a, b, sp.Integer(0)], sp.oo, continuous=continuous, flat=[2])
        late = [
            closed_time_sum(ladder, [a, b, sp.Integer(0)], sp.Integer(T), continuous=continuous) for T in (600, 601)
        ]
        assert abs(sp.N(late[1] - late[0] - growth, 40)) < 1e-40


def test_strict_chains_are_linear_extensions():
    for order in (1, 2, 3, 4):
        for diagram in diagrams_of_order(order):
            for times in (times_of_nodes(diagram), times_of_parts(diagram)):
                levels = None if times is None else surjections(times.lattice.below)
                if levels is None:
                    continue
                # Branches are shuffled together in a multinomial number of ways.
                count, used = 1, 0
                for _, _, own in times.branches:
                    used += own.events
                    count *= len(chains_of(own, continuous=True)) * sp.binomial(used, own.events)
                assert count == levels[-1]


def test_divided_difference_of_a_polynomial_is_homogeneous():
    y = sp.Symbol("y")
    for nodes in ([1, 2, 3], [1, 1, 1], [2, 5, 2], [0, 0, 1], [sp.Rational(1, 2), 1, 1]):
        nodes = [sp.sympify(node) for node in nodes]
        assert divided_difference(y**6, y, nodes) == homogeneous(nodes, 4)
