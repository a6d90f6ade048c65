"""What simulated descent gave: statistics over trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from taylorsgd.formulas import (
    Covariance,
    Displacement,
    GeneralizationGap,
    Observable,
    SecondMoment,
    TestLoss,
    TrainLoss,
)
from taylorsgd.spacetime import Spacetime

__all__ = ["Simulation", "Statistic", "over_trials"]


@dataclass(frozen=True)
class Statistic:
    """A mean over trials.

    Attributes:
        mean: the mean, (k,) for k learning rates, or a scalar; a pytree of arrays (k, *leaf) for a vector.
        standard_error: its standard error, alike.
        trials: what every single trial gave, (k, trials); None for a vector.
    """

    mean: Any
    standard_error: Any
    trials: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Simulation:
    """What simulated descent gave at some learning rates.

    Attributes:
        spacetime: the spacetime.
        eta: the learning rates, (k,) or a scalar.
        count: the number of trials at each.
        test_loss: the test loss l(θ_T).
        train_loss: the training loss (1/N) Σ_n l_n(θ_T); None for the ODE and SDE, which have no training set.
        gap: test loss minus training loss, trial by trial; likewise.
        displacement: θ_T − θ_0, a pytree like θ.
        observables: the recorded observables by name.
        diverged: how many trials ended with something that is not finite, (k,).
    """

    spacetime: Spacetime
    eta: np.ndarray
    count: int
    test_loss: Statistic
    train_loss: Statistic | None
    gap: Statistic | None
    displacement: Statistic
    observables: Mapping[str, Statistic]
    diverged: np.ndarray

    def statistic(self, observable: Any) -> Statistic:
        """The simulated counterpart of what a formula predicts.

        Args:
            observable: `TestLoss()`, `TrainLoss()`, `GeneralizationGap()`, `Displacement()`, a recorded
                `Observable`, or a `SecondMoment`, `Covariance` or `Variance` of scalar ones.

        Returns:
            The mean over trials with its standard error; for a covariance the unbiased sample covariance,
            whose error is that of a mean of products of deviations.

        Raises:
            TypeError: if it is no observable, or a moment of a displacement.
            ValueError: if an `Observable` was not recorded, or there is no training set.
        """
        match observable:
            case TestLoss():
                return self.test_loss
            case TrainLoss() | GeneralizationGap():
                found = self.train_loss if isinstance(observable, TrainLoss) else self.gap
                if found is None:
                    raise ValueError(f"{self.spacetime!r} has no training set, and so no {observable!r}")
                return found
            case Displacement():
                return self.displacement
            case Observable():
                if observable.name not in self.observables:
                    raise ValueError(
                        f"{observable!r} was not recorded; give simulate(..., observables=[...])"
                    )
                return self.observables[observable.name]
            case SecondMoment() | Covariance():
                a, b = (self.statistic(single).trials for single in (observable.a, observable.b))
                if a is None or b is None:
                    raise TypeError(
                        f"{observable!r}: moments of a displacement are not recorded; observe scalars"
                    )
                if isinstance(observable, SecondMoment):
                    return over_trials(a * b)
                with np.errstate(all="ignore"):
                    deviations = (a - a.mean(-1, keepdims=True)) * (b - b.mean(-1, keepdims=True))
                return over_trials(deviations * (self.count / (self.count - 1)))
        raise TypeError(f"observable={observable!r} is not an observable, such as TestLoss()")

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the rows of a table, one row for each learning rate."""
        statistics = {"test loss": self.test_loss}
        if self.train_loss is not None and self.gap is not None:
            statistics |= {"training loss": self.train_loss, "gap": self.gap}
        statistics |= self.observables
        rows = [
            (
                f"{self.eta[at]:.4g}",
                *(f"{s.mean[at]:.6g} ± {s.standard_error[at]:.2g}" for s in statistics.values()),
                str(self.diverged[at]),
            )
            for at in np.ndindex(self.eta.shape)
        ]
        return ("η", *statistics, "diverged"), rows

    def __str__(self) -> str:
        """The table in plain text."""
        from taylorsgd.display import text_table

        return text_table(*self.table())

    def __repr__(self) -> str:
        """The table under a line that says what it is."""
        return f"<Simulation of {self.count} trials>\n{self}"

    def _repr_html_(self) -> str:
        from taylorsgd.display import html_table

        return html_table(*self.table())


def over_trials(trials: np.ndarray) -> Statistic:
    """The statistic of what every trial gave, (k, trials) or (trials,)."""
    with np.errstate(all="ignore"):  # a diverged mean is not finite, and says so
        return Statistic(trials.mean(-1), trials.std(-1, ddof=1) / np.sqrt(trials.shape[-1]), trials)
