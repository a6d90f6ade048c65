"""What `measure` hands to a method: formulas, a landscape, parameters and random numbers, checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from typing import Any, Protocol, TypeVar

import jax
import numpy as np
from attrs import field, frozen
from attrs.converters import optional
from jaxtyping import PRNGKeyArray

from taylorsgd.arguments import switched, whole_number
from taylorsgd.diagrams import Value
from taylorsgd.display.progress import tracked
from taylorsgd.formulas import Formula, Observable
from taylorsgd.formulas.evaluation import refuse_losses
from taylorsgd.formulas.resummed_value import ResummedValue, penalty_of
from taylorsgd.landscapes.fingerprints import Origin, probed_points
from taylorsgd.landscapes.keys import random_key
from taylorsgd.landscapes.landscape import Landscape, as_landscape
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.landscapes.raising import Raising
from taylorsgd.landscapes.smoothness import warn_of_roughness
from taylorsgd.measuring.contraction import DiagramKey, Plan
from taylorsgd.measuring.linear_functions import LinearFunction

__all__ = ["Method", "Task", "checked_samples", "tracked"]

SAMPLES = 2048
"""The number of draws where none is asked for."""
MOST_SAMPLES = 2**28
"""The most draws of one measurement."""
M = TypeVar("M", covariant=True)


class Method(Protocol[M]):
    """With what to measure: `MatrixFree`, `Dense` or `TopEigenpairs`."""

    def plan(self, task: Task) -> Plan:
        """What measuring will do."""
        ...

    def measure(self, task: Task) -> M:
        """Measure what the formulas of a task take."""
        ...


def checked_samples(samples: Any) -> int:
    """A number of draws.

    Raises:
        ValueError: if it is no integer of at least 2, or their points would fill a machine's memory.
    """
    number = whole_number(samples, "samples", 2)
    if number > MOST_SAMPLES:
        raise ValueError(
            f"samples={number} are more draws than {MOST_SAMPLES}, whose points fill a machine's memory; errors "
            "fall like one over the root of their number, so take fewer, or measure again with another key"
        )
    return number


def _formulas(formula: Formula | Sequence[Formula]) -> tuple[Formula, ...]:
    several: tuple[Any, ...] = tuple(formula) if isinstance(formula, (list, tuple)) else (formula,)
    if not several:
        raise ValueError(f"formula={formula!r} holds no formula; give one, or a list of some")
    for one in several:
        if not isinstance(one, Formula):
            raise TypeError(f"formula={one!r} is not a Formula; derive() makes one")
        if one.metric != several[0].metric:
            raise ValueError(
                f"the formulas have the metrics {several[0].metric} and {one.metric}; measure them separately"
            )
    return several


@frozen(slots=False)
class Task:
    """What is to be measured.

    Attributes:
        formulas: those whose values are measured together.
        landscape: the loss and its data.
        theta: the parameters, checked; None for a plan.
        key: a JAX random key, or None.
        samples: the number of draws that was asked for, or None.
        progress: whether to show a progress bar; None for where somebody watches and it takes long.
    """

    formulas: tuple[Formula, ...] = field(converter=_formulas)
    landscape: Landscape = field(converter=as_landscape)
    theta: Any = None
    key: PRNGKeyArray | None = field(default=None, converter=optional(random_key))
    samples: int | None = field(default=None, converter=optional(lambda samples: checked_samples(samples)))
    progress: bool | None = field(default=None, converter=optional(partial(switched, name="progress")))
    observed: Landscape = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Refuse formulas of a loss where there is none; read anew what the loss reads, and the penalty with it."""
        if self.landscape.is_field:
            for one in self.formulas:
                refuse_losses(one)
        penalty = penalty_of(value for one in self.formulas for value in one.values)
        driven = _penalized(self.landscape, self.observables[penalty]) if penalty else self.landscape
        for name, place in (("observed", self.landscape), ("landscape", driven)):
            object.__setattr__(self, name, place if self.theta is None else place.traced(self.theta))

    @property
    def resummed(self) -> bool:
        """Whether a formula is resummed."""
        return any(isinstance(value, ResummedValue) for one in self.formulas for value in one.values)

    @property
    def metric(self) -> Any:
        """Λ of the formulas' learning rate ηΛ: a matrix, a function of pytrees, or None for the identity."""
        return self.formulas[0].metric

    @cached_property
    def raising(self) -> Raising | None:
        """What multiplies vectors by Λ, looked at; None for the identity."""
        return None if self.metric is None else Raising(self.metric).checked(self.theta)

    @property
    def values(self) -> tuple[Value, ...]:
        """The values of plain formulas; raises if some are scalars and some vectors."""
        values = {value for one in self.formulas for value in one.values if isinstance(value, Value)}
        if len({len(value.open_indices) for value in values}) > 1:
            raise ValueError("formula mixes scalars with vectors (values with an open index); measure them separately")
        return tuple(sorted(values))

    @property
    def diagrams(self) -> tuple[DiagramKey, ...]:
        """The diagrams of all values, with what their nodes carry, whatever their sums over times."""
        values = (value for one in self.formulas for value in one.values)
        return tuple(dict.fromkeys((value.parents, value.parts, value.marks) for value in values))

    @cached_property
    def observables(self) -> dict[str, PointFunction]:
        """The functions behind marked nodes; raises if two have one name, or one is an expression."""
        found: dict[str, Observable] = {}
        for name, observable in (pair for one in self.formulas for pair in one.observables.items()):
            if found.setdefault(name, observable) != observable:
                raise ValueError(f"two formulas observe something called {name!r}; give one another name")
            if not callable(observable.s):
                raise TypeError(
                    f"{observable!r} is an expression, and here s must be a function of the parameters that JAX "
                    "can differentiate, as in Observable(lambda theta: jnp.sum(theta**2))"
                )
        functions = {name: PointFunction(one.s, f"the observable {name}") for name, one in found.items()}
        if self.theta is None:
            return functions
        return {name: function.traced(self.theta) for name, function in functions.items()}

    @cached_property
    def origin(self) -> Origin:
        """Where the numbers will come from; directions, which are told apart by identity, are no part of it."""
        functions = {name: f for name, f in self.observables.items() if not isinstance(f.function, LinearFunction)}
        return Origin(self.observed, self.theta, functions, self.raising or _unraised)

    @property
    def draws(self) -> int:
        """How many draws."""
        return SAMPLES if self.samples is None else self.samples

    def started(self, draws: bool) -> PRNGKeyArray:
        """Look at the loss before anything is differentiated, and return the key, or any where nothing is drawn.

        Raises:
            ValueError: if there is no key where one is needed, or the loss is not finite at θ_0 on the population,
                or on a first batch of a sampler.

        Warns:
            RuntimeWarning: if the loss is not smooth.
        """
        if self.key is None and draws:
            raise ValueError("key=None: measuring draws points; give a JAX random key such as jax.random.key(0)")
        finite = np.isfinite(self.origin.losses)
        if not finite.all():
            what = "the field u" if self.landscape.is_field else "the loss"
            raise ValueError(
                f"{what} is not finite at theta for {np.sum(~finite)} of {len(finite)} points, "
                f"first for point {np.argmin(finite)}"
            )
        points = probed_points(self.landscape)
        warn_of_roughness(self.landscape.point_loss, self.theta, points, stacklevel=5)  # whoever calls measure()
        for function in self.observables.values():
            warn_of_roughness(function, self.theta, None, stacklevel=5)
        return jax.random.key(0) if self.key is None else self.key


def _penalized(landscape: Landscape, penalty: PointFunction) -> Landscape:
    """The loss l_x + p, of the same data."""
    return Landscape(lambda theta, x: landscape.loss(theta, x) + penalty(theta), landscape.data)


def _unraised(vector: Any) -> Any:
    return vector


def measured(draws: Iterable[Any], chunks: int, progress: bool | None) -> Iterable[Any]:
    """The chunks of draws, under a progress bar where it is wanted."""
    return tracked(draws, "Measuring", chunks, progress)
