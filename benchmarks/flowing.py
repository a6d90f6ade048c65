"""How long modified equations take: of Euler beside kauri, of momentum and of Adam with symbols for parameters.

Prints one JSON line per figure. Every single measurement runs in a process of its own, so that no cache is
warm; imports are not part of the time. `seconds` is the median of the runs, `aim` what the project wants. kauri's
`modified_equation_map()` is evaluated on the trees of one order; ours gives all trees through that order, exactly.
It is measured at `--kauri` nodes (7 by default; 8 takes about a minute a run), and where that is less than 8
extrapolated to 8 by the growth between its last two orders.

    python benchmarks/flowing.py [--runs 3] [--kauri 7]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator

OURS = """
import time
import taylorsgd as ts
from sympy import Rational, Symbol
start = time.perf_counter()
flow = ts.modified_flow({order}, update={update})
print(time.perf_counter() - start, len(flow) if hasattr(flow, "__len__") else sum(map(len, flow.parts)))
"""
KAURI = """
import time
import kauri
weights = kauri.RK([[0]], [1]).modified_equation_map()
start = time.perf_counter()
coefficients = [weights(tree) / tree.sigma() for tree in kauri.trees_of_order({order})]
print(time.perf_counter() - start, len(coefficients))
"""
SYMBOLIC = {  # update: order, seconds that the project wants to stay under
    "ts.HeavyBall(Symbol('beta'))": (8, 10.0),
    "ts.Nesterov(Symbol('beta'))": (8, 10.0),
    "ts.Nesterov(Symbol('beta'), convention='sutskever')": (8, 10.0),
    "ts.RMSProp(Symbol('rho'), Symbol('epsilon'))": (3, 5.0),
    "ts.Adam(Symbol('beta'), Symbol('rho'), Symbol('epsilon'))": (3, 5.0),
    "ts.Adam(Symbol('beta'), Symbol('rho'), Symbol('epsilon'), epsilon_inside=True)": (3, 5.0),
}
MOMENTA = ("Rational(9, 10)", "Symbol('beta')")


def main() -> None:
    """Measure, and print as soon as there is a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="measurements behind each median (default 3)")
    parser.add_argument("--kauri", type=int, default=7, help="kauri's highest order, 2 to 8 (default 7)")
    given = parser.parse_args()
    if given.runs < 1:
        parser.error("--runs must be at least 1")
    if not 2 <= given.kauri <= 8:
        parser.error("--kauri must be between 2 and 8")
    for figure in figures(given.runs, given.kauri):
        print(json.dumps(figure), flush=True)


def figures(runs: int, last: int) -> Iterator[dict[str, object]]:
    """Yield each figure as a dictionary."""
    ours: dict[int, float] = {}
    for order in sorted({last, 8, 10}):
        seconds, trees = timed(OURS.format(order=order, update=None), runs)
        ours[order] = statistics.median(seconds)
        aim = 1.0 if order == 10 else None
        yield {"figure": f"modified_flow({order})", **summary(seconds), "trees": trees, "aim": aim}
    for beta in MOMENTA:
        seconds, trees = timed(OURS.format(order=6, update=f"ts.HeavyBall({beta})"), runs)
        yield {"figure": f"modified_flow(6, HeavyBall({beta}))", **summary(seconds), "trees": trees, "aim": None}
    for update, (order, aim) in SYMBOLIC.items():
        seconds, trees = timed(OURS.format(order=order, update=update), runs)
        yield {"figure": f"modified_flow({order}, {update})", **summary(seconds), "trees": trees, "aim": aim}
    theirs: dict[int, float] = {}
    for order in (last - 1, last):
        seconds, trees = timed(KAURI.format(order=order), runs)
        theirs[order] = statistics.median(seconds)
        yield {"figure": f"kauri, order {order}", **summary(seconds), "trees": trees, "aim": None}
    growth = theirs[last] / theirs[last - 1]
    yield {
        "figure": "kauri at order 8 / modified_flow(8)",
        "ratio": round(theirs[last] * growth ** (8 - last) / ours[8]),
        "kauri_at_8": "measured" if last == 8 else f"extrapolated from {last} by its growth of {growth:.1f} per order",
        f"kauri at {last} / modified_flow({last})": round(theirs[last] / ours[last]),
        f"kauri at {last} / modified_flow(8)": round(theirs[last] / ours[8]),
        "aim": 200,
    }


def timed(code: str, runs: int) -> tuple[list[float], int]:
    """Run a piece of code in fresh processes; it prints seconds and a count."""
    outputs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(runs)
    ]
    return [float(seconds) for seconds, _ in outputs], int(outputs[0][1])


def summary(seconds: list[float]) -> dict[str, object]:
    """The median, and all the runs behind it."""
    return {
        "seconds": round(statistics.median(seconds), 4),
        "runs": [round(each, 4) for each in seconds],
        "fresh": "process",
    }


if __name__ == "__main__":
    main()
