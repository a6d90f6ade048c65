r"""The source of a formula, run as it stands.

Identities:
    (1) exec(f.to_python())(tensors, η, sizes) = f.evaluate on random finite landscapes, for NumPy and JAX: every
        observable and spacetime, plain through order 3, in moments, with a metric, at a tied rate
    (2) resummed ones as evaluate (discrete) and lower (both, also where eigenvalues of H coincide or vanish)
    (3) the text imports its backend alone, and pyflakes and ruff have nothing to say
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from hypothesis import given, settings

import taylorsgd as ts

x, y, z = sympy.symbols("x y z")
SEEN = x**2 * y + y**3
OBSERVED = ts.Observable(SEEN, name="s")
SINGLE = [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement(), OBSERVED]
PAIRS = [
    ts.Variance(ts.TestLoss()),
    ts.SecondMoment(ts.Displacement(), ts.Displacement()),
    ts.Covariance(ts.TrainLoss(), ts.Displacement()),
    ts.Covariance(OBSERVED, ts.Displacement()),
]
SPACETIMES: list[tuple[Any, dict[str, Any]]] = [
    (ts.SGD(), {"N": 4, "B": 2, "E": 2}),
    (ts.GD(), {"N": 3, "T": 4}),
    (ts.Replacement(), {"N": 3, "B": 2, "T": 2}),
    (ts.SGD(shuffle=True), {"N": 4, "B": 2, "E": 3}),
    (ts.SGD(N=4, B=2, E=2), {}),
    (ts.SDE(), {"B": 2, "T": 3}),
    (ts.ODE(), {"T": 3}),
]
THIRD = [ts.SGD(), ts.GD()]
RATE = sympy.Rational(1, 10)
NAMED = {"loss": (0,), "G": (1,), "H": (2,), "J": (3,), "C": (1, 1), "S": (1, 1, 1)}


@cache
def derived(observable: Any, spacetime: Any, order: int, resum: str | None = None) -> ts.Formula | None:
    try:
        return ts.derive(observable, spacetime, order, resum=resum)
    except ValueError:  # flows have no training set
        return None


def tensor(name: str, landscape: Any, at: Any) -> np.ndarray:
    """A tensor by its name, read as the docstring of to_python says."""
    if name == "s" or name.startswith("s_"):
        degree = 0 if name == "s" else int(name[2:])
        point = dict(zip(landscape.variables, at, strict=True))
        entries = np.empty((len(at),) * degree, dtype=float)
        for index in np.ndindex(entries.shape):
            along = [landscape.variables[i] for i in index]
            entries[index] = float((sympy.diff(SEEN, *along) if along else SEEN).subs(point))
        return entries
    if name in NAMED:
        return np.asarray(landscape.cumulant(NAMED[name], at), dtype=float)
    kind, *degrees = re.split(r"_|(?<=^D)", name)
    joint = landscape.moment if kind == "m" else landscape.cumulant
    return np.asarray(joint(tuple(map(int, degrees)), at), dtype=float)


def run(f: ts.Formula, backend: str, landscape: Any, at: Any, sizes: dict[str, Any]) -> Any:
    namespace: dict[str, Any] = {}
    exec(f.to_python(backend, name="computed"), namespace)
    function = namespace["computed"]
    known = sizes | {"eta": float(RATE)}
    tensors, keywords = {}, {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords[name] = known[name]
        else:
            entries = tensor(name, landscape, at)
            tensors[name] = jnp.asarray(entries) if backend == "jax" else entries
    return np.asarray(function(**tensors, **keywords))


def exact(f: ts.Formula, landscape: Any, at: Any, sizes: dict[str, Any], **options: Any) -> np.ndarray:
    rate = {} if f.rate == 1 else {"eta": RATE}
    value = f.evaluate(landscape, at, **rate, **sizes, **options)
    if not f.indices:
        return np.asarray(float(value))
    entries = np.array(value.tolist(), dtype=float)
    return entries[:, 0] if f.indices == 1 else entries


def agree(found: Any, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * (1 + np.abs(expected).max(initial=0)))


@pytest.mark.parametrize("backend", ["numpy", "jax"])
@pytest.mark.parametrize("observable", [*SINGLE, *PAIRS], ids=repr)
def test_plain_formulas(landscapes, x64: None, observable: Any, backend: str) -> None:
    @settings(max_examples=2 if backend == "numpy" else 1)
    @given(landscapes(2, 4))
    def check(drawn: Any) -> None:
        for spacetime, sizes in SPACETIMES:
            deep = observable in SINGLE and backend == "numpy" and spacetime in THIRD
            f = derived(observable, spacetime, 3 if deep else 2)
            if f:
                agree(run(f, backend, *drawn, sizes), exact(f, *drawn, sizes))

    check()


def test_other_forms(x64: None) -> None:
    """In moments, with a matrix learning rate, at a rate tied to sizes, with momentum; a part, and nothing."""
    losses = [x**4 + x * y**2 - 2 * x + y, x**2 * y - y**3 / 2 + x, x * y + y**2 + 3 * y]
    landscape = ts.FiniteLandscape(losses, [sympy.Rational(1, 2), *[sympy.Rational(1, 4)] * 2], [x, y])
    drawn = (landscape, [sympy.Rational(1, 3), sympy.Rational(-1, 2)])
    sizes = {"N": 4, "B": 2, "E": 2}
    f = derived(ts.TrainLoss(), ts.SGD(), 2)
    assert f is not None
    agree(run(f.to_moments(), "numpy", *drawn, sizes), exact(f, *drawn, sizes))
    tied = f.subs(eta=sympy.Symbol("c") * ts.symbols.B)
    assert "eta" not in tied.to_python().replace("beta", "")
    agree(run(tied, "numpy", *drawn, sizes | {"c": 0.25}), exact(tied, *drawn, sizes | {"c": sympy.Rational(1, 4)}))
    metric = sympy.Matrix([[2, 1], [1, 3]])
    for observable in (ts.TrainLoss(), ts.Displacement()):
        turned = ts.derive(observable, ts.GD(), 2, update=ts.Descent(metric=metric))
        agree(run(turned, "numpy", *drawn, {"N": 3, "T": 4}), exact(turned, *drawn, {"N": 3, "T": 4}))
    heavy = ts.derive(ts.TestLoss(), ts.GD(), 2, update=ts.HeavyBall(sympy.Rational(1, 2)))
    agree(run(heavy, "jax", *drawn, {"N": 3, "T": 4}), exact(heavy, *drawn, {"N": 3, "T": 4}))
    agree(run(f[2], "numpy", *drawn, sizes), exact(f[2], *drawn, sizes))
    assert run(f - f, "numpy", *drawn, sizes) == 0
    moved = ts.derive(ts.Displacement(), ts.GD(), 1)
    with pytest.raises(ValueError, match="this formula is 0"):
        (moved - moved).to_python()


RESUMMED: list[tuple[Any, dict[str, Any], str]] = [
    (ts.SGD(E=1), {"N": 4, "B": 2}, "discrete"),
    (ts.GD(), {"N": 3, "T": 4}, "discrete"),
    (ts.SGD(E=1), {"N": 4, "B": 2}, "continuous"),
    (ts.SDE(), {"B": 2, "T": 3}, "continuous"),
]


@pytest.mark.parametrize("backend", ["numpy", "jax"])
@pytest.mark.parametrize("observable", [ts.TrainLoss(), ts.TestLoss(), ts.Displacement(), PAIRS[1]], ids=repr)
def test_resummed_formulas(landscapes, x64: None, observable: Any, backend: str) -> None:
    @settings(max_examples=1)
    @given(landscapes(2, 4))
    def check(drawn: Any) -> None:
        for spacetime, sizes, resum in RESUMMED:
            order = 3 if observable == ts.TestLoss() and backend == "numpy" else 2
            f = derived(observable, spacetime, order, resum)
            if not f:
                continue
            found = run(f, backend, *drawn, sizes)
            if resum == "discrete" and order == 2:
                agree(found, exact(f, *drawn, sizes))
            g = f.lower()
            keys = {part: np.asarray(drawn[0].cumulant(part, drawn[1]), dtype=float) for part in g.parts}
            agree(found, np.asarray(g(keys, eta=float(RATE), **sizes)))

    check()


@pytest.mark.parametrize("resum", ["discrete", "continuous"])
def test_eigenvalues_that_coincide_or_vanish(resum: str) -> None:
    """Where the printed closed form is 0/0."""
    bent = x**2 + y**2 + x**3 + x * y**2 * z
    landscape = ts.FiniteLandscape(
        [bent + x - y + z * x, bent - y**3 - x + 2 * y], [sympy.Rational(1, 2)] * 2, [x, y, z]
    )
    f = ts.derive(ts.TestLoss(), ts.GD(), 3, resum=resum)
    sizes = {"N": 3, "T": 5}
    found = run(f, "numpy", landscape, [0, 0, 0], sizes)
    assert np.isfinite(found)
    if resum == "discrete":
        agree(found, exact(f, landscape, [0, 0, 0], sizes))


def test_limits() -> None:
    landscape = ts.FiniteLandscape(
        [x**2 + y**2 + x * y + x - y + x**3, x**2 + 2 * y**2 - x + y + x * y**2], [sympy.Rational(1, 2)] * 2, [x, y]
    )
    f = ts.derive(ts.GeneralizationGap(), ts.GD(), 2, resum="discrete").assume("minimum").limit()
    agree(run(f, "numpy", landscape, [0, 0], {"N": 5}), exact(f, landscape, [0, 0], {"N": 5}))


def test_the_text_stands_alone(tmp_path: Path) -> None:
    for number, (backend, module) in enumerate([("numpy", "numpy"), ("jax", "jax")]):
        for resum in (None, "discrete", "continuous"):
            for observable in (ts.TrainLoss(), OBSERVED, ts.Displacement()):
                f = derived(observable, ts.SGD(E=1), 3, resum)
                assert f is not None
                source = f.to_python(backend)
                tree = ast.parse(source)
                imported = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
                assert [ast.unparse(node).split()[1].split(".")[0] for node in imported] == [module]
                (tmp_path / f"source_{number}_{resum}_{type(observable).__name__}.py").write_text(source)
    rules = ["ruff", "check", "--isolated", "--select", "E4,E7,E9,F,W", str(tmp_path)]
    checked = subprocess.run([sys.executable, "-m", *rules], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_docstring_says_what_it_takes() -> None:
    source = ts.derive(ts.TestLoss(), ts.SGD(), 2).to_python(name="expected_loss")
    assert "def expected_loss(loss, G, C, H, kappa_1_2, *, eta, B, E, N):" in source
    for line in ("l - T G_μ G^μ", "as a number.", "kappa_1_2: shape (P, P, P)", "where T = E*N/B"):
        assert line in source


def test_names_that_are_taken() -> None:
    f = ts.derive(ts.Observable(x**2, name="N"), ts.SGD(), 1)
    assert "def formula(N_observed, G, N_1, *, eta, B, E, N)" in f.to_python()
    with pytest.raises(ValueError, match="backend='torch' is unknown; it must be 'numpy' or 'jax'"):
        f.to_python("torch")
    for name in ("a b", "lambda", "total"):
        with pytest.raises(ValueError, match="can't name the function"):
            f.to_python(name=name)


def test_what_has_no_source() -> None:
    loss = ts.TestLoss()
    with pytest.raises(NotImplementedError, match=r"with memory has no source here; use lower\(\)"):
        ts.derive(loss, ts.GD(), 1, resum="discrete", update=ts.HeavyBall(sympy.Rational(1, 2))).to_python()
    with pytest.raises(NotImplementedError, match=r"a sum over cells, several epochs or with memory has no source"):
        ts.derive(loss, ts.SGD(N=4, B=2, E=2), 1, resum="discrete").to_python()
    with pytest.raises(NotImplementedError, match=r"a sum over cells, several epochs or with memory has no source"):
        ts.derive(loss, ts.SGD(), 2, resum="discrete").to_python()
    metric = ts.Descent(metric=sympy.Matrix([[2, 1], [1, 3]]))
    with pytest.raises(NotImplementedError, match="matrix learning rate"):
        ts.derive(loss, ts.GD(), 1, resum="discrete", update=metric).to_python()
