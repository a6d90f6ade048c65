"""What all tests share: Hypothesis profiles, a plotting backend without a screen, random exact landscapes."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import sympy
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import engine

import taylorsgd as ts

os.environ.setdefault("MPLBACKEND", "Agg")
# Programs of tests run for less time than XLA takes to optimize them, or to split them in parts that are compiled side
# by side. XLA_FLAGS="" optimizes them as users' are.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1",
)

# "suite" is derandomized, so that a run on another machine tries the same; no deadline, because a first example
# pays for caches. "search" looks further: HYPOTHESIS_PROFILE=search pytest tests/...
CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "suite", deadline=None, derandomize=True, max_examples=25, print_blob=True, suppress_health_check=CHECKS
)
settings.register_profile("search", deadline=None, derandomize=False, max_examples=200, suppress_health_check=CHECKS)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
if settings.get_current_profile_name() == "suite":
    # An example that fails is made smaller for half a minute, not five: there is no setting for that.
    engine.MAX_SHRINKING_SECONDS = 30

VARIABLES = sympy.symbols("x y z")
COEFFICIENTS = [sympy.Rational(n, d) for n in (-3, -2, -1, 0, 1, 2, 3) for d in (1, 2, 3)]
COEFFICIENT, SHARES, COUNTS = st.sampled_from(COEFFICIENTS), st.integers(1, 4), st.integers(2, 3)

Landscapes = Callable[..., st.SearchStrategy[tuple[ts.FiniteLandscape, list[Any]]]]


@cache  # a strategy that is made anew is checked anew
def coefficients(count: int) -> st.SearchStrategy[list[Any]]:
    """Small rationals."""
    return st.lists(COEFFICIENT, min_size=count, max_size=count)


@cache
def monomials(dimension: int, degree: int) -> list[Any]:
    """All monomials in the first variables up to a degree."""
    powers = [p for p in product(range(degree + 1), repeat=dimension) if sum(p) <= degree]
    return [sympy.prod(v**e for v, e in zip(VARIABLES, exponents, strict=False)) for exponents in powers]


@cache
@st.composite
def polynomials(draw: st.DrawFn, dimension: int, degree: int) -> sympy.Expr:
    """A polynomial in the first variables with small rational coefficients, all monomials up to a degree."""
    powers = monomials(dimension, degree)
    numbers = draw(coefficients(len(powers)))
    return sympy.Add(*(number * power for number, power in zip(numbers, powers, strict=True)))


@st.composite
def random_landscapes(
    draw: st.DrawFn, dimension: int, degree: int, atoms: int | None = None
) -> tuple[ts.FiniteLandscape, list[Any]]:
    """A finite landscape of polynomial losses with rational weights, and a rational starting point."""
    count = draw(COUNTS) if atoms is None else atoms
    losses = [draw(polynomials(dimension, degree)) for _ in range(count)]
    shares = [draw(SHARES) for _ in range(count)]
    weights = [sympy.Rational(share, sum(shares)) for share in shares]
    start = [draw(COEFFICIENT) for _ in range(dimension)]
    return ts.FiniteLandscape(losses, weights, VARIABLES[:dimension]), start


@st.composite
def random_fields(draw: st.DrawFn, dimension: int, degree: int) -> tuple[ts.FiniteField, list[Any]]:
    """A finite field of polynomials with rational weights, a gradient of nothing, and a rational starting point."""
    fields = [[draw(polynomials(dimension, degree)) for _ in range(dimension)] for _ in range(2)]
    share = draw(st.sampled_from([sympy.Rational(1, 2), sympy.Rational(1, 3)]))
    start = [draw(st.sampled_from(COEFFICIENTS)) for _ in range(dimension)]
    return ts.FiniteField(fields, [share, 1 - share], VARIABLES[:dimension]), start


@pytest.fixture(scope="session")
def fields() -> Callable[..., st.SearchStrategy[tuple[ts.FiniteField, list[Any]]]]:
    """A function from (dimension, degree) to a Hypothesis strategy."""
    return random_fields


@pytest.fixture(scope="session")
def landscapes() -> Landscapes:
    """A function from (dimension, degree, atoms) to a Hypothesis strategy."""
    return random_landscapes


def drawn_or_all(data: st.DataObject, choices: Sequence[Any], examples: int, count: int = 2) -> list[Any]:
    """Some of the observables or spacetimes, drawn, where landscapes are many; all of them on each of a few."""
    if examples < 25:
        return list(choices)
    return data.draw(st.lists(st.sampled_from(choices), min_size=count, max_size=count, unique=True))


@pytest.fixture(scope="session")
def some_of() -> Callable[..., list[Any]]:
    """The function `drawn_or_all`."""
    return drawn_or_all


def plain_value(value: ts.Value, landscape: Any, at: Any) -> Any:
    """A value of the loss, summed index by index: no einsum, no networks, an array for open indices.

    Returns:
        A dictionary from the tuple of open indices to an exact number.
    """
    dimension = len(landscape.variables)
    total: dict[tuple[int, ...], Any] = {}
    joint = landscape.moment if value.moments else landscape.cumulant
    tensors = [
        None if value.marks[block[0]].startswith("@") else joint(tuple(value.degrees[node] for node in block), at)
        for block in value.blocks
    ]
    for indices in product(range(dimension), repeat=value.order):
        product_of_parts = Fraction(1)
        for block, tensor in zip(value.blocks, tensors, strict=True):
            if tensor is not None:
                where = tuple(i for node in block for i, edge in zip(indices, value.edges, strict=True) if node in edge)
                product_of_parts = product_of_parts * tensor[where]
        opened = tuple(
            next(i for i, edge in zip(indices, value.edges, strict=True) if node in edge) for node in value.open_indices
        )
        total[opened] = total.get(opened, 0) + product_of_parts
    return total


@pytest.fixture(scope="session")
def evaluate_plainly() -> Callable[..., Any]:
    """The function `plain_value`."""
    return plain_value


MEMORY = Path("/proc/self/statm")
ROOM = 2**30
"""How many bytes a process may hold when a file's tests are done; none may come to hold 2³¹."""


def held() -> int:
    """The bytes of memory that this process holds; where /proc is missing, more than any: to forget costs little."""
    try:
        return int(MEMORY.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return sys.maxsize


def give_back() -> None:
    """Hand freed memory to the system, where C's library keeps it: half of what XLA's compiler took."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Forgetting:
    """A plugin, because a fixture of tests/ does not reach the examples in docstrings."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What lives as long as the run is not looked through for what can go, and what lives long hardly ever."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(1_000_000, 50, 1000)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """When a file's tests are done and memory is short, compiled programs go: others need few of them again."""
        if nextitem is not None and nextitem.path != item.path and "jax" in sys.modules and held() > ROOM:
            sys.modules["jax"].clear_caches()
            gc.collect()
            gc.freeze()
            give_back()


def pytest_configure(config: pytest.Config) -> None:
    """Register what is no fixture."""
    config.pluginmanager.register(Forgetting())


@pytest.fixture
def x64() -> Iterator[None]:
    """Arithmetic in float64, for this test only."""
    import jax

    with jax.enable_x64(True):
        yield


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    """A list that grows by one entry for every program that JAX compiles."""
    import jax

    found: list[str] = []

    def note(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield found
    jax.monitoring.unregister_event_duration_listener(note)
