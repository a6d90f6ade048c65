"""What a diagram evaluates to: a tensor network that forgets which plain node was the root.

A value is a forest of *unrooted* trees whose nodes are partitioned. A node of degree k carries ∇^k l_x,
a part carries the joint cumulant (or, on request, the joint moment) of its nodes, an edge carries η. Some
nodes are marked: an open index of a displacement, or a derivative of an observable other than the loss.
Diagrams with isomorphic networks have equal values, and a formula adds up their coefficients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

from taylorsgd.arguments import switched
from taylorsgd.diagrams.diagram import Diagram
from taylorsgd.diagrams.forests import checked_forest, checked_labels, few_nodes
from taylorsgd.diagrams.partitions import components, moebius, set_partitions
from taylorsgd.diagrams.symmetry import (
    Code,
    best_colouring,
    blocks_of,
    neighbours_of,
    parts_of,
    restricted_growth,
    rooted_code,
    unfolded,
)
from taylorsgd.diagrams.tensor_network import LOSS, TensorNetwork, is_open, open_index

if TYPE_CHECKING:
    from networkx import Graph

    from taylorsgd.writing.notation import Contraction

__all__ = ["LOSS", "Value", "is_open", "marks_of", "open_index", "side_by_side", "value_of"]


@dataclass(frozen=True, init=False, repr=False)
class Value(TensorNetwork):
    """A tensor network: trees of derivatives of l_x, contracted along edges, averaged part by part.

    Args:
        parents: the parent of every node (−1 starts a new tree); which node is the root plays no role.
        parts: a label for every node's part; by default every node is alone.
        marks: for every node what it carries: "" for derivatives of l_x, "@0" or "@1" for an open index
            (a node of degree 1), any other name for derivatives of that observable.
        moments: whether parts stand for joint moments instead of joint cumulants.

    Raises:
        ValueError: if a marked node is tied or an open index has not exactly one edge.

    Example:
        >>> ghg = Value((-1, 0, 1))
        >>> ghg == Value((-1, 0, 0))      # G·H·G, whichever node was the root
        True
        >>> print(ghg)
        G_μ H^μ_ν G^ν
    """

    parents: tuple[int, ...]
    """The parent of every node when each tree hangs from its centre, numbered depth first."""
    parts: tuple[int, ...]
    marks: tuple[str, ...]
    moments: bool

    def __init__(
        self,
        parents: Sequence[int],
        parts: Sequence[object] | None = None,
        marks: Sequence[str] | None = None,
        *,
        moments: bool = False,
    ) -> None:
        """Put the network into canonical form."""
        parents, moments = checked_forest(parents), switched(moments, "moments")
        ties = range(len(parents)) if parts is None else checked_labels(parts, "parts", len(parents))
        labels = restricted_growth(ties)
        names = [LOSS] * len(parents) if marks is None else checked_labels(marks, "marks", len(parents))
        neighbours = neighbours_of(parents)
        _check_marks(names, labels, neighbours)
        centres = _centres(neighbours)

        def surroundings(sizes: Sequence[int]) -> list[Code]:
            keys = list(zip(names, sizes, strict=True))
            return [rooted_code(neighbours, keys, node) for node in range(len(parents))]

        def code(colours: Sequence[int]) -> tuple[Code, ...]:
            keys = list(zip(names, colours, strict=True))
            codes = [min(rooted_code(neighbours, keys, centre) for centre in pair) for pair in centres]
            return tuple(sorted(codes))

        best, _ = best_colouring(labels, surroundings, code)
        hung, keys = unfolded(best)
        own = parts_of([colour for _, colour in keys])
        tied = len(set(own)) < len(own)  # the moment of a single node is its cumulant
        marked = tuple(mark for mark, _ in keys)
        vars(self).update(parents=hung, parts=own, marks=marked, moments=moments and tied)

    @property
    def sort_key(self) -> tuple[Any, ...]:
        """Powers of η first, then from few ties to many: from the noiseless terms to the noisiest."""
        return (self.order, 0, -len(self.blocks), self.parents, self.parts, self.marks, self.moments)

    def in_moments(self) -> Iterator[tuple[int, Value]]:
        """Write the value as integer multiples of values in moments, κ(p) = Σ_π μ(π) Π_{b in π} m(b).

        The sum runs over the set partitions π of each part, μ(π) = (−1)^{|π|−1} (|π|−1)! (Rota 1964; Tenka,
        sections A.4 and B.4).

        Example:
            >>> for number, value in Value((-1, 0), (0, 0)).in_moments():      # tr C
            ...     print(number, value)
            1 E[∇_μ l ∇^μ l]
            -1 G_μ G^μ
        """
        return iter([(1, self)]) if self.moments else self._refined(moments=True)

    def in_cumulants(self) -> Iterator[tuple[int, Value]]:
        """Write the value as integer multiples of values in cumulants, m(p) = Σ_π Π_{b in π} κ(b)."""
        return self._refined(moments=False) if self.moments else iter([(1, self)])

    def _refined(self, moments: bool) -> Iterator[tuple[int, Value]]:
        for choice in product(*map(set_partitions, self.blocks)):
            finer = {node: block for partition in choice for block in partition for node in block}
            factor = moebius(map(len, choice)) if moments else 1
            parts = [finer[node] for node in range(len(self.parents))]
            yield factor, Value(self.parents, parts, self.marks, moments=moments)

    def contraction(self) -> Contraction:
        """The value as plain data for the page: its parts in the order in which a reader meets them."""
        from taylorsgd.writing.notation import contracted

        # A tree is numbered depth first: of the two ends of an edge the larger number is the child.
        edges = [[max(node, other) for other in near] for node, near in enumerate(self.neighbours)]
        parts = [(self.marks[block[0]], [edges[node] for node in block]) for block in self._reading_order()]
        return contracted(parts, [edges[node][0] for node in self.open_indices], self.moments)

    def _reading_order(self) -> list[tuple[int, ...]]:
        """The parts but the open indices, walking each tree from one of its ends."""
        order: dict[tuple[int, ...], None] = {}

        def visit(node: int, above: int) -> None:
            if not is_open(self.marks[node]):
                order[self.blocks[self.parts[node]]] = None
            for other in sorted(self.neighbours[node], key=lambda n: (self.degrees[n], n)):
                if other != above:
                    visit(other, node)

        def end_first(node: int) -> tuple[bool, int, bool, int]:
            # Start at an open index, else at a leaf, rather a tied one.
            alone = len(self.blocks[self.parts[node]]) == 1
            return (not is_open(self.marks[node]), self.degrees[node], alone, node)

        starts = [node for node, parent in enumerate(self.parents) if parent < 0]
        for start, end in pairwise([*starts, len(self.parents)]):
            visit(min(range(start, end), key=end_first), -1)
        return list(order)

    def to_data(self) -> dict[str, Any]:
        """What JSON keeps of the value; `from_data` reads it."""
        return {"parents": self.parents, "parts": self.parts, "marks": self.marks, "moments": self.moments}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Value:
        """Read what `to_data` gave.

        Raises:
            TypeError: if it is no mapping, or holds something of another kind.
            ValueError: if something is missing, or is no value of at most 32 nodes.
        """
        data = few_nodes(data)
        if "marks" not in data or "moments" not in data:
            raise ValueError(f"data={data!r} lacks marks or moments")
        return cls(data["parents"], data["parts"], data["marks"], moments=data["moments"])

    def to_networkx(self) -> Graph:
        """The network as a `networkx.Graph`: nodes with their `part` and `mark`; the graph has `moments`.

        Example:
            >>> c_h = Value((-1, 0, 0), (0, 1, 1)).to_networkx()
            >>> sorted(c_h.edges), dict(c_h.nodes(data="part"))
            ([(0, 1), (0, 2)], {0: 0, 1: 1, 2: 1})
        """
        from taylorsgd.diagrams.graphs import network_graph

        return network_graph(self.edges, self.parts, self.marks, self.moments)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle through the constructor."""
        return Value.from_data, (self.to_data(),)


def value_of(diagram: Diagram, root_marks: Sequence[str] = (LOSS,), *, moments: bool = False) -> Value:
    """Forget the root of a diagram, keeping what it carries.

    Args:
        diagram: the diagram.
        root_marks: what each root carries: "" for the loss, an open index, or an observable's name.
        moments: whether the parts stand for moments.

    Returns:
        The value that the diagram evaluates to.
    """
    return Value(diagram.parents, diagram.parts, marks_of(diagram, root_marks), moments=moments)


def marks_of(diagram: Diagram, root_marks: Sequence[str]) -> tuple[str, ...]:
    """What every node of a diagram carries, given what its roots do; all others carry the loss."""
    carried = dict(zip(diagram.roots, root_marks, strict=True))
    return tuple(carried.get(node, LOSS) for node in range(len(diagram.parents)))


def side_by_side(left: Value, right: Value) -> Value:
    """The product of the values of two observables: the open index of the second becomes "@1".

    Example:
        >>> force = Value((-1, 0), marks=("@0", ""))
        >>> print(side_by_side(force, force))
        G^μ G^ν
    """
    shift = len(left.parents)
    parents = [*left.parents, *(p if p < 0 else p + shift for p in right.parents)]
    parts = [*((0, part) for part in left.parts), *((1, part) for part in right.parts)]
    renamed = [open_index(1) if mark == open_index(0) else mark for mark in right.marks]
    return Value(parents, parts, [*left.marks, *renamed], moments=left.moments or right.moments)


def _check_marks(marks: Sequence[str], labels: Sequence[int], neighbours: Sequence[Sequence[int]]) -> None:
    for node, mark in enumerate(marks):
        if not isinstance(mark, str):
            raise TypeError(f"marks: node {node} carries {mark!r}; a mark is a text")
        if mark == LOSS:
            continue
        if labels.count(labels[node]) > 1:
            raise ValueError(f"marks: node {node} carries {mark!r} and can't be tied; only nodes of the loss can")
        if is_open(mark) and len(neighbours[node]) != 1:
            raise ValueError(f"marks: the open index {mark!r} needs exactly one edge, not {len(neighbours[node])}")


def _centres(neighbours: Sequence[Sequence[int]]) -> list[list[int]]:
    """The one or two middle nodes of every tree, found by taking leaves away (Jordan 1869)."""
    pairs = [(node, other) for node, near in enumerate(neighbours) for other in near]
    degree = list(map(len, neighbours))
    found = []
    for tree in blocks_of(restricted_growth(components(len(neighbours), pairs))):
        remaining = set(tree)
        while len(remaining) > 2:
            leaves = [node for node in remaining if degree[node] <= 1]
            remaining.difference_update(leaves)
            for leaf in leaves:
                for node in neighbours[leaf]:
                    degree[node] -= 1
        found.append(sorted(remaining))
    return found
