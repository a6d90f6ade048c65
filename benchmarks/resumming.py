"""Time resummed formulas: deriving them, and evaluating one beside two plainer ways.

Prints one JSON line per figure. The evaluation is of the order-3 test loss of one epoch at dimension 32 and
T = 1000 in float64, in one process: (a) the lowered formula; (b) `sympy.lambdify(..., "jax")` of the same closed
forms in T and the eigenvalues; (c) the moment equations, an explicit scan over the T updates. All are
jitted, start from the same tensors in an eigenbasis, and contract them alike.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

DIMENSION, UPDATES, RATE, REPEATS = 32, 1000, 0.01, 7


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
    from taylorsgd.formulas.eigenbasis import closed_time_sum
    from taylorsgd.lowering.gridsums import grid_sum
    from taylorsgd.lowering.resummed import _network

    jax.config.update("jax_enable_x64", True)
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 3, resum="discrete")
    lowered = formula.lower()
    random = np.random.default_rng(0)
    tensors: dict[Any, Any] = {
        part: jnp.asarray(random.normal(size=(DIMENSION,) * sum(part))) for part in lowered.parts
    }
    eigenvalues = jnp.asarray(np.geomspace(0.01, 1.0, DIMENSION))
    tensors[2,] = jnp.diag(eigenvalues)  # in an eigenbasis already, so that all three skip the rotation alike
    networks = [_network(value, lowered.parts) for value in formula.values]
    coefficients = [float(term.coefficient) for term in formula.terms]

    def contracted(sums: Callable[[Any, Any], Any]) -> Callable[..., Any]:
        def total(tensors: Any, rates: Any) -> Any:
            result = 0.0
            for coefficient, network in zip(coefficients, networks, strict=True):
                operands: list[Any] = []
                if network.edges:
                    operands += [sums(network, rates), list(range(network.edges))]
                for position, axes in network.parts:
                    operands += [tensors[position], [e for e, _ in axes]]
                result = result + coefficient * RATE**network.edges * jnp.einsum(*operands, [])
            return result

        return jax.jit(total)

    steps = sp.Symbol("T")
    closed = {}
    for network in networks:
        if network.times is not None:
            rates = sp.symbols(f"s:{network.edges}")
            expression = closed_time_sum(network.times, rates, steps, continuous=False)
            closed[network] = sp.lambdify([*rates, steps], expression, "jax")

    def by_lambdify(network: Any, rates: Any) -> Any:
        spread = [
            rates.reshape(*(-1 if i == e else 1 for i in range(network.edges))) for e in range(network.edges)
        ]
        # Equal eigenvalues are poles of the closed form: keep the indices apart, as its user would have to.
        apart = [array * (1 + 1e-6 * e) for e, array in enumerate(spread)]
        return jnp.broadcast_to(closed[network](*apart, UPDATES), (DIMENSION,) * network.edges)

    def by_scan(network: Any, rates: Any) -> Any:
        always = ((1, ((1,) * UPDATES,) * network.times.events),)
        return grid_sum(network.times, always, rates)

    ordered = tuple(tensors[part] for part in lowered.parts)
    rates = RATE * eigenvalues
    lambdified, scanned = contracted(by_lambdify), contracted(by_scan)
    ways = {
        "lowered": lambda: lowered(tensors, eta=RATE, N=UPDATES),
        "lambdify": lambda: lambdified(ordered, rates),
        "scan": lambda: scanned(ordered, rates),
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
    for name in ("lambdify", "scan"):
        emit("ratio", of=name, to="lowered", ratio=medians[name] / medians["lowered"])


def emit(figure: str, **fields: Any) -> None:
    """Print one figure as a JSON line."""
    rounded = {name: float(f"{x:.4g}") if isinstance(x, float) else x for name, x in fields.items()}
    print(json.dumps({"figure": figure} | rounded), flush=True)


if __name__ == "__main__":
    deriving()
    evaluating()
