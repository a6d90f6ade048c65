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

This module describes plans; it does no arithmetic on arrays and does not know JAX.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from taylorsgd.diagrams import Value

__all__ = ["SWEPT", "Message", "Plan", "Product", "Source", "Stage", "Work"]

SWEPT = ("x", 0)
"""The group of points through which a sweep takes the population."""
Work = tuple["Stage", tuple["Message", ...], bool]
"""A share of the work: in which stage, along which directions, and whether in reverse mode."""


@dataclass(frozen=True, order=True)
class Source:
    """The function f that a node carries.

    Attributes:
        kind: "population", "batch", "centred", "difference", "point" or "observable", as in `estimators`.
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

    @property
    def function(self) -> Source:
        """What is differentiated: l_x both for a point and for a centred loss, whose mean comes off later."""
        return Source("point", self.slot) if self.kind == "centred" else self


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
        scalar: whether it is a number.
    """

    source: Source
    incoming: tuple[Message, ...]
    scalar: bool

    def __hash__(self) -> int:
        """Hash the fields, once: messages are nested."""
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.source, self.incoming, self.scalar))

    @cached_property
    def sampled(self) -> bool:
        """Whether it differs from draw to draw."""
        return bool(self.source.groups) or any(message.sampled for message in self.incoming)

    @cached_property
    def stage(self) -> Stage:
        """The stage that evaluates it."""
        before = (message.stage.level for message in self.incoming if message.sampled == self.sampled)
        return Stage(1 + max(before, default=0), self.source.function, self.sampled)

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

    @cached_property
    def work(self) -> frozenset[Work]:
        """What evaluating it takes, its needs not counted: one entry for each set of its directions."""
        modes = (False,) if self.scalar else (False, True)
        return frozenset((self.stage, along, mode) for along in _subsets(self.incoming) for mode in modes)


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
class Product:
    """One product whose expectation, times the coefficient, is a share of a value.

    Attributes:
        coefficient: a number.
        trees: for every tree its answer: one message, or two whose inner product it is.
    """

    coefficient: float
    trees: tuple[tuple[Message, ...], ...]

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages that are multiplied."""
        return tuple(message for tree in self.trees for message in tree)

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
        values: the values.
        products: for each value the products that its estimate adds up.
        estimator: "centred", "correlators" or "exact".
        batch: b, the points in a batch.
        centring: c, the points that a difference loss is centred with.
        population: the number of points in the population; None for a sampler.
    """

    values: tuple[Value, ...]
    products: tuple[tuple[Product, ...], ...]
    estimator: str
    batch: int
    centring: int
    population: int | None

    @cached_property
    def steps(self) -> tuple[Message, ...]:
        """All messages, each after those that it needs."""
        return self._behind(range(len(self.values)))

    def _behind(self, positions: Iterable[int]) -> tuple[Message, ...]:
        return _with_needs(m for i in positions for item in self.products[i] for m in item.messages)

    @cached_property
    def drawn_steps(self) -> tuple[Message, ...]:
        """The messages that every draw evaluates."""
        return tuple(m for m in self._behind(self.sampled) if m.sampled)

    @cached_property
    def swept_steps(self) -> tuple[Message, ...]:
        """The messages that a sweep evaluates at every point of the population."""
        return tuple(m for m in self._behind(self.swept) if m.sampled)

    @cached_property
    def stages(self) -> dict[Stage, tuple[Message, ...]]:
        """The messages of every stage, first what is exact; a stage comes after those that it needs."""
        members: dict[Stage, list[Message]] = {}
        for message in self.steps:
            members.setdefault(message.stage, []).append(message)
        # A mean over the population is taken off messages of the same level: it has to come before them.
        ordered = sorted(members, key=lambda s: (s.sampled, s.level, s.source.kind != "population", s))
        return {stage: tuple(members[stage]) for stage in ordered}

    @cached_property
    def sampled(self) -> tuple[int, ...]:
        """The positions of the values that differ from draw to draw; the others are exact."""
        return tuple(i for i, one in enumerate(self.products) if _varies(one) and i not in self.swept)

    @cached_property
    def swept(self) -> tuple[int, ...]:
        """The positions of the values that are averaged over the whole population, point by point."""
        if self.population is None:
            return ()
        return tuple(
            i for i, one in enumerate(self.products) if _varies(one) and all(p.reads_one_point for p in one)
        )

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

    def _gradients(self, messages: Iterable[Message]) -> float:
        work = frozenset().union(*(message.work for message in messages))
        return sum(products(share) * self.points(share[0].source) for share in work) / 3

    @cached_property
    def gradients_once(self) -> float:
        """The work that is done once, in gradients of the loss of one point."""
        exact = self._gradients(m for m in self.steps if not m.sampled)
        return exact + (self.population or 0) * self._gradients(self.swept_steps)

    @cached_property
    def gradients_per_draw(self) -> float:
        """The work of one draw, in gradients of the loss of one point."""
        return self._gradients(self.drawn_steps)

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the rows of a table, one row for each message."""
        names: dict[Message, str] = {}
        for message in self.steps:
            kind = "number" if message.scalar else "vector"
            count = 1 + sum(name.startswith(kind[0]) for name in names.values())
            names[message] = f"{kind[0]}{count}"
        uses = dict.fromkeys(self.steps, 0)
        for message in self.steps:
            for needed in message.needs:
                uses[needed] += 1
        for one in self.products:
            for item in one:
                for message in item.messages:
                    uses[message] += 1
        rows = []
        done: dict[str, set[Work]] = {}
        for message in self.steps:
            along = " ".join(f"D[{names[m]}]" for m in message.incoming)
            derivative = " ".join(
                filter(None, ("" if message.scalar else "∇", along, _letter(message.source)))
            )
            if message.centre is not None:
                derivative += f" − {names[message.centre]}"
            points = self.points(message.source)
            over = _OVER[message.source.kind].format(slot=message.source.slot, points=points)
            ways = [("once", over, 1)] if not message.sampled else []
            if message in self.swept_steps:
                ways.append(("once", f"each point ({self.population})", self.population or 0))
            if message in self.drawn_steps:
                ways.append(("each draw", over, 1))
            for when, where, times in ways:
                known = done.setdefault(f"{when} {times}", set())
                new = message.work - known
                known |= new
                cost = times * sum(products(share) * self.points(share[0].source) for share in new) / 3
                rows.append((names[message], derivative, where, str(uses[message]), f"{cost:.4g}", when))
        return ("name", "derivative", "over", "uses", "gradients", "when"), rows

    @property
    def summary(self) -> str:
        """The totals in words."""
        lines = [
            f"{len(self.values)} values by {self.estimator}, of these {len(self.sampled)} sampled"
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
    "centred": "point x{slot}",
    "point": "point x{slot}",
    "difference": "point x{slot} less mean of y{slot} ({points})",
    "observable": "θ",
}


def _letter(source: Source) -> str:
    return source.name or {"centred": "l_x", "point": "l_x", "difference": "(l_x − l_y)"}.get(
        source.kind, "l"
    )


def products(share: Work) -> int:
    """The multiplications of a share of the work for one point, in units of those of the loss."""
    _, along, reverse = share
    return (1 + len(set(along))) * (2 if reverse else 1)
