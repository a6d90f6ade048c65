"""What simulated descent gave: statistics over trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from attrs import evolve

from taylorsgd.display.figures import bars, given_or_new, house_style
from taylorsgd.display.numbers import with_error
from taylorsgd.formulas import (
    Covariance,
    Displacement,
    GeneralizationGap,
    Observable,
    SecondMoment,
    TestLoss,
    TrainLoss,
)
from taylorsgd.formulas.expectations import Expectations, Run
from taylorsgd.landscapes.fingerprints import Origin, refuse_other_origins
from taylorsgd.spacetime import Spacetime
from taylorsgd.updates import Descent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Difference", "Simulation", "Statistic", "TrainingSets", "over_trials"]


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
class TrainingSets:
    """Which training sets the trials of a run had: equal for two runs, they had the same.

    Attributes:
        key: the words of the random key.
        points: N, or "fixed" where the landscape is the training set.
        trials: how many trials.
        chunk: of a sampler, how many trials' points it was asked for at a time; else None.
    """

    key: bytes
    points: int | str
    trials: int
    chunk: int | None

    @classmethod
    def seen_by(cls, key: jax.Array, points: int | str, trials: int, chunk: int | None) -> TrainingSets:
        """Those that `simulate` draws from a key."""
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        words = np.asarray(jax.random.key_data(key) if typed else key)
        return cls(words.tobytes(), points, trials, chunk)


@dataclass(frozen=True)
class Simulation:
    """What simulated descent gave at some learning rates.

    Attributes:
        spacetime: the spacetime.
        eta: the learning rates, (k,) or a scalar.
        count: the number of trials at each.
        test_loss: the test loss l(θ_T); None for a vector field, which has no loss.
        train_loss: the training loss (1/N) Σ_n l_n(θ_T); None for the ODE and SDE, which have no training set, and for
            a field.
        gap: test loss minus training loss, trial by trial; likewise.
        displacement: θ_T − θ_0, a pytree like θ.
        observables: the recorded observables by name.
        diverged: how many trials ended with something that is not finite, (k,).
        training_sets: which training sets the trials had; None for the ODE and SDE.
        update: the update rule; or the function of η that made it.
        origin: the landscape and θ_0.
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
    training_sets: TrainingSets | None = None
    update: Any = field(default_factory=Descent)
    origin: Origin | None = field(default=None, repr=False)

    @property
    def run(self) -> Run:
        """Which descent was run; without the metric of its rule, which formulas keep apart."""
        plain = evolve(self.update, metric=None) if isinstance(self.update, Descent) else self.update
        return Run(self.spacetime, plain)

    def __sub__(self, other: Simulation) -> Difference:
        """What this run gave minus what another gave, trial by trial on the same training sets.

        Raises:
            ValueError: if the training sets, the learning rates, the landscapes or θ_0 are not the same.
        """
        if not isinstance(other, Simulation):
            return NotImplemented
        if self.training_sets is None or self.training_sets != other.training_sets:
            raise ValueError(
                f"the runs of {self.spacetime!r} and {other.spacetime!r} had different training sets; give both the "
                "same key, trials and N (of a sampler the same chunk too)"
            )
        if not np.array_equal(self.eta, other.eta):
            raise ValueError(f"the learning rates differ: {self.eta} and {other.eta}")
        refuse_other_origins(self.origin, other.origin, "the runs are")
        return Difference(self, other)

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
            case TestLoss() | TrainLoss() | GeneralizationGap() if self.test_loss is None:
                raise ValueError(f"{observable!r} is of a loss, and what ran is a vector field, which has none")
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
                    raise ValueError(f"{observable!r} was not recorded; give simulate(..., observables=[...])")
                return self.observables[observable.name]
            case SecondMoment() | Covariance():
                if observable.times is not None:
                    raise NotImplementedError(f"{observable!r}: a simulation records the end of a run; leave out times")
                a, b = (self.statistic(single).trials for single in (observable.a, observable.b))
                if a is None or b is None:
                    raise TypeError(f"{observable!r}: moments of a displacement are not recorded; observe scalars")
                if isinstance(observable, SecondMoment):
                    return over_trials(a * b)
                with np.errstate(all="ignore"):
                    deviations = (a - a.mean(-1, keepdims=True)) * (b - b.mean(-1, keepdims=True))
                return over_trials(deviations * (self.count / (self.count - 1)))
        raise TypeError(f"observable={observable!r} is not an observable, such as TestLoss()")

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the rows of a table, one row for each learning rate."""
        statistics = {} if self.test_loss is None else {"test loss": self.test_loss}
        if self.train_loss is not None and self.gap is not None:
            statistics |= {"training loss": self.train_loss, "gap": self.gap}
        statistics |= self.observables
        return _table(self.eta, statistics, self.diverged)

    def plot(self, axes: Axes | None = None, *, observable: Any = None) -> Axes:
        """Draw the mean of an observable over η, with bars of one standard error.

        Args:
            axes: where; by default in a new figure.
            observable: which, as in `statistic`; the test loss by default.

        Returns:
            The axes.

        Raises:
            TypeError: if the observable is a vector, or `axes` are none.
        """
        return plotted(self, self.run, TestLoss() if observable is None else observable, axes)

    def __str__(self) -> str:
        """The table in plain text."""
        from taylorsgd.display import text_table

        return text_table(*self.table())

    def __repr__(self) -> str:
        """The table under a line that says what it is."""
        return f"<Simulation of {self.count} trials of {self.run}>\n{self}"

    def _repr_html_(self) -> str:
        from taylorsgd.display import html_table

        return html_table(*self.table())


@dataclass(frozen=True)
class Difference:
    """The difference of two runs on the same training sets; its standard errors are those of paired trials.

    Attributes:
        first: the run that is subtracted from.
        second: the run that is subtracted.

    Example:
        >>> import jax, taylorsgd as ts
        >>> coin = ts.Landscape(lambda theta, x: theta**2 / 2 + x * theta**2, jax.numpy.array([-1.0, 1.0]))
        >>> runs = [ts.simulate(coin, 1.0, way, 0.1, trials=500, key=jax.random.key(0))
        ...         for way in (ts.SGD(N=4, B=1, E=1), ts.GD(N=4, T=4))]
        >>> difference = runs[0] - runs[1]
        >>> bool(difference.test_loss.standard_error < runs[0].test_loss.standard_error / 4)
        True
    """

    first: Simulation
    second: Simulation

    @property
    def eta(self) -> np.ndarray:
        """The learning rates, (k,) or a scalar."""
        return self.first.eta

    @property
    def origin(self) -> Origin | None:
        """The landscape and θ_0 of both."""
        return self.first.origin

    @property
    def count(self) -> int:
        """The number of trials at each."""
        return self.first.count

    @cached_property
    def test_loss(self) -> Statistic:
        """The difference of the test losses."""
        return self.statistic(TestLoss())

    @cached_property
    def train_loss(self) -> Statistic:
        """The difference of the training losses."""
        return self.statistic(TrainLoss())

    @cached_property
    def gap(self) -> Statistic:
        """The difference of the generalization gaps."""
        return self.statistic(GeneralizationGap())

    def statistic(self, observable: Any) -> Statistic:
        """The difference of a statistic, as `Simulation.statistic` gives it, trial by trial.

        Raises:
            TypeError: if it is no observable, or a displacement, whose trials are not recorded.
            ValueError: if an `Observable` was not recorded.
        """
        a, b = (run.statistic(observable).trials for run in (self.first, self.second))
        if a is None or b is None:
            raise TypeError(f"{observable!r} is a vector, recorded without its trials; observe scalars")
        with np.errstate(invalid="ignore"):  # where both diverge
            return over_trials(a - b)

    def plot(self, axes: Axes | None = None, *, observable: Any = None) -> Axes:
        """Draw the mean difference of an observable over η, as `Simulation.plot` does."""
        return plotted(self, None, TestLoss() if observable is None else observable, axes)

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the rows of a table, one row for each learning rate."""
        statistics = {}
        if self.first.test_loss is not None:
            statistics = {"test loss": self.test_loss, "training loss": self.train_loss, "gap": self.gap}
        for name, statistic in self.first.observables.items():
            if name in self.second.observables:
                statistics[name] = over_trials(statistic.trials - self.second.observables[name].trials)
        return _table(self.eta, statistics, self.first.diverged + self.second.diverged)

    def __str__(self) -> str:
        """The table in plain text."""
        from taylorsgd.display import text_table

        return text_table(*self.table())

    def __repr__(self) -> str:
        """The table under a line that says what it is."""
        return f"<Difference of {self.count} paired trials>\n{self}"

    def _repr_html_(self) -> str:
        from taylorsgd.display import html_table

        return html_table(*self.table())


def plotted(run: Simulation | Difference, of: Run | None, observable: Any, axes: Axes | None) -> Axes:
    """The plot of a statistic of a run, or of the difference of two."""
    statistic = run.statistic(observable)
    if statistic.trials is None:
        raise TypeError(f"plot() draws scalars, and {observable!r} is a vector; record an Observable(s) of it")
    with house_style():
        axes = given_or_new(axes)
        eta, mean, error = map(np.atleast_1d, (run.eta, statistic.mean, statistic.standard_error))
        bars(axes, eta, mean, error, "simulated")
        label = "simulated difference" if of is None else f"${Expectations.of(observable, of).written()[0]}$"
        axes.set(xlabel="learning rate $η$", ylabel=label)
        axes.legend()
    return axes


def _table(
    eta: np.ndarray, statistics: Mapping[str, Statistic], diverged: np.ndarray
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    rows = [
        (
            f"{eta[at]:.4g}",
            *(with_error(s.mean[at], s.standard_error[at]) for s in statistics.values()),
            str(diverged[at]),
        )
        for at in np.ndindex(eta.shape)
    ]
    return ("η", *(f"{name} ± s.e." for name in statistics), "diverged"), rows


def over_trials(trials: np.ndarray) -> Statistic:
    """The statistic of what every trial gave, (k, trials) or (trials,)."""
    with np.errstate(all="ignore"):  # a diverged mean is not finite, and says so
        return Statistic(trials.mean(-1), trials.std(-1, ddof=1) / np.sqrt(trials.shape[-1]), trials)
