"""No impossible size, rate or metric gives a number: an error that names it instead.

Checked here:
    (1) sizes as floats and arrays are checked as integers are: finite, large enough, whole, and B divides N
    (2) discrete sums refuse more updates than they count; whole floats and fractions in flows are what they say
    (3) limits take positive learning rates, metrics are symmetric, and pickled formulas are themselves elsewhere
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts

PLAIN = ts.derive(ts.TestLoss(), ts.SGD(), 2).lower()
VALUES = [1.0] * len(PLAIN.values)
RESUMMED = ts.derive(ts.TestLoss(), ts.GD(), 1, resum="discrete").lower()
TENSORS = {(0,): jnp.array(1.0), (1,): jnp.array([1.0]), (2,): jnp.array([[1.0]])}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"N": -3.5, "B": 1, "E": 1}, "N=-3.5 is impossible"),
        ({"N": float("nan"), "B": 1, "E": 1}, "N=nan is impossible"),
        ({"N": np.array([4.0, np.inf]), "B": 1, "E": 1}, "is impossible; it must be finite"),
        ({"N": 10.0, "B": 3, "E": 1}, "B=3 does not divide N=10"),
        ({"N": 10, "B": 2.5, "E": 1}, "B=2.5 is impossible; it must be whole"),
        ({"N": np.array([10, 20]), "B": 3, "E": 1}, "T=.*must be whole"),
        ({"N": np.array([10, 0]), "B": 1, "E": 1}, "at least 1"),
    ],
)
def test_impossible_sizes(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PLAIN(VALUES, eta=0.1, **sizes)


def test_possible_sizes() -> None:
    exact = PLAIN(VALUES, eta=0.1, N=10, B=2, E=3)
    assert PLAIN(VALUES, eta=0.1, N=10.0, B=np.float32(2), E=3) == exact
    assert PLAIN(VALUES, eta=0.1, N=np.array([10, 20]), B=2, E=3)[0] == pytest.approx(exact)
    flow = ts.derive(ts.TestLoss(), ts.ODE(), 1).lower()
    assert flow([1.0, 1.0], eta=0.1, T=2.5) == pytest.approx(0.75)


@pytest.mark.parametrize("T", [2.5, float("nan"), -1, np.array([3, -3])])
def test_impossible_numbers_of_updates(T: Any) -> None:
    with pytest.raises(ValueError, match="T=.*impossible"):
        RESUMMED(TENSORS, eta=0.1, T=T)


def test_too_many_updates() -> None:
    assert RESUMMED(TENSORS, eta=1e-6, T=10**6) == pytest.approx(np.exp(-1), rel=1e-5)
    for T in (10**12, np.array([1.0, 1e12])):
        with pytest.raises(ValueError, match=r"T=1e\+12 updates are more than the 2147483648"):
            RESUMMED(TENSORS, eta=1e-12, T=T)


@pytest.mark.parametrize("eta", [0.0, -0.1])
def test_limits_take_positive_rates(eta: float) -> None:
    coin = ts.FiniteLandscape([(x := ts.symbols.T) ** 2 / 2 + x, x**2 / 2 - x], [ts.symbols.T**0 / 2] * 2, [x])
    limit = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2, resum="discrete").assume("minimum").limit()
    with pytest.raises(ValueError, match="positive learning rates only"):
        limit.evaluate(coin, [0], eta=eta)
    tensors = {key: jnp.ones((1,) * sum(key)) for key in limit.lower().parts}
    with pytest.raises(ValueError, match="positive learning rates only"):
        limit.lower()(tensors, eta=eta)


def test_metrics_are_symmetric() -> None:
    tensors = {(0,): jnp.array(1.0), (1,): jnp.ones(2), (2,): jnp.eye(2)}
    with pytest.raises(ValueError, match="metric is not symmetric"):
        RESUMMED(tensors, eta=0.1, T=3, metric=np.array([[2.0, 1.0], [0.0, 2.0]]))


def test_pickles_are_themselves_in_another_process(tmp_path: Any) -> None:
    """A hash that is stored would be another one there."""
    formula = ts.derive(ts.TestLoss(), ts.GD(), 2, resum="discrete", update=ts.HeavyBall(0.5))
    assert hash(formula) and str(formula)
    (tmp_path / "formula.pickle").write_bytes(pickle.dumps(formula))
    code = (
        "import pickle, sys, taylorsgd as ts; f = pickle.load(open(sys.argv[1], 'rb'))\n"
        "g = ts.derive(ts.TestLoss(), ts.GD(), 2, resum='discrete', update=ts.HeavyBall(0.5))\n"
        "assert not (f - g) and f == g"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "formula.pickle")], check=True)
