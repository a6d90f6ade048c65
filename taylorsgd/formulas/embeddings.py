r"""Embeddings one at a time: where the nodes of a diagram sit in a spacetime, and what this adds.

An embedding f gives every node but the roots a cell (n, t) that is in use, such that times increase strictly along
edges and the nodes of a part have one row n. Two that an automorphism of D takes into each other are one; |Aut_f D| is
the number of automorphisms that leave f as it is, so |Aut D| / |Aut_f D| maps are counted as one, and

    Σ_maps 1/|Aut D| = Σ_embeddings 1/|Aut_f D|.

One embedding adds (−η/B)^{|D|} / |Aut_f D| times the value of D, and where D is linkless and formulas are resummed the
value with K^{t′ − t − 1}, K = I − ηH, on the edge from time t to t′.

(Tenka, sections A.1.2, A.4 and A.5. Nodes of different parts may share a row, as cumulants have it.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

from sympy import Integer, Rational

from taylorsgd.arguments import is_one_of
from taylorsgd.diagrams import Diagram, value_of
from taylorsgd.display.canvas import Shape
from taylorsgd.display.grids import Placement, grid_shapes
from taylorsgd.formulas.formula import Formula
from taylorsgd.formulas.observables import Observable, SingleObservable, TestLoss
from taylorsgd.formulas.resummed_value import ResummedValue
from taylorsgd.formulas.term import Term
from taylorsgd.spacetime import Grid
from taylorsgd.spacetime.base import Spacetime
from taylorsgd.timesums.events import ROOT
from taylorsgd.timesums.set_times import SetTimes
from taylorsgd.writing.drawn import Drawn

__all__ = ["Embedding", "embeddings_of"]

MOST = 100_000
"""So many maps are listed at most."""


@dataclass(frozen=True)
class Embedding(Drawn):
    """One embedding of a diagram in a grid; `embeddings_of` lists them.

    Attributes:
        diagram: D.
        grid: the spacetime.
        cells: for every node but the root its cell (n, t), in the order of `diagram.inner_nodes`.
        automorphisms: |Aut_f D|.
    """

    diagram: Diagram
    grid: Grid
    cells: tuple[tuple[int, int], ...]
    automorphisms: int

    @property
    def maps(self) -> int:
        """How many maps it stands for, |Aut D| / |Aut_f D|."""
        return self.diagram.automorphisms // self.automorphisms

    def contribution(self, observable: SingleObservable | None = None, *, resum: str | None = None) -> Formula:
        """What the embedding adds to an expectation.

        Args:
            observable: what the root carries, None for the test loss.
            resum: None for a monomial in η, of any diagram; "discrete" for powers of K on the edges of a linkless one.

        Returns:
            A formula of one term, which `evaluate` and `lower` turn into numbers.

        Raises:
            TypeError: if it is no observable of one run.
            ValueError: if `resum` is unknown, the diagram has links and edges carry powers of K, or the observable's
                root needs a tie that the diagram does not have, or one edge where it has several.
        """
        observable = TestLoss() if observable is None else observable
        if not isinstance(observable, SingleObservable):
            raise TypeError(f"observable={observable!r} is no observable of one run, such as TestLoss()")
        if not is_one_of(resum, (None, "discrete")):
            raise ValueError(f"resum={resum!r} is unknown; give None or 'discrete'")
        diagram, root = self.diagram, observable.root(0)
        (node,) = diagram.roots
        tied = len(diagram.blocks[diagram.parts[node]]) > 1
        if tied > root.may_tie or (root.must_tie and not tied):
            raise ValueError(f"observable={observable!r}: the root of {diagram} is {'' if tied else 'not '}tied")
        if root.mark.startswith("@") and diagram.degree(node) != 1:
            raise ValueError(
                f"observable={observable!r}: one edge ends in its root, and in that of {diagram} do others"
            )
        if resum is not None and not diagram.is_linkless:
            raise ValueError(f"resum={resum!r}: {diagram} has links, which the powers of K hold; leave out resum")
        sizes = self.grid.sizes
        weight = Rational((-1) ** diagram.order * root.sign, self.automorphisms) / sizes["B"] ** diagram.order
        value = value_of(diagram, [root.mark])
        if resum is not None and diagram.order:
            place = {node: i for i, node in enumerate(diagram.inner_nodes)}
            targets = tuple(place.get(diagram.parents[node], ROOT) for node in diagram.inner_nodes)
            times = SetTimes(targets, tuple(t for _, t in self.cells))
            value = ResummedValue(diagram, [root.mark], times, sizes["T"], continuous=False)
        coefficient = weight / sizes["N"] if tied else weight
        named = {observable.name: observable} if isinstance(observable, Observable) else {}
        indices = int(root.mark.startswith("@"))
        return Formula([Term(coefficient * Integer(1), value, (diagram,))], (self.grid,), named, indices)

    def shapes(self) -> list[Shape]:
        """The grid with the diagram on it; the root stands outside."""
        spots = dict(zip(self.diagram.inner_nodes, self.cells, strict=True))
        edges = tuple((node, self.diagram.parents[node]) for node in self.diagram.inner_nodes)
        placement = Placement(
            tuple(spots.get(node) for node in range(len(self.diagram.parents))), edges, self.diagram.tied_blocks
        )
        return grid_shapes(self.grid.cells, [placement])

    @property
    def description(self) -> str:
        """What the picture shows, in words."""
        where = ", ".join(
            f"node {node} at {cell}" for node, cell in zip(self.diagram.inner_nodes, self.cells, strict=True)
        )
        return f"diagram {self.diagram} in a {self.grid.description}: {where}"


def embeddings_of(diagram: Diagram, spacetime: Spacetime) -> tuple[Embedding, ...]:
    """All embeddings of a diagram with one root in a concrete spacetime.

    Args:
        diagram: the diagram.
        spacetime: a `Grid`, or `SGD` or `GD` with numbers for all sizes and one order.

    Raises:
        TypeError: if it is no diagram or no spacetime.
        ValueError: if the diagram has several roots, a size is a symbol, chance fills the batches, or there are more
            than 100,000 maps.

    Example:
        >>> import taylorsgd as ts
        >>> fork = ts.Diagram.parse("(a a)")
        >>> found = ts.embeddings_of(fork, ts.SGD(N=2, B=1, E=2))
        >>> [(one.cells, one.automorphisms) for one in found][:3]
        [(((0, 0), (0, 0)), 2), (((0, 0), (0, 2)), 1), (((0, 2), (0, 2)), 2)]
        >>> print(found[0].contribution(resum="discrete"))
        eta**2/2 Σ_μν C_μν H_μν (1 - eta*λ_μ)**3*(1 - eta*λ_ν)**3

    Source: Tenka, sections A.1.2, A.4 and A.5.
    """
    if not isinstance(diagram, Diagram):
        raise TypeError(f"diagram={diagram!r} is not a Diagram")
    if len(diagram.roots) != 1:
        raise ValueError(f"diagram={diagram} has {len(diagram.roots)} roots; embeddings are listed of those with one")
    grid = _grid(spacetime)
    count = grid.count(diagram)
    if count > MOST:
        raise ValueError(f"{diagram} has {count} maps into {spacetime}, and {MOST} are listed at most")
    symmetries = list(_automorphisms(diagram))
    found: dict[tuple[tuple[int, int], ...], int] = {}
    for cells in _maps(diagram, grid):
        images = [tuple(cells[i] for i in order) for order in symmetries]
        found.setdefault(min(images), images.count(cells))
    return tuple(Embedding(diagram, grid, cells, number) for cells, number in sorted(found.items()))


def _grid(spacetime: Spacetime) -> Grid:
    if isinstance(spacetime, Grid):
        return spacetime
    if not isinstance(spacetime, Spacetime):
        raise TypeError(f"spacetime={spacetime!r} is not a spacetime; give a Grid, SGD or GD")
    if spacetime.random or spacetime.is_flow or not all(size.is_number for size in spacetime.sizes.values()):
        raise ValueError(
            f"spacetime={spacetime}: embeddings are listed where all sizes are numbers and nothing is left to chance; "
            "give a Grid, or SGD(N, B, E) or GD(N, T) with numbers"
        )
    ((_, batches),) = spacetime.histories()
    if not batches:
        raise ValueError(f"spacetime={spacetime} has no updates")
    return Grid([[n in batch for batch in batches] for n in range(int(spacetime.sizes["N"]))])


def _maps(diagram: Diagram, grid: Grid) -> Iterator[tuple[tuple[int, int], ...]]:
    """All maps of the inner nodes to cells, parents before children."""
    inner, used = diagram.inner_nodes, [(n, t) for n in range(grid.N) for t in range(grid.T) if grid.cells[n][t]]
    part = {node: next((block[0] for block in diagram.tied_blocks if node in block), node) for node in inner}

    def extended(cells: dict[int, tuple[int, int]], rest: tuple[int, ...]) -> Iterator[dict[int, tuple[int, int]]]:
        if not rest:
            yield cells
            return
        node, *others = rest
        above = cells.get(diagram.parents[node])
        row = next((cells[v][0] for v in cells if part[v] == part[node]), None)
        for n, t in used:
            if (above is None or t < above[1]) and row in (None, n):
                yield from extended({**cells, node: (n, t)}, tuple(others))

    return (tuple(cells[node] for node in inner) for cells in extended({}, inner))


def _automorphisms(diagram: Diagram) -> Iterator[tuple[int, ...]]:
    """The automorphisms, as orders of the inner nodes."""
    inner = diagram.inner_nodes
    kept = {(node, diagram.parents[node]) for node in inner}
    parts = set(map(frozenset, diagram.blocks))
    for order in permutations(range(len(inner))):
        to = {root: root for root in diagram.roots} | {inner[i]: inner[j] for i, j in enumerate(order)}
        moved = {frozenset(to[node] for node in part) for part in parts}
        if {(to[a], to[b]) for a, b in kept} == kept and moved == parts:
            yield order
