"""The demonstration: from a question to a checked formula, on real images."""

from __future__ import annotations

from math import floor, log10
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

import numpy as np

from taylorsgd.formulas import Formula, TestLoss, derive
from taylorsgd.spacetime import SGD
from taylorsgd.whole_files import refuse_unwritable, whole_file

if TYPE_CHECKING:
    from taylorsgd.descent import Comparison
    from taylorsgd.measuring.predictions import Predicted

__all__ = ["run_demo"]

POINTS = 10
STEPS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1, 2, 4)
"""The learning rates, as multiples of the edge of the formula's range."""


def run_demo(
    order: int = 3, trials: int = 4000, seed: int = 0, output: Path = Path("."), samples: int = 4096
) -> Comparison:
    """Derive, measure, predict and simulate one-epoch SGD on a classifier of handwritten digits.

    Prints the formula with its diagrams, the measured statistics, and predicted against simulated test losses
    for eight learning rates; writes `taylorsgd-demo.png` and `taylorsgd-demo.svg`.

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
    refuse_unwritable(output)  # rather than after the work
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

    settings = {"measurement": measured, "N": POINTS}
    edge = predict(formula, landscape, theta, eta=1.0, **settings).eta_max
    rates = [_rounded_down(edge * step) for step in STEPS]

    print(f"\nSimulating {trials} runs of SGD on {POINTS} images each, at {len(rates)} learning rates")
    sgd = SGD(N=POINTS, B=1, E=1)
    prediction = predict(formula, landscape, theta, eta=rates, **settings)
    simulation = simulate(landscape, theta, sgd, rates, trials, simulating, progress=True)
    comparison = compare(prediction, simulation)
    print(comparison)
    _show_range(comparison)
    _plot(comparison, picture)
    print(f"\nPlot written to {picture}")
    return comparison


def _show_formula(order: int) -> Formula:
    formula = derive(TestLoss(), SGD(B=1, E=1), order)
    print(f"The expected test loss of one epoch of SGD, batch size 1, through order η^{order}:\n")
    print(indent(str(formula), "  "))
    print("\nThe diagrams behind each term: brackets are nodes, root outermost, tied nodes share a letter\n")
    print(formula.table())
    return formula


def _rounded_down(rate: float) -> float:
    """The rate with two digits, never larger than it."""
    unit = 10.0 ** (floor(log10(rate)) - 1)
    return float(f"{floor(rate / unit) * unit:.2g}")


def _show_range(comparison: Comparison) -> None:
    prediction = comparison.prediction
    outside = prediction.eta[~comparison.inside]
    print(
        f"\nRange: to be believed up to η = {prediction.eta_max:.4g}, from the growth of its orders; the terms left "
        f"out are estimated below {_left_out(prediction):.1%} of the first order there"
        + (f"; beyond it: {', '.join(f'{rate:.4g}' for rate in outside)}" if outside.size else "")
    )


def _left_out(prediction: Predicted) -> float:
    """What is left out at the end of the range, as a fraction of the first order."""
    inside = prediction.range_ok
    return float((prediction.remainder[inside] / np.abs(prediction.contributions[1][inside])).max())


def _plot(comparison: Comparison, path: Path) -> None:
    """Draw the decrease of the test loss, predicted order by order and simulated, and by how much they differ."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from taylorsgd.display.figures import COLORS, FAINT, bars, house_style, shade_beyond

    prediction = comparison.prediction
    eta, initial = prediction.eta, float(prediction.contributions[0, 0])
    orders = len(prediction.contributions) - 1
    fine = np.geomspace(eta.min() / 1.3, eta.max() * 1.3, 200)
    powers = (fine / eta[-1]) ** np.arange(orders + 1)[:, None]
    sums = -np.cumsum((prediction.contributions[:, -1:] * powers)[1:], axis=0)
    # Where a polynomial turns, far beyond its range, it says nothing of the loss any more: there its curve ends.
    rising = np.diff(sums, axis=1, prepend=0.0) > 0
    sums = np.where(np.minimum.accumulate(rising, axis=1), sums, np.nan)
    with house_style():
        figure = Figure(figsize=(6.5, 6), layout="constrained")
        FigureCanvasAgg(figure)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        for d in range(1, orders):
            upper.plot(fine, sums[d - 1], "--", lw=1, color=FAINT[(d - 1) % len(FAINT)], label=f"through $η^{d}$")
        upper.plot(fine, sums[-1], color=COLORS[0], label=f"prediction, through $η^{orders}$")
        decrease = initial - comparison.simulated
        bars(upper, eta, decrease, comparison.simulated_error, "simulated SGD")
        upper.set(xscale="log", yscale="log", ylabel=r"decrease of the test loss  $l(θ_0) - \mathbb{E}[l(θ_T)]$")
        # Errors are those of the difference: what measuring and simulating leave uncertain together.
        spread = np.hypot(comparison.simulated_error, prediction.standard_error) / np.abs(decrease)
        difference = (initial - prediction.mean) / decrease - 1
        reach = 3 * np.max(spread[comparison.inside])
        shown = np.abs(difference) < reach
        bars(lower, eta[shown], difference[shown], spread[shown], "predicted / simulated − 1")
        for rate, value in zip(eta[~shown], difference[~shown], strict=True):
            edge = np.copysign(reach, value)
            arrow = {"arrowstyle": "->", "color": "0.3"}
            lower.annotate(f"{value:+.0%}", (rate, 0.97 * edge), (rate, 0.6 * edge), ha="center", arrowprops=arrow)
        lower.axhline(0, color="0.7", lw=0.8, zorder=0)
        lower.set(xlabel="learning rate $η$", ylabel="relative difference", ylim=(-reach, reach))
        for axes in (upper, lower):
            shade_beyond(axes, prediction.eta_max, fine[-1])
            axes.legend()
        lower.set_xlim(fine[0], fine[-1])
        upper.set_title(f"One epoch of SGD on {POINTS} handwritten digits\n{comparison.verdict}")
        for suffix in (".png", ".svg"):
            with whole_file(path.with_suffix(suffix)) as file:
                figure.savefig(file, format=suffix[1:], dpi=150)
