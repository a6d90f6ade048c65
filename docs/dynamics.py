"""Write docs/dynamics.md: which dynamics is shown right by which test, for which observable and resummation.

    python docs/dynamics.py            # write the page
    python docs/dynamics.py --check    # exit with 1 if the page is not what the tests say

The page is collected from the tests, not typed: a test that shows a formula right says so itself, by
`@pytest.mark.shows(dynamics, observables, resum)`. A cell without such a test reads "not yet", or "impossible" where
there is nothing to derive, and why (`IMPOSSIBLE`; tests/test_docs.py checks that these raise a ValueError).
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

DYNAMICS = (
    "one epoch",
    "SGD",
    "GD",
    "Grid",
    "shuffle",
    "Replacement",
    "fixed data",
    "ODE",
    "SDE",
    "HeavyBall",
    "Nesterov",
    "rates",
    "warm-up",
    "cosine",
    "decay",
    "coupled decay",
    "metric",
    "SecondOrder",
    "ImplicitStep",
    "GDC",
    "two times",
)
OBSERVABLES = ("test loss", "training loss", "gap", "displacement", "variance")
RESUMMED = {
    "none": "Un-resummed: `derive(...)`",
    "discrete": 'Resummed in powers of 1 − ηH: `derive(..., resum="discrete")`',
    "continuous": 'Resummed in exponentials: `derive(..., resum="continuous")`',
}
NO_SET, NO_UPDATES = "it has no training set", "time flows: there are no updates"
NO_VOLUME = "nodes of one update have no volume in an integral over times"
NO_RETURN = "rows return after whole numbers of updates, which a flow does not count"
NO_MEMORY = "a memory of finitely many updates takes no time in a flow"
NO_RATES = "noise is weighed by squares of rates, which no change of time makes constant"
IMPOSSIBLE = {
    **{
        (resum, flow, observable): NO_SET
        for resum in ("none", "continuous")
        for flow in ("ODE", "SDE")
        for observable in ("training loss", "gap")
    },
    **{("discrete", flow, observable): NO_UPDATES for flow in ("ODE", "SDE") for observable in OBSERVABLES},
    **{
        ("continuous", dynamics, observable): reason
        for names, reason in (
            ("SecondOrder ImplicitStep GDC", NO_VOLUME),
            ("SGD Grid shuffle", NO_RETURN),
            ("HeavyBall Nesterov", NO_MEMORY),
            ("rates warm-up cosine", NO_RATES),
        )
        for dynamics in names.split()
        for observable in OBSERVABLES
    },
}
"""Cells that there is nothing to derive for, by (resum, dynamics, observable), and why."""
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dynamics.md"

Shown = dict[tuple[str, str, str], set[str]]
"""Names of tests by (resum, dynamics, observable)."""


class Collector:
    """A pytest plugin that keeps what the collected tests say they show."""

    def __init__(self) -> None:
        """Nothing is shown before tests are collected."""
        self.shown: Shown = defaultdict(set)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Read the marks of every test."""
        for item in items:
            for mark in item.iter_markers("shows"):
                self.add(item.nodeid.partition("[")[0], *mark.args, **mark.kwargs)

    def add(self, test: str, dynamics: str, observables: str | Iterable[str], resum: str = "none") -> None:
        """Enter one test into its cells, and refuse a cell that the page does not have."""
        for observable in (observables,) if isinstance(observables, str) else observables:
            for name, known in ((dynamics, DYNAMICS), (observable, OBSERVABLES), (resum, tuple(RESUMMED))):
                if name not in known:
                    raise pytest.UsageError(f"{test}: shows {name!r}; expected one of {', '.join(known)}")
            self.shown[resum, dynamics, observable].add(test)


def collected(paths: Iterable[str] = ("tests",)) -> Shown:
    """What the tests under some paths say they show."""
    collector = Collector()
    quiet = "--collect-only -qq --no-summary -p no:cacheprovider --override-ini=addopts=--import-mode=importlib".split()
    where = ["--rootdir", str(ROOT), *(str(ROOT / path) for path in paths)]
    with redirect_stdout(StringIO()) as told:
        status = pytest.main([*quiet, *where], plugins=[collector])
    if status != pytest.ExitCode.OK:
        raise SystemExit(f"pytest could not collect the tests: {status!r}\n{told.getvalue()}")
    return collector.shown


def written(shown: Shown) -> str:
    """The page, in Markdown."""
    lines = [
        "# Which formula is shown right by which test",
        "",
        "This page is written by `python docs/dynamics.py` from the marks of the tests. A test named here compares",
        "the formula with direct perturbation (`ts.perturb`), with a closed form, or with an exact solution.",
        "Where several tests do, one is named. Cells that read “not yet” have none, and what is not supported raises",
        "`NotImplementedError`; those that read “impossible” have nothing to derive, and raise `ValueError`.",
    ]
    for resum, title in RESUMMED.items():
        lines += ["", f"## {title}", "", f"| | {' | '.join(OBSERVABLES)} |", "|---" * (len(OBSERVABLES) + 1) + "|"]
        for dynamics in DYNAMICS:
            keys = [(resum, dynamics, observable) for observable in OBSERVABLES]
            cells = [_cell(shown.get(key, set()), IMPOSSIBLE.get(key)) for key in keys]
            lines.append(f"| {dynamics} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(tests: set[str], impossible: str | None) -> str:
    if impossible is not None:
        return f"impossible: {impossible}"
    if not tests:
        return "not yet"
    path, _, name = min(tests).partition("::")
    more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
    return f"[{name}](../{path}){more}"


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    arguments = parser.parse_args()
    page = written(collected())
    if not arguments.check:
        PAGE.write_text(page, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page:
        print("docs/dynamics.md is not what the tests say; run python docs/dynamics.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
