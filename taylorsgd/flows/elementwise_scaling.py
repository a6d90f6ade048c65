r"""The scaling rule of RMSProp and Adam: the square root, and where it fails.

Where noise is most of what a batch's gradient holds, E g_B² = G² + C/B ≈ C/B at every coordinate, and what is averaged
over squares, v, falls like 1/B. With V = Bv and a slow V an update is plain descent at the matrix rate η√B/√V (for Adam
with a force m that is averaged), so that the rule of plain descent, `scaling_rule`, holds for η√B:

    η√B → ρ η√B, T → τT with ρ = κ, τ = 1/κ        so        η → √κ η, T → T/κ.

States fade as before per unit of T η² where 1 − A → κ(1 − A); ε is in units of √v, and decoupled decay of 1/η per T:
ε → ε/√κ (ε/κ under the root), λ → √κ λ. (Malladi, Lyu, Panigrahi and Arora 2022, who derive it from an SDE.)

Two things do not stay, whatever η is. The generators' terms per update of the run before, exactly:

    ∂/∂V      (1 − A)(C + B G²) − …    gains (1 − A)(κ − 1) B G²: against C the fraction (κ − 1) B G²/C;
    ∂²/∂V²    the noise of V: V's variance about its mean, Var(Bg²) (1 − A)/(1 + A) where θ rests, has 1 − A → κ(1 − A).

The first ends the regime: signal shows, and the linear rule of plain descent begins to be missed by √κ. The second is
that a shorter memory averages less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from attrs import evolve
from sympy import Expr, ImmutableMatrix, Integer, Symbol, latex, oo, simplify, sqrt, sstr

from taylorsgd.exact_numbers import exact_argument
from taylorsgd.updates.elementwise import Adam, RMSProp

__all__ = ["ElementwiseFailure", "ElementwiseScaling"]


class ElementwiseFailure(NamedTuple):
    """By how much a rule misses at a point.

    Attributes:
        signal: (κ − 1) B G²/C at every coordinate: what the average of squares gains, over what it is of; a column. 0
            where G is 0, ∞ where only C is.
        memory: by what the variance of the average of squares is multiplied where θ rests, (1 − A')/(1 + A') over
            (1 − A)/(1 + A).
    """

    signal: ImmutableMatrix
    memory: Expr


@dataclass(frozen=True)
class ElementwiseScaling:
    """B → κB with η → √κ η and T → T/κ, other numbers of the rule, and what this does not keep.

    Attributes:
        kappa: κ.
        rate: by what the learning rate is multiplied.
        time: by what the number of updates is multiplied.
        before: the rule.
        becomes: the rule after the replacement.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import Rational
        >>> print(ts.scaling_rule(4, update=ts.Adam(Rational(9, 10), Rational(99, 100), 0)))
        B → 4*B, η → 2*η, T → T/4, β₁ → 3/5, β₂ → 24/25 while noise rules; first to fail: G² beside C/B, by 3*B G²/C
    """

    kappa: Expr
    rate: Expr
    time: Expr
    before: RMSProp | Adam
    becomes: RMSProp | Adam

    @classmethod
    def of(cls, rule: RMSProp | Adam, kappa: Expr, rate: Expr, time: Expr) -> ElementwiseScaling:
        """The rule from that of plain descent; users call `scaling_rule`.

        Args:
            rule: the update rule.
            kappa: κ.
            rate: by what plain descent's η is multiplied.
            time: by what T is.

        Raises:
            ValueError: if a memory would become negative.
        """
        names = {"beta1": "β₁", "beta2": "β₂"} if isinstance(rule, Adam) else {"rho": "ρ"}
        changes: dict[str, Any] = {}
        for name in names:
            memory = getattr(rule, name)
            changes[name] = simplify(1 - (1 - memory) / time)
            if changes[name].is_negative:
                raise ValueError(
                    f"kappa={kappa}: {name}={memory} would become {changes[name]}, and no memory is shorter than none; "
                    f"κ is at most 1/(1 − {name}) = {1 / (1 - memory)}"
                )
        changes["epsilon"] = rule.epsilon / (kappa if rule.epsilon_inside else sqrt(kappa))
        if isinstance(rule, Adam):
            changes["decay"] = rule.decay * sqrt(kappa)
        return cls(kappa, simplify(rate / sqrt(kappa)), time, rule, evolve(rule, **changes))

    def failure(self, landscape: Any, at: Any, B: Any, kappa: Any = None) -> ElementwiseFailure:
        """How much fails on a landscape with exact cumulants.

        Args:
            landscape: as for `Formula.evaluate`.
            at: the point.
            B: the batch size before.
            kappa: κ, where the rule has a symbol for it.

        Raises:
            TypeError: if a number is no number.
            ValueError: if κ has no value, or not the rule's.

        Example:
            >>> import sympy, taylorsgd as ts
            >>> x = sympy.Symbol("x")
            >>> coin = ts.FiniteLandscape([x**2 + 9*x, x**2 - 9*x], [sympy.Rational(1, 2)] * 2, [x])
            >>> rule = ts.scaling_rule(4, update=ts.RMSProp(sympy.Rational(9, 10), 0))
            >>> rule.failure(coin, at=[1], B=2)      # 3 · 2 · 2²/9²
            ElementwiseFailure(signal=Matrix([[8/27]]), memory=19/4)
        """
        chosen = self.kappa if kappa is None else exact_argument(kappa, "kappa")
        if chosen.free_symbols:
            raise ValueError("kappa=None: this rule is for any κ; say which, as in failure(..., kappa=8)")
        if not self.kappa.free_symbols and chosen != self.kappa:
            raise ValueError(f"kappa={kappa!r} is not the rule's own {self.kappa}")
        size = exact_argument(B, "B")
        slopes = landscape.cumulant((1,), at).tolist()
        spreads = landscape.cumulant((1, 1), at).tolist()

        def fraction(slope: Expr, spread: Expr) -> Expr:
            if slope == 0:
                return Integer(0)
            return oo if spread == 0 else (chosen - 1) * size * slope**2 / spread

        signal = ImmutableMatrix([fraction(slope, spreads[i][i]) for i, slope in enumerate(slopes)])
        last = [rule.filters[-1].memory for rule in (self.before, self.becomes)]
        lost, left = ((1 - memory) / (1 + memory) for memory in last)
        return ElementwiseFailure(signal, simplify((left / lost).subs(self.kappa, chosen)))

    def _pairs(self) -> list[tuple[str, str, Any]]:
        found: list[tuple[str, str, Any]] = [
            (name, name, number * Symbol(name))
            for name, number in (("B", self.kappa), ("η", self.rate), ("T", self.time))
        ]
        texts = {"beta1": "β₁", "beta2": "β₂", "rho": "ρ", "epsilon": "ε", "decay": "λ"}
        for name, text in texts.items():
            if hasattr(self.before, name) and getattr(self.before, name) != getattr(self.becomes, name):
                found.append((name, text, getattr(self.becomes, name)))
        return found

    def latex(self) -> str:
        """The rule in LaTeX."""
        texts = {"η": r"\eta", "beta1": r"\beta_1", "beta2": r"\beta_2", "rho": r"\rho", "epsilon": r"\epsilon",
                 "decay": r"\lambda"}  # fmt: skip
        return r",\; ".join(
            rf"{texts.get(name, name)} \to {latex(value).replace('η', texts['η'])}" for name, _, value in self._pairs()
        )

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        """The rule in plain text, with what fails first."""
        rule = ", ".join(f"{text} → {sstr(value)}" for _, text, value in self._pairs())
        factor = sstr(self.kappa - 1)
        factor = factor if self.kappa.is_number else f"({factor})"
        return f"{rule} while noise rules; first to fail: G² beside C/B, by {factor}*B G²/C"

    def __repr__(self) -> str:
        """The rule in plain text, so that it reads well at a prompt."""
        return f"<ElementwiseScaling {self}>"
