r"""Optimizers that work coordinate by coordinate on averaged functions of the gradient: RMSProp, Adam, the user's own.

At every coordinate, with g the full batch's gradient there,

    s_i ← A_i s_i + (1 − A_i) P_i(g),        θ ← θ − h U(s_1, s_2, …),        all elementwise,

at late times: without the correction of a bias that has faded. They are not linear in the gradient, so that no diagram
sums them up; their states fade, so that they have a modified flow (`taylorsgd.flows`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from attrs import field, frozen
from sympy import Dummy, Expr, Integer, Symbol, sqrt

from taylorsgd import symbols
from taylorsgd.arguments import listed, pairs_of, switched
from taylorsgd.exact_numbers import exact_argument
from taylorsgd.updates.rule import exactly

__all__ = ["Adam", "Elementwise", "ElementwiseRule", "Filter", "RMSProp"]


class Filter(NamedTuple):
    """One state of an elementwise rule: s ← A s + (1 − A) P.

    Attributes:
        state: s.
        memory: A.
        force: P, an expression in `symbols.g` and `symbols.theta`.
    """

    state: Symbol
    memory: Expr
    force: Expr


class ElementwiseRule(ABC):
    """A rule of this kind: its filters and its step."""

    @property
    @abstractmethod
    def filters(self) -> tuple[Filter, ...]:
        """The states, with how they fade and what they average."""

    @property
    @abstractmethod
    def step(self) -> Expr:
        """U, with θ ← θ − h U: an expression in the states, `symbols.g` and `symbols.theta`."""


def _checked_states(states: Any) -> tuple[Filter, ...]:
    found = []
    for state, given in pairs_of(states, "states"):
        if not isinstance(state, Symbol):
            raise TypeError(f"states: its key {state!r} must be a SymPy symbol, such as Symbol('m')")
        if state in (symbols.g, symbols.theta, symbols.h):
            raise ValueError(
                f"states: {state} is not a state's to have: g is the gradient, theta the parameter, h the step"
            )
        pair = listed(given, f"states[{state}]", "(beta, g)")
        if len(pair) != 2:
            raise ValueError(f"states[{state}]={given!r} must be a pair (A, P) of s ← A s + (1 − A) P(g)")
        found.append(
            Filter(state, _memory(pair[0], f"states[{state}][0]"), exact_argument(pair[1], f"states[{state}][1]"))
        )
    names = {one.state for one in found}
    for one in found:
        for expression in (one.memory, one.force):
            _refuse(expression, {*names, symbols.h}, f"states[{one.state}]")
        _refuse(one.memory, {symbols.g, symbols.theta}, f"states[{one.state}][0]")
    return tuple(found)


def _refuse(expression: Expr, unwanted: set[Symbol], name: str) -> None:
    if used := expression.free_symbols & unwanted:
        raise ValueError(f"{name}={expression} must not hold {', '.join(sorted(map(str, used)))}")


def _memory(value: Any, name: str) -> Expr:
    """A factor by which a state fades, between -1 and 1 where it is a number."""
    factor = exact_argument(value, name)
    if factor.is_number and not (factor.is_extended_real and -1 < factor < 1):
        raise ValueError(f"{name}={factor}: a state that never fades has no late time; it must be between -1 and 1")
    return factor


def _fading(name: str) -> Any:
    return lambda value: _memory(value, name)


def _epsilon(value: Any) -> Expr:
    epsilon = exact_argument(value, "epsilon")
    if epsilon.is_number and not (epsilon.is_extended_real and epsilon >= 0):
        raise ValueError(f"epsilon={epsilon} must not be negative")
    return epsilon


def _inside(value: Any) -> bool:
    return switched(value, "epsilon_inside")


def _scaled(momentum: Expr, square: Expr, epsilon: Expr, inside: bool) -> Expr:
    return momentum / sqrt(square + epsilon) if inside else momentum / (sqrt(square) + epsilon)


@frozen
class Elementwise(ElementwiseRule):
    """An elementwise optimizer of one's own: s ← A s + (1 − A) P(g), θ ← θ − h U(s, g, θ), full batch, at late times.

    `modified_flow` and `modified_loss` take it.

    Args:
        states: for every state, a SymPy symbol, the pair (A, P): by what factor it fades, and what it averages, an
            expression in the gradient `ts.symbols.g` (and the parameter `ts.symbols.theta`).
        step: U, an expression in the states, `ts.symbols.g` and `ts.symbols.theta`. Other symbols are parameters.

    Raises:
        TypeError: if the states are no mapping from symbols to pairs of expressions, or the step is no expression.
        ValueError: if a state does not fade, or an expression holds what it must not.

    Example:
        Heavy ball, v ← βv + g and θ ← θ − hv, is an average g and a step s/(1 − β):

        >>> import taylorsgd as ts
        >>> from sympy import symbols
        >>> s, beta = symbols("s beta")
        >>> rule = ts.Elementwise({s: (beta, ts.symbols.g)}, s / (1 - beta))
        >>> print(ts.modified_flow(2, update=rule))
        1/(beta - 1) ∇E + h*(beta + 1)/(2*(beta - 1)**3) ∇∇E ∇E
    """

    states: tuple[Filter, ...] = field(converter=_checked_states)
    step: Expr = field(converter=lambda value: exact_argument(value, "step"))  # type: ignore[assignment]

    def __attrs_post_init__(self) -> None:
        """Refuse a step that depends on its own size."""
        _refuse(self.step, {symbols.h}, "step")

    @property
    def filters(self) -> tuple[Filter, ...]:
        """The states."""
        return self.states


@frozen
class RMSProp(ElementwiseRule):
    """RMSProp: v ← ρv + (1 − ρ) g², θ ← θ − h g/(√v + ε), full batch, at late times (Tieleman and Hinton 2012).

    Args:
        rho: ρ, an exact number or a SymPy expression.
        epsilon: ε, not negative; in units of g, or of g² under the root.
        epsilon_inside: whether ε is under the root, g/√(v + ε), as optax's `eps_in_sqrt`.

    Raises:
        TypeError: if a parameter is neither an exact number nor a SymPy expression.
        ValueError: if ρ is a number outside of −1 < ρ < 1, or ε a negative one.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import symbols
        >>> rho, epsilon = symbols("rho epsilon")
        >>> print(ts.modified_flow(1, update=ts.RMSProp(rho, epsilon)))
        -g/w, with w = epsilon + |g|, g = ∇E
    """

    rho: Expr = field(converter=_fading("rho"))
    epsilon: Expr = field(converter=_epsilon)
    epsilon_inside: bool = field(default=False, converter=_inside)

    @property
    def filters(self) -> tuple[Filter, ...]:
        """The average of the squares."""
        return (Filter(_V, self.rho, symbols.g**2),)

    @property
    def step(self) -> Expr:
        """The gradient over the root of the average."""
        return _scaled(symbols.g, _V, self.epsilon, self.epsilon_inside)


@frozen
class Adam(ElementwiseRule):
    """Adam: m ← β₁m + (1 − β₁) g, v ← β₂v + (1 − β₂) g², θ ← θ − h m/(√v + ε), full batch, at late times.

    At late times the correction of the averages' bias, 1/(1 − β^t), is gone (Kingma and Ba 2015, section 2).

    Args:
        beta1: β₁, an exact number or a SymPy expression.
        beta2: β₂, likewise.
        epsilon: ε, not negative; in units of g, or of g² under the root.
        decay: λ, the decoupled weight decay towards 0 of AdamW, θ ← θ − h (m/(√v + ε) + λθ) (Loshchilov and Hutter
            2019). Coupled decay is a part of the loss: the `penalty` of `evaluate`.
        epsilon_inside: whether ε is under the root, m/√(v + ε), as optax's `eps_root`.

    Raises:
        TypeError: if a parameter is neither an exact number nor a SymPy expression.
        ValueError: if a β is a number outside of −1 < β < 1, or ε a negative one.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import Rational
        >>> flow = ts.modified_flow(2, update=ts.Adam(Rational(1, 2), Rational(2, 3), 1, epsilon_inside=True))
        >>> print(flow)
        -g/w + h*(1/w - 5/(2*w**3)) ∇|∇E|_*, with |∇E|_* = Σ_i w, w = sqrt(g**2 + 1), g = ∇E
    """

    beta1: Expr = field(converter=_fading("beta1"))
    beta2: Expr = field(converter=_fading("beta2"))
    epsilon: Expr = field(converter=_epsilon)
    decay: Expr = field(default=Integer(0), converter=exactly("decay"))
    epsilon_inside: bool = field(default=False, converter=_inside)

    @property
    def filters(self) -> tuple[Filter, ...]:
        """The averages of the gradient and of its square."""
        return Filter(_M, self.beta1, symbols.g), Filter(_V, self.beta2, symbols.g**2)

    @property
    def step(self) -> Expr:
        """The average over the root of the other, and the decay."""
        return _scaled(_M, _V, self.epsilon, self.epsilon_inside) + self.decay * symbols.theta


_M, _V = Dummy("m"), Dummy("v")
