r"""The algebra of formulas: sums, multiples, parts, equality; what observables owe to each other.

References: Tenka, section A.7 (variances, training loss, displacement).

Identities:
    (1) f + g, f − g, 2f, f/3, −f and sum() act on coefficients, value by value
    (2) test loss − training loss = generalization gap, in every spacetime that has a training set
    (3) Cov is bilinear and symmetric: Var(test) = Cov(test, train) + Cov(test, gap),
        Var(gap) = Var(test) − 2 Cov(test, train) + Var(train)
    (4) E[a b] = Cov(a, b) + E[a] E[b], evaluated
    (5) f = Σ_d f[d]; order 0 is what stands at θ_0
    (6) a coefficient is (−1)^d Σ_D Z(D) / (B^d |Aut D|) over the term's own diagrams
    (7) values of both kinds answer alike: symbols, substitution, cumulants, plain data, pickling
"""

from __future__ import annotations

import pickle
from fractions import Fraction
from typing import Any

import pytest
import sympy
from sympy import Integer, Rational

import taylorsgd as ts
from taylorsgd.diagrams import Value
from taylorsgd.formulas.observables import roots_of
from taylorsgd.formulas.summation import generalized_diagrams
from taylorsgd.spacetime import Spacetime
from taylorsgd.symbols import B, E, N, T, eta

x, y = sympy.symbols("x y")
LANDSCAPE = ts.FiniteLandscape(
    [x**3 - 2 * x * y + y, 2 * x**2 * y - y**2 + x, x * y**2 / 2 - 3 * x], [Rational(w, 6) for w in (1, 2, 3)], [x, y]
)
START = [1, Rational(-1, 2)]
TEST, TRAIN, GAP, MOVED = ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement()
WITH_DATA: list[Spacetime] = [
    ts.SGD(),
    ts.SGD(B=1, E=1),
    ts.SGD(N=4, B=2, E=3),
    ts.GD(),
    ts.Grid([[1, 0, 1, 0], [0, 1, 0, 1], [1, 1, 1, 1]]),
]


def derive(observable: Any, spacetime: Spacetime | None = None, order: int = 3) -> ts.Formula:
    return ts.derive(observable, ts.SGD() if spacetime is None else spacetime, order)


@pytest.mark.parametrize("spacetime", WITH_DATA)
def test_the_gap_is_test_minus_training(spacetime: Spacetime) -> None:
    test, train, gap = (derive(observable, spacetime) for observable in (TEST, TRAIN, GAP))
    assert test - train == gap
    assert train + gap == test
    assert gap != train
    assert not gap[0]


@pytest.mark.parametrize("spacetime", WITH_DATA[:4])
def test_covariances_are_bilinear(spacetime: Spacetime) -> None:
    def cov(a: Any, b: Any) -> ts.Formula:
        return derive(ts.Covariance(a, b), spacetime, 2)

    assert cov(TEST, TEST) == cov(TEST, TRAIN) + cov(TEST, GAP)
    assert cov(GAP, GAP) == cov(TEST, TEST) - 2 * cov(TEST, TRAIN) + cov(TRAIN, TRAIN)
    assert cov(TRAIN, GAP) == cov(TEST, TRAIN) - cov(TRAIN, TRAIN)
    assert cov(MOVED, TEST) == cov(MOVED, TRAIN) + cov(MOVED, GAP)
    assert cov(TEST, TRAIN) == cov(TRAIN, TEST)
    assert derive(ts.Variance(TEST), spacetime, 2) == cov(TEST, TEST)


def test_covariances_are_bilinear_to_third_order() -> None:
    def cov(a: Any, b: Any) -> ts.Formula:
        return derive(ts.Covariance(a, b), ts.SGD(N=N, B=1), 3)

    assert cov(TEST, TEST) == cov(TEST, TRAIN) + cov(TEST, GAP)
    assert cov(GAP, GAP) == cov(TEST, TEST) - 2 * cov(TEST, TRAIN) + cov(TRAIN, TRAIN)


@pytest.mark.parametrize("a", [TEST, TRAIN, GAP, MOVED])
@pytest.mark.parametrize("b", [TEST, TRAIN, GAP, MOVED])
def test_second_moments(a: Any, b: Any) -> None:
    spacetime, order = ts.SGD(N=2, B=1, E=2), 3
    if b == MOVED and a != MOVED:
        a, b = b, a

    def number(observable: Any) -> Any:
        return derive(observable, spacetime, order).evaluate(LANDSCAPE, START)

    second, first = number(b), number(a)
    product = first * second.T if b == MOVED else first * second
    whole = number(ts.Covariance(a, b)) + product
    found = sympy.Matrix([number(ts.SecondMoment(a, b))])
    for one, other in zip(sympy.Matrix([whole]).flat(), found.flat(), strict=True):
        assert all(sympy.expand(one).coeff(eta, d) == other.coeff(eta, d) for d in range(order + 1))


def test_a_covariance_matrix_is_symmetric() -> None:
    matrix = derive(ts.Variance(MOVED), ts.SGD(N=2, B=1, E=2)).evaluate(LANDSCAPE, START)
    assert matrix.shape == (2, 2)
    assert matrix == matrix.T
    crossed = derive(ts.Covariance(TEST, MOVED), ts.GD(N=2, T=2)).evaluate(LANDSCAPE, START)
    assert crossed == derive(ts.Covariance(MOVED, TEST), ts.GD(N=2, T=2)).evaluate(LANDSCAPE, START)


def coefficients(formula: ts.Formula) -> dict[Any, sympy.Expr]:
    return {term.value: term.coefficient for term in formula.terms}


def test_algebra_acts_on_coefficients() -> None:
    f, g = derive(TEST), derive(TRAIN)
    for combined, rule in [
        (f + g, lambda a, b: a + b),
        (f - g, lambda a, b: a - b),
        (2 * f, lambda a, b: 2 * a),
        (f * Fraction(2, 3), lambda a, b: a * Rational(2, 3)),
        (f / 3, lambda a, b: a / 3),
        (f / Rational(2, 7), lambda a, b: a * Rational(7, 2)),
        (N * f, lambda a, b: N * a),
        (f / B, lambda a, b: a / B),
        (-f, lambda a, b: -a),
        (0 * f, lambda a, b: Integer(0)),
    ]:
        mine, yours, found = coefficients(f), coefficients(g), coefficients(combined)
        for value in mine.keys() | yours.keys():
            expected = rule(mine.get(value, Integer(0)), yours.get(value, Integer(0)))
            assert sympy.simplify(found.get(value, Integer(0)) - expected) == 0
        assert all(coefficient != 0 for coefficient in found.values())


def test_a_vector_space() -> None:
    f, g, h = derive(TEST, order=2), derive(TRAIN, order=2), derive(TEST, ts.GD(), 2)
    assert f + g == g + f
    assert (f + g) + h == f + (g + h)
    assert 2 * (f + g) == 2 * f + 2 * g
    assert f - f == 0 * g
    assert not f - f
    assert (f - f).terms == ()
    assert str(f - f) == "0"
    assert sum([f, g, h]) == f + g + h  # type: ignore[arg-type]
    assert sum([f[d] for d in range(3)]) == f  # type: ignore[arg-type]
    assert f != g
    assert f != 3
    assert bool(f)


def test_equality_looks_through_the_way_coefficients_are_written() -> None:
    f = derive(TEST, order=2)
    expanded = ts.Formula(
        [ts.Term(sympy.expand(t.coefficient), t.value, t.diagrams) for t in f.terms], f.spacetimes, {}
    )
    assert expanded == f
    assert hash(expanded) == hash(f)
    assert len({f, expanded, derive(TEST, order=2)}) == 1
    assert (f * (N**2 - 1) / (N - 1)).simplify() == (N + 1) * f


def test_equality_does_not_depend_on_the_spacetime() -> None:
    assert derive(TEST, ts.GD()) == derive(TEST, ts.SGD(N=N, B=N, E=T))
    assert derive(TEST, ts.Grid([[1, 1], [1, 1]])) == derive(TEST, ts.GD(N=2, T=2))
    assert derive(TEST, ts.SGD(N=4, B=4, E=2)) == derive(TEST, ts.GD(N=4, T=2))
    assert derive(TEST, ts.SGD(N=4, B=4, E=2)) != derive(TEST, ts.GD(N=4, T=3))


def test_parts_by_order() -> None:
    f = derive(TEST)
    assert f.order == 3
    for d in range(4):
        assert all(term.order == term.value.order == d for term in f[d].terms)
        assert f[d].order == d
    assert f[1] + f[0] == f.truncate(1) == derive(TEST, order=1)
    assert not f[7]
    assert [t.order for t in f.terms] == sorted(t.order for t in f.terms)
    assert f.values == tuple(t.value for t in f.terms)


@pytest.mark.parametrize("order", [-1, 1.0, "1", True, None, slice(0, 2)])
def test_parts_that_do_not_exist(order: Any) -> None:
    with pytest.raises(TypeError, match="an order is an integer of at least 0; f.terms lists the terms"):
        derive(TEST)[order]


def test_iteration_goes_through_terms_not_orders() -> None:
    f = derive(TEST)
    assert tuple(f) == f.terms and len(f) == len(f.terms) > f.order + 1
    assert len(f - f) == 0 and list(f - f) == []


@pytest.mark.parametrize("scale", [0.5, 1e3, True])
def test_only_exact_multiples(scale: Any) -> None:
    for scaled in (lambda: derive(TEST) * scale, lambda: scale * derive(TEST), lambda: derive(TEST) / scale):
        with pytest.raises(TypeError, match="is not exact; scale a formula by an int, a Fraction or a SymPy"):
            scaled()


def test_what_does_not_add() -> None:
    with pytest.raises(ValueError, match="a scalar and a vector don't add"):
        _ = derive(TEST) + derive(MOVED)
    with pytest.raises(ValueError, match="both formulas observe something called 's'; give one another name"):
        _ = derive(ts.Observable(x)) + derive(ts.Observable(x**2))
    for other in (1, "l", None, sympy.Symbol("l")):
        with pytest.raises(TypeError, match="unsupported operand"):
            derive(TEST) + other  # type: ignore[operator]
        with pytest.raises(TypeError, match="unsupported operand"):
            derive(TEST) - other  # type: ignore[operator]
    with pytest.raises(TypeError):
        derive(TEST) * derive(TEST)  # type: ignore[operator]
    with pytest.raises(ZeroDivisionError, match="can't be divided by 0"):
        _ = derive(TEST) / 0


def test_different_observables_add_under_different_names() -> None:
    both = derive(ts.Observable(x, name="u")) + derive(ts.Observable(y**2, name="v"))
    numbers = {"N": 2, "B": 1, "E": 2}
    apart = [derive(ts.Observable(s)).evaluate(LANDSCAPE, START, **numbers) for s in (x, y**2)]
    assert both.evaluate(LANDSCAPE, START, **numbers) == sum(apart)
    assert set(both.observables) == {"u", "v"}


@pytest.mark.parametrize("observable", [TEST, TRAIN, GAP, MOVED, ts.Variance(TRAIN), ts.SecondMoment(TEST, TEST)])
@pytest.mark.parametrize("spacetime", [ts.SGD(), ts.GD(), ts.Grid([[1, 0, 1], [0, 1, 0]])])
def test_coefficients_come_from_their_diagrams(observable: Any, spacetime: Spacetime) -> None:
    """(6), with the sign of the gap's root and a factor 1/N for every tie of a training root."""
    order = 2
    batch, size = spacetime.sizes["B"], spacetime.sizes["N"]
    ties = dict(pair for d in range(order + 1) for pair in generalized_diagrams(roots_of(observable), spacetime, d))
    for term in derive(observable, spacetime, order).terms:
        total = Integer(0)
        for diagram in term.diagrams:
            z = spacetime.embeddings(diagram) / size ** ties[diagram]
            total += (-1) ** term.order * z / (batch**term.order * diagram.automorphisms)
        sign = -1 if observable == GAP else 1
        assert sympy.simplify(term.coefficient - sign * total) == 0
        assert len(set(term.diagrams)) == len(term.diagrams)
        assert all(diagram.order == term.order for diagram in term.diagrams)


def test_every_diagram_stands_behind_one_term() -> None:
    for order in range(4):
        diagrams = [diagram for term in derive(TEST, order=order)[order].terms for diagram in term.diagrams]
        assert set(diagrams) == set(ts.diagrams_of_order(order))
        assert len(diagrams) == len(set(diagrams))


def test_terms_are_canonical() -> None:
    """Each value once, no zero, the same order of terms whatever the route."""
    f = derive(TEST) + derive(GAP) - derive(GAP)
    assert f.values == derive(TEST).values
    assert len(set(f.values)) == len(f.values)
    one, *_ = f.terms
    assert (one.coefficient, one.value, one.order) == (1, Value((-1,)), 0)


@pytest.mark.parametrize("spacetime", [*WITH_DATA, ts.ODE(), ts.SDE()])
def test_order_0(spacetime: Spacetime) -> None:
    """Nothing has moved: the loss at θ_0, no gap, no displacement, no variance of the test loss."""
    assert derive(TEST, spacetime, 0).text(lhs=False) == "l"
    assert not derive(MOVED, spacetime, 0)
    assert not derive(ts.Variance(TEST), spacetime, 0)
    assert derive(ts.SecondMoment(TEST, TEST), spacetime, 0).text(lhs=False) == "l l"
    s = derive(ts.Observable(x**2 + y), spacetime, 0)
    assert s.subs().evaluate(LANDSCAPE, START) == Rational(1, 2)
    if spacetime.has_training_set:
        assert derive(TRAIN, spacetime, 0) == derive(TEST, spacetime, 0)
        assert not derive(GAP, spacetime, 0)
        spread = derive(ts.Variance(TRAIN), spacetime, 0)
        assert [term.coefficient for term in spread.terms] == [1 / spacetime.sizes["N"]]


def test_the_formula_zero() -> None:
    zero = derive(GAP, order=0)
    assert zero.order == 0
    assert (zero.text(lhs=False), zero.latex(lhs=False)) == ("0", "0")
    assert str(zero).endswith("] = O(η^1)    with T = E*N/B")
    assert zero.evaluate(LANDSCAPE, START) == 0
    assert zero.to_sympy() == 0
    nowhere = derive(MOVED, order=0)
    assert nowhere.evaluate(LANDSCAPE, START) == sympy.zeros(2, 1)
    assert derive(ts.Variance(MOVED), order=0).evaluate(LANDSCAPE, START) == sympy.zeros(2, 2)


@pytest.mark.parametrize("order", [-1, 1.0, True, "2", None])
def test_impossible_orders(order: Any) -> None:
    with pytest.raises(ValueError, match="is not an order; it must be an integer of at least 0"):
        ts.derive(TEST, ts.SGD(), order)


def test_what_is_neither_observed_nor_a_spacetime() -> None:
    for observable in (3, ts.TestLoss, "TestLoss", None):
        with pytest.raises(TypeError, match="is not an observable; give TestLoss"):
            ts.derive(observable, ts.SGD(), 1)  # type: ignore[arg-type]
    for spacetime in (3, ts.SGD, "SGD", None):
        with pytest.raises(TypeError, match="is not a spacetime; give SGD"):
            ts.derive(TEST, spacetime, 1)  # type: ignore[arg-type]
    for pair in (ts.Covariance, ts.SecondMoment):
        with pytest.raises(TypeError, match=r"a=1 is not a single observable; a \w+ takes two of TestLoss"):
            pair(1, TEST)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="b=Covariance.* is not a single observable"):
            pair(TEST, ts.Variance(TEST))  # type: ignore[arg-type]


def test_observables_are_checked() -> None:
    with pytest.raises(TypeError, match="is neither a SymPy expression nor a function of theta"):
        ts.Observable("x**2")
    with pytest.raises(TypeError, match="name=3 is not a string"):
        ts.Observable(x, name=3)  # type: ignore[arg-type]
    for name in ("", "l", "@0"):
        with pytest.raises(ValueError, match="is taken; call the observable something else"):
            ts.Observable(x, name=name)
    with pytest.raises(ValueError, match="share the name 's'; give each its own"):
        derive(ts.Covariance(ts.Observable(x), ts.Observable(y)))
    assert ts.Observable(x) == ts.Observable(x) != ts.Observable(y)


def test_sizes_of_the_loss_do_not_matter_to_the_formula() -> None:
    """E, N and T of the shared table are plain symbols: a formula is written in exactly those."""
    assert {s for t in derive(TEST).terms for s in t.coefficient.free_symbols} == {N, B, E}
    assert {s for t in derive(TEST, ts.GD()).terms for s in t.coefficient.free_symbols} == {N, T}


KINDS: list[dict[str, Any]] = [{}, {"resum": "discrete"}, {"resum": "continuous"}]


@pytest.mark.parametrize("kind", KINDS)
def test_both_kinds_of_value_answer_alike(kind: dict[str, Any]) -> None:
    formula = ts.derive(TRAIN, ts.GD(), 2, **kind)
    for value in formula.values:
        assert value.is_resummed == (bool(kind) and value.order > 0)
        assert value.free_symbols == ({T} if value.is_resummed else set())
        assert (value.substitute({T: Integer(7)}) == value) == (not value.is_resummed)
        assert list(value.in_cumulants()) == [(1, value)]
        assert type(value).from_data(value.to_data()) == value
        assert value.degrees == tuple(map(len, value.neighbours))
        if not value.is_resummed:
            assert sum(number for number, _ in value.in_moments()) == (len(value.blocks) == len(value.parts))
    if kind:
        with pytest.raises(ValueError, match="a resummed formula is in cumulants"):
            formula.to_moments()


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_pickled_through_their_constructors(kind: dict[str, Any]) -> None:
    """Hashes of texts differ from one process to the next: neither a hash nor anything derived is kept."""
    for value in ts.derive(MOVED, ts.SGD(B=1, E=1), 2, **kind).values:
        _ = str(value), hash(value), value.degrees
        again = pickle.loads(pickle.dumps(value))
        assert again == value
        assert hash(again) == hash(value)
        assert "degrees" not in vars(again)
        with pytest.raises(AttributeError, match="cannot assign to field 'marks'"):
            again.marks = ()
