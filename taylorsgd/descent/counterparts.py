"""Of a simulation, what a prediction predicts: the statistic that its formula is of, or an error that says why not."""

from __future__ import annotations

from typing import Any

from sympy import Expr, Integer

from taylorsgd.descent.runs import Difference, Simulation, Statistic, over_trials
from taylorsgd.formulas.expectations import Expectations, Run
from taylorsgd.formulas.observables import AnyObservable, GeneralizationGap, TestLoss, TrainLoss
from taylorsgd.measuring.predictions import Predicted
from taylorsgd.updates import Update

__all__ = ["counterpart"]

Weights = dict[AnyObservable, Expr]
"""A linear combination of observables of one run."""


def counterpart(
    prediction: Predicted, simulation: Simulation | Difference, observable: AnyObservable | None, strict: bool
) -> Statistic:
    """The simulated counterpart of a prediction.

    Args:
        prediction: the prediction.
        simulation: the run, or the difference of two.
        observable: what the prediction is of, where it does not know itself.
        strict: whether to refuse runs of something else.

    Raises:
        TypeError: if the observable is none.
        ValueError: if it is not known of what the prediction is, or strictly the simulation is of something else; it
            names both.
    """
    of = prediction.expectations
    if not isinstance(observable, AnyObservable | None):
        raise TypeError(f"observable={observable!r} is not an observable, such as TestLoss()")
    if observable is not None:
        only = None if of is None else of.only
        if strict and of is not None and (only is None or only.observable != observable):
            predicted = of if only is None else repr(only.observable)
            raise ValueError(
                f"the prediction is of {predicted}, and observable={observable!r} is something else; leave observable "
                "out, or give strict=False for a control that is meant to disagree"
            )
        if strict and of is not None:
            _matched(of, simulation, prediction)
        return simulation.statistic(observable)
    if of is None:
        raise ValueError(
            "the formula of the prediction does not know what it is of, as a part f[d] does not; give observable="
        )
    if strict:
        return _combined(_matched(of, simulation, prediction), simulation)
    parts: Weights = {}
    for part, coefficient in of.parts:
        parts[part.observable] = parts.get(part.observable, Integer(0)) + coefficient
    if isinstance(simulation, Difference) and len(parts) < len(of.parts):  # of two runs
        parts = {part.observable: c for part, c in of.parts if part.run == of.parts[0][0].run}
    return _combined(parts, simulation)


def _matched(of: Expectations, simulation: Simulation | Difference, prediction: Predicted) -> Weights:
    """The observables that a prediction combines, if they are of the runs of a simulation."""
    runs = [simulation.first, simulation.second] if isinstance(simulation, Difference) else [simulation]
    metrics = [getattr(run.update, "metric", None) for run in runs]
    if prediction.metric is not None and any(metric != prediction.metric for metric in metrics):
        raise ValueError(
            f"the prediction has the metric {prediction.metric}, and the simulation {metrics[0]}; give both one"
        )
    found: list[Weights] = [{} for _ in runs]
    for part, coefficient in of.parts:
        if part.ends != "end":
            raise ValueError(
                f"the prediction is of {part}, and the simulation of the end of {runs[0].run}; compare the formula "
                "itself, or give strict=False"
            )
        whys = [_why_not(part.run, run.run) for run in runs]
        fitting = [own for own, why in zip(found, whys, strict=True) if why is None]
        if not fitting:
            others = " minus ".join(str(run.run) for run in runs)
            raise ValueError(
                f"the prediction is of {of}, the simulation of {others}: {whys[0]}; predict and simulate the same "
                "dynamics, or give strict=False for a control that is meant to disagree"
            )
        target = min(fitting, key=lambda own: part.observable in own)
        target[part.observable] = target.get(part.observable, Integer(0)) + coefficient
    first, *rest = [_in_losses(own) for own in found]
    if any({key: -c for key, c in first.items()} != other for other in rest):
        raise ValueError(
            f"the prediction is of {of}, and the simulation of the difference of {runs[0].run} and {runs[-1].run}; "
            "give both differences of the same observables, the first run minus the second"
        )
    return found[0]


def _why_not(predicted: Run, simulated: Run) -> str | None:
    """In what a predicted run differs from a simulated one; a rule made by a function can't be told."""
    if not (isinstance(predicted.update, Update) and isinstance(simulated.update, Update)):
        simulated = Run(simulated.spacetime, predicted.update, predicted.penalty)
    known = Run(predicted.spacetime, predicted.update)  # a penalty is part of the simulated losses
    return known.differs_from(Run(simulated.spacetime, simulated.update))


def _in_losses(weights: Weights) -> Weights:
    """The same with gaps as test losses minus training losses."""
    written: Weights = {}
    for observable, c in weights.items():
        parts = [(TestLoss(), c), (TrainLoss(), -c)] if isinstance(observable, GeneralizationGap) else [(observable, c)]
        for part, own in parts:
            written[part] = written.get(part, Integer(0)) + own
    return {part: c for part, c in written.items() if c != 0}


def _combined(weights: Weights, simulation: Simulation | Difference) -> Statistic:
    """The statistic of a linear combination, trial by trial."""
    if list(weights.values()) == [1]:
        (observable,) = weights
        return simulation.statistic(observable)
    total: Any = 0
    for observable, coefficient in weights.items():
        trials = simulation.statistic(observable).trials
        if trials is None:
            raise TypeError(f"{observable!r} is a vector, recorded without its trials; observe scalars")
        total = total + float(coefficient) * trials
    return over_trials(total)
