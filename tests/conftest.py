"""What all tests share: Hypothesis profiles, a plotting backend without a screen, random exact landscapes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product
from typing import Any

import jax
import pytest
import sympy
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import taylorsgd as ts

os.environ.setdefault("MPLBACKEND", "Agg")

# "suite" is derandomized, so that a run on another machine tries the same; no deadline, because a first example
# pays for caches. "search" looks further: HYPOTHESIS_PROFILE=search pytest tests/...
CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "suite", deadline=None, derandomize=True, max_examples=25, print_blob=True, suppress_health_check=CHECKS
)
settings.register_profile("search", deadline=None, derandomize=False, max_examples=200, suppress_health_check=CHECKS)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

VARIABLES = sympy.symbols("x y z")
COEFFICIENTS = [sympy.Rational(n, d) for n in (-3, -2, -1, 0, 1, 2, 3) for d in (1, 2, 3)]

Landscapes = Callable[..., st.SearchStrategy[tuple[ts.FiniteLandscape, list[Any]]]]


@st.composite
def polynomials(draw: st.DrawFn, dimension: int, degree: int) -> sympy.Expr:
    """A polynomial in the first variables with small rational coefficients, all monomials up to a degree."""
    powers = [p for p in product(range(degree + 1), repeat=dimension) if sum(p) <= degree]
    numbers = draw(st.lists(st.sampled_from(COEFFICIENTS), min_size=len(powers), max_size=len(powers)))
    total = sympy.Integer(0)
    for exponents, number in zip(powers, numbers, strict=True):
        total += number * sympy.prod(v**e for v, e in zip(VARIABLES, exponents, strict=False))
    return total


@st.composite
def random_landscapes(
    draw: st.DrawFn, dimension: int, degree: int, atoms: int | None = None
) -> tuple[ts.FiniteLandscape, list[Any]]:
    """A finite landscape of polynomial losses with rational weights, and a rational starting point."""
    count = draw(st.integers(2, 3)) if atoms is None else atoms
    losses = [draw(polynomials(dimension, degree)) for _ in range(count)]
    shares = [draw(st.integers(1, 4)) for _ in range(count)]
    weights = [sympy.Rational(share, sum(shares)) for share in shares]
    start = [draw(st.sampled_from(COEFFICIENTS)) for _ in range(dimension)]
    return ts.FiniteLandscape(losses, weights, VARIABLES[:dimension]), start


@pytest.fixture(scope="session")
def landscapes() -> Landscapes:
    """A function from (dimension, degree, atoms) to a Hypothesis strategy."""
    return random_landscapes


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


@pytest.fixture
def x64() -> Iterator[None]:
    """Arithmetic in float64, for this test only."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    """A list that grows by one entry for every program that JAX compiles."""
    found: list[str] = []

    def note(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield found
    jax.monitoring.unregister_event_duration_listener(note)
