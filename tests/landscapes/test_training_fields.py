r"""Fields of losses: each rule, exact and in JAX, beside what it says.

(1) the JAX field is the exact one, on single points and on batches
(2) a batch is one point: its field is that of the mean loss, not the mean of fields
(3) sharpness-aware steps go down the slope of l + ρ/2 |∇l|² to first order in ρ
(4) natural gradients are as coordinates change them: descent on l(φ(ψ)) with (∂φ)⁻¹, and Λ = (∂φ ∂φᵀ)
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from sympy import Rational

import taylorsgd as ts
from taylorsgd.landscapes.smoothness import warn_of_roughness

L = ts.landscapes
x, y = sympy.symbols("x y")
HALF = Rational(1, 2)
EXACT = ts.FiniteLandscape([x**2 * y - y**2 + x, x * y**2 / 2 + y - x**2], [HALF, HALF], [x, y])
AT = (np.float64(0.7), np.float64(-0.4))


def loss(theta: Any, point: Any) -> Any:
    u, v = theta
    return point * (u**2 * v - v**2 + u) + (1 - point) * (u * v**2 / 2 + v - u**2)


TRACED = ts.Landscape(loss, jnp.array([1.0, 0.0]))
MATRIX = [[1 + x**2, x * y], [0, 2]]


def moved(theta: Any, vector: Any) -> Any:
    (u, v), (a, b) = theta, vector
    return (1 + u**2) * a + u * v * b, 2 * b


RULES = [
    (lambda place, batch: L.sharpness_aware(place, 0.25, batch=batch)),
    (lambda place, batch: L.sharpness_aware(place, 0.25, 0.5, batch=batch)),
    (lambda place, batch: L.clipped(place, 0.5, batch=batch)),
    (lambda place, batch: L.normalized(place, 0.5, batch=batch)),
]


@pytest.mark.parametrize(("rule", "batch"), list(zip(RULES, (1, 3, 2, 1), strict=True)))
def test_exact_and_traced(x64: None, rule: Any, batch: int) -> None:
    exact, traced = rule(EXACT, batch), rule(TRACED, batch)
    assert len(exact.fields) == batch + 1 and traced.size == 2**batch  # multisets, and orders
    at = dict(zip((x, y), AT, strict=True))
    truth = [float(entry.subs(at)) for entry in exact.mean]
    assert list(map(float, traced.mean(AT))) == pytest.approx(truth, rel=1e-12)
    second = sum(float(w * one[0].subs(at)) ** 2 / float(w) for w, one in zip(exact.weights, exact.fields, strict=True))
    rows = [float(traced.u(tuple(map(jnp.asarray, AT)), traced.data[i])[0]) for i in range(traced.size)]
    assert np.mean(np.square(rows)) == pytest.approx(second, rel=1e-12)


def test_natural_gradients(x64: None) -> None:
    exact, traced = L.natural_gradient(EXACT, MATRIX), L.natural_gradient(TRACED, moved)
    truth = [float(entry.subs(dict(zip((x, y), AT, strict=True)))) for entry in exact.mean]
    assert list(map(float, traced.mean(AT))) == pytest.approx(truth, rel=1e-12)


def test_a_batch_is_one_point() -> None:
    """The mean slope is clipped, and not the mean of clipped slopes taken."""
    steep = ts.FiniteLandscape([3 * x, -x], [HALF, HALF], [x])
    pair = L.clipped(steep, 1, batch=2)
    assert [one[0] for one in pair.fields] == [-3 / sympy.sqrt(10), -1 / sympy.sqrt(2), 1 / sympy.sqrt(2)]
    assert pair.weights == (Rational(1, 4), HALF, Rational(1, 4))


def test_sharpness_aware_descends_a_sharpened_loss() -> None:
    rho = sympy.Symbol("rho")
    one = ts.FiniteLandscape([x**3 * y + y**2], [1], [x, y])
    (field,) = L.sharpness_aware(one, rho).fields
    sharpened = one.loss + rho / 2 * sum(one.loss.diff(v) ** 2 for v in (x, y))
    for entry, variable in zip(field, (x, y), strict=True):
        off = sympy.expand(entry + sharpened.diff(variable))
        assert off.coeff(rho, 0) == off.coeff(rho, 1) == 0 and off != 0


def test_many_batches_are_drawn() -> None:
    many = L.normalized(ts.Landscape(loss, jnp.linspace(0.0, 1.0, 100)), 0.1, batch=5)
    assert many.size is None and many.as_landscape().draw(0, (3,)).shape == (3, 5)


def test_no_kinks_are_warned_of(recwarn: Any) -> None:
    soft = ts.Landscape(lambda theta, x: jax.nn.softplus(x * theta), jnp.array([1.0, -2.0]))
    for rule in RULES:
        place = rule(soft, 2).as_landscape()
        warn_of_roughness(place.traced(jnp.array(0.5)).point_loss, jnp.array(0.5), place.rows([0, 1]), 2)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: L.sharpness_aware(EXACT, "far"), TypeError, "rho"),
        (lambda: L.sharpness_aware(TRACED, jnp.inf), ValueError, "rho"),
        (lambda: L.sharpness_aware(TRACED, 0.1, 0.0), ValueError, "epsilon=0.0 must be positive"),
        (lambda: L.normalized(EXACT, -1), ValueError, "epsilon=-1 must be positive"),
        (lambda: L.clipped(TRACED, 1.0, batch=0), ValueError, "batch=0"),
        (lambda: L.clipped("loss", 1.0), TypeError, "landscape='loss' is not a Landscape"),
        (lambda: L.natural_gradient(EXACT, [[1]]), ValueError, "must be P x P"),
        (lambda: L.natural_gradient(EXACT, 3), TypeError, "no matrix"),
        (lambda: L.natural_gradient(TRACED, MATRIX), TypeError, "is not a function"),
        (lambda: L.natural_gradient(TRACED, lambda t, v: v[0]).mean(AT), ValueError, "like its argument"),
        (lambda: L.game([], jnp.ones(1)), ValueError, "holds no losses"),
        (lambda: L.game([EXACT, loss]), TypeError, "is no FiniteLandscape, and others are"),
        (lambda: L.game([EXACT, ts.FiniteLandscape([x], [1], [x])]), ValueError, "other variables or weights"),
        (lambda: L.game([EXACT, EXACT], jnp.ones(1)), ValueError, "have their own points"),
        (lambda: L.game([EXACT, EXACT], rates=[1]), ValueError, "a number for each of the 2 players"),
        (lambda: L.game([EXACT, EXACT], split=[1, 7]), ValueError, "divides 8 variables"),
        (lambda: L.game([loss, loss], jnp.ones(1), split=[1, 1]), ValueError, "is for landscapes"),
        (lambda: L.game(loss, jnp.ones(1)), TypeError, "one for each player"),
        (lambda: L.game([3], jnp.ones(1)), TypeError, "is not a function"),
        (lambda: L.game([loss, loss], jnp.ones(1), rates=[1]), ValueError, "a number for each of the players 0, 1"),
        (lambda: L.game([loss, loss], jnp.ones(1), rates=2), TypeError, "one for each player"),
        (lambda: L.game([loss, loss], jnp.ones(1)).mean((1.0, 2.0, 3.0)), ValueError, "an entry for each"),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_exact_games() -> None:
    """Two players with unequal rates, the second with a loss of its own: as in JAX; and which variables are whose."""
    other = ts.FiniteLandscape([3 * x * y, y**2 + x], [HALF, HALF], [x, y])
    exact = L.game([EXACT, other], rates=[1, 2])

    def second(theta: Any, point: Any) -> Any:
        return point * 3 * theta[0] * theta[1] + (1 - point) * (theta[1] ** 2 + theta[0])

    traced = L.game([loss, second], TRACED.data, rates=[1.0, 2.0]).mean(AT)
    at = dict(zip((x, y), AT, strict=True))
    assert [float(u.subs(at)) for u in exact.mean] == pytest.approx([float(u) for u in traced], rel=1e-6)
    swapped = L.game([other, EXACT], rates=[2, 1], split=[[y], [x]])
    assert swapped == exact
