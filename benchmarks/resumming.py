"""Time resummed formulas: deriving them, and evaluating one beside two plainer ways.

Prints one JSON line per figure. The evaluation is of the order-3 test loss of one epoch at dimension 32 and
T = 1000 in float64, in one process: (a) the lowered formula, called as a user calls it, checks included, and its
compiled function alone; (b) `sympy.lambdify(..., "jax")` of the same closed forms in T and the eigenvalues, jitted
as a whole, and called as lambdify returns it; (c) the moment equations, an explicit scan over the T updates.
All do the same work: tensors, η and T in, all traced; `eigh`, rotation, sums over time, contraction; a number out.
(d) is what they share, all but the sums over time: it bounds every ratio.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

DIMENSION, UPDATES, RATE, REPEATS = 32, 1000, 0.01, 15


def deriving() -> None:
    """Deriving every observable at order 3, discrete and continuous."""
    import taylorsgd as ts

    observables = {
        "test loss": ts.TestLoss(),
        "training loss": ts.TrainLoss(),
        "generalization gap": ts.GeneralizationGap(),
        "displacement": ts.Displacement(),
        "observable": ts.Observable(lambda theta: theta[0]),
        "variance of the test loss": ts.Variance(ts.TestLoss()),
        "variance of the training loss": ts.Variance(ts.TrainLoss()),
        "variance of the displacement": ts.Variance(ts.Displacement()),
    }
    for name, observable in observables.items():
        for dynamics, spacetime in (("one epoch", ts.SGD(E=1)), ("GD", ts.GD())):
            for method in ("discrete", "continuous"):
                start = time.perf_counter()
                formula = ts.derive(observable, spacetime, 3, resum=method)
                seconds = time.perf_counter() - start
                emit(
                    "derive resummed", observable=name, dynamics=dynamics, method=method, order=3,
                    terms=len(formula.terms), seconds=seconds,
                )  # fmt: skip


def evaluating() -> None:
    """One lowered formula beside the closed forms by lambdify and a scan over the updates."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import sympy as sp

    import taylorsgd as ts
    from taylorsgd.lowering.cell_scan import sum_of_ways
    from taylorsgd.lowering.networks import make_network, turned
    from taylorsgd.lowering.resummed import _evaluate
    from taylorsgd.timesums.cells import Way
    from taylorsgd.timesums.closed_forms import closed_time_sum
    from taylorsgd.timesums.events import TimeSum

    jax.config.update("jax_enable_x64", True)
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 3, resum="discrete")
    lowered = formula.lower()
    random = np.random.default_rng(0)
    tensors: dict[Any, Any] = {
        part: jnp.asarray(random.normal(size=(DIMENSION,) * sum(part))) for part in lowered.parts
    }
    basis = np.linalg.qr(random.normal(size=(DIMENSION, DIMENSION)))[0]
    tensors[2,] = jnp.asarray(basis * np.geomspace(0.01, 1.0, DIMENSION) @ basis.T)
    networks = [make_network(value, lowered.parts) for value in formula.values]
    coefficients = [float(term.coefficient) for term in formula.terms]

    def contracted(sums: Callable[..., Any], jitted: bool = True) -> Callable[..., Any]:
        def total(tensors: Any, eta: Any, updates: Any) -> Any:
            eigenvalues, vectors = jnp.linalg.eigh(tensors[lowered.parts.index((2,))])
            rotated = [turned(tensor, vectors) for tensor in tensors]
            result = 0.0
            for coefficient, network in zip(coefficients, networks, strict=True):
                operands: list[Any] = []
                for array, edges in sums(network, eta * eigenvalues, updates):
                    operands += [array, list(edges)]
                for position, axes in network.parts:
                    operands += [rotated[position], [e for e, _ in axes]]
                result = result + coefficient * eta**network.edges * jnp.einsum(*operands, [])
            return result

        return jax.jit(total) if jitted else total

    steps = sp.Symbol("T")
    closed = {}
    for network in networks:
        if isinstance(network.times, TimeSum):
            rates = sp.symbols(f"s:{network.edges}")
            expression = closed_time_sum(network.times, rates, steps, continuous=False)
            closed[network] = sp.lambdify([*rates, steps], expression, "jax")

    def by_lambdify(network: Any, rates: Any, updates: Any) -> Any:
        if network not in closed:
            return []
        spread = [rates.reshape(*(-1 if i == e else 1 for i in range(network.edges))) for e in range(network.edges)]
        # Equal eigenvalues are poles of the closed form: keep the indices apart, as its user would have to.
        apart = [array * (1 + 1e-6 * e) for e, array in enumerate(spread)]
        array = jnp.broadcast_to(closed[network](*apart, updates), (DIMENSION,) * network.edges)
        return [(array, range(network.edges))]

    def by_scan(network: Any, rates: Any, updates: Any) -> Any:
        if not isinstance(network.times, TimeSum):
            return []
        # The length of a scan is no traced number.
        always = Way(Fraction(1), network.times, ((1,) * UPDATES,) * network.times.events)
        return [(sum_of_ways([always], network.edges, rates), range(network.edges))]

    def nothing(network: Any, rates: Any, updates: Any) -> Any:
        return []

    numbers = (tuple(tensors[part] for part in lowered.parts), jnp.asarray(RATE), jnp.asarray(UPDATES * 1.0))
    lowered(tensors, eta=RATE, N=UPDATES)
    (program,) = lowered._programs.values()
    given = {"N": numbers[2]}
    functions = {
        "lambdify": contracted(by_lambdify),
        "lambdify, not jitted": contracted(by_lambdify, jitted=False),
        "scan": contracted(by_scan),
        "all but the sums": contracted(nothing),
    }
    ways: dict[str, Callable[[], Any]] = {
        "lowered": lambda: lowered(tensors, eta=RATE, N=UPDATES),
        "lowered, compiled part": lambda: _evaluate(program, *numbers[:2], None, given, True)[0],
        **{name: partial(function, *numbers) for name, function in functions.items()},
    }
    values, medians = {}, {}
    for name, way in ways.items():
        values[name] = float(way())  # compiles
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.perf_counter()
            jax.block_until_ready(way())
            samples[name].append(time.perf_counter() - start)
    for name, times in samples.items():
        medians[name] = statistics.median(times)
        emit(
            "evaluate resummed", way=name, order=3, dimension=DIMENSION, updates=UPDATES,
            seconds=medians[name], value=values[name],
        )  # fmt: skip
    for name in functions:
        emit("ratio", of=name, to="lowered", ratio=medians[name] / medians["lowered"])
        emit(
            "ratio", of=name, to="lowered, compiled part",
            ratio=medians[name] / medians["lowered, compiled part"],
        )  # fmt: skip


def emit(figure: str, **fields: Any) -> None:
    """Print one figure as a JSON line."""
    rounded = {name: float(f"{x:.4g}") if isinstance(x, float) else x for name, x in fields.items()}
    print(json.dumps({"figure": figure} | rounded), flush=True)


if __name__ == "__main__":
    deriving()
    evaluating()
