"""A formula knows what it equals: through its algebra, through substitution, on the page and in JSON.

Identities:
    (1) E[a − b] is written for a difference of formulas, and what cancels is known to be gone
    (2) sizes that are put in are those of the expectation too, times of observation as well
    (3) every left-hand side is set by mathtext, and differs from any other
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from matplotlib.mathtext import MathTextParser
from sympy import Rational, Symbol

import taylorsgd as ts
from taylorsgd.formulas.expectations import Run

x, t = Symbol("x"), Symbol("t")
LOSS, TRAIN, GAP, MOVED = ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement()


@pytest.mark.parametrize(
    ("observable", "left"),
    [
        (LOSS, "E[l(θ_T)]"),
        (TRAIN, "E[l_train(θ_T)]"),
        (GAP, "E[l(θ_T) - l_train(θ_T)]"),
        (MOVED, "E[(θ_T - θ_0)^μ]"),
        (ts.Observable(x**2, name="R_IG"), "E[R_IG(θ_T)]"),
        (ts.Variance(LOSS), "Var[l(θ_T)]"),
        (ts.Covariance(MOVED, MOVED), "Cov[(θ_T - θ_0)^μ, (θ_T - θ_0)^ν]"),
        (ts.Covariance(LOSS, LOSS, times=(t, None)), "Cov[l(θ_t), l(θ_T)]"),
        (ts.SecondMoment(GAP, LOSS), "E[(l(θ_T) - l_train(θ_T)) l(θ_T)]"),
    ],
)
def test_the_left_hand_side(observable: Any, left: str) -> None:
    formula = ts.derive(observable, ts.GD(), 2)
    assert formula.observable == observable
    assert formula.order == 2
    assert str(formula).startswith(f"{left} = ")
    assert str(formula).endswith("O(η^3)")
    assert formula.expectations is not None
    MathTextParser("path").parse(f"${formula.expectations.written()[0]}$")


def test_left_hand_sides_differ() -> None:
    singles = [LOSS, TRAIN, GAP, MOVED, ts.Observable(x)]
    observables = [*singles, *(ts.Covariance(a, b) for a, b in combinations(singles, 2)), *map(ts.Variance, singles)]
    sides = {str(ts.derive(observable, ts.SGD(), 1)).split(" = ")[0] for observable in observables}
    assert len(sides) == len(observables)


def test_differences_and_multiples() -> None:
    sgd, gd = (ts.derive(LOSS, place, 2) for place in (ts.SGD(B=1, E=1), ts.GD()))
    assert str(sgd - gd).startswith("E_SGD[l(θ_N)] - E_GD[l(θ_T)] = ")
    assert str(sgd / 2).startswith("1/2 E[l(θ_T)] = ")
    assert (sgd - sgd).expectations is None and str(sgd - sgd) == "0"
    assert (sgd - gd).observable is None
    momentum = ts.derive(LOSS, ts.GD(), 1, update=ts.HeavyBall(Rational(1, 2)))
    assert str(momentum - gd).startswith("E_HeavyBall[l(θ_T)] - E_Descent[l(θ_T)] = ")
    test, train = (ts.derive(s, ts.GD(), 3) for s in (LOSS, TRAIN))
    assert (test - train.truncate(1)).order == 1


def test_parts_and_altered_formulas_claim_nothing() -> None:
    formula = ts.derive(LOSS, ts.GD(), 2)
    assert formula[1].expectations is None and str(formula[1]) == "-T G_μ G^μ"
    altered = formula - formula[2] / 10
    assert altered.expectations is not None and altered.expectations.altered
    assert "=" not in str(altered) and "altered by hand" in altered.expectations.heading


def test_assumptions_are_said() -> None:
    formula = ts.derive(LOSS, ts.SGD(B=1, E=1), 2)
    assert str(formula.assume("minimum", "gaussian")).endswith("with T = N, G = 0, normal noise")
    assert formula.assume("minimum").assume("minimum") == formula.assume("minimum")


def test_sizes_are_those_of_the_expectation() -> None:
    formula = ts.derive(ts.Covariance(LOSS, LOSS, times=(t, None)), ts.SGD(B=2, E=1), 2)
    assert formula.sizes["B"] == 2 and formula.sizes["T"] == ts.symbols.N / 2
    known = formula.subs(N=8, t=3)
    assert known.observable == ts.Covariance(LOSS, LOSS, times=(3, None))
    assert str(known).startswith("Cov[l(θ_3), l(θ_4)] = ")
    # An observable's time is a size of its formula even where the formula does not depend on it.
    nothing = ts.derive(ts.Covariance(LOSS, LOSS, times=(t, None)), ts.GD(), 0)
    assert not nothing.terms
    assert nothing.subs(t=1).observable == ts.Covariance(LOSS, LOSS, times=(1, None))


def test_limits_and_drifts() -> None:
    gap = ts.derive(GAP, ts.GD(), 1, resum="discrete").limit()
    assert str(gap) == "E[l(θ_∞) - l_train(θ_∞)] = 1/N Σ_μ C_μμ 1/λ_μ + …"
    valley = ts.derive(MOVED, ts.SDE(B=1), 3, resum="continuous").assume("minimum").drift()
    assert str(valley).startswith("E[θ_(T + 1) - θ_T]^μ = ")


@pytest.mark.parametrize(
    "formula",
    [
        ts.derive(ts.Covariance(LOSS, MOVED, times=(t, None)), ts.GD(), 2),
        ts.derive(LOSS, ts.GD(), 1, update=ts.Nesterov(Symbol("beta"))) - ts.derive(LOSS, ts.GD(), 1),
        ts.derive(GAP, ts.GD(), 1, resum="continuous").assume("minimum").limit(),
        ts.derive(LOSS, ts.GD(), 1, penalty=ts.Observable(x**2, name="p")),
        ts.derive(LOSS, ts.GD(), 2) + ts.derive(LOSS, ts.GD(), 2)[1],
        ts.derive(LOSS, ts.GD(), 2)[1],
    ],
)
def test_json_keeps_it(formula: ts.Formula) -> None:
    again = ts.Formula.from_json(formula.to_json())
    assert again.expectations == formula.expectations and again.through == formula.through
    assert str(again) == str(formula)


@pytest.mark.parametrize("damage", ['"ends": "end"', '"kind": "TestLoss"', '"through": 2'])
def test_damaged_json(damage: str) -> None:
    text = ts.derive(LOSS, ts.GD(), 2).to_json()
    assert damage in text
    with pytest.raises(ValueError, match="damaged"):
        ts.Formula.from_json(text.replace(damage, damage.replace(damage.split(": ")[1], '"oops"')))


def test_what_differs_is_named() -> None:
    one = Run(ts.SGD(N=8, B=1, E=2))
    assert one.differs_from(Run(ts.SGD(N=4, B=1, E=2))) == "N=8 is not N=4"
    assert one.differs_from(Run(ts.SGD())) is None, "symbols may stand for any number"
    assert "is not GD" in str(one.differs_from(Run(ts.GD())))
    assert "shuffle" in str(one.differs_from(Run(ts.SGD(N=8, B=1, E=2, shuffle=True))))
    assert "HeavyBall" in str(one.differs_from(Run(one.spacetime, ts.HeavyBall(Rational(1, 2)))))
    symbolic = Run(one.spacetime, ts.HeavyBall(Symbol("beta")))
    assert symbolic.differs_from(Run(one.spacetime, ts.HeavyBall(Rational(1, 2)))) is None
