r"""Update rules: what a diagram's edges carry.

An update rule is linear in the gradients g_t. With no curvature, what g_t leaves in θ_{t'} is −η·w(t, t'), its
Green's function, and so an edge from a node at t to one at t' (or to the root, at T) carries w(t, t'), Δ = t' − t:

    descent                    θ ← θ − η r_t g                              r_t
    … with decay towards θ_0   θ ← θ − η r_t g − w (θ − θ_0)                r_t (1 − w)^{Δ−1}
    heavy ball (Polyak)        v ← βv − η r_t g, θ ← θ + v                  r_t (1 − β^Δ)/(1 − β)
    heavy ball (torch)         v ← βv + g, θ ← θ − η r_t v                  Σ_{s=t}^{t'−1} r_s β^{s−t}
    Nesterov (torch, optax)    v ← βv + g, θ ← θ − η r_t (g + βv)           r_t + Σ_{s=t}^{t'−1} r_s β^{s−t+1}
    Nesterov (Sutskever)       v ← βv − η r_t g(θ + βv), θ ← θ + v          r_t (1 − β^{Δ+1})/(1 − β), to the root
                                                                            r_t (1 − β^Δ)/(1 − β)
    heavy ball with decay      θ ← θ + v − w (θ − θ_0)                      r_t ((1 − w)^Δ − β^Δ)/((1 − w) − β)
    second order           θ ← θ − η (1 + ηλ ∇∇l_t)⁻¹ g                     1, and λ on an instant edge
    implicit step          θ ← θ′ with θ′ = θ − η ∇l_t(θ + λ(θ′ − θ))       1, and λ on an instant edge

An *instant* edge joins two nodes of one update, any two of its cells, and never ends in the root. The second-order
update is linear in g: at most one instant edge ends in each node. An implicit step allows any number.

GDC joins pairs of nodes likewise, with weights that depend on their rows (`gdc`).

With constant rates the edges of the rules with memory are sums of powers x^Δ, their *modes*: sums over times have
closed forms. So do those of `schedules` of rates without memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from sympy import Expr, Float, ImmutableMatrix, Integer, construct_domain, expand, sympify

from taylorsgd.diagrams import Diagram
from taylorsgd.updates.metrics import exact_metric
from taylorsgd.updates.rates import RateSchedule

__all__ = ["Descent", "HeavyBall", "ImplicitStep", "Memoryless", "Nesterov", "SecondOrder", "Update"]

Rates = tuple[Expr, ...] | RateSchedule | None


class Update(ABC):
    """How gradients move θ; a frozen dataclass of its parameters, all exact."""

    rates: Rates
    """r_0, r_1, …: factors of η, one for every update; a schedule of them for any number; None for 1."""
    instant: Expr = Integer(0)
    """λ, what an instant edge carries."""

    def instant_edges(self, diagram: Diagram) -> Iterator[frozenset[int]]:
        """Yield the sets of edges that may be instant together, each edge by the node that it leaves."""
        yield frozenset()

    @abstractmethod
    def edge(self, start: int, end: int, root: bool, rates: tuple[Any, ...]) -> Any:
        """What an edge from time `start` to the later time `end` carries, as a polynomial in the parameters.

        Args:
            start: t.
            end: t'; T if the edge ends in a root.
            root: whether it does.
            rates: r_0, …, r_{T−1}.
        """

    @abstractmethod
    def modes(self, root: bool) -> list[tuple[Expr, Expr]]:
        """Pairs (c, x) with Σ c x^{Δ−1} on an edge, at constant rates.

        Raises:
            ValueError: if two modes coincide, where a sum of powers is no closed form.
        """

    @property
    def is_plain(self) -> bool:
        """Whether this is descent with a constant rate and no decay, where edges carry 1."""
        return self == Descent()

    def edges(self, updates: int, ends: Sequence[int]) -> tuple[Any, list[list[Any]], list[list[Any]]]:
        """What all edges carry during T updates.

        Args:
            updates: T.
            ends: the time of every root, at most T.

        Returns:
            An exact domain that holds the numbers, T × T numbers for edges between nodes, zero unless time
            increases, and for every root T numbers for edges into it, zero from its time on.

        Raises:
            ValueError: if there are not as many rates as updates.
        """
        rates = self.schedule(updates)
        times = range(updates)
        pairs = [(t, later) for t in times for later in times if t < later]
        last = [(i, t, end) for i, end in enumerate(ends) for t in range(end)]
        written = [expand(self.edge(t, later, False, rates)) for t, later in pairs]
        written += [expand(self.edge(t, end, True, rates)) for _, t, end in last]
        domain, numbers = construct_domain([Integer(0), *written], extension=True)
        zero, *numbers = numbers
        between = [[zero] * updates for _ in times]
        for (t, later), number in zip(pairs, numbers, strict=False):
            between[t][later] = number
        into = [[zero] * updates for _ in ends]
        for (i, t, _), number in zip(last, numbers[len(pairs) :], strict=True):
            into[i][t] = number
        return domain, between, into

    def schedule(self, updates: int) -> tuple[Expr, ...]:
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


@dataclass(frozen=True, init=False)
class Descent(Update):
    """Plain descent θ ← θ − η r_t Λ g_t − w (θ − θ_0).

    Args:
        rates: factors r_t of η, one for each update, exact numbers or SymPy expressions; or `LinearWarmup()` or
            `Cosine()`, which have closed forms in T where constant rates do; None for 1.
        decay: w, the decoupled weight decay towards θ_0 in one update. (A coupled one, ηw(θ − a), is
            the `penalty` w|θ − a|²/2 of `derive`.)
        metric: Λ, a symmetric positive definite P × P matrix of exact numbers, for the learning rate ηΛ: what raises
            indices; None for the identity. It changes no formula, only what its values are. Under any other rule
            give it to `evaluate`, `perturb` or a resummed formula's lowered function.

    Raises:
        TypeError: if a parameter is neither an exact number nor a SymPy expression.
        ValueError: if the metric is not symmetric and positive definite.

    Example:
        >>> import taylorsgd as ts
        >>> warm_up = ts.Descent(rates=[0, 1, 2])
        >>> f = ts.derive(ts.TestLoss(), ts.SGD(N=3, B=1, E=1), order=1, update=warm_up)
        >>> print(f)
        l - 3 G_μ G^μ
    """

    rates: Rates
    decay: Expr
    metric: ImmutableMatrix | None

    def __init__(
        self, rates: Iterable[Any] | RateSchedule | None = None, decay: Any = 0, metric: Any = None
    ) -> None:
        """Check the parameters."""
        object.__setattr__(self, "rates", checked_rates(rates))
        object.__setattr__(self, "decay", exact_parameter("decay", decay))
        object.__setattr__(self, "metric", None if metric is None else exact_metric(metric))

    def edge(self, start: int, end: int, root: bool, rates: tuple[Any, ...]) -> Any:
        """r_t (1 − w)^{Δ−1}."""
        return rates[start] * (1 - self.decay) ** (end - start - 1)

    def modes(self, root: bool) -> list[tuple[Expr, Expr]]:
        """One power of 1 − w."""
        return [(Integer(1), 1 - self.decay)]


@dataclass(frozen=True, init=False)
class HeavyBall(Update):
    """Momentum: v ← βv − η r_t g_t, θ ← θ + v, with v = 0 at first (Polyak 1964).

    Args:
        beta: β, an exact number or a SymPy expression.
        rates: factors r_t of η, one for each update, or a schedule such as `Cosine()`; None for 1.
        convention: "polyak", or "torch" with the rate outside of the buffer: v ← βv + g, θ ← θ − η r_t v. They
            differ where rates do.
        decay: w, the decoupled weight decay towards θ_0 in one update; "polyak" only.

    Raises:
        TypeError: if a parameter is neither an exact number nor a SymPy expression.
        ValueError: if the convention is unknown.
        NotImplementedError: for decay in the convention "torch".

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import Symbol
        >>> f = ts.derive(ts.TestLoss(), ts.GD(T=3), order=1, update=ts.HeavyBall(Symbol("beta")))
        >>> print(f)
        l - (beta**2 + 2*beta + 3) G_μ G^μ
    """

    beta: Expr
    rates: Rates
    convention: str
    decay: Expr

    def __init__(
        self,
        beta: Any,
        rates: Iterable[Any] | RateSchedule | None = None,
        convention: Literal["polyak", "torch"] = "polyak",
        decay: Any = 0,
    ) -> None:
        """Check the parameters."""
        object.__setattr__(self, "beta", exact_parameter("beta", beta))
        object.__setattr__(self, "rates", checked_rates(rates))
        object.__setattr__(self, "convention", checked_convention(convention, "polyak", "torch"))
        object.__setattr__(self, "decay", exact_parameter("decay", decay))
        if convention == "torch" and self.decay != 0:
            raise NotImplementedError(
                f"decay={decay} with convention='torch' is not derived; supported is convention='polyak'"
            )

    def edge(self, start: int, end: int, root: bool, rates: tuple[Any, ...]) -> Any:
        """The sum over the updates s that the gradient acts in."""
        if self.convention == "torch":
            return sum(rates[s] * self.beta ** (s - start) for s in range(start, end))
        kept, span = 1 - self.decay, end - start
        return rates[start] * sum(kept ** (span - 1 - j) * self.beta**j for j in range(span))

    def modes(self, root: bool) -> list[tuple[Expr, Expr]]:
        """The powers of 1 − w and β."""
        kept = 1 - self.decay
        gap = _gap(kept, self.beta, f"beta={self.beta} and 1 - decay={kept}")
        return [(kept / gap, kept), (-self.beta / gap, self.beta)]


@dataclass(frozen=True, init=False)
class Nesterov(Update):
    """Nesterov's momentum, with v = 0 at first.

    Args:
        beta: β, an exact number or a SymPy expression.
        rates: factors r_t of η, one for each update, or a schedule such as `Cosine()`; None for 1.
        convention: "torch" (also optax): v ← βv + g, θ ← θ − η r_t (g + βv), where θ is the point at which
            gradients are taken. "sutskever": v ← βv − η r_t g(θ + βv), θ ← θ + v (Sutskever et al. 2013).

    Raises:
        TypeError: if a parameter is neither an exact number nor a SymPy expression.
        ValueError: if the convention is unknown.
    """

    beta: Expr
    rates: Rates
    convention: str

    def __init__(
        self,
        beta: Any,
        rates: Iterable[Any] | RateSchedule | None = None,
        convention: Literal["torch", "sutskever"] = "torch",
    ) -> None:
        """Check the parameters."""
        object.__setattr__(self, "beta", exact_parameter("beta", beta))
        object.__setattr__(self, "rates", checked_rates(rates))
        object.__setattr__(self, "convention", checked_convention(convention, "torch", "sutskever"))

    def edge(self, start: int, end: int, root: bool, rates: tuple[Any, ...]) -> Any:
        """The sum over the updates s that the gradient acts in, looking one update ahead to inner nodes."""
        span = end - start
        if self.convention == "torch":
            return rates[start] + sum(rates[s] * self.beta ** (s - start + 1) for s in range(start, end))
        return rates[start] * sum(self.beta**j for j in range(span if root else span + 1))

    def modes(self, root: bool) -> list[tuple[Expr, Expr]]:
        """The powers of 1 and β."""
        gap = _gap(Integer(1), self.beta, f"beta={self.beta} and 1")
        ahead = 1 if self.convention == "sutskever" and root else 2
        return [(1 / gap, Integer(1)), (-(self.beta**ahead) / gap, self.beta)]


class Memoryless(Update):
    """Rules without memory, in which nodes of one update may be joined by instant edges."""

    rates: Rates = None

    def edge(self, start: int, end: int, root: bool, rates: tuple[Any, ...]) -> Any:
        """1: past gradients are not remembered."""
        return Integer(1)

    def modes(self, root: bool) -> list[tuple[Expr, Expr]]:
        """One mode that stays."""
        return [(Integer(1), Integer(1))]

    def instant_edges(self, diagram: Diagram) -> Iterator[frozenset[int]]:
        """Yield the sets of edges that may be instant together."""
        parents = diagram.parents
        inner = [node for node, parent in enumerate(parents) if parent >= 0 and parents[parent] >= 0]
        for size in range(len(inner) + 1):
            for chosen in combinations(inner, size):
                if self._allows([(node, parents[node]) for node in chosen]):
                    yield frozenset(chosen)

    @abstractmethod
    def _allows(self, edges: list[tuple[int, int]]) -> bool:
        """Whether edges from a node to its parent may be instant together."""


class _ByCurvature(Memoryless):
    """Rules that look at the curvature of the update's own loss."""

    instant: Expr

    def __init__(self, lam: Any = 1) -> None:
        """Check the parameter."""
        object.__setattr__(self, "instant", exact_parameter("lam", lam))


@dataclass(frozen=True, init=False)
class SecondOrder(_ByCurvature):
    """θ ← θ − η (1 + ηλ ∇∇l_t)⁻¹ ∇l_t, with l_t the mean loss of the batch (Tenka, section B.7).

    Args:
        lam: λ, an exact number or a SymPy expression.

    Raises:
        TypeError: if λ is neither an exact number nor a SymPy expression.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import Symbol
        >>> lam = Symbol("lambda")
        >>> f = ts.derive(ts.TestLoss(), ts.GD(), order=2, update=ts.SecondOrder(lam)).assume("noiseless")
        >>> print(f)
        l - T G_μ G^μ + T*(2*T + 2*lambda - 1)/2 G_μ H^μ_ν G^ν
    """

    instant: Expr

    def _allows(self, edges: list[tuple[int, int]]) -> bool:
        return len({parent for _, parent in edges}) == len(edges)  # at most one ends in each node


@dataclass(frozen=True, init=False)
class ImplicitStep(_ByCurvature):
    """The implicit step to θ′ = θ − η ∇l_t(θ + λ (θ′ − θ)): implicit Euler at λ = 1, the midpoint rule at 1/2.

    Args:
        lam: λ, an exact number or a SymPy expression; 1 by default.

    Raises:
        TypeError: if λ is neither an exact number nor a SymPy expression.
    """

    instant: Expr

    def _allows(self, edges: list[tuple[int, int]]) -> bool:
        return True


def _gap(first: Expr, second: Expr, names: str) -> Expr:
    gap = first - second
    if gap == 0:
        raise ValueError(f"{names} coincide, which has no closed form in T; give sizes as numbers")
    return gap


def checked_rates(rates: Iterable[Any] | RateSchedule | None) -> Rates:
    if rates is None or isinstance(rates, RateSchedule):
        return rates
    return tuple(exact_parameter(f"rates[{i}]", rate) for i, rate in enumerate(rates))


def checked_convention(convention: str, *known: str) -> str:
    if convention not in known:
        raise ValueError(f"convention={convention!r} is unknown; give {' or '.join(map(repr, known))}")
    return convention


def exact_parameter(name: str, value: Any) -> Expr:
    expression = value if isinstance(value, (Expr, str)) else sympify(value)
    if not isinstance(expression, Expr) or expression.atoms(Float):
        raise TypeError(
            f"{name}={value!r} must be an exact number (such as Rational(9, 10)) or a SymPy expression"
        )
    return expression
