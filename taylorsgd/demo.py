"""The demonstration: from a question to a checked formula, on real images."""

from __future__ import annotations

from math import floor, log10
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from taylorsgd.formulas import Formula, TestLoss, derive
from taylorsgd.spacetime import SGD

if TYPE_CHECKING:
    import numpy as np

    from taylorsgd.descent import Comparison

__all__ = ["run_demo"]

POINTS = 10
LEFT_OUT = 0.003
"""How large, against the order-1 term, the first term that the formula leaves out may be guessed to be."""
STEPS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1, 2, 4)
"""The learning rates, as multiples of the edge of the formula's range."""


def run_demo(
    order: int = 3, trials: int = 4000, seed: int = 0, output: Path = Path("."), samples: int = 4096
) -> Comparison:
    """Derive, measure, predict and simulate one-epoch SGD on a classifier of handwritten digits.

    Prints the formula with its diagrams, the measured statistics, and predicted against simulated test losses
    for eight learning rates; writes `taylorsgd-demo.png`.

    Args:
        order: the highest power of η, at least 2.
        trials: simulated runs for each learning rate.
        seed: the seed of the initialization and of all random numbers.
        output: the folder for the plot.
        samples: draws for measuring.

    Returns:
        The comparison of prediction and simulation.

    Raises:
        OSError: if the plot can't be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    picture = output / "taylorsgd-demo.png"
    picture.touch()  # complain before the work rather than after it
    formula = _show_formula(order)

    import jax

    from taylorsgd.descent import compare, simulate
    from taylorsgd.landscapes import digits, measure, predict

    landscape, theta = digits(hidden=10, seed=seed)
    parameters = sum(leaf.size for leaf in theta.values())
    print(
        f"\nMeasuring on a tanh network of {parameters} parameters and scikit-learn's {landscape.size} images of "
        "handwritten digits"
    )
    measuring, simulating = jax.random.split(jax.random.key(seed))
    measured = measure(formula, landscape, theta, key=measuring, samples=samples, progress=True)
    print(measured)

    # If the order-d term is a fraction τ of the order-1 term, the next is about τ^{d/(d−1)} of it.
    tolerance = LEFT_OUT ** ((order - 1) / order)
    size = abs(formula.lower().contributions(measured, 1.0, N=POINTS))
    edge = float(tolerance * size[1] / size[order]) ** (1 / (order - 1))
    rates = [_rounded_down(edge * step) for step in STEPS]

    print(f"\nSimulating {trials} runs of SGD on {POINTS} images each, at {len(rates)} learning rates")
    sgd = SGD(N=POINTS, B=1, E=1)
    prediction = predict(formula, landscape, theta, eta=rates, measurement=measured, tolerance=tolerance, N=POINTS)
    simulation = simulate(landscape, theta, sgd, rates, trials, simulating, progress=True)
    comparison = compare(prediction, simulation)
    print(comparison)
    _show_range(comparison, order)
    _plot(comparison, picture)
    print(f"\nPlot written to {picture}")
    return comparison


def _show_formula(order: int) -> Formula:
    formula = derive(TestLoss(), SGD(B=1, E=1), order)
    print(f"The expected test loss of one epoch of SGD, batch size 1, through order η^{order}:\n")
    print(fill(str(formula), 110, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))
    print("\nThe diagrams behind each term: brackets are nodes, root outermost, tied nodes share a letter\n")
    print(formula.table())
    return formula


def _rounded_down(rate: float) -> float:
    """The rate with two digits, never larger than it."""
    unit = 10.0 ** (floor(log10(rate)) - 1)
    return float(f"{floor(rate / unit) * unit:.2g}")


def _show_range(comparison: Comparison, order: int) -> None:
    prediction = comparison.prediction
    inside = prediction.eta[comparison.inside]
    outside = prediction.eta[~comparison.inside]
    print(
        f"\nRange: the order-{order} term is at most {prediction.tolerance:.1%} of the order-1 term up to "
        f"η = {inside.max():.4g}"
        + (f"; beyond it: {', '.join(f'{rate:.4g}' for rate in outside)}" if outside.size else "")
    )


def _plot(comparison: Comparison, path: Path) -> None:
    """Draw the change in test loss, predicted and simulated, order by order, and their difference."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from taylorsgd.measuring.predictions import TWO_SIDED_95

    prediction = comparison.prediction
    eta, initial = prediction.eta, prediction.contributions[0]
    orders = range(1, len(prediction.contributions))
    figure = Figure(figsize=(7, 6), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    partial_sums = np.cumsum(prediction.contributions[1:], axis=0)
    for d, color in zip(orders, ("0.75", "tab:orange", "tab:blue", "tab:green"), strict=False):
        upper.plot(eta, -partial_sums[d - 1], color=color, label=f"prediction, order {d}")
    # Errors of the decrease; relative ones below are of its size, whatever its sign.
    simulated_error = TWO_SIDED_95 * comparison.simulated_error
    upper.errorbar(
        eta, initial - comparison.simulated, simulated_error, fmt="ko", ms=4, capsize=2, label="simulated SGD, 95 %"
    )
    upper.set(xscale="log", yscale="log", ylabel="decrease of the test loss  $l(θ_0) - E[l(θ_T)]$")
    upper.legend(frameon=False)
    decrease = initial - comparison.simulated
    relative_error = simulated_error / np.abs(decrease)
    low, high = prediction.interval
    _band(lower, eta, (initial - high) / decrease - 1, (initial - low) / decrease - 1)
    lower.errorbar(eta, np.zeros_like(eta), relative_error, fmt="ko", ms=4, capsize=2)
    lower.axhline(0, color="0.8", lw=0.8, zorder=0)
    spread = 3 * np.max(relative_error[comparison.inside])
    lower.set(xlabel="learning rate η", ylabel="relative difference", ylim=(-spread, spread))
    beyond = eta[~comparison.inside]
    if beyond.size:
        edge = np.sqrt(beyond.min() * eta[comparison.inside].max())
        for axes in (upper, lower):
            axes.axvspan(edge, eta.max() * 1.3, color="0.94", zorder=-1)
        upper.text(edge, upper.get_ylim()[0] * 1.3, "  beyond the range", color="0.4", va="bottom")
    lower.set_xlim(eta.min() / 1.3, eta.max() * 1.3)
    upper.set_title("One epoch of SGD on 10 handwritten digits")
    figure.savefig(path, dpi=150)


def _band(axes: Any, eta: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    axes.fill_between(eta, low, high, color="tab:blue", alpha=0.3, lw=0)
    axes.plot(eta, (low + high) / 2, color="tab:blue", label="prediction, 95 %")
