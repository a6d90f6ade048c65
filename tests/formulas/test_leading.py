r"""Leading parts, and a learning rate that is tied to sizes.

Identities:
    (1) leading(size) keeps of every order the values with the greatest power, and coefficient / leading → 1
    (2) f.subs(eta=expr) at some sizes is f at the learning rate expr, in evaluate, lower and to_sympy
    (3) with η in the expression, η is rescaled; η is tied once, not in resummed formulas, and survives JSON
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from sympy import Rational, Symbol

import taylorsgd as ts
from taylorsgd.formulas.size_powers import leading_power
from taylorsgd.symbols import B, E, N, T, eta

c, x = Symbol("c"), Symbol("x")
LANDSCAPE = ts.FiniteLandscape([x**3 - x, x**2 + 2 * x], [Rational(1, 3), Rational(2, 3)], [x])
SPACETIMES = [ts.SGD(), ts.SGD(E=1), ts.GD(), ts.Replacement(), ts.SDE(), ts.SGD(shuffle=True)]
OBSERVABLES = [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement(), ts.Variance(ts.TestLoss())]


@pytest.mark.parametrize("spacetime", SPACETIMES, ids=repr)
@pytest.mark.parametrize("observable", OBSERVABLES, ids=repr)
def test_the_ratio_tends_to_one(observable: Any, spacetime: Any) -> None:
    if isinstance(spacetime, ts.SDE) and observable in OBSERVABLES[1:3]:
        pytest.skip("no training set")
    f = ts.derive(observable, spacetime, 3)
    for size in sorted({str(s) for s in spacetime.free_symbols} | {"T"}):
        leading = f.leading(size)
        growing = Symbol(size)
        rewritten = {E: T * B / N} if size == "T" and T not in spacetime.free_symbols else {}
        if size == "T" and isinstance(spacetime, ts.SGD) and spacetime.E == 1:
            rewritten = {N: T * B}
        others = {N: 7, B: 3, E: 5, T: 11}
        others.pop(growing)
        for order in range(4):
            grown: dict[Any, float] = {}
            for term in f[order]:
                written = term.coefficient.subs(rewritten, simultaneous=True).subs(others)
                ratio = written.subs(growing, 2 * 10**9) / written.subs(growing, 10**9)
                grown[term.value] = round(float(sympy.log(abs(ratio), 2)), 6)
                kept = leading.coefficient(term.value)
                if kept != 0:
                    limit = (written / kept.subs(others)).subs(growing, 10**9)
                    assert abs(float(limit) - 1) < 1e-6, (term.value, size)
            powers = {value: round(power) for value, power in grown.items()}
            expected = {value for value, power in powers.items() if power == max(powers.values())}
            assert {term.value for term in leading[order]} == expected, (observable, spacetime, size, order)


def test_what_is_left_of_one_step_of_reading() -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(), 2)
    assert f.leading("N").coefficient("G H G") == f.leading(N).coefficient("G H G") == E**2 * N**2 / B**2
    assert len(f.leading("N")[2]) == 1 and len(f.leading("E")[2]) == 3
    assert f.leading("T").coefficient("C H") == T**2 / (2 * N)
    assert f.leading("T").subs(T=6, N=4, B=2) == f.leading("T").subs(N=4, B=2, T=6)


def test_powers_of_momentum_die_out() -> None:
    f = ts.derive(ts.TestLoss(), ts.GD(), 2, update=ts.HeavyBall(Rational(1, 2)))
    assert f.leading("T").coefficient("G G") == -2 * T
    assert leading_power(2**T * T, T) is None


@pytest.mark.parametrize("size", ["Q", "M", "eta"])
def test_sizes_that_do_not_grow(size: str) -> None:
    with pytest.raises(ValueError, match="no size of this formula grows by that name; it has B, E, N, T"):
        ts.derive(ts.TestLoss(), ts.SGD(), 1).leading(size)


def test_resummed_values_keep_their_T() -> None:
    f = ts.derive(ts.TestLoss(), ts.GD(), 2, resum="discrete")
    assert len(f.leading("N")) == 3  # those without 1/N
    with pytest.raises(NotImplementedError, match=r"depends on T itself; use limit\(\)"):
        f.leading("T")


TIED = st.sampled_from([c * B, c / N, c * sympy.sqrt(B), c * B / T, Rational(1, 3), 2, c])


@given(st.sampled_from(OBSERVABLES), st.sampled_from([ts.SGD(), ts.Replacement()]), TIED)
def test_a_tied_rate_is_that_rate(observable: Any, spacetime: Any, rate: Any) -> None:
    f = ts.derive(observable, spacetime, 2)
    tied = f.subs(eta=rate)
    sizes = {"N": 4, "B": 2, "T": 6}
    put = sympy.sympify(rate).subs({N: 4, B: 2, T: 6, c: Rational(1, 5)})
    extra = {"c": Rational(1, 5)} if tied.terms and c in sympy.sympify(rate).free_symbols else {}
    expected = f.evaluate(LANDSCAPE, [1], eta=put, **sizes)
    found = tied.evaluate(LANDSCAPE, [1], **sizes, **extra)
    assert sympy.simplify(expected - found) == sympy.zeros(1, 1)[0] * expected
    assert eta not in tied.to_sympy().free_symbols and tied.rate == 1
    assert ts.Formula.from_json(tied.to_json()) == tied != f


def test_lowered_without_a_learning_rate() -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(), 2)
    g, tied = f.lower(), f.subs(eta=c * B).lower()
    tensors = [1.0, 0.5, 0.25, 0.75, 2.0]
    expected = g(tensors, eta=0.2, N=8, B=2, E=3)
    np.testing.assert_allclose(tied(tensors, c=0.1, N=8, B=2, E=3), expected, rtol=1e-6)
    np.testing.assert_allclose(tied.contributions(tensors, c=0.1, N=8, B=2, E=3).sum(), expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"eta=0.1: the learning rate of this formula was tied"):
        tied(tensors, eta=0.1, c=0.1, N=8, B=2, E=3)
    with pytest.raises(TypeError, match="eta is missing"):
        g(tensors, N=8, B=2, E=3)


def test_the_linear_scaling_rule() -> None:
    """At η = cB the noiseless terms of the leading order in T forget B, and C·H keeps what SGD has for noise."""
    f = ts.derive(ts.TestLoss(), ts.SGD(), 2).subs(eta=c * B)
    assert f.coefficient("G G") == -c * E * N
    assert f.coefficient("C H") == c**2 * E**2 * N / 2
    assert f.subs(B=2, N=4, E=1).rate == 1


def test_a_rescaled_rate() -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(), 2)
    scaled = f.subs(eta=eta * B)
    assert scaled.rate == eta and scaled.coefficient("C H") == E**2 * N / 2
    assert scaled.evaluate(LANDSCAPE, [1], N=4, B=2, E=1) == f.evaluate(LANDSCAPE, [1], eta=2 * eta, N=4, B=2, E=1)


def test_what_a_rate_can_not_be() -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(), 1)
    with pytest.raises(ValueError, match="proportional to eta"):
        f.subs(eta=eta**2)
    with pytest.raises(ValueError, match="proportional to eta"):
        f.subs(eta=eta + 1)
    with pytest.raises(TypeError, match="not exact"):
        f.subs(eta=0.1)
    with pytest.raises(TypeError, match="exact number or SymPy expression"):
        f.subs(eta="c*B")
    tied = f.subs(eta=c)
    with pytest.raises(ValueError, match="tied already"):
        tied.subs(eta=c)
    with pytest.raises(ValueError, match="leave out eta"):
        tied.evaluate(LANDSCAPE, [1], eta=1, N=1, B=1, E=1, c=1)
    with pytest.raises(ValueError, match=r"effective_flow: the learning rate of this formula was tied"):
        ts.derive(ts.Displacement(), ts.GD(), 1).subs(eta=c).effective_flow()
    with pytest.raises(ValueError, match="tie both or none"):
        _ = tied + f
    with pytest.raises(NotImplementedError, match=r"supported are formulas without resum="):
        ts.derive(ts.TestLoss(), ts.GD(), 1, resum="discrete").subs(eta=c)
