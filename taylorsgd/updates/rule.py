r"""What every update rule says of itself: how it remembers gradients, and which edges may be instant."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import combinations
from typing import Any, ClassVar, NamedTuple, Protocol

from attrs import asdict, frozen
from sympy import Expr, Integer, Matrix

from taylorsgd.arguments import is_one_of, listed
from taylorsgd.diagrams import Diagram
from taylorsgd.exact_numbers import exact_argument
from taylorsgd.spacetime.base import Spacetime
from taylorsgd.updates.rates import RateSchedule

__all__ = [
    "Batch", "Memory", "Memoryless", "Update", "checked_rates", "exactly", "one_of",
    "refuse_lasting_momentum",
]  # fmt: skip

Rates = tuple[Expr, ...] | RateSchedule | None


class Memory(NamedTuple):
    """A rule as a linear system: z ← A z + b u with u = −η g(θ_0 + c·z), and θ_T − θ_0 = r·z.

    Attributes:
        carry: A, what one update makes of the state, m × m.
        enter: b, where a gradient enters, with its rate.
        read: c, where gradients are taken.
        read_by_root: r, where the observable is.
    """

    carry: tuple[tuple[Expr, ...], ...]
    enter: tuple[Expr, ...]
    read: tuple[Expr, ...]
    read_by_root: tuple[Expr, ...]


class Batch(Protocol):
    """What a step asks of the batch at hand, in JAX or in series; vectors know +, − and products with numbers."""

    @property
    def origin(self) -> Any:
        """θ_0, where the run began."""

    def slope(self, theta: Any) -> Any:
        """ηΛ∇l(θ), with l the mean loss of the batch."""

    def curved(self, theta: Any, along: Any) -> Any:
        """The derivative of the slope along a vector, ηΛ∇∇l(θ) times it."""

    def noise_slope(self, theta: Any) -> tuple[Any, Any]:
        """The slope, and η²Λ∇ tr Ĉ, with Ĉ the unbiased covariance of the gradients of the batch's rows."""
        ...

    def solve(self, function: Callable[[Any], Any]) -> Any:
        """The vector s = f(s), for f = O(η)."""

    def solve_linear(self, function: Callable[[Any], Any]) -> Any:
        """The vector s = f(s), for a linear f = O(η): linear up to a constant."""


class Update(ABC):
    """How gradients move θ; a frozen class of its parameters, all exact.

    A rule says what it does twice: in `step`, as it is written, which simulations and direct perturbation run; and
    in `memory`, what becomes of one gradient, which formulas sum. Each is tested against the other.

    An edge from t to t′ carries its rule's Green's function, c A^{t′−t−1} b, and K = A − ηH b c for A if it is
    resummed; an edge to the root has r for c. Where edges may be instant, links of one update add up as well, in
    chains of instant edges, to R = (1 + ηλH)⁻¹: then K = 1 − ηHR, and edges are dressed with powers of R.
    """

    rates: Rates = None
    """r_0, r_1, …: factors of η, one for every update; a schedule of them for any number; None for 1."""
    instant: Expr = Integer(0)
    """λ, what an instant edge carries."""
    needs_rows: ClassVar[bool] = False
    """Whether a step takes the gradients of a batch's rows one by one."""

    def start(self, origin: Any) -> tuple[Any, ...]:
        """The state before the first update; its first entry is always θ."""
        return (origin,)

    @abstractmethod
    def step(self, numbers: Mapping[str, Any], state: tuple[Any, ...], batch: Batch, rate: Any) -> tuple[Any, ...]:
        """One update, from state to state.

        Args:
            numbers: what `numbers` names, as traced floats or as exact numbers.
            state: as `start` gives it.
            batch: the loss of the batch at hand.
            rate: r_t.
        """

    def numbers(self, spacetime: Spacetime) -> dict[str, Expr]:
        """The exact numbers that a step computes with, by name: the parameters that are expressions.

        Raises:
            ValueError: if the spacetime does not fit the rule.
        """
        given = self.parameters().items()
        return {name: value for name, value in given if isinstance(value, Expr) and name != "metric"}

    @abstractmethod
    def memory(self, rate: Expr) -> Memory:
        """The linear system of an update with the given rate."""

    def instant_edges(self, diagram: Diagram) -> Iterator[frozenset[int]]:
        """Yield the sets of edges that may be instant together, each edge by the node that it leaves."""
        yield frozenset()

    def dressings(self, diagram: Diagram, instant: frozenset[int]) -> Iterator[tuple[int, tuple[int, ...]]]:
        """What instant links make of a linkless diagram: for each term a factor, and the power of R on every edge.

        Args:
            diagram: a linkless diagram.
            instant: its own instant edges, each by the node that it leaves.
        """
        yield 1, (0,) * diagram.order

    def weighed(self, spacetime: Spacetime, diagram: Diagram, instant: frozenset[int]) -> Expr:
        """What a set of instant edges multiplies an embedding by, averaged over rows.

        Raises:
            ValueError: if the spacetime does not fit the rule.
        """
        return self.instant ** len(instant)

    @property
    def is_plain(self) -> bool:
        """Whether edges carry 1: a constant rate, no memory, and no edge may be instant."""
        return self.rates is None and not self.has_instant_edges and self.is_memoryless

    @property
    def has_instant_edges(self) -> bool:
        """Whether any edge may be instant."""
        return self.instant != 0

    @property
    def is_memoryless(self) -> bool:
        """Whether past gradients stay as they came, whatever has happened since."""
        one = Integer(1)
        return self.memory(one) == Memory(((one,),), (one,), (one,), (one,))

    def modes(self, root: bool) -> list[tuple[Expr, Expr]]:
        """Pairs (c, x) with Σ c x^{Δ−1} on an edge, at constant rates.

        Args:
            root: whether the edge ends in a root.

        Raises:
            ValueError: if two modes coincide, where a sum of powers is no closed form.
        """
        memory = self.memory(Integer(1))
        carry, enter = Matrix(memory.carry), Matrix(memory.enter)
        read = Matrix(memory.read_by_root if root else memory.read).T
        if not carry.is_diagonalizable():
            kept = ", ".join(map(str, carry.eigenvals()))
            raise ValueError(
                f"update={self!r}: two of its powers coincide, {kept}, which has no closed form in T; "
                "give sizes as numbers"
            )
        vectors, powers = carry.diagonalize()
        left, right = read * vectors, vectors.inv() * enter
        return [(left[i] * right[i], powers[i, i]) for i in range(carry.rows)]

    def rates_of(self, updates: int) -> tuple[Expr, ...]:
        """The rates of T updates.

        Raises:
            ValueError: if there are not as many rates as updates.
        """
        if self.rates is None:
            return (Integer(1),) * updates
        if isinstance(self.rates, RateSchedule):
            return self.rates.rates(updates)
        if len(self.rates) != updates:
            raise ValueError(
                f"rates has {len(self.rates)} entries for {updates} updates; give one for each, r_0, …, r_(T-1)"
            )
        return self.rates

    def parameters(self) -> dict[str, Any]:
        """The constructor's arguments, by name."""
        return asdict(self, recurse=False)  # type: ignore[arg-type]


@frozen
class Memoryless(Update):
    """Rules without memory, in which nodes of one update may be joined by instant edges."""

    def memory(self, rate: Expr) -> Memory:
        """A past gradient stays as it came."""
        one = Integer(1)
        return Memory(((one,),), (rate,), (one,), (one,))

    def instant_edges(self, diagram: Diagram) -> Iterator[frozenset[int]]:
        """Yield the sets of edges that may be instant together."""
        parents = diagram.parents
        inner = [node for node in diagram.inner_nodes if parents[parents[node]] >= 0]
        for size in range(len(inner) + 1):
            for chosen in combinations(inner, size):
                if self.allows([(node, parents[node]) for node in chosen]):
                    yield frozenset(chosen)

    def allows(self, edges: list[tuple[int, int]]) -> bool:
        """Whether edges from a node to its parent may be instant together."""
        return not edges


def exactly(name: str) -> Callable[[Any], Expr]:
    """Make the converter of a rule's parameter to an exact expression.

    Args:
        name: the parameter's name, for the error.

    Returns:
        A function that takes a float for the shortest decimal that stands for it (0.9 is 9/10), and raises a TypeError
        for what is neither a number nor a SymPy expression, a ValueError for what is not finite.

    Example:
        >>> exactly("beta")(1), exactly("beta")(0.9)
        (1, 9/10)
    """
    return partial(exact_argument, name=name)


def checked_rates(rates: Iterable[Any] | RateSchedule | None) -> Rates:
    """A rule's rates as exact expressions, or a schedule of them."""
    if rates is None or isinstance(rates, RateSchedule):
        return rates
    what = "a sequence of numbers, one for each update, or LinearWarmup() or Cosine()"
    given = listed(rates, "rates", empty=True, what=what)
    return tuple(exactly(f"rates[{i}]")(rate) for i, rate in enumerate(given))


def one_of(*known: str) -> Callable[[Any, Any, str], None]:
    """Make the check that a parameter, such as a convention, is one of those known."""

    def check(_: Any, attribute: Any, value: str) -> None:
        if not is_one_of(value, known):
            raise ValueError(f"{attribute.name}={value!r} is unknown; give {' or '.join(map(repr, known))}")

    return check


def refuse_lasting_momentum(update: Update, what: str) -> None:
    """Raise for momentum that is never forgotten, |β| ≥ 1, where that can be seen.

    Raises:
        ValueError: naming β, and what there is none of.
    """
    beta = getattr(update, "beta", None)
    if isinstance(beta, Expr) and beta.is_number and not (beta.is_extended_real and -1 < beta < 1):
        raise ValueError(
            f"beta={beta}: momentum that is never forgotten has no {what}; it must be between -1 and 1, or symbolic"
        )
