"""Draw the pictures of the README and of the site into docs/pictures/.

python docs/pictures.py draws all of them, in about two minutes: one is simulated. python docs/pictures.py drawn draws
those of diagrams only, at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sympy import Rational, latex

import taylorsgd as ts
from taylorsgd.demo import run_demo
from taylorsgd.display.canvas import extent
from taylorsgd.display.figures import COLORS, house_style
from taylorsgd.reproducing.tenka.figure_page import Page

FOLDER = Path(__file__).parent / "pictures"
INCHES = 0.3
"""Of a page, the length of an edge in a diagram."""
SAVING: Any = {"dpi": 200, "bbox_inches": "tight", "pad_inches": 0.1, "metadata": {"Software": None}}


def formula_with_diagrams() -> Page:
    """The test loss of SGD through second order: every term of it, above the diagrams that it comes from."""
    page, right = Page(INCHES), 0.0
    page.write(r"$\mathbb{E}\,[\,l(\theta_T)\,]\;=$", at=(right, 0.0), size=0.85)
    right += 4.6
    widths = (1.3, 3.8, 6.2, 6.4, 4.2)
    terms = ts.derive(ts.TestLoss(), ts.SGD(), order=2).table().shown
    for width, (term, coefficient, value) in zip(widths, terms, strict=True):
        written = f"{latex(coefficient)} {value.latex()}" if coefficient != 1 else value.latex()
        written = written.replace(r"\frac{T \left(E - 1\right)}{2 B} \frac{1}{2}", r"\frac{T (E - 1)}{4 B}")
        written = written.replace(r"\left(", "(").replace(r"\right)", ")")
        sign = "" if right < 5 or written.startswith("-") else "+"
        page.write(f"${sign} {written}$", at=(right + width / 2, 0.0), size=0.85, anchor="middle")
        shapes = [diagram.shapes() for diagram in term.diagrams]
        boxes = [extent(shape, 0.0) for shape in shapes]
        gap = 0.8
        start = right + width / 2 - (sum(b[2] - b[0] for b in boxes) + gap * (len(boxes) - 1)) / 2
        for shape, (left, top, end, bottom) in zip(shapes, boxes, strict=True):
            page.draw(shape, at=(start - left, 2.2 - (top + bottom) / 2))
            start += end - left + gap
        right += width
    return page


def in_a_row(texts: dict[str, str], step: float = 3.6) -> Page:
    """Diagrams beside each other, each with a line of text below."""
    page = Page(INCHES)
    for i, (text, below) in enumerate(texts.items()):
        shapes = ts.Diagram.parse(text).shapes()
        left, top, right, bottom = extent(shapes, 0.0)
        page.draw(shapes, at=(i * step - (left + right) / 2, -(top + bottom) / 2))
        page.write(below, at=(i * step, 1.6), size=0.62, anchor="middle")
    return page


PAGES = {
    "formula": formula_with_diagrams,
    "order-two": lambda: in_a_row({"((.))": "chain", "(. .)": "fork", "(a(a))": "tied chain", "(a a)": "tied fork"}),
    "values": lambda: in_a_row(
        {
            "((.))": r"$G_\mu H^\mu_\nu G^\nu$",
            "(. .)": r"$G_\mu H^{\mu\nu} G_\nu$",
            "(a(a))": r"$\frac{1}{2}(\nabla_\mu C^\nu_\nu)\,G^\mu$",
            "(a a)": r"$C_{\mu\nu} H^{\mu\nu}$",
        },
        4.4,
    ),
    "generator": lambda: in_a_row(
        {
            "(.)": r"$-G_\mu\nabla^\mu\phi$",
            "((.))": r"$-\frac{1}{2}(HG)_\mu\nabla^\mu\phi$",
            "(a a)": r"$\frac{1}{2B}C_{\mu\nu}\nabla^\mu\nabla^\nu\phi$",
            "(a a a)": r"$-\frac{1}{6B^2}S_{\mu\nu\lambda}\nabla^\mu\nabla^\nu\nabla^\lambda\phi$",
        },
        6.4,
    ),
}


def resummed_and_not() -> Figure:
    """The test loss of one epoch from a minimum of MEAN ESTIMATION, by time: polynomials, and what they sum up to."""
    place = ts.landscapes.mean_estimation(1, 1)
    sgd, rate, times = ts.SGD(B=1, E=1), Rational(1, 10), range(1, 41)
    with house_style():
        figure = Figure(figsize=(6.0, 3.4), layout="constrained")
        axes = figure.subplots()
        for order, shade in ((2, "#c8c8c8"), (3, "#e69f00"), (4, "#56b4e9")):
            formula = ts.derive(ts.TestLoss(), sgd, order).assume("minimum", "gaussian", "quadratic")
            curve = [float(formula.evaluate(place, [0], eta=rate, N=t)) for t in times]
            axes.plot(times, curve, "--", lw=1, color=shade, label=f"polynomial in $T$, through $η^{order}$")
        resummed = ts.derive(ts.TestLoss(), sgd, 2, resum="discrete").assume("minimum")
        curve = [float(resummed.evaluate(place, [0], eta=rate, N=t)) for t in times]
        axes.plot(times, curve, color=COLORS[0], label="resummed, order 2: exact here")
        noise = np.random.default_rng(0).standard_normal((20_000, len(times)))
        theta, losses = np.zeros(len(noise)), []
        for column in noise.T:
            theta = theta - float(rate) * (theta + column)
            losses.append(np.mean(theta**2) / 2)
        axes.plot(times[3::4], losses[3::4], "o", ms=3.5, color="#222222", label="simulated SGD")
        axes.set(xlabel="updates $T$", ylabel=r"$\mathbb{E}[l(θ_T)] - l(θ_0)$", ylim=(-0.01, 0.06), xlim=(0, 41))
        axes.legend(loc="upper right")
    return figure


def main() -> None:
    """Draw what the command line asks for."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        page().figure().savefig(FOLDER / f"{name}.png", **SAVING)
    sgd, tied = ts.SGD(N=4, B=2, E=2), ts.Diagram.parse("(a(a))")
    sgd.grid().save(FOLDER / "sgd.svg")
    ts.Grid([[1] * 4] * 4).save(FOLDER / "gd.svg")
    ts.embeddings_of(tied, sgd)[0].save(FOLDER / "embedding.svg")
    if sys.argv[1:] == ["drawn"]:
        return
    resummed_and_not().savefig(FOLDER / "resummation.png", **SAVING)
    with TemporaryDirectory() as folder:
        run_demo(output=Path(folder))
        (FOLDER / "demo.png").write_bytes((Path(folder) / "taylorsgd-demo.png").read_bytes())


if __name__ == "__main__":
    main()
