"""Formulas of every dynamics and update rule, lowered, against exact arithmetic, down to the smallest sizes.

Averages over orders divide by N − 1 and N − 2. With one training point, or one batch, there is one order only, and
shuffled SGD is gradient descent: that is what the limits are held against.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sympy import Rational, Symbol

import taylorsgd as ts
from taylorsgd.lowering.coefficients import evaluate_expression, without_poles
from taylorsgd.symbols import B, E, N

ETA = 0.25
SMALL = [(1, 1, 2), (2, 1, 1), (2, 2, 3), (3, 1, 2), (3, 3, 1), (4, 2, 2), (6, 2, 1)]


def exact_weights(f: ts.Formula, values: Any, sizes: dict[str, int]) -> list[float]:
    terms = {term.value: term.coefficient for term in f.subs(**sizes).terms}
    return [float(terms.get(value, 0)) * ETA**value.order for value in values]


def check(f: ts.Formula, **sizes: int) -> np.ndarray:
    g = f.lower()
    with jax.enable_x64(True):
        computed = np.asarray(g.weights(jnp.asarray(ETA, float), **sizes))
    np.testing.assert_allclose(computed, exact_weights(f, g.values, sizes), rtol=1e-12, atol=1e-15)
    return computed


@pytest.mark.parametrize(
    "spacetime",
    [
        ts.SGD(),
        ts.SGD(shuffle=True),
        ts.SGD(shuffle=True, data="fixed"),
        ts.Replacement(),
        ts.Replacement(data="fixed"),
        ts.GD(),
    ],
    ids=repr,
)
def test_every_dynamics_at_the_smallest_sizes(spacetime: Any) -> None:
    f = ts.derive(ts.TrainLoss(), spacetime, order=3)
    for n, b, e in SMALL:
        if isinstance(spacetime, ts.SGD):
            check(f, N=n, B=b, E=e)
        else:
            check(f, N=n, T=e + 1, **({"B": b} if isinstance(spacetime, ts.Replacement) else {}))


def test_sizes_that_floats_miss_by_a_little() -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(shuffle=True, data="fixed"), order=3)
    g = f.lower()
    for n, e in ((1, 49), (2, 49), (1, 3)):  # N = T·B/E, and 49 · (1/49) < 1
        found = g.weights(ETA, T=n * e, B=1, E=e)
        np.testing.assert_allclose(found, exact_weights(f, g.values, {"N": n, "B": 1, "E": e}), rtol=2e-5, atol=1e-6)


def test_shuffled_at_order_four() -> None:
    """At the smallest sizes; and with one order only it is gradient descent. Compiled once for both."""
    shuffled, gd = (ts.derive(ts.TestLoss(), way, order=4) for way in (ts.SGD(shuffle=True), ts.GD()))
    for n, b, e in SMALL[:4]:
        check(shuffled, N=n, B=b, E=e)
    for n in (1, 2, 3):
        first, second = check(shuffled, N=n, B=n, E=4), exact_weights(gd, gd.values, {"N": n, "T": 4})
        both = [dict(zip(f.values, w, strict=True)) for f, w in ((shuffled, first), (gd, second))]
        for value in set().union(*both):
            assert both[0].get(value, 0) == pytest.approx(both[1].get(value, 0), rel=1e-10, abs=1e-13)


@pytest.mark.parametrize(
    ("update", "sizes"),
    [
        (ts.HeavyBall(Rational(1, 3)), {"N": 1, "T": 4}),
        (ts.Nesterov(Rational(1, 2), convention="sutskever"), {"N": 2, "T": 3}),
        (ts.Descent(decay=Rational(1, 10)), {"N": 1, "T": 5}),
        (ts.SecondOrder(Rational(1, 3)), {"N": 2, "T": 3}),
        (ts.ImplicitStep(), {"N": 3, "T": 1}),
        (ts.GDC(), {"N": 1, "T": 3, "B": 1}),
        (ts.GDC(), {"N": 2, "T": 3, "B": 2}),
        (ts.GDC(B=1), {"N": 2, "T": 3}),
        (ts.HeavyBall(Symbol("b")), {"N": 4, "T": 3, "b": Rational(1, 2)}),
    ],
    ids=repr,
)
def test_every_update_rule(update: Any, sizes: Any) -> None:
    f = ts.derive(ts.TestLoss(), ts.GD(), order=3, update=update)
    if "b" not in sizes:
        check(f, **sizes)
        return
    found = f.lower().weights(ETA, **{name: float(size) for name, size in sizes.items()})
    exact = f.subs(N=4, T=3).subs({Symbol("b"): sizes["b"]})
    np.testing.assert_allclose(found, exact_weights(exact, f.values, {}), rtol=1e-4, atol=1e-6)


def test_a_schedule_of_rates() -> None:
    rates = [Rational(1, 2), 1, 3, 2]
    f = ts.derive(ts.TestLoss(), ts.SGD(N=4, B=2, E=2), order=3, update=ts.Nesterov(Rational(1, 2), rates=rates))
    check(f)


def test_derivatives_do_not_see_the_pole() -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(shuffle=True, data="fixed"), order=3)
    g, numbers = f.lower(), np.linspace(1, 2, len(f.terms))

    def at(n: Any) -> Any:
        return g(numbers, eta=ETA, N=n, B=1.0, E=2.0)

    with jax.enable_x64(True):
        exact = 0.0
        for number, term in zip(numbers, f.terms, strict=True):
            coefficient = term.coefficient.subs({B: 1, E: 2}).cancel()
            exact += number * ETA**term.order * float(coefficient.diff(N).subs(N, 1))
        assert float(jax.jacfwd(at)(1.0)) == pytest.approx(exact, rel=1e-8)
        assert float(jax.grad(at)(1.0)) == pytest.approx(exact, rel=1e-8)


def test_poles_that_are_not_removed_are_left_alone() -> None:
    assert without_poles(N / (B - 1)) == N / (B - 1)
    assert without_poles(2**N / (N - 1)) == 2**N / (N - 1)
    twice = without_poles((N - B) * (N - 2 * B) / ((N - 1) * (N - 2)))
    for n, b, expected in ((1.0, 1.0, 1.0), (2.0, 2.0, -2.0), (2.0, 1.0, 1.0), (4.0, 1.0, 1.0)):
        assert float(evaluate_expression(twice, {N: n, B: b})) == expected
