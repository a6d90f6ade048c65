"""Sums over the cells of a run in JAX, against the exact walk through the lattice.

1. Ways whose events differ, with slots that events must not share, at P = 1 and P = 2, with a rule's memory.
2. Slots that are taken: more events in one update than the batch has room for.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sympy import Integer, Rational

import taylorsgd as ts
from taylorsgd.diagrams import Diagram
from taylorsgd.lowering.cell_scan import sum_of_ways
from taylorsgd.lowering.edge_memory import PLAIN
from taylorsgd.timesums.cells import Way
from taylorsgd.timesums.events import ROOT, TimeSum
from taylorsgd.timesums.walking import Numbers, System, walk
from taylorsgd.updates import Memory

MEMORIES = {
    "plain": [PLAIN],
    "momentum": [ts.HeavyBall(Rational(1, 2)).memory(Integer(1))],
    "rates": [ts.HeavyBall(Rational(1, 2), convention="torch").memory(Rational(1, t + 1)) for t in range(3)],
}


def fraction(entry: Any) -> Fraction:
    return Fraction(int(entry.p), int(entry.q))


def exactly(ways: Any, memories: list[Memory], rate: Fraction) -> Fraction:
    """The walk of `timesums.walking` with A − ηλ b c for A on every edge."""
    updates = len(ways[0].cells[0])
    carry, enter = [], []
    for memory in (memories * updates)[:updates]:
        b, c = ([fraction(x) for x in part] for part in (memory.enter, memory.read))
        carry.append(
            [[fraction(a) - rate * b[i] * c[j] for j, a in enumerate(row)] for i, row in enumerate(memory.carry)]
        )
        enter.append(b)
    read, by_root = ([fraction(x) for x in part] for part in (memories[-1].read, memories[-1].read_by_root))
    system = System(carry, enter, read, by_root, Fraction(1))
    return sum(
        (way.number * walk(Numbers(way.times, system, way.times.events), updates, way.choices) for way in ways),
        start=Fraction(0),
    )


@pytest.mark.parametrize("memories", MEMORIES.values(), ids=MEMORIES)
@pytest.mark.parametrize(
    "spacetime", [ts.Replacement(N=3, B=2, T=3), ts.SGD(N=6, B=2, E=1, shuffle=True), ts.GD(N=2, T=3)], ids=str
)
def test_ways_of_a_run_are_the_exact_walk(spacetime: Any, memories: list[Memory]) -> None:
    for diagram in (Diagram((-1, 0, 0)), Diagram((-1, 0, 0), (0, 1, 1)), Diagram((-1, 0, 1, 0), (0, 1, 2, 1))):
        ways = tuple(spacetime.ways(diagram))
        rate = Fraction(3, 8)
        with jax.enable_x64(True):
            found = sum_of_ways(ways, diagram.order, jnp.array([0.375]), memories)
        assert found.shape == (1,) * diagram.order
        assert float(found.item()) == pytest.approx(float(exactly(ways, memories, rate)), rel=1e-13)


def test_directions_stay_on_the_axes_of_their_edges() -> None:
    """A chain and a fork at once, one with slots: each entry of an array is a sum of its own."""
    chain, fork = TimeSum(2, ((0, 1), (1, ROOT))), TimeSum(2, ((0, ROOT), (1, ROOT)))
    ways = (
        Way(Fraction(1, 3), chain, ((1, 2, 0), (1, 1, 1))),
        Way(Fraction(2), fork, ((1, 1, 1), (1, 0, 1)), 2, (1, 1)),
        Way(Fraction(1), fork, ((1, 1, 1), (1, 0, 1)), 2, (2, 1)),
    )
    with jax.enable_x64(True):
        found = np.asarray(sum_of_ways(ways, 2, jnp.array([0.25, 1.5])))
    for i, first in enumerate((0.75, -0.5)):
        for j, second in enumerate((0.75, -0.5)):
            chained = sum(
                ways[0].cells[0][s] * first ** (t - s - 1) * second ** (2 - t)
                for s in range(3) for t in range(s + 1, 3)
            )  # fmt: skip
            forked = [
                sum(
                    way.choices(3, t) * first ** (2 - t) * second ** (2 - t) if s == t
                    else way.choices(1, s) * way.choices(2, t) * first ** (2 - s) * second ** (2 - t)
                    for s in range(3) for t in range(3)
                )
                for way in ways[1:]
            ]  # fmt: skip
            assert found[i, j] == pytest.approx(chained / 3 + 2 * forked[0] + forked[1], rel=1e-14)


def test_events_that_find_no_slots_do_not_happen() -> None:
    fork = TimeSum(2, ((0, ROOT), (1, ROOT)))
    full = Way(Fraction(1), fork, ((1,), (1,)), 1, (1, 1))
    assert float(sum_of_ways([full], 2, jnp.zeros(1)).item()) == 0
    assert float(sum_of_ways([full._replace(slots=2)], 2, jnp.zeros(1)).item()) == 2
    assert sum_of_ways([], 2, jnp.zeros(3)).shape == (3, 3)
    assert float(sum_of_ways([Way(Fraction(1), TimeSum(0, ()), ())], 0, jnp.zeros(1))) == 1
