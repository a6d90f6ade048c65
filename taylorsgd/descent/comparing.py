"""Does a prediction agree with a simulation? A joint χ² over the learning rates in the formula's range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from taylorsgd.arguments import switched
from taylorsgd.descent.counterparts import counterpart
from taylorsgd.descent.expansions import Expanded
from taylorsgd.descent.runs import Difference, Simulation
from taylorsgd.display import html_table, text_table
from taylorsgd.display.figures import bars, given_or_new, house_style
from taylorsgd.display.numbers import with_error
from taylorsgd.landscapes.fingerprints import refuse_other_origins
from taylorsgd.measuring.predictions import Predicted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Comparison", "compare", "overlaid"]


def compare(
    prediction: Predicted, simulation: Simulation | Difference, observable: Any = None, *, strict: bool = True
) -> Comparison:
    """Compare a prediction with a simulation of the same thing, at the same learning rates.

    With r = prediction − simulation over the k learning rates in the formula's range,

        χ² = rᵀ (Cov_prediction + diag(s²_simulation))⁻¹ r,        k degrees of freedom.

    Predictions at different learning rates share one measurement, so Cov_prediction is a full matrix;
    simulated training sets at different learning rates are independent. Terms beyond the formula's order are
    no part of either error: well inside the range they are small against both. Where the range is not known, as for a
    formula of one order, all learning rates count.

    What is compared is what the formula is of: its observable, or a sum of them, and of a difference of formulas that
    of two runs.

    Args:
        prediction: what `predict` returned for a scalar observable: `taylorsgd.predict` for a formula, or the `predict`
            of an expansion, whose trials must be others than those of the simulation.
        simulation: what `simulate` returned for the same landscape, θ_0, spacetime, rule and learning rates; or the
            difference of two runs, for a prediction of a difference of formulas.
        observable: what the formula is of, such as `TestLoss()`, where it does not know, as a part `f[d]` does not.
        strict: whether to refuse a simulation of something else; False for controls, which are meant to disagree.

    Returns:
        A `Comparison`.

    Raises:
        TypeError: if arguments have other types, or the observable is a vector.
        ValueError: if prediction and simulation are of different things, it is not known of what the prediction is,
            their landscapes, θ_0 or learning rates differ, an expansion had the simulation's training sets, no
            learning rate is in range, trials diverged in range, or both errors vanish.

    Example:
        >>> import jax, taylorsgd as ts
        >>> coin = ts.Landscape(lambda theta, x: theta**2 / 2 + x * theta, jax.numpy.array([-1.0, 1.0]))
        >>> sgd, rates = ts.SGD(N=4, B=1, E=1), [0.01, 0.02]
        >>> f = ts.derive(ts.GeneralizationGap(), sgd, order=3)
        >>> run = ts.simulate(coin, 1.0, sgd, eta=rates, trials=500, key=jax.random.key(1))
        >>> ts.compare(ts.predict(f, coin, 1.0, eta=rates), run).p_value > 0.01
        True
    """
    if not isinstance(prediction, Predicted) or not isinstance(simulation, (Simulation, Difference)):
        raise TypeError(
            f"compare takes a Prediction and a Simulation, not {type(prediction).__name__} and "
            f"{type(simulation).__name__}"
        )
    if prediction.is_vector:
        raise TypeError("compare takes scalars, and a displacement is a vector; compare an Observable(s) of it")
    if switched(strict, "strict"):
        refuse_other_origins(prediction.origin, simulation.origin, "prediction and simulation are")
    _refuse_shared_draws(prediction, simulation)
    statistic = counterpart(prediction, simulation, observable, strict)
    if statistic.trials is None:
        raise TypeError("compare takes scalars, and a displacement is a vector; compare an Observable(s) of it")
    if prediction.eta.shape != simulation.eta.shape or not np.allclose(prediction.eta, simulation.eta, rtol=1e-6):
        raise ValueError(f"the learning rates differ: predicted at {prediction.eta}, simulated at {simulation.eta}")
    finite = np.isfinite(np.atleast_1d(prediction.mean))
    inside = np.atleast_1d(prediction.range_ok) if prediction.range_known else finite
    if not inside.any():
        raise ValueError(
            f"no learning rate lies in the formula's range, which ends at {prediction.eta_max:.3g}: all of "
            f"eta={prediction.eta} are larger; take smaller ones, and where theta is a minimum, whose gradient is "
            "rounding, formula.assume('minimum')"
        )
    simulated, error = np.atleast_1d(statistic.mean), np.atleast_1d(statistic.standard_error)
    if not np.isfinite(simulated[inside]).all():
        raise ValueError("trials diverged at a learning rate in the formula's range; see simulation.diverged")
    size = inside.size
    residual = np.atleast_1d(prediction.mean) - simulated
    covariance = np.reshape(prediction.covariance, (size, size)) + np.diag(error**2)
    variance = np.diag(covariance)
    if not (variance[inside] > 0).all():
        raise ValueError("prediction and simulation are both without error at a learning rate; there is no χ²")
    scale = np.sqrt(variance[inside])  # in units of which nothing underflows
    chosen, correlations = residual[inside] / scale, covariance[np.ix_(inside, inside)] / np.outer(scale, scale)
    try:
        chi2 = float(chosen @ np.linalg.solve(correlations, chosen))
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"the errors at eta={prediction.eta} are one and the same, and have no χ²; give fewer learning rates"
        ) from error
    from scipy.stats import chi2 as distribution

    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = residual / np.sqrt(variance)
    return Comparison(
        prediction=prediction,
        simulation=simulation,
        simulated=simulated,
        simulated_error=error,
        deviations=deviations,
        inside=inside,
        chi2=chi2,
        degrees=int(inside.sum()),
        p_value=float(distribution.sf(chi2, inside.sum())),
    )


def _refuse_shared_draws(prediction: Predicted, simulation: Simulation | Difference) -> None:
    """Raise if an expansion has the training sets of the simulation: then their errors are not independent."""
    run = simulation.first if isinstance(simulation, Difference) else simulation
    if isinstance(prediction, Expanded) and prediction.expansion.training_sets == run.training_sets:
        raise ValueError(
            "the expansion and the simulation had the same training sets, and χ² takes their errors for independent; "
            "give one of them another key"
        )


@dataclass(frozen=True)
class Comparison:
    """A prediction beside a simulation at k learning rates.

    Attributes:
        prediction: the prediction.
        simulation: the simulation.
        simulated: the simulated counterpart of the prediction, (k,).
        simulated_error: its standard error, (k,).
        deviations: (prediction − simulation) in units of their joint standard error, (k,).
        inside: whether a learning rate is in the formula's range and counts, (k,); where the range is not known, all
            count.
        chi2: the joint χ² of those inside.
        degrees: its degrees of freedom, the number inside.
        p_value: the probability of a larger χ² if prediction and simulation agree.
    """

    prediction: Predicted
    simulation: Simulation | Difference
    simulated: np.ndarray
    simulated_error: np.ndarray
    deviations: np.ndarray
    inside: np.ndarray
    chi2: float
    degrees: int
    p_value: float

    @property
    def agrees(self) -> bool:
        """Whether they agree at the 1 % level."""
        return self.p_value >= 0.01

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the rows of a table, one row for each learning rate; behind ± stands one standard error."""
        predicted, errors = np.atleast_1d(self.prediction.mean), np.atleast_1d(self.prediction.standard_error)
        rows = [
            (
                f"{rate:.4g}",
                with_error(predicted[i], errors[i]),
                with_error(self.simulated[i], self.simulated_error[i]),
                f"{self.deviations[i]:+.1f} σ",
                "unknown" if not self.prediction.range_known else "yes" if self.inside[i] else "no",
            )
            for i, rate in enumerate(np.atleast_1d(self.prediction.eta))
        ]
        return ("η", "predicted ± s.e.", "simulated ± s.e.", "difference", "in range"), rows

    def plot(self, axes: Axes | None = None, *, orders: bool = True) -> Axes:
        """Draw the prediction with its orders, the simulation as bars of one standard error, and the range.

        Args:
            axes: where; by default in a new figure.
            orders: whether to draw the lower orders of the prediction.

        Returns:
            The axes.
        """
        return overlaid(self, self.prediction, axes, orders)

    def __str__(self) -> str:
        """The table and the verdict in plain text."""
        return f"{self._heading()}{text_table(*self.table())}\n{self.verdict}"

    def __repr__(self) -> str:
        """The verdict."""
        return f"<Comparison {self.verdict}>"

    def _repr_html_(self) -> str:
        heading = self._heading().strip()
        return f"<p>{heading}</p>\n{html_table(*self.table())}\n<p>{self.verdict}</p>"

    def _heading(self) -> str:
        of = self.prediction.expectations
        return "" if of is None else f"{of.heading}, {self.simulation.count} trials\n\n"

    @property
    def verdict(self) -> str:
        """χ², its p-value, and whether they agree."""
        verdict = "they agree" if self.agrees else "they disagree"
        where = "in range" if self.prediction.range_known else "of which none is known to be in range"
        count = f"{self.degrees} learning rate{'s' if self.degrees > 1 else ''} {where}"
        return f"χ² = {self.chi2:.2f} for {count}, p = {self.p_value:.2g}: {verdict}"


def overlaid(comparison: Comparison, curve: Predicted, axes: Axes | None, orders: bool) -> Axes:
    """A predicted curve with the simulated bars over it; the axes show the simulation whatever the orders do."""
    eta, mean, error = np.atleast_1d(comparison.prediction.eta), comparison.simulated, comparison.simulated_error
    with house_style():
        axes = given_or_new(axes)
        curve.plot(axes, orders=orders)
        bars(axes, eta, mean, error, f"simulated, {comparison.simulation.count} trials")
        finite = np.isfinite(mean)
        shown = [*(mean - 2 * error)[finite], *(mean + 2 * error)[finite], *np.atleast_1d(comparison.prediction.mean)]
        shown += [float(comparison.prediction.contributions[0].ravel()[0])]
        low, high = min(shown), max(shown)
        margin = 0.08 * (high - low)
        axes.set(ylim=(low - margin, high + margin), title=comparison.verdict)
        axes.legend()
    return axes
