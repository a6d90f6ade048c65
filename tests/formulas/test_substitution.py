r"""Putting sizes into formulas: any sizes that determine the free ones, and never a contradiction.

References: Tenka, section 1.2: T = EN/B, M = T/N = E/B.

Identities:
    (1) derive(s, SGD()).subs(N, B, E) = derive(s, SGD(N, B, E)) = derive(s, Grid), for many sizes
    (2) T and M may stand for any size that they determine; what is given twice must agree
    (3) subs replaces all at once, and the spacetime changes with the coefficients
    (4) in a sum of formulas a symbol means itself, and one T or N serves all of them
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from sympy import Rational, Symbol

import taylorsgd as ts
from taylorsgd.symbols import B, E, M, N, T, eta

x = Symbol("x")
LANDSCAPE = ts.FiniteLandscape([x**3 - x, x**2 + 2 * x], [Rational(1, 3), Rational(2, 3)], [x])
OBSERVABLES = [
    ts.TestLoss(),
    ts.TrainLoss(),
    ts.GeneralizationGap(),
    ts.Displacement(),
    ts.Variance(ts.TrainLoss()),
    ts.Covariance(ts.TestLoss(), ts.Displacement()),
    ts.SecondMoment(ts.GeneralizationGap(), ts.TrainLoss()),
]
SIZES = [(1, 1, 1), (1, 1, 4), (3, 1, 1), (4, 2, 1), (2, 2, 3), (4, 2, 3), (6, 3, 2), (8, 1, 1), (12, 4, 2)]


@cache
def symbolic(observable: Any, order: int = 2) -> ts.Formula:
    return ts.derive(observable, ts.SGD(), order)


def grid(n: int, b: int, e: int) -> ts.Grid:
    return ts.Grid([[t % (n // b) == row // b for t in range(e * n // b)] for row in range(n)])


@pytest.mark.parametrize("observable", OBSERVABLES)
def test_substituted_and_derived_agree(observable: Any) -> None:
    for n, b, e in SIZES:
        substituted = symbolic(observable).subs(N=n, B=b, E=e)
        concrete = ts.derive(observable, ts.SGD(N=n, B=b, E=e), 2)
        assert substituted == concrete
        assert substituted.spacetimes == concrete.spacetimes
        assert ts.derive(observable, grid(n, b, e), 2) == concrete


@pytest.mark.parametrize("observable", OBSERVABLES[:4])
def test_substituted_and_derived_agree_at_third_order(observable: Any) -> None:
    for n, b, e in SIZES[4:7]:
        concrete = ts.derive(observable, ts.SGD(N=n, B=b, E=e), 3)
        assert symbolic(observable, 3).subs(N=n, B=b, E=e) == concrete == ts.derive(observable, grid(n, b, e), 3)


@pytest.mark.parametrize("observable", OBSERVABLES)
@pytest.mark.parametrize("sizes", [{"B": 1}, {"E": 1}, {"B": 1, "E": 1}, {"N": 6}, {"B": N}, {"N": 2 * B, "E": M * B}])
def test_families(observable: Any, sizes: dict[str, Any]) -> None:
    assert symbolic(observable).subs(sizes) == ts.derive(observable, ts.SGD(**sizes), 2)


def test_gd_is_a_family_of_sgd() -> None:
    for observable in OBSERVABLES:
        assert symbolic(observable).subs({B: N, E: T}) == ts.derive(observable, ts.GD(), 2)


@given(st.data())
def test_any_determining_sizes_will_do(data: st.DataObject) -> None:
    b = data.draw(st.integers(1, 3))
    n, e = b * data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    everything = {"N": n, "B": b, "E": e, "T": e * n // b, "M": Rational(e, b)}
    f = symbolic(ts.TestLoss())
    expected = f.subs(N=n, B=b, E=e)
    determining = data.draw(
        st.sampled_from(["NBE", "NBT", "NBM", "NET", "NEM", "BET", "BTM", "ETM", "NBETM", "NBTM", "BETM"])
    )
    found = f.subs({name: everything[name] for name in data.draw(st.permutations(determining))})
    assert found == expected
    assert found.spacetimes == expected.spacetimes


def test_keys_are_names_or_symbols() -> None:
    f = symbolic(ts.TestLoss())
    assert f.subs({"N": 4, "B": 2}, E=3) == f.subs({N: 4, B: 2, E: 3}) == f.subs(N=4, B=2, E=3)
    assert f.subs() == f.subs({}) == f


def test_all_at_once() -> None:
    f = symbolic(ts.TestLoss())
    swapped = f.subs(N=E * B, E=N / B)
    assert [
        sympy.simplify(t.coefficient - u.coefficient) for t, u in zip(f[1].terms, swapped[1].terms, strict=True)
    ] == [E * N / B - E * N / B]
    assert f.subs(N=2 * N).subs(N=3) == f.subs(N=6)
    assert f.subs(N=T, B=1, E=1)[1].terms[0].coefficient == -T


def test_one_size_at_a_time() -> None:
    f = symbolic(ts.TrainLoss())
    assert f.subs(N=6).subs(B=3).subs(E=2) == f.subs(E=2).subs(N=6, B=3) == f.subs(N=6, B=3, E=2)
    assert f.subs(B=2).subs(T=9, N=6) == f.subs(N=6, B=2, E=3)


def test_users_own_symbols() -> None:
    k, m = sympy.symbols("k m", positive=True)
    f = symbolic(ts.TestLoss()).subs(N=k * m, B=m, E=1)
    assert f.spacetimes == (ts.SGD(N=k * m, B=m, E=1),)
    assert f.subs({k: 3}, m=2) == symbolic(ts.TestLoss()).subs(N=6, B=2, E=1)
    assert f.subs(T=5, m=2) == symbolic(ts.TestLoss()).subs(N=10, B=2, E=1)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"Q": 3}, "Q=3 is no size of this formula; it has B, E, M, N, T"),
        ({"N": 4, "B": 2, "E": 3, "T": 5}, "T=5 contradicts the other sizes, which make T = 6"),
        ({"N": 4, "B": 2, "E": 3, "M": 1}, "M=1 contradicts the other sizes, which make M = 3/2"),
        ({"N": 4, "T": 6, "M": 2}, "contradicts the other sizes"),
        ({"M": 2}, "M=2 is not enough: here M = E/B; give B or E as well"),
        ({"T": 12, "N": 4}, "T=12 is not enough: here T = E*N/B; give B or E as well"),
        ({"N": 4, "B": 3, "E": 1}, "B=3 does not divide N=4"),
        ({"N": 4, "B": 2, "T": 7}, "E=7/2 is impossible; it must be an integer of at least 0"),
        ({"N": 0}, "N=0 is impossible"),
        ({"B": -1}, "B=-1 is impossible"),
        ({"E": -1}, "E=-1 is impossible"),
        ({"N": Rational(5, 2)}, "N=5/2 is impossible"),
    ],
)
def test_impossible_sizes(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("*", r"\*")):
        symbolic(ts.TestLoss()).subs(sizes)
    with pytest.raises(ValueError):
        symbolic(ts.TestLoss()).evaluate(LANDSCAPE, [1], **sizes)


@pytest.mark.parametrize("value", [2.5, "3", True, None, [4], 4.0])
def test_what_is_no_size(value: Any) -> None:
    with pytest.raises(TypeError, match="is not a size; give an integer or a SymPy expression"):
        symbolic(ts.TestLoss()).subs(N=value)


def test_concrete_sizes_are_checked_as_well() -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(N=4, B=2, E=3), 2)
    assert f.subs(N=4, T=6) == f
    with pytest.raises(ValueError, match="N=5 contradicts the other sizes, which make N = 4"):
        f.subs(N=5)
    with pytest.raises(ValueError, match="T=7 contradicts"):
        f.evaluate(LANDSCAPE, [1], T=7)
    on_a_grid = ts.derive(ts.TestLoss(), grid(4, 2, 3), 2)
    assert on_a_grid.subs(N=4, B=2, T=6, M=Rational(3, 2)) == on_a_grid
    with pytest.raises(ValueError, match="B=1 contradicts"):
        on_a_grid.subs(B=1)


def test_flows() -> None:
    ode, sde = ts.derive(ts.TestLoss(), ts.ODE(), 2), ts.derive(ts.TestLoss(), ts.SDE(), 2)
    assert ode.subs(T=5) == ts.derive(ts.TestLoss(), ts.ODE(T=5), 2)
    assert sde.subs(B=2, T=E * N / B) == ts.derive(ts.TestLoss(), ts.SDE(T=E * N / B, B=2), 2)
    with pytest.raises(ValueError, match="N=3 is no size of this formula; it has T"):
        ode.subs(N=3)


def test_gd_names_its_batch_and_epochs() -> None:
    gd = ts.derive(ts.TestLoss(), ts.GD(), 2)
    assert gd.subs(B=3, E=4) == gd.subs(N=3, T=4) == gd.subs(N=3, B=3, E=4, T=4)
    with pytest.raises(ValueError, match="contradicts"):
        gd.subs(N=3, B=2, T=4)
    with pytest.raises(ValueError, match="contradicts"):
        gd.subs(N=3, E=2, T=4)


def test_a_difference_of_two_dynamics() -> None:
    """B = N of GD does not get in the way of the B of SGD; T of GD and EN/B of SGD are one number."""
    sgd, gd = symbolic(ts.TestLoss()), ts.derive(ts.TestLoss(), ts.GD(), 2)
    apart = sgd.subs(N=4, B=2, E=3) - gd.subs(N=4, T=6)
    assert (sgd - gd).subs(N=4, B=2, E=3, T=6) == apart
    assert (sgd - gd).subs(N=4, B=2, T=6) == apart
    assert (sgd - gd).evaluate(LANDSCAPE, [1], N=4, B=2, T=6) == apart.evaluate(LANDSCAPE, [1])
    ode = ts.derive(ts.TestLoss(), ts.ODE(), 2)
    assert (sgd - ode).subs(N=4, B=2, T=6) == sgd.subs(N=4, B=2, E=3) - ode.subs(T=6)


def test_a_difference_of_two_numbers_of_epochs() -> None:
    many = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=M), 2)
    one = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2)
    assert (many - one).subs(N=3, M=2) == many.subs(N=3, M=2) - one.subs(N=3)


def test_missing_sizes() -> None:
    f = symbolic(ts.TestLoss())
    for sizes, missing in [({}, "B, E, N"), ({"N": 4}, "B, E"), ({"B": 1, "E": 2}, "N")]:
        message = f"the sizes {missing} have no value yet; give enough of B, E, M, N, T as keywords"
        with pytest.raises(ValueError, match=message):
            f.evaluate(LANDSCAPE, [1], **sizes)
    assert f[0].evaluate(LANDSCAPE, [1]) == LANDSCAPE.loss.subs(x, 1), "order 0 needs no size"


def test_evaluate_takes_any_determining_sizes() -> None:
    f = symbolic(ts.TestLoss())
    expected = ts.derive(ts.TestLoss(), ts.SGD(N=6, B=2, E=3), 2).evaluate(LANDSCAPE, [1])
    for sizes in ({"N": 6, "B": 2, "E": 3}, {"T": 9, "N": 6, "B": 2}, {"T": 9, "M": Rational(3, 2), "B": 2}):
        assert f.evaluate(LANDSCAPE, [1], **sizes) == expected


def test_the_learning_rate() -> None:
    f = symbolic(ts.TestLoss())
    sizes = {"N": 2, "B": 1, "E": 2}
    polynomial = f.evaluate(LANDSCAPE, [1], **sizes)
    assert sympy.Poly(polynomial, eta).degree() == 2
    assert f.evaluate(LANDSCAPE, [1], eta=Rational(1, 10), **sizes) == polynomial.subs(eta, Rational(1, 10))
    h = Symbol("h")
    assert f.evaluate(LANDSCAPE, [1], eta=h / 2, **sizes) == sympy.expand(polynomial.subs(eta, h / 2))


@pytest.mark.parametrize("at", [[1], 1, {x: 1}, (Rational(1),)])
def test_the_point_as_the_landscape_takes_it(at: Any) -> None:
    sizes = {"N": 2, "B": 1, "E": 2}
    for observable in (ts.TestLoss(), ts.Observable(x**3)):
        f = ts.derive(observable, ts.SGD(), 2)
        assert f.evaluate(LANDSCAPE, at, **sizes) == f.evaluate(LANDSCAPE, [1], **sizes)


def test_what_can_not_be_evaluated() -> None:
    f = symbolic(ts.TestLoss())
    with pytest.raises(ValueError, match="has 2 entries; give 1"):
        f.evaluate(LANDSCAPE, [1, 2], N=2, B=1, E=1)
    with pytest.raises(TypeError, match=r"has no cumulant\(degrees, at\); give a FiniteLandscape"):
        f.evaluate(None, [1], N=2, B=1, E=1)
    with pytest.raises(TypeError, match="has no .variables, which an exact Observable"):
        without_variables: Any = type("Bare", (), {"cumulant": LANDSCAPE.cumulant})()
        ts.derive(ts.Observable(x), ts.SGD(), 1).evaluate(without_variables, [1], N=2, B=1, E=1)
