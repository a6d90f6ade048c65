"""Write docs/range.md: up to `prediction.eta_max`, is the truth where the formula says? And how far beyond?

    python docs/range.py            # about half an hour on two cores; goes on where it was interrupted
    python docs/range.py --fresh    # from the beginning

Every case is a line of docs/range.jsonl as soon as it is done, and the page is written from these.

For every landscape, spacetime and order the end of the range is predicted from the measured orders alone. Then descent
is simulated at multiples of it, and the relative miss |predicted − simulated| / |lowest order| compared with what the
criterion promises, tolerance^(3/2). A miss is told from noise by two standard errors of the simulation. Settings were
fixed before the first run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import taylorsgd as ts
from taylorsgd.display import text_table
from taylorsgd.measuring.validity import largest_growth

PAGE = Path(__file__).parent / "range.md"
LINES = PAGE.with_suffix(".jsonl")
MULTIPLES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""At which multiples of the predicted end is simulated."""
SPACETIMES = (
    ("one epoch", ts.SGD(N=8, B=1, E=1), None),
    ("three epochs", ts.SGD(N=6, B=2, E=3), None),
    ("GD", ts.GD(N=8, T=6), None),
    ("heavy ball", ts.GD(N=8, T=6), ts.HeavyBall(0.5)),
)
ORDERS = (2, 3)


@dataclass(frozen=True)
class Place:
    """A landscape to look at.

    Attributes:
        name: what it is called on the page.
        make: makes the landscape and θ_0.
        tolerance: how strict to be: nets are too noisy for 0.3 %.
        trials: how many runs at each learning rate.
        double: whether to compute in float64; nets are as their users have them.
    """

    name: str
    make: Callable[[], tuple[Any, Any]]
    tolerance: float = 0.02
    trials: int = 100_000
    double: bool = True


def coins(loss: Callable[[Any, Any], Any], points: Any, theta: Any) -> Callable[[], tuple[Any, Any]]:
    """A landscape of a few points."""
    return lambda: (ts.Landscape(loss, jnp.asarray(points)), jnp.asarray(theta))


def normal(count: int, width: int, seed: int) -> np.ndarray:
    """Points drawn once, and kept."""
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def tiny_network(theta: Any, x: Any) -> Any:
    """One hidden layer of three, fitted to a sine."""
    hidden = jnp.tanh(theta[:3] * x[0] + theta[3:6])
    return (hidden @ theta[6:9] - jnp.sin(2 * x[0])) ** 2 / 2


TOYS = (
    Place("cosh(θ + x), three points", coins(lambda t, x: jnp.cosh(t + x), [-1.0, 1.0, 0.3], 0.7)),
    Place("quadratic, noisy slope", coins(lambda t, x: t @ t / 2 + t @ x, normal(20, 2, 0), [1.0, -1.0])),
    Place("quadratic, noisy curvature", coins(lambda t, x: (1 + x[0] / 2) * t @ t / 2, normal(20, 1, 1), [1.0, 0.5])),
    Place("quartic well", coins(lambda t, x: (t @ t - 1) ** 2 / 4 + t @ x / 3, normal(20, 2, 2), [0.3, 0.2])),
    Place(
        "valley, bent",
        coins(lambda t, x: (t[1] - t[0] ** 2) ** 2 + (t[0] - 1 + x[0] / 3) ** 2 / 8, normal(20, 1, 3), [-0.5, 0.5]),
    ),
    Place(
        "logistic in two dimensions",
        coins(lambda t, x: jnp.logaddexp(0.0, -(t @ x + x[0])), normal(40, 2, 4), [0.2, -0.4]),
    ),
    Place("exponential, skew noise", coins(lambda t, x: jnp.exp(t * x[0]) - t, normal(30, 1, 5) ** 2 / 2, 0.3)),
    Place("sine network", coins(tiny_network, normal(30, 1, 6), np.linspace(-1, 1, 9).astype(np.float32))),
    Place("HELIX", lambda: (ts.landscapes.helix(), jnp.array([0.3, -0.2, 0.1]))),
)
IMAGES = (
    Place("digits, 10 hidden", lambda: ts.landscapes.digits(hidden=10, seed=0), 0.2, 4_000, False),
    Place("digits, 20 hidden, another seed", lambda: ts.landscapes.digits(hidden=20, seed=1), 0.2, 4_000, False),
    Place("Fashion-MNIST, logistic", lambda: fashion(ts.landscapes.logistic_regression), 0.2, 2_000, False),
    Place("Fashion-MNIST, convolutional net", lambda: fashion(ts.landscapes.convolutional_net), 0.2, 400, False),
)


def fashion(make: Callable[..., tuple[Any, Any]]) -> tuple[Any, Any]:
    """A model of 400 images, every second row and column of them."""
    images, labels = ts.landscapes.fashion_mnist()
    return make(images[:400, ::2, ::2], labels[:400])


@dataclass(frozen=True)
class Found:
    """What one case showed.

    Attributes:
        edge: the predicted end of the range.
        promised: the largest relative miss that the criterion allows.
        misses: the relative misses at the multiples of the end.
        noise: their standard errors.
    """

    edge: float
    promised: float
    misses: np.ndarray
    noise: np.ndarray

    @property
    def inside(self) -> bool:
        """Whether the truth is within what was promised at the end of the range."""
        return bool(self.misses[0] <= self.promised + 2 * self.noise[0])

    @property
    def resolved(self) -> bool:
        """Whether the simulation could have told a miss of what was promised."""
        return bool(self.noise[0] <= self.promised)

    @property
    def reach(self) -> float:
        """The largest multiple of the end up to which the promise still holds."""
        good = self.misses <= self.promised + 2 * self.noise
        kept = len(good) if good.all() else int(np.argmin(good))
        return MULTIPLES[kept - 1] if kept else 0.0


def looked_at(place: Place, spacetime: Any, update: Any, order: int) -> Found:
    """Predict the end of the range, simulate there and beyond."""
    landscape, theta = place.make()
    f = ts.derive(ts.TestLoss(), spacetime, order, update=update)
    measured = ts.measure(f, landscape, theta, key=0, samples=8192, progress=False)
    settings = {"measurement": measured, "tolerance": place.tolerance}
    edge = ts.predict(f, landscape, theta, eta=1.0, **settings).eta_max
    rates = edge * np.array(MULTIPLES)
    predicted = ts.predict(f, landscape, theta, eta=rates, **settings)
    run = ts.simulate(landscape, theta, spacetime, rates, place.trials, 1, update=update, progress=False)
    lowest = np.abs(predicted.contributions[1])
    noise = np.hypot(run.test_loss.standard_error, predicted.standard_error) / lowest
    promised = largest_growth(place.tolerance, order - 1) ** order
    return Found(edge, promised, np.abs(predicted.mean - run.test_loss.mean) / lowest, noise)


def cases(places: tuple[Place, ...], known: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The cases that are not known yet, one after another, each by its name."""
    for place in places:
        jax.config.update("jax_enable_x64", place.double)
        for name, spacetime, update in SPACETIMES:
            for order in ORDERS:
                case = f"{place.name} | {name} | {order}"
                if case not in known:
                    found = looked_at(place, spacetime, update, order)
                    numbers = {"misses": found.misses.tolist(), "noise": found.noise.tolist()}
                    yield case, {"edge": found.edge, "promised": found.promised, **numbers}


def read_lines() -> dict[str, Any]:
    """The cases that are known."""
    if not LINES.exists():
        return {}
    return dict(json.loads(line) for line in LINES.read_text(encoding="utf-8").splitlines())


def written(known: dict[str, Any]) -> str:
    """The page."""
    found = [
        (*case.split(" | "), Found(one["edge"], one["promised"], np.array(one["misses"]), np.array(one["noise"])))
        for case, one in known.items()
    ]
    rows = [
        (
            place, name, order, f"{one.edge:.3g}", f"{one.promised:.2%}",
            f"{one.misses[0]:.2%} ± {one.noise[0]:.2%}", "yes" if one.inside else "no", f"{one.reach:g}",
        )
        for place, name, order, one in found
    ]  # fmt: skip
    sharp = [one for *_, one in found if one.resolved]
    inside = sum(one.inside for one in sharp)
    reach = np.array([one.reach for one in sharp] or [0.0])
    table = text_table(
        ("landscape", "dynamics", "order", "eta_max", "promised", "miss there ± s.e.", "inside", "reach"), rows
    )
    return f"""# When to believe a prediction

Written by `python docs/range.py`. At `prediction.eta_max` the terms that a formula leaves out are estimated at
tolerance^(3/2) of its lowest order, from the growth of the orders that it has. Here this is compared with simulated
descent on {len({place for place, *_ in found})} landscapes, {len(found)} cases.

Of {len(sharp)} cases in which the simulation was sharp enough to tell, the truth was inside in {inside}
({inside / max(len(sharp), 1):.0%}). The promise still held up to {np.median(reach):g} times `eta_max` in the median
(from {reach.min():g} to {reach.max():g}; multiples above {MULTIPLES[-1]:g} were not tried): so conservative it is.
"Reach" is that multiple; where noise is as large as the promise, it says little.

```text
{table}
```
"""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fresh", action="store_true", help="forget what is known")
    if parser.parse_args().fresh:
        LINES.unlink(missing_ok=True)
    known = read_lines()
    for case, found in cases(TOYS + IMAGES, known):
        known[case] = found
        with LINES.open("a", encoding="utf-8") as file:
            file.write(json.dumps([case, found]) + "\n")
        print(case, flush=True)
    PAGE.write_text(written(known), encoding="utf-8")


if __name__ == "__main__":
    main()
