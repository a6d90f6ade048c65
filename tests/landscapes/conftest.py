"""One small landscape in two forms, exact and for JAX, that no tensor of low order vanishes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import taylorsgd as ts
from taylorsgd.landscapes import Landscape


def polynomial_loss(theta: Any, x: Any) -> Any:
    """A polynomial of degree 5 in two parameters; the same source serves SymPy and JAX."""
    u, v = theta
    a, b = x
    square = (u * v + a) ** 2 / 2 + (u**2 - b * v) ** 2 / 4
    return square + a * b * u**3 * v + (a - u) ** 4 / 8 + b * u * v**2 + a * u**2 * v**3


@dataclass(frozen=True)
class Twins:
    """The exact landscape and the JAX one, with a common θ_0."""

    exact: ts.FiniteLandscape
    points: np.ndarray
    start: tuple[Fraction, ...]

    def landscape(self) -> Landscape:
        return Landscape(polynomial_loss, (self.points[:, 0], self.points[:, 1]))

    def sampler(self) -> Landscape:
        def draw(key: jax.Array, n: int) -> Any:
            rows = jax.random.randint(key, (n,), 0, len(self.points))
            points = jnp.asarray(self.points)[rows]
            return points[:, 0], points[:, 1]

        return Landscape(polynomial_loss, draw)

    def theta(self) -> tuple[jax.Array, ...]:
        return tuple(jnp.asarray(float(entry)) for entry in self.start)


def polynomial_twins() -> Twins:
    """Three points with coordinates that floats hold exactly."""
    points = np.array([[0.5, -1.0], [-0.25, 0.75], [1.0, 0.5]])
    u, v = sympy.symbols("u v")
    losses = [
        polynomial_loss((u, v), [sympy.Rational(Fraction(float(entry))) for entry in point])
        for point in points
    ]
    exact = ts.FiniteLandscape(losses, [sympy.Rational(1, 3)] * 3, [u, v])
    return Twins(exact, points, (Fraction(1, 2), Fraction(-3, 4)))


@pytest.fixture(scope="session")
def twins() -> Twins:
    return polynomial_twins()


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
