"""A spacetime and two update rules that the package does not know, defined here, in all that it does.

    zigzag            the two halves of the rows in the order 0, 1, 1, 0, 0, 1, 1, …
    fading average    v ← βv + (1 − β) g, θ ← θ − η r_t v
    Adams–Bashforth   θ ← θ − η r_t (3 g_t − g_{t−1})/2, with g_{−1} = 0

Formulas know the first by its cells and the others by their linear systems; direct perturbation and simulation know
the first by its batches and the others by their steps. They agree, exactly or within errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st
from sympy import Expr, Integer, Rational, Symbol, expand

import taylorsgd as ts
from taylorsgd.spacetime.base import Batches, Spacetime, Way, row_ways, size
from taylorsgd.updates import Memory, Update
from taylorsgd.updates.rule import Rates, checked_rates, exactly

ONE, ZERO, HALF = Integer(1), Integer(0), Rational(1, 2)


@frozen(repr=False)
class Zigzag(Spacetime):
    N: Expr = field(converter=size("N", ts.symbols.N, 2))
    T: Expr = field(converter=size("T", ts.symbols.T, 0))

    @property
    def sizes(self) -> dict[str, Expr]:
        return {"N": self.N, "B": self.N / 2, "T": self.T}

    def histories(self) -> Iterator[tuple[Fraction, Batches]]:
        count = int(self.N)
        halves = tuple(range(count // 2)), tuple(range(count // 2, count))
        yield Fraction(1), tuple(halves[(t + 1) // 2 % 2] for t in range(int(self.T)))

    def ways(self, diagram: ts.Diagram, instant: frozenset[int] = frozenset()) -> Iterator[Way]:
        ((_, batches),) = self.histories()
        rows = Counter(tuple(int(n in batch) for batch in batches) for n in range(int(self.N)))
        return row_ways(diagram, instant, rows, int(self.N) // 2)


@frozen(repr=False)
class EitherWay(Spacetime):
    """The rows one by one, upwards with a chance of 1/3, or else downwards."""

    N: Expr = field(converter=size("N", ts.symbols.N, 1))

    @property
    def sizes(self) -> dict[str, Expr]:
        return {"N": self.N, "B": Integer(1), "T": self.N}

    def histories(self) -> Iterator[tuple[Fraction, Batches]]:
        rows = tuple((n,) for n in range(int(self.N)))
        yield Fraction(1, 3), rows
        yield Fraction(2, 3), rows[::-1]


class Remembering(Update):
    def start(self, origin: Any) -> tuple[Any, ...]:
        return origin, 0 * origin


@frozen
class Fading(Remembering):
    beta: Expr = field(converter=exactly("beta"))
    rates: Rates = field(default=None, converter=checked_rates)

    def step(self, numbers: Any, state: Any, batch: Any, rate: Any) -> tuple[Any, ...]:
        x, v = state
        beta = numbers["beta"]
        v = beta * v + (1 - beta) * batch.slope(x)
        return x - rate * v, v

    def memory(self, rate: Expr) -> Memory:
        beta = self.beta
        return Memory(((ONE, rate * beta), (ZERO, beta)), (rate * (1 - beta), 1 - beta), (ONE, ZERO), (ONE, ZERO))


@frozen
class AdamsBashforth(Remembering):
    rates: Rates = field(default=None, converter=checked_rates)

    def step(self, numbers: Any, state: Any, batch: Any, rate: Any) -> tuple[Any, ...]:
        x, last = state
        slope = batch.slope(x)
        return x - rate * (3 * slope - last) / 2, slope

    def memory(self, rate: Expr) -> Memory:
        return Memory(((ONE, -rate / 2), (ZERO, ZERO)), (rate * 3 / 2, ONE), (ONE, ZERO), (ONE, ZERO))


RULES = [None, Fading(Rational(1, 3)), AdamsBashforth()]
beta = Symbol("beta")


@pytest.mark.parametrize("update", RULES, ids=repr)
@given(data=st.data())
def test_formulas_are_what_happens(landscapes: Any, update: Any, data: st.DataObject) -> None:
    landscape, at = data.draw(landscapes(dimension=1, degree=3, atoms=2))
    spacetime = data.draw(st.sampled_from([Zigzag(2, 3), Zigzag(4, 3), Zigzag(2, 5), ts.SGD(N=2, B=1, E=2)]))
    observable = data.draw(
        st.sampled_from(
            [ts.TestLoss(), ts.GeneralizationGap(), ts.Displacement(), ts.Covariance(ts.TestLoss(), ts.TrainLoss())]
        )
    )
    formula = ts.derive(observable, spacetime, order=3, update=update)
    assert formula.evaluate(landscape, at) == ts.perturb(observable, spacetime, landscape, at, 3, update=update)


@pytest.mark.parametrize(
    "update",
    [Fading(beta), Fading(beta, rates=[1, HALF, 2, Symbol("r")]), AdamsBashforth(rates=[1, HALF, 2, Symbol("r")])],
    ids=repr,
)
def test_symbols_in_rules(update: Any) -> None:
    x, y = Symbol("x"), Symbol("y")
    landscape = ts.FiniteLandscape([x**3 / 3 + x * y, x * y**2 - x**2], [Rational(1, 3), Rational(2, 3)], [x, y])
    formula = ts.derive(ts.TestLoss(), Zigzag(2, 4), order=3, update=update)
    direct = ts.perturb(ts.TestLoss(), Zigzag(2, 4), landscape, (1, -HALF), 3, update=update)
    names = {symbol: Rational(5, 7) for symbol in direct.free_symbols - {ts.symbols.eta}}
    values = {str(symbol): value for symbol, value in names.items()}
    assert names
    assert formula.evaluate(landscape, (1, -HALF), **values) == expand(direct.subs(names))


def test_closed_forms_for_a_rule_from_outside() -> None:
    """Where rates are constant its powers are found from its linear system, and T stays a symbol."""
    formula = ts.derive(ts.TestLoss(), ts.GD(), order=2, update=Fading(beta))
    x, third = Symbol("x"), Rational(1, 3)
    landscape = ts.FiniteLandscape([x**2 / 2 + x**3], [1], [x])
    direct = ts.perturb(ts.TestLoss(), ts.GD(N=1, T=4), landscape, 1, 2, update=Fading(third))
    assert formula.evaluate(landscape, 1, N=1, T=4, beta=third) == direct


POINTS = np.array([-1.0, 0.5, 1.5])


def loss(theta: Any, x: Any) -> Any:
    return jnp.cosh(theta + x) + x * theta


@pytest.mark.parametrize("update", RULES, ids=repr)
def test_predictions_agree_with_simulations(x64: Any, update: Any) -> None:
    place, spacetime, rates = ts.Landscape(loss, POINTS), Zigzag(4, 6), [0.003, 0.006]
    f = ts.derive(ts.TestLoss(), spacetime, order=3, update=update)
    run = ts.simulate(place, 0.3, spacetime, rates, 20_000, jax.random.key(0), update=update)
    assert ts.compare(ts.predict(f, place, 0.3, eta=rates), run).agrees
    other = RULES[(RULES.index(update) + 1) % len(RULES)]
    wrong = ts.derive(ts.TestLoss(), spacetime, order=3, update=other)
    assert not ts.compare(ts.predict(wrong, place, 0.3, eta=rates), run, strict=False).agrees


def test_batches_of_chance_are_drawn_with_their_chances() -> None:
    drawn = np.asarray(EitherWay(3).draw(jax.random.split(jax.random.key(0), 6000)))
    assert drawn.shape == (6000, 3, 1)
    upwards = (drawn[:, :, 0] == [0, 1, 2]).all(axis=1)
    assert (upwards | (drawn[:, :, 0] == [2, 1, 0]).all(axis=1)).all()
    assert abs(upwards.mean() - 1 / 3) < 4 * np.sqrt(2 / 9 / 6000)


def test_batches_of_chance_in_perturbation_and_simulation(x64: Any) -> None:
    x = Symbol("x")
    points = [Rational(-1), HALF, Rational(3, 2)]
    landscape = ts.FiniteLandscape([x**3 / 6 + p * x**2 for p in points], [Rational(1, 3)] * 3, [x])
    place = ts.Landscape(lambda theta, p: theta**3 / 6 + p * theta**2, POINTS)
    direct = ts.perturb(ts.TrainLoss(), EitherWay(2), landscape, 1, 8, update=Fading(HALF))
    run = ts.simulate(place, 1.0, EitherWay(2), 0.05, 4000, jax.random.key(0), update=Fading(HALF))
    expected = float(direct.subs(ts.symbols.eta, Rational(1, 20)))
    assert run.train_loss is not None
    assert abs(run.train_loss.mean - expected) < 4 * run.train_loss.standard_error
