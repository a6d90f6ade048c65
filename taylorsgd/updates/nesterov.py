"""Nesterov's momentum, in both conventions for where gradients are taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from sympy import Expr, Integer

from taylorsgd.updates.rule import Batch, Memory, Rates, Update, checked_rates, exactly, one_of

__all__ = ["Nesterov"]


@frozen
class Nesterov(Update):
    """Nesterov's momentum, with v = 0 at first.

    Args:
        beta: β, an exact number or a SymPy expression.
        rates: factors r_t of η, one for each update, or a schedule such as `Cosine()`; None for 1.
        convention: "torch" (also optax): v ← βv + g, θ ← θ − η r_t (g + βv), where θ is the point at which
            gradients are taken. "sutskever": v ← βv − η r_t g(θ + βv), θ ← θ + v (Sutskever et al. 2013).
        decay: w, the decoupled weight decay in one update: θ moves by −w (θ − θ_0) as well, which v never sees.

    Raises:
        TypeError: if a parameter is neither an exact number nor a SymPy expression.
        ValueError: if the convention is unknown.
    """

    beta: Expr = field(converter=exactly("beta"))
    rates: Rates = field(default=None, converter=checked_rates)
    convention: str = field(default="torch", validator=one_of("torch", "sutskever"))
    decay: Expr = field(default=Integer(0), converter=exactly("decay"))

    def start(self, origin: Any) -> tuple[Any, ...]:
        """θ, and v = 0."""
        return origin, 0 * origin

    def step(self, numbers: Mapping[str, Any], state: tuple[Any, ...], batch: Batch, rate: Any) -> tuple[Any, ...]:
        """The rule."""
        x, v = state
        beta, pull = numbers["beta"], numbers["decay"] * (x - batch.origin)
        if self.convention == "torch":
            slope = batch.slope(x)
            v = beta * v + slope
            return x - rate * (slope + beta * v) - pull, v
        v = beta * v - rate * batch.slope(x + beta * v)
        return x + v - pull, v

    def memory(self, rate: Expr) -> Memory:
        """The state is (θ − θ_0, v), and Sutskever's gradients are taken at θ + βv."""
        one, zero, beta, kept = Integer(1), Integer(0), self.beta, 1 - self.decay
        if beta == 0:  # nothing is remembered
            return Memory(((kept,),), (rate,), (one,), (one,))
        if self.convention == "torch":
            carry = ((kept, rate * beta**2), (zero, beta))
            return Memory(carry, (rate * (1 + beta), one), (one, zero), (one, zero))
        return Memory(((kept, beta), (zero, beta)), (rate, rate), (one, beta), (one, zero))
