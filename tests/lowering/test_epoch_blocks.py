r"""Sums over several epochs under rules with memory, as JAX arrays.

Identities:
    (1) remembering_epochs = Σ over the batch of every part and the epoch of every node of Π c K^{Δt − 1} b, with
        K = A − s b c, where the roots of K are real, coincide or are complex, also for E → ∞; in both precisions
    (2) a memory of one number is what `epoch_powers` sums
    (3) lowered formulas = Formula.evaluate, of one order, of drawn orders, and of one training set; new sizes do not
        compile again; derivatives in H are differences
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sympy import Integer, Rational, symbols

import taylorsgd as ts
from taylorsgd.lowering import resummed as module
from taylorsgd.lowering.edge_memory import PLAIN
from taylorsgd.lowering.epoch_blocks import remembering_epochs
from taylorsgd.lowering.epoch_powers import epoch_sums
from taylorsgd.timesums.events import ROOT
from taylorsgd.timesums.two_clocks import EpochSum

X = symbols("x")
SHAPES = [((ROOT, ROOT), (0, 0)), ((ROOT, 0), (0, 0)), ((ROOT, 0, 1), (0, 1, 0)), ((ROOT, ROOT, 0), (0, 1, 1))]
RATES = [0.0, 1e-6, 0.25, 1 / 3, 1.9, 2.3]
"""With β = ¼ the roots of r² − (1 + β − s) r + β coincide at s = ¼ and are complex beyond."""
RULES = [ts.HeavyBall(Rational(1, 4)), ts.Nesterov(Rational(1, 4), convention="sutskever")]


def one_by_one(shape: Any, memory: Any, n: int, epochs: int, rates: list[float]) -> float:
    targets, parts = shape
    carry, enter, read, by_root = (np.array(part, float) for part in memory)
    names, total = sorted(set(parts)), 0.0
    powers = [[np.linalg.matrix_power(carry - s * np.outer(enter, read), k) for k in range(n * epochs)] for s in rates]
    for batches in product(range(n), repeat=len(names)):
        for chosen in product(range(epochs), repeat=len(parts)):
            times = [n * epoch + batches[names.index(part)] for epoch, part in zip(chosen, parts, strict=True)]
            gaps = [(n * epochs if t == ROOT else times[t]) - times[v] for v, t in enumerate(targets)]
            if min(gaps) > 0:
                carried = [powers[v][gap - 1] @ enter for v, gap in enumerate(gaps)]
                total += prod(float((by_root if t == ROOT else read) @ carried[v]) for v, t in enumerate(targets))
    return total


@given(
    st.sampled_from(SHAPES[::-1]), st.sampled_from(RULES), st.sampled_from([2, 3, 1]), st.sampled_from([2, 3, 1, 0]),
    st.lists(st.sampled_from(RATES), min_size=3, max_size=3), st.booleans(),
)  # fmt: skip
@example(SHAPES[2], RULES[0], 2, 3, RATES[2:5], True)
@example(SHAPES[3], RULES[1], 3, 2, RATES[3:6], True)
def test_numbers(shape: Any, rule: Any, n: int, epochs: int, rates: list[float], wide: bool) -> None:
    memory, count = rule.memory(Integer(1)), len(shape[0])
    truth = one_by_one(shape, memory, n, epochs, rates[:count])
    with jax.enable_x64(wide):
        dtype = jnp.float64 if wide else jnp.float32
        times = EpochSum(shape[0], *symbols("n E"), shape[1])
        given_rates = [jnp.asarray(rate, dtype) for rate in rates[:count]]
        (found,) = remembering_epochs(times, memory, given_rates, jnp.uint32(n), jnp.uint32(epochs))
        assert float(found) == pytest.approx(truth, rel=1e-12 if wide else 2e-5, abs=1e-12 if wide else 2e-5)


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[2]], ids=str)
def test_many_epochs_and_a_memory_of_one_number(shape: Any) -> None:
    times, count, n = EpochSum(shape[0], *symbols("n E"), shape[1]), len(shape[0]), jnp.uint32(3)
    rates = [jnp.float32(rate) for rate in (1e-5, 0.25, 1.9)][:count]
    memory = RULES[0].memory(Integer(1))
    (late,) = remembering_epochs(times, memory, rates, n, jnp.uint32(1_300_000))
    (limit,) = remembering_epochs(times, memory, rates, n, None)
    assert float(limit) == pytest.approx(float(late), rel=2e-2)  # s T ε: a rounded 1 − s, four million times
    for epochs in (None, jnp.uint32(5)):
        (found,), (plain,) = remembering_epochs(times, PLAIN, rates, n, epochs), epoch_sums(times, rates, n, epochs)
        assert float(found) == pytest.approx(float(plain), rel=1e-6)


LOSSES = [X**3 / 3 - 2 * X + X**2, 2 * X**2 + X - X**3, X**2 / 2 + X, X**2 - X / 3]
FIXED = {"shuffle": True, "data": "fixed"}


def tensors_of(landscape: Any, formula: Any) -> dict[Any, Any]:
    return {key: jnp.asarray(np.vectorize(float)(landscape.cumulant(key, [1]))) for key in formula.lower().parts}


@pytest.mark.parametrize(
    ("options", "rule"),
    [({}, RULES[0]), (FIXED, RULES[1]), ({"shuffle": True}, ts.Descent(decay=Rational(1, 5)))],
    ids=str,
)
def test_lowered_is_evaluated(options: Any, rule: Any) -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(**options), 2, resum="discrete", update=rule)
    lowered = formula.lower()
    with jax.enable_x64(True):
        before = module._evaluate._cache_size()
        for n, b, e in [(4, 2, 3), (3, 1, 2)]:
            landscape = ts.FiniteLandscape(LOSSES[:n], [Rational(1, n)] * n, [X])
            exact = formula.evaluate(landscape, [1], eta=Rational(1, 10), N=n, B=b, E=e)
            found = lowered(tensors_of(landscape, formula), eta=0.1, N=n, B=b, E=e)
            assert float(found) == pytest.approx(float(exact), rel=1e-12)
        assert module._evaluate._cache_size() == before + 1


def test_limits_and_derivatives() -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(**FIXED), 2, resum="discrete", update=RULES[0]).assume("minimum")
    coins = ts.FiniteLandscape([X**2 + s * X for s in (1, -2, 3, -2)], [Rational(1, 4)] * 4, [X])
    limit, sizes, step = formula.limit(), {"N": 4, "B": 2}, 1e-6
    with jax.enable_x64(True):
        tensors = {key: jnp.asarray(np.vectorize(float)(coins.cumulant(key, [0]))) for key in limit.lower().parts}
        exact = limit.evaluate(coins, [0], eta=Rational(1, 10), **sizes)
        assert float(limit.lower()(tensors, eta=0.1, **sizes)) == pytest.approx(float(exact), rel=1e-12)
        lowered = formula.lower()

        def moved(h: Any) -> Any:
            return lowered(tensors | {(2,): tensors[2,] + h}, eta=0.1, E=3, **sizes)

        difference = (moved(step) - moved(-step)) / (2 * step)
        assert float(jax.grad(moved)(0.0)) == pytest.approx(float(difference), rel=1e-6)
