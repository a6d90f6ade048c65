r"""The paper's propositions and corollaries in their right form, symbolically.

References: Tenka, Propositions 0 (section 1.2), 2 (B.3) and 3 (B.6.4), Corollaries 1, 2, 3 (section 3) and
sections A.1, A.8.1, A.8.2; the sources' mistakes are named where the software shows them.

Identities, with T = MN updates, M = E/B, κ the value ½∇C (a tied gradient and Hessian that share an edge):
    (0) test loss to order η:  l − T G·G
    (2) order d of one epoch, B = 1, in moments:
            (−1)^d/d! · Σ_D |ords(D)| · C(N, P−1) · (d choose d_1, …, d_{P−1}) · value(D)
    (3) test loss to order η², for all N, B, M:
            l − MN G·G + MN(MN − ½) G·H·G + MN(M/2) C·H + MN((M − 1/B)/2) ½∇C·G
    (C1) E[θ_GD − θ_SGD] = η² (N−1)/4 ∇C for T = N; the regularizer of GD is (N−1)/(4N) C
    (C2) E[θ_{M, η/M} − θ_{1, η}] = η² (M−1)N/(4M) ∇(C + G·G)       not ∇C alone
    (C3) SGD − SDE = −(T/2) G·H·G,  SGD − ODE = (T/2)(C·H − G·H·G)   not +(T/2) C·H for both
    (A.1) the loss differs by η² (M−1)N/(2M) (½∇C·G + G·H·G)
    (A.8.1) E[l_GD − l_SGD] = η² M(N−1)/4 G·∇C
    (A.8.2) the third cumulant contributes −(T/6) η³ S·J             not +(T/6)
    (table) one epoch in moments has 2 C(T,2) G·H·G at order 2       not C(T,2)
    (shuffle) reshuffling every epoch changes nothing before η⁴
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import permutations, product
from math import factorial, prod
from typing import Any

import pytest
import sympy
from sympy import Expr, Rational

import taylorsgd as ts
from taylorsgd.diagrams import Diagram, Value, value_of
from taylorsgd.symbols import B, E, M, N, T, eta

GG = Value((-1, 0))
GHG = Value((-1, 0, 1))
CH = Value((-1, 0, 0), (0, 1, 1))
NABLA_C_G = Value((-1, 0, 0), (0, 0, 1))  # κ(∇l, ∇∇l)·G = ½ ∇C·G
SJ = Value((-1, 0, 0, 0), (0, 1, 1, 1))
HG_OPEN = Value((-1, 0, 1), marks=("@0", "", ""))
NABLA_C_OPEN = Value((-1, 0, 1), (0, 1, 1), ("@0", "", ""))


def coefficients(formula: ts.Formula) -> dict[object, Expr]:
    return {term.value: term.coefficient for term in formula.terms}


def equal(found: dict[object, Expr], expected: dict[Value, Expr]) -> bool:
    return found.keys() == expected.keys() and all(
        sympy.simplify(found[value] - expected[value]) == 0 for value in expected
    )


def rescaled(formula: ts.Formula, factor: Expr) -> ts.Formula:
    """The formula with η multiplied by a factor."""
    return sum((formula[d] * factor**d for d in range(formula.order + 1)), start=formula * 0)


def test_proposition_0() -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(), order=1)
    assert equal(coefficients(formula), {Value((-1,)): sympy.Integer(1), GG: -E * N / B})
    assert equal(coefficients(ts.derive(ts.TestLoss(), ts.GD(), order=1)[1]), {GG: -T})


@pytest.mark.parametrize("epochs", [M * B, E])
def test_proposition_3(epochs: Expr) -> None:
    m = epochs / B
    formula = ts.derive(ts.TestLoss(), ts.SGD(E=epochs), order=2)
    assert equal(
        coefficients(formula),
        {
            Value((-1,)): sympy.Integer(1),
            GG: -m * N,
            GHG: m * N * (m * N - Rational(1, 2)),
            CH: m * N * m / 2,
            NABLA_C_G: m * N * (m - 1 / B) / 2,
        },
    )


def test_proposition_3_of_gd() -> None:
    """B = N: with T = MN the same polynomial."""
    gd = ts.derive(ts.TestLoss(), ts.GD(), order=2)
    assert equal(
        coefficients(gd[2]), {GHG: T * (T - Rational(1, 2)), CH: T**2 / (2 * N), NABLA_C_G: T * (T - 1) / (2 * N)}
    )


def orderings(diagram: Diagram) -> int:
    """|ords(D)|: total orders of the nodes, children first and parts contiguous, up to automorphisms."""
    inner = [node for node, parent in enumerate(diagram.parents) if parent >= 0]
    found = set()
    for order in permutations(inner):
        place = {node: i for i, node in enumerate(order)}
        if any(diagram.parents[node] in place and place[diagram.parents[node]] < place[node] for node in inner):
            continue
        spans = [sorted(place[node] for node in block) for block in diagram.inner_blocks]
        if all(span[-1] - span[0] == len(span) - 1 for span in spans):
            # The ordered diagram: the place of every node's parent, and the partition of the places.
            above = tuple(place.get(diagram.parents[node], -1) for node in order)
            found.add((above, frozenset(map(tuple, spans))))
    return len(found)


@pytest.mark.parametrize("d", range(1, 5))
def test_proposition_2(d: int) -> None:
    expected: dict[Value, Any] = {}
    one_epoch = ts.SGD(B=1, E=1)
    for diagram in ts.diagrams_of_order(d):
        if one_epoch.weight(diagram):
            sizes = [len(block) for block in diagram.inner_blocks]
            multinomial = factorial(d) // prod(map(factorial, sizes))
            moment = Value(diagram.parents, diagram.parts, moments=True)
            number = Rational((-1) ** d * orderings(diagram) * multinomial, factorial(d))
            expected[moment] = expected.get(moment, 0) + number * sympy.ff(N, len(sizes)) / factorial(len(sizes))
    derived = ts.derive(ts.TestLoss(), one_epoch, order=d)[d].to_moments()
    assert equal(coefficients(derived), expected)


def test_the_published_table_of_one_epoch() -> None:
    """The authors' table has C(T,2) G·H·G in moments at order 2; twice that is right."""
    moments = coefficients(ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)[2].to_moments())
    pairs = sympy.expand_func(sympy.binomial(N, 2))
    assert equal(moments, {GHG: 2 * pairs, Value((-1, 0, 0), (0, 1, 1), moments=True): N / 2})
    cumulants = coefficients(ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)[2])
    assert equal(cumulants, {GHG: N * (N - Rational(1, 2)), CH: N / 2})


@pytest.mark.shows("one epoch", "test loss")
def test_the_published_table_against_descent() -> None:
    """One landscape on which C(T,2) G·H·G fails and 2 C(T,2) G·H·G holds."""
    x = sympy.Symbol("x")
    landscape = ts.FiniteLandscape([x**2, x**2 / 2 - x], [Rational(1, 2)] * 2, [x])
    start, n = 1, 3
    truth = ts.perturb(ts.TestLoss(), ts.SGD(N=n, B=1, E=1), landscape, [start], 2).coeff(eta, 2)
    g, h = (landscape.moment(degrees, start).item() for degrees in [(1,), (2,)])
    tied = landscape.moment((1, 1), start).item() * h * Fraction(n, 2)
    assert truth == 2 * 3 * g * h * g + tied
    assert truth != 3 * g * h * g + tied


def test_corollary_1() -> None:
    gd = ts.derive(ts.Displacement(), ts.GD(T=N), order=2)
    sgd = ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), order=2)
    assert equal(coefficients(gd - sgd), {NABLA_C_OPEN: (N - 1) / 2})  # of ½∇C: (N−1)/4 ∇C


def test_corollary_1_as_a_regularizer() -> None:
    """GD on l + (N−1)/(4N) C^ν_ν has the test loss of SGD through η², with η raising the index of C."""
    x, y, strength = sympy.symbols("x y strength")
    losses = [x**3 - 2 * x * y + y, 2 * x**2 * y - y**2 + x, x * y**2 / 2 - 3 * x]
    weights = [Rational(w, 6) for w in (1, 2, 3)]
    plain = ts.FiniteLandscape(losses, weights, [x, y])
    trace = sum(
        sum(w * sympy.diff(loss, v) ** 2 for w, loss in zip(weights, losses, strict=True))
        - sympy.diff(plain.loss, v) ** 2
        for v in (x, y)
    )
    n, start = 3, [1, Rational(-1, 2)]
    regularized = ts.FiniteLandscape([loss + strength * trace for loss in losses], weights, [x, y])
    gdc = ts.derive(ts.Observable(plain.loss), ts.GD(N=n, T=n), order=2).evaluate(regularized, start)
    gdc = sympy.expand(gdc.subs(strength, eta * Rational(n - 1, 4 * n)))
    sgd = ts.derive(ts.TestLoss(), ts.SGD(N=n, B=1, E=1), order=2).evaluate(plain, start)
    gd = ts.derive(ts.TestLoss(), ts.GD(N=n, T=n), order=2).evaluate(plain, start)
    assert all(gdc.coeff(eta, d) == sgd.coeff(eta, d) for d in range(3))
    assert gd.coeff(eta, 2) != sgd.coeff(eta, 2)


def test_corollary_2() -> None:
    """∇(C + G·G)/4 is ½(½∇C) + ½ H·G: the paper leaves out the second."""
    many = rescaled(ts.derive(ts.Displacement(), ts.SGD(B=1, E=M), order=2), 1 / M)
    one = ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), order=2)
    amount = (M - 1) * N / (2 * M)
    assert equal(coefficients(many - one), {NABLA_C_OPEN: amount, HG_OPEN: amount})


def test_corollary_2_for_any_batch() -> None:
    """E = MB epochs against B: the part of G·G does not depend on B, that of C is divided by it."""
    many = rescaled(ts.derive(ts.Displacement(), ts.SGD(E=M * B), order=2), 1 / M)
    one = ts.derive(ts.Displacement(), ts.SGD(E=B), order=2)
    amount = (M - 1) * N / (2 * M)
    assert equal(coefficients(many - one), {NABLA_C_OPEN: amount / B, HG_OPEN: amount})


def test_section_a_1() -> None:
    """C(T,2) does not scale by M²: the loss of many epochs keeps a term in G·H·G."""
    many = rescaled(ts.derive(ts.TestLoss(), ts.SGD(B=1, E=M), order=2), 1 / M)
    one = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)
    amount = (M - 1) * N / (2 * M)
    assert equal(coefficients(many - one), {NABLA_C_G: amount, GHG: amount})


def test_corollary_3_first_part() -> None:
    sgd = ts.derive(ts.TestLoss(), ts.SGD(N=T, B=1, E=1), order=2)
    sde = ts.derive(ts.TestLoss(), ts.SDE(B=1), order=2)
    ode = ts.derive(ts.TestLoss(), ts.ODE(), order=2)
    assert equal(coefficients(sgd - sde), {GHG: -T / 2})
    assert equal(coefficients(sgd - ode), {CH: T / 2, GHG: -T / 2})


def test_section_a_8_1() -> None:
    """GD minus SGD, M epochs of T = MN updates each: + M(N−1)/4 G·∇C, by A.8.1 and not the table's sign."""
    gd = ts.derive(ts.TestLoss(), ts.GD(T=M * N), order=2)
    sgd = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=M), order=2)
    assert equal(coefficients(gd - sgd), {NABLA_C_G: M * (N - 1) / 2})


def test_section_a_8_2() -> None:
    """At a minimum the third cumulants enter at η³ only through −(T/6) S·J."""
    sgd = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=3).assume("minimum")
    skew = coefficients(sgd - sgd.assume("gaussian"))
    assert equal(skew, {SJ: -N / 6})
    assert str(SJ) == "S_μνλ J^μνλ"
    any_size = coefficients(ts.derive(ts.TestLoss(), ts.SGD(), order=3).assume("minimum"))
    assert sympy.expand(any_size[SJ] + N * E**3 / (6 * B**3)) == 0
    assert SJ not in coefficients(ts.derive(ts.TestLoss(), ts.SDE(), order=3)), "the SDE misses it"


def test_section_a_8_2_against_descent() -> None:
    """A landscape with G = 0, S = 2, J = 6 at 0, and no other third cumulant that could enter."""
    x = sympy.Symbol("x")
    landscape = ts.FiniteLandscape([x**3 + 2 * x, x**3 - x], [Rational(1, 3), Rational(2, 3)], [x])
    assert landscape.cumulant((1,), 0).item() == 0
    assert landscape.cumulant((1, 1, 1), 0).item() == 2
    n = 3
    third = ts.perturb(ts.TestLoss(), ts.SGD(N=n, B=1, E=1), landscape, [0], 3).coeff(eta, 3)
    assert third == -Rational(n, 6) * 2 * 6


def reshuffled(n: int, epochs: int) -> Iterator[ts.Grid]:
    """Every grid of several epochs with B = 1, the first in order and each other in any order."""
    for orders in product(permutations(range(n)), repeat=epochs - 1):
        rows = [*range(n), *(row for order in orders for row in order)]
        yield ts.Grid([[row == n_ for row in rows] for n_ in range(n)])


def test_reshuffling_first_matters_at_fourth_order() -> None:
    grids = list(reshuffled(3, 2))
    plain = ts.SGD(N=3, B=1, E=2)
    assert len(grids) == 6
    for observable, order in [(ts.TestLoss(), 4), (ts.Displacement(), 4), (ts.TrainLoss(), 3)]:
        unshuffled = ts.derive(observable, plain, order)
        mean = sum((ts.derive(observable, grid, order) for grid in grids), start=0 * unshuffled) / len(grids)
        difference = mean - unshuffled
        assert not difference.truncate(3)
        assert bool(difference) == (order == 4)


def test_reshuffling_diagram_by_diagram() -> None:
    """17 of the 101 diagrams of order 4 have another mean number of embeddings, and none of lower order."""
    grids = [list(reshuffled(3, 2)), list(reshuffled(2, 3))]
    sizes = [ts.SGD(N=3, B=1, E=2), ts.SGD(N=2, B=1, E=3)]
    different: set[Diagram] = set()
    for shuffles, plain in zip(grids, sizes, strict=True):
        for d in range(5):
            for diagram in ts.diagrams_of_order(d):
                mean = Fraction(sum(grid.count(diagram) for grid in shuffles), len(shuffles))
                if mean != int(plain.embeddings(diagram)):
                    different.add(diagram)
    assert {diagram.order for diagram in different} == {4}
    assert len(different) == 17


def test_fixed_points_of_the_expansion() -> None:
    """A noiseless linear landscape: every order above the first vanishes (Proposition 0 is exact)."""
    x, y = sympy.symbols("x y")
    landscape = ts.FiniteLandscape([2 * x - 3 * y], [1], [x, y])
    loss = ts.derive(ts.TestLoss(), ts.SGD(), order=4).evaluate(landscape, [1, 1], N=4, B=2, E=3)
    assert loss == -1 - 6 * 13 * eta


def test_order_2_values_are_these() -> None:
    assert {value_of(diagram) for diagram in ts.diagrams_of_order(2)} == {GHG, CH, NABLA_C_G}
    assert [str(value) for value in (GHG, NABLA_C_G, CH)] == ["G_μ H^μ_ν G^ν", "½ (∇_μ C^ν_ν) G^μ", "C_μν H^μν"]
