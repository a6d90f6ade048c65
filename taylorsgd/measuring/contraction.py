r"""How to contract a value without ever building a tensor: messages along the edges of a tree.

A value is a forest whose nodes carry derivatives of functions f of θ. Pick a root in every tree. A node of
degree k that has received tangent vectors v_1, …, v_{k−1} from its other neighbours sends on the vector

    grad_θ (D_{v_1} … D_{v_{k−1}} f)(θ_0),

and a node at the root yields the number D_{v_1} … D_{v_k} f(θ_0). An edge may be the root as well: then the
two vectors that meet in it are multiplied. A tree with an open index is rooted there, and its answer is a
vector like θ. Nothing has more than P entries.

**Stages.** All messages with the same f that are ready at the same time are one stage, and are evaluated
together: D_v, D_v D_v, D_v D_w, … share what they have in common, as in Taylor mode.

**What a stage costs.** Let a layer multiply its input with its weights. Differentiated along v_1, …, v_j in
forward mode it does one such product for the value, and for every set S of the directions (a direction may
come several times, and equal sets count once) one that carries D_S of the input, and one for each different
direction in S; nothing more, for θ moves along straight lines. So with |S| the different directions in S,

    forward products of a point = Σ_S (1 + |S|),    S over all subsets of the directions of all messages,

and reverse mode does two more for each. A gradient is 3 products, a Hessian times a vector 9, ∇D_v D_v f 15.
A plan counts in gradient-equivalents: products / 3.

**What is swept.** A product that reads a single point x of a population, and otherwise only what is exact, such as
κ(∇_μ∇_ν l, ∇^ν l) G^μ, has its expectation taken exactly: one sweep over the population evaluates it at every point.
A sweep over two points or more takes all their choices.

**Labels.** Where edges are cut and carry an eigenvector v_i of H each (`directions`), a node receives some of v_1, …,
v_k besides its messages. It sends one vector for every choice of their labels: with f labels behind it, k^f.

This module describes plans; it does no arithmetic on arrays and does not know JAX.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

__all__ = ["SWEPT", "DiagramKey", "Message", "Piece", "Plan", "Product", "Source", "Stage", "Work"]

SWEPT = ("x", 0)
"""The group of points through which a sweep takes the population."""
Work = tuple["Stage", tuple["Message", ...], bool, int]
"""A share of the work: in which stage, along which directions, whether in reverse mode, and for how many labels."""
DiagramKey = tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...]]
"""A diagram with what its nodes carry: parents, parts and marks."""


@dataclass(frozen=True, order=True)
class Source:
    """The function f that a node carries.

    Attributes:
        kind: "population", "batch", "difference", "point" or "observable", as in `estimators`; "eigenvector" for
            what a cut edge hands to a node instead of a message.
        slot: which of the independent points of a draw it is evaluated at; −1 for none.
        name: the mark of an observable.
    """

    kind: str
    slot: int = -1
    name: str = ""

    @property
    def groups(self) -> tuple[tuple[str, int], ...]:
        """The groups of points it reads: x (a tied part's one point), y (what centres it), b (a batch)."""
        letters = {"point": "x", "difference": "xy", "batch": "b"}.get(self.kind, "")
        return tuple((letter, self.slot) for letter in letters)


@dataclass(frozen=True, order=True)
class Stage:
    """Messages that are evaluated together: one f, and the same number of messages before.

    Attributes:
        level: how many messages in a row, exact or sampled ones, come before.
        source: the f.
        sampled: whether the messages differ from draw to draw.
    """

    level: int
    source: Source
    sampled: bool


@dataclass(frozen=True, order=True)
class Message:
    """What a node sends: a vector grad D_{v_1} … D_{v_j} f, or at a root the number D_{v_1} … D_{v_k} f.

    Attributes:
        source: the node's f.
        incoming: the messages v_1, v_2, … in canonical order; derivatives commute.
        ends: "vector" for a gradient, "number" for f itself at a root; for one more cut edge a gradient's components,
            "labels" as what leaves a node is read, "legs" along what enters it.
        cuts: how many cut edges hand eigenvectors to the node.
        centre: what is taken off, if anything: the same message with a mean for f.
    """

    source: Source
    incoming: tuple[Message, ...]
    ends: str = "vector"
    cuts: int = 0
    centre: tuple[Message, ...] = ()

    def __hash__(self) -> int:
        """Hash the fields, once: messages are nested."""
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.source, self.incoming, self.ends, self.cuts, self.centre))

    @property
    def scalar(self) -> bool:
        """Whether it is a number, but for its labels."""
        return self.ends == "number"

    @cached_property
    def sampled(self) -> bool:
        """Whether it differs from draw to draw."""
        return bool(self.source.groups) or any(message.sampled for message in self.needs)

    @cached_property
    def labels(self) -> int:
        """How many cut edges are behind it, which give it one axis each, before that of `ends`."""
        return self.cuts + sum(message.labels for message in self.incoming)

    @cached_property
    def stage(self) -> Stage:
        """The stage that evaluates it."""
        before = (message.stage.level for message in self.incoming if message.sampled == self.sampled)
        return Stage(1 + max(before, default=0), self.source, self.sampled)

    @property
    def needs(self) -> tuple[Message, ...]:
        """The messages that must be known first."""
        return self.incoming + self.centre

    @cached_property
    def work(self) -> tuple[Work, ...]:
        """What evaluating it takes, its needs not counted: one entry for each set of its directions."""
        modes = (False,) if self.scalar else (False, True)
        handed = tuple(Message(Source("eigenvector", cut), ()) for cut in range(self.cuts))
        return tuple(
            (self.stage, along, mode, self.labels) for along in _subsets(self.incoming + handed) for mode in modes
        )


def _subsets(messages: tuple[Message, ...]) -> Iterator[tuple[Message, ...]]:
    """The different subsets of messages in canonical order, where one may occur several times."""
    different = list(dict.fromkeys(messages))
    for counts in product(*(range(messages.count(message) + 1) for message in different)):
        yield tuple(m for m, count in zip(different, counts, strict=True) for _ in range(count))


def _with_needs(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Some messages and all that they need, each after those that it needs."""
    order: dict[Message, None] = {}

    def visit(message: Message) -> None:
        if message not in order:
            for needed in message.needs:
                visit(needed)
            order[message] = None

    for message in messages:
        visit(message)
    return tuple(order)


@dataclass(frozen=True)
class Piece:
    """What holds together where edges are cut; a whole tree if none is.

    Attributes:
        messages: its answer: one message, or two whose inner product it is.
        edges: the cut edges of its label axes, those of the first message first.
    """

    messages: tuple[Message, ...]
    edges: tuple[int, ...] = ()

    @property
    def open(self) -> bool:
        """Whether its answer is a vector, for an open index."""
        return len(self.messages) == 1 and self.messages[0].ends == "vector"


@dataclass(frozen=True)
class Product:
    """One product whose expectation, times the coefficient, is a share of a value.

    Attributes:
        coefficient: a number.
        pieces: what is multiplied: for every tree its answer, or what cut edges leave of the trees.
        cut: the edges that carry an eigenvector, ascending.
    """

    coefficient: float
    pieces: tuple[Piece, ...]
    cut: tuple[int, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages that are multiplied."""
        return tuple(message for piece in self.pieces for message in piece.messages)

    @property
    def groups(self) -> frozenset[tuple[str, int]]:
        """All groups of points that it reads."""
        return frozenset(g for m in _with_needs(self.messages) for g in m.source.groups)

    @property
    def reads_one_point(self) -> bool:
        """Whether one point, the first slot's, is all that it reads, if anything."""
        return self.groups <= {SWEPT}


@dataclass(frozen=True, eq=False)
class Plan:
    """What measuring some values will do; print it to see what that costs.

    The table has one row for each message: what is differentiated, over which points, along which other
    messages, how often the result is used, and what it adds to the work in gradient-equivalents: 1 is the
    gradient of the loss of one point. The lines below add up what is done once and what in every draw. That
    is a count of multiplications (see the head of this module): of a dense layer, no activations.

    Attributes:
        values: the `Value`s, or of resummed ones the diagrams.
        products: for each value the products that its estimate adds up.
        estimator: "centred", "correlators" or "exact".
        batch: b, the points in a batch.
        centring: c, the points that a difference loss is centred with.
        population: the number of points in the population; None for a sampler.
        sweeps: numbers of points, and the positions of the values that are averaged over all choices of so many.
        eigenvectors: k, how many of them a cut edge may carry; 0 where no edge is ever cut.
        repeats: how often all of this is done: once for every component along given directions.
    """

    values: tuple[Any, ...]
    products: tuple[tuple[Product, ...], ...]
    estimator: str
    batch: int
    centring: int
    population: int | None
    sweeps: tuple[tuple[int, tuple[int, ...]], ...] = ()
    eigenvectors: int = 0
    repeats: int = 1

    @cached_property
    def steps(self) -> tuple[Message, ...]:
        """All messages, each after those that it needs."""
        return self._behind(range(len(self.values)))

    def _behind(self, positions: Iterable[int]) -> tuple[Message, ...]:
        return _with_needs(self.answers(positions))

    def answers(self, positions: Iterable[int]) -> tuple[Message, ...]:
        """The messages that some values multiply, each once."""
        items = (item for i in positions for item in self.products[i])
        return tuple(dict.fromkeys(message for item in items for message in item.messages))

    def evaluated(self, positions: Iterable[int]) -> tuple[Message, ...]:
        """The messages behind some values that differ from draw to draw."""
        return tuple(message for message in self._behind(positions) if message.sampled)

    @cached_property
    def drawn_steps(self) -> tuple[Message, ...]:
        """The messages that every draw evaluates."""
        return self.evaluated(self.sampled)

    @cached_property
    def swept_steps(self) -> dict[Message, int]:
        """The messages that a sweep evaluates, and at how many choices of points in all."""
        found: dict[Message, int] = {}
        for slots, positions in self.sweeps:
            for message in self.evaluated(positions):
                found[message] = found.get(message, 0) + (self.population or 0) ** slots
        return found

    @cached_property
    def stages(self) -> dict[Stage, tuple[Message, ...]]:
        """The messages of every stage, first what is exact; a stage comes after those that it needs."""
        members: dict[Stage, list[Message]] = {}
        for message in self.steps:
            members.setdefault(message.stage, []).append(message)
        # A mean is taken off messages of the same level: it has to come before them, as "batch" does before "point".
        ordered = sorted(members, key=lambda s: (s.sampled, s.level, s.source.kind != "population", s))
        return {stage: tuple(members[stage]) for stage in ordered}

    @cached_property
    def varying(self) -> tuple[int, ...]:
        """The positions of the values that read other points than the whole population."""
        return tuple(i for i, one in enumerate(self.products) if _varies(one))

    @cached_property
    def sampled(self) -> tuple[int, ...]:
        """The positions of the values that differ from draw to draw; the others are exact."""
        return tuple(i for i in self.varying if i not in self.swept)

    @cached_property
    def swept(self) -> tuple[int, ...]:
        """The positions of the values that are averaged over the whole population, point by point."""
        return tuple(i for _, positions in self.sweeps for i in positions)

    @cached_property
    def open(self) -> bool:
        """Whether the values are vectors."""
        return any(piece.open for one in self.products for item in one for piece in item.pieces)

    @cached_property
    def groups(self) -> dict[tuple[str, int], int]:
        """The groups of points that one draw reads, with the number of points in each."""
        read = {group for message in self.drawn_steps for group in message.source.groups}
        return {group: self.width(group) for group in sorted(read)}

    def width(self, group: tuple[str, int]) -> int:
        """The number of points in a group."""
        return {"x": 1, "y": self.centring, "b": self.batch}[group[0]]

    @property
    def combinations(self) -> int | None:
        """How many draws the exact estimator lists: every choice of a point for every slot."""
        return (self.population or 1) ** len(self.groups) if self.estimator == "exact" else None

    def points(self, source: Source) -> int:
        """How many points a source is evaluated at; an observable counts as one."""
        if source.kind == "population":
            return self.population or 0
        return sum(map(self.width, source.groups)) or 1

    def _gradients(self, work: Iterable[Work]) -> float:
        choices = self.eigenvectors or 1
        return sum(products(share) * self.points(share[0].source) * choices ** share[3] for share in set(work)) / 3

    @cached_property
    def gradients_once(self) -> float:
        """The work that is done once, in gradients of the loss of one point."""
        exact = self._gradients(share for m in self.steps if not m.sampled for share in m.work)
        return exact + sum(
            (self.population or 0) ** slots
            * self._gradients(share for m in self.evaluated(positions) for share in m.work)
            for slots, positions in self.sweeps
        )

    @cached_property
    def gradients_per_draw(self) -> float:
        """The work of one draw, in gradients of the loss of one point."""
        return self._gradients(share for m in self.drawn_steps for share in m.work)

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the rows of a table, one row for each message."""
        names: dict[Message, str] = {}
        for message in self.steps:
            kind = "number" if message.scalar else "vector"
            count = 1 + sum(name.startswith(kind[0]) for name in names.values())
            names[message] = f"{kind[0]}{count}"
        uses = Counter(needed for message in self.steps for needed in message.needs)
        uses += Counter(message for one in self.products for item in one for message in item.messages)
        rows = []
        done: dict[str, set[Work]] = {}
        for message in self.steps:
            along = " ".join(["D[e]"] * message.cuts + [f"D[{names[m]}]" for m in message.incoming])
            derivative = " ".join(filter(None, ("" if message.scalar else "∇", along, _letter(message.source))))
            derivative += "".join(f" − {names[centre]}" for centre in message.centre)
            points = self.points(message.source)
            over = _OVER[message.source.kind].format(slot=message.source.slot, points=points)
            ways = [("once", over, 1)] if not message.sampled else []
            if message in self.swept_steps:
                choices = self.swept_steps[message]
                ways.append(("once", f"each point ({choices})", choices))
            if message in self.drawn_steps:
                ways.append(("each draw", over, 1))
            for when, where, times in ways:
                known = done.setdefault(f"{when} {times}", set())
                cost = times * self._gradients(set(message.work) - known)
                known |= set(message.work)
                rows.append((names[message], derivative, where, str(uses[message]), f"{cost:.4g}", when))
        return ("name", "derivative", "over", "uses", "gradients", "when"), rows

    @property
    def summary(self) -> str:
        """The totals in words."""
        what = f"diagrams along {self.eigenvectors} eigenvectors" if self.eigenvectors else "values"
        lines = [
            f"{len(self.values)} {what} by {self.estimator}, of these {len(self.sampled)} sampled"
            f"{f' and {len(self.swept)} swept' if self.swept else ''}: "
            f"{len(self.steps)} messages in {len(self.stages)} stages.",
            f"Once: {self.gradients_once:.4g} gradients of one point.",
        ]
        if self.sampled:
            draw = f"Each draw: {self.gradients_per_draw:.4g} gradients of one point"
            if self.estimator != "exact":
                draw += f", {self.gradients_per_draw / self.batch:.4g} of a batch of {self.batch}"
            lines.append(f"{draw}.")
        if self.combinations is not None and self.sampled:
            lines.append(f"Draws: {self.combinations}, every choice of {len(self.groups)} points.")
        if self.repeats > 1:
            lines.append(f"All of this {self.repeats} times, once for every component along the directions.")
        return "\n".join(lines)

    def __str__(self) -> str:
        """The table in plain text, and the totals."""
        from taylorsgd.display import text_table

        return f"{text_table(*self.table())}\n{self.summary}"

    def __repr__(self) -> str:
        """The totals."""
        return f"<Plan: {self.summary}>"

    def _repr_html_(self) -> str:
        from taylorsgd.display import html_table

        return f"{html_table(*self.table())}\n<p>{'<br>'.join(self.summary.splitlines())}</p>"


def _varies(one: Sequence[Product]) -> bool:
    return any(message.sampled for item in one for message in item.messages)


_OVER = {
    "population": "population ({points})",
    "batch": "batch b{slot} ({points})",
    "point": "point x{slot}",
    "difference": "point x{slot} less mean of y{slot} ({points})",
    "observable": "θ",
}


def _letter(source: Source) -> str:
    return source.name or {"point": "l_x", "difference": "(l_x − l_y)"}.get(source.kind, "l")


def products(share: Work) -> int:
    """The multiplications of a share of the work for one point and label, in units of those of the loss."""
    _, along, reverse, _ = share
    return (1 + len(set(along))) * (2 if reverse else 1)
