"""Making plans: where to root every tree, so that all values together cost least.

Every tree can be contracted from any of its nodes or edges, and messages that values share are paid for once.
The best roots therefore depend on each other: ∇D_v D_v l is dearer than the number D_v D_v D_v l, but once it
is known, that number and D_v D_v D_w l are inner products. `_least_work` finds good roots by descent: choose
every network's roots in turn; then pretend that one vector more is free, choose again, and keep what is
cheaper in truth; until no vector helps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import product

from taylorsgd.diagrams import Value
from taylorsgd.diagrams.values import LOSS
from taylorsgd.measuring.contraction import Message, Plan, Product, Work, products
from taylorsgd.measuring.estimators import Centred, Correlators, Estimator, Root, neighbours_in

__all__ = ["ESTIMATORS", "EXACT_LIMIT", "make_plan"]

ESTIMATORS = ("centred", "correlators", "exact")
"""The names of the estimators."""
EXACT_LIMIT = 10**8
"""The most gradients of one point that the exact estimator may take."""
NOMINAL_DRAWS = 2048
"""What is done once counts as spread over this many draws."""
TRIALS = 200
"""The most vectors that are tried for free in search of better roots."""


@lru_cache(maxsize=256)
def make_plan(
    values: tuple[Value, ...], *, batch: int, population: int | None, estimator: str = "centred", directed: bool = False
) -> Plan:
    """Plan the unbiased estimates of some values.

    Args:
        values: the values to estimate, in cumulants or moments.
        batch: b ≥ 1, the points that stand for an expectation inside a draw. With "centred" a population of
            at most b points is used as a whole instead; with "exact" every population is.
        population: the number of points in the population; None for a sampler.
        estimator: "centred", "correlators" or "exact".
        directed: whether trees may be read towards their marked nodes only, as those of a vector field.

    Returns:
        A plan.

    Raises:
        NotImplementedError: if a value has two open indices: it is a P × P matrix.
        ValueError: if the exact estimator is asked for a sampler or too much work.

    Example:
        >>> from taylorsgd.diagrams import Value
        >>> hessian_trace = Value((-1, 0, 0), (0, 1, 1))      # C_μν H^μν
        >>> plan = make_plan((hessian_trace,), batch=4, population=1000)
        >>> [message.source.kind for message in plan.steps], plan.groups
        (['population', 'point', 'batch'], {('b', 0): 4, ('x', 0): 1})
    """
    for value in values:
        if len(value.open_indices) > 1:
            raise NotImplementedError(
                f"{value} has two open indices and is a P × P matrix; give predict(..., along=directions) some "
                "directions, principal_components(...) finds those of largest variance, and evaluate() on a "
                "FiniteLandscape is exact"
            )
    rule: Estimator
    if estimator == "correlators":
        nodes = (sum(mark == LOSS for mark in value.marks) for value in values)
        rule = Correlators(batch, max(nodes, default=1))
    elif estimator == "centred":
        rule = Centred(batch, population)
    elif population is None:
        raise ValueError(
            "estimator='exact' sums over all points of a population, and a sampler has none; "
            "use 'centred' or 'correlators', or give the data as arrays"
        )
    else:
        rule = Centred(population, population)
    combinations = {value: rule.networks(value) for value in values}
    chosen = _least_work(rule, dict.fromkeys(n for each in combinations.values() for n in each), population, directed)
    shares = tuple(
        tuple(
            Product(float(weight) * item.coefficient, item.pieces)
            for network, weight in combinations[value].items()
            for item in chosen[network]
        )
        for value in values
    )
    swept = tuple(
        i
        for i, one in enumerate(shares)
        if population and any(item.groups for item in one) and all(item.reads_one_point for item in one)
    )
    sweeps = ((1, swept),) if swept else ()
    found = Plan(values, shares, estimator, rule.batch, rule.centring, population, sweeps)
    if found.combinations is not None and found.combinations * found.gradients_per_draw > EXACT_LIMIT:
        raise ValueError(
            f"estimator='exact' would contract {found.combinations} choices of {len(found.groups)} points for "
            f"{found.gradients_per_draw:.3g} gradients of one point each, more than {EXACT_LIMIT:.0e} in all; "
            "use estimator='centred', a lower order or fewer data"
        )
    return found


def _least_work(
    rule: Estimator, networks: Iterable[Value], population: int | None, directed: bool = False
) -> dict[Value, tuple[Product, ...]]:
    """For every network its products, rooted where all of them together cost little."""
    choices = {}
    for network in networks:
        options = [rule.products(network, roots) for roots in product(*map(list, _roots(network, directed)))]
        # What can be swept is then exact, which is worth more than any sharing.
        swept = [items for items in options if population and all(item.reads_one_point for item in items)]
        choices[network] = swept or options
    ledger = _Ledger(rule, population)
    needed = {
        network: [ledger.work([m for item in items for m in item.messages]) for items in options]
        for network, options in choices.items()
    }

    def chosen(free: frozenset[int]) -> dict[Value, int]:
        """The cheapest choice in turn, and a second time when all others have chosen."""
        picked: dict[Value, int] = {}
        paid: Counter[int] = Counter(free)
        for _ in range(2):
            for network, options in needed.items():
                if len(options) > 1 or network not in picked:
                    if network in picked:
                        paid.subtract(options[picked[network]])
                    costs = [ledger.cost(entry for entry in work if paid[entry] <= 0) for work in options]
                    picked[network] = min(range(len(options)), key=costs.__getitem__)
                    paid.update(options[picked[network]])
        return picked

    def total(picked: dict[Value, int]) -> float:
        return ledger.cost(frozenset().union(*(needed[n][i] for n, i in picked.items())))

    free: frozenset[int] = frozenset()
    best = chosen(free)
    lowest = total(best)
    vectors = {
        m
        for options in choices.values()
        if len(options) > 1
        for items in options
        for item in items
        for m in item.messages
        if not m.scalar
    }
    trials = sorted({ledger.work([vector]) for vector in vectors}, key=lambda w: (ledger.cost(w), sorted(w)))
    improved = True
    while improved:
        improved = False
        for work in trials[:TRIALS]:
            if not work <= free:
                picked = chosen(free | work)
                if (cost := total(picked)) < lowest * (1 - 1e-9):
                    best, lowest, free, improved = picked, cost, free | work, True
    return {network: options[best[network]] for network, options in choices.items()}


class _Ledger:
    """What sets of messages cost: one number for each share of work, however many messages need it."""

    def __init__(self, rule: Estimator, population: int | None) -> None:
        self.sizes = {"x": 1, "y": rule.centring, "b": rule.batch}
        self.population = population or 0
        self.numbers: dict[Work, int] = {}
        self.costs: list[float] = []
        self.known: dict[Message, frozenset[int]] = {}

    def work(self, messages: Sequence[Message]) -> frozenset[int]:
        """All the work behind some messages, with what they need."""
        return frozenset().union(*map(self._behind, messages))

    def cost(self, work: Iterable[int]) -> float:
        """What some work costs in a draw."""
        return sum(self.costs[entry] for entry in work)

    def _behind(self, message: Message) -> frozenset[int]:
        if message not in self.known:
            own = frozenset(map(self._number, message.work))
            self.known[message] = own.union(*map(self._behind, message.needs))
        return self.known[message]

    def _number(self, share: Work) -> int:
        if share not in self.numbers:
            self.numbers[share] = len(self.costs)
            stage = share[0]
            if stage.source.kind == "population":
                points = self.population / (1 if stage.sampled else NOMINAL_DRAWS)
            else:
                points = sum(self.sizes[letter] for letter, _ in stage.source.groups) or 1
            self.costs.append(products(share) * points)
        return self.numbers[share]


def _roots(network: Value, directed: bool = False) -> Iterator[list[Root]]:
    """For every tree the nodes and edges at which it can be contracted, nodes of low degree first."""
    neighbours = neighbours_in(network)
    for tree in _trees(network):
        for node in tree:
            if network.marks[node].startswith("@"):
                (other,) = neighbours[node]
                yield [(other, node)]  # what the neighbour sends is the answer
                break
            if directed and network.marks[node] != LOSS:
                yield [(node,)]
                break
        else:
            edges: list[Root] = [(a, b) for a in tree for b in neighbours[a] if a < b]
            yield [*edges, *((node,) for node in sorted(tree, key=lambda n: network.degrees[n]))]


def _trees(value: Value) -> Iterator[list[int]]:
    """The nodes of each tree; parents come before their children, and a tree's nodes are contiguous."""
    tree: list[int] = []
    for node, parent in enumerate(value.parents):
        if parent < 0 and tree:
            yield tree
            tree = []
        tree.append(node)
    yield tree
