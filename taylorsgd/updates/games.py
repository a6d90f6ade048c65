r"""Several players: each owns a part of θ and follows its own component of a field, at its own rate.

With f_i the component that player i owns and r_i its rate, a round of length h is

    simultaneous    θ_i ← θ_i + h r_i f_i(θ)                                      all at once
    alternating     the same, one player after the other, each seeing what those before have done
    optimistic      θ_i ← θ_i + h r_i (2 f_i(now) − f_i(a round ago)), as it sees them  (Daskalakis et al. 2018)
    extragradient   θ ← θ + h r f(θ + h r f(θ))                                         (Korpelevich 1976)

A player may make several steps in a round. (Rosca, Wu, Dherin and Barrett 2021.) Alternating extragradient steps are
refused, because there is no one such method: whether others look ahead when it is a player's turn, and from where,
is another choice in every source, and the flows differ in h already.
"""

from __future__ import annotations

from typing import Any

from attrs import field, frozen
from sympy import Expr, Symbol

from taylorsgd.arguments import listed, whole_number
from taylorsgd.exact_numbers import distinct_symbols, exact_argument
from taylorsgd.updates.rule import one_of

__all__ = ["Players"]


def _checked_rates(rates: Any) -> tuple[Expr, ...]:
    given = listed(rates, "rates", "[1, Rational(1, 2)]")
    return tuple(exact_argument(rate, f"rates[{i}]") for i, rate in enumerate(given))


def _checked_steps(steps: Any) -> tuple[int, ...] | None:
    if steps is None:
        return None
    return tuple(whole_number(n, f"steps[{i}]", 1, 1000) for i, n in enumerate(listed(steps, "steps", "[1, 5]")))


def _checked_split(split: Any) -> tuple[int | tuple[Symbol, ...], ...] | None:
    if split is None:
        return None
    return tuple(
        distinct_symbols(part, f"split[{i}]")
        if hasattr(part, "__iter__") and not isinstance(part, str)
        else whole_number(part, f"split[{i}]", 1, says="must be a sequence of variables, or")
        for i, part in enumerate(listed(split, "split", "[1, 1]"))
    )


@frozen
class Players:
    """Descent of several players, as an update of `modified_flow`.

    Args:
        rates: r_i, one for every player: exact numbers or SymPy expressions.
        order: "simultaneous", or "alternating": one after the other, in their order.
        split: how many of the variables each player owns, in their order, or which; None where each owns one.
        steps: how many steps each player makes in a round; None for one. At one time all other players stay where they
            were ("simultaneous": at the round's beginning; "alternating": now).
        method: "descent", or with one step each "optimistic", or simultaneously "extragradient". An optimistic player
            doubles what it sees at its turn and takes off what it saw at its last one.

    Raises:
        TypeError: if a rate is no number or expression, or something is no sequence.
        ValueError: if the order or method is unknown, or there are not as many splits or steps as rates.
        NotImplementedError: for alternating extragradient steps, or several optimistic or extragradient ones.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import symbols
        >>> a, b = symbols("a b")
        >>> print(ts.modified_flow(2, update=ts.Players([a, b], order="alternating")))
        player 1: a f_1 - a**2*h/2 f_1'f_1 - a*b*h/2 f_1'f_2
        player 2: b f_2 + a*b*h/2 f_2'f_1 - b**2*h/2 f_2'f_2
    """

    rates: tuple[Expr, ...] = field(converter=_checked_rates)
    order: str = field(default="simultaneous", validator=one_of("simultaneous", "alternating"))
    split: tuple[int | tuple[Symbol, ...], ...] | None = field(default=None, converter=_checked_split)
    steps: tuple[int, ...] | None = field(default=None, converter=_checked_steps)
    method: str = field(default="descent", validator=one_of("descent", "optimistic", "extragradient"))

    def __attrs_post_init__(self) -> None:
        """Compare the lengths."""
        for name, given in (("split", self.split), ("steps", self.steps)):
            if given is not None and len(given) != len(self.rates):
                raise ValueError(
                    f"{name}={given} has {len(given)} entries for {len(self.rates)} players; give one each"
                )
        if self.method != "descent" and set(self.counts) != {1}:
            raise NotImplementedError(
                f"method={self.method!r} is derived for players who make one step each; leave the steps out"
            )
        if self.method == "extragradient" and self.order == "alternating":
            raise NotImplementedError(
                "method='extragradient' with order='alternating' is no one method: sources differ in who looks ahead "
                "at whose turn; give order='simultaneous', or 'optimistic'"
            )

    @property
    def counts(self) -> tuple[int, ...]:
        """How many steps each player makes in a round."""
        return (1,) * len(self.rates) if self.steps is None else self.steps

    def owners(self, variables: tuple[Symbol, ...] | None, size: int) -> list[int]:
        """Which player owns each of the variables, by number from 0.

        Args:
            variables: the variables, None where they have no names.
            size: how many there are.

        Raises:
            ValueError: if the split does not divide them among the players.
        """
        split = (1,) * len(self.rates) if self.split is None else self.split
        if all(isinstance(part, int) for part in split):
            found = [player for player, part in enumerate(split) for _ in range(part)]  # type: ignore[arg-type]
            if len(found) != size:
                raise ValueError(f"split={self.split} divides {len(found)} variables; there are {size}")
            return found
        if variables is None or any(isinstance(part, int) for part in split):
            raise ValueError(f"split={self.split} must be numbers of parameters, such as [2, 3]")
        owner = {symbol: player for player, part in enumerate(split) for symbol in part}  # type: ignore[union-attr]
        if set(owner) != set(variables) or sum(map(len, split)) != size:  # type: ignore[arg-type]
            raise ValueError(f"split={self.split} must divide the variables {variables} among the players")
        return [owner[symbol] for symbol in variables]
