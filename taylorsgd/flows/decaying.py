r"""Flows of methods with decoupled weight decay: series in trees of two fields.

Decay by w = hλ in one update, θ ← … − w(θ − θ_0), is a second field d = −λ(θ − θ_0) that is added to the step past the
method's memory. Without memory the flow is that of the joint field f + d; with momentum the two are treated
differently, and a tree's coefficient depends on which of them stands at each node. As d is affine, its nodes have at
most one child.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

from sympy import Expr, Symbol, expand, latex, sstr

from taylorsgd import symbols
from taylorsgd.arguments import as_whole, listed
from taylorsgd.exact_numbers import exact_argument
from taylorsgd.flows.calculus import Calculus, VectorField
from taylorsgd.flows.coloured import Coloured, automorphisms, coloured_trees, written
from taylorsgd.flows.iterates import Growth, displacements, velocities
from taylorsgd.writing.page import joined, signed

if TYPE_CHECKING:
    from sympy import ImmutableMatrix

    from taylorsgd.formulas import Observable

__all__ = ["ColouredSeries", "DecayingFlow", "DecayingMap", "DecayingSeries"]


class ColouredSeries(VectorField, Mapping[Coloured, Expr]):
    """A vector field as a series in trees of several fields: Σ_τ h^{|τ|−1} c(τ) F(τ).

    A mapping from trees to exact coefficients, zeros left out; division by the tree's automorphisms is part of c.
    Indexed by an integer d it is the part with h^d.
    """

    names: tuple[str, ...]
    """How the fields are written."""

    def __init__(self, coefficients: Mapping[Coloured, Expr], order: int) -> None:
        """Keep what is not 0, smaller trees first; users call `modified_flow` instead."""
        self._coefficients = {tree: c for tree, c in coefficients.items() if c != 0}
        self.order = order

    def __getitem__(self, key: Any) -> Any:
        """The coefficient of a tree, 0 if it has none, or the part with a power of h."""
        if isinstance(key, Coloured):
            return self._coefficients.get(key, symbols.h * 0)
        if as_whole(key) is None:
            raise TypeError(f"flow[{key!r}]: give a tree, or a power of h")
        if not 0 <= key < self.order:
            raise KeyError(f"h^{key} is not known; this series goes from h^0 through h^{self.order - 1}")
        return self._like({tree: c for tree, c in self.items() if tree.nodes == key + 1})

    def __iter__(self) -> Iterator[Coloured]:
        """The trees that have a coefficient, from few nodes to many."""
        return iter(self._coefficients)

    def __len__(self) -> int:
        """The number of trees that have a coefficient."""
        return len(self._coefficients)

    def __contains__(self, tree: object) -> bool:
        """Whether a tree has a coefficient."""
        return tree in self._coefficients

    def _like(self, coefficients: Mapping[Coloured, Expr]) -> Self:
        raise NotImplementedError

    def _assembled(self, calculus: Calculus) -> Any:
        known: dict[Coloured, Any] = {}

        def differential(tree: Coloured) -> Any:
            if tree not in known:
                known[tree] = calculus.derivative(tree.field, [differential(child) for child in tree.below])
            return known[tree]

        parts = [calculus.number(c * symbols.h ** (t.nodes - 1)) * differential(t) for t, c in self.items()]
        return sum(parts[1:], start=parts[0]) if parts else 0 * differential(Coloured(0, ()))

    def _pieces(self, write: Callable[[Any], str]) -> list[str]:
        return [
            signed(coefficient * symbols.h ** (tree.nodes - 1), written(tree, self.names), write)
            for tree, coefficient in self.items()
        ]


class DecayingSeries(ColouredSeries):
    """What flows and steps with decoupled decay share: the fields f and d = −(w/h)(θ − θ_0).

    Attributes:
        decay: w, the decay in one update, which counts as a power of h.
    """

    names = ("f", "d")

    def __init__(self, coefficients: Mapping[Coloured, Expr], order: int, decay: Expr) -> None:
        """Keep the decay."""
        super().__init__(coefficients, order)
        self.decay = decay

    @classmethod
    def _solved(cls, growth: Growth, order: int, decay: Expr, solve: Any) -> Self:
        trees = [tree for n in range(1, order + 1) for tree in coloured_trees(n, (None, 1))]
        weights = solve(trees, growth, order)
        return cls({t: weight / automorphisms(t) for t, weight in zip(trees, weights, strict=True)}, order, decay)

    def _like(self, coefficients: Mapping[Coloured, Expr]) -> Self:
        return type(self)(coefficients, self.order, self.decay)

    @property
    def speed(self) -> Expr:
        """λ = w/h, so that d = −λ(θ − θ_0)."""
        return expand(self.decay / symbols.h)

    @property
    def free_symbols(self) -> set[Symbol]:
        """The parameters of the rule that the coefficients and the decay hold."""
        found = self.decay.free_symbols.union(*(c.free_symbols for c in self.values()))
        return {symbol for symbol in found if isinstance(symbol, Symbol)} - {symbols.h}

    def evaluate(
        self, landscape: Any, at: Any, penalty: Observable | None = None, origin: Any = None
    ) -> ImmutableMatrix:
        """The vector at a point of an exact landscape, as `ModifiedFlow.evaluate` gives it.

        Args:
            landscape: a `FiniteLandscape`.
            at: the point θ.
            penalty: p(θ), what descent minimizes beside the losses.
            origin: θ_0, the point to which the decay pulls, where the run began; 0 by default.

        Example:
            >>> import taylorsgd as ts
            >>> from sympy.abc import x, w
            >>> bowl = ts.FiniteLandscape([x**2 / 2], [1], [x])
            >>> ts.modified_flow(1, update=ts.Descent(decay=w * ts.symbols.h)).evaluate(bowl, at=1)
            Matrix([[-w - 1]])
        """
        return self._towards(origin)._evaluated(landscape, at, penalty)

    def _evaluated(self, landscape: Any, at: Any, penalty: Any) -> ImmutableMatrix:
        return super().evaluate(landscape, at, penalty)

    def _towards(self, origin: Any) -> Self:
        found = self._like(self._coefficients)
        found._origin = (
            None
            if origin is None
            else tuple(exact_argument(x, f"origin[{i}]") for i, x in enumerate(listed(origin, "origin", "[0, 1]")))
        )
        return found

    _origin: tuple[Expr, ...] | None = None

    def _fields(self, f: tuple[Expr, ...], variables: tuple[Symbol, ...]) -> list[tuple[Expr, ...]]:
        origin = (symbols.h * 0,) * len(variables) if self._origin is None else self._origin
        if len(origin) != len(variables):
            raise ValueError(f"origin={origin} has {len(origin)} entries; give {len(variables)}, one for each variable")
        return [f, tuple(-self.speed * (x - a) for x, a in zip(variables, origin, strict=True))]

    def _functions(
        self, f: Callable[[Any], Any], number: Callable[[Expr], Any], size: int
    ) -> list[Callable[[Any], Any]]:
        return [f, lambda theta: -number(self.speed) * theta]  # in JAX the decay pulls to 0

    def latex(self) -> str:
        r"""The field in LaTeX, in f and d."""
        text = joined(self._pieces(latex))
        return text.replace("-", "- ", 1) if text.startswith("-") else text

    def __str__(self) -> str:
        """The field in plain text, in f and d."""
        return f"{joined(self._pieces(sstr))}, with d = {sstr(-self.speed)}*(θ - θ_0)"


class DecayingFlow(DecayingSeries):
    """The flow of a method with decoupled weight decay: θ̇ = Σ_τ h^{|τ|−1} c(τ) F(τ), trees of f and d.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import Rational
        >>> from sympy.abc import w
        >>> flow = ts.modified_flow(2, update=ts.HeavyBall(Rational(1, 2), decay=w * ts.symbols.h))
        >>> print(flow)
        2 f + d - 6*h f'f - 3*h f'd - h d'f - h/2 d'd, with d = -w*(θ - θ_0)
    """

    @classmethod
    def of(cls, growth: Growth, order: int, decay: Expr) -> Self:
        """Run a method; users call `modified_flow`."""
        return cls._solved(growth, order, decay, velocities)

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle \dot{{\theta}} = {self.latex()}, \qquad d = {latex(-self.speed)} (\theta - \theta_0)$"

    def __repr__(self) -> str:
        """The field in plain text, so that it reads well at a prompt."""
        return f"<DecayingFlow θ̇ = {self} + O(h**{self.order})>"


class DecayingMap(DecayingSeries):
    """A step without memory of a method with decoupled decay: θ ← θ + h Σ_τ h^{|τ|−1} c(τ) F(τ), trees of f and d."""

    @classmethod
    def of(cls, growth: Growth, order: int, decay: Expr) -> Self:
        """Run a method; users call `modified_map`."""
        return cls._solved(growth, order, decay, displacements)

    def _repr_latex_(self) -> str:
        step = rf"\theta \leftarrow \theta + h \left({self.latex()}\right)"
        return rf"$\displaystyle {step}, \qquad d = {latex(-self.speed)} (\theta - \theta_0)$"

    def __repr__(self) -> str:
        """The step in plain text, so that it reads well at a prompt."""
        return f"<DecayingMap θ ← θ + h·({self} + O(h**{self.order}))>"
