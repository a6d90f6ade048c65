"""Wrong input gets one clear error that names the argument and what would be right; odd but right input works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from sympy import Symbol, oo

import taylorsgd as ts
from taylorsgd.symbols import B, E, N, T

FORMULA = ts.derive(ts.TestLoss(), ts.SGD(), 2)
LINE = ts.Landscape(lambda theta, x: jnp.cosh(theta + x), jnp.array([-1.0, 1.0, 0.3]))
SIZES: dict[str, Any] = {"N": 4, "B": 1, "E": 1}
x, real = Symbol("x"), Symbol("x", real=True)
COIN = ts.FiniteLandscape([x**2], [1], [x])


def measured_in(folder: Path) -> Any:
    return ts.measure(FORMULA, LINE, 0.7, key=0, samples=8, method=ts.MatrixFree(checkpoint=folder / "a.npz"))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ts.predict(FORMULA, LINE, 0.7, eta="a", **SIZES), TypeError, "eta='a' must be a finite number"),
        (lambda: ts.predict(FORMULA, LINE, 0.7, eta=1j, **SIZES), TypeError, "eta=1j must be a finite number"),
        (lambda: ts.predict(FORMULA, LINE, 0.7, eta=np.nan, **SIZES), ValueError, "eta=nan must be a finite number"),
        (lambda: ts.predict(FORMULA, LINE, 0.7, eta=0.1, tolerance="a", **SIZES), TypeError, "tolerance='a' must be"),
        (lambda: ts.simulate(LINE, 0.7, ts.GD(N=2, T=2), [[0.1]], 10, 0), ValueError, r"eta=\[\[0.1\]\] must be"),
        (lambda: FORMULA.assume(["minimum"]), TypeError, r"assume\(\['minimum'\]\): assumptions are names"),
        (lambda: ts.measure([], LINE, 0.7, key=0), ValueError, r"formula=\[\] holds no formula"),
        (lambda: ts.count_diagrams(60), ValueError, "order=60 has too many diagrams"),
        (lambda: ts.Formula.from_json("[" * 5000), ValueError, "the text is not JSON that can be read"),
        (
            lambda: ts.Formula.from_json('{"a": ' + "9" * 5000 + "}"),
            ValueError,
            "the text is not JSON that can be read",
        ),
        (lambda: measured_in(Path("/no/such/folder")), FileNotFoundError, "there is no folder /no/such/folder"),
        (
            lambda: ts.derive(ts.Observable(real**2), ts.GD(N=1, T=1), 1).evaluate(COIN, [1]),
            ValueError,
            "is not the landscape's x: their assumptions differ",
        ),
        (
            lambda: ts.perturb(ts.Observable(real**2), ts.GD(N=1, T=1), COIN, [1], 1),
            ValueError,
            "holds another symbol that is called like one of",
        ),
        (lambda: ts.SGD(N=jnp.ones(3)), TypeError, "is not a size; it must be an integer of at least 1"),
        (lambda: ts.SGD(N=x + oo), ValueError, "is impossible; it must be an integer of at least 1"),
        (lambda: ts.SGD().substitute({"__import__('os')": 1}), TypeError, "only symbols are replaced"),
        (lambda: ts.derive(ts.TestLoss(), ts.ODE(), 10**30), ValueError, "has more diagrams than can be listed"),
        (lambda: ts.modified_flow(10**30), ValueError, "has more trees than can be listed; it must be at most 20"),
        (lambda: ts.Cosine().rates(10**30), ValueError, "are too many to list their rates"),
        (lambda: ts.perturb(ts.TestLoss(), ts.GD(N=1, T=1), COIN, 1, 10**30), ValueError, "at most 100, the highest"),
        (lambda: ts.perturb(ts.TestLoss(), ts.GD(N=1, T=10**30), COIN, 1, 1), ValueError, "and each is made"),
        (lambda: ts.simulate(LINE, 0.7, ts.GD(N=2, T=10**30), 0.1, 10, 0), ValueError, "simulate a shorter run"),
        (lambda: ts.simulate(LINE, 0.7, ts.SGD(N=10**30, B=1, E=0), 0.1, 10, 0), ValueError, "GiB to draw"),
        (lambda: ts.simulate(LINE, 0.7, ts.SDE(T=10**30, B=1), 0.1, 10, 0), ValueError, "take a smaller T"),
        (lambda: ts.simulate(LINE, float("nan"), ts.GD(N=2, T=2), 0.1, 10, 0), ValueError, "theta=nan must be finite"),
        (lambda: ts.predict(FORMULA, LINE, 0.7, eta=0.1, N=[4, 8], B=1, E=1), TypeError, "must be one number"),
        (lambda: FORMULA.lower().weights(0.1, N=[4, 8], B=[1, 1, 1], E=1), ValueError, "do not broadcast"),
        (lambda: FORMULA.lower().weights(1j, **SIZES), TypeError, "eta=1j must be a real number, or an array of them"),
        (lambda: LINE.rows([7]), ValueError, r"indices=\[7\] must be from 0 to 2"),
        (lambda: COIN.point(b"a"), TypeError, "at=b'a' must be a sequence"),
        (lambda: ts.Observable(oo), ValueError, "s=oo must be finite"),
        (lambda: FORMULA.text(sums="no"), TypeError, "sums='no' must be True or False"),
        (lambda: ts.Formula.from_json(3), TypeError, "text=3 must be the JSON text that to_json wrote"),
        (lambda: ts.Diagram(3), TypeError, "parents=3 must be a sequence"),
    ],
)
def test_errors(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_odd_sizes_are_printed() -> None:
    assert "with T = N**2" in str(ts.derive(ts.TestLoss(), ts.GD(T=N**2), 1))
    same = FORMULA.subs(N=E)
    assert "with T = E**2/B" in str(same) and same._repr_latex_()
    for term, shown in zip(same.terms, same._page().coefficients, strict=True):
        assert (shown.subs(T, E**2 / B) - term.coefficient).simplify() == 0


def test_numpys_integers_are_integers() -> None:
    assert ts.derive(ts.TestLoss(), ts.SGD(), np.int64(2)) == FORMULA
