r"""Momentum's flow and step on the slow manifold: heavy ball, Nesterov in both conventions, with and without decay.

References: Hairer, Lubich and Wanner, section IX.9; Narayana numbers: OEIS A001263, of type B: A008459; Eulerian
numbers: OEIS A008292.

Identities, with m the map θ ← θ + h(…), Φ_t the flow of the field, all as power series in h, on random polynomial
fields, and with u(θ) = m(θ) − θ + w(θ − θ_0), which is the step before decay:
    (1) m = Φ_h to the order claimed and not to the next
    (2) heavy ball           u∘m = β u + h f∘m
        Nesterov (torch)     u∘m = β u + h ((1 + β) f∘m − β f)
        Nesterov (Sutskever) u∘m = β u + h f(m + β u)
    (3) chains of n nodes    map: (−1)^{n−1} Σ_k N(n−1, k) β^k / (1 − β)^{2n−1}, N counted on Dyck paths by peaks;
                             flow: (−1)^{n−1} Σ_k C(n−1, k)² β^k / (n (1 − β)^{2n−1}), counted on lattice paths
    (4) bushes of k leaves   map: b = (−1)^k Σ_j A(k, j) β^{j+1} / (1 − β)^{2k+1}, A counted on permutations;
                             Nesterov (torch) β times that; flow: k! [x^k] x / ((1 − e^{−x}) (e^x − β) (1 − β)^k)
    (5) no momentum: Euler's step is f alone
"""

from __future__ import annotations

from itertools import permutations, product
from math import comb, factorial
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_series import Series, fields
from sympy import Rational

import taylorsgd as ts
from taylorsgd.symbols import h

beta, w = sympy.symbols("beta w")
x, y = sympy.symbols("x y")
THIRD, ORIGIN = Rational(1, 3), (Rational(1, 2), -1)
RULES = {
    "heavy ball": ts.HeavyBall,
    "torch": ts.Nesterov,
    "sutskever": lambda b, decay: ts.Nesterov(b, decay=decay, convention="sutskever"),
    "descent": lambda b, decay: ts.Descent(decay=decay),
}


def chain(nodes: int) -> ts.Diagram:
    return ts.Diagram(tuple(range(-1, nodes - 1)))


def bush(leaves: int) -> ts.Diagram:
    return ts.Diagram((-1,) + (0,) * leaves)


# -- the steps -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0, h / 4], ids=["plain", "decay"])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("dimension", "order", "examples"), [(1, 3, 3), (2, 2, 1)])
def test_the_step_on_the_slow_manifold(name: str, decay: Any, dimension: int, order: int, examples: int) -> None:
    momentum = Rational(0) if name == "descent" else Rational(2, 5)
    update = RULES[name](momentum, decay=decay)
    step, next_step = ts.modified_map(order, update), ts.modified_map(order + 1, update)
    flow = ts.modified_flow(order, update)

    @given(fields(dimension), st.booleans())
    @settings(max_examples=examples)
    def run(f: list[sympy.Expr], exact: bool) -> None:
        check_step(name, momentum, decay, (step if exact else next_step, flow), f, [x, y][:dimension], exact)

    run()


def vector(field: Any, f: list[sympy.Expr], variables: list[sympy.Symbol]) -> list[sympy.Expr]:
    """A field of f and of decay, written out in θ."""
    population = Fields(f, variables)
    extra = (
        {"origin": ORIGIN[: len(variables)]} if isinstance(field, ts.flows.DecayingFlow | ts.flows.DecayingMap) else {}
    )
    return list(field.evaluate(population, variables, **extra))


class Fields:
    """Any field, as what has its mean and its variables: no loss."""

    def __init__(self, f: list[sympy.Expr], variables: list[sympy.Symbol]) -> None:
        self.fields, self.weights, self.variables = [f], [1], tuple(variables)


def check_step(name: str, momentum: Any, decay: Any, known: Any, f: Any, variables: Any, exact: bool) -> None:
    step, flow = known
    order = flow.order if exact else flow.order + 1
    series = Series(len(variables), order + (1 if exact else 0))
    number = series.ring(momentum.p) / momentum.q
    push = [series.read(entry) for entry in f]
    moved = [t + series.read(h * e) for t, e in zip(series.theta, vector(step, f, variables), strict=True)]
    field = [series.read(entry) for entry in vector(flow, f, variables)]
    if exact:  # (1), through h^order, and the next fails unless nothing is bent
        defects = [m - p for m, p in zip(moved, series.flow(field, 1), strict=True)]
        assert all(series_order(d) > order for d in defects)
    pull = [series.read(decay * (v - a)) for v, a in zip(variables, ORIGIN, strict=False)]
    before = [m - t + p for m, t, p in zip(moved, series.theta, pull, strict=True)]
    after = series.at(before, moved)
    if name == "torch":
        force = [e * (1 + number) - number * p for e, p in zip(series.at(push, moved), push, strict=True)]
    elif name == "sutskever":
        force = series.at(push, [m + number * u for m, u in zip(moved, before, strict=True)])
    else:
        force = series.at(push, moved)
    defects = [a - number * u - series.h * e for a, u, e in zip(after, before, force, strict=True)]
    assert all(series_order(d) > order for d in defects)
    if exact and (name != "descent"):
        assert any(series_order(d) == order + 1 for d in defects), "the next order must fail"


def series_order(p: Any) -> float:
    return min((m[-1] for m in p), default=float("inf"))


# -- published families --------------------------------------------------------------------------------------


def dyck_peaks(n: int) -> list[int]:
    """Dyck paths of 2n steps by their number of peaks, one by one."""
    counts = [0] * (n + 1)
    for path in product((1, -1), repeat=2 * n):
        heights = [sum(path[: i + 1]) for i in range(2 * n)]
        if heights and min(heights) >= 0 and heights[-1] == 0:
            counts[sum(a == 1 and b == -1 for a, b in zip(path, path[1:], strict=False))] += 1
    return counts if n else [1]


def lattice_corners(n: int) -> list[int]:
    """Lattice paths of n steps right and n up by their number of turns from up to right, one by one."""
    counts = [0] * (n + 1)
    for path in product("ru", repeat=2 * n):
        if path.count("r") == n:
            counts[sum(a == "u" and b == "r" for a, b in zip(path, path[1:], strict=False))] += 1
    return counts


def descents(k: int) -> list[int]:
    """Permutations of k letters by their number of descents, one by one."""
    counts = [0] * max(k, 1)
    for letters in permutations(range(k)):
        counts[sum(a > b for a, b in zip(letters, letters[1:], strict=False))] += 1
    return counts


def in_beta(counts: list[int]) -> sympy.Expr:
    return sum((c * beta**k for k, c in enumerate(counts)), sympy.Integer(0))


def test_chains_are_narayana() -> None:
    assert dyck_peaks(4) == [0, 1, 6, 6, 1]
    assert lattice_corners(3) == [1, 9, 9, 1]
    order = 6
    step, flow = (make(order, ts.HeavyBall(beta)) for make in (ts.modified_map, ts.modified_flow))
    for n in range(1, order + 1):
        scale = (-1) ** (n - 1) / (1 - beta) ** (2 * n - 1)
        assert sympy.cancel(step[chain(n)] - scale * in_beta(dyck_peaks(n - 1))) == 0
        if n < 6:
            assert sympy.cancel(flow[chain(n)] - scale * in_beta(lattice_corners(n - 1)) / n) == 0
        assert sympy.cancel(flow[chain(n)] - scale * in_beta([comb(n - 1, k) ** 2 for k in range(n)]) / n) == 0


def test_bushes_are_eulerian() -> None:
    assert descents(4) == [1, 11, 11, 1]
    order, u = 5, sympy.Symbol("u")
    heavy, torch, flow = (
        make(order, update)
        for make, update in (
            (ts.modified_map, ts.HeavyBall(beta)),
            (ts.modified_map, ts.Nesterov(beta)),
            (ts.modified_flow, ts.HeavyBall(beta)),
        )
    )
    rates = (u / (1 - sympy.exp(-u)) / (sympy.exp(u) - beta)).series(u, 0, order).removeO()
    for k in range(1, order):
        eulerian = (-1) ** k * beta * in_beta(descents(k)) / (1 - beta) ** (2 * k + 1)
        assert sympy.cancel(heavy.weight(bush(k)) - eulerian) == 0
        assert sympy.cancel(torch.weight(bush(k)) - beta * eulerian) == 0
        assert sympy.cancel(flow.weight(bush(k)) - factorial(k) * rates.coeff(u, k) / (1 - beta) ** k) == 0


@pytest.mark.parametrize("convention", ["torch", "sutskever"])
def test_nesterovs_chains_are_those_of_its_characteristic_root(convention: str) -> None:
    """On f = θ both conventions multiply by λ = 1 + …, (λ − 1)(λ − β) = h((1 + β) λ − β); the flow is log λ / h."""
    order, number = 6, Rational(2, 5)
    step = ts.modified_map(order, ts.Nesterov(beta, convention=convention))
    root = 1 + sum(step[chain(n)] * h**n for n in range(1, order + 1))
    defect = sympy.Poly((root - 1) * (root - beta) - h * ((1 + beta) * root - beta), h)
    assert all(sympy.cancel(defect.nth(n)) == 0 for n in range(order + 1))
    assert sympy.cancel(defect.nth(order + 1)) != 0
    flow = ts.modified_flow(order, ts.Nesterov(number, convention=convention))
    power = sum(flow[chain(n)] * h**n for n in range(1, order + 1))
    difference = sympy.Poly(sum(power**k / factorial(k) for k in range(order + 1)) - root.subs(beta, number), h)
    assert all(difference.nth(n) == 0 for n in range(order + 1))


def test_without_momentum() -> None:
    assert str(ts.modified_map(5)) == "f"
    assert ts.modified_map(5, ts.HeavyBall(0)) == ts.modified_map(5)
    assert ts.modified_flow(5, ts.Nesterov(0)) == ts.modified_flow(5)
    midpoint = ts.RungeKutta([[0, 0], [THIRD, 0]], [0, 1])
    assert str(ts.modified_map(3, midpoint)) == "f + h/3 f'f + h**2/18 f''(f, f)"
    assert ts.modified_map(3) != ts.modified_flow(3)
    with pytest.raises(TypeError):
        _ = ts.modified_map(3) + ts.modified_flow(3)


def test_conventions_share_their_chains_and_not_their_bushes() -> None:
    torch, sutskever = (ts.modified_flow(3, ts.Nesterov(beta, convention=c)) for c in ("torch", "sutskever"))
    assert all(sympy.cancel(torch[chain(n)] - sutskever[chain(n)]) == 0 for n in (1, 2, 3))
    assert sympy.cancel(torch[bush(2)] - sutskever[bush(2)]) != 0


# -- decay ---------------------------------------------------------------------------------------------------

LOSS = x**3 * y - x * y**2 + 2 * x**2 + x * y + y**3 / 3
PLACE = ts.FiniteLandscape([LOSS + x, LOSS - x], [Rational(1, 2)] * 2, [x, y])


def test_decay_without_memory_is_coupled() -> None:
    """θ − hE′ − w(θ − a) is descent on E + w|θ − a|²/(2h); the penalty of `evaluate` says the same."""
    penalty = ts.Observable(w * (x**2 + y**2) / 2, name="p")
    coupled = ts.modified_flow(3).evaluate(PLACE, [1, 2], penalty=penalty)
    decoupled = ts.modified_flow(3, ts.Descent(decay=w * h)).evaluate(PLACE, [1, 2])
    assert (coupled - decoupled).applyfunc(sympy.expand).is_zero_matrix
    fixed = ts.modified_flow(3, ts.Descent(decay=w)).evaluate(PLACE, [1, 2])  # w = h · (w/h)
    assert (fixed - decoupled.subs(w, w / h)).applyfunc(sympy.expand).is_zero_matrix
    joint = ts.modified_loss(1, ts.Descent(decay=w * h)).expression(LOSS, [x, y])
    assert sympy.expand(joint - ts.modified_loss(1).expression(LOSS + w * (x**2 + y**2) / 2, [x, y])) == 0


@pytest.mark.parametrize("name", RULES)
def test_modified_losses_with_decay(name: str) -> None:
    """θ̇ = −∇Ẽ where there is one; elsewhere the field is no gradient: its Jacobian is not symmetric."""
    update = RULES[name](THIRD, decay=w * h)
    for order, exists in ((1, True), (2, False))[: 2 if name == "torch" else 1]:
        loss = ts.modified_loss(order, update)
        assert loss.exists is exists
        field = ts.modified_flow(order + 1, update).evaluate(PLACE, [x, y], origin=[1, 2])
        better = loss.expression(LOSS, [x, y], origin=[1, 2])
        left = [sympy.expand(v + sympy.diff(better, z)) for v, z in zip(field, (x, y), strict=True)]
        assert (left == [0, 0]) is exists
        assert (sympy.expand(sympy.diff(field[0], y) - sympy.diff(field[1], x)) == 0) is exists
    text = str(ts.modified_loss(1, ts.Descent(decay=w * h)))
    assert text == "E + w/2 |e|² + h/4 |∇E|² + h*w/2 ∇E·e + h*w**2/4 |e|², with e = θ - θ_0"


@pytest.mark.parametrize("convention", ["torch", "sutskever"])
def test_nesterov_with_decay_is_a_linear_system(convention: str) -> None:
    update = ts.Nesterov(THIRD, [1, 2, 1, 3], convention, Rational(1, 5))
    sgd = ts.SGD(N=2, B=1, E=2)
    for observable in (ts.TestLoss(), ts.Displacement()):
        formula = ts.derive(observable, sgd, 2, update=update)
        assert formula.evaluate(PLACE, at=[1, 2]) == ts.perturb(observable, sgd, PLACE, [1, 2], 2, update=update)


def test_faces() -> None:
    flow = ts.modified_flow(2, ts.HeavyBall(THIRD, decay=w * h))
    assert str(flow) == "3/2 f + d - 9*h/4 f'f - 3*h/2 f'd - 3*h/4 d'f - h/2 d'd, with d = -w*(θ - θ_0)"
    assert [len(flow[d]) for d in range(2)] == [2, 4]
    assert repr(ts.modified_map(1, ts.HeavyBall(THIRD))) == "<ModifiedMap θ ← θ + h·(3/2 f + O(h**1))>"
    with pytest.raises(KeyError, match="h.2 is not known"):
        flow[2]
    with pytest.raises(TypeError, match="give a tree"):
        flow["f"]
    with pytest.raises(ValueError, match="origin=.* has 1 entries; give 2"):
        flow.evaluate(PLACE, [1, 2], origin=[1])
    with pytest.raises(TypeError, match="give a FiniteLandscape"):
        flow.evaluate(LOSS, [1, 2])
    with pytest.raises(TypeError, match="is not an Observable"):
        flow.evaluate(PLACE, [1, 2], penalty=LOSS)
