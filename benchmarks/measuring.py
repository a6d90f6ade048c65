"""What measuring costs, on the paper's convolutional net on Fashion-MNIST, in float32.

Prints one JSON line per figure; all ratios are taken in one run, in one process.

draw        One draw of all values of derive(TestLoss(), SGD(B=1, E=1), order=3) over one gradient of the mean loss
            of a batch of b points. The gradient is timed three ways: as many batches side by side as there are
            draws (`vmap`), one batch alone, and all points as a single batch, the cheapest of all. `ratio` is over
            the cheapest. Exact parts, done once for all draws, are a line of their own.
statistics  The 24 statistics of order 3. Naive is the paper's way (its C.3 and C.6): four groups of b points, every
            statistic a nested expression of gradients of its own, compiled by itself. `per_draw` is the time of 24
            such calls over that of one of our draws with batches of b; `equal_error` multiplies it by the ratio of
            the variances, for each statistic that is not exact here: the ratio of times to the same standard error.
monte carlo The difference between SGD's and GD's test loss after one epoch at order 3: seconds to simulate it to the
            standard error of our prediction, over the seconds to predict it, exact parts included. SGD and GD see the
            same training and test points; of several numbers of test points the cheapest counts. Simulating is
            extrapolated: seconds per trial × variance of a trial / (standard error)².
order 3     Measuring the formula from scratch, compilation included, and the relative standard error of each order's
            contribution at η and N below, and of the predicted change of the loss as a whole.

    python benchmarks/measuring.py [--points 70000] [--samples 16384] [--runs 5] [--figures draw statistics ...]

`--points 2000 --samples 512 --trials 64 --runs 2` takes about a minute.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import taylorsgd as ts
from taylorsgd.landscapes.landscape import weighted_loss
from taylorsgd.measuring import MatrixFree, plan
from taylorsgd.measuring.estimators import Correlators
from taylorsgd.measuring.running import Runner

ETA, N = 0.01, 10  # T = N = 10 updates, as in the paper (C.3.2)
TEST_LOSS = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=3)
DIFFERENCE = TEST_LOSS.subs(N=N) - ts.derive(ts.TestLoss(), ts.GD(), order=3).subs(N=N, T=N)
STATISTICS = ts.derive(ts.GeneralizationGap(), ts.SGD(), order=3).to_moments()
GROUPS = 4


@dataclass(frozen=True)
class Setting:
    """Where and how much is measured."""

    landscape: ts.Landscape
    theta: Any
    samples: int
    batch: int
    runs: int
    trials: int
    seed: int

    @property
    def key(self) -> jax.Array:
        """The random key."""
        return jax.random.key(self.seed)


def main() -> None:
    """Measure, and print as soon as there is a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=70_000, help="images in the population (default: all 70,000)")
    parser.add_argument("--samples", type=int, default=16_384, help="draws (default 16384)")
    parser.add_argument("--batch", type=int, default=4, help="points in a batch (default 4)")
    parser.add_argument("--trials", type=int, default=256, help="simulated trials (default 256)")
    parser.add_argument("--runs", type=int, default=5, help="measurements behind each time (default 5)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--figures", nargs="+", choices=list(FIGURES), default=list(FIGURES), help="which (default all)"
    )
    given = parser.parse_args()
    images, labels = ts.landscapes.fashion_mnist()
    chosen = np.random.default_rng(given.seed).permutation(len(images))[: given.points]
    landscape, theta = ts.landscapes.convolutional_net(images[chosen], labels[chosen], given.seed)
    setting = Setting(landscape, theta, given.samples, given.batch, given.runs, given.trials, given.seed)
    device = f"{jax.devices()[0].device_kind}, {jax.device_count()} device"
    for name in given.figures:
        for figure in FIGURES[name](setting):
            shared = {"batch": given.batch, "population": len(chosen), "device": device}
            print(json.dumps({**figure, **shared}), flush=True)


def seconds(call: Callable[[], Any], runs: int) -> float:
    """The least time of some calls, once compiled: what other work on the machine disturbs least."""
    jax.block_until_ready(call())
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return min(times)


def mean_loss(landscape: ts.Landscape, theta: Any, batch: Any) -> jax.Array:
    """The mean loss of a batch."""
    size = len(jax.tree.leaves(batch)[0])
    return weighted_loss(landscape.point_loss, theta, batch, jnp.full(size, 1 / size))


def one_draw(given: Setting) -> Iterator[dict[str, Any]]:
    """Yield the cost of a draw in gradients."""
    made = plan(TEST_LOSS, given.landscape, method=MatrixFree(batch=given.batch))
    runner = Runner(made, given.landscape, given.theta, {})
    at_once = min(given.samples, runner.draws_at_once)
    points = next(runner.draws(given.key, at_once, at_once))
    draw = seconds(lambda: runner.estimates(points), given.runs) / at_once
    batches = given.landscape.draw(given.key, (at_once, given.batch))
    gradient = jax.grad(partial(mean_loss, given.landscape))
    alone, side_by_side = jax.jit(gradient), jax.jit(jax.vmap(gradient, (None, 0)))
    first = jax.tree.map(lambda leaf: leaf[0], batches)
    whole = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batches)
    units = {
        "side by side": seconds(lambda: side_by_side(given.theta, batches), given.runs) / at_once,
        "alone": seconds(lambda: alone(given.theta, first), given.runs),
        "in a single batch": seconds(lambda: alone(given.theta, whole), given.runs) / at_once,
    }
    yield {
        "figure": "one draw of the order-3 test loss / one batch gradient",
        "ratio": round(draw / min(units.values()), 2),
        **{f"ratio, gradients {how}": round(draw / unit, 2) for how, unit in units.items()},
        "counted": round(made.gradients_per_draw / given.batch, 2),
        "microseconds of a draw": round(1e6 * draw, 1),
        "draws at once": at_once,
        "aim": 15,
    }
    once = seconds(lambda: Runner(made, given.landscape, given.theta, {}).exact(0), given.runs)
    yield {
        "figure": "exact parts of the order-3 test loss, once",
        "seconds": round(once, 3),
        "in gradients of the population": round(
            made.gradients_once / (given.landscape.size or 1), 2
        ),
    }  # fmt: skip


def nested(landscape: ts.Landscape, network: ts.Value) -> Callable[[Any, Any], jax.Array]:
    """One draw of {x}_μ as nested gradients, the nodes of a part on the mean loss of one of some groups of points."""
    children: list[list[int]] = [[] for _ in network.parents]
    for child, parent in network.edges:
        children[parent].append(child)

    def estimate(theta: Any, groups: Any) -> jax.Array:
        def message(node: int) -> Any:
            batch = jax.tree.map(lambda leaf: leaf[network.parts[node]], groups)
            found = partial(mean_loss, landscape, batch=batch)
            for child in children[node]:
                found = partial(along, found, message(child))
            return found(theta) if node == 0 else jax.grad(found)(theta)

        return message(0)

    return jax.jit(jax.vmap(estimate, (None, 0)))


def along(function: Callable[[Any], jax.Array], vector: Any, theta: Any) -> jax.Array:
    """D_v f, as the inner product of a gradient with a vector: one more backward pass."""
    gradient = jax.grad(function)(theta)
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, vector)), start=jnp.zeros(()))


def all_statistics(given: Setting) -> Iterator[dict[str, Any]]:
    """Yield how much faster the 24 statistics are measured together than one by one."""
    made = plan(STATISTICS, given.landscape, method=MatrixFree(batch=given.batch))
    runner = Runner(made, given.landscape, given.theta, {})
    at_once = min(given.samples, runner.draws_at_once)
    points = next(runner.draws(given.key, at_once, at_once))
    ours = seconds(lambda: runner.estimates(points), given.runs) / at_once
    # By partitions of the nodes: the networks {x}_τ are themselves the 24 statistics, with one group for a part.
    rule = Correlators(given.batch, GROUPS)
    weights = {value: rule.networks(value) for value in made.values}
    networks = {network: nested(given.landscape, network) for network in made.values}
    if not all(network in networks for one in weights.values() for network in one):
        raise AssertionError("the networks of the correlators are not the statistics")
    groups = given.landscape.draw(given.key, (at_once, GROUPS, given.batch))
    naive = sum(seconds(partial(call, given.theta, groups), given.runs) for call in networks.values())
    naive /= at_once

    draws = max(2, given.samples // at_once)
    their, our = [], []
    for number, points in enumerate(runner.draws(given.key, draws * at_once, at_once)):
        our.append(np.asarray(runner.estimates(points), np.float64))
        groups = given.landscape.draw(jax.random.fold_in(given.key, number), (at_once, GROUPS, given.batch))
        raw = {n: np.asarray(call(given.theta, groups), np.float64) for n, call in networks.items()}
        their.append(np.stack([sum(float(w) * raw[n] for n, w in weights[v].items()) for v in made.values], 1))
    mine, other = np.concatenate(our), np.concatenate(their)[:, made.sampled]
    spread = (mine.var(0) + other.var(0)) / len(mine)
    gains = naive * other.var(0) / (ours * mine.var(0))
    yield {
        "figure": "the 24 statistics, naive / ours",
        "per_draw": round(naive / ours, 2),
        "equal_error": {
            "least": float(f"{gains.min():.3g}"),
            "median": float(f"{np.median(gains):.3g}"),
            "most": float(f"{gains.max():.3g}"),
        },
        "exact in ours": len(made.values) - len(made.sampled),
        "microseconds of our draw": round(1e6 * ours, 1),
        "largest difference in standard errors": round(
            float(np.abs((mine.mean(0) - other.mean(0)) / np.sqrt(spread)).max()), 1
        ),
        "draws at once": at_once,
        "aim": 5,
    }


def simulated(given: Setting) -> Iterator[dict[str, Any]]:
    """Yield how much cheaper it is to predict SGD − GD than to simulate it."""

    def predicted(key: jax.Array) -> ts.Prediction:
        return ts.predict(
            DIFFERENCE, given.landscape, given.theta, eta=ETA, key=key, samples=given.samples,
            method=MatrixFree(batch=given.batch),
        )  # fmt: skip

    predicted(given.key)
    start = time.perf_counter()
    prediction = predicted(jax.random.key(given.seed + 1))
    ours = time.perf_counter() - start
    costs = {}
    for points in (16, 128):

        def difference(trials: int, points: int = points) -> np.ndarray:
            sgd, gd = (
                ts.simulate(
                    given.landscape, given.theta, spacetime, ETA, trials, given.key, test_points=points
                ).test_loss.trials
                for spacetime in (ts.SGD(N=N, B=1, E=1), ts.GD(N=N, T=N))
            )
            return sgd - gd

        difference(given.trials)
        start = time.perf_counter()
        trials = difference(given.trials)
        costs[points] = (time.perf_counter() - start) / given.trials * trials.var(), trials
    points = min(costs, key=lambda count: costs[count][0])
    cost, trials = costs[points]
    error = float(prediction.standard_error)
    yield {
        "figure": "SGD − GD, seconds to simulate / to predict, to the same standard error",
        "ratio": round(cost / error**2 / ours),
        "seconds to predict": round(ours, 2),
        "seconds to simulate": f"{cost / error**2:.3g}, extrapolated from {given.trials} trials",
        "trials needed": float(f"{trials.var() / error**2:.3g}"),
        "test points": points,
        "predicted": f"{float(prediction.mean):.4e} ± {error:.1e}",
        "simulated": f"{trials.mean():.4e} ± {trials.std() / len(trials) ** 0.5:.1e}",
        "eta": ETA,
        "N": N,
        "aim": 100,
    }


def from_scratch(given: Setting) -> Iterator[dict[str, Any]]:
    """Yield seconds and precision of measuring the order-3 test loss."""
    jax.clear_caches()
    start = time.perf_counter()
    measured = ts.measure(
        TEST_LOSS,
        given.landscape,
        given.theta,
        key=given.key,
        samples=given.samples,
        method=MatrixFree(batch=given.batch),
    )
    spent = time.perf_counter() - start

    def relative(formula: ts.Formula) -> float:
        found = ts.predict(formula, given.landscape, given.theta, eta=ETA, measurement=measured, N=N)
        return float(f"{float(found.standard_error) / abs(float(found.mean)):.2g}")

    yield {
        "figure": "measuring the order-3 test loss, compilation included",
        "seconds": round(spent, 1),
        "samples": given.samples,
        "relative standard error": {f"order {d}": relative(TEST_LOSS[d]) for d in (1, 2, 3)}
        | {"change of the loss": relative(TEST_LOSS - TEST_LOSS[0])},
        "eta": ETA,
        "N": N,
        "aim": 300,
    }


FIGURES: dict[str, Callable[[Setting], Iterator[dict[str, Any]]]] = {
    "draw": one_draw,
    "statistics": all_statistics,
    "simulation": simulated,
    "order3": from_scratch,
}

if __name__ == "__main__":
    main()
