r"""The modified flow of a game: trees whose nodes are coloured by players.

The joint field is f = Σ_i f_i, f_i what player i owns, zero elsewhere. Simultaneous steps are Euler's on the joint
field with the rates in it, f_i ↦ r_i f_i; alternating ones are a composition of partial steps. Either way a node of
player i brings r_i, and the rest of a tree's coefficient is a number, found by running the round (as in `iterates`):

    u(t, j + 1) = u(t, j) + Π_children u_child as it is seen,        u(t + 1, 0) = u(t, m)

for a root of a player who makes m steps. Children of the same player are seen at its own step j; those of others as
they were at the round's beginning, or, alternating, as they are now: at its end if they come earlier.

Time counts rounds: one flow for all players. The flows that are written player by player, each in its own time
(r_i f_i − (h/2) r_i² (∂_i f_i f_i + ∂_j f_i f_j) for simultaneous players), agree with it after one step from given
parameters only where rates are equal; along a trajectory they leave it at the order that they claim to correct.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Self

from sympy import Expr, Integer, Symbol, latex, sstr

from taylorsgd import symbols
from taylorsgd.arguments import as_whole
from taylorsgd.flows.coloured import Coloured, automorphisms, coloured_trees, written
from taylorsgd.flows.decaying import ColouredSeries
from taylorsgd.flows.iterates import Growth, RungeKuttaGrowth, State, newton_coordinates, newton_values, velocities
from taylorsgd.flows.tableau import EULER, RungeKutta
from taylorsgd.updates import Players
from taylorsgd.writing.page import joined, signed

__all__ = ["PlayersFlow"]

EXTRAGRADIENT = RungeKutta([[0, 0], [1, 0]], [0, 1])
"""θ ← θ + h f(θ + h f(θ))."""


class PlayersFlow(ColouredSeries):
    """The flow that the rounds of several players lie on: θ̇ = Σ_τ h^{|τ|−1} c(τ) F(τ), trees coloured by players.

    A mapping from trees to coefficients, the rates included; time counts rounds. `flow.player(i)` is what moves the
    parameters of one player. Indexed by an integer d it is the part with h^d.

    Attributes:
        update: the `Players`.

    Example:
        >>> import taylorsgd as ts
        >>> print(ts.modified_flow(2, update=ts.Players([1, 2])))
        player 1: f_1 - h/2 f_1'f_1 - h f_1'f_2
        player 2: 2 f_2 - h f_2'f_1 - 2*h f_2'f_2
    """

    def __init__(self, coefficients: Mapping[Coloured, Expr], order: int, update: Players) -> None:
        """Keep the players; users call `modified_flow`."""
        super().__init__(coefficients, order)
        self.update = update
        self.names = tuple(f"f_{i + 1}" for i in range(len(update.rates)))

    @classmethod
    def of(cls, update: Players, order: int) -> Self:
        """Run the rounds; users call `modified_flow`."""
        trees = [t for n in range(1, order + 1) for t in coloured_trees(n, (None,) * len(update.rates))]
        weights = velocities(trees, _growth(update, order), order)
        found = {}
        for tree, weight in zip(trees, weights, strict=True):
            found[tree] = weight / automorphisms(tree) * _rates(tree, update.rates)
        return cls(found, order, update)

    def _like(self, coefficients: Mapping[Coloured, Expr]) -> Self:
        return type(self)(coefficients, self.order, self.update)

    def player(self, number: int) -> PlayersFlow:
        """What moves the parameters of one player, by number from 1.

        Raises:
            KeyError: if there is no such player.
        """
        chosen = as_whole(number)
        if chosen is None or not 1 <= chosen <= len(self.update.rates):
            raise KeyError(f"player={number!r}: there are players 1, …, {len(self.update.rates)}")
        return self._like({tree: c for tree, c in self.items() if tree.field == chosen - 1})

    @property
    def free_symbols(self) -> set[Symbol]:
        """The symbols in the rates."""
        found = set().union(*(rate.free_symbols for rate in self.update.rates))
        return {symbol for symbol in found if isinstance(symbol, Symbol)} - {symbols.h}

    def lower(self, loss: Callable[..., Any]) -> Any:
        """The flow on any field, as a jitted function of JAX.

        Args:
            loss: f, a function `field(theta, *arguments)` that returns a pytree like θ, the directions in which the
                players go. `split` counts the entries of θ as they are flattened.

        Returns:
            A function `field(theta, *arguments, h=0.1, …)`.

        Raises:
            TypeError: if it is no function.

        Example:
            >>> import jax.numpy as jnp
            >>> import taylorsgd as ts
            >>> game = ts.modified_flow(2, update=ts.Players([1, 1])).lower(lambda t: jnp.array([t[1], -t[0]]))
            >>> game(jnp.array([1.0, 0.0]), h=0.5).tolist()              # simultaneous players spiral outwards
            [0.25, -1.0]
        """
        return self._lowered(loss, of_field=True)

    def _fields(self, f: tuple[Expr, ...], variables: tuple[Symbol, ...]) -> list[tuple[Expr, ...]]:
        owners = self.update.owners(variables, len(variables))
        return [
            tuple(entry if owner == player else Integer(0) for entry, owner in zip(f, owners, strict=True))
            for player in range(len(self.update.rates))
        ]

    def _functions(
        self, f: Callable[[Any], Any], number: Callable[[Expr], Any], size: int
    ) -> list[Callable[[Any], Any]]:
        import numpy as np

        owners = np.array(self.update.owners(None, size))

        def component(player: int) -> Callable[[Any], Any]:
            return lambda theta: f(theta) * (owners == player).astype(theta.dtype)

        return [component(player) for player in range(len(self.update.rates))]

    def latex(self) -> str:
        r"""The flow in LaTeX, a line for every player."""
        lines = [rf"\dot{{\theta}}_{{{i + 1}}} &= " + self._line(i, latex) for i in range(len(self.update.rates))]
        return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        """The flow in plain text, a line for every player."""
        return "\n".join(f"player {i + 1}: {self._line(i, sstr)}" for i in range(len(self.update.rates)))

    def __repr__(self) -> str:
        """The flow in plain text, so that it reads well at a prompt."""
        return f"<PlayersFlow through h**{self.order - 1}\n{self}>"

    def _line(self, player: int, write: Callable[[Any], str]) -> str:
        return joined(
            [
                signed(c * symbols.h ** (tree.nodes - 1), written(tree, self.names), write)
                for tree, c in self.items()
                if tree.field == player
            ]
        )


def _rates(tree: Coloured, rates: Sequence[Expr]) -> Expr:
    return rates[tree.field] * prod((_rates(child, rates) for child in tree.below), start=Integer(1))


def _growth(update: Players, steps: int) -> Growth:
    if update.method == "extragradient":
        return RungeKuttaGrowth(EXTRAGRADIENT, steps)
    if update.method == "optimistic":
        return _OptimisticGrowth(steps, update.order == "alternating")
    if update.order == "simultaneous" and set(update.counts) == {1}:
        return RungeKuttaGrowth(EULER, steps)
    return _RoundGrowth(update, steps)


class _RoundGrowth:
    """Runs rounds of partial steps; a state is u at the rounds, u at the root's player's own steps, and who that is."""

    def __init__(self, update: Players, steps: int) -> None:
        self._counts, self._alternating = update.counts, update.order == "alternating"
        self._steps = steps

    def grow(self, below: Sequence[State], field: int = 0) -> State:
        """Run the rounds on a tree."""
        position, rounds, inside = 0, [0], []
        for t in range(self._steps):
            inside.append([position])
            for j in range(self._counts[field]):
                position += prod(self._seen(state, field, t, j) for state in below)
                inside[-1].append(position)
            rounds.append(position)
        return rounds, inside, [field]

    def _seen(self, state: State, by: int, t: int, j: int) -> int:
        rounds, inside, (owner,) = state
        if owner == by:
            return inside[t][j]
        return rounds[t + 1] if self._alternating and owner < by else rounds[t]

    def expression(self, number: Any, denominator: int) -> Expr:
        """A number over an integer."""
        return Integer(number) / denominator


class _OptimisticGrowth:
    """Runs θ_i ← θ_i + h(2f_i(now) − f_i(a round ago)) on its slow manifold, where Δu = (2 − (1 + Δ)⁻¹) r.

    A state is u at the rounds, the same a round on, and whose the root is: alternating players see those before them
    as they are then.
    """

    def __init__(self, steps: int, alternating: bool) -> None:
        self._steps, self._alternating = steps, alternating

    def grow(self, below: Sequence[State], field: int = 0) -> State:
        """Run the method on a tree, in Newton coordinates."""
        seen = [later if self._alternating and owner < field else now for now, later, (owner,) in below]
        forces = newton_coordinates([prod(rounds[t] for rounds in seen) for t in range(self._steps + 1)])
        position, before = [0] * (self._steps + 2), 0
        for j in reversed(range(self._steps)):
            before = forces[j] - before  # w = (1 + Δ)⁻¹ r, from its last coordinate on
            position[j + 1] = 2 * forces[j] - before
        rounds = newton_values(position)
        return rounds[:-1], rounds[1:], [field]

    def expression(self, number: Any, denominator: int) -> Expr:
        """A number over an integer."""
        return Integer(number) / denominator
