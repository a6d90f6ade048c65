r"""How many formulas pdfLaTeX and KaTeX set without a complaint: every observable, dynamics and style, in bulk.

    python benchmarks/typesetting.py --order 3 --width 24

prints a JSON line: how many formulas, how many errors, and how many lines are too long for the width (in em; 24 is one
of two columns). It needs `pdflatex`. With `--katex FOLDER`, a folder in which `npm install katex` was run, KaTeX reads
them too, in its strict mode, where anything unusual is an error; it expands no more than a thousand macros unless it is
told to, and long formulas have more.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from sympy import Symbol

import taylorsgd as ts

x, beta = Symbol("x"), Symbol("beta")
LOSS, MOVED = ts.TestLoss(), ts.Displacement()
OBSERVABLES = (
    LOSS, ts.TrainLoss(), ts.GeneralizationGap(), MOVED, ts.Variance(LOSS), ts.Covariance(MOVED, MOVED),
    ts.SecondMoment(ts.TrainLoss(), MOVED), ts.Observable(x**2, name="R_IG"),
    ts.Covariance(ts.GeneralizationGap(), LOSS),
)  # fmt: skip
DYNAMICS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (ts.SGD(), {}),
    (ts.SGD(B=1, E=1), {}),
    (ts.SGD(N=4, B=2, E=3), {}),
    (ts.GD(), {}),
    (ts.Grid([[1, 0, 1], [0, 1, 0]]), {}),
    (ts.SGD(shuffle=True), {}),
    (ts.Replacement(), {}),
    (ts.SGD(shuffle=True, data="fixed"), {}),
    (ts.ODE(), {}),
    (ts.SDE(), {}),
    (ts.GD(), {"update": ts.HeavyBall(beta)}),
    (ts.GD(), {"update": ts.SecondOrder(2)}),
    (ts.GD(), {"resum": "discrete"}),
    (ts.SGD(E=1), {"resum": "discrete"}),
    (ts.GD(), {"resum": "continuous"}),
    (ts.SDE(), {"resum": "continuous"}),
    (ts.SGD(N=4, B=2, E=2), {"resum": "discrete"}),
    (ts.GD(), {"resum": "discrete", "update": ts.HeavyBall(beta)}),
)
STYLES: tuple[dict[str, Any], ...] = ({}, {"sums": True}, {"eta": True, "lhs": False})
KATEX = """
const katex = require("katex"), texts = JSON.parse(require("fs").readFileSync(0));
let bad = [];
texts.forEach((text, i) => {
  try { katex.renderToString(text, {displayMode: true, throwOnError: true, strict: "error", maxExpand: 1e6}); }
  catch (error) { bad.push([i, error.message]); }
});
console.log(JSON.stringify(bad));
"""


ROOM = 400_000
"""About how many letters one run of pdfLaTeX is given: its memory ends in the middle of a display of 6,000 lines."""
BEGIN, END, BREAK = r"\begin{aligned}", r"\end{aligned}", "\\\\\n"


def written(order: int, width: float, chosen: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Every formula in every style, by a name that says which it is."""
    for place, options in (DYNAMICS[i] for i in chosen):
        for observable in OBSERVABLES:
            try:
                formula = ts.derive(observable, place, order, **options)
            except (ValueError, NotImplementedError):
                continue  # there is no such formula
            name = f"{observable!r} {type(place).__name__} {options}"
            for style in STYLES:
                yield f"{name} {style}", formula.latex(width, **style)
            if not options and place.data == "fresh":
                yield f"{name} in moments", formula.to_moments().latex(width)
        print(f"{type(place).__name__} {options}", file=sys.stderr)


def set_by_pdflatex(texts: list[str], width: float) -> tuple[list[int], list[int]]:
    """Which formulas are errors to pdfLaTeX, and which hold a line that is too long."""
    pieces = [(i, piece) for i, text in enumerate(texts) for piece in _pieces(text)]
    errors: list[int] = []
    long: list[int] = []
    first = 0
    while first < len(pieces):
        last, letters = first, 0
        while last < len(pieces) and (last == first or letters + len(pieces[last][1]) <= ROOM):
            letters += len(pieces[last][1])
            last += 1
        bad, wide = _set_together([piece for _, piece in pieces[first:last]], width)
        errors += [pieces[first + i][0] for i in bad]
        long += [pieces[first + i][0] for i in wide]
        first = last
    return sorted(set(errors)), sorted(set(long))


def _pieces(text: str) -> Iterator[str]:
    """A formula of too many lines as several of fewer: the lines of an alignment on & do not depend on each other."""
    if len(text) <= ROOM:
        yield text
        return
    lines = text.removeprefix(BEGIN).removesuffix(END).split(BREAK)
    while lines:
        count, letters = 0, 0
        while count < len(lines) and (count == 0 or letters + len(lines[count]) <= ROOM):
            letters += len(lines[count])
            count += 1
        yield BEGIN + BREAK.join(lines[:count]) + END
        lines = lines[count:]


def _set_together(texts: list[str], width: float) -> tuple[list[int], list[int]]:
    lengths = "".join(rf"\{name}={width}em" for name in ("hsize", "textwidth", "linewidth", "columnwidth"))
    body = "\n".join(rf"\typeout{{FORMULA {i}}}\[{text}\]" for i, text in enumerate(texts))
    head = r"\documentclass[10pt]{article}\usepackage{amsmath,amssymb}\usepackage[paperwidth=60cm]{geometry}"
    with TemporaryDirectory() as folder:
        (Path(folder) / "page.tex").write_text(
            rf"{head}\allowdisplaybreaks\begin{{document}}{lengths}{body}\end{{document}}", encoding="utf-8"
        )
        command = ["pdflatex", "-interaction=nonstopmode", "page.tex"]
        log = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace").stdout
    errors, long, at = [], [], -1
    if "Output written" not in log:  # it gave up, and nothing after that was looked at
        return list(range(len(texts))), []
    for line in log.splitlines():
        if found := re.match(r"FORMULA (\d+)", line):
            at = int(found[1])
        if line.startswith("!"):
            errors.append(at)
        if "Overfull \\hbox" in line:
            long.append(at)
    return errors, long


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--order", type=int, default=2)
    parser.add_argument("--width", type=float, default=24.0)
    parser.add_argument("--plain", action="store_true", help="leave out what is resummed")
    parser.add_argument("--dynamics", type=int, nargs="*", help="some of the dynamics only, by their numbers from 0")
    parser.add_argument("--katex", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    start = monotonic()
    chosen = range(len(DYNAMICS)) if options.dynamics is None else options.dynamics
    chosen = [i for i in chosen if not (options.plain and "resum" in DYNAMICS[i][1])]
    names, texts = zip(*written(options.order, options.width, chosen), strict=True)
    errors, long = set_by_pdflatex(list(texts), options.width)
    found: dict[str, Any] = {
        "benchmark": "typesetting", "order": options.order, "width": options.width, "dynamics": chosen,
        "formulas": len(texts),
        "pdflatex errors": len(errors), "lines too long": len(long), "seconds": round(monotonic() - start, 1),
    }  # fmt: skip
    if options.katex is not None:
        run = subprocess.run(
            ["node", "-e", KATEX],
            cwd=options.katex,
            input=json.dumps(texts),
            capture_output=True,
            text=True,
            check=True,
        )
        bad = json.loads(run.stdout)
        found["katex errors"] = len(bad)
        for i, message in bad[:5]:
            print(names[i], message, file=sys.stderr)
    for i in (*errors[:5], *long[:5]):
        print(names[i], file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
