"""One call from a formula to a verdict: derive, measure, predict, simulate, compare, with the sizes said once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from attrs import evolve, fields, has
from sympy import Expr

from taylorsgd.descent.comparing import Comparison, compare, overlaid
from taylorsgd.descent.runs import Difference, Simulation
from taylorsgd.descent.simulating import simulate
from taylorsgd.formulas import Formula, Observable, derive
from taylorsgd.formulas.expectations import Expectations, Run
from taylorsgd.formulas.observables import AnyObservable, Covariance, SecondMoment, SingleObservable
from taylorsgd.landscapes.keys import random_key
from taylorsgd.landscapes.landscape import AnyLandscape, learning_rates
from taylorsgd.measuring.front import measure
from taylorsgd.measuring.predicting import predict
from taylorsgd.measuring.predictions import Predicted, Prediction
from taylorsgd.measuring.tasks import Method
from taylorsgd.spacetime import Spacetime
from taylorsgd.updates import Update

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Check", "check"]

FRACTIONS = (1 / 4, 1 / 2, 1, 2)
"""Where to simulate if no learning rates are given, as multiples of the edge of the range."""
CURVE = 200
"""At how many learning rates the predicted curve is drawn."""


def check(
    formula: Formula | AnyObservable,
    landscape: AnyLandscape,
    theta: Any,
    spacetime: Spacetime | None = None,
    eta: Any = None,
    *,
    order: int = 3,
    update: Update | None = None,
    trials: int = 1000,
    key: jax.Array | int = 0,
    samples: int | None = None,
    method: Method[Any] | None = None,
    tolerance: float = 0.02,
    progress: bool | None = None,
    **sizes: Any,
) -> Check:
    """Derive, measure, predict, simulate and compare.

    Args:
        formula: what `derive` returned for a scalar observable, or a difference of two such; or an observable, to be
            derived here.
        landscape: the loss and its data, or a toy landscape.
        theta: the parameters θ_0, a pytree of float arrays.
        spacetime: where to run, with numbers for its sizes, which are those of the formula too. May be left out if
            the formula's own are numbers, or given as keywords; for a difference of two runs it must be.
        eta: the learning rates to simulate at; by default 1/4, 1/2, 1 and 2 times the end of the formula's range.
            The prediction is a curve from 0 to the largest of them, and need not share them.
        order: the highest power of η, if an observable is given.
        update: the update rule with numbers for its parameters; by default that of the formula.
        trials: the simulated training sets for each learning rate.
        key: a JAX random key, or an integer seed.
        samples: as in `measure`.
        method: as in `measure`.
        tolerance: as in `predict`.
        progress: as in `measure`.
        **sizes: sizes that the formula leaves free, where no spacetime is given.

    Returns:
        A `Check`: printed, the verdict with its table.

    Raises:
        TypeError: as in `derive`, `measure`, `simulate` and `compare`.
        ValueError: as there; if no learning rates are given and the formula's range is not known; if the spacetime is
            missing or is another than the formula's.

    Example:
        >>> import jax, taylorsgd as ts
        >>> coin = ts.Landscape(lambda theta, x: theta**2 / 2 + x * theta, jax.numpy.array([-1.0, 1.0]))
        >>> found = ts.check(ts.TestLoss(), coin, 1.0, ts.SGD(N=4, B=1, E=1), eta=[0.01, 0.02])
        >>> found.agrees
        True
    """
    rule = update
    if isinstance(formula, (SingleObservable, SecondMoment, Covariance)):
        if spacetime is None:
            raise ValueError(f"spacetime=None: to derive {formula!r} give a spacetime, such as SGD(N=10, B=1, E=1)")
        formula = derive(formula, spacetime, order, update=update)
    elif not isinstance(formula, Formula):
        raise TypeError(f"formula={formula!r} is neither a Formula nor an observable, such as TestLoss()")
    if formula.expectations is None:
        raise ValueError("this formula does not know what it is of, as a part f[d] does not; check the whole formula")
    formula, runs = _settled(formula, spacetime, rule, sizes)
    measuring, simulating = jax.random.split(random_key(key))
    measured = measure(formula, landscape, theta, method=method, key=measuring, samples=samples, progress=progress)

    def predicted(rates: Any) -> Prediction:
        return predict(formula, landscape, theta, eta=rates, measurement=measured, tolerance=tolerance)

    if eta is None:
        edge = predicted(1.0).eta_max
        if not 0 < edge < np.inf:
            raise ValueError(
                f"eta=None: the formula's range ends at {edge}, which says nothing of where to simulate; give eta="
            )
        eta = [edge * fraction for fraction in FRACTIONS]
    rates = np.atleast_1d(learning_rates(eta))
    prediction = predicted(rates)
    observables = _recorded(formula)
    first, *rest = [
        simulate(
            landscape, theta, run.spacetime, rates, trials, simulating,
            update=None if run.spacetime.is_flow else run.update, observables=observables, progress=progress,
        )
        for run in runs
    ]  # fmt: skip
    simulation = first - rest[0] if rest else first
    curve = predicted(np.linspace(0.0, float(rates.max()) * 1.05, CURVE))
    return Check(formula, compare(prediction, simulation), curve)


def _settled(
    formula: Formula, spacetime: Spacetime | None, update: Update | None, sizes: dict[str, Any]
) -> tuple[Formula, list[Run]]:
    """The formula with numbers for its sizes, and the runs that it is of."""
    of = formula.expectations
    assert of is not None
    runs = list(dict.fromkeys(part.run for part, _ in of.parts))
    if len(runs) > 2:
        raise ValueError(f"the formula is of {of}: {len(runs)} runs; a check takes one, or the difference of two")
    if len(runs) == 2 and (spacetime is not None or update is not None):
        raise ValueError(
            f"the formula is of two runs, {runs[0]} and {runs[1]}; leave spacetime and update out, and give sizes as "
            "keywords"
        )
    given = dict(sizes)
    if spacetime is not None:
        if not isinstance(spacetime, Spacetime):
            raise TypeError(
                f"spacetime={spacetime!r} is not a spacetime; give SGD(...), GD(...), Replacement(...) or Grid(cells)"
            )
        why = runs[0].differs_from(Run(spacetime, runs[0].update, runs[0].penalty))
        if why is not None:
            raise ValueError(f"the formula is of {runs[0]}, and spacetime={spacetime!r}: {why}")
        known = formula.sizes
        given |= {name: size for name, size in spacetime.sizes.items() if name in known and known[name].free_symbols}
    if update is not None:
        why = runs[0].differs_from(Run(runs[0].spacetime, evolve_metric(update), runs[0].penalty))
        if why is not None:
            raise ValueError(f"the formula is of {runs[0]}, and update={update!r}: {why}")
        given |= _parameters(runs[0].update, update)
    settled = formula.subs(given) if given else formula
    assert settled.expectations is not None
    missing = sorted({str(symbol) for term in settled.terms for symbol in term.free_symbols})
    if missing:
        raise ValueError(f"the sizes {', '.join(missing)} have no value; give a spacetime with numbers for its sizes")
    found = list(dict.fromkeys(part.run for part, _ in settled.expectations.parts))
    if spacetime is not None:
        found = [evolve(found[0], spacetime=spacetime)]
    if settled.metric is not None:
        found = [evolve(run, update=evolve(run.update, metric=settled.metric)) for run in found]
    return settled, _in_order(settled.expectations, found)


def _in_order(of: Expectations, runs: list[Run]) -> list[Run]:
    """The run that is subtracted last."""
    return runs if len(runs) == 1 or of.parts[0][1].is_positive else runs[::-1]


def evolve_metric(update: Update) -> Update:
    """The rule without its metric, which formulas keep apart."""
    return evolve(update, metric=None) if getattr(update, "metric", None) is not None else update


def _parameters(symbolic: Any, numbers: Any) -> dict[str, Expr]:
    """The numbers that a rule gives for the symbols of another."""
    if isinstance(symbolic, Expr):
        return {str(symbolic): numbers} if symbolic.is_Symbol else {}
    found: dict[str, Expr] = {}
    if isinstance(symbolic, tuple):
        pairs: Sequence[tuple[Any, Any]] = list(zip(symbolic, numbers, strict=True))
    elif has(type(symbolic)):
        pairs = [(getattr(symbolic, f.name), getattr(numbers, f.name)) for f in fields(type(symbolic))]
    else:
        return found
    for one, two in pairs:
        found |= _parameters(one, two)
    return found


def _recorded(formula: Formula) -> list[Observable]:
    """The observables that a simulation has to record."""
    assert formula.expectations is not None
    found: dict[Observable, None] = {}
    for part, _ in formula.expectations.parts:
        one = part.observable
        singles = (one.a, one.b) if isinstance(one, (SecondMoment, Covariance)) else (one,)
        found |= {single: None for single in singles if isinstance(single, Observable)}
    return list(found)


@dataclass(frozen=True)
class Check:
    """A formula held against simulation.

    Attributes:
        formula: the formula, with numbers for its sizes.
        comparison: the prediction beside the simulation, at the simulated learning rates.
        curve: the prediction from 0 to beyond the largest of these.
    """

    formula: Formula
    comparison: Comparison
    curve: Prediction

    @property
    def prediction(self) -> Predicted:
        """The prediction at the simulated learning rates."""
        return self.comparison.prediction

    @property
    def simulation(self) -> Simulation | Difference:
        """What was simulated."""
        return self.comparison.simulation

    @property
    def eta_max(self) -> float:
        """Up to which learning rate the formula is to be believed, see `Prediction`."""
        return self.prediction.eta_max

    @property
    def p_value(self) -> float:
        """The probability of a larger χ² if formula and simulation agree."""
        return self.comparison.p_value

    @property
    def agrees(self) -> bool:
        """Whether they agree at the 1 % level."""
        return self.comparison.agrees

    def plot(self, axes: Axes | None = None, *, orders: bool = True) -> Axes:
        """Draw the predicted curve with its orders, the simulation as bars of one standard error, and the range.

        Args:
            axes: where; by default in a new figure.
            orders: whether to draw the lower orders of the prediction.

        Returns:
            The axes.
        """
        return overlaid(self.comparison, self.curve, axes, orders)

    def __str__(self) -> str:
        """The comparison, and the range."""
        return f"{self.comparison}\n{self.prediction.heading}"

    def __repr__(self) -> str:
        """The same."""
        return str(self)

    def _repr_html_(self) -> str:
        return f"{self.comparison._repr_html_()}\n<p>{self.prediction.heading}</p>"
