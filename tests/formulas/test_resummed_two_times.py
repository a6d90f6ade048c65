r"""Resummed moments of two observables at two times of one run.

Identities:
    (1) through order d they agree with perturb on random finite landscapes, for all linear rules and dynamics
    (2) what is written in T₁, T₂ and the eigenvalues is the sum over times, one by one
    (3) integrals are limits of sums
    (4) a minimum's autocovariance on a quadratic is Cov(θ_s) K^{t − s}
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import mpmath
import pytest
import sympy
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from orders_of_eta import through
from sympy import Rational

import taylorsgd as ts
from taylorsgd.symbols import eta
from taylorsgd.timesums.events import ROOT
from taylorsgd.timesums.two_moments import TwoMoments

x, s, t = sympy.symbols("x s t")
ALL = ("test loss", "training loss", "gap", "displacement", "variance")
RULES = [None, ts.HeavyBall(Rational(1, 3)), ts.Nesterov(Rational(1, 3), convention="sutskever")]
RUNS = [
    (ts.GD(N=2, T=3), (1, 3)),
    (ts.GD(N=2, T=3), (1, 2)),
    (ts.GD(N=2, T=3), (0, 3)),
    (ts.SGD(N=3, B=1, E=1), (2, 3)),
    (ts.SGD(N=2, B=1, E=2), (1, 3)),
    (ts.SGD(N=2, B=1, E=2, shuffle=True), (3, 4)),
    (ts.SGD(N=2, B=1, E=2, shuffle=True), (1, 3)),
    (ts.SGD(N=2, B=1, E=2, shuffle=True, data="fixed"), (1, 4)),
    (ts.Replacement(N=2, B=2, T=2), (1, 2)),
    (ts.Replacement(N=2, B=1, T=3, data="fixed"), (2, 2)),
]
SINGLE = [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement()]


@pytest.mark.shows("two times", ALL, resum="discrete")
@pytest.mark.parametrize(("order", "examples"), [(2, 25), (3, 2)])
def test_random_landscapes(landscapes, order: int, examples: int) -> None:
    @given(data=st.data())
    @settings(max_examples=examples)
    def run(data: st.DataObject) -> None:
        drawn, start = data.draw(landscapes(1, order + 1, atoms=2))
        spacetime, times = data.draw(st.sampled_from(RUNS))
        fixed = getattr(spacetime, "data", "fresh") == "fixed"
        weights = [Rational(1, 2)] * 2 if fixed else drawn.weights
        landscape = ts.FiniteLandscape(drawn.losses, weights, drawn.variables)
        rule = data.draw(st.sampled_from(RULES))
        a, b = (data.draw(st.sampled_from(SINGLE)) for _ in range(2))
        pair = data.draw(st.sampled_from([ts.SecondMoment, ts.Covariance]))(a, b, times)
        truth = ts.perturb(pair, spacetime, landscape, start, order, update=rule)
        for where, sizes in ((spacetime, {}), in_symbols(spacetime)):
            formula = ts.derive(pair, where, order, resum="discrete", update=rule)
            assert through(formula.evaluate(landscape, start, **sizes), order) == truth

    run()


def in_symbols(spacetime: Any) -> tuple[Any, dict[str, Any]]:
    """The same dynamics with symbols for its sizes, and their values."""
    names = [name for name in attrs.fields_dict(type(spacetime)) if name in ("N", "B", "E", "T")]
    return evolve(spacetime, **dict.fromkeys(names)), {name: spacetime.sizes[name] for name in names}


@pytest.mark.parametrize("spacetime", [ts.GD(N=2, T=4), ts.SGD(N=2, B=1, E=2, shuffle=True, data="fixed")], ids=repr)
def test_rates_of_a_run_that_goes_on(spacetime: Any) -> None:
    """A cosine falls to 0 at the end of the run, whatever the times at which observables are taken."""
    pair, rule = ts.SecondMoment(ts.TestLoss(), ts.TestLoss(), (1, 3)), ts.HeavyBall(Rational(1, 3), ts.Cosine())
    landscape = ts.FiniteLandscape([x**3 - x + x**2, x**2 / 2 + x], [Rational(1, 2)] * 2, [x])
    formula = ts.derive(pair, spacetime, 2, resum="discrete", update=rule)
    truth = ts.perturb(pair, spacetime, landscape, [1], 2, update=rule)
    assert sympy.expand(through(formula.evaluate(landscape, [1]), 2) - truth) == 0


def test_lowered_over_several_epochs() -> None:
    pair = ts.Covariance(ts.TestLoss(), ts.Displacement(), (3, None))
    landscape = ts.FiniteLandscape([x**2 - x + x**3, x**2 + x], [Rational(1, 2)] * 2, [x])
    formula = ts.derive(pair, ts.SGD(shuffle=True, data="fixed"), 2, resum="discrete", update=RULES[1])
    assert ts.Formula.from_json(formula.to_json()) == formula and "over the placements" in str(formula)
    with pytest.raises(NotImplementedError, match="over several epochs for N, B and E"):
        formula.lower()
    numbers = formula.subs(N=2, B=1, E=2)
    lowered = numbers.lower()
    with jax.enable_x64(True):
        tensors = {key: jnp.array(landscape.cumulant(key, [1]), dtype=float) for key in lowered.parts}
        exact = numbers.evaluate(landscape, [1], eta=Rational(1, 10))
        assert float(lowered(tensors, eta=0.1)[0]) == pytest.approx(float(exact[0]), rel=1e-12)
    with pytest.raises(ValueError, match="times=4: it must be an integer from 0 to 2"):
        derived = ts.derive(ts.SecondMoment(SINGLE[0], SINGLE[0], (s, t)), ts.SGD(), 2, resum="discrete")
        derived.evaluate(landscape, [1], N=2, B=1, E=1, s=3, t=4)


def one_by_one(value: Any, rates: Any, first: int, last: int) -> Any:
    """All times of the events, in order along the edges."""
    times = value.times
    assert isinstance(times, TwoMoments)
    total = 0
    for at in product(range(last), repeat=times.times.events):
        factor = 1
        for e, (source, target) in enumerate(times.times.edges):
            end = (first if e in times.early else last) if target == ROOT else at[target]
            factor *= (1 - rates[e]) ** (end - at[source] - 1) if at[source] < end else 0
        total += factor
    return total


SYMBOLIC = {
    resum: ts.derive(ts.SecondMoment(ts.TestLoss(), ts.TestLoss(), (s, t)), ts.SGD(E=1), 3, resum=resum)
    for resum in ("discrete", "continuous")
}
RATES = [Rational(1, 2), Rational(3, 4), Rational(2, 3)]


def test_what_is_written_is_the_sum() -> None:
    values = [value for value in SYMBOLIC["discrete"].values if value.is_resummed]
    assert sum(len({value.diagram.tree_of[v] for v in value.diagram.inner_nodes}) == 2 for value in values) > 5
    for value in values:
        rates = RATES[: value.order]
        for first, last in ((2, 5), (0, 3), (4, 4)):
            written = value.substitute({s: sympy.Integer(first), t: sympy.Integer(last)}).closed_sum(rates)
            assert sympy.simplify(written - one_by_one(value, rates, first, last)) == 0, value


@pytest.mark.shows("two times", ALL, resum="continuous")
@pytest.mark.parametrize(
    "pair",
    [ts.SecondMoment(a, b, (s, t)) for a, b in zip(SINGLE, SINGLE, strict=True)]
    + [ts.Covariance(SINGLE[0], SINGLE[3], (s, t))],
    ids=str,
)
def test_integrals_are_limits_of_sums(pair: Any) -> None:
    sums, integrals = (ts.derive(pair, ts.GD(), 2, resum=resum) for resum in ("discrete", "continuous"))
    of_sums = {term.value: term.coefficient for term in sums.terms}
    assert len(of_sums) == len(integrals.terms)
    many = 10**12
    for term in integrals.terms:
        value = term.value
        assert of_sums[replace(value, continuous=False) if value.is_resummed else value] == term.coefficient
        if value.is_resummed:
            with mpmath.workdps(60):
                small = [mpmath.mpf(rate.p) / rate.q for rate in RATES[: value.order]]
                ends = {s: 2, t: 5}
                names = sympy.symbols(f"r:{value.order}")
                found, limit = (
                    sympy.lambdify([*names, s, t], one.closed_sum(names), "mpmath")(
                        *(rate / scale for rate in small), *(end * scale for end in ends.values())
                    )
                    for one, scale in ((replace(value, continuous=False), many), (value, 1))
                )
                assert mpmath.almosteq(found / mpmath.mpf(many) ** value.times.times.events, limit, 1e-9), term


def test_an_autocovariance_decays_with_every_update() -> None:
    landscape = ts.FiniteLandscape([x**2 - x, x**2 + x], [Rational(1, 2)] * 2, [x])
    pair = ts.Covariance(ts.Displacement(), ts.Displacement(), (3, None))
    formula = ts.derive(pair, ts.SGD(N=8, B=1, E=1), 2, resum="discrete")
    (found,) = formula.evaluate(landscape, [0], eta=Rational(1, 8))
    damped = Rational(3, 4)
    assert found == Rational(1, 64) * sum(damped ** (2 * k) for k in range(3)) * damped**5


LATE = ts.Covariance(ts.Displacement(), ts.TestLoss(), (ts.symbols.T - 3, None))
SKEW = ts.FiniteLandscape([x**2 - x + x**3 / 5, x**2 + x - x**3 / 7], [Rational(1, 2)] * 2, [x])


@pytest.mark.parametrize("rule", [*RULES, ts.Descent(decay=Rational(1, 9)), ts.SecondOrder(Rational(1, 3))], ids=str)
@pytest.mark.parametrize(("pair", "order"), [(replace(LATE, b=ts.Displacement()), 2), (LATE, 3)], ids=str)
def test_two_late_times(rule: Any, pair: Any, order: int) -> None:
    """The limit at a lag is what is found in a long run."""
    formula = ts.derive(pair, ts.SGD(E=1), order, resum="discrete", update=rule).assume("minimum")
    limit = formula.limit()
    assert "(∞ - 3)" in str(limit) and ts.Formula.from_json(limit.to_json()) == limit
    found, late = (
        each.evaluate(SKEW, [0], eta=Rational(1, 8), B=1, **sizes)
        for each, sizes in ((limit, {}), (formula, {"N": 70}))
    )
    assert float(found[0]) == pytest.approx(float(late[0]), rel=1e-9, abs=1e-9)
    assert order == 3 or found[0] > Rational(1, 1000)


def test_a_lag_in_closed_form() -> None:
    """Ornstein and Uhlenbeck: covariances fall by e^{−ηλ} per unit of time; in updates by 1 − ηλ."""
    pair = replace(LATE, b=ts.Displacement(), times=(ts.symbols.T - s, None))
    for spacetime, resum, falls in (
        (ts.SDE(B=1), "continuous", sympy.exp(-eta * s * t)),
        (ts.SGD(E=1), "discrete", None),
    ):
        limit = ts.derive(pair, spacetime, 2, resum=resum).assume("minimum").limit()
        still = ts.derive(ts.Variance(ts.Displacement()), spacetime, 2, resum=resum).assume("minimum").limit()
        for one, other in zip(limit.values, still.values, strict=True):
            ratio = one.closed_sum([eta * t] * 2) / other.closed_sum([eta * t] * 2)
            assert sympy.simplify(ratio - ((1 - eta * t) ** s if falls is None else falls)) == 0
    with pytest.raises(ValueError, match="needs a lag between them that stays"):
        SYMBOLIC["discrete"].assume("minimum").limit()


def test_json_and_lowering() -> None:
    for formula in SYMBOLIC.values():
        assert ts.Formula.from_json(formula.to_json()) == formula
        assert "1 - " in formula.latex()
    landscape = ts.FiniteLandscape([x**2 - x + x**3, x**2 + x], [Rational(1, 2)] * 2, [x])
    numbers = ts.derive(ts.SecondMoment(ts.TestLoss(), ts.TestLoss(), (2, None)), ts.SGD(N=4, B=1, E=1), 2,
                        resum="discrete", update=RULES[2])  # fmt: skip
    lowered = numbers.lower()
    with jax.enable_x64(True):
        tensors = {key: jnp.array(landscape.cumulant(key, [1]), dtype=float) for key in lowered.parts}
        exact = numbers.evaluate(landscape, [1], eta=Rational(1, 10))
        assert float(lowered(tensors, eta=0.1)) == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: SYMBOLIC["discrete"].lower(), "numbers for both"),
        (lambda: ts.derive(LATE, ts.SGD(), 3, resum="discrete").assume("minimum").limit(), "only in one epoch"),
        (lambda: ts.derive(LATE, ts.GD(), 3, resum="discrete").assume("minimum").drift(), "at two times has no such"),
    ],
)  # fmt: skip
def test_what_is_not_derived_says_so(make: Any, match: str) -> None:
    with pytest.raises(NotImplementedError, match=match):
        make()
