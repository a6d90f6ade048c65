"""How long formulas take to derive, and how much `import taylorsgd` adds to `import sympy`.

Prints one JSON line per figure. Every single measurement runs in a process of its own, so that no cache is
warm; the import is not part of a derivation's time. `seconds` is the median of the runs, `aim` what the
project wants to stay under.

    python benchmarks/deriving.py [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator

DERIVE = """
import time
import taylorsgd as ts
spacetime = ts.{spacetime}
start = time.perf_counter()
formula = ts.derive(ts.TestLoss(), spacetime, order={order})
seconds = time.perf_counter() - start
print(seconds, len(formula[{order}].terms))
"""
IMPORT = """
import time
start = time.perf_counter()
import {package}
print(time.perf_counter() - start, 0)
"""
AIMS = {("SGD()", 3): 1.0, ("SGD()", 4): 10.0, ("SGD(B=1, E=1)", 6): 10.0}
ORDERS = {"SGD()": range(1, 5), "SGD(B=1, E=1)": range(1, 7)}


def main() -> None:
    """Measure, and print as soon as there is a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="measurements behind each median (default 3)")
    runs = parser.parse_args().runs
    if runs < 1:
        parser.error("--runs must be at least 1")
    for figure in figures(runs):
        print(json.dumps(figure), flush=True)


def figures(runs: int) -> Iterator[dict[str, object]]:
    """Yield each figure as a dictionary."""
    for spacetime, orders in ORDERS.items():
        for order in orders:
            timed = [measured(DERIVE.format(spacetime=spacetime, order=order)) for _ in range(runs)]
            yield {
                "figure": f"derive(TestLoss(), {spacetime}, order={order})",
                **summary([seconds for seconds, _ in timed]),
                "terms_of_this_order": timed[0][1],
                "aim": AIMS.get((spacetime, order)),
            }
    pairs = [[measured(IMPORT.format(package=name))[0] for name in ("taylorsgd", "sympy")] for _ in range(runs)]
    yield {
        "figure": "import taylorsgd - import sympy",
        **summary([ours - theirs for ours, theirs in pairs]),
        "import_taylorsgd": round(statistics.median(ours for ours, _ in pairs), 4),
        "import_sympy": round(statistics.median(theirs for _, theirs in pairs), 4),
        "aim": 0.5,
    }


def measured(code: str) -> tuple[float, int]:
    """Run a piece of code in a fresh process; it prints seconds and a count."""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    seconds, count = output.split()
    return float(seconds), int(count)


def summary(seconds: list[float]) -> dict[str, object]:
    """The median, and all the runs behind it."""
    return {
        "seconds": round(statistics.median(seconds), 4),
        "runs": [round(each, 4) for each in seconds],
        "fresh": "process",
    }


if __name__ == "__main__":
    main()
