r"""Cumulants and moments: the two ways to write a formula.

References: Rota 1964; Tenka, sections A.4 and B.4; OEIS A000110 (Bell numbers).

Identities, for a part p of nodes:
    (1) κ(p) = Σ_π (−1)^{|π|−1} (|π|−1)! Π_{b in π} m(b)         m(p) = Σ_π Π_{b in π} κ(b)
    (2) to_cumulants ∘ to_moments = identity, and the other way round
    (3) both evaluate to the same; so does every value summed index by index with the landscape's own moments
    (4) one cumulant of n tied leaves is a sum over Bell(n) partitions
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import factorial, prod
from typing import Any

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from sympy import Rational

import taylorsgd as ts
from taylorsgd.diagrams import Value, value_of
from taylorsgd.diagrams.partitions import set_partitions

x, y = sympy.symbols("x y")
BELL = (1, 1, 2, 5, 15, 52, 203)
LANDSCAPE = ts.FiniteLandscape(
    [x**3 - 2 * x * y + y, 2 * x**2 * y - y**2 + x, x * y**2 / 2 - 3 * x], [Rational(w, 6) for w in (1, 2, 3)], [x, y]
)
START = [1, Rational(-1, 2)]
OBSERVABLES = [
    ts.TestLoss(),
    ts.TrainLoss(),
    ts.GeneralizationGap(),
    ts.Displacement(),
    ts.Variance(ts.TrainLoss()),
    ts.SecondMoment(ts.TestLoss(), ts.Displacement()),
    ts.Observable(x**2 * y),
]


@pytest.mark.parametrize("size", range(7))
def test_set_partitions(size: int) -> None:
    found = [tuple(sorted(map(tuple, map(sorted, partition)))) for partition in set_partitions(list(range(size)))]
    assert len(set(found)) == len(found) == BELL[size]
    assert all(sorted(item for block in partition for item in block) == list(range(size)) for partition in found)


@pytest.mark.parametrize("size", range(1, 6))
def test_partitions_of_n_tied_leaves(size: int) -> None:
    """By the number of leaves in each block: n! / Π (b!) Π (multiplicity!) partitions of a shape."""
    star = Value((-1,) + (0,) * size, (0,) + (1,) * size)
    found: Counter[tuple[int, ...]] = Counter()
    for coefficient, value in star.in_moments():
        shape = tuple(sorted(len(block) for block in value.blocks if value.degrees[block[0]] == 1))
        if size == 1:
            shape = (1,)
        blocks = len(shape)
        assert coefficient == (-1) ** (blocks - 1) * factorial(blocks - 1)
        found[shape] += 1
    assert sum(found.values()) == BELL[size]
    for shape, count in found.items():
        same = prod(factorial(k) for k in Counter(shape).values())
        assert count == factorial(size) // (prod(map(factorial, shape)) * same)


def combined(pairs: Any) -> Counter[Value]:
    total: Counter[Value] = Counter()
    for coefficient, value in pairs:
        total[value] += coefficient
    return total


def test_the_two_are_inverse_on_every_value() -> None:
    for order in range(5):
        for value in {value_of(diagram) for diagram in ts.diagrams_of_order(order)}:
            back: Counter[Value] = Counter()
            for coefficient, moment in value.in_moments():
                for number, cumulant in moment.in_cumulants():
                    back[cumulant] += coefficient * number
            assert {v: c for v, c in back.items() if c} == {value: 1}


def test_worked_examples() -> None:
    c_h = Value((-1, 0, 0), (0, 1, 1))
    assert combined(c_h.in_moments()) == {Value((-1, 0, 0), (0, 1, 1), moments=True): 1, Value((-1, 0, 0)): -1}
    s_j = Value((-1, 0, 0, 0), (0, 1, 1, 1))
    assert combined(s_j.in_moments()) == {
        Value((-1, 0, 0, 0), (0, 1, 1, 1), moments=True): 1,
        Value((-1, 0, 0, 0), (0, 1, 1, 2), moments=True): -3,
        Value((-1, 0, 0, 0)): 2,
    }


@pytest.mark.parametrize("observable", OBSERVABLES)
@pytest.mark.parametrize("spacetime", [ts.SGD(), ts.SGD(B=1, E=1), ts.GD(N=3, T=2)])
def test_there_and_back(observable: Any, spacetime: Any) -> None:
    formula = ts.derive(observable, spacetime, 2)
    moments = formula.to_moments()
    assert moments.to_cumulants() == formula
    assert moments.to_moments() == moments
    assert formula.to_cumulants() == formula
    assert moments.to_cumulants().to_moments() == moments
    assert all(t.value.moments == (len(set(t.value.parts)) < len(t.value.parts)) for t in moments.terms)


def test_there_and_back_at_fourth_order() -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 4)
    assert formula.to_moments().to_cumulants() == formula


@pytest.mark.parametrize("observable", OBSERVABLES)
def test_both_evaluate_to_the_same(observable: Any) -> None:
    formula = ts.derive(observable, ts.SGD(N=4, B=2, E=2), 2)
    assert formula.to_moments().evaluate(LANDSCAPE, START) == formula.evaluate(LANDSCAPE, START)


@pytest.mark.parametrize("moments", [False, True])
@pytest.mark.parametrize(("dimension", "order"), [(1, 3), (2, 2)])
@given(data=st.data())
def test_values_summed_index_by_index(
    landscapes, evaluate_plainly, some_of, dimension: int, order: int, moments: bool, data: st.DataObject
) -> None:
    """The landscape's own moments or cumulants, contracted by plain loops."""
    landscape, start = data.draw(landscapes(dimension, order + 1))
    for observable in some_of(data, OBSERVABLES[:4], 25):
        formula = ts.derive(observable, ts.SGD(N=2, B=1, E=2), order)
        expected = sympy.Matrix([formula.evaluate(landscape, start)])
        formula = formula.to_moments() if moments else formula
        total = sympy.zeros(dimension if observable == ts.Displacement() else 1, 1)
        for term in formula.terms:
            for opened, number in evaluate_plainly(term.value, landscape, start).items():
                where = opened[0] if opened else 0
                total[where] += term.coefficient * number * ts.symbols.eta**term.order
        assert (total - expected).applyfunc(sympy.expand).is_zero_matrix


def test_mixed_formulas() -> None:
    """A sum of the two ways is brought to either one."""
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2)
    mixed = formula + formula.to_moments()
    assert mixed.to_cumulants() == 2 * formula
    assert mixed.to_moments() == 2 * formula.to_moments()
    numbers = {"N": 3}
    assert mixed.evaluate(LANDSCAPE, START, **numbers) == 2 * formula.evaluate(LANDSCAPE, START, **numbers)


def test_moments_count_different_rows() -> None:
    """In moments Z counts maps that send parts to *different* rows: falling powers of N at E = B = 1."""
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 3).to_moments()
    n = ts.symbols.N
    for term in formula[3].terms:
        k = len(term.value.blocks) - 1
        assert sympy.rem(term.coefficient, sympy.expand_func(sympy.ff(n, k)), n) == 0
        assert sympy.Poly(term.coefficient, n).degree() == k


def test_joint_moments_from_the_definition() -> None:
    """κ by the explicit formula of section B.4 against the landscape's cumulants."""
    for degrees in [(1, 1), (1, 2), (1, 1, 1), (2, 1, 1), (1, 1, 1, 1)]:
        axes = sum(degrees)
        starts = [sum(degrees[:i]) for i in range(len(degrees))]
        for index in product(range(2), repeat=axes):
            total = 0
            for partition in set_partitions(list(range(len(degrees)))):
                term = (-1) ** (len(partition) - 1) * factorial(len(partition) - 1)
                for block in partition:
                    part = [degrees[i] for i in block]
                    where = tuple(index[starts[i] + k] for i in block for k in range(degrees[i]))
                    term = term * LANDSCAPE.moment(tuple(part), START)[where]
                total += term
            assert total == LANDSCAPE.cumulant(degrees, START)[index]
