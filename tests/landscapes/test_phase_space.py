"""Heavy ball on pairs of parameters and velocities, against runs of it that are listed.

(1) descent along the field is heavy ball at the rate η² with β = 1 − γη
(2) E φ(θ_T, w_T) = exp(T 𝓖) φ through η³, T = 1, 2, 3, batches of 1 and 2
"""

from itertools import product
from math import factorial

import pytest
import sympy
from sympy import Rational

import taylorsgd as ts
from taylorsgd.landscapes import at_rate, with_velocity
from taylorsgd.symbols import eta

x, w = sympy.symbols("x w")
LOSSES = [x**3 + x**2 - x, x**2 / 2 + 2 * x - x**3 / 3]
WEIGHTS = [Rational(1, 3), Rational(2, 3)]
GAMMA = Rational(3, 2)
START = (Rational(1, 2), Rational(-2, 3))
PHI = x**2 * w + w**2 - 3 * x
ORDER = 3
PAIR = with_velocity(ts.FiniteLandscape(LOSSES, WEIGHTS, [x]), GAMMA, velocities=[w])


def cut(expression):
    expanded = sympy.expand(expression)
    return sum(expanded.coeff(eta, d) * eta**d for d in range(ORDER + 1))


def listed(updates, batch):
    """E φ after heavy ball, over all choices of points."""
    total = 0
    for chosen in product(range(2), repeat=updates * batch):
        place, velocity, weight = START[0], eta * START[1], 1
        for t in range(updates):
            points = chosen[t * batch : (t + 1) * batch]
            slope = sum(LOSSES[a].diff(x) for a in points) / batch
            weight *= sympy.prod([WEIGHTS[a] for a in points])
            velocity = sympy.expand((1 - GAMMA * eta) * velocity - eta**2 * slope.subs(x, place))
            place = sympy.expand(place + velocity)
        total += weight * PHI.subs({x: place, w: sympy.expand(velocity / eta)}, simultaneous=True)
    return cut(total)


@pytest.mark.parametrize(("updates", "batch"), [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2)])
def test_the_exponential_is_heavy_ball(updates, batch):
    generator = ts.generator(ORDER, ts.SGD(B=batch, E=1))
    found, term = 0, PHI
    for k in range(ORDER + 1):
        found += Rational(updates**k, factorial(k)) * term
        term = at_rate(generator(ts.Observable(term)).evaluate(PAIR, at=[x, w]), ORDER) if k < ORDER else 0
    at = dict(zip((x, w), START, strict=True))
    assert sympy.expand(cut(found).subs(at) - listed(updates, batch)) == 0


def test_descent_along_it_is_heavy_ball():
    run = ts.perturb(ts.Observable(PHI), ts.SGD(N=2, B=1, E=1), PAIR, list(START), ORDER)
    assert sympy.expand(at_rate(run, ORDER) - listed(2, 1)) == 0
    assert with_velocity(ts.FiniteLandscape([x], [1], [x]), 0).variables == (x, sympy.Symbol("w_x"))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: with_velocity(PAIR, 1), TypeError, "must be a FiniteLandscape"),
        (lambda: with_velocity(ts.FiniteLandscape([x], [1], [x]), "much"), TypeError, "friction='much'"),
        (lambda: with_velocity(ts.FiniteLandscape([x], [1], [x]), 1, velocities=[x]), ValueError, "others than these"),
        (
            lambda: with_velocity(ts.FiniteLandscape([x], [1], [x]), 1, velocities=[w, x]),
            ValueError,
            "must be 1 symbols",
        ),
        (lambda: with_velocity(ts.FiniteLandscape([x], [1], [x]), 1, step=2), TypeError, "step=2"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
