"""What an expansion costs, in runs of the simulation: seconds of `expand` over those of `simulate`, on the same trials.

A tanh net of about 5,000 parameters on random data, Adam with mini-batches, in float32. `simulate` is timed at one
learning rate. Both are timed after compiling, and both average the test loss over the same population; compiling has
lines of its own. Orders from 1 on; `ratio` is what one more trial of an expansion costs in simulated trials.

memory  bytes that the compiled expansion holds beside its arguments, for runs of T and of 16 T updates.

    python benchmarks/expanding.py [--trials 64] [--orders 1 2 3 4] [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import taylorsgd as ts
from taylorsgd.descent import expanding

WIDTH, INPUTS, POINTS = 64, 10, 512


def adam(eta: Any) -> optax.GradientTransformation:
    return optax.adam(eta, eps_root=1e-2)


def loss(theta: Any, point: Any) -> Any:
    x, y = point
    hidden = jnp.tanh(theta["u"] @ jnp.tanh(theta["w"] @ x + theta["b"]))
    return (theta["v"] @ hidden - y) ** 2 / 2


def setting() -> tuple[ts.Landscape, Any]:
    keys = jax.random.split(jax.random.key(0), 5)
    x = jax.random.normal(keys[0], (POINTS, INPUTS))
    theta = {
        "w": jax.random.normal(keys[1], (WIDTH, INPUTS)) / INPUTS**0.5,
        "b": jnp.zeros(WIDTH),
        "u": jax.random.normal(keys[2], (WIDTH, WIDTH)) / WIDTH**0.5,
        "v": jax.random.normal(keys[3], (WIDTH,)) / WIDTH**0.5,
    }
    return ts.Landscape(loss, (x, jnp.sin(x[:, 0]) + 0.1 * jax.random.normal(keys[4], (POINTS,)))), theta


def timed(call: Callable[[], Any], runs: int) -> tuple[float, float]:
    """Seconds of the first call, and the median of those after it."""
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds[0], median(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--orders", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    place, theta = setting()
    spacetime, trials = ts.SGD(N=64, B=8, E=2), options.trials

    def simulated() -> None:
        ts.simulate(place, theta, spacetime, 0.01, trials, 0, update=adam, chunk=trials)

    first, plain = timed(simulated, options.runs)
    print(json.dumps({"figure": "simulate", "seconds": round(plain, 3), "first": round(first, 2)}), flush=True)
    for order in options.orders:

        def expanded(order: int = order) -> None:
            ts.expand(adam, place, theta, spacetime, order, trials=trials, chunk=trials)

        first, seconds = timed(expanded, options.runs)
        line = {"figure": "expand", "order": order, "seconds": round(seconds, 3), "first": round(first, 2)}
        print(json.dumps({**line, "ratio": round(seconds / plain, 2)}), flush=True)
    held, compiled = [], expanding._expanded

    def measured(*arguments: Any, **others: Any) -> Any:
        analysis = compiled.lower(*arguments, **others).compile().memory_analysis()
        held.append(0 if analysis is None else analysis.temp_size_in_bytes)
        return compiled(*arguments, **others)

    expanding._expanded = measured  # type: ignore[assignment]
    for epochs in (1, 16):
        ts.expand(adam, place, theta, ts.SGD(N=64, B=8, E=epochs), 2, trials=4)
    sizes = np.array(held)
    print(json.dumps({"figure": "memory", "T": [8, 128], "bytes": sizes.tolist()}), flush=True)


if __name__ == "__main__":
    main()
