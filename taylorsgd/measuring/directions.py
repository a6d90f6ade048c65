r"""How to contract a diagram whose edges carry either an eigendirection of H or the rest of the space.

With orthonormal v_1, …, v_k every edge is split, 1 = Σ_i v_i v_iᵀ + P_*. Choose which edges are *cut*, that is,
carry some v_i v_iᵀ: the others hold the diagram's nodes together in *pieces*, along which P_* is carried. A
cut edge with label i hands v_i to the nodes at both of its ends, so that

    W[r] = Π_pieces piece(labels of the cut edges at its border).

A piece is contracted by messages as in `contraction`, for all labels of its border: a node that receives
vectors v_{i_1}, …, v_{i_f} from cut edges and u_1, …, u_m from its piece sends

    grad_θ D_{v_{i_1}} … D_{v_{i_f}} D_{u_1} … D_{u_m} f (θ_0),

and two such messages l, r that meet in an edge make l·r − Σ_i (l·v_i)(v_i·r). Nothing has more than P entries for
one choice of labels.

A node alone in its part carries the mean loss l over the population. A tied node carries l_x − l at its part's
own point x: then joint cumulants are, for two and three nodes, means over x, and for more they are sums over
set partitions of such means with independent points, as in `contraction`. Where a node receives what differs
between draws, l itself is replaced by the mean over a few fresh points, a node's own. Everything is linear in every
node's f, so this changes no expectation.

This module plans; it does no arithmetic on arrays and does not know JAX.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from math import factorial, prod

from taylorsgd.diagrams.partitions import set_partitions
from taylorsgd.lowering.networks import DiagramKey

__all__ = ["Message", "Piece", "Share", "Split", "split"]


@dataclass(frozen=True, order=True)
class Message:
    """What a node sends, for all labels of the cut edges behind it.

    Attributes:
        kind: what f is: "population", "point" (l_x), "fresh" (the mean of a few fresh points), or "observable".
        place: which point, which fresh points, or which observable.
        cuts: f, how many cut edges hand eigenvectors to the node.
        incoming: what the node receives from its piece.
        ends: "vector" for a gradient; "labels" for its components along v_1, …, v_k, for one more cut edge;
            "number" for f itself, of a node without edges.
        centre: what is subtracted: the same message with the mean loss for f.
    """

    kind: str
    place: str
    cuts: int
    incoming: tuple[Message, ...]
    ends: str
    centre: Message | None = None

    @cached_property
    def sampled(self) -> bool:
        """Whether it differs between draws."""
        return (
            self.kind in ("point", "fresh")
            or any(message.sampled for message in self.incoming)
            or (self.centre is not None and self.centre.sampled)
        )

    @cached_property
    def labels(self) -> int:
        """How many label axes it has, before that of `ends`."""
        return self.cuts + sum(message.labels for message in self.incoming)

    @property
    def needs(self) -> tuple[Message, ...]:
        """The messages that must be known first."""
        return self.incoming if self.centre is None else (*self.incoming, self.centre)


@dataclass(frozen=True)
class Piece:
    """One piece of a diagram.

    Attributes:
        messages: one, or two that meet in an edge.
        edges: the cut edges of its label axes, those of the first message first.
        open: whether it is a vector in the rest, for an open index.
    """

    messages: tuple[Message, ...]
    edges: tuple[int, ...]
    open: bool = False


@dataclass(frozen=True)
class Share:
    """Some pieces whose product, averaged over draws, is a share of the entries of W with certain cut edges.

    Attributes:
        cut: the cut edges, ascending.
        sign: an integer factor.
        pieces: the pieces.
    """

    cut: tuple[int, ...]
    sign: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Split:
    """All of W for one diagram.

    Attributes:
        edges: the number of edges.
        open: the edge that ends at the open index, or None.
        points: the number of independent points that a draw needs.
        shares: what adds up to W.
    """

    edges: int
    open: int | None
    points: int
    shares: tuple[Share, ...]


def split(key: DiagramKey, *, fresh: bool, rest: bool) -> Split:
    """Plan the contractions of a diagram.

    Args:
        key: its parents, parts and marks.
        fresh: whether means over fresh points stand for the population where draws differ; if not, everything
            but the points of tied parts is exact.
        rest: whether the eigendirections leave a rest; without one every edge is cut.

    Returns:
        The plan.

    Raises:
        NotImplementedError: for two open indices.

    Example:
        The Hessian's trace with the noise, C_μν H^μν: a vertex with two edges to a tied pair.

        >>> plan = split(((-1, 0, 0), (0, 1, 1), ("", "", "")), fresh=True, rest=True)
        >>> [(share.cut, len(share.pieces)) for share in plan.shares]
        [((), 1), ((0,), 2), ((1,), 2), ((0, 1), 3)]
        >>> plan.points
        1
    """
    diagram = _Diagram(key, fresh)
    if len(diagram.open_nodes) > 1:
        raise NotImplementedError(
            "a value with two open indices is a P × P matrix, which is not measured without dense tensors; "
            "observe scalars of θ with Observable(s), or measure without eigenpairs="
        )
    ties = [block for block in diagram.blocks if len(block) > 1]
    refinements = [
        [blocks for blocks in set_partitions(tie) if all(len(block) > 1 for block in blocks)] for tie in ties
    ]
    edges = range(len(diagram.edges))
    cuts = [cut for count in range(len(edges) + 1) for cut in combinations(edges, count)]
    shares, points = [], 0
    for cut in cuts if rest else cuts[-1:]:
        for choice in product(*refinements):
            blocks = [block for partition in choice for block in partition]
            sign = prod((-1) ** (len(one) - 1) * factorial(len(one) - 1) for one in choice)
            slots = {node: slot for slot, block in enumerate(blocks) for node in block}
            shares.append(Share(cut, sign, tuple(diagram.pieces(set(cut), slots))))
            points = max(points, len(blocks))
    end = next((e for e, pair in enumerate(diagram.edges) if set(pair) & set(diagram.open_nodes)), None)
    return Split(len(edges), end, points, tuple(shares))


class _Diagram:
    def __init__(self, key: DiagramKey, fresh: bool) -> None:
        parents, parts, self.marks = key
        self.fresh = fresh
        self.edges = [(node, parent) for node, parent in enumerate(parents) if parent >= 0]
        self.nodes = range(len(parents))
        self.blocks = [
            tuple(node for node in self.nodes if parts[node] == part) for part in dict.fromkeys(parts)
        ]
        self.open_nodes = [node for node in self.nodes if self.marks[node].startswith("@")]

    def at(self, node: int) -> Iterator[tuple[int, int]]:
        """The edges at a node, and the nodes at their other ends."""
        for e, pair in enumerate(self.edges):
            if node in pair:
                yield e, pair[0] if pair[1] == node else pair[1]

    def pieces(self, cut: set[int], slots: dict[int, int]) -> Iterator[Piece]:
        """The pieces that the cut edges leave."""
        left = set(self.nodes)
        while left:
            piece = [min(left)]
            for node in piece:  # grows while it is read
                piece += [other for e, other in self.at(node) if e not in cut and other not in piece]
            left -= set(piece)
            found = self._piece(piece, cut, slots)
            if found is not None:
                yield found

    def _piece(self, piece: Sequence[int], cut: set[int], slots: dict[int, int]) -> Piece | None:
        for node in piece:
            if node in self.open_nodes:
                if len(piece) == 1:
                    return None  # a cut edge with label i ends here, and leaves v_i
                ((_, other),) = self.at(node)
                message, edges = self._message(other, node, cut, slots, "vector")
                return Piece((message,), edges, open=True)
        if len(piece) == 1:
            (node,) = piece
            border = [e for e, _ in self.at(node)]
            if not border:
                return Piece((self._message(node, None, cut, slots, "number")[0],), ())
            # The last cut edge takes components of the gradient: cheaper than one more derivative for each label.
            message, edges = self._message(node, None, cut - {border[-1]}, slots, "labels", skip=border[-1])
            return Piece((message,), (*edges, border[-1]))
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

    def _message(
        self,
        node: int,
        towards: int | None,
        cut: set[int],
        slots: dict[int, int],
        ends: str,
        skip: int | None = None,
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
        if self.marks[node]:
            return Message("observable", self.marks[node], len(border), incoming, ends), edges
        stands_in = self.fresh and any(message.sampled for message in incoming)
        mean = Message(
            "fresh" if stands_in else "population",
            str(node) if stands_in else "",
            len(border),
            incoming,
            ends,
        )
        if node not in slots:
            return mean, edges
        return Message("point", str(slots[node]), len(border), incoming, ends, centre=mean), edges
