"""Write docs/reshuffling.md and docs/reshuffling.svg: what reshuffling every epoch does to noise, in one formula.

    python docs/reshuffling.py      # about a minute

A valley whose width changes along it, l_i = x² (1 + y)/2 + a_i x, has one damped direction with λ = 1 and one flat one.
One training set of N points is met in a new order every epoch. The formula's drift along y is drawn over its value for
batches that are drawn with replacement, against ηλN/B, and beside it what is simulated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sympy import Rational, factor, symbols

import taylorsgd as ts
from taylorsgd.display import text_table
from taylorsgd.display.figures import COLORS, house_style

PAGE = Path(__file__).parent / "reshuffling.md"
PICTURE = PAGE.with_suffix(".svg")
POINTS = 32
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 0.9)
TRIALS = 4_000
RESHUFFLED, DRAWN = ts.SGD(shuffle=True, data="fixed"), ts.Replacement(data="fixed")
SLOPES = 0.005 * jnp.sin(jnp.arange(POINTS) * 2.4)
SLOPES = SLOPES - SLOPES.mean()


def formula(spacetime: Any, observable: Any, order: int) -> ts.Formula:
    """At a minimum, resummed."""
    return ts.derive(observable, spacetime, order, resum="discrete").assume("minimum")


def predicted(spacetime: Any, rate: float, **sizes: Any) -> float:
    """The formula's drift along y, per update, exactly on a training set with the same variance."""
    x, y = symbols("x y")
    variance: Any = Rational(str(float(jnp.mean(SLOPES**2))))
    valley = ts.FiniteLandscape(
        [x**2 * (1 + y) / 2 + sign * x for sign in (1, -1)] * (POINTS // 2), [Rational(1, POINTS)] * POINTS, [x, y]
    )
    drift = formula(spacetime, ts.Displacement(), 3).drift()
    found = drift.evaluate(valley, [0, 0], eta=Rational(str(rate)), N=POINTS, B=1, **sizes)
    return float(found[1] * variance)


def simulated(rate: float) -> tuple[float, float]:
    """Drift and its standard error, from two numbers of epochs, both late."""
    landscape = ts.Landscape(lambda theta, a: theta[0] ** 2 * (1 + theta[1]) / 2 + a * theta[0], SLOPES)
    late = int(max(10, 4 / (rate * POINTS))) + 1
    runs = [
        ts.simulate(
            landscape, jnp.zeros(2), ts.SGD(N=POINTS, B=1, E=epochs, shuffle=True, data="fixed"), rate, TRIALS,
            jax.random.key(3), progress=False,
        ).displacement
        for epochs in (late, 2 * late)
    ]  # fmt: skip
    updates = late * POINTS
    error = float(np.hypot(float(runs[0].standard_error[1]), float(runs[1].standard_error[1]))) / updates
    return float(runs[1].mean[1] - runs[0].mean[1]) / updates, error


def main() -> None:
    """Run the command."""
    s, t = symbols("s t")
    spread: Any = formula(RESHUFFLED, ts.Variance(ts.Displacement()), 2).limit()
    written = [f"{factor(term.coefficient)} · C_μν · {term.value.closed_sum([s, t])}" for term in spread.terms]
    fine = np.geomspace(RATES[0] / 1.5, RATES[-1] * 1.5, 25)
    whole = np.array([predicted(DRAWN, round(float(rate), 6)) for rate in fine])
    curve = np.array([predicted(RESHUFFLED, round(float(rate), 6)) for rate in fine]) / whole
    rows = []
    for rate in RATES:
        (mean, error), scale = simulated(rate), predicted(DRAWN, rate)
        value = predicted(RESHUFFLED, rate) / scale
        rows.append((rate, rate * POINTS, value, mean / scale, error / abs(scale)))
        print(rows[-1])
    with house_style():
        import matplotlib

        matplotlib.use("svg")
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "taylorsgd"})
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
        axes.semilogx(fine * POINTS, curve, color=COLORS[0], label="formula")
        _, at, _, means, errors = np.array(rows).T
        axes.errorbar(at, means, errors, fmt="o", color=COLORS[1], label=f"simulated, {TRIALS:,} runs")
        axes.set_xlabel("ηλN/B")
        axes.set_ylabel("drift, reshuffled / with replacement")
        axes.axhline(1, color="0.7", linewidth=0.8)
        axes.set_ylim(-0.05, 1.1)
        axes.legend()
        figure.savefig(PICTURE, metadata={"Date": None})
    header = ("η", "ηλN/B", "formula", "simulated", "standard error")
    table = text_table(header, [tuple(f"{x:.3g}" for x in row) for row in rows])
    misses = sum(abs(value - mean) > 2 * error for _, _, value, mean, error in rows)
    PAGE.write_text(
        f"""# What an epoch takes back

This page is written by `python docs/reshuffling.py`.

One training set of N points, met in a new order every epoch (`ts.SGD(shuffle=True, data="fixed")`): within an epoch
every point comes once, so that what one batch pushes, the others push back. At a minimum, with s = ηλ_μ and t = ηλ_ν,
the covariance of θ at the end of late epochs is η² times the sum of two terms,

    {written[0]}
    {written[1]}

which `derive(Variance(Displacement()), ts.SGD(shuffle=True, data="fixed"), 2, resum="discrete")` writes for any T, and
`.assume("minimum").limit()` for E → ∞. The first is what batches drawn with replacement leave, but for N/(N − 1); the
second is what the epoch takes back. For ηλN/B ≪ 1 they cancel but for η³; for ηλN/B ≫ 1 an epoch forgets how it began,
and the second is smaller than the first by B (2 − ηλ)/(N ηλ).

The drift along a flat direction, −(η/2) ∇_y λ times the mean of x² over the updates of an epoch, crosses over with it:
`derive(Displacement(), ..., 3).assume("minimum").drift()`. For N = {POINTS}, B = 1, in units of the drift under batches
drawn with replacement:

![The drift along a valley](reshuffling.svg)

```text
{table}
```

Of these {len(rows)} points {misses} are more than two standard errors from the formula.
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
