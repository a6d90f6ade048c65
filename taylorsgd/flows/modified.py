"""The modified equation of a numerical method, the flow that its steps lie on; and the step itself, without memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taylorsgd.diagrams import Diagram
from taylorsgd.flows.decaying import DecayingFlow, DecayingMap
from taylorsgd.flows.elementwise_flow import ElementwiseFlow
from taylorsgd.flows.iterates import Growth, MomentumGrowth, RungeKuttaGrowth, displacements, velocities
from taylorsgd.flows.player_flow import PlayersFlow
from taylorsgd.flows.rooted import shape_of, trees_with_nodes
from taylorsgd.flows.series import TreeSeries, checked_nodes
from taylorsgd.flows.tableau import EULER, RungeKutta
from taylorsgd.updates import Descent, ElementwiseRule, HeavyBall, ImplicitStep, Nesterov, Players, Update
from taylorsgd.updates.rule import refuse_lasting_momentum

__all__ = ["AnyUpdate", "ModifiedFlow", "ModifiedMap", "modified_flow", "modified_map"]

AnyUpdate = Update | RungeKutta | ElementwiseRule | Players | None
"""What a flow is derived for; None is gradient descent."""


class ModifiedFlow(TreeSeries):
    """A field as a series of elementary differentials: θ̇ = Σ_τ h^{|τ|−1} c(τ) F(τ)(f).

    A mapping from rooted trees (diagrams without ties) to their exact coefficients c(τ), zeros included;
    division by the tree's symmetry is part of c, and `weight` gives b(τ) = σ(τ) c(τ). Indexed by an integer d
    it gives the part with h^d. Series add, subtract and scale, through the lower of their orders.

    Args:
        coefficients: c(τ) by tree. A tree that is missing has the coefficient 0.
        order: the number of nodes through which the series is known, so that h^(order−1) is its last power.

    Example:
        >>> import taylorsgd as ts
        >>> flow = ts.modified_flow(3)
        >>> print(flow)
        f - h/2 f'f + h**2/3 f'f'f + h**2/12 f''(f, f)
        >>> flow[ts.Diagram((-1, 0, 0))], flow.weight(ts.Diagram((-1, 0, 0)))
        (1/12, 1/6)
        >>> print(flow[1], "|", flow[1].gradient_text())
        -h/2 f'f | -h/2 ∇∇E ∇E
    """

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle \dot{{\theta}} = {self.latex()}$"

    def __repr__(self) -> str:
        """The field in plain text, so that it reads well at a prompt."""
        return f"<ModifiedFlow θ̇ = {self} + O(h**{self.order})>"


class ModifiedMap(TreeSeries):
    """A step without memory as a series of elementary differentials: θ ← θ + h Σ_τ h^{|τ|−1} c(τ) F(τ)(f).

    A mapping from rooted trees to their exact coefficients, as a `ModifiedFlow` is. `evaluate`, `field` and the texts
    give what stands behind θ + h: the step over h.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import Rational
        >>> print(ts.modified_map(2, update=ts.HeavyBall(Rational(1, 2))))
        2 f - 4*h f'f
    """

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle \theta \leftarrow \theta + h \left({self.latex()}\right)$"

    def __repr__(self) -> str:
        """The step in plain text, so that it reads well at a prompt."""
        return f"<ModifiedMap θ ← θ + h·({self} + O(h**{self.order}))>"


def modified_flow(order: int, update: AnyUpdate = None) -> Any:
    """Derive the modified equation θ̇ = f + h f_1 + h² f_2 + … of a method, exactly.

    The steps θ_0, θ_1, θ_2, … of the method with step size h lie on the solution of the modified equation at
    times 0, h, 2h, …, to every order in h. For gradient descent f = −∇E and h = η. Where the method has memory this
    is the flow on the slow manifold, where it stays or ends as it forgets how it began.

    Args:
        order: the most nodes of a tree, at least 1; the last power is h^(order−1).
        update: None (or a plain `Descent()`) for explicit Euler, which gradient descent is; a
            `RungeKutta(A, b)`; an `ImplicitStep(lam)`; `HeavyBall(beta)`, v ← βv + h f(θ), θ ← θ + v;
            `Nesterov(beta)` in either convention; each of the last two and `Descent` with `decay`, which counts as a
            power of h: the decay w = hλ towards θ_0 is a second field −λ(θ − θ_0). (Coupled decay is a part of the
            loss: the `penalty` of `evaluate`.) Or an optimizer that works coordinate by coordinate: `RMSProp`, `Adam`,
            `Elementwise(states, step)`. Or a game of several `Players(rates)`.

    Returns:
        A `ModifiedFlow`; with decay a `DecayingFlow`, in trees of two fields; of elementwise optimizers an
        `ElementwiseFlow`, of players a `PlayersFlow`. Its first coefficient is 1; with momentum 1/(1 − β).

    Raises:
        ValueError: if `order` is not a positive integer, or β a number outside of −1 < β < 1.
        TypeError: if the update is of another kind.
        NotImplementedError: for update rules whose rates change the field from step to step.

    Example:
        >>> import taylorsgd as ts
        >>> print(ts.modified_flow(4)[3])
        -h**3/4 f'f'f'f - h**3/12 f'f''(f, f) - h**3/12 f''(f, f'f)
        >>> from sympy import Symbol
        >>> print(ts.modified_flow(2, update=ts.HeavyBall(Symbol("beta"))))
        1/(1 - beta) f - h*(beta + 1)/(2*(1 - beta)**3) f'f

    Source: Barrett and Dherin, Theorem 3.1 (through h); Hairer, Lubich and Wanner, section IX.9; for heavy ball
    through h, Ghosh et al. 2023; for Adam and RMSProp through h, Cattaneo, Klusowski and Shigida 2023.
    """
    order = checked_nodes(order)
    if isinstance(update, ElementwiseRule):
        return ElementwiseFlow(update, order)
    if isinstance(update, Players):
        return PlayersFlow.of(update, order)
    growth = _growth(update, order)
    if isinstance(update, Update) and getattr(update, "decay", 0) != 0:
        return DecayingFlow.of(growth, order, update.decay)  # type: ignore[attr-defined]
    return ModifiedFlow(_coefficients(order, growth, velocities), order)


def modified_map(order: int, update: AnyUpdate = None) -> Any:
    """Derive the step without memory, θ ← θ + h(…), that a method makes on its slow manifold.

    With momentum θ_{t+1} depends on θ_t and on a buffer; on the invariant manifold, where the buffer is a function of
    θ, it depends on θ_t alone. `modified_flow` is the flow whose time-h map this is. Without memory it is the method's
    own step: of Runge-Kutta methods their series, of explicit Euler f alone.

    Args:
        order: the most nodes of a tree, at least 1; the last power of h in the step is h^order.
        update: as for `modified_flow`, but for elementwise optimizers.

    Returns:
        A `ModifiedMap`, or with decay a `DecayingMap`. Of heavy ball the chain of n nodes carries the Narayana
        polynomial N_{n−1}(β)/(1 − β)^{2n−1}, and a root with k leaves (−1)^k A_k(β)/((1 − β)^{2k+1} k!) with the
        Eulerian polynomial A_k(β) = Σ_j j^k β^j · (1 − β)^{k+1}.

    Raises:
        ValueError, TypeError, NotImplementedError: as `modified_flow`.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import Symbol
        >>> print(ts.modified_map(2, update=ts.HeavyBall(Symbol("beta"))))
        1/(1 - beta) f - beta*h/(1 - beta)**3 f'f
        >>> print(ts.modified_map(4))
        f
    """
    order = checked_nodes(order)
    if isinstance(update, ElementwiseRule | Players):
        raise NotImplementedError(f"update={update!r}: of this update the flow is derived, by modified_flow")
    growth = _growth(update, order)
    if isinstance(update, Update) and getattr(update, "decay", 0) != 0:
        return DecayingMap.of(growth, order, update.decay)  # type: ignore[attr-defined]
    return ModifiedMap(_coefficients(order, growth, displacements), order)


def _coefficients(order: int, growth: Growth, solve: Any) -> dict[Diagram, Any]:
    trees: Sequence[Diagram] = [tree for n in range(1, order + 1) for tree in trees_with_nodes(n)]
    weights = solve([shape_of(tree) for tree in trees], growth, order)
    return {tree: weight / tree.automorphisms for tree, weight in zip(trees, weights, strict=True)}


def _growth(update: Update | RungeKutta | None, steps: int) -> Growth:
    match update:
        case None:
            return RungeKuttaGrowth(EULER, steps)
        case RungeKutta():
            return RungeKuttaGrowth(update, steps)
        case ImplicitStep():
            return RungeKuttaGrowth(RungeKutta([[update.instant]], [1]), steps)
        case Descent() if update.rates is None and update.metric is None:
            return RungeKuttaGrowth(EULER, steps)
        case HeavyBall() | Nesterov() if update.rates is None:
            refuse_lasting_momentum(update, "slow manifold")
            kind = update.convention if isinstance(update, Nesterov) else "polyak"
            return MomentumGrowth(update.beta, steps, kind)
    supported = (
        "None, RungeKutta(A, b), HeavyBall(beta), Nesterov(beta), ImplicitStep(lam), Descent(decay=w), RMSProp(...), "
        "Adam(...) and Elementwise(states, step), each without rates"
    )
    if isinstance(update, Descent) and update.metric is not None:
        raise NotImplementedError(
            f"update: its metric Λ = {update.metric.tolist()} is a part of the field, f = -Λ∇E; leave it out here, and "
            "give `field` that f"
        )
    if isinstance(update, Update):
        raise NotImplementedError(f"update={update!r} has no modified flow here; supported are {supported}")
    raise TypeError(f"update={update!r} is not an update rule; give one of {supported}")
