"""The diagram: a rooted tree, or a forest with several roots, with a set partition of its nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

from taylorsgd.arguments import whole_number
from taylorsgd.diagrams.brackets import bracketed, read_brackets
from taylorsgd.diagrams.forests import checked_forest, checked_labels, few_nodes
from taylorsgd.diagrams.symmetry import (
    Code,
    best_colouring,
    blocks_of,
    children_of,
    exchanges,
    parts_of,
    restricted_growth,
    rooted_code,
    unfolded,
)
from taylorsgd.display.canvas import Shape
from taylorsgd.display.layouts import layout_tree
from taylorsgd.display.trees import TreeDrawing, drawing_shapes
from taylorsgd.writing.drawn import Drawn

if TYPE_CHECKING:
    from networkx import DiGraph

__all__ = ["Diagram"]


@dataclass(frozen=True, init=False, repr=False)
class Diagram(Drawn):
    """A rooted tree (or forest) with a set partition of its nodes, in canonical form.

    Construction canonicalizes: any numbering of the nodes that describes the same diagram gives an equal
    object with the same hash. Roots keep their order (they carry different observables), and automorphisms
    never move them. A root that is tied to a part (for the training loss) simply has that part's label.

    Args:
        parents: the parent of every node, −1 for a root.
        parts: a label for every node's part; equal labels mean the same part. By default every node is
            alone.

    Raises:
        ValueError: if `parents` is not a forest with at least one root, or `parts` has another length.

    Example:
        >>> chain = Diagram((-1, 0, 1))              # root <- node <- leaf
        >>> Diagram((1, -1, 0), "abc") == chain == Diagram((2, 0, -1))
        True
        >>> fork = Diagram((-1, 0, 0), (0, 1, 1))    # two tied leaves at the root: C·H
        >>> fork.order, fork.automorphisms, fork.is_linkless, chain.is_linkless
        (2, 2, True, False)

    Source: Tenka, Definition 3 (section B.3).
    """

    parents: tuple[int, ...]
    """The parent of every node, −1 for a root, numbered in depth-first order."""
    parts: tuple[int, ...]
    """The part of every node, numbered by first appearance."""
    automorphisms: int = field(compare=False)
    """|Aut D|, the automorphisms that preserve the partition and fix every root."""

    def __init__(self, parents: Sequence[int], parts: Sequence[object] | None = None) -> None:
        """Put the diagram into canonical form."""
        parents = checked_forest(parents)
        labels = range(len(parents)) if parts is None else checked_labels(parts, "parts", len(parents))
        children = children_of(parents)
        roots = [node for node, parent in enumerate(parents) if parent < 0]

        def surroundings(sizes: Sequence[int]) -> list[tuple[Code, ...]]:
            codes: list[tuple[Code, ...]] = [()] * len(parents)
            for position, root in enumerate(roots):
                stack: list[tuple[int, tuple[Code, ...]]] = [(root, ((position,),))]
                while stack:
                    node, above = stack.pop()
                    codes[node] = (*above, rooted_code(children, sizes, node))
                    stack.extend((child, codes[node]) for child in children[node])
            return codes

        def code(colours: Sequence[int]) -> tuple[Code, ...]:
            return tuple(rooted_code(children, colours, root) for root in roots)

        best, ways = best_colouring(restricted_growth(labels), surroundings, code)
        hung, colours = unfolded(best)
        count = ways * prod(map(exchanges, best))
        vars(self).update(parents=hung, parts=parts_of(colours), automorphisms=count)

    @property
    def order(self) -> int:
        """The number of edges: the power of η."""
        return len(self.inner_nodes)

    @cached_property
    def roots(self) -> tuple[int, ...]:
        """The roots, in the order of the observables that they carry."""
        return tuple(node for node, parent in enumerate(self.parents) if parent < 0)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The children of every node."""
        return tuple(map(tuple, children_of(self.parents)))

    @cached_property
    def tree_of(self) -> tuple[int, ...]:
        """For every node, which root's tree it is in, counted from 0."""
        trees: list[int] = []
        for parent in self.parents:
            trees.append(trees[parent] if parent >= 0 else max(trees, default=-1) + 1)
        return tuple(trees)

    def degree(self, node: int) -> int:
        """The number of edges at a node: how often its loss is differentiated.

        Raises:
            ValueError: if it is no node.
        """
        node = whole_number(node, "node", 0, len(self.parents) - 1, why="is no node of the diagram")
        return len(self.children[node]) + (self.parents[node] >= 0)

    @cached_property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The parts as tuples of nodes, roots included."""
        return blocks_of(self.parts)

    @cached_property
    def inner_blocks(self) -> tuple[tuple[int, ...], ...]:
        """The parts without the roots: what is mapped into a spacetime. Parts of roots alone are left out."""
        inner = (tuple(node for node in block if self.parents[node] >= 0) for block in self.blocks)
        return tuple(block for block in inner if block)

    @cached_property
    def tied_blocks(self) -> tuple[tuple[int, ...], ...]:
        """Those of more than one node."""
        return tuple(block for block in self.inner_blocks if len(block) > 1)

    @cached_property
    def inner_nodes(self) -> tuple[int, ...]:
        """The nodes that are no roots, from each of which one edge leaves."""
        return tuple(node for node, parent in enumerate(self.parents) if parent >= 0)

    @property
    def is_linkless(self) -> bool:
        """Whether no non-root node with exactly one child is alone in its part."""
        return not any(
            len(self.children[node]) == 1 and len(self.blocks[self.parts[node]]) == 1 for node in self.inner_nodes
        )

    def __lt__(self, other: Diagram) -> bool:
        """Order by number of edges, then by canonical form."""
        mine, yours = ((len(one.parents), one.parents, one.parts) for one in (self, other))
        return mine < yours

    def to_data(self) -> dict[str, Any]:
        """What JSON keeps of the diagram; `from_data` reads it."""
        return {"parents": self.parents, "parts": self.parts}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Diagram:
        """Read what `to_data` gave.

        Raises:
            TypeError: if it is no mapping, or holds something of another kind.
            ValueError: if something is missing, or is no diagram of at most 32 nodes.
        """
        data = few_nodes(data)
        return cls(data["parents"], data["parts"])

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle through the constructor."""
        return Diagram, (self.parents, self.parts)

    def __repr__(self) -> str:
        """How to make it again, so that it reads well at a prompt and in lists.

        Example:
            >>> Diagram((-1, 0, 0), (0, 1, 1))
            Diagram.parse('(a a)')
        """
        return f"Diagram.parse({str(self)!r})"

    def __str__(self) -> str:
        """Nested brackets, root outermost, tied nodes named by letters.

        Example:
            >>> print(Diagram((-1, 0, 0), (0, 1, 1)))
            (a a)
            >>> print(Diagram((-1, 0, 1)))
            ((.))
        """
        return bracketed(self.children, self.roots, self.blocks)

    @classmethod
    def parse(cls, text: str) -> Diagram:
        """Read a diagram in nested brackets, as `str` writes it.

        Args:
            text: one tree for every root, with " | " between them. A tree is its children in brackets, or a dot for
                none, behind the letter of its part; a node that is alone in its part has no letter, and a tied leaf
                no dot.

        Raises:
            TypeError: if it is no text.
            ValueError: if it is no diagram; says where.

        Example:
            >>> Diagram.parse("(a a)") == Diagram((-1, 0, 0), (0, 1, 1))
            True
            >>> print(Diagram.parse("(a a(.))"))     # children come in the canonical order
            (a(.) a)
            >>> Diagram.parse("(a b")
            Traceback (most recent call last):
            ValueError: text = '(a b': at its end a ')' is missing for the '(' at character 1
        """
        return cls(*read_brackets(text))

    def to_networkx(self) -> DiGraph:
        """The diagram as a `networkx.DiGraph` whose edges point towards the roots.

        A node has its `part`, its `root` (the position of a root among the roots, else None) and its `layer`, minus
        its distance from the root: `networkx.multipartite_layout(g, "layer")` draws the root rightmost.

        Example:
            >>> fork = Diagram((-1, 0, 0), (0, 1, 1)).to_networkx()
            >>> sorted(fork.edges), dict(fork.nodes(data="part"))
            ([(1, 0), (2, 0)], {0: 0, 1: 1, 2: 1})
        """
        from taylorsgd.diagrams.graphs import rooted_graph

        return rooted_graph(self.parents, self.parts)

    @classmethod
    def from_networkx(cls, graph: Any) -> Diagram:
        """Read a directed forest, as `to_networkx` makes it, with nodes of any names.

        Args:
            graph: a `networkx.DiGraph` whose edges point towards the roots. Nodes with equal `part` are tied, those
                without one alone; roots are ordered by their `root`, those without one come last, in the graph's order.

        Raises:
            TypeError: if it is no directed graph without parallel edges.
            ValueError: if it is no forest.

        Example:
            >>> import networkx as nx
            >>> print(Diagram.from_networkx(nx.DiGraph([("leaf", "node"), ("node", "root")])))
            ((.))
        """
        from taylorsgd.diagrams.graphs import forest_of

        return cls(*forest_of(graph))

    def shapes(self) -> list[Shape]:
        """The picture: root rightmost, thin black edges, gray ties."""
        return self._drawn(arrows=False)

    def with_arrows(self) -> DirectedDrawing:
        """The picture with arrows towards the root, as a vector field is read: each node has one, its u^μ.

        Example:
            >>> Diagram.parse("(a a)").with_arrows().svg().count("<path")
            3
        """
        return DirectedDrawing(self)

    def _drawn(self, arrows: bool) -> list[Shape]:
        ties = tuple(block for block in self.blocks if len(block) > 1)
        drawing = TreeDrawing(
            positions=layout_tree(self.parents, ties),
            edges=tuple((node, self.parents[node]) for node in self.inner_nodes),
            ties=ties,
            roots=self.roots,
            arrows=arrows,
        )
        return drawing_shapes(drawing)

    @property
    def description(self) -> str:
        """What the picture shows, in words."""
        return f"diagram {self}"


@dataclass(frozen=True)
class DirectedDrawing(Drawn):
    """The picture of a diagram with arrows.

    Attributes:
        diagram: the diagram.
    """

    diagram: Diagram

    def shapes(self) -> list[Shape]:
        """The picture."""
        return self.diagram._drawn(arrows=True)

    @property
    def description(self) -> str:
        """What the picture shows, in words."""
        return f"{self.diagram.description}, with arrows to its root"

    def __str__(self) -> str:
        """The diagram in nested brackets."""
        return str(self.diagram)
