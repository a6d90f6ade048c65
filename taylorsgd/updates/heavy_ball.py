"""Heavy-ball momentum (Polyak 1964), in both conventions for where the rate goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from sympy import Expr, Integer

from taylorsgd.updates.rule import Batch, Memory, Rates, Update, checked_rates, exactly, one_of

__all__ = ["HeavyBall"]


@frozen
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
        E[l(θ_3)] = l - (beta**2 + 2*beta + 3) G_μ G^μ + O(η^2)
    """

    beta: Expr = field(converter=exactly("beta"))
    rates: Rates = field(default=None, converter=checked_rates)
    convention: str = field(default="polyak", validator=one_of("polyak", "torch"))
    decay: Expr = field(default=Integer(0), converter=exactly("decay"))

    def __attrs_post_init__(self) -> None:
        """Refuse what is not derived."""
        if self.convention == "torch" and self.decay != 0:
            raise NotImplementedError(
                f"decay={self.decay} with convention='torch' is not derived; supported is convention='polyak'"
            )

    def start(self, origin: Any) -> tuple[Any, ...]:
        """θ, and v = 0: in the units of θ, also with the rate outside, where η is kept inside."""
        return origin, 0 * origin

    def step(self, numbers: Mapping[str, Any], state: tuple[Any, ...], batch: Batch, rate: Any) -> tuple[Any, ...]:
        """The rule."""
        x, v = state
        beta = numbers["beta"]
        if self.convention == "torch":
            v = beta * v + batch.slope(x)
            return x - rate * v, v
        v = beta * v - rate * batch.slope(x)
        return x + v - numbers["decay"] * (x - batch.origin), v

    def memory(self, rate: Expr) -> Memory:
        """The state is (θ − θ_0, v), with v in the units of θ, or with the rate outside in those of −ηg."""
        one, zero = Integer(1), Integer(0)
        if self.beta == 0:  # nothing is remembered
            return Memory(((1 - self.decay,),), (rate,), (one,), (one,))
        if self.convention == "torch":
            return Memory(((one, rate * self.beta), (zero, self.beta)), (rate, one), (one, zero), (one, zero))
        kept = 1 - self.decay
        return Memory(((kept, self.beta), (zero, self.beta)), (rate, rate), (one, zero), (one, zero))
