r"""Unbiased estimators: which functions of θ the nodes of a value carry in one draw.

A draw takes a few independent points. An estimator writes a value as a linear combination of *networks*, and
gives every node of a network a function f of θ, such that contracting the networks (`contraction`) yields the
value in expectation. Different parts use independent points and a contraction is linear in every f, so its
expectation is the contraction of the parts' own expectations.

**Centred** (the default). The f of a tied part have mean zero, for cumulants don't see a shift:

    population   the mean loss l over the whole population; exact
    batch        the mean loss over b fresh points: for a single node that receives sampled vectors
    point        l_x at the part's own point x: in a joint moment; and less l, for a tied node that receives exact
                 vectors only
    difference   l_x − (1/c) Σ_j l_{y_j} at the part's own points, for any other tied node
    observable   s(θ), exact

The cumulant of m variables of mean zero is their moment for m = 2, 3. For m ≥ 4 it is the sum over set
partitions into k blocks of at least two, Σ_π (−1)^{k−1} (k−1)! Π_{block} moment(block), where every block
draws its own independent points. For difference losses the additivity of cumulants is used: the joint cumulant
is κ(x part) + (−1)^m κ(y part) c^{1−m}. The second vanishes if any node is centred exactly, and otherwise

    κ(difference losses) = κ(losses) · (1 + (−1)^m c^{1−m}).

**Correlators** (Tenka, section C.6). Only batches exist, drawn anew in every draw: D groups of S points for
values of up to D nodes. For a set partition μ of a value's nodes let {x}_μ be the contraction in which the nodes
of a part carry the mean loss of one group, and ⟨x⟩_μ the product of expectations with one moment for each part.
Multiplying out the sums over points, and sorting the terms by which nodes of a part meet the same point,

    S^D E{x}_μ = Σ_{τ ≤ μ} Π_{parts p of μ} (S)_{k_p} ⟨x⟩_τ,         k_p = the number of parts of τ inside p,

so that, as (S)_k / S = (S−1)_{k−1} in falling factorials, with τ < μ the strictly finer partitions,

    ⟨x⟩_μ = S^{D−|μ|} E{x}_μ − Σ_{τ<μ} Π_p (S−1)_{k_p − 1} ⟨x⟩_τ,

a recursion down the lattice of partitions, which is solved here once for all partitions that some symmetry of
the value maps to each other. It holds for every S ≥ 1. (The paper's last example, for three nodes, has to have
⟨x⟩ instead of {x} on the right.) Cumulants are ⟨x⟩ combined by Möbius inversion, which all comes to
S^{D−|μ|} Σ_{τ≤μ} Π_p (−1)^{k_p−1} (k_p−1)! {x}_τ: the cumulants of a mean of S points are those of a point over
S^{m−1}. Every network is averaged over the D rotations of the groups: the terms that are linear in the
groups' errors then cancel from every cumulant, as they do when a part is centred. (On handwritten digits, at
equal work, the errors of the ten values of order ≤ 3 in one epoch become 0.6 to 1.2 times as large.)

**Exact**. As centred with the population for a batch, but the points are not drawn: all choices are listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import perm, prod

from taylorsgd.diagrams import Value
from taylorsgd.diagrams.partitions import moebius, set_partitions
from taylorsgd.diagrams.values import LOSS
from taylorsgd.measuring.contraction import Message, Piece, Product, Source

__all__ = ["Centred", "Correlators", "Estimator", "Root", "correlator", "neighbours_in", "unshifted_partitions"]

Root = tuple[int, ...]
"""Where a tree is rooted: at a node, or at an edge (for an open index, from the other node to it)."""


@dataclass(frozen=True)
class Centred:
    """Parts centred by the mean loss.

    Attributes:
        batch: the points in a batch.
        population: the number of points in the population; None for a sampler.
    """

    batch: int
    population: int | None

    @property
    def centring(self) -> int:
        """How many points a difference loss is centred with.

        It then reads b points, like a batch, and the two share compiled code. Two points are the least: with
        one a difference would be symmetric, and have no odd cumulants.
        """
        return max(self.batch - 1, 2)

    def networks(self, value: Value) -> Mapping[Value, Fraction]:
        """The value itself."""
        return {value: Fraction(1)}

    def products(self, network: Value, roots: Sequence[Root]) -> tuple[Product, ...]:
        """One product for each way to split the parts into blocks whose moments make up the cumulants."""
        ties = [block for block in network.blocks if len(block) > 1]
        whole = self.population is not None and self.population <= self.batch
        found = []
        scale = Fraction(1)
        for position, refinement in enumerate(
            product(*([(block,)] if network.moments else unshifted_partitions(block) for block in ties))
        ):
            blocks = [block for partition in refinement for block in partition]
            writer = _CentredWriter(network, blocks, self.population is not None, whole)
            trees = tuple(Piece(writer.answer(root)) for root in roots)
            if position == 0:  # which nodes are exactly centred depends on the roots only
                for block in ties:
                    if {writer.kinds[node] for node in block} == {"difference"}:
                        size = len(block)
                        scale /= 1 + Fraction((-1) ** size, self.centring ** (size - 1))
            found.append(Product(float(moebius(map(len, refinement)) * scale), trees))
        return tuple(found)


@dataclass(frozen=True)
class Correlators:
    """Multi-point correlators from batches alone.

    Attributes:
        batch: S, the points in a group.
        groups: D, the number of groups: at least the number of nodes of the loss in a value.
    """

    batch: int
    groups: int

    @property
    def centring(self) -> int:
        """Nothing is centred."""
        return 0

    def networks(self, value: Value) -> Mapping[Value, Fraction]:
        """The {x}_τ that a value is made of."""
        total: dict[Value, Fraction] = {}
        for factor, moment in value.in_moments():
            for network, weight in correlator(moment, self.batch).items():
                total[network] = total.get(network, Fraction(0)) + factor * weight
        return {network: weight for network, weight in total.items() if weight}

    def products(self, network: Value, roots: Sequence[Root]) -> tuple[Product, ...]:
        """The network with its parts on each rotation of the groups."""
        parts = {node: i for i, block in enumerate(_loss_blocks(network)) for node in block}
        turns = self.groups if parts else 1
        return tuple(
            Product(1 / turns, tuple(Piece(writer.answer(root)) for root in roots))
            for turn in range(turns)
            for writer in [_BatchWriter(network, {n: (p + turn) % self.groups for n, p in parts.items()})]
        )


Estimator = Centred | Correlators
"""How values become linear combinations of networks, and networks expectations of products."""


@lru_cache(maxsize=4096)
def correlator(moment: Value, batch: int) -> Mapping[Value, Fraction]:
    """Write ⟨x⟩_μ, a value in moments, as a linear combination of the expectations of {x}_τ.

    Args:
        moment: the value; its parts are μ.
        batch: S ≥ 1, the points in a group.

    Returns:
        The coefficient of {x}_τ for every τ, itself a value in moments whose parts are τ.

    Example:
        >>> two = correlator(Value((-1, 0), (0, 0), moments=True), 5)      # E[∇l·∇l]: equation (7)
        >>> [(str(value), int(weight)) for value, weight in two.items()]
        [('E[∇_μ l ∇^μ l]', 5), ('G_μ G^μ', -4)]

    Source: Tenka, section C.6.
    """
    blocks = _loss_blocks(moment)
    nodes = sum(map(len, blocks))
    found = {moment: Fraction(batch ** (nodes - len(blocks)))}
    for refinement in product(*(list(set_partitions(block)) for block in blocks)):
        if all(len(partition) == 1 for partition in refinement):
            continue  # not strictly finer
        weight = prod(perm(batch - 1, len(partition) - 1) for partition in refinement)
        if not weight:
            continue
        parts = [-1 - node for node in range(len(moment.parents))]
        for label, part in enumerate(part for partition in refinement for part in partition):
            for node in part:
                parts[node] = label
        finer = Value(moment.parents, parts, moment.marks, moments=True)
        for network, share in correlator(finer, batch).items():
            found[network] = found.get(network, Fraction(0)) - weight * share
    return found


class _Writer:
    """Writes the messages of one network."""

    def __init__(self, network: Value) -> None:
        self.network = network
        self.neighbours = neighbours_in(network)

    def answer(self, root: Root) -> tuple[Message, ...]:
        """The messages that make the answer of a tree: a node's number, or what meets in an edge."""
        if len(root) == 1:
            return (self._message(root[0], None),)
        tail, head = root
        if self.network.marks[head].startswith("@"):
            return (self._message(tail, head),)
        return (self._message(tail, head), self._message(head, tail))

    def _message(self, node: int, towards: int | None) -> Message:
        incoming = tuple(sorted(self._message(n, node) for n in self.neighbours[node] if n != towards))
        ends = "number" if towards is None else "vector"
        mark = self.network.marks[node]
        if mark != LOSS:
            return Message(Source("observable", name=mark), incoming, ends)
        kind, slot = self.kind(node, any(message.sampled for message in incoming))
        if kind == "centred":
            mean = Message(Source("population"), incoming, ends)
            return Message(Source("point", slot), incoming, ends, centre=(mean,))
        return Message(Source(kind, slot), incoming, ends)

    def kind(self, node: int, receives_samples: bool) -> tuple[str, int]:
        """The f of a node of the loss, and the slot of its points; "centred" is l_x less the population's mean."""
        raise NotImplementedError


class _CentredWriter(_Writer):
    def __init__(self, network: Value, blocks: Sequence[Sequence[int]], has_population: bool, whole: bool) -> None:
        super().__init__(network)
        self.slots = {node: slot for slot, block in enumerate(blocks) for node in block}
        self.has_population = has_population
        self.whole = whole
        self.batches = 0
        self.kinds: dict[int, str] = {}

    def kind(self, node: int, receives_samples: bool) -> tuple[str, int]:
        exact = self.has_population and (self.whole or not receives_samples)
        slot = self.slots.get(node)
        if slot is None:
            self.kinds[node] = "population" if exact else "batch"
            self.batches += not exact
            return self.kinds[node], -1 if exact else self.batches - 1
        self.kinds[node] = "point" if self.network.moments else "centred" if exact else "difference"
        return self.kinds[node], slot


class _BatchWriter(_Writer):
    def __init__(self, network: Value, slots: Mapping[int, int]) -> None:
        super().__init__(network)
        self.slots = slots

    def kind(self, node: int, receives_samples: bool) -> tuple[str, int]:
        return "batch", self.slots[node]


def unshifted_partitions(block: Sequence[int]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """The partitions that make a joint cumulant of variables of mean zero: into blocks of two and more."""
    return (partition for partition in set_partitions(block) if all(len(part) > 1 for part in partition))


def _loss_blocks(value: Value) -> list[tuple[int, ...]]:
    return [block for block in value.blocks if value.marks[block[0]] == LOSS]


def neighbours_in(value: Value) -> list[list[int]]:
    """The neighbours of every node."""
    neighbours: list[list[int]] = [[] for _ in value.parents]
    for child, parent in value.edges:
        neighbours[child].append(parent)
        neighbours[parent].append(child)
    return neighbours
