r"""Games: the joint flow of several players against their rounds.

References: Rosca, Wu, Dherin and Barrett 2021; Daskalakis et al. 2018; Korpelevich 1976.

Identities, on random polynomial fields, the first player owning x and the second y:
    (1) a round = Φ_h to the order claimed and not to the next; optimistic: m∘m − m = h r (2 f∘m − f)
    (2) one player is Euler; equal rates and simultaneous steps are Euler on the joint field
    (3) trees of k colours are as many as Euler's transform counts
    (4) flows written player by player, each in its own time, leave the trajectory at first order, the joint at second
"""

from __future__ import annotations

from math import comb
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from plain_series import Series, fields
from sympy import QQ, Rational

import taylorsgd as ts
from taylorsgd.flows.coloured import Coloured, automorphisms, coloured_trees
from taylorsgd.symbols import h

x, y, a, b = sympy.symbols("x y a b")
RATES = (Rational(1, 2), Rational(3))
LEAF = Coloured(0, ())


class Game:
    """The mean of two fields with weights, as a landscape of fields has it."""

    def __init__(self, f: list[sympy.Expr], variables: Any = (x, y)) -> None:
        self.fields = [[2 * entry for entry in f], [-entry for entry in f]]
        self.weights, self.variables = [Rational(2, 3), Rational(1, 3)], tuple(variables)


GAMES = {
    "simultaneous": ts.Players(RATES),
    "alternating": ts.Players(RATES, "alternating"),
    "several steps": ts.Players(RATES, steps=[3, 2]),
    "alternating, several": ts.Players(RATES, "alternating", steps=[2, 3]),
    "extragradient": ts.Players(RATES, method="extragradient"),
}


def play(series: Series, game: ts.Players, push: list[Any]) -> list[Any]:
    """One round."""
    numbers = [QQ(r.p, r.q) * series.h for r in game.rates]
    if game.method == "extragradient":
        ahead = [t + n * p for t, n, p in zip(series.theta, numbers, push, strict=True)]
        return [t + series.cut(n * p) for t, n, p in zip(series.theta, numbers, series.at(push, ahead), strict=True)]
    start = list(series.theta)
    now = list(start)
    for player, count in enumerate(game.counts):
        seen = list(now) if game.order == "alternating" else list(start)
        for _ in range(count):
            move = series.at(push, seen)[player]
            seen[player] = now[player] = series.cut(now[player] + numbers[player] * move)
    return now


@pytest.mark.parametrize(("name", "order"), [*((name, 2) for name in GAMES), ("alternating, several", 3)])
def test_rounds_lie_on_the_flow(name: str, order: int) -> None:
    game = GAMES[name]
    flow = ts.modified_flow(order + 1, update=game)

    @given(fields(2))
    @settings(max_examples=1)
    def run(f: list[sympy.Expr]) -> None:
        series = Series(2, order + 1)
        parts = flow.evaluate(Game(f), [x, y])
        # all but the last power of h, and that power alone
        field, following = [], []
        for entry in parts:
            whole = series.read(entry)
            following.append(series.ring.from_dict({m: c for m, c in whole.items() if m[-1] == order}))
            field.append(whole - following[-1])
        moved = play(series, game, [series.read(entry) for entry in f])
        defect = [m - p for m, p in zip(moved, series.flow(field, 1), strict=True)]
        assert defect == [series.cut(series.h * entry) for entry in following]
        assert any(defect), "the next order must fail"

    run()


@pytest.mark.parametrize("turns", ["simultaneous", "alternating"])
@given(f=fields(2))
@settings(max_examples=1)
def test_optimistic_rounds(turns: str, f: list[sympy.Expr]) -> None:
    """In turns the second player sees where the first one has just gone, and remembers where it had gone before."""
    order = 2
    flow = ts.modified_flow(order, update=ts.Players(RATES, turns, method="optimistic"))
    series = Series(2, order + 1)
    field = [series.read(entry) for entry in flow.evaluate(Game(f), [x, y])]
    push = [series.read(entry) for entry in f]
    start, one, two = [series.read(v) for v in (x, y)], series.flow(field, 1), series.flow(field, 2)
    for player, rate in enumerate(RATES):
        moved = player if turns == "alternating" else 0  # so many players went before
        now, before = [*two[:moved], *one[moved:]], [*one[:moved], *start[moved:]]
        force = 2 * series.at(push, now)[player] - series.at(push, before)[player]
        defect = two[player] - one[player] - series.cut(QQ(rate.p, rate.q) * series.h * force)
        assert all(m[-1] > order for m in defect)


def test_one_player_is_euler() -> None:
    flow, euler = ts.modified_flow(4, update=ts.Players([1])), ts.modified_flow(4)
    assert sorted(c for c in euler.values() if c != 0) == sorted(flow.values())
    joint = ts.modified_flow(3, update=ts.Players([1, 1], split=[1, 2]))
    place = ts.FiniteLandscape([x**2 * y + x * y * a - a**3], [1], [x, y, a])
    assert joint.evaluate(place, [1, 2, 3]) == ts.modified_flow(3).evaluate(place, [1, 2, 3])
    named = ts.modified_flow(3, update=ts.Players([1, 2], split=[[a, x], [y]]))
    sizes = ts.modified_flow(3, update=ts.Players([1, 2], split=[2, 1]))
    swapped = ts.FiniteLandscape([x**2 * y + x * y * a - a**3], [1], [x, a, y])
    ours, theirs = named.evaluate(place, [1, 2, 3]), sizes.evaluate(swapped, [1, 3, 2])
    assert [ours[0], ours[1], ours[2]] == [theirs[0], theirs[2], theirs[1]]


@pytest.mark.parametrize("colours", [1, 2, 3])
def test_coloured_trees_are_counted_two_ways(colours: int) -> None:
    trees = [0, colours]
    for n in range(1, 6):  # T_{n+1} = k · multisets of total size n
        forests = [1] + [0] * n
        for size in range(1, n + 1):
            forests = [
                sum(forests[m - size * c] * comb(trees[size] + c - 1, c) for c in range(m // size + 1))
                for m in range(n + 1)
            ]
        trees.append(colours * forests[n])
    assert [len(coloured_trees(n, (None,) * colours)) for n in range(1, 7)] == trees[1:]
    labelled = sum(sympy.Rational(1, automorphisms(t)) for t in coloured_trees(5, (None,) * colours))
    assert labelled * sympy.factorial(5) == 5**4 * colours**5, "Cayley's count of rooted trees"


def test_flows_player_by_player_are_right_for_one_step_only() -> None:
    """Along a trajectory of given length the joint flow is off by h², that of each player's own time by h."""
    rates = np.array([1.0, 0.25])

    def f(t: Any) -> Any:
        return np.array([-t[0] + 2 * t[1] - t[0] ** 2 / 4, -t[0] * 2 - t[1] + t[1] ** 2 / 3])

    def jacobian(t: Any) -> Any:
        return np.array([[-1 - t[0] / 2, 2], [-2, -1 + 2 * t[1] / 3]])

    def joint(t: Any, h: float) -> Any:
        return rates * f(t) - h / 2 * rates * (jacobian(t) @ (rates * f(t)))

    def own(t: Any, h: float) -> Any:  # f_i − (h r_i/2) Σ_j ∂_j f_i f_j in the time of player i
        return rates * f(t) - h / 2 * rates**2 * (jacobian(t) @ f(t))

    game = ts.modified_flow(2, update=ts.Players([1, Rational(1, 4)]))
    exact = game.evaluate(Game([-x + 2 * y - x**2 / 4, -2 * x - y + y**2 / 3]), [Rational(1, 2), 1]).subs(h, 0.1)
    assert np.allclose(np.array(exact, float).ravel(), joint(np.array([0.5, 1.0]), 0.1), rtol=1e-14)

    def errors(field: Any) -> list[float]:
        found = []
        for count in (64, 128, 256):
            h, at = 1 / count, np.array([0.5, 1.0])
            path = at
            for _ in range(count):
                path = path + h * rates * f(path)
                k1 = field(at, h)
                k2 = field(at + h / 2 * k1, h)
                k3 = field(at + h / 2 * k2, h)
                at = at + h / 6 * (k1 + 2 * k2 + 2 * k3 + field(at + h * k3, h))
            found.append(float(np.linalg.norm(path - at)))
        return found

    for field, slope in ((joint, 2), (own, 1)):
        found = np.polyfit(np.log([1 / 64, 1 / 128, 1 / 256]), np.log(errors(field)), 1)[0]
        assert abs(found - slope) < 0.05


@pytest.mark.usefixtures("x64")
def test_lowered_games() -> None:
    flow = ts.modified_flow(3, update=ts.Players([a, b], "alternating", split=[1, 2]))
    variables = sympy.symbols("x y z")
    f = [x * y - variables[2], x**2 + y, variables[2] * x]
    directions = sympy.lambdify([variables], f, "jax")
    lowered = flow.lower(lambda t, scale: scale * jnp.stack(directions(t)))
    found = lowered(jnp.array([0.5, 1.0, -2.0]), 1.0, h=0.1, a=0.3, b=0.7)
    exact = flow.evaluate(Game(f, variables), [0.5, 1.0, -2.0]).subs({h: 0.1, a: 0.3, b: 0.7})
    assert np.allclose(found, np.array(exact, float).ravel(), rtol=1e-12)
    with pytest.raises(ValueError, match="must return a pytree like theta"):
        flow.lower(lambda t: t[0])(jnp.ones(3), h=0.1, a=1.0, b=1.0)
    with pytest.raises(ValueError, match="divides 3 variables; there are 2"):
        flow.lower(lambda t: t)(jnp.ones(2), h=0.1, a=1.0, b=1.0)


def test_faces() -> None:
    flow = ts.modified_flow(2, update=ts.Players([a, b]))
    first = "player 1: a f_1 - a**2*h/2 f_1'f_1 - a*b*h/2 f_1'f_2"
    assert str(flow).splitlines()[0] == first
    assert str(flow.player(1)).splitlines() == [first, "player 2: 0"]
    assert flow[0][LEAF] == a
    assert flow.latex().count(r"\dot{\theta}") == 2
    assert len(flow[1]) == 4
    assert repr(flow).startswith("<PlayersFlow through h**1")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ts.Players([1, 2], "random"), ValueError, "order='random' is unknown"),
        (lambda: ts.Players([1, 2], split=[1]), ValueError, "1 entries for 2 players"),
        (lambda: ts.Players([1, 2], steps=[1, 0]), ValueError, r"steps\[1\]=0"),
        (lambda: ts.Players([1, 2], split=[0, 2]), ValueError, r"split\[0\]=0"),
        (lambda: ts.Players([]), ValueError, "rates=.* is empty"),
        (lambda: ts.Players(["a"]), TypeError, r"rates\[0\]='a'"),
        (lambda: ts.Players([1, 2], "alternating", method="extragradient"), NotImplementedError, "is no one method"),
        (lambda: ts.Players([1, 2], steps=[1, 2], method="optimistic"), NotImplementedError, "one step each"),
        (lambda: ts.modified_map(2, ts.Players([1])), NotImplementedError, "the flow is derived"),
        (lambda: ts.modified_loss(2, ts.Players([1])), NotImplementedError, "a game has no loss"),
        (lambda: ts.modified_flow(1, ts.Players([1])).player(2), KeyError, "player=2"),
        (lambda: ts.modified_flow(1, ts.Players([1])).evaluate(Game([x, y]), [1, 2]), ValueError, "there are 2"),
        (lambda: ts.modified_flow(1, ts.Players([1], split=[[a]])).evaluate(Game([x], [x]), [1]), ValueError,
         "must divide the variables"),
        (lambda: ts.modified_flow(1, ts.Players([1])).evaluate(Game([x], [x]), [1, 2]), ValueError, "has 2 entries"),
        (lambda: ts.modified_flow(1, ts.Players([1])).evaluate(Game([x], [x]), [1], ts.Observable(x)), ValueError,
         "is added to a loss"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_on_a_vector_field() -> None:
    """Two players on a `FiniteField` by hand: f − (h/2) f′f; in turns the second sees the first one move."""
    x, y = sympy.symbols("x y")
    field = ts.FiniteField([[x * y, -x], [x * y - 2 * y, 3 * x]], [Rational(1, 2)] * 2, [x, y])
    f = sympy.Matrix([x * y - y, x])
    slope = f.jacobian([x, y])
    at = {x: 2, y: 3}
    together = f - h / 2 * slope * f
    found = ts.modified_flow(2, ts.Players([1, 1])).evaluate(field, at=[2, 3])
    assert sympy.expand(sympy.Matrix(found) - together.subs(at)).is_zero_matrix
    seen = sympy.Matrix([0, slope[1, 0] * f[0]])
    found = ts.modified_flow(2, ts.Players([1, 1], order="alternating")).evaluate(field, at=[2, 3])
    assert sympy.expand(sympy.Matrix(found) - (together + h * seen).subs(at)).is_zero_matrix
