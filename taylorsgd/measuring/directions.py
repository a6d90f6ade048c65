r"""How to contract a diagram whose edges carry either an eigendirection of H or the rest of the space.

With orthonormal v_1, …, v_k every edge is split, 1 = Σ_i v_i v_iᵀ + P_*. Choose which edges are *cut*, that is,
carry some v_i v_iᵀ: the others hold the diagram's nodes together in *pieces*, along which P_* is carried. A
cut edge with label i hands v_i to the nodes at both of its ends, so that

    W[r] = Π_pieces piece(labels of the cut edges at its border).

A piece is contracted by messages as in `contraction`, for all labels of its border: a node that receives
vectors v_{i_1}, …, v_{i_f} from cut edges and u_1, …, u_m from its piece sends

    grad_θ D_{v_{i_1}} … D_{v_{i_f}} D_{u_1} … D_{u_m} f (θ_0),

and two such messages l, r that meet in an edge make l·r − Σ_i (l·v_i)(v_i·r). Nothing has more than P entries for
one choice of labels. Of a vector field, and wherever ΛH is symmetric in no inner product, messages go one way only, to
the root of a diagram, and none meet.

A node alone in its part carries the mean loss l over the population. A tied node carries l_x − l at its part's
own point x: then joint cumulants are, for two and three nodes, means over x, and for more they are sums over
set partitions of such means with independent points, as in `estimators`. Where a node receives what differs
between draws, l itself is replaced by the mean over a few fresh points, a node's own. Everything is linear in every
node's f, so this changes no expectation.

This module plans; it does no arithmetic on arrays and does not know JAX.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product

from taylorsgd.diagrams.partitions import components, moebius
from taylorsgd.measuring.contraction import DiagramKey, Message, Piece, Plan, Product, Source
from taylorsgd.measuring.estimators import unshifted_partitions

__all__ = ["make_eigenplan", "open_edge", "split"]


def make_eigenplan(
    diagrams: Sequence[DiagramKey],
    *,
    eigenvectors: int,
    rest: bool,
    samples: int,
    batch: int,
    population: int,
    directed: bool = False,
) -> Plan:
    """Plan the contractions of some diagrams along eigenvectors.

    A diagram whose tied points can be enumerated, each time with the whole population, with no more work than drawing
    them is averaged over all their choices.

    Args:
        diagrams: parents, parts and marks of each.
        eigenvectors: k, how many of them a cut edge may carry.
        rest: whether the eigendirections leave a rest; without one every edge is cut.
        samples: the number of draws.
        batch: the number of fresh points that stand for the population inside a draw.
        population: the number of points.
        directed: whether messages go to roots only.

    Raises:
        NotImplementedError: for two open indices.
    """
    shares: list[tuple[Product, ...]] = []
    sweeps: dict[int, list[int]] = {}
    for position, diagram in enumerate(diagrams):
        exact = split(diagram, fresh=False, rest=rest, directed=directed)
        slots = len({group for share in exact for group in share.groups})
        if slots and population ** (slots + 1) > samples * batch:
            shares.append(split(diagram, fresh=True, rest=rest, directed=directed))
        else:
            shares.append(exact)
            if slots:
                sweeps.setdefault(slots, []).append(position)
    swept = tuple((slots, tuple(positions)) for slots, positions in sorted(sweeps.items()))
    return Plan(tuple(diagrams), tuple(shares), "centred", batch, 0, population, swept, eigenvectors)


def open_edge(diagram: DiagramKey) -> int | None:
    """The edge that ends at the open index, numbered in the order of the nodes with a parent; None without one."""
    graph = _Diagram(diagram, fresh=False, directed=False)
    return next((e for e, pair in enumerate(graph.edges) if set(pair) & set(graph.open_nodes)), None)


def split(diagram: DiagramKey, *, fresh: bool, rest: bool, directed: bool = False) -> tuple[Product, ...]:
    """Plan the contractions of one diagram: what adds up to W, for every choice of the edges that are cut.

    Args:
        diagram: its parents, parts and marks.
        fresh: whether means over fresh points stand for the population where draws differ; if not, everything
            but the points of tied parts is exact.
        rest: whether the eigendirections leave a rest; without one every edge is cut.
        directed: whether messages go to roots only: where an observable is, or else the first node.

    Raises:
        NotImplementedError: for two open indices.

    Example:
        The Hessian's trace with the noise, C_μν H^μν: a vertex with two edges to a tied pair.

        >>> shares = split(((-1, 0, 0), (0, 1, 1), ("", "", "")), fresh=True, rest=True)
        >>> [(share.cut, len(share.pieces)) for share in shares]
        [((), 1), ((0,), 2), ((1,), 2), ((0, 1), 3)]
    """
    graph = _Diagram(diagram, fresh, directed)
    if len(graph.open_nodes) > 1:
        raise NotImplementedError(
            "a value with two open indices is a P × P matrix, which is not measured without dense tensors; "
            "observe scalars of θ with Observable(s), or measure with method=Dense()"
        )
    edges = range(len(graph.edges))
    cuts = [cut for count in range(len(edges) + 1) for cut in combinations(edges, count)]
    shares = []
    for cut in cuts if rest else cuts[-1:]:
        for choice in product(*(list(unshifted_partitions(tie)) for tie in graph.ties)):
            blocks = [block for partition in choice for block in partition]
            slots = {node: slot for slot, block in enumerate(blocks) for node in block}
            sign = moebius(map(len, choice))
            shares.append(Product(sign, tuple(graph.pieces(set(cut), slots)), cut))
    return tuple(shares)


class _Diagram:
    def __init__(self, diagram: DiagramKey, fresh: bool, directed: bool) -> None:
        parents, parts, self.marks = diagram
        self.fresh = fresh
        self.edges = [(node, parent) for node, parent in enumerate(parents) if parent >= 0]
        self.nodes = range(len(parents))
        blocks = [[node for node in self.nodes if parts[node] == part] for part in dict.fromkeys(parts)]
        self.ties = [block for block in blocks if len(block) > 1]
        self.open_nodes = [node for node in self.nodes if self.marks[node].startswith("@")]
        self.onward = self._edges_to_roots() if directed else None

    def _edges_to_roots(self) -> dict[int, int]:
        """For every node but the roots the edge that leads to one; the roots come first, without."""
        tree = components(len(self.nodes), self.edges)
        roots = [
            min((n for n in self.nodes if tree[n] == label), key=lambda n: (not self.marks[n], n))
            for label in dict.fromkeys(tree)
        ]
        onward, queue = {}, list(roots)
        while queue:
            node = queue.pop()
            for e, other in self.at(node):
                if other not in roots and other not in onward:
                    onward[other] = e
                    queue.append(other)
        return onward

    def at(self, node: int) -> Iterator[tuple[int, int]]:
        """The edges at a node, and the nodes at their other ends."""
        for e, pair in enumerate(self.edges):
            if node in pair:
                yield e, pair[0] if pair[1] == node else pair[1]

    def pieces(self, cut: set[int], slots: dict[int, int]) -> Iterator[Piece]:
        """The pieces that the cut edges leave."""
        label = components(len(self.nodes), (pair for e, pair in enumerate(self.edges) if e not in cut))
        for least in dict.fromkeys(label):
            found = self._piece([node for node in self.nodes if label[node] == least], cut, slots)
            if found is not None:
                yield found

    def _piece(self, piece: Sequence[int], cut: set[int], slots: dict[int, int]) -> Piece | None:
        for node in piece:
            if node in self.open_nodes:
                if len(piece) == 1:
                    return None  # a cut edge with label i ends here, and leaves v_i
                ((_, other),) = self.at(node)
                message, edges = self._message(other, node, cut, slots, "vector")
                return Piece((message,), edges)
        if self.onward is not None:
            return self._directed_piece(piece, cut, slots, self.onward)
        if len(piece) == 1:
            (node,) = piece
            border = [e for e, _ in self.at(node)]
            # The last cut edge takes components of the gradient: cheaper than one more derivative for each label.
            return self._ended(node, cut, slots, "labels", border[-1] if border else None)
        inner = [pair for e, pair in enumerate(self.edges) if e not in cut and pair[0] in piece]

        def met(pair: tuple[int, int]) -> tuple[tuple[Message, tuple[int, ...]], ...]:
            child, parent = pair
            return (
                self._message(child, parent, cut, slots, "vector"),
                self._message(parent, child, cut, slots, "vector"),
            )

        # Where the larger of the two sides has fewest labels there is least to differentiate.
        sides = min(map(met, inner), key=lambda sides: sorted((m.labels for m, _ in sides), reverse=True))
        return Piece(tuple(m for m, _ in sides), tuple(e for _, edges in sides for e in edges))

    def _directed_piece(
        self, piece: Sequence[int], cut: set[int], slots: dict[int, int], onward: dict[int, int]
    ) -> Piece:
        """A piece that is read where its last node leaves it, or at a root."""
        (last,) = (node for node in piece if node not in onward or onward[node] in cut)
        if last in onward:
            return self._ended(last, cut, slots, "labels", onward[last])
        border = [e for e, _ in self.at(last)]
        return self._ended(last, cut, slots, "legs", border[-1] if len(piece) == 1 and border else None)

    def _ended(self, node: int, cut: set[int], slots: dict[int, int], ends: str, end: int | None) -> Piece:
        """What a node makes of all that arrives, a number for every label of an edge at its end, if any."""
        if end is None:
            message, edges = self._message(node, None, cut, slots, "number")
            return Piece((message,), edges)
        message, edges = self._message(node, None, cut - {end}, slots, ends, skip=end)
        return Piece((message,), (*edges, end))

    def _message(
        self, node: int, towards: int | None, cut: set[int], slots: dict[int, int], ends: str, skip: int | None = None
    ) -> tuple[Message, tuple[int, ...]]:
        """A node's message towards another, and the cut edges of its label axes."""
        border = tuple(e for e, _ in self.at(node) if e in cut)
        received = sorted(
            (
                self._message(other, node, cut, slots, "vector")
                for e, other in self.at(node)
                if e not in cut and e != skip and other != towards
            ),
            key=lambda pair: pair[0],
        )
        incoming = tuple(message for message, _ in received)
        edges = border + tuple(e for _, own in received for e in own)

        def sent(source: Source, *centre: Message) -> Message:
            return Message(source, incoming, ends, len(border), centre)

        if self.marks[node]:
            return sent(Source("observable", name=self.marks[node])), edges
        stands_in = self.fresh and any(message.sampled for message in incoming)
        mean = sent(Source("batch", node) if stands_in else Source("population"))
        return sent(Source("point", slots[node]), mean) if node in slots else mean, edges
