"""Plain descent, with a schedule of rates, decoupled decay and a matrix learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from attrs.converters import optional
from sympy import Expr, Integer

from taylorsgd.updates.metrics import checked_metric
from taylorsgd.updates.rule import Batch, Memory, Rates, Update, checked_rates, exactly

__all__ = ["Descent"]


@frozen
class Descent(Update):
    """Plain descent θ ← θ − η r_t Λ g_t − w (θ − θ_0).

    Args:
        rates: factors r_t of η, one for each update, exact numbers or SymPy expressions; or `LinearWarmup()` or
            `Cosine()`, which have closed forms in T where constant rates do; None for 1.
        decay: w, the decoupled weight decay towards θ_0 in one update. (A coupled one, ηw(θ − a), is
            the `penalty` w|θ − a|²/2 of `derive`.)
        metric: Λ, a symmetric P × P matrix of exact numbers, for the learning rate ηΛ: what raises indices; or, where
            values are measured, a linear function of pytrees like θ; None for the identity. It changes no formula,
            only what its values are, and need not be positive: where it is not, θ goes uphill, as the second player of
            a zero-sum game does. Under any other rule give it to `evaluate`, `perturb` or a resummed formula's lowered
            function.

    Raises:
        TypeError: if a parameter is neither an exact number nor a SymPy expression.
        ValueError: if the metric is not symmetric.

    Example:
        >>> import taylorsgd as ts
        >>> warm_up = ts.Descent(rates=[0, 1, 2])
        >>> f = ts.derive(ts.TestLoss(), ts.SGD(N=3, B=1, E=1), order=1, update=warm_up)
        >>> print(f)
        E[l(θ_3)] = l - 3 G_μ G^μ + O(η^2)
    """

    rates: Rates = field(default=None, converter=checked_rates)
    decay: Expr = field(default=Integer(0), converter=exactly("decay"))
    metric: Any = field(default=None, converter=optional(checked_metric))

    def step(self, numbers: Mapping[str, Any], state: tuple[Any, ...], batch: Batch, rate: Any) -> tuple[Any, ...]:
        """The rule."""
        (x,) = state
        return (x - rate * batch.slope(x) - numbers["decay"] * (x - batch.origin),)

    def memory(self, rate: Expr) -> Memory:
        """An edge carries r_t (1 − w)^{Δ−1}."""
        one = Integer(1)
        return Memory(((1 - self.decay,),), (rate,), (one,), (one,))
