r"""How to contract a value without ever building a tensor: messages along the edges of a tree.

A value is a forest whose nodes carry derivatives of functions f of θ. Pick a root in every tree. A node of
degree k that has received tangent vectors v_1, …, v_{k−1} from its other neighbours sends on the vector

    grad_θ (D_{v_1} … D_{v_{k−1}} f)(θ_0),

and a node at the root yields the number D_{v_1} … D_{v_k} f(θ_0). An edge may be the root as well: then the
two vectors that meet in it are multiplied. A tree with an open index is rooted there, and its answer is a
vector like θ. Nothing has more than P entries.

Which f a node carries decides how expectations and cumulants arise, without bias, as a mean over draws:

    population   the mean loss l over the whole population; exact
    batch        the mean loss over b fresh points: for a single node that receives sampled vectors
    centred      l_x − l at the part's own point x, for a tied node that receives exact vectors only
    difference   l_x − (1/c) Σ_j l_{y_j} at the part's own points, for any other tied node
    point        l_x, for a node in a joint moment
    observable   s(θ), exact

Different parts use independent points, and a contraction is linear in every f, so its expectation is the
contraction of the parts' own expectations. For these the additivity of cumulants is used: the f of a part
have mean zero, and their joint cumulant is κ(x part) + (−1)^m κ(y part) c^{1−m}. The second vanishes if any
node is centred exactly, and otherwise

    κ(difference losses) = κ(losses) · (1 + (−1)^m c^{1−m}).

The cumulant of m variables of mean zero is their moment for m = 2, 3. For m ≥ 4 it is the sum over set
partitions into k blocks of at least two, Σ_π (−1)^{k−1} (k−1)! Π_{block} moment(block), where every block
draws its own independent points. (Tenka, sections C.3 and C.6, where moments are estimated from disjoint
batches instead.)

This module plans; it does no arithmetic on arrays and does not know JAX.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from math import factorial, prod

from taylorsgd.diagrams import Value
from taylorsgd.diagrams.partitions import set_partitions

__all__ = ["Message", "Plan", "Product", "Source", "make_plan"]


@dataclass(frozen=True, order=True)
class Source:
    """The function f that a node carries.

    Attributes:
        kind: "population", "batch", "centred", "difference", "point" or "observable".
        slot: which of the independent points of a draw it is evaluated at; −1 for none.
        name: the mark of an observable.
    """

    kind: str
    slot: int = -1
    name: str = ""

    @property
    def groups(self) -> tuple[tuple[str, int], ...]:
        """The groups of points it reads: x (a tied part's one point), y (what centres it), b (a batch)."""
        letters = {"centred": "x", "point": "x", "difference": "xy", "batch": "b"}.get(self.kind, "")
        return tuple((letter, self.slot) for letter in letters)


@dataclass(frozen=True, order=True)
class Message:
    """What a node sends: a vector grad D_{v_1} … D_{v_j} f, or at a root the number D_{v_1} … D_{v_k} f.

    Attributes:
        source: the node's f.
        incoming: the messages v_1, v_2, … in canonical order; derivatives commute.
        scalar: whether it is a number.
    """

    source: Source
    incoming: tuple[Message, ...]
    scalar: bool

    @cached_property
    def sampled(self) -> bool:
        """Whether it differs from draw to draw."""
        return bool(self.source.groups) or any(message.sampled for message in self.incoming)

    @cached_property
    def centre(self) -> Message | None:
        """The mean over the population that a centred source has subtracted."""
        return (
            Message(Source("population"), self.incoming, self.scalar)
            if self.source.kind == "centred"
            else None
        )

    @property
    def needs(self) -> tuple[Message, ...]:
        """The messages that must be known first."""
        return self.incoming if self.centre is None else (*self.incoming, self.centre)

    def cost(self, batch: int, centring: int) -> int:
        """The work of one draw in units of one evaluation of one point's loss, roughly."""
        if not self.sampled:
            return 0  # once for all draws
        points = {"difference": 1 + centring, "batch": batch, "population": batch}.get(self.source.kind, 1)
        return points * 2 ** len(self.incoming) * (1 if self.scalar else 3)


@dataclass(frozen=True)
class Product:
    """One product whose expectation, times the coefficient, is a share of a value.

    Attributes:
        coefficient: a number.
        trees: for every tree its answer: one message, or two whose inner product it is.
    """

    coefficient: float
    trees: tuple[tuple[Message, ...], ...]


@dataclass(frozen=True)
class Plan:
    """What to evaluate for some values.

    Attributes:
        values: the values.
        products: for each value the products that its estimate adds up.
        batch: b, the points in a batch.
        centring: c, the points that a difference loss is centred with.
    """

    values: tuple[Value, ...]
    products: tuple[tuple[Product, ...], ...]
    batch: int
    centring: int

    @cached_property
    def steps(self) -> tuple[Message, ...]:
        """All messages, each after those that it needs."""
        order: dict[Message, None] = {}

        def visit(message: Message) -> None:
            if message not in order:
                for needed in message.needs:
                    visit(needed)
                order[message] = None

        for one in self.products:
            for item in one:
                for tree in item.trees:
                    for message in tree:
                        visit(message)
        return tuple(order)

    @cached_property
    def sampled(self) -> tuple[int, ...]:
        """The positions of the values that differ from draw to draw; the others are exact."""
        return tuple(
            i
            for i, one in enumerate(self.products)
            if any(message.sampled for item in one for tree in item.trees for message in tree)
        )

    @cached_property
    def groups(self) -> dict[tuple[str, int], int]:
        """The groups of points that one draw reads, with the number of points in each."""
        widths = {"x": 1, "y": self.centring, "b": self.batch}
        return {group: widths[group[0]] for group in sorted({g for m in self.steps for g in m.source.groups})}


@lru_cache(maxsize=256)
def make_plan(values: tuple[Value, ...], *, batch: int, population: int | None) -> Plan:
    """Plan the unbiased estimates of some values.

    Every tree is rooted where one draw costs least, counting what earlier values need anyway as free.

    Args:
        values: the values to estimate, in cumulants or moments.
        batch: b ≥ 1, the points that stand for an expectation inside a draw. A population of at most b points
            is used as a whole instead.
        population: the number of points in the population; None for a sampler.

    Returns:
        A plan.

    Raises:
        NotImplementedError: if a value has two open indices: it is a P × P matrix.

    Example:
        >>> from taylorsgd.diagrams import Value
        >>> hessian_trace = Value((-1, 0, 0), (0, 1, 1))      # C_μν H^μν
        >>> plan = make_plan((hessian_trace,), batch=4, population=1000)
        >>> [message.source.kind for message in plan.steps]
        ['population', 'centred', 'batch']
    """
    # A difference loss then reads b points, like a batch, and the two share compiled code. Two points to
    # centre with are the least: with one a difference would be symmetric, and have no odd cumulants.
    planner = _Planner(batch, max(batch - 1, 2), population)
    return Plan(values, tuple(planner.products(value) for value in values), batch, planner.centring)


class _Planner:
    """Roots the trees of one value after another, and remembers the messages that are wanted already."""

    def __init__(self, batch: int, centring: int, population: int | None) -> None:
        self.batch = batch
        self.centring = centring
        self.has_population = population is not None
        self.whole = population is not None and population <= batch
        self.wanted: set[Message] = set()

    def products(self, value: Value) -> tuple[Product, ...]:
        if len(value.open_indices) > 1:
            raise NotImplementedError(
                f"{value} has two open indices and is a P × P matrix; measuring it needs dense tensors. "
                "Observe scalars of θ with Observable(s), or use evaluate() on a FiniteLandscape"
            )
        ties = [block for block in value.blocks if len(block) > 1]
        trees = list(_trees(value))
        neighbours = _neighbours(value)
        first = _Builder(self, value, neighbours, dict(_slots(ties)))
        roots = []
        for tree in trees:
            roots.append(self._best_root(first, tree))
            first.answer(roots[-1])
        scale = 1.0
        for block in ties:
            if {first.kinds[node] for node in block} == {"difference"}:
                scale /= 1 + (-1) ** len(block) * self.centring ** (1 - len(block))
        found = []
        for refinement in product(*(_zero_mean_partitions(block, value.moments) for block in ties)):
            blocks = [block for partition in refinement for block in partition]
            sign = prod((-1) ** (len(part) - 1) * factorial(len(part) - 1) for part in refinement)
            builder = _Builder(self, value, neighbours, dict(_slots(blocks)))
            found.append(Product(sign * scale, tuple(builder.answer(root) for root in roots)))
        self.wanted.update(_closure([message for item in found for tree in item.trees for message in tree]))
        return tuple(found)

    def _best_root(self, builder: _Builder, tree: Sequence[int]) -> tuple[int, ...]:
        """The node, or the edge, at which contracting a tree adds least work."""
        marks, degrees = builder.value.marks, builder.value.degrees
        for node in tree:
            if marks[node].startswith("@"):
                (other,) = builder.neighbours[node]
                return (other, node)  # what the neighbour sends is the answer
        edges = [(a, b) for a in tree for b in builder.neighbours[a] if a < b]

        def cost(root: tuple[int, ...]) -> int:
            new = _closure(builder.fork().answer(root)) - self.wanted
            return sum(message.cost(self.batch, self.centring) for message in new)

        return min([*edges, *((node,) for node in sorted(tree, key=lambda n: degrees[n]))], key=cost)


class _Builder:
    """Writes the messages of one value for one choice of points."""

    def __init__(
        self, planner: _Planner, value: Value, neighbours: Sequence[Sequence[int]], slots: dict[int, int]
    ) -> None:
        self.planner = planner
        self.value = value
        self.neighbours = neighbours
        self.slots = slots
        self.batches = 0
        self.kinds: dict[int, str] = {}

    def fork(self) -> _Builder:
        """A copy to try something with."""
        copy = _Builder(self.planner, self.value, self.neighbours, self.slots)
        copy.batches = self.batches
        return copy

    def answer(self, root: tuple[int, ...]) -> tuple[Message, ...]:
        """The messages that make the answer of a tree: a node's number, or what meets in an edge."""
        if len(root) == 1:
            return (self._message(root[0], None),)
        tail, head = root
        if self.value.marks[head].startswith("@"):
            return (self._message(tail, head),)
        return (self._message(tail, head), self._message(head, tail))

    def _message(self, node: int, towards: int | None) -> Message:
        incoming = tuple(sorted(self._message(n, node) for n in self.neighbours[node] if n != towards))
        source = self._source(node, any(message.sampled for message in incoming))
        self.kinds[node] = source.kind
        return Message(source, incoming, towards is None)

    def _source(self, node: int, receives_samples: bool) -> Source:
        if self.value.marks[node]:
            return Source("observable", name=self.value.marks[node])
        exact = self.planner.has_population and (self.planner.whole or not receives_samples)
        slot = self.slots.get(node)
        if slot is None:
            if exact:
                return Source("population")
            self.batches += 1
            return Source("batch", self.batches - 1)
        if self.value.moments:
            return Source("point", slot)
        return Source("centred" if exact else "difference", slot)


def _zero_mean_partitions(block: tuple[int, ...], moments: bool) -> list[tuple[tuple[int, ...], ...]]:
    """The partitions that make a joint cumulant of variables of mean zero; a moment stays whole."""
    if moments:
        return [(block,)]
    return [partition for partition in set_partitions(block) if all(len(part) > 1 for part in partition)]


def _slots(blocks: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    for slot, block in enumerate(blocks):
        for node in block:
            yield node, slot


def _closure(messages: Sequence[Message]) -> set[Message]:
    found: set[Message] = set()
    waiting = list(messages)
    while waiting:
        message = waiting.pop()
        if message not in found:
            found.add(message)
            waiting += message.needs
    return found


def _neighbours(value: Value) -> list[list[int]]:
    neighbours: list[list[int]] = [[] for _ in value.parents]
    for child, parent in value.edges:
        neighbours[child].append(parent)
        neighbours[parent].append(child)
    return neighbours


def _trees(value: Value) -> Iterator[list[int]]:
    """The nodes of each tree; parents come before their children, and a tree's nodes are contiguous."""
    tree: list[int] = []
    for node, parent in enumerate(value.parents):
        if parent < 0 and tree:
            yield tree
            tree = []
        tree.append(node)
    yield tree
