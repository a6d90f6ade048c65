"""One small landscape in two forms, exact and for JAX, that no tensor of low order vanishes on."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import taylorsgd as ts
from taylorsgd.formulas.evaluation import evaluate_value
from taylorsgd.landscapes import Landscape
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.measuring.planning import make_plan
from taylorsgd.measuring.running import Runner


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

    @staticmethod
    def observable(theta: Any) -> Any:
        u, v = theta
        return u**2 * v + v**3 + u

    def value(self, value: ts.Value) -> np.ndarray:
        joint = self.exact.moment if value.moments else self.exact.cumulant
        u, v = self.exact.variables
        point = dict(zip((u, v), self.start, strict=True))

        def derivative(degree: int) -> np.ndarray:
            tensor = np.empty((2,) * degree, dtype=object)
            for index in np.ndindex(tensor.shape):
                along = [(u, v)[i] for i in index]
                derived = sympy.diff(self.observable((u, v)), *along) if along else self.observable((u, v))
                tensor[index] = sympy.Rational(derived.subs(point))
            return tensor

        result = evaluate_value(value, lambda degrees: joint(degrees, at=self.start), {"s": derivative})
        return np.vectorize(float)(np.asarray(result, dtype=object))

    def all_draws(self, runner: Runner) -> np.ndarray:
        """The estimates for every choice of points that a draw can make, with the open index last."""
        groups = runner.plan.groups
        choices = np.array(list(product(range(3), repeat=sum(groups.values()))))
        columns = iter(range(choices.shape[1]))
        points = {}
        for group, width in groups.items():
            chosen = self.points[choices[:, [next(columns) for _ in range(width)]]]
            points[group] = (jnp.asarray(chosen[..., 0]), jnp.asarray(chosen[..., 1]))
        estimates = runner.estimates(points)
        if isinstance(estimates, tuple):
            return np.stack([np.asarray(leaf) for leaf in estimates], axis=-1)
        return np.asarray(estimates)

    def check_unbiased(
        self,
        values: tuple[ts.Value, ...],
        landscape: Landscape,
        batch: int,
        size: int | None,
        estimator: str = "centred",
    ) -> None:
        plan = make_plan(values, batch=batch, population=size, estimator=estimator)
        observables = {"s": PointFunction(self.observable, "s")}
        runner = Runner(plan, landscape, self.theta(), observables)
        for i in range(len(values)):
            if i not in plan.sampled:
                answer = np.stack([np.asarray(leaf) for leaf in jax.tree.leaves(runner.exact(i))], axis=-1)
                np.testing.assert_allclose(answer.squeeze(), self.value(values[i]), rtol=1e-11, atol=1e-11)
        if not plan.sampled:
            return
        expected = [self.value(values[i]) for i in plan.sampled]
        means = self.all_draws(runner).mean(axis=0)
        for position, mean, value in zip(plan.sampled, means, expected, strict=True):
            np.testing.assert_allclose(mean, value, rtol=1e-10, atol=1e-10, err_msg=str(values[position]))


def polynomial_twins() -> Twins:
    """Three points with coordinates that floats hold exactly."""
    points = np.array([[0.5, -1.0], [-0.25, 0.75], [1.0, 0.5]])
    u, v = sympy.symbols("u v")
    losses = [polynomial_loss((u, v), [sympy.Rational(Fraction(float(entry))) for entry in point]) for point in points]
    exact = ts.FiniteLandscape(losses, [sympy.Rational(1, 3)] * 3, [u, v])
    return Twins(exact, points, (Fraction(1, 2), Fraction(-3, 4)))


@pytest.fixture(scope="session")
def twins() -> Twins:
    return polynomial_twins()
