"""Sums over time against exact arithmetic, on every kind of eigenvalue.

The oracle shares nothing with the code under test: the plain sum over chains of partial fractions, with
derivatives where nodes coincide (Hermite's divided differences), in 400 digits,

    [f; x, …, x] = f^{(k)}(x)/k!  (k + 1 times),
    [f; x_0, …, x_m] = ([f; x_1, …, x_m] − [f; x_0, …, x_{m−1}])/(x_m − x_0),

of the very floating-point numbers that JAX is given. It is itself compared with the exact recurrence for h
in rationals, and with mpmath's matrix exponential. What is asked of a result r for an exact value v:

    |r − v| ≤ tolerance · (the same sum with |1 − s|)

with a tolerance of 1e-10 in float64 (T ≤ 10⁶) and 1e-4 in float32 (T ≤ 10⁴). Nearly all the time goes into
compiling, so float32, derivatives and limits are tried on some structures only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from math import comb
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp
from plain_sums import exact_time_sum

from taylorsgd.lowering.eigenbasis_sums import branch_sums, time_sum, time_sum_limit
from taylorsgd.timesums.closed_forms import chains_of
from taylorsgd.timesums.events import ROOT, TimeSum

STRUCTURES = {
    "geometric": TimeSum(1, ((0, ROOT),)),
    "fork": TimeSum(1, ((0, ROOT), (0, ROOT))),
    "chain of 2": TimeSum(2, ((0, 1), (1, ROOT))),
    "chain of 3": TimeSum(3, ((0, 1), (1, 2), (2, ROOT))),
    "chain of 4": TimeSum(4, ((0, 1), (1, 2), (2, 3), (3, ROOT))),
    "tied parts": TimeSum(2, ((0, 1), (0, ROOT), (1, ROOT), (1, ROOT))),
    "long ties": TimeSum(3, ((0, 1), (0, ROOT), (1, 2), (0, 2), (2, ROOT))),
    "V": TimeSum(3, ((0, 2), (1, 2), (2, ROOT))),
    "V and stem": TimeSum(4, ((0, 2), (1, 2), (2, 3), (3, ROOT))),
    "W": TimeSum(4, ((0, 3), (1, 3), (2, 3), (3, ROOT))),
    "diamond": TimeSum(3, ((0, 1), (0, 2), (1, ROOT), (2, ROOT), (1, ROOT))),
    "two branches": TimeSum(3, ((0, 1), (1, ROOT), (2, ROOT))),
}
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}

SOME = ("fork", "chain of 3", "tied parts", "V")

every_structure = pytest.mark.parametrize("name", STRUCTURES)
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCE)
both_kinds = pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    with jax.enable_x64(dtype == "float64"):
        yield


# -- the oracle --------------------------------------------------------------------------------------


def difference(nodes: Sequence[Any], derivative: Callable[[Any, int], Any]) -> Any:
    nodes = sorted(nodes)
    row = [derivative(node, 0) for node in nodes]
    for k in range(1, len(nodes)):
        row = [
            derivative(nodes[i], k) if nodes[i] == nodes[i + k] else (row[i + 1] - row[i]) / (nodes[i + k] - nodes[i])
            for i in range(len(nodes) - k)
        ]
    return row[0]


def exact(structure: TimeSum, rates: Sequence[Any], T: Any, continuous: bool, absolute: bool = False) -> Any:
    """The sum over time; `absolute`: with |1 − s| for 1 − s."""

    def power(x: Any, k: int) -> Any:
        return comb(T, k) * x ** (T - k) if T >= k else x * 0

    def exponential(y: Any, k: int) -> Any:
        return T**k * mp.exp(T * y) / mp.factorial(k)

    total = mp.mpf(1)
    for _, labels, own in structure.branches:
        value = mp.mpf(0)
        s = [rates[e] for e in labels]
        for chain in chains_of(own, continuous):
            if continuous:
                value += difference([mp.mpf(0), *(-mp.fsum(s[e] for e in interval) for interval in chain)], exponential)
                continue
            decays = [abs(1 - rate) if absolute else 1 - rate for rate in s]
            nodes = [mp.fprod(decays[e] for e in interval) for interval in chain]
            value += spanned(chain, decays) * difference([mp.mpf(1), *nodes], power)
        total *= value
    return total


def spanned(chain: Sequence[Sequence[int]], decays: Sequence[Any]) -> Any:
    spans = Counter(e for interval in chain for e in interval)
    return mp.fprod(decays[e] ** (span - 1) for e, span in spans.items())


def numbers(row: Iterable[Any]) -> list[Any]:
    return [mp.mpf(float(x)) for x in row]


def grid(edges: int, T: float, dtype: str, count: int, seed: int, signs: bool = True) -> np.ndarray:
    """Rates of every kind: some rows with all equal, the others mixed."""
    T = max(T, 1)
    kinds = [0, 0, 0.1, 0.1 * (1 + 1e-9), 0.1 * (1 - 1e-9), 0.3, 0.5, 1, 1, 0.999999, 1e-30, 1e-12, 1e-3]
    kinds += [1 / T, -1 / T, -2 / T, 50 / T, -50 / T, -300 / T, 300 / T, -1, -0.3 / 0.7]
    if signs:
        kinds += [1e6 / T, 1.5, 1.99, 2.0]
    if T < 8:
        kinds += [-1e6 / T]
    rng = np.random.default_rng(seed)
    rates = rng.choice(kinds, size=(count, edges)).astype(dtype)
    rates[: count // 6] = rates[: count // 6, :1]
    rates[0], rates[-1] = 0, 1
    return rates


def check(result: Any, value: Any, bound: Any, dtype: str, what: object) -> float:
    """Hold a result against the exact value; returns the error in units of the bound, 0 if out of range."""
    finfo = np.finfo(dtype)
    if abs(value) > finfo.max or bound > finfo.max / 2:
        if bound == abs(value):
            assert np.isinf(result), what
        return 0.0
    if bound < finfo.tiny:
        assert abs(result) <= finfo.tiny, what
        return 0.0
    error = float(abs(mp.mpf(float(result)) - value) / bound) if np.isfinite(result) else np.inf
    assert error <= TOLERANCE[dtype], (what, float(result), mp.nstr(value, 12), error)
    return error


@pytest.mark.parametrize("T", [0, 1, 2, 3, 4, 9])
@every_structure
def test_oracle_is_the_exact_sum(name: str, T: int) -> None:
    structure = STRUCTURES[name]
    for row in grid(len(structure.edges), T, "float64", 5, seed=1):
        exactly = exact_time_sum(structure, [1 - Fraction(float(s)) for s in row], T)
        with mp.workdps(400):
            value = exact(structure, numbers(row), T, False)
            assert abs(value - mp.mpf(exactly.numerator) / exactly.denominator) <= 1e-100 * (1 + abs(value))


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_oracle_is_an_entry_of_a_matrix_exponential(length: int) -> None:
    structure = STRUCTURES["geometric"] if length == 1 else STRUCTURES[f"chain of {length}"]
    rates = [0.5, 0.5, -0.25, 0.5 + 2**-30][:length]
    with mp.workdps(400):
        value = exact(structure, numbers(rates), mp.mpf(7), True)
        matrix = mp.zeros(length + 1)
        for i in range(length):
            matrix[i + 1, i + 1], matrix[i, i + 1] = -mp.mpf(rates[i]), 1
        assert abs(mp.expm(7 * matrix)[0, length] - value) < 1e-100 * value


# -- values ------------------------------------------------------------------------------------------


@both_kinds
@pytest.mark.parametrize(
    ("name", "dtype"), [(name, "float64") for name in STRUCTURES] + [(name, "float32") for name in SOME]
)
def test_values(name: str, dtype: str, continuous: bool) -> None:
    structure = STRUCTURES[name]
    largest = 10**6 if dtype == "float64" else 10**4
    sizes: list[float] = [0, 1, 2, 3, 5, 7, 100, 1000, largest - 1, largest]
    for seed, T in enumerate(sizes):
        if continuous and T == 1:
            T = 2**-10
        rates = grid(len(structure.edges), T, dtype, 24, seed)
        with precision(dtype):
            results = np.asarray(time_sum(structure, list(rates.T), T, continuous=continuous))
        assert results.dtype == dtype
        with mp.workdps(400):
            size = mp.mpf(T) if continuous else T
            for row, result in zip(rates, results, strict=True):
                value = exact(structure, numbers(row), size, continuous)
                bound = value if continuous else exact(structure, numbers(row), size, False, absolute=True)
                check(result, value, bound, dtype, (name, T, row))


@both_dtypes
def test_long_times(dtype: str) -> None:
    """T up to 2³¹, and integrals with |s|T up to 10⁷."""
    structure = STRUCTURES["V"]
    # T log|x| itself is rounded, so an x^T far from 1 would be off in proportion.
    rates = np.array([[0, 0, 0], [1e-9, 0.5, -1e-10], [1e-9, 1e-9, 1e-9], [0.1, 0.2, 1.0]], dtype)
    with precision(dtype):
        results = np.asarray(time_sum(structure, list(rates.T), 2**31, continuous=False))
        longer = np.asarray(time_sum(structure, list(1e7 * rates.T), 1.0, continuous=True))
    with mp.workdps(400):
        for row, result, long in zip(rates, results, longer, strict=True):
            value = exact(structure, numbers(row), 2**31, False)
            check(result, value, value, dtype, row)
            scaled = numbers((np.asarray(1e7 * row)).astype(dtype))
            value = exact(structure, scaled, mp.mpf(1), True)
            check(long, value, value, dtype, row)


@st.composite
def time_sums(draw: st.DrawFn) -> TimeSum:
    """Events with edges to later events or the root; each has at least one."""
    events = draw(st.integers(1, 4))
    edges = []
    for event in range(events):
        later = st.sampled_from([*range(event + 1, events), ROOT])
        edges += [(event, target) for target in draw(st.lists(later, min_size=1, max_size=2))]
    return TimeSum(events, tuple(edges))


@settings(max_examples=25)
@given(time_sums(), st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_any_structure_is_the_exact_sum(structure: TimeSum, T: int, seed: int) -> None:
    decays = np.random.default_rng(seed).integers(0, 5, len(structure.edges))
    value = exact_time_sum(structure, [Fraction(int(k), 4) for k in decays], T)
    with jax.enable_x64(True):
        result = time_sum(structure, list(1 - decays / 4), T, continuous=False)
    assert float(result) == pytest.approx(float(value), rel=1e-13)


def test_a_circle_of_events_is_impossible() -> None:
    circle = TimeSum(2, ((0, 1), (1, 0)))
    rates = [jnp.zeros((2, 1)), jnp.zeros(3)]
    for continuous in (False, True):
        assert not time_sum(circle, rates, 5, continuous=continuous).any()
        assert not np.any(time_sum_limit(circle, rates, continuous=continuous))


def test_fewer_updates_than_events_give_exactly_zero() -> None:
    rates = [jnp.array([0.0, 0.1, 1.0, -1e6, 1e6])] * 4
    for T in range(4):
        assert not time_sum(STRUCTURES["chain of 4"], rates, T, continuous=False).any()
    np.testing.assert_array_equal(time_sum(STRUCTURES["chain of 4"], rates, 4, continuous=False), np.ones(5))
    assert time_sum(TimeSum(0, ()), [], 5, continuous=False) == 1


def test_overflow_is_infinite_and_nothing_else() -> None:
    for name in ("geometric", "tied parts"):
        structure = STRUCTURES[name]
        rates = [jnp.array([-1.0, -0.1, 0.3, -1e9])] * len(structure.edges)
        finite = np.isfinite(time_sum(structure, rates, 10**4, continuous=False))
        np.testing.assert_array_equal(finite, [False, False, True, False], name)
        values = time_sum(structure, rates, 10**4, continuous=True)
        np.testing.assert_array_equal(np.isinf(values), [True, True, False, True], name)


# -- derivatives -------------------------------------------------------------------------------------


@both_kinds
@pytest.mark.parametrize(("name", "dtype"), [*((name, "float64") for name in SOME), ("tied parts", "float32")])
def test_gradients(name: str, dtype: str, continuous: bool) -> None:
    """In the rates and in T. Nothing overflows here, so all must be right, at s = 0 and 1 and T = 0 too."""
    structure = STRUCTURES[name]
    edges = len(structure.edges)
    arguments = (0, 1) if continuous else (0,)

    def value(rates: Any, T: Any) -> Any:
        return time_sum(structure, list(rates), T, continuous=continuous)

    backward = jax.jit(jax.vmap(jax.grad(value, arguments), (0, None)))
    forward = jax.jit(jax.vmap(jax.jacfwd(value, arguments), (0, None)))
    for seed, T in enumerate([0.0, 1.0, 2.0, 5.0, 1000.0, 1e6 if dtype == "float64" else 1e4]):
        rates = grid(edges, T, dtype, 8, seed, signs=False)
        rates = np.where(rates < -2 / max(T, 1), -1 / max(T, 1), rates).astype(dtype)
        with precision(dtype):
            slopes = [np.asarray(slope) for slope in backward(rates, T)]
            if name == "tied parts":
                for slope, other in zip(slopes, forward(rates, T), strict=True):
                    np.testing.assert_allclose(slope, other, rtol=20 * float(np.finfo(dtype).eps))
        with mp.workdps(400):
            step = mp.mpf(10) ** -60
            size = mp.mpf(T) if continuous else int(T)
            for row, slope in zip(rates, slopes[0], strict=True):
                s = numbers(row)
                for e in range(edges):
                    up, down = (
                        exact(structure, [*s[:e], s[e] + h, *s[e + 1 :]], size, continuous) for h in (step, -step)
                    )
                    true = negligible((up - down) / (2 * step))
                    check(slope[e], true, abs(true), dtype, (name, T, row, e))
            for row, slope in zip(rates, slopes[1] if continuous else [], strict=False):
                up, down = (exact(structure, numbers(row), size + h, True) for h in (step, -step))
                true = negligible((up - down) / (2 * step))
                if true:
                    check(slope, true, abs(true), dtype, (name, T, row))
                else:
                    assert abs(float(slope)) < 1e-80, (name, T, row)


def negligible(slope: Any) -> Any:
    """Zero for a difference quotient that is nothing but its own error, the step squared."""
    return slope if abs(slope) > mp.mpf(10) ** -90 else mp.mpf(0)


@both_kinds
def test_second_derivatives(continuous: bool) -> None:
    """With respect to rates that are alike: three nodes coincide."""
    structure = STRUCTURES["chain of 2"]
    rates = np.array([0.1, 0.1])

    def value(rates: Any) -> Any:
        return time_sum(structure, list(rates), 20, continuous=continuous)

    with jax.enable_x64(True):
        hessian = np.asarray(jax.jit(jax.hessian(value))(rates))
    with mp.workdps(400):
        size = mp.mpf(20) if continuous else 20
        h = mp.mpf(10) ** -50

        def moved(i: int, a: Any, j: int, b: Any) -> Any:
            s = [s + a * (e == i) + b * (e == j) for e, s in enumerate(numbers(rates))]
            return exact(structure, s, size, continuous)

        for i in range(2):
            for j in range(2):
                second = moved(i, h, j, h) - moved(i, h, j, -h) - moved(i, -h, j, h) + moved(i, -h, j, -h)
                assert float(hessian[i, j]) == pytest.approx(float(second / (4 * h * h)), rel=1e-13)


def test_mixed_derivative_in_time_and_rate() -> None:
    """∂T ∂s (1 − e^{−sT})/s = −T e^{−sT}, and ∂T² = −s e^{−sT}."""
    with jax.enable_x64(True):

        def value(s: Any, T: Any) -> Any:
            return time_sum(STRUCTURES["geometric"], [s], T, continuous=True)

        mixed = jax.grad(jax.grad(value), argnums=1)(0.5, 3.0)
        twice = jax.grad(jax.grad(value, argnums=1), argnums=1)(0.5, 3.0)
    assert float(mixed) == pytest.approx(-3 * np.exp(-1.5), rel=1e-14)
    assert float(twice) == pytest.approx(-0.5 * np.exp(-1.5), rel=1e-14)


# -- limits ------------------------------------------------------------------------------------------


@both_kinds
@pytest.mark.parametrize(("name", "dtype"), [*((name, "float64") for name in SOME), ("V", "float32")])
def test_limits(name: str, dtype: str, continuous: bool) -> None:
    structure = STRUCTURES[name]
    rng = np.random.default_rng(7)
    kinds = [1e-9, 1e-3, 0.1, 0.1 * (1 + 1e-9), 1.0, 1.5, 1.9]
    rates = rng.choice(kinds, size=(30, len(structure.edges))).astype(dtype)
    rates[0] = 0.5
    with precision(dtype):
        results = np.asarray(time_sum_limit(structure, list(rates.T), continuous=continuous))
        far = float(time_sum(structure, list(rates[0]), 1000, continuous=continuous))
    eps = float(np.finfo(dtype).eps)
    assert float(results[0]) == pytest.approx(far, rel=10 * eps)
    with mp.workdps(60):
        for row, result in zip(rates, results, strict=True):
            value = bound = mp.mpf(1)
            s = numbers(row)
            for _, labels, own in structure.branches:
                terms = []
                rest = [1 - s[e] for e in labels]
                for chain in chains_of(own, continuous):
                    term = mp.mpf(1) if continuous else spanned(chain, rest)
                    for interval in chain:
                        decay = mp.fprod(rest[e] for e in interval)
                        term /= mp.fsum(s[labels[e]] for e in interval) if continuous else 1 - decay
                    terms.append(term)
                value, bound = value * mp.fsum(terms), bound * mp.fsum(map(abs, terms))
            assert abs(mp.mpf(float(result)) - value) <= 50 * eps * bound, (row, result, value)


def test_gradient_of_a_limit() -> None:
    """d/ds 1/(1 − (1 − s)(1 − r)) = −(1 − r)/(…)²."""
    structure = STRUCTURES["fork"]
    slope = jax.grad(lambda s: time_sum_limit(structure, [s, 0.5], continuous=False))(1.0)
    assert float(slope) == pytest.approx(-0.5)
    slope = jax.grad(lambda s: time_sum_limit(structure, [s, 0.5], continuous=True))(1.5)
    assert float(slope) == pytest.approx(-0.25)


# -- shapes, tracing, arguments ----------------------------------------------------------------------


@both_kinds
def test_branches_stay_on_their_own_axes(continuous: bool) -> None:
    structure = STRUCTURES["two branches"]
    rates = [jnp.full((2, 1, 1), 0.1), jnp.full((3, 1), 0.2), jnp.full(4, 0.3)]
    first, second = branch_sums(structure, rates, 5, continuous=continuous)
    assert (first.shape, second.shape) == ((2, 3, 1), (4,))
    whole = time_sum(structure, rates, 5, continuous=continuous)
    assert whole.shape == (2, 3, 4)
    np.testing.assert_allclose(whole, first * second, rtol=1e-6)


@both_kinds
def test_one_compilation_serves_all_numbers(continuous: bool) -> None:
    traces = 0

    @jax.jit
    def value(rates: Any, T: Any) -> Any:
        nonlocal traces
        traces += 1
        return time_sum(STRUCTURES["V"], list(rates), T, continuous=continuous)

    for T in (0, 1, 17, 10**6):
        for scale in (0.0, 1e-6, 0.5, -1e-6):
            value(scale * jnp.arange(1.0, 4.0), T)
    assert traces == 1


@both_kinds
def test_vmap_over_rates_and_times(continuous: bool) -> None:
    structure = STRUCTURES["chain of 2"]

    def value(s: Any, T: Any) -> Any:
        return time_sum(structure, [s, 2 * s], T, continuous=continuous)

    rates, sizes = jnp.array([0.0, 0.1, 0.3]), jnp.array([0, 1, 5, 1000])
    many = jax.vmap(jax.vmap(value, (None, 0)), (0, None))(rates, sizes)
    each = [[value(s, T) for T in sizes.tolist()] for s in rates]
    np.testing.assert_allclose(many, np.array(each), rtol=1e-5)
    # An array of times broadcasts like the rates.
    np.testing.assert_allclose(value(rates[:, None], sizes), many, rtol=1e-5)
    slopes = jax.vmap(jax.grad(value), (None, 0))(0.1, sizes)
    np.testing.assert_allclose(slopes, [jax.grad(value)(0.1, T) for T in sizes.tolist()], rtol=1e-5)


@pytest.mark.parametrize("T", [12, np.int64(12), 12.0, jnp.float32(12), jnp.uint8(12)])
def test_any_number_type_of_updates(T: Any) -> None:
    fork = STRUCTURES["fork"]
    assert float(time_sum(fork, [0, 0], T, continuous=False)) == 12
    assert float(jax.jit(lambda T: time_sum(fork, [0, 0], T, continuous=False))(T)) == 12


def test_wrong_arguments() -> None:
    fork = STRUCTURES["fork"]
    with pytest.raises(ValueError, match="1 rates for 2 edges"):
        time_sum(fork, [0.5], 3, continuous=False)
    for T in (-1, 2.5, 2**32, np.nan):
        with pytest.raises(ValueError, match="no number of updates"):
            time_sum(fork, [0.5, 0.5], T, continuous=False)


@both_kinds
def test_exports_for_every_machine(continuous: bool) -> None:
    def slope(rates: Any, T: Any) -> Any:
        return jax.grad(lambda r: time_sum(STRUCTURES["fork"], list(r), T, continuous=continuous))(rates)

    exported = jax.export.export(jax.jit(slope), platforms=["cpu", "cuda", "tpu"])(jnp.zeros(2), 7)
    np.testing.assert_allclose(exported.call(jnp.ones(2) / 8, 7), slope(jnp.ones(2) / 8, 7), rtol=1e-6)
