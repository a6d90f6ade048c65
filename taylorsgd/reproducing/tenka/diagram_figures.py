"""Spacetimes, embeddings and diagrams: Figures 4 to 9 and Table 1, drawn from the objects and counted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from math import factorial, prod
from typing import Any

from sympy import Poly, Rational, binomial, expand, expand_func, factor, latex

import taylorsgd as ts
from taylorsgd.diagrams import Diagram, Value, diagrams_of_order
from taylorsgd.display.grids import grid_shapes
from taylorsgd.display.trees import drawing_shapes
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Work
from taylorsgd.reproducing.tenka.figure_page import Page
from taylorsgd.reproducing.tenka.single_embeddings import (
    broken_conditions,
    drawn_in_time,
    placed,
    time_orders,
    with_links,
    without_links,
)
from taylorsgd.symbols import B, M, N

__all__ = ["EXPERIMENT", "DiagramSize"]

EDGE = Diagram((-1, 0))
CHAIN = Diagram((-1, 0, 1))
TIED_CHAIN = Diagram((-1, 0, 1), (0, 1, 1))
FORK = Diagram((-1, 0, 0))
TIED_FORK = Diagram((-1, 0, 0), (0, 1, 1))
NAMES = {CHAIN: "chain", TIED_CHAIN: "tied chain", FORK: "fork", TIED_FORK: "tied fork"}
"""The two-edged diagrams."""


POINTS, EPOCHS = 7, 2
"""N and M of Figures 4 and 5, with B = 1; Figure 9 has T = N."""


@dataclass(frozen=True)
class DiagramSize:
    """The settings.

    Attributes:
        links: the most links for which Figure 9's claim is counted.
    """

    links: int = 3


def _run(size: DiagramSize, work: Work) -> Outcome:
    page = Page(inches=0.27)
    parts = [*(part(page, size) for part in (_spacetimes, _legality, _resummation, _table)), _proposition_3()]
    findings, rows = (list(chain.from_iterable(each)) for each in zip(*parts, strict=True))
    return Outcome(page.figure(), rows, findings, NOTES)


NOTES = (
    "the paper's own drawings are lost: which nodes stand in which cells of Figures 5 and 7 to 9 is chosen here, so "
    "that they show what the captions say",
    "in Table 1 a diagram's nodes stand in the order of time, one drawing for each order up to automorphisms, tied "
    "nodes next to each other",
)


def _row(figure: str, thing: str, quantity: str, paper: Any, found: Any) -> dict[str, str]:
    names = ("figure", "object", "quantity", "paper", "found")
    return dict(zip(names, map(str, (figure, thing, quantity, paper, found)), strict=True))


Part = tuple[list[Finding], list[dict[str, str]]]
"""What is found in some figures: claims, and rows of the table."""


def _spacetimes(page: Page, size: DiagramSize) -> Part:
    """Figures 4 to 6: the grids of four kinds of SGD, and the two-edged diagrams on the first two."""
    n, epochs = POINTS, EPOCHS
    many, one = (ts.SGD(N=n, B=1, E=e).grid() for e in (epochs, 1))
    order = [*range(4), 2, 0, 3, 1]  # the second epoch's
    shuffled = ts.Grid([[row == other for other in order] for row in range(4)])
    grids = {
        f"Figure 4, left: {epochs} epochs, B = 1": (many, epochs),
        "Figure 4, right: one epoch": (one, 1),
        "Figure 6, left: 2 epochs, shuffled": (shuffled, 2),
        "Figure 6, right: 4 epochs, B = 2": (ts.SGD(N=8, B=2, E=4).grid(), 4),
    }
    left, rows, regular = 0.0, [], True
    for title, (grid, passes) in grids.items():
        page.write(title, (left - 0.4, -0.8), 0.75)
        left = page.draw(grid_shapes(grid.cells), (left, 0.0))[2] + 5.0
        filled = [sum(row) for row in grid.cells]
        regular &= set(filled) == {passes} and grid.T == passes * grid.N // grid.B
        rows.append(_row(title.split(",")[0], title, "B and E", "", f"{grid.B} and {filled[0]}"))

    in_many = {EDGE: [(0, n)], FORK: [(1, n + 1), (2, 2)], CHAIN: [(3, n + 3), (2, n + 2)]}
    in_many |= {TIED_FORK: [(5, 5), (5, n + 5)], TIED_CHAIN: [(6, n + 6), (6, 6)]}
    in_one = {EDGE: [(0, 0)], FORK: [(1, 1), (2, 2)], CHAIN: [(4, 4), (3, 3)], TIED_FORK: [(6, 6), (6, 6)]}
    left = 0.0
    for side, grid, trees in (("left", many, in_many), ("right", one, in_one)):
        standing = [placed(diagram, dict(enumerate(cells, start=1))) for diagram, cells in trees.items()]
        page.write(f"Figure 5, {side}", (left - 0.4, 10.2), 0.75)
        left = page.draw(grid_shapes(grid.cells, standing), (left, 11.0))[2] + 4.0

    ratios, counts = {}, {}
    for diagram, name in NAMES.items():
        several, single = (ts.SGD(N=N, B=1, E=e).embeddings(diagram) for e in (M, 1))
        counts[diagram] = (several, single)
        ratios[name] = factor(several / single) if single else None
        rows.append(_row("Figure 5", name, "embeddings, M epochs", "", several))
        rows.append(_row("Figure 5", name, "embeddings, one epoch", "", single))
    scaling = [name for name, ratio in ratios.items() if ratio == M**2]
    tied = counts[TIED_CHAIN]
    pairs = expand_func(binomial(M, 2)) * N
    return [
        Finding(
            "each column holds B shaded cells and each row E (Figures 4 and 6)",
            f"in all {len(grids)} grids, T = E N/B",
            regular,
            {"grids": len(grids)},
        ),
        Finding(
            "there are four two-edged diagrams (A.1.2)",
            f"{len(list(diagrams_of_order(2)))}: {', '.join(NAMES.values())}",
            set(diagrams_of_order(2)) == set(NAMES),
            {"diagrams": len(list(diagrams_of_order(2)))},
        ),
        Finding(
            "the tied chain embeds C(M,2) N times in M epochs and never in one (Figure 5)",
            f"{tied[0]} and {tied[1]} times",
            expand(tied[0] - pairs) == 0 and tied[1] == 0,
            {"one epoch": int(tied[1])},
        ),
        Finding(
            "every other two-edged diagram embeds M² times as often in M epochs as in one (Figure 5)",
            "; ".join(f"{name}: {ratio}" for name, ratio in ratios.items() if ratio is not None),
            len(scaling) == 3,
            {"of three": len(scaling)},
            proof="the counts are polynomials in M and N, by enumeration; the chain's ratio is not M²",
        ),
    ], rows


def _legality(page: Page, size: DiagramSize) -> Part:
    """Figures 7 and 8: what is an embedding, and what is not."""
    grid = ts.SGD(N=4, B=2, E=2).grid()
    maps = {
        "left": (CHAIN, {1: (1, 0), 2: (0, 0)}),
        "middle": (CHAIN, {1: (1, 2), 2: (1, 0)}),
        "right": (FORK, {1: (0, 2), 2: (2, 3)}),
    }
    claims = {
        "left": {CHAIN: False, TIED_CHAIN: False},
        "middle": {CHAIN: True, TIED_CHAIN: True},
        "right": {FORK: True, TIED_FORK: False},
    }
    claimed = sum(map(len, claims.values()))
    left, rows, right = 0.0, [], 0
    for side, (drawn, cells) in maps.items():
        words = []
        for diagram, legal in claims[side].items():
            name, broken = f"the {NAMES[diagram]}", broken_conditions(diagram, grid, cells)
            words.append(f"{name}: {'no, ' + ' and '.join(broken) if broken else 'yes'}")
            rows.append(_row(f"Figure 7, {side}", name, "legal", legal, not broken))
            right += legal == (not broken)
        page.write(f"Figure 7, {side}", (left - 0.4, 21.4), 0.75)
        fill = page.draw(grid_shapes(grid.cells, [placed(drawn, cells)]), (left, 22.2))
        for line, text in enumerate(words):
            page.write(text, (left - 0.4, 27.7 + 0.85 * line), 0.6)
        left = fill[2] + 10

    leaf = Diagram((-1, 0, 1, 1, 0), (0, 1, 2, 2, 3))
    steps = ts.SGD(N=6, B=1, E=1).grid()
    cells = dict(enumerate([(4, 4), (1, 1), (1, 1), (2, 2)], start=1))
    page.write("Figure 8: four edges", (left - 0.4, 21.4), 0.75)
    page.draw(grid_shapes(steps.cells, [placed(leaf, cells)]), (left, 22.2))
    broken = broken_conditions(leaf, steps, cells)
    rows.append(_row("Figure 8", str(leaf), "legal", True, not broken))
    return [
        Finding(
            "of the three maps of Figure 7, the left one embeds neither chain, the middle one both, the right one the "
            "fork but not the tied fork",
            f"{right} of {claimed} as the caption says",
            right == claimed,
            {"as claimed": right},
        ),
        Finding(
            "Figure 8 shows an embedding of a four-edged diagram",
            f"{leaf}, order {leaf.order}, {'legal' if not broken else 'illegal by ' + ' and '.join(broken)}",
            leaf.order == 4 and not broken,
            {"edges": leaf.order},
        ),
    ], rows


def _resummation(page: Page, size: DiagramSize) -> Part:
    """Figure 9: one resummed embedding, and one of the un-resummed ones that it stands for."""
    steps, grid = POINTS, ts.SGD(N=POINTS, B=1, E=1).grid()
    cells = {1: (1, 1), 2: (1, 1)}
    _, placement = with_links(TIED_FORK, cells, steps, {1: [3], 2: [steps - 3, steps - 1]})
    left, top = 29.0, 10.2
    page.write("Figure 9: a resummed embedding", (left - 0.4, top), 0.75)
    left = page.draw(grid_shapes(grid.cells, [placed(TIED_FORK, cells)]), (left, top + 0.8))[2] + 5.0
    page.write("one of the un-resummed ones", (left - 0.4, top), 0.75)
    page.draw(grid_shapes(grid.cells, [placement]), (left, top + 0.8))

    # A fork tied at t carries K^(T−1−t) twice, K = 1 − ηH: so C(2(T−1−t), k) un-resummed embeddings with k links,
    # where the un-resummed sum has Z(D)/|Aut D| for every diagram D with k links on the fork's edges.
    weights, rows = [], []
    for links in range(size.links + 1):
        stands_for = Rational(sum(int(binomial(2 * gap, links)) for gap in range(steps)), TIED_FORK.automorphisms)
        unresummed = sum(
            Rational(grid.count(diagram), diagram.automorphisms)
            for diagram in diagrams_of_order(TIED_FORK.order + links)
            if without_links(diagram) == TIED_FORK
        )
        weights.append((stands_for, unresummed))
        rows.append(_row("Figure 9", "tied fork", f"weight with {links} links", stands_for, unresummed))
    return [
        Finding(
            "each resummed value represents many un-resummed ones, without omission or redundancy (Figure 9, 2.1)",
            f"with 0 to {size.links} links the tied fork's embeddings at T = {steps} weigh "
            + ", ".join(str(found) for _, found in weights)
            + f"; the powers of K stand for {', '.join(str(claimed) for claimed, _ in weights)}",
            all(claimed == found for claimed, found in weights),
            {f"{links} links": float(found) for links, (_, found) in enumerate(weights)},
        )
    ], rows


WAYS = ((4, 2), (2, 2, 3), (1,))
"""Table 1's caption: the ways to draw the diagrams of its three columns."""


def _table(page: Page, size: DiagramSize) -> Part:
    """Table 1: the diagrams of order 3 for E = B = 1 by their number of parts, in all orders of time."""
    terms = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=3)[3].terms
    columns: list[list[ts.Term]] = [[], [], []]
    for term in terms:
        columns[3 - len(term.diagrams[0].inner_blocks)].append(term)
    counted = [[sum(len(time_orders(d)) for d in term.diagrams) for term in column] for column in columns]
    left, top, rows = 0.0, 32.5, []
    page.write("Table 1: the diagrams of order 3 for E = B = 1, in all orders of time", (-0.4, top - 1.6), 0.75)
    for power, (column, ways) in enumerate(zip(columns, counted, strict=True)):
        y, right = top + 2.0, left + 11.0
        page.write(rf"$\Theta((\eta N)^3 N^{{-{power}}})$", (left - 0.4, top), 0.8)
        for term, count in zip(column, ways, strict=True):
            x = left + 3.0
            for diagram in term.diagrams:
                for order in time_orders(diagram):
                    x = page.draw(drawing_shapes(drawn_in_time(diagram, order)), (x, y))[2] + 3.9
            text = f"${latex(term.coefficient)}\\;\\;{term.value.latex()}$"
            page.write(text.replace(r"\left", "").replace(r"\right", ""), (left - 0.4, y + 1.6), 0.65)
            right = max(right, x - 1.5)
            y += 3.9
            rows.append(_row("Table 1", str(term.value), "ways to draw", "", count))
            rows.append(_row("Table 1", str(term.value), "coefficient of η³", "", term.coefficient))
        left = right
    powers = [[Poly(term.coefficient, N).degree() for term in column] for column in columns]
    leading = [_leading(term) for column in columns for term in column]
    return [
        Finding(
            "six distinct diagrams of order 3 embed at E = B = 1, with (4 + 2) + (2 + 2 + 3) + (1) ways to draw them "
            "(Table 1)",
            " + ".join("(" + " + ".join(map(str, ways)) + ")" for ways in counted),
            [sorted(ways) for ways in counted] == [sorted(ways) for ways in WAYS],
            {"diagrams": len(terms), "ways": sum(map(sum, counted))},
        ),
        Finding(
            "for large N they count as Θ((ηN)³ N^−k), k = 0, 1, 2 from the left column to the right one (Table 1)",
            "degrees in N of the derived coefficients: "
            + ", ".join("/".join(map(str, sorted(set(each)))) for each in powers),
            powers == [[3 - k] * len(column) for k, column in enumerate(columns)],
            {"values": sum(map(len, powers))},
        ),
        Finding(
            "the ways to draw a diagram with P parts of sizes d_i give its coefficient's leading power, "
            "−ways · 3!/(d_1! … d_P!) · N^P/(3! P!) (Proposition 2)",
            f"{sum(leading)} of {len(leading)} derived coefficients begin so",
            all(leading),
            {"coefficients": sum(leading)},
        ),
    ], rows


def _proposition_3() -> Part:
    """The coefficients that B.6.4 prints for order 2, of M epochs with batches of B."""
    printed = {
        Value((-1, 0, 1)): M * N * (M * N - Rational(1, 2)),
        Value((-1, 0, 0), (0, 1, 1)): M * N * M / 2,
        Value((-1, 0, 0), (0, 0, 1)): M * N * (M - 1 / B) / 2,
    }
    terms = {term.value: term.coefficient for term in ts.derive(ts.TestLoss(), ts.SGD(E=M * B), order=2)[2].terms}
    agree = [value for value, coefficient in printed.items() if expand(terms[value] - coefficient) == 0]
    rows = [
        _row("Proposition 3", str(value), "coefficient of η²", coefficient, terms[value])
        for value, coefficient in printed.items()
    ]
    return [
        Finding(
            "the coefficients of order 2 for any M, N and B (Proposition 3, by counting embeddings)",
            f"{len(agree)} of {len(terms)} derived coefficients are those printed: "
            + ", ".join(str(value) for value in agree),
            len(agree) == len(terms) == len(printed),
            {"coefficients": len(agree)},
        )
    ], rows


def _leading(term: ts.Term) -> bool:
    """Whether a derived coefficient begins as Proposition 2's count of orders says."""
    sizes = [len(block) for block in term.diagrams[0].inner_blocks]
    number = Rational(-sum(len(time_orders(diagram)) for diagram in term.diagrams))
    return Poly(term.coefficient, N).LC() == number / prod(map(factorial, (*sizes, len(sizes))))


EXPERIMENT = Experiment(
    title="spacetimes, embeddings and diagrams",
    shows="Tenka, Figures 4 to 9 and Table 1",
    claim="what the captions say of grids, of legal and illegal embeddings, of how often the two-edged diagrams embed "
    "in M epochs, and of the six diagrams of order 3 for E = B = 1",
    judged="exact counts by enumeration and by the software's formulas",
    sizes={"quick": DiagramSize(), "full": DiagramSize(links=4)},
    lasts={"quick": "a few seconds", "full": "about 10 s"},
    run=_run,
)
"""The experiment."""
