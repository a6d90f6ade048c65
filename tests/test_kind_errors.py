"""Wrong input gets one clear error that names the argument and what would be right; odd but right input works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from sympy import Symbol

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
